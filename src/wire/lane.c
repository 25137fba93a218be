/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/lane.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 4 /* one is filled, one is read, and neither waits for the other's hiccups */

struct lane {
	uint8_t *slots; /* owned, shared */
	int free;	/* owned: an eventfd that counts them */
	unsigned put, taken; /* pieces so far; each side has one of them */
};

int lane_new(struct lane **ret)
{
	struct lane *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->free = eventfd(SLOTS, EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK);
	l->slots = mmap(NULL, (size_t)SLOTS * LANE_SLOT, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (l->free >= 0 && l->slots != MAP_FAILED) {
		*ret = l;
		return 0;
	}
	r = -errno;
	lane_free(l);
	return r;
}

void lane_free(struct lane *l)
{
	if (!l)
		return;
	if (l->slots != MAP_FAILED)
		munmap(l->slots, (size_t)SLOTS * LANE_SLOT);
	fd_close(&l->free);
	free(l);
}

void lane_hide(struct lane *l)
{
	madvise(l->slots, (size_t)SLOTS * LANE_SLOT, MADV_DONTFORK);
}

int lane_fd(const struct lane *l)
{
	return l->free;
}

/* Until a slot is free; the other process may end instead of freeing one. */
static int wait_free(const struct lane *l, int socket, uint64_t deadline)
{
	struct pollfd p[2] = {{.fd = l->free, .events = POLLIN}, {.fd = socket}};
	uint64_t one;

	for (;;) {
		int r;

		if (read(l->free, &one, sizeof(one)) == sizeof(one))
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		r = poll(p, 2, deadline_poll_ms(deadline));
		if (r == 0)
			return -ETIMEDOUT;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0 && p[1].revents)
			return -EPIPE;
	}
}

static uint8_t *slot(const struct lane *l, unsigned piece)
{
	return l->slots + (size_t)(piece % SLOTS) * LANE_SLOT;
}

int lane_put(struct lane *l, int socket, const void *data, size_t len, uint64_t deadline)
{
	int r = wait_free(l, socket, deadline);

	if (r < 0)
		return r;
	memcpy(slot(l, l->put), data, len);
	l->put++;
	return 0;
}

const void *lane_next(const struct lane *l)
{
	return slot(l, l->taken);
}

int lane_took(struct lane *l)
{
	const uint64_t one = 1;

	l->taken++;
	return write(l->free, &one, sizeof(one)) == sizeof(one) ? 0 : -errno;
}
