/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/manifest.h"

#include "base/file.h"
#include "base/hex.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANIFEST_MAX (4u << 20)

static json_t *listeners_json(const struct manifest *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->n_listeners; i++) {
		const struct listener *l = &m->listeners[i];
		char address[33];

		hex_format(l->address, sizeof(l->address), address);
		json_array_append_new(list, json_pack("{s:i, s:i, s:i, s:s}", "protocol", l->protocol,
						    "family", l->family, "port", l->port, "address",
						    address));
	}
	return list;
}

int manifest_write(const char *dir, const struct manifest *m, struct err *e)
{
	char path[4096], rootfs[2 * DIGEST_LEN + 1], images[2 * DIGEST_LEN + 1];
	json_t *o;
	char *text;
	int r;

	hex_format(m->rootfs_digest, DIGEST_LEN, rootfs);
	hex_format(m->images_digest, DIGEST_LEN, images);
	o = json_pack("{s:i, s:s, s:s, s:s%, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:o}", "version",
		MANIFEST_VERSION, "container", m->container, "bundle", m->bundle, "config",
		m->config_text, m->config_len, "rootfs_digest", rootfs, "images_digest", images,
		"arch", m->arch, "criu_version", m->criu_version, "cpu_features", m->cpu_features,
		"memory_bytes", (json_int_t)m->memory_bytes, "file_locks", m->file_locks,
		"listeners", listeners_json(m));
	text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
	json_decref(o);
	if (!text)
		return err_set(e, ERR_LOCAL, EINVAL, "config.json is not UTF-8");
	if (snprintf(path, sizeof(path), "%s/%s", dir, MANIFEST_NAME) >= (int)sizeof(path))
		r = -ENAMETOOLONG;
	else
		r = file_write_atomic(path, text, strlen(text), 0600);
	free(text);
	return r < 0 ? err_sys(e, -r, "writing %s/%s", dir, MANIFEST_NAME) : 0;
}

static bool take_string(const json_t *o, const char *key, char *ret, size_t size)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s && snprintf(ret, size, "%s", s) < (int)size;
}

static bool take_listener(const json_t *o, struct listener *ret)
{
	json_int_t protocol = json_integer_value(json_object_get(o, "protocol"));
	json_int_t family = json_integer_value(json_object_get(o, "family"));
	json_int_t port = json_integer_value(json_object_get(o, "port"));

	if (protocol < 0 || protocol > 255 || (family != 4 && family != 6) || port < 0 ||
		port > 65535)
		return false;
	*ret = (struct listener){.protocol = (uint8_t)protocol,
		.family = (uint8_t)family,
		.port = (uint16_t)port};
	return hex_parse(json_string_value(json_object_get(o, "address")), ret->address,
		sizeof(ret->address));
}

static bool take_config(const json_t *o, struct manifest *ret)
{
	const json_t *config = json_object_get(o, "config");

	if (!json_is_string(config) || json_string_length(config) > OCI_CONFIG_MAX)
		return false;
	ret->config_len = json_string_length(config);
	ret->config_text = strdup(json_string_value(config));
	return ret->config_text != NULL;
}

static bool take_all(const json_t *o, struct manifest *ret)
{
	const json_t *list = json_object_get(o, "listeners");
	json_int_t memory = json_integer_value(json_object_get(o, "memory_bytes"));

	if (json_integer_value(json_object_get(o, "version")) != MANIFEST_VERSION || memory < 0)
		return false;
	ret->memory_bytes = (uint64_t)memory;
	ret->file_locks = json_is_true(json_object_get(o, "file_locks"));
	ret->n_listeners = json_array_size(list);
	if (ret->n_listeners > LISTENERS_MAX)
		return false;
	for (size_t i = 0; i < ret->n_listeners; i++)
		if (!take_listener(json_array_get(list, i), &ret->listeners[i]))
			return false;
	return take_string(o, "container", ret->container, sizeof(ret->container)) &&
		container_id_valid(ret->container) &&
		take_string(o, "bundle", ret->bundle, sizeof(ret->bundle)) && ret->bundle[0] == '/' &&
		take_string(o, "arch", ret->arch, sizeof(ret->arch)) &&
		take_string(o, "criu_version", ret->criu_version, sizeof(ret->criu_version)) &&
		take_string(o, "cpu_features", ret->cpu_features, sizeof(ret->cpu_features)) &&
		hex_parse(json_string_value(json_object_get(o, "rootfs_digest")), ret->rootfs_digest,
			DIGEST_LEN) &&
		hex_parse(json_string_value(json_object_get(o, "images_digest")), ret->images_digest,
			DIGEST_LEN) &&
		take_config(o, ret);
}

int manifest_read(const char *dir, struct manifest *ret, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	char path[4096];
	json_t *o;
	int r;

	*ret = MANIFEST_INIT;
	if (snprintf(path, sizeof(path), "%s/%s", dir, MANIFEST_NAME) >= (int)sizeof(path))
		return err_set(e, ERR_USAGE, ENAMETOOLONG, "%s", dir);
	r = file_read(path, MANIFEST_MAX, &text, NULL);
	if (r < 0) {
		err_set(e, ERR_USAGE, -r, "%s: %s", path, strerror(-r));
		return err_remedy(e, "name a directory that 'godwit checkpoint' has made");
	}
	o = json_loads(text, 0, NULL);
	if (!o || !take_all(o, ret))
		r = err_set(e, ERR_REFUSED, EBADMSG,
			"%s is damaged, or of another version of godwit", path);
	json_decref(o);
	return r;
}

void manifest_done(struct manifest *m)
{
	free(m->config_text);
	*m = MANIFEST_INIT;
}
