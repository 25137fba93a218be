/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "net/network.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_string(data, size);
	struct err e = ERR_INIT;
	struct network n;

	if (network_parse(text, &n, &e) == 0)
		MUST(n.n_addresses > 0 && n.n_addresses <= REACHED_ADDRESSES && n.n_routes <= NETWORK_ROUTES &&
			(n.mac[0] & 1u) == 0 && strlen(n.parent) > 0);
	else
		MUST(err_is_set(&e));
	free(text);
	return 0;
}
