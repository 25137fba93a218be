/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/keeper_impl.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define REPLY_MS 60000
#define SLOTS_BYTES (KEEPER_LINES * KEEPER_LINE_BYTES)

struct keeper_line {
	int fd, room;	/* owned by who has the link, or borrowed it */
	uint8_t *slots; /* the same */
	uint32_t marks;
	uint64_t sent, answered;
	int error; /* of a request that was only handed over: all that follow fail with it */
	uint64_t kept; /* bytes, when there was no room for more */
	struct keeper_reply reply; /* the last one */
};

struct keeper {
	struct keeper_link link;
	struct keeper_line lines[KEEPER_LINES];
	pid_t pid;
	bool done;
};

/* --- the link -------------------------------------------------------------------------------- */

static int open_pair(int ends[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0 ? -errno : 0;
}

/* Maps the slots of one line, at @at or anywhere. */
static int map_room(int room, uint8_t *at, uint8_t **ret)
{
	void *p = mmap(at, KEEPER_LINE_BYTES, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_NORESERVE | (at ? MAP_FIXED : 0), room, 0);

	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

/* Who has borrowed it can't take from under us what we have mapped. */
static int open_room(struct keeper_link *l, size_t line)
{
	uint8_t *at = keeper_slot(l, line, 0);

	l->rooms[line] = memfd_create("godwit-line", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (l->rooms[line] < 0 || ftruncate(l->rooms[line], (off_t)KEEPER_LINE_BYTES) < 0 ||
		fcntl(l->rooms[line], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return map_room(l->rooms[line], at, &at);
}

static int open_line(struct keeper_link *l, size_t line)
{
	int r = open_pair(l->lines[line]);

	return r < 0 ? r : open_room(l, line);
}

int keeper_link_open(struct keeper_link *l)
{
	void *slots = mmap(NULL, SLOTS_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int r = slots == MAP_FAILED ? -errno : 0;

	*l = (struct keeper_link){.events = {-1, -1}, .wishes = {-1, -1}};
	l->slots = slots == MAP_FAILED ? NULL : slots;
	for (size_t i = 0; i < KEEPER_LINES; i++)
		l->lines[i][0] = l->lines[i][1] = l->rooms[i] = -1;
	for (size_t i = 0; r == 0 && i < KEEPER_LINES; i++)
		r = open_line(l, i);
	if (r == 0)
		r = open_pair(l->events);
	if (r == 0)
		r = open_pair(l->wishes);
	if (r < 0)
		keeper_link_done(l);
	return r;
}

void keeper_link_close(struct keeper_link *l, int side)
{
	for (size_t i = 0; i < KEEPER_LINES; i++) {
		fd_close(&l->lines[i][side]);
		if (side == 0)
			fd_close(&l->rooms[i]);
	}
	fd_close(&l->events[side]);
	fd_close(&l->wishes[side]);
}

void keeper_link_done(struct keeper_link *l)
{
	keeper_link_close(l, 0);
	keeper_link_close(l, 1);
	if (l->slots)
		munmap(l->slots, SLOTS_BYTES);
	l->slots = NULL;
}

/* --- one thread's line ----------------------------------------------------------------------- */

static int take_reply(struct keeper_line *l)
{
	int r = fd_wait(l->fd, POLLIN, deadline_in_ms(REPLY_MS));
	ssize_t n;

	if (r < 0)
		return r;
	n = recv(l->fd, &l->reply, sizeof(l->reply), 0);
	if (n != sizeof(l->reply))
		return -EPIPE;
	l->answered++;
	if (l->reply.result < 0 && l->error == 0) {
		l->error = (int)l->reply.result;
		l->kept = l->reply.stats.store_used;
	}
	return 0;
}

static bool is_full(const struct keeper_line *l)
{
	return l->sent - l->answered == KEEPER_SLOTS;
}

static int wait_slot(struct keeper_line *l)
{
	int r = 0;

	while (r == 0 && is_full(l))
		r = take_reply(l);
	return r < 0 ? r : l->error;
}

static uint32_t next_slot(const struct keeper_line *l)
{
	return (uint32_t)(l->sent % KEEPER_SLOTS);
}

static int hand_over(struct keeper_line *l, struct keeper_request *q, const int *fds, size_t n)
{
	int r = wait_slot(l);

	if (r < 0)
		return r;
	q->slot = next_slot(l);
	r = fd_send(l->fd, q, sizeof(*q), fds, n);
	if (r == 0)
		l->sent++;
	return r == -ECONNRESET ? -EPIPE : r;
}

int keeper_flush(struct keeper_line *l)
{
	int r = 0;

	while (r == 0 && l->answered < l->sent)
		r = take_reply(l);
	return r < 0 ? r : l->error;
}

/* What the keeper still answers to who has had the line stands before its answer to us. */
void keeper_renew(struct keeper_line *l)
{
	struct keeper_request q = {.verb = KEEPER_MARK, .vpid = ++l->marks};
	int r = hand_over(l, &q, NULL, 0);

	do
		r = r < 0 ? r : take_reply(l);
	while (r == 0 && l->reply.vpid != q.vpid);
	l->sent = l->answered = 0;
	l->error = 0;
}

void keeper_line_lend(const struct keeper_line *l, int ret[2])
{
	ret[0] = l->fd;
	ret[1] = l->room;
}

int keeper_line_borrow(int fds[2], struct keeper_line **ret)
{
	struct keeper_line *l = calloc(1, sizeof(*l));
	int r = l ? map_room(fds[1], NULL, &l->slots) : -ENOMEM;

	if (r < 0) {
		free(l);
		fd_close(&fds[0]);
		fd_close(&fds[1]);
		return r;
	}
	l->fd = fds[0];
	l->room = fds[1];
	*ret = l;
	return 0;
}

void keeper_line_free(struct keeper_line *l)
{
	if (!l)
		return;
	munmap(l->slots, KEEPER_LINE_BYTES);
	close(l->fd);
	close(l->room);
	free(l);
}

int keeper_room(struct keeper_line *l, void **ret)
{
	int r = wait_slot(l);

	if (r == 0)
		*ret = l->slots + (size_t)next_slot(l) * KEEPER_ROOM;
	return r;
}

int keeper_put(struct keeper_line *l, uint32_t vpid, uint64_t addr, uint32_t pages, const void *room)
{
	struct keeper_request q = {.verb = room ? KEEPER_PUT : KEEPER_PUT_ZEROS, .vpid = vpid,
		.pages = pages, .addr = addr};

	return hand_over(l, &q, NULL, 0);
}

int keeper_forget(struct keeper_line *l, uint32_t vpid, uint64_t addr, uint32_t pages)
{
	struct keeper_request q = {.verb = KEEPER_FORGET, .vpid = vpid, .pages = pages, .addr = addr};

	return hand_over(l, &q, NULL, 0);
}

struct keeper_line *keeper_urgent_line(struct keeper *k)
{
	return &k->lines[KEEPER_URGENT];
}

struct keeper_line *keeper_stream_line(struct keeper *k, unsigned stream)
{
	return &k->lines[KEEPER_BULK + stream];
}

int keeper_wish_fd(const struct keeper *k)
{
	return k->link.wishes[0];
}

int keeper_next_wish(int wish_fd, struct pager_wish *ret)
{
	ssize_t n = recv(wish_fd, ret, sizeof(*ret), MSG_DONTWAIT);

	if (n == sizeof(*ret))
		return 1;
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -EPIPE;
}

/* --- the main thread's ----------------------------------------------------------------------- */

/* One request and its reply, whose error is this request's alone. */
static int ask(struct keeper *k, struct keeper_request *q, const int *fds, size_t n)
{
	struct keeper_line *l = &k->lines[KEEPER_CONTROL];
	int r = hand_over(l, q, fds, n);

	if (r == 0)
		r = keeper_flush(l);
	l->error = 0;
	return r;
}

static int ask_plain(struct keeper *k, enum keeper_verb verb, uint32_t pages)
{
	struct keeper_request q = {.verb = verb, .pages = pages};

	return ask(k, &q, NULL, 0);
}

int keeper_expect(struct keeper *k, uint32_t vpid, const struct ranges *lazy)
{
	struct keeper_request q = {.verb = KEEPER_EXPECT_SOME, .vpid = vpid};
	const size_t max = KEEPER_ROOM / sizeof(lazy->v[0]);
	int r = 0;

	for (size_t i = 0; r == 0 && i < lazy->n; i += max) {
		void *room;

		q.pages = (uint32_t)(lazy->n - i < max ? lazy->n - i : max);
		r = keeper_room(&k->lines[KEEPER_CONTROL], &room);
		if (r != 0)
			return r;
		memcpy(room, lazy->v + i, q.pages * sizeof(lazy->v[0]));
		r = ask(k, &q, NULL, 0);
	}
	q.verb = KEEPER_EXPECT;
	return r < 0 ? r : ask(k, &q, NULL, 0);
}

int keeper_drop_others(struct keeper *k)
{
	return ask_plain(k, KEEPER_DROP_OTHERS, 0);
}

int keeper_add_view(struct keeper *k, uint32_t vpid, int uffd, struct err *e)
{
	struct keeper_request q = {.verb = KEEPER_ADD_VIEW, .vpid = vpid};
	int r = ask(k, &q, &uffd, 1);

	close(uffd);
	if (r == -ENOENT)
		return err_set(e, ERR_LOCAL, ENOENT,
			"CRIU asks for the memory of process %u, whose pagemap did not come", vpid);
	return r < 0 ? keeper_error(r, "memory of a process", e) : 0;
}

int keeper_open(struct keeper *k)
{
	return ask_plain(k, KEEPER_OPEN, 0);
}

int keeper_stats(struct keeper *k, struct pager_stats *ret)
{
	int r = ask_plain(k, KEEPER_STATS, 0);

	if (r == 0)
		*ret = k->lines[KEEPER_CONTROL].reply.stats;
	return r;
}

/* As many at a time as a slot takes. */
int keeper_lacking(struct keeper *k, uint32_t after, uint32_t *ret_vpid, struct ranges *ret)
{
	struct keeper_request q = {.verb = KEEPER_LACKING, .vpid = after};
	struct keeper_line *l = &k->lines[KEEPER_CONTROL];
	const uint32_t max = KEEPER_ROOM / sizeof(ret->v[0]);
	void *room;
	int r;

	do {
		struct range x = {0};

		r = keeper_room(l, &room);
		if (r == 0)
			r = ask(k, &q, NULL, 0);
		for (uint32_t i = 0; r == 0 && i < l->reply.ranges && i < max; i++) {
			memcpy(&x, (uint8_t *)room + i * sizeof(x), sizeof(x));
			r = ranges_add(ret, x.start, x.end);
		}
		q.addr = x.end;
	} while (r == 0 && l->reply.ranges == max);
	*ret_vpid = l->reply.vpid;
	return r < 0 ? r : l->reply.vpid != 0;
}

int keeper_ask_again(struct keeper *k)
{
	return ask_plain(k, KEEPER_ASK_AGAIN, 0);
}

int keeper_give_way(struct keeper *k, bool on)
{
	return ask_plain(k, KEEPER_GIVE_WAY, on);
}

int keeper_own(struct keeper *k)
{
	return ask_plain(k, KEEPER_OWN, 0);
}

int keeper_runs(struct keeper *k)
{
	return ask_plain(k, KEEPER_RUNS, 0);
}

int keeper_event_fd(const struct keeper *k)
{
	return k->link.events[0];
}

int keeper_error(int r, const char *what, struct err *e)
{
	if (r == -EPIPE)
		return err_set(e, ERR_LOCAL, EPIPE, "the keeper of the container's memory was killed");
	return err_sys(e, -r, "%s", what);
}

int keeper_line_error(const struct keeper_line *l, int r, struct err *e)
{
	if (r == -ENOSPC)
		return err_set(e, ERR_LOCAL, ENOSPC,
			"keeping pages: there is no room for more on the target, which keeps %llu MB",
			(unsigned long long)(l->kept >> 20));
	return keeper_error(r, "keeping pages", e);
}

int keeper_event(struct keeper *k, struct err *e)
{
	struct keeper_event v;
	ssize_t n = recv(k->link.events[0], &v, sizeof(v), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n != sizeof(v))
		return keeper_error(-EPIPE, "", e);
	if (v.kind == KEEPER_IS_UP)
		k->pid = (pid_t)v.number;
	if (v.kind == KEEPER_IS_DONE)
		k->done = true;
	if (v.kind == KEEPER_HAS_FAILED)
		return err_set(e, ERR_LOCAL, (int)v.number, "%.*s", (int)sizeof(v.text), v.text);
	return v.kind == KEEPER_IS_DONE;
}

bool keeper_done(const struct keeper *k)
{
	return k->done;
}

pid_t keeper_pid(const struct keeper *k)
{
	return k->pid;
}

/* --- beginning and end ----------------------------------------------------------------------- */

static int wait_up(struct keeper *k, struct err *e)
{
	int r = fd_wait(k->link.events[0], POLLIN, deadline_in_ms(REPLY_MS));

	if (r < 0)
		return err_sys(e, -r, "starting the keeper");
	r = keeper_event(k, e);
	return r < 0 ? r : 0;
}

int keeper_join(struct keeper_link *l, struct keeper **ret, struct err *e)
{
	struct keeper *k = calloc(1, sizeof(*k));
	int r;

	if (!k) {
		keeper_link_done(l);
		return err_sys(e, ENOMEM, "keeper");
	}
	k->link = *l;
	keeper_link_close(&k->link, 1);
	for (size_t i = 0; i < KEEPER_LINES; i++)
		k->lines[i] = (struct keeper_line){
			.fd = k->link.lines[i][0], .room = k->link.rooms[i], .slots = keeper_slot(&k->link, i, 0)};
	r = wait_up(k, e);
	if (r < 0)
		keeper_free(k);
	else
		*ret = k;
	return r;
}

int keeper_start(const struct keeper_config *c, struct keeper **ret, struct err *e)
{
	struct keeper_link l;
	int r = keeper_link_open(&l);

	if (r < 0)
		return err_sys(e, -r, "sockets of the keeper");
	r = child_fork_apart();
	if (r == 0) {
		keeper_link_close(&l, 0);
		keeper_main(c, &l);
	}
	if (r < 0) {
		keeper_link_done(&l);
		return err_sys(e, -r, "starting the keeper");
	}
	return keeper_join(&l, ret, e);
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	keeper_link_done(&k->link);
	free(k);
}
