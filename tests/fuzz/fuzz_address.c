/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "net/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_string(data, size);
	struct err e = ERR_INIT;
	struct address a;

	if (address_parse(text, &a, &e) == 0)
		MUST(a.prefix <= 128 && strlen(a.interface) < sizeof(a.interface));
	else
		MUST(err_is_set(&e));
	free(text);
	return 0;
}
