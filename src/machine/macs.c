/* SPDX-License-Identifier: Apache-2.0 */
/* Apart from the machine, since the manager tells a guest its addresses without one. */
#include "machine.h"

#include <stdio.h>
#include <string.h>

/* A hardware address for each interface that was given none: locally administered, the same in each
 * life. */
void kiln__machine_set_macs(struct kiln__spec *spec, const char *id)
{
	static const uint8_t none[6];

	for (size_t i = 0; i < spec->network_count; i++) {
		uint8_t *mac = spec->networks[i].mac;
		uint8_t digits[11] = {0};

		if (memcmp(mac, none, sizeof(none)) != 0)
			continue;
		memcpy(digits, id, 10);
		mac[0] = 0x02;
		for (size_t k = 0; k < 5; k++)
			sscanf((const char *)digits + 2 * k, "%2hhx", &mac[k + 1]);
		mac[5] = (uint8_t)(mac[5] + i);
	}
}
