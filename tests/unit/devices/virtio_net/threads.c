/* SPDX-License-Identifier: MIT */
/* virtio-net with a thread for each pair (iothreads=on): packets move, and a
 * reset ends all work whatever the threads are at. */
#include <time.h>

#include "tests/unit/fakevirtio.h"

static void nap_us(long us)
{
    nanosleep(&(struct timespec){0, us * 1000}, NULL);
}

/* Waits for n used chains: long, since a busy machine may leave a thread aside
 * for seconds, and not for ever, since a doorbell must not be lost. */
static bool used_soon(struct vd_queue *q, unsigned n)
{
    for (int i = 0; i < 200000 && n; i++) {
        n -= vd_reap(q);
        nap_us(100);
    }
    return !n;
}

BOTH_RINGS(vnet_iothreads_move_packets)
{
    struct vd d = {.opts = "iothreads=on", .pairs = 2};
    uint8_t f[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, got[64];
    test_timeout(120);
    vd_up(&d, packed, F(VIRTIO_NET_F_MRG_RXBUF));
    for (unsigned i = 0; i < 50; i++) {
        f[20] = (uint8_t)i;
        vd_post(&d, RX0, 2000);
        vd_kick(&d, RX0);
        vd_send(&d, TX0, NULL, f, 60);
        vd_kick(&d, TX0);
        fake_net_give(d.net, 0, NULL, f, 60);
        CHECK(used_soon(&d.q[RX0], 1));
        CHECK(used_soon(&d.q[TX0], 1));
        CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
        CHECK_MEM(got, f, 60);
    }
    vd_free(&d);
}

/* After the reset not a byte of the rings changes. */
BOTH_RINGS(vnet_reset_while_threads_work)
{
    struct vd d = {.opts = "iothreads=on"};
    uint8_t f[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, sink[64];
    test_timeout(60);
    vd_up(&d, packed, F(VIRTIO_NET_F_MRG_RXBUF));
    for (int round = 0; round < 200; round++) {
        uint64_t low = d.brk;
        vd_again(&d, F(VIRTIO_NET_F_MRG_RXBUF));
        for (int i = 0; i < 8; i++) {
            vd_post(&d, RX0, 2000);
            vd_send(&d, TX0, NULL, f, 60);
            fake_net_give(d.net, 0, NULL, f, 60);
        }
        vd_kick(&d, RX0);
        vd_kick(&d, TX0);
        nap_us(test_random() % 60);
        vd_set(&d, C_STATUS, 1, 0);
        CHECK_EQ(vd_status(&d), 0);
        uint64_t len = d.brk - low;
        memset(vd_ram(&d, low, len), 0x5a, len);
        while (fake_net_take(d.net, 0, NULL, sink, 64) >= 0)
            continue;
        nap_us(100);
        const uint8_t *p = vd_ram(&d, low, len);
        for (uint64_t i = 0; i < len; i++)
            REQUIRE(p[i] == 0x5a);
        d.brk = low;
        vd_drain(&d);
    }
    vd_free(&d);
}
