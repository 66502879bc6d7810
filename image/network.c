/* SPDX-License-Identifier: Apache-2.0 */
#include "network.h"
#include "http.h"
#include "report.h"
#include "sandbox.h"

#include "err.h"
#include "jail.h"
#include "os.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

extern const struct kiln__jail_filter network_filter; /* made at build time */

#define MAX_REQUEST (1u << 20)
#define MAX_CA      (8u << 20)

#define DEFAULT_TIMEOUT 60
#define MAX_TIMEOUT     3600

/* What the C library looks into to resolve a name. */
static const char *const resolver_files[] = {
	"/etc/resolv.conf", "/etc/hosts",     "/etc/nsswitch.conf",
	"/etc/gai.conf",    "/etc/host.conf", "/etc/services",
};
#define RESOLVER_FILES (sizeof(resolver_files) / sizeof(resolver_files[0]))

/* Where systems keep the certificates that they trust, in one file. */
static const char *const ca_files[] = {
	"/etc/ssl/certs/ca-certificates.crt", /* Debian, Arch, Alpine */
	"/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora */
	"/etc/ssl/ca-bundle.pem",             /* openSUSE */
	"/etc/ssl/cert.pem",
};

static int load_ca(char **ret, size_t *ret_len, kiln_error *err)
{
	kiln__autofree char *given = kiln__os_env("SSL_CERT_FILE");

	if (given && *given)
		return kiln__os_read_file(given, MAX_CA, ret, ret_len, err);
	for (size_t i = 0; i < sizeof(ca_files) / sizeof(ca_files[0]); i++)
		if (kiln__os_read_file(ca_files[i], MAX_CA, ret, ret_len, NULL) == 0)
			return 0;
	return 0;
}

static int enter(const struct request *request, kiln_error *err)
{
	struct kiln__jail_place places[1 + RESOLVER_FILES];
	struct sandbox sandbox = {
		.places = places, .threads = 4, .network = true, .filter = &network_filter};
	size_t kept = 0;
	size_t opened;
	int r;

	if (request->dir != KILN_FD_NONE)
		places[kept++] = (struct kiln__jail_place){
			request->dir, KILN__JAIL_READ | KILN__JAIL_MAKE | KILN__JAIL_REMOVE};
	sandbox.place_count = kept;
	for (size_t i = 0; i < RESOLVER_FILES; i++) {
		kiln_fd fd = kiln__os_jail_place(resolver_files[i]);

		if (fd != KILN_FD_NONE)
			places[sandbox.place_count++] =
				(struct kiln__jail_place){fd, KILN__JAIL_READ_FILE};
	}
	opened = sandbox.place_count;
	r = sandbox_enter(&sandbox, err);
	for (size_t i = kept; i < opened; i++)
		kiln__os_close(places[i].at);
	return r;
}

static int read_request(kiln_fd fd, json_t **ret, kiln_error *err)
{
	kiln__autofree char *text = NULL;
	size_t len;
	int r = kiln__os_read_open(fd, "the request", MAX_REQUEST, &text, &len, err);

	if (r < 0)
		return r;
	*ret = json_loadb(text, len, 0, NULL);
	kiln__wipe(text, len);
	return *ret ? 0 : kiln__fail(err, KILN_EINVAL, "the request is no JSON");
}

int network_run(struct request *request, kiln_error *err)
{
	kiln__autofree char *ca = NULL;
	struct http_options options = {.timeout_s = DEFAULT_TIMEOUT};
	json_int_t timeout;
	int r;

	if ((request->dir == KILN_FD_NONE) == (request->output == KILN_FD_NONE) ||
	    request->asked_fd == KILN_FD_NONE)
		return kiln__fail(err, KILN_EINVAL,
				  "the network is for --request and one of --dir and --output");
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return kiln__fail(err, KILN_ESYSTEM, "libcurl cannot be set up");
	r = read_request(request->asked_fd, &request->asked, err);
	if (r == 0)
		r = load_ca(&ca, &options.ca_len, err);
	if (r == 0)
		r = enter(request, err);
	if (r < 0)
		return r;
	options.ca = ca;
	timeout = json_integer_value(json_object_get(request->asked, "timeout"));
	if (timeout > 0 && timeout <= MAX_TIMEOUT)
		options.timeout_s = (unsigned)timeout;
	r = http_new(&request->http, &options, err);
	if (r == 0)
		r = request->output == KILN_FD_NONE ? command_fetch(request, err)
						    : command_download(request, err);
	http_free(request->http);
	json_decref(request->asked);
	curl_global_cleanup();
	return r;
}
