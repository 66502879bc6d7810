/* SPDX-License-Identifier: Apache-2.0 */
#include "setup.h"

#include "err.h"
#include "os.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* QEMU's user network, where the host gives addresses by position: docs/system/devices/net.rst. */
#define USER_ADDRESS "10.0.2.15/24"
#define USER_GATEWAY "10.0.2.2"
#define USER_DNS     "10.0.2.3"

/* For the few files and directories that a read-only root is made with. */
#define MOUNT_POINTS_SIZE (1 << 20)

#define VOLUME_SERIAL 32

#define STR_LIST(text) ((struct kiln__strs){text, sizeof(text)})

static void set_root(struct kiln__agent_root *root, const kiln_machine *machine)
{
	const struct kiln__root *spec = &kiln__machine_spec(machine)->root;

	switch (spec->kind) {
	case KILN__ROOT_NONE:
		root->kind = KILN__AGENT_ROOT_STAY;
		return;
	case KILN__ROOT_DISK:
		root->fstype = spec->fstype ? spec->fstype : "ext4";
		break;
	case KILN__ROOT_IMAGE:
	case KILN__ROOT_DIRECTORY:
	case KILN__ROOT_TAR:
	case KILN__ROOT_SQUASHFS:
		root->fstype = "squashfs";
		break;
	}
	root->device = kiln__machine_disk_serial(machine, KILN__ROOT_SERIAL);
	if (!kiln__root_is_overlaid(spec)) {
		root->kind = KILN__AGENT_ROOT_PLAIN;
		root->read_only = !kiln__root_is_writable(spec);
		return;
	}
	root->kind = KILN__AGENT_ROOT_OVERLAY;
	if (spec->overlay == KILN__OVERLAY_NONE) {
		root->read_only = true; /* once mount points and the machine's identity are made */
		root->upper_size = MOUNT_POINTS_SIZE;
		return;
	}
	if (spec->overlay == KILN__OVERLAY_MEMORY) {
		root->upper_size = spec->overlay_size;
		return;
	}
	root->upper_device = kiln__machine_disk_serial(machine, KILN__OVERLAY_SERIAL);
	root->upper_options = "noinit_itable"; /* it is all zeros already */
	root->ephemeral = true;
}

static void set_networks(struct kiln__agent_setup *setup, const struct kiln__spec *spec)
{
	for (size_t i = 0; i < spec->network_count && i < KILN__AGENT_MAX_INTERFACES; i++)
		setup->interfaces[setup->interface_count++] = (struct kiln__agent_interface){
			.mac = {spec->networks[i].mac, 6},
			.addresses = STR_LIST(USER_ADDRESS),
			/* One default route is enough; it is the first network's. */
			.gateways = i == 0 ? STR_LIST(USER_GATEWAY) : (struct kiln__strs){NULL, 0},
		};
	if (spec->network_count)
		setup->dns = STR_LIST(USER_DNS);
}

/* The longest there is: "mode=1777,size=" and a number. */
#define TMPFS_OPTIONS 40

static void set_tmpfs(struct kiln__agent_setup *setup, const struct kiln__spec *spec,
		      char options[KILN__AGENT_MAX_MOUNTS][TMPFS_OPTIONS])
{
	for (size_t i = 0; i < spec->tmpfs_count && i < KILN__AGENT_MAX_MOUNTS; i++) {
		const struct kiln__tmpfs *tmpfs = &spec->tmpfs[i];
		int len = snprintf(options[i], TMPFS_OPTIONS, "mode=%.4s", tmpfs->mode);

		if (tmpfs->size)
			snprintf(options[i] + len, TMPFS_OPTIONS - (size_t)len, ",size=%" PRIu64,
				 tmpfs->size);
		setup->mounts[setup->mount_count++] = (struct kiln__agent_mount){
			.fstype = "tmpfs",
			.target = tmpfs->path,
			.options = options[i],
			.flags = KILN__AGENT_MOUNT_NOSUID | KILN__AGENT_MOUNT_NODEV |
				 (tmpfs->exec ? 0 : KILN__AGENT_MOUNT_NOEXEC),
		};
	}
}

static void set_volumes(struct kiln__agent_setup *setup, const kiln_machine *machine,
			char serials[KILN__MAX_VOLUMES][VOLUME_SERIAL])
{
	const struct kiln__spec *spec = kiln__machine_spec(machine);

	for (size_t i = 0; i < spec->volume_count && i < KILN__MAX_VOLUMES &&
			   setup->mount_count < KILN__AGENT_MAX_MOUNTS;
	     i++) {
		const struct kiln__volume *volume = &spec->volumes[i];

		snprintf(serials[i], VOLUME_SERIAL, KILN__VOLUME_SERIAL "%zu", i);
		setup->mounts[setup->mount_count++] = (struct kiln__agent_mount){
			.source = kiln__machine_disk_serial(machine, serials[i]),
			.fstype = "ext4",
			.target = volume->path,
			/* What is not in use yet of its inode tables is zeros already. */
			.options = volume->readonly ? NULL : "noinit_itable",
			.flags = volume->readonly ? KILN__AGENT_MOUNT_RDONLY : 0,
			.grow = !volume->readonly,
		};
	}
}

static void add_share(struct kiln__agent_setup *setup, const char *tag, const char *target,
		      uint32_t flags)
{
	if (target && setup->mount_count < KILN__AGENT_MAX_MOUNTS)
		setup->mounts[setup->mount_count++] = (struct kiln__agent_mount){
			.source = tag,
			.fstype = "virtiofs",
			.target = target,
			.flags = flags,
		};
}

/* What is read-only the host sees to; said to the guest too, it knows why. */
static void set_shares(struct kiln__agent_setup *setup, const struct kiln__spec *spec,
		       char tags[][KILN__TAG_MAX])
{
	for (size_t i = 0; i < spec->share_count && i < KILN__AGENT_MAX_MOUNTS; i++)
		add_share(setup, kiln__spec_share_tag(spec, i, tags[i]), spec->shares[i].target,
			  spec->shares[i].readonly && !spec->shares[i].name
				  ? KILN__AGENT_MOUNT_RDONLY
				  : 0);
	if (spec->rosetta.enabled)
		add_share(setup, KILN__ROSETTA_TAG, spec->rosetta.target, KILN__AGENT_MOUNT_RDONLY);
}

int kiln__setup_send(struct kiln__agent *agent, const kiln_machine *machine,
		     const struct kiln__agent_hello *hello, kiln__agent_reply_fn reply, void *data,
		     kiln_error *err)
{
	const struct kiln__spec *spec = kiln__machine_spec(machine);
	struct kiln__agent_setup setup = {.root = {.kind = KILN__AGENT_ROOT_NONE}};
	char options[KILN__AGENT_MAX_MOUNTS][TMPFS_OPTIONS];
	char serials[KILN__MAX_VOLUMES][VOLUME_SERIAL];
	char tags[KILN__AGENT_MAX_MOUNTS][KILN__TAG_MAX];
	uint8_t entropy[64];
	int r;

	kiln__os_random(entropy, sizeof(entropy));
	setup.entropy = (struct kiln__bytes){entropy, sizeof(entropy)};
	setup.hostname = spec->hostname ? spec->hostname : kiln__machine_name(machine);
	setup.clock_ns = (uint64_t)kiln__os_realtime_ns();
	/* An agent under the root's own init finds all else done already. */
	if (hello->features & KILN__AGENT_FEATURE_SETUP) {
		setup.machine_id = spec->machine_id ? spec->machine_id : kiln_machine_id(machine);
		if (!spec->snapshot) /* else it is what it was */
			set_root(&setup.root, machine);
		setup.end_by_reset = kiln__machine_ends_by_reset(machine);
		set_networks(&setup, spec);
		if (!spec->snapshot) {
			set_tmpfs(&setup, spec, options);
			set_volumes(&setup, machine, serials);
			set_shares(&setup, spec, tags);
		}
		if (spec->process.stop_signal)
			setup.stop_signal = kiln__signal_number(spec->process.stop_signal);
		if (spec->init == KILN__INIT_ROOT && !spec->snapshot)
			setup.init = "/sbin/init";
	}
	r = kiln__agent_request(agent,
				&(struct kiln__agent_call){
					.type = KILN__AGENT_SETUP,
					.record = &kiln__agent_setup_record,
					.value = &setup,
					.result = &kiln__agent_setup_done_record,
					.reply = reply,
					.data = data,
				},
				err);
	kiln__wipe(entropy, sizeof(entropy));
	return r;
}

void kiln__setup_clock(struct kiln__agent *agent)
{
	const struct kiln__agent_setup setup = {.clock_ns = (uint64_t)kiln__os_realtime_ns()};

	kiln__agent_request(agent,
			    &(struct kiln__agent_call){
				    .type = KILN__AGENT_SETUP,
				    .record = &kiln__agent_setup_record,
				    .value = &setup,
			    },
			    NULL);
}
