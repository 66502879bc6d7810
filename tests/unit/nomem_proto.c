/* SPDX-License-Identifier: Apache-2.0 */
/* Memory runs out while messages are made and read: control lines, agent records, frames. */
#include "kiln_test.h"

#include "agentmsg.h"
#include "buf.h"
#include "control.h"
#include "err.h"
#include "frame.h"
#include "loop.h"
#include "mempair.h"
#include "nomem.h"

#include <string.h>

/* --- the control connection ----------------------------------------------------------- */

struct talk {
	bool over; /* answered, or the connection has broken */
	int result;
	kiln_error err;
};

static void end_talk(struct talk *talk, const kiln_error *err)
{
	if (talk->over)
		return;
	talk->over = true;
	talk->result = err ? err->code : 0;
	if (err)
		talk->err = *err;
}

static void on_request(void *data, struct kiln__control_call *call, const char *method,
		       json_t *params)
{
	(void)data;
	(void)method;
	kiln__control_answer(call, json_incref(params));
}

static void on_closed(void *data, const kiln_error *err)
{
	end_talk(data, err);
}

static void on_answer(void *data, json_t *result, const kiln_error *err)
{
	(void)result;
	end_talk(data, err);
}

static const struct kiln__control_handler server_handler = {
	.on_request = on_request,
	.on_closed = on_closed,
};
static const struct kiln__control_handler client_handler = {.on_closed = on_closed};

/* One end, or NULL and its stream closed. */
static struct kiln__control *make_end(kiln_loop *loop, struct kiln__stream *stream, bool server,
				      struct talk *talk, kiln_error *err)
{
	struct kiln__control *end = NULL;

	if (kiln__control_new(&end, loop, stream, server,
			      server ? &server_handler : &client_handler, talk, err) < 0)
		kiln__stream_close(stream);
	return end;
}

static int ask(struct kiln__control *client, struct talk *talk, kiln_error *err)
{
	const struct kiln__control_request request = {
		.method = "echo",
		.params = json_pack("{s:s, s:[i,i]}", "text", "hello", "numbers", 1, 2),
		.answer = on_answer,
		.data = talk,
	};

	return kiln__control_request(client, &request, NULL, err);
}

static int talk_over(kiln_loop *loop, kiln_error *err)
{
	static const char *const features[] = {"echo", NULL};
	struct kiln__stream *ends[2];
	struct talk talk = {.over = false};
	struct kiln__control *server;
	struct kiln__control *client;
	long suspended;
	int r;

	suspended = nomem_suspend();
	if (mempair_new(ends, loop, 7, 65536) < 0)
		fail();
	nomem_resume(suspended);
	server = make_end(loop, ends[0], true, &talk, err);
	client = make_end(loop, ends[1], false, &talk, err);
	r = server && client ? 0 : err->code;
	if (r == 0)
		kiln__control_send_hello(server, "id", "1", features);
	if (r == 0)
		r = ask(client, &talk, err);
	while (r == 0 && !talk.over)
		if (!kiln_loop_step(loop))
			assert_true(talk.over);
	kiln__control_free(client);
	kiln__control_free(server);
	if (r == 0 && talk.result < 0)
		*err = talk.err;
	return r < 0 ? r : talk.result;
}

static int control_operation(void *data, kiln_error *err)
{
	kiln_loop *loop;
	int r = kiln_loop_new(&loop, err);

	(void)data;
	if (r < 0)
		return r;
	r = talk_over(loop, err);
	kiln_loop_free(loop);
	return r;
}

static void a_request_is_answered_or_the_connection_ends(void **state)
{
	(void)state;
	nomem_each(control_operation, NULL, NOMEM_SURVIVED);
}

/* --- agent messages ------------------------------------------------------------------ */

/* A record into a frame, the frame read back in pieces, the record out of it. */
static int frame_operation(void *data, kiln_error *err)
{
	const struct kiln__agent_hello hello = {
		.agent = "1.2.3", .kernel = "6.1.0", .arch = "x86_64"};
	kiln__autobuf wire = KILN__BUF_INIT;
	struct kiln__frame_reader reader;
	struct kiln__agent_hello read;
	struct kiln__frame frame;
	bool whole = false;
	int64_t n = 0;
	int r = 0;

	(void)data;
	kiln__frame_pack(&wire, KILN__AGENT_HELLO, 0, 0, &kiln__agent_hello_record, &hello);
	if (wire.failed)
		return kiln__fail_nomem(err);
	kiln__frame_reader_init(&reader, kiln__agent_limit);
	for (size_t at = 0; at < wire.len && n >= 0 && !whole; at += (size_t)n)
		n = kiln__frame_read(&reader, wire.data + at, 1, &frame, &whole, err);
	if (n < 0)
		r = (int)n;
	else
		r = kiln__record_unpack(&kiln__agent_hello_record, frame.body, frame.len, &read,
					err);
	if (r == 0)
		assert_string_equal(read.kernel, hello.kernel);
	kiln__frame_reader_done(&reader);
	return r;
}

static void a_frame_is_read_whole_or_refused(void **state)
{
	(void)state;
	nomem_each(frame_operation, NULL, NOMEM_TOLD);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_request_is_answered_or_the_connection_ends),
		kiln_test(a_frame_is_read_whole_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
