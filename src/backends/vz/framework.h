/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of Virtualization.framework that the backend uses: classes, and the values of
 * constants, as Apple's headers have them. tests/vz compares each with the tables of these headers.
 */
#ifndef KILN_BACKENDS_VZ_FRAMEWORK_H
#define KILN_BACKENDS_VZ_FRAMEWORK_H

#include "objc.h"

#define KILN__VZ_FRAMEWORK "/System/Library/Frameworks/Virtualization.framework/Virtualization"

/* How long an NBD server may take before the guest's request fails: the framework's own choice. */
#define KILN__VZ_NBD_SECONDS 15.0

typedef struct objc_object VZBootLoader, VZBridgedNetworkInterface, VZConsoleDeviceConfiguration,
	VZConsolePortConfiguration, VZDirectoryShare, VZDirectorySharingDeviceConfiguration,
	VZEFIVariableStore, VZEntropyDeviceConfiguration, VZGenericMachineIdentifier,
	VZLinuxRosettaCachingOptions, VZMACAddress, VZMemoryBalloonDeviceConfiguration,
	VZNetworkBlockDeviceStorageDeviceAttachment, VZNetworkDevice, VZNetworkDeviceAttachment,
	VZNetworkDeviceConfiguration, VZPlatformConfiguration, VZSerialPortAttachment,
	VZSerialPortConfiguration, VZSharedDirectory, VZSocketDevice, VZSocketDeviceConfiguration,
	VZStorageDeviceAttachment, VZStorageDeviceConfiguration, VZVirtioConsolePortConfiguration,
	VZVirtioConsolePortConfigurationArray, VZVirtioSocketConnection, VZVirtioSocketDevice,
	VZVirtioSocketListener, VZVirtualMachine, VZVirtualMachineConfiguration;

typedef double NSTimeInterval;

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

typedef NSInteger VZLinuxRosettaAvailability;
enum {
	VZLinuxRosettaAvailabilityNotSupported = 0,
	VZLinuxRosettaAvailabilityInstalled = 2,
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
	VZErrorNetworkBlockDeviceNegotiationFailed = 20001,
	VZErrorNetworkBlockDeviceDisconnected = 20002,
};

#endif
