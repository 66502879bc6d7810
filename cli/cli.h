/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kiln: the command. One process, one thread, one loop; everything it does with VMs
 * it does through <kiln/manager.h>.
 *
 *   main.c        the beginning and the end     verbs.c       table of verbs and options
 *   args.c        command lines                 help.c        --help
 *   completion.c  shells' completions           configure.c   options into a configuration
 *   run.c         run, create, start            foreground.c  a process in the guest as one's own
 *   verbs_life.c  stop, kill, pause, rm ...     verbs_look.c  ls, inspect, stats, wait
 *   verbs_change.c  update, nmi, reset, dump    verbs_vm.c    what those share
 *   logs.c        logs, events                  console.c     console
 *   doctor.c      doctor, backends, version     print.c       tables, errors, times
 *   inout.c       standard input and output     terminal.c    terminals
 *   signals.c     signals as events             trace.c       --trace
 *   kernel.c      kernel                        configure_seed.c  seed, volumes
 *   disk.c        disk                          volume.c      volume
 *   image.c       image, pull; image.h has its parts
 *   fromimage.c   an image as the root          login.c       login, logout
 *
 * Data goes to standard output, all else to standard error. Exit codes: the guest
 * command's own, 128+N if signal N killed it, 126 and 127 as a shell's, 125 when kiln
 * itself fails.
 */
#ifndef KILN_CLI_CLI_H
#define KILN_CLI_CLI_H

#include <kiln/manager.h>

#include "args.h"
#include "os.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#define EXIT_KILN   125
#define EXIT_NOEXEC 126
#define EXIT_NOCMD  127

struct trace;

struct cli {
	kiln_manager *manager; /* made by cli_manager() */
	struct trace *trace;   /* NULL: none is wanted */
	bool talks;            /* progress is wanted on standard error */
	bool bar;              /* and it may be drawn over, on a terminal */
	bool drawn;            /* something is drawn */
	bool silent;           /* and what else is said there, too, is not */
	kiln_fd image_held;    /* keeps an image until a VM names it; KILN_FD_NONE: none */
	int killed_by;         /* the signal that ended the work: kiln then dies by it; 0: none */
};

/* Makes the manager, if there is none yet. */
int cli_manager(struct cli *cli, kiln_error *err);

/* kiln_manager_find() with what to do where there is none; makes the manager first. */
int cli_find(struct cli *cli, const char *name, kiln_vm **ret, kiln_error *err);

/* What --progress says. */
void cli_progress(struct cli *cli, const struct args *args);

/* --- print.c ----------------------------------------------------------------- */

/*
 * "kiln: WHAT: why" and a line with the hint, on standard error. @what may be NULL.
 * Returns EXIT_KILN.
 */
int complain(const char *what, const kiln_error *err);

/* One line for people on standard error, if they want any. */
void tell(const struct cli *cli, const char *fmt, ...) KILN_PRINTF(2, 3);

/* The exit code that stands for why nothing ran. */
int exit_code_of_error(const kiln_error *err);

/*
 * A document on standard output; releases @value, NULL: out of memory. What of it could be a
 * command to a terminal is escaped: texts may be an image's or a guest's.
 */
int print_json(json_t *value, kiln_error *err);
void print_json_text(const char *json);

/* A table whose columns are as wide as they must be. Cells are copied. */
struct table;
struct table *table_new(const char *const *heads);                           /* NULL-terminated */
void table_add(struct table *table, const char *fmt, ...) KILN_PRINTF(2, 3); /* the next cell */
void table_print(struct table *table);                                       /* and frees it */

/* "3 minutes ago"; "512.0 MiB". */
const char *format_ago(int64_t realtime_ns, char *text, size_t size);
const char *format_bytes(uint64_t bytes, char *text, size_t size);

/* "10" (seconds), "10s", "500ms", "2m", "1h" into milliseconds. */
int parse_duration(const char *text, uint64_t *ret_ms, kiln_error *err);

/* "512M", "1G", as sizes in configurations. @what is for the message. */
int parse_size_of(const char *what, const char *text, uint64_t *ret, kiln_error *err);

/* RFC 3339, or a duration before now. */
int parse_time(const char *text, int64_t *ret_realtime_ns, kiln_error *err);

/* A signal's name, with or without SIG, or number. */
int parse_signal(const char *text, int *ret, kiln_error *err);

/* --- doctor.c ---------------------------------------------------------------- */

/* Says on standard error that the guest is emulated, and why, if nobody asked for that; once a boot
 * of the host. */
void tell_emulation(const struct cli *cli, kiln_vm *vm);

/* --- configure.c ------------------------------------------------------------- */

/* The configuration that options and positional arguments of run and create describe. */
int configure(struct cli *cli, const struct args *args, kiln_config **ret, kiln_error *err);

/* --- fromimage.c ------------------------------------------------------------- */

/*
 * The image @name as the root, pulled if that is wanted, and what it says of its process wherever
 * options have not said otherwise, by docker's rules. @commanded: a command follows.
 */
int configure_image(struct cli *cli, const struct args *args, const char *name, bool commanded,
		    kiln_config *config, kiln_error *err);

/* "linux/arm64", or an architecture as uname has it. */
int parse_platform(const char *text, const char **ret_arch, kiln_error *err);

/* The image store of this user, for as long as the home and cache are not freed. */
struct kiln__home;
struct kiln__images;
int open_images(struct cli *cli, struct kiln__images *ret, kiln_error *err);
void close_images(struct kiln__images *images);

/* Shows how far a download is, on a terminal; see --progress. */
struct kiln__transfer;
void show_transfer(void *data, const struct kiln__transfer *transfer);

/* --- configure_seed.c: options of seed and volumes, each by its rule --- */

int enter_seed(kiln_config *config, const struct given *given, kiln_error *err);
int enter_share(kiln_config *config, const char *value, kiln_error *err);
int enter_volume(kiln_config *config, const char *value, kiln_error *err);

/* A machine's configuration of a file of Firecracker's (fromvmm.c). */
int from_firecracker(const char *file, kiln_config **ret, kiln_error *err);
/* A kernel's command line of another's into @document, without what kiln says itself. */
void from_boot_args(json_t *document, const char *text);
/* The same of a command line of Cloud Hypervisor's (fromch.c). */
int from_cloud_hypervisor(const char *file, kiln_config **ret, kiln_error *err);

/* Helpers of configure.c: @path made absolute, malloc'ed; an object or list at @key, which is
 * taken. */
int absolute_path(const char *path, char **ret, kiln_error *err);
int config_set_json(kiln_config *config, const char *key, json_t *value, kiln_error *err);
bool config_has(const kiln_config *config, const char *key);

/* Calls @fn for each line of an --env-file but comments; a negative result ends it. */
int env_file_each(const char *path, int (*fn)(void *data, const char *line, kiln_error *err),
		  void *data, kiln_error *err);

/* --- console.c --------------------------------------------------------------- */

/*
 * A VM's console on this terminal, until it ends, or a signal comes, or, with @keys, ctrl-p
 * ctrl-q is typed.
 */
int console_run(struct cli *cli, kiln_vm *vm, const char *keys, int *ret_code, kiln_error *err);

/* --- verbs ------------------------------------------------------------------- */

int verb_run(struct cli *cli, const struct args *args);
int verb_create(struct cli *cli, const struct args *args);
int verb_start(struct cli *cli, const struct args *args);
int verb_exec(struct cli *cli, const struct args *args);
int verb_attach(struct cli *cli, const struct args *args);
int verb_stop(struct cli *cli, const struct args *args);
int verb_kill(struct cli *cli, const struct args *args);
int verb_pause(struct cli *cli, const struct args *args);
int verb_snapshot(struct cli *cli, const struct args *args);
int verb_update(struct cli *cli, const struct args *args);
int verb_nmi(struct cli *cli, const struct args *args);
int verb_reset(struct cli *cli, const struct args *args);
int verb_dump(struct cli *cli, const struct args *args);
int press_button(struct cli *cli, const struct args *args); /* stop --power-button */

/* verbs_vm.c: @fn for each VM named; it prints what it has to, a negative code fails. */
typedef int (*each_vm_fn)(kiln_vm *vm, const void *data, const char *name, kiln_error *err);
int for_each_vm(struct cli *cli, const struct args *args, each_vm_fn fn, const void *data);
int print_name(int r, const char *name); /* if @r, which it returns, is 0 */

/* For "NAME PATH": @fn with that VM and the path made absolute, which is printed then. */
typedef int (*vm_path_fn)(kiln_vm *vm, const char *path, const void *data, kiln_error *err);
int for_vm_and_path(struct cli *cli, const struct args *args, vm_path_fn fn, const void *data);

/* @fn with the VM paused for as long as that takes, if it runs. */
int while_paused(kiln_vm *vm, vm_path_fn fn, const char *path, const void *data, kiln_error *err);

int verb_resume(struct cli *cli, const struct args *args);
int verb_restart(struct cli *cli, const struct args *args);
int verb_rm(struct cli *cli, const struct args *args);
int verb_ls(struct cli *cli, const struct args *args);
int verb_logs(struct cli *cli, const struct args *args);
int verb_console(struct cli *cli, const struct args *args);
int verb_inspect(struct cli *cli, const struct args *args);
int verb_events(struct cli *cli, const struct args *args);
int verb_wait(struct cli *cli, const struct args *args);
int verb_stats(struct cli *cli, const struct args *args);
int verb_doctor(struct cli *cli, const struct args *args);
int verb_image(struct cli *cli, const struct args *args);
int verb_pull(struct cli *cli, const struct args *args);
int verb_login(struct cli *cli, const struct args *args);
int verb_logout(struct cli *cli, const struct args *args);
int verb_kernel(struct cli *cli, const struct args *args);
int verb_disk(struct cli *cli, const struct args *args);
int verb_volume(struct cli *cli, const struct args *args);
int verb_backends(struct cli *cli, const struct args *args);
int verb_version(struct cli *cli, const struct args *args);
int verb_completion(struct cli *cli, const struct args *args);
int verb_schema(struct cli *cli, const struct args *args);

#endif
