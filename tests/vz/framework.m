/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The classes of the look-alike that do more than keep what they are given. What they refuse, and with
 * which words, is as documented; what they run is a VM of kiln's QEMU backend (service.c).
 *
 * State changes are made on the VM's queue, as are completions: a job for the queue holds a link to
 * the VM, which the VM cuts when it goes.
 */
#import "object.h"

#include "service.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STOPPED, RUNNING, PAUSED, ERROR, STARTING, PAUSING, RESUMING, STOPPING };

#define GOT(text) [self got:_cmd with:(text)]

@interface VZVirtualMachineConfiguration : LookalikeObject {
@public
	BOOL valid;
}
@end

@interface VZGenericPlatformConfiguration : LookalikeObject
@end
@interface VZGenericMachineIdentifier : LookalikeObject
@end
@interface VZEFIVariableStore : LookalikeObject
@end
@interface VZDiskImageStorageDeviceAttachment : LookalikeObject
@end
@interface VZDiskBlockDeviceStorageDeviceAttachment : LookalikeObject
@end
@interface VZVirtioBlockDeviceConfiguration : LookalikeObject
@end
@interface VZMACAddress : LookalikeObject
@end
@interface VZVirtioSocketConnection : LookalikeObject {
@public
	int descriptor;
}
@end

@class VZVirtualMachine;

/* The delegates' methods, of which the compiler must know. */
@interface NSObject (Delegates)
- (void)guestDidStopVirtualMachine:(VZVirtualMachine *)vm;
- (void)virtualMachine:(VZVirtualMachine *)vm didStopWithError:(NSError *)error;
- (void)virtualMachine:(VZVirtualMachine *)vm
				 networkDevice:(id)device
	attachmentWasDisconnectedWithError:(NSError *)error;
- (void)attachment:(id)attachment didEncounterError:(NSError *)error;
- (BOOL)listener:(id)listener
	shouldAcceptNewConnection:(id)connection
		 fromSocketDevice:(id)device;
@end

/* Counted by hand, since it is held across threads. */
struct link {
	unsigned refs;
	dispatch_queue_t queue;
	VZVirtualMachine *vm; /* the queue's; nil when it has gone */
};

@interface VZVirtioSocketDevice : LookalikeObject {
@public
	struct link *link;
	NSMutableDictionary *listeners;
}
@end

@interface VZVirtualMachine : LookalikeObject {
@public
	VZVirtualMachineConfiguration *configuration;
	dispatch_queue_t queue;
	id delegate;
	int state;
	struct link *link;
	struct service_vm *service;
	VZVirtioSocketDevice *socket;
	LookalikeObject *balloon;
}
- (void)ended:(NSString *)error;
- (void)listen;
@end

/* --- small ones ----------------------------------------------------------------------- */

@implementation VZGenericMachineIdentifier

- (id)init
{
	unsigned char bytes[20] = "VZID";
	int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);

	self = [super init];
	if (read(fd, bytes + 4, 16) != 16)
		abort();
	close(fd);
	[self setValue:[NSData dataWithBytes:bytes length:20] named:@"dataRepresentation"];
	return self;
}

- (id)initWithDataRepresentation:(NSData *)data
{
	GOT(@"NSData");
	if ([data length] != 20 || memcmp([data bytes], "VZID", 4) != 0) {
		[self release];
		return nil;
	}
	self = [super init];
	[self setValue:data named:@"dataRepresentation"];
	return self;
}

@end

@implementation VZGenericPlatformConfiguration

+ (BOOL)isNestedVirtualizationSupported
{
	return lookalike_faults.nested;
}

- (id)init
{
	id identifier = [[VZGenericMachineIdentifier alloc] init];

	self = [super init];
	[self setValue:identifier named:@"machineIdentifier"];
	[identifier release];
	return self;
}

@end

@implementation VZEFIVariableStore

- (id)initCreatingVariableStoreAtURL:(NSURL *)url options:(NSUInteger)options error:(NSError **)error
{
	int fd = open([[url path] UTF8String],
		      O_WRONLY | O_CREAT | O_CLOEXEC | (options & 1 ? O_TRUNC : O_EXCL), 0600);

	GOT(@"");
	if (fd < 0) {
		*error = lookalike_error(1, @"The variable store could not be created.");
		[self release];
		return nil;
	}
	close(fd);
	self = [super init];
	[self setValue:url named:@"URL"];
	return self;
}

@end

@implementation VZDiskImageStorageDeviceAttachment

- (id)initWithURL:(NSURL *)url
		   readOnly:(BOOL)readonly
		cachingMode:(NSInteger)caching
	synchronizationMode:(NSInteger)sync
		      error:(NSError **)error
{
	int mode = readonly ? R_OK : R_OK | W_OK;

	GOT(([NSString stringWithFormat:@"<%@> readOnly:%d cachingMode:%ld synchronizationMode:%ld",
					[[url path] lastPathComponent], readonly, (long)caching,
					(long)sync]));
	if (caching < 0 || caching > 2 || sync < 1 || sync > 3)
		lookalike_fail(@"a disk image's modes: %ld, %ld", (long)caching, (long)sync);
	if (access([[url path] UTF8String], mode) < 0) {
		*error = lookalike_error(5, @"The storage device attachment is invalid.");
		[self release];
		return nil;
	}
	self = [super init];
	[self setValue:url named:@"URL"];
	[self setValue:[NSNumber numberWithBool:readonly] named:@"readOnly"];
	[self setValue:[NSNumber numberWithLong:caching] named:@"cachingMode"];
	[self setValue:[NSNumber numberWithLong:sync] named:@"synchronizationMode"];
	return self;
}

@end

@implementation VZDiskBlockDeviceStorageDeviceAttachment

- (id)initWithFileHandle:(NSFileHandle *)handle
		readOnly:(BOOL)readonly
     synchronizationMode:(NSInteger)sync
		   error:(NSError **)error
{
	GOT(([NSString stringWithFormat:@"NSFileHandle readOnly:%d synchronizationMode:%ld", readonly,
					(long)sync]));
	(void)error;
	self = [super init];
	[self setValue:handle named:@"fileHandle"];
	[self setValue:[NSNumber numberWithBool:readonly] named:@"readOnly"];
	[self setValue:[NSNumber numberWithLong:sync] named:@"synchronizationMode"];
	return self;
}

@end

@implementation VZVirtioBlockDeviceConfiguration

+ (BOOL)validateBlockDeviceIdentifier:(NSString *)identifier error:(NSError **)error
{
	if ([identifier length] <= 20 && [identifier canBeConvertedToEncoding:NSASCIIStringEncoding])
		return YES;
	*error = lookalike_error(2, @"The block device identifier is invalid.");
	return NO;
}

- (void)setBlockDeviceIdentifier:(NSString *)identifier
{
	GOT(([NSString stringWithFormat:@"\"%@\"", identifier]));
	if ([identifier length] > 20)
		lookalike_fail(@"an exception: the block device identifier %@ is too long", identifier);
	[self setValue:identifier named:@"blockDeviceIdentifier"];
}

@end

/* The interfaces that could be bridged: one. */
@interface VZBridgedNetworkInterface : LookalikeObject
@end

@implementation VZBridgedNetworkInterface

+ (NSArray *)networkInterfaces
{
	VZBridgedNetworkInterface *one = [[[self alloc] init] autorelease];

	[one setValue:@"en0" named:@"identifier"];
	return [NSArray arrayWithObject:one];
}

@end

@implementation VZMACAddress

- (id)initWithString:(NSString *)string
{
	unsigned bytes[6];

	GOT(([NSString stringWithFormat:@"\"%@\"", string]));
	if ([string length] != 17 ||
	    sscanf([string UTF8String], "%2x:%2x:%2x:%2x:%2x:%2x", &bytes[0], &bytes[1], &bytes[2],
		   &bytes[3], &bytes[4], &bytes[5]) != 6) {
		[self release];
		return nil;
	}
	self = [super init];
	[self setValue:string named:@"string"];
	return self;
}

@end

/* --- the configuration ---------------------------------------------------------------- */

@implementation VZVirtualMachineConfiguration

+ (NSUInteger)minimumAllowedCPUCount
{
	return 1;
}

+ (NSUInteger)maximumAllowedCPUCount
{
	return 16;
}

+ (uint64_t)minimumAllowedMemorySize
{
	return 4ull << 20;
}

+ (uint64_t)maximumAllowedMemorySize
{
	return 1ull << 30; /* little, so that a test can ask for more anywhere */
}

static NSString *check_sizes(VZVirtualMachineConfiguration *config)
{
	unsigned long long cpus = [config numberNamed:@"CPUCount"];
	unsigned long long memory = [config numberNamed:@"memorySize"];

	if (cpus < 1 || cpus > 16)
		return @"The CPU count is out of range.";
	if (memory < 4ull << 20 || memory > 1ull << 30)
		return @"The memory size is out of range.";
	return memory % (1 << 20) ? @"The memory size is not a multiple of 1 MiB." : nil;
}

static NSString *check_storage(VZVirtualMachineConfiguration *config)
{
	NSArray *devices = [config valueNamed:@"storageDevices"];
	id platform = [config valueNamed:@"platform"];

	for (NSUInteger i = 0; i < [devices count]; i++) {
		id device = [devices objectAtIndex:i];

		if ([NSStringFromClass([device class])
			    isEqualToString:@"VZNVMExpressControllerDeviceConfiguration"] &&
		    ![platform isKindOfClass:[VZGenericPlatformConfiguration class]])
			return @"An NVM Express controller needs the generic platform.";
		if (![device valueNamed:@"attachment"])
			return @"A storage device has no attachment.";
	}
	return nil;
}

static NSString *check_devices(VZVirtualMachineConfiguration *config)
{
	NSArray *shares = [config valueNamed:@"directorySharingDevices"];
	NSArray *networks = [config valueNamed:@"networkDevices"];
	NSMutableSet *tags = [NSMutableSet set];

	for (NSUInteger i = 0; i < [networks count]; i++)
		if (![[networks objectAtIndex:i] valueNamed:@"attachment"])
			return @"A network device has no attachment.";
	for (NSUInteger i = 0; i < [shares count]; i++)
		[tags addObject:[[shares objectAtIndex:i] valueNamed:@"tag"]];
	if ([tags count] != [shares count])
		return @"Two directory sharing devices have one tag.";
	if ([[config valueNamed:@"socketDevices"] count] > 1)
		return @"There is more than one socket device.";
	if ([[config valueNamed:@"memoryBalloonDevices"] count] > 1)
		return @"There is more than one memory balloon device.";
	return nil;
}

- (BOOL)validateWithError:(NSError **)error
{
	NSString *wrong = nil;

	GOT(@"");
	if (lookalike_faults.no_entitlement)
		wrong = @"The process doesn't have the \"com.apple.security.virtualization\" "
			@"entitlement.";
	if (!wrong && ![self valueNamed:@"bootLoader"])
		wrong = @"There is no boot loader.";
	if (!wrong)
		wrong = check_sizes(self);
	if (!wrong)
		wrong = check_storage(self);
	if (!wrong)
		wrong = check_devices(self);
	valid = !wrong;
	if (wrong)
		*error = lookalike_error(
			2, [@"Invalid virtual machine configuration. " stringByAppendingString:wrong]);
	return valid;
}

- (BOOL)validateSaveRestoreSupportWithError:(NSError **)error
{
	GOT(@"");
	if (!lookalike_faults.cannot_save)
		return YES;
	*error = lookalike_error(10, @"Save and restore need Apple silicon.");
	return NO;
}

@end

/* --- jobs for the queue --------------------------------------------------------------- */

static struct link *link_ref(struct link *link)
{
	__atomic_fetch_add(&link->refs, 1, __ATOMIC_SEQ_CST);
	return link;
}

static void link_unref(struct link *link)
{
	if (__atomic_fetch_sub(&link->refs, 1, __ATOMIC_SEQ_CST) == 1)
		free(link);
}

struct job {
	struct link *link;
	void (*run)(struct job *job);
	struct lookalike_block *block; /* a copy */
	int next_state;
	int code; /* of a VZErrorCode; 0: success */
	char words[512];
	int fd;
	uint32_t port;
	uint32_t from;
};

static struct job *job_new(struct link *link, void (*run)(struct job *job), const void *block)
{
	struct job *job = calloc(1, sizeof(*job));

	job->link = link_ref(link);
	job->run = run;
	job->block = block ? _Block_copy(block) : NULL;
	job->fd = -1;
	return job;
}

static void run_job(void *data)
{
	struct job *job = data;
	NSAutoreleasePool *pool = [[NSAutoreleasePool alloc] init];

	job->run(job);
	[pool drain];
	if (job->fd >= 0)
		close(job->fd);
	if (job->block)
		_Block_release(job->block);
	link_unref(job->link);
	free(job);
}

static void job_send(struct job *job)
{
	dispatch_async_f(job->link->queue, job, run_job);
}

static NSError *error_of(const struct job *job)
{
	return job->code ? lookalike_error(job->code, [NSString stringWithUTF8String:job->words]) : nil;
}

/* Completion of start, pause, resume or stop. */
static void complete(struct job *job)
{
	void (*call)(void *block, NSError *error) =
		(void (*)(void *, NSError *))job->block->invoke;

	if (job->link->vm)
		job->link->vm->state = job->next_state;
	call(job->block, error_of(job));
}

/* From the service: words, or NULL. */
static void on_done(void *data, const char *error)
{
	struct job *job = data;

	if (error) {
		job->code = 1;
		snprintf(job->words, sizeof(job->words), "Internal Virtualization error. %s", error);
		job->next_state = ERROR;
	}
	job_send(job);
}

/* The VM stays what it was. */
static void on_saved(void *data, const char *error)
{
	struct job *job = data;

	if (error) {
		job->code = 11;
		snprintf(job->words, sizeof(job->words), "%s", error);
	}
	job_send(job);
}

static struct job *job_refusing(struct link *link, const void *block, int state, int code,
				const char *words)
{
	struct job *job = job_new(link, complete, block);

	job->code = code;
	job->next_state = state;
	snprintf(job->words, sizeof(job->words), "%s", words);
	return job;
}

/* --- vsock ---------------------------------------------------------------------------- */

@implementation VZVirtioSocketConnection

- (int)fileDescriptor
{
	GOT(@"");
	return descriptor;
}

- (uint32_t)destinationPort
{
	GOT(@"");
	return (uint32_t)[self numberNamed:@"destinationPort"];
}

- (uint32_t)sourcePort
{
	GOT(@"");
	return (uint32_t)[self numberNamed:@"sourcePort"];
}

- (void)dealloc
{
	if (descriptor >= 0)
		close(descriptor);
	[super dealloc];
}

@end

static VZVirtioSocketConnection *take_connection(struct job *job)
{
	VZVirtioSocketConnection *connection = [[VZVirtioSocketConnection alloc] init];

	connection->descriptor = job->fd;
	job->fd = -1;
	[connection setValue:[NSNumber numberWithUnsignedInt:job->port] named:@"destinationPort"];
	[connection setValue:[NSNumber numberWithUnsignedInt:job->from] named:@"sourcePort"];
	return [connection autorelease];
}

static void complete_connect(struct job *job)
{
	void (*call)(void *block, id connection, NSError *error) =
		(void (*)(void *, id, NSError *))job->block->invoke;

	call(job->block, job->code ? nil : take_connection(job), error_of(job));
}

static void on_connected(void *data, int fd, const char *error)
{
	struct job *job = data;

	job->fd = fd;
	if (error) {
		job->code = 1;
		snprintf(job->words, sizeof(job->words), "%s", error);
	}
	job_send(job);
}

static void accept_incoming(struct job *job)
{
	VZVirtioSocketDevice *device = job->link->vm ? job->link->vm->socket : nil;
	id listener = !device ? nil : [device->listeners objectForKey:[NSNumber numberWithUnsignedInt:job->port]];
	id delegate = [[listener valueNamed:@"delegate"] nonretainedObjectValue];

	if (!delegate)
		return;
	[delegate listener:listener
		shouldAcceptNewConnection:take_connection(job)
			 fromSocketDevice:device];
}

static void on_incoming(void *data, uint32_t port, uint32_t from, int fd)
{
	struct job *job = job_new(data, accept_incoming, NULL);

	job->fd = fd;
	job->port = port;
	job->from = from;
	job_send(job);
}

@interface VZVirtioSocketListener : LookalikeObject
@end

@implementation VZVirtioSocketListener

/* Not held, as a delegate is not. */
- (void)setDelegate:(id)delegate
{
	GOT(delegate ? @"delegate" : @"nil");
	[self setValue:delegate ? [NSValue valueWithNonretainedObject:delegate] : nil named:@"delegate"];
}

@end

@implementation VZVirtioSocketDevice

- (void)connectToPort:(uint32_t)port completionHandler:(void *)block
{
	struct job *job = job_new(link, complete_connect, block);
	VZVirtualMachine *vm = link->vm;

	GOT(([NSString stringWithFormat:@"%u", port]));
	if (vm && vm->service && vm->state == RUNNING)
		service_connect(vm->service, port, on_connected, job);
	else
		on_connected(job, -1, "The virtual machine is not running.");
}

- (void)setSocketListener:(id)listener forPort:(uint32_t)port
{
	GOT(([NSString stringWithFormat:@"%u", port]));
	[listeners setObject:listener forKey:[NSNumber numberWithUnsignedInt:port]];
	if (link->vm && link->vm->service)
		service_listen(link->vm->service, port, true);
}

- (void)dealloc
{
	[listeners release];
	[super dealloc];
}

@end

/* --- the virtual machine -------------------------------------------------------------- */

static NSArray *array_of(id value)
{
	return value ? [NSArray arrayWithObject:value] : [NSArray array];
}

/* Ended by itself. */
static void take_end(struct job *job)
{
	[job->link->vm ended:job->code ? [NSString stringWithUTF8String:job->words] : nil];
}

static void on_ended(void *data, const char *error)
{
	struct job *job = job_new(data, take_end, NULL);

	job->code = error ? 1 : 0;
	snprintf(job->words, sizeof(job->words), "%s", error ? error : "");
	job_send(job);
}

static const struct service_callbacks callbacks = {.ended = on_ended, .incoming = on_incoming};

static const char *path_of(NSURL *url)
{
	return [[url path] UTF8String];
}

/* Of a network disk. */
static const char *url_of(id attachment)
{
	NSURL *url = [attachment valueNamed:@"URL"];

	return [url isFileURL] ? NULL : [[url absoluteString] UTF8String];
}

static void read_disks(VZVirtualMachineConfiguration *config, struct service_plan *plan)
{
	NSArray *devices = [config valueNamed:@"storageDevices"];

	for (NSUInteger i = 0; i < [devices count] && i < SERVICE_MAX; i++) {
		id device = [devices objectAtIndex:i];
		id attachment = [device valueNamed:@"attachment"];

		/* Of whatever bus: the guests that are booted here need virtio. */
		plan->disks[plan->disk_count++] = (struct service_disk){
			.path = path_of([attachment valueNamed:@"URL"]),
			.url = url_of(attachment),
			.serial = [[device valueNamed:@"blockDeviceIdentifier"] UTF8String],
			.readonly = [attachment numberNamed:@"readOnly"],
			.cache = [attachment numberNamed:@"synchronizationMode"] == 3 ? "unsafe"
				 : [attachment numberNamed:@"cachingMode"] == 1	      ? "none"
										      : "writeback",
		};
	}
}

static void read_networks(VZVirtualMachineConfiguration *config, struct service_plan *plan)
{
	NSArray *devices = [config valueNamed:@"networkDevices"];

	for (NSUInteger i = 0; i < [devices count] && i < SERVICE_MAX; i++)
	{
		id device = [devices objectAtIndex:i];
		NSFileHandle *handle = [[device valueNamed:@"attachment"] valueNamed:@"fileHandle"];

		plan->switches[plan->network_count] = handle ? [handle fileDescriptor] : -1;
		plan->macs[plan->network_count++] =
			[[[device valueNamed:@"MACAddress"] valueNamed:@"string"] UTF8String];
	}
}

static void read_shares(VZVirtualMachineConfiguration *config, struct service_plan *plan)
{
	NSArray *devices = [config valueNamed:@"directorySharingDevices"];

	for (NSUInteger i = 0; i < [devices count] && i < SERVICE_MAX; i++) {
		id device = [devices objectAtIndex:i];
		id share = [device valueNamed:@"share"];
		id directory = [share valueNamed:@"directory"];

		if (directory) /* several by one tag virtiofsd has not */
			plan->shares[plan->share_count++] = (struct service_share){
				.tag = [[device valueNamed:@"tag"] UTF8String],
				.path = path_of([directory valueNamed:@"URL"]),
			};
	}
}

static void read_ports(VZVirtualMachineConfiguration *config, struct service_plan *plan)
{
	id ports = [[[config valueNamed:@"consoleDevices"] lastObject] valueNamed:@"ports"];

	for (NSUInteger i = 0; i < [ports numberNamed:@"maximumPortCount"] && i < SERVICE_MAX; i++) {
		id port = [ports valueNamed:[NSString stringWithFormat:@"%lu", (unsigned long)i]];
		id attachment = [port valueNamed:@"attachment"];
		NSFileHandle *handle = [attachment valueNamed:@"fileHandleForReading"];

		plan->ports[plan->port_count++] = (struct service_port){
			.name = [[port valueNamed:@"name"] UTF8String],
			.file = handle ? NULL : path_of([attachment valueNamed:@"URL"]),
			.fd = handle ? [handle fileDescriptor] : -1,
		};
	}
}

static void read_console(VZVirtualMachineConfiguration *config, struct service_plan *plan)
{
	id port = [[config valueNamed:@"serialPorts"] lastObject];
	id attachment = [port valueNamed:@"attachment"];
	NSFileHandle *in = [attachment valueNamed:@"fileHandleForReading"];
	NSFileHandle *out = [attachment valueNamed:@"fileHandleForWriting"];

	plan->console_in = in ? [in fileDescriptor] : -1;
	plan->console_out = out ? [out fileDescriptor] : -1;
}

static struct service_plan plan_of(VZVirtualMachineConfiguration *config)
{
	id loader = [config valueNamed:@"bootLoader"];
	struct service_plan plan = {
		.cpus = (unsigned long)[config numberNamed:@"CPUCount"],
		.memory = [config numberNamed:@"memorySize"],
		.vsock = [[config valueNamed:@"socketDevices"] count] > 0,
		.rng = [[config valueNamed:@"entropyDevices"] count] > 0,
		.balloon = [[config valueNamed:@"memoryBalloonDevices"] count] > 0,
	};

	if ([NSStringFromClass([loader class]) isEqualToString:@"VZLinuxBootLoader"]) {
		plan.kernel = path_of([loader valueNamed:@"kernelURL"]);
		plan.initrd = path_of([loader valueNamed:@"initialRamdiskURL"]);
		plan.cmdline = [[loader valueNamed:@"commandLine"] UTF8String];
	}
	read_disks(config, &plan);
	read_networks(config, &plan);
	read_console(config, &plan);
	read_shares(config, &plan);
	read_ports(config, &plan);
	return plan;
}

static void lose_disks(VZVirtualMachineConfiguration *config)
{
	NSArray *devices = [config valueNamed:@"storageDevices"];

	for (NSUInteger i = 0; i < [devices count]; i++) {
		id attachment = [[devices objectAtIndex:i] valueNamed:@"attachment"];

		[[[attachment valueNamed:@"delegate"] nonretainedObjectValue]
				   attachment:attachment
			    didEncounterError:lookalike_error(20002, @"The server is gone.")];
	}
}

@implementation VZVirtualMachine

+ (BOOL)isSupported
{
	return !lookalike_faults.not_supported;
}

- (id)initWithConfiguration:(VZVirtualMachineConfiguration *)config queue:(dispatch_queue_t)on
{
	GOT(@"VZVirtualMachineConfiguration");
	if (!config->valid)
		lookalike_fail(@"an exception: a VM of a configuration that was not validated");
	self = [super init];
	configuration = [config retain];
	queue = on;
	link = calloc(1, sizeof(*link));
	link->refs = 1;
	link->queue = on;
	link->vm = self;
	if ([[config valueNamed:@"socketDevices"] count]) {
		socket = [[VZVirtioSocketDevice alloc] init];
		socket->link = link;
		socket->listeners = [[NSMutableDictionary alloc] init];
	}
	if ([[config valueNamed:@"memoryBalloonDevices"] count]) {
		balloon = [[NSClassFromString(@"VZVirtioTraditionalMemoryBalloonDevice") alloc] init];
		[balloon setValue:[config valueNamed:@"memorySize"] named:@"most"];
		[balloon setValue:[NSValue valueWithNonretainedObject:self] named:@"machine"];
	}
	return self;
}

- (void)got:(SEL)selector with:(NSString *)arguments
{
	[super got:selector with:arguments];
	if (queue && lookalike_current_queue() != queue)
		lookalike_fail(@"-[VZVirtualMachine %@] on another queue than its own",
			       NSStringFromSelector(selector));
}

- (void)dealloc
{
	if (service)
		service_free(service);
	link->vm = nil;
	link_unref(link);
	[socket release];
	[balloon release];
	[configuration release];
	[super dealloc];
}

- (void)setDelegate:(id)object
{
	GOT(object ? @"delegate" : @"nil");
	delegate = object;
}

- (NSInteger)state
{
	GOT(@"");
	return state;
}

- (NSArray *)socketDevices
{
	GOT(@"");
	return array_of(socket);
}

- (NSArray *)memoryBalloonDevices
{
	GOT(@"");
	return array_of(balloon);
}

- (BOOL)canStop
{
	GOT(@"");
	return state == RUNNING || state == PAUSED;
}

- (BOOL)canStart
{
	GOT(@"");
	return state == STOPPED || state == ERROR;
}

- (BOOL)canPause
{
	GOT(@"");
	return state == RUNNING;
}

- (BOOL)canResume
{
	GOT(@"");
	return state == PAUSED;
}

- (BOOL)canRequestStop
{
	GOT(@"");
	return state == RUNNING;
}

/* What happens by itself once it runs, on demand. */
- (void)startFaults
{
	if (lookalike_faults.guest_stops)
		on_ended(link, NULL);
	if (lookalike_faults.error_stop_code) {
		struct job *job = job_new(link, take_end, NULL);

		job->code = lookalike_faults.error_stop_code;
		snprintf(job->words, sizeof(job->words), "The virtual machine stopped unexpectedly.");
		job_send(job);
	}
	if (lookalike_faults.disk_error)
		lose_disks(configuration);
	if (lookalike_faults.disconnect)
		[delegate virtualMachine:self
					     networkDevice:nil
			attachmentWasDisconnectedWithError:lookalike_error(7, @"The network is gone.")];
}

- (void)startWithCompletionHandler:(void *)block
{
	struct job *job = job_new(link, complete, block);
	struct service_plan plan = plan_of(configuration);
	char error[512] = "";

	GOT(@"");
	if (state != STOPPED && state != ERROR)
		lookalike_fail(@"a start in state %d", state);
	state = STARTING;
	job->next_state = RUNNING;
	if (lookalike_faults.start_code) {
		job->next_state = ERROR;
		job->code = lookalike_faults.start_code;
		snprintf(job->words, sizeof(job->words), "The virtual machine failed to start.");
		job_send(job);
		return;
	}
	if (lookalike_faults.no_boot) {
		job_send(job);
		[self startFaults];
		return;
	}
	service = service_start(&plan, &callbacks, link, on_done, job, error, sizeof(error));
	if (!service)
		on_done(job, error);
	else
		[self listen];
}

- (void)listen
{
	NSArray *ports = socket ? [socket->listeners allKeys] : nil;

	for (NSUInteger i = 0; i < [ports count]; i++)
		service_listen(service, [[ports objectAtIndex:i] unsignedIntValue], true);
}

- (void)pauseWithCompletionHandler:(void *)block
{
	struct job *job = job_new(link, complete, block);

	GOT(@"");
	if (state != RUNNING)
		lookalike_fail(@"a pause in state %d", state);
	state = PAUSING;
	job->next_state = PAUSED;
	if (service)
		service_pause(service, on_done, job);
	else
		job_send(job);
}

- (void)resumeWithCompletionHandler:(void *)block
{
	struct job *job = job_new(link, complete, block);

	GOT(@"");
	if (state != PAUSED)
		lookalike_fail(@"a resume in state %d", state);
	state = RESUMING;
	job->next_state = RUNNING;
	if (service)
		service_resume(service, on_done, job);
	else
		job_send(job);
}

/* Paused already, as the framework wants it. */
- (void)saveMachineStateToURL:(NSURL *)url completionHandler:(void *)block
{
	struct job *job = job_new(link, complete, block);
	FILE *file = NULL;

	GOT(([NSString stringWithFormat:@"<%@>", [[url path] lastPathComponent]]));
	if (state != PAUSED)
		lookalike_fail(@"a save in state %d", state);
	job->next_state = PAUSED;
	if (service) {
		service_save(service, path_of(url), on_saved, job);
		return;
	}
	file = fopen(path_of(url), "wx");
	if (!file || fputs("state of nothing\n", file) < 0) {
		job->code = 11;
		snprintf(job->words, sizeof(job->words), "The state could not be saved.");
	}
	if (file)
		fclose(file);
	job_send(job);
}

/* What is restored is paused; it runs from the first resume on. */
- (void)restoreMachineStateFromURL:(NSURL *)url completionHandler:(void *)block
{
	struct job *job = job_new(link, complete, block);
	char error[512] = "";

	GOT(([NSString stringWithFormat:@"<%@>", [[url path] lastPathComponent]]));
	if (state != STOPPED)
		lookalike_fail(@"a restore in state %d", state);
	job->next_state = PAUSED;
	job->code = access(path_of(url), R_OK) < 0 ? 12 : lookalike_faults.restore_code;
	if (job->code) {
		snprintf(job->words, sizeof(job->words), "The state could not be restored.");
		job->next_state = STOPPED;
		job_send(job);
	} else if (lookalike_faults.no_boot) {
		job_send(job);
	} else {
		struct service_plan plan = plan_of(configuration);

		plan.restore = path_of(url);
		service = service_start(&plan, &callbacks, link, on_done, job, error, sizeof(error));
		if (!service)
			on_done(job, error);
		else
			[self listen];
	}
}

- (BOOL)requestStopWithError:(NSError **)error
{
	GOT(@"");
	if (state != RUNNING) {
		*error = lookalike_error(3, @"The virtual machine is not running.");
		return NO;
	}
	if (service)
		service_power_button(service);
	else
		on_ended(link, NULL);
	return YES;
}

- (void)stopWithCompletionHandler:(void *)block
{
	GOT(@"");
	if (state != RUNNING && state != PAUSED) {
		job_send(job_refusing(link, block, state, 4, "The virtual machine cannot be stopped."));
		return;
	}
	state = STOPPING;
	if (lookalike_faults.never_stops)
		return;
	if (service)
		service_free(service);
	service = NULL;
	job_send(job_refusing(link, block, STOPPED, 0, ""));
}

- (void)ended:(NSString *)error
{
	if (state == STOPPED || state == STOPPING || state == ERROR)
		return;
	if (service)
		service_free(service);
	service = NULL;
	state = error ? ERROR : STOPPED;
	if (error && [delegate respondsToSelector:@selector(virtualMachine:didStopWithError:)])
		[delegate virtualMachine:self
			didStopWithError:lookalike_error(lookalike_faults.error_stop_code
								 ? lookalike_faults.error_stop_code
								 : 1,
							 error)];
	else if (!error)
		[delegate guestDidStopVirtualMachine:self];
}

@end

void lookalike_balloon(id machine, unsigned long long bytes)
{
	VZVirtualMachine *vm = machine;

	if (vm->service)
		service_balloon(vm->service, bytes);
}
