/* SPDX-License-Identifier: MIT */
/* When rings interrupt and when they ask for kicks (virtio 1.2 §2.7.7,
 * §2.7.10, §2.8.14). */
#include "tests/unit/fakevirtio.h"

static const uint8_t frame[60] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0};

/* Makes n frames available and lets the device send them all. */
static void send_n(struct vd *d, unsigned n)
{
    uint8_t got[64];
    d->brk = 0x80000;
    for (unsigned i = 0; i < n; i++)
        REQUIRE(vd_send(d, TX0, NULL, frame, 60) >= 0);
    vd_kick(d, TX0);
    for (unsigned i = 0; i < n; i++)
        REQUIRE_EQ(fake_net_take(d->net, 0, NULL, got, 64), 60);
}

BOTH_RINGS(virtqueue_2_7_7_2_flag_holds_irq_without_event_idx)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    struct vd_queue *q = &d.q[TX0];
    send_n(&d, 1);
    CHECK_EQ(vd_irqs(&d, TX0), 1);
    vd_irq_never(q);
    send_n(&d, 3);
    CHECK_EQ(vd_irqs(&d, TX0), 0);
    vd_irq_always(q);
    CHECK_EQ(vd_irqs(&d, TX0), 0); /* turning them on sends none */
    send_n(&d, 1);
    CHECK(vd_irqs(&d, TX0) >= 1);
    CHECK_EQ(vd_reap(q), 5);
    vd_free(&d);
}

/* Without EVENT_IDX the event word is just memory. */
TEST(virtqueue_2_7_7_2_used_event_is_ignored_when_not_negotiated)
{
    struct vd d = {0};
    vd_up(&d, false, 0);
    struct vd_queue *q = &d.q[TX0];
    *vd_avail_word(q, 2u + q->size) = 0x7000;
    send_n(&d, 1);
    CHECK_EQ(vd_irqs(&d, TX0), 1);
    *vd_avail_word(q, 0) = 1;
    *vd_avail_word(q, 2u + q->size) = 1;
    send_n(&d, 1);
    CHECK_EQ(vd_irqs(&d, TX0), 0);
    vd_free(&d);
}

/* And with it, the flag. */
TEST(virtqueue_2_7_7_2_avail_flag_is_ignored_with_event_idx)
{
    struct vd d = {0};
    vd_up(&d, false, F(VIRTIO_F_EVENT_IDX));
    struct vd_queue *q = &d.q[TX0];
    *vd_avail_word(q, 0) = 1;
    vd_irq_after(q, 1);
    send_n(&d, 1);
    CHECK_EQ(vd_irqs(&d, TX0), 1);
    vd_free(&d);
}

/* An event inside the batch, at its end, before and behind it. */
BOTH_RINGS(virtqueue_2_7_7_2_used_event_holds_irq)
{
    struct vd d = {.qsize = 32};
    vd_up(&d, packed, F(VIRTIO_F_EVENT_IDX));
    struct vd_queue *q = &d.q[TX0];
    for (unsigned lap = 0; lap < 40; lap++) {
        for (unsigned k = 1; k <= 14; k++) {
            vd_irq_after(q, k);
            send_n(&d, 7); /* one batch */
            REQUIRE_EQ(vd_irqs(&d, TX0), k <= 7);
            REQUIRE_EQ(vd_reap(q), 7);
            if (k <= 7)
                continue;
            send_n(&d, 7); /* and in the next one */
            REQUIRE_EQ(vd_irqs(&d, TX0), 1);
            REQUIRE_EQ(vd_reap(q), 7);
        }
    }
    vd_free(&d);
}

/* At reset the last decision was made at index 0. */
BOTH_RINGS(virtqueue_2_7_7_2_first_batch_after_reset_interrupts)
{
    struct vd d = {0};
    vd_up(&d, packed, F(VIRTIO_F_EVENT_IDX));
    send_n(&d, 5);
    CHECK_EQ(vd_irqs(&d, TX0), 1);
    d.brk = 0x10000;
    vd_again(&d, F(VIRTIO_F_EVENT_IDX));
    send_n(&d, 5);
    CHECK_EQ(vd_irqs(&d, TX0), 1);
    vd_free(&d);
}

BOTH_RINGS(virtqueue_2_7_7_2_a_passed_event_stays_silent)
{
    struct vd d = {0};
    vd_up(&d, packed, F(VIRTIO_F_EVENT_IDX));
    struct vd_queue *q = &d.q[TX0];
    vd_irq_never(q);
    for (int i = 0; i < 50; i++) {
        send_n(&d, 2);
        REQUIRE_EQ(vd_irqs(&d, TX0), 0);
        vd_reap(q);
        vd_irq_never(q);
    }
    vd_free(&d);
}

/* An interrupt for every buffer nobody used would be a spurious one. */
BOTH_RINGS(virtqueue_2_7_7_no_irq_without_used_buffers)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    for (int i = 0; i < 20; i++)
        for (unsigned q = 0; q < d.nq; q++)
            vd_kick(&d, q);
    uint64_t at = vd_post(&d, RX0, 2000);
    CHECK(at != 0);
    vd_kick(&d, RX0);
    for (unsigned q = 0; q < d.nq; q++)
        CHECK_EQ(vd_irqs(&d, q), 0);
    CHECK_EQ(vd_config_irqs(&d), 0);
    vd_free(&d);
}

/* ------------------------------------------------------------------ kicks */

/* A device at rest wants to be kicked, always. */
BOTH_RINGS(virtqueue_2_7_10_idle_device_wants_kicks)
{
    static const uint64_t f[] = {0, F(VIRTIO_F_EVENT_IDX)};
    for (size_t i = 0; i < ARRAY_LEN(f); i++) {
        struct vd d = {.qsize = 16};
        vd_up(&d, packed, f[i]);
        for (unsigned n = 0; n < 100; n++) {
            uint8_t got[64];
            d.brk = 0x80000;
            REQUIRE(vd_send(&d, TX0, NULL, frame, 60) >= 0);
            REQUIRE(vd_kick_wanted(&d.q[TX0], 1));
            vd_kick(&d, TX0);
            REQUIRE_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
            REQUIRE_EQ(vd_reap(&d.q[TX0]), 1);
        }
        vd_free(&d);
    }
}

/* Starved of receive buffers the device wants kicks, and the
 * buffers that come are used. */
BOTH_RINGS(virtqueue_2_7_10_starved_receiver_wants_kicks)
{
    static const uint64_t f[] = {0, F(VIRTIO_F_EVENT_IDX)};
    for (size_t i = 0; i < ARRAY_LEN(f); i++) {
        struct vd d = {.qsize = 16};
        vd_up(&d, packed, f[i]);
        for (unsigned n = 0; n < 60; n++) {
            d.brk = 0x80000;
            fake_net_give(d.net, 0, NULL, frame, 60);
            REQUIRE(fake_run_loop(d.m) < 10);
            REQUIRE_EQ(vd_reap(&d.q[RX0]), 0);
            vd_post(&d, RX0, 2000);
            REQUIRE(vd_kick_wanted(&d.q[RX0], 1));
            vd_kick(&d, RX0);
            REQUIRE_EQ(vd_reap(&d.q[RX0]), 1);
        }
        vd_free(&d);
    }
}

/* What used.flags and avail_event may hold. */
TEST(virtqueue_2_7_10_2_used_flags_are_0_with_event_idx_and_0_or_1_without)
{
    struct vd d = {0};
    vd_up(&d, false, F(VIRTIO_F_EVENT_IDX));
    fake_net_block(d.net, 0, true);
    vd_send(&d, TX0, NULL, frame, 60);
    vd_kick(&d, TX0);
    CHECK_EQ(*vd_used_word(&d.q[TX0], 0), 0);
    fake_net_block(d.net, 0, false);
    fake_run_loop(d.m);
    CHECK_EQ(*vd_used_word(&d.q[TX0], 0), 0);
    CHECK_EQ(*vd_used_word(&d.q[TX0], 2u + 4u * d.q[TX0].size), 1);
    vd_drain(&d);
    d.brk = 0x10000;
    vd_again(&d, 0);
    vd_send(&d, TX0, NULL, frame, 60);
    vd_kick(&d, TX0);
    CHECK_EQ(*vd_used_word(&d.q[TX0], 0), 0);
    /* The event word is not the device's without the feature. */
    CHECK_EQ(*vd_used_word(&d.q[TX0], 2u + 4u * d.q[TX0].size), 0);
    vd_free(&d);
}

BOTH_RINGS(virtqueue_2_7_10_2_spurious_kicks_do_no_harm)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    for (unsigned off = 0; off < 0x1000; off++)
        for (unsigned width = 1; width <= 8; width *= 2)
            if (off + width <= 0x1000)
                guest_write(d.m, false, d.notify + off, width, ~0ull);
    fake_run_loop(d.m);
    CHECK_EQ(fake_net_sends(d.net), 0);
    vd_check_alive(&d);
    vd_free(&d);
}

/* The ring is looked at, whatever the kick's value says. */
BOTH_RINGS(virtqueue_4_1_5_2_the_address_of_a_kick_counts)
{
    struct vd d = {0};
    uint8_t got[64];
    vd_up(&d, packed, 0);
    vd_send(&d, TX0, NULL, frame, 60);
    drv_w16(d.m, d.notify + d.mult, 0xffff);
    fake_run_loop(d.m);
    CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
    vd_send(&d, TX0, NULL, frame, 60);
    drv_w32(d.m, d.notify + d.mult, 1); /* another width */
    fake_run_loop(d.m);
    CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
    vd_free(&d);
}

/* With notification data a kick is a dword of index and position; it
 * counts as any other. */
BOTH_RINGS(virtqueue_2_9_kicks_with_notification_data)
{
    struct vd d = {.opts = "notification_data=on"};
    uint8_t got[64];
    vd_up(&d, packed, F(VIRTIO_F_NOTIFICATION_DATA));
    for (uint32_t i = 0; i < 3; i++) {
        vd_send(&d, TX0, NULL, frame, 60);
        drv_w32(d.m, d.notify + d.mult, 1 | (i + 1) << 16);
        fake_run_loop(d.m);
        CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
    }
    CHECK_EQ(vd_reap(&d.q[TX0]), 3);
    drv_w32(d.m, d.notify + d.mult, 0xffffffff); /* data of no position */
    fake_run_loop(d.m);
    vd_check_alive(&d);
    vd_free(&d);
}

/* Where KVM has no room for an ioeventfd the kick still works. */
BOTH_RINGS(virtqueue_4_1_5_2_kicks_work_without_ioeventfd)
{
    struct vd d = {.packed = packed};
    vd_new(&d);
    fake_kick_fail(d.m, 1000, -28);
    vd_again(&d, 0);
    CHECK_EQ(fake_kicks(d.m), 0);
    vd_check_alive(&d);
    vd_free(&d);
}

/* -------------------------------------------------------------- which irq */

BOTH_RINGS(virtio_4_1_5_intx_level_until_isr_is_read)
{
    struct vd d = {.intx = true};
    vd_up(&d, packed, 0);
    unsigned gsi = pci_slot_gsi(d.slot);
    CHECK(!fake_level(d.m, gsi));
    send_n(&d, 1);
    CHECK(fake_level(d.m, gsi));
    CHECK_EQ(drv_cfg_read(d.m, d.slot, PCI_STATUS, 2) & PCI_STS_INTX,
             PCI_STS_INTX);
    send_n(&d, 1); /* while it is up */
    fake_irqs(d.m, gsi);
    fake_eoi(d.m, gsi); /* the driver has not read ISR: it comes again */
    CHECK_EQ(fake_irqs(d.m, gsi), 1);
    CHECK_EQ(drv_r8(d.m, d.isr), 1);
    CHECK(!fake_level(d.m, gsi));
    CHECK_EQ(drv_r8(d.m, d.isr), 0);
    CHECK_EQ(drv_cfg_read(d.m, d.slot, PCI_STATUS, 2) & PCI_STS_INTX, 0);
    send_n(&d, 1);
    CHECK_EQ(vd_irqs(&d, TX0), 1);
    vd_free(&d);
}

BOTH_RINGS(virtio_4_1_5_3_1_no_vector_no_interrupt)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    vd_set(&d, C_QUEUE_SEL, 2, TX0);
    vd_set(&d, C_QUEUE_VECTOR, 2, VIRTIO_NO_VECTOR);
    send_n(&d, 2);
    CHECK_EQ(fake_msis(d.m, DRV_MSI_ADDR, FAKE_ANY), 0);
    CHECK(!fake_level(d.m, pci_slot_gsi(d.slot)));
    CHECK_EQ(drv_r8(d.m, d.isr), 0);
    vd_set(&d, C_QUEUE_SEL, 2, TX0);
    vd_set(&d, C_QUEUE_VECTOR, 2, 0); /* shared with the configuration's */
    send_n(&d, 1);
    CHECK_EQ(vd_config_irqs(&d), 1);
    vd_free(&d);
}

BOTH_RINGS(virtio_4_1_5_queue_bit_of_isr_is_for_intx_only)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    send_n(&d, 2);
    CHECK_EQ(vd_irqs(&d, TX0), 1);
    CHECK_EQ(drv_r8(d.m, d.isr), 0);
    CHECK(!fake_level(d.m, pci_slot_gsi(d.slot)));
    vd_free(&d);
}

/* The function mask seen from here: masked in mid-traffic, nothing lost, one
 * comes. */
BOTH_RINGS(virtio_4_1_5_masked_vector_is_pending)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    uint64_t table = drv_msix_table(d.m, d.slot);
    drv_w32(d.m, table + 16 * (TX0 + 1) + 12, 1);
    send_n(&d, 1);
    send_n(&d, 1);
    CHECK_EQ(vd_irqs(&d, TX0), 0);
    CHECK_EQ(drv_r32(d.m, table + 0x800), 1u << (TX0 + 1));
    drv_w32(d.m, table + 16 * (TX0 + 1) + 12, 0);
    CHECK(vd_irqs(&d, TX0) >= 1);
    vd_free(&d);
}

/* §2.8.14: DESC means something only with EVENT_IDX. */
TEST(virtqueue_2_8_14_desc_event_without_event_idx_interrupts)
{
    struct vd d = {0};
    vd_up(&d, true, 0);
    *vd_avail_word(&d.q[TX0], 0) = 100;
    *vd_avail_word(&d.q[TX0], 1) = 2;
    send_n(&d, 1);
    CHECK_EQ(vd_irqs(&d, TX0), 1);
    vd_free(&d);
}

/* §2.8.14 with chains of several descriptors: the event names a place, and any
 * chain that reaches it interrupts. */
TEST(virtqueue_2_8_14_event_inside_a_chain)
{
    struct vd d = {.qsize = 16};
    uint8_t got[64];
    vd_up(&d, true, F(VIRTIO_F_EVENT_IDX));
    struct vd_queue *q = &d.q[TX0];
    uint64_t at = vd_alloc(&d, 72, 1);
    const struct vd_buf b[] = {
        {at, 12, false}, {at + 12, 30, false}, {at + 42, 30, false}};
    for (unsigned i = 0; i < 60; i++) {
        uint16_t place = q->add;
        bool wrap = q->add_wrap;
        *vd_avail_word(q, 0) = (uint16_t)(place | wrap << 15);
        *vd_avail_word(q, 1) = 2;
        REQUIRE(vd_add(q, b, 3) >= 0);
        vd_kick(&d, TX0);
        REQUIRE_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
        REQUIRE_EQ(vd_irqs(&d, TX0), 1);
        REQUIRE_EQ(vd_reap(q), 1);
        REQUIRE(vd_add(q, b, 3) >= 0); /* behind it: silence */
        vd_kick(&d, TX0);
        REQUIRE_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
        REQUIRE_EQ(vd_irqs(&d, TX0), 0);
        REQUIRE_EQ(vd_reap(q), 1);
    }
    vd_free(&d);
}
