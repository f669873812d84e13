/* SPDX-License-Identifier: MIT */
/* boot_elf.c and boot_multiboot.c against crafted images. */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "machine/boot/image.h"
#include "tests/unit/machine/boot/kit.h"

#define MB (1ull << 20)
#define ENTRY 0x200010
#define CODE_OFF 0x400
#define CODE_SIZE 0x100

/* An ELF64 kernel at 2 MiB with a PVH note: headers, note at 200h, code. */
struct elf64 {
    Elf64_Ehdr h;
    Elf64_Phdr load, note;
    uint8_t pad[0x200 - sizeof(Elf64_Ehdr) - 2 * sizeof(Elf64_Phdr)];
    struct {
        Elf32_Nhdr h;
        char owner[4];
        uint32_t entry;
    } n;
    uint8_t pad2[0x400 - 0x200 - 20];
    uint8_t code[CODE_SIZE];
};
_Static_assert(sizeof(struct elf64) == CODE_OFF + CODE_SIZE, "");

static struct elf64 elf64(void)
{
    struct elf64 e = {
        .h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, 1, 1},
              .e_type = ET_EXEC,
              .e_machine = EM_X86_64,
              .e_entry = ENTRY,
              .e_phoff = sizeof(Elf64_Ehdr),
              .e_phnum = 2,
              .e_phentsize = sizeof(Elf64_Phdr)},
        .load = {.p_type = PT_LOAD,
                 .p_offset = CODE_OFF,
                 .p_paddr = 2 * MB,
                 .p_vaddr = 0xffffffff80200000,
                 .p_filesz = CODE_SIZE,
                 .p_memsz = 0x3000},
        .note = {.p_type = PT_NOTE,
                 .p_offset = 0x200,
                 .p_filesz = 20,
                 .p_memsz = 20},
        .n = {{4, 4, 18}, "Xen", 0x200020},
    };

    memset(e.code, 0xc3, CODE_SIZE);
    return e;
}

static int boot_elf(struct machine *m, struct elf64 e, struct boot b,
                    struct boot_entry *entry)
{
    return kit_boot(m, b, &e, sizeof(e), entry);
}

/* One field spoiled: boot must fail and say `why`. */
#define SPOILED(why, ...)                                                      \
    do {                                                                       \
        struct machine *m_ = fake_new(16 * MB);                                \
        struct boot_entry entry_;                                              \
        struct elf64 e = elf64();                                              \
        __VA_ARGS__;                                                           \
        CHECK_EQ(boot_elf(m_, e, (struct boot){0}, &entry_), -EINVAL);         \
        CHECK_HAS(test_log(), why);                                            \
        fake_free(m_);                                                         \
    } while (0)

TEST(boot_elf_pvh_note_entry)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_file rd = kit_file("initrd", 6);
    struct boot_entry e;
    const uint8_t *p;

    memset(fake_ram(m, 2 * MB, 0x3000), 0xff, 0x3000);
    REQUIRE_EQ(boot_elf(m, elf64(),
                        (struct boot){.cmdline = "x=y", .initrd = rd.path}, &e),
               0);
    CHECK_EQ(e.bits, 32);
    CHECK_EQ(e.rip, 0x200020);
    p = fake_ram(m, e.rbx, 56);
    CHECK_EQ(kit_get32(p, 0), 0x336ec578);
    CHECK_EQ(kit_get32(p, 4), 1);
    CHECK_EQ(kit_get32(p, 12), 1);
    CHECK_STR((char *)fake_ram(m, kit_get64(p, 24), 4), "x=y");
    CHECK_MEM(fake_ram(m, kit_get64(p, 32), 8), "RSD PTR ", 8);
    CHECK_EQ(kit_get32(p, 48), 7);
    CHECK_EQ(kit_get64(fake_ram(m, kit_get64(p, 40), 24), 8), EBDA_BASE);
    p = fake_ram(m, kit_get64(p, 16), 32);
    CHECK_EQ(kit_get64(p, 0), 16 * MB - 4096);
    CHECK_EQ(kit_get64(p, 8), 6);
    CHECK_MEM(fake_ram(m, kit_get64(p, 0), 6), "initrd", 6);
    p = fake_ram(m, 2 * MB, 0x3000);
    CHECK_EQ(p[CODE_SIZE - 1], 0xc3);
    CHECK_EQ(p[CODE_SIZE], 0); /* bss, whatever was there */
    CHECK_EQ(p[0x2fff], 0);
    kit_close(&rd);
    fake_free(m);
}

TEST(boot_elf_entry_64)
{
    struct machine *m = fake_new(16 * MB);
    struct elf64 k = elf64();
    struct boot_entry e;

    REQUIRE_EQ(boot_elf(m, k, (struct boot){.entry = 64}, &e), 0);
    CHECK_EQ(e.bits, 64);
    CHECK_EQ(e.rip, ENTRY);
    CHECK_EQ(e.rsi, LOW_PARAMS);
    k.h.e_entry = 0xffffffff80200044; /* virtual */
    REQUIRE_EQ(boot_elf(m, k, (struct boot){.entry = 64}, &e), 0);
    CHECK_EQ(e.rip, 0x200044);
    k.h.e_phnum = 1; /* no note */
    REQUIRE_EQ(boot_elf(m, k, (struct boot){0}, &e), 0);
    CHECK_EQ(e.bits, 64);
    CHECK_EQ(boot_elf(m, k, (struct boot){.entry = 32}, &e), -EINVAL);
    CHECK_HAS(test_log(), "no PVH note");
    CHECK_EQ(boot_elf(m, k, (struct boot){.entry = 16}, &e), -EINVAL);
    k.h.e_entry = 0x12345678;
    CHECK_EQ(boot_elf(m, k, (struct boot){0}, &e), -EINVAL);
    CHECK_HAS(test_log(), "none of its segments");
    fake_free(m);
}

TEST(boot_elf_32_bit_flat)
{
    struct {
        Elf32_Ehdr h;
        Elf32_Phdr p;
        uint8_t code[64];
    } k = {
        .h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, 1, 1},
              .e_type = ET_EXEC,
              .e_machine = EM_386,
              .e_entry = 0x100008,
              .e_phoff = sizeof(Elf32_Ehdr),
              .e_phnum = 1,
              .e_phentsize = sizeof(Elf32_Phdr)},
        .p = {.p_type = PT_LOAD,
              .p_offset = sizeof(Elf32_Ehdr) + sizeof(Elf32_Phdr),
              .p_paddr = 0x100000,
              .p_vaddr = 0xc0100000,
              .p_filesz = 64,
              .p_memsz = 64},
    };
    struct machine *m = fake_new(16 * MB);
    struct boot_entry e;

    REQUIRE_EQ(kit_boot(m, (struct boot){0}, &k, sizeof(k), &e), 0);
    CHECK_EQ(e.bits, 32);
    CHECK_EQ(e.rip, 0x100008);
    CHECK_EQ(e.rsi, LOW_PARAMS);
    CHECK_EQ(kit_boot(m, (struct boot){.entry = 64}, &k, sizeof(k), &e),
             -EINVAL);
    fake_free(m);
}

TEST(boot_elf_malformed_notes_are_no_entry)
{
    struct machine *m = fake_new(16 * MB);
    static const Elf32_Nhdr bad[] = {
        {4, 0xffffffff, 18}, {0xffffffff, 4, 18}, {0xfffffffd, 0xfffffffd, 18},
        {4, 0, 18},          {0, 4, 18},          {4, 4, 17},
        {4, 8, 18},
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct elf64 k = elf64();
        struct boot_entry e;
        k.n.h = bad[i];
        CHECK_EQ(boot_elf(m, k, (struct boot){0}, &e), 0);
        CHECK_EQ(e.bits, 64);
    }
    fake_free(m);
}

TEST(boot_elf_truncated_and_damaged)
{
    SPOILED("truncated", e.load.p_filesz = 0x101);
    SPOILED("truncated", e.load.p_offset = ~0ull);
    SPOILED("truncated", e.h.e_phoff = ~0ull);
    SPOILED("truncated", e.h.e_phoff = sizeof(e) - 8);
    SPOILED("truncated", e.note.p_offset = sizeof(e) - 4);
    SPOILED("damaged", e.load.p_memsz = 0x10);
    SPOILED("damaged", e.h.e_phentsize = 0);
    SPOILED("beyond all memory", e.load.p_paddr = ~0ull - 10);
    SPOILED("nothing to load", e.h.e_phnum = 0);
    SPOILED("another kind of CPU", e.h.e_machine = EM_ARM);
    SPOILED("fixed addresses", e.h.e_type = ET_DYN);
}

TEST(boot_elf_outside_ram)
{
    SPOILED("not all free RAM", e.load.p_paddr = 16 * MB);
    SPOILED("not all free RAM", e.load.p_paddr = 16 * MB - 0x1000);
    SPOILED("not all free RAM", e.load.p_paddr = 0x1000);
    SPOILED("not all free RAM", e.load.p_paddr = 0x100000 - 1);
    SPOILED("not all free RAM", e.load.p_memsz = 1ull << 60);
}

TEST(boot_elf_initrd_does_not_fit)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_file rd = kit_sparse(14 * MB - 0x2000);
    struct boot_entry e;

    CHECK_EQ(boot_elf(m, elf64(), (struct boot){.initrd = rd.path}, &e),
             -EINVAL);
    CHECK_HAS(test_log(), "do not fit");
    kit_close(&rd);
    fake_free(m);
}

/* ---------------------------------------------------------------- Multiboot */

/* The words of a header at offset 64 of a file of 4 KiB. */
struct mb {
    uint32_t word[16];
    int n;
};

static int boot_mb(struct machine *m, struct mb mb, struct boot b,
                   struct boot_entry *e)
{
    uint8_t file[4096];

    memset(file, 0x90, sizeof(file));
    memcpy(file + 64, mb.word, 4 * (size_t)mb.n);
    return kit_boot(m, b, file, sizeof(file), e);
}

/* 0.6.96 §3.1.3: loaded from 100000, all of the file, bss to 102000. */
static struct mb mb1(uint32_t flags)
{
    uint32_t f = flags | 0x10000;

    return (struct mb){{0x1badb002, f, -(0x1badb002 + f), 0x100040, 0x100000, 0,
                        0x102000, 0x100123},
                       8};
}

TEST(boot_multiboot1_information_3_3)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_file a = kit_file("AAAAA", 5), b = kit_file("BB", 2);
    struct boot_entry e;
    char both[80];
    const uint8_t *p, *mod;

    snprintf(both, sizeof(both), "%s arg,%s", a.path, b.path);
    REQUIRE_EQ(
        boot_mb(m, mb1(3), (struct boot){.cmdline = "k=v", .initrd = both}, &e),
        0);
    CHECK_EQ(e.bits, 32);
    CHECK_EQ(e.rip, 0x100123);
    CHECK_EQ(e.rax, 0x2badb002);
    p = fake_ram(m, e.rbx, 116);
    CHECK_EQ(kit_get32(p, 0) & 0x4d, 0x4d); /* memory, line, modules, map */
    CHECK_EQ(kit_get32(p, 4), 639);
    CHECK_EQ(kit_get32(p, 8), 15 * 1024);
    CHECK_STR((char *)fake_ram(m, kit_get32(p, 16), 4), "k=v");
    CHECK_EQ(kit_get32(p, 20), 2);
    mod = fake_ram(m, kit_get32(p, 24), 32);
    CHECK_EQ(kit_get32(mod, 0), 0x102000);
    CHECK_EQ(kit_get32(mod, 4), 0x102005);
    CHECK_HAS((char *)fake_ram(m, kit_get32(mod, 8), 32), " arg");
    CHECK_EQ(kit_get32(mod, 16), 0x103000);
    CHECK_MEM(fake_ram(m, 0x103000, 2), "BB", 2);
    CHECK_EQ(kit_get32(p, 44), 7 * 24);
    CHECK_EQ(kit_get32(fake_ram(m, kit_get32(p, 48), 24), 0), 20);
    CHECK_EQ(*(uint8_t *)fake_ram(m, 0x101000, 1), 0); /* bss */
    kit_close(&a);
    kit_close(&b);
    fake_free(m);
}

static void mb_fails(struct mb mb, const char *why)
{
    struct machine *m = fake_new(16 * MB);
    struct boot_entry e;

    CHECK_EQ(boot_mb(m, mb, (struct boot){0}, &e), -EINVAL);
    CHECK_HAS(test_log(), why);
    fake_free(m);
}

TEST(boot_multiboot1_damaged)
{
    struct mb mb = mb1(0);

    mb_fails(mb1(0x10), "unknown here");
    mb.word[3] = 0x100044; /* the file would begin before itself */
    mb_fails(mb, "damaged Multiboot header");
    mb = mb1(0);
    mb.word[4] = 0x100044;
    mb_fails(mb, "damaged Multiboot header");
    mb = mb1(0);
    mb.word[5] = 0x100;
    mb_fails(mb, "ends before");
    mb = mb1(0);
    mb.word[5] = 0x110000;
    mb_fails(mb, "truncated");
    mb = mb1(0);
    mb.word[6] = 0xfffffff0;
    mb_fails(mb, "not all free RAM");
    mb = mb1(0);
    mb.word[3] -= 0xf0000;
    mb.word[4] -= 0xf0000;
    mb_fails(mb, "not all free RAM");
    mb = mb1(0);
    mb.word[1] = 0; /* neither addresses nor ELF */
    mb.word[2] = -mb.word[0];
    mb_fails(mb, "ELF");
}

static struct mb mb2(void)
{
    return (struct mb){{0xe85250d6, 0, 64, -(0xe85250d6 + 64), 2, 24, 0x100040,
                        0x100000, 0, 0x102000, 3, 12, 0x100321, 0, 0, 8},
                       16};
}

/* The information tag of this type, or NULL. */
static const uint8_t *mb2_find_tag(const uint8_t *info, uint32_t type)
{
    uint32_t total = kit_get32(info, 0);

    for (uint32_t at = 8; at + 8 <= total;) {
        if (kit_get32(info, at) == type)
            return info + at;
        at += (kit_get32(info, at + 4) + 7) & ~7u;
    }
    return NULL;
}

TEST(boot_multiboot2_information_3_6)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_file a = kit_file("AAAAA", 5);
    struct boot_entry e;
    const uint8_t *p, *tag;

    REQUIRE_EQ(boot_mb(m, mb2(),
                       (struct boot){.cmdline = "k=v", .initrd = a.path}, &e),
               0);
    CHECK_EQ(e.rip, 0x100321);
    CHECK_EQ(e.rax, 0x36d76289);
    p = fake_ram(m, e.rbx, 0x1000);
    REQUIRE((tag = mb2_find_tag(p, 1)) != NULL);
    CHECK_STR((const char *)tag + 8, "k=v");
    CHECK_EQ(kit_get32(tag, 4), 12);
    REQUIRE((tag = mb2_find_tag(p, 3)) != NULL);
    CHECK_EQ(kit_get32(tag, 8), 0x102000);
    CHECK_EQ(kit_get32(tag, 12), 0x102005);
    CHECK_STR((const char *)tag + 16, a.path);
    REQUIRE((tag = mb2_find_tag(p, 6)) != NULL);
    CHECK_EQ(kit_get32(tag, 4), 16 + 7 * 24);
    REQUIRE((tag = mb2_find_tag(p, 15)) != NULL);
    CHECK_MEM(tag + 8, "RSD PTR ", 8);
    REQUIRE((tag = mb2_find_tag(p, 0)) != NULL);
    CHECK_EQ(kit_get32(tag, 4), 8);
    kit_close(&a);
    fake_free(m);
}

TEST(boot_multiboot2_damaged)
{
    struct mb mb = mb2();

    mb.word[5] = 7; /* a tag shorter than itself */
    mb_fails(mb, "a tag of 7 bytes");
    mb = mb2();
    mb.word[5] = 0xffffffff;
    mb_fails(mb, "a tag of");
    mb = mb2();
    mb.word[4] = 99;
    mb_fails(mb, "unknown here (tag 99)");
    mb = mb2();
    mb.word[2] = 0x10000;
    mb.word[3] = -(0xe85250d6 + 0x10000);
    mb_fails(mb, "ends at");
    mb = mb2();
    mb.word[1] = 4; /* MIPS */
    mb.word[3] = -(0xe85250d6 + 4 + 64);
    mb_fails(mb, "another kind of CPU");
    mb = mb2();
    mb.word[4] = 1; /* information request, of a type there is not */
    mb.word[6] = 77;
    mb_fails(mb, "type 77");
}

TEST(boot_multiboot_modules_do_not_fit)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_file big = kit_sparse(15 * MB - 0x2000 + 1);
    struct boot_entry e;

    CHECK_EQ(boot_mb(m, mb2(), (struct boot){.initrd = big.path}, &e), -EINVAL);
    CHECK_HAS(test_log(), "do not fit");
    CHECK_EQ(boot_mb(m, mb1(0), (struct boot){.initrd = big.path}, &e),
             -EINVAL);
    kit_close(&big);
    fake_free(m);
}

TEST(boot_multiboot_command_line_too_long)
{
    static char text[0x40001];
    struct machine *m = fake_new(16 * MB);
    struct boot_entry e;

    memset(text, 'x', sizeof(text) - 1);
    CHECK_EQ(boot_mb(m, mb1(0), (struct boot){.cmdline = text}, &e), -EINVAL);
    CHECK_HAS(test_log(), "characters long");
    CHECK_EQ(boot_mb(m, mb2(), (struct boot){.cmdline = text}, &e), -EINVAL);
    CHECK_HAS(test_log(), "too long together");
    fake_free(m);
}
