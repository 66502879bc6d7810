/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of Virtualization.framework that the backend uses: classes, and the values of
 * constants, as Apple's headers have them. tests/vz compares each with the tables of these headers.
 */
#ifndef KILN_BACKENDS_VZ_FRAMEWORK_H
#define KILN_BACKENDS_VZ_FRAMEWORK_H

#include "objc.h"

#define KILN__VZ_FRAMEWORK "/System/Library/Frameworks/Virtualization.framework/Virtualization"

typedef struct objc_object VZBootLoader, VZBridgedNetworkInterface,
	VZDirectorySharingDeviceConfiguration, VZEFIVariableStore, VZEntropyDeviceConfiguration,
	VZGenericMachineIdentifier, VZMACAddress, VZMemoryBalloonDeviceConfiguration,
	VZNetworkDevice, VZNetworkDeviceAttachment, VZNetworkDeviceConfiguration,
	VZPlatformConfiguration, VZSerialPortAttachment, VZSerialPortConfiguration, VZSocketDevice,
	VZSocketDeviceConfiguration, VZStorageDeviceAttachment, VZStorageDeviceConfiguration,
	VZVirtioSocketConnection, VZVirtioSocketDevice, VZVirtioSocketListener, VZVirtualMachine,
	VZVirtualMachineConfiguration;

typedef NSInteger VZDiskImageCachingMode;
enum {
	VZDiskImageCachingModeUncached = 1,
	VZDiskImageCachingModeCached = 2,
};

typedef NSInteger VZDiskImageSynchronizationMode;
enum {
	VZDiskImageSynchronizationModeFull = 1,
	VZDiskImageSynchronizationModeNone = 3,
};

typedef NSInteger VZDiskSynchronizationMode;
enum {
	VZDiskSynchronizationModeFull = 0,
	VZDiskSynchronizationModeNone = 1,
};

typedef NSUInteger VZEFIVariableStoreInitializationOptions;
enum {
	VZEFIVariableStoreInitializationOptionAllowOverwrite = 1,
};

enum {
	VZErrorInvalidVirtualMachineConfiguration = 2,
	VZErrorInvalidVirtualMachineState = 3,
	VZErrorInvalidVirtualMachineStateTransition = 4,
	VZErrorInvalidDiskImage = 5,
	VZErrorVirtualMachineLimitExceeded = 6,
	VZErrorOutOfDiskSpace = 8,
	VZErrorOperationCancelled = 9,
	VZErrorNotSupported = 10,
};

#endif
