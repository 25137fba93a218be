/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Text that may go to terminals, logs, JSON and the peer: UTF-8 (RFC 3629) without control characters. */

bool text_is_clean(const void *p, size_t len);

/* Makes it so, in place: white space that is a control character becomes a blank, each byte of other control
 * characters and of what is no UTF-8, a character that snprintf(3) has cut, say, a question mark. */
void text_clean(char *s);
