/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The look-alike's classes of what the host lends a guest: directories, Rosetta, disks by NBD, a
 * switch's socket, ports of the console device, the balloon. What they refuse is as documented.
 */
#import "object.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GOT(text) [self got:_cmd with:(text)]

/* Ends an init... that failed. */
static id give_up(id object, NSError **error, int code, NSString *words)
{
	*error = lookalike_error(code, words);
	[object release];
	return nil;
}

/* --- directories ---------------------------------------------------------------------- */

@interface VZDirectoryShare : LookalikeObject
@end
@implementation VZDirectoryShare
@end

@interface VZMultipleDirectoryShare : VZDirectoryShare
@end

@implementation VZMultipleDirectoryShare

+ (BOOL)validateName:(NSString *)name error:(NSError **)error
{
	if ([name length] && [name length] < 256 && ![name isEqualToString:@"."] &&
	    ![name isEqualToString:@".."] && [name rangeOfString:@"/"].location == NSNotFound)
		return YES;
	*error = lookalike_error(2, @"The directory's name is invalid.");
	return NO;
}

/* Its names are listed in order, since a dictionary has none. */
- (id)initWithDirectories:(NSDictionary *)directories
{
	NSArray *names = [[directories allKeys] sortedArrayUsingSelector:@selector(compare:)];
	NSMutableArray *texts = [NSMutableArray array];

	for (NSUInteger i = 0; i < [names count]; i++) {
		id directory = [directories objectForKey:[names objectAtIndex:i]];

		if (![NSStringFromClass([directory class]) isEqualToString:@"VZSharedDirectory"])
			lookalike_fail(@"%@ is no VZSharedDirectory", directory);
		[texts addObject:[NSString stringWithFormat:@"\"%@\": <%@>", [names objectAtIndex:i],
							    [[[directory valueNamed:@"URL"] path] lastPathComponent]]];
	}
	GOT(([NSString stringWithFormat:@"{%@}", [texts componentsJoinedByString:@", "]]));
	self = [super init];
	[self setValue:directories named:@"directories"];
	return self;
}

@end

@interface VZVirtioFileSystemDeviceConfiguration : LookalikeObject
@end

@implementation VZVirtioFileSystemDeviceConfiguration

+ (BOOL)validateTag:(NSString *)tag error:(NSError **)error
{
	if ([tag length] && [tag lengthOfBytesUsingEncoding:NSUTF8StringEncoding] <= 36)
		return YES;
	*error = lookalike_error(2, @"The tag is invalid.");
	return NO;
}

@end

/* --- Rosetta -------------------------------------------------------------------------- */

@interface VZLinuxRosettaDirectoryShare : VZDirectoryShare
@end

/* Like the framework's, on a thread that is nobody's queue. */
static void finish_install(void *data)
{
	struct lookalike_block *block = data;
	NSAutoreleasePool *pool = [[NSAutoreleasePool alloc] init];
	void (*call)(void *, NSError *) = (void (*)(void *, NSError *))block->invoke;

	if (lookalike_faults.rosetta_install_code)
		call(block, lookalike_error(lookalike_faults.rosetta_install_code,
					    @"The installation was cancelled."));
	else
		call(block, nil);
	_Block_release(block);
	[pool drain];
}

@implementation VZLinuxRosettaDirectoryShare

+ (NSInteger)availability
{
	return lookalike_faults.rosetta;
}

+ (void)installRosettaWithCompletionHandler:(void *)block
{
	dispatch_queue_t queue = dispatch_queue_create("install", NULL);

	dispatch_async_f(queue, _Block_copy(block), finish_install);
	dispatch_release(queue);
}

- (id)initWithError:(NSError **)error
{
	GOT(@"");
	if (lookalike_faults.rosetta == 0)
		return give_up(self, error, 10, @"Rosetta is not available.");
	return [super init];
}

@end

@interface VZLinuxRosettaCachingOptions : LookalikeObject
@end
@implementation VZLinuxRosettaCachingOptions
@end

@interface VZLinuxRosettaUnixSocketCachingOptions : VZLinuxRosettaCachingOptions
@end

@implementation VZLinuxRosettaUnixSocketCachingOptions

- (id)initWithPath:(NSString *)path error:(NSError **)error
{
	GOT(([NSString stringWithFormat:@"\"%@\"", path]));
	if (![path hasPrefix:@"/"] || [path length] > 107)
		return give_up(self, error, 2, @"The path is invalid.");
	self = [super init];
	[self setValue:path named:@"path"];
	return self;
}

@end

@interface VZLinuxRosettaAbstractSocketCachingOptions : VZLinuxRosettaCachingOptions
@end

@implementation VZLinuxRosettaAbstractSocketCachingOptions

- (id)initWithName:(NSString *)name error:(NSError **)error
{
	GOT(([NSString stringWithFormat:@"\"%@\"", name]));
	if (![name length] || [name length] > 107)
		return give_up(self, error, 2, @"The name is invalid.");
	self = [super init];
	[self setValue:name named:@"name"];
	return self;
}

@end

/* --- disks by NBD --------------------------------------------------------------------- */

@interface VZNetworkBlockDeviceStorageDeviceAttachment : LookalikeObject
@end

@implementation VZNetworkBlockDeviceStorageDeviceAttachment

+ (BOOL)validateURL:(NSURL *)url error:(NSError **)error
{
	NSArray *schemes = [NSArray arrayWithObjects:@"nbd", @"nbds", @"nbd+unix", @"nbds+unix", nil];
	NSString *scheme = [url scheme];
	bool local = [scheme hasSuffix:@"+unix"];

	if ([schemes containsObject:scheme] &&
	    (local ? [[url query] hasPrefix:@"socket=/"] : [[url host] length] > 0))
		return YES;
	*error = lookalike_error(2, @"The NBD URL is invalid.");
	return NO;
}

- (id)initWithURL:(NSURL *)url
		    timeout:(NSTimeInterval)timeout
	     forcedReadOnly:(BOOL)readonly
	synchronizationMode:(NSInteger)sync
		      error:(NSError **)error
{
	GOT(([NSString stringWithFormat:@"%@ timeout:%g forcedReadOnly:%d synchronizationMode:%ld",
					[url absoluteString], timeout, readonly, (long)sync]));
	if (sync < 0 || sync > 1)
		lookalike_fail(@"a network disk's mode: %ld", (long)sync);
	if (timeout <= 0)
		return give_up(self, error, 2, @"The timeout is invalid.");
	self = [super init];
	[self setValue:url named:@"URL"];
	[self setValue:[NSNumber numberWithBool:readonly] named:@"readOnly"];
	[self setValue:[NSNumber numberWithLong:sync] named:@"synchronizationMode"];
	return self;
}

/* Not held, as a delegate is not. */
- (void)setDelegate:(id)delegate
{
	GOT(delegate ? @"delegate" : @"nil");
	[self setValue:delegate ? [NSValue valueWithNonretainedObject:delegate] : nil named:@"delegate"];
}

@end

/* --- a switch's socket ---------------------------------------------------------------- */

@interface VZFileHandleNetworkDeviceAttachment : LookalikeObject
@end

@implementation VZFileHandleNetworkDeviceAttachment

- (id)initWithFileHandle:(NSFileHandle *)handle
{
	struct sockaddr_un peer;
	socklen_t len = sizeof(peer);
	int type = 0;
	socklen_t size = sizeof(type);

	GOT(@"NSFileHandle");
	if (getsockopt([handle fileDescriptor], SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
	    type != SOCK_DGRAM ||
	    getpeername([handle fileDescriptor], (struct sockaddr *)&peer, &len) < 0)
		lookalike_fail(@"an exception: the file handle is no connected datagram socket");
	self = [super init];
	[self setValue:handle named:@"fileHandle"];
	return self;
}

@end

/* --- serial ports --------------------------------------------------------------------- */

@interface VZFileSerialPortAttachment : LookalikeObject
@end

@implementation VZFileSerialPortAttachment

- (id)initWithURL:(NSURL *)url append:(BOOL)append error:(NSError **)error
{
	int fd = open([[url path] UTF8String], O_WRONLY | O_CREAT | O_CLOEXEC | (append ? 0 : O_TRUNC), 0600);

	GOT(([NSString stringWithFormat:@"<%@> append:%d", [[url path] lastPathComponent], append]));
	if (fd < 0)
		return give_up(self, error, 2, @"The file could not be opened.");
	close(fd);
	self = [super init];
	[self setValue:url named:@"URL"];
	return self;
}

@end

@interface VZVirtioConsolePortConfigurationArray : LookalikeObject
@end

@implementation VZVirtioConsolePortConfigurationArray

- (void)setObject:(id)port atIndexedSubscript:(NSUInteger)index
{
	GOT(([NSString stringWithFormat:@"%@ %lu", NSStringFromClass([port class]), (unsigned long)index]));
	if (index >= [self numberNamed:@"maximumPortCount"])
		lookalike_fail(@"an exception: port %lu is beyond the maximum", (unsigned long)index);
	[self setValue:port named:[NSString stringWithFormat:@"%lu", (unsigned long)index]];
}

@end

@interface VZVirtioConsoleDeviceConfiguration : LookalikeObject
@end

@implementation VZVirtioConsoleDeviceConfiguration

- (id)init
{
	id ports = [[VZVirtioConsolePortConfigurationArray alloc] init];

	self = [super init];
	[self setValue:ports named:@"ports"];
	[ports release];
	return self;
}

@end

/* --- the balloon ---------------------------------------------------------------------- */

@interface VZVirtioTraditionalMemoryBalloonDevice : LookalikeObject
@end

@implementation VZVirtioTraditionalMemoryBalloonDevice

- (void)setTargetVirtualMachineMemorySize:(uint64_t)bytes
{
	uint64_t most = [self numberNamed:@"most"];

	GOT(([NSString stringWithFormat:@"%llu", (unsigned long long)bytes]));
	if (bytes % (1 << 20) || bytes > most || bytes < 4ull << 20)
		lookalike_fail(@"an exception: the balloon's target %llu", (unsigned long long)bytes);
	[self setValue:[NSNumber numberWithUnsignedLongLong:bytes] named:@"targetVirtualMachineMemorySize"];
	lookalike_balloon([[self valueNamed:@"machine"] nonretainedObjectValue], bytes);
}

@end
