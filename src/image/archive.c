/* SPDX-License-Identifier: Apache-2.0 */
/* Images from and to directories and archives. */
#include "helper.h"
#include "internal.h"
#include "storedir.h"

#include "buf.h"
#include "err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *prefix;
	enum kiln__image_source source;
	const char *kind; /* what kiln-image calls it */
	bool is_dir;
} sources[] = {
	{"oci:", KILN__SOURCE_OCI, "oci", true},
	{"dir:", KILN__SOURCE_DIR, "dir", true},
	{"oci-archive:", KILN__SOURCE_OCI_ARCHIVE, "oci-archive", false},
	{"docker-archive:", KILN__SOURCE_DOCKER_ARCHIVE, "docker-archive", false},
	{"", KILN__SOURCE_ARCHIVE, "archive", false},
	{"", KILN__SOURCE_TAR, "tar", false},
};

bool kiln__image_source_of(const char *text, enum kiln__image_source *ret, const char **ret_rest)
{
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		size_t len = strlen(sources[i].prefix);

		if (!len || strncmp(text, sources[i].prefix, len) != 0)
			continue;
		*ret = sources[i].source;
		*ret_rest = text + len;
		return true;
	}
	return false;
}

/* What is read. */
struct loading {
	enum kiln__image_source source;
	kiln_fd fd;         /* borrowed */
	const char *shown;  /* in messages */
	const char *inside; /* which image of it; NULL: the only one */
};

static int load(const struct kiln__images *images, const struct loading *from, const char *arch,
		json_t **ret, kiln_error *err)
{
	kiln__autoclose kiln_fd blobs = KILN_FD_NONE;
	const char *const argv[] = {
		"load",       sources[from->source].is_dir ? "--dir" : "--input",
		"3",          "--output-dir",
		"4",          "--name",
		from->shown,  "--arch",
		arch,         sources[from->source].kind,
		from->inside, NULL};
	int r = kiln__store_blobs(images, &blobs, err);
	const struct kiln__spawn_fd fds[] = {{from->fd, 3}, {blobs, 4}};

	return r < 0 ? r : kiln__helper_call(argv, fds, 2, ret, err);
}

/* The name that it is kept under: the one given, the one that it has there, or none. */
static int choose_name(const char *given, const json_t *about, struct kiln__image *image,
		       kiln_error *err)
{
	const char *found = json_string_value(json_object_get(about, "name"));
	struct kiln__reference reference;
	int r;

	if (!given && !found) {
		kiln__fail(err, KILN_EINVAL, "the image has no name there");
		kiln__hint(err, "give it one");
		return KILN_EINVAL;
	}
	r = kiln__reference_parse(&reference, given ? given : found, err);
	if (r == 0)
		kiln__store_name(&reference, image->name);
	return r;
}

static int load_and_record(const struct kiln__images *images, const struct loading *from,
			   const char *name, const char *arch, struct kiln__image *image,
			   kiln_error *err)
{
	int r = load(images, from, arch, &image->about, err);

	if (r == 0)
		r = choose_name(name, image->about, image, err);
	if (r == 0)
		r = kiln__store_record(images, image->name, arch, image->about, &image->replaced,
				       err);
	return r;
}

int kiln__image_load(const struct kiln__images *images, enum kiln__image_source source,
		     const char *path, kiln_fd fd, const char *inside, const char *name,
		     const char *arch, struct kiln__image *ret, kiln_error *err)
{
	unsigned flags = KILN__OPEN_READ | (sources[source].is_dir ? KILN__OPEN_DIRECTORY : 0);
	struct loading from = {source, fd, path ? path : "standard input", inside};
	struct kiln__image image = {.about = NULL};
	kiln__autoclose kiln_fd held = KILN_FD_NONE;
	kiln__autoclose kiln_fd opened = KILN_FD_NONE;
	autojson *before = NULL;
	int r = path ? kiln__os_open(&opened, path, flags, err) : 0;

	if (path)
		from.fd = opened;
	if (r == 0)
		r = kiln__store_hold(images, &held, err);
	if (r == 0)
		r = kiln__store_blob_names(images, &before, err);
	if (r == 0)
		r = load_and_record(images, &from, name, arch, &image, err);
	if (r < 0) {
		kiln__os_close(held);
		held = KILN_FD_NONE;
		if (before)
			kiln__store_undo(images, before);
		kiln__image_done(&image);
		kiln__stage(err, "image");
		return r;
	}
	snprintf(image.digest, sizeof(image.digest), "%s", kiln__about_digest(image.about));
	*ret = image;
	return 0;
}

int kiln__image_save(const struct kiln__images *images, const struct kiln__image_entry *entry,
		     kiln_fd fd, kiln_error *err)
{
	kiln__autoclose kiln_fd held = KILN_FD_NONE;
	kiln__autoclose kiln_fd blobs = KILN_FD_NONE;
	const char *const argv[] = {"save",   "--dir",     "3",           "--output",  "4",
				    "--name", entry->name, entry->digest, entry->name, NULL};
	json_t *result = NULL;
	int r = kiln__store_hold(images, &held, err);

	if (r == 0)
		r = kiln__store_blobs(images, &blobs, err);
	if (r == 0) {
		const struct kiln__spawn_fd fds[] = {{blobs, 3}, {fd, 4}};

		r = kiln__helper_call(argv, fds, 2, &result, err);
	}
	json_decref(result);
	return r;
}
