/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_GUEST_USERS_H
#define KILN_GUEST_USERS_H

#include <kiln/error.h>

#include <stddef.h>
#include <sys/types.h>

#define USER_MAX_GROUPS 256

struct user {
	uid_t uid;
	gid_t gid;
	gid_t groups[USER_MAX_GROUPS];
	size_t group_count;
	char home[256]; /* "/" if none is known */
};

/*
 * Who "user[:group]" is, by /etc/passwd and /etc/group, as container tools read it:
 * names or numbers; NULL is root; an unknown number is taken as it is, with group 0;
 * the groups that have the user as a member come along if no group is named.
 */
int find_user(const char *spec, struct user *ret, kiln_error *err);

#endif
