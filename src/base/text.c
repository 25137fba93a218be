/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <string.h>

/* The length of the UTF-8 sequence at @p (RFC 3629), 0 when it isn't one. */
static size_t utf8_len(const uint8_t *p, size_t left)
{
	static const struct {
		uint8_t first, last, len, second_min, second_max;
	} kinds[] = {
		{0x00, 0x7f, 1, 0, 0}, {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf},
		{0xe1, 0xec, 3, 0x80, 0xbf}, {0xed, 0xed, 3, 0x80, 0x9f},
		{0xee, 0xef, 3, 0x80, 0xbf}, {0xf0, 0xf0, 4, 0x90, 0xbf},
		{0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (*p < kinds[i].first || *p > kinds[i].last)
			continue;
		if (kinds[i].len > left)
			return 0;
		if (kinds[i].len > 1 && (p[1] < kinds[i].second_min || p[1] > kinds[i].second_max))
			return 0;
		for (size_t k = 2; k < kinds[i].len; k++)
			if (p[k] < 0x80 || p[k] > 0xbf)
				return 0;
		return kinds[i].len;
	}
	return 0;
}

/* The length of the character at @p, 0 when it may not stand in a text. */
static size_t clean_len(const uint8_t *p, size_t left)
{
	/* U+0080 to U+009F are control characters as well. */
	if (p[0] < 0x20 || p[0] == 0x7f || (p[0] == 0xc2 && left > 1 && p[1] < 0xa0))
		return 0;
	return utf8_len(p, left);
}

bool text_is_clean(const void *p, size_t len)
{
	const uint8_t *at = p;
	size_t n;

	for (size_t i = 0; i < len; i += n) {
		n = clean_len(at + i, len - i);
		if (n == 0)
			return false;
	}
	return true;
}

void text_clean(char *s)
{
	uint8_t *p = (uint8_t *)s;
	size_t len = strlen(s);

	for (size_t i = 0, n; i < len; i += n) {
		n = clean_len(p + i, len - i);
		if (n > 0)
			continue;
		p[i] = p[i] >= '\t' && p[i] <= '\r' ? ' ' : '?';
		n = 1;
	}
}
