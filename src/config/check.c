/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

/* ASCII only, whatever the locale: what a document means must not depend on it. */
static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_alnum(char c)
{
	return is_digit(c) || is_lower(c) || (c >= 'A' && c <= 'Z');
}

static bool is_printable(char c)
{
	return c >= ' ' && c <= '~';
}

static char to_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	c = to_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* --- paths, names ------------------------------------------------------------------ */

const char *kiln__check_host_path(const char *text)
{
	return text[0] == '/' ? NULL : "must be an absolute path on the host";
}

const char *kiln__check_nbd_url(const char *text)
{
	static const char *const schemes[] = {"nbd://", "nbds://", "nbd+unix://", "nbds+unix://"};
	bool printable = !kiln__check_printable(text) && !strchr(text, ' ');

	for (size_t i = 0; printable && i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (strncmp(text, schemes[i], strlen(schemes[i])) == 0 && text[strlen(schemes[i])])
			return NULL;
	return "must be an NBD server's URL: nbd://HOST[:PORT][/EXPORT], nbds:, nbd+unix: or "
	       "nbds+unix:";
}

const char *kiln__check_guest_path(const char *text)
{
	return text[0] == '/' ? NULL : "must be an absolute path in the guest";
}

const char *kiln__check_mode(const char *text)
{
	size_t len = strspn(text, "01234567");

	return text[len] == '\0' && (len == 3 || len == 4) ? NULL
							   : "must be three or four octal digits";
}

const char *kiln__check_hostname(const char *text)
{
	static const char must[] =
		"must be a host name: letters, digits and '-', in parts of 1 to 63 "
		"that neither begin nor end with '-', joined by '.'";
	size_t part = 0;

	for (const char *c = text;; c++) {
		if (*c == '.' || *c == '\0') {
			if (part == 0 || part > 63 || c[-1] == '-')
				return must;
			if (*c == '\0')
				return NULL;
			part = 0;
		} else if (is_alnum(*c) || (*c == '-' && part > 0)) {
			part++;
		} else {
			return must;
		}
	}
}

const char *kiln__check_machine_id(const char *text)
{
	static const char must[] = "must be 32 lower-case hexadecimal digits, not all of them 0";
	size_t len = strlen(text);

	if (len != 32 || strspn(text, "0123456789abcdef") != len || strspn(text, "0") == len)
		return must;
	return NULL;
}

const char *kiln__check_printable(const char *text)
{
	for (; *text; text++)
		if (!is_printable(*text))
			return "must be printable ASCII characters";
	return NULL;
}

const char *kiln__check_serial(const char *text)
{
	for (; *text; text++)
		if (!is_printable(*text) || *text == ' ' || *text == ',')
			return "must be printable ASCII characters, none of them a blank or comma";
	return NULL;
}

const char *kiln__check_word(const char *text)
{
	for (; *text; text++)
		if (!is_lower(*text) && !is_digit(*text) && *text != '-' && *text != '_')
			return "must be lower-case letters, digits, '-' and '_'";
	return NULL;
}

const char *kiln__check_json_object(const char *text)
{
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	bool good = json_is_object(json);

	json_decref(json);
	return good ? NULL : "must be a JSON object, as text";
}

/* The length of a user's or group's name or number, as useradd(8) and its kin allow them. */
static size_t user_part(const char *text)
{
	size_t len = 0;

	while (is_alnum(text[len]) || text[len] == '_' || text[len] == '.' ||
	       (text[len] == '-' && len > 0))
		len++;
	if (len > 0 && text[len] == '$')
		len++;
	return len;
}

const char *kiln__check_user(const char *text)
{
	static const char must[] = "must be USER or USER:GROUP, names or numbers";
	size_t len = user_part(text);

	if (len == 0)
		return must;
	if (text[len] == '\0')
		return NULL;
	if (text[len] != ':')
		return must;
	text += len + 1;
	len = user_part(text);
	return len > 0 && text[len] == '\0' ? NULL : must;
}

const char *kiln__check_env_name(const char *text)
{
	static const char must[] =
		"must have a name of 1 to 256 printable ASCII characters without "
		"space and '='";
	size_t len = strlen(text);

	if (len == 0 || len > 256)
		return must;
	for (; *text; text++)
		if (!is_printable(*text) || *text == ' ' || *text == '=')
			return must;
	return NULL;
}

const char *kiln__check_label_key(const char *text)
{
	static const char must[] =
		"must have a name of 1 to 128 letters, digits, '.', '_', '-' and "
		"'/' that begins and ends with a letter or digit";
	size_t len = strlen(text);

	if (len == 0 || len > 128 || !is_alnum(text[0]) || !is_alnum(text[len - 1]))
		return must;
	for (; *text; text++)
		if (!is_alnum(*text) && !strchr("._-/", *text))
			return must;
	return NULL;
}

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool kiln__is_utf8(const char *text)
{
	const unsigned char *c = (const unsigned char *)text;
	unsigned char low, high;
	int more;

	while (*c) {
		low = 0x80;
		high = 0xbf;
		if (*c < 0x80) {
			c++;
			continue;
		}
		if (*c >= 0xc2 && *c <= 0xdf)
			more = 1;
		else if (*c >= 0xe0 && *c <= 0xef)
			more = 2;
		else if (*c >= 0xf0 && *c <= 0xf4)
			more = 3;
		else
			return false;
		if (*c == 0xe0)
			low = 0xa0;
		else if (*c == 0xed)
			high = 0x9f;
		else if (*c == 0xf0)
			low = 0x90;
		else if (*c == 0xf4)
			high = 0x8f;
		for (c++; more > 0; more--, c++) {
			if (*c < low || *c > high)
				return false;
			low = 0x80;
			high = 0xbf;
		}
	}
	return true;
}

/* --- addresses ------------------------------------------------------------------------ */

bool kiln__parse_mac(const char *text, uint8_t ret[6])
{
	uint8_t mac[6];
	unsigned any = 0;

	for (size_t i = 0; i < 6; i++, text += 3) {
		int high = hex_digit(text[0]);
		int low = high < 0 ? -1 : hex_digit(text[1]);

		if (low < 0 || text[2] != (i < 5 ? ':' : '\0'))
			return false;
		mac[i] = (uint8_t)(high * 16 + low);
		any |= mac[i];
	}
	/* IEEE 802: the lowest bit of the first byte makes it a group's address. */
	if (any == 0 || mac[0] & 1)
		return false;
	memcpy(ret, mac, sizeof(mac));
	return true;
}

bool kiln__canonical_ip(const char *text, char out[KILN__IP_MAX])
{
	unsigned char address[16];
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;

	/* An interface's name after '%' would be dropped silently. */
	if (strchr(text, '%') || uv_inet_pton(family, text, address) != 0)
		return false;
	return uv_inet_ntop(family, address, out, KILN__IP_MAX) == 0;
}

/* --- numbers ---------------------------------------------------------------------------- */

/* Digits at *text, which moves behind them. False if there are none or too many. */
static bool take_digits(const char **text, int64_t *ret)
{
	int64_t value = 0;

	if (!is_digit(**text))
		return false;
	for (; is_digit(**text); (*text)++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, **text - '0', &value))
			return false;
	*ret = value;
	return true;
}

bool kiln__parse_integer(const char *text, int64_t *ret)
{
	bool negative = *text == '-';
	int64_t value;

	text += negative;
	if (!take_digits(&text, &value) || *text)
		return false;
	*ret = negative ? -value : value;
	return true;
}

static bool equal_nocase(const char *a, const char *b)
{
	for (; *a && to_lower(*a) == to_lower(*b); a++)
		b++;
	return to_lower(*a) == to_lower(*b);
}

bool kiln__parse_size(const char *text, int64_t *ret_bytes)
{
	static const char units[] = "bkmgt";
	const char *unit;
	int64_t value;

	if (!take_digits(&text, &value))
		return false;
	if (*text) {
		unit = strchr(units, to_lower(*text));
		if (!unit)
			return false;
		text++;
		if (*text &&
		    (unit == units || (!equal_nocase(text, "b") && !equal_nocase(text, "ib"))))
			return false;
		if (__builtin_mul_overflow(value, INT64_C(1) << (10 * (unit - units)), &value))
			return false;
	}
	*ret_bytes = value;
	return true;
}

static const struct {
	const char *name;
	int64_t ms;
} time_units[] = {
	{"d", 24 * 3600 * 1000}, {"h", 3600 * 1000}, {"m", 60 * 1000}, {"s", 1000}, {"ms", 1},
};
#define TIME_UNITS (sizeof(time_units) / sizeof(time_units[0]))

bool kiln__parse_duration(const char *text, int64_t *ret_ms)
{
	int64_t value, sum = 0;
	size_t unit = 0;
	size_t len;

	if (!take_digits(&text, &value))
		return false;
	if (!*text) {
		*ret_ms = value;
		return true;
	}
	/* Units from the largest to the smallest, each at most once. */
	for (;;) {
		for (len = 0; is_lower(text[len]); len++)
			;
		while (unit < TIME_UNITS && (strlen(time_units[unit].name) != len ||
					     strncmp(text, time_units[unit].name, len) != 0))
			unit++;
		if (unit == TIME_UNITS ||
		    __builtin_mul_overflow(value, time_units[unit].ms, &value) ||
		    __builtin_add_overflow(sum, value, &sum))
			return false;
		unit++;
		text += len;
		if (!*text)
			break;
		if (!take_digits(&text, &value))
			return false;
	}
	*ret_ms = sum;
	return true;
}

const char *kiln__format_size(char *out, size_t size, int64_t bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	size_t unit = 0;

	while (unit < 4 && bytes != 0 && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	snprintf(out, size, "%lld %s", (long long)bytes,
		 unit == 0 && bytes == 1 ? "byte" : units[unit]);
	return out;
}

const char *kiln__format_duration(char *out, size_t size, int64_t ms)
{
	size_t unit = 0;

	while (time_units[unit].ms > 1 && (ms == 0 || ms % time_units[unit].ms != 0))
		unit++;
	snprintf(out, size, "%lld%s", (long long)(ms / time_units[unit].ms), time_units[unit].name);
	return out;
}
