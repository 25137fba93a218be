/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * How the small programs that CRIU starts ask the godwit that works on it: one message with what
 * it is about, and descriptors maybe; one byte as the answer. Only libc is used: these programs are
 * static, since each is started within the freeze.
 */

/* 0 for yes; no, and nobody who answers, are -1. At most two descriptors. */
static inline int call_godwit(const char *socket_path, const char *action, const int *fds, int n)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct iovec data = {(void *)action, strlen(action) + 1};
	struct msghdr m = {.msg_iov = &data, .msg_iovlen = 1};
	char answer = 'n';
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (s < 0 || snprintf(at.sun_path, sizeof(at.sun_path), "%s", socket_path) >=
			(int)sizeof(at.sun_path))
		return -1;
	if (n > 0) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
		control.head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN((size_t)n * sizeof(int))};
		memcpy(CMSG_DATA(&control.head), fds, (size_t)n * sizeof(int));
	}
	if (connect(s, (struct sockaddr *)&at, sizeof(at)) < 0 || sendmsg(s, &m, 0) < 0 ||
		read(s, &answer, 1) != 1)
		return -1;
	return answer == 'y' ? 0 : -1;
}
