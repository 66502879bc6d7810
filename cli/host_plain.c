/* SPDX-License-Identifier: Apache-2.0 */
/* The host where VMs are run by the system's own framework, which answers for itself: backends. */
#include "host.h"

#include "err.h"
#include "os.h"

#include <stdio.h>
#include <stdlib.h>

struct host {
	unsigned cpus;
	unsigned long long memory_mib;
};

int host_look(struct host **ret, kiln_error *err)
{
	struct host *host = calloc(1, sizeof(*host));

	if (!host)
		return kiln__fail_nomem(err);
	*host = (struct host){
		.cpus = kiln__os_cpu_count(),
		.memory_mib = kiln__os_total_memory() >> 20,
	};
	*ret = host;
	return 0;
}

void host_print(const struct host *host)
{
	printf("Host: %s, %u CPUs, %llu MiB of memory\n", kiln__os_arch(), host->cpus,
	       host->memory_mib);
}

json_t *host_json(const struct host *host)
{
	return json_pack("{s:{s:s, s:i, s:I}}", "facts", "arch", kiln__os_arch(), "cpus",
			 (int)host->cpus, "memory_mib", (json_int_t)host->memory_mib);
}
