/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/sender.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/rate.h"
#include "base/thread.h"
#include "mem/store.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

enum job_kind { JOB_PAGES, JOB_RETRY, JOB_FORGET, JOB_CUT, JOB_MARK };

struct job {
	struct job *next;
	enum job_kind kind;
	const struct process *process; /* of JOB_PAGES and JOB_RETRY */
	bool live;
	uint32_t vpid; /* of JOB_FORGET */
	struct ranges ranges;
};

struct stream {
	struct sender *sender;
	size_t index;
	pthread_t thread;
	struct thread_priority priority;
	bool started, idle; /* idle: under the lock */
	bool was_cut;
	struct page_sink sink;
	struct codec *codec;
	uint8_t *chunk;
	const struct job *at; /* the last job done, under the lock */
	uint64_t pages, bytes;
	double link_rate; /* as known, or 0 */
};

/* Of one process, what could not be read. */
struct skipped {
	uint32_t vpid;
	struct ranges ranges;
};

struct sender {
	pthread_mutex_t lock; /* of all below but the streams' own */
	pthread_cond_t changed;
	struct job *first, *last; /* kept until the end: the streams walk the list separately */
	bool no_more, paused, stop;
	struct rate rate;
	uint64_t next; /* not to send before that */
	size_t n_streams, n_ended;
	struct skipped *skipped; /* owned */
	size_t n_skipped;
	struct err error;
	struct sender_stats stats;
	int event, idle_event;
	struct stream streams[];
};

static bool is_mine(const struct stream *t, uint64_t addr)
{
	return (addr >> BLOCK_SHIFT) % t->sender->n_streams == t->index;
}

/* Until something has changed, or until the limit allows more; under the lock. */
static void wait_for_leave(struct sender *s)
{
	struct timespec until = {.tv_sec = (time_t)(s->next / NSEC_PER_SEC),
		.tv_nsec = (long)(s->next % NSEC_PER_SEC)};

	if (s->paused)
		pthread_cond_wait(&s->changed, &s->lock);
	else
		pthread_cond_timedwait(&s->changed, &s->lock, &until);
}

/* Waits while paused or too fast; false when it has to stop. */
static bool may_go_on(struct sender *s)
{
	bool stop;

	pthread_mutex_lock(&s->lock);
	while ((s->paused || s->next > clock_now()) && !s->stop)
		wait_for_leave(s);
	stop = s->stop || err_is_set(&s->error);
	pthread_mutex_unlock(&s->lock);
	return !stop;
}

static void count(struct sender *s, uint32_t pages, bool zero, size_t out)
{
	pthread_mutex_lock(&s->lock);
	s->stats.pages += pages;
	if (zero) {
		s->stats.zero_pages += pages;
	} else {
		s->stats.bytes_in += PAGES_TO_BYTES(pages);
		s->next = rate_count(&s->rate, out, clock_now());
		s->stats.bytes_out += out;
	}
	pthread_mutex_unlock(&s->lock);
}

/* This stream's part of a limit is as good as a link. */
static double rate_of(struct stream *t)
{
	struct sender *s = t->sender;
	double limit;

	if (t->sink.link_rate)
		t->link_rate = t->sink.link_rate(t->sink.ctx, t->link_rate);
	pthread_mutex_lock(&s->lock);
	limit = (double)s->rate.bytes_per_second / (double)s->n_streams;
	pthread_mutex_unlock(&s->lock);
	return limit > 0 && (t->link_rate <= 0 || limit < t->link_rate) ? limit : t->link_rate;
}

static enum codec_encoding encode(
	struct stream *t, const void *src, size_t n, const void **ret_data, size_t *ret_len)
{
	double rate = rate_of(t);

	if (rate > 0)
		codec_expect(t->codec, rate);
	return codec_encode(t->codec, src, n, ret_data, ret_len);
}

static int send_data(struct stream *t, uint32_t vpid, uint64_t addr, uint32_t n, const void *src,
	struct err *e)
{
	const void *data;
	size_t len;
	enum codec_encoding how = encode(t, src, PAGES_TO_BYTES(n), &data, &len);
	uint64_t start = clock_now();
	int r = t->sink.pages(t->sink.ctx, vpid, addr, n, how, data, len, e);

	codec_sent(t->codec, len, clock_now() - start);
	count(t->sender, n, false, len);
	t->bytes += len;
	return r;
}

/* A chunk is sent as alternating runs of zero pages and others. */
static int send_runs(struct stream *t, uint32_t vpid, uint64_t addr, uint32_t n, struct err *e)
{
	uint32_t done = 0;
	int r = 0;

	while (done < n && r == 0) {
		const uint8_t *src = t->chunk + PAGES_TO_BYTES(done);
		uint64_t at = addr + PAGES_TO_BYTES(done);
		bool zero;
		uint32_t run = codec_run(src, n - done, &zero);

		if (zero) {
			r = t->sink.zeros(t->sink.ctx, vpid, at, run, e);
			count(t->sender, run, true, 0);
		} else {
			r = send_data(t, vpid, at, run, src, e);
		}
		done += run;
	}
	t->pages += n;
	return r;
}

/* Under the lock. */
static struct ranges *skipped_of(struct sender *s, uint32_t vpid, bool make)
{
	struct skipped *bigger;

	for (size_t i = 0; i < s->n_skipped; i++)
		if (s->skipped[i].vpid == vpid)
			return &s->skipped[i].ranges;
	bigger = make ? realloc(s->skipped, (s->n_skipped + 1) * sizeof(*bigger)) : NULL;
	if (!bigger)
		return NULL;
	s->skipped = bigger;
	bigger[s->n_skipped] = (struct skipped){.vpid = vpid};
	return &bigger[s->n_skipped++].ranges;
}

/* Whatever was sent of it before is older. After the cut the target has nothing of it. */
static int skip(struct stream *t, uint32_t vpid, uint64_t addr, uint32_t n, struct err *e)
{
	struct sender *s = t->sender;
	struct ranges *skipped;
	int r;

	pthread_mutex_lock(&s->lock);
	skipped = skipped_of(s, vpid, true);
	r = skipped ? ranges_add(skipped, addr, addr + PAGES_TO_BYTES(n)) : -ENOMEM;
	pthread_mutex_unlock(&s->lock);
	if (r < 0)
		return err_sys(e, -r, "memory of process %u", vpid);
	return t->was_cut ? 0 : t->sink.forget(t->sink.ctx, vpid, addr, n, e);
}

/* So many of @n pages from @addr on can be read, and are in the chunk. */
static uint32_t read_run(struct stream *t, const struct process *p, uint64_t addr, uint32_t n)
{
	uint32_t run = 0;

	while (run < n && process_read(p, addr + PAGES_TO_BYTES(run), 1, t->chunk + PAGES_TO_BYTES(run)) == 0)
		run++;
	return run;
}

/* So many can't; of the first one that is known. */
static uint32_t gone_run(struct stream *t, const struct process *p, uint64_t addr, uint32_t n)
{
	uint32_t run = 1;

	while (run < n && process_read(p, addr + PAGES_TO_BYTES(run), 1, t->chunk) < 0)
		run++;
	return run;
}

/* What can't be read is gone, with its process maybe: what comes there later is new, and will be reported as
 * written. Or it is there all the same (a page of swap that is lost, say): then CRIU lists it. */
static int send_what_is_there(struct stream *t, const struct process *p, uint64_t addr, uint32_t n, struct err *e)
{
	uint32_t run;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i += run) {
		uint64_t at = addr + PAGES_TO_BYTES(i);

		run = read_run(t, p, at, n - i);
		if (run > 0) {
			r = send_runs(t, p->vpid, at, run, e);
		} else {
			run = gone_run(t, p, at, n - i);
			r = skip(t, p->vpid, at, run, e);
		}
	}
	return r;
}

static int send_chunk(struct stream *t, const struct process *p, uint64_t addr, uint32_t n, bool live,
	struct err *e)
{
	int r = process_read(p, addr, n, t->chunk);

	if (r == 0)
		return send_runs(t, p->vpid, addr, n, e);
	if (live && (r == -EFAULT || r == -ESRCH))
		return send_what_is_there(t, p, addr, n, e);
	return err_sys(e, -r, "reading %u pages at 0x%llx of process %d", n, (unsigned long long)addr, p->pid);
}

/* What a job does with each part of its ranges: parts lie in one block of this stream. */
static int do_part(struct stream *t, const struct job *j, uint64_t addr, uint32_t pages, struct err *e)
{
	if (j->kind == JOB_FORGET)
		return t->sink.forget(t->sink.ctx, j->vpid, addr, pages, e);
	return send_chunk(t, j->process, addr, pages, j->live, e);
}

static int do_range(struct stream *t, const struct job *j, struct range g, struct err *e)
{
	uint64_t most = j->kind == JOB_FORGET ? BLOCK_BYTES : PAGES_TO_BYTES(CODEC_CHUNK_PAGES);

	while (g.start < g.end) {
		uint64_t block_end = ((g.start >> BLOCK_SHIFT) + 1) << BLOCK_SHIFT;
		uint64_t end = g.end < block_end ? g.end : block_end;
		int r = 0;

		if (!is_mine(t, g.start)) {
			g.start = end;
			continue;
		}
		if (end - g.start > most)
			end = g.start + most;
		if (!may_go_on(t->sender))
			return -ECANCELED;
		thread_breathe();
		r = do_part(t, j, g.start, (uint32_t)BYTES_TO_PAGES(end - g.start), e);
		if (r < 0)
			return r;
		g.start = end;
	}
	return 0;
}

/* From the top: stacks and what belongs to threads and libraries lie there, and are touched first. */
static int do_ranges(struct stream *t, const struct job *j, const struct ranges *ranges, struct err *e)
{
	int r = 0;

	for (size_t i = ranges->n; i > 0 && r == 0; i--)
		r = do_range(t, j, ranges->v[i - 1], e);
	return r;
}

/* Another stream may not have come so far, but what it skips is its own. */
static int do_retry(struct stream *t, const struct job *j, struct err *e)
{
	_cleanup_ranges_ struct ranges again = RANGES_INIT;
	struct sender *s = t->sender;
	struct ranges *skipped;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	skipped = skipped_of(s, j->process->vpid, false);
	if (skipped)
		r = ranges_intersection(skipped, &j->ranges, &again);
	pthread_mutex_unlock(&s->lock);
	return r < 0 ? err_sys(e, -r, "memory of process %u", j->process->vpid) : do_ranges(t, j, &again, e);
}

static int do_job(struct stream *t, const struct job *j, struct err *e)
{
	switch (j->kind) {
	case JOB_CUT:
		t->was_cut = true;
		return t->sink.cut(t->sink.ctx, e);
	case JOB_MARK:
		return t->sink.mark(t->sink.ctx, e);
	case JOB_RETRY:
		return do_retry(t, j, e);
	default:
		return do_ranges(t, j, &j->ranges, e);
	}
}

/* Nothing to do: the last stream to say so tells. */
static void note_idle(struct stream *t)
{
	struct sender *s = t->sender;
	bool all = true;

	if (t->idle)
		return;
	t->idle = true;
	for (size_t i = 0; i < s->n_streams; i++)
		all &= s->streams[i].idle;
	if (all)
		eventfd_write(s->idle_event, 1);
}

/* The next job for this stream; NULL at the end or when it has to stop. */
static const struct job *next_job(struct stream *t)
{
	struct sender *s = t->sender;
	const struct job *j;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		j = t->at ? t->at->next : s->first;
		if (!j)
			note_idle(t);
		if (j || s->no_more || s->stop || err_is_set(&s->error))
			break;
		pthread_cond_wait(&s->changed, &s->lock);
	}
	if (s->stop || err_is_set(&s->error))
		j = NULL;
	if (j)
		t->at = j;
	pthread_mutex_unlock(&s->lock);
	return j;
}

static void stream_ended(struct stream *t, int result, const struct err *e)
{
	struct sender *s = t->sender;

	pthread_mutex_lock(&s->lock);
	if (result == 0)
		s->n_ended++;
	else if (!err_is_set(&s->error))
		s->error = *e;
	if (s->n_ended == s->n_streams || result < 0)
		eventfd_write(s->event, 1);
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static bool was_stopped(struct sender *s)
{
	bool r;

	pthread_mutex_lock(&s->lock);
	r = s->stop || err_is_set(&s->error);
	pthread_mutex_unlock(&s->lock);
	return r;
}

static void *run_stream(void *arg)
{
	struct stream *t = arg;
	struct err e = ERR_INIT;
	const struct job *j;
	int r = 0;

	thread_priority_begin(&t->priority);
	while (r == 0 && (j = next_job(t)))
		r = do_job(t, j, &e);
	if (was_stopped(t->sender))
		return NULL;
	if (r == 0)
		r = t->sink.end(t->sink.ctx, t->pages, t->bytes, &e);
	stream_ended(t, r, &e);
	return NULL;
}

static int stream_start(struct stream *t)
{
	t->codec = codec_new();
	t->chunk = malloc(PAGES_TO_BYTES(CODEC_CHUNK_PAGES));
	thread_priority_set(&t->priority, true);
	if (!t->codec || !t->chunk || pthread_create(&t->thread, NULL, run_stream, t) != 0)
		return -ENOMEM;
	t->started = true;
	return 0;
}

static void init_monotonic(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

int sender_new(const struct page_sink *sinks, size_t n, struct sender **ret, struct err *e)
{
	struct sender *s;

	if (n < 1 || n > SENDER_STREAMS_MAX)
		return err_set(e, ERR_LOCAL, EINVAL, "%zu streams: 1 to %d", n, SENDER_STREAMS_MAX);
	s = calloc(1, sizeof(*s) + n * sizeof(s->streams[0]));
	if (!s)
		return err_sys(e, ENOMEM, "sender");
	pthread_mutex_init(&s->lock, NULL);
	init_monotonic(&s->changed);
	s->n_streams = n;
	s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->idle_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (size_t i = 0; i < n; i++) {
		s->streams[i].sender = s;
		s->streams[i].index = i;
		s->streams[i].sink = sinks[i];
	}
	for (size_t i = 0; i < n; i++) {
		if (s->event >= 0 && s->idle_event >= 0 && stream_start(&s->streams[i]) == 0)
			continue;
		sender_free(s);
		return err_sys(e, ENOMEM, "starting stream %zu", i);
	}
	*ret = s;
	return 0;
}

static void free_jobs(struct job *j)
{
	while (j) {
		struct job *next = j->next;

		ranges_done(&j->ranges);
		free(j);
		j = next;
	}
}

void sender_free(struct sender *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < s->n_streams; i++) {
		if (s->streams[i].started)
			pthread_join(s->streams[i].thread, NULL);
		codec_free(s->streams[i].codec);
		free(s->streams[i].chunk);
	}
	free_jobs(s->first);
	for (size_t i = 0; i < s->n_skipped; i++)
		ranges_done(&s->skipped[i].ranges);
	free(s->skipped);
	fd_close(&s->event);
	fd_close(&s->idle_event);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* Takes a copy of the ranges. */
static int queue(struct sender *s, const struct job *like, const struct ranges *ranges)
{
	struct job *j = malloc(sizeof(*j));
	eventfd_t v;

	if (!j)
		return -ENOMEM;
	*j = *like;
	if (ranges && ranges->n > 0) {
		j->ranges.v = malloc(ranges->n * sizeof(ranges->v[0]));
		if (!j->ranges.v) {
			free(j);
			return -ENOMEM;
		}
		memcpy(j->ranges.v, ranges->v, ranges->n * sizeof(ranges->v[0]));
		j->ranges.n = j->ranges.cap = ranges->n;
	}
	pthread_mutex_lock(&s->lock);
	if (s->last)
		s->last->next = j;
	else
		s->first = j;
	s->last = j;
	eventfd_read(s->idle_event, &v);
	for (size_t i = 0; i < s->n_streams; i++)
		s->streams[i].idle = false;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

int sender_push(struct sender *s, const struct process *p, const struct ranges *ranges, bool live)
{
	return queue(s, &(struct job){.kind = JOB_PAGES, .process = p, .live = live}, ranges);
}

int sender_retry(struct sender *s, const struct process *p, const struct ranges *ranges)
{
	return queue(s, &(struct job){.kind = JOB_RETRY, .process = p}, ranges);
}

void sender_take_skipped(struct sender *s, uint32_t vpid, struct ranges *ret)
{
	struct ranges *skipped;

	pthread_mutex_lock(&s->lock);
	skipped = skipped_of(s, vpid, false);
	if (skipped) {
		*ret = *skipped;
		*skipped = RANGES_INIT;
	}
	pthread_mutex_unlock(&s->lock);
}

int sender_forget(struct sender *s, uint32_t vpid, const struct ranges *ranges)
{
	return queue(s, &(struct job){.kind = JOB_FORGET, .vpid = vpid}, ranges);
}

int sender_cut(struct sender *s)
{
	return queue(s, &(struct job){.kind = JOB_CUT}, NULL);
}

int sender_mark(struct sender *s)
{
	return queue(s, &(struct job){.kind = JOB_MARK}, NULL);
}

int sender_idle_fd(const struct sender *s)
{
	return s->idle_event;
}

void sender_finish(struct sender *s)
{
	pthread_mutex_lock(&s->lock);
	s->no_more = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

void sender_pause(struct sender *s, bool on)
{
	pthread_mutex_lock(&s->lock);
	s->paused = on;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

void sender_limit(struct sender *s, uint64_t bytes_per_second)
{
	pthread_mutex_lock(&s->lock);
	s->rate = (struct rate){.bytes_per_second = bytes_per_second};
	s->next = 0;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

void sender_hurry(struct sender *s)
{
	for (size_t i = 0; i < s->n_streams; i++)
		thread_priority_set(&s->streams[i].priority, false);
}

int sender_event_fd(const struct sender *s)
{
	return s->event;
}

int sender_result(struct sender *s, struct err *e)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = err_is_set(&s->error) ? -s->error.code : 0;
	if (r < 0 && e)
		*e = s->error;
	pthread_mutex_unlock(&s->lock);
	return r;
}

bool sender_finished(struct sender *s)
{
	bool r;

	pthread_mutex_lock(&s->lock);
	r = s->n_ended == s->n_streams;
	pthread_mutex_unlock(&s->lock);
	return r;
}

struct sender_stats sender_stats(struct sender *s)
{
	struct sender_stats r;

	pthread_mutex_lock(&s->lock);
	r = s->stats;
	pthread_mutex_unlock(&s->lock);
	return r;
}
