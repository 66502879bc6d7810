/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process of macOS gives up by itself: core files; and, if it keeps the host's root
 * (kiln-image), by a sandbox profile all but what its work needs. The runner is not confined: the
 * framework reaches its service, and the guest's disks and shares, with the runner's own rights.
 *
 * sandbox_init(3) has been called deprecated since it was documented, and nothing has come in its
 * place for programs that are no applications. Its manual knows names of profiles only; a profile
 * as text (flags 0) is what sandbox-exec(1) hands to it. What cannot be entered is an error.
 */
#include "jail.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/param.h>
#include <sys/resource.h>
#include <unistd.h>

/* <sandbox.h>, which the headers that come with zig lack: sandbox_init(3). */
int sandbox_init(const char *profile, uint64_t flags, char **ret_error);
void sandbox_free_error(char *error);

size_t kiln__os_jail_begin(void)
{
	size_t seed;

	kiln__os_random(&seed, sizeof(seed));
	return seed;
}

kiln_fd kiln__os_jail_place(const char *path)
{
	int fd = open(path, O_EVTONLY | O_CLOEXEC);

	return fd < 0 ? KILN_FD_NONE : fd;
}

/* (allow @operations (@kind "path")), for an open file or directory. */
static int allow(struct kiln__buf *profile, const char *operations, const char *kind, kiln_fd fd,
		 kiln_error *err)
{
	char path[MAXPATHLEN]; /* as F_GETPATH wants it: fcntl(2) */

	if (fcntl(fd, F_GETPATH, path) < 0)
		return kiln__fail_errno(err, errno, "cannot find the path of an open file");
	if (strpbrk(path, "\"\\"))
		return kiln__fail(err, KILN_EINVAL,
				  "%s has a quote or backslash, which no sandbox profile can name",
				  path);
	kiln__buf_addf(profile, "(allow %s (%s \"%s\"))\n", operations, kind, path);
	return 0;
}

/* What is open for writing already may be cut to length, which the sandbox asks about each time. */
static int allow_outputs(struct kiln__buf *profile, kiln_error *err)
{
	char path[MAXPATHLEN];
	int limit = getdtablesize() < 1024 ? getdtablesize() : 1024; /* far more than it opens */
	int r = 0;

	for (int fd = 0; r == 0 && fd < limit; fd++) {
		int flags = fcntl(fd, F_GETFL);

		if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || fcntl(fd, F_GETPATH, path) < 0)
			continue;
		r = allow(profile, "file-write*", "literal", fd, err);
	}
	return r;
}

/*
 * The last rule that fits counts. What the system's own libraries read and ask for on their way
 * (time zones, host names, the trust store) is not listed anywhere, so that much is let through
 * where it is of no use to an intruder.
 */
static int write_profile(const struct kiln__jail *jail, struct kiln__buf *profile, kiln_error *err)
{
	int r = 0;

	kiln__buf_adds(profile, "(version 1)\n(allow default)\n"
				"(deny process-exec*)\n(deny process-fork)\n"
				"(deny signal (target others))\n(deny file-write*)\n");
	if (jail->network)
		kiln__buf_adds(profile, "(deny file-read-data (subpath \"/Users\")"
					" (subpath \"/Volumes\") (subpath \"/private/tmp\"))\n"
					"(deny network-bind)\n(deny network-inbound)\n");
	else
		kiln__buf_adds(profile, "(deny file-read-data)\n(deny network*)\n"
					"(deny mach-lookup)\n");
	for (size_t i = 0; r == 0 && i < jail->place_count; i++) {
		const struct kiln__jail_place *place = &jail->places[i];
		bool writes = place->rights & (KILN__JAIL_MAKE | KILN__JAIL_REMOVE);

		r = allow(profile, writes ? "file-read* file-write*" : "file-read*", "subpath",
			  place->at, err);
	}
	return r < 0 ? r : allow_outputs(profile, err);
}

static int enter_sandbox(const struct kiln__jail *jail, kiln_error *err)
{
	kiln__autobuf profile = KILN__BUF_INIT;
	char *why = NULL;
	int r = write_profile(jail, &profile, err);

	if (r < 0)
		return r;
	if (profile.failed)
		return kiln__fail_nomem(err);
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
	if (sandbox_init(profile.data, 0, &why) == 0)
		return 0;
	r = kiln__fail(err, KILN_ESYSTEM, "the system refuses its sandbox: %s",
		       why ? why : "no reason given");
	if (why)
		sandbox_free_error(why);
#pragma clang diagnostic pop
	return r;
}

int kiln__os_jail(const struct kiln__jail *jail, struct kiln__jail_report *ret, kiln_error *err)
{
	const struct rlimit none = {0, 0};

	*ret = (struct kiln__jail_report){.landlock = 0};
	kiln__fail(&ret->why_not, KILN_ENOTSUP,
		   "macOS confines no process that runs VMs by its framework");
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return kiln__fail_errno(err, errno, "forgoing core files");
	return jail->keeps_root ? enter_sandbox(jail, err) : 0;
}
