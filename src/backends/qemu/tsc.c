/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Without being told, a kernel measures its TSC against the PIT. Under emulation on a
 * busy host that fails, and on microvm such a kernel then waits for ever for a timer
 * tick that no device gives. Linux takes tsc_early_khz= instead.
 */
#include "tsc.h"

#include "buf.h"
#include "os.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MEASURE_NS 10000000

static uint64_t read_counter(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t value;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
	return value;
#else
	return 0;
#endif
}

/* The counter and the clock at one moment: of some tries the one that was disturbed least. */
static void sample(uint64_t *counter, int64_t *ns)
{
	int64_t best = INT64_MAX;

	for (int i = 0; i < 8; i++) {
		int64_t before = kiln__os_monotonic_ns();
		uint64_t now = read_counter();
		int64_t took = kiln__os_monotonic_ns() - before;

		if (took < best) {
			best = took;
			*counter = now;
			*ns = before + took / 2;
		}
	}
}

static uint32_t measure(void)
{
	uint64_t counter_begin = 0;
	uint64_t counter_end = 0;
	int64_t begin = 0;
	int64_t end = 0;

	sample(&counter_begin, &begin);
	do {
		sample(&counter_end, &end);
	} while (end - begin < MEASURE_NS);
	return (uint32_t)((counter_end - counter_begin) * UINT64_C(1000000) /
			  (uint64_t)(end - begin));
}

uint32_t kiln__qemu_tsc_khz(void)
{
	kiln__autofree char *directory = NULL;
	kiln__autofree char *path = NULL;
	kiln__autofree char *boot = NULL;
	kiln__autofree char *record = NULL;
	char known_boot[40] = "";
	char text[64];
	uint32_t khz = 0;
	size_t len;

	/* A record that somebody else could have left there is none. */
	if (kiln__os_runtime_dir(&directory, NULL) < 0 ||
	    kiln__os_check_private_dir(directory, NULL) < 0 ||
	    kiln__os_read_file("/proc/sys/kernel/random/boot_id", 64, &boot, &len, NULL) < 0)
		return measure();
	boot[strcspn(boot, "\n")] = '\0';
	path = kiln__strf("%s/tsc", directory);
	if (path && kiln__os_read_file(path, sizeof(text), &record, &len, NULL) == 0 &&
	    sscanf(record, "%39s %" SCNu32, known_boot, &khz) == 2 &&
	    strcmp(known_boot, boot) == 0 && khz > 1000)
		return khz;
	khz = measure();
	snprintf(text, sizeof(text), "%.39s %" PRIu32 "\n", boot, khz);
	if (path)
		kiln__os_replace_file(path, text, strlen(text), 0600, false, NULL);
	return khz;
}
