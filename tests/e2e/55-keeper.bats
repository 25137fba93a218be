# SPDX-License-Identifier: Apache-2.0
# What is killed on the target after the commit, while pages are missing: who touches one waits, and
# nobody reads zeros.

load helpers

setup() {
	start_slow_mem
}

teardown() {
	stop_slow_mem
}

# drain_starts: the container runs on tuebingen, and most of its memory is on strasbourg.
drain_starts() {
	start_migration mem --mode post
	wait_phase drain
	sleep 0.3
}

waits_for_a_page() {
	at tuebingen sh -c "cat /proc/$(container_pid tuebingen mem)/task/*/wchan" | grep -q handle_userfault
}

# waits_unharmed: at a missing page, for as long as it takes, and all that was read was right.
waits_unharmed() {
	wait_until waits_for_a_page
	sleep 1
	waits_for_a_page
	lab workload check tuebingen mem
	[ "$(at tuebingen runc state mem | jq -r .status)" = running ]
}

same_but_for_the_source() {
	diff -U0 "$BATS_TEST_TMPDIR/tuebingen" <(host_state tuebingen)
}

# comes_again: the source finds the worker that has taken the other's place.
comes_again() {
	end_migration
	[ "$status" = 0 ]
	assert_says "the link is back"
	lab workload check tuebingen mem
	wait_until verifies_all
	lab link tuebingen --clear
	migrate tuebingen strasbourg mem --mode stop
	[ "$status" = 0 ]
	same_state
}

# Every page has been verified since the move, which takes four seconds.
verifies_all() {
	local now
	now=$(lab workload check tuebingen mem | sed -n 's/^ok \([0-9]*\) .*/\1/p')
	: "${passes:=$now}"
	[ "$now" -ge $((passes + 2)) ]
}

kill_worker() {
	at tuebingen pkill -9 -n -x godwit
}

# The one that the keeper has started.
kill_next_worker() {
	# shellcheck disable=SC2016  # expands there
	at tuebingen sh -c 'pkill -9 -x godwit -P "$(pgrep -x godwit-keeper)"'
}

@test "the target's process" {
	drain_starts
	kill_worker
	comes_again
}

# bats test_tags=long
@test "the target's process, again and again" {
	drain_starts
	kill_worker
	wait_until kill_next_worker
	wait_until kill_next_worker
	comes_again
}

@test "the target's process, and the source's" {
	drain_starts
	kill_worker
	at strasbourg pkill -9 -n -x godwit
	end_migration
	[ "$status" != 0 ]
	waits_unharmed
	at tuebingen pgrep -x godwit-keeper
	run at tuebingen godwit status
	assert_says "runs here, and lacks memory"
	at tuebingen runc delete -f mem
	wait_until no_handlers tuebingen
	at tuebingen sh -c 'rm -f /var/lib/godwit/journal/*.target'
	same_but_for_the_source
}

@test "the keeper" {
	drain_starts
	at tuebingen pkill -9 -x godwit-keeper
	end_migration
	[ "$status" != 0 ]
	waits_unharmed
	run at tuebingen godwit status
	assert_says "will not come"
	run at tuebingen tail -n 5 /var/log/godwit-agent.log
	assert_says "its keeper was killed"
	at tuebingen runc delete -f mem
	wait_until no_handlers tuebingen
	at tuebingen sh -c 'rm -f /var/lib/godwit/journal/*.target'
	same_but_for_the_source
}
