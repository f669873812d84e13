/* SPDX-License-Identifier: MIT */
/* virtio-net: which features are offered, and the options that say so (names
 * as QEMU has them). */
#include <errno.h>
#include <string.h>

#include "devices/virtio_net/state.h"

/* A feature, the offload the backend must have for it, and the option that
 * switches it. */
static const struct feature {
    uint8_t bit;
    uint8_t offload; /* NETBE_*, 0: none */
    bool off;        /* unless the option says otherwise */
    const char *option;
} feature_rows[] = {
    {VIRTIO_NET_F_CSUM, NETBE_CSUM, 0, "csum"},
    {VIRTIO_NET_F_GUEST_CSUM, NETBE_CSUM, 0, "guest_csum"},
    {VIRTIO_NET_F_HOST_TSO4, NETBE_TSO4, 0, "host_tso4"},
    {VIRTIO_NET_F_HOST_TSO6, NETBE_TSO6, 0, "host_tso6"},
    {VIRTIO_NET_F_HOST_ECN, NETBE_ECN, 0, "host_ecn"},
    {VIRTIO_NET_F_HOST_UFO, NETBE_UFO, 0, "host_ufo"},
    {VIRTIO_NET_F_HOST_USO, NETBE_USO4, 0, "host_uso"},
    {VIRTIO_NET_F_GUEST_TSO4, NETBE_TSO4, 0, "guest_tso4"},
    {VIRTIO_NET_F_GUEST_TSO6, NETBE_TSO6, 0, "guest_tso6"},
    {VIRTIO_NET_F_GUEST_ECN, NETBE_ECN, 0, "guest_ecn"},
    {VIRTIO_NET_F_GUEST_UFO, NETBE_UFO, 0, "guest_ufo"},
    {VIRTIO_NET_F_GUEST_USO4, NETBE_USO4, 0, "guest_uso4"},
    {VIRTIO_NET_F_GUEST_USO6, NETBE_USO6, 0, "guest_uso6"},
    {VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, NETBE_CSUM, 0, "ctrl_guest_offloads"},
    {VIRTIO_NET_F_MRG_RXBUF, 0, 0, "mrg_rxbuf"},
    {VIRTIO_NET_F_STATUS, 0, 0, "status"},
    {VIRTIO_NET_F_CTRL_VQ, 0, 0, "ctrl_vq"},
    {VIRTIO_NET_F_CTRL_RX, 0, 0, "ctrl_rx"},
    {VIRTIO_NET_F_CTRL_RX_EXTRA, 0, 0, "ctrl_rx_extra"},
    {VIRTIO_NET_F_CTRL_VLAN, 0, 0, "ctrl_vlan"},
    {VIRTIO_NET_F_CTRL_MAC_ADDR, 0, 0, "ctrl_mac_addr"},
    {VIRTIO_NET_F_GUEST_ANNOUNCE, 0, 0, "guest_announce"},
    {VIRTIO_NET_F_NOTF_COAL, 0, 0, "notf_coal"},
    {VIRTIO_NET_F_VQ_NOTF_COAL, 0, 0, "vq_notf_coal"},
    {VIRTIO_NET_F_HASH_REPORT, 0, 1, "hash"},
    {VIRTIO_NET_F_RSS, 0, 1, "rss"},
    {VIRTIO_F_INDIRECT_DESC, 0, 0, "indirect_desc"},
    {VIRTIO_F_EVENT_IDX, 0, 0, "event_idx"},
    {VIRTIO_F_RING_RESET, 0, 0, "queue_reset"},
    {VIRTIO_F_RING_PACKED, 0, 1, "packed"},
    {VIRTIO_F_IN_ORDER, 0, 1, "in_order"},
    {VIRTIO_F_ACCESS_PLATFORM, 0, 1, "iommu_platform"},
    {VIRTIO_F_ORDER_PLATFORM, 0, 1, "order_platform"},
    {VIRTIO_F_NOTIFICATION_DATA, 0, 1, "notification_data"},
};

#define B(x) (1ull << VIRTIO_NET_F_##x)
/* §5.1.3.1: who needs one of whom. */
static const struct {
    uint8_t bit;
    uint64_t needs_one_of;
} feature_needs[] = {
    {VIRTIO_NET_F_GUEST_TSO4, B(GUEST_CSUM)},
    {VIRTIO_NET_F_GUEST_TSO6, B(GUEST_CSUM)},
    {VIRTIO_NET_F_GUEST_UFO, B(GUEST_CSUM)},
    {VIRTIO_NET_F_GUEST_USO4, B(GUEST_CSUM)},
    {VIRTIO_NET_F_GUEST_USO6, B(GUEST_CSUM)},
    {VIRTIO_NET_F_GUEST_ECN, B(GUEST_TSO4) | B(GUEST_TSO6)},
    {VIRTIO_NET_F_HOST_TSO4, B(CSUM)},
    {VIRTIO_NET_F_HOST_TSO6, B(CSUM)},
    {VIRTIO_NET_F_HOST_UFO, B(CSUM)},
    {VIRTIO_NET_F_HOST_USO, B(CSUM)},
    {VIRTIO_NET_F_HOST_ECN, B(HOST_TSO4) | B(HOST_TSO6)},
    {VIRTIO_NET_F_CTRL_RX, B(CTRL_VQ)},
    {VIRTIO_NET_F_CTRL_RX_EXTRA, B(CTRL_VQ)},
    {VIRTIO_NET_F_CTRL_VLAN, B(CTRL_VQ)},
    {VIRTIO_NET_F_CTRL_MAC_ADDR, B(CTRL_VQ)},
    {VIRTIO_NET_F_GUEST_ANNOUNCE, B(CTRL_VQ)},
    {VIRTIO_NET_F_MQ, B(CTRL_VQ)},
    {VIRTIO_NET_F_RSS, B(CTRL_VQ)},
    {VIRTIO_NET_F_HASH_REPORT, B(CTRL_VQ)},
    {VIRTIO_NET_F_NOTF_COAL, B(CTRL_VQ)},
    {VIRTIO_NET_F_VQ_NOTF_COAL, B(CTRL_VQ)},
};

uint64_t vnet_close_features(uint64_t f)
{
    uint64_t before;
    do {
        before = f;
        for (size_t i = 0; i < ARRAY_LEN(feature_needs); i++)
            if (!(f & feature_needs[i].needs_one_of))
                f &= ~bit(feature_needs[i].bit);
    } while (f != before);
    return f;
}

/* What a guest offload is to the backend. */
static unsigned guest_offload_bits(uint64_t f)
{
    unsigned bits = 0;
    for (size_t i = 0; i < ARRAY_LEN(feature_rows); i++) {
        const struct feature *r = &feature_rows[i];
        if (f & VNET_GUEST_OFFLOADS & bit(r->bit))
            bits |= r->offload;
    }
    return bits;
}

void vnet_set_guest_offloads(struct vnet *n, uint64_t f)
{
    struct netdev *nd = n->nic.nd;
    f &= VNET_GUEST_OFFLOADS;
    vnet_lock_pairs(n);
    n->guest_offloads = f;
    vnet_unlock_pairs(n);
    if (nd && nd->set_offload)
        nd->set_offload(nd, guest_offload_bits(f));
}

/* --------------------------------------------------------------- options */

static int read_features(struct vnet *n, struct opts *o)
{
    const struct netdev *nd = n->nic.nd;
    unsigned can = nd ? nd->offload : 0;
    uint64_t f = bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_NET_F_MAC);
    bool mq = nd && nd->nq > 1;
    for (size_t i = 0; i < ARRAY_LEN(feature_rows); i++) {
        const struct feature *r = &feature_rows[i];
        bool on = !r->off;
        int err = opts_bool(o, r->option, &on);
        if (err)
            return err;
        if (on && (!r->offload || can & r->offload))
            f |= bit(r->bit);
    }
    int err = opts_bool(o, "mq", &mq);
    if (mq)
        f |= bit(VIRTIO_NET_F_MQ);
    /* §5.1.3.1 does not list it, so a driver may accept it alone. */
    if (!has(f, VIRTIO_NET_F_CTRL_VQ))
        f &= ~B(CTRL_GUEST_OFFLOADS);
    n->v.offered = f;
    return err;
}

/* An unknown MTU is not offered, nor is 1500: it would only keep the guest from
 * choosing another. */
static int read_mtu(struct vnet *n, struct opts *o)
{
    const struct netdev *nd = n->nic.nd;
    uint64_t mtu = nd && nd->mtu != 1500 ? nd->mtu : 0;
    int err = opts_u64(o, "host_mtu", 68, 65535, &mtu);
    if (err || mtu < 68 || mtu > 65535)
        return err;
    n->config.mtu = (le16)mtu;
    n->v.offered |= bit(VIRTIO_NET_F_MTU);
    if (nd && nd->mtu && mtu > nd->mtu)
        log_line("%s: host_mtu=%u: the host's interface has %u only; longer "
                 "frames will be dropped there",
                 n->nic.id, (unsigned)mtu, nd->mtu);
    return 0;
}

/* §5.1.4: 0xffffffff and 0xff are "unknown". Linux reads 1 as full. */
static int read_speed(struct vnet *n, struct opts *o)
{
    static const char *const names[] = {"half", "full", NULL};
    const char *duplex = opts_str(o, "duplex", NULL);
    uint64_t speed = UINT32_MAX;
    int err = opts_u64(o, "speed", 0, INT32_MAX, &speed);
    if (err)
        return err;
    n->config.speed = (le32)speed;
    n->config.duplex = 0xff;
    for (uint8_t i = 0; duplex && names[i]; i++)
        if (!strcmp(duplex, names[i]))
            n->config.duplex = i;
    if (duplex && n->config.duplex == 0xff && strcmp(duplex, "unknown"))
        return fail(-EINVAL, "%s: duplex=%s: must be half or full", o->what,
                    duplex);
    if (speed != UINT32_MAX || duplex)
        n->v.offered |= bit(VIRTIO_NET_F_SPEED_DUPLEX);
    return 0;
}

static int read_queue_size(struct opts *o, const char *key, uint16_t *size)
{
    uint64_t val = *size;
    int err = opts_u64(o, key, 64, VQ_SIZE_MAX, &val);
    if (!err && val & (val - 1))
        err = fail(-EINVAL, "%s: %s=%u: must be a power of two", o->what, key,
                   (unsigned)val);
    *size = (uint16_t)val;
    return err;
}

static int read_transport(struct vnet *n, struct opts *o)
{
    const char *legacy = opts_str(o, "disable-legacy", "auto");
    uint64_t vectors = VIRTIO_VECTORS_AUTO;
    bool ats = false;
    int err = opts_bool(o, "disable-modern", &n->v.no_modern);
    if (!err)
        err = opts_bool(o, "page-per-vq", &n->v.page_per_vq);
    if (!err)
        err = opts_bool(o, "modern-pio-notify", &n->v.pio_notify);
    if (!err)
        err = opts_bool(o, "ats", &ats);
    if (!err)
        err = opts_u64(o, "vectors", 0, PCI_MSIX_MAX, &vectors);
    n->v.vectors = (unsigned)vectors;
    n->v.pio_notify = n->v.pio_notify && !n->v.no_modern;
    if (err)
        return err;
    if (ats)
        return fail(-EINVAL, "%s: ats=on: there is no IOMMU", o->what);
    if (!strcmp(legacy, "off"))
        n->v.has_legacy = true;
    else if (strcmp(legacy, "on") && strcmp(legacy, "auto"))
        return fail(-EINVAL, "%s: disable-legacy=%s: must be on, off or auto",
                    o->what, legacy);
    if (n->v.no_modern && !n->v.has_legacy)
        return fail(-EINVAL,
                    "%s: disable-modern=on needs disable-legacy=off: nothing "
                    "would be left",
                    o->what);
    return 0;
}

static void fill_config(struct vnet *n)
{
    memcpy(n->config.mac, n->nic.mac, 6);
    n->config.max_virtqueue_pairs = (le16)n->npairs;
    n->config.rss_max_key_size = RSS_KEY_MAX;
    n->config.rss_max_indirection_table_length = RSS_TABLE_MAX;
    n->config.supported_hash_types = RSS_TYPES;
}

int vnet_options(struct vnet *n, struct opts *o)
{
    const struct netdev *nd = n->nic.nd;
    n->rx_size = n->tx_size = 256;
    int err = read_features(n, o);
    if (!err)
        err = read_mtu(n, o);
    if (!err)
        err = read_speed(n, o);
    if (!err)
        err = read_queue_size(o, "rx_queue_size", &n->rx_size);
    if (!err)
        err = read_queue_size(o, "tx_queue_size", &n->tx_size);
    if (!err)
        err = opts_bool(o, "iothreads", &n->iothreads);
    if (!err)
        err = read_transport(n, o);
    n->v.offered = vnet_close_features(n->v.offered);
    n->npairs = 1;
    if (nd && n->v.offered & (B(MQ) | B(RSS)))
        n->npairs = nd->nq;
    fill_config(n);
    return err;
}

/* Filters, hashes and coalescing are done where packets are moved. */
void vnet_limit_to_vhost(struct vnet *n)
{
    const struct vhost *vh = n->vhost;
    uint64_t f = n->v.offered;
    f &= ~(B(CTRL_RX) | B(CTRL_RX_EXTRA) | B(CTRL_VLAN) | B(RSS) |
           B(HASH_REPORT) | B(NOTF_COAL) | B(VQ_NOTF_COAL));
    f = (f & ~vh->mask) | (f & vh->mask & vh->features);
    n->v.offered = vnet_close_features(f);
    if (n->npairs > vh->pairs)
        n->npairs = vh->pairs;
    fill_config(n);
}
