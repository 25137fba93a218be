# SPDX-License-Identifier: Apache-2.0
# What is killed on the target after the commit, while pages are missing: who touches one waits, and
# nobody reads zeros.

load helpers

setup() {
	lab workload start strasbourg mem 400 20 random
	sleep 1
	save_state
	# The drain takes seconds.
	lab link tuebingen --rate 400
}

teardown() {
	local site
	lab link tuebingen --clear
	for site in strasbourg tuebingen; do
		lab workload stop "$site" mem
		at "$site" sh -c 'rm -f /var/lib/godwit/journal/*'
	done
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

# ends_without_a_trace: of a container that is killed nothing is left.
ends_without_a_trace() {
	at tuebingen runc delete -f mem
	wait_until no_handlers tuebingen
	[ -z "$(at tuebingen ls /var/lib/godwit/journal)" ]
	diff -U0 "$BATS_TEST_TMPDIR/tuebingen" <(host_state tuebingen && agent_descriptors tuebingen)
}

@test "the target's process" {
	drain_starts
	at tuebingen pkill -9 -n -x godwit
	end_migration
	[ "$status" != 0 ]
	waits_unharmed
	at tuebingen pgrep -x godwit-keeper
	run at tuebingen godwit status
	assert_says "runs here, and lacks memory"
	ends_without_a_trace
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
	ends_without_a_trace
}
