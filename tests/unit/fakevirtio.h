/* SPDX-License-Identifier: MIT */
/* A driver over virtio-pci on the fake machine (virtio 1.2 §3.1), of virtio-net
 * or of any other type: finds the registers, negotiates, makes rings of either
 * kind, adds buffers in any framing, kicks, harvests, and sees interrupts. Made
 * to be bent: every step can be done alone, and the rings written by hand. */
#ifndef FAKEVIRTIO_H
#define FAKEVIRTIO_H

#include "devices/virtio_net/state.h"
#include "tests/unit/fakedrv.h"

/* The same body on a split and on a packed ring. */
#define BOTH_RINGS(id)                                                         \
    static void id(bool packed);                                               \
    TEST(id##_split)                                                           \
    {                                                                          \
        id(false);                                                             \
    }                                                                          \
    TEST(id##_packed)                                                          \
    {                                                                          \
        id(true);                                                              \
    }                                                                          \
    static void id(bool packed)

#define F(bit) (1ull << (bit))
#define VD_LOW_RAM (4ull << 20)     /* from 0 */
#define VD_HIGH_BASE 0x100000000ull /* and another region here */
#define VD_HIGH_RAM (1ull << 20)
#define VD_QUEUES 40
#define VD_RING_MAX 1024

/* Common configuration, §4.1.4.3. */
enum {
    C_DEV_SEL = 0x00,
    C_DEV_FEATURE = 0x04,
    C_DRV_SEL = 0x08,
    C_DRV_FEATURE = 0x0c,
    C_CONFIG_VECTOR = 0x10,
    C_NUM_QUEUES = 0x12,
    C_STATUS = 0x14,
    C_GENERATION = 0x15,
    C_QUEUE_SEL = 0x16,
    C_QUEUE_SIZE = 0x18,
    C_QUEUE_VECTOR = 0x1a,
    C_QUEUE_ENABLE = 0x1c,
    C_NOTIFY_OFF = 0x1e,
    C_DESC = 0x20,
    C_DRIVER = 0x28,
    C_DEVICE = 0x30,
    C_QUEUE_RESET = 0x3a,
};
/* Descriptor flags, §2.7.5 and §2.8.13 */
enum { D_NEXT = 1, D_WRITE = 2, D_INDIRECT = 4, D_AVAIL = 128, D_USED = 32768 };

struct vd_desc { /* as in memory */
    le64 addr;
    le32 len;
    union {
        struct {
            le16 flags, next;
        } split;
        struct {
            le16 id, flags;
        } packed;
    };
};

/* A piece of a buffer. */
struct vd_buf {
    uint64_t at;
    uint32_t len;
    bool write;
};

struct vd_queue {
    struct vd *d;
    unsigned index;
    uint16_t size;
    bool packed;
    uint64_t desc, avail, used; /* packed: ring, driver area, device area */
    /* the driver's own state */
    uint16_t add, seen; /* split: free-running; packed: ring places */
    bool add_wrap, seen_wrap;
    uint16_t pending; /* put, not published */
    uint16_t held, held_flags;
    uint16_t nfree;
    uint16_t free[VD_RING_MAX];      /* split: descriptors; packed: ids */
    uint16_t used_desc[VD_RING_MAX]; /* of a chain, by id; 0: not in flight */
    uint16_t next[VD_RING_MAX];      /* split: our copy of the links */
};

struct vd {
    /* set before vd_new, or left alone */
    const struct device_class *cls; /* NULL: virtio-net, with a backend */
    unsigned type;                  /* of another: its virtio device ID */
    const char *opts;               /* more device options */
    bool packed, intx;
    uint16_t qsize; /* 0: what the device says */
    unsigned pairs; /* backend queues, 0: 1 */

    struct machine *m;
    struct fake_net *net;
    struct device *dev; /* for its counters */
    unsigned slot;
    uint64_t common, notify, isr, config, bar;
    bool ports; /* notify is an I/O port */
    unsigned mult, nq;
    uint64_t features; /* negotiated */
    uint64_t brk;
    struct vd_queue q[VD_QUEUES];
};
enum { RX0 = 0, TX0 = 1 };

/* ------------------------------------------------------------ step by step */

/* Machine, backend and device; the function found, nothing touched. */
struct machine *vd_new(struct vd *d);
void vd_find(struct vd *d);
uint32_t vd_get(struct vd *d, unsigned reg, unsigned width);
void vd_set(struct vd *d, unsigned reg, unsigned width, uint64_t val);
uint8_t vd_status(struct vd *d);
/* Sets bits beside those set. */
void vd_status_or(struct vd *d, uint8_t bits);
uint64_t vd_offered(struct vd *d);
void vd_write_features(struct vd *d, uint64_t f);
/* Reset, ACKNOWLEDGE, DRIVER, the features, FEATURES_OK. False: refused. */
bool vd_negotiate(struct vd *d, uint64_t f);
/* Rings in fresh RAM, addresses, vector q + 1, enable. */
void vd_queue_make(struct vd *d, unsigned n, uint16_t size);
void vd_queue_write(struct vd_queue *q);
/* MSI-X, or INTx with d->intx; config vector 0. Before the queues. */
void vd_irqs_on(struct vd *d);
/* What a driver has after its reset. */
void vd_forget(struct vd *d);

/* All of it: VERSION_1, the ring format and `want` (each must be offered),
 * queues, DRIVER_OK. */
struct machine *vd_up(struct vd *d, bool packed, uint64_t want);
/* The same on a device that exists, after a reset. */
void vd_again(struct vd *d, uint64_t want);
void vd_free(struct vd *d);

/* --------------------------------------------------------------- buffers */

/* Zeroed guest RAM nobody else has. */
uint64_t vd_alloc(struct vd *d, uint64_t len, uint64_t align);
/* Pointer to guest RAM. */
static inline void *vd_ram(struct vd *d, uint64_t at, uint64_t len)
{
    return fake_ram(d->m, at, len);
}
/* Adds a chain; the id it comes back with, or -1: no room. vd_put leaves it
 * unpublished, to be shown with others at once. */
int vd_put(struct vd_queue *q, const struct vd_buf *b, unsigned n);
int vd_put_indirect(struct vd_queue *q, const struct vd_buf *b, unsigned n);
void vd_publish(struct vd_queue *q);
int vd_add(struct vd_queue *q, const struct vd_buf *b, unsigned n);
/* The i-th descriptor as it lies in RAM. */
struct vd_desc *vd_desc(struct vd_queue *q, unsigned i);
/* Writes a chain of raw descriptors and makes it available. `next` is used on
 * split rings only, where the chain begins at descriptor 0; on packed rings it
 * lies at the next places, each with the id 0. */
struct vd_raw {
    uint64_t at;
    uint32_t len;
    uint16_t flags, next;
};
void vd_raw(struct vd_queue *q, const struct vd_raw *r, unsigned n);
/* Split: the words around the rings. */
le16 *vd_avail_word(struct vd_queue *q, unsigned i); /* flags, idx, ring… */
le16 *vd_used_word(struct vd_queue *q, unsigned i);  /* flags, idx, … */

/* Kicks queue q, and runs the loop. */
void vd_kick(struct vd *d, unsigned q);
/* The next used chain; false: none. Checks that it was in flight. */
bool vd_used(struct vd_queue *q, int *id, uint32_t *len);
/* Takes all used chains; how many. */
unsigned vd_reap(struct vd_queue *q);

/* -------------------------------------------------- interrupts and kicks */

/* Interrupts of the queue since the last call: with INTx 1 or 0, and ISR is
 * read. */
unsigned vd_irqs(struct vd *d, unsigned q);
unsigned vd_config_irqs(struct vd *d);
/* No interrupts, every one, or (EVENT_IDX) when the k-th used entry from now
 * (k from 1) is there; entries take one descriptor each. */
void vd_irq_never(struct vd_queue *q);
void vd_irq_always(struct vd_queue *q);
void vd_irq_after(struct vd_queue *q, unsigned k);
/* Would a driver that just added `n` one-descriptor chains kick? */
bool vd_kick_wanted(struct vd_queue *q, unsigned n);

/* ---------------------------------------------------------------- packets */

/* Frame i of a test: an Ethernet header and bytes that depend on i. */
void vd_frame(uint8_t *p, size_t len, unsigned i);
/* Makes header + frame available on a transmit queue in one piece. */
int vd_send(struct vd *d, unsigned q, const struct net_hdr *h,
            const uint8_t *frame, size_t len);
/* Posts one receive buffer in one piece; its address. */
uint64_t vd_post(struct vd *d, unsigned q, uint32_t len);
/* Frame i of len bytes went through each way. Needs an idle device. */
void vd_check_tx(struct vd *d, unsigned i, size_t len);
void vd_check_rx(struct vd *d, unsigned i, size_t len);
/* Both: the device works. */
void vd_check_alive(struct vd *d);
/* Throws away what is on the wire, both ways. */
void vd_drain(struct vd *d);
/* NEEDS_RESET is set and was told; a reset brings all back (virtio-net: and it
 * moves packets). */
void vd_check_broken(struct vd *d);
/* A counter of the NIC, by its name in -stats; 0 when it is not printed. */
uint64_t vd_count(struct vd *d, const char *name);

#endif
