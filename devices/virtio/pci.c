/* SPDX-License-Identifier: MIT */
/* virtio over PCI (virtio 1.2 §4.1): the modern interface's BARs and doorbells.
 * Device status is in status.c, interrupts in irq.c, the common configuration
 * in common.c, the legacy interface in legacy.c.
 *
 * Theory of operation
 * -------------------
 * One memory BAR (4) holds the four structures: common configuration, ISR,
 * device configuration, notification area with one dword a queue. MSI-X has a
 * BAR of its own (1). With modern-pio-notify=on there are doorbells at I/O
 * ports too (2), and first in the list, which drivers prefer (§4.1.4): the
 * processor tells KVM which port was written, but a memory access KVM must
 * decode. The common configuration is a table of registers; an access of any
 * width is put together from the registers it overlaps, so that drivers which
 * split or merge accesses all get what they mean.
 *
 * Registers run on vCPU threads under v->lock. Ring work runs on loop threads
 * under the device type's own locks and sees a queue only between start() and
 * stop(); the ring pointers and registers of a queue do not change in between.
 * A kick before DRIVER_OK does nothing, because start() looks at every ring. */
#include "devices/virtio/pci.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LEGACY_BAR 0
#define LEGACY_NOTIFY 0x10
#define MSIX_BAR 1
#define PORT_BAR 2
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

/* -------------------------------------------------------------- BAR access */

uint64_t virtio_config_read(struct virtio *v, unsigned off, unsigned width)
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

void virtio_config_write(struct virtio *v, unsigned off, unsigned width,
                         uint64_t val)
{
    if (v->type->config_write && off < v->type->config_len &&
        width <= v->type->config_len - off)
        v->type->config_write(v, off, &val, width);
}

static uint64_t virtio_bar_read(void *owner, uint64_t off, unsigned width)
{
    struct virtio *v = owner;
    unsigned at = off % REGION_LEN;
    uint64_t val = 0;
    if (off >= NOTIFY_OFF)
        return 0;
    if (off >= ISR_OFF && off < CONFIG_OFF)
        return at == 0 ? virtio_read_isr(v) : 0;
    pthread_mutex_lock(&v->lock);
    if (off >= CONFIG_OFF)
        val = virtio_config_read(v, at, width);
    else if (at < VIRTIO_COMMON_LEN)
        val = virtio_common_read(v, at, width);
    pthread_mutex_unlock(&v->lock);
    return val;
}

/* A lent doorbell is rung by the guest's ioeventfd; this is for the few writes
 * that leave to here. Its reader might fill it between the look and the write:
 * then this vCPU, and nothing else, waits for it, or for the end of the VM. */
static void virtio_poke_lent(const struct virtio_kick *k)
{
    struct pollfd p = {.fd = k->out, .events = POLLOUT};
    if (poll(&p, 1, 0) == 1)
        event_signal(k->out);
}

void virtio_poke(struct virtio *v, unsigned q)
{
    if (atomic_load(&v->kick[q].lent))
        virtio_poke_lent(&v->kick[q]);
    else
        event_signal(v->kick[q].ev.fd);
}

static unsigned virtio_notify_mult(const struct virtio *v)
{
    return v->page_per_vq ? REGION_LEN : NOTIFY_MULT;
}

static void virtio_bar_write(void *owner, uint64_t off, unsigned width,
                             uint64_t val)
{
    struct virtio *v = owner;
    unsigned at = off % REGION_LEN;
    if (off >= NOTIFY_OFF) {
        /* Seen here only when the ioeventfd did not take it. The address
         * tells the queue; the value is not needed. */
        uint64_t q = (off - NOTIFY_OFF) / virtio_notify_mult(v);
        if (q < v->nvq)
            virtio_poke(v, (unsigned)q);
        return;
    }
    if (off >= ISR_OFF && off < CONFIG_OFF)
        return;
    pthread_mutex_lock(&v->lock);
    if (off < ISR_OFF) {
        if (at < VIRTIO_COMMON_LEN)
            virtio_common_write(v, at, width, val);
    } else {
        virtio_config_write(v, at, width, val);
    }
    pthread_mutex_unlock(&v->lock);
}

static uint64_t virtio_port_read(void *owner, uint64_t off, unsigned width)
{
    (void)owner;
    (void)off;
    (void)width;
    return 0;
}

static void virtio_port_write(void *owner, uint64_t off, unsigned width,
                              uint64_t val)
{
    struct virtio *v = owner;
    (void)width;
    (void)val;
    if (off / NOTIFY_MULT < v->nvq)
        virtio_poke(v, (unsigned)(off / NOTIFY_MULT));
}

/* §4.1.4.9: a window for firmware that has not mapped the BARs. The access is
 * the one `bar`, `offset` and `length` name, done when pci_cfg_data is read or
 * written. */
static const struct region *virtio_cfg_window(const struct virtio *v,
                                              unsigned cap, uint32_t *off,
                                              uint32_t *len)
{
    unsigned bar = pci_get(&v->fn, cap + 4, 1);
    *off = pci_get(&v->fn, cap + 8, 4);
    *len = pci_get(&v->fn, cap + 12, 4);
    if (bar >= PCI_BARS || v->fn.bar[bar].kind == PCI_BAR_NONE)
        return NULL;
    if ((*len != 1 && *len != 2 && *len != 4) || *off % *len ||
        *off >= v->fn.bar[bar].size || *len > v->fn.bar[bar].size - *off)
        return NULL;
    return &v->fn.bar[bar].region;
}

static bool virtio_hits_cfg_data(const struct virtio *v, unsigned off,
                                 unsigned width)
{
    unsigned data = v->pci_cfg_cap + 16u;
    return v->pci_cfg_cap && off < data + 4 && data < off + width;
}

static void virtio_cfg_read_hook(struct pci_fn *fn, unsigned off,
                                 unsigned width)
{
    struct virtio *v = fn->owner;
    uint32_t at, len, val = 0;
    if (!virtio_hits_cfg_data(v, off, width))
        return;
    const struct region *r = virtio_cfg_window(v, v->pci_cfg_cap, &at, &len);
    if (r)
        val = (uint32_t)(r->read(r->owner, at, len) & width_mask(len));
    pci_put(fn, v->pci_cfg_cap + 16u, 4, val);
}

/* MSI-X was turned on or off while somebody else raises the interrupts. */
static void virtio_follow_msix(struct virtio *v)
{
    pthread_mutex_lock(&v->lock);
    bool told = !v->started || v->msix_on == pci_msix_on(&v->fn);
    for (unsigned q = 0; !told && q < v->nvq; q++)
        v->type->call_changed(v, q);
    pthread_mutex_unlock(&v->lock);
}

static void virtio_cfg_written_hook(struct pci_fn *fn, unsigned off,
                                    unsigned width, uint32_t val)
{
    struct virtio *v = fn->owner;
    uint32_t at, len;
    unsigned msix = fn->msix_cap;
    /* What was kicked while bus mastering was off was not done. */
    if (off < PCI_COMMAND + 2 && PCI_COMMAND < off + width && pci_can_dma(fn))
        for (unsigned q = 0; q < v->nvq; q++)
            virtio_poke(v, q);
    if (v->type->call_changed && msix && off < msix + 4 &&
        msix + 2 < off + width)
        virtio_follow_msix(v);
    if (!virtio_hits_cfg_data(v, off, width))
        return;
    const struct region *r = virtio_cfg_window(v, v->pci_cfg_cap, &at, &len);
    val = pci_get(fn, v->pci_cfg_cap + 16u, 4);
    if (r)
        r->write(r->owner, at, len, val & width_mask(len));
}

/* ------------------------------------------------------------------ making */

static uint8_t virtio_add_cap(struct virtio *v, uint8_t type, uint8_t len,
                              uint8_t bar, uint32_t off, uint32_t size)
{
    uint8_t at = pci_cap_add(&v->fn, PCI_CAP_VENDOR, len);
    pci_put(&v->fn, at + 2u, 2, len | (uint32_t)type << 8);
    pci_put(&v->fn, at + 4u, 4, bar);
    pci_put(&v->fn, at + 8u, 4, off);
    pci_put(&v->fn, at + 12u, 4, size);
    return at;
}

/* §4.1.4.4 */
static void virtio_add_notify_cap(struct virtio *v, uint8_t bar, uint32_t off,
                                  uint32_t mult)
{
    uint8_t at = virtio_add_cap(v, CAP_NOTIFY, 20, bar, off, v->nvq * mult);
    pci_put(&v->fn, at + 16u, 4, mult);
}

static void virtio_add_caps(struct virtio *v)
{
    virtio_add_cap(v, CAP_COMMON, 16, VIRTIO_BAR, COMMON_OFF,
                   VIRTIO_COMMON_LEN);
    if (v->pio_notify)
        virtio_add_notify_cap(v, PORT_BAR, 0, NOTIFY_MULT);
    virtio_add_notify_cap(v, VIRTIO_BAR, NOTIFY_OFF, virtio_notify_mult(v));
    virtio_add_cap(v, CAP_ISR, 16, VIRTIO_BAR, ISR_OFF, 1);
    if (v->type->config_len)
        virtio_add_cap(v, CAP_DEVICE, 16, VIRTIO_BAR, CONFIG_OFF,
                       (v->type->config_len + 3) & ~3u);
    v->pci_cfg_cap = virtio_add_cap(v, CAP_PCI_CFG, 20, VIRTIO_BAR, 0, 0);
    v->fn.wmask[v->pci_cfg_cap + 4] = 0xff; /* bar */
    memset(v->fn.wmask + v->pci_cfg_cap + 8, 0xff, 12);
    v->fn.cfg_read = virtio_cfg_read_hook;
}

/* Edge-triggered: each write to the eventfd is an edge whether it was read in
 * between or not, so a kick costs no read(2) (the counter cannot fill up: 2^64
 * kicks). */
static void virtio_on_kick(struct event *ev, uint32_t got)
{
    struct virtio_kick *k = container_of(ev, struct virtio_kick, ev);
    TRACE(VIRTIO, "%s kick %u%s", k->v->dev.id, k->q, got ? "" : " (more)");
    if (!atomic_load(&k->lent))
        k->v->type->kick(k->v, k->q);
}

void virtio_kick_set(struct virtio *v, unsigned q, bool on)
{
    if (v->has_legacy)
        pci_kick_set(&v->fn, LEGACY_BAR, q, on && v->legacy);
    if (!v->no_modern)
        pci_kick_set(&v->fn, VIRTIO_BAR, q, on && !v->legacy);
    if (v->pio_notify)
        pci_kick_set(&v->fn, PORT_BAR, q, on && !v->legacy);
}

static void virtio_move_kick(struct virtio *v, unsigned q, int fd)
{
    if (v->has_legacy)
        pci_kick_move(&v->fn, LEGACY_BAR, q, fd);
    if (!v->no_modern)
        pci_kick_move(&v->fn, VIRTIO_BAR, q, fd);
    if (v->pio_notify)
        pci_kick_move(&v->fn, PORT_BAR, q, fd);
}

/* `out` keeps its number to the end: a vCPU may be about to write to it. Kicks
 * that come while the doorbell moves are made up for: who borrows it finds it
 * signalled, and the device looks at its rings when it has them back.
 *
 * syscalls loop vcpu if vhost: eventfd2 dup3 close */
int virtio_lend_kick(struct virtio *v, unsigned q)
{
    struct virtio_kick *k = &v->kick[q];
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    if (k->out < 0) {
        k->out = fd;
    } else {
        int err = dup3(fd, k->out, O_CLOEXEC) < 0 ? -errno : 0;
        close(fd);
        if (err)
            return err;
    }
    atomic_store(&k->lent, true);
    virtio_move_kick(v, q, k->out);
    return k->out;
}

void virtio_unlend(struct virtio *v)
{
    for (unsigned q = 0; q < v->nvq; q++) {
        struct virtio_kick *k = &v->kick[q];
        if (!atomic_load(&k->lent))
            continue;
        virtio_move_kick(v, q, k->ev.fd);
        atomic_store(&k->lent, false);
        dup3(k->ev.fd, k->out, O_CLOEXEC);
    }
    pci_msix_unlend(&v->fn);
    if (v->intx_lent)
        loop_refile(&v->intx_call, -1);
    v->intx_lent = false;
}

static int virtio_add_kicks(struct virtio *v)
{
    const struct virtio_type *type = v->type;
    for (unsigned q = 0; q < v->nvq; q++) {
        struct virtio_kick *k = &v->kick[q];
        k->v = v;
        k->q = q;
        k->out = -1;
        k->ev = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                               .want = EPOLLIN | EPOLLET,
                               .ready = virtio_on_kick};
        if (k->ev.fd < 0)
            return -errno;
        int err = loop_add(type->loop_of ? type->loop_of(v, q) : v->dev.m->loop,
                           &k->ev);
        if (err)
            return err;
        v->pci_kick[q] = (struct pci_kick){
            .off = NOTIFY_OFF + q * virtio_notify_mult(v), .fd = k->ev.fd};
        v->port_kick[q] =
            (struct pci_kick){.off = q * NOTIFY_MULT, .fd = k->ev.fd};
        v->io_kick[q] = (struct pci_kick){.off = LEGACY_NOTIFY,
                                          .width = 2,
                                          .match = true,
                                          .data = q,
                                          .fd = k->ev.fd};
    }
    v->fn.bar[VIRTIO_BAR].kick = v->pci_kick;
    v->fn.bar[VIRTIO_BAR].nkick = v->no_modern ? 0 : v->nvq;
    v->fn.bar[PORT_BAR].kick = v->port_kick;
    v->fn.bar[PORT_BAR].nkick = v->pio_notify ? v->nvq : 0;
    v->fn.bar[LEGACY_BAR].kick = v->io_kick;
    v->fn.bar[LEGACY_BAR].nkick = v->has_legacy ? v->nvq : 0;
    return 0;
}

/* §4.1.2.1: a transitional device has the legacy ids, revision 0 and its type
 * as subsystem; the others 0x1040 + type, revision 1, subsystem at least 0x40.
 */
static void virtio_add_function(struct virtio *v, struct machine *m)
{
    const struct virtio_type *type = v->type;
    bool old = v->has_legacy;
    pci_fn_init(&v->fn, m, v, type->name, 0x1af4,
                (uint16_t)((old ? 0xfff : 0x1040) + type->id), type->class24,
                old ? 0 : 1);
    pci_put(&v->fn, PCI_SUBSYS_VENDOR_ID, 2, 0x1af4);
    pci_put(&v->fn, PCI_SUBSYS_ID, 2, old ? type->id : 0x1100);
    if (old)
        pci_bar_init(&v->fn, LEGACY_BAR, PCI_BAR_IO, VIRTIO_IO_SIZE,
                     virtio_legacy_read, virtio_legacy_write, v);
    if (!v->no_modern)
        pci_bar_init(&v->fn, VIRTIO_BAR, PCI_BAR_MEM32,
                     pci_bar_size(4 * REGION_LEN,
                                  NOTIFY_OFF + v->nvq * virtio_notify_mult(v)),
                     virtio_bar_read, virtio_bar_write, v);
    if (v->pio_notify)
        pci_bar_init(&v->fn, PORT_BAR, PCI_BAR_IO,
                     pci_bar_size(NOTIFY_MULT, v->nvq * NOTIFY_MULT),
                     virtio_port_read, virtio_port_write, v);
    pci_intx_init(&v->fn);
}

/* Power-on state: the driver's reset and the PCI function's. */
static void virtio_pci_reset(struct device *dev)
{
    struct virtio *v = container_of(dev, struct virtio, dev);
    pthread_mutex_lock(&v->lock);
    virtio_device_reset(v);
    pthread_mutex_unlock(&v->lock);
    pci_fn_reset(&v->fn);
}

int virtio_pci_init(struct virtio *v, struct machine *m,
                    const struct virtio_type *type,
                    const struct pci_place *place)
{
    v->type = type;
    v->dev.m = m;
    v->dev.reset = virtio_pci_reset;
    pthread_mutex_init(&v->lock, NULL);
    pthread_mutex_init(&v->isr_lock, NULL);
    v->config_vector = VIRTIO_NO_VECTOR;
    for (unsigned q = 0; q < v->nvq; q++)
        vq_reset(&v->vq[q]);
    virtio_add_function(v, m);
    /* A vector for each queue and one for configuration changes: each entry
     * costs the guest four exits at boot, so no more than that. */
    unsigned nvec = v->vectors == VIRTIO_VECTORS_AUTO ? v->nvq + 1 : v->vectors;
    int err = nvec ? pci_msix_init(&v->fn, MSIX_BAR, nvec) : 0;
    if (err)
        return err; /* said */
    if (!v->no_modern)
        virtio_add_caps(v);
    v->fn.cfg_written = virtio_cfg_written_hook;
    err = virtio_add_kicks(v);
    if (err)
        return fail(err, "%s: %s", v->dev.id, strerror(-err));
    return pci_add(&v->fn, place);
}

void virtio_pci_destroy(struct virtio *v)
{
    for (unsigned q = 0; q < v->nvq; q++) {
        loop_del(&v->kick[q].ev);
        if (v->kick[q].ev.fd > 0)
            close(v->kick[q].ev.fd);
        if (v->kick[q].out > 0)
            close(v->kick[q].out);
    }
    if (v->intx_call.loop) {
        loop_del(&v->intx_call);
        close(v->intx_call.fd);
    }
    for (unsigned i = 0; i < v->fn.nvec; i++)
        irq_free(&v->fn.vec[i].irq);
    free(v->fn.vec);
    irq_free(&v->fn.intx);
}
