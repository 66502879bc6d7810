/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power management of hardware-reduced ACPI: the sleep and reset registers (ACPI 6.4, 4.8.3.6 and
 * 4.8.3.7), and the generic event device's register (5.6.9), by which the guest learns which
 * button was pressed. Beside them pvpanic's port, by which it says that it has panicked.
 *
 * The registers are touched on vCPU threads, the buttons pressed on the loop's.
 */
#ifndef KILN_VMM_PM_H
#define KILN_VMM_PM_H

#include <kiln/hv.h>

#include "bus.h"
#include "ioapic.h"

#include <stdatomic.h>

/* Called on a vCPU's thread. */
struct kiln__pm_handler {
	void (*poweroff)(void *data);
	void (*reset)(void *data);
	void (*panicked)(void *data);
};

struct kiln__pm {
	struct kiln__ioapic *ioapic;
	const struct kiln__pm_handler *handler;
	void *data;
	atomic_uint events; /* KILN__EVENT_ bits not yet read */
};

/* Claims its ports. @ioapic, @handler and @data are borrowed. */
void kiln__pm_init(struct kiln__pm *pm, struct kiln__bus *bus, struct kiln__ioapic *ioapic,
		   const struct kiln__pm_handler *handler, void *data);

/* As it was made: nothing was pressed. No vCPU runs. */
void kiln__pm_reset(struct kiln__pm *pm);

/* Presses a button (KILN__EVENT_POWER, KILN__EVENT_SLEEP). Any thread. */
int kiln__pm_press(struct kiln__pm *pm, unsigned button, kiln_error *err);

#endif
