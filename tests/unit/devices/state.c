/* SPDX-License-Identifier: MIT */
/* What every class of device remembers: saved, reset, loaded; each row at its
 * bounds and beyond; bytes from anybody. What a NIC is in the middle of is in
 * its own tests. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "devices/list.h"
#include "tests/unit/fakeblk.h"
#include "tests/unit/records.h"

static const struct device_class *const classes[] = {&serial_class,
                                                     DEVICE_ROWS BOARD_ROWS};

static struct device *last_of(struct machine *m)
{
    struct device *dev = m->devices;
    while (dev->next)
        dev = dev->next;
    return dev;
}

/* Others may run the same test at the same time. */
static const char *vsock_options(void)
{
    static char text[64];
    snprintf(text, sizeof(text), "guest-cid=3,uds_path=/tmp/vmm-state.%d",
             (int)getpid());
    return text;
}

/* One of a machine of its own; NULL: it cannot be made here (vfio, vhost). */
static struct device *one(const struct device_class *cls)
{
    bool nic = fields_find(cls->fields, "netdev");
    bool pci = fields_find(cls->fields, "addr");
    struct machine *m = pci ? fake_pc(4 << 20) : fake_new(4 << 20);
    bool disk = fields_find(cls->fields, "drive");
    netdev_close_all();
    blockdev_close_all();
    if (nic)
        fake_net_new("n0", 1);
    if (disk)
        fake_blk_new(NULL);
    if (fake_device(m, cls, cls->name,
                    nic                          ? "netdev=n0"
                    : disk                       ? "drive=d0"
                    : cls == &serial_class       ? "to=null"
                    : cls == &virtio_vsock_class ? vsock_options()
                    : cls == &vhost_vsock_class  ? "guest-cid=3"
                                                 : ""))
        return NULL;
    fake_run_loop(m);
    return last_of(m);
}

static void end(struct device *dev)
{
    fake_free(dev->m);
    netdev_close_all();
    blockdev_close_all();
}

TEST(state_every_class_is_saved_reset_loaded_and_the_same)
{
    test_timeout(120);
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        struct device *dev = one(classes[i]);
        if (!dev) {
            CHECK(classes[i]->stays || classes[i] == &vhost_vsock_class);
            test_log();
            continue;
        }
        device_hold(dev);
        if (device_save(dev, NULL, 0))
            records_try_all(dev, 31);
        else /* it remembers nothing, and nothing is what it takes */
            CHECK_EQ(device_load(dev, NULL, 0), 0);
        device_resume(dev);
        fake_run_loop(dev->m);
        end(dev);
    }
}

/* The bus has configuration space of its own. */
TEST(state_the_pci_bus_as_every_class)
{
    struct machine *m = fake_pc(4 << 20);
    struct device *bus = m->devices;
    outl(m, 0xcf8, 0x80000004);
    outl(m, 0xcfc, 0x7);
    device_hold(bus);
    records_try_all(bus, 7);
    device_resume(bus);
    CHECK_EQ(inl(m, 0xcf8), 0x80000004);
    CHECK_EQ(inw(m, 0xcfc), 0x7);
    fake_free(m);
}

/* As long as a thing is not remembered, none of its kind exists. */
TEST(state_each_class_but_pvpanic_remembers_something)
{
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        struct device *dev = classes[i]->stays ? NULL : one(classes[i]);
        if (!dev)
            continue;
        device_hold(dev);
        CHECK_EQ(!device_save(dev, NULL, 0), classes[i] == &pvpanic_class);
        end(dev);
    }
}

/* ------------------------------------------------------- the PC's devices */

/* The state of `from` in a new machine's device of its class. */
static struct device *moved(struct device *from)
{
    const struct device_class *cls = from->cls;
    device_hold(from);
    struct records r = records_of(from);
    end(from);
    struct device *to = one(cls);
    REQUIRE(to != NULL);
    device_hold(to);
    CHECK_EQ(records_load(to, &r), 0);
    records_free(&r);
    device_resume(to);
    fake_run_loop(to->m);
    return to;
}

#define SECOND 1000000000ull

TEST(rtc_moves_with_its_time_memory_and_interrupts)
{
    fake_set_wall(1795268262); /* 13:37:42 */
    struct device *dev = one(&rtc_class);
    struct machine *m = dev->m;
    outb(m, 0x70, 4);
    outb(m, 0x71, 0x11); /* two hours less */
    outb(m, 0x70, 0x40);
    outb(m, 0x71, 0x5a);
    outb(m, 0x70, 0x0b);
    outb(m, 0x71, 0x12); /* an interrupt each second */
    fake_run_loop(m);
    device_hold(dev);
    fake_sleep_ns(m, 3 * SECOND);
    CHECK_EQ(fake_irqs(m, 8), 0); /* held */
    dev = moved(dev);
    m = dev->m;
    CHECK_EQ(fake_irqs(m, 8), 1); /* late, and once */
    outb(m, 0x70, 0x0c);
    CHECK_EQ(inb(m, 0x71) & 0xb0, 0x90);
    fake_sleep_ns(m, SECOND);
    CHECK_EQ(fake_irqs(m, 8), 1);
    outb(m, 0x70, 4);
    CHECK_EQ(inb(m, 0x71), 0x11);
    outb(m, 0x70, 0x40);
    CHECK_EQ(inb(m, 0x71), 0x5a);
    end(dev);
}

/* Raised and not looked at: the edge may not have come to the 8259 yet. */
TEST(rtc_interrupt_that_may_be_under_way_is_raised_again)
{
    struct device *dev = one(&rtc_class);
    struct machine *m = dev->m;
    outb(m, 0x70, 0x0b);
    outb(m, 0x71, 0x12);
    fake_run_loop(m);
    fake_sleep_ns(m, SECOND);
    CHECK_EQ(fake_irqs(m, 8), 1);
    device_hold(dev);
    device_resume(dev); /* of the same machine: nothing is lost */
    fake_run_loop(m);
    CHECK_EQ(fake_irqs(m, 8), 0);
    dev = moved(dev);
    CHECK_EQ(fake_irqs(dev->m, 8), 1);
    end(dev);
}

TEST(acpi_pm_timer_stands_still_while_held)
{
    struct device *dev = one(&acpi_pm_class);
    struct machine *m = dev->m;
    fake_advance_ns(700 * SECOND); /* past bit 31, 600 s */
    outw(m, 0x602, 0x0001);
    uint32_t before = inl(m, 0x608);
    CHECK_EQ(before, (uint32_t)(700ull * 3579545));
    CHECK(fake_level(m, 9));
    device_hold(dev);
    fake_advance_ns(50 * SECOND);
    dev = moved(dev);
    m = dev->m;
    CHECK_EQ(inl(m, 0x608), before);
    CHECK(fake_level(m, 9)); /* TMR_STS, as before */
    outw(m, 0x600, 0x0001);
    CHECK(!fake_level(m, 9));
    fake_advance_ns(SECOND);
    CHECK_EQ(inl(m, 0x608), before + 3579545);
    end(dev);
}

TEST(i8042_answers_on_their_way_move)
{
    struct device *dev = one(&i8042_class);
    outb(dev->m, 0x60, 0xf2);
    outb(dev->m, 0x64, 0xd1); /* its data byte is to come */
    outb(dev->m, 0x64, 0x61);
    dev = moved(dev);
    struct machine *m = dev->m;
    CHECK_EQ(inb(m, 0x64) & 1, 1);
    CHECK_EQ(inb(m, 0x60), 0xfa);
    CHECK_EQ(inb(m, 0x60), 0xab);
    CHECK_EQ(inb(m, 0x60), 0x41);
    outb(m, 0x60, 0x5c); /* into RAM byte 1 */
    outb(m, 0x64, 0x21);
    CHECK_EQ(inb(m, 0x60), 0x5c);
    end(dev);
}

TEST(serial_received_bytes_and_registers_move)
{
    struct device *dev = one(&serial_class);
    struct machine *m = dev->m;
    outb(m, 0x3f8 + 2, 0x07); /* FIFOs on */
    outb(m, 0x3f8 + 7, 0x42);
    outb(m, 0x3f8 + 4, 0x10); /* the wire leads back */
    outb(m, 0x3f8, 'a');
    outb(m, 0x3f8, 'b');
    outb(m, 0x3f8 + 4, 0x08);
    outb(m, 0x3f8 + 1, 0x01);
    CHECK_EQ(fake_irqs(m, 4), 1);
    dev = moved(dev);
    m = dev->m;
    CHECK_EQ(fake_irqs(m, 4), 1); /* again: the edge may have been lost */
    CHECK_EQ(inb(m, 0x3f8 + 7), 0x42);
    CHECK_EQ(inb(m, 0x3f8 + 2), 0xc4);
    CHECK_EQ(inb(m, 0x3f8), 'a');
    CHECK_EQ(inb(m, 0x3f8 + 5) & 1, 1);
    CHECK_EQ(inb(m, 0x3f8), 'b');
    CHECK_EQ(inb(m, 0x3f8 + 5) & 1, 0);
    end(dev);
}

TEST(serial_bytes_in_a_fifo_that_is_off_are_refused)
{
    struct device *dev = one(&serial_class);
    device_hold(dev);
    struct records r = records_of(dev);
    records_set(&r, "rx_n", 0, 2);
    CHECK_EQ(records_load(dev, &r), -EINVAL);
    records_set(&r, "fcr", 0, 1);
    CHECK_EQ(records_load(dev, &r), 0);
    records_free(&r);
    end(dev);
}
