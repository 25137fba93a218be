/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rate.h"

#include "base/clock.h"

uint64_t rate_count(struct rate *r, uint64_t bytes, uint64_t now)
{
	if (r->bytes_per_second == 0)
		return now;
	if (r->free_at < now)
		r->free_at = now;
	r->free_at += (uint64_t)((double)bytes * NSEC_PER_SEC / (double)r->bytes_per_second);
	return r->free_at;
}
