/* SPDX-License-Identifier: Apache-2.0 */
/* login, logout: who one is to registries, in the file that containers' tools share. */
#include "cli.h"

#include "auth.h"
#include "buf.h"
#include "err.h"
#include "images.h"
#include "os.h"
#include "reference.h"
#include "store.h"

#include <string.h>
#include <termios.h>
#include <unistd.h>

#define MAX_SECRET 65536

/* One line, without its end. */
static int read_line(char *text, size_t size, kiln_error *err)
{
	if (!fgets(text, (int)size, stdin))
		return kiln__fail(err, KILN_EINVAL, "standard input has ended");
	text[strcspn(text, "\r\n")] = '\0';
	return 0;
}

/* On a terminal it is not shown. */
static int ask(const char *what, bool secret, char *text, size_t size, kiln_error *err)
{
	struct termios old;
	struct termios quiet;
	bool hidden;
	int r;

	if (!isatty(STDIN_FILENO)) {
		kiln__fail(err, KILN_EINVAL, "there is no terminal to ask for the %s", what);
		kiln__hint(err, "use --username and --password-stdin");
		return KILN_EINVAL;
	}
	fprintf(stderr, "%s: ", what);
	fflush(stderr);
	hidden = secret && tcgetattr(STDIN_FILENO, &old) == 0;
	if (hidden) {
		quiet = old;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
	}
	r = read_line(text, size, err);
	if (hidden) {
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
		fputc('\n', stderr);
	}
	return r;
}

static int read_password(const struct args *args, char *text, kiln_error *err)
{
	ssize_t got;

	if (!args_has(args, OPT_PASSWORD_STDIN))
		return ask("password", true, text, MAX_SECRET, err);
	got = kiln__os_read_full(STDIN_FILENO, text, MAX_SECRET - 1, err);
	if (got < 0)
		return (int)got;
	text[got] = '\0';
	if (strlen(text) != (size_t)got)
		return kiln__fail(err, KILN_EINVAL, "the password has NUL bytes");
	text[strcspn(text, "\r\n")] = '\0';
	return *text ? 0 : kiln__fail(err, KILN_EINVAL, "the password is empty");
}

/* HOST[:PORT], by default docker.io. */
static int registry_of(const struct args *args, const char **ret, kiln_error *err)
{
	const char *host = args->count ? args->positional[0] : KILN__REFERENCE_DOCKER;

	if (!kiln__reference_is_domain(host, strlen(host)) ||
	    strlen(host) > KILN__REFERENCE_NAME_MAX) {
		kiln__fail(err, KILN_EINVAL, "\"%.80s\" is no registry", host);
		kiln__hint(err, "write HOST or HOST:PORT");
		return KILN_EINVAL;
	}
	*ret = strcmp(host, "index.docker.io") == 0 ? KILN__REFERENCE_DOCKER : host;
	return 0;
}

static int login(struct cli *cli, const struct args *args, const char *host, char *password,
		 kiln_error *err)
{
	const char *user = args_value(args, OPT_USERNAME);
	struct kiln__images images = {0};
	char name[512];
	int r = 0;

	if (!user) {
		r = ask("user name", false, name, sizeof(name), err);
		user = name;
	}
	if (r == 0 && (!*user || strchr(user, ':')))
		r = kiln__fail(err, KILN_EINVAL, "a user name is not empty and has no colon");
	if (r == 0)
		r = read_password(args, password, err);
	if (r == 0)
		r = open_images(cli, &images, err);
	if (r < 0)
		return r;
	r = kiln__image_check_login(&images, host, user, password, err);
	close_images(&images);
	return r < 0 ? r : kiln__auth_save(host, user, password, err);
}

int verb_login(struct cli *cli, const struct args *args)
{
	static char password[MAX_SECRET];
	kiln_error err = KILN_ERROR_INIT;
	const char *host = NULL;
	int r = registry_of(args, &host, &err);

	if (r == 0)
		r = login(cli, args, host, password, &err);
	kiln__wipe(password, sizeof(password));
	if (r < 0)
		return complain("login", &err);
	fprintf(stderr, "logged in to %s\n", host);
	return 0;
}

int verb_logout(struct cli *cli, const struct args *args)
{
	kiln_error err = KILN_ERROR_INIT;
	kiln__autofree char *still = NULL;
	const char *host = NULL;
	int r = registry_of(args, &host, &err);

	(void)cli;
	if (r == 0)
		r = kiln__auth_remove(host, &still, &err);
	if (r >= 0 && still) {
		r = kiln__fail(&err, KILN_EEXIST, "%s still has a login to %s", still, host);
		kiln__hint(&err, "it is another tool's: log out there, as by \"docker logout %s\"",
			   host);
	}
	if (r < 0)
		return complain("logout", &err);
	fprintf(stderr, r ? "logged out of %s\n" : "there was no login to %s\n", host);
	return 0;
}
