/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two names for one architecture: uname's, by which kiln calls machines, and Go's, which images
 * have (image-spec, config.md, "architecture"). What is in neither list is called the same.
 */
#ifndef KILN_IMAGE_ARCH_H
#define KILN_IMAGE_ARCH_H

/* "amd64" of "x86_64". */
const char *kiln__arch_of_images(const char *uname);

/* "x86_64" of "amd64". */
const char *kiln__arch_of_uname(const char *image);

#endif
