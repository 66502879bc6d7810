/* SPDX-License-Identifier: Apache-2.0 */
/* The root of the look-alike's classes: what the tables say, answered generically. */
#ifndef TESTS_VZ_OBJECT_H
#define TESTS_VZ_OBJECT_H

#import <Foundation/Foundation.h>

#include "lookalike.h"
#include <dispatch/dispatch.h>

/* Ends the process: the rules were broken. */
void lookalike_fail(NSString *format, ...) __attribute__((noreturn));

/*
 * Properties are kept by name: what setX: and initWith...: were given, for x and isX to answer. A
 * class with more to it is written out (framework.m) and begins its methods with [self got: ...].
 */
@interface LookalikeObject : NSObject {
	NSMutableDictionary *values;
}
- (id)valueNamed:(NSString *)name;
- (void)setValue:(id)value named:(NSString *)name;
- (unsigned long long)numberNamed:(NSString *)name;
/* Checks a message that a written method answers, and records it with a text of its arguments. */
- (void)got:(SEL)selector with:(NSString *)arguments;
@end

NSError *lookalike_error(int code, NSString *words);

/* The balloon of @machine, a VZVirtualMachine, is to leave the guest so many bytes. */
void lookalike_balloon(id machine, unsigned long long bytes);

/* A block as the runtime lays it out. */
struct lookalike_block {
	void *isa;
	int flags;
	int reserved;
	void (*invoke)(void);
	struct {
		unsigned long reserved;
		unsigned long size;
		void *copy, *dispose;
		const char *signature;
	} * descriptor;
};
void *_Block_copy(const void *block);
void _Block_release(const void *block);

#endif
