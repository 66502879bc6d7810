/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM: its ranges, files in it, and giving it back. */
#include "kiln_test.h"

#include "layout.h"
#include "os.h"
#include "ram.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB  ((uint64_t)1 << 20)
#define GIB  ((uint64_t)1 << 30)
#define PAGE KILN__RAM_PAGE

static struct kiln__ram *make(uint64_t size, bool shared)
{
	struct kiln__ram *ram = NULL;
	kiln_error err;

	kiln_ok(kiln__ram_new(&ram, size, shared, &err), &err);
	return ram;
}

static unsigned char *at(const struct kiln__ram *ram, uint64_t gpa)
{
	unsigned char *host = kiln__gmem_ptr(kiln__ram_gmem(ram), gpa, 1);

	assert_non_null(host);
	return host;
}

static void assert_filled(const unsigned char *bytes, int value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(bytes[i], value);
}

/* A memory file of @pages pages, number N full of N + 1, and then @rest bytes. */
static int make_file(unsigned pages, size_t rest)
{
	unsigned char page[PAGE];
	int fd = memfd_create("file", MFD_CLOEXEC);

	assert_true(fd >= 0);
	for (unsigned i = 0; i <= pages; i++) {
		size_t len = i < pages ? PAGE : rest;

		memset(page, (int)i + 1, sizeof(page));
		assert_int_equal(write(fd, page, len), len);
	}
	return fd;
}

static struct kiln__ram_file range(int fd, uint64_t start, uint64_t len, bool immutable)
{
	struct kiln__ram_file file;
	kiln_error err;

	kiln_ok(kiln__ram_file_init(&file, "the file", fd, start, len, immutable, &err), &err);
	return file;
}

static unsigned count_maps(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned lines = 0;
	int c;

	assert_non_null(maps);
	while ((c = fgetc(maps)) != EOF)
		lines += c == '\n';
	fclose(maps);
	return lines;
}

/* Which of the pages are in memory now. */
static unsigned count_resident(const unsigned char *host, size_t len)
{
	unsigned char *vec = malloc(len / PAGE);
	unsigned count = 0;

	assert_non_null(vec);
	assert_int_equal(mincore((void *)(uintptr_t)host, len, vec), 0);
	for (size_t i = 0; i < len / PAGE; i++)
		count += vec[i] & 1;
	free(vec);
	return count;
}

/* --- ranges ------------------------------------------------------------------------ */

static void sizes_that_cannot_be_are_refused(void **state)
{
	static const uint64_t sizes[] = {
		0,        PAGE, 16 * MIB - PAGE, 16 * MIB + 1, UINT64_MAX, UINT64_MAX - PAGE + 1,
		GIB << 16};
	struct kiln__ram *ram = NULL;
	kiln_error err;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(kiln__ram_new(&ram, sizes[i], false, &err), KILN_EINVAL);
		assert_non_null(strstr(err.message, "16 MiB"));
		assert_null(ram);
	}
}

static void ram_ends_at_the_hole_and_goes_on_at_4_gib(void **state)
{
	static const uint64_t sizes[] = {16 * MIB, 128 * MIB,      3 * GIB,
					 5 * GIB,  3 * GIB + PAGE, 80 * GIB};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct kiln__ram *ram = make(sizes[i / 2], i % 2);
		const struct kiln__gmem *gmem = kiln__ram_gmem(ram);
		uint64_t size = sizes[i / 2];
		uint64_t low = size < 3 * GIB ? size : 3 * GIB;

		assert_int_equal(kiln__ram_size(ram), size);
		assert_int_equal(kiln__ram_low_end(ram), low);
		assert_int_equal(gmem->count, size > low ? 2 : 1);
		assert_int_equal(gmem->regions[0].gpa, 0);
		assert_int_equal(gmem->regions[0].size, low);
		assert_int_equal(*at(ram, low - 1), 0);
		*at(ram, low - 1) = 1;
		assert_int_equal((uintptr_t)at(ram, 0) % (2 * MIB), 0);
		if (size > low) {
			assert_int_equal(gmem->regions[1].gpa, 4 * GIB);
			assert_int_equal(gmem->regions[1].size, size - low);
			assert_int_equal((uintptr_t)at(ram, 4 * GIB) % (2 * MIB), 0);
			*at(ram, 4 * GIB) = 2;
			*at(ram, 4 * GIB + size - low - 1) = 3;
			assert_int_equal(*at(ram, low - 1), 1);
		}
		kiln__ram_free(ram);
	}
}

static void nobody_reaches_beyond(void **state)
{
	struct kiln__ram *ram = make(5 * GIB, false);
	const uint64_t ends[] = {3 * GIB - 1, 6 * GIB - 1};
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(write(fds[1], at(ram, ends[i]), 1), 1);
		assert_int_equal(write(fds[1], at(ram, ends[i]) + 1, 1), -1);
		assert_int_equal(errno, EFAULT);
	}
	assert_int_equal(write(fds[1], at(ram, 0) - 1, 1), -1);
	assert_int_equal(write(fds[1], at(ram, 4 * GIB) - 1, 1), -1);
	close(fds[0]);
	close(fds[1]);
	kiln__ram_free(ram);
}

static void nothing_is_touched_before_its_first_use(void **state)
{
	struct kiln__ram *ram = make(128 * MIB, false);

	(void)state;
	assert_int_equal(count_resident(at(ram, 0), 128 * MIB), 0);
	*at(ram, 0x1000) = 1;
	*at(ram, 0xe0000) = 1;
	/* The two, or the large page around them. */
	assert_true(count_resident(at(ram, 0), 128 * MIB) >= 2);
	assert_int_equal(count_resident(at(ram, 2 * MIB), 126 * MIB), 0);
	kiln__ram_free(ram);
}

/* VmFlags in /proc/self/smaps (proc(5)): what the kernel has been told of the memory at @host. */
static bool has_flag(const unsigned char *host, const char *flag)
{
	FILE *maps = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool here = false, found = false;
	char line[512];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (uintptr_t)host && (uintptr_t)host < end;
		else if (here && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, flag) != NULL;
	}
	fclose(maps);
	return found;
}

static void populated_memory_is_there_before_its_first_use(void **state)
{
	struct kiln__ram *ram = make(128 * MIB, false);
	size_t count;

	(void)state;
	kiln__ram_populate(ram, 4 * MIB, 2 * MIB);
	count = count_resident(at(ram, 4 * MIB), 2 * MIB);
	if (count) /* else this host's kernel cannot */
		assert_int_equal(count, 512);
	assert_int_equal(count_resident(at(ram, 6 * MIB), 2 * MIB), 0);
	kiln__ram_populate(ram, 127 * MIB, 2 * MIB); /* not all RAM: nothing */
	assert_int_equal(count_resident(at(ram, 126 * MIB), 2 * MIB), 0);
	kiln__ram_free(ram);
}

static void large_pages_are_asked_for(void **state)
{
	struct kiln__ram *ram = make(5 * GIB, false);
	const uint64_t large[] = {0, 2 * MIB, 3 * GIB - 1, 4 * GIB, 6 * GIB - 1};

	(void)state;
	for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
		assert_true(has_flag(at(ram, large[i]), " dd ")); /* no core dump has it */
		assert_false(has_flag(at(ram, large[i]), " nh "));
	}
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0)
		for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++)
			assert_true(has_flag(at(ram, large[i]), " hg "));
	kiln__ram_free(ram);
}

static void more_than_can_be_mapped_is_a_clear_error(void **state)
{
	struct rlimit old, limit;
	struct kiln__ram *ram = NULL;
	kiln_error err = KILN_ERROR_INIT;
	unsigned maps;

	(void)state;
	getrlimit(RLIMIT_AS, &old);
	limit = old;
	limit.rlim_cur = 1 * GIB;
	maps = count_maps();
	setrlimit(RLIMIT_AS, &limit);
	assert_int_equal(kiln__ram_new(&ram, 8 * GIB, false, &err), KILN_ENOMEM);
	setrlimit(RLIMIT_AS, &old);
	assert_non_null(strstr(err.message, "8192 MiB"));
	assert_non_null(strstr(err.hint, "less memory"));
	assert_int_equal(count_maps(), maps);
}

static void freeing_leaves_nothing_mapped(void **state)
{
	unsigned before, fd = (unsigned)make_file(4, 0);
	struct kiln__ram_file file = range((int)fd, 0, 0, true);

	(void)state;
	kiln__ram_free(make(5 * GIB, false)); /* what the first use of anything maps */
	before = count_maps();
	for (int shared = 0; shared < 2; shared++) {
		struct kiln__ram *ram = make(5 * GIB, shared);

		assert_int_equal(kiln__ram_map_file(ram, MIB, &file, 0, 4 * PAGE, NULL), 0);
		assert_int_equal(kiln__ram_discard(ram, MIB + PAGE, PAGE, NULL), 0);
		kiln__ram_free(ram);
	}
	assert_int_equal(count_maps(), before);
	close((int)fd);
}

/* --- files ------------------------------------------------------------------------- */

static void an_immutable_file_is_mapped_privately(void **state)
{
	struct kiln__ram *ram = make(16 * MIB, false);
	int fd = make_file(4, 0);
	struct kiln__ram_file file = range(fd, 0, 0, true);
	unsigned char byte;

	(void)state;
	assert_int_equal(kiln__ram_map_file(ram, 2 * MIB, &file, PAGE, 3 * PAGE, NULL), 0);
	assert_filled(at(ram, 2 * MIB), 2, PAGE);
	assert_filled(at(ram, 2 * MIB + 2 * PAGE), 4, PAGE);
	assert_filled(at(ram, 2 * MIB - PAGE), 0, PAGE);
	assert_filled(at(ram, 2 * MIB + 3 * PAGE), 0, PAGE);
	/* The guest's writes stay its own; the pages that it has not written are the file's. */
	*at(ram, 2 * MIB) = 99;
	assert_int_equal(pread(fd, &byte, 1, PAGE), 1);
	assert_int_equal(byte, 2);
	assert_int_equal(pwrite(fd, "\x55", 1, 2 * PAGE), 1);
	assert_int_equal(*at(ram, 2 * MIB + PAGE), 0x55);
	kiln__ram_free(ram);
	close(fd);
}

static void a_file_that_may_change_is_copied(void **state)
{
	(void)state;
	/* And any file into shared RAM. */
	for (int shared = 0; shared < 2; shared++) {
		struct kiln__ram *ram = make(16 * MIB, shared);
		int fd = make_file(3, 100);
		struct kiln__ram_file file = range(fd, 0, 0, shared);

		memset(at(ram, MIB), 0xff, 8 * PAGE);
		assert_int_equal(kiln__ram_map_file(ram, MIB, &file, 0, 3 * PAGE + 100, NULL), 0);
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_filled(at(ram, MIB + 2 * PAGE), 3, PAGE);
		assert_filled(at(ram, MIB + 3 * PAGE), 4, 100);
		assert_filled(at(ram, MIB + 3 * PAGE + 100), 0, PAGE - 100);
		assert_int_equal(*at(ram, MIB + 4 * PAGE), 0xff);
		kiln__ram_free(ram);
		close(fd);
	}
}

static void what_follows_in_the_last_page_is_zero(void **state)
{
	struct kiln__ram *ram = make(16 * MIB, false);
	int fd = make_file(4, 50);
	/* The file goes on, in the range and behind it; it ends; a range that begins later. */
	const struct {
		uint64_t start, len, offset, used;
		int value;
	} cases[] = {
		{0, 0, 0, 10, 1},
		{0, PAGE + 20, 0, PAGE + 20, 2},
		{0, 0, 3 * PAGE, PAGE + 50, 5},
		{PAGE, 2 * PAGE + 7, PAGE, PAGE + 7, 4},
		{2 * PAGE, 0, PAGE, 1, 4},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kiln__ram_file file = range(fd, cases[i].start, cases[i].len, true);
		uint64_t gpa = MIB + i * 16 * PAGE;
		uint64_t tail = (cases[i].used - 1) % PAGE + 1;
		unsigned char *last;

		assert_int_equal(
			kiln__ram_map_file(ram, gpa, &file, cases[i].offset, cases[i].used, NULL),
			0);
		last = at(ram, gpa + cases[i].used - tail);
		assert_filled(last, cases[i].value, tail);
		assert_filled(last + tail, 0, PAGE - tail);
	}
	kiln__ram_free(ram);
	close(fd);
}

static void copying_takes_any_address_and_touches_no_more(void **state)
{
	struct kiln__ram *ram = make(16 * MIB, false);
	int fd = make_file(2, 0);
	struct kiln__ram_file file = range(fd, 1, 0, true);

	(void)state;
	memset(at(ram, MIB), 0xff, 4 * PAGE);
	assert_int_equal(kiln__ram_copy_file(ram, MIB + 3, &file, PAGE - 2, 5, NULL), 0);
	assert_memory_equal(at(ram, MIB), "\xff\xff\xff\1\2\2\2\2\xff", 9);
	kiln__ram_free(ram);
	close(fd);
}

static void impossible_maps_are_refused(void **state)
{
	struct kiln__ram *ram = make(5 * GIB, false);
	int fd = make_file(8, 0);
	int fds[2];
	struct kiln__ram_file file = range(fd, 0, 0, true);
	kiln_error err;

	(void)state;
	assert_int_equal(kiln__ram_map_file(ram, MIB + 1, &file, 0, PAGE, &err), KILN_EINVAL);
	assert_int_equal(kiln__ram_map_file(ram, MIB, &file, 512, PAGE, &err), KILN_EINVAL);
	assert_int_equal(kiln__ram_map_file(ram, MIB, &file, 0, 8 * PAGE + 1, &err), KILN_EFORMAT);
	assert_non_null(strstr(err.message, "the file is cut short"));
	assert_int_equal(kiln__ram_map_file(ram, MIB, &file, 8 * PAGE, PAGE, &err), KILN_EFORMAT);
	assert_int_equal(kiln__ram_map_file(ram, MIB, &file, PAGE, UINT64_MAX, &err), KILN_EFORMAT);
	assert_int_equal(
		kiln__ram_map_file(ram, UINT64_MAX - 2 * PAGE + 1, &file, 0, 4 * PAGE, &err),
		KILN_EOVERFLOW);
	assert_int_equal(kiln__ram_map_file(ram, 3 * GIB - PAGE, &file, 0, 2 * PAGE, &err),
			 KILN_EOVERFLOW);
	assert_int_equal(kiln__ram_map_file(ram, 6 * GIB, &file, 0, PAGE, &err), KILN_EOVERFLOW);
	assert_int_equal(kiln__ram_map_file(ram, MIB, &file, 0, 0, &err), KILN_EOVERFLOW);
	assert_int_equal(kiln__ram_map_file(ram, MIB, &file, 0, 4 * PAGE, &err), 0);
	assert_int_equal(kiln__ram_map_file(ram, MIB + 3 * PAGE, &file, 0, 1, &err), KILN_EEXIST);
	assert_int_equal(kiln__ram_map_file(ram, MIB - PAGE, &file, 0, PAGE + 1, &err),
			 KILN_EEXIST);
	assert_int_equal(kiln__ram_map_file(ram, MIB + 4 * PAGE, &file, 0, 1, &err), 0);
	assert_int_equal(kiln__ram_file_init(&file, "the file", fd, 8 * PAGE, 0, true, &err),
			 KILN_EFORMAT);
	assert_int_equal(kiln__ram_file_init(&file, "the file", fd, PAGE, UINT64_MAX, true, &err),
			 KILN_EFORMAT);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(kiln__ram_file_init(&file, "the file", fds[0], 0, 0, true, &err),
			 KILN_EFORMAT);
	assert_non_null(strstr(err.message, "not a regular file"));
	close(fds[0]);
	close(fds[1]);
	kiln__ram_free(ram);
	close(fd);
}

/* --- giving back ------------------------------------------------------------------- */

static void discarded_memory_is_the_hosts_again_and_zero(void **state)
{
	struct kiln__ram *ram = make(64 * MIB, false);
	unsigned char *host = at(ram, 0);

	(void)state;
	memset(host, 1, 64 * MIB);
	assert_int_equal(kiln__ram_discard(ram, 4 * MIB, 32 * MIB, NULL), 0);
	assert_int_equal(count_resident(host + 4 * MIB, 32 * MIB), 0);
	assert_filled(host + 4 * MIB, 0, PAGE);
	assert_int_equal(host[4 * MIB - 1], 1);
	assert_int_equal(host[36 * MIB], 1);
	/* Only whole pages. */
	assert_int_equal(kiln__ram_discard(ram, 40 * MIB + 1, 2 * PAGE, NULL), 0);
	assert_filled(host + 40 * MIB, 1, PAGE);
	assert_filled(host + 40 * MIB + PAGE, 0, PAGE);
	assert_filled(host + 40 * MIB + 2 * PAGE, 1, PAGE);
	assert_int_equal(kiln__ram_discard(ram, 50 * MIB + 1, PAGE, NULL), 0);
	assert_filled(host + 50 * MIB, 1, 2 * PAGE);
	kiln__ram_free(ram);
}

static void only_ram_can_be_discarded(void **state)
{
	struct kiln__ram *ram = make(5 * GIB, false);

	(void)state;
	assert_int_equal(kiln__ram_discard(ram, 3 * GIB, PAGE, NULL), KILN_EOVERFLOW);
	assert_int_equal(kiln__ram_discard(ram, 3 * GIB - PAGE, 2 * PAGE, NULL), KILN_EOVERFLOW);
	assert_int_equal(kiln__ram_discard(ram, 2 * GIB, 3 * GIB, NULL), KILN_EOVERFLOW);
	assert_int_equal(kiln__ram_discard(ram, 6 * GIB - PAGE, 2 * PAGE, NULL), KILN_EOVERFLOW);
	assert_int_equal(kiln__ram_discard(ram, PAGE, UINT64_MAX, NULL), KILN_EOVERFLOW);
	assert_int_equal(kiln__ram_discard(ram, UINT64_MAX, PAGE, NULL), KILN_EOVERFLOW);
	assert_int_equal(kiln__ram_discard(ram, 0, 3 * GIB, NULL), 0);
	assert_int_equal(kiln__ram_discard(ram, 4 * GIB, 2 * GIB, NULL), 0);
	kiln__ram_free(ram);
}

static void a_files_pages_are_discarded_for_zeros(void **state)
{
	struct kiln__ram *ram = make(16 * MIB, false);
	int fd = make_file(9, 0);
	struct kiln__ram_file file = range(fd, 0, 0, true);
	/* From before a map into it, its middle, its end, and over all that is left of two. */
	const struct {
		unsigned first, count;
		const char *left;
	} cuts[] = {
		{0, 2, ".23456789.....123456789."},
		{4, 2, ".23..6789.....123456789."},
		{8, 9, ".23..67.........3456789."},
		{0, 30, "........................"},
	};
	const uint64_t first = MIB - PAGE;

	(void)state;
	assert_int_equal(kiln__ram_map_file(ram, MIB, &file, 0, 9 * PAGE, NULL), 0);
	assert_int_equal(kiln__ram_map_file(ram, MIB + 14 * PAGE, &file, 0, 9 * PAGE, NULL), 0);
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		assert_int_equal(kiln__ram_discard(ram, first + cuts[i].first * PAGE,
						   cuts[i].count * PAGE, NULL),
				 0);
		for (unsigned page = 0; cuts[i].left[page]; page++) {
			int want = cuts[i].left[page] == '.' ? 0 : cuts[i].left[page] - '0';

			if (*at(ram, MIB + page * PAGE) != want)
				fail_msg("cut %zu, page %u: %d, not %d", i, page,
					 *at(ram, MIB + page * PAGE), want);
		}
	}
	/* The place is free for another file. */
	assert_int_equal(kiln__ram_map_file(ram, MIB, &file, 0, 9 * PAGE, NULL), 0);
	kiln__ram_free(ram);
	close(fd);
}

/* A guest that wants as many pieces as it can have: they are bounded, and so are the host's maps.
 */
static void pieces_of_a_map_are_bounded(void **state)
{
	struct kiln__ram *ram = make(16 * MIB, false);
	int fd = make_file(250, 0);
	struct kiln__ram_file file = range(fd, 0, 0, true);
	unsigned before = count_maps(), zero = 0;

	(void)state;
	assert_int_equal(kiln__ram_map_file(ram, MIB, &file, 0, 250 * PAGE, NULL), 0);
	for (unsigned i = 1; i < 250; i += 2) {
		*at(ram, MIB + i * PAGE) = 0xee;
		assert_int_equal(kiln__ram_discard(ram, MIB + i * PAGE, PAGE, NULL), 0);
	}
	for (unsigned i = 0; i < 250; i++) {
		int byte = *at(ram, MIB + i * PAGE);

		assert_true(byte == (int)i + 1 || (i % 2 == 1 && byte == 0));
		zero += byte == 0;
	}
	assert_in_range(zero, 20, 64);
	assert_true(count_maps() < before + 140);
	kiln__ram_free(ram);
	close(fd);
}

static void shared_memory_is_seen_and_given_back_elsewhere(void **state)
{
	struct kiln__ram *ram = make(3 * GIB + 16 * MIB, true);
	kiln_fd fd = kiln__ram_memfd(ram);
	struct stat before, after;
	unsigned char byte;

	(void)state;
	*at(ram, MIB) = 1;
	memset(at(ram, 4 * GIB + MIB), 2, 4 * MIB);
	assert_int_equal(pread(fd, &byte, 1, MIB), 1);
	assert_int_equal(byte, 1);
	assert_int_equal(pread(fd, &byte, 1, 3 * GIB + MIB), 1);
	assert_int_equal(byte, 2);
	assert_int_equal(fstat(fd, &before), 0);
	assert_int_equal(kiln__ram_discard(ram, 4 * GIB + MIB, 4 * MIB, NULL), 0);
	assert_int_equal(fstat(fd, &after), 0);
	assert_true(after.st_blocks <= before.st_blocks - (4 << 20) / 512);
	assert_int_equal(*at(ram, 4 * GIB + MIB), 0);
	assert_int_equal(*at(ram, MIB), 1);
	kiln__ram_free(ram);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(sizes_that_cannot_be_are_refused),
		kiln_test(ram_ends_at_the_hole_and_goes_on_at_4_gib),
		kiln_test(nobody_reaches_beyond),
		kiln_test(nothing_is_touched_before_its_first_use),
		kiln_test(populated_memory_is_there_before_its_first_use),
		kiln_test(large_pages_are_asked_for),
		kiln_test(more_than_can_be_mapped_is_a_clear_error),
		kiln_test(freeing_leaves_nothing_mapped),
		kiln_test(an_immutable_file_is_mapped_privately),
		kiln_test(a_file_that_may_change_is_copied),
		kiln_test(what_follows_in_the_last_page_is_zero),
		kiln_test(copying_takes_any_address_and_touches_no_more),
		kiln_test(impossible_maps_are_refused),
		kiln_test(discarded_memory_is_the_hosts_again_and_zero),
		kiln_test(only_ram_can_be_discarded),
		kiln_test(a_files_pages_are_discarded_for_zeros),
		kiln_test(pieces_of_a_map_are_bounded),
		kiln_test(shared_memory_is_seen_and_given_back_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
