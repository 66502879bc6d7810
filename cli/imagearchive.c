/* SPDX-License-Identifier: Apache-2.0 */
/* image load, import, save: images from and to archives and directories. */
#include "image.h"

#include "err.h"
#include "os.h"
#include "outfile.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Also where nothing is told of progress, but for who wants no word of it. */
static void tell_replaced(const struct image_context *context, const struct kiln__image *image)
{
	char digest[16];

	if (!image->replaced.digest[0] || args_is(context->args, OPT_PROGRESS, "none"))
		return;
	fprintf(stderr, "kiln: %s meant the image %s until now%s\n", image->name,
		image_short_digest(image->replaced.digest, digest),
		image->replaced.nameless ? ", which has no name any more" : "");
}

static int take_in(struct image_context *context, enum kiln__image_source source, const char *path,
		   const char *inside, const char *name, kiln_error *err)
{
	struct kiln__image image;
	const char *arch;
	int r = image_arch_of(context->args, &arch, err);

	if (r == 0)
		r = kiln__image_load(&context->images, source, path, STDIN_FILENO, inside, name,
				     arch, &image, err);
	if (r < 0)
		return r;
	tell_replaced(context, &image);
	printf("%s %s\n", image.name, image.digest);
	kiln__image_done(&image);
	return 0;
}

/* "KIND:PATH[:NAME]", where a PATH has no colon. */
int image_load(struct image_context *context, kiln_error *err)
{
	enum kiln__image_source source = KILN__SOURCE_ARCHIVE;
	const char *file = args_value(context->args, OPT_IMAGE_FILE);
	const char *name = context->count > 1 ? context->rest[1] : NULL;
	kiln__autofree char *path = NULL;
	const char *rest;
	char *inside;

	if (context->count == 0)
		return take_in(context, source, file, NULL, NULL, err);
	if (file)
		return take_in(context, source, file, NULL, context->rest[0], err);
	if (!kiln__image_source_of(context->rest[0], &source, &rest))
		rest = context->rest[0];
	if (strcmp(rest, "-") == 0)
		return take_in(context, source, NULL, NULL, name, err);
	path = strdup(rest);
	if (!path)
		return kiln__fail_nomem(err);
	inside = source == KILN__SOURCE_ARCHIVE || source == KILN__SOURCE_DIR ? NULL
									      : strchr(path, ':');
	if (inside)
		*inside++ = '\0';
	return take_in(context, source, path, inside, name, err);
}

int image_import(struct image_context *context, kiln_error *err)
{
	bool standard = strcmp(context->rest[0], "-") == 0;

	return take_in(context, KILN__SOURCE_TAR, standard ? NULL : context->rest[0], NULL,
		       context->rest[1], err);
}

static int save_one(struct image_context *context, const struct kiln__image_entry *entry,
		    void *data, kiln_error *err)
{
	const char *path = args_value(context->args, OPT_OUTPUT);
	struct outfile file;
	int r;

	(void)data;
	if (!path && isatty(STDOUT_FILENO)) {
		kiln__fail(err, KILN_EINVAL, "an archive is not written to a terminal");
		kiln__hint(err, "use --output FILE");
		return KILN_EINVAL;
	}
	if (!path)
		return kiln__image_save(&context->images, entry, STDOUT_FILENO, err);
	r = outfile_open(&file, path, err);
	if (r < 0)
		return r;
	r = kiln__image_save(&context->images, entry, file.fd, err);
	if (r == 0)
		return outfile_keep(&file, err);
	outfile_drop(&file);
	return r;
}

int image_save(struct image_context *context, kiln_error *err)
{
	return image_for_each(context, save_one, NULL, err);
}
