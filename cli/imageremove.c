/* SPDX-License-Identifier: Apache-2.0 */
/* image rm, prune: what nobody needs any more, and what VMs still do. */
#include "image.h"

#include "err.h"
#include "homes.h"

#include <stdlib.h>
#include <string.h>

/* What VMs are made of (see kiln__store_remove()), NULL-terminated; free with free_used(). */
static void free_used(char **used)
{
	for (char **at = used; at && *at; at++)
		free(*at);
	free(used);
}

struct usage {
	struct image_context *context;
	char **names; /* NULL-terminated */
	size_t count;
};

/* Takes @name. */
static int add_name(struct usage *usage, char *name)
{
	char **grown = realloc(usage->names, (usage->count + 2) * sizeof(*grown));

	if (grown)
		usage->names = grown;
	if (!grown || !name) {
		free(name);
		return KILN_ENOMEM;
	}
	grown[usage->count++] = name;
	grown[usage->count] = NULL;
	return 0;
}

/* What cannot be read any more boots nothing: its root image is nobody's. */
static int add_root(struct usage *usage, const char *path)
{
	char *name = NULL;
	int r = kiln__root_image_name(&usage->context->images, path, &name, NULL);

	return r == 0 ? add_name(usage, name) : r == KILN_ENOMEM ? r : 0;
}

static int add_used(void *data, const kiln_vm_info *info)
{
	struct usage *usage = data;
	kiln_config *config = NULL;
	const char *text, *at;
	kiln_vm *vm = NULL;
	int r = 0;

	/* One that goes meanwhile uses nothing any more. */
	if (kiln_manager_find(usage->context->cli->manager, info->id, &vm, NULL) < 0)
		return 0;
	if (kiln_vm_config(vm, &config, NULL) == 0) {
		if (kiln_config_get(config, "root.image", &text, NULL) == 0 &&
		    (at = strchr(text, '@')))
			r = add_name(usage, strdup(at + 1));
		else if (kiln_config_get(config, "root.directory.path", &text, NULL) == 0 ||
			 kiln_config_get(config, "root.tar.path", &text, NULL) == 0)
			r = add_root(usage, text);
	}
	kiln_config_free(config);
	kiln_vm_free(vm);
	return r;
}

static int list_used(struct image_context *context, char ***ret, kiln_error *err)
{
	struct usage usage = {.context = context, .names = calloc(1, sizeof(char *))};
	int r = usage.names ? cli_manager(context->cli, err) : kiln__fail_nomem(err);

	if (r == 0)
		r = kiln_manager_list(context->cli->manager, add_used, &usage, err);
	if (r == 0)
		r = kiln__homes_used(context->images.cache, &usage.names, err);
	if (r == KILN_ENOMEM)
		kiln__fail_nomem(err);
	if (r < 0) {
		free_used(usage.names);
		return r;
	}
	*ret = usage.names;
	return 0;
}

static bool is_used(char *const *used, const char *digest)
{
	for (; *used; used++)
		if (strcmp(*used, digest) == 0)
			return true;
	return false;
}

static void print_freed(const struct kiln__freed *freed)
{
	char text[32];

	fprintf(stderr, "%s freed\n", format_bytes(freed->bytes, text, sizeof(text)));
}

/* Also what nothing is known of any more: one that is broken can be removed. */
static int rm_one(struct image_context *context, const struct kiln__image_list *list,
		  const char *text, char *const *used, kiln_error *err)
{
	bool force = args_has(context->args, OPT_FORCE);
	const struct kiln__image_entry *entry;
	struct kiln__freed freed;
	const char *arch;
	int r = image_wanted_arch(context->args, &arch, err);

	if (r == 0)
		r = kiln__store_find(list, text, arch, &entry, err);
	if (r < 0)
		return r;
	if (is_used(used, entry->digest) && !force) {
		kiln__fail(err, KILN_EBUSY, "a VM is made of %s", entry->name);
		kiln__hint(err, "remove the VM first, or use --force: it is pulled again then");
		return KILN_EBUSY;
	}
	return kiln__store_remove(
		&context->images, kiln__store_is_name(entry, text) ? entry->name : NULL, arch,
		entry->digest, force ? NULL : (const char *const *)used, &freed, err);
}

static int rm_all(struct image_context *context, char *const *used, kiln_error *err)
{
	struct kiln__image_list list;
	int r = kiln__store_list(&context->images, &list, err);

	if (r < 0)
		return r;
	for (char **name = context->rest; r == 0 && *name; name++)
		r = rm_one(context, &list, *name, used, err);
	kiln__store_list_done(&list);
	return r;
}

/* What VMs use is listed when no more of them can come to use an image. */
int image_rm(struct image_context *context, kiln_error *err)
{
	struct kiln__removal removal;
	char **used = NULL;
	int r = kiln__store_begin_removal(&context->images, &removal, err);

	if (r < 0)
		return r;
	r = list_used(context, &used, err);
	if (r == 0)
		r = rm_all(context, used, err);
	kiln__store_end_removal(&removal);
	free_used(used);
	return r;
}

int image_prune(struct image_context *context, kiln_error *err)
{
	struct kiln__removal removal;
	struct kiln__freed freed;
	char **used = NULL;
	int r = kiln__store_begin_removal(&context->images, &removal, err);

	if (r < 0)
		return r;
	r = list_used(context, &used, err);
	if (r == 0)
		r = kiln__store_prune(&context->images, args_has(context->args, OPT_ALL),
				      (const char *const *)used, &freed, err);
	kiln__store_end_removal(&removal);
	free_used(used);
	if (r == 0)
		print_freed(&freed);
	return r;
}
