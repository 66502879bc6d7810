/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The published schema is the table of keys: docs/machine.schema.json (argument 1) is
 * what the table yields, and the library carries just that.
 */
#include <kiln/config.h>

#include "publish.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	char *table = kiln__publish_schema();
	char *file = calloc(1, 1 << 20);
	FILE *stream = argc > 1 ? fopen(argv[1], "r") : NULL;

	if (!table || !file || !stream || fread(file, 1, (1 << 20) - 1, stream) == 0) {
		fprintf(stderr, "cannot read the schema\n");
		return 2;
	}
	fclose(stream);
	if (strcmp(file, table) != 0) {
		fprintf(stderr,
			"%s is not what the table of keys says; make it anew:\n"
			"build/src/config/publish-schema >docs/machine.schema.json\n",
			argv[1]);
		return 1;
	}
	if (strcmp(file, kiln_config_schema()) != 0) {
		fprintf(stderr, "kiln_config_schema() is not %s\n", argv[1]);
		return 1;
	}
	free(table);
	free(file);
	return 0;
}
