/* SPDX-License-Identifier: MIT */
/* 16550A UART, ttyS0 and ttyS1: PC16550D data sheet (National, 1995), registers
 * of §8.
 *
 * The line is as fast as the reader on the host: a byte written is sent at
 * once, so the transmitter is busy (THRE = 0) only while the console's buffer
 * is full; and a received byte below the FIFO's trigger level is announced at
 * once, as if its time-out (§8.4.1) had passed. */
#include "machine/machine.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/console.h"
#include "machine/platform.h"

enum { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR, REGS };
enum { /* IER */
       IER_RDI = 1 << 0,
       IER_THRI = 1 << 1,
       IER_RLSI = 1 << 2,
       IER_MSI = 1 << 3,
       IER_MASK = 0x0f,
};
enum { /* IIR */
       IIR_MSI = 0x00,
       IIR_NONE = 0x01,
       IIR_THRI = 0x02,
       IIR_RDI = 0x04,
       IIR_RLSI = 0x06,
       IIR_TIMEOUT = 0x0c,
       IIR_FIFO = 0xc0,
};
enum { /* FCR */
       FCR_ENABLE = 1 << 0,
       FCR_CLEAR_RX = 1 << 1,
       FCR_TRIGGER_SHIFT = 6,
       FCR_MASK = 0xc9,
};
enum { LCR_DLAB = 1 << 7 };
enum { /* MCR */
       MCR_DTR = 1 << 0,
       MCR_RTS = 1 << 1,
       MCR_OUT1 = 1 << 2,
       MCR_OUT2 = 1 << 3,
       MCR_LOOP = 1 << 4,
       MCR_MASK = 0x1f,
};
enum { /* LSR */
       LSR_DR = 1 << 0,
       LSR_OE = 1 << 1,
       LSR_THRE = 1 << 5,
       LSR_TEMT = 1 << 6,
};
enum { /* MSR: four lines, and their changes in the low bits */
       MSR_CTS = 1 << 4,
       MSR_DSR = 1 << 5,
       MSR_RI = 1 << 6,
       MSR_DCD = 1 << 7,
};
#define FIFO 16

struct serial {
    struct device dev;
    const char *to; /* as -serial has it */
    struct chardev *where;
    char id[16];
    bool holds; /* the machine, until somebody has connected */
    struct region ports;
    struct irq irq;
    struct console *console;
    pthread_mutex_t lock;
    uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
    uint8_t msr_delta; /* low half of MSR */
    bool overrun;      /* LSR_OE */
    bool thr_empty;    /* a THRE interrupt is due (IIR_THRI) */
    bool intr;         /* level of the INTR pin */
    bool blocked;      /* the host took no more when it was held */
    uint8_t rx[FIFO];
    unsigned rx_at, rx_n;
};

/* ------------------------------------------------------------ interrupts */

static unsigned serial_fifo_size(const struct serial *s)
{
    return s->fcr & FCR_ENABLE ? FIFO : 1;
}

static unsigned serial_trigger(const struct serial *s)
{
    static const uint8_t level[] = {1, 4, 8, 14};
    return s->fcr & FCR_ENABLE ? level[s->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

/* The highest cause, §8.5 table II: IIR's low four bits. */
static uint8_t serial_cause(const struct serial *s)
{
    if (s->overrun && s->ier & IER_RLSI)
        return IIR_RLSI;
    if (s->rx_n && s->ier & IER_RDI)
        return s->rx_n >= serial_trigger(s) ? IIR_RDI : IIR_TIMEOUT;
    if (s->thr_empty && s->ier & IER_THRI)
        return IIR_THRI;
    if (s->msr_delta && s->ier & IER_MSI)
        return IIR_MSI;
    return IIR_NONE;
}

/* On a PC the pin reaches the 8259 through OUT2, and the 8259 wants an edge. */
static void serial_update_irq(struct serial *s)
{
    bool intr = serial_cause(s) != IIR_NONE && s->mcr & MCR_OUT2;
    if (intr && !s->intr)
        irq_pulse(&s->irq);
    s->intr = intr;
}

/* --------------------------------------------------------------- receive */

static void serial_receive(struct serial *s, uint8_t b)
{
    if (s->rx_n == serial_fifo_size(s)) {
        s->overrun = true; /* §8.4: the newest byte is lost */
        return;
    }
    s->rx[(s->rx_at + s->rx_n++) % FIFO] = b;
}

static uint8_t serial_read_rbr(struct serial *s)
{
    if (!s->rx_n)
        return 0;
    uint8_t b = s->rx[s->rx_at];
    s->rx_at = (s->rx_at + 1) % FIFO;
    s->rx_n--;
    return b;
}

static unsigned serial_host_room(void *owner)
{
    struct serial *s = owner;
    pthread_mutex_lock(&s->lock);
    bool cut = s->mcr & MCR_LOOP || s->dev.held;
    unsigned room = cut || s->rx_n >= serial_fifo_size(s)
                        ? 0
                        : serial_fifo_size(s) - s->rx_n;
    pthread_mutex_unlock(&s->lock);
    return room;
}

static void serial_host_input(void *owner, const uint8_t *p, unsigned n)
{
    struct serial *s = owner;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < n; i++)
        serial_receive(s, p[i]);
    serial_update_irq(s);
    pthread_mutex_unlock(&s->lock);
}

/* -------------------------------------------------------------- transmit */

static void serial_host_drained(void *owner)
{
    struct serial *s = owner;
    if (s->dev.held) /* until it resumes */
        return;
    pthread_mutex_lock(&s->lock);
    s->thr_empty = true;
    serial_update_irq(s);
    pthread_mutex_unlock(&s->lock);
}

static void serial_write_thr(struct serial *s, uint8_t b)
{
    if (s->mcr & MCR_LOOP)
        serial_receive(s, b);
    else
        console_put(s->console, b);
    /* Gone as soon as it came. With the FIFO on, the pin stays up through a
     * burst: one edge each time IIR was read, not one a byte. Without it, a
     * driver may rely on an edge after each byte. */
    if (!(s->fcr & FCR_ENABLE)) {
        s->thr_empty = false;
        serial_update_irq(s);
    }
    s->thr_empty = s->mcr & MCR_LOOP || !console_full(s->console);
}

/* ----------------------------------------------------------------- modem */

/* §8.6.8: in loop mode the modem lines are MCR's outputs; else a terminal is
 * there and ready. */
static uint8_t serial_modem_lines(const struct serial *s)
{
    uint8_t lines = 0;
    if (!(s->mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    lines |= s->mcr & MCR_RTS ? MSR_CTS : 0;
    lines |= s->mcr & MCR_DTR ? MSR_DSR : 0;
    lines |= s->mcr & MCR_OUT1 ? MSR_RI : 0;
    lines |= s->mcr & MCR_OUT2 ? MSR_DCD : 0;
    return lines;
}

static void serial_write_mcr(struct serial *s, uint8_t val)
{
    uint8_t before = serial_modem_lines(s);
    s->mcr = val & MCR_MASK;
    uint8_t after = serial_modem_lines(s), changed = before ^ after;
    /* RI counts only when it ends (TERI). */
    if (changed & MSR_RI && after & MSR_RI)
        changed &= (uint8_t)~MSR_RI;
    s->msr_delta |= changed >> 4;
}

/* ------------------------------------------------------------- registers */

static void serial_write_fcr(struct serial *s, uint8_t val)
{
    bool toggled = (val ^ s->fcr) & FCR_ENABLE;
    if (toggled || val & FCR_CLEAR_RX)
        s->rx_n = 0;
    /* §8.4: the other bits are written only together with bit 0. */
    s->fcr = val & FCR_ENABLE ? val & FCR_MASK : 0;
}

static void serial_write_ier(struct serial *s, uint8_t val)
{
    uint8_t rise = (uint8_t)(val & ~s->ier);
    s->ier = val & IER_MASK;
    /* Enabled while the transmitter is empty, it interrupts at once. */
    if (rise & IER_THRI)
        s->thr_empty = !console_full(s->console);
}

static uint8_t serial_read_lsr(struct serial *s)
{
    uint8_t v = s->rx_n ? LSR_DR : 0;
    v |= s->overrun ? LSR_OE : 0;
    if (s->mcr & MCR_LOOP || !console_full(s->console))
        v |= LSR_THRE | LSR_TEMT;
    s->overrun = false;
    return v;
}

static uint8_t serial_read_iir(struct serial *s)
{
    uint8_t c = serial_cause(s);
    if (c == IIR_THRI)
        s->thr_empty = false; /* §8.5: reading IIR as its source clears it */
    return c | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t serial_read_reg(struct serial *s, unsigned reg)
{
    uint8_t v;
    bool dlab = s->lcr & LCR_DLAB;
    switch (reg) {
    case RBR_THR:
        return dlab ? s->dll : serial_read_rbr(s);
    case IER:
        return dlab ? s->dlm : s->ier;
    case IIR_FCR:
        return serial_read_iir(s);
    case LCR:
        return s->lcr;
    case MCR:
        return s->mcr;
    case LSR:
        return serial_read_lsr(s);
    case MSR:
        v = serial_modem_lines(s) | s->msr_delta;
        s->msr_delta = 0;
        return v;
    default:
        return s->scr;
    }
}

static void serial_write_reg(struct serial *s, unsigned reg, uint8_t val)
{
    bool dlab = s->lcr & LCR_DLAB;
    switch (reg) {
    case RBR_THR:
        if (dlab)
            s->dll = val;
        else
            serial_write_thr(s, val);
        break;
    case IER:
        if (dlab)
            s->dlm = val;
        else
            serial_write_ier(s, val);
        break;
    case IIR_FCR:
        serial_write_fcr(s, val);
        break;
    case LCR:
        s->lcr = val;
        break;
    case MCR:
        serial_write_mcr(s, val);
        break;
    case SCR:
        s->scr = val;
        break;
    default: /* LSR and MSR are read-only */
        break;
    }
}

static uint64_t serial_read(void *owner, uint64_t off, unsigned width)
{
    struct serial *s = owner;
    uint64_t val = 0;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < width; i++)
        val |= (uint64_t)serial_read_reg(s, (unsigned)off + i) << (8 * i);
    TRACE(SERIAL, "%s: read %u: %02x", s->id, (unsigned)off, (unsigned)val);
    serial_update_irq(s);
    bool room = s->rx_n < serial_fifo_size(s);
    pthread_mutex_unlock(&s->lock);
    if (room && off == RBR_THR)
        console_unthrottle(s->console);
    return val;
}

static void serial_write(void *owner, uint64_t off, unsigned width,
                         uint64_t val)
{
    struct serial *s = owner;
    pthread_mutex_lock(&s->lock);
    TRACE(SERIAL, "%s: write %u: %02x", s->id, (unsigned)off, (unsigned)val);
    for (unsigned i = 0; i < width; i++)
        serial_write_reg(s, (unsigned)off + i, (uint8_t)(val >> (8 * i)));
    serial_update_irq(s);
    pthread_mutex_unlock(&s->lock);
    /* FCR and MCR may have made room for input. */
    if (off != RBR_THR)
        console_unthrottle(s->console);
}

/* ---------------------------------------------------------------- device */

#define UART(kind, key, member, ...)                                           \
    FIELD_AS(STATE, kind, key, struct serial, member, __VA_ARGS__)

/* §8.1, master reset: table I. */
static const struct field serial_fields[] = {
    FIELD(TEXT, "to", struct serial, to, .arg = "stdio|null|file:PATH|...",
          .help = "where its characters go (stdio)"),
    UART(MASK, "ier", ier, .max = IER_MASK),
    UART(MASK, "fcr", fcr, .max = FCR_MASK),
    UART(NUMBER, "lcr", lcr),
    UART(MASK, "mcr", mcr, .max = MCR_MASK),
    UART(NUMBER, "scr", scr),
    UART(NUMBER, "dll", dll, .def = 12), /* 9600 baud, as a BIOS leaves it */
    UART(NUMBER, "dlm", dlm),
    UART(MASK, "msr_delta", msr_delta, .max = 0x0f),
    UART(FLAG, "overrun", overrun),
    UART(FLAG, "thr_empty", thr_empty, .def = true),
    UART(FLAG, "blocked", blocked),
    UART(FLAG, "intr", intr),
    FIELD_EACH(STATE, NUMBER, "rx", struct serial, rx),
    UART(NUMBER, "rx_at", rx_at, .max = FIFO - 1),
    UART(NUMBER, "rx_n", rx_n, .max = FIFO),
    {.name = ""},
};

static void serial_reset(struct device *dev)
{
    struct serial *s = container_of(dev, struct serial, dev);
    pthread_mutex_lock(&s->lock);
    fields_reset(serial_fields, s, STATE);
    pthread_mutex_unlock(&s->lock);
    console_unthrottle(s->console);
}

/* What the guest sent is the console's, which goes on writing it. */
static void serial_hold(struct device *dev)
{
    struct serial *s = container_of(dev, struct serial, dev);
    s->blocked = console_full(s->console);
}

static void serial_resume(struct device *dev)
{
    struct serial *s = container_of(dev, struct serial, dev);
    pthread_mutex_lock(&s->lock);
    if (s->blocked && !console_full(s->console))
        s->thr_empty = true;
    s->blocked = false;
    if (dev->fresh) /* see irq_pulse */
        s->intr = false;
    serial_update_irq(s);
    pthread_mutex_unlock(&s->lock);
    console_unthrottle(s->console);
}

static int serial_loaded(struct device *dev)
{
    const struct serial *s = container_of(dev, struct serial, dev);
    return s->rx_n <= serial_fifo_size(s)
               ? 0
               : fail(-EINVAL,
                      "%s: rx_n: %u bytes in a FIFO that "
                      "is off",
                      s->id, s->rx_n);
}

static void serial_stats(struct device *dev, struct tally *t)
{
    struct serial *s = container_of(dev, struct serial, dev);
    console_count(s->console, s->id, t);
}

static void serial_destroy(struct device *dev)
{
    struct serial *s = container_of(dev, struct serial, dev);
    if (s->dev.m->serial == s->console)
        s->dev.m->serial = NULL;
    console_close(s->console);
}

static void serial_host_quit(void *owner)
{
    struct machine *m = ((struct serial *)owner)->dev.m;
    machine_ask(m, STOP_POWEROFF);
}

static void serial_host_came(void *owner)
{
    struct serial *s = owner;
    if (s->holds)
        machine_release(s->dev.m);
    s->holds = false;
}

static int serial_wire(struct serial *s, struct machine *m, unsigned irq)
{
    struct console_user user = {.owner = s,
                                .room = serial_host_room,
                                .input = serial_host_input,
                                .drained = serial_host_drained,
                                .quit = serial_host_quit,
                                .came = serial_host_came};
    int err = irq_isa(m, &s->irq, irq);
    if (err)
        return fail(err, "%s: no interrupt %u: %s", s->id, irq, strerror(-err));
    err = bus_add(m->pio, &s->ports);
    if (err) {
        fail(err, "%s: port 0x%x is taken", s->id, (unsigned)s->ports.base);
        goto free_irq;
    }
    err = console_open(m->loop, s->where, &user, &s->console);
    if (err)
        goto del_ports;
    return 0;
del_ports:
    bus_del(m->pio, &s->ports);
free_irq:
    irq_free(&s->irq);
    return err;
}

static int serial_check(struct device *dev, struct needs *needs)
{
    struct serial *s = container_of(dev, struct serial, dev);
    (void)needs;
    if (!s->to)
        s->to = "stdio";
    return chardev_serial(s->to, &s->where);
}

static int serial_create(struct machine *m, struct device *dev)
{
    static const struct {
        uint16_t port;
        unsigned irq;
    } com[] = {{PORT_COM1, IRQ_COM1}, {PORT_COM2, IRQ_COM2}};
    struct serial *s = container_of(dev, struct serial, dev);
    if (m->serials == ARRAY_LEN(com))
        return fail(-EINVAL, "-serial %s: there are two serial ports", s->to);
    pthread_mutex_init(&s->lock, NULL);
    snprintf(s->id, sizeof(s->id), "serial%u", m->serials);
    s->dev.id = s->id;
    s->dev.reset = serial_reset;
    s->dev.hold = serial_hold;
    s->dev.resume = serial_resume;
    s->dev.stats = serial_stats;
    s->dev.destroy = serial_destroy;
    s->ports = (struct region){.base = com[m->serials].port,
                               .len = REGS,
                               .read = serial_read,
                               .write = serial_write,
                               .owner = s,
                               .name = "serial"};
    int err = serial_wire(s, m, com[m->serials].irq);
    if (err)
        return err;
    if (!m->serials++)
        m->serial = s->console;
    serial_reset(&s->dev);
    device_register(m, &s->dev);
    s->holds = console_waits(s->console);
    if (s->holds)
        machine_hold(m);
    return 0;
}

const struct device_class serial_class = {
    .name = "serial",
    .help = "a 16550A",
    .fields = serial_fields,
    .size = sizeof(struct serial),
    .check = serial_check,
    .create = serial_create,
    .loaded = serial_loaded,
};
