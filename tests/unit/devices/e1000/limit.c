/* SPDX-License-Identifier: MIT */
/* The e1000 with a rate limit: what may not go yet is kept, in the guest's
 * ring or in the backend, and goes in time; nobody spins meanwhile. */
#include "tests/unit/devices/limit.h"

#include <errno.h>

#include "devices/list.h"
#include "tests/unit/devices/e1000/drv.h"

static uint8_t frame[2048], got[2048];

TEST(limit_e1000_keeps_what_the_guest_sends_in_its_ring)
{
    struct drv *d = drv_new("tx-ops=100,tx-ops-burst=2");
    uint32_t len = make_tcp(frame, 100, -1);
    drv_rings(d, 64);
    for (unsigned i = 0; i < 12; i++)
        drv_send(d, frame, len, TXD_EOP | TXD_RS | TXD_IFCS);
    check_quiet(d->m);
    CHECK_EQ(taken(d->net), 2);
    CHECK_EQ(pass(d->m, d->net, 9), 0);
    CHECK_EQ(pass(d->m, d->net, 1), 1);
    CHECK_EQ(pass(d->m, d->net, 50), 5);
    CHECK_EQ(limit(&d->e->dev, "tx.ops.size=0,tx.ops.refill_time=0"), 0);
    fake_run_loop(d->m);
    CHECK_EQ(taken(d->net), 4);
    CHECK(atomic_load(&d->e->nic.stats.tx_limited) >= 6);
    CHECK_EQ(atomic_load(&d->e->nic.stats.tx_blocked), 0);
    CHECK_EQ(pass(d->m, d->net, 100), 0);
    drv_free(d);
}

TEST(limit_e1000_leaves_what_comes_in_the_backend)
{
    struct drv *d = drv_new("rx-rate=100000,rx-burst=1000");
    unsigned n = 0;
    make_tcp(frame, 946, -1);
    memcpy(frame, drv_mac, 6);
    drv_rings(d, 64);
    for (unsigned i = 0; i < 30; i++)
        fake_net_give(d->net, 0, NULL, frame, 1000);
    check_quiet(d->m);
    while (drv_recv(d, got, NULL) > 0)
        n++;
    CHECK(n >= 1 && n <= 2);
    for (unsigned i = 0; i < 400; i++) {
        fake_advance_ns(MS);
        check_quiet(d->m);
        if (i == 100)
            CHECK(atomic_load(&d->e->nic.stats.rx_frames) <= 13);
    }
    CHECK_EQ(atomic_load(&d->e->nic.stats.rx_frames), 30);
    CHECK(atomic_load(&d->e->nic.stats.rx_limited) > 0);
    drv_free(d);
}
