/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_IMAGE_COMPRESSOR_H
#define KILN_IMAGE_COMPRESSOR_H

#include <sqfs/compressor.h>

/*
 * libsquashfs's compressor for @config, corrected: a block that does not become
 * smaller is stored as it is. (Version 1.2 stores what LZ4 made of it, which may be larger than the
 * block; Linux reads that, unsquashfs calls it corrupt.) NULL and *@ret_error (an SQFS_ERROR) on
 * failure; freed by sqfs_destroy().
 */
sqfs_compressor_t *compressor_new(const sqfs_compressor_config_t *config, int *ret_error);

#endif
