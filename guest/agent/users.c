/* SPDX-License-Identifier: Apache-2.0 */
#include "users.h"

#include "cleanup.h"
#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATABASE_MAX ((off_t)4 << 20)

/* A whole database, NUL-terminated; empty if there is none. NULL when out of memory or unreadable.
 */
static char *read_database(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	char *text = NULL;
	ssize_t n = 0;

	if (fd < 0)
		return calloc(1, 1);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= DATABASE_MAX)
		text = malloc((size_t)st.st_size + 1);
	if (text)
		n = read(fd, text, (size_t)st.st_size);
	if (text)
		text[n > 0 ? n : 0] = '\0';
	close(fd);
	return text;
}

/* Splits a line at its colons, in place, into @count fields. False if it has fewer. */
static bool split(char *line, char *fields[], size_t count)
{
	for (size_t i = 0; i < count; i++) {
		fields[i] = line;
		line = strchr(line, ':');
		if (!line)
			return i == count - 1;
		*line++ = '\0';
	}
	return true;
}

/* The next line of a text, NUL-terminated in place. */
static char *next_line(char **text)
{
	char *line = *text;
	char *end;

	if (!line || !*line)
		return NULL;
	end = strchr(line, '\n');
	*text = end ? end + 1 : NULL;
	if (end)
		*end = '\0';
	return line;
}

static bool parse_id(const char *text, uint32_t *ret)
{
	unsigned long value;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	/* All ones means "leave it as it is" to the kernel. */
	if (errno || *end || value >= UINT32_MAX)
		return false;
	*ret = (uint32_t)value;
	return true;
}

/* Looks @name, or else the number @id, up in /etc/passwd. *ret_name is the user's name, malloc'ed,
 * or NULL. */
static int find_passwd(const char *name, struct user *ret, bool *ret_found, char **ret_name)
{
	enum { NAME, PASSWORD, UID, GID, GECOS, HOME, FIELDS };
	kiln__autofree char *text = read_database("/etc/passwd");
	char *rest = text;
	char *fields[FIELDS];
	char *line;
	uint32_t wanted = 0;
	uint32_t uid;
	uint32_t gid;
	bool by_id = parse_id(name, &wanted);

	if (!text)
		return KILN_ENOMEM;
	*ret_found = false;
	while (!*ret_found && (line = next_line(&rest)))
		if (split(line, fields, FIELDS) && parse_id(fields[UID], &uid) &&
		    parse_id(fields[GID], &gid) &&
		    (strcmp(fields[NAME], name) == 0 || (by_id && uid == wanted))) {
			*ret_found = true;
			ret->uid = uid;
			ret->gid = gid;
			if (fields[HOME][0] == '/')
				snprintf(ret->home, sizeof(ret->home), "%s", fields[HOME]);
			*ret_name = strdup(fields[NAME]);
		}
	if (!*ret_found && by_id)
		ret->uid = wanted;
	return *ret_found && !*ret_name ? KILN_ENOMEM : 0;
}

/* Whether @name is in a comma-separated list. */
static bool is_member(const char *list, const char *name)
{
	size_t len = strlen(name);

	while (*list) {
		size_t n = strcspn(list, ",");

		if (n == len && memcmp(list, name, n) == 0)
			return true;
		list += n + (list[n] == ',');
	}
	return false;
}

/* Sets the group named @group, or, for NULL, adds the groups that have @member in them. */
static int find_groups(const char *group, const char *member, struct user *ret, bool *ret_found)
{
	enum { NAME, PASSWORD, GID, MEMBERS, FIELDS };
	kiln__autofree char *text = read_database("/etc/group");
	char *rest = text;
	char *fields[FIELDS];
	char *line;
	uint32_t gid;

	if (!text)
		return KILN_ENOMEM;
	*ret_found = false;
	while (!*ret_found && (line = next_line(&rest))) {
		if (!split(line, fields, FIELDS) || !parse_id(fields[GID], &gid))
			continue;
		if (group) {
			*ret_found = strcmp(fields[NAME], group) == 0;
			if (*ret_found)
				ret->gid = gid;
		} else if (is_member(fields[MEMBERS], member) &&
			   ret->group_count < USER_MAX_GROUPS) {
			ret->groups[ret->group_count++] = gid;
		}
	}
	return 0;
}

static int set_group(const char *group, struct user *ret, kiln_error *err)
{
	uint32_t gid;
	bool found;

	if (parse_id(group, &gid)) {
		ret->gid = gid;
		return 0;
	}
	if (find_groups(group, NULL, ret, &found) < 0)
		return kiln__fail_nomem(err);
	if (!found)
		return kiln__fail(err, KILN_ENOENT, "there is no group \"%s\" in /etc/group",
				  group);
	return 0;
}

int find_user(const char *spec, struct user *ret, kiln_error *err)
{
	kiln__autofree char *name = strdup(spec && *spec ? spec : "0");
	kiln__autofree char *known = NULL;
	char *group;
	uint32_t number;
	bool found;

	*ret = (struct user){.home = "/"};
	if (!name)
		return kiln__fail_nomem(err);
	group = strchr(name, ':');
	if (group)
		*group++ = '\0';
	if (find_passwd(*name ? name : "0", ret, &found, &known) < 0)
		return kiln__fail_nomem(err);
	if (!found && *name && !parse_id(name, &number))
		return kiln__fail(err, KILN_ENOENT, "there is no user \"%s\" in /etc/passwd", name);
	if (group && *group)
		return set_group(group, ret, err);
	if (known && find_groups(NULL, known, ret, &found) < 0)
		return kiln__fail_nomem(err);
	return 0;
}
