# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Root file systems, made once and kept in the cache: of a host, of the game, of a player.
#
# Each has a recipe version: raise it when what is made changes, and it is made anew.

HOST_IMAGE=$CACHE/host-5
GAME_IMAGE=$CACHE/game-2
PLAYER_IMAGE=$CACHE/player-2
DATA_IMAGE=$CACHE/nexuiz-1
TOOLS=$REPO/build/lab-tools

LAB_PACKAGES=(mmdebstrap iproute2 util-linux jq gcc libc6-dev openssl zip unzip ethtool procps bsdextrautils)

# The Debian mirror that this machine itself uses.
mirror() {
	local m=${GODWIT_MIRROR:-}
	[ -n "$m" ] || m=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null |
		awk '/^URIs:/ { print $2 }' | grep -m 1 '/debian/*$')
	[ -n "$m" ] || m=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
		grep -oE '^deb .*' | grep -oE 'https?://[^ ]*/debian/? ' | head -n 1)
	[ -n "$m" ] || die "no Debian mirror in /etc/apt: set GODWIT_MIRROR=http://..."
	echo "${m% }"
}

lab_install() {
	mkdir -p "$CACHE"
	alone "$CACHE/install" install_missing
}

# alone PATH COMMAND...: by one lab at a time.
alone() {
	local lock=$1.lock
	shift
	(flock 9 && "$@") 9>"$lock"
}

install_missing() {
	local missing=() p
	for p in "${LAB_PACKAGES[@]}"; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
	done
	[ ${#missing[@]} = 0 ] && return
	say "installing ${missing[*]}"
	apt-get update -qq || die "apt-get update failed: is the package mirror reachable?"
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
		"${missing[@]}" >/dev/null || die "could not install: ${missing[*]}"
}

# debootstrap VARIANT SUITE PACKAGES TARGET
debootstrap() {
	mmdebstrap --quiet --variant="$1" --aptopt='Acquire::Check-Valid-Until "false"' \
		--include="$3" "$2" "$4" "$(mirror)" 2>"$4.log" ||
		die "making $4 failed: $(tail -n 3 "$4.log" | tr '\n' ' ')"
	rm -rf "$4.log" "$4"/var/cache/apt/archives/*.deb "$4"/var/lib/apt/lists/*
}

# make_image PATH FUNCTION: FUNCTION TMP fills a directory that then takes its place at once.
make_image() {
	[ -d "$1" ] || alone "$1" fill_image "$@"
}

fill_image() {
	[ -d "$1" ] && return
	say "making $(basename "$1")"
	rm -rf "$1.tmp"
	"$2" "$1.tmp" || die "making $1 failed"
	mv "$1.tmp" "$1"
}

# CRIU before 4.2 can't dump internet sockets on kernels since 6.16: hence a newer Debian.
fill_host() {
	debootstrap minbase forky "criu,runc,openvpn,keepalived,iproute2,iputils-ping,procps,nftables,openssl,\
tar,gzip,rsync,tini,openssh-server,openssh-client,jq,strace,libssl3t64,libzstd1,libjansson4,libmnl0,\
libinih1,libprotobuf-c1,libsystemd0,libarchive13t64,redis-server,redis-tools,socat,iputils-arping" "$1"
}

fill_game() {
	debootstrap essential bookworm darkplaces-server,ddnet-server "$1"
	rm -rf "$1"/usr/share/{doc,man,locale,ddnet/data/{skins,audio,mapres,countryflags}}
	mkdir -p "$1/usr/share/games"
	cp -a "$DATA_IMAGE" "$1/usr/share/games/nexuiz"
}

fill_player() {
	debootstrap minbase bookworm "darkplaces,xvfb,imagemagick,libgl1-mesa-dri,procps,iproute2,tini,\
x11-utils,iputils-ping" "$1"
	rm -rf "$1"/usr/share/{doc,man,locale}
	mkdir -p "$1/usr/share/games"
	cp -a "$DATA_IMAGE" "$1/usr/share/games/nexuiz"
}

# Of the game's data, what a server on one map and a plain client need: 26 of 700 MB.
fill_data() {
	local work=$1.work
	rm -rf "$work"
	mkdir -p "$work/deb" "$work/pk3"
	(cd "$work" && apt-get download -qq nexuiz-data) || die "could not download nexuiz-data"
	dpkg-deb -x "$work"/nexuiz-data*.deb "$work/deb"
	mkdir -p "$1/data"
	(
		cd "$work/pk3"
		unzip -qq "$work/deb/usr/share/games/nexuiz/data/data.pk3" \
			'*.cfg' '*.dat' '*.txt' '*.db' 'maps/darkzone*' 'models/*' 'gfx/*' 'particles/*' \
			'scripts/*' 'progs/*'
		# The client draws grey where a texture is missing; bigger ones are left out.
		find models gfx \( -name '*.tga' -o -name '*.jpg' \) -size +200k -delete
		rm -rf sound env demos
		zip -qr -1 "$1/data/data.pk3" .
	) || die "cutting the game's data failed"
	rm -rf "$work"
}

# Small C programs of the lab itself, and workloads, built when their source is newer.
build_tools() {
	local src name out flags newest
	mkdir -p "$TOOLS"
	newest=$(find "$LAB" -name '*.h' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)
	for src in "$LAB"/*.c "$LAB"/workloads/*.c; do
		[ -e "$src" ] || continue
		name=$(basename "$src" .c)
		out=$TOOLS/$name
		flags=
		case $src in */workloads/*) flags=-static ;; esac
		[ -z "$(find "$out" -newer "$src" -newer "$newest" 2>/dev/null)" ] || continue
		cc -std=gnu17 -O2 -g -Wall -Wextra $flags -pthread \
			-o "$out.$$" "$src" || die "building $name failed"
		mv "$out.$$" "$out"
	done
}

build_images() {
	local pids=() p
	mkdir -p "$CACHE"
	build_tools
	make_image "$HOST_IMAGE" fill_host &
	pids+=($!)
	make_image "$DATA_IMAGE" fill_data
	make_image "$GAME_IMAGE" fill_game &
	pids+=($!)
	make_image "$PLAYER_IMAGE" fill_player &
	pids+=($!)
	for p in "${pids[@]}"; do
		wait "$p" || die "an image could not be made"
	done
}
