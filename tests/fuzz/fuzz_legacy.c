/* SPDX-License-Identifier: MIT */
/* The ports of the PC's old devices, with time passing. */
#include <stdlib.h>

#include "devices/list.h"
#include "devices/pc/pc.h"
#include "tests/fuzz/fuzz.h"

static const struct device_class *const classes[] = {
    &serial_class, &rtc_class, &i8042_class, &acpi_pm_class, &pvpanic_class};

static const uint16_t ports[] = {0x3f8, 0x70,  0x60,  0x64,
                                 0x92,  0x600, 0x505, 0x3fb};

static struct machine *make(void)
{
    struct machine *m = fake_new(65536);
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        CHECK_EQ(fake_device(m, classes[i], "fuzz", i ? "" : "to=none"), 0);
    }
    return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine *m;
    struct fuzz f = {data, size};
    if (!m)
        m = make();
    fake_set_wall(1795268262); /* the same hour for every input */
    fake_reset(m);
    for (int i = 0; f.n && i < 1000; i++) {
        uint8_t b = fuzz_u8(&f);
        unsigned port = ports[b & 7] + (b >> 3 & 7u);
        if (b == 0xff)
            fake_advance_ns((uint64_t)fuzz_u8(&f) << 22), fake_run_loop(m);
        else if (b == 0xfe)
            acpi_power_button(m);
        else if (b & 0x40)
            guest_write(m, true, port, b & 0x80 ? fuzz_width(&f) : 1,
                        fuzz_take(&f, b & 0x80 ? 4 : 1));
        else
            guest_read(m, true, port, b & 0x80 ? fuzz_width(&f) : 1);
    }
    fake_run_loop(m);
    return 0;
}
