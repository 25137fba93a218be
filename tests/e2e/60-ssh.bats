# SPDX-License-Identifier: Apache-2.0
# ssh://HOST: the same protocol on the standard input and output of "godwit serve".

load helpers

setup_file() {
	load helpers
	lab workload start strasbourg mem 64 10 random
	at tuebingen sh -c 'mkdir -p /run/sshd /root/.ssh && ssh-keygen -q -A &&
		/usr/sbin/sshd -o PidFile=/run/sshd.pid'
	at strasbourg sh -c 'mkdir -p /root/.ssh && chmod 700 /root/.ssh &&
		ssh-keygen -q -t ed25519 -N "" -f /root/.ssh/id_ed25519 && cat /root/.ssh/id_ed25519.pub' |
		at tuebingen sh -c 'cat >/root/.ssh/authorized_keys && chmod 700 /root/.ssh'
	at strasbourg sh -c 'ssh-keyscan -t ed25519 tuebingen >/root/.ssh/known_hosts 2>/dev/null'
}

teardown_file() {
	load helpers
	at tuebingen sh -c 'kill $(cat /run/sshd.pid); rm -rf /root/.ssh'
	at strasbourg rm -rf /root/.ssh
	lab workload stop strasbourg mem
	lab workload stop tuebingen mem
}

@test "migrates over ssh" {
	run at strasbourg timeout 60 godwit migrate mem ssh://tuebingen
	echo "$output"
	[ "$status" = 0 ]
	sleep 1
	lab workload check tuebingen mem
	migrate tuebingen strasbourg mem
	[ "$status" = 0 ]
	sleep 1
	lab workload check strasbourg mem
}

@test "a host that can not be reached" {
	pid=$(container_pid strasbourg mem)
	run at strasbourg timeout 60 godwit migrate mem ssh://nowhere.invalid
	[ "$status" = 4 ]
	assert_says "without a password"
	assert_untouched strasbourg mem "$pid"
}

# By its peer's agent, after it has verified its memory at tuebingen.
comes_back() {
	sleep 1
	lab workload check tuebingen mem
	migrate tuebingen strasbourg mem
	[ "$status" = 0 ]
	wait_until no_handlers tuebingen
	wait_until no_handlers strasbourg
}

# All of its connections end at once.
@test "goes on when the connections are lost in the drain" {
	start_migration_to strasbourg ssh://tuebingen mem --mode post --bandwidth 200
	wait_phase_long drain
	sleep 0.3
	at strasbourg pkill -x ssh
	end_migration
	[ "$status" = 0 ]
	assert_says "link lost, reconnecting" "the link is back"
	comes_back
}

# It reaches all of the foreground group.
@test "a Ctrl-C after the commit changes nothing" {
	local group
	at strasbourg setsid godwit migrate --mode post --bandwidth 200 mem ssh://tuebingen \
		>"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	# shellcheck disable=SC2034  # for end_migration
	job=$!
	wait_phase_long drain
	group=$(at strasbourg pgrep -n -x godwit)
	at strasbourg kill -INT -- "-$group"
	end_migration
	[ "$status" = 0 ]
	[[ $output != *"link lost"* ]]
	comes_back
}
