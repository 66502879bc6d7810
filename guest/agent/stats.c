/* SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include "files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* The number after @name at the start of a line; 0 if there is none. */
static uint64_t number_after(const char *text, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, len) == 0)
			return strtoull(line + len, NULL, 10);
	}
	return 0;
}

uint64_t count_oom_kills(void)
{
	char text[8192];

	return read_small_file("/proc/vmstat", text, sizeof(text)) < 0
		       ? 0
		       : number_after(text, "oom_kill ");
}

static void collect_cpu(struct kiln__agent_stats *ret)
{
	/* proc(5): user nice system idle iowait irq softirq steal, in clock ticks */
	enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL, FIELDS };
	uint64_t tick_ns = 1000000000ULL / (uint64_t)sysconf(_SC_CLK_TCK);
	uint64_t ns[FIELDS] = {0};
	char text[512];
	char *at = text + strlen("cpu ");

	if (read_small_file("/proc/stat", text, sizeof(text)) < 8)
		return;
	for (int i = 0; i < FIELDS; i++)
		ns[i] = strtoull(at, &at, 10) * tick_ns;
	ret->cpu_user_ns = ns[USER] + ns[NICE];
	ret->cpu_system_ns = ns[SYSTEM] + ns[IRQ] + ns[SOFTIRQ];
	ret->cpu_idle_ns = ns[IDLE] + ns[IOWAIT];
	ret->cpu_steal_ns = ns[STEAL];
}

static void collect_memory(struct kiln__agent_stats *ret)
{
	char text[512];

	if (read_small_file("/proc/meminfo", text, sizeof(text)) < 0)
		return;
	ret->memory_total = number_after(text, "MemTotal:") * 1024;
	ret->memory_free = number_after(text, "MemFree:") * 1024;
	ret->memory_available = number_after(text, "MemAvailable:") * 1024;
}

static uint32_t milli_load(unsigned long load)
{
	return (uint32_t)((uint64_t)load * 1000 >> SI_LOAD_SHIFT);
}

void collect_stats(struct kiln__agent_stats *ret)
{
	struct sysinfo info;
	struct statvfs root;

	*ret = (struct kiln__agent_stats){0};
	if (sysinfo(&info) == 0) {
		ret->uptime_ns = (uint64_t)info.uptime * 1000000000;
		ret->processes = info.procs;
		ret->load1 = milli_load(info.loads[0]);
		ret->load5 = milli_load(info.loads[1]);
		ret->load15 = milli_load(info.loads[2]);
	}
	collect_memory(ret);
	collect_cpu(ret);
	if (statvfs("/", &root) == 0) {
		ret->root_size = (uint64_t)root.f_blocks * root.f_frsize;
		ret->root_free = (uint64_t)root.f_bavail * root.f_frsize;
	}
	ret->oom_kills = count_oom_kills();
}
