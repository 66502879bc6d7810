/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_GUEST_ROOT_H
#define KILN_GUEST_ROOT_H

#include "agentmsg.h"

#include <kiln/error.h>

/* Mounts the usual root device if it is there already: what can be done before SETUP has come. */
void root_prepare(void);

/* Assembles the root and enters it, with /dev, /proc and /sys. */
int root_enter(const struct kiln__agent_root *root, kiln_error *err);

/* After all that belongs into the root was written: makes it read-only, if it is to be. */
int root_seal(const struct kiln__agent_root *root, kiln_error *err);

/* Frees the memory of the initramfs, once its files are of no more use. */
void root_discard_initramfs(void);

/* Before power-off: no writes reach the disks after this. */
void root_finish(void);

#endif
