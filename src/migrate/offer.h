/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "check/check.h"
#include "migrate/source.h"
#include "wire/channel.h"

#include <stdint.h>

/* What a source says of a container and its host before anything happens, and what a target thinks
 * of it: facts as a message, and back. */

/* Reads the container's whole root file system for its digest. */
int offer_send(struct channel *c, const uint8_t id[static MSG_ID_LEN],
	const struct source_options *o, const struct host_facts *host,
	const struct container_facts *f, uint64_t deadline, struct err *e);

/* Can this host take it? The verdicts are added to @ret. */
void offer_check(const struct msg_offer *m, struct verdicts *ret);
