/* SPDX-License-Identifier: MIT */
/* virtio-net: what it remembers, and how it rests.
 *
 * At rest no packet is on its way: what was sent is shown to the driver, what
 * was received too, buffers that were popped ahead are available again. The one
 * packet that waits for more buffers is whole in the spill and waits there. */
#include <errno.h>

#include "devices/virtio_net/state.h"

/* ------------------------------------------------------------------ fields */

#define COAL(key, member)                                                      \
    FIELD_AS(STATE | SPARE, NUMBER, key, struct coal, member)
static const struct field coal_fields[] = {
    COAL("packets", max_packets),
    COAL("usecs", max_usecs),
    COAL("left", left),
    {.name = ""},
};

static const struct field pair_fields[] = {
    FIELDS_OF(coal_fields, "rx_coal", struct vnet_pair, rx_coal),
    FIELDS_OF(coal_fields, "tx_coal", struct vnet_pair, tx_coal),
    FIELD_BYTES(STATE | SPARE, "header", struct vnet_pair, rx_hdr),
    FIELD_AS(STATE | SPARE, BLOB, "packet", struct vnet_pair, spill,
             .def = FIELD_BEHIND(struct vnet_pair, spill, held),
             .max = PACKET_MAX),
    {.name = ""},
};

#define LIST(kind, key, member, ...)                                           \
    FIELD_AS(STATE | SPARE, kind, key, struct filter_list, member, __VA_ARGS__)
static const struct field list_fields[] = {
    LIST(NUMBER, "n", n, .max = FILTER_MACS),
    LIST(FLAG, "overflow", overflow),
    FIELD_BYTES(STATE | SPARE, "mac", struct filter_list, mac),
    {.name = ""},
};

#define FILTER(kind, key, member)                                              \
    FIELD_AS(STATE, kind, key, struct vnet_filter, member)
static const struct field filter_fields[] = {
    FILTER(FLAG, "on", on),
    FILTER(FLAG, "promisc", promisc),
    FILTER(FLAG, "allmulti", allmulti),
    FILTER(FLAG, "alluni", alluni),
    FILTER(FLAG, "nomulti", nomulti),
    FILTER(FLAG, "nouni", nouni),
    FILTER(FLAG, "nobcast", nobcast),
    FIELDS_OF(list_fields, "uni", struct vnet_filter, uni),
    FIELDS_OF(list_fields, "multi", struct vnet_filter, multi),
    FILTER(FLAG, "vlan_on", vlan_on),
    FIELD_EACH(STATE | SPARE, NUMBER, "vlan", struct vnet_filter, vlan),
    {.name = ""},
};

#define RSS(kind, key, member, ...)                                            \
    FIELD_AS(STATE | SPARE, kind, key, struct vnet_rss, member, __VA_ARGS__)
static const struct field rss_fields[] = {
    RSS(FLAG, "steer", steer),
    RSS(FLAG, "report", report),
    RSS(MASK, "types", types, .max = RSS_TYPES),
    RSS(NUMBER, "mask", mask, .max = RSS_TABLE_MAX - 1),
    RSS(NUMBER, "unclassified", unclassified, .max = NET_QUEUES_MAX - 1),
    FIELD_EACH(STATE | SPARE, NUMBER, "table", struct vnet_rss, table,
               .max = NET_QUEUES_MAX - 1),
    FIELD_BYTES(STATE | SPARE, "key", struct vnet_rss, key),
    {.name = ""},
};

const struct field vnet_state_fields[] = {
    /* the reset knows what these become */
    FIELD_BYTES(STATE | KEPT, "mac", struct vnet, config.mac),
    FIELD_AS(STATE | SPARE, FLAG, "renamed", struct vnet, renamed),
    FIELD_BYTES(STATE | SPARE, "was", struct vnet, was),
    FIELD_AS(STATE | KEPT, MASK, "link", struct vnet, config.status,
             .max = VNET_S_LINK_UP | VNET_S_ANNOUNCE),
    FIELD_AS(STATE, NUMBER, "pairs", struct vnet, pairs, .def = 1, .min = 1,
             .max = NET_QUEUES_MAX),
    FIELD_AS(STATE, NUMBER, "guest_offloads", struct vnet, guest_offloads),
    FIELDS_OF(filter_fields, "filter", struct vnet, filter),
    FIELDS_OF(rss_fields, "rss", struct vnet, rss),
    {.name = "pair",
     .type = FIELD_PARTS,
     .use = STATE,
     .offset = offsetof(struct vnet, pair),
     .def = FIELD_BEHIND(struct vnet, pair, npairs),
     .min = 2,
     .part = pair_fields},
    {.name = ""},
};

/* ----------------------------------------------------------------- loading */

static const char *vnet_rss_fault(const struct vnet *n)
{
    const struct vnet_rss *r = &n->rss;
    uint64_t f = n->v.started ? n->v.features : 0;
    if ((r->steer && !has(f, VIRTIO_NET_F_RSS)) ||
        r->report != has(f, VIRTIO_NET_F_HASH_REPORT) ||
        r->mask & (r->mask + 1))
        return "rss: not as negotiated";
    for (unsigned i = 0; i < RSS_TABLE_MAX; i++)
        if (r->table[i] >= n->npairs)
            return "rss.table: there are fewer pairs";
    return r->unclassified < n->npairs ? NULL
                                       : "rss.unclassified: no such pair";
}

static const char *vnet_pair_fault(const struct vnet_pair *p)
{
    /* Not of coal.usecs: that may be less since the timer was armed. */
    if (p->rx_coal.left > UINT32_MAX * 1000ull ||
        p->tx_coal.left > UINT32_MAX * 1000ull)
        return "pair: coal.left is longer than any coal.usecs";
    if (p->held && (!p->n->v.started || p->held < p->n->hdr_len + ETH_HLEN))
        return "pair.packet: too short, or the device is not started";
    return NULL;
}

static const char *vnet_fault(const struct vnet *n)
{
    uint64_t can = n->v.started ? n->v.features & VNET_GUEST_OFFLOADS : 0;
    uint64_t f = n->guest_offloads;
    const char *fault = NULL;
    if (n->pairs > n->npairs)
        return "pairs: there are fewer here";
    if (f & ~can || (vnet_close_features(f) & VNET_GUEST_OFFLOADS) != f)
        return "guest_offloads: not as negotiated";
    for (unsigned i = 0; i < n->npairs && !fault; i++)
        fault = vnet_pair_fault(n->pair[i]);
    return fault ? fault : vnet_rss_fault(n);
}

int vnet_loaded(struct device *dev)
{
    struct vnet *n = container_of(dev, struct vnet, v.dev);
    int err = virtio_pci_loaded(&n->v);
    if (err)
        return err;
    vnet_negotiated(n);
    const char *fault = vnet_fault(n);
    return fault ? fail(-EINVAL, "%s: %s", dev->id, fault) : 0;
}

/* -------------------------------------------------------------------- rest */

/* A pair's timers are its loop's. */
static void vnet_on_loop(struct vnet_pair *p, void (*fn)(void *arg))
{
    if (p->thread.runs)
        loop_call(p->loop, fn, p);
    else
        fn(p);
}

static void vnet_nothing(void *arg)
{
    (void)arg;
}

static void vnet_rest(void *arg)
{
    struct vnet_pair *p = arg;
    vnet_pair_lock(p);
    if (p->tx_on && vnet_reachable(p))
        vnet_tx_publish(p);
    if (p->rx_on && vnet_reachable(p))
        vnet_rx_publish(p);
    vnet_rx_rest(p);
    vq_rewind(p->tx);
    p->rx_on = p->tx_on = p->tx_blocked = false;
    p->tx_unseen = p->tx_unseen_bytes = 0;
    loop_want(&p->ev, 0);
    loop_unlook(p->loop, &p->look);
    timer_cancel(&p->gate_timer);
    if (p == p->n->pair[0])
        timer_cancel(&p->n->nic.tell);
    p->rx_coal.left = timer_stop(&p->rx_coal.timer);
    p->tx_coal.left = timer_stop(&p->tx_coal.timer);
    lock_give(&p->lock);
}

/* First nobody reads any more; then who had read a packet for another pair
 * (RSS) has given it; then each pair comes to rest. */
void vnet_hold(struct device *dev)
{
    struct vnet *n = container_of(dev, struct vnet, v.dev);
    pthread_mutex_lock(&n->v.lock);
    vnet_vhost_stop(n);
    n->ctrl_on = false;
    vnet_lock_pairs(n);
    for (unsigned i = 0; i < n->npairs; i++)
        n->pair[i]->active = false;
    vnet_unlock_pairs(n);
    pthread_mutex_unlock(&n->v.lock);
    for (unsigned i = 0; i < n->npairs; i++)
        vnet_on_loop(n->pair[i], vnet_nothing);
    for (unsigned i = 0; i < n->npairs; i++)
        vnet_on_loop(n->pair[i], vnet_rest);
    virtio_pci_hold(&n->v);
}

static void vnet_go_on(void *arg)
{
    struct vnet_pair *p = arg;
    vnet_pair_lock(p);
    vnet_rx_go_on(p);
    timer_go(&p->rx_coal.timer, p->rx_coal.left);
    timer_go(&p->tx_coal.timer, p->tx_coal.left);
    if (p->n->v.dev.fresh && p == p->n->pair[0] && p->n->v.started)
        nic_announce(&p->n->nic, p->n->config.mac);
    lock_give(&p->lock);
}

/* A guest that is somewhere else now is asked to tell the network; but not by
 * an address that is another's now: of that it is told. */
static void vnet_show_cable(struct vnet *n)
{
    bool renamed = n->v.dev.fresh && n->renamed;
    bool was = n->config.status & VNET_S_LINK_UP;
    bool up = n->nic.nd && netdev_link(n->nic.nd);
    bool tells = n->v.dev.fresh && !renamed && up && n->ctrl_on &&
                 has(n->v.features, VIRTIO_NET_F_GUEST_ANNOUNCE);
    if (was == up && !tells && !renamed)
        return;
    if (was != up || tells)
        vnet_show_link(n, up);
    virtio_config_changed(&n->v);
}

/* Another address is the operator's to say; until the driver has read it, which
 * is when it begins anew or is told to, it goes by the one of before. */
static void vnet_rename(struct vnet *n)
{
    if (!n->nic.new_mac || !memcmp(n->config.mac, n->nic.mac, 6))
        return;
    if (n->v.started && !n->renamed)
        memcpy(n->was, n->config.mac, 6);
    n->renamed = n->v.started;
    memcpy(n->config.mac, n->nic.mac, 6);
}

void vnet_resume(struct device *dev)
{
    struct vnet *n = container_of(dev, struct vnet, v.dev);
    if (dev->fresh)
        vnet_rename(n);
    for (unsigned i = 0; i < n->npairs; i++)
        vnet_on_loop(n->pair[i], vnet_go_on);
    pthread_mutex_lock(&n->v.lock);
    vnet_set_guest_offloads(n, n->guest_offloads);
    vnet_set_pairs(n, n->pairs);
    if (n->v.started)
        vnet_start_queues(n);
    vnet_show_cable(n);
    pthread_mutex_unlock(&n->v.lock);
}
