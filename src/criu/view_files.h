/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

/* What view.c and view_preload.c, which is no part of godwit's program, have in common. */

#ifndef VIEW_DIR /* a test has its own */
#define VIEW_DIR "/run/godwit/work/view" /* in the workplace: workplace.h */
#endif
#define VIEW_FILE VIEW_DIR "/%d.%s"	 /* of a pid */
#define VIEW_SMAPS "smaps"		 /* what its smaps shall say */
#define VIEW_SPARED "spared"		 /* struct view_span, ascending: pages not to be seen */

struct view_span {
	uint64_t start, end;
};
