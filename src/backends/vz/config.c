/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked of the framework, message by message; devices are in devices.c and shares.c.
 *
 * Nothing here is for a version of macOS by its number: a class or a method that is newer than
 * macOS 13 is looked for, and where it is missing the key that needs it is refused with the
 * version. What would raise an exception (a disk identifier that is too long ...) is validated
 * before. All on the VM's queue.
 */
#include "config.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#define MAX_ID_FILE 4096

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

	if (!cmdline)
		return kiln__fail(err, KILN_EINVAL, "cmdline: it is not UTF-8");
	if (!kernel)
		return kiln__fail_nomem(err);
	*ret = kiln__make(VZLinuxBootLoader, "initWithKernelURL:", (NSURL *), kernel);
	kiln__set(VZLinuxBootLoader, "setCommandLine:", NSString *, *ret, cmdline);
	if (plan->initrd)
		initrd = kiln__nsurl_make(plan->initrd, false);
	if (initrd)
		kiln__set(VZLinuxBootLoader, "setInitialRamdiskURL:", NSURL *, *ret, initrd);
	return 0;
}

/* The variables' file: made by the first boot. Without one the firmware has none that last. */
static int make_store(id *ret, const char *path, kiln_error *err)
{
	kiln__autorelease NSURL *url = kiln__nsurl_make(path, false);
	NSError *error = NULL;
	struct kiln__os_stat st;

	if (kiln__os_stat(path, &st, NULL) == 0) {
		*ret = kiln__make(VZEFIVariableStore, "initWithURL:", (NSURL *), url);
		return 0;
	}
	*ret = kiln__make(VZEFIVariableStore, "initCreatingVariableStoreAtURL:options:error:",
			  (NSURL *, VZEFIVariableStoreInitializationOptions, NSError **), url, 0,
			  &error);
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
		kiln__set(VZEFIBootLoader, "setVariableStore:", VZEFIVariableStore *, *ret, store);
	return 0;
}

/* --- the platform --------------------------------------------------------------------- */

/* The identifier of earlier boots, or, on the first, the platform's own, which is kept. */
static int keep_identifier(id platform, const char *path, kiln_error *err)
{
	kiln__autofree char *bytes = NULL;
	kiln__autorelease NSData *data = NULL;
	kiln__autorelease VZGenericMachineIdentifier *identifier = NULL;
	NSData *fresh;
	size_t len = 0;
	int r = kiln__os_read_file(path, MAX_ID_FILE, &bytes, &len, err);

	if (r < 0 && r != KILN_ENOENT)
		return r;
	if (r == KILN_ENOENT) {
		id own = kiln__send(VZGenericMachineIdentifier *, VZGenericPlatformConfiguration,
				    "machineIdentifier", (), platform);

		fresh = kiln__send(NSData *, VZGenericMachineIdentifier, "dataRepresentation", (),
				   own);
		len = kiln__send(NSUInteger, NSData, "length", (), fresh);
		return kiln__os_replace_file(path,
					     kiln__send(const void *, NSData, "bytes", (), fresh),
					     len, 0600, true, err);
	}
	data = kiln__nsdata_make(bytes, len);
	identifier = kiln__make(VZGenericMachineIdentifier,
				"initWithDataRepresentation:", (NSData *), data);
	if (!identifier) {
		kiln__fail(err, KILN_EFORMAT, "%s: it is no machine identifier", path);
		kiln__hint(err, "remove it, and the machine gets a new one");
		return KILN_EFORMAT;
	}
	kiln__set(VZGenericPlatformConfiguration,
		  "setMachineIdentifier:", VZGenericMachineIdentifier *, platform, identifier);
	return 0;
}

static int nest(id platform, kiln_error *err)
{
	if (!kiln__has(VZGenericPlatformConfiguration, "setNestedVirtualizationEnabled:"))
		return kiln__fail(err, KILN_ENOTSUP, "nested needs macOS 15");
	if (!kiln__send_class(BOOL, VZGenericPlatformConfiguration,
			      "isNestedVirtualizationSupported", ()))
		return kiln__fail(err, KILN_ENOTSUP, "nested: this Mac's processor cannot");
	kiln__set(VZGenericPlatformConfiguration, "setNestedVirtualizationEnabled:", BOOL, platform,
		  true);
	return 0;
}

static int set_system(VZVirtualMachineConfiguration *config, const struct kiln__vz_plan *plan,
		      kiln_error *err)
{
	kiln__autorelease VZBootLoader *loader = NULL;
	kiln__autorelease VZPlatformConfiguration *platform =
		kiln__new(VZGenericPlatformConfiguration);
	int r = plan->spec->firmware == KILN__FIRMWARE_UEFI ? make_efi(&loader, plan, err)
							    : make_linux(&loader, plan, err);

	if (r == 0)
		r = keep_identifier(platform, plan->machine_id, err);
	if (r == 0 && plan->spec->nested)
		r = nest(platform, err);
	if (r < 0)
		return r;
	kiln__set(VZVirtualMachineConfiguration, "setCPUCount:", NSUInteger, config,
		  plan->spec->cpus);
	kiln__set(VZVirtualMachineConfiguration, "setMemorySize:", uint64_t, config,
		  plan->spec->memory);
	kiln__set(VZVirtualMachineConfiguration, "setBootLoader:", VZBootLoader *, config, loader);
	kiln__set(VZVirtualMachineConfiguration, "setPlatform:", VZPlatformConfiguration *, config,
		  platform);
	return 0;
}

/* --- devices -------------------------------------------------------------------------- */

int kiln__vz_add(struct kiln__vz_devices *devices, id device, kiln_error *err)
{
	if (!device)
		return kiln__fail_nomem(err);
	if (devices->count == KILN__VZ_MAX_DEVICES) {
		kiln__release(device);
		return kiln__fail(err, KILN_ENOTSUP, "the vz backend has room for %d of a kind",
				  KILN__VZ_MAX_DEVICES);
	}
	devices->items[devices->count++] = device;
	return 0;
}

static int add_rng(struct kiln__vz_devices *devices, struct kiln__vz_plan *plan, kiln_error *err)
{
	return plan->spec->rng
		       ? kiln__vz_add(devices, kiln__new(VZVirtioEntropyDeviceConfiguration), err)
		       : 0;
}

static int add_balloon(struct kiln__vz_devices *devices, struct kiln__vz_plan *plan,
		       kiln_error *err)
{
	if (!plan->spec->balloon)
		return 0;
	return kiln__vz_add(devices, kiln__new(VZVirtioTraditionalMemoryBalloonDeviceConfiguration),
			    err);
}

static int add_vsock(struct kiln__vz_devices *devices, struct kiln__vz_plan *plan, kiln_error *err)
{
	return plan->spec->vsock
		       ? kiln__vz_add(devices, kiln__new(VZVirtioSocketDeviceConfiguration), err)
		       : 0;
}

/* The devices that @add makes, of the kind @class, by the configuration's @selector. */
#define set_devices(config, selector, class, add, plan, err)                                       \
	({                                                                                         \
		struct kiln__vz_devices made_ = {.count = 0};                                      \
		int added_ = add(&made_, plan, err);                                               \
		kiln__autorelease NSArray *array_ = kiln__nsarray_make(made_.items, made_.count);  \
		if (added_ == 0 && made_.count)                                                    \
			kiln__set(VZVirtualMachineConfiguration, selector, NSArray *, config,      \
				  array_);                                                         \
		while (made_.count)                                                                \
			kiln__release(made_.items[--made_.count]);                                 \
		added_;                                                                            \
	})

static int set_all_devices(VZVirtualMachineConfiguration *config, struct kiln__vz_plan *plan,
			   kiln_error *err)
{
	int r = set_devices(config, "setStorageDevices:", VZStorageDeviceConfiguration,
			    kiln__vz_add_disks, plan, err);

	if (r == 0)
		r = set_devices(config, "setNetworkDevices:", VZNetworkDeviceConfiguration,
				kiln__vz_add_networks, plan, err);
	if (r == 0)
		r = set_devices(config, "setSerialPorts:", VZSerialPortConfiguration,
				kiln__vz_add_serial, plan, err);
	if (r == 0)
		r = set_devices(config, "setConsoleDevices:", VZConsoleDeviceConfiguration,
				kiln__vz_add_consoles, plan, err);
	if (r == 0)
		r = set_devices(config, "setDirectorySharingDevices:",
				VZDirectorySharingDeviceConfiguration, kiln__vz_add_shares, plan,
				err);
	if (r == 0)
		r = set_devices(config, "setEntropyDevices:", VZEntropyDeviceConfiguration, add_rng,
				plan, err);
	if (r == 0)
		r = set_devices(config,
				"setMemoryBalloonDevices:", VZMemoryBalloonDeviceConfiguration,
				add_balloon, plan, err);
	if (r == 0)
		r = set_devices(config, "setSocketDevices:", VZSocketDeviceConfiguration, add_vsock,
				plan, err);
	return r;
}

/* --- the whole ------------------------------------------------------------------------ */

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
	if (!plan->no_save.code || !plan->spec->snapshot)
		return 0;
	*err = plan->no_save;
	return kiln__prefix(err, "snapshot"), err->code;
}

int kiln__vz_config_make(VZVirtualMachineConfiguration **ret, struct kiln__vz_plan *plan,
			 kiln_error *err)
{
	kiln__autorelease VZVirtualMachineConfiguration *config =
		kiln__new(VZVirtualMachineConfiguration);
	int r = config ? set_system(config, plan, err) : kiln__fail_nomem(err);

	if (r == 0)
		r = set_all_devices(config, plan, err);
	if (r == 0)
		r = validate(config, plan, err);
	if (r < 0)
		return r;
	*ret = kiln__take(config);
	return 0;
}
