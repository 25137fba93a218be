# SPDX-License-Identifier: Apache-2.0
# The lab's own links: what lab/lab link says is what the hosts get. Bounds are wide: whatever else
# this machine does makes everything later, never earlier.

# bats file_tags=long

load helpers

SITE=tuebingen
BYTES=10000000

teardown() {
	lab link $SITE --clear
}

# ping_summary COUNT: "LOSS-PERCENT MIN-MS AVERAGE-MS MAX-MS" between the sites.
ping_summary() {
	at strasbourg sh -c "ping -q -i 0.005 -c $1 -W 2 $SITE || :" |
		awk -F '[ /]' '/packet loss/ { for (i = 1; i <= NF; i++) if ($i ~ /%/) loss = $i + 0 }
			/^rtt/ { print loss, $7, $8, $9 }'
}

# within LEAST VALUE MOST
within() {
	awk -v a="$1" -v v="$2" -v z="$3" 'BEGIN { exit !(v >= a && v <= z) }' && return
	echo "$2 is not between $1 and $3"
	return 1
}

# transfer FROM TO: random bytes by TCP; they must come as they went. Its time in ms is in $ms.
transfer() {
	local from=$1 to=$2 start listener
	at "$from" sh -c "head -c $BYTES /dev/urandom >/tmp/link-bytes"
	at "$to" timeout 60 socat -u TCP-LISTEN:7000,reuseaddr CREATE:/tmp/link-bytes &
	listener=$!
	wait_until at "$to" sh -c 'ss -Hltn sport = :7000 | grep -q .'
	start=$(date +%s%N)
	at "$from" timeout 60 socat -u OPEN:/tmp/link-bytes "TCP:$to:7000"
	wait $listener
	ms=$((($(date +%s%N) - start) / 1000000))
	[ "$(at "$from" sha256sum /tmp/link-bytes)" = "$(at "$to" sha256sum /tmp/link-bytes)" ]
	at "$from" rm /tmp/link-bytes
	at "$to" rm /tmp/link-bytes
}

# What a link is made of, on both of its ends.
link_state() {
	local pid
	pid=$(cat "/run/${GODWIT_LAB:-godwit-lab}/hosts/$SITE/pid")
	nsenter -t "$pid" -n sh -c 'ethtool -k wan0; tc qdisc show dev wan0'
	ip netns exec "${GODWIT_LAB:-godwit-lab}-internet" sh -c \
		'ls /sys/class/net; bridge link; tc qdisc; ethtool -k w-2' | sed 's/[0-9]*: //'
}

@test "delay, in each direction" {
	lab link $SITE --delay 50
	read -r loss least average _ < <(ping_summary 40)
	[ "$loss" = 0 ]
	within 100 "$least" 130
	within 100 "$average" 200
	transfer strasbourg $SITE
	[ "$ms" -ge 200 ] # the handshake, and one more round trip
	transfer $SITE strasbourg
}

@test "jitter, without reordering" {
	lab link $SITE --delay 10 --jitter 20
	read -r loss least _ most < <(ping_summary 100)
	[ "$loss" = 0 ]
	within 20 "$least" 45
	within $((20 + 15)) "$most" 500
	transfer strasbourg $SITE
}

@test "loss, in each direction" {
	lab link $SITE --loss 10
	read -r loss _ < <(ping_summary 500)
	# 19 % of the round trips; nine standard deviations each way.
	within 4 "$loss" 35
	transfer strasbourg $SITE
}

@test "rate, in each direction" {
	lab link $SITE --rate 50
	# 80 Mbit, less what the first burst takes.
	transfer strasbourg $SITE
	within 1500 "$ms" 10000
	transfer $SITE strasbourg
	within 1500 "$ms" 10000
}

@test "delay and rate together" {
	lab link $SITE --delay 25 --rate 50
	read -r _ least _ < <(ping_summary 20)
	within 50 "$least" 80
	transfer strasbourg $SITE
	within 1500 "$ms" 15000
}

@test "clear mends everything" {
	before=$(link_state)
	lab link $SITE --delay 20 --jitter 5 --loss 1 --rate 20
	[ "$(link_state)" != "$before" ]
	lab link $SITE --clear
	diff -U0 <(echo "$before") <(link_state)
	read -r loss least _ < <(ping_summary 50)
	[ "$loss" = 0 ]
	within 0 "$least" 5
	transfer strasbourg $SITE
}

@test "a wrong word changes nothing" {
	lab link $SITE --delay 20
	run lab link $SITE --delay much
	[ "$status" = 1 ]
	assert_says "--delay wants a number"
	run lab link $SITE --lag 5
	[ "$status" = 1 ]
	assert_says "unknown option --lag"
	read -r _ least _ < <(ping_summary 10)
	within 40 "$least" 70
}
