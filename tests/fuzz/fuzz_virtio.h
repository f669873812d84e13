/* SPDX-License-Identifier: MIT */
/* What the virtio targets share: a virtio-net with small rings at fixed places
 * in a small RAM, a driver that plays along as far as the input says, and the
 * proof after each input that a reset brings the device back. */
#ifndef FUZZ_VIRTIO_H
#define FUZZ_VIRTIO_H

#include <stdlib.h>
#include <sys/socket.h>

#include "devices/virtio_net/state.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fakedrv.h"

#define FV_RAM 0x40000u
#define FV_SIZE 32u      /* entries of a ring */
#define FV_BUF 0x10000u  /* buffers from here on */
#define FV_TABLE 0xf000u /* indirect tables */
#define FV_QUEUES 8u
#define FV_BUDGET 150000u

enum {
    FV_NEXT = 1,
    FV_WRITE = 2,
    FV_INDIRECT = 4,
    FV_AVAIL = 128,
    FV_USED = 0x8000
};

struct fv {
    struct machine *m;
    struct fake_net *net;
    unsigned slot, nq, pairs;
    uint64_t bar, common, isr, config, notify;
    bool packed, msix;
    uint64_t offered;
    struct {
        uint16_t add;
        bool wrap;
    } q[FV_QUEUES];
    uint32_t budget; /* bytes the sockets still take */
};

static inline uint64_t fv_ring(unsigned q) /* avail at +0x200, used at +0x400 */
{
    return 0x1000 + 0x800ull * q;
}

/* The four structures, by the first capability of each type. */
static inline void fv_find(struct fv *v)
{
    uint64_t *const where[] = {NULL, &v->common, &v->notify, &v->isr,
                               &v->config};
    unsigned at;
    int slot = drv_find(v->m, 0x1af4, 0x1041, 0);
    v->slot = (unsigned)(slot >= 0 ? slot : drv_find(v->m, 0x1af4, 0x1000, 0));
    drv_enable(v->m, v->slot, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
    for (int i = 0; (at = drv_cap(v->m, v->slot, PCI_CAP_VENDOR, i)); i++) {
        unsigned type = drv_cfg_read(v->m, v->slot, at + 3, 1);
        if (type < 1 || type > 4)
            continue;
        v->bar = drv_bar(v->m, v->slot, drv_cfg_read(v->m, v->slot, at + 4, 1));
        *where[type] = v->bar + drv_cfg_read(v->m, v->slot, at + 8, 4);
    }
    v->nq = drv_r16(v->m, v->common + 0x12);
    if (v->nq > FV_QUEUES)
        v->nq = FV_QUEUES;
}

static inline void fv_make(struct fv *v, const char *options, unsigned pairs)
{
    v->m = fake_pc(FV_RAM);
    v->net = fake_net_new("n0", pairs);
    v->pairs = pairs;
    CHECK_EQ(fake_device(v->m, &virtio_net_class, "fuzz", options), 0);
}

static inline void fv_queue(struct fv *v, unsigned q, unsigned size)
{
    uint64_t c = v->common, ring = fv_ring(q);
    memset(fake_ram(v->m, ring, 0x800), 0, 0x800);
    drv_w16(v->m, c + 0x16, (uint16_t)q);
    drv_w16(v->m, c + 0x18, (uint16_t)size);
    drv_w16(v->m, c + 0x1a, (uint16_t)(q + 1));
    drv_w64(v->m, c + 0x20, ring);
    drv_w64(v->m, c + 0x28, ring + 0x200);
    drv_w64(v->m, c + 0x30, ring + 0x400);
    drv_w16(v->m, c + 0x1c, 1);
    v->q[q].add = 0;
    v->q[q].wrap = true;
}

/* A driver's beginning, with those of the features that are offered. */
static inline void fv_start(struct fv *v, uint64_t want)
{
    uint64_t c = v->common;
    drv_w8(v->m, c + 0x14, 0);
    want |= 1ull << VIRTIO_F_VERSION_1;
    if (v->packed)
        want |= 1ull << VIRTIO_F_RING_PACKED;
    drv_w8(v->m, c + 0x14, 3);
    v->offered = 0;
    for (unsigned i = 0; i < 2; i++) {
        drv_w32(v->m, c, i);
        uint32_t bits = drv_r32(v->m, c + 4);
        v->offered |= (uint64_t)bits << 32 * i;
        drv_w32(v->m, c + 8, i);
        drv_w32(v->m, c + 12, bits & (uint32_t)(want >> 32 * i));
    }
    drv_w8(v->m, c + 0x14, 11);
    for (unsigned q = 0; q < v->nq; q++)
        fv_queue(v, q, FV_SIZE);
    drv_w8(v->m, c + 0x14, 15);
}

/* What an input begins with: power-on, nothing on the wire. */
static inline void fv_begin(struct fv *v)
{
    uint8_t byte;
    fake_net_fail_send(v->net, 0, 0);
    fake_net_fail_recv(v->net, 0, 0);
    fake_reset(v->m);
    for (unsigned i = 0; i < v->pairs; i++) {
        struct netbe *be = fake_net_dev(v->net)->q[i];
        while (fake_net_take(v->net, i, NULL, &byte, 1) >= 0)
            continue;
        while (recv(be->fd, &byte, 1, MSG_DONTWAIT) >= 0)
            continue;
    }
    netdev_set_link(fake_net_dev(v->net), true);
    fake_run_loop(v->m);
    v->budget = FV_BUDGET;
    fv_find(v);
    CHECK_EQ(drv_r8(v->m, v->common + 0x14), 0);
}

static inline void fv_kick(struct fv *v, unsigned q)
{
    drv_w16(v->m, v->notify + 4ull * q, (uint16_t)q);
}

/* One descriptor as the driver would write it next; packed: makes it
 * available. */
static inline void fv_desc(struct fv *v, unsigned q, uint64_t at, uint32_t len,
                           uint16_t flags)
{
    unsigned i = v->q[q].add % FV_SIZE;
    uint8_t *p = fake_ram(v->m, fv_ring(q) + 16 * i, 16);
    uint16_t tail[2] = {flags, (uint16_t)((i + 1) % FV_SIZE)};
    if (v->packed) {
        tail[0] = (uint16_t)i;
        tail[1] = (uint16_t)((flags & ~(FV_AVAIL | FV_USED)) |
                             (v->q[q].wrap ? FV_AVAIL : FV_USED));
    }
    memcpy(p, &at, 8);
    memcpy(p + 8, &len, 4);
    memcpy(p + 12, tail, 4);
    if (++v->q[q].add % FV_SIZE == 0)
        v->q[q].wrap = !v->q[q].wrap;
}

/* Split: shows a chain that begins at `head`. */
static inline void fv_show(struct fv *v, unsigned q, uint16_t head)
{
    uint16_t *avail = fake_ram(v->m, fv_ring(q) + 0x200, 4 + 2 * FV_SIZE);
    if (v->packed)
        return;
    avail[2 + avail[1] % FV_SIZE] = head;
    avail[1]++;
}

/* A chain of n pieces of `each` bytes, shown and kicked. */
static inline void fv_chain(struct fv *v, unsigned q, uint64_t at, unsigned n,
                            uint32_t each, bool write)
{
    uint16_t head = v->q[q].add % FV_SIZE;
    for (unsigned i = 0; i < n; i++)
        fv_desc(v, q, at + (uint64_t)i * each, each,
                (uint16_t)((i + 1 < n ? FV_NEXT : 0) | (write ? FV_WRITE : 0)));
    fv_show(v, q, head);
    fv_kick(v, q);
}

/* A frame arrives: addresses and types such that filters have a choice. */
static inline void fv_give(struct fv *v, struct fuzz *f)
{
    static uint8_t frame[NET_FRAME_MAX];
    static const uint8_t mac[4][6] = {{0x52, 0x54, 0, 0x12, 0x34, 0x56},
                                      {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
                                      {0x33, 0x33, 0, 0, 0, 1},
                                      {2, 0, 0, 0, 0, 9}};
    struct net_hdr h = {0};
    uint8_t how = fuzz_u8(f);
    uint32_t len = how & 0x80 ? fuzz_u16(f) : 14u + fuzz_u8(f);
    if (how & 0x40) {
        uint64_t bits = fuzz_take(f, 8);
        memcpy(&h, &bits, 8);
    }
    memcpy(frame, mac[how & 3], 6);
    frame[12] = how & 4 ? 0x81 : 0x08;
    frame[13] = 0;
    frame[14] = how & 8 ? fuzz_u8(f) : 0x45;
    frame[15] = how & 8 ? fuzz_u8(f) : 0;
    uint32_t cost = 2 * len + 1000; /* the kernel rounds up to 2^n */
    if (cost > v->budget)
        return;
    v->budget -= cost;
    fake_net_give(v->net, (how >> 4 & 3) % v->pairs, &h, frame, len);
}

static inline void fv_drain(struct fv *v)
{
    uint8_t byte;
    for (unsigned i = 0; i < v->pairs; i++)
        while (fake_net_take(v->net, i, NULL, &byte, 1) >= 0)
            continue;
}

/* Time, and errors of the wire. A send that gives 0 would block. */
static inline void fv_world(struct fv *v, struct fuzz *f)
{
    static const int errors[] = {0, -5, -105, -22};
    uint8_t how = fuzz_u8(f);
    switch (how & 7) {
    case 0:
        fake_net_fail_send(v->net, 1 + (how >> 5), errors[how >> 3 & 3]);
        break;
    case 1:
        fake_net_fail_recv(v->net, 1 + (how >> 5), errors[how >> 3 & 3]);
        break;
    case 2:
        netdev_set_link(fake_net_dev(v->net), how >> 3 & 1);
        break;
    case 3:
        fv_drain(v);
        break;
    default:
        fake_advance_ns(1ull << (how >> 3));
        break;
    }
    fake_run_loop(v->m);
}

/* The device rests, and a driver that starts anew can send and receive. */
static inline void fv_end(struct fv *v)
{
    static const uint8_t frame[60] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
    uint8_t got[64];
    fake_run_loop(v->m);
    fake_advance_ns(1000000000);
    fake_run_loop(v->m);
    fv_begin(v);
    fv_start(v, 0);
    memset(fake_ram(v->m, FV_BUF, 4096), 0, 4096);
    fv_chain(v, 1, FV_BUF, 1, 72, false);
    fv_chain(v, 0, FV_BUF, 1, 2000, true);
    fake_net_give(v->net, 0, NULL, frame, 60);
    fake_run_loop(v->m);
    CHECK_EQ(fake_net_take(v->net, 0, NULL, got, 64), 60);
    CHECK_EQ(*(uint8_t *)fake_ram(v->m, FV_BUF + 12, 1), 0x52);
    CHECK_EQ(drv_r8(v->m, v->common + 0x14), 15);
}

/* Each bit of the byte switches some features. */
static inline uint64_t fv_features(uint8_t bits)
{
    static const uint64_t set[8] = {
        1ull << VIRTIO_F_EVENT_IDX,
        1ull << VIRTIO_F_INDIRECT_DESC,
        1ull << VIRTIO_NET_F_MRG_RXBUF,
        1ull << VIRTIO_F_RING_RESET | 1ull << VIRTIO_NET_F_STATUS,
        1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 |
            1ull << VIRTIO_NET_F_HOST_TSO6 | 1ull << VIRTIO_NET_F_HOST_ECN,
        1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 |
            1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN,
        1ull << VIRTIO_F_IN_ORDER,
        1ull << VIRTIO_NET_F_CTRL_VQ | 1ull << VIRTIO_NET_F_HASH_REPORT,
    };
    uint64_t f = 0;
    for (unsigned i = 0; i < 8; i++)
        f |= bits >> i & 1 ? set[i] : 0;
    return f;
}

/* --------------------------------------------------------- hostile rings */

/* Where a descriptor may point. */
static inline uint64_t fv_somewhere(struct fuzz *f)
{
    uint8_t how = fuzz_u8(f);
    switch (how & 7) {
    case 0:
        return FV_RAM - fuzz_u8(f);
    case 1:
        return fuzz_take(f, 8);
    case 2:
        return fv_ring(how >> 4 & 1) + 16ull * fuzz_u8(f);
    case 3:
        return FV_TABLE + 16ull * (how >> 3);
    default:
        return FV_BUF + fuzz_u16(f);
    }
}

/* An entry of a table for indirect descriptors. */
static inline void fv_table(struct fv *v, struct fuzz *f)
{
    uint8_t *p = fake_ram(v->m, FV_TABLE + 16ull * (fuzz_u8(f) & 31), 16);
    uint64_t at = fv_somewhere(f), tail = fuzz_u32(f);
    uint32_t len = fuzz_u16(f);
    memcpy(p, &at, 8);
    memcpy(p + 8, &len, 4);
    memcpy(p + 12, &tail, 4);
}

static inline void fv_one_desc(struct fv *v, struct fuzz *f, unsigned q)
{
    uint8_t how = fuzz_u8(f);
    uint64_t at = fv_somewhere(f);
    uint32_t len = how & 0x80 ? fuzz_u32(f) : fuzz_u16(f) & 0xfff;
    uint16_t head = v->q[q].add % FV_SIZE;
    if (how & FV_INDIRECT)
        len = 16 * (len & 31) + (how & 0x40 ? 1 : 0);
    fv_desc(v, q, at, len, how & 7);
    if (how & 0x10)
        fv_show(v, q, head);
}

static inline void fv_poke(struct fv *v, struct fuzz *f)
{
    uint64_t at = 0x1000 + fuzz_u16(f) % 0x1000;
    uint64_t val = fuzz_take(f, 1u << (at & 3));
    memcpy(fake_ram(v->m, at, 8), &val, 1u << (at & 3));
}

static inline void fv_act(struct fv *v, struct fuzz *f)
{
    uint8_t b = fuzz_u8(f);
    unsigned q = (b >> 4) % v->nq;
    switch (b & 15) {
    case 0:
    case 1:
        fv_one_desc(v, f, q);
        break;
    case 2:
        fv_kick(v, q);
        break;
    case 3:
    case 4:
        fv_give(v, f);
        break;
    case 5:
        fv_poke(v, f);
        break;
    case 6:
        fv_world(v, f);
        break;
    case 7:
        fv_table(v, f);
        break;
    case 8: /* a queue reset, if negotiated */
        drv_w16(v->m, v->common + 0x16, (uint16_t)q);
        drv_w16(v->m, v->common + 0x3a, 1);
        fv_queue(v, q, 1u << (fuzz_u8(f) % 6));
        break;
    case 9:
        fv_start(v, fv_features(fuzz_u8(f)));
        break;
    case 10: /* the header of what is sent next */
        for (unsigned i = 0; i < 12; i++)
            *(uint8_t *)fake_ram(v->m, FV_BUF + i, 1) = fuzz_u8(f);
        break;
    case 11: /* the driver's event words */
        memcpy(fake_ram(v->m, fv_ring(q) + (v->packed ? 0x200 : 0x244), 4),
               &(uint32_t){fuzz_u32(f)}, 4);
        break;
    case 12:
        fake_run_loop(v->m);
        break;
    default: {
        uint8_t n = fuzz_u8(f);
        fv_chain(v, q, FV_BUF, 1 + (n & 15), 1u << (n >> 4), !(q & 1));
        break;
    }
    }
}

#endif
