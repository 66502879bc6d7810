/* SPDX-License-Identifier: Apache-2.0 */
/* The bridge: see objc.h. All that is kept is one lock, since a class is made once a process. */
#include "objc.h"

#include "err.h"
#include "framework.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

void kiln__release(id object)
{
	if (object)
		kiln__send(void, NSObject, "release", (), object);
}

bool kiln__objc_responds(const char *class_name, const char *selector)
{
	id class = (id)objc_getClass(class_name);

	return class && KILN__SEND(BOOL, "instancesRespondToSelector:", (SEL), class,
				   sel_registerName(selector));
}

int kiln__objc_load(const char *framework, const char *class_name, kiln_error *err)
{
	if (objc_getClass(class_name))
		return 0;
	/* Never closed: a framework's classes cannot be taken back. */
	if (!dlopen(framework, RTLD_NOW | RTLD_LOCAL)) {
		const char *why = dlerror();

		return kiln__fail(err, KILN_ENOTSUP, "%s cannot be loaded: %s", framework,
				  why ? why : "no reason given");
	}
	if (!objc_getClass(class_name))
		return kiln__fail(err, KILN_ENOTSUP, "%s has no class %s", framework, class_name);
	return 0;
}

/* --- Foundation ----------------------------------------------------------------------- */

NSString *kiln__nsstring_make(const char *text)
{
	return kiln__make(NSString, "initWithUTF8String:", (const char *), text);
}

NSURL *kiln__nsurl_make(const char *path, bool directory)
{
	kiln__autorelease NSString *string = kiln__nsstring_make(path);

	return string ? kiln__make(NSURL, "initFileURLWithPath:isDirectory:", (NSString *, BOOL),
				   string, directory)
		      : NULL;
}

NSURL *kiln__nsurl_parse(const char *text)
{
	kiln__autorelease NSString *string = kiln__nsstring_make(text);

	return string ? kiln__make(NSURL, "initWithString:", (NSString *), string) : NULL;
}

NSArray *kiln__nsarray_make(const id *objects, size_t count)
{
	return kiln__make(NSArray, "initWithObjects:count:", (const id *, NSUInteger), objects,
			  count);
}

NSDictionary *kiln__nsdictionary_make(const id *objects, const id *keys, size_t count)
{
	return kiln__make(NSDictionary,
			  "initWithObjects:forKeys:count:", (const id *, const id *, NSUInteger),
			  objects, keys, count);
}

NSData *kiln__nsdata_make(const void *bytes, size_t len)
{
	return kiln__make(NSData, "initWithBytes:length:", (const void *, NSUInteger), bytes, len);
}

NSFileHandle *kiln__nsfilehandle_make(int fd)
{
	return kiln__make(NSFileHandle, "initWithFileDescriptor:closeOnDealloc:", (int, BOOL), fd,
			  true);
}

void kiln__nsstring_copy(NSString *string, char *text, size_t size)
{
	const char *bytes =
		string ? kiln__send(const char *, NSString, "UTF8String", (), string) : NULL;

	snprintf(text, size, "%s", bytes ? bytes : "");
}

/* VZErrorCode: those that say whose fault it is. */
static int code_of(const char *domain, NSInteger code)
{
	static const int codes[][2] = {
		{VZErrorInvalidVirtualMachineConfiguration, KILN_EINVAL},
		{VZErrorInvalidVirtualMachineState, KILN_ESTATE},
		{VZErrorInvalidVirtualMachineStateTransition, KILN_ESTATE},
		{VZErrorInvalidDiskImage, KILN_EFORMAT},
		{VZErrorVirtualMachineLimitExceeded, KILN_EBUSY},
		{VZErrorOutOfDiskSpace, KILN_ENOSPC},
		{VZErrorOperationCancelled, KILN_ECANCELED},
		{VZErrorNotSupported, KILN_ENOTSUP},
		{VZErrorNetworkBlockDeviceNegotiationFailed, KILN_EPROTO},
		{VZErrorNetworkBlockDeviceDisconnected, KILN_EDIED},
	};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i][0] == code && strcmp(domain, "VZErrorDomain") == 0)
			return codes[i][1];
	return KILN_EIO;
}

/* Two of the framework's ways to say no have a cause that its words do not tell. */
static void hint(kiln_error *err, const char *words)
{
	if (strstr(words, "com.apple.security.virtualization"))
		kiln__hint(err,
			   "kiln-runner must be signed with this entitlement: codesign --force "
			   "--sign - --entitlements vz.entitlements kiln-runner");
	else if (err->code == KILN_EBUSY)
		kiln__hint(err, "macOS limits how many VMs run at a time: stop another one");
}

#define copy_text(text, error, selector)                                                           \
	kiln__nsstring_copy(kiln__send(NSString *, NSError, selector, (), error), text,            \
			    sizeof(text))

int kiln__nserror(kiln_error *err, NSError *error, const char *what)
{
	char domain[64];
	char words[256];
	char reason[200];
	NSInteger number;
	int code;

	if (!error)
		return kiln__fail(err, KILN_EIO, "%s: the framework does not say why", what);
	copy_text(domain, error, "domain");
	copy_text(words, error, "localizedDescription");
	copy_text(reason, error, "localizedFailureReason");
	number = kiln__send(NSInteger, NSError, "code", (), error);
	code = code_of(domain, number);
	if (strcmp(words, reason) == 0)
		reason[0] = '\0';
	kiln__fail(err, code, "%s: %s%s%s (%s %ld)", what, words, reason[0] ? " " : "", reason,
		   domain, (long)number);
	if (err)
		hint(err, words), hint(err, reason);
	return code;
}

/* --- queues --------------------------------------------------------------------------- */

void kiln__pool_drain(id *pool)
{
	kiln__send(void, NSAutoreleasePool, "drain", (), *pool);
}

static void run_job(void *data)
{
	struct kiln__job *job = data;
	kiln__autopool;

	job->run(job);
}

void kiln__queue_async(dispatch_queue_t queue, struct kiln__job *job)
{
	dispatch_async_f(queue, job, run_job);
}

void kiln__queue_sync(dispatch_queue_t queue, struct kiln__job *job)
{
	dispatch_sync_f(queue, job, run_job);
}

/* --- completion handlers -------------------------------------------------------------- */

void kiln__call_ref(struct kiln__call *call)
{
	atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
}

void kiln__call_unref(struct kiln__call *call)
{
	if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) == 1)
		call->drop(call);
}

/* Block-ABI-Apple, "High Level": BLOCK_HAS_COPY_DISPOSE, BLOCK_HAS_SIGNATURE. */
#define BLOCK_FLAGS (1 << 25 | 1 << 30)

struct kiln__block_descriptor {
	unsigned long reserved;
	unsigned long size;
	void (*copy)(struct kiln__block *to, const struct kiln__block *from);
	void (*dispose)(struct kiln__block *block);
	const char *signature;
};

extern void
	*_NSConcreteStackBlock[32]; /* of the blocks' runtime: libSystem's, or BlocksRuntime's */

static void copy_block(struct kiln__block *to, const struct kiln__block *from)
{
	to->call = from->call;
	kiln__call_ref(to->call);
}

static void dispose_block(struct kiln__block *block)
{
	kiln__call_unref(block->call);
}

static void invoke_error(struct kiln__block *block, NSError *error)
{
	block->call->run(block->call, NULL, error);
}

static void invoke_object(struct kiln__block *block, id object, NSError *error)
{
	block->call->run(block->call, object, error);
}

#define DESCRIPTOR(types)                                                                          \
	{                                                                                          \
		.size = sizeof(struct kiln__block), .copy = copy_block, .dispose = dispose_block,  \
		.signature = (types),                                                              \
	}
static const struct kiln__block_descriptor error_descriptor = DESCRIPTOR("v16@?0@8");
static const struct kiln__block_descriptor object_descriptor = DESCRIPTOR("v24@?0@8@16");

struct kiln__block kiln__block_make(struct kiln__call *call, bool with_object)
{
	return (struct kiln__block){
		.isa = _NSConcreteStackBlock,
		.flags = BLOCK_FLAGS,
		.invoke =
			with_object ? (void (*)(void))invoke_object : (void (*)(void))invoke_error,
		.descriptor = with_object ? &object_descriptor : &error_descriptor,
		.call = call,
	};
}

/* --- delegates ------------------------------------------------------------------------ */

#define CONTEXT "kilnContext"

static Class make_class(const char *name, const char *protocol, const struct kiln__method *methods,
			size_t count)
{
	Class class = objc_allocateClassPair((Class)objc_getClass("NSObject"), name, 0);
	Protocol *adopted =
		objc_getProtocol(protocol); /* may be NULL: nobody had to compile it in */

	if (!class)
		return NULL;
	class_addIvar(class, CONTEXT, sizeof(void *), sizeof(void *) == 8 ? 3 : 2, "^v");
	for (size_t i = 0; i < count; i++)
		class_addMethod(class, sel_registerName(methods[i].selector), methods[i].imp,
				methods[i].encoding);
	if (adopted)
		class_addProtocol(class, adopted);
	objc_registerClassPair(class);
	return class;
}

static void **context_of(id delegate)
{
	Ivar ivar = class_getInstanceVariable(object_getClass(delegate), CONTEXT);

	return (void **)(void *)((char *)delegate + ivar_getOffset(ivar));
}

id kiln__delegate_make(const char *name, const char *protocol, const struct kiln__method *methods,
		       size_t count, void *context)
{
	/* The runtime's table of classes is the process's, and so is this lock. */
	static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
	Class class;
	id delegate;

	pthread_mutex_lock(&making);
	class = (Class)objc_getClass(name);
	if (!class)
		class = make_class(name, protocol, methods, count);
	pthread_mutex_unlock(&making);
	if (!class)
		return NULL;
	delegate = KILN__SEND(id, "alloc", (), class);
	delegate = delegate ? KILN__SEND(id, "init", (), delegate) : NULL;
	if (delegate)
		*context_of(delegate) = context;
	return delegate;
}

void *kiln__delegate_context(id delegate)
{
	return *context_of(delegate);
}
