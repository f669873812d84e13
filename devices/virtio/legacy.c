/* SPDX-License-Identifier: MIT */
/* The legacy interface of a transitional device: registers in an I/O BAR
 * (virtio 1.2 §4.1.4.10).
 *
 * Rings are one contiguous area at a page number. They are put into service
 * when the driver is ready, or at its first kick, since old drivers use the
 * device before they set DRIVER_OK (§3.1.2). */
#include "devices/virtio/pci.h"

#define PAGE 4096u

enum {
    DEVICE_FEATURES = 0x00,
    DRIVER_FEATURES = 0x04,
    QUEUE_PFN = 0x08,
    QUEUE_SIZE = 0x0c,
    QUEUE_SELECT = 0x0e,
    QUEUE_NOTIFY = 0x10,
    STATUS = 0x12,
    ISR = 0x13,
    CONFIG_VECTOR = 0x14, /* these two only with MSI-X on */
    QUEUE_VECTOR = 0x16,
};

/* Device configuration follows the registers, whose number MSI-X changes. */
static unsigned legacy_config_at(const struct virtio *v)
{
    return pci_msix_on(&v->fn) ? 0x18 : 0x14;
}

/* §6.3: bit 30 is never offered; any framing is fine here. */
uint32_t virtio_legacy_features(const struct virtio *v)
{
    return (uint32_t)((v->offered & 0xbfffffff) | 1u << VIRTIO_F_ANY_LAYOUT);
}

static bool legacy_exists(const struct virtio *v)
{
    return v->queue_sel < v->nvq;
}

/* §2.7.2: descriptors, available ring, then the used ring on a new page. */
static void legacy_enable(struct virtio *v, unsigned q)
{
    struct virtqueue *vq = &v->vq[q];
    uint64_t at = (uint64_t)v->pfn[q] * PAGE;
    if (!v->pfn[q] || vq->state != VQ_OFF)
        return;
    vq->desc_gpa = at;
    vq->avail_gpa = at + 16ull * vq->size;
    vq->used_gpa =
        (vq->avail_gpa + 6 + 2ull * vq->size + PAGE - 1) & ~(PAGE - 1ull);
    if (vq_enable(vq, &v->dev.m->ram, v->features))
        fault_note(&v->faults,
                   "%s: guest fault: queue %u: its ring at page %#x is not in "
                   "memory; it stays off (said once)",
                   v->dev.id, q, v->pfn[q]);
    TRACE(VIRTIO, "%s queue %u at page %#x", v->dev.id, q, v->pfn[q]);
}

static void legacy_write_pfn(struct virtio *v, uint32_t pfn)
{
    unsigned q = v->queue_sel;
    if (!legacy_exists(v))
        return;
    if (!pfn || v->vq[q].state != VQ_OFF) {
        uint16_t vector = v->vq[q].vector;
        virtio_queue_end(v, q);
        v->vq[q].vector = vector;
    }
    v->pfn[q] = pfn;
    if (!v->started)
        return;
    legacy_enable(v, q);
    if (v->vq[q].state == VQ_READY)
        virtio_queue_begin(v, q);
}

static void legacy_enable_all(struct virtio *v)
{
    for (unsigned q = 0; q < v->nvq; q++)
        legacy_enable(v, q);
}

static void legacy_write_status(struct virtio *v, uint8_t val)
{
    if (val & VIRTIO_DRIVER_OK && !v->started)
        legacy_enable_all(v);
    bool early = v->started;
    if (early && val & VIRTIO_DRIVER_OK) {
        v->status |= val & VIRTIO_DRIVER_OK;
        val &= (uint8_t)~VIRTIO_DRIVER_OK;
        val |= VIRTIO_DRIVER; /* not 0: that would be a reset */
    }
    virtio_set_status(v, val);
}

static void legacy_notify(struct virtio *v, unsigned q)
{
    if (q >= v->nvq)
        return;
    if (!v->started) {
        legacy_enable_all(v);
        virtio_begin(v);
    }
    virtio_poke(v, q);
}

static uint64_t legacy_read_reg(struct virtio *v, unsigned off)
{
    switch (off) {
    case DEVICE_FEATURES:
        return virtio_legacy_features(v);
    case DRIVER_FEATURES:
        return (uint32_t)v->driver;
    case QUEUE_PFN:
        return legacy_exists(v) ? v->pfn[v->queue_sel] : 0;
    case QUEUE_SIZE:
        return legacy_exists(v) ? v->vq[v->queue_sel].size : 0;
    case QUEUE_SELECT:
        return v->queue_sel;
    case STATUS:
        return v->status;
    case CONFIG_VECTOR:
        return v->config_vector;
    case QUEUE_VECTOR:
        return legacy_exists(v) ? v->vq[v->queue_sel].vector : VIRTIO_NO_VECTOR;
    default:
        return 0;
    }
}

static void legacy_write_reg(struct virtio *v, unsigned off, uint64_t val)
{
    switch (off) {
    case DRIVER_FEATURES:
        if (v->started)
            return;
        v->driver = v->features = (uint32_t)val & virtio_legacy_features(v);
        break;
    case QUEUE_PFN:
        legacy_write_pfn(v, (uint32_t)val);
        break;
    case QUEUE_SELECT:
        v->queue_sel = (uint16_t)val;
        break;
    case QUEUE_NOTIFY:
        legacy_notify(v, (uint16_t)val);
        break;
    case STATUS:
        legacy_write_status(v, (uint8_t)val);
        break;
    case CONFIG_VECTOR:
        v->config_vector = virtio_vector(v, (uint16_t)val);
        break;
    case QUEUE_VECTOR:
        if (legacy_exists(v))
            virtio_set_vector(v, v->queue_sel, (uint16_t)val);
        break;
    default:
        break;
    }
}

/* Where a register begins, so that a byte inside one is answered too. */
static unsigned legacy_reg_start(unsigned off)
{
    if (off < QUEUE_SIZE)
        return off & ~3u;
    return off == ISR ? ISR : off & ~1u;
}

uint64_t virtio_legacy_read(void *owner, uint64_t off, unsigned width)
{
    struct virtio *v = owner;
    unsigned at = (unsigned)off, start = legacy_reg_start(at);
    uint64_t val;
    if (at == ISR)
        return virtio_read_isr(v);
    pthread_mutex_lock(&v->lock);
    if (at >= legacy_config_at(v))
        val = virtio_config_read(v, at - legacy_config_at(v), width);
    else
        val = legacy_read_reg(v, start) >> 8 * (at - start);
    pthread_mutex_unlock(&v->lock);
    TRACE(VIRTIO, "%s io[%#x]/%u -> %#llx", v->dev.id, at, width,
          (unsigned long long)(val & width_mask(width)));
    return val & width_mask(width);
}

void virtio_legacy_write(void *owner, uint64_t off, unsigned width,
                         uint64_t val)
{
    struct virtio *v = owner;
    unsigned at = (unsigned)off, start = legacy_reg_start(at);
    pthread_mutex_lock(&v->lock);
    TRACE(VIRTIO, "%s io[%#x]/%u <- %#llx", v->dev.id, at, width,
          (unsigned long long)(val & width_mask(width)));
    /* §4.1.4.10: the interface used first is the driver's, until a reset. A
     * modern driver has negotiated by now. */
    if (!(v->status & VIRTIO_FEATURES_OK))
        v->legacy = true;
    if (at >= legacy_config_at(v))
        virtio_config_write(v, at - legacy_config_at(v), width, val);
    else if (at == start && v->legacy)
        legacy_write_reg(v, at, val & width_mask(width));
    pthread_mutex_unlock(&v->lock);
}
