/* SPDX-License-Identifier: MIT */
/* The virtio PCI transport (virtio 1.2 §4.1): registers, status, features,
 * queues, interrupts. A device type (virtio_net.c) fills in the callbacks. */
#ifndef VIRTIO_PCI_H
#define VIRTIO_PCI_H

#include <pthread.h>

#include "devices/pci/pci.h"
#include "devices/virtio/queue.h"

#define VIRTIO_QUEUES_MAX 33
#define VIRTIO_NO_VECTOR 0xffff
#define VIRTIO_VECTORS_AUTO (~0u)

enum { /* device status, §2.1 */
       VIRTIO_ACKNOWLEDGE = 1,
       VIRTIO_DRIVER = 2,
       VIRTIO_DRIVER_OK = 4,
       VIRTIO_FEATURES_OK = 8,
       VIRTIO_NEEDS_RESET = 64,
       VIRTIO_FAILED = 128,
       VIRTIO_STATUS_MASK = 0xcf,
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
    /* Optional: whose loop queue q is bound to; else the main loop's. */
    struct loop *(*loop_of)(struct virtio *v, unsigned q);
    /* Optional: virtio_call_fd(v, q) is another one now. */
    void (*call_changed)(struct virtio *v, unsigned q);
};

struct virtio_kick {
    struct event ev; /* the ioeventfd */
    struct virtio *v;
    unsigned q;
    _Atomic bool lent; /* somebody else is kicked (vhost), by `out` */
    int out;           /* an eventfd that another process has; else -1 */
};

struct virtio {
    struct device dev; /* first */
    struct pci_fn fn;
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
    bool started;          /* type->start was called, type->stop was not */
    bool legacy;           /* the driver came through the legacy interface */
    bool msix_on;          /* as call_changed was last told */
    _Atomic unsigned life; /* resets so far */
    struct fault faults;

    /* Set by the caller of virtio_pci_init: by virtio_options. */
    uint64_t asked;             /* features, by the options */
    bool has_legacy, no_modern; /* disable-legacy=off, disable-modern=on */
    bool page_per_vq;
    bool pio_notify;  /* modern-pio-notify=on */
    unsigned vectors; /* MSI-X; VIRTIO_VECTORS_AUTO: one more than queues */
    uint8_t disable_legacy, ats, ioeventfd;

    unsigned nvq;
    struct virtqueue vq[VIRTIO_QUEUES_MAX];
    struct virtio_kick kick[VIRTIO_QUEUES_MAX];
    struct pci_kick pci_kick[VIRTIO_QUEUES_MAX];
    struct pci_kick port_kick[VIRTIO_QUEUES_MAX]; /* with pio_notify */
    struct pci_kick io_kick[VIRTIO_QUEUES_MAX];   /* legacy: one port for all */
    uint32_t pfn[VIRTIO_QUEUES_MAX];              /* legacy: ring addresses */
    struct event intx_call;                       /* for vhost without MSI-X */
    bool intx_lent;
    uint8_t pci_cfg_cap; /* offset of VIRTIO_PCI_CAP_PCI_CFG */
};

/* options.c: what every type can be told and counts, rows of a struct virtio;
 * and whether that can be had. 0 or -EINVAL (said, beginning with `what`). */
extern const struct field virtio_options[];
int virtio_check(struct virtio *v, const char *what);
/* A row for feature `n` of the struct `type` whose virtio is `v`. */
#define VIRTIO_FEATURE(type, key, n, on)                                       \
    FIELD(BIT, key, type, v.asked, .min = n, .def = on)

/* Other names of SHORT-pci, ending the list. */
#define VIRTIO_ALIASES(short)                                                  \
    {short, {0}, {0}},                                                         \
        {short "-pci-non-transitional",                                        \
         {"disable-legacy", "disable-modern"},                                 \
         {"on", "off"}},                                                       \
        {short "-pci-transitional",                                            \
         {"disable-legacy", "disable-modern"},                                 \
         {"off", "off"}},                                                      \
    {                                                                          \
        0                                                                      \
    }

/* Makes the PCI function and puts it at its place, and the device's reset.
 * v->offered, v->nvq and each vq[].size_max are set by the caller. 0 or -errno
 * (said). */
int virtio_pci_init(struct virtio *v, struct machine *m,
                    const struct virtio_type *type,
                    const struct pci_place *place);
void virtio_pci_destroy(struct virtio *v);
/* What every type remembers: rows of a struct virtio, its function's with them.
 * For the type's hold, of rings that are at rest; and, first of all, for its
 * loaded: 0 or -EINVAL (said). */
extern const struct field virtio_fields[];
void virtio_pci_hold(struct virtio *v);
int virtio_pci_loaded(struct virtio *v);

/* Interrupts the driver for queue q if the ring says it wants that. After
 * vq_flush; on the queue's loop. True when one was sent. */
bool virtio_queue_irq(struct virtio *v, struct virtqueue *vq);
/* The device configuration changed: new generation, interrupt. Lock held. */
void virtio_config_changed(struct virtio *v);
/* A guest fault that needs a reset (§2.1.2), seen while v->life was `life`: of
 * a driver that has reset the device since, nothing is told to the next. Any
 * thread; takes the lock. */
void virtio_needs_reset(struct virtio *v, unsigned life, const char *why);
/* The same with the lock held. */
void virtio_broken(struct virtio *v, unsigned life, const char *why);
/* Descriptors for vhost: another process may have them, so nothing here reads
 * or writes them, and each is a fresh one after the end of the lending. All
 * with the lock held. The eventfd that interrupts for queue q; -1: none. */
int virtio_call_fd(struct virtio *v, unsigned q);
/* The doorbell of queue q, signalled once already; -errno. */
int virtio_lend_kick(struct virtio *v, unsigned q);
/* The doorbells, and what interrupts, are the device's own again. */
void virtio_unlend(struct virtio *v);
/* Interrupts for queue q, whatever its ring says. True when one was sent. */
bool virtio_call(struct virtio *v, unsigned q);
/* Makes the queue be looked at on its loop, as if it had been kicked. */
void virtio_poke(struct virtio *v, unsigned q);

/* ------------------------------- inside the transport, all with lock held */

enum { VIRTIO_ISR_QUEUE = 1, VIRTIO_ISR_CONFIG = 2 };
#define VIRTIO_COMMON_LEN 0x3c
#define VIRTIO_IO_SIZE 0x40 /* legacy BAR0 */

static inline uint64_t width_mask(unsigned bytes)
{
    return bytes >= 8 ? ~0ull : (1ull << 8 * bytes) - 1;
}

/* common.c: the common configuration structure. */
uint64_t virtio_common_read(struct virtio *v, unsigned off, unsigned width);
void virtio_common_write(struct virtio *v, unsigned off, unsigned width,
                         uint64_t val);
/* legacy.c: the features a driver may have; BAR0, as region callbacks (they
 * take the lock). */
uint32_t virtio_legacy_features(const struct virtio *v);
uint64_t virtio_legacy_read(void *owner, uint64_t off, unsigned width);
void virtio_legacy_write(void *owner, uint64_t off, unsigned width,
                         uint64_t val);

/* status.c: writes device_status; 0 resets. */
void virtio_set_status(struct virtio *v, uint8_t val);
/* §2.4: when it returns no queue is touched any more. */
void virtio_device_reset(struct virtio *v);
/* Goes to work: DRIVER_OK. */
void virtio_begin(struct virtio *v);
/* One queue to and from service while the device runs; end resets it. */
void virtio_queue_begin(struct virtio *v, unsigned q);
void virtio_queue_end(struct virtio *v, unsigned q);
/* pci.c: the doorbell of the interface in use; a driver has one. */
void virtio_kick_set(struct virtio *v, unsigned q, bool on);
/* irq.c: a vector a driver may have, else VIRTIO_NO_VECTOR. */
uint16_t virtio_vector(const struct virtio *v, uint64_t val);
void virtio_set_vector(struct virtio *v, unsigned q, uint64_t val);
/* Takes no lock: reads and clears ISR, lowers INTx. */
uint8_t virtio_read_isr(struct virtio *v);
uint64_t virtio_config_read(struct virtio *v, unsigned off, unsigned width);
void virtio_config_write(struct virtio *v, unsigned off, unsigned width,
                         uint64_t val);

#endif
