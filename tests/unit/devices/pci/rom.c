/* SPDX-License-Identifier: MIT */
/* romfile=: a file behind the ROM BAR (PCI 3.0 §6.2.5.2). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/list.h"
#include "tests/unit/fakevirtio.h"

#define ROM_BAR 0x30 /* register */

static const char *rom_file(size_t len)
{
    static char path[64];
    snprintf(path, sizeof(path), "/tmp/vmm-unit-rom.%d", (int)getpid());
    FILE *f = fopen(path, "w");
    REQUIRE(f != NULL);
    for (size_t i = 0; i < len; i++)
        fputc(i == 0 ? 0x55 : i == 1 ? 0xaa : (int)(i * 7 & 0xff), f);
    fclose(f);
    return path;
}

static struct machine *with_rom(const char *path, int *err)
{
    struct machine *m = fake_pc(4096);
    char text[200];
    netdev_close_all();
    fake_net_new("n0", 1);
    snprintf(text, sizeof(text), "netdev=n0,addr=3,romfile=%s", path);
    *err = fake_device(m, &virtio_net_class, "virtio", text);
    return m;
}

static void end(struct machine *m, const char *path)
{
    fake_free(m);
    netdev_close_all();
    if (path)
        unlink(path);
}

/* Sized as the next power of two, mapped where the BAR says and only while it
 * is enabled, ones behind the file's end. */
TEST(pci_6_2_5_2_rom_is_mapped_while_enabled)
{
    int err;
    const char *path = rom_file(5000);
    struct machine *m = with_rom(path, &err);
    REQUIRE_EQ(err, 0);
    drv_cfg_write(m, 3, ROM_BAR, 4, 0xfffffffe);
    CHECK_EQ(drv_cfg_read(m, 3, ROM_BAR, 4), 0xffffe000); /* 8 KiB */
    drv_cfg_write(m, 3, PCI_COMMAND, 2, PCI_CMD_MEM);
    drv_cfg_write(m, 3, ROM_BAR, 4, 0xd0000000);
    CHECK(fake_mapped(m, 0xd0000000) == NULL);
    drv_cfg_write(m, 3, ROM_BAR, 4, 0xd0000001);
    const uint8_t *p = fake_mapped(m, 0xd0000000);
    REQUIRE(p != NULL);
    CHECK_EQ(p[0], 0x55);
    CHECK_EQ(p[1], 0xaa);
    CHECK_EQ(p[4999], 4999 * 7 & 0xff);
    CHECK_EQ(p[5000], 0xff);
    CHECK_EQ(p[8191], 0xff);
    drv_cfg_write(m, 3, ROM_BAR, 4, 0xd1000001); /* it moves */
    CHECK(fake_mapped(m, 0xd0000000) == NULL);
    CHECK(fake_mapped(m, 0xd1000000) == p);
    drv_cfg_write(m, 3, PCI_COMMAND, 2, 0);
    CHECK(fake_mapped(m, 0xd1000000) == NULL);
    end(m, path);
}

static void refused(const char *path, const char *why)
{
    int err;
    struct machine *m = with_rom(path, &err);
    CHECK(err < 0);
    CHECK_HAS(test_log(), why);
    end(m, NULL);
}

TEST(pci_rom_files_that_are_none)
{
    refused("/nonexistent", "romfile=/nonexistent: No such file");
    refused("/tmp", "not a file of 1 byte to 16 MiB");
    refused("/etc/passwd", "not an option ROM");
    const char *path = rom_file(0);
    refused(path, "not a file of 1 byte");
    path = rom_file(1);
    refused(path, "not an option ROM");
    path = rom_file(100);
    CHECK_EQ(truncate(path, (16 << 20) + 1), 0);
    refused(path, "not a file of 1 byte to 16 MiB");
    unlink(path);
}

TEST(pci_rom_empty_name_is_no_rom)
{
    int err;
    struct machine *m = with_rom("", &err);
    CHECK_EQ(err, 0);
    drv_cfg_write(m, 3, ROM_BAR, 4, 0xffffffff);
    CHECK_EQ(drv_cfg_read(m, 3, ROM_BAR, 4), 0);
    end(m, NULL);
}

/* A file that goes or changes between the look and the load. */
TEST(pci_rom_file_that_goes_away)
{
    struct pci_fn fn = {0};
    fn.romfile = "/nonexistent";
    CHECK_EQ(pci_rom_load(&fn), -ENOENT);
    CHECK_HAS(test_log(), "romfile=/nonexistent: No such file");
    const char *path = rom_file(0);
    fn.romfile = path;
    CHECK_EQ(pci_rom_load(&fn), -EFBIG);
    unlink(path);
    fn.romfile = "/proc/self/mem"; /* has no length */
    CHECK(pci_rom_load(&fn) < 0);
}
