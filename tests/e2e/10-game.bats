# SPDX-License-Identifier: Apache-2.0
# A played game server moves to and fro: the main job.

load helpers

ROUNDS=${GODWIT_TEST_ROUNDS:-3}

setup_file() {
	load helpers
	lab game start strasbourg
	lab player start
}

teardown_file() {
	load helpers
	lab player stop
	lab game stop strasbourg
	lab game stop tuebingen
}

# to_and_fro MODE OPTIONS...
to_and_fro() {
	local i mode=$1
	shift
	for ((i = 0; i < ROUNDS; i++)); do
		migrate strasbourg tuebingen xonotic --mode "$mode" "$@"
		assert_success
		migrate tuebingen strasbourg xonotic --mode "$mode" "$@"
		assert_success
	done
	lab player status
}

@test "migrates to and fro in mode post, the player stays, nothing is left over" {
	# What a host makes once, and keeps, comes now.
	ROUNDS=2 to_and_fro post
	save_state
	to_and_fro post
	same_state
}

@test "migrates to and fro in mode stop, the player stays, nothing is left over" {
	save_state
	to_and_fro stop
	same_state
}

@test "migrates to and fro in modes hybrid and pre, the player stays, nothing is left over" {
	save_state
	to_and_fro hybrid
	# However slow this machine and a sanitizer make it.
	to_and_fro pre --max-downtime 60000
	same_state
}

@test "reports what happened as JSON" {
	migrate strasbourg tuebingen xonotic --json
	[ "$status" = 0 ]
	report=$(jq -sc 'map(select(.event == "report")) | .[0]' <<<"$output")
	jq -e '.ok and .mode == "hybrid" and .rounds >= 1 and .freeze_ms > 0 and .total_ms > .freeze_ms and .bytes > 1000000 and
		(.freeze_parts | map(.name)) == ["freeze", "dump", "send", "restore", "gate", "address"] and
		.memory_bytes > 1000000' <<<"$report"
	migrate tuebingen strasbourg xonotic
	[ "$status" = 0 ]
	assert_says "runs on strasbourg" "frozen" "dump" "restore" "drain"
}

@test "a dry run checks and changes nothing" {
	pid=$(container_pid strasbourg xonotic)
	save_state
	migrate strasbourg tuebingen xonotic --dry-run
	[ "$status" = 0 ]
	assert_says "rootfs" "identical"
	assert_untouched strasbourg xonotic "$pid"
	same_state
}

@test "is kept in a directory and brought back, the player stays" {
	save_state
	at strasbourg godwit checkpoint xonotic --to /var/tmp/kept
	[ -z "$(at strasbourg runc list -q)" ]
	at strasbourg godwit restore /var/tmp/kept
	at strasbourg rm -rf /var/tmp/kept
	lab player status
	same_state
}

@test "a directory can be copied and restored on the other host" {
	at strasbourg godwit checkpoint xonotic --to /var/tmp/kept
	at strasbourg tar -C /var/tmp -cf - kept | at tuebingen tar -C /var/tmp -xf -
	at tuebingen godwit restore /var/tmp/kept
	lab player status
	migrate tuebingen strasbourg xonotic
	[ "$status" = 0 ]
	at tuebingen rm -rf /var/tmp/kept
	at strasbourg rm -rf /var/tmp/kept
}

@test "a snapshot leaves the container running" {
	pid=$(container_pid strasbourg xonotic)
	at strasbourg godwit checkpoint xonotic --to /var/tmp/kept --leave-running
	assert_untouched strasbourg xonotic "$pid"
	run at strasbourg godwit restore /var/tmp/kept
	[ "$status" = 3 ]
	assert_says "there is a container \"xonotic\" here already"
	at strasbourg rm -rf /var/tmp/kept
	lab player status
}

@test "a damaged directory is refused" {
	at strasbourg godwit checkpoint xonotic --to /var/tmp/kept --leave-running
	at strasbourg sh -c 'printf x | dd of=/var/tmp/kept/images/pages-1.img bs=1 seek=5000 conv=notrunc status=none'
	run at strasbourg godwit restore /var/tmp/kept
	[ "$status" = 3 ]
	assert_says "is not as it was written"
	at strasbourg rm -rf /var/tmp/kept
}
