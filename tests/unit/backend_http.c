/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client against a server that says what a test has it say. */
#include "kiln_test.h"

#include "acceptor.h"
#include "buf.h"
#include "fdstream.h"
#include "http.h"
#include "os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct server {
	kiln_loop *loop;
	struct kiln__acceptor *acceptor;
	struct kiln__stream *stream;
	struct kiln__buf in;
	const char *const *script; /* what is said to each request; NULL: hangs up; "": nothing */
	unsigned requests;
	unsigned connections;
};

struct client {
	struct kiln__http *http;
	struct server server;
	char directory[64];
	char path[96];
	int status;
	char body[64];
	kiln_error err;
	bool done;
	bool lost;
	kiln_error why;
};

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct server *server = data;
	const char *answer;

	kiln__buf_add(&server->in, bytes, len);
	if (!strstr(server->in.data, "\r\n\r\n"))
		return len;
	kiln__buf_clear(&server->in);
	answer = server->script[server->requests++];
	if (answer) {
		assert_int_equal(kiln__stream_write(server->stream, answer, strlen(answer)),
				 strlen(answer));
		return len;
	}
	kiln__stream_close(kiln__take(server->stream));
	return len;
}

static void on_eof(void *data)
{
	struct server *server = data;

	kiln__stream_close(kiln__take(server->stream));
}

static void on_error(void *data, const kiln_error *err)
{
	(void)err;
	on_eof(data);
}

static const struct kiln__stream_handler handler = {
	.on_data = on_data, .on_eof = on_eof, .on_error = on_error};

static void on_connection(void *data, kiln_fd fd)
{
	struct server *server = data;
	kiln_error err;

	kiln__stream_close(kiln__take(server->stream));
	kiln__buf_clear(&server->in);
	server->connections++;
	kiln_ok(kiln__fdstream_new(&server->stream, server->loop, fd, &err), &err);
	kiln__stream_set_handler(server->stream, &handler, server);
	kiln__stream_resume(server->stream);
}

static void on_lost(void *data, const kiln_error *why)
{
	struct client *client = data;

	client->lost = true;
	client->why = *why;
}

static const struct kiln__http_handler http_handler = {.lost = on_lost};

static void client_open(struct client *client, const char *const *script)
{
	kiln_fd listener;
	kiln_error err;

	*client = (struct client){.server = {.script = script}};
	snprintf(client->directory, sizeof(client->directory), "/tmp/kiln-http-XXXXXX");
	assert_non_null(mkdtemp(client->directory));
	snprintf(client->path, sizeof(client->path), "%s/s", client->directory);
	kiln_ok(kiln_loop_new(&client->server.loop, &err), &err);
	kiln_ok(kiln__os_local_listen(&listener, client->path, &err), &err);
	kiln_ok(kiln__acceptor_new(&client->server.acceptor, client->server.loop, listener,
				   on_connection, &client->server, &err),
		&err);
	kiln__acceptor_set(client->server.acceptor, true);
	kiln_ok(kiln__http_new(&client->http, client->server.loop, client->path, "It",
			       &http_handler, client, &err),
		&err);
}

static void client_close(struct client *client)
{
	kiln__http_free(client->http);
	kiln__stream_close(client->server.stream);
	kiln__acceptor_free(client->server.acceptor);
	kiln__buf_done(&client->server.in);
	kiln_test_settle(client->server.loop);
	kiln_loop_free(client->server.loop);
	unlink(client->path);
	rmdir(client->directory);
}

static void on_answer(void *data, const struct kiln__http_answer *answer, const kiln_error *err)
{
	struct client *client = data;

	assert_false(client->done);
	assert_int_equal(answer == NULL, err != NULL);
	client->done = true;
	client->err = err ? *err : (kiln_error)KILN_ERROR_INIT;
	if (answer) {
		client->status = answer->status;
		snprintf(client->body, sizeof(client->body), "%s", answer->body);
	}
}

static void begin(struct client *client, uint64_t deadline_ms)
{
	client->done = false;
	kiln__http_send(client->http, &(struct kiln__http_request){
					      .method = "PUT",
					      .target = "/x",
					      .body = "{}",
					      .deadline_ms = deadline_ms,
					      .done = on_answer,
					      .data = client,
				      });
}

static void ask(struct client *client)
{
	begin(client, 5000);
	kiln_test_run_until(client->server.loop, &client->done);
}

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

static void requests_go_over_one_connection(void **state)
{
	static const char *const script[] = {OK, "HTTP/1.1 204 \r\nConnection: keep-alive\r\n\r\n",
					     OK};
	struct client client;

	(void)state;
	client_open(&client, script);
	ask(&client);
	assert_int_equal(client.status, 200);
	assert_string_equal(client.body, "{}");
	ask(&client);
	assert_int_equal(client.status, 204);
	assert_string_equal(client.body, "");
	ask(&client);
	assert_int_equal(client.server.connections, 1);
	assert_int_equal(kiln__http_count(client.http), 3);
	client_close(&client);
}

static void a_server_of_anothers_is_sent_nothing(void **state)
{
	struct client client;
	kiln_error err;

	(void)state;
	client_open(&client, NULL);
	kiln__http_expect(client.http, geteuid() + 1);
	assert_int_equal(kiln__http_connect(client.http, &err), KILN_EACCES);
	kiln__http_expect(client.http, geteuid());
	kiln_ok(kiln__http_connect(client.http, &err), &err);
	client_close(&client);
}

static void a_closed_connection_is_made_anew(void **state)
{
	static const char *const script[] = {
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", OK};
	struct client client;

	(void)state;
	client_open(&client, script);
	ask(&client);
	ask(&client);
	assert_int_equal(client.status, 200);
	assert_int_equal(client.server.connections, 2);
	client_close(&client);
}

static void refusals_carry_the_servers_words(void **state)
{
	static const char *const script[] = {
		"HTTP/1.1 400 \r\nContent-Length: 35\r\n\r\n{\"fault_message\":\"The id is "
		"wrong\"}",
		"HTTP/1.1 500 X\r\nContent-Length: 18\r\n\r\n[\"Error\",\"a\\nb c\"]",
		"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot\x1b here",
		"HTTP/1.1 405 \r\nContent-Length: 0\r\n\r\n",
	};
	struct client client;

	(void)state;
	client_open(&client, script);
	ask(&client);
	assert_int_equal(client.err.code, KILN_EIO);
	assert_string_equal(client.err.message, "It refused PUT /x: The id is wrong (400)");
	ask(&client);
	assert_string_equal(client.err.message, "It refused PUT /x: Error: a b c (500)");
	ask(&client);
	assert_int_equal(client.err.code, KILN_ENOENT);
	assert_string_equal(client.err.message, "It refused PUT /x: Not? here (404)");
	ask(&client);
	assert_string_equal(client.err.message, "It refused PUT /x: (405)");
	client_close(&client);
}

static void silence_ends_at_the_deadline(void **state)
{
	static const char *const script[] = {"", OK};
	struct client client;

	(void)state;
	client_open(&client, script);
	begin(&client, 50);
	kiln_test_run_until(client.server.loop, &client.done);
	assert_int_equal(client.err.code, KILN_ETIMEDOUT);
	assert_string_equal(client.err.message, "It has not answered PUT /x within 50 ms");
	ask(&client); /* on a connection of its own: a late answer would be none of its */
	assert_int_equal(client.status, 200);
	assert_int_equal(client.server.connections, 2);
	client_close(&client);
}

static void lose(const char *answer)
{
	const char *const script[] = {answer};
	struct client client;
	kiln_error end;

	client_open(&client, script);
	begin(&client, 5000);
	kiln_test_run_until(client.server.loop, &client.lost);
	assert_false(client.done); /* its end is what settles it */
	assert_non_null(strstr(client.why.message, "It: PUT /x: "));
	end = (kiln_error){.code = KILN_EDIED, .message = "its last words"};
	kiln__http_end(client.http, &end);
	assert_true(client.done);
	assert_string_equal(client.err.message, "its last words");
	begin(&client, 5000); /* nothing can be sent any more */
	assert_true(client.done);
	assert_int_equal(client.err.code, KILN_EDIED);
	client_close(&client);
}

static void a_lost_connection_waits_for_the_reason(void **state)
{
	(void)state;
	lose(NULL);
	lose("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
	lose("SSH-2.0-OpenSSH_9.2\r\n\r\n");
}

static void what_comes_unasked_is_no_answer(void **state)
{
	static const char *const script[] = {OK OK, OK};
	struct client client;

	(void)state;
	client_open(&client, script);
	ask(&client);
	ask(&client);
	assert_int_equal(client.server.requests, 2);
	assert_int_equal(client.server.connections, 2);
	client_close(&client);
}

/* Its descriptors arrive with the first byte of the request. */
static void descriptors_go_with_a_request(void **state)
{
	struct client client;
	char directory[] = "/tmp/kiln-http-XXXXXX";
	char path[64];
	char bytes[512];
	kiln_fd fds[2];
	kiln_fd listener, peer, pair[2];
	size_t count = 2;
	kiln_loop *loop;
	kiln_error err;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/s", directory);
	client = (struct client){.done = false};
	kiln_ok(kiln_loop_new(&loop, &err), &err);
	kiln_ok(kiln__os_local_listen(&listener, path, &err), &err);
	kiln_ok(kiln__os_socket_pair(pair, &err), &err);
	kiln_ok(kiln__http_new(&client.http, loop, path, "It", &http_handler, &client, &err), &err);
	kiln__http_send(client.http, &(struct kiln__http_request){
					     .method = "PUT",
					     .target = "/net",
					     .body = "{}",
					     .fds = &pair[0],
					     .fd_count = 1,
					     .deadline_ms = 5000,
					     .done = on_answer,
					     .data = &client,
				     });
	kiln_ok(kiln__os_accept(&peer, listener, &err), &err);
	assert_true(kiln__os_recv_fds(peer, bytes, sizeof(bytes), fds, &count) > 0);
	assert_int_equal(count, 1);
	kiln__os_close(fds[0]);
	kiln__http_free(client.http);
	assert_int_equal(client.err.code, KILN_ECANCELED);
	kiln__os_close(peer);
	kiln__os_close(listener);
	kiln__os_close(pair[0]);
	kiln__os_close(pair[1]);
	kiln_test_settle(loop);
	kiln_loop_free(loop);
	unlink(path);
	rmdir(directory);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(requests_go_over_one_connection),
		kiln_test(a_server_of_anothers_is_sent_nothing),
		kiln_test(a_closed_connection_is_made_anew),
		kiln_test(refusals_carry_the_servers_words),
		kiln_test(silence_ends_at_the_deadline),
		kiln_test(a_lost_connection_waits_for_the_reason),
		kiln_test(what_comes_unasked_is_no_answer),
		kiln_test(descriptors_go_with_a_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
