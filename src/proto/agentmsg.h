/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent protocol's messages: docs/agent-protocol.md says what they mean and in
 * which order they come. "Host" is whoever uses the agent, "guest" the agent.
 *
 * All strings and lists point into the frame they were unpacked from.
 */
#ifndef KILN_PROTO_AGENTMSG_H
#define KILN_PROTO_AGENTMSG_H

#include "frame.h"
#include "record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KILN__AGENT_PORT      1024 /* the guest listens: one connection a session or client */
#define KILN__AGENT_BOOT_PORT 13   /* the host listens: the guest's agent connects when it is up */

/* Protocol versions: major << 8 | minor. */
#define KILN__AGENT_VERSION     0x0100
#define KILN__AGENT_VERSION_MIN 0x0100

/* What an agent can do beyond the version's common part. */
#define KILN__AGENT_FEATURE_SETUP 0x1 /* is PID 1 and waits for its root */
#define KILN__AGENT_FEATURE_POWER 0x2 /* can power off and restart */

/* Bytes of each stream that may be under way unacknowledged. */
#define KILN__AGENT_STDIN_WINDOW  ((size_t)128 * 1024)
#define KILN__AGENT_OUTPUT_WINDOW ((size_t)256 * 1024)

enum kiln__agent_type {
	/* on every connection */
	KILN__AGENT_HELLO = 1, /* both ways, first */
	KILN__AGENT_OK = 2,    /* a request's success; its body depends on the request */
	KILN__AGENT_ERROR = 3, /* a request's failure; with tag 0 the connection's end */

	/* requests of the host */
	KILN__AGENT_SETUP = 16,
	KILN__AGENT_STATS = 17,
	KILN__AGENT_LIST = 18,
	KILN__AGENT_KILL = 19,
	KILN__AGENT_SHUTDOWN = 20,
	KILN__AGENT_WAIT_PORT = 21,

	/* sessions */
	KILN__AGENT_START = 32,     /* host */
	KILN__AGENT_ATTACH = 33,    /* host */
	KILN__AGENT_STARTED = 34,   /* guest: the answer to both */
	KILN__AGENT_STDIN = 35,     /* host; a data frame */
	KILN__AGENT_STDOUT = 36,    /* guest; a data frame */
	KILN__AGENT_STDERR = 37,    /* guest; a data frame */
	KILN__AGENT_ACK = 38,       /* host: output consumed */
	KILN__AGENT_STDIN_ACK = 39, /* guest: input consumed */
	KILN__AGENT_RESIZE = 40,    /* host */
	KILN__AGENT_SIGNAL = 41,    /* host */
	KILN__AGENT_EXIT = 42,      /* guest */
	KILN__AGENT_DONE = 43,      /* host: the exit status was received */

	/* events, on the connection to the boot port */
	KILN__AGENT_EVENT_OOM = 64,
	KILN__AGENT_EVENT_SHUTDOWN = 65,
};

/* The longest body of a frame of @type that either side accepts. */
size_t kiln__agent_limit(uint8_t type);

struct kiln__agent_hello {
	uint32_t version_min;
	uint32_t version_max;
	uint64_t features;
	/* The rest is said on the boot connection only. */
	const char *agent;   /* kiln's version */
	const char *kernel;  /* as uname -r */
	const char *arch;    /* as uname -m */
	const char *boot_id; /* of the kernel; NULL if not readable yet */
	/* Nanoseconds since the kernel's start, 0 if it did not happen (yet). */
	uint64_t init_ns;  /* the agent's first instruction */
	uint64_t vsock_ns; /* vsock usable: its modules are loaded */
};
extern const struct kiln__record kiln__agent_hello_record;

/* The version that two hellos agree on, or 0 if none. */
uint32_t kiln__agent_agree(const struct kiln__agent_hello *a, const struct kiln__agent_hello *b);

struct kiln__agent_error {
	uint32_t code;     /* a KILN_E... code, negated */
	uint32_t os_errno; /* Linux's number, 0 if none */
	const char *stage;
	const char *message;
};
extern const struct kiln__record kiln__agent_error_record;

/* --- setup ---------------------------------------------------------------------- */

enum kiln__agent_root_kind {
	KILN__AGENT_ROOT_NONE = 0,    /* not said */
	KILN__AGENT_ROOT_STAY = 1,    /* the initramfs itself is the root */
	KILN__AGENT_ROOT_PLAIN = 2,   /* a file system mounted as it is */
	KILN__AGENT_ROOT_OVERLAY = 3, /* a file system below, an overlay above takes the writes */
};

/* Devices are named by their serial (virtio-blk) or, with a leading '/', by path. */
struct kiln__agent_root {
	uint32_t kind;
	const char *device;
	const char *fstype;  /* NULL: found out */
	const char *options; /* mount data; may be NULL */
	bool read_only;
	const char *upper_device; /* overlay: an ext4 file system for the writes; NULL: memory */
	const char *upper_options;
	uint64_t upper_size; /* overlay in memory: bytes; 0: half of the memory */
	bool ephemeral;      /* the upper device is thrown away later: fsync may do nothing */
};

#define KILN__AGENT_MAX_INTERFACES 8
#define KILN__AGENT_MAX_MOUNTS     32

struct kiln__agent_interface {
	struct kiln__bytes mac;      /* 6 bytes: which interface is meant */
	const char *name;            /* or by name */
	uint32_t mtu;                /* 0: as it is */
	struct kiln__strs addresses; /* "10.0.2.15/24", "fd00::15/64" */
	struct kiln__strs gateways;  /* at most one of IPv4 and one of IPv6 */
};

#define KILN__AGENT_MOUNT_RDONLY 1
#define KILN__AGENT_MOUNT_NOSUID 2
#define KILN__AGENT_MOUNT_NODEV  4
#define KILN__AGENT_MOUNT_NOEXEC 8

struct kiln__agent_mount {
	const char *fstype;
	const char *source; /* of a block device's file system: as root's device */
	const char *target; /* absolute; made if missing */
	const char *options;
	uint32_t flags; /* KILN__AGENT_MOUNT_... */
	bool grow;      /* ext4: grown to the size of its device */
};

/*
 * What this boot is to be. All of it is optional and may be sent again (after a
 * restore, say), but root, mounts and init, which are for the first time only.
 */
struct kiln__agent_setup {
	struct kiln__agent_root root;
	const char *hostname;
	const char *machine_id;     /* 32 hexadecimal digits */
	uint64_t clock_ns;          /* the real time at which this was sent; 0: leave the clock */
	struct kiln__bytes entropy; /* from the host's generator, for the guest's */
	struct kiln__agent_interface interfaces[KILN__AGENT_MAX_INTERFACES];
	size_t interface_count;
	struct kiln__strs dns;    /* addresses for /etc/resolv.conf */
	struct kiln__strs search; /* and its search domains */
	struct kiln__agent_mount mounts[KILN__AGENT_MAX_MOUNTS];
	size_t mount_count;
	const char *init;   /* the root's own init, which becomes PID 1; NULL: the agent stays it */
	bool end_with_main; /* power off once the main process has ended and was reported */
	bool end_by_reset;  /* this VMM ends by a reset and has no power-off */
	uint32_t stop_signal;   /* to the main process at power-off; 0: SIGTERM */
	uint32_t stop_grace_ms; /* how long it may take to end; 0: 10 s */
};
extern const struct kiln__record kiln__agent_setup_record;

/* OK to SETUP: when the steps of the boot were done, in ns since the kernel's start. */
struct kiln__agent_setup_done {
	uint64_t modules_ns; /* all modules loaded, API file systems mounted */
	uint64_t setup_ns;   /* SETUP received */
	uint64_t root_ns;    /* root mounted and entered */
	uint64_t ready_ns;   /* processes can be started */
};
extern const struct kiln__record kiln__agent_setup_done_record;

/* --- sessions ---------------------------------------------------------------------- */

struct kiln__agent_start {
	uint64_t id; /* chosen by the host, random, not 0 */
	bool main;   /* the VM's process: one a boot */
	struct kiln__strs argv;
	struct kiln__strs env; /* "NAME=value" */
	const char *cwd;       /* NULL: "/" */
	const char *user;      /* "user[:group]", names or numbers; NULL: root */
	uint32_t groups[64];   /* supplementary, beside those that user has */
	size_t group_count;
	bool tty;
	uint32_t rows; /* of the tty */
	uint32_t cols;
	bool input;  /* stdin is sent; else it is /dev/null */
	bool detach; /* all of stdin, stdout and stderr are /dev/null (with tty: discarded), and
			nobody takes the status */
};
extern const struct kiln__record kiln__agent_start_record;

struct kiln__agent_attach {
	uint64_t id;
	uint64_t stdout_at; /* offsets of what comes next */
	uint64_t stderr_at;
};
extern const struct kiln__record kiln__agent_attach_record;

struct kiln__agent_started {
	uint64_t id;
	uint32_t pid;
	uint64_t stdin_at;     /* offset of what is expected next */
	uint64_t stdin_taken;  /* all before is consumed */
	uint64_t stdin_window; /* bytes past stdin_taken, or the last STDIN_ACK, that may be sent */
	uint64_t output_window;
	uint64_t start_ns; /* of the process, since the kernel's start */
};
extern const struct kiln__record kiln__agent_started_record;

struct kiln__agent_ack {
	uint64_t stdout_at; /* all before is consumed */
	uint64_t stderr_at;
};
extern const struct kiln__record kiln__agent_ack_record;

struct kiln__agent_stdin_ack {
	uint64_t stdin_at; /* all before is consumed */
	bool closed;       /* the process does not read any more: send nothing further */
};
extern const struct kiln__record kiln__agent_stdin_ack_record;

struct kiln__agent_resize {
	uint32_t rows;
	uint32_t cols;
};
extern const struct kiln__record kiln__agent_resize_record;

struct kiln__agent_signal {
	uint64_t id;     /* KILL: of which session */
	uint32_t number; /* Linux's */
	bool group;      /* the whole process group */
};
extern const struct kiln__record kiln__agent_signal_record;

struct kiln__agent_exit {
	uint32_t code;       /* exit code, */
	uint32_t signal;     /* or the signal that ended it */
	bool oom;            /* the kernel ran out of memory meanwhile and killed processes */
	uint64_t stdout_end; /* all output up to here was sent before this frame */
	uint64_t stderr_end;
	uint64_t exit_ns;
};
extern const struct kiln__record kiln__agent_exit_record;

/* --- the rest ----------------------------------------------------------------------- */

struct kiln__agent_stats {
	uint64_t uptime_ns;
	uint64_t memory_total; /* bytes */
	uint64_t memory_free;
	uint64_t memory_available;
	uint64_t cpu_user_ns; /* of all CPUs, since boot */
	uint64_t cpu_system_ns;
	uint64_t cpu_idle_ns;
	uint64_t cpu_steal_ns;
	uint32_t load1; /* load averages times 1000 */
	uint32_t load5;
	uint32_t load15;
	uint32_t processes;
	uint64_t root_size; /* of the root's file system, bytes */
	uint64_t root_free;
	uint64_t oom_kills;
};
extern const struct kiln__record kiln__agent_stats_record;

#define KILN__AGENT_MAX_SESSIONS 128 /* at once, those whose status waits to be taken included */

struct kiln__agent_session_info {
	uint64_t id;
	uint32_t pid;
	bool main;
	bool tty;
	bool attached;
	bool exited;
	uint32_t code;
	uint32_t signal;
	const char *command; /* argv[0], cut to 128 bytes */
};

struct kiln__agent_list {
	struct kiln__agent_session_info sessions[KILN__AGENT_MAX_SESSIONS];
	size_t count;
};
extern const struct kiln__record kiln__agent_list_record;

/* Answered when something in the guest listens on the port: readiness by port. */
struct kiln__agent_wait_port {
	uint32_t port;
	bool vsock; /* else TCP, on any address */
};
extern const struct kiln__record kiln__agent_wait_port_record;

enum kiln__agent_action {
	KILN__AGENT_POWEROFF = 1,
	KILN__AGENT_REBOOT = 2,
};

struct kiln__agent_shutdown {
	uint32_t action;
	uint32_t grace_ms; /* for the main process, after its stop signal; 0: as in SETUP */
};
extern const struct kiln__record kiln__agent_shutdown_record;

struct kiln__agent_event_oom {
	uint64_t kills; /* processes killed so far */
};
extern const struct kiln__record kiln__agent_event_oom_record;

enum kiln__agent_cause {
	KILN__AGENT_CAUSE_HOST = 1,   /* SHUTDOWN */
	KILN__AGENT_CAUSE_BUTTON = 2, /* the power button */
	KILN__AGENT_CAUSE_KEYS = 3,   /* Ctrl-Alt-Del */
	KILN__AGENT_CAUSE_GUEST = 4,  /* something in the guest asked PID 1 */
	KILN__AGENT_CAUSE_MAIN = 5,   /* the main process ended */
};

struct kiln__agent_event_shutdown {
	uint32_t action;
	uint32_t cause;
};
extern const struct kiln__record kiln__agent_event_shutdown_record;

#endif
