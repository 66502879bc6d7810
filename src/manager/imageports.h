/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_MANAGER_IMAGEPORTS_H
#define KILN_MANAGER_IMAGEPORTS_H

#include <kiln/config.h>
#include <kiln/error.h>

#include <jansson.h>

/*
 * Publishes what an image exposes (texts, "80/tcp", "8000-8010/udp", "443") on free ports, but for
 * those that the configuration publishes already. KILN_EINVAL names what is no port, KILN_ENOTSUP
 * what cannot be published.
 */
int kiln__imageports_publish(kiln_config *config, const json_t *ports, kiln_error *err);

#endif
