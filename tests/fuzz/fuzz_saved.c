/* SPDX-License-Identifier: MIT */
/* A state file from anybody, with the sum it ought to have, into a whole
 * machine. What is taken goes on, and is saved as something that can be loaded
 * again. */
#include <stdlib.h>

#include "base/sum.h"
#include "devices/list.h"
#include "machine/saved.h"
#include "tests/fuzz/fuzz.h"

#define FILE_MAX (1u << 16)
#define HEAD 16 /* magic, version, bytes: base/parts.c */

static struct machine *make(void)
{
    static const struct device_class *const board[] = {BOARD_ROWS};
    struct machine *m = fake_pc(16 << 20);
    fake_net_new("n0", 1);
    REQUIRE_EQ(fake_device(m, &virtio_net_class, "-device", "netdev=n0"), 0);
    for (size_t i = 0; i < ARRAY_LEN(board); i++)
        REQUIRE_EQ(fake_device(m, board[i], board[i]->name, ""), 0);
    REQUIRE_EQ(fake_device(m, &vmgenid_class, "vmgenid", ""), 0);
    REQUIRE_EQ(fake_device(m, &serial_class, "-serial", "to=null"), 0);
    machine_pause(m);
    return m;
}

/* Its parts are the input's; header and sum are made right. */
static size_t seal(uint8_t *p, size_t n)
{
    const uint16_t version = PARTS_VERSION;
    uint32_t bytes = (uint32_t)(n - HEAD);
    memcpy(p, "vmm state\n", 10);
    memcpy(p + 10, &version, 2);
    memcpy(p + 12, &bytes, 4);
    uint64_t sum = sum_of(p, n);
    memcpy(p + n, &sum, 8);
    return n + 8;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine *m;
    if (!m)
        m = make();
    if (size < HEAD || size > FILE_MAX)
        return 0;
    struct saved s = {.p = malloc(size + 8)};
    REQUIRE(s.p != NULL);
    memcpy(s.p, data, size);
    s.len = seal(s.p, size);
    if (!parts_check("f", s.p, s.len)) {
        saved_open(&s, "f");
        if (!saved_load_devices(m, &s)) {
            struct parts o = {0};
            machine_resume(m);
            fake_run_loop(m);
            machine_pause(m);
            CHECK_EQ(saved_put_devices(m, &o), 0);
            CHECK_EQ(parts_end(&o), 0);
            struct saved again = {.p = o.p, .len = o.n};
            CHECK_EQ(saved_load_devices(m, &again), 0);
            parts_free(&o);
        }
        for (struct device *d = m->devices; d; d = d->next)
            if (d->reset)
                d->reset(d);
    }
    free(s.p);
    return 0;
}
