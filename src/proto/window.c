/* SPDX-License-Identifier: Apache-2.0 */
#include "window.h"

#include <kiln/error.h>

#include <stdlib.h>
#include <string.h>

void kiln__window_init(struct kiln__window *window, size_t cap)
{
	*window = (struct kiln__window){.cap = cap};
}

void kiln__window_done(struct kiln__window *window)
{
	free(window->data);
	*window = (struct kiln__window){0};
}

size_t kiln__window_space(struct kiln__window *window, uint8_t **ret)
{
	size_t at = (size_t)(window->end & (window->cap - 1));
	size_t room = kiln__window_room(window);

	*ret = NULL;
	if (!window->data)
		window->data = malloc(window->cap);
	if (!window->data)
		return 0;
	*ret = window->data + at;
	return room < window->cap - at ? room : window->cap - at;
}

void kiln__window_added(struct kiln__window *window, size_t n)
{
	window->end += n;
}

int64_t kiln__window_put(struct kiln__window *window, const void *bytes, size_t len)
{
	size_t done = 0;

	while (done < len && kiln__window_room(window) > 0) {
		uint8_t *to;
		size_t n = kiln__window_space(window, &to);

		if (!to)
			return KILN_ENOMEM;
		if (n > len - done)
			n = len - done;
		memcpy(to, (const uint8_t *)bytes + done, n);
		kiln__window_added(window, n);
		done += n;
	}
	return (int64_t)done;
}

size_t kiln__window_at(const struct kiln__window *window, uint64_t offset, const uint8_t **ret)
{
	size_t at = (size_t)(offset & (window->cap - 1));
	uint64_t have = window->end - offset;

	*ret = window->data ? window->data + at : NULL;
	return have < window->cap - at ? (size_t)have : window->cap - at;
}

void kiln__window_drop(struct kiln__window *window, uint64_t offset)
{
	window->start = offset;
}
