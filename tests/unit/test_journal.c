/* SPDX-License-Identifier: Apache-2.0 */
/* Who may settle what a migration has left: migrate/journal.h, in a /var/lib of the test's own. */
#include "unit.h"

#include "migrate/journal.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const uint8_t id[16] = {1, 2, 3};

static int enter_own_directory(void **state)
{
	(void)state;
	if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("journal", "/var/lib", "tmpfs", 0, NULL) < 0 || mkdir("/var/lib/godwit", 0700) < 0)
		return -1;
	return 0;
}

/* The entry of a process that has taken these steps and died. */
static struct journal_entry entry_of_dead(bool source, const char *const *steps)
{
	struct journal_entry entry;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct err e = ERR_INIT;
		struct journal j;
		int r = journal_begin(&j, id, source, &(struct journal_subject){"box", "far"}, &e);

		for (; r == 0 && *steps; steps++)
			r = journal_step(&j, *steps, &e);
		_exit(r != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(journal_find(id, source, &entry), 0);
	assert_false(entry.alive);
	return entry;
}

static int claim_in_another_process(struct journal_entry *entry)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct journal j;

		_exit(-journal_claim(entry, &j));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

static void one_of_several_settles_it(void **state)
{
	struct journal_entry entry = entry_of_dead(true, (const char *[]){"frozen", "committed", NULL});
	struct journal j;

	(void)state;
	assert_int_equal(journal_claim(&entry, &j), 0);
	assert_string_equal(j.step, "committed");
	assert_int_equal(claim_in_another_process(&entry), -EBUSY);
	assert_int_equal(journal_find(id, true, &entry), 0);
	assert_true(entry.alive);
	journal_end(&j);
	assert_int_equal(claim_in_another_process(&entry), -ENOENT);
}

static void who_took_it_and_died_is_followed_by_another(void **state)
{
	struct journal_entry entry = entry_of_dead(true, (const char *[]){"frozen", NULL});
	struct journal j;

	(void)state;
	assert_int_equal(claim_in_another_process(&entry), 0);
	assert_int_equal(journal_claim(&entry, &j), 0);
	journal_end(&j);
}

/* Between the look and the claim it has committed, and died. */
static void what_counts_is_what_it_says_when_it_is_claimed(void **state)
{
	struct journal_entry early = entry_of_dead(true, (const char *[]){"frozen", NULL});
	struct journal j;

	(void)state;
	entry_of_dead(true, (const char *[]){"frozen", "committed", NULL});
	assert_string_equal(early.step, "frozen");
	assert_int_equal(journal_claim(&early, &j), 0);
	assert_string_equal(early.step, "committed");
	assert_string_equal(j.step, "committed");
	journal_end(&j);
}

static void a_target_that_waits_for_a_good_bye_is_left_alone(void **state)
{
	struct journal_entry entry = entry_of_dead(false, (const char *[]){"owner", "drained", NULL});
	struct journal j;

	(void)state;
	assert_int_equal(journal_claim(&entry, &j), -EALREADY);
	assert_int_equal(journal_find(id, false, &entry), 0);
	assert_false(entry.alive);
	assert_int_equal(unlink(entry.path), 0);
}

/* @more: further members. */
static void put(const char *name, const char *more)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", JOURNAL_DIR, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "{\"container\": \"box\", \"role\": \"source\", \"step\": \"frozen\"%s}", more);
	assert_int_equal(fclose(f), 0);
}

static bool is_there(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", JOURNAL_DIR, name);
	return access(path, F_OK) == 0;
}

#define DIGITS "0123456789abcdef0123456789abcdef"

static void what_was_not_written_to_its_end_is_no_entry(void **state)
{
	static const char *const others[] = {DIGITS ".sourc", DIGITS ".source~", DIGITS ".targets", DIGITS,
		"x" DIGITS ".source", "0" DIGITS ".source", "notes", DIGITS ".source.new-", "notes.new-4194305"};
	char mine[64];
	struct journal_entry *v;
	struct err e = ERR_INIT;
	size_t n;

	(void)state;
	snprintf(mine, sizeof(mine), DIGITS ".source.new-%d", getpid());
	put(mine, "");
	put(DIGITS ".target.new-4194305", ""); /* more than the kernel has */
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		put(others[i], "");
	assert_int_equal(journal_list(&v, &n, &e), 0);
	free(v);
	assert_int_equal(n, 0);
	assert_int_equal(journal_check_free("box", &e), 0);
	assert_true(is_there(mine));
	assert_false(is_there(DIGITS ".target.new-4194305"));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_true(is_there(others[i]));
	put(DIGITS ".source", "");
	assert_int_equal(journal_check_free("box", &e), -EBUSY);
	assert_int_equal(unlink(JOURNAL_DIR "/" DIGITS ".source"), 0);
}

static struct journal_entry only_entry(void)
{
	struct journal_entry *v, r;
	size_t n;

	assert_int_equal(journal_list(&v, &n, NULL), 0);
	assert_int_equal(n, 1);
	r = v[0];
	free(v);
	return r;
}

static void an_entry_knows_the_boot_that_it_is_of(void **state)
{
	static const char another[] = ", \"boot\": \"00000000-0000-0000-0000-000000000000\"";
	struct journal_entry entry = entry_of_dead(true, (const char *[]){"frozen", NULL});
	struct journal j;

	(void)state;
	assert_int_equal(entry.gone, GONE_NOT);
	assert_int_equal(strlen(entry.boot), BOOT_LEN);
	assert_int_equal(unlink(entry.path), 0);
	put(DIGITS ".source", another);
	entry = only_entry();
	assert_int_equal(entry.gone, GONE_REBOOTED);
	assert_false(entry.alive);
	/* Also when somebody of this boot has taken it over, and died. */
	assert_int_equal(claim_in_another_process(&entry), 0);
	entry = only_entry();
	assert_int_equal(entry.gone, GONE_REBOOTED);
	assert_int_equal(journal_claim(&entry, &j), 0);
	assert_int_equal(j.gone, GONE_REBOOTED);
	journal_end(&j);
}

static void an_entry_that_tells_no_boot_is_of_this_one(void **state)
{
	struct journal_entry entry;
	struct journal j;

	(void)state;
	put(DIGITS ".source", "");
	entry = only_entry();
	assert_int_equal(entry.gone, GONE_NOT);
	assert_int_equal(journal_claim(&entry, &j), 0);
	assert_int_equal(j.gone, GONE_NOT);
	assert_int_equal(strlen(j.boot), BOOT_LEN);
	journal_end(&j);
}

#define CGROUP "/var/lib/box"

/* A "runc" that says of every container that it runs, or knows none. */
static void make_runc(bool runs)
{
	FILE *f = fopen("/var/lib/runc", "w");

	assert_non_null(f);
	fprintf(f, runs ? "#!/bin/sh\necho '{\"id\": \"box\", \"status\": \"running\", \"pid\": %d, \"bundle\": \"/\"}'\n"
			: "#!/bin/sh\nexit 1 # %d\n", getpid());
	assert_int_equal(fchmod(fileno(f), 0755), 0);
	assert_int_equal(fclose(f), 0);
}

static void an_entry_knows_its_container_from_another_of_its_name(void **state)
{
	char more[64];
	struct journal j;
	struct journal_entry entry;

	(void)state;
	assert_int_equal(setenv("PATH", "/var/lib:/usr/bin:/bin", 1), 0);
	make_runc(true);
	assert_int_equal(mkdir(CGROUP, 0700), 0);
	snprintf(more, sizeof(more), ", \"cgroup\": \"" CGROUP "\", \"cgroup_number\": %llu",
		(unsigned long long)cgroup_number(CGROUP));
	put(DIGITS ".source", more);
	assert_int_equal(only_entry().gone, GONE_NOT);
	/* It is gone because we were about to delete it. */
	assert_int_equal(rmdir(CGROUP), 0);
	make_runc(false);
	assert_int_equal(only_entry().gone, GONE_NOT);
	assert_int_equal(mkdir(CGROUP, 0700), 0);
	make_runc(true);
	assert_int_equal(only_entry().gone, GONE_REPLACED);
	/* Also for who takes it over. */
	entry = only_entry();
	assert_int_equal(claim_in_another_process(&entry), 0);
	assert_int_equal(journal_claim(&entry, &j), 0);
	assert_int_equal(j.gone, GONE_REPLACED);
	journal_end(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_of_several_settles_it),
		cmocka_unit_test(who_took_it_and_died_is_followed_by_another),
		cmocka_unit_test(what_counts_is_what_it_says_when_it_is_claimed),
		cmocka_unit_test(a_target_that_waits_for_a_good_bye_is_left_alone),
		cmocka_unit_test(what_was_not_written_to_its_end_is_no_entry),
		cmocka_unit_test(an_entry_knows_the_boot_that_it_is_of),
		cmocka_unit_test(an_entry_that_tells_no_boot_is_of_this_one),
		cmocka_unit_test(an_entry_knows_its_container_from_another_of_its_name),
	};

	return cmocka_run_group_tests_name("journal", tests, enter_own_directory, NULL);
}
