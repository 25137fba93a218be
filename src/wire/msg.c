/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/msg.h"

#include "base/ranges.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum kind { U8, U16, U32, U64, FIXED, STRING, BLOB, LIST };

/* One field: where it is in its struct, and its limit: of a number the largest value, of bytes
 * the most of them, of FIXED their exact number, of a list the most records. */
struct field {
	enum kind kind;
	size_t offset;
	uint64_t limit;
	const struct record *record; /* of a LIST */
};

struct record {
	size_t size;
	const struct field *fields;
	size_t n;
};

struct layout {
	const char *name;
	uint8_t channels; /* bit 1 << channel */
	uint8_t senders;  /* SOURCE | TARGET */
	uint32_t payload_max;
	struct record record;
};

#define SOURCE 1u
#define TARGET 2u
#define ON(channel) (1u << (channel))
#define F(kind, type, member, limit) {kind, offsetof(struct type, member), limit, NULL}
#define FLIST(type, member, limit, record) {LIST, offsetof(struct type, member), limit, record}
#define RECORD(type, table) {sizeof(struct type), table, sizeof(table) / sizeof((table)[0])}
#define U64_ANY UINT64_MAX

static const struct field hello[] = {
	F(U16, msg_hello, version_min, UINT16_MAX),
	F(U16, msg_hello, version_max, UINT16_MAX),
	F(U8, msg_hello, channel, CHANNEL_BULK),
	F(U8, msg_hello, index, 15),
	F(FIXED, msg_hello, token, MSG_ID_LEN),
	F(STRING, msg_hello, host, 255),
	F(STRING, msg_hello, software, 64),
};

static const struct field listener[] = {
	F(U8, msg_listener, protocol, UINT8_MAX),
	F(U8, msg_listener, family, 6),
	F(U16, msg_listener, port, UINT16_MAX),
	F(FIXED, msg_listener, address, 16),
};
static const struct record listener_record = RECORD(msg_listener, listener);

static const struct field offer[] = {
	F(FIXED, msg_offer, id, MSG_ID_LEN),
	F(U8, msg_offer, mode, MODE_HYBRID),
	F(U8, msg_offer, streams, 16),
	F(U32, msg_offer, flags, UINT32_MAX),
	F(STRING, msg_offer, container, 255),
	F(STRING, msg_offer, bundle, 4095),
	F(BLOB, msg_offer, config, 256 * 1024),
	F(FIXED, msg_offer, rootfs_digest, MSG_DIGEST_LEN),
	F(STRING, msg_offer, arch, 64),
	F(STRING, msg_offer, kernel, 128),
	F(STRING, msg_offer, runc_version, 64),
	F(U32, msg_offer, criu_version, UINT32_MAX),
	F(STRING, msg_offer, cpu_features, 8192),
	F(U64, msg_offer, memory_bytes, U64_ANY),
	FLIST(msg_offer, listeners, 256, &listener_record),
};

static const struct field verdict[] = {
	F(U8, msg_verdict, level, LEVEL_NO),
	F(STRING, msg_verdict, name, 64),
	F(STRING, msg_verdict, reason, 767),
	F(STRING, msg_verdict, remedy, 383),
};
static const struct record verdict_record = RECORD(msg_verdict, verdict);

static const struct field verdicts[] = {
	F(FIXED, msg_verdicts, token, MSG_ID_LEN),
	FLIST(msg_verdicts, list, 64, &verdict_record),
};

static const struct field prepare[] = {
	F(BLOB, msg_prepare, descriptors, MSG_DESCRIPTORS_MAX),
};

static const struct field image[] = {
	F(STRING, msg_image, name, 255),
	F(U64, msg_image, offset, U64_ANY),
	F(U64, msg_image, total, U64_ANY),
	F(U32, msg_image, unpacked, MSG_DATA_MAX),
	F(BLOB, msg_image, data, MSG_DATA_MAX),
};

static const struct field images_end[] = {
	F(U32, msg_images_end, count, UINT32_MAX),
	F(U64, msg_images_end, bytes, U64_ANY),
};

static const struct field phase[] = {
	F(STRING, msg_phase, name, 64),
	F(U64, msg_phase, ns, U64_ANY),
};
static const struct record phase_record = RECORD(msg_phase, phase);
static const struct field phases[] = {FLIST(msg_phases, list, 32, &phase_record)};

static const struct field progress[] = {
	F(U64, msg_progress, done, U64_ANY),
	F(U64, msg_progress, total, U64_ANY),
};

static const struct field count[] = {F(U32, msg_count, n, UINT32_MAX)};
static const struct record count_record = RECORD(msg_count, count);
static const struct field drained[] = {
	F(U64, msg_drained, pages, U64_ANY),
	F(U64, msg_drained, zero_pages, U64_ANY),
	F(U64, msg_drained, faults, U64_ANY),
	F(U64, msg_drained, urgent, U64_ANY),
	F(U64, msg_drained, fault_p50_ns, U64_ANY),
	F(U64, msg_drained, fault_p99_ns, U64_ANY),
	F(U64, msg_drained, store_peak, U64_ANY),
	F(U64, msg_drained, packets_delivered, U64_ANY),
	F(U64, msg_drained, packets_held, U64_ANY),
	F(U64, msg_drained, packets_overflow, U64_ANY),
	F(U64, msg_drained, packets_late, U64_ANY),
	F(U8, msg_drained, took_over, 1),
	FLIST(msg_drained, fault_times, 64, &count_record),
};

static const struct field packet[] = {{BLOB, 0, WIRE_PACKET_MAX, NULL}};
static const struct record packet_record = RECORD(msg_bytes, packet);
static const struct field held[] = {FLIST(msg_held, packets, WIRE_PACKETS_MAX, &packet_record)};

static const struct field ask[] = {F(FIXED, msg_ask, id, MSG_ID_LEN)};

static const struct field answer[] = {
	F(U8, msg_answer, state, STATE_LOST),
	F(FIXED, msg_answer, token, MSG_ID_LEN),
};

static const struct field resume[] = {F(U8, msg_resume, streams, 16)};

static const struct field lack[] = {
	F(U32, msg_lack, vpid, INT32_MAX),
	F(U32, msg_lack, pages, WIRE_ZEROS_MAX),
	F(U64, msg_lack, addr, U64_ANY),
};
static const struct record lack_record = RECORD(msg_lack, lack);
static const struct field lacking[] = {
	F(U8, msg_lacking, more, 1),
	FLIST(msg_lacking, list, WIRE_LACKS_MAX, &lack_record),
};

static const struct field abort_[] = {
	F(U8, msg_abort, class, 5),
	F(U32, msg_abort, code, INT32_MAX),
	F(STRING, msg_abort, text, 767),
	F(STRING, msg_abort, remedy, 383),
};

static const struct field fault[] = {
	F(U32, msg_fault, vpid, INT32_MAX),
	F(U32, msg_fault, pages, WIRE_PAGES_MAX),
	F(U64, msg_fault, addr, U64_ANY),
};

static const struct field pages[] = {
	F(U32, msg_pages, vpid, INT32_MAX),
	F(U8, msg_pages, encoding, 1),
	F(U16, msg_pages, pages, WIRE_PAGES_MAX),
	F(U64, msg_pages, addr, U64_ANY),
	F(BLOB, msg_pages, data, MSG_DATA_MAX),
};

static const struct field zeros[] = {
	F(U32, msg_zeros, vpid, INT32_MAX),
	F(U32, msg_zeros, pages, WIRE_ZEROS_MAX),
	F(U64, msg_zeros, addr, U64_ANY),
};

static const struct field dirty[] = {
	F(U32, msg_dirty, vpid, INT32_MAX),
	F(U32, msg_dirty, pages, WIRE_ZEROS_MAX),
	F(U64, msg_dirty, addr, U64_ANY),
};

static const struct field bulk_end[] = {
	F(U64, msg_bulk_end, pages, U64_ANY),
	F(U64, msg_bulk_end, bytes, U64_ANY),
};

static const struct field pad[] = {
	F(BLOB, msg_pad, data, MSG_DATA_MAX),
};

#define SMALL 65536
#define DATA (MSG_DATA_MAX + 512)
#define NOTHING {0, NULL, 0}

static const struct layout layouts[] = {
	[MSG_HELLO] = {"HELLO", ON(CHANNEL_CONTROL) | ON(CHANNEL_URGENT) | ON(CHANNEL_BULK),
		SOURCE | TARGET, SMALL, RECORD(msg_hello, hello)},
	[MSG_OFFER] = {"OFFER", ON(CHANNEL_CONTROL), SOURCE, FRAME_PAYLOAD_MAX,
		RECORD(msg_offer, offer)},
	[MSG_VERDICTS] = {"VERDICTS", ON(CHANNEL_CONTROL), TARGET, 2 * SMALL,
		RECORD(msg_verdicts, verdicts)},
	[MSG_PREPARE] = {"PREPARE", ON(CHANNEL_CONTROL), SOURCE, MSG_DESCRIPTORS_MAX + 4,
		RECORD(msg_prepare, prepare)},
	[MSG_PREPARED] = {"PREPARED", ON(CHANNEL_CONTROL), TARGET, 0, NOTHING},
	[MSG_IMAGE] = {"IMAGE", ON(CHANNEL_CONTROL), SOURCE, DATA, RECORD(msg_image, image)},
	[MSG_IMAGES_END] = {"IMAGES_END", ON(CHANNEL_CONTROL), SOURCE, SMALL,
		RECORD(msg_images_end, images_end)},
	[MSG_RESTORED] = {"RESTORED", ON(CHANNEL_CONTROL), TARGET, SMALL,
		RECORD(msg_phases, phases)},
	[MSG_COMMIT] = {"COMMIT", ON(CHANNEL_CONTROL), SOURCE, 0, NOTHING},
	[MSG_RUNNING] = {"RUNNING", ON(CHANNEL_CONTROL), TARGET, SMALL, RECORD(msg_phases, phases)},
	[MSG_PROGRESS] = {"PROGRESS", ON(CHANNEL_CONTROL), TARGET, SMALL,
		RECORD(msg_progress, progress)},
	[MSG_DRAINED] = {"DRAINED", ON(CHANNEL_CONTROL), TARGET, SMALL,
		RECORD(msg_drained, drained)},
	[MSG_BYE] = {"BYE", ON(CHANNEL_CONTROL), SOURCE | TARGET, 0, NOTHING},
	[MSG_ABORT] = {"ABORT", ON(CHANNEL_CONTROL) | ON(CHANNEL_URGENT) | ON(CHANNEL_BULK),
		SOURCE | TARGET, SMALL, RECORD(msg_abort, abort_)},
	[MSG_CHECK] = {"CHECK", ON(CHANNEL_CONTROL), SOURCE, 0, NOTHING},
	[MSG_HELD] = {"HELD", ON(CHANNEL_CONTROL), SOURCE, DATA, RECORD(msg_held, held)},
	[MSG_HELD_END] = {"HELD_END", ON(CHANNEL_CONTROL), SOURCE, 0, NOTHING},
	[MSG_ASK] = {"ASK", ON(CHANNEL_CONTROL), SOURCE, SMALL, RECORD(msg_ask, ask)},
	[MSG_STATE] = {"STATE", ON(CHANNEL_CONTROL), TARGET, SMALL, RECORD(msg_answer, answer)},
	[MSG_FAULT] = {"FAULT", ON(CHANNEL_URGENT), TARGET, SMALL, RECORD(msg_fault, fault)},
	[MSG_PAGES] = {"PAGES", ON(CHANNEL_URGENT) | ON(CHANNEL_BULK), SOURCE, DATA,
		RECORD(msg_pages, pages)},
	[MSG_ZEROS] = {"ZEROS", ON(CHANNEL_URGENT) | ON(CHANNEL_BULK), SOURCE, SMALL,
		RECORD(msg_zeros, zeros)},
	[MSG_BULK_END] = {"BULK_END", ON(CHANNEL_BULK), SOURCE, SMALL,
		RECORD(msg_bulk_end, bulk_end)},
	[MSG_DIRTY] = {"DIRTY", ON(CHANNEL_BULK), SOURCE, SMALL, RECORD(msg_dirty, dirty)},
	[MSG_CUT] = {"CUT", ON(CHANNEL_BULK), SOURCE, 0, NOTHING},
	[MSG_RESUME] = {"RESUME", ON(CHANNEL_CONTROL), SOURCE, SMALL, RECORD(msg_resume, resume)},
	[MSG_LACKING] = {"LACKING", ON(CHANNEL_CONTROL), TARGET, 2 * SMALL,
		RECORD(msg_lacking, lacking)},
	[MSG_MARK] = {"MARK", ON(CHANNEL_BULK), SOURCE | TARGET, 0, NOTHING},
	[MSG_PAD] = {"PAD", ON(CHANNEL_CONTROL), SOURCE, DATA, RECORD(msg_pad, pad)},
	[MSG_FREEZE] = {"FREEZE", ON(CHANNEL_CONTROL), SOURCE, 0, NOTHING},
};

static const char *const modes[] = {
	[MODE_STOP] = "stop", [MODE_POST] = "post", [MODE_PRE] = "pre", [MODE_HYBRID] = "hybrid"};

const char *msg_mode_name(enum msg_mode mode)
{
	return modes[mode];
}

bool msg_mode_parse(const char *name, enum msg_mode *ret)
{
	for (*ret = MODE_STOP; *ret <= MODE_HYBRID; ++*ret)
		if (strcmp(name, modes[*ret]) == 0)
			return true;
	return false;
}

bool msg_mode_is_lazy(enum msg_mode mode)
{
	return mode == MODE_POST || mode == MODE_HYBRID;
}

static const struct layout *layout_of(unsigned type)
{
	if (type >= sizeof(layouts) / sizeof(layouts[0]) || !layouts[type].name)
		return NULL;
	return &layouts[type];
}

const char *msg_name(unsigned type)
{
	const struct layout *l = layout_of(type);

	return l ? l->name : "?";
}

bool msg_allowed(enum msg_type type, enum msg_channel channel, bool from_source)
{
	const struct layout *l = layout_of(type);

	return l && (l->channels & ON(channel)) && (l->senders & (from_source ? SOURCE : TARGET));
}

/* --- encoding ------------------------------------------------------------------------------ */

static void put_record(const struct record *r, const uint8_t *at, struct buf *out, bool head_only);

static uint64_t number_at(const struct field *f, const void *at)
{
	switch (f->kind) {
	case U8:
		return *(const uint8_t *)at;
	case U16:
		return *(const uint16_t *)at;
	case U32:
		return *(const uint32_t *)at;
	default:
		return *(const uint64_t *)at;
	}
}

static void put_number(const struct field *f, uint64_t v, struct buf *out)
{
	if (v > f->limit)
		out->failed = true;
	else if (f->kind == U8)
		buf_put_u8(out, (uint8_t)v);
	else if (f->kind == U16)
		buf_put_u16(out, (uint16_t)v);
	else if (f->kind == U32)
		buf_put_u32(out, (uint32_t)v);
	else
		buf_put_u64(out, v);
}

static void put_bytes(
	const struct field *f, const struct msg_bytes *b, struct buf *out, bool length_only)
{
	if (b->len > f->limit) {
		out->failed = true;
		return;
	}
	if (f->kind == STRING)
		buf_put_u16(out, (uint16_t)b->len);
	else
		buf_put_u32(out, (uint32_t)b->len);
	if (!length_only)
		buf_put(out, b->p, b->len);
}

static void put_list(const struct field *f, const struct msg_list *l, struct buf *out)
{
	if (l->n > f->limit) {
		out->failed = true;
		return;
	}
	buf_put_u16(out, (uint16_t)l->n);
	for (size_t i = 0; i < l->n; i++)
		put_record(f->record, (const uint8_t *)l->v + i * f->record->size, out, false);
}

/* @head_only: the last field is a blob of which only the length is put. */
static void put_record(const struct record *r, const uint8_t *at, struct buf *out, bool head_only)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct field *f = &r->fields[i];
		const void *p = at + f->offset;

		switch (f->kind) {
		case FIXED:
			buf_put(out, p, f->limit);
			break;
		case STRING:
		case BLOB:
			put_bytes(f, p, out, head_only && i + 1 == r->n);
			break;
		case LIST:
			put_list(f, p, out);
			break;
		default:
			put_number(f, number_at(f, p), out);
		}
	}
}

static int encode(enum msg_type type, const void *body, struct buf *out, size_t after)
{
	const struct layout *l = layout_of(type);
	size_t start = out->len, len;
	uint8_t *header;

	if (!l)
		return -EPROTO;
	if (!buf_grow(out, FRAME_HEADER))
		return -EMSGSIZE;
	put_record(&l->record, body, out, after > 0);
	len = out->len - start - FRAME_HEADER + after;
	if (buf_check(out) < 0 || len > l->payload_max) {
		out->failed = true;
		return -EMSGSIZE;
	}
	header = out->data + start;
	put_be32(header, (uint32_t)len);
	put_be16(header + 4, (uint16_t)type);
	put_be16(header + 6, 0);
	return 0;
}

int msg_encode(enum msg_type type, const void *body, struct buf *out)
{
	return encode(type, body, out, 0);
}

int msg_encode_head(enum msg_type type, const void *body, struct buf *out)
{
	const struct layout *l = layout_of(type);
	const struct field *last = l && l->record.n > 0 ? &l->record.fields[l->record.n - 1] : NULL;

	if (!last || last->kind != BLOB)
		return -EINVAL;
	return encode(type, body, out, ((const struct msg_bytes *)((const uint8_t *)body + last->offset))->len);
}

/* --- decoding ------------------------------------------------------------------------------ */

/* Memory for strings and lists of one message: bounded by the payload's own size. */
struct arena {
	uint8_t *p;
	size_t left;
};

static void *arena_take(struct arena *a, size_t n)
{
	void *p = a->p;

	n = (n + 7) & ~(size_t)7;
	if (n > a->left)
		return NULL;
	a->p += n;
	a->left -= n;
	return p;
}

static bool get_record(const struct record *r, struct cursor *c, struct arena *a, uint8_t *at);

static bool get_number(const struct field *f, struct cursor *c, void *at)
{
	uint64_t v;

	switch (f->kind) {
	case U8:
		v = *(uint8_t *)at = cursor_u8(c);
		break;
	case U16:
		v = *(uint16_t *)at = cursor_u16(c);
		break;
	case U32:
		v = *(uint32_t *)at = cursor_u32(c);
		break;
	default:
		v = *(uint64_t *)at = cursor_u64(c);
	}
	return !c->failed && v <= f->limit;
}

static bool get_bytes(const struct field *f, struct cursor *c, struct arena *a, struct msg_bytes *at)
{
	size_t len = f->kind == STRING ? cursor_u16(c) : cursor_u32(c);
	const void *p;
	char *copy;

	if (len > f->limit)
		return false;
	p = cursor_take(c, len);
	if (!p)
		return false;
	*at = (struct msg_bytes){p, len};
	if (f->kind == BLOB)
		return true;
	copy = arena_take(a, len + 1);
	if (!copy || !text_is_clean(p, len))
		return false;
	memcpy(copy, p, len);
	copy[len] = '\0';
	at->p = copy;
	return true;
}

static bool get_list(const struct field *f, struct cursor *c, struct arena *a, struct msg_list *at)
{
	size_t n = cursor_u16(c);

	if (n > f->limit)
		return false;
	*at = (struct msg_list){arena_take(a, n * f->record->size), n};
	if (!at->v)
		return false;
	memset(at->v, 0, n * f->record->size);
	for (size_t i = 0; i < n; i++)
		if (!get_record(f->record, c, a, (uint8_t *)at->v + i * f->record->size))
			return false;
	return true;
}

static bool get_fixed(const struct field *f, struct cursor *c, void *at)
{
	const void *p = cursor_take(c, f->limit);

	if (p)
		memcpy(at, p, f->limit);
	return p;
}

static bool get_record(const struct record *r, struct cursor *c, struct arena *a, uint8_t *at)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct field *f = &r->fields[i];
		void *p = at + f->offset;
		bool ok;

		switch (f->kind) {
		case FIXED:
			ok = get_fixed(f, c, p);
			break;
		case STRING:
		case BLOB:
			ok = get_bytes(f, c, a, p);
			break;
		case LIST:
			ok = get_list(f, c, a, p);
			break;
		default:
			ok = get_number(f, c, p);
		}
		if (!ok)
			return false;
	}
	return true;
}

/* Strings and records grow when decoded: by their zero byte, padding and pointers. */
#define ARENA_ROOM(len) (16 * (size_t)(len) + 1024)

static bool is_file_name(const struct msg_bytes *b)
{
	const char *s = msg_text(b);

	return b->len > 0 && s[0] != '.' && !strchr(s, '/');
}

static bool is_page_run(uint64_t addr, uint64_t n)
{
	uint64_t end;

	return addr % PAGE_BYTES == 0 && n > 0 &&
		!__builtin_add_overflow(addr, PAGES_TO_BYTES(n), &end);
}

/* Runs that neither overlap nor go back. */
static bool is_ascending(const struct msg_list *list)
{
	const struct msg_lack *l = list->v;

	for (size_t i = 0; i < list->n; i++) {
		if (!is_page_run(l[i].addr, l[i].pages))
			return false;
		if (i > 0 && (l[i].vpid < l[i - 1].vpid ||
				(l[i].vpid == l[i - 1].vpid &&
				 l[i].addr < l[i - 1].addr + PAGES_TO_BYTES(l[i - 1].pages))))
			return false;
	}
	return true;
}

static bool is_piece(const struct msg_image *m)
{
	uint64_t len = m->unpacked ? m->unpacked : m->data.len;

	return is_file_name(&m->name) && m->offset <= m->total && len <= m->total - m->offset;
}

/* What no table can say. */
static bool is_valid(const struct msg *m)
{
	const union msg_body *b = &m->body;

	switch (m->type) {
	case MSG_HELLO:
		return b->hello.channel >= CHANNEL_CONTROL &&
			b->hello.version_min <= b->hello.version_max;
	case MSG_OFFER:
		return b->offer.mode >= MODE_STOP && b->offer.streams >= 1 &&
			is_file_name(&b->offer.container) && msg_text(&b->offer.bundle)[0] == '/';
	case MSG_IMAGE:
		return is_piece(&b->image);
	case MSG_FAULT:
		return is_page_run(b->fault.addr, b->fault.pages);
	case MSG_PAGES:
		return is_page_run(b->pages.addr, b->pages.pages) && b->pages.data.len > 0 &&
			b->pages.addr / WIRE_BLOCK_BYTES ==
			(b->pages.addr + PAGES_TO_BYTES(b->pages.pages) - 1) / WIRE_BLOCK_BYTES;
	case MSG_ZEROS:
		return is_page_run(b->zeros.addr, b->zeros.pages);
	case MSG_DIRTY:
		return is_page_run(b->dirty.addr, b->dirty.pages);
	case MSG_RESUME:
		return b->resume.streams >= 1;
	case MSG_LACKING:
		return is_ascending(&b->lacking.list);
	default:
		return true;
	}
}

void msg_done(struct msg *m)
{
	free(m->heap);
	*m = MSG_INIT;
}

int msg_header(const uint8_t header[static FRAME_HEADER], enum msg_type *ret_type, size_t *ret_len)
{
	unsigned type = get_be16(header + 4);
	const struct layout *l = layout_of(type);

	if (!l || get_be16(header + 6) != 0)
		return -EPROTO;
	*ret_type = type;
	*ret_len = get_be32(header);
	return *ret_len > l->payload_max ? -EMSGSIZE : 0;
}

/* The hot messages have neither strings nor lists. */
static bool needs_arena(const struct record *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->fields[i].kind == STRING || r->fields[i].kind == LIST)
			return true;
	return false;
}

int msg_decode(enum msg_type type, const void *payload, size_t len, struct msg *ret)
{
	const struct layout *l = layout_of(type);
	struct cursor c = cursor_of(payload, len);
	struct arena a = {0};

	*ret = MSG_INIT;
	if (!l || len > l->payload_max)
		return -EPROTO;
	ret->type = type;
	if (needs_arena(&l->record)) {
		a.left = ARENA_ROOM(type == MSG_IMAGE ? 512 : len);
		a.p = ret->heap = malloc(a.left);
		if (!a.p)
			return -ENOMEM;
	}
	if (get_record(&l->record, &c, &a, (uint8_t *)&ret->body) && cursor_end(&c) == 0 &&
		is_valid(ret))
		return 0;
	msg_done(ret);
	return -EBADMSG;
}
