/* SPDX-License-Identifier: Apache-2.0 */
#include "catalogue.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CATALOGUE ((size_t)1 << 20)
#define MAX_IMAGES    1000

struct kiln__catalogue {
	json_t *document; /* the images' texts are its */
	size_t count;
	struct kiln__cloud_image images[];
};

static int refuse(kiln_error *err, const char *path, size_t i, const char *what)
{
	return kiln__fail(err, KILN_EFORMAT, "%s: images[%zu]: %s", path, i, what);
}

/* A name becomes a file's. */
static bool is_name(const char *text)
{
	static const char good[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	return text && *text && *text != '.' && *text != '-' && strlen(text) <= 64 &&
	       text[strspn(text, good)] == '\0';
}

/* https with a host; no control characters, blanks or credentials. */
static bool is_url(const char *text)
{
	static const char scheme[] = "https://";
	const char *host;

	if (!text || strncmp(text, scheme, strlen(scheme)) != 0 || strlen(text) > 2000)
		return false;
	host = text + strlen(scheme);
	if (!*host || *host == '/' || memchr(host, '@', strcspn(host, "/?#")))
		return false;
	for (const char *c = text; *c; c++)
		if (*c <= ' ' || *c > '~')
			return false;
	return true;
}

static int take(struct kiln__cloud_image *image, const json_t *entry, const char *path, size_t i,
		kiln_error *err)
{
	const char *digest = json_string_value(json_object_get(entry, "digest"));
	const char *slash;

	*image = (struct kiln__cloud_image){
		.name = json_string_value(json_object_get(entry, "name")),
		.arch = json_string_value(json_object_get(entry, "arch")),
		.url = json_string_value(json_object_get(entry, "url")),
		.checksums = json_string_value(json_object_get(entry, "checksums")),
	};
	if (!is_name(image->name) || !is_name(image->arch))
		return refuse(err, path, i, "name and arch must be plain words");
	if (!is_url(image->url) || !is_url(image->checksums))
		return refuse(err, path, i, "url and checksums must be https addresses");
	slash = strrchr(image->url, '/');
	image->file = slash + 1;
	if (!is_name(image->file))
		return refuse(err, path, i, "url must end with the name of a file");
	if (digest && strcmp(digest, "sha256") == 0)
		image->digits = 64;
	else if (digest && strcmp(digest, "sha512") == 0)
		image->digits = 128;
	else
		return refuse(err, path, i, "digest must be sha256 or sha512");
	return 0;
}

int kiln__catalogue_load(struct kiln__catalogue **ret, const char *path, kiln_error *err)
{
	kiln__cleanup(kiln__catalogue_free_autop) struct kiln__catalogue *catalogue = NULL;
	kiln__autofree char *text = NULL;
	json_error_t error;
	json_t *document;
	json_t *images;
	size_t len;
	int r = kiln__os_read_file(path, MAX_CATALOGUE, &text, &len, err);

	if (r < 0)
		return r;
	document = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!document)
		return kiln__fail(err, KILN_EFORMAT, "%s is not JSON: line %d", path, error.line);
	images = json_object_get(document, "images");
	if (json_array_size(images) == 0 || json_array_size(images) > MAX_IMAGES) {
		json_decref(document);
		return kiln__fail(err, KILN_EFORMAT, "%s has no list of 1 to %d images", path,
				  MAX_IMAGES);
	}
	catalogue = calloc(1, sizeof(*catalogue) +
				      json_array_size(images) * sizeof(catalogue->images[0]));
	if (!catalogue) {
		json_decref(document);
		return kiln__fail_nomem(err);
	}
	catalogue->document = document;
	for (size_t i = 0; r == 0 && i < json_array_size(images); i++, catalogue->count++)
		r = take(&catalogue->images[i], json_array_get(images, i), path, i, err);
	if (r == 0)
		*ret = kiln__take(catalogue);
	return r;
}

void kiln__catalogue_free(struct kiln__catalogue *catalogue)
{
	if (!catalogue)
		return;
	json_decref(catalogue->document);
	free(catalogue);
}

const struct kiln__cloud_image *kiln__catalogue_at(const struct kiln__catalogue *catalogue,
						   size_t i)
{
	return i < catalogue->count ? &catalogue->images[i] : NULL;
}

int kiln__catalogue_find(const struct kiln__catalogue *catalogue, const char *name,
			 const char *arch, const struct kiln__cloud_image **ret, kiln_error *err)
{
	kiln__autobuf names = KILN__BUF_INIT;

	for (size_t i = 0; i < catalogue->count; i++) {
		const struct kiln__cloud_image *image = &catalogue->images[i];

		if (strcmp(image->arch, arch) != 0)
			continue;
		if (strcmp(image->name, name) == 0) {
			*ret = image;
			return 0;
		}
		kiln__buf_addf(&names, "%s%s", names.len ? ", " : "", image->name);
	}
	kiln__fail(err, KILN_ENOENT, "the catalogue has no image \"%.64s\" for %s", name, arch);
	kiln__hint(err, "it has %s", names.data ? names.data : "none for it");
	return KILN_ENOENT;
}
