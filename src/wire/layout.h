/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "wire/msg.h"

#include <stddef.h>
#include <stdint.h>

/* The table behind the messages: for msg.c, check.c and the tests that hold the document against
 * it. */

enum field_kind {
	FIELD_U8,
	FIELD_U16,
	FIELD_U32,
	FIELD_U64,
	FIELD_FIXED,  /* uint8_t[limit] */
	FIELD_STRING, /* struct msg_bytes; u16 length on the wire, copied, zero-terminated */
	FIELD_BLOB,   /* struct msg_bytes; u32 length on the wire, points into the payload */
	FIELD_LIST,   /* struct msg_list; u16 count on the wire, then the records */
};

/* What a string must be beyond UTF-8 without control characters. */
enum field_rule {
	RULE_TEXT,
	RULE_CONTAINER,	    /* a container's id, as runc takes them */
	RULE_FILE,	    /* the name of a file, without a directory */
	RULE_PATH,	    /* absolute, without ".." */
	RULE_OPTIONAL_PATH, /* the same or empty */
};

struct field {
	const char *name;
	enum field_kind kind;
	enum field_rule rule; /* of a string */
	size_t offset;	      /* in its struct */
	/* Of a number its range, of bytes the fewest and the most, of FIXED their number twice, of
	 * a list the fewest and the most records. */
	uint64_t min, max;
	const struct record *record; /* of a list */
};

struct record {
	size_t size;
	const struct field *fields;
	size_t n;
};

#define FROM_SOURCE 1u
#define FROM_TARGET 2u

struct layout {
	const char *name;
	uint8_t channels; /* bit 1 << channel */
	uint8_t senders;  /* FROM_SOURCE | FROM_TARGET */
	struct record record;
};

/* NULL for an unknown type. */
const struct layout *layout_of(unsigned type);
