# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Hosts: a root file system, namespaces of its own, a cgroup tree of its own, an init that reaps.

# The cgroup2 hierarchy of this machine, wherever it is mounted.
cgroup_root() {
	local root
	root=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
	[ -n "$root" ] || die "no cgroup2 mounted: mount -t cgroup2 none /sys/fs/cgroup"
	echo "$root"
}

# Runs inside the new namespaces, still on this machine's root: builds the host's and enters it.
host_init() {
	local name=$1 image=$2 dir=$3 node
	local root=$dir/root
	mount --make-rprivate /
	mkdir -p "$root" "$dir/disk"
	mount -t tmpfs -o mode=0755 none "$dir/disk"
	mkdir -p "$dir/disk/upper" "$dir/disk/work"
	mount -t overlay -o "lowerdir=$image,upperdir=$dir/disk/upper,workdir=$dir/disk/work" none "$root"
	mount -t proc proc "$root/proc"
	mount -t sysfs sysfs "$root/sys"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
	mount -t tmpfs -o mode=0755 none "$root/run"
	mount -t tmpfs none "$root/tmp"
	mount -t tmpfs -o mode=0755 none "$root/dev"
	for node in null zero full random urandom tty net/tun userfaultfd fuse; do
		[ -e "/dev/$node" ] || continue
		mkdir -p "$root/dev/${node%/*}" 2>/dev/null || :
		[ -d "$root/dev/$node" ] && rmdir "$root/dev/$node"
		touch "$root/dev/$node"
		mount --bind "/dev/$node" "$root/dev/$node"
	done
	mkdir -p "$root/dev/pts" "$root/dev/shm" "$root/srv"
	mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
	ln -s pts/ptmx "$root/dev/ptmx"
	ln -s /proc/self/fd "$root/dev/fd"
	mount -t tmpfs none "$root/dev/shm"
	mount --rbind "$dir/srv" "$root/srv"
	hostname "$name"
	echo "$name" >"$root/etc/hostname"
	ip link set lo up
	cd "$root"
	mkdir -p .old
	pivot_root . .old
	umount -l .old
	exec /usr/bin/tini -- sleep infinity </dev/null >/dev/null 2>&1
}

# host_start NAME IMAGE: returns when its init runs.
host_start() {
	local name=$1 image=$2 cg dir=$STATE/hosts/$1
	host_pid "$name" >/dev/null && return
	rm -rf "$dir"
	mkdir -p "$dir/srv"
	cg=$(cgroup_root)/$LAB_NAME/$name
	mkdir -p "$cg"
	(
		echo 0 >"$cg/cgroup.procs"
		exec unshare --mount --pid --fork --uts --ipc --net --cgroup --kill-child \
			bash "$LAB/lab" host-init "$name" "$image" "$dir" </dev/null 9<&- \
			>"$dir/log" 2>&1
	) &
	echo $! >"$dir/outer"
	wait_for 20 host_ready "$name" || die "host $name did not start: $(tail -n 3 "$dir/log")"
}

# Its init is the only child of unshare, and is tini once the root has been entered.
host_ready() {
	local pid
	pid=$(pgrep -P "$(cat "$STATE/hosts/$1/outer")" | head -n 1) || return 1
	[ "$(cat "/proc/$pid/comm")" = tini ] || return 1
	echo "$pid" >"$STATE/hosts/$1/pid"
}

# Ends a host: its pid namespace goes with its init.
host_stop() {
	local dir=$STATE/hosts/$1 cg pid
	cg=$(cgroup_root)/$LAB_NAME/$1
	pid=$(cat "$dir/outer" 2>/dev/null) && kill -9 "$pid" 2>/dev/null
	[ -e "$cg/cgroup.kill" ] && echo 1 >"$cg/cgroup.kill"
	wait_for 10 cgroup_empty "$cg" || say "host $1 has processes left"
	[ -d "$cg" ] && find "$cg" -depth -type d -exec rmdir {} + 2>/dev/null
	rm -rf "$dir"
}

cgroup_empty() {
	[ ! -d "$1" ] || grep -q '^populated 0' "$1/cgroup.events"
}

# Copies a godwit binary to every site.
push_godwit() {
	local bin=${1:-$REPO/build/godwit} site
	[ -x "$bin" ] || die "no godwit at $bin: build it first (meson setup build && ninja -C build)"
	for site in $(sites); do
		in_host "$site" sh -c 'cat >/usr/bin/godwit.new && chmod 755 /usr/bin/godwit.new &&
			mv /usr/bin/godwit.new /usr/bin/godwit' <"$bin" || die "copying godwit to $site failed"
	done
}

# Starts an agent in every site and lets each pair trust each other, as two admins would.
start_agents() {
	local a b
	for a in $(sites); do
		for b in $(sites); do
			[ "$a" = "$b" ] && continue
			in_host "$a" godwit peer add "$b" "$b" \
				"$(in_host "$b" godwit id --json | jq -r .fingerprint)" >/dev/null
		done
	done
	for a in $(sites); do
		agent_start "$a"
	done
}

agent_start() {
	in_host "$1" sh -c 'setsid godwit agent </dev/null >/var/log/godwit-agent.log 2>&1 &'
	wait_for 10 in_host "$1" sh -c 'ss -Hltn sport = :7342 | grep -q .' ||
		die "no agent at $1: $(in_host "$1" tail -n 3 /var/log/godwit-agent.log)"
}
