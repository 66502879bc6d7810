/* SPDX-License-Identifier: Apache-2.0 */
#include "arch.h"

#include <stddef.h>
#include <string.h>

static const struct {
	const char *uname;
	const char *image;
} arches[] = {
	{"x86_64", "amd64"},
	{"aarch64", "arm64"},
};
#define ARCHES (sizeof(arches) / sizeof(arches[0]))

const char *kiln__arch_of_images(const char *uname)
{
	for (size_t i = 0; i < ARCHES; i++)
		if (strcmp(arches[i].uname, uname) == 0)
			return arches[i].image;
	return uname;
}

const char *kiln__arch_of_uname(const char *image)
{
	for (size_t i = 0; i < ARCHES; i++)
		if (strcmp(arches[i].image, image) == 0)
			return arches[i].uname;
	return image;
}
