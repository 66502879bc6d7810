/* SPDX-License-Identifier: Apache-2.0 */
/* pull, and image: tag, and which part does the rest. */
#include "image.h"

#include "err.h"
#include "os.h"

#include <stdio.h>
#include <string.h>

const char *image_short_digest(const char *digest, char text[16])
{
	snprintf(text, 16, "%.12s", strlen(digest) > 7 ? digest + 7 : digest);
	return text;
}

int image_arch_of(const struct args *args, const char **ret, kiln_error *err)
{
	const char *platform = args_value(args, OPT_PLATFORM);

	*ret = kiln__os_arch();
	return platform ? parse_platform(platform, ret, err) : 0;
}

int image_wanted_arch(const struct args *args, const char **ret, kiln_error *err)
{
	const char *platform = args_value(args, OPT_PLATFORM);

	*ret = NULL;
	return platform ? parse_platform(platform, ret, err) : 0;
}

int image_for_each(struct image_context *context,
		   int (*fn)(struct image_context *context, const struct kiln__image_entry *entry,
			     void *data, kiln_error *err),
		   void *data, kiln_error *err)
{
	struct kiln__image_list list;
	const char *arch;
	int r = image_wanted_arch(context->args, &arch, err);

	if (r == 0)
		r = kiln__store_list(&context->images, &list, err);
	if (r < 0)
		return r;
	for (char **name = context->rest; r == 0 && *name; name++) {
		const struct kiln__image_entry *entry;

		r = kiln__store_find(&list, *name, arch, &entry, err);
		if (r == 0 && !entry->about)
			r = kiln__fail(err, KILN_ENOENT, "nothing is known of %s: pull it again",
				       entry->name);
		if (r == 0)
			r = fn(context, entry, data, err);
	}
	kiln__store_list_done(&list);
	return r;
}

/* --- pull ---------------------------------------------------------------------- */

static int pull_one(struct cli *cli, const struct args *args, const struct kiln__images *images,
		    const char *name, kiln_error *err)
{
	struct kiln__image_request request = {
		.reference = name,
		.pull = KILN__PULL_ALWAYS,
		.transfer = show_transfer,
		.data = cli,
	};
	kiln__autofree char *root = NULL;
	struct kiln__image image;
	int r = image_arch_of(args, &request.arch, err);

	if (r == 0)
		r = kiln__image_get(images, &request, &image, err);
	if (r < 0)
		return r;
	r = kiln__image_root(images, &request, &image, &root, err);
	if (r == 0 && !args_has(args, OPT_QUIET))
		printf("%s %s\n", image.name, image.digest);
	kiln__image_done(&image);
	return r;
}

static int pull_all(struct cli *cli, const struct args *args, char **names)
{
	struct kiln__images images = {0};
	kiln_error err = KILN_ERROR_INIT;
	int code = 0;

	if (open_images(cli, &images, &err) < 0)
		return complain("pull", &err);
	for (; *names; names++) {
		int r = pull_one(cli, args, &images, *names, &err);

		if (cli->drawn)
			fputs("\r\033[K", stderr);
		cli->drawn = false;
		if (r < 0)
			code = complain("pull", &err);
	}
	close_images(&images);
	return code;
}

int verb_pull(struct cli *cli, const struct args *args)
{
	cli_progress(cli, args);
	return pull_all(cli, args, args->positional);
}

/* --- tag -------------------------------------------------------------------------------------- */

static int image_tag(struct image_context *context, kiln_error *err)
{
	const struct kiln__image_entry *entry;
	struct kiln__image_list list;
	const char *arch;
	int r = image_wanted_arch(context->args, &arch, err);

	if (r == 0)
		r = kiln__store_list(&context->images, &list, err);
	if (r < 0)
		return r;
	r = kiln__store_find(&list, context->rest[0], arch, &entry, err);
	if (r == 0)
		r = kiln__store_tag(&context->images, entry, context->rest[1], err);
	kiln__store_list_done(&list);
	return r;
}

/* --- the verb -------------------------------------------------------------------------------- */

static const struct subcommand {
	const char *name;
	int min, max; /* arguments; max -1: any number */
	int (*run)(struct image_context *context, kiln_error *err);
	const char *usage;
} subcommands[] = {
	{"ls", 0, 0, image_ls, "ls"},
	{"df", 0, 0, image_df, "df"},
	{"inspect", 1, -1, image_inspect, "inspect IMAGE..."},
	{"history", 1, 1, image_history, "history IMAGE"},
	{"tag", 2, 2, image_tag, "tag IMAGE NAME"},
	{"rm", 1, -1, image_rm, "rm IMAGE..."},
	{"prune", 0, 0, image_prune, "prune"},
	{"load", 0, 2, image_load, "load [SOURCE [NAME]]"},
	{"import", 2, 2, image_import, "import FILE NAME"},
	{"save", 1, 1, image_save, "save IMAGE"},
};

static int run_subcommand(struct image_context *context, const struct subcommand *sub,
			  kiln_error *err)
{
	int r;

	if (context->count < sub->min || (sub->max >= 0 && context->count > sub->max)) {
		kiln__fail(err, KILN_EINVAL, "image %s: %s", sub->name,
			   context->count < sub->min ? "an argument is missing"
						     : "there are too many arguments");
		kiln__hint(err, "usage: kiln image %s", sub->usage);
		return KILN_EINVAL;
	}
	r = open_images(context->cli, &context->images, err);
	if (r < 0)
		return r;
	r = sub->run(context, err);
	close_images(&context->images);
	return r;
}

int verb_image(struct cli *cli, const struct args *args)
{
	struct image_context context = {
		.cli = cli,
		.args = args,
		.rest = args->positional + 1,
		.count = args->count - 1,
	};
	kiln_error err = KILN_ERROR_INIT;

	cli_progress(cli, args);
	if (strcmp(args->positional[0], "pull") == 0 && context.count > 0)
		return pull_all(cli, args, context.rest);
	for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++) {
		if (strcmp(args->positional[0], subcommands[i].name) != 0)
			continue;
		return run_subcommand(&context, &subcommands[i], &err) < 0 ? complain("image", &err)
									   : 0;
	}
	kiln__fail(&err, KILN_EINVAL, "image: there is no command \"%.40s\"", args->positional[0]);
	kiln__hint(&err, "see \"kiln image --help\"");
	return complain(NULL, &err);
}
