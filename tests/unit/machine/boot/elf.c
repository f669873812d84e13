/* SPDX-License-Identifier: MIT */
/* The ELF loader against crafted images. */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "machine/boot/place.h"
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

TEST(boot_elf_console_is_the_default_of_a_linux_only)
{
    static const struct {
        const char *owner;
        uint32_t namesz, type;
        const char *desc;
        uint32_t descsz;
        const char *want;
    } note[] = {
        {"Linux", 6, 0x100, "salt", 4, "console=ttyS0"},
        {"Xen", 4, 6, "linux", 6, "console=ttyS0"},
        {"Xen", 4, 6, "MiniOS", 6, ""},
        {"Linux-like", 8, 6, "linux", 6, ""},
        {"GNU", 4, 3, "12345678", 8, ""},
    };
    struct machine *m = fake_new(16 * MB);
    struct boot_entry e;

    for (unsigned i = 0; i < ARRAY_LEN(note); i++) {
        struct elf64 k = elf64();
        uint8_t *p = (uint8_t *)&k.n + sizeof(k.n);
        kit_put32(p, 0, note[i].namesz);
        kit_put32(p, 4, note[i].descsz);
        kit_put32(p, 8, note[i].type);
        memcpy(p + 12, note[i].owner, note[i].namesz);
        memcpy(p + 12 + ((note[i].namesz + 3) & ~3u), note[i].desc,
               note[i].descsz);
        k.note.p_filesz = k.note.p_memsz = 20 + 12 + 8 + 8;
        for (int bits = 0; bits <= 64; bits += 64) {
            REQUIRE_EQ(boot_elf(m, k, (struct boot){.entry = bits}, &e), 0);
            CHECK_STR((char *)fake_ram(m, LOW_CMDLINE, 32), note[i].want);
            REQUIRE_EQ(
                boot_elf(m, k, (struct boot){.entry = bits, .cmdline = ""}, &e),
                0);
            CHECK_STR((char *)fake_ram(m, LOW_CMDLINE, 32), "");
        }
    }
    fake_free(m);
}

/* A file that is nothing but notes, named by as many headers as there can be,
 * costs a moment, not an hour. */
TEST(boot_elf_notes_without_end_are_given_up)
{
    enum { NOTES = 60000, PHDRS = 65000 };
    size_t at = sizeof(Elf64_Ehdr) + PHDRS * sizeof(Elf64_Phdr);
    size_t n = at + NOTES * sizeof(Elf32_Nhdr);
    struct machine *m = fake_new(16 * MB);
    struct elf64 k = elf64();
    struct boot_entry e;
    uint8_t *file = calloc(1, n);
    uint64_t began = wall_ns();

    k.h.e_phnum = PHDRS;
    memcpy(file, &k, sizeof(k.h) + sizeof(k.load));
    for (unsigned i = 1; i < PHDRS; i++) {
        Elf64_Phdr p = {.p_type = PT_NOTE,
                        .p_offset = at,
                        .p_filesz = NOTES * sizeof(Elf32_Nhdr)};
        memcpy(file + sizeof(k.h) + i * sizeof(p), &p, sizeof(p));
    }
    CHECK_EQ(kit_boot(m, (struct boot){0}, file, n, &e), 0);
    CHECK(wall_ns() - began < 20000000000ull);
    free(file);
    fake_free(m);
}

/* What is surely no kernel is said to be none; what may be one runs. */
TEST(boot_elf_programs_are_no_kernels)
{
    struct machine *m = fake_new(16 * MB);
    struct elf64 k = elf64();
    struct boot_entry e;

    k.note.p_type = PT_INTERP;
    CHECK_EQ(boot_elf(m, k, (struct boot){0}, &e), -EINVAL);
    CHECK_HAS(test_log(), "is a program");
    k = elf64();
    memcpy(k.n.owner, "GNU", 4);
    k.n.h.n_type = 1;
    CHECK_EQ(boot_elf(m, k, (struct boot){0}, &e), -EINVAL);
    CHECK_HAS(test_log(), "is a program");
    k.n.h.n_type = 3; /* a build id */
    CHECK_EQ(boot_elf(m, k, (struct boot){0}, &e), 0);
    k = elf64(); /* with a PVH note it may have an interpreter */
    k.load.p_type = PT_INTERP;
    k.h.e_phnum = 3;
    memcpy(&k.pad[0],
           &(Elf64_Phdr){.p_type = PT_LOAD,
                         .p_offset = CODE_OFF,
                         .p_paddr = 2 * MB,
                         .p_filesz = CODE_SIZE,
                         .p_memsz = 0x3000},
           sizeof(Elf64_Phdr));
    CHECK_EQ(boot_elf(m, k, (struct boot){0}, &e), 0);
    fake_free(m);
}

TEST(boot_elf_segments_have_a_limit)
{
    enum { MOST = ELF_SEGMENTS_MAX };
    struct machine *m = fake_new(16 * MB);
    struct elf64 k = elf64();
    uint8_t file[sizeof(Elf64_Ehdr) + (MOST + 2) * sizeof(Elf64_Phdr)] = {0};
    struct boot_entry e;

    k.load.p_offset = 0;
    k.load.p_filesz = 1;
    k.load.p_memsz = 0x100;
    memcpy(file, &k.h, sizeof(k.h));
    for (int i = 0; i < MOST + 2; i++) {
        Elf64_Phdr p = k.load;
        p.p_paddr += 0x1000u * (unsigned)i;
        if (i == 1)
            p.p_filesz = p.p_memsz = 0; /* brings nothing: does not count */
        memcpy(file + sizeof(k.h) + (size_t)i * sizeof(p), &p, sizeof(p));
    }
    for (int n = MOST + 1; n <= MOST + 2; n++) {
        kit_put16(file, offsetof(Elf64_Ehdr, e_phnum), (uint16_t)n);
        CHECK_EQ(kit_boot(m, (struct boot){0}, file, sizeof(file), &e),
                 n == MOST + 1 ? 0 : -EINVAL);
    }
    CHECK_HAS(test_log(), "more than 32 loadable segments");
    fake_free(m);
}

TEST(boot_elf_headers_at_the_end_of_the_file)
{
    SPOILED("truncated", e.h.e_phoff = sizeof(e) - 1);
    SPOILED("no program headers", e.h.e_phoff = sizeof(e) + 1);
    SPOILED("truncated", e.note.p_offset = sizeof(e) - 10);
    SPOILED("truncated", e.load.p_filesz++);
}
