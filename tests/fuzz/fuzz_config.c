/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "oci/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oci_config c = OCI_CONFIG_INIT;
	struct err e = ERR_INIT;

	if (oci_config_parse((const char *)data, size, "/srv/bundle", &c, &e) == 0)
		MUST(c.rootfs && c.rootfs[0] == '/');
	else
		MUST(err_is_set(&e));
	oci_config_done(&c);
	return 0;
}
