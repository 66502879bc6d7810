/* SPDX-License-Identifier: Apache-2.0 */
/* The entropy device with a hostile driver. */
#include "hostile.h"
#include "rng.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void request(struct hostile *hostile)
{
	uint32_t len = hostile_len(hostile) % 70000;
	struct vring_part parts[2] = {{hostile_gpa(hostile), hostile_len(hostile)},
				      {hostile_room(hostile, len), len}};

	hostile_send(hostile, 0, parts, 0, 2);
}

static void host(struct hostile *hostile)
{
	kiln_loop_dispatch(hostile->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct hostile hostile = {.request = request, .host = host};
	struct kiln__rng *rng = NULL;
	kiln_loop *loop = NULL;

	if (kiln_loop_new(&loop, NULL) < 0 || kiln__rng_new(&rng, loop, NULL, NULL) < 0)
		abort();
	hostile_run(&hostile, kiln__rng_device(rng), loop, bytes, len);
	kiln__rng_free(rng);
	kiln_loop_free(loop);
	return 0;
}
