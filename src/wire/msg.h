/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * godwit's messages and their bytes; docs/PROTOCOL.md says the same in words. No I/O here.
 *
 * A frame is a header of 8 bytes (payload length, type, zero; big-endian) and a payload, which is
 * the message's fields one after the other. What the fields are stands in one table a message
 * (msg.c), from which encoding, decoding and the limits follow.
 */

#define MSG_VERSION 1
#define FRAME_HEADER 8
#define FRAME_PAYLOAD_MAX (1u << 20)
#define MSG_DATA_MAX (256u * 1024) /* bytes of pages or of an image in one message */

#define WIRE_PAGES_MAX 64 /* pages in one PAGES or FAULT */
#define WIRE_ZEROS_MAX (1u << 20)
#define WIRE_BLOCK_BYTES (2ull << 20) /* no PAGES crosses a multiple of this */

#define WIRE_LACKS_MAX 4096 /* runs of pages in one LACKING */

#define WIRE_PACKETS_MAX 1024	  /* packets in one HELD */
#define WIRE_PACKET_MAX 65535	  /* bytes of each */

#define MSG_DESCRIPTORS_MAX (64u * 1024)

#define MSG_ID_LEN 16
#define MSG_DIGEST_LEN 32

enum msg_type {
	MSG_NONE = 0, /* never on the wire */
	MSG_HELLO = 1,
	MSG_OFFER = 2,
	MSG_VERDICTS = 3,
	MSG_PREPARE = 4,
	MSG_PREPARED = 5,
	MSG_IMAGE = 6,
	MSG_IMAGES_END = 7,
	MSG_RESTORED = 8,
	MSG_COMMIT = 9,
	MSG_RUNNING = 10,
	MSG_PROGRESS = 11,
	MSG_DRAINED = 12,
	MSG_BYE = 13,
	MSG_ABORT = 14,
	MSG_CHECK = 15,
	MSG_HELD = 16,
	MSG_HELD_END = 17,
	MSG_ASK = 18,
	MSG_STATE = 19,
	MSG_FAULT = 20,
	MSG_PAGES = 21,
	MSG_ZEROS = 22,
	MSG_BULK_END = 23,
	MSG_DIRTY = 24,
	MSG_CUT = 25,
	MSG_RESUME = 26,
	MSG_LACKING = 27,
	MSG_MARK = 28,
	MSG_PAD = 29,
	MSG_FREEZE = 30,
};

enum msg_channel { CHANNEL_CONTROL = 1, CHANNEL_URGENT = 2, CHANNEL_BULK = 3 };
enum msg_mode { MODE_STOP = 1, MODE_POST = 2, MODE_PRE = 3, MODE_HYBRID = 4 };

/* "hybrid" */
const char *msg_mode_name(enum msg_mode mode);
/* By that name; false: there is none. */
bool msg_mode_parse(const char *name, enum msg_mode *ret);
/* Does the container run before all of its memory is there? */
bool msg_mode_is_lazy(enum msg_mode mode);
enum msg_level { LEVEL_OK = 0, LEVEL_WARN = 1, LEVEL_NO = 2 };

/* What has become of a migration on its target. */
enum msg_state {
	STATE_UNKNOWN = 0,   /* it does not run there and never will */
	STATE_UNDECIDED = 1, /* it may still come to run there: ask again */
	STATE_DRAINING = 2,  /* it is about to run there, or runs and lacks memory */
	STATE_DRAINED = 3,   /* it has run there, and nothing is needed any more */
	STATE_LOST = 4,	     /* it was handed over, and who restored it there is gone */
};

#define OFFER_DRY_RUN 1u
#define OFFER_FILE_LOCKS 2u

/* Bytes in a message: strings end with a zero that isn't counted and isn't on the wire. */
struct msg_bytes {
	const void *p;
	size_t len;
};

static inline struct msg_bytes msg_string(const char *s)
{
	return (struct msg_bytes){s ? s : "", s ? __builtin_strlen(s) : 0};
}

static inline const char *msg_text(const struct msg_bytes *b)
{
	return b->p ? b->p : "";
}

struct msg_list {
	void *v; /* records of the type that the table names */
	size_t n;
};

struct msg_hello {
	uint16_t version_min, version_max;
	uint8_t channel, index;
	uint8_t token[MSG_ID_LEN];
	struct msg_bytes host, software;
};

struct msg_listener {
	uint8_t protocol, family; /* IPPROTO_TCP or _UDP; 4 or 6 */
	uint16_t port;
	uint8_t address[16];
};

struct msg_offer {
	uint8_t id[MSG_ID_LEN];
	uint8_t mode, streams;
	uint32_t flags;
	struct msg_bytes container, bundle, config;
	uint8_t rootfs_digest[MSG_DIGEST_LEN];
	struct msg_bytes arch, kernel, runc_version;
	uint32_t criu_version; /* major * 10000 + minor * 100 + patch */
	struct msg_bytes cpu_features; /* names, separated by spaces */
	uint64_t memory_bytes;
	struct msg_list listeners; /* struct msg_listener */
};

struct msg_verdict {
	uint8_t level;
	struct msg_bytes name, reason, remedy;
};

struct msg_verdicts {
	uint8_t token[MSG_ID_LEN];
	struct msg_list list; /* struct msg_verdict */
};

struct msg_prepare {
	struct msg_bytes descriptors; /* runc's descriptors.json */
};

struct msg_image {
	struct msg_bytes name;
	uint64_t offset, total;
	uint32_t unpacked; /* bytes of what is compressed; 0: it isn't */
	struct msg_bytes data;
};

struct msg_images_end {
	uint32_t count;
	uint64_t bytes;
};

struct msg_phase {
	struct msg_bytes name;
	uint64_t ns;
};

/* RESTORED and RUNNING */
struct msg_phases {
	struct msg_list list; /* struct msg_phase */
};

struct msg_progress {
	uint64_t done, total;
};

struct msg_count {
	uint32_t n;
};

struct msg_drained {
	uint64_t pages, zero_pages, faults, urgent, fault_p50_ns, fault_p99_ns, store_peak;
	uint64_t packets_delivered, packets_held, packets_overflow, packets_late;
	uint8_t took_over; /* 0: the floating address's VRRP instance is not master there */
	struct msg_list fault_times; /* struct msg_count: faults within 1 ms of RESTORED, from then within 2, 4, ... */
};

/* Packets to the container's address, which the source has kept. */
struct msg_held {
	struct msg_list packets; /* struct msg_bytes */
};

/* What has become of the migration with that id? */
struct msg_ask {
	uint8_t id[MSG_ID_LEN];
};

struct msg_answer {
	uint8_t state; /* enum msg_state */
	uint8_t token[MSG_ID_LEN]; /* of one that drains, else zero */
};

struct msg_resume {
	uint8_t streams; /* bulk channels that follow */
};

struct msg_lack {
	uint32_t vpid, pages;
	uint64_t addr;
};

struct msg_lacking {
	uint8_t more; /* 0: the last one */
	struct msg_list list; /* struct msg_lack, ascending by vpid and address */
};

struct msg_abort {
	uint8_t class;
	uint32_t code;
	struct msg_bytes text, remedy;
};

struct msg_fault {
	uint32_t vpid, pages;
	uint64_t addr;
};

struct msg_pages {
	uint32_t vpid;
	uint8_t encoding;
	uint16_t pages;
	uint64_t addr;
	struct msg_bytes data;
};

struct msg_zeros {
	uint32_t vpid, pages;
	uint64_t addr;
};

/* What was sent of these pages no longer holds. */
struct msg_dirty {
	uint32_t vpid, pages;
	uint64_t addr;
};

struct msg_bulk_end {
	uint64_t pages, bytes;
};

/* What it has is of no use. */
struct msg_pad {
	struct msg_bytes data;
};

union msg_body {
	struct msg_hello hello;
	struct msg_offer offer;
	struct msg_verdicts verdicts;
	struct msg_prepare prepare;
	struct msg_image image;
	struct msg_images_end images_end;
	struct msg_phases phases;
	struct msg_progress progress;
	struct msg_drained drained;
	struct msg_held held;
	struct msg_ask ask;
	struct msg_answer answer;
	struct msg_resume resume;
	struct msg_lacking lacking;
	struct msg_abort abort;
	struct msg_fault fault;
	struct msg_pages pages;
	struct msg_zeros zeros;
	struct msg_dirty dirty;
	struct msg_bulk_end bulk_end;
	struct msg_pad pad;
};

/* A decoded message. Bytes point into the payload it came from or into @heap. */
struct msg {
	enum msg_type type;
	union msg_body body;
	void *heap; /* owned */
};

#define MSG_INIT ((struct msg){0})

void msg_done(struct msg *m);
#define _cleanup_msg_ __attribute__((cleanup(msg_done)))

/* "OFFER"; "?" for an unknown type. */
const char *msg_name(unsigned type);

/* Appends header and payload of a message whose fields are @body. -EMSGSIZE when something is
 * over its limit, -EPROTO for an unknown type. */
int msg_encode(enum msg_type type, const void *body, struct buf *out);

/* Like msg_encode() without the data that the message ends with, which the caller sends right after. -EINVAL: it
 * ends with none. */
int msg_encode_head(enum msg_type type, const void *body, struct buf *out);

/* Parses a frame's header. -EPROTO for an unknown type or a nonzero last field, -EMSGSIZE for more
 * than that type may have. */
int msg_header(const uint8_t header[static FRAME_HEADER], enum msg_type *ret_type, size_t *ret_len);

/* Decodes a payload. -EBADMSG when it isn't exactly one valid message of that type: lengths,
 * ranges, strings without control characters, names without slashes. */
int msg_decode(enum msg_type type, const void *payload, size_t len, struct msg *ret);

/* May a message of this type be sent on that channel by the source (else the target)? */
bool msg_allowed(enum msg_type type, enum msg_channel channel, bool from_source);
