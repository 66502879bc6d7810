/* SPDX-License-Identifier: Apache-2.0 */
/* Memory runs out while the vsock device is made, and while connections are. */
#include "kiln_test.h"

#include "loop.h"
#include "nomem.h"
#include "vsock_guest.h"

#include <stdlib.h>

#define GUEST_PORT 700
#define HOST_PORT  800
#define FEATURES   KILN__VIRTIO_RING_FEATURES

struct device {
	kiln_loop *loop;
	struct kiln__vsock *vsock;
	struct vsock_guest guest;
	struct kiln__stream *accepted;
	struct kiln__stream *connected;
	kiln_error err; /* why there is no connection */
};

static void on_error(void *data, const kiln_error *err)
{
	(void)data;
	(void)err; /* the device goes before its streams, at the end */
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	(void)data;
	(void)bytes;
	return len;
}

static const struct kiln__stream_handler handler = {.on_data = on_data, .on_error = on_error};

static bool on_accept(void *data, uint32_t port, struct kiln__stream *stream)
{
	struct device *device = data;

	(void)port;
	device->accepted = stream;
	kiln__stream_set_handler(stream, &handler, device);
	return true;
}

static void on_connected(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct device *device = data;

	device->connected = stream;
	if (err)
		device->err = *err;
}

/* The memory of the guest and its rings are the test's, and are always to be had. */
static void guest_begin(struct device *device)
{
	long suspended = nomem_suspend();

	vsock_guest_init(&device->guest, kiln__vsock_device(device->vsock), FEATURES);
	vsock_guest_start(&device->guest);
	nomem_resume(suspended);
	vsock_guest_give_buffers(&device->guest, GUEST_RING);
}

static void guest_says(struct device *device, uint32_t host_port, uint16_t op)
{
	const struct kiln__vsock_header header = vsock_guest_header(GUEST_PORT, host_port, op);

	assert_true(vsock_guest_send(&device->guest, &header, NULL, 0));
}

static int device_new(struct device *device, kiln_error *err)
{
	int r = kiln_loop_new(&device->loop, err);

	if (r < 0)
		return r;
	r = kiln__vsock_new(&device->vsock, device->loop, GUEST_CID, err);
	if (r < 0) {
		assert_null(device->vsock);
		kiln_loop_free(device->loop);
	}
	return r;
}

static void device_done(struct device *device)
{
	kiln__stream_close(device->accepted);
	kiln__stream_close(device->connected);
	kiln__vsock_free(device->vsock);
	kiln_loop_free(device->loop);
}

static int make_operation(void *data, kiln_error *err)
{
	struct device device = {.loop = NULL};
	int r = device_new(&device, err);

	(void)data;
	if (r == 0)
		device_done(&device);
	return r;
}

static void making_the_device_fails_whole(void **state)
{
	(void)state;
	nomem_each(make_operation, NULL, NOMEM_TOLD);
}

/* The host connects, the guest accepts. */
static int connect_operation(void *data, kiln_error *err)
{
	struct device device = {.err = KILN_ERROR_INIT};
	struct vsock_packet packet;
	int r = device_new(&device, err);

	(void)data;
	if (r < 0)
		return r;
	guest_begin(&device);
	kiln__vsock_connect(device.vsock, GUEST_PORT, on_connected, &device);
	if (vsock_guest_receive(&device.guest, &packet, true))
		guest_says(&device, packet.header.src_port, KILN__VSOCK_RESPONSE);
	if (device.connected) {
		kiln__stream_set_handler(device.connected, &handler, &device);
		if (kiln__stream_write(device.connected, "x", 1) < 0)
			device.err.code = KILN_ENOMEM;
	}
	*err = device.err;
	r = device.connected ? 0 : device.err.code;
	assert_true(device.connected || r < 0); /* told either way */
	vsock_guest_done(&device.guest);
	device_done(&device);
	return r;
}

static void a_connection_of_the_hosts_is_made_or_refused(void **state)
{
	(void)state;
	nomem_each(connect_operation, NULL, NOMEM_TOLD);
}

/* The guest connects and sends, the host accepts. What fails is its connection, not the device. */
static int accept_operation(void *data, kiln_error *err)
{
	struct kiln__vsock_header header =
		vsock_guest_header(GUEST_PORT, HOST_PORT, KILN__VSOCK_RW);
	struct device device = {.err = KILN_ERROR_INIT};
	struct vsock_packet packet = {.header.op = KILN__VSOCK_RST};
	int r = device_new(&device, err);

	(void)data;
	if (r < 0)
		return r;
	guest_begin(&device);
	kiln__vsock_listen(device.vsock, on_accept, &device);
	guest_says(&device, HOST_PORT, KILN__VSOCK_REQUEST);
	assert_true(vsock_guest_receive(&device.guest, &packet, true));
	assert_int_equal(packet.header.op,
			 device.accepted ? KILN__VSOCK_RESPONSE : KILN__VSOCK_RST);
	if (device.accepted)
		vsock_guest_send(&device.guest, &header, "hello", 5);
	assert_int_equal(device.guest.needs_reset, 0);
	vsock_guest_done(&device.guest);
	device_done(&device);
	return 0;
}

static void a_connection_of_the_guests_is_made_or_reset(void **state)
{
	(void)state;
	nomem_each(accept_operation, NULL, NOMEM_TOLERATED);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		kiln_test(making_the_device_fails_whole),
		kiln_test(a_connection_of_the_hosts_is_made_or_refused),
		kiln_test(a_connection_of_the_guests_is_made_or_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
