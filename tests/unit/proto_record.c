/* SPDX-License-Identifier: Apache-2.0 */
/* Records: what is packed comes out again, and nothing else does. */
#include "kiln_test.h"

#include "agentmsg.h"
#include "frame.h"

#include <string.h>

#define STRS(text) ((struct kiln__strs){text, sizeof(text)})

/* A field by hand. */
static void add(struct kiln__buf *buf, uint8_t number, const void *value, size_t len)
{
	uint8_t head[4];

	kiln__put_le(head, len << 8 | number, 4);
	kiln__buf_add(buf, head, sizeof(head));
	kiln__buf_add(buf, value, len);
}

static void a_whole_setup_survives_the_wire(void **state)
{
	struct kiln__agent_setup in = {
		.root = {.kind = KILN__AGENT_ROOT_OVERLAY,
			 .device = "kiln-root",
			 .read_only = true,
			 .upper_size = 1ULL << 40},
		.hostname = "web",
		.clock_ns = 1,
		.entropy = {"\0\1\2", 3},
		.dns = STRS("1.1.1.1\0"
			    "9.9.9.9"),
		.interface_count = 2,
		.mount_count = 1,
		.end_with_main = true,
	};
	static struct kiln__agent_setup out;
	struct kiln__buf buf = KILN__BUF_INIT;
	kiln_error err;

	(void)state;
	in.interfaces[0].mac = (struct kiln__bytes){"\x52\x54\0\0\0\1", 6};
	in.interfaces[1] = (struct kiln__agent_interface){.name = "eth1", .mtu = 9000};
	in.mounts[0] = (struct kiln__agent_mount){.target = "/data", .flags = 3, .grow = true};
	kiln__record_pack(&buf, &kiln__agent_setup_record, &in);
	assert_false(buf.failed);
	kiln_ok(kiln__record_unpack(&kiln__agent_setup_record, buf.data, buf.len, &out, &err),
		&err);
	assert_int_equal(out.root.kind, KILN__AGENT_ROOT_OVERLAY);
	assert_string_equal(out.root.device, "kiln-root");
	assert_null(out.root.fstype);
	assert_true(out.root.read_only);
	assert_true(out.root.upper_size == 1ULL << 40);
	assert_string_equal(out.hostname, "web");
	assert_null(out.machine_id);
	assert_int_equal(out.entropy.len, 3);
	assert_memory_equal(out.entropy.at, "\0\1\2", 3);
	assert_int_equal(kiln__strs_count(&out.dns), 2);
	assert_string_equal(kiln__strs_next(&out.dns, out.dns.at), "9.9.9.9");
	assert_int_equal(out.interface_count, 2);
	assert_int_equal(out.interfaces[0].mac.len, 6);
	assert_string_equal(out.interfaces[1].name, "eth1");
	assert_int_equal(out.interfaces[1].mtu, 9000);
	assert_int_equal(out.mount_count, 1);
	assert_string_equal(out.mounts[0].target, "/data");
	assert_true(out.mounts[0].grow);
	assert_true(out.end_with_main);
	assert_false(out.end_by_reset);
	kiln__buf_done(&buf);
}

static void what_is_empty_takes_no_bytes(void **state)
{
	const struct kiln__agent_start start = {.id = 0};
	struct kiln__buf buf = KILN__BUF_INIT;

	(void)state;
	kiln__record_pack(&buf, &kiln__agent_start_record, &start);
	assert_int_equal(buf.len, 0);
	kiln__buf_done(&buf);
}

static void a_later_minor_version_s_fields_are_skipped(void **state)
{
	struct kiln__buf buf = KILN__BUF_INIT;
	struct kiln__agent_resize size;
	kiln_error err;

	(void)state;
	add(&buf, 100, "whatever", 8);
	add(&buf, 1, "\x18\0\0\0", 4);
	kiln_ok(kiln__record_unpack(&kiln__agent_resize_record, buf.data, buf.len, &size, &err),
		&err);
	assert_int_equal(size.rows, 24);
	/* but not those that change what is asked for */
	add(&buf, KILN__FIELD_CRITICAL + 70, "x", 1);
	assert_int_equal(
		kiln__record_unpack(&kiln__agent_resize_record, buf.data, buf.len, &size, &err),
		KILN_ENOTSUP);
	kiln__buf_done(&buf);
}

static void refused(const struct kiln__record *record, uint8_t number, const void *value,
		    size_t len)
{
	static union {
		struct kiln__agent_setup setup;
		struct kiln__agent_list list;
	} out;
	struct kiln__buf buf = KILN__BUF_INIT;
	kiln_error err = KILN_ERROR_INIT;

	add(&buf, number, value, len);
	assert_int_equal(kiln__record_unpack(record, buf.data, buf.len, &out, &err), KILN_EPROTO);
	assert_true(err.message[0] != '\0');
	kiln__buf_done(&buf);
}

static void values_of_the_wrong_shape_are_refused(void **state)
{
	(void)state;
	refused(&kiln__agent_resize_record, 1, "123", 3);      /* a number of 3 bytes */
	refused(&kiln__agent_resize_record, 1, "12345678", 8); /* or of too many */
	refused(&kiln__agent_start_record, 8, "\2", 1);        /* neither true nor false */
	refused(&kiln__agent_start_record, 5, "no end", 6);    /* a string without its NUL */
	refused(&kiln__agent_start_record, 5, "a\0b", 4);      /* or with one inside */
	refused(&kiln__agent_start_record, 5, "", 0);
	refused(&kiln__agent_start_record, 3, "a\0b", 3);     /* a list whose last has none */
	refused(&kiln__agent_setup_record, 129, "\1\2\3", 3); /* a record that is none */
	refused(&kiln__agent_start_record, 7, "\1\2", 2);     /* an element that is none */
}

static void lengths_beyond_the_message_are_refused(void **state)
{
	struct kiln__agent_resize size;
	kiln_error err;

	(void)state;
	assert_int_equal(kiln__record_unpack(&kiln__agent_resize_record, "\1\4\0", 3, &size, &err),
			 KILN_EPROTO);
	assert_int_equal(
		kiln__record_unpack(&kiln__agent_resize_record, "\1\4\0\0\1\1\1", 7, &size, &err),
		KILN_EPROTO);
	assert_int_equal(kiln__record_unpack(&kiln__agent_resize_record, "\1\xff\xff\xff\1\1\1\1",
					     8, &size, &err),
			 KILN_EPROTO);
}

static void lists_are_bounded(void **state)
{
	static struct kiln__agent_start start;
	struct kiln__buf buf = KILN__BUF_INIT;
	kiln_error err;

	(void)state;
	for (int i = 0; i < 64; i++)
		add(&buf, 7, "\1\0\0\0", 4);
	kiln_ok(kiln__record_unpack(&kiln__agent_start_record, buf.data, buf.len, &start, &err),
		&err);
	assert_int_equal(start.group_count, 64);
	add(&buf, 7, "\1\0\0\0", 4);
	assert_int_equal(
		kiln__record_unpack(&kiln__agent_start_record, buf.data, buf.len, &start, &err),
		KILN_EPROTO);
	kiln__buf_clear(&buf);
	start.group_count = 65;
	kiln__record_pack(&buf, &kiln__agent_start_record, &start);
	assert_true(buf.failed);
	kiln__buf_done(&buf);
}

static void versions_agree_on_the_highest_in_common(void **state)
{
	struct kiln__agent_hello a = {.version_min = 0x100, .version_max = 0x103};
	struct kiln__agent_hello b = {.version_min = 0x102, .version_max = 0x200};

	(void)state;
	assert_int_equal(kiln__agent_agree(&a, &b), 0x103);
	assert_int_equal(kiln__agent_agree(&b, &a), 0x103);
	b.version_min = 0x104;
	assert_int_equal(kiln__agent_agree(&a, &b), 0);
	b = (struct kiln__agent_hello){.version_min = 0, .version_max = 0};
	assert_int_equal(kiln__agent_agree(&a, &b), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(a_whole_setup_survives_the_wire),
		kiln_test(what_is_empty_takes_no_bytes),
		kiln_test(a_later_minor_version_s_fields_are_skipped),
		kiln_test(values_of_the_wrong_shape_are_refused),
		kiln_test(lengths_beyond_the_message_are_refused),
		kiln_test(lists_are_bounded),
		kiln_test(versions_agree_on_the_highest_in_common),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
