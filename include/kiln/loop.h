/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop that machines and managers run on.
 *
 * A kiln_loop belongs to the thread that dispatches it; unless a function says
 * otherwise, everything attached to a loop is used on that thread only. To embed
 * it in another event loop (glib, libevent, epoll ...), watch kiln_loop_fd() for
 * readability, sleep no longer than kiln_loop_timeout(), then call
 * kiln_loop_dispatch(). A program without a loop of its own calls kiln_loop_run().
 */
#ifndef KILN_LOOP_H
#define KILN_LOOP_H

#include <kiln/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kiln_loop kiln_loop;

/* Makes a loop. The caller owns it and frees it with kiln_loop_free(). */
KILN_PUBLIC int kiln_loop_new(kiln_loop **ret_loop, kiln_error *err);

/*
 * Frees @loop; NULL is allowed. Whatever was attached to it must have been freed
 * before; callbacks of closes still pending are run from here.
 */
KILN_PUBLIC void kiln_loop_free(kiln_loop *loop);

/*
 * The descriptor that becomes readable when kiln_loop_dispatch() has something to
 * do. Owned by the loop. -1 where the system has none (Windows: use kiln_loop_run).
 */
KILN_PUBLIC int kiln_loop_fd(const kiln_loop *loop);

/* Milliseconds until a timer is due; 0: dispatch now; -1: no timer. */
KILN_PUBLIC int kiln_loop_timeout(const kiln_loop *loop);

/*
 * Runs what is ready now, without blocking. Returns 1 while something is still
 * attached to the loop, else 0.
 */
KILN_PUBLIC int kiln_loop_dispatch(kiln_loop *loop);

/* Dispatches, blocking in between, until kiln_loop_stop() or until nothing is attached. */
KILN_PUBLIC void kiln_loop_run(kiln_loop *loop);

/* Waits for one event (or timer) and dispatches it. Returns as kiln_loop_dispatch(). */
KILN_PUBLIC int kiln_loop_step(kiln_loop *loop);

/* Makes kiln_loop_run() return after the current round. On the loop's thread. */
KILN_PUBLIC void kiln_loop_stop(kiln_loop *loop);

#ifdef __cplusplus
}
#endif
#endif
