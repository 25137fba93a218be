# SPDX-License-Identifier: Apache-2.0
# After the commit a lost link is a pause: the sides find each other again and go on where they were.
# The checker verifies every byte on the target, and waits where one is missing.

load helpers

setup() {
	start_calm_checker
	save_state
}

teardown() {
	local site
	let_drain
	for site in strasbourg tuebingen; do
		at "$site" sh -c 'nft delete table inet cut 2>/dev/null; ip link set wan0 up'
		lab workload stop "$site" checker
	done
}

# The kernel ends all connections with a reset.
reset_connections() {
	at strasbourg ss -K dport = :7342
}

# Nothing of godwit's passes, and nobody is told.
silence() {
	at tuebingen nft -f - <<-'N'
		table inet cut {
			chain in { type filter hook input priority 0; tcp dport 7342 drop; }
			chain out { type filter hook output priority 0; tcp sport 7342 drop; }
		}
	N
}

speak_again() {
	at tuebingen nft delete table inet cut
}

ends_well() {
	end_migration
	[ "$status" = 0 ]
	assert_says "link lost, reconnecting" "the link is back" "the link was lost"
	checker_verifies tuebingen
	goes_back
}

# And so both hosts are as they were.
goes_back() {
	migrate tuebingen strasbourg checker --mode stop
	[ "$status" = 0 ]
	same_state
}

reset_in() {
	start_drain "$1"
	reset_connections
	ends_well
}

silent_in() {
	start_drain "$1"
	silence
	wait_phase_long pause
	sleep 1
	speak_again
	ends_well
}

# bats test_tags=long
@test "reset, in mode post" {
	reset_in post
}

@test "reset, in mode hybrid" {
	reset_in hybrid
}

# bats test_tags=long
@test "reset, again and again" {
	start_drain post
	for _ in 1 2 3 4 5; do
		reset_connections
		sleep 0.4
	done
	ends_well
}

# bats test_tags=long
@test "silent, in mode post" {
	silent_in post
}

# bats test_tags=long
@test "silent and reset at the same time" {
	start_drain post
	silence
	reset_connections
	sleep 3
	speak_again
	ends_well
}

# bats test_tags=long
@test "the cable is pulled out" {
	start_drain post
	at tuebingen ip link set wan0 down
	reset_connections
	sleep 3
	at tuebingen ip link set wan0 up
	ends_well
}

# A stranger who has seen the token pass by: without a key, and in no hurry.
knock() {
	at strasbourg bash -c "exec 3<>/dev/tcp/198.51.100.2/7342 &&
		printf 'GODWIT01$1' >&3 && sleep \$1" x "$2"
}

turned_away() {
	at tuebingen grep -c "turned away" /var/log/godwit-agent.log || :
}

@test "who knows the token and has no key interrupts nothing" {
	local token before
	before=$(turned_away)
	start_drain post
	token=$(at tuebingen ls /run/godwit/doors | sed 's/../\\x&/g')
	[ ${#token} = 64 ]
	knock "$token" 0.5
	for _ in 1 2 3; do
		knock "$token" 0
	done
	end_migration
	[ "$status" = 0 ]
	[[ $output != *"link lost"* ]]
	[ "$(turned_away)" = $((before + 4)) ]
	checker_verifies tuebingen
	goes_back
}

# What the target says comes to the source's godwit half a second late: the first connection's process waits before
# it passes anything on.
delay_control() {
	local godwit porter
	godwit=$(at strasbourg pgrep -x -n godwit)
	porter=$(at strasbourg cut -d ' ' -f 1 "/proc/$godwit/task/$godwit/children")
	at strasbourg strace -qq -o /dev/null -p "$porter" -e inject=sendto:delay_enter=500ms 3>&- &
	wait_until at strasbourg grep -q '^TracerPid:.[1-9]' "/proc/$porter/status"
}

@test "a good-bye that comes after the other connections' end is one" {
	start_drain post
	delay_control
	end_migration
	[ "$status" = 0 ]
	[[ $output != *"link lost"* ]]
	checker_verifies tuebingen
	goes_back
}

nothing_open() {
	[ "$(at strasbourg godwit status)" = "no migration is under way or in doubt" ]
}

@test "a signal ends the command, its guard goes on, and recover stays out of its way" {
	start_drain post
	silence
	reset_connections
	wait_phase pause
	at strasbourg pkill -INT -x -n godwit
	end_migration
	[ "$status" = 130 ]
	assert_says "in the background" "godwit recover"
	wait_until at strasbourg sh -c 'godwit recover | grep -q "a process is at it, with tuebingen"'
	speak_again
	checker_verifies tuebingen
	wait_until nothing_open
	goes_back
}
