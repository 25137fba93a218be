# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
# For the tests that watch from the player's machine what a migration does to the traffic: $site is where
# the container is, $migrations how often it has moved, $report what the last one said.

traffic_setup() {
	site=strasbourg
	migrations=0
}

# start NAME COMMAND...: something on the player's machine that tells at its end what it saw.
start() {
	local name=$1
	shift
	"$LAB" "$@" >"$BATS_TEST_TMPDIR/$name.out" 2>&1 3>&- &
	echo $! >"$BATS_TEST_TMPDIR/$name.pid"
}

# stop NAME: ends it, and prints that.
stop() {
	local pid
	pid=$(cat "$BATS_TEST_TMPDIR/$1.pid")
	rm "$BATS_TEST_TMPDIR/$1.pid"
	kill "$pid" 2>/dev/null || :
	# In $(stop ...) it is no child, which wait would refuse.
	timeout 10 tail --pid="$pid" -f /dev/null
	cat "$BATS_TEST_TMPDIR/$1.out"
}

# Whatever still runs.
stop_all() {
	local name
	for name in $(cd "$BATS_TEST_TMPDIR" && ls -- *.pid 2>/dev/null); do
		stop "${name%.pid}" >/dev/null || :
	done
}

# move NAME OPTIONS...: to the other site.
move() {
	local to name=$1
	shift
	to=$(other_site "$site")
	migrate "$site" "$to" "$name" --json "$@"
	[ "$status" = 0 ] || { echo "$output"; return 1; }
	report=$(jq -sc 'map(select(.event == "report")) | .[0]' <<<"$output")
	site=$to
	migrations=$((migrations + 1))
}

# nothing_lost JSON: not one datagram, in neither direction, and all in order.
nothing_lost() {
	echo "$1"
	[ -n "$1" ] || return 1 # which jq -e calls true
	jq -e '.sent > 1000 and .answered == .sent and .lost_there + .lost_back + .twice + .late_there +
		.late_back == 0' <<<"$1"
}

# owner_follows FILE: whoever says that it has the address is another one exactly once a migration.
owner_follows() {
	awk '$2 != last { n++; last = $2; print n, $0 } END { exit n != '"$((migrations + 1))"' }' "$1"
	# And it was asked all the time.
	[ "$(grep -c answer "$1")" -gt $((migrations * 10)) ]
}
