/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard input and output as events, whatever they are: terminals, pipes, sockets,
 * files. They are shared with other processes (a shell, a pipe's other users), so
 * nothing about them is changed: not even O_NONBLOCK, which would be everybody's.
 */
#ifndef KILN_CLI_INOUT_H
#define KILN_CLI_INOUT_H

#include <kiln/loop.h>

#include "detach.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* --- input ------------------------------------------------------------------- */

struct input;

/* Where input goes. */
struct input_sink {
	/* Takes bytes. A count, after fewer than @len input_resume() is called; negative: wants
	 * none. */
	ssize_t (*write)(void *data, const void *bytes, size_t len);
	void (*end)(void *data); /* there is no more, after all was taken */
	void (*detach)(
		void *data); /* the detach keys were typed; NULL: they are keys like others */
	struct detach_keys keys;
};

/* Of descriptor 0; @sink is borrowed. Nothing is read before the first input_resume(). */
int input_new(struct input **ret, kiln_loop *loop, const struct input_sink *sink, void *data,
	      kiln_error *err);
void input_resume(struct input *input);
void input_free(struct input *input); /* NULL is allowed; also in the functions end and detach */

/* --- output ------------------------------------------------------------------ */

struct output;

/* Of descriptor 1 or 2. @room is called when a write that was short may go on. */
int output_new(struct output **ret, kiln_loop *loop, int fd, void (*room)(void *data), void *data,
	       kiln_error *err);

/*
 * Writes what there is room for: a count, or a negative errno. Never waits, but for a file,
 * where waiting has no end that could be told.
 */
ssize_t output_write(struct output *output, const void *bytes, size_t len);
void output_free(struct output *output); /* NULL is allowed */

#endif
