/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel.h"
#include "input.h"
#include "program.h"
#include "report.h"
#include "unpack.h"

#include "cleanup.h"
#include "err.h"
#include "os.h"

#include <stdlib.h>

int command_kernel(const struct request *request, kiln_error *err)
{
	struct unpacked unpacked = {0};
	char digest[KILN__DIGEST_HEX];
	struct input input;
	uint8_t *bytes;
	size_t len;
	json_t *result;
	int rc;

	if (request->input_count != 1 || request->output == KILN_FD_NONE)
		return kiln__fail(err, KILN_EINVAL, "kernel needs --input and --output");
	input_init(&input, request->inputs[0], request->name);
	rc = input_read_all(&input, MAX_KERNEL_SIZE, &bytes, &len, err);
	if (!rc) {
		rc = input_finish(&input, digest, err);
		if (rc)
			free(bytes);
	}
	input_done(&input);
	if (!rc)
		rc = unpack_kernel(request->name, bytes, len, request->arch, &unpacked, err);
	if (!rc)
		rc = output_write(request->output, unpacked.bytes, unpacked.len, err);
	result = rc ? NULL : unpack_describe(&unpacked);
	free(unpacked.bytes);
	if (rc)
		return rc;
	json_object_set_new(result, "digest", json_string(digest));
	return report_result(result, err);
}
