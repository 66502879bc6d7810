/* SPDX-License-Identifier: Apache-2.0 */
/* Files as this program reads and writes them: once from the start, digested on the way. */
#ifndef KILN_IMAGE_INPUT_H
#define KILN_IMAGE_INPUT_H

#include <kiln/error.h>

#include "digest.h"
#include "fd.h"

#include <archive.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct input {
	kiln_fd fd;
	const char *name; /* what messages call it */
	struct kiln__digest digest;
	uint8_t *buffer;
	int os_errno; /* of a failed read */
};

void input_init(struct input *input, kiln_fd fd, const char *name);
void input_done(struct input *input);

/* Opens @archive, whose formats and filters are chosen already, on @input. */
int input_open_archive(struct input *input, struct archive *archive, kiln_error *err);

/* Reads what is left and gives the digest of all bytes there were. */
int input_finish(struct input *input, char ret_hex[KILN__DIGEST_HEX], kiln_error *err);

/*
 * The whole input in memory (malloc'ed); KILN_EOVERFLOW beyond @max bytes. Then input_finish()
 * has the digest.
 */
int input_read_all(struct input *input, size_t max, uint8_t **ret, size_t *ret_len,
		   kiln_error *err);

/*
 * Adds to @archive every filter that works in this process. (libarchive's "all"
 * would also run programs.)
 */
void input_allow_filters(struct archive *archive);

/*
 * Unpacks a compressed block that lies in memory, whatever libarchive's filters
 * recognise, to at most @max bytes (malloc'ed). With @tolerant, an error after the first
 * bytes ends the data instead: for payloads with something else behind them.
 */
int input_unpack(const char *name, const void *bytes, size_t len, size_t max, bool tolerant,
		 uint8_t **ret, size_t *ret_len, kiln_error *err);

/* Writes all of it. (os.h's function tries send() first, which the sandbox does not allow.) */
int output_write(kiln_fd fd, const void *bytes, size_t len, kiln_error *err);

#endif
