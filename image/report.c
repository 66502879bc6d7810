/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include "err.h"
#include "printable.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Names of a hostile archive may be in it: nothing that a terminal would act on, nothing that is
 * not UTF-8.
 */
static json_t *clean(const char *text)
{
	char plain[sizeof(((kiln_error *)0)->message)];

	snprintf(plain, sizeof(plain), "%s", text);
	return json_string(kiln__printable(plain));
}

int report_failure(const kiln_error *err)
{
	json_t *object = json_pack("{s:s, s:o*, s:s}", "code", kiln_error_name(err->code),
				   "message", clean(err->message), "hint", err->hint);
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	fprintf(stderr, "%s\n",
		text ? text : "{\"code\":\"ENOMEM\",\"message\":\"out of memory\"}");
	free(text);
	json_decref(object);
	return 1;
}

int report_result(json_t *result, kiln_error *err)
{
	char *text = result ? json_dumps(result, JSON_COMPACT) : NULL;
	int rc = 0;

	json_decref(result);
	if (!text)
		return kiln__fail_nomem(err);
	if (puts(text) < 0 || fflush(stdout))
		rc = kiln__fail_errno(err, errno, "cannot write the result");
	free(text);
	return rc;
}
