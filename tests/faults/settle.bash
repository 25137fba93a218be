# shellcheck shell=bash disable=SC2154,SC2034
# SPDX-License-Identifier: Apache-2.0
# Faults of the link and of processes, and what is done after a fault: $container is who was to move, $from where to $to, $work a
# directory with the command's output in out. Needs quick.bash.

JOURNAL=/var/lib/godwit/journal
MOVE_S=60 # of a migration with its fault, and of what settles it

# The kernel ends all connections with a reset.
cut_link() {
	both sh -c 'ss -K dport = :7342; ss -K sport = :7342' >/dev/null
}

silence() {
	at tuebingen nft -f - <<-'N'
		table inet silence {
			chain in { type filter hook input priority 0; tcp dport 7342 drop; tcp sport 7342 drop; }
			chain out { type filter hook output priority 0; tcp sport 7342 drop; tcp dport 7342 drop; }
		}
	N
}

speak() {
	at tuebingen nft delete table inet silence
}

# hit_side SIGNAL SITE...: godwit's process for this migration there, the newest; fails when there is none but
# the agent on each of them.
hit_side() {
	local signal=$1 site struck=1
	shift
	for site in "$@"; do
		# shellcheck disable=SC2016  # expands there
		if at "$site" sh -c 'newest=$(pgrep -n -x godwit)
			[ "$newest" != "$(pgrep -o -x godwit)" ] && kill -"$1" "$newest"' x "$signal"; then struck=0; fi
	done
	return $struck
}

# As the message of a doubt tells a person to.
settle_by_hand() {
	helped="by hand"
	if runs_at "$to" "$container"; then
		at "$from" runc delete --force "$container"
	else
		at "$to" runc delete --force "$container"
		at "$from" runc resume "$container"
	fi
	both sh -c "rm -f $JOURNAL/*"
}

# is_settled SITE: waits until nothing of godwit's but the agent is there; fails when that doesn't come, or
# a journal says that something is open.
is_settled() {
	no_handlers "$1" "[ -z \"\$(ls $JOURNAL)\" ]"
}

# What is not settled by itself is by `godwit recover`, on either host, else by hand.
settle() {
	helped=''
	if is_settled "$from" && is_settled "$to"; then return; fi
	helped=recover
	for site in "$from" "$to"; do
		run at "$site" timeout $MOVE_S godwit recover
		printf '%s\n' "recover at $site: $output" >>"$work/out"
	done
	if is_settled "$from" && is_settled "$to"; then return; fi
	both sh -c "cd $JOURNAL && grep -H step *" >>"$work/out" || :
	if grep -q 'in doubt' "$work/out"; then settle_by_hand; fi
}

# find_owner: $owner; fails with $why unless one host has the container, and runs it.
find_owner() {
	local site has=()
	for site in strasbourg tuebingen; do
		if at "$site" [ -e "/run/runc/$container" ]; then has+=("$site"); fi
	done
	owner=${has[0]:-}
	[ ${#has[@]} = 1 ] || { owner='' && why="it is on: ${has[*]:-no host}" && return 1; }
	runs_at "$owner" "$container" || { why="it does not run at $owner" && return 1; }
}

# clear_leftovers SITE: all of godwit's but the agent, its journal, and a silence.
clear_leftovers() {
	# shellcheck disable=SC2016  # expands there
	at "$1" sh -c 'for p in $(pgrep "^godwit"); do [ "$p" = "$(pgrep -x -o godwit)" ] || kill -9 $p; done
		nft delete table inet silence 2>/dev/null
		rm -f "$1"/*' x "$JOURNAL"
}
