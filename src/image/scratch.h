/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ephemeral ext4 disks: an empty file system of any size without mkfs.
 *
 * The build makes empty file systems of five sizes (tools/ext4_templates.py) and keeps what is not
 * zero in them, some kilobytes. A disk starts as the largest that fits, in a sparse
 * file of the wanted size; the guest grows it to the device's size once it is
 * mounted (EXT4_IOC_RESIZE_FS, online; mount with noinit_itable: the file is all
 * zeros already). It has no journal, as it does not outlive its VM.
 */
#ifndef KILN_IMAGE_SCRATCH_H
#define KILN_IMAGE_SCRATCH_H

#include <kiln/error.h>

#include <stdint.h>

#define KILN__SCRATCH_MIN (16ull << 20)
#define KILN__SCRATCH_MAX (16ull << 40)

/*
 * Makes the file @path (mode 0600, KILN_EEXIST if it is there) of @size bytes, rounded down to a
 * multiple of 4096, with an empty file system in it; takes a few dozen kilobytes of the disk.
 * KILN_EINVAL for a size out of the bounds above. On failure no file is left. Any thread.
 */
int kiln__scratch_create(const char *path, uint64_t size, kiln_error *err);

/* The same with a journal: for a disk that is kept, whose VM may be killed at any moment. */
int kiln__scratch_create_lasting(const char *path, uint64_t size, kiln_error *err);

#endif
