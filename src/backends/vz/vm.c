/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One VZVirtualMachine on its queue. Everything below that has to do with the framework's objects
 * runs on the queue: jobs that the loop sends, completion handlers, and the delegates' methods.
 * What they find out is put on a list under the lock, and the loop is woken.
 *
 * The state is known by completions and delegates: "busy" is one of start, pause and resume that
 * has not completed. What is asked meanwhile waits for that, and so does a kill, since the
 * framework takes neither but in a settled state.
 */
#include "vm.h"

#include "err.h"
#include "os.h"

#include <pthread.h>
#include <stdlib.h>

/* Connections that wait for the loop; a guest that opens them faster is refused. */
#define MAX_INCOMING 256

struct kiln__vz_vm {
	atomic_uint refs;
	dispatch_queue_t queue;

	/* Under the lock. */
	pthread_mutex_t lock;
	struct kiln__waker *waker; /* NULL: silenced */
	struct kiln__list notes;
	unsigned incoming;
	bool ended;
	enum kiln__end how;
	kiln_error why;

	/* The queue's. */
	VZVirtualMachine *machine;
	VZVirtioSocketDevice *socket; /* borrowed of the machine */
	VZVirtioSocketListener *listener;
	id delegate;
	id accepter; /* the listener's delegate */
	bool busy;
	struct kiln__list waiting; /* operations that came while it was */
	bool kill_wanted;
	bool stopping;
	bool over; /* how and why are known; the objects go next */
	struct kiln__job kill_job;
	struct kiln__job end_job;
};

struct build {
	struct kiln__job job;
	struct kiln__vz_vm *vm;
	struct kiln__vz_plan *plan;
	const uint32_t *ports;
	kiln_error *err;
	int result;
};

struct release {
	struct kiln__job job;
	struct kiln__vz_vm *vm;
};

static void unref(struct kiln__vz_vm *vm)
{
	if (atomic_fetch_sub_explicit(&vm->refs, 1, memory_order_acq_rel) != 1)
		return;
	dispatch_release(vm->queue);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

/* --- telling the loop ----------------------------------------------------------------- */

static void drop_op(struct kiln__call *call)
{
	struct kiln__vz_op *op = kiln__list_entry(call, struct kiln__vz_op, call);

	kiln__os_close(op->fd);
	free(op->path);
	unref(op->vm);
	free(op);
}

void kiln__vz_op_unref(struct kiln__vz_op *op)
{
	kiln__call_unref(&op->call);
}

static void completed(struct kiln__call *call, id object, NSError *error);

struct kiln__vz_op *kiln__vz_op_new(struct kiln__vz_vm *vm, enum kiln__vz_what what)
{
	struct kiln__vz_op *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->call = (struct kiln__call){.refs = 1, .run = completed, .drop = drop_op};
	op->vm = vm;
	op->what = what;
	op->fd = KILN_FD_NONE;
	kiln__list_init(&op->link);
	atomic_fetch_add_explicit(&vm->refs, 1, memory_order_relaxed);
	return op;
}

static void tell(struct kiln__vz_op *op)
{
	struct kiln__vz_vm *vm = op->vm;

	pthread_mutex_lock(&vm->lock);
	if (vm->waker) {
		kiln__call_ref(&op->call);
		kiln__list_append(&vm->notes, &op->note);
		kiln__waker_wake(vm->waker);
	}
	pthread_mutex_unlock(&vm->lock);
}

struct kiln__vz_op *kiln__vz_vm_next(struct kiln__vz_vm *vm)
{
	struct kiln__vz_op *op = NULL;

	pthread_mutex_lock(&vm->lock);
	if (!kiln__list_empty(&vm->notes)) {
		op = kiln__list_entry(vm->notes.next, struct kiln__vz_op, note);
		kiln__list_remove(&op->note);
		if (op->what == KILN__VZ_INCOMING)
			vm->incoming--;
	}
	pthread_mutex_unlock(&vm->lock);
	return op;
}

bool kiln__vz_vm_ended(struct kiln__vz_vm *vm, enum kiln__end *ret_how, kiln_error *ret_err)
{
	bool ended;

	pthread_mutex_lock(&vm->lock);
	ended = vm->ended && kiln__list_empty(&vm->notes);
	if (ended) {
		*ret_how = vm->how;
		*ret_err = vm->why;
	}
	pthread_mutex_unlock(&vm->lock);
	return ended;
}

/* --- the end -------------------------------------------------------------------------- */

static void release_objects(struct kiln__vz_vm *vm)
{
	VZVirtualMachine *machine = kiln__take(vm->machine);

	vm->busy = false;
	vm->socket = NULL;
	if (machine)
		kiln__send(void, VZVirtualMachine, "setDelegate:", (id), machine, NULL);
	if (vm->listener)
		kiln__send(void, VZVirtioSocketListener, "setDelegate:", (id), vm->listener, NULL);
	kiln__release(machine);
	kiln__release(kiln__take(vm->listener));
	kiln__release(kiln__take(vm->delegate));
	kiln__release(kiln__take(vm->accepter));
}

/* In a job of its own, since the VM must not go while it calls its delegate. */
static void end_now(struct kiln__job *job)
{
	struct kiln__vz_vm *vm = kiln__list_entry(job, struct kiln__vz_vm, end_job);

	release_objects(vm);
	pthread_mutex_lock(&vm->lock);
	vm->ended = true;
	if (vm->waker)
		kiln__waker_wake(vm->waker);
	pthread_mutex_unlock(&vm->lock);
	unref(vm);
}

static void run_waiting(struct kiln__vz_vm *vm);

static void end(struct kiln__vz_vm *vm, enum kiln__end how, const kiln_error *why)
{
	if (vm->over)
		return;
	vm->over = true;
	vm->busy = false;
	run_waiting(vm);
	vm->how = vm->kill_wanted ? KILN__END_KILLED : how;
	if (vm->how == KILN__END_FAILED)
		vm->why = *why;
	atomic_fetch_add_explicit(&vm->refs, 1, memory_order_relaxed);
	vm->end_job.run = end_now;
	kiln__queue_async(vm->queue, &vm->end_job);
}

/* A stop of its own, apart from the operations: nobody is told but by the end. */
static void stopped(struct kiln__call *call, id object, NSError *error)
{
	struct kiln__vz_op *op = kiln__list_entry(call, struct kiln__vz_op, call);
	struct kiln__vz_vm *vm = op->vm;
	kiln_error why;

	(void)object;
	vm->stopping = false;
	if (vm->over || !vm->machine)
		return;
	/* What cannot be stopped any more has ended by itself meanwhile. */
	if (error && kiln__send(BOOL, VZVirtualMachine, "canStop", (), vm->machine)) {
		kiln__nserror(&why, error, "stopping the virtual machine");
		vm->kill_wanted = false;
		end(vm, KILN__END_FAILED, &why);
		return;
	}
	end(vm, KILN__END_KILLED, NULL);
}

static void stop(struct kiln__vz_vm *vm)
{
	struct kiln__block block;
	struct kiln__vz_op *op;

	if (vm->over || vm->stopping || !vm->machine)
		return;
	if (!kiln__send(BOOL, VZVirtualMachine, "canStop", (), vm->machine)) {
		if (!vm->busy) /* it does not run */
			end(vm, KILN__END_KILLED, NULL);
		return;
	}
	op = kiln__vz_op_new(vm, KILN__VZ_SHUTDOWN);
	if (!op) { /* the VM goes with its last reference, too */
		end(vm, KILN__END_KILLED, NULL);
		return;
	}
	op->call.run = stopped;
	vm->stopping = true;
	block = kiln__block_make(&op->call, false);
	kiln__send(void, VZVirtualMachine, "stopWithCompletionHandler:", (kiln__error_block),
		   vm->machine, &block);
	kiln__vz_op_unref(op);
}

static void kill_now(struct kiln__job *job)
{
	struct kiln__vz_vm *vm = kiln__list_entry(job, struct kiln__vz_vm, kill_job);

	vm->kill_wanted = true;
	run_waiting(vm);
	if (!vm->machine && !vm->over)
		end(vm, KILN__END_KILLED, NULL);
	stop(vm);
	unref(vm);
}

void kiln__vz_vm_kill(struct kiln__vz_vm *vm)
{
	atomic_fetch_add_explicit(&vm->refs, 1, memory_order_relaxed);
	vm->kill_job.run = kill_now;
	kiln__queue_async(vm->queue, &vm->kill_job);
}

/* --- operations ----------------------------------------------------------------------- */

static const char *const words[] = {
	[KILN__VZ_START] = "starting the virtual machine",
	[KILN__VZ_PAUSE] = "pausing the virtual machine",
	[KILN__VZ_RESUME] = "resuming the virtual machine",
	[KILN__VZ_SHUTDOWN] = "asking the guest to power off",
	[KILN__VZ_SAVE] = "saving the virtual machine's state",
	[KILN__VZ_RESTORE] = "restoring the virtual machine's state",
	[KILN__VZ_BALLOON] = "the balloon",
	[KILN__VZ_CONNECT] = "connecting to the guest's vsock port",
	[KILN__VZ_WARNING] = "a network or a disk of the virtual machine was disconnected",
};

/* The connection's descriptor is closed with the connection: a duplicate lives as we need it. */
static int take_connection(struct kiln__vz_op *op, VZVirtioSocketConnection *connection)
{
	int fd = kiln__send(int, VZVirtioSocketConnection, "fileDescriptor", (), connection);

	if (fd < 0)
		return kiln__fail(&op->err, KILN_EIO, "the vsock connection is closed already");
	return kiln__os_dup(&op->fd, fd, &op->err);
}

static bool resume_restored(struct kiln__vz_op *op);

static void completed(struct kiln__call *call, id object, NSError *error)
{
	struct kiln__vz_op *op = kiln__list_entry(call, struct kiln__vz_op, call);
	struct kiln__vz_vm *vm = op->vm;

	if (op->what == KILN__VZ_CONNECT && object) {
		take_connection(op, object);
	} else if (op->what == KILN__VZ_CONNECT) {
		kiln__nserror(&op->err, error, words[op->what]);
		op->err.code = KILN_EIO; /* whatever the framework's: nothing listens */
	} else {
		vm->busy = false;
		if (error)
			kiln__nserror(&op->err, error, words[op->what]);
		else if (op->what == KILN__VZ_RESTORE && resume_restored(op))
			return;
	}
	tell(op);
	if (vm->kill_wanted)
		stop(vm);
	run_waiting(vm);
}

static int refuse(struct kiln__vz_op *op)
{
	return kiln__fail(&op->err, KILN_ESTATE, "%s: it is not in a state for that",
			  words[op->what]);
}

/* Begins what completes later, if @can says that it may. */
#define begin(op, can, message)                                                                    \
	({                                                                                         \
		struct kiln__block block_ = kiln__block_make(&(op)->call, false);                  \
		VZVirtualMachine *machine_ = (op)->vm->machine;                                    \
		bool may_ = kiln__send(BOOL, VZVirtualMachine, can, (), machine_);                 \
		(op)->vm->busy = may_;                                                             \
		if (may_)                                                                          \
			kiln__send(void, VZVirtualMachine, message, (kiln__error_block), machine_, \
				   &block_);                                                       \
		may_ ? 0 : refuse(op);                                                             \
	})

/* What was restored is paused. Whether it goes on, as the same operation. */
static bool resume_restored(struct kiln__vz_op *op)
{
	op->what = KILN__VZ_RESUME;
	return !op->vm->kill_wanted && op->vm->machine &&
	       begin(op, "canResume", "resumeWithCompletionHandler:") == 0;
}

/* Only what is paused is saved, only what has not started is restored. */
static int save_or_restore(struct kiln__vz_op *op)
{
	kiln__autorelease NSURL *url = kiln__nsurl_make(op->path, false);
	struct kiln__block block = kiln__block_make(&op->call, false);
	VZVirtualMachine *machine = op->vm->machine;
	bool save = op->what == KILN__VZ_SAVE;

	if (!url)
		return kiln__fail_nomem(&op->err);
	if (save ? !kiln__send(BOOL, VZVirtualMachine, "canResume", (), machine)
		 : !kiln__send(BOOL, VZVirtualMachine, "canStart", (), machine))
		return refuse(op);
	op->vm->busy = true;
	if (save)
		kiln__send(void, VZVirtualMachine,
			   "saveMachineStateToURL:completionHandler:", (NSURL *, kiln__error_block),
			   machine, url, &block);
	else
		kiln__send(void, VZVirtualMachine, "restoreMachineStateFromURL:completionHandler:",
			   (NSURL *, kiln__error_block), machine, url, &block);
	return 0;
}

/* Borrowed; NULL: there is none. */
static id first_of(NSArray *array)
{
	return kiln__send(NSUInteger, NSArray, "count", (), array)
		       ? kiln__send(id, NSArray, "objectAtIndex:", (NSUInteger), array, 0)
		       : NULL;
}

static int set_balloon(struct kiln__vz_op *op)
{
	id device = first_of(kiln__send(NSArray *, VZVirtualMachine, "memoryBalloonDevices", (),
					op->vm->machine));

	if (!device)
		return kiln__fail(&op->err, KILN_ENOTSUP, "balloon: the machine has none");
	kiln__set(VZVirtioTraditionalMemoryBalloonDevice,
		  "setTargetVirtualMachineMemorySize:", uint64_t, device, op->memory);
	tell(op);
	return 0;
}

/* Completes at once: what the guest makes of it the delegate tells. */
static int request_stop(struct kiln__vz_op *op)
{
	NSError *error = NULL;

	if (!kiln__send(BOOL, VZVirtualMachine, "canRequestStop", (), op->vm->machine))
		return refuse(op);
	if (!kiln__send(BOOL, VZVirtualMachine, "requestStopWithError:", (NSError **),
			op->vm->machine, &error))
		return kiln__nserror(&op->err, error, words[op->what]);
	tell(op);
	return 0;
}

static int dial(struct kiln__vz_op *op)
{
	struct kiln__block block = kiln__block_make(&op->call, true);

	if (!op->vm->socket)
		return kiln__fail(&op->err, KILN_ENOTSUP, "the machine has no vsock device");
	kiln__send(void, VZVirtioSocketDevice,
		   "connectToPort:completionHandler:", (uint32_t, kiln__object_block),
		   op->vm->socket, op->port, &block);
	return 0;
}

/* Consumes the job's reference. */
static void run_op(struct kiln__job *job)
{
	struct kiln__vz_op *op = (struct kiln__vz_op *)job;
	struct kiln__vz_vm *vm = op->vm;
	int r = 0;

	if (vm->busy && op->what != KILN__VZ_CONNECT && !vm->kill_wanted) {
		kiln__list_append(&vm->waiting, &op->note); /* it is not told yet */
		return;
	}
	if (vm->over || vm->kill_wanted || !vm->machine)
		r = kiln__fail(&op->err, KILN_EDIED, "the machine has ended");
	else if (op->what == KILN__VZ_START)
		r = begin(op, "canStart", "startWithCompletionHandler:");
	else if (op->what == KILN__VZ_PAUSE)
		r = begin(op, "canPause", "pauseWithCompletionHandler:");
	else if (op->what == KILN__VZ_RESUME)
		r = begin(op, "canResume", "resumeWithCompletionHandler:");
	else if (op->what == KILN__VZ_SHUTDOWN)
		r = request_stop(op);
	else if (op->what == KILN__VZ_SAVE || op->what == KILN__VZ_RESTORE)
		r = save_or_restore(op);
	else if (op->what == KILN__VZ_BALLOON)
		r = set_balloon(op);
	else
		r = dial(op);
	if (r < 0)
		tell(op);
	kiln__vz_op_unref(op);
}

/* Until one of them makes it busy again. What waits for a VM that ends fails. */
static void run_waiting(struct kiln__vz_vm *vm)
{
	while ((!vm->busy || vm->kill_wanted) && !kiln__list_empty(&vm->waiting)) {
		struct kiln__vz_op *op =
			kiln__list_entry(vm->waiting.next, struct kiln__vz_op, note);

		kiln__list_remove(&op->note);
		run_op(&op->job);
	}
}

void kiln__vz_vm_ask(struct kiln__vz_vm *vm, struct kiln__vz_op *op)
{
	op->job.run = run_op;
	kiln__call_ref(&op->call);
	kiln__queue_async(vm->queue, &op->job);
}

/* --- delegates ------------------------------------------------------------------------ */

static void guest_did_stop(id self, SEL selector, VZVirtualMachine *machine)
{
	(void)selector;
	(void)machine;
	end(kiln__delegate_context(self), KILN__END_POWEROFF, NULL);
}

static void did_stop_with_error(id self, SEL selector, VZVirtualMachine *machine, NSError *error)
{
	kiln_error why;

	(void)selector;
	(void)machine;
	kiln__nserror(&why, error, "the virtual machine stopped");
	why.code = KILN_EDIED;
	end(kiln__delegate_context(self), KILN__END_FAILED, &why);
}

static void warn(struct kiln__vz_vm *vm, NSError *error)
{
	struct kiln__vz_op *op = kiln__vz_op_new(vm, KILN__VZ_WARNING);

	if (!op)
		return;
	kiln__nserror(&op->err, error, words[op->what]);
	tell(op);
	kiln__vz_op_unref(op);
}

static void was_disconnected(id self, SEL selector, VZVirtualMachine *machine,
			     VZNetworkDevice *device, NSError *error)
{
	(void)selector;
	(void)machine;
	(void)device;
	warn(kiln__delegate_context(self), error);
}

static void disk_failed(id self, SEL selector, VZNetworkBlockDeviceStorageDeviceAttachment *disk,
			NSError *error)
{
	(void)selector;
	(void)disk;
	warn(kiln__delegate_context(self), error);
}

/* Whether there is room for one more, which is counted then. */
static bool count_incoming(struct kiln__vz_vm *vm)
{
	bool room;

	pthread_mutex_lock(&vm->lock);
	room = vm->waker && vm->incoming < MAX_INCOMING;
	vm->incoming += room;
	pthread_mutex_unlock(&vm->lock);
	return room;
}

/*
 * The answer is wanted here and now, the decision is the loop's: taken, and closed again if the
 * loop will not have it. The ports are those that were to be listened at.
 */
static BOOL should_accept(id self, SEL selector, VZVirtioSocketListener *listener,
			  VZVirtioSocketConnection *connection, VZVirtioSocketDevice *device)
{
	struct kiln__vz_vm *vm = kiln__delegate_context(self);
	struct kiln__vz_op *op = kiln__vz_op_new(vm, KILN__VZ_INCOMING);
	bool taken;

	(void)selector;
	(void)listener;
	(void)device;
	if (!op)
		return false;
	op->port =
		kiln__send(uint32_t, VZVirtioSocketConnection, "destinationPort", (), connection);
	op->from = kiln__send(uint32_t, VZVirtioSocketConnection, "sourcePort", (), connection);
	taken = !vm->over && take_connection(op, connection) == 0 && count_incoming(vm);
	if (taken)
		tell(op);
	kiln__vz_op_unref(op);
	return taken;
}

static id make_delegate(struct kiln__vz_vm *vm)
{
	const struct kiln__method methods[] = {
		kiln__method(VZVirtualMachineDelegate, void, "guestDidStopVirtualMachine:",
			     (VZVirtualMachine *), "v@:@", guest_did_stop),
		kiln__method(VZVirtualMachineDelegate, void, "virtualMachine:didStopWithError:",
			     (VZVirtualMachine *, NSError *), "v@:@@", did_stop_with_error),
		kiln__method(VZVirtualMachineDelegate, void,
			     "virtualMachine:networkDevice:attachmentWasDisconnectedWithError:",
			     (VZVirtualMachine *, VZNetworkDevice *, NSError *), "v@:@@@",
			     was_disconnected),
		kiln__method(VZNetworkBlockDeviceStorageDeviceAttachmentDelegate, void,
			     "attachment:didEncounterError:",
			     (VZNetworkBlockDeviceStorageDeviceAttachment *, NSError *), "v@:@@",
			     disk_failed),
	};

	return kiln__delegate_make("KilnVirtualMachineDelegate", "VZVirtualMachineDelegate",
				   methods, sizeof(methods) / sizeof(methods[0]), vm);
}

static id make_accepter(struct kiln__vz_vm *vm)
{
	const struct kiln__method methods[] = {
		kiln__method(VZVirtioSocketListenerDelegate, BOOL,
			     "listener:shouldAcceptNewConnection:fromSocketDevice:",
			     (VZVirtioSocketListener *, VZVirtioSocketConnection *,
			      VZVirtioSocketDevice *),
			     KILN__BOOL_ENCODING "@:@@@", should_accept),
	};

	return kiln__delegate_make("KilnSocketListenerDelegate", "VZVirtioSocketListenerDelegate",
				   methods, sizeof(methods) / sizeof(methods[0]), vm);
}

/* --- making it ------------------------------------------------------------------------ */

static int listen_at(struct kiln__vz_vm *vm, const uint32_t *ports, kiln_error *err)
{
	vm->socket =
		first_of(kiln__send(NSArray *, VZVirtualMachine, "socketDevices", (), vm->machine));
	if (!vm->socket || !ports[0])
		return 0;
	vm->listener = kiln__new(VZVirtioSocketListener);
	vm->accepter = make_accepter(vm);
	if (!vm->listener || !vm->accepter)
		return kiln__fail_nomem(err);
	kiln__send(void, VZVirtioSocketListener, "setDelegate:", (id), vm->listener, vm->accepter);
	for (; *ports; ports++)
		kiln__send(void, VZVirtioSocketDevice,
			   "setSocketListener:forPort:", (VZVirtioSocketListener *, uint32_t),
			   vm->socket, vm->listener, *ports);
	return 0;
}

static void build_now(struct kiln__job *job)
{
	struct build *build = (struct build *)job;
	struct kiln__vz_vm *vm = build->vm;
	kiln__autorelease VZVirtualMachineConfiguration *config = NULL;

	vm->delegate = make_delegate(vm);
	build->plan->watcher = vm->delegate;
	build->result = vm->delegate ? kiln__vz_config_make(&config, build->plan, build->err)
				     : kiln__fail_nomem(build->err);
	if (build->result < 0)
		return;
	vm->machine =
		kiln__make(VZVirtualMachine, "initWithConfiguration:queue:",
			   (VZVirtualMachineConfiguration *, dispatch_queue_t), config, vm->queue);
	if (!vm->machine) {
		build->result = kiln__fail_nomem(build->err);
		return;
	}
	kiln__send(void, VZVirtualMachine, "setDelegate:", (id), vm->machine, vm->delegate);
	build->result = listen_at(vm, build->ports, build->err);
}

int kiln__vz_vm_build(struct kiln__vz_vm *vm, struct kiln__vz_plan *plan, const uint32_t *ports,
		      kiln_error *err)
{
	struct build build = {
		.job.run = build_now,
		.vm = vm,
		.plan = plan,
		.ports = ports,
		.err = err,
	};

	kiln__queue_sync(vm->queue, &build.job);
	return build.result;
}

int kiln__vz_vm_new(struct kiln__vz_vm **ret, struct kiln__waker *waker, kiln_error *err)
{
	struct kiln__vz_vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return kiln__fail_nomem(err);
	vm->queue = dispatch_queue_create("kiln.vm", NULL);
	if (!vm->queue) {
		free(vm);
		return kiln__fail_nomem(err);
	}
	vm->refs = 1;
	vm->waker = waker;
	pthread_mutex_init(&vm->lock, NULL);
	kiln__list_init(&vm->notes);
	kiln__list_init(&vm->waiting);
	*ret = vm;
	return 0;
}

static void kill_at_once(struct kiln__job *job)
{
	struct release *release = (struct release *)job;

	release->vm->kill_wanted = true;
	stop(release->vm);
}

static void release_now(struct kiln__job *job)
{
	struct release *release = (struct release *)job;

	release->vm->over = true;
	release_objects(release->vm);
	run_waiting(release->vm);
}

void kiln__vz_vm_free(struct kiln__vz_vm *vm)
{
	struct release release = {.job.run = kill_at_once, .vm = vm};
	struct kiln__vz_op *op;

	if (!vm)
		return;
	pthread_mutex_lock(&vm->lock);
	vm->waker = NULL;
	pthread_mutex_unlock(&vm->lock);
	while ((op = kiln__vz_vm_next(vm)))
		kiln__vz_op_unref(op);
	kiln__queue_sync(vm->queue, &release.job);
	release.job.run = release_now;
	kiln__queue_sync(vm->queue, &release.job);
	unref(vm);
}
