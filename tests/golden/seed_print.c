/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seed_print CONFIG.json DIRECTORY: the documents of a configuration's seed as files, and the disk
 * with them as seed.iso. Exits with 1 and the message if the configuration is refused.
 */
#include "buf.h"
#include "machine.h"
#include "os.h"
#include "seed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID "0123456789abcdef0123456789abcdef"

static int print(const char *config_file, const char *dir, kiln_error *err)
{
	kiln__cleanup(kiln_config_free_autop) kiln_config *config = NULL;
	kiln__cleanup(kiln__spec_free_autop) struct kiln__spec *spec = NULL;
	struct kiln__seed_documents documents = {0};
	kiln__autofree char *image = kiln__strf("%s/seed.iso", dir);
	int r = kiln_config_load(config_file, &config, err);

	if (r == 0)
		r = kiln__config_spec(config, &spec, err);
	if (r < 0)
		return r;
	kiln__machine_set_macs(spec, ID);
	r = kiln__seed_documents(spec, ID, "test-vm", &documents, err);
	for (size_t i = 0; r == 0 && i < KILN__SEED_FILES; i++) {
		kiln__autofree char *path = kiln__strf("%s/%s", dir, kiln__seed_names[i]);

		if (documents.files[i].text)
			r = kiln__os_replace_file(path, documents.files[i].text,
						  documents.files[i].len, 0600, false, err);
	}
	if (r == 0 && getenv("KILN_IMAGE"))
		r = kiln__seed_make(&documents, kiln__seed_has_agent(spec) ? config_file : NULL,
				    image, err);
	kiln__seed_documents_done(&documents);
	return r;
}

int main(int argc, char **argv)
{
	kiln_error err = KILN_ERROR_INIT;

	if (argc != 3)
		return 2;
	if (print(argv[1], argv[2], &err) == 0)
		return 0;
	fprintf(stderr, "%s\n", err.message);
	return 1;
}
