/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "migrate/arrival.h"
#include "migrate/entrance.h"
#include "migrate/guest.h"
#include "oci/config.h"
#include "wire/channel.h"
#include "wire/msg.h"

#include <stdint.h>

/* What a peer wants that has come to this host's agent: this host to take a container, or to answer a question. */

#define REQUEST_HELLO_MS 10000	 /* for the first word on a connection */
#define REQUEST_DECIDE_MS 600000 /* the user may look at the verdicts */

struct request {
	struct channel *control; /* borrowed */
	uint8_t id[MSG_ID_LEN];
	char container[256], bundle[4096];
	unsigned streams;
	uint32_t flags; /* OFFER_* */
	enum msg_mode mode;
	uint64_t memory_bytes;
	struct oci_config config;
};

#define REQUEST_INIT(channel) ((struct request){.control = (channel)})

/*
 * Hears and answers it. 0: a container has been offered, and nothing speaks against it; @arrival is initialised
 * with where it is reached then, and further connections may come in by @entrance. 1: it ends here, since it
 * was refused, only checked, or a question. Or -errno.
 */
int request_hear(struct request *r, const struct guest *guest, struct entrance *entrance,
	struct arrival *arrival, struct err *e);

/* A line of this host's log, with the container's name and the peer's. */
__attribute__((format(printf, 2, 3))) void request_log(const struct request *r, const char *fmt, ...);

void request_done(struct request *r);
