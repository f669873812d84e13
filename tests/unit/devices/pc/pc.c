/* SPDX-License-Identifier: MIT */
/* RTC, keyboard controller, ACPI PM, pvpanic. */
#include <errno.h>

#include "devices/list.h"
#include "devices/pc/pc.h"
#include "machine/platform.h"
#include "tests/unit/fake.h"

#define SECOND 1000000000ull

/* Has a device do it; `guid` for those who take one. */
static int verb(struct machine *m, const char *name, const char *guid)
{
    struct opts o;
    struct text out = {0};
    opts_init(&o, name);
    if (guid)
        REQUIRE_EQ(opts_add(&o, "guid", guid), 0);
    test_log();
    int err = machine_do(m, NULL, name, &o, &out);
    CHECK_EQ(out.n, 0);
    opts_free(&o);
    text_free(&out);
    return err;
}

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
    CHECK_EQ(inb(m, 0x60), 0x41); /* 83h, translated */
    outb(m, 0x64, 0x60);
    outb(m, 0x60, 0x04);
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

/* The command byte: interrupts on or off, translated or not. */
static void kbd_mode(struct machine *m, uint8_t command)
{
    outb(m, 0x64, 0x60);
    outb(m, 0x60, command);
}

/* Everything there is to be read, an interrupt for each byte. */
static void kbd_reads(struct machine *m, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        CHECK_EQ(inb(m, 0x64) & 1, 1);
        CHECK_EQ(fake_irqs(m, 1), 1);
        CHECK_EQ(inb(m, 0x60), (uint8_t)bytes[i]);
    }
    CHECK_EQ(inb(m, 0x64) & 1, 0);
    CHECK_EQ(fake_irqs(m, 1), 0);
}

TEST(i8042_irq_1_for_each_byte_if_the_command_byte_says_so)
{
    struct machine *m = pc_with(&i8042_class);
    outb(m, 0x60, 0xf2);
    CHECK_EQ(fake_irqs(m, 1), 0);
    for (int i = 0; i < 3; i++)
        inb(m, 0x60);
    kbd_mode(m, 0x65);
    CHECK_EQ(fake_irqs(m, 1), 0);
    outb(m, 0x60, 0xf2);
    kbd_reads(m, "\xfa\xab\x41", 3);
    outb(m, 0x64, 0xd2); /* as if a key */
    outb(m, 0x60, 0x1e);
    kbd_reads(m, "\x1e", 1);
    kbd_mode(m, 0x64); /* what waits is told when it may be */
    outb(m, 0x60, 0xf4);
    CHECK_EQ(fake_irqs(m, 1), 0);
    kbd_mode(m, 0x65);
    kbd_reads(m, "\xfa", 1);
    fake_free(m);
}

/* The controller's answer comes first, however much the keyboard has; and while
 * the keyboard's clock is held, alone. */
TEST(i8042_answers_come_before_keys)
{
    struct machine *m = pc_with(&i8042_class);
    kbd_mode(m, 0x65);
    CHECK_EQ(verb(m, "ctrl-alt-del", NULL), 0);
    outb(m, 0x64, 0x20);
    CHECK_EQ(inb(m, 0x60), 0x65);
    CHECK_EQ(inb(m, 0x60), 0x1d);
    outb(m, 0x64, 0xad);
    CHECK_EQ(inb(m, 0x64) & 1, 0);
    CHECK_EQ(inb(m, 0x60), 0);
    outb(m, 0x64, 0x20);
    CHECK_EQ(inb(m, 0x60), 0x75);
    fake_irqs(m, 1);
    outb(m, 0x64, 0xae);
    kbd_reads(m, "\x38\xe0\x53\xe0\xd3\xb8\x9d", 7);
    fake_free(m);
}

TEST(i8042_ctrl_alt_del_in_either_set)
{
    struct machine *m = pc_with(&i8042_class);
    kbd_mode(m, 0x65);
    CHECK_EQ(verb(m, "ctrl-alt-del", NULL), 0);
    kbd_reads(m, "\x1d\x38\xe0\x53\xe0\xd3\xb8\x9d", 8);
    kbd_mode(m, 0x05);
    CHECK_EQ(verb(m, "ctrl-alt-del", NULL), 0);
    kbd_reads(m, "\x14\x11\xe0\x71\xe0\xf0\x71\xf0\x11\xf0\x14", 11);
    fake_free(m);
}

/* Nobody would read it, or it does not fit: said, and nothing of it is there.
 */
TEST(i8042_ctrl_alt_del_to_a_guest_that_does_not_listen)
{
    struct machine *m = pc_with(&i8042_class);
    CHECK_EQ(verb(m, "ctrl-alt-del", NULL), -EAGAIN);
    CHECK_HAS(test_log(), "interrupt is off");
    kbd_mode(m, 0x75); /* its clock */
    CHECK_EQ(verb(m, "ctrl-alt-del", NULL), -EAGAIN);
    kbd_mode(m, 0x65);
    outb(m, 0x60, 0xf5);
    CHECK_EQ(inb(m, 0x60), 0xfa);
    CHECK_EQ(verb(m, "ctrl-alt-del", NULL), -EAGAIN);
    outb(m, 0x60, 0xf4);
    CHECK_EQ(inb(m, 0x60), 0xfa);
    fake_irqs(m, 1);
    CHECK_EQ(verb(m, "ctrl-alt-del", NULL), 0);
    CHECK_EQ(verb(m, "ctrl-alt-del", NULL), 0);
    CHECK_EQ(verb(m, "ctrl-alt-del", NULL), -EBUSY);
    CHECK_HAS(test_log(), "not read the keys");
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 8; j++)
            inb(m, 0x60);
    CHECK_EQ(inb(m, 0x64) & 1, 0);
    fake_free(m);
}

/* ---------------------------------------------------------------- VMGenID */

static struct device *vmgenid(struct machine *m, const char *opts)
{
    REQUIRE_EQ(fake_device(m, &acpi_pm_class, "acpi-pm", ""), 0);
    REQUIRE_EQ(fake_device(m, &vmgenid_class, "vmgenid", opts), 0);
    fake_run_loop(m);
    return m->devices->next;
}

#define GUID_TEXT "00112233-4455-6677-8899-aabbccddeeff"
static const uint8_t guid_bytes[16] = {0x33, 0x22, 0x11, 0x00, 0x55, 0x44,
                                       0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb,
                                       0xcc, 0xdd, 0xee, 0xff};

static const uint8_t *guid_of(struct machine *m)
{
    return fake_ram(m, VMGENID_AT, 16);
}

/* As the guest's memory has it, whatever the guest did with it before. */
TEST(vmgenid_is_in_memory_at_each_start)
{
    struct machine *m = fake_new(1 << 20);
    struct device *dev = vmgenid(m, "guid=" GUID_TEXT);
    CHECK_MEM(guid_of(m), guid_bytes, 16);
    memset(fake_ram(m, VMGENID_AT, 16), 0, 16);
    dev->reset(dev);
    CHECK_MEM(guid_of(m), guid_bytes, 16);
    CHECK_EQ(fake_device(m, &vmgenid_class, "vmgenid", ""), -EEXIST);
    fake_free(m);
    struct machine *a = fake_new(1 << 20), *b = fake_new(1 << 20);
    vmgenid(a, "guid=auto");
    vmgenid(b, "");
    CHECK(memcmp(guid_of(a), guid_of(b), 16) != 0);
    CHECK_EQ(fake_device(a, &vmgenid_class, "vmgenid", "guid=1-2"), -EINVAL);
    CHECK_HAS(test_log(), "not a UUID");
    fake_free(a);
    fake_free(b);
}

/* A new one, and the event: of a guest that does not listen yet it waits. */
TEST(vmgenid_a_new_generation_is_told_by_gpe_0)
{
    struct machine *m = fake_new(1 << 20);
    uint8_t before[16];
    vmgenid(m, "");
    memcpy(before, guid_of(m), 16);
    CHECK_EQ(verb(m, "new-generation", NULL), 0);
    CHECK(memcmp(guid_of(m), before, 16) != 0);
    CHECK_EQ(inb(m, PORT_GPE0), 1);
    CHECK(!fake_level(m, IRQ_SCI));
    outb(m, PORT_GPE0 + 1, 1);
    CHECK_EQ(inw(m, PORT_GPE0), 0x0101);
    CHECK(fake_level(m, IRQ_SCI));
    outb(m, PORT_GPE0, 1);
    CHECK(!fake_level(m, IRQ_SCI));
    CHECK_EQ(verb(m, "new-generation", GUID_TEXT), 0);
    CHECK_MEM(guid_of(m), guid_bytes, 16);
    CHECK(fake_level(m, IRQ_SCI));
    CHECK_EQ(verb(m, "new-generation", "x"), -EINVAL);
    CHECK_MEM(guid_of(m), guid_bytes, 16);
    fake_free(m);
}

/* Whoever goes on from a saved state has another one, and is told; a pause is
 * nothing of the kind. */
TEST(vmgenid_a_state_that_is_loaded_is_another_generation)
{
    struct machine *m = fake_new(1 << 20);
    struct device *dev = vmgenid(m, "");
    uint8_t before[16], bytes[256];
    memcpy(before, guid_of(m), 16);
    device_hold(dev);
    device_resume(dev);
    CHECK_MEM(guid_of(m), before, 16);
    device_hold(dev);
    size_t n = device_save(dev, bytes, sizeof(bytes));
    CHECK_EQ(device_load(dev, bytes, n), 0);
    CHECK_EQ(inb(m, PORT_GPE0), 0);
    device_resume(dev);
    CHECK(memcmp(guid_of(m), before, 16) != 0);
    CHECK_EQ(inb(m, PORT_GPE0), 1);
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
