/* SPDX-License-Identifier: Apache-2.0 */
#include "identity.h"

#include "buf.h"
#include "err.h"
#include "files.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOSTS_MAX 65536

/* A root that is read-only by itself has its own files, and keeps them. */
static int wrote(int r, const char *path, kiln_error *err)
{
	if (r == 0 || r == -EROFS)
		return 0;
	return kiln__fail_errno(err, -r, "cannot write %s", path);
}

static bool is_host_name(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > HOST_NAME_MAX || name[0] == '-' || name[0] == '.')
		return false;
	for (const char *c = name; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
		      (*c >= '0' && *c <= '9') || *c == '-' || *c == '.'))
			return false;
	return true;
}

/* Whether some line of /etc/hosts has the name as a word. */
static bool is_listed(const char *hosts, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = hosts; (at = strstr(at, name)); at += len)
		if (at > hosts && strchr(" \t", at[-1]) && strchr(" \t\n", at[len]))
			return true;
	return false;
}

/* The machine's own name must resolve: with what the root has, if it does not say it yet. */
static int write_hosts(const char *name, kiln_error *err)
{
	static char old[HOSTS_MAX];
	kiln__autobuf hosts = KILN__BUF_INIT;
	int len = read_small_file("/etc/hosts", old, sizeof(old));

	if (len >= HOSTS_MAX - 2 || (len > 0 && is_listed(old, name)))
		return 0;
	if (len > 0)
		kiln__buf_addf(&hosts, "%s\n", old);
	else
		kiln__buf_adds(&hosts, "127.0.0.1\tlocalhost\n"
				       "::1\tlocalhost ip6-localhost ip6-loopback\n");
	kiln__buf_addf(&hosts, "127.0.1.1\t%s\n", name);
	if (hosts.failed)
		return kiln__fail_nomem(err);
	return wrote(replace_file("/etc/hosts", hosts.data), "/etc/hosts", err);
}

static int apply_hostname(const char *name, kiln_error *err)
{
	char line[HOST_NAME_MAX + 2];
	int r;

	if (!is_host_name(name))
		return kiln__fail(err, KILN_EINVAL, "\"%s\" is no host name", name);
	if (sethostname(name, strlen(name)) < 0)
		return kiln__fail_errno(err, errno, "cannot set the host name");
	snprintf(line, sizeof(line), "%s\n", name);
	r = wrote(replace_file("/etc/hostname", line), "/etc/hostname", err);
	return r < 0 ? r : write_hosts(name, err);
}

static int apply_machine_id(const char *id, kiln_error *err)
{
	char line[34];

	if (strlen(id) != 32 || strspn(id, "0123456789abcdef") != 32)
		return kiln__fail(err, KILN_EINVAL, "\"%s\" is no machine id", id);
	snprintf(line, sizeof(line), "%s\n", id);
	return wrote(replace_file("/etc/machine-id", line), "/etc/machine-id", err);
}

/* One word a line, or it would say more than was meant. */
static bool is_word(const char *text)
{
	return *text && !strpbrk(text, " \t\r\n#;");
}

static int apply_resolver(const struct kiln__agent_setup *setup, kiln_error *err)
{
	kiln__autobuf text = KILN__BUF_INIT;
	const char *word;
	struct stat st;

	for (word = kiln__strs_next(&setup->dns, NULL); word;
	     word = kiln__strs_next(&setup->dns, word)) {
		if (!is_word(word))
			return kiln__fail(err, KILN_EINVAL, "\"%s\" is no name server", word);
		kiln__buf_addf(&text, "nameserver %s\n", word);
	}
	for (word = kiln__strs_next(&setup->search, NULL); word;
	     word = kiln__strs_next(&setup->search, word)) {
		if (!is_word(word))
			return kiln__fail(err, KILN_EINVAL, "\"%s\" is no search domain", word);
		kiln__buf_adds(&text, word == setup->search.at ? "search " : " ");
		kiln__buf_adds(&text, word);
	}
	if (setup->search.len)
		kiln__buf_addc(&text, '\n');
	if (text.failed)
		return kiln__fail_nomem(err);
	/* With an init of its own, a link means that some service there keeps the file. */
	if (setup->init && lstat("/etc/resolv.conf", &st) == 0 && S_ISLNK(st.st_mode))
		return 0;
	return wrote(replace_file("/etc/resolv.conf", text.data), "/etc/resolv.conf", err);
}

int apply_identity(const struct kiln__agent_setup *setup, kiln_error *err)
{
	int r = 0;

	if (mkdir("/etc", 0755) < 0 && errno != EEXIST && errno != EROFS)
		return kiln__fail_errno(err, errno, "cannot make /etc");
	if (setup->hostname)
		r = apply_hostname(setup->hostname, err);
	if (r == 0 && setup->machine_id)
		r = apply_machine_id(setup->machine_id, err);
	if (r == 0 && (setup->dns.len || setup->search.len))
		r = apply_resolver(setup, err);
	return r;
}
