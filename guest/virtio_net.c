/* SPDX-License-Identifier: MIT */
/* virtio-net over PCI, modern interface, split queues. */

/*
 * Theory of operation
 *
 * One receive and one transmit queue (virtio 1.2 §5.1.2), no control queue.
 * A descriptor always holds a whole packet, 12-byte header and frame, in one
 * 2 KiB buffer with the descriptor's own number; so the table is written once
 * and later only ring entries move. Received buffers go straight back behind
 * the call to net_rx().
 *
 * Signals are batched: flush() publishes both rings once and kicks only if the
 * device asks for it (§2.7.10). Interrupts are wanted only when the guest is
 * about to halt: arm() sets used_event (or clears NO_INTERRUPT), passes a full
 * barrier and looks at the ring again, so none is lost (§2.7.7).
 *
 * The device is not trusted: ids are checked against the ring, lengths against
 * the buffer.
 */

#include "irq.h"
#include "net.h"
#include "netif.h"

#define ID_MODERN 0x10411af4
#define ID_TRANSITIONAL 0x10001af4

/* virtio_pci_cap, §4.1.4 */
#define CAP_COMMON 1
#define CAP_NOTIFY 2
#define CAP_ISR 3
#define CAP_DEVICE 4

/* Common configuration, §4.1.4.3 */
#define DEVICE_FEATURE_SELECT 0
#define DEVICE_FEATURE 4
#define DRIVER_FEATURE_SELECT 8
#define DRIVER_FEATURE 12
#define CONFIG_MSIX_VECTOR 16
#define DEVICE_STATUS 20
#define QUEUE_SELECT 22
#define QUEUE_SIZE 24
#define QUEUE_MSIX_VECTOR 26
#define QUEUE_ENABLE 28
#define QUEUE_NOTIFY_OFF 30
#define QUEUE_DESC 32
#define QUEUE_DRIVER 40
#define QUEUE_DEVICE 48

/* Device status, §2.1 */
#define ACKNOWLEDGE 1
#define DRIVER 2
#define DRIVER_OK 4
#define FEATURES_OK 8

/* Feature bit numbers, §5.1.3 and §6 */
#define F_MAC 5
#define F_MRG_RXBUF 15
#define F_STATUS 16
#define F_EVENT_IDX 29
#define F_VERSION_1 32
#define BIT(n) (1ull << (n))

#define DESC_F_WRITE 2
#define AVAIL_F_NO_INTERRUPT 1
#define USED_F_NO_NOTIFY 1

#define HDR_LEN 12     /* virtio_net_hdr with num_buffers, §5.1.6 */
#define NUM_BUFFERS 10 /* its offset */
#define STATUS_LINK_UP 1
#define SPINS 100000
#define JUMBO_MAX 16384 /* longest frame gathered from several buffers */

enum { RX, TX };

struct desc {
    u64 gpa;
    u32 len;
    u16 flags, next;
};

/* Rings are sized for the largest queue used; what follows the entries
 * (used_event, avail_event) is found by the queue's real size. */
struct virtqueue {
    struct desc desc[NETIF_TX_RING] __attribute__((aligned(16)));
    u16 avail[3 + NETIF_TX_RING] __attribute__((aligned(2)));
    u16 used[3 + 4 * NETIF_TX_RING] __attribute__((aligned(4)));
    uptr kick;
    u16 size;
    u16 avail_idx, avail_published;
    u16 last_used;
};

static NOINIT struct virtqueue vqs[2];
static NOINIT u8 jumbo[JUMBO_MAX];
static NOINIT u16 tx_free[NETIF_TX_RING]; /* stack of completed ids */
static unsigned tx_frees, tx_fresh;       /* tx_fresh: never used so far */
static int tx_id = -1;                    /* behind the last tx_buf() */
static uptr common, isr, device;
static bool event_idx, mrg_rxbuf, link_changed, has_status;

static volatile u16 *used_idx(struct virtqueue *vq)
{
    return &vq->used[1];
}

static volatile u16 *used_event(struct virtqueue *vq)
{
    return &vq->avail[2 + vq->size];
}

static bool vq_has_used(struct virtqueue *vq)
{
    return *used_idx(vq) != vq->last_used;
}

/* Takes the oldest used entry; id is sure to lie in the ring. */
static bool vq_take(struct virtqueue *vq, u16 *id, u32 *len)
{
    if (!vq_has_used(vq))
        return false;
    barrier(); /* entry after index */
    unsigned slot = vq->last_used++ & (vq->size - 1u);
    const volatile u32 *entry = (volatile u32 *)&vq->used[2 + 4 * slot];

    *id = (u16)(entry[0] & (vq->size - 1u));
    *len = entry[1];
    return true;
}

static void vq_give(struct virtqueue *vq, u16 id)
{
    vq->avail[2 + (vq->avail_idx++ & (vq->size - 1u))] = id;
}

/* Publishes what vq_give() collected; §2.7.13.4 decides about the kick. */
static void vq_publish(struct virtqueue *vq)
{
    u16 old = vq->avail_published, now = vq->avail_idx;
    bool wanted;

    if (old == now)
        return;
    barrier();
    *(volatile u16 *)&vq->avail[1] = now;
    vq->avail_published = now;
    barrier_full();
    if (event_idx) {
        u16 event = *(volatile u16 *)&vq->used[2 + 4 * vq->size];

        wanted = (u16)(now - event - 1) < (u16)(now - old);
    } else {
        wanted = !(*(volatile u16 *)&vq->used[0] & USED_F_NO_NOTIFY);
    }
    if (!wanted)
        return;
    nif.kicks++;
    mmio_w16(vq->kick, vq == &vqs[TX] ? TX : RX);
}

/* No interrupts: with EVENT_IDX an event index just passed is the farthest. */
static void vq_irq_off(struct virtqueue *vq)
{
    if (event_idx)
        *used_event(vq) = (u16)(vq->last_used - 1);
    else
        *(volatile u16 *)&vq->avail[0] = AVAIL_F_NO_INTERRUPT;
}

/* An interrupt once `after` more entries are used; true if they are. */
static bool vq_irq_on(struct virtqueue *vq, u16 after)
{
    if (event_idx)
        *used_event(vq) = (u16)(vq->last_used + after - 1);
    else
        *(volatile u16 *)&vq->avail[0] = 0;
    barrier_full();
    return (u16)(*used_idx(vq) - vq->last_used) >= after;
}

static void vnet_interrupt(void)
{
    nif.irqs++;
    /* §4.1.4.5: reading ISR drops the INTx line. */
    if (nif.irq[0] == 'i' && mmio_r8(isr) & 2)
        link_changed = true;
}

static void vnet_config_interrupt(void)
{
    nif.irqs++;
    link_changed = true;
}

static void set_queue_gpa(u32 reg, const void *p)
{
    mmio_w32(common + reg, (u32)(uptr)p);
    mmio_w32(common + reg + 4, 0);
}

/* §4.1.5.1.3. False if the queue is missing. */
static bool vq_open(unsigned n, u16 most, uptr notify, u32 multiplier)
{
    struct virtqueue *vq = &vqs[n];

    mmio_w16(common + QUEUE_SELECT, (u16)n);
    vq->size = mmio_r16(common + QUEUE_SIZE);
    if (!vq->size || vq->size & (vq->size - 1u))
        return false;
    if (vq->size > most) {
        vq->size = most;
        mmio_w16(common + QUEUE_SIZE, most);
    }
    vq->kick = notify + mmio_r16(common + QUEUE_NOTIFY_OFF) * multiplier;
    vq->avail_idx = vq->avail_published = vq->last_used = 0;
    vq->avail[0] = vq->avail[1] = 0;
    vq->used[0] = vq->used[1] = 0;
    vq->used[2 + 4 * vq->size] = 0;
    vq_irq_off(vq);
    set_queue_gpa(QUEUE_DESC, vq->desc);
    set_queue_gpa(QUEUE_DRIVER, vq->avail);
    set_queue_gpa(QUEUE_DEVICE, vq->used);
    return true;
}

/* One vector each for configuration, RX and TX, as far as there are any. */
static bool route_interrupts(const struct pci_fn *fn, bool msix)
{
    unsigned n = msix ? pci_msix_enable(fn, VECTOR_MSI, 3) : 0;

    nif.irq = n ? "msix" : "intx";
    if (!n)
        return pci_intx_enable(fn, vnet_interrupt);
    /* With too few vectors all causes come as the first; it assumes the rarest
     * of them, which costs a register read and misses none. */
    irq_vector_set(VECTOR_MSI, vnet_config_interrupt);
    irq_vector_set(VECTOR_MSI + 1, vnet_interrupt);
    irq_vector_set(VECTOR_MSI + 2, vnet_interrupt);
    mmio_w16(common + CONFIG_MSIX_VECTOR, 0);
    for (unsigned q = RX; q <= TX; q++) {
        mmio_w16(common + QUEUE_SELECT, (u16)q);
        mmio_w16(common + QUEUE_MSIX_VECTOR, n < 3 ? 0 : (u16)(q + 1));
    }
    return true;
}

/* §4.1.4: the first capability of each type counts. */
static bool find_regions(const struct pci_fn *fn, uptr *notify, u32 *mult)
{
    u8 cap = 0;

    common = isr = device = *notify = 0;
    while ((cap = pci_cap(fn, PCI_CAP_VENDOR, cap))) {
        u8 type = (u8)(pci_read(fn->bdf, cap) >> 24);
        uptr *region = type == CAP_COMMON   ? &common
                       : type == CAP_NOTIFY ? notify
                       : type == CAP_ISR    ? &isr
                       : type == CAP_DEVICE ? &device
                                            : NULL;

        if (!region || *region)
            continue;
        *region = pci_bar(fn, pci_read(fn->bdf, (u8)(cap + 4)) & 0xff,
                          pci_read(fn->bdf, (u8)(cap + 8)));
        if (*region && type == CAP_NOTIFY)
            *mult = pci_read(fn->bdf, (u8)(cap + 16));
    }
    return common && *notify && isr && device;
}

static bool negotiate(void)
{
    u64 want = BIT(F_VERSION_1) | BIT(F_MAC) | BIT(F_STATUS) |
               BIT(F_MRG_RXBUF) | BIT(F_EVENT_IDX);
    u64 have;

    mmio_w32(common + DEVICE_FEATURE_SELECT, 1);
    have = (u64)mmio_r32(common + DEVICE_FEATURE) << 32;
    mmio_w32(common + DEVICE_FEATURE_SELECT, 0);
    have |= mmio_r32(common + DEVICE_FEATURE);
    have &= want;
    if (!(have & BIT(F_VERSION_1)))
        return false;
    mmio_w32(common + DRIVER_FEATURE_SELECT, 0);
    mmio_w32(common + DRIVER_FEATURE, (u32)have);
    mmio_w32(common + DRIVER_FEATURE_SELECT, 1);
    mmio_w32(common + DRIVER_FEATURE, (u32)(have >> 32));
    mmio_w8(common + DEVICE_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    if (!(mmio_r8(common + DEVICE_STATUS) & FEATURES_OK))
        return false;
    event_idx = have & BIT(F_EVENT_IDX);
    mrg_rxbuf = have & BIT(F_MRG_RXBUF);
    has_status = have & BIT(F_STATUS);
    return true;
}

/* What can change; a restored guest may have another address. */
static void read_config(void)
{
    for (unsigned i = 0; i < 6; i++) /* offered or not: there is no other */
        nif.mac[i] = mmio_r8(device + i);
    nif.link = !has_status || mmio_r16(device + 6) & STATUS_LINK_UP;
}

/* §3.1.1 and §4.1.5.1 in their order. */
static const char *vnet_open(const struct pci_fn *fn)
{
    uptr notify;
    u32 multiplier = 0;

    pci_enable(fn);
    if (!find_regions(fn, &notify, &multiplier))
        return "no modern interface";
    mmio_w8(common + DEVICE_STATUS, 0);
    for (u32 i = 0; mmio_r8(common + DEVICE_STATUS); i++)
        if (i == SPINS)
            return "reset does not end";
    mmio_w8(common + DEVICE_STATUS, ACKNOWLEDGE);
    mmio_w8(common + DEVICE_STATUS, ACKNOWLEDGE | DRIVER);
    if (!negotiate())
        return "features refused";
    if (!vq_open(RX, NETIF_RX_RING, notify, multiplier) ||
        !vq_open(TX, NETIF_TX_RING, notify, multiplier))
        return "no queues";
    if (!route_interrupts(fn, !opt.no_msix))
        return "no interrupt line";
    for (unsigned q = RX; q <= TX; q++) {
        mmio_w16(common + QUEUE_SELECT, (u16)q);
        mmio_w16(common + QUEUE_ENABLE, 1);
    }
    for (u16 i = 0; i < vqs[RX].size; i++) {
        vqs[RX].desc[i] =
            (struct desc){(uptr)netif_rx_bufs[i], NETIF_BUF, DESC_F_WRITE, 0};
        vq_give(&vqs[RX], i);
    }
    mmio_w8(common + DEVICE_STATUS,
            ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    read_config();
    vq_publish(&vqs[RX]);
    return NULL;
}

static void reclaim(void)
{
    u16 id;
    u32 len;

    while (tx_frees < vqs[TX].size && vq_take(&vqs[TX], &id, &len))
        tx_free[tx_frees++] = id;
    vq_irq_off(&vqs[TX]);
}

static u8 *vnet_tx_buf(void)
{
    if (tx_id < 0) {
        if (!tx_frees && tx_fresh == vqs[TX].size)
            reclaim();
        if (tx_frees)
            tx_id = tx_free[--tx_frees];
        else if (tx_fresh < vqs[TX].size)
            tx_id = (int)tx_fresh++;
        else
            return NULL;
    }
    return netif_tx_bufs[tx_id] + HDR_LEN;
}

static void vnet_tx(u32 len)
{
    u8 *packet = netif_tx_bufs[tx_id];

    /* No offloads: the header is all zeros (§5.1.6.2). */
    *(u64_unaligned *)packet = 0;
    *(u32_unaligned *)(packet + 8) = 0;
    vqs[TX].desc[tx_id] = (struct desc){(uptr)packet, HDR_LEN + len, 0, 0};
    vq_give(&vqs[TX], (u16)tx_id);
    tx_id = -1;
}

static void vnet_flush(void)
{
    vq_publish(&vqs[RX]);
    vq_publish(&vqs[TX]);
}

/* A frame in n buffers (§5.1.6.4, MRG_RXBUF), the first one already taken.
 * Too long or incomplete ones are dropped, their buffers given back. */
static void gather(u16 id, u32 len, unsigned n)
{
    struct virtqueue *vq = &vqs[RX];
    u32 fill = 0;

    for (unsigned i = 0;; i++) {
        u32 skip = i ? 0 : HDR_LEN;

        if (len >= skip && len <= NETIF_BUF && fill + len - skip <= JUMBO_MAX) {
            memcpy(jumbo + fill, netif_rx_bufs[id] + skip, len - skip);
            fill += len - skip;
        } else {
            fill = JUMBO_MAX + 1;
        }
        vq_give(vq, id);
        if (i + 1 == n || !vq_take(vq, &id, &len))
            break;
    }
    if (fill <= JUMBO_MAX)
        net_rx(jumbo, fill);
}

static bool vnet_poll(void)
{
    struct virtqueue *vq = &vqs[RX];
    unsigned done = 0;
    u16 id;
    u32 len;

    if (link_changed) {
        link_changed = false;
        read_config();
    }
    for (; done < NETIF_POLL && vq_take(vq, &id, &len); done++) {
        u8 *packet = netif_rx_bufs[id];
        unsigned n = *(u16_unaligned *)(packet + NUM_BUFFERS);

        if (mrg_rxbuf && n > 1) {
            gather(id, len, n);
            continue;
        }
        if (len > HDR_LEN && len <= NETIF_BUF)
            net_rx(packet + HDR_LEN, len - HDR_LEN);
        vq_give(vq, id);
    }
    if (done && !event_idx)
        vq_irq_off(vq);
    return done;
}

static bool vnet_arm(bool want_tx)
{
    bool work = vq_irq_on(&vqs[RX], 1);

    /* Half a ring of room makes a batch worth an interrupt. */
    if (want_tx)
        work |= vq_irq_on(&vqs[TX], vqs[TX].size / 2);
    return work || link_changed;
}

static bool vnet_match(u32 id)
{
    return id == ID_MODERN || id == ID_TRANSITIONAL;
}

const struct nic_driver virtio_net_driver = {
    .name = "virtio-net",
    .match = vnet_match,
    .open = vnet_open,
    .tx_buf = vnet_tx_buf,
    .tx = vnet_tx,
    .flush = vnet_flush,
    .poll = vnet_poll,
    .arm = vnet_arm,
};
