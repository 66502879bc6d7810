/* SPDX-License-Identifier: Apache-2.0 */
#include "attempts.h"

#include "http.h"

void attempts_begin(struct attempts *attempts, uint64_t length, int64_t now_ns)
{
	*attempts = (struct attempts){.most = length, .since_ns = now_ns};
}

bool attempts_failed(struct attempts *attempts, uint64_t length, int64_t now_ns)
{
	uint64_t ms = (uint64_t)(now_ns - attempts->since_ns) / 1000000;

	if (length > attempts->most && (length - attempts->most) * 1000 >= ms * HTTP_SLOWEST) {
		attempts->failures = 0;
		attempts->most = length;
		attempts->since_ns = now_ns;
	}
	return ++attempts->failures < ATTEMPTS_MAX;
}
