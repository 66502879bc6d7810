/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One VM's directory, HOME/vms/ID:
 *
 *   lock         its contents are the VM's identity (name, time of creation, whether
 *                ephemeral), fixed for life, and which processes its last runner had;
 *                locked in parts, see below
 *   config.json  the configuration. A VM exists if and only if this does: it is made
 *                last and removed first, each in one step
 *   state/       the runner's, and all that it can write there once it is jailed:
 *     state.json   what it last wrote; missing until the first start. Of an ephemeral VM it is in
 *                  the runtime directory
 *     events, console.log, log, runner.log
 *
 * A runner that its guest has taken over writes into state/ what it likes. So nothing there is
 * more than a report: files are opened without following links, bounded and parsed as hostile,
 * and what is killed or opened because of a VM is named outside.
 *
 * Three locks lie on "lock" (kiln__os_lock_part):
 *
 *   LIFE   held from before the runner is started, by the runner until it ends, however
 *          it ends, on a descriptor that can only read. Held means alive; no process number
 *          is ever believed
 *   GUARD  held while the VM is created, taken for a start, set right or removed: for
 *          milliseconds, or a second where a VMM that was killed is slow to end; so a call
 *          may wait for it
 *   OWNER  held by the process that created an ephemeral VM. Without owner and life, such a
 *          VM is removed by whoever comes by
 *
 * A state that says alive without LIFE held is a runner that was killed: whoever sees
 * that writes the truth into state.json, under GUARD. A directory without
 * config.json whose GUARD is free is a creation or removal that was killed: it is
 * removed. So any process may be killed at any moment.
 *
 * Until a creation has GUARD it holds a lock on HOME/vms itself, and whoever takes GUARD of
 * half a VM does so with that lock held: a creation cannot lose what it makes to a sweep.
 */
#ifndef KILN_MANAGER_VMDIR_H
#define KILN_MANAGER_VMDIR_H

#include <kiln/config.h>
#include <kiln/error.h>

#include "cleanup.h"
#include "fd.h"
#include "home.h"
#include "os.h"
#include "vmstate.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct kiln__vmdir {
	const struct kiln__home *home;
	char id[KILN__ID_TEXT];
	char *name; /* NULL: none */
	bool ephemeral;
	int64_t created_ns;
	char *path;
	char *state; /* PATH/state */
	char *runtime;
	kiln_fd owner; /* holds OWNER, or KILN_FD_NONE */
	bool fresh;    /* made here, and not started here yet: its runtime directory is empty */
};

/*
 * Creates a VM with this configuration (the document's text). @name may be NULL.
 * KILN_EEXIST: the name is taken. On failure nothing is left of it.
 */
int kiln__vmdir_create(struct kiln__vmdir **ret, const struct kiln__home *home, const char *name,
		       bool ephemeral, const char *config, kiln_error *err);

/* An existing VM. KILN_ENOENT if there is none. */
int kiln__vmdir_open(struct kiln__vmdir **ret, const struct kiln__home *home, const char *id,
		     kiln_error *err);
void kiln__vmdir_free(struct kiln__vmdir *dir); /* NULL is allowed; gives up OWNER */

KILN__DEFINE_AUTOPTR(struct kiln__vmdir, kiln__vmdir_free)

/* 1 if LIFE is held, else 0. KILN_ENOENT: the VM has been removed. */
int kiln__vmdir_is_alive(const struct kiln__vmdir *dir, kiln_error *err);

/* Calls @fn, once, on the loop's thread, when LIFE is not held (any more). Costs a thread. */
int kiln__vmdir_wait_dead(const struct kiln__vmdir *dir, kiln_loop *loop, void (*fn)(void *data),
			  void *data, struct kiln__lockwait **ret, kiln_error *err);

/* The path of state.json, malloc'ed; NULL without memory. */
char *kiln__vmdir_state_file(const struct kiln__vmdir *dir);

/* state.json as it stands; an empty object if there is none. A new reference. */
int kiln__vmdir_read_state(const struct kiln__vmdir *dir, json_t **ret, kiln_error *err);

/* Another document in its place, durably: for who holds the VM's lock. */
int kiln__vmdir_replace_config(const struct kiln__vmdir *dir, const char *config, kiln_error *err);

/* The configuration's document, malloc'ed. KILN_ENOENT: the VM has been removed. */
int kiln__vmdir_read_config(const struct kiln__vmdir *dir, char **ret, kiln_error *err);

/*
 * The configuration, parsed, and, unless @ret_text is NULL, its document as above: both the
 * caller's. Also KILN_EINVAL, with the file's name: it is damaged.
 */
int kiln__vmdir_parse_config(const struct kiln__vmdir *dir, kiln_config **ret, char **ret_text,
			     kiln_error *err);

/*
 * The truth: the state, once what is wrong has been set right. Returns 1 if alive, else
 * 0. @ret_object, which may be NULL, is as in kiln__vmdir_read_state().
 */
int kiln__vmdir_status(const struct kiln__vmdir *dir, struct kiln__vmstate *ret,
		       json_t **ret_object, kiln_error *err);

/*
 * Whether the VM's runtime directory lies where only this user may write: to be asked before
 * a connection. KILN_ESTATE if it was that of another environment and is gone.
 */
int kiln__vmdir_check_runtime(const struct kiln__vmdir *dir, kiln_error *err);

/*
 * With LIFE held: which process is the VM's runner, before it is told what to run. A VMM of its own
 * it adds itself.
 */
int kiln__vmdir_record_runner(const struct kiln__vmdir *dir, int64_t pid, kiln_error *err);

/*
 * Takes LIFE, for a start: the returned descriptor is what the runner is given. The runtime
 * directory is there and empty then. KILN_ESTATE: it is alive already. KILN_EBUSY: a process of its
 * last run, which has been killed, has not ended yet, or what that run left is not removed.
 */
int kiln__vmdir_take(struct kiln__vmdir *dir, kiln_fd *ret_life, kiln_error *err);

/*
 * Records, durably, that a start has failed because of @why, unless the runner has
 * said so itself. For the holder of LIFE, when no runner runs (any more).
 */
int kiln__vmdir_record_failure(const struct kiln__vmdir *dir, const kiln_error *why,
			       kiln_error *err);

/*
 * Sets right what is wrong with the VM @id, and removes what is to be removed: @sweep
 * says whether that includes an ephemeral VM that nobody owns. @wait for GUARD, or
 * leave it to its holder. Returns 1 if the VM is alive, 0 if not, KILN_ENOENT if there is none
 * (any more), KILN_EBUSY without @wait, or of half a VM whose last run has left what stays.
 */
int kiln__vmdir_settle(const struct kiln__home *home, const char *id, bool sweep, bool wait,
		       kiln_error *err);

/*
 * Removes a VM that is not alive. KILN_EBUSY: it is alive, or a process of its last run has not
 * ended, or what that left cannot be removed; KILN_ENOENT: there is none.
 */
int kiln__vmdir_remove(const struct kiln__home *home, const char *id, kiln_error *err);

#endif
