/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a cgroup: its processes are killed, their end is waited for by its event, and it is
 * removed. Documentation/admin-guide/cgroup-v2.rst of Linux: "Populated Notification", cgroup.kill.
 */
#include "leaves.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>

/* Of version 2, and Linux 5.14; elsewhere its processes have been ended otherwise. */
static void kill_all(const char *path)
{
	kiln__autofree char *file = kiln__strf("%s/cgroup.kill", path);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;

	/* One that cannot be killed cannot be removed either, and that shows. */
	if (file && kiln__os_open(&fd, file, KILN__OPEN_WRITE, NULL) == 0)
		kiln__os_write(fd, "1", 1);
}

static bool is_populated(kiln_fd events)
{
	char text[256] = "";

	/* Reading is also what a poll counts changes from. */
	return kiln__os_pread_full(events, text, sizeof(text) - 1, 0, NULL) > 0 &&
	       strstr(text, "populated 1");
}

/* False if there is still somebody in it. cgroup.events, of version 2, says by POLLPRI that it has
 * changed; where it is not, nobody can tell. */
static bool await_end(const char *path, int64_t until_ns)
{
	kiln__autofree char *file = kiln__strf("%s/cgroup.events", path);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;

	if (!file || kiln__os_open(&fd, file, KILN__OPEN_READ, NULL) < 0)
		return true;
	while (is_populated(fd)) {
		int64_t left = (until_ns - kiln__os_monotonic_ns() + 999999) / 1000000;
		struct pollfd changed = {.fd = fd, .events = POLLPRI};

		if (left <= 0 || (poll(&changed, 1, (int)left) < 0 && errno != EINTR))
			return false;
	}
	return true;
}

int kiln__os_end_group(const char *path, int64_t until_ns, kiln_error *err)
{
	int r = kiln__os_remove(path, err); /* most often nobody is in it any more */

	if (r != KILN_EBUSY)
		return r;
	kill_all(path);
	if (await_end(path, until_ns))
		return kiln__os_remove(path, err);
	kiln__fail(err, KILN_EBUSY, "processes in the cgroup %s have not ended", path);
	kiln__hint(err, "its file cgroup.procs tells which; end them, and try again");
	return KILN_EBUSY;
}
