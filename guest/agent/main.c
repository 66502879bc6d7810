/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kiln-guest: one static program for the inside of a VM. As PID 1 it boots the
 * machine (init/) and is its agent (agent/); as "kiln-guest agent" it is the agent
 * alone, a service under whatever init the machine has.
 */
#include "init.h"
#include "service.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (getpid() == 1)
		return init_main();
	if (argc >= 2 && strcmp(argv[1], "agent") == 0)
		return service_main(argc, argv);
	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return puts("kiln-guest " KILN_VERSION) < 0;
	fputs("usage: kiln-guest agent | --version, or as PID 1 of a kiln VM\n", stderr);
	return 2;
}
