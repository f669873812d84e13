/* SPDX-License-Identifier: MIT */
/* An Intel 82540EM Gigabit Ethernet card: its parts, threads, wiring.
 *
 * Theory of operation
 *
 *   regs.h     the register table: one row each, everything by it
 *   state.h    the card's insides, and what each file below does to them
 *   regs.c     accesses by that table
 *   e1000.c    the loop's work, reset, options
 *   irq.c      causes, mask, line, moderation
 *   tx.c       transmit ring          offload.c  what TX does to a packet
 *   rx.c       receive, TAP to ring   put.c      a frame into buffers
 *   filter.c   addresses, VLANs       stats.c    counters
 *   phy.c      MDIC, PHY, link        eeprom.c   EECD, EERD
 *
 * Threads. vCPU threads read and write registers; the loop moves packets and
 * owns the timers. A read takes no lock, ever. A write to a hot row takes none
 * either (ICR, ICS, IMS, IMC, ITR, RDT, TDT); one to a cold row takes the
 * device's lock, which the loop holds for a burst and gives up after the packet
 * at hand when `waiting` says that a vCPU wants it. Lock order: lock, irq_lock,
 * PCI's own. So a reset, under the lock, finds the loop between two packets,
 * and nothing of the old state is left when it returns.
 *
 * Kicks. A vCPU that leaves work for the loop (a tail moved, a control bit)
 * sets a bit in `todo`, and wakes the loop through the eventfd `bell` only when
 * that is needed: not while the bit is set, for a set bit is the loop's promise
 * to look, and not while TODO_ACTIVE is, for before it clears that the loop
 * looks at the bits again. TODO_RX stays set all the time the receiver has
 * descriptors, and TODO_TX while a burst or a full backend lasts: a driver's
 * RDT writes, and TDT writes in the middle of traffic, cost their exit and one
 * load. The wake-up that must not be lost:
 *     vCPU: write TDT;                    read todo    (e1000_wr_tdt, _kick)
 *     loop: clear TODO_TX in todo;        read TDT     (e1000_run_tx)
 * All sequentially consistent: either the vCPU sees the bit cleared and rings,
 * or the loop sees the new tail. The same for RDT and TODO_RX.
 *
 * Interrupts. Descriptors and statistics are written first, then the causes of
 * a burst are raised at once; of a long one every few frames, so that a guest
 * that polls by then works beside the loop (e1000_report). */
#include "devices/e1000/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---------------------------------------------------------- lock, kicks */

void e1000_lock(struct e1000 *e)
{
    atomic_fetch_add(&e->waiting, 1);
    lock_take(&e->lock);
    atomic_fetch_sub(&e->waiting, 1);
}

void e1000_unlock(struct e1000 *e)
{
    lock_give(&e->lock);
}

void e1000_kick(struct e1000 *e, uint32_t bit)
{
    if (atomic_load(&e->todo) & bit)
        return;
    if (atomic_fetch_or(&e->todo, bit) & TODO_ACTIVE)
        return;
    event_signal(e->bell.fd);
}

void *e1000_ring(struct e1000 *e, unsigned lo, uint32_t *n)
{
    uint64_t base = reg_base(e, lo);
    void *p;
    *n = e1000_ring_len(e, lo);
    p = ram_ptr(&e->dev.m->ram, gpa(base), *n * 16ull);
    if (!p)
        fault_note(&e->f_ring,
                   "%s: ring of %u descriptors at 0x%llx is not RAM", e->dev.id,
                   *n, (unsigned long long)base);
    return p;
}

/* -------------------------------------------------------- the loop's work */

/* A side has done what there was, and unless it `waits` for the backend its
 * promise is taken back, and the guest's index looked at once more ("Kicks",
 * above). True: there is more. */
static bool e1000_again(struct e1000 *e, uint32_t bit, bool waits,
                        bool (*pending)(struct e1000 *e))
{
    if (waits)
        return false;
    atomic_fetch_and(&e->todo, ~bit);
    if (!pending(e))
        return false;
    atomic_fetch_or(&e->todo, bit);
    return true;
}

/* The rate limit says when, not the wire, which is ready and would spin. */
static uint32_t e1000_wait_for_limit(struct e1000 *e, uint32_t want)
{
    const struct nic_gate *g = e->be->gate;
    uint64_t due = 0;
    if (want & EPOLLOUT && g->tx_due) {
        want &= ~(uint32_t)EPOLLOUT;
        due = g->tx_due;
    }
    if (want & EPOLLIN && g->rx_due) {
        want &= ~(uint32_t)EPOLLIN;
        due = due && due < g->rx_due ? due : g->rx_due;
    }
    if (due)
        timer_arm(&e->gate_timer, due);
    return want;
}

static void e1000_wait_for_wire(struct e1000 *e)
{
    uint32_t want = e->tx.blocked ? EPOLLOUT : 0;
    if (e1000_rx_on(e) && !e->rx.starved)
        want |= EPOLLIN;
    if (e->be->gate)
        want = e1000_wait_for_limit(e, want);
    loop_want(&e->wire, want);
}

void e1000_report(struct e1000 *e)
{
    uint32_t causes = e->causes;
    if (e->rx.got)
        causes |= e1000_report_rx(e);
    causes |= e1000_report_tx(e);
    e->rx.got = false;
    e->rx.told = e->rx.frames;
    e->causes = 0;
    e1000_raise(e, causes);
}

static void e1000_work(struct e1000 *e, bool readable, bool writable)
{
    const uint32_t once = TODO_CFG | TODO_IRQ | TODO_LINK;
    uint32_t todo, mine;
    bool more = false, all;
    atomic_fetch_or(&e->todo, TODO_ACTIVE);
    lock_take(&e->lock);
    todo = atomic_fetch_and(&e->todo, ~once);
    all = todo & TODO_CFG;
    if (todo & TODO_LINK)
        e1000_phy_start(e);
    e->rx.readable |= readable || all;
    if (e->rx.readable || e->rx.p.on || (todo & TODO_RX && e->rx.starved))
        more |= e1000_rx_run(e) ||
                e1000_again(e, TODO_RX, !e->rx.starved, e1000_rx_pending);
    if (all || writable || (todo & TODO_TX && !e->tx.blocked))
        more |= e1000_tx_run(e) ||
                e1000_again(e, TODO_TX, e->tx.blocked, e1000_tx_pending);
    if (e->be)
        e1000_wait_for_wire(e);
    e1000_report(e);
    /* A blocked ring's bit waits for EPOLLOUT, a ready one's for EPOLLIN. A
     * vCPU that changes that from now on sets TODO_CFG. */
    mine = once | (e->tx.blocked ? 0 : TODO_TX) | (e->rx.starved ? TODO_RX : 0);
    lock_give(&e->lock);
    if (todo & TODO_IRQ)
        e1000_irq_update(e);
    todo = atomic_fetch_and(&e->todo, ~(uint32_t)TODO_ACTIVE);
    if (more || todo & mine)
        loop_again(&e->bell);
}

/* Edge-triggered: nothing to read. */
static void e1000_bell_ready(struct event *ev, uint32_t got)
{
    (void)got;
    e1000_work(container_of(ev, struct e1000, bell), false, false);
}

static void e1000_wire_ready(struct event *ev, uint32_t got)
{
    e1000_work(container_of(ev, struct e1000, wire), got & EPOLLIN,
               got & EPOLLOUT);
}

static void e1000_limit_over(struct timer *t)
{
    struct e1000 *e = container_of(t, struct e1000, gate_timer);
    e1000_work(e, true, true);
}

/* Another limit: all is tried again. */
static int e1000_limit(void *dev, const void *told, struct text *out)
{
    struct e1000 *e = container_of((struct device *)dev, struct e1000, dev);
    (void)out;
    e1000_lock(e);
    int err = nic_limit(&e->nic, told);
    e1000_unlock(e);
    if (!err && !e->dev.held)
        e1000_wake(e);
    return err;
}

void e1000_wake(struct e1000 *e)
{
    e->bell.ready = e1000_bell_ready;
    e->wire.ready = e1000_wire_ready;
    atomic_fetch_or(&e->todo, TODO_CFG);
    event_signal(e->bell.fd);
}

static void e1000_cable_changed(void *nic, bool up)
{
    struct e1000 *e = nic;
    struct loop *l = e->dev.m->loop;
    e1000_lock(e);
    /* A new connection is a new file under the same descriptor (net.h). */
    if (up && e->be->fd >= 0) {
        loop_del(&e->wire);
        loop_add(l, &e->wire);
    }
    if (!e->dev.held) /* e1000_resume looks again */
        e1000_phy_cable(e, up);
    e1000_unlock(e);
}

/* ----------------------------------------------------- control and reset */

/* SDM 14.3: everything but the PHY, the EEPROM and PCI. Under the lock. */
static void e1000_soft_reset(struct e1000 *e)
{
    e1000_tx_reset(e);
    e1000_rx_reset(e);
    fields_reset(e1000_state_fields, e, STATE);
    e1000_eeprom_load(e);
    e1000_stats_reset(e);
    e->causes = 0;
    e1000_link_update(e);
    e1000_irq_reset(e);
    e1000_kick(e, TODO_CFG);
}

/* SDM 13.4.1. RST and PHY_RST read 0 again at once. */
void e1000_wr_ctrl(struct e1000 *e, uint32_t off, uint32_t val)
{
    if (val & CTRL_RST)
        e1000_soft_reset(e);
    else
        reg_put(e, off, val & ~CTRL_PHY_RST);
    if (val & CTRL_PHY_RST)
        e1000_phy_reset(e);
    e1000_link_update(e);
}

/* SDM 13.4.6: EE_RST reads the EEPROM again. */
void e1000_wr_ctrl_ext(struct e1000 *e, uint32_t off, uint32_t val)
{
    if (val & CTRL_EXT_EE_RST)
        e1000_eeprom_load(e);
    reg_put(e, off, val & ~(uint32_t)CTRL_EXT_EE_RST);
}

/* SDM 13.4.23: 64 KiB, what receive does not take is for transmit. */
void e1000_wr_pba(struct e1000 *e, uint32_t off, uint32_t val)
{
    reg_put(e, off, val | (val < 64 ? 64 - val : 0) << 16);
}

static void e1000_reset(struct device *dev)
{
    struct e1000 *e = container_of(dev, struct e1000, dev);
    e1000_lock(e);
    e1000_soft_reset(e);
    e1000_phy_reset(e);
    e1000_irq_reset(e);
    atomic_store(&e->ioaddr, 0);
    e1000_unlock(e);
    pci_fn_reset(&e->pci);
}

/* -------------------------------------------------------------- creation */

/* Bus mastering may have been switched. With the bus's lock held. */
static void e1000_cfg_written(struct pci_fn *fn, unsigned off, unsigned width,
                              uint32_t val)
{
    (void)width;
    (void)val;
    if (off <= PCI_COMMAND + 1)
        e1000_kick(fn->owner, TODO_CFG);
}

static void e1000_destroy(struct device *dev)
{
    struct e1000 *e = container_of(dev, struct e1000, dev);
    struct timer *t[] = {&e->irq_timer,      &e->rx_timer,   &e->tx_timer,
                         &e->patience_timer, &e->link_timer, &e->gate_timer,
                         &e->nic.tell};
    for (unsigned i = 0; i < ARRAY_LEN(t); i++)
        timer_cancel(t[i]);
    nic_limit_free(&e->nic);
    if (e->nic.nd)
        e->nic.nd->link_changed = NULL;
    loop_del(&e->wire);
    loop_del(&e->bell);
    close(e->bell.fd);
    irq_free(&e->pci.intx);
    free(e->tx.bounce);
    free(e->rx.buf);
    free(e->rx.loop_buf);
}

static int e1000_wire_up(struct e1000 *e)
{
    struct loop *l = e->dev.m->loop;
    struct netdev *nd = e->nic.nd;
    int err;
    e->bell = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                             .want = EPOLLIN | EPOLLET,
                             .ready = e1000_bell_ready};
    if (e->bell.fd < 0)
        return -errno;
    err = loop_add(l, &e->bell);
    if (err || !nd)
        return err;
    e->be = nd->q[0];
    nd->nic = e;
    nd->link_changed = e1000_cable_changed;
    if (nd->set_queues)
        nd->set_queues(nd, 1);
    if (nd->set_offload)
        nd->set_offload(nd, e->offload);
    e->wire =
        (struct event){.fd = e->be->fd, .want = 0, .ready = e1000_wire_ready};
    return e->be->fd < 0 ? 0 : loop_add(l, &e->wire);
}

static bool e1000_sent(struct device *dev)
{
    return container_of(dev, struct e1000, dev)->nic.stats.tx_frames;
}

/* SDM 4.1: what configuration space holds. */
static int e1000_plug(struct e1000 *e)
{
    struct pci_fn *fn = &e->pci;
    pci_fn_init(fn, e->dev.m, e, "e1000", 0x8086, 0x100e, 0x020000, 0x02);
    pci_put(fn, PCI_SUBSYS_VENDOR_ID, 2, 0x8086);
    pci_put(fn, PCI_SUBSYS_ID, 2, 0x001e);
    pci_put(fn, PCI_MIN_GNT, 1, 0xff);
    fn->cfg_written = e1000_cfg_written;
    pci_bar_init(fn, 0, PCI_BAR_MEM32, E1000_MMIO_SIZE, e1000_mmio_read,
                 e1000_mmio_write, e);
    pci_bar_init(fn, 1, PCI_BAR_IO, E1000_IO_SIZE, e1000_io_read,
                 e1000_io_write, e);
    pci_intx_init(fn);
    return pci_add(fn, &e->nic.pci);
}

/* The FCS behind a frame is a pass over its bytes that next to no driver looks
 * at. With carry-less multiplication it takes a fifth of a microsecond a frame
 * and is simply always right; without (an emulated host) it would be the most
 * expensive thing done to a frame, and zeroes are given instead. */
static bool e1000_fcs_is_cheap(void)
{
    static uint8_t frame[1514];
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 3; i++) {
        uint64_t start = now_ns(), took;
        frame[0] ^= (uint8_t)eth_crc(0, frame, sizeof(frame));
        took = now_ns() - start;
        best = took < best ? took : best;
    }
    return best < 1000;
}

static int e1000_check(struct device *dev, struct needs *needs)
{
    struct e1000 *e = container_of(dev, struct e1000, dev);
    return nic_check(&e->nic, dev, needs, "e1000");
}

static int e1000_look_at_netdev(struct e1000 *e)
{
    const struct netdev *nd = e->nic.nd;
    const char *what = e->dev.opts.what;
    if (nd->vhost == VHOST_USER)
        return fail(-EINVAL,
                    "%s: netdev=%s: vhost-user serves virtio rings only; use "
                    "virtio-net-pci",
                    what, nd->id);
    if (nd->vhost == VHOST_KERNEL)
        log_line("%s: netdev=%s: vhost=on is for virtio-net-pci; packets are "
                 "moved by this process",
                 what, nd->id);
    if (e->leave)
        e->offload =
            nd->offload & (NETBE_CSUM | NETBE_TSO4 | NETBE_TSO6 | NETBE_ECN);
    return 0;
}

static int e1000_create(struct machine *m, struct device *dev)
{
    struct e1000 *e = container_of(dev, struct e1000, dev);
    int err = e->nic.nd ? e1000_look_at_netdev(e) : 0;
    if (!err)
        err = nic_limit_open(&e->nic);
    if (err)
        return err;
    timer_init(&e->gate_timer, m->loop, e1000_limit_over);
    timer_init(&e->nic.tell, m->loop, nic_tell);
    e->dev.reset = e1000_reset;
    e->dev.hold = e1000_hold;
    e->dev.resume = e1000_resume;
    e->dev.sent = e1000_sent;
    e->dev.destroy = e1000_destroy;
    eth_crc_init();
    if (e->fcs == AUTO)
        e->fcs = e1000_fcs_is_cheap();
    e->tx.bounce = malloc(TX_BOUNCE);
    e->rx.buf = malloc(NET_FRAME_MAX);
    e->rx.loop_buf = malloc(E1000_LONG_MAX);
    if (!e->tx.bounce || !e->rx.buf || !e->rx.loop_buf)
        return fail(-ENOMEM, "%s: out of memory", e->dev.id);
    e1000_fill_row_of();
    e1000_irq_init(e);
    e1000_rx_init(e);
    e1000_phy_init(e);
    e1000_eeprom_init(e);
    err = e1000_plug(e);
    if (err)
        return err; /* said */
    err = e1000_wire_up(e);
    if (err)
        return fail(err, "%s: %s", e->dev.id, strerror(-err));
    device_register(m, &e->dev);
    e1000_reset(&e->dev);
    return 0;
}

/* QEMU's, which need nothing with these values. */
static const struct opts_quiet e1000_quiet[] = {
    {"autonegotiation", "on", "the PHY always negotiates"},
    {"extra_mac_registers", "on", "every register is there"},
    {"init-vet", "on", "VET starts as the data sheet says"},
    {"migrate_tso_props", NULL, NULL},
    {0},
};

static const struct field e1000_fields[] = {
    FIELDS_QUIET(e1000_quiet),
    FIELDS_OF(device_fields, "", struct e1000, dev),
    FIELDS_OF(nic_fields, "", struct e1000, nic),
    FIELDS_OF(nic_counters, "", struct e1000, nic.stats),
    FIELDS_OF(pci_fn_fields, "", struct e1000, pci),
    FIELDS_OF(e1000_state_fields, "", struct e1000, dev), /* of all of it */
    COUNT("ring_faults", struct e1000, f_ring, "rings that are not in RAM"),
    COUNT("desc_faults", struct e1000, f_desc, "buffers that are not in RAM"),
    FIELD(FLAG, "offload", struct e1000, leave, .def = ON,
          .help = "leave checksums and segments to the backend"),
    FIELD(FLAG, "fcs", struct e1000, fcs, .def = AUTO, .max = AUTO,
          .help = "compute the FCS behind a frame, else give zeroes; auto: "
                  "where\n                            the host does it in "
                  "hardware"),
    FIELD(FLAG, "mitigation", struct e1000, mitigation, .def = ON,
          .help = "taken; ITR, RADV and TADV always work"),
    {.name = ""},
};

static const struct device_alias e1000_aliases[] = {
    {"e1000-82540em", {0}, {0}},
    {0},
};

static const struct verb e1000_verbs[] = {
    {"limit", "another rate limit", nic_limit_fields,
     sizeof(struct nic_limit_told), e1000_limit},
    {NIC_FILTER_VERB, e1000_filter_show},
    {.name = NULL},
};

const struct device_class e1000_class = {
    .name = "e1000",
    .help = "Intel 82540EM",
    .fields = e1000_fields,
    .size = sizeof(struct e1000),
    .aliases = e1000_aliases,
    .check = e1000_check,
    .create = e1000_create,
    .loaded = e1000_loaded,
    .verbs = e1000_verbs,
};
