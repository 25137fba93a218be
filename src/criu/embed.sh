#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# embed.sh NAME PROGRAM OUTPUT: an assembler file that carries a program's bytes.
cat >"$3" <<S
	.section .rodata
	.global $1_program_start, $1_program_end
$1_program_start:
	.incbin "$(realpath "$2")"
$1_program_end:
	.section .note.GNU-stack,"",@progbits
S
