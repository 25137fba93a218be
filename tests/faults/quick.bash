# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The helpers of the end-to-end tests, and some that wait within a host: for what is done hundreds of times.

BATS_TEST_DIRNAME=$(cd "$(dirname "${BASH_SOURCE[0]}")/../e2e" && pwd)
# shellcheck source=tests/e2e/helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

SETTLE_S=10 # for guards and keepers to end

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
