/* SPDX-License-Identifier: MIT */
/* A virtio-net driver (tests/tsan/virtio.h). */
#include <string.h>

#include "devices/list.h"
#include "devices/nic.h"
#include "devices/virtio_net/state.h"
#include "tests/tsan/virtio.h"

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

static bool begin(struct drv *d)
{
    if (!negotiate(d, wanted(d)))
        return false;
    bool many =
        has(d->features, VIRTIO_NET_F_MQ) || has(d->features, VIRTIO_NET_F_RSS);
    d->pairs = many ? rig.sc->pairs : 1;
    d->nq = 2 * d->pairs + 1;
    d->hdr_len = has(d->features, VIRTIO_NET_F_HASH_REPORT) ? 20 : 12;
    return d->nq <= QUEUES_MAX;
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
    if (!begin(&d))
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
