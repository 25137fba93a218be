/* SPDX-License-Identifier: Apache-2.0 */
/* A file on disk that somebody has edited. */
#include "fuzz_file.h"

#include "base/err.h"
#include "wire/peers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *dir = fuzz_file("peers", data, size);
	struct peers peers = PEERS_INIT, again = PEERS_INIT;
	struct err e = ERR_INIT;

	if (peers_load(dir, &peers, &e) < 0) {
		MUST(err_is_set(&e));
		return 0;
	}
	/* Nobody gains or loses a right by an edit of another. */
	MUST(peers_save(dir, &peers, &e) == 0 && peers_load(dir, &again, &e) == 0);
	MUST(again.n == peers.n && peers.n <= PEERS_MAX);
	for (size_t i = 0; i < peers.n; i++) {
		MUST(peer_may_send(&peers.v[i], "web-1") == peer_may_send(&again.v[i], "web-1"));
		MUST(peers.v[i].accept || !peer_may_send(&peers.v[i], "web-1"));
	}
	peers_done(&again);
	peers_done(&peers);
	return 0;
}
