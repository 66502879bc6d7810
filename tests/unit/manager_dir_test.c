/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMs on disk: names, what is alive, and that whoever is killed at whatever system
 * call leaves nothing that the next one does not set right.
 */
#include "buf.h"
#include "err.h"
#include "home.h"
#include "killer.h"
#include "kiln_test.h"
#include "os.h"
#include "vmdir.h"
#include "vmfiles.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONFIG "{}\n"

static struct kiln__home home;

static void open_home(void)
{
	kiln_error err;

	kiln_ok(kiln__home_init(&home, kiln_test_path("home"), kiln_test_path("run"), NULL, &err),
		&err);
}

/* Entries of the directory @name in the home. */
static size_t count_in(const char *parent, const char *name)
{
	kiln__autofree char *dir = kiln__strf("%s%s", parent, name);
	char **names;
	size_t n = 0;

	if (kiln__os_list_dir(dir, &names, NULL) < 0)
		return 0;
	while (names[n])
		n++;
	kiln__os_free_names(names);
	return n;
}

static size_t vms(void)
{
	return count_in(home.dir, "/vms");
}

static size_t names(void)
{
	return count_in(home.dir, "/names");
}

static size_t live(void)
{
	return count_in(home.runtime, "");
}

static struct kiln__vmdir *create(const char *name, bool ephemeral)
{
	struct kiln__vmdir *dir = NULL;
	kiln_error err;

	kiln_ok(kiln__vmdir_create(&dir, &home, name, ephemeral, CONFIG, &err), &err);
	return dir;
}

static void write_state(const struct kiln__vmdir *dir, const char *text)
{
	kiln__autofree char *path = kiln__vmdir_state_file(dir);

	assert_int_equal(kiln__os_replace_file(path, text, strlen(text), 0600, false, NULL), 0);
}

static enum kiln_state state_of(const struct kiln__vmdir *dir, kiln_error *ret_failure)
{
	struct kiln__vmstate state;
	kiln_error err;

	kiln_ok(kiln__vmdir_status(dir, &state, NULL, &err), &err);
	if (ret_failure)
		*ret_failure = state.failure;
	return state.state;
}

/* In place of the C library's: which lock files were synced while they were no VM's yet. */
static char synced[PATH_MAX];

int fsync(int fd)
{
	char link[64];
	char path[PATH_MAX];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 16);
	if (len > 5 && memcmp(path + len - 5, "/lock", 5) == 0) {
		memcpy(path + len - 5, "/config.json", sizeof("/config.json"));
		if (access(path, F_OK) < 0)
			memcpy(synced, path, sizeof(path));
	}
	return (int)syscall(SYS_fsync, fd);
}

/* --- names ------------------------------------------------------------------------------- */

static void a_name_finds_its_vm_until_it_is_removed(void **state)
{
	struct kiln__vmdir *dir;
	struct kiln__vmdir *again;
	char id[KILN__ID_TEXT];
	char beginning[8];
	kiln_error err;

	(void)state;
	open_home();
	assert_int_equal(kiln__home_find(&home, "web", id, NULL), KILN_ENOENT);
	dir = create("web", false);
	kiln_ok(kiln__home_find(&home, "web", id, &err), &err);
	assert_string_equal(id, dir->id);
	snprintf(beginning, sizeof(beginning), "%.7s", dir->id);
	kiln_ok(kiln__home_find(&home, beginning, id, &err), &err);
	assert_string_equal(id, dir->id);
	kiln_ok(kiln__vmdir_open(&again, &home, id, &err), &err);
	assert_string_equal(again->name, "web");
	assert_int_equal(again->created_ns / 1000000000, dir->created_ns / 1000000000);
	assert_false(again->ephemeral);
	assert_int_equal(live(), 0);
	kiln_ok(kiln__vmdir_remove(&home, id, &err), &err);
	assert_int_equal(kiln__home_find(&home, "web", id, NULL), KILN_ENOENT);
	assert_int_equal(kiln__vmdir_remove(&home, id, NULL), KILN_ENOENT);
	assert_int_equal(vms() + names() + live(), 0);
	kiln__vmdir_free(dir);
	kiln__vmdir_free(again);
	kiln__home_done(&home);
}

/* After a power cut, what is a VM must know its name; an ephemeral one is gone then anyway. */
static void who_a_lasting_vm_is_is_synced_before_it_is_one(void **state)
{
	struct kiln__vmdir *dir;

	(void)state;
	open_home();
	synced[0] = '\0';
	dir = create("web", false);
	assert_int_equal(strncmp(synced, dir->path, strlen(dir->path)), 0);
	kiln__vmdir_free(dir);
	synced[0] = '\0';
	dir = create("other", true);
	assert_string_equal(synced, "");
	kiln__vmdir_free(dir);
	kiln__home_done(&home);
}

static void a_beginning_that_two_ids_share_is_ambiguous(void **state)
{
	struct kiln__vmdir *dirs[17];
	char id[KILN__ID_TEXT];
	int ambiguous = 0;

	(void)state;
	open_home();
	/* Of 17 ids, two begin with the same digit. */
	for (int i = 0; i < 17; i++)
		dirs[i] = create(NULL, false);
	for (int i = 0; i < 17; i++) {
		char digit[2] = {dirs[i]->id[0], '\0'};

		ambiguous += kiln__home_find(&home, digit, id, NULL) == KILN_EINVAL;
	}
	assert_true(ambiguous >= 2);
	for (int i = 0; i < 17; i++)
		kiln__vmdir_free(dirs[i]);
	kiln__home_done(&home);
}

static void what_cannot_be_a_name_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		".",
		"..",
		"a/b",
		"/a",
		"-a",
		".a",
		"_a",
		"a b",
		"a\nb",
		"\xc3\xa4",
		"0123456789abcdef0123456789abcdef",
		"x23456789012345678901234567890123456789012345678901234567890123x",
	};
	kiln_error err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(kiln__check_name(bad[i], &err), KILN_EINVAL);
	kiln_ok(kiln__check_name("web-1.example_x", &err), &err);
	kiln_ok(kiln__check_name("0", &err), &err);
}

/* Exit codes: 0 created, 1 the name was taken, 2 anything else. */
static int claim(void *data)
{
	struct kiln__vmdir *dir;
	kiln_error err;
	int r = kiln__vmdir_create(&dir, &home, data, false, CONFIG, &err);

	if (r == KILN_EEXIST && strstr(err.message, "taken"))
		return 1;
	if (r < 0)
		fprintf(stderr, "%s\n", err.message);
	return r == 0 ? 0 : 2;
}

static void of_twenty_that_want_a_name_one_gets_it(void **state)
{
	int codes[3] = {0};
	pid_t pids[20];

	(void)state;
	open_home();
	for (int round = 0; round < 5; round++) {
		char name[16];

		snprintf(name, sizeof(name), "name%d", round);
		memset(codes, 0, sizeof(codes));
		for (int i = 0; i < 20; i++) {
			pids[i] = fork();
			assert_true(pids[i] >= 0);
			if (pids[i] == 0)
				_exit(claim(name));
		}
		for (int i = 0; i < 20; i++) {
			int status;

			assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
			assert_true(WIFEXITED(status));
			codes[WEXITSTATUS(status)]++;
		}
		assert_int_equal(codes[0], 1);
		assert_int_equal(codes[1], 19);
		assert_int_equal(vms(), round + 1);
		assert_int_equal(names(), round + 1);
		assert_int_equal(live(), 0);
	}
	kiln__home_done(&home);
	kiln_test_shown("20 creations of one name at once, 5 times: one has it, 19 are told, "
			"nothing of them is left");
}

static int create_some(void)
{
	struct kiln__vmdir *dir;
	kiln_error err;

	for (int n = 0; n < 20; n++) {
		int r = kiln__vmdir_create(&dir, &home, NULL, false, CONFIG, &err);

		if (r < 0) {
			fprintf(stderr, "creation %d: %s: %s\n", n, kiln_error_name(r),
				err.message);
			return 1;
		}
		kiln__vmdir_free(dir);
	}
	return 0;
}

/* The same with others who sweep meanwhile: nothing that is being made is taken for a leftover. */
static void sweeps_do_not_disturb_creations(void **state)
{
	pid_t pids[12];
	int failed = 0;

	(void)state;
	open_home();
	for (int i = 0; i < 12; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] > 0)
			continue;
		if (i % 2 == 0)
			_exit(create_some());
		for (int n = 0; n < 20; n++)
			kiln__home_sweep(&home, NULL);
		_exit(0);
	}
	for (int i = 0; i < 12; i++) {
		int status;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		failed += status != 0;
	}
	assert_int_equal(failed, 0);
	kiln__home_sweep(&home, NULL);
	assert_int_equal(vms(), 6 * 20);
	assert_int_equal(live(), 0);
	kiln__home_done(&home);
}

/* --- alive ---------------------------------------------------------------------------------- */

static void alive_is_who_holds_the_lock(void **state)
{
	struct kiln__vmdir *dir;
	kiln_fd life;
	kiln_fd other;
	kiln_error err;

	(void)state;
	open_home();
	dir = create("web", false);
	assert_int_equal(kiln__vmdir_is_alive(dir, NULL), 0);
	assert_int_equal(state_of(dir, NULL), KILN_STATE_CREATED);
	kiln_ok(kiln__vmdir_take(dir, &life, &err), &err);
	assert_int_equal(kiln__vmdir_is_alive(dir, NULL), 1);
	assert_int_equal(state_of(dir, NULL), KILN_STATE_STARTING);
	assert_int_equal(live(), 1);
	assert_int_equal(kiln__vmdir_take(dir, &other, NULL), KILN_ESTATE);
	assert_int_equal(kiln__vmdir_remove(&home, dir->id, NULL), KILN_EBUSY);
	write_state(dir, "{\"state\":\"ready\",\"pid\":1}");
	kiln__home_sweep(&home, NULL);
	assert_int_equal(state_of(dir, NULL), KILN_STATE_READY);
	assert_int_equal(live(), 1);
	kiln__os_close(life);
	assert_int_equal(kiln__vmdir_is_alive(dir, NULL), 0);
	kiln__vmdir_free(dir);
	kiln__home_done(&home);
}

static void a_runner_that_died_is_a_failure_with_a_reason(void **state)
{
	struct kiln__vmdir *dir;
	kiln_error failure;
	char *events;
	char *text;
	kiln_fd life;
	kiln_error err;

	(void)state;
	open_home();
	dir = create("web", false);
	kiln_ok(kiln__vmdir_take(dir, &life, &err), &err);
	write_state(dir, "{\"state\":\"running\",\"pid\":1,\"backend\":\"fake\"}");
	kiln__os_close(life);
	assert_int_equal(state_of(dir, &failure), KILN_STATE_FAILED);
	assert_int_equal(failure.code, KILN_EDIED);
	assert_string_equal(failure.stage, "running");
	assert_non_null(strstr(failure.message, "runner died"));
	assert_int_equal(live(), 0);
	events = kiln__strf("%s/events", dir->state);
	kiln_ok(kiln__os_read_file(events, 4096, &text, NULL, &err), &err);
	assert_non_null(strstr(text, "\"event\":\"failed\""));
	free(events);
	free(text);
	/* Told once; and it can be started again. */
	assert_int_equal(state_of(dir, &failure), KILN_STATE_FAILED);
	kiln_ok(kiln__vmdir_take(dir, &life, &err), &err);
	kiln__os_close(life);
	kiln__vmdir_free(dir);
	kiln__home_done(&home);
}

/* A process of this user with the VM's id in its command line, as an editor may be one. */
static pid_t bystander(const struct kiln__vmdir *dir)
{
	int pipe[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe2(pipe, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", "kill -STOP $$", dir->id, (char *)NULL);
		_exit(1);
	}
	close(pipe[1]);
	assert_int_equal(read(pipe[0], &c, 1), 0); /* ended by exec: it is that now */
	close(pipe[0]);
	return pid;
}

static bool is_left_alone(pid_t pid)
{
	int how;

	return waitpid(pid, &how, WNOHANG) == 0;
}

/* A runner that its guest has taken over writes what it likes: no number of it is acted on. */
static void what_a_runner_wrote_kills_nobody_and_leads_nowhere(void **state)
{
	const char *outside = kiln_test_path("outside");
	kiln__autofree char *events = NULL;
	kiln__autofree char *text = NULL;
	struct kiln__vmdir *dir;
	kiln__autofree char *lie = NULL;
	struct kiln__os_stat st;
	kiln_error err;
	kiln_fd life;
	pid_t pid;

	(void)state;
	open_home();
	dir = create("web", false);
	pid = bystander(dir);
	lie = kiln__strf("{\"state\":\"running\",\"pid\":%d,\"vmm_pid\":%d}", pid, pid);
	kiln_ok(kiln__vmdir_take(dir, &life, &err), &err);
	write_state(dir, lie);
	events = kiln__strf("%s/events", dir->state);
	kiln_ok(kiln__os_symlink_new(outside, events, &err), &err);
	kiln__os_close(life);
	assert_int_equal(state_of(dir, NULL), KILN_STATE_FAILED);
	assert_true(is_left_alone(pid));
	assert_int_equal(kiln__os_stat(outside, &st, NULL), KILN_ENOENT);
	write_state(dir, lie);
	kiln_ok(kiln__vmdir_take(dir, &life, &err), &err);
	kiln__os_close(life);
	assert_true(is_left_alone(pid));
	write_state(dir, lie);
	kiln_ok(kiln__vmdir_remove(&home, dir->id, &err), &err);
	assert_true(is_left_alone(pid));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	kiln__vmdir_free(dir);
	kiln__home_done(&home);
}

/* What the runner wrote down before its guest ran is. */
static void the_processes_of_a_dead_runner_are_ended(void **state)
{
	struct kiln__vmdir *dir;
	kiln_error err;
	kiln_fd life;
	int how;
	pid_t pid;

	(void)state;
	open_home();
	dir = create("web", false);
	pid = bystander(dir);
	kiln_ok(kiln__vmdir_take(dir, &life, &err), &err);
	{
		kiln__autofree char *path = kiln__strf("%s/lock", dir->path);
		kiln__autofree char *text = kiln__strf(KILN__VM_PROCESSES, 0LL, (long long)pid);
		kiln__autoclose kiln_fd lock = KILN_FD_NONE;

		kiln_ok(kiln__os_open(&lock, path, KILN__OPEN_WRITE, &err), &err);
		kiln_ok(kiln__os_pwrite_full(lock, text, strlen(text), KILN__VM_PROCESSES_AT, &err),
			&err);
	}
	/* It says that it has ended, and lives: that is no reason to leave it. */
	write_state(dir, "{\"state\":\"stopped\"}");
	kiln__os_close(life);
	kiln_ok(kiln__vmdir_take(dir, &life, &err), &err);
	assert_int_equal(waitpid(pid, &how, WNOHANG), pid);
	assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
	kiln__os_close(life);
	kiln__vmdir_free(dir);
	kiln__home_done(&home);
}

/* A cgroup in use, as rmdir(2) sees it: what it is in stays, and who looks is told. */
static char *leave_behind(const struct kiln__vmdir *dir)
{
	kiln__autofree char *path = kiln__strf("%s/lock", dir->path);
	kiln__autofree char *entry = kiln__strf("%s/%s/entry", kiln_test_path("group"), dir->id);
	kiln__autofree char *text = kiln__strf("g %s/%s\n", kiln_test_path("group"), dir->id);
	kiln__autoclose kiln_fd lock = KILN_FD_NONE;
	kiln_error err;

	kiln_ok(kiln__os_mkdir_p(entry, 0700, &err), &err);
	kiln_ok(kiln__os_open(&lock, path, KILN__OPEN_WRITE, &err), &err);
	kiln_ok(kiln__os_pwrite_full(lock, text, strlen(text) + 1, KILN__VM_LEAVES_AT, &err), &err);
	return kiln__take(entry);
}

static void a_vm_stays_while_something_of_its_last_run_does(void **state)
{
	kiln__autofree char *entry = NULL;
	struct kiln__vmdir *dir;
	kiln_error err;
	kiln_fd life;

	(void)state;
	open_home();
	dir = create("web", false);
	entry = leave_behind(dir);
	assert_int_equal(kiln__vmdir_remove(&home, dir->id, &err), KILN_EBUSY);
	assert_non_null(strstr(err.message, "group"));
	assert_true(err.hint[0] != '\0');
	assert_int_equal(kiln__vmdir_take(dir, &life, &err), KILN_EBUSY);
	assert_non_null(strstr(err.message, "group"));
	assert_int_equal(state_of(dir, NULL), KILN_STATE_CREATED);
	assert_int_equal(vms() + names(), 2);
	kiln_ok(kiln__os_remove(entry, &err), &err);
	kiln_ok(kiln__vmdir_remove(&home, dir->id, &err), &err);
	assert_int_equal(vms() + names() + live(), 0);
	*strrchr(entry, '/') = '\0';
	assert_true(access(entry, F_OK) < 0);
	kiln__vmdir_free(dir);
	kiln__home_done(&home);
}

/* That holds for one which a sweep removes, too; and a later sweep finds it. */
static void a_sweep_keeps_what_is_not_all_gone(void **state)
{
	kiln__autofree char *entry = NULL;
	struct kiln__vmdir *dir;
	kiln_error err;
	kiln_fd life;

	(void)state;
	open_home();
	dir = create("web", true);
	kiln_ok(kiln__vmdir_take(dir, &life, &err), &err);
	write_state(dir, "{\"state\":\"running\"}");
	entry = leave_behind(dir);
	kiln__os_close(life);
	kiln__vmdir_free(dir); /* gives up OWNER */
	kiln__home_sweep(&home, NULL);
	assert_int_equal(vms() + live(), 2);
	kiln_ok(kiln__os_remove(entry, &err), &err);
	kiln__home_sweep(&home, NULL);
	assert_int_equal(vms() + names() + live(), 0);
	kiln__home_done(&home);
}

static void an_ephemeral_vm_goes_with_its_owner(void **state)
{
	struct kiln__vmdir *dir;
	kiln_fd life;
	kiln_error err;

	(void)state;
	open_home();
	dir = create(NULL, true);
	kiln__home_sweep(&home, NULL);
	assert_int_equal(vms(), 1); /* it has an owner */
	kiln_ok(kiln__vmdir_take(dir, &life, &err), &err);
	kiln__os_close(dir->owner);
	dir->owner = KILN_FD_NONE;
	kiln__home_sweep(&home, NULL);
	assert_int_equal(vms(), 1); /* it is alive */
	kiln__os_close(life);
	kiln__home_sweep(&home, NULL);
	assert_int_equal(vms() + live(), 0);
	kiln__vmdir_free(dir);
	kiln__home_done(&home);
}

/* --- killed at every moment ------------------------------------------------------------------- */

static int create_web(void *data)
{
	struct kiln__vmdir *dir;

	(void)data;
	return kiln__vmdir_create(&dir, &home, "web", false, CONFIG, NULL) < 0;
}

static int create_ephemeral(void *data)
{
	struct kiln__vmdir *dir;

	(void)data;
	return kiln__vmdir_create(&dir, &home, "web", true, CONFIG, NULL) < 0;
}

static int remove_web(void *data)
{
	return kiln__vmdir_remove(&home, data, NULL) < 0;
}

static int settle_web(void *data)
{
	return kiln__vmdir_settle(&home, data, false, true, NULL) != 0;
}

static int take_web(void *data)
{
	struct kiln__vmdir *dir;
	kiln_fd life;

	return kiln__vmdir_open(&dir, &home, data, NULL) < 0 ||
	       kiln__vmdir_take(dir, &life, NULL) < 0;
}

/* Files that belong to no VM in its directory. */
static void check_no_temporaries(const char *id)
{
	kiln__autofree char *path = kiln__home_vm_path(&home, id);
	char **entries;

	assert_int_equal(kiln__os_list_dir(path, &entries, NULL), 0);
	for (size_t i = 0; entries[i]; i++)
		assert_int_not_equal(entries[i][0], '.');
	kiln__os_free_names(entries);
}

/* All or nothing: a VM and its name, or neither; and nothing in the journal. */
static void check_whole(void)
{
	char id[KILN__ID_TEXT];

	kiln__home_sweep(&home, NULL);
	assert_int_equal(live(), 0);
	assert_true(vms() <= 1);
	assert_int_equal(names(), vms());
	if (vms() == 1) {
		assert_int_equal(kiln__home_find(&home, "web", id, NULL), 0);
		check_no_temporaries(id);
	}
}

/* Once the name is free, or taken by what was made, it can be had, or removed. */
static void check_usable(void)
{
	char id[KILN__ID_TEXT];
	kiln_error err;

	if (vms() == 0)
		kiln__vmdir_free(create("web", false));
	kiln_ok(kiln__home_find(&home, "web", id, &err), &err);
	kiln_ok(kiln__vmdir_remove(&home, id, &err), &err);
	assert_int_equal(vms() + names() + live(), 0);
}

static unsigned moments;

/* Runs @fn killed at its 1st, 2nd, ... moment, until it ends by itself. */
static unsigned at_every_moment(int (*fn)(void *data), void *(*prepare)(void), void (*check)(void))
{
	for (unsigned moment = 0;; moment++) {
		void *data = prepare ? prepare() : NULL;
		int status = 0;

		switch (kill_at(moment, fn, data, &status)) {
		case NO_PTRACE:
			kiln_test_skip("processes cannot be traced here");
			skip();
			return 0;
		case ENDED_BEFORE:
			assert_int_equal(status, 0);
			check();
			moments += moment;
			return moment;
		case KILLED:
			check();
		}
	}
}

static void check_whole_and_usable(void)
{
	check_whole();
	check_usable();
}

static void check_nothing(void)
{
	check_whole();
	assert_int_equal(vms(), 0);
}

static char prepared_id[KILN__ID_TEXT];

static void *prepare_web(void)
{
	struct kiln__vmdir *dir = create("web", false);

	memcpy(prepared_id, dir->id, sizeof(prepared_id));
	write_state(dir, "{\"state\":\"stopped\"}");
	kiln__vmdir_free(dir);
	return prepared_id;
}

static void *prepare_dead_web(void)
{
	struct kiln__vmdir *dir;
	kiln_fd life;

	prepare_web();
	assert_int_equal(kiln__vmdir_open(&dir, &home, prepared_id, NULL), 0);
	assert_int_equal(kiln__vmdir_take(dir, &life, NULL), 0);
	write_state(dir, "{\"state\":\"ready\"}");
	kiln__os_close(life);
	kiln__vmdir_free(dir);
	return prepared_id;
}

static void check_failed_and_usable(void)
{
	struct kiln__vmdir *dir;

	check_whole();
	assert_int_equal(vms(), 1);
	assert_int_equal(kiln__vmdir_open(&dir, &home, prepared_id, NULL), 0);
	assert_int_equal(state_of(dir, NULL), KILN_STATE_FAILED);
	kiln__vmdir_free(dir);
	check_usable();
}

static void check_not_started_and_usable(void)
{
	enum kiln_state state;
	struct kiln__vmdir *dir;

	check_whole();
	assert_int_equal(vms(), 1);
	assert_int_equal(kiln__vmdir_open(&dir, &home, prepared_id, NULL), 0);
	state = state_of(dir, NULL);
	if (state != KILN_STATE_STOPPED) /* as it was; or the start had begun, and is told of */
		assert_int_equal(state, KILN_STATE_FAILED);
	kiln__vmdir_free(dir);
	check_usable();
}

static void *prepare_nothing(void)
{
	kiln_error err;

	kiln_ok(kiln__os_remove_tree(home.dir, &err), &err);
	kiln_ok(kiln__os_remove_tree(home.runtime, &err), &err);
	return NULL;
}

static void a_creation_killed_at_any_moment_is_all_or_nothing(void **state)
{
	(void)state;
	open_home();
	/* With the home's own directories to be made, and without. */
	assert_true(at_every_moment(create_web, prepare_nothing, check_whole_and_usable) > 30);
	assert_true(at_every_moment(create_web, NULL, check_whole_and_usable) > 20);
	kiln__home_done(&home);
}

static void an_ephemeral_creation_killed_at_any_moment_is_nothing(void **state)
{
	(void)state;
	open_home();
	kiln_ok(kiln__home_make(&home, NULL), NULL);
	assert_true(at_every_moment(create_ephemeral, NULL, check_nothing) > 20);
	kiln__home_done(&home);
}

static void a_removal_killed_at_any_moment_is_all_or_nothing(void **state)
{
	(void)state;
	open_home();
	assert_true(at_every_moment(remove_web, prepare_web, check_whole_and_usable) > 20);
	kiln__home_done(&home);
}

static void setting_right_killed_at_any_moment_is_done_by_the_next(void **state)
{
	(void)state;
	open_home();
	assert_true(at_every_moment(settle_web, prepare_dead_web, check_failed_and_usable) > 20);
	kiln__home_done(&home);
}

static void taking_for_a_start_killed_at_any_moment_leaves_it_usable(void **state)
{
	(void)state;
	open_home();
	assert_true(at_every_moment(take_web, prepare_web, check_not_started_and_usable) > 10);
	kiln__home_done(&home);
	kiln_test_shown("creations, removals and starts killed at each of their %u system calls",
			moments);
}

/* --- what the journal does not know -------------------------------------------------- */

static void after_a_boot_of_the_host_all_is_looked_through(void **state)
{
	struct kiln__vmdir *dir;
	struct kiln__vmdir *half;
	kiln_fd life;
	kiln_error err;

	(void)state;
	open_home();
	dir = create("web", false);
	half = create("half", false);
	kiln_ok(kiln__vmdir_take(dir, &life, &err), &err);
	write_state(dir, "{\"state\":\"ready\"}");
	/* The power goes: locks and the runtime directory with it, and what was not synced. */
	kiln__os_close(life);
	kiln_ok(kiln__os_remove_tree(home.runtime, &err), &err);
	{
		kiln__autofree char *config = kiln__strf("%s/config.json", half->path);
		kiln__autofree char *dangling = kiln__strf("%s/names/lost", home.dir);

		kiln_ok(kiln__os_remove(config, &err), &err);
		kiln_ok(kiln__os_symlink_new("../vms/0123456789abcdef0123456789abcdef", dangling,
					     &err),
			&err);
	}
	kiln__home_sweep(&home, NULL);
	assert_int_equal(vms(), 1);
	assert_int_equal(names(), 1);
	assert_int_equal(live(), 0);
	assert_int_equal(state_of(dir, NULL), KILN_STATE_FAILED);
	kiln__vmdir_free(dir);
	kiln__vmdir_free(half);
	kiln__home_done(&home);
}

/* A logout takes /run/user/N away, and what is in it. */
static void one_whose_runtime_directory_vanished_can_be_started(void **state)
{
	struct kiln__vmdir *dir;
	kiln_error failure;
	kiln_error why;
	kiln_error err;
	kiln_fd life;

	(void)state;
	open_home();
	dir = create("web", true);
	kiln_ok(kiln__vmdir_take(dir, &life, &err), &err);
	write_state(dir, "{\"state\":\"stopped\"}");
	kiln__os_close(life);
	kiln_ok(kiln__os_remove_tree(home.runtime, &err), &err);
	kiln_ok(kiln__vmdir_take(dir, &life, &err), &err);
	assert_int_equal(state_of(dir, NULL), KILN_STATE_STARTING);
	/* And where it vanishes while the VM starts, that this has failed is put on record. */
	kiln_ok(kiln__os_remove_tree(home.runtime, &err), &err);
	kiln__fail(&why, KILN_ESYSTEM, "no luck");
	kiln_ok(kiln__vmdir_record_failure(dir, &why, &err), &err);
	kiln__os_close(life);
	assert_int_equal(state_of(dir, &failure), KILN_STATE_FAILED);
	assert_string_equal(failure.message, "no luck");
	kiln__vmdir_free(dir);
	kiln__home_sweep(&home, NULL);
	assert_int_equal(vms() + live(), 0);
	kiln__home_done(&home);
}

/* --- whose directories ---------------------------------------------------------------------- */

static void assert_refused(void)
{
	struct kiln__vmdir *dir = NULL;

	assert_int_equal(kiln__home_sweep(&home, NULL), KILN_EACCES);
	assert_int_equal(kiln__vmdir_create(&dir, &home, "x", true, CONFIG, NULL), KILN_EACCES);
	assert_null(dir);
}

/* As /tmp/kiln-1000 may be another's: who may rename what is in it has the control sockets. */
static void a_runtime_directory_that_others_may_write_is_refused(void **state)
{
	struct kiln__vmdir *dir;
	kiln_fd life;
	kiln_error err;

	(void)state;
	open_home();
	dir = create("web", false);
	assert_int_equal(kiln__home_sweep(&home, NULL), 0);
	chmod(home.runtime, 0777);
	assert_refused();
	assert_int_equal(kiln__vmdir_take(dir, &life, &err), KILN_EACCES);
	assert_non_null(strstr(err.hint, "KILN_RUNTIME_DIR"));
	chmod(home.runtime, 0700);
	assert_int_equal(rename(home.runtime, kiln_test_path("elsewhere")), 0);
	assert_int_equal(symlink(kiln_test_path("elsewhere"), home.runtime), 0);
	assert_refused();
	assert_int_equal(unlink(home.runtime), 0);
	if (geteuid() == 0) {
		assert_int_equal(mkdir(home.runtime, 0700), 0);
		assert_int_equal(chown(home.runtime, 65534, 65534), 0);
		assert_refused();
		assert_int_equal(rmdir(home.runtime), 0);
	}
	assert_int_equal(kiln__home_sweep(&home, NULL), 0);
	chmod(home.dir, 0777);
	assert_int_equal(kiln__home_sweep(&home, NULL), KILN_EACCES);
	chmod(home.dir, 0700);
	kiln__vmdir_free(dir);
	kiln__home_done(&home);
}

/* What lies in the place of a VM's own runtime directory is not followed, and not left open. */
static void a_vm_s_runtime_directory_is_its_user_s_alone(void **state)
{
	kiln__autofree char *outside = kiln__strf("%s/file", kiln_test_path("outside"));
	struct kiln__vmdir *dir;
	struct stat st;
	kiln_fd life;
	kiln_error err;

	(void)state;
	open_home();
	dir = create("web", false);
	kiln_ok(kiln__os_mkdir_p(outside, 0700, &err), &err);
	assert_int_equal(symlink(kiln_test_path("outside"), dir->runtime), 0);
	assert_int_equal(kiln__vmdir_take(dir, &life, &err), KILN_EACCES);
	assert_true(err.hint[0] != '\0');
	assert_int_equal(access(outside, F_OK), 0);
	assert_int_equal(unlink(dir->runtime), 0);
	assert_int_equal(mkdir(dir->runtime, 0700), 0);
	assert_int_equal(chmod(dir->runtime, 01777), 0);
	kiln_ok(kiln__vmdir_take(dir, &life, &err), &err);
	assert_int_equal(lstat(dir->runtime, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	kiln__os_close(life);
	if (geteuid() == 0) {
		assert_int_equal(chown(dir->runtime, 65534, 65534), 0);
		assert_int_equal(kiln__vmdir_take(dir, &life, &err), KILN_EACCES);
	}
	kiln__vmdir_free(dir);
	kiln__home_done(&home);
}

static void damaged_files_are_not_believed(void **state)
{
	static const char *const texts[] = {
		"",
		"rubbish",
		"[]",
		"{\"state\":7}",
		"{\"state\":\"flying\",\"pid\":\"x\"}",
		"{\"state\":\"failed\",\"failure\":[1],\"exit\":9,\"started\":\"soon\"}",
	};
	struct kiln__vmdir *dir;

	(void)state;
	open_home();
	dir = create("web", false);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		enum kiln_state seen;

		write_state(dir, texts[i]);
		seen = state_of(dir, NULL);
		assert_true(seen == KILN_STATE_CREATED || seen == KILN_STATE_FAILED);
	}
	kiln__vmdir_free(dir);
	kiln__home_done(&home);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_name_finds_its_vm_until_it_is_removed),
		kiln_test(who_a_lasting_vm_is_is_synced_before_it_is_one),
		kiln_test(a_beginning_that_two_ids_share_is_ambiguous),
		kiln_test(what_cannot_be_a_name_is_refused),
		kiln_test(of_twenty_that_want_a_name_one_gets_it),
		kiln_test(sweeps_do_not_disturb_creations),
		kiln_test(alive_is_who_holds_the_lock),
		kiln_test(a_runner_that_died_is_a_failure_with_a_reason),
		kiln_test(what_a_runner_wrote_kills_nobody_and_leads_nowhere),
		kiln_test(the_processes_of_a_dead_runner_are_ended),
		kiln_test(a_vm_stays_while_something_of_its_last_run_does),
		kiln_test(a_sweep_keeps_what_is_not_all_gone),
		kiln_test(an_ephemeral_vm_goes_with_its_owner),
		kiln_test(a_creation_killed_at_any_moment_is_all_or_nothing),
		kiln_test(an_ephemeral_creation_killed_at_any_moment_is_nothing),
		kiln_test(a_removal_killed_at_any_moment_is_all_or_nothing),
		kiln_test(setting_right_killed_at_any_moment_is_done_by_the_next),
		kiln_test(taking_for_a_start_killed_at_any_moment_leaves_it_usable),
		kiln_test(after_a_boot_of_the_host_all_is_looked_through),
		kiln_test(one_whose_runtime_directory_vanished_can_be_started),
		kiln_test(a_runtime_directory_that_others_may_write_is_refused),
		kiln_test(a_vm_s_runtime_directory_is_its_user_s_alone),
		kiln_test(damaged_files_are_not_believed),
	};

	return cmocka_run_group_tests_name("manager_dir", tests, NULL, NULL);
}
