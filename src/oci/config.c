/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/config.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void oci_config_done(struct oci_config *c)
{
	for (size_t i = 0; i < c->n_bind_sources; i++)
		free(c->bind_sources[i]);
	free(c->bind_sources);
	free(c->rootfs);
	free(c->address);
	free(c->netns);
	free(c->network);
	free(c->criu_config);
	*c = OCI_CONFIG_INIT;
}

static int bad(const char *bundle, const char *what, struct err *e)
{
	err_set(e, ERR_REFUSED, EINVAL, "%s/config.json: %s", bundle, what);
	return err_remedy(e, "'runc spec' writes a valid one to start from");
}

static char *copy_string(const json_t *j)
{
	return json_is_string(j) ? strdup(json_string_value(j)) : NULL;
}

static int read_rootfs(const json_t *root, const char *bundle, struct oci_config *c, struct err *e)
{
	const char *path = json_string_value(json_object_get(json_object_get(root, "root"), "path"));
	char full[PATH_MAX];

	if (!path || !*path)
		return bad(bundle, "root.path is missing", e);
	if (snprintf(full, sizeof(full), "%s%s%s", *path == '/' ? "" : bundle,
		    *path == '/' ? "" : "/", path) >= (int)sizeof(full))
		return bad(bundle, "root.path is too long", e);
	c->rootfs = strdup(full);
	return c->rootfs ? 0 : err_sys(e, ENOMEM, "config.json");
}

static void read_network_namespace(const json_t *root, struct oci_config *c)
{
	const json_t *list = json_object_get(json_object_get(root, "linux"), "namespaces"), *ns;
	size_t i;

	json_array_foreach((json_t *)list, i, ns) {
		const char *type = json_string_value(json_object_get(ns, "type"));

		if (type && strcmp(type, "network") == 0) {
			c->own_network = true;
			c->netns = copy_string(json_object_get(ns, "path"));
			return;
		}
	}
}

static bool is_bind(const json_t *mount)
{
	const json_t *options = json_object_get(mount, "options"), *o;
	const char *type = json_string_value(json_object_get(mount, "type"));
	size_t i;

	if (type && strcmp(type, "bind") == 0)
		return true;
	json_array_foreach((json_t *)options, i, o) {
		const char *s = json_string_value(o);

		if (s && (strcmp(s, "bind") == 0 || strcmp(s, "rbind") == 0))
			return true;
	}
	return false;
}

static int read_mounts(const json_t *root, struct oci_config *c, struct err *e)
{
	const json_t *mounts = json_object_get(root, "mounts"), *m;
	size_t i;

	c->bind_sources = calloc(json_array_size(mounts) + 1, sizeof(char *));
	if (!c->bind_sources)
		return err_sys(e, ENOMEM, "config.json");
	json_array_foreach((json_t *)mounts, i, m) {
		char *source = is_bind(m) ? copy_string(json_object_get(m, "source")) : NULL;

		if (source)
			c->bind_sources[c->n_bind_sources++] = source;
	}
	return 0;
}

int oci_config_parse(const char *text, size_t len, const char *bundle, struct oci_config *ret,
	struct err *e)
{
	json_error_t je;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	const json_t *annotations;
	int r;

	*ret = OCI_CONFIG_INIT;
	if (!json_is_object(root)) {
		json_decref(root);
		return bad(bundle, "not a JSON object", e);
	}
	annotations = json_object_get(root, "annotations");
	ret->address = copy_string(json_object_get(annotations, OCI_ANNOTATION_ADDRESS));
	ret->network = copy_string(json_object_get(annotations, OCI_ANNOTATION_NETWORK));
	ret->criu_config = copy_string(json_object_get(annotations, OCI_ANNOTATION_CRIU));
	ret->terminal = json_is_true(json_object_get(json_object_get(root, "process"), "terminal"));
	read_network_namespace(root, ret);
	r = read_rootfs(root, bundle, ret, e);
	if (r == 0)
		r = read_mounts(root, ret, e);
	json_decref(root);
	if (r < 0)
		oci_config_done(ret);
	return r;
}
