/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of the control protocol fed with anything, in pieces of any size.
 * The first byte chooses the end and the size of the pieces.
 */
#include "control.h"
#include "err.h"
#include "mempair.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct target {
	struct kiln__control *control;
	struct kiln__stream *raw;
};

static size_t swallow(void *data, const void *bytes, size_t len)
{
	(void)data;
	(void)bytes;
	return len;
}

static void ignore(void *data)
{
	(void)data;
}

static void ignore_error(void *data, const kiln_error *err)
{
	(void)data;
	(void)err;
}

static const struct kiln__stream_handler raw_handler = {swallow, ignore, ignore, ignore_error};

static void on_raw(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct target *target = data;

	(void)err;
	if (!stream)
		return;
	target->control = NULL;
	target->raw = stream;
	kiln__stream_set_handler(stream, &raw_handler, NULL);
	kiln__stream_resume(stream);
}

static void on_request(void *data, struct kiln__control_call *call, const char *method,
		       json_t *params)
{
	kiln_error err;

	switch (method[0]) {
	case 'e':
		kiln__control_hold(call);
		kiln__control_answer_raw(call, on_raw, data);
		break;
	case 'i':
		kiln__control_answer(call, json_incref(params));
		break;
	case 'f':
		kiln__fail(&err, KILN_EBUSY, "%s", method);
		kiln__control_fail(call, &err);
		break;
	default:
		kiln__control_fail_unknown(call, method);
	}
}

static void on_notify(void *data, const char *method, json_t *params)
{
	(void)data;
	(void)method;
	(void)params;
}

static void on_closed(void *data, const kiln_error *err)
{
	struct target *target = data;

	(void)err;
	kiln__control_free(target->control);
	target->control = NULL;
}

static void on_answer(void *data, json_t *result, const kiln_error *err)
{
	(void)data;
	if (!result == !err)
		abort();
}

static const struct kiln__control_handler handler = {on_request, on_notify, on_closed};

static void ask(struct target *target)
{
	static const struct kiln__control_request plain = {.method = "inspect",
							   .answer = on_answer};
	struct kiln__control_request raw = {.method = "exec", .raw = on_raw, .data = target};

	kiln__control_request(target->control, &plain, NULL, NULL);
	kiln__control_request(target->control, &plain, NULL, NULL);
	kiln__control_request(target->control, &raw, NULL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct target target = {NULL, NULL};
	struct kiln__stream *ends[2];
	kiln_loop *loop;
	bool server;

	if (len == 0)
		return 0;
	server = bytes[0] & 1;
	if (kiln_loop_new(&loop, NULL) < 0)
		return 0;
	mempair_new(ends, loop, (size_t)(bytes[0] >> 1) + 1, 1 << 20);
	if (kiln__control_new(&target.control, loop, ends[0], server, &handler, &target, NULL) < 0)
		abort();
	if (!server)
		ask(&target);
	kiln__stream_set_handler(ends[1], &raw_handler, NULL);
	kiln__stream_resume(ends[1]);
	kiln__stream_write(ends[1], bytes + 1, len - 1);
	kiln__stream_shutdown(ends[1]);
	while (kiln_loop_dispatch(loop))
		;
	kiln__control_free(target.control);
	kiln__stream_close(target.raw);
	kiln__stream_close(ends[1]);
	kiln_loop_free(loop);
	return 0;
}
