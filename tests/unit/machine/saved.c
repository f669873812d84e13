/* SPDX-License-Identifier: MIT */
/* A machine's state file: one of each format version that was ever written,
 * and what it may not say. KVM's part is machine/kvm/state.c's. */
#include "machine/saved.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/state.h"
#include "base/sum.h"
#include "devices/list.h"
#include "tests/unit/fake.h"

#define FORMAT_1 "tests/unit/machine/format1.state"

/* The machine that FORMAT_1 is of: the bundled guest, on a TAP, with 16 MiB. */
static struct machine *board(const struct device_class *nic)
{
    struct machine *m = fake_pc(16 << 20);
    netdev_close_all();
    fake_net_new("n0", 1);
    REQUIRE_EQ(fake_device(m, nic, "-device", "netdev=n0"), 0);
    static const struct device_class *const classes[] = {BOARD_ROWS};
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        REQUIRE_EQ(fake_device(m, classes[i], classes[i]->name, ""), 0);
    REQUIRE_EQ(fake_device(m, &vmgenid_class, "vmgenid", ""), 0);
    REQUIRE_EQ(fake_device(m, &serial_class, "-serial", "to=null"), 0);
    machine_pause(m);
    return m;
}

static struct saved kept(void)
{
    struct saved s = {.p = malloc(1 << 16)};
    FILE *f = fopen(FORMAT_1, "rb");
    REQUIRE(f != NULL && s.p != NULL);
    s.len = fread(s.p, 1, 1 << 16, f);
    fclose(f);
    return s;
}

/* For ever: or its version is refused by name. */
TEST(saved_format_1_goes_on)
{
    struct saved s = kept();
    struct part part;
    struct machine *m = board(&virtio_net_class);
    REQUIRE_EQ(parts_check("f", s.p, s.len), 0);
    REQUIRE_EQ(saved_open(&s, "f"), 0);
    CHECK_EQ(s.ram, 16 << 20);
    CHECK_EQ(s.cpus, 1);
    CHECK_EQ(s.guest, 1);
    CHECK_EQ(saved_part(&s, "cpuid", &part), 0);
    CHECK_EQ(saved_part(&s, "kvm", &part), 0);
    CHECK_EQ(saved_load_devices(m, &s), 0);
    machine_resume(m);
    fake_run_loop(m);
    free(s.p);
    fake_free(m);
}

/* What is saved again is the same, device by device. */
TEST(saved_devices_are_the_same_again)
{
    struct saved s = kept();
    struct parts o = {0};
    struct part was, is;
    struct machine *m = board(&virtio_net_class);
    size_t a = 0, b = 0;
    REQUIRE_EQ(saved_load_devices(m, &s), 0);
    REQUIRE_EQ(saved_put_devices(m, &o), 0);
    REQUIRE_EQ(parts_end(&o), 0);
    unsigned n = 0;
    while (parts_next(s.p, s.len, &a, &was)) {
        if (strncmp(was.name, "device.", 7) != 0)
            continue;
        REQUIRE(parts_next(o.p, o.n, &b, &is));
        CHECK_STR(is.name, was.name);
        CHECK_EQ(is.len, was.len);
        CHECK_MEM(is.p, was.p, was.len);
        n++;
    }
    CHECK_EQ(n, 8);
    parts_free(&o);
    free(s.p);
    fake_free(m);
}

TEST(saved_devices_that_are_others_are_named)
{
    struct saved s = kept();
    struct machine *m = board(&e1000_class);
    CHECK_EQ(saved_load_devices(m, &s), -EINVAL);
    CHECK_HAS(test_log(), "there device.1.virtio-net-pci, here device.1.e1000");
    REQUIRE_EQ(fake_device(m, &virtio_rng_class, "rng", ""), 0);
    fake_free(m);
    m = board(&virtio_net_class);
    REQUIRE_EQ(fake_device(m, &virtio_rng_class, "rng", ""), 0);
    CHECK_EQ(saved_load_devices(m, &s), -EINVAL);
    CHECK_HAS(test_log(), "there no device.8.virtio-rng-pci, here device.8");
    free(s.p);
    fake_free(m);
}

/* The part "machine" alone. */
static int open_with(struct saved with)
{
    struct parts o = {0};
    saved_put(&with, &o);
    REQUIRE_EQ(parts_end(&o), 0);
    struct saved s = {.p = o.p, .len = o.n};
    int err = saved_open(&s, "f");
    parts_free(&o);
    return err;
}

TEST(saved_machines_that_cannot_be_are_refused)
{
    const struct saved good = {
        .ram = 64 << 20, .cpus = 4, .threads = 2, .package = 4, .guest = 1};
    struct saved s = good;
    CHECK_EQ(open_with(s), 0);
#define BAD(member, value)                                                     \
    s = good;                                                                  \
    s.member = value;                                                          \
    CHECK_EQ(open_with(s), -EINVAL)
    BAD(ram, 0);
    BAD(ram, (64 << 20) + 1);
    BAD(ram, 1ull << 60);
    BAD(cpus, 0);
    BAD(cpus, 33);
    BAD(cpus, 0xffffffff);
    BAD(cpus, 5);
    BAD(threads, 0);
    BAD(threads, 3);
    BAD(threads, 8);
    BAD(package, 0);
    BAD(package, 3);
    BAD(package, 8);
    BAD(bios, 2);
    struct parts none = {0};
    REQUIRE_EQ(parts_end(&none), 0);
    s = (struct saved){.p = none.p, .len = none.n};
    CHECK_EQ(saved_open(&s, "f"), -EINVAL);
    CHECK_HAS(test_log(), "f: has no part machine");
    parts_free(&none);
}

/* With a sum that is right, as somebody who means it makes it. */
TEST(saved_state_of_anybody_does_no_harm)
{
    struct saved s = kept();
    uint8_t *p = malloc(s.len);
    struct machine *m = board(&virtio_net_class);
    REQUIRE(p != NULL);
    test_timeout(60);
    for (unsigned i = 0; i < 400; i++) {
        memcpy(p, s.p, s.len);
        for (unsigned n = test_random() % 4 + 1; n; n--)
            p[test_random() % s.len] ^= (uint8_t)(1 << test_random() % 8);
        uint64_t sum = sum_of(p, s.len - 8);
        memcpy(p + s.len - 8, &sum, 8);
        struct saved bent = {.p = p, .len = s.len};
        if (parts_check("f", p, s.len) || saved_open(&bent, "f"))
            continue;
        if (!saved_load_devices(m, &bent)) {
            machine_resume(m);
            fake_run_loop(m);
            machine_pause(m);
        }
        test_log();
    }
    free(p);
    free(s.p);
    fake_free(m);
}
