# shellcheck shell=bash disable=SC2154,SC2034
# SPDX-License-Identifier: Apache-2.0
# Faults of the link, and what is done after a fault: $container is who was to move, $from where to $to, $work a
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
