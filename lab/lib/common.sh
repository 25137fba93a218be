# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What every part of the lab needs: places, sites, messages, waiting.

CACHE=${GODWIT_CACHE:-/var/cache/godwit}
# Several labs can be up side by side, each by its name.
LAB_NAME=${GODWIT_LAB:-godwit-lab}
STATE=/run/$LAB_NAME
REPO=$(cd "$LAB/.." && pwd)
INTERNET=$LAB_NAME-internet
WAN=198.51.100
LAN=10.10.0
FLOATING=$LAN.100
# The LAN has a second family: the same hosts at fd10::N.
LAN6=fd10::
FLOATING6=${LAN6}100
# A container with a network of its own is there.
OWN=$LAN.101
OWN6=${LAN6}101
OWN_MAC=02:10:00:00:01:01
ECHO_PORT=7000
VRRP=xonotic # the instance of examples/keepalived
GAME_PORT=26000

die() {
	printf 'lab: %s\n' "$*" >&2
	exit 1
}

say() {
	[ -n "${LAB_QUIET:-}" ] || printf 'lab: %s\n' "$*" >&2
}

need_root() {
	[ "$(id -u)" = 0 ] || die "needs root: it makes namespaces and mounts; run it with sudo"
}

sites() {
	sed 's/#.*//' "$LAB/sites" | awk 'NF == 2 { print $1 }'
}

site_number() {
	sed 's/#.*//' "$LAB/sites" | awk -v s="$1" '$1 == s { print $2 }'
}

first_site() {
	sites | head -n 1
}

need_site() {
	[ -n "$(site_number "$1")" ] || die "no site \"$1\"; there are: $(sites | tr '\n' ' ')"
}

# The pid, outside, of a host's first process; fails when it isn't up.
host_pid() {
	local pid
	pid=$(cat "$STATE/hosts/$1/pid" 2>/dev/null) || return 1
	kill -0 "$pid" 2>/dev/null || return 1
	echo "$pid"
}

# in_host HOST COMMAND...: runs it there, with that host's root directory and namespaces.
in_host() {
	local host=$1 pid
	shift
	pid=$(host_pid "$host") || die "host $host is not up; run: lab/lab up"
	nsenter -t "$pid" -m -u -i -n -p -C -- /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 "$@"
}

# wait_for SECONDS COMMAND...: until it succeeds; every wait here is bounded. An emulated machine
# says how many times slower it is.
wait_for() {
	local end=$((SECONDS + $1 * ${LAB_SLOWNESS:-1}))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || return 1
		read -rt 0.05 <> <(:) || :
	done
}
