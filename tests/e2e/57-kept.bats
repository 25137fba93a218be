# SPDX-License-Identifier: Apache-2.0
# A container that is kept in a directory is there or here, whatever fails, and comes back once.

load helpers
bats_require_minimum_version 1.5.0

KEPT=/var/tmp/kept

start_floating() {
	lab workload start --floating strasbourg checker 2 24 "${GODWIT_CHECKER_SEED:-1}" 0 4
	checker_verifies strasbourg
}

PATCHED=(env PATH=/var/tmp:/usr/sbin:/usr/bin:/sbin:/bin)

# runc_deletes COMMAND: what the patched one does first when it is to delete.
runc_deletes() {
	# shellcheck disable=SC2016  # expands there
	at strasbourg sh -c 'printf "#!/bin/sh\n[ \"\$1\" != delete ] || %s\nexec /usr/sbin/runc \"\$@\"\n" "$1" \
		>/var/tmp/runc && chmod 755 /var/tmp/runc' x "$1"
}

has_address() {
	at strasbourg ip -o addr | grep -q "inet $FLOATING/"
}

no_journal() {
	# shellcheck disable=SC2016  # expands there
	at strasbourg sh -c '[ -z "$(ls /var/lib/godwit/journal)" ]'
}

comes_back() {
	at strasbourg godwit restore $KEPT
	checker_verifies strasbourg
	has_address
}

teardown() {
	lab workload stop strasbourg checker
	at strasbourg sh -c "rm -rf $KEPT /var/lib/godwit/journal/* /var/tmp/runc"
}

@test "of two restores at once one is refused, and harms nothing" {
	start_calm_checker
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

@test "what can not be deleted after a checkpoint is in its directory" {
	start_floating
	has_address
	runc_deletes 'exit 1'
	run at strasbourg "${PATCHED[@]}" godwit checkpoint checker --to $KEPT
	echo "$output"
	[ "$status" = 1 ]
	assert_says "checker is whole in $KEPT, but" "'godwit recover' ends what is left here"
	run ! has_address
	run at strasbourg godwit status
	assert_says "is whole in that directory: 'godwit recover' ends what is left here"
	run at strasbourg godwit restore $KEPT
	[ "$status" = 3 ]
	assert_says "run 'godwit recover'"
	at strasbourg rm /var/tmp/runc
	run at strasbourg godwit recover
	[ "$status" = 0 ]
	assert_says "checker: nothing of it is left here; it belongs to $KEPT"
	no_journal
	run ! has_address
	comes_back
}

@test "a checkpoint that is killed when its directory is whole is brought to its end" {
	start_floating
	runc_deletes 'sleep 2'
	at strasbourg "${PATCHED[@]}" godwit checkpoint checker --to $KEPT 3>&- &
	wait_until at strasbourg grep -qr '"step": "kept"' /var/lib/godwit/journal
	at strasbourg pkill -9 -n -x godwit
	wait_until no_journal
	[ -z "$(at strasbourg runc list -q)" ]
	run ! has_address
	comes_back
}

# entry_of_kept: what a process has left that died before CRIU had its yes.
entry_of_kept() {
	# shellcheck disable=SC2016  # expands there
	at strasbourg sh -c 'jq -n --arg kept "$1" "{id: \"$2\", container: \"checker\", peer: \$kept, role: \"source\",
		step: \"kept\", cgroup: \"/sys/fs/cgroup/checker\"}" >"/var/lib/godwit/journal/$2.source"' \
		x $KEPT "$(printf %032d 1)"
}

# bats test_tags=long
@test "a container that is whole in a directory is ended by recover, but not one that runs again" {
	start_calm_checker
	at strasbourg godwit checkpoint checker --to $KEPT --leave-running
	pid=$(container_pid strasbourg checker)
	entry_of_kept
	run at strasbourg godwit recover
	[ "$status" = 0 ]
	assert_says "left alone; it belongs to $KEPT"
	assert_untouched strasbourg checker "$pid"
	no_journal
	entry_of_kept
	at strasbourg sh -c 'echo 1 >/sys/fs/cgroup/checker/cgroup.freeze'
	run at strasbourg godwit recover
	[ "$status" = 0 ]
	assert_says "nothing of it is left here; it belongs to $KEPT"
	[ -z "$(at strasbourg runc list -q)" ]
	at strasbourg godwit restore $KEPT
	checker_verifies strasbourg
}

# bats test_tags=long
@test "runc is killed before the directory is whole: the container runs on" {
	start_floating
	pid=$(container_pid strasbourg checker)
	at strasbourg godwit checkpoint checker --to $KEPT >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	# shellcheck disable=SC2034  # end_migration waits for it
	job=$!
	wait_until at strasbourg sh -c "while [ ! -s $KEPT/images/inventory.img ]; do :; done; pkill -9 -x runc"
	end_migration
	[ "$status" = 1 ]
	assert_says "could not dump the container"
	wait_until assert_untouched strasbourg checker "$pid"
	wait_until has_address
	at strasbourg [ ! -e $KEPT ]
	no_journal
	checker_verifies strasbourg
}
