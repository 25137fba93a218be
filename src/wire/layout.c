/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/layout.h"

/* Number with a range, bytes with a limit, string with a rule, list of records. */
#define NUM(kind, type, member, min, max)                                                          \
	{#member, FIELD_##kind, 0, offsetof(struct type, member), min, max, NULL}
#define U8(type, member, min, max) NUM(U8, type, member, min, max)
#define U16(type, member, min, max) NUM(U16, type, member, min, max)
#define U32(type, member, min, max) NUM(U32, type, member, min, max)
#define U64(type, member) NUM(U64, type, member, 0, UINT64_MAX)
#define FIXED(type, member, len) NUM(FIXED, type, member, len, len)
#define BLOB(type, member, min, max) NUM(BLOB, type, member, min, max)
#define STRING(type, member, rule, max)                                                            \
	{#member, FIELD_STRING, rule, offsetof(struct type, member), 0, max, NULL}
#define LIST(type, member, max, record)                                                            \
	{#member, FIELD_LIST, 0, offsetof(struct type, member), 0, max, record}
#define RECORD(type, table) {sizeof(struct type), table, sizeof(table) / sizeof((table)[0])}

#define PATH_BYTES 4095
#define VPID_MAX INT32_MAX

static const struct field hello[] = {
	U16(msg_hello, version_min, 1, UINT16_MAX),
	U16(msg_hello, version_max, 1, UINT16_MAX),
	U8(msg_hello, channel, CHANNEL_CONTROL, CHANNEL_BULK),
	U8(msg_hello, index, 0, 15),
	FIXED(msg_hello, token, MSG_ID_LEN),
	U32(msg_hello, features, 0, UINT32_MAX),
	STRING(msg_hello, host, RULE_TEXT, 255),
	STRING(msg_hello, software, RULE_TEXT, 64),
};

static const struct field listener[] = {
	U8(msg_listener, protocol, 0, UINT8_MAX),
	U8(msg_listener, family, 4, 6),
	U16(msg_listener, port, 0, UINT16_MAX),
	FIXED(msg_listener, address, 16),
};
static const struct record listener_record = RECORD(msg_listener, listener);

static const struct field mount[] = {STRING(msg_mount, path, RULE_PATH, PATH_BYTES)};
static const struct record mount_record = RECORD(msg_mount, mount);

static const struct field offer[] = {
	FIXED(msg_offer, id, MSG_ID_LEN),
	U8(msg_offer, mode, MODE_STOP, MODE_HYBRID),
	U8(msg_offer, streams, 1, 16),
	U32(msg_offer, flags, 0, UINT32_MAX),
	STRING(msg_offer, container, RULE_CONTAINER, 255),
	STRING(msg_offer, bundle, RULE_PATH, PATH_BYTES),
	BLOB(msg_offer, config, 0, 256 * 1024),
	FIXED(msg_offer, config_digest, MSG_DIGEST_LEN),
	STRING(msg_offer, rootfs, RULE_OPTIONAL_PATH, PATH_BYTES),
	FIXED(msg_offer, rootfs_digest, MSG_DIGEST_LEN),
	STRING(msg_offer, arch, RULE_TEXT, 64),
	STRING(msg_offer, kernel, RULE_TEXT, 128),
	STRING(msg_offer, runc_version, RULE_TEXT, 64),
	U32(msg_offer, criu_version, 0, UINT32_MAX),
	STRING(msg_offer, cpu_features, RULE_TEXT, 8192),
	U64(msg_offer, memory_bytes),
	U64(msg_offer, image_bytes),
	STRING(msg_offer, address, RULE_TEXT, 128),
	LIST(msg_offer, listeners, 256, &listener_record),
	LIST(msg_offer, mounts, 64, &mount_record),
};

static const struct field verdict[] = {
	U8(msg_verdict, level, LEVEL_OK, LEVEL_NO),
	STRING(msg_verdict, name, RULE_TEXT, 64),
	STRING(msg_verdict, reason, RULE_TEXT, 767),
	STRING(msg_verdict, remedy, RULE_TEXT, 383),
};
static const struct record verdict_record = RECORD(msg_verdict, verdict);

static const struct field verdicts[] = {
	FIXED(msg_verdicts, token, MSG_ID_LEN),
	LIST(msg_verdicts, list, 64, &verdict_record),
};

static const struct field prepared[] = {U64(msg_prepared, memory_available)};

static const struct field image[] = {
	STRING(msg_image, name, RULE_FILE, 255),
	U64(msg_image, offset),
	U64(msg_image, total),
	BLOB(msg_image, data, 0, MSG_DATA_MAX),
};

static const struct field images_end[] = {
	U32(msg_images_end, count, 0, UINT32_MAX),
	U64(msg_images_end, bytes),
	U64(msg_images_end, lazy_pages),
};

static const struct field phase[] = {
	STRING(msg_phase, name, RULE_TEXT, 64),
	U64(msg_phase, ns),
};
static const struct record phase_record = RECORD(msg_phase, phase);
static const struct field phases[] = {LIST(msg_phases, list, 32, &phase_record)};

static const struct field progress[] = {
	U8(msg_progress, phase, 0, UINT8_MAX),
	U64(msg_progress, done),
	U64(msg_progress, total),
};

static const struct field drained[] = {
	U64(msg_drained, pages),
	U64(msg_drained, zero_pages),
	U64(msg_drained, faults),
	U64(msg_drained, urgent),
	U64(msg_drained, fault_p50_ns),
	U64(msg_drained, fault_p99_ns),
	U64(msg_drained, store_peak),
};

static const struct field abort_[] = {
	U8(msg_abort, class, 0, 5),
	U32(msg_abort, code, 0, INT32_MAX),
	STRING(msg_abort, stage, RULE_TEXT, 64),
	STRING(msg_abort, text, RULE_TEXT, 767),
	STRING(msg_abort, remedy, RULE_TEXT, 383),
};

static const struct field fault[] = {
	U32(msg_fault, vpid, 0, VPID_MAX),
	U32(msg_fault, pages, 1, WIRE_PAGES_MAX),
	U64(msg_fault, addr),
};

static const struct field pages[] = {
	U32(msg_pages, vpid, 0, VPID_MAX),
	U8(msg_pages, flags, 0, UINT8_MAX),
	U8(msg_pages, encoding, 0, 1),
	U16(msg_pages, pages, 1, WIRE_PAGES_MAX),
	U64(msg_pages, addr),
	BLOB(msg_pages, data, 1, MSG_DATA_MAX),
};

static const struct field zeros[] = {
	U32(msg_zeros, vpid, 0, VPID_MAX),
	U8(msg_zeros, flags, 0, UINT8_MAX),
	U32(msg_zeros, pages, 1, WIRE_ZEROS_MAX),
	U64(msg_zeros, addr),
};

static const struct field dirty[] = {
	U32(msg_dirty, vpid, 0, VPID_MAX),
	U32(msg_dirty, pages, 1, WIRE_ZEROS_MAX),
	U64(msg_dirty, addr),
};

static const struct field bulk_end[] = {
	U64(msg_bulk_end, pages),
	U64(msg_bulk_end, bytes),
};

#define ON(channel) (1u << (channel))
#define CONTROL ON(CHANNEL_CONTROL)
#define BULK ON(CHANNEL_BULK)
#define URGENT ON(CHANNEL_URGENT)
#define ALL (CONTROL | URGENT | BULK)
#define SOURCE FROM_SOURCE
#define TARGET FROM_TARGET
#define BOTH (FROM_SOURCE | FROM_TARGET)
#define NOTHING {0, NULL, 0}

static const struct layout layouts[MSG_TYPES] = {
	[MSG_HELLO] = {"HELLO", ALL, BOTH, RECORD(msg_hello, hello)},
	[MSG_OFFER] = {"OFFER", CONTROL, SOURCE, RECORD(msg_offer, offer)},
	[MSG_VERDICTS] = {"VERDICTS", CONTROL, TARGET, RECORD(msg_verdicts, verdicts)},
	[MSG_PREPARE] = {"PREPARE", CONTROL, SOURCE, NOTHING},
	[MSG_PREPARED] = {"PREPARED", CONTROL, TARGET, RECORD(msg_prepared, prepared)},
	[MSG_IMAGE] = {"IMAGE", CONTROL, SOURCE, RECORD(msg_image, image)},
	[MSG_IMAGES_END] = {"IMAGES_END", CONTROL, SOURCE, RECORD(msg_images_end, images_end)},
	[MSG_RESTORED] = {"RESTORED", CONTROL, TARGET, RECORD(msg_phases, phases)},
	[MSG_COMMIT] = {"COMMIT", CONTROL, SOURCE, NOTHING},
	[MSG_RUNNING] = {"RUNNING", CONTROL, TARGET, RECORD(msg_phases, phases)},
	[MSG_PROGRESS] = {"PROGRESS", CONTROL, TARGET, RECORD(msg_progress, progress)},
	[MSG_DRAINED] = {"DRAINED", CONTROL, TARGET, RECORD(msg_drained, drained)},
	[MSG_BYE] = {"BYE", CONTROL, SOURCE, NOTHING},
	[MSG_ABORT] = {"ABORT", ALL, BOTH, RECORD(msg_abort, abort_)},
	[MSG_FAULT] = {"FAULT", URGENT, TARGET, RECORD(msg_fault, fault)},
	[MSG_PAGES] = {"PAGES", URGENT | BULK, SOURCE, RECORD(msg_pages, pages)},
	[MSG_ZEROS] = {"ZEROS", URGENT | BULK, SOURCE, RECORD(msg_zeros, zeros)},
	[MSG_BULK_END] = {"BULK_END", BULK, SOURCE, RECORD(msg_bulk_end, bulk_end)},
	[MSG_DIRTY] = {"DIRTY", BULK, SOURCE, RECORD(msg_dirty, dirty)},
};

const struct layout *layout_of(unsigned type)
{
	return type < MSG_TYPES && layouts[type].name ? &layouts[type] : NULL;
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
