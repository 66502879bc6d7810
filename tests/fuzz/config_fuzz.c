/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration from anybody's hands. The first byte chooses: a document, or lines
 * "path=value" (a line without '=' unsets) that are set one by one. What was taken must
 * print, parse again to the same print, copy, validate or be refused, and whatever path was
 * tried must be gettable or not, without a crash.
 */
#include <kiln/config.h>

#include "spec.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

/* A refusal is whole: a code, a message, and no byte of it that a terminal would act on. */
static void check_refusal(int rc, const kiln_error *err)
{
	CHECK(rc < 0 && err->code == rc && err->message[0]);
	for (const char *c = err->message; *c; c++)
		CHECK(*c >= ' ' && *c <= '~');
	for (const char *c = err->hint; *c; c++)
		CHECK(*c >= ' ' && *c <= '~');
}

static void check_config(const kiln_config *config)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *again = NULL;
	struct kiln__spec *spec = NULL;
	char *first = NULL, *second = NULL;
	int rc;

	rc = kiln_config_print(config, &first, &err);
	if (rc < 0) {
		CHECK(rc == KILN_EOVERFLOW);
		return;
	}
	CHECK(kiln_config_parse(first, strlen(first), &again, &err) == 0);
	CHECK(kiln_config_print(again, &second, &err) == 0);
	CHECK(strcmp(first, second) == 0);
	kiln_config_free(again);
	CHECK(kiln_config_copy(config, &again, &err) == 0);
	kiln_config_free(again);
	rc = kiln__config_spec(config, &spec, &err);
	if (rc < 0)
		check_refusal(rc, &err);
	CHECK((kiln_config_validate(config, NULL) < 0) == (rc < 0));
	kiln__spec_free(spec);
	free(first);
	free(second);
}

static void set_line(kiln_config *config, char *line)
{
	kiln_error err = KILN_ERROR_INIT;
	char *value = strchr(line, '=');
	const char *text;
	char *path = line;
	int rc;

	if (value)
		*value++ = '\0';
	rc = kiln_config_set(config, path, value, &err);
	if (rc < 0)
		check_refusal(rc, &err);
	else
		kiln_config_get(config, path, &text, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = NULL;
	char *text, *line, *next;
	int rc;

	if (len == 0)
		return 0;
	if (bytes[0] != 's') {
		rc = kiln_config_parse((const char *)bytes, len, &config, &err);
		if (rc < 0) {
			check_refusal(rc, &err);
			return 0;
		}
	} else {
		text = malloc(len);
		CHECK(text && kiln_config_new(&config, &err) == 0);
		memcpy(text, bytes + 1, len - 1);
		text[len - 1] = '\0';
		for (line = text; line; line = next) {
			next = strchr(line, '\n');
			if (next)
				*next++ = '\0';
			set_line(config, line);
		}
		free(text);
	}
	check_config(config);
	kiln_config_free(config);
	return 0;
}
