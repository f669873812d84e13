/* SPDX-License-Identifier: MIT */
/* virtio-net: which features are offered, and the options that say so (names
 * as QEMU has them). */
#include <errno.h>
#include <string.h>

#include "devices/virtio_net/state.h"

/* Features that the backend must have an offload for. */
static const struct {
    uint8_t bit, offload; /* NETBE_* */
} feature_offloads[] = {
    {VIRTIO_NET_F_CSUM, NETBE_CSUM},
    {VIRTIO_NET_F_GUEST_CSUM, NETBE_CSUM},
    {VIRTIO_NET_F_HOST_TSO4, NETBE_TSO4},
    {VIRTIO_NET_F_HOST_TSO6, NETBE_TSO6},
    {VIRTIO_NET_F_HOST_ECN, NETBE_ECN},
    {VIRTIO_NET_F_HOST_UFO, NETBE_UFO},
    {VIRTIO_NET_F_HOST_USO, NETBE_USO4},
    {VIRTIO_NET_F_GUEST_TSO4, NETBE_TSO4},
    {VIRTIO_NET_F_GUEST_TSO6, NETBE_TSO6},
    {VIRTIO_NET_F_GUEST_ECN, NETBE_ECN},
    {VIRTIO_NET_F_GUEST_UFO, NETBE_UFO},
    {VIRTIO_NET_F_GUEST_USO4, NETBE_USO4},
    {VIRTIO_NET_F_GUEST_USO6, NETBE_USO6},
    {VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, NETBE_CSUM},
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
static unsigned vnet_guest_offload_bits(uint64_t f)
{
    unsigned bits = 0;
    for (size_t i = 0; i < ARRAY_LEN(feature_offloads); i++)
        if (f & VNET_GUEST_OFFLOADS & bit(feature_offloads[i].bit))
            bits |= feature_offloads[i].offload;
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
        nd->set_offload(nd, vnet_guest_offload_bits(f));
}

/* --------------------------------------------------------------- options */

#define FEATURE(key, n, on) VIRTIO_FEATURE(struct vnet, key, n, on)
static const char *const duplexes[] = {"half", "full", "unknown", NULL};
/* QEMU's, which need nothing with these values. */
static const struct opts_quiet vnet_quiet[] = {
    {"failover", "off", "no NIC stands in for another"},
    {"gso", NULL, NULL}, /* host_tso4= and so on say it */
    {"guest_rsc_ext", "off", "segments are not put together for Windows"},
    {"rsc_interval", NULL, NULL},
    {"tx", "bh", "there is no timer that holds frames back"},
    {"x-mtu-bypass-backend", NULL, NULL},
    {"x-txburst", NULL, NULL},
    {"x-txtimer", NULL, NULL},
    {0},
};

const struct field vnet_fields[] = {
    FIELDS_QUIET(vnet_quiet),
    FIELDS_OF(device_fields, "", struct vnet, v.dev),
    FIELDS_OF(nic_fields, "", struct vnet, nic),
    FIELDS_OF(virtio_fields, "", struct vnet, v),
    FIELDS_OF(vnet_state_fields, "", struct vnet, v.dev), /* of all of it */
    COUNT("ctrl_commands", struct vnet, ctrl_cmds,
          "commands of the control queue"),
    COUNT("ctrl_errors", struct vnet, ctrl_errors, "of them answered ERR"),
    COUNT("vhost_starts", struct vnet, vhost_starts,
          "times the rings were lent to vhost"),
    FIELD(NUMBER, "rx_queue_size", struct vnet, rx_size, .min = 64,
          .max = VQ_SIZE_MAX, .def = 256,
          .help = "entries of a receive ring, a power of two"),
    FIELD(NUMBER, "tx_queue_size", struct vnet, tx_size, .min = 64,
          .max = VQ_SIZE_MAX, .def = 256, .help = "of a transmit ring"),
    FIELD(FLAG, "mq", struct vnet, mq, .def = AUTO, .max = AUTO,
          .help = "more than one pair of them; auto: as many as the netdev "
                  "has"),
    FIELD(FLAG, "iothreads", struct vnet, iothreads,
          .help = "a thread for each pair"),
    FIELD(NUMBER, "host_mtu", struct vnet, host_mtu, .min = 68, .max = 65535,
          .help = "told to the guest (the host interface's, unless 1500)"),
    FIELD(NUMBER, "speed", struct vnet, speed, .max = INT32_MAX,
          .def = UINT32_MAX, .help = "Mbit/s, told to the guest (unknown)"),
    FIELD(WORD, "duplex", struct vnet, duplex, .words = duplexes, .def = 2,
          .help = "told to the guest"),
    FIELDS_OF(virtio_options, "", struct vnet, v),
    FEATURE("csum", VIRTIO_NET_F_CSUM, ON),
    FEATURE("guest_csum", VIRTIO_NET_F_GUEST_CSUM, ON),
    FEATURE("host_tso4", VIRTIO_NET_F_HOST_TSO4, ON),
    FEATURE("host_tso6", VIRTIO_NET_F_HOST_TSO6, ON),
    FEATURE("host_ecn", VIRTIO_NET_F_HOST_ECN, ON),
    FEATURE("host_ufo", VIRTIO_NET_F_HOST_UFO, ON),
    FEATURE("host_uso", VIRTIO_NET_F_HOST_USO, ON),
    FEATURE("guest_tso4", VIRTIO_NET_F_GUEST_TSO4, ON),
    FEATURE("guest_tso6", VIRTIO_NET_F_GUEST_TSO6, ON),
    FEATURE("guest_ecn", VIRTIO_NET_F_GUEST_ECN, ON),
    FEATURE("guest_ufo", VIRTIO_NET_F_GUEST_UFO, ON),
    FEATURE("guest_uso4", VIRTIO_NET_F_GUEST_USO4, ON),
    FEATURE("guest_uso6", VIRTIO_NET_F_GUEST_USO6, ON),
    FEATURE("ctrl_guest_offloads", VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, ON),
    FEATURE("mrg_rxbuf", VIRTIO_NET_F_MRG_RXBUF, ON),
    FEATURE("status", VIRTIO_NET_F_STATUS, ON),
    FEATURE("ctrl_vq", VIRTIO_NET_F_CTRL_VQ, ON),
    FEATURE("ctrl_rx", VIRTIO_NET_F_CTRL_RX, ON),
    FEATURE("ctrl_rx_extra", VIRTIO_NET_F_CTRL_RX_EXTRA, ON),
    FEATURE("ctrl_vlan", VIRTIO_NET_F_CTRL_VLAN, ON),
    FEATURE("ctrl_mac_addr", VIRTIO_NET_F_CTRL_MAC_ADDR, ON),
    FEATURE("guest_announce", VIRTIO_NET_F_GUEST_ANNOUNCE, ON),
    FEATURE("notf_coal", VIRTIO_NET_F_NOTF_COAL, ON),
    FEATURE("vq_notf_coal", VIRTIO_NET_F_VQ_NOTF_COAL, ON),
    FEATURE("hash", VIRTIO_NET_F_HASH_REPORT, OFF),
    FEATURE("rss", VIRTIO_NET_F_RSS, OFF),
    {.name = ""},
};

/* Those asked for and possible. */
static void vnet_choose_features(struct vnet *n)
{
    const struct netdev *nd = n->nic.nd;
    unsigned can = nd ? nd->offload : 0;
    uint64_t f = n->v.asked | bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_NET_F_MAC);
    for (size_t i = 0; i < ARRAY_LEN(feature_offloads); i++)
        if (!(can & feature_offloads[i].offload))
            f &= ~bit(feature_offloads[i].bit);
    if (n->mq == ON || (n->mq == AUTO && nd && nd->nq > 1))
        f |= bit(VIRTIO_NET_F_MQ);
    /* §5.1.3.1 does not list it, so a driver may accept it alone. */
    if (!has(f, VIRTIO_NET_F_CTRL_VQ))
        f &= ~B(CTRL_GUEST_OFFLOADS);
    n->v.offered = f;
}

/* An unknown MTU is not offered, nor is 1500: it would only keep the guest from
 * choosing another. */
static void vnet_choose_mtu(struct vnet *n)
{
    const struct netdev *nd = n->nic.nd;
    unsigned mtu = n->host_mtu;
    if (!mtu && nd && nd->mtu != 1500)
        mtu = nd->mtu;
    if (mtu < 68 || mtu > 65535)
        return;
    n->config.mtu = (le16)mtu;
    n->v.offered |= bit(VIRTIO_NET_F_MTU);
    if (nd && nd->mtu && mtu > nd->mtu)
        log_line("%s: host_mtu=%u: the host's interface has %u only; longer "
                 "frames will be dropped there",
                 n->nic.id, mtu, nd->mtu);
}

/* §5.1.4: 0xffffffff and 0xff are "unknown". Linux reads 1 as full. */
static void vnet_choose_speed(struct vnet *n)
{
    n->config.speed = n->speed;
    n->config.duplex = n->duplex < 2 ? n->duplex : 0xff;
    if (n->speed != UINT32_MAX || n->duplex < 2)
        n->v.offered |= bit(VIRTIO_NET_F_SPEED_DUPLEX);
}

int vnet_check(struct device *dev, struct needs *needs)
{
    struct vnet *n = container_of(dev, struct vnet, v.dev);
    const char *what = dev->opts.what;
    if (n->rx_size & (n->rx_size - 1) || n->tx_size & (n->tx_size - 1))
        return fail(-EINVAL, "%s: %cx_queue_size=%u: must be a power of two",
                    what, n->rx_size & (n->rx_size - 1) ? 'r' : 't',
                    n->rx_size & (n->rx_size - 1) ? n->rx_size : n->tx_size);
    int err = virtio_check(&n->v, what);
    if (err)
        return err;
    return nic_check(&n->nic, dev, needs, "virtio-net");
}

static void vnet_fill_config(struct vnet *n)
{
    memcpy(n->config.mac, n->nic.mac, 6);
    n->config.max_virtqueue_pairs = (le16)n->npairs;
    n->config.rss_max_key_size = RSS_KEY_MAX;
    n->config.rss_max_indirection_table_length = RSS_TABLE_MAX;
    n->config.supported_hash_types = RSS_TYPES;
}

void vnet_choose(struct vnet *n)
{
    const struct netdev *nd = n->nic.nd;
    vnet_choose_features(n);
    vnet_choose_mtu(n);
    vnet_choose_speed(n);
    n->v.offered = vnet_close_features(n->v.offered);
    n->npairs = 1;
    if (nd && n->v.offered & (B(MQ) | B(RSS)))
        n->npairs = nd->nq;
    vnet_fill_config(n);
}

/* Filters, hashes and coalescing are done where packets are moved. */
void vnet_limit_to_vhost(struct vnet *n)
{
    const struct vhost *vh = n->vhost;
    uint64_t f = n->v.offered, theirs = vh->dev.mask;
    f &= ~(B(CTRL_RX) | B(CTRL_RX_EXTRA) | B(CTRL_VLAN) | B(RSS) |
           B(HASH_REPORT) | B(NOTF_COAL) | B(VQ_NOTF_COAL));
    f = (f & ~theirs) | (f & theirs & vh->features);
    n->v.offered = vnet_close_features(f);
}
