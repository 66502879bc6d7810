/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of images, in the grammar that Docker's distribution and OCI registries share:
 *
 *     [DOMAIN[:PORT]/]PATH[:TAG][@DIGEST]
 *
 * What stands before the first slash is a domain if it has a dot, a colon or a capital letter, or
 * is "localhost". Without one the registry is docker.io, where a path of one part is below
 * "library". Pure functions, any thread.
 */
#ifndef KILN_IMAGE_REFERENCE_H
#define KILN_IMAGE_REFERENCE_H

#include <kiln/error.h>

#include <stdbool.h>
#include <stddef.h>

#define KILN__REFERENCE_DOCKER "docker.io"

#define KILN__REFERENCE_NAME_MAX 255 /* domain and path together */
#define KILN__REFERENCE_TAG_MAX  128
#define KILN__REFERENCE_TEXT_MAX                                                                   \
	(2 * KILN__REFERENCE_NAME_MAX + 1 + KILN__REFERENCE_TAG_MAX + 1 + KILN__SHA256_TEXT + 2)

/* "sha256:" and 64 digits, without the NUL. */
#define KILN__SHA256_TEXT 71

struct kiln__reference {
	char domain[KILN__REFERENCE_NAME_MAX + 1]; /* with the port; "docker.io" by default */
	char path[KILN__REFERENCE_NAME_MAX + 1];
	char tag[KILN__REFERENCE_TAG_MAX + 1]; /* empty only where there is a digest */
	char digest[KILN__SHA256_TEXT + 1];    /* "sha256:...", or empty */
	bool bare; /* no domain was written: a list of registries may say where to look */
};

/*
 * A digest alone is no reference: what it may mean is an image that is here (store.h). The tag is
 * "latest" where neither tag nor digest is written. KILN_EINVAL says what is wrong;
 * KILN_ENOTSUP names a digest of another kind than SHA-256.
 */
int kiln__reference_parse(struct kiln__reference *ret, const char *text, kiln_error *err);

/* The whole name, "docker.io/library/debian:12": by this it is stored and shown. */
void kiln__reference_print(const struct kiln__reference *reference,
			   char ret[KILN__REFERENCE_TEXT_MAX]);

/* The same in another registry: what a bare name may mean. */
int kiln__reference_in(const struct kiln__reference *bare, const char *domain,
		       struct kiln__reference *ret, kiln_error *err);

/* Whether @text is "sha256:" and 64 lower-case digits. */
bool kiln__is_sha256(const char *text);

/* Whether the whole of @text is a domain, with or without a port, by the grammar. */
bool kiln__reference_is_domain(const char *text, size_t len);

/* Whether a domain is this host's own: localhost, 127.0.0.0/8, [::1]. */
bool kiln__reference_is_loopback(const char *domain);

#endif
