/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of the agent protocol against a guest that sends anything. The first
 * byte chooses what listens and how it behaves, the second the size of the pieces.
 */
#include "agent.h"
#include "mempair.h"
#include "session.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define AS_SESSION 1 /* else a control channel */
#define SLOW       2 /* takes output a byte at a time */
#define FREES      4 /* frees itself from a callback */
#define WRITES     8
#define REATTACHES 16

struct target {
	kiln_loop *loop;
	struct kiln__session *session;
	struct kiln__agent *agent;
	struct kiln__stream *guest; /* the other end */
	size_t piece;
	unsigned mode;
	unsigned calls;
	bool over;
};

/* Some callback or other frees the object it is called from. */
static void called(struct target *target)
{
	if (!(target->mode & FREES) || ++target->calls < 3)
		return;
	kiln__session_free(target->session);
	target->session = NULL;
	kiln__agent_free(target->agent);
	target->agent = NULL;
}

static void on_started(void *data, uint32_t pid)
{
	struct target *target = data;

	(void)pid;
	called(target);
	if (target->session && (target->mode & WRITES)) {
		kiln__session_write(target->session, "some input", 10);
		kiln__session_resize(target->session, 24, 80);
		kiln__session_signal(target->session, 15, false);
		kiln__session_end_input(target->session);
	}
}

static size_t on_output(void *data, int stream, const void *bytes, size_t len)
{
	struct target *target = data;

	if (stream != 1 && stream != 2)
		abort();
	for (size_t i = 0; i < len; i++)
		(void)((const volatile uint8_t *)bytes)[i];
	called(target);
	return target->mode & SLOW ? 1 : len;
}

static void on_exited(void *data, const struct kiln__agent_exit *how)
{
	struct target *target = data;

	(void)how;
	if (target->over)
		abort();
	target->over = true;
	called(target);
}

static void on_failed(void *data, const kiln_error *err, bool lost)
{
	struct target *target = data;

	(void)lost;
	if (target->over || err->code >= 0)
		abort();
	target->over = true;
	called(target);
}

static const struct kiln__session_handler session_handler = {
	.started = on_started,
	.output = on_output,
	.exited = on_exited,
	.failed = on_failed,
};

static void on_hello(void *data, const struct kiln__agent_hello *hello)
{
	(void)hello;
	called(data);
}

static void on_shutting_down(void *data, uint32_t cause)
{
	(void)cause;
	called(data);
}

static void on_closed(void *data, const kiln_error *err)
{
	struct target *target = data;

	(void)err;
	if (target->over)
		abort();
	target->over = true;
	called(target);
}

static const struct kiln__agent_handler agent_handler = {
	.hello = on_hello,
	.shutting_down = on_shutting_down,
	.closed = on_closed,
};

static void on_reply(void *data, const void *result, const kiln_error *err)
{
	(void)result;
	(void)err;
	called(data);
}

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

static const struct kiln__stream_handler guest_handler = {swallow, ignore, ignore, ignore_error};

static void ask(struct target *target)
{
	static const struct {
		uint8_t type;
		const struct kiln__record *result;
	} calls[] = {
		{KILN__AGENT_STATS, &kiln__agent_stats_record},
		{KILN__AGENT_LIST, &kiln__agent_list_record},
		{KILN__AGENT_SETUP, &kiln__agent_setup_done_record},
	};

	for (size_t i = 0; target->agent && i < sizeof(calls) / sizeof(calls[0]); i++)
		kiln__agent_request(target->agent,
				    &(struct kiln__agent_call){.type = calls[i].type,
							       .result = calls[i].result,
							       .reply = on_reply,
							       .data = target},
				    NULL);
}

static struct kiln__stream *connect_pair(struct target *target)
{
	struct kiln__stream *pair[2];

	if (mempair_new(pair, target->loop, target->piece, 65536) < 0)
		abort();
	kiln__stream_close(target->guest);
	target->guest = pair[1];
	kiln__stream_set_handler(pair[1], &guest_handler, NULL);
	kiln__stream_resume(pair[1]);
	return pair[0];
}

static void begin(struct target *target)
{
	const struct kiln__agent_start start = {.id = 7, .argv = {"cmd", 4}, .input = true};

	if (!(target->mode & AS_SESSION)) {
		kiln__agent_new(&target->agent, target->loop, connect_pair(target), &agent_handler,
				target, NULL);
		ask(target);
		return;
	}
	kiln__session_start(&target->session, target->loop, connect_pair(target), &start,
			    &session_handler, target, NULL);
}

static void feed(struct target *target, const uint8_t *bytes, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = kiln__stream_write(target->guest, bytes + at, len - at);

		if (n <= 0)
			return;
		at += (size_t)n;
		for (int i = 0; i < 200 && kiln_loop_timeout(target->loop) == 0; i++) {
			kiln_loop_dispatch(target->loop);
			if (target->session && (target->mode & SLOW))
				kiln__session_resume(target->session);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct target target = {.over = false};

	if (len < 2)
		return 0;
	if (kiln_loop_new(&target.loop, NULL) < 0)
		abort();
	target.mode = bytes[0];
	target.piece = (size_t)bytes[1] * 16 + 1;
	begin(&target);
	feed(&target, bytes + 2, len - 2);
	if (target.over && target.session && (target.mode & REATTACHES)) {
		struct kiln__stream *stream = connect_pair(&target);

		target.over = false;
		if (kiln__session_reattach(target.session, stream, NULL) < 0)
			kiln__stream_close(stream);
		else
			feed(&target, bytes + 2, len - 2);
	}
	kiln__session_free(target.session);
	kiln__agent_free(target.agent);
	kiln__stream_close(target.guest);
	kiln_loop_free(target.loop);
	return 0;
}
