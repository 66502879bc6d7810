/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flat table of modules, sorted by name once all lists are in. Resolving walks
 * dependencies depth first; the depth is bounded, because a list could be
 * made to nest without end.
 */
#include "modules.h"

#include "buf.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>

#define MAX_MODULES 65536
#define MAX_DEPTH   64
#define MAX_NAME    64 /* MODULE_NAME_LEN is 64 - sizeof(long) */

enum mark {
	UNSEEN,
	ENTERED, /* its dependencies are being walked: meeting it again is a cycle */
	PLACED,
};

struct module {
	char name[MAX_NAME];
	char *path;    /* relative; NULL if only known as built in */
	char *depends; /* names separated by spaces or commas; NULL if no list has told */
	size_t order;  /* of addition: decides between two of one name */
	bool builtin;
	enum mark mark;
};

struct kiln__modules {
	struct module *table;
	size_t count;
	size_t cap;
	bool sorted;
};

int kiln__modules_new(struct kiln__modules **ret, kiln_error *err)
{
	struct kiln__modules *modules = calloc(1, sizeof(*modules));

	if (!modules)
		return kiln__fail_nomem(err);
	*ret = modules;
	return 0;
}

void kiln__modules_free(struct kiln__modules *modules)
{
	if (!modules)
		return;
	for (size_t i = 0; i < modules->count; i++) {
		free(modules->table[i].path);
		free(modules->table[i].depends);
	}
	free(modules->table);
	free(modules);
}

/* --- names and paths ------------------------------------------------------------------ */

/* "kernel/fs/9p/9p.ko.xz" and "virtio-net" both become a bare name with underscores. */
static int name_of(const char *path, size_t len, char ret[MAX_NAME], kiln_error *err)
{
	const char *base = kiln__buf_behind_last(path, '/', len);
	size_t base_len = len - (size_t)(base - path);
	const char *dot = memmem(base, base_len, ".ko", 3);

	if (dot)
		base_len = (size_t)(dot - base);
	if (!base_len || base_len >= MAX_NAME)
		return kiln__fail(err, KILN_EFORMAT, "'%.*s' is no module's name",
				  (int)(len < 100 ? len : 100), path);
	for (size_t i = 0; i < base_len; i++)
		ret[i] = base[i] == '-' ? '_' : base[i];
	ret[base_len] = '\0';
	return 0;
}

static int check_path(const char *path, size_t len, kiln_error *err)
{
	bool bad = !len || path[0] == '/' || memchr(path, '\0', len);

	for (size_t at = 0; at < len && !bad;) {
		const char *slash = memchr(path + at, '/', len - at);
		size_t part = slash ? (size_t)(slash - path) - at : len - at;

		bad = part == 2 && !memcmp(path + at, "..", 2);
		at += part + 1;
	}
	if (bad)
		return kiln__fail(err, KILN_EFORMAT,
				  "the module list names '%.*s': not a relative path",
				  (int)(len < 100 ? len : 100), path);
	return 0;
}

static int add(struct kiln__modules *modules, const char *path, size_t len, bool builtin,
	       struct module **ret, kiln_error *err)
{
	struct module *module;
	int rc;

	if (modules->count == modules->cap) {
		size_t cap = modules->cap ? modules->cap * 2 : 1024;
		struct module *table;

		if (modules->count >= MAX_MODULES)
			return kiln__fail(err, KILN_EOVERFLOW,
					  "the module lists name more than %d modules",
					  MAX_MODULES);
		table = realloc(modules->table, cap * sizeof(*table)); /* bounded above */
		if (!table)
			return kiln__fail_nomem(err);
		modules->table = table;
		modules->cap = cap;
	}
	module = &modules->table[modules->count];
	memset(module, 0, sizeof(*module));
	rc = check_path(path, len, err);
	if (!rc)
		rc = name_of(path, len, module->name, err);
	if (rc)
		return rc;
	module->builtin = builtin;
	module->order = modules->count;
	if (!builtin) {
		module->path = strndup(path, len);
		if (!module->path)
			return kiln__fail_nomem(err);
	}
	modules->count++;
	modules->sorted = false;
	if (ret)
		*ret = module;
	return 0;
}

/* --- lists -------------------------------------------------------------------------------- */

/* Takes the next line without surrounding white space; false at the end of the text. */
static bool next_line(const char **text, size_t *len, const char **ret, size_t *ret_len)
{
	const char *line = *text, *end;

	if (!*len)
		return false;
	end = memchr(line, '\n', *len);
	*ret = line;
	*ret_len = end ? (size_t)(end - line) : *len;
	*text += *ret_len + (end ? 1 : 0);
	*len -= *ret_len + (end ? 1 : 0);
	while (*ret_len && ((*ret)[*ret_len - 1] == ' ' || (*ret)[*ret_len - 1] == '\r'))
		--*ret_len;
	return true;
}

int kiln__modules_add_dep(struct kiln__modules *modules, const char *text, size_t len,
			  kiln_error *err)
{
	const char *line;
	size_t line_len;

	while (next_line(&text, &len, &line, &line_len)) {
		const char *colon = memchr(line, ':', line_len);
		struct module *module;
		int rc;

		if (!line_len || line[0] == '#')
			continue;
		if (!colon)
			return kiln__fail(err, KILN_EFORMAT, "modules.dep has a line without ':'");
		rc = add(modules, line, (size_t)(colon - line), false, &module, err);
		if (rc)
			return rc;
		module->depends = strndup(colon + 1, line_len - (size_t)(colon - line) - 1);
		if (!module->depends)
			return kiln__fail_nomem(err);
	}
	return 0;
}

static int add_plain(struct kiln__modules *modules, const char *text, size_t len, bool builtin,
		     kiln_error *err)
{
	const char *line;
	size_t line_len;
	int rc;

	while (next_line(&text, &len, &line, &line_len)) {
		if (!line_len)
			continue;
		rc = add(modules, line, line_len, builtin, NULL, err);
		if (rc)
			return rc;
	}
	return 0;
}

int kiln__modules_add_order(struct kiln__modules *modules, const char *text, size_t len,
			    kiln_error *err)
{
	return add_plain(modules, text, len, false, err);
}

int kiln__modules_add_builtin(struct kiln__modules *modules, const char *text, size_t len,
			      kiln_error *err)
{
	return add_plain(modules, text, len, true, err);
}

/* --- resolving ------------------------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
	const struct module *x = a, *y = b;
	int by_name = strcmp(x->name, y->name);

	if (by_name)
		return by_name;
	return (x->order > y->order) - (x->order < y->order);
}

static void sort(struct kiln__modules *modules)
{
	if (!modules->sorted && modules->count)
		qsort(modules->table, modules->count, sizeof(*modules->table), compare);
	modules->sorted = true;
}

/* The first module of this name, or NULL. */
static struct module *find(struct kiln__modules *modules, const char *name)
{
	size_t low = 0, high = modules->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(modules->table[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < modules->count && !strcmp(modules->table[low].name, name))
		return &modules->table[low];
	return NULL;
}

struct resolving {
	struct kiln__modules *modules;
	kiln__modules_read_fn read;
	void *data;
	const char **paths;
	size_t count;
};

static int place(struct resolving *r, const char *name, size_t len, const char *wanted_by,
		 bool optional, unsigned depth, kiln_error *err);

static int place_depends(struct resolving *r, struct module *module, unsigned depth,
			 kiln_error *err)
{
	kiln__autobuf names = KILN__BUF_INIT;
	const char *text = module->depends;
	int rc;

	if (!text) {
		rc = r->read(r->data, module->path, &names, err);
		if (rc)
			return rc;
		if (names.failed)
			return kiln__fail_nomem(err);
		text = names.data ? names.data : "";
	}
	/*
	 * modules.dep lists the deepest dependency last; walking each one's own makes the order
	 * sure.
	 */
	while (*(text += strspn(text, " ,\t"))) {
		size_t len = strcspn(text, " ,\t");

		rc = place(r, text, len, module->name, false, depth + 1, err);
		if (rc)
			return rc;
		text += len;
	}
	return 0;
}

static int place(struct resolving *r, const char *text, size_t len, const char *wanted_by,
		 bool optional, unsigned depth, kiln_error *err)
{
	struct module *module;
	char name[MAX_NAME];
	int rc;

	rc = name_of(text, len, name, err);
	if (rc)
		return rc;
	module = find(r->modules, name);
	if (!module && optional)
		return 0;
	if (!module) {
		if (wanted_by)
			return kiln__fail(err, KILN_ENOENT,
					  "the kernel module '%s', which '%s' needs, is missing",
					  name, wanted_by);
		return kiln__fail(
			err, KILN_ENOENT,
			"the kernel module '%s' is neither in the module directory nor built in",
			name);
	}
	if (module->builtin || module->mark == PLACED)
		return 0;
	if (module->mark == ENTERED)
		return kiln__fail(err, KILN_EFORMAT, "the kernel module '%s' depends on itself",
				  name);
	if (depth > MAX_DEPTH)
		return kiln__fail(err, KILN_EFORMAT,
				  "the kernel module '%s' is needed %d levels deep", name,
				  MAX_DEPTH);
	module->mark = ENTERED;
	rc = place_depends(r, module, depth, err);
	if (rc)
		return rc;
	module->mark = PLACED;
	r->paths[r->count++] = module->path;
	return 0;
}

int kiln__modules_resolve(struct kiln__modules *modules, const char *const *wanted,
			  kiln__modules_read_fn read, void *data, const char ***ret_paths,
			  kiln_error *err)
{
	kiln__autofree const char **paths = calloc(modules->count + 1, sizeof(*paths));
	struct resolving r = {modules, read, data, paths, 0};
	int rc;

	if (!paths)
		return kiln__fail_nomem(err);
	sort(modules);
	for (size_t i = 0; i < modules->count; i++)
		modules->table[i].mark = UNSEEN;
	for (; *wanted; wanted++) {
		size_t len = strlen(*wanted);
		bool optional = len && (*wanted)[len - 1] == '?';

		rc = place(&r, *wanted, len - (optional ? 1 : 0), NULL, optional, 0, err);
		if (rc)
			return rc;
	}
	*ret_paths = kiln__take(paths);
	return 0;
}

/* --- modules as files ------------------------------------------------------------------------- */

static uint64_t get(const uint8_t *bytes, size_t offset, unsigned size)
{
	uint64_t value = 0;

	while (size--)
		value = value << 8 | bytes[offset + size];
	return value;
}

/* The section headers of a 64-bit little-endian ELF file: where, and how many (gABI, chapter 4). */
static bool elf_sections(const uint8_t *bytes, size_t len, uint64_t *ret_table, uint64_t *ret_count)
{
	if (len < 64 ||
	    memcmp(bytes,
		   "\x7f"
		   "ELF\2\1",
		   6) ||
	    get(bytes, 58, 2) != 64)
		return false;
	*ret_table = get(bytes, 40, 8);
	*ret_count = get(bytes, 60, 2);
	return *ret_table <= len && *ret_count <= (len - *ret_table) / 64;
}

/*
 * Section @index of a table that elf_sections() has checked; false if its bytes are not in the
 * file.
 */
static bool elf_section(const uint8_t *bytes, size_t len, uint64_t table, uint64_t index,
			uint64_t *ret_offset, uint64_t *ret_size)
{
	*ret_offset = get(bytes, table + index * 64 + 24, 8);
	*ret_size = get(bytes, table + index * 64 + 32, 8);
	return *ret_offset <= len && *ret_size <= len - *ret_offset;
}

/* The entry "depends=..." among NUL-terminated ones. */
static void copy_depends(const char *text, size_t size, struct kiln__buf *ret)
{
	static const char key[] = "depends=";

	while (size) {
		size_t len = strnlen(text, size);

		if (len >= sizeof(key) - 1 && !memcmp(text, key, sizeof(key) - 1)) {
			kiln__buf_add(ret, text + sizeof(key) - 1, len - (sizeof(key) - 1));
			return;
		}
		len += len < size;
		text += len;
		size -= len;
	}
}

int kiln__module_depends(const char *name, const uint8_t *bytes, size_t len, struct kiln__buf *ret,
			 kiln_error *err)
{
	static const char modinfo[] = ".modinfo";
	uint64_t table, count, names, names_size, offset, size, at;

	if (!elf_sections(bytes, len, &table, &count) || get(bytes, 62, 2) >= count ||
	    !elf_section(bytes, len, table, get(bytes, 62, 2), &names, &names_size))
		return kiln__fail(err, KILN_EFORMAT, "%s is not a kernel module", name);
	for (uint64_t i = 0; i < count; i++) {
		at = get(bytes, table + i * 64, 4);
		if (at > names_size || names_size - at < sizeof(modinfo) ||
		    memcmp(bytes + names + at, modinfo, sizeof(modinfo)) ||
		    !elf_section(bytes, len, table, i, &offset, &size))
			continue;
		copy_depends((const char *)bytes + offset, size, ret);
		return 0;
	}
	return kiln__fail(err, KILN_EFORMAT,
			  "%s is not a kernel module: it has no .modinfo section", name);
}
