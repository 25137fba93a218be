# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Containers: bundles made as in the talk, a root file system from the package manager and a
# config.json from a generator, and how each workload is started, watched and stopped.

# bundle_config ROOTFS_READONLY TMPFS ADDRESS ARGS...: a config.json on stdout, from runc's own
# template: host network, no terminal, tmpfs where the game writes. $BUNDLE_EDIT is a jq filter for
# what else is to be changed.
bundle_config() {
	local tmpfs=$1 address=$2
	shift 2
	in_host "$(first_site)" sh -c 'd=$(mktemp -d) && cd "$d" && runc spec && cat config.json && rm -r "$d"' |
		jq --arg tmpfs "$tmpfs" --arg address "$address" '
		.process.terminal = false
		| .process.args = $ARGS.positional
		| .process.rlimits = []
		| .root = {path: "rootfs", readonly: true}
		| .linux.namespaces |= map(select(.type != "network"))
		| .mounts |= map(select(.type != "cgroup"))
		| .mounts += ($tmpfs | split(" ") | map({destination: ., type: "tmpfs", source: "tmpfs",
			options: ["nosuid", "nodev", "mode=1777"]}))
		| if $address == "" then . else .annotations["org.godwit.address"] = $address end
		| '"${BUNDLE_EDIT:-.}" --args -- "$@"
}

# bundle NAME ROOTFS TMPFS ADDRESS ARGS...: at /srv/NAME on every site, with a rootfs of its own.
bundle() {
	local name=$1 rootfs=$2 site dir
	shift 2
	bundle_config "$@" >"$STATE/config.json" || die "config.json of $name"
	for site in $(sites); do
		dir=$STATE/hosts/$site/srv/$name
		[ -d "$dir/rootfs" ] || { mkdir -p "$dir" && cp -a "$rootfs" "$dir/rootfs"; }
		cp "$STATE/config.json" "$dir/config.json"
	done
}

game_args() {
	printf '%s\n' -userdir /tmp +log_file server.log +sv_public 0 +net_address "$FLOATING" \
		+skill 5 +bot_join_empty 1 +bot_number 8 +maxplayers 16 +rcon_password lab \
		+rcon_secure 0 +fraglimit_override 0 +timelimit_override 0 +map darkzone
}

game_bundle() {
	local args
	mapfile -t args < <(game_args)
	if [ -n "${XONOTIC:-}" ]; then
		[ -x "$XONOTIC/xonotic-linux64-dedicated" ] ||
			die "no xonotic-linux64-dedicated in $XONOTIC"
		bundle xonotic "$GAME_IMAGE" "/tmp /run" "$FLOATING/24 dev br0" \
			/usr/share/games/xonotic/xonotic-linux64-dedicated \
			-basedir /usr/share/games/xonotic "${args[@]}"
		for site in $(sites); do
			cp -a "$XONOTIC" "$STATE/hosts/$site/srv/xonotic/rootfs/usr/share/games/xonotic"
		done
	else
		bundle xonotic "$GAME_IMAGE" "/tmp /run" "$FLOATING/24 dev br0" \
			/usr/games/darkplaces-server -nexuiz -basedir /usr/share/games/nexuiz "${args[@]}"
	fi
}

# Static programs share a root file system of nothing but themselves.
tiny_rootfs() {
	local dir=$STATE/tiny w
	[ -d "$dir" ] && return
	build_tools
	mkdir -p "$dir"/{proc,sys,dev,run,tmp,etc}
	for w in "$LAB"/workloads/*.c; do
		cp "$TOOLS/$(basename "$w" .c)" "$dir/"
	done
}

# redis as a host has it, with the libraries that it needs, and the program that watches it.
redis_rootfs() {
	local dir=$STATE/redis
	[ -d "$dir" ] && return
	tiny_rootfs
	cp -a "$STATE/tiny" "$dir.new"
	in_host "$(first_site)" sh -c 'tar -chf - $(ldd "$@" | grep -o "/[^ :]*" | sort -u)' x \
		/usr/bin/redis-server /usr/bin/redis-benchmark 2>/dev/null | tar -C "$dir.new" -xf - ||
		die "copying redis failed"
	mv "$dir.new" "$dir"
}

# So that checker can let a process have the pid of one that has ended, and lock large regions.
CHECKER_EDIT='.process.capabilities |= map_values(. + ["CAP_CHECKPOINT_RESTORE", "CAP_IPC_LOCK"])'

# workload_bundle ADDRESS NAME ARGS...
workload_bundle() {
	local address=$1 name=$2
	shift 2
	case $name in
	ddnet) bundle ddnet "$GAME_IMAGE" "/tmp /run /root" "" /usr/games/DDNet-Server \
		"sv_port 8303;sv_register 0;sv_map dm1" ;;
	echo)
		tiny_rootfs
		bundle echo "$STATE/tiny" "/run /tmp" "$FLOATING/24 dev br0$vrrp" /echo "$FLOATING" "$ECHO_PORT" "$@"
		;;
	echo6)
		tiny_rootfs
		bundle echo6 "$STATE/tiny" "/run /tmp" "$FLOATING6/64 dev br0$vrrp" /echo "$FLOATING6" "$ECHO_PORT" "$@"
		;;
	echo-own)
		tiny_rootfs
		bundle echo-own "$STATE/tiny" "/run /tmp" "" /echo :: "$ECHO_PORT" "$@"
		;;
	checker | mem | bigtmpfs | advisor | edge)
		tiny_rootfs
		[ "$name" != checker ] || local BUNDLE_EDIT=${BUNDLE_EDIT:-$CHECKER_EDIT}
		bundle "$name" "$STATE/tiny" "/run /tmp" "$address" "/$name" "$@"
		;;
	redis)
		redis_rootfs
		bundle redis "$STATE/redis" "/run /tmp" "$address" /redis "$@"
		;;
	redis-net)
		redis_rootfs
		bundle redis-net "$STATE/redis" "/run /tmp" "$FLOATING/24 dev br0" /usr/bin/redis-server \
			--bind "$FLOATING" --protected-mode no --save "" --enable-debug-command yes "$@"
		;;
	*) die "no workload \"$name\"; there are: checker, mem, bigtmpfs, advisor, edge, redis, redis-net, echo, echo6, echo-own, ddnet" ;;
	esac
}

# The address of a container's annotation, on its host's bridge.
container_address() {
	local config=$STATE/hosts/$1/srv/$2/config.json
	[ ! -e "$config" ] || jq -r '.annotations["org.godwit.address"] // empty | split(" ")[0]' "$config"
}

container_has_vrrp() {
	grep -qs '"org.godwit.address": ".* vrrp ' "$STATE/hosts/$1/srv/$2/config.json"
}

container_start() {
	local site=$1 name=$2 address
	address=$(container_address "$site" "$name")
	if container_has_vrrp "$site" "$name"; then
		in_host "$site" sh -c "echo 1 >/run/vrrp-$VRRP.track"
		wait_for 10 vrrp_is "$site" MASTER || die "keepalived at $site does not become MASTER: $(in_host "$site" \
			sh -c "grep -H . /run/vrrp-*; pgrep -a keepalived; tail -n 8 /var/log/keepalived.log" 2>&1)"
	elif [ -n "$address" ]; then
		in_host "$site" ip addr add "$address" dev br0 nodad 2>/dev/null || :
		in_host "$site" arping -q -c 1 -A -I br0 "${address%/*}" 2>/dev/null || :
	fi
	# A file outside the container as its output could not be dumped.
	in_host "$site" sh -c "runc --log /run/$name.log run -d --bundle /srv/$name $name \
		</dev/null >/dev/null 2>&1" ||
		die "starting $name at $site: $(in_host "$site" cat "/run/$name.log")"
}

container_stop() {
	local address
	in_host "$1" runc delete --force "$2" 2>/dev/null || :
	in_host "$1" ip netns del "$2" 2>/dev/null || :
	address=$(container_address "$1" "$2")
	if container_has_vrrp "$1" "$2"; then
		in_host "$1" sh -c "echo 0 >/run/vrrp-$VRRP.track"
		return
	fi
	[ -z "$address" ] || in_host "$1" ip addr del "$address" dev br0 2>/dev/null || :
}

# Where a container runs, as "SITE", or nothing.
container_site() {
	local site
	for site in $(sites); do
		[ "$(in_host "$site" runc state "$1" 2>/dev/null | jq -r .status)" = running ] && echo "$site"
	done
	return 0
}

game_answers() {
	in_host player bash -c "exec 3<>/dev/udp/$FLOATING/$GAME_PORT &&
		printf '\\xff\\xff\\xff\\xffgetinfo x' >&3 && timeout 1 head -c 16 <&3 | grep -q infoResp"
}

game_start() {
	local site=$1
	need_site "$site"
	container_start "$site" xonotic
	wait_for 20 game_answers || die "the game does not answer at $FLOATING:$GAME_PORT"
}

# workload_listens SITE NAME
workload_listens() {
	local pid
	pid=$(in_host "$1" runc state "$2" | jq -r .pid)
	in_host "$1" nsenter -t "$pid" -n ss -Hltn "sport = :$ECHO_PORT" | grep -q .
}

# workload_start [--floating | --vrrp | --own veth|macvlan] SITE NAME ARGS...; with --vrrp echo's address is
# keepalived's.
workload_start() {
	local address= own= site vrrp=
	case $1 in
	--floating) address="$FLOATING/24 dev br0" && shift ;;
	--vrrp) vrrp=" vrrp $VRRP" && shift ;;
	--own) own=$2 && shift 2 ;;
	esac
	need_site "$1"
	if [ -n "$own" ]; then
		local BUNDLE_EDIT
		BUNDLE_EDIT=".annotations[\"org.godwit.network\"] = \"$(own_network "$own")\"
			| .linux.namespaces += [{type: \"network\", path: \"/run/netns/$2\"}]"
		[ "$own" = veth ] || for site in $(sites); do
			card_up "$site"
		done
		own_network_up "$1" "$2" "$own"
	fi
	workload_bundle "$address" "${@:2}"
	container_start "$1" "$2"
	[[ $2 != echo* ]] || wait_for 20 workload_listens "$1" "$2" || die "$2 does not listen at $1"
}

# The workloads check themselves and say so in /run/status of their own root; ddnet listens.
workload_check() {
	local pid status
	need_site "$1"
	pid=$(in_host "$1" runc state "$2" 2>/dev/null | jq -r '.pid // 0')
	[ "$pid" -gt 0 ] 2>/dev/null || die "$2 does not run at $1"
	if [ "$2" = ddnet ]; then
		in_host "$1" ss -Hlun "sport = :8303" | grep -q . || die "ddnet does not listen at $1"
		echo "ok, $(in_host "$1" ls "/proc/$pid/task" | wc -l) threads"
		return
	fi
	status=$(in_host "$1" cat "/proc/$pid/root/run/status") || die "$2 has no status"
	echo "$status"
	[[ $status == ok* ]]
}
