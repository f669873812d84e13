/* SPDX-License-Identifier: MIT */
/* A virtio device of one file, without a wire: hostile rings of either kind, a
 * driver that comes and goes, rests in between. */
#ifndef FUZZ_SMALL_H
#define FUZZ_SMALL_H

#include <stdio.h>

#include "tests/fuzz/fuzz_virtio.h"

static inline void fs_make(struct fv *v, const struct device_class *cls,
                           unsigned type, const char *options, bool packed)
{
    char text[256];
    v->m = fake_pc(FV_RAM);
    v->type = type;
    v->packed = packed;
    snprintf(text, sizeof(text), "packed=%s%s", packed ? "on" : "off", options);
    CHECK_EQ(fake_device(v->m, cls, "fuzz", text), 0);
}

static inline struct device *fs_device(struct fv *v)
{
    struct device *dev = v->m->devices;
    while (dev->next)
        dev = dev->next;
    return dev;
}

/* A driver's beginning, without the features of `drop`. */
static inline void fs_start(struct fv *v, uint64_t drop)
{
    uint64_t c = v->common;
    drv_w8(v->m, c + 0x14, 0);
    drv_w8(v->m, c + 0x14, 3);
    drop &= ~(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_PACKED);
    for (unsigned i = 0; i < 2; i++) {
        drv_w32(v->m, c, i);
        uint32_t bits = drv_r32(v->m, c + 4);
        drv_w32(v->m, c + 8, i);
        drv_w32(v->m, c + 12, bits & ~(uint32_t)(drop >> 32 * i));
    }
    drv_w8(v->m, c + 0x14, 11);
    for (unsigned q = 0; q < v->nq; q++)
        fv_queue(v, q, FV_SIZE);
    drv_w8(v->m, c + 0x14, 15);
}

static inline void fs_begin(struct fv *v, uint8_t how, uint64_t drop)
{
    fake_reset(v->m);
    fake_run_loop(v->m);
    fv_find(v);
    fv_layout(v, how);
    fs_start(v, drop);
}

static inline void fs_act(struct fv *v, struct fuzz *f)
{
    uint8_t b = fuzz_u8(f);
    unsigned q = (b >> 4) % v->nq;
    switch (b & 15) {
    case 0:
    case 1:
    case 2:
        fv_one_desc(v, f, q);
        break;
    case 3:
        fv_poke(v, f);
        break;
    case 4:
        fv_table(v, f);
        break;
    case 5: /* a queue reset, if negotiated */
        drv_w16(v->m, v->common + 0x16, (uint16_t)q);
        drv_w16(v->m, v->common + 0x3a, 1);
        fv_queue(v, q, 1u << (fuzz_u8(f) % 6));
        break;
    case 6:
        fs_start(v, (uint64_t)fuzz_u8(f) << (b & 0x80 ? 28 : 0));
        break;
    case 7: /* a rest, and what is remembered is loaded */
        device_hold(fs_device(v));
        if (b & 0x80 && !fs_device(v)->cls->stays) {
            static uint8_t state[4096];
            size_t n = device_save(fs_device(v), state, sizeof(state));
            CHECK(n <= sizeof(state));
            CHECK_EQ(device_load(fs_device(v), state, n), 0);
        }
        device_resume(fs_device(v));
        break;
    case 8:
        fake_advance_ns(1000000ull << (b >> 3));
        fake_run_loop(v->m);
        break;
    case 9:
        fake_run_loop(v->m);
        break;
    case 10: /* one turn only */
        loop_poll(v->m->loop, 0);
        break;
    case 11:
        fv_kick(v, q);
        break;
    default: {
        uint8_t n = fuzz_u8(f);
        uint32_t count = 1u + (n & 7), each = 1u << (n >> 4);
        if (count * each > FV_RAM - FV_BUF)
            count = 1;
        fv_chain(v, q, fv_buffer(v, b, count * each), count, each, n & 8);
        break;
    }
    }
}

/* A driver that starts anew has its chain on queue q answered. */
static inline void fs_end(struct fv *v, unsigned q, uint32_t len, bool write)
{
    fake_run_loop(v->m);
    fs_begin(v, 0, 0);
    uint16_t *used = fake_ram(v->m, v->q[q].used, 4);
    fv_chain(v, q, FV_BUF, 1, len, write);
    fake_run_loop(v->m);
    fake_advance_ns(1000000000); /* a rate's period is over */
    fake_run_loop(v->m);
    if (v->packed)
        CHECK(((uint16_t *)fake_ram(v->m, v->q[q].desc, 16))[7] & FV_USED);
    else
        CHECK_EQ(used[1], 1);
    CHECK_EQ(drv_r8(v->m, v->common + 0x14), 15);
}

#endif
