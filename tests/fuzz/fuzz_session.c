/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection as a whole: HELLO and then message after message, in whatever order, of either
 * direction, over the real channel, into what takes them: the first byte says which kind of
 * connection it is and which side we are on.
 */
#include "fuzz_file.h"

#include "base/clock.h"
#include "base/file.h"
#include "mem/keeper.h"
#include "migrate/bulk.h"
#include "migrate/images.h"
#include "wire/channel.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define STORE_BYTES (64ull << 20)
#define IMAGES_MAX_BYTES (1u << 20)

static const uint8_t token[MSG_ID_LEN] = {1, 2, 3};

/* Reading from it ends at once: a peer that hangs up. */
static int input_of(const uint8_t *data, size_t size)
{
	int fd = memfd_create("input", MFD_CLOEXEC);

	MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

static const char *empty_dir(void)
{
	const char *dir = fuzz_dir();

	dir_remove(dir);
	MUST(dir_make(dir, 0700) == 0);
	return dir;
}

/* The target's control channel, from IMAGE to IMAGES_END. */
static void take_images(struct channel *c)
{
	const char *dir = empty_dir();
	char descriptors[128];
	struct images_in in;
	struct err e = ERR_INIT;
	struct msg m = MSG_INIT;
	bool whole = false;
	int r = 0;

	snprintf(descriptors, sizeof(descriptors), "%s/%s", dir, IMAGE_DESCRIPTORS);
	images_in_init(&in, dir, c->peer[0] & 1, IMAGES_MAX_BYTES);
	while (r == 0 && !whole && channel_recv(c, &m, deadline_in_ms(1000), &e) == 0) {
		MUST(msg_allowed(m.type, c->kind, !c->is_source));
		if (m.type == MSG_IMAGE)
			r = images_take(&in, &m.body.image, &e);
		else if (m.type == MSG_IMAGES_END)
			r = images_finish(&in, &m.body.images_end, &e), whole = r == 0;
		MUST(in.bytes <= IMAGES_MAX_BYTES || r < 0);
		msg_done(&m);
	}
	/* Nothing but what CRIU reads under that name lies there. */
	MUST(access(descriptors, F_OK) < 0);
	MUST(!whole || (in.inventory.len > 0 && in.at == in.total));
	images_in_done(&in);
}

static void ignore(void *ctx)
{
	(void)ctx;
}

static void ignore_end(void *ctx, bool ran)
{
	(void)ctx;
	(void)ran;
}

static void ignore_error(void *ctx, const struct err *e)
{
	(void)ctx;
	(void)e;
}

/* The target's urgent and bulk channels, with a keeper of their own. */
static void take_pages(struct channel *c)
{
	const struct keeper_config config = {
		.max_bytes = STORE_BYTES, .alone = ignore, .over = ignore_end, .never = ignore, .lost = ignore,
		.complain = ignore_error};
	struct err e = ERR_INIT;
	struct pager_stats stats;
	struct msg m = MSG_INIT;
	struct keeper *k;
	int r = 0;

	MUST(keeper_start(&config, &k, &e) == 0);
	while (r == 0 && channel_recv(c, &m, deadline_in_ms(1000), &e) == 0) {
		MUST(msg_allowed(m.type, c->kind, !c->is_source));
		r = m.type == MSG_CUT ? keeper_drop_others(k) : bulk_take(keeper_stream_line(k, 0), &m, &e);
		msg_done(&m);
	}
	keeper_flush(keeper_stream_line(k, 0));
	MUST(keeper_stats(k, &stats) == 0 && stats.store_peak <= STORE_BYTES);
	keeper_free(k);
}

/* What a source hears. */
static void listen_to(struct channel *c)
{
	struct err e = ERR_INIT;
	struct msg m = MSG_INIT;

	while (channel_recv(c, &m, deadline_in_ms(1000), &e) == 0) {
		MUST(msg_allowed(m.type, c->kind, !c->is_source));
		msg_done(&m);
	}
	MUST(err_is_set(&e));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct transport *t;
	struct channel c;
	struct err e = ERR_INIT;
	bool is_source;

	if (size < 1)
		return 0;
	is_source = data[0] & 1;
	MUST(transport_plain(input_of(data + 1, size - 1), open("/dev/null", O_WRONLY | O_CLOEXEC), &t, &e) == 0);
	channel_init(&c, t, is_source ? data[0] % 3 + 1 : CHANNEL_CONTROL, is_source);
	if (channel_hello(&c, 0, token, NULL, deadline_in_ms(1000), &e) == 0) {
		if (is_source)
			listen_to(&c);
		else if (c.kind == CHANNEL_CONTROL)
			take_images(&c);
		else
			take_pages(&c);
	}
	channel_done(&c);
	return 0;
}
