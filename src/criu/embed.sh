#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# embed.sh PROGRAM OUTPUT: an assembler file that carries a program's bytes.
cat >"$2" <<S
	.section .rodata
	.global hook_program_start, hook_program_end
hook_program_start:
	.incbin "$(realpath "$1")"
hook_program_end:
	.section .note.GNU-stack,"",@progbits
S
