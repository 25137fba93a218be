/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>
#include <sys/ioctl.h>

/*
 * The PAGEMAP_SCAN ioctl: include/uapi/linux/fs.h, since Linux 6.7; Debian 12's headers are older. Only
 * definitions: criu/view_preload.c, which is no part of godwit's program, needs them too.
 */

struct gw_page_region {
	uint64_t start, end, categories;
};

struct gw_pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define GW_PAGEMAP_SCAN _IOWR('f', 16, struct gw_pm_scan_arg)
#define GW_PM_SCAN_WP_MATCHING (1u << 0)
#define GW_PM_SCAN_CHECK_WPASYNC (1u << 1)
#define GW_PAGE_IS_WRITTEN (1u << 1)
#define GW_PAGE_IS_PRESENT (1u << 3)
#define GW_PAGE_IS_SWAPPED (1u << 4)
#define GW_PAGE_IS_PFNZERO (1u << 5)
#define GW_PAGE_IS_GUARD (1u << 8) /* since Linux 6.15 */
