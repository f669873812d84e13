/* SPDX-License-Identifier: MIT */
/* vfio-pci: a PCI device of the host's as the guest sees it.
 *
 * Theory of operation
 * -------------------
 * Registers. What the kernel lets us map of a BAR is guest memory (pci_map), so
 * the guest's driver reaches the device without an exit; the rest is read and
 * written through the device's file. MSI-X table and PBA are always ours: the
 * device's own are programmed by the host.
 *
 * Configuration space. The header, BARs, MSI, MSI-X and the power state are
 * emulated in cfg[] like those of any function; other bytes of the capabilities
 * and beyond are `direct`: the device's own at each access, filtered by vfio in
 * the kernel (drivers/vfio/pci). Its own BARs never move and it always
 * decodes: the guest's are only where KVM shows them, so nothing a guest does
 * there makes an access fault on the host (drivers/vfio/pci, mmap_fault).
 * Nor does it ever leave D0, for the same reason. Extended configuration space
 * is hidden: this bus is conventional.
 *
 * Interrupts are in irq.c.
 *
 * DMA. The device sees guest memory at guest addresses. "No snoop" is kept off,
 * so that it cannot go behind the caches' back (KVM lets a guest think that it
 * manages them, and need not be told of the device). */
#include "devices/vfio/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define PMCSR_NO_SOFT_RESET 0x08
/* In the high byte of Device Control (PCIe 5 §7.5.3.4). */
#define DEVCTL_NO_SNOOP 0x08

/* ---------------------------------------------------- the device's regions */

/* syscalls loop vcpu if vfio: pread64 pwrite64, only the lab has a
 * device to assign */
static uint64_t vfio_region_read(const struct vfio_region *r, uint64_t off,
                                 unsigned width)
{
    uint64_t val = 0;
    if (pread(r->v->fd, &val, width, (off_t)(r->offset + off)) != width) {
        fault_note(&r->v->f_io, "%s: reading offset %#llx: %s", r->v->dev.id,
                   (unsigned long long)off, strerror(errno));
        return ~0ull;
    }
    return val;
}

static void vfio_region_write(const struct vfio_region *r, uint64_t off,
                              unsigned width, uint64_t val)
{
    if (pwrite(r->v->fd, &val, width, (off_t)(r->offset + off)) != width)
        fault_note(&r->v->f_io, "%s: writing offset %#llx: %s", r->v->dev.id,
                   (unsigned long long)off, strerror(errno));
}

/* 0: the MSI-X table, 1: its PBA, -1: neither. */
static int vfio_hole_at(const struct vfio *v, const struct vfio_region *r,
                        uint64_t off)
{
    for (int i = 0; i < 2; i++)
        if (r == &v->region[v->hole[i].bar] &&
            off - v->hole[i].off < v->hole[i].len)
            return i;
    return -1;
}

static uint64_t vfio_bar_read(void *owner, uint64_t off, unsigned width)
{
    struct vfio_region *r = owner;
    struct vfio *v = r->v;
    int hole = vfio_hole_at(v, r, off);
    atomic_fetch_add_explicit(&v->trapped, 1, memory_order_relaxed);
    if (hole < 0)
        return vfio_region_read(r, off, width);
    off -= v->hole[hole].off;
    return hole ? pci_msix_pba(&v->fn, off, width)
                : pci_msix_read(&v->fn, off, width);
}

static void vfio_bar_write(void *owner, uint64_t off, unsigned width,
                           uint64_t val)
{
    struct vfio_region *r = owner;
    struct vfio *v = r->v;
    int hole = vfio_hole_at(v, r, off);
    atomic_fetch_add_explicit(&v->trapped, 1, memory_order_relaxed);
    if (hole < 0)
        vfio_region_write(r, off, width, val);
    else if (hole == 0)
        pci_msix_write(&v->fn, off - v->hole[0].off, width, val);
}

/* ----------------------------------------------------- configuration space */

static const struct vfio_region *vfio_cfg_region(const struct vfio *v)
{
    return &v->region[VFIO_PCI_CONFIG_REGION_INDEX];
}

/* The device decodes always and interrupts unless the guest says no; it is a
 * bus master only when the guest says so. */
static void vfio_host_command(const struct vfio *v)
{
    unsigned cmd = pci_get(&v->fn, PCI_COMMAND, 2);
    vfio_region_write(vfio_cfg_region(v), PCI_COMMAND, 2,
                      (cmd & (PCI_CMD_MASTER | PCI_CMD_INTX_OFF)) | PCI_CMD_IO |
                          PCI_CMD_MEM);
}

static void vfio_no_snoop_off(const struct vfio *v)
{
    unsigned at = v->exp + 9u;
    if (v->exp)
        vfio_region_write(vfio_cfg_region(v), at, 1,
                          vfio_region_read(vfio_cfg_region(v), at, 1) &
                              ~DEVCTL_NO_SNOOP);
}

static void vfio_cfg_read(struct pci_fn *fn, unsigned off, unsigned width)
{
    struct vfio *v = vfio_of(fn);
    uint64_t val = 0;
    bool any = false;
    for (unsigned i = 0; i < width; i++)
        any |= v->direct[off + i];
    if (any)
        val = vfio_region_read(vfio_cfg_region(v), off, width);
    for (unsigned i = 0; i < width; i++)
        if (v->direct[off + i])
            pci_put(fn, off + i, 1, (uint32_t)(val >> (8 * i)));
    /* MSI's pending bits wait where MSI-X's do. */
    if (!v->msi || !vfio_msi_mask(v) ||
        !pci_touches(off, width, vfio_msi_mask(v) + 4, vfio_msi_mask(v) + 8))
        return;
    for (unsigned i = 0; i < v->nmsi; i++) {
        uint8_t bit = (uint8_t)(1 << i % 8);
        _Atomic uint8_t *b = &fn->cfg[vfio_msi_mask(v) + 4 + i / 8];
        if (irq_pending(&v->msi_irq[i]))
            atomic_fetch_or(b, bit);
        else
            atomic_fetch_and(b, (uint8_t)~bit);
    }
}

static void vfio_cfg_written(struct pci_fn *fn, unsigned off, unsigned width,
                             uint32_t val)
{
    struct vfio *v = vfio_of(fn);
    bool all = true;
    if (v->exp && pci_touches(off, width, v->exp + 9u, v->exp + 10u))
        val &= ~((uint32_t)DEVCTL_NO_SNOOP << (8 * (v->exp + 9 - off)));
    for (unsigned i = 0; i < width; i++)
        all &= v->direct[off + i];
    if (all)
        vfio_region_write(vfio_cfg_region(v), off, width, val);
    for (unsigned i = 0; i < width && !all; i++)
        if (v->direct[off + i])
            vfio_region_write(vfio_cfg_region(v), off + i, 1,
                              val >> (8 * i) & 0xff);
    bool command = pci_touches(off, width, PCI_COMMAND, PCI_COMMAND + 2);
    if (command)
        vfio_host_command(v);
    if (command ||
        (v->msix && pci_touches(off, width, v->msix + 2u, v->msix + 4u)) ||
        (v->msi && pci_touches(off, width, v->msi, v->msi + 0x18u)))
        vfio_irq_follow(v);
}

/* ------------------------------------------------------------------ making */

/* Bytes [at, at + len) are emulated: what they are now is what they stay, but
 * for what wmask lets the guest write. */
static void vfio_emulate(struct vfio *v, unsigned at, unsigned len)
{
    memset(v->direct + at, 0, len);
}

static int vfio_add_msi(struct vfio *v, struct machine *m)
{
    struct pci_fn *fn = &v->fn;
    unsigned ctrl = v->msi + 2u;
    unsigned data = vfio_msi_data(v), mask = vfio_msi_mask(v);
    int err = 0;
    vfio_emulate(v, v->msi, (mask ? mask + 8 : data + 2) - v->msi);
    fn->cfg[ctrl] &= (uint8_t) ~(MSI_ENABLE | MSI_MME);
    fn->wmask[ctrl] = MSI_ENABLE | MSI_MME;
    memset(fn->wmask + v->msi + 4, 0xff, data + 2u - v->msi - 4u);
    fn->wmask[v->msi + 4] = 0xfc;
    unsigned n = 1u << (pci_get(fn, ctrl, 1) >> 1 & 7);
    n = n > VFIO_MSI_MAX ? VFIO_MSI_MAX : n;
    for (unsigned i = 0; mask && i < n; i++)
        fn->wmask[mask + i / 8] |= (uint8_t)(1 << i % 8);
    while (!err && v->nmsi < n)
        err = irq_msi(m, &v->msi_irq[v->nmsi++]);
    return err ? fail(err, "vfio-pci: MSI: %s", strerror(-err)) : 0;
}

static int vfio_add_msix(struct vfio *v)
{
    struct pci_fn *fn = &v->fn;
    uint8_t cap = v->msix;
    unsigned n = (pci_get(fn, cap + 2u, 2) & 0x7ff) + 1;
    vfio_emulate(v, cap, 12);
    for (unsigned i = 0; i < 2; i++) {
        uint32_t where = pci_get(fn, cap + 4 + 4 * i, 4), bar = where & 7;
        uint64_t len = i ? (n + 63) / 64 * 8 : 16ull * n;
        v->hole[i] = (struct vfio_hole){bar, where & ~7u, len};
        if (bar >= PCI_BARS || v->hole[i].off + len > v->region[bar].size)
            return fail(-ENXIO,
                        "vfio-pci: host=%s: its MSI-X table is in no BAR",
                        v->host);
    }
    return pci_msix_vectors(fn, cap, n > PCI_MSIX_MAX ? PCI_MSIX_MAX : n);
}

/* PCI power management 1.2 §3.2: the power state can be written and read, and
 * means nothing; a device that keeps its state when it comes back; no PME. */
static void vfio_add_pm(struct vfio *v)
{
    struct pci_fn *fn = &v->fn;
    vfio_emulate(v, v->pm, 8);
    fn->cfg[v->pm + 3] &= 0x07;
    fn->cfg[v->pm + 4] = PMCSR_NO_SOFT_RESET;
    fn->cfg[v->pm + 5] = 0;
    fn->wmask[v->pm + 4] = 0x03;
}

static int vfio_add_caps(struct vfio *v, struct machine *m)
{
    const _Atomic uint8_t *cfg = v->fn.cfg;
    unsigned at = cfg[PCI_STATUS] & PCI_STS_CAPS ? cfg[PCI_CAP_PTR] & ~3u : 0;
    int err = 0;
    for (int i = 0; i < 48 && at >= 0x40; i++, at = cfg[at + 1] & ~3u) {
        uint8_t *where = cfg[at] == PCI_CAP_PM     ? &v->pm
                         : cfg[at] == PCI_CAP_MSI  ? &v->msi
                         : cfg[at] == PCI_CAP_EXP  ? &v->exp
                         : cfg[at] == PCI_CAP_MSIX ? &v->msix
                                                   : NULL;
        /* The longest of these is MSI with masks; all fit or are broken. */
        if (where && !*where && at + 0x18 <= sizeof(v->fn.cfg))
            *where = (uint8_t)at;
        vfio_emulate(v, at, 2);
    }
    if (v->pm)
        vfio_add_pm(v);
    if (v->msi)
        err = vfio_add_msi(v, m);
    if (!err && v->msix)
        err = vfio_add_msix(v);
    return err;
}

/* BARs as the device has them; §6.2.5.1: its low bits say of what kind. */
static int vfio_add_bars(struct vfio *v, const uint8_t *cfg)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        struct vfio_region *r = &v->region[i];
        uint8_t low = cfg[PCI_BAR0 + 4 * i];
        enum pci_bar_kind kind = low & 1          ? PCI_BAR_IO
                                 : (low & 6) == 4 ? PCI_BAR_MEM64
                                                  : PCI_BAR_MEM32;
        if (!r->size)
            continue;
        if (r->size & (r->size - 1) || r->size < 4 ||
            (kind == PCI_BAR_MEM64 && i == PCI_BARS - 1))
            return fail(-ENXIO, "vfio-pci: host=%s: BAR %u makes no sense",
                        v->host, i);
        pci_bar_init(&v->fn, i, kind, r->size, vfio_bar_read, vfio_bar_write,
                     r);
        if (kind != PCI_BAR_IO) {
            v->fn.cfg[PCI_BAR0 + 4 * i] |= low & 8; /* prefetchable */
            vfio_map_bar(v, i);
        }
        v->fn.bar[i].map = r->map;
        v->fn.bar[i].nmap = kind == PCI_BAR_IO ? 0 : r->nmap;
        if (kind == PCI_BAR_MEM64)
            i++;
    }
    return 0;
}

static void vfio_pci_reset(struct device *dev)
{
    struct vfio *v = container_of(dev, struct vfio, dev);
    struct pci_fn *fn = &v->fn;
    pthread_mutex_lock(&v->lock);
    vfio_mode_off(v);
    pthread_mutex_unlock(&v->lock);
    pci_fn_reset(fn);
    for (unsigned i = 0x40; i < sizeof(fn->cfg); i++)
        if (!v->direct[i])
            fn->cfg[i] &= (uint8_t)~fn->wmask[i];
    vfio_host_command(v); /* no bus master any more: DMA has ended */
    vfio_reset(v);
    vfio_irq_follow(v);
}

/* The host unbinds the driver, which waits until we are gone. */
static void vfio_on_request(struct event *ev, uint32_t got)
{
    const struct vfio *v = container_of(ev, struct vfio, request);
    (void)got;
    event_drain(ev->fd);
    loop_del(ev);
    log_line("%s: the host wants its device back; it gets it when this ends",
             v->dev.id);
}

static int vfio_watch_request(struct vfio *v, struct machine *m)
{
    v->request = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                .want = EPOLLIN,
                                .ready = vfio_on_request};
    if (v->request.fd < 0)
        return fail(-errno, "vfio-pci: eventfd: %s", strerror(errno));
    /* Kernels before 4.0 do not have it. */
    vfio_set_irqs(v, VFIO_PCI_REQ_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, 1,
                  &v->request.fd);
    return loop_add(m->loop, &v->request);
}

static void vfio_pci_destroy(struct device *dev)
{
    struct vfio *v = container_of(dev, struct vfio, dev);
    pthread_mutex_lock(&v->lock);
    vfio_mode_off(v);
    pthread_mutex_unlock(&v->lock);
    vfio_reset(v);
    loop_del(&v->request);
    if (v->request.fd >= 0)
        close(v->request.fd);
    irq_free(&v->fn.intx);
    for (unsigned i = 0; i < v->nmsi; i++)
        irq_free(&v->msi_irq[i]);
    for (unsigned i = 0; i < v->fn.nvec; i++)
        irq_free(&v->fn.vec[i].irq);
    free(v->fn.vec);
    vfio_close(v);
    free(v);
}

static void vfio_copy_cfg(struct pci_fn *fn, const uint8_t *cfg, unsigned from,
                          unsigned to)
{
    for (unsigned i = from; i < to; i++)
        pci_put(fn, i, 1, cfg[i]);
}

int vfio_plug(struct vfio *v, struct machine *m)
{
    struct pci_fn *fn = &v->fn;
    uint8_t cfg[sizeof(fn->cfg)];
    pthread_mutex_init(&v->lock, NULL);
    v->mode = -1;
    if (pread(v->fd, cfg, sizeof(cfg), (off_t)vfio_cfg_region(v)->offset) !=
        (ssize_t)sizeof(cfg))
        return fail(-EIO, "vfio-pci: host=%s: no configuration space", v->host);
    pci_fn_init(fn, m, v, v->dev.id, 0, 0, 0, 0);
    vfio_copy_cfg(fn, cfg, 0, PCI_COMMAND);
    vfio_copy_cfg(fn, cfg, PCI_STATUS, PCI_CLASS + 3);
    vfio_copy_cfg(fn, cfg, PCI_SUBSYS_VENDOR_ID, PCI_ROM);
    fn->cfg[PCI_HEADER_TYPE] = cfg[PCI_HEADER_TYPE] & 0x7f; /* one function */
    fn->cfg[PCI_CAP_PTR] = cfg[PCI_CAP_PTR];
    vfio_copy_cfg(fn, cfg, PCI_MIN_GNT, sizeof(cfg));
    if (fn->cfg[PCI_HEADER_TYPE])
        return fail(-ENXIO, "vfio-pci: host=%s: a bridge, not a device",
                    v->host);
    memset(v->direct + PCI_STATUS, 1, 2);
    memset(v->direct + 0x40, 1, sizeof(cfg) - 0x40);
    int err = vfio_add_caps(v, m);
    if (!err)
        err = vfio_add_bars(v, cfg);
    if (err)
        return err;
    fn->cfg_read = vfio_cfg_read;
    fn->cfg_written = vfio_cfg_written;
    if (cfg[PCI_INT_PIN])
        pci_intx_init(fn);
    err = pci_add(fn, &v->pci);
    if (err)
        return err;
    fn->intx.resample.ready = vfio_intx_eoi;
    vfio_no_snoop_off(v);
    vfio_host_command(v);
    vfio_irq_follow(v);
    v->dev.reset = vfio_pci_reset;
    v->dev.destroy = vfio_pci_destroy;
    m->pinned = "a PCI device of the host's";
    device_register(m, &v->dev);
    return vfio_watch_request(v, m);
}

static int vfio_pci_check(struct device *dev, struct needs *needs)
{
    struct vfio *v = container_of(dev, struct vfio, dev);
    if (!v->told)
        return fail(-EINVAL, "vfio-pci: host= is missing: the device's address "
                             "on the host, as lspci prints it");
    if (!vfio_parse_bdf(v->told, v->host))
        return fail(-EINVAL,
                    "vfio-pci: host=%s: not an address like 0000:03:00.0 or "
                    "03:00.0",
                    v->told);
    if (!opts_str(&dev->opts, "id", NULL))
        dev->id = v->host;
    return pci_check(&v->pci, dev->opts.what, needs);
}

static int vfio_pci_create(struct machine *m, struct device *dev)
{
    struct vfio *v = container_of(dev, struct vfio, dev);
    v->fd = -1;
    int err = vfio_open(v, m);
    if (err) {
        vfio_close(v);
        return err;
    }
    vfio_reset(v);
    return vfio_plug(v, m);
}

/* QEMU's, which need nothing with these values. */
static const struct opts_quiet vfio_quiet[] = {
    {"display", "off auto", "there are no graphics"},
    {"enable-migration", "off auto", "nothing migrates"},
    {"x-vga", "off", "there are no graphics"},
    {"x-no-mmap", "off", "BARs are always mapped"},
    {0},
};

static const struct field vfio_pci_fields[] = {
    FIELDS_QUIET(vfio_quiet),
    FIELDS_OF(device_fields, "", struct vfio, dev),
    FIELD(TEXT, "host", struct vfio, told, .arg = "ADDR",
          .help = "its address there, as lspci prints it: 0000:03:00.0"),
    FIELDS_OF(pci_fields, "", struct vfio, pci),
    COUNT("trapped", struct vfio, trapped,
          "register accesses that were trapped"),
    COUNT("irq_faults", struct vfio, f_irq,
          "interrupts the host would not deliver"),
    COUNT("io_faults", struct vfio, f_io, "accesses and resets that failed"),
    {.name = ""},
};

const struct device_class vfio_pci_class = {
    .name = "vfio-pci",
    .help = "a PCI device of the host's (Documentation/driver-api/vfio.rst)",
    .fields = vfio_pci_fields,
    .size = sizeof(struct vfio),
    .check = vfio_pci_check,
    .create = vfio_pci_create,
    .stays = "the host's device keeps its state to itself",
};
