/* SPDX-License-Identifier: Apache-2.0 */
#include "buf.h"
#include "cpio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int collect(void *data, const void *bytes, size_t len, kiln_error *err)
{
	struct kiln__buf *buf = data;

	(void)err;
	kiln__buf_add(buf, bytes, len);
	return buf->failed ? KILN_ENOMEM : 0;
}

static void archives_are_these_bytes(void **state)
{
	static const char expected[] = "070701"
				       "00000001"
				       "000041ed"
				       "00000000"
				       "00000000"
				       "00000002"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000004"
				       "00000000"
				       "dev\0"
				       "\0\0"
				       "070701"
				       "00000002"
				       "00002180"
				       "00000000"
				       "00000000"
				       "00000001"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000005"
				       "00000001"
				       "0000000c"
				       "00000000"
				       "dev/console\0"
				       "\0\0"
				       "070701"
				       "00000003"
				       "000081ed"
				       "00000000"
				       "00000000"
				       "00000001"
				       "00000000"
				       "00000005"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000005"
				       "00000000"
				       "init\0"
				       "\0"
				       "hello\0\0\0"
				       "070701"
				       "00000004"
				       "0000a1ff"
				       "00000000"
				       "00000000"
				       "00000001"
				       "00000000"
				       "00000004"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000004"
				       "00000000"
				       "bin\0"
				       "\0\0"
				       "init"
				       "070701"
				       "00000005"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000001"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000000"
				       "00000000"
				       "0000000b"
				       "00000000"
				       "TRAILER!!!\0"
				       "\0\0";
	kiln__autobuf out = KILN__BUF_INIT;
	struct kiln__cpio cpio = {collect, &out, 0};

	(void)state;
	assert_int_equal(kiln__cpio_dir(&cpio, "dev", 0755, NULL), 0);
	assert_int_equal(kiln__cpio_char_device(&cpio, "dev/console", 0600, 5, 1, NULL), 0);
	assert_int_equal(kiln__cpio_file(&cpio, "init", 0755, "hello", 5, NULL), 0);
	assert_int_equal(kiln__cpio_symlink(&cpio, "bin", "init", NULL), 0);
	assert_int_equal(kiln__cpio_end(&cpio, NULL), 0);
	/* TRAILER!!! and its header take 121 bytes, padded to 124. */
	assert_int_equal(out.len, sizeof(expected));
	assert_memory_equal(out.data, expected, sizeof(expected) - 1);
	assert_int_equal(out.len % 4, 0);
}

static int refuse(void *data, const void *bytes, size_t len, kiln_error *err)
{
	(void)bytes;
	(void)len;
	(void)err;
	return --*(int *)data < 0 ? KILN_ENOSPC : 0;
}

static void each_failed_write_is_reported(void **state)
{
	(void)state;
	for (int good = 0; good < 5; good++) {
		int left = good;
		struct kiln__cpio cpio = {refuse, &left, 0};

		assert_int_equal(kiln__cpio_file(&cpio, "init", 0755, "hello", 5, NULL),
				 KILN_ENOSPC);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(archives_are_these_bytes),
		cmocka_unit_test(each_failed_write_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
