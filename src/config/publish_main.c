/* SPDX-License-Identifier: Apache-2.0 */
/* Prints docs/machine.schema.json as the table of keys would have it. */
#include "publish.h"

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
	char *text = kiln__publish_schema();

	if (!text || fputs(text, stdout) < 0 || fflush(stdout) != 0)
		return 1;
	free(text);
	return 0;
}
