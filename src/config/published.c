/* SPDX-License-Identifier: Apache-2.0 */
#include <kiln/config.h>

#include "published_text.h" /* made from docs/machine.schema.json */

const char *kiln_config_schema(void)
{
	return published_text;
}
