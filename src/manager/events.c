/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: what each VM's events file has, with the VM's id and name, in order of time.
 *
 * Following them, each VM known is a source: its directory is watched, and its runner's
 * end, so that a runner that is killed is an event at once. The directory of all VMs is
 * watched for those that are created; one that is still being made shows nothing
 * until it is whole.
 */
#include "follow.h"

#include "buf.h"
#include "err.h"
#include "tail.h"
#include "timefmt.h"
#include "vmfiles.h"

#include <stdlib.h>
#include <string.h>

/* A longer line is no event. */
#define EVENT_MAX ((size_t)64 * 1024)

struct event {
	char *time; /* as text: RFC 3339 in UTC sorts as it reads */
	size_t number;
	char *json;
};

struct events;

struct source {
	struct source *next;
	struct events *events;
	char id[KILN__ID_TEXT];
	kiln_vm *vm;   /* NULL: not whole yet */
	int directory; /* watched: VMs become whole and go there */
	int state;     /* and events are written there */
	bool changed;  /* to be looked at */
	struct kiln__tail tail;
	struct kiln__buf line; /* the beginning of one */
};

struct events {
	kiln_follower follower;
	kiln_manager *manager;
	void (*on_event)(void *data, const char *json);
	kiln_done_fn done;
	void *data;

	struct kiln__deferred *turn;
	struct kiln__dirwatch *watch; /* NULL: not following */
	int vms;                      /* the directory of all; -1: one VM is followed */
	bool one;
	bool ended; /* it has been removed */
	bool over;
	bool *freed;
	struct source *sources;

	struct event *collected; /* in this turn, not told yet */
	size_t count;
	size_t room;
};

/* --- sources ---------------------------------------------------------------------------- */

static void source_free(struct source *source)
{
	struct source **at = &source->events->sources;

	while (*at != source)
		at = &(*at)->next;
	*at = source->next;
	kiln__tail_done(&source->tail);
	kiln__buf_done(&source->line);
	kiln_vm_free(source->vm);
	free(source);
}

static struct source *source_new(struct events *events, const char *id)
{
	kiln__autofree char *dir = kiln__home_vm_path(&events->manager->home, id);
	kiln__autofree char *path = kiln__strf("%s/" KILN__VM_STATE "/events", dir);
	struct source *source = calloc(1, sizeof(*source));

	if (!dir || !path || !source || kiln__tail_init(&source->tail, path, NULL) < 0) {
		free(source);
		return NULL;
	}
	source->events = events;
	source->directory = source->state = -1;
	source->changed = true;
	memcpy(source->id, id, KILN__ID_TEXT);
	if (events->watch)
		kiln__dirwatch_add(events->watch, dir, &source->directory, NULL);
	source->next = events->sources;
	events->sources = source;
	return source;
}

static struct source *find_source(struct events *events, const char *id)
{
	struct source *source = events->sources;

	while (source && strcmp(source->id, id) != 0)
		source = source->next;
	return source;
}

/* --- collecting and telling ----------------------------------------------------------------- */

static void collect(struct events *events, json_t *event)
{
	const char *time = json_string_value(json_object_get(event, "time"));
	struct event *at;

	if (events->count == events->room) {
		size_t room = events->room ? events->room * 2 : 16;
		struct event *more = realloc(events->collected, room * sizeof(*more));

		if (!more)
			return;
		events->collected = more;
		events->room = room;
	}
	at = &events->collected[events->count];
	at->time = strdup(time ? time : "");
	at->json = json_dumps(event, JSON_COMPACT);
	at->number = events->count;
	if (at->time && at->json) {
		events->count++;
		return;
	}
	free(at->time);
	free(at->json);
}

/* An event of @source's: what the runner wrote, or made here; takes @event. */
static void collect_of(struct source *source, json_t *event)
{
	const char *name = source->vm ? kiln_vm_name(source->vm) : NULL;
	json_t *whole = json_object();

	json_object_set(whole, "time", json_object_get(event, "time"));
	json_object_set_new(whole, "id", json_string(source->id));
	json_object_set_new(whole, "name", name ? json_string(name) : json_null());
	if (json_object_update_missing(whole, event) == 0)
		collect(source->events, whole);
	json_decref(whole);
	json_decref(event);
}

static void collect_made(struct source *source, const char *name, int64_t time_ns)
{
	char time[KILN__TIME_TEXT];

	kiln__time_format(time_ns, time);
	collect_of(source, json_pack("{s:s, s:s}", "time", time, "event", name));
}

static int on_bytes(void *data, const void *bytes, size_t len, bool begins)
{
	struct source *source = data;
	const char *at = bytes;
	const char *end = at + len;

	(void)begins;
	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		json_t *event;

		kiln__buf_add(&source->line, at, (size_t)((newline ? newline : end) - at));
		if (!newline)
			break;
		event = json_loadb(source->line.data ? source->line.data : "", source->line.len, 0,
				   NULL);
		if (json_is_object(event) && source->line.len <= EVENT_MAX)
			collect_of(source, event);
		else
			json_decref(event);
		kiln__buf_clear(&source->line);
		at = newline + 1;
	}
	if (source->line.len > EVENT_MAX)
		source->line.len = EVENT_MAX + 1; /* goes on being too long, but not longer */
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct event *x = a;
	const struct event *y = b;
	int order = strcmp(x->time, y->time);

	return order ? order : x->number < y->number ? -1 : 1;
}

/* Tells what was collected. False if the follower was freed by that. */
static bool tell(struct events *events)
{
	struct event *list = kiln__take(events->collected);
	size_t count = events->count;
	bool freed = false;

	events->count = events->room = 0;
	events->freed = &freed;
	if (count > 1)
		qsort(list, count, sizeof(*list), compare);
	for (size_t i = 0; i < count; i++) {
		if (!freed)
			events->on_event(events->data, list[i].json);
		free(list[i].time);
		free(list[i].json);
	}
	free(list);
	if (!freed)
		events->freed = NULL;
	return !freed;
}

/* --- looking ---------------------------------------------------------------------------------- */

/* A source that has become a VM. */
static void open_source(struct source *source)
{
	struct events *events = source->events;

	if (kiln_manager_find(events->manager, source->id, &source->vm, NULL) < 0) {
		source->vm = NULL;
		return;
	}
	if (events->watch)
		kiln__dirwatch_add(events->watch, source->vm->dir->state, &source->state, NULL);
	collect_made(source, "created", source->vm->dir->created_ns);
}

/* Looks at it. Whether that is to be done again, in another turn, is left in "changed". */
static void look(struct source *source)
{
	struct events *events = source->events;

	source->changed = false;
	if (!source->vm)
		open_source(source);
	if (!source->vm)
		return;
	/* Its runner's death is written down by who waits for it, and then seen as any event. */
	if (events->watch && kiln__vmdir_is_alive(source->vm->dir, NULL) > 0)
		kiln__end_await(source->vm, NULL);
	source->changed =
		kiln__tail_read(&source->tail, KILN__FOLLOW_TURN, on_bytes, source, NULL) > 0;
}

/* True of a VM that was removed, and of a creation that came to nothing. */
static bool is_gone(const struct source *source)
{
	kiln__autofree char *dir = NULL;
	struct kiln__os_stat st;

	if (source->vm)
		return kiln__vmdir_is_alive(source->vm->dir, NULL) == KILN_ENOENT;
	dir = kiln__home_vm_path(&source->events->manager->home, source->id);
	return dir && kiln__os_stat(dir, &st, NULL) == KILN_ENOENT;
}

static void remove_source(struct source *source)
{
	struct events *events = source->events;

	kiln__tail_read(&source->tail, KILN__FOLLOW_TURN, on_bytes, source, NULL);
	if (source->vm)
		collect_made(source, "removed", kiln__os_realtime_ns());
	events->ended = events->one;
	source_free(source);
}

static void finish(struct events *events)
{
	events->over = true;
	if (events->done)
		events->done(events->data, 0, NULL);
}

static void on_turn(void *data)
{
	struct events *events = data;
	struct source *next;
	bool more = false;

	if (events->over)
		return;
	for (struct source *source = events->sources; source; source = next) {
		next = source->next;
		if (!source->changed)
			continue;
		if (is_gone(source)) {
			remove_source(source);
			continue;
		}
		look(source);
		more |= source->changed;
	}
	if (!tell(events))
		return;
	if (more)
		kiln__deferred_schedule(events->turn);
	else if (!events->watch || events->ended)
		finish(events);
}

/* A new entry among all VMs, or one that went. */
static void on_vm_entry(struct events *events, const char *name)
{
	if (!name || !kiln__is_id(name) || find_source(events, name))
		return;
	source_new(events, name);
}

static void add_all(struct events *events)
{
	char **ids;

	if (kiln__home_list(&events->manager->home, &ids, NULL) < 0)
		return;
	for (size_t i = 0; ids[i]; i++)
		on_vm_entry(events, ids[i]);
	kiln__os_free_names(ids);
}

static void on_change(void *data, int directory, const char *name)
{
	struct events *events = data;

	if (directory == -1 && !events->one)
		add_all(events); /* some changes were lost */
	else if (directory == events->vms)
		on_vm_entry(events, name);
	for (struct source *source = events->sources; source; source = source->next)
		if (directory == -1 || source->directory == directory || source->state == directory)
			source->changed = true;
	kiln__deferred_schedule(events->turn);
}

/* --- the follower -------------------------------------------------------------------- */

static void events_free(kiln_follower *follower)
{
	struct events *events = (struct events *)follower;

	if (events->freed)
		*events->freed = true;
	while (events->sources)
		source_free(events->sources);
	kiln__dirwatch_free(events->watch);
	kiln__deferred_free(events->turn);
	free(events->collected);
	free(events);
}

static int watch_all(struct events *events, kiln_error *err)
{
	kiln__autofree char *vms = kiln__strf("%s/vms", events->manager->home.dir);
	int r = kiln__home_make(&events->manager->home, err);

	if (r == 0 && !vms)
		r = kiln__fail_nomem(err);
	return r < 0 ? r : kiln__dirwatch_add(events->watch, vms, &events->vms, err);
}

static int begin(struct events *events, kiln_vm *vm, bool follow, kiln_error *err)
{
	int r = kiln__deferred_new(&events->turn, events->manager->loop, on_turn, events, err);

	if (r == 0 && follow)
		r = kiln__dirwatch_new(&events->watch, events->manager->loop, on_change, events,
				       err);
	if (r == 0 && follow && !vm)
		r = watch_all(events, err);
	if (r < 0)
		return r;
	if (!vm)
		add_all(events);
	else if (!source_new(events, vm->dir->id))
		return kiln__fail_nomem(err);
	kiln__deferred_schedule(events->turn);
	return 0;
}

int kiln_manager_events(kiln_manager *manager, kiln_vm *vm, bool follow,
			void (*on_event)(void *data, const char *json), kiln_done_fn done,
			void *data, kiln_follower **ret_follower, kiln_error *err)
{
	struct events *events = calloc(1, sizeof(*events));
	int r;

	if (!events)
		return kiln__fail_nomem(err);
	*events = (struct events){
		.follower.free = events_free,
		.manager = manager,
		.on_event = on_event,
		.done = done,
		.data = data,
		.one = vm != NULL,
		.vms = -2,
	};
	r = begin(events, vm, follow, err);
	if (r < 0) {
		events_free(&events->follower);
		return r;
	}
	*ret_follower = &events->follower;
	return 0;
}
