/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console between a hostile driver and users that take what they like, write and resize. The
 * input's first byte is the number of ports. Besides memory errors: no output comes before it is
 * asked for again.
 */
#include "console.h"
#include "hostile.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct fuzz {
	struct hostile hostile; /* first */
	struct kiln__console *console;
	unsigned ports;
	uint8_t mood;
	bool stopped[KILN__CONSOLE_MAX_PORTS];
	bool emergency;
};

static size_t output(void *data, unsigned port, const void *bytes, size_t len)
{
	struct fuzz *f = data;
	volatile unsigned char sink = 0;
	size_t taken = len;

	if (port >= f->ports || (f->stopped[port] && len != 1))
		abort();
	for (size_t i = 0; i < len; i += 1024)
		sink = (unsigned char)(sink + ((const unsigned char *)bytes)[i]);
	if (f->mood & 1)
		taken = len / 2;
	if (f->mood & 2)
		kiln__console_write(f->console, port, bytes, len < 64 ? len : 64);
	if (len != 1) /* one may be the emergency's, which stops nothing */
		f->stopped[port] = taken < len;
	if (f->mood & 4) {
		f->stopped[port] = false;
		kiln__console_resume(f->console, port);
	}
	return taken;
}

static void writable(void *data, unsigned port)
{
	struct fuzz *f = data;

	if (f->mood & 8)
		kiln__console_write(f->console, port, "0123456789", 10);
}

static void opened(void *data, unsigned port, bool open)
{
	struct fuzz *f = data;

	(void)open;
	if (port >= f->ports)
		abort();
}

static const struct kiln__console_handler handler = {output, writable, opened};

static void request(struct hostile *hostile)
{
	struct fuzz *f = (struct fuzz *)(void *)hostile;
	unsigned queue = hostile_byte(hostile) % hostile->guest.device->ops->queue_count;
	uint8_t what = hostile_byte(hostile);
	uint32_t len = 1 + hostile_len(hostile) % 5000;
	struct vring_part part = {hostile_room(hostile, len), len};

	if (queue == 3) { /* a control message */
		uint16_t message[4] = {what & 7, 0, (uint16_t)(what >> 3 & 7), what >> 6 & 1};

		memcpy(hostile->guest.memory + part.gpa, message, len < 8 ? len : 8);
	}
	(void)f;
	hostile_send(hostile, queue, &part, queue & 1, !(queue & 1));
}

static void host(struct hostile *hostile)
{
	struct fuzz *f = (struct fuzz *)(void *)hostile;
	uint8_t what = hostile_byte(hostile);
	unsigned port = hostile_byte(hostile) % f->ports;
	static const unsigned char bytes[4096];

	switch (what & 7) {
	case 0:
	case 1:
		f->stopped[port] = false;
		kiln__console_resume(f->console, port);
		break;
	case 2:
		kiln__console_resize(f->console, what, what >> 3);
		break;
	case 3:
		kiln__console_set_open(f->console, port, what & 8);
		break;
	case 4:
		f->mood = hostile_byte(hostile);
		break;
	default:
		if (kiln__console_write(f->console, port, bytes, 1 + what * 16u) > 1 + what * 16u)
			abort();
		break;
	}
}

/* A reset forgets who was stopped. */
static void check(struct hostile *hostile)
{
	struct fuzz *f = (struct fuzz *)(void *)hostile;

	for (unsigned i = 0; i < f->ports; i++)
		if (hostile->guest.device->queues[i == 0 ? 1 : 2 * i + 3].next_avail == 0)
			f->stopped[i] = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const char *const names[] = {"a", "org.kiln.b", "c", "d", "e"};
	struct fuzz f = {.hostile = {.request = request, .host = host, .check = check}};
	struct kiln__console_options options = {
		.names = names, .columns = 80, .rows = 25, .handler = &handler, .data = &f};
	kiln_loop *loop = NULL;

	if (len < 2)
		return 0;
	f.ports = options.port_count = 1 + bytes[0] % KILN__CONSOLE_MAX_PORTS;
	if (kiln_loop_new(&loop, NULL) < 0 ||
	    kiln__console_new(&f.console, loop, &options, NULL) < 0)
		abort();
	hostile_run(&f.hostile, kiln__console_device(f.console), loop, bytes + 1, len - 1);
	kiln__console_free(f.console);
	kiln_loop_free(loop);
	return 0;
}
