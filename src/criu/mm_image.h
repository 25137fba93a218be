/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/buf.h"
#include "base/ranges.h"

#include <stddef.h>
#include <stdint.h>

/* mm-PID.img: the regions of a process. */

/*
 * Of each of @regions CRIU was shown the first page alone (criu/view.h), or all, where it didn't look at
 * what it was shown: *@ret is the image with all of it. @regions ascend. 0, -EBADMSG, also when one of them
 * isn't there, -ENOMEM.
 */
int mm_image_lengthen(const void *data, size_t len, const struct range *regions, size_t n, struct buf *ret);
