/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of the host in the guest, and Rosetta, which comes as one: see config.c. */
#include "config.h"

#include "err.h"
#include "os.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Somebody has to agree before the Mac's screen, and it is downloaded. */
#define INSTALL_SECONDS 600

static int make_directory(id *ret, const struct kiln__share *share, kiln_error *err)
{
	kiln__autorelease NSURL *url = kiln__nsurl_make(share->source, true);
	struct kiln__os_stat st;
	int r = kiln__os_stat(share->source, &st, err);

	if (r == 0 && !st.is_directory)
		return kiln__fail(err, KILN_EINVAL, "source: %s is no directory", share->source);
	if (r == 0)
		*ret = kiln__make(VZSharedDirectory, "initWithURL:readOnly:", (NSURL *, BOOL), url,
				  share->readonly);
	return r;
}

static int add_device(struct kiln__vz_devices *devices, const char *tag, VZDirectoryShare *share,
		      kiln_error *err)
{
	kiln__autorelease NSString *string = kiln__nsstring_make(tag);
	NSError *error = NULL;
	id device;
	int r;

	if (!string ||
	    !kiln__send_class(BOOL, VZVirtioFileSystemDeviceConfiguration,
			      "validateTag:error:", (NSString *, NSError **), string, &error))
		return kiln__nserror(err, error, "tag");
	device = kiln__make(VZVirtioFileSystemDeviceConfiguration, "initWithTag:", (NSString *),
			    string);
	r = kiln__vz_add(devices, device, err);
	if (r == 0)
		kiln__set(VZVirtioFileSystemDeviceConfiguration, "setShare:", VZDirectoryShare *,
			  device, share);
	return r;
}

/* --- directories ---------------------------------------------------------------------- */

static int name_of(id *ret, const char *name, kiln_error *err)
{
	NSError *error = NULL;

	*ret = kiln__nsstring_make(name);
	if (!*ret || !kiln__send_class(BOOL, VZMultipleDirectoryShare, "validateName:error:",
				       (NSString *, NSError **), *ret, &error))
		return kiln__nserror(err, error, "name");
	return 0;
}

/* All directories of @tag, each under its name. */
static int make_multiple(id *ret, const struct kiln__spec *spec, const char *tag, kiln_error *err)
{
	struct kiln__vz_devices all = {.count = 0};
	struct kiln__vz_devices names = {.count = 0};
	kiln__autorelease NSDictionary *map = NULL;
	char other[KILN__TAG_MAX];
	int r = 0;

	for (size_t i = 0; r == 0 && i < spec->share_count; i++) {
		if (strcmp(kiln__spec_share_tag(spec, i, other), tag) != 0)
			continue;
		r = make_directory(&all.items[all.count], &spec->shares[i], err);
		all.count++;
		if (r == 0)
			r = name_of(&names.items[names.count++], spec->shares[i].name, err);
		if (r < 0)
			kiln__prefix(err, "shares[%zu]", i);
	}
	if (r == 0)
		map = kiln__nsdictionary_make(all.items, names.items, all.count);
	if (map)
		*ret = kiln__make(VZMultipleDirectoryShare,
				  "initWithDirectories:", (NSDictionary *), map);
	while (all.count)
		kiln__release(all.items[--all.count]);
	while (names.count)
		kiln__release(names.items[--names.count]);
	return r == 0 && !*ret ? kiln__fail_nomem(err) : r;
}

/* Nothing, where an earlier share of the same tag has brought this one along. */
static int add_share(struct kiln__vz_devices *devices, const struct kiln__spec *spec, size_t index,
		     kiln_error *err)
{
	kiln__autorelease VZSharedDirectory *directory = NULL;
	kiln__autorelease VZDirectoryShare *share = NULL;
	char tag[KILN__TAG_MAX];
	char other[KILN__TAG_MAX];
	int r;

	kiln__spec_share_tag(spec, index, tag);
	for (size_t i = 0; i < index; i++)
		if (strcmp(kiln__spec_share_tag(spec, i, other), tag) == 0)
			return 0;
	if (spec->shares[index].name) {
		r = make_multiple(&share, spec, tag, err);
		return r < 0 ? r : add_device(devices, tag, share, err);
	}
	r = make_directory(&directory, &spec->shares[index], err);
	if (r == 0)
		share = kiln__make(VZSingleDirectoryShare,
				   "initWithDirectory:", (VZSharedDirectory *), directory);
	if (r == 0)
		r = add_device(devices, tag, share, err);
	return r < 0 ? kiln__prefix(err, "shares[%zu]", index), r : 0;
}

/* --- Rosetta -------------------------------------------------------------------------- */

/* An installation: its handler is called on whatever thread, perhaps when nobody waits any more. */
struct install {
	struct kiln__call call;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done;
	kiln_error err;
};

static void drop_install(struct kiln__call *call)
{
	struct install *install = (struct install *)call;

	pthread_cond_destroy(&install->changed);
	pthread_mutex_destroy(&install->lock);
	free(install);
}

static void installed(struct kiln__call *call, id object, NSError *error)
{
	struct install *install = (struct install *)call;

	(void)object;
	pthread_mutex_lock(&install->lock);
	if (error)
		kiln__nserror(&install->err, error, "installing Rosetta");
	/* Somebody at the Mac said no; a start that is cancelled is another matter. */
	if (install->err.code == KILN_ECANCELED)
		install->err.code = KILN_EACCES;
	install->done = true;
	pthread_cond_signal(&install->changed);
	pthread_mutex_unlock(&install->lock);
}

static int install_rosetta(kiln_error *err)
{
	struct install *install = calloc(1, sizeof(*install));
	struct timespec until;
	struct kiln__block block;
	int r = 0;

	if (!install)
		return kiln__fail_nomem(err);
	install->call = (struct kiln__call){.refs = 1, .run = installed, .drop = drop_install};
	pthread_mutex_init(&install->lock, NULL);
	pthread_cond_init(&install->changed, NULL);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += INSTALL_SECONDS;
	block = kiln__block_make(&install->call, false);
	kiln__send_class(void, VZLinuxRosettaDirectoryShare,
			 "installRosettaWithCompletionHandler:", (kiln__error_block), &block);
	pthread_mutex_lock(&install->lock);
	while (!install->done && r == 0)
		r = pthread_cond_timedwait(&install->changed, &install->lock, &until);
	if (!install->done)
		r = kiln__fail(err, KILN_ETIMEDOUT, "Rosetta was not installed in %d s",
			       INSTALL_SECONDS);
	else if (install->err.code)
		*err = install->err, r = install->err.code;
	pthread_mutex_unlock(&install->lock);
	kiln__call_unref(&install->call);
	return r;
}

static int check_rosetta(const struct kiln__rosetta *rosetta, kiln_error *err)
{
	VZLinuxRosettaAvailability there;
	int r = kiln__vz_need(VZLinuxRosettaDirectoryShare, "Rosetta", "macOS 13", err);

	if (r < 0)
		return r;
	there = kiln__send_class(VZLinuxRosettaAvailability, VZLinuxRosettaDirectoryShare,
				 "availability", ());
	if (there == VZLinuxRosettaAvailabilityNotSupported)
		return kiln__fail(err, KILN_ENOTSUP, "this Mac has none: it needs Apple silicon");
	if (there == VZLinuxRosettaAvailabilityInstalled)
		return 0;
	if (rosetta->install)
		return install_rosetta(err);
	kiln__fail(err, KILN_ENOENT, "it is not installed on this Mac");
	kiln__hint(err, "softwareupdate --install-rosetta, or rosetta.install: true");
	return KILN_ENOENT;
}

/* What was translated is kept by a daemon in the guest that listens at @cache. */
static int set_cache(id share, const char *cache, kiln_error *err)
{
	kiln__autorelease NSString *string = kiln__nsstring_make(cache + (cache[0] == '@'));
	kiln__autorelease VZLinuxRosettaCachingOptions *options = NULL;
	NSError *error = NULL;
	int r = kiln__vz_need(VZLinuxRosettaUnixSocketCachingOptions, "cache", "macOS 14", err);

	if (r < 0)
		return r;
	if (cache[0] == '@')
		options =
			kiln__make(VZLinuxRosettaAbstractSocketCachingOptions,
				   "initWithName:error:", (NSString *, NSError **), string, &error);
	else
		options =
			kiln__make(VZLinuxRosettaUnixSocketCachingOptions,
				   "initWithPath:error:", (NSString *, NSError **), string, &error);
	if (!options)
		return kiln__nserror(err, error, "cache");
	kiln__set(VZLinuxRosettaDirectoryShare, "setOptions:", VZLinuxRosettaCachingOptions *,
		  share, options);
	return 0;
}

static int add_rosetta(struct kiln__vz_devices *devices, const struct kiln__rosetta *rosetta,
		       kiln_error *err)
{
	kiln__autorelease VZDirectoryShare *share = NULL;
	NSError *error = NULL;
	int r = check_rosetta(rosetta, err);

	if (r < 0)
		return r;
	share = kiln__make(VZLinuxRosettaDirectoryShare, "initWithError:", (NSError **), &error);
	if (!share)
		return kiln__nserror(err, error, "its directory");
	if (rosetta->cache)
		r = set_cache(share, rosetta->cache, err);
	return r < 0 ? r : add_device(devices, KILN__ROSETTA_TAG, share, err);
}

int kiln__vz_add_shares(struct kiln__vz_devices *devices, struct kiln__vz_plan *plan,
			kiln_error *err)
{
	const struct kiln__spec *spec = plan->spec;
	int r = 0;

	for (size_t i = 0; r == 0 && i < spec->share_count; i++)
		r = add_share(devices, spec, i, err);
	if (r == 0 && spec->rosetta.enabled) {
		r = add_rosetta(devices, &spec->rosetta, err);
		if (r < 0)
			kiln__prefix(err, "rosetta");
	}
	return r;
}
