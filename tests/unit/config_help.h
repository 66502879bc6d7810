/* SPDX-License-Identifier: Apache-2.0 */
/* What the configuration's tests share: short ways to say that something is taken or refused. */
#ifndef CONFIG_HELP_H
#define CONFIG_HELP_H

#include "kiln_test.h"

#include <kiln/config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Parses, or fails the test. JSON with ' for ", which no document of these tests needs. */
static inline char *unquote(const char *json)
{
	char *text = strdup(json);

	assert_non_null(text);
	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	return text;
}

static inline kiln_config *parse_ok(const char *json)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = NULL;
	char *text = unquote(json);

	kiln_ok(kiln_config_parse(text, strlen(text), &config, &err), &err);
	free(text);
	return config;
}

static inline void assert_refusal(int rc, const kiln_error *err, const char *input, int code,
				  const char *message)
{
	if (rc != code || err->code != code || strcmp(err->message, message) != 0)
		fail_msg("%s:\n  got  %s \"%s\"\n  want %s \"%s\"", input, kiln_error_name(rc),
			 err->message, kiln_error_name(code), message);
	assert_string_equal(err->stage, "config");
}

static inline void parse_refused(const char *json, int code, const char *message)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = NULL;
	char *text = unquote(json);
	int rc = kiln_config_parse(text, strlen(text), &config, &err);

	assert_null(config);
	assert_refusal(rc, &err, json, code, message);
	free(text);
}

static inline void set_ok(kiln_config *config, const char *path, const char *value)
{
	kiln_error err = KILN_ERROR_INIT;

	kiln_ok(kiln_config_set(config, path, value, &err), &err);
}

static inline char *print_ok(const kiln_config *config)
{
	kiln_error err = KILN_ERROR_INIT;
	char *text = NULL;

	kiln_ok(kiln_config_print(config, &text, &err), &err);
	return text;
}

/* A refused set changes nothing. */
static inline void set_refused(kiln_config *config, const char *path, const char *value, int code,
			       const char *message)
{
	kiln_error err = KILN_ERROR_INIT;
	char *before = print_ok(config);
	int rc = kiln_config_set(config, path, value, &err);
	char *after = print_ok(config);

	assert_refusal(rc, &err, path, code, message);
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static inline void assert_get(const kiln_config *config, const char *path, const char *value)
{
	kiln_error err = KILN_ERROR_INIT;
	const char *got = NULL;

	kiln_ok(kiln_config_get(config, path, &got, &err), &err);
	assert_string_equal(got, value);
}

static inline void assert_unset(const kiln_config *config, const char *path)
{
	kiln_error err = KILN_ERROR_INIT;
	const char *got = NULL;

	assert_int_equal(kiln_config_get(config, path, &got, &err), KILN_ENOENT);
	assert_null(got);
}

/* The printed document is @json, spaces and line ends aside (no text in these tests has any). */
static inline void assert_prints(const kiln_config *config, const char *json)
{
	char *text = print_ok(config);
	char *want = unquote(json);
	char *to = text;

	for (char *from = text; *from; from++)
		if (*from != ' ' && *from != '\n')
			*to++ = *from;
	*to = '\0';
	assert_string_equal(text, want);
	free(text);
	free(want);
}

#endif
