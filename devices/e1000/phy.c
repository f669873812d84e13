/* SPDX-License-Identifier: MIT */
/* The e1000's PHY, a Marvell 88E1011, behind MDIC; and the link (SDM 8.6,
 * 11, 13.4.7; IEEE 802.3 clause 22).
 *
 * Theory of operation
 *
 * The line works when a cable is plugged (the netdev's link), the PHY has
 * power, and LINK_NS went by since it was last started: a reset, a new
 * negotiation, power, or the plug. The time is short because nobody is at the
 * other end to negotiate with; it is not zero because drivers expect to see the
 * link go down when they ask for it, and then LSC.
 *
 * STATUS.LU is the PHY's line and CTRL.SLU. Everything here is cold and under
 * the device's lock; the timer is the loop's, a vCPU hands it over with
 * TODO_LINK. The partner is one who can do everything. */
#include "devices/e1000/state.h"

#include <string.h>

#define LINK_NS 1000000 /* 1 ms */
#define PHY_ADDR 1

/* PHY(name, number, reset, wmask) in numerical order; those not listed read 0
 * and ignore writes. */
#define E1000_PHY(PHY)                                                         \
    PHY(CONTROL, 0, 0x1140, 0xffc0)                                            \
    PHY(BMSR, 1, 0x7949, 0)                                                    \
    PHY(ID1, 2, 0x0141, 0)                                                     \
    PHY(ID2, 3, 0x0c20, 0)                                                     \
    PHY(AN_ADV, 4, 0x0de1, 0xbfff)                                             \
    PHY(AN_PARTNER, 5, 0, 0)                                                   \
    PHY(AN_EXP, 6, 0x0004, 0)                                                  \
    PHY(AN_NEXT, 7, 0x2001, 0xb7ff)                                            \
    PHY(AN_PARTNER_NEXT, 8, 0, 0)                                              \
    PHY(CTRL_1000T, 9, 0x0e00, 0xff00)                                         \
    PHY(STATUS_1000T, 10, 0, 0)                                                \
    PHY(EXT_STATUS, 15, 0x3000, 0)                                             \
    PHY(SPEC_CTRL, 16, 0x0068, 0xffff)                                         \
    PHY(SPEC_STATUS, 17, 0, 0)                                                 \
    PHY(INT_ENABLE, 18, 0, 0xffff)                                             \
    PHY(INT_STATUS, 19, 0, 0)                                                  \
    PHY(EXT_SPEC_CTRL, 20, 0x0d60, 0xffff)                                     \
    PHY(RX_ERRORS, 21, 0, 0)                                                   \
    PHY(EXT_ADDRESS, 22, 0, 0xffff)                                            \
    PHY(LED_CTRL, 24, 0x4100, 0xffff)                                          \
    PHY(LED_OVERRIDE, 25, 0, 0xffff)                                           \
    PHY(EXT_SPEC_CTRL2, 26, 0x000a, 0xffff)                                    \
    PHY(EXT_SPEC_STATUS, 27, 0x848b, 0)                                        \
    PHY(CABLE_STATUS, 28, 0, 0)                                                \
    PHY(PAGE_SELECT, 29, 0, 0xffff)                                            \
    PHY(GEN_CTRL, 30, 0, 0xffff)                                               \
    PHY(VENDOR, 31, 0, 0xffff)

enum {
#define PHY(name, n, reset, wmask) P_##name = n,
    E1000_PHY(PHY)
#undef PHY
};
static const struct {
    const char *name;
    uint16_t reset, wmask;
} phy_rows[32] = {
#define PHY(name, n, reset, wmask) [n] = {#name, reset, wmask},
    E1000_PHY(PHY)
#undef PHY
};

enum { /* IEEE 802.3 22.2.4.1, register 0 */
       BMCR_SPEED_1000 = 1 << 6,
       BMCR_FD = 1 << 8,
       BMCR_RESTART = 1 << 9,
       BMCR_PWRDN = 1 << 11,
       BMCR_AN_EN = 1 << 12,
       BMCR_SPEED_100 = 1 << 13,
       BMCR_RESET = 1 << 15,
};
enum { BMSR_LINK = 1 << 2, BMSR_AN_DONE = 1 << 5 };

/* Speed (0, 1, 2: 10, 100, 1000) and duplex the line came up with. */
struct mode {
    unsigned speed;
    bool fd;
};

/* IEEE 802.3 annex 28B.3: the best of what register 4 and 9 offer. */
static struct mode e1000_phy_negotiated(const struct e1000_phy *p)
{
    uint16_t gig = p->reg[P_CTRL_1000T], adv = p->reg[P_AN_ADV];
    if (gig & 0x0300)
        return (struct mode){2, gig & 0x0200};
    if (adv & 0x0180)
        return (struct mode){1, adv & 0x0100};
    return (struct mode){0, adv & 0x0040};
}

static struct mode e1000_phy_forced(const struct e1000_phy *p)
{
    uint16_t c = p->reg[P_CONTROL];
    unsigned speed = c & BMCR_SPEED_1000 ? 2 : c & BMCR_SPEED_100 ? 1 : 0;
    return (struct mode){speed, c & BMCR_FD};
}

/* As it is, or as it will be. */
static struct mode e1000_phy_line_mode(const struct e1000_phy *p)
{
    if (p->up)
        return (struct mode){p->speed, p->fd};
    return p->reg[P_CONTROL] & BMCR_AN_EN ? e1000_phy_negotiated(p)
                                          : e1000_phy_forced(p);
}

/* SDM 13.4.2. LSC tells each change of LU (SDM 13.4.17). */
void e1000_link_update(struct e1000 *e)
{
    uint32_t old = reg_get(e, STATUS), ctrl = reg_get(e, CTRL);
    uint32_t s = old & STATUS_TXOFF;
    struct mode m = e1000_phy_line_mode(&e->phy);
    bool up = e->phy.up && ctrl & CTRL_SLU;
    s |= m.speed << STATUS_ASDV_SHIFT;
    if (ctrl & CTRL_FRCSPD && ctrl & CTRL_SLU)
        m.speed = (ctrl & CTRL_SPEED) >> 8;
    if (ctrl & CTRL_FRCDPLX)
        m.fd = ctrl & CTRL_FD;
    s |= m.speed << STATUS_SPEED_SHIFT;
    s |= (m.fd ? STATUS_FD : 0) | (up ? STATUS_LU : 0);
    reg_put(e, STATUS, s);
    if ((old ^ s) & STATUS_LU) {
        e1000_raise(e, ICR_LSC);
        e1000_kick(e, TODO_CFG);
    }
}

static void e1000_phy_line_down(struct e1000 *e)
{
    struct e1000_phy *p = &e->phy;
    if (p->up)
        p->latched = true;
    p->up = p->an_done = false;
    p->reg[P_AN_PARTNER] = p->reg[P_STATUS_1000T] = 0;
    p->reg[P_AN_EXP] &= (uint16_t)~0x0003;
    e1000_link_update(e);
}

static bool e1000_phy_line_possible(const struct e1000 *e)
{
    return e->nic.nd && netdev_link(e->nic.nd) &&
           !(e->phy.reg[P_CONTROL] & BMCR_PWRDN);
}

static void e1000_phy_line_up(struct e1000 *e)
{
    struct e1000_phy *p = &e->phy;
    struct mode m = e1000_phy_line_mode(p);
    p->speed = (uint8_t)m.speed;
    p->fd = m.fd;
    p->up = true;
    if (p->reg[P_CONTROL] & BMCR_AN_EN) {
        p->an_done = true;
        p->reg[P_AN_PARTNER] = 0x4de1; /* ACK, pause, all of 10 and 100 */
        p->reg[P_AN_EXP] |= 0x0003;
        p->reg[P_STATUS_1000T] = 0x3c00;
    }
    e1000_link_update(e);
}

/* Goes down, and comes up a little later if it can. */
static void e1000_phy_line_restart(struct e1000 *e)
{
    e1000_phy_line_down(e);
    e->phy.starting = e1000_phy_line_possible(e);
    if (e->phy.starting)
        e1000_kick(e, TODO_LINK);
}

void e1000_phy_start(struct e1000 *e)
{
    if (e->phy.starting)
        timer_arm(&e->link_timer, now_ns() + LINK_NS);
}

static void e1000_phy_link_timer_fires(struct timer *t)
{
    struct e1000 *e = container_of(t, struct e1000, link_timer);
    lock_take(&e->lock);
    if (e->phy.starting && e1000_phy_line_possible(e))
        e1000_phy_line_up(e);
    e->phy.starting = false;
    lock_give(&e->lock);
}

void e1000_phy_cable(struct e1000 *e, bool up)
{
    if (up && !e->phy.up)
        e1000_phy_line_restart(e);
    else if (!up) {
        e->phy.starting = false;
        e1000_phy_line_down(e);
    }
}

void e1000_phy_reset(struct e1000 *e)
{
    for (unsigned i = 0; i < ARRAY_LEN(phy_rows); i++)
        e->phy.reg[i] = phy_rows[i].reset;
    e1000_phy_line_restart(e);
}

void e1000_phy_init(struct e1000 *e)
{
    timer_init(&e->link_timer, e->dev.m->loop, e1000_phy_link_timer_fires);
}

/* -------------------------------------------------------------- registers */

static uint16_t e1000_phy_read_bmsr(struct e1000_phy *p)
{
    uint16_t v = phy_rows[P_BMSR].reset;
    if (p->up && !p->latched) /* a link that went down reads so once */
        v |= BMSR_LINK;
    if (p->an_done)
        v |= BMSR_AN_DONE;
    p->latched = false;
    return v;
}

static uint16_t e1000_phy_read_spec_status(const struct e1000_phy *p)
{
    struct mode m = e1000_phy_line_mode(p);
    uint16_t v = (uint16_t)(m.speed << 14 | (m.fd ? 1 << 13 : 0));
    if (p->up)
        v |= 1 << 11 | 1 << 10; /* resolved, link */
    return v;
}

static uint16_t e1000_phy_read(struct e1000 *e, unsigned n)
{
    if (n == P_BMSR)
        return e1000_phy_read_bmsr(&e->phy);
    if (n == P_SPEC_STATUS)
        return e1000_phy_read_spec_status(&e->phy);
    return e->phy.reg[n];
}

/* RESET and RESTART read 0 again at once. A software reset keeps the other
 * registers, as the 88E1011 does, and makes them take effect. */
static void e1000_phy_write_control(struct e1000 *e, uint16_t v)
{
    struct e1000_phy *p = &e->phy;
    uint16_t old = p->reg[P_CONTROL], differ;
    p->reg[P_CONTROL] = v & (uint16_t) ~(BMCR_RESET | BMCR_RESTART);
    differ = old ^ p->reg[P_CONTROL];
    if (differ & BMCR_LOOPBACK)
        e1000_kick(e, TODO_CFG);
    if (v & BMCR_RESET || (v & BMCR_RESTART && v & BMCR_AN_EN) ||
        differ & (BMCR_PWRDN | BMCR_AN_EN | BMCR_SPEED_1000 | BMCR_SPEED_100 |
                  BMCR_FD))
        e1000_phy_line_restart(e);
}

static void e1000_phy_write(struct e1000 *e, unsigned n, uint16_t v)
{
    uint16_t *reg = &e->phy.reg[n];
    uint16_t mask = phy_rows[n].wmask;
    v = (uint16_t)((*reg & ~mask) | (v & mask));
    if (n == P_CONTROL)
        e1000_phy_write_control(e, v);
    else
        *reg = v;
}

/* SDM 13.4.7: done at once. Other PHY addresses have nobody at them: an error,
 * and the bus reads ones. */
void e1000_wr_mdic(struct e1000 *e, uint32_t off, uint32_t val)
{
    unsigned n = val >> 16 & 31;
    bool mine = (val >> 21 & 31) == PHY_ADDR;
    uint32_t op = val & (3u << 26);
    const char *name = phy_rows[n].name ? phy_rows[n].name : "-";
    if (op == MDIC_OP_READ) {
        uint16_t v = mine ? e1000_phy_read(e, n) : 0xffff;
        val = (val & 0xffff0000) | v;
    } else if (op == MDIC_OP_WRITE && mine) {
        e1000_phy_write(e, n, (uint16_t)val);
    }
    TRACE(E1000, "%s: phy %s %s %04x", e->dev.id, name,
          op == MDIC_OP_READ ? "reads" : "written", val & 0xffff);
    val |= MDIC_R | (mine ? 0 : MDIC_E);
    reg_put(e, off, val);
    if (val & MDIC_I)
        e1000_raise(e, ICR_MDAC);
}
