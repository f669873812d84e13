/* SPDX-License-Identifier: MIT */
/* machine/boot/boot.c and linux.c against crafted bzImages. Section names
 * are those of Linux's boot.rst. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine/boot/handoff.h"
#include "machine/boot/place.h"
#include "tests/unit/machine/boot/kit.h"

#define MB (1ull << 20)

/* Boots `k` on 16 MiB and frees it; what was said is in test_log(). */
static int boot_small(struct kit_bzimage k, struct boot b, struct boot_entry *e)
{
    struct machine *m = fake_new(16 * MB);
    int err = kit_boot(m, b, k.bytes, k.n, e);

    free(k.bytes);
    fake_free(m);
    return err;
}

/* One field spoiled: boot must fail and the one line must say `why`. */
#define SPOILED(why, ...)                                                      \
    do {                                                                       \
        struct boot_entry e_;                                                  \
        struct kit_bzimage k = kit_bzimage();                                  \
        __VA_ARGS__;                                                           \
        CHECK_EQ(boot_small(k, (struct boot){0}, &e_), -EINVAL);               \
        CHECK_HAS(test_log(), why);                                            \
    } while (0)

TEST(boot_64_bit_protocol_entry)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_bzimage k = kit_bzimage();
    struct boot_entry e;
    const uint8_t *p;
    const uint64_t *table;

    memset(fake_ram(m, 0x7000, 0x3000), 0xff, 0x3000); /* the last run's */
    REQUIRE_EQ(kit_boot(m, (struct boot){.cmdline = "a=b"}, k.bytes, k.n, &e),
               0);
    CHECK_EQ(e.bits, 64);
    CHECK_EQ(e.rip, 0x200200);
    CHECK_EQ(e.rsi, LOW_PARAMS);
    CHECK_EQ(e.cs, 0x10);
    CHECK_EQ(e.ds, 0x18);
    CHECK_MEM(fake_ram(m, 0x200000, KIT_PAYLOAD), k.bytes + KIT_SETUP,
              KIT_PAYLOAD);
    table = fake_ram(m, e.gdt, e.gdt_limit + 1);
    CHECK_EQ(table[2], 0x00af9b000000ffff); /* L, not D */
    table = fake_ram(m, e.cr3, 4096);
    CHECK_EQ(table[0] & 1, 1);
    CHECK_EQ(table[1], 0);
    table = fake_ram(m, e.cr3 + 0x2000, 4 * 4096);
    for (uint64_t i = 0; i < 2048; i++)
        REQUIRE_EQ(table[i], i << 21 | 0x87);
    p = fake_ram(m, LOW_PARAMS, 4096);
    CHECK_EQ(p[0x1ef], 0); /* sentinel */
    CHECK_EQ(kit_get32(p, 0x202), 0x53726448);
    CHECK_EQ(p[0x210], 0xff);
    CHECK_EQ(kit_get32(p, 0x214), 0x200000);
    CHECK_EQ(kit_get32(p, 0x228), LOW_CMDLINE);
    CHECK_EQ(kit_get32(p, 0x26c), 0); /* behind the header */
    CHECK_STR((char *)fake_ram(m, LOW_CMDLINE, 4), "a=b");
    CHECK_MEM(fake_ram(m, kit_get64(p, 0x70), 8), "RSD PTR ", 8);
    CHECK_EQ(p[0x1e8], 7);
    CHECK_EQ(kit_get64(p, 0x2d0 + 3 * 20), 0x100000);
    CHECK_EQ(kit_get64(p, 0x2d0 + 3 * 20 + 8), 15 * MB);
    free(k.bytes);
    fake_free(m);
}

TEST(boot_32_bit_protocol_entry)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_bzimage k = kit_bzimage();
    struct boot_entry e;
    const uint64_t *gdt;

    REQUIRE_EQ(kit_boot(m, (struct boot){.entry = 32}, k.bytes, k.n, &e), 0);
    CHECK_EQ(e.bits, 32);
    CHECK_EQ(e.rip, 0x200000);
    CHECK_EQ(e.rsi, LOW_PARAMS);
    CHECK_EQ(e.rbx, 0);
    gdt = fake_ram(m, e.gdt, e.gdt_limit + 1);
    CHECK_EQ(gdt[2], 0x00cf9b000000ffff);
    CHECK_EQ(gdt[3], 0x00cf93000000ffff);
    free(k.bytes);
    fake_free(m);
}

TEST(boot_running_the_kernel_16_bit_entry)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_bzimage k = kit_bzimage();
    struct kit_file rd = kit_file("initrd", 6);
    struct boot_entry e;
    const struct handoff *h;
    const uint8_t *x;

    REQUIRE_EQ(
        kit_boot(
            m, (struct boot){.entry = 16, .cmdline = "auto", .initrd = rd.path},
            k.bytes, k.n, &e),
        0);
    CHECK_EQ(e.bits, 16);
    CHECK_EQ(e.cs, 0xf000);
    CHECK_EQ(e.rip, 0xfff0);
    h = fake_ram(m, 0xff000, sizeof(*h));
    CHECK_EQ(h->kind, HANDOFF_LINUX);
    CHECK_EQ(h->kernel_cs, 0x1020);
    CHECK_EQ(h->kernel_ds, 0x1000);
    CHECK_EQ(h->kernel_sp, 0xe000);
    CHECK_EQ(h->nmap, 7);
    CHECK_MEM(h->smbios, "_SM_", 4);
    x = fake_ram(m, 0x10000, 0x10000);
    CHECK_EQ(x[0x211], 0x81); /* CAN_USE_HEAP */
    CHECK_EQ(kit_get32(x, 0x224) & 0xffff, 0xde00);
    CHECK_EQ(kit_get32(x, 0x228), 0x1e000);
    CHECK_STR((const char *)x + 0xe000, "auto");
    CHECK_EQ(kit_get32(x, 0x214), 0x100000); /* not ours to change */
    CHECK_EQ(kit_get32(x, 0x218), 16 * MB - 4096);
    CHECK_EQ(kit_get32(x, 0x21c), 6);
    CHECK_MEM(fake_ram(m, 0x100000, 4), k.bytes + KIT_SETUP, 4);
    free(k.bytes);
    kit_close(&rd);
    fake_free(m);
}

TEST(boot_entry_is_the_best_the_image_offers)
{
    struct boot_entry e;
    struct kit_bzimage k = kit_bzimage();

    kit_put16(k.bytes, 0x236, 0);
    CHECK_EQ(boot_small(k, (struct boot){0}, &e), 0);
    CHECK_EQ(e.bits, 32);
    k = kit_bzimage();
    kit_put16(k.bytes, 0x206, 0x207); /* as iPXE: no init_size yet */
    CHECK_EQ(boot_small(k, (struct boot){0}, &e), 0);
    CHECK_EQ(e.bits, 16);
    k = kit_bzimage();
    kit_put16(k.bytes, 0x236, 0);
    CHECK_EQ(boot_small(k, (struct boot){.entry = 64}, &e), -EINVAL);
    CHECK_HAS(test_log(), "no 64-bit entry");
}

TEST(boot_zimage_goes_below_640k)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_bzimage k = kit_bzimage();
    struct boot_entry e;
    const struct handoff *h = fake_ram(m, 0xff000, sizeof(*h));

    kit_put16(k.bytes, 0x206, 0x201);
    k.bytes[0x211] = 0;
    REQUIRE_EQ(kit_boot(m, (struct boot){0}, k.bytes, k.n, &e), 0);
    CHECK_EQ(h->kernel_ds, 0x9000);
    CHECK_MEM(fake_ram(m, 0x10000, 4), k.bytes + KIT_SETUP, 4);
    CHECK_EQ(kit_get32(fake_ram(m, 0x90020, 4), 0), 0xe000a33f);
    CHECK_EQ(kit_boot(m, (struct boot){.entry = 32}, k.bytes, k.n, &e),
             -EINVAL);
    CHECK_HAS(test_log(), "real mode only");
    free(k.bytes);
    fake_free(m);
}

TEST(boot_relocatable_kernel_moves_to_its_alignment)
{
    struct boot_entry e;
    struct kit_bzimage good = kit_bzimage();

    kit_put64(good.bytes, 0x258, 0x123456);
    CHECK_EQ(boot_small(good, (struct boot){0}, &e), 0);
    CHECK_EQ(e.rip, 0x200200);
    good = kit_bzimage();
    kit_put64(good.bytes, 0x258, 0x1000); /* low memory is ours */
    CHECK_EQ(boot_small(good, (struct boot){0}, &e), 0);
    CHECK_EQ(e.rip, 0x200200);
    SPOILED("needs", k.bytes[0x234] = 0; kit_put64(k.bytes, 0x258, 0x1000));
}

TEST(boot_header_truncated_setup)
{
    SPOILED("truncated", k.n = KIT_SETUP - 1);
    SPOILED("truncated", k.n = KIT_SETUP);
    SPOILED("truncated", k.n = 0x206);
    SPOILED("not a kernel", k.n = 0x205);
    SPOILED("not a kernel", k.n = 0);
}

TEST(boot_header_truncated_kernel)
{
    SPOILED("truncated: the header promises 10737 bytes, the file has 10736",
            k.n -= 16);
    SPOILED("truncated", kit_put32(k.bytes, 0x1f4, 0xffffffff));
    SPOILED("truncated", kit_put32(k.bytes, 0x248, 4096);
            kit_put32(k.bytes, 0x24c, 4097));
    SPOILED("truncated", kit_put32(k.bytes, 0x248, 0xffffffff);
            kit_put32(k.bytes, 0x24c, 0xffffffff));
}

TEST(boot_header_setup_sects)
{
    struct boot_entry e;
    struct kit_bzimage good = kit_bzimage();

    SPOILED("255 sectors of setup", k.bytes[0x1f1] = 255);
    SPOILED("65 sectors of setup", k.bytes[0x1f1] = 65);
    good.bytes[0x1f1] = 0; /* means 4 */
    CHECK_EQ(boot_small(good, (struct boot){0}, &e), 0);
}

TEST(boot_header_end)
{
    SPOILED("damaged header", k.bytes[0x201] = 0);
    SPOILED("ends at 0x203", k.bytes[0x201] = 1);
    SPOILED("truncated", k.bytes[0x1f1] = 1; k.bytes[0x201] = 0xff;
            k.n = 0x300);
}

TEST(boot_header_versions)
{
    SPOILED("boot protocol 1.ff is older", kit_put16(k.bytes, 0x206, 0x1ff));
    SPOILED("kernel_alignment", kit_put32(k.bytes, 0x230, 0x300000));
}

TEST(boot_header_init_size_huge)
{
    SPOILED("needs 4098 MiB of guest RAM",
            kit_put32(k.bytes, 0x260, 0xffffffff));
    SPOILED("needs", kit_put64(k.bytes, 0x258, ~0ull << 21));
    SPOILED("needs", kit_put64(k.bytes, 0x258, 16 * MB));
    SPOILED("needs", kit_put64(k.bytes, 0x258, 0x100000000));
}

TEST(boot_kernel_command_line_limits)
{
    struct boot_entry e;
    static char text[70000];
    struct kit_bzimage k = kit_bzimage();

    memset(text, 'x', sizeof(text) - 1);
    text[255] = 0;
    CHECK_EQ(boot_small(k, (struct boot){.cmdline = text}, &e), 0);
    text[255] = 'x';
    text[256] = 0;
    CHECK_EQ(boot_small(kit_bzimage(), (struct boot){.cmdline = text}, &e),
             -EINVAL);
    CHECK_HAS(test_log(), "-append is 256 characters long, this kernel takes "
                          "255");
    k = kit_bzimage();
    CHECK_EQ(boot_small(k, (struct boot){.cmdline = text, .entry = 16}, &e),
             -EINVAL);
    k = kit_bzimage();
    kit_put32(k.bytes, 0x238, 0);
    CHECK_EQ(boot_small(k, (struct boot){.cmdline = "x"}, &e), -EINVAL);
    CHECK_HAS(test_log(), "takes 0");
    text[256] = 'x'; /* 64 KiB and more */
    for (int bits = 16; bits <= 64; bits *= 2) {
        k = kit_bzimage();
        kit_put32(k.bytes, 0x238, 0xffffffff);
        CHECK_EQ(
            boot_small(k, (struct boot){.cmdline = text, .entry = bits}, &e),
            bits == 16 ? -EINVAL : 0);
    }
}

/* Documentation/arch/x86/boot.rst "kernel_version"; the text itself is made by
 * arch/x86/boot/version.c. iPXE takes an unknown command line for its script.
 */
TEST(boot_console_is_the_default_of_a_linux_only)
{
    static const struct {
        const char *version, *want;
    } image[] = {
        {"6.1.0-18-amd64 (debian-kernel@lists.debian.org) #1 SMP",
         "console=ttyS0"},
        {"2.4.27 (root@(none)) #1 Thu", "console=ttyS0"},
        {"1.0.0+git-20190125.36a4c85-5.1", ""},
        {"MEMDISK 6.04 (2019)", ""},
        {"x (y@z) 1", ""},
        {"", ""},
    };

    for (unsigned i = 0; i < ARRAY_LEN(image); i++) {
        for (int bits = 16; bits <= 64; bits *= 2) {
            struct machine *m = fake_new(16 * MB);
            struct boot_entry e;
            struct kit_bzimage k = kit_bzimage();
            kit_put16(k.bytes, 0x20e, *image[i].version ? 0x100 : 0);
            memcpy(k.bytes + 0x300, image[i].version,
                   strlen(image[i].version) + 1);
            REQUIRE_EQ(
                kit_boot(m, (struct boot){.entry = bits}, k.bytes, k.n, &e), 0);
            CHECK_STR(
                (char *)fake_ram(
                    m, bits == 16 ? LOW_REALMODE + 0xe000 : LOW_CMDLINE, 32),
                image[i].want);
            free(k.bytes);
            fake_free(m);
        }
    }
}

/* The text ends where the setup does, with or without a NUL. */
TEST(boot_kernel_version_at_the_end_of_setup)
{
    for (unsigned at = KIT_SETUP - 12; at <= KIT_SETUP + 1; at++) {
        struct machine *m = fake_new(16 * MB);
        struct boot_entry e;
        struct kit_bzimage k = kit_bzimage();
        kit_put16(k.bytes, 0x20e, (uint16_t)(at - 0x200));
        memcpy(k.bytes + KIT_SETUP - 12, "6 (a@b) #1  ", 12);
        memcpy(k.bytes + KIT_SETUP, " 6 (a@b) #1 ", 12); /* the kernel's */
        REQUIRE_EQ(kit_boot(m, (struct boot){0}, k.bytes, k.n, &e), 0);
        CHECK_STR((char *)fake_ram(m, LOW_CMDLINE, 32),
                  at < KIT_SETUP - 10 ? "console=ttyS0" : "");
        free(k.bytes);
        fake_free(m);
    }
}

/* ------------------------------------------------------------------ initrd */

TEST(boot_ramdisk_as_high_as_it_can)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_bzimage k = kit_bzimage();
    struct kit_file a = kit_file("12345", 5), b = kit_file("67", 2);
    char both[80];
    struct boot_entry e;
    const uint8_t *p = fake_ram(m, LOW_PARAMS, 4096);

    snprintf(both, sizeof(both), "%s,%s", a.path, b.path);
    REQUIRE_EQ(kit_boot(m, (struct boot){.initrd = both}, k.bytes, k.n, &e), 0);
    CHECK_EQ(kit_get32(p, 0x218), 16 * MB - 4096);
    CHECK_EQ(kit_get32(p, 0x21c), 10);
    CHECK_MEM(fake_ram(m, 16 * MB - 4096, 10), "12345\0\0\00067", 10);
    kit_put32(k.bytes, 0x22c, 8 * MB - 1);
    REQUIRE_EQ(kit_boot(m, (struct boot){.initrd = b.path}, k.bytes, k.n, &e),
               0);
    CHECK_EQ(kit_get32(p, 0x218), 8 * MB - 4096);
    kit_close(&a);
    kit_close(&b);
    free(k.bytes);
    fake_free(m);
}

TEST(boot_ramdisk_does_not_fit)
{
    struct kit_file rd = kit_sparse(13 * MB), huge = kit_sparse(1ull << 45);
    struct kit_file big = kit_sparse(2048 * MB - 3 * MB);
    struct boot_entry e;
    struct kit_bzimage k = kit_bzimage();

    CHECK_EQ(boot_small(k, (struct boot){.initrd = rd.path}, &e), 0);
    kit_put32((k = kit_bzimage()).bytes, 0x260, 0x100001); /* one byte more */
    CHECK_EQ(boot_small(k, (struct boot){.initrd = rd.path}, &e), -EINVAL);
    CHECK_HAS(test_log(), "13312 KiB do not fit: the kernel leaves 13311 KiB "
                          "of guest RAM for it; raise -m\n");
    CHECK_EQ(boot_small(kit_bzimage(), (struct boot){.initrd = huge.path}, &e),
             -EINVAL);
    kit_put32((k = kit_bzimage()).bytes, 0x22c, 0x1000);
    CHECK_EQ(boot_small(k, (struct boot){.initrd = rd.path}, &e), -EINVAL);
    CHECK_HAS(test_log(), "leaves 0 KiB of guest RAM for it; raise -m\n");
    /* The same by an entry that reaches nothing above 4 GiB. */
    kit_put32((k = kit_bzimage()).bytes, 0x22c, 0x1000);
    CHECK_EQ(boot_small(k, (struct boot){.initrd = rd.path, .entry = 32}, &e),
             -EINVAL);
    CHECK_HAS(test_log(), "leaves 0 KiB of guest RAM for it, and hardly more");
    CHECK_EQ(boot_small(kit_bzimage(),
                        (struct boot){.initrd = huge.path, .entry = 32}, &e),
             -EINVAL);
    CHECK_HAS(test_log(), "with any -m\n");
    CHECK_EQ(boot_small(kit_bzimage(),
                        (struct boot){.initrd = big.path, .entry = 32}, &e),
             -EINVAL);
    CHECK_HAS(test_log(), "raise -m\n");
    kit_close(&big);
    kit_close(&rd);
    kit_close(&huge);
}

TEST(boot_ramdisk_above_4g)
{
    struct machine *m = fake_new2(16 * MB, HIGHRAM_BASE, 32 * MB);
    struct kit_bzimage k = kit_bzimage();
    struct kit_file rd = kit_sparse(20 * MB);
    struct boot_entry e;
    const uint8_t *p = fake_ram(m, LOW_PARAMS, 4096);

    REQUIRE_EQ(kit_boot(m, (struct boot){.initrd = rd.path}, k.bytes, k.n, &e),
               0);
    CHECK_EQ(kit_get32(p, 0x218), 12 * MB);
    CHECK_EQ(kit_get32(p, 0xc0), 1);
    CHECK_EQ(kit_get32(p, 0x21c), 20 * MB);
    CHECK_EQ(p[0x1e8], 8);
    CHECK_EQ(kit_boot(m, (struct boot){.initrd = rd.path, .entry = 32}, k.bytes,
                      k.n, &e),
             -EINVAL);
    kit_put16(k.bytes, 0x236, 1); /* cannot */
    CHECK_EQ(kit_boot(m, (struct boot){.initrd = rd.path}, k.bytes, k.n, &e),
             -EINVAL);
    kit_close(&rd);
    free(k.bytes);
    fake_free(m);
}

TEST(boot_ramdisk_empty)
{
    struct kit_file rd = kit_file("", 0);
    struct boot_entry e;

    CHECK_EQ(boot_small(kit_bzimage(), (struct boot){.initrd = rd.path}, &e),
             0);
    kit_close(&rd);
}

/* ------------------------------------------------------------------- files */

TEST(boot_files_that_cannot_be)
{
    struct machine *m = fake_new(16 * MB);
    struct boot_entry e;
    struct boot b = {.kernel = "/no/such/kernel", .cmdline = ""};

    CHECK_EQ(boot_load(m, &b, &e), -ENOENT);
    CHECK_STR(test_log(), "vmm: -kernel /no/such/kernel: No such file or "
                          "directory\n");
    CHECK(!b.files);
    b.kernel = "/tmp";
    CHECK_EQ(boot_load(m, &b, &e), -EISDIR);
    b.kernel = "/dev/null";
    CHECK_EQ(boot_load(m, &b, &e), -EINVAL);
    CHECK_HAS(test_log(), "neither a file nor a pipe");
    b.kernel = NULL; /* kit.c's guest is none */
    CHECK_EQ(boot_load(m, &b, &e), -EINVAL);
    boot_close(&b);
    boot_close(&b);
    fake_free(m);
}

TEST(boot_reset_needs_no_file_any_more)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_bzimage k = kit_bzimage();
    char path[] = "/tmp/vmm-boot-XXXXXX";
    int fd = mkstemp(path);
    struct boot b = {.kernel = path, .cmdline = ""};
    struct boot_entry e;

    REQUIRE(write(fd, k.bytes, k.n) == (ssize_t)k.n);
    CHECK_EQ(boot_load(m, &b, &e), 0);
    unlink(path);
    memset(fake_ram(m, 0, 16 * MB), 0x5a, 16 * MB);
    CHECK_EQ(boot_load(m, &b, &e), 0);
    CHECK_MEM(fake_ram(m, 0x200000, KIT_PAYLOAD), k.bytes + KIT_SETUP,
              KIT_PAYLOAD);
    REQUIRE_EQ(ftruncate(fd, 4000), 0); /* cut short under us */
    CHECK_EQ(boot_load(m, &b, &e), -EINVAL);
    CHECK_HAS(test_log(), "shorter");
    boot_close(&b);
    close(fd);
    free(k.bytes);
    fake_free(m);
}

TEST(boot_kernel_from_a_pipe)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_bzimage k = kit_bzimage();
    char path[32];
    struct boot_entry e;
    int p[2];

    REQUIRE_EQ(pipe(p), 0);
    REQUIRE(write(p[1], k.bytes, k.n) == (ssize_t)k.n);
    close(p[1]);
    snprintf(path, sizeof(path), "/dev/fd/%d", p[0]);
    struct boot b = {.kernel = path, .cmdline = ""};
    CHECK_EQ(boot_load(m, &b, &e), 0);
    CHECK_EQ(boot_load(m, &b, &e), 0);
    boot_close(&b);
    close(p[0]);
    free(k.bytes);
    fake_free(m);
}

/* "Details of Header Fields": a header that reaches beyond what we know, and a
 * zImage with an initrd, which goes above 1 MiB. */
TEST(boot_header_longer_than_known_and_zimage_with_initrd)
{
    struct kit_file rd = kit_file("initrd", 6);
    struct machine *m = fake_new(16 * MB);
    struct kit_bzimage k = kit_bzimage();
    struct boot_entry e;

    k.bytes[0x201] = 0xff;
    memset(k.bytes + 0x290, 0xee, 0x71); /* lies at the e820 map's place */
    REQUIRE_EQ(kit_boot(m, (struct boot){0}, k.bytes, k.n, &e), 0);
    CHECK(*(uint8_t *)fake_ram(m, LOW_PARAMS + 0x290, 1) != 0xee);
    free(k.bytes);
    k = kit_bzimage();
    k.bytes[0x211] = 0;
    kit_put64(k.bytes, 0x258, 0);
    kit_put32(k.bytes, 0x260, 0);
    REQUIRE_EQ(kit_boot(m, (struct boot){.initrd = rd.path}, k.bytes, k.n, &e),
               0);
    CHECK_EQ(kit_get32(fake_ram(m, 0x90000, 0x300), 0x218), 16 * MB - 4096);
    kit_put32(k.bytes, 0x22c, MB + 4095); /* up to 1 MiB and a page less one */
    CHECK_EQ(kit_boot(m, (struct boot){.initrd = rd.path}, k.bytes, k.n, &e),
             0);
    kit_put32(k.bytes, 0x22c, MB - 1);
    CHECK_EQ(kit_boot(m, (struct boot){.initrd = rd.path}, k.bytes, k.n, &e),
             -EINVAL);
    CHECK_HAS(test_log(), "leaves 0 KiB");
    free(k.bytes);
    kit_close(&rd);
    fake_free(m);
}

/* "init_size": up to the last byte of RAM, and one more. */
TEST(boot_header_init_size_ends_with_ram)
{
    struct boot_entry e;

    for (uint32_t over = 0; over < 2; over++) {
        struct kit_bzimage k = kit_bzimage();
        kit_put32(k.bytes, 0x260, 14 * MB + over);
        CHECK_EQ(boot_small(k, (struct boot){0}, &e), over ? -EINVAL : 0);
    }
    CHECK_HAS(test_log(), "needs 17 MiB of guest RAM");
}

TEST(boot_image_reads_end_with_the_image)
{
    static const uint8_t bytes[] = {1, 2, 3};
    struct image img;
    uint8_t to[4] = {0};

    image_from_memory(&img, "-kernel", "x", bytes, sizeof(bytes));
    CHECK_EQ(image_read(&img, 1, to, 2), 0);
    CHECK_EQ(to[1], 3);
    CHECK_EQ(image_read(&img, 3, to, 0), 0);
    CHECK_EQ(image_read(&img, 1, to, 3), -EINVAL);
    CHECK_HAS(test_log(), "truncated: bytes 1 to 4 are wanted");
    CHECK_EQ(image_read(&img, 4, to, 0), -EINVAL);
    CHECK_EQ(image_read(&img, UINT64_MAX, to, 2), -EINVAL);
}

TEST(boot_zimage_too_large)
{
    struct machine *m = fake_new(16 * MB);
    struct boot_entry e;

    for (uint64_t over = 0; over < 2; over++) {
        struct kit_bzimage k = kit_bzimage();
        struct kit_file f = kit_file(k.bytes, k.n);
        struct boot b = {.kernel = f.path};
        k.bytes[0x211] = 0;
        kit_put32(k.bytes, 0x260, 0);
        REQUIRE(pwrite(f.fd, k.bytes, k.n, 0) == (ssize_t)k.n);
        REQUIRE_EQ(ftruncate(f.fd, (off_t)(KIT_SETUP + 0x80000 + over)), 0);
        CHECK_EQ(boot_load(m, &b, &e), over ? -EINVAL : 0);
        if (over)
            CHECK_HAS(test_log(), "does not fit below 640 KiB");
        boot_close(&b);
        kit_close(&f);
        free(k.bytes);
    }
    fake_free(m);
}

TEST(boot_initrd_files_have_a_limit)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_bzimage k = kit_bzimage();
    struct kit_file rd = kit_file("rd", 2);
    char list[33 * 40] = "";
    struct boot_entry e;

    for (int i = 0; i < INITRDS_MAX; i++) {
        strcat(list, i ? "," : "");
        strcat(list, rd.path);
    }
    CHECK_EQ(kit_boot(m, (struct boot){.initrd = list}, k.bytes, k.n, &e), 0);
    CHECK_EQ(kit_get32(fake_ram(m, LOW_PARAMS, 4096), 0x21c),
             31 * 4 + 2); /* one behind the other, at multiples of 4 */
    strcat(list, ",x");
    CHECK_EQ(kit_boot(m, (struct boot){.initrd = list}, k.bytes, k.n, &e),
             -EINVAL);
    CHECK_HAS(test_log(), "more than 32 files");
    kit_close(&rd);
    free(k.bytes);
    fake_free(m);
}

TEST(boot_initrd_list_with_commas)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_bzimage k = kit_bzimage();
    struct boot_entry e;

    CHECK_EQ(
        kit_boot(m, (struct boot){.initrd = "/no,,such,/b"}, k.bytes, k.n, &e),
        -ENOENT);
    CHECK_HAS(test_log(), "-initrd /no,such: No such");
    free(k.bytes);
    fake_free(m);
}

/* --------------------------------------------------------------------- ROM */

TEST(boot_rom_is_mapped_below_4g)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_bzimage k = kit_bzimage();
    struct boot_entry e;

    REQUIRE_EQ(kit_boot(m, (struct boot){0}, k.bytes, k.n, &e), 0);
    CHECK(fake_mapped(m, 0xfffff000) == fake_ram(m, 0xff000, 4096));
    CHECK_EQ(*(uint8_t *)fake_ram(m, 0x9fc00, 1), 1);
    CHECK_EQ(kit_get32(fake_ram(m, 0x40e, 8), 0) & 0xffff, 0x9fc0);
    CHECK_EQ(kit_get32(fake_ram(m, 0x413, 4), 0) & 0xffff, 639);
    CHECK_EQ(kit_get32(fake_ram(m, 4 * 0xff, 4), 0), 0xf000f800);
    free(k.bytes);
    fake_free(m);
}

TEST(boot_rom_of_somebody_else)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_bzimage k = kit_bzimage();
    struct kit_file rom = kit_sparse(256 << 10), odd = kit_sparse(1000);
    struct boot b = {.bios = rom.path, .cmdline = ""};
    struct boot_entry e;

    CHECK_EQ(boot_load(m, &b, &e), 0);
    CHECK_EQ(e.bits, 16);
    CHECK_EQ(e.cs, 0xf000);
    CHECK(fake_mapped(m, 0xfffc0000) != NULL);
    CHECK_EQ(boot_load(m, &b, &e), 0);
    boot_close(&b);
    CHECK_EQ(kit_boot(m, (struct boot){.bios = rom.path, .entry = 16}, k.bytes,
                      k.n, &e),
             -EINVAL);
    CHECK_HAS(test_log(), "not vmm's own");
    CHECK_EQ(kit_boot(m, (struct boot){.bios = odd.path}, k.bytes, k.n, &e),
             -EINVAL);
    CHECK_HAS(test_log(), "is no ROM");
    kit_close(&rom);
    kit_close(&odd);
    free(k.bytes);
    fake_free(m);
}

/* A ROM of ours with nothing to boot says so. */
TEST(boot_own_rom_without_a_kernel)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_file rom =
        kit_file(bios_image, (size_t)(bios_image_end - bios_image));
    struct boot b = {.bios = rom.path};
    struct boot_entry e;
    const struct handoff *h = fake_ram(m, 0xff000, sizeof(*h));

    CHECK_EQ(boot_load(m, &b, &e), 0);
    CHECK_EQ(e.bits, 16);
    CHECK_EQ(h->kind, HANDOFF_BOOT);
    boot_close(&b);
    kit_close(&rom);
    fake_free(m);
}

static int no_map(struct machine *m, uint64_t at, void *hva, uint64_t size,
                  bool readonly)
{
    (void)m, (void)at, (void)hva, (void)size, (void)readonly;
    return -ENOSPC;
}

TEST(boot_rom_that_cannot_be_mapped)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_file rom = kit_sparse(256 << 10);
    struct machine_ops ops = *m->ops;
    struct boot b = {.bios = rom.path};
    struct boot_entry e;

    ops.map = no_map;
    m->ops = &ops;
    CHECK_EQ(boot_load(m, &b, &e), -ENOSPC);
    CHECK_HAS(test_log(), "cannot be mapped: No space");
    boot_close(&b);
    kit_close(&rom);
    fake_free(m);
}

TEST(boot_net_goes_through_the_rom)
{
    struct machine *m = fake_new(16 * MB);
    struct boot b = {.rom = true, .cmdline = ""};
    struct boot_entry e;
    const struct handoff *h = fake_ram(m, 0xff000, sizeof(*h));

    CHECK_EQ(boot_load(m, &b, &e), 0);
    CHECK_EQ(e.bits, 16);
    CHECK_EQ(h->kind, HANDOFF_BOOT);
    boot_close(&b);
    fake_free(m);
}

/* bootindex= comes before the order, and -boot once= counts once. */
TEST(boot_order_for_the_rom)
{
    struct machine *m = fake_new(16 * MB);
    struct boot b = {.rom = true, .order = 'c', .once = 'n', .strict = true};
    struct boot_entry e;
    const struct handoff *h = fake_ram(m, 0xff000, sizeof(*h));

    m->boot_rank[31] = 1;
    m->boot_rank[7] = 5;
    m->boot_rank[4] = 5;
    m->boot_rank[1] = 0x80000000;
    CHECK_EQ(boot_load(m, &b, &e), 0);
    CHECK_EQ(h->kind, HANDOFF_BOOT);
    CHECK_MEM(h->order, "\x1f\x04\x07\x01\0\0", 6);
    CHECK(h->net_first && h->strict);
    CHECK_EQ(boot_load(m, &b, &e), 0);
    CHECK(!h->net_first);
    for (unsigned i = 0; i < 32; i++)
        m->boot_rank[i] = i;
    CHECK_EQ(boot_load(m, &b, &e), 0);
    CHECK_EQ(h->order[30], 31);
    CHECK_EQ(h->order[31], 0);
    memset(m->boot_rank, 0, sizeof(m->boot_rank));
    CHECK_EQ(boot_load(m, &b, &e), 0);
    CHECK(!h->order[0] && !h->strict);
    boot_close(&b);
    fake_free(m);
}

TEST(boot_ram_too_small)
{
    struct machine *m = fake_new(MB);
    struct kit_bzimage k = kit_bzimage();
    struct boot_entry e;

    CHECK_EQ(kit_boot(m, (struct boot){0}, k.bytes, k.n, &e), -EINVAL);
    CHECK_HAS(test_log(), "at least 2 MiB");
    free(k.bytes);
    fake_free(m);
}

/* -------------------------------------------------------------------- e820 */

static void check_map(uint64_t bytes)
{
    uint64_t low = bytes < LOWRAM_MAX ? bytes : LOWRAM_MAX;
    struct machine m = {.ram = {.n = bytes > low ? 2 : 1}};
    struct e820 map[E820_MAX];
    uint64_t ram = 0;
    int n;

    m.ram.region[0].size = low;
    m.ram.region[1] =
        (struct ram_region){.gpa = HIGHRAM_BASE, .size = bytes - low};
    n = e820_build(&m, map, E820_MAX);
    for (int i = 0; i < n; i++) {
        CHECK(map[i].size > 0);
        if (i)
            CHECK(map[i].addr >= map[i - 1].addr + map[i - 1].size);
        if (map[i].type == 1)
            ram += map[i].size;
    }
    CHECK_EQ(ram, bytes - (0x100000 - EBDA_BASE));
    CHECK_EQ(e820_build(&m, map, 3), 3);
}

TEST(boot_e820_sorted_without_overlap)
{
    static const uint64_t mib[] = {8,    64,   256,  2048, 3071,
                                   3072, 3073, 4096, 6144};

    for (size_t i = 0; i < ARRAY_LEN(mib); i++)
        check_map(mib[i] << 20);
}
