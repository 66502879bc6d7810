/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the messages that a machine's life sends to the framework's look-alike: configuration,
 * start, pause, resume, the power button and the end. Nothing is booted.
 *
 * usage: trace CONFIGURATION DIRECTORY-OF-THE-VM
 */
#include "lookalike.h"

#include "loop.h"
#include "machine.h"

#include <kiln/config.h>

#include <stdio.h>
#include <stdlib.h>

static int last;

static void on_done(void *data, int result, const kiln_error *err)
{
	last = result;
	if (err)
		printf("%s\n", err->message);
	*(bool *)data = true;
}

typedef void operation(kiln_machine *machine, kiln_done_fn done, void *data);

/* One step of the life, and what it sent. */
static void step(kiln_loop *loop, kiln_machine *machine, const char *name, operation *call)
{
	struct {
		bool done;
	} state = {false};
	char *trace;

	lookalike_trace();
	call(machine, on_done, &state.done);
	while (!state.done)
		kiln_loop_step(loop);
	trace = lookalike_take_trace();
	printf("# %s\n%s", name, trace);
	free(trace);
}

static void stop(kiln_machine *machine, kiln_done_fn done, void *data)
{
	kiln_machine_stop(machine, 10000, done, data);
}

int main(int argc, char **argv)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln_config *config = NULL;
	kiln_machine *machine = NULL;
	kiln_loop *loop = NULL;
	int r;

	if (argc != 3)
		return 2;
	lookalike_begin();
	lookalike_faults.no_boot = true;
	lookalike_faults.rosetta = 2; /* installed */
	lookalike_faults.nested = true;
	r = kiln_config_load(argv[1], &config, &err);
	if (r == 0)
		r = kiln_loop_new(&loop, &err);
	if (r == 0)
		r = kiln_machine_new(&machine, loop, config, NULL, &err);
	if (r < 0) {
		printf("%s\n", err.message);
		return 1;
	}
	kiln__machine_keep_in(machine, argv[2]);
	step(loop, machine, "start", kiln_machine_start);
	if (last == 0) {
		step(loop, machine, "pause", kiln_machine_pause);
		step(loop, machine, "resume", kiln_machine_resume);
		step(loop, machine, "stop", stop);
	}
	kiln_machine_free(machine);
	kiln_config_free(config);
	kiln_loop_free(loop);
	if (lookalike_alive())
		printf("%ld objects were leaked\n", lookalike_alive());
	return 0;
}
