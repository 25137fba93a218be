# SPDX-License-Identifier: Apache-2.0
# The address moves with the server, and nothing that was sent to it is lost.

load helpers
load traffic

# Each of two migrations, of which the tests that count less than the first take a part.
ROUNDS=${GODWIT_TEST_ROUNDS:-2}
V4=10.10.0.100
V6=fd10::100

setup() {
	traffic_setup
}

teardown() {
	local s
	stop_all
	lab link tuebingen --clear
	lab player stop
	for s in strasbourg tuebingen; do
		lab workload stop "$s" echo
		lab workload stop "$s" echo6
		lab workload stop "$s" redis-net
		lab game stop "$s"
	done
}

# at_most ROUNDS
at_most() {
	[ "$ROUNDS" -le "$1" ] || ROUNDS=$1
}

to_and_fro() {
	local i
	for ((i = 0; i < 2 * ROUNDS; i++)); do
		move "$@"
	done
}

# udp_moves CONTAINER ADDRESS: a thousand datagrams a second, there and back, and an observer.
udp_moves() {
	lab workload start strasbourg "$1"
	save_state
	start owners owners "$2" 2
	start udp peer udp "$2" 7000 1000
	sleep 1
	to_and_fro "$1"
	sleep 1
	nothing_lost "$(stop udp)"
	stop owners >/dev/null
	owner_follows "$BATS_TEST_TMPDIR/owners.out"
	same_state
}

@test "no datagram is lost, doubled or late, and one host answers for the address" {
	udp_moves echo $V4
	jq -e '.address | .held > 10 and .delivered >= .held and .overflowed == 0 and .silent_ms > 0 and
		.hold_ms < 200' <<<"$report"
}

@test "the same with IPv6" {
	udp_moves echo6 $V6
}

# bats test_tags=long
@test "the same with 20 ms of delay and 100 Mbit/s" {
	lab link tuebingen --delay 20 --rate 100
	ROUNDS=$(((ROUNDS + 1) / 2))
	at_most 10
	udp_moves echo $V4
}

@test "busy and idle TCP connections live on, with the right bytes, and stall for the freeze" {
	at_most 10
	lab workload start strasbourg echo
	save_state
	start idle peer idle $V4 7000
	start busy peer download $V4 7000 0
	sleep 1
	to_and_fro echo
	jq -e '.address.connections == 2' <<<"$report"
	sleep 1
	busy=$(stop busy)
	idle=$(stop idle)
	echo "$busy $idle"
	jq -e '.ok and .bytes > 100000000' <<<"$busy"
	stalls_in_proportion "$busy"
	jq -e '.ok and .said >= 2' <<<"$idle"
	same_state
}

redis_cli() {
	lab client redis-cli -h $V4 "$@"
}

@test "redis answers its clients through the moves, and has what it had" {
	at_most 5
	lab workload start strasbourg redis-net
	wait_until redis_cli ping
	redis_cli debug populate 500000 key 100
	save_state
	start clients client redis-benchmark -h $V4 -t set,get -c 20 -n 100000000 -r 500000 -d 100 -q
	sleep 1
	to_and_fro redis-net
	jq -e '.address.connections >= 20' <<<"$report"
	# Any error ends it.
	kill -0 "$(cat "$BATS_TEST_TMPDIR/clients.pid")"
	! stop clients | grep -i error || return 1
	digest=$(redis_cli debug digest)
	move redis-net
	[ "$(redis_cli debug digest)" = "$digest" ]
	move redis-net
	same_state
}

@test "the player misses no packet of the game, and the server none of the player's" {
	at_most 10
	lab game start strasbourg
	lab player start
	missed=$(lab player missed)
	lab gap start "$BATS_TEST_TMPDIR/gap"
	sleep 1
	from=$(date +%s.%N)
	to_and_fro xonotic
	sleep 1
	lab gap stop
	lab player status
	run lab gap report "$BATS_TEST_TMPDIR/gap" "$from" "$(date +%s.%N)"
	echo "$output"
	jq -e '.lost == 0 and .received > 100' <<<"$output"
	[ "$(lab player missed)" = "$missed" ]
}

@test "what is rolled back has lost nothing either" {
	lab workload start strasbourg echo 400
	save_state
	start owners owners $V4 2
	start udp peer udp $V4 7000 1000
	start idle peer idle $V4 7000
	sleep 1
	for _ in 1 2 3; do
		start_migration echo --mode stop
		wait_phase send
		at strasbourg pkill -INT -n -x godwit
		end_migration
		[ "$status" = 130 ]
		count_overtaken
		wait_until no_handlers tuebingen
	done
	sleep 1
	nothing_lost "$(stop udp)"
	jq -e .ok <<<"$(stop idle)"
	stop owners >/dev/null
	owner_follows "$BATS_TEST_TMPDIR/owners.out"
	same_state
}

# killed SITE: its godwit dies while the target restores; no rule and no second owner is left.
killed() {
	lab workload start strasbourg echo 400
	save_state
	start owners owners $V4 2
	start idle peer idle $V4 7000
	sleep 0.5
	start_migration echo --mode stop
	wait_phase send
	at "$1" pkill -9 -n -x godwit
	end_migration
	[ "$status" != 0 ]
	sleep 3
	jq -e .ok <<<"$(stop idle)"
	stop owners >/dev/null
	owner_follows "$BATS_TEST_TMPDIR/owners.out"
	same_state
}

# bats test_tags=long
@test "the source's process is killed: the connection lives, no rule is left, one host answers" {
	killed strasbourg
}

@test "the target's process is killed: the same" {
	killed tuebingen
}
