/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting: the loop watches a descriptor of our own that tells when the shared one is ready. (It
 * would make that itself non-blocking.) Files and some devices are always ready.
 *
 * Writing without waiting: a pipe or terminal is opened once more, which gives an open file of our
 * own that may be non-blocking; a socket is sent to without waiting. Where that fails, pieces no
 * longer than a pipe's guarantee are written when poll(2) says that there is room.
 */
#include "inout.h"

#include "err.h"
#include "inherited.h"
#include "loop.h"
#include "os.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- waiting ----------------------------------------------------------------- */

struct poller {
	kiln_fd ready; /* KILN_FD_NONE: what it is for is always ready */
	struct kiln__watch *watch;
};

static void poller_done(struct poller *poller)
{
	kiln__watch_free(poller->watch);
	kiln__os_close(poller->ready);
	*poller = (struct poller){.ready = KILN_FD_NONE};
}

static int poller_init(struct poller *poller, kiln_loop *loop, int fd, bool writing,
		       void (*fn)(void *data, int events), void *data, kiln_error *err)
{
	int r;

	*poller = (struct poller){.ready = KILN_FD_NONE};
	r = kiln__os_readiness(&poller->ready, fd, writing, err);
	if (r < 0)
		return r == KILN_ENOTSUP ? 0 : r;
	r = kiln__watch_new(&poller->watch, loop, poller->ready, fn, data, err);
	if (r < 0)
		poller_done(poller);
	return r;
}

static void poller_wait(struct poller *poller, bool on)
{
	kiln__watch_set(poller->watch, on ? KILN__READABLE : 0);
}

/* --- input ------------------------------------------------------------------- */

#define INPUT_BUFFER (64 * 1024)

struct input {
	struct poller poller;
	struct kiln__deferred *again; /* for what is always ready: the next round */
	const struct input_sink *sink;
	void *data;
	char *buffer;
	size_t at, len; /* what is still to be taken */
	size_t held;    /* detach keys that came last and are not in the buffer */
	bool over;
	bool *freed; /* set by input_free() from inside a call of ours */
};

/*
 * Takes the detach keys out of @n bytes that were just read: true if they are complete. What was
 * read stands behind room for the keys that were held back: so what is written never overtakes it.
 */
static bool filter(struct input *input, size_t n)
{
	char pass[DETACH_KEYS_MAX];
	size_t count;
	size_t out = 0;

	for (size_t i = DETACH_KEYS_MAX; i < DETACH_KEYS_MAX + n; i++) {
		if (detach_feed(&input->sink->keys, &input->held, input->buffer[i], pass, &count))
			return true;
		memcpy(input->buffer + out, pass, count);
		out += count;
	}
	input->at = 0;
	input->len = out;
	return false;
}

/* Reads once; false if there is nothing more for now. */
static bool fill(struct input *input)
{
	ssize_t n;

	if (!input->buffer)
		input->buffer = malloc(DETACH_KEYS_MAX + INPUT_BUFFER);
	n = input->buffer ? read(STDIN_FILENO, input->buffer + DETACH_KEYS_MAX, INPUT_BUFFER) : 0;
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n <= 0) { /* a terminal that was hung up says EIO: an end, too */
		input->over = true;
		input->sink->end(input->data);
		return false;
	}
	input->at = DETACH_KEYS_MAX;
	input->len = DETACH_KEYS_MAX + (size_t)n;
	if (input->sink->detach && filter(input, (size_t)n)) {
		input->over = true;
		input->sink->detach(input->data);
		return false;
	}
	return true;
}

/* Hands on what is there: true if all was taken. */
static bool drain(struct input *input)
{
	ssize_t n;

	if (input->at == input->len)
		return true;
	n = input->sink->write(input->data, input->buffer + input->at, input->len - input->at);
	if (n < 0) {
		input->over = true;
		return false;
	}
	input->at += (size_t)n;
	return input->at == input->len;
}

/* One piece; then, by the loop, the next. */
static void pump(struct input *input)
{
	bool freed = false;
	bool more;

	input->freed = &freed;
	more = drain(input) && fill(input) && !freed && drain(input);
	if (freed)
		return;
	input->freed = NULL;
	if (input->poller.watch)
		poller_wait(&input->poller, more);
	else if (more)
		kiln__deferred_schedule(input->again);
}

static void on_input(void *data, int events)
{
	(void)events;
	pump(data);
}

static void on_again(void *data)
{
	pump(data);
}

int input_new(struct input **ret, kiln_loop *loop, const struct input_sink *sink, void *data,
	      kiln_error *err)
{
	struct input *input = calloc(1, sizeof(*input));
	int r;

	if (!input)
		return kiln__fail_nomem(err);
	input->sink = sink;
	input->data = data;
	r = poller_init(&input->poller, loop, STDIN_FILENO, false, on_input, input, err);
	if (r == 0 && !input->poller.watch)
		r = kiln__deferred_new(&input->again, loop, on_again, input, err);
	if (r < 0) {
		input_free(input);
		return r;
	}
	*ret = input;
	return 0;
}

void input_resume(struct input *input)
{
	if (input->over || input->freed)
		return;
	if (!input->poller.watch)
		kiln__deferred_schedule(input->again);
	else if (drain(input))
		poller_wait(&input->poller, true);
}

void input_free(struct input *input)
{
	if (!input)
		return;
	if (input->freed)
		*input->freed = true;
	poller_done(&input->poller);
	kiln__deferred_free(input->again);
	free(input->buffer);
	free(input);
}

/* --- output ------------------------------------------------------------------ */

struct output {
	kiln_loop *loop;
	int fd;
	int own; /* the same, opened once more, non-blocking; -1: not possible */
	bool prepared;
	bool is_socket;
	bool waits; /* may make a writer wait */
	struct poller poller;
	void (*room)(void *data);
	void *data;
};

int output_new(struct output **ret, kiln_loop *loop, int fd, void (*room)(void *data), void *data,
	       kiln_error *err)
{
	struct output *output = calloc(1, sizeof(*output));

	if (!output)
		return kiln__fail_nomem(err);
	*output = (struct output){.loop = loop, .fd = fd, .own = -1, .room = room, .data = data};
	output->poller.ready = KILN_FD_NONE;
	*ret = output;
	return 0;
}

/* Before the first byte only: most runs write to one of the two, or to none. */
static void prepare(struct output *output)
{
	struct stat st;

	output->prepared = true;
	if (fstat(output->fd, &st) < 0)
		return;
	output->is_socket = S_ISSOCK(st.st_mode);
	output->waits = output->is_socket || S_ISFIFO(st.st_mode) || isatty(output->fd);
	if (!output->waits || output->is_socket)
		return;
	output->own = kiln__os_reopen_to_write(output->fd);
}

static ssize_t write_some(const struct output *output, const void *bytes, size_t len)
{
	struct pollfd room = {.fd = output->fd, .events = POLLOUT};
	ssize_t n;

	if (output->is_socket) {
		n = kiln__os_send_now(output->fd, bytes, len);
		errno = n < 0 ? (int)-n : errno;
		return n < 0 ? -1 : n;
	}
	if (output->own >= 0)
		return write(output->own, bytes, len);
	if (output->waits) {
		if (poll(&room, 1, 0) == 0) {
			errno = EAGAIN;
			return -1;
		}
		len = len < PIPE_BUF ? len : PIPE_BUF;
	}
	return write(output->fd, bytes, len);
}

static void on_room(void *data, int events)
{
	struct output *output = data;

	(void)events;
	poller_wait(&output->poller, false);
	output->room(output->data);
}

static int wait_for_room(struct output *output)
{
	int fd = output->own >= 0 ? output->own : output->fd;

	if (!output->poller.watch &&
	    poller_init(&output->poller, output->loop, fd, true, on_room, output, NULL) < 0)
		return -ENOMEM;
	if (!output->poller.watch)
		return -EIO; /* not ready, and not to be waited for: there is no such thing */
	poller_wait(&output->poller, true);
	return 0;
}

ssize_t output_write(struct output *output, const void *bytes, size_t len)
{
	size_t done = 0;
	int r;

	if (!output->prepared)
		prepare(output);
	while (done < len) {
		ssize_t n = write_some(output, (const char *)bytes + done, len - done);

		if (n >= 0) {
			done += (size_t)n;
		} else if (errno == EAGAIN) {
			r = wait_for_room(output);
			return r < 0 ? r : (ssize_t)done;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return (ssize_t)done;
}

void output_free(struct output *output)
{
	if (!output)
		return;
	poller_done(&output->poller);
	if (output->own >= 0)
		close(output->own);
	free(output);
}
