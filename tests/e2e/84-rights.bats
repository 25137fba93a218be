# SPDX-License-Identifier: Apache-2.0
# What a peer may send, and how much of a host it may take.

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
	at tuebingen cp /etc/godwit/peers /tmp/peers.saved
}

teardown() {
	at tuebingen mv /tmp/peers.saved /etc/godwit/peers
	assert_untouched strasbourg mem "$pid"
	same_state
}

@test "a peer may send what matches, and godwit check says what does" {
	at tuebingen godwit peer allow strasbourg 'web-*' 'me[lm]'
	run at strasbourg godwit check tuebingen
	[ "$status" = 0 ]
	assert_says "strasbourg may send: web-* me[lm]"
	migrate strasbourg tuebingen mem --dry-run
	[ "$status" = 0 ]
}

@test "what a peer may not send is refused before anything is looked at" {
	at tuebingen godwit peer allow strasbourg 'web-*'
	# The bundle is not even opened: it would be refused as well, with another reason.
	at tuebingen mv /srv/mem /srv/elsewhere
	migrate strasbourg tuebingen mem
	at tuebingen mv /srv/elsewhere /srv/mem
	[ "$status" = 3 ]
	assert_says 'strasbourg may not send "mem" here, but: web-*' 'godwit peer allow strasbourg "mem"'
	[[ $output != *bundle* ]]
	at tuebingen grep -q 'mem from strasbourg: refused' /var/log/godwit-agent.log
}

@test "a peer that may send nothing" {
	at tuebingen godwit peer deny strasbourg
	migrate strasbourg tuebingen mem
	[ "$status" = 3 ]
	assert_says "strasbourg may send no containers here" "godwit peer allow strasbourg"
	run at strasbourg godwit check tuebingen
	[ "$status" = 3 ]
	assert_says "strasbourg may send no containers here"
}
