/* SPDX-License-Identifier: Apache-2.0 */
/* What GNU's runtime has no header for: NSInteger and NSUInteger, as on a Mac. */
#ifndef TESTS_VZ_OBJC_NSOBJCRUNTIME_H
#define TESTS_VZ_OBJC_NSOBJCRUNTIME_H

typedef long NSInteger;
typedef unsigned long NSUInteger;

#endif
