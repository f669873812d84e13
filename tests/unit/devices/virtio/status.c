/* SPDX-License-Identifier: MIT */
/* Device status, features, reset and queue reset (virtio 1.2 §2.1-2.6, §3, §6).
 */
#include "tests/unit/fakevirtio.h"

#define ACK_DRIVER (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER)
#define RESET_BIT F(VIRTIO_F_RING_RESET)

static const uint8_t frame[60] = {0x52, 0x54, 0, 0x12, 0x34, 0x56, 2,
                                  0,    0,    0, 0,    2,    8,    0};

/* ----------------------------------------------------------------- status */

TEST(virtio_2_1_status_bits_are_set_one_by_one_and_never_cleared)
{
    struct vd d = {0};
    vd_new(&d);
    CHECK_EQ(vd_status(&d), 0);
    vd_set(&d, C_STATUS, 1, VIRTIO_ACKNOWLEDGE);
    CHECK_EQ(vd_status(&d), 1);
    vd_set(&d, C_STATUS, 1, VIRTIO_DRIVER); /* without the one before */
    CHECK_EQ(vd_status(&d), ACK_DRIVER);
    vd_set(&d, C_STATUS, 1, VIRTIO_FAILED);
    CHECK_EQ(vd_status(&d), ACK_DRIVER | VIRTIO_FAILED);
    vd_set(&d, C_STATUS, 1, 0);
    CHECK_EQ(vd_status(&d), 0);
    vd_free(&d);
}

/* NEEDS_RESET is the device's; SUSPEND was not negotiated. */
TEST(virtio_2_1_bits_that_are_not_the_drivers)
{
    struct vd d = {0};
    vd_up(&d, false, 0);
    vd_set(&d, C_STATUS, 1, 0x0f | VIRTIO_NEEDS_RESET);
    CHECK_EQ(vd_status(&d), 0x0f);
    vd_set(&d, C_STATUS, 1, 0x0f | 0x10 | 0x20);
    CHECK_EQ(vd_status(&d) & ~0x30, 0x0f);
    vd_check_alive(&d);
    vd_free(&d);
}

/* Buffers before DRIVER_OK wait for it, kicked or not. */
BOTH_RINGS(virtio_2_1_2_nothing_moves_before_driver_ok)
{
    struct vd d = {.packed = packed};
    uint8_t got[64];
    vd_new(&d);
    REQUIRE(vd_negotiate(&d, F(VIRTIO_F_VERSION_1) |
                                 (packed ? F(VIRTIO_F_RING_PACKED) : 0)));
    vd_irqs_on(&d);
    vd_queue_make(&d, RX0, 16);
    vd_queue_make(&d, TX0, 16);
    vd_send(&d, TX0, NULL, frame, 60);
    vd_post(&d, RX0, 2000);
    fake_net_give(d.net, 0, NULL, frame, 60);
    vd_kick(&d, RX0);
    vd_kick(&d, TX0);
    CHECK_EQ(fake_net_sends(d.net) + fake_net_recvs(d.net), 0);
    CHECK_EQ(vd_reap(&d.q[RX0]) + vd_reap(&d.q[TX0]), 0);
    CHECK_EQ(vd_irqs(&d, RX0) + vd_irqs(&d, TX0), 0);
    vd_status_or(&d, VIRTIO_DRIVER_OK); /* no kick now (§3.1.2) */
    fake_run_loop(d.m);
    CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
    CHECK_EQ(vd_reap(&d.q[RX0]), 1);
    CHECK_EQ(vd_reap(&d.q[TX0]), 1);
    CHECK_EQ(vd_irqs(&d, RX0), 1);
    CHECK_EQ(vd_irqs(&d, TX0), 1);
    vd_free(&d);
}

/* DRIVER_OK before FEATURES_OK starts nothing. */
TEST(virtio_3_1_1_driver_ok_needs_features_ok)
{
    struct vd d = {0};
    vd_new(&d);
    vd_status_or(&d, ACK_DRIVER);
    vd_status_or(&d, VIRTIO_DRIVER_OK);
    CHECK_EQ(vd_status(&d) & VIRTIO_DRIVER_OK, 0);
    vd_set(&d, C_QUEUE_SEL, 2, 0);
    vd_set(&d, C_QUEUE_ENABLE, 2, 1); /* nor does a queue begin */
    CHECK_EQ(vd_get(&d, C_QUEUE_ENABLE, 2), 0);
    vd_free(&d);
}

/* --------------------------------------------------------------- features */

TEST(virtio_6_what_is_offered)
{
    struct vd d = {0};
    vd_new(&d);
    uint64_t f = vd_offered(&d);
    CHECK(f & F(VIRTIO_F_VERSION_1));
    CHECK_EQ(f & F(30), 0);                         /* §6.3: unused */
    CHECK_EQ(f & F(37), 0);                         /* SR-IOV: no capability */
    CHECK_EQ(f & (F(41) | F(42)), 0);               /* §5.1.3.1 */
    CHECK_EQ(f & F(VIRTIO_F_NOTIFICATION_DATA), 0); /* kicks carry none */
    CHECK_EQ(f & F(43), 0);                         /* 1.4: SUSPEND */
    CHECK_EQ(f & F(61), 0);                         /* RSC_EXT */
    vd_free(&d);
}

TEST(virtio_4_1_4_3_1_feature_selectors_beyond_1)
{
    static const uint32_t sel[] = {2, 3, 31, 0x10000, 0x80000000, 0xffffffff};
    struct vd d = {0};
    vd_new(&d);
    REQUIRE(vd_negotiate(&d, F(VIRTIO_F_VERSION_1)));
    vd_set(&d, C_STATUS, 1, 0);
    vd_write_features(&d, F(VIRTIO_F_VERSION_1));
    for (size_t i = 0; i < ARRAY_LEN(sel); i++) {
        vd_set(&d, C_DEV_SEL, 4, sel[i]);
        CHECK_EQ(vd_get(&d, C_DEV_SEL, 4), sel[i]);
        CHECK_EQ(vd_get(&d, C_DEV_FEATURE, 4), 0);
        vd_set(&d, C_DRV_SEL, 4, sel[i]);
        vd_set(&d, C_DRV_FEATURE, 4, 0xffffffff);
        CHECK_EQ(vd_get(&d, C_DRV_FEATURE, 4), 0);
    }
    vd_set(&d, C_DRV_SEL, 4, 0);
    CHECK_EQ(vd_get(&d, C_DRV_FEATURE, 4), 0);
    vd_set(&d, C_DRV_SEL, 4, 1);
    CHECK_EQ(vd_get(&d, C_DRV_FEATURE, 4), 1);
    vd_free(&d);
}

TEST(virtio_4_1_4_3_1_driver_features_read_back)
{
    struct vd d = {0};
    vd_new(&d);
    uint64_t f = vd_offered(&d);
    vd_write_features(&d, f);
    for (unsigned i = 0; i < 2; i++) {
        vd_set(&d, C_DRV_SEL, 4, i);
        CHECK_EQ(vd_get(&d, C_DRV_FEATURE, 4), (uint32_t)(f >> 32 * i));
    }
    vd_free(&d);
}

/* A bit that was not offered is refused, each of them. */
TEST(virtio_2_2_2_unoffered_features_are_refused)
{
    struct vd d = {0};
    vd_new(&d);
    uint64_t f = vd_offered(&d);
    for (unsigned bit = 0; bit < 64; bit++) {
        if (f & F(bit))
            continue;
        CHECK(!vd_negotiate(&d, F(VIRTIO_F_VERSION_1) | F(bit)));
        CHECK_EQ(vd_status(&d), ACK_DRIVER);
    }
    CHECK(!vd_negotiate(&d, ~0ull));
    REQUIRE(vd_negotiate(&d, F(VIRTIO_F_VERSION_1))); /* none the worse */
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}

/* §5.1.3.1: {feature, what one of which it needs} */
static const struct {
    uint8_t bit;
    uint64_t needs;
} needs[] = {
    {VIRTIO_NET_F_GUEST_TSO4, F(VIRTIO_NET_F_GUEST_CSUM)},
    {VIRTIO_NET_F_GUEST_TSO6, F(VIRTIO_NET_F_GUEST_CSUM)},
    {VIRTIO_NET_F_GUEST_UFO, F(VIRTIO_NET_F_GUEST_CSUM)},
    {VIRTIO_NET_F_GUEST_USO4, F(VIRTIO_NET_F_GUEST_CSUM)},
    {VIRTIO_NET_F_GUEST_USO6, F(VIRTIO_NET_F_GUEST_CSUM)},
    {VIRTIO_NET_F_GUEST_ECN,
     F(VIRTIO_NET_F_GUEST_TSO4) | F(VIRTIO_NET_F_GUEST_TSO6)},
    {VIRTIO_NET_F_HOST_TSO4, F(VIRTIO_NET_F_CSUM)},
    {VIRTIO_NET_F_HOST_TSO6, F(VIRTIO_NET_F_CSUM)},
    {VIRTIO_NET_F_HOST_UFO, F(VIRTIO_NET_F_CSUM)},
    {VIRTIO_NET_F_HOST_USO, F(VIRTIO_NET_F_CSUM)},
    {VIRTIO_NET_F_HOST_ECN,
     F(VIRTIO_NET_F_HOST_TSO4) | F(VIRTIO_NET_F_HOST_TSO6)},
    {VIRTIO_NET_F_CTRL_RX, F(VIRTIO_NET_F_CTRL_VQ)},
    {VIRTIO_NET_F_CTRL_VLAN, F(VIRTIO_NET_F_CTRL_VQ)},
    {VIRTIO_NET_F_CTRL_RX_EXTRA, F(VIRTIO_NET_F_CTRL_VQ)},
    {VIRTIO_NET_F_GUEST_ANNOUNCE, F(VIRTIO_NET_F_CTRL_VQ)},
    {VIRTIO_NET_F_MQ, F(VIRTIO_NET_F_CTRL_VQ)},
    {VIRTIO_NET_F_CTRL_MAC_ADDR, F(VIRTIO_NET_F_CTRL_VQ)},
    {VIRTIO_NET_F_RSS, F(VIRTIO_NET_F_CTRL_VQ)},
    {VIRTIO_NET_F_NOTF_COAL, F(VIRTIO_NET_F_CTRL_VQ)},
    {52, F(VIRTIO_NET_F_CTRL_VQ)}, /* VQ_NOTF_COAL */
    {VIRTIO_NET_F_HASH_REPORT, F(VIRTIO_NET_F_CTRL_VQ)},
    {VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, F(VIRTIO_NET_F_CTRL_VQ)},
};

static void check_closed(const char *opts)
{
    struct vd d = {.opts = opts};
    vd_new(&d);
    uint64_t f = vd_offered(&d);
    for (size_t i = 0; i < ARRAY_LEN(needs); i++)
        if (f & F(needs[i].bit))
            CHECK(f & needs[i].needs);
    vd_free(&d);
}

TEST(virtio_2_2_2_no_feature_is_offered_without_what_it_needs)
{
    check_closed(NULL);
    check_closed("csum=off");
    check_closed("guest_csum=off");
    check_closed("host_tso4=off,host_tso6=off");
    check_closed("guest_tso4=off,guest_tso6=off");
}

/* Every feature with what it needs, and alone, again and again. */
TEST(virtio_2_2_2_valid_subsets_are_accepted_again_and_again)
{
    struct vd d = {0};
    vd_new(&d);
    uint64_t f = vd_offered(&d);
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t with = F(bit) | F(VIRTIO_F_VERSION_1);
        for (int pass = 0; pass < 3; pass++)
            for (size_t i = 0; i < ARRAY_LEN(needs); i++)
                if (with & F(needs[i].bit))
                    with |= needs[i].needs & f;
        if (!(f & F(bit)))
            continue;
        CHECK(vd_negotiate(&d, with));
        CHECK(vd_negotiate(&d, with));
    }
    CHECK(vd_negotiate(&d, f));
    CHECK(vd_negotiate(&d, f));
    vd_free(&d);
}

/* Some test drivers negotiate nothing at all. */
TEST(virtio_6_2_no_features_at_all_are_accepted)
{
    struct vd d = {0};
    vd_new(&d);
    CHECK(vd_negotiate(&d, 0));
    vd_free(&d);
}

BOTH_RINGS(virtio_3_1_1_features_are_closed_by_features_ok)
{
    struct vd d = {.packed = packed};
    uint64_t f = F(VIRTIO_F_VERSION_1) | (packed ? F(VIRTIO_F_RING_PACKED) : 0);
    vd_new(&d);
    REQUIRE(vd_negotiate(&d, f));
    vd_write_features(&d, vd_offered(&d));
    vd_status_or(&d, VIRTIO_FEATURES_OK);
    for (unsigned i = 0; i < 2; i++) {
        vd_set(&d, C_DRV_SEL, 4, i);
        CHECK_EQ(vd_get(&d, C_DRV_FEATURE, 4), (uint32_t)(f >> 32 * i));
    }
    vd_queue_make(&d, TX0, 16);
    vd_status_or(&d, VIRTIO_DRIVER_OK);
    vd_irq_never(&d.q[TX0]); /* a flag, and no event index */
    vd_send(&d, TX0, NULL, frame, 60);
    vd_kick(&d, TX0);
    CHECK_EQ(vd_reap(&d.q[TX0]), 1);
    CHECK_EQ(drv_r8(d.m, d.isr), 0);
    vd_free(&d);
}

TEST(virtio_2_5_2_config_reads_before_features_ok)
{
    struct vd d = {0};
    vd_new(&d);
    CHECK_EQ(drv_r32(d.m, d.config), 0x12005452);
    CHECK_EQ(drv_r16(d.m, d.config + 4), 0x5634);
    vd_free(&d);
}

/* ------------------------------------------------------------------ reset */

/* A reset in mid-traffic, with packets stuck both ways: from then on
 * not a byte of the rings changes. */
BOTH_RINGS(virtio_2_4_1_after_reset_nothing_is_touched)
{
    struct vd d = {0};
    static uint8_t before[0x40000];
    vd_up(&d, packed, F(VIRTIO_F_EVENT_IDX));
    for (unsigned i = 0; i < 10; i++)
        vd_post(&d, RX0, 2000);
    fake_net_block(d.net, 0, true);
    for (unsigned i = 0; i < 10; i++)
        vd_send(&d, TX0, NULL, frame, 60);
    vd_kick(&d, TX0);
    vd_kick(&d, RX0);
    fake_net_give(d.net, 0, NULL, frame, 60);
    drv_w16(d.m, d.notify + d.mult, 1); /* a kick on its way */
    vd_set(&d, C_STATUS, 1, 0);
    CHECK_EQ(vd_status(&d), 0);
    memset(vd_ram(&d, 0x10000, sizeof(before)), 0xa5, sizeof(before));
    memset(before, 0xa5, sizeof(before));
    fake_msis(d.m, DRV_MSI_ADDR, FAKE_ANY);
    fake_net_block(d.net, 0, false);
    fake_run_loop(d.m);
    for (unsigned i = 0; i < 5; i++)
        fake_net_give(d.net, 0, NULL, frame, 60);
    fake_sleep_ns(d.m, 100000000);
    CHECK_MEM(vd_ram(&d, 0x10000, sizeof(before)), before, sizeof(before));
    CHECK_EQ(fake_msis(d.m, DRV_MSI_ADDR, FAKE_ANY), 0);
    CHECK_EQ(drv_r8(d.m, d.isr), 0);
    CHECK_EQ(fake_run_loop(d.m), 0);
    vd_drain(&d);
    d.brk = 0x10000;
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}

/* Everything of the driver's is as it was at power on. */
static void check_power_on(struct vd *d, const struct vd_queue *size)
{
    CHECK_EQ(vd_status(d), 0);
    CHECK_EQ(vd_get(d, C_DEV_SEL, 4), 0);
    CHECK_EQ(vd_get(d, C_DRV_SEL, 4), 0);
    CHECK_EQ(vd_get(d, C_CONFIG_VECTOR, 2), VIRTIO_NO_VECTOR);
    CHECK_EQ(vd_get(d, C_QUEUE_SEL, 2), 0);
    CHECK_EQ(drv_r8(d->m, d->isr), 0);
    CHECK(!fake_level(d->m, pci_slot_gsi(d->slot)));
    CHECK_EQ(fake_net_offload(d->net), 0);
    for (unsigned i = 0; i < 2; i++) {
        vd_set(d, C_DRV_SEL, 4, i);
        CHECK_EQ(vd_get(d, C_DRV_FEATURE, 4), 0);
    }
    for (unsigned q = 0; q < d->nq; q++) {
        vd_set(d, C_QUEUE_SEL, 2, q);
        CHECK_EQ(vd_get(d, C_QUEUE_SIZE, 2), size[q].size);
        CHECK_EQ(vd_get(d, C_QUEUE_VECTOR, 2), VIRTIO_NO_VECTOR);
        CHECK_EQ(vd_get(d, C_QUEUE_ENABLE, 2), 0);
        for (unsigned reg = C_DESC; reg < C_DEVICE + 8; reg += 4)
            CHECK_EQ(vd_get(d, reg, 4), 0);
    }
}

TEST(virtio_2_4_reset_brings_registers_to_power_on)
{
    static struct vd_queue size[VD_QUEUES];
    for (int intx = 0; intx < 2; intx++) {
        struct vd d = {.intx = intx};
        vd_new(&d);
        vd_set(&d, C_STATUS, 1, 0);
        for (unsigned q = 0; q < d.nq; q++) {
            vd_set(&d, C_QUEUE_SEL, 2, q);
            size[q].size = (uint16_t)vd_get(&d, C_QUEUE_SIZE, 2);
        }
        d.qsize = 32;
        vd_again(&d, vd_offered(&d) & (F(VIRTIO_NET_F_GUEST_CSUM) |
                                       F(VIRTIO_NET_F_GUEST_TSO4)));
        CHECK_EQ(fake_net_offload(d.net), NETBE_CSUM | NETBE_TSO4);
        vd_send(&d, TX0, NULL, frame, 60);
        vd_kick(&d, TX0);
        vd_set(&d, C_DEV_SEL, 4, 1);
        vd_set(&d, C_STATUS, 1, 0);
        check_power_on(&d, size);
        vd_drain(&d);
        d.qsize = 0;
        vd_again(&d, 0);
        vd_check_alive(&d);
        vd_free(&d);
    }
}

/* Indices, wrap counters and events begin anew. */
BOTH_RINGS(virtio_2_4_rings_begin_anew_after_each_reset)
{
    struct vd d = {.qsize = 8};
    vd_up(&d, packed, F(VIRTIO_F_EVENT_IDX));
    for (unsigned lap = 0; lap < 12; lap++) {
        for (unsigned i = 0; i < lap; i++) {
            vd_check_tx(&d, i, 60);
            vd_check_rx(&d, i, 60);
        }
        d.brk = 0x10000;
        vd_again(&d, F(VIRTIO_F_EVENT_IDX));
    }
    vd_free(&d);
}

/* The machine's reset does all that and PCI's part too. */
BOTH_RINGS(virtio_machine_reset_in_mid_traffic)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    for (unsigned i = 0; i < 20; i++) {
        fake_net_block(d.net, 0, true);
        vd_send(&d, TX0, NULL, frame, 60);
        vd_kick(&d, TX0);
        fake_net_give(d.net, 0, NULL, frame, 60);
        fake_reset(d.m);
        CHECK_EQ(fake_kicks(d.m), 0);
        vd_drain(&d);
        fake_run_loop(d.m);
        vd_find(&d);
        d.brk = 0x10000;
        vd_again(&d, 0);
        vd_check_alive(&d);
    }
    vd_free(&d);
}

/* ---------------------------------------------------------- configuration */

BOTH_RINGS(virtio_2_5_link_change_is_told_with_a_new_generation)
{
    struct vd d = {0};
    vd_up(&d, packed, F(VIRTIO_NET_F_STATUS));
    unsigned before = vd_get(&d, C_GENERATION, 1);
    CHECK_EQ(drv_r16(d.m, d.config + 6) & 1, 1);
    netdev_set_link(fake_net_dev(d.net), false);
    fake_run_loop(d.m);
    CHECK_NE(vd_get(&d, C_GENERATION, 1), before);
    before = vd_get(&d, C_GENERATION, 1);
    CHECK_EQ(vd_get(&d, C_GENERATION, 1), before); /* stable in between */
    CHECK_EQ(drv_r16(d.m, d.config + 6) & 1, 0);
    CHECK_EQ(vd_config_irqs(&d), 1);
    CHECK_EQ(drv_r8(d.m, d.isr), 2); /* with MSI-X too */
    CHECK_EQ(drv_r8(d.m, d.isr), 0);
    netdev_set_link(fake_net_dev(d.net), true);
    fake_run_loop(d.m);
    CHECK_NE(vd_get(&d, C_GENERATION, 1), before);
    CHECK_EQ(drv_r16(d.m, d.config + 6) & 1, 1);
    CHECK_EQ(vd_config_irqs(&d), 1);
    vd_check_alive(&d);
    vd_free(&d);
}

TEST(virtio_3_2_1_config_change_by_intx)
{
    struct vd d = {.intx = true};
    vd_up(&d, false, F(VIRTIO_NET_F_STATUS));
    netdev_set_link(fake_net_dev(d.net), false);
    fake_run_loop(d.m);
    CHECK(fake_level(d.m, pci_slot_gsi(d.slot)));
    CHECK_EQ(drv_r8(d.m, d.isr), 2);
    CHECK(!fake_level(d.m, pci_slot_gsi(d.slot)));
    vd_free(&d);
}

TEST(virtio_3_2_1_driver_ok_is_no_config_change)
{
    for (int intx = 0; intx < 2; intx++) {
        struct vd d = {.intx = intx};
        vd_up(&d, false, F(VIRTIO_NET_F_STATUS));
        CHECK_EQ(vd_config_irqs(&d), 0);
        CHECK_EQ(drv_r8(d.m, d.isr), 0);
        vd_free(&d);
    }
}

/* Before DRIVER_OK the change is not told, only seen. */
TEST(virtio_3_2_1_no_config_interrupt_before_driver_ok)
{
    struct vd d = {0};
    vd_new(&d);
    REQUIRE(vd_negotiate(&d, F(VIRTIO_F_VERSION_1) | F(VIRTIO_NET_F_STATUS)));
    vd_irqs_on(&d);
    netdev_set_link(fake_net_dev(d.net), false);
    fake_run_loop(d.m);
    CHECK_EQ(vd_config_irqs(&d), 0);
    CHECK_EQ(drv_r16(d.m, d.config + 6) & 1, 0);
    vd_free(&d);
}

/* The vector comes and goes while the link does. */
TEST(hostile_config_vector_and_link_toggling)
{
    struct vd d = {0};
    vd_up(&d, false, F(VIRTIO_NET_F_STATUS));
    for (unsigned i = 0; i < 200; i++) {
        vd_set(&d, C_CONFIG_VECTOR, 2, i % 3 ? VIRTIO_NO_VECTOR : 0);
        netdev_set_link(fake_net_dev(d.net), i & 1);
        fake_run_loop(d.m);
        CHECK_EQ(vd_config_irqs(&d), i % 3 == 0);
    }
    vd_check_alive(&d);
    vd_free(&d);
}

/* ------------------------------------------------------------ queue reset */

/* With its rings emptied by hand the driver enables it again. */
static void requeue(struct vd *d, unsigned q, uint16_t size)
{
    vd_set(d, C_QUEUE_SEL, 2, q);
    vd_set(d, C_QUEUE_RESET, 2, 1);
    CHECK_EQ(vd_get(d, C_QUEUE_RESET, 2), 0); /* done already */
    CHECK_EQ(vd_get(d, C_QUEUE_ENABLE, 2), 0);
    vd_queue_make(d, q, size);
    CHECK_EQ(vd_get(d, C_QUEUE_RESET, 2), 0);
    fake_run_loop(d->m);
}

BOTH_RINGS(virtqueue_2_6_1_reset_queue_begins_anew)
{
    struct vd d = {.qsize = 16};
    vd_up(&d, packed, RESET_BIT);
    for (uint16_t i = 1; i < 30; i++) {
        vd_check_alive(&d);
        requeue(&d, i & 1, (uint16_t)(1u << (1 + i % 7)));
    }
    vd_check_alive(&d);
    vd_free(&d);
}

BOTH_RINGS(virtqueue_2_6_1_1_reset_queue_stands_still)
{
    struct vd d = {0};
    static uint8_t before[0x20000];
    vd_up(&d, packed, RESET_BIT);
    for (unsigned i = 0; i < 4; i++)
        vd_post(&d, RX0, 2000);
    vd_kick(&d, RX0);
    vd_set(&d, C_QUEUE_SEL, 2, RX0);
    vd_set(&d, C_QUEUE_RESET, 2, 1);
    memcpy(before, vd_ram(&d, 0x10000, sizeof(before)), sizeof(before));
    for (unsigned i = 0; i < 4; i++)
        fake_net_give(d.net, 0, NULL, frame, 60);
    vd_kick(&d, RX0);
    CHECK_EQ(fake_run_loop(d.m), 0);
    CHECK_MEM(vd_ram(&d, 0x10000, sizeof(before)), before, sizeof(before));
    CHECK_EQ(vd_irqs(&d, RX0), 0);
    vd_check_tx(&d, 1, 60); /* the other one goes on */
    vd_free(&d);
}

BOTH_RINGS(virtqueue_2_6_1_reset_with_packets_stuck)
{
    struct vd d = {0};
    vd_up(&d, packed, RESET_BIT);
    fake_net_block(d.net, 0, true);
    for (unsigned i = 0; i < 10; i++)
        vd_send(&d, TX0, NULL, frame, 60);
    vd_kick(&d, TX0);
    CHECK_EQ(vd_reap(&d.q[TX0]), 0);
    requeue(&d, TX0, 16);
    fake_net_block(d.net, 0, false);
    fake_run_loop(d.m);
    vd_drain(&d);
    CHECK_EQ(vd_reap(&d.q[TX0]), 0); /* the old ones are forgotten */
    vd_check_alive(&d);
    vd_free(&d);
}

TEST(virtqueue_2_6_1_no_queue_reset_unless_negotiated)
{
    struct vd d = {0};
    vd_up(&d, false, 0);
    vd_set(&d, C_QUEUE_SEL, 2, TX0);
    vd_set(&d, C_QUEUE_RESET, 2, 1);
    CHECK_EQ(vd_get(&d, C_QUEUE_ENABLE, 2), 1);
    vd_check_alive(&d);
    vd_free(&d);
}

BOTH_RINGS(hostile_queue_reset_between_pop_and_push)
{
    struct vd d = {.qsize = 16};
    vd_up(&d, packed, RESET_BIT | F(VIRTIO_NET_F_MRG_RXBUF));
    static uint8_t big[4000];
    for (unsigned i = 0; i < 50; i++) {
        d.brk = 0x40000;
        vd_post(&d, RX0, 1000); /* too small alone: the packet is held */
        vd_kick(&d, RX0);
        fake_net_give(d.net, 0, NULL, big, sizeof(big));
        fake_run_loop(d.m);
        requeue(&d, RX0, 16);
        fake_sleep_ns(d.m, 50000000);
        vd_drain(&d);
        vd_check_rx(&d, i, 60);
        vd_again(&d, RESET_BIT | F(VIRTIO_NET_F_MRG_RXBUF));
    }
    vd_free(&d);
}

/* --------------------------------------------------------- hostile orders */

/* Fewer features after a reset, then kicks of what was there before. */
BOTH_RINGS(hostile_kicks_of_queues_that_are_gone)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    REQUIRE(vd_negotiate(&d, F(VIRTIO_F_VERSION_1)));
    vd_queue_make(&d, TX0, 16);
    vd_status_or(&d, VIRTIO_DRIVER_OK);
    for (unsigned i = 0; i < 64; i++)
        drv_w16(d.m, d.notify + (uint64_t)i * d.mult, (uint16_t)i);
    fake_run_loop(d.m);
    vd_check_tx(&d, 1, 60); /* some queues are enough */
    vd_free(&d);
}

/* CVE-2026-5747 */
BOTH_RINGS(hostile_queue_registers_are_frozen_once_enabled)
{
    struct vd d = {.qsize = 16};
    vd_up(&d, packed, 0);
    for (unsigned q = 0; q < 2; q++) {
        vd_set(&d, C_QUEUE_SEL, 2, q);
        vd_set(&d, C_QUEUE_SIZE, 2, 256);
        vd_set(&d, C_QUEUE_SIZE, 2, 0);
        CHECK_EQ(vd_get(&d, C_QUEUE_SIZE, 2), 16);
        for (unsigned reg = C_DESC; reg < C_DEVICE + 8; reg += 4) {
            uint32_t was = vd_get(&d, reg, 4);
            vd_set(&d, reg, 4, 0xfffffff0);
            CHECK_EQ(vd_get(&d, reg, 4), was);
        }
        vd_set(&d, C_QUEUE_ENABLE, 2, 0);
        CHECK_EQ(vd_get(&d, C_QUEUE_ENABLE, 2), 1);
        vd_set(&d, C_QUEUE_ENABLE, 2, 1);
        vd_set(&d, C_STATUS, 1, 0x0f | VIRTIO_FAILED);
        vd_set(&d, C_QUEUE_SIZE, 2, 8);
        CHECK_EQ(vd_get(&d, C_QUEUE_SIZE, 2), 16);
    }
    vd_check_alive(&d);
    vd_free(&d);
}

/* Every value, in every state a driver gets to. */
TEST(hostile_every_status_value_in_every_state)
{
    struct vd d = {0};
    vd_new(&d);
    for (unsigned state = 0; state < 5; state++)
        for (unsigned val = 0; val < 256; val++) {
            d.brk = 0x10000;
            d.qsize = 16;
            if (state < 4) {
                vd_set(&d, C_STATUS, 1, 0);
                for (unsigned i = 0; i < state; i++)
                    vd_status_or(&d, (uint8_t)("\1\2\10"[i]));
            } else {
                vd_again(&d, 0);
            }
            vd_set(&d, C_STATUS, 1, val);
            fake_run_loop(d.m);
            CHECK(val || !vd_status(&d));
        }
    d.brk = 0x10000;
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}

/* All ones, halves, every other bit; FEATURES_OK twice. */
TEST(hostile_feature_words)
{
    static const uint64_t words[] = {~0ull,
                                     1ull << 63,
                                     0xffffffff,
                                     0xffffffffull << 32,
                                     0x5555555555555555,
                                     0xaaaaaaaaaaaaaaaa};
    struct vd d = {0};
    vd_new(&d);
    uint64_t offered = vd_offered(&d);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        bool ok = vd_negotiate(&d, words[i]);
        CHECK(!ok || !(words[i] & ~offered));
        vd_negotiate(&d, words[i] & offered);
        vd_status_or(&d, VIRTIO_FEATURES_OK); /* twice */
        vd_status_or(&d, VIRTIO_DRIVER_OK);
        fake_run_loop(d.m);
    }
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}
