/* SPDX-License-Identifier: Apache-2.0 */
#include "init.h"

#include "clock.h"
#include "err.h"
#include "files.h"
#include "handoff.h"
#include "identity.h"
#include "modules.h"
#include "mounts.h"
#include "net.h"
#include "power.h"
#include "root.h"
#include "vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

/* With this module loaded, a machine's vsock device is usable. */
#define VSOCK_MODULE "vmw_vsock_virtio_transport"

static struct agent agent;
static int64_t modules_ns;

_Noreturn void fatal(const char *fmt, ...)
{
	char text[600] = "kiln-guest: fatal: ";
	size_t at = strlen(text);
	int console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	va_list args;
	ssize_t n;

	va_start(args, fmt);
	vsnprintf(text + at, sizeof(text) - at - 1, fmt, args);
	va_end(args);
	strcat(text, "\n");
	n = write(console >= 0 ? console : 2, text, strlen(text));
	(void)n;
	power_end(false);
}

/* --- SETUP ---------------------------------------------------------------------------- */

static int staged(int r, const char *stage, kiln_error *err)
{
	return r < 0 ? kiln__stage(err, stage) : 0;
}

static void discard_initramfs(void *data)
{
	(void)data;
	root_discard_initramfs();
}

/* What is for the first time only: without it there is no machine to speak of. */
static int build_machine(const struct kiln__agent_setup *setup, struct kiln__agent_setup_done *ret,
			 kiln_error *err)
{
	int r = staged(root_enter(&setup->root, err), "root", err);

	if (r == 0)
		r = staged(mount_run(err), "root", err);
	for (size_t i = 0; r == 0 && i < setup->mount_count; i++)
		r = staged(mount_extra(&setup->mounts[i], err), "mount", err);
	ret->root_ns = (uint64_t)monotonic_ns();
	if (r < 0)
		return r;
	agent.loop.idle = discard_initramfs;
	return staged(net_loopback(err), "network", err);
}

static int check_setup(const struct kiln__agent_setup *setup, kiln_error *err)
{
	bool first = setup->root.kind != KILN__AGENT_ROOT_NONE;

	if (agent.ready && (first || setup->init || setup->mount_count))
		return kiln__fail(err, KILN_ESTATE, "the machine has its root already");
	if (!agent.ready && !first && (setup->init || setup->mount_count))
		return kiln__fail(err, KILN_EINVAL, "mounts and init come together with the root");
	return 0;
}

static int init_setup(struct agent *self, const struct kiln__agent_setup *setup,
		      struct kiln__agent_setup_done *ret, kiln_error *err)
{
	bool first = setup->root.kind != KILN__AGENT_ROOT_NONE;
	int r = check_setup(setup, err);

	ret->modules_ns = (uint64_t)modules_ns;
	if (r == 0)
		r = staged(apply_entropy(&setup->entropy, err), "clock", err);
	if (r == 0)
		r = staged(apply_clock(setup->clock_ns, err), "clock", err);
	if (r == 0 && first)
		r = build_machine(setup, ret, err);
	if (r == 0)
		r = staged(apply_identity(setup, err), "identity", err);
	for (size_t i = 0; r == 0 && i < setup->interface_count; i++)
		r = staged(net_interface(&setup->interfaces[i], err), "network", err);
	if (r == 0 && first)
		r = staged(root_seal(&setup->root, err), "root", err);
	if (r < 0)
		return r;
	if (setup->end_by_reset)
		power_end_by_reset();
	self->ready |= first;
	return setup->init ? hand_off(self, setup->init, err) : 0;
}

static const struct agent_ops init_ops = {
	.features = KILN__AGENT_FEATURE_SETUP | KILN__AGENT_FEATURE_POWER,
	.setup = init_setup,
	.shutdown = power_shutdown,
};

/* --- boot ------------------------------------------------------------------------------- */

/* Descriptors 0 to 2 are the console's; without a console they must still not be something else's.
 */
static void ensure_stdio(void)
{
	int fd;

	if (fcntl(0, F_GETFD) >= 0 && fcntl(1, F_GETFD) >= 0 && fcntl(2, F_GETFD) >= 0)
		return;
	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd < 2);
	if (fd > 2)
		close(fd);
}

/*
 * The host has the kernel keep errors off the console while it boots ("loglevel=3", see
 * kiln__qemu_cmdline); from here on they are shown, as "quiet" has it. Another level is its
 * user's choice.
 */
static void show_errors(void)
{
	static const char file[] = "/proc/sys/kernel/printk";
	char levels[64];

	if (read_small_file(file, levels, sizeof(levels)) > 0 && strtol(levels, NULL, 10) == 3)
		write_small_file(file, "4");
}

/* Says hello: listens first, so that the host can connect as soon as it has heard. */
static bool greet(kiln_error *err)
{
	int fd;

	if (agent.listener.fd >= 0)
		return true;
	fd = vsock_listen(KILN__AGENT_PORT, err);
	if (fd < 0)
		return false;
	agent.vsock_ns = monotonic_ns();
	agent_listen(&agent, fd, true);
	agent.wants_boot = true;
	agent_connect_boot(&agent);
	return true;
}

static void on_module(void *data, const char *name)
{
	(void)data;
	if (strcmp(name, VSOCK_MODULE) == 0)
		greet(NULL);
	agent_progress(&agent);
}

/* The hello leaves between steps, as soon as it can; the host's answer is read after all of them.
 */
static void boot(void)
{
	kiln_error err;

	if (load_modules(on_module, NULL, &err) < 0 || mount_early(&err) < 0 || !greet(&err))
		fatal("%s", err.message);
	agent_connect_boot(&agent); /* if the device came with a later module than vsock's */
	if (agent.boot_error == ENODEV)
		fatal("this machine has no vsock device");
	agent_progress(&agent);
	if (mount_below(&err) < 0)
		fatal("%s", err.message);
	agent_progress(&agent);
	show_errors();
	root_prepare();
	power_watch_button(&agent);
	modules_ns = monotonic_ns();
	agent.booted = true;
	if (!agent.boot)
		agent_accept(&agent); /* the host does not listen: it may come by itself */
}

int init_main(void)
{
	kiln_error err;

	ensure_stdio();
	umask(022);
	reboot(RB_DISABLE_CAD); /* Ctrl-Alt-Del is then a SIGINT for this process */
	if (agent_init(&agent, &init_ops, &err) < 0)
		fatal("%s", err.message);
	agent.on_signal = power_signal;
	boot();
	evloop_run(&agent.loop);
	power_end(false);
}
