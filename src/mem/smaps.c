/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/smaps.h"

#include "base/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMAPS_MAX (1u << 30)
#define FLAGS "VmFlags:"

/* show_smap_vma_flags() in the kernel's fs/proc/task_mmu.c. Of a region with these alone CRIU saves
 * pages, and what it needs to make such a region. */
static const char plain[] = "rd wr mr mw me ac nr hg nh sr rr dd dc sd uw um ";
/* Set and cleared by a dump, by tracking, and by whoever clears the soft-dirty bits. */
static const char passing[] = "rd uw um sd ";

static bool is_among(const char *flag, const char *list)
{
	for (; *list; list += 3)
		if (strncmp(flag, list, 2) == 0)
			return true;
	return false;
}

/* The next flag from @p on that isn't @ignored, or NULL. */
static const char *next_flag(const char *p, const char *ignored)
{
	for (;;) {
		p += strspn(p, " ");
		if (*p == '\n' || *p == '\0')
			return NULL;
		if (!is_among(p, ignored))
			return p;
		p += strcspn(p, " \n");
	}
}

static bool same_flags(const char *a, const char *b)
{
	size_t len;

	for (;;) {
		a = next_flag(a, passing);
		b = next_flag(b, passing);
		if (!a || !b)
			return !a && !b;
		len = strcspn(a, " \n");
		if (len != strcspn(b, " \n") || strncmp(a, b, len) != 0)
			return false;
		a += len;
		b += len;
	}
}

/* The first line of a region is "START-END ..."; those that follow begin with a capital letter. */
static bool begins_region(const char *line)
{
	return (*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f');
}

static const char *after_line(const char *line)
{
	line += strcspn(line, "\n");
	return *line ? line + 1 : line;
}

static size_t count_regions(const char *text)
{
	size_t n = 0;

	for (; *text; text = after_line(text))
		n += begins_region(text);
	return n;
}

/* One region's lines, of which *@text is the first: its line of maps goes to *@maps. */
static int take_region(const char **text, char **maps, const char **ret_flags)
{
	const char *line = *text, *next = after_line(line);

	memcpy(*maps, line, (size_t)(next - line));
	*maps += next - line;
	*ret_flags = NULL;
	for (line = next; *line && !begins_region(line); line = after_line(line))
		if (strncmp(line, FLAGS, strlen(FLAGS)) == 0)
			*ret_flags = line + strlen(FLAGS);
	*text = line;
	return *ret_flags ? 0 : -EBADMSG;
}

static int split(struct smaps *s)
{
	const char *text = s->text;
	char *maps;
	size_t n = count_regions(text);

	s->maps = maps = malloc(strlen(text) + 1);
	s->flags = calloc(n + 1, sizeof(*s->flags));
	if (!s->maps || !s->flags)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int r = begins_region(text) ? take_region(&text, &maps, &s->flags[i]) : -EBADMSG;

		if (r < 0)
			return r;
	}
	*maps = '\0';
	return *text ? -EBADMSG : 0;
}

int smaps_parse(char *text, struct smaps *ret)
{
	int r;

	*ret = (struct smaps){.text = text};
	r = split(ret);
	if (r == 0)
		r = maps_parse(ret->maps, &ret->regions, &ret->n);
	if (r < 0)
		smaps_done(ret);
	return r;
}

int smaps_read(pid_t pid, struct smaps *ret)
{
	char path[64];
	char *text;
	int r;

	*ret = SMAPS_INIT;
	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	r = file_read(path, SMAPS_MAX, &text, NULL);
	return r < 0 ? r : smaps_parse(text, ret);
}

void smaps_done(struct smaps *s)
{
	free(s->text);
	free(s->maps);
	free(s->regions);
	free(s->flags);
	*s = SMAPS_INIT;
}

int smaps_plain(const struct smaps *s, uint64_t min, struct ranges *ret)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->n; i++) {
		const struct region *g = &s->regions[i];

		if (g->anonymous && !g->shared && !g->executable && g->end - g->start >= min &&
			!next_flag(s->flags[i], plain))
			r = ranges_add(ret, g->start, g->end);
	}
	return r;
}

/* "START-END ..." keeps its length: CRIU takes leading zeros. */
static void shorten_line(char *line, uint64_t end)
{
	char text[32], *p = strchr(line, '-') + 1;
	size_t width = strcspn(p, " ");

	snprintf(text, sizeof(text), "%0*" PRIx64, (int)width, end);
	memcpy(p, text, width);
}

void smaps_shorten(struct smaps *s, const struct ranges *within)
{
	char *line = s->text;

	for (size_t i = 0; i < s->n; line += after_line(line) - line) {
		const struct region *g = &s->regions[i];

		if (!begins_region(line))
			continue;
		if (ranges_contain(within, g->start, g->end))
			shorten_line(line, g->start + PAGE_BYTES);
		i++;
	}
}

bool smaps_agree(const struct smaps *before, const struct smaps *now)
{
	size_t k = 0;

	for (size_t i = 0; i < before->n; i++) {
		uint64_t at = before->regions[i].start;

		/* It may be in several parts now, or part of one that is larger. */
		while (at < before->regions[i].end) {
			while (k < now->n && now->regions[k].end <= at)
				k++;
			if (k == now->n || now->regions[k].start > at ||
				!same_flags(before->flags[i], now->flags[k]))
				return false;
			at = now->regions[k].end;
		}
	}
	return true;
}
