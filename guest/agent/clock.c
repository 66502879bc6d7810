/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"

#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/random.h>

#define SEED_MAX 256

int apply_clock(uint64_t realtime_ns, kiln_error *err)
{
	const struct timespec now = {
		.tv_sec = (time_t)(realtime_ns / 1000000000),
		.tv_nsec = (long)(realtime_ns % 1000000000),
	};

	if (realtime_ns && clock_settime(CLOCK_REALTIME, &now) < 0)
		return kiln__fail_errno(err, errno, "cannot set the clock");
	return 0;
}

int apply_entropy(const struct kiln__bytes *seed, kiln_error *err)
{
	union {
		struct rand_pool_info info;
		uint8_t bytes[sizeof(struct rand_pool_info) + SEED_MAX];
	} pool = {.bytes = {0}};
	size_t len = seed->len < SEED_MAX ? seed->len : SEED_MAX;
	int error = 0;
	int fd;

	if (len == 0)
		return 0;
	pool.info.entropy_count = (int)len * 8;
	pool.info.buf_size = (int)len;
	memcpy(pool.bytes + offsetof(struct rand_pool_info, buf), seed->at, len);
	fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0)
		error = errno;
	explicit_bzero(&pool, sizeof(pool));
	if (fd >= 0)
		close(fd);
	return error ? kiln__fail_errno(err, error, "cannot seed the random generator") : 0;
}
