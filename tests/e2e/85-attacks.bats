# SPDX-License-Identifier: Apache-2.0
# A hostile peer, try by try: attacker.py. After each the agent lives, and nothing is left of it.

load helpers

# The same process listens, and neither processes nor files nor descriptors are more than before.
left_at() {
	at "$1" pgrep -x godwit
	host_state "$1"
}

unharmed() {
	wait_until no_handlers tuebingen
	diff -U0 "$BATS_FILE_TMPDIR/left" <(left_at tuebingen)
}

setup_file() {
	lab workload start strasbourg mem 16
	mkdir -p "$BATS_FILE_TMPDIR/keys"
	at strasbourg cat /etc/godwit/key.pem >"$BATS_FILE_TMPDIR/keys/key.pem"
	at tuebingen sh -c 'cp -r /srv/mem /srv/theirs && chown -R 1000 /srv/theirs'
	wait_until no_handlers tuebingen
	left_at tuebingen >"$BATS_FILE_TMPDIR/left"
}

teardown_file() {
	lab workload stop strasbourg mem
	at tuebingen rm -r /srv/theirs
}

# attacker TRY [HOST]: from that host's network.
attacker() {
	nsenter -t "$(host_pid "${2:-strasbourg}")" -n timeout 60 python3 \
		"$BATS_TEST_DIRNAME/attacker.py" 198.51.100.2 "$BATS_FILE_TMPDIR/keys" \
		"$STATE/hosts/tuebingen/srv/mem" "$1"
}

attack() {
	attacker "$1"
	unharmed
}

@test "a preamble of another protocol" { attack wrong_preamble; }
@test "half a preamble" { attack short_preamble; }
@test "garbage in place of TLS" { attack garbage_for_tls; }
@test "a handshake that breaks off" { attack truncated_handshake; }
@test "a key that nobody trusts" { attack wrong_key; }
@test "no key" { attack no_certificate; }
@test "TLS 1.2" { attack tls_1_2; }
@test "a recorded connection, sent again" { attack replay; }
@test "a guessed token" { attack guessed_token; }

@test "garbage after the handshake" { attack garbage_after_handshake; }
@test "a frame of 4 GB" { attack huge_length; }
@test "a frame of type zero" { attack type_zero; }
@test "a frame of an unknown type" { attack unknown_type; }
@test "a frame whose last field is not zero" { attack odd_last_field; }
@test "a message with more bytes than fields" { attack trailing_bytes; }
@test "a message without its fields" { attack no_payload; }
@test "COMMIT first" { attack out_of_order; }
@test "PREPARE without an offer" { attack prepare_before_offer; }
@test "a message that only a target sends" { attack wrong_direction; }
@test "pages on the control channel" { attack pages_on_control; }
@test "a bulk channel of no migration" { attack wrong_first_channel; }
@test "another version" { attack other_version; }
@test "text that is not UTF-8" { attack invalid_utf8; }
@test "text with control characters" { attack hidden_text; }

@test "container names that escape, or are options of runc" { attack bad_names; }
@test "bundle paths that escape" { attack bad_bundles; }
@test "a bundle that a user of the target has made" { attack bundle_of_a_user; }
@test "hooks, mounts, annotations of the attacker's own" { attack other_configuration; }
@test "a root file system of the attacker's own" { attack other_root_file_system; }
@test "2^64 bytes of memory" { attack endless_memory; }
@test "more listeners than allowed" { attack too_many_listeners; }
@test "more connections of a peer than allowed" { attack too_many_connections; }

@test "descriptors that are none" { attack bad_descriptors; }
@test "a further connection of another" { attack another_peers_connection; }
@test "a further connection with another token" { attack wrong_token_inside; }
@test "the same further connection twice" { attack same_channel_twice; }
@test "the token of a migration that has ended" { attack ended_token; }

@test "image names that escape" { attack image_escapes; }
@test "an image that changes the host" { attack image_of_the_host; }
@test "iptables rules for a container without a network of its own" { attack image_of_a_network; }
@test "an image of another kind than its name" { attack image_of_another_kind; }
@test "an image with gaps" { attack image_gaps; }
@test "an image that is longer than announced" { attack image_longer_than_announced; }
@test "an endless image" { attack image_endless; }
@test "the inventory twice" { attack image_twice; }
@test "fewer images than announced" { attack images_not_whole; }
@test "COMMIT before anything is restored" { attack commit_before_restore; }
@test "packets for a container without an address" { attack held_without_address; }
@test "images that CRIU can not read" { attack nonsense_restored; }
@test "a page that decompresses to a gigabyte" { attack compressed_bomb; }
@test "an image that decompresses to a gigabyte" { attack image_bomb; }
@test "pages at odd places and of odd numbers" { attack bad_pages; }
@test "zero pages without end" { attack endless_zeros; }
@test "a fault from the wrong side" { attack fault_by_the_source; }

@test "1,000 connections, 100 of a byte a second, and another host migrates meanwhile" {
	attacker slow tuebingen >"$BATS_TEST_TMPDIR/slow" 3>&- &
	slow=$!
	coproc FLOOD { attacker flood tuebingen 3>&-; }
	flood=$FLOOD_PID
	read -r line <&"${FLOOD[0]}"
	[ "$line" = open ]
	wait_until grep -q open "$BATS_TEST_TMPDIR/slow"
	# Of each of the two addresses a few have a process, beside the agent's own.
	[ "$(at tuebingen pgrep -c -x godwit)" -le 17 ]
	run at strasbourg godwit check tuebingen
	[ "$status" = 0 ]
	migrate strasbourg tuebingen mem
	[ "$status" = 0 ]
	lab workload check tuebingen mem
	eval "exec ${FLOOD[1]}>&-"
	wait "$flood"
	wait "$slow"
	migrate tuebingen strasbourg mem
	[ "$status" = 0 ]
	unharmed
}

@test "in the end all is as before" {
	migrate strasbourg tuebingen mem --dry-run
	[ "$status" = 0 ]
	unharmed
}
