/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648, section 4), of texts. Pure functions, any thread. */
#ifndef KILN_IMAGE_BASE64_H
#define KILN_IMAGE_BASE64_H

/* With padding, malloc'ed; NULL when out of memory. */
char *kiln__base64_encode(const char *text);

/* malloc'ed; NULL if it is none, has NUL bytes in it, or when out of memory. */
char *kiln__base64_decode(const char *text);

#endif
