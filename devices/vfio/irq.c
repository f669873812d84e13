/* SPDX-License-Identifier: MIT */
/* vfio-pci's interrupts.
 *
 * One of INTx, MSI and MSI-X is on in the device, whichever the
 * guest has enabled, with eventfds that KVM turns into the guest's interrupts.
 * Masking happens on our side (msix.c; the same idea for MSI here), so an
 * interrupt while masked waits in its eventfd. INTx is masked by the host's
 * kernel when it fires; the guest's EOI signals the resample eventfd, which
 * unmasks it in the kernel again. */
#include "devices/vfio/state.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static bool vfio_msi_enabled(const struct vfio *v)
{
    return v->msi && pci_get(&v->fn, v->msi + 2u, 1) & MSI_ENABLE;
}

unsigned vfio_msi_data(const struct vfio *v)
{
    return v->msi + (pci_get(&v->fn, v->msi + 2u, 1) & MSI_64BIT ? 12u : 8u);
}

unsigned vfio_msi_mask(const struct vfio *v)
{
    return pci_get(&v->fn, v->msi + 3u, 1) & MSI_MASKABLE ? vfio_msi_data(v) + 4
                                                          : 0;
}

/* Attaches each of the device's messages as the capability says now. Under
 * v->lock. */
static void vfio_msi_attach(struct vfio *v)
{
    const struct pci_fn *fn = &v->fn;
    uint64_t addr = pci_get(fn, v->msi + 4u, 4);
    uint32_t data = pci_get(fn, vfio_msi_data(v), 2), masked = 0;
    if (vfio_msi_data(v) == v->msi + 12u)
        addr |= (uint64_t)pci_get(fn, v->msi + 8u, 4) << 32;
    if (vfio_msi_mask(v))
        masked = pci_get(fn, vfio_msi_mask(v), 4);
    for (unsigned i = 0; i < v->nmsi; i++) {
        struct irq *irq = &v->msi_irq[i];
        irq_detach(irq);
        if (i >= v->msi_on || masked >> i & 1 || !pci_can_dma(fn))
            continue;
        int err = irq_msi_attach(irq, addr, (data & ~(v->msi_on - 1)) | i);
        if (err)
            fault_note(&v->f_irq, "%s: MSI %u: %s", v->dev.id, i,
                       strerror(-err));
    }
}

/* The eventfds of a mode; how many. */
static unsigned vfio_mode_fds(struct vfio *v, int mode, int fds[PCI_MSIX_MAX])
{
    unsigned n = mode == VFIO_PCI_MSIX_IRQ_INDEX  ? v->fn.nvec
                 : mode == VFIO_PCI_MSI_IRQ_INDEX ? v->msi_on
                                                  : 1;
    for (unsigned i = 0; i < n; i++)
        fds[i] = mode == VFIO_PCI_MSIX_IRQ_INDEX  ? pci_msix_fd(&v->fn, i)
                 : mode == VFIO_PCI_MSI_IRQ_INDEX ? v->msi_irq[i].fd
                                                  : v->fn.intx.fd;
    return n;
}

/* In the kernel from the guest's EOI to the device, or else by intx_eoi. */
static void vfio_intx_unmask_by_kernel(struct vfio *v)
{
    struct event *eoi = &v->fn.intx.resample;
    if (vfio_set_irqs(v, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK, 1,
                      &eoi->fd) == 0)
        loop_del(eoi);
}

void vfio_intx_eoi(struct event *ev, uint32_t got)
{
    struct vfio *v = vfio_of(container_of(ev, struct pci_fn, intx.resample));
    (void)got;
    event_drain(ev->fd);
    vfio_set_irqs(v, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK, 0,
                  NULL);
}

void vfio_mode_off(struct vfio *v)
{
    if (v->mode >= 0)
        vfio_set_irqs(v, (unsigned)v->mode, VFIO_IRQ_SET_ACTION_TRIGGER, 0,
                      NULL);
    v->mode = -1;
    v->msi_on = 0;
    for (unsigned i = 0; i < v->nmsi; i++) {
        irq_detach(&v->msi_irq[i]);
        event_drain(v->msi_irq[i].fd);
    }
}

/* Under v->lock. */
static void vfio_mode_on(struct vfio *v, int mode, unsigned nmsi)
{
    static const char *const name[] = {"INTx", "MSI", "MSI-X"};
    int fds[PCI_MSIX_MAX];
    v->msi_on = nmsi;
    unsigned n = vfio_mode_fds(v, mode, fds);
    int got =
        vfio_set_irqs(v, (unsigned)mode, VFIO_IRQ_SET_ACTION_TRIGGER, n, fds);
    if (got > 0) /* the host has no more of them */
        got = vfio_set_irqs(v, (unsigned)mode, VFIO_IRQ_SET_ACTION_TRIGGER,
                            (unsigned)got, fds);
    if (got)
        fault_note(&v->f_irq, "%s: the host cannot turn on %s: %s", v->dev.id,
                   name[mode], strerror(-got));
    TRACE(PCI, "%s: %s, %u vectors: %d", v->dev.id, name[mode], n, got);
    v->mode = mode;
    if (mode == VFIO_PCI_INTX_IRQ_INDEX && !got)
        vfio_intx_unmask_by_kernel(v);
}

void vfio_irq_follow(struct vfio *v)
{
    int mode = v->fn.has_intx ? VFIO_PCI_INTX_IRQ_INDEX : -1;
    unsigned nmsi = 0;
    pthread_mutex_lock(&v->lock);
    if (pci_msix_on(&v->fn)) {
        mode = VFIO_PCI_MSIX_IRQ_INDEX;
    } else if (vfio_msi_enabled(v)) {
        mode = VFIO_PCI_MSI_IRQ_INDEX;
        nmsi = 1u << (pci_get(&v->fn, v->msi + 2u, 1) & MSI_MME) / 16;
        nmsi = nmsi > v->nmsi ? v->nmsi : nmsi;
    }
    if (mode != v->mode || nmsi != v->msi_on) {
        vfio_mode_off(v);
        if (mode >= 0)
            vfio_mode_on(v, mode, nmsi);
    }
    if (nmsi)
        vfio_msi_attach(v);
    pthread_mutex_unlock(&v->lock);
}
