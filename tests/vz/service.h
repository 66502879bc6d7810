/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands for the service in which macOS runs a VM: a thread with a loop, on which kiln's QEMU
 * backend runs. Calls come from queues, those for one VM from one at a time, and wait for that
 * thread or, where it is extra.h's monitor that is asked, for QEMU; callbacks are made on it, but
 * that of service_save() before it returns, and none after service_free() has returned.
 */
#ifndef TESTS_VZ_SERVICE_H
#define TESTS_VZ_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SERVICE_MAX 32

struct service_disk {
	const char *path;
	const char *url; /* of an NBD server, instead */
	const char *serial;
	const char *cache;
	bool readonly;
};

struct service_share {
	const char *tag;
	const char *path;
};

struct service_port {
	const char *name;
	const char *file; /* or a socket: */
	int fd;
};

/* Borrowed for the call. */
struct service_plan {
	unsigned long cpus;
	uint64_t memory;
	const char *kernel; /* NULL: UEFI */
	const char *initrd;
	const char *cmdline;
	struct service_disk disks[SERVICE_MAX];
	size_t disk_count;
	const char *macs[SERVICE_MAX];
	int switches[SERVICE_MAX]; /* their sockets; -1: NAT */
	size_t network_count;
	struct service_share shares[SERVICE_MAX];
	size_t share_count;
	struct service_port ports[SERVICE_MAX];
	size_t port_count;
	bool vsock;
	bool rng;
	bool balloon;
	int console_in;
	int console_out;
	const char *restore; /* the file of a saved state: it is paused then; NULL: it boots */
};

/* @error is NULL, or words. */
typedef void (*service_done)(void *data, const char *error);
typedef void (*service_connected)(void *data, int fd, const char *error); /* owns @fd */

struct service_callbacks {
	service_done ended; /* by itself: NULL if the guest powered off or reset */
	/* A connection of the guest to a port that is listened at; owns @fd. */
	void (*incoming)(void *data, uint32_t port, uint32_t from, int fd);
};

struct service_vm;

void service_begin(void);

/*
 * NULL: @error has the words. @started is called with @start once it runs, or with why not; the
 * callbacks get @data.
 */
struct service_vm *service_start(const struct service_plan *plan,
				 const struct service_callbacks *callbacks, void *data,
				 service_done started, void *start, char *error, size_t size);
void service_pause(struct service_vm *vm, service_done done, void *data);
void service_resume(struct service_vm *vm, service_done done, void *data);
void service_save(struct service_vm *vm, const char *path, service_done done, void *data);
void service_balloon(struct service_vm *vm, uint64_t bytes);
void service_power_button(struct service_vm *vm);
void service_connect(struct service_vm *vm, uint32_t port, service_connected done, void *data);
void service_listen(struct service_vm *vm, uint32_t port, bool on);

/* Kills what runs, and waits until nothing is left of it. What is pending is told before. */
void service_free(struct service_vm *vm);

#endif
