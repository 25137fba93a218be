/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "wire/channel.h"

#include <stdint.h>

/* CRIU's images as messages: a directory of plain files, sent whole and received whole. */

/* Sends every file of @dir. */
int images_send(struct channel *c, const char *dir, uint64_t deadline, struct err *e);

struct images_in {
	const char *dir;
	int fd; /* of the file being received */
	char name[256];
	uint64_t at, total;
	uint64_t bytes, max_bytes;
	uint32_t files;
};

/* One IMAGE message: files come one after the other, each from its beginning to its end. */
int images_take(struct images_in *in, const struct msg_image *m, struct err *e);
/* IMAGES_END: is it all there? */
int images_finish(struct images_in *in, const struct msg_images_end *m, struct err *e);
