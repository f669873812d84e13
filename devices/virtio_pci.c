/* SPDX-License-Identifier: MIT */
/* virtio over PCI (virtio 1.2 §4.1), modern interface.
 *
 * Theory of operation
 * -------------------
 * One memory BAR (4) holds the four structures: common configuration, ISR,
 * device configuration, notification area with one dword a queue. MSI-X has a
 * BAR of its own (1). The common configuration is a table of registers; an
 * access of any width is put together from the registers it overlaps, so that
 * drivers which split or merge accesses all get what they mean.
 *
 * Registers run on vCPU threads under v->lock. Ring work runs on loop threads
 * under the device type's own locks and sees a queue only between start() and
 * stop(); the ring pointers and registers of a queue do not change in between.
 * A kick before DRIVER_OK does nothing, because start() looks at every ring.
 *
 * Interrupts: with MSI-X a pulse of the vector's eventfd; without, a bit in ISR
 * and the INTx line, both under isr_lock so that a read of ISR that clears them
 * and a new interrupt cannot overtake each other. */
#include "devices/virtio_pci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MSIX_BAR 1
#define VIRTIO_BAR 4
#define COMMON_OFF 0x0000
#define ISR_OFF 0x1000
#define CONFIG_OFF 0x2000
#define NOTIFY_OFF 0x3000
#define REGION_LEN 0x1000
#define NOTIFY_MULT 4

enum { /* §4.1.4 */
       CAP_COMMON = 1,
       CAP_NOTIFY = 2,
       CAP_ISR = 3,
       CAP_DEVICE = 4,
       CAP_PCI_CFG = 5,
};
enum { ISR_QUEUE = 1, ISR_CONFIG = 2 };

/* ------------------------------------------------------------- interrupts */

static void raise_intx(struct virtio *v, uint8_t bit)
{
    pthread_mutex_lock(&v->isr_lock);
    v->isr |= bit;
    if (!pci_msix_on(&v->fn))
        pci_intx_set(&v->fn, true);
    pthread_mutex_unlock(&v->isr_lock);
}

static uint8_t read_isr(struct virtio *v)
{
    pthread_mutex_lock(&v->isr_lock);
    uint8_t isr = v->isr;
    v->isr = 0;
    pci_intx_set(&v->fn, false);
    pthread_mutex_unlock(&v->isr_lock);
    return isr;
}

bool virtio_queue_irq(struct virtio *v, struct virtqueue *vq)
{
    if (!vq_irq_wanted(vq))
        return false;
    if (pci_msix_on(&v->fn)) {
        if (vq->vector == VIRTIO_NO_VECTOR)
            return false; /* §4.1.5.1.3.1: not even INTx */
        pci_msix_raise(&v->fn, vq->vector);
    } else {
        raise_intx(v, ISR_QUEUE);
    }
    return true;
}

static void config_irq(struct virtio *v)
{
    /* §4.1.4.5.1: the bit is set with MSI-X as well. */
    raise_intx(v, ISR_CONFIG);
    if (pci_msix_on(&v->fn))
        pci_msix_raise(&v->fn, v->config_vector);
}

void virtio_config_changed(struct virtio *v)
{
    v->generation++;
    if (v->status & VIRTIO_DRIVER_OK)
        config_irq(v);
}

void virtio_needs_reset(struct virtio *v, const char *why)
{
    fault_note(&v->faults,
               "%s: guest fault: %s; the device waits for a reset (said once, "
               "counted in -stats)",
               v->dev.id, why ? why : "?");
    pthread_mutex_lock(&v->lock);
    if ((v->status & VIRTIO_DRIVER_OK) && !(v->status & VIRTIO_NEEDS_RESET)) {
        v->status |= VIRTIO_NEEDS_RESET;
        config_irq(v);
    }
    pthread_mutex_unlock(&v->lock);
}

/* ---------------------------------------------------------- device status */

static void kicks_set(struct virtio *v, bool on)
{
    for (unsigned q = 0; q < v->nvq; q++)
        if (!on || v->vq[q].state == VQ_READY)
            pci_kick_set(&v->fn, VIRTIO_BAR, q, on);
}

static void drain(int fd)
{
    uint64_t n;
    ssize_t ignored = read(fd, &n, sizeof(n));
    (void)ignored; /* EAGAIN: nothing there */
}

/* §2.4: lock held. When it returns no queue is touched any more. */
static void device_reset(struct virtio *v)
{
    v->type->stop(v);
    kicks_set(v, false);
    for (unsigned q = 0; q < v->nvq; q++) {
        vq_reset(&v->vq[q]);
        drain(v->kick[q].ev.fd);
    }
    v->driver = v->features = 0;
    v->device_sel = v->driver_sel = 0;
    v->queue_sel = 0;
    v->config_vector = VIRTIO_NO_VECTOR;
    v->status = 0;
    v->generation = 0;
    v->legacy = false;
    read_isr(v);
}

static bool subset_ok(struct virtio *v, uint64_t f)
{
    if (f & ~v->offered)
        return false;
    return !v->type->features_ok || v->type->features_ok(v, f);
}

static void write_status(struct virtio *v, uint64_t val)
{
    uint8_t set = (uint8_t)val & (uint8_t)~v->status;
    TRACE(VIRTIO, "%s status %#x <- %#x", v->dev.id, v->status, (unsigned)val);
    if (!val) {
        device_reset(v);
        return;
    }
    if (set & VIRTIO_FEATURES_OK) {
        if (subset_ok(v, v->driver))
            v->features = v->driver;
        else
            set &= (uint8_t)~VIRTIO_FEATURES_OK; /* §2.2.2 */
    }
    /* Bits are set one after the other and never cleared but by 0. */
    v->status |= set & (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER |
                        VIRTIO_FEATURES_OK | VIRTIO_FAILED);
    if (set & VIRTIO_DRIVER_OK && v->status & VIRTIO_FEATURES_OK) {
        v->status |= VIRTIO_DRIVER_OK;
        kicks_set(v, true);
        v->type->start(v);
    }
}

/* --------------------------------------------------- common configuration */

static struct virtqueue *selected(struct virtio *v)
{
    return v->queue_sel < v->nvq ? &v->vq[v->queue_sel] : NULL;
}

/* The selected queue, if its registers may change now. */
static struct virtqueue *writable(struct virtio *v)
{
    struct virtqueue *vq = selected(v);
    return vq && vq->state == VQ_OFF ? vq : NULL;
}

static uint64_t rd_device_sel(struct virtio *v)
{
    return v->device_sel;
}
static void wr_device_sel(struct virtio *v, uint64_t val)
{
    v->device_sel = (uint32_t)val;
}
static uint64_t rd_device_features(struct virtio *v)
{
    return v->device_sel < 2 ? (uint32_t)(v->offered >> 32 * v->device_sel) : 0;
}
static uint64_t rd_driver_sel(struct virtio *v)
{
    return v->driver_sel;
}
static void wr_driver_sel(struct virtio *v, uint64_t val)
{
    v->driver_sel = (uint32_t)val;
}
static uint64_t rd_driver_features(struct virtio *v)
{
    return v->driver_sel < 2 ? (uint32_t)(v->driver >> 32 * v->driver_sel) : 0;
}
static void wr_driver_features(struct virtio *v, uint64_t val)
{
    unsigned shift = 32 * v->driver_sel;
    if (v->driver_sel > 1 || v->status & VIRTIO_FEATURES_OK)
        return; /* §3.1.1: the set is closed */
    v->driver = (v->driver & ~(0xffffffffull << shift)) | val << shift;
    TRACE(VIRTIO, "%s driver features %#llx", v->dev.id,
          (unsigned long long)v->driver);
}
static uint16_t vector_or_none(const struct virtio *v, uint64_t val)
{
    return val < v->fn.nvec ? (uint16_t)val : VIRTIO_NO_VECTOR;
}
static uint64_t rd_config_vector(struct virtio *v)
{
    return v->config_vector;
}
static void wr_config_vector(struct virtio *v, uint64_t val)
{
    v->config_vector = vector_or_none(v, val);
}
static uint64_t rd_num_queues(struct virtio *v)
{
    return v->nvq;
}
static uint64_t rd_status(struct virtio *v)
{
    return v->status;
}
static uint64_t rd_generation(struct virtio *v)
{
    return v->generation;
}
static uint64_t rd_queue_sel(struct virtio *v)
{
    return v->queue_sel;
}
static void wr_queue_sel(struct virtio *v, uint64_t val)
{
    v->queue_sel = (uint16_t)val;
}
static uint64_t rd_queue_size(struct virtio *v)
{
    return selected(v) ? selected(v)->size : 0;
}
static void wr_queue_size(struct virtio *v, uint64_t val)
{
    struct virtqueue *vq = writable(v);
    bool pow2 = !(val & (val - 1)) || has(v->driver, VIRTIO_F_RING_PACKED);
    if (vq && val && val <= vq->size_max && pow2)
        vq->size = (uint16_t)val;
}
static uint64_t rd_queue_vector(struct virtio *v)
{
    return selected(v) ? selected(v)->vector : VIRTIO_NO_VECTOR;
}
static void wr_queue_vector(struct virtio *v, uint64_t val)
{
    /* One 16-bit store; loops read it while the queue runs. */
    if (selected(v))
        selected(v)->vector = vector_or_none(v, val);
}
static uint64_t rd_queue_enable(struct virtio *v)
{
    return selected(v) && selected(v)->state != VQ_OFF;
}
static void wr_queue_enable(struct virtio *v, uint64_t val)
{
    struct virtqueue *vq = writable(v);
    if (val != 1 || !vq || !(v->status & VIRTIO_FEATURES_OK))
        return;
    if (vq_enable(vq, &v->dev.m->ram, v->features)) {
        fault_note(&v->faults,
                   "%s: guest fault: queue %u: size %u or ring addresses "
                   "wrong; it stays off (said once)",
                   v->dev.id, v->queue_sel, vq->size);
        return;
    }
    TRACE(VIRTIO, "%s queue %u on, size %u", v->dev.id, v->queue_sel, vq->size);
    if (v->status & VIRTIO_DRIVER_OK) { /* §2.6.1.2: after a queue reset */
        pci_kick_set(&v->fn, VIRTIO_BAR, v->queue_sel, true);
        v->type->queue_start(v, v->queue_sel);
    }
}
static uint64_t rd_notify_off(struct virtio *v)
{
    return selected(v) ? v->queue_sel : 0;
}
static uint64_t rd_desc(struct virtio *v)
{
    return selected(v) ? selected(v)->desc_gpa : 0;
}
static void wr_desc(struct virtio *v, uint64_t val)
{
    if (writable(v))
        writable(v)->desc_gpa = val;
}
static uint64_t rd_avail(struct virtio *v)
{
    return selected(v) ? selected(v)->avail_gpa : 0;
}
static void wr_avail(struct virtio *v, uint64_t val)
{
    if (writable(v))
        writable(v)->avail_gpa = val;
}
static uint64_t rd_used(struct virtio *v)
{
    return selected(v) ? selected(v)->used_gpa : 0;
}
static void wr_used(struct virtio *v, uint64_t val)
{
    if (writable(v))
        writable(v)->used_gpa = val;
}
static uint64_t rd_zero(struct virtio *v)
{
    (void)v;
    return 0; /* the reset is over before the write returns (§2.6.1.1) */
}
static void wr_queue_reset(struct virtio *v, uint64_t val)
{
    struct virtqueue *vq = selected(v);
    if (val != 1 || !vq || !has(v->features, VIRTIO_F_RING_RESET))
        return;
    TRACE(VIRTIO, "%s queue %u reset", v->dev.id, v->queue_sel);
    v->type->queue_stop(v, v->queue_sel);
    pci_kick_set(&v->fn, VIRTIO_BAR, v->queue_sel, false);
    vq_reset(vq);
    drain(v->kick[v->queue_sel].ev.fd);
}

/* §4.1.4.3, one row a register; NULL: read-only. */
static const struct reg {
    uint8_t off, width;
    const char *name;
    uint64_t (*read)(struct virtio *v);
    void (*write)(struct virtio *v, uint64_t val);
} regs[] = {
    {0x00, 4, "device_feature_select", rd_device_sel, wr_device_sel},
    {0x04, 4, "device_feature", rd_device_features, NULL},
    {0x08, 4, "driver_feature_select", rd_driver_sel, wr_driver_sel},
    {0x0c, 4, "driver_feature", rd_driver_features, wr_driver_features},
    {0x10, 2, "config_msix_vector", rd_config_vector, wr_config_vector},
    {0x12, 2, "num_queues", rd_num_queues, NULL},
    {0x14, 1, "device_status", rd_status, write_status},
    {0x15, 1, "config_generation", rd_generation, NULL},
    {0x16, 2, "queue_select", rd_queue_sel, wr_queue_sel},
    {0x18, 2, "queue_size", rd_queue_size, wr_queue_size},
    {0x1a, 2, "queue_msix_vector", rd_queue_vector, wr_queue_vector},
    {0x1c, 2, "queue_enable", rd_queue_enable, wr_queue_enable},
    {0x1e, 2, "queue_notify_off", rd_notify_off, NULL},
    {0x20, 8, "queue_desc", rd_desc, wr_desc},
    {0x28, 8, "queue_driver", rd_avail, wr_avail},
    {0x30, 8, "queue_device", rd_used, wr_used},
    {0x38, 2, "queue_notify_data", rd_notify_off, NULL},
    {0x3a, 2, "queue_reset", rd_zero, wr_queue_reset},
};
#define COMMON_LEN 0x3c

static uint64_t ones(unsigned width)
{
    return width >= 8 ? ~0ull : (1ull << 8 * width) - 1;
}

static uint64_t common_read(struct virtio *v, unsigned off, unsigned width)
{
    uint64_t val = 0;
    for (size_t i = 0; i < ARRAY_LEN(regs); i++) {
        const struct reg *r = &regs[i];
        if (off >= r->off + r->width || r->off >= off + width)
            continue;
        uint64_t whole = r->read(v) & ones(r->width);
        val |= off > r->off ? whole >> 8 * (off - r->off)
                            : whole << 8 * (r->off - off);
        TRACE(VIRTIO, "%s %s -> %#llx", v->dev.id, r->name,
              (unsigned long long)whole);
    }
    return val;
}

static void common_write(struct virtio *v, unsigned off, unsigned width,
                         uint64_t val)
{
    for (size_t i = 0; i < ARRAY_LEN(regs); i++) {
        const struct reg *r = &regs[i];
        if (!r->write || off >= r->off + r->width || r->off >= off + width)
            continue;
        uint64_t mask = ones(width), part = val;
        if (off > r->off) {
            mask <<= 8 * (off - r->off);
            part <<= 8 * (off - r->off);
        } else {
            mask >>= 8 * (r->off - off);
            part >>= 8 * (r->off - off);
        }
        mask &= ones(r->width);
        if (mask != ones(r->width))
            part = (r->read(v) & ~mask) | (part & mask);
        TRACE(VIRTIO, "%s %s <- %#llx", v->dev.id, r->name,
              (unsigned long long)(part & ones(r->width)));
        r->write(v, part & ones(r->width));
    }
}

/* -------------------------------------------------------------- BAR access */

static uint64_t config_read(struct virtio *v, unsigned off, unsigned width)
{
    uint8_t bytes[8] = {0};
    uint64_t val;
    if (off < v->type->config_len) {
        unsigned n = v->type->config_len - off;
        v->type->config_read(v, off, bytes, n < width ? n : width);
    }
    memcpy(&val, bytes, sizeof(val));
    return val;
}

static uint64_t bar_read(void *owner, uint64_t off, unsigned width)
{
    struct virtio *v = owner;
    unsigned at = off % REGION_LEN;
    uint64_t val = 0;
    if (off >= NOTIFY_OFF)
        return 0;
    if (off >= ISR_OFF && off < CONFIG_OFF)
        return at == 0 ? read_isr(v) : 0;
    pthread_mutex_lock(&v->lock);
    if (off >= CONFIG_OFF)
        val = config_read(v, at, width);
    else if (at < COMMON_LEN)
        val = common_read(v, at, width);
    pthread_mutex_unlock(&v->lock);
    return val;
}

static void signal_kick(struct virtio *v, unsigned q)
{
    uint64_t one = 1;
    if (q >= v->nvq)
        return;
    ssize_t ignored = write(v->kick[q].ev.fd, &one, sizeof(one));
    (void)ignored; /* the counter is full: the kick stands */
}

static void bar_write(void *owner, uint64_t off, unsigned width, uint64_t val)
{
    struct virtio *v = owner;
    unsigned at = off % REGION_LEN;
    if (off >= NOTIFY_OFF) {
        /* Seen here only when the ioeventfd did not take it. The address
         * tells the queue; the value is not needed. */
        signal_kick(v, at / NOTIFY_MULT);
        return;
    }
    if (off >= ISR_OFF && off < CONFIG_OFF)
        return;
    pthread_mutex_lock(&v->lock);
    if (off < ISR_OFF) {
        if (at < COMMON_LEN)
            common_write(v, at, width, val);
    } else if (v->type->config_write && at < v->type->config_len &&
               width <= v->type->config_len - at) {
        v->type->config_write(v, at, &val, width);
    }
    pthread_mutex_unlock(&v->lock);
}

/* §4.1.4.9: a window for firmware that has not mapped the BARs. The access is
 * the one `bar`, `offset` and `length` name, done when pci_cfg_data is read or
 * written. */
static const struct region *cfg_window(const struct virtio *v, unsigned cap,
                                       uint32_t *off, uint32_t *len)
{
    const uint8_t *c = v->fn.cfg + cap;
    unsigned bar = c[4];
    memcpy(off, c + 8, 4);
    memcpy(len, c + 12, 4);
    if (bar >= PCI_BARS || v->fn.bar[bar].kind == PCI_BAR_NONE)
        return NULL;
    if ((*len != 1 && *len != 2 && *len != 4) || *off % *len ||
        *off >= v->fn.bar[bar].size || *len > v->fn.bar[bar].size - *off)
        return NULL;
    return &v->fn.bar[bar].region;
}

static bool hits_cfg_data(const struct virtio *v, unsigned off, unsigned width)
{
    unsigned data = v->pci_cfg_cap + 16u;
    return v->pci_cfg_cap && off < data + 4 && data < off + width;
}

static void cfg_read_hook(struct pci_fn *fn, unsigned off, unsigned width)
{
    struct virtio *v = fn->owner;
    uint32_t at, len, val = 0;
    if (!hits_cfg_data(v, off, width))
        return;
    const struct region *r = cfg_window(v, v->pci_cfg_cap, &at, &len);
    if (r)
        val = (uint32_t)(r->read(r->owner, at, len) & ones(len));
    memcpy(fn->cfg + v->pci_cfg_cap + 16, &val, 4);
}

static void cfg_written_hook(struct pci_fn *fn, unsigned off, unsigned width)
{
    struct virtio *v = fn->owner;
    uint32_t at, len, val;
    if (!hits_cfg_data(v, off, width))
        return;
    const struct region *r = cfg_window(v, v->pci_cfg_cap, &at, &len);
    memcpy(&val, fn->cfg + v->pci_cfg_cap + 16, 4);
    if (r)
        r->write(r->owner, at, len, val & ones(len));
}

/* ------------------------------------------------------------------ making */

static uint8_t add_cap(struct virtio *v, uint8_t type, uint8_t len,
                       uint32_t off, uint32_t size)
{
    uint8_t at = pci_cap_add(&v->fn, PCI_CAP_VENDOR, len);
    uint8_t *c = v->fn.cfg + at;
    c[2] = len;
    c[3] = type;
    c[4] = VIRTIO_BAR;
    memcpy(c + 8, &off, 4);
    memcpy(c + 12, &size, 4);
    return at;
}

static void add_caps(struct virtio *v)
{
    uint32_t mult = NOTIFY_MULT;
    add_cap(v, CAP_COMMON, 16, COMMON_OFF, COMMON_LEN);
    uint8_t at = add_cap(v, CAP_NOTIFY, 20, NOTIFY_OFF, v->nvq * NOTIFY_MULT);
    memcpy(v->fn.cfg + at + 16, &mult, 4);
    add_cap(v, CAP_ISR, 16, ISR_OFF, 1);
    if (v->type->config_len)
        add_cap(v, CAP_DEVICE, 16, CONFIG_OFF, (v->type->config_len + 3) & ~3u);
    v->pci_cfg_cap = add_cap(v, CAP_PCI_CFG, 20, 0, 0);
    v->fn.wmask[v->pci_cfg_cap + 4] = 0xff; /* bar */
    memset(v->fn.wmask + v->pci_cfg_cap + 8, 0xff, 12);
    v->fn.cfg_read = cfg_read_hook;
    v->fn.cfg_written = cfg_written_hook;
}

/* Edge-triggered: each write to the eventfd is an edge whether it was read in
 * between or not, so a kick costs no read(2) (the counter cannot fill up: 2^64
 * kicks). */
static void on_kick(struct event *ev, uint32_t got)
{
    struct virtio_kick *k = container_of(ev, struct virtio_kick, ev);
    TRACE(VIRTIO, "%s kick %u%s", k->v->dev.id, k->q, got ? "" : " (more)");
    k->v->type->kick(k->v, k->q);
}

static int add_kicks(struct virtio *v,
                     struct loop *(*loop_of)(struct virtio *v, unsigned q))
{
    for (unsigned q = 0; q < v->nvq; q++) {
        struct virtio_kick *k = &v->kick[q];
        k->v = v;
        k->q = q;
        k->ev = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                               .want = EPOLLIN | EPOLLET,
                               .ready = on_kick,
                               .name = "kick"};
        if (k->ev.fd < 0)
            return -errno;
        int err = loop_add(loop_of(v, q), &k->ev);
        if (err)
            return err;
        v->pci_kick[q] = (struct pci_kick){.off = NOTIFY_OFF + q * NOTIFY_MULT,
                                           .fd = k->ev.fd};
    }
    v->fn.bar[VIRTIO_BAR].kick = v->pci_kick;
    v->fn.bar[VIRTIO_BAR].nkick = v->nvq;
    return 0;
}

int virtio_pci_init(struct virtio *v, struct machine *m,
                    const struct virtio_type *type, int slot,
                    struct loop *(*loop_of)(struct virtio *v, unsigned q))
{
    v->type = type;
    pthread_mutex_init(&v->lock, NULL);
    pthread_mutex_init(&v->isr_lock, NULL);
    v->config_vector = VIRTIO_NO_VECTOR;
    for (unsigned q = 0; q < v->nvq; q++)
        vq_reset(&v->vq[q]);
    /* §4.1.2.1: non-transitional: 0x1040 + type, revision 1. */
    pci_fn_init(&v->fn, m, v, type->name, 0x1af4, 0x1040 + type->id,
                type->class24, 1);
    v->fn.cfg[PCI_SUBSYS_VENDOR_ID] = 0xf4;
    v->fn.cfg[PCI_SUBSYS_VENDOR_ID + 1] = 0x1a;
    v->fn.cfg[PCI_SUBSYS_ID + 1] = 0x11; /* 0x1100, at least 0x40 */
    pci_bar_init(&v->fn, VIRTIO_BAR, PCI_BAR_MEM32, 4 * REGION_LEN, bar_read,
                 bar_write, v);
    pci_intx_init(&v->fn);
    v->fn.romfile = v->romfile;
    /* A vector for each queue and one for configuration changes: each entry
     * costs the guest four exits at boot, so no more than that. */
    unsigned nvec = v->nvq + 1;
    int err = pci_msix_init(&v->fn, MSIX_BAR, nvec);
    add_caps(v);
    if (!err)
        err = add_kicks(v, loop_of);
    if (err)
        return fail(err, "%s: %s", v->dev.id, strerror(-err));
    return pci_add(&v->fn, slot);
}

void virtio_pci_reset(struct virtio *v)
{
    pthread_mutex_lock(&v->lock);
    device_reset(v);
    pthread_mutex_unlock(&v->lock);
    pci_fn_reset(&v->fn);
}

void virtio_pci_destroy(struct virtio *v)
{
    for (unsigned q = 0; q < v->nvq; q++) {
        loop_del(&v->kick[q].ev);
        if (v->kick[q].ev.fd > 0)
            close(v->kick[q].ev.fd);
    }
    for (unsigned i = 0; i < v->fn.nvec; i++)
        irq_free(&v->fn.vec[i].irq);
    free(v->fn.vec);
    irq_free(&v->fn.intx);
}
