/* SPDX-License-Identifier: Apache-2.0 */
/* kiln_error as the error object of a JSON-RPC answer, and back. */
#include "control.h"

#include "err.h"
#include "printable.h"
#include "timefmt.h"

#include <stdio.h>
#include <string.h>

/*
 * Codes of a newer kiln are kept, though this one has no name for them. JSON-RPC
 * has its own below -32000.
 */
#define KILN_CODE_MIN (-999)
#define RPC_NO_METHOD (-32601)

/*
 * JSON carries only UTF-8. A message may hold anything (a file's name, a character
 * cut in two at the end).
 */
static json_t *text_json(const char *text)
{
	char plain[sizeof(((kiln_error *)0)->message)];

	snprintf(plain, sizeof(plain), "%s", text);
	return json_string(kiln__printable(plain));
}

json_t *kiln__control_error_json(const kiln_error *err)
{
	json_t *object = json_object();
	json_t *data = json_object();
	int failed = 0;

	failed |= json_object_set_new(data, "name", text_json(kiln_error_name(err->code)));
	if (err->stage[0])
		failed |= json_object_set_new(data, "stage", text_json(err->stage));
	if (err->hint[0])
		failed |= json_object_set_new(data, "hint", text_json(err->hint));
	if (err->os_errno)
		failed |= json_object_set_new(data, "errno", json_integer(err->os_errno));
	failed |= json_object_set_new(object, "code", json_integer(err->code));
	failed |= json_object_set_new(object, "message", text_json(err->message));
	failed |= json_object_set_new(object, "data", data);
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
}

json_t *kiln__control_failure_json(const kiln_error *why)
{
	json_t *object = json_object();
	int failed = 0;

	failed |= json_object_set_new(object, "code", text_json(kiln_error_name(why->code)));
	failed |= json_object_set_new(object, "stage", text_json(why->stage));
	failed |= json_object_set_new(object, "message", text_json(why->message));
	failed |= json_object_set_new(object, "hint", text_json(why->hint));
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
}

json_t *kiln__control_time_json(int64_t realtime_ns)
{
	char text[KILN__TIME_TEXT];

	if (!realtime_ns)
		return json_null();
	kiln__time_format(realtime_ns, text);
	return json_string(text);
}

void kiln__control_copy_text(char *to, size_t size, const json_t *from)
{
	const char *text = json_string_value(from);

	snprintf(to, size, "%s", text ? text : "");
	kiln__printable(to);
}

void kiln__control_error_parse(const json_t *object, kiln_error *ret)
{
	json_int_t code = json_integer_value(json_object_get(object, "code"));
	const json_t *data = json_object_get(object, "data");
	json_int_t os_errno = json_integer_value(json_object_get(data, "errno"));

	*ret = (kiln_error)KILN_ERROR_INIT;
	if (code == RPC_NO_METHOD)
		ret->code = KILN_ENOTSUP;
	else if (code < 0 && code >= KILN_CODE_MIN)
		ret->code = (int)code;
	else
		ret->code = KILN_EPROTO;
	if (os_errno > 0 && os_errno <= INT32_MAX)
		ret->os_errno = (int)os_errno;
	kiln__control_copy_text(ret->stage, sizeof(ret->stage), json_object_get(data, "stage"));
	kiln__control_copy_text(ret->message, sizeof(ret->message),
				json_object_get(object, "message"));
	kiln__control_copy_text(ret->hint, sizeof(ret->hint), json_object_get(data, "hint"));
	if (!ret->message[0])
		snprintf(ret->message, sizeof(ret->message), "%s (the other side gave no reason)",
			 kiln_error_text(ret->code));
}
