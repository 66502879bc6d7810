/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kiln-image says: on success one JSON object on standard output, on failure
 * one on standard error ({"code", "message", "hint"}), which helper.c of
 * libkiln makes a kiln_error again.
 */
#ifndef KILN_IMAGE_REPORT_H
#define KILN_IMAGE_REPORT_H

#include <kiln/error.h>

#include <jansson.h>

/* Prints @err as the program's failure and returns its exit code, 1. */
int report_failure(const kiln_error *err);

/* Prints @result (a new reference, freed here) and returns 0, or fails with a code. */
int report_result(json_t *result, kiln_error *err);

#endif
