/* SPDX-License-Identifier: MIT */
/* virtio-net's control queue: commands of any kind, length and framing, while
 * frames arrive that the filters look at. Rings are well-formed here
 * (fuzz_vring_* has the others). */
#include "tests/fuzz/fuzz_virtio.h"

static struct fv v;

/* Command and data as they are in the input, cut into pieces. */
static void command(struct fuzz *f)
{
    static const uint8_t lens[] = {0, 1, 2, 4, 6, 8, 12, 20};
    uint8_t how = fuzz_u8(f);
    uint32_t len = how & 0x80 ? fuzz_u8(f) * 4u : lens[how & 7];
    uint32_t total = len + 2, step = how & 0x40 ? 1u + total / 8 : total;
    uint8_t *p = fake_ram(v.m, FV_DATA, total);
    uint16_t head = v.q[v.ctrl].add % FV_SIZE;
    p[0] = fuzz_u8(f);
    p[1] = fuzz_u8(f);
    if (how & 0x20) {
        p[0] &= 7;
        p[1] &= 7;
    }
    for (uint32_t i = 0; i < len; i++)
        p[2 + i] = fuzz_u8(f);
    *(uint8_t *)fake_ram(v.m, FV_ACK, 1) = 0xee;
    for (uint32_t off = 0; off < total; off += step)
        fv_desc(&v, v.ctrl, FV_DATA + off,
                total - off < step ? total - off : step, FV_NEXT);
    fv_desc(&v, v.ctrl, FV_ACK, how & 0x10 ? 16 : 1, FV_WRITE);
    fv_show(&v, v.ctrl, head);
    fv_kick(&v, v.ctrl);
    fake_run_loop(v.m);
    /* Always answered, and with 0 or 1. */
    CHECK(drv_r8(v.m, v.common + 0x14) & VIRTIO_NEEDS_RESET ||
          *(uint8_t *)fake_ram(v.m, FV_ACK, 1) <= 1);
}

static void restart(struct fuzz *f)
{
    uint64_t drop = 1ull << VIRTIO_F_RING_PACKED | 1ull << VIRTIO_F_IN_ORDER;
    uint8_t bits = fuzz_u8(f);
    const uint64_t many = 1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_RSS;
    if (bits & 1)
        drop |= many;
    if (bits & 2)
        drop |= 1ull << VIRTIO_NET_F_HASH_REPORT;
    if (bits & 4)
        drop |= 1ull << VIRTIO_NET_F_MRG_RXBUF;
    if (bits & 8)
        drop |= 1ull << VIRTIO_NET_F_CTRL_RX;
    fv_start(&v, ~drop);
}

static void act(struct fuzz *f)
{
    uint8_t b = fuzz_u8(f);
    switch (b & 7) {
    case 0:
        fv_give(&v, f);
        break;
    case 1:
        fv_chain(&v, v.ctrl > 2 ? b >> 4 & 2 : 0,
                 fv_buffer(&v, b >> 3, (1u + (b >> 6)) * 1526), 1 + (b >> 6),
                 1526, true);
        break;
    case 2:
        fv_chain(&v, v.ctrl > 2 ? 1 + (b >> 4 & 2) : 1, FV_BUF, 2, 60, false);
        break;
    case 3:
        fv_world(&v, f);
        break;
    case 4:
        if (b & 0x80)
            fv_rss(&v, f);
        else if (b & 0x40)
            restart(f);
        else
            fv_coal(&v, f);
        break;
    default:
        command(f);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    if (!v.m)
        fv_make(&v, "netdev=n0,mac=52:54:00:12:34:56,mq=on,rss=on,hash=on", 2);
    fv_begin(&v);
    fv_layout(&v, fuzz_u8(&f));
    restart(&f);
    for (int i = 0; f.n && i < FV_ACTS; i++)
        act(&f);
    fv_end(&v, false);
    return 0;
}
