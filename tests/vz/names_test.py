#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
All that the vz backend says to Apple's frameworks is in their headers, and a slip would be found. All that
these headers have is used, or refused with a reason: --list prints which.
"""
import re
import sys

import names

# What a slip of each kind looks like: file, what stands there, what a slip makes of it.
SLIPS = [
    ("config.c", '"setMemorySize:"', '"setMemmorySize:"'),
    ("config.c", "kiln__make(VZLinuxBootLoader", "kiln__make(VZLinuxBootloader"),
    ("devices.c", "kiln__new(VZNATNetworkDeviceAttachment)", "kiln__new(VZNatNetworkDeviceAttachment)"),
    ("config.c", '"setMemorySize:", uint64_t', '"setMemorySize:", uint32_t'),
    ("shares.c", '"initWithTag:", (NSString *)', '"initWithTag:", (NSURL *)'),
    ("shares.c", '"initWithTag:"', '"initWithTags:"'),
    ("shares.c", "kiln__send_class(VZLinuxRosettaAvailability", "kiln__send_class(NSInteger"),
    ("devices.c", "NSTimeInterval, BOOL", "NSInteger, BOOL"),
    ("framework.h", "VZLinuxRosettaAvailabilityInstalled = 2", "VZLinuxRosettaAvailabilityInstalled = 1"),
    ("config.c", '"initWithURL:", (NSURL *)', '"initWithURL:", (NSString *)'),
    ("config.c", '"setStorageDevices:", VZStorageDeviceConfiguration', '"setStorageDevices:", VZStorageDevice'),
    ("framework.h", "VZDiskImageCachingModeCached = 2", "VZDiskImageCachingModeCached = 0"),
    ("framework.h", "VZErrorOutOfDiskSpace", "VZErrorOutOfDiscSpace"),
    ("framework.h", "VZMACAddress,", "VZMacAddress,"),
    ("vm.c", '"guestDidStopVirtualMachine:"', '"guestDidStopVirtualmachine:"'),
    ("vm.c", '(VZVirtualMachine *, NSError *), "v@:@@"', '(VZVirtualMachine *, NSError *), "v@:@"'),
    ("vm.c", 'kiln__send(BOOL, VZVirtualMachine, "canStop"', 'kiln__send(int, VZVirtualMachine, "canStop"'),
    ("vm.c", 'kiln__send(BOOL, VZVirtualMachine, "canStop"', 'kiln__send_class(BOOL, VZVirtualMachine, "canStop"'),
    ("vz.c", '"isSupported", ()', '"isSupported", (BOOL)'),
    ("vm.c", "uint32_t, kiln__object_block", "uint32_t, kiln__error_block"),
    ("objc.c", '"drain"', '"drian"'),
]


def blanks(text):
    """A pattern for @text, however the formatter has broken it."""
    return r"\s*".join(re.escape(part) for part in re.findall(r"\w+|\S", text))


sources = names.read()
check = names.Check(sources)
for words in check.wrong:
    print(words)
failed = bool(check.wrong)
if len(check.used) < 60:
    print(f"only {len(check.used)} messages were found: the bridge looks different now")
    failed = True

lines, wrong = names.coverage(check)
for words in wrong:
    print(words)
    failed = True
if "--list" in sys.argv:
    print("\n".join(lines))

for name, old, new in SLIPS:
    text, count = re.subn(blanks(old), lambda _: new, sources[name], count=1)
    if not count:
        print(f"{name}: {old}: not there (any more)")
        failed = True
    elif not names.Check({**sources, name: text}).wrong:
        print(f"{name}: {new} for {old} is not noticed")
        failed = True
count = sum("\tused" in line for line in lines)
print(f"shown: {count} messages of Virtualization.framework are used, {len(lines) - count} refused by a reason")
print(f"shown: {len(check.used)} messages of {len(check.classes)} classes are in Apple's headers; "
      f"each of {len(SLIPS)} slips is noticed")
sys.exit(failed)
