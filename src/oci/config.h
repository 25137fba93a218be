/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* What godwit reads of a bundle's config.json (OCI runtime specification). */

#define OCI_CONFIG_MAX (256u * 1024)

#define OCI_ANNOTATION_ADDRESS "org.godwit.address"
#define OCI_ANNOTATION_NETWORK "org.godwit.network"
#define OCI_ANNOTATION_CRIU "org.criu.config"

struct oci_config {
	char *rootfs;	   /* absolute */
	bool terminal;
	bool own_network;  /* a network namespace of its own */
	char *netns;	   /* the path of that, or NULL: runc makes one */
	char *network;	   /* annotation org.godwit.network, or NULL */
	char *address;	   /* annotation org.godwit.address, or NULL */
	char *criu_config; /* annotation org.criu.config, or NULL; may be "" */
	char **bind_sources; /* host paths that its bind mounts need */
	size_t n_bind_sources;
};

#define OCI_CONFIG_INIT ((struct oci_config){0})

/* Parses the text of a config.json that lies in @bundle. */
int oci_config_parse(const char *text, size_t len, const char *bundle, struct oci_config *ret,
	struct err *e);
void oci_config_done(struct oci_config *c);
