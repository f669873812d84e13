/* SPDX-License-Identifier: MIT */
/* virtio's interrupts (virtio 1.2 §4.1.4.5, §4.1.5.1.2): with MSI-X a pulse of
 * the vector's eventfd; without, a bit in ISR and the INTx line, both under
 * isr_lock so that a read of ISR that clears them and a new interrupt cannot
 * overtake each other. */
#include "devices/virtio/pci.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void virtio_raise_intx(struct virtio *v, uint8_t bit)
{
    pthread_mutex_lock(&v->isr_lock);
    v->isr |= bit;
    if (!pci_msix_on(&v->fn))
        pci_intx_set(&v->fn, true);
    pthread_mutex_unlock(&v->isr_lock);
}

uint8_t virtio_read_isr(struct virtio *v)
{
    pthread_mutex_lock(&v->isr_lock);
    uint8_t isr = v->isr;
    v->isr = 0;
    pci_intx_set(&v->fn, false);
    pthread_mutex_unlock(&v->isr_lock);
    return isr;
}

/* §4.1.5.1.3.1: with MSI-X, and no vector, not even INTx. */
static bool virtio_raise(struct virtio *v, uint16_t vector)
{
    if (pci_msix_raise(&v->fn, vector))
        return vector != VIRTIO_NO_VECTOR;
    virtio_raise_intx(v, VIRTIO_ISR_QUEUE);
    return true;
}

bool virtio_queue_irq(struct virtio *v, struct virtqueue *vq)
{
    return vq_irq_wanted(vq) && virtio_raise(v, vq->vector);
}

bool virtio_call(struct virtio *v, unsigned q)
{
    return virtio_raise(v, v->vq[q].vector);
}

/* Edge-triggered: never read, as another process has it. */
static void virtio_on_intx_call(struct event *ev, uint32_t got)
{
    struct virtio *v = container_of(ev, struct virtio, intx_call);
    (void)got;
    virtio_raise_intx(v, VIRTIO_ISR_QUEUE);
}

/* syscalls loop vcpu if vhost: eventfd2 dup3 close */
int virtio_call_fd(struct virtio *v, unsigned q)
{
    v->msix_on = pci_msix_on(&v->fn);
    if (v->msix_on)
        return pci_msix_lend(&v->fn, v->vq[q].vector);
    if (v->intx_lent)
        return v->intx_call.fd;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), err;
    if (fd < 0)
        return -1;
    if (v->intx_call.loop) {
        err = loop_refile(&v->intx_call, fd);
    } else {
        v->intx_call = (struct event){
            .fd = fd, .want = EPOLLIN | EPOLLET, .ready = virtio_on_intx_call};
        err = loop_add(v->dev.m->loop, &v->intx_call);
        if (err)
            close(fd);
    }
    v->intx_lent = !err;
    return err ? -1 : v->intx_call.fd;
}

uint16_t virtio_vector(const struct virtio *v, uint64_t val)
{
    return val < v->fn.nvec ? (uint16_t)val : VIRTIO_NO_VECTOR;
}

void virtio_set_vector(struct virtio *v, unsigned q, uint64_t val)
{
    v->vq[q].vector = virtio_vector(v, val);
    if (v->started && v->type->call_changed)
        v->type->call_changed(v, q);
}

static void virtio_config_irq(struct virtio *v)
{
    /* §4.1.4.5.1: the bit is set with MSI-X as well. */
    virtio_raise_intx(v, VIRTIO_ISR_CONFIG);
    pci_msix_raise(&v->fn, v->config_vector);
}

void virtio_config_changed(struct virtio *v)
{
    v->generation++;
    if (v->status & VIRTIO_DRIVER_OK)
        virtio_config_irq(v);
}

void virtio_broken(struct virtio *v, unsigned life, const char *why)
{
    fault_note(&v->faults,
               "%s: guest fault: %s; the device waits for a reset (said once, "
               "counted in -stats)",
               v->dev.id, why ? why : "?");
    if (life == v->life && (v->status & VIRTIO_DRIVER_OK) &&
        !(v->status & VIRTIO_NEEDS_RESET)) {
        v->status |= VIRTIO_NEEDS_RESET;
        virtio_config_irq(v);
    }
}

void virtio_needs_reset(struct virtio *v, unsigned life, const char *why)
{
    pthread_mutex_lock(&v->lock);
    virtio_broken(v, life, why);
    pthread_mutex_unlock(&v->lock);
}
