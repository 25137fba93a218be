# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The helpers of the end-to-end tests, quicker than with a lab command for each: for what is done hundreds
# of times.

BATS_TEST_DIRNAME=$(cd "$(dirname "${BASH_SOURCE[0]}")/../e2e" && pwd)
# shellcheck source=tests/e2e/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"
LAB=$(cd "$BATS_TEST_DIRNAME/../../lab" && pwd)
# shellcheck source=lab/lib/common.sh
. "$LAB/lib/common.sh"

SETTLE_S=10 # for guards and keepers to end

at() {
	in_host "$@"
}

lab() {
	"$LAB/lab" "$@"
}

# in_time SITE CONDITION: up to SETTLE_S seconds there, for a shell's condition.
in_time() {
	at "$1" timeout $SETTLE_S sh -c "until $2; do sleep 0.05; done"
}

# The agent alone is there.
ALONE='[ "$(pgrep -c "^(godwit|runc|criu)")" = 1 ]'

# no_handlers SITE [CONDITION]: which is for then.
no_handlers() {
	at "$1" sh -c "timeout $SETTLE_S sh -c 'until $ALONE; do sleep 0.05; done' && ${2:-true}"
}

# What is waited for here waits by itself.
wait_until() {
	"$@"
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

# A helper's `run`, as bats has it.
run() {
	status=0
	output=$("$@" 2>&1) || status=$?
}

both() {
	local site
	for site in strasbourg tuebingen; do
		at "$site" "$@"
	done
}

# runs_at SITE [CONTAINER]
runs_at() {
	at "$1" sh -c 'cd "/sys/fs/cgroup/$1" && grep -q . cgroup.procs && grep -q "frozen 0" cgroup.events' \
		x "${2:-checker}"
}
