# SPDX-License-Identifier: Apache-2.0
# What fails before the commit ends with the container running on the source.

load helpers

setup_file() {
	load helpers
	lab workload start strasbourg mem 400 20 random
	sleep 1
}

teardown_file() {
	load helpers
	lab workload stop strasbourg mem
}

setup() {
	pid=$(container_pid strasbourg mem)
	digest=$(rootfs_digest tuebingen)
	save_state
}

teardown() {
	at tuebingen sh -c '[ ! -e /usr/sbin/criu.real ] || mv /usr/sbin/criu.real /usr/sbin/criu'
	wait_until no_handlers tuebingen
	assert_untouched strasbourg mem "$pid"
	sleep 0.5
	lab workload check strasbourg mem
	[ "$(rootfs_digest tuebingen)" = "$digest" ]
	same_state
}

rootfs_digest() {
	at "$1" sh -c 'cd /srv/mem/rootfs && find . | sort | sha256sum && sha256sum mem'
}

@test "interrupted while frozen" {
	start_migration mem --mode stop
	wait_phase freeze
	at strasbourg pkill -INT -x godwit -n
	end_migration
	[ "$status" = 130 ]
	assert_says "interrupted"
}

# A terminal's Ctrl-C is for all of its foreground group. CRIU, had it died of that, would leave a process in
# which its parasite was at work: the workload's check sees that.
interrupt_group() {
	local group
	at strasbourg setsid godwit migrate --mode stop mem tuebingen >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	# shellcheck disable=SC2034  # for end_migration
	job=$!
	wait_phase "$1"
	sleep "0.0$((RANDOM % 10))"
	group=$(at strasbourg pgrep -n -x godwit)
	at strasbourg sh -c "! ps -o pgid= -C runc,criu | grep -w $group"
	at strasbourg kill -INT -- "-$group"
	end_migration
	[ "$status" = 130 ]
	assert_says "interrupted"
}

@test "interrupted at a terminal" {
	local phase
	for phase in check prepare freeze freeze freeze send; do
		interrupt_group $phase
		assert_untouched strasbourg mem "$pid"
		lab workload check strasbourg mem
	done
}

@test "interrupted while sending" {
	start_migration mem --mode stop
	wait_phase send
	at strasbourg pkill -TERM -x godwit -n
	end_migration
	[ "$status" = 130 ]
}

@test "the source's process is killed while the container is frozen" {
	start_migration mem --mode stop
	wait_phase send
	at strasbourg pkill -9 -n -x godwit
	end_migration
	[ "$status" = 137 ]
	# The guard is done when the journal is empty.
	wait_until at strasbourg sh -c '[ -z "$(ls /var/lib/godwit/journal)" ]'
}

@test "the target's process is killed while it restores" {
	start_migration mem --mode stop
	wait_phase send
	at tuebingen pkill -9 -n -x godwit
	end_migration
	[ "$status" = 4 ]
}

# Nobody waits any more for CRIU, which is about to open its first image: a pipe.
@test "the target's process is killed before CRIU has begun" {
	at tuebingen sh -c 'mv /usr/sbin/criu /usr/sbin/criu.real && cat >/usr/sbin/criu && chmod 755 /usr/sbin/criu' <<-'S'
		#!/bin/sh
		[ "$1" = swrk ] || exec /usr/sbin/criu.real "$@"
		exec strace -f -o /dev/null -P inventory.img -e inject=openat:delay_enter=2s /usr/sbin/criu.real "$@"
	S
	start_migration mem --mode stop
	wait_until at tuebingen pgrep -f "^criu.real: restore"
	at tuebingen pkill -9 -n -x godwit
	end_migration
	[ "$status" = 4 ]
}

@test "the keeper is killed while the target restores" {
	start_migration mem --mode stop
	wait_phase send
	at tuebingen pkill -9 -x godwit-keeper
	end_migration
	[ "$status" = 4 ]
	assert_says "the keeper of the container's memory was killed"
}

@test "runc is killed on the target while it restores" {
	start_migration mem --mode stop
	wait_phase send
	at tuebingen pkill -9 -x runc
	end_migration
	[ "$status" = 4 ]
	assert_says "could not restore"
}

# bats test_tags=long
@test "CRIU stands still on the target while it restores" {
	start_migration mem --mode stop
	# It waits for its first image.
	wait_phase freeze
	at tuebingen pkill -STOP -x criu
	end_migration
	[ "$status" = 4 ]
	assert_says "CRIU did not reach post-restore, and stands still"
}

@test "what somebody pauses during the copy stays paused" {
	start_migration mem --mode pre --bandwidth 800 --max-downtime 1000
	wait_phase copy
	at strasbourg runc pause mem
	sleep 0.3
	# Not even for a moment of a round.
	at strasbourg grep -q 'frozen 1' /sys/fs/cgroup/mem/cgroup.events
	end_migration
	[ "$(at strasbourg runc state mem | jq -r .status)" = paused ]
	at strasbourg runc resume mem
	[ "$status" = 3 ]
	assert_says "somebody else has frozen"
}

@test "a second migration of the same container is refused" {
	start_migration mem --mode stop
	wait_phase freeze
	run at strasbourg godwit migrate mem tuebingen
	at strasbourg pkill -INT -x godwit -n
	[ "$status" = 3 ]
	assert_says "is being moved already"
	end_migration
	[ "$status" = 130 ]
}

@test "what a dead migration has left is recovered, also without its guard" {
	start_migration mem --mode stop
	wait_phase send
	at strasbourg pkill -9 -x godwit-guard
	at strasbourg pkill -9 -n -x godwit
	end_migration
	[ "$status" = 137 ]
	run at strasbourg godwit migrate mem tuebingen
	[ "$status" = 3 ]
	assert_says "godwit recover"
	run at strasbourg godwit recover
	[ "$status" = 0 ]
	assert_says "mem runs here again"
	run at strasbourg godwit recover
	assert_says "nothing is to be recovered"
}

@test "garbage on the agent's port" {
	at strasbourg sh -c 'head -c 100000 /dev/urandom | timeout 5 socat -t 1 - TCP:tuebingen:7342 || true'
	at strasbourg sh -c 'printf GODWIT01AAAAAAAAAAAAAAAA | timeout 5 socat -t 1 - TCP:tuebingen:7342 || true'
	run at strasbourg godwit check tuebingen
	[ "$status" = 0 ]
}
