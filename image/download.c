/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kiln-download: gets one file by https into a descriptor and prints its size and digest. A program
 * of its own, so that what parses images has no network, and what has a network parses none:
 *
 * kiln-download URL sha256|sha512 MAX_BYTES      the file is descriptor 3; the result, as JSON, is
 * printed
 *
 * Started without rights but this user's (no_new_privs, no capabilities). Certificates are always
 * checked, against the system's or those of $SSL_CERT_FILE; redirections lead to https alone. One
 * thread, but for libcurl's resolver.
 */
#include "report.h"

#include "err.h"
#include "os.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define FD_OUTPUT 3

#define CONNECT_SECONDS 30
#define STALL_SECONDS   60 /* without STALL_BYTES a second */
#define STALL_BYTES     100
#define MAX_REDIRECTS   10

struct download {
	EVP_MD_CTX *digest;
	uint64_t size;
	uint64_t max;
	kiln_error err; /* why it was broken off */
};

/* What is all zeros stays a hole. */
static bool is_zero(const char *bytes, size_t len)
{
	return len && bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static size_t on_body(char *bytes, size_t one, size_t len, void *data)
{
	struct download *download = data;

	(void)one;
	if (len > download->max - download->size) {
		kiln__fail(&download->err, KILN_EOVERFLOW, "it is longer than %llu bytes",
			   (unsigned long long)download->max);
		return CURL_WRITEFUNC_ERROR;
	}
	if (!is_zero(bytes, len) &&
	    kiln__os_pwrite_full(FD_OUTPUT, bytes, len, download->size, &download->err) < 0)
		return CURL_WRITEFUNC_ERROR;
	if (!EVP_DigestUpdate(download->digest, bytes, len)) {
		kiln__fail(&download->err, KILN_ESYSTEM, "no digest can be computed");
		return CURL_WRITEFUNC_ERROR;
	}
	download->size += len;
	return len;
}

static void set_options(CURL *curl, const char *url, struct download *download, char *why)
{
	const char *certificates = getenv("SSL_CERT_FILE");

	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "https");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALL_SECONDS);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "kiln/" KILN_VERSION);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, download);
	if (certificates && *certificates)
		curl_easy_setopt(curl, CURLOPT_CAINFO, certificates);
}

/* The server's and the network's failures in kiln's terms. */
static int failed(CURL *curl, CURLcode code, const char *why, struct download *download,
		  kiln_error *err)
{
	long status = 0;

	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (download->err.code) {
		*err = download->err;
		return err->code;
	}
	if (code == CURLE_HTTP_RETURNED_ERROR)
		return kiln__fail(err, status == 404 ? KILN_ENOENT : KILN_EIO,
				  "the server answers %ld", status);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return kiln__fail(err, KILN_ETIMEDOUT, "%s", *why ? why : curl_easy_strerror(code));
	return kiln__fail(err, KILN_EIO, "%s", *why ? why : curl_easy_strerror(code));
}

static int transfer(const char *url, struct download *download, kiln_error *err)
{
	char why[CURL_ERROR_SIZE] = "";
	CURL *curl = curl_easy_init();
	CURLcode code;
	int rc = 0;

	if (!curl)
		return kiln__fail_nomem(err);
	set_options(curl, url, download, why);
	code = curl_easy_perform(curl);
	if (code != CURLE_OK)
		rc = failed(curl, code, why, download, err);
	curl_easy_cleanup(curl);
	return rc;
}

static json_t *describe(struct download *download)
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE + 1] = "";
	unsigned len = 0;

	if (!EVP_DigestFinal_ex(download->digest, bytes, &len))
		return NULL;
	for (unsigned i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	return json_pack("{s:I, s:s}", "size", (json_int_t)download->size, "digest", hex);
}

static int run(int argc, char **argv, kiln_error *err)
{
	struct download download = {.err = KILN_ERROR_INIT};
	const EVP_MD *kind;
	int rc;

	if (argc != 4 || strncmp(argv[1], "https://", 8) != 0)
		return kiln__fail(err, KILN_EINVAL,
				  "kiln-download URL sha256|sha512 MAX_BYTES: kiln runs it");
	download.max = strtoull(argv[3], NULL, 10);
	kind = strcmp(argv[2], "sha256") == 0 ? EVP_sha256() : EVP_sha512();
	download.digest = EVP_MD_CTX_new();
	if (!download.digest || !EVP_DigestInit_ex(download.digest, kind, NULL))
		rc = kiln__fail_nomem(err);
	else
		rc = transfer(argv[1], &download, err);
	if (!rc)
		rc = kiln__os_set_size(FD_OUTPUT, download.size, err);
	if (!rc)
		rc = report_result(describe(&download), err);
	else
		kiln__prefix(err, "%s", argv[1]);
	EVP_MD_CTX_free(download.digest);
	return rc;
}

int main(int argc, char **argv)
{
	kiln_error err = KILN_ERROR_INIT;

	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return 1;
	return run(argc, argv, &err) ? report_failure(&err) : 0;
}
