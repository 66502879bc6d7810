/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image as a machine's root: found or pulled, and what its configuration says of the process put
 * in wherever the command line has not said otherwise (imageconf.h). What the machine's own
 * configuration then names is the image by its digest: it boots the same tomorrow.
 */
#include "cli.h"

#include "err.h"
#include "home.h"
#include "homes.h"
#include "imageconf.h"
#include "images.h"
#include "os.h"
#include "resolve.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

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
	if (r == 0)
		r = kiln__homes_join(&home, cache, err);
	kiln__home_done(&home);
	if (r < 0)
		kiln__cache_free(cache);
	else
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

/* --- into a configuration ------------------------------------------------------ */

/* Archives and directories are no names: what is done with them first. */
static void hint_at_source(const char *name, kiln_error *err)
{
	enum kiln__image_source source;
	const char *rest;
	bool is_source = kiln__image_source_of(name, &source, &rest);

	if (err->code != KILN_EINVAL || (!is_source && *name != '/' && *name != '.'))
		return;
	err->hint[0] = '\0'; /* the one about how names are written */
	if (is_source)
		kiln__hint(err, "load it and give it a name: \"kiln image load %.120s NAME\"",
			   name);
	else
		kiln__hint(err, "a root directory, tar archive or squashfs goes by --rootfs");
}

int configure_image(struct cli *cli, const struct args *args, const char *name, bool commanded,
		    kiln_config *config, kiln_error *err)
{
	struct kiln__image_request request = {
		.reference = name,
		.pull = policy_of(args),
		.brief = true,
		.held = &cli->image_held,
		.transfer = show_transfer,
		.data = cli,
	};
	const struct kiln__imageconf how = {
		.no_entrypoint = args_has(args, OPT_ENTRYPOINT),
		.commanded = commanded,
		.publish_all = args_has(args, OPT_PUBLISH_ALL),
		.no_health = args_has(args, OPT_NO_HEALTHCHECK),
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
	if (r < 0) {
		hint_at_source(name, err);
		return r;
	}
	r = kiln__imageconf_apply(config, &image, &how, err);
	kiln__image_done(&image);
	return r;
}
