/* SPDX-License-Identifier: MIT */
/* MSI-X (PCI 3.0 §6.8.2): table, masks, and pending bits that live in the
 * vectors' eventfds.
 *
 * A vector that may interrupt now (MSI-X on, function and vector unmasked, bus
 * mastering on) has its eventfd attached to the guest. Otherwise the fd is
 * detached and a pulse simply stays in its counter: that is the pending bit,
 * and attaching delivers it. So raising needs no lock and no look at the masks.
 *
 * Another process that raises a vector (vhost-user) gets an eventfd of its own
 * for it: the file behind a descriptor is shared with who is sent it, who can
 * make it block or fill it, and the kernel alone is safe from that. */
#include "devices/pci/pci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PBA_OFFSET 0x800
#define ENTRY_BYTES 16
#define MSIX_BAR_BYTES 4096
_Static_assert(PCI_MSIX_MAX *ENTRY_BYTES <= PBA_OFFSET, "table below PBA");
#define CTRL_ENABLE 0x80 /* in the high byte of Message Control */
#define CTRL_MASKALL 0x40

static uint8_t msix_control(const struct pci_fn *fn)
{
    return (uint8_t)pci_get(fn, fn->msix_cap + 3u, 1);
}

static void msix_vec_detach(struct pci_msix_vec *v)
{
    irq_detach(&v->irq);
    if (v->lent.m)
        irq_detach(&v->lent);
}

/* The lent one goes by the route of the other. */
static int msix_vec_attach(struct pci_msix_vec *v)
{
    int err = v->irq.attached ? 0 : irq_msi_attach(&v->irq, v->addr, v->data);
    if (err || !v->lent.m || v->lent.attached)
        return err;
    v->lent.gsi = v->irq.gsi;
    return irq_msi_attach(&v->lent, v->addr, v->data);
}

/* Under irq_lock. */
static void msix_vec_update(struct pci_fn *fn, struct pci_msix_vec *v)
{
    /* A message is a memory write: it takes bus mastering (PCI 3.0 §6.2.2). */
    bool live =
        (msix_control(fn) & (CTRL_ENABLE | CTRL_MASKALL)) == CTRL_ENABLE &&
        !(v->ctrl & 1) && pci_can_dma(fn);
    if (!live) {
        msix_vec_detach(v);
        return;
    }
    int err = msix_vec_attach(v);
    if (err)
        fault_note(&fn->irq_fault, "%s: MSI-X vector %d: %s", fn->name,
                   (int)(v - fn->vec), strerror(-err));
}

void pci_msix_update(struct pci_fn *fn)
{
    lock_take(&fn->irq_lock);
    for (unsigned i = 0; i < fn->nvec; i++)
        msix_vec_update(fn, &fn->vec[i]);
    lock_give(&fn->irq_lock);
}

static uint32_t msix_entry_dword(const struct pci_msix_vec *v, unsigned field)
{
    const uint32_t dword[] = {(uint32_t)v->addr, (uint32_t)(v->addr >> 32),
                              v->data, v->ctrl};
    return dword[field];
}

/* §6.8.2: software uses aligned dwords and qwords; others read 0. */
uint64_t pci_msix_read(struct pci_fn *fn, uint64_t off, unsigned width)
{
    uint64_t val = 0;
    if (width < 4 || off % width || off / ENTRY_BYTES >= fn->nvec)
        return 0;
    const struct pci_msix_vec *v = &fn->vec[off / ENTRY_BYTES];
    lock_take(&fn->irq_lock);
    val = msix_entry_dword(v, off / 4 % 4);
    if (width == 8)
        val |= (uint64_t)msix_entry_dword(v, off / 4 % 4 + 1) << 32;
    lock_give(&fn->irq_lock);
    return val;
}

/* Under irq_lock. */
static bool msix_vec_pending(const struct pci_msix_vec *v)
{
    return irq_pending(&v->irq) || (v->lent.m && irq_pending(&v->lent));
}

uint64_t pci_msix_pba(struct pci_fn *fn, uint64_t off, unsigned width)
{
    uint64_t bits = 0;
    if (width < 4 || off % width)
        return 0;
    lock_take(&fn->irq_lock);
    for (unsigned i = 0; i < 8 * width && 8 * off + i < fn->nvec; i++) {
        bits |= (uint64_t)msix_vec_pending(&fn->vec[8 * off + i]) << i;
    }
    lock_give(&fn->irq_lock);
    return bits;
}

static void msix_write_dword(struct pci_fn *fn, uint64_t off, uint32_t val)
{
    if (off / ENTRY_BYTES >= fn->nvec)
        return; /* the PBA and the rest are read-only */
    struct pci_msix_vec *v = &fn->vec[off / ENTRY_BYTES];
    switch (off / 4 % 4) {
    case 0:
        v->addr = (v->addr & ~0xffffffffull) | (val & ~3u);
        break;
    case 1:
        v->addr = (v->addr & 0xffffffff) | (uint64_t)val << 32;
        break;
    case 2:
        v->data = val;
        break;
    case 3:
        v->ctrl = val & 1;
        break;
    }
    /* Changing a live vector is undefined by the specification; here the new
     * message simply takes effect. */
    if (off / 4 % 4 != 3)
        msix_vec_detach(v);
    msix_vec_update(fn, v);
}

void pci_msix_write(struct pci_fn *fn, uint64_t off, unsigned width,
                    uint64_t val)
{
    if (width < 4 || off % width)
        return;
    lock_take(&fn->irq_lock);
    msix_write_dword(fn, off, (uint32_t)val);
    if (width == 8)
        msix_write_dword(fn, off + 4, (uint32_t)(val >> 32));
    lock_give(&fn->irq_lock);
}

static uint64_t msix_bar_read(void *owner, uint64_t off, unsigned width)
{
    return off < PBA_OFFSET ? pci_msix_read(owner, off, width)
                            : pci_msix_pba(owner, off - PBA_OFFSET, width);
}

static void msix_bar_write(void *owner, uint64_t off, unsigned width,
                           uint64_t val)
{
    pci_msix_write(owner, off, width, val);
}

int pci_msix_vectors(struct pci_fn *fn, uint8_t cap, unsigned n)
{
    int err = 0;
    assert(n && n <= PCI_MSIX_MAX);
    fn->vec = calloc(n, sizeof(*fn->vec));
    if (!fn->vec)
        return -ENOMEM;
    for (fn->nvec = 0; !err && fn->nvec < n; fn->nvec++)
        err = irq_msi(fn->m, &fn->vec[fn->nvec].irq);
    if (err)
        return fail(err, "%s: MSI-X: %s", fn->name, strerror(-err));
    fn->msix_cap = cap;
    pci_put(fn, cap + 2u, 2, n - 1);
    fn->wmask[cap + 3] = CTRL_ENABLE | CTRL_MASKALL;
    return 0;
}

int pci_msix_init(struct pci_fn *fn, unsigned bar, unsigned n)
{
    uint8_t at = pci_cap_add(fn, PCI_CAP_MSIX, 12);
    int err = pci_msix_vectors(fn, at, n);
    pci_bar_init(fn, bar, PCI_BAR_MEM32, MSIX_BAR_BYTES, msix_bar_read,
                 msix_bar_write, fn);
    pci_put(fn, at + 4u, 4, bar); /* table: offset 0 of this BAR */
    pci_put(fn, at + 8u, 4, PBA_OFFSET | bar);
    return err;
}

bool pci_msix_raise(struct pci_fn *fn, unsigned v)
{
    if (!pci_msix_on(fn))
        return false;
    if (v < fn->nvec)
        irq_pulse(&fn->vec[v].irq);
    return true;
}

int pci_msix_fd(const struct pci_fn *fn, unsigned v)
{
    return v < fn->nvec ? fn->vec[v].irq.fd : -1;
}

int pci_msix_lend(struct pci_fn *fn, unsigned v)
{
    if (v >= fn->nvec)
        return -1;
    struct pci_msix_vec *vec = &fn->vec[v];
    lock_take(&fn->irq_lock);
    if (!vec->lent.m && irq_msi(fn->m, &vec->lent))
        vec->lent = (struct irq){.fd = -1};
    msix_vec_update(fn, vec);
    int fd = vec->lent.m ? vec->lent.fd : -1;
    lock_give(&fn->irq_lock);
    return fd;
}

void pci_msix_unlend(struct pci_fn *fn)
{
    lock_take(&fn->irq_lock);
    for (unsigned i = 0; i < fn->nvec; i++) {
        struct pci_msix_vec *v = &fn->vec[i];
        if (!v->lent.m)
            continue;
        if (irq_pending(&v->lent))
            irq_pulse(&v->irq);
        irq_free(&v->lent);
        v->lent = (struct irq){.fd = -1};
    }
    lock_give(&fn->irq_lock);
}

const struct field pci_msix_fields[] = {
    FIELD_AS(STATE, NUMBER, "addr", struct pci_msix_vec, addr),
    FIELD_AS(STATE, NUMBER, "data", struct pci_msix_vec, data),
    FIELD_AS(STATE, NUMBER, "ctrl", struct pci_msix_vec, ctrl, .def = 1,
             .max = 1),
    FIELD_AS(STATE, FLAG, "pending", struct pci_msix_vec, pending),
    {.name = ""},
};

void pci_msix_hold(struct pci_fn *fn)
{
    lock_take(&fn->irq_lock);
    for (unsigned i = 0; i < fn->nvec; i++)
        fn->vec[i].pending = msix_vec_pending(&fn->vec[i]);
    lock_give(&fn->irq_lock);
}

int pci_msix_loaded(struct pci_fn *fn, const char *what)
{
    int err = 0;
    lock_take(&fn->irq_lock);
    for (unsigned i = 0; i < fn->nvec && !err; i++) {
        struct pci_msix_vec *v = &fn->vec[i];
        if (v->addr & 3)
            err = fail(-EINVAL, "%s: msix.%u.addr: 0x%llx is not aligned", what,
                       i, (unsigned long long)v->addr);
        msix_vec_detach(v);
        event_drain(v->irq.fd);
        if (!err)
            msix_vec_update(fn, v);
        if (v->pending || v->irq.attached) /* see irq_pulse */
            irq_pulse(&v->irq);
    }
    lock_give(&fn->irq_lock);
    return err;
}

void pci_msix_reset(struct pci_fn *fn)
{
    if (!fn->msix_cap)
        return;
    lock_take(&fn->irq_lock);
    pci_put(fn, fn->msix_cap + 3u, 1, 0);
    for (unsigned i = 0; i < fn->nvec; i++) {
        struct pci_msix_vec *v = &fn->vec[i];
        msix_vec_detach(v);
        fields_reset(pci_msix_fields, v, STATE);
        event_drain(v->irq.fd);
    }
    lock_give(&fn->irq_lock);
}
