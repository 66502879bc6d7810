/* SPDX-License-Identifier: Apache-2.0 */
#include "internal.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void kiln__images_progress(const struct kiln__images *images, const char *fmt, ...)
{
	kiln__autobuf text = KILN__BUF_INIT;
	va_list args;

	if (!images->progress)
		return;
	va_start(args, fmt);
	kiln__buf_vaddf(&text, fmt, args);
	va_end(args);
	if (!text.failed)
		images->progress(images->data, text.data);
}

int kiln__images_may_take_time(const struct kiln__images *images, kiln_error *err)
{
	return images->only_cached ? kiln__fail(err, KILN_EBUSY, "that is not in the image cache")
				   : 0;
}

void kiln__images_notes(const struct kiln__images *images, const json_t *result)
{
	const json_t *notes = json_object_get(result, "notes"), *note;
	size_t i;

	json_array_foreach (notes, i, note)
		if (json_is_string(note))
			kiln__images_progress(images, "%s", json_string_value(note));
}

int kiln__images_create(const char *path, kiln_fd *ret, kiln_error *err)
{
	return kiln__os_open(ret, path, KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_EXCLUSIVE,
			     err);
}

int kiln__images_check_digest(const json_t *result, const char *digest, const char *name,
			      kiln_error *err)
{
	const char *read = json_string_value(json_object_get(result, "digest"));

	if (read && !strcmp(read, digest))
		return 0;
	return kiln__fail(err, KILN_EBUSY, "%s changed while it was read", name);
}
