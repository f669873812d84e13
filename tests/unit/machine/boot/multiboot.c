/* SPDX-License-Identifier: MIT */
/* The Multiboot loaders against crafted images. */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "machine/boot/place.h"
#include "tests/unit/machine/boot/kit.h"

#define MB (1ull << 20)

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
    CHECK_EQ(kit_get32(p, 0) & 0x20, 0); /* no ELF file, no sections */
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

/* Kernels strip the first word, which every loader since GRUB Legacy has made
 * the image's name. */
TEST(boot_multiboot1_3_3_command_line_begins_with_the_name)
{
    struct machine *m = fake_new(16 * MB);
    struct mb mb = mb1(3);
    struct boot_entry e;
    uint8_t file[4096] = {0};
    char dir[] = "/tmp/vmm-unit-XXXXXX", path[64], want[80];
    struct boot b = {.kernel = path, .cmdline = "k=v x"};
    FILE *f;

    REQUIRE(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/a b.elf", dir);
    memcpy(file + 64, mb.word, 4 * (size_t)mb.n);
    REQUIRE((f = fopen(path, "w")) != NULL);
    REQUIRE_EQ(fwrite(file, sizeof(file), 1, f), 1);
    fclose(f);
    REQUIRE_EQ(boot_load(m, &b, &e), 0);
    snprintf(want, sizeof(want), "%s/a_b.elf k=v x", dir);
    CHECK_STR((char *)fake_ram(m, kit_get32(fake_ram(m, e.rbx, 116), 16), 80),
              want);
    b.cmdline = NULL;
    REQUIRE_EQ(boot_load(m, &b, &e), 0);
    want[strlen(dir) + 8] = 0;
    CHECK_STR((char *)fake_ram(m, LOW_CMDLINE, 80), want);
    boot_close(&b);
    remove(path);
    remove(dir);
    fake_free(m);
}

/* An ELF32 kernel with a Multiboot header of either version and four section
 * headers: none, .text in its segment, symbols, strings. */
struct elf32 {
    Elf32_Ehdr h;
    Elf32_Phdr load;
    uint32_t pad, mb[16]; /* at a multiple of 8 */
    uint8_t code[64];
    uint8_t sym[32], str[16];
    Elf32_Shdr sec[4];
};

static struct elf32 elf32(struct mb mb)
{
    struct elf32 e = {
        .h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, 1, 1},
              .e_type = ET_EXEC,
              .e_machine = EM_386,
              .e_entry = 0x100010,
              .e_phoff = sizeof(Elf32_Ehdr),
              .e_phnum = 1,
              .e_phentsize = sizeof(Elf32_Phdr),
              .e_shoff = offsetof(struct elf32, sec),
              .e_shnum = 4,
              .e_shentsize = sizeof(Elf32_Shdr),
              .e_shstrndx = 3},
        .load = {.p_type = PT_LOAD,
                 .p_offset = offsetof(struct elf32, mb),
                 .p_vaddr = 0x100000,
                 .p_paddr = 0x100000,
                 .p_filesz = 128,
                 .p_memsz = 0x2001},
        .sym = "symbols",
        .str = "strings",
        .sec = {{0},
                {.sh_type = SHT_PROGBITS, .sh_addr = 0x100040, .sh_size = 64},
                {.sh_type = SHT_SYMTAB,
                 .sh_offset = offsetof(struct elf32, sym),
                 .sh_size = 32},
                {.sh_type = SHT_STRTAB,
                 .sh_offset = offsetof(struct elf32, str),
                 .sh_size = 16}},
    };

    memcpy(e.mb, mb.word, sizeof(e.mb));
    return e;
}

/* Without addresses: the ELF header's rule. */
static struct mb mb1_elf(void)
{
    return (struct mb){{0x1badb002, 3, -(0x1badb002 + 3)}, 3};
}

/* A request for `a` and `b`, required or not. */
static struct mb mb2_asks(uint32_t flags, uint32_t a, uint32_t b)
{
    return (struct mb){{0xe85250d6, 0, 40, -(0xe85250d6 + 40), 1 | flags << 16,
                        16, a, b, 0, 8},
                       10};
}

static void check_sections(struct machine *m, const uint8_t *table,
                           uint64_t from)
{
    Elf32_Shdr s[4];

    memcpy(s, table, sizeof(s));
    CHECK_EQ(s[1].sh_addr, 0x100040); /* as the file has it */
    CHECK_EQ(s[2].sh_addr, (from + 15) & ~15ull);
    CHECK_EQ(s[3].sh_addr, ((from + 15) & ~15ull) + 32);
    CHECK_STR((char *)fake_ram(m, s[2].sh_addr, 32), "symbols");
    CHECK_STR((char *)fake_ram(m, s[3].sh_addr, 16), "strings");
}

TEST(boot_multiboot1_3_3_sections_behind_the_modules)
{
    struct machine *m = fake_new(16 * MB);
    struct kit_file a = kit_file("AAAAA", 5);
    struct elf32 k = elf32(mb1_elf());
    struct boot_entry e;
    const uint8_t *p;

    REQUIRE_EQ(kit_boot(m, (struct boot){.initrd = a.path}, &k, sizeof(k), &e),
               0);
    CHECK_EQ(e.rip, 0x100010);
    p = fake_ram(m, e.rbx, 116);
    CHECK_EQ(kit_get32(p, 0) & 0x30, 0x20);
    CHECK_EQ(kit_get32(p, 28), 4);
    CHECK_EQ(kit_get32(p, 32), sizeof(Elf32_Shdr));
    CHECK_EQ(kit_get32(p, 36), 0x103010); /* module at 103000, 5 bytes */
    CHECK_EQ(kit_get32(p, 40), 3);
    check_sections(m, fake_ram(m, 0x103010, 4 * sizeof(Elf32_Shdr)),
                   0x103010 + 4 * sizeof(Elf32_Shdr));
    kit_close(&a);
    fake_free(m);
}

TEST(boot_multiboot2_3_1_5_what_is_required_is_there)
{
    struct machine *m = fake_new(16 * MB);
    struct elf32 k = elf32(mb2_asks(0, 9, 14));
    struct boot_entry e;
    const uint8_t *p, *tag;

    REQUIRE_EQ(kit_boot(m, (struct boot){0}, &k, sizeof(k), &e), 0);
    p = fake_ram(m, e.rbx, 0x1000);
    REQUIRE((tag = mb2_find_tag(p, 9)) != NULL);
    CHECK_EQ(kit_get32(tag, 4), 20 + 4 * sizeof(Elf32_Shdr));
    CHECK_EQ(kit_get32(tag, 8), 4);
    CHECK_EQ(kit_get32(tag, 12), sizeof(Elf32_Shdr));
    CHECK_EQ(kit_get32(tag, 16), 3);
    check_sections(m, tag + 20, 0x102001);
    REQUIRE((tag = mb2_find_tag(p, 14)) != NULL);
    CHECK_EQ(kit_get32(tag, 4), 28);
    CHECK_MEM(tag + 8, "RSD PTR ", 8);
    REQUIRE((tag = mb2_find_tag(p, 13)) != NULL);
    CHECK_EQ(kit_get32(tag, 4), 16 + 31);
    CHECK_EQ(tag[8], 2); /* SMBIOS 2.8 */
    CHECK_EQ(tag[9], 8);
    CHECK_MEM(tag + 16, "_SM_", 4);
    REQUIRE((tag = mb2_find_tag(p, 0)) != NULL);
    fake_free(m);
}

/* 64 KiB of section headers do not fit where the information is. */
TEST(boot_multiboot2_3_1_5_too_many_sections_are_refused_if_required)
{
    enum { NUM = 5000 };
    size_t n = sizeof(struct elf32) + NUM * sizeof(Elf32_Shdr);
    struct machine *m = fake_new(16 * MB);
    struct boot_entry e;

    for (uint32_t optional = 0; optional < 2; optional++) {
        struct elf32 k = elf32(mb2_asks(optional, 9, 6));
        uint8_t *file = calloc(1, n);
        k.h.e_shoff = sizeof(k);
        k.h.e_shnum = NUM;
        memcpy(file, &k, sizeof(k));
        CHECK_EQ(kit_boot(m, (struct boot){0}, file, n, &e),
                 optional ? 0 : -EINVAL);
        if (optional) {
            const uint8_t *p = fake_ram(m, e.rbx, 0x1000);
            CHECK(mb2_find_tag(p, 9) == NULL);
            CHECK(mb2_find_tag(p, 0) != NULL);
        } else {
            CHECK_HAS(test_log(), "wants its 5000 section headers");
        }
        free(file);
    }
    fake_free(m);
}

/* What a file says of its sections is not believed. */
TEST(boot_multiboot_sections_damaged)
{
    struct machine *m = fake_new(16 * MB);
    struct boot_entry e;
    struct elf32 k = elf32(mb1_elf());
    const uint8_t *p;

    k.h.e_shentsize = 41;
    REQUIRE_EQ(kit_boot(m, (struct boot){0}, &k, sizeof(k), &e), 0);
    CHECK_EQ(kit_get32(fake_ram(m, e.rbx, 4), 0) & 0x20, 0);
    k = elf32(mb1_elf());
    k.h.e_shoff += 1; /* one byte beyond the file */
    REQUIRE_EQ(kit_boot(m, (struct boot){0}, &k, sizeof(k), &e), 0);
    CHECK_EQ(kit_get32(fake_ram(m, e.rbx, 4), 0) & 0x20, 0);
    k = elf32(mb1_elf());
    k.sec[2].sh_offset = sizeof(k) - 31; /* the section is */
    k.sec[3].sh_size = 0xffffffff;
    REQUIRE_EQ(kit_boot(m, (struct boot){0}, &k, sizeof(k), &e), 0);
    p = fake_ram(m, e.rbx, 116);
    CHECK_EQ(kit_get32(p, 0) & 0x20, 0x20);
    p = fake_ram(m, kit_get32(p, 36), sizeof(k.sec));
    CHECK_EQ(kit_get32(p, 2 * sizeof(Elf32_Shdr) + 12), 0);
    CHECK_EQ(kit_get32(p, 3 * sizeof(Elf32_Shdr) + 12), 0);
    fake_free(m);
}

/* No room behind the kernel: for the table, then for the sections. */
TEST(boot_multiboot_sections_at_the_end_of_ram)
{
    struct machine *m = fake_new(16 * MB);
    struct boot_entry e;
    struct elf32 k = elf32(mb1_elf());
    const uint8_t *p;

    for (unsigned left = 0; left < 400; left++) {
        k.load.p_memsz = (uint32_t)(15 * MB - left);
        REQUIRE_EQ(kit_boot(m, (struct boot){0}, &k, sizeof(k), &e), 0);
        p = fake_ram(m, e.rbx, 116);
        bool table = kit_get32(p, 0) & 0x20;
        CHECK_EQ(table, (left & ~15u) >= sizeof(k.sec));
        if (!table)
            continue;
        p = fake_ram(m, kit_get32(p, 36), sizeof(k.sec));
        CHECK_EQ(kit_get32(p, 2 * sizeof(Elf32_Shdr) + 12) != 0,
                 (left & ~15u) >= sizeof(k.sec) + 32);
    }
    fake_free(m);
}

TEST(boot_multiboot2_3_6_7_sections_of_a_64_bit_file)
{
    struct {
        Elf64_Ehdr h;
        Elf64_Phdr load;
        uint32_t mb[16];
        uint8_t code[64], str[16];
        Elf64_Shdr sec[2];
    } k = {
        .h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, 1, 1},
              .e_type = ET_EXEC,
              .e_machine = EM_X86_64,
              .e_entry = 0x100010,
              .e_phoff = sizeof(Elf64_Ehdr),
              .e_phnum = 1,
              .e_phentsize = sizeof(Elf64_Phdr),
              .e_shoff = sizeof(k) - sizeof(k.sec),
              .e_shnum = 2,
              .e_shentsize = sizeof(Elf64_Shdr),
              .e_shstrndx = 1},
        .load = {.p_type = PT_LOAD,
                 .p_offset = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
                 .p_vaddr = 0x100000,
                 .p_paddr = 0x100000,
                 .p_filesz = 128,
                 .p_memsz = 0x2000},
        .str = "strings",
        .sec = {{0}, {.sh_type = SHT_STRTAB, .sh_size = 16}},
    };
    struct machine *m = fake_new(16 * MB);
    struct mb mb = mb2_asks(0, 9, 13);
    struct boot_entry e;
    const uint8_t *tag;
    Elf64_Shdr s;

    memcpy(k.mb, mb.word, sizeof(k.mb));
    k.sec[1].sh_offset = (uint64_t)(k.str - (uint8_t *)&k);
    REQUIRE_EQ(kit_boot(m, (struct boot){0}, &k, sizeof(k), &e), 0);
    REQUIRE((tag = mb2_find_tag(fake_ram(m, e.rbx, 0x1000), 9)) != NULL);
    CHECK_EQ(kit_get32(tag, 4), 20 + 2 * sizeof(s));
    memcpy(&s, tag + 20 + sizeof(s), sizeof(s));
    CHECK_EQ(s.sh_addr, 0x102000);
    CHECK_STR((char *)fake_ram(m, s.sh_addr, 16), "strings");
    fake_free(m);
}

/* The names of 32 modules, which may carry arguments, and the command line are
 * together more than there is room for. */
TEST(boot_multiboot_module_names_too_long_together)
{
    enum { NAME = 8000 };
    struct kit_file a = kit_file("AAAAA", 5);
    static char list[INITRDS_MAX * (NAME + 40)];
    size_t n = 0;
    struct boot_entry e;

    for (int i = 0; i < INITRDS_MAX; i++) {
        n += (size_t)snprintf(list + n, 40, "%s%s ", i ? "," : "", a.path);
        memset(list + n, 'x', NAME);
        n += NAME;
    }
    list[n] = 0;
    for (int v = 1; v <= 2; v++) {
        struct machine *m = fake_new(16 * MB);
        CHECK_EQ(boot_mb(m, v == 1 ? mb1(3) : mb2(),
                         (struct boot){.initrd = list}, &e),
                 -EINVAL);
        CHECK_HAS(test_log(), "too long together");
        fake_free(m);
    }
    kit_close(&a);
}

/* 2:§3.1.3: tags end with one of type 0, but a header may just be over. */
TEST(boot_multiboot2_header_without_an_end_tag)
{
    struct machine *m = fake_new(16 * MB);
    struct mb mb = mb2();
    struct boot_entry e;

    mb.word[2] = 56;
    mb.word[3] = -(0xe85250d6 + 56);
    CHECK_EQ(boot_mb(m, mb, (struct boot){0}, &e), 0);
    CHECK_EQ(e.rip, 0x100321);
    fake_free(m);
}

/* Information up to the last byte of its place, and not one more: by the length
 * of the command line. With sections they give way, not the boot. */
TEST(boot_multiboot2_information_fills_its_place_exactly)
{
    struct machine *m = fake_new(16 * MB);
    struct elf32 k = elf32(mb2_asks(1, 9, 6));
    static char line[LOW_INFO_SIZE];
    uint32_t most = 0;
    struct boot_entry e;

    memset(line, 'k', sizeof(line) - 1);
    for (size_t n = sizeof(line) - 900; n < sizeof(line) - 1; n += 3) {
        line[n] = 0;
        int err = boot_mb(m, mb2(), (struct boot){.cmdline = line}, &e);
        uint32_t total = kit_get32(fake_ram(m, LOW_INFO, 4), 0);
        if (!err && total > most)
            most = total;
        CHECK_EQ(kit_boot(m, (struct boot){.cmdline = line}, &k, sizeof(k), &e),
                 err);
        line[n] = 'k';
    }
    CHECK_EQ(most, LOW_INFO_SIZE);
    fake_free(m);
}

/* 2:§3.1.1: a header that ends where the file does, and 8 bytes later. */
TEST(boot_multiboot2_header_at_the_end_of_the_file)
{
    for (uint32_t over = 0; over <= 8; over += 8) {
        uint32_t len = 4096 - 64 + over, size = len - 16 - 24 - 16;
        struct mb mb = {{0xe85250d6, 0, len, -(0xe85250d6 + len), 2, 24,
                         0x100040, 0x100000, 0, 0x102000, 3, 12, 0x100321, 0,
                         20 | 1 << 16, size},
                        16};
        struct machine *m = fake_new(16 * MB);
        struct boot_entry e;
        CHECK_EQ(boot_mb(m, mb, (struct boot){0}, &e), over ? -EINVAL : 0);
        if (over)
            CHECK_HAS(test_log(), "ends at 0x1008");
        fake_free(m);
    }
}
