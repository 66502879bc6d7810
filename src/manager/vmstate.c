/* SPDX-License-Identifier: Apache-2.0 */
#include "vmstate.h"

#include "control.h"
#include "err.h"
#include "timefmt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum kiln_state parse_state(const json_t *value)
{
	const char *name = json_string_value(value);

	for (int state = KILN_STATE_CREATED; name && state <= KILN_STATE_FAILED; state++)
		if (strcmp(kiln_state_name((enum kiln_state)state), name) == 0)
			return (enum kiln_state)state;
	return KILN_STATE_CREATED;
}

static kiln_exit parse_exit(const json_t *object)
{
	const char *name = json_string_value(json_object_get(object, "kind"));
	kiln_exit how = {KILN_EXIT_NONE, 0};

	for (int kind = KILN_EXIT_NONE; name && kind <= KILN_EXIT_KILLED; kind++)
		if (strcmp(kiln_exit_kind_name((enum kiln_exit_kind)kind), name) == 0)
			how.kind = (enum kiln_exit_kind)kind;
	if (how.kind == KILN_EXIT_EXITED)
		how.code = (int)json_integer_value(json_object_get(object, "code"));
	else if (how.kind == KILN_EXIT_SIGNALED)
		how.code = (int)json_integer_value(json_object_get(object, "signal"));
	return how;
}

static int parse_code(const char *name)
{
	static const int codes[] = {
#define KILN_ERROR_CODE_VALUE(name, value, text) value,
		KILN_ERROR_CODES(KILN_ERROR_CODE_VALUE)
#undef KILN_ERROR_CODE_VALUE
	};

	for (size_t i = 0; name && i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(kiln_error_name(codes[i]), name) == 0)
			return codes[i];
	return KILN_EDIED;
}

static void parse_failure(const json_t *object, kiln_error *ret)
{
	*ret = (kiln_error)KILN_ERROR_INIT;
	if (!json_is_object(object))
		return;
	ret->code = parse_code(json_string_value(json_object_get(object, "code")));
	kiln__control_copy_text(ret->stage, sizeof(ret->stage), json_object_get(object, "stage"));
	kiln__control_copy_text(ret->message, sizeof(ret->message),
				json_object_get(object, "message"));
	kiln__control_copy_text(ret->hint, sizeof(ret->hint), json_object_get(object, "hint"));
}

static int64_t parse_time(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	int64_t ns = text ? kiln__time_parse(text) : 0;

	return ns > 0 ? ns : 0;
}

void kiln__vmstate_parse(const json_t *object, struct kiln__vmstate *ret)
{
	*ret = (struct kiln__vmstate){
		.state = parse_state(json_object_get(object, "state")),
		.exit = parse_exit(json_object_get(object, "exit")),
		.pid = json_integer_value(json_object_get(object, "pid")),
		.vmm_pid = json_integer_value(json_object_get(object, "vmm_pid")),
		.started_ns = parse_time(object, "started"),
		.ready_ns = parse_time(object, "ready"),
		.finished_ns = parse_time(object, "finished"),
	};
	parse_failure(json_object_get(object, "failure"), &ret->failure);
	kiln__control_copy_text(ret->backend, sizeof(ret->backend),
				json_object_get(object, "backend"));
	kiln__control_copy_text(ret->accel, sizeof(ret->accel), json_object_get(object, "accel"));
	kiln__control_copy_text(ret->accel_reason, sizeof(ret->accel_reason),
				json_object_get(object, "accel_reason"));
}

bool kiln__vmstate_is_alive(enum kiln_state state)
{
	return state >= KILN_STATE_STARTING && state <= KILN_STATE_STOPPING;
}

int kiln__vmstate_set_failed(json_t *object, const kiln_error *why, int64_t finished_ns,
			     kiln_error *err)
{
	int failed = 0;

	failed |= json_object_set_new(object, "state",
				      json_string(kiln_state_name(KILN_STATE_FAILED)));
	failed |= json_object_set_new(object, "pid", json_integer(0));
	failed |= json_object_set_new(object, "vmm_pid", json_integer(0));
	failed |= json_object_set_new(object, "finished", kiln__control_time_json(finished_ns));
	failed |= json_object_set_new(object, "exit", json_null());
	failed |= json_object_set_new(object, "failure", kiln__control_failure_json(why));
	return failed ? kiln__fail_nomem(err) : 0;
}

char *kiln__vmstate_failed_event(const char *from, const kiln_error *why, int64_t time_ns)
{
	json_t *event = json_pack("{s:o, s:s, s:s, s:o}", "time", kiln__control_time_json(time_ns),
				  "event", kiln_state_name(KILN_STATE_FAILED), "from", from,
				  "failure", kiln__control_failure_json(why));
	char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;

	json_decref(event);
	return text;
}
