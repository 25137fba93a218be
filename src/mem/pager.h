/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "base/ranges.h"
#include "kernel/uffd.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The pager fills the memory of restored processes on the target.
 *
 * Two kinds of objects meet here. An *image* is the memory of one process as it was on the source,
 * by its vpid there: which pages it has (the lazy pages that CRIU's pagemap lists) and those that
 * have arrived. A *view* is an address space on the target with its userfaultfd: one for each
 * restored process, and one more whenever one of them forks. A view knows which pages of its
 * image it still lacks ("pending") and where they are now, since they may have been remapped.
 *
 * A page is installed when it arrives, if the views are open for it; else it waits in the store.
 * A page that isn't in any view's lazy set reads as zero, as on the source; a page that is, never
 * does before its contents have come: who touches it waits.
 *
 * All functions may be called from any thread, except that pager_step() and pager_serve() belong
 * to one thread, the fault server's. Kernel events are read under the same lock under which pages
 * are installed: a fork can't slip in between, so no child can miss what its parent just got.
 */

struct pager;

/* Faults are counted by when they came: within 1 ms from pager_open() on, then 2, 4, and so on. */
#define PAGER_FAULT_TIMES 24

struct pager_stats {
	uint64_t arrived;    /* how many have come, those that came again as well */
	uint64_t pages;	     /* of all images */
	uint64_t pending;    /* still lacking, over all views */
	uint64_t installed, zero_pages; /* of those: contents copied in; known zero, left out */
	uint64_t faults;     /* page faults answered */
	uint64_t urgent;     /* of those, not yet arrived: asked for */
	uint64_t p50_ns, p99_ns; /* from reading a fault to installing its page */
	uint32_t fault_times[PAGER_FAULT_TIMES]; /* each without those before; the last has all that came later */
	uint64_t store_used, store_peak; /* bytes */
};

/* @max_bytes bounds the store. */
int pager_new(uint64_t max_bytes, struct pager **ret, struct err *e);
void pager_free(struct pager *p);

/*
 * Pages of process @vpid at @addr have arrived; @data holds @pages * 4096 bytes, or is NULL for
 * zero pages. All must lie in one 2 MiB block when @data isn't NULL. A page may arrive several
 * times: until its view has it, the last one counts. 0, -ENOSPC (store full), -errno.
 */
int pager_put(struct pager *p, uint32_t vpid, uint64_t addr, uint32_t pages, const void *data);

/* What has arrived of these pages no longer holds: as if it never had. Before pager_expect() for that
 * process: -EINVAL after it. */
int pager_forget(struct pager *p, uint32_t vpid, uint64_t addr, uint32_t pages);

/* Drops what has arrived of processes that pager_expect() did not name: they have ended. */
void pager_drop_others(struct pager *p);

/* Names the lazy pages of @vpid: what isn't among them is dropped. Once for each process, before
 * its view is added. */
int pager_expect(struct pager *p, uint32_t vpid, const struct ranges *lazy);

/* Who serves the views wants to know when there is a new one, or more to do: an eventfd, borrowed, -1
 * for none. */
void pager_set_wake(struct pager *p, int eventfd);

/* The view of a restored process; takes over @uffd also on failure. */
int pager_add_view(struct pager *p, uint32_t vpid, int uffd, struct err *e);

/* Forgets views whose processes have ended: they lack nothing any more. */
void pager_drop_ended(struct pager *p);

/* From now on the views' regions are registered: pages may be installed. */
void pager_open(struct pager *p);

/* True when every page named by pager_expect() has arrived, installed or not. */
bool pager_has_all(struct pager *p);

/* True when no view lacks anything; its descriptors are closed then. */
bool pager_done(struct pager *p);

/* Installs some of what waits in the store; true when there may be more at once. */
bool pager_step(struct pager *p);

/* Makes pager_step() look at everything again: something that was refused (no memory) may work
 * now. */
void pager_retry(struct pager *p);

/* A page to be asked for at the source, ahead of everything else. */
struct pager_wish {
	uint32_t vpid;
	uint32_t pages;
	uint64_t addr;
};

/*
 * Reads and answers what waits on a view's descriptor. Pages that have not arrived are listed in
 * @wishes (at most @max; more are asked for when the faulting thread tries again). Returns how
 * many wishes, or -errno when the view can't be served any more: what an event told is lost, so
 * nothing is installed there from then on, not even zeros, and who touches what isn't there waits.
 */
int pager_serve(struct pager *p, int uffd, struct pager_wish *wishes, size_t max, struct err *e);

/*
 * After whoever was asked has been lost, and another will answer: what threads wait for is asked for
 * anew. At most @max wishes are returned; for the rest the threads wait until it comes by itself.
 */
size_t pager_wishes(struct pager *p, struct pager_wish *wishes, size_t max);

/* What has not come of the process with the smallest vpid above @after, and is needed: 1 with the vpid
 * and what is added to @ret, which may be nothing; 0 when there is no such process; -ENOMEM. */
int pager_lacking(struct pager *p, uint32_t after, uint32_t *ret_vpid, struct ranges *ret);

/* The descriptors to poll, at most @max; they change when a view is added, forks or ends. */
size_t pager_fds(struct pager *p, int *ret, size_t max);

struct pager_stats pager_stats(struct pager *p);
