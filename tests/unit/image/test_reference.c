/* SPDX-License-Identifier: Apache-2.0 */
/* Names of images, by the grammar of distribution, and what registries.conf makes of them. */
#include "reference.h"
#include "registries.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void names_are_written_out(void **state)
{
	static const struct {
		const char *text;
		const char *whole;
	} names[] = {
		{"debian", "docker.io/library/debian:latest"},
		{"debian:12", "docker.io/library/debian:12"},
		{"library/debian", "docker.io/library/debian:latest"},
		{"user/app:v1.0_x-y", "docker.io/user/app:v1.0_x-y"},
		{"docker.io/debian", "docker.io/library/debian:latest"},
		{"index.docker.io/debian", "docker.io/library/debian:latest"},
		{"localhost/app", "localhost/app:latest"},
		{"localhost:5000/app:1", "localhost:5000/app:1"},
		{"quay.io/a/b/c/d:1", "quay.io/a/b/c/d:1"},
		{"a:5/b", "a:5/b:latest"},
		{"Host/app", "Host/app:latest"},
		{"[::1]:5000/app", "[::1]:5000/app:latest"},
		{"127.0.0.1/x", "127.0.0.1/x:latest"},
		{"a__b/c.d-e---f_g", "docker.io/a__b/c.d-e---f_g:latest"},
		{"app@sha256:" HEX, "docker.io/library/app@sha256:" HEX},
		{"app:1@sha256:" HEX, "docker.io/library/app:1@sha256:" HEX},
		{"x.y:1/app:2@sha256:" HEX, "x.y:1/app:2@sha256:" HEX},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct kiln__reference reference;
		char whole[KILN__REFERENCE_TEXT_MAX];
		kiln_error err = KILN_ERROR_INIT;

		if (kiln__reference_parse(&reference, names[i].text, &err) < 0)
			fail_msg("%s: %s", names[i].text, err.message);
		kiln__reference_print(&reference, whole);
		assert_string_equal(whole, names[i].whole);
		/* What is printed means the same. */
		assert_int_equal(kiln__reference_parse(&reference, whole, &err), 0);
		kiln__reference_print(&reference, whole);
		assert_string_equal(whole, names[i].whole);
	}
}

static void what_is_no_name_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"/",
		"a/",
		"/a",
		"a//b",
		"A",
		"Debian",
		"a/B",
		"a:",
		":a",
		"a:b:c",
		"a:.b",
		"a:-b",
		"a b",
		"a..b",
		"a._b",
		".a",
		"-a",
		"a-",
		"a_",
		"a.",
		"a___b",
		"a/.b",
		"../a",
		"a/../b",
		"a@",
		"@sha256:" HEX,
		"sha256:" HEX,
		"a@sha256:" HEX "0",
		"a@sha256:0",
		"a@md5:" HEX,
		"a@b@c",
		"a@sha256:ABCDEF6789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		HEX,
		"host:0/a",
		"host:99999/a",
		"host:/a",
		"host:x/a",
		"[::1/a",
		"[]/a",
		"-h.x/a",
		"h-.x/a",
		"h..x/a",
		"http://h.x/a",
		"a\n",
		"a:\x80",
		"user@host/a",
		"a%20b",
		"h.x:1:2/a",
	};
	char longest[300];

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct kiln__reference reference;
		kiln_error err = KILN_ERROR_INIT;

		if (kiln__reference_parse(&reference, texts[i], &err) != KILN_EINVAL)
			fail_msg("\"%s\" was accepted", texts[i]);
		assert_true(err.message[0] && err.hint[0]);
	}
	memset(longest, 'a', sizeof(longest));
	longest[299] = '\0';
	assert_int_equal(
		kiln__reference_parse(&(struct kiln__reference){.bare = false}, longest, NULL),
		KILN_EINVAL);
	/* "docker.io/library/" and 237 letters are 255. */
	longest[237] = '\0';
	assert_int_equal(
		kiln__reference_parse(&(struct kiln__reference){.bare = false}, longest, NULL), 0);
	longest[0] = 't';
	longest[1] = ':';
	memset(longest + 2, 'a', 129);
	longest[131] = '\0';
	assert_int_equal(
		kiln__reference_parse(&(struct kiln__reference){.bare = false}, longest, NULL),
		KILN_EINVAL);
	longest[130] = '\0';
	assert_int_equal(
		kiln__reference_parse(&(struct kiln__reference){.bare = false}, longest, NULL), 0);
}

static void a_digest_of_another_kind_is_named(void **state)
{
	struct kiln__reference reference;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	assert_int_equal(kiln__reference_parse(&reference, "a@sha512:" HEX HEX, &err),
			 KILN_ENOTSUP);
	assert_non_null(strstr(err.message, "SHA-512"));
}

static void loopback_is_only_loopback(void **state)
{
	(void)state;
	assert_true(kiln__reference_is_loopback("localhost"));
	assert_true(kiln__reference_is_loopback("localhost:5000"));
	assert_true(kiln__reference_is_loopback("127.1.2.3:5"));
	assert_true(kiln__reference_is_loopback("[::1]:5000"));
	assert_false(kiln__reference_is_loopback("localhost.example.com"));
	assert_false(kiln__reference_is_loopback("127.example.com"));
	assert_false(kiln__reference_is_loopback("128.0.0.1"));
	assert_false(kiln__reference_is_loopback("[::2]"));
}

/* --- registries.conf ------------------------------------------------------------------ */

static void expect_places(const struct kiln__registries *registries, const char *name,
			  const char *expected)
{
	struct kiln__registry_place places[4];
	struct kiln__reference reference;
	char text[4096] = "";
	kiln_error err = KILN_ERROR_INIT;
	int count;

	assert_int_equal(kiln__reference_parse(&reference, name, &err), 0);
	count = kiln__registries_places(registries, &reference, places, 4, &err);
	for (int i = 0; i < count; i++) {
		strcat(text, i ? ", " : "");
		strcat(strcat(strcat(text, places[i].host), " "), places[i].path);
		strcat(text, places[i].insecure ? " insecure" : "");
	}
	assert_string_equal(count < 0 ? kiln_error_name(count) : text, expected);
}

static void places_follow_the_longest_prefix(void **state)
{
	static const char conf[] =
		"# comment\n"
		"unqualified-search-registries = [ 'a.b', # first\n \"docker.io\" , ]\r\n"
		"\n[[registry]]\nlocation = \"x.y\"\n"
		"[[registry.mirror]]\nlocation = \"m1:5\"\n"
		"[[registry.mirror]]\nlocation = \"m2.z/all\"\ninsecure = true\n"
		"pull-from-mirror = \"digest-only\"\n"
		"[[registry]]\nprefix = \"x.y/team\"\nlocation = \"t.z/other\"\ninsecure=true\n"
		"[[registry]]\nprefix = \"*.wild.org\"\nlocation = \"w.z\"\n"
		"[[registry]]\nprefix = \"bad.org\"\nblocked = true\n"
		"[[registry]]\nlocation = \"localhost:5\"\ninsecure = false\n";
	struct kiln__registries *registries;
	kiln_error err = KILN_ERROR_INIT;

	(void)state;
	if (kiln__registries_parse(&registries, conf, "conf", &err) < 0)
		fail_msg("%s", err.message);
	assert_string_equal(kiln__registries_search(registries)[0], "a.b");
	assert_string_equal(kiln__registries_search(registries)[1], "docker.io");
	assert_null(kiln__registries_search(registries)[2]);
	expect_places(registries, "x.y/app", "m1:5 app, x.y app");
	expect_places(registries, "x.y/app@sha256:" HEX,
		      "m1:5 app, m2.z all/app insecure, x.y app");
	expect_places(registries, "x.y/team/app", "t.z other/app insecure");
	expect_places(registries, "x.y/teams/app", "m1:5 teams/app, x.y teams/app");
	expect_places(registries, "a.wild.org/app", "w.z app");
	expect_places(registries, "wild.org/app", "wild.org app");
	expect_places(registries, "bad.org/app", "EACCES");
	expect_places(registries, "localhost:5/app", "localhost:5 app");
	expect_places(registries, "localhost:6/app", "localhost:6 app insecure");
	expect_places(registries, "debian", "docker.io library/debian");
	kiln__registries_free(registries);
}

static void what_a_file_may_not_have_is_named(void **state)
{
	static const struct {
		const char *text;
		const char *says;
	} files[] = {
		{"x = 1\n", "line 1: at the top, the key \"x\""},
		{"\n\nshort-name-mode = \"permissive\"\n", "line 3"},
		{"[registries]\n", "as a table the key \"[registries]\""},
		{"[[registry]]\n", "neither prefix nor location"},
		{"[[registry]]\nlocation = \"a.b\"\nfoo = true\n", "of a registry the key \"foo\""},
		{"[[registry]]\nlocation = \"a.b\"\n[[registry.mirror]]\n", "no location"},
		{"[[registry]]\nlocation = \"a b\"\n", "HOST[:PORT][/PATH]"},
		{"[[registry]]\nlocation = \"a.b/\"\n", "HOST[:PORT][/PATH]"},
		{"[[registry]]\nlocation = \"a.b\n", "does not end on its line"},
		{"[[registry]]\nlocation = \"a\\n\"\n", "escapes"},
		{"[[registry]]\nlocation = a.b\n", "quotes"},
		{"[[registry]]\nlocation = \"a.b\" x\n", "line should end"},
		{"[[registry]]\ninsecure = yes\n", "true or false"},
		{"[[registry.mirror]]\n", "below its"},
		{"unqualified-search-registries = [\"a.b\"", "comma or ]"},
		{"unqualified-search-registries = \"a.b\"", "list"},
		{"[[registry]]\nlocation=\"a.b\"\n[[registry.mirror]]\nlocation=\"c.d\"\n"
		 "pull-from-mirror = \"some\"\n",
		 "digest-only"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct kiln__registries *registries;
		kiln_error err = KILN_ERROR_INIT;

		if (kiln__registries_parse(&registries, files[i].text, "conf", &err) == 0)
			fail_msg("accepted: %s", files[i].text);
		if (!strstr(err.message, files[i].says))
			fail_msg("%s: \"%s\"", files[i].text, err.message);
		assert_true(err.hint[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_written_out),
		cmocka_unit_test(what_is_no_name_is_refused),
		cmocka_unit_test(a_digest_of_another_kind_is_named),
		cmocka_unit_test(loopback_is_only_loopback),
		cmocka_unit_test(places_follow_the_longest_prefix),
		cmocka_unit_test(what_a_file_may_not_have_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
