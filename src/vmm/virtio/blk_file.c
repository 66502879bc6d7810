/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, measuring and locking. All before the process is confined, so no calls are declared. */
#include "blk_file.h"

#include "err.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR    512u
#define MAX_BLOCK 65536u

#define RANGE_BASE   (1ull << 62)
#define QEMU_WRITES  101 /* QEMU's RAW_LOCK_PERM_BASE + 1 */
#define QEMU_NOWRITE 201 /* QEMU's RAW_LOCK_SHARED_BASE + 1 */

static const char *name_of(const struct kiln__blk_options *options)
{
	return options->path ? options->path : "the inherited descriptor";
}

/* --- locks ----------------------------------------------------------------------- */

static int busy(const struct kiln__blk_options *options, kiln_error *err)
{
	kiln__fail(err, KILN_EBUSY, "disk %s is in use%s", name_of(options),
		   options->readonly ? ": somebody writes to it" : "");
	return kiln__hint(err, "%s",
			  options->readonly
				  ? "stop the VM that writes to it"
				  : "stop the VM that uses it, or make both use it read-only");
}

/* 1: locked; 0: another has it; KILN_ENOTSUP: no locks here. */
static int lock_range(kiln_fd fd, short type, uint64_t start, uint64_t len)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)start, .l_len = (off_t)len};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 1;
	return errno == EAGAIN || errno == EACCES ? 0 : KILN_ENOTSUP;
}

/* Whether another open file has any lock on the byte. */
static bool is_locked(kiln_fd fd, uint64_t at)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)at, .l_len = 1};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* As QEMU does it: first say what we do, then look whether another minds. */
static int lock_as_qemu(kiln_fd fd, bool readonly)
{
	int r = lock_range(fd, F_RDLCK, QEMU_NOWRITE, 1);

	if (r == 1 && !readonly)
		r = lock_range(fd, F_RDLCK, QEMU_WRITES, 1);
	if (r <= 0)
		return r;
	if (is_locked(fd, QEMU_WRITES) || (!readonly && is_locked(fd, QEMU_NOWRITE)))
		return 0;
	return 1;
}

static kiln_fd open_again(kiln_fd fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC | O_NOCTTY);
}

static int lock_file(struct kiln__blk_file *file, const struct kiln__blk_options *options,
		     kiln_error *err)
{
	bool whole = options->offset == 0 && options->length == 0;
	kiln_fd fd;
	int r;

	file->lock = open_again(file->fd, options->readonly ? O_RDONLY : O_RDWR);
	fd = file->lock == KILN_FD_NONE ? file->fd : file->lock;
	r = lock_range(fd, options->readonly ? F_RDLCK : F_WRLCK, RANGE_BASE + options->offset,
		       whole ? 0 : file->length);
	if (r == 1 && whole)
		r = lock_as_qemu(fd, options->readonly);
	return r == 0 ? busy(options, err) : 0;
}

/* --- opening --------------------------------------------------------------------------- */

static int fail_open(const struct kiln__blk_options *options, int code, kiln_error *err)
{
	if (code == EINVAL && options->cache == KILN__BLK_DIRECT) {
		kiln__fail(err, KILN_ENOTSUP, "disk %s: its file system has no O_DIRECT",
			   name_of(options));
		return kiln__hint(err, "use another cache mode than \"none\"");
	}
	if (code == EBUSY)
		return busy(options, err);
	return kiln__fail_errno(err, code, "cannot open disk %s", name_of(options));
}

/*
 * An inherited descriptor is opened anew, if that is allowed: flags and locks are then ours alone.
 * Else its duplicate has to do.
 */
static int open_inherited(kiln_fd *ret, const struct kiln__blk_options *options, int flags,
			  kiln_error *err)
{
	int mode = fcntl(options->fd, F_GETFL);
	struct stat st;
	int fd;

	if (mode < 0 || fstat(options->fd, &st) < 0)
		return kiln__fail_errno(err, errno, "cannot use %s", name_of(options));
	if (!options->readonly && (mode & O_ACCMODE) != O_RDWR)
		return kiln__fail(err, KILN_EACCES, "%s is not open for writing", name_of(options));
	fd = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) ? open_again(options->fd, flags) : -1;
	if (fd >= 0) {
		*ret = fd;
		return 0;
	}
	fd = fcntl(options->fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return fail_open(options, errno, err);
	mode &= ~(O_ACCMODE | O_NONBLOCK | O_DIRECT);
	if (fcntl(fd, F_SETFL, mode | (flags & O_DIRECT)) < 0) {
		int code = errno;

		close(fd);
		return fail_open(options, code, err);
	}
	*ret = fd;
	return 0;
}

static int open_file(kiln_fd *ret, const struct kiln__blk_options *options, kiln_error *err)
{
	int flags = (options->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY |
		    (options->cache == KILN__BLK_DIRECT ? O_DIRECT : 0);
	struct stat st;
	int fd;

	if (!options->path)
		return open_inherited(ret, options, flags, err);
	/* O_EXCL without O_CREAT: a block device that is mounted is refused (EBUSY). */
	if (!options->readonly && stat(options->path, &st) == 0 && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	/* Does not wait for a FIFO's other end; but with it reads of files would not wait either.
	 */
	fd = open(options->path, flags | O_NONBLOCK);
	if (fd < 0)
		return fail_open(options, errno, err);
	fcntl(fd, F_SETFL, flags & O_DIRECT);
	*ret = fd;
	return 0;
}

/* --- measuring ------------------------------------------------------------------------- */

/*
 * What O_DIRECT wants offsets and memory aligned to: found by reading, since only recent kernels
 * tell it of files.
 */
static int find_alignment(struct kiln__blk_file *file, const struct kiln__blk_options *options,
			  kiln_error *err)
{
	void *bytes = NULL;
	uint32_t block = file->block;
	ssize_t n = -1;
	int code = EINVAL;

	if (posix_memalign(&bytes, 2 * MAX_BLOCK, 2 * MAX_BLOCK))
		return kiln__fail_nomem(err);
	for (; block <= MAX_BLOCK && n < 0 && code == EINVAL; block *= 2) {
		/* Memory aligned to no more than a block. */
		n = pread(file->fd, (char *)bytes + block, block, 0);
		code = n < 0 ? errno : 0;
	}
	free(bytes);
	if (n < 0)
		return fail_open(options, code, err);
	block /= 2; /* that of the try that went well */
	file->block = block;
	return 0;
}

static int measure(struct kiln__blk_file *file, const struct kiln__blk_options *options,
		   uint64_t *ret_size, kiln_error *err)
{
	unsigned physical = 0;
	int logical = 0;
	struct stat st;
	uint64_t size;

	if (fstat(file->fd, &st) < 0)
		return kiln__fail_errno(err, errno, "cannot inspect disk %s", name_of(options));
	file->block = SECTOR;
	if (S_ISREG(st.st_mode)) {
		size = (uint64_t)st.st_size;
		physical = (unsigned)st.st_blksize;
	} else if (S_ISBLK(st.st_mode)) {
		if (ioctl(file->fd, BLKGETSIZE64, &size) < 0 ||
		    ioctl(file->fd, BLKSSZGET, &logical) < 0 ||
		    ioctl(file->fd, BLKPBSZGET, &physical) < 0)
			return kiln__fail_errno(err, errno, "cannot inspect disk %s",
						name_of(options));
		file->block = (uint32_t)logical;
	} else {
		return kiln__fail(err, KILN_EINVAL, "disk %s is neither file nor block device",
				  name_of(options));
	}
	file->physical_block = physical;
	*ret_size = size;
	return file->direct ? find_alignment(file, options, err) : 0;
}

static bool is_power_of_two(uint32_t x)
{
	return x && !(x & (x - 1));
}

/* What the guest is told of: a range in the file, of whole blocks. */
static int set_range(struct kiln__blk_file *file, const struct kiln__blk_options *options,
		     uint64_t size, kiln_error *err)
{
	uint64_t length = options->length;

	if (!is_power_of_two(file->block) || file->block < SECTOR || file->block > MAX_BLOCK)
		file->block = SECTOR;
	if (!is_power_of_two(file->physical_block) || file->physical_block < file->block ||
	    file->physical_block > MAX_BLOCK)
		file->physical_block = file->block;
	if (options->offset > size || length > size - options->offset || size >= RANGE_BASE)
		return kiln__fail(err, KILN_EINVAL,
				  "disk %s: range %" PRIu64 "+%" PRIu64 " is not in its %" PRIu64
				  " bytes",
				  name_of(options), options->offset, length, size);
	if (length == 0)
		length = size - options->offset;
	length -= length % file->block;
	if (options->offset % file->block && (file->direct || options->offset % SECTOR))
		return kiln__fail(err, KILN_EINVAL,
				  "disk %s: offset %" PRIu64 " is not a multiple of %u bytes",
				  name_of(options), options->offset,
				  file->direct ? file->block : SECTOR);
	if (length == 0)
		return kiln__fail(err, KILN_EINVAL, "disk %s is shorter than a block of %u bytes",
				  name_of(options), file->block);
	file->offset = options->offset;
	file->length = length;
	return 0;
}

int kiln__blk_file_open(struct kiln__blk_file *ret, const struct kiln__blk_options *options,
			kiln_error *err)
{
	struct kiln__blk_file file = {.fd = KILN_FD_NONE,
				      .lock = KILN_FD_NONE,
				      .direct = options->cache == KILN__BLK_DIRECT};
	uint64_t size = 0;
	int r = open_file(&file.fd, options, err);

	if (r == 0)
		r = measure(&file, options, &size, err);
	if (r == 0)
		r = set_range(&file, options, size, err);
	if (r == 0)
		r = lock_file(&file, options, err);
	if (r < 0) {
		kiln__blk_file_close(&file);
		return r;
	}
	*ret = file;
	return 0;
}

void kiln__blk_file_close(struct kiln__blk_file *file)
{
	kiln__os_close(file->fd);
	kiln__os_close(file->lock);
	file->fd = file->lock = KILN_FD_NONE;
}
