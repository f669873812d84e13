/* SPDX-License-Identifier: MIT */
/* The e1000's registers, EEPROM, PHY, statistics and interrupts, by section of
 * the manual. */
#include "devices/list.h"
#include "tests/unit/devices/e1000/drv.h"

#include <errno.h>
#include <stdio.h>

static bool is_plain(const struct e1000_row *r)
{
    return *r->name && !r->read &&
           (r->write == e1000_wr_plain || r->write == e1000_wr_filter);
}

/* The one table, walked: reset values, masks, read-back. */
TEST(e1000_13_2_every_row_resets_and_masks)
{
    static const uint32_t pattern[] = {0x5a5a5a5a, 0xa5a5a5a5, 0, ~0u};
    struct drv *d = drv_new(NULL);
    drv_enable(d->m, d->slot, 0);
    for (unsigned i = 1; i < e1000_nrows; i++) {
        const struct e1000_row *r = &e1000_rows[i];
        if (!is_plain(r))
            continue;
        for (uint32_t k = 0; k<r->count; k += r->count> 1000 ? 997 : 1) {
            uint32_t off = r->off + k * r->stride;
            bool ra0 = off == RAL || off == RAH; /* from the EEPROM */
            if (!ra0)
                CHECK_EQ(rd(d, off), r->reset);
            for (unsigned p = 0; p < 4; p++) {
                wr(d, off, pattern[p]);
                if (rd(d, off) !=
                    ((r->reset & ~r->wmask) | (pattern[p] & r->wmask)))
                    FAIL("%s[%u] after %08x reads %08x", r->name, k, pattern[p],
                         rd(d, off));
            }
        }
    }
    wr(d, CTRL, CTRL_RST);
    for (unsigned i = 1; i < e1000_nrows; i++) {
        const struct e1000_row *r = &e1000_rows[i];
        if (is_plain(r) && r->off != PBM && r->off != RAL && r->off != RAH)
            CHECK_EQ(rd(d, r->off), r->reset);
    }
    drv_free(d);
}

TEST(e1000_13_2_aliases_are_the_same_register)
{
    struct drv *d = drv_new(NULL);
    for (unsigned i = 1; i < e1000_nrows; i++) {
        const struct e1000_row *r = &e1000_rows[i];
        if (*r->name || !r->to || r->to == TDT || r->to == RDT)
            continue;
        wr(d, r->off, 0x00001230);
        CHECK_EQ(rd(d, r->off), rd(d, r->to));
    }
    drv_free(d);
}

TEST(e1000_13_2_no_two_rows_overlap)
{
    static uint8_t used[E1000_MMIO_SIZE / 4];
    memset(used, 0, sizeof(used));
    for (unsigned i = 1; i < e1000_nrows; i++) {
        const struct e1000_row *r = &e1000_rows[i];
        for (uint32_t k = 0; k < r->count; k++)
            if (used[(r->off + k * r->stride) / 4]++)
                FAIL("row %u (%s) overlaps another", i,
                     *r->name ? r->name : "alias");
    }
}

TEST(e1000_13_2_unlisted_offsets_read_zero)
{
    struct drv *d = drv_new(NULL);
    wr(d, 0x00004, ~0u);
    CHECK_EQ(rd(d, 0x00004), 0);
    wr(d, 0x0fffc, ~0u);
    CHECK_EQ(rd(d, 0x0fffc), 0);
    drv_free(d);
}

TEST(e1000_13_2_small_accesses_are_lanes)
{
    struct drv *d = drv_new(NULL);
    for (unsigned i = 0; i < 6; i++) /* hobby drivers read RA so */
        CHECK_EQ(drv_r8(d->m, d->bar + RAL + i), drv_mac[i]);
    CHECK_EQ(drv_r16(d->m, d->bar + RAL + 2), 0x1200);
    CHECK_EQ(guest_read(d->m, false, d->bar + RAL, 8),
             0x80005634ull << 32 | 0x12005452);
    drv_w8(d->m, d->bar + MTA + 1, 0xab);
    CHECK_EQ(rd(d, MTA), 0xab00);
    drv_w8(d->m, d->bar + CTRL + 3, 0x04); /* RST: not a plain register */
    CHECK_EQ(rd(d, MTA), 0xab00);
    drv_w64(d->m, d->bar + MTA, 0x1111111122222222ull);
    CHECK_EQ(rd(d, MTA + 4), 0x11111111);
    CHECK_EQ(guest_read(d->m, false, d->bar + MTA + 2, 4), 0);
    wr(d, ICS, ICR_LSC | ICR_MDAC);
    CHECK_EQ(drv_r8(d->m, d->bar + ICR), ICR_LSC);
    CHECK_EQ(rd(d, ICS), 0); /* once read, all of it is cleared */
    drv_free(d);
}

TEST(e1000_13_2_2_io_bar_reaches_every_register)
{
    struct drv *d = drv_new(NULL);
    unsigned io = (unsigned)d->io;
    outl(d->m, io, VET);
    CHECK_EQ(inl(d->m, io), VET);
    CHECK_EQ(inl(d->m, io + 4), 0x8100);
    outl(d->m, io + 4, 0x9100);
    CHECK_EQ(rd(d, VET), 0x9100);
    outl(d->m, io, CTRL);
    outl(d->m, io + 4, inl(d->m, io + 4) | CTRL_RST); /* as Linux resets */
    CHECK_EQ(rd(d, VET), 0x8100);
    outl(d->m, io, 0xffffffff);
    CHECK_EQ(inl(d->m, io), 0xfffff);
    CHECK_EQ(inl(d->m, io + 4), 0);
    outl(d->m, io + 4, ~0u);
    outw(d->m, io, 0x28); /* not a dword: no address write */
    CHECK_EQ(inl(d->m, io), 0xfffff);
    CHECK_EQ(inl(d->m, io + 8), 0);
    outl(d->m, io, VET + 2); /* no dword's address */
    CHECK_EQ(inl(d->m, io + 4), 0);
    outl(d->m, io + 4, 0x9100);
    outl(d->m, io, E1000_MMIO_SIZE); /* nor this */
    CHECK_EQ(inl(d->m, io + 4), 0);
    outl(d->m, io + 4, 0x9100);
    outl(d->m, io, VET);
    CHECK_EQ(inw(d->m, io + 4), 0); /* data: dwords, too */
    outw(d->m, io + 4, 0x9100);
    outl(d->m, io + 8, 0x9100);
    CHECK_EQ(rd(d, VET), 0x8100);
    drv_free(d);
}

/* ----------------------------------------------------------------- EEPROM */

static uint16_t eerd(struct drv *d, uint32_t word)
{
    wr(d, EERD, word << 8 | EERD_START);
    uint32_t v = rd(d, EERD);
    CHECK(v & EERD_DONE);
    CHECK(!(v & 2)); /* or iPXE takes it for the large layout */
    return (uint16_t)(v >> 16);
}

TEST(e1000_5_6_eeprom_sums_to_baba_and_holds_the_address)
{
    struct drv *d = drv_new(NULL);
    uint16_t sum = 0;
    for (uint32_t i = 0; i < 64; i++)
        sum = (uint16_t)(sum + eerd(d, i));
    CHECK_EQ(sum, 0xbaba);
    CHECK_EQ(eerd(d, 0), 0x5452);
    CHECK_EQ(eerd(d, 1), 0x1200);
    CHECK_EQ(eerd(d, 2), 0x5634);
    CHECK_EQ(eerd(d, 10) >> 14, 1);
    CHECK_EQ(eerd(d, 255), 0);
    CHECK_EQ(rd(d, RAL), 0x12005452);
    CHECK_EQ(rd(d, RAH), RAH_AV | 0x5634);
    drv_free(d);
}

static void ee_out(struct drv *d, uint32_t bits, unsigned n)
{
    uint32_t base = EECD_REQ | EECD_CS;
    while (n--) {
        uint32_t di = bits >> n & 1 ? EECD_DI : 0;
        wr(d, EECD, base | di);
        wr(d, EECD, base | di | EECD_SK);
        wr(d, EECD, base | di);
    }
}

static void ee_select(struct drv *d)
{
    wr(d, EECD, EECD_REQ);
    CHECK(rd(d, EECD) & EECD_GNT);
    wr(d, EECD, EECD_REQ | EECD_SK); /* a clock without CS: ignored */
    wr(d, EECD, EECD_REQ);
    wr(d, EECD, EECD_REQ | EECD_CS);
}

static uint16_t ee_in(struct drv *d)
{
    uint16_t v = 0;
    for (int i = 0; i < 16; i++) {
        wr(d, EECD, EECD_REQ | EECD_CS | EECD_SK);
        v = (uint16_t)(v << 1 | (rd(d, EECD) & EECD_DO ? 1 : 0));
        wr(d, EECD, EECD_REQ | EECD_CS);
    }
    return v;
}

static uint16_t ee_read(struct drv *d, unsigned word)
{
    ee_select(d);
    ee_out(d, 6, 3);
    ee_out(d, word, 6);
    return ee_in(d);
}

TEST(e1000_5_5_eecd_reads_as_linux_does)
{
    struct drv *d = drv_new(NULL);
    uint16_t sum = 0;
    CHECK(rd(d, EECD) & EECD_PRES);
    for (unsigned i = 0; i < 64; i++)
        sum = (uint16_t)(sum + ee_read(d, i));
    CHECK_EQ(sum, 0xbaba);
    CHECK_EQ(ee_read(d, 1), 0x1200);
    CHECK_EQ(ee_in(d), 0x5634); /* sequential */
    wr(d, EECD, 0);
    CHECK(!(rd(d, EECD) & EECD_GNT));
    drv_free(d);
}

static void ee_write(struct drv *d, unsigned word, uint16_t v)
{
    ee_select(d);
    ee_out(d, 5, 3);
    ee_out(d, word, 6);
    ee_out(d, v, 16);
    ee_select(d); /* CS low, high: DO tells that it is done */
    CHECK(rd(d, EECD) & EECD_DO);
}

TEST(e1000_5_5_eecd_writes_only_after_ewen)
{
    struct drv *d = drv_new(NULL);
    ee_write(d, 5, 0xabcd);
    CHECK_EQ(ee_read(d, 5), 0xffff);
    ee_select(d);
    ee_out(d, 0x13, 5); /* EWEN: 1 00 11xxxx */
    ee_out(d, 0, 4);
    ee_write(d, 5, 0xabcd);
    CHECK_EQ(ee_read(d, 5), 0xabcd);
    CHECK_EQ(eerd(d, 5), 0xabcd);
    ee_select(d);
    ee_out(d, 7, 3); /* ERASE */
    ee_out(d, 5, 6);
    CHECK_EQ(ee_read(d, 5), 0xffff);
    ee_select(d);
    ee_out(d, 0x10, 5); /* EWDS */
    ee_out(d, 0, 4);
    ee_write(d, 5, 0x1111);
    CHECK_EQ(ee_read(d, 5), 0xffff);
    drv_free(d);
}

TEST(e1000_5_5_eecd_fills_and_erases_all_after_ewen)
{
    struct drv *d = drv_new(NULL);
    for (int on = 0; on < 2; on++) {
        ee_select(d);
        ee_out(d, on ? 0x13 : 0x10, 5); /* EWEN, EWDS */
        ee_out(d, 0, 4);
        ee_select(d);
        ee_out(d, 0x11, 5); /* WRAL */
        ee_out(d, 0, 4);
        ee_out(d, 0x5aa5, 16);
        for (unsigned i = 0; i < 64; i += 9)
            CHECK_EQ(eerd(d, i) == 0x5aa5, on);
        CHECK_EQ(ee_read(d, 63) == 0x5aa5, on);
    }
    CHECK_EQ(ee_in(d), 0x5aa5); /* over the end to the first word */
    ee_select(d);
    ee_out(d, 0x12, 5); /* ERAL */
    ee_out(d, 0, 4);
    ee_out(d, 0, 8); /* clocks after a command do nothing */
    for (unsigned i = 0; i < 64; i++)
        CHECK_EQ(eerd(d, i), 0xffff);
    drv_free(d);
}

TEST(e1000_13_2_accesses_are_traced)
{
    struct drv *d = drv_new(NULL);
    test_log();
    trace_mask = TRACE_E1000;
    wr(d, TDBAL, 0x12340);
    rd(d, TDBAL);
    wr(d, MTA + 4 * 5, 7);
    rd(d, 0x1f000);
    uint32_t hole = 0, at = 0;
    while (e1000_row_at(&at))
        at = hole += 4;
    REQUIRE(hole < PBM);
    rd(d, hole);
    wr(d, hole, 0x55);
    trace_mask = 0;
    rd(d, TDBAL);
    const char *log = test_log();
    CHECK_HAS(log, "write TDBAL 00012340");
    CHECK_HAS(log, "read TDBAL 00012340");
    CHECK_HAS(log, "write MTA[5] 00000007");
    char line[64];
    snprintf(line, sizeof(line), "read %05x 00000000 (no register)", hole);
    CHECK_HAS(log, line);
    snprintf(line, sizeof(line), "write %05x 00000055 (no register)", hole);
    CHECK_HAS(log, line);
    drv_free(d);
}

TEST(e1000_eecd_garbage_does_no_harm)
{
    struct drv *d = drv_new(NULL);
    for (int i = 0; i < 100000; i++)
        wr(d, EECD, test_random());
    rd(d, EECD);
    drv_free(d);
}

/* -------------------------------------------------------------- PHY, link */

static uint32_t mdic(struct drv *d, uint32_t v)
{
    wr(d, MDIC, v);
    return rd(d, MDIC);
}

static uint16_t phy_rd(struct drv *d, unsigned n)
{
    uint32_t v = mdic(d, MDIC_OP_READ | n << 16 | 1 << 21);
    CHECK(v & MDIC_R);
    CHECK(!(v & MDIC_E));
    return (uint16_t)v;
}

static void phy_wr(struct drv *d, unsigned n, uint16_t v)
{
    mdic(d, MDIC_OP_WRITE | n << 16 | 1 << 21 | v);
}

TEST(e1000_8_6_phy_is_an_88e1011_with_link)
{
    struct drv *d = drv_new(NULL);
    CHECK_EQ(phy_rd(d, 2), 0x0141);
    CHECK_EQ(phy_rd(d, 3) & 0xfff0, 0x0c20);
    phy_rd(d, 1);
    CHECK_EQ(phy_rd(d, 1), 0x796d);
    CHECK_EQ(phy_rd(d, 17), 0xac00);
    CHECK_EQ(phy_rd(d, 10), 0x3c00);
    CHECK_EQ(rd(d, STATUS), 0x283);
    drv_free(d);
}

TEST(e1000_13_4_7_mdic_other_phys_are_errors_and_i_interrupts)
{
    struct drv *d = drv_new(NULL);
    for (unsigned phy = 0; phy < 32; phy++) {
        uint32_t v = mdic(d, MDIC_OP_READ | 2 << 16 | phy << 21);
        CHECK(v & MDIC_R);
        CHECK_EQ(!!(v & MDIC_E), phy != 1);
    }
    mdic(d, MDIC_OP_READ | 1 << 21 | MDIC_I);
    CHECK_EQ(rd(d, ICR), ICR_MDAC);
    drv_free(d);
}

TEST(e1000_8_6_phy_registers_read_back)
{
    static const uint8_t reg[] = {4, 7, 9, 16, 18, 20, 29, 30, 31};
    struct drv *d = drv_new(NULL);
    for (unsigned i = 0; i < sizeof(reg); i++) {
        phy_wr(d, reg[i], 0x8f00);
        CHECK_EQ(phy_rd(d, reg[i]) | 0x0800, 0x8f00 | 0x0800);
    }
    for (uint32_t i = 0; i < 32; i++) /* any PHY, any opcode */
        for (uint32_t op = 0; op < 4; op++)
            mdic(d, op << 26 | i << 16 | 1 << 21 | 0xffff);
    drv_free(d);
}

TEST(e1000_8_6_2_negotiation_takes_the_link_down_and_up)
{
    struct drv *d = drv_new(NULL);
    phy_wr(d, 0, 0x1340); /* restart */
    CHECK_EQ(phy_rd(d, 0), 0x1140);
    CHECK(!(rd(d, STATUS) & STATUS_LU));
    CHECK_EQ(rd(d, ICR), ICR_LSC);
    fake_sleep_ns(d->m, 2 * MS);
    CHECK(rd(d, STATUS) & STATUS_LU);
    CHECK_EQ(rd(d, ICR), ICR_LSC);
    CHECK(!(phy_rd(d, 1) & 4)); /* it was down: latched */
    CHECK(phy_rd(d, 1) & 4);
    drv_free(d);
}

TEST(e1000_8_6_speeds_follow_advertisement_and_force)
{
    struct drv *d = drv_new(NULL);
    wr(d, CTRL, CTRL_SLU);
    phy_wr(d, 9, 0); /* no 1000 */
    phy_wr(d, 4, 0x0101);
    phy_wr(d, 0, 0x1340);
    fake_sleep_ns(d->m, 2 * MS);
    CHECK_EQ(rd(d, STATUS) & 0x3c3, 0x143);
    phy_wr(d, 0, 0x0000); /* 10, half, forced */
    fake_sleep_ns(d->m, 2 * MS);
    CHECK_EQ(rd(d, STATUS) & 0xc3, 0x002);
    wr(d, CTRL, CTRL_SLU | CTRL_FRCSPD | CTRL_FRCDPLX | CTRL_FD | 1 << 8);
    CHECK_EQ(rd(d, STATUS) & 0xc3, 0x043);
    drv_free(d);
}

TEST(e1000_8_6_power_down_drops_the_link)
{
    struct drv *d = drv_new(NULL);
    phy_wr(d, 0, 0x1940);
    fake_sleep_ns(d->m, 2 * MS);
    CHECK(!(rd(d, STATUS) & STATUS_LU));
    phy_wr(d, 0, 0x1140);
    fake_sleep_ns(d->m, 2 * MS);
    CHECK(rd(d, STATUS) & STATUS_LU);
    drv_free(d);
}

TEST(e1000_13_4_1_slu_brings_link_up_at_once)
{
    struct drv *d = drv_new(NULL);
    wr(d, CTRL, 0);
    CHECK(!(rd(d, STATUS) & STATUS_LU));
    rd(d, ICR);
    wr(d, CTRL, CTRL_SLU);
    CHECK(rd(d, STATUS) & STATUS_LU);
    CHECK_EQ(rd(d, ICR), ICR_LSC);
    drv_free(d);
}

TEST(e1000_cable_pulled_and_plugged)
{
    struct drv *d = drv_new(NULL);
    struct netdev *nd = fake_net_dev(d->net);
    nd->link_up = false;
    nd->link_changed(nd->nic, false);
    CHECK(!(rd(d, STATUS) & STATUS_LU));
    CHECK_EQ(rd(d, ICR), ICR_LSC);
    phy_wr(d, 0, 0x1340);
    fake_sleep_ns(d->m, 5 * MS);
    CHECK(!(rd(d, STATUS) & STATUS_LU));
    nd->link_up = true;
    nd->link_changed(nd->nic, true);
    fake_sleep_ns(d->m, 2 * MS);
    CHECK(rd(d, STATUS) & STATUS_LU);
    CHECK_EQ(rd(d, ICR), ICR_LSC);
    drv_free(d);
}

/* ------------------------------------------------------------- interrupts */

TEST(e1000_13_4_17_icr_read_clears_and_drops_the_line)
{
    struct drv *d = drv_new(NULL);
    wr(d, IMS, ICR_LSC);
    wr(d, ICS, ICR_LSC | ICR_RXT0);
    CHECK(irq_line(d));
    CHECK_EQ(rd(d, ICS), ICR_LSC | ICR_RXT0); /* ICS reads without clearing */
    CHECK_EQ(rd(d, ICR), ICR_LSC | ICR_RXT0);
    CHECK(!irq_line(d));
    CHECK_EQ(rd(d, ICR), 0);
    drv_free(d);
}

TEST(e1000_13_4_17_icr_clears_with_nothing_unmasked)
{
    struct drv *d = drv_new(NULL);
    wr(d, ICS, 0x1ffff);
    CHECK(!irq_line(d));
    CHECK_EQ(rd(d, ICR), 0x1ffff);
    CHECK_EQ(rd(d, ICR), 0);
    drv_free(d);
}

TEST(e1000_13_4_17_writing_ones_clears)
{
    struct drv *d = drv_new(NULL);
    wr(d, IMS, 0x1ffff);
    wr(d, ICS, ICR_LSC | ICR_RXT0);
    wr(d, ICR, ICR_LSC);
    CHECK(irq_line(d));
    wr(d, ICR, ICR_RXT0);
    CHECK(!irq_line(d));
    drv_free(d);
}

TEST(e1000_13_4_20_unmasking_a_latched_cause_raises)
{
    struct drv *d = drv_new(NULL);
    wr(d, ICS, ICR_RXSEQ);
    CHECK(!irq_line(d));
    wr(d, IMS, ICR_RXSEQ);
    CHECK(irq_line(d));
    CHECK_EQ(rd(d, IMS), ICR_RXSEQ);
    wr(d, IMC, ICR_RXSEQ);
    CHECK(!irq_line(d));
    CHECK_EQ(rd(d, IMS), 0);
    CHECK_EQ(rd(d, IMC), 0);
    drv_free(d);
}

TEST(e1000_13_4_18_itr_spaces_interrupts_and_never_delays_the_first)
{
    struct drv *d = drv_new(NULL);
    wr(d, ITR, 1000); /* 256 us */
    wr(d, IMS, ICR_RXT0);
    fake_advance_ns(MS);
    wr(d, ICS, ICR_RXT0);
    CHECK(irq_line(d));
    rd(d, ICR);
    wr(d, ICS, ICR_RXT0);
    run(d);
    CHECK(!irq_line(d));
    fake_sleep_ns(d->m, 255000);
    CHECK(!irq_line(d));
    fake_sleep_ns(d->m, 1000);
    CHECK(irq_line(d));
    rd(d, ICR);
    wr(d, ICS, ICR_RXT0);
    CHECK(!irq_line(d));
    wr(d, ITR, 0); /* off: at once */
    CHECK(irq_line(d));
    drv_free(d);
}

TEST(e1000_reset_drops_the_line_and_forgets_timers)
{
    struct drv *d = drv_new(NULL);
    wr(d, ITR, 0xffff);
    wr(d, IMS, 0x1ffff);
    wr(d, ICS, 1);
    rd(d, ICR);
    wr(d, ICS, 1); /* waits for ITR */
    wr(d, CTRL, CTRL_RST);
    CHECK(!irq_line(d));
    CHECK_EQ(rd(d, IMS), 0);
    CHECK_EQ(rd(d, ICR), 0);
    CHECK(!(rd(d, CTRL) & CTRL_RST));
    CHECK(rd(d, STATUS) & STATUS_LU); /* the PHY is not reset */
    wr(d, IMS, 0x1ffff);
    fake_sleep_ns(d->m, 100 * MS);
    CHECK(!irq_line(d));
    drv_free(d);
}

TEST(e1000_ics_storm_ends)
{
    struct drv *d = drv_new(NULL);
    wr(d, IMS, ~0u);
    for (int i = 0; i < 10000; i++) {
        wr(d, ICS, test_random());
        if (i % 7 == 0)
            rd(d, ICR);
        if (i % 100 == 0)
            wr(d, ITR, test_random());
    }
    run(d);
    drv_free(d);
}

TEST(e1000_13_7_pairs_clear_with_the_high_half_and_stick)
{
    struct drv *d = drv_new(NULL);
    stat_add(d->e, GORCL, 0x500000003ull);
    stat_add(d->e, MPC, 0x1ffffffffull);
    CHECK_EQ(rd(d, GORCL), 3);
    stat_add(d->e, GORCL, 10); /* between the two reads: not lost */
    CHECK_EQ(rd(d, GORCH), 5);
    CHECK_EQ(rd(d, GORCL), 10);
    CHECK_EQ(rd(d, GORCH), 0);
    CHECK_EQ(rd(d, GORCL), 0);
    CHECK_EQ(rd(d, MPC), 0xffffffff);
    CHECK_EQ(rd(d, MPC), 0);
    drv_free(d);
}

TEST(e1000_13_7_what_was_read_is_not_saved)
{
    struct drv *d = drv_new(NULL);
    stat_add(d->e, MPC, 5);
    CHECK_EQ(rd(d, MPC), 5);
    stat_add(d->e, MPC, 2);
    device_hold(&d->e->dev);
    CHECK_EQ(d->e->stat[(MPC & 0xff) / 4], 2); /* a field: all that is saved */
    device_resume(&d->e->dev);
    CHECK_EQ(rd(d, MPC), 2);
    stat_add(d->e, MPC, 1);
    CHECK_EQ(rd(d, MPC), 1);
    drv_free(d);
}

TEST(e1000_4_1_configuration_space)
{
    struct drv *d = drv_new(NULL);
    CHECK_EQ(drv_cfg_read(d->m, d->slot, 8, 4), 0x02000002);
    CHECK_EQ(drv_cfg_read(d->m, d->slot, PCI_SUBSYS_VENDOR_ID, 4), 0x001e8086);
    CHECK_EQ(drv_cfg_read(d->m, d->slot, PCI_INT_PIN, 1), 1);
    drv_cfg_write(d->m, d->slot, 0x10, 4, ~0u);
    CHECK_EQ(drv_cfg_read(d->m, d->slot, 0x10, 4), 0xfffe0000);
    drv_cfg_write(d->m, d->slot, 0x14, 4, ~0u);
    CHECK_EQ(drv_cfg_read(d->m, d->slot, 0x14, 4) & 0xffff, 0xffc1);
    drv_free(d);
}

TEST(e1000_refuses_a_netdev_that_serves_virtio_rings_only)
{
    struct machine *m = fake_pc(DRV_RAM);
    fake_net_dev(fake_net_new("vu", 1))->vhost = VHOST_USER;
    CHECK_EQ(fake_device(m, &e1000_class, "-device e1000", "netdev=vu"),
             -EINVAL);
    CHECK_HAS(test_log(), "vhost-user serves virtio rings only");
    netdev_close_all();
    fake_free(m);
}
