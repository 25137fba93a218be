# SPDX-License-Identifier: Apache-2.0
# docs/GUIDE.md, from nothing: each of its commands, in order, on two hosts that are only on the internet.
#
# A block "```sh WHERE [> NAME]" is run at WHERE (strasbourg, tuebingen, both); what it prints takes the place
# of NAME in those that come after it. What needs the network comes from what the lab has already:
# packages must be in the hosts' image, and "image" is the game's root file system.

load helpers

GUIDE=$BATS_TEST_DIRNAME/../../docs/GUIDE.md

setup_file() {
	load helpers
	at strasbourg cat /usr/bin/godwit >"$BATS_FILE_TMPDIR/godwit"
	chmod 755 "$BATS_FILE_TMPDIR/godwit"
	export GODWIT_LAB=${GODWIT_LAB:-godwit-lab}-guide
	load helpers
	lab down
	lab up --bare --no-player --godwit "$BATS_FILE_TMPDIR/godwit" 3>&-
	local site
	for site in strasbourg tuebingen; do
		tar -C "$BATS_TEST_DIRNAME/../.." -cf - examples | at "$site" tar -C /root -xf -
	done
}

teardown_file() {
	load helpers
	lab down
}

# Blocks as files 01.WHERE[.NAME].
blocks() {
	awk -v dir="$1" '
		/^```sh / { n++; file = sprintf("%s/%02d.%s%s", dir, n, $2, $3 == ">" ? "." $4 : ""); next }
		/^```/ { file = ""; next }
		file { print >file }' "$GUIDE"
}

apt-get() {
	shift 2 # install -y
	dpkg -s "$@" | grep -c '^Status: install ok installed' | grep -qx "$#"
}

# mmdebstrap VARIANT --include=PACKAGES SUITE TARGET
mmdebstrap() {
	local package packages=${2#--include=} image
	image=$(echo "$CACHE"/game-*[0-9])
	grep -q "^VERSION_CODENAME=$3\$" "$image/etc/os-release"
	for package in ${packages//,/ }; do
		grep -qx "Package: $package" "$image/var/lib/dpkg/status" ||
			[ -e "$image/usr/share/games/${package%-data}/data" ]
	done
	at strasbourg mkdir -p "$4"
	tar -C "$image" -cf - . | at strasbourg tar -C "$4" -xf -
}

# run_block FILE COMMAND...: by a shell there that stops at the first command that fails.
run_block() {
	{ echo cd && declare -f apt-get mmdebstrap at in_host host_pid && cat "$1"; } | "${@:2}" bash -e -o pipefail 3>&-
}

run_at() {
	case $2 in
	both) run_block "$1" at strasbourg && run_block "$1" at tuebingen ;;
	image) run_block "$1" env CACHE="$CACHE" STATE="$STATE" ;;
	*) run_block "$1" at "$2" ;;
	esac
}

game_answers() {
	at "$1" bash -c 'exec 3<>/dev/udp/10.10.0.100/26000 && printf "\xff\xff\xff\xffgetinfo x" >&3 &&
		timeout 1 head -c 16 <&3 | grep -q infoResp'
}

# At SITE, and at the address, for those at the other site.
game_runs_at() {
	[ "$(at "$1" runc list -q)" = game ]
	[ -z "$(at "$(other_site "$1")" runc list -q)" ]
	wait_until game_answers "$(other_site "$1")"
}

@test "two hosts become two sites, by the guide alone, and a game moves to and fro" {
	local file where name dir=$BATS_TEST_TMPDIR migrations=0
	blocks "$dir"
	for file in "$dir"/[0-9]*; do
		IFS=. read -r _ where name <<<"${file##*/}"
		echo "# $where: $(head -n 1 "$file")"
		run_at "$file" "$where" >"$dir/out" 2>&1 || { cat "$dir/out"; return 1; }
		[ -z "$name" ] || sed -i "s|$name|$(tail -n 1 "$dir/out")|g" "$dir"/[0-9]*
		! grep -q '^runc run' "$file" || game_runs_at "$where"
		grep -q '^godwit migrate game' "$file" || continue
		migrations=$((migrations + 1))
		game_runs_at "$(other_site "$where")"
	done
	[ "$migrations" = 3 ]
}

@test "in the end keepalived at one of them has the address" {
	at tuebingen grep -qx MASTER /run/vrrp-xonotic.state
	at strasbourg grep -qx BACKUP /run/vrrp-xonotic.state
	[ -n "$(at tuebingen ip -o addr show dev br0 to 10.10.0.100)" ]
	[ -z "$(at strasbourg ip -o addr show dev br0 to 10.10.0.100)" ]
}
