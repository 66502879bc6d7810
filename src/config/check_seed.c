/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What single values of the seed and of volumes must look like.
 *
 * They end up as YAML, in a shell's words, in /etc/fstab and in a network's configuration, inside
 * a guest, as root's. Quoting is the business of whoever writes those (seed.c); this is the
 * first of two bars: what no host name, address or key can be is not let in at all.
 */
#include "check.h"

#include <string.h>

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static bool is_alnum(char c)
{
	return c && strchr(ALNUM, c);
}

/* One or more of @set. */
static bool only(const char *text, const char *set)
{
	return *text && text[strspn(text, set)] == '\0';
}

const char *kiln__check_volume(const char *text)
{
	if (!is_alnum(text[0]) || !only(text, ALNUM "_.-"))
		return "must be a volume's name: letters, digits, '_', '.' and '-', beginning "
		       "with a letter or digit";
	return NULL;
}

const char *kiln__check_mount_point(const char *text)
{
	static const char must[] = "must be an absolute path in the guest of letters, digits and "
				   "._+@-, other than the root and without \"..\"";

	if (text[0] != '/' || !only(text, ALNUM "/._+@-") || text[strspn(text, "/")] == '\0')
		return must;
	for (const char *at = text; (at = strstr(at, "..")); at += 2)
		if (at[-1] == '/' && (at[2] == '/' || at[2] == '\0'))
			return must;
	return NULL;
}

/* Linux 6.1, net/core/dev.c: IFNAMSIZ is 16; no '/', ':' or blank; not "." or "..". */
const char *kiln__check_interface(const char *text)
{
	if (strlen(text) > 15 || !is_alnum(text[0]) || !only(text, ALNUM "_.-"))
		return "must be an interface's name: at most 15 letters, digits, '_', '.' and '-', "
		       "beginning with a letter or digit";
	return NULL;
}

const char *kiln__check_ip(const char *text)
{
	char room[KILN__IP_MAX];

	return kiln__canonical_ip(text, room) ? NULL : "must be an IPv4 or IPv6 address";
}

const char *kiln__check_cidr(const char *text)
{
	static const char must[] = "must be an IP address and the length of its network's prefix, "
				   "as 192.0.2.7/24";
	const char *slash = strchr(text, '/');
	char address[KILN__IP_MAX];
	char room[KILN__IP_MAX];
	int64_t length;

	if (!slash || slash == text || (size_t)(slash - text) >= sizeof(address))
		return must;
	memcpy(address, text, (size_t)(slash - text));
	address[slash - text] = '\0';
	if (!kiln__canonical_ip(address, room) || !only(slash + 1, "0123456789") ||
	    strlen(slash + 1) > 3 || !kiln__parse_integer(slash + 1, &length))
		return must;
	return length >= 1 && length <= (strchr(address, ':') ? 128 : 32) ? NULL : must;
}

const char *kiln__check_domain(const char *text)
{
	return kiln__check_hostname(text) ? "must be a domain's name, such as example.com" : NULL;
}

/* useradd(8) of Debian and shadow: a lower-case letter or '_' first, 32 characters. */
const char *kiln__check_login(const char *text)
{
	if (strlen(text) > 32 || !only(text, "abcdefghijklmnopqrstuvwxyz0123456789_-") ||
	    strchr("0123456789-", text[0]))
		return "must be a user's name: at most 32 lower-case letters, digits, '_' and '-', "
		       "beginning with a letter or '_'";
	return NULL;
}

static bool is_key_type(const char *text, size_t len)
{
	static const char *const types[] = {
		"ssh-ed25519",
		"ssh-rsa",
		"ecdsa-sha2-nistp256",
		"ecdsa-sha2-nistp384",
		"ecdsa-sha2-nistp521",
		"sk-ssh-ed25519@openssh.com",
		"sk-ecdsa-sha2-nistp256@openssh.com",
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strlen(types[i]) == len && memcmp(types[i], text, len) == 0)
			return true;
	return false;
}

/* sshd(8), AUTHORIZED_KEYS FILE FORMAT: type, key in base64 (RFC 4648), comment. No options. */
const char *kiln__check_ssh_key(const char *text)
{
	static const char must[] = "must be a public SSH key: its type, the key and perhaps a "
				   "comment, on one line";
	size_t type = strcspn(text, " ");
	const char *key = text + type + 1;
	size_t base64;

	if (!text[type] || !is_key_type(text, type))
		return must;
	base64 = strspn(key, ALNUM "+/");
	base64 += strspn(key + base64, "=");
	if (base64 < 40 || base64 % 4 != 0 || (key[base64] && key[base64] != ' '))
		return must;
	return kiln__check_printable(key + base64) ? must : NULL;
}

const char *kiln__check_package(const char *text)
{
	if (!is_alnum(text[0]) || !only(text, ALNUM "+.:=~_/-"))
		return "must be a package's name, or NAME=VERSION";
	return NULL;
}

/* POSIX.1-2017, XBD 3.235: a name. */
const char *kiln__check_shell_name(const char *text)
{
	if (strlen(text) > 256 || !only(text, ALNUM "_") || strchr("0123456789", text[0]))
		return "must have a name of at most 256 letters, digits and '_' that does not "
		       "begin with a digit";
	return NULL;
}

const char *kiln__check_mount_source(const char *text)
{
	static const char *const before[] = {"LABEL=", "UUID=", "PARTLABEL=", "PARTUUID="};
	const char *name = text;

	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++)
		if (strncmp(text, before[i], strlen(before[i])) == 0)
			name = text + strlen(before[i]);
	if (name == text && name[0] == '/' && only(name, ALNUM "/:_.+-") && !strstr(name, "/../"))
		return NULL;
	if (!is_alnum(name[0]) || !only(name, ALNUM "_.-"))
		return "must be a device's path, LABEL= or UUID= with a plain name, or a plain tag";
	return NULL;
}

const char *kiln__check_mount_options(const char *text)
{
	if (!is_alnum(text[0]) || !only(text, ALNUM "_.,=:/@%+-"))
		return "must be mount options, joined by commas";
	return NULL;
}

/*
 * YAML 1.2, 5.1: outside of these characters there is no valid stream, and Python's reader refuses
 * the whole of it; 5.4 of YAML 1.1: next line and line and paragraph separators break lines, which
 * would be folded.
 */
const char *kiln__check_command(const char *text)
{
	static const char must[] = "must be text without control characters but tabs and newlines";

	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if ((*c < ' ' && *c != '\t' && *c != '\n') || *c == 0x7f)
			return must;
		if (*c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f) /* C1 */
			return must;
		if (*c == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9)) /* U+2028, 2029 */
			return must;
		if (*c == 0xef && c[1] == 0xbf && c[2] >= 0xbe) /* U+FFFE, FFFF */
			return must;
	}
	return NULL;
}
