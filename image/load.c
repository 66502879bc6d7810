/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images of directories and archives into the store's directory of blobs.
 *
 * An archive is read once, as it streams in: every file of it goes to the store under its own
 * digest, and what it was called is remembered with it. Then the documents among them are looked
 * for by name, and lead from one to the next by digest. What was taken in and is not part of the
 * image is left for the store's collector. Whatever a name in an archive says, it names nothing
 * here but itself.
 *
 *   oci-archive     oci-layout, index.json, blobs/sha256/HEX
 *   docker-archive  manifest.json, and what that names: a configuration, layers (links among them)
 *   oci, dir        directories; the files are asked for by name then
 *   tar             one layer, of which an image is made
 */
#include "arch.h"
#include "blob.h"
#include "input.h"
#include "layer.h"
#include "manifest.h"
#include "program.h"
#include "reference.h"
#include "report.h"

#include "buf.h"
#include "err.h"
#include "os.h"
#include "syscalls.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

KILN__SYSCALLS(openat, fstat);

#define MAX_FILES 4096

KILN__DEFINE_AUTOPTR(json_t, json_decref)
#define autojson kiln__cleanup(json_decref_autop) json_t

struct loading {
	const struct request *request;
	json_t *files; /* of an archive: name to {digest, size} or {link} */
	uint64_t bytes;
	char *name; /* that the image has there, malloc'ed, or NULL */
};

/* --- archives -------------------------------------------------------------------------------- */

static char *plain_path(const char *path)
{
	while (!strncmp(path, "./", 2))
		path += 2;
	return strdup(path);
}

/* What a link says is seen from where it stands: "../HEX/layer.tar" of "HEX/layer.tar". */
static char *link_target(const char *path, const char *target)
{
	kiln__autofree char *base = strdup(path);
	char *slash = base ? strrchr(base, '/') : NULL;

	if (!base)
		return NULL;
	if (slash)
		*slash = '\0';
	else
		*base = '\0';
	while (!strncmp(target, "../", 3)) {
		target += 3;
		slash = strrchr(base, '/');
		if (slash)
			*slash = '\0';
		else
			*base = '\0';
	}
	return *base ? kiln__strf("%s/%s", base, target) : strdup(target);
}

static int note(struct loading *loading, const char *path, json_t *what, kiln_error *err)
{
	if (json_object_size(loading->files) >= MAX_FILES) {
		json_decref(what);
		return kiln__fail(err, KILN_EOVERFLOW, "it has more than %d files", MAX_FILES);
	}
	return json_object_set_new(loading->files, path, what)
		       ? kiln__fail(err, KILN_EFORMAT, "an entry's name is not UTF-8")
		       : 0;
}

static int take_file(struct loading *loading, struct archive *archive, const char *path,
		     kiln_error *err)
{
	kiln__cleanup(blob_free_autop) struct blob *blob = NULL;
	uint64_t left = loading->request->max_bytes - loading->bytes;
	char digest[SHA256_TEXT];
	const void *bytes;
	uint64_t size;
	int64_t offset;
	size_t len;
	int rc;
	int r = blob_begin_unnamed(&blob, loading->request->output_dir, left, err);

	while (r == 0 &&
	       (rc = archive_read_data_block(archive, &bytes, &len, &offset)) != ARCHIVE_EOF) {
		if (rc != ARCHIVE_OK || (uint64_t)offset != blob_length(blob))
			r = kiln__fail(err, KILN_EFORMAT, "it is damaged: %s",
				       rc != ARCHIVE_OK ? archive_error_string(archive)
							: "a file has holes");
		else
			r = blob_add(blob, bytes, len, err);
	}
	if (r == 0)
		r = blob_finish(blob, digest, &size, err);
	if (r < 0) {
		kiln__prefix(err, "the entry '%.200s'", path);
		return r;
	}
	loading->bytes += size;
	return note(loading, path,
		    json_pack("{s:s, s:I}", "digest", digest, "size", (json_int_t)size), err);
}

static int take_entry(struct loading *loading, struct archive *archive, struct archive_entry *entry,
		      kiln_error *err)
{
	const char *given = archive_entry_pathname(entry);
	kiln__autofree char *path = given ? plain_path(given) : NULL;
	const char *link = archive_entry_hardlink(entry);
	kiln__autofree char *target = NULL;

	if (!path)
		return kiln__fail(err, KILN_EFORMAT, "an entry has no usable name");
	if (link) {
		target = plain_path(link);
	} else if (archive_entry_filetype(entry) == AE_IFLNK) {
		link = archive_entry_symlink(entry);
		target = link ? link_target(path, link) : NULL;
	}
	if (target)
		return note(loading, path, json_pack("{s:s}", "link", target), err);
	return archive_entry_filetype(entry) == AE_IFREG ? take_file(loading, archive, path, err)
							 : 0;
}

static int take_archive(struct loading *loading, kiln_error *err)
{
	struct archive *archive = archive_read_new();
	struct archive_entry *entry;
	struct input input;
	int rc;
	int r;

	if (!archive)
		return kiln__fail_nomem(err);
	input_init(&input, loading->request->inputs[0], loading->request->name);
	archive_read_support_filter_bzip2(archive);
	archive_read_support_filter_gzip(archive);
	archive_read_support_filter_xz(archive);
	archive_read_support_filter_zstd(archive);
	archive_read_support_format_tar(archive);
	r = input_open_archive(&input, archive, err);
	while (r == 0 && (rc = archive_read_next_header(archive, &entry)) != ARCHIVE_EOF) {
		if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
			r = kiln__fail(err, KILN_EFORMAT, "it is no readable tar archive: %s",
				       archive_error_string(archive));
		else
			r = take_entry(loading, archive, entry, err);
	}
	archive_read_free(archive);
	input_done(&input);
	return r;
}

/* --- files by name --------------------------------------------------------------------------- */

static int open_in_dir(const struct loading *loading, const char *path, kiln_fd *ret,
		       kiln_error *err)
{
	struct stat info;
	kiln_fd fd =
		openat(loading->request->dir, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return kiln__fail_errno(err, errno, "'%.200s'", path);
	if (fstat(fd, &info) || !S_ISREG(info.st_mode)) {
		close(fd);
		return kiln__fail(err, KILN_EFORMAT, "'%.200s' is no file", path);
	}
	*ret = fd;
	return 0;
}

/* Copies an open file into the store under the digest that it has. */
static int copy_fd(const struct loading *loading, kiln_fd fd, struct descriptor *ret,
		   kiln_error *err)
{
	kiln__cleanup(blob_free_autop) struct blob *blob = NULL;
	kiln__autofree uint8_t *bytes = malloc(1u << 18);
	ssize_t got;
	int r;

	if (!bytes)
		return kiln__fail_nomem(err);
	r = blob_begin_unnamed(&blob, loading->request->output_dir, loading->request->max_bytes,
			       err);
	while (r == 0 && (got = kiln__os_read(fd, bytes, 1u << 18)) != 0)
		r = got < 0 ? kiln__fail_errno(err, (int)-got, "cannot read it")
			    : blob_add(blob, bytes, (size_t)got, err);
	return r < 0 ? r : blob_finish(blob, ret->digest, &ret->size, err);
}

/* What an archive's name leads to, through as many links as a docker-archive has. */
static const json_t *find_file(const struct loading *loading, const char *path)
{
	const json_t *found = json_object_get(loading->files, path);

	for (int i = 0; i < 8 && found; i++) {
		const char *link = json_string_value(json_object_get(found, "link"));

		if (!link)
			return found;
		found = json_object_get(loading->files, link);
	}
	return NULL;
}

/* Makes sure that the file @path is in the store: what it is there. */
static int take_in(struct loading *loading, const char *path, struct descriptor *ret,
		   kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	const json_t *found;
	int r;

	*ret = (struct descriptor){.size = 0};
	if (loading->request->dir != KILN_FD_NONE) {
		r = open_in_dir(loading, path, &fd, err);
		return r < 0 ? r : copy_fd(loading, fd, ret, err);
	}
	found = find_file(loading, path);
	if (!found)
		return kiln__fail(err, KILN_ENOENT, "it has no file '%.200s'", path);
	snprintf(ret->digest, sizeof(ret->digest), "%s",
		 json_string_value(json_object_get(found, "digest")));
	ret->size = (uint64_t)json_integer_value(json_object_get(found, "size"));
	return 0;
}

/* A document, in memory. */
static int read_document(struct loading *loading, const char *path, size_t max, char **ret,
			 size_t *ret_len, struct descriptor *self, kiln_error *err)
{
	int r = take_in(loading, path, self, err);

	return r < 0 ? r
		     : blob_read(loading->request->output_dir, self->digest, max, ret, ret_len,
				 err);
}

static int read_json(struct loading *loading, const char *path, json_t **ret, kiln_error *err)
{
	struct descriptor self;
	kiln__autofree char *text = NULL;
	size_t len;
	int r = read_document(loading, path, MANIFEST_MAX, &text, &len, &self, err);

	if (r < 0)
		return r;
	*ret = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	return *ret ? 0 : kiln__fail(err, KILN_EFORMAT, "its '%s' is no JSON", path);
}

/* --- from a manifest on ---------------------------------------------------------------------- */

/* Where a blob lies in a layout, or as dir: has it. */
static char *blob_path(const struct loading *loading, const char *digest)
{
	return kiln__strf(!strcmp(loading->request->names[0], "dir") ? "%s" : "blobs/sha256/%s",
			  digest + 7);
}

/* The blob that a document promises: it must be there, and be that. */
static int take_blob(struct loading *loading, const struct descriptor *promised, kiln_error *err)
{
	kiln__autofree char *path = blob_path(loading, promised->digest);
	struct descriptor found;
	int r;

	if (blob_present(loading->request->output_dir, promised->digest, promised->size))
		return 0;
	r = path ? take_in(loading, path, &found, err) : kiln__fail_nomem(err);
	if (r == 0 && (strcmp(found.digest, promised->digest) || found.size != promised->size))
		r = kiln__fail(err, KILN_EFORMAT,
			       "its file '%s' has the digest %s and %" PRIu64
			       " bytes, where %s and "
			       "%" PRIu64 " were promised",
			       path, found.digest, found.size, promised->digest, promised->size);
	return r;
}

static int finish(struct loading *loading, const struct descriptor *self,
		  const struct manifest *manifest, json_t **ret, kiln_error *err)
{
	kiln__autofree char *config = NULL;
	size_t len;
	int r = take_blob(loading, &manifest->config, err);

	for (size_t i = 0; r == 0 && i < manifest->layer_count; i++)
		r = take_blob(loading, &manifest->layers[i], err);
	if (r == 0)
		r = blob_read(loading->request->output_dir, manifest->config.digest, CONFIG_MAX,
			      &config, &len, err);
	if (r == 0)
		r = manifest_describe(self, manifest, config, len, loading->request->arch, ret,
				      err);
	if (r == 0 && loading->name)
		json_object_set_new(*ret, "name", json_string(loading->name));
	return r;
}

/* The manifest at @path, or the one for this machine that the index there names. */
static int load_manifest(struct loading *loading, const char *path, const char *media_type,
			 unsigned depth, json_t **ret, kiln_error *err)
{
	struct manifest manifest = {.layers = NULL};
	kiln__autofree char *text = NULL;
	kiln__autofree char *next = NULL;
	struct descriptor self, chosen;
	size_t len;
	int r = read_document(loading, path, MANIFEST_MAX, &text, &len, &self, err);

	if (r == 0)
		r = manifest_kind(text, len, media_type, err);
	if (r > 0 && depth > 2)
		return kiln__fail(err, KILN_EFORMAT, "its indexes lead to each other");
	if (r > 0) {
		r = manifest_choose(text, len, loading->request->arch, &chosen, err);
		next = r == 0 ? blob_path(loading, chosen.digest) : NULL;
		return r < 0 ? r
			     : load_manifest(loading, next, chosen.media_type, depth + 1, ret, err);
	}
	if (r == 0)
		r = manifest_parse(text, len, media_type, &manifest, err);
	if (r < 0)
		return r;
	strcpy(self.media_type, manifest.media_type);
	r = finish(loading, &self, &manifest, ret, err);
	manifest_done(&manifest);
	return r;
}

/* --- OCI layouts ----------------------------------------------------------------------------- */

static const char *annotation(const json_t *item, const char *key)
{
	return json_string_value(json_object_get(json_object_get(item, "annotations"), key));
}

static const char *name_of(const json_t *item)
{
	return annotation(item, "org.opencontainers.image.ref.name");
}

static int choose_from_index(const json_t *manifests, const char *wanted, const json_t **ret,
			     kiln_error *err)
{
	const json_t *item;
	size_t i;

	json_array_foreach (manifests, i, item)
		if (wanted && name_of(item) && !strcmp(name_of(item), wanted)) {
			*ret = item;
			return 0;
		}
	if (wanted)
		return kiln__fail(err, KILN_ENOENT, "it has no image '%.100s'", wanted);
	if (json_array_size(manifests) != 1) {
		kiln__fail(err, KILN_EINVAL, "it has %zu images", json_array_size(manifests));
		kiln__hint(err, "name one of them: KIND:PATH:NAME");
		return KILN_EINVAL;
	}
	*ret = json_array_get(manifests, 0);
	return 0;
}

static int load_layout(struct loading *loading, json_t **ret, kiln_error *err)
{
	autojson *index = NULL;
	kiln__autofree char *path = NULL;
	const json_t *item = NULL;
	const char *digest, *found;
	int r = read_json(loading, "index.json", &index, err);

	if (r == 0)
		r = choose_from_index(json_object_get(index, "manifests"),
				      loading->request->names[1], &item, err);
	if (r < 0)
		return r;
	digest = json_string_value(json_object_get(item, "digest"));
	if (!kiln__is_sha256(digest))
		return kiln__fail(err, KILN_EFORMAT, "its index has no digest of SHA-256");
	/* containerd and docker write the whole name beside the tag. */
	found = annotation(item, "io.containerd.image.name");
	if (!found)
		found = name_of(item);
	loading->name = found ? strdup(found) : NULL;
	path = blob_path(loading, digest);
	return path ? load_manifest(loading, path,
				    json_string_value(json_object_get(item, "mediaType")), 0, ret,
				    err)
		    : kiln__fail_nomem(err);
}

/* --- what docker save writes ----------------------------------------------------------------- */

static int choose_from_list(const json_t *list, const char *wanted, const json_t **ret,
			    kiln_error *err)
{
	const json_t *item, *tag;
	size_t i, k;

	json_array_foreach (list, i, item)
		json_array_foreach (json_object_get(item, "RepoTags"), k, tag)
			if (wanted && json_string_value(tag) &&
			    !strcmp(json_string_value(tag), wanted)) {
				*ret = item;
				return 0;
			}
	if (wanted)
		return kiln__fail(err, KILN_ENOENT, "it has no image '%.100s'", wanted);
	if (json_array_size(list) != 1) {
		kiln__fail(err, KILN_EINVAL, "it has %zu images", json_array_size(list));
		kiln__hint(err, "name one of them: docker-archive:PATH:NAME");
		return KILN_EINVAL;
	}
	*ret = json_array_get(list, 0);
	return 0;
}

/* What a layer's blob is, by its first bytes. */
static int sniff(struct loading *loading, struct descriptor *layer, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	char bytes[LAYER_HEAD] = {0};
	int r = blob_open(loading->request->output_dir, layer->digest, &fd, err);
	ssize_t got = r < 0 ? r : kiln__os_pread_full(fd, bytes, sizeof(bytes), 0, err);

	if (got < 0)
		return (int)got;
	r = layer_check_compression(bytes, (size_t)got, err);
	if (r < 0) {
		kiln__prefix(err, "the layer %s", layer->digest);
		return r;
	}
	strcpy(layer->media_type, !memcmp(bytes, "\x1f\x8b", 2)           ? LAYER_GZIP
				  : !memcmp(bytes, "\x28\xb5\x2f\xfd", 4) ? LAYER_ZSTD
									  : LAYER_TAR);
	return 0;
}

/* Writes the manifest of what is there, and goes on as if it had been. */
static int make_manifest(struct loading *loading, const struct descriptor *config,
			 const struct descriptor *layers, size_t count, json_t **ret,
			 kiln_error *err)
{
	struct manifest manifest = {.layers = NULL};
	struct descriptor self = {.size = 0};
	json_t *list = json_array();
	autojson *object = NULL;
	kiln__autofree char *text = NULL;
	int r = 0;

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, descriptor_json(&layers[i]));
	object = json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType", MANIFEST_OCI,
			   "config", descriptor_json(config), "layers", list);
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	if (!text)
		return kiln__fail_nomem(err);
	self.size = strlen(text);
	strcpy(self.media_type, MANIFEST_OCI);
	r = blob_put(loading->request->output_dir, text, strlen(text), self.digest, err);
	if (r == 0)
		r = manifest_parse(text, strlen(text), NULL, &manifest, err);
	if (r == 0)
		r = finish(loading, &self, &manifest, ret, err);
	manifest_done(&manifest);
	return r;
}

static int load_docker(struct loading *loading, json_t **ret, kiln_error *err)
{
	struct descriptor layers[MAX_LAYERS];
	struct descriptor config;
	autojson *list = NULL;
	const json_t *item = NULL, *names, *name;
	const char *tag, *path;
	size_t i;
	int r = read_json(loading, "manifest.json", &list, err);

	if (r == 0)
		r = choose_from_list(list, loading->request->names[1], &item, err);
	if (r < 0)
		return r;
	names = json_object_get(item, "Layers");
	path = json_string_value(json_object_get(item, "Config"));
	tag = json_string_value(json_array_get(json_object_get(item, "RepoTags"), 0));
	if (!path || json_array_size(names) > MAX_LAYERS)
		return kiln__fail(err, KILN_EFORMAT, "its manifest.json is damaged");
	loading->name = tag ? strdup(tag) : NULL;
	r = take_in(loading, path, &config, err);
	strcpy(config.media_type, CONFIG_OCI);
	json_array_foreach (names, i, name) {
		if (r == 0 && !json_is_string(name))
			r = kiln__fail(err, KILN_EFORMAT, "its manifest.json is damaged");
		if (r == 0)
			r = take_in(loading, json_string_value(name), &layers[i], err);
		if (r == 0)
			r = sniff(loading, &layers[i], err);
	}
	return r < 0 ? r
		     : make_manifest(loading, &config, layers, json_array_size(names), ret, err);
}

/* --- a root as one layer --------------------------------------------------------------------- */

/* What the layer unpacks to; that it is an archive which can be read to its end is found out by
 * that. */
static int diff_id(struct loading *loading, const struct descriptor *blob, char ret[SHA256_TEXT],
		   const char **ret_type, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct layer layer = {.fd = KILN_FD_NONE};
	struct archive_entry *entry;
	int r = blob_open(loading->request->output_dir, blob->digest, &fd, err);

	if (r < 0)
		return r;
	r = layer_open(&layer, fd, loading->request->name, loading->request->max_bytes, err);
	if (r == 0)
		do
			r = layer_next(&layer, &entry, err);
		while (r > 0);
	if (r == 0)
		r = layer_finish(&layer, ret, err);
	if (r == 0)
		*ret_type = layer_media_type(&layer);
	layer_close(&layer);
	return r;
}

static int import_tar(struct loading *loading, json_t **ret, kiln_error *err)
{
	struct descriptor layer = {.size = 0};
	struct descriptor config = {.size = 0};
	kiln__autofree char *text = NULL;
	char id[SHA256_TEXT];
	const char *type = NULL;
	autojson *object = NULL;
	int r = copy_fd(loading, loading->request->inputs[0], &layer, err);

	if (r == 0)
		r = diff_id(loading, &layer, id, &type, err);
	if (r < 0)
		return r;
	strcpy(layer.media_type, type);
	object = json_pack("{s:s, s:s, s:{}, s:{s:s, s:[s]}}", "architecture",
			   kiln__arch_of_images(loading->request->arch), "os", "linux", "config",
			   "rootfs", "type", "layers", "diff_ids", id);
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	if (!text)
		return kiln__fail_nomem(err);
	config.size = strlen(text);
	strcpy(config.media_type, CONFIG_OCI);
	r = blob_put(loading->request->output_dir, text, strlen(text), config.digest, err);
	return r < 0 ? r : make_manifest(loading, &config, &layer, 1, ret, err);
}

/* --- the whole ------------------------------------------------------------------------------- */

static int load(struct loading *loading, json_t **ret, kiln_error *err)
{
	const char *kind = loading->request->names[0];
	int r;

	if (!strcmp(kind, "tar"))
		return import_tar(loading, ret, err);
	if (!strcmp(kind, "dir"))
		return load_manifest(loading, "manifest.json", NULL, 0, ret, err);
	if (!strcmp(kind, "oci"))
		return load_layout(loading, ret, err);
	r = take_archive(loading, err);
	if (r < 0)
		return r;
	/* Docker's newer archives are both: its own list has the names. */
	if (!strcmp(kind, "docker-archive") ||
	    (strcmp(kind, "oci-archive") && json_object_get(loading->files, "manifest.json")))
		return load_docker(loading, ret, err);
	return load_layout(loading, ret, err);
}

int command_load(const struct request *request, kiln_error *err)
{
	struct loading loading = {.request = request, .files = json_object()};
	json_t *result = NULL;
	int r;

	if (request->output_dir == KILN_FD_NONE || !request->names[0] ||
	    (request->dir != KILN_FD_NONE) == (request->input_count == 1)) {
		json_decref(loading.files);
		return kiln__fail(err, KILN_EINVAL,
				  "load needs --output-dir, one of --input and --dir, and a kind");
	}
	r = loading.files ? load(&loading, &result, err) : kiln__fail_nomem(err);
	/* What the store's index comes to name is there after a power cut. */
	if (r == 0)
		r = kiln__os_sync(request->output_dir, err);
	if (r < 0)
		kiln__prefix(err, "%s", request->name);
	json_decref(loading.files);
	free(loading.name);
	if (r < 0) {
		json_decref(result);
		return r;
	}
	return report_result(result, err);
}
