# SPDX-License-Identifier: Apache-2.0
# Who reads what a peer sends has no rights, and its end is that of a connection.

load helpers

setup() {
	start_slow_mem
}

teardown() {
	stop_slow_mem
}

# look_at_porters SITE: what there is to say of all porters, at once.
look_at_porters() {
	# shellcheck disable=SC2016  # expands there
	at "$1" sh -c '
		for p in $(pgrep -x godwit-porter); do
			echo porter
			tr -s "\t" " " <"/proc/$p/status"
			echo "Root: $(readlink "/proc/$p/root")"
			ls -A "/proc/$p/root/" | sed "s/^/Has: /"
			find "/proc/$p/fd" -type l -printf "Open: %l\n"
		done
		ss -Htnp state established "( sport = :7342 or dport = :7342 )"' >"$BATS_TEST_TMPDIR/porters"
	cat "$BATS_TEST_TMPDIR/porters"
}

# all_say LINE: each of the four, for control, urgent and two of bulk.
all_say() {
	[ "$(grep -cx "$1" "$BATS_TEST_TMPDIR/porters")" = 4 ] || {
		echo "expected: $1"
		return 1
	}
}

# have_no_rights SITE REGEX: porters there, which may have that open besides their sockets.
have_no_rights() {
	local name
	look_at_porters "$1"
	all_say porter
	all_say "Uid: 65534 65534 65534 65534"
	all_say "Gid: 65534 65534 65534 65534"
	all_say "Groups: *"
	for name in CapInh CapPrm CapEff CapBnd CapAmb; do
		all_say "$name: 0000000000000000"
	done
	all_say "NoNewPrivs: 1"
	all_say "Seccomp: 2"
	all_say "Threads: 1"
	all_say "Root: /run/godwit/empty"
	[ -z "$(sed -n "s/^Has: //p" "$BATS_TEST_TMPDIR/porters")" ]
	# Their connections, and what joins them to worker and keeper.
	[ "$(grep "^Open: " "$BATS_TEST_TMPDIR/porters" | grep -cvE "^Open: (/dev/null|socket:.*|$2)\$")" = 0 ]
	# Each has its connection.
	[ "$(grep -c '"godwit-porter"' "$BATS_TEST_TMPDIR/porters")" = 4 ]
}

@test "during a migration all that read the network have no rights" {
	start_migration mem --mode post --streams 2
	wait_phase drain
	have_no_rights tuebingen '/memfd:godwit-line .*|/var/log/godwit-agent.log'
	# Nobody else has one.
	[ "$(grep -c '"godwit"' "$BATS_TEST_TMPDIR/porters")" = 0 ]
	have_no_rights strasbourg 'anon_inode:\[eventfd\]'
	lab link tuebingen --clear
	end_migration
	[ "$status" = 0 ]
	lab workload check tuebingen mem
	migrate tuebingen strasbourg mem --mode stop
	[ "$status" = 0 ]
	same_state
}

# kill_one_before_commit SITE
kill_one_before_commit() {
	local pid
	pid=$(container_pid strasbourg mem)
	start_migration mem --mode pre --max-downtime 60000
	wait_phase copy
	sleep 0.5
	at "$1" pkill -9 -n -x godwit-porter
	end_migration
	[ "$status" != 0 ]
	assert_untouched strasbourg mem "$pid"
	lab workload check strasbourg mem
	same_state
}

@test "one of the target's is killed before the commit" {
	kill_one_before_commit tuebingen
}

# bats test_tags=long
@test "one of the source's is killed before the commit" {
	kill_one_before_commit strasbourg
}

# kill_all_after_commit SITE
kill_all_after_commit() {
	start_migration mem --mode post
	wait_phase drain
	sleep 0.3
	at "$1" pkill -9 -x godwit-porter
	end_migration
	[ "$status" = 0 ]
	assert_says "the link is back"
	lab workload check tuebingen mem
	lab link tuebingen --clear
	migrate tuebingen strasbourg mem --mode stop
	[ "$status" = 0 ]
	same_state
}

# bats test_tags=long
@test "all of the target's are killed after the commit" {
	kill_all_after_commit tuebingen
}

@test "all of the source's are killed after the commit" {
	kill_all_after_commit strasbourg
}
