/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options into a configuration. Most enter as they are, under the key that the table
 * names; those that need a rule have theirs here. What the values mean, and whether they
 * are possible, is the configuration's business.
 *
 * Configurations have absolute paths: those on the command line are relative to the
 * working directory, and made absolute here.
 */
#include "cli.h"

#include "buf.h"
#include "err.h"
#include "images.h"
#include "os.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of an --env-file. */
#define MAX_ENV_FILE (1024 * 1024)

int absolute_path(const char *path, char **ret, kiln_error *err)
{
	char *cwd;

	if (!path[0])
		return kiln__fail(err, KILN_EINVAL, "an empty path");
	if (path[0] == '/') {
		*ret = strdup(path);
		return *ret ? 0 : kiln__fail_nomem(err);
	}
	cwd = getcwd(NULL, 0);
	if (!cwd) {
		kiln__fail(err, KILN_ESYSTEM, "cannot tell the working directory");
		kiln__hint(err, "give absolute paths");
		return KILN_ESYSTEM;
	}
	*ret = kiln__strf("%s/%s", strcmp(cwd, "/") == 0 ? "" : cwd, path);
	free(cwd);
	return *ret ? 0 : kiln__fail_nomem(err);
}

bool config_has(const kiln_config *config, const char *key)
{
	const char *value;

	return kiln_config_get(config, key, &value, NULL) == 0;
}

/* An object as JSON at @key. Takes @object. */
int config_set_json(kiln_config *config, const char *key, json_t *object, kiln_error *err)
{
	char *text = object ? json_dumps(object, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	int r = text ? kiln_config_set(config, key, text, err)
		     : kiln__fail(err, KILN_EINVAL, "%s: not UTF-8", key);

	json_decref(object);
	free(text);
	return r;
}

/* --- root and disks ---------------------------------------------------------- */

/* Where in a file which bytes say what it is. */
static const struct {
	size_t offset;
	const char *bytes;
	size_t len;
	const char *key;
} magics[] = {
	{0, "hsqs", 4, "root.squashfs"},
	{1024 + 56, "\x53\xef", 2, "root.disk"}, /* ext2, 3, 4: s_magic of the superblock */
	{257, "ustar", 5, "root.tar"},
	{0, "\x1f\x8b", 2, "root.tar"}, /* gzip */
	{0,
	 "\xfd"
	 "7zXZ",
	 5, "root.tar"},
	{0, "\x28\xb5\x2f\xfd", 4, "root.tar"}, /* zstd */
	{0, "BZh", 3, "root.tar"},
	{0, "\x04\x22\x4d\x18", 4, "root.tar"}, /* lz4 */
};

#define MAGIC_AREA 2048

static const char *root_key(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
		if (magics[i].offset + magics[i].len <= len &&
		    memcmp(bytes + magics[i].offset, magics[i].bytes, magics[i].len) == 0)
			return magics[i].key;
	return NULL;
}

static int find_root_kind(const char *path, const char **ret_key, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	uint8_t bytes[MAGIC_AREA];
	struct kiln__os_stat st;
	ssize_t n;
	int r = kiln__os_stat(path, &st, err);

	if (r < 0)
		return r;
	if (st.is_directory || st.is_block_device) {
		*ret_key = st.is_directory ? "root.directory" : "root.disk";
		return 0;
	}
	if (!st.is_file)
		return kiln__fail(err, KILN_EINVAL, "%s is neither a directory nor a file", path);
	r = kiln__os_open(&fd, path, KILN__OPEN_READ, err);
	if (r < 0)
		return r;
	n = kiln__os_pread_full(fd, bytes, sizeof(bytes), 0, err);
	if (n < 0)
		return (int)n;
	*ret_key = root_key(bytes, (size_t)n);
	if (!*ret_key) {
		kiln__fail(err, KILN_EFORMAT, "%s is no tar archive and no squashfs or ext4 image",
			   path);
		kiln__hint(err, "give a directory, an archive, or set root.disk and root.fstype");
		return KILN_EFORMAT;
	}
	return 0;
}

static int set_rootfs(kiln_config *config, const char *value, kiln_error *err)
{
	kiln__autofree char *path = NULL;
	const char *key = NULL;
	int r = absolute_path(value, &path, err);

	if (r == 0)
		r = find_root_kind(path, &key, err);
	if (r == 0)
		r = kiln_config_set(config, key, path, err);
	return r;
}

static int add_disk(kiln_config *config, const char *value, kiln_error *err)
{
	static const char readonly[] = ":ro";
	kiln__autofree char *path = NULL;
	struct kiln__os_stat st;
	size_t len;
	bool ro = false;
	int r;

	if (strncmp(value, "nbd", 3) == 0 && strstr(value, "://"))
		return config_set_json(config, "disks[]", json_pack("{s:s}", "url", value), err);
	r = absolute_path(value, &path, err);

	if (r < 0)
		return r;
	len = strlen(path);
	if (len > strlen(readonly) && strcmp(path + len - strlen(readonly), readonly) == 0 &&
	    kiln__os_stat(path, &st, NULL) < 0) {
		path[len - strlen(readonly)] = '\0';
		ro = true;
	}
	r = kiln__os_stat(path, &st, err);
	if (r == 0)
		r = config_set_json(config, "disks[]",
				    json_pack("{s:s, s:b}", "path", path, "readonly", ro), err);
	return r;
}

static int set_overlay_size(kiln_config *config, const char *value, kiln_error *err)
{
	int r = kiln_config_set(config, "root.overlay.kind", "disk", err);

	return r < 0 ? r : kiln_config_set(config, "root.overlay.size", value, err);
}

static int set_read_only(kiln_config *config, kiln_error *err)
{
	int r = kiln_config_set(config, "root.overlay.kind", "none", err);

	if (r == 0 && (config_has(config, "root.disk.path") || config_has(config, "root.disk.fd")))
		r = kiln_config_set(config, "root.readonly", "true", err);
	return r;
}

/* docker's words for it. What holds for each of them anyway is accepted. */
static int set_tmpfs_option(json_t *tmpfs, const char *option, kiln_error *err)
{
	static const char *const given[] = {"rw", "noexec", "nosuid", "nodev"};

	if (strncmp(option, "size=", 5) == 0)
		return json_object_set_new(tmpfs, "size", json_string(option + 5));
	if (strncmp(option, "mode=", 5) == 0)
		return json_object_set_new(tmpfs, "mode", json_string(option + 5));
	if (strcmp(option, "exec") == 0)
		return json_object_set_new(tmpfs, "exec", json_true());
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++)
		if (strcmp(option, given[i]) == 0)
			return 0;
	kiln__fail(err, KILN_ENOTSUP, "--tmpfs has no option \"%.40s\"", option);
	kiln__hint(err, "it has size=, mode= and exec");
	return KILN_ENOTSUP;
}

static int add_tmpfs(kiln_config *config, const char *value, kiln_error *err)
{
	kiln__autofree char *text = strdup(value);
	char *rest = text ? strchr(text, ':') : NULL;
	json_t *tmpfs;
	char *option;
	int r = 0;

	if (!text)
		return kiln__fail_nomem(err);
	if (rest)
		*rest++ = '\0';
	tmpfs = json_pack("{s:s}", "path", text);
	while (r == 0 && (option = strsep(&rest, ",")))
		r = *option ? set_tmpfs_option(tmpfs, option, err) : 0;
	if (r == 0)
		return config_set_json(config, "tmpfs[]", tmpfs, err);
	json_decref(tmpfs);
	return r == KILN_ENOTSUP ? r : kiln__fail_nomem(err);
}

/* --- process ----------------------------------------------------------------- */

static int add_env(kiln_config *config, const char *value, kiln_error *err)
{
	kiln__autofree char *pair = NULL;
	const char *own;

	if (strchr(value, '='))
		return kiln_config_set(config, "process.env[]", value, err);
	/* A bare name passes this process's on; without one there is nothing to pass. */
	own = getenv(value);
	if (!own)
		return 0;
	pair = kiln__strf("%s=%s", value, own);
	return pair ? kiln_config_set(config, "process.env[]", pair, err) : kiln__fail_nomem(err);
}

int env_file_each(const char *path, int (*fn)(void *data, const char *line, kiln_error *err),
		  void *data, kiln_error *err)
{
	kiln__autofree char *text = NULL;
	char *at, *line;
	size_t len;
	int r = kiln__os_read_file(path, MAX_ENV_FILE, &text, &len, err);

	if (r == 0 && strlen(text) != len)
		r = kiln__fail(err, KILN_EFORMAT, "%s has NUL bytes", path);
	for (at = text; r == 0 && (line = strsep(&at, "\n"));) {
		line += strspn(line, " \t");
		line[strcspn(line, "\r")] = '\0';
		if (line[0] && line[0] != '#')
			r = fn(data, line, err);
	}
	if (r < 0) {
		kiln__prefix(err, "--env-file");
		kiln__hint(err, "give a file with NAME=VALUE on each line");
	}
	return r;
}

static int on_env_line(void *data, const char *line, kiln_error *err)
{
	return add_env(data, line, err);
}

static int set_entrypoint(kiln_config *config, const char *value, kiln_error *err)
{
	int r = kiln_config_set(config, "process.entrypoint", NULL, err);

	/* Docker's way to have none. */
	return r < 0 || !value[0] ? r : kiln_config_set(config, "process.entrypoint[]", value, err);
}

static int set_command(kiln_config *config, char **argv, kiln_error *err)
{
	int r = argv[0] ? kiln_config_set(config, "process.args", NULL, err) : 0;

	for (; r == 0 && *argv; argv++)
		r = kiln_config_set(config, "process.args[]", *argv, err);
	return r;
}

/* --- the rest ---------------------------------------------------------------- */

/* "agent", "tcp:80", "command:test -e /run/up" */
static int set_ready(kiln_config *config, const char *value, kiln_error *err)
{
	size_t len = strcspn(value, ":");
	kiln__autofree char *kind = strndup(value, len);
	const char *rest = value[len] ? value + len + 1 : NULL;
	bool port;
	int r;

	if (!kind)
		return kiln__fail_nomem(err);
	port = strcmp(kind, "tcp") == 0 || strcmp(kind, "vsock") == 0;
	if ((port || strcmp(kind, "command") == 0) != (rest && *rest)) {
		kiln__fail(err, KILN_EINVAL, "--ready cannot be \"%.40s\"", value);
		kiln__hint(err,
			   "it can be agent, console, tcp:PORT, vsock:PORT, command:TEXT or none");
		return KILN_EINVAL;
	}
	r = kiln_config_set(config, "readiness.kind", kind, err);
	if (r == 0 && port)
		return kiln_config_set(config, "readiness.port", rest, err);
	if (r == 0 && rest)
		return config_set_json(config, "readiness.command",
				       json_pack("[s,s,s]", "/bin/sh", "-c", rest), err);
	return r;
}

static int set_network(kiln_config *config, const char *value, kiln_error *err)
{
	if (strcmp(value, "none") == 0)
		return kiln_config_set(config, "networks", NULL, err);
	if (strncmp(value, "tap:", 4) == 0)
		return config_set_json(
			config, "networks[]",
			json_pack("{s:s, s:s}", "kind", "tap", "interface", value + 4), err);
	if (strncmp(value, "socket:", 7) == 0)
		return config_set_json(
			config, "networks[]",
			json_pack("{s:s, s:s}", "kind", "socket", "socket", value + 7), err);
	return config_set_json(config, "networks[]", json_pack("{s:s}", "kind", value), err);
}

static int set_pair(kiln_config *config, const char *value, kiln_error *err)
{
	size_t len = strcspn(value, "=");
	kiln__autofree char *key = strndup(value, len);

	if (!key)
		return kiln__fail_nomem(err);
	if (!value[len]) {
		kiln__fail(err, KILN_EINVAL, "--set needs KEY=VALUE, not \"%.40s\"", value);
		kiln__hint(err, "an empty VALUE unsets the key");
		return KILN_EINVAL;
	}
	return kiln_config_set(config, key, value[len + 1] ? value + len + 1 : NULL, err);
}

/* A file that a path option names: that it is there is told here, where the option is known. */
static int set_file(kiln_config *config, const struct given *given, kiln_error *err)
{
	kiln__autofree char *path = NULL;
	struct kiln__os_stat st;
	int r = absolute_path(given->value, &path, err);

	if (r == 0)
		r = kiln__os_stat(path, &st, err);
	if (r == 0 && st.is_directory)
		r = kiln__fail(err, KILN_EINVAL, "%s is a directory", path);
	return r < 0 ? r : kiln_config_set(config, given->option->key, path, err);
}

/* "host" is the running kernel, by the path that it has today; a file of that name is ./host. */
static int set_kernel(kiln_config *config, const struct given *given, kiln_error *err)
{
	kiln__autofree char *path = NULL;
	int r;

	if (strcmp(given->value, "host") != 0)
		return set_file(config, given, err);
	r = kiln__kernel_of_host(&path, err);
	return r < 0 ? r : kiln_config_set(config, given->option->key, path, err);
}

static int set_platform(kiln_config *config, const char *value, kiln_error *err)
{
	const char *arch;
	int r = parse_platform(value, &arch, err);

	return r < 0 ? r : kiln_config_set(config, "arch", arch, err);
}

/* Keys of firecracker.jailer, with commas between; what has a comma in it goes by --set. */
static int set_jailer(kiln_config *config, const char *text, kiln_error *err)
{
	kiln__autofree char *copy = strdup(text);
	char *save;
	int r = copy ? kiln_config_set(config, "firecracker.jailer.enabled", "true", err)
		     : kiln__fail_nomem(err);

	for (char *part = r == 0 ? strtok_r(copy, ",", &save) : NULL; r == 0 && part;
	     part = strtok_r(NULL, ",", &save)) {
		char *equals = strchr(part, '=');
		kiln__autofree char *key =
			equals ? kiln__strf("firecracker.jailer.%.*s", (int)(equals - part), part)
			       : NULL;

		if (!equals)
			r = kiln__fail(err, KILN_EINVAL, "%s: there is no '=' in it", part);
		else
			r = key ? kiln_config_set(config, key, equals + 1, err)
				: kiln__fail_nomem(err);
	}
	return r;
}

static int enter_by_rule(kiln_config *config, const struct given *given, kiln_error *err)
{
	switch (given->option->id) {
	case OPT_DISK:
		return add_disk(config, given->value, err);
	case OPT_ENTRYPOINT:
		return set_entrypoint(config, given->value, err);
	case OPT_ENV:
		return add_env(config, given->value, err);
	case OPT_ENV_FILE:
		return env_file_each(given->value, on_env_line, config, err);
	case OPT_NETWORK:
		return set_network(config, given->value, err);
	case OPT_OVERLAY_SIZE:
		return set_overlay_size(config, given->value, err);
	case OPT_READ_ONLY:
		return set_read_only(config, err);
	case OPT_READY:
		return set_ready(config, given->value, err);
	case OPT_JAILER:
		return set_jailer(config, given->value, err);
	case OPT_KERNEL:
		return set_kernel(config, given, err);
	case OPT_PLATFORM:
		return set_platform(config, given->value, err);
	case OPT_ROOTFS:
		return set_rootfs(config, given->value, err);
	case OPT_TMPFS:
		return add_tmpfs(config, given->value, err);
	case OPT_HEALTH_CMD:
		return config_set_json(config, "health.command",
				       json_pack("[s,s,s]", "/bin/sh", "-c", given->value), err);
	case OPT_SET:
		return set_pair(config, given->value, err);
	case OPT_SHARE:
		return enter_share(config, given->value, err);
	case OPT_VOLUME:
		return enter_volume(config, given->value, err);
	default:
		return enter_seed(config, given, err);
	}
}

static int enter_value(kiln_config *config, const struct given *given, kiln_error *err)
{
	const struct option *option = given->option;
	kiln__autofree char *text = NULL;
	uint64_t ms;
	int r;

	switch (option->enters) {
	case ENTERS_NOT:
		return 0;
	case ENTERS_AS_IS:
		return kiln_config_set(config, option->key, given->value ? given->value : "true",
				       err);
	case ENTERS_AS_PATH:
		return set_file(config, given, err);
	case ENTERS_SECONDS:
		r = parse_duration(given->value, &ms, err);
		if (r < 0)
			return r;
		text = kiln__strf("%llu", (unsigned long long)ms);
		return text ? kiln_config_set(config, option->key, text, err)
			    : kiln__fail_nomem(err);
	case ENTERS_BY_RULE:
		return enter_by_rule(config, given, err);
	}
	return 0;
}

/*
 * Puts the option's name where the message has the key's, or before it: "cpus: must be ..." is of
 * --cpus to who has never heard of keys.
 */
static int blame(const struct option *option, kiln_error *err)
{
	const char *colon = strstr(err->message, ": ");
	size_t key = option->key ? strcspn(option->key, "[") : 0;
	kiln__autofree char *rest = NULL;

	if (key && colon && strncmp(err->message, option->key, key) == 0) {
		rest = strdup(colon + 2);
		if (!rest)
			return kiln__fail_nomem(err);
		snprintf(err->message, sizeof(err->message), "%s", rest);
	}
	if (option->id != OPT_SET && strncmp(err->message, "--", 2) != 0)
		kiln__prefix(err, "--%s", option->name);
	if (option->id == OPT_SET)
		return kiln__hint(err, "see kiln-config(5) for what a key takes");
	return kiln__hint(err, "see kiln-run(1) for what --%s takes", option->name);
}

static int enter(kiln_config *config, const struct given *given, kiln_error *err)
{
	int r = enter_value(config, given, err);

	return r < 0 ? blame(given->option, err) : 0;
}

static bool has_firmware(const kiln_config *config)
{
	const char *kind;

	return kiln_config_get(config, "firmware", &kind, NULL) == 0 && strcmp(kind, "none") != 0;
}

/* Of what may be said of a root, one thing that it is: --read-only alone makes none. */
static bool has_root(const kiln_config *config)
{
	static const char *const kinds[] = {"root.image", "root.directory", "root.tar",
					    "root.squashfs", "root.disk"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (config_has(config, kinds[i]))
			return true;
	return false;
}

/*
 * Positional arguments are the command where a root is given by an option. Where none is,
 * the first of them, not behind "--", is the image's name.
 */
static int enter_command(struct cli *cli, kiln_config *config, const struct args *args,
			 kiln_error *err)
{
	bool rooted = has_root(config) || config_has(config, "initrd") || has_firmware(config);

	if (!rooted && args->count > 0 && !args->ended) {
		char **command = args->positional + 1;
		int r;

		if (*command && strcmp(*command, "--") == 0)
			command++;
		r = configure_image(cli, args, args->positional[0], *command != NULL, config, err);
		return r < 0 ? r : set_command(config, command, err);
	}
	if (!rooted && args->count > 0 && !args_is(args, OPT_BACKEND, "fake")) {
		kiln__fail(err, KILN_EINVAL, "there is no root to run \"%.80s\" in",
			   args->positional[0]);
		kiln__hint(err, "give one by --rootfs, or name an image before the \"--\"");
		return KILN_EINVAL;
	}
	return set_command(config, args->positional, err);
}

/* Ports, an image's also, and addresses lead nowhere without a network. */
static bool wants_network(const kiln_config *config, const struct args *args)
{
	bool wanted =
		args_has(args, OPT_PUBLISH) || args_has(args, OPT_ADDRESS) ||
		(args_has(args, OPT_PUBLISH_ALL) && config_has(config, "ports[0].guest_port"));

	return wanted && !args_has(args, OPT_NETWORK) && !config_has(config, "networks[0].kind");
}

int configure(struct cli *cli, const struct args *args, kiln_config **ret, kiln_error *err)
{
	const char *file = args_value(args, OPT_CONFIG);
	kiln_config *config = NULL;
	const char *firecracker = args_value(args, OPT_FROM_FIRECRACKER);
	const char *cloud = args_value(args, OPT_FROM_CLOUD_HYPERVISOR);
	const char *foreign = firecracker ? firecracker : cloud;
	int r;

	if (firecracker && cloud)
		r = kiln__fail(err, KILN_EINVAL, "there is --from-firecracker already");
	else if (file && foreign)
		r = kiln__fail(err, KILN_EINVAL, "--from-%s: there is --config already",
			       cloud ? "cloud-hypervisor" : "firecracker");
	else if (firecracker)
		r = from_firecracker(firecracker, &config, err);
	else if (cloud)
		r = from_cloud_hypervisor(cloud, &config, err);
	else
		r = file ? kiln_config_load(file, &config, err) : kiln_config_new(&config, err);
	if (r < 0 && file && !foreign) {
		kiln__prefix(err, "--config");
		kiln__hint(err, "\"kiln schema\" prints what such a file holds");
	}
	for (size_t i = 0; r == 0 && i < args->given_count; i++)
		r = enter(config, &args->given[i], err);
	if (r == 0)
		r = enter_command(cli, config, args, err);
	if (r == 0 && wants_network(config, args))
		r = set_network(config, "user", err);
	if (r < 0) {
		kiln_config_free(config);
		return r;
	}
	*ret = config;
	return 0;
}
