/* SPDX-License-Identifier: Apache-2.0 */
/* The console against a driver in memory: with one port and with several. */
#include "kiln_test.h"

#include "console.h"
#include "virtio_guest.h"

#include <stdlib.h>
#include <string.h>

#define ALL (~0ULL)

enum { RX, TX, CONTROL_RX, CONTROL_TX, RX1, TX1 };
enum {
	DEVICE_READY,
	PORT_ADD,
	PORT_REMOVE,
	PORT_READY,
	CONSOLE_PORT,
	RESIZE,
	PORT_OPEN,
	PORT_NAME
};

struct control {
	uint32_t id;
	uint16_t event;
	uint16_t value;
	char more[32];
};

struct fixture {
	kiln_loop *loop;
	struct kiln__console *console;
	struct virtio_guest guest;
	char got[65536];
	size_t got_len;
	size_t allowance; /* bytes of output that are still taken */
	size_t resumes;   /* the output's taker gives itself so much more, so often, from within */
	unsigned last_port;
	unsigned writable;
	bool open[4];
};

static size_t output(void *data, unsigned port, const void *bytes, size_t len)
{
	struct fixture *f = data;

	f->last_port = port;
	if (len > f->allowance)
		len = f->allowance;
	f->allowance -= len;
	assert_true(f->got_len + len <= sizeof(f->got));
	memcpy(f->got + f->got_len, bytes, len);
	f->got_len += len;
	if (f->allowance == 0 && f->resumes > 0) {
		f->resumes--;
		f->allowance = 1;
		kiln__console_resume(f->console, port);
	}
	return len;
}

static void writable(void *data, unsigned port)
{
	struct fixture *f = data;

	f->last_port = port;
	f->writable++;
}

static void opened(void *data, unsigned port, bool open)
{
	struct fixture *f = data;

	assert_int_not_equal(f->open[port], open);
	f->open[port] = open;
}

static const struct kiln__console_handler handler = {output, writable, opened};

static void set_up(struct fixture *f, unsigned ports)
{
	static const char *const names[] = {"org.kiln.one", "org.kiln.two"};
	struct kiln__console_options options = {
		.port_count = ports,
		.names = names,
		.columns = 80,
		.rows = 25,
		.handler = &handler,
		.data = f,
	};
	kiln_error err;

	memset(f, 0, sizeof(*f));
	f->allowance = SIZE_MAX;
	kiln_ok(kiln_loop_new(&f->loop, &err), &err);
	kiln_ok(kiln__console_new(&f->console, f->loop, &options, &err), &err);
	virtio_guest_init(&f->guest, kiln__console_device(f->console), ALL, 64);
}

static void tear_down(struct fixture *f)
{
	virtio_guest_done(&f->guest);
	kiln__console_free(f->console);
	kiln_loop_free(f->loop);
}

static void guest_writes(struct fixture *f, unsigned queue, const char *text)
{
	size_t len = strlen(text);
	struct vring_part parts[] = {{virtio_guest_alloc(&f->guest, len, 1), (uint32_t)(len / 2)},
				     {0, (uint32_t)(len - len / 2)}};

	parts[1].gpa = parts[0].gpa + len / 2;
	memcpy(f->guest.memory + parts[0].gpa, text, len);
	assert_true(virtio_guest_send(&f->guest, queue, parts, 2, 0) >= 0);
}

static unsigned used(struct fixture *f, unsigned queue)
{
	uint32_t len;
	unsigned n = 0;

	while (vring_take(&f->guest.rings[queue], &len) >= 0)
		n++;
	return n;
}

static void assert_got(struct fixture *f, const char *text)
{
	assert_int_equal(f->got_len, strlen(text));
	assert_memory_equal(f->got, text, f->got_len);
}

/* A buffer for input of @len bytes: where it lies. */
static uint64_t give_buffer(struct fixture *f, unsigned queue, uint32_t len)
{
	struct vring_part part = {virtio_guest_alloc(&f->guest, len, 1), len};

	assert_true(virtio_guest_send(&f->guest, queue, &part, 0, 1) >= 0);
	return part.gpa;
}

/* --- one port ------------------------------------------------------------------------- */

static void one_port_needs_two_queues(void **state)
{
	uint16_t size[2];
	struct fixture f;
	kiln_error err;

	(void)state;
	set_up(&f, 1);
	assert_int_equal(f.guest.device->ops->queue_count, 2);
	assert_false(f.guest.device->ops->features & 2);
	kiln_ok(kiln__virtio_config_read(f.guest.device, 0, size, 4, &err), &err);
	assert_int_equal(size[0], 80);
	assert_int_equal(size[1], 25);
	kiln__console_resize(f.console, 132, 50);
	kiln__console_resize(f.console, 132, 50);
	assert_int_equal(f.guest.config_changes, 1);
	kiln_ok(kiln__virtio_config_read(f.guest.device, 0, size, 4, &err), &err);
	assert_int_equal(size[0], 132);
	tear_down(&f);
}

static void output_waits_for_a_slow_user(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, 1);
	guest_writes(&f, TX, "hello, ");
	assert_got(&f, "hello, ");
	assert_int_equal(used(&f, TX), 1);
	f.allowance = 4;
	guest_writes(&f, TX, "slow world");
	guest_writes(&f, TX, "!");
	assert_got(&f, "hello, slow");
	assert_int_equal(used(&f, TX), 0);
	f.allowance = 2;
	kiln_test_settle(f.loop);
	assert_got(&f, "hello, slow"); /* not before it is asked for */
	kiln__console_resume(f.console, 0);
	assert_got(&f, "hello, slow");
	kiln_test_settle(f.loop);
	assert_got(&f, "hello, slow w");
	/* A pause in the middle loses nothing and repeats nothing. */
	virtio_guest_stop(&f.guest);
	virtio_guest_start(&f.guest);
	f.allowance = SIZE_MAX;
	kiln__console_resume(f.console, 0);
	kiln_test_settle(f.loop);
	assert_got(&f, "hello, slow world!");
	assert_int_equal(used(&f, TX), 2);
	/* A reset does forget. */
	f.allowance = 1;
	guest_writes(&f, TX, "xyz");
	f.allowance = SIZE_MAX;
	virtio_guest_restart(&f.guest, ALL, 64);
	guest_writes(&f, TX, ".");
	assert_got(&f, "hello, slow world!x.");
	tear_down(&f);
}

/* What a user takes a byte of at a time, asking for more before it returns. */
static void output_goes_on_that_was_resumed_from_within(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, 1);
	f.allowance = 1;
	f.resumes = 7;
	guest_writes(&f, TX, "12345678");
	for (unsigned i = 0; i < 20; i++)
		kiln_loop_dispatch(f.loop);
	assert_got(&f, "12345678");
	tear_down(&f);
}

static void input_goes_into_the_guests_buffers(void **state)
{
	struct fixture f;
	uint64_t at[2];
	uint32_t len = 0;

	(void)state;
	set_up(&f, 1);
	assert_int_equal(kiln__console_write(f.console, 0, "early", 5), 0);
	at[0] = give_buffer(&f, RX, 3);
	assert_int_equal(f.writable, 1);
	at[1] = give_buffer(&f, RX, 3);
	assert_int_equal(f.writable, 1); /* once for each time that it was short */
	assert_int_equal(kiln__console_write(f.console, 0, "early bird", 10), 6);
	assert_memory_equal(f.guest.memory + at[0], "ear", 3);
	assert_memory_equal(f.guest.memory + at[1], "ly ", 3);
	assert_int_equal(vring_take(&f.guest.rings[RX], &len), 0);
	assert_int_equal(len, 3);
	give_buffer(&f, RX, 64);
	assert_int_equal(f.writable, 2);
	assert_int_equal(kiln__console_write(f.console, 0, "bird", 4), 4);
	/* With room known there are no kicks for more of it. */
	len = f.guest.kicks;
	give_buffer(&f, RX, 64);
	give_buffer(&f, RX, 64);
	assert_true(f.guest.kicks <= len + 1);
	tear_down(&f);
}

static void a_byte_in_an_emergency_is_output(void **state)
{
	uint32_t value = 'P';
	struct fixture f;
	kiln_error err;

	(void)state;
	set_up(&f, 1);
	kiln__virtio_reset(f.guest.device);
	kiln_ok(kiln__virtio_config_write(f.guest.device, 8, &value, 4, &err), &err);
	value = 0;
	kiln_ok(kiln__virtio_config_write(f.guest.device, 0, &value, 4, &err), &err);
	assert_got(&f, "P");
	tear_down(&f);
}

/* --- several ports ------------------------------------------------------------------------ */

static void guest_says(struct fixture *f, uint32_t id, uint16_t event, uint16_t value)
{
	struct control message = {id, event, value, ""};
	struct vring_part part = {virtio_guest_alloc(&f->guest, 8, 8), 8};

	memcpy(f->guest.memory + part.gpa, &message, 8);
	assert_true(virtio_guest_send(&f->guest, CONTROL_TX, &part, 1, 0) >= 0);
	used(f, CONTROL_TX);
}

/* The next control message, which must be this one. */
static void expect(struct fixture *f, uint32_t id, uint16_t event, uint16_t value, const char *more)
{
	struct vring *ring = &f->guest.rings[CONTROL_RX];
	struct control message;
	uint32_t len = 0;
	int head = vring_take(ring, &len);

	assert_true(head >= 0);
	memset(&message, 0, sizeof(message));
	assert_true(len >= 8 && len <= sizeof(message));
	memcpy(&message, f->guest.memory + ring->desc[head].addr, len);
	assert_int_equal(message.id, id);
	assert_int_equal(message.event, event);
	assert_int_equal(message.value, value);
	assert_int_equal(len, 8 + strlen(more));
	assert_string_equal(message.more, more);
}

static void ports_are_announced_named_and_opened(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, 3);
	assert_int_equal(f.guest.device->ops->queue_count, 8);
	guest_says(&f, 0, DEVICE_READY, 1); /* before there are buffers: nothing is lost */
	for (unsigned i = 0; i < 12; i++)
		give_buffer(&f, CONTROL_RX, 64);
	for (uint32_t i = 0; i < 3; i++)
		expect(&f, i, PORT_ADD, 1, "");
	guest_says(&f, 0, PORT_READY, 1);
	expect(&f, 0, CONSOLE_PORT, 1, "");
	{
		struct vring *ring = &f.guest.rings[CONTROL_RX];
		uint32_t len = 0;
		int head = vring_take(ring, &len);
		uint16_t words[6];

		assert_int_equal(len, 12);
		memcpy(words, f.guest.memory + ring->desc[head].addr, 12);
		assert_int_equal(words[2], RESIZE);
		assert_int_equal(words[4], 80);
		assert_int_equal(words[5], 25);
	}
	expect(&f, 0, PORT_OPEN, 1, "");
	guest_says(&f, 1, PORT_READY, 1);
	expect(&f, 1, PORT_NAME, 1, "org.kiln.one");
	kiln__console_set_open(f.console, 1, true);
	expect(&f, 1, PORT_OPEN, 1, "");
	kiln__console_set_open(f.console, 1, false);
	expect(&f, 1, PORT_OPEN, 0, "");
	guest_says(&f, 1, PORT_OPEN, 1);
	assert_true(f.open[1]);
	guest_says(&f, 2, PORT_OPEN, 1);
	guest_says(&f, 2, PORT_OPEN, 1);
	guest_says(&f, 2, PORT_OPEN, 0);
	assert_false(f.open[2]);
	virtio_guest_restart(&f.guest, ALL, 64);
	assert_false(f.open[1]);
	tear_down(&f);
}

static void each_port_has_its_own_stream(void **state)
{
	struct fixture f;
	uint64_t at;

	(void)state;
	set_up(&f, 3);
	guest_writes(&f, TX1, "to one");
	assert_int_equal(f.last_port, 1);
	assert_got(&f, "to one");
	at = give_buffer(&f, RX1, 16);
	/* Nobody in the guest has opened it. */
	assert_int_equal(kiln__console_write(f.console, 1, "abc", 3), 0);
	assert_int_equal(f.writable, 0);
	guest_says(&f, 1, PORT_OPEN, 1);
	assert_int_equal(f.writable, 1);
	assert_int_equal(kiln__console_write(f.console, 1, "abc", 3), 3);
	assert_memory_equal(f.guest.memory + at, "abc", 3);
	tear_down(&f);
}

static void nonsense_is_ignored_and_wrong_buffers_break(void **state)
{
	struct vring_part part = {VG_BUFFERS, 4};
	struct fixture f;

	(void)state;
	set_up(&f, 2);
	guest_says(&f, 99, PORT_READY, 1);
	guest_says(&f, UINT32_MAX, PORT_OPEN, 1);
	guest_says(&f, 1, PORT_OPEN, 7);
	guest_says(&f, 1, 1000, 1);
	virtio_guest_send(&f.guest, CONTROL_TX, &part, 1, 0); /* too short */
	assert_int_equal(f.guest.needs_reset, 0);
	virtio_guest_send(&f.guest, TX, &part, 0, 1);
	assert_int_equal(f.guest.needs_reset, 1);
	tear_down(&f);
}

static void impossible_consoles_are_refused(void **state)
{
	static const char *const names[] = {"", "a name of more than thirty-one bytes"};
	struct kiln__console_options options = {.handler = &handler, .names = names};
	struct kiln__console *console = NULL;
	kiln_loop *loop = NULL;
	kiln_error err;

	(void)state;
	kiln_ok(kiln_loop_new(&loop, &err), &err);
	assert_int_equal(kiln__console_new(&console, loop, &options, &err), KILN_EINVAL);
	options.port_count = KILN__CONSOLE_MAX_PORTS + 1;
	assert_int_equal(kiln__console_new(&console, loop, &options, &err), KILN_EINVAL);
	options.port_count = 2;
	assert_int_equal(kiln__console_new(&console, loop, &options, &err), KILN_EINVAL);
	options.names = names + 1;
	assert_int_equal(kiln__console_new(&console, loop, &options, &err), KILN_EINVAL);
	kiln_loop_free(loop);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(one_port_needs_two_queues),
		kiln_test(output_waits_for_a_slow_user),
		kiln_test(output_goes_on_that_was_resumed_from_within),
		kiln_test(input_goes_into_the_guests_buffers),
		kiln_test(a_byte_in_an_emergency_is_output),
		kiln_test(ports_are_announced_named_and_opened),
		kiln_test(each_port_has_its_own_stream),
		kiln_test(nonsense_is_ignored_and_wrong_buffers_break),
		kiln_test(impossible_consoles_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
