/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory runs out while the image cache makes, finds and records an object. What it gets over
 * is the sweep of what others left behind, and a lock file that the next sweep removes.
 */
#include "kiln_test.h"

#include "cache.h"
#include "nomem.h"
#include "os.h"

#include <stdlib.h>

static int make_object(void *data, const char *path, kiln_error *err)
{
	(void)data;
	return kiln__os_replace_file(path, "object", 6, 0600, false, err);
}

static size_t entries(const char *path)
{
	char **names;
	size_t count = 0;

	if (kiln__os_list_dir(path, &names, NULL) < 0)
		return 0;
	while (names[count])
		count++;
	kiln__os_free_names(names);
	return count;
}

static int get_operation(void *data, kiln_error *err)
{
	struct kiln__cache *cache = NULL;
	char *path = NULL;
	char *found = NULL;
	int r = kiln__cache_new(&cache, data, err);

	if (r == 0)
		r = kiln__cache_get(cache, "object-1", make_object, NULL, &path, err);
	if (r == 0)
		r = kiln__cache_record(cache, "record-1", "object-1", err);
	if (r == 0)
		r = kiln__cache_find(cache, "record-1", &found, err);
	if (r == 0)
		assert_string_equal(path, found);
	else
		assert_null(found);
	free(path);
	free(found);
	kiln__cache_free(cache);
	return r;
}

struct places {
	const char *cache;
	const char *temporary;
};

/* Each time into an empty cache, and nothing half-made in it afterwards. */
static int fresh_operation(void *data, kiln_error *err)
{
	const struct places *places = data;
	int r = get_operation((void *)(uintptr_t)places->cache, err);
	long suspended = nomem_suspend();

	assert_int_equal(entries(places->temporary), 0);
	assert_int_equal(kiln__os_remove_tree(places->cache, NULL), 0);
	nomem_resume(suspended);
	return r;
}

static void an_object_is_made_or_nothing_is_left(void **state)
{
	struct places places = {kiln_test_path("cache"), kiln_test_path("cache/tmp")};

	(void)state;
	nomem_each(fresh_operation, &places, NOMEM_TOLERATED);
}

static void an_object_that_is_there_is_found_or_not(void **state)
{
	const char *directory = kiln_test_path("cache");

	(void)state;
	nomem_each(get_operation, (void *)(uintptr_t)directory, NOMEM_TOLERATED);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(an_object_is_made_or_nothing_is_left),
		kiln_test(an_object_that_is_there_is_found_or_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
