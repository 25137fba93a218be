# SPDX-License-Identifier: Apache-2.0
# The source's process dies after the commit, or the migration is to be cancelled: who owns the container
# is settled, and it gets all of its memory.

load helpers

setup() {
	start_calm_checker
	save_state
}

teardown() {
	local site
	let_drain
	for site in strasbourg tuebingen; do
		at "$site" sh -c 'nft delete table inet cut 2>/dev/null; true'
		lab workload stop "$site" checker
		at "$site" sh -c 'rm -f /var/lib/godwit/journal/*'
	done
}

no_journal() {
	at "$1" sh -c '[ -z "$(ls /var/lib/godwit/journal)" ]'
}

# cut SITE: from now on nothing of godwit's passes there.
cut() {
	at "$1" nft -f - <<-'N'
		table inet cut {
			chain in { type filter hook input priority 0; tcp dport 7342 reject with tcp reset; }
		}
	N
}

mend() {
	at "$1" nft delete table inet cut
}

settled() {
	checker_verifies tuebingen
	wait_until no_journal strasbourg
	wait_until no_journal tuebingen
	[ "$(at strasbourg runc list -q)" = "" ]
}

settled_and_well() {
	settled
	migrate tuebingen strasbourg checker --mode stop
	[ "$status" = 0 ]
	same_state
}

# kill_source [GUARD]: as kill -9 does it.
kill_source() {
	[ -z "$1" ] || at strasbourg pkill -9 -x godwit-guard
	at strasbourg pkill -9 -n -x godwit
	end_migration
	[ "$status" = 137 ]
}

# bats test_tags=long
@test "the source is killed in the drain, and its guard goes on, in mode post" {
	start_drain post
	kill_source ''
	settled_and_well
}

@test "the source is killed in the drain, and its guard goes on, in mode hybrid" {
	start_drain hybrid
	kill_source ''
	settled_and_well
}

@test "the source and its guard are killed in the drain: recover goes on" {
	start_drain post
	kill_source guard
	run at strasbourg godwit status
	assert_says "handed over: 'godwit recover' asks the other host"
	run at tuebingen godwit status
	assert_says "runs here, and lacks memory"
	run at strasbourg timeout 100 godwit recover
	echo "$output"
	[ "$status" = 0 ]
	assert_says "it belongs to tuebingen"
	settled_and_well
}

@test "the target can not be asked: in doubt, and later not" {
	start_drain post
	cut tuebingen
	kill_source guard
	run at strasbourg timeout 60 godwit recover
	echo "$output"
	[ "$status" = 3 ]
	assert_says "checker is in doubt" "tuebingen"
	mend tuebingen
	run at strasbourg timeout 100 godwit recover
	echo "$output"
	[ "$status" = 0 ]
	settled_and_well
}

@test "an agent that starts settles it" {
	start_drain post
	kill_source guard
	at strasbourg sh -c 'kill $(pgrep -x -o godwit)'
	wait_until at strasbourg sh -c '! pgrep -x godwit'
	at strasbourg sh -c 'setsid godwit agent </dev/null >/var/log/godwit-agent.log 2>&1 &' 3>&-
	# Its descriptors are those of another start, so states are not compared.
	settled
}

# cancelled_at SITE
cancelled_at() {
	pid=$(container_pid strasbourg checker)
	start_migration checker --bandwidth 50
	wait_phase copy
	run at "$1" godwit cancel checker
	[ "$status" = 0 ]
	[ "$1" != strasbourg ] || assert_says "cancelled"
	end_migration
	[ "$status" = 130 ]
	assert_untouched strasbourg checker "$pid"
	checker_verifies strasbourg
	same_state
}

@test "cancelled while it is copied" {
	cancelled_at strasbourg
}

@test "cancelled on the target's side" {
	cancelled_at tuebingen
}

@test "what is handed over can not be cancelled" {
	start_drain post
	run at strasbourg godwit cancel checker
	[ "$status" = 3 ]
	assert_says "handed over to tuebingen" "can not be cancelled any more"
	end_migration
	[ "$status" = 0 ]
	run at strasbourg godwit cancel checker
	[ "$status" = 3 ]
	assert_says "no migration of checker is under way"
	settled_and_well
}

# entry ROLE STEP BOOT [ADDRESS [ID [NUMBER]]]: what a process has left that died, of the checker. NUMBER is its
# cgroup's inode.
entry() {
	# shellcheck disable=SC2016  # expands there
	at strasbourg sh -c 'mkdir -p /var/lib/godwit/journal && jq -n --arg role "$1" --arg step "$2" --arg boot "$3" \
		--arg address "$4" --arg id "$5" "{id: \$id, boot: \$boot, container: \"checker\", peer: \"tuebingen\",
			address: \$address, netns: \"\", network: \"\", cgroup: \"/sys/fs/cgroup/checker\", key: \"\",
			token: \"\", role: \$role, step: \$step, pid: 1, started: 1, cgroup_number: $6}" \
		>"/var/lib/godwit/journal/$5.$1"' x "$1" "$2" "$3" "${4:-}" "${5:-$(printf %032d 1)}" "${6:-0}"
}

ANOTHER=00000000-0000-0000-0000-000000000000

# recover_leaves_alone TEXT: it settles what there is, and the container runs on and stays as it is.
recover_leaves_alone() {
	pid=$(container_pid strasbourg checker)
	run at strasbourg timeout 60 godwit recover
	echo "$output"
	[ "$status" = 0 ]
	assert_says "$1"
	assert_untouched strasbourg checker "$pid"
	no_journal strasbourg
}

@test "what has the name of one that was restored before a reboot is not deleted" {
	entry target prepared $ANOTHER
	recover_leaves_alone "nothing of it is left here; it belongs to tuebingen: this host was rebooted"
}

@test "what died with a reboot gets no address back" {
	entry source frozen $ANOTHER "198.51.100.77/32 dev lo"
	run at strasbourg godwit status
	assert_says "gone: the host was rebooted"
	recover_leaves_alone "checker: is gone, before it belonged to tuebingen: this host was rebooted"
	[ -z "$(at strasbourg ip -o addr show to 198.51.100.77)" ]
}

@test "what was handed over before a reboot is asked about, and what has its name is not deleted" {
	entry source drained $ANOTHER
	recover_leaves_alone "it belongs to tuebingen"
	entry source committed $ANOTHER
	pid=$(container_pid strasbourg checker)
	run at strasbourg timeout 60 godwit recover
	[ "$status" = 3 ]
	assert_says "checker is in doubt: this host was rebooted; nothing of it is left"
	assert_untouched strasbourg checker "$pid"
}

@test "what somebody has started in place of one that was frozen is neither thawed nor deleted" {
	number=$(at strasbourg stat -c %i /sys/fs/cgroup/checker)
	entry source frozen '' "198.51.100.77/32 dev lo" '' $((number - 1))
	recover_leaves_alone "checker: is gone, before it belonged to tuebingen: somebody has deleted it here"
	[ -z "$(at strasbourg ip -o addr show to 198.51.100.77)" ]
	entry source drained '' '' '' $((number - 1))
	recover_leaves_alone "it belongs to tuebingen: somebody has deleted it here"
	entry source drained '' '' '' "$number"
	at strasbourg timeout 60 godwit recover
	[ "$(at strasbourg runc list -q)" = "" ]
}

@test "what somebody has started under the name of one that was half restored is not deleted" {
	entry target prepared ''
	recover_leaves_alone "somebody else has started"
}

@test "an entry that can not be settled keeps no other from being" {
	entry source frozen '' nonsense "$(printf %032d 1)"
	entry source frozen '' nonsense "$(printf %032d 2)"
	entry source frozen '' '' "$(printf %032d 3)"
	run at strasbourg godwit recover
	echo "$output"
	[ "$status" != 0 ]
	assert_says "checker runs here again"
	[ "$(grep -c nonsense <<<"$output")" = 2 ]
	[ "$(at strasbourg sh -c 'ls /var/lib/godwit/journal | wc -l')" = 2 ]
}
