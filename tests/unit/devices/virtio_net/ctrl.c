/* SPDX-License-Identifier: MIT */
/* virtio-net's control queue (virtio 1.2 §5.1.6.5; coalescing: 1.3). */
#include "tests/unit/devices/rxfilter.h"
#include "tests/unit/fakevirtio.h"

#define CTRL_VQ F(VIRTIO_NET_F_CTRL_VQ)
#define CTRL_RX (CTRL_VQ | F(VIRTIO_NET_F_CTRL_RX))
#define CTRL_VLAN (CTRL_VQ | F(VIRTIO_NET_F_CTRL_VLAN))
#define MAC_ADDR F(VIRTIO_NET_F_CTRL_MAC_ADDR)
#define CTRL_MQ (CTRL_VQ | F(VIRTIO_NET_F_MQ))
#define CTRL_COAL (CTRL_VQ | F(VIRTIO_NET_F_NOTF_COAL))
#define OK 0
#define ERR 1
#define NO_ANSWER 0xee

/* A device with a control queue, or the test is skipped. */
static void up(struct vd *d, bool packed, uint64_t want)
{
    d->packed = packed;
    vd_new(d);
    if (want & ~vd_offered(d)) {
        vd_free(d);
        SKIP("the device does not offer this");
    }
    vd_again(d, want);
}

static unsigned ctrl_queue(const struct vd *d)
{
    const uint64_t many = F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_RSS);
    return d->features & many ? d->nq - 1 : 2;
}

/* A command with its data cut into pieces of `step` bytes; the answer. */
static uint8_t command_cut(struct vd *d, uint8_t class, uint8_t cmd,
                           const void *data, uint32_t len, uint32_t step)
{
    struct vd_queue *q = &d->q[ctrl_queue(d)];
    struct vd_buf b[64];
    unsigned n = 0;
    int id;
    uint32_t written;
    d->brk = 0x100000;
    uint64_t at = vd_alloc(d, len + 2, 1), ack = vd_alloc(d, 1, 1);
    uint8_t *p = vd_ram(d, at, len + 2);
    p[0] = class;
    p[1] = cmd;
    if (len)
        memcpy(p + 2, data, len);
    *(uint8_t *)vd_ram(d, ack, 1) = NO_ANSWER;
    for (uint32_t off = 0; off < len + 2; off += step)
        b[n++] = (struct vd_buf){
            at + off, len + 2 - off < step ? len + 2 - off : step, false};
    b[n++] = (struct vd_buf){ack, 1, true};
    REQUIRE(vd_add(q, b, n) >= 0);
    vd_kick(d, q->index);
    REQUIRE(vd_used(q, &id, &written)); /* at once */
    CHECK_EQ(written, 1);
    return *(uint8_t *)vd_ram(d, ack, 1);
}

static uint8_t command(struct vd *d, uint8_t class, uint8_t cmd,
                       const void *data, uint32_t len)
{
    return command_cut(d, class, cmd, data, len, 0x100000);
}

static uint8_t command8(struct vd *d, uint8_t class, uint8_t cmd, uint8_t data)
{
    return command(d, class, cmd, &data, 1);
}

static uint8_t command16(struct vd *d, uint8_t class, uint8_t cmd,
                         uint16_t data)
{
    return command(d, class, cmd, &data, 2);
}

/* ----------------------------------------------------- what no command is */

BOTH_RINGS(vnet_5_1_6_5_unknown_commands_answer_err)
{
    struct vd d = {0};
    uint8_t data[64] = {0};
    up(&d, packed, CTRL_VQ);
    for (unsigned class = 0; class < 256; class ++)
        for (unsigned cmd = 0; cmd < 256; cmd += class < 8 ? 1 : 51)
            for (unsigned len = 0; len < 9; len += 4)
                CHECK_EQ(command(&d, (uint8_t) class, (uint8_t)cmd, data, len),
                         ERR); /* none of them was negotiated */
    CHECK_EQ(vd_status(&d), 0x0f);
    vd_check_alive(&d);
    vd_free(&d);
}

BOTH_RINGS(vnet_5_1_6_5_any_framing)
{
    struct vd d = {0};
    uint8_t table[8 + 6 * 3] = {2, 0, 0, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
    table[16] = 1;
    up(&d, packed, CTRL_RX | MAC_ADDR);
    for (uint32_t step = 1; step < 30; step++) {
        CHECK_EQ(command_cut(&d, 1, 0, table, 26, step), OK);
        CHECK_EQ(command_cut(&d, 0, 0, "\1", 1, step), OK);
        CHECK_EQ(command_cut(&d, 9, 0, table, 26, step), ERR);
    }
    vd_free(&d);
}

/* VV N0033: nowhere to say it; the chain comes back all the same. */
BOTH_RINGS(vnet_5_1_6_5_no_room_for_the_answer)
{
    struct vd d = {0};
    int id;
    uint32_t len;
    up(&d, packed, CTRL_RX);
    struct vd_queue *q = &d.q[ctrl_queue(&d)];
    static const unsigned sizes[] = {0, 1, 2, 3, 100};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        const struct vd_buf b = {vd_alloc(&d, 100, 1), sizes[i], false};
        REQUIRE(vd_add(q, &b, 1) >= 0);
        vd_kick(&d, q->index);
        REQUIRE(vd_used(q, &id, &len));
        CHECK_EQ(len, 0);
    }
    CHECK_EQ(vd_status(&d), 0x0f);
    CHECK_EQ(command8(&d, 0, 0, 1), OK);
    vd_free(&d);
}

/* More room than one byte: one is written. No command at all: ERR. */
BOTH_RINGS(vnet_5_1_6_5_answer_is_one_byte)
{
    struct vd d = {0};
    int id;
    uint32_t len;
    up(&d, packed, CTRL_RX);
    struct vd_queue *q = &d.q[ctrl_queue(&d)];
    uint64_t at = vd_alloc(&d, 32, 1);
    memset(vd_ram(&d, at, 32), 0x77, 32);
    const struct vd_buf b = {at, 32, true};
    REQUIRE(vd_add(q, &b, 1) >= 0);
    vd_kick(&d, q->index);
    REQUIRE(vd_used(q, &id, &len));
    const uint8_t *p = vd_ram(&d, at, 32);
    CHECK_EQ(p[0], ERR);
    for (unsigned i = 1; i < 32; i++)
        CHECK_EQ(p[i], 0x77);
    CHECK_EQ(len, 1);
    vd_free(&d);
}

BOTH_RINGS(vnet_control_queue_works_without_link)
{
    struct vd d = {0};
    up(&d, packed, CTRL_RX | F(VIRTIO_NET_F_STATUS));
    netdev_set_link(fake_net_dev(d.net), false);
    fake_run_loop(d.m);
    CHECK_EQ(command8(&d, 0, 0, 1), OK);
    CHECK_EQ(vd_irqs(&d, ctrl_queue(&d)), 1);
    vd_free(&d);
}

/* Several at once, as a burst before DRIVER_OK: each answered, in order. */
BOTH_RINGS(vnet_5_1_6_5_many_commands_at_once)
{
    struct vd d = {0};
    int id;
    uint32_t len;
    up(&d, packed, CTRL_RX);
    struct vd_queue *q = &d.q[ctrl_queue(&d)];
    unsigned n = q->size / 3;
    uint64_t at = vd_alloc(&d, 3, 1), ack = vd_alloc(&d, n, 1);
    memset(vd_ram(&d, ack, n), NO_ANSWER, n);
    *(uint8_t *)vd_ram(&d, at + 2, 1) = 1;
    for (unsigned i = 0; i < n; i++) {
        const struct vd_buf b[] = {{at, 3, false}, {ack + i, 1, true}};
        REQUIRE(vd_put(q, b, 2) >= 0);
    }
    vd_publish(q);
    vd_kick(&d, q->index);
    for (unsigned i = 0; i < n; i++) {
        REQUIRE(vd_used(q, &id, &len));
        CHECK_EQ(((uint8_t *)vd_ram(&d, ack, n))[i], OK);
    }
    vd_free(&d);
}

/* Every known command with every wrong length. */
BOTH_RINGS(hostile_known_commands_of_any_length)
{
    static const struct {
        uint8_t class, cmd, len;
    } known[] = {{0, 0, 1}, {0, 1, 1}, {0, 2, 1}, {0, 3, 1}, {0, 4, 1},
                 {0, 5, 1}, {1, 1, 6}, {2, 0, 2}, {2, 1, 2}, {4, 0, 2},
                 {5, 0, 8}, {6, 0, 8}, {6, 1, 8}, {6, 2, 12}};
    static uint8_t data[70000];
    struct vd d = {.packed = packed, .pairs = 2};
    vd_new(&d);
    uint64_t f = vd_offered(&d) & ~F(VIRTIO_NET_F_HASH_REPORT);
    if (!(f & CTRL_VQ)) {
        vd_free(&d);
        SKIP("no control queue");
    }
    vd_again(&d, f & ~F(VIRTIO_F_RING_PACKED) & ~F(VIRTIO_F_IN_ORDER));
    data[0] = 1;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        for (uint32_t len = 0; len < 70000; len += len < 30 ? 1 : 9973)
            if (len != known[i].len)
                CHECK_EQ(command(&d, known[i].class, known[i].cmd, data, len),
                         ERR);
    for (unsigned class = 0; class < 8; class ++)
        for (unsigned cmd = 0; cmd < 8; cmd++)
            for (unsigned fill = 0; fill < 256; fill += 85)
                for (uint32_t len = 0; len < 400; len += 7) {
                    memset(data, (int)fill, 400);
                    command(&d, (uint8_t) class, (uint8_t)cmd, data, len);
                }
    CHECK_EQ(vd_status(&d), 0x0f);
    vd_drain(&d);
    vd_set(&d, C_STATUS, 1, 0);
    vd_free(&d);
}

/* ------------------------------------------------------- what is received */

static const uint8_t mine[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
static const uint8_t other[6] = {0x52, 0x54, 0, 9, 9, 9};
static const uint8_t group[6] = {0x33, 0x33, 0, 0, 0, 1};
static const uint8_t group2[6] = {0x33, 0x33, 0, 0, 0, 2};
static const uint8_t all[6] = {255, 255, 255, 255, 255, 255};

/* Does a frame to this address reach the guest? */
static bool receives(struct vd *d, const uint8_t mac[6])
{
    uint8_t f[60] = {0};
    d->brk = 0x200000;
    memcpy(f, mac, 6);
    f[12] = 0x88;
    f[13] = 0xb5;
    if (d->q[RX0].nfree == d->q[RX0].size)
        vd_post(d, RX0, 1526);
    vd_kick(d, RX0);
    fake_net_give(d->net, 0, NULL, f, sizeof(f));
    fake_run_loop(d->m);
    return vd_reap(&d->q[RX0]);
}

/* Two tables of at most one address each. */
static uint8_t set_macs(struct vd *d, const uint8_t *uni, const uint8_t *multi)
{
    uint8_t t[20] = {0};
    uint32_t n = 4;
    if (uni) {
        t[0] = 1;
        memcpy(t + 4, uni, 6);
        n += 6;
    }
    t[n] = multi ? 1 : 0;
    if (multi)
        memcpy(t + n + 4, multi, 6);
    return command(d, 1, 0, t, n + 4 + (multi ? 6 : 0));
}

BOTH_RINGS(vnet_5_1_6_5_1_mac_tables_filter)
{
    struct vd d = {0};
    up(&d, packed, CTRL_RX);
    CHECK_EQ(command8(&d, 0, 0, 0), OK); /* not promiscuous */
    CHECK_EQ(command8(&d, 0, 1, 0), OK);
    CHECK_EQ(set_macs(&d, NULL, NULL), OK);
    CHECK(receives(&d, mine));
    CHECK(receives(&d, all));
    CHECK(!receives(&d, other));
    CHECK(!receives(&d, group));
    CHECK_EQ(set_macs(&d, other, group), OK);
    CHECK(receives(&d, mine));
    CHECK(receives(&d, other));
    CHECK(receives(&d, group));
    CHECK(!receives(&d, group2));
    CHECK_EQ(command8(&d, 0, 1, 1), OK); /* ALLMULTI */
    CHECK(receives(&d, group2));
    CHECK_EQ(set_macs(&d, NULL, NULL), OK);
    CHECK(!receives(&d, other));
    CHECK_EQ(command8(&d, 0, 0, 1), OK); /* PROMISC */
    CHECK(receives(&d, other));
    CHECK_EQ(command8(&d, 0, 0, 0), OK);
    CHECK(!receives(&d, other));
    CHECK(vd_count(&d, "rx_drop_filter") >= 4);
    d.brk = 0x10000;
    vd_again(&d, CTRL_RX); /* the filter is gone */
    CHECK(receives(&d, mine));
    CHECK(receives(&d, all));
    vd_free(&d);
}

BOTH_RINGS(vnet_5_1_6_5_1_extra_receive_modes)
{
    struct vd d = {0};
    up(&d, packed, CTRL_RX | F(VIRTIO_NET_F_CTRL_RX_EXTRA));
    CHECK_EQ(command8(&d, 0, 0, 0), OK);
    CHECK_EQ(set_macs(&d, NULL, group), OK);
    CHECK_EQ(command8(&d, 0, 2, 1), OK); /* ALLUNI */
    CHECK(receives(&d, other));
    CHECK_EQ(command8(&d, 0, 2, 0), OK);
    CHECK(!receives(&d, other));
    CHECK_EQ(command8(&d, 0, 3, 1), OK); /* NOMULTI */
    CHECK(!receives(&d, group));
    CHECK(receives(&d, all));
    CHECK_EQ(command8(&d, 0, 3, 0), OK);
    CHECK(receives(&d, group));
    CHECK_EQ(command8(&d, 0, 4, 1), OK); /* NOUNI */
    CHECK(!receives(&d, mine));
    CHECK(receives(&d, all));
    CHECK_EQ(command8(&d, 0, 4, 0), OK);
    CHECK_EQ(command8(&d, 0, 5, 1), OK); /* NOBCAST */
    CHECK(!receives(&d, all));
    CHECK(receives(&d, mine));
    vd_free(&d);
}

/* Tables with counts that do not fit their data. */
BOTH_RINGS(hostile_mac_tables_of_wrong_size)
{
    static const uint32_t n[] = {1,          2,          0x100,
                                 0x2aaaaaaa, 0x2aaaaaab, 0x7fffffff,
                                 0x80000000, 0xaaaaaaab, 0xffffffff};
    struct vd d = {0};
    up(&d, packed, CTRL_RX);
    for (size_t i = 0; i < ARRAY_LEN(n); i++) {
        uint8_t t[12] = {0};
        memcpy(t, &n[i], 4);
        /* 6 * 0x2aaaaaab is 2 more than 32 bits hold */
        for (uint32_t len = 0; len < 13; len++)
            CHECK_EQ(command(&d, 1, 0, t, len), ERR);
        memset(t, 0, 4);
        memcpy(t + 4, &n[i], 4);
        for (uint32_t len = 0; len < 13; len++)
            CHECK_EQ(command(&d, 1, 0, t, len), ERR);
    }
    CHECK_EQ(set_macs(&d, NULL, NULL), OK);
    vd_free(&d);
}

/* More addresses than are kept: OK, and nothing wanted is lost. */
BOTH_RINGS(vnet_5_1_6_5_2_more_addresses_than_are_kept)
{
    struct vd d = {0};
    static uint8_t t[4 + 6 * 2000 + 4];
    up(&d, packed, CTRL_RX);
    CHECK_EQ(command8(&d, 0, 0, 0), OK);
    memset(t, 0, sizeof(t));
    const uint32_t n = 2000;
    memcpy(t, &n, 4);
    for (unsigned i = 0; i < n; i++) {
        memcpy(t + 4 + 6 * i, other, 6);
        memcpy(t + 4 + 6 * i + 3, &i, 3);
    }
    CHECK_EQ(command(&d, 1, 0, t, sizeof(t)), OK);
    CHECK(receives(&d, t + 4));
    CHECK(receives(&d, t + 4 + 6 * 1999));
    vd_free(&d);
}

/* 64 are kept, and no other passes; with one more all do. */
BOTH_RINGS(vnet_5_1_6_5_2_as_many_addresses_as_are_kept)
{
    struct vd d = {0};
    static uint8_t table[8 + 6 * 65];
    const uint8_t none[6] = {2, 9, 9, 9, 9, 9}, last[6] = {2, 0, 0, 0, 0, 63};
    up(&d, packed, CTRL_RX);
    for (uint8_t n = 64; n <= 65; n++) {
        memset(table, 0, sizeof(table));
        table[0] = n;
        for (uint8_t i = 0; i < n; i++) {
            table[4 + 6 * i] = 2;
            table[9 + 6 * i] = i;
        }
        CHECK_EQ(command(&d, 1, 0, table, 8 + 6u * n), OK);
        CHECK(receives(&d, last));
        CHECK_EQ(receives(&d, none), n > 64);
    }
    vd_free(&d);
}

BOTH_RINGS(vnet_5_1_6_5_2_mac_address_changes_at_once)
{
    struct vd d = {0};
    up(&d, packed, CTRL_RX | MAC_ADDR);
    CHECK_EQ(command8(&d, 0, 0, 0), OK);
    CHECK_EQ(set_macs(&d, NULL, NULL), OK);
    CHECK_EQ(command(&d, 1, 1, other, 6), OK);
    uint8_t now[6];
    for (unsigned i = 0; i < 6; i++)
        now[i] = drv_r8(d.m, d.config + i);
    CHECK_MEM(now, other, 6);
    CHECK(receives(&d, other));
    CHECK(!receives(&d, mine));
    vd_set(&d, C_STATUS, 1, 0);
    CHECK_EQ(drv_r32(d.m, d.config), 0x12005452); /* the card's own again */
    vd_free(&d);
}

static bool receives_vlan(struct vd *d, uint16_t vid)
{
    uint8_t f[64] = {0};
    d->brk = 0x200000;
    memcpy(f, mine, 6);
    f[12] = 0x81;
    f[14] = (uint8_t)(vid >> 8 | 0x60); /* a priority too */
    f[15] = (uint8_t)vid;
    if (d->q[RX0].nfree == d->q[RX0].size)
        vd_post(d, RX0, 1526);
    vd_kick(d, RX0);
    fake_net_give(d->net, 0, NULL, f, sizeof(f));
    fake_run_loop(d->m);
    return vd_reap(&d->q[RX0]);
}

BOTH_RINGS(vnet_5_1_6_5_3_vlan_filter)
{
    struct vd d = {0};
    up(&d, packed, CTRL_VLAN);
    CHECK(receives(&d, mine));
    CHECK(!receives_vlan(&d, 5));
    CHECK_EQ(command16(&d, 2, 0, 5), OK);
    CHECK(receives_vlan(&d, 5));
    CHECK(!receives_vlan(&d, 6));
    CHECK_EQ(command16(&d, 2, 0, 4095), OK);
    CHECK(receives_vlan(&d, 4095));
    CHECK_EQ(command16(&d, 2, 1, 5), OK);
    CHECK(!receives_vlan(&d, 5));
    for (unsigned vid = 4096; vid < 0x10000; vid += 4093) {
        CHECK_EQ(command16(&d, 2, 0, (uint16_t)vid), ERR);
        CHECK_EQ(command16(&d, 2, 1, (uint16_t)vid), ERR);
    }
    d.brk = 0x10000;
    vd_again(&d, CTRL_VLAN);
    CHECK(!receives_vlan(&d, 4095)); /* the table is empty again */
    d.brk = 0x10000;
    vd_again(&d, CTRL_VQ);
    CHECK(receives_vlan(&d, 5)); /* not negotiated: all pass */
    vd_free(&d);
}

BOTH_RINGS(vnet_5_1_6_5_1_a_filter_is_shown_and_its_change_told_once)
{
    struct vd d = {0};
    le16 vid = 5;
    up(&d, packed,
       CTRL_VLAN | F(VIRTIO_NET_F_CTRL_RX) | F(VIRTIO_NET_F_CTRL_MAC_ADDR));
    filter_listen(d.m);
    CHECK_HAS(filter_of(d.dev), "\"promiscuous\": true, ");
    CHECK(!filter_news(d.dev));
    CHECK_EQ(command8(&d, 0, 0, 0), OK);
    CHECK(filter_news(d.dev));
    CHECK_EQ(set_macs(&d, other, group), OK);
    CHECK_EQ(command(&d, 2, 0, &vid, 2), OK);
    CHECK(!filter_news(d.dev)); /* nobody has asked since */
    CHECK_HAS(filter_of(d.dev),
              "\"promiscuous\": false, \"multicast\": \"normal\", "
              "\"unicast\": \"normal\", \"vlan\": \"normal\", "
              "\"broadcast-allowed\": true, \"multicast-overflow\": false, "
              "\"unicast-overflow\": false, \"main-mac\": \"52:54:00:");
    CHECK_HAS(filter_of(d.dev), "\"vlan-table\": [5], ");
    CHECK_HAS(filter_of(d.dev), "\"unicast-table\": [\"52:");
    CHECK_HAS(filter_of(d.dev), "\"multicast-table\": [\"33:");
    CHECK_EQ(command(&d, 1, 1, other, 6), OK);
    CHECK(filter_news(d.dev));
    filter_of(d.dev);
    CHECK_EQ(command(&d, 1, 1, other, 5), ERR);
    CHECK(!filter_news(d.dev));
    vd_free(&d);
}

/* As QEMU and hardware: who captures or bridges sees every VLAN. */
BOTH_RINGS(vnet_5_1_6_5_1_promiscuous_lifts_the_vlan_filter)
{
    struct vd d = {0};
    up(&d, packed, CTRL_VLAN | F(VIRTIO_NET_F_CTRL_RX));
    CHECK(!receives_vlan(&d, 5));
    CHECK_EQ(command8(&d, 0, 0, 1), OK);
    CHECK(receives_vlan(&d, 5));
    CHECK(receives_vlan(&d, 4095));
    CHECK_EQ(command8(&d, 0, 0, 0), OK);
    CHECK(!receives_vlan(&d, 5));
    CHECK_EQ(command8(&d, 0, 1, 1), OK); /* all multicast is not all */
    CHECK(!receives_vlan(&d, 5));
    vd_free(&d);
}

BOTH_RINGS(vnet_5_1_6_5_4_announce)
{
    struct vd d = {0};
    up(&d, packed,
       CTRL_VQ | F(VIRTIO_NET_F_GUEST_ANNOUNCE) | F(VIRTIO_NET_F_STATUS));
    CHECK_EQ(command(&d, 3, 1, NULL, 0), ERR);
    CHECK_EQ(command8(&d, 3, 0, 0), ERR); /* it has no data */
    uint16_t status = drv_r16(d.m, d.config + 6);
    uint8_t ack = command(&d, 3, 0, NULL, 0);
    CHECK(ack == OK || !(status & 2));
    CHECK_EQ(drv_r16(d.m, d.config + 6) & 2, 0);
    vd_free(&d);
}

/* --------------------------------------------------------------------- MQ */

static unsigned pairs_that_receive(struct vd *d)
{
    uint8_t f[60] = {0};
    unsigned n = 0;
    memcpy(f, mine, 6);
    d->brk = 0x200000;
    for (unsigned p = 0; p < d->pairs; p++) {
        vd_post(d, 2 * p, 1526);
        vd_kick(d, 2 * p);
        fake_net_give(d->net, p, NULL, f, sizeof(f));
    }
    fake_run_loop(d->m);
    for (unsigned p = 0; p < d->pairs; p++)
        n += vd_reap(&d->q[2 * p]);
    return n;
}

BOTH_RINGS(vnet_5_1_6_5_5_queue_pairs)
{
    struct vd d = {.pairs = 4};
    up(&d, packed, CTRL_MQ);
    CHECK_EQ(drv_r16(d.m, d.config + 8), 4);
    CHECK_EQ(d.nq, 9);
    CHECK_EQ(pairs_that_receive(&d), 1); /* CH #8307 */
    CHECK_EQ(command16(&d, 4, 0, 0), ERR);
    CHECK_EQ(command16(&d, 4, 0, 5), ERR);
    CHECK_EQ(command16(&d, 4, 0, 0x8000), ERR);
    CHECK_EQ(command16(&d, 4, 0, 0xffff), ERR);
    CHECK_EQ(command16(&d, 4, 0, 4), OK);
    CHECK_EQ(fake_net_queues(d.net), 4);
    CHECK(pairs_that_receive(&d) >= 4); /* and those that waited */
    CHECK_EQ(command16(&d, 4, 0, 1), OK);
    CHECK_EQ(fake_net_queues(d.net), 1);
    vd_set(&d, C_STATUS, 1, 0); /* propolis #1033 */
    CHECK_EQ(fake_net_queues(d.net), 1);
    vd_free(&d);
}

/* Without MQ the control queue is number 2, whatever the device has. */
BOTH_RINGS(vnet_5_1_2_control_queue_without_mq)
{
    struct vd d = {.pairs = 4};
    up(&d, packed, CTRL_RX);
    CHECK_EQ(ctrl_queue(&d), 2);
    CHECK_EQ(command8(&d, 0, 0, 1), OK);
    vd_check_alive(&d);
    vd_free(&d);
}

/* A pair taken out of service with frames on its way does not spin. */
BOTH_RINGS(vnet_5_1_6_5_5_inactive_pairs_sleep)
{
    struct vd d = {.pairs = 2};
    uint8_t f[60] = {0};
    memcpy(f, mine, 6);
    up(&d, packed, CTRL_MQ);
    CHECK_EQ(command16(&d, 4, 0, 2), OK);
    CHECK_EQ(pairs_that_receive(&d), 2);
    for (unsigned i = 0; i < 4; i++)
        vd_post(&d, 2, 1526);
    vd_kick(&d, 2);
    CHECK_EQ(command16(&d, 4, 0, 1), OK);
    fake_net_give(d.net, 1, NULL, f, sizeof(f));
    fake_run_loop(d.m);
    CHECK_EQ(fake_run_loop(d.m), 0);
    CHECK_EQ(vd_reap(&d.q[2]), 0);
    CHECK_EQ(command16(&d, 4, 0, 2), OK);
    CHECK_EQ(vd_reap(&d.q[2]), 1);
    vd_free(&d);
}

/* The same with RSS, when the pair that is steered to breaks. */
BOTH_RINGS(vnet_5_1_6_5_6_4_steered_to_a_broken_queue_sleeps)
{
    struct vd d = {.pairs = 2, .opts = "rss=on"};
    uint8_t f[60] = {0}, rss[56] = {0};
    const struct vd_raw bad = {VD_LOW_RAM, 100, D_WRITE, 0};
    memcpy(f, mine, 6);
    rss[10] = 2;  /* max_tx_vq, behind a table of one entry: pair 0 */
    rss[12] = 40; /* and the key */
    up(&d, packed, CTRL_VQ | F(VIRTIO_NET_F_RSS));
    CHECK_EQ(command(&d, 4, 1, rss, 53), OK);
    CHECK(receives(&d, mine));
    vd_raw(&d.q[RX0], &bad, 1);
    for (unsigned i = 0; i < 3; i++)
        fake_net_give(d.net, 0, NULL, f, sizeof(f));
    fake_run_loop(d.m);
    CHECK_EQ(fake_run_loop(d.m), 0);
    CHECK_EQ(vd_status(&d), 0x4f);
    vd_free(&d);
}

/* Pairs on, reset, kicks of what was there. */
BOTH_RINGS(hostile_pairs_then_reset_then_kicks)
{
    struct vd d = {.pairs = 4};
    up(&d, packed, CTRL_MQ);
    CHECK_EQ(command16(&d, 4, 0, 4), OK);
    vd_set(&d, C_STATUS, 1, 0);
    for (unsigned q = 0; q < d.nq; q++)
        vd_kick(&d, q);
    d.brk = 0x10000;
    vd_again(&d, 0);
    vd_drain(&d);
    vd_check_alive(&d);
    vd_free(&d);
}

/* -------------------------------------------------------------- what else */

BOTH_RINGS(vnet_5_1_6_5_6_guest_offloads)
{
    const uint64_t tso = F(VIRTIO_NET_F_GUEST_TSO4), cs = F(1);
    struct vd d = {0};
    up(&d, packed, CTRL_VQ | F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | tso | cs);
    CHECK_EQ(fake_net_offload(d.net), NETBE_CSUM | NETBE_TSO4);
    static const uint64_t bad[] = {~0ull, 1, F(8) | F(1), 1ull << 63, F(15)};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_EQ(command(&d, 5, 0, &bad[i], 8), ERR);
    CHECK_EQ(fake_net_offload(d.net), NETBE_CSUM | NETBE_TSO4);
    uint64_t set = cs;
    CHECK_EQ(command(&d, 5, 0, &set, 8), OK);
    CHECK_EQ(fake_net_offload(d.net), NETBE_CSUM);
    set = 0;
    CHECK_EQ(command(&d, 5, 0, &set, 8), OK);
    CHECK_EQ(fake_net_offload(d.net), 0);
    set = tso | cs;
    CHECK_EQ(command(&d, 5, 0, &set, 8), OK);
    CHECK_EQ(fake_net_offload(d.net), NETBE_CSUM | NETBE_TSO4);
    vd_free(&d);
}

BOTH_RINGS(vnet_1_3_5_1_6_5_7_coalescing)
{
    static const uint32_t params[2] = {4, 1000};
    struct vd d = {0};
    uint8_t f[60] = {0}, got[64];
    up(&d, packed, CTRL_COAL);
    memcpy(f, mine, 6);
    CHECK_EQ(command(&d, 6, 0, params, 8), OK);
    CHECK_EQ(command(&d, 6, 1, params, 8), OK);
    vd_irqs(&d, TX0);
    d.brk = 0x200000;
    vd_send(&d, TX0, NULL, f, 60);
    vd_kick(&d, TX0);
    CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60); /* at once */
    CHECK_EQ(vd_reap(&d.q[TX0]), 1);
    fake_sleep_ns(d.m, 2000000);
    CHECK_EQ(vd_irqs(&d, TX0), 1); /* by then, and one */
    vd_irq_never(&d.q[TX0]);
    for (unsigned i = 0; i < 5; i++)
        vd_send(&d, TX0, NULL, f, 60);
    vd_kick(&d, TX0);
    fake_sleep_ns(d.m, 2000000);
    CHECK_EQ(vd_irqs(&d, TX0), 0); /* MUST honour suppression */
    vd_free(&d);
}

/* PCI 3.0 §6.2.2: a timer that comes due while bus mastering is off leaves the
 * ring alone; what it was for is done when the function may again. */
BOTH_RINGS(vnet_1_3_5_1_6_5_7_coalescing_without_bus_mastering)
{
    static const uint32_t params[2] = {4, 1000};
    struct vd d = {0};
    uint8_t f[60] = {0};
    up(&d, packed, CTRL_COAL);
    REQUIRE_EQ(command(&d, 6, 0, params, 8), OK);
    vd_irqs(&d, TX0);
    for (unsigned never = 0; never < 2; never++) {
        vd_irq_always(&d.q[TX0]);
        vd_send(&d, TX0, NULL, f, 60);
        vd_kick(&d, TX0);
        drv_cfg_write(d.m, d.slot, PCI_COMMAND, 2, PCI_CMD_MEM);
        fake_sleep_ns(d.m, 2000000);
        if (never) /* asked when it may be, not when the timer was due */
            vd_irq_never(&d.q[TX0]);
        drv_enable(d.m, d.slot, PCI_CMD_MEM | PCI_CMD_MASTER);
        fake_sleep_ns(d.m, 2000000);
        CHECK_EQ(vd_irqs(&d, TX0), !never);
        CHECK_EQ(vd_reap(&d.q[TX0]), 1);
    }
    vd_free(&d);
}

BOTH_RINGS(vnet_1_3_5_1_6_5_7_coalescing_of_one_queue)
{
    struct vd d = {0};
    up(&d, packed, CTRL_COAL | F(52));
    uint32_t vq[3] = {TX0, 4, 1000};
    CHECK_EQ(command(&d, 6, 2, vq, 12), OK);
    static const uint16_t bad[] = {2, 3, 33, 0x8000, 0xffff};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        vq[0] = bad[i];
        CHECK_EQ(command(&d, 6, 2, vq, 12), ERR);
    }
    vd_free(&d);
}

/* Without MQ there are queues of pairs that are not used behind the control
 * queue; behind those there is nothing. */
BOTH_RINGS(vnet_1_3_5_1_6_5_7_coalescing_of_no_queue)
{
    struct vd d = {.pairs = 2};
    up(&d, packed, CTRL_VQ | F(VIRTIO_NET_F_VQ_NOTF_COAL));
    const struct {
        le16 vqn, reserved;
        le32 packets, usecs;
    } c[] = {{2, 0, 4, 10}, {4, 0, 4, 10}, {5, 0, 4, 10}, {0xffff, 0, 4, 10}};
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        CHECK_EQ(command(&d, 6, 2, &c[i], sizeof(c[i])), ERR);
    vd_free(&d);
}
