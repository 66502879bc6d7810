/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the preflight share. */
#ifndef KILN_HV_KVM_PREFLIGHT_INTERNAL_H
#define KILN_HV_KVM_PREFLIGHT_INTERNAL_H

#include "hv_cleanup.h"
#include "preflight.h"

/* A preflight under way. */
struct kiln__preflight {
	struct kiln__hv_report *report;
	const char *root; /* "" for this host */
	const char *device;
	unsigned deadline_ms;
	bool final; /* the same would be found again: worth a record */
	kiln_hv *hv;
	kiln_hv_vm *vm;
};

/* Adds a check. All texts are cut to fit and stripped of control characters. @hint may be NULL. */
void kiln__preflight_add(struct kiln__preflight *run, const char *name,
			 enum kiln__hv_check_state state, const char *hint, const char *fmt, ...)
	KILN_PRINTF(5, 6);

/*
 * Adds a check that a call decided: OK if @code is not negative, else FAILED with
 * the error's message. Returns whether it was OK. For failures that may pass (no
 * memory, too many files) it also marks the run as not final.
 */
bool kiln__preflight_call(struct kiln__preflight *run, const char *name, int code,
			  const kiln_error *error, const char *hint);

/* The same for guest code, with a hint that tells whose fault it is. */
bool kiln__preflight_guest_call(struct kiln__preflight *run, const char *name, int code,
				const kiln_error *error);

/* The architecture's payload: adds a check for each step; run->vm is fresh. */
void kiln__preflight_guest(struct kiln__preflight *run);

/* The names of these checks, in order, for what was not reached. NULL-terminated. */
extern const char *const kiln__preflight_guest_checks[];

/* Adds a hint to the error of an open that failed: the reason behind it, and what to do. */
void kiln__preflight_explain_open(const struct kiln__preflight *run, kiln_error *error);

/* This processor's name, for the record's key, without a system call where there is a way. */
void kiln__preflight_cpu_model(char *text, size_t size);

/* Makes the preflight; @ret_final tells whether its outcome deserves a record. */
void kiln__preflight_run(struct kiln__hv_report *ret,
			 const struct kiln__hv_preflight_options *options, bool *ret_final);

#endif
