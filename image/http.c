/* SPDX-License-Identifier: Apache-2.0 */
/* The transfers that there are: begun, gone on with, and told of when they are over. */
#include "transfer.h"

#include "err.h"
#include "os.h"
#include "syscalls.h"

#include <stdlib.h>

/* libcurl, libcrypto and the C library's resolver. No local sockets but pairs of its own. */
KILN__SYSCALLS(socket(0 = 2), socket(0 = 10), socketpair(0 = 1));
KILN__SYSCALLS(connect, sendto(4 = 0), recvfrom, sendmsg, sendmmsg, recvmsg, poll, ppoll, bind);
KILN__SYSCALLS(getsockname, getpeername, getsockopt, setsockopt, shutdown, ioctl(1 = 0x541b));
KILN__SYSCALLS(fcntl(1 = 1), fcntl(1 = 2), fcntl(1 = 3), fcntl(1 = 4), pipe2, eventfd2);
KILN__SYSCALLS(clock_nanosleep, getuid, geteuid, getgid, getegid, uname, rt_sigaction);
KILN__SYSCALLS(openat, newfstatat, fstat, lseek, read, write, close, set_robust_list, rseq);

int http_new(struct http **ret, const struct http_options *options, kiln_error *err)
{
	struct http *http = calloc(1, sizeof(*http));

	if (http)
		http->multi = curl_multi_init();
	if (!http || !http->multi) {
		free(http);
		return kiln__fail_nomem(err);
	}
	http->options = *options;
	*ret = http;
	return 0;
}

void http_free(struct http *http)
{
	struct transfer *transfer;

	if (!http)
		return;
	while ((transfer = http->transfers)) {
		http->transfers = transfer->next;
		curl_multi_remove_handle(http->multi, transfer->easy);
		transfer_free(transfer);
	}
	curl_multi_cleanup(http->multi);
	free(http);
}

int http_get(struct http *http, const struct http_call *call, struct http_answer *ret,
	     bool *ret_transient, kiln_error *err)
{
	struct transfer *transfer = transfer_new(http, call, NULL);
	CURLcode code = CURLE_OK;
	int r;

	*ret_transient = false;
	if (!transfer)
		return kiln__fail_nomem(err);
	r = transfer_prepare(transfer, err);
	while (r == 0) {
		code = curl_easy_perform(transfer->easy);
		if (!transfer_is_redirected(transfer, code))
			break;
		r = transfer_follow(transfer, err);
	}
	if (r == 0)
		r = transfer_judge(transfer, code, ret_transient, err);
	if (r == 0) {
		*ret = transfer->answer;
		transfer->answer = (struct http_answer){.status = 0};
	}
	transfer_free(transfer);
	return r;
}

int http_start(struct http *http, const struct http_call *call, http_done_fn done, kiln_error *err)
{
	struct transfer *transfer = transfer_new(http, call, done);
	int r;

	if (!transfer)
		return kiln__fail_nomem(err);
	r = transfer_prepare(transfer, err);
	if (r == 0 && curl_multi_add_handle(http->multi, transfer->easy) != CURLM_OK)
		r = kiln__fail_nomem(err);
	if (r < 0) {
		transfer_free(transfer);
		return r;
	}
	transfer->next = http->transfers;
	http->transfers = transfer;
	return 0;
}

/* One request of a transfer is over, and with it the transfer unless it was redirected. */
static void finish(struct http *http, struct transfer *transfer, CURLcode code)
{
	struct transfer **at = &http->transfers;
	kiln_error err = KILN_ERROR_INIT;
	bool transient = false;
	int r;

	curl_multi_remove_handle(http->multi, transfer->easy);
	if (transfer_is_redirected(transfer, code)) {
		r = transfer_follow(transfer, &err);
		if (r == 0 && curl_multi_add_handle(http->multi, transfer->easy) != CURLM_OK)
			r = kiln__fail_nomem(&err);
		if (r == 0)
			return;
	} else {
		r = transfer_judge(transfer, code, &transient, &err);
	}
	while (*at != transfer)
		at = &(*at)->next;
	*at = transfer->next;
	transfer->done(transfer->call.data, &transfer->answer, transient, r < 0 ? &err : NULL);
	transfer_free(transfer);
}

int http_step(struct http *http, int timeout_ms, kiln_error *err)
{
	CURLMcode code;
	CURLMsg *message;
	int running;
	int left;

	code = curl_multi_perform(http->multi, &running);
	if (code == CURLM_OK && timeout_ms && (running || !http->transfers))
		code = curl_multi_poll(http->multi, NULL, 0, timeout_ms, NULL);
	if (code == CURLM_OK)
		code = curl_multi_perform(http->multi, &running);
	if (code != CURLM_OK)
		return kiln__fail(err, KILN_ESYSTEM, "libcurl: %s", curl_multi_strerror(code));
	while ((message = curl_multi_info_read(http->multi, &left))) {
		struct transfer *transfer = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
		finish(http, transfer, message->data.result);
	}
	return 0;
}

int http_pause(struct http *http, int ms, kiln_error *err)
{
	const int64_t until = kiln__os_monotonic_ns() + INT64_C(1000000) * ms;
	int r = 0;

	while (r == 0) {
		int64_t left = (until - kiln__os_monotonic_ns() + 999999) / 1000000;

		if (left <= 0)
			break;
		r = http_step(http, (int)left, err);
	}
	return r;
}
