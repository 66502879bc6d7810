/* SPDX-License-Identifier: Apache-2.0 */
/* The system interrupts reads and writes and does less than asked for: nobody above notices. */
#include "kiln_test.h"

#include "fdstream.h"
#include "loop.h"
#include "os.h"
#include "shortio.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE  300000
#define SEEDS 20

static char *pattern(void)
{
	char *bytes = malloc(SIZE);

	assert_non_null(bytes);
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (char)(i * 7 + i / 251);
	return bytes;
}

static void files_are_read_and_written_whole(void **state)
{
	kiln__autofree char *bytes = pattern();
	kiln__autofree char *read = calloc(1, SIZE);
	const char *path = kiln_test_path("file");
	kiln_error err;

	(void)state;
	assert_non_null(read);
	for (uint32_t seed = 0; seed < SEEDS; seed++) {
		kiln__autofree char *text = NULL;
		kiln__autoclose kiln_fd fd = KILN_FD_NONE;
		size_t len;

		shortio_start(seed, true);
		kiln_ok(kiln__os_replace_file(path, bytes, SIZE, 0600, true, &err), &err);
		kiln_ok(kiln__os_read_file(path, SIZE, &text, &len, &err), &err);
		assert_int_equal(len, SIZE);
		assert_memory_equal(text, bytes, SIZE);
		kiln_ok(kiln__os_open(&fd, path, KILN__OPEN_WRITE, &err), &err);
		kiln_ok(kiln__os_set_size(fd, 0, &err), &err);
		kiln_ok(kiln__os_write_full(fd, bytes, SIZE, &err), &err);
		kiln_ok(kiln__os_pwrite_full(fd, bytes, 1000, SIZE, &err), &err);
		assert_int_equal(kiln__os_pread_full(fd, read, SIZE, 1000, &err), SIZE);
		assert_memory_equal(read, bytes + 1000, SIZE - 1000);
		assert_memory_equal(read + SIZE - 1000, bytes, 1000);
		assert_true(shortio_count() > 0);
		shortio_stop();
	}
}

/* A stream that is sent a pattern, and what came of it. */
struct receiver {
	struct kiln__stream *stream;
	char *got;
	size_t len;
	bool done;
};

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct receiver *receiver = data;

	assert_true(len <= SIZE - receiver->len);
	memcpy(receiver->got + receiver->len, bytes, len);
	receiver->len += len;
	return len;
}

static void on_eof(void *data)
{
	((struct receiver *)data)->done = true;
}

static void on_error(void *data, const kiln_error *err)
{
	(void)data;
	fail_msg("%s", err->message);
}

static const struct kiln__stream_handler receiving = {
	.on_data = on_data, .on_eof = on_eof, .on_error = on_error};

struct sender {
	struct kiln__stream *stream;
	const char *bytes;
	size_t sent;
};

static void send_more(void *data)
{
	struct sender *sender = data;
	ssize_t n = kiln__stream_write(sender->stream, sender->bytes + sender->sent,
				       SIZE - sender->sent);

	assert_true(n >= 0);
	sender->sent += (size_t)n;
	if (sender->sent == SIZE)
		kiln__stream_shutdown(sender->stream);
}

static size_t on_nothing(void *data, const void *bytes, size_t len)
{
	(void)data;
	(void)bytes;
	return len;
}

static const struct kiln__stream_handler sending = {
	.on_data = on_nothing, .on_writable = send_more, .on_error = on_error};

static void a_stream_arrives_whole(void **state)
{
	kiln__autofree char *bytes = pattern();
	kiln__autofree char *got = calloc(1, SIZE);
	kiln_error err;

	(void)state;
	assert_non_null(got);
	for (uint32_t seed = 0; seed < SEEDS; seed++) {
		struct receiver receiver = {.got = got};
		struct sender sender = {.bytes = bytes};
		kiln_loop *loop;
		kiln_fd ends[2];

		kiln_ok(kiln_loop_new(&loop, &err), &err);
		kiln_ok(kiln__os_socket_pair(ends, &err), &err);
		kiln_ok(kiln__fdstream_new(&receiver.stream, loop, ends[0], &err), &err);
		kiln_ok(kiln__fdstream_new(&sender.stream, loop, ends[1], &err), &err);
		kiln__stream_set_handler(receiver.stream, &receiving, &receiver);
		kiln__stream_set_handler(sender.stream, &sending, &sender);
		shortio_start(seed, false);
		kiln__stream_resume(receiver.stream);
		send_more(&sender);
		kiln_test_run_until(loop, &receiver.done);
		assert_true(shortio_count() > 0);
		shortio_stop();
		assert_int_equal(receiver.len, SIZE);
		assert_memory_equal(got, bytes, SIZE);
		kiln__stream_close(receiver.stream);
		kiln__stream_close(sender.stream);
		kiln_loop_free(loop);
	}
}

/* Descriptors go with the first byte that goes, and once. */
static void descriptors_arrive_once(void **state)
{
	kiln_error err;

	(void)state;
	for (uint32_t seed = 0; seed < SEEDS * 10; seed++) {
		kiln_fd received[KILN__OS_MAX_FDS];
		size_t total = 0;
		size_t sent = 0;
		size_t have = 0;
		kiln_fd ends[2];
		char text[8];
		ssize_t n;

		kiln_ok(kiln__os_socket_pair(ends, &err), &err);
		shortio_start(seed, false);
		while (sent < 8) {
			n = kiln__os_send_fds(ends[0], "message" + sent, 8 - sent, ends,
					      sent ? 0 : 2);
			assert_true(n > 0);
			sent += (size_t)n;
		}
		while (have < 8) {
			size_t count = KILN__OS_MAX_FDS - total;

			n = kiln__os_recv_fds(ends[1], text + have, 8 - have, received + total,
					      &count);
			assert_true(n > 0);
			have += (size_t)n;
			total += count;
		}
		shortio_stop();
		assert_string_equal(text, "message");
		assert_int_equal(total, 2);
		for (size_t i = 0; i < total; i++)
			kiln__os_close(received[i]);
		kiln__os_close(ends[0]);
		kiln__os_close(ends[1]);
	}
}

static void a_connection_is_accepted(void **state)
{
	const char *path = kiln_test_path("socket");
	kiln_error err;

	(void)state;
	for (uint32_t seed = 0; seed < SEEDS; seed++) {
		kiln_fd listener;
		kiln_fd client;
		kiln_fd server;

		kiln_ok(kiln__os_local_listen(&listener, path, &err), &err);
		kiln_ok(kiln__os_local_connect(&client, path, &err), &err);
		shortio_start(seed, false);
		kiln_ok(kiln__os_accept(&server, listener, &err), &err);
		shortio_stop();
		kiln__os_close(server);
		kiln__os_close(client);
		kiln__os_close(listener);
		kiln_ok(kiln__os_remove(path, &err), &err);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(files_are_read_and_written_whole),
		kiln_test(a_stream_arrives_whole),
		kiln_test(descriptors_arrive_once),
		kiln_test(a_connection_is_accepted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
