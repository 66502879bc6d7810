/* SPDX-License-Identifier: Apache-2.0 */
#include "agentmsg.h"

size_t kiln__agent_limit(uint8_t type)
{
	switch (type) {
	case KILN__AGENT_START: /* as much as the kernel takes of arguments, or nearly */
		return KILN__FRAME_MAX_BODY;
	case KILN__AGENT_STDIN:
	case KILN__AGENT_STDOUT:
	case KILN__AGENT_STDERR:
		return KILN__FRAME_MAX_DATA + 8;
	default:
		return (size_t)64 * 1024;
	}
}

uint32_t kiln__agent_agree(const struct kiln__agent_hello *a, const struct kiln__agent_hello *b)
{
	uint32_t low = a->version_min > b->version_min ? a->version_min : b->version_min;
	uint32_t high = a->version_max < b->version_max ? a->version_max : b->version_max;

	return low <= high ? high : 0;
}

#define HELLO(number, kind, member) KILN__FIELD(number, kind, struct kiln__agent_hello, member)
static const struct kiln__field hello_fields[] = {
	HELLO(1, U32, version_min), HELLO(2, U32, version_max), HELLO(3, U64, features),
	HELLO(4, STR, agent),       HELLO(5, STR, kernel),      HELLO(6, STR, arch),
	HELLO(7, STR, boot_id),     HELLO(8, U64, init_ns),     HELLO(9, U64, vsock_ns),
};
const struct kiln__record kiln__agent_hello_record =
	KILN__RECORD(struct kiln__agent_hello, "HELLO", hello_fields);

#define ERROR(number, kind, member) KILN__FIELD(number, kind, struct kiln__agent_error, member)
static const struct kiln__field error_fields[] = {
	ERROR(1, U32, code),
	ERROR(2, U32, os_errno),
	ERROR(3, STR, stage),
	ERROR(4, STR, message),
};
const struct kiln__record kiln__agent_error_record =
	KILN__RECORD(struct kiln__agent_error, "ERROR", error_fields);

#define ROOT(number, kind, member) KILN__FIELD(number, kind, struct kiln__agent_root, member)
static const struct kiln__field root_fields[] = {
	ROOT(1, U32, kind),          ROOT(2, STR, device),     ROOT(3, STR, fstype),
	ROOT(4, STR, options),       ROOT(5, BOOL, read_only), ROOT(6, STR, upper_device),
	ROOT(7, STR, upper_options), ROOT(8, U64, upper_size), ROOT(9, BOOL, ephemeral),
};
static const struct kiln__record root_record =
	KILN__RECORD(struct kiln__agent_root, "SETUP root", root_fields);

#define INTERFACE(number, kind, member)                                                            \
	KILN__FIELD(number, kind, struct kiln__agent_interface, member)
static const struct kiln__field interface_fields[] = {
	INTERFACE(1, BYTES, mac),      INTERFACE(2, STR, name),      INTERFACE(3, U32, mtu),
	INTERFACE(4, STRS, addresses), INTERFACE(5, STRS, gateways),
};
static const struct kiln__record interface_record =
	KILN__RECORD(struct kiln__agent_interface, "SETUP interface", interface_fields);

#define MOUNT(number, kind, member) KILN__FIELD(number, kind, struct kiln__agent_mount, member)
static const struct kiln__field mount_fields[] = {
	MOUNT(1, STR, fstype),  MOUNT(2, STR, source), MOUNT(3, STR, target),
	MOUNT(4, STR, options), MOUNT(5, U32, flags),  MOUNT(6, BOOL, grow),
};
static const struct kiln__record mount_record =
	KILN__RECORD(struct kiln__agent_mount, "SETUP mount", mount_fields);

/* What would change the meaning of the boot if it were ignored is critical. */
#define SETUP(number, kind, member) KILN__FIELD(number, kind, struct kiln__agent_setup, member)
static const struct kiln__field setup_fields[] = {
	KILN__FIELD_SUB(129, struct kiln__agent_setup, root, &root_record),
	SETUP(2, STR, hostname),
	SETUP(3, STR, machine_id),
	SETUP(4, U64, clock_ns),
	SETUP(5, BYTES, entropy),
	KILN__FIELD_LIST(130, RECORDS, struct kiln__agent_setup, interfaces, interface_count,
			 &interface_record),
	SETUP(7, STRS, dns),
	SETUP(8, STRS, search),
	KILN__FIELD_LIST(131, RECORDS, struct kiln__agent_setup, mounts, mount_count,
			 &mount_record),
	SETUP(132, STR, init),
	SETUP(133, BOOL, end_with_main),
	SETUP(134, BOOL, end_by_reset),
	SETUP(13, U32, stop_signal),
	SETUP(14, U32, stop_grace_ms),
};
const struct kiln__record kiln__agent_setup_record =
	KILN__RECORD(struct kiln__agent_setup, "SETUP", setup_fields);

#define SETUP_DONE(number, member) KILN__FIELD(number, U64, struct kiln__agent_setup_done, member)
static const struct kiln__field setup_done_fields[] = {
	SETUP_DONE(1, modules_ns),
	SETUP_DONE(2, setup_ns),
	SETUP_DONE(3, root_ns),
	SETUP_DONE(4, ready_ns),
};
const struct kiln__record kiln__agent_setup_done_record =
	KILN__RECORD(struct kiln__agent_setup_done, "SETUP's OK", setup_done_fields);

#define START(number, kind, member) KILN__FIELD(number, kind, struct kiln__agent_start, member)
static const struct kiln__field start_fields[] = {
	START(1, U64, id),
	START(2, BOOL, main),
	START(3, STRS, argv),
	START(4, STRS, env),
	START(5, STR, cwd),
	START(134, STR, user),
	KILN__FIELD_LIST(7, U32S, struct kiln__agent_start, groups, group_count, NULL),
	START(8, BOOL, tty),
	START(9, U32, rows),
	START(10, U32, cols),
	START(11, BOOL, input),
	START(12, BOOL, detach),
};
const struct kiln__record kiln__agent_start_record =
	KILN__RECORD(struct kiln__agent_start, "START", start_fields);

#define ATTACH(number, member) KILN__FIELD(number, U64, struct kiln__agent_attach, member)
static const struct kiln__field attach_fields[] = {
	ATTACH(1, id),
	ATTACH(2, stdout_at),
	ATTACH(3, stderr_at),
};
const struct kiln__record kiln__agent_attach_record =
	KILN__RECORD(struct kiln__agent_attach, "ATTACH", attach_fields);

#define STARTED(number, kind, member) KILN__FIELD(number, kind, struct kiln__agent_started, member)
static const struct kiln__field started_fields[] = {
	STARTED(1, U64, id),           STARTED(2, U32, pid),           STARTED(3, U64, stdin_at),
	STARTED(4, U64, stdin_window), STARTED(5, U64, output_window), STARTED(6, U64, start_ns),
	STARTED(7, U64, stdin_taken),
};
const struct kiln__record kiln__agent_started_record =
	KILN__RECORD(struct kiln__agent_started, "STARTED", started_fields);

static const struct kiln__field ack_fields[] = {
	KILN__FIELD(1, U64, struct kiln__agent_ack, stdout_at),
	KILN__FIELD(2, U64, struct kiln__agent_ack, stderr_at),
};
const struct kiln__record kiln__agent_ack_record =
	KILN__RECORD(struct kiln__agent_ack, "ACK", ack_fields);

static const struct kiln__field stdin_ack_fields[] = {
	KILN__FIELD(1, U64, struct kiln__agent_stdin_ack, stdin_at),
	KILN__FIELD(2, BOOL, struct kiln__agent_stdin_ack, closed),
};
const struct kiln__record kiln__agent_stdin_ack_record =
	KILN__RECORD(struct kiln__agent_stdin_ack, "STDIN_ACK", stdin_ack_fields);

static const struct kiln__field resize_fields[] = {
	KILN__FIELD(1, U32, struct kiln__agent_resize, rows),
	KILN__FIELD(2, U32, struct kiln__agent_resize, cols),
};
const struct kiln__record kiln__agent_resize_record =
	KILN__RECORD(struct kiln__agent_resize, "RESIZE", resize_fields);

static const struct kiln__field signal_fields[] = {
	KILN__FIELD(1, U64, struct kiln__agent_signal, id),
	KILN__FIELD(2, U32, struct kiln__agent_signal, number),
	KILN__FIELD(131, BOOL, struct kiln__agent_signal, group),
};
const struct kiln__record kiln__agent_signal_record =
	KILN__RECORD(struct kiln__agent_signal, "SIGNAL", signal_fields);

#define EXIT(number, kind, member) KILN__FIELD(number, kind, struct kiln__agent_exit, member)
static const struct kiln__field exit_fields[] = {
	EXIT(1, U32, code),       EXIT(2, U32, signal),     EXIT(3, BOOL, oom),
	EXIT(4, U64, stdout_end), EXIT(5, U64, stderr_end), EXIT(6, U64, exit_ns),
};
const struct kiln__record kiln__agent_exit_record =
	KILN__RECORD(struct kiln__agent_exit, "EXIT", exit_fields);

#define STATS(number, kind, member) KILN__FIELD(number, kind, struct kiln__agent_stats, member)
static const struct kiln__field stats_fields[] = {
	STATS(1, U64, uptime_ns),        STATS(2, U64, memory_total), STATS(3, U64, memory_free),
	STATS(4, U64, memory_available), STATS(5, U64, cpu_user_ns),  STATS(6, U64, cpu_system_ns),
	STATS(7, U64, cpu_idle_ns),      STATS(8, U64, cpu_steal_ns), STATS(9, U32, load1),
	STATS(10, U32, load5),           STATS(11, U32, load15),      STATS(12, U32, processes),
	STATS(13, U64, root_size),       STATS(14, U64, root_free),   STATS(15, U64, oom_kills),
};
const struct kiln__record kiln__agent_stats_record =
	KILN__RECORD(struct kiln__agent_stats, "STATS", stats_fields);

#define INFO(number, kind, member)                                                                 \
	KILN__FIELD(number, kind, struct kiln__agent_session_info, member)
static const struct kiln__field info_fields[] = {
	INFO(1, U64, id),   INFO(2, U32, pid),       INFO(3, BOOL, main),
	INFO(4, BOOL, tty), INFO(5, BOOL, attached), INFO(6, BOOL, exited),
	INFO(7, U32, code), INFO(8, U32, signal),    INFO(9, STR, command),
};
static const struct kiln__record info_record =
	KILN__RECORD(struct kiln__agent_session_info, "LIST session", info_fields);

static const struct kiln__field list_fields[] = {
	KILN__FIELD_LIST(1, RECORDS, struct kiln__agent_list, sessions, count, &info_record),
};
const struct kiln__record kiln__agent_list_record =
	KILN__RECORD(struct kiln__agent_list, "LIST", list_fields);

static const struct kiln__field shutdown_fields[] = {
	KILN__FIELD(129, U32, struct kiln__agent_shutdown, action),
	KILN__FIELD(2, U32, struct kiln__agent_shutdown, grace_ms),
};
const struct kiln__record kiln__agent_shutdown_record =
	KILN__RECORD(struct kiln__agent_shutdown, "SHUTDOWN", shutdown_fields);

static const struct kiln__field wait_port_fields[] = {
	KILN__FIELD(129, U32, struct kiln__agent_wait_port, port),
	KILN__FIELD(130, BOOL, struct kiln__agent_wait_port, vsock),
};
const struct kiln__record kiln__agent_wait_port_record =
	KILN__RECORD(struct kiln__agent_wait_port, "WAIT_PORT", wait_port_fields);

static const struct kiln__field event_oom_fields[] = {
	KILN__FIELD(1, U64, struct kiln__agent_event_oom, kills),
};
const struct kiln__record kiln__agent_event_oom_record =
	KILN__RECORD(struct kiln__agent_event_oom, "OOM", event_oom_fields);

static const struct kiln__field event_shutdown_fields[] = {
	KILN__FIELD(1, U32, struct kiln__agent_event_shutdown, action),
	KILN__FIELD(2, U32, struct kiln__agent_event_shutdown, cause),
};
const struct kiln__record kiln__agent_event_shutdown_record =
	KILN__RECORD(struct kiln__agent_event_shutdown, "SHUTDOWN event", event_shutdown_fields);
