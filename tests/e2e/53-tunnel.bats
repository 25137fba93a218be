# SPDX-License-Identifier: Apache-2.0
# The sites' tunnel is restarted while a container moves through it: the migration goes on, or is undone.

load helpers

setup() {
	start_calm_checker
	at strasbourg godwit peer add by-tunnel 10.10.0.2 \
		"$(at tuebingen godwit id --json | jq -r .fingerprint)"
	pid=$(container_pid strasbourg checker)
}

teardown() {
	local site
	at strasbourg godwit peer remove by-tunnel
	for site in strasbourg tuebingen; do
		lab workload stop "$site" checker
	done
}

# restart_tunnel SECONDS: the tunnel's server ends, and so long after it another comes.
restart_tunnel() {
	at strasbourg sh -c 'kill $(cat /run/openvpn.pid)'
	wait_until at strasbourg sh -c '! pgrep -x openvpn'
	sleep "$1"
	at strasbourg openvpn --config /etc/openvpn/godwit.conf --daemon \
		--log /var/log/openvpn.log --writepid /run/openvpn.pid 3>&-
	wait_until_longer at strasbourg ping -c 1 -W 1 10.10.0.2
}

# The other end notices by its own timer.
wait_until_longer() {
	wait_until "$@" || wait_until "$@" || wait_until "$@" || wait_until "$@"
}

# start_by_tunnel MODE MBIT
start_by_tunnel() {
	at strasbourg godwit migrate --mode "$1" --max-downtime 60000 --bandwidth "$2" checker by-tunnel \
		>"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	# shellcheck disable=SC2034  # end_migration waits for it
	job=$!
}

# bats test_tags=long
@test "in the copy" {
	start_by_tunnel hybrid 200
	wait_phase copy
	sleep 1
	restart_tunnel 1
	end_migration
	if [ "$status" = 0 ]; then
		checker_verifies tuebingen
	else
		assert_untouched strasbourg checker "$pid"
		checker_verifies strasbourg
		[ "$(at tuebingen runc list -q)" = "" ]
	fi
}

@test "in the drain" {
	start_by_tunnel post 100
	wait_phase drain
	sleep 0.3
	restart_tunnel 1
	end_migration
	[ "$status" = 0 ]
	checker_verifies tuebingen
	[ "$(at strasbourg runc list -q)" = "" ]
}
