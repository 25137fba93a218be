/* SPDX-License-Identifier: Apache-2.0 */
#include "criu/workplace.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "criu/images.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/criu/runc.conf" /* runc: libcontainer/criu_linux.go */
#define OUR_CONFIG WORKPLACE_DIR "/criu.conf"
#define CONFIG_MAX 65536

/* tar_program.c and view_preload.c, see this directory's meson.build. */
extern const unsigned char tar_program_start[], tar_program_end[];
extern const unsigned char preload_program_start[], preload_program_end[];

/* Where this process was before. */
static int outside = -1, outside_dir = -1;

static int remember_outside(void)
{
	outside = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	outside_dir = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return outside < 0 || outside_dir < 0 ? -errno : 0;
}

/* Who enters a mount namespace must not share its working directory with another thread (setns(2)); one of
 * the C library or of a sanitizer may be left. */
int workplace_leave(struct err *e)
{
	int r = 0;

	if (outside >= 0 && (unshare(CLONE_FS) < 0 || setns(outside, CLONE_NEWNS) < 0 ||
		fchdir(outside_dir) < 0))
		r = err_sys(e, errno, "leaving the mount namespace");
	fd_close(&outside);
	fd_close(&outside_dir);
	return r;
}

int workplace_enter(struct err *e)
{
	int r;

	r = dir_make(WORKPLACE_DIR, 0700);
	if (r < 0)
		return err_sys(e, -r, "making %s", WORKPLACE_DIR);
	r = remember_outside();
	if (r < 0)
		return err_sys(e, -r, "this mount namespace");
	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(e, errno, "new mount namespace");
	/* What is mounted on the host from now on is seen here; what is mounted here isn't there. */
	if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return err_sys(e, errno, "detaching the mount namespace");
	if (mount("godwit", WORKPLACE_DIR, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700,size=75%") < 0)
		return err_sys(e, errno, "tmpfs at %s", WORKPLACE_DIR);
	if (mkdir(WORKPLACE_IMAGES, 0700) < 0 || mkdir(WORKPLACE_CRIU, 0700) < 0 ||
		mkdir(WORKPLACE_PROGRAMS, 0700) < 0)
		return err_sys(e, errno, "directories in %s", WORKPLACE_DIR);
	r = file_write_program(WORKPLACE_PROGRAMS "/tar", tar_program_start, tar_program_end);
	if (r == 0)
		r = file_write_program(WORKPLACE_PRELOAD, preload_program_start, preload_program_end);
	return r < 0 ? err_sys(e, -r, "programs in %s", WORKPLACE_DIR) : 0;
}

int workplace_new_proc(struct err *e)
{
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return err_sys(e, errno, "new /proc");
	return 0;
}

int workplace_hide_tmp(struct err *e)
{
	if (mount("godwit", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") < 0)
		return err_sys(e, errno, "private /tmp");
	return 0;
}

static int write_config(const char *original, const char *options)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_buf_ struct buf b;
	size_t len = 0;
	int r = file_read(original, CONFIG_MAX, &text, &len);

	buf_init(&b, 2 * CONFIG_MAX);
	if (r == 0) {
		buf_put(&b, text, len);
		buf_put(&b, "\n", 1);
	} else if (r != -ENOENT && r != -ENOTDIR) {
		return r;
	}
	buf_put(&b, options, strlen(options));
	r = buf_check(&b);
	return r < 0 ? r : file_write_atomic(OUR_CONFIG, b.data, b.len, 0600);
}

/* An overlay makes a file appear that the host doesn't have, and maybe not even its directory. */
static int overlay_etc(struct err *e)
{
	static const char upper[] = WORKPLACE_DIR "/etc";
	int r;

	if (mkdir(WORKPLACE_DIR "/etc-work", 0700) < 0 || mkdir(upper, 0755) < 0 ||
		mkdir(WORKPLACE_DIR "/etc/criu", 0755) < 0)
		return err_sys(e, errno, "directories for CRIU's configuration");
	r = open(WORKPLACE_DIR "/etc/criu/runc.conf", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (r < 0)
		return err_sys(e, errno, "file for CRIU's configuration");
	close(r);
	if (mount("godwit", "/etc", "overlay", 0,
		    "lowerdir=/etc,upperdir=" WORKPLACE_DIR "/etc,workdir=" WORKPLACE_DIR
		    "/etc-work") < 0) {
		r = err_sys(e, errno, "overlay over /etc, for CRIU's configuration");
		err_remedy(e, "create an empty file %s", DEFAULT_CONFIG);
		return r;
	}
	return 0;
}

int workplace_criu_options(const char *annotation, const char *options, struct err *e)
{
	const char *path = annotation ? annotation : DEFAULT_CONFIG;
	int r;

	if (annotation && !*annotation) {
		r = err_set(e, ERR_REFUSED, EINVAL,
			"the annotation org.criu.config is empty: CRIU would read no configuration");
		err_remedy(e, "remove the annotation from config.json, or name a file with it");
		return r;
	}
	r = write_config(path, options);
	if (r < 0)
		return err_sys(e, -r, "CRIU's configuration from %s", path);
	if (!annotation && access(path, F_OK) < 0) {
		r = overlay_etc(e);
		if (r < 0)
			return r;
	}
	if (mount(OUR_CONFIG, path, NULL, MS_BIND, NULL) < 0) {
		r = err_sys(e, errno, "covering %s", path);
		if (annotation)
			err_remedy(e, "create the file that the annotation org.criu.config names");
		return r;
	}
	return 0;
}

int workplace_criu_failed(const char *action, const struct child *runc, struct err *e)
{
	char path[sizeof(WORKPLACE_CRIU) + 32], why[512];

	snprintf(path, sizeof(path), WORKPLACE_CRIU "/%s.log", action);
	criu_log_tail(path, why, sizeof(why));
	if (!why[0])
		child_said(runc, why, sizeof(why));
	return err_set(e, ERR_LOCAL, EIO, "CRIU could not %s the container: %s", action, why[0] ? why : "runc has ended");
}
