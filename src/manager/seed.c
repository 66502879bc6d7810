/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents are YAML to cloud-init, and JSON to us: JSON is YAML, so that quoting is jansson's
 * business and no value can become a key, a tag or a line of its own. Where the two differ (YAML
 * has fewer characters, and joins what JSON's escapes of surrogates say) the schema's checks let
 * nothing through (check_seed.c), and all is written as UTF-8, not by escapes.
 *
 * What a shell reads of it is quoted by single quotes (env) or is a shell's line by its nature
 * (commands). The agent is installed by a script without any value in it, in the vendor-data, so
 * that a user-data of somebody's own stays as it is.
 */
#include "seed.h"

#include "agent_install.h"
#include "buf.h"
#include "err.h"
#include "os.h"
#include "seedimage.h"
#include "source.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE ((uint64_t)16 << 20)

#define ENV_FILE "/etc/profile.d/50-kiln-env.sh"

const char *const kiln__seed_names[KILN__SEED_FILES] = {
	[KILN__SEED_META] = "meta-data",
	[KILN__SEED_USER] = "user-data",
	[KILN__SEED_VENDOR] = "vendor-data",
	[KILN__SEED_NETWORK] = "network-config",
};

bool kiln__seed_has_agent(const struct kiln__spec *spec)
{
	/* A guest whose kernel kiln boots has it from the start. */
	return spec->seed.agent && spec->vsock && spec->firmware != KILN__FIRMWARE_NONE;
}

/* --- JSON ----------------------------------------------------------------------------- */

/* A failed allocation leaves a NULL in what is built, which put() and pack notice. */
static json_t *strings(const char *const *texts)
{
	json_t *list = json_array();

	for (; texts && *texts; texts++)
		if (json_array_append_new(list, json_string(*texts)) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

/* Takes @value; an empty list or object is left out. False when out of memory. */
static bool put(json_t *object, const char *key, json_t *value)
{
	if (value && json_is_array(value) && json_array_size(value) == 0) {
		json_decref(value);
		return true;
	}
	return json_object_set_new(object, key, value) == 0;
}

static bool append(json_t *list, json_t *value)
{
	return json_array_append_new(list, value) == 0;
}

static int on_dumped(const char *bytes, size_t len, void *data)
{
	struct kiln__buf *text = data;

	kiln__buf_add(text, bytes, len);
	return 0;
}

/*
 * Takes @document. By a buffer of our own, which remembers that it once had no room: json_dumps()
 * of jansson 2.14 leaves a key out where its does not.
 */
static int print(json_t *document, const char *header, char **ret, size_t *ret_len, kiln_error *err)
{
	kiln__autobuf text = KILN__BUF_INIT;
	int failed;

	kiln__buf_adds(&text, header);
	failed = !document || json_dump_callback(document, on_dumped, &text, JSON_INDENT(1));
	json_decref(document);
	kiln__buf_adds(&text, "\n");
	if (failed || text.failed)
		return kiln__fail_nomem(err);
	*ret_len = text.len;
	*ret = kiln__buf_steal(&text);
	return *ret ? 0 : kiln__fail_nomem(err);
}

/* --- user-data ---------------------------------------------------------------------------- */

static json_t *user(const struct kiln__seed_user *user)
{
	json_t *object = json_pack("{s:s, s:b}", "name", user->name, "lock_passwd", 1);
	bool good = object && put(object, "ssh_authorized_keys", strings(user->ssh_keys)) &&
		    put(object, "groups", strings(user->groups));

	if (good && user->shell)
		good = put(object, "shell", json_string(user->shell));
	if (good && user->sudo)
		good = put(object, "sudo", json_string("ALL=(ALL) NOPASSWD:ALL"));
	if (good)
		return object;
	json_decref(object);
	return NULL;
}

static bool add_users(json_t *document, const struct kiln__seed *seed)
{
	json_t *users = json_array();
	bool good = append(users, json_string("default"));

	if (!seed->user_count) {
		json_decref(users);
		return true; /* the image's own, as it would be without a word */
	}
	for (size_t i = 0; good && i < seed->user_count; i++)
		good = append(users, user(&seed->users[i]));
	if (good)
		return put(document, "users", users);
	json_decref(users);
	return false;
}

/*
 * /etc/fstab has one line for each, in which a blank would begin the next field: none gets here.
 * What is on a device is checked, after the root.
 */
static json_t *mount_line(const char *source, const char *path, const char *fstype,
			  const char *options)
{
	const char *pass = strcmp(fstype, "virtiofs") == 0 ? "0" : "2";

	return json_pack("[s,s,s,s,s,s]", source, path, fstype, options, "0", pass);
}

/* A share is no device, on which a file system could be looked for. */
static const char *type_of(const struct kiln__spec *spec, const struct kiln__seed_mount *mount)
{
	char tag[KILN__TAG_MAX];

	for (size_t i = 0; strcmp(mount->fstype, "auto") == 0 && i < spec->share_count; i++)
		if (strcmp(kiln__spec_share_tag(spec, i, tag), mount->source) == 0)
			return "virtiofs";
	return mount->fstype;
}

static bool add_mounts(json_t *document, const struct kiln__spec *spec)
{
	json_t *mounts = json_array();
	char source[64];
	bool good = mounts != NULL;

	for (size_t i = 0; good && i < spec->seed.mount_count; i++) {
		const struct kiln__seed_mount *m = &spec->seed.mounts[i];

		good = append(mounts, mount_line(m->source, m->path, type_of(spec, m), m->options));
	}
	/* Where no agent of ours mounts volumes the guest's own init does. */
	for (size_t i = 0; good && i < spec->volume_count && spec->firmware; i++) {
		const struct kiln__volume *volume = &spec->volumes[i];

		snprintf(source, sizeof(source),
			 "/dev/disk/by-id/virtio-" KILN__VOLUME_SERIAL "%zu", i);
		good = append(mounts,
			      mount_line(source, volume->path, "ext4",
					 volume->readonly ? "ro,nofail"
							  : "defaults,nofail,x-systemd.growfs"));
	}
	if (good)
		return put(document, "mounts", mounts);
	json_decref(mounts);
	return false;
}

/* NAME='value', where a single quote of the value is '\''. */
static void add_assignment(struct kiln__buf *file, const char *pair)
{
	size_t name = strcspn(pair, "=");

	kiln__buf_adds(file, "export ");
	kiln__buf_add(file, pair, name);
	kiln__buf_adds(file, "='");
	for (const char *c = pair + name + 1; *c; c++) {
		if (*c == '\'')
			kiln__buf_adds(file, "'\\''");
		else
			kiln__buf_addc(file, *c);
	}
	kiln__buf_adds(file, "'\n");
}

static bool add_env(json_t *document, const char *const *env)
{
	kiln__autobuf file = KILN__BUF_INIT;
	json_t *files;

	if (!env)
		return true;
	for (; *env; env++)
		add_assignment(&file, *env);
	files = file.failed ? NULL
			    : json_pack("[{s:s, s:s, s:s}]", "path", ENV_FILE, "permissions",
					"0644", "content", file.data);
	return put(document, "write_files", files);
}

/* cloud-init makes one script of them: what the first sets holds for the others. */
static bool add_commands(json_t *document, const struct kiln__seed *seed)
{
	json_t *commands = json_array();
	bool good = commands != NULL;

	if (good && seed->env && seed->commands)
		good = append(commands, json_string(". " ENV_FILE));
	for (const char *const *at = seed->commands; good && at && *at; at++)
		good = append(commands, json_string(*at));
	if (good)
		return put(document, "runcmd", commands);
	json_decref(commands);
	return false;
}

static int make_user_data(const struct kiln__spec *spec, char **ret, size_t *ret_len,
			  kiln_error *err)
{
	const struct kiln__seed *seed = &spec->seed;
	json_t *document = json_object();
	bool good = document && add_users(document, seed) &&
		    put(document, "ssh_authorized_keys", strings(seed->ssh_keys)) &&
		    put(document, "packages", strings(seed->packages)) &&
		    add_mounts(document, spec) && add_env(document, seed->env) &&
		    add_commands(document, seed);

	if (good && seed->packages)
		good = put(document, "package_update", json_true());
	if (!good) {
		json_decref(document);
		return kiln__fail_nomem(err);
	}
	return print(document, "#cloud-config\n", ret, ret_len, err);
}

/* --- meta-data, network-config --------------------------------------------------------------- */

/*
 * Without a network nothing is waited for that needs one: cloud-init then does its work before
 * networks would be up ("dsmode: local").
 */
static int make_meta_data(const struct kiln__spec *spec, const char *id, const char *name,
			  char **ret, size_t *ret_len, kiln_error *err)
{
	const char *hostname = spec->hostname ? spec->hostname : name;

	return print(json_pack("{s:o, s:s, s:s}", "instance-id", json_sprintf("kiln-%s", id),
			       "local-hostname", hostname, "dsmode",
			       spec->network_count ? "net" : "local"),
		     "", ret, ret_len, err);
}

static bool add_routes(json_t *object, const char *const *gateways)
{
	json_t *routes = json_array();
	bool good = routes != NULL;

	for (; good && gateways && *gateways; gateways++)
		good = append(routes, json_pack("{s:s, s:s}", "to",
						strchr(*gateways, ':') ? "::/0" : "0.0.0.0/0",
						"via", *gateways));
	if (good)
		return put(object, "routes", routes);
	json_decref(routes);
	return false;
}

static bool add_nameservers(json_t *object, const struct kiln__seed_interface *interface)
{
	json_t *servers;

	if (!interface->dns && !interface->search)
		return true;
	servers = json_object();
	if (servers && put(servers, "addresses", strings(interface->dns)) &&
	    put(servers, "search", strings(interface->search)))
		return put(object, "nameservers", servers);
	json_decref(servers);
	return false;
}

/* Known by its address and given a name, since what the guest would call it differs by machine. */
static json_t *interface(const uint8_t mac[6], const struct kiln__seed_interface *told,
			 const char *name)
{
	static const struct kiln__seed_interface nothing;
	json_t *object = json_pack("{s:{s:o}, s:s, s:b}", "match", "macaddress",
				   json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
						mac[2], mac[3], mac[4], mac[5]),
				   "set-name", name, "dhcp4", !told || !told->addresses);

	told = told ? told : &nothing;
	if (object && put(object, "addresses", strings(told->addresses)) &&
	    add_routes(object, told->gateways) && add_nameservers(object, told))
		return object;
	json_decref(object);
	return NULL;
}

static int make_network_config(const struct kiln__spec *spec, char **ret, size_t *ret_len,
			       kiln_error *err)
{
	const struct kiln__seed *seed = &spec->seed;
	json_t *ethernets = json_object();
	bool good = ethernets != NULL;
	char name[32];

	for (size_t i = 0; good && i < spec->network_count; i++) {
		const struct kiln__seed_interface *told =
			i < seed->interface_count ? &seed->interfaces[i] : NULL;

		snprintf(name, sizeof(name), "%s", told && told->name ? told->name : "");
		if (!name[0])
			snprintf(name, sizeof(name), "eth%zu", i);
		good = put(ethernets, name, interface(spec->networks[i].mac, told, name));
	}
	if (!good) {
		json_decref(ethernets);
		return kiln__fail_nomem(err);
	}
	return print(json_pack("{s:i, s:o}", "version", 2, "ethernets", ethernets), "", ret,
		     ret_len, err);
}

/* --- all of it ---------------------------------------------------------------------------- */

static int read_file(const struct kiln__source *source, const char *key, char **ret,
		     size_t *ret_len, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	kiln__autofree char *text = NULL;
	uint64_t offset, length;
	ssize_t n;
	int r = kiln__source_open(source, &fd, &offset, &length, err);

	if (r == 0 && length > MAX_FILE)
		r = kiln__fail(err, KILN_EOVERFLOW, "more than %d MiB", (int)(MAX_FILE >> 20));
	if (r == 0) {
		text = malloc((size_t)length + 1);
		r = text ? 0 : kiln__fail_nomem(err);
	}
	if (r < 0)
		return kiln__prefix(err, "seed.%s", key), r;
	n = kiln__os_pread_full(fd, text, (size_t)length, offset, err);
	if (n < 0)
		return kiln__prefix(err, "seed.%s", key), (int)n;
	*ret = kiln__take(text);
	*ret_len = (size_t)n;
	return 0;
}

static int make_vendor_data(char **ret, size_t *ret_len, kiln_error *err)
{
	*ret = strdup(agent_install);
	if (!*ret)
		return kiln__fail_nomem(err);
	*ret_len = strlen(*ret);
	return 0;
}

int kiln__seed_documents(const struct kiln__spec *spec, const char *id, const char *name,
			 struct kiln__seed_documents *ret, kiln_error *err)
{
	const struct kiln__seed *seed = &spec->seed;
	struct kiln__seed_documents made = {0};
#define FILE_OF(which) &made.files[which].text, &made.files[which].len
	int r;

	if (kiln__source_is_set(&seed->meta_data))
		r = read_file(&seed->meta_data, "meta_data", FILE_OF(KILN__SEED_META), err);
	else
		r = make_meta_data(spec, id, name, FILE_OF(KILN__SEED_META), err);
	if (r == 0 && kiln__source_is_set(&seed->user_data))
		r = read_file(&seed->user_data, "user_data", FILE_OF(KILN__SEED_USER), err);
	else if (r == 0)
		r = make_user_data(spec, FILE_OF(KILN__SEED_USER), err);
	if (r == 0 && kiln__source_is_set(&seed->network_config))
		r = read_file(&seed->network_config, "network_config", FILE_OF(KILN__SEED_NETWORK),
			      err);
	else if (r == 0 && spec->network_count)
		r = make_network_config(spec, FILE_OF(KILN__SEED_NETWORK), err);
	if (r == 0 && kiln__seed_has_agent(spec))
		r = make_vendor_data(FILE_OF(KILN__SEED_VENDOR), err);
#undef FILE_OF
	if (r < 0) {
		kiln__seed_documents_done(&made);
		return r;
	}
	*ret = made;
	return 0;
}

void kiln__seed_documents_done(struct kiln__seed_documents *documents)
{
	for (size_t i = 0; i < KILN__SEED_FILES; i++) {
		if (documents->files[i].text) /* passwords may be in it */
			kiln__wipe(documents->files[i].text, documents->files[i].len);
		free(kiln__take(documents->files[i].text));
	}
}

/* --- the disk ------------------------------------------------------------------------------ */

static int put_in_memory(const char *text, size_t len, kiln_fd *ret, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r = kiln__os_shared_memory(&fd, "kiln-seed", len, err);

	if (r == 0)
		r = kiln__os_pwrite_full(fd, text, len, 0, err);
	if (r == 0)
		*ret = kiln__take_fd(&fd);
	return r;
}

int kiln__seed_make(const struct kiln__seed_documents *documents, const char *guest,
		    const char *path, kiln_error *err)
{
	struct kiln__seed_entry entries[KILN__SEED_FILES + 1];
	size_t count = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < KILN__SEED_FILES; i++) {
		if (!documents->files[i].text)
			continue;
		entries[count].name = kiln__seed_names[i];
		r = put_in_memory(documents->files[i].text, documents->files[i].len,
				  &entries[count].fd, err);
		count += r == 0;
	}
	if (r == 0 && guest) {
		entries[count].name = "kiln-guest";
		r = kiln__os_open(&entries[count].fd, guest, KILN__OPEN_READ, err);
		count += r == 0;
	}
	if (r == 0)
		r = kiln__seed_image(path, entries, count, err);
	for (size_t i = 0; i < count; i++)
		kiln__os_close(entries[i].fd);
	return r;
}
