/* SPDX-License-Identifier: MIT */
/* RTC, keyboard controller, ACPI PM, pvpanic. */
#include "devices/list.h"
#include "devices/pc/pc.h"
#include "tests/unit/fake.h"

#define SECOND 1000000000ull

static struct machine *pc_with(const struct device_class *c)
{
    struct machine *m = fake_new(32 << 20);
    REQUIRE_EQ(fake_device(m, c, c->name, ""), 0);
    fake_run_loop(m);
    return m;
}

/* -------------------------------------------------------------------- RTC */

static uint8_t cmos(struct machine *m, uint8_t reg)
{
    outb(m, 0x70, reg);
    return inb(m, 0x71);
}

static void cmos_set(struct machine *m, uint8_t reg, uint8_t v)
{
    outb(m, 0x70, reg);
    outb(m, 0x71, v);
}

/* 2026-11-21 13:37:42 UTC, a Saturday */
#define THEN 1795268262

static struct machine *rtc_pc(void)
{
    fake_set_wall(THEN);
    return pc_with(&rtc_class);
}

TEST(rtc_b24_time_is_utc_in_bcd)
{
    struct machine *m = rtc_pc();
    CHECK_EQ(cmos(m, 0x0a), 0x26);
    CHECK_EQ(cmos(m, 0x0b), 0x02);
    CHECK_EQ(cmos(m, 0x0d), 0x80);
    CHECK_EQ(cmos(m, 0), 0x42);
    CHECK_EQ(cmos(m, 2), 0x37);
    CHECK_EQ(cmos(m, 4), 0x13);
    CHECK_EQ(cmos(m, 6), 0x07);
    CHECK_EQ(cmos(m, 7), 0x21);
    CHECK_EQ(cmos(m, 8), 0x11);
    CHECK_EQ(cmos(m, 9), 0x26);
    CHECK_EQ(cmos(m, 0x32), 0x20);
    CHECK_EQ(cmos(m, 0x80), 0x42); /* bit 7 is not part of the index */
    fake_free(m);
}

TEST(rtc_binary_and_12_hour_modes)
{
    struct machine *m = rtc_pc();
    cmos_set(m, 0x0b, 0x04);
    CHECK_EQ(cmos(m, 4), 0x81); /* 1 PM */
    CHECK_EQ(cmos(m, 2), 37);
    cmos_set(m, 0x0b, 0x00);
    CHECK_EQ(cmos(m, 4), 0x81);
    fake_set_wall(THEN - 13 * 3600);
    CHECK_EQ(cmos(m, 4), 0x12); /* midnight is 12 AM */
    fake_free(m);
}

TEST(rtc_uip_announces_the_update)
{
    struct machine *m = rtc_pc();
    CHECK_EQ(cmos(m, 0x0a) & 0x80, 0);
    fake_advance_ns(SECOND - 200000);
    CHECK_EQ(cmos(m, 0x0a) & 0x80, 0x80);
    CHECK_EQ(cmos(m, 0), 0x42);
    fake_advance_ns(200000);
    CHECK_EQ(cmos(m, 0x0a) & 0x80, 0);
    CHECK_EQ(cmos(m, 0), 0x43);
    fake_free(m);
}

TEST(rtc_guest_sets_the_time_under_set)
{
    struct machine *m = rtc_pc();
    cmos_set(m, 0x0b, 0x82);
    CHECK_EQ(cmos(m, 0), 0x42); /* holds still */
    fake_advance_ns(5 * SECOND);
    CHECK_EQ(cmos(m, 0), 0x42);
    cmos_set(m, 0, 0x59);
    cmos_set(m, 2, 0x59);
    cmos_set(m, 4, 0x23);
    cmos_set(m, 7, 0x31);
    cmos_set(m, 8, 0x12);
    cmos_set(m, 9, 0x99);
    cmos_set(m, 0x32, 0x19);
    cmos_set(m, 0x0b, 0x02);
    fake_advance_ns(SECOND);
    CHECK_EQ(cmos(m, 9), 0x00);
    CHECK_EQ(cmos(m, 0x32), 0x20);
    CHECK_EQ(cmos(m, 8), 0x01);
    CHECK_EQ(cmos(m, 4), 0x00);
    /* and the battery keeps it */
    m->devices->reset(m->devices);
    CHECK_EQ(cmos(m, 0x32), 0x20);
    CHECK_EQ(cmos(m, 9), 0x00);
    fake_free(m);
}

TEST(rtc_update_interrupt_once_a_second)
{
    struct machine *m = rtc_pc();
    cmos(m, 0x0c);
    cmos_set(m, 0x0b, 0x12);
    fake_run_loop(m);
    CHECK_EQ(fake_irqs(m, 8), 0);
    fake_sleep_ns(m, SECOND);
    CHECK_EQ(fake_irqs(m, 8), 1);
    fake_sleep_ns(m, 3 * SECOND); /* not read: no second edge */
    CHECK_EQ(fake_irqs(m, 8), 0);
    CHECK_EQ(cmos(m, 0x0c), 0xd0); /* PF is latched as well */
    CHECK_EQ(cmos(m, 0x0c), 0);
    fake_sleep_ns(m, SECOND);
    CHECK_EQ(fake_irqs(m, 8), 1);
    fake_free(m);
}

TEST(rtc_alarm_interrupt_with_wildcards)
{
    struct machine *m = rtc_pc();
    cmos_set(m, 1, 0x45);
    cmos_set(m, 3, 0xff);
    cmos_set(m, 5, 0xc0);
    cmos(m, 0x0c);
    cmos_set(m, 0x0b, 0x22);
    fake_sleep_ns(m, 2 * SECOND);
    CHECK_EQ(fake_irqs(m, 8), 0);
    fake_sleep_ns(m, SECOND);
    CHECK_EQ(fake_irqs(m, 8), 1);
    CHECK_EQ(cmos(m, 0x0c) & 0xa0, 0xa0);
    fake_free(m);
}

TEST(rtc_b24_periodic_interrupt_for_ipxe_entropy)
{
    struct machine *m = rtc_pc();
    cmos_set(m, 0x0a, 0x26); /* 1024 Hz */
    cmos(m, 0x0c);
    cmos_set(m, 0x0b, 0x42);
    fake_run_loop(m);
    unsigned n = 0;
    for (int i = 0; i < 1024; i++) {
        fake_sleep_ns(m, SECOND / 1024);
        n += fake_irqs(m, 8);
        cmos(m, 0x0c);
    }
    CHECK(n >= 1000 && n <= 1025);
    cmos_set(m, 0x0b, 0x02);
    fake_run_loop(m);
    fake_sleep_ns(m, SECOND);
    CHECK_EQ(fake_irqs(m, 8), 0);
    fake_free(m);
}

TEST(rtc_flags_are_polled_without_interrupts)
{
    struct machine *m = rtc_pc();
    cmos(m, 0x0c);
    CHECK_EQ(cmos(m, 0x0c), 0);
    fake_advance_ns(SECOND);
    CHECK_EQ(cmos(m, 0x0c) & 0xd0, 0x50);
    CHECK_EQ(fake_irqs(m, 8), 0);
    fake_free(m);
}

TEST(rtc_b24_memory_size)
{
    struct machine *m = rtc_pc();
    CHECK_EQ(cmos(m, 0x15) | cmos(m, 0x16) << 8, 640);
    CHECK_EQ(cmos(m, 0x17) | cmos(m, 0x18) << 8, 31 * 1024);
    CHECK_EQ(cmos(m, 0x34) | cmos(m, 0x35) << 8, 16 * 16);
    CHECK_EQ(cmos(m, 0x0f), 0);
    cmos_set(m, 0x40, 0x77);
    CHECK_EQ(cmos(m, 0x40), 0x77);
    fake_free(m);
}

TEST(rtc_nonsense_in_the_clock_does_no_harm)
{
    struct machine *m = rtc_pc();
    for (int b = 0; b < 256; b += 5) {
        for (uint8_t reg = 0; reg < 128; reg++)
            cmos_set(m, reg, (uint8_t)(b ^ reg));
        fake_sleep_ns(m, SECOND);
        for (uint8_t reg = 0; reg < 128; reg++)
            cmos(m, reg);
    }
    fake_free(m);
}

/* ------------------------------------------------------------------ i8042 */

TEST(i8042_b25_answers_probes)
{
    struct machine *m = pc_with(&i8042_class);
    CHECK_NE(inb(m, 0x64), 0xff);
    CHECK_EQ(inb(m, 0x64) & 3, 0);
    outb(m, 0x64, 0xaa);
    CHECK_EQ(inb(m, 0x64) & 1, 1);
    CHECK_EQ(inb(m, 0x60), 0x55);
    outb(m, 0x64, 0xab);
    CHECK_EQ(inb(m, 0x60), 0x00);
    CHECK_EQ(inb(m, 0x64) & 1, 0);
    outb(m, 0x64, 0x60);
    outb(m, 0x60, 0x47);
    outb(m, 0x64, 0x20);
    CHECK_EQ(inb(m, 0x60), 0x47);
    outb(m, 0x64, 0xa9); /* no mouse */
    CHECK_NE(inb(m, 0x60), 0);
    fake_free(m);
}

TEST(i8042_b25_keyboard_commands)
{
    struct machine *m = pc_with(&i8042_class);
    outb(m, 0x60, 0xff);
    CHECK_EQ(inb(m, 0x60), 0xfa);
    CHECK_EQ(inb(m, 0x60), 0xaa);
    outb(m, 0x60, 0xf2);
    CHECK_EQ(inb(m, 0x60), 0xfa);
    CHECK_EQ(inb(m, 0x60), 0xab);
    CHECK_EQ(inb(m, 0x60), 0x83);
    outb(m, 0x60, 0xed);
    outb(m, 0x60, 0xff); /* LEDs, not a reset */
    CHECK_EQ(inb(m, 0x60), 0xfa);
    CHECK_EQ(inb(m, 0x60), 0xfa);
    CHECK_EQ(inb(m, 0x64) & 1, 0);
    fake_free(m);
}

TEST(i8042_b19_a20_by_controller_and_port_92)
{
    struct machine *m = pc_with(&i8042_class);
    CHECK_EQ(inb(m, 0x92), 2);
    outb(m, 0x64, 0xd1); /* Linux: D1, DF, FF */
    outb(m, 0x60, 0xdf);
    outb(m, 0x64, 0xff);
    outb(m, 0x64, 0xd0);
    CHECK_EQ(inb(m, 0x60), 0xdf);
    outb(m, 0x64, 0xdd);
    CHECK_EQ(inb(m, 0x92), 0);
    outb(m, 0x92, 2);
    CHECK_EQ(inb(m, 0x92), 2);
    CHECK_EQ(fake_requests(m), 0);
    fake_free(m);
}

TEST(i8042_b26_three_ways_to_reset)
{
    struct machine *m = pc_with(&i8042_class);
    outb(m, 0x64, 0xfe);
    CHECK_EQ(fake_requests(m), 1);
    CHECK_EQ(fake_last_request(m), STOP_RESET);
    outb(m, 0x64, 0xd1);
    outb(m, 0x60, 0xce); /* output port with bit 0 low */
    CHECK_EQ(fake_requests(m), 2);
    outb(m, 0x92, 3);
    CHECK_EQ(fake_requests(m), 3);
    fake_free(m);
}

TEST(i8042_queue_is_bounded)
{
    struct machine *m = pc_with(&i8042_class);
    for (int i = 0; i < 1000; i++)
        outb(m, 0x60, 0xf2);
    int n = 0;
    while (inb(m, 0x64) & 1) {
        inb(m, 0x60);
        REQUIRE(n++ < 100);
    }
    fake_free(m);
}

/* ---------------------------------------------------------------- ACPI PM */

/* S5 is type 0, as QEMU has it at this very port: small kernels write 2000h
 * without having looked into the DSDT. */
TEST(acpi_pm_4_8_3_2_s5_powers_off)
{
    struct machine *m = pc_with(&acpi_pm_class);
    CHECK_EQ(inw(m, 0x604), 1); /* SCI_EN: always ACPI mode */
    outw(m, 0x604, 5 << 10 | 1 << 13);
    CHECK_EQ(fake_requests(m), 0);
    CHECK_HAS(test_log(), "sleep type 5");
    outw(m, 0x604, 0);
    CHECK_EQ(fake_requests(m), 0);
    outw(m, 0x604, 0x2000);
    CHECK_EQ(fake_last_request(m), STOP_POWEROFF);
    CHECK_EQ(inw(m, 0x604), 1); /* SLP_EN reads 0 */
    fake_free(m);
}

TEST(acpi_pm_s5_by_bytes)
{
    struct machine *m = pc_with(&acpi_pm_class);
    outb(m, 0x605, 0x20);
    CHECK_EQ(fake_last_request(m), STOP_POWEROFF);
    fake_free(m);
}

/* The host bridge is a device of no class. */
TEST(acpi_pm_4_8_3_1_power_button_where_there_is_none)
{
    struct machine *m = fake_pc(4096);
    REQUIRE(m->devices != NULL);
    CHECK(!acpi_power_button(m));
    fake_free(m);
}

TEST(acpi_pm_4_8_3_1_power_button_raises_sci)
{
    struct machine *m = pc_with(&acpi_pm_class);
    CHECK(!acpi_power_button(m)); /* nobody listens */
    CHECK(!fake_level(m, 9));
    outw(m, 0x602, 1 << 8);
    CHECK(fake_level(m, 9));
    outw(m, 0x600, 1 << 8);
    CHECK_EQ(inw(m, 0x600), 0);
    CHECK(!fake_level(m, 9));
    CHECK(acpi_power_button(m));
    CHECK(fake_level(m, 9));
    CHECK_EQ(inl(m, 0x600), 1 << 24 | 1 << 8);
    m->devices->reset(m->devices);
    CHECK(!fake_level(m, 9));
    CHECK_EQ(inl(m, 0x600), 0);
    fake_free(m);
}

TEST(acpi_pm_4_8_2_1_timer_counts_at_3_58_mhz)
{
    struct machine *m = pc_with(&acpi_pm_class);
    uint32_t a = inl(m, 0x608);
    fake_advance_ns(SECOND);
    CHECK_EQ(inl(m, 0x608) - a, 3579545);
    outl(m, 0x608, 0); /* read-only */
    CHECK(inl(m, 0x608) >= 3579545);
    CHECK_EQ(inw(m, 0x600) & 1, 0);
    fake_advance_ns(600 * SECOND); /* past 2^31 ticks */
    CHECK_EQ(inw(m, 0x600) & 1, 1);
    outw(m, 0x600, 1);
    CHECK_EQ(inw(m, 0x600) & 1, 0);
    fake_free(m);
}

TEST(acpi_pm_no_device_no_button)
{
    struct machine *m = fake_new(4096);
    CHECK(!acpi_power_button(m));
    fake_free(m);
}

/* ---------------------------------------------------------------- pvpanic */

TEST(pvpanic_events)
{
    struct machine *m = pc_with(&pvpanic_class);
    CHECK_EQ(inb(m, 0x505), 3);
    outb(m, 0x505, 2);
    CHECK_EQ(fake_requests(m), 0);
    outb(m, 0x505, 1);
    CHECK_EQ(fake_last_request(m), STOP_PANIC);
    fake_free(m);
}

TEST(legacy_devices_refuse_unknown_options)
{
    static const struct device_class *const all[] = {
        &serial_class, &rtc_class, &i8042_class, &acpi_pm_class,
        &pvpanic_class};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct machine *m = fake_new(4096);
        CHECK(fake_device(m, all[i], all[i]->name, "colour=blue") < 0);
        CHECK_HAS(test_log(), "colour");
        CHECK(m->devices == NULL);
        fake_free(m);
    }
}
