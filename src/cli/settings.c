/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/settings.h"

#include "mem/tracker.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int parse_mode(const char *text, struct settings *s, struct err *e)
{
	enum msg_mode mode;

	if (msg_mode_parse(text, &mode)) {
		s->mode = mode;
		return 0;
	}
	return err_set(e, ERR_USAGE, EINVAL, "\"%s\" is no mode: hybrid, pre, post or stop", text);
}

static bool parse_number(const char *text, unsigned long min, unsigned long max, unsigned *ret)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || n < min || n > max)
		return false;
	*ret = (unsigned)n;
	return true;
}

static int parse_streams(const char *text, struct settings *s, struct err *e)
{
	if (parse_number(text, 1, 16, &s->streams))
		return 0;
	return err_set(e, ERR_USAGE, EINVAL, "\"%s\" is no number of streams: 1 to 16", text);
}

static int parse_downtime(const char *text, struct settings *s, struct err *e)
{
	if (parse_number(text, 0, 600000, &s->max_downtime_ms))
		return 0;
	return err_set(e, ERR_USAGE, EINVAL, "\"%s\" is no downtime: milliseconds up to 600000",
		text);
}

static int parse_bandwidth(const char *text, struct settings *s, struct err *e)
{
	if (parse_number(text, 0, 1000000, &s->bandwidth_mbit))
		return 0;
	return err_set(e, ERR_USAGE, EINVAL,
		"\"%s\" is no bandwidth: Mbit/s up to 1000000, 0 for no limit", text);
}

static int parse_throttle(const char *text, struct settings *s, struct err *e)
{
	s->throttle = strcmp(text, "yes") == 0;
	if (s->throttle || strcmp(text, "no") == 0)
		return 0;
	return err_set(e, ERR_USAGE, EINVAL, "\"%s\" is neither yes nor no", text);
}

static int parse_tracker(const char *text, struct settings *s, struct err *e)
{
	if (!tracker_exists(text))
		return err_set(e, ERR_USAGE, EINVAL,
			"\"%s\" is no tracker: write-protect or soft-dirty", text);
	snprintf(s->tracker, sizeof(s->tracker), "%s", text);
	return 0;
}

static int parse_listen(const char *text, struct settings *s, struct err *e)
{
	if (snprintf(s->listen, sizeof(s->listen), "%s", text) < (int)sizeof(s->listen))
		return 0;
	return err_set(e, ERR_USAGE, EINVAL, "\"%s\" is too long for an address", text);
}

static int parse_limit(const char *text, unsigned max, unsigned *ret, struct err *e)
{
	if (parse_number(text, 1, max, ret))
		return 0;
	return err_set(e, ERR_USAGE, EINVAL, "\"%s\" is no limit: 1 to %u", text, max);
}

static int parse_handshakes(const char *text, struct settings *s, struct err *e)
{
	return parse_limit(text, 128, &s->quota.handshakes, e);
}

static int parse_handshakes_per_address(const char *text, struct settings *s, struct err *e)
{
	return parse_limit(text, 128, &s->quota.handshakes_per_address, e);
}

static int parse_migrations(const char *text, struct settings *s, struct err *e)
{
	return parse_limit(text, 100, &s->quota.migrations, e);
}

static int parse_migrations_per_peer(const char *text, struct settings *s, struct err *e)
{
	return parse_limit(text, QUOTA_CONNECTIONS_PER_PEER, &s->quota.migrations_per_peer, e);
}

static int parse_memory(const char *text, struct settings *s, struct err *e)
{
	unsigned mb = 0;
	int r = parse_limit(text, 1000000000, &mb, e);

	if (r == 0)
		s->quota.memory_bytes = mb * 1000000ull;
	return r;
}

static const struct {
	const char *section, *name;
	int (*parse)(const char *text, struct settings *s, struct err *e);
} table[] = {
	{"migrate", "mode", parse_mode},
	{"migrate", "streams", parse_streams},
	{"migrate", "max-downtime", parse_downtime},
	{"migrate", "bandwidth", parse_bandwidth},
	{"migrate", "throttle", parse_throttle},
	{"migrate", "tracker", parse_tracker},
	{"agent", "listen", parse_listen},
	{"agent", "handshakes", parse_handshakes},
	{"agent", "handshakes-per-address", parse_handshakes_per_address},
	{"agent", "migrations", parse_migrations},
	{"agent", "migrations-per-peer", parse_migrations_per_peer},
	{"agent", "memory", parse_memory},
};

int settings_set(struct settings *s, const char *section, const char *name, const char *value,
	struct err *e)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(section, table[i].section) == 0 && strcmp(name, table[i].name) == 0)
			return table[i].parse(value, s, e);
	return err_set(e, ERR_USAGE, EINVAL, "unknown setting \"%s\" in section [%s]", name, section);
}

struct file {
	struct settings *s;
	struct err *e;
};

/* inih's callback: 1 is well, 0 an error. */
static int on_setting(void *ctx, const char *section, const char *name, const char *value)
{
	struct file *f = ctx;

	return settings_set(f->s, section, name, value, f->e) == 0;
}

int settings_load(const char *dir, struct settings *ret, struct err *e)
{
	struct file f = {ret, e};
	char path[4096];
	int r;

	*ret = (struct settings){
		.mode = MODE_HYBRID, .streams = 2, .max_downtime_ms = 200, .quota = QUOTA_DEFAULT};
	snprintf(path, sizeof(path), "%s/godwit.conf", dir);
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	r = ini_parse(path, on_setting, &f);
	if (r == 0)
		return 0;
	if (!err_is_set(e))
		err_set(e, ERR_USAGE, EINVAL, "not an INI file");
	err_wrap(e, "%s, line %d", path, r);
	return err_remedy(e, "see godwit.conf(5)");
}
