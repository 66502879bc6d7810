/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/1.1 client of one local socket, for VMMs whose API is that: one request at a time, others
 * wait for their turn; the connection is kept, and made anew where the server closed it.
 */
#ifndef KILN_PROCESS_HTTP_H
#define KILN_PROCESS_HTTP_H

#include <kiln/error.h>

#include "fd.h"
#include "loop.h"

#include <stddef.h>
#include <stdint.h>

struct kiln__http;

struct kiln__http_answer {
	int status;
	const char *body; /* never NULL; NUL-terminated; borrowed */
	size_t len;
};

/*
 * Once a request: @answer of status 2xx, or @err. The client may be freed in it.
 */
typedef void (*kiln__http_done_fn)(void *data, const struct kiln__http_answer *answer,
				   const kiln_error *err);

struct kiln__http_request {
	const char *method;
	const char *target; /* "/version" */
	const char *body;   /* JSON, or NULL: copied */
	const kiln_fd *fds; /* sent with its first byte: duplicated */
	size_t fd_count;
	uint64_t deadline_ms;    /* from when it is sent */
	kiln__http_done_fn done; /* may be NULL */
	void *data;
};

struct kiln__http_handler {
	/*
	 * The connection ended in the middle of a request, which stays pending: why, only the
	 * server's own end tells, and kiln__http_end() after it. Not from inside a call.
	 */
	void (*lost)(void *data, const kiln_error *why);
};

/*
 * A client of the socket at @path, not connected yet. @name ("Firecracker") is for messages; both
 * are copied.
 */
int kiln__http_new(struct kiln__http **ret, kiln_loop *loop, const char *path, const char *name,
		   const struct kiln__http_handler *handler, void *data, kiln_error *err);

/*
 * Who serves it is @user, whatever else stands at its path: nobody else is sent anything. For a
 * directory that is not this user's alone.
 */
void kiln__http_expect(struct kiln__http *http, uint32_t user);

/* Its socket is at @path from now on, to this process. */
int kiln__http_moved(struct kiln__http *http, const char *path, kiln_error *err);

/* Connects now: KILN_ENOENT, KILN_EDIED (nobody listens), as kiln__os_local_try_connect(). */
int kiln__http_connect(struct kiln__http *http, kiln_error *err);

/*
 * Sends a request when those before it are answered. An answer that is no success becomes an error
 * with the server's own words; none within the deadline KILN_ETIMEDOUT, and the connection is given
 * up.
 */
void kiln__http_send(struct kiln__http *http, const struct kiln__http_request *request);

/* How many requests have been sent: round trips. */
unsigned kiln__http_count(const struct kiln__http *http);

/* Completes what is pending with @why. Nothing can be sent any more. */
void kiln__http_end(struct kiln__http *http, const kiln_error *why);

/* Completes what is pending with KILN_ECANCELED. NULL is allowed. */
void kiln__http_free(struct kiln__http *http);

/*
 * What an error's body says, for people, at most @size bytes: a text or array of texts (Cloud
 * Hypervisor), "fault_message" of an object (Firecracker), or the body as it is.
 */
void kiln__http_words(const char *body, size_t len, char *ret, size_t size);

#endif
