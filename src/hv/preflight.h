/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preflight: does this host's hypervisor really run stock kernels?
 *
 * Opening its device says little. Nested and restricted hosts open it, create VMs
 * and run small programs, and then fail on instructions that every kernel executes
 * at boot. So the preflight runs such instructions in a VM of its own and compares
 * what they did. It is done once per boot and kept (kiln__hv_preflight_cached).
 */
#ifndef KILN_HV_PREFLIGHT_H
#define KILN_HV_PREFLIGHT_H

#include <kiln/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kiln__hv_check_state {
	KILN__HV_CHECK_OK,
	KILN__HV_CHECK_FAILED,
	KILN__HV_CHECK_SKIPPED, /* not possible after what failed, or this processor has no such
				   thing */
};

struct kiln__hv_check {
	char name[24]; /* "open", "create-vm", "xrstor" ...: stable, for scripts */
	enum kiln__hv_check_state state;
	char detail[192]; /* what was seen; one line, may be empty */
	char hint[192];   /* what to do about a failure; one line, may be empty */
};

#define KILN__HV_MAX_CHECKS 32

struct kiln__hv_report {
	bool usable;       /* stock kernels run: no check failed */
	bool opens;        /* the device could be opened (and perhaps no more than that) */
	bool cached;       /* read from a record, not found out now */
	char summary[256]; /* one line: the verdict and, where it is bad, the first reason */
	char hint[192];    /* of the first failed check */
	size_t count;
	struct kiln__hv_check checks[KILN__HV_MAX_CHECKS]; /* in the order they were made */
};

/* Where to look; all-zero means this host. */
struct kiln__hv_preflight_options {
	const char *device;   /* the hypervisor's device node; NULL: the system's own */
	const char *root;     /* put before /proc and /sys paths; NULL: none. For tests */
	unsigned deadline_ms; /* of each step that runs guest code; 0: 1000 */
	bool only_recorded;   /* of a device that can be opened: KILN_EBUSY if there is no record */
};

/*
 * Makes the preflight now. A hypervisor that is missing or broken is a result, not
 * an error: fails only where no report can be made (out of memory). Blocks for some
 * 10 to 50 ms, and at most for a deadline per step; any thread, and reentrant.
 */
int kiln__hv_preflight(struct kiln__hv_report *ret,
		       const struct kiln__hv_preflight_options *options, kiln_error *err);

/*
 * The same from the record in @directory (the user's runtime directory), if there is
 * one made on this boot, kernel, processor and device node by this user, else now;
 * then it is recorded where the outcome is final, and failing to is no error. A record
 * that is damaged counts as none.
 */
int kiln__hv_preflight_cached(struct kiln__hv_report *ret, const char *directory,
			      const struct kiln__hv_preflight_options *options, kiln_error *err);

/* --- the host --------------------------------------------------------------------- */

enum kiln__hv_fact { /* yes, no, or it cannot be told */
		     KILN__HV_NO,
		     KILN__HV_YES,
		     KILN__HV_UNKNOWN,
};

/* What else of this host decides how well VMs run. */
struct kiln__hv_facts {
	char cpu_vendor[16]; /* "AuthenticAMD", "GenuineIntel", "ARM" ... */
	char cpu_model[80];
	char extension[8]; /* "vmx", "svm", or "" if the processor shows neither */
	char module[32];   /* what serves the device: "kvm_amd", "kvm_intel", "kvm_pvm", or "" */
	enum kiln__hv_fact in_vm;        /* this host is a virtual machine itself */
	enum kiln__hv_fact nests;        /* guests of this host may run VMs in turn */
	enum kiln__hv_fact cgroup2;      /* a cgroup2 hierarchy is mounted */
	enum kiln__hv_fact favordynmods; /* ... with that option: creating a VM waits for no RCU
					    grace period */
	enum kiln__hv_fact vhost_vsock;  /* /dev/vhost-vsock is there */
	enum kiln__hv_fact vhost_net;    /* /dev/vhost-net is there */
	enum kiln__hv_fact tun;          /* /dev/net/tun is there */
};

/* Reads them. @root as above, and put before /dev too. What cannot be read is UNKNOWN or empty. */
void kiln__hv_facts(struct kiln__hv_facts *ret, const char *root);

#endif
