/* SPDX-License-Identifier: Apache-2.0 */
/* Small parsers and comparisons of oci, net, sync, check, report and cli. */
#include "unit.h"

#include "check/check.h"
#include "check/owner.h"
#include "cli/settings.h"
#include "net/address.h"
#include "net/network.h"
#include "oci/config.h"
#include "oci/runc.h"
#include "report/report.h"
#include "sync/digest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <sys/stat.h>

static int parse(const char *text, struct oci_config *c)
{
	struct err e = ERR_INIT;
	int r = oci_config_parse(text, strlen(text), "/srv/b", c, &e);

	assert_int_equal(r < 0, err_is_set(&e));
	return r;
}

static void a_configuration_is_read(void **state)
{
	struct oci_config c;

	(void)state;
	assert_int_equal(parse("{\"root\":{\"path\":\"rootfs\"},\"process\":{\"terminal\":true},"
			       "\"mounts\":[{\"type\":\"bind\",\"source\":\"/data\"},"
			       "{\"type\":\"none\",\"source\":\"/x\",\"options\":[\"rbind\"]},"
			       "{\"type\":\"tmpfs\",\"source\":\"tmpfs\"}],"
			       "\"linux\":{\"namespaces\":[{\"type\":\"network\"}]},"
			       "\"annotations\":{\"org.godwit.address\":\"10.0.0.1/8 dev br0\"}}",
				&c),
		0);
	assert_string_equal(c.rootfs, "/srv/b/rootfs");
	assert_true(c.terminal && c.own_network);
	assert_int_equal(c.n_bind_sources, 2);
	assert_string_equal(c.bind_sources[1], "/x");
	assert_string_equal(c.address, "10.0.0.1/8 dev br0");
	assert_null(c.criu_config);
	oci_config_done(&c);
}

static void a_configuration_that_is_none_is_refused(void **state)
{
	static const char *const bad[] = {"", "[]", "{}", "{\"root\":{}}", "{\"root\":{\"path\":\"\"}}",
		"{\"root\":{\"path\":\"a\"},\"root\":{\"path\":\"b\"}}", "{\"root\":"};
	struct oci_config c;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(parse(bad[i], &c) < 0);
}

static void container_names_can_not_be_paths_or_options(void **state)
{
	(void)state;
	assert_true(container_id_valid("xonotic"));
	assert_true(container_id_valid("a_b+c.d-1"));
	assert_false(container_id_valid(""));
	assert_false(container_id_valid("."));
	assert_false(container_id_valid(".."));
	assert_false(container_id_valid("-f"));
	assert_false(container_id_valid("a/b"));
	assert_false(container_id_valid("a b"));
}

static void versions_are_compared_as_numbers(void **state)
{
	(void)state;
	assert_int_equal(version_number("4.2.1"), 40201);
	assert_int_equal(version_number("4.2"), 40200);
	assert_true(version_number("3.17.1") < version_number("4.0"));
	assert_int_equal(version_number("x"), 0);
}

static void addresses_are_parsed_strictly(void **state)
{
	static const char *const bad[] = {"", "10.0.0.1", "10.0.0.1/33 dev br0", "10.0.0/8 dev br0",
		"10.0.0.1/8 dev ", "10.0.0.1/8 dev br0 x", "fd00::1/129 dev br0",
		"10.0.0.1/8 dev interface-name-too-long", "10.0.0.1/8 dev br0 vrrp",
		"10.0.0.1/8 dev br0 vrrp a/b", "10.0.0.1/8 dev br0 vrrp a b"};
	struct address a;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(address_parse("10.10.0.100/24 dev br0", &a, &e), 0);
	assert_int_equal(a.prefix, 24);
	assert_int_equal(a.bytes[3], 100);
	assert_string_equal(a.interface, "br0");
	assert_int_equal(address_parse("fd00::1/64 dev eth0.7", &a, &e), 0);
	assert_int_equal(a.family, AF_INET6);
	assert_false(address_is_vrrp(&a));
	assert_int_equal(address_parse("fd00::1/64 dev br0 vrrp VI_1", &a, &e), 0);
	assert_string_equal(a.vrrp.name, "VI_1");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(address_parse(bad[i], &a, &e) < 0);
}

static struct listener udp(uint16_t port, uint8_t last)
{
	struct listener l = {.protocol = IPPROTO_UDP, .family = 4, .port = port};

	if (last)
		memcpy(l.address + 12, (uint8_t[]){10, 0, 0, last}, 4);
	return l;
}

static void networks_are_parsed_strictly(void **state)
{
	static const char good[] = "veth eth0 br0 mac 02:10:00:00:01:01 mtu 1400 address 10.10.0.101/24 "
				   "address fd10::101/64 route default via 10.10.0.1 "
				   "route fd20::/32 via fd10::1";
	static const char *const bad[] = {"", "veth", "vlan eth0 br0 mac 02:10:00:00:01:01 address 10.0.0.1/8",
		"veth eth0 br0 address 10.0.0.1/8", "veth eth0 br0 mac 02:10:00:00:01:01",
		"veth eth0 ../br0 mac 02:10:00:00:01:01 address 10.0.0.1/8",
		"veth eth0 interfacenametoolong mac 02:10:00:00:01:01 address 10.0.0.1/8",
		"veth eth0 br0 mac 03:10:00:00:01:01 address 10.0.0.1/8",
		"veth eth0 br0 mac 02:10:00:00:01:01 address 10.0.0.1/33",
		"veth eth0 br0 mac 02:10:00:00:01:01 address 10.0.0.1/8 route default",
		"veth eth0 br0 mac 02:10:00:00:01:01 address 10.0.0.1/8 route fd20::/32 via 10.0.0.2",
		"veth eth0 br0 mac 02:10:00:00:01:01 address 10.0.0.1/8 mtu 0",
		"veth eth0 br0 mac 02:10:00:00:01:01 address 10.0.0.1/8 gateway 10.0.0.2"};
	struct network n;
	struct err e;

	(void)state;
	assert_int_equal(network_parse(good, &n, &e), 0);
	assert_int_equal(n.kind, NETWORK_VETH);
	assert_int_equal(n.mtu, 1400);
	assert_int_equal(n.n_addresses, 2);
	assert_string_equal(n.addresses[1].interface, "eth0");
	assert_int_equal(n.routes[0].prefix, 0);
	assert_int_equal(n.routes[1].prefix, 32);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e = ERR_INIT;
		assert_true(network_parse(bad[i], &n, &e) < 0);
		assert_true(e.class == ERR_REFUSED && e.remedy[0]);
	}
}

static void a_link_s_address_is_made_of_its_hardware_address(void **state)
{
	struct network n = {.mac = {0x02, 0x10, 0, 0, 0x01, 0x01}};
	struct address a = network_link_local(&n);
	uint8_t expected[16];

	(void)state;
	inet_pton(AF_INET6, "fe80::10:ff:fe00:101", expected);
	assert_memory_equal(a.bytes, expected, 16);
}

static void sockets_collide_on_the_same_or_any_address(void **state)
{
	struct listener a = udp(26000, 1), b = udp(26000, 2), any = udp(26000, 0), c = udp(26001, 1);

	(void)state;
	assert_true(listeners_collide(&a, &a));
	assert_false(listeners_collide(&a, &b));
	assert_true(listeners_collide(&a, &any));
	assert_true(listeners_collide(&any, &b));
	assert_false(listeners_collide(&a, &c));
	c = a;
	c.protocol = IPPROTO_TCP;
	assert_false(listeners_collide(&a, &c));
}

static void a_digest_sees_every_change_but_times(void **state)
{
	uint8_t first[DIGEST_LEN], second[DIGEST_LEN];
	char *dir = scratch_make(), path[512];
	struct err e = ERR_INIT;

	(void)state;
	scratch_file(dir, "a", "one", 3);
	assert_int_equal(digest_tree(dir, first, &e), 0);
	scratch_file(dir, "a", "one", 3);
	assert_int_equal(digest_tree(dir, second, &e), 0);
	assert_memory_equal(first, second, DIGEST_LEN);
	scratch_file(dir, "a", "two", 3);
	assert_int_equal(digest_tree(dir, second, &e), 0);
	assert_memory_not_equal(first, second, DIGEST_LEN);
	scratch_file(dir, "a", "one", 3);
	snprintf(path, sizeof(path), "%s/a", dir);
	chmod(path, 0755);
	assert_int_equal(digest_tree(dir, second, &e), 0);
	assert_memory_not_equal(first, second, DIGEST_LEN);
	chmod(path, 0644);
	snprintf(path, sizeof(path), "%s/b", dir);
	assert_int_equal(symlink("a", path), 0);
	assert_int_equal(digest_tree(dir, second, &e), 0);
	assert_memory_not_equal(first, second, DIGEST_LEN);
	assert_true(digest_tree("/nonexistent", second, &e) < 0);
	scratch_remove(dir);
}

static void verdicts_count_as_their_worst(void **state)
{
	static struct verdicts l;

	(void)state;
	verdict_add(&l, "a", CHECK_OK, NULL, "fine");
	verdict_add(&l, "b", CHECK_WARN, "look", "%d things", 2);
	assert_true(verdicts_allow(&l));
	verdict_add(&l, "c", CHECK_NO, "mend it", "broken");
	assert_false(verdicts_allow(&l));
	assert_string_equal(l.v[1].reason, "2 things");
	for (int i = 0; i < 2 * VERDICTS_MAX; i++)
		verdict_add(&l, "d", CHECK_OK, NULL, "more");
	assert_int_equal(l.n, VERDICTS_MAX);
}

static void every_line_of_json_is_an_object(void **state)
{
	char *text = NULL, *save = NULL;
	size_t size = 0, lines = 0;
	FILE *f = open_memstream(&text, &size);
	struct report r;
	struct summary s = {.container = "c", .from = "a", .to = "b", .mode = "post", .ok = true};
	struct err e = ERR_INIT;

	(void)state;
	report_init(&r, f, true);
	report_phase(&r, "check", "text");
	report_check(&r, "runc", REPORT_NO, "a \"reason\"", "");
	report_progress(&r, 1, 2);
	report_note(&r, "note");
	err_set(&e, ERR_PEER, EPIPE, "lost");
	report_error(&r, &e);
	summary_part(&s, "dump", 1.5);
	report_summary(&r, &s);
	fclose(f);
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		json_t *o = json_loads(l, 0, NULL);

		assert_non_null(json_string_value(json_object_get(o, "event")));
		json_decref(o);
		lines++;
	}
	assert_int_equal(lines, 6);
	free(text);
}

static void bytes_are_readable(void **state)
{
	char b[32];

	(void)state;
	assert_string_equal(human_bytes(0, b), "0 B");
	assert_string_equal(human_bytes(999, b), "999 B");
	assert_string_equal(human_bytes(94200000, b), "94.2 MB");
	assert_string_equal(human_bytes(UINT64_MAX, b), "18447 PB");
}

static void settings_are_parsed_strictly(void **state)
{
	static const char *const bad[][2] = {
		{"mode", "sideways"}, {"streams", "0"}, {"streams", "17"}, {"streams", "-1"},
		{"streams", "4x"}, {"max-downtime", "600001"}, {"bandwidth", "1000001"},
		{"bandwidth", "10M"}, {"bandwidth", ""}, {"throttle", "maybe"},
		{"tracker", "sniffing"}, {"color", "blue"},
	};
	struct settings s = {.streams = 2};
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e = ERR_INIT;
		assert_int_equal(settings_set(&s, "migrate", bad[i][0], bad[i][1], &e), -EINVAL);
		assert_int_equal(e.class, ERR_USAGE);
	}
	assert_int_equal(s.streams, 2);
	assert_int_equal(settings_set(&s, "migrate", "mode", "pre", &e), 0);
	assert_int_equal(settings_set(&s, "migrate", "bandwidth", "100", &e), 0);
	assert_int_equal(settings_set(&s, "migrate", "throttle", "yes", &e), 0);
	assert_int_equal(settings_set(&s, "agent", "mode", "pre", &e), -EINVAL);
	assert_int_equal(settings_set(&s, "agent", "migrations", "0", &e), -EINVAL);
	assert_int_equal(settings_set(&s, "agent", "migrations-per-peer", "33", &e), -EINVAL);
	assert_int_equal(settings_set(&s, "agent", "handshakes", "many", &e), -EINVAL);
	assert_int_equal(settings_set(&s, "agent", "memory", "2000", &e), 0);
	assert_int_equal(s.quota.memory_bytes, 2000000000);
	assert_int_equal(s.mode, MODE_PRE);
	assert_int_equal(s.bandwidth_mbit, 100);
	assert_true(s.throttle);
}

static void a_configuration_file_is_read_with_defaults(void **state)
{
	char *dir = scratch_make();
	struct err e = ERR_INIT;
	struct settings s;

	(void)state;
	assert_int_equal(settings_load(dir, &s, &e), 0);
	assert_int_equal(s.mode, MODE_HYBRID);
	assert_int_equal(s.max_downtime_ms, 200);
	scratch_file(dir, "godwit.conf", "[migrate]\nstreams = 4\nthrottle=yes\n", 35);
	assert_int_equal(settings_load(dir, &s, &e), 0);
	assert_int_equal(s.streams, 4);
	assert_true(s.throttle);
	scratch_file(dir, "godwit.conf", "[migrate]\nstreams = 99\n", 23);
	assert_int_equal(settings_load(dir, &s, &e), -EINVAL);
	assert_non_null(strstr(e.text, "line 2"));
	scratch_remove(dir);
}

#define FIELDS(pss, anonymous, locked, huge)                                                       \
	"Size: 100 kB\nRss: 90 kB\nPss: " #pss " kB\nAnonymous: " #anonymous " kB\n"               \
	"Private_Hugetlb: " #huge " kB\nLocked: " #locked " kB\nVmFlags: rd wr\n"

static void what_can_only_go_frozen_is_counted(void **state)
{
	static const char text[] =
		"00400000-00500000 r-xp 00000000 fe:00 123 /usr/bin/server\n" FIELDS(80, 0, 0, 0)
		"00600000-00700000 rw-p 00000000 fe:00 123 /usr/bin/server\n" FIELDS(20, 12, 0, 0)
		"7f0000000000-7f0000100000 rw-p 00000000 00:00 0 [heap]\n" FIELDS(50, 50, 0, 0)
		"7f0000200000-7f0000300000 rw-p 00000000 00:00 0 \n" FIELDS(40, 40, 40, 0)
		"7f0000400000-7f0000500000 rw-s 00000000 00:01 5 /dev/zero (deleted)\n" FIELDS(30, 0, 0, 0)
		"7f0000600000-7f0000700000 rw-s 00000000 fe:00 7 /var/data\n" FIELDS(70, 0, 0, 0)
		"7f0000800000-7f0000a00000 rw-p 00000000 00:0e 9 /anon_hugepage (deleted)\n" FIELDS(0, 0, 0, 2048)
		"garbage\n:::\n";
	struct eager e = {0};

	(void)state;
	eager_add_smaps(&e, text);
	assert_int_equal(e.written_files, 12 * 1024);
	assert_int_equal(e.locked, 40 * 1024);
	assert_int_equal(e.shared, 30 * 1024);
	assert_int_equal(e.huge, 2048 * 1024);
	assert_int_equal(eager_total(&e), (12 + 40 + 30 + 2048) * 1024);
	eager_add_smaps(&e, "");
	assert_int_equal(eager_total(&e), (12 + 40 + 30 + 2048) * 1024);
}

/* As root the parts of a path that is root's; else every path in it is another's. */
static void paths_are_roots_or_refused(void **state)
{
	char *dir = scratch_make(), path[512], link[600];
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(path_check_owner("/etc/../etc", &e), -EINVAL);
	assert_int_equal(path_check_owner("etc", &e), -EINVAL);
	assert_int_equal(path_check_owner("/etc/.", &e), -EINVAL);
	assert_int_equal(path_check_owner("//etc", &e), -EINVAL);
	assert_int_equal(path_check_owner("/nosuch/config.json", &e), -ENOENT);
	assert_int_equal(path_check_owner("/etc/passwd", &e), 0);
	assert_int_equal(path_check_parent("/etc/passwd", &e), 0);
	snprintf(path, sizeof(path), "%s/bundle", dir);
	assert_int_equal(mkdir(path, 0755), 0);
	if (geteuid() == 0) {
		assert_int_equal(path_check_owner(path, &e), 0);
		snprintf(link, sizeof(link), "%s/link", dir);
		assert_int_equal(symlink(path, link), 0);
		assert_int_equal(path_check_owner(link, &e), 0);
		assert_int_equal(chown(path, 1000, 1000), 0);
		assert_int_equal(path_check_owner(link, &e), -EPERM);
		assert_int_equal(chown(path, 0, 1000), 0);
		assert_int_equal(path_check_owner(path, &e), 0);
	}
	assert_int_equal(chmod(path, 0775), 0);
	assert_int_equal(path_check_owner(path, &e), -EPERM);
	assert_non_null(strstr(e.remedy, "chmod go-w"));
	scratch_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_roots_or_refused),
		cmocka_unit_test(a_configuration_is_read),
		cmocka_unit_test(a_configuration_that_is_none_is_refused),
		cmocka_unit_test(container_names_can_not_be_paths_or_options),
		cmocka_unit_test(versions_are_compared_as_numbers),
		cmocka_unit_test(addresses_are_parsed_strictly),
		cmocka_unit_test(networks_are_parsed_strictly),
		cmocka_unit_test(a_link_s_address_is_made_of_its_hardware_address),
		cmocka_unit_test(sockets_collide_on_the_same_or_any_address),
		cmocka_unit_test(a_digest_sees_every_change_but_times),
		cmocka_unit_test(verdicts_count_as_their_worst),
		cmocka_unit_test(every_line_of_json_is_an_object),
		cmocka_unit_test(bytes_are_readable),
		cmocka_unit_test(settings_are_parsed_strictly),
		cmocka_unit_test(a_configuration_file_is_read_with_defaults),
		cmocka_unit_test(what_can_only_go_frozen_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
