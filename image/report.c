/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include "err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int report_failure(const kiln_error *err)
{
	/* A path in a message may have any bytes: what is not UTF-8 becomes a question mark. */
	json_t *message = json_string(err->message);
	json_t *object;
	char *text = NULL;

	if (!message) {
		char plain[sizeof(err->message)];
		size_t i;

		for (i = 0; err->message[i]; i++)
			plain[i] = (unsigned char)err->message[i] < 0x80 ? err->message[i] : '?';
		plain[i] = '\0';
		message = json_string(plain);
	}
	object = json_pack("{s:s, s:o*, s:s}", "code", kiln_error_name(err->code), "message", message,
			   "hint", err->hint);
	if (object)
		text = json_dumps(object, JSON_COMPACT);
	fprintf(stderr, "%s\n", text ? text : "{\"code\":\"ENOMEM\",\"message\":\"out of memory\"}");
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
