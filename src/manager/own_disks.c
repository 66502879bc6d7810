/* SPDX-License-Identifier: Apache-2.0 */
#include "own_disks.h"

#include "buf.h"
#include "err.h"
#include "machine.h"
#include "seed.h"
#include "volume.h"

#include <stdio.h>
#include <string.h>

static int add(json_t *disks, const char *path, const char *serial, bool readonly, kiln_error *err)
{
	json_t *disk;

	disk = json_pack("{s:s, s:s, s:b}", "path", path, "serial", serial, "readonly", readonly);
	if (!disk)
		return kiln__fail(err, KILN_EINVAL,
				  "the path of a disk is not UTF-8, which kiln cannot pass on: %s",
				  path);
	return json_array_append_new(disks, disk) ? kiln__fail_nomem(err) : 0;
}

static int make_seed(const struct kiln__own_disks *own, struct kiln__spec *spec, json_t *disks,
		     kiln_error *err)
{
	struct kiln__seed_documents documents;
	kiln__autofree char *path = kiln__strf("%s/seed.iso", own->dir);
	char name[64];
	int r;

	if (!path)
		return kiln__fail_nomem(err);
	snprintf(name, sizeof(name), "%.63s", own->name ? own->name : own->id);
	if (!own->name)
		name[12] = '\0';
	kiln__machine_set_macs(spec, own->id);
	r = kiln__seed_documents(spec, own->id, name, &documents, err);
	if (r < 0)
		return r;
	r = kiln__seed_make(&documents, kiln__seed_has_agent(spec) ? own->guest : NULL, path, err);
	kiln__seed_documents_done(&documents);
	return r < 0 ? r : add(disks, path, KILN__SEED_SERIAL, true, err);
}

static int make_volumes(const struct kiln__own_disks *own, const struct kiln__spec *spec,
			json_t *disks, kiln_error *err)
{
	char serial[32];
	int r = 0;

	for (size_t i = 0; r == 0 && i < spec->volume_count; i++) {
		const struct kiln__volume *volume = &spec->volumes[i];
		kiln__autofree char *path = NULL;

		snprintf(serial, sizeof(serial), KILN__VOLUME_SERIAL "%zu", i);
		r = kiln__volume_get(own->home, volume->name, volume->size, !volume->readonly,
				     &path, err);
		if (r == 0)
			r = kiln__volume_check_free(own->home, volume->name, own->id,
						    volume->readonly, err);
		if (r == 0)
			r = add(disks, path, serial, volume->readonly, err);
	}
	return r;
}

int kiln__own_disks_make(const struct kiln__own_disks *own, struct kiln__spec *spec,
			 json_t *resolved, kiln_error *err)
{
	json_t *disks = json_array();
	int r = disks ? 0 : kiln__fail_nomem(err);

	if (r == 0)
		r = make_volumes(own, spec, disks, err);
	if (r == 0 && kiln__spec_has_seed(spec)) {
		r = make_seed(own, spec, disks, err);
		if (r < 0)
			kiln__stage(err, "seed");
	}
	if (r == 0 && json_array_size(disks) && json_object_set(resolved, "disks", disks) < 0)
		r = kiln__fail_nomem(err);
	json_decref(disks);
	return r;
}
