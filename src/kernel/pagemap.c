/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/pagemap.h"

#include "base/clock.h"
#include "kernel/pagemap_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Documentation/admin-guide/mm/pagemap.rst */
#define ENTRY_NUMBER ((1ull << 55) - 1)
#define ENTRY_SOFT_DIRTY (1ull << 55)
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_PRESENT (1ull << 63)

#define SCAN_REGIONS 512
/* The kernel keeps regions from being made or removed for as long as one call takes: 0.7 ms where all is
 * populated. What is reserved and empty, terabytes in some programs, goes in ever larger steps. */
#define SCAN_STEP (256ull << 20)
#define SCAN_QUICK_NS 200000u
#define READ_ENTRIES 4096

int pagemap_open(int pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Pages that exist; with @written those alone that were written, which are marked. That they aren't a
 * file's isn't asked: for that the kernel looks at each page itself, and takes three times as long. */
static int scan(int fd, uint64_t start, uint64_t end, bool written, struct ranges *ret)
{
	struct gw_page_region v[SCAN_REGIONS];
	uint64_t step = SCAN_STEP;

	while (start < end) {
		uint64_t began = clock_now();
		struct gw_pm_scan_arg arg = {
			.size = sizeof(arg),
			.flags = written ? GW_PM_SCAN_WP_MATCHING | GW_PM_SCAN_CHECK_WPASYNC : 0,
			.start = start,
			.end = end - start > step ? start + step : end,
			.vec = (uintptr_t)v,
			.vec_len = SCAN_REGIONS,
			/* The zero page counts as written where there was another. */
			.category_inverted = written ? 0 : GW_PAGE_IS_PFNZERO,
			.category_mask = written ? GW_PAGE_IS_WRITTEN : GW_PAGE_IS_PFNZERO,
			.category_anyof_mask = GW_PAGE_IS_PRESENT | GW_PAGE_IS_SWAPPED,
			.return_mask = GW_PAGE_IS_PRESENT,
		};
		int n = ioctl(fd, GW_PAGEMAP_SCAN, &arg);

		if (n < 0)
			return -errno;
		for (int i = 0; i < n; i++) {
			int r = ranges_add(ret, v[i].start, v[i].end);

			if (r < 0)
				return r;
		}
		if (arg.walk_end <= start)
			return -EIO;
		start = arg.walk_end;
		if (clock_now() - began > SCAN_QUICK_NS)
			step = SCAN_STEP;
		else if (step < end - start)
			step *= 2;
	}
	return 0;
}

int pagemap_has_guard(int fd, uint64_t start, uint64_t end)
{
	struct gw_page_region v;
	struct gw_pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uintptr_t)&v,
		.vec_len = 1,
		.max_pages = 1,
		.category_mask = GW_PAGE_IS_GUARD,
		.return_mask = GW_PAGE_IS_GUARD,
	};
	int n = ioctl(fd, GW_PAGEMAP_SCAN, &arg);

	if (n < 0)
		return errno == EINVAL || errno == ENOTTY ? 0 : -errno;
	return n > 0;
}

bool pagemap_is_registered(int fd, uint64_t addr)
{
	struct gw_page_region v;
	struct gw_pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = GW_PM_SCAN_CHECK_WPASYNC,
		.start = addr,
		.end = addr + PAGE_BYTES,
		.vec = (uintptr_t)&v,
		.vec_len = 1,
		.return_mask = GW_PAGE_IS_PRESENT,
	};

	return ioctl(fd, GW_PAGEMAP_SCAN, &arg) >= 0;
}

static bool is_populated(uint64_t entry)
{
	return entry & (ENTRY_PRESENT | ENTRY_SWAPPED);
}

int pagemap_each(int fd, uint64_t start, uint64_t end,
	int (*each)(void *ctx, uint64_t addr, uint64_t entry), void *ctx)
{
	uint64_t entries[READ_ENTRIES];

	while (start < end) {
		uint64_t want = BYTES_TO_PAGES(end - start);
		ssize_t n;

		if (want > READ_ENTRIES)
			want = READ_ENTRIES;
		n = pread(fd, entries, want * sizeof(entries[0]),
			(off_t)(BYTES_TO_PAGES(start) * sizeof(entries[0])));
		if (n <= 0)
			return n < 0 ? -errno : 0;
		for (size_t i = 0; i < (size_t)n / sizeof(entries[0]); i++, start += PAGE_BYTES) {
			int r = is_populated(entries[i]) ? each(ctx, start, entries[i]) : 0;

			if (r != 0)
				return r;
		}
	}
	return 0;
}

bool pagemap_is_soft_dirty(uint64_t entry)
{
	return entry & ENTRY_SOFT_DIRTY;
}

uint64_t pagemap_place(uint64_t entry)
{
	return entry & (ENTRY_PRESENT | ENTRY_SWAPPED | ENTRY_NUMBER);
}

bool pagemap_tells_place(uint64_t entry)
{
	return entry & ENTRY_NUMBER;
}

static int add_page(void *ctx, uint64_t addr, uint64_t entry)
{
	(void)entry;
	return ranges_add(ctx, addr, addr + PAGE_BYTES);
}

int pagemap_written(int fd, uint64_t start, uint64_t end, struct ranges *ret)
{
	return scan(fd, start, end, true, ret);
}

int pagemap_populated(int fd, uint64_t start, uint64_t end, struct ranges *ret)
{
	static atomic_bool no_scan;

	if (!atomic_load(&no_scan)) {
		int r = scan(fd, start, end, false, ret);

		if (r != -ENOTTY && r != -EINVAL)
			return r;
		atomic_store(&no_scan, true);
	}
	return pagemap_each(fd, start, end, add_page, ret);
}
