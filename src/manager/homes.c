/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other homes' machines are only read, and only their configurations: whether they run, and under
 * which runtime directory, is nothing to whoever removes images.
 */
#include "homes.h"

#include "buf.h"
#include "cleanup.h"
#include "digest.h"
#include "err.h"
#include "os.h"
#include "vmdir.h"

#include <kiln/config.h>

#include <stdlib.h>
#include <string.h>

#define CONFIG_MAX ((size_t)1024 * 1024)

/* Where a home has its cache. */
#define OWN_CACHE "/images"

static char *folder_of(const struct kiln__cache *cache)
{
	return kiln__strf("%s/homes", kiln__cache_path(cache));
}

static int make_link(const struct kiln__cache *cache, const char *folder, const char *link,
		     const char *dir, kiln_error *err)
{
	int r = kiln__os_make_private_dir(kiln__cache_path(cache), err);

	if (r == 0)
		r = kiln__os_mkdir_p(folder, 0700, err);
	if (r == 0)
		r = kiln__os_symlink_new(dir, link, err);
	return r == KILN_EEXIST ? 0 : r; /* by a process of the same home */
}

/* As it is unless told otherwise: whoever removes images there looks at that home, joined or not.
 */
static bool is_own(const struct kiln__home *home, const struct kiln__cache *cache)
{
	const char *path = kiln__cache_path(cache);
	size_t len = strlen(home->dir);

	return strncmp(path, home->dir, len) == 0 && strcmp(path + len, OWN_CACHE) == 0;
}

int kiln__homes_join(const struct kiln__home *home, const struct kiln__cache *cache,
		     kiln_error *err)
{
	kiln__autofree char *folder = folder_of(cache);
	kiln__autofree char *link = NULL;
	kiln__autofree char *target = NULL;
	char key[KILN__DIGEST_HEX];
	struct kiln__digest digest;
	int r;

	if (is_own(home, cache))
		return 0;
	kiln__digest_init(&digest);
	kiln__digest_adds(&digest, home->dir);
	kiln__digest_final_hex(&digest, key);
	link = folder ? kiln__strf("%s/%s", folder, key) : NULL;
	if (!link)
		return kiln__fail_nomem(err);
	if (kiln__os_read_link(link, &target, NULL) == 0)
		return 0;
	r = make_link(cache, folder, link, home->dir, err);
	if (r < 0 && r != KILN_EACCES)
		kiln__prefix(err, "cannot tell the image cache of this home");
	return r == KILN_EACCES ? 0 : r;
}

/* --- what they use --------------------------------------------------------------------------- */

static int add_digest(char ***digests, const char *digest, kiln_error *err)
{
	size_t count = 0;
	char **grown;

	while ((*digests)[count])
		count++;
	grown = realloc(*digests, (count + 2) * sizeof(char *));
	if (!grown)
		return kiln__fail_nomem(err);
	*digests = grown;
	grown[count] = strdup(digest);
	grown[count + 1] = NULL;
	return grown[count] ? 0 : kiln__fail_nomem(err);
}

/* One that is half made or half removed has no configuration, and names nothing. */
static int add_vm(const char *vms, const char *id, char ***digests, kiln_error *err)
{
	kiln__autofree char *path = kiln__strf("%s/%s/config.json", vms, id);
	kiln__autofree char *text = NULL;
	kiln_config *config = NULL;
	const char *image, *at;
	size_t len;
	int r = path ? kiln__os_read_file(path, CONFIG_MAX, &text, &len, err)
		     : kiln__fail_nomem(err);

	if (r == KILN_ENOENT)
		return 0;
	if (r == 0)
		r = kiln_config_parse(text, len, &config, err);
	if (r == 0 && kiln_config_get(config, "root.image", &image, NULL) == 0 &&
	    (at = strchr(image, '@')))
		r = add_digest(digests, at + 1, err);
	kiln_config_free(config);
	return r;
}

static int add_home(const char *home, char ***digests, kiln_error *err)
{
	kiln__autofree char *vms = kiln__strf("%s/vms", home);
	char **names = NULL;
	int r = vms ? kiln__os_list_dir(vms, &names, err) : kiln__fail_nomem(err);

	if (r == KILN_ENOENT)
		return 0;
	for (size_t i = 0; r == 0 && names[i]; i++)
		if (kiln__is_id(names[i]))
			r = add_vm(vms, names[i], digests, err);
	kiln__os_free_names(names);
	if (r < 0 && r != KILN_ENOMEM) {
		kiln__prefix(err, "cannot tell which images the VMs of %s use", home);
		kiln__hint(err, "that home shares this image cache");
	}
	return r;
}

static int add_joined(const char *folder, const char *key, char ***digests, kiln_error *err)
{
	kiln__autofree char *link = kiln__strf("%s/%s", folder, key);
	kiln__autofree char *home = NULL;
	int r = link ? kiln__os_read_link(link, &home, err) : kiln__fail_nomem(err);

	if (r == KILN_ENOENT)
		return 0;
	return r < 0 ? r : add_home(home, digests, err);
}

/* The home whose own cache it is does not join. No link leads there: a cache that is one is
 * refused. */
static int add_own(const struct kiln__cache *cache, char ***digests, kiln_error *err)
{
	kiln__autofree char *home = strdup(kiln__cache_path(cache));
	char *slash = home ? strrchr(home, '/') : NULL;

	if (!home)
		return kiln__fail_nomem(err);
	if (!slash || strcmp(slash, OWN_CACHE) != 0)
		return 0;
	*slash = '\0';
	return add_home(home, digests, err);
}

int kiln__homes_used(const struct kiln__cache *cache, char ***digests, kiln_error *err)
{
	kiln__autofree char *folder = folder_of(cache);
	char **names = NULL;
	int r = add_own(cache, digests, err);

	if (r == 0)
		r = folder ? kiln__os_list_dir(folder, &names, err) : kiln__fail_nomem(err);
	if (r == KILN_ENOENT)
		return 0;
	for (size_t i = 0; r == 0 && names[i]; i++)
		r = add_joined(folder, names[i], digests, err);
	kiln__os_free_names(names);
	return r;
}
