/* SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"

#include "buf.h"
#include "err.h"
#include "files.h"
#include "os.h"
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- formats ---------------------------------------------------------------------------- */

/* What a disk begins with that is not raw. Of these kiln reads qcow2 alone. */
static const struct {
	const char *format;
	const char *bytes;
	size_t len;
} magics[] = {
	{"qcow2", "QFI\xfb", 4},
	{"vmdk", "KDMV", 4},
	{"vmdk", "# Disk DescriptorFile", 21},
	{"vhdx", "vhdxfile", 8},
	{"vhd", "conectix", 8},
	{"qed", "QED\0", 4},
	{"parallels", "WithoutFreeSpace", 16},
	{"vdi", "<<< Oracle VM VirtualBox", 24},
};

/* docs/interop/qcow2.txt of QEMU, "Header": numbers are big-endian. */
#define QCOW2_VERSION       4
#define QCOW2_BACKING       8
#define QCOW2_SIZE          24
#define QCOW2_INCOMPATIBLE  72
#define QCOW2_EXTERNAL_DATA UINT64_C(4)
#define QCOW2_HEADER        104

static uint64_t big_endian(const uint8_t *bytes, size_t count)
{
	uint64_t value = 0;

	for (size_t i = 0; i < count; i++)
		value = value << 8 | bytes[i];
	return value;
}

struct look {
	const char *format;
	uint64_t size;
	const char *why_not; /* it cannot be cloned; NULL: it can */
};

static void look_at_qcow2(const uint8_t *bytes, size_t len, struct look *look)
{
	uint64_t version = len >= QCOW2_HEADER ? big_endian(bytes + QCOW2_VERSION, 4) : 0;

	if (version != 2 && version != 3) {
		look->why_not = "its header is damaged";
		return;
	}
	look->size = big_endian(bytes + QCOW2_SIZE, 8);
	if (big_endian(bytes + QCOW2_BACKING, 8))
		look->why_not = "it is only what differs from another file";
	else if (version == 3 && (big_endian(bytes + QCOW2_INCOMPATIBLE, 8) & QCOW2_EXTERNAL_DATA))
		look->why_not = "its contents are in another file";
	else if (look->size > KILN__DISK_MAX)
		look->why_not = "it says that it is larger than any disk";
}

/* By the first bytes of what is open. */
static int look_at(kiln_fd fd, const char *path, struct look *ret, kiln_error *err)
{
	uint8_t bytes[QCOW2_HEADER];
	ssize_t n = kiln__os_pread_full(fd, bytes, sizeof(bytes), 0, err);
	off_t end = lseek(fd, 0, SEEK_END); /* of block devices too */
	struct look look = {.format = "raw", .size = (uint64_t)end};

	if (n < 0)
		return (int)n;
	if (end < 0)
		return kiln__fail_errno(err, errno, "%s", path);
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
		if ((size_t)n >= magics[i].len && !memcmp(bytes, magics[i].bytes, magics[i].len))
			look.format = magics[i].format;
	if (!strcmp(look.format, "qcow2"))
		look_at_qcow2(bytes, (size_t)n, &look);
	else if (strcmp(look.format, "raw"))
		look.why_not = "kiln does not read that format";
	*ret = look;
	return 0;
}

static int open_disk(const char *path, unsigned flags, kiln_fd *ret, struct kiln__os_stat *st,
		     kiln_error *err)
{
	int r = kiln__os_stat(path, st, err);

	if (r < 0)
		return r;
	if (!st->is_file && !st->is_block_device)
		return kiln__fail(err, KILN_EINVAL,
				  "%s is no disk: neither a file nor a block device", path);
	return kiln__os_open(ret, path, flags, err);
}

/* For as long as the descriptor is open. */
static int lock_disk(kiln_fd fd, const char *path, const struct kiln__os_stat *st, bool writable,
		     kiln_error *err)
{
	int r = 0;

	if (st->is_file)
		r = writable ? kiln__os_try_lock(fd, err) : kiln__os_try_lock_shared(fd, err);
	if (r != KILN_EBUSY)
		return 0;
	kiln__fail(err, r, "%s is in use", path);
	kiln__hint(err, "stop the VM that has it: \"kiln disk info\" tells which");
	return r;
}

int kiln__disk_info(const char *path, struct kiln__image_info *ret, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct kiln__os_stat st;
	struct look look;
	int r = open_disk(path, KILN__OPEN_READ, &fd, &st, err);

	if (r == 0)
		r = look_at(fd, path, &look, err);
	if (r < 0)
		return r;
	*ret = (struct kiln__image_info){
		.format = look.format,
		.size = look.size,
		.allocated = st.is_file ? st.allocated : look.size,
		.locked = st.is_file && kiln__os_try_lock_shared(fd, NULL) == KILN_EBUSY,
		.readable = !look.why_not,
	};
	return 0;
}

/* --- new files ---------------------------------------------------------------------------- */

/* What is being made: a file without a name where the file system has that, else one aside. */
struct making {
	const char *path;
	char *aside; /* NULL: it has no name */
	kiln_fd fd;
};

static int split(const char *path, char **ret_dir, kiln_error *err)
{
	const char *slash = strrchr(path, '/');

	if (!*path || (slash && !slash[1]))
		return kiln__fail(err, KILN_EINVAL, "\"%s\" is no name for a file", path);
	*ret_dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("./");
	return *ret_dir ? 0 : kiln__fail_nomem(err);
}

static int begin(struct making *making, const char *path, kiln_error *err)
{
	kiln__autofree char *dir = NULL;
	struct kiln__os_stat st;
	uint64_t number;
	int r = split(path, &dir, err);

	*making = (struct making){.path = path, .fd = KILN_FD_NONE};
	if (r < 0)
		return r;
	/* Before the work, not only after it. */
	if (kiln__os_stat(path, &st, NULL) == 0)
		return kiln__fail(err, KILN_EEXIST, "%s is there already", path);
	r = kiln__os_open_unnamed(&making->fd, dir, err);
	if (r != KILN_ENOTSUP)
		return r;
	kiln__os_random(&number, sizeof(number));
	making->aside = kiln__strf("%s" KILN__OS_TEMPORARY "%016" PRIx64, dir, number);
	if (!making->aside)
		return kiln__fail_nomem(err);
	return kiln__os_open(&making->fd, making->aside,
			     KILN__OPEN_WRITE | KILN__OPEN_CREATE | KILN__OPEN_EXCLUSIVE, err);
}

static int publish(struct making *making, kiln_error *err)
{
	int r = making->aside ? kiln__os_link_new(making->aside, making->path, err)
			      : kiln__os_give_name(making->fd, making->path, err);

	if (r == KILN_EEXIST)
		kiln__fail(err, r, "%s is there already", making->path);
	return r;
}

static void end(struct making *making)
{
	if (making->aside)
		kiln__os_remove(making->aside, NULL);
	free(making->aside);
	kiln__os_close(making->fd);
}

static int check_size(uint64_t size, kiln_error *err)
{
	if (size >= 512 && size <= KILN__DISK_MAX)
		return 0;
	return kiln__fail(err, KILN_EINVAL, "a disk has from 512 bytes to 64 TiB, not %" PRIu64,
			  size);
}

/* To whole sectors, which is what a guest sees. */
static uint64_t whole_sectors(uint64_t size)
{
	return (size + 511) / 512 * 512;
}

int kiln__disk_create(const char *path, uint64_t size, kiln_error *err)
{
	struct making making;
	int r = check_size(size, err);

	if (r < 0)
		return r;
	r = begin(&making, path, err);
	if (r == 0)
		r = kiln__os_set_size(making.fd, whole_sectors(size), err);
	if (r == 0)
		r = publish(&making, err);
	end(&making);
	return r;
}

/* --- copying -------------------------------------------------------------------------------- */

#define CHUNK ((size_t)1 << 20)

static int copy_by_hand(kiln_fd from, kiln_fd to, off_t at, off_t end, kiln_error *err)
{
	kiln__autofree char *bytes = malloc(CHUNK);
	int r = bytes ? 0 : kiln__fail_nomem(err);

	while (r == 0 && at < end) {
		size_t want = end - at < (off_t)CHUNK ? (size_t)(end - at) : CHUNK;
		ssize_t n = kiln__os_pread_full(from, bytes, want, (uint64_t)at, err);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return kiln__fail(err, KILN_EBUSY,
					  "the disk became smaller while it was read");
		r = kiln__os_pwrite_full(to, bytes, (size_t)n, (uint64_t)at, err);
		at += n;
	}
	return r;
}

/* One run of data, by the kernel where it can. */
static int copy_run(kiln_fd from, kiln_fd to, off_t at, off_t end, kiln_error *err)
{
	while (at < end) {
		ssize_t n = kiln__os_copy_range(from, to, (uint64_t)at, (size_t)(end - at));

		if (n > 0) {
			at += n;
			continue;
		}
		if (n == -ENOSPC || n == -EDQUOT || n == -EIO || n == -EFBIG)
			return kiln__fail_errno(err, (int)-n, "cannot copy");
		return copy_by_hand(from, to, at, end, err);
	}
	return 0;
}

static int copy_sparse(kiln_fd from, kiln_fd to, uint64_t size, kiln_error *err)
{
	off_t total = (off_t)size;
	off_t data, hole;
	int r = 0;

	for (off_t at = 0; r == 0 && at < total; at = hole) {
		data = lseek(from, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0; /* a hole up to the end */
		hole = data < 0 ? total : lseek(from, data, SEEK_HOLE);
		data = data < 0 ? at : data; /* block devices know no holes */
		hole = hole < 0 || hole > total ? total : hole;
		r = copy_run(from, to, data, hole, err);
	}
	return r;
}

static int copy_raw(kiln_fd from, struct making *making, uint64_t size, bool *ret_shared,
		    kiln_error *err)
{
	int r;

	*ret_shared = kiln__os_share_contents(&making->fd, making->aside, from);
	r = kiln__os_set_size(making->fd, whole_sectors(size), err);
	return r < 0 || *ret_shared ? r : copy_sparse(from, making->fd, size, err);
}

/* --- qcow2 ----------------------------------------------------------------------------------- */

/* The last line of what it said, which is the reason. */
static const char *last_line(struct kiln__buf *text)
{
	char *line;

	while (text->len && text->data[text->len - 1] == '\n')
		text->data[--text->len] = '\0';
	line = text->data ? strrchr(text->data, '\n') : NULL;
	return line ? line + 1 : text->data ? text->data : "";
}

/*
 * qemu-img reaches both by descriptors, is told the format, and that there is no file behind it
 * (which the header has said already: it parses a stranger's file).
 */
static int convert_qcow2(kiln_fd from, const char *name, kiln_fd to, kiln_error *err)
{
	char input[KILN__OS_FD_PATH], output[KILN__OS_FD_PATH], source[160];
	kiln__autofree char *program = NULL;
	kiln__autobuf out = KILN__BUF_INIT, diagnostics = KILN__BUF_INIT;
	const struct kiln__spawn_fd fds[] = {{from, 3}, {to, 4}};
	const char *const argv[] = {"qemu-img", "convert", "-n", "--target-is-zero", "-O", "raw",
				    source,     output,    NULL};
	struct kiln__run run = {.argv = argv, .fds = fds, .fd_count = 2, .confined = true};
	struct kiln__exit how;
	int r = kiln__os_find_program(&program, "qemu-img", NULL);

	if (r < 0) {
		kiln__fail(err, KILN_ENOTSUP,
			   "%s is a qcow2 image, which kiln reads by qemu-img, and "
			   "that is not installed",
			   name);
		kiln__hint(err, "install it (Debian and Ubuntu: apt-get install qemu-utils)");
		return KILN_ENOTSUP;
	}
	kiln__os_fd_path(3, input);
	kiln__os_fd_path(4, output);
	snprintf(source, sizeof(source),
		 "json:{\"driver\":\"qcow2\",\"backing\":null,\"file\":{\"driver\":"
		 "\"file\",\"locking\":\"off\",\"filename\":\"%s\"}}",
		 input);
	run.path = program;
	r = kiln__run(&run, &out, &diagnostics, &how, err);
	if (r == 0 && (how.signaled || how.code))
		r = kiln__fail(err, KILN_EFORMAT, "qemu-img cannot read %s: %s", name,
			       last_line(&diagnostics));
	return r;
}

/* --- cloning ---------------------------------------------------------------------------------- */

static int fill(struct making *making, kiln_fd from, const char *name, const struct look *look,
		bool *ret_shared, kiln_error *err)
{
	int r;

	*ret_shared = false;
	if (strcmp(look->format, "qcow2"))
		return copy_raw(from, making, look->size, ret_shared, err);
	r = kiln__os_set_size(making->fd, whole_sectors(look->size), err);
	return r < 0 ? r : convert_qcow2(from, name, making->fd, err);
}

static int clone_open(kiln_fd from, const char *name, const struct look *look, const char *to,
		      uint64_t size, bool *ret_shared, kiln_error *err)
{
	struct making making;
	bool shared = false;
	int r = begin(&making, to, err);

	if (r == 0)
		r = fill(&making, from, name, look, &shared, err);
	if (r == 0 && size)
		r = kiln__os_set_size(making.fd, whole_sectors(size), err);
	if (r == 0)
		r = publish(&making, err);
	end(&making);
	if (r == 0)
		*ret_shared = shared;
	return r;
}

int kiln__disk_copy(const char *from, const char *to, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct look look = {.format = "raw"};
	struct kiln__os_stat st;
	bool shared;
	int r = open_disk(from, KILN__OPEN_READ, &fd, &st, err);

	look.size = st.size;
	return r < 0 ? r : clone_open(fd, from, &look, to, 0, &shared, err);
}

int kiln__disk_clone(const char *from, const char *to, uint64_t size, bool *ret_shared,
		     kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct kiln__os_stat st;
	struct look look;
	int r = open_disk(from, KILN__OPEN_READ, &fd, &st, err);

	if (r == 0)
		r = lock_disk(fd, from, &st, false, err);
	if (r == 0)
		r = look_at(fd, from, &look, err);
	if (r < 0)
		return r;
	if (look.why_not) {
		kiln__fail(err, KILN_ENOTSUP, "%s is a %s image that cannot be cloned: %s", from,
			   look.format, look.why_not);
		kiln__hint(err, "make a raw one of it: qemu-img convert -O raw");
		return KILN_ENOTSUP;
	}
	if (size && size < look.size) {
		kiln__fail(err, KILN_EINVAL, "%s has %" PRIu64 " bytes: a clone cannot be smaller",
			   from, look.size);
		kiln__hint(err, "clone it as it is, then see kiln disk resize --force");
		return KILN_EINVAL;
	}
	r = size ? check_size(size, err) : 0;
	return r < 0 ? r : clone_open(fd, from, &look, to, size, ret_shared, err);
}

int kiln__disk_resize(const char *path, uint64_t size, bool force, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct kiln__os_stat st;
	struct look look;
	int r = check_size(size, err);

	if (r == 0)
		r = open_disk(path, KILN__OPEN_WRITE, &fd, &st, err);
	if (r == 0)
		r = lock_disk(fd, path, &st, true, err);
	if (r == 0)
		r = look_at(fd, path, &look, err);
	if (r < 0)
		return r;
	if (!st.is_file)
		return kiln__fail(err, KILN_ENOTSUP,
				  "%s is a block device, which has the size it has", path);
	if (strcmp(look.format, "raw")) {
		kiln__fail(err, KILN_ENOTSUP,
			   "%s is a %s image: only raw ones are given another size", path,
			   look.format);
		kiln__hint(err, "clone it, which makes a raw one: kiln disk clone --size");
		return KILN_ENOTSUP;
	}
	if (whole_sectors(size) < look.size && !force) {
		kiln__fail(err, KILN_EINVAL,
			   "%s has %" PRIu64 " bytes: what lies beyond %" PRIu64 " would be lost",
			   path, look.size, whole_sectors(size));
		kiln__hint(err, "make its file systems smaller first, then add --force");
		return KILN_EINVAL;
	}
	return kiln__os_set_size(fd, whole_sectors(size), err);
}
