/* SPDX-License-Identifier: Apache-2.0 */
/* Stands for the filter in the first link of a program, from which seccomp-gen reads the lists. */
#include "jail.h"

extern const struct kiln__jail_filter FILTER;
const struct kiln__jail_filter FILTER = {NULL, 0};

/* A part of a program has no main function of its own: the linker is shown where it begins. */
#ifdef MAIN
int MAIN(void *, void *);
int main(void)
{
	return MAIN(0, 0);
}
#endif
