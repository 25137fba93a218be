/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/child.h"
#include "base/err.h"

/*
 * Where a migration's files are: a tmpfs in a mount namespace of this process alone.
 *
 * Images never touch a disk, nobody else can see them, and all of it vanishes with the last
 * process in it, however that ends. In the same namespace the file from which runc lets CRIU read
 * its options (/etc/criu/runc.conf, or what the annotation org.criu.config names) is covered by
 * one of ours, which contains the original; the host's own file is never touched.
 */

#define WORKPLACE_DIR "/run/godwit/work"
#define WORKPLACE_IMAGES WORKPLACE_DIR "/images"
#define WORKPLACE_CRIU WORKPLACE_DIR "/criu"
#define WORKPLACE_PROGRAMS WORKPLACE_DIR "/bin" /* found before others: tar_program.c */
#define WORKPLACE_PRELOAD WORKPLACE_DIR "/preload.so" /* view.h, exec_preload.c */
/* Where CRIU looks for cgroups, and those of version 2 in it (its --cgroup-yard). It would mount them itself else, for a
 * moment within the freeze: that waits for whoever changes any cgroup, and takes the options of the host's own mount
 * away (nsdelegate, say), since those of the last one hold for all. */
#define WORKPLACE_CGROUPS WORKPLACE_DIR "/cgroups"
#define WORKPLACE_UNIFIED WORKPLACE_CGROUPS "/unified"
#define WORKPLACE_TRACING WORKPLACE_DIR "/tracing" /* kernel/advice.h */

/* Enters a new mount namespace with an empty workplace, which takes memory as it fills. The process
 * must have one thread only. */
int workplace_enter(struct err *e);

/* Back to where workplace_enter() was called, for another attempt; the workplace vanishes. The process must
 * have one thread only. */
int workplace_leave(struct err *e);

/* Hides the host's /proc behind a new one, for a dump. One that has been read before may still tell of a mapping with
 * which rights the file was open that was mapped there then (map_files: the kernel keeps such a name as long as
 * something is mapped there). */
int workplace_new_proc(struct err *e);

/* Hides the host's /tmp behind an empty one: a CRIU that is killed leaves directories there. Not for
 * a container that needs something in /tmp. */
int workplace_hide_tmp(struct err *e);

/*
 * Makes CRIU read @options (lines of its configuration file) after those that it would have read.
 * @annotation: the container's org.criu.config, NULL when it has none.
 */
int workplace_criu_options(const char *annotation, const char *options, struct err *e);

/* Sets why CRIU could not @action ("dump" or "restore"): what its log of that in the workplace has, or else what @runc,
 * which has ended, has said. Always negative. */
int workplace_criu_failed(const char *action, const struct child *runc, struct err *e);
