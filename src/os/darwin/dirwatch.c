/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes in directories, by kqueue(2). It watches open files, not names: the directory
 * itself, for entries that come and go, and each file that lies in it, for what is
 * written. So it does not tell names, and looks for new files whenever entries changed.
 */
#include "os.h"

#include "buf.h"
#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/event.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENTS (NOTE_WRITE | NOTE_EXTEND | NOTE_DELETE | NOTE_RENAME | NOTE_REVOKE)

/* One open file; those of one directory have its number. */
struct entry {
	struct entry *next;
	int fd;
	int directory;
	bool is_directory;
	ino_t inode;
	char *path; /* of a directory */
};

struct kiln__dirwatch {
	int queue;
	int last; /* the number last given to a directory */
	struct entry *entries;
	struct kiln__watch *watch;
	void (*fn)(void *data, int directory, const char *name);
	void *data;
	bool *gone; /* set if it is freed while it reads its events */
};

static void free_entry(struct entry *entry)
{
	close(entry->fd); /* which takes it out of the queue */
	free(entry->path);
	free(entry);
}

/* Watches an open file or directory, which becomes the list's. 0 or a negative errno. */
static int add_entry(struct kiln__dirwatch *watch, int fd, int directory, const char *path)
{
	struct entry *entry = calloc(1, sizeof(*entry));
	struct kevent change;
	struct stat st;

	if (!entry || fstat(fd, &st) < 0) {
		free(entry);
		close(fd);
		return entry ? -errno : -ENOMEM;
	}
	*entry = (struct entry){
		.fd = fd,
		.directory = directory,
		.is_directory = path,
		.inode = st.st_ino,
		.path = path ? kiln__strf("%s", path) : NULL,
	};
	EV_SET(&change, fd, EVFILT_VNODE, EV_ADD | EV_CLEAR, EVENTS, 0, entry);
	if ((path && !entry->path) || kevent(watch->queue, &change, 1, NULL, 0, NULL) < 0) {
		int code = errno;

		free_entry(entry);
		return -code;
	}
	entry->next = watch->entries;
	watch->entries = entry;
	return 0;
}

static bool is_known(const struct kiln__dirwatch *watch, int directory, ino_t inode)
{
	for (const struct entry *entry = watch->entries; entry; entry = entry->next)
		if (entry->directory == directory && !entry->is_directory && entry->inode == inode)
			return true;
	return false;
}

/*
 * Watches the files of a directory that are not watched yet. One that cannot be opened is left out.
 */
static void look_for_files(struct kiln__dirwatch *watch, int directory, const char *path)
{
	char **names;

	if (kiln__os_list_dir(path, &names, NULL) < 0)
		return;
	for (char **name = names; *name; name++) {
		kiln__autofree char *file = kiln__strf("%s/%s", path, *name);
		struct stat st;
		int fd;

		if (!file || lstat(file, &st) < 0 || !S_ISREG(st.st_mode) ||
		    is_known(watch, directory, st.st_ino))
			continue;
		fd = open(file, O_EVTONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0)
			add_entry(watch, fd, directory, NULL);
	}
	kiln__os_free_names(names);
}

/* Takes out the entries for which that holds: all of a directory, or one of them. */
static void drop(struct kiln__dirwatch *watch, int directory, const struct entry *only)
{
	for (struct entry **at = &watch->entries; *at;) {
		struct entry *entry = *at;

		if (entry->directory != directory || (only && entry != only)) {
			at = &entry->next;
			continue;
		}
		*at = entry->next;
		free_entry(entry);
	}
}

/* One event a call: what it does to the list cannot touch events not yet fetched. */
static void on_readable(void *data, int events)
{
	struct kiln__dirwatch *watch = data;
	const struct timespec now = {0};
	struct kevent event;
	bool gone = false;

	(void)events;
	watch->gone = &gone;
	while (!gone && kevent(watch->queue, NULL, 0, &event, 1, &now) == 1) {
		struct entry *entry = event.udata;
		int directory = entry->directory;

		if (entry->is_directory)
			look_for_files(watch, directory, entry->path);
		else if (event.fflags & (NOTE_DELETE | NOTE_REVOKE))
			drop(watch, directory, entry);
		watch->fn(watch->data, directory, NULL);
	}
	if (!gone)
		watch->gone = NULL;
}

int kiln__dirwatch_new(struct kiln__dirwatch **ret, kiln_loop *loop,
		       void (*fn)(void *data, int directory, const char *name), void *data,
		       kiln_error *err)
{
	struct kiln__dirwatch *watch = calloc(1, sizeof(*watch));
	int r;

	if (!watch)
		return kiln__fail_nomem(err);
	watch->fn = fn;
	watch->data = data;
	watch->queue = kqueue();
	if (watch->queue < 0) {
		r = kiln__fail_errno(err, errno, "cannot watch files");
		free(watch);
		return r;
	}
	fcntl(watch->queue, F_SETFD, FD_CLOEXEC);
	r = kiln__watch_new(&watch->watch, loop, watch->queue, on_readable, watch, err);
	if (r < 0) {
		kiln__dirwatch_free(watch);
		return r;
	}
	kiln__watch_set(watch->watch, KILN__READABLE);
	*ret = watch;
	return 0;
}

int kiln__dirwatch_add(struct kiln__dirwatch *watch, const char *path, int *ret_directory,
		       kiln_error *err)
{
	int fd = open(path, O_EVTONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return kiln__fail_errno(err, errno, "cannot watch %s", path);
	r = add_entry(watch, fd, watch->last + 1, path);
	if (r < 0)
		return kiln__fail_errno(err, -r, "cannot watch %s", path);
	*ret_directory = ++watch->last;
	look_for_files(watch, watch->last, path);
	return 0;
}

void kiln__dirwatch_remove(struct kiln__dirwatch *watch, int directory)
{
	drop(watch, directory, NULL);
}

void kiln__dirwatch_free(struct kiln__dirwatch *watch)
{
	if (!watch)
		return;
	if (watch->gone)
		*watch->gone = true;
	while (watch->entries)
		drop(watch, watch->entries->directory, NULL);
	kiln__watch_free(watch->watch);
	close(watch->queue);
	free(watch);
}
