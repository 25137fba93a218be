/* SPDX-License-Identifier: Apache-2.0 */
#include "net/resend.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/ranges.h"
#include "kernel/inject.h"
#include "net/inject.h"
#include "net/repair.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 4096u
#define CONNECTION_BYTES (1u << 20)
#define BYTES_MAX (16u << 20)
#define PARTS_MAX 256u	   /* that a peer has out of order */
#define TAIL_SEGMENTS 10u  /* what any connection may send at first (RFC 6928) */
#define SEGMENT_MAX 16384u /* no host has a larger one to others */

/* Places in what was sent count from its first byte on. */
struct flight {
	struct connection c;
	struct ranges has; /* the peer's, out of order */
	uint32_t acknowledged;
	uint32_t heard; /* the peer's clock */
	bool over;
};

struct resend {
	struct flight *v; /* owned */
	size_t n, bytes;
};

int resend_new(struct resend **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

void resend_free(struct resend *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->n; i++) {
		connection_done(&r->v[i].c);
		ranges_done(&r->v[i].has);
	}
	free(r->v);
	free(r);
}

/* --- what was sent ---------------------------------------------------------------------------- */

/* The flight between two ends; NULL if there is none. */
static struct flight *find(struct resend *r, const uint8_t local[16], uint16_t local_port,
	const uint8_t peer[16], uint16_t peer_port)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct segment *s = &r->v[i].c.next;

		if (s->from_port == local_port && s->to_port == peer_port &&
			memcmp(s->from, local, 16) == 0 && memcmp(s->to, peer, 16) == 0)
			return &r->v[i];
	}
	return NULL;
}

/* Takes over @c. */
static void add(struct resend *r, struct connection *c)
{
	struct flight *v = NULL;

	/* Processes share sockets. */
	if (!find(r, c->next.from, c->next.from_port, c->next.to, c->next.to_port))
		v = reallocarray(r->v, r->n + 1, sizeof(*v));
	if (!v) {
		connection_done(c);
		return;
	}
	r->v = v;
	r->v[r->n++] = (struct flight){.c = *c};
	r->bytes += c->n_sent;
}

static void look(struct resend *r, pid_t pid, int number)
{
	_cleanup_close_ int fd = inject_fetch(pid, number);
	size_t room = BYTES_MAX - r->bytes;
	struct connection c;

	if (fd >= 0 && connection_read(fd, room < CONNECTION_BYTES ? room : CONNECTION_BYTES, &c) > 0)
		add(r, &c);
}

static bool is_socket(int dir, const char *name)
{
	static const char kind[] = "socket:[";
	char text[64];
	ssize_t n = readlinkat(dir, name, text, sizeof(text));

	return n > (ssize_t)sizeof(kind) && memcmp(text, kind, sizeof(kind) - 1) == 0;
}

void resend_look(struct resend *r, pid_t pid)
{
	struct dirent *entry;
	char path[64];
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && (entry = readdir(d)) && r->n < CONNECTIONS_MAX && r->bytes < BYTES_MAX)
		if (is_socket(dirfd(d), entry->d_name))
			look(r, pid, atoi(entry->d_name));
	if (d)
		closedir(d);
}

/* --- what peers have said since --------------------------------------------------------------- */

static void hear_sacks(struct flight *f, const struct segment *s)
{
	for (unsigned i = 0; i < s->n_sacked && f->has.n < PARTS_MAX; i++) {
		uint32_t start = s->sacked[i].start - f->c.next.sequence;
		uint32_t end = s->sacked[i].end - f->c.next.sequence;

		/* What was acknowledged before (RFC 2883), or is beyond of what was read. */
		if (start < end && start < f->c.n_sent)
			ranges_add(&f->has, start, end);
	}
}

void resend_heard(struct resend *r, const void *packet, size_t len)
{
	struct segment s;
	struct flight *f;
	uint32_t place;

	if (!segment_parse(packet, len, &s))
		return;
	f = find(r, s.to, s.to_port, s.from, s.from_port);
	if (!f)
		return;
	f->over |= s.resets;
	place = s.acknowledged - f->c.next.sequence;
	/* An older one than the last is a large number. */
	if (s.acknowledges && place > f->acknowledged && place <= INT32_MAX)
		f->acknowledged = place;
	if (s.has_time)
		f->heard = s.time;
	hear_sacks(f, &s);
}

/* --- what they lack --------------------------------------------------------------------------- */

static bool send_one(const struct flight *f, const int injectors[static 2], uint64_t from, size_t len)
{
	uint8_t packet[SEGMENT_HEADERS_MAX + SEGMENT_MAX];
	struct segment s = f->c.next;
	int v6 = s.family == AF_INET6;
	size_t n;

	s.sequence += (uint32_t)from;
	/* Its clock ticks in milliseconds. */
	s.time += (uint32_t)((clock_now() - f->c.read_at) / NSEC_PER_MSEC);
	s.echo = f->heard;
	n = segment_build(&s, f->c.sent + from, len, packet);
	return inject_out(injectors[v6], s.family, s.to, packet, n) == 0;
}

/* At most @most segments; how many there were. */
static unsigned send_part(const struct flight *f, const int injectors[static 2], struct range part,
	unsigned most)
{
	unsigned n = 0, payload = f->c.payload < SEGMENT_MAX ? f->c.payload : SEGMENT_MAX;

	while (part.start < part.end && n < most) {
		uint64_t left = part.end - part.start;
		size_t len = left < payload ? left : payload;

		/* There is no room: the kernel will. */
		if (!send_one(f, injectors, part.start, len))
			break;
		part.start += len;
		n++;
	}
	return n;
}

/* Between what the peer has, all of it; behind that, where it may only not have been heard, little. */
static unsigned send_flight(const struct flight *f, const int injectors[static 2])
{
	_cleanup_ranges_ struct ranges all = RANGES_INIT, lacking = RANGES_INIT;
	uint64_t highest = f->has.n ? f->has.v[f->has.n - 1].end : f->acknowledged;
	unsigned n = 0;

	if (f->over || f->acknowledged >= f->c.n_sent ||
		ranges_add(&all, f->acknowledged, f->c.n_sent) < 0 ||
		ranges_difference(&all, &f->has, &lacking) < 0)
		return 0;
	for (size_t i = 0; i < lacking.n; i++)
		n += send_part(f, injectors, lacking.v[i],
			lacking.v[i].start < highest ? UINT32_MAX : TAIL_SEGMENTS);
	return n;
}

unsigned resend_send(struct resend *r, const int injectors[static 2])
{
	unsigned n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += send_flight(&r->v[i], injectors);
	return n;
}
