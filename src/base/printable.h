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

#endif
