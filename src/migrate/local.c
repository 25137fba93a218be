/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/local.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "check/check.h"
#include "criu/workplace.h"
#include "migrate/dump.h"
#include "migrate/guard.h"
#include "migrate/journal.h"
#include "migrate/manifest.h"
#include "migrate/restore.h"
#include "migrate/signals.h"
#include "migrate/stage.h"
#include "migrate/verdicts.h"
#include "net/floating.h"
#include "net/home.h"
#include "sync/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANNOUNCEMENTS 3
#define ANNOUNCE_MS 50

static bool always(const void *ctx)
{
	(void)ctx;
	return true;
}

/* --- checkpoint ------------------------------------------------------------------------------- */

struct checkpoint {
	const struct checkpoint_options *o;
	struct report *report;
	struct host_facts host;
	struct container_facts facts;
	struct floating floating;
	struct home home;
	struct signals signals;
	struct waiter waiter;
	struct journal journal;
	struct guard guard;
	struct dump_options dump_options;
	struct dump dump;
	char images[PATH_MAX], place[PATH_MAX];
	bool made_dir;
	bool kept; /* the directory is whole, and CRIU may have been told to end the container */
	struct manifest *manifest; /* owned */
	uint64_t started;
};

static int check_dir(const char *dir, struct err *e)
{
	if (access(dir, F_OK) == 0) {
		err_set(e, ERR_USAGE, EEXIST, "%s exists", dir);
		return err_remedy(e, "name a directory that does not exist yet");
	}
	return 0;
}

static int checkpoint_check(void *ctx, struct err *e)
{
	struct checkpoint *c = ctx;
	struct verdicts *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_sys(e, ENOMEM, "checks");
	report_phase(c->report, "check", "can it be kept?");
	host_facts_read(&c->host);
	r = check_dir(c->o->dir, e);
	if (r == 0)
		r = container_facts_read(c->o->container, &c->facts, e);
	if (r == 0)
		r = journal_check_free(c->facts.c.id, e);
	if (r == 0) {
		check_host(&c->host, l);
		check_container(&c->facts, l);
		r = verdicts_report(l, NULL, c->report, e);
	}
	free(l);
	if (r == 0)
		r = floating_init(&c->floating, c->facts.config.address, e);
	if (r == 0)
		r = home_init(&c->home, c->facts.config.netns, c->facts.config.network, e);
	return r < 0 ? r : home_open(&c->home, e);
}

static int fill_manifest(struct checkpoint *c, struct err *e)
{
	struct manifest *m = c->manifest;
	const struct container_facts *f = &c->facts;

	snprintf(m->container, sizeof(m->container), "%s", f->c.id);
	snprintf(m->bundle, sizeof(m->bundle), "%s", f->c.bundle);
	snprintf(m->arch, sizeof(m->arch), "%s", c->host.arch);
	snprintf(m->criu_version, sizeof(m->criu_version), "%s", c->host.criu_version);
	snprintf(m->cpu_features, sizeof(m->cpu_features), "%s", c->host.cpu_features);
	m->memory_bytes = f->memory_bytes;
	m->file_locks = f->has_file_locks;
	m->n_listeners = f->n_listeners;
	memcpy(m->listeners, f->listeners, f->n_listeners * sizeof(m->listeners[0]));
	m->config_text = strndup(f->config_text, f->config_len);
	m->config_len = f->config_len;
	if (!m->config_text)
		return err_sys(e, ENOMEM, "manifest");
	return digest_tree(f->config.rootfs, m->rootfs_digest, e);
}

static int make_dir(struct checkpoint *c, struct err *e)
{
	if (snprintf(c->images, sizeof(c->images), "%s/images", c->o->dir) >= PATH_MAX)
		return err_set(e, ERR_USAGE, ENAMETOOLONG, "%s", c->o->dir);
	if (mkdir(c->o->dir, 0700) < 0)
		return err_sys(e, errno, "making %s", c->o->dir);
	c->made_dir = true;
	return mkdir(c->images, 0700) < 0 ? err_sys(e, errno, "making %s", c->images) : 0;
}

/* For who reads the journal from elsewhere. */
static const char *place(struct checkpoint *c)
{
	return realpath(c->o->dir, c->place) ? c->place : c->o->dir;
}

static int checkpoint_prepare(void *ctx, struct err *e)
{
	struct checkpoint *c = ctx;
	uint8_t id[16];
	int r = fill_manifest(c, e);

	c->dump_options = (struct dump_options){.images = c->images,
		.file_locks = c->facts.has_file_locks,
		.leave_running = c->o->leave_running};
	if (r == 0)
		r = make_dir(c, e);
	if (r == 0 && getrandom(id, sizeof(id), 0) != sizeof(id))
		r = err_sys(e, errno, "random id");
	if (r == 0)
		r = journal_begin(&c->journal, id, true, &(struct journal_subject){
			.container = c->facts.c.id, .peer = place(c), .address = c->facts.config.address,
			.netns = c->facts.config.netns, .network = c->facts.config.network,
			.cgroup = c->facts.c.cgroup}, e);
	if (r == 0)
		r = guard_start(&c->guard, &c->journal, NULL, -1, e);
	if (r == 0)
		r = workplace_enter(e);
	if (r == 0)
		r = dump_prepare(&c->dump, &c->facts.c, c->facts.config.criu_config, e);
	return r < 0 ? r : dump_start(&c->dump, &c->dump_options, &c->waiter, e);
}

static void checkpoint_unprepare(void *ctx)
{
	struct checkpoint *c = ctx;

	dump_revoke(&c->dump);
	floating_revoke(&c->floating);
	if (c->made_dir)
		dir_remove(c->o->dir);
	journal_end(&c->journal);
}

/* All of it on disk, the manifest last: a directory with a manifest is whole. */
static int seal(struct checkpoint *c, struct err *e)
{
	_cleanup_close_ int fd = open(c->images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = digest_tree(c->images, c->manifest->images_digest, e);

	if (r < 0)
		return r;
	if (fd < 0 || syncfs(fd) < 0)
		return err_sys(e, errno, "writing %s to disk", c->images);
	return manifest_write(c->o->dir, c->manifest, e);
}

static int checkpoint_dump(void *ctx, struct err *e)
{
	struct checkpoint *c = ctx;
	int r;

	report_phase(c->report, "dump", "the container stands still and is written down");
	r = dump_freeze(&c->dump, e);
	if (r < 0)
		return r;
	dump_begin(&c->dump);
	r = dump_complete(&c->dump, &c->waiter, e);
	return r < 0 ? r : seal(c, e);
}

/* From now on the container is what the directory has: whatever fails, it neither runs here nor goes. */
static int keep(struct checkpoint *c, struct err *e)
{
	int r = floating_release(&c->floating, e);

	if (r == 0)
		r = dump_still_held(&c->dump, e);
	if (r == 0)
		r = journal_step(&c->journal, "kept", e);
	c->kept = r == 0;
	return r;
}

/* The journal stays, and the guard tries once more, as recover does. */
static int explain_rest(const struct checkpoint *c, struct err *e)
{
	err_wrap(e, "%s is whole in %s, but what is left of it here did not go", c->facts.c.id, c->place);
	return err_remedy(e, "'godwit recover' ends what is left here, then 'godwit restore %s' brings it back",
		c->place);
}

static int checkpoint_finish(void *ctx, struct err *e)
{
	struct checkpoint *c = ctx;
	int r = c->o->leave_running ? 0 : keep(c, e);

	if (r == 0)
		r = dump_finish(&c->dump, e);
	if (r == 0 && c->kept)
		r = home_remove(&c->home, e);
	if (r == 0 && c->kept)
		r = floating_stand_by(&c->floating, e);
	if (r == 0)
		journal_end(&c->journal);
	return r < 0 && c->kept ? explain_rest(c, e) : r;
}

static bool is_revocable(const void *ctx)
{
	return !((const struct checkpoint *)ctx)->kept;
}

static void checkpoint_done(struct checkpoint *c)
{
	dump_done(&c->dump);
	container_facts_done(&c->facts);
	floating_done(&c->floating);
	home_done(&c->home);
	signals_done(&c->signals);
	guard_done(&c->guard);
	if (c->manifest)
		manifest_done(c->manifest);
	free(c->manifest);
	free(c);
}

int checkpoint_run(const struct checkpoint_options *o, struct report *report, struct err *e)
{
	static const struct stage stages[] = {
		{"check", checkpoint_check, NULL},
		{"prepare", checkpoint_prepare, checkpoint_unprepare},
		{"dump", checkpoint_dump, NULL},
		{"finish", checkpoint_finish, NULL},
	};
	struct checkpoint *c = calloc(1, sizeof(*c));
	char text[256];
	int r;

	if (!c)
		return err_sys(e, ENOMEM, "checkpoint");
	c->o = o;
	c->report = report;
	c->dump = DUMP_INIT;
	c->guard = GUARD_INIT;
	c->floating = FLOATING_INIT;
	c->home = HOME_INIT;
	c->started = clock_now();
	c->manifest = calloc(1, sizeof(*c->manifest));
	r = c->manifest ? signals_watch(&c->signals, &c->waiter, e)
			: err_sys(e, ENOMEM, "checkpoint");
	if (r == 0)
		r = stages_walk(stages, sizeof(stages) / sizeof(stages[0]), c, is_revocable, e);
	if (r == 0) {
		snprintf(text, sizeof(text), "%s is in %s, after %.1f ms frozen", o->container,
			o->dir, clock_diff_ms(c->dump.freeze_start, clock_now()));
		text_clean(text);
		report_note(report, text);
	}
	checkpoint_done(c);
	return r;
}

/* --- restore ---------------------------------------------------------------------------------- */

struct local_restore {
	const char *dir;
	struct report *report;
	struct manifest *manifest; /* owned */
	struct oci_config config;
	struct floating floating;
	struct home home;
	struct signals signals;
	struct waiter waiter;
	struct restore restore;
	char images[PATH_MAX];
};

static void check_images(struct local_restore *l, struct verdicts *ret)
{
	uint8_t digest[DIGEST_LEN];
	struct err e = ERR_INIT;

	if (digest_tree(l->images, digest, &e) < 0)
		verdict_error(ret, "images", &e);
	else if (memcmp(digest, l->manifest->images_digest, DIGEST_LEN) != 0)
		verdict_add(ret, "images", CHECK_NO, "copy the directory again, with 'cp -a' or rsync -a",
			"%s is not as it was written", l->images);
	else
		verdict_add(ret, "images", CHECK_OK, NULL, "are whole");
}

static int restore_check(void *ctx, struct err *e)
{
	struct local_restore *l = ctx;
	const struct manifest *m = l->manifest;
	struct verdicts *list = calloc(1, sizeof(*list));
	struct host_facts *here = calloc(1, sizeof(*here));
	int r;

	report_phase(l->report, "check", "can it come back?");
	r = list && here ? manifest_read(l->dir, l->manifest, e) : err_sys(e, ENOMEM, "checks");
	if (r == 0)
		r = journal_check_free(m->container, e);
	if (r == 0) {
		struct offered o = {
			.id = m->container,
			.bundle = m->bundle,
			.config_text = m->config_text,
			.config_len = m->config_len,
			.rootfs_digest = m->rootfs_digest,
			.arch = m->arch,
			.cpu_features = m->cpu_features,
			.criu_version = version_number(m->criu_version),
			.memory_bytes = m->memory_bytes,
			.listeners = m->listeners,
			.n_listeners = m->n_listeners,
			.kept = true,
		};

		host_facts_read(here);
		check_images(l, list);
		check_offer(&o, here, list);
		r = verdicts_report(list, NULL, l->report, e);
	}
	free(here);
	free(list);
	if (r == 0)
		r = oci_config_parse(m->config_text, m->config_len, m->bundle, &l->config, e);
	if (r == 0)
		r = floating_init(&l->floating, l->config.address, e);
	return r < 0 ? r : home_init(&l->home, l->config.netns, l->config.network, e);
}

static int restore_images(void *ctx, struct err *e)
{
	struct local_restore *l = ctx;
	struct runc_restore o = {
		.id = l->manifest->container,
		.bundle = l->manifest->bundle,
		.images = l->images,
		.work = WORKPLACE_CRIU,
		.programs = WORKPLACE_PROGRAMS,
		.preload = WORKPLACE_PRELOAD,
		.file_locks = l->manifest->file_locks,
	};
	int r;

	report_phase(l->report, "restore", "from the images to a container");
	r = home_make(&l->home, e);
	if (r == 0)
		r = workplace_enter(e);
	if (r == 0)
		r = restore_prepare(&l->restore, NULL, l->config.criu_config, e);
	if (r == 0)
		r = floating_become_master(&l->floating, e);
	if (r == 0)
		r = restore_claim(&l->restore, o.id, e);
	if (r == 0)
		r = floating_take(&l->floating, e);
	if (r == 0)
		r = home_furnish(&l->home, e);
	if (r == 0)
		r = restore_start(&l->restore, &o, NULL, &l->waiter, e);
	if (r == 0)
		r = restore_to_gate(&l->restore, &l->waiter, e);
	if (r == 0)
		r = home_join(&l->home, e);
	return r < 0 ? r : restore_open_gate(&l->restore, &l->waiter, e);
}

static void unrestore(void *ctx)
{
	struct local_restore *l = ctx;

	restore_revoke(&l->restore);
	floating_revoke(&l->floating);
	if (l->home.made)
		home_remove(&l->home, NULL);
}

/* What has none of both has nobody to tell. */
static bool has_address(const struct local_restore *l)
{
	return l->floating.is_set || l->home.is_set;
}

static int restore_announce(void *ctx, struct err *e)
{
	struct local_restore *l = ctx;
	int r = restore_finish(&l->restore, &l->waiter, e);

	for (int i = 0; i < ANNOUNCEMENTS && r == 0 && has_address(l); i++) {
		floating_announce(&l->floating);
		home_announce(&l->home);
		r = waiter_wait(&l->waiter, -1, deadline_in_ms(ANNOUNCE_MS << i), e);
		r = r == -ETIMEDOUT ? 0 : r;
	}
	return r;
}

int restore_run(const char *dir, struct report *report, struct err *e)
{
	static const struct stage stages[] = {
		{"check", restore_check, NULL},
		{"restore", restore_images, unrestore},
		{"finish", restore_announce, NULL},
	};
	struct local_restore *l = calloc(1, sizeof(*l));
	char text[CONTAINER_ID_MAX + 16];
	int r = 0;

	if (!l)
		return err_sys(e, ENOMEM, "restore");
	l->dir = dir;
	l->report = report;
	l->restore = RESTORE_INIT;
	l->floating = FLOATING_INIT;
	l->home = HOME_INIT;
	l->manifest = calloc(1, sizeof(*l->manifest));
	if (!l->manifest)
		r = err_sys(e, ENOMEM, "restore");
	else if (snprintf(l->images, sizeof(l->images), "%s/images", dir) >= PATH_MAX)
		r = err_set(e, ERR_USAGE, ENAMETOOLONG, "%s", dir);
	if (r == 0)
		r = signals_watch(&l->signals, &l->waiter, e);
	if (r == 0)
		r = stages_walk(stages, sizeof(stages) / sizeof(stages[0]), l, always, e);
	if (r == 0) {
		snprintf(text, sizeof(text), "%s runs", l->manifest->container);
		report_note(report, text);
	}
	restore_done(&l->restore);
	oci_config_done(&l->config);
	floating_done(&l->floating);
	home_done(&l->home);
	signals_done(&l->signals);
	if (l->manifest)
		manifest_done(l->manifest);
	free(l->manifest);
	free(l);
	return r;
}
