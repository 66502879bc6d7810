/* SPDX-License-Identifier: Apache-2.0 */
/* The table. Options are docker's where they mean the same. */
#include "cli.h"

#define FLAG(i, l, n, h)                                                                           \
	{                                                                                          \
		.id = i, .letter = l, .name = n, .help = h                                         \
	}
#define WITH(i, l, n, a, h)                                                                        \
	{                                                                                          \
		.id = i, .letter = l, .name = n, .arg = a, .help = h                               \
	}
#define WORDS(i, n, a, w, h)                                                                       \
	{                                                                                          \
		.id = i, .name = n, .arg = a, .help = h, .complete = COMPLETE_WORD, .words = w     \
	}
#define END                                                                                        \
	{                                                                                          \
		.name = NULL                                                                       \
	}

const struct option_group common_options = {
	"Other options",
	(const struct option[]){
		FLAG(OPT_HELP, 'h', "help", "Show this help"),
		END,
	},
};

/* --- machines ---------------------------------------------------------------- */

static const struct option_group machine_options = {
	"Machine",
	(const struct option[]){
		{
			.id = OPT_ACCEL,
			.name = "accel",
			.arg = "KIND",
			.help = "Acceleration: kvm, tcg (emulation), or auto",
			.complete = COMPLETE_WORD,
			.words = "auto|kvm|tcg",
			.enters = ENTERS_AS_IS,
			.key = "accel",
		},
		{
			.id = OPT_BACKEND,
			.name = "backend",
			.arg = "NAME",
			.help = "What runs the machine, as \"kiln backends\" lists them",
			.enters = ENTERS_AS_IS,
			.key = "backend",
		},
		{
			.id = OPT_CMDLINE,
			.name = "cmdline",
			.arg = "TEXT",
			.help = "Append to the kernel's command line",
			.enters = ENTERS_AS_IS,
			.key = "cmdline",
		},
		{
			.id = OPT_CONFIG,
			.name = "config",
			.arg = "FILE",
			.help = "Begin with this configuration (JSON, see kiln schema)",
			.complete = COMPLETE_FILE,
		},
		{
			.id = OPT_FROM_CLOUD_HYPERVISOR,
			.name = "from-cloud-hypervisor",
			.arg = "FILE",
			.help = "Begin with a command line of Cloud Hypervisor's",
			.complete = COMPLETE_FILE,
		},
		{
			.id = OPT_FROM_FIRECRACKER,
			.name = "from-firecracker",
			.arg = "FILE",
			.help = "Begin with a configuration file of Firecracker's",
			.complete = COMPLETE_FILE,
		},
		{
			.id = OPT_CPUS,
			.name = "cpus",
			.arg = "N",
			.help = "Number of virtual CPUs",
			.enters = ENTERS_AS_IS,
			.key = "cpus",
		},
		{
			.id = OPT_DISK,
			.name = "disk",
			.arg = "FILE[:ro]",
			.help = "Attach a raw disk image, block device or nbd:// URL; repeatable",
			.complete = COMPLETE_FILE,
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_FIRMWARE,
			.name = "firmware",
			.arg = "KIND",
			.help = "Boot what is on the first disk, a cloud image say, by bios or "
				"uefi",
			.complete = COMPLETE_WORD,
			.words = "none|bios|uefi",
			.enters = ENTERS_AS_IS,
			.key = "firmware",
		},
		{
			.id = OPT_JAILER,
			.name = "jailer",
			.arg = "KEY=VALUE,...",
			.help = "Start Firecracker by its jailer, uid=N,gid=N at the least",
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_HEALTH_CMD,
			.name = "health-cmd",
			.arg = "TEXT",
			.help = "A shell's line that fails when the process is not well",
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_HEALTH_INTERVAL,
			.name = "health-interval",
			.arg = "TIME",
			.help = "How long after one the next begins",
			.enters = ENTERS_SECONDS,
			.key = "health.interval",
		},
		{
			.id = OPT_HEALTH_RETRIES,
			.name = "health-retries",
			.arg = "N",
			.help = "So many failures in a row make it unhealthy",
			.enters = ENTERS_AS_IS,
			.key = "health.retries",
		},
		{
			.id = OPT_HEALTH_START_PERIOD,
			.name = "health-start-period",
			.arg = "TIME",
			.help = "For so long failures do not count",
			.enters = ENTERS_SECONDS,
			.key = "health.start_period",
		},
		{
			.id = OPT_HEALTH_TIMEOUT,
			.name = "health-timeout",
			.arg = "TIME",
			.help = "One that takes longer has failed",
			.enters = ENTERS_SECONDS,
			.key = "health.timeout",
		},
		{
			.id = OPT_HOSTNAME,
			.name = "hostname",
			.arg = "NAME",
			.help = "Host name of the guest",
			.enters = ENTERS_AS_IS,
			.key = "identity.hostname",
		},
		{
			.id = OPT_INIT,
			.name = "init",
			.arg = "WHO",
			.help = "Process 1: kiln's, or the root's own /sbin/init",
			.complete = COMPLETE_WORD,
			.words = "kiln|root",
			.enters = ENTERS_AS_IS,
			.key = "init",
		},
		{
			.id = OPT_INITRD,
			.name = "initrd",
			.arg = "FILE",
			.help = "Initramfs in place of kiln's own",
			.complete = COMPLETE_FILE,
			.enters = ENTERS_AS_PATH,
			.key = "initrd",
		},
		{
			.id = OPT_KERNEL,
			.name = "kernel",
			.arg = "FILE|host",
			.help = "Linux kernel: bzImage, vmlinux or arm64 Image; host: the running "
				"one",
			.complete = COMPLETE_FILE,
			.enters = ENTERS_BY_RULE,
			.key = "kernel",
		},
		{
			.id = OPT_LABEL,
			.letter = 'l',
			.name = "label",
			.arg = "NAME=TEXT",
			.help = "Attach a label; repeatable",
			.enters = ENTERS_AS_IS,
			.key = "labels[]",
		},
		{
			.id = OPT_MEMORY,
			.letter = 'm',
			.name = "memory",
			.arg = "SIZE",
			.help = "Memory, such as 512M or 2G",
			.enters = ENTERS_AS_IS,
			.key = "memory",
		},
		WITH(OPT_NAME, 0, "name", "NAME",
		     "Name of the VM, which then stays when it has ended"),
		{
			.id = OPT_NESTED,
			.name = "nested",
			.help = "Let the guest run virtual machines itself",
			.enters = ENTERS_AS_IS,
			.key = "nested",
		},
		{
			.id = OPT_NETWORK,
			.name = "network",
			.arg = "KIND",
			.help = "Network: user (NAT without any rights), tap:INTERFACE, "
				"socket:PATH or "
				"none",
			.complete = COMPLETE_WORD,
			.words = "user|tap:|none",
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_OVERLAY_SIZE,
			.name = "overlay-size",
			.arg = "SIZE",
			.help = "Keep what is written to the root on an ephemeral disk of this "
				"size",
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_PLATFORM,
			.name = "platform",
			.arg = "OS/ARCH",
			.help = "Architecture, as linux/arm64",
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_PUBLISH,
			.letter = 'p',
			.name = "publish",
			.arg = "[[IP:]PORT:]PORT",
			.help = "Publish a port of the guest, on 127.0.0.1 unless told; repeatable",
			.enters = ENTERS_AS_IS,
			.key = "ports[]",
		},
		FLAG(OPT_NO_HEALTHCHECK, 0, "no-healthcheck",
		     "Leave out the health check that the image has"),
		FLAG(OPT_PUBLISH_ALL, 'P', "publish-all",
		     "Publish the ports that the image exposes, on free ones of 127.0.0.1"),
		WORDS(OPT_PULL, "pull", "WHEN", "missing|always|never",
		      "Ask the image's registry: if it is missing, always or never"),
		{
			.id = OPT_READ_ONLY,
			.name = "read-only",
			.help = "The root cannot be written to",
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_READY,
			.name = "ready",
			.arg = "WHEN",
			.help = "Ready by: agent, console, tcp:PORT, vsock:PORT, command:TEXT or "
				"none",
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_ROOTFS,
			.name = "rootfs",
			.arg = "PATH",
			.help = "Root: a directory, a tar archive, or an image (squashfs, ext4)",
			.complete = COMPLETE_FILE,
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_ROSETTA,
			.name = "rosetta",
			.help = "Lend the guest Apple's translator of x86-64 programs",
			.enters = ENTERS_AS_IS,
			.key = "rosetta.enabled",
		},
		{
			.id = OPT_SHARE,
			.name = "share",
			.arg = "SOURCE[:DIR][:ro]",
			.help = "Share a directory of the host by virtiofs; repeatable",
			.complete = COMPLETE_FILE,
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_SET,
			.name = "set",
			.arg = "KEY=VALUE",
			.help = "Set any key of the configuration; repeatable",
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_STOP_SIGNAL,
			.name = "stop-signal",
			.arg = "SIGNAL",
			.help = "What a graceful stop sends to the process",
			.enters = ENTERS_AS_IS,
			.key = "process.stop_signal",
		},
		{
			.id = OPT_STOP_TIMEOUT,
			.name = "stop-timeout",
			.arg = "SECONDS",
			.help = "How long a graceful stop may take",
			.enters = ENTERS_SECONDS,
			.key = "stop_timeout",
		},
		{
			.id = OPT_TMPFS,
			.name = "tmpfs",
			.arg = "DIR[:OPTIONS]",
			.help = "An empty file system in memory: size=, mode=, exec; repeatable",
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_VOLUME,
			.letter = 'v',
			.name = "volume",
			.arg = "NAME:DIR[:ro]",
			.help = "Mount a named volume, which stays when the VM goes; repeatable",
			.enters = ENTERS_BY_RULE,
		},
		END,
	},
};

#define SEED(i, n, a, h, c, k)                                                                     \
	{                                                                                          \
		.id = i, .name = n, .arg = a, .help = h, .complete = c, .enters = ENTERS_BY_RULE,  \
		.key = k                                                                           \
	}

static const struct option_group seed_options = {
	"Seed: what cloud-init in the guest finds",
	(const struct option[]){
		SEED(OPT_ADD_USER, "add-user", "NAME",
		     "Make a user who may become root by sudo; repeatable", COMPLETE_NOTHING, NULL),
		SEED(OPT_ADDRESS, "address", "ADDRESS/LENGTH",
		     "Address of the first network, in place of DHCP's; repeatable",
		     COMPLETE_NOTHING, "seed.interfaces[0].addresses[]"),
		SEED(OPT_DNS, "dns", "ADDRESS", "Name server; repeatable", COMPLETE_NOTHING,
		     "seed.interfaces[0].dns[]"),
		SEED(OPT_DNS_SEARCH, "dns-search", "DOMAIN",
		     "Domain in which names are looked for; repeatable", COMPLETE_NOTHING,
		     "seed.interfaces[0].search[]"),
		SEED(OPT_GATEWAY, "gateway", "ADDRESS", "Where what is for other networks is sent",
		     COMPLETE_NOTHING, "seed.interfaces[0].gateways[]"),
		SEED(OPT_META_DATA, "meta-data", "FILE", "The meta-data, as it is", COMPLETE_FILE,
		     "seed.meta_data"),
		SEED(OPT_NETWORK_CONFIG, "network-config", "FILE",
		     "The network configuration, as it is", COMPLETE_FILE, "seed.network_config"),
		SEED(OPT_PACKAGE, "package", "NAME", "Install a package; repeatable",
		     COMPLETE_NOTHING, "seed.packages[]"),
		SEED(OPT_RUN_COMMAND, "run-command", "TEXT",
		     "Run a shell's line as root at the end of the first boot; repeatable",
		     COMPLETE_NOTHING, "seed.commands[]"),
		SEED(OPT_SEED_ENV, "seed-env", "NAME=VALUE",
		     "Set a variable for logins and for the commands; repeatable", COMPLETE_NOTHING,
		     "seed.env[]"),
		SEED(OPT_SEED_MOUNT, "seed-mount", "SOURCE:DIR[:OPTIONS]",
		     "Add a line to the guest's /etc/fstab; repeatable", COMPLETE_NOTHING, NULL),
		SEED(OPT_SSH_KEY, "ssh-key", "FILE|KEY",
		     "Who may log in: as the users before it, else as the image's own; repeatable",
		     COMPLETE_FILE, NULL),
		SEED(OPT_USER_DATA, "user-data", "FILE", "The user-data, as it is", COMPLETE_FILE,
		     "seed.user_data"),
		END,
	},
};

static const struct option_group process_options = {
	"Process",
	(const struct option[]){
		{
			.id = OPT_ENTRYPOINT,
			.name = "entrypoint",
			.arg = "PROGRAM",
			.help = "Program that the command becomes the arguments of",
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_ENV,
			.letter = 'e',
			.name = "env",
			.arg = "NAME[=VALUE]",
			.help = "Set a variable, or pass one on; repeatable",
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_ENV_FILE,
			.name = "env-file",
			.arg = "FILE",
			.help = "Set variables from a file's lines; repeatable",
			.complete = COMPLETE_FILE,
			.enters = ENTERS_BY_RULE,
		},
		{
			.id = OPT_INTERACTIVE,
			.letter = 'i',
			.name = "interactive",
			.help = "Standard input is passed on",
			.enters = ENTERS_AS_IS,
			.key = "process.stdin",
		},
		{
			.id = OPT_TTY,
			.letter = 't',
			.name = "tty",
			.help = "The process has a terminal",
			.enters = ENTERS_AS_IS,
			.key = "process.tty",
		},
		{
			.id = OPT_USER,
			.letter = 'u',
			.name = "user",
			.arg = "USER[:GROUP]",
			.help = "User, by the guest's names or by numbers",
			.enters = ENTERS_AS_IS,
			.key = "process.user",
		},
		{
			.id = OPT_WORKDIR,
			.letter = 'w',
			.name = "workdir",
			.arg = "DIR",
			.help = "Working directory in the guest",
			.enters = ENTERS_AS_IS,
			.key = "process.cwd",
		},
		END,
	},
};

#define PROGRESS                                                                                   \
	WORDS(OPT_PROGRESS, "progress", "HOW", "auto|none|plain",                                  \
	      "What is going on, on standard error: auto (on a terminal), none or plain")

#define DETACH_KEYS                                                                                \
	WITH(OPT_DETACH_KEYS, 0, "detach-keys", "KEYS",                                            \
	     "Keys that leave it on a terminal; default: ctrl-p,ctrl-q")

static const struct option_group run_options = {
	"Running",
	(const struct option[]){
		FLAG(OPT_DETACH, 'd', "detach",
		     "Leave it running in the background and print its id"),
		DETACH_KEYS,
		PROGRESS,
		FLAG(OPT_RM, 0, "rm", "Remove the VM when it has ended, even if it has a name"),
		{
			.id = OPT_TRACE,
			.name = "trace",
			.arg = "FILE",
			.help = "Write what took how long, as a Chrome trace",
			.complete = COMPLETE_FILE,
		},
		END,
	},
};

static const struct option_group start_options = {
	"Options",
	(const struct option[]){
		FLAG(OPT_ATTACH, 'a', "attach", "Attach to its process, and exit as that does"),
		DETACH_KEYS,
		FLAG(OPT_INTERACTIVE, 'i', "interactive", "With --attach: pass standard input on"),
		PROGRESS,
		END,
	},
};

static const struct option_group exec_options = {
	"Options",
	(const struct option[]){
		DETACH_KEYS,
		WITH(OPT_ENV, 'e', "env", "NAME[=VALUE]",
		     "Set a variable, or pass one on; repeatable"),
		{
			.id = OPT_ENV_FILE,
			.name = "env-file",
			.arg = "FILE",
			.help = "Set variables from a file's lines; repeatable",
			.complete = COMPLETE_FILE,
		},
		FLAG(OPT_INTERACTIVE, 'i', "interactive", "Standard input is passed on"),
		FLAG(OPT_TTY, 't', "tty", "The process has a terminal"),
		WITH(OPT_USER, 'u', "user", "USER[:GROUP]",
		     "User, by the guest's names or by numbers"),
		WITH(OPT_WORKDIR, 'w', "workdir", "DIR", "Working directory in the guest"),
		END,
	},
};

static const struct option_group console_options = {
	"Options",
	(const struct option[]){
		DETACH_KEYS,
		END,
	},
};

static const struct option_group attach_options = {
	"Options",
	(const struct option[]){
		DETACH_KEYS,
		FLAG(OPT_NO_STDIN, 0, "no-stdin", "Do not pass standard input on"),
		END,
	},
};

/* --- life -------------------------------------------------------------------- */

static const struct option_group stop_options = {
	"Options",
	(const struct option[]){
		FLAG(OPT_POWER_BUTTON, 0, "power-button",
		     "Press the machine's power button, and leave the rest to the guest"),
		WITH(OPT_TIMEOUT, 't', "timeout", "SECONDS",
		     "How long it may take before it is killed"),
		END,
	},
};

static const struct option_group snapshot_options = {
	"Options",
	(const struct option[]){
		WITH(OPT_BASE, 0, "base", "DIRECTORY",
		     "The VM's last snapshot: write only what has changed since"),
		END,
	},
};

static const struct option_group restart_options = {
	"Options",
	(const struct option[]){
		WITH(OPT_TIMEOUT, 't', "timeout", "SECONDS",
		     "How long it may take before it is killed"),
		END,
	},
};

static const struct option_group update_options = {
	"Options",
	(const struct option[]){
		WITH(OPT_ADD, 0, "add", "ID=KIND:JSON",
		     "Add a device of another kind, in the VMM's words; repeatable"),
		WITH(OPT_ADD_DISK, 0, "add-disk", "ID=FILE[:ro]", "Add a disk; repeatable"),
		WITH(OPT_ADD_NET, 0, "add-net", "ID=TAP",
		     "Add a network on a TAP interface; repeatable"),
		WITH(OPT_BALLOON, 0, "balloon", "SIZE", "What the balloon takes from the guest"),
		WITH(OPT_CONFIG, 0, "config", "JSON",
		     "What else the VMM can change, in its own words"),
		WITH(OPT_CPUS, 'c', "cpus", "N", "Processors"),
		WITH(OPT_MEMORY, 'm', "memory", "SIZE", "Memory, all in all"),
		WITH(OPT_REMOVE, 0, "remove", "ID", "Remove a device; repeatable"),
		WITH(OPT_RESIZE_DISK, 0, "resize-disk", "ID=SIZE",
		     "Tell the guest that a disk has another size; repeatable"),
		WITH(OPT_RESIZE_ZONE, 0, "resize-zone", "ID=SIZE",
		     "Give a zone of memory another size; repeatable"),
		END,
	},
};

static const struct option_group kill_options = {
	"Options",
	(const struct option[]){
		WITH(OPT_SIGNAL, 's', "signal", "SIGNAL", "Send a signal to its process instead"),
		END,
	},
};

static const struct option_group rm_options = {
	"Options",
	(const struct option[]){
		FLAG(OPT_FORCE, 'f', "force",
		     "Kill it first, if it is alive; one that is not there is no error"),
		END,
	},
};

/* --- looking ----------------------------------------------------------------- */

#define FORMAT                                                                                     \
	WORDS(OPT_FORMAT, "format", "HOW", "table|json", "table, the default, for people, or json")

static const struct option_group ls_options = {
	"Options",
	(const struct option[]){
		FLAG(OPT_ALL, 'a', "all", "Also those that are not alive"),
		FORMAT,
		FLAG(OPT_QUIET, 'q', "quiet", "Ids only"),
		END,
	},
};

static const struct option_group format_options = {
	"Options",
	(const struct option[]){
		FORMAT,
		END,
	},
};

static const struct option_group logs_options = {
	"Options",
	(const struct option[]){
		FLAG(OPT_CONSOLE, 0, "console", "What the guest wrote on its console"),
		FLAG(OPT_FOLLOW, 'f', "follow", "Go on with what comes, until the VM has ended"),
		FLAG(OPT_RUNNER, 0, "runner", "What kiln itself has to say about it"),
		WITH(OPT_SINCE, 0, "since", "TIME",
		     "Only from this time on: RFC 3339, or 10m for ten minutes ago"),
		WITH(OPT_TAIL, 'n', "tail", "N", "Only the last N lines of what there is already"),
		FLAG(OPT_TIMESTAMPS, 't', "timestamps", "Put its time before each line"),
		END,
	},
};

static const struct option_group events_options = {
	"Options",
	(const struct option[]){
		FLAG(OPT_FOLLOW, 'f', "follow", "Go on with what happens"),
		FORMAT,
		WITH(OPT_SINCE, 0, "since", "TIME",
		     "Only from this time on: RFC 3339, or 10m for ten minutes ago"),
		END,
	},
};

static const struct option_group wait_options = {
	"Options",
	(const struct option[]){
		WORDS(OPT_UNTIL, "until", "STATE", "running|ready|stopped",
		      "What to wait for: running, ready, or stopped, the default"),
		END,
	},
};

static const struct option_group pull_options = {
	"Options",
	(const struct option[]){
		WITH(OPT_PLATFORM, 0, "platform", "OS/ARCH", "Architecture, as linux/arm64"),
		PROGRESS,
		FLAG(OPT_QUIET, 'q', "quiet", "Do not print its name and digest"),
		END,
	},
};

static const struct option_group login_options = {
	"Options",
	(const struct option[]){
		FLAG(OPT_PASSWORD_STDIN, 0, "password-stdin",
		     "Read the password from standard input"),
		WITH(OPT_USERNAME, 'u', "username", "NAME", "Who one is there"),
		END,
	},
};

static const struct option_group image_options = {
	"Options",
	(const struct option[]){
		FLAG(OPT_ALL, 'a', "all", "prune: all images that no VM is made of"),
		FLAG(OPT_FORCE, 'f', "force", "rm: even if a VM is made of it"),
		FORMAT,
		{
			.id = OPT_IMAGE_FILE,
			.letter = 'i',
			.name = "input",
			.arg = "FILE",
			.help = "load: read this file instead of standard input",
			.complete = COMPLETE_FILE,
		},
		{
			.id = OPT_OUTPUT,
			.letter = 'o',
			.name = "output",
			.arg = "FILE",
			.help = "save: write this file instead of standard output",
			.complete = COMPLETE_FILE,
		},
		WITH(OPT_PLATFORM, 0, "platform", "OS/ARCH", "Architecture, as linux/arm64"),
		PROGRESS,
		FLAG(OPT_QUIET, 'q', "quiet", "ls: digests only"),
		END,
	},
};

static const struct option_group kernel_options = {
	"Options",
	(const struct option[]){
		FORMAT,
		PROGRESS,
		END,
	},
};

static const struct option_group disk_options = {
	"Options",
	(const struct option[]){
		FLAG(OPT_FORCE, 'f', "force",
		     "resize: also to a smaller size, losing what is beyond"),
		FORMAT,
		PROGRESS,
		WITH(OPT_SIZE, 0, "size", "SIZE", "clone: with a larger size than the original"),
		WORDS(OPT_ARCH, "arch", "ARCH", "x86_64|aarch64",
		      "pull, clone: of the image by name; default: the host's"),
		END,
	},
};

static const struct option_group volume_options = {
	"Options",
	(const struct option[]){
		FLAG(OPT_FORCE, 'f', "force",
		     "rm: also volumes of VMs that are not alive; prune: without being shown "
		     "first"),
		FORMAT,
		FLAG(OPT_QUIET, 'q', "quiet", "ls: names only"),
		WITH(OPT_SIZE, 0, "size", "SIZE",
		     "create: how much it holds; default: 16G, sparse"),
		END,
	},
};

/* --- verbs ------------------------------------------------------------------- */

#define GROUPS(...) ((const struct option_group *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
#define VMS         "VM..."

const struct verb verbs[] = {
	{"run", NULL, "[OPTIONS] [IMAGE] [--] [COMMAND [ARGUMENT...]]",
	 "Create a VM and run a command in it",
	 GROUPS(&run_options, &machine_options, &seed_options, &process_options), 0, -1, true,
	 COMPLETE_NOTHING, NULL, verb_run},
	{"create", NULL, "[OPTIONS] [IMAGE] [--] [COMMAND [ARGUMENT...]]",
	 "Create a VM without starting it, and print its id",
	 GROUPS(&machine_options, &seed_options, &process_options), 0, -1, true, COMPLETE_NOTHING,
	 NULL, verb_create},
	{"start", NULL, "[OPTIONS] " VMS, "Start VMs", GROUPS(&start_options), 1, -1, false,
	 COMPLETE_VM, NULL, verb_start},
	{"stop", NULL, "[OPTIONS] " VMS, "Stop VMs gracefully, by force once their time is up",
	 GROUPS(&stop_options), 1, -1, false, COMPLETE_VM, NULL, verb_stop},
	{"kill", NULL, "[OPTIONS] " VMS, "End VMs at once, or send their process a signal",
	 GROUPS(&kill_options), 1, -1, false, COMPLETE_VM, NULL, verb_kill},
	{"pause", NULL, VMS, "Halt VMs where they are", GROUPS(), 1, -1, false, COMPLETE_VM, NULL,
	 verb_pause},
	{"resume", NULL, VMS, "Let halted VMs go on", GROUPS(), 1, -1, false, COMPLETE_VM, NULL,
	 verb_resume},
	{"update", NULL, "[OPTIONS] " VMS, "Change VMs while they run", GROUPS(&update_options), 1,
	 -1, false, COMPLETE_VM, NULL, verb_update},
	{"snapshot", NULL, "[OPTIONS] VM DIRECTORY",
	 "Write a VM's memory and state into a directory", GROUPS(&snapshot_options), 2, 2, false,
	 COMPLETE_VM, NULL, verb_snapshot},
	{"nmi", NULL, VMS, "Send VMs an interrupt that no kernel can mask", GROUPS(), 1, -1, false,
	 COMPLETE_VM, NULL, verb_nmi},
	{"reset", NULL, VMS, "Boot VMs anew, without asking them", GROUPS(), 1, -1, false,
	 COMPLETE_VM, NULL, verb_reset},
	{"dump", NULL, "VM FILE", "Write a VM's memory into a file, as a core dump", GROUPS(), 2, 2,
	 false, COMPLETE_VM, NULL, verb_dump},
	{"restart", NULL, "[OPTIONS] " VMS, "Stop VMs and start them again",
	 GROUPS(&restart_options), 1, -1, false, COMPLETE_VM, NULL, verb_restart},
	{"rm", NULL, "[OPTIONS] " VMS, "Remove VMs", GROUPS(&rm_options), 1, -1, false, COMPLETE_VM,
	 NULL, verb_rm},
	{"ls", "ps", "[OPTIONS]", "List VMs", GROUPS(&ls_options), 0, 0, false, COMPLETE_NOTHING,
	 NULL, verb_ls},
	{"exec", NULL, "[OPTIONS] VM [--] COMMAND [ARGUMENT...]", "Run a command in a running VM",
	 GROUPS(&exec_options), 2, -1, true, COMPLETE_VM, NULL, verb_exec},
	{"attach", NULL, "[OPTIONS] VM", "Join a VM's process", GROUPS(&attach_options), 1, 1,
	 false, COMPLETE_VM, NULL, verb_attach},
	{"logs", NULL, "[OPTIONS] VM", "Show what a VM's process wrote", GROUPS(&logs_options), 1,
	 1, false, COMPLETE_VM, NULL, verb_logs},
	{"console", NULL, "[OPTIONS] VM", "Join a VM's console", GROUPS(&console_options), 1, 1,
	 false, COMPLETE_VM, NULL, verb_console},
	{"inspect", NULL, VMS, "Show all about VMs, as JSON", GROUPS(), 1, -1, false, COMPLETE_VM,
	 NULL, verb_inspect},
	{"events", NULL, "[OPTIONS] [VM]", "Show what happened to a VM, or to all",
	 GROUPS(&events_options), 0, 1, false, COMPLETE_VM, NULL, verb_events},
	{"wait", NULL, "[OPTIONS] " VMS, "Wait for VMs to end, and print their exit codes",
	 GROUPS(&wait_options), 1, -1, false, COMPLETE_VM, NULL, verb_wait},
	{"stats", NULL, "[OPTIONS] [VM...]", "Show what VMs use", GROUPS(&format_options), 0, -1,
	 false, COMPLETE_VM, NULL, verb_stats},
	{"pull", NULL, "[OPTIONS] IMAGE...", "Get images from their registries",
	 GROUPS(&pull_options), 1, -1, false, COMPLETE_NOTHING, NULL, verb_pull},
	{"image", NULL,
	 "[OPTIONS] ls|pull|load|import|save|tag|rm|prune|inspect|history|df [ARGUMENT...]",
	 "Manage the images that are here", GROUPS(&image_options), 1, -1, false, COMPLETE_WORD,
	 "ls|pull|load|import|save|tag|rm|prune|inspect|history|df", verb_image},
	{"login", NULL, "[OPTIONS] [REGISTRY]", "Tell a registry who one is, from now on",
	 GROUPS(&login_options), 0, 1, false, COMPLETE_NOTHING, NULL, verb_login},
	{"logout", NULL, "[REGISTRY]", "Forget who one is to a registry", GROUPS(), 0, 1, false,
	 COMPLETE_NOTHING, NULL, verb_logout},
	{"kernel", NULL, "[OPTIONS] ls|pull",
	 "Show or renew the kernel that VMs boot when they name none", GROUPS(&kernel_options), 1,
	 1, false, COMPLETE_WORD, "ls|pull", verb_kernel},
	{"disk", NULL, "[OPTIONS] create|clone|resize|info|pull|ls [ARGUMENT...]",
	 "Make, clone, grow and look at disk images, and pull cloud images", GROUPS(&disk_options),
	 1, -1, false, COMPLETE_WORD, "create|clone|resize|info|pull|ls", verb_disk},
	{"volume", NULL, "[OPTIONS] create|ls|rm|inspect|prune [NAME...]",
	 "Manage named volumes, which stay when VMs go", GROUPS(&volume_options), 1, -1, false,
	 COMPLETE_WORD, "create|ls|rm|inspect|prune", verb_volume},
	{"doctor", NULL, "[OPTIONS]", "Find out what this host can do, and what it lacks",
	 GROUPS(&format_options), 0, 0, false, COMPLETE_NOTHING, NULL, verb_doctor},
	{"backends", NULL, "[OPTIONS] [NAME]", "List what can run VMs here, and what each can do",
	 GROUPS(&format_options), 0, 1, false, COMPLETE_NOTHING, NULL, verb_backends},
	{"version", NULL, "[OPTIONS]", "Print the version", GROUPS(&format_options), 0, 0, false,
	 COMPLETE_NOTHING, NULL, verb_version},
	{"completion", NULL, "bash|zsh|fish", "Print a shell's completion script", GROUPS(), 1, 1,
	 false, COMPLETE_WORD, "bash|zsh|fish", verb_completion},
	{"schema", NULL, "", "Print the JSON Schema of configurations", GROUPS(), 0, 0, false,
	 COMPLETE_NOTHING, NULL, verb_schema},
	{NULL},
};
