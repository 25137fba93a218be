/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "wire/channel.h"

/*
 * The target's answer to a source that has lost it: what has become of the migration with that id?
 *
 * The journal says it. "owner" is followed by nothing but "drained", and "drained" goes when the source, whose
 * own journal says "drained" by then, says BYE. So "not known" to a source that has committed means that
 * it was undone here and never will run: docs/CORRECTNESS.md.
 */

/* @key: the asking peer's, as fingerprint_format() has it, "" over ssh. Returns 1 when all is said. */
int answer_ask(struct channel *control, const struct msg_ask *m, const char *key, struct err *e);
