/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio.h"

#include "err.h"

#include <inttypes.h>
#include <string.h>

void kiln__virtio_init(struct kiln__virtio *dev, const struct kiln__virtio_ops *ops)
{
	memset(dev, 0, sizeof(*dev));
	dev->ops = ops;
	for (unsigned i = 0; i < ops->queue_count; i++)
		dev->queues[i].max_size = ops->queue_sizes[i];
}

static void stop_queue(struct kiln__virtio *dev, unsigned queue)
{
	if (dev->queues[queue].ready && dev->ops->stopping)
		dev->ops->stopping(dev, queue);
	kiln__queue_stop(&dev->queues[queue]);
}

void kiln__virtio_done(struct kiln__virtio *dev)
{
	for (unsigned i = 0; i < dev->ops->queue_count; i++)
		stop_queue(dev, i);
}

void kiln__virtio_attach(struct kiln__virtio *dev, const struct kiln__virtio_transport *transport,
			 void *data)
{
	dev->transport = transport;
	dev->transport_data = data;
}

void kiln__virtio_notify(struct kiln__virtio *dev, unsigned queue)
{
	if (kiln__queue_wants_notify(&dev->queues[queue]) && dev->transport)
		dev->transport->notify(dev->transport_data, queue);
}

void kiln__virtio_config_changed(struct kiln__virtio *dev)
{
	if (dev->transport && dev->transport->config_changed)
		dev->transport->config_changed(dev->transport_data);
}

int kiln__virtio_queue_fds(struct kiln__virtio *dev, unsigned queue, kiln_fd *ret_kick,
			   kiln_fd *ret_call)
{
	if (!dev->transport || !dev->transport->queue_fds)
		return KILN_ENOTSUP;
	return dev->transport->queue_fds(dev->transport_data, queue, ret_kick, ret_call);
}

void kiln__virtio_fail(struct kiln__virtio *dev, unsigned queue)
{
	const char *fault = dev->queues[queue].fault;

	if (dev->broken)
		return;
	dev->broken = true;
	if (dev->transport)
		dev->transport->needs_reset(dev->transport_data, queue,
					    fault ? fault : "unknown fault");
}

int kiln__virtio_negotiate(struct kiln__virtio *dev, uint64_t features, kiln_error *err)
{
	if (features & ~dev->ops->features)
		return kiln__fail(err, KILN_EPROTO,
				  "%s: the driver accepted features 0x%" PRIx64
				  " that were not offered",
				  dev->ops->name, features & ~dev->ops->features);
	dev->features = features;
	return 0;
}

int kiln__virtio_queue_start(struct kiln__virtio *dev, unsigned queue, const struct kiln__gmem *mem,
			     uint16_t next_avail, kiln_error *err)
{
	int r;

	if (queue >= dev->ops->queue_count)
		return kiln__fail(err, KILN_EINVAL, "%s has no queue %u", dev->ops->name, queue);
	r = kiln__queue_start(&dev->queues[queue], mem, dev->features, next_avail, err);
	if (r == 0)
		kiln__virtio_kick(dev, queue);
	return r;
}

void kiln__virtio_queue_stop(struct kiln__virtio *dev, unsigned queue)
{
	if (queue < dev->ops->queue_count)
		stop_queue(dev, queue);
}

void kiln__virtio_kick(struct kiln__virtio *dev, unsigned queue)
{
	if (queue < dev->ops->queue_count && kiln__virtio_usable(dev, queue))
		dev->ops->notified(dev, queue);
}

static int check_config(struct kiln__virtio *dev, uint32_t offset, uint32_t len, kiln_error *err)
{
	if (offset > dev->ops->config_size || len > dev->ops->config_size - offset)
		return kiln__fail(
			err, KILN_EPROTO,
			"%s: access to configuration space at %u, length %u, is outside of it",
			dev->ops->name, offset, len);
	return 0;
}

int kiln__virtio_config_read(struct kiln__virtio *dev, uint32_t offset, void *bytes, uint32_t len,
			     kiln_error *err)
{
	int r = check_config(dev, offset, len, err);

	if (r == 0 && len > 0) /* a device need not have any */
		dev->ops->config_read(dev, offset, bytes, len);
	return r;
}

int kiln__virtio_config_write(struct kiln__virtio *dev, uint32_t offset, const void *bytes,
			      uint32_t len, kiln_error *err)
{
	int r = check_config(dev, offset, len, err);

	if (r < 0)
		return r;
	if (!dev->ops->config_write)
		return kiln__fail(err, KILN_EPROTO, "%s: configuration space is read-only",
				  dev->ops->name);
	dev->ops->config_write(dev, offset, bytes, len);
	return 0;
}

void kiln__virtio_reset(struct kiln__virtio *dev)
{
	for (unsigned i = 0; i < dev->ops->queue_count; i++) {
		stop_queue(dev, i);
		dev->queues[i].next_avail = 0;
		dev->queues[i].fault = NULL;
	}
	dev->features = 0;
	dev->broken = false;
	dev->ops->reset(dev);
}
