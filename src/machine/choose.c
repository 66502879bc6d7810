/* SPDX-License-Identifier: Apache-2.0 */
/* Which backend runs a configuration: by name, or the first that can ("auto"). */
#include "choose.h"

#include "backend.h"
#include "buf.h"
#include "err.h"

#include <string.h>

static int no_such_backend(const char *name, kiln_error *err)
{
	kiln__autobuf names = KILN__BUF_INIT;

	for (size_t i = 0; kiln__backends[i]; i++)
		kiln__buf_addf(&names, "%s%s", i ? ", " : "", kiln__backends[i]->name);
	kiln__fail(err, KILN_EINVAL, "backend: there is no '%s'", name);
	kiln__hint(err, "this kiln has: auto, %s", names.len ? names.data : "none");
	return KILN_EINVAL;
}

int kiln__backend_find(const char *name, const struct kiln__backend **ret, kiln_error *err)
{
	for (size_t i = 0; kiln__backends[i]; i++)
		if (strcmp(kiln__backends[i]->name, name) == 0) {
			*ret = kiln__backends[i];
			return 0;
		}
	return no_such_backend(name, err);
}

/* Only what needs KVM tells whether it works, where a verdict can be known: on Linux. */
static int works(const struct kiln__backend *backend, const struct kiln__spec *spec,
		 kiln_error *why)
{
	if (!backend->works)
		return 0;
	if (!spec->kvm.known)
		return backend->works(spec->arch, false, why);
	if (spec->kvm.why.code)
		*why = spec->kvm.why;
	return spec->kvm.why.code;
}

/*
 * "auto" never means the fake backend, which runs nothing. Whether a backend's
 * program is there shows when it is prepared; asking each for a probe here would put
 * that work on every start. What was found out about KVM is on record.
 */
int kiln__backend_choose(const struct kiln__spec *spec, const struct kiln__backend **ret,
			 kiln_error *err)
{
	const struct kiln__backend *first = NULL;
	kiln_error why_first = KILN_ERROR_INIT;
	kiln_error why = KILN_ERROR_INIT;

	for (size_t i = 0; kiln__backends[i]; i++) {
		const struct kiln__backend *backend = kiln__backends[i];

		if (!(backend->features & (KILN__CAN_KVM | KILN__CAN_TCG | KILN__CAN_VZ)) ||
		    (backend->features & KILN__BY_NAME_ONLY))
			continue;
		if (first && why.code && !why_first.code)
			why_first = why;
		if (kiln__backend_check(backend, spec, &why) == 0 &&
		    works(backend, spec, &why) == 0) {
			*ret = backend;
			return 0;
		}
		first = first ? first : backend;
	}
	if (!why.code)
		kiln__fail(&why, KILN_ENOTSUP, "this kiln has no backend for this system");
	/* The last does most, so what it lacks is the configuration's fault; unless another has it.
	 */
	if (why_first.code && !why.hint[0])
		kiln__hint(&why, "the %s backend: %s", first->name, why_first.message);
	if (err)
		*err = why;
	return why.code;
}

int kiln__backend_ask_kvm(const struct kiln__spec *spec, bool quick, struct kiln__kvm_verdict *ret)
{
	const char *name = strcmp(spec->backend, "auto") == 0 ? "builtin" : spec->backend;
	const struct kiln__backend *backend;
	int r;

	*ret = (struct kiln__kvm_verdict){.known = false};
	if (kiln__backend_find(name, &backend, NULL) < 0 || !backend->works)
		return 0;
	r = backend->works(spec->arch, quick, &ret->why);
	ret->known = r != KILN_EBUSY || !quick;
	return ret->known ? 0 : r;
}
