# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The player: the game's real client on a virtual screen, joined and moving, and the meter that
# watches the packets between it and the server from outside of both.

# No gibs and casings: their client's prandomvec() looks for a vector not longer than 1 in a sequence that repeats
# itself after at most some hundred numbers (crc16(), of doubles), and from 19 seeds of 65,536 there is none.
PLAYER_ARGS=(-nexuiz -basedir /usr/share/games/nexuiz -userdir /tmp/player -nosound
	+vid_fullscreen 0 +vid_width 320 +vid_height 240 +cl_maxfps 15 +gl_picmip 10
	+r_shadow_realtime_world 0 +r_shadow_realtime_dlight 0 +r_shadow_shadowmapping 0
	+r_shadow_shadowmapping_texturesize 64 +cl_particles 0 +cl_decals 0 +cl_nogibs 1 +cl_casings 0 +cl_curl_enabled 0
	+_cl_name player +connect "$FLOATING")

in_player() {
	in_host player "$@"
}

# A console command for the client.
player_say() {
	in_player sh -c 'timeout 2 sh -c "printf \"%s\n\" \"\$1\" >/run/console" x "$1"' x "$1"
}

player_joined() {
	in_player grep -q "entered the game\|is now playing\|joined the game\|^player connected" /run/player.log
}

player_start() {
	in_player sh -c 'mkfifo /run/console 2>/dev/null; mkdir -p /tmp/player
		setsid Xvfb :1 -screen 0 320x240x24 -nolisten tcp </dev/null >/run/xvfb.log 2>&1 &'
	wait_for 10 in_player xdpyinfo -display :1 || die "Xvfb did not start"
	in_player env DISPLAY=:1 LIBGL_ALWAYS_SOFTWARE=1 LP_NUM_THREADS=1 SDL_AUDIODRIVER=dummy \
		sh -c 'rm -f /run/player.status
			setsid sh -c "/usr/games/darkplaces \"\$@\" <>/run/console & echo \$! >/run/player.pid
				wait \$!; echo \$? >/run/player.status" x "$@" >/run/player.log 2>&1 &' \
		x "${PLAYER_ARGS[@]}"
	wait_for 30 player_streams || die "the player got no stream: $(in_player tail -n 3 /run/player.log)"
	player_say "cmd join"
	in_player sh -c 'setsid sh -c "
		while kill -0 \$(cat /run/player.pid); do
			for c in +forward +left -left +jump -jump +right -right -forward; do
				timeout 1 sh -c \"echo \$c >/run/console\"; sleep 0.4
			done
		done" </dev/null >/dev/null 2>&1 & echo $! >/run/mover.pid'
}

# A stream from the server: many packets a second at this machine's interface.
player_streams() {
	local a b
	a=$(in_player cat /sys/class/net/eth0/statistics/rx_packets)
	in_player sleep 0.5
	b=$(in_player cat /sys/class/net/eth0/statistics/rx_packets)
	[ $((b - a)) -ge 15 ]
}

# Connected means: the client lives, gets the stream, and never had to connect again. (What the server tells of
# "player" is about one before, who has crashed: it notices after five minutes.)
player_status() {
	local lost
	in_player sh -c 'kill -0 $(cat /run/player.pid)' 2>/dev/null ||
		die "player: its client has ended: status $(in_player cat /run/player.status 2>/dev/null || echo unknown)"
	lost=$(in_player grep -i 'disconnect\|connection timed out\|server is down\|Host_Error' /run/player.log |
		grep -v "player disconnected" || :)
	[ -z "$lost" ] || die "player: lost the connection: $(tail -n 1 <<<"$lost")"
	wait_for 5 player_streams || die "player: gets no packets"
	echo "player: connected"
}

# How many of the player's datagrams the server has missed so far, by their numbers: it says so itself.
player_missed() {
	local said
	wait_for 10 server_statistics || die "player: the server does not answer"
	said=$(server_statistics)
	echo "${said##* }"
}

server_statistics() {
	in_player bash -c "exec 3<>/dev/udp/$FLOATING/$GAME_PORT &&
		printf '\\xff\\xff\\xff\\xffrcon lab net_stats' >&3 &&
		timeout 1 dd bs=65536 count=1 status=none <&3 | grep -a '^droppedDatagrams'"
}

# Of itself, and not of the network or the server: by a signal, or in its QuakeC, after which it shows its menu.
player_crashed() {
	in_player sh -c '[ "$(cat /run/player.status)" -ge 128 ] ||
		grep -q "^QuakeC crash report for client" /run/player.log' 2>/dev/null
}

player_stop() {
	in_player sh -c 'kill $(cat /run/mover.pid /run/player.pid) 2>/dev/null; pkill Xvfb' || :
}

player_screenshot() {
	in_player import -display :1 -window root png:- >"$1" || die "no screenshot"
}

# A peer of the workload "echo", on the player's machine: lab/peer.c.
peer_run() {
	exec nsenter -t "$(host_pid player)" -n "$TOOLS/peer" "$@"
}

# A program of a host's root file system, on the player's machine.
client_run() {
	exec nsenter -t "$(host_pid player)" -n chroot "$HOST_IMAGE" "$@"
}

# Who says that it has ADDRESS, seen from the player's machine: lab/owners.c.
owners_run() {
	exec nsenter -t "$(host_pid player)" -n "$TOOLS/owners" eth0 "$@"
}

gap_start() {
	gap_stop
	nsenter -t "$(host_pid player)" -n "$TOOLS/gapmeter" record eth0 "$FLOATING" "$GAME_PORT" "$1" \
		</dev/null >"$STATE/gap.log" 2>&1 &
	echo $! >"$STATE/gap.pid"
}

gap_stop() {
	local pid
	pid=$(cat "$STATE/gap.pid" 2>/dev/null) || return 0
	kill "$pid" 2>/dev/null || :
	rm -f "$STATE/gap.pid"
}
