/* SPDX-License-Identifier: MIT */
/* ACPI fixed hardware: PM1a event and control blocks, the PM timer (ACPI 6.4
 * §4.8.3) and a block of general-purpose events (§4.8.4): power-off, power
 * button, a 3.579545 MHz clock, what devices have to say. */
#include "devices/pc/pc.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "machine/platform.h"

enum { /* §4.8.3.1, PM1 status and enable */
       PM1_TMR = 1 << 0,
       PM1_GBL = 1 << 5,
       PM1_PWRBTN = 1 << 8,
       PM1_RTC = 1 << 10,
       PM1_WAK = 1 << 15,
};
enum { /* §4.8.3.2.1, PM1 control */
       PM1_SCI_EN = 1 << 0,
       PM1_SLP_TYP_SHIFT = 10,
       PM1_SLP_EN = 1 << 13,
};
/* Nothing here sets BM, GBL or WAK, but a guest may clear them. */
#define PM1_STS_W1C (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC | PM1_WAK)
#define PM1_EN_MASK (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC)
#define PM_TMR_HZ 3579545u

/* Offsets in the one region that holds the four blocks. */
enum {
    OFF_STS = 0,
    OFF_EN = 2,
    OFF_CNT = PORT_PM1_CNT - PORT_PM1_EVT,
    OFF_TMR = PORT_PM_TMR - PORT_PM1_EVT,
    OFF_GPE = PORT_GPE0 - PORT_PM1_EVT,
    PM_LEN = OFF_GPE + 2,
};

struct acpi_pm {
    struct device dev;
    struct region ports;
    pthread_mutex_t lock;
    struct irq sci;
    uint16_t sts, en, cnt;
    uint8_t gpe_sts, gpe_en;
    uint64_t start_ns;
    uint64_t elapsed; /* since then, while held */
    uint64_t carried; /* ticks at which TMR_STS was last worked out */
    struct fault sleep;
};

/* 32 bits of it are visible, and TMR_STS tells when bit 31 changes. */
static uint64_t pm_ticks(const struct acpi_pm *pm)
{
    uint64_t ns = now_ns() - pm->start_ns;
    return ns / 1000000000 * PM_TMR_HZ +
           ns % 1000000000 * PM_TMR_HZ / 1000000000;
}

/* §4.8.2.1. The carry is noticed when the guest looks; it raises no SCI of its
 * own accord, since no guest here counts by it (HPET and TSC do not wrap). */
static void pm_update_carry(struct acpi_pm *pm)
{
    uint64_t now = pm_ticks(pm);
    if (now >> 31 != pm->carried >> 31)
        pm->sts |= PM1_TMR;
    pm->carried = now;
}

static void pm_update_sci(struct acpi_pm *pm)
{
    irq_set(&pm->sci, (pm->sts & pm->en) || (pm->gpe_sts & pm->gpe_en));
}

static uint8_t pm_read_byte(struct acpi_pm *pm, uint64_t off, uint32_t tmr)
{
    unsigned shift = 8 * (off & 1);
    if (off >= OFF_GPE)
        return off == OFF_GPE ? pm->gpe_sts : pm->gpe_en;
    if (off >= OFF_TMR)
        return (uint8_t)(tmr >> (8 * (off - OFF_TMR)));
    switch (off & ~1ull) {
    case OFF_STS:
        return (uint8_t)(pm->sts >> shift);
    case OFF_EN:
        return (uint8_t)(pm->en >> shift);
    case OFF_CNT:
        return (uint8_t)((pm->cnt | PM1_SCI_EN) >> shift);
    default:
        return 0; /* the gap behind PM1_CNT */
    }
}

static uint64_t pm_read(void *owner, uint64_t off, unsigned width)
{
    struct acpi_pm *pm = owner;
    uint64_t val = 0;
    uint32_t tmr = (uint32_t)pm_ticks(pm);
    pthread_mutex_lock(&pm->lock);
    pm_update_carry(pm);
    for (unsigned i = 0; i < width; i++)
        val |= (uint64_t)pm_read_byte(pm, off + i, tmr) << (8 * i);
    pthread_mutex_unlock(&pm->lock);
    return val;
}

/* §4.8.3.2.1: SLP_EN always reads 0; writing it enters the state SLP_TYP. */
static void pm_write_cnt(struct acpi_pm *pm, uint16_t val)
{
    unsigned typ = val >> PM1_SLP_TYP_SHIFT & 7;
    struct machine *m = pm->dev.m;
    pm->cnt = val & (uint16_t)~PM1_SLP_EN;
    if (!(val & PM1_SLP_EN))
        return;
    if (typ == ACPI_S5_TYP)
        m->ops->request(m, STOP_POWEROFF);
    else
        fault_note(&pm->sleep,
                   "acpi-pm: guest asks for sleep type %u; only "
                   "S5 exists",
                   typ);
}

static void pm_write_byte(struct acpi_pm *pm, uint64_t off, uint8_t val)
{
    unsigned shift = 8 * (off & 1);
    uint16_t mask = (uint16_t)(0xff << shift);
    uint16_t v = (uint16_t)(val << shift);
    switch (off & ~1ull) {
    case OFF_STS:
        pm->sts &= (uint16_t) ~(v & PM1_STS_W1C);
        break;
    case OFF_EN:
        pm->en = (uint16_t)((pm->en & ~mask) | (v & PM1_EN_MASK));
        break;
    case OFF_CNT:
        pm_write_cnt(pm, (uint16_t)((pm->cnt & ~mask) | v));
        break;
    case OFF_GPE: /* its two registers have a byte each */
        if (shift)
            pm->gpe_en = val;
        else
            pm->gpe_sts &= (uint8_t)~val;
        break;
    default:
        break; /* the timer is read-only */
    }
}

static void pm_write(void *owner, uint64_t off, unsigned width, uint64_t val)
{
    struct acpi_pm *pm = owner;
    pthread_mutex_lock(&pm->lock);
    pm_update_carry(pm);
    for (unsigned i = 0; i < width; i++)
        pm_write_byte(pm, off + i, (uint8_t)(val >> (8 * i)));
    pm_update_sci(pm);
    pthread_mutex_unlock(&pm->lock);
}

#define PM(kind, key, member, ...)                                             \
    FIELD_AS(STATE, kind, key, struct acpi_pm, member, __VA_ARGS__)

static const struct field pm_fields[] = {
    COUNT("bad_sleeps", struct acpi_pm, sleep,
          "sleep states asked for that there are none of"),
    PM(MASK, "status", sts, .max = PM1_STS_W1C),
    PM(MASK, "enable", en, .max = PM1_EN_MASK),
    PM(MASK, "control", cnt, .max = 0xffff & ~PM1_SLP_EN),
    FIELD_AS(STATE | SPARE, NUMBER, "gpe_status", struct acpi_pm, gpe_sts),
    FIELD_AS(STATE | SPARE, NUMBER, "gpe_enable", struct acpi_pm, gpe_en),
    PM(NUMBER, "elapsed", elapsed),
    PM(NUMBER, "carried", carried),
    {.name = ""},
};

static void pm_reset(struct device *dev)
{
    struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);
    pthread_mutex_lock(&pm->lock);
    fields_reset(pm_fields, pm, STATE);
    pm->start_ns = now_ns();
    pm_update_sci(pm);
    pthread_mutex_unlock(&pm->lock);
}

/* The timer stands still meanwhile, as the processors' clocks do. */
static void pm_hold(struct device *dev)
{
    struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);
    pm->elapsed = now_ns() - pm->start_ns;
}

static void pm_resume(struct device *dev)
{
    struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);
    pthread_mutex_lock(&pm->lock);
    pm->start_ns = now_ns() - pm->elapsed;
    pm_update_sci(pm);
    pthread_mutex_unlock(&pm->lock);
}

static int pm_create(struct machine *m, struct device *dev)
{
    struct acpi_pm *pm = container_of(dev, struct acpi_pm, dev);
    int err;
    pthread_mutex_init(&pm->lock, NULL);
    pm->start_ns = now_ns();
    pm->dev.reset = pm_reset;
    pm->dev.hold = pm_hold;
    pm->dev.resume = pm_resume;
    pm->ports = (struct region){.base = PORT_PM1_EVT,
                                .len = PM_LEN,
                                .read = pm_read,
                                .write = pm_write,
                                .owner = pm,
                                .name = "acpi-pm"};
    err = irq_intx(m, &pm->sci, IRQ_SCI);
    if (err)
        return fail(err, "acpi-pm: no interrupt %d", IRQ_SCI);
    err = bus_add(m->pio, &pm->ports);
    if (err) {
        irq_free(&pm->sci);
        return fail(err, "acpi-pm: port 0x%x is taken", PORT_PM1_EVT);
    }
    device_register(m, &pm->dev);
    return 0;
}

/* NULL: there is none. */
static struct acpi_pm *pm_of(struct machine *m)
{
    struct device *dev = m->devices;
    while (dev && dev->reset != pm_reset)
        dev = dev->next;
    return dev ? container_of(dev, struct acpi_pm, dev) : NULL;
}

/* False: nobody listens. */
static bool pm_press(struct acpi_pm *pm)
{
    pthread_mutex_lock(&pm->lock);
    pm->sts |= PM1_PWRBTN;
    pm_update_sci(pm);
    bool heard = pm->en & PM1_PWRBTN;
    pthread_mutex_unlock(&pm->lock);
    machine_tell(pm->dev.m, NEWS_BUTTON, true, 0);
    return heard;
}

bool acpi_power_button(struct machine *m)
{
    struct acpi_pm *pm = pm_of(m);
    return pm && pm_press(pm);
}

void acpi_event(struct machine *m, unsigned n)
{
    struct acpi_pm *pm = pm_of(m);
    if (!pm)
        return;
    pthread_mutex_lock(&pm->lock);
    pm->gpe_sts |= (uint8_t)(1 << n);
    pm_update_sci(pm);
    pthread_mutex_unlock(&pm->lock);
}

static int pm_powerdown(void *thing, const void *told, struct text *out)
{
    struct acpi_pm *pm =
        container_of((struct device *)thing, struct acpi_pm, dev);
    (void)told, (void)out;
    return pm_press(pm) ? 0
                        : fail(-EAGAIN, "the guest does not listen to its "
                                        "power button (yet)");
}

static const struct verb pm_verbs[] = {
    {.name = "powerdown",
     .help = "press the power button",
     .run = pm_powerdown},
    {.name = NULL},
};

const struct device_class acpi_pm_class = {
    .name = "acpi-pm",
    .help = "part of every machine",
    .fields = pm_fields,
    .size = sizeof(struct acpi_pm),
    .create = pm_create,
    .verbs = pm_verbs,
};
