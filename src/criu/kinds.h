/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * Which images of CRIU a peer may send at all. CRIU opens files by name and believes what is in them;
 * what it has no name for, and what would change something of the host that no container has of its own
 * (binfmt_misc, autofs, tun devices), has no business here.
 */

enum image_verdict {
	IMAGE_WELCOME,
	IMAGE_UNKNOWN, /* no image of a name that CRIU gives, or one that is never taken */
	IMAGE_OF_NETWORK, /* of a network namespace, and the container has none to restore */
};

/* @network: the container's network namespace is made by runc, so that it is in the images. */
enum image_verdict image_judge(const char *name, bool network);

/* Do these first bytes, at least 8 unless there are no more, belong to an image of that name? */
bool image_begins_well(const char *name, const void *data, size_t len);
