/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What single values must look like, and how sizes and durations are written.
 *
 * A check returns NULL for a good text, else what the text must be, as the second half
 * of a sentence ("must be an absolute path"). Static strings, no state, any thread.
 */
#ifndef KILN_CONFIG_CHECK_H
#define KILN_CONFIG_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

const char *kiln__check_host_path(const char *text);
const char *kiln__check_guest_path(const char *text);
const char *kiln__check_mode(const char *text);     /* of a directory: three or four octal digits */
const char *kiln__check_hostname(const char *text); /* RFC 1123, at most Linux's 64 bytes */
const char *kiln__check_machine_id(const char *text); /* as machine-id(5) has it */
const char *kiln__check_printable(const char *text);  /* printable ASCII */
const char *kiln__check_serial(const char *text);   /* printable ASCII without blanks and commas */
const char *kiln__check_word(const char *text);     /* lower-case letters, digits, '-' and '_' */
const char *kiln__check_user(const char *text);     /* user[:group], names or numbers */
const char *kiln__check_signal(const char *text);   /* a name or number of Linux's */
const char *kiln__check_env_name(const char *text); /* printable ASCII without space and '=' */
const char *kiln__check_label_key(const char *text);
const char *kiln__check_json_object(const char *text);
const char *kiln__check_nbd_url(const char *text); /* by its scheme; the rest is its server's */
bool kiln__is_utf8(const char *text);

/*
 * check_seed.c: what becomes YAML, a shell's text or a line of /etc/fstab in the guest. Each is
 * the narrowest form that the field's own programs have.
 */
const char *kiln__check_volume(const char *text);      /* docker's names of volumes */
const char *kiln__check_mount_point(const char *text); /* absolute, plain, not the root */
const char *kiln__check_interface(const char *text);   /* Linux's dev_valid_name(), and plain */
const char *kiln__check_cidr(const char *text);        /* ADDRESS/LENGTH */
const char *kiln__check_ip(const char *text);
const char *kiln__check_domain(const char *text);
const char *kiln__check_login(const char *text);   /* useradd(8)'s names */
const char *kiln__check_ssh_key(const char *text); /* a line of authorized_keys without options */
const char *kiln__check_package(const char *text); /* NAME, NAME=VERSION */
const char *kiln__check_shell_name(const char *text);   /* POSIX: of a variable */
const char *kiln__check_mount_source(const char *text); /* a path, LABEL=, UUID=, or a tag */
const char *kiln__check_mount_options(const char *text);
const char *kiln__check_command(const char *text); /* text that YAML holds: no control characters */

/* Lower-case, colons: 52:54:00:12:34:56. False if @text is not a unicast address or all zero. */
bool kiln__parse_mac(const char *text, uint8_t ret[6]);

/* The shortest form of an IPv4 or IPv6 address in @out; false if @text is none. */
#define KILN__IP_MAX 46
bool kiln__canonical_ip(const char *text, char out[KILN__IP_MAX]);

/*
 * "4096", "64K", "512M", "1GiB": powers of 1024, upper or lower case, suffixes K, KB
 * and KiB meaning the same. False if malformed or beyond INT64_MAX.
 */
bool kiln__parse_size(const char *text, int64_t *ret_bytes);

/* "1500" (milliseconds), "500ms", "10s", "1m30s", "2h", "1d". False as above. */
bool kiln__parse_duration(const char *text, int64_t *ret_ms);

/* The same in words for messages: "16 MiB", "1500 bytes"; "10s", "1500ms". Returns @out. */
const char *kiln__format_size(char *out, size_t size, int64_t bytes);
const char *kiln__format_duration(char *out, size_t size, int64_t ms);

/* A decimal integer without anything around it. False if malformed or out of int64_t. */
bool kiln__parse_integer(const char *text, int64_t *ret);

#endif
