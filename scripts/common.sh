# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What ./demo and ./test share: messages, packages, building.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# shellcheck disable=SC2034  # used where this is sourced
BUILD_PACKAGES=(gcc libc6-dev meson ninja-build pkg-config libssl-dev libzstd-dev libjansson-dev
	libmnl-dev libinih-dev protobuf-c-compiler libprotobuf-c-dev libsystemd-dev libarchive-dev scdoc)

die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

step() {
	if [ -t 1 ]; then printf '\033[1m%s\033[0m\n' "$*"; else printf '%s\n' "$*"; fi
}

need_root() {
	[ "$(id -u)" = 0 ] ||
		die "needs root: it makes namespaces and mounts for the lab; run: sudo $0"
}

need_debian() {
	command -v apt-get >/dev/null || die "needs Debian 12 or 13: it installs packages with apt-get"
}

# install PACKAGE...: those that are missing.
install_packages() {
	local missing=() p
	for p in "$@"; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	step "installing ${missing[*]}"
	apt-get update -qq || die "apt-get update failed: is the package mirror reachable?"
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
		"${missing[@]}" >/dev/null || die "could not install: ${missing[*]}"
}

# build DIRECTORY MESON-OPTIONS... [-- TARGETS...]: configured once, then brought up to date.
build() {
	local dir=$1 log options=()
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		options+=("$1") && shift
	done
	log=$dir.log
	mkdir -p "$(dirname "$dir")"
	{ [ -e "$dir/build.ninja" ] || meson setup "${options[@]}" "$dir" "$REPO"; } >"$log" 2>&1 &&
		ninja -C "$dir" "${@:2}" >>"$log" 2>&1 || {
		tail -n 20 "$log" >&2
		die "the build failed; the whole log is $log"
	}
}
