/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio console (virtio 1.2, section 5.3). Queues: 0 and 1 receive and transmit for port 0;
 * with VIRTIO_CONSOLE_F_MULTIPORT also 2 and 3, control messages to and from the guest, and then a
 * pair for each further port.
 *
 * Output goes to its user straight from guest memory. A user that takes less than there is gets the
 * rest when he resumes; until then the chain is held, and put back into the queue if that stops: so
 * nothing is lost by a pause. Input goes straight into the guest's buffers; without buffers the
 * user is told when there are some. Control messages that find no buffer wait in a list that is
 * bounded by what can be said: one of each kind for each port.
 *
 * No threads, no timers, no buffers. Trusts nothing: control messages are copied first, those that
 * make no sense are ignored.
 */
#include "console.h"

#include "err.h"
#include "le.h"

#include <stdlib.h>
#include <string.h>

#define DEVICE_ID 3 /* section 5 */

#define CONTROL_RX 2
#define CONTROL_TX 3

/* Feature bits (5.3.3). */
#define F_SIZE        (1ULL << 0)
#define F_MULTIPORT   (1ULL << 1)
#define F_EMERG_WRITE (1ULL << 2)

/* Control messages (5.3.6.2). */
#define DEVICE_READY 0u
#define PORT_ADD     1u
#define PORT_READY   3u
#define CONSOLE_PORT 4u
#define RESIZE       5u
#define PORT_OPEN    6u
#define PORT_NAME    7u

#define MAX_NAME     31u
#define ROUND_CHAINS 64
#define ROUND_BYTES  ((size_t)1 << 20)

struct config {
	uint16_t columns;
	uint16_t rows;
	uint32_t max_ports;
	uint32_t emergency_write;
};

struct control {
	uint32_t port;
	uint16_t event;
	uint16_t value;
};

struct port {
	bool held;    /* "chain" was popped from the transmit queue and is not yet consumed */
	bool stopped; /* its user has not taken all: waits for resume */
	struct kiln__chain chain;
	size_t at; /* bytes of the first chain that its user has taken, held or not */
	bool wants_room;
	bool guest_open;
	bool host_open;
	uint16_t due; /* bit n: control message n is to be sent */
};

struct kiln__console {
	struct kiln__virtio virtio; /* first */
	struct kiln__virtio_ops ops;
	struct kiln__console_options options;
	struct kiln__deferred *again;
	struct config config; /* in the guest's byte order */
	struct port ports[KILN__CONSOLE_MAX_PORTS];
};

static struct kiln__console *console_of(struct kiln__virtio *dev)
{
	return (struct kiln__console *)(void *)dev;
}

static bool is_multiport(const struct kiln__console *console)
{
	return console->virtio.features & F_MULTIPORT;
}

static unsigned rx_queue(unsigned port)
{
	return port == 0 ? 0 : 2 * port + 2;
}

static unsigned tx_queue(unsigned port)
{
	return rx_queue(port) + 1;
}

/* The port of a queue that is not a control queue. */
static unsigned port_of(unsigned queue)
{
	return queue < 2 ? 0 : (queue - 2) / 2;
}

/* Takes a chain of one direction from a queue; else asks for a kick. 1, 0, or KILN_EPROTO. */
static int next_chain(struct kiln__console *console, unsigned index, bool readable,
		      struct kiln__chain *ret)
{
	struct kiln__queue *queue = &console->virtio.queues[index];
	int r;

	if (!kiln__virtio_usable(&console->virtio, index))
		return 0;
	do {
		r = kiln__queue_pop(queue, ret);
	} while (r == 0 && kiln__queue_kicks_on(queue));
	if (r > 0 && (readable ? ret->write_len : ret->read_len) > 0) {
		kiln__queue_break(queue, "a console buffer in the wrong direction");
		r = KILN_EPROTO;
	}
	if (r < 0)
		kiln__virtio_fail(&console->virtio, index);
	return r;
}

/* --- control messages to the guest ------------------------------------------------------- */

/* Writes one message with what follows it. False if there is no buffer. */
static bool send_control(struct kiln__console *console, unsigned port, unsigned event)
{
	struct port *p = &console->ports[port];
	struct control message = {KILN__LE32(port), KILN__LE16((uint16_t)event), KILN__LE16(1)};
	struct kiln__chain chain;
	uint16_t size[2];
	const void *more = NULL;
	size_t more_len = 0;
	size_t n;

	if (next_chain(console, CONTROL_RX, false, &chain) <= 0)
		return false;
	if (event == PORT_OPEN) {
		message.value = KILN__LE16(p->host_open);
	} else if (event == PORT_NAME) {
		more = console->options.names[port - 1];
		more_len = strlen(more);
	} else if (event == RESIZE) {
		/* Columns, then rows; many Linux drivers (before 6.15) take them for the reverse.
		 */
		size[0] = console->config.columns;
		size[1] = console->config.rows;
		more = size;
		more_len = sizeof(size);
	}
	n = kiln__chain_write(&chain, 0, &message, sizeof(message));
	if (more)
		n += kiln__chain_write(&chain, sizeof(message), more, more_len);
	kiln__queue_push(&console->virtio.queues[CONTROL_RX], chain.head, (uint32_t)n);
	return true;
}

/* In this order: a port is added before anything is said of it. */
static void send_due(struct kiln__console *console)
{
	static const uint8_t order[] = {PORT_ADD, CONSOLE_PORT, PORT_NAME, RESIZE, PORT_OPEN};

	for (unsigned i = 0; i < console->options.port_count; i++)
		for (unsigned k = 0; k < sizeof(order); k++) {
			uint16_t bit = (uint16_t)(1u << order[k]);

			if (!(console->ports[i].due & bit))
				continue;
			if (!send_control(console, i, order[k])) {
				kiln__virtio_notify(&console->virtio, CONTROL_RX);
				return;
			}
			console->ports[i].due &= (uint16_t)~bit;
		}
	kiln__virtio_notify(&console->virtio, CONTROL_RX);
}

static void tell(struct kiln__console *console, unsigned port, unsigned event)
{
	console->ports[port].due |= (uint16_t)(1u << event);
}

/* --- control messages from the guest ---------------------------------------------------------- */

static void room_for_input(struct kiln__console *console, unsigned port);

static void on_port_open(struct kiln__console *console, unsigned port, bool open)
{
	struct port *p = &console->ports[port];

	if (p->guest_open == open)
		return;
	p->guest_open = open;
	if (console->options.handler->opened)
		console->options.handler->opened(console->options.data, port, open);
	if (open)
		room_for_input(console, port);
}

static void on_port_ready(struct kiln__console *console, unsigned port)
{
	if (port == 0) {
		tell(console, 0, CONSOLE_PORT);
		if (console->config.columns)
			tell(console, 0, RESIZE);
	} else {
		tell(console, port, PORT_NAME);
	}
	if (console->ports[port].host_open)
		tell(console, port, PORT_OPEN);
}

static void on_control(struct kiln__console *console, const struct kiln__chain *chain)
{
	struct control message;
	uint32_t port;
	uint16_t value;

	if (kiln__chain_read(chain, 0, &message, sizeof(message)) < sizeof(message))
		return;
	port = KILN__LE32(message.port);
	value = KILN__LE16(message.value);
	if (KILN__LE16(message.event) == DEVICE_READY) {
		for (unsigned i = 0; value == 1 && i < console->options.port_count; i++)
			tell(console, i, PORT_ADD);
		return;
	}
	if (port >= console->options.port_count)
		return;
	if (KILN__LE16(message.event) == PORT_READY && value == 1)
		on_port_ready(console, port);
	else if (KILN__LE16(message.event) == PORT_OPEN && value <= 1)
		on_port_open(console, port, value);
}

static void process_control(struct kiln__console *console)
{
	struct kiln__chain chain;
	unsigned count = 0;

	kiln__queue_kicks_off(&console->virtio.queues[CONTROL_TX]);
	while (next_chain(console, CONTROL_TX, true, &chain) > 0) {
		on_control(console, &chain);
		kiln__queue_push(&console->virtio.queues[CONTROL_TX], chain.head, 0);
		if (++count == ROUND_CHAINS) {
			kiln__deferred_schedule(console->again);
			break;
		}
	}
	kiln__virtio_notify(&console->virtio, CONTROL_TX);
	send_due(console);
}

/* --- output ---------------------------------------------------------------------------------- */

/*
 * Gives its user what is left of the chain that is held, at most *budget bytes. True if all of it
 * is gone; else he has taken less than there was ("stopped"), or the budget is used up.
 */
static bool deliver(struct kiln__console *console, unsigned port, size_t *budget)
{
	const struct kiln__console_options *options = &console->options;
	struct port *p = &console->ports[port];
	size_t skip = p->at;

	for (unsigned i = 0; i < p->chain.readable_count; i++) {
		const struct kiln__span *span = &p->chain.readable[i];
		size_t len = span->len;
		size_t taken;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		len -= skip;
		if (len > *budget)
			len = *budget;
		p->stopped = len > 0; /* before: its user may resume from within */
		taken = len ? options->handler->output(options->data, port, span->host + skip, len)
			    : 0;
		p->at += taken;
		*budget -= taken;
		if (taken == len)
			p->stopped = false;
		if (skip + taken < span->len)
			return false;
		skip = 0;
	}
	return true;
}

static void process_output(struct kiln__console *console, unsigned port)
{
	struct port *p = &console->ports[port];
	unsigned index = tx_queue(port);
	struct kiln__queue *queue = &console->virtio.queues[index];
	size_t budget = ROUND_BYTES;
	unsigned count = 0;

	kiln__queue_kicks_off(queue);
	while (!p->stopped && kiln__virtio_usable(&console->virtio, index)) {
		if (count++ == ROUND_CHAINS || budget == 0) {
			kiln__deferred_schedule(console->again);
			break;
		}
		if (!p->held && next_chain(console, index, true, &p->chain) <= 0)
			break;
		p->held = true;
		if (!deliver(console, port, &budget))
			continue;
		p->held = false;
		p->at = 0;
		kiln__queue_push(queue, p->chain.head, 0);
	}
	kiln__virtio_notify(&console->virtio, index);
}

void kiln__console_resume(struct kiln__console *console, unsigned port)
{
	console->ports[port].stopped = false;
	kiln__deferred_schedule(console->again);
}

/* --- input ------------------------------------------------------------------------------------ */

static bool takes_input(const struct kiln__console *console, unsigned port)
{
	/* A Linux guest drops what comes for a port that nobody has opened. */
	return kiln__virtio_usable(&console->virtio, rx_queue(port)) &&
	       (!is_multiport(console) || port == 0 || console->ports[port].guest_open);
}

size_t kiln__console_write(struct kiln__console *console, unsigned port, const void *bytes,
			   size_t len)
{
	unsigned index = rx_queue(port);
	struct kiln__chain chain;
	size_t done = 0;

	while (done < len && takes_input(console, port) &&
	       next_chain(console, index, false, &chain) > 0) {
		size_t n = kiln__chain_write(&chain, 0, (const char *)bytes + done, len - done);

		kiln__queue_push(&console->virtio.queues[index], chain.head, (uint32_t)n);
		done += n;
	}
	console->ports[port].wants_room = done < len;
	kiln__virtio_notify(&console->virtio, index);
	return done;
}

static void room_for_input(struct kiln__console *console, unsigned port)
{
	struct port *p = &console->ports[port];

	/* The next kick is asked for when it is needed. */
	kiln__queue_kicks_off(&console->virtio.queues[rx_queue(port)]);
	if (!p->wants_room || !takes_input(console, port))
		return;
	p->wants_room = false;
	if (console->options.handler->writable)
		console->options.handler->writable(console->options.data, port);
}

/* --- what its user says
 * --------------------------------------------------------------------------- */

void kiln__console_resize(struct kiln__console *console, uint16_t columns, uint16_t rows)
{
	if (console->config.columns == KILN__LE16(columns) &&
	    console->config.rows == KILN__LE16(rows))
		return;
	console->config.columns = KILN__LE16(columns);
	console->config.rows = KILN__LE16(rows);
	if (!is_multiport(console)) {
		kiln__virtio_config_changed(&console->virtio);
		return;
	}
	/* Linux looks at the message alone once there are several ports. */
	tell(console, 0, RESIZE);
	send_due(console);
}

void kiln__console_set_open(struct kiln__console *console, unsigned port, bool open)
{
	if (console->ports[port].host_open == open)
		return;
	console->ports[port].host_open = open;
	if (!is_multiport(console))
		return;
	tell(console, port, PORT_OPEN);
	send_due(console);
}

/* --- the device
 * ------------------------------------------------------------------------------------- */

static void config_read(struct kiln__virtio *dev, uint32_t offset, void *bytes, uint32_t len)
{
	memcpy(bytes, (unsigned char *)&console_of(dev)->config + offset, len);
}

/* 5.3.4: a byte written to emergency_write is output, whether there are queues or not. */
static void config_write(struct kiln__virtio *dev, uint32_t offset, const void *bytes, uint32_t len)
{
	struct kiln__console *console = console_of(dev);

	if (offset == offsetof(struct config, emergency_write) && len > 0)
		console->options.handler->output(console->options.data, 0, bytes, 1);
}

static void notified(struct kiln__virtio *dev, unsigned queue)
{
	struct kiln__console *console = console_of(dev);

	if (queue == CONTROL_TX)
		process_control(console);
	else if (queue == CONTROL_RX)
		send_due(console);
	else if (queue & 1)
		process_output(console, port_of(queue));
	else
		room_for_input(console, port_of(queue));
}

/* A chain that is held is put back: what its user has taken of it is remembered. */
static void stopping(struct kiln__virtio *dev, unsigned queue)
{
	struct port *p = &console_of(dev)->ports[port_of(queue)];

	if (queue == CONTROL_RX || queue == CONTROL_TX || !(queue & 1) || !p->held)
		return;
	p->held = false;
	kiln__queue_unpop(&dev->queues[queue], 1);
}

static void reset(struct kiln__virtio *dev)
{
	struct kiln__console *console = console_of(dev);

	for (unsigned i = 0; i < console->options.port_count; i++) {
		struct port *p = &console->ports[i];
		bool was_open = p->guest_open;

		p->at = 0;
		p->held = p->stopped = p->guest_open = false;
		p->due = 0;
		if (was_open && console->options.handler->opened)
			console->options.handler->opened(console->options.data, i, false);
	}
}

static void on_again(void *data)
{
	struct kiln__console *console = data;

	for (unsigned i = 0; i < console->options.port_count; i++)
		process_output(console, i);
	if (is_multiport(console))
		process_control(console);
}

/* --- making and freeing
 * ------------------------------------------------------------------------------ */

static const uint16_t queue_sizes[KILN__VIRTIO_MAX_QUEUES] = {64, 64, 64, 64, 64, 64, 64, 64,
							      64, 64, 64, 64, 64, 64, 64, 64};

static const struct kiln__virtio_ops virtio_ops = {
	.name = "console",
	.id = DEVICE_ID,
	.queue_count = 2,
	.queue_sizes = queue_sizes,
	.features = KILN__VIRTIO_RING_FEATURES | F_SIZE | F_EMERG_WRITE,
	.config_size = sizeof(struct config),
	.config_read = config_read,
	.config_write = config_write,
	.notified = notified,
	.stopping = stopping,
	.reset = reset,
};

_Static_assert(2 * KILN__CONSOLE_MAX_PORTS + 2 <= KILN__VIRTIO_MAX_QUEUES, "control queues too");

static int check_options(const struct kiln__console_options *options, kiln_error *err)
{
	if (options->port_count == 0 || options->port_count > KILN__CONSOLE_MAX_PORTS)
		return kiln__fail(err, KILN_EINVAL, "console: there can be 1 to %d ports, not %u",
				  KILN__CONSOLE_MAX_PORTS, options->port_count);
	for (unsigned i = 0; i + 1 < options->port_count; i++)
		if (!options->names[i][0] || strlen(options->names[i]) > MAX_NAME)
			return kiln__fail(err, KILN_EINVAL,
					  "console: the name of port %u has not 1 to %u bytes",
					  i + 1, MAX_NAME);
	return 0;
}

int kiln__console_new(struct kiln__console **ret, kiln_loop *loop,
		      const struct kiln__console_options *options, kiln_error *err)
{
	struct kiln__console *console;
	int r = check_options(options, err);

	if (r < 0)
		return r;
	console = calloc(1, sizeof(*console));
	if (!console)
		return kiln__fail_nomem(err);
	console->options = *options;
	console->ops = virtio_ops;
	if (options->port_count > 1) {
		console->ops.features |= F_MULTIPORT;
		console->ops.queue_count = (uint16_t)(2 * options->port_count + 2);
	}
	console->config.max_ports = KILN__LE32(options->port_count);
	console->config.columns = KILN__LE16(options->columns);
	console->config.rows = KILN__LE16(options->rows);
	console->ports[0].host_open = true;
	kiln__virtio_init(&console->virtio, &console->ops);
	r = kiln__deferred_new(&console->again, loop, on_again, console, err);
	if (r < 0) {
		free(console);
		return r;
	}
	*ret = console;
	return 0;
}

void kiln__console_free(struct kiln__console *console)
{
	if (!console)
		return;
	kiln__virtio_done(&console->virtio);
	kiln__deferred_free(console->again);
	free(console);
}

struct kiln__virtio *kiln__console_device(struct kiln__console *console)
{
	return &console->virtio;
}
