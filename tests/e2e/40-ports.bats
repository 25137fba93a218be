# SPDX-License-Identifier: Apache-2.0
# The game's port and address on the target.

load helpers

setup_file() {
	load helpers
	lab game start strasbourg
}

teardown_file() {
	load helpers
	lab game stop strasbourg
}

@test "the port is taken there" {
	pid=$(container_pid strasbourg xonotic)
	at tuebingen sh -c 'socat -u UDP-RECV:26000 OPEN:/dev/null </dev/null >/dev/null 2>&1 & echo $! >/tmp/holder.pid'
	for _ in $(seq 50); do
		at tuebingen sh -c 'ss -Hlun sport = :26000 | grep -q .' && break
		sleep 0.1
	done
	at tuebingen sh -c 'ss -Hlun sport = :26000 | grep -q .'
	migrate strasbourg tuebingen xonotic
	at tuebingen sh -c 'kill $(cat /tmp/holder.pid); rm /tmp/holder.pid'
	[ "$status" = 3 ]
	assert_says "UDP port 26000 is taken"
	assert_untouched strasbourg xonotic "$pid"
}

@test "the address is there already" {
	pid=$(container_pid strasbourg xonotic)
	at tuebingen ip addr add 10.10.0.100/24 dev br0
	migrate strasbourg tuebingen xonotic
	at tuebingen ip addr del 10.10.0.100/24 dev br0
	[ "$status" = 3 ]
	assert_says "two hosts would answer"
	assert_untouched strasbourg xonotic "$pid"
}
