/* SPDX-License-Identifier: Apache-2.0 */
/* Text of others (a guest, an image, a VMM, a peer) made fit for a terminal and for JSON. */
#ifndef KILN_BASE_PRINTABLE_H
#define KILN_BASE_PRINTABLE_H

/*
 * Replaces by '?', in place, each byte of what a terminal could take for a command: the
 * control characters U+0000 to U+001F, DEL, and U+0080 to U+009F (of which U+009B begins an escape
 * sequence); and whatever is not UTF-8. Returns @text.
 */
char *kiln__printable(char *text);

/*
 * A document of JSON with the same escaped within its strings, the only place where it can be: DEL
 * and U+0080 to U+009F, which writers of JSON leave as they are (RFC 8259, section 7, has them do
 * so for U+0000 to U+001F alone). It means what it meant. malloc'ed; NULL when out of memory.
 */
char *kiln__printable_json(const char *json);

#endif
