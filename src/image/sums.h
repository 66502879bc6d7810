/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of checksums as vendors publish them: lines of sha256sum(1) ("DIGEST  NAME", "DIGEST
 * *NAME") and of BSD's tools ("SHA256 (NAME) = DIGEST"). Other lines (signatures, comments) say
 * nothing.
 */
#ifndef KILN_IMAGE_SUMS_H
#define KILN_IMAGE_SUMS_H

#include <kiln/error.h>

#include <stddef.h>

#define KILN__SUMS_HEX 129 /* of SHA-512, with its NUL */

/*
 * The digest of the file @name, lower-case, of @digits hexadecimal digits. KILN_ENOENT: no line
 * has it; KILN_EFORMAT: two that differ. @text is a stranger's. Pure.
 */
int kiln__sums_find(const char *text, size_t len, const char *name, size_t digits,
		    char ret[KILN__SUMS_HEX], kiln_error *err);

#endif
