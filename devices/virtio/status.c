/* SPDX-License-Identifier: MIT */
/* virtio's device status (virtio 1.2 §2.1, §3.1): a driver comes, goes to work
 * and leaves; what of it is saved, and whether what is loaded can be. */
#include "devices/virtio/pci.h"

#include <errno.h>

void virtio_queue_begin(struct virtio *v, unsigned q)
{
    virtio_kick_set(v, q, true);
    v->type->queue_start(v, q);
}

void virtio_queue_end(struct virtio *v, unsigned q)
{
    v->type->queue_stop(v, q);
    virtio_kick_set(v, q, false);
    vq_reset(&v->vq[q]);
    v->pfn[q] = 0;
    event_drain(v->kick[q].ev.fd);
}

void virtio_begin(struct virtio *v)
{
    for (unsigned q = 0; q < v->nvq; q++)
        if (v->vq[q].state == VQ_READY)
            virtio_kick_set(v, q, true);
    v->started = true;
    v->type->start(v);
}

#define VIRTIO(uses, kind, key, member, ...)                                   \
    FIELD_AS(STATE | (uses), kind, key, struct virtio, member, __VA_ARGS__)
/* The registers; ISR is read to be cleared. */
static const struct field reg_fields[] = {
    VIRTIO(0, NUMBER, "driver", driver),
    VIRTIO(0, NUMBER, "features", features),
    VIRTIO(0, NUMBER, "device_select", device_sel),
    VIRTIO(0, NUMBER, "driver_select", driver_sel),
    VIRTIO(0, NUMBER, "queue_select", queue_sel),
    VIRTIO(0, NUMBER, "config_vector", config_vector, .def = VIRTIO_NO_VECTOR),
    VIRTIO(0, MASK, "status", status, .max = VIRTIO_STATUS_MASK),
    VIRTIO(KEPT, MASK, "isr", isr, .max = VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG),
    VIRTIO(0, NUMBER, "generation", generation),
    VIRTIO(0, FLAG, "started", started),
    VIRTIO(0, FLAG, "legacy", legacy),
    FIELD_EACH(STATE | SPARE, NUMBER, "pfn", struct virtio, pfn),
    {.name = ""},
};
const struct field virtio_fields[] = {
    FIELDS_OF(pci_fn_fields, "", struct virtio, fn),
    {.type = FIELD_PART, .use = STATE, .part = reg_fields},
    {.name = "queue",
     .type = FIELD_PARTS,
     .use = STATE,
     .size = sizeof(struct virtqueue),
     .offset = offsetof(struct virtio, vq),
     .def = FIELD_BEHIND(struct virtio, vq, nvq),
     .part = vq_fields},
    {.name = ""},
};

static bool virtio_subset_ok(struct virtio *v, uint64_t f)
{
    if (f & ~v->offered)
        return false;
    return !v->type->features_ok || v->type->features_ok(v, f);
}

void virtio_device_reset(struct virtio *v)
{
    v->type->stop(v);
    v->life++;
    v->started = false;
    for (unsigned q = 0; q < v->nvq; q++) {
        virtio_kick_set(v, q, false);
        vq_reset(&v->vq[q]);
        event_drain(v->kick[q].ev.fd);
    }
    fields_reset(reg_fields, v, STATE);
    virtio_read_isr(v);
}

void virtio_pci_hold(struct virtio *v)
{
    pci_fn_hold(&v->fn);
}

/* Could a driver have made these features and this status? */
static const char *virtio_negotiation_fault(struct virtio *v)
{
    uint8_t done = VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK;
    if (v->legacy && !v->has_legacy)
        return "legacy: there is no such interface here";
    if (v->no_modern && !v->legacy && v->status)
        return "status: there is only the legacy interface here";
    if (v->legacy ? v->features & ~(uint64_t)virtio_legacy_features(v)
                  : !virtio_subset_ok(v, v->features))
        return "features: not all of them are offered here";
    if (!v->legacy && !(v->status & VIRTIO_FEATURES_OK) && v->features)
        return "features: FEATURES_OK is not set";
    if (v->started ? !v->legacy && (v->status & done) != done
                   : v->status & VIRTIO_DRIVER_OK)
        return "started: the status says otherwise";
    return virtio_vector(v, v->config_vector) == v->config_vector
               ? NULL
               : "config_vector: there is none of that number";
}

int virtio_pci_loaded(struct virtio *v)
{
    const char *fault = virtio_negotiation_fault(v);
    /* All of them: none may look as if it were in service. */
    for (unsigned q = 0; q < v->nvq; q++) {
        struct virtqueue *vq = &v->vq[q];
        bool on = vq->state != VQ_OFF;
        if (vq_loaded(vq, &v->dev.m->ram, v->features) ||
            virtio_vector(v, vq->vector) != vq->vector ||
            (on && !v->legacy && !(v->status & VIRTIO_FEATURES_OK)))
            fault = fault ? fault : "queue: a ring that cannot be";
    }
    if (fault)
        return fail(-EINVAL, "%s: %s", v->dev.id, fault);
    for (unsigned q = 0; q < v->nvq; q++)
        virtio_kick_set(v, q, v->started && v->vq[q].state != VQ_OFF);
    return pci_fn_loaded(&v->fn, v->dev.id);
}

/* §3.1.1. The legacy interface has no FEATURES_OK: what the driver wrote
 * counts, as far as it was offered. */
void virtio_set_status(struct virtio *v, uint8_t val)
{
    uint8_t set = val & (uint8_t)~v->status;
    TRACE(VIRTIO, "%s status %#x <- %#x", v->dev.id, v->status, val);
    if (!val) {
        virtio_device_reset(v);
        return;
    }
    if (v->legacy)
        set &= (uint8_t)~VIRTIO_FEATURES_OK;
    if (set & VIRTIO_FEATURES_OK) {
        if (virtio_subset_ok(v, v->driver))
            v->features = v->driver;
        else
            set &= (uint8_t)~VIRTIO_FEATURES_OK; /* §2.2.2 */
    }
    /* Bits are set one after the other and never cleared but by 0. */
    v->status |= set & (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER |
                        VIRTIO_FEATURES_OK | VIRTIO_FAILED);
    if (set & VIRTIO_DRIVER_OK &&
        (v->legacy || v->status & VIRTIO_FEATURES_OK)) {
        v->status |= VIRTIO_DRIVER_OK;
        virtio_begin(v);
    }
}
