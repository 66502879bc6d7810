/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest gets the addresses by DHCP that QEMU's user network has, so that it does not notice
 * which of the two it is on: 10.0.2.15, from 10.0.2.2. Names are resolved by the host's resolvers.
 * Written for passt of March 2023, Debian 12's; the options are in later ones, too.
 */
#include "passt.h"

#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIXED_ARGS 32

struct args {
	char **list;
	size_t count;
	bool failed;
};

__attribute__((format(printf, 2, 3))) static void add(struct args *args, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (!args->failed && vasprintf(&args->list[args->count], fmt, ap) < 0) {
		args->list[args->count] = NULL;
		args->failed = true;
	}
	va_end(ap);
	args->count += !args->failed;
}

static void add_port(struct args *args, const struct kiln__port *port)
{
	const char *ip = port->host_ip ? port->host_ip : "127.0.0.1";

	add(args, port->udp ? "--udp-ports" : "--tcp-ports");
	add(args, "%s/%u:%u", ip, port->host_port, port->guest_port);
}

static void add_options(struct args *args, const char *binary, int fd)
{
	add(args, "%s", binary);
	add(args, "--foreground"); /* its life is tied to ours */
	add(args, "--quiet");
	add(args, "--stderr");
	add(args, "--fd");
	add(args, "%d", fd); /* and ends when that does */
	add(args, "--address");
	add(args, "10.0.2.15");
	add(args, "--netmask");
	add(args, "255.255.255.0");
	add(args, "--gateway");
	add(args, "10.0.2.2");
	add(args, "--dns-forward");
	add(args, "10.0.2.3"); /* where the guest looks for names */
}

static int check_ports(const struct kiln__spec *spec, kiln_error *err)
{
	for (size_t i = 0; i < spec->port_count; i++)
		if (spec->ports[i].host_port == 0) {
			kiln__fail(err, KILN_ENOTSUP,
				   "passt cannot choose a free host port for guest port %u",
				   spec->ports[i].guest_port);
			return kiln__hint(err, "name one: ports[%zu].host", i);
		}
	return 0;
}

int kiln__passt_argv(char ***ret, const char *binary, const struct kiln__spec *spec, size_t network,
		     int fd, bool as_root, kiln_error *err)
{
	size_t ports = network == 0 ? spec->port_count : 0;
	struct args args = {0};
	int r = ports ? check_ports(spec, err) : 0;

	if (r < 0)
		return r;
	args.list = calloc(FIXED_ARGS + 2 * ports, sizeof(*args.list));
	if (!args.list)
		return kiln__fail_nomem(err);
	add_options(&args, binary, fd);
	if (as_root) {
		add(&args, "--runas");
		add(&args, "0:0");
	}
	for (size_t i = 0; i < ports; i++)
		add_port(&args, &spec->ports[i]);
	if (args.failed) {
		kiln__passt_argv_free(args.list);
		return kiln__fail_nomem(err);
	}
	*ret = args.list;
	return 0;
}

void kiln__passt_argv_free(char **argv)
{
	for (char **arg = argv; arg && *arg; arg++)
		free(*arg);
	free(argv);
}
