/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the PCI transport share: virtio_pci_regs.c answers the driver, on vCPU threads;
 * virtio_pci_bells.c has what wakes the loop and what interrupts by descriptor; virtio_pci.c makes
 * the function and carries out on the loop what the driver has asked for.
 */
#ifndef KILN_VMM_VIRTIO_PCI_INTERNAL_H
#define KILN_VMM_VIRTIO_PCI_INTERNAL_H

#include "msix.h"
#include "virtio_pci.h"

/* The page behind BAR 0. */
#define AT_COMMON  0x000u
#define AT_CONFIG  0x100u
#define CONFIG_MAX 0x100u
#define AT_PENDING 0xc00u

/* The page behind BAR 1: what must exit, or be a doorbell. */
#define AT_ISR         0x000u
#define AT_NOTIFY      0x100u
#define NOTIFY_STRIDE  4u
#define ISR_CONFIG     0x2u
#define NO_VECTOR      0xffffu
#define MAX_QUEUES     KILN__VIRTIO_MAX_QUEUES
#define MAX_CONFIG_LOG 64

/* Device status (2.1). */
#define STATUS_FEATURES_OK 0x08u
#define STATUS_DRIVER_OK   0x04u
#define STATUS_NEEDS_RESET 0x40u

/* The common configuration (4.1.4.3). */
struct common {
	uint32_t device_feature_select;
	uint32_t device_feature;
	uint32_t driver_feature_select;
	uint32_t driver_feature;
	uint16_t config_vector;
	uint16_t num_queues;
	uint8_t status;
	uint8_t generation;
	uint16_t queue_select;
	uint16_t queue_size;
	uint16_t queue_vector;
	uint16_t queue_enable;
	uint16_t queue_notify_off;
	uint32_t queue_desc[2];
	uint32_t queue_driver[2];
	uint32_t queue_device[2];
};

#define COMMON_LEN sizeof(struct common)

/* What the driver has set of a queue. */
struct setting {
	uint16_t size;
	uint16_t vector;
	bool enabled;
	uint32_t rings[3][2]; /* descriptors, driver's, device's: low and high */
};

/* A queue's kicks, and its interrupts where something in the kernel raises them. The loop's. */
struct bell {
	struct kiln__virtio_pci *transport;
	struct kiln__watch *watch;
	int fd; /* -1: none */
	uint64_t address;
	int call; /* -1: the model's interrupts go by messages */
	bool routed;
};

/* A capability; the last, of 20 bytes, is the window (4.1.4.9). */
struct cfg_cap {
	uint8_t id, next, len, type;
	uint8_t bar, number, pad[2];
	uint32_t offset;
	uint32_t length;
	uint8_t data[4];
};

struct config_write {
	uint8_t offset;
	uint8_t len;
	uint8_t bytes[8];
};

struct kiln__virtio_pci {
	struct kiln__pci_function fn; /* first: that is how its callbacks find the rest */
	struct kiln__virtio_bus bus;
	struct kiln__virtio *device;
	struct kiln__waker *waker;
	struct bell bells[MAX_QUEUES];

	pthread_mutex_t lock;  /* guards what follows, and the page */
	bool active;           /* the model has been given its queues; changed by the loop */
	struct common *common; /* in the page */
	struct kiln__msix msix;
	uint64_t driver_features;
	struct setting settings[MAX_QUEUES];
	uint8_t isr;
	bool activate; /* for the loop to do */
	bool reset;
	bool has_calls;  /* some interrupts go by routes */
	uint32_t kicked; /* queues, by exits */
	struct config_write log[MAX_CONFIG_LOG];
	unsigned log_count;
};

/* --- virtio_pci_regs.c; but for kiln__virtio_pci_show_config() under the lock -------------- */

/* The registers as they are before a driver has been there. */
void kiln__virtio_pci_forget_driver(struct kiln__virtio_pci *t);

/* A fresh copy of the device's own configuration. The model is the loop's, and so is this. */
void kiln__virtio_pci_show_config(struct kiln__virtio_pci *t);

/* The function's callbacks: take the lock themselves. */
void kiln__virtio_pci_access(struct kiln__pci_function *fn, unsigned bar,
			     struct kiln__bus_access *access);
void kiln__virtio_pci_configured(struct kiln__pci_function *fn, unsigned offset);

/* --- virtio_pci_bells.c: on the loop's thread ---------------------------------------------- */

int kiln__virtio_pci_make_bell(struct kiln__virtio_pci *t, struct bell *bell, kiln_error *err);

/* A queue was kicked, by whichever way. */
void kiln__virtio_pci_kick(struct kiln__virtio_pci *t, unsigned queue);

void kiln__virtio_pci_remove_bell(struct kiln__virtio_pci *t, struct bell *bell);

/* Where the guest's BAR is now; nowhere, and kicks come as exits. */
void kiln__virtio_pci_hang_bells(struct kiln__virtio_pci *t);

/*
 * Follows what the driver has set of a queue's vector. While that is masked, what the kernel raises
 * stays in the descriptor.
 */
void kiln__virtio_pci_reroute(struct kiln__virtio_pci *t, struct bell *bell);

/* The transport's queue_fds. */
int kiln__virtio_pci_queue_fds(void *data, unsigned queue, kiln_fd *ret_kick, kiln_fd *ret_call);

#endif
