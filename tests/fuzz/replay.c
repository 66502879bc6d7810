/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over files and directories of files: how corpora run without libFuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static int replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *bytes = malloc(16 << 20);
	size_t len;

	if (!file || !bytes) {
		perror(path);
		exit(1);
	}
	len = fread(bytes, 1, 16 << 20, file);
	fclose(file);
	/* A copy of exactly this size, so that a sanitizer sees reads beyond it. */
	bytes = realloc(bytes, len ? len : 1);
	LLVMFuzzerTestOneInput(bytes, len);
	free(bytes);
	return 1;
}

static int replay(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int count = 0;

	if (!dir)
		return replay_file(path);
	while ((entry = readdir(dir))) {
		char name[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		count += replay(name);
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	int count = 0;

	for (int i = 1; i < argc; i++)
		count += replay(argv[i]);
	printf("%d inputs replayed\n", count);
	return count > 0 ? 0 : 1;
}
