/* SPDX-License-Identifier: Apache-2.0 */
/* What single values must look like. */
#include "check.h"
#include "kiln_test.h"
#include "spec.h"

#include <stdlib.h>
#include <string.h>

typedef const char *(*check_fn)(const char *text);

static void assert_checks(check_fn check, const char *const *good, const char *const *bad)
{
	for (; *good; good++)
		if (check(*good))
			fail_msg("refused: \"%s\": %s", *good, check(*good));
	for (; *bad; bad++)
		if (!check(*bad))
			fail_msg("taken: \"%s\"", *bad);
}
#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})

#define A63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void host_names_are_rfc_1123s(void **state)
{
	(void)state;
	assert_checks(kiln__check_hostname,
		      TEXTS("a", "A-1", "0", "web.example", "a.b.c", A63, "x--y"),
		      TEXTS("", "-a", "a-", "a.", ".a", "a..b", "a_b", "a b", "a-.b", A63 "a",
			    "\xc3\xa9", "a\n"));
}

static void paths_are_absolute(void **state)
{
	(void)state;
	assert_checks(kiln__check_host_path, TEXTS("/", "/a b", "//x"),
		      TEXTS("a", "./a", "../a", "~/a", ""));
	assert_checks(kiln__check_guest_path, TEXTS("/", "/tmp"), TEXTS("tmp", ""));
}

static void machine_ids_are_machine_ids(void **state)
{
	(void)state;
	assert_checks(kiln__check_machine_id, TEXTS("0123456789abcdef0123456789abcdef"),
		      TEXTS("", "0123456789abcdef0123456789abcde",
			    "0123456789abcdef0123456789abcdef0", "0123456789ABCDEF0123456789ABCDEF",
			    "00000000000000000000000000000000",
			    "0123456789abcdef0123456789abcdeg"));
}

static void users_are_names_or_numbers(void **state)
{
	(void)state;
	assert_checks(kiln__check_user,
		      TEXTS("root", "0", "1000:1000", "www-data:adm", "_x", "host$", "a.b:c_d"),
		      TEXTS("", ":", "a:", ":a", "-a", "a b", "a:b:c", "a:-b", "a$b", "a\n"));
}

static void signals_are_linuxs(void **state)
{
	(void)state;
	assert_checks(kiln__check_signal,
		      TEXTS("SIGTERM", "TERM", "15", "64", "RTMIN", "SIGRTMIN+3", "RTMAX-30", "SYS",
			    "sigTerm"),
		      TEXTS("", "SIG", "SIGNONE", "0", "65", "-1", "15x", "RTMIN-1", "RTMIN+31",
			    "RTMIN+", "RTMIN+3x", "RTMAX+1", "RTMAX-99999999999"));
	assert_int_equal(kiln__signal_number("SIGQUIT"), 3);
	assert_int_equal(kiln__signal_number("SIGRTMIN+3"), 37);
	assert_int_equal(kiln__signal_number("RTMAX-30"), 34);
}

static void names_in_the_environment_are_printable(void **state)
{
	char longest[258];

	(void)state;
	assert_checks(kiln__check_env_name, TEXTS("A", "a.b", "1", "BASH_FUNC_x%%", "-"),
		      TEXTS("", "A=", "=", "A B", "A\t", "\x7f", "\xc3\xa9"));
	memset(longest, 'A', sizeof(longest));
	longest[257] = '\0';
	assert_non_null(kiln__check_env_name(longest));
	longest[256] = '\0';
	assert_null(kiln__check_env_name(longest));
}

static void label_keys_are_as_dockers(void **state)
{
	(void)state;
	assert_checks(kiln__check_label_key, TEXTS("a", "com.example.tier", "a/b_c-d", "0"),
		      TEXTS("", ".a", "a.", "-", "a b", "a=b", "\xc3\xa9"));
}

static void printable_is_ascii_from_space_to_tilde(void **state)
{
	(void)state;
	assert_checks(kiln__check_printable, TEXTS("", " ", "~", "a=b c"),
		      TEXTS("\x1f", "\x7f", "a\n", "\xc3\xa9"));
	assert_checks(kiln__check_word, TEXTS("az09-_"), TEXTS("A", " ", ".", "\xc3\xa9"));
}

static void utf8_is_utf8(void **state)
{
	static const char *const good[] = {"",
					   "a",
					   "\xc2\x80",
					   "\xdf\xbf",
					   "\xe0\xa0\x80",
					   "\xed\x9f\xbf",
					   "\xee\x80\x80",
					   "\xf0\x90\x80\x80",
					   "\xf4\x8f\xbf\xbf"};
	static const char *const bad[] = {"\x80",
					  "\xc0\x80",
					  "\xc1\xbf",
					  "\xc2",
					  "\xc2\x41",
					  "\xe0\x9f\xbf",
					  "\xed\xa0\x80",
					  "\xe2\x82",
					  "\xe2\x82x",
					  "\xf0\x8f\xbf\xbf",
					  "\xf4\x90\x80\x80",
					  "\xf5\x80\x80\x80",
					  "\xf0\x90\x80",
					  "\xff",
					  "a\xfe"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(kiln__is_utf8(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(kiln__is_utf8(bad[i]));
}

static void mac_addresses_are_unicast(void **state)
{
	static const char *const bad[] = {"",
					  "52:54:00:12:34",
					  "52:54:00:12:34:56:78",
					  "52:54:00:12:34:5",
					  "52-54-00-12-34-56",
					  "53:54:00:12:34:56",
					  "ff:ff:ff:ff:ff:ff",
					  "00:00:00:00:00:00",
					  "52:54:00:12:34:5g",
					  "52:54:00:12:34:56 ",
					  "525400123456"};
	static const uint8_t want[6] = {0x52, 0x54, 0x00, 0xab, 0xCD, 0x56};
	uint8_t mac[6] = {0};

	(void)state;
	assert_true(kiln__parse_mac("52:54:00:aB:Cd:56", mac));
	assert_memory_equal(mac, want, 6);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (kiln__parse_mac(bad[i], mac))
			fail_msg("taken: \"%s\"", bad[i]);
	assert_memory_equal(mac, want, 6); /* untouched by a refusal */
}

static void ip_addresses_have_one_form(void **state)
{
	static const char *const rows[][2] = {
		{"127.0.0.1", "127.0.0.1"}, {"0.0.0.0", "0.0.0.0"}, {"::", "::"},
		{"0:0:0:0:0:0:0:1", "::1"}, {"FE80::A", "fe80::a"},
	};
	static const char *const bad[] = {"",          "1.2.3",  "1.2.3.4.5", "256.1.1.1",
					  "localhost", "::1%lo", "1.2.3.4 ",  "[::1]",
					  ":",         "1:2"};
	char out[KILN__IP_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(kiln__canonical_ip(rows[i][0], out));
		assert_string_equal(out, rows[i][1]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (kiln__canonical_ip(bad[i], out))
			fail_msg("taken: \"%s\"", bad[i]);
}

static void sizes_have_binary_units(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} rows[] = {
		{"0", 0},
		{"1b", 1},
		{"4096", 4096},
		{"1K", 1024},
		{"1kb", 1024},
		{"1KiB", 1024},
		{"512M", 512 << 20},
		{"1g", 1 << 30},
		{"2TiB", INT64_C(2) << 40},
		{"9223372036854775807", INT64_MAX},
		{"007", 7},
	};
	static const char *const bad[] = {"",
					  "M",
					  "-1",
					  "+1",
					  "1.5G",
					  "1 G",
					  "1Gi",
					  "1X",
					  "1GG",
					  "0x10",
					  "1bb",
					  "1Gb ",
					  "9223372036854775808",
					  "8388608T",
					  "1e3"};
	int64_t bytes = -1;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(kiln__parse_size(rows[i].text, &bytes));
		assert_int_equal(bytes, rows[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (kiln__parse_size(bad[i], &bytes))
			fail_msg("taken: \"%s\"", bad[i]);
}

static void durations_go_from_large_to_small_units(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} rows[] = {
		{"0", 0},         {"1500", 1500},  {"500ms", 500},   {"10s", 10000},
		{"1m30s", 90000}, {"2h", 7200000}, {"1d", 86400000}, {"1d1h1m1s1ms", 90061001},
		{"1m1ms", 60001},
	};
	static const char *const bad[] = {"",
					  "s",
					  "-1s",
					  "1.5s",
					  "1s1m",
					  "1s1s",
					  "10 s",
					  "1S",
					  "1w",
					  "1s5",
					  "ms",
					  "1mss",
					  "99999999999999999999",
					  "9223372036854775807d"};
	int64_t ms = -1;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(kiln__parse_duration(rows[i].text, &ms));
		assert_int_equal(ms, rows[i].ms);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (kiln__parse_duration(bad[i], &ms))
			fail_msg("taken: \"%s\"", bad[i]);
}

static void integers_stand_alone(void **state)
{
	static const char *const bad[] = {
		"", "-", "+1", "1 ", " 1", "0x1", "1.0", "--1", "9223372036854775808"};
	int64_t value = 0;

	(void)state;
	assert_true(kiln__parse_integer("-12", &value));
	assert_int_equal(value, -12);
	assert_true(kiln__parse_integer("9223372036854775807", &value));
	assert_int_equal(value, INT64_MAX);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (kiln__parse_integer(bad[i], &value))
			fail_msg("taken: \"%s\"", bad[i]);
}

static void numbers_are_shown_in_their_largest_whole_unit(void **state)
{
	char out[32];

	(void)state;
	assert_string_equal(kiln__format_size(out, sizeof(out), 0), "0 bytes");
	assert_string_equal(kiln__format_size(out, sizeof(out), 1), "1 byte");
	assert_string_equal(kiln__format_size(out, sizeof(out), 1023), "1023 bytes");
	assert_string_equal(kiln__format_size(out, sizeof(out), 3 << 20), "3 MiB");
	assert_string_equal(kiln__format_size(out, sizeof(out), INT64_C(1) << 60), "1048576 TiB");
	assert_string_equal(kiln__format_duration(out, sizeof(out), 0), "0ms");
	assert_string_equal(kiln__format_duration(out, sizeof(out), 90000), "90s");
	assert_string_equal(kiln__format_duration(out, sizeof(out), 7200000), "2h");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(host_names_are_rfc_1123s),
		kiln_test(paths_are_absolute),
		kiln_test(machine_ids_are_machine_ids),
		kiln_test(users_are_names_or_numbers),
		kiln_test(signals_are_linuxs),
		kiln_test(names_in_the_environment_are_printable),
		kiln_test(label_keys_are_as_dockers),
		kiln_test(printable_is_ascii_from_space_to_tilde),
		kiln_test(utf8_is_utf8),
		kiln_test(mac_addresses_are_unicast),
		kiln_test(ip_addresses_have_one_form),
		kiln_test(sizes_have_binary_units),
		kiln_test(durations_go_from_large_to_small_units),
		kiln_test(integers_stand_alone),
		kiln_test(numbers_are_shown_in_their_largest_whole_unit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
