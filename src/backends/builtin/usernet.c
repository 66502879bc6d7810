/* SPDX-License-Identifier: Apache-2.0 */
#include "usernet.h"

#include "err.h"
#include "log.h"
#include "os.h"
#include "passt.h"
#include "process.h"

#include <stdlib.h>
#include <unistd.h>

#define PASST_FD 3

struct kiln__usernet {
	struct kiln__process_vmm *process;
	const struct kiln__backend_host *host;
};

static int find(char **ret, kiln_error *err)
{
	if (kiln__os_find_program(ret, "passt", err) == 0)
		return 0;
	kiln__fail(err, KILN_ENOENT,
		   "passt is not installed, which makes the builtin backend's "
		   "user networks");
	return kiln__hint(err, "install it (Debian and Ubuntu: apt-get install passt), or take "
			       "the qemu backend"),
	       KILN_ENOENT;
}

int kiln__usernet_check(const struct kiln__spec *spec, size_t network, kiln_error *err)
{
	kiln__autofree char *path = NULL;
	char **argv = NULL;
	int r = find(&path, err);

	if (r == 0)
		r = kiln__passt_argv(&argv, path, spec, network, PASST_FD, geteuid() == 0, err);
	if (r == 0)
		kiln__passt_argv_free(argv);
	return r;
}

/* The device notices by its socket; what passt said of it is in the log. */
static void on_ended(void *data, struct kiln__exit how)
{
	struct kiln__usernet *net = data;
	kiln_error err;

	kiln__vmm_fail(net->process, "passt", how, &err);
	kiln__log(net->host->log, KILN_LOG_ERROR, "%s", err.message);
}

static const struct kiln__process_handler handler = {.ended = on_ended};

static bool has_low_port(const struct kiln__spec *spec, size_t network)
{
	for (size_t i = 0; network == 0 && i < spec->port_count; i++)
		if (spec->ports[i].host_port < 1024)
			return true;
	return false;
}

static int spawn(struct kiln__usernet *net, size_t network, kiln_fd fd, kiln_error *err)
{
	const struct kiln__backend_host *host = net->host;
	const struct kiln__spawn_fd fds[] = {{.from = fd, .to = PASST_FD}};
	kiln__autofree char *path = NULL;
	char **argv = NULL;
	int r = find(&path, err);

	if (r == 0)
		r = kiln__passt_argv(&argv, path, host->spec, network, PASST_FD, geteuid() == 0,
				     err);
	if (r < 0)
		return r;
	r = kiln__vmm_spawn(&net->process, host->loop, host->log,
			    &(struct kiln__process_plan){
				    .path = path,
				    .argv = (const char *const *)argv,
				    .fds = fds,
				    .fd_count = 1,
				    .low_ports = has_low_port(host->spec, network),
			    },
			    &handler, net, err);
	kiln__passt_argv_free(argv);
	return r;
}

int kiln__usernet_new(struct kiln__usernet **ret, const struct kiln__backend_host *host,
		      size_t network, struct kiln__net_backend **ret_backend, kiln_error *err)
{
	struct kiln__usernet *net = calloc(1, sizeof(*net));
	kiln_fd ends[2];
	int r;

	if (!net)
		return kiln__fail_nomem(err);
	net->host = host;
	r = kiln__os_socket_pair(ends, err);
	if (r < 0) {
		free(net);
		return r;
	}
	r = spawn(net, network, ends[1], err);
	kiln__os_close(ends[1]);
	if (r == 0)
		r = kiln__net_stream_take(ret_backend, ends[0], err);
	if (r < 0) {
		kiln__os_close(ends[0]);
		kiln__usernet_free(net);
		return r;
	}
	*ret = net;
	return 0;
}

int kiln__usernet_keep(struct kiln__usernet *net, unsigned *count, kiln_error *err)
{
	return net ? kiln__vmm_keep(net->process, count, err) : 0;
}

void kiln__usernet_free(struct kiln__usernet *net)
{
	if (!net)
		return;
	kiln__vmm_free(net->process);
	free(net);
}
