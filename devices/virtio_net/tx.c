/* SPDX-License-Identifier: MIT */
/* virtio-net transmit: packets are written straight from the guest's buffers,
 * led by a private, checked copy of their header. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio_net/state.h"

/* What bounds a call of vnet_tx: so many packets, or so many descriptors and
 * what the last packet has of them (VQ_SIZE_MAX), whatever the ring holds. */
#define BURST 64
#define BURST_DESCS 2048
/* Sent packets are shown to the driver together: at the end of a burst, or when
 * these many or these bytes have come together. A driver that is shown each
 * small packet alone asks for an interrupt for each; one that has two packets
 * of 64 KiB under way (TCP small queues) must have them back at once. */
#define SHOW_PACKETS 32
#define SHOW_BYTES 16384

/* §5.1.6.2.2: only what was negotiated; hdr_len is a hint that is never
 * trusted, num_buffers is garbage. False: drop. */
static bool vnet_tx_check_hdr(const struct vnet *n, struct net_hdr *h,
                              uint32_t frame)
{
    uint64_t f = n->v.features;
    h->flags &= NET_F_NEEDS_CSUM;
    if (!h->flags && h->gso_type == NET_GSO_NONE) {
        *h = (struct net_hdr){0}; /* nothing is to be done: the rest says no
                                     more */
        return true;
    }
    h->num_buffers = 0;
    if (h->flags && !has(f, VIRTIO_NET_F_CSUM))
        return false;
    if (h->hdr_len > frame || h->hdr_len < ETH_HLEN)
        h->hdr_len = 0;
    if (h->gso_type & NET_GSO_ECN && !has(f, VIRTIO_NET_F_HOST_ECN))
        return false;
    switch (h->gso_type & ~NET_GSO_ECN) {
    case NET_GSO_NONE:
        h->gso_size = 0;
        return h->gso_type == NET_GSO_NONE;
    case NET_GSO_TCPV4:
        return has(f, VIRTIO_NET_F_HOST_TSO4);
    case NET_GSO_TCPV6:
        return has(f, VIRTIO_NET_F_HOST_TSO6);
    case NET_GSO_UDP:
        return has(f, VIRTIO_NET_F_HOST_UFO);
    case NET_GSO_UDP_L4:
        return has(f, VIRTIO_NET_F_HOST_USO);
    default:
        return false;
    }
}

/* More pieces than one system call takes: through a buffer. */
static RARE ssize_t vnet_tx_send_bounced(struct vnet_pair *p, unsigned at,
                                         unsigned n, uint32_t len)
{
    if (!p->bounce)
        p->bounce = malloc(PACKET_MAX);
    if (!p->bounce)
        return -ENOMEM;
    iov_read(&p->tx_iov[at], n, 0, p->bounce, len);
    struct iovec one = {p->bounce, len};
    return p->be->send(p->be, &one, 1);
}

/* One chain. 0: the backend is full, the chain is undone; 1: it is done with,
 * sent or charged to a reason. */
static int vnet_tx_send_chain(struct vnet_pair *p, const struct vq_chain *c)
{
    struct nic_stats *s = &p->stats;
    struct hdr_mask mask;
    uint32_t hdr_len = p->n->hdr_len, frame = c->rlen - hdr_len;
    if (c->rlen < hdr_len + ETH_HLEN) {
        nic_count(s, tx_drop_short, 1);
        return 1;
    }
    if (frame > NET_FRAME_MAX) {
        nic_count(s, tx_drop_long, 1);
        return 1;
    }
    vnet_hdr_read(&p->tx_iov[1], c->nr, hdr_len, &p->tx_hdr);
    if (!vnet_tx_check_hdr(p->n, &p->tx_hdr, frame)) {
        nic_count(s, tx_drop_offload, 1);
        return 1;
    }
    if (!p->be || !netdev_link(p->be->dev)) {
        nic_count(s, tx_drop_link, 1);
        return 1;
    }
    unsigned at = vnet_mask_hdr(p->tx_iov, 1, hdr_len, &p->tx_hdr, &mask);
    unsigned n = 1u + c->nr - at;
    ssize_t sent = n <= IOV_LIMIT
                       ? p->be->send(p->be, &p->tx_iov[at], (int)n)
                       : vnet_tx_send_bounced(p, at, n, NET_HDR_LEN + frame);
    if (!sent)
        return 0;
    if (sent < 0) {
        nic_count(s, tx_drop_backend, 1);
        return 1;
    }
    nic_count(s, tx_frames, 1);
    nic_count(s, tx_bytes, frame);
    return 1;
}

void vnet_tx_publish(struct vnet_pair *p)
{
    p->tx_unseen = p->tx_unseen_bytes = 0;
    vq_flush(p->tx);
    vnet_coal_irq(&p->tx_coal);
}

static void vnet_tx_done_with(struct vnet_pair *p, const struct vq_chain *c)
{
    vq_push(p->tx, c, 0);
    p->tx_unseen_bytes += c->rlen;
    if (++p->tx_unseen >= SHOW_PACKETS || p->tx_unseen_bytes >= SHOW_BYTES)
        vnet_tx_publish(p);
}

/* The backend is full: the packet stays in the ring until EPOLLOUT. Or the rate
 * limit says when. */
static RARE void vnet_tx_block(struct vnet_pair *p, const struct vq_chain *c)
{
    const struct nic_gate *g = p->be->gate;
    vq_undo_pop(p->tx, c);
    p->tx_blocked = true;
    if (g && g->tx_due) {
        nic_count(&p->stats, tx_limited, 1);
        vnet_wait_for_limit(p, g->tx_due);
        return;
    }
    nic_count(&p->stats, tx_blocked, 1);
    loop_want(&p->ev, p->ev.want | EPOLLOUT);
}

const char *vnet_tx(struct vnet_pair *p)
{
    struct vq_chain c;
    bool more = false; /* the loop looks, and shows the rest when it stops */
    unsigned small = 0;
    uint32_t before = p->tx->walked;
    vq_kicks_off(p->tx);
    for (int n = 1;; n++) {
        enum vq_got got = vq_pop(p->tx, &c, &p->tx_iov[1], VQ_SIZE_MAX);
        if (got == VQ_EMPTY) {
            loop_worked(p->loop, small);
            more = loop_look(p->loop, &p->look);
            if (!more && vq_rearm(p->tx))
                continue;
            break;
        }
        if (got != VQ_CHAIN) /* VQ_FULL_IOV cannot be: no chain is longer */
            break;
        if (!vnet_tx_send_chain(p, &c)) {
            vnet_tx_block(p, &c);
            break;
        }
        vnet_tx_done_with(p, &c);
        small += c.rlen <= LOOP_SMALL;
        if (n >= BURST || p->tx->walked - before >= BURST_DESCS) {
            loop_worked(p->loop, small);
            loop_again(&p->n->v.kick[2 * p->index + 1].ev);
            break;
        }
    }
    if (!more)
        vnet_tx_publish(p);
    return p->tx->state == VQ_BROKEN ? p->tx->fault : NULL;
}
