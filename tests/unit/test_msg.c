/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "wire/msg.h"

#include <errno.h>

/* Frames that tests/wire/frames.py wrote, from docs/PROTOCOL.md alone. */
#define FRAMES TEST_ROOT "/fuzz/corpus/msg/"

struct golden {
	char *data;
	size_t len;
	struct msg m;
};

static void load(struct golden *g, const char *name, enum msg_type want)
{
	char path[512];
	enum msg_type type = 0;
	size_t len = 0;

	snprintf(path, sizeof(path), "%s%s", FRAMES, name);
	assert_int_equal(file_read(path, FRAME_PAYLOAD_MAX, &g->data, &g->len), 0);
	assert_int_equal(msg_header((uint8_t *)g->data, &type, &len), 0);
	assert_int_equal(type, want);
	assert_string_equal(msg_name(type), name);
	assert_int_equal(len, g->len - FRAME_HEADER);
	assert_int_equal(msg_decode(type, g->data + FRAME_HEADER, len, &g->m), 0);
}

/* What was decoded encodes to the same bytes. */
static void check_and_free(struct golden *g)
{
	_cleanup_buf_ struct buf again;

	buf_init(&again, FRAME_PAYLOAD_MAX + FRAME_HEADER);
	assert_int_equal(msg_encode(g->m.type, &g->m.body, &again), 0);
	assert_int_equal(again.len, g->len);
	assert_memory_equal(again.data, g->data, g->len);
	msg_done(&g->m);
	free(g->data);
}

static void every_type_has_the_documented_bytes(void **state)
{
	unsigned known = 0;
	struct golden g;

	(void)state;
	for (unsigned type = 0; type < 64; type++) {
		if (strcmp(msg_name(type), "?") == 0)
			continue;
		load(&g, msg_name(type), type);
		check_and_free(&g);
		known++;
	}
	assert_int_equal(known, 30);
}

static void fields_come_out_as_they_went_in(void **state)
{
	const struct msg_listener *l;
	const struct msg_verdict *v;
	struct golden g;

	(void)state;
	load(&g, "OFFER", MSG_OFFER);
	assert_string_equal(msg_text(&g.m.body.offer.container), "xonotic");
	assert_int_equal(g.m.body.offer.criu_version, 40201);
	assert_int_equal(g.m.body.offer.listeners.n, 1);
	l = g.m.body.offer.listeners.v;
	assert_int_equal(l->port, 26000);
	assert_int_equal(l->address[15], 100);
	check_and_free(&g);
	load(&g, "VERDICTS", MSG_VERDICTS);
	v = g.m.body.verdicts.list.v;
	assert_int_equal(v[1].level, LEVEL_NO);
	assert_string_equal(msg_text(&v[1].remedy), "delete it");
	check_and_free(&g);
	load(&g, "PAGES", MSG_PAGES);
	assert_true(g.m.body.pages.addr == 0x7f0000001000);
	assert_int_equal(g.m.body.pages.data.len, 4096);
	check_and_free(&g);
}

static void every_shorter_and_longer_payload_is_refused(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 64; type++) {
		struct golden g;
		struct msg m;

		if (strcmp(msg_name(type), "?") == 0)
			continue;
		load(&g, msg_name(type), type);
		for (size_t len = 0; len < g.len - FRAME_HEADER; len++)
			assert_int_equal(msg_decode(type, g.data + FRAME_HEADER, len, &m), -EBADMSG);
		g.data = realloc(g.data, g.len + 1);
		g.data[g.len] = 0;
		assert_true(msg_decode(type, g.data + FRAME_HEADER, g.len - FRAME_HEADER + 1, &m) < 0);
		msg_done(&g.m);
		free(g.data);
	}
}

static int round_trip(enum msg_type type, const void *body)
{
	_cleanup_buf_ struct buf b;
	struct msg m;
	int r;

	buf_init(&b, FRAME_PAYLOAD_MAX + FRAME_HEADER);
	r = msg_encode(type, body, &b);
	if (r == 0)
		r = msg_decode(type, b.data + FRAME_HEADER, b.len - FRAME_HEADER, &m);
	if (r == 0)
		msg_done(&m);
	return r;
}

static int image_named(const char *name)
{
	struct msg_image m = {.name = msg_string(name), .total = 0};

	return round_trip(MSG_IMAGE, &m);
}

static void names_can_not_leave_their_directory(void **state)
{
	(void)state;
	assert_int_equal(image_named("core-1.img"), 0);
	assert_int_equal(image_named(""), -EBADMSG);
	assert_int_equal(image_named(".."), -EBADMSG);
	assert_int_equal(image_named("a/b"), -EBADMSG);
	assert_int_equal(image_named(".hidden"), -EBADMSG);
}

static void text_is_utf8_without_control_characters(void **state)
{
	static const char *const bad[] = {"\n", "\x1b[2J", "\x7f", "\x80", "\xc3", "\xc0\xaf",
		"\xed\xa0\x80", "\xf5\x80\x80\x80", "\xc2\x9b", "\xe0\x80\xaf"};
	struct msg_abort m = {.class = 1, .code = 1, .text = msg_string("ger\xc3\xa4t \xf0\x9f\x90\xa6")};

	(void)state;
	assert_int_equal(round_trip(MSG_ABORT, &m), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		m.text = msg_string(bad[i]);
		assert_int_equal(round_trip(MSG_ABORT, &m), -EBADMSG);
	}
}

static int piece(uint64_t total, uint32_t unpacked, size_t len)
{
	struct msg_image m = {.name = msg_string("pages-1.img"), .total = total, .unpacked = unpacked, .data = {"xyz", len}};

	return round_trip(MSG_IMAGE, &m);
}

static void a_piece_is_within_its_image(void **state)
{
	(void)state;
	assert_int_equal(piece(3, 0, 3), 0);
	assert_int_equal(piece(2, 0, 3), -EBADMSG);
	assert_int_equal(piece(1000, 1000, 3), 0);
	assert_int_equal(piece(999, 1000, 3), -EBADMSG);
	assert_int_equal(piece(UINT64_MAX, MSG_DATA_MAX + 1, 3), -EMSGSIZE);
}

static int pages_at(uint64_t addr, uint16_t n)
{
	struct msg_pages m = {.vpid = 1, .pages = n, .addr = addr, .data = {"x", 1}};

	return round_trip(MSG_PAGES, &m);
}

static void page_runs_are_whole_and_stay_in_their_block(void **state)
{
	struct msg_zeros z = {.vpid = 1, .pages = 2, .addr = UINT64_MAX - 4095};

	(void)state;
	assert_int_equal(pages_at(0x1000, 64), 0);
	assert_int_equal(pages_at(0x1001, 1), -EBADMSG);
	assert_int_equal(pages_at(0x1ff000, 1), 0);
	assert_int_equal(pages_at(0x1ff000, 2), -EBADMSG);
	assert_int_equal(pages_at(0x1000, 0), -EBADMSG);
	assert_int_equal(pages_at(0x1000, 65), -EMSGSIZE);
	assert_int_equal(round_trip(MSG_ZEROS, &z), -EBADMSG);
}

static int lacking(struct msg_lack a, struct msg_lack b)
{
	struct msg_lack v[] = {a, b};
	struct msg_lacking m = {.list = {v, 2}};

	return round_trip(MSG_LACKING, &m);
}

static void what_is_lacking_ascends(void **state)
{
	(void)state;
	assert_int_equal(lacking((struct msg_lack){1, 2, 0x1000}, (struct msg_lack){1, 1, 0x3000}), 0);
	assert_int_equal(lacking((struct msg_lack){1, 2, 0x1000}, (struct msg_lack){2, 1, 0x1000}), 0);
	assert_int_equal(lacking((struct msg_lack){1, 2, 0x1000}, (struct msg_lack){1, 1, 0x2000}),
		-EBADMSG);
	assert_int_equal(lacking((struct msg_lack){2, 1, 0x1000}, (struct msg_lack){1, 1, 0x3000}),
		-EBADMSG);
	assert_int_equal(lacking((struct msg_lack){1, 0, 0x1000}, (struct msg_lack){1, 1, 0x3000}),
		-EBADMSG);
	assert_int_equal(lacking((struct msg_lack){1, 1, 0x1000}, (struct msg_lack){1, 2, -4096ull}),
		-EBADMSG);
}

static void headers_are_checked_before_anything_is_read(void **state)
{
	uint8_t unknown[FRAME_HEADER] = {0, 0, 0, 0, 0, 63, 0, 0};
	uint8_t large[FRAME_HEADER] = {0xff, 0, 0, 0, 0, MSG_HELLO, 0, 0};
	uint8_t flags[FRAME_HEADER] = {0, 0, 0, 0, 0, MSG_BYE, 0, 1};
	enum msg_type type;
	size_t len;

	(void)state;
	assert_int_equal(msg_header(unknown, &type, &len), -EPROTO);
	assert_int_equal(msg_header(large, &type, &len), -EMSGSIZE);
	assert_int_equal(msg_header(flags, &type, &len), -EPROTO);
}

static void who_may_say_what_and_where(void **state)
{
	(void)state;
	assert_true(msg_allowed(MSG_COMMIT, CHANNEL_CONTROL, true));
	assert_false(msg_allowed(MSG_COMMIT, CHANNEL_CONTROL, false));
	assert_false(msg_allowed(MSG_COMMIT, CHANNEL_BULK, true));
	assert_true(msg_allowed(MSG_FAULT, CHANNEL_URGENT, false));
	assert_false(msg_allowed(MSG_FAULT, CHANNEL_URGENT, true));
	assert_true(msg_allowed(MSG_ABORT, CHANNEL_BULK, true));
	assert_false(msg_allowed(63, CHANNEL_CONTROL, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_has_the_documented_bytes),
		cmocka_unit_test(fields_come_out_as_they_went_in),
		cmocka_unit_test(every_shorter_and_longer_payload_is_refused),
		cmocka_unit_test(names_can_not_leave_their_directory),
		cmocka_unit_test(text_is_utf8_without_control_characters),
		cmocka_unit_test(a_piece_is_within_its_image),
		cmocka_unit_test(page_runs_are_whole_and_stay_in_their_block),
		cmocka_unit_test(what_is_lacking_ascends),
		cmocka_unit_test(headers_are_checked_before_anything_is_read),
		cmocka_unit_test(who_may_say_what_and_where),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
