/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is published is the table of keys: docs/machine.schema.json (argument 1), which the
 * library carries, and docs/man/config-keys.scd (argument 2).
 */
#include <kiln/config.h>

#include "publish.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_file(const char *path)
{
	char *text = calloc(1, 1 << 20);
	FILE *stream = fopen(path, "rb");

	if (!text || !stream || fread(text, 1, (1 << 20) - 1, stream) == 0) {
		fprintf(stderr, "cannot read %s\n", path);
		exit(2);
	}
	fclose(stream);
	return text;
}

static int compare(const char *path, const char *what, char *table)
{
	char *file = read_file(path);
	int differs = !table || strcmp(file, table) != 0;

	if (differs)
		fprintf(stderr,
			"%s is not what the table of keys says; make it anew:\n"
			"build/src/config/publish-schema %s >%s\n",
			path, what, path);
	free(file);
	free(table);
	return differs;
}

int main(int argc, char **argv)
{
	char *file;
	int differs;

	if (argc != 3)
		return 2;
	differs = compare(argv[1], "schema", kiln__publish_schema());
	differs |= compare(argv[2], "man", kiln__publish_man());
	file = read_file(argv[1]);
	if (strcmp(file, kiln_config_schema()) != 0) {
		fprintf(stderr, "kiln_config_schema() is not %s\n", argv[1]);
		differs = 1;
	}
	free(file);
	return differs;
}
