/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a manager and a runner must agree on about a VM's directory; see
 * docs/control-protocol.md, "The directory".
 */
#ifndef KILN_PROTO_VMFILES_H
#define KILN_PROTO_VMFILES_H

/* The directory in it that the runner writes: all that it can still change once it is jailed. */
#define KILN__VM_STATE "state"

/*
 * The state: in that directory, or, of an ephemeral VM, in the runtime directory: nothing of it is
 * to outlive the host's boot, and that is no disk.
 */
#define KILN__VM_STATE_FILE "state.json"

/*
 * In the lock file, behind the identity: "RUNNER VMM\n", the numbers of the last runner's process
 * and of its VMM's (0: none), written by who starts that runner and, if there is a VMM, by the
 * runner while it still can.
 */
#define KILN__VM_PROCESSES_AT 1024
#define KILN__VM_PROCESSES    "%lld %lld\n"

/*
 * Behind that and the runtime directory (vmdir.c), what the last runner could not remove once it
 * was jailed: lines as leaves.h has them, up to a zero; written by the runner while it still can.
 */
#define KILN__VM_LEAVES_AT   8192
#define KILN__VM_LEAVES_SIZE 8192

#endif
