/* SPDX-License-Identifier: MIT */
/* virtio-net's window: receive buffers that were popped ahead of packets. */
#include "devices/virtio_net/state.h"

#include <string.h>

/* What a fill takes from the ring at most, and what the last chain has of them
 * (VQ_SIZE_MAX), refused ones counted, whatever the ring holds. */
#define FILL_DESCS 1024
/* Bytes it takes beyond what is wanted: several small buffers at a time. */
#define FILL_MORE 16384

static void vnet_window_compact(struct rx_window *w)
{
    memmove(&w->iov[1], &w->iov[w->first],
            (w->end - w->first) * sizeof(w->iov[0]));
    w->end -= w->first - 1;
    w->first = 1;
    memmove(&w->chain[0], &w->chain[w->cfirst],
            (w->cend - w->cfirst) * sizeof(w->chain[0]));
    w->cend -= w->cfirst;
    w->cfirst = 0;
}

/* Bytes a packet may need. Without GSO it is a frame of the MTU. */
static uint32_t vnet_window_largest_packet(const struct vnet *n)
{
    const uint64_t gso =
        1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6 |
        1ull << VIRTIO_NET_F_GUEST_UFO | 1ull << VIRTIO_NET_F_GUEST_USO4 |
        1ull << VIRTIO_NET_F_GUEST_USO6;
    unsigned mtu = n->nic.nd->mtu > 1500 ? n->nic.nd->mtu : 1500;
    return n->hdr_len +
           (n->guest_offloads & gso ? NET_FRAME_MAX : ETH_HLEN + 4 + mtu);
}

/* A chain that is no receive buffer: back to the driver, unused, but in order
 * (virtio 1.2 §2.7.13.3): false when older ones must be used first. */
static bool vnet_window_refuse(struct vnet_pair *p, const struct vq_chain *c)
{
    p->rx_stuck = p->win.cfirst != p->win.cend;
    if (p->rx_stuck) {
        vq_undo_pop(p->rx, c);
        return false;
    }
    nic_count(&p->stats, rx_drop_desc, 1);
    vq_push(p->rx, c, 0);
    vq_flush(p->rx);
    return true;
}

uint32_t vnet_window_want(const struct vnet_pair *p)
{
    return p->n->mergeable ? vnet_window_largest_packet(p->n) : 1;
}

bool vnet_window_fill(struct vnet_pair *p)
{
    struct rx_window *w = &p->win;
    uint32_t enough = vnet_window_want(p), before = p->rx->walked;
    if (p->n->mergeable) {
        if (enough < p->held)
            enough = p->held; /* the host's MTU grew */
        enough += FILL_MORE;
    }
    p->rx_stuck = false;
    if (w->end > RX_IOV / 2 || w->cend > RX_CHAINS / 2)
        vnet_window_compact(w);
    while (w->bytes < enough && w->cend < RX_CHAINS &&
           p->rx->walked - before < FILL_DESCS) {
        struct vq_chain *c = &w->chain[w->cend];
        switch (vq_pop(p->rx, c, &w->iov[w->end], (int)(RX_IOV + 1 - w->end))) {
        case VQ_EMPTY:
            return true;
        case VQ_FULL_IOV: /* until some are used, if compact cannot help */
            p->rx_stuck = w->first == 1;
            return true;
        case VQ_FAULT:
            return false;
        case VQ_CHAIN:
            break;
        }
        if (c->nr || c->wlen <= p->n->hdr_len) {
            if (!vnet_window_refuse(p, c))
                return true;
            continue;
        }
        w->end += c->nw;
        w->bytes += c->wlen;
        w->cend++;
    }
    return true;
}

void vnet_window_empty(struct vnet_pair *p)
{
    p->win.first = p->win.end = 1;
    p->win.cfirst = p->win.cend = 0;
    p->win.bytes = 0;
    p->rx_given = false;
}
