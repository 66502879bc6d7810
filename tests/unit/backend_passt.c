/* SPDX-License-Identifier: Apache-2.0 */
/* passt's command line, and that a real passt understands it. */
#include "kiln_test.h"

#include "os.h"
#include "passt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct kiln__network networks[2];
static struct kiln__port ports[] = {
	{"127.0.0.1", 8080, 80, false}, {"0.0.0.0", 2222, 22, false}, {NULL, 5353, 53, true}};

static struct kiln__spec spec = {
	.networks = networks, .network_count = 2, .ports = ports, .port_count = 3};

static void expect(size_t network, const char *const *wanted)
{
	char **argv = NULL;
	kiln_error err;
	size_t i;

	kiln_ok(kiln__passt_argv(&argv, "/usr/bin/passt", &spec, network, 7, network == 1, &err),
		&err);
	for (i = 0; wanted[i]; i++) {
		assert_non_null(argv[i]);
		assert_string_equal(argv[i], wanted[i]);
	}
	assert_null(argv[i]);
	kiln__passt_argv_free(argv);
}

static void ports_go_with_the_first_network(void **state)
{
	static const char *const first[] = {"/usr/bin/passt",
					    "--foreground",
					    "--quiet",
					    "--stderr",
					    "--fd",
					    "7",
					    "--address",
					    "10.0.2.15",
					    "--netmask",
					    "255.255.255.0",
					    "--gateway",
					    "10.0.2.2",
					    "--dns-forward",
					    "10.0.2.3",
					    "--tcp-ports",
					    "127.0.0.1/8080:80",
					    "--tcp-ports",
					    "0.0.0.0/2222:22",
					    "--udp-ports",
					    "127.0.0.1/5353:53",
					    NULL};
	static const char *const second[] = {"/usr/bin/passt",
					     "--foreground",
					     "--quiet",
					     "--stderr",
					     "--fd",
					     "7",
					     "--address",
					     "10.0.2.15",
					     "--netmask",
					     "255.255.255.0",
					     "--gateway",
					     "10.0.2.2",
					     "--dns-forward",
					     "10.0.2.3",
					     "--runas",
					     "0:0",
					     NULL};

	(void)state;
	expect(0, first);
	expect(1, second);
}

static void any_free_port_is_refused_by_name(void **state)
{
	struct kiln__port any = {"127.0.0.1", 0, 80, false};
	struct kiln__spec odd = spec;
	char **argv = NULL;
	kiln_error err;

	(void)state;
	odd.ports = &any;
	odd.port_count = 1;
	assert_int_equal(kiln__passt_argv(&argv, "passt", &odd, 0, 7, false, &err), KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "guest port 80"));
	assert_null(argv);
}

/* --- a real one ------------------------------------------------------------------------- */

static bool connects(uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_port = htons(port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool ok = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 || errno == EINPROGRESS;
	struct pollfd p = {fd, POLLOUT, 0};
	int code = 0;
	socklen_t len = sizeof(code);

	ok = ok && poll(&p, 1, 10000) == 1 &&
	     getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) == 0 && code == 0;
	close(fd);
	return ok;
}

/* In a network namespace with nothing but what passt wants to see. The exit code of a child. */
static int run_passt(void)
{
	kiln__autofree char *path = NULL;
	struct kiln__child *passt = NULL;
	struct kiln__exit how = {0};
	unsigned char frame[2048];
	char **argv = NULL;
	kiln_fd ends[2];
	kiln_error err;
	struct pollfd p;

	if (unshare(CLONE_NEWNET) < 0 || kiln__os_find_program(&path, "passt", &err) < 0 ||
	    system("ip link set lo up && ip tuntap add dev up0 mode tap && ip link set up0 up && "
		   "ip addr add 192.0.2.15/24 dev up0 && ip route add default via 192.0.2.2") != 0)
		return 77;
	alarm(60);
	if (kiln__os_socket_pair(ends, &err) < 0 ||
	    kiln__passt_argv(&argv, path, &spec, 0, 7, false, &err) < 0)
		return 1;
	{
		struct kiln__spawn_fd fds[] = {{ends[1], 7}, {2, 2}};
		struct kiln__spawn spawn = {.path = path,
					    .argv = (const char *const *)argv,
					    .fds = fds,
					    .fd_count = 2,
					    .die_with_parent = true};

		if (kiln__child_spawn(&passt, &spawn, &err) < 0)
			return 2;
	}
	kiln__os_close(ends[1]);
	/* Any frame at all (it answers a broadcast question for an address): it is up then. */
	memset(frame, 0, sizeof(frame));
	memcpy(frame,
	       "\0\0\0\x2a\xff\xff\xff\xff\xff\xff\x52\x54\0\1\2\3\x08\x06\0\1\x08\0\6\4\0\1"
	       "\x52\x54\0\1\2\3\x0a\0\2\x0f\0\0\0\0\0\0\x0a\0\2\2",
	       46);
	if (write(ends[0], frame, 46) != 46)
		return 3;
	p = (struct pollfd){ends[0], POLLIN, 0};
	if (poll(&p, 1, 30000) != 1 || recv(ends[0], frame, 46, MSG_WAITALL) < 46)
		return 4;
	if (!connects(8080) || !connects(2222) || connects(8081))
		return 5;
	/* The end of its socket is its end. */
	kiln__os_close(ends[0]);
	if (kiln__child_wait(passt, 30000, &how, &err) < 0)
		return 6;
	kiln__child_free(passt);
	kiln__passt_argv_free(argv);
	return 0;
}

static void a_real_passt_takes_it(void **state)
{
	int status = 0;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(run_passt());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("skipped: no passt, or no network namespace for this user\n");
		skip();
	}
	assert_int_equal(status, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(ports_go_with_the_first_network),
		kiln_test(any_free_port_is_refused_by_name),
		kiln_test(a_real_passt_takes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
