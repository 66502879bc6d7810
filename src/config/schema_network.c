/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of what a machine is reached by: networks, ports, vsock. */
#include "rows.h"

static const struct kiln__key network_keys[] = {
	{
		.name = "kind",
		.type = KILN__TYPE_ENUM,
		/* enum kiln__network_kind */
		.choices = CHOICES("user", "tap", "bridged", "socket"),
		.def = "user",
		.field = FIELD(struct kiln__network, kind),
		.doc = "How it reaches the world: by address translation that needs no rights on "
		       "the host (user), by which the guest also reaches the host's loopback, as "
		       "10.0.2.2; by a TAP interface of the host's, which whoever administers "
		       "that has made (tap); as a machine of its own on the network of a "
		       "physical interface of a Mac (bridged); or by a switch that takes frames "
		       "as datagrams (socket; with the backend vz).",
	},
	{
		.name = "interface",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 15, /* IFNAMSIZ */
		.check = kiln__check_interface,
		.pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$",
		.field = FIELD(struct kiln__network, interface),
		.doc = "The name of the TAP interface, or of the one that is bridged, on the host.",
	},
	{
		.name = "socket",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 103, /* sockaddr_un.sun_path of macOS */
		.check = kiln__check_host_path,
		.pattern = "^/",
		.field = FIELD(struct kiln__network, socket),
		.doc = "For socket: absolute path of the switch's Unix datagram socket.",
	},
	{
		.name = "mac",
		.type = KILN__TYPE_MAC,
		.min = 17,
		.max = 17,
		.pattern = "^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$",
		.def_doc = "made from the machine's id",
		.field = FIELD(struct kiln__network, mac),
		.doc = "Unicast MAC address of the guest's interface.",
	},
	END,
};

static const struct kiln__key port_keys[] = {
	{
		.name = "host_ip",
		.type = KILN__TYPE_IP,
		.min = 2,
		.max = KILN__IP_MAX - 1,
		.def = "127.0.0.1",
		.field = FIELD(struct kiln__port, host_ip),
		.doc = "Address of the host to listen on; 0.0.0.0 or :: for all.",
	},
	{
		.name = "host_port",
		.type = KILN__TYPE_INTEGER,
		.max = 65535,
		.def = "0",
		.field = FIELD(struct kiln__port, host_port),
		.doc = "Port of the host; 0: any that is free.",
	},
	{
		.name = "guest_port",
		.type = KILN__TYPE_INTEGER,
		.min = 1,
		.max = 65535,
		.required = true,
		.field = FIELD(struct kiln__port, guest_port),
		.doc = "Port in the guest.",
	},
	{
		.name = "protocol",
		.type = KILN__TYPE_ENUM,
		.choices = CHOICES("tcp", "udp"), /* bool udp */
		.def = "tcp",
		.field = FIELD(struct kiln__port, udp),
		.doc = "Protocol.",
	},
	END,
};

const struct kiln__key kiln__vsock_keys[] = {
	{
		.name = "enabled",
		.type = KILN__TYPE_BOOL,
		.def = "true",
		.field = FIELD(struct kiln__spec, vsock),
		.doc = "Whether there is one; without it there is no agent, no process and no "
		       "exec.",
	},
	{
		/* virtio 1.2, 5.10.4: 0, 1, 2, 0xffffffff and what is longer are reserved. */
		.name = "cid",
		.type = KILN__TYPE_INTEGER,
		.min = 3,
		.max = 0xfffffffe,
		.def_doc = "one that is free",
		.field = FIELD(struct kiln__spec, cid),
		.doc = "Context id of the guest.",
	},
	END,
};

const struct kiln__key kiln__network_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = network_keys,
	.doc = "One network.",
};

const struct kiln__key kiln__port_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = port_keys,
	.shorthand = KILN__SHORT_PORT,
	.doc = "One port.",
};
