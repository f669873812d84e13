/* SPDX-License-Identifier: MIT */
/* The virtio-pci register file (virtio 1.2 §4.1): capabilities, common and
 * device configuration, ISR, kicks, vectors, the configuration window. */
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/fakevirtio.h"

static const uint8_t frame[60] = {0x52, 0x54, 0, 0x12, 0x34, 0x56, 2,
                                  0,    0,    0, 0,    2,    8,    0};

static unsigned cfg(struct vd *d, unsigned off, unsigned width)
{
    return drv_cfg_read(d->m, d->slot, off, width);
}

/* Offset of the first virtio capability of a type, 0: none. */
static unsigned vcap(struct vd *d, unsigned type)
{
    unsigned at;
    for (int i = 0; (at = drv_cap(d->m, d->slot, PCI_CAP_VENDOR, i)); i++)
        if (cfg(d, at + 3, 1) == type)
            return at;
    return 0;
}

/* --------------------------------------------------------------- identity */

TEST(virtio_4_1_2_1_identity)
{
    struct vd d = {0};
    vd_new(&d);
    CHECK_EQ(cfg(&d, PCI_VENDOR_ID, 4), 0x10411af4);
    CHECK(cfg(&d, PCI_REVISION_ID, 1) >= 1);
    CHECK(cfg(&d, PCI_SUBSYS_ID, 2) >= 0x40);
    CHECK_EQ(cfg(&d, PCI_CLASS, 1), 0);
    CHECK_EQ(cfg(&d, PCI_CLASS + 1, 2), 0x0200);
    CHECK_EQ(cfg(&d, PCI_HEADER_TYPE, 1), 0);
    CHECK_EQ(cfg(&d, PCI_INT_PIN, 1), 1);
    CHECK_EQ(cfg(&d, PCI_INT_LINE, 1), pci_slot_gsi(d.slot));
    vd_free(&d);
}

/* Each once, inside its BAR, not over another. */
TEST(virtio_4_1_4_capabilities)
{
    static const uint8_t len[] = {0, 16, 20, 16, 16, 20};
    static const unsigned align[] = {0, 4, 2, 1, 4};
    struct vd d = {0};
    uint64_t end[6] = {0}, start[6] = {0};
    vd_new(&d);
    for (unsigned type = 1; type <= 5; type++) {
        unsigned at = vcap(&d, type);
        REQUIRE(at != 0);
        CHECK_EQ(at % 4, 0);
        CHECK_EQ(cfg(&d, at + 2, 1), len[type]);
        if (type == 5)
            continue;
        CHECK_EQ(cfg(&d, at + 4, 1), cfg(&d, vcap(&d, 1) + 4, 1));
        start[type] = cfg(&d, at + 8, 4);
        end[type] = start[type] + cfg(&d, at + 12, 4);
        CHECK_EQ(start[type] % align[type], 0);
        CHECK(end[type] > start[type] && end[type] <= 0x4000000);
        for (unsigned i = 1; i < type; i++)
            CHECK(end[i] <= start[type] || end[type] <= start[i]);
    }
    CHECK(end[1] - start[1] >= 56); /* Linux wants no less */
    CHECK(end[4] - start[4] >= 12);
    CHECK(d.mult && !(d.mult & (d.mult - 1)));
    CHECK(end[2] - start[2] >= (d.nq - 1) * d.mult + 2);
    vd_free(&d);
}

/* What cannot be written. */
TEST(virtio_4_1_4_3_read_only_registers)
{
    static const struct {
        unsigned reg, width;
    } ro[] = {{C_DEV_FEATURE, 4},
              {C_NUM_QUEUES, 2},
              {C_GENERATION, 1},
              {C_NOTIFY_OFF, 2}};
    struct vd d = {0};
    vd_new(&d);
    vd_set(&d, C_QUEUE_SEL, 2, 1);
    for (size_t i = 0; i < ARRAY_LEN(ro); i++) {
        uint32_t was = vd_get(&d, ro[i].reg, ro[i].width);
        vd_set(&d, ro[i].reg, ro[i].width, ~0u);
        CHECK_EQ(vd_get(&d, ro[i].reg, ro[i].width), was);
        vd_set(&d, ro[i].reg, ro[i].width, 0);
        CHECK_EQ(vd_get(&d, ro[i].reg, ro[i].width), was);
    }
    vd_free(&d);
}

/* iPXE computes index × multiplier and never asks. */
TEST(virtio_4_1_4_4_queue_notify_off_is_the_index)
{
    struct vd d = {0};
    vd_new(&d);
    for (unsigned q = 0; q < d.nq; q++) {
        vd_set(&d, C_QUEUE_SEL, 2, q);
        CHECK_EQ(vd_get(&d, C_NOTIFY_OFF, 2), q);
    }
    vd_free(&d);
}

/* §4.1.4.4, modern-pio-notify: ports first, memory for who does not want them;
 * both ring while the queue runs, and neither does harm before or after. */
BOTH_RINGS(virtio_4_1_4_4_doorbells_at_ports)
{
    struct vd d = {.opts = "modern-pio-notify=on"};
    vd_up(&d, packed, 0);
    CHECK(d.ports);
    vd_check_tx(&d, 60, 60);
    uint64_t at = d.notify + TX0 * d.mult;
    vd_send(&d, TX0, NULL, (uint8_t[60]){1}, 60);
    guest_write(d.m, true, d.notify + d.nq * d.mult, 2, 0); /* nobody's */
    CHECK_EQ(fake_run_loop(d.m), 0);
    drv_w16(d.m, d.bar + 0x3000 + TX0 * d.mult, TX0);
    CHECK(fake_run_loop(d.m) > 0);
    CHECK_EQ(guest_read(d.m, true, at, 2), 0);
    vd_set(&d, C_STATUS, 1, 0);
    guest_write(d.m, true, at, 2, TX0);
    fake_run_loop(d.m);
    vd_drain(&d);
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}

/* A 64-bit register natively, by halves, by words, by bytes. */
TEST(virtio_4_1_3_access_widths)
{
    struct vd d = {0};
    vd_new(&d);
    const uint64_t val = 0x1122334455667780;
    for (unsigned reg = C_DESC; reg <= C_DEVICE; reg += 8)
        for (unsigned width = 1; width <= 8; width *= 2) {
            vd_set(&d, C_STATUS, 1, 0);
            for (unsigned i = 0; i < 8; i += width)
                vd_set(&d, reg + i, width, val >> 8 * i);
            CHECK_EQ(guest_read(d.m, false, d.common + reg, 8), val);
            CHECK_EQ(vd_get(&d, reg, 4), (uint32_t)val);
            CHECK_EQ(vd_get(&d, reg + 4, 4), val >> 32);
            CHECK_EQ(vd_get(&d, reg + 3, 1), val >> 24 & 0xff);
        }
    vd_set(&d, C_DEV_SEL, 4, 1);
    uint32_t f = vd_get(&d, C_DEV_FEATURE, 4);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(vd_get(&d, C_DEV_FEATURE + i, 1), f >> 8 * i & 0xff);
    vd_set(&d, C_DRV_SEL, 4, 0x12345678);
    vd_set(&d, C_DRV_SEL + 1, 1, 0xab);
    CHECK_EQ(vd_get(&d, C_DRV_SEL, 4), 0x1234ab78);
    vd_free(&d);
}

/* ----------------------------------------------------------------- queues */

TEST(virtio_4_1_4_3_queue_select_beyond_the_last)
{
    struct vd d = {0};
    vd_new(&d);
    for (unsigned sel = d.nq; sel < 0x10000; sel += sel < 300 ? 1 : 4099) {
        vd_set(&d, C_QUEUE_SEL, 2, sel);
        CHECK_EQ(vd_get(&d, C_QUEUE_SEL, 2), sel);
        vd_set(&d, C_QUEUE_SIZE, 2, 4);
        vd_set(&d, C_QUEUE_VECTOR, 2, 0);
        vd_set(&d, C_DESC, 4, 0x1000);
        vd_set(&d, C_DRIVER, 4, 0x1000);
        vd_set(&d, C_DEVICE, 4, 0x1000);
        vd_set(&d, C_QUEUE_RESET, 2, 1);
        vd_set(&d, C_QUEUE_ENABLE, 2, 1);
        CHECK_EQ(vd_get(&d, C_QUEUE_SIZE, 2), 0);
        CHECK_EQ(vd_get(&d, C_QUEUE_VECTOR, 2), VIRTIO_NO_VECTOR);
        CHECK_EQ(vd_get(&d, C_QUEUE_ENABLE, 2), 0);
        for (unsigned reg = C_DESC; reg < C_DEVICE + 8; reg += 4)
            CHECK_EQ(vd_get(&d, reg, 4), 0);
    }
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}

BOTH_RINGS(virtio_4_1_4_3_queue_sizes_a_driver_may_write)
{
    struct vd d = {.packed = packed};
    vd_new(&d);
    REQUIRE(vd_negotiate(&d, F(VIRTIO_F_VERSION_1) |
                                 (packed ? F(VIRTIO_F_RING_PACKED) : 0)));
    vd_set(&d, C_QUEUE_SEL, 2, TX0);
    uint32_t max = vd_get(&d, C_QUEUE_SIZE, 2);
    CHECK(max >= 64 && max <= 1024 && !(max & (max - 1)));
    for (uint32_t n = 0; n < 0x10000; n += n < 1100 ? 1 : 257) {
        vd_set(&d, C_QUEUE_SIZE, 2, 16);
        vd_set(&d, C_QUEUE_SIZE, 2, n);
        bool fits = n && n <= max && (packed || !(n & (n - 1)));
        CHECK_EQ(vd_get(&d, C_QUEUE_SIZE, 2), fits ? n : 16);
    }
    vd_free(&d);
}

/* A vector beyond the table reads back as none: it is an index into it. */
TEST(virtio_4_1_5_1_2_1_vectors)
{
    struct vd d = {0};
    vd_new(&d);
    unsigned cap = drv_cap(d.m, d.slot, PCI_CAP_MSIX, 0);
    unsigned n = (cfg(&d, cap + 2, 2) & 0x7ff) + 1;
    CHECK(n >= 2 && n <= 0x800); /* §4.1.5.1.2.1 */
    for (unsigned q = 0; q <= d.nq; q++) {
        unsigned reg = q < d.nq ? C_QUEUE_VECTOR : C_CONFIG_VECTOR;
        vd_set(&d, C_QUEUE_SEL, 2, q);
        CHECK_EQ(vd_get(&d, reg, 2), VIRTIO_NO_VECTOR);
        for (unsigned v = 0; v < 0x10000; v += v < n + 20 ? 1 : 997) {
            vd_set(&d, reg, 2, v);
            CHECK_EQ(vd_get(&d, reg, 2), v < n ? v : VIRTIO_NO_VECTOR);
        }
        vd_set(&d, reg, 2, 0);
        vd_set(&d, reg, 2, VIRTIO_NO_VECTOR);
        CHECK_EQ(vd_get(&d, reg, 2), VIRTIO_NO_VECTOR);
    }
    vd_free(&d);
}

/* Linux gives up on a queue that is on already. */
TEST(virtio_4_1_4_3_2_queue_enable)
{
    struct vd d = {0};
    vd_new(&d);
    REQUIRE(vd_negotiate(&d, F(VIRTIO_F_VERSION_1)));
    for (unsigned q = 0; q < d.nq; q++) {
        vd_set(&d, C_QUEUE_SEL, 2, q);
        CHECK_EQ(vd_get(&d, C_QUEUE_ENABLE, 2), 0);
        vd_set(&d, C_QUEUE_ENABLE, 2, 0);
        CHECK_EQ(vd_get(&d, C_QUEUE_ENABLE, 2), 0);
    }
    vd_queue_make(&d, TX0, 0); /* RX stays off: CH #8190 */
    vd_status_or(&d, VIRTIO_DRIVER_OK);
    vd_check_tx(&d, 1, 60);
    CHECK_EQ(vd_status(&d), 0x0f);
    vd_free(&d);
}

/* ---------------------------------------------- kicks, ISR, configuration */

TEST(virtio_4_1_4_4_kick_area_reads_0)
{
    struct vd d = {0};
    vd_up(&d, false, 0);
    for (unsigned off = 0; off < d.nq * d.mult; off++)
        CHECK_EQ(drv_r8(d.m, d.notify + off), 0);
    vd_free(&d);
}

TEST(virtio_4_1_4_5_isr_reads_clear_once_whatever_the_width)
{
    for (unsigned width = 1; width <= 8; width *= 2) {
        struct vd d = {.intx = true};
        vd_up(&d, false, 0);
        vd_send(&d, TX0, NULL, frame, 60);
        vd_kick(&d, TX0);
        guest_write(d.m, false, d.isr, width, 0xff); /* ignored */
        CHECK_EQ(guest_read(d.m, false, d.isr, width), 1);
        CHECK_EQ(guest_read(d.m, false, d.isr, width), 0);
        CHECK(!fake_level(d.m, pci_slot_gsi(d.slot)));
        vd_free(&d);
    }
}

TEST(virtio_4_1_4_6_device_config_is_read_only_and_ends)
{
    struct vd d = {0};
    vd_new(&d);
    unsigned len = cfg(&d, vcap(&d, 4) + 12, 4);
    for (unsigned off = 0; off < 0x100; off++) {
        uint8_t was = drv_r8(d.m, d.config + off);
        drv_w8(d.m, d.config + off, (uint8_t)~was);
        CHECK_EQ(drv_r8(d.m, d.config + off), was);
        if (off >= len)
            CHECK_EQ(was, 0);
    }
    CHECK_EQ(guest_read(d.m, false, d.config, 8) & 0xffffffffffff,
             0x563412005452);
    /* across the end: what is behind it is nobody's business */
    uint64_t last = guest_read(d.m, false, d.config + len - 1, 1);
    for (unsigned width = 2; width <= 8; width *= 2)
        CHECK_EQ(guest_read(d.m, false, d.config + len - 1, width), last);
    vd_free(&d);
}

/* Each queue has a doorbell, and what is behind the last rings nothing. (The
 * descriptor a doorbell that is none would ring is 0.) */
TEST(virtio_4_1_4_4_no_doorbell_behind_the_last)
{
    struct vd d = {0};
    uint64_t n;
    vd_new(&d);
    int stdin_was = dup(0), bell = eventfd(0, EFD_NONBLOCK);
    REQUIRE(stdin_was >= 0 && bell >= 0 && dup2(bell, 0) == 0);
    for (unsigned q = 0; q < 64; q++)
        guest_write(d.m, false, d.notify + (uint64_t)d.mult * q, 2, q);
    CHECK_EQ(read(bell, &n, 8), -1);
    dup2(stdin_was, 0);
    close(stdin_was);
    close(bell);
    vd_free(&d);
}

/* ----------------------------------------------------------------- window */

struct window {
    struct vd *d;
    unsigned cap;
};

static void aim(const struct window *w, unsigned bar, uint32_t off,
                uint32_t len)
{
    drv_cfg_write(w->d->m, w->d->slot, w->cap + 4, 1, bar);
    drv_cfg_write(w->d->m, w->d->slot, w->cap + 8, 4, off);
    drv_cfg_write(w->d->m, w->d->slot, w->cap + 12, 4, len);
}

static uint32_t window_get(const struct window *w, unsigned bar, uint64_t at,
                           uint32_t len)
{
    aim(w, bar, (uint32_t)(at - w->d->bar), len);
    return drv_cfg_read(w->d->m, w->d->slot, w->cap + 16, len < 4 ? len : 4);
}

static void window_set(const struct window *w, unsigned bar, uint64_t at,
                       uint32_t len, uint32_t val)
{
    aim(w, bar, (uint32_t)(at - w->d->bar), len);
    drv_cfg_write(w->d->m, w->d->slot, w->cap + 16, len < 4 ? len : 4, val);
}

/* A whole driver through the window, memory decoding off. */
TEST(virtio_4_1_4_9_window_reaches_every_structure)
{
    struct vd d = {0};
    uint8_t got[64];
    vd_up(&d, false, 0);
    struct window w = {&d, vcap(&d, 5)};
    unsigned bar = cfg(&d, vcap(&d, 1) + 4, 1);
    vd_send(&d, TX0, NULL, frame, 60);
    drv_cfg_write(d.m, d.slot, PCI_COMMAND, 2, PCI_CMD_MASTER);
    CHECK_EQ(vd_get(&d, C_STATUS, 1), 0xff); /* no decoding */
    CHECK_EQ(window_get(&w, bar, d.common + C_STATUS, 1), 0x0f);
    CHECK_EQ(window_get(&w, bar, d.common + C_NUM_QUEUES, 2), d.nq);
    CHECK_EQ(window_get(&w, bar, d.config, 4), 0x12005452);
    window_set(&w, bar, d.notify + (uint64_t)TX0 * d.mult, 2, TX0);
    fake_run_loop(d.m);
    CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
    window_set(&w, bar, d.common + C_STATUS, 1, 0);
    CHECK_EQ(window_get(&w, bar, d.common + C_STATUS, 1), 0);
    vd_free(&d);
}

/* CH #8272 and others: only the bytes named. */
TEST(virtio_4_1_4_9_window_length_counts)
{
    struct vd d = {0};
    vd_new(&d);
    struct window w = {&d, vcap(&d, 5)};
    unsigned bar = cfg(&d, vcap(&d, 1) + 4, 1);
    vd_set(&d, C_DRV_SEL, 4, 0x11223344);
    aim(&w, bar, (uint32_t)(d.common + C_DRV_SEL - d.bar), 1);
    drv_cfg_write(d.m, d.slot, w.cap + 16, 4, 0xaabbccdd);
    CHECK_EQ(vd_get(&d, C_DRV_SEL, 4), 0x112233dd);
    CHECK_EQ(drv_cfg_read(d.m, d.slot, w.cap + 16, 4), 0xdd);
    aim(&w, bar, (uint32_t)(d.common + C_DRV_SEL - d.bar), 2);
    drv_cfg_write(d.m, d.slot, w.cap + 16, 4, 0xaabbccee);
    CHECK_EQ(vd_get(&d, C_DRV_SEL, 4), 0x1122ccee);
    vd_free(&d);
}

TEST(virtio_4_1_4_9_window_elsewhere_is_nothing)
{
    static const uint32_t bad_len[] = {0, 3, 5, 8, 0x80000000, 0xffffffff};
    struct vd d = {0};
    vd_new(&d);
    struct window w = {&d, vcap(&d, 5)};
    unsigned bar = cfg(&d, vcap(&d, 1) + 4, 1);
    vd_set(&d, C_DRV_SEL, 4, 0x11223344);
    uint32_t at = (uint32_t)(d.common + C_DRV_SEL - d.bar);
    for (size_t i = 0; i < ARRAY_LEN(bad_len); i++) {
        aim(&w, bar, at, bad_len[i]);
        CHECK_EQ(drv_cfg_read(d.m, d.slot, w.cap + 16, 4), 0);
        drv_cfg_write(d.m, d.slot, w.cap + 16, 4, 0x99);
    }
    for (unsigned off = 1; off < 4; off++) { /* not aligned */
        aim(&w, bar, at + off, 4);
        CHECK_EQ(drv_cfg_read(d.m, d.slot, w.cap + 16, 4), 0);
        drv_cfg_write(d.m, d.slot, w.cap + 16, 4, 0x99);
    }
    static const uint32_t far[] = {0x10000000, 0xfffffffc, 0x80000000};
    for (size_t i = 0; i < ARRAY_LEN(far); i++) {
        aim(&w, bar, far[i], 4);
        CHECK_EQ(drv_cfg_read(d.m, d.slot, w.cap + 16, 4), 0);
        drv_cfg_write(d.m, d.slot, w.cap + 16, 4, 0x99);
    }
    for (unsigned b = 0; b < 256; b++) {
        if (b < 6 && (cfg(&d, PCI_BAR0 + 4 * b, 4)))
            continue;
        aim(&w, b, at, 4);
        CHECK_EQ(drv_cfg_read(d.m, d.slot, w.cap + 16, 4), 0);
        drv_cfg_write(d.m, d.slot, w.cap + 16, 4, 0x99);
    }
    CHECK_EQ(vd_get(&d, C_DRV_SEL, 4), 0x11223344);
    vd_free(&d);
}

/* Every offset, width and BAR through the window and directly. */
TEST(hostile_window_into_every_bar)
{
    struct vd d = {0};
    vd_up(&d, false, 0);
    struct window w = {&d, vcap(&d, 5)};
    for (unsigned bar = 0; bar < 8; bar++)
        for (uint32_t off = 0; off < 0x5000; off += 2)
            for (uint32_t len = 1; len <= 4; len *= 2) {
                aim(&w, bar, off, len);
                drv_cfg_read(d.m, d.slot, w.cap + 16, 4);
                if ((off & 0xff) != C_STATUS && (off & 1) == 0)
                    drv_cfg_write(d.m, d.slot, w.cap + 16, 4, ~off);
            }
    fake_run_loop(d.m);
    d.brk = 0x10000;
    vd_drain(&d);
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}

TEST(hostile_every_offset_width_and_value)
{
    static const uint64_t vals[] = {0, ~0ull, 0x8000000080000000, 1};
    struct vd d = {0};
    vd_up(&d, false, 0);
    for (size_t v = 0; v < ARRAY_LEN(vals); v++)
        for (unsigned width = 1; width <= 8; width *= 2)
            for (unsigned off = 0; off + width <= 0x4000;
                 off += (off & 0xfff) < 0x60 ? 1 : 61) {
                guest_read(d.m, false, d.bar + off, width);
                guest_write(d.m, false, d.bar + off, width, vals[v]);
            }
    fake_run_loop(d.m);
    vd_drain(&d);
    d.brk = 0x10000;
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}

/* ------------------------------------------------------ anything anywhere */

TEST(hostile_every_queue_select_and_kick)
{
    struct vd d = {0};
    vd_up(&d, false, 0);
    for (unsigned i = 0; i < 0x10000; i += 7) {
        vd_set(&d, C_QUEUE_SEL, 2, i);
        for (unsigned reg = C_QUEUE_SIZE; reg < 0x40; reg += 2)
            vd_get(&d, reg, 2);
        vd_set(&d, C_QUEUE_VECTOR, 2, i >= d.nq ? i : i + 1);
        drv_w16(d.m, d.notify + (i & 0xffe), (uint16_t)i);
    }
    fake_run_loop(d.m);
    vd_check_alive(&d);
    vd_free(&d);
}

/* Vectors move while interrupts are in flight; none is lost for good. */
BOTH_RINGS(hostile_vectors_change_in_traffic)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    unsigned cap = drv_cap(d.m, d.slot, PCI_CAP_MSIX, 0);
    for (unsigned i = 0; i < 300; i++) {
        vd_set(&d, C_QUEUE_SEL, 2, TX0);
        vd_set(&d, C_QUEUE_VECTOR, 2, i % 7 == 6 ? 0xffff : i % (d.nq + 1));
        drv_cfg_write(d.m, d.slot, cap + 3, 1, (i * 0x40) & 0xc0);
        drv_msix_vector(d.m, d.slot, i % (d.nq + 1), i & 1);
        d.brk = 0x80000;
        vd_send(&d, TX0, NULL, frame, 60);
        vd_kick(&d, TX0);
        vd_drain(&d);
        vd_reap(&d.q[TX0]);
    }
    vd_again(&d, 0);
    drv_r8(d.m, d.isr);
    vd_send(&d, TX0, NULL, frame, 60);
    vd_kick(&d, TX0);
    CHECK(vd_irqs(&d, TX0) >= 1);
    vd_free(&d);
}

/* Any address, data and mask, in traffic. */
TEST(hostile_msix_table_garbage)
{
    struct vd d = {0};
    vd_up(&d, false, 0);
    uint64_t table = drv_msix_table(d.m, d.slot);
    for (unsigned i = 0; i < 4000; i++) {
        unsigned width = 1u << (test_random() & 3);
        uint64_t off = test_random() % (0x1000 - 8);
        guest_write(d.m, false, table + off, width,
                    (uint64_t)test_random() << 32 | test_random());
        guest_read(d.m, false, table + off, width);
        if (i % 16)
            continue;
        d.brk = 0x80000;
        vd_send(&d, TX0, NULL, frame, 60);
        vd_kick(&d, TX0);
        vd_drain(&d);
        vd_reap(&d.q[TX0]);
    }
    vd_again(&d, 0);
    vd_check_alive(&d);
    vd_free(&d);
}

/* -------------------------------------------------- moved and switched off */

/* Moved in mid-traffic, the device answers at its new place and its
 * kicks moved along. */
BOTH_RINGS(virtio_bar_moves_in_mid_traffic)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    unsigned bar = cfg(&d, vcap(&d, 1) + 4, 1);
    int kicks = fake_kicks(d.m);
    CHECK_EQ(kicks, d.nq);
    for (unsigned i = 0; i < 20; i++) {
        uint64_t to = 0xd0000000 + (uint64_t)i * 0x10000, was = d.bar;
        drv_cfg_write(d.m, d.slot, PCI_BAR0 + 4 * bar, 4, (uint32_t)to);
        d.common += to - was;
        d.notify += to - was;
        d.isr += to - was;
        d.config += to - was;
        d.bar = to;
        CHECK_EQ(drv_r32(d.m, was), 0xffffffff);
        CHECK(!fake_kick_write(d.m, false, was + 0x3000, 2, 0));
        CHECK_EQ(fake_kicks(d.m), kicks);
        d.brk = 0x40000;
        vd_check_alive(&d);
    }
    vd_free(&d);
}

/* No decoding, no kicks; and back again. */
TEST(virtio_decoding_off_and_on)
{
    struct vd d = {0};
    vd_up(&d, false, 0);
    drv_cfg_write(d.m, d.slot, PCI_COMMAND, 2, PCI_CMD_MASTER);
    CHECK_EQ(fake_kicks(d.m), 0);
    CHECK_EQ(vd_status(&d), 0xff);
    drv_enable(d.m, d.slot, PCI_CMD_MEM);
    CHECK_EQ(vd_status(&d), 0x0f);
    vd_check_alive(&d);
    vd_free(&d);
}

/* INTx disabled in COMMAND, seen in STATUS. */
TEST(virtio_intx_disable_holds_the_line)
{
    struct vd d = {.intx = true};
    vd_up(&d, false, 0);
    drv_enable(d.m, d.slot, PCI_CMD_INTX_OFF);
    vd_send(&d, TX0, NULL, frame, 60);
    vd_kick(&d, TX0);
    CHECK(!fake_level(d.m, pci_slot_gsi(d.slot)));
    CHECK(cfg(&d, PCI_STATUS, 2) & PCI_STS_INTX);
    drv_cfg_write(d.m, d.slot, PCI_COMMAND, 2, 7);
    CHECK(fake_level(d.m, pci_slot_gsi(d.slot)));
    CHECK_EQ(drv_r8(d.m, d.isr), 1);
    CHECK(!fake_level(d.m, pci_slot_gsi(d.slot)));
    vd_free(&d);
}
