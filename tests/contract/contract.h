/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract suite: what every machine does, whatever backend runs it. Each program
 * here takes the backend's name as its argument and runs the same tests on it; what a
 * backend needs to be put into a situation (a guest that powers off, that does not
 * listen to its power button ...) is behind struct subject.
 *
 * All subjects' guests behave alike on the console: they write KILN_READY, echo what
 * they read, and know the lines "poweroff", "reset" and "kernel panic".
 */
#ifndef TESTS_CONTRACT_H
#define TESTS_CONTRACT_H

#include "kiln_test.h"

#include "buf.h"
#include "machine.h"

#include <kiln/config.h>
#include <kiln/machine.h>

/* Of this process: others run beside it. */
#define CONTRACT_CGROUP "kiln-contract-%d"

struct vm;

struct subject {
	const char *name;
	const char *backend; /* NULL: of that name */
	bool no_reset;       /* a guest's reset is not told from a power-off */
	/* A stand-in may run in its place: then it is not usable here itself, and says why. */
	bool has_standin;
	/* Why it cannot be tested here, or NULL. */
	const char *(*missing)(void);
	/* Makes an empty configuration one of a machine that becomes ready by its console. */
	void (*configure)(kiln_config *config);
	/* Before it is made: the guest will never be ready. */
	void (*never_ready)(struct vm *vm);
	/* Before it is made: it cannot be prepared. */
	void (*cannot_prepare)(struct vm *vm);
	/* While it runs: its VMM dies. */
	void (*crash)(struct vm *vm);
	/* Before it is made, and once it is ready: the guest ignores its power button. */
	void (*will_ignore_stop)(struct vm *vm);
	void (*ignore_stop)(struct vm *vm);
};

extern const struct subject *subject;

static inline const char *subject_backend(void)
{
	return subject->backend ? subject->backend : subject->name;
}

/* Chooses the subject. Yields 0, or what main() is to return. */
int contract_choose(int argc, char **argv);

struct seen {
	enum kiln_state from;
	enum kiln_state to;
	int64_t monotonic_ns;
	kiln_exit exit;
	kiln_error err;
};

#define MAX_SEEN 64

/* A machine under test, its loop, and all that it told. */
struct vm {
	kiln_loop *loop;
	kiln_config *config;
	kiln_machine *machine;
	struct seen seen[MAX_SEEN];
	size_t seen_count;
	struct kiln__buf console;
	/* What is being waited for. */
	enum kiln_state awaited;
	const char *awaited_text;
	bool hit;
	bool gone; /* the machine was freed: nothing may be told any more */
};

/* A loop and the subject's configuration. */
void vm_open(struct vm *vm);
void vm_set(struct vm *vm, const char *path, const char *value);

/* The machine of it; then on to a state. */
void vm_make(struct vm *vm);
void vm_make_ready(struct vm *vm);
void vm_await(struct vm *vm, enum kiln_state state);
void vm_await_console(struct vm *vm, const char *text);
void vm_type(struct vm *vm, const char *text); /* on its console */

/* Frees the machine and checks that nothing comes after it; vm_close() does so and frees the rest.
 */
void vm_free(struct vm *vm);
void vm_close(struct vm *vm);

/* Fails unless the machine has passed through exactly these states; ends with -1. */
void assert_passed(const struct vm *vm, ...);
#define PASSED_END (-1)

/* An operation and what became of it. */
struct op {
	struct vm *vm;
	int count; /* completions */
	int result;
	kiln_error err;
	bool done;
	size_t seen_count; /* transitions there were when it completed */
	bool frees;        /* frees the machine from its completion */
};

void op_done(void *data, int result, const kiln_error *err);

/* Begins an operation and checks that it does not complete inside the call. */
#define op_begin(what, on, call, ...)                                                              \
	do {                                                                                       \
		*(what) = (struct op){.vm = (on)};                                                 \
		call((on)->machine, ##__VA_ARGS__, op_done, (what));                               \
		assert_int_equal((what)->count, 0);                                                \
	} while (0)

/* Waits for its completion, and that it is the only one. */
void op_await(struct op *op);
void op_await_ok(struct op *op);
void op_await_code(struct op *op, int code);

#endif
