/* SPDX-License-Identifier: Apache-2.0 */
#include "download.h"
#include "helper.h"

#include "err.h"

#include <stdio.h>
#include <string.h>

int kiln__download(const struct kiln__download *download, kiln_fd to, char ret[KILN__DOWNLOAD_HEX],
		   kiln_error *err)
{
	static const char *const argv[] = {"download", "--output", "3", "--request", "4", NULL};
	json_t *asked = json_pack("{s:s, s:s, s:I, s:s*, s:I}", "url", download->url, "kind",
				  download->kind, "max", (json_int_t)download->max, "digest",
				  download->wanted, "timeout", kiln__helper_timeout());
	kiln__autoclose kiln_fd file = KILN_FD_NONE;
	json_t *result = NULL;
	const char *digest;
	int r = kiln__helper_request(asked, &file, err);

	json_decref(asked);
	if (r == 0) {
		const struct kiln__spawn_fd fds[] = {{to, 3}, {file, 4}};

		r = kiln__helper_call(argv, fds, 2, &result, err);
	}
	if (r < 0)
		return r;
	digest = json_string_value(json_object_get(result, "digest"));
	if (digest && strlen(digest) < KILN__DOWNLOAD_HEX)
		strcpy(ret, digest);
	else
		r = kiln__fail(err, KILN_EPROTO, "kiln-image tells no digest");
	json_decref(result);
	return r;
}
