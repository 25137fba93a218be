/* SPDX-License-Identifier: Apache-2.0 */
/* godwit.conf as somebody has edited it. */
#include "fuzz_file.h"

#include "base/err.h"
#include "cli/settings.h"

static bool is_within(unsigned n, unsigned min, unsigned max)
{
	return n >= min && n <= max;
}

/* Whatever was accepted is within its range: godwit.conf(5). */
static void check(const struct settings *s)
{
	const struct quota *q = &s->quota;

	MUST(s->mode == MODE_STOP || s->mode == MODE_POST || s->mode == MODE_PRE || s->mode == MODE_HYBRID);
	MUST(is_within(s->streams, 1, 16) && s->max_downtime_ms <= 600000 && s->bandwidth_mbit <= 1000000);
	MUST(memchr(s->tracker, '\0', sizeof(s->tracker)) && memchr(s->listen, '\0', sizeof(s->listen)));
	MUST(is_within(q->handshakes, 1, 128) && is_within(q->handshakes_per_address, 1, 128));
	MUST(is_within(q->migrations, 1, 100));
	MUST(is_within(q->migrations_per_peer, 1, QUOTA_CONNECTIONS_PER_PEER));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *dir = fuzz_file("godwit.conf", data, size);
	struct err e = ERR_INIT;
	struct settings s;

	if (settings_load(dir, &s, &e) < 0)
		MUST(err_is_set(&e) && e.remedy[0]);
	else
		check(&s);
	return 0;
}
