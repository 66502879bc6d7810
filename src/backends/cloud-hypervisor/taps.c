/* SPDX-License-Identifier: Apache-2.0 */
#include "taps.h"

#include "err.h"
#include "net_backend.h"

#define ROOT "/api/v1/"

int kiln__cloud_hypervisor_open_taps(struct kiln__cloud_hypervisor_taps *ret,
				     const struct kiln__spec *spec, kiln_error *err)
{
	int r = 0;

	if (!spec->cloud_hypervisor.open_taps)
		return 0;
	for (size_t i = 0; r == 0 && i < spec->network_count; i++) {
		r = kiln__net_tap_attach(&ret->fds[ret->count], spec->networks[i].interface, err);
		if (r == 0)
			ret->count++;
	}
	return r;
}

void kiln__cloud_hypervisor_close_taps(struct kiln__cloud_hypervisor_taps *taps)
{
	while (taps->count)
		kiln__os_close(taps->fds[--taps->count]);
}

/* All of a network but the name by which it would be opened. */
static void add_net(struct kiln__api_steps *steps, const json_t *net, kiln_fd fd)
{
	json_t *body = json_deep_copy(net);

	json_object_del(body, "tap");
	if (!body)
		steps->failed = true;
	kiln__api_add(steps, "PUT", body, ROOT "vm.add-net");
	if (!steps->failed)
		steps->items[steps->count - 1].fd = fd;
}

void kiln__cloud_hypervisor_create(const struct kiln__cloud_hypervisor_taps *taps,
				   const json_t *config, struct kiln__api_steps *steps)
{
	json_t *body = json_copy((json_t *)(uintptr_t)config);
	const json_t *nets = json_object_get(config, "net");

	if (!body)
		steps->failed = true;
	if (taps->count)
		json_object_del(body, "net");
	kiln__api_add(steps, "PUT", body, ROOT "vm.create");
	for (size_t i = 0; i < taps->count; i++)
		add_net(steps, json_array_get(nets, i), taps->fds[i]);
}
