/* SPDX-License-Identifier: MIT */
/* The e1000's transmit ring: descriptors into packets, packets into DD bits
 * (SDM 3.3, 3.4).
 *
 * Theory of operation
 *
 * e1000_tx_run() is called by the loop, under the lock, and works off at most
 * BURST steps. A packet is gathered as pointers to the guest's buffers
 * (iovecs), made ready once (offload.c: e1000_tx_prepare) and handed on
 * (e1000_tx_send), then its descriptors are reported. Nothing of its payload is
 * copied, with two exceptions, both e1000_tx_flatten():
 *   - the guest cut it into more than TX_IOV pieces;
 *   - the ring ran dry in mid-packet: the rest may need the very descriptors
 *     we hold, so they have to be given back.
 *
 * `next` is where the card reads, TDH what it has finished with: they differ
 * while a packet is gathered or the backend has no room for it. In that last
 * case STATUS.TXOFF is set, as if the partner had sent a PAUSE frame; drivers
 * do not take it for a hang then.
 *
 * Nothing a guest writes here is trusted: a descriptor is copied before it is
 * looked at, every buffer goes through ram_ptr, an index beyond the ring means
 * an empty ring. */
#include <string.h>

#include "devices/e1000/state.h"
#include "base/iov.h"

#define BURST 128 /* descriptors or segments a run works off */

struct txd {   /* SDM 3.3.3, 3.3.5, 3.3.7 */
    le64 addr; /* context: offsets */
    le32 lower;
    le32 upper;
};
_Static_assert(sizeof(struct txd) == 16, "SDM 3.3.1");

struct tx_ring {
    struct txd *d;
    uint32_t n;
};

/* Read once: the guest may write to it at the same time. */
static struct txd e1000_tx_desc_read(const struct txd *d)
{
    const volatile struct txd *v = d;
    return (struct txd){v->addr, v->lower, v->upper};
}

/* SDM 3.3.3.2: only the status nibble changes, after the data was taken. */
static void e1000_tx_desc_report(struct e1000 *e, const struct tx_ring *r,
                                 uint32_t at)
{
    uint8_t *sta, cmd;
    if (at >= r->n)
        return; /* the ring shrank meanwhile */
    sta = (uint8_t *)&r->d[at].upper;
    cmd = ((volatile uint8_t *)&r->d[at].lower)[3];
    __atomic_store_n(sta, (uint8_t)(*(volatile uint8_t *)sta | TXD_DD),
                     __ATOMIC_RELEASE);
    if (cmd & TXD_IDE >> 24)
        e->tx.irq_later = true;
    else
        e->tx.irq_now = true;
}

/* Reports what of the open packet asked for it. */
static void e1000_tx_report_held(struct e1000 *e, const struct tx_ring *r)
{
    for (int i = 0; i < e->tx.nrs; i++)
        e1000_tx_desc_report(e, r, e->tx.rs[i]);
    e->tx.nrs = 0;
}

static void e1000_tx_load_context(struct e1000_tx *t, const struct txd *d)
{
    struct tx_ctx c = {
        .ipcss = (uint8_t)d->addr,
        .ipcso = (uint8_t)(d->addr >> 8),
        .ipcse = (uint16_t)(d->addr >> 16),
        .tucss = (uint8_t)(d->addr >> 32),
        .tucso = (uint8_t)(d->addr >> 40),
        .tucse = (uint16_t)(d->addr >> 48),
        .cmd = d->lower,
        .hdrlen = (uint8_t)(d->upper >> 8),
        .mss = (uint16_t)(d->upper >> 16),
    };
    if (c.cmd & TXD_TSE)
        t->tso = c;
    else
        t->csum = c;
}

static void e1000_tx_packet_new(struct e1000_tx *t)
{
    t->open = t->ready = t->copied = t->cut = false;
    t->body = t->n = 2;
    t->bytes = t->hlen = 0;
    t->nrs = 0;
    t->drop = NULL;
}

/* SDM 3.3.7.2: POPTS and the kind of packet come with its first descriptor;
 * so does, here, the context it goes by. */
static void e1000_tx_packet_begin(struct e1000_tx *t, const struct txd *d)
{
    t->open = true;
    t->first = d->lower;
    t->popts = (uint8_t)(d->upper >> 8);
    t->special = (uint16_t)(d->upper >> 16);
    t->ctx = d->lower & TXD_TSE ? t->tso : t->csum;
}

void e1000_tx_flatten(struct e1000_tx *t)
{
    size_t len;
    if (t->copied)
        return;
    len = iov_read(&t->iov[2], t->n - 2, 0, t->bounce, NET_FRAME_MAX);
    t->iov[2] = (struct iovec){t->bounce, len};
    t->n = 3;
    t->copied = true;
}

/* SDM 3.3.3: a null address or length 0 brings no data. */
static void e1000_tx_add_data(struct e1000 *e, uint64_t addr, uint32_t len)
{
    struct e1000_tx *t = &e->tx;
    void *p;
    if (!addr || !len || t->drop)
        return;
    if (len > NET_FRAME_MAX - t->bytes) {
        t->drop = &e->nic.stats.tx_drop_long;
        return;
    }
    p = ram_ptr(&e->dev.m->ram, gpa(addr), len);
    if (!p) {
        fault_note(&e->f_desc, "%s: transmit buffer at 0x%llx is not RAM",
                   e->dev.id, (unsigned long long)addr);
        t->drop = &e->nic.stats.tx_drop_desc;
        return;
    }
    if (t->n == TX_IOV + 2)
        e1000_tx_flatten(t);
    if (t->copied) {
        memcpy(t->bounce + t->bytes, p, len);
        t->iov[2].iov_len += len;
    } else {
        t->iov[t->n++] = (struct iovec){p, len};
    }
    t->bytes += len;
}

/* Takes one descriptor; true when it completes a packet. */
static bool e1000_tx_fetch(struct e1000 *e, const struct tx_ring *r)
{
    struct e1000_tx *t = &e->tx;
    uint32_t at = t->next;
    struct txd d;
    if (r->n == 1) /* once for each TDT write; one from now on counts again */
        atomic_store(&e->reg[TDT / 4], 0);
    d = e1000_tx_desc_read(&r->d[at]);
    t->next = at + 1 == r->n ? 0 : at + 1;
    if ((d.lower & (TXD_DEXT | TXD_DTYP)) == TXD_DEXT) {
        e1000_tx_load_context(t, &d);
        if (d.lower & (TXD_RS | TXD_RPS))
            e1000_tx_desc_report(e, r, at);
        return false;
    }
    if (!t->open)
        e1000_tx_packet_begin(t, &d);
    e1000_tx_add_data(e, d.addr,
                      d.lower & (d.lower & TXD_DEXT ? 0xfffff : 0xffff));
    if (d.lower & TXD_EOP) {
        t->last = d.lower;
        t->cso = (uint8_t)(d.lower >> 16);
        t->css = (uint8_t)(d.upper >> 8);
        if (!(t->first & TXD_DEXT && t->first & TXD_TSE))
            t->special = (uint16_t)(d.upper >> 16);
        t->eop = (uint16_t)at;
        return true;
    }
    if (d.lower & (TXD_RS | TXD_RPS)) {
        if (t->nrs == TX_IOV) {
            e1000_tx_flatten(t);
            e1000_tx_report_held(e, r);
        }
        t->rs[t->nrs++] = (uint16_t)at;
    }
    return false;
}

/* The packet is out, or dropped: its descriptors are the guest's again. */
static void e1000_tx_complete(struct e1000 *e, const struct tx_ring *r)
{
    struct e1000_tx *t = &e->tx;
    if (t->nrs)
        e1000_tx_report_held(e, r);
    if (t->last & (TXD_RS | TXD_RPS))
        e1000_tx_desc_report(e, r, t->eop);
    e1000_tx_packet_new(t);
    reg_put(e, TDH, t->next);
}

/* Indices beyond the ring make it empty; but of one descriptor tail 1 means
 * that one (e1000_tx_fetch() takes the tail back). */
static uint32_t e1000_tx_outstanding(const struct e1000_tx *t, uint32_t n,
                                     uint32_t tail)
{
    if (n == 1)
        return tail == 1 && t->next == 0;
    if (tail >= n || t->next >= n)
        return 0;
    return tail >= t->next ? tail - t->next : tail + n - t->next;
}

/* The ring is dry. SDM 13.4.17: TXQE tells it. */
static void e1000_tx_settle(struct e1000 *e, const struct tx_ring *r,
                            bool worked)
{
    struct e1000_tx *t = &e->tx;
    if (t->open) {
        e1000_tx_flatten(t);
        e1000_tx_report_held(e, r);
    }
    reg_put(e, TDH, t->next);
    if (worked)
        e->causes |= ICR_TXQE;
}

/* SDM 13.4.46: LWTHRESH counts in eights; 0 switches the cause off. */
static void e1000_tx_watch_low(struct e1000 *e, uint32_t left)
{
    uint32_t low = (reg_get(e, TXDCTL) >> TXDCTL_LWTHRESH_SHIFT) * 8;
    bool below = low && left < low;
    if (below && !e->tx.below_low)
        e->causes |= ICR_TXD_LOW;
    e->tx.below_low = below;
}

static void e1000_tx_set_blocked(struct e1000 *e, bool blocked)
{
    uint32_t s = reg_get(e, STATUS) & ~(uint32_t)STATUS_TXOFF;
    e->tx.blocked = blocked;
    reg_put(e, STATUS, s | (blocked ? STATUS_TXOFF : 0));
}

/* No room, or the rate limit: the packet stays. */
static void e1000_tx_block(struct e1000 *e)
{
    if (e->be->gate && e->be->gate->tx_due)
        nic_count(&e->nic.stats, tx_limited, 1);
    else
        nic_count(&e->nic.stats, tx_blocked, 1);
    e1000_tx_set_blocked(e, true);
}

static bool e1000_tx_on(const struct e1000 *e)
{
    return reg_get(e, TCTL) & TCTL_EN && pci_can_dma(&e->pci);
}

static uint32_t e1000_tx_left(const struct e1000 *e, const struct tx_ring *r)
{
    /* pairs with the release in e1000_wr_tdt: descriptors are visible */
    return e1000_tx_outstanding(&e->tx, r->n, atomic_load(&e->reg[TDT / 4]));
}

bool e1000_tx_run(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    struct tx_ring r;
    uint32_t left;
    int steps = 0;
    if (t->blocked) /* even if off now: or EPOLLOUT would come for ever */
        e1000_tx_set_blocked(e, false);
    if (!e1000_tx_on(e))
        return false;
    r.d = e1000_ring(e, TDBAL, &r.n);
    if (!r.d)
        return false;
    for (left = 0;; steps++) {
        if (!t->ready && !left && !(left = e1000_tx_left(e, &r)))
            break;
        if (steps >= BURST || (steps && atomic_load(&e->waiting)))
            break;
        if (!t->ready) {
            left--;
            t->ready = e1000_tx_fetch(e, &r);
            if (!t->ready)
                continue;
            e1000_tx_prepare(e);
        }
        enum tx_result sent = e1000_tx_send(e);
        if (sent == TX_DONE)
            e1000_tx_complete(e, &r);
        if (sent == TX_BLOCKED) {
            e1000_tx_block(e);
            break;
        }
    }
    e1000_tx_watch_low(e, left);
    if (t->blocked)
        return false;
    if (t->ready || left) {
        atomic_fetch_or(&e->todo, TODO_TX); /* clear if it was switched on */
        return true;
    }
    e1000_tx_settle(e, &r, steps);
    return false;
}

/* Is there something a run would do? */
bool e1000_tx_pending(struct e1000 *e)
{
    uint32_t n = e1000_ring_len(e, TDBAL);
    return e1000_tx_outstanding(&e->tx, n, atomic_load(&e->reg[TDT / 4])) &&
           e1000_tx_on(e) && !e->tx.blocked && e1000_ring(e, TDBAL, &n);
}

/* A packet that is not out yet never will be. */
static void e1000_tx_forget_packet(struct e1000 *e)
{
    e1000_tx_packet_new(&e->tx);
    e1000_tx_set_blocked(e, false);
}

void e1000_tx_reset(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    e1000_tx_forget_packet(e);
    fields_reset(e1000_tx_fields, t, STATE);
    t->irq_now = t->irq_later = false;
}

/* -------------------------------------------------------------------- rest */

static _Atomic uint64_t *e1000_tx_reason(struct e1000 *e, unsigned refused)
{
    struct nic_stats *s = &e->nic.stats;
    _Atomic uint64_t *const reasons[] = {NULL, &s->tx_drop_desc,
                                         &s->tx_drop_long, &s->tx_drop_short,
                                         &s->tx_drop_offload};
    _Static_assert(ARRAY_LEN(reasons) == TX_REFUSED_MAX + 1, "all of them");
    return reasons[refused];
}

void e1000_tx_rest(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    e1000_tx_set_blocked(e, false);
    for (t->refused = 0; e1000_tx_reason(e, t->refused) != t->drop;)
        t->refused++;
    if (!t->open)
        return;
    if (t->drop)
        t->bytes = 0; /* nobody needs them */
    else if (!t->ready)
        e1000_tx_flatten(t);
    else if (!t->cut)
        e1000_tx_flatten_ready(t);
    e1000_tx_loaded(e);
}

const char *e1000_tx_loaded(struct e1000 *e)
{
    struct e1000_tx *t = &e->tx;
    t->blocked = t->irq_now = t->irq_later = false;
    t->drop = e1000_tx_reason(e, t->refused);
    t->copied = t->open && !t->drop;
    t->hlen = 0;
    t->body = 2;
    t->n = t->copied ? 3 : 2;
    t->iov[2] = (struct iovec){t->bounce, t->bytes};
    if (!t->open)
        return t->ready || t->cut || t->bytes || t->drop || t->nrs
                   ? "tx.open: there is more than no packet"
                   : NULL;
    if (t->drop)
        return t->cut || t->bytes ? "tx.refused: it is cut, or there" : NULL;
    if (!t->ready)
        return t->cut || t->bytes > NET_FRAME_MAX ? "tx.packet: not gathered so"
                                                  : NULL;
    return e1000_tx_prepared(e) ? NULL : "tx.packet: not made ready so";
}

/* SDM 13.4.33: EN is what starts and stops it. */
void e1000_wr_tctl(struct e1000 *e, uint32_t off, uint32_t val)
{
    uint32_t old = reg_get(e, off);
    reg_put(e, off, val & ~(uint32_t)TCTL_SWXOFF); /* self-clearing */
    if (old & ~val & TCTL_EN) {
        e1000_tx_forget_packet(e);
        reg_put(e, TDH, e->tx.next);
    }
    e1000_kick(e, TODO_CFG);
}

void e1000_wr_tdh(struct e1000 *e, uint32_t off, uint32_t val)
{
    reg_put(e, off, val);
    e1000_tx_forget_packet(e);
    e->tx.next = val;
    e1000_kick(e, TODO_CFG);
}

/* The doorbell. Pairs with the loop's last look: see "Kicks" in e1000.c. */
void e1000_wr_tdt(struct e1000 *e, uint32_t off, uint32_t val)
{
    atomic_store(&e->reg[off / 4], val);
    nic_count(&e->nic.stats, tx_kicks, 1);
    e1000_kick(e, TODO_TX);
}
