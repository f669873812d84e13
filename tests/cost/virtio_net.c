/* SPDX-License-Identifier: MIT */
/* What a packet through virtio-net costs: from the loop's waking to its next
 * sleep, as the bundled parts do it: epoll, ring, backend, interrupt. */
#include <stdio.h>

#include "tests/cost/cost.h"
#include "tests/unit/fakevirtio.h"

#define SIZE 64   /* of the rings */
#define BUF 2048u /* bytes of a receive buffer */
#define PIECE 4096u
#define HDR 54 /* Ethernet, IPv4, TCP */
/* ns for each look at the clock: too far apart to look, or nap, for more. */
#define FAR_APART 200000000
#define WINDOW 1000000

#define WANT                                                                   \
    (F(VIRTIO_F_EVENT_IDX) | F(VIRTIO_F_INDIRECT_DESC) |                       \
     F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_GUEST_CSUM) |                       \
     F(VIRTIO_NET_F_HOST_TSO4) | F(VIRTIO_NET_F_GUEST_TSO4) |                  \
     F(VIRTIO_NET_F_MRG_RXBUF))

static struct {
    struct vd d;
    uint64_t kick_rx, kick_tx; /* where the driver writes */
    uint64_t tx, rx;           /* a packet to send, the receive buffers */
    unsigned slot;             /* next receive buffer */
    unsigned batch;
    uint32_t len;
    bool looks; /* the loop may look instead of being woken */
    struct net_hdr hdr;
} s;

static uint8_t frame[NET_FRAME_MAX], got[NET_FRAME_MAX];

static void kick(unsigned q)
{
    uint64_t at = q == TX0 ? s.kick_tx : s.kick_rx;
    REQUIRE(fake_kick_write(s.d.m, s.d.ports, at, 2, q));
}

static uint64_t kick_addr(unsigned q)
{
    vd_set(&s.d, C_QUEUE_SEL, 2, q);
    return s.d.notify + (uint64_t)s.d.mult * vd_get(&s.d, C_NOTIFY_OFF, 2);
}

/* As Linux: a small packet is one descriptor, a large one an indirect table of
 * its header and its pages. */
static void put_packet(void)
{
    struct vd_buf b[20];
    struct vd_queue *q = &s.d.q[TX0];
    unsigned n = 0;
    uint32_t at = 0, all = NET_HDR_LEN + s.len;
    if (all <= BUF) {
        b[0] = (struct vd_buf){s.tx, all, false};
        REQUIRE(vd_put(q, b, 1) >= 0);
        return;
    }
    for (uint32_t k = NET_HDR_LEN + HDR; at < all; at += k, n++) {
        k = at ? all - at < PIECE ? all - at : PIECE : k;
        b[n] = (struct vd_buf){s.tx + at, k, false};
    }
    REQUIRE(vd_put_indirect(q, b, n) >= 0);
}

static void tx_work(void *arg)
{
    struct vd_queue *q = &s.d.q[TX0];
    uint64_t brk = s.d.brk; /* of the indirect tables */
    unsigned sent = 0;
    (void)arg;
    vd_irq_after(q, 1);
    for (unsigned i = 0; i < s.batch; i++)
        put_packet();
    vd_publish(q);
    if (!s.looks || vd_kick_wanted(q, s.batch))
        kick(TX0);
    while (sent < s.batch) {
        cost_turn(s.d.m);
        while (fake_net_take(s.d.net, 0, NULL, got, sizeof(got)) >= 0)
            sent++;
    }
    unsigned back = vd_reap(q);
    if (!s.looks) { /* else they are shown when the looking ends */
        REQUIRE_EQ(back, s.batch);
        REQUIRE_EQ(vd_irqs(&s.d, TX0), 1);
    }
    s.d.brk = brk;
}

static void post(unsigned n)
{
    for (; n; n--, s.slot = (s.slot + 1) % SIZE) {
        struct vd_buf b = {s.rx + (uint64_t)s.slot * BUF, BUF, true};
        REQUIRE(vd_put(&s.d.q[RX0], &b, 1) >= 0);
    }
    vd_publish(&s.d.q[RX0]);
}

static void rx_work(void *arg)
{
    struct vd_queue *q = &s.d.q[RX0];
    unsigned each = (NET_HDR_LEN + s.len + BUF - 1) / BUF, used = 0;
    (void)arg;
    vd_irq_after(q, 1);
    for (unsigned i = 0; i < s.batch; i++)
        fake_net_give(s.d.net, 0, &s.hdr, frame, s.len);
    while (used < s.batch * each) {
        cost_turn(s.d.m);
        used += vd_reap(q);
    }
    REQUIRE_EQ(used, s.batch * each);
    REQUIRE_EQ(vd_irqs(&s.d, RX0), 1);
    post(used);
}

static void up(bool packed, uint32_t len, unsigned batch)
{
    s.d = (struct vd){.qsize = SIZE};
    s.batch = batch;
    s.len = len;
    s.hdr = (struct net_hdr){0};
    vd_frame(frame, len, 0);
    if (len > BUF)
        s.hdr = (struct net_hdr){.flags = NET_F_NEEDS_CSUM,
                                 .gso_type = NET_GSO_TCPV4,
                                 .gso_size = 1448,
                                 .hdr_len = HDR,
                                 .csum_start = 34,
                                 .csum_offset = 16};
    vd_up(&s.d, packed, WANT);
    s.kick_tx = kick_addr(TX0);
    s.kick_rx = kick_addr(RX0);
    s.tx = vd_alloc(&s.d, NET_HDR_LEN + len, 16);
    memcpy(vd_ram(&s.d, s.tx, NET_HDR_LEN), &s.hdr, NET_HDR_LEN);
    memcpy(vd_ram(&s.d, s.tx + NET_HDR_LEN, len), frame, len);
    s.rx = vd_alloc(&s.d, SIZE * BUF, 4096);
    s.slot = 0;
    post(SIZE);
    kick(RX0);
    fake_run_loop(s.d.m);
    fake_tick_ns(s.looks ? 0 : FAR_APART);
}

static void down(void)
{
    fake_tick_ns(0);
    vd_free(&s.d);
}

static void rows(bool packed, uint32_t len, unsigned batch)
{
    char name[80];
    const char *kind = packed ? "packed" : "split";
    up(packed, len, batch);
    snprintf(name, sizeof(name), "virtio-net %s, from guest, %u B, %u a turn",
             kind, len, batch);
    cost_row(name, batch, tx_work, NULL);
    down();
    up(packed, len, batch);
    snprintf(name, sizeof(name), "virtio-net %s, to guest, %u B, %u a turn",
             kind, len, batch);
    cost_row(name, batch, rx_work, NULL);
    down();
}

/* The loop finds the packet by looking, nobody is woken. */
static void looked_for(bool packed)
{
    char name[80];
    s.looks = true;
    up(packed, 64, 1);
    loop_window(s.d.m->loop, WINDOW);
    snprintf(name, sizeof(name), "virtio-net %s, from guest, 64 B, looked for",
             packed ? "packed" : "split");
    cost_row(name, 1, tx_work, NULL);
    down();
    s.looks = false;
}

void cost_virtio_net(void)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        rows(packed, 64, 1);
        rows(packed, 64, 32);
        looked_for(packed);
        rows(packed, 1514, 1);
        rows(packed, 1514, 32);
        rows(packed, 65000, 1);
    }
}
