/* SPDX-License-Identifier: MIT */
/* virtio-net receive: no offload the driver did not negotiate (§5.1.6.4.1). */
#include "tests/unit/fakevirtio.h"

static uint8_t frame[2000];

/* Gives a GSO frame to a driver with features f; was it delivered? */
static bool delivered(struct vd *d, uint64_t f, uint8_t flags, uint8_t gso)
{
    struct net_hdr h = {.flags = flags,
                        .gso_type = gso,
                        .hdr_len = 54,
                        .gso_size = 1000,
                        .csum_start = 34,
                        .csum_offset = 16};
    vd_again(d, f);
    vd_post(d, RX0, 4096);
    vd_kick(d, RX0);
    fake_net_give(d->net, 0, &h, frame, sizeof(frame));
    fake_run_loop(d->m);
    return vd_reap(&d->q[RX0]) == 1;
}

BOTH_RINGS(vnet_5_1_6_4_1_receives_only_negotiated_offloads)
{
    struct vd d = {0};
    const uint64_t csum = F(VIRTIO_NET_F_GUEST_CSUM);
    const uint64_t tso4 = csum | F(VIRTIO_NET_F_GUEST_TSO4);
    vd_up(&d, packed, 0);
    CHECK(!delivered(&d, 0, NET_F_NEEDS_CSUM, NET_GSO_NONE));
    CHECK(delivered(&d, csum, NET_F_NEEDS_CSUM, NET_GSO_NONE));
    CHECK(!delivered(&d, csum, NET_F_NEEDS_CSUM, NET_GSO_TCPV4));
    CHECK(delivered(&d, tso4, NET_F_NEEDS_CSUM, NET_GSO_TCPV4));
    CHECK(!delivered(&d, tso4, NET_F_NEEDS_CSUM, NET_GSO_TCPV6));
    CHECK(!delivered(&d, tso4, NET_F_NEEDS_CSUM, NET_GSO_TCPV4 | NET_GSO_ECN));
    CHECK(!delivered(&d, tso4, NET_F_NEEDS_CSUM, 0x77));
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}
