/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates for one registry, as containers-certs.d(5) has them: in certs.d/HOST[:PORT], each
 * NAME.crt is an authority to trust for it besides the system's, and NAME.cert with NAME.key is who
 * we are to it. Of $HOME/.config/containers, /etc/containers and /etc/docker the first that has the
 * folder is the one.
 */
#ifndef KILN_IMAGE_CERTS_H
#define KILN_IMAGE_CERTS_H

#include <kiln/error.h>

struct kiln__certs {
	char *authorities; /* PEM, or NULL */
	char *certificate; /* the same, of us */
	char *key;         /* with a certificate: a secret */
};

/* All NULL where there is no such folder. KILN_EFORMAT for half of a pair. */
int kiln__certs_find(const char *host, struct kiln__certs *ret, kiln_error *err);
void kiln__certs_done(struct kiln__certs *certs);

#endif
