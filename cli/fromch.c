/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --from-cloud-hypervisor: a command line of Cloud Hypervisor's, in a file as a shell has it, as
 * one of kiln's configurations. What kiln has a key for becomes that, as with --from-firecracker;
 * the rest goes into cloud_hypervisor.config, in the words of its API, which are nearly those of
 * its options. Gone are what kiln sets up itself: the API's socket, the events, the log, the vsock
 * device's socket, and consoles on the terminal. What is none of these is refused by name.
 */
#include "cli.h"

#include "cleanup.h"
#include "err.h"
#include "os.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILE  65536 /* bytes */
#define MAX_WORDS 1024
#define OPTION    "--from-cloud-hypervisor"

/* --- words, as a shell tells them apart ------------------------------------------------------ */

struct words {
	char *text; /* all of them, each with a NUL behind */
	char *at[MAX_WORDS];
	size_t count;
};

/* Takes one quoted part, or one byte: *from is moved. False: a quote does not end. */
static bool take_part(const char **from, char **to)
{
	char quote = **from;

	if (quote == '\\') {
		++*from;
		if (**from && **from != '\n')
			*(*to)++ = **from;
		*from += **from != '\0';
		return true;
	}
	if (quote != '\'' && quote != '"') {
		*(*to)++ = *(*from)++;
		return true;
	}
	for (++*from; **from && **from != quote; ++*from) {
		if (quote == '"' && **from == '\\' && strchr("\"\\$`", (*from)[1]) && (*from)[1])
			++*from;
		*(*to)++ = **from;
	}
	if (!**from)
		return false;
	++*from;
	return true;
}

static int split_words(const char *file, const char *text, struct words *ret, kiln_error *err)
{
	char *to = ret->text = malloc(strlen(text) + 2);

	if (!to)
		return kiln__fail_nomem(err);
	for (const char *from = text; *from;) {
		if (strchr(" \t\r\n", *from)) {
			from++;
			continue;
		}
		if (*from == '\\' && from[1] == '\n') {
			from += 2;
			continue;
		}
		if (*from == '#') {
			from += strcspn(from, "\n");
			continue;
		}
		if (ret->count == MAX_WORDS)
			return kiln__fail(err, KILN_EINVAL, OPTION ": %s: too many words", file);
		ret->at[ret->count++] = to;
		while (*from && !strchr(" \t\r\n", *from))
			if (!take_part(&from, &to))
				return kiln__fail(err, KILN_EINVAL,
						  OPTION ": %s: a quote does not end", file);
		*to++ = '\0';
	}
	return 0;
}

/* --- values ---------------------------------------------------------------------------------- */

static bool is_one_of(const char *word, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(word, *list) == 0)
			return true;
	return false;
}

static json_t *scalar(const char *key, const char *text)
{
	static const char *const texts[] = {"id",     "path",        "file", "socket",        "tag",
					    "serial", "uuid",        "tap",  "serial_number", "src",
					    "access", "oem_strings", NULL};
	static const char *const sizes[] = {"size", "hotplug_size", "hotplugged_size",
					    "hugepage_size", NULL};
	size_t digits = strspn(text, "0123456789");
	uint64_t bytes;

	if (is_one_of(key, texts))
		return json_string(text);
	if (is_one_of(key, sizes) && digits && parse_size_of(key, text, &bytes, NULL) == 0)
		return json_integer((json_int_t)bytes);
	if (strcmp(text, "on") == 0 || strcmp(text, "true") == 0)
		return json_true();
	if (strcmp(text, "off") == 0 || strcmp(text, "false") == 0)
		return json_false();
	if (digits && !text[digits] && digits < 18)
		return json_integer((json_int_t)strtoull(text, NULL, 10));
	return json_string(text);
}

/* How long the value at @text is: up to a comma outside of brackets. */
static size_t value_length(const char *text)
{
	int depth = 0;
	size_t len = 0;

	for (; text[len] && (depth || text[len] != ','); len++)
		depth += (text[len] == '[') - (text[len] == ']');
	return len;
}

/* "[1,3-5]" or "[a,b]" */
static json_t *list_value(const char *key, char *text)
{
	json_t *list = json_array();
	char *rest = NULL;

	text[strlen(text) - 1] = '\0';
	for (char *part = strtok_r(text + 1, ",", &rest); part; part = strtok_r(NULL, ",", &rest)) {
		unsigned from;
		unsigned to;

		if (sscanf(part, "%5u-%5u", &from, &to) != 2 || strcmp(key, "oem_strings") == 0)
			json_array_append_new(list, scalar(key, part));
		else
			for (; from <= to; from++)
				json_array_append_new(list, json_integer(from));
	}
	return list;
}

/* "bw_size" and its kin are in an object of their own; "socket" of some has another name. */
static void put(json_t *object, const char *option, const char *key, json_t *value)
{
	static const struct {
		const char *option, *key, *name;
	} names[] = {
		{"disk", "socket", "vhost_socket"},
		{"net", "socket", "vhost_socket"},
		{"cpus", "boot", "boot_vcpus"},
		{"cpus", "max", "max_vcpus"},
		{"platform", "iommu_address_width", "iommu_address_width_bits"},
	};
	bool bandwidth = strncmp(key, "bw_", 3) == 0;
	json_t *limiter;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i].option, option) == 0 && strcmp(names[i].key, key) == 0)
			key = names[i].name;
	if (!bandwidth && strncmp(key, "ops_", 4) != 0) {
		json_object_set_new(object, key, value);
		return;
	}
	limiter = json_object_get(object, "rate_limiter_config");
	if (!limiter) {
		limiter = json_object();
		json_object_set_new(object, "rate_limiter_config", limiter);
	}
	if (!json_object_get(limiter, bandwidth ? "bandwidth" : "ops"))
		json_object_set_new(limiter, bandwidth ? "bandwidth" : "ops", json_object());
	json_object_set_new(json_object_get(limiter, bandwidth ? "bandwidth" : "ops"),
			    key + (bandwidth ? 3 : 4), value);
}

/* "key=value,..." as an object. */
static int parse_pairs(const char *option, const char *text, json_t **ret, kiln_error *err)
{
	json_t *object = json_object();

	while (*text) {
		size_t key_len = strcspn(text, "=,");
		kiln__autofree char *key = strndup(text, key_len);
		kiln__autofree char *value = NULL;
		size_t len;

		if (text[key_len] != '=' || !key) {
			json_decref(object);
			return kiln__fail(err, KILN_EINVAL,
					  OPTION ": --%s: '%.80s' is no KEY=VALUE", option, text);
		}
		text += key_len + 1;
		len = value_length(text);
		value = strndup(text, len);
		if (value && *value == '[' && value[len - 1] == ']' && !strchr(value + 1, '['))
			put(object, option, key, list_value(key, value));
		else
			put(object, option, key, scalar(key, value ? value : ""));
		text += len + (text[len] == ',');
	}
	*ret = object;
	return 0;
}

/* --- options --------------------------------------------------------------------------------- */

struct migration {
	json_t *document; /* kiln's */
	json_t *own;      /* cloud_hypervisor.config */
	json_t *disks;    /* as Cloud Hypervisor has them, until all is known */
	char *root;       /* what the command line says */
};

static void move(json_t *from, const char *name, json_t *to, const char *key)
{
	json_t *value = json_object_get(from, name);

	if (value)
		json_object_set(to, key, value);
	json_object_del(from, name);
}

static json_t *own_list(struct migration *m, const char *name)
{
	if (!json_object_get(m->own, name))
		json_object_set_new(m->own, name, json_array());
	return json_object_get(m->own, name);
}

static int take_cpus(struct migration *m, json_t *cpus, kiln_error *err)
{
	const char *topology = json_string_value(json_object_get(cpus, "topology"));
	int parts[4];

	move(cpus, "boot_vcpus", m->document, "cpus");
	if (json_object_get(cpus, "affinity"))
		return kiln__fail(err, KILN_ENOTSUP,
				  OPTION ": --cpus affinity: say it in cloud_hypervisor.config");
	if (topology &&
	    sscanf(topology, "%d:%d:%d:%d", &parts[0], &parts[1], &parts[2], &parts[3]) == 4)
		json_object_set_new(cpus, "topology",
				    json_pack("{s:i, s:i, s:i, s:i}", "threads_per_core", parts[0],
					      "cores_per_die", parts[1], "dies_per_package",
					      parts[2], "packages", parts[3]));
	if (json_is_string(json_object_get(cpus, "features")))
		json_object_set_new(cpus, "features", json_pack("{s:b}", "amx", 1));
	json_object_set(m->own, "cpus", cpus);
	return 0;
}

static int take_memory(struct migration *m, json_t *memory, kiln_error *err)
{
	json_int_t size = json_integer_value(json_object_get(memory, "size"));

	(void)err;
	if (size)
		json_object_set_new(m->document, "memory", json_integer(size));
	json_object_del(memory, "size");
	if (!json_object_get(m->own, "memory"))
		json_object_set_new(m->own, "memory", json_object());
	json_object_update(json_object_get(m->own, "memory"), memory);
	return 0;
}

static int take_zone(struct migration *m, json_t *zone, kiln_error *err)
{
	json_t *memory = json_object_get(m->own, "memory");

	(void)err;
	if (!memory) {
		memory = json_object();
		json_object_set_new(m->own, "memory", memory);
	}
	if (!json_object_get(memory, "zones"))
		json_object_set_new(memory, "zones", json_array());
	json_array_append(json_object_get(memory, "zones"), zone);
	return 0;
}

static int take_net(struct migration *m, json_t *net, kiln_error *err)
{
	json_t *networks = json_object_get(m->document, "networks");
	json_t *network = json_pack("{s:s}", "kind", "tap");

	if (!json_object_get(net, "tap")) {
		json_decref(network);
		kiln__fail(err, KILN_ENOTSUP, OPTION ": --net: kiln needs a TAP interface by name");
		return kiln__hint(err, "make one (ip tuntap add), and write tap=NAME"),
		       KILN_ENOTSUP;
	}
	move(net, "tap", network, "interface");
	move(net, "mac", network, "mac");
	json_object_set_new(net, "id", json_sprintf("net%zu", json_array_size(networks)));
	json_array_append_new(networks, network);
	if (json_object_size(net) > 1)
		json_array_append(own_list(m, "net"), net);
	return 0;
}

static int take_vsock(struct migration *m, json_t *vsock, kiln_error *err)
{
	json_t *ours = json_object();

	(void)err;
	move(vsock, "cid", ours, "cid");
	json_object_set_new(m->document, "vsock", ours);
	json_object_del(vsock, "socket");
	if (json_object_size(vsock))
		json_object_set(m->own, "vsock", vsock);
	return 0;
}

static int take_balloon(struct migration *m, json_t *balloon, kiln_error *err)
{
	(void)err;
	json_object_set_new(m->document, "balloon", json_true());
	json_object_set(m->own, "balloon", balloon);
	return 0;
}

static int take_disk(struct migration *m, json_t *disk, kiln_error *err)
{
	(void)err;
	json_array_append(m->disks, disk);
	return 0;
}

/* Of each the section of VmConfig: an object, or a list that one is appended to. */
static const struct {
	const char *option;
	const char *section;
	bool list;
	int (*take)(struct migration *m, json_t *value, kiln_error *err);
} sections[] = {
	{"cpus", NULL, false, take_cpus},
	{"memory", NULL, false, take_memory},
	{"memory-zone", NULL, true, take_zone},
	{"disk", NULL, true, take_disk},
	{"net", NULL, true, take_net},
	{"vsock", NULL, false, take_vsock},
	{"balloon", NULL, false, take_balloon},
	{"rng", "rng", false, NULL},
	{"platform", "platform", false, NULL},
	{"tpm", "tpm", false, NULL},
	{"fs", "fs", true, NULL},
	{"pmem", "pmem", true, NULL},
	{"device", "devices", true, NULL},
	{"user-device", "user_devices", true, NULL},
	{"vdpa", "vdpa", true, NULL},
	{"generic-vhost-user", "generic_vhost_user", true, NULL},
	{"pci-segment", "pci_segments", true, NULL},
	{"landlock-rules", "landlock_rules", true, NULL},
	{"rate-limit-group", "rate_limit_groups", true, NULL},
};

/* One value of an option with pairs; 1: there is no such option. */
static int take_section(struct migration *m, const char *option, const char *text, kiln_error *err)
{
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		json_t *value = NULL;
		int r;

		if (strcmp(sections[i].option, option) != 0)
			continue;
		r = parse_pairs(option, text, &value, err);
		if (r < 0)
			return r;
		if (sections[i].take)
			r = sections[i].take(m, value, err);
		else if (sections[i].list)
			json_array_append(own_list(m, sections[i].section), value);
		else
			json_object_set(m->own, sections[i].section, value);
		json_decref(value);
		return r;
	}
	return 1;
}

/* What stands on a terminal is where kiln looks; files and sockets are not. */
static int take_console(const char *option, const char *value, kiln_error *err)
{
	static const char *const ours[] = {"tty", "off", "null", "pty", NULL};

	if (is_one_of(value, ours))
		return 0;
	kiln__fail(err, KILN_ENOTSUP, OPTION ": --%s %s: kiln keeps the console itself", option,
		   value);
	return kiln__hint(err, "leave it out: \"kiln logs --console\" shows it"), KILN_ENOTSUP;
}

static void take_cmdline(struct migration *m, const char *text)
{
	const char *root = strstr(text, "root=");

	free(m->root);
	m->root = root ? strndup(root + 5, strcspn(root + 5, " ")) : NULL;
	from_boot_args(m->document, text);
}

static int take_value(struct migration *m, const char *option, const char *value, kiln_error *err)
{
	static const char *const dropped[] = {"api-socket", "event-monitor", "log-file", NULL};
	int r;

	if (is_one_of(option, dropped))
		return 0;
	if (strcmp(option, "serial") == 0 || strcmp(option, "console") == 0)
		return take_console(option, value, err);
	if (strcmp(option, "kernel") == 0)
		return json_object_set_new(m->document, "kernel", json_string(value));
	if (strcmp(option, "initramfs") == 0)
		return json_object_set_new(m->document, "initrd", json_string(value));
	if (strcmp(option, "cmdline") == 0)
		return take_cmdline(m, value), 0;
	if (strcmp(option, "firmware") == 0) {
		json_object_set_new(m->document, "firmware", json_string("uefi"));
		return json_object_set_new(m->own, "payload",
					   json_pack("{s:s}", "firmware", value));
	}
	r = take_section(m, option, value, err);
	if (r <= 0)
		return r;
	kiln__fail(err, KILN_ENOTSUP, OPTION ": --%.40s: kiln has nothing for it", option);
	return kiln__hint(err, "what its API has for it can be said in cloud_hypervisor.config"),
	       KILN_ENOTSUP;
}

static bool take_flag(struct migration *m, const char *option)
{
	static const struct {
		const char *option, *field;
	} flags[] = {
		{"watchdog", "watchdog"}, {"pvpanic", "pvpanic"}, {"landlock", "landlock_enable"}};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (strcmp(flags[i].option, option) == 0) {
			json_object_set_new(m->own, flags[i].field, json_true());
			return true;
		}
	return false;
}

static int take_words(struct migration *m, const struct words *words, kiln_error *err)
{
	const char *option = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < words->count; i++) {
		char *word = words->at[i];
		char *equals;

		if (word[0] == '-' && word[1] == 'v' && strspn(word + 1, "v") == strlen(word + 1))
			continue;
		if (strncmp(word, "--", 2) != 0) {
			if (option)
				r = take_value(m, option, word, err);
			else if (i) /* the first is the program's name */
				r = kiln__fail(err, KILN_EINVAL, OPTION ": '%.80s' is no option",
					       word);
			continue;
		}
		option = word + 2;
		equals = strchr(word, '=');
		if (equals)
			*equals = '\0';
		if (take_flag(m, option))
			option = NULL;
		else if (equals)
			r = take_value(m, option, equals + 1, err);
	}
	return r;
}

/* --- disks: which of them is the root, the command line says -----------------------------------
 */

static int root_number(const struct migration *m, kiln_error *err)
{
	if (!m->root || json_object_get(m->document, "firmware"))
		return -1;
	if (strncmp(m->root, "/dev/vd", 7) == 0 && m->root[7] >= 'a' && m->root[7] <= 'z' &&
	    !m->root[8] && (size_t)(m->root[7] - 'a') < json_array_size(m->disks))
		return m->root[7] - 'a';
	kiln__fail(err, KILN_ENOTSUP, OPTION ": --cmdline root=%.40s: kiln's root is a whole disk",
		   m->root);
	return kiln__hint(err, "take an image of the file system alone, or boot by firmware"),
	       KILN_ENOTSUP;
}

static void place_disk(struct migration *m, json_t *disk, bool root)
{
	json_t *disks = json_object_get(m->document, "disks");
	json_t *ours = json_object();

	json_object_set_new(disk, "id",
			    root ? json_string("root")
				 : json_sprintf("disk%zu", json_array_size(disks)));
	move(disk, "path", ours, root ? "disk" : "path");
	move(disk, "readonly", ours, "readonly");
	if (!root && json_is_true(json_object_get(disk, "direct")))
		json_object_set_new(ours, "cache", json_string("none"));
	json_object_del(disk, "direct");
	if (root) {
		json_object_del(disk, "serial"); /* by which the guest finds it */
		json_object_set_new(ours, "overlay", json_pack("{s:s}", "kind", "none"));
		json_object_set_new(m->document, "root", ours);
	} else {
		move(disk, "serial", ours, "serial");
		json_array_append_new(disks, ours);
	}
	if (json_object_size(disk) > 1)
		json_array_append(own_list(m, "disks"), disk);
}

static int place_disks(struct migration *m, kiln_error *err)
{
	int root = root_number(m, err);
	json_t *disk;
	size_t i;

	if (root < -1)
		return root;
	json_array_foreach (m->disks, i, disk)
		place_disk(m, disk, (int)i == root);
	return 0;
}

static int finish(struct migration *m, kiln_config **ret, kiln_error *err)
{
	kiln__autofree char *text = NULL;
	const char *name;
	json_t *section;
	void *next;

	json_object_foreach_safe(m->own, next, name, section) if (json_is_object(section) &&
								  json_object_size(section) == 0)
		json_object_del(m->own, name);
	if (json_object_size(m->own)) {
		kiln__autofree char *own = json_dumps(m->own, JSON_COMPACT);

		json_object_set_new(m->document, "cloud_hypervisor",
				    json_pack("{s:s*}", "config", own));
	}
	text = json_dumps(m->document, JSON_COMPACT);
	return text ? kiln_config_parse(text, strlen(text), ret, err) : kiln__fail_nomem(err);
}

int from_cloud_hypervisor(const char *file, kiln_config **ret, kiln_error *err)
{
	struct migration m = {
		.document = json_pack("{s:s, s:[], s:[]}", "backend", "cloud-hypervisor", "disks",
				      "networks"),
		.own = json_object(),
		.disks = json_array(),
	};
	struct words *words = calloc(1, sizeof(*words));
	kiln__autofree char *text = NULL;
	size_t len;
	int r = words ? kiln__os_read_file(file, MAX_FILE, &text, &len, err)
		      : kiln__fail_nomem(err);

	if (r < 0 && words)
		kiln__prefix(err, OPTION);
	if (r == 0)
		r = split_words(file, text, words, err);
	if (r == 0)
		r = take_words(&m, words, err);
	if (r == 0)
		r = place_disks(&m, err);
	if (r == 0 && (r = finish(&m, ret, err)) < 0)
		kiln__prefix(err, OPTION);
	if (words)
		free(words->text);
	free(words);
	free(m.root);
	json_decref(m.document);
	json_decref(m.own);
	json_decref(m.disks);
	return r;
}
