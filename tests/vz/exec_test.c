/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Linux guest on the vz backend, by the look-alike: its agent's hello comes by the backend's
 * listener, processes are started over its connections. Arguments: kernel, directory with initrd
 * and root.squashfs.
 */
#include "kiln_test.h"

#include "agentmsg.h"
#include "buf.h"
#include "lookalike.h"
#include "machine.h"
#include "session.h"

#include <kiln/config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT ((size_t)3 * 1024 * 1024)

static const char *kernel;
static const char *work;

struct guest {
	kiln_loop *loop;
	kiln_machine *machine;
};

struct done {
	bool done;
	int result;
	kiln_error err;
};

static void on_done(void *data, int result, const kiln_error *err)
{
	struct done *done = data;

	done->result = result;
	if (err)
		done->err = *err;
	done->done = true;
}

static void await(struct guest *guest, struct done *done)
{
	kiln_test_run_until(guest->loop, &done->done);
	if (done->result < 0)
		fail_msg("%s", done->err.message);
}

static void guest_start(struct guest *guest)
{
	struct done ready = {.done = false};
	kiln_config *config;
	kiln_error err;
	char text[1024];

	snprintf(text, sizeof(text),
		 "{\"backend\":\"vz\",\"kernel\":\"%s\",\"initrd\":\"%s/"
		 "initrd\",\"memory\":\"256M\","
		 "\"root\":{\"squashfs\":\"%s/root.squashfs\"}}",
		 kernel, work, work);
	kiln_ok(kiln_config_parse(text, strlen(text), &config, &err), &err);
	kiln_ok(kiln_loop_new(&guest->loop, &err), &err);
	kiln_ok(kiln_machine_new(&guest->machine, guest->loop, config, NULL, &err), &err);
	kiln_config_free(config);
	kiln_machine_start(guest->machine, NULL, NULL);
	kiln_machine_wait_ready(guest->machine, on_done, &ready);
	await(guest, &ready);
	assert_string_equal(kiln_machine_accel(guest->machine), "vz");
}

static void guest_stop(struct guest *guest)
{
	struct done stopped = {.done = false};

	kiln_machine_stop(guest->machine, 30000, on_done, &stopped);
	await(guest, &stopped);
	assert_int_equal(kiln_machine_exit(guest->machine).kind, KILN_EXIT_POWEROFF);
	kiln_machine_free(guest->machine);
	kiln_loop_free(guest->loop);
	assert_int_equal(lookalike_alive(), 0);
}

/* A process, and what it reads and says. */
struct process {
	struct kiln__session *session;
	struct kiln__stream *stream;
	bool connected;
	bool over;
	struct kiln__agent_exit how;
	kiln_error err;
	struct kiln__buf out;
	size_t written;
	size_t input; /* bytes it is to read */
};

static void feed(struct process *p)
{
	static const char bytes[65536] = {'k', 'i', 'l', 'n'};
	size_t n = 1;

	while (p->session && n && p->written < p->input) {
		size_t want = p->input - p->written;

		n = kiln__session_write(p->session, bytes,
					want < sizeof(bytes) ? want : sizeof(bytes));
		p->written += n;
	}
	if (p->session && p->written == p->input)
		kiln__session_end_input(p->session);
}

static void on_started(void *data, uint32_t pid)
{
	assert_true(pid > 1);
	feed(data);
}

static size_t on_output(void *data, int stream, const void *bytes, size_t len)
{
	struct process *p = data;

	(void)stream;
	kiln__buf_add(&p->out, bytes, len);
	return len;
}

static void on_writable(void *data)
{
	struct process *p = data;

	if (p->written < p->input)
		feed(p);
}

static void on_exited(void *data, const struct kiln__agent_exit *how)
{
	struct process *p = data;

	p->how = *how;
	p->over = true;
}

static void on_failed(void *data, const kiln_error *err, bool lost)
{
	struct process *p = data;

	(void)lost;
	p->err = *err;
	p->over = true;
}

static const struct kiln__session_handler handler = {
	.started = on_started,
	.output = on_output,
	.writable = on_writable,
	.exited = on_exited,
	.failed = on_failed,
};

static void on_connected(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct process *p = data;

	p->stream = stream;
	if (err)
		p->err = *err;
	p->connected = true;
}

static void run(struct guest *guest, struct process *p, const char *script)
{
	char argv[256] = "/bin/sh\0-c";
	size_t len = strlen(script) + 1;
	kiln_error err;

	memcpy(argv + 11, script, len);
	kiln__machine_connect(guest->machine, KILN__AGENT_PORT, on_connected, p);
	kiln_test_run_until(guest->loop, &p->connected);
	if (!p->stream)
		fail_msg("%s", p->err.message);
	kiln_ok(kiln__session_start(
			&p->session, guest->loop, p->stream,
			&(struct kiln__agent_start){.argv = {argv, 11 + len}, .input = true},
			&handler, p, &err),
		&err);
	kiln_test_run_until(guest->loop, &p->over);
	if (p->err.code)
		fail_msg("%s", p->err.message);
	kiln__session_free(p->session);
	p->session = NULL;
}

static void processes_run_in_the_guest(void **state)
{
	struct process p = {.input = 0};
	struct process big = {.input = INPUT};
	struct process none = {.input = 0};
	struct guest guest;

	(void)state;
	guest_start(&guest);
	run(&guest, &p, "uname -s; exit 7");
	assert_int_equal(p.how.code, 7);
	assert_string_equal(p.out.data, "Linux\n");
	kiln__buf_done(&p.out);

	/* More than any buffer on the way holds, and it ends with the end of its input. */
	run(&guest, &big, "cat");
	assert_int_equal(big.how.code, 0);
	assert_int_equal(big.out.len, INPUT);
	assert_memory_equal(big.out.data, "kiln", 4);
	kiln__buf_done(&big.out);

	kiln__machine_connect(guest.machine, 9999, on_connected, &none);
	kiln_test_run_until(guest.loop, &none.connected);
	assert_null(none.stream);
	assert_int_equal(none.err.code, KILN_EIO);
	guest_stop(&guest);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(processes_run_in_the_guest),
	};

	if (argc != 3)
		return 2;
	kernel = argv[1];
	work = argv[2];
	lookalike_begin();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
