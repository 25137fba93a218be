# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Networks: an "internet" between the sites, a LAN in each, a layer-2 tunnel that makes the LANs one.

in_internet() {
	ip netns exec "$INTERNET" "$@"
}

internet_up() {
	ip netns add "$INTERNET"
	in_internet ip link set lo up
	in_internet ip link add inet0 type bridge
	in_internet ip link set inet0 up
}

# wire HOST INTERFACE PORT: a cable from a host's new interface to a new port of the internet.
wire() {
	ip -n "$INTERNET" link add "$3" type veth peer name "$2" netns "$(host_pid "$1")"
}

site_wan_up() {
	local site=$1 n other
	n=$(site_number "$site")
	wire "$site" wan0 "w-$n"
	in_internet ip link set "w-$n" master inet0 up
	in_host "$site" sh -e <<-E
		ip link set wan0 up
		ip addr add $WAN.$n/24 dev wan0
		echo 127.0.0.1 localhost >/etc/hosts
	E
	for other in $(sites); do
		echo "$WAN.$(site_number "$other") $other"
	done | in_host "$site" sh -c 'cat >>/etc/hosts'
}

site_lan_up() {
	local n
	n=$(site_number "$1")
	in_host "$1" sh -e <<-E
		ip link add br0 type bridge
		ip link set br0 address 02:10:00:00:00:0$n
		ip link set br0 up
		ip addr add $LAN.$n/24 dev br0
		ip addr add $LAN6$n/64 dev br0 nodad
	E
}

# A key pair for the tunnel, as the guide makes it; prints the fingerprint.
tunnel_key() {
	in_host "$1" sh -e <<-E
		mkdir -p /etc/openvpn/godwit
		cd /etc/openvpn/godwit
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
			-subj "/CN=$1" -keyout host.key -out host.crt 2>/dev/null
		chmod 600 host.key
		openssl x509 -in host.crt -noout -fingerprint -sha256 | sed 's/.*=//'
	E
}

# tunnel_config SITE ROLE: the examples as they are, with the peer's name put in.
tunnel_config() {
	in_host "$1" sh -c 'cat >/etc/openvpn/godwit/bridge-up && chmod 755 /etc/openvpn/godwit/bridge-up' \
		<"$REPO/examples/openvpn/bridge-up"
	in_host "$1" sh -c 'cat >/etc/openvpn/godwit.conf' <"$REPO/examples/openvpn/$2.conf"
	in_host "$1" sh -c "echo '$3' | tr -d ' ' | sed 's/^/<peer-fingerprint>\n/; s/\$/\n<\/peer-fingerprint>/' \
		>>/etc/openvpn/godwit.conf"
}

tunnel_up() {
	local server client fs fc
	server=$(first_site)
	for client in $(sites | tail -n +2); do
		fs=$(tunnel_key "$server")
		fc=$(tunnel_key "$client")
		tunnel_config "$server" server "$fc"
		tunnel_config "$client" client "$fs"
		for site in "$server" "$client"; do
			in_host "$site" openvpn --config /etc/openvpn/godwit.conf --daemon \
				--log /var/log/openvpn.log --writepid /run/openvpn.pid ||
				die "openvpn at $site: $(in_host "$site" tail -n 3 /var/log/openvpn.log)"
		done
	done
}

tunnel_ready() {
	local n
	n=$(site_number "$(sites | tail -n 1)")
	in_host "$(first_site)" ping -c 1 -W 1 "$LAN.$n"
}

# keepalived with the example's files as they are.
keepalived_start() {
	local f
	for f in keepalived.conf vrrp-state; do
		in_host "$1" sh -c "mkdir -p /etc/keepalived && cat >/etc/keepalived/$f" <"$REPO/examples/keepalived/$f"
	done
	in_host "$1" sh -c 'chmod 755 /etc/keepalived/vrrp-state
		setsid keepalived --dont-fork --log-console --log-detail </dev/null >/var/log/keepalived.log 2>&1 &'
	wait_for 10 vrrp_is "$1" "MASTER\|BACKUP" || die "keepalived at $1: $(in_host "$1" tail -n 3 /var/log/keepalived.log)"
}

# keepalived_stop SITE [kill]: as its user stops it; or as if the host had died.
keepalived_stop() {
	in_host "$1" sh -c "pkill -${2:-TERM} -x keepalived; rm -f /run/vrrp-$VRRP.track" || :
	wait_for 10 no_keepalived "$1" || die "keepalived at $1 does not end"
}

no_keepalived() {
	! in_host "$1" sh -c "pgrep -x keepalived || ls /run/vrrp-$VRRP.state"
}

# vrrp_is SITE STATE
vrrp_is() {
	in_host "$1" grep -qx "$2" "/run/vrrp-$VRRP.state"
}

# A player's machine on the first site's LAN.
player_net_up() {
	local pid
	pid=$(host_pid player)
	nsenter -t "$(host_pid "$(first_site)")" -n ip link add lan-p type veth peer name eth0 netns "$pid"
	in_host "$(first_site)" ip link set lan-p master br0 up
	in_host player ip link set eth0 up
	in_host player ip addr add "$LAN.50/24" dev eth0
	in_host player ip addr add "${LAN6}50/64" dev eth0 nodad
}

# card_up SITE: a network card nic0 that is plugged into the LAN, as a macvlan needs one. It doesn't answer
# for the host's other addresses (arp_ignore).
card_up() {
	in_host "$1" sh -e <<-'E'
		[ ! -e /sys/class/net/nic0 ] || exit 0
		ip link add nic0 type veth peer name nic0-lan
		echo 1 >/proc/sys/net/ipv4/conf/nic0/arp_ignore
		ip link set nic0-lan master br0 up
		ip link set nic0 up
	E
}

# own_network KIND: what a container's own network is, for its annotation.
own_network() {
	local parent=br0
	[ "$1" = veth ] || parent=nic0
	echo "$1 eth0 $parent mac $OWN_MAC address $OWN/24 address $OWN6/64 \
route default via $LAN.1 route default via ${LAN6}1"
}

# own_network_up SITE NAME KIND: made as an administrator would.
own_network_up() {
	local link="link add link nic0 name eth0 netns $2 address $OWN_MAC type macvlan mode bridge"
	[ "$3" = macvlan ] ||
		link="link add veth-$2 type veth peer name eth0 netns $2 address $OWN_MAC"
	in_host "$1" sh -e <<-E
		ip netns add $2
		ip $link
		[ $3 = macvlan ] || ip link set veth-$2 master br0 up
		ip -n $2 link set lo up
		ip -n $2 link set eth0 up
		ip -n $2 addr add $OWN/24 dev eth0
		ip -n $2 addr add $OWN6/64 dev eth0 nodad
		ip -n $2 route add default via $LAN.1
		ip -n $2 route add default via ${LAN6}1
	E
}

# link SITE [--delay MS] [--jitter MS] [--loss PERCENT] [--rate MBIT] | --clear: both directions,
# each for itself; what isn't named is as it was made.
link_set() {
	local site=$1 n delay=0 jitter=0 loss=0 rate=
	need_site "$site"
	n=$(site_number "$site")
	shift
	while [ $# -gt 0 ] && [ "$1" != --clear ]; do
		case $1 in
		--delay) delay=${2:-} ;;
		--jitter) jitter=${2:-} ;;
		--loss) loss=${2:-} ;;
		--rate) rate=${2:-} ;;
		*) die "link: unknown option $1; known: --delay MS --jitter MS --loss PERCENT --rate MBIT --clear" ;;
		esac
		[[ ${2:-} =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "link: $1 wants a number"
		shift 2
	done
	link_clear "$site" "$n"
	[ $# = 0 ] || return 0
	[ "$delay$jitter$loss" = 000 ] || link_impair "$site" "$n" "$delay" "$jitter" "$loss"
	[ -z "$rate" ] || link_rate "$site" "$n" "$rate"
}

# The cable is cut and a program put between its ends. What it gets must be whole frames: no larger
# than the link's, and with the checksums that a virtual cable otherwise leaves out.
link_impair() {
	local site=$1 n=$2
	in_internet ip link set "w-$n" nomaster
	in_internet ip link add "i-$n" type veth peer name "j-$n"
	in_internet ip link set "i-$n" up
	in_internet ip link set "j-$n" master inet0 up
	nsenter -t "$(host_pid "$site")" -n ethtool -K wan0 tx off tso off gso off gro off >/dev/null
	in_internet sh -c "for i in w-$n i-$n j-$n; do ethtool -K \$i tx off tso off gso off gro off; done" >/dev/null
	# Not through a function: that would be the child whose pid this is.
	rm -f "$STATE/impair-$n.log"
	ip netns exec "$INTERNET" "$TOOLS/impair" "w-$n" "i-$n" "$3" "$4" "$5" </dev/null >"$STATE/impair-$n.log" 2>&1 &
	echo $! >"$STATE/impair-$n.pid"
	wait_for 5 grep -q ready "$STATE/impair-$n.log" || die "link: $(cat "$STATE/impair-$n.log")"
}

link_rate() {
	nsenter -t "$(host_pid "$1")" -n tc qdisc replace dev wan0 root tbf \
		rate "$3mbit" burst 64kb latency 100ms
	in_internet tc qdisc replace dev "w-$2" root tbf rate "$3mbit" burst 64kb latency 100ms
}

link_clear() {
	local n=$2 pid
	nsenter -t "$(host_pid "$1")" -n sh -c 'tc qdisc del dev wan0 root;
		ethtool -K wan0 tx on tso on gso on gro on' >/dev/null 2>&1 || :
	in_internet tc qdisc del dev "w-$n" root 2>/dev/null || :
	if pid=$(cat "$STATE/impair-$n.pid" 2>/dev/null); then
		kill "$pid" 2>/dev/null || :
		rm -f "$STATE/impair-$n.pid"
		in_internet ip link del "i-$n" 2>/dev/null || :
		in_internet ethtool -K "w-$n" tx on tso on gso on gro on >/dev/null 2>&1 || :
	fi
	in_internet ip link set "w-$n" master inet0
}
