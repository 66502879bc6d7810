/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration that a VMM with an API is told, as JSON: what kiln makes of a machine, and what
 * the machine's document has besides, in the VMM's own words. One table of the VMM's fields decides
 * what may stand there, which is what its API document has; "kiln backends" prints from it.
 */
#ifndef KILN_PROCESS_APICONFIG_H
#define KILN_PROCESS_APICONFIG_H

#include <kiln/error.h>

#include "backend.h"
#include "spec.h"

#include <jansson.h>
#include <stdbool.h>

#define kiln__api_field kiln__own_field /* backend.h */

/*
 * The rows of what Firecracker and Cloud Hypervisor both call RateLimiter, which several devices of
 * each have: @bucket(path, from) makes those of a TokenBucket, in the order of the VMM's document;
 * @from is as "since".
 */
#define KILN__API_RATE_LIMITER(bucket, at, from)                                                   \
	{.path = at, .since = from}, bucket(at ".bandwidth", 0), bucket(at ".ops", 0)

struct kiln__api_form {
	const char *key;  /* for messages: "firecracker.config" */
	const char *name; /* "Firecracker" */
	const struct kiln__api_field *fields;
	const char *const *ids; /* by which elements of lists are told apart; NULL-terminated */
};

/*
 * Parses and merges @text (NULL: nothing) into @config: objects member by member, lists element by
 * element. Refused by path: what the VMM does not have, and what kiln says itself.
 */
int kiln__api_merge(const struct kiln__api_form *form, json_t *config, const char *text,
		    kiln_error *err);

/*
 * What a backend's configuration ends with: @config, which it takes, and @text merged into it.
 * @is_built is false if memory was missing for it.
 */
int kiln__api_finish(const struct kiln__api_form *form, json_t *config, bool is_built,
		     const char *text, json_t **ret, kiln_error *err);

/* "1.17.0-dev" or "v1.7.2" as major * 1000 + minor; 0 if it is no version. */
unsigned kiln__api_version(const char *text);

/* Whether @text, which may be NULL, can stand in a request's target: letters, digits and '_'. */
bool kiln__api_is_id(const char *text);

/* Refuses by its path what @config has and VMMs of @version do not: 0 is any version. */
int kiln__api_check_version(const struct kiln__api_form *form, const json_t *config,
			    unsigned version, kiln_error *err);

/* Refuses by key what no VMM takes that is told paths: ranges of files; guests of other machines.
 */
int kiln__api_check_spec(const struct kiln__spec *spec, const char *backend, kiln_error *err);

/* The same of more disks than a VMM has numbers for. */
int kiln__api_check_disk_count(const struct kiln__spec *spec, size_t max, kiln_error *err);

/* --- parts of a configuration; NULL, or not 0, where memory is missing ----------------------- */

/* The path of a file by its number, in the folder where the VMM has them all. */
#define KILN__API_FDS "/proc/self/fd" /* those that it inherits */
json_t *kiln__api_path(const char *folder, int number);

/* Takes @value; an empty list is left out. */
int kiln__api_set(json_t *config, const char *section, json_t *value);

/*
 * The list of disks, the root ("root") first, then "disk0" ...: each as @disk makes it of its id
 * and path, which that takes. They are numbered from @first on.
 */
typedef json_t *(*kiln__api_disk_fn)(json_t *id, json_t *path, const struct kiln__disk *disk);
json_t *kiln__api_disks(const struct kiln__spec *spec, const char *folder, int first,
			kiln__api_disk_fn disk);

/* The list of networks, "net0" ..., whose members have these names. */
json_t *kiln__api_networks(const struct kiln__spec *spec, const char *id, const char *interface,
			   const char *mac);

/* "02:00:00:00:00:01" */
json_t *kiln__api_mac(const uint8_t mac[6]);

#endif
