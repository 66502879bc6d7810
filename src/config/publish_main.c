/* SPDX-License-Identifier: Apache-2.0 */
/* Prints docs/machine.schema.json ("schema") or docs/man/config-keys.scd ("man"). */
#include "publish.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	char *text = NULL;

	if (argc == 2 && strcmp(argv[1], "schema") == 0)
		text = kiln__publish_schema();
	else if (argc == 2 && strcmp(argv[1], "man") == 0)
		text = kiln__publish_man();
	if (!text || fputs(text, stdout) < 0 || fflush(stdout) != 0)
		return 1;
	free(text);
	return 0;
}
