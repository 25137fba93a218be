# SPDX-License-Identifier: Apache-2.0
# A container with a network of its own takes it along: its interface, hardware address, addresses and
# routes, and nothing that was sent to it is lost.

load helpers
load traffic

ROUNDS=${GODWIT_TEST_ROUNDS:-1}
V4=10.10.0.101
V6=fd10::101

setup() {
	traffic_setup
	for s in strasbourg tuebingen; do
		# What ip(8) makes once, and keeps.
		at "$s" sh -c 'ip netns add x && ip netns del x'
	done
}

teardown() {
	local s
	stop_all
	for s in strasbourg tuebingen; do
		lab workload stop "$s" echo-own
	done
}

# network_of SITE: as the container sees it, but for what the kernel numbers or says of the past.
network_of() {
	at "$1" sh -c 'ip -n echo-own -o link show eth0 | sed "s/^[0-9]*: \([^@]*\)@.* mtu \([0-9]*\).*link.ether \([^ ]*\).*/\1 \2 \3/"
		ip -n echo-own -o addr | sed "s/^[0-9]*: *//; s/ *\(nodad\|proto\|valid_lft\|tentative\).*//" | sort
		{ ip -n echo-own route; ip -n echo-own -6 route; } | sed "s/ proto .*//; s/ metric .*//; s/ *$//" | sort'
}

# links SITE: its interfaces, by name where they have one of their own.
links() {
	at "$1" sh -c 'ip -o link | sed "s/^[0-9]*: \([^:@]*\).*/\1/; s/^veth.*/veth/" | sort'
	at "$1" ip netns list
}

# arrived: the whole network is at $site, and nothing of it at the other one.
arrived() {
	diff "$BATS_TEST_TMPDIR/network" <(network_of "$site")
	diff "$BATS_TEST_TMPDIR/bare.$(other_site "$site")" <(links "$(other_site "$site")")
}

# one_owner FILE: no question had two answers, and it was asked all the time.
one_owner() {
	! grep again "$1" || return 1
	[ "$(grep -c answer "$1")" -gt 100 ]
}

own_start() {
	local s
	for s in strasbourg tuebingen; do
		links "$s" >"$BATS_TEST_TMPDIR/bare.$s"
	done
	lab workload start --own "$@"
	network_of strasbourg >"$BATS_TEST_TMPDIR/network"
	save_state
}

# own_moves KIND UDP-ADDRESS TCP-ADDRESS: a thousand datagrams a second, a connection, and observers.
own_moves() {
	local i
	[ "$1" = veth ] || {
		# The cards stay.
		lab workload start --own macvlan strasbourg echo-own
		lab workload stop strasbourg echo-own
	}
	own_start "$1" strasbourg echo-own
	start owners4 owners $V4 4
	start owners6 owners $V6 4
	start udp peer udp "$2" 7000 1000
	start idle peer idle "$3" 7000
	sleep 0.5
	for ((i = 0; i < 2 * ROUNDS; i++)); do
		move echo-own
		arrived
	done
	jq -c .address <<<"$report"
	jq -e '.address | .held > 10 and .delivered >= .held and .overflowed == 0 and .connections == 1' <<<"$report"
	sleep 1
	nothing_lost "$(stop udp)"
	jq -e .ok <<<"$(stop idle)"
	stop owners4 >/dev/null
	stop owners6 >/dev/null
	one_owner "$BATS_TEST_TMPDIR/owners4.out"
	one_owner "$BATS_TEST_TMPDIR/owners6.out"
	same_state
}

@test "veth: datagrams of IPv4 and a connection of IPv6 live on" {
	own_moves veth $V4 $V6
}

# bats test_tags=long
@test "veth: datagrams of IPv6 and a connection of IPv4 live on" {
	own_moves veth $V6 $V4
}

# bats test_tags=long
@test "macvlan: datagrams of IPv4 and a connection of IPv6 live on" {
	own_moves macvlan $V4 $V6
}

@test "macvlan: datagrams of IPv6 and a connection of IPv4 live on" {
	own_moves macvlan $V6 $V4
}

@test "what is rolled back keeps its network and has lost nothing" {
	own_start veth strasbourg echo-own 400
	start owners4 owners $V4 4
	start udp peer udp $V4 7000 1000
	start idle peer idle $V6 7000
	sleep 0.5
	for _ in 1 2; do
		start_migration echo-own --mode stop
		wait_phase send
		at strasbourg pkill -INT -n -x godwit
		end_migration
		[ "$status" = 130 ]
		wait_until no_handlers tuebingen
		diff "$BATS_TEST_TMPDIR/network" <(network_of strasbourg)
	done
	sleep 1
	nothing_lost "$(stop udp)"
	jq -e .ok <<<"$(stop idle)"
	stop owners4 >/dev/null
	one_owner "$BATS_TEST_TMPDIR/owners4.out"
	same_state
}

# killed SITE: its godwit dies while the target restores; the network is where it was, and only there.
killed() {
	own_start macvlan strasbourg echo-own 400
	start owners4 owners $V4 4
	start idle peer idle $V4 7000
	sleep 0.5
	start_migration echo-own --mode stop
	wait_phase send
	at "$1" pkill -9 -n -x godwit
	end_migration
	[ "$status" != 0 ]
	sleep 3
	jq -e .ok <<<"$(stop idle)"
	stop owners4 >/dev/null
	one_owner "$BATS_TEST_TMPDIR/owners4.out"
	diff "$BATS_TEST_TMPDIR/network" <(network_of strasbourg)
	same_state
}

# bats test_tags=long
@test "the source's process is killed: the network is the source's again" {
	killed strasbourg
}

# bats test_tags=long
@test "the target's process is killed: nothing of the network is left there" {
	killed tuebingen
}

@test "what is kept in a directory leaves no network, and brings it back" {
	own_start veth strasbourg echo-own
	at strasbourg godwit checkpoint echo-own --to /run/kept
	diff "$BATS_TEST_TMPDIR/bare.strasbourg" <(links strasbourg)
	at strasbourg godwit restore /run/kept
	at strasbourg rm -rf /run/kept
	diff "$BATS_TEST_TMPDIR/network" <(network_of strasbourg)
	start udp peer udp $V4 7000 1000
	sleep 1.5
	nothing_lost "$(stop udp)"
	same_state
}

# refused TEXT: the migration of echo-own is, for that reason, and names what to do.
refused() {
	migrate strasbourg tuebingen echo-own
	[ "$status" = 3 ]
	assert_says "$@"
}

@test "a network that could not move is refused, with what to do about it" {
	own_start veth strasbourg echo-own
	at strasbourg ip -n echo-own addr add 10.10.0.102/24 dev eth0
	refused "has the address 10.10.0.102" "mend one of them"
	at strasbourg ip -n echo-own addr del 10.10.0.102/24 dev eth0
	at strasbourg ip -n echo-own route add 192.0.2.0/24 via 10.10.0.2
	refused "has a route via 10.10.0.2"
	at strasbourg ip -n echo-own route del 192.0.2.0/24
	at strasbourg sh -c 'ip netns exec echo-own sleep 60 </dev/null >/dev/null 2>&1 & echo $! >/run/sleep.pid'
	refused "which is not the container's" "is in /run/netns/echo-own too"
	at strasbourg sh -c 'kill $(cat /run/sleep.pid) && rm /run/sleep.pid'
	at tuebingen ip netns add echo-own
	refused "there is a network namespace /run/netns/echo-own here already" "ip netns delete"
	at tuebingen ip netns del echo-own
	at tuebingen ip addr add $V4/24 dev br0
	refused "two would answer for it"
	at tuebingen ip addr del $V4/24 dev br0
	same_state
}
