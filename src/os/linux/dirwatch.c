/* SPDX-License-Identifier: Apache-2.0 */
/* Changes in directories, by inotify(7). */
#include "os.h"

#include "err.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#define EVENTS (IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF | IN_ONLYDIR)

struct kiln__dirwatch {
	int fd;
	struct kiln__watch *watch;
	void (*fn)(void *data, int directory, const char *name);
	void *data;
	bool *gone; /* set if it is freed while it reads its events */
};

static void read_events(struct kiln__dirwatch *watch)
{
	alignas(struct inotify_event) char bytes[4096];
	bool gone = false;
	ssize_t n = kiln__os_read(watch->fd, bytes, sizeof(bytes));

	watch->gone = &gone;
	for (char *at = bytes; n > 0 && at < bytes + n;) {
		const struct inotify_event *event = (const struct inotify_event *)(void *)at;

		at += sizeof(*event) + event->len;
		if (event->mask & IN_IGNORED)
			continue;
		watch->fn(watch->data, event->mask & IN_Q_OVERFLOW ? -1 : event->wd,
			  event->len ? event->name : NULL);
		if (gone)
			return;
	}
	watch->gone = NULL;
}

static void on_readable(void *data, int events)
{
	(void)events;
	read_events(data);
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
	watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch->fd < 0) {
		r = kiln__fail_errno(err, errno, "cannot watch files");
		free(watch);
		return r;
	}
	r = kiln__watch_new(&watch->watch, loop, watch->fd, on_readable, watch, err);
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
	int wd = inotify_add_watch(watch->fd, path, EVENTS);

	if (wd < 0)
		return kiln__fail_errno(err, errno, "cannot watch %s", path);
	*ret_directory = wd;
	return 0;
}

void kiln__dirwatch_remove(struct kiln__dirwatch *watch, int directory)
{
	inotify_rm_watch(watch->fd, directory);
}

void kiln__dirwatch_free(struct kiln__dirwatch *watch)
{
	if (!watch)
		return;
	if (watch->gone)
		*watch->gone = true;
	kiln__watch_free(watch->watch);
	close(watch->fd);
	free(watch);
}
