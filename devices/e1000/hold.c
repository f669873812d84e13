/* SPDX-License-Identifier: MIT */
/* What the e1000 remembers, and how it rests.
 *
 * At rest what was sent and received is reported, and no pointer into guest
 * memory is left: a packet that is gathered, waits for the backend, or is cut
 * into segments is whole in bounce[], one that waits for receive descriptors in
 * buf[]; each goes on where it was. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/e1000/state.h"

/* ------------------------------------------------------------------ fields */

/* Bits of a register that can be stored: what may be written but clears
 * itself, or is the card's to set. */
static uint32_t e1000_stored(const struct e1000_row *r)
{
    switch (r->off) {
    case CTRL:
        return r->wmask & ~(CTRL_RST | CTRL_PHY_RST);
    case STATUS:
        return STATUS_FD | STATUS_LU | STATUS_TXOFF | 15 << STATUS_SPEED_SHIFT;
    case EECD:
        return r->wmask | EECD_DO | EECD_GNT | EECD_PRES;
    case EERD:
        return 0xffffff00 | EERD_DONE | EERD_START;
    case CTRL_EXT:
        return r->wmask & ~(uint32_t)CTRL_EXT_EE_RST;
    case MDIC:
        return r->wmask | MDIC_R | MDIC_E;
    case PBA:
        return r->wmask | r->wmask << 16;
    case RDTR:
        return r->wmask & ~RDTR_FPD;
    case TCTL:
        return r->wmask & ~(uint32_t)TCTL_SWXOFF;
    default:
        return r->wmask | r->reset;
    }
}

static bool e1000_reg_row(unsigned i, struct field *f)
{
    const struct e1000_row *r = &e1000_rows[i + 1];
    if (i + 1 >= e1000_nrows)
        return false;
    if (!*r->name || r->read == e1000_rd_stat || r->read == e1000_rd_stat_lo ||
        r->read == e1000_rd_stat_hi || r->read == e1000_rd_ics ||
        r->read == e1000_rd_zero)
        return true; /* nothing is stored there */
    *f =
        (struct field){.type = FIELD_MASK,
                       .use = STATE | SPARE,
                       .size = 4,
                       .offset = (uint32_t)offsetof(struct e1000, reg) + r->off,
                       .def = r->reset,
                       .max = e1000_stored(r),
                       .n = r->count,
                       .step = r->stride};
    memcpy(f->name, "reg.", 4); /* each reset asks: no snprintf */
    memccpy(f->name + 4, r->name, '\0', sizeof(f->name) - 5);
    /* PBM is memory; the others have a reset of their own. */
    if (r->off == PBM || r->off == ICR || r->off == IMS || r->off == STATUS)
        f->use |= KEPT;
    return true;
}

#define CTX(key, member)                                                       \
    FIELD_AS(STATE | SPARE, NUMBER, key, struct tx_ctx, member)
static const struct field e1000_ctx_fields[] = {
    CTX("ipcss", ipcss), CTX("ipcso", ipcso),   CTX("ipcse", ipcse),
    CTX("tucss", tucss), CTX("tucso", tucso),   CTX("tucse", tucse),
    CTX("mss", mss),     CTX("hdrlen", hdrlen), CTX("cmd", cmd),
    {.name = ""},
};

#define TX(kind, key, member, ...)                                             \
    FIELD_AS(STATE | SPARE, kind, key, struct e1000_tx, member, __VA_ARGS__)
const struct field e1000_tx_fields[] = {
    TX(NUMBER, "next", next, .max = 0xffff),
    TX(FLAG, "open", open),
    TX(FLAG, "ready", ready),
    TX(FLAG, "below_low", below_low),
    FIELDS_OF(e1000_ctx_fields, "csum", struct e1000_tx, csum),
    FIELDS_OF(e1000_ctx_fields, "tso", struct e1000_tx, tso),
    FIELDS_OF(e1000_ctx_fields, "ctx", struct e1000_tx, ctx),
    TX(NUMBER, "first", first),
    TX(NUMBER, "popts", popts),
    TX(NUMBER, "cso", cso),
    TX(NUMBER, "css", css),
    TX(NUMBER, "special", special),
    TX(NUMBER, "last", last),
    TX(NUMBER, "refused", refused, .max = TX_REFUSED_MAX),
    FIELD_AS(STATE | SPARE, BLOB, "packet", struct e1000_tx, bounce,
             .def = FIELD_BEHIND(struct e1000_tx, bounce, bytes),
             .max = TX_BOUNCE),
    FIELD_BYTES(STATE | SPARE, "header", struct e1000_tx, nh),
    TX(FLAG, "cut", cut),
    TX(NUMBER, "cut_off", seg.off),
    TX(NUMBER, "cut_k", seg.k),
    FIELD_EACH(STATE | SPARE, NUMBER, "rs", struct e1000_tx, rs),
    TX(NUMBER, "nrs", nrs, .max = TX_IOV),
    TX(NUMBER, "eop", eop),
    TX(NUMBER, "nsegs", nsegs, .max = NET_FRAME_MAX),
    TX(FLAG, "owed", owed),
    TX(NUMBER, "left", left, .max = DELAY_MAX),
    TX(NUMBER, "tadv_left", tadv_left, .max = DELAY_MAX),
    {.name = ""},
};

#define RX(kind, key, member, ...)                                             \
    FIELD_AS(STATE | SPARE, kind, key, struct e1000_rx, member, __VA_ARGS__)
const struct field e1000_rx_fields[] = {
    FIELD_AS(STATE | SPARE, BLOB, "packet", struct e1000_rx, buf,
             .def = FIELD_BEHIND(struct e1000_rx, buf, p.len),
             .max = NET_FRAME_MAX),
    FIELD_BYTES(STATE | SPARE, "header", struct e1000_rx, p.nh),
    RX(NUMBER, "cut_off", p.seg.off),
    RX(NUMBER, "cut_k", p.seg.k),
    RX(FLAG, "owed", owed),
    RX(NUMBER, "left", left, .max = DELAY_MAX),
    RX(NUMBER, "radv_left", radv_left, .max = DELAY_MAX),
    {.name = ""},
};

/* A reset of the card leaves it, but for what it was told just now. */
#define EE(uses, kind, key, member, ...)                                       \
    FIELD_AS(STATE | (uses), kind, key, struct e1000_eeprom, member,           \
             __VA_ARGS__)
static const struct field e1000_eeprom_fields[] = {
    FIELD_EACH(STATE | KEPT, NUMBER, "word", struct e1000_eeprom, word),
    EE(KEPT, NUMBER, "state", state, .max = EE_DONE),
    EE(KEPT, NUMBER, "nbits", nbits, .max = 15),
    EE(KEPT, NUMBER, "addr", addr, .max = EEPROM_WORDS - 1),
    EE(KEPT, NUMBER, "shift", shift),
    EE(KEPT, FLAG, "writable", writable),
    EE(KEPT, FLAG, "out", out),
    EE(0, FLAG, "sk", sk),
    EE(0, FLAG, "cs", cs),
    {.name = ""},
};

/* e1000_phy_reset knows what they become. */
#define PHY(kind, key, member, ...)                                            \
    FIELD_AS(STATE | KEPT, kind, key, struct e1000_phy, member, __VA_ARGS__)
static const struct field e1000_phy_fields[] = {
    FIELD_EACH(STATE | KEPT, NUMBER, "reg", struct e1000_phy, reg),
    PHY(NUMBER, "speed", speed, .max = 2),
    PHY(FLAG, "fd", fd),
    PHY(FLAG, "up", up),
    PHY(FLAG, "an_done", an_done),
    PHY(FLAG, "latched", latched),
    PHY(FLAG, "starting", starting),
    {.name = ""},
};

const struct field e1000_state_fields[] = {
    {.name = "reg", .type = FIELD_ROWS, .use = STATE, .row = e1000_reg_row},
    FIELDS_OF(e1000_eeprom_fields, "eeprom", struct e1000, eeprom),
    FIELDS_OF(e1000_phy_fields, "phy", struct e1000, phy),
    FIELDS_OF(e1000_tx_fields, "tx", struct e1000, tx),
    FIELDS_OF(e1000_rx_fields, "rx", struct e1000, rx),
    FIELD_EACH(STATE | SPARE, NUMBER, "stat", struct e1000, stat),
    FIELD_EACH(STATE | SPARE, NUMBER, "seen", struct e1000, seen),
    FIELD_AS(STATE | SPARE, NUMBER, "irq_left", struct e1000, irq_left,
             .max = ITR_MAX),
    FIELD_AS(STATE | KEPT, MASK, "ioaddr", struct e1000, ioaddr,
             .max = 0xfffff),
    {.name = ""},
};

int e1000_loaded(struct device *dev)
{
    struct e1000 *e = container_of(dev, struct e1000, dev);
    int err = pci_fn_loaded(&e->pci, dev->id);
    const char *fault = e1000_tx_loaded(e);
    fault = fault ? fault : e1000_rx_loaded(e);
    if (!err && !fault && e->irq_left > reg_get(e, ITR) * (uint64_t)ITR_NS)
        fault = "irq_left: longer than ITR";
    if (!err && fault)
        err = fail(-EINVAL, "%s: %s", dev->id, fault);
    atomic_store(&e->irq_level, atomic_load(&e->pci.intx_level));
    return err;
}

/* -------------------------------------------------------------------- rest */

/* What the loop would do waits: e1000_resume has it look at everything. */
static void e1000_at_rest(struct event *ev, uint32_t got)
{
    (void)ev;
    (void)got;
}

static uint64_t e1000_left(uint64_t due)
{
    uint64_t now = now_ns();
    return !due ? 0 : due > now ? due - now : 1;
}

void e1000_hold(struct device *dev)
{
    struct e1000 *e = container_of(dev, struct e1000, dev);
    struct e1000_tx *t = &e->tx;
    struct e1000_rx *x = &e->rx;
    e->bell.ready = e->wire.ready = e1000_at_rest;
    loop_want(&e->wire, 0);
    e1000_lock(e);
    e1000_report(e);
    e1000_tx_rest(e);
    e1000_rx_rest(e);
    e1000_stats_rest(e);
    t->left = timer_stop(&e->tx_timer);
    x->left = timer_stop(&e->rx_timer);
    t->tadv_left = t->owed ? e1000_left(t->tadv_due) : 0;
    x->radv_left = x->owed ? e1000_left(x->radv_due) : 0;
    timer_cancel(&e->patience_timer);
    timer_cancel(&e->gate_timer);
    timer_cancel(&e->nic.tell);
    timer_cancel(&e->link_timer);
    e1000_unlock(e);
    timer_cancel(&e->irq_timer);
    e1000_irq_hold(e);
    pci_fn_hold(&e->pci);
}

static uint64_t e1000_due(uint64_t left)
{
    return left ? now_ns() + left : 0;
}

/* By its first address, if the driver has one there, and it is not another's
 * now. */
static void e1000_announce(struct e1000 *e)
{
    uint32_t lo = reg_get(e, RAL), hi = reg_get(e, RAH);
    uint8_t mac[6];
    memcpy(mac, &lo, 4);
    memcpy(mac + 4, &hi, 2);
    if (e->nic.new_mac && memcmp(mac, e->nic.mac, 6) != 0)
        return;
    if (hi & RAH_AV && reg_get(e, TCTL) & TCTL_EN)
        nic_announce(&e->nic, mac);
}

void e1000_resume(struct device *dev)
{
    struct e1000 *e = container_of(dev, struct e1000, dev);
    bool cable = e->nic.nd && netdev_link(e->nic.nd);
    e1000_lock(e);
    e->tx.tadv_due = e1000_due(e->tx.tadv_left);
    e->rx.radv_due = e1000_due(e->rx.radv_left);
    timer_go(&e->tx_timer, e->tx.left);
    timer_go(&e->rx_timer, e->rx.left);
    e->rx.starved = false;
    if (cable != (e->phy.up || e->phy.starting))
        e1000_phy_cable(e, cable);
    e1000_phy_start(e);
    if (dev->fresh && e->nic.new_mac) /* for the driver, when it begins anew */
        e1000_eeprom_put_mac(e);
    if (dev->fresh)
        e1000_announce(e);
    e1000_unlock(e);
    e1000_irq_resume(e);
    e1000_wake(e);
}
