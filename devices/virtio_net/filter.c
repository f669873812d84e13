/* SPDX-License-Identifier: MIT */
/* virtio-net: which received frames the driver wants (virtio 1.2 §5.1.6.5.1,
 * .2 and .3). */
#include <string.h>

#include "devices/virtio_net/state.h"

static bool vnet_filter_listed(const struct filter_list *l, const uint8_t *mac)
{
    if (l->overflow)
        return true;
    for (unsigned i = 0; i < l->n; i++)
        if (!memcmp(l->mac[i], mac, 6))
            return true;
    return false;
}

static bool vnet_filter_address_passes(const struct vnet *n, const uint8_t *to)
{
    static const uint8_t everybody[6] = {255, 255, 255, 255, 255, 255};
    const struct vnet_filter *f = &n->filter;
    if (!f->on)
        return true;
    if (!memcmp(to, everybody, 6))
        return !f->nobcast;
    if (to[0] & 1)
        return !f->nomulti &&
               (f->allmulti || vnet_filter_listed(&f->multi, to));
    if (f->nouni)
        return false;
    return f->alluni || !memcmp(to, n->config.mac, 6) ||
           (n->renamed && !memcmp(to, n->was, 6)) ||
           vnet_filter_listed(&f->uni, to);
}

/* A tag with VLAN 0 is a priority only. */
static bool vnet_filter_vlan_passes(const struct vnet_filter *f,
                                    const uint8_t *frame, uint32_t len)
{
    bool tagged = len >= ETH_HLEN + 4 && frame[12] == 0x81 && frame[13] == 0;
    if (!f->vlan_on || !tagged)
        return true;
    unsigned vid = (frame[14] & 0xf) << 8 | frame[15];
    return !vid || f->vlan[vid / 32] >> (vid % 32) & 1;
}

bool vnet_filter_passes(struct vnet_pair *p, const uint8_t *frame, uint32_t len)
{
    /* §5.1.6.5.1: promiscuous means all, tagged frames of any VLAN too: who
     * bridges or captures expects it, and nobody else says so to us. */
    if (p->n->filter.promisc ||
        (vnet_filter_address_passes(p->n, frame) &&
         vnet_filter_vlan_passes(&p->n->filter, frame, len)))
        return true;
    nic_count(&p->stats, rx_drop_filter, 1);
    return false;
}

/* As at power-on, for the features now negotiated. */
void vnet_filter_reset(struct vnet *n)
{
    vnet_lock_pairs(n);
    n->filter = (struct vnet_filter){
        .vlan_on = has(n->v.features, VIRTIO_NET_F_CTRL_VLAN)};
    vnet_unlock_pairs(n);
}

/* ------------------------------------------------------------ for who asks */

static void vnet_filter_copy(struct nic_filter *show, const struct vnet *n)
{
    const struct vnet_filter *f = &n->filter;
    show->promiscuous = f->promisc || !f->on;
    show->broadcast = !f->nobcast;
    show->uni = f->nouni ? "none" : f->alluni ? "all" : "normal";
    show->multi = f->nomulti ? "none" : f->allmulti ? "all" : "normal";
    show->vlan = f->vlan_on ? "normal" : "all";
    show->uni_more = f->uni.overflow;
    show->multi_more = f->multi.overflow;
    memcpy(show->mac, n->renamed ? n->was : n->config.mac, sizeof(show->mac));
    show->nunis = f->uni.n;
    show->nmultis = f->multi.n;
    _Static_assert(sizeof(show->unis) == sizeof(f->uni.mac), "all of them");
    memcpy(show->unis, f->uni.mac, sizeof(show->unis));
    memcpy(show->multis, f->multi.mac, sizeof(show->multis));
    memcpy(show->vlans, f->vlan, sizeof(show->vlans));
}

int vnet_filter_show(void *dev, const void *told, struct text *out)
{
    struct vnet *n = container_of((struct device *)dev, struct vnet, v.dev);
    struct nic_filter show;
    (void)told;
    nic_filter_asked(&n->nic);
    pthread_mutex_lock(&n->v.lock);
    vnet_lock_pairs(n);
    vnet_filter_copy(&show, n);
    vnet_unlock_pairs(n);
    pthread_mutex_unlock(&n->v.lock);
    nic_put_filter(&n->nic, &show, out);
    return 0;
}
