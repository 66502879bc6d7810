/* SPDX-License-Identifier: Apache-2.0 */
/* The host where kiln has a hypervisor port: KVM's preflight, and what else of Linux matters. */
#include "host.h"

#include "err.h"
#include "os.h"
#include "preflight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct host {
	struct kiln__hv_report kvm;
	struct kiln__hv_facts facts;
};

static const char *const states[] = {"ok", "failed", "skipped"};

static const char *fact_name(enum kiln__hv_fact fact)
{
	static const char *const names[] = {"no", "yes", "unknown"};

	return names[fact];
}

struct fact {
	const char *key;
	const char *text;
	enum kiln__hv_fact value;
};

#define FACTS 7

static void list_facts(const struct kiln__hv_facts *f, struct fact ret[FACTS])
{
	const struct fact facts[FACTS] = {
		{"in_vm", "this host is a virtual machine", f->in_vm},
		{"nests", "guests may run VMs themselves", f->nests},
		{"cgroup2", "cgroup2 is mounted", f->cgroup2},
		{"favordynmods", "... with favordynmods: VMs are made faster", f->favordynmods},
		{"vhost_vsock", "/dev/vhost-vsock", f->vhost_vsock},
		{"vhost_net", "/dev/vhost-net", f->vhost_net},
		{"tun", "/dev/net/tun", f->tun},
	};

	memcpy(ret, facts, sizeof(facts));
}

static json_t *kvm_json(const struct kiln__hv_report *report)
{
	json_t *checks = json_array();

	for (size_t i = 0; i < report->count; i++) {
		const struct kiln__hv_check *check = &report->checks[i];

		json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s}", "name", check->name,
							"state", states[check->state], "detail",
							check->detail, "hint", check->hint));
	}
	return json_pack("{s:b, s:b, s:b, s:s, s:s, s:o}", "usable", report->usable, "opens",
			 report->opens, "cached", report->cached, "summary", report->summary,
			 "hint", report->hint, "checks", checks);
}

static json_t *fact_json(enum kiln__hv_fact fact)
{
	return fact == KILN__HV_UNKNOWN ? json_null() : json_boolean(fact == KILN__HV_YES);
}

static json_t *facts_json(const struct kiln__hv_facts *facts)
{
	json_t *object =
		json_pack("{s:s, s:s, s:s, s:s}", "cpu_vendor", facts->cpu_vendor, "cpu_model",
			  facts->cpu_model, "extension", facts->extension, "module", facts->module);
	struct fact list[FACTS];

	list_facts(facts, list);
	for (size_t i = 0; i < FACTS; i++)
		json_object_set_new(object, list[i].key, fact_json(list[i].value));
	return object;
}

static void print_kvm(const struct kiln__hv_report *report)
{
	printf("KVM: %s\n", report->summary);
	for (size_t i = 0; i < report->count; i++)
		print_line(states[report->checks[i].state], report->checks[i].name,
			   report->checks[i].detail, report->checks[i].hint);
}

static void print_facts(const struct kiln__hv_facts *facts)
{
	struct fact list[FACTS];

	printf("\nHost: %s, %u CPUs, %llu MiB of memory%s%s\n",
	       facts->cpu_model[0] ? facts->cpu_model : kiln__os_arch(), kiln__os_cpu_count(),
	       (unsigned long long)(kiln__os_total_memory() >> 20), facts->extension[0] ? ", " : "",
	       facts->extension);
	list_facts(facts, list);
	for (size_t i = 0; i < FACTS; i++)
		print_line(fact_name(list[i].value), list[i].text, "", "");
}

int host_look(struct host **ret, kiln_error *err)
{
	struct host *host = calloc(1, sizeof(*host));
	int r = host ? kiln__hv_preflight(&host->kvm, NULL, err) : kiln__fail_nomem(err);

	if (r < 0) {
		free(host);
		return r;
	}
	kiln__hv_facts(&host->facts, NULL);
	*ret = host;
	return 0;
}

void host_print(const struct host *host)
{
	print_kvm(&host->kvm);
	print_facts(&host->facts);
}

json_t *host_json(const struct host *host)
{
	return json_pack("{s:o, s:o}", "kvm", kvm_json(&host->kvm), "facts",
			 facts_json(&host->facts));
}
