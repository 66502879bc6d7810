/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image as a machine's root: found or pulled, and what its configuration says of the process put
 * in wherever the command line has not said otherwise, by docker's rules. What the machine's own
 * configuration then names is the image by its digest: it boots the same tomorrow.
 */
#include "cli.h"

#include "buf.h"
#include "err.h"
#include "home.h"
#include "images.h"
#include "os.h"
#include "resolve.h"
#include "store.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

KILN__DEFINE_AUTOPTR(json_t, json_decref)
#define autojson kiln__cleanup(json_decref_autop) json_t

/* --- the store ----------------------------------------------------------------- */

static void on_progress(void *data, const char *text)
{
	tell(data, "%s", text);
}

int open_images(struct cli *cli, struct kiln__images *ret, kiln_error *err)
{
	struct kiln__home home = {0};
	struct kiln__cache *cache = NULL;
	int r = kiln__home_init(&home, NULL, NULL, NULL, err);

	if (r < 0)
		return r;
	r = kiln__resolve_cache(&home, &cache, err);
	kiln__home_done(&home);
	if (r == 0)
		*ret = (struct kiln__images){.cache = cache, .progress = on_progress, .data = cli};
	return r;
}

void close_images(struct kiln__images *images)
{
	kiln__cache_free((struct kiln__cache *)(uintptr_t)images->cache);
	images->cache = NULL;
}

/* --- progress ------------------------------------------------------------------ */

#define BAR_MAX 40

void show_transfer(void *data, const struct kiln__transfer *transfer)
{
	struct cli *cli = data;
	struct winsize size = {.ws_col = 80};
	char bar[BAR_MAX + 1];
	char have[32];
	char total[32];
	int width;
	int full;

	if (!cli->bar || !transfer->total)
		return;
	ioctl(STDERR_FILENO, TIOCGWINSZ, &size);
	width = size.ws_col > 60 ? size.ws_col - 50 : 10;
	if (width > BAR_MAX)
		width = BAR_MAX;
	full = (int)((double)width * (double)transfer->bytes / (double)transfer->total);
	if (full > width)
		full = width;
	memset(bar, '#', (size_t)full);
	memset(bar + full, '.', (size_t)(width - full));
	bar[width] = '\0';
	fprintf(stderr, "\r\033[K[%s] %s of %s, layer %u of %u", bar,
		format_bytes(transfer->bytes, have, sizeof(have)),
		format_bytes(transfer->total, total, sizeof(total)), transfer->layers_done,
		transfer->layers);
	cli->drawn = true;
	if (transfer->bytes == transfer->total && transfer->layers_done == transfer->layers) {
		fputs("\r\033[K", stderr);
		cli->drawn = false;
	}
	fflush(stderr);
}

int parse_platform(const char *text, const char **ret_arch, kiln_error *err)
{
	static const struct {
		const char *name;
		const char *arch;
	} known[] = {
		{"amd64", "x86_64"},    {"x86_64", "x86_64"},    {"arm64", "aarch64"},
		{"aarch64", "aarch64"}, {"arm64/v8", "aarch64"},
	};
	const char *arch = strncmp(text, "linux/", 6) == 0 ? text + 6 : text;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].name, arch) == 0) {
			*ret_arch = known[i].arch;
			return 0;
		}
	kiln__fail(err, KILN_EINVAL, "--platform cannot be \"%.40s\"", text);
	kiln__hint(err, "it can be linux/amd64 or linux/arm64");
	return KILN_EINVAL;
}

static enum kiln__pull_policy policy_of(const struct args *args)
{
	if (args_is(args, OPT_PULL, "always"))
		return KILN__PULL_ALWAYS;
	return args_is(args, OPT_PULL, "never") ? KILN__PULL_NEVER : KILN__PULL_MISSING;
}

/* --- what the image says --------------------------------------------------------- */

/* The configuration's object at @key; an empty one if there is none. A new reference. */
static json_t *object_at(const kiln_config *config, const char *key)
{
	const char *text;
	json_t *object = NULL;

	if (kiln_config_get(config, key, &text, NULL) == 0)
		object = json_loads(text, JSON_DECODE_ANY, NULL);
	if (json_is_object(object))
		return object;
	json_decref(object);
	return json_object();
}

/* What the image sets stays unless the user has set the same. */
static void merge_env(json_t *process, const json_t *list)
{
	json_t *env = json_object_get(process, "env");
	const json_t *item;
	size_t i;

	if (!json_array_size(list))
		return;
	if (!env) {
		env = json_object();
		json_object_set_new(process, "env", env);
	}
	json_array_foreach (list, i, item) {
		const char *pair = json_string_value(item);
		size_t len = pair ? strcspn(pair, "=") : 0;
		kiln__autofree char *name = len ? strndup(pair, len) : NULL;

		if (name && !json_object_get(env, name))
			json_object_set_new(env, name,
					    json_string(pair[len] ? pair + len + 1 : ""));
	}
}

/* A label whose name the configuration does not know is only seen by "kiln image inspect". */
static void merge_labels(kiln_config *config, const json_t *from)
{
	const char *key;
	json_t *value;
	autojson *labels = json_object_size(from) ? object_at(config, "labels") : NULL;

	json_object_foreach ((json_t *)from, key, value) {
		kiln__autofree char *pair = NULL;

		if (json_object_get(labels, key))
			continue;
		pair = kiln__strf("%s=%s", key, json_string_value(value));
		if (pair)
			kiln_config_set(config, "labels[]", pair, NULL);
	}
}

/* A new entrypoint takes the image's command away with its entrypoint; a command takes the command.
 */
static void merge_command(const struct args *args, bool commanded, json_t *process,
			  const json_t *image)
{
	json_t *entrypoint = json_object_get(image, "entrypoint");
	json_t *command = json_object_get(image, "cmd");

	if (args_has(args, OPT_ENTRYPOINT) || json_object_get(process, "entrypoint"))
		return;
	if (json_array_size(entrypoint))
		json_object_set(process, "entrypoint", entrypoint);
	if (!commanded && !json_object_get(process, "args") && json_array_size(command))
		json_object_set(process, "args", command);
}

static void merge_text(json_t *process, const char *key, const char *prefix, const char *text)
{
	kiln__autofree char *value = text && *text ? kiln__strf("%s%s", prefix, text) : NULL;

	if (value && !json_object_get(process, key))
		json_object_set_new(process, key, json_string(value));
}

/* "80/tcp", "53/udp", "8080": each on a free port. */
static int publish(kiln_config *config, const json_t *ports, kiln_error *err)
{
	const json_t *item;
	size_t i;
	int r = 0;

	json_array_foreach (ports, i, item) {
		const char *text = json_string_value(item);
		kiln__autofree char *port = text ? strndup(text, strcspn(text, "/")) : NULL;
		bool udp = text && strstr(text, "/udp");
		autojson *object = port ? json_pack("{s:i, s:s}", "guest_port", atoi(port),
						    "protocol", udp ? "udp" : "tcp")
					: NULL;
		kiln__autofree char *value = object ? json_dumps(object, JSON_COMPACT) : NULL;

		r = value ? kiln_config_set(config, "ports[]", value, err) : kiln__fail_nomem(err);
		if (r < 0)
			break;
	}
	return r;
}

static int merge(const struct args *args, bool commanded, kiln_config *config, const json_t *image,
		 kiln_error *err)
{
	const char *cwd = json_string_value(json_object_get(image, "cwd"));
	autojson *process = object_at(config, "process");
	kiln__autofree char *text = NULL;
	int r = 0;

	merge_labels(config, json_object_get(image, "labels"));
	merge_env(process, json_object_get(image, "env"));
	merge_command(args, commanded, process, image);
	merge_text(process, "cwd", cwd && cwd[0] != '/' ? "/" : "", cwd);
	merge_text(process, "user", "", json_string_value(json_object_get(image, "user")));
	text = json_dumps(process, JSON_COMPACT);
	if (!text)
		return kiln__fail_nomem(err);
	if (json_object_size(process))
		r = kiln_config_set(config, "process", text, err);
	if (r == 0 && args_has(args, OPT_PUBLISH_ALL))
		r = publish(config, json_object_get(image, "ports"), err);
	return r;
}

/* NAME@DIGEST */
static int set_root(kiln_config *config, const struct kiln__image *image, kiln_error *err)
{
	const char *digest = strchr(image->name, '@');
	kiln__autofree char *pinned = kiln__strf(
		"%.*s@%s", (int)(digest ? digest - image->name : (int)strlen(image->name)),
		image->name, image->digest);

	return pinned ? kiln_config_set(config, "root.image", pinned, err) : kiln__fail_nomem(err);
}

int configure_image(struct cli *cli, const struct args *args, const char *name, bool commanded,
		    kiln_config *config, kiln_error *err)
{
	struct kiln__image_request request = {
		.reference = name,
		.pull = policy_of(args),
		.brief = true,
		.transfer = show_transfer,
		.data = cli,
	};
	kiln__autofree char *arch = NULL;
	struct kiln__images images = {0};
	struct kiln__image image;
	const char *text;
	int r = open_images(cli, &images, err);

	if (r < 0)
		return r;
	if (kiln_config_get(config, "arch", &text, NULL) == 0)
		arch = strdup(text);
	request.arch = arch ? arch : kiln__os_arch();
	r = kiln__image_get(&images, &request, &image, err);
	close_images(&images);
	if (r < 0)
		return r;
	r = set_root(config, &image, err);
	if (r == 0)
		r = merge(args, commanded, config, json_object_get(image.about, "process"), err);
	if (r < 0)
		kiln__prefix(err, "%s", image.name);
	kiln__image_done(&image);
	return r;
}
