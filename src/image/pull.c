/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images by name: what is here, or what a registry has. The registries to ask and who one is to
 * them are found here, since credential helpers are the user's programs; kiln-image is told by
 * a file without a name, so that no secret stands on a command line.
 */
#include "arch.h"
#include "auth.h"
#include "certs.h"
#include "helper.h"
#include "internal.h"
#include "registries.h"
#include "storedir.h"

#include "buf.h"
#include "err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PLACES 12
#define PARALLEL   4 /* layers at a time */

void kiln__image_done(struct kiln__image *image)
{
	json_decref(image->about);
	image->about = NULL;
}

/* --- asking kiln-image ----------------------------------------------------------------------- */

static void on_line(void *data, const char *line)
{
	const struct kiln__image_request *request = data;
	autojson *object = json_loads(line, 0, NULL);
	struct kiln__transfer transfer = {
		.bytes = (uint64_t)json_integer_value(json_object_get(object, "bytes")),
		.total = (uint64_t)json_integer_value(json_object_get(object, "total")),
		.layers = (unsigned)json_integer_value(json_object_get(object, "layers")),
		.layers_done = (unsigned)json_integer_value(json_object_get(object, "layers_done")),
	};

	if (object && request->transfer)
		request->transfer(request->data, &transfer);
}

static int fetch(const struct kiln__images *images, const json_t *asked,
		 const struct kiln__image_request *request, const char *arch, json_t **ret,
		 kiln_error *err)
{
	kiln__autoclose kiln_fd blobs = KILN_FD_NONE;
	kiln__autoclose kiln_fd file = KILN_FD_NONE;
	const char *const argv[] = {"fetch",  "--dir", "3",          "--request", "4",
				    "--arch", arch,    "--progress", "5",         NULL};
	struct kiln__spawn_fd fds[2];
	struct kiln__helper helper = {
		.argv = argv,
		.fds = fds,
		.fd_count = 2,
		.line = on_line,
		.data = (void *)(uintptr_t)request,
		.line_fd = 5,
	};
	int r = kiln__store_blobs(images, &blobs, err);

	if (r == 0)
		r = kiln__helper_request(asked, &file, err);
	if (r < 0)
		return r;
	fds[0] = (struct kiln__spawn_fd){blobs, 3};
	fds[1] = (struct kiln__spawn_fd){file, 4};
	return kiln__helper_run(&helper, ret, err);
}

static int place_json(const struct kiln__registry_place *place, const struct kiln__login *login,
		      json_t **ret, kiln_error *err)
{
	struct kiln__certs certs = {NULL};
	int r = kiln__certs_find(place->host, &certs, err);

	if (r < 0)
		return r;
	*ret = json_pack("{s:s, s:s, s:b, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*}", "host", place->host,
			 "path", place->path, "insecure", place->insecure, "user", login->user,
			 "password", login->password, "identity", login->identity, "authorities",
			 certs.authorities, "certificate", certs.certificate, "key", certs.key);
	kiln__certs_done(&certs);
	return *ret ? 0
		    : kiln__fail(err, KILN_EINVAL,
				 "the login to %s, or a certificate for it, is not UTF-8",
				 place->host);
}

static int list_places(const struct kiln__registries *registries,
		       const struct kiln__reference *reference, json_t *ret, kiln_error *err)
{
	struct kiln__registry_place places[MAX_PLACES];
	int count = kiln__registries_places(registries, reference, places, MAX_PLACES, err);

	if (count < 0)
		return count;
	for (int i = 0; i < count; i++) {
		struct kiln__login login = {NULL};
		json_t *place;
		int r = kiln__auth_find(places[i].host, places[i].path, &login, err);

		if (r < 0)
			return r;
		r = place_json(&places[i], &login, &place, err);
		kiln__login_done(&login);
		if (r < 0)
			return r;
		json_array_append_new(ret, place);
	}
	return 0;
}

/* --- pulling --------------------------------------------------------------------------------- */

static int pull(const struct kiln__images *images, const struct kiln__registries *registries,
		const struct kiln__reference *reference, const struct kiln__image_request *request,
		struct kiln__image *ret, kiln_error *err)
{
	const char *digest = reference->digest[0] ? reference->digest : NULL;
	kiln__autoclose kiln_fd own = KILN_FD_NONE;
	kiln_fd *held = request->held ? request->held : &own;
	autojson *places = json_array();
	autojson *asked = NULL;
	json_t *about = NULL;
	int r = kiln__images_may_take_time(images, err);

	if (r == 0)
		r = list_places(registries, reference, places, err);
	kiln__store_name(reference, ret->name);
	if (r < 0)
		return r;
	asked = json_pack("{s:s, s:s, s:s*, s:O, s:i, s:I}", "name", ret->name, "reference",
			  digest ? digest : reference->tag, "digest", digest, "registries", places,
			  "parallel", PARALLEL, "timeout", kiln__helper_timeout());
	kiln__images_progress(images, "pulling %s", ret->name);
	r = asked ? 0 : kiln__fail_nomem(err);
	if (r == 0 && *held == KILN_FD_NONE)
		r = kiln__store_hold(images, held, err);
	if (r == 0)
		r = fetch(images, asked, request, request->arch, &about, err);
	if (r == 0)
		r = kiln__store_record(images, ret->name, request->arch, about, NULL, err);
	if (r < 0) {
		json_decref(about);
		return r;
	}
	ret->about = about;
	strcpy(ret->digest, kiln__about_digest(about));
	return 0;
}

/* A bare name may be in any of several registries: the first that has it is it. */
static int pull_anywhere(const struct kiln__images *images,
			 const struct kiln__registries *registries,
			 const struct kiln__reference *reference,
			 const struct kiln__image_request *request, struct kiln__image *ret,
			 kiln_error *err)
{
	const char *const *search = kiln__registries_search(registries);
	int r = KILN_ENOENT;

	if (!reference->bare)
		return pull(images, registries, reference, request, ret, err);
	for (; *search; search++) {
		struct kiln__reference there;

		r = kiln__reference_in(reference, *search, &there, err);
		if (r == 0)
			r = pull(images, registries, &there, request, ret, err);
		if (r == 0 || (r != KILN_ENOENT && r != KILN_EACCES && r != KILN_EIO))
			break;
	}
	return r;
}

/* --- what is here ---------------------------------------------------------------------------- */

static int load(const struct kiln__images *images, const struct kiln__image_request *request,
		const char *digest, json_t **ret, kiln_error *err)
{
	return request->brief ? kiln__store_brief(images, digest, ret, err)
			      : kiln__store_about(images, digest, ret, err);
}

/* What a digest names is for one architecture; no registry has it for another. */
static int check_arch(const struct kiln__image_request *request, const char *name,
		      const json_t *about, kiln_error *err)
{
	const char *arch = json_string_value(json_object_get(about, "arch"));

	if (!arch || !*arch || strcmp(kiln__arch_of_uname(arch), request->arch) == 0)
		return 0;
	kiln__fail(err, KILN_EINVAL, "%s is an image for %.40s, not for %s", name, arch,
		   kiln__arch_of_images(request->arch));
	kiln__hint(err, "use --platform linux/%.40s, or another digest", arch);
	return KILN_EINVAL;
}

static int find_here(const struct kiln__images *images, const struct kiln__reference *reference,
		     const struct kiln__image_request *request, struct kiln__image *ret,
		     kiln_error *err)
{
	int r = KILN_ENOENT;

	kiln__store_name(reference, ret->name);
	if (reference->digest[0])
		r = load(images, request, strcpy(ret->digest, reference->digest), &ret->about, err);
	if (r == 0)
		return check_arch(request, ret->name, ret->about, err);
	r = kiln__store_digest_of(images, ret->name, request->arch, ret->digest, err);
	return r < 0 ? r : load(images, request, ret->digest, &ret->about, err);
}

static int find_anywhere(const struct kiln__images *images, struct kiln__registries **registries,
			 const struct kiln__reference *reference,
			 const struct kiln__image_request *request, struct kiln__image *ret,
			 kiln_error *err)
{
	const char *const *search;
	int r;

	if (!reference->bare)
		return find_here(images, reference, request, ret, err);
	r = kiln__registries_load(registries, err);
	if (r < 0)
		return r;
	r = KILN_ENOENT;
	for (search = kiln__registries_search(*registries); *search && r == KILN_ENOENT; search++) {
		struct kiln__reference there;
		kiln_error why = KILN_ERROR_INIT;

		r = kiln__reference_in(reference, *search, &there, &why);
		if (r == 0)
			r = find_here(images, &there, request, ret, &why);
		if (r < 0 && r != KILN_ENOENT && err)
			*err = why;
	}
	return r;
}

/* A digest alone means an image that is here, as docker has it; what it is called is known here. */
static int find_by_digest(const struct kiln__images *images,
			  const struct kiln__image_request *request, struct kiln__image *ret,
			  kiln_error *err)
{
	const char *digest = request->reference;
	autojson *index = NULL;
	const json_t *item;
	const char *name = NULL;
	size_t i;
	int r;

	if (request->pull == KILN__PULL_ALWAYS) {
		kiln__fail(err, KILN_EINVAL,
			   "%s is a digest, which does not say where the image is", digest);
		kiln__hint(err, "write the name before it: NAME@sha256:...");
		return KILN_EINVAL;
	}
	r = kiln__index_load(images, &index, err);
	if (r < 0)
		return r;
	json_array_foreach (json_object_get(index, "manifests"), i, item)
		if (!name && kiln__index_digest(item) &&
		    strcmp(kiln__index_digest(item), digest) == 0)
			name = kiln__index_name(item);
	if (!name || strlen(name) >= sizeof(ret->name)) {
		kiln__fail(err, KILN_ENOENT, "there is no image %s here", digest);
		kiln__hint(err, "to pull it, write its name before the digest: NAME@sha256:...");
		return KILN_ENOENT;
	}
	strcpy(ret->name, name);
	r = load(images, request, strcpy(ret->digest, digest), &ret->about, err);
	return r < 0 ? r : check_arch(request, digest, ret->about, err);
}

static int not_here(const char *text, kiln_error *err)
{
	kiln__fail(err, KILN_ENOENT, "there is no image \"%.200s\" here", text);
	kiln__hint(err,
		   "\"kiln pull\" gets it from its registry; \"kiln image ls\" lists what is here");
	return KILN_ENOENT;
}

static int find_or_pull(const struct kiln__images *images,
			const struct kiln__image_request *request,
			const struct kiln__reference *reference, struct kiln__image *ret,
			kiln_error *err)
{
	kiln__cleanup(kiln__registries_free_autop) struct kiln__registries *registries = NULL;
	int r = KILN_ENOENT;

	if (request->pull != KILN__PULL_ALWAYS)
		r = find_anywhere(images, &registries, reference, request, ret, err);
	if (r != KILN_ENOENT)
		return r;
	if (request->pull == KILN__PULL_NEVER)
		return not_here(request->reference, err);
	r = registries ? 0 : kiln__registries_load(&registries, err);
	return r < 0 ? r : pull_anywhere(images, registries, reference, request, ret, err);
}

int kiln__image_get(const struct kiln__images *images, const struct kiln__image_request *request,
		    struct kiln__image *ret, kiln_error *err)
{
	const bool by_digest = kiln__is_sha256(request->reference);
	struct kiln__image image = {.about = NULL};
	struct kiln__reference reference;
	int r = by_digest ? 0 : kiln__reference_parse(&reference, request->reference, err);

	if (r < 0)
		return r;
	if (request->held && *request->held == KILN_FD_NONE)
		r = kiln__store_hold_here(images, !images->only_cached, request->held, err);
	if (r < 0)
		return r;
	r = by_digest ? find_by_digest(images, request, &image, err)
		      : find_or_pull(images, request, &reference, &image, err);
	if (r < 0) {
		kiln__image_done(&image);
		kiln__stage(err, "image");
		return r;
	}
	*ret = image;
	return 0;
}

/* --- roots ----------------------------------------------------------------------------------- */

struct making {
	const struct kiln__images *images;
	const struct kiln__image_request *request;
	const struct kiln__image *image;
};

static int call_layers(const struct making *making, kiln_fd output, json_t **ret, kiln_error *err)
{
	kiln__autoclose kiln_fd blobs = KILN_FD_NONE;
	const char *const argv[] = {"layers",
				    "--dir",
				    "3",
				    "--output",
				    "4",
				    "--name",
				    making->image->name,
				    making->image->digest,
				    NULL};
	int r = kiln__store_blobs(making->images, &blobs, err);
	const struct kiln__spawn_fd fds[] = {{blobs, 3}, {output, 4}};

	return r < 0 ? r : kiln__helper_call(argv, fds, 2, ret, err);
}

static int make_once(const struct making *making, const char *path, kiln_error *err)
{
	kiln__autoclose kiln_fd output = KILN_FD_NONE;
	autojson *result = NULL;
	int r = kiln__images_create(path, &output, err);

	if (r == 0)
		r = call_layers(making, output, &result, err);
	if (r == 0)
		kiln__images_notes(making->images, result);
	return r;
}

/* Layers that were removed are pulled again, by the manifest's digest: what they are cannot change.
 */
static int pull_again(const struct making *making, kiln_error *err)
{
	kiln__cleanup(kiln__registries_free_autop) struct kiln__registries *registries = NULL;
	struct kiln__image image = {.about = NULL};
	struct kiln__reference reference;
	int r = kiln__reference_parse(&reference, making->image->name, err);

	if (r == 0)
		r = kiln__registries_load(&registries, err);
	if (r < 0)
		return r;
	strcpy(reference.digest, making->image->digest);
	r = pull(making->images, registries, &reference, making->request, &image, err);
	kiln__image_done(&image);
	return r;
}

static int make_root(void *data, const char *path, kiln_error *err)
{
	const struct making *making = data;
	int r;

	kiln__images_progress(making->images, "making a root image of %s", making->image->name);
	r = make_once(making, path, err);
	if (r != KILN_ENOENT || making->request->pull == KILN__PULL_NEVER)
		return r;
	r = pull_again(making, err);
	if (r == 0)
		r = kiln__os_remove(path, err);
	return r < 0 ? r : make_once(making, path, err);
}

/*
 * The store is held before the cache's lock on the object is waited for: who removes takes them in
 * this order, too.
 */
static int get_root(struct making *making, const char *name, char **ret_path, kiln_error *err)
{
	kiln__autoclose kiln_fd held = KILN_FD_NONE;
	kiln__autofree char *path =
		kiln__strf("%s/objects/%s", kiln__cache_path(making->images->cache), name);
	struct kiln__os_stat st;
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	if (kiln__os_stat(path, &st, NULL) == 0) {
		*ret_path = kiln__take(path);
		return 0;
	}
	r = kiln__images_may_take_time(making->images, err);
	if (r == 0)
		r = kiln__store_hold(making->images, &held, err);
	if (r < 0)
		return r;
	return kiln__cache_get(making->images->cache, name, make_root, making, ret_path, err);
}

int kiln__image_root(const struct kiln__images *images, const struct kiln__image_request *request,
		     const struct kiln__image *image, char **ret_path, kiln_error *err)
{
	struct making making = {images, request, image};
	kiln__autofree char *name = kiln__store_root_name(image->about);
	int r;

	if (!name)
		return kiln__fail(err, KILN_EFORMAT, "the image store is damaged: %s has no chain",
				  image->name);
	r = get_root(&making, name, ret_path, err);
	if (r < 0)
		kiln__stage(err, "image");
	return r;
}

int kiln__image_root_of(const struct kiln__images *images, const char *reference, const char *arch,
			char **ret_path, kiln_error *err)
{
	const struct kiln__image_request request = {.reference = reference, .arch = arch};
	const char *digest = kiln__is_sha256(reference) ? reference : "";
	struct kiln__reference parsed;
	struct kiln__image image;
	int r = *digest ? 0 : kiln__reference_parse(&parsed, reference, err);

	if (r == 0 && !*digest)
		digest = parsed.digest;
	/* What a machine that was made of an image boots again. */
	if (r == 0 && *digest && kiln__store_made_root(images, digest, ret_path, NULL) == 0)
		return 0;
	if (r == 0)
		r = kiln__image_get(images, &request, &image, err);
	if (r < 0)
		return r;
	r = kiln__image_root(images, &request, &image, ret_path, err);
	kiln__image_done(&image);
	return r;
}

/* --- login ----------------------------------------------------------------------------------- */

int kiln__image_check_login(const struct kiln__images *images, const char *host, const char *user,
			    const char *password, kiln_error *err)
{
	kiln__cleanup(kiln__registries_free_autop) struct kiln__registries *registries = NULL;
	const struct kiln__login login = {(char *)(uintptr_t)user, (char *)(uintptr_t)password,
					  NULL};
	struct kiln__registry_place places[MAX_PLACES];
	const struct kiln__image_request request = {.reference = NULL};
	struct kiln__reference any = {.tag = "latest", .path = "any"};
	kiln__autoclose kiln_fd held = KILN_FD_NONE;
	autojson *asked = NULL;
	autojson *result = NULL;
	json_t *place;
	int r = kiln__registries_load(&registries, err);

	snprintf(any.domain, sizeof(any.domain), "%s", host);
	if (r == 0)
		r = kiln__registries_places(registries, &any, places, MAX_PLACES, err);
	if (r < 0)
		return r;
	/* The last is the registry itself, behind its mirrors. */
	r = place_json(&places[r - 1], &login, &place, err);
	if (r < 0)
		return r;
	asked = json_pack("{s:b, s:s, s:[o], s:I}", "login", 1, "name", host, "registries", place,
			  "timeout", kiln__helper_timeout());
	r = asked ? kiln__store_hold(images, &held, err)
		  : kiln__fail(err, KILN_EINVAL, "the login is not UTF-8");
	return r < 0 ? r : fetch(images, asked, &request, kiln__os_arch(), &result, err);
}
