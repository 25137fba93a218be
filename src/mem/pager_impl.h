/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/map.h"
#include "mem/pager.h"
#include "mem/store.h"
#include "mem/view.h"

#include <pthread.h>

/* The pager's inside, shared by its files: pager.c (what is expected and what has arrived),
 * pager_install.c (into the processes), pager_serve.c (their faults and events). All of it is called
 * with the lock held. */

#define PAGER_SAMPLES 8192 /* of fault latencies, the newest */
#define PAGER_WAITS_MAX 1024 /* faults timed at a time */

struct image {
	uint32_t vpid;
	bool known;	 /* pager_expect() was called */
	size_t n_views; /* that there have been */
	struct view lazy; /* as expected: what a new view lacks */
	uint64_t n_missing; /* lazy pages that have not come */
	struct map blocks; /* block number -> struct block, owned */
	struct block *newest;
	struct map came;   /* block number -> struct page_bits, owned: arrived once */
};

struct pager_view {
	struct image *image;
	struct view view;
	int uffd; /* owned; -1 when it lacks nothing any more or its process has ended */
	bool broken; /* it isn't known any more what it lacks: left alone, with its descriptor open */
	struct block *cursor; /* of pager_step() in the image's blocks; NULL: at the newest */
	uint64_t wish_end; /* where the last wish ended: a fault there goes on */
	uint32_t window;   /* pages to ask for */
};

/* A fault whose page was asked for, or could not be installed yet. */
struct wait {
	struct pager_view *view;
	uint64_t original, since;
};

struct pager {
	pthread_mutex_t lock; /* of everything */
	struct store store;
	struct map images; /* vpid -> struct image, owned */
	size_t n_notes, max_notes; /* blocks and the like, in all images */
	struct pager_view **views; /* owned */
	size_t n_views, cap_views, step_view;
	size_t drop_at; /* so many views, and those that are over are looked for */
	int wake; /* borrowed: the server's, or -1 */
	bool open;
	uint64_t opened_at;
	bool unsettled; /* something in the store may be installable */
	bool hot_done;	/* pages that are written all the time have been installed */
	struct wait waits[PAGER_WAITS_MAX];
	size_t n_waits;
	uint32_t samples[PAGER_SAMPLES]; /* nanoseconds, at most 4 s */
	size_t n_samples;
	struct pager_stats stats;
};

/* The block in which an original address lies, made when it isn't there; NULL: no memory. */
struct block *pager_block_at(struct pager *p, struct image *m, uint64_t original);

/* A view of @m lacking what @like lacks; takes over @uffd if it succeeds. 0 or -errno. */
int pager_new_view(struct pager *p, struct image *m, const struct view *like, int uffd);

/* Frees the views of processes that have ended, but @keep. */
void pager_drop_views(struct pager *p, const struct pager_view *keep);

/* Notes how long a fault had to wait. */
void pager_sample(struct pager *p, uint64_t since);

/*
 * Copies (or zeroes, for @data NULL) original pages to where they are now. What can't be now
 * stays pending: -EAGAIN until an event has been read, -ENOMEM.
 */
int pager_install(struct pager *p, struct pager_view *w, uint64_t original, uint32_t n,
	const uint8_t *data);

/* What has just arrived: all that @w lacks of it, or, before the opening, what a thread waits for;
 * nothing else is known to be registered, or to lie where it will. */
void pager_install_arrived(struct pager *p, struct pager_view *w, uint64_t original, uint32_t n,
	const uint8_t *data);
void pager_install_asked(struct pager *p, struct pager_view *w, uint64_t original, uint32_t n,
	const uint8_t *data);

/* Installs what the store has of @w's pending pages in [first, last) of one block, of the hot ones
 * if @hot; a few with contents at most. True when it did anything. */
bool pager_install_block(struct pager *p, struct pager_view *w, struct block *b, uint32_t first,
	uint32_t last, bool hot);

/* Gives back the memory of a block that no view lacks anything of. */
void pager_give_back(struct pager *p, struct image *m, uint64_t number, struct block *b);
