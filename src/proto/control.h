/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One end of a control connection: JSON-RPC 2.0, one message a line, over any
 * byte stream (docs/control-protocol.md). Both ends are built from this: the
 * server is a kiln-runner, the client a manager.
 *
 * All on the loop's thread. No callback runs from inside the call that caused
 * it, and none after kiln__control_free(). Any of them may free the connection.
 */
#ifndef KILN_PROTO_CONTROL_H
#define KILN_PROTO_CONTROL_H

#include <kiln/error.h>

#include "loop.h"
#include "stream.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Grows only when an old client could misunderstand; what is merely new is a feature. */
#define KILN__CONTROL_PROTOCOL 1

/* Bytes of one line without its newline; a longer one breaks the connection. */
#define KILN__CONTROL_LINE_MAX ((size_t)1024 * 1024)

/* Bytes that may wait for a peer that does not read; beyond it the connection is broken. */
#define KILN__CONTROL_QUEUE_MAX ((size_t)4 * 1024 * 1024)

/* Requests of one client that may wait for their answers; no more is read until one is answered. */
#define KILN__CONTROL_CALLS_MAX 64

/* Bytes of a request's id that is a string: it is kept until the request is answered. */
#define KILN__CONTROL_ID_MAX 64

struct kiln__control;
struct kiln__control_call; /* at the server: a request that waits for its answer */

struct kiln__control_handler {
	/*
	 * Server: a request. @call is the handler's to answer, once, now or later, by
	 * kiln__control_answer(), _fail() or _answer_raw(). @params is an object, or
	 * NULL; valid during the call. NULL for a client, which serves nothing.
	 */
	void (*on_request)(void *data, struct kiln__control_call *call, const char *method,
			   json_t *params);

	/* A notification. May be NULL. */
	void (*on_notify)(void *data, const char *method, json_t *params);

	/*
	 * The connection is over: KILN_EDIED if the peer closed it, KILN_EPROTO if one
	 * of its messages broke the protocol. Called once; a client's calls have been
	 * completed with the same error before. Nothing happens on it any more; it is
	 * still to be freed.
	 */
	void (*on_closed)(void *data, const kiln_error *err);

	/* Server: every request has been answered, and all of it written. May be NULL. */
	void (*on_idle)(void *data);
};

/*
 * Makes one end over @stream, which it owns from here on (on failure it remains
 * the caller's), and begins to read. @handler must outlive the connection.
 */
int kiln__control_new(struct kiln__control **ret, kiln_loop *loop, struct kiln__stream *stream,
		      bool server, const struct kiln__control_handler *handler, void *data,
		      kiln_error *err);

/*
 * Closes the connection; NULL is allowed. Calls that wait for an answer are
 * forgotten (client) or may still be answered, to no effect (server).
 */
void kiln__control_free(struct kiln__control *control);
KILN__DEFINE_AUTOPTR(struct kiln__control, kiln__control_free)

/* True once nothing is read or written any more; of calls failed by that, their callbacks see it
 * too. */
bool kiln__control_has_ended(const struct kiln__control *control);

/* True while a request waits for an answer or something to be sent waits for the peer. */
bool kiln__control_pending(const struct kiln__control *control);

/* Sends a notification. @params (an object, or NULL) is taken, whatever happens. */
void kiln__control_notify(struct kiln__control *control, const char *method, json_t *params);

/* --- the server's side ----------------------------------------------------------- */

/* What a runner says first. @features: NULL-terminated names. */
void kiln__control_send_hello(struct kiln__control *control, const char *id, const char *version,
			      const char *const *features);

/* Answers and frees @call. @result is taken; NULL stands for {}. */
void kiln__control_answer(struct kiln__control_call *call, json_t *result);

/* Answers with an error and frees @call. */
void kiln__control_fail(struct kiln__control_call *call, const kiln_error *err);

/* Answers that there is no such method (-32601) and frees @call. */
void kiln__control_fail_unknown(struct kiln__control_call *call, const char *method);

/*
 * From inside on_request, for methods that end in a raw stream: reads no message
 * behind this one until the call is answered.
 */
void kiln__control_hold(struct kiln__control_call *call);

/* The connection that @call came on; NULL once that has been freed. */
struct kiln__control *kiln__control_of(const struct kiln__control_call *call);

/*
 * A connection that carries no more messages. @stream is the receiver's: it sets
 * a handler before it returns, and resumes delivery; bytes that came behind the last message
 * are still in it. The connection has been freed. On failure @stream is NULL, @err says
 * why, and the connection goes on (its end is reported by on_closed as usual).
 */
typedef void (*kiln__control_raw_fn)(void *data, struct kiln__stream *stream,
				     const kiln_error *err);

/*
 * Answers {} to a held @call, frees it, and gives the connection's stream to @fn
 * once the answer has been written. @fn is not called if the connection ends or is
 * freed before.
 */
void kiln__control_answer_raw(struct kiln__control_call *call, kiln__control_raw_fn fn, void *data);

/* --- the client's side ------------------------------------------------------------ */

/* @result is NULL on failure, @err is NULL on success; both valid during the call. */
typedef void (*kiln__control_answer_fn)(void *data, json_t *result, const kiln_error *err);

struct kiln__control_request {
	const char *method;
	json_t *params;                 /* an object, or NULL; taken, whatever happens */
	bool eager;                     /* do not wait for the hello and its features: for launch */
	kiln__control_answer_fn answer; /* one of the two is set: */
	kiln__control_raw_fn raw;       /* the answer turns the connection into a raw stream */
	void *data;
};

/*
 * Sends a request, or keeps it until the server's hello has come; it fails with
 * KILN_ENOTSUP if the server does not list @method as a feature. The callback is
 * called once, unless the connection is freed or the request forgotten before.
 * @ret_number (NULL is allowed) is greater than 0. The only failure here is KILN_ENOMEM.
 */
int kiln__control_request(struct kiln__control *control,
			  const struct kiln__control_request *request, uint64_t *ret_number,
			  kiln_error *err);

/*
 * The callback of this request will not be called; an answer that comes is dropped. If
 * it was for a raw stream and the answer has come already, the connection ends.
 */
void kiln__control_forget(struct kiln__control *control, uint64_t number);

/* False until the hello has come. */
bool kiln__control_has_feature(const struct kiln__control *control, const char *feature);

/* The server's version and VM id from its hello; "" until it has come. */
const char *kiln__control_version(const struct kiln__control *control);
const char *kiln__control_peer_id(const struct kiln__control *control);

/* --- errors across a connection ---------------------------------------------------- */

/* The error object of a JSON-RPC answer; NULL when out of memory. A new reference. */
json_t *kiln__control_error_json(const kiln_error *err);

/* Why a VM failed, as its state and its events say it; NULL when out of memory. A new reference. */
json_t *kiln__control_failure_json(const kiln_error *why);

/* A time as these say it, RFC 3339 in UTC; null for 0. A new reference. */
json_t *kiln__control_time_json(int64_t realtime_ns);

/* Reads an error object that a peer sent. Total: what is missing or out of range makes an error
 * too. */
void kiln__control_error_parse(const json_t *object, kiln_error *ret);

/*
 * Copies what fits of a string that a peer sent ("" for what is no string), control
 * characters as '?': such text ends up on terminals.
 */
void kiln__control_copy_text(char *to, size_t size, const json_t *from);

#endif
