/* SPDX-License-Identifier: MIT */
/* The board's own devices at their ports: the serial port, whose console the
 * main loop serves, the clock with its timer, the power button. Two vCPUs do
 * the same, each register being the device's to guard. */
#include "devices/list.h"
#include "devices/pc/pc.h"
#include "tests/tsan/rig.h"

static uint8_t in(unsigned port)
{
    return (uint8_t)bus_read(rig.m.pio, port, 1);
}

static void out(unsigned port, uint32_t val)
{
    bus_write(rig.m.pio, port, 1, val & 0xff);
}

/* 16550A: 0 data, 1 IER, 2 FCR, 4 MCR, 5 LSR */
static void serial(struct vcpu *c)
{
    switch (rnd(c, 8)) {
    case 0:
        out(PORT_COM1 + 1, rnd(c, 16));
        break;
    case 1:
        out(PORT_COM1 + 2, rnd(c, 2) ? 0xc7 : 0);
        break;
    case 2:
        out(PORT_COM1 + 4, 8 | rnd(c, 8));
        break;
    case 3:
        in(PORT_COM1 + 2);
        break;
    case 4:
        for (int i = 0; i < 16 && in(PORT_COM1 + 5) & 1; i++) {
            in(PORT_COM1);
            atomic_fetch_add(&rig.received, 1);
        }
        break;
    default:
        for (uint32_t i = rnd(c, 100); i; i--) {
            out(PORT_COM1, 'a' + i % 26);
            atomic_fetch_add(&rig.sent, 1);
        }
        break;
    }
}

/* MC146818: registers A (rate), B (enables), C (flags); an alarm */
static void board_clock(struct vcpu *c)
{
    static const uint8_t reg[] = {0, 1, 3, 5, 10, 11, 12};
    out(PORT_RTC, reg[rnd(c, 7)]);
    if (rnd(c, 2))
        in(PORT_RTC + 1);
    else
        out(PORT_RTC + 1, rnd(c, 256));
}

static void power(struct vcpu *c)
{
    unsigned port = PORT_PM1_EVT + rnd(c, 4);
    if (rnd(c, 2))
        bus_read(rig.m.pio, PORT_PM_TMR, 4);
    else if (rnd(c, 2))
        in(port);
    else
        out(port, rnd(c, 256));
}

static void poke(struct vcpu *c)
{
    switch (rnd(c, 4)) {
    case 0:
        board_clock(c);
        break;
    case 1:
        power(c);
        break;
    default:
        serial(c);
        break;
    }
}

static void driver(struct vcpu *c)
{
    atomic_fetch_add(&rig.lives, 1);
    do
        poke(c);
    while (vcpu_sleep(c, rnd(c, 4) ? 0 : rnd(c, 300)));
}

static void make(const char *options)
{
    rig_device(&acpi_pm_class, "");
    rig_device(&rtc_class, "");
    rig_device(&i8042_class, "");
    rig_device(&pvpanic_class, "");
    rig_device(&serial_class, options);
}

const struct guest board_guest = {.driver = driver, .rude = poke, .make = make};
