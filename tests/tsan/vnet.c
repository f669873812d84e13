/* SPDX-License-Identifier: MIT */
/* A virtio-net driver that keeps to the memory rules (virtio 1.2 §2.7.13,
 * §2.8): what it publishes it releases, what it takes it acquires, and ring
 * memory is its own from the moment a reset has returned. So each race that is
 * reported is the device's. A chain is one or two descriptors; slot i of a
 * split ring uses descriptors i and i + size / 2. */
#include <assert.h>
#include <string.h>

#include "devices/list.h"
#include "devices/nic.h"
#include "devices/virtio_net/state.h"
#include "tests/tsan/rig.h"

#define QUEUES_MAX 9
#define QSIZE_MAX 64
#define RING_AT(q, life) (0x100000u + (q)*0x20000u + ((life)&1) * 0x10000u)
#define AVAIL_OFF 0x4000
#define USED_OFF 0x8000
#define BUF_AT(q) (0x800000u + (q)*0x40000u)
#define BUF_LEN 2048
#define COMMON(d) (bar_at((d)->c->slot, 4))

enum {
    D_NEXT = 1,
    D_WRITE = 2,
    P_AVAIL = 1 << 7,
    P_USED = 1 << 15,
};

struct queue {
    unsigned index, size, life;
    uint64_t desc, avail, used;
    uint16_t add, seen; /* split: free-running; packed: places */
    bool add_wrap, seen_wrap;
    uint8_t count[QSIZE_MAX]; /* descriptors of a slot in flight, 0: free */
    unsigned out;             /* slots in flight */
    uint64_t since;           /* when the oldest of them was likely added */
};

struct drv {
    struct vcpu *c;
    bool packed;
    unsigned pairs, nq, hdr_len;
    uint64_t features;
    struct queue q[QUEUES_MAX];
};

/* --------------------------------------------------------------- registers */

/* Until it reads back: the BAR may be away for a moment. */
static bool set(struct drv *d, unsigned off, unsigned width, uint64_t val)
{
    for (;;) {
        wr(COMMON(d) + off, width, val);
        if (rd(COMMON(d) + off, width) == val)
            return true;
        if (!vcpu_step(d->c))
            return false;
    }
}

static bool status(struct drv *d, uint8_t bits)
{
    uint64_t start = now_ns();
    while (now_ns() - start < PATIENCE_NS) {
        wr(COMMON(d) + 0x14, 1, bits);
        if ((rd(COMMON(d) + 0x14, 1) & 0xbf) == bits)
            return true;
        if (!vcpu_step(d->c))
            return false;
    }
    rig_fail("status %#x is not taken", bits);
}

static uint64_t wanted(struct drv *d)
{
    const unsigned flags = rig.sc->flags;
    uint64_t f = bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_NET_F_CTRL_VQ) |
                 bit(VIRTIO_NET_F_CTRL_RX) | bit(VIRTIO_NET_F_CTRL_MAC_ADDR) |
                 bit(VIRTIO_NET_F_GUEST_CSUM) | bit(VIRTIO_F_RING_RESET) |
                 bit(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) |
                 bit(VIRTIO_NET_F_STATUS) | bit(VIRTIO_NET_F_NOTF_COAL) |
                 bit(VIRTIO_NET_F_GUEST_ANNOUNCE);
    if (flags & SC_PACKED)
        f |= bit(VIRTIO_F_RING_PACKED);
    if (flags & SC_RSS)
        f |= bit(VIRTIO_NET_F_RSS);
    if (flags & SC_RSS && rnd(d->c, 2))
        f |= bit(VIRTIO_NET_F_HASH_REPORT);
    if (rnd(d->c, 4))
        f |= bit(VIRTIO_NET_F_MQ);
    if (rnd(d->c, 2))
        f |= bit(VIRTIO_F_EVENT_IDX);
    if (rnd(d->c, 4))
        f |= bit(VIRTIO_NET_F_MRG_RXBUF);
    return f;
}

static bool offered(struct drv *d, uint64_t *f)
{
    *f = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (!set(d, 0x00, 4, i))
            return false;
        uint32_t part = (uint32_t)rd(COMMON(d) + 0x04, 4);
        if (part == UINT32_MAX)
            return false;
        *f |= (uint64_t)part << 32 * i;
    }
    return true;
}

static bool negotiate(struct drv *d)
{
    uint64_t can;
    if (!status(d, 0) || !status(d, 1) || !status(d, 3) || !offered(d, &can))
        return false;
    d->features = wanted(d) & can;
    if (!has(d->features, VIRTIO_F_VERSION_1))
        return false; /* the BAR was away */
    for (unsigned i = 0; i < 2; i++)
        if (!set(d, 0x08, 4, i) ||
            !set(d, 0x0c, 4, (uint32_t)(d->features >> 32 * i)))
            return false;
    if (!status(d, 11))
        return false;
    bool many =
        has(d->features, VIRTIO_NET_F_MQ) || has(d->features, VIRTIO_NET_F_RSS);
    d->packed = has(d->features, VIRTIO_F_RING_PACKED);
    d->pairs = many ? rig.sc->pairs : 1;
    d->nq = 2 * d->pairs + 1;
    d->hdr_len = has(d->features, VIRTIO_NET_F_HASH_REPORT) ? 20 : 12;
    return d->nq <= QUEUES_MAX;
}

/* ------------------------------------------------------------------- rings */

/* Nobody but us has it now. */
static bool make_queue(struct drv *d, unsigned n)
{
    struct queue *q = &d->q[n];
    unsigned life = q->life + 1;
    *q = (struct queue){.index = n,
                        .life = life,
                        .size = 4u << rnd(d->c, 5),
                        .desc = RING_AT(n, life),
                        .add_wrap = true,
                        .seen_wrap = true};
    q->avail = q->desc + AVAIL_OFF;
    q->used = q->desc + USED_OFF;
    memset(ram_at(q->desc), 0, USED_OFF + 0x1000);
    if (!set(d, 0x16, 2, n) || !set(d, 0x18, 2, q->size))
        return false;
    for (unsigned i = 0; i < 3; i++) {
        uint64_t at = i == 0 ? q->desc : i == 1 ? q->avail : q->used;
        if (!set(d, 0x20 + 8 * i, 4, at) || !set(d, 0x24 + 8 * i, 4, 0))
            return false;
    }
    wr(COMMON(d) + 0x1a, 2, rnd(d->c, 12));
    return set(d, 0x1c, 2, 1);
}

static bool reset_queue(struct drv *d, unsigned n)
{
    if (!has(d->features, VIRTIO_F_RING_RESET) || !set(d, 0x16, 2, n))
        return true;
    do {
        wr(COMMON(d) + 0x3a, 2, 1);
        if (!vcpu_step(d->c))
            return false;
    } while (rd(COMMON(d) + 0x1c, 2) != 0);
    return make_queue(d, n);
}

static void kick(struct drv *d, unsigned n)
{
    wr(COMMON(d) + 0x3000 + 4 * n, 2, n);
}

static void write_desc(uint64_t at, uint64_t addr, uint32_t len)
{
    memcpy(ram_at(at), &addr, 8);
    memcpy(ram_at(at + 8), &len, 4);
}

static void split_add(struct queue *q, unsigned slot, unsigned n,
                      const uint32_t *len, const bool *write)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned at = slot + i * (q->size / 2);
        uint16_t w[2] = {write[i] ? D_WRITE : 0, 0};
        if (i + 1 < n) {
            w[0] |= D_NEXT;
            w[1] = (uint16_t)(slot + q->size / 2);
        }
        write_desc(q->desc + 16 * at,
                   BUF_AT(q->index) + (slot * 2 + i) * BUF_LEN, len[i]);
        memcpy(ram_at(q->desc + 16 * at + 12), w, 4);
    }
    put(uint16_t, q->avail + 4 + 2 * (q->add % q->size), slot);
    q->add++;
    put_release(uint16_t, q->avail + 2, q->add);
}

static void place_next(const struct queue *q, uint16_t *at, bool *wrap)
{
    *at = (uint16_t)((*at + 1) % q->size);
    *wrap = *at ? *wrap : !*wrap;
}

/* The first descriptor's flags last (§2.8.6). */
static void packed_add(struct queue *q, unsigned slot, unsigned n,
                       const uint32_t *len, const bool *write)
{
    uint16_t id = (uint16_t)slot, first_flags = 0;
    uint64_t first = q->desc + 16 * q->add;
    for (unsigned i = 0; i < n; i++) {
        uint64_t at = q->desc + 16 * q->add;
        uint16_t flags = q->add_wrap ? P_AVAIL : P_USED;
        flags |= write[i] ? D_WRITE : 0;
        flags |= i + 1 < n ? D_NEXT : 0;
        write_desc(at, BUF_AT(q->index) + (slot * 2 + i) * BUF_LEN, len[i]);
        memcpy(ram_at(at + 12), &id, 2);
        if (i)
            put(uint16_t, at + 14, flags);
        else
            first_flags = flags;
        place_next(q, &q->add, &q->add_wrap);
    }
    put_release(uint16_t, first + 14, first_flags);
}

/* A chain in a free slot; false: all are in flight. */
static bool add(struct drv *d, struct queue *q, unsigned n, const uint32_t *len,
                const bool *write)
{
    unsigned slot = 0;
    assert(n && n <= 2);
    while (slot < q->size / 2 && q->count[slot])
        slot++;
    if (slot == q->size / 2)
        return false;
    q->count[slot] = (uint8_t)n;
    if (!q->out++)
        q->since = now_ns();
    if (d->packed)
        packed_add(q, slot, n, len, write);
    else
        split_add(q, slot, n, len, write);
    return true;
}

static bool next_used(struct drv *d, struct queue *q, uint32_t *id)
{
    if (!d->packed) {
        if (get_acquire(uint16_t, q->used + 2) == q->seen)
            return false;
        memcpy(id, ram_at(q->used + 4 + 8 * (q->seen % q->size)), 4);
        q->seen++;
        return true;
    }
    uint64_t at = q->desc + 16 * q->seen;
    uint16_t flags = get_acquire(uint16_t, at + 14), id16;
    if (!!(flags & P_AVAIL) != q->seen_wrap ||
        !!(flags & P_USED) != q->seen_wrap)
        return false;
    memcpy(&id16, ram_at(at + 12), 2);
    *id = id16;
    for (unsigned i = 0; *id < q->size / 2 && i < q->count[*id]; i++)
        place_next(q, &q->seen, &q->seen_wrap);
    return true;
}

static unsigned reap(struct drv *d, struct queue *q)
{
    unsigned n = 0;
    uint32_t id;
    while (next_used(d, q, &id)) {
        if (id >= q->size / 2 || !q->count[id])
            rig_fail("queue %u: %u was used, but is not in flight", q->index,
                     id);
        q->count[id] = 0;
        q->out--;
        n++;
    }
    if (n || !q->out)
        q->since = now_ns();
    return n;
}

/* What the device looks at before it interrupts (§2.7.7, §2.8.10). */
static void suppress(struct drv *d, struct queue *q)
{
    if (d->packed) {
        put(uint16_t, q->avail, q->seen | q->seen_wrap << 15);
        put_release(uint16_t, q->avail + 2, rnd(d->c, 3));
    } else {
        put(uint16_t, q->avail, rnd(d->c, 2));
        put(uint16_t, q->avail + 4 + 2 * q->size, q->seen);
    }
}

/* ----------------------------------------------------------- control queue */

/* True when it was answered; what the answer is, is not asked. */
static bool command(struct drv *d, uint8_t class, uint8_t cmd, const void *data,
                    uint32_t len)
{
    struct queue *q = &d->q[d->nq - 1];
    uint8_t *p = ram_at(BUF_AT(q->index)); /* slot 0: one at a time */
    const uint32_t lens[] = {2 + len, 1};
    const bool write[] = {false, true};
    uint64_t start = now_ns();
    p[0] = class;
    p[1] = cmd;
    memcpy(p + 2, data, len);
    add(d, q, 2, lens, write);
    do {
        kick(d, q->index);
        if (!vcpu_sleep(d->c, 20))
            return false;
        if (now_ns() - start > PATIENCE_NS)
            rig_fail("control command %u %u is not answered", class, cmd);
    } while (!reap(d, q));
    return true;
}

static bool set_rss(struct drv *d)
{
    struct {
        le32 types;
        le16 mask, unclassified, table[8], max_tx;
        uint8_t key_len, key[RSS_KEY_MAX];
    } __attribute__((packed)) c = {RSS_TYPES, 7, 0, {0}, 1, RSS_KEY_MAX, {0}};
    for (unsigned i = 0; i < 8; i++)
        c.table[i] = (le16)rnd(d->c, d->pairs);
    for (unsigned i = 0; i < RSS_KEY_MAX; i++)
        c.key[i] = (uint8_t)rnd(d->c, 256);
    c.max_tx = (le16)d->pairs;
    return command(d, 4, 1, &c, sizeof(c));
}

static bool some_command(struct drv *d)
{
    const uint32_t coal[] = {2 + rnd(d->c, 60), 1 + rnd(d->c, 300)};
    const le16 pairs = (le16)(1 + rnd(d->c, d->pairs));
    const uint8_t on = (uint8_t)rnd(d->c, 2), mac[6] = {2, 0, 0, 0, 0, on};
    const uint64_t offloads = on ? bit(VIRTIO_NET_F_GUEST_CSUM) : 0;
    switch (rnd(d->c, 8)) {
    case 0:
        return command(d, 0, 0, &on, 1);
    case 1:
        return command(d, 1, 1, mac, 6);
    case 2:
        return command(d, 5, 0, &offloads, 8);
    case 3:
        return command(d, 4, 0, &pairs, 2);
    case 4:
        return command(d, 3, 0, "", 0);
    case 5:
        return !has(d->features, VIRTIO_NET_F_RSS) || set_rss(d);
    default:
        return command(d, 6, (uint8_t)rnd(d->c, 2), coal, 8);
    }
}

/* ----------------------------------------------------------------- traffic */

static void post(struct drv *d, struct queue *q)
{
    const uint32_t len[] = {BUF_LEN, BUF_LEN};
    const bool write[] = {true, true};
    while (add(d, q, 1 + rnd(d->c, 2), len, write))
        continue;
}

static void transmit(struct drv *d, struct queue *q)
{
    const bool write[] = {false, false};
    for (unsigned i = rnd(d->c, 8); i; i--) {
        bool one = rnd(d->c, 2);
        uint32_t frame = 60 + rnd(d->c, 1400);
        uint32_t len[] = {one ? d->hdr_len + frame : d->hdr_len, frame};
        /* The header is zeroes, and what is behind it means nothing. */
        if (!add(d, q, one ? 1 : 2, len, write))
            break;
    }
}

static bool serve(struct drv *d)
{
    for (unsigned n = 0; n + 1 < d->nq; n++) {
        struct queue *q = &d->q[n];
        unsigned done = reap(d, q);
        atomic_fetch_add(n & 1 ? &rig.sent : &rig.received, done);
        if (n & 1)
            transmit(d, q);
        else
            post(d, q);
        if (!rnd(d->c, 8))
            suppress(d, q);
        kick(d, n);
        /* Pairs beyond the first may not be in use. */
        if (n == 1 && q->out && now_ns() - q->since > PATIENCE_NS)
            rig_fail("nothing was sent for a long time");
    }
    return vcpu_sleep(d->c, rnd(d->c, 4) ? 0 : rnd(d->c, 300));
}

static void driver(struct vcpu *c)
{
    static unsigned lives; /* ring memory changes from life to life */
    struct drv d = {.c = c};
    for (unsigned n = 0; n < QUEUES_MAX; n++)
        d.q[n].life = lives;
    lives++;
    if (!negotiate(&d))
        return;
    for (unsigned n = 0; n < d.nq; n++)
        if (!make_queue(&d, n))
            return;
    wr(COMMON(&d) + 0x10, 2, 0);
    if (!status(&d, 15))
        return;
    atomic_fetch_add(&rig.lives, 1);
    if (has(d.features, VIRTIO_NET_F_RSS) && !set_rss(&d))
        return;
    for (unsigned i = 20 + rnd(c, 300); i; i--) {
        if (!serve(&d))
            return;
        if (!rnd(c, 30) && !some_command(&d))
            return;
        if (!rnd(c, 60) && !reset_queue(&d, rnd(c, d.nq - 1)))
            return;
        if (!rnd(c, 40)) /* a vector changes under the loop's hands */
            wr(COMMON(&d) + 0x1a, 2, rnd(c, 12));
    }
}

/* Reads, doorbells: what is not the driver's own. */
static void rude(struct vcpu *c)
{
    uint64_t bar = bar_at(c->slot, 4);
    switch (rnd(c, 4)) {
    case 0:
        rd(bar + rnd(c, 0x3c), 1);
        break;
    case 1:
        rd(bar + 0x1000, 1);
        break;
    case 2:
        rd(bar + 0x2000 + rnd(c, 6) * 4, 4);
        break;
    default:
        wr(bar + 0x3000 + 4 * rnd(c, QUEUES_MAX), 2, 0);
        break;
    }
}

const struct guest vnet_guest = {
    .driver = driver, .rude = rude, .cls = &virtio_net_class};
