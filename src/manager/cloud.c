/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud.h"

#include "buf.h"
#include "disk.h"
#include "download.h"
#include "err.h"
#include "os.h"
#include "sums.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CHECKSUMS ((size_t)4 << 20)
#define MAX_IMAGE     ((uint64_t)64 << 30)
#define MAX_RECORD    ((size_t)64 << 10)

int kiln__cloud_catalogue(const struct kiln__home *home, struct kiln__catalogue **ret,
			  kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/cloud-images.json", home->dir);
	kiln__autofree char *given = kiln__os_env("KILN_CLOUD_IMAGES");
	kiln__autofree char *own = NULL;
	struct kiln__os_stat st;
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	if (given && *given)
		return kiln__catalogue_load(ret, given, err);
	if (kiln__os_stat(path, &st, NULL) == 0)
		return kiln__catalogue_load(ret, path, err);
	r = kiln__os_find_helper(&own, "cloud-images.json", "KILN_CLOUD_IMAGES", err);
	return r < 0 ? r : kiln__catalogue_load(ret, own, err);
}

char *kiln__cloud_path(const struct kiln__home *home, const struct kiln__cloud_image *image)
{
	return kiln__strf("%s/cloud/%s-%s.raw", home->dir, image->name, image->arch);
}

/* --- downloading ----------------------------------------------------------------------------- */

static const char *kind_of(const struct kiln__cloud_image *image)
{
	return image->digits == 64 ? "sha256" : "sha512";
}

/* What the vendor says today that the image is. */
static int read_digest(const struct kiln__cloud_image *image, const char *aside,
		       char ret[KILN__SUMS_HEX], kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	kiln__autofree char *text = NULL;
	const struct kiln__download sums = {
		.url = image->checksums, .kind = kind_of(image), .max = MAX_CHECKSUMS};
	char unused[KILN__DOWNLOAD_HEX];
	size_t len;
	int r = kiln__os_open(&fd, aside,
			      KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_EXCLUSIVE, err);

	if (r == 0)
		r = kiln__download(&sums, fd, unused, err);
	if (r == 0)
		r = kiln__os_read_file(aside, MAX_CHECKSUMS, &text, &len, err);
	if (r == 0)
		r = kiln__sums_find(text, len, image->file, image->digits, ret, err);
	kiln__os_remove(aside, NULL);
	if (r < 0)
		kiln__prefix(err, "%s: cannot tell what it must be", image->name);
	return r;
}

/* Goes on with what a pull that was killed or cut off has left of it. */
static int fetch(const struct kiln__cloud_image *image, const char *wanted, const char *partial,
		 kiln_error *err)
{
	const struct kiln__download what = {
		.url = image->url, .kind = kind_of(image), .wanted = wanted, .max = MAX_IMAGE};
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	char got[KILN__DOWNLOAD_HEX];
	int r = kiln__os_open(&fd, partial, KILN__OPEN_WRITE | KILN__OPEN_CREATE, err);

	if (r == 0)
		r = kiln__download(&what, fd, got, err);
	if (r < 0)
		return r;
	if (strcmp(got, wanted) == 0)
		return 0;
	kiln__os_remove(partial, NULL);
	kiln__fail(err, KILN_EFORMAT,
		   "%s: %s is not what its vendor says: its %s is %.16s..., not %.16s... as %s has "
		   "it",
		   image->name, image->url, kind_of(image), got, wanted, image->checksums);
	kiln__hint(err, "the vendor may be just replacing it: try again later");
	return KILN_EFORMAT;
}

/* --- keeping ---------------------------------------------------------------------------------- */

static char *record_path(const struct kiln__home *home, const struct kiln__cloud_image *image)
{
	return kiln__strf("%s/cloud/%s-%s.json", home->dir, image->name, image->arch);
}

/* Whether what is there was made of what has this digest. */
static bool is_current(const char *record, const char *path, const char *digest)
{
	kiln__autofree char *text = NULL;
	struct kiln__os_stat st;
	const char *had;
	json_t *object;
	bool current;
	size_t len;

	if (kiln__os_stat(path, &st, NULL) < 0 ||
	    kiln__os_read_file(record, MAX_RECORD, &text, &len, NULL) < 0)
		return false;
	object = json_loadb(text, len, 0, NULL);
	had = json_string_value(json_object_get(object, "digest"));
	current = had && strcmp(had, digest) == 0;
	json_decref(object);
	return current;
}

static int write_record(const char *record, const struct kiln__cloud_image *image,
			const char *digest, kiln_error *err)
{
	json_t *object = json_pack("{s:s, s:s, s:s}", "url", image->url, "kind", kind_of(image),
				   "digest", digest);
	char *text = object ? json_dumps(object, JSON_INDENT(1)) : NULL;
	int r = text ? kiln__os_replace_file(record, text, strlen(text), 0600, true, err)
		     : kiln__fail_nomem(err);

	free(text);
	json_decref(object);
	return r;
}

/* The files of one pull: made aside, and gone after it, but for what is there of the download. */
struct pull {
	char *dir;
	char *path;
	char *record;
	char *sums;
	char *raw;
	kiln_fd lock;
};

static void pull_done(struct pull *pull)
{
	char *const aside[] = {pull->sums, pull->raw};

	for (size_t i = 0; i < sizeof(aside) / sizeof(aside[0]); i++)
		if (aside[i])
			kiln__os_remove(aside[i], NULL);
	free(pull->dir);
	free(pull->path);
	free(pull->record);
	free(pull->sums);
	free(pull->raw);
	kiln__os_close(pull->lock);
}

/* What pulls that were killed have left. For the holder of the lock. */
static void sweep(const char *dir)
{
	char **names;

	if (kiln__os_list_dir(dir, &names, NULL) < 0)
		return;
	for (char **name = names; *name; name++) {
		kiln__autofree char *path = kiln__strf("%s/%s", dir, *name);

		if (path && strncmp(*name, KILN__OS_TEMPORARY, strlen(KILN__OS_TEMPORARY)) == 0)
			kiln__os_remove(path, NULL);
	}
	kiln__os_free_names(names);
}

/* One pull at a time: who waited finds what the other has pulled. */
static int pull_lock(const char *dir, kiln_fd *ret, kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/lock", dir);
	int r = path ? kiln__os_open(ret, path, KILN__OPEN_WRITE | KILN__OPEN_CREATE, err)
		     : kiln__fail_nomem(err);

	if (r == 0)
		r = kiln__os_lock(*ret, err);
	if (r == 0)
		sweep(dir);
	return r;
}

static int pull_init(struct pull *pull, const struct kiln__home *home,
		     const struct kiln__cloud_image *image, kiln_error *err)
{
	char *dir = kiln__strf("%s/cloud", home->dir);
	uint64_t number;
	int r;

	kiln__os_random(&number, sizeof(number));
	*pull = (struct pull){
		.dir = dir,
		.path = kiln__cloud_path(home, image),
		.record = record_path(home, image),
		.lock = KILN_FD_NONE,
	};
	if (dir) {
		const char *const kinds[] = {"sums", "raw"};
		char **names[] = {&pull->sums, &pull->raw};

		for (size_t i = 0; i < 2; i++)
			*names[i] = kiln__strf("%s/" KILN__OS_TEMPORARY "%016llx.%s", dir,
					       (unsigned long long)number, kinds[i]);
	}
	if (!dir || !pull->path || !pull->record || !pull->sums || !pull->raw)
		return kiln__fail_nomem(err);
	r = kiln__home_make(home, err);
	if (r == 0)
		r = kiln__os_make_private_dir(dir, err);
	return r < 0 ? r : pull_lock(dir, &pull->lock, err);
}

/* The record goes first: without one what is there counts as unknown, and is pulled again. */
static int replace(const struct pull *pull, const struct kiln__cloud_image *image,
		   const char *partial, const char *digest, kiln_error *err)
{
	bool shared;
	int r = kiln__disk_clone(partial, pull->raw, 0, &shared, err);

	kiln__os_remove(partial, NULL);
	if (r < 0)
		return kiln__prefix(err, "%s", image->name), r;
	r = kiln__os_remove(pull->record, err);
	if (r == 0)
		r = kiln__os_rename(pull->raw, pull->path, err);
	return r < 0 ? r : write_record(pull->record, image, digest, err);
}

/*
 * "NAME-ARCH.DIGEST.partial" in the directory, malloc'ed. Others of that name are of something that
 * the vendor has replaced: they go.
 */
static char *partial_of(const struct pull *pull, const struct kiln__cloud_image *image,
			const char *digest)
{
	kiln__autofree char *prefix = kiln__strf("%s-%s.", image->name, image->arch);
	kiln__autofree char *own = prefix ? kiln__strf("%s%s.partial", prefix, digest) : NULL;
	char **names;

	if (!own || kiln__os_list_dir(pull->dir, &names, NULL) < 0)
		return NULL;
	for (char **name = names; *name; name++) {
		kiln__autofree char *path = kiln__strf("%s/%s", pull->dir, *name);

		if (path && strncmp(*name, prefix, strlen(prefix)) == 0 &&
		    strstr(*name, ".partial") && strcmp(*name, own) != 0)
			kiln__os_remove(path, NULL);
	}
	kiln__os_free_names(names);
	return kiln__strf("%s/%s", pull->dir, own);
}

static int renew(const struct pull *pull, const struct kiln__cloud_image *image, const char *digest,
		 kiln_error *err)
{
	kiln__autofree char *partial = partial_of(pull, image, digest);
	int r = partial ? fetch(image, digest, partial, err) : kiln__fail_nomem(err);

	return r < 0 ? r : replace(pull, image, partial, digest, err);
}

int kiln__cloud_pull(const struct kiln__home *home, const struct kiln__cloud_image *image,
		     void (*progress)(void *data, const char *text), void *data, bool *ret_fresh,
		     kiln_error *err)
{
	kiln__autofree char *text = kiln__strf("downloading %s", image->url);
	char digest[KILN__SUMS_HEX];
	struct pull pull;
	int r = pull_init(&pull, home, image, err);

	if (r == 0)
		r = read_digest(image, pull.sums, digest, err);
	if (r == 0 && is_current(pull.record, pull.path, digest)) {
		*ret_fresh = false;
		pull_done(&pull);
		return 0;
	}
	if (r == 0 && progress && text)
		progress(data, text);
	if (r == 0)
		r = renew(&pull, image, digest, err);
	pull_done(&pull);
	if (r == 0)
		*ret_fresh = true;
	return r;
}
