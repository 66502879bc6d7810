/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables, and the class under all others. Rows of classes whose names begin with VZ become classes;
 * messages to them are checked against the rows by methodSignatureForSelector:, and answered by
 * forwardInvocation:.
 */
#import "object.h"

#include "service.h"

#include <ctype.h>
#include <objc/runtime.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
	char *class;
	char *super;
	char kind;
	char *selector;
	char *arguments;
	char *returns;
};

static struct row *rows;
static size_t row_count;
static long alive;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static NSMutableString *trace;
static char hidden_class[128];
static char hidden_selector[128];

struct lookalike_faults lookalike_faults;

void lookalike_fail(NSString *format, ...)
{
	va_list list;
	NSString *text;

	va_start(list, format);
	text = [[NSString alloc] initWithFormat:format arguments:list];
	va_end(list);
	fprintf(stderr, "lookalike: %s\n", [text UTF8String]);
	abort();
}

/* --- the tables ----------------------------------------------------------------------- */

static void read_table(const char *path)
{
	FILE *file = fopen(path, "r");
	char line[4096];

	if (!file) {
		fprintf(stderr, "lookalike: %s: cannot be read\n", path);
		abort();
	}
	while (fgets(line, sizeof(line), file)) {
		char *fields[7] = {NULL};
		char *rest = line;

		line[strcspn(line, "\n")] = '\0';
		for (int i = 0; i < 7 && rest; i++)
			fields[i] = strsep(&rest, "\t");
		if (line[0] == '#' || !fields[5])
			continue;
		rows = realloc(rows, (row_count + 1) * sizeof(*rows));
		rows[row_count++] = (struct row){
			.class = strdup(fields[0]),
			.super = strdup(fields[1]),
			.kind = fields[2][0],
			.selector = strdup(fields[3]),
			.arguments = strdup(fields[4]),
			.returns = strdup(fields[5]),
		};
	}
	fclose(file);
}

static const char *super_of(const char *name)
{
	for (size_t i = 0; i < row_count; i++)
		if (strcmp(rows[i].class, name) == 0 && rows[i].super[0])
			return rows[i].super;
	return NULL;
}

static bool is_hidden(const char *class_name, const char *selector)
{
	return hidden_class[0] && strcmp(hidden_class, class_name) == 0 &&
	       (!hidden_selector[0] || (selector && strcmp(hidden_selector, selector) == 0));
}

static const struct row *find(const char *name, char kind, const char *selector)
{
	for (; name && strcmp(name, "NSObject") != 0; name = super_of(name)) {
		if (is_hidden(name, selector))
			return NULL;
		for (size_t i = 0; i < row_count; i++)
			if (rows[i].kind == kind && strcmp(rows[i].class, name) == 0 &&
			    strcmp(rows[i].selector, selector) == 0)
				return &rows[i];
	}
	return NULL;
}

static Class make_class(const char *name)
{
	Class class = objc_lookUpClass(name);
	const char *super;

	if (class)
		return class;
	super = super_of(name);
	if (!super || strncmp(super, "VZ", 2) != 0)
		super = "LookalikeObject";
	class = objc_allocateClassPair(make_class(super), name, 0);
	objc_registerClassPair(class);
	return class;
}

void lookalike_hide(const char *class_name, const char *selector)
{
	snprintf(hidden_class, sizeof(hidden_class), "%s", class_name ? class_name : "");
	snprintf(hidden_selector, sizeof(hidden_selector), "%s", selector ? selector : "");
}

/* Not from +load: classes that are written out must be known by then. */
static void make_classes(void)
{
	read_table(LOOKALIKE_TABLES "/selectors.tsv");
	read_table(LOOKALIKE_TABLES "/more.tsv");
	for (size_t i = 0; i < row_count; i++)
		if (strncmp(rows[i].class, "VZ", 2) == 0 && rows[i].kind != 'p')
			make_class(rows[i].class);
}

#define QUEUES 8 /* more than any test has at a time */

static void warm(void *data)
{
	NSAutoreleasePool *pool = [[NSAutoreleasePool alloc] init];

	(void)data;
	[NSRunLoop currentRunLoop];
	[pool drain];
}

void lookalike_begin(void)
{
	dispatch_queue_t queues[QUEUES];

	GSDebugAllocationActive(YES);
	make_classes();
	service_begin();
	for (int i = 0; i < QUEUES; i++)
		queues[i] = dispatch_queue_create("warm", NULL);
	for (int i = 0; i < QUEUES; i++)
		dispatch_sync_f(queues[i], NULL, warm);
	for (int i = 0; i < QUEUES; i++)
		dispatch_release(queues[i]);
	lookalike_await_idle_queues();
}

/* How the backend comes by a class: answered here instead of by the runtime. */
Class objc_getClass(const char *name)
{
	return is_hidden(name, NULL) && !hidden_selector[0] ? Nil : objc_lookUpClass(name);
}

/* One type of the table as the runtime encodes it. */
static const char *encoding_of(const char *type)
{
	static const struct {
		const char *name;
		const char *encoding;
	} known[] = {
		{"void", @encode(void)},
		{"BOOL", @encode(BOOL)},
		{"NSInteger", @encode(NSInteger)},
		{"NSUInteger", @encode(NSUInteger)},
		{"uint64_t", @encode(uint64_t)},
		{"uint32_t", @encode(uint32_t)},
		{"int", @encode(int)},
		{"NSTimeInterval", @encode(double)},
		{"NSError * *", "^@"},
		{"dispatch_queue_t", "^v"},
		{"instancetype", "@"},
		{"VZVirtualMachineState", @encode(NSInteger)},
		{"VZLinuxRosettaAvailability", @encode(NSInteger)},
		{"VZDiskImageCachingMode", @encode(NSInteger)},
		{"VZDiskImageSynchronizationMode", @encode(NSInteger)},
		{"VZDiskSynchronizationMode", @encode(NSInteger)},
		{"VZEFIVariableStoreInitializationOptions", @encode(NSUInteger)},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].name, type) == 0)
			return known[i].encoding;
	return "@";
}

static NSMethodSignature *signature_of(const struct row *row)
{
	char types[256];
	char *copy = strdup(row->arguments);
	char *rest = copy;

	snprintf(types, sizeof(types), "%s@:", encoding_of(row->returns));
	while (copy[0] && rest) {
		char *type = rest;
		char *bar = strstr(rest, " | ");

		rest = bar ? bar + 3 : NULL;
		if (bar)
			*bar = '\0';
		strncat(types, encoding_of(type), sizeof(types) - strlen(types) - 1);
	}
	free(copy);
	return [NSMethodSignature signatureWithObjCTypes:types];
}

/* --- recording ------------------------------------------------------------------------ */

static NSString *text_of(id object)
{
	if (!object)
		return @"nil";
	if ([object isKindOfClass:[NSString class]])
		return [NSString stringWithFormat:@"\"%@\"", object];
	if ([object isKindOfClass:[NSURL class]])
		return [NSString stringWithFormat:@"<%@>", [[object path] lastPathComponent]];
	if ([object isKindOfClass:[NSNumber class]])
		return [object description];
	if ([object isKindOfClass:[NSArray class]]) {
		NSMutableArray *texts = [NSMutableArray array];

		for (NSUInteger i = 0; i < [object count]; i++)
			[texts addObject:text_of([object objectAtIndex:i])];
		return [NSString stringWithFormat:@"[%@]", [texts componentsJoinedByString:@", "]];
	}
	if ([object isKindOfClass:[NSFileHandle class]])
		return @"NSFileHandle";
	if ([object isKindOfClass:[NSData class]])
		return @"NSData";
	return NSStringFromClass([object class]);
}

static void record(char kind, NSString *class, SEL selector, NSString *arguments)
{
	pthread_mutex_lock(&lock);
	if (trace)
		[trace appendFormat:@"%c[%@ %@]%@%@\n", kind, class, NSStringFromSelector(selector),
				    [arguments length] ? @" " : @"", arguments];
	pthread_mutex_unlock(&lock);
}

void lookalike_trace(void)
{
	pthread_mutex_lock(&lock);
	[trace release];
	trace = [[NSMutableString alloc] init];
	pthread_mutex_unlock(&lock);
}

char *lookalike_take_trace(void)
{
	NSAutoreleasePool *pool = [[NSAutoreleasePool alloc] init];
	char *text;

	pthread_mutex_lock(&lock);
	text = strdup(trace ? [trace UTF8String] : "");
	[trace release];
	trace = nil;
	pthread_mutex_unlock(&lock);
	[pool drain];
	return text;
}

long lookalike_alive(void)
{
	return __atomic_load_n(&alive, __ATOMIC_SEQ_CST);
}

/* GNUstep counts, once asked to. */
long lookalike_foundation_alive(void)
{
	NSAutoreleasePool *pool = [[NSAutoreleasePool alloc] init];
	Class *classes = GSDebugAllocationClassList();
	long count = 0;

	for (Class *class = classes; class && *class; class++)
		if (*class != [NSAutoreleasePool class])
			count += GSDebugAllocationCount(*class);
	[pool drain];
	return count;
}

bool lookalike_on_queue(void)
{
	return lookalike_current_queue() != NULL;
}

NSError *lookalike_error(int code, NSString *words)
{
	return [NSError errorWithDomain:@"VZErrorDomain"
				   code:code
			       userInfo:[NSDictionary dictionaryWithObject:words
								    forKey:NSLocalizedDescriptionKey]];
}

/* --- the class ------------------------------------------------------------------------ */

/* "setKernelURL:", "KernelURL" of "initWithKernelURL:": kernelURL; acronyms stay. */
static NSString *property_of(NSString *name)
{
	if ([name length] > 1 && isupper([name characterAtIndex:1]))
		return name;
	return [[[name substringToIndex:1] lowercaseString]
		stringByAppendingString:[name substringFromIndex:1]];
}

/* An argument of an invocation as an object; numbers are boxed. */
static id argument_of(NSInvocation *invocation, NSUInteger index)
{
	const char *type = [[invocation methodSignature] getArgumentTypeAtIndex:index];
	unsigned long long number = 0;
	id object = nil;

	if (type[0] == '@') {
		[invocation getArgument:&object atIndex:(NSInteger)index];
		return object;
	}
	if (type[0] == '^')
		return nil;
	[invocation getArgument:&number atIndex:(NSInteger)index];
	return [NSNumber numberWithUnsignedLongLong:number];
}

@implementation LookalikeObject

+ (id)alloc
{
	__atomic_fetch_add(&alive, 1, __ATOMIC_SEQ_CST);
	record('+', NSStringFromClass(self), _cmd, @"");
	return [super alloc];
}

- (id)init
{
	self = [super init];
	values = [[NSMutableDictionary alloc] init];
	return self;
}

- (void)dealloc
{
	if (!lookalike_on_queue())
		lookalike_fail(@"a %@ is released off the queue", NSStringFromClass([self class]));
	__atomic_fetch_sub(&alive, 1, __ATOMIC_SEQ_CST);
	[values release];
	[super dealloc];
}

- (id)valueNamed:(NSString *)name
{
	return [values objectForKey:name];
}

- (void)setValue:(id)value named:(NSString *)name
{
	if (!values)
		values = [[NSMutableDictionary alloc] init];
	if (value)
		[values setObject:value forKey:name];
	else
		[values removeObjectForKey:name];
}

- (unsigned long long)numberNamed:(NSString *)name
{
	return [[values objectForKey:name] unsignedLongLongValue];
}

- (void)got:(SEL)selector with:(NSString *)arguments
{
	NSString *class = NSStringFromClass([self class]);

	if (!find([class UTF8String], '-', [NSStringFromSelector(selector) UTF8String]))
		lookalike_fail(@"-[%@ %@]: no table has it", class, NSStringFromSelector(selector));
	if (!lookalike_on_queue())
		lookalike_fail(@"-[%@ %@] off the queue", class, NSStringFromSelector(selector));
	record('-', class, selector, arguments);
}

+ (BOOL)respondsToSelector:(SEL)selector
{
	NSString *name = NSStringFromSelector(selector);

	return find([NSStringFromClass(self) UTF8String], '+', [name UTF8String]) ||
	       [super respondsToSelector:selector];
}

+ (BOOL)instancesRespondToSelector:(SEL)selector
{
	return find([NSStringFromClass(self) UTF8String], '-',
		    [NSStringFromSelector(selector) UTF8String]) != NULL;
}

- (NSMethodSignature *)methodSignatureForSelector:(SEL)selector
{
	NSString *class = NSStringFromClass([self class]);
	const struct row *row =
		find([class UTF8String], '-', [NSStringFromSelector(selector) UTF8String]);

	if (!row)
		lookalike_fail(@"-[%@ %@]: no table has it", class, NSStringFromSelector(selector));
	return signature_of(row);
}

+ (NSMethodSignature *)methodSignatureForSelector:(SEL)selector
{
	lookalike_fail(@"+[%@ %@]: no table has it, or the look-alike does not answer it",
		       NSStringFromClass(self), NSStringFromSelector(selector));
}

/* Takes the arguments by the names of the properties that they initialize. */
- (void)initialize:(NSInvocation *)invocation
{
	NSArray *parts =
		[NSStringFromSelector([invocation selector]) componentsSeparatedByString:@":"];
	id me = self;

	[self init];
	for (NSUInteger i = 0; i + 1 < [parts count]; i++) {
		NSString *name = [parts objectAtIndex:i];

		if (i == 0)
			name = [name substringFromIndex:[@"initWith" length]];
		if (![name isEqualToString:@"error"])
			[self setValue:argument_of(invocation, i + 2) named:property_of(name)];
	}
	[invocation setReturnValue:&me];
}

- (void)answer:(NSInvocation *)invocation
{
	NSString *name = NSStringFromSelector([invocation selector]);
	const char *type = [[invocation methodSignature] methodReturnType];
	id value;
	unsigned long long number;

	if ([name hasPrefix:@"is"])
		name = property_of([name substringFromIndex:2]);
	value = [self valueNamed:name];
	number = [value isKindOfClass:[NSNumber class]] ? [value unsignedLongLongValue] : 0;
	if (type[0] == '@')
		[invocation setReturnValue:&value];
	else
		[invocation setReturnValue:&number];
}

- (void)forwardInvocation:(NSInvocation *)invocation
{
	NSString *name = NSStringFromSelector([invocation selector]);
	NSUInteger count = [[invocation methodSignature] numberOfArguments] - 2;
	NSMutableArray *texts = [NSMutableArray array];

	for (NSUInteger i = 0; i < count; i++) {
		const char *type = [[invocation methodSignature] getArgumentTypeAtIndex:i + 2];

		if (type[0] != '^')
			[texts addObject:text_of(argument_of(invocation, i + 2))];
	}
	[self got:[invocation selector] with:[texts componentsJoinedByString:@" "]];
	if ([name hasPrefix:@"initWith"]) {
		[self initialize:invocation];
	} else if ([name hasPrefix:@"set"] && count == 1) {
		name = [name substringWithRange:NSMakeRange(3, [name length] - 4)];
		[self setValue:argument_of(invocation, 2) named:property_of(name)];
	} else if (count == 0) {
		[self answer:invocation];
	} else {
		lookalike_fail(@"-[%@ %@]: the look-alike does not answer it",
			       NSStringFromClass([self class]), name);
	}
}

@end
