/* SPDX-License-Identifier: MIT */
/* The common configuration structure of virtio over PCI (virtio 1.2 §4.1.4.3):
 * one table of registers, read and written at any width. All of it runs under
 * virtio.lock. */
#include "devices/virtio/pci.h"

static struct virtqueue *virtio_selected(struct virtio *v)
{
    return v->queue_sel < v->nvq ? &v->vq[v->queue_sel] : NULL;
}

/* The selected queue, if its registers may change now. */
static struct virtqueue *virtio_writable(struct virtio *v)
{
    struct virtqueue *vq = virtio_selected(v);
    return vq && vq->state == VQ_OFF ? vq : NULL;
}

static uint64_t virtio_rd_device_sel(struct virtio *v)
{
    return v->device_sel;
}
static void virtio_wr_device_sel(struct virtio *v, uint64_t val)
{
    v->device_sel = (uint32_t)val;
}
static uint64_t virtio_rd_device_features(struct virtio *v)
{
    return v->device_sel < 2 ? (uint32_t)(v->offered >> 32 * v->device_sel) : 0;
}
static uint64_t virtio_rd_driver_sel(struct virtio *v)
{
    return v->driver_sel;
}
static void virtio_wr_driver_sel(struct virtio *v, uint64_t val)
{
    v->driver_sel = (uint32_t)val;
}
static uint64_t virtio_rd_driver_features(struct virtio *v)
{
    return v->driver_sel < 2 ? (uint32_t)(v->driver >> 32 * v->driver_sel) : 0;
}
static void virtio_wr_driver_features(struct virtio *v, uint64_t val)
{
    unsigned shift = 32 * v->driver_sel;
    if (v->driver_sel > 1 || v->status & VIRTIO_FEATURES_OK)
        return; /* §3.1.1: the set is closed */
    v->driver = (v->driver & ~(0xffffffffull << shift)) | val << shift;
    TRACE(VIRTIO, "%s driver features %#llx", v->dev.id,
          (unsigned long long)v->driver);
}
static uint64_t virtio_rd_config_vector(struct virtio *v)
{
    return v->config_vector;
}
static void virtio_wr_config_vector(struct virtio *v, uint64_t val)
{
    v->config_vector = virtio_vector(v, val);
}
static uint64_t virtio_rd_num_queues(struct virtio *v)
{
    return v->nvq;
}
static uint64_t virtio_rd_status(struct virtio *v)
{
    return v->status;
}
static void virtio_wr_status(struct virtio *v, uint64_t val)
{
    virtio_set_status(v, (uint8_t)val);
}
static uint64_t virtio_rd_generation(struct virtio *v)
{
    return v->generation;
}
static uint64_t virtio_rd_queue_sel(struct virtio *v)
{
    return v->queue_sel;
}
static void virtio_wr_queue_sel(struct virtio *v, uint64_t val)
{
    v->queue_sel = (uint16_t)val;
}
static uint64_t virtio_rd_queue_size(struct virtio *v)
{
    return virtio_selected(v) ? virtio_selected(v)->size : 0;
}
static void virtio_wr_queue_size(struct virtio *v, uint64_t val)
{
    struct virtqueue *vq = virtio_writable(v);
    bool pow2 = !(val & (val - 1)) || has(v->driver, VIRTIO_F_RING_PACKED);
    if (vq && val && val <= vq->size_max && pow2)
        vq->size = (uint16_t)val;
}
static uint64_t virtio_rd_queue_vector(struct virtio *v)
{
    return virtio_selected(v) ? virtio_selected(v)->vector : VIRTIO_NO_VECTOR;
}
static void virtio_wr_queue_vector(struct virtio *v, uint64_t val)
{
    if (virtio_selected(v))
        virtio_set_vector(v, v->queue_sel, val);
}
static uint64_t virtio_rd_queue_enable(struct virtio *v)
{
    return virtio_selected(v) && virtio_selected(v)->state != VQ_OFF;
}
static void virtio_wr_queue_enable(struct virtio *v, uint64_t val)
{
    struct virtqueue *vq = virtio_writable(v);
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
    if (v->started) /* §2.6.1.2: after a queue reset */
        virtio_queue_begin(v, v->queue_sel);
}
static uint64_t virtio_rd_notify_off(struct virtio *v)
{
    return virtio_selected(v) ? v->queue_sel : 0;
}
static uint64_t virtio_rd_desc(struct virtio *v)
{
    return virtio_selected(v) ? virtio_selected(v)->desc_gpa : 0;
}
static void virtio_wr_desc(struct virtio *v, uint64_t val)
{
    if (virtio_writable(v))
        virtio_writable(v)->desc_gpa = val;
}
static uint64_t virtio_rd_avail(struct virtio *v)
{
    return virtio_selected(v) ? virtio_selected(v)->avail_gpa : 0;
}
static void virtio_wr_avail(struct virtio *v, uint64_t val)
{
    if (virtio_writable(v))
        virtio_writable(v)->avail_gpa = val;
}
static uint64_t virtio_rd_used(struct virtio *v)
{
    return virtio_selected(v) ? virtio_selected(v)->used_gpa : 0;
}
static void virtio_wr_used(struct virtio *v, uint64_t val)
{
    if (virtio_writable(v))
        virtio_writable(v)->used_gpa = val;
}
static uint64_t virtio_rd_zero(struct virtio *v)
{
    (void)v;
    return 0; /* the reset is over before the write returns (§2.6.1.1) */
}
static void virtio_wr_queue_reset(struct virtio *v, uint64_t val)
{
    struct virtqueue *vq = virtio_selected(v);
    if (val != 1 || !vq || !has(v->features, VIRTIO_F_RING_RESET))
        return;
    TRACE(VIRTIO, "%s queue %u reset", v->dev.id, v->queue_sel);
    virtio_queue_end(v, v->queue_sel);
}

/* §4.1.4.3, one row a register; NULL: read-only. */
static const struct reg {
    uint8_t off, width;
    const char *name;
    uint64_t (*read)(struct virtio *v);
    void (*write)(struct virtio *v, uint64_t val);
} regs[] = {
    {0x00, 4, "device_feature_select", virtio_rd_device_sel,
     virtio_wr_device_sel},
    {0x04, 4, "device_feature", virtio_rd_device_features, NULL},
    {0x08, 4, "driver_feature_select", virtio_rd_driver_sel,
     virtio_wr_driver_sel},
    {0x0c, 4, "driver_feature", virtio_rd_driver_features,
     virtio_wr_driver_features},
    {0x10, 2, "config_msix_vector", virtio_rd_config_vector,
     virtio_wr_config_vector},
    {0x12, 2, "num_queues", virtio_rd_num_queues, NULL},
    {0x14, 1, "device_status", virtio_rd_status, virtio_wr_status},
    {0x15, 1, "config_generation", virtio_rd_generation, NULL},
    {0x16, 2, "queue_select", virtio_rd_queue_sel, virtio_wr_queue_sel},
    {0x18, 2, "queue_size", virtio_rd_queue_size, virtio_wr_queue_size},
    {0x1a, 2, "queue_msix_vector", virtio_rd_queue_vector,
     virtio_wr_queue_vector},
    {0x1c, 2, "queue_enable", virtio_rd_queue_enable, virtio_wr_queue_enable},
    {0x1e, 2, "queue_notify_off", virtio_rd_notify_off, NULL},
    {0x20, 8, "queue_desc", virtio_rd_desc, virtio_wr_desc},
    {0x28, 8, "queue_driver", virtio_rd_avail, virtio_wr_avail},
    {0x30, 8, "queue_device", virtio_rd_used, virtio_wr_used},
    {0x38, 2, "queue_notify_data", virtio_rd_notify_off, NULL},
    {0x3a, 2, "queue_reset", virtio_rd_zero, virtio_wr_queue_reset},
};
_Static_assert(VIRTIO_COMMON_LEN == 0x3c, "the last register's end");

uint64_t virtio_common_read(struct virtio *v, unsigned off, unsigned width)
{
    uint64_t val = 0;
    for (size_t i = 0; i < ARRAY_LEN(regs); i++) {
        const struct reg *r = &regs[i];
        if (off >= r->off + r->width || r->off >= off + width)
            continue;
        uint64_t whole = r->read(v) & width_mask(r->width);
        val |= off > r->off ? whole >> 8 * (off - r->off)
                            : whole << 8 * (r->off - off);
        TRACE(VIRTIO, "%s %s -> %#llx", v->dev.id, r->name,
              (unsigned long long)whole);
    }
    return val;
}

void virtio_common_write(struct virtio *v, unsigned off, unsigned width,
                         uint64_t val)
{
    for (size_t i = 0; i < ARRAY_LEN(regs); i++) {
        const struct reg *r = &regs[i];
        if (!r->write || off >= r->off + r->width || r->off >= off + width)
            continue;
        uint64_t mask = width_mask(width), part = val;
        if (off > r->off) {
            mask <<= 8 * (off - r->off);
            part <<= 8 * (off - r->off);
        } else {
            mask >>= 8 * (r->off - off);
            part >>= 8 * (r->off - off);
        }
        mask &= width_mask(r->width);
        if (mask != width_mask(r->width))
            part = (r->read(v) & ~mask) | (part & mask);
        TRACE(VIRTIO, "%s %s <- %#llx", v->dev.id, r->name,
              (unsigned long long)(part & width_mask(r->width)));
        r->write(v, part & width_mask(r->width));
    }
}
