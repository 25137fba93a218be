# SPDX-License-Identifier: Apache-2.0
# What can't be done is said before anything happens, with cause and remedy.

load helpers

setup_file() {
	load helpers
	lab workload start strasbourg mem 16
}

teardown_file() {
	load helpers
	lab workload stop strasbourg mem
}

setup() {
	pid=$(container_pid strasbourg mem)
	save_state
}

teardown() {
	assert_untouched strasbourg mem "$pid"
	lab workload check strasbourg mem
	same_state
}

@test "unknown container" {
	migrate strasbourg tuebingen nosuch
	[ "$status" = 3 ]
	assert_says 'no container "nosuch"' "containers here: mem"
}

@test "a name that is none" {
	migrate strasbourg tuebingen ../../etc
	[ "$status" = 2 ]
	assert_says "is no container name"
}

@test "stopped container" {
	at strasbourg sh -c 'runc create --bundle /srv/mem idle </dev/null >/dev/null 2>&1'
	migrate strasbourg tuebingen idle
	at strasbourg runc delete --force idle
	[ "$status" = 3 ]
	assert_says "is created" "start it"
}

@test "paused container" {
	at strasbourg runc pause mem
	migrate strasbourg tuebingen mem
	at strasbourg runc resume mem
	[ "$status" = 3 ]
	assert_says "is paused" "runc resume"
}

@test "a file outside the container is open" {
	at strasbourg sh -c 'runc run -d --bundle /srv/mem outside </etc/passwd >/dev/null 2>&1'
	migrate strasbourg tuebingen outside
	at strasbourg runc delete --force outside
	[ "$status" = 3 ]
	assert_says "has /etc/passwd open, which is outside the container" "files inside"
}

@test "a file with a name that is no text" {
	# shellcheck disable=SC2016  # expands there
	at strasbourg bash -c 'name=$(printf "/tmp/b\374d\033[31m") && : >"$name" &&
		runc run -d --bundle /srv/mem outside <"$name" >/dev/null 2>&1'
	migrate strasbourg tuebingen outside --json
	at strasbourg runc delete --force outside
	at strasbourg sh -c 'rm /tmp/b?d*m'
	[ "$status" = 3 ]
	[ "$(jq -r 'select(.event == "check" and .level == "no").reason' <<<"$output" | grep -c 'b?d?\[31m')" = 1 ]
	[ "$(jq -r 'select(.event == "error").text' <<<"$output" | grep -c 'b?d?\[31m')" = 1 ]
}

@test "unknown host" {
	migrate strasbourg nowhere mem
	[ "$status" = 3 ]
	assert_says 'no peer "nowhere"' "godwit id"
}

@test "the target has another key than the one that is trusted" {
	at strasbourg cp /etc/godwit/peers /tmp/peers.saved
	at strasbourg godwit peer remove tuebingen
	at strasbourg godwit peer add tuebingen tuebingen \
		"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	migrate strasbourg tuebingen mem
	at strasbourg mv /tmp/peers.saved /etc/godwit/peers
	[ "$status" = 4 ]
	assert_says "is not trusted here" "godwit peer add"
}

@test "the target does not trust this host" {
	at tuebingen cp /etc/godwit/peers /tmp/peers.saved
	at tuebingen godwit peer remove strasbourg
	migrate strasbourg tuebingen mem
	at tuebingen mv /tmp/peers.saved /etc/godwit/peers
	[ "$status" = 4 ]
	assert_says "does not trust this host's key" "godwit id"
}

@test "no agent is running there" {
	at strasbourg cp /etc/godwit/peers /tmp/peers.saved
	fingerprint=$(at strasbourg godwit peer list --json | jq -r '.[0].fingerprint')
	at strasbourg godwit peer add quiet tuebingen:7999 "$fingerprint"
	migrate strasbourg quiet mem
	at strasbourg mv /tmp/peers.saved /etc/godwit/peers
	[ "$status" = 4 ]
	assert_says "Connection refused" "is the agent running there"
}

@test "the root file systems differ" {
	at tuebingen touch /srv/mem/rootfs/extra
	migrate strasbourg tuebingen mem
	at tuebingen rm /srv/mem/rootfs/extra
	[ "$status" = 3 ]
	assert_says "differs from the source's" "rsync"
}

@test "the configurations differ" {
	at tuebingen cp /srv/mem/config.json /tmp/config.saved
	at tuebingen sh -c 'echo >>/srv/mem/config.json'
	migrate strasbourg tuebingen mem
	at tuebingen mv /tmp/config.saved /srv/mem/config.json
	[ "$status" = 3 ]
	assert_says "config.json differs"
}

@test "no bundle there" {
	at tuebingen mv /srv/mem /srv/elsewhere
	migrate strasbourg tuebingen mem
	at tuebingen mv /srv/elsewhere /srv/mem
	[ "$status" = 3 ]
	assert_says "/srv/mem/config.json" "No such file"
}

@test "the name is taken there" {
	at tuebingen sh -c 'runc create --bundle /srv/mem mem </dev/null >/dev/null 2>&1'
	migrate strasbourg tuebingen mem
	at tuebingen runc delete --force mem
	[ "$status" = 3 ]
	assert_says 'there is a container "mem" here already'
}

@test "too little memory there" {
	at tuebingen sh -c 'sed "s/^MemAvailable:.*/MemAvailable: 8000 kB/" /proc/meminfo >/tmp/meminfo &&
		mount --bind /tmp/meminfo /proc/meminfo'
	migrate strasbourg tuebingen mem
	at tuebingen sh -c 'umount /proc/meminfo && rm /tmp/meminfo'
	[ "$status" = 3 ]
	assert_says "MB are available" "free memory"
}

@test "CRIU is too old there" {
	at tuebingen sh -c 'printf "#!/bin/sh\necho Version: 3.17.1\n" >/usr/local/bin/criu &&
		chmod 755 /usr/local/bin/criu'
	run at tuebingen env PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin godwit check
	at tuebingen rm /usr/local/bin/criu
	[ "$status" = 3 ]
	assert_says "criu 3.17.1 is too old" "install criu 4.2"
}

@test "bad options" {
	migrate strasbourg tuebingen mem --mode sideways
	[ "$status" = 2 ]
	migrate strasbourg tuebingen mem --streams 99
	[ "$status" = 2 ]
	run at strasbourg godwit migrate mem
	[ "$status" = 2 ]
	run at strasbourg godwit frobnicate
	[ "$status" = 2 ]
}

@test "a bad configuration file is named with its line" {
	at strasbourg sh -c 'printf "[migrate]\nmode = sideways\n" >/etc/godwit/godwit.conf'
	migrate strasbourg tuebingen mem
	at strasbourg rm /etc/godwit/godwit.conf
	[ "$status" = 2 ]
	assert_says "godwit.conf, line 2" "sideways"
}

# interrupted COMMAND...: at strasbourg, while it waits for something.
interrupted() {
	local start
	at strasbourg "$@" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	job=$!
	sleep 2
	start=$SECONDS
	at strasbourg pkill -INT -x godwit -n
	status=0
	wait "$job" || status=$?
	output=$(cat "$BATS_TEST_TMPDIR/out")
	echo "status $status: $output"
	[ "$status" = 130 ]
	[ $((SECONDS - start)) -lt 3 ]
	assert_says "interrupted"
}

@test "interrupted while the target reads its root file system" {
	at tuebingen truncate -s 3G /srv/mem/rootfs/sparse
	interrupted godwit migrate mem tuebingen
	at tuebingen rm /srv/mem/rootfs/sparse
}

@test "a check is interrupted" {
	at strasbourg sh -c 'mkdir /tmp/slow && cd /tmp/slow &&
		printf "#!/bin/sh\nexec sleep 60\n" >criu && chmod +x criu'
	interrupted env PATH=/tmp/slow:/usr/sbin:/usr/bin:/sbin:/bin godwit check --container mem
	at strasbourg rm -r /tmp/slow
}
