# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
# For the tests that watch from the player's machine what a migration does to the traffic: $site is where
# the container is, $migrations how often it has moved, $report what the last one said.

traffic_setup() {
	site=strasbourg
	migrations=0
	late=0 # datagrams of which a report said that others may have overtaken them
}

# start NAME COMMAND...: something on the player's machine that tells at its end what it saw.
start() {
	local name=$1
	shift
	"$LAB/lab" "$@" >"$BATS_TEST_TMPDIR/$name.out" 2>&1 3>&- &
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
	assert_success
	report=$(jq -sc 'map(select(.event == "report")) | .[0]' <<<"$output")
	jq -sc '{from: map(select(.phase == "freeze"))[0].time, to: map(select(.phase == "drain"))[0].time}' \
		<<<"$output" >>"$BATS_TEST_TMPDIR/freezes"
	site=$to
	migrations=$((migrations + 1))
	late=$((late + $(jq '.address.late // 0' <<<"$report")))
}

# What a migration that was rolled back says about that.
count_overtaken() {
	[[ ! $output =~ "others may have overtaken "([0-9]+) ]] || late=$((late + BASH_REMATCH[1]))
}

# nothing_lost JSON: not one datagram, in neither direction, and all in order but those that are known to be late.
# On a busy machine an application's queue overflows without any migration, which its host has counted then.
nothing_lost() {
	echo "$1"
	[ -n "$1" ] || return 1 # which jq -e calls true
	jq -e --argjson late "$late" '.sent > 1000 and .answered == .sent and .late_there <= $late and
		.lost_there + .lost_back + .twice + .late_back == 0' <<<"$1" && return
	echo "late by the reports: $late"
	for site in strasbourg tuebingen; do
		at "$site" sh -c 'echo "$(hostname): $(nstat -asz UdpRcvbufErrors Udp6RcvbufErrors | tail -n 2)"'
	done
	return 1
}

# stalls_in_proportion JSON: of a download, the stalls that the freezes lie in. All but a quarter of them
# take no more than twice the freeze and 50 ms: one more of a timer of the kernel's would.
stalls_in_proportion() {
	jq -s --argjson download "$1" 'map(. as $f
		| [$download.stalls[] | select(.at > $f.from and .at - .ms / 1000 < $f.to) | .ms] | max // 0
		| {stall: ., freeze: (1000 * ($f.to - $f.from))})' "$BATS_TEST_TMPDIR/freezes" |
		tee "$BATS_TEST_TMPDIR/stalls"
	jq -e 'length as $n | $n > 0 and
		(map(select(.stall > 2 * .freeze + 50)) | length) <= $n / 4' "$BATS_TEST_TMPDIR/stalls"
}

# owner_follows FILE: whoever says that it has the address is another one exactly once a migration.
owner_follows() {
	awk '$2 != last { n++; last = $2; print n, $0 } END { exit n != '"$((migrations + 1))"' }' "$1"
	# And it was asked all the time.
	[ "$(grep -c answer "$1")" -gt $((migrations * 10)) ]
}
