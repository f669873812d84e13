/* SPDX-License-Identifier: MIT */
/* virtio-net with a rate limit: what may not go yet is kept, in the guest's
 * ring or in the backend, and goes in time; nobody spins meanwhile. */
#include "tests/unit/devices/limit.h"

#include <errno.h>

#include "devices/list.h"
#include "tests/unit/fakevirtio.h"

#define MS 1000000ull

static uint8_t frame[2048];

/* 20 at once, as the bucket is full, then 100 in a second. */
BOTH_RINGS(limit_virtio_net_keeps_what_the_guest_sends_in_its_ring)
{
    struct vd d = {.opts = "tx-ops=100,tx-ops-burst=20", .qsize = 256};
    vd_up(&d, packed, 0);
    for (unsigned i = 0; i < 120; i++) {
        vd_frame(frame, 100, i);
        vd_send(&d, TX0, NULL, frame, 100);
    }
    vd_kick(&d, TX0);
    check_quiet(d.m);
    CHECK_EQ(taken(d.net), 20);
    CHECK_EQ(vd_reap(&d.q[TX0]), 20);
    CHECK_EQ(pass(d.m, d.net, 9), 0);
    CHECK_EQ(pass(d.m, d.net, 1), 1);
    CHECK_EQ(pass(d.m, d.net, 500), 50);
    vd_kick(&d, TX0); /* changes nothing */
    CHECK_EQ(pass(d.m, d.net, 490), 49);
    CHECK_EQ(vd_reap(&d.q[TX0]), 100);
    CHECK(vd_count(&d, "tx_limited") >= 100);
    CHECK_EQ(vd_count(&d, "tx_blocked"), 0);
    CHECK_EQ(vd_count(&d, "tx_frames"), 120);
    pass(d.m, d.net, 1000);
    vd_check_alive(&d);
    vd_free(&d);
}

BOTH_RINGS(limit_virtio_net_leaves_what_comes_in_the_backend)
{
    struct vd d = {.opts = "rx-rate=100000,rx-burst=1000"};
    vd_up(&d, packed, 0);
    for (unsigned i = 0; i < 64; i++)
        vd_post(&d, RX0, 2048);
    vd_kick(&d, RX0);
    for (unsigned i = 0; i < 40; i++)
        fake_net_give(d.net, 0, NULL, frame, 1000);
    check_quiet(d.m);
    unsigned first = vd_reap(&d.q[RX0]), n = 0;
    CHECK(first >= 1 && first <= 2);
    for (unsigned i = 0; i < 100; i++) {
        fake_advance_ns(MS);
        check_quiet(d.m);
        if (i % 7 == 0)
            vd_kick(&d, RX0);
        n += vd_reap(&d.q[RX0]);
    }
    CHECK(n >= 9 && n <= 11); /* 100 bytes a millisecond */
    for (unsigned i = 0; i < 400; i++) {
        fake_advance_ns(MS);
        check_quiet(d.m);
        n += vd_reap(&d.q[RX0]);
    }
    CHECK_EQ(first + n, 40);
    CHECK(vd_count(&d, "rx_limited") > 0);
    CHECK_EQ(vd_count(&d, "rx_drop_no_buffer"), 0);
    vd_free(&d);
}

BOTH_RINGS(limit_virtio_net_changes_while_it_runs)
{
    struct vd d = {.qsize = 256};
    vd_up(&d, packed, 0);
    CHECK_EQ(limit(d.dev, "tx.ops.size=1,tx.ops.refill_time=1000"), 0);
    for (unsigned i = 0; i < 100; i++)
        vd_send(&d, TX0, NULL, frame, 100);
    vd_kick(&d, TX0);
    CHECK_EQ(taken(d.net), 1);
    CHECK_EQ(pass(d.m, d.net, 1000), 1);
    CHECK_EQ(limit(d.dev, "tx.ops.size=10,tx.ops.refill_time=100"), 0);
    fake_run_loop(d.m);
    CHECK_EQ(taken(d.net), 10);
    CHECK_EQ(pass(d.m, d.net, 100), 10);
    CHECK_EQ(limit(d.dev, "tx.ops.size=0,tx.ops.refill_time=0"), 0);
    fake_run_loop(d.m);
    CHECK_EQ(taken(d.net), 78);
    CHECK_EQ(limit(d.dev, "tx.ops.size=x"), -EINVAL);
    CHECK_EQ(limit(d.dev, "tx.colour=1"), -EINVAL);
    CHECK_EQ(vd_reap(&d.q[TX0]), 100);
    vd_check_alive(&d);
    vd_free(&d);
}

BOTH_RINGS(limit_virtio_net_reset_and_hold_while_it_waits)
{
    struct vd d = {.opts = "tx-ops=10,tx-ops-burst=1"};
    vd_up(&d, packed, 0);
    for (unsigned i = 0; i < 5; i++)
        vd_send(&d, TX0, NULL, frame, 100);
    vd_kick(&d, TX0);
    CHECK_EQ(taken(d.net), 1);
    device_hold(d.dev);
    CHECK_EQ(pass(d.m, d.net, 500), 0);
    device_resume(d.dev);
    fake_run_loop(d.m);
    CHECK_EQ(taken(d.net), 1);
    CHECK_EQ(pass(d.m, d.net, 100), 1);
    vd_set(&d, C_STATUS, 1, 0);
    CHECK_EQ(pass(d.m, d.net, 500), 0);
    vd_free(&d);
}

TEST(limit_keys_that_do_not_fit_are_refused)
{
    static const char *const bad[][2] = {
        {"rx-burst=10", "rx-burst= needs rx-rate="},
        {"tx-ops-burst=10", "tx-ops-burst= needs tx-ops="},
        {"tx-rate=x", "tx-rate x"},
    };
    struct machine *m = fake_pc(1 << 20);
    fake_net_new("limit-a", 1);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_EQ(fake_device(m, &virtio_net_class, "virtio", bad[i][0]),
                 -EINVAL);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    CHECK_EQ(fake_device(m, &virtio_net_class, "virtio", "tx-rate=1M"),
             -EINVAL);
    CHECK_HAS(test_log(), "a rate limit needs a netdev");
    netdev_close_all();
    fake_free(m);
}
