/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "base/clock.h"
#include "base/fd.h"
#include "migrate/bulk.h"
#include "migrate/images.h"
#include "migrate/manifest.h"
#include "migrate/porter_impl.h"
#include "wire/lane.h"
#include "migrate/stage.h"
#include "migrate/wait.h"
#include "report/report.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define SOON deadline_in_ms(5000)

/* --- stages ----------------------------------------------------------------------------------- */

struct walk {
	char trace[64];
	int fail_at, end_at;
	bool committed;
};

static int run_stage(struct walk *w, int number, struct err *e)
{
	char c[2] = {(char)('0' + number), '\0'};

	strcat(w->trace, c);
	if (w->fail_at == number)
		return err_set(e, ERR_LOCAL, EIO, "broken");
	return w->end_at == number;
}

static int run_1(void *ctx, struct err *e) { return run_stage(ctx, 1, e); }
static int run_2(void *ctx, struct err *e) { return run_stage(ctx, 2, e); }
static int run_3(void *ctx, struct err *e) { return run_stage(ctx, 3, e); }
static void undo_1(void *ctx) { strcat(((struct walk *)ctx)->trace, "a"); }
static void undo_2(void *ctx) { strcat(((struct walk *)ctx)->trace, "b"); }
static bool revocable(const void *ctx) { return !((const struct walk *)ctx)->committed; }

static const struct stage stages[] = {
	{"one", run_1, undo_1},
	{"two", run_2, undo_2},
	{"three", run_3, NULL},
};

static void stages_are_undone_in_the_opposite_order(void **state)
{
	struct err e = ERR_INIT;
	struct walk w = {0};

	(void)state;
	assert_int_equal(stages_walk(stages, 3, &w, revocable, &e), 0);
	assert_string_equal(w.trace, "123");
	w = (struct walk){.fail_at = 3};
	assert_int_equal(stages_walk(stages, 3, &w, revocable, &e), -EIO);
	assert_string_equal(w.trace, "123ba");
	assert_string_equal(e.text, "three: broken");
	w = (struct walk){.fail_at = 2};
	stages_walk(stages, 3, &w, revocable, &e);
	assert_string_equal(w.trace, "12ba");
	w = (struct walk){.fail_at = 3, .committed = true};
	assert_int_equal(stages_walk(stages, 3, &w, revocable, &e), -EIO);
	assert_string_equal(w.trace, "123");
	w = (struct walk){.end_at = 2};
	assert_int_equal(stages_walk(stages, 3, &w, revocable, &e), 0);
	assert_string_equal(w.trace, "12");
}

/* --- waiting ---------------------------------------------------------------------------------- */

static int count_calls(void *ctx, struct err *e)
{
	(void)e;
	++*(int *)ctx;
	return 1;
}

static int fail_call(void *ctx, struct err *e)
{
	(void)ctx;
	return err_set(e, ERR_CANCELLED, ECANCELED, "interrupted");
}

static void others_are_dealt_with_while_waiting(void **state)
{
	int want = eventfd(0, EFD_CLOEXEC), other = eventfd(1, EFD_CLOEXEC), calls = 0;
	struct waiter w = WAITER_INIT;
	struct err e = ERR_INIT;

	(void)state;
	waiter_add(&w, other, count_calls, &calls);
	assert_int_equal(waiter_wait(&w, want, deadline_in_ms(30), &e), -ETIMEDOUT);
	assert_int_equal(calls, 1); /* and watched no more */
	eventfd_write(want, 1);
	assert_int_equal(waiter_wait(&w, want, SOON, &e), 0);
	waiter_add(&w, other, fail_call, NULL);
	assert_int_equal(waiter_wait(&w, -1, SOON, &e), -ECANCELED);
	waiter_remove(&w, other);
	assert_int_equal(waiter_wait(&w, want, SOON, &e), 0);
	close(want);
	close(other);
}

/* --- images ----------------------------------------------------------------------------------- */

struct ends {
	struct channel source, target;
};

static void connect_ends(struct ends *p, enum msg_channel kind)
{
	struct transport *a, *b;
	struct err e = ERR_INIT;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(transport_plain(sv[0], sv[0], &a, &e), 0);
	assert_int_equal(transport_plain(sv[1], sv[1], &b, &e), 0);
	channel_init(&p->source, a, kind, true);
	channel_init(&p->target, b, kind, false);
}

struct sending {
	struct channel *c;
	const char *dir;
	int result;
};

static void *send_images(void *arg)
{
	struct sending *s = arg;
	struct err e = ERR_INIT;

	s->result = images_send(s->c, s->dir, 0, &e);
	return NULL;
}

static void images_arrive_whole(void **state)
{
	char *from = scratch_make(), *to = scratch_make(), path[512], *data = NULL;
	uint8_t *large = calloc(1, 600000);
	struct sending s = {.dir = from};
	struct images_in in;
	struct ends p;
	struct err e = ERR_INIT;
	struct msg m = MSG_INIT;
	pthread_t t;
	size_t len;

	(void)state;
	memset(large + 300000, 7, 1000);
	scratch_file(from, "pages-1.img", large, 600000);
	scratch_file(from, "pages-2.img", "", 0);
	scratch_file(from, IMAGE_INVENTORY, "\x16\x31\x31\x58inven", 9);
	scratch_file(from, IMAGE_DESCRIPTORS, "[]", 2);
	connect_ends(&p, CHANNEL_CONTROL);
	s.c = &p.source;
	pthread_create(&t, NULL, send_images, &s);
	images_in_init(&in, to, false, 1 << 20);
	for (;;) {
		assert_int_equal(channel_recv(&p.target, &m, SOON, &e), 0);
		if (m.type == MSG_IMAGES_END)
			break;
		assert_int_equal(images_take(&in, &m.body.image, &e), 0);
		msg_done(&m);
	}
	assert_int_equal(images_finish(&in, &m.body.images_end, &e), 0);
	msg_done(&m);
	pthread_join(t, NULL);
	assert_int_equal(s.result, 0);
	assert_int_equal(in.files, 3);
	assert_int_equal(in.inventory.len, 9);
	snprintf(path, sizeof(path), "%s/pages-1.img", to);
	assert_int_equal(file_read(path, 1 << 20, &data, &len), 0);
	assert_int_equal(len, 600000);
	assert_memory_equal(data, large, len);
	free(data);
	free(large);
	images_in_done(&in);
	channel_done(&p.source);
	channel_done(&p.target);
	scratch_remove(from);
	scratch_remove(to);
}

static int take(struct images_in *in, const char *name, uint64_t offset, uint64_t total, size_t len)
{
	static const uint8_t data[64];
	struct msg_image m = {.name = msg_string(name), .offset = offset, .total = total,
		.data = {data, len}};
	struct err e = ERR_INIT;

	return images_take(in, &m, &e);
}

/* Whoever sends us to it is not the porter. */
static void a_worker_unpacks_nothing(void **state)
{
	char *to = scratch_make();
	struct msg_image m = {.name = msg_string("pages-1.img"), .total = 20, .unpacked = 20, .data = {"x", 1}};
	struct images_in in;
	struct err e = ERR_INIT;

	(void)state;
	images_in_init(&in, to, false, 100);
	assert_int_equal(images_take(&in, &m, &e), -EPROTO);
	images_in_done(&in);
	scratch_remove(to);
}

static void images_out_of_order_or_too_large_are_refused(void **state)
{
	char *to = scratch_make();
	struct images_in in;
	struct msg_images_end end = {.count = 1, .bytes = 20};
	struct err e = ERR_INIT;

	(void)state;
	images_in_init(&in, to, false, 100);
	assert_int_equal(take(&in, "pages-1.img", 0, 20, 10), 0);
	assert_int_equal(take(&in, "pages-2.img", 0, 20, 10), -EPROTO);
	assert_int_equal(take(&in, "pages-1.img", 5, 20, 10), -EPROTO);
	assert_int_equal(images_finish(&in, &end, &e), -EPROTO);
	images_in_done(&in);
	images_in_init(&in, to, false, 100);
	assert_int_equal(take(&in, "pages-3.img", 7, 20, 10), -EPROTO);
	assert_int_equal(take(&in, "pages-1.img", 0, 20, 10), -EEXIST);
	images_in_done(&in);
	images_in_init(&in, to, false, 100);
	assert_int_equal(take(&in, "pages-4.img", 0, 64, 64), 0);
	assert_int_equal(take(&in, "pages-5.img", 0, 64, 64), -ENOSPC);
	images_in_done(&in);
	scratch_remove(to);
}

static int take_bytes(struct images_in *in, const char *name, const void *data, size_t len)
{
	struct msg_image m = {.name = msg_string(name), .total = len, .data = {data, len}};
	struct err e = ERR_INIT;

	return images_take(in, &m, &e);
}

static void images_are_what_criu_names_so(void **state)
{
	static const char core[] = "\x19\x43\x56\x54\x47\x38\x05\x55rest";
	static const char inventory[] = "\x16\x31\x31\x58rest";
	static const char *const unknown[] = {"evil.img", "core-1.img.sh", "core-.img", "core--1.img",
		"core-00000000000000001.img", "core-1x.img", "parent", "descriptors.json", "criu.conf",
		"binfmt-misc.img", "autofs-1.img", "tunfile.img", "ghost-file-G.img", "stats-restore"};
	char *to = scratch_make();
	struct images_in in;

	(void)state;
	images_in_init(&in, to, false, 1000);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(take_bytes(&in, unknown[i], core, 12), -EPERM);
	assert_int_equal(take_bytes(&in, "iptables-7.img", "*filter", 7), -EPERM);
	assert_int_equal(take_bytes(&in, "mm-1.img", core, 12), -EBADMSG);
	assert_int_equal(take_bytes(&in, "core-1.img", core, 7), -EBADMSG);
	assert_int_equal(take_bytes(&in, "core-1.img", core, 12), 0);
	assert_int_equal(take_bytes(&in, "core-1.img", core, 12), -EEXIST);
	images_in_done(&in);
	images_in_init(&in, to, true, 1000);
	assert_int_equal(take_bytes(&in, "iptables-7.img", "*filter", 7), 0);
	assert_int_equal(take_bytes(&in, "ghost-file-1f.img", "\x19\x43\x56\x54\x05\x36\x58\x52", 8), 0);
	assert_int_equal(take_bytes(&in, IMAGE_INVENTORY, inventory, 8), 0);
	assert_int_equal(take_bytes(&in, IMAGE_INVENTORY, inventory, 8), -EPROTO);
	images_in_done(&in);
	images_in_init(&in, to, true, 1000);
	assert_int_equal(take(&in, "pages-9.img", 0, UINT64_MAX, 64), -ENOSPC);
	assert_int_equal(take(&in, "pages-9.img", 0, 64, 0), -EPROTO);
	images_in_done(&in);
	scratch_remove(to);
}

static int check_descriptors(const char *text)
{
	struct msg_bytes b = msg_string(text);
	struct err e = ERR_INIT;

	return images_check_descriptors(&b, &e);
}

static void descriptors_are_a_few_strings(void **state)
{
	(void)state;
	assert_int_equal(check_descriptors("[\"/dev/null\",\"pipe:[1]\",\"/dev/null\"]"), 0);
	assert_int_equal(check_descriptors("[]"), 0);
	assert_int_equal(check_descriptors(""), -EBADMSG);
	assert_int_equal(check_descriptors("{}"), -EBADMSG);
	assert_int_equal(check_descriptors("[1,2,3]"), -EBADMSG);
	assert_int_equal(check_descriptors("[\"\",\"\",\"\",\"\"]"), -EBADMSG);
	assert_int_equal(check_descriptors("[\"a\"] x"), -EBADMSG);
}

/* --- pages ------------------------------------------------------------------------------------ */

static struct keeper *start_keeper(void)
{
	struct keeper_config c = {.max_bytes = 64 << 20};
	struct keeper *k;
	struct err e = ERR_INIT;

	assert_int_equal(keeper_start(&c, &k, &e), 0);
	return k;
}

/* A receiver in a thread, as a porter has it: with a line that the keeper's owner has lent. */
struct receiving {
	struct ends source, worker; /* worker.target: ours */
	struct keeper_line *line;
	struct err error;
	int result;
	pthread_t thread;
};

static void *receive(void *arg)
{
	struct receiving *r = arg;

	r->result = receiver_serve(&r->source.target, &r->worker.source, r->line, &r->error);
	return NULL;
}

static void receiving_start(struct receiving *r, struct keeper *k)
{
	int fds[2];

	*r = (struct receiving){.result = -1};
	connect_ends(&r->source, CHANNEL_BULK);
	connect_ends(&r->worker, CHANNEL_BULK);
	keeper_line_lend(keeper_stream_line(k, 0), fds);
	fds[0] = dup(fds[0]);
	fds[1] = dup(fds[1]);
	assert_int_equal(keeper_line_borrow(fds, &r->line), 0);
	assert_int_equal(pthread_create(&r->thread, NULL, receive, r), 0);
}

static void receiving_end(struct receiving *r)
{
	pthread_join(r->thread, NULL);
	channel_done(&r->worker.target);
	keeper_line_free(r->line);
	channel_done(&r->worker.source);
	channel_done(&r->source.source);
	channel_done(&r->source.target);
}

static void pages_go_through_a_receiver_to_the_keeper(void **state)
{
	static uint8_t pages[PAGES_TO_BYTES(4)];
	struct keeper *k = start_keeper();
	struct pager_stats stats;
	struct receiving r;
	struct page_sink sink;
	struct err e = ERR_INIT;
	struct msg m;

	(void)state;
	receiving_start(&r, k);
	sink = bulk_sink(&r.source.source);
	memset(pages, 3, sizeof(pages));
	assert_int_equal(sink.pages(sink.ctx, 1, 0x100000, 4, CODEC_RAW, pages, sizeof(pages), &e), 0);
	assert_int_equal(sink.zeros(sink.ctx, 1, 0x104000, 4, &e), 0);
	assert_int_equal(sink.mark(sink.ctx, &e), 0);
	assert_int_equal(keeper_stats(k, &stats), 0);
	assert_int_equal(stats.arrived, 8);
	assert_int_equal(sink.cut(sink.ctx, &e), 0);
	assert_int_equal(channel_expect(&r.worker.target, MSG_CUT, &m, SOON, &e), 0);
	assert_int_equal(sink.pages(sink.ctx, 2, 0x100000, 4, CODEC_RAW, pages, sizeof(pages), &e), 0);
	assert_int_equal(sink.forget(sink.ctx, 2, 0x100000, 4, &e), 0);
	assert_int_equal(sink.end(sink.ctx, 8, sizeof(pages), &e), 0);
	assert_int_equal(channel_expect(&r.worker.target, MSG_BULK_END, &m, SOON, &e), 0);
	assert_int_equal(m.body.bulk_end.pages, 8);
	assert_int_equal(keeper_stats(k, &stats), 0);
	assert_int_equal(stats.store_peak, PAGES_TO_BYTES(8));
	assert_int_equal(stats.store_used, PAGES_TO_BYTES(4));
	channel_done(&r.worker.target);
	receiving_end(&r);
	assert_int_equal(r.result, 0);
	keeper_free(k);
}

static void pages_that_are_none_end_a_receiver(void **state)
{
	struct keeper *k = start_keeper();
	struct receiving r;
	struct page_sink sink;
	struct err e = ERR_INIT;

	(void)state;
	receiving_start(&r, k);
	sink = bulk_sink(&r.source.source);
	assert_int_equal(sink.pages(sink.ctx, 1, 0x100000, 4, CODEC_ZSTD, "junk", 4, &e), 0);
	receiving_end(&r);
	assert_int_equal(r.result, -EBADMSG);
	assert_int_equal(r.error.class, ERR_PEER);
	keeper_free(k);
}

/* Who had it died in the middle: the next one hears no answers to what it has not asked. */
static void a_line_is_as_new_for_the_next_one(void **state)
{
	struct keeper *k = start_keeper();
	struct keeper_line *own = keeper_stream_line(k, 0), *line;
	int fds[2];

	(void)state;
	for (int i = 0; i < 10; i++) {
		keeper_line_lend(own, fds);
		fds[0] = dup(fds[0]);
		fds[1] = dup(fds[1]);
		assert_int_equal(keeper_line_borrow(fds, &line), 0);
		assert_int_equal(keeper_put(line, 1, 0x100000, 4, NULL), 0);
		assert_int_equal(keeper_flush(line), 0);
		/* Refused, and not heard of here. */
		assert_int_equal(keeper_put(line, 1, 0x100001, 4, NULL), 0);
		assert_int_equal(keeper_put(line, 1, 0x100002, 4, NULL), 0);
		keeper_line_free(line);
		keeper_renew(own);
	}
	keeper_free(k);
}

/* --- porters ---------------------------------------------------------------------------------- */

struct portering {
	struct lane *lane; /* the worker is a source */
	enum msg_channel kind;
	struct transport *to_peer, *to_worker;
	struct channel peer, worker; /* the ends that it stands between */
	pthread_t thread;
};

static void *port(void *arg)
{
	struct portering *p = arg;

	porter_serve(p->to_peer, p->to_worker, p->lane, p->kind);
	return NULL;
}

static void portering_begin(struct portering *p, struct lane *lane, enum msg_channel kind)
{
	struct child none = CHILD_INIT;
	struct transport *a, *b;
	struct err e = ERR_INIT;
	int outer[2], inner[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, outer), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, inner), 0);
	assert_int_equal(transport_plain(outer[0], outer[0], &a, &e), 0);
	assert_int_equal(transport_plain(outer[1], outer[1], &p->to_peer, &e), 0);
	assert_int_equal(transport_plain(inner[0], inner[0], &p->to_worker, &e), 0);
	assert_int_equal(transport_carried(inner[1], -1, lane, &none, &b, &e), 0);
	p->lane = lane;
	p->kind = kind;
	channel_init(&p->peer, a, kind, !lane);
	channel_init(&p->worker, b, kind, lane != NULL);
	assert_int_equal(pthread_create(&p->thread, NULL, port, p), 0);
}

/* Between a source and a worker. */
static void portering_start(struct portering *p)
{
	portering_begin(p, NULL, CHANNEL_CONTROL);
}

static void portering_end(struct portering *p)
{
	channel_done(&p->peer);
	channel_done(&p->worker);
	pthread_join(p->thread, NULL);
}

static void a_porter_passes_messages_both_ways(void **state)
{
	const struct msg_progress progress = {.done = 1, .total = 2};
	struct portering p;
	struct err e = ERR_INIT;
	struct msg m;

	(void)state;
	portering_start(&p);
	assert_int_equal(channel_send(&p.peer, MSG_ASK, &(struct msg_ask){.id = {1, 2, 3}}, SOON, &e), 0);
	assert_int_equal(channel_expect(&p.worker, MSG_ASK, &m, SOON, &e), 0);
	assert_int_equal(m.body.ask.id[2], 3);
	assert_int_equal(channel_send(&p.worker, MSG_PROGRESS, &progress, SOON, &e), 0);
	assert_int_equal(channel_expect(&p.peer, MSG_PROGRESS, &m, SOON, &e), 0);
	assert_int_equal(m.body.progress.total, 2);
	/* What was said last arrives, and then the end. */
	assert_int_equal(channel_send(&p.worker, MSG_BYE, NULL, SOON, &e), 0);
	channel_done(&p.worker);
	assert_int_equal(channel_expect(&p.peer, MSG_BYE, &m, SOON, &e), 0);
	assert_int_equal(channel_recv(&p.peer, &m, SOON, &e), -EPIPE);
	portering_end(&p);
}

/* The worker doesn't listen, and both have much to say. */
static void a_porter_never_waits_for_the_worker(void **state)
{
	static uint8_t data[MSG_DATA_MAX];
	struct msg_image image = {.name = msg_string("x.img"), .total = sizeof(data), .data = {data, sizeof(data)}};
	const struct msg_progress progress = {.done = 1, .total = 2};
	struct portering p;
	struct err e = ERR_INIT;
	struct msg m;

	(void)state;
	portering_start(&p);
	/* More than the socket to the worker takes. */
	assert_int_equal(channel_send_data(&p.peer, MSG_IMAGE, &image, &image.data, SOON, &e), 0);
	for (int i = 0; i < 20000; i++) {
		assert_int_equal(channel_send(&p.worker, MSG_PROGRESS, &progress, SOON, &e), 0);
		assert_int_equal(channel_expect(&p.peer, MSG_PROGRESS, &m, SOON, &e), 0);
	}
	assert_int_equal(channel_expect(&p.worker, MSG_IMAGE, &m, SOON, &e), 0);
	assert_int_equal(m.body.image.data.len, sizeof(data));
	msg_done(&m);
	channel_done(&p.peer);
	assert_int_equal(channel_recv(&p.worker, &m, SOON, &e), -EPIPE);
	portering_end(&p);
}

/* So that the worker has to know neither. */
static void a_porter_unpacks_images_and_drops_padding(void **state)
{
	static const uint8_t image[100000];
	const struct msg_pad pad = {{image, 1000}};
	struct portering p;
	struct err e = ERR_INIT;
	struct msg m;
	char *dir = scratch_make();

	(void)state;
	scratch_file(dir, "pages-1.img", image, sizeof(image));
	portering_start(&p);
	assert_int_equal(channel_send(&p.peer, MSG_PAD, &pad, SOON, &e), 0);
	/* Over such a link everything is compressed. */
	assert_int_equal(images_send(&p.peer, dir, 1, &e), 0);
	assert_true(transport_written(p.peer.transport) < 10000);
	assert_int_equal(channel_expect(&p.worker, MSG_IMAGE, &m, SOON, &e), 0);
	assert_int_equal(m.body.image.unpacked, 0);
	assert_int_equal(m.body.image.data.len, sizeof(image));
	assert_memory_equal(m.body.image.data.p, image, sizeof(image));
	msg_done(&m);
	assert_int_equal(channel_expect(&p.worker, MSG_IMAGES_END, &m, SOON, &e), 0);
	assert_int_equal(m.body.images_end.bytes, sizeof(image));
	msg_done(&m);
	portering_end(&p);
	scratch_remove(dir);
}

static void a_porter_refuses_damaged_images(void **state)
{
	struct msg_image image = {.name = msg_string("x.img"), .total = 5000, .unpacked = 5000, .data = {"no zstd", 7}};
	struct portering p;
	struct err e = ERR_INIT;
	struct msg m;

	(void)state;
	portering_start(&p);
	assert_int_equal(channel_send(&p.peer, MSG_IMAGE, &image, SOON, &e), 0);
	assert_int_equal(channel_recv(&p.worker, &m, SOON, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "x.img is damaged"));
	portering_end(&p);
}

static void a_porter_keeps_what_is_no_message(void **state)
{
	struct portering p;
	struct err e = ERR_INIT, why = ERR_INIT;
	struct msg m;

	(void)state;
	portering_start(&p);
	assert_int_equal(transport_write(p.peer.transport, "garbage garbage", 15, NULL, 0, SOON, &e), 0);
	assert_int_equal(channel_recv(&p.worker, &m, SOON, &e), -EPROTO);
	assert_int_equal(e.class, ERR_PEER);
	assert_non_null(strstr(e.text, "broke the protocol"));
	/* The source is told. */
	channel_abort(&p.worker, &e);
	channel_done(&p.worker);
	assert_true(channel_recv(&p.peer, &m, SOON, &why) < 0);
	assert_non_null(strstr(why.text, "broke the protocol"));
	portering_end(&p);
}

static void a_porter_of_pages_waits_for_its_line(void **state)
{
	static uint8_t page[PAGE_BYTES];
	struct keeper *k = start_keeper();
	struct msg_hello hello = {.version_min = MSG_VERSION, .version_max = MSG_VERSION, .channel = CHANNEL_BULK};
	struct pager_stats stats;
	struct portering p;
	struct page_sink sink;
	struct err e = ERR_INIT;
	struct msg m;

	(void)state;
	portering_start(&p);
	p.peer.kind = p.worker.kind = CHANNEL_BULK;
	hello.host = hello.software = msg_string("test");
	assert_int_equal(channel_send(&p.peer, MSG_HELLO, &hello, SOON, &e), 0);
	sink = bulk_sink(&p.peer);
	memset(page, 7, sizeof(page));
	assert_int_equal(sink.pages(sink.ctx, 1, 0x100000, 1, CODEC_RAW, page, sizeof(page), &e), 0);
	assert_int_equal(sink.end(sink.ctx, 1, sizeof(page), &e), 0);
	assert_int_equal(channel_expect(&p.worker, MSG_HELLO, &m, SOON, &e), 0);
	msg_done(&m);
	assert_int_equal(channel_wait(&p.worker, -1, deadline_in_ms(50)), -ETIMEDOUT);
	assert_int_equal(porter_carry_bulk(&p.worker, keeper_stream_line(k, 3), &e), 0);
	assert_int_equal(channel_expect(&p.worker, MSG_BULK_END, &m, SOON, &e), 0);
	assert_int_equal(keeper_stats(k, &stats), 0);
	assert_int_equal(stats.store_used, PAGE_BYTES);
	channel_done(&p.worker);
	pthread_join(p.thread, NULL);
	channel_done(&p.peer);
	keeper_free(k);
}

static void a_sources_porter_passes_on_what_a_target_may_say(void **state)
{
	static uint8_t pages[32 * PAGE_BYTES];
	const struct msg_fault fault = {.vpid = 1, .pages = 1, .addr = 0x100000};
	struct portering p;
	struct page_sink sink;
	struct lane *lane;
	struct err e = ERR_INIT;
	struct msg m;

	(void)state;
	assert_int_equal(lane_new(&lane), 0);
	portering_begin(&p, lane, CHANNEL_URGENT);
	assert_int_equal(channel_send(&p.peer, MSG_FAULT, &fault, SOON, &e), 0);
	assert_int_equal(channel_expect(&p.worker, MSG_FAULT, &m, SOON, &e), 0);
	assert_int_equal(m.body.fault.addr, fault.addr);
	/* More of them than there are slots; a few pages need none. */
	sink = bulk_sink(&p.worker);
	for (uint32_t i = 1; i <= 32; i++) {
		memset(pages, (int)i, sizeof(pages));
		assert_int_equal(sink.pages(sink.ctx, 1, fault.addr, i, CODEC_RAW, pages, PAGES_TO_BYTES(i), &e), 0);
		assert_int_equal(channel_expect(&p.peer, MSG_PAGES, &m, SOON, &e), 0);
		assert_int_equal(m.body.pages.data.len, PAGES_TO_BYTES(i));
		assert_memory_equal(m.body.pages.data.p, pages, PAGES_TO_BYTES(i));
		msg_done(&m);
	}
	/* Pages go one way. */
	sink = bulk_sink(&p.peer);
	assert_int_equal(sink.pages(sink.ctx, 1, fault.addr, 1, CODEC_RAW, pages, PAGE_BYTES, &e), 0);
	assert_int_equal(channel_recv(&p.worker, &m, SOON, &e), -EPROTO);
	assert_int_equal(e.class, ERR_PEER);
	assert_non_null(strstr(e.text, "broke the protocol"));
	portering_end(&p);
}

static void faults_are_answered_with_the_page(void **state)
{
	uint8_t *page = aligned_alloc(PAGE_BYTES, 2 * PAGE_BYTES);
	struct space space = SPACE_INIT;
	struct answerer *a;
	struct ends p;
	struct err e = ERR_INIT;
	struct msg m;
	pid_t self = getpid();

	(void)state;
	memset(page, 5, PAGE_BYTES);
	memset(page + PAGE_BYTES, 0, PAGE_BYTES);
	assert_int_equal(space_open(&space, &self, 1, &e), 0);
	connect_ends(&p, CHANNEL_URGENT);
	assert_int_equal(answerer_start(&p.source, &space, 0, &a, &e), 0);
	struct msg_fault f = {.vpid = (uint32_t)self, .pages = 1, .addr = (uintptr_t)page};
	assert_int_equal(channel_send(&p.target, MSG_FAULT, &f, SOON, &e), 0);
	assert_int_equal(channel_expect(&p.target, MSG_PAGES, &m, SOON, &e), 0);
	assert_memory_equal(m.body.pages.data.p, page, PAGE_BYTES);
	msg_done(&m);
	f.addr += PAGE_BYTES;
	assert_int_equal(channel_send(&p.target, MSG_FAULT, &f, SOON, &e), 0);
	assert_int_equal(channel_expect(&p.target, MSG_ZEROS, &m, SOON, &e), 0);
	msg_done(&m);
	f.vpid = 1; /* not a process of this container */
	assert_int_equal(channel_send(&p.target, MSG_FAULT, &f, SOON, &e), 0);
	assert_int_equal(fd_wait(answerer_event_fd(a), POLLIN, SOON), 0);
	assert_int_equal(answerer_result(a, &e), -ESRCH);
	answerer_free(a);
	channel_done(&p.target);
	space_done(&space);
	free(page);
}

/* --- manifest --------------------------------------------------------------------------------- */

static void a_manifest_reads_back(void **state)
{
	static struct manifest m, n;
	char *dir = scratch_make();
	struct err e = ERR_INIT;

	(void)state;
	m = (struct manifest){.container = "c", .bundle = "/srv/c", .config_text = "{}",
		.config_len = 2, .arch = "x86_64", .criu_version = "4.2.1", .cpu_features = "fpu",
		.memory_bytes = 77, .file_locks = true, .n_listeners = 1};
	memset(m.images_digest, 9, DIGEST_LEN);
	m.listeners[0] = (struct listener){.protocol = 17, .family = 4, .port = 26000};
	assert_int_equal(manifest_write(dir, &m, &e), 0);
	assert_int_equal(manifest_read(dir, &n, &e), 0);
	assert_string_equal(n.container, "c");
	assert_int_equal(n.memory_bytes, 77);
	assert_true(n.file_locks);
	assert_int_equal(n.listeners[0].port, 26000);
	assert_memory_equal(n.images_digest, m.images_digest, DIGEST_LEN);
	manifest_done(&n);
	scratch_file(dir, MANIFEST_NAME, "{}", 2);
	assert_true(manifest_read(dir, &n, &e) < 0);
	assert_int_equal(e.class, ERR_REFUSED);
	manifest_done(&n);
	scratch_remove(dir);
}

/* --- the report ------------------------------------------------------------------------------- */

static char *summary_of(bool has_result, bool json)
{
	struct summary s = {.container = "c", .from = "a", .to = "b", .mode = "hybrid", .ok = true,
		.has_result = has_result, .has_address = true};
	struct report r;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	report_init(&r, f, json);
	if (!json)
		r.format = REPORT_PLAIN;
	report_summary(&r, &s);
	fclose(f);
	return text;
}

static void a_report_leaves_out_what_nobody_has_told(void **state)
{
	static const char *const told[] = {"faults", "memory", "delivered"};

	(void)state;
	for (int i = 0; i < 4; i++) {
		_cleanup_free_ char *text = summary_of(i % 2, i / 2);

		for (size_t k = 0; k < sizeof(told) / sizeof(told[0]); k++)
			assert_int_equal(strstr(text, told[k]) != NULL, i % 2);
		assert_non_null(strstr(text, "drain"));
		assert_non_null(strstr(text, "forwarded"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_report_leaves_out_what_nobody_has_told),
		cmocka_unit_test(stages_are_undone_in_the_opposite_order),
		cmocka_unit_test(others_are_dealt_with_while_waiting),
		cmocka_unit_test(images_arrive_whole),
		cmocka_unit_test(images_are_what_criu_names_so),
		cmocka_unit_test(descriptors_are_a_few_strings),
		cmocka_unit_test(a_worker_unpacks_nothing),
		cmocka_unit_test(images_out_of_order_or_too_large_are_refused),
		cmocka_unit_test(pages_go_through_a_receiver_to_the_keeper),
		cmocka_unit_test(pages_that_are_none_end_a_receiver),
		cmocka_unit_test(a_line_is_as_new_for_the_next_one),
		cmocka_unit_test(a_porter_passes_messages_both_ways),
		cmocka_unit_test(a_porter_never_waits_for_the_worker),
		cmocka_unit_test(a_porter_unpacks_images_and_drops_padding),
		cmocka_unit_test(a_porter_refuses_damaged_images),
		cmocka_unit_test(a_porter_keeps_what_is_no_message),
		cmocka_unit_test(a_porter_of_pages_waits_for_its_line),
		cmocka_unit_test(a_sources_porter_passes_on_what_a_target_may_say),
		cmocka_unit_test(faults_are_answered_with_the_page),
		cmocka_unit_test(a_manifest_reads_back),
	};

	/* As cli_block_signals() does: a peer that is gone is an error of write(2). */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
