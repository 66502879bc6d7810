/* SPDX-License-Identifier: Apache-2.0 */
#include "terminal.h"

#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* A process has one terminal; a signal handler must find it. */
static struct termios saved;
static volatile sig_atomic_t changed;

bool terminal_is_input(void)
{
	return isatty(STDIN_FILENO);
}

void terminal_restore(void)
{
	if (!changed)
		return;
	changed = 0;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
}

/* tcsetattr() is async-signal-safe. The handler is gone after one use: the fault then kills. */
static void on_fault(int number)
{
	if (changed)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	raise(number);
}

static void guard(void)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};
	struct sigaction action = {.sa_handler = on_fault, .sa_flags = (int)SA_RESETHAND};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigaction(faults[i], &action, NULL);
	atexit(terminal_restore);
}

void terminal_raw(bool keys)
{
	static bool guarded;
	struct termios raw;

	if (!changed) {
		if (tcgetattr(STDIN_FILENO, &saved) < 0)
			return;
		if (!guarded)
			guard();
		guarded = true;
		changed = 1;
	}
	raw = saved;
	cfmakeraw(&raw);
	raw.c_oflag = keys ? saved.c_oflag : raw.c_oflag; /* our own messages are still to come */
	if (keys)
		raw.c_lflag |= ISIG;
	/* What was typed already is kept: it is for the guest. */
	tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

bool terminal_size(unsigned *ret_rows, unsigned *ret_cols)
{
	struct winsize size;

	for (int fd = 0; fd <= 2; fd++) {
		if (ioctl(fd, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
			continue;
		*ret_rows = size.ws_row;
		*ret_cols = size.ws_col;
		return true;
	}
	return false;
}
