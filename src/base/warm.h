/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

/*
 * Makes the next @bytes of memory that anybody on this machine asks the kernel for come fast: takes
 * and gives back as much. In a virtual machine whose host lends memory only as it is used, the first
 * touch of a page takes 20 times as long as clearing it, and the kernel hands out first what came
 * back last.
 */
void memory_warm(size_t bytes);
