/* SPDX-License-Identifier: MIT */
/* The 82540EM's insides, for its files only. e1000.c tells how the parts
 * work together. Fields are the loop's, under the lock; hot registers are
 * atomics, which vCPUs read and write without it. */
#ifndef E1000_H
#define E1000_H

#include <sys/uio.h>

#include "base/eth.h"
#include "base/iov.h"
#include "base/lock.h"
#include "devices/e1000/regs.h"
#include "devices/nic.h"
#include "devices/pci/pci.h"
#include "machine/machine.h"
#include "net/net.h"

/* SDM 3.2.1 and 3.3.1: bytes on the wire, FCS included. */
#define E1000_FRAME_MAX 1522
#define E1000_LONG_MAX 16384
/* SDM 3.3.3: the longest frame sent, a segment of a bigger one too. */
#define E1000_TX_MAX 16288

/* --------------------------------------------------------------- transmit */

#define TX_IOV 128
/* First 258 bytes, all an 8-bit offset reaches, and a tag. */
#define TX_HDR 320
#define TX_REACH 258
#define TX_BOUNCE (NET_FRAME_MAX + VLAN_HLEN)
#define TX_REFUSED_MAX 4 /* reasons */
/* ITR counts 256 ns; RDTR, RADV, TIDV and TADV 1.024 us (SDM 13.4.18, .30). */
#define ITR_NS 256
#define ITR_MAX (0xffff * ITR_NS)
#define DELAY_NS 1024
#define DELAY_MAX (0xffff * DELAY_NS)

struct tx_ctx { /* SDM 3.3.5, as last loaded */
    uint8_t ipcss, ipcso, tucss, tucso, hdrlen;
    uint16_t ipcse, tucse, mss;
    uint32_t cmd; /* PAYLEN and TUCMD */
};

/* What became of a packet handed on. */
enum tx_result { TX_DONE, TX_BLOCKED, TX_MORE };

/* The packet being gathered or sent; on the loop's thread, under the lock. */
struct e1000_tx {
    uint32_t next;  /* descriptor to fetch; TDH follows when packets are out */
    bool open;      /* a packet has begun */
    bool ready;     /* it is whole and prepared, the backend may have refused */
    bool blocked;   /* wait for EPOLLOUT */
    bool below_low; /* TXDCTL.LWTHRESH was crossed */
    struct tx_ctx csum, tso, ctx; /* stored; ctx: as the packet began */
    uint32_t first;               /* command bits of its first descriptor */
    uint8_t popts, cso, css;
    uint16_t special;
    uint32_t last;          /* command bits of its EOP descriptor */
    _Atomic uint64_t *drop; /* reason it will be dropped for, or NULL */

    /* Guest buffers are iov[body..n), body at least 2: what of the frame is in
     * hdr[] and the virtio header come before them, from iov[at] on. */
    struct iovec iov[TX_IOV + 3];
    int at, body, n;
    uint32_t bytes; /* of the frame */
    uint32_t hlen;  /* bytes in hdr[] */
    bool copied;    /* the data is in bounce[], no guest pointers are left */
    struct net_hdr nh;
    uint8_t hdr[TX_HDR];
    uint8_t *bounce; /* TX_BOUNCE bytes */

    bool cut; /* in software, and the segment it is at */
    struct seg seg;

    uint16_t rs[TX_IOV]; /* descriptors of it to report before its EOP */
    int nrs;
    uint16_t eop;            /* its last descriptor */
    bool irq_now, irq_later; /* reports without and with IDE in this burst */
    bool owed;               /* TXDW, when tx_timer fires */
    uint64_t tadv_due;       /* its latest time, 0: none */
    /* While held: why it is dropped, 0: it is not; ns until those times */
    uint8_t refused;
    uint64_t left, tadv_left;
    uint32_t nsegs; /* frames on the wire, for the statistics */
    uint8_t to[6];  /* e1000_to's copy */
};

/* ---------------------------------------------------------------- receive */

#define RX_IOV 50
#define RX_PEEK 192 /* header bytes looked at; the smallest buffer has 256 */

/* The packet last read, cut into frames as descriptors allow. */
struct rx_packet {
    bool on; /* frames of it are still to be delivered, from buf[] */
    struct net_hdr nh;
    struct eth_info info;
    uint32_t len;   /* bytes of the frame */
    struct seg seg; /* the one to deliver next; mss 0: one frame */
    uint8_t head[RX_PEEK];
};

struct e1000_rx {
    struct rx_packet p;
    uint8_t *buf; /* NET_FRAME_MAX bytes and a bit */
    struct iovec iov[RX_IOV + 2];
    uint32_t piece[RX_IOV + 2]; /* where iov[i] belongs in buf[] */
    int niov;
    /* Expected of the next packet, from those before: */
    uint16_t guess_hlen, guess_mss;
    uint8_t guess;           /* confidence */
    bool readable;           /* the backend may have more */
    unsigned brought, alone; /* packets of this turn; nic_one_is_enough */
    bool starved;            /* waits for RDT, */
    uint32_t need;           /* until there are so many descriptors; */
    _Atomic uint32_t enough; /* so many, at least `need`, are worth a kick */
    bool got;                /* frames were delivered, and not reported */
    uint32_t frames, told;   /* delivered, and when last reported */
    bool owed;               /* RXT0, when rx_timer fires */
    uint64_t radv_due;
    uint64_t left, radv_left; /* ns until those, while held */
    uint8_t *loop_buf;        /* E1000_LONG_MAX bytes: a frame looped back */
};

/* ----------------------------------------------------------------- device */

/* Bits of e1000.todo, see "Kicks" in e1000.c. */
enum {
    TODO_TX = 1 << 0,
    TODO_RX = 1 << 1,
    TODO_CFG = 1 << 2, /* look at everything again */
    TODO_IRQ = 1 << 3,
    TODO_LINK = 1 << 4,
    TODO_ACTIVE = 1 << 5,
};

/* Start bit, two bits of opcode and six of address come in on DI; a read's
 * words go out on DO, a write's comes in. All at the rising edge of SK. */
enum { EE_IDLE, EE_COMMAND, EE_READ, EE_WRITE, EE_FILL, EE_DONE };

struct e1000_eeprom { /* a 93C46 on four wires */
    uint16_t word[EEPROM_WORDS];
    uint8_t state, nbits, addr;
    uint16_t shift;
    bool writable; /* EWEN seen */
    bool sk, cs, out;
};

struct e1000_phy {
    uint16_t reg[32];
    uint8_t speed; /* the line came up with: 0, 1, 2 for 10, 100, 1000 */
    bool fd;
    bool up;       /* the line works */
    bool an_done;  /* and was negotiated */
    bool latched;  /* BMSR.LINK: was down since the last read */
    bool starting; /* comes up when the timer fires */
};

struct e1000 {
    struct device dev;
    struct pci_fn pci;
    struct nic nic;
    struct netbe *be; /* nic.nd's only queue, or NULL */
    unsigned offload; /* NETBE_* the backend's send takes */
    uint8_t leave;    /* offload=: to the backend, what it can do */
    uint8_t fcs;      /* compute the FCS */
    uint8_t mitigation;

    struct lock lock;
    _Atomic unsigned waiting; /* vCPUs that want `lock` */
    _Atomic uint32_t todo;
    struct event bell; /* eventfd: todo is not 0 */
    struct event wire; /* the backend's fd */

    _Atomic uint32_t ioaddr;
    struct e1000_eeprom eeprom;
    struct e1000_phy phy;
    struct timer link_timer;

    struct lock irq_lock; /* innermost but for PCI's */
    _Atomic bool irq_level;
    uint64_t irq_last; /* when INTx last rose; under irq_lock */
    uint64_t irq_left; /* ns until it may again, while held */
    struct timer irq_timer, rx_timer, tx_timer, patience_timer;
    struct timer gate_timer; /* the rate limit lets a frame go */

    struct e1000_tx tx;
    struct e1000_rx rx;
    uint32_t causes; /* of this burst, to be raised at its end */

    /* Statistics: what the loop has counted; of it, what was read and so is
     * cleared; of a pair, when its low half was read. See stats.c. */
    _Atomic uint64_t stat[64], told[64], seen[64];

    struct fault f_ring, f_desc;
    _Alignas(64) _Atomic uint32_t reg[E1000_MMIO_SIZE / 4];
};

static inline uint32_t reg_get(const struct e1000 *e, unsigned off)
{
    return atomic_load_explicit(&e->reg[off / 4], memory_order_relaxed);
}
static inline void reg_put(struct e1000 *e, unsigned off, uint32_t v)
{
    atomic_store_explicit(&e->reg[off / 4], v, memory_order_relaxed);
}
static inline uint64_t reg_base(const struct e1000 *e, unsigned lo)
{
    return (uint64_t)reg_get(e, lo + 4) << 32 | reg_get(e, lo);
}
/* Its count of descriptors. RDLEN and TDLEN count in eights (SDM 13.4.26); a
 * driver that wants one descriptor writes 16, which is 0, and gets the one at
 * the base, as every other model of the card gives it. Its tail is 1, one past
 * the end, for "there it is": see e1000_rx_avail() and
 * e1000_tx_outstanding(). */
static inline uint32_t e1000_ring_len(const struct e1000 *e, unsigned lo)
{
    uint32_t n = reg_get(e, lo + 8) / 16;
    return n ? n : 1;
}
/* A descriptor ring as its registers describe it: NULL unless all of it is
 * RAM. *n is the count of descriptors. */
void *e1000_ring(struct e1000 *e, unsigned lo, uint32_t *n);
/* The lock, as vCPUs take it: the loop makes way at the next packet. */
void e1000_lock(struct e1000 *e);
void e1000_unlock(struct e1000 *e);
/* Loop, under the lock: what was done is published and its causes raised. */
void e1000_report(struct e1000 *e);
/* Hands work to the loop. Any thread; a system call only when the loop is not
 * at work already. */
void e1000_kick(struct e1000 *e, uint32_t bit);
/* Has the loop look at everything, whatever it was promised meanwhile. */
void e1000_wake(struct e1000 *e);

/* hold.c: what is remembered; of a device's contract. Under the lock, in order:
 * what of a packet is under way is whole in private memory; no pointer into the
 * guest's is left. From the fields alone, after they were loaded: why not, or
 * NULL. */
extern const struct field e1000_state_fields[], e1000_tx_fields[],
    e1000_rx_fields[];
void e1000_hold(struct device *dev);
void e1000_resume(struct device *dev);
int e1000_loaded(struct device *dev);
void e1000_tx_rest(struct e1000 *e);
const char *e1000_tx_loaded(struct e1000 *e);
void e1000_rx_rest(struct e1000 *e);
const char *e1000_rx_loaded(struct e1000 *e);

/* One row of the register table; also for the test that walks it. */
struct e1000_row {
    char name[12]; /* empty: an alias of `to` */
    uint16_t count, stride;
    uint32_t off, reset, wmask, to;
    bool hot;
    uint32_t (*read)(struct e1000 *e, uint32_t off);
    void (*write)(struct e1000 *e, uint32_t off, uint32_t val);
};
extern const struct e1000_row e1000_rows[];
extern const unsigned e1000_nrows;
const struct e1000_row *e1000_row_at(uint32_t *off);
/* regs.c: once, before the first access; the two BARs, as region callbacks. */
void e1000_fill_row_of(void);
uint64_t e1000_mmio_read(void *owner, uint64_t off, unsigned width);
void e1000_mmio_write(void *owner, uint64_t off, unsigned width, uint64_t val);
uint64_t e1000_io_read(void *owner, uint64_t off, unsigned width);
void e1000_io_write(void *owner, uint64_t off, unsigned width, uint64_t val);

/* irq.c: any thread */
void e1000_raise(struct e1000 *e, uint32_t causes);
void e1000_irq_update(struct e1000 *e);
/* Drops INTx and forgets moderation. */
void e1000_irq_reset(struct e1000 *e);
void e1000_irq_hold(struct e1000 *e);
void e1000_irq_resume(struct e1000 *e);
void e1000_irq_init(struct e1000 *e);
uint32_t e1000_rd_icr(struct e1000 *e, uint32_t off);
uint32_t e1000_rd_ics(struct e1000 *e, uint32_t off);
uint32_t e1000_rd_zero(struct e1000 *e, uint32_t off);
void e1000_wr_icr(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_ics(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_ims(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_imc(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_itr(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_rdtr(struct e1000 *e, uint32_t off, uint32_t val);
/* Loop, end of a burst that received frames (sent descriptors): the causes to
 * raise now. */
uint32_t e1000_report_rx(struct e1000 *e);
uint32_t e1000_report_tx(struct e1000 *e);

/* stats.c. Loop, under the lock, as all that counts. */
static inline void stat_add(struct e1000 *e, unsigned off, uint64_t n)
{
    _Atomic uint64_t *s = &e->stat[(off & 0xff) / 4];
    atomic_store_explicit(s, atomic_load_explicit(s, memory_order_relaxed) + n,
                          memory_order_relaxed);
}
/* The address a frame is for, to count it: mostly all in its first piece. */
const uint8_t *e1000_to_copied(const struct iovec *iov, int n, uint8_t copy[6]);
static inline const uint8_t *e1000_to(const struct iovec *iov, int n,
                                      uint8_t copy[6])
{
    if (n > 0 && iov->iov_len >= 6)
        return iov->iov_base;
    return e1000_to_copied(iov, n, copy);
}
/* With the card's fields; and what was read is forgotten, for the fields alone
 * to say what stands there. Nobody reads meanwhile, or gets what may be. */
void e1000_stats_reset(struct e1000 *e);
void e1000_stats_rest(struct e1000 *e);
/* n frames of `len` bytes (FCS included) went by; `first` is their size
 * bucket's first register (PRC64, PTC64): up to 64, 127, 255, 511, 1023, and
 * more. */
static inline void e1000_stats_size(struct e1000 *e, unsigned first,
                                    uint32_t len, uint32_t n)
{
    unsigned i = len <= 64 ? 0 : 26 - (unsigned)__builtin_clz(len);
    stat_add(e, first + 4 * (i < 5 ? i : 5), n);
}
uint32_t e1000_rd_stat(struct e1000 *e, uint32_t off);
uint32_t e1000_rd_stat_lo(struct e1000 *e, uint32_t off);
uint32_t e1000_rd_stat_hi(struct e1000 *e, uint32_t off);

/* eeprom.c: under the lock */
void e1000_eeprom_init(struct e1000 *e);
/* The address that the operator has said, and the sum of all. */
void e1000_eeprom_put_mac(struct e1000 *e);
void e1000_eeprom_load(struct e1000 *e); /* RA[0] */
void e1000_wr_eecd(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_eerd(struct e1000 *e, uint32_t off, uint32_t val);

/* phy.c: under the lock */
void e1000_phy_init(struct e1000 *e);
void e1000_phy_reset(struct e1000 *e); /* and starts negotiation */
void e1000_phy_start(struct e1000 *e); /* loop: TODO_LINK */
void e1000_phy_cable(struct e1000 *e, bool up);
void e1000_link_update(struct e1000 *e); /* STATUS from PHY and CTRL */
enum { BMCR_LOOPBACK = 1 << 14 }; /* of the PHY's register 0, see phy.c */
/* RCTL.LBM = 01 is MAC loopback (SDM 13.4.22); the other values choose what the
 * PHY's own bit switches on. */
static inline bool e1000_loopback(const struct e1000 *e)
{
    return (reg_get(e, RCTL) & RCTL_LBM) == RCTL_LBM_MAC ||
           e->phy.reg[0] & BMCR_LOOPBACK;
}
void e1000_wr_mdic(struct e1000 *e, uint32_t off, uint32_t val);

/* tx.c, offload.c: loop, under the lock */
bool e1000_tx_run(struct e1000 *e); /* more is left */
bool e1000_tx_pending(struct e1000 *e);
void e1000_tx_reset(struct e1000 *e);
/* Copies what was gathered, and forgets the guest's buffers. */
void e1000_tx_flatten(struct e1000_tx *t);
/* Makes a gathered packet ready to send: offloads, tag, padding. */
void e1000_tx_prepare(struct e1000 *e);
/* The same for one made ready before it came to rest, from its fields: false:
 * nobody can have made it ready so. */
bool e1000_tx_prepared(struct e1000 *e);
/* Copies what is ready to send. */
void e1000_tx_flatten_ready(struct e1000_tx *t);
/* Sends it, or one more segment of it. */
enum tx_result e1000_tx_send(struct e1000 *e);

/* put.c: loop, under the lock. The receive ring in one burst. */
struct rxd { /* SDM 3.2.3 */
    le64 addr;
    le64 result; /* length, packet checksum, status, errors, special */
};
_Static_assert(sizeof(struct rxd) == 16, "SDM 3.2.3");
struct rx_ring {
    struct rxd *d;
    uint32_t n, head, tail, bufsize;
};
/* A frame as in up to two pieces, and what its descriptor says beside. */
struct rx_frame {
    struct iovec piece[4]; /* with room for padding and FCS */
    int n;
    uint32_t len;                /* of the first n pieces */
    const struct eth_info *info; /* offsets in the pieces */
    bool trusted;                /* its L4 checksum is known to be right */
    bool tagged;                 /* a tag was stripped: info->tci */
    /* One piece, already in the head descriptor's buffer, which has room for
     * padding and FCS behind it. */
    bool in_place;
};
bool e1000_rx_ring_open(struct e1000 *e, struct rx_ring *r);
/* Indices beyond the ring make it empty. RDT one past the end is what some old
 * drivers write for "all of it": up to the end, then. A ring of one is
 * filled again and again for such a tail: its drivers write RDT once. */
static inline uint32_t e1000_rx_avail(const struct rx_ring *r)
{
    if (r->head >= r->n || r->tail > r->n)
        return 0;
    if (r->tail >= r->head)
        return r->tail - r->head;
    return r->tail + r->n - r->head;
}
static inline uint64_t e1000_rx_desc_addr(const struct rx_ring *r, uint32_t at)
{
    return __atomic_load_n(&r->d[at].addr, __ATOMIC_RELAXED);
}
/* A descriptor's buffer, whole, or NULL. */
static inline uint8_t *e1000_rx_buffer(const struct e1000 *e,
                                       const struct rx_ring *r, uint32_t at)
{
    uint64_t a = e1000_rx_desc_addr(r, at);
    return a ? ram_ptr(&e->dev.m->ram, gpa(a), r->bufsize) : NULL;
}
/* Uses up descriptors with null addresses at the head. */
void e1000_rx_skip_nulls(struct e1000 *e, struct rx_ring *r);
/* Delivers it; false: too few descriptors now. */
bool e1000_rx_put(struct e1000 *e, struct rx_ring *r, struct rx_frame *f);
/* Sum over bytes [from, to) of pieces. */
uint32_t e1000_rx_sum(const struct rx_frame *f, uint32_t from, uint32_t to);
void e1000_rx_drop_full(struct e1000 *e); /* no descriptor: MPC, RXO */

/* rx.c, filter.c: loop, under the lock */
bool e1000_rx_run(struct e1000 *e); /* more is left */
bool e1000_rx_pending(struct e1000 *e);
void e1000_rx_init(struct e1000 *e); /* before anything else of it */
void e1000_rx_reset(struct e1000 *e);
bool e1000_rx_on(const struct e1000 *e); /* and not looped back */
/* A frame looped back from transmit. */
void e1000_rx_loop(struct e1000 *e, const struct iovec *iov, int n);
/* h: the frame's first 14 bytes at least */
bool e1000_filter(struct e1000 *e, const uint8_t *h, const struct eth_info *i);
/* A verb: what it takes now. */
int e1000_filter_show(void *dev, const void *told, struct text *out);

/* Writes to the registers of the other files. */
void e1000_wr_plain(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_filter(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_ctrl(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_ctrl_ext(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_rctl(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_tctl(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_pba(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_tdh(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_rdt(struct e1000 *e, uint32_t off, uint32_t val);
void e1000_wr_tdt(struct e1000 *e, uint32_t off, uint32_t val);

#endif
