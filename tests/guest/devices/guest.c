/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1 of the devices' test: exercises each device, prints a line a rule ("ok: ..." or "failed:
 * ..."), then "done", and goes on reading and writing until it is reset or ended.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <linux/fs.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#define WORKERS 8
#define REGION  ((size_t)4 << 20) /* of the disk, of each worker */
#define CHUNK   ((size_t)256 * 1024)

static int failures;

#define CHECK(what)                                                                                \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			printf("failed: line %d: %s (%s)\n", __LINE__, #what, strerror(errno));    \
			failures++;                                                                \
			return;                                                                    \
		}                                                                                  \
	} while (0)

static void load_modules(void)
{
	struct dirent **names;
	int count = scandir("/modules", &names, NULL, alphasort);
	char path[512];

	for (int i = 0; i < count; i++) {
		int fd;

		if (names[i]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/modules/%s", names[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (syscall(SYS_finit_module, fd, "", 0) < 0)
			printf("%s: %s\n", path, strerror(errno));
		close(fd);
	}
}

static void fill(unsigned char *bytes, size_t len, uint64_t at, unsigned seed)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t x = (at + i + 1) * 0x9e3779b97f4a7c15ULL + seed;

		x ^= x >> 29;
		memcpy(bytes + i, &x, 8);
	}
}

/* Writes and reads back, past the page cache, in pieces of all sizes. The exit code is a worker's.
 */
static int work(unsigned worker, unsigned rounds)
{
	int fd = open("/dev/vda", O_RDWR | O_DIRECT | O_CLOEXEC);
	unsigned char *out = aligned_alloc(4096, CHUNK + 4096);
	unsigned char *in = aligned_alloc(4096, CHUNK + 4096);
	unsigned seed = worker * 1000;

	for (unsigned i = 0; rounds == 0 || i < rounds; i++) {
		size_t len = 512u * (1 + (i * 7919u + worker) % (CHUNK / 512));
		uint64_t at = worker * REGION + 512u * ((i * 104729u) % ((REGION - CHUNK) / 512));
		size_t shift = (i & 3) * 512;

		fill(out + shift, len, at, ++seed);
		if (pwrite(fd, out + shift, len, (off_t)at) != (ssize_t)len ||
		    pread(fd, in + shift, len, (off_t)at) != (ssize_t)len)
			return 1;
		if (memcmp(in + shift, out + shift, len) != 0)
			return 2;
		if (i % 16 == 0 && fdatasync(fd) < 0)
			return 3;
	}
	return 0;
}

static void disk_is_as_it_was_made(void)
{
	uint64_t size = 0;
	char text[32] = "";
	int fd = open("/dev/vda", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK(ioctl(fd, BLKGETSIZE64, &size) == 0 && size == (uint64_t)64 << 20);
	close(fd);
	fd = open("/sys/block/vda/serial", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	CHECK(strncmp(text, "kiln-test", 9) == 0);
	close(fd);
	printf("ok: size and serial number\n");
}

static void eight_workers_read_what_they_wrote(void)
{
	int wrong = 0;
	int status;

	for (unsigned i = 0; i < WORKERS; i++)
		if (fork() == 0)
			_exit(work(i, 60));
	for (unsigned i = 0; i < WORKERS; i++)
		if (wait(&status) > 0 && status != 0)
			wrong = status;
	errno = wrong >> 8;
	CHECK(wrong == 0);
	printf("ok: eight at once read what they wrote\n");
}

static void discarded_and_zeroed_blocks_are_zero(void)
{
	static unsigned char bytes[65536];
	uint64_t range[2] = {48u << 20, 8u << 20};
	uint64_t zeroed[2] = {40u << 20, 1u << 20};
	int fd = open("/dev/vda", O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	fill(bytes, sizeof(bytes), 0, 7);
	for (uint64_t at = 40u << 20; at < 64u << 20; at += sizeof(bytes))
		CHECK(pwrite(fd, bytes, sizeof(bytes), (off_t)at) == sizeof(bytes));
	CHECK(fsync(fd) == 0);
	CHECK(ioctl(fd, BLKDISCARD, range) == 0);
	CHECK(ioctl(fd, BLKZEROOUT, zeroed) == 0);
	CHECK(pread(fd, bytes, sizeof(bytes), 50 << 20) == sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		CHECK(bytes[i] == 0);
	CHECK(pread(fd, bytes, sizeof(bytes), 40 << 20) == sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		CHECK(bytes[i] == 0);
	CHECK(pread(fd, bytes, sizeof(bytes), 57 << 20) == sizeof(bytes));
	CHECK(bytes[100] != 0 || bytes[101] != 0);
	close(fd);
	printf("ok: discard and write zeroes\n");
}

static void a_file_system_keeps_its_files(void)
{
	static unsigned char bytes[1 << 20];
	static unsigned char back[1 << 20];
	char path[64];

	mkdir("/mnt", 0755);
	for (unsigned pass = 0; pass < 2; pass++) {
		CHECK(mount("/dev/vdb", "/mnt", "ext4", 0, "discard") == 0);
		for (unsigned i = 0; i < 12; i++) {
			int fd;

			snprintf(path, sizeof(path), "/mnt/file%u", i);
			fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
			CHECK(fd >= 0);
			fill(bytes, sizeof(bytes), 0, i);
			if (pass == 0)
				CHECK(write(fd, bytes, sizeof(bytes)) == sizeof(bytes));
			else
				CHECK(read(fd, back, sizeof(back)) == sizeof(back) &&
				      memcmp(bytes, back, sizeof(bytes)) == 0);
			close(fd);
			if (pass == 1 && (i & 1))
				CHECK(unlink(path) == 0);
		}
		CHECK(umount("/mnt") == 0);
	}
	printf("ok: a file system keeps its files\n");
}

static void a_readonly_disk_cannot_be_written(void)
{
	unsigned char bytes[4096];
	int ro = 0;
	int fd = open("/dev/vdc", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0 && ioctl(fd, BLKROGET, &ro) == 0 && ro == 1);
	CHECK(read(fd, bytes, sizeof(bytes)) == sizeof(bytes));
	close(fd);
	printf("ok: a read-only disk\n");
}

static void randomness_comes(void)
{
	unsigned char bytes[4096] = {0};
	char name[64] = "";
	unsigned zeros = 0;
	size_t at = 0;
	int fd = open("/sys/class/misc/hw_random/rng_current", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0 && read(fd, name, sizeof(name) - 1) > 0);
	CHECK(strncmp(name, "virtio_rng", 10) == 0);
	close(fd);
	fd = open("/dev/hwrng", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	while (at < sizeof(bytes)) {
		ssize_t n = read(fd, bytes + at, sizeof(bytes) - at);

		CHECK(n > 0);
		at += (size_t)n;
	}
	for (size_t i = 0; i < sizeof(bytes); i++)
		zeros += bytes[i] == 0;
	CHECK(zeros < 100);
	close(fd);
	printf("ok: randomness\n");
}

#define TYPE 0x88b5 /* for experiments */

/* The host sends back what it gets. */
static void frames_come_back(void)
{
	static unsigned char out[1514];
	static unsigned char in[2048];
	struct ifreq request = {.ifr_name = "eth0"};
	struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_protocol = htons(TYPE)};
	struct timeval wait = {20, 0};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(TYPE));

	CHECK(fd >= 0);
	request.ifr_flags = IFF_UP;
	CHECK(ioctl(fd, SIOCSIFFLAGS, &request) == 0);
	CHECK(ioctl(fd, SIOCGIFINDEX, &request) == 0);
	addr.sll_ifindex = request.ifr_ifindex;
	CHECK(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0);
	for (unsigned i = 0; i < 400; i++) {
		size_t len = 64 + (i * 131) % (sizeof(out) - 63);
		ssize_t n;

		fill(out, sizeof(out) & ~(size_t)7, i, i);
		memcpy(out, "\xff\xff\xff\xff\xff\xff\x52\x54\x00\x00\x00\x01\x88\xb5", 14);
		CHECK(send(fd, out, len, 0) == (ssize_t)len);
		do {
			n = recv(fd, in, sizeof(in), 0);
		} while (n > 0 && memcmp(in + 12, "\x88\xb5", 2) != 0);
		CHECK(n == (ssize_t)len && memcmp(in, out, len) == 0);
	}
	close(fd);
	printf("ok: frames come back\n");
}

int main(void)
{
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mkdir("/sys", 0755);
	mkdir("/proc", 0755);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	load_modules();
	disk_is_as_it_was_made();
	eight_workers_read_what_they_wrote();
	discarded_and_zeroed_blocks_are_zero();
	a_file_system_keeps_its_files();
	a_readonly_disk_cannot_be_written();
	randomness_comes();
	frames_come_back();
	for (unsigned i = 0; i < WORKERS; i++)
		if (fork() == 0)
			_exit(work(i, 0));
	printf("done: %d failures\n", failures);
	for (;;)
		pause();
}
