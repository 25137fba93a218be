/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "wire/channel.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * CRIU's images as messages: a directory of plain files, sent whole and received whole.
 *
 * Two of them are special. runc's restore reads descriptors.json before it starts CRIU, so it goes
 * ahead, in PREPARE. CRIU reads inventory.img first of all: there it waits until all others are in
 * place.
 */
#define IMAGE_DESCRIPTORS "descriptors.json"
#define IMAGE_INVENTORY "inventory.img"

/* Sends every file of @dir but descriptors.json, compressed if that is sooner there at @link_rate, in bytes per
 * second (0: not known, and so nothing is). */
int images_send(struct channel *c, const char *dir, double link_rate, struct err *e);

struct images_in {
	const char *dir;
	bool network; /* images of a network namespace may come */
	int fd; /* of the file being received */
	char name[256];
	struct buf inventory; /* owned: its contents */
	uint64_t at, total;
	uint64_t bytes, max_bytes;
	uint32_t files;
};

/* @network: as in criu/kinds.h. */
void images_in_init(struct images_in *in, const char *dir, bool network, uint64_t max_bytes);
void images_in_done(struct images_in *in);

/* One IMAGE message: files come one after the other, each once and from its beginning to its end, of a
 * name that CRIU gives and beginning as such. */
int images_take(struct images_in *in, const struct msg_image *m, struct err *e);
/* runc's descriptors.json: a list of a few strings, and nothing else. */
int images_check_descriptors(const struct msg_bytes *text, struct err *e);
/* IMAGES_END: is it all there? */
int images_finish(struct images_in *in, const struct msg_images_end *m, struct err *e);
