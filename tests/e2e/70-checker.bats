# SPDX-License-Identifier: Apache-2.0
# A container of processes and threads that do all that can be done to memory, and verify it:
# migrated again and again. GODWIT_CHECKER_RUNS names how often in mode hybrid, and in each other.

load helpers

read -r HYBRID OTHERS <<<"${GODWIT_CHECKER_RUNS:-2 2}"

setup() {
	start_checker
	save_state
}

teardown() {
	local site
	for site in strasbourg tuebingen; do
		lab workload stop "$site" checker
	done
}

# moves_often MODE TIMES: to and fro, and so an even number of times.
moves_often() {
	local from=strasbourg to=tuebingen i
	for i in $(seq $((($2 + 1) / 2 * 2))); do
		migrate "$from" "$to" checker --mode "$1" --max-downtime 60000
		[ "$status" = 0 ] || { echo "migration $i: $output"; return 1; }
		checker_verifies "$to" || { echo "after migration $i: $output"; return 1; }
		from=$to
		to=$(other_site "$from")
	done
	same_state
}

@test "hybrid" {
	moves_often hybrid "$HYBRID"
}

# bats test_tags=long
@test "pre" {
	moves_often pre "$OTHERS"
}

@test "post" {
	moves_often post "$OTHERS"
}

# bats test_tags=long
@test "stop" {
	moves_often stop "$OTHERS"
}
