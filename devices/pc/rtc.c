/* SPDX-License-Identifier: MIT */
/* MC146818 real-time clock and CMOS memory (Motorola data sheet, 1988), ports
 * 70h and 71h, IRQ 8.
 *
 * The time of day is the host's UTC plus what the guest set. Nothing ticks:
 * registers are worked out when they are read, and flags (update, alarm,
 * periodic) when register C is. A timer runs only while register B enables an
 * interrupt. */
#include "machine/machine.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "machine/platform.h"

enum {
    R_SEC,
    R_SEC_ALARM,
    R_MIN,
    R_MIN_ALARM,
    R_HOUR,
    R_HOUR_ALARM,
    R_WDAY, /* 1: Sunday */
    R_MDAY,
    R_MONTH,
    R_YEAR,
    R_A,
    R_B,
    R_C,
    R_D,
    R_SHUTDOWN = 0x0f,
    R_CENTURY = 0x32,
};
enum { A_UIP = 0x80, A_RATE = 0x0f, A_32KHZ = 0x20 };
enum { /* B: interrupt enables are where C has its flags */
       B_SET = 0x80,
       B_BINARY = 0x04,
       B_24H = 0x02,
};
enum { C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10 };
#define C_FLAGS (C_PF | C_AF | C_UF)
enum { D_VRT = 0x80 };
enum { HOUR_PM = 0x80, ALARM_ANY = 0xc0 };

#define SECOND 1000000000ull
#define UIP_NS 244000 /* data sheet, t_BUC: UIP rises before the update */
#define DAY 86400

struct rtc {
    struct device dev;
    struct region ports;
    struct irq irq;
    struct event armed; /* register B changed: look at the timer (loop) */
    struct timer timer;
    pthread_mutex_t lock;
    uint8_t index;
    uint8_t ram[128]; /* time registers in it count only while B_SET */
    int64_t offset;   /* guest's seconds minus the host's */
    uint64_t seen_s;  /* guest second at which flags were last worked out */
    uint64_t seen_p;  /* the same, in periods */
};

/* ------------------------------------------------------------------- time */

static uint64_t rtc_guest_ns(const struct rtc *r)
{
    return wall_ns() + (uint64_t)r->offset * SECOND;
}

/* Periods of the rate in A since 1970; 0: off. Rates 1 and 2 are 8 and 9. */
static uint64_t rtc_period_ns(const struct rtc *r)
{
    unsigned rate = r->ram[R_A] & A_RATE;
    if (!rate)
        return 0;
    if (rate < 3)
        rate += 7;
    return (SECOND << (rate - 1)) / 32768;
}

static uint64_t rtc_periods(const struct rtc *r)
{
    uint64_t period = rtc_period_ns(r);
    return period ? rtc_guest_ns(r) / period : 0;
}

static uint8_t rtc_to_reg(const struct rtc *r, int v)
{
    if (r->ram[R_B] & B_BINARY)
        return (uint8_t)v;
    return (uint8_t)(v / 10 << 4 | v % 10);
}

static int rtc_from_reg(const struct rtc *r, uint8_t v)
{
    if (r->ram[R_B] & B_BINARY)
        return v;
    return (v >> 4) * 10 + (v & 15);
}

static uint8_t rtc_hour_to_reg(const struct rtc *r, int hour)
{
    if (r->ram[R_B] & B_24H)
        return rtc_to_reg(r, hour);
    uint8_t v = rtc_to_reg(r, hour % 12 ? hour % 12 : 12);
    return v | (hour >= 12 ? HOUR_PM : 0);
}

static int rtc_hour_from_reg(const struct rtc *r, uint8_t v)
{
    if (r->ram[R_B] & B_24H)
        return rtc_from_reg(r, v);
    return rtc_from_reg(r, v & 0x7f) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* The clock's registers, from the time. */
static void rtc_load_time(struct rtc *r)
{
    time_t t = (time_t)(rtc_guest_ns(r) / SECOND);
    struct tm tm;
    if (!gmtime_r(&t, &tm))
        return;
    r->ram[R_SEC] = rtc_to_reg(r, tm.tm_sec);
    r->ram[R_MIN] = rtc_to_reg(r, tm.tm_min);
    r->ram[R_HOUR] = rtc_hour_to_reg(r, tm.tm_hour);
    r->ram[R_WDAY] = rtc_to_reg(r, tm.tm_wday + 1);
    r->ram[R_MDAY] = rtc_to_reg(r, tm.tm_mday);
    r->ram[R_MONTH] = rtc_to_reg(r, tm.tm_mon + 1);
    r->ram[R_YEAR] = rtc_to_reg(r, tm.tm_year % 100);
    r->ram[R_CENTURY] = rtc_to_reg(r, tm.tm_year / 100 + 19);
}

/* The time, from the clock's registers: whatever the guest put there. */
static void rtc_store_time(struct rtc *r)
{
    struct tm tm = {
        .tm_sec = rtc_from_reg(r, r->ram[R_SEC]),
        .tm_min = rtc_from_reg(r, r->ram[R_MIN]),
        .tm_hour = rtc_hour_from_reg(r, r->ram[R_HOUR]),
        .tm_mday = rtc_from_reg(r, r->ram[R_MDAY]),
        .tm_mon = rtc_from_reg(r, r->ram[R_MONTH]) - 1,
        .tm_year = rtc_from_reg(r, r->ram[R_YEAR]) +
                   rtc_from_reg(r, r->ram[R_CENTURY]) * 100 - 1900,
    };
    r->offset = (int64_t)timegm(&tm) - (int64_t)(wall_ns() / SECOND);
    r->seen_s = rtc_guest_ns(r) / SECOND;
}

static bool rtc_is_time(unsigned reg)
{
    return reg == R_CENTURY || (reg <= R_YEAR && reg != R_SEC_ALARM &&
                                reg != R_MIN_ALARM && reg != R_HOUR_ALARM);
}

/* ------------------------------------------------------------------ flags */

static bool rtc_alarm_at(const struct rtc *r, uint64_t second)
{
    int s = (int)(second % 60), m = (int)(second / 60 % 60),
        h = (int)(second / 3600 % 24);
    const uint8_t *ram = r->ram;
    return (ram[R_SEC_ALARM] >= ALARM_ANY ||
            rtc_from_reg(r, ram[R_SEC_ALARM]) == s) &&
           (ram[R_MIN_ALARM] >= ALARM_ANY ||
            rtc_from_reg(r, ram[R_MIN_ALARM]) == m) &&
           (ram[R_HOUR_ALARM] >= ALARM_ANY ||
            rtc_hour_from_reg(r, ram[R_HOUR_ALARM]) == h);
}

/* What has happened since the last look, into register C. */
static void rtc_update_flags(struct rtc *r)
{
    uint64_t ns = rtc_guest_ns(r), now_s = ns / SECOND,
             period = rtc_period_ns(r);
    uint8_t c = 0;
    if (now_s != r->seen_s && !(r->ram[R_B] & B_SET)) {
        /* A day of seconds has every alarm in it. */
        uint64_t from = now_s - r->seen_s > DAY ? now_s - DAY : r->seen_s;
        c |= C_UF;
        while (!(c & C_AF) && from != now_s)
            c |= rtc_alarm_at(r, ++from) ? C_AF : 0;
    }
    r->seen_s = now_s;
    if (period && ns / period != r->seen_p) {
        c |= C_PF;
        r->seen_p = ns / period;
    }
    r->ram[R_C] |= c;
    if (!(r->ram[R_C] & r->ram[R_B] & C_FLAGS))
        return;
    if (!(r->ram[R_C] & C_IRQF))
        irq_pulse(&r->irq);
    r->ram[R_C] |= C_IRQF;
}

/* When the next enabled interrupt is due, in now_ns(); 0: none is enabled. */
static uint64_t rtc_next_due(const struct rtc *r)
{
    uint64_t ns = rtc_guest_ns(r), period = rtc_period_ns(r), wait = 0;
    if (r->ram[R_B] & (C_AF | C_UF))
        wait = SECOND - ns % SECOND;
    if (r->ram[R_B] & C_PF && period) {
        uint64_t left = period - ns % period;
        wait = wait && wait < left ? wait : left;
    }
    return wait ? now_ns() + wait : 0;
}

static void rtc_tick(struct rtc *r)
{
    if (r->dev.held)
        return;
    pthread_mutex_lock(&r->lock);
    rtc_update_flags(r);
    uint64_t due = rtc_next_due(r);
    pthread_mutex_unlock(&r->lock);
    if (due)
        timer_arm(&r->timer, due);
    else
        timer_cancel(&r->timer);
}

static void rtc_timer_fired(struct timer *t)
{
    rtc_tick(container_of(t, struct rtc, timer));
}

static void rtc_armed_ready(struct event *ev, uint32_t got)
{
    uint64_t n;
    (void)got;
    if (read(ev->fd, &n, sizeof(n)) > 0)
        rtc_tick(container_of(ev, struct rtc, armed));
}

/* vCPU threads may not arm timers: the loop does. */
static void rtc_rearm(struct rtc *r)
{
    event_signal(r->armed.fd);
}

/* -------------------------------------------------------------- registers */

static uint8_t rtc_read_data(struct rtc *r)
{
    uint8_t v;
    if (rtc_is_time(r->index) && !(r->ram[R_B] & B_SET))
        rtc_load_time(r);
    switch (r->index) {
    case R_A:
        v = r->ram[R_A];
        if (!(r->ram[R_B] & B_SET) &&
            rtc_guest_ns(r) % SECOND >= SECOND - UIP_NS)
            v |= A_UIP;
        return v;
    case R_C:
        rtc_update_flags(r);
        v = r->ram[R_C];
        r->ram[R_C] = 0;
        return v;
    default:
        return r->ram[r->index];
    }
}

static void rtc_write_b(struct rtc *r, uint8_t val)
{
    uint8_t before = r->ram[R_B];
    rtc_update_flags(r);
    if (val & B_SET && !(before & B_SET))
        rtc_load_time(r); /* the update stops, the registers hold still */
    if (val & B_SET)
        val &= (uint8_t)~C_UF; /* data sheet: SET clears UIE */
    r->ram[R_B] = val;
    if (!(val & B_SET) && before & B_SET)
        rtc_store_time(r);
    rtc_update_flags(r);
    if ((before | val) & C_FLAGS)
        rtc_rearm(r);
}

static void rtc_write_data(struct rtc *r, uint8_t val)
{
    bool set = r->ram[R_B] & B_SET;
    switch (r->index) {
    case R_A:
        rtc_update_flags(r);
        r->ram[R_A] = val & (uint8_t)~A_UIP;
        r->seen_p = rtc_periods(r);
        rtc_rearm(r);
        break;
    case R_B:
        rtc_write_b(r, val);
        break;
    case R_C:
    case R_D:
        break; /* read-only */
    default:
        if (rtc_is_time(r->index) && !set)
            rtc_load_time(r);
        r->ram[r->index] = val;
        if (rtc_is_time(r->index) && !set)
            rtc_store_time(r);
        break;
    }
}

static uint64_t rtc_read(void *owner, uint64_t off, unsigned width)
{
    struct rtc *r = owner;
    uint64_t val = 0;
    pthread_mutex_lock(&r->lock);
    for (unsigned i = 0; i < width; i++) {
        /* The index register is write-only on a PC. */
        uint8_t b = off + i == 0 ? 0xff : rtc_read_data(r);
        val |= (uint64_t)b << (8 * i);
    }
    pthread_mutex_unlock(&r->lock);
    return val;
}

static void rtc_write(void *owner, uint64_t off, unsigned width, uint64_t val)
{
    struct rtc *r = owner;
    pthread_mutex_lock(&r->lock);
    for (unsigned i = 0; i < width; i++) {
        uint8_t b = (uint8_t)(val >> (8 * i));
        if (off + i == 0)
            r->index = b & 0x7f; /* bit 7 masks NMI; there is none */
        else
            rtc_write_data(r, b);
    }
    pthread_mutex_unlock(&r->lock);
}

/* ----------------------------------------------------------------- device */

static void rtc_put16(struct rtc *r, unsigned at, uint64_t v)
{
    v = v > 0xffff ? 0xffff : v;
    r->ram[at] = (uint8_t)v;
    r->ram[at + 1] = (uint8_t)(v >> 8);
}

/* What a PC's firmware leaves in CMOS about memory. */
static void rtc_fill_nvram(struct rtc *r)
{
    const struct machine *m = r->dev.m;
    uint64_t low = m->ram.n ? m->ram.region[0].size : 0;
    uint64_t high = m->ram.n > 1 ? m->ram.region[1].size : 0;
    uint64_t ext = low > HIMEM_BASE ? low - HIMEM_BASE : 0;
    uint64_t over16 = low > (16 << 20) ? low - (16 << 20) : 0;
    r->ram[0x14] = 0x02;     /* equipment: FPU, no display, no floppy */
    rtc_put16(r, 0x15, 640); /* KiB below 1 MiB */
    rtc_put16(r, 0x17, ext >> 10);
    rtc_put16(r, 0x30, ext >> 10);
    rtc_put16(r, 0x34, over16 >> 16); /* 64 KiB units above 16 MiB */
    rtc_put16(r, 0x5b, high >> 16);   /* and above 4 GiB: 24 bits */
    r->ram[0x5d] = (uint8_t)(high >> 32);
    r->ram[0x5f] = (uint8_t)(m->ncpus - 1);
}

#define RTC(uses, kind, key, member, ...)                                      \
    FIELD_AS(STATE | (uses), kind, key, struct rtc, member, __VA_ARGS__)
/* CMOS bytes first to last. */
#define CMOS(key, first, last)                                                 \
    RTC(KEPT, NUMBER, key, ram[first], .n = (last) - (first) + 1)

/* The battery keeps the memory and the time; RESET# clears enables and flags
 * (data sheet, "RESET"). */
static const struct field rtc_fields[] = {
    RTC(0, NUMBER, "index", index, .max = 0x7f),
    CMOS("clock", R_SEC, R_YEAR),
    /* 1024 Hz, as a BIOS leaves it */
    RTC(0, MASK, "a", ram[R_A], .def = A_32KHZ | 6, .max = 0xff & ~A_UIP),
    RTC(0, NUMBER, "b", ram[R_B], .def = B_24H),
    RTC(0, MASK, "c", ram[R_C], .max = C_IRQF | C_FLAGS),
    RTC(0, NUMBER, "d", ram[R_D], .def = D_VRT, .min = D_VRT, .max = D_VRT),
    RTC(KEPT, NUMBER, "diagnosis", ram[R_D + 1]),
    RTC(0, NUMBER, "shutdown", ram[R_SHUTDOWN]), /* 0: power-on */
    CMOS("cmos", R_SHUTDOWN + 1, sizeof(((struct rtc *)0)->ram) - 1),
    RTC(KEPT, NUMBER, "offset", offset),
    RTC(0, NUMBER, "seen_second", seen_s),
    RTC(0, NUMBER, "seen_period", seen_p),
    {.name = ""},
};

static void rtc_reset(struct device *dev)
{
    struct rtc *r = container_of(dev, struct rtc, dev);
    pthread_mutex_lock(&r->lock);
    fields_reset(rtc_fields, r, STATE);
    r->seen_s = rtc_guest_ns(r) / SECOND;
    r->seen_p = rtc_periods(r);
    pthread_mutex_unlock(&r->lock);
    rtc_rearm(r);
}

/* The time goes on meanwhile, as the host's does; interrupts do not. */
static void rtc_hold(struct device *dev)
{
    timer_cancel(&container_of(dev, struct rtc, dev)->timer);
}

static void rtc_resume(struct device *dev)
{
    struct rtc *r = container_of(dev, struct rtc, dev);
    pthread_mutex_lock(&r->lock);
    if (dev->fresh && r->ram[R_C] & C_IRQF) /* see irq_pulse */
        irq_pulse(&r->irq);
    pthread_mutex_unlock(&r->lock);
    rtc_tick(r);
}

static int rtc_wire(struct rtc *r, struct machine *m)
{
    int err = irq_isa(m, &r->irq, IRQ_RTC);
    if (err)
        return fail(err, "rtc: no interrupt %d", IRQ_RTC);
    r->armed = (struct event){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                              .want = EPOLLIN,
                              .ready = rtc_armed_ready};
    if (r->armed.fd < 0) {
        err = fail(-errno, "rtc: no eventfd");
        goto free_irq;
    }
    err = loop_add(m->loop, &r->armed);
    if (err)
        goto close_fd;
    err = bus_add(m->pio, &r->ports);
    if (err) {
        fail(err, "rtc: port 0x%x is taken", PORT_RTC);
        goto del_event;
    }
    return 0;
del_event:
    loop_del(&r->armed);
close_fd:
    close(r->armed.fd);
free_irq:
    irq_free(&r->irq);
    return err;
}

static int rtc_create(struct machine *m, struct device *dev)
{
    struct rtc *r = container_of(dev, struct rtc, dev);
    int err;
    pthread_mutex_init(&r->lock, NULL);
    r->dev.reset = rtc_reset;
    r->dev.hold = rtc_hold;
    r->dev.resume = rtc_resume;
    r->ports = (struct region){.base = PORT_RTC,
                               .len = 2,
                               .read = rtc_read,
                               .write = rtc_write,
                               .owner = r,
                               .name = "rtc"};
    timer_init(&r->timer, m->loop, rtc_timer_fired);
    err = rtc_wire(r, m);
    if (err)
        return err;
    rtc_fill_nvram(r);
    rtc_reset(&r->dev);
    device_register(m, &r->dev);
    return 0;
}

const struct device_class rtc_class = {
    .name = "rtc",
    .help = "part of every machine",
    .fields = rtc_fields,
    .size = sizeof(struct rtc),
    .create = rtc_create,
};
