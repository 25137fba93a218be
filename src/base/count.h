/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How many there are in an array, not a pointer. */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
