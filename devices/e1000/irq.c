/* SPDX-License-Identifier: MIT */
/* The e1000's interrupt causes, mask, line and moderation (SDM 3.2.7, 3.4.3,
 * 13.4.17-13.4.21).
 *
 * Theory of operation
 *
 * ICR and IMS are atomics: a read of ICR is one exchange and takes no lock
 * (the drivers poll it). INTx follows (ICR & IMS) != 0, held back by ITR. The
 * line is cached in irq_level, and irq_lock is taken only to change it.
 *
 * A change to ICR or IMS and a change of the line cross without a lock:
 *     here:  write ICR/IMS;  read irq_level   (e1000_irq_update, fast path)
 *     there: write irq_level; read ICR/IMS    (its loop, before it unlocks)
 * All four are sequentially consistent, so at least one side sees the other's
 * write and puts the line right.
 *
 * ITR (SDM 13.4.18) is the least time between two rises of the line: an
 * interrupt after a quiet time is never late. When it must wait, the loop arms
 * irq_timer; a vCPU hands that over with TODO_IRQ.
 *
 * RDTR/RADV and TIDV/TADV delay the *cause* (RXT0, TXDW), not the line. Those
 * timers belong to the loop; what they wait for is under the device's lock, so
 * that a reset takes it back. */
#include "devices/e1000/state.h"

static bool e1000_irq_causes_on(const struct e1000 *e)
{
    return atomic_load(&e->reg[ICR / 4]) & atomic_load(&e->reg[IMS / 4]);
}

/* When the line may rise again; 0: now. Under irq_lock. */
static uint64_t e1000_irq_itr_wait(const struct e1000 *e)
{
    uint64_t itr = reg_get(e, ITR);
    uint64_t due = e->irq_last + itr * ITR_NS;
    return itr && e->irq_last && due > now_ns() ? due : 0;
}

static void e1000_irq_line_rises(struct e1000 *e)
{
    uint32_t on = reg_get(e, ICR) & reg_get(e, IMS);
    if (reg_get(e, ITR))
        e->irq_last = now_ns();
    if (on & (ICR_RXT0 | ICR_RXDMT0 | ICR_RXO))
        nic_count(&e->nic.stats, rx_irqs, 1);
    if (on & (ICR_TXDW | ICR_TXQE))
        nic_count(&e->nic.stats, tx_irqs, 1);
}

void e1000_irq_update(struct e1000 *e)
{
    uint64_t due = 0;
    if (e1000_irq_causes_on(e) == atomic_load(&e->irq_level))
        return;
    lock_take(&e->irq_lock);
    for (;;) {
        bool on = e1000_irq_causes_on(e);
        if (on == atomic_load(&e->irq_level))
            break;
        due = on ? e1000_irq_itr_wait(e) : 0;
        if (due)
            break;
        if (on)
            e1000_irq_line_rises(e);
        atomic_store(&e->irq_level, on);
        pci_intx_set(&e->pci, on);
    }
    lock_give(&e->irq_lock);
    if (!due)
        return;
    if (!loop_is_mine(e->dev.m->loop))
        e1000_kick(e, TODO_IRQ);
    else if (e->irq_timer.due != due)
        timer_arm(&e->irq_timer, due);
}

void e1000_raise(struct e1000 *e, uint32_t causes)
{
    if (!causes)
        return;
    atomic_fetch_or(&e->reg[ICR / 4], causes);
    e1000_irq_update(e);
}

void e1000_irq_reset(struct e1000 *e)
{
    atomic_store(&e->reg[IMS / 4], 0);
    atomic_store(&e->reg[ICR / 4], 0);
    lock_take(&e->irq_lock);
    e->irq_last = 0;
    lock_give(&e->irq_lock);
    e1000_irq_update(e);
}

void e1000_irq_hold(struct e1000 *e)
{
    lock_take(&e->irq_lock);
    uint64_t due = e1000_irq_itr_wait(e);
    e->irq_left = due ? due - now_ns() : 0;
    lock_give(&e->irq_lock);
}

void e1000_irq_resume(struct e1000 *e)
{
    uint64_t itr = reg_get(e, ITR) * (uint64_t)ITR_NS;
    lock_take(&e->irq_lock);
    e->irq_last = e->irq_left ? now_ns() + e->irq_left - itr : 0;
    lock_give(&e->irq_lock);
    e1000_irq_update(e);
}

/* -------------------------------------------------------------- registers */

/* SDM 13.4.17: clears all, whatever IMS says; the line drops with it. */
uint32_t e1000_rd_icr(struct e1000 *e, uint32_t off)
{
    (void)off;
    if (!atomic_load(&e->reg[ICR / 4]))
        return 0;
    uint32_t v = atomic_exchange(&e->reg[ICR / 4], 0);
    e1000_irq_update(e);
    return v;
}

void e1000_wr_icr(struct e1000 *e, uint32_t off, uint32_t val)
{
    (void)off;
    atomic_fetch_and(&e->reg[ICR / 4], ~val);
    e1000_irq_update(e);
}

uint32_t e1000_rd_ics(struct e1000 *e, uint32_t off)
{
    (void)off;
    return atomic_load(&e->reg[ICR / 4]);
}

uint32_t e1000_rd_zero(struct e1000 *e, uint32_t off)
{
    (void)e;
    (void)off;
    return 0;
}

void e1000_wr_ics(struct e1000 *e, uint32_t off, uint32_t val)
{
    (void)off;
    e1000_raise(e, val);
}

void e1000_wr_ims(struct e1000 *e, uint32_t off, uint32_t val)
{
    (void)off;
    atomic_fetch_or(&e->reg[IMS / 4], val);
    e1000_irq_update(e);
}

void e1000_wr_imc(struct e1000 *e, uint32_t off, uint32_t val)
{
    (void)off;
    atomic_fetch_and(&e->reg[IMS / 4], ~val);
    e1000_irq_update(e);
}

void e1000_wr_itr(struct e1000 *e, uint32_t off, uint32_t val)
{
    reg_put(e, off, val);
    e1000_irq_update(e);
}

/* SDM 13.4.30: FPD reports what is held back, and reads 0. */
void e1000_wr_rdtr(struct e1000 *e, uint32_t off, uint32_t val)
{
    reg_put(e, off, val & ~RDTR_FPD);
    if (!(val & RDTR_FPD) || !e->rx.owed)
        return;
    e->rx.owed = false;
    e1000_raise(e, ICR_RXT0);
}

/* ----------------------------------------------------------------- delays */

static uint64_t e1000_irq_sooner(uint64_t a, uint64_t b)
{
    return b && b < a ? b : a;
}

/* SDM 13.4.30, 13.4.31: RDTR starts again with each frame, RADV runs from the
 * first frame not reported; RDTR 0 means no delay at all. */
uint32_t e1000_report_rx(struct e1000 *e)
{
    struct e1000_rx *r = &e->rx;
    uint64_t rdtr = reg_get(e, RDTR), radv = reg_get(e, RADV), now;
    if (!rdtr) {
        r->owed = false;
        return ICR_RXT0;
    }
    now = now_ns();
    if (!r->owed)
        r->radv_due = radv ? now + radv * DELAY_NS : 0;
    r->owed = true;
    timer_arm(&e->rx_timer,
              e1000_irq_sooner(now + rdtr * DELAY_NS, r->radv_due));
    return 0;
}

static void e1000_irq_rx_timer_fires(struct timer *t)
{
    struct e1000 *e = container_of(t, struct e1000, rx_timer);
    lock_take(&e->lock);
    if (e->rx.owed) /* neither reset nor FPD meanwhile */
        e1000_raise(e, ICR_RXT0);
    e->rx.owed = false;
    lock_give(&e->lock);
}

/* SDM 13.4.44, 13.4.47, 3.4.3.1: a report without IDE is due at once and takes
 * the delayed ones with it. */
uint32_t e1000_report_tx(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    uint64_t tidv = reg_get(e, TIDV), tadv = reg_get(e, TADV), now;
    if (t->irq_now || (t->irq_later && !tidv)) {
        t->irq_now = t->irq_later = t->owed = false;
        timer_cancel(&e->tx_timer);
        return ICR_TXDW;
    }
    if (!t->irq_later)
        return 0;
    t->irq_later = false;
    now = now_ns();
    if (!t->owed)
        t->tadv_due = tadv ? now + tadv * DELAY_NS : 0;
    t->owed = true;
    timer_arm(&e->tx_timer,
              e1000_irq_sooner(now + tidv * DELAY_NS, t->tadv_due));
    return 0;
}

static void e1000_irq_tx_timer_fires(struct timer *t)
{
    struct e1000 *e = container_of(t, struct e1000, tx_timer);
    lock_take(&e->lock);
    if (e->tx.owed)
        e1000_raise(e, ICR_TXDW);
    e->tx.owed = false;
    lock_give(&e->lock);
}

static void e1000_irq_timer_fires(struct timer *t)
{
    e1000_irq_update(container_of(t, struct e1000, irq_timer));
}

void e1000_irq_init(struct e1000 *e)
{
    struct loop *l = e->dev.m->loop;
    timer_init(&e->irq_timer, l, e1000_irq_timer_fires);
    timer_init(&e->rx_timer, l, e1000_irq_rx_timer_fires);
    timer_init(&e->tx_timer, l, e1000_irq_tx_timer_fires);
}
