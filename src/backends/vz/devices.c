/* SPDX-License-Identifier: Apache-2.0 */
/* Disks, networks, the console and other ports of a configuration: see config.c. */
#include "config.h"

#include "buf.h"
#include "err.h"
#include "os.h"

#include <stdio.h>
#include <string.h>

static int take_handle(NSFileHandle **ret, kiln_fd *fd, kiln_error *err)
{
	*ret = kiln__nsfilehandle_make(*fd);
	if (!*ret)
		return kiln__fail_nomem(err);
	kiln__take_fd(fd);
	return 0;
}

/* --- disks ---------------------------------------------------------------------------- */

/* A disk of the host is opened here: the framework takes it as a handle. */
static int attach_device(id *ret, const struct kiln__disk *disk, VZDiskSynchronizationMode sync,
			 kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	kiln__autorelease NSFileHandle *handle = NULL;
	NSError *error = NULL;
	int r = kiln__vz_need(VZDiskBlockDeviceStorageDeviceAttachment, "a disk of the host",
			      "macOS 14", err);

	if (r == 0)
		r = kiln__os_open(&fd, disk->source.path,
				  disk->readonly ? KILN__OPEN_READ : KILN__OPEN_WRITE, err);
	if (r == 0)
		r = take_handle(&handle, &fd, err);
	if (r < 0)
		return r;
	*ret = kiln__make(VZDiskBlockDeviceStorageDeviceAttachment,
			  "initWithFileHandle:readOnly:synchronizationMode:error:",
			  (NSFileHandle *, BOOL, VZDiskSynchronizationMode, NSError **), handle,
			  disk->readonly, sync, &error);
	return *ret ? 0 : kiln__nserror(err, error, disk->source.path);
}

/* Who tells of the server's errors is the plan's watcher. */
static int attach_network_disk(id *ret, const struct kiln__disk *disk,
			       VZDiskSynchronizationMode sync, id watcher, kiln_error *err)
{
	kiln__autorelease NSURL *url = kiln__nsurl_parse(disk->url);
	NSError *error = NULL;
	int r = kiln__vz_need(VZNetworkBlockDeviceStorageDeviceAttachment, "url", "macOS 14", err);

	if (r < 0)
		return r;
	if (!url || !kiln__send_class(BOOL, VZNetworkBlockDeviceStorageDeviceAttachment,
				      "validateURL:error:", (NSURL *, NSError **), url, &error))
		return kiln__nserror(err, error, disk->url);
	*ret = kiln__make(VZNetworkBlockDeviceStorageDeviceAttachment,
			  "initWithURL:timeout:forcedReadOnly:synchronizationMode:error:",
			  (NSURL *, NSTimeInterval, BOOL, VZDiskSynchronizationMode, NSError **),
			  url, KILN__VZ_NBD_SECONDS, disk->readonly, sync, &error);
	if (!*ret)
		return kiln__nserror(err, error, disk->url);
	kiln__set(VZNetworkBlockDeviceStorageDeviceAttachment, "setDelegate:", id, *ret, watcher);
	return 0;
}

/*
 * Full synchronization is what keeps what the guest flushed (F_FULLFSYNC); "none" is around
 * the host's cache, "unsafe" leaves all to it.
 */
static int attach_image(id *ret, const struct kiln__disk *disk, bool unsafe, kiln_error *err)
{
	kiln__autorelease NSURL *url = kiln__nsurl_make(disk->source.path, false);
	VZDiskImageCachingMode caching = disk->cache && strcmp(disk->cache, "none") == 0
						 ? VZDiskImageCachingModeUncached
						 : VZDiskImageCachingModeCached;
	VZDiskImageSynchronizationMode sync =
		unsafe ? VZDiskImageSynchronizationModeNone : VZDiskImageSynchronizationModeFull;
	NSError *error = NULL;

	if (!url)
		return kiln__fail_nomem(err);
	*ret = kiln__make(
		VZDiskImageStorageDeviceAttachment,
		"initWithURL:readOnly:cachingMode:synchronizationMode:error:",
		(NSURL *, BOOL, VZDiskImageCachingMode, VZDiskImageSynchronizationMode, NSError **),
		url, disk->readonly, caching, sync, &error);
	return *ret ? 0 : kiln__nserror(err, error, disk->source.path);
}

static int attach(id *ret, const struct kiln__disk *disk, id watcher, kiln_error *err)
{
	bool unsafe = disk->cache && strcmp(disk->cache, "unsafe") == 0;
	VZDiskSynchronizationMode sync =
		unsafe ? VZDiskSynchronizationModeNone : VZDiskSynchronizationModeFull;
	struct kiln__os_stat st;
	int r;

	if (disk->url)
		return attach_network_disk(ret, disk, sync, watcher, err);
	r = kiln__os_stat(disk->source.path, &st, err);
	if (r < 0)
		return r;
	return st.is_block_device ? attach_device(ret, disk, sync, err)
				  : attach_image(ret, disk, unsafe, err);
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
	kiln__set(VZVirtioBlockDeviceConfiguration, "setBlockDeviceIdentifier:", NSString *, device,
		  string);
	return 0;
}

/* The device on its bus. Only virtio's takes a serial number. */
static int add_disk(struct kiln__vz_devices *devices, const struct kiln__disk *disk, id watcher,
		    kiln_error *err)
{
	kiln__autorelease VZStorageDeviceAttachment *attachment = NULL;
	id device;
	int r = attach(&attachment, disk, watcher, err);

	if (r == 0 && disk->bus == KILN__DISK_NVME)
		r = kiln__vz_need(VZNVMExpressControllerDeviceConfiguration, "bus: NVMe",
				  "macOS 14", err);
	if (r == 0 && disk->bus == KILN__DISK_USB)
		r = kiln__vz_need(VZUSBMassStorageDeviceConfiguration, "bus: a USB disk",
				  "macOS 13", err);
	if (r < 0)
		return r;
	if (disk->bus == KILN__DISK_NVME)
		device = kiln__make(VZNVMExpressControllerDeviceConfiguration,
				    "initWithAttachment:", (VZStorageDeviceAttachment *),
				    attachment);
	else if (disk->bus == KILN__DISK_USB)
		device = kiln__make(VZUSBMassStorageDeviceConfiguration,
				    "initWithAttachment:", (VZStorageDeviceAttachment *),
				    attachment);
	else
		device = kiln__make(VZVirtioBlockDeviceConfiguration,
				    "initWithAttachment:", (VZStorageDeviceAttachment *),
				    attachment);
	r = kiln__vz_add(devices, device, err);
	return r == 0 && disk->bus == KILN__DISK_VIRTIO ? set_serial(device, disk->serial, err) : r;
}

int kiln__vz_add_disks(struct kiln__vz_devices *devices, struct kiln__vz_plan *plan,
		       kiln_error *err)
{
	const struct kiln__spec *spec = plan->spec;
	struct kiln__disk disk = {
		.source = spec->root.source,
		.readonly = !kiln__root_is_writable(&spec->root),
		.serial = KILN__ROOT_SERIAL,
	};
	char serial[32];
	int r = 0;

	if (spec->root.kind != KILN__ROOT_NONE)
		r = add_disk(devices, &disk, NULL, err);
	if (r < 0)
		return kiln__prefix(err, "root"), r;
	for (size_t i = 0; r == 0 && i < spec->disk_count; i++) {
		disk = spec->disks[i];
		snprintf(serial, sizeof(serial), "disk%zu", i);
		disk.serial = disk.serial ? disk.serial : serial;
		r = add_disk(devices, &disk, plan->watcher, err);
		if (r < 0)
			kiln__prefix(err, "disks[%zu]", i);
	}
	return r;
}

/* --- networks ------------------------------------------------------------------------- */

/* The host's interface of that name, among those that may be bridged. */
static int attach_bridge(id *ret, const char *name, kiln_error *err)
{
	NSArray *all =
		kiln__send_class(NSArray *, VZBridgedNetworkInterface, "networkInterfaces", ());
	NSUInteger count = kiln__send(NSUInteger, NSArray, "count", (), all);
	char text[64];

	for (NSUInteger i = 0; i < count; i++) {
		id found = kiln__send(id, NSArray, "objectAtIndex:", (NSUInteger), all, i);

		kiln__nsstring_copy(
			kiln__send(NSString *, VZBridgedNetworkInterface, "identifier", (), found),
			text, sizeof(text));
		if (strcmp(text, name) != 0)
			continue;
		*ret = kiln__make(VZBridgedNetworkDeviceAttachment,
				  "initWithInterface:", (VZBridgedNetworkInterface *), found);
		return 0;
	}
	kiln__fail(err, KILN_ENOENT, "interface: there is no '%s' that could be bridged", name);
	kiln__hint(err, "kiln-runner needs the entitlement com.apple.vm.networking besides");
	return KILN_ENOENT;
}

/* Frames as datagrams: our socket has a name in the stage, so that the switch can answer. */
static int attach_switch(id *ret, const char *path, const char *dir, size_t index, kiln_error *err)
{
	kiln__autofree char *own = kiln__strf("%s/net%zu", dir, index);
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	kiln__autorelease NSFileHandle *handle = NULL;
	int r = own ? kiln__os_datagram_connect(&fd, own, path, err) : kiln__fail_nomem(err);

	if (r == 0)
		r = take_handle(&handle, &fd, err);
	if (r == 0)
		*ret = kiln__make(VZFileHandleNetworkDeviceAttachment,
				  "initWithFileHandle:", (NSFileHandle *), handle);
	return r;
}

static int add_network(struct kiln__vz_devices *devices, const struct kiln__vz_plan *plan,
		       size_t index, kiln_error *err)
{
	kiln__autorelease VZNetworkDeviceAttachment *attachment = NULL;
	kiln__autorelease NSString *string = NULL;
	kiln__autorelease VZMACAddress *address = NULL;
	const struct kiln__network *network = &plan->spec->networks[index];
	const uint8_t *mac = network->mac;
	id device = kiln__new(VZVirtioNetworkDeviceConfiguration);
	char text[18];
	int r = kiln__vz_add(devices, device, err);

	if (r == 0 && network->kind == KILN__NETWORK_BRIDGED)
		r = attach_bridge(&attachment, network->interface, err);
	else if (r == 0 && network->kind == KILN__NETWORK_SOCKET)
		r = attach_switch(&attachment, network->socket, plan->stage_dir, index, err);
	else if (r == 0)
		attachment = kiln__new(VZNATNetworkDeviceAttachment);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	string = kiln__nsstring_make(text);
	address = kiln__make(VZMACAddress, "initWithString:", (NSString *), string);
	if (!address)
		return kiln__fail(err, KILN_EINVAL, "%s is no hardware address", text);
	kiln__set(VZNetworkDeviceConfiguration, "setMACAddress:", VZMACAddress *, device, address);
	kiln__set(VZNetworkDeviceConfiguration, "setAttachment:", VZNetworkDeviceAttachment *,
		  device, attachment);
	return 0;
}

int kiln__vz_add_networks(struct kiln__vz_devices *devices, struct kiln__vz_plan *plan,
			  kiln_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->spec->network_count; i++) {
		r = add_network(devices, plan, i, err);
		if (r < 0)
			kiln__prefix(err, "networks[%zu]", i);
	}
	return r;
}

/* --- the console and other ports ------------------------------------------------------ */

/* Both directions of a serial port; takes over @in and @out. */
static int attach_handles(id *ret, kiln_fd *in, kiln_fd *out, kiln_error *err)
{
	kiln__autorelease NSFileHandle *reading = NULL;
	kiln__autorelease NSFileHandle *writing = NULL;
	int r = take_handle(&reading, in, err);

	if (r == 0)
		r = take_handle(&writing, out, err);
	if (r == 0)
		*ret = kiln__make(VZFileHandleSerialPortAttachment,
				  "initWithFileHandleForReading:fileHandleForWriting:",
				  (NSFileHandle *, NSFileHandle *), reading, writing);
	return r;
}

int kiln__vz_add_serial(struct kiln__vz_devices *devices, struct kiln__vz_plan *plan,
			kiln_error *err)
{
	kiln__autorelease VZSerialPortAttachment *attachment = NULL;
	id port = kiln__new(VZVirtioConsoleDeviceSerialPortConfiguration);
	int r = kiln__vz_add(devices, port, err);

	if (r == 0)
		r = attach_handles(&attachment, &plan->console_in, &plan->console_out, err);
	if (r == 0)
		kiln__set(VZSerialPortConfiguration, "setAttachment:", VZSerialPortAttachment *,
			  port, attachment);
	return r;
}

static int attach_port(id *ret, const struct kiln__console_port *from, kiln_error *err)
{
	kiln__autorelease NSURL *url = from->file ? kiln__nsurl_make(from->file, false) : NULL;
	kiln__autoclose kiln_fd in = KILN_FD_NONE;
	kiln__autoclose kiln_fd out = KILN_FD_NONE;
	NSError *error = NULL;
	int r;

	if (url) {
		*ret = kiln__make(VZFileSerialPortAttachment,
				  "initWithURL:append:error:", (NSURL *, BOOL, NSError **), url,
				  true, &error);
		return *ret ? 0 : kiln__nserror(err, error, from->file);
	}
	r = kiln__os_local_connect(&in, from->socket, err);
	if (r == 0)
		r = kiln__os_dup(&out, in, err);
	return r < 0 ? r : attach_handles(ret, &in, &out, err);
}

static int set_port(id ports, size_t index, const struct kiln__console_port *from, kiln_error *err)
{
	kiln__autorelease VZSerialPortAttachment *attachment = NULL;
	kiln__autorelease NSString *name = kiln__nsstring_make(from->name);
	kiln__autorelease VZVirtioConsolePortConfiguration *port =
		kiln__new(VZVirtioConsolePortConfiguration);
	int r = attach_port(&attachment, from, err);

	if (r < 0)
		return kiln__prefix(err, "console.ports[%zu]", index), r;
	kiln__set(VZVirtioConsolePortConfiguration, "setName:", NSString *, port, name);
	kiln__set(VZConsolePortConfiguration, "setAttachment:", VZSerialPortAttachment *, port,
		  attachment);
	kiln__send(void, VZVirtioConsolePortConfigurationArray, "setObject:atIndexedSubscript:",
		   (VZVirtioConsolePortConfiguration *, NSUInteger), ports, port, index);
	return 0;
}

/* One device with all ports; none is a console, which is a serial port of its own. */
int kiln__vz_add_consoles(struct kiln__vz_devices *devices, struct kiln__vz_plan *plan,
			  kiln_error *err)
{
	const struct kiln__spec *spec = plan->spec;
	id device;
	id ports;
	int r = 0;

	if (!spec->console_port_count)
		return 0;
	device = kiln__new(VZVirtioConsoleDeviceConfiguration);
	r = kiln__vz_add(devices, device, err);
	if (r < 0)
		return r;
	ports = kiln__send(VZVirtioConsolePortConfigurationArray *,
			   VZVirtioConsoleDeviceConfiguration, "ports", (), device);
	kiln__set(VZVirtioConsolePortConfigurationArray, "setMaximumPortCount:", uint32_t, ports,
		  (uint32_t)spec->console_port_count);
	for (size_t i = 0; r == 0 && i < spec->console_port_count; i++)
		r = set_port(ports, i, &spec->console_ports[i], err);
	return r;
}
