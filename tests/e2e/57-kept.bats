# SPDX-License-Identifier: Apache-2.0
# A container that is kept in a directory is there or here, whatever fails, and comes back once.

load helpers

KEPT=/var/tmp/kept

setup() {
	start_calm_checker
}

teardown() {
	lab workload stop strasbourg checker
	at strasbourg sh -c "rm -rf $KEPT /var/lib/godwit/journal/* /usr/local/bin/runc"
}

@test "of two restores at once one is refused, and harms nothing" {
	at strasbourg godwit checkpoint checker --to $KEPT
	for i in 1 2; do
		at strasbourg godwit restore $KEPT >"$BATS_TEST_TMPDIR/$i" 2>&1 3>&- &
		jobs[i]=$!
	done
	failed=0
	for i in 1 2; do
		wait "${jobs[i]}" || { failed=$((failed + 1)); out=$(cat "$BATS_TEST_TMPDIR/$i"); }
	done
	cat "$BATS_TEST_TMPDIR"/[12]
	[ "$failed" = 1 ]
	[[ $out == *'there is a container "checker" here already'* ]]
	checker_verifies strasbourg
}
