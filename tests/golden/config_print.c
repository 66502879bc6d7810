/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a configuration and prints it, or the refusal: what config_test.py drives. */
#include <kiln/config.h>

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = NULL;
	char *text = NULL;
	int rc;

	if (argc != 2)
		return 2;
	rc = kiln_config_load(argv[1], &config, &err);
	if (rc == 0)
		rc = kiln_config_print(config, &text, &err);
	if (rc == 0)
		fputs(text, stdout);
	else
		fprintf(stderr, "%s\n", err.message);
	free(text);
	kiln_config_free(config);
	return rc == 0 ? 0 : 1;
}
