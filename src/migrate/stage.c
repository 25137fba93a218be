/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/stage.h"

int stages_walk(const struct stage *stages, size_t n, void *ctx, stages_revocable_fn *revocable,
	struct err *e)
{
	int r = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		r = stages[i].run(ctx, e);
		if (r != 0)
			break;
	}
	if (r >= 0)
		return 0;
	err_wrap(e, "%s", stages[i].name);
	if (!revocable(ctx))
		return r;
	for (size_t k = i + 1; k > 0; k--)
		if (stages[k - 1].undo)
			stages[k - 1].undo(ctx);
	return r;
}
