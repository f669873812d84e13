/* SPDX-License-Identifier: MIT */
/* The virtio PCI transport (virtio 1.2 §4.1): registers, status, features,
 * queues, interrupts. A device type (virtio_net.c) fills in the callbacks. */
#ifndef VIRTIO_PCI_H
#define VIRTIO_PCI_H

#include "devices/pci.h"
#include "devices/virtqueue.h"

#define VIRTIO_QUEUES_MAX 33
#define VIRTIO_NO_VECTOR 0xffff

enum { /* device status, §2.1 */
       VIRTIO_ACKNOWLEDGE = 1,
       VIRTIO_DRIVER = 2,
       VIRTIO_DRIVER_OK = 4,
       VIRTIO_FEATURES_OK = 8,
       VIRTIO_NEEDS_RESET = 64,
       VIRTIO_FAILED = 128,
};

struct virtio;

/* A device type. All but `kick` are called with virtio->lock held. */
struct virtio_type {
    const char *name;
    uint16_t id;      /* §5: 1 is a network device */
    uint32_t class24; /* PCI class */
    unsigned config_len;
    /* May the driver have these features? (a subset of the offered ones) */
    bool (*features_ok)(struct virtio *v, uint64_t features);
    /* DRIVER_OK was set: begin. */
    void (*start)(struct virtio *v);
    /* Stop using the queues; when it returns no other thread touches them.
     * Called before a device reset, also of a device never started. */
    void (*stop)(struct virtio *v);
    /* The same for one queue (§2.6.1), and its return to service. */
    void (*queue_stop)(struct virtio *v, unsigned q);
    void (*queue_start)(struct virtio *v, unsigned q);
    /* Device configuration; the transport checks the range. */
    void (*config_read)(struct virtio *v, unsigned off, void *p, unsigned len);
    void (*config_write)(struct virtio *v, unsigned off, const void *p,
                         unsigned len);
    /* Queue q was kicked. On the loop the queue is bound to, no lock held. */
    void (*kick)(struct virtio *v, unsigned q);
};

struct virtio_kick {
    struct event ev; /* the ioeventfd */
    struct virtio *v;
    unsigned q;
};

struct virtio {
    struct device dev; /* first */
    struct pci_fn fn;
    const char *romfile; /* expansion ROM, or NULL; set before init */
    const struct virtio_type *type;
    /* Registers: status, features, selectors, queue registers, ISR. Taken
     * before a queue pair's lock. */
    pthread_mutex_t lock;
    pthread_mutex_t isr_lock; /* ISR and the INTx level; innermost */
    uint64_t offered;
    uint64_t driver;   /* as the driver writes them */
    uint64_t features; /* negotiated; 0 before FEATURES_OK */
    uint32_t device_sel, driver_sel;
    uint16_t queue_sel, config_vector;
    uint8_t status, isr, generation;
    bool legacy; /* the driver came through the legacy interface */
    struct fault faults;

    unsigned nvq;
    struct virtqueue vq[VIRTIO_QUEUES_MAX];
    struct virtio_kick kick[VIRTIO_QUEUES_MAX];
    struct pci_kick pci_kick[VIRTIO_QUEUES_MAX];
    uint8_t pci_cfg_cap; /* offset of VIRTIO_PCI_CAP_PCI_CFG */
};

/* Makes the PCI function and puts it at `slot` (-1: first free). v->offered,
 * v->nvq and each vq[].size_max are set by the caller. kick_loop[q] is the loop
 * of queue q. 0 or -errno (said). */
int virtio_pci_init(struct virtio *v, struct machine *m,
                    const struct virtio_type *type, int slot,
                    struct loop *(*loop_of)(struct virtio *v, unsigned q));
/* Power-on state: the driver's reset and the PCI function's. */
void virtio_pci_reset(struct virtio *v);
void virtio_pci_destroy(struct virtio *v);

/* Interrupts the driver for queue q if the ring says it wants that. After
 * vq_flush; on the queue's loop. True when one was sent. */
bool virtio_queue_irq(struct virtio *v, struct virtqueue *vq);
/* The device configuration changed: new generation, interrupt. Lock held. */
void virtio_config_changed(struct virtio *v);
/* A guest fault that needs a reset (§2.1.2). Any thread; takes the lock unless
 * the caller says it holds it. */
void virtio_needs_reset(struct virtio *v, const char *why);
static inline bool virtio_running(const struct virtio *v)
{
    return (v->status & (VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET)) ==
           VIRTIO_DRIVER_OK;
}

#endif
