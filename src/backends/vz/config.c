/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked of the framework, message by message, and what is refused.
 *
 * Nothing here is for a version of macOS by its number: a class or a method that is newer than
 * macOS 13 is looked for, and where it is missing the key that needs it is refused with the
 * version. What would raise an exception (a disk identifier that is too long ...) is validated
 * before. All on the VM's queue, but kiln__vz_check(), which asks the framework's classes only.
 */
#include "config.h"

#include "buf.h"
#include "err.h"
#include "os.h"
#include "source.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_DEVICES 32
#define MAX_ID_FILE 4096

/* Devices of one kind, held until the configuration has them. */
struct devices {
	id items[MAX_DEVICES];
	size_t count;
};

static void devices_done(struct devices *devices)
{
	for (size_t i = 0; i < devices->count; i++)
		kiln__release(devices->items[i]);
}

/* Takes over the caller's reference. */
static int add_device(struct devices *devices, id device, kiln_error *err)
{
	if (!device)
		return kiln__fail_nomem(err);
	devices->items[devices->count++] = device;
	return 0;
}

#define set_devices(config, selector, class, devices)                                              \
	do {                                                                                       \
		kiln__autorelease NSArray *array_ =                                                \
			kiln__nsarray_make((devices)->items, (devices)->count);                    \
		kiln__send(void, VZVirtualMachineConfiguration, selector, (NSArray *), config,     \
			   array_);                                                                \
	} while (0)

/* --- what boots ----------------------------------------------------------------------- */

char *kiln__vz_cmdline(const struct kiln__spec *spec)
{
	struct kiln__buf line = KILN__BUF_INIT;

	/* The console is virtio's. A panic ends the guest at once; until its PID 1 runs, only what
	 * is critical goes to the console, as with the other backends. */
	kiln__buf_addf(&line, "console=hvc0 panic=-1 loglevel=3");
	if (spec->cmdline)
		kiln__buf_addf(&line, " %s", spec->cmdline);
	return kiln__buf_steal(&line);
}

static int make_linux(id *ret, const struct kiln__vz_plan *plan, kiln_error *err)
{
	kiln__autofree char *line = kiln__vz_cmdline(plan->spec);
	kiln__autorelease NSURL *kernel = kiln__nsurl_make(plan->kernel, false);
	kiln__autorelease NSString *cmdline = line ? kiln__nsstring_make(line) : NULL;
	kiln__autorelease NSURL *initrd = NULL;
	id loader = kernel ? kiln__alloc(VZLinuxBootLoader) : NULL;

	if (!cmdline)
		return kiln__fail(err, KILN_EINVAL, "cmdline: it is not UTF-8");
	if (!loader)
		return kiln__fail_nomem(err);
	*ret = kiln__send(id, VZLinuxBootLoader, "initWithKernelURL:", (NSURL *), loader, kernel);
	kiln__send(void, VZLinuxBootLoader, "setCommandLine:", (NSString *), *ret, cmdline);
	if (!plan->initrd)
		return 0;
	initrd = kiln__nsurl_make(plan->initrd, false);
	kiln__send(void, VZLinuxBootLoader, "setInitialRamdiskURL:", (NSURL *), *ret, initrd);
	return 0;
}

/* The variables' file: made by the first boot. Without one the firmware has none that last. */
static int make_store(id *ret, const char *path, kiln_error *err)
{
	kiln__autorelease NSURL *url = kiln__nsurl_make(path, false);
	id store = kiln__alloc(VZEFIVariableStore);
	NSError *error = NULL;
	struct kiln__os_stat st;

	if (kiln__os_stat(path, &st, NULL) == 0) {
		*ret = kiln__send(id, VZEFIVariableStore, "initWithURL:", (NSURL *), store, url);
		return 0;
	}
	*ret = kiln__send(id, VZEFIVariableStore, "initCreatingVariableStoreAtURL:options:error:",
			  (NSURL *, VZEFIVariableStoreInitializationOptions, NSError **), store,
			  url, 0, &error);
	return *ret ? 0 : kiln__nserror(err, error, "firmware: making the file of EFI variables");
}

static int make_efi(id *ret, const struct kiln__vz_plan *plan, kiln_error *err)
{
	kiln__autorelease VZEFIVariableStore *store = NULL;
	int r = plan->efi_store ? make_store(&store, plan->efi_store, err) : 0;

	if (r < 0)
		return r;
	*ret = kiln__new(VZEFIBootLoader);
	if (store)
		kiln__send(void, VZEFIBootLoader, "setVariableStore:", (VZEFIVariableStore *), *ret,
			   store);
	return 0;
}

static int set_boot_loader(VZVirtualMachineConfiguration *config, const struct kiln__vz_plan *plan,
			   kiln_error *err)
{
	kiln__autorelease VZBootLoader *loader = NULL;
	int r = plan->spec->firmware == KILN__FIRMWARE_UEFI ? make_efi(&loader, plan, err)
							    : make_linux(&loader, plan, err);

	if (r == 0)
		kiln__send(void, VZVirtualMachineConfiguration, "setBootLoader:", (VZBootLoader *),
			   config, loader);
	return r;
}

/* --- the machine's identity ----------------------------------------------------------- */

/* The identifier of earlier boots, or, on the first, the platform's own, which is kept. */
static int keep_identifier(id platform, const char *path, kiln_error *err)
{
	kiln__autofree char *bytes = NULL;
	kiln__autorelease NSData *data = NULL;
	kiln__autorelease VZGenericMachineIdentifier *identifier = NULL;
	size_t len = 0;
	id fresh;
	int r = kiln__os_read_file(path, MAX_ID_FILE, &bytes, &len, err);

	if (r < 0 && r != KILN_ENOENT)
		return r;
	if (r == KILN_ENOENT) {
		identifier = kiln__retain(kiln__send(VZGenericMachineIdentifier *,
						     VZGenericPlatformConfiguration,
						     "machineIdentifier", (), platform));
		fresh = kiln__send(NSData *, VZGenericMachineIdentifier, "dataRepresentation", (),
				   identifier);
		len = kiln__send(NSUInteger, NSData, "length", (), fresh);
		return kiln__os_replace_file(path,
					     kiln__send(const void *, NSData, "bytes", (), fresh),
					     len, 0600, true, err);
	}
	data = kiln__nsdata_make(bytes, len);
	fresh = kiln__alloc(VZGenericMachineIdentifier);
	identifier = kiln__send(id, VZGenericMachineIdentifier,
				"initWithDataRepresentation:", (NSData *), fresh, data);
	if (!identifier) {
		kiln__fail(err, KILN_EFORMAT, "%s: it is no machine identifier", path);
		kiln__hint(err, "remove it, and the machine gets a new one");
		return KILN_EFORMAT;
	}
	kiln__send(void, VZGenericPlatformConfiguration,
		   "setMachineIdentifier:", (VZGenericMachineIdentifier *), platform, identifier);
	return 0;
}

static int set_platform(VZVirtualMachineConfiguration *config, const struct kiln__vz_plan *plan,
			kiln_error *err)
{
	kiln__autorelease VZPlatformConfiguration *platform =
		kiln__new(VZGenericPlatformConfiguration);
	int r = 0;

	if (plan->machine_id)
		r = keep_identifier(platform, plan->machine_id, err);
	if (r == 0)
		kiln__send(void, VZVirtualMachineConfiguration,
			   "setPlatform:", (VZPlatformConfiguration *), config, platform);
	return r;
}

/* --- disks ---------------------------------------------------------------------------- */

/* A disk of the host is opened here: the framework takes it as a handle. */
static int attach_device(id *ret, const char *path, bool readonly, bool unsafe, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	kiln__autorelease NSFileHandle *handle = NULL;
	VZDiskSynchronizationMode sync =
		unsafe ? VZDiskSynchronizationModeNone : VZDiskSynchronizationModeFull;
	NSError *error = NULL;
	id attachment;
	int r;

	if (!kiln__has_class(VZDiskBlockDeviceStorageDeviceAttachment))
		return kiln__fail(err, KILN_ENOTSUP, "%s: a disk of the host needs macOS 14", path);
	r = kiln__os_open(&fd, path, readonly ? KILN__OPEN_READ : KILN__OPEN_WRITE, err);
	if (r < 0)
		return r;
	handle = kiln__nsfilehandle_make(fd);
	if (!handle)
		return kiln__fail_nomem(err);
	kiln__take_fd(&fd);
	attachment = kiln__alloc(VZDiskBlockDeviceStorageDeviceAttachment);
	*ret = kiln__send(id, VZDiskBlockDeviceStorageDeviceAttachment,
			  "initWithFileHandle:readOnly:synchronizationMode:error:",
			  (NSFileHandle *, BOOL, VZDiskSynchronizationMode, NSError **), attachment,
			  handle, readonly, sync, &error);
	return *ret ? 0 : kiln__nserror(err, error, path);
}

/*
 * Full synchronization is what keeps what the guest flushed (F_FULLFSYNC); "none" is around
 * the host's cache, "unsafe" leaves all to it.
 */
static int attach_image(id *ret, const char *path, bool readonly, const char *cache,
			kiln_error *err)
{
	kiln__autorelease NSURL *url = kiln__nsurl_make(path, false);
	VZDiskImageCachingMode caching = VZDiskImageCachingModeCached;
	VZDiskImageSynchronizationMode sync = VZDiskImageSynchronizationModeFull;
	NSError *error = NULL;
	id attachment = url ? kiln__alloc(VZDiskImageStorageDeviceAttachment) : NULL;

	if (!attachment)
		return kiln__fail_nomem(err);
	if (cache && strcmp(cache, "none") == 0)
		caching = VZDiskImageCachingModeUncached;
	if (cache && strcmp(cache, "unsafe") == 0)
		sync = VZDiskImageSynchronizationModeNone;
	*ret = kiln__send(
		id, VZDiskImageStorageDeviceAttachment,
		"initWithURL:readOnly:cachingMode:synchronizationMode:error:",
		(NSURL *, BOOL, VZDiskImageCachingMode, VZDiskImageSynchronizationMode, NSError **),
		attachment, url, readonly, caching, sync, &error);
	return *ret ? 0 : kiln__nserror(err, error, path);
}

static int set_serial(id device, const char *serial, kiln_error *err)
{
	kiln__autorelease NSString *string = kiln__nsstring_make(serial);
	NSError *error = NULL;

	if (!string)
		return kiln__fail(err, KILN_EINVAL, "serial: it is not UTF-8");
	if (!kiln__send_class(BOOL, VZVirtioBlockDeviceConfiguration,
			      "validateBlockDeviceIdentifier:error:", (NSString *, NSError **),
			      string, &error))
		return kiln__nserror(err, error, "serial");
	kiln__send(void, VZVirtioBlockDeviceConfiguration,
		   "setBlockDeviceIdentifier:", (NSString *), device, string);
	return 0;
}

/* The device on its bus. Only virtio's takes a serial number. */
static int add_on_bus(struct devices *devices, const struct kiln__disk *disk,
		      VZStorageDeviceAttachment *attachment, kiln_error *err)
{
	id device;
	int r;

	if (disk->bus == KILN__DISK_NVME) {
		if (!kiln__has_class(VZNVMExpressControllerDeviceConfiguration))
			return kiln__fail(err, KILN_ENOTSUP, "bus: NVMe needs macOS 14");
		device = kiln__alloc(VZNVMExpressControllerDeviceConfiguration);
		device = kiln__send(id, VZNVMExpressControllerDeviceConfiguration,
				    "initWithAttachment:", (VZStorageDeviceAttachment *), device,
				    attachment);
		return add_device(devices, device, err);
	}
	if (disk->bus == KILN__DISK_USB) {
		if (!kiln__has_class(VZUSBMassStorageDeviceConfiguration))
			return kiln__fail(err, KILN_ENOTSUP, "bus: USB disks need macOS 13");
		device = kiln__alloc(VZUSBMassStorageDeviceConfiguration);
		device = kiln__send(id, VZUSBMassStorageDeviceConfiguration,
				    "initWithAttachment:", (VZStorageDeviceAttachment *), device,
				    attachment);
		return add_device(devices, device, err);
	}
	device = kiln__alloc(VZVirtioBlockDeviceConfiguration);
	device = kiln__send(id, VZVirtioBlockDeviceConfiguration,
			    "initWithAttachment:", (VZStorageDeviceAttachment *), device,
			    attachment);
	r = add_device(devices, device, err);
	return r < 0 ? r : set_serial(device, disk->serial, err);
}

static int add_disk(struct devices *devices, const struct kiln__disk *disk, kiln_error *err)
{
	kiln__autorelease VZStorageDeviceAttachment *attachment = NULL;
	const char *path = disk->source.path;
	struct kiln__os_stat st;
	int r = kiln__os_stat(path, &st, err);

	if (r == 0 && st.is_block_device)
		r = attach_device(&attachment, path, disk->readonly,
				  disk->cache && strcmp(disk->cache, "unsafe") == 0, err);
	else if (r == 0)
		r = attach_image(&attachment, path, disk->readonly, disk->cache, err);
	return r < 0 ? r : add_on_bus(devices, disk, attachment, err);
}

static int add_disks(struct devices *devices, const struct kiln__spec *spec, kiln_error *err)
{
	int r = 0;

	if (spec->root.kind != KILN__ROOT_NONE) {
		struct kiln__disk root = {
			.source = spec->root.source,
			.readonly = !kiln__root_is_writable(&spec->root),
			.serial = KILN__ROOT_SERIAL,
		};

		r = add_disk(devices, &root, err);
		if (r < 0)
			kiln__prefix(err, "root");
	}
	for (size_t i = 0; r == 0 && i < spec->disk_count; i++) {
		struct kiln__disk disk = spec->disks[i];
		char serial[32];

		snprintf(serial, sizeof(serial), "disk%zu", i);
		if (!disk.serial)
			disk.serial = serial;
		r = add_disk(devices, &disk, err);
		if (r < 0)
			kiln__prefix(err, "disks[%zu]", i);
	}
	return r;
}

static int set_storage(VZVirtualMachineConfiguration *config, const struct kiln__spec *spec,
		       kiln_error *err)
{
	__attribute__((cleanup(devices_done))) struct devices devices = {.count = 0};
	int r = add_disks(&devices, spec, err);

	if (r == 0)
		set_devices(config, "setStorageDevices:", VZStorageDeviceConfiguration, &devices);
	return r;
}

/* --- networks, console and the rest --------------------------------------------------- */

/* The host's interface of that name, among those that may be bridged. */
static int attach_bridge(id *ret, const char *name, kiln_error *err)
{
	NSArray *all =
		kiln__send_class(NSArray *, VZBridgedNetworkInterface, "networkInterfaces", ());
	NSUInteger count = kiln__send(NSUInteger, NSArray, "count", (), all);
	id attachment;
	char text[64];

	for (NSUInteger i = 0; i < count; i++) {
		id found = kiln__send(id, NSArray, "objectAtIndex:", (NSUInteger), all, i);

		kiln__nsstring_copy(
			kiln__send(NSString *, VZBridgedNetworkInterface, "identifier", (), found),
			text, sizeof(text));
		if (strcmp(text, name) != 0)
			continue;
		attachment = kiln__alloc(VZBridgedNetworkDeviceAttachment);
		*ret = kiln__send(id, VZBridgedNetworkDeviceAttachment,
				  "initWithInterface:", (VZBridgedNetworkInterface *), attachment,
				  found);
		return 0;
	}
	kiln__fail(err, KILN_ENOENT, "interface: there is no '%s' that could be bridged", name);
	kiln__hint(err, "kiln-runner needs the entitlement com.apple.vm.networking besides");
	return KILN_ENOENT;
}

static int add_network(struct devices *devices, const struct kiln__network *network,
		       kiln_error *err)
{
	kiln__autorelease VZNetworkDeviceAttachment *attachment = NULL;
	kiln__autorelease NSString *string = NULL;
	kiln__autorelease VZMACAddress *address = NULL;
	const uint8_t *mac = network->mac;
	id device = kiln__new(VZVirtioNetworkDeviceConfiguration);
	char text[18];
	id fresh;
	int r = add_device(devices, device, err);

	if (r == 0 && network->kind == KILN__NETWORK_BRIDGED)
		r = attach_bridge(&attachment, network->interface, err);
	else if (r == 0)
		attachment = kiln__new(VZNATNetworkDeviceAttachment);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	string = kiln__nsstring_make(text);
	fresh = kiln__alloc(VZMACAddress);
	address = kiln__send(id, VZMACAddress, "initWithString:", (NSString *), fresh, string);
	if (!address)
		return kiln__fail(err, KILN_EINVAL, "%s is no hardware address", text);
	kiln__send(void, VZNetworkDeviceConfiguration, "setMACAddress:", (VZMACAddress *), device,
		   address);
	kiln__send(void, VZNetworkDeviceConfiguration,
		   "setAttachment:", (VZNetworkDeviceAttachment *), device, attachment);
	return 0;
}

static int set_networks(VZVirtualMachineConfiguration *config, const struct kiln__spec *spec,
			kiln_error *err)
{
	__attribute__((cleanup(devices_done))) struct devices devices = {.count = 0};
	int r = 0;

	for (size_t i = 0; r == 0 && i < spec->network_count; i++) {
		r = add_network(&devices, &spec->networks[i], err);
		if (r < 0)
			kiln__prefix(err, "networks[%zu]", i);
	}
	if (r == 0)
		set_devices(config, "setNetworkDevices:", VZNetworkDeviceConfiguration, &devices);
	return r;
}

static int take_handle(NSFileHandle **ret, kiln_fd *fd, kiln_error *err)
{
	*ret = kiln__nsfilehandle_make(*fd);
	if (!*ret)
		return kiln__fail_nomem(err);
	kiln__take_fd(fd);
	return 0;
}

static int set_console(VZVirtualMachineConfiguration *config, struct kiln__vz_plan *plan,
		       kiln_error *err)
{
	__attribute__((cleanup(devices_done))) struct devices devices = {.count = 0};
	kiln__autorelease NSFileHandle *in = NULL;
	kiln__autorelease NSFileHandle *out = NULL;
	kiln__autorelease VZSerialPortAttachment *attachment = NULL;
	id port = kiln__new(VZVirtioConsoleDeviceSerialPortConfiguration);
	id fresh;
	int r = add_device(&devices, port, err);

	if (r == 0)
		r = take_handle(&in, &plan->console_in, err);
	if (r == 0)
		r = take_handle(&out, &plan->console_out, err);
	if (r < 0)
		return r;
	fresh = kiln__alloc(VZFileHandleSerialPortAttachment);
	attachment = kiln__send(id, VZFileHandleSerialPortAttachment,
				"initWithFileHandleForReading:fileHandleForWriting:",
				(NSFileHandle *, NSFileHandle *), fresh, in, out);
	kiln__send(void, VZSerialPortConfiguration, "setAttachment:", (VZSerialPortAttachment *),
		   port, attachment);
	set_devices(config, "setSerialPorts:", VZSerialPortConfiguration, &devices);
	return 0;
}

/* One device without settings. */
#define set_device(config, selector, class, make, err)                                             \
	({                                                                                         \
		__attribute__((cleanup(devices_done))) struct devices one_ = {.count = 0};         \
		int added_ = add_device(&one_, make, err);                                         \
		if (added_ == 0)                                                                   \
			set_devices(config, selector, class, &one_);                               \
		added_;                                                                            \
	})

static int set_others(VZVirtualMachineConfiguration *config, const struct kiln__spec *spec,
		      kiln_error *err)
{
	int r = 0;

	if (spec->rng)
		r = set_device(config, "setEntropyDevices:", VZEntropyDeviceConfiguration,
			       kiln__new(VZVirtioEntropyDeviceConfiguration), err);
	if (r == 0 && spec->balloon)
		r = set_device(config,
			       "setMemoryBalloonDevices:", VZMemoryBalloonDeviceConfiguration,
			       kiln__new(VZVirtioTraditionalMemoryBalloonDeviceConfiguration), err);
	if (r == 0 && spec->vsock)
		r = set_device(config, "setSocketDevices:", VZSocketDeviceConfiguration,
			       kiln__new(VZVirtioSocketDeviceConfiguration), err);
	return r;
}

/* What the framework thinks of it: as a VM, and as one whose state can be saved. */
static int validate(VZVirtualMachineConfiguration *config, struct kiln__vz_plan *plan,
		    kiln_error *err)
{
	NSError *error = NULL;

	if (!kiln__send(BOOL, VZVirtualMachineConfiguration, "validateWithError:", (NSError **),
			config, &error))
		return kiln__nserror(err, error, "the configuration");
	if (!kiln__has(VZVirtualMachineConfiguration, "validateSaveRestoreSupportWithError:"))
		kiln__fail(&plan->no_save, KILN_ENOTSUP, "saving a machine's state needs macOS 14");
	else if (!kiln__send(BOOL, VZVirtualMachineConfiguration,
			     "validateSaveRestoreSupportWithError:", (NSError **), config, &error))
		kiln__nserror(&plan->no_save, error, "saving this machine's state");
	return 0;
}

/* --- the whole ------------------------------------------------------------------------ */

int kiln__vz_config_make(VZVirtualMachineConfiguration **ret, struct kiln__vz_plan *plan,
			 kiln_error *err)
{
	kiln__autorelease VZVirtualMachineConfiguration *config =
		kiln__new(VZVirtualMachineConfiguration);
	const struct kiln__spec *spec = plan->spec;
	int r;

	if (!config)
		return kiln__fail_nomem(err);
	kiln__send(void, VZVirtualMachineConfiguration, "setCPUCount:", (NSUInteger), config,
		   spec->cpus);
	kiln__send(void, VZVirtualMachineConfiguration, "setMemorySize:", (uint64_t), config,
		   spec->memory);
	r = set_boot_loader(config, plan, err);
	if (r == 0)
		r = set_platform(config, plan, err);
	if (r == 0)
		r = set_storage(config, spec, err);
	if (r == 0)
		r = set_networks(config, spec, err);
	if (r == 0)
		r = set_console(config, plan, err);
	if (r == 0)
		r = set_others(config, spec, err);
	if (r == 0)
		r = validate(config, plan, err);
	if (r < 0)
		return r;
	*ret = kiln__take(config);
	return 0;
}

/* --- what it cannot do ---------------------------------------------------------------- */

static int refuse(kiln_error *err, const char *key, const char *why)
{
	return kiln__fail(err, KILN_ENOTSUP, "%s: %s", key, why);
}

static int check_size(const struct kiln__spec *spec, kiln_error *err)
{
	NSUInteger min_cpus = kiln__send_class(NSUInteger, VZVirtualMachineConfiguration,
					       "minimumAllowedCPUCount", ());
	NSUInteger max_cpus = kiln__send_class(NSUInteger, VZVirtualMachineConfiguration,
					       "maximumAllowedCPUCount", ());
	uint64_t min_memory = kiln__send_class(uint64_t, VZVirtualMachineConfiguration,
					       "minimumAllowedMemorySize", ());
	uint64_t max_memory = kiln__send_class(uint64_t, VZVirtualMachineConfiguration,
					       "maximumAllowedMemorySize", ());

	if (spec->cpus < min_cpus || spec->cpus > max_cpus)
		return kiln__fail(err, KILN_EINVAL, "cpus: %u, but this Mac allows %lu to %lu",
				  spec->cpus, min_cpus, max_cpus);
	if (spec->memory < min_memory || spec->memory > max_memory)
		return kiln__fail(err, KILN_EINVAL,
				  "memory: %" PRIu64 " bytes, but this Mac allows %" PRIu64
				  " to %" PRIu64,
				  spec->memory, min_memory, max_memory);
	return 0;
}

/* The framework opens the file itself, by its path. */
static int check_file(const struct kiln__source *source, const char *key, kiln_error *err)
{
	if (source->fd != KILN_FD_NONE || kiln__source_is_range(source))
		return refuse(err, key,
			      "the vz backend takes disks as whole files, by their paths");
	return 0;
}

static int check_disks(const struct kiln__spec *spec, kiln_error *err)
{
	char key[48];
	int r = 0;

	if (spec->root.kind != KILN__ROOT_NONE)
		r = check_file(&spec->root.source, "root", err);
	if (spec->disk_count + 1 > MAX_DEVICES)
		return refuse(err, "disks", "the vz backend has room for 31");
	for (size_t i = 0; r == 0 && i < spec->disk_count; i++) {
		snprintf(key, sizeof(key), "disks[%zu]", i);
		r = check_file(&spec->disks[i].source, key, err);
		/* That of kiln's own disks is a wish: they go with the machine, or were asked for
		 * so. */
		if (r == 0 && spec->disks[i].discard && !spec->disks[i].own) {
			snprintf(key, sizeof(key), "disks[%zu].discard", i);
			r = refuse(err, key, "Virtualization.framework has no setting for it");
		}
		if (r == 0 && spec->disks[i].bus != KILN__DISK_VIRTIO && spec->disks[i].serial) {
			snprintf(key, sizeof(key), "disks[%zu].serial", i);
			r = refuse(err, key, "only a virtio disk takes one");
		}
	}
	return r;
}

static int check_networks(const struct kiln__spec *spec, kiln_error *err)
{
	char key[48];

	if (spec->port_count)
		return refuse(err, "ports[0]", "Virtualization.framework's NAT publishes no ports");
	if (spec->network_count > MAX_DEVICES)
		return refuse(err, "networks", "the vz backend has room for 32");
	for (size_t i = 0; i < spec->network_count; i++) {
		snprintf(key, sizeof(key), "networks[%zu].kind", i);
		if (spec->networks[i].kind == KILN__NETWORK_TAP)
			return refuse(err, key, "macOS has no TAP interfaces; use \"user\"");
		if (spec->networks[i].kind == KILN__NETWORK_BRIDGED && !spec->networks[i].interface)
			return refuse(err, "networks[].interface", "a bridge needs one");
		if (spec->firmware == KILN__FIRMWARE_NONE)
			return refuse(
				err, key,
				"Virtualization.framework gives addresses by DHCP, which kiln's "
				"own init does not ask for; images booted by firmware do");
	}
	return 0;
}

int kiln__vz_check(const struct kiln__spec *spec, kiln_error *err)
{
	int r;

	if (strcmp(spec->arch, kiln__os_arch()) != 0)
		return refuse(err, "arch",
			      "Virtualization.framework runs guests of this Mac's kind only");
	if (strcmp(spec->accel, "auto") != 0)
		return refuse(err, "accel",
			      "Virtualization.framework is the only one here; use \"auto\"");
	if (spec->firmware == KILN__FIRMWARE_BIOS)
		return refuse(err, "firmware",
			      "Virtualization.framework has no BIOS; use \"uefi\"");
	if (spec->firmware == KILN__FIRMWARE_UEFI && !kiln__has_class(VZEFIBootLoader))
		return refuse(err, "firmware", "UEFI needs macOS 13");
	if (spec->firmware == KILN__FIRMWARE_NONE && !kiln__source_is_set(&spec->kernel))
		return kiln__fail(err, KILN_EINVAL, "kernel: the vz backend needs one");
	if (spec->serial)
		return refuse(err, "console.serial",
			      "Virtualization.framework has virtio consoles only");
	if (spec->cid && spec->cid != 3)
		return refuse(err, "vsock.cid", "Virtualization.framework chooses it");
	if (strcmp(spec->on_reboot, "restart") == 0)
		return refuse(
			err, "on_reboot",
			"Virtualization.framework does not tell of a guest's reboot; builtin does");
	r = check_size(spec, err);
	if (r == 0)
		r = check_disks(spec, err);
	return r < 0 ? r : check_networks(spec, err);
}
