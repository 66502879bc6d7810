/* SPDX-License-Identifier: Apache-2.0 */
#include "program.h"

#include "err.h"

int command_save(const struct request *request, kiln_error *err)
{
	(void)request;
	return kiln__fail(err, KILN_ENOTSUP, "save");
}
