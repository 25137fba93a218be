/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/child.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* runc as a program: its state, checkpoint, restore and delete. */

#define CONTAINER_ID_MAX 255

struct container {
	char id[CONTAINER_ID_MAX + 1];
	char status[16]; /* "running", "stopped", "paused", "created" */
	pid_t pid;	 /* of its init, 0 when stopped */
	char bundle[4096];
	char cgroup[4096]; /* its directory in the cgroup2 hierarchy, of all of it; "" when not to be found */
};

/* A name that runc accepts and that is safe as a file name. */
bool container_id_valid(const char *id);

/* Something has that name here, whatever it is. */
bool runc_exists(const char *id);

/* Takes the lock under which godwit makes containers, so that of two that want a name one gets it: *ret, which
 * the caller closes once runc has the name, or will not. ERR_REFUSED and -EEXIST when it is taken. */
int runc_claim(const char *id, int *ret, struct err *e);

/* A descriptor that is readable when a container, any, has been made; the caller closes it. Or -errno. */
int runc_watch(void);

/*
 * A container of that name lives, and is none that a restore has not finished: somebody has started it. As long
 * as runc restores there is a "criu-root" in its directory, and when it was killed afterwards
 * (libcontainer/criu_linux.go).
 */
bool runc_is_started(const char *id);

/* What is known of a container. An unknown one is ERR_REFUSED and -ENOENT. */
int runc_state(const char *id, struct container *ret, struct err *e);

struct runc_checkpoint {
	const char *id, *images, *work;
	bool lazy;	      /* needs an unused TCP port of 127.0.0.1 below */
	uint16_t lazy_port;
	bool leave_running, file_locks, tcp_established;
	const char *programs; /* a directory where CRIU finds programs before others, or NULL */
	const char *preload;  /* a library for runc and CRIU (LD_PRELOAD), or NULL */
};

/* Starts "runc checkpoint"; the caller waits for it. */
int runc_checkpoint_start(const struct runc_checkpoint *c, struct child *ret, struct err *e);

struct runc_restore {
	const char *id, *bundle, *images, *work;
	bool lazy, file_locks, tcp_established;
	const char *programs, *preload; /* as above */
};

/* Starts "runc restore --detach"; it ends when the container runs. */
int runc_restore_start(const struct runc_restore *o, struct child *ret, struct err *e);

/* Removes the note that runc makes in its directory when a checkpoint begins, and leaves there when
 * it fails. */
void runc_forget_checkpoint(const char *id);

/* The same for the place of the root file system of a restore that was killed after the container ran. */
void runc_forget_restore(const char *id);

/* Deletes a container, killing what is left of it. One that is gone is fine. */
int runc_delete(const char *id, struct err *e);

/* Version of a program's "--version" output, like "1.3.6"; false when it can't be run. */
bool program_version(const char *program, char *ret, size_t size);

/* major * 10000 + minor * 100 + patch of "4.2.1"; 0 when it isn't one. */
uint32_t version_number(const char *text);
