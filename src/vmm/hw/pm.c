/* SPDX-License-Identifier: Apache-2.0 */
#include "pm.h"

#include "layout.h"

/* The sleep control register: 4.8.3.7, table 4.20. */
#define SLEEP_TYPE(value) ((value) >> 2 & 7)
#define SLEEP_ENABLE      0x20u

/* QEMU's docs/specs/pvpanic.txt: what a guest may tell; reading says what is understood. */
#define PVPANIC_PANICKED 0x01u

static void on_pm(void *data, struct kiln__bus_access *access)
{
	struct kiln__pm *pm = data;
	uint64_t port = KILN__PM_PORT + access->offset;

	if (!access->write) {
		access->value = port == KILN__PM_EVENTS ? atomic_exchange(&pm->events, 0) : 0;
	} else if (port == KILN__PM_SLEEP_CTL) {
		if (access->value & SLEEP_ENABLE && SLEEP_TYPE(access->value) == KILN__PM_S5_TYPE)
			pm->handler->poweroff(pm->data);
	} else if (port == KILN__PM_RESET) {
		if ((access->value & 0xff) == KILN__PM_RESET_VALUE)
			pm->handler->reset(pm->data);
	}
}

static void on_pvpanic(void *data, struct kiln__bus_access *access)
{
	struct kiln__pm *pm = data;

	if (!access->write)
		access->value = PVPANIC_PANICKED;
	else if (access->value & PVPANIC_PANICKED)
		pm->handler->panicked(pm->data);
}

void kiln__pm_init(struct kiln__pm *pm, struct kiln__bus *bus, struct kiln__ioapic *ioapic,
		   const struct kiln__pm_handler *handler, void *data)
{
	*pm = (struct kiln__pm){.ioapic = ioapic, .handler = handler, .data = data};
	kiln__bus_add_ports(bus, KILN__PM_PORT, KILN__PM_SIZE, on_pm, pm);
	kiln__bus_add_ports(bus, KILN__PVPANIC_PORT, 1, on_pvpanic, pm);
}

void kiln__pm_reset(struct kiln__pm *pm)
{
	atomic_store(&pm->events, 0);
}

int kiln__pm_press(struct kiln__pm *pm, unsigned button, kiln_error *err)
{
	atomic_fetch_or(&pm->events, button);
	return kiln__ioapic_edge(pm->ioapic, KILN__GED_GSI, err);
}
