/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preflight's record: its report as text in the user's runtime directory.
 *
 *	kiln-preflight 1
 *	key BOOT-ID KERNEL PROCESSOR DEVICE USER
 *	usable 1
 *	summary ...
 *	check STATE NAME
 *	detail ...
 *	hint ...
 *	(further checks)
 *	end CHECKSUM
 *
 * It is replaced atomically, so readers see a whole one; whatever does not parse, does
 * not sum up or has another key counts as absent. Only final outcomes of a device that
 * opens are recorded: what does not open is found out again in one system call, and
 * permissions change without anything in the key changing (a group joined).
 * A lookup costs the directory's owner and one small file besides the key: uname, stat, access and
 *boot_id.
 */
#include "preflight_internal.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define RECORD_NAME    "kvm-preflight"
#define RECORD_VERSION "kiln-preflight 1"
#define RECORD_MAX     32768

static uint64_t checksum(const char *text, size_t len) /* FNV-1a, 64 bits */
{
	uint64_t sum = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ (uint8_t)text[i]) * 0x100000001b3u;
	return sum;
}

static bool read_boot_id(const char *root, char *text, size_t size)
{
	char path[512];
	ssize_t n;
	int fd;

	if (snprintf(path, sizeof(path), "%s/proc/sys/kernel/random/boot_id", root) >=
	    (int)sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = kiln__os_read(fd, text, size - 1);
	kiln__os_close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return true;
}

static bool may_open(const struct kiln__hv_preflight_options *options)
{
	const char *device = options && options->device ? options->device : "/dev/kvm";

	return faccessat(AT_FDCWD, device, R_OK | W_OK, AT_EACCESS) == 0;
}

/* What must be the same for a record to hold. */
static bool make_key(const struct kiln__hv_preflight_options *options, char *key, size_t size)
{
	const char *device = options && options->device ? options->device : "/dev/kvm";
	const char *root = options && options->root ? options->root : "";
	struct utsname host;
	struct stat st;
	char boot[64];
	char cpu[96];
	int n;

	if (stat(device, &st) < 0 || uname(&host) < 0 || !read_boot_id(root, boot, sizeof(boot)))
		return false;
	kiln__preflight_cpu_model(cpu, sizeof(cpu));
	n = snprintf(key, size, "key %s %s %s [%s] %s %" PRIx64 " %o %u %u %" PRId64 ".%09ld %u",
		     boot, host.release, host.version, cpu, device, (uint64_t)st.st_rdev,
		     st.st_mode, st.st_uid, st.st_gid, (int64_t)st.st_ctim.tv_sec,
		     st.st_ctim.tv_nsec, geteuid());
	if (n < 0 || (size_t)n >= size)
		return false;
	for (char *c = key; *c; c++)
		if ((unsigned char)*c < ' ')
			*c = ' ';
	return true;
}

/* --- writing -------------------------------------------------------------------------- */

static void print_record(struct kiln__buf *buf, const char *key,
			 const struct kiln__hv_report *report)
{
	kiln__buf_addf(buf, "%s\n%s\nusable %d\nsummary %s\n", RECORD_VERSION, key, report->usable,
		       report->summary);
	for (size_t i = 0; i < report->count; i++) {
		const struct kiln__hv_check *check = &report->checks[i];

		kiln__buf_addf(buf, "check %d %s\ndetail %s\nhint %s\n", (int)check->state,
			       check->name, check->detail, check->hint);
	}
	kiln__buf_addf(buf, "end %016" PRIx64 "\n", checksum(buf->data, buf->len));
}

static void save(const char *path, const char *directory, const char *key,
		 const struct kiln__hv_report *report)
{
	kiln__autobuf buf = KILN__BUF_INIT;

	print_record(&buf, key, report);
	if (!buf.failed && kiln__os_make_private_dir(directory, NULL) == 0)
		kiln__os_replace_file(path, buf.data, buf.len, 0600, false, NULL);
}

/* --- reading -------------------------------------------------------------------------- */

/* Takes the next line off *text, without its newline; NULL at the end or where it is not ended. */
static char *next_line(char **text)
{
	char *line = *text;
	char *end = strchr(line, '\n');

	if (!end)
		return NULL;
	*end = '\0';
	*text = end + 1;
	return line;
}

/* The next line's value if it is "@key value" and fits. */
static bool next_value(char **text, const char *key, char *value, size_t size)
{
	const char *line = next_line(text);
	size_t len = strlen(key);

	if (!line || strncmp(line, key, len) != 0 || line[len] != ' ')
		return false;
	return snprintf(value, size, "%s", line + len + 1) < (int)size;
}

/* Cuts the last line off and compares its sum with the rest's. */
static bool verify(char *text, size_t len)
{
	char expected[32];
	char *end;

	if (strlen(text) != len) /* a NUL inside */
		return false;
	end = strstr(text, "\nend ");
	if (!end)
		return false;
	end++;
	snprintf(expected, sizeof(expected), "end %016" PRIx64 "\n",
		 checksum(text, (size_t)(end - text)));
	if (strcmp(end, expected) != 0)
		return false;
	*end = '\0';
	return true;
}

static bool parse_check(char **text, struct kiln__hv_check *check)
{
	char head[sizeof(check->name) + 2];

	if (!next_value(text, "check", head, sizeof(head)) || head[0] < '0' || head[0] > '2' ||
	    head[1] != ' ' || !head[2])
		return false;
	check->state = (enum kiln__hv_check_state)(head[0] - '0');
	snprintf(check->name, sizeof(check->name), "%.*s", (int)sizeof(check->name) - 1, head + 2);
	return next_value(text, "detail", check->detail, sizeof(check->detail)) &&
	       next_value(text, "hint", check->hint, sizeof(check->hint));
}

static bool parse(char *text, size_t len, const char *key, struct kiln__hv_report *report)
{
	const char *line;
	char usable[4];

	if (!verify(text, len))
		return false;
	line = next_line(&text);
	if (!line || strcmp(line, RECORD_VERSION) != 0)
		return false;
	line = next_line(&text);
	if (!line || strcmp(line, key) != 0)
		return false;
	*report = (struct kiln__hv_report){.opens = true, .cached = true};
	if (!next_value(&text, "usable", usable, sizeof(usable)) ||
	    !next_value(&text, "summary", report->summary, sizeof(report->summary)))
		return false;
	report->usable = strcmp(usable, "1") == 0;
	while (*text) {
		struct kiln__hv_check *check = &report->checks[report->count];

		if (report->count == KILN__HV_MAX_CHECKS || !parse_check(&text, check))
			return false;
		if (check->state == KILN__HV_CHECK_FAILED && !report->hint[0])
			memcpy(report->hint, check->hint, sizeof(report->hint));
		report->count++;
	}
	return report->count > 0;
}

static bool load(const char *path, const char *directory, const char *key,
		 struct kiln__hv_report *report)
{
	kiln__autofree char *text = NULL;
	size_t len;

	/* A record that somebody else could have left there is none. */
	if (kiln__os_check_private_dir(directory, NULL) < 0 ||
	    kiln__os_read_file(path, RECORD_MAX, &text, &len, NULL) < 0)
		return false;
	return parse(text, len, key, report);
}

int kiln__hv_preflight_cached(struct kiln__hv_report *ret, const char *directory,
			      const struct kiln__hv_preflight_options *options, kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/" RECORD_NAME, directory);
	struct kiln__hv_report report;
	char key[640];
	bool opens = may_open(options);
	bool keyed;
	bool final;

	if (!path)
		return kiln__fail_nomem(err);
	keyed = opens && make_key(options, key, sizeof(key));
	if (keyed && load(path, directory, key, &report)) {
		*ret = report;
		return 0;
	}
	if (opens && options && options->only_recorded)
		return kiln__fail(err, KILN_EBUSY, "whether KVM works here is not on record");
	kiln__preflight_run(ret, options, &final);
	if (keyed && final)
		save(path, directory, key, ret);
	return 0;
}
