/* SPDX-License-Identifier: Apache-2.0 */
#include "acceptor.h"

#include "err.h"
#include "os.h"

#include <stdlib.h>

#define AGAIN_MS 1000

struct kiln__acceptor {
	kiln_loop *loop;
	kiln_fd listener;
	struct kiln__watch *watch; /* made when first something is to be taken */
	struct kiln__timer *again; /* armed: something had run out */
	void (*take)(void *data, kiln_fd fd);
	void *data;
	bool takes;
};

static void on_connection(void *data, int events);

static void update(struct kiln__acceptor *a)
{
	bool takes = a->takes && !kiln__timer_armed(a->again);

	if (takes && !a->watch &&
	    kiln__watch_new(&a->watch, a->loop, a->listener, on_connection, a, NULL) < 0) {
		kiln__timer_start(a->again, AGAIN_MS);
		return;
	}
	if (a->watch)
		kiln__watch_set(a->watch, takes ? KILN__READABLE : 0);
}

static void on_connection(void *data, int events)
{
	struct kiln__acceptor *a = data;
	kiln_fd fd;
	int r = 0;

	(void)events;
	while (r == 0 && a->takes) {
		r = kiln__os_accept(&fd, a->listener, NULL);
		if (r == 0)
			a->take(a->data, fd);
	}
	if (r < 0 && r != KILN_ENOENT)
		kiln__timer_start(a->again, AGAIN_MS);
	update(a);
}

static void on_again(void *data)
{
	update(data);
}

void kiln__acceptor_set(struct kiln__acceptor *a, bool takes)
{
	a->takes = takes;
	update(a);
}

int kiln__acceptor_new(struct kiln__acceptor **ret, kiln_loop *loop, kiln_fd listener,
		       void (*take)(void *data, kiln_fd fd), void *data, kiln_error *err)
{
	struct kiln__acceptor *a = calloc(1, sizeof(*a));
	int r;

	if (!a) {
		kiln__os_close(listener);
		return kiln__fail_nomem(err);
	}
	*a = (struct kiln__acceptor){
		.loop = loop, .listener = listener, .take = take, .data = data};
	r = kiln__timer_new(&a->again, loop, on_again, a, err);
	if (r < 0) {
		kiln__acceptor_free(a);
		return r;
	}
	*ret = a;
	return 0;
}

void kiln__acceptor_free(struct kiln__acceptor *a)
{
	if (!a)
		return;
	kiln__watch_free(a->watch);
	kiln__timer_free(a->again);
	kiln__os_close(a->listener);
	free(a);
}
