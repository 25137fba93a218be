/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/offer.h"

#include "sync/digest.h"

#include <stdlib.h>
#include <string.h>

int offer_send(struct channel *c, const uint8_t id[static MSG_ID_LEN],
	const struct source_options *o, const struct host_facts *host,
	const struct container_facts *f, uint64_t deadline, struct err *e)
{
	struct msg_listener listeners[LISTENERS_MAX];
	struct msg_offer m = {
		.mode = (uint8_t)o->mode,
		.streams = (uint8_t)o->streams,
		.flags = (o->dry_run ? OFFER_DRY_RUN : 0) |
			 (f->has_file_locks ? OFFER_FILE_LOCKS : 0),
		.container = msg_string(f->c.id),
		.bundle = msg_string(f->c.bundle),
		.config = {f->config_text, f->config_len},
		.arch = msg_string(host->arch),
		.kernel = msg_string(host->kernel),
		.runc_version = msg_string(host->runc_version),
		.criu_version = version_number(host->criu_version),
		.cpu_features = msg_string(host->cpu_features),
		.memory_bytes = f->memory_bytes,
		.listeners = {listeners, f->n_listeners},
	};
	int r = digest_tree(f->config.rootfs, m.rootfs_digest, e);

	if (r < 0)
		return r;
	memcpy(m.id, id, MSG_ID_LEN);
	for (size_t i = 0; i < f->n_listeners; i++) {
		listeners[i] = (struct msg_listener){.protocol = f->listeners[i].protocol,
			.family = f->listeners[i].family,
			.port = f->listeners[i].port};
		memcpy(listeners[i].address, f->listeners[i].address, 16);
	}
	return channel_send(c, MSG_OFFER, &m, deadline, e);
}

void offer_check(const struct msg_offer *m, struct verdicts *ret)
{
	struct listener listeners[LISTENERS_MAX];
	const struct msg_listener *theirs = m->listeners.v;
	struct host_facts *here = calloc(1, sizeof(*here));
	struct offered o = {
		.id = msg_text(&m->container),
		.bundle = msg_text(&m->bundle),
		.config_text = m->config.p,
		.config_len = m->config.len,
		.rootfs_digest = m->rootfs_digest,
		.arch = msg_text(&m->arch),
		.cpu_features = msg_text(&m->cpu_features),
		.criu_version = m->criu_version,
		.memory_bytes = m->memory_bytes,
		.listeners = listeners,
		.n_listeners = m->listeners.n,
	};

	for (size_t i = 0; i < o.n_listeners; i++) {
		listeners[i] = (struct listener){.protocol = theirs[i].protocol,
			.family = theirs[i].family,
			.port = theirs[i].port};
		memcpy(listeners[i].address, theirs[i].address, 16);
	}
	if (here) {
		host_facts_read(here);
		check_offer(&o, here, ret);
	} else {
		verdict_add(ret, "memory", CHECK_NO, NULL, "no memory on the target");
	}
	free(here);
}
