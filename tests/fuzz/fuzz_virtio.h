/* SPDX-License-Identifier: MIT */
/* What the virtio targets share: a virtio-net with small rings in a small RAM,
 * a driver that plays along as far as the input says, and the proof after each
 * input that a reset brings the device back. Behind RAM's end every byte is
 * poisoned (tests/unit/fake.c): rings and buffers lie against it as often as
 * inside. */
#ifndef FUZZ_VIRTIO_H
#define FUZZ_VIRTIO_H

#include <stdlib.h>

#include "devices/list.h"
#include "devices/virtio_net/state.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/wire.h"
#include "tests/unit/fakedrv.h"

#define FV_RAM 0x14000u
#define FV_SIZE 32u      /* entries of a ring */
#define FV_TABLE 0x8000u /* indirect tables */
#define FV_DATA 0x9000u  /* commands */
#define FV_ACK 0xa000u
#define FV_BUF 0xb000u /* buffers from here on */
#define FV_QUEUES 8u
#define FV_BUDGET 150000u
#define FV_STARTS 3u
#define FV_COMMANDS 3u
#define FV_ACTS 40 /* of an input; what is longer only costs time */

enum {
    FV_NEXT = 1,
    FV_WRITE = 2,
    FV_INDIRECT = 4,
    FV_AVAIL = 128,
    FV_USED = 0x8000
};

struct fv {
    struct machine *m;
    struct wire *net;
    unsigned type;                  /* of device; 0: virtio-net */
    unsigned slot, nq, pairs, ctrl; /* ctrl: its control queue, 0: none */
    unsigned bar_reg, window;       /* its BAR; VIRTIO_PCI_CAP_PCI_CFG */
    uint32_t off[5];                /* in the BAR, by capability type */
    uint64_t bar, common, isr, config, notify;
    bool packed, msix;
    bool end_taken; /* a ring lies at RAM's end: buffers do not */
    uint64_t offered;
    struct {
        uint64_t desc, avail, used; /* packed: ring, driver's and device's */
        uint16_t add;
        bool wrap;
    } q[FV_QUEUES];
    uint32_t budget;           /* bytes that are still given */
    unsigned starts, commands; /* that are still made: they take long */
};

static inline uint64_t fv_ring(unsigned q)
{
    return 0x1000 + 0x800ull * q;
}

/* Where the rings are; one area of one queue may end where RAM does (used rings
 * cannot quite: they begin at a multiple of 4 and are 2 longer). */
static inline void fv_layout(struct fv *v, uint8_t how)
{
    for (unsigned q = 0; q < FV_QUEUES; q++) {
        v->q[q].desc = fv_ring(q);
        v->q[q].avail = fv_ring(q) + 0x200;
        v->q[q].used = fv_ring(q) + 0x400;
    }
    unsigned q = (how >> 3) % v->nq;
    v->end_taken = how & 1;
    if ((how & 7) == 1)
        v->q[q].desc = FV_RAM - 16 * FV_SIZE;
    if ((how & 7) == 3)
        v->q[q].avail = FV_RAM - (v->packed ? 4 : 6 + 2 * FV_SIZE);
    if ((how & 7) == 5)
        v->q[q].used = FV_RAM - (v->packed ? 4 : (6 + 8 * FV_SIZE + 3) & ~3u);
}

/* Room for a buffer: against the end as often as not. */
static inline uint64_t fv_buffer(const struct fv *v, uint8_t how, uint32_t len)
{
    return how & 1 && !v->end_taken && len <= FV_RAM - FV_BUF ? FV_RAM - len
                                                              : FV_BUF;
}

/* Where the four structures are, by the first capability of each type; which
 * BAR and how far in it is the same for the device's life. */
static inline void fv_look(struct fv *v)
{
    unsigned at;
    uint16_t id = (uint16_t)(0x1040 + (v->type ? v->type : 1));
    int slot = drv_find(v->m, 0x1af4, id, 0);
    v->slot = (unsigned)(slot >= 0 ? slot : drv_find(v->m, 0x1af4, 0x1000, 0));
    for (int i = 0; (at = drv_cap(v->m, v->slot, PCI_CAP_VENDOR, i)); i++) {
        unsigned type = drv_cfg_read(v->m, v->slot, at + 3, 1);
        if (type >= 1 && type <= 4) {
            v->bar_reg = drv_cfg_read(v->m, v->slot, at + 4, 1);
            v->off[type] = drv_cfg_read(v->m, v->slot, at + 8, 4);
        } else if (type == 5) {
            v->window = at;
        }
    }
}

static inline void fv_find(struct fv *v)
{
    if (!v->window)
        fv_look(v);
    drv_enable(v->m, v->slot, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
    v->bar = drv_bar(v->m, v->slot, v->bar_reg);
    v->common = v->bar + v->off[1];
    v->notify = v->bar + v->off[2];
    v->isr = v->bar + v->off[3];
    v->config = v->bar + v->off[4];
    v->nq = drv_r16(v->m, v->common + 0x12);
    if (v->nq > FV_QUEUES)
        v->nq = FV_QUEUES;
}

static inline void fv_make(struct fv *v, const char *options, unsigned pairs)
{
    v->m = fake_pc(FV_RAM);
    v->net = wire_new("n0", pairs);
    v->pairs = pairs;
    CHECK_EQ(fake_device(v->m, &virtio_net_class, "fuzz", options), 0);
}

static inline void fv_queue(struct fv *v, unsigned q, unsigned size)
{
    uint64_t c = v->common;
    memset(fake_ram(v->m, v->q[q].desc, 16 * FV_SIZE), 0, 16 * FV_SIZE);
    memset(fake_ram(v->m, v->q[q].avail, 4), 0, 4);
    memset(fake_ram(v->m, v->q[q].used, 4), 0, 4);
    drv_w16(v->m, c + 0x16, (uint16_t)q);
    drv_w16(v->m, c + 0x18, (uint16_t)size);
    drv_w16(v->m, c + 0x1a, (uint16_t)(q + 1));
    drv_w64(v->m, c + 0x20, v->q[q].desc);
    drv_w64(v->m, c + 0x28, v->q[q].avail);
    drv_w64(v->m, c + 0x30, v->q[q].used);
    drv_w16(v->m, c + 0x1c, 1);
    v->q[q].add = 0;
    v->q[q].wrap = true;
}

/* A driver's beginning, with those of the features that are offered. */
static inline void fv_start(struct fv *v, uint64_t want)
{
    const uint64_t many = 1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_RSS;
    uint64_t c = v->common;
    if (!v->starts--) {
        v->starts = 0;
        return;
    }
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
    want &= v->offered;
    v->ctrl = 0;
    if (has(want, VIRTIO_NET_F_CTRL_VQ))
        v->ctrl = want & many ? v->nq - 1 : 2;
    for (unsigned q = 0; q < (v->ctrl > 2 ? v->nq : v->ctrl ? 3 : 2); q++)
        fv_queue(v, q, FV_SIZE);
    drv_w8(v->m, c + 0x14, 15);
}

/* What an input begins with: power-on, nothing on the wire. */
static inline void fv_begin(struct fv *v)
{
    wire_clear(v->net);
    fake_reset(v->m);
    netdev_set_link(&v->net->nd, true);
    fake_run_loop(v->m);
    v->budget = FV_BUDGET;
    v->starts = FV_STARTS;
    v->commands = FV_COMMANDS;
    v->ctrl = 0;
    fv_find(v);
    fv_layout(v, 0);
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
    uint8_t *p = fake_ram(v->m, v->q[q].desc + 16 * i, 16);
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
    if (v->packed)
        return;
    uint16_t *avail = fake_ram(v->m, v->q[q].avail, 4 + 2 * FV_SIZE);
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

/* About as long as buffers are (powers of two, and few of them). */
static inline uint32_t fv_near(struct fuzz *f)
{
    uint8_t how = fuzz_u8(f);
    uint32_t len = (1u + (how >> 4 & 3)) << (4 + how % 13);
    len += fuzz_u8(f);
    len = len > 140 ? len - 140 : 14;
    return len < NET_FRAME_MAX ? len : NET_FRAME_MAX;
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
    uint32_t len = how & 0x80 ? fv_near(f) : 14u + fuzz_u8(f);
    if (how & 0x40) {
        uint64_t bits = fuzz_take(f, 8);
        memcpy(&h, &bits, 8);
    }
    memcpy(frame, mac[how & 3], 6);
    frame[12] = how & 4 ? 0x81 : 0x08;
    frame[13] = 0;
    frame[14] = how & 8 ? fuzz_u8(f) : 0x45;
    frame[15] = how & 8 ? fuzz_u8(f) : 0;
    if (len > v->budget)
        return;
    v->budget -= len;
    wire_give(v->net, (how >> 4 & 3) % v->pairs, &h, frame, len);
}

/* Time, and errors of the wire. A send that gives 0 would block. */
static inline void fv_world(struct fv *v, struct fuzz *f)
{
    static const int errors[] = {0, -5, -105, -22};
    uint8_t how = fuzz_u8(f);
    switch (how & 7) {
    case 0:
        v->net->send_fails = 1 + (how >> 5);
        v->net->send_err = errors[how >> 3 & 3];
        break;
    case 1:
        v->net->recv_fails = 1 + (how >> 5);
        v->net->recv_err = errors[how >> 3 & 3];
        break;
    case 2:
        netdev_set_link(&v->net->nd, how >> 3 & 1);
        break;
    case 3: /* what a coalescing timer waits for */
        fake_advance_ns(1000ull << (how >> 3));
        break;
    default:
        fake_advance_ns(1ull << (how >> 3));
        break;
    }
    fake_run_loop(v->m);
}

/* The device rests, and a driver that starts anew (after a machine's reset
 * where the BARs may have moved) can send and receive. */
static inline void fv_end(struct fv *v, bool moved)
{
    static const uint8_t frame[60] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
    static const struct net_hdr h;
    fake_run_loop(v->m);
    fake_advance_ns(1000000000);
    fake_run_loop(v->m);
    if (moved)
        fv_begin(v);
    wire_clear(v->net);
    netdev_set_link(&v->net->nd, true);
    fv_layout(v, 0);
    v->starts = 1;
    fv_start(v, 0);
    memset(fake_ram(v->m, FV_RAM - 72, 72), 0, 72);
    fv_chain(v, 1, FV_RAM - 72, 1, 72, false);
    fv_chain(v, 0, FV_BUF, 1, 2000, true);
    wire_give(v->net, 0, &h, frame, 60);
    fake_run_loop(v->m);
    CHECK_EQ(v->net->sent_len, 72);
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
        1ull << VIRTIO_NET_F_CTRL_VQ | 1ull << VIRTIO_NET_F_HASH_REPORT |
            1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_RSS |
            1ull << VIRTIO_NET_F_NOTF_COAL | 1ull << VIRTIO_NET_F_VQ_NOTF_COAL,
    };
    uint64_t f = 0;
    for (unsigned i = 0; i < 8; i++)
        f |= bits >> i & 1 ? set[i] : 0;
    return f;
}

/* --------------------------------------------------------- hostile rings */

/* Where a descriptor may point. */
static inline uint64_t fv_somewhere(struct fv *v, struct fuzz *f)
{
    uint8_t how = fuzz_u8(f);
    switch (how & 7) {
    case 0:
        return FV_RAM - fuzz_u8(f);
    case 1:
        return fuzz_take(f, 8);
    case 2:
        return v->q[how >> 4 & 1].desc + 16ull * (fuzz_u8(f) & 31);
    case 3:
        return FV_TABLE + 16ull * (how >> 3);
    default:
        return FV_BUF + (fuzz_u16(f) & 0x7fff);
    }
}

/* An entry of a table for indirect descriptors. */
static inline void fv_table(struct fv *v, struct fuzz *f)
{
    uint8_t *p = fake_ram(v->m, FV_TABLE + 16ull * (fuzz_u8(f) & 31), 16);
    uint64_t at = fv_somewhere(v, f), tail = fuzz_u32(f);
    uint32_t len = fuzz_u16(f);
    memcpy(p, &at, 8);
    memcpy(p + 8, &len, 4);
    memcpy(p + 12, &tail, 4);
}

static inline void fv_one_desc(struct fv *v, struct fuzz *f, unsigned q)
{
    uint8_t how = fuzz_u8(f);
    uint64_t at = fv_somewhere(v, f);
    uint32_t len = how & 0x80 ? fuzz_u32(f) : fuzz_u16(f) & 0xfff;
    uint16_t head = v->q[q].add % FV_SIZE;
    if (how & FV_INDIRECT)
        len = 16 * (len & 31) + (how & 0x40 ? 1 : 0);
    else if (how & 0x20 && len && len <= FV_RAM - FV_BUF)
        at = FV_RAM - len; /* against the end */
    fv_desc(v, q, at, len, how & 7);
    if (how & 0x10)
        fv_show(v, q, head);
}

static inline void fv_poke(struct fv *v, struct fuzz *f)
{
    uint16_t how = fuzz_u16(f);
    unsigned width = 1u << (how & 3);
    uint64_t area = how & 4 ? v->q[how >> 13].desc : v->q[how >> 13].avail;
    uint64_t at = area + (how >> 3 & 0x3ff) % (16 * FV_SIZE);
    uint64_t val = fuzz_take(f, width);
    if (ram_ptr(&v->m->ram, gpa(at), width))
        memcpy(fake_ram(v->m, at, width), &val, width);
}

/* A command in one piece of FV_DATA. */
static inline void fv_command(struct fv *v, uint32_t len)
{
    uint16_t head = v->q[v->ctrl].add % FV_SIZE;
    if (!v->commands)
        return;
    v->commands--;
    fv_desc(v, v->ctrl, FV_DATA, len, FV_NEXT);
    fv_desc(v, v->ctrl, FV_ACK, 1, FV_WRITE);
    fv_show(v, v->ctrl, head);
    fv_kick(v, v->ctrl);
    fake_run_loop(v->m);
}

/* A whole RSS configuration: the longest command, near the valid ones. */
static inline void fv_rss(struct fv *v, struct fuzz *f)
{
    uint8_t b = fuzz_u8(f), *p = fake_ram(v->m, FV_DATA, 512);
    unsigned n = 1u << (b & 7);
    memset(p, 0, 512);
    p[0] = 4;
    p[1] = 1;
    p[2] = fuzz_u8(f) & 0x3f;
    p[6] = (uint8_t)(n - 1);
    p[8] = b >> 4 & 1;
    for (unsigned i = 0; i < n; i++)
        p[10 + 2 * i] = b & 0x20 ? fuzz_u8(f) & 1 : i & 1;
    p[10 + 2 * n] = 2;
    p[12 + 2 * n] = 40;
    p[13 + 2 * n] = fuzz_u8(f);
    fv_command(v, 2 + 8 + 2 * n + 2 + 1 + 40);
}

/* Coalescing that holds interrupts back, for all queues or one. */
static inline void fv_coal(struct fv *v, struct fuzz *f)
{
    uint8_t how = fuzz_u8(f), *p = fake_ram(v->m, FV_DATA, 16);
    uint8_t *params = p + (how & 2 ? 6 : 2);
    memset(p, 0, 16);
    p[0] = 6;
    p[1] = how & 3;
    if (how & 2)
        p[2] = how >> 2 & 7;
    params[0] = how >> 5;
    params[4] = fuzz_u8(f);
    fv_command(v, how & 2 ? 14 : 10);
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
    case 11: { /* the driver's event words */
        uint32_t val = fuzz_u32(f);
        memcpy(fake_ram(v->m, v->q[q].avail + (v->packed ? 0 : 4 + 2 * FV_SIZE),
                        v->packed ? 4 : 2),
               &val, v->packed ? 4 : 2);
        break;
    }
    case 12:
        if (v->ctrl && b & 0x80)
            (b & 0x40 ? fv_rss : fv_coal)(v, f);
        else
            fake_run_loop(v->m);
        break;
    default: {
        uint8_t n = fuzz_u8(f);
        uint32_t count = 1u + (n & 15), each = 1u << (n >> 4);
        if (count * each > FV_RAM - FV_BUF)
            count = 1;
        fv_chain(v, q, fv_buffer(v, b, count * each), count, each, !(q & 1));
        break;
    }
    }
}

#endif
