/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bridge to Objective-C, from plain C: what Apple's Virtualization.framework is spoken to by.
 *
 * Messages. kiln__send() sends one; it is written with the class and the types of Apple's headers,
 * so that tests/vz/names.py finds each message in the tables of these headers. It compiles to a
 * call of the runtime's dispatcher, cast to the method's type, as compilers of Objective-C make it.
 *
 * Ownership is explicit: what kiln__new(), kiln__make() and the ...make() functions yield is the
 * caller's, released once (kiln__release(), or kiln__autorelease at the end of a scope). What other
 * messages yield is borrowed: it lives as long as its owner or the job's autorelease pool.
 *
 * Threads: an object of a VM is sent messages on the VM's queue only, by jobs. Exceptions never
 * cross: what would raise one is validated before it is sent.
 */
#ifndef KILN_BACKENDS_VZ_OBJC_H
#define KILN_BACKENDS_VZ_OBJC_H

#include <kiln/error.h>

#include <dispatch/dispatch.h>
#include <objc/NSObjCRuntime.h>
#include <objc/message.h>
#include <objc/objc.h>
#include <objc/runtime.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a method's type string has for BOOL. */
#if !defined(__APPLE__)
#define KILN__BOOL_ENCODING "C"
#elif OBJC_BOOL_IS_BOOL
#define KILN__BOOL_ENCODING "B"
#else
#define KILN__BOOL_ENCODING "c"
#endif

/* To C all objects are one type; their names are for readers and for the checker. */
typedef struct objc_object NSArray, NSData, NSDictionary, NSError, NSFileHandle, NSString, NSURL;

/* --- messages ------------------------------------------------------------------------ */

#define KILN__SIGNATURE(...) id, SEL __VA_OPT__(, ) __VA_ARGS__
#ifdef __APPLE__
#define KILN__IMP(to, selector) objc_msgSend
#else
#define KILN__IMP(to, selector) objc_msg_lookup((to), (selector))
#endif
#define KILN__SEND(ret, selector, types, receiver, ...)                                            \
	({                                                                                         \
		id to_ = (id)(receiver);                                                           \
		SEL selector_ = sel_registerName(selector);                                        \
		((ret(*)(KILN__SIGNATURE types))(void (*)(void))KILN__IMP(to_, selector_))(        \
			to_, selector_, ##__VA_ARGS__);                                            \
	})

/*
 * Sends an instance of @class the message of @selector, a literal: (@types) of its arguments, what
 * it returns, the receiver, the arguments. Not to be nested in the arguments of another.
 */
#define kiln__send(ret, class, selector, types, receiver, ...)                                     \
	KILN__SEND(ret, selector, types, receiver, ##__VA_ARGS__)

/* The same to the class itself. */
#define kiln__send_class(ret, class, selector, types, ...)                                         \
	KILN__SEND(ret, selector, types, objc_getClass(#class), ##__VA_ARGS__)

#define kiln__alloc(class) KILN__SEND(id, "alloc", (), objc_getClass(#class))
#define kiln__new(class)                                                                           \
	({                                                                                         \
		id new_ = kiln__alloc(class);                                                      \
		KILN__SEND(id, "init", (), new_);                                                  \
	})

/* A new instance by one of its init... messages; the caller's, NULL if that fails. */
#define kiln__make(class, selector, types, ...)                                                    \
	({                                                                                         \
		id made_ = kiln__alloc(class);                                                     \
		KILN__SEND(id, selector, types, made_, ##__VA_ARGS__);                             \
	})

/* Sets a property, by its setter's name. */
#define kiln__set(class, selector, type, receiver, value)                                          \
	kiln__send(void, class, selector, (type), receiver, value)

void kiln__release(id object); /* NULL is allowed */

static inline void kiln__releasep(void *object)
{
	kiln__release(*(id *)object);
}
#define kiln__autorelease __attribute__((cleanup(kiln__releasep)))

/* Around what is not a queue's job. */
void kiln__pool_drain(id *pool);
#define kiln__autopool                                                                             \
	__attribute__((cleanup(kiln__pool_drain), unused)) id pool_ = kiln__new(NSAutoreleasePool)

/* Whether this system has the class, and its instances the method. */
#define kiln__has_class(class)     (objc_getClass(#class) != NULL)
#define kiln__has(class, selector) kiln__objc_responds(#class, selector)
bool kiln__objc_responds(const char *class_name, const char *selector);

/* Loads @framework unless @class_name is there already. */
int kiln__objc_load(const char *framework, const char *class_name, kiln_error *err);

/* --- Foundation ----------------------------------------------------------------------- */

/* The caller's; NULL if @text is not UTF-8, or out of memory. */
NSString *kiln__nsstring_make(const char *text);
NSURL *kiln__nsurl_make(const char *path, bool directory);
NSURL *kiln__nsurl_parse(const char *text); /* NULL also if it is none */
NSArray *kiln__nsarray_make(const id *objects, size_t count);
NSDictionary *kiln__nsdictionary_make(const id *objects, const id *keys, size_t count);
NSData *kiln__nsdata_make(const void *bytes, size_t len);
/* Owns @fd and closes it with itself; on failure @fd stays the caller's. */
NSFileHandle *kiln__nsfilehandle_make(int fd);

/* Copies the text, cut off if it is too long; "" for NULL. */
void kiln__nsstring_copy(NSString *string, char *text, size_t size);

/* Fills @err: "@what: the error's own words (domain code)", and returns its code. */
int kiln__nserror(kiln_error *err, NSError *error, const char *what);

/* --- queues --------------------------------------------------------------------------- */

/* A job with an autorelease pool around it. */
struct kiln__job {
	void (*run)(struct kiln__job *job);
};
void kiln__queue_async(dispatch_queue_t queue, struct kiln__job *job);
void kiln__queue_sync(dispatch_queue_t queue, struct kiln__job *job);

/* --- completion handlers -------------------------------------------------------------- */

/*
 * A call that comes later. It is counted: each copy of its block holds it. @run is called on the
 * queue, with the error (NULL: success) and, of the second kind, the object; @drop, when nobody
 * holds it any more, frees it.
 */
struct kiln__call {
	atomic_uint refs;
	void (*run)(struct kiln__call *call, id object, NSError *error);
	void (*drop)(struct kiln__call *call);
};
void kiln__call_ref(struct kiln__call *call);
void kiln__call_unref(struct kiln__call *call);

/* A block, as clang lays one out (Block-ABI-Apple): on the stack, copied by who keeps it. */
struct kiln__block {
	void *isa;
	int flags;
	int reserved;
	void (*invoke)(void);
	const struct kiln__block_descriptor *descriptor;
	struct kiln__call *call;
};
typedef struct kiln__block *kiln__error_block;  /* void (^)(NSError *) */
typedef struct kiln__block *kiln__object_block; /* void (^)(id, NSError *) */
struct kiln__block kiln__block_make(struct kiln__call *call, bool with_object);

/* --- delegates ------------------------------------------------------------------------ */

struct kiln__method {
	const char *selector;
	const char *encoding;
	IMP imp;
};

/* A method of @protocol that a delegate has; the function is checked against the types. */
#define kiln__method(protocol, ret, name, types, signature, function)                              \
	{                                                                                          \
		.selector = (name), .encoding = (signature),                                       \
		.imp = (IMP)(void (*)(void))((ret(*)(KILN__SIGNATURE types))(function)),           \
	}

/*
 * An instance of the class @name, which is made of the methods when it is first asked for, with
 * @context. The caller's. NULL: out of memory.
 */
id kiln__delegate_make(const char *name, const char *protocol, const struct kiln__method *methods,
		       size_t count, void *context);
void *kiln__delegate_context(id delegate);

#endif
