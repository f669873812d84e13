/* SPDX-License-Identifier: MIT */
/* What the verbs of a virtqueue cost: each ring, chains of one descriptor, of
 * four, and of four in an indirect table. */
#include "devices/virtio/queue.h"

#include <stdio.h>

#include "tests/cost/cost.h"
#include "tests/unit/devices/virtio/ring.h"

#define RAM (1u << 20)
#define BASE 0x10000
#define TABLE 0x40000
#define BUF 0x80000
#define SIZE 64
#define BATCH 4 /* chains in a row; times four descriptors divides SIZE */

enum step { POP, PUSH, WANTED, REARM, MORE };
static const char *const verbs[] = {
    [POP] = "pop",     [PUSH] = "push and flush", [WANTED] = "irq_wanted",
    [REARM] = "rearm", [MORE] = "more",
};

static struct {
    struct virtqueue vq;
    struct ring r;
    struct iovec iov[64];
    unsigned pieces;
    bool indirect;
    enum step verb;
} s;

/* One more chain by the driver. */
static void offer(unsigned i)
{
    unsigned n = s.indirect ? 1 : s.pieces;
    uint16_t first = (uint16_t)(i * n);
    for (unsigned k = 0; k < n; k++) {
        uint16_t flags = s.indirect ? D_INDIRECT : k + 1 < n ? D_NEXT : 0;
        uint64_t at = s.indirect ? TABLE : BUF + 2048ull * k;
        uint32_t len = s.indirect ? 16 * s.pieces : 1500;
        if (s.vq.packed)
            packed_offer(&s.r, at, len, (uint16_t)i, flags);
        else
            ring_desc(&s.r, first + k, at, len, flags,
                      (uint16_t)(first + k + 1));
    }
    if (!s.vq.packed)
        ring_offer(&s.r, first);
}

static void on(enum step verb)
{
    if (s.verb == verb)
        cost_on();
}

static void off(enum step verb)
{
    if (s.verb == verb)
        cost_off();
}

/* A chain's whole way; the verb that is asked for is counted. */
static void chain_work(void *arg)
{
    struct vq_chain c;
    (void)arg;
    for (unsigned i = 0; i < BATCH; i++)
        offer(i);
    for (unsigned i = 0; i < BATCH; i++) {
        on(MORE);
        vq_more(&s.vq);
        off(MORE);
        on(POP);
        enum vq_got got = vq_pop(&s.vq, &c, s.iov, (int)ARRAY_LEN(s.iov));
        off(POP);
        REQUIRE_EQ(got, VQ_CHAIN);
        on(PUSH);
        vq_push(&s.vq, &c, 0);
        vq_flush(&s.vq);
        off(PUSH);
        on(WANTED);
        vq_irq_wanted(&s.vq);
        off(WANTED);
        if (i + 1 < BATCH)
            continue;
        for (unsigned k = 0; k < BATCH; k++) { /* as often as the others */
            on(REARM);
            bool more = vq_rearm(&s.vq);
            off(REARM);
            REQUIRE(!more);
        }
    }
}

static void table(bool packed)
{
    for (unsigned k = 0; k < s.pieces; k++) {
        bool last = k + 1 == s.pieces;
        uint16_t flags = packed || last ? 0 : D_NEXT;
        desc_put(s.r.m, TABLE + 16ull * k, BUF + 2048ull * k, 1500,
                 packed ? 0 : flags, packed ? 0 : (uint16_t)(k + 1));
    }
}

static void rows(bool packed, unsigned pieces, bool indirect)
{
    struct machine *m = fake_new(RAM);
    uint64_t f = 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_EVENT_IDX |
                 1ull << VIRTIO_F_INDIRECT_DESC;
    char name[80];
    s.vq = (struct virtqueue){.size = SIZE, .size_max = SIZE};
    s.r = ring_at(m, BASE, SIZE);
    s.pieces = pieces;
    s.indirect = indirect;
    s.vq.desc_gpa = s.r.desc;
    s.vq.avail_gpa = s.r.avail;
    s.vq.used_gpa = s.r.used;
    if (packed)
        f |= 1ull << VIRTIO_F_RING_PACKED;
    REQUIRE_EQ(vq_enable(&s.vq, &m->ram, f), 0);
    table(packed);
    /* Of the others only pop sees what a chain is made of. */
    for (enum step v = POP; v <= (pieces == 1 ? MORE : POP); v++) {
        s.verb = v;
        snprintf(name, sizeof(name), "vq %s, %s%s", packed ? "packed" : "split",
                 verbs[v],
                 v != POP      ? ""
                 : indirect    ? ", 4 indirect"
                 : pieces == 1 ? ", 1 descriptor"
                               : ", 4 descriptors");
        cost_row(name, BATCH, chain_work, NULL);
    }
    fake_free(m);
}

void cost_vq(void)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        rows(packed, 1, false);
        rows(packed, 4, false);
        rows(packed, 4, true);
    }
}
