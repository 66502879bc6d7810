/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preflight on whatever host this is, and on devices that fail in each way.
 * KILN_TEST_KVM tells what is known of the host's KVM (in the rig), and demands the
 * verdict: "works"; or "loses-xcr0", a processor emulator with that one defect.
 */
#include "kiln_test.h"
#include "tree.h"

#include "preflight.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct tree tree;

static int make_tree(void **state)
{
	tree_make(&tree);
	return kiln_test_begin(state);
}

static int drop_tree(void **state)
{
	tree_remove(&tree);
	return kiln_test_end(state);
}

static const struct kiln__hv_check *find(const struct kiln__hv_report *report, const char *name)
{
	for (size_t i = 0; i < report->count; i++)
		if (strcmp(report->checks[i].name, name) == 0)
			return &report->checks[i];
	fail_msg("no check is called %s", name);
	return NULL;
}

static void show(const struct kiln__hv_report *report)
{
	print_message("%s\n", report->summary);
	for (size_t i = 0; i < report->count; i++)
		print_message("  %d %-12s %s\n", report->checks[i].state, report->checks[i].name,
			      report->checks[i].detail);
}

static void run(struct kiln__hv_report *ret, const char *device, const char *root)
{
	struct kiln__hv_preflight_options options = {.device = device, .root = root};

	assert_int_equal(kiln__hv_preflight(ret, &options, NULL), 0);
}

/* What must hold of every report. */
static void assert_consistent(const struct kiln__hv_report *report)
{
	const struct kiln__hv_check *first = NULL;

	for (size_t i = 0; i < report->count; i++) {
		const struct kiln__hv_check *check = &report->checks[i];

		assert_true(check->name[0]);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(check->name, report->checks[j].name);
		if (check->state == KILN__HV_CHECK_FAILED && !first)
			first = check;
		if (check->state != KILN__HV_CHECK_OK)
			assert_true(check->detail[0]);
	}
	assert_true(report->count > 8);
	assert_int_equal(report->usable, !first);
	assert_true(report->summary[0]);
	if (first) {
		assert_string_equal(report->hint, first->hint);
		assert_non_null(strstr(report->summary, first->detail));
	}
	assert_int_equal(report->opens, find(report, "open")->state == KILN__HV_CHECK_OK);
}

static void assert_not_opened(const struct kiln__hv_report *report, const char *hint)
{
	assert_consistent(report);
	assert_false(report->opens);
	assert_false(report->usable);
	for (size_t i = 1; i < report->count; i++)
		assert_int_equal(report->checks[i].state, KILN__HV_CHECK_SKIPPED);
	if (!strstr(report->hint, hint))
		fail_msg("the hint \"%s\" does not say \"%s\"", report->hint, hint);
}

static void assert_works(const struct kiln__hv_report *report)
{
	assert_true(report->usable);
#if defined(__x86_64__)
	assert_int_equal(find(report, "int3")->state, KILN__HV_CHECK_OK);
	assert_int_equal(find(report, "cmpxchg16b")->state, KILN__HV_CHECK_OK);
	assert_int_equal(find(report, "rdtscp")->state, KILN__HV_CHECK_OK);
	assert_true(find(report, "xrstor")->state == KILN__HV_CHECK_OK ||
		    find(report, "fxrstor")->state == KILN__HV_CHECK_OK);
#endif
}

/* A version of the emulator without the defect is welcome. */
static void assert_nothing_but_xcr0_fails(const struct kiln__hv_report *report)
{
	assert_int_equal(find(report, "xsave")->state, KILN__HV_CHECK_OK);
	assert_int_equal(find(report, "xrstor")->state, KILN__HV_CHECK_OK);
	for (size_t i = 0; i < report->count; i++)
		if (strcmp(report->checks[i].name, "xsetbv") != 0)
			assert_int_not_equal(report->checks[i].state, KILN__HV_CHECK_FAILED);
}

static void this_host_gets_a_consistent_verdict(void **state)
{
	const char *expected = getenv("KILN_TEST_KVM");
	struct kiln__hv_report report;
	struct kiln__hv_facts facts;

	(void)state;
	run(&report, NULL, NULL);
	show(&report);
	assert_consistent(&report);
	assert_false(report.cached);
	kiln__hv_facts(&facts, NULL);
	if (expected && strcmp(expected, "works") == 0)
		assert_works(&report);
	if (expected && strcmp(expected, "loses-xcr0") == 0)
		assert_nothing_but_xcr0_fails(&report);
	/* Known: this kind of KVM opens, runs simple code and then gives up. */
	if (report.opens && strcmp(facts.module, "kvm_pvm") == 0) {
		assert_false(report.usable);
		assert_int_equal(find(&report, "long-mode")->state, KILN__HV_CHECK_OK);
		assert_int_equal(find(&report, "int3")->state, KILN__HV_CHECK_FAILED);
		assert_non_null(strstr(find(&report, "int3")->detail, "emulation failure"));
		assert_non_null(strstr(report.hint, "kvm_pvm"));
	}
}

static void all_reports_name_the_same_checks(void **state)
{
	struct kiln__hv_report here;
	struct kiln__hv_report missing;

	(void)state;
	run(&here, NULL, NULL);
	run(&missing, tree_at(&tree, "kvm"), tree.path);
	assert_int_equal(here.count, missing.count);
	for (size_t i = 0; i < here.count; i++)
		assert_string_equal(here.checks[i].name, missing.checks[i].name);
}

#if defined(__x86_64__)
static void a_missing_device_is_explained_by_the_processor_and_the_module(void **state)
{
	struct kiln__hv_report report;
	const char *device = tree_at(&tree, "kvm");

	(void)state;
	tree_write(&tree, "proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: fpu vme\n\n");
	run(&report, device, tree.path);
	assert_not_opened(&report, "firmware");

	tree_write(&tree, "proc/cpuinfo", "flags\t\t: fpu hypervisor lm\n\n");
	run(&report, device, tree.path);
	assert_not_opened(&report, "nested virtualization");

	tree_write(&tree, "proc/cpuinfo", "flags\t\t: fpu svm lm\n\n");
	run(&report, device, tree.path);
	assert_not_opened(&report, "modprobe kvm_amd");

	tree_write(&tree, "proc/cpuinfo", "flags\t\t: fpu svm_lock vmx\n\n");
	run(&report, device, tree.path);
	assert_not_opened(&report, "modprobe kvm_intel");

	tree_write(&tree, "sys/module/kvm_intel/parameters/nested", "Y\n");
	run(&report, device, tree.path);
	assert_not_opened(&report, "container");
}
#endif

static void a_device_without_permission_names_its_group(void **state)
{
	const char *device = tree_at(&tree, "kvm");
	bool is_root = geteuid() == 0;
	struct kiln__hv_report report;

	(void)state;
	tree_write(&tree, "kvm", "");
	if (!is_root) {
		assert_int_equal(chmod(device, 0), 0);
		run(&report, device, NULL);
		assert_not_opened(&report, "chmod");
		return;
	}
	assert_int_equal(chown(device, 0, 4242), 0);
	assert_int_equal(chmod(device, 0660), 0);
	assert_int_equal(seteuid(65534), 0);
	run(&report, device, NULL);
	assert_int_equal(seteuid(0), 0);
	assert_not_opened(&report, "gid 4242");
	assert_non_null(strstr(report.hint, "usermod -aG kvm"));

	assert_int_equal(chmod(device, 0600), 0);
	assert_int_equal(seteuid(65534), 0);
	run(&report, device, NULL);
	assert_int_equal(seteuid(0), 0);
	assert_not_opened(&report, "chmod 660");
}

static void a_node_that_nothing_serves_asks_for_the_module(void **state)
{
	struct sockaddr_un address = {
		.sun_family = AF_UNIX}; /* opening a socket is ENXIO, as such a node is */
	struct kiln__hv_report report;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", tree_at(&tree, "kvm"));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	run(&report, address.sun_path, NULL);
	close(fd);
	assert_not_opened(&report, "modprobe");
}

static void what_is_not_kvm_is_said_not_to_be(void **state)
{
	struct kiln__hv_report report;

	(void)state;
	run(&report, "/dev/null", NULL);
	assert_not_opened(&report, "");
	assert_non_null(strstr(report.summary, "/dev/null is not KVM's device"));
}

static void facts_are_read_from_the_files_that_hold_them(void **state)
{
	struct kiln__hv_facts facts;

	(void)state;
	tree_write(&tree, "proc/cpuinfo",
		   "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7003\n"
		   "flags\t\t: fpu svm hypervisor\n\nprocessor\t: 1\nmodel name\t: another\n");
	tree_write(&tree, "sys/module/kvm_amd/parameters/nested", "1\n");
	tree_write(&tree, "proc/self/mountinfo",
		   "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 "
		   "rw,nsdelegate,favordynmods\n");
	tree_write(&tree, "dev/net/tun", "");
	kiln__hv_facts(&facts, tree.path);
	assert_string_equal(facts.cpu_vendor, "AuthenticAMD");
	assert_string_equal(facts.cpu_model, "AMD EPYC 7003");
	assert_string_equal(facts.extension, "svm");
	assert_string_equal(facts.module, "kvm_amd");
	assert_int_equal(facts.in_vm, KILN__HV_YES);
	assert_int_equal(facts.nests, KILN__HV_YES);
	assert_int_equal(facts.cgroup2, KILN__HV_YES);
	assert_int_equal(facts.favordynmods, KILN__HV_YES);
	assert_int_equal(facts.tun, KILN__HV_YES);
	assert_int_equal(facts.vhost_vsock, KILN__HV_NO);
	assert_int_equal(facts.vhost_net, KILN__HV_NO);
}

static void facts_that_cannot_be_read_are_unknown(void **state)
{
	struct kiln__hv_facts facts;

	(void)state;
	kiln__hv_facts(&facts, tree.path);
	assert_string_equal(facts.cpu_vendor, "");
	assert_string_equal(facts.module, "");
	assert_int_equal(facts.in_vm, KILN__HV_UNKNOWN);
	assert_int_equal(facts.nests, KILN__HV_UNKNOWN);
	assert_int_equal(facts.favordynmods, KILN__HV_UNKNOWN);

	tree_write(&tree, "proc/self/mountinfo",
		   "1 2 0:3 / /x rw - cgroup2 none rw,favordynmodsx\n");
	kiln__hv_facts(&facts, tree.path);
	assert_int_equal(facts.cgroup2, KILN__HV_YES);
	assert_int_equal(facts.favordynmods, KILN__HV_NO);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_tree, drop_tree)
	static const struct CMUnitTest tests[] = {
		TEST(this_host_gets_a_consistent_verdict),
		TEST(all_reports_name_the_same_checks),
#if defined(__x86_64__)
		TEST(a_missing_device_is_explained_by_the_processor_and_the_module),
#endif
		TEST(a_device_without_permission_names_its_group),
		TEST(a_node_that_nothing_serves_asks_for_the_module),
		TEST(what_is_not_kvm_is_said_not_to_be),
		TEST(facts_are_read_from_the_files_that_hold_them),
		TEST(facts_that_cannot_be_read_are_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
