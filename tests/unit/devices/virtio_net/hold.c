/* SPDX-License-Identifier: MIT */
/* virtio-net held, saved, loaded into another machine with the same memory, and
 * resumed, in the middle of whatever it was at. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "devices/list.h"
#include "tests/unit/fakevirtio.h"
#include "tests/unit/records.h"

#define CTRL F(VIRTIO_NET_F_CTRL_VQ)
#define MRG F(VIRTIO_NET_F_MRG_RXBUF)
#define EVENT_IDX F(VIRTIO_F_EVENT_IDX)

static struct device *nic_of(struct machine *m)
{
    struct device *dev = m->devices;
    while (dev && dev->cls != &virtio_net_class)
        dev = dev->next;
    REQUIRE(dev != NULL);
    return dev;
}

static void make(struct machine *m, void *ctx)
{
    struct vd *d = ctx;
    char text[512];
    fake_net_dev(d->net)->taken = false;
    snprintf(text, sizeof(text), "netdev=n0,mac=52:54:00:12:34:56%s%s%s",
             d->packed ? ",packed=on" : "", d->opts ? "," : "",
             d->opts ? d->opts : "");
    REQUIRE_EQ(
        fake_device(m, &virtio_net_class, "-device virtio-net-pci", text), 0);
    d->m = m;
    d->dev = nic_of(m);
}

static void move(struct vd *d)
{
    records_move(d->m, make, NULL, d);
}

/* A command of the control queue, answered OK. */
static void command(struct vd *d, uint8_t class, uint8_t cmd, const void *data,
                    uint32_t len)
{
    const uint64_t many = F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_RSS);
    struct vd_queue *q = &d->q[d->features & many ? d->nq - 1 : 2];
    uint64_t at = vd_alloc(d, len + 2, 1), ack = vd_alloc(d, 1, 1);
    struct vd_buf b[2] = {{at, len + 2, false}, {ack, 1, true}};
    uint8_t *p = vd_ram(d, at, len + 2);
    p[0] = class;
    p[1] = cmd;
    if (len)
        memcpy(p + 2, data, len);
    *(uint8_t *)vd_ram(d, ack, 1) = 0xee;
    REQUIRE(vd_add(q, b, 2) >= 0);
    vd_kick(d, q->index);
    CHECK_EQ(vd_reap(q), 1);
    CHECK_EQ(*(uint8_t *)vd_ram(d, ack, 1), 0);
}

/* ----------------------------------------------- a driver that goes its way */

/* It kicks only when it must and looks only when it is interrupted; frames are
 * numbered, each way and each pair. */
#define PAIRS 2
#define POSTS 1024
struct soak {
    struct vd d; /* first */
    unsigned pairs;
    uint32_t rx_buf; /* bytes of a receive buffer */
    unsigned sent[PAIRS], taken[PAIRS], given[PAIRS], got[PAIRS];
    uint64_t post[PAIRS][POSTS]; /* by id */
    bool irq[2 * PAIRS]; /* arrived before the machine's end, not seen yet */
};

/* A guest's interrupt controller moves with it; the fake one stays. */
static void keep_irqs(struct machine *m, void *ctx)
{
    struct soak *s = ctx;
    if (m == s->d.m && !s->d.intx)
        for (unsigned q = 0; q < 2 * s->pairs; q++)
            s->irq[q] |= vd_irqs(&s->d, q) > 0;
}

static uint32_t frame_len(unsigned i)
{
    return 60 + i * 37 % 1454;
}

static void post(struct soak *s, unsigned pair)
{
    struct vd_queue *q = &s->d.q[2 * pair];
    struct vd_buf b = {vd_alloc(&s->d, s->rx_buf, 1), s->rx_buf, true};
    int id = vd_add(q, &b, 1);
    if (id < 0)
        return;
    s->post[pair][id] = b.at;
    if (vd_kick_wanted(q, 1))
        vd_kick(&s->d, 2 * pair);
}

static void send_one(struct soak *s, unsigned pair)
{
    uint8_t f[2048];
    struct vd_queue *q = &s->d.q[2 * pair + 1];
    unsigned i = s->sent[pair];
    vd_frame(f, frame_len(i), i * PAIRS + pair);
    if (vd_send(&s->d, 2 * pair + 1, NULL, f, frame_len(i)) < 0)
        return;
    s->sent[pair]++;
    if (vd_kick_wanted(q, 1))
        vd_kick(&s->d, 2 * pair + 1);
}

static void give_one(struct soak *s, unsigned pair)
{
    uint8_t f[2048];
    unsigned i = s->given[pair]++;
    vd_frame(f, frame_len(i), i * PAIRS + pair);
    fake_net_give(s->d.net, pair, NULL, f, frame_len(i));
}

/* What came out on the wire is the next, and whole. */
static void wire(struct soak *s, unsigned pair)
{
    uint8_t want[2048], got[2048];
    ssize_t n;
    while ((n = fake_net_take(s->d.net, pair, NULL, got, sizeof(got))) >= 0) {
        unsigned i = s->taken[pair]++;
        vd_frame(want, frame_len(i), i * PAIRS + pair);
        REQUIRE_EQ(n, frame_len(i));
        CHECK_MEM(got, want, frame_len(i));
    }
}

static unsigned receive(struct soak *s, unsigned pair)
{
    struct vd_queue *q = &s->d.q[2 * pair];
    uint8_t want[2048], got[4096];
    uint32_t len, at = 0, left = 0;
    unsigned bufs = 0;
    int id;
    while (vd_used(q, &id, &len)) {
        const uint8_t *p = vd_ram(&s->d, s->post[pair][id], s->rx_buf);
        REQUIRE(at + len <= sizeof(got));
        memcpy(got + at, p, len);
        if (!left) {
            struct net_hdr h;
            memcpy(&h, p, sizeof(h));
            left = h.num_buffers;
        }
        at += len;
        bufs++;
        if (--left)
            continue;
        unsigned i = s->got[pair]++;
        vd_frame(want, frame_len(i), i * PAIRS + pair);
        REQUIRE_EQ(at, NET_HDR_LEN + frame_len(i));
        CHECK_MEM(got + NET_HDR_LEN, want, frame_len(i));
        at = 0;
    }
    REQUIRE_EQ(left, 0); /* a packet's buffers come together */
    for (unsigned i = 0; i < bufs; i++)
        post(s, pair);
    return bufs;
}

/* Whoever turns interrupts on looks once more. */
static void work(struct soak *s, unsigned q)
{
    unsigned n;
    do {
        n = q & 1 ? vd_reap(&s->d.q[q]) : receive(s, q / 2);
        vd_irq_always(&s->d.q[q]);
    } while (n);
}

/* Interrupts: by them only it learns that something is done. */
static void serve(struct soak *s)
{
    bool all = s->d.intx && vd_irqs(&s->d, 0);
    for (unsigned q = 0; q < 2 * s->pairs; q++)
        if (all || (!s->d.intx && vd_irqs(&s->d, q)) || s->irq[q]) {
            s->irq[q] = false;
            work(s, q);
        }
}

static void soak_step(struct soak *s)
{
    unsigned pair = test_random() % s->pairs;
    switch (test_random() % 12) {
    case 0:
        fake_net_block(s->d.net, pair, true);
        break;
    case 1:
        fake_net_block(s->d.net, pair, false);
        wire(s, pair);
        break;
    case 2:
        records_move(s->d.m, make, keep_irqs, s);
        break;
    case 3:
        device_hold(s->d.dev);
        fake_run_loop(s->d.m);
        device_resume(s->d.dev);
        break;
    case 4:
    case 5:
        give_one(s, pair);
        break;
    case 6:
    case 7:
        send_one(s, pair);
        break;
    case 8:
        post(s, pair);
        break;
    case 9:
        fake_sleep_ns(s->d.m, 20000);
        break;
    default:
        fake_run_loop(s->d.m);
        serve(s);
    }
}

static void soak(bool packed, bool intx, unsigned pairs, uint64_t want)
{
    static struct soak s;
    memset(&s, 0, sizeof(s));
    s.pairs = pairs;
    s.rx_buf = want & MRG ? 700 : 1526;
    s.d.intx = intx;
    s.d.pairs = pairs;
    s.d.qsize = 64;
    vd_up(&s.d, packed, want | CTRL | (pairs > 1 ? F(VIRTIO_NET_F_MQ) : 0));
    if (pairs > 1)
        command(&s.d, 4, 0, &(le16){2}, 2);
    for (unsigned i = 0; i < 20; i++)
        post(&s, i % pairs);
    for (unsigned i = 0; i < 600; i++)
        soak_step(&s);
    /* all that was accepted comes through, by its interrupts and kicks */
    for (unsigned pair = 0; pair < pairs; pair++)
        fake_net_block(s.d.net, pair, false);
    for (unsigned i = 0; i < 60; i++) {
        fake_sleep_ns(s.d.m, 20000);
        serve(&s);
        for (unsigned pair = 0; pair < pairs; pair++)
            wire(&s, pair);
        if (i < 40)
            post(&s, i % pairs);
    }
    for (unsigned pair = 0; pair < pairs; pair++) {
        CHECK_EQ(s.taken[pair], s.sent[pair]);
        CHECK_EQ(s.got[pair], s.given[pair]);
        CHECK(s.sent[pair] > 20 && s.given[pair] > 20);
    }
    CHECK_EQ(vd_status(&s.d), 0x0f);
    vd_free(&s.d);
}

BOTH_RINGS(vnet_hold_traffic_moves_with_msix)
{
    test_timeout(60);
    soak(packed, false, 1, 0);
    soak(packed, false, 1, EVENT_IDX | MRG);
}

BOTH_RINGS(vnet_hold_traffic_moves_with_intx)
{
    test_timeout(60);
    soak(packed, true, 1, EVENT_IDX);
    soak(packed, true, 1, MRG);
}

BOTH_RINGS(vnet_hold_traffic_moves_with_two_pairs)
{
    test_timeout(60);
    soak(packed, false, 2, EVENT_IDX);
    soak(packed, false, 2, MRG);
}

/* -------------------------------------------------------- what it is amid of
 */

/* Half of it lies in a buffer that goes back to the ring, half in private. */
BOTH_RINGS(vnet_hold_a_packet_that_waits_for_buffers_moves_whole)
{
    struct vd d = {0};
    uint8_t f[1000], got[1200];
    uint64_t at[2];
    uint32_t len[2];
    int id;
    vd_up(&d, packed, MRG);
    at[0] = vd_post(&d, RX0, 700);
    vd_kick(&d, RX0);
    vd_frame(f, sizeof(f), 7);
    fake_net_give(d.net, 0, NULL, f, sizeof(f));
    fake_run_loop(d.m);
    CHECK_EQ(vd_reap(&d.q[RX0]), 0);
    move(&d);
    fake_run_loop(d.m);
    CHECK_EQ(vd_reap(&d.q[RX0]), 0);
    at[1] = vd_post(&d, RX0, 700);
    vd_kick(&d, RX0);
    REQUIRE(vd_used(&d.q[RX0], &id, &len[0]));
    REQUIRE(vd_used(&d.q[RX0], &id, &len[1]));
    CHECK(len[0] == 700 && len[1] == 312 && vd_irqs(&d, RX0));
    memcpy(got, vd_ram(&d, at[0], 700), 700);
    memcpy(got + 700, vd_ram(&d, at[1], 312), 312);
    CHECK_MEM(got + 12, f, 1000);
    CHECK_EQ(got[10], 2); /* num_buffers */
    vd_check_alive(&d);
    vd_free(&d);
}

/* It is dropped in the new place as it would have been in the old. */
TEST(vnet_hold_a_packet_waits_for_buffers_no_longer_than_ever)
{
    struct vd d = {0};
    uint8_t f[1000] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
    vd_up(&d, false, MRG);
    vd_post(&d, RX0, 700);
    vd_kick(&d, RX0);
    fake_net_give(d.net, 0, NULL, f, sizeof(f));
    fake_run_loop(d.m);
    move(&d);
    fake_sleep_ns(d.m, 21000000);
    CHECK_EQ(vd_count(&d, "rx_drop_fit"), 1);
    fake_net_give(d.net, 0, NULL, f, 100);
    fake_run_loop(d.m);
    CHECK_EQ(vd_reap(&d.q[RX0]), 1);
    vd_free(&d);
}

BOTH_RINGS(vnet_hold_coalescing_keeps_the_time_that_is_left)
{
    struct vd d = {0};
    uint8_t f[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const le32 params[2] = {100, 1000};
    vd_up(&d, packed, CTRL | F(VIRTIO_NET_F_NOTF_COAL));
    command(&d, 6, 0, params, 8);
    CHECK_EQ(vd_irqs(&d, TX0), 0);
    vd_send(&d, TX0, NULL, f, 60);
    vd_kick(&d, TX0);
    fake_sleep_ns(d.m, 400000);
    device_hold(d.dev);
    fake_sleep_ns(d.m, 5000000);
    CHECK_EQ(vd_irqs(&d, TX0), 0); /* not while it is held */
    move(&d);
    vd_irqs(&d, TX0); /* what was raised before, perhaps */
    fake_sleep_ns(d.m, 590000);
    CHECK_EQ(vd_irqs(&d, TX0), 0);
    fake_sleep_ns(d.m, 20000);
    CHECK_EQ(vd_irqs(&d, TX0), 1);
    CHECK_EQ(vd_reap(&d.q[TX0]), 1);
    vd_free(&d);
}

/* The time that is left is of what was asked for when it began. */
BOTH_RINGS(vnet_hold_coalescing_made_shorter_or_ended_meanwhile)
{
    for (uint32_t usecs = 0; usecs < 20; usecs += 10) {
        struct vd d = {0};
        uint8_t f[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
        const le32 params[2] = {100, 1000}, less[2] = {100, usecs};
        vd_up(&d, packed, CTRL | F(VIRTIO_NET_F_NOTF_COAL));
        command(&d, 6, 0, params, 8);
        vd_irqs(&d, TX0);
        vd_send(&d, TX0, NULL, f, 60);
        vd_kick(&d, TX0);
        command(&d, 6, 0, less, 8);
        move(&d);
        fake_sleep_ns(d.m, 1010000);
        CHECK(vd_irqs(&d, TX0) >= 1); /* a move may raise one, too */
        CHECK_EQ(vd_reap(&d.q[TX0]), 1);
        vd_free(&d);
    }
}

/* §5.1.6.5.4: only who is elsewhere now has something to tell. */
TEST(vnet_hold_announces_after_a_move_and_not_after_a_rest)
{
    struct vd d = {0};
    vd_up(&d, false,
          CTRL | F(VIRTIO_NET_F_GUEST_ANNOUNCE) | F(VIRTIO_NET_F_STATUS));
    device_hold(d.dev);
    device_resume(d.dev);
    fake_run_loop(d.m);
    CHECK_EQ(drv_r16(d.m, d.config + 6), 1);
    CHECK_EQ(vd_config_irqs(&d), 0);
    CHECK_EQ(fake_net_announced(d.net), 0);
    move(&d);
    CHECK_EQ(fake_net_announced(d.net), 1);
    CHECK_EQ(drv_r16(d.m, d.config + 6), 3);
    CHECK(vd_config_irqs(&d) >= 1);
    command(&d, 3, 0, NULL, 0);
    CHECK_EQ(drv_r16(d.m, d.config + 6), 1);
    /* A bridge may hear the second only; and it has an end. */
    for (unsigned i = 0; i < 10; i++) {
        CHECK_EQ(fake_net_announced(d.net), i < 4 ? i + 1 : 5);
        fake_advance_ns((50 + 100ull * i) * 1000000);
        fake_run_loop(d.m);
    }
    vd_free(&d);
}

/* Is a frame to 52:54:00:12:34:`last` taken in? */
static bool hears(struct vd *d, uint8_t last)
{
    uint8_t f[64] = {0x52, 0x54, 0, 0x12, 0x34, last};
    vd_post(d, RX0, 2048);
    vd_kick(d, RX0);
    fake_net_give(d->net, 0, NULL, f, sizeof(f));
    fake_run_loop(d->m);
    return vd_reap(&d->q[RX0]);
}

/* Another MAC shows at once; frames to the old one come until the driver takes
 * the new one, and it is not asked to announce what is another's now. */
TEST(vnet_hold_a_new_mac_is_told_and_the_old_one_heard_until_it_is_taken)
{
    static const uint8_t none[8], mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x99};
    struct vd d = {0};
    vd_up(&d, false,
          CTRL | F(VIRTIO_NET_F_CTRL_RX) | F(VIRTIO_NET_F_CTRL_MAC_ADDR) |
              F(VIRTIO_NET_F_GUEST_ANNOUNCE) | F(VIRTIO_NET_F_STATUS));
    command(&d, 1, 0, none, sizeof(none)); /* the filter is on */
    CHECK(hears(&d, 0x56) && !hears(&d, 0x99));
    d.opts = "mac=52:54:00:12:34:99,new-mac=on";
    for (int i = 0; i < 2; i++) {
        move(&d);
        CHECK_EQ(drv_r8(d.m, d.config + 5), 0x99);
        CHECK_EQ(drv_r16(d.m, d.config + 6), 1); /* no ANNOUNCE */
        CHECK(vd_config_irqs(&d) > 0);           /* loading raises it, too */
        CHECK(hears(&d, 0x56) && hears(&d, 0x99) && !hears(&d, 0x57));
    }
    command(&d, 1, 1, mac, sizeof(mac));
    CHECK(!hears(&d, 0x56) && hears(&d, 0x99));
    d.opts = NULL;
    move(&d); /* as it was saved */
    CHECK_EQ(drv_r8(d.m, d.config + 5), 0x99);
    CHECK(!hears(&d, 0x56) && hears(&d, 0x99));
    vd_free(&d);
}

TEST(vnet_hold_a_new_mac_is_all_there_is_after_a_reset)
{
    struct vd d = {0};
    vd_up(&d, false, CTRL | F(VIRTIO_NET_F_CTRL_RX));
    d.opts = "mac=52:54:00:12:34:99,new-mac=on";
    move(&d);
    vd_again(&d, CTRL | F(VIRTIO_NET_F_CTRL_RX));
    static const uint8_t none[8];
    command(&d, 1, 0, none, sizeof(none));
    CHECK_EQ(drv_r8(d.m, d.config + 5), 0x99);
    CHECK(!hears(&d, 0x56) && hears(&d, 0x99));
    vd_free(&d);
}

TEST(vnet_hold_a_cable_pulled_meanwhile_is_told_afterwards)
{
    struct vd d = {0};
    vd_up(&d, false, F(VIRTIO_NET_F_STATUS));
    device_hold(d.dev);
    netdev_set_link(fake_net_dev(d.net), false);
    fake_run_loop(d.m);
    CHECK_EQ(vd_config_irqs(&d), 0);
    device_resume(d.dev);
    CHECK_EQ(drv_r16(d.m, d.config + 6), 0);
    CHECK_EQ(vd_config_irqs(&d), 1);
    netdev_set_link(fake_net_dev(d.net), true);
    fake_run_loop(d.m);
    vd_check_alive(&d);
    vd_free(&d);
}

/* MSI-X: the pending bit of a masked vector, delivered when it is unmasked. */
TEST(vnet_hold_pending_vectors_and_moved_bars_move)
{
    struct vd d = {0};
    uint8_t f[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    vd_up(&d, false, 0);
    uint32_t bar = drv_cfg_read(d.m, d.slot, PCI_BAR0 + 16, 4);
    drv_cfg_write(d.m, d.slot, PCI_BAR0 + 16, 4, bar + (1 << 20));
    vd_find(&d);
    drv_msix_vector(d.m, d.slot, TX0 + 1, true);
    vd_send(&d, TX0, NULL, f, 60);
    vd_kick(&d, TX0);
    CHECK_EQ(vd_irqs(&d, TX0), 0);
    move(&d);
    CHECK_EQ(vd_irqs(&d, TX0), 0);
    uint64_t pba = drv_msix_table(d.m, d.slot) + 0x800;
    CHECK_EQ(drv_r32(d.m, pba), 1u << (TX0 + 1));
    drv_msix_vector(d.m, d.slot, TX0 + 1, false);
    CHECK_EQ(vd_irqs(&d, TX0), 1);
    CHECK_EQ(drv_r32(d.m, pba), 0);
    CHECK_EQ(vd_reap(&d.q[TX0]), 1);
    vd_drain(&d);
    vd_check_alive(&d);
    vd_free(&d);
}

TEST(vnet_hold_backend_is_told_of_offloads_and_queues_again)
{
    struct vd d = {.pairs = 2};
    vd_up(&d, false,
          CTRL | F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_GUEST_CSUM) |
              F(VIRTIO_NET_F_GUEST_TSO4));
    command(&d, 4, 0, &(le16){2}, 2);
    netdev_set_link(fake_net_dev(d.net), true);
    move(&d);
    CHECK_EQ(fake_net_offload(d.net), NETBE_CSUM | NETBE_TSO4);
    CHECK_EQ(fake_net_queues(d.net), 2);
    vd_free(&d);
}

/* --------------------------------------------------------------- hostile */

/* A driver in the midst of everything that can be remembered. */
static void busy(struct vd *d, bool packed)
{
    const uint8_t macs[4 + 6 + 4] = {1, 0, 0, 0, 2, 2, 2, 2, 2, 2};
    const le32 coal[2] = {3, 900};
    struct {
        le32 types;
        le16 mask, unclassified, table[4], max_tx;
        uint8_t len, key[3];
    } __attribute__((packed)) rss = {0x3f, 3, 1, {0, 1, 0, 1}, 2, 3, {9, 8, 7}};
    *d = (struct vd){.pairs = 2, .opts = "rss=on,hash=on", .qsize = 64};
    vd_up(d, packed,
          CTRL | MRG | F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_RSS) |
              F(VIRTIO_NET_F_HASH_REPORT) | F(VIRTIO_NET_F_CTRL_RX) |
              F(VIRTIO_NET_F_CTRL_VLAN) | F(VIRTIO_NET_F_NOTF_COAL) |
              F(VIRTIO_NET_F_GUEST_CSUM));
    command(d, 1, 0, macs, sizeof(macs));
    command(d, 2, 0, &(le16){77}, 2);
    command(d, 6, 1, coal, 8);
    command(d, 4, 1, &rss, sizeof(rss));
    vd_post(d, RX0, 700);
    vd_kick(d, RX0);
}

BOTH_RINGS(vnet_hold_each_row_of_a_busy_device_at_its_bounds)
{
    struct vd d;
    test_timeout(120);
    busy(&d, packed);
    device_hold(d.dev);
    records_try_all(d.dev, 211);
    device_resume(d.dev);
    fake_run_loop(d.m);
    move(&d);
    CHECK_EQ(vd_status(&d), 0x0f);
    vd_free(&d);
}

/* What no driver could have made, one row for each rule. */
BOTH_RINGS(vnet_hold_what_cannot_be_is_refused_by_name)
{
    static const struct bend tries[] = {
        {"features", 0, ~0ull, "features: not all"},
        {"features", 0, F(VIRTIO_NET_F_RSS), "features: not all"},
        {"status", 0, 0x07, "features: FEATURES_OK"},
        {"status", 0, 0x0b, "started: the status"},
        {"started", 0, 0, "started: the status"},
        {"legacy", 0, 1, "legacy: there is no"},
        {"config_vector", 0, 99, "config_vector: there is none"},
        {"queue.1.vector", 0, 6, "queue: a ring"},
        {"queue.1.size", 0, 1024, "queue: a ring"},
        {"queue.1.desc", 0, ~15ull, "queue: a ring"},
        {"queue.1.desc", 0, VD_LOW_RAM - 512, "queue: a ring"},
        {"queue.1.used", 0, 1, "queue: a ring"},
        {"queue.0.state", 0, 0, NULL},
        {"msix.2.addr", 0, 0xfee00001, "msix.2.addr"},
        {"pairs", 0, 3, "pairs: there are fewer"},
        {"guest_offloads", 0, F(VIRTIO_NET_F_GUEST_TSO4), "guest_offloads"},
        {"rss.table", 2, 2, "rss.table"},
        {"rss.unclassified", 0, 2, "rss.unclassified"},
        {"rss.mask", 0, 4, "rss: not as"},
        {"rss.report", 0, 0, "rss: not as"},
    };
    struct vd d;
    busy(&d, packed);
    device_hold(d.dev);
    struct records r = records_of(d.dev);
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
        records_bend(d.dev, &r, &tries[i]);
        CHECK_EQ(records_load(d.dev, &r), 0);
    }
    records_free(&r);
    vd_free(&d);
}

BOTH_RINGS(vnet_hold_position_beyond_the_ring_is_refused_or_breaks_it)
{
    struct vd d = {.qsize = 64};
    vd_up(&d, packed, 0);
    vd_check_alive(&d); /* position 1 */
    device_hold(d.dev);
    struct records r = records_of(d.dev);
    records_set(&r, "queue.1.position", 0, 5000);
    int err = records_load(d.dev, &r);
    CHECK_EQ(err, packed ? -EINVAL : 0);
    device_resume(d.dev);
    fake_run_loop(d.m);
    CHECK_EQ(vd_status(&d), packed ? 0 : 0x0f | VIRTIO_NEEDS_RESET);
    records_free(&r);
    vd_free(&d);
}

/* ------------------------------------------------------------------ threads */

static void nap_us(long us)
{
    nanosleep(&(struct timespec){0, us * 1000}, NULL);
}

/* Two threads that steer frames to each other's rings: held, neither touches
 * memory, and no frame that one had read is lost. */
BOTH_RINGS(vnet_hold_threads_come_to_rest)
{
    struct vd d;
    unsigned got = 0, given = 0;
    uint8_t f[60] = {2, 2, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0, 8, 0, 0x45};
    test_timeout(60);
    busy(&d, packed);
    vd_free(&d);
    d.opts = "rss=on,iothreads=on";
    vd_up(&d, packed, CTRL | F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_RSS));
    struct {
        le32 types;
        le16 mask, unclassified, table[4], max_tx;
        uint8_t len, key[4];
    } __attribute__((packed))
    rss = {1, 3, 0, {0, 1, 1, 0}, 2, 4, {0x6d, 0x5a, 0x56, 0xda}};
    command(&d, 4, 1, &rss, sizeof(rss));
    for (unsigned round = 0; round < 100; round++) {
        while (d.q[0].nfree > 4 && d.brk < VD_LOW_RAM - 8192)
            vd_post(&d, 0, 1526);
        while (d.q[2].nfree > 4 && d.brk < VD_LOW_RAM - 8192)
            vd_post(&d, 2, 1526);
        vd_kick(&d, 0);
        vd_kick(&d, 2);
        for (unsigned i = 0; i < 8; i++, given++) {
            f[29] = f[33] = (uint8_t)test_random();
            fake_net_give(d.net, i % 2, NULL, f, 60);
        }
        nap_us(test_random() % 100);
        device_hold(d.dev);
        unsigned n = vd_reap(&d.q[0]) + vd_reap(&d.q[2]);
        nap_us(300);
        CHECK_EQ(vd_reap(&d.q[0]) + vd_reap(&d.q[2]), 0);
        got += n;
        device_resume(d.dev);
        if (d.brk > VD_LOW_RAM / 2) /* all buffers are back */
            break;
    }
    for (int i = 0; i < 20000 && got < given; i++) {
        got += vd_reap(&d.q[0]) + vd_reap(&d.q[2]);
        nap_us(100);
    }
    CHECK_EQ(got, given);
    vd_free(&d);
}
