# SPDX-License-Identifier: Apache-2.0
# Memory is tracked from outside: of containers that may do nothing, and so that nothing of it stays.

load helpers

# No rights, and death for calls that godwit makes within a process.
STRICT='.process.capabilities = {}
	| .process.noNewPrivileges = true
	| .linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_X86_64"],
		syscalls: [{names: ["userfaultfd", "ptrace", "kcmp", "pidfd_getfd"],
			action: "SCMP_ACT_KILL_PROCESS"}]}'

teardown() {
	local site
	for site in strasbourg tuebingen; do
		lab workload stop "$site" checker
		lab workload stop "$site" mem
	done
	at strasbourg sh -c "rmdir /sys/fs/cgroup/outer 2>/dev/null || :"
}

# strict_start PROCESSES: of some seven threads each.
strict_start() {
	BUNDLE_EDIT=$STRICT lab workload start strasbourg checker "$1" 10 3
	checker_verifies strasbourg
	[ "$(at strasbourg sh -c 'wc -l </sys/fs/cgroup/checker/cgroup.procs')" -gt "$1" ]
	[ "$(at strasbourg sh -c 'wc -l </sys/fs/cgroup/checker/cgroup.threads')" -gt $((5 * $1)) ]
}

# assert_no_trace [CGROUP]: nobody traces its processes, and none has a descriptor that it didn't open.
assert_no_trace() {
	# shellcheck disable=SC2016
	run at strasbourg sh -c 'for p in $(cat $1/cgroup.procs); do
		grep -H "^TracerPid:[^0-9]*[1-9]" /proc/$p/status
		find /proc/$p/fd -type l -printf "%p %l\n" | grep userfaultfd
	done 2>/dev/null; true' sh "${1:-/sys/fs/cgroup/checker}"
	[ -z "$output" ] || { echo "$output"; return 1; }
}

@test "no capabilities, seccomp, 30 processes with 200 threads" {
	strict_start 30
	migrate strasbourg tuebingen checker --mode hybrid --max-downtime 60000
	assert_success
	checker_verifies tuebingen
}

# killed_after SECONDS...: to attach to that many takes a tenth of a second, which is how copying begins.
killed_after() {
	strict_start 12
	pid=$(container_pid strasbourg checker)
	save_state
	for delay in "$@"; do
		at strasbourg godwit migrate --mode hybrid checker tuebingen \
			>"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
		wait_until grep -q "^copy" "$BATS_TEST_TMPDIR/out" || { cat "$BATS_TEST_TMPDIR/out"; return 1; }
		sleep "$delay"
		# The oldest of that name is neither guard nor helper.
		at strasbourg pkill -9 -o -f '^godwit migrate'
		wait $! || :
		# The guard is done when the journal is empty.
		wait_until at strasbourg sh -c '[ -z "$(ls /var/lib/godwit/journal)" ]'
		wait_until no_handlers tuebingen
		assert_untouched strasbourg checker "$pid"
		wait_until assert_no_trace
		checker_verifies strasbourg
	done
	same_state
}

@test "godwit is killed while it attaches and while it copies" {
	killed_after 0.02 0.4
}

# bats test_tags=long
@test "godwit is killed at other moments" {
	killed_after 0 0.1
}

@test "a process that is traced is named beforehand" {
	lab workload start strasbourg checker traced
	sleep 0.5
	migrate strasbourg tuebingen checker
	[ "$status" = 3 ]
	assert_says "is traced by" "end the debugger"
}

# In a cgroup below one that somebody else freezes: its own cgroup.freeze stays 0.
NESTED='.process.capabilities |= map_values(. + ["CAP_CHECKPOINT_RESTORE"])
	| .linux.cgroupsPath = "/outer/checker"'

nested_start() {
	BUNDLE_EDIT=$NESTED lab workload start strasbourg checker 3 24 5
	checker_verifies strasbourg
	pid=$(container_pid strasbourg checker)
}

outer_freeze() {
	at strasbourg sh -c "echo $1 >/sys/fs/cgroup/outer/cgroup.freeze"
	wait_until at strasbourg grep -q "frozen $1" /sys/fs/cgroup/outer/checker/cgroup.events
}

# The host has no Python, and sees its own processes alone.
tracer() {
	local host root
	host=$(host_pid strasbourg)
	root=/proc/$host/root
	nsenter -t "$host" -p timeout 60 python3 "$BATS_TEST_DIRNAME/tracer.py" "$1" "$root/var/lib/godwit/journal" \
		"$root/sys/fs/cgroup/mem"
}

@test "a stopped process that a tracer lets go of at the freeze is dumped when it stands again" {
	lab workload start strasbourg mem 20 0
	pid=$(container_pid strasbourg mem)
	at strasbourg kill -STOP "$pid"
	tracer "$pid" 3>&- &
	migrate strasbourg tuebingen mem --mode stop
	wait $!
	assert_success
	pid=$(container_pid tuebingen mem)
	at tuebingen grep -q "^State:.T" "/proc/$pid/status"
	at tuebingen kill -CONT "$pid"
	lab workload check tuebingen mem
}

@test "a container whose upper cgroup is frozen is refused beforehand" {
	nested_start
	outer_freeze 1
	migrate strasbourg tuebingen checker
	outer_freeze 0
	[ "$status" = 3 ]
	assert_says "is frozen, by its cgroup or one above it" "thaw it"
	checker_verifies strasbourg
}

# frozen_after SECONDS...
frozen_after() {
	nested_start
	for delay in "$@"; do
		start_migration checker --mode hybrid
		wait_phase copy
		sleep "$delay"
		outer_freeze 1
		end_migration
		outer_freeze 0
		[ "$status" = 3 ]
		assert_says "somebody else has frozen"
		[ "$(container_pid strasbourg checker)" = "$pid" ]
		wait_until assert_no_trace /sys/fs/cgroup/outer/checker
		checker_verifies strasbourg
	done
}

@test "the upper cgroup is frozen while memory is copied: refused soon, and it runs on when thawed" {
	frozen_after 0.03
}

# bats test_tags=long
@test "the upper cgroup is frozen at other moments" {
	frozen_after 0 0.1
}
