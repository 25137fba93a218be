# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# For the end-to-end tests: the lab is up when they run, with nothing in it.

LAB=$(cd "$BATS_TEST_DIRNAME/../../lab" && pwd)
# shellcheck source=lab/lib/common.sh
. "$LAB/lib/common.sh"
export LAB_QUIET=1

lab() {
	"$LAB/lab" "$@"
}

# As lab exec, without its start: tests ask hosts by the thousand.
at() {
	in_host "$@"
}

other_site() {
	if [ "$1" = strasbourg ]; then echo tuebingen; else echo strasbourg; fi
}

# migrate FROM TO CONTAINER OPTIONS...: output in $output, exit code in $status.
migrate() {
	local from=$1 to=$2 name=$3
	shift 3
	run at "$from" timeout 120 godwit migrate "$@" "$name" "$to"
}

# What a host has, and its agent has open: nothing of this may differ after a migration has come and gone.
host_state() {
	# shellcheck disable=SC2016  # expands there
	at "$1" sh -c '
		ps -eo args= | grep -vE "^\[?(ps|sh|grep|sort)[] ]|^sort$|^/?checker|^\[(checker|exe)\]" | sort
		cut -d" " -f2,3 /proc/self/mounts | sort
		find /sys/fs/cgroup -mindepth 1 -type d | sort
		ip -o addr | sed "s/ *valid_lft.*//; s/^[0-9]*: //" | grep -v fe80 | sort
		ip route | sort
		nft list ruleset
		find /run /tmp /var/lib/godwit /etc/godwit /etc/criu -xdev 2>/dev/null |
			grep -vE "^/run/[a-z.]*log$|^/run/(criu.kdat|runc|godwit(/doors|/empty|/work)?)$|^/var/lib/godwit(/journal)?$" |
			sort
		find /proc/$(pgrep -x -o godwit)/fd -type l -printf "%l\n" | sed "s/[0-9]*//g" | sort'
}

# In kB.
agent_memory() {
	# shellcheck disable=SC2016
	at "$1" sh -c 'sed -n "s/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p" /proc/$(pgrep -x -o godwit)/status'
}

# The target's process announces the address for a second after the source's command has ended.
# A keeper, its anchor and a guard end after the process that they belong to.
no_handlers() {
	[ "$(at "$1" pgrep -c '^godwit')" = 1 ]
}

save_state() {
	local site
	for site in strasbourg tuebingen; do
		wait_until no_handlers "$site"
		host_state "$site" >"$BATS_TEST_TMPDIR/$site"
		agent_memory "$site" >"$BATS_TEST_TMPDIR/$site.memory"
	done
}

# wait_until COMMAND...: up to 45 seconds, which a machine that is busy with something else may need.
wait_until() {
	local _
	for _ in $(seq 450); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.1
	done
	"$@"
}

# same_state: nothing was left behind since save_state, and the agent is not larger than by a MB.
same_state() {
	local site
	for site in strasbourg tuebingen; do
		wait_until no_handlers "$site"
		diff -U0 --label "$site before" --label "$site after" "$BATS_TEST_TMPDIR/$site" \
			<(host_state "$site") || return 1
		[ "$(agent_memory "$site")" -le $(($(cat "$BATS_TEST_TMPDIR/$site.memory") + 1024)) ] || {
			echo "the agent of $site has grown"
			return 1
		}
	done
}

container_pid() {
	at "$1" runc state "$2" | jq -r .pid
}

# The container runs where it ran, as the same process, and is neither frozen nor paused.
assert_untouched() {
	[ "$(container_pid "$1" "$2")" = "$3" ]
	[ "$(at "$1" runc state "$2" | jq -r .status)" = running ]
	at "$1" sh -c "grep -q 'frozen 0' /sys/fs/cgroup/$2/cgroup.events"
}

# The last command has succeeded. If not, the reason is at its output's end, and a report of many failures may be cut.
assert_success() {
	[ "$status" = 0 ] || {
		printf 'status %s:\n%s\nall of it:\n%s\n' "$status" "$(tail -n 4 <<<"$output")" "$output"
		return 1
	}
}

# assert_says TEXT...: the last output has each of them.
assert_says() {
	local text
	for text in "$@"; do
		[[ $output == *"$text"* ]] || {
			echo "expected: $text"
			echo "output: $output"
			return 1
		}
	done
}

# The checker has verified all of its memory once more, from beginning to end; or another workload that does.
# checker_verifies SITE [CONTAINER]
checker_verifies() {
	# shellcheck disable=SC2016  # expands there
	at "$1" sh -c 'status=/proc/$(jq .init_process_pid "/run/runc/$1/state.json")/root/run/status
		for i in $(seq 1200); do
			if [ -s $status ]; then
				read -r ok now rest <$status
				[ "$ok" = ok ] || break
				now=${now%,} first=${first:-$now}
				[ "$now" -lt $((first + 2)) ] || exit 0
			fi
			sleep 0.05
		done
		cat $status
		exit 1' x "${2:-checker}"
}

start_checker() {
	lab workload start strasbourg checker 3 24 "${GODWIT_CHECKER_SEED:-1}" 24
	checker_verifies strasbourg
}

# The same things, but fewer at a time, which leave the processors to what is tested.
start_calm_checker() {
	lab workload start strasbourg checker 2 24 "${GODWIT_CHECKER_SEED:-1}" 0 4
	checker_verifies strasbourg
}

# start_migration CONTAINER OPTIONS...: from strasbourg in the background; its output goes to a file
# outside of the hosts.
start_migration() {
	start_migration_from strasbourg "$@"
}

start_migration_from() {
	start_migration_to "$1" "$(other_site "$1")" "${@:2}"
}

start_migration_to() {
	local from=$1 target=$2 name=$3
	shift 3
	at "$from" godwit migrate "$@" "$name" "$target" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	job=$!
}

# wait_phase WORD: until the migration has said so.
wait_phase() {
	for _ in $(seq 1000); do
		grep -q "^$1" "$BATS_TEST_TMPDIR/out" && return
		sleep 0.01
	done
	cat "$BATS_TEST_TMPDIR/out"
	return 1
}

# wait_phase_long WORD: rounds take some seconds; a silent link is noticed after 20.
wait_phase_long() {
	wait_phase "$1" || wait_phase "$1" || wait_phase "$1"
}

# start_slow_mem, stop_slow_mem: a container over a link on which its drain takes seconds.
start_slow_mem() {
	lab workload start strasbourg mem 400 20 random
	sleep 1
	save_state
	lab link tuebingen --rate 400
}

stop_slow_mem() {
	local site
	lab link tuebingen --clear
	for site in strasbourg tuebingen; do
		lab workload stop "$site" mem
		at "$site" sh -c 'rm -f /var/lib/godwit/journal/*'
	done
}

# start_drain MODE: the calm checker's. In mode hybrid the rounds before take seconds, and some of the rest has gone
# by then. The drain lasts until let_drain or end_migration.
start_drain() {
	local mbit=100
	[ "$1" != hybrid ] || mbit=150
	start_migration checker --mode "$1" --max-downtime 60000 --bandwidth $mbit
	wait_phase_long drain
	drain_waits=yes
	lab link tuebingen --rate 20
	sleep 0.3
}

let_drain() {
	[ -z "${drain_waits:-}" ] || lab link tuebingen --clear
	drain_waits=
}

end_migration() {
	let_drain
	status=0
	wait "$job" || status=$?
	output=$(cat "$BATS_TEST_TMPDIR/out")
	echo "status $status: $output"
}
