/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of "seed": what cloud-init in the guest finds. See docs/design/seed.md. */
#include "rows.h"

#define TEXT_ELEMENT(name_, max_, check_, pattern_, doc_)                                          \
	static const struct kiln__key name_ = {                                                    \
		.type = KILN__TYPE_STRING,                                                         \
		.min = 1,                                                                          \
		.max = max_,                                                                       \
		.check = check_,                                                                   \
		.pattern = pattern_,                                                               \
		.doc = doc_,                                                                       \
	}

#define SSH_KEY_PATTERN                                                                            \
	"^(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\\.com|"          \
	"sk-ecdsa-sha2-nistp256@openssh\\.com) [A-Za-z0-9+/]{38,}={0,2}( [ -~]*)?$"
#define DOMAIN_PATTERN                                                                             \
	"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"                                             \
	"(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"

TEXT_ELEMENT(ssh_key_element, 16384, kiln__check_ssh_key, SSH_KEY_PATTERN,
	     "One public key: a line of authorized_keys without options.");
TEXT_ELEMENT(group_element, 32, kiln__check_login, "^[a-z_][a-z0-9_-]{0,31}$", "One group.");
TEXT_ELEMENT(package_element, 256, kiln__check_package, "^[A-Za-z0-9][A-Za-z0-9+.:=~_/-]*$",
	     "One package, or NAME=VERSION.");
TEXT_ELEMENT(command_element, KILN__MAX_TEXT, kiln__check_command, NULL,
	     "One shell's command line.");
TEXT_ELEMENT(cidr_element, 64, kiln__check_cidr, "^[0-9A-Fa-f.:]+/[0-9]{1,3}$",
	     "One address and the length of its network's prefix.");
TEXT_ELEMENT(ip_element, KILN__IP_MAX - 1, kiln__check_ip, "^[0-9A-Fa-f.:]+$", "One address.");
TEXT_ELEMENT(domain_element, 64, kiln__check_domain, DOMAIN_PATTERN, "One domain.");

static const struct kiln__key user_keys[] = {
	{
		.name = "name",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 32,
		.check = kiln__check_login,
		.pattern = "^[a-z_][a-z0-9_-]{0,31}$",
		.required = true,
		.field = FIELD(struct kiln__seed_user, name),
		.doc = "The user's name.",
	},
	{
		.name = "ssh_keys",
		.type = KILN__TYPE_LIST,
		.max = 64,
		.element = &ssh_key_element,
		.field = FIELD(struct kiln__seed_user, ssh_keys),
		.doc = "Who may log in as that user.",
	},
	{
		.name = "groups",
		.type = KILN__TYPE_LIST,
		.max = 64,
		.element = &group_element,
		.field = FIELD(struct kiln__seed_user, groups),
		.doc = "Groups besides the user's own.",
	},
	{
		.name = "shell",
		.type = KILN__TYPE_STRING,
		.min = 2,
		.max = 256,
		.check = kiln__check_mount_point,
		.pattern = "^/",
		.def_doc = "the guest's",
		.field = FIELD(struct kiln__seed_user, shell),
		.doc = "The login shell.",
	},
	{
		.name = "sudo",
		IS_FLAG(struct kiln__seed_user, sudo),
		.doc = "Whether the user becomes root by sudo, without a password.",
	},
	END,
};

static const struct kiln__key user_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = user_keys,
	.doc = "One user.",
};

static const struct kiln__key mount_keys[] = {
	{
		.name = "source",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 256,
		.check = kiln__check_mount_source,
		.pattern = "^[A-Za-z0-9/][A-Za-z0-9/:_.+=-]*$",
		.required = true,
		.field = FIELD(struct kiln__seed_mount, source),
		.doc = "A device's path, LABEL=NAME, UUID=NUMBER, or a share's tag.",
	},
	{
		.name = "path",
		IS_MOUNT_POINT,
		.required = true,
		.field = FIELD(struct kiln__seed_mount, path),
		.doc = "Where in the guest.",
	},
	{
		.name = "fstype",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 32,
		.check = kiln__check_word,
		.pattern = "^[a-z0-9_-]+$",
		.def = "auto",
		.field = FIELD(struct kiln__seed_mount, fstype),
		.doc = "The file system.",
	},
	{
		.name = "options",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 256,
		.check = kiln__check_mount_options,
		.pattern = "^[A-Za-z0-9][A-Za-z0-9_.,=:/@%+-]*$",
		.def = "defaults,nofail",
		.field = FIELD(struct kiln__seed_mount, options),
		.doc = "Mount options.",
	},
	END,
};

static const struct kiln__key mount_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = mount_keys,
	.doc = "One mount.",
};

static const struct kiln__key interface_keys[] = {
	{
		.name = "name",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 15,
		.check = kiln__check_interface,
		.pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$",
		.def_doc = "the guest's",
		.field = FIELD(struct kiln__seed_interface, name),
		.doc = "What the interface is called in the guest.",
	},
	{
		.name = "addresses",
		.type = KILN__TYPE_LIST,
		.max = 16,
		.element = &cidr_element,
		.field = FIELD(struct kiln__seed_interface, addresses),
		.doc = "Its addresses; without any it asks by DHCP.",
	},
	{
		.name = "gateways",
		.type = KILN__TYPE_LIST,
		.max = 4,
		.element = &ip_element,
		.field = FIELD(struct kiln__seed_interface, gateways),
		.doc = "Where what is for other networks is sent.",
	},
	{
		.name = "dns",
		.type = KILN__TYPE_LIST,
		.max = 8,
		.element = &ip_element,
		.field = FIELD(struct kiln__seed_interface, dns),
		.doc = "Name servers.",
	},
	{
		.name = "search",
		.type = KILN__TYPE_LIST,
		.max = 8,
		.element = &domain_element,
		.field = FIELD(struct kiln__seed_interface, search),
		.doc = "Domains in which names are looked for.",
	},
	END,
};

static const struct kiln__key interface_element = {
	.type = KILN__TYPE_OBJECT,
	.keys = interface_keys,
	.doc = "One interface.",
};

#define FILE_KEY(key, text)                                                                        \
	{                                                                                          \
		.name = #key, .type = KILN__TYPE_OBJECT, .keys = kiln__source_keys,                \
		.shorthand = KILN__SHORT_PATH, .field = FIELD(struct kiln__seed, key),             \
		.doc = text,                                                                       \
	}

const struct kiln__key kiln__seed_keys[] = {
	{
		.name = "use",
		.type = KILN__TYPE_ENUM,
		.choices = CHOICES("auto", "always", "never"), /* enum kiln__seed_use */
		.def = "auto",
		.field = FIELD(struct kiln__seed, use),
		.doc = "Whether the machine gets it: where firmware boots it or another key of "
		       "seed is set (auto), always, or never.",
	},
	{
		.name = "agent",
		.type = KILN__TYPE_BOOL,
		.def = "true",
		.field = FIELD(struct kiln__seed, agent),
		.doc = "Whether it installs kiln's agent in a guest that firmware boots; without "
		       "it there is no exec there.",
	},
	FILE_KEY(user_data, "A file that is cloud-init's user-data, in place of all that users, "
			    "ssh_keys, packages, commands, env and mounts would make."),
	FILE_KEY(meta_data, "A file that is the meta-data."),
	FILE_KEY(network_config, "A file that is the network configuration."),
	{
		.name = "users",
		.type = KILN__TYPE_LIST,
		.max = 64,
		.element = &user_element,
		.field = FIELD(struct kiln__seed, users),
		.count = FIELD(struct kiln__seed, user_count),
		.stride = sizeof(struct kiln__seed_user),
		.doc = "Users besides the image's own. None has a password.",
	},
	{
		.name = "ssh_keys",
		.type = KILN__TYPE_LIST,
		.max = 64,
		.element = &ssh_key_element,
		.field = FIELD(struct kiln__seed, ssh_keys),
		.doc = "Who may log in as the image's own user.",
	},
	{
		.name = "packages",
		.type = KILN__TYPE_LIST,
		.max = 256,
		.element = &package_element,
		.field = FIELD(struct kiln__seed, packages),
		.doc = "Packages to install, by the guest's own means.",
	},
	{
		.name = "commands",
		.type = KILN__TYPE_LIST,
		.max = 256,
		.element = &command_element,
		.field = FIELD(struct kiln__seed, commands),
		.doc = "Command lines that a shell of root's runs at the end of the first boot.",
	},
	{
		.name = "env",
		.type = KILN__TYPE_MAP,
		.max = 256,
		.check_name = kiln__check_shell_name,
		.name_pattern = "^[A-Za-z_][A-Za-z0-9_]{0,255}$",
		.doc = "Environment of login shells, and of the commands.",
	},
	{
		.name = "mounts",
		.type = KILN__TYPE_LIST,
		.max = 32,
		.element = &mount_element,
		.field = FIELD(struct kiln__seed, mounts),
		.count = FIELD(struct kiln__seed, mount_count),
		.stride = sizeof(struct kiln__seed_mount),
		.doc = "Lines for the guest's /etc/fstab.",
	},
	{
		.name = "interfaces",
		.type = KILN__TYPE_LIST,
		.max = 8,
		.element = &interface_element,
		.field = FIELD(struct kiln__seed, interfaces),
		.count = FIELD(struct kiln__seed, interface_count),
		.stride = sizeof(struct kiln__seed_interface),
		.doc = "How the interfaces are set up, in the order of networks; those not named "
		       "ask by DHCP.",
	},
	END,
};
