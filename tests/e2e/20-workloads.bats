# SPDX-License-Identifier: Apache-2.0
# Containers of other kinds: they verify their own memory, files and locks wherever they run.

load helpers

# move FROM TO NAME SECONDS MODE: and it has verified itself for so long.
move() {
	migrate "$1" "$2" "$3" --mode "$5" --max-downtime 60000
	assert_success
	sleep "$4"
	lab workload check "$2" "$3"
}

# moves NAME SECONDS ARGS...: starts it and moves it in all modes.
moves() {
	local name=$1 pause=$2
	shift 2
	lab workload start strasbourg "$name" "$@"
	sleep 1
	save_state
	move strasbourg tuebingen "$name" "$pause" hybrid
	move tuebingen strasbourg "$name" "$pause" post
	move strasbourg tuebingen "$name" "$pause" pre
	move tuebingen strasbourg "$name" "$pause" stop
	same_state
}

teardown() {
	local site name
	for site in strasbourg tuebingen; do
		for name in $(at "$site" runc list -q); do
			lab workload stop "$site" "$name"
		done
	done
}

@test "a server with many threads" {
	moves ddnet 1
}

@test "mode pre leaves alone what writes faster than the link" {
	lab workload start strasbourg mem 64 2000 random
	sleep 0.5
	pid=$(container_pid strasbourg mem)
	migrate strasbourg tuebingen mem --mode pre --max-downtime 1
	[ "$status" = 3 ]
	assert_says "no longer shrink" "mode hybrid"
	assert_untouched strasbourg mem "$pid"
	lab workload check strasbourg mem
}

@test "a container that outruns the link is slowed down if that is allowed" {
	lab workload start strasbourg mem 16 30 random
	sleep 0.5
	pid=$(container_pid strasbourg mem)
	# 100 Mbit/s are 12.5 MB/s.
	migrate strasbourg tuebingen mem --mode pre --bandwidth 100 --max-downtime 500
	[ "$status" = 3 ]
	assert_says "no longer shrink" "--throttle"
	assert_untouched strasbourg mem "$pid"
	migrate strasbourg tuebingen mem --mode pre --bandwidth 100 --max-downtime 500 --throttle --json
	echo "$output"
	[ "$status" = 0 ]
	jq -se 'map(select(.event == "round").throttle) | max > 0' <<<"$output"
	# The first round alone had 16 MB to send.
	jq -se 'map(select(.event == "round"))[0] | .bytes / .ms < 20000' <<<"$output"
	sleep 1
	lab workload check tuebingen mem
}

@test "memory that is written at 50 MB/s" {
	moves mem 1 200 50 random
}

@test "a sizeable tmpfs, and a file lock" {
	lab workload start strasbourg bigtmpfs 100
	sleep 1
	run at strasbourg godwit check --container bigtmpfs
	[ "$status" = 0 ]
	assert_says "frozen memory" "tmpfs 1"
	lab workload stop strasbourg bigtmpfs
	moves bigtmpfs 1 100
}

@test "an init that has moved itself and others into cgroups below its own" {
	start_calm_checker
	# shellcheck disable=SC2016  # expands there
	at strasbourg sh -c 'cd /sys/fs/cgroup/checker && mkdir init others && echo $1 >init/cgroup.procs &&
		while set -- $(cat cgroup.procs) && [ $# -gt 0 ]; do
			for pid; do echo $pid >others/cgroup.procs || :; done
		done' x "$(container_pid strasbourg checker)" 2>/dev/null
	pid=$(container_pid strasbourg checker)
	save_state
	start_migration checker --mode stop
	wait_phase send
	at tuebingen pkill -9 -x runc
	end_migration
	[ "$status" = 4 ]
	assert_untouched strasbourg checker "$pid"
	same_state
	move strasbourg tuebingen checker 0 hybrid
	checker_verifies tuebingen
	[ "$(at tuebingen sed -n 's/^0:://p' "/proc/$(container_pid tuebingen checker)/cgroup")" = /checker/init ]
	move tuebingen strasbourg checker 0 stop
	checker_verifies strasbourg
	same_state
}

@test "a process with a root of its own has files outside of that open" {
	export BUNDLE_EDIT='.process.capabilities |= map_values(. + ["CAP_SYS_CHROOT"])'
	lab workload start strasbourg bigtmpfs 10 /run
	sleep 0.5
	move strasbourg tuebingen bigtmpfs 1 hybrid
	move tuebingen strasbourg bigtmpfs 1 stop
}

# like_others SITE NAME: what has restored it came before others; the container doesn't.
like_others() {
	local pid
	pid=$(container_pid "$1" "$2")
	[ "$(at "$1" cut -d ' ' -f 19 "/proc/$pid/stat")" = 0 ]
	[ ! -e /proc/self/autogroup ] || at "$1" grep -q ' nice 0$' "/proc/$pid/autogroup"
}

# CRIU would save all of it as it saves a stack, within the freeze.
@test "a process that CRIU takes for nothing but stack" {
	lab workload start strasbourg edge 32
	sleep 0.5
	from=strasbourg to=tuebingen
	for mode in hybrid post; do
		migrate "$from" "$to" edge --json --mode $mode
		assert_success
		[ "$(jq -s 'map(select(.event == "report"))[0].memory_bytes' <<<"$output")" -ge $((32 << 20)) ]
		sleep 0.5
		lab workload check "$to" edge
		like_others "$to" edge
		from=$to
		to=$(other_site "$from")
	done
}

# What it advises goes unseen in the list of regions; CRIU is shown flags that were read before the freeze.
@test "memory whose treatment changes at the moment of the freeze" {
	lab workload start strasbourg advisor 96
	sleep 1
	save_state
	from=strasbourg to=tuebingen again=0
	for i in $(seq 20); do
		migrate "$from" "$to" advisor
		assert_success
		[[ $output != *"madvise"* ]] || again=$((again + 1))
		sleep 0.2
		lab workload check "$to" advisor
		from=$to
		to=$(other_site "$from")
		# There and back, and it has happened.
		[ "$from" = tuebingen ] || [ "$i" -lt 4 ] || [ $again = 0 ] || break
	done
	echo "$again of $i had to look again"
	[ $again -gt 0 ]
	# Its children come and go.
	wait_until same_state
}
