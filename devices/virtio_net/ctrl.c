/* SPDX-License-Identifier: MIT */
/* virtio-net's control queue (virtio 1.2 §5.1.6.5; coalescing: 1.3).
 *
 * A command is {class, command} and its data, readable, then one byte that
 * says how it went. How they are cut into descriptors means nothing. Every
 * command is answered at once, on the loop the queue is bound to and under the
 * registers' lock: old Linux drivers spin until then, Windows gives up after
 * half a second. A command of a feature that was not negotiated is as unknown
 * as any other: ERR. */
#include <string.h>

#include "devices/virtio_net/state.h"

/* What bounds a call of vnet_ctrl: so many commands, and no new one when this
 * much time has passed. A command may wait for bursts of the pairs and for the
 * kernel (TUNSETQUEUE takes some milliseconds for each queue). */
#define BURST 64
#define BURST_NS 500000u

enum { ACK_OK = 0, ACK_ERR = 1 };
#define CLASS_VLAN 2 /* this class and those before are of receive filters */

/* A command being worked on; data: what follows class and command. */
struct cmd {
    const struct iovec *iov;
    unsigned nr;
    uint32_t len; /* of the data */
};

/* Copies data; false where it is shorter. Each byte is read once. */
static bool vnet_ctrl_get(const struct cmd *c, uint32_t at, void *p,
                          uint32_t len)
{
    return iov_read(c->iov, c->nr, 2 + at, p, len) == len;
}

/* All of the data, of just this length. */
static bool vnet_ctrl_get_all(const struct cmd *c, void *p, uint32_t len)
{
    return c->len == len && vnet_ctrl_get(c, 0, p, len);
}

/* ---------------------------------------------------- class 0: receive mode */

static bool vnet_ctrl_rx_mode(struct vnet *n, const struct cmd *c, bool *mode)
{
    uint8_t on;
    if (!vnet_ctrl_get_all(c, &on, 1))
        return false;
    vnet_lock_pairs(n);
    *mode = on;
    n->filter.on = true;
    vnet_unlock_pairs(n);
    return true;
}

static bool vnet_ctrl_rx_promisc(struct vnet *n, const struct cmd *c)
{
    return vnet_ctrl_rx_mode(n, c, &n->filter.promisc);
}
static bool vnet_ctrl_rx_allmulti(struct vnet *n, const struct cmd *c)
{
    return vnet_ctrl_rx_mode(n, c, &n->filter.allmulti);
}
static bool vnet_ctrl_rx_alluni(struct vnet *n, const struct cmd *c)
{
    return vnet_ctrl_rx_mode(n, c, &n->filter.alluni);
}
static bool vnet_ctrl_rx_nomulti(struct vnet *n, const struct cmd *c)
{
    return vnet_ctrl_rx_mode(n, c, &n->filter.nomulti);
}
static bool vnet_ctrl_rx_nouni(struct vnet *n, const struct cmd *c)
{
    return vnet_ctrl_rx_mode(n, c, &n->filter.nouni);
}
static bool vnet_ctrl_rx_nobcast(struct vnet *n, const struct cmd *c)
{
    return vnet_ctrl_rx_mode(n, c, &n->filter.nobcast);
}

/* -------------------------------------------------- class 1: MAC, 2: VLAN */

/* One of the two tables; *at moves behind it. */
static bool vnet_ctrl_get_macs(const struct cmd *c, uint32_t *at,
                               struct filter_list *l)
{
    le32 n;
    if (!vnet_ctrl_get(c, *at, &n, 4) || n > (c->len - *at - 4) / 6)
        return false;
    *l = (struct filter_list){.overflow = n > FILTER_MACS};
    l->n = l->overflow ? 0 : n;
    if (!vnet_ctrl_get(c, *at + 4, l->mac, 6 * l->n))
        return false;
    *at += 4 + 6 * n;
    return true;
}

static bool vnet_ctrl_mac_table_set(struct vnet *n, const struct cmd *c)
{
    struct filter_list uni, multi;
    uint32_t at = 0;
    if (!vnet_ctrl_get_macs(c, &at, &uni) ||
        !vnet_ctrl_get_macs(c, &at, &multi) || at != c->len)
        return false;
    vnet_lock_pairs(n);
    n->filter.uni = uni;
    n->filter.multi = multi;
    n->filter.on = true;
    vnet_unlock_pairs(n);
    return true;
}

static bool vnet_ctrl_mac_addr_set(struct vnet *n, const struct cmd *c)
{
    uint8_t mac[6];
    if (!vnet_ctrl_get_all(c, mac, 6))
        return false;
    vnet_lock_pairs(n);
    vnet_go_by_mac(n, mac);
    vnet_unlock_pairs(n);
    return true;
}

static bool vnet_ctrl_vlan_set(struct vnet *n, const struct cmd *c, bool on)
{
    le16 vid;
    if (!vnet_ctrl_get_all(c, &vid, 2) || vid >= 4096)
        return false;
    uint32_t *word = &n->filter.vlan[vid / 32], m = 1u << vid % 32;
    vnet_lock_pairs(n);
    *word = on ? *word | m : *word & ~m;
    vnet_unlock_pairs(n);
    return true;
}

static bool vnet_ctrl_vlan_add(struct vnet *n, const struct cmd *c)
{
    return vnet_ctrl_vlan_set(n, c, true);
}
static bool vnet_ctrl_vlan_del(struct vnet *n, const struct cmd *c)
{
    return vnet_ctrl_vlan_set(n, c, false);
}

/* ---------------------------------- class 3: announce, 4: MQ, 5: offloads */

/* §5.1.6.5.4.1: the bit is clear before the buffer is used. */
static bool vnet_ctrl_announce_ack(struct vnet *n, const struct cmd *c)
{
    if (c->len || !(n->config.status & VNET_S_ANNOUNCE))
        return false;
    n->config.status &= (le16)~VNET_S_ANNOUNCE;
    return true;
}

static bool vnet_ctrl_mq_pairs_set(struct vnet *n, const struct cmd *c)
{
    le16 pairs;
    if (!vnet_ctrl_get_all(c, &pairs, 2) || !pairs || pairs > n->npairs)
        return false;
    vnet_lock_pairs(n);
    n->rss.steer = false; /* §5.1.6.5.6.1: automatic steering again */
    vnet_unlock_pairs(n);
    vnet_set_pairs(n, pairs);
    return true;
}

static void vnet_ctrl_set_rss(struct vnet *n, const struct vnet_rss *rss)
{
    vnet_lock_pairs(n);
    n->rss = *rss;
    vnet_unlock_pairs(n);
}

/* The key is the end of either command. */
static bool vnet_ctrl_get_key(const struct cmd *c, uint32_t at,
                              struct vnet_rss *rss)
{
    uint8_t len;
    return vnet_ctrl_get(c, at, &len, 1) && len <= RSS_KEY_MAX &&
           vnet_ctrl_get(c, at + 1, rss->key, len) && at + 1 + len == c->len;
}

/* §5.1.6.5.6.4. Entries name a receive queue by the number of its pair. */
static bool vnet_ctrl_mq_rss_config(struct vnet *n, const struct cmd *c)
{
    struct vnet_rss r = {.steer = true, .report = n->rss.report};
    struct {
        le32 types;
        le16 mask, unclassified;
    } head;
    le16 max_tx;
    _Static_assert(sizeof(head) == 8, "§5.1.6.5.6.4");
    if (!vnet_ctrl_get(c, 0, &head, 8) || head.types & ~(uint32_t)RSS_TYPES ||
        head.mask >= RSS_TABLE_MAX || head.mask & (head.mask + 1u) ||
        head.unclassified >= n->npairs)
        return false;
    unsigned entries = head.mask + 1u, top = head.unclassified;
    if (!vnet_ctrl_get(c, 8, r.table, 2 * entries) ||
        !vnet_ctrl_get(c, 8 + 2 * entries, &max_tx, 2) || !max_tx ||
        max_tx > n->npairs)
        return false;
    for (unsigned i = 0; i < entries; i++) {
        if (r.table[i] >= n->npairs)
            return false;
        top = r.table[i] > top ? r.table[i] : top;
    }
    if (!vnet_ctrl_get_key(c, 10 + 2 * entries, &r))
        return false;
    r.types = head.types;
    r.mask = head.mask;
    r.unclassified = head.unclassified;
    vnet_ctrl_set_rss(n, &r);
    vnet_set_pairs(n, max_tx > top + 1 ? max_tx : top + 1);
    return true;
}

/* §5.1.6.5.6.5: types, four reserved words, the key. */
static bool vnet_ctrl_mq_hash_config(struct vnet *n, const struct cmd *c)
{
    struct vnet_rss r = n->rss;
    le32 types;
    memset(r.key, 0, sizeof(r.key));
    if (!vnet_ctrl_get(c, 0, &types, 4) || types & ~(uint32_t)RSS_TYPES ||
        !vnet_ctrl_get_key(c, 12, &r))
        return false;
    r.types = types;
    vnet_ctrl_set_rss(n, &r);
    return true;
}

/* §5.1.6.5.5 */
static bool vnet_ctrl_offloads_set(struct vnet *n, const struct cmd *c)
{
    uint64_t want, can = n->v.features & VNET_GUEST_OFFLOADS;
    if (!vnet_ctrl_get_all(c, &want, 8) || want & ~can ||
        (vnet_close_features(want) & VNET_GUEST_OFFLOADS) != want)
        return false;
    vnet_set_guest_offloads(n, want);
    return true;
}

/* --------------------------------------------------- class 6: coalescing */

struct coal_params {
    le32 max_packets, max_usecs;
};

static void vnet_ctrl_set_coal(struct coal *c, const struct coal_params *p)
{
    c->max_packets = p->max_packets;
    c->max_usecs = p->max_usecs;
}

static bool vnet_ctrl_coal_set(struct vnet *n, const struct cmd *c, bool tx)
{
    struct coal_params params;
    if (!vnet_ctrl_get_all(c, &params, 8))
        return false;
    vnet_lock_pairs(n);
    for (unsigned i = 0; i < n->npairs; i++)
        vnet_ctrl_set_coal(tx ? &n->pair[i]->tx_coal : &n->pair[i]->rx_coal,
                           &params);
    vnet_unlock_pairs(n);
    return true;
}

static bool vnet_ctrl_coal_tx_set(struct vnet *n, const struct cmd *c)
{
    return vnet_ctrl_coal_set(n, c, true);
}
static bool vnet_ctrl_coal_rx_set(struct vnet *n, const struct cmd *c)
{
    return vnet_ctrl_coal_set(n, c, false);
}

struct coal_vq {
    le16 vqn, reserved;
    struct coal_params params;
};

static struct coal *vnet_ctrl_coal_of(struct vnet *n, unsigned q)
{
    if (q >= 2 * n->npairs || q == vnet_ctrl_index(n))
        return NULL;
    return q & 1 ? &n->pair[q / 2]->tx_coal : &n->pair[q / 2]->rx_coal;
}

static bool vnet_ctrl_coal_vq_set(struct vnet *n, const struct cmd *c)
{
    struct coal_vq v;
    if (!vnet_ctrl_get_all(c, &v, sizeof(v)) || !vnet_ctrl_coal_of(n, v.vqn))
        return false;
    vnet_lock_pairs(n);
    vnet_ctrl_set_coal(vnet_ctrl_coal_of(n, v.vqn), &v.params);
    vnet_unlock_pairs(n);
    return true;
}

/* ------------------------------------------------------------- the table */

static const struct row {
    uint8_t class, command, feature;
    bool (*run)(struct vnet *n, const struct cmd *c);
    const char *name;
} rows[] = {
    {0, 0, VIRTIO_NET_F_CTRL_RX, vnet_ctrl_rx_promisc, "RX_PROMISC"},
    {0, 1, VIRTIO_NET_F_CTRL_RX, vnet_ctrl_rx_allmulti, "RX_ALLMULTI"},
    {0, 2, VIRTIO_NET_F_CTRL_RX_EXTRA, vnet_ctrl_rx_alluni, "RX_ALLUNI"},
    {0, 3, VIRTIO_NET_F_CTRL_RX_EXTRA, vnet_ctrl_rx_nomulti, "RX_NOMULTI"},
    {0, 4, VIRTIO_NET_F_CTRL_RX_EXTRA, vnet_ctrl_rx_nouni, "RX_NOUNI"},
    {0, 5, VIRTIO_NET_F_CTRL_RX_EXTRA, vnet_ctrl_rx_nobcast, "RX_NOBCAST"},
    {1, 0, VIRTIO_NET_F_CTRL_RX, vnet_ctrl_mac_table_set, "MAC_TABLE_SET"},
    {1, 1, VIRTIO_NET_F_CTRL_MAC_ADDR, vnet_ctrl_mac_addr_set, "MAC_ADDR_SET"},
    {2, 0, VIRTIO_NET_F_CTRL_VLAN, vnet_ctrl_vlan_add, "VLAN_ADD"},
    {2, 1, VIRTIO_NET_F_CTRL_VLAN, vnet_ctrl_vlan_del, "VLAN_DEL"},
    {3, 0, VIRTIO_NET_F_GUEST_ANNOUNCE, vnet_ctrl_announce_ack, "ANNOUNCE_ACK"},
    {4, 0, VIRTIO_NET_F_MQ, vnet_ctrl_mq_pairs_set, "MQ_VQ_PAIRS_SET"},
    {4, 1, VIRTIO_NET_F_RSS, vnet_ctrl_mq_rss_config, "MQ_RSS_CONFIG"},
    {4, 2, VIRTIO_NET_F_HASH_REPORT, vnet_ctrl_mq_hash_config,
     "MQ_HASH_CONFIG"},
    {5, 0, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, vnet_ctrl_offloads_set,
     "OFFLOADS_SET"},
    {6, 0, VIRTIO_NET_F_NOTF_COAL, vnet_ctrl_coal_tx_set, "NOTF_COAL_TX_SET"},
    {6, 1, VIRTIO_NET_F_NOTF_COAL, vnet_ctrl_coal_rx_set, "NOTF_COAL_RX_SET"},
    {6, 2, VIRTIO_NET_F_VQ_NOTF_COAL, vnet_ctrl_coal_vq_set,
     "NOTF_COAL_VQ_SET"},
};

/* VQ_GET, the only command with an answer: the parameters follow the ack
 * (1.3 §5.1.6.5, command-specific-result). */
static bool vnet_ctrl_coal_vq_get(struct vnet *n, const struct cmd *c,
                                  struct coal_params *result)
{
    struct coal_vq v;
    if ((c->len != 4 && c->len != sizeof(v)) || !vnet_ctrl_get(c, 0, &v, 4) ||
        !has(n->v.features, VIRTIO_NET_F_VQ_NOTF_COAL) ||
        !vnet_ctrl_coal_of(n, v.vqn))
        return false;
    const struct coal *coal = vnet_ctrl_coal_of(n, v.vqn);
    *result = (struct coal_params){coal->max_packets, coal->max_usecs};
    return true;
}

static bool vnet_ctrl_execute(struct vnet *n, uint8_t class, uint8_t command,
                              const struct cmd *c)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        if (r->class != class || r->command != command)
            continue;
        bool ok = has(n->v.features, r->feature) && r->run(n, c);
        if (ok && class <= CLASS_VLAN)
            nic_filter_changed(&n->nic, &n->v.dev);
        TRACE(VIRTIO, "%s ctrl %s, %u bytes: %s", n->nic.id, r->name, c->len,
              ok ? "ok" : "error");
        return ok;
    }
    TRACE(VIRTIO, "%s ctrl class %u command %u is unknown", n->nic.id, class,
          command);
    return false;
}

/* One command; bytes written. */
static uint32_t vnet_ctrl_answer(struct vnet *n, const struct vq_chain *ch)
{
    struct cmd c = {n->ctrl_iov, ch->nr, ch->rlen > 2 ? ch->rlen - 2 : 0};
    struct iovec *out = n->ctrl_iov + ch->nr;
    struct coal_params result;
    uint8_t head[2], ack = ACK_ERR;
    bool more = false;
    if (iov_read(n->ctrl_iov, ch->nr, 0, head, 2) == 2) {
        more = head[0] == 6 && head[1] == 3 && ch->wlen > sizeof(result) &&
               vnet_ctrl_coal_vq_get(n, &c, &result);
        if (more || vnet_ctrl_execute(n, head[0], head[1], &c))
            ack = ACK_OK;
    }
    nic_count(n, ctrl_cmds, 1);
    nic_count(n, ctrl_errors, ack);
    if (!ch->wlen)
        return 0; /* nowhere to say it */
    iov_write(out, ch->nw, 0, &ack, 1);
    if (more)
        iov_write(out, ch->nw, 1, &result, sizeof(result));
    return more ? 1 + sizeof(result) : 1;
}

/* §5.1.2: the queue after all pairs, or after the only one that is used. */
unsigned vnet_ctrl_index(const struct vnet *n)
{
    const uint64_t many = 1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_RSS;
    if (!has(n->v.features, VIRTIO_NET_F_CTRL_VQ))
        return VIRTIO_QUEUES_MAX;
    return n->v.features & many ? 2 * n->npairs : 2;
}

const char *vnet_ctrl(struct vnet *n, struct virtqueue *vq)
{
    struct vq_chain ch;
    uint64_t end = now_ns() + BURST_NS;
    for (int i = 0; i < BURST && (!i || now_ns() < end); i++) {
        enum vq_got got = vq_pop(vq, &ch, n->ctrl_iov, VQ_SIZE_MAX);
        if (got == VQ_EMPTY && vq_rearm(vq))
            continue;
        if (got != VQ_CHAIN)
            break;
        vq_push(vq, &ch, vnet_ctrl_answer(n, &ch));
        vq_flush(vq);
        virtio_queue_irq(&n->v, vq);
    }
    /* However the burst ended, the next command's kick is asked for. */
    if (vq_rearm(vq))
        virtio_poke(&n->v, vnet_ctrl_index(n)); /* it was too short */
    return vq->state == VQ_BROKEN ? vq->fault : NULL;
}
