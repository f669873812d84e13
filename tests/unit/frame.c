/* SPDX-License-Identifier: MIT */
/* The test frame tested: the fake machine does what tests rely on. */
#include "tests/unit/fake.h"

#include <errno.h>
#include <sanitizer/asan_interface.h>
#include <sys/eventfd.h>
#include <unistd.h>

TEST(fake_ram_is_guarded)
{
    struct machine *m = fake_new2(1 << 20, 1ull << 32, 8192);
    uint8_t *low = fake_ram(m, 0, 1 << 20);
    uint8_t *high = fake_ram(m, 1ull << 32, 8192);
    CHECK(!__asan_address_is_poisoned(low));
    CHECK(__asan_address_is_poisoned(low - 1));
    CHECK(__asan_address_is_poisoned(low + (1 << 20)));
    CHECK(__asan_address_is_poisoned(high + 8192));
    CHECK(!ram_ptr(&m->ram, gpa(4096), 1 << 20));
    CHECK(!ram_ptr(&m->ram, gpa(~0ull), 2));
    CHECK(!ram_ptr(&m->ram, gpa(1), ~0ull));
    fake_free(m);
}

TEST(fake_msi_pulses_are_counted)
{
    struct machine *m = fake_new(4096);
    struct irq irq;
    REQUIRE_EQ(irq_msi(m, &irq), 0);
    irq_pulse(&irq);
    CHECK(irq_pending(&irq));
    CHECK_EQ(fake_msis(m, 0xfee00000, FAKE_ANY), 0);
    REQUIRE_EQ(irq_msi_attach(&irq, 0xfee00000, 0x41), 0);
    CHECK_EQ(fake_msis(m, 0xfee00000, 0x41), 1);
    irq_pulse(&irq);
    irq_pulse(&irq);
    irq_detach(&irq);
    CHECK_EQ(fake_msis(m, 0xfee00000, 0x41), 2);
    CHECK_EQ(fake_msis(m, 0xfee00000, 0x41), 0);
    irq_free(&irq);
    fake_free(m);
}

TEST(fake_intx_rises_again_after_eoi_while_level_holds)
{
    struct machine *m = fake_new(4096);
    struct irq irq;
    REQUIRE_EQ(irq_intx(m, &irq, 17), 0);
    irq_set(&irq, true);
    irq_set(&irq, true);
    CHECK(fake_level(m, 17));
    CHECK_EQ(fake_irqs(m, 17), 1);
    fake_eoi(m, 17);
    CHECK_EQ(fake_irqs(m, 17), 1);
    irq_set(&irq, false);
    CHECK(!fake_level(m, 17));
    fake_eoi(m, 17);
    CHECK_EQ(fake_irqs(m, 17), 0);
    irq_free(&irq);
    fake_free(m);
}

TEST(fake_isa_irq_is_an_edge)
{
    struct machine *m = fake_new(4096);
    struct irq irq;
    REQUIRE_EQ(irq_isa(m, &irq, 4), 0);
    irq_pulse(&irq);
    CHECK_EQ(fake_irqs(m, 4), 1);
    fake_eoi(m, 4);
    CHECK_EQ(fake_irqs(m, 4), 0);
    irq_free(&irq);
    fake_free(m);
}

TEST(fake_kicks_match_as_kvm_does)
{
    struct machine *m = fake_new(4096);
    int fd = eventfd(0, EFD_NONBLOCK);
    uint64_t n = 0;
    struct kick any = {.fd = fd, .addr = 0x1000};
    struct kick two = {
        .fd = fd, .addr = 0x1000, .width = 2, .match = true, .data = 1};
    REQUIRE_EQ(m->ops->kick_add(m, &any), 0);
    CHECK_EQ(m->ops->kick_add(m, &any), -EEXIST);
    CHECK(fake_kick_write(m, false, 0x1000, 4, 9));
    CHECK(!fake_kick_write(m, false, 0x1001, 4, 9));
    CHECK(!fake_kick_write(m, true, 0x1000, 4, 9));
    m->ops->kick_del(m, &any);
    REQUIRE_EQ(m->ops->kick_add(m, &two), 0);
    CHECK(!fake_kick_write(m, false, 0x1000, 2, 0));
    CHECK(!fake_kick_write(m, false, 0x1000, 4, 1));
    CHECK(fake_kick_write(m, false, 0x1000, 2, 1));
    CHECK_EQ(read(fd, &n, 8), 8);
    CHECK_EQ(n, 2);
    fake_free(m);
}

TEST(fake_net_blocks_and_fails_when_told)
{
    struct fake_net *f = fake_net_new("fn0", 1);
    struct netbe *be = fake_net_dev(f)->q[0];
    char frame[64] = "frame", got[100];
    struct net_hdr hdr = {.flags = 1};
    struct iovec iov[2] = {{&hdr, NET_HDR_LEN}, {frame, 60}};

    CHECK(netdev_find("fn0") == fake_net_dev(f));
    CHECK_EQ(be->send(be, iov, 2), 72);
    hdr.flags = 0;
    CHECK_EQ(fake_net_take(f, 0, &hdr, got, sizeof(got)), 60);
    CHECK_EQ(hdr.flags, 1);
    CHECK_MEM(got, frame, 60);
    CHECK_EQ(fake_net_take(f, 0, NULL, got, sizeof(got)), -1);

    fake_net_block(f, 0, true);
    CHECK_EQ(be->send(be, iov, 2), 0);
    fake_net_block(f, 0, false);
    CHECK_EQ(be->send(be, iov, 2), 72);
    fake_net_fail_send(f, 1, -EIO);
    CHECK_EQ(be->send(be, iov, 2), -EIO);

    CHECK_EQ(be->recv(be, iov, 2), 0);
    fake_net_give(f, 0, NULL, frame, 60);
    CHECK_EQ(be->recv(be, iov, 2), 72);
    netdev_close_all();
}

static unsigned times_fired;

static void note_fired(struct timer *t)
{
    (void)t;
    times_fired++;
}

TEST(fake_clock_moves_when_told)
{
    struct machine *m = fake_new(4096);
    struct timer t;
    times_fired = 0;
    timer_init(&t, m->loop, note_fired);
    timer_arm(&t, now_ns() + 1000);
    fake_run_loop(m);
    CHECK_EQ(times_fired, 0);
    fake_sleep_ns(m, 1000);
    CHECK_EQ(times_fired, 1);
    fake_free(m);
}

TEST(test_log_holds_what_was_said)
{
    CHECK_EQ(fail(-EBUSY, "tap %s: in use", "t0"), -EBUSY);
    CHECK_STR(test_log(), "vmm: tap t0: in use\n");
    CHECK_STR(test_log(), "");
}
