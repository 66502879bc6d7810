/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of what runs in the guest, under which name, and how it is known to be well. */
#include "rows.h"

const struct kiln__key kiln__identity_keys[] = {
	{
		.name = "hostname",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 64, /* Linux's __NEW_UTS_LEN */
		.check = kiln__check_hostname,
		.pattern = "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
			   "(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$",
		.def_doc = "the machine's name or short id",
		.field = FIELD(struct kiln__spec, hostname),
		.doc = "Host name of the guest (RFC 1123).",
	},
	{
		.name = "machine_id",
		.type = KILN__TYPE_STRING,
		.min = 32,
		.max = 32,
		.check = kiln__check_machine_id,
		.pattern = "^[0-9a-f]{32}$",
		.def_doc = "made from the machine's id",
		.field = FIELD(struct kiln__spec, machine_id),
		.doc = "The guest's /etc/machine-id.",
	},
	LATER("generation"),
	LATER("efi_variables"),
	ELSEWHERE("efi_vars",
		  "that will be identity.efi_variables, not supported yet by this version"),
	END,
};

static const struct kiln__key arg_element = {
	.type = KILN__TYPE_STRING,
	.max = KILN__MAX_TEXT,
	.doc = "One argument.",
};

const struct kiln__key kiln__process_keys[] = {
	{
		.name = "entrypoint",
		.type = KILN__TYPE_LIST,
		.max = 4096,
		.element = &arg_element,
		.doc = "The program, and its first arguments.",
	},
	{
		.name = "args",
		.type = KILN__TYPE_LIST,
		.max = 4096,
		.element = &arg_element,
		.doc = "Arguments after the entrypoint's; the program is the first of them if "
		       "there is no entrypoint. With neither, the machine has no process of its "
		       "own.",
	},
	{
		.name = "env",
		.type = KILN__TYPE_MAP,
		.max = 4096,
		.check_name = kiln__check_env_name,
		.name_pattern = "^[!-<>-~]{1,256}$",
		.doc = "Environment. PATH, HOME and, with a terminal, TERM have values without it.",
	},
	{
		.name = "cwd",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = MAX_PATH_BYTES,
		.check = kiln__check_guest_path,
		.pattern = "^/",
		.def = "/",
		.field = FIELD(struct kiln__spec, process.cwd),
		.doc = "Working directory in the guest.",
	},
	{
		.name = "user",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 256,
		.check = kiln__check_user,
		.pattern = "^[A-Za-z0-9_.][A-Za-z0-9_.-]*\\$?(:[A-Za-z0-9_.][A-Za-z0-9_.-]*\\$?)?$",
		.def_doc = "root",
		.field = FIELD(struct kiln__spec, process.user),
		.doc = "User and, after a colon, group, by name or number, looked up in the guest.",
	},
	ELSEWHERE("uid", "set process.user, to \"1000\" or \"1000:1000\""),
	ELSEWHERE("gid", "set process.user, to \"1000:1000\""),
	{
		.name = "tty",
		IS_FLAG(struct kiln__spec, process.tty),
		.doc = "The process has a terminal.",
	},
	{
		.name = "stdin",
		IS_FLAG(struct kiln__spec, process.stdin_open),
		.doc = "Standard input is a client's, and open until it ends; else it is empty.",
	},
	{
		.name = "stop_signal",
		.type = KILN__TYPE_STRING,
		.min = 1,
		.max = 16,
		.check = kiln__check_signal,
		.pattern = "^((SIG)?[A-Z0-9]+([+-][0-9]+)?|[0-9]+)$",
		.def_doc = "SIGTERM",
		.field = FIELD(struct kiln__spec, process.stop_signal),
		.doc = "What a graceful stop sends to the process.",
	},
	END,
};

const struct kiln__key kiln__readiness_keys[] = {
	{
		.name = "kind",
		.type = KILN__TYPE_ENUM,
		/* enum kiln__ready_kind */
		.choices = CHOICES("agent", "console", "tcp", "vsock", "command", "none"),
		.def = "agent",
		.field = FIELD(struct kiln__spec, readiness.kind),
		.doc = "What says that the machine is ready: the agent's hello (agent), a line "
		       "KILN_READY or VMRS_READY ADDRESS on the console (console), a TCP port "
		       "that answers through its published port (tcp), a vsock port that answers "
		       "(vsock), a command that succeeds, run again until it does (command), or "
		       "nothing: running is ready (none).",
	},
	{
		.name = "port",
		.type = KILN__TYPE_INTEGER,
		.min = 1,
		.max = 0xfffffffe,
		.field = FIELD(struct kiln__spec, readiness.port),
		.doc = "For tcp and vsock: the guest's port.",
	},
	{
		.name = "command",
		.type = KILN__TYPE_LIST,
		.max = 256,
		.element = &arg_element,
		.field = FIELD(struct kiln__spec, readiness.command),
		.doc = "For command: the program and its arguments.",
	},
	{
		.name = "timeout",
		.type = KILN__TYPE_DURATION,
		.min = 1,
		.max = DAY,
		.def = "1m",
		.field = FIELD(struct kiln__spec, readiness.timeout_ms),
		.doc = "From the start; a machine that is not ready by then has failed. With "
		       "firmware the default is ten minutes.",
	},
	END,
};

const struct kiln__key kiln__health_keys[] = {
	{
		.name = "command",
		.type = KILN__TYPE_LIST,
		.max = 256,
		.element = &arg_element,
		.field = FIELD(struct kiln__spec, health.command),
		.doc = "The program and its arguments, run in the guest as process.user, with its "
		       "environment and directory: the process is well if it exits with 0.",
	},
	{
		.name = "interval",
		.type = KILN__TYPE_DURATION,
		.min = 100,
		.max = DAY,
		.def_doc = "30s",
		.field = FIELD(struct kiln__spec, health.interval_ms),
		.doc = "From the process's start to the first, and from the end of one to the "
		       "next.",
	},
	{
		.name = "timeout",
		.type = KILN__TYPE_DURATION,
		.min = 100,
		.max = DAY,
		.def_doc = "30s",
		.field = FIELD(struct kiln__spec, health.timeout_ms),
		.doc = "One that takes longer has failed, and is killed.",
	},
	{
		.name = "start_period",
		.type = KILN__TYPE_DURATION,
		.max = DAY,
		.def_doc = "0",
		.field = FIELD(struct kiln__spec, health.start_period_ms),
		.doc = "For so long, or until the first that succeeds, failures do not count.",
	},
	{
		.name = "retries",
		.type = KILN__TYPE_INTEGER,
		.min = 1,
		.max = 1000,
		.def_doc = "3",
		.field = FIELD(struct kiln__spec, health.retries),
		.doc = "So many failures in a row make it unhealthy.",
	},
	END,
};
