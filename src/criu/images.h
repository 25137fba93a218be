/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/ranges.h"

#include <stddef.h>
#include <stdint.h>

/* What godwit reads of CRIU's images, and adds: which pages each process will ask for lazily. */

/* Parses the contents of a pagemap-PID.img and adds its lazy pages to @ret. 0, -EBADMSG. */
int pagemap_image_parse(const void *data, size_t len, struct ranges *ret);

/* Reads pagemap-@vpid.img in @dir. */
int images_lazy_pages(const char *dir, uint32_t vpid, struct ranges *ret, struct err *e);

/* Makes pagemap-@vpid.img in @dir as if CRIU had seen pages @more, too, and left them to be asked for.
 * What it has already stays as it is. */
int images_add_lazy(const char *dir, uint32_t vpid, const struct ranges *more, struct err *e);

/* Makes @regions, which ascend, of mm-@vpid.img in @dir as long as they are (criu/mm_image.h). */
int images_lengthen(const char *dir, uint32_t vpid, const struct range *regions, size_t n, struct err *e);

/* images_add_lazy() for a file's contents; *ret is a new image. 0, -EBADMSG, -ENOMEM. */
int pagemap_image_add(const void *data, size_t len, const struct ranges *more, struct buf *ret);

/* The vpids of all pagemap images in @dir, ascending; the caller frees *ret. */
int images_processes(const char *dir, uint32_t **ret, size_t *ret_n, struct err *e);

/* The error lines at the end of a CRIU log, in one line; "" when there is none. */
void criu_log_tail(const char *path, char *ret, size_t size);
