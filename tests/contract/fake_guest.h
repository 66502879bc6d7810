/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM of the fake backend whose guest has an agent: what the tests of its streams and of its
 * processes share.
 */
#ifndef KILN_TEST_FAKE_GUEST_H
#define KILN_TEST_FAKE_GUEST_H

#include "contract.h"

#define ECHO_PORT 7 /* where the fake guest sends back what it is sent */

static inline void open_with_agent(struct vm *vm)
{
	vm_open(vm);
	vm_set(vm, "readiness.kind", "agent");
}

static inline void make_with_agent(struct vm *vm)
{
	open_with_agent(vm);
	vm_make_ready(vm);
}

/* The bytes that are sent: any that is lost, repeated or out of order is seen. */
static inline uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 7 + at / 251);
}

#endif
