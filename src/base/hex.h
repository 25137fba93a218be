/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes as lower-case hexadecimal digits: @ret has room for 2 * @n and a zero. */
void hex_format(const uint8_t *p, size_t n, char *ret);

/* Exactly @n bytes of such digits; false, also for NULL, when it isn't. */
bool hex_parse(const char *text, uint8_t *ret, size_t n);
