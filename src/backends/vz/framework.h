/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of Virtualization.framework that the backend uses: classes, and the values of
 * constants, as Apple's headers have them. tests/vz compares each with the tables of these headers.
 */
#ifndef KILN_BACKENDS_VZ_FRAMEWORK_H
#define KILN_BACKENDS_VZ_FRAMEWORK_H

#include "objc.h"

#define KILN__VZ_FRAMEWORK "/System/Library/Frameworks/Virtualization.framework/Virtualization"

KILN__OBJC_CLASS(VZBootLoader)
KILN__OBJC_CLASS(VZDirectorySharingDeviceConfiguration)
KILN__OBJC_CLASS(VZEFIVariableStore)
KILN__OBJC_CLASS(VZEntropyDeviceConfiguration)
KILN__OBJC_CLASS(VZGenericMachineIdentifier)
KILN__OBJC_CLASS(VZMACAddress)
KILN__OBJC_CLASS(VZMemoryBalloonDeviceConfiguration)
KILN__OBJC_CLASS(VZNetworkDevice)
KILN__OBJC_CLASS(VZNetworkDeviceAttachment)
KILN__OBJC_CLASS(VZNetworkDeviceConfiguration)
KILN__OBJC_CLASS(VZPlatformConfiguration)
KILN__OBJC_CLASS(VZSerialPortAttachment)
KILN__OBJC_CLASS(VZSerialPortConfiguration)
KILN__OBJC_CLASS(VZSocketDevice)
KILN__OBJC_CLASS(VZSocketDeviceConfiguration)
KILN__OBJC_CLASS(VZStorageDeviceAttachment)
KILN__OBJC_CLASS(VZStorageDeviceConfiguration)
KILN__OBJC_CLASS(VZVirtioSocketConnection)
KILN__OBJC_CLASS(VZVirtioSocketDevice)
KILN__OBJC_CLASS(VZVirtioSocketListener)
KILN__OBJC_CLASS(VZVirtualMachine)
KILN__OBJC_CLASS(VZVirtualMachineConfiguration)

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
