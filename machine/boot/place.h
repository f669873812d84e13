/* SPDX-License-Identifier: MIT */
/* What the loaders share: where boot structures lie in low memory, what they
 * put there, how the CPU enters, and one entry per loader. Private to
 * machine/boot. */
#ifndef PLACE_H
#define PLACE_H

#include "machine/boot/config.h"
#include "machine/boot/handoff.h"
#include "machine/boot/image.h"
#include "machine/platform.h"

/* Low memory while a kernel is being entered (all of it is free RAM to the
 * kernel, which copies or reserves what it keeps):
 *   0000  interrupt vectors, BIOS data area
 *   7000  boot_params
 *   8000  GDT; 8100 setup_data; 8200 PVH information
 *   9000  page tables, six pages, 4 GiB mapped one to one
 *   10000 real-mode kernel, its heap and command line (16-bit entry)
 *   20000 command line (32- and 64-bit entry)
 *   60000 Multiboot information */
#define LOW_PARAMS 0x7000
#define LOW_GDT 0x8000
#define LOW_SETUP_DATA 0x8100
#define LOW_PVH 0x8200
#define LOW_PAGETABLES 0x9000
#define LOW_REALMODE 0x10000
#define LOW_CMDLINE 0x20000
#define CMDLINE_MAX 0x40000 /* with its NUL */
#define LOW_INFO 0x60000
#define LOW_INFO_SIZE 0x30000
#define BOOT_CS 0x10 /* flat code; boot.rst "32-bit Boot Protocol" */
#define BOOT_DS 0x18 /* flat data */

#define INITRDS_MAX 32
#define E820_MAX HANDOFF_E820_MAX

struct boot_files {
    struct image kernel, rom;
    struct image initrd[INITRDS_MAX];
    char *initrd_names;
    int ninitrd;
    bool rom_mapped; /* below 4 GiB */
    void *rom_map;   /* -bios FILE: our mapping of it */
    uint64_t rom_size;
};

/* One boot in progress. */
struct boot_ctx {
    struct machine *m;
    const struct boot *b;
    struct boot_files *f;
    struct boot_entry *e;
    const char *cmdline; /* never NULL */
    struct handoff *rom; /* NULL: a ROM that is not ours */
    uint64_t rsdp;
    uint8_t smbios[32]; /* entry point */
    struct e820 map[E820_MAX];
    int nmap;
    uint64_t low_end; /* end of RAM below 4 GiB */
};

/* `len` bytes of the low memory laid out above: there, whatever -m says. */
void *boot_low(struct boot_ctx *c, uint64_t at, uint64_t len);

/* A loader: looks at the first bytes of the kernel (`n` of them, at most
 * LOADER_HEAD, zeros after a short file), and loads it. */
#define LOADER_HEAD 32768
struct loader {
    const char *name;
    bool any_entry; /* false: not when -entry is given */
    bool (*probe)(const uint8_t *head, uint64_t n);
    int (*load)(struct boot_ctx *c);
};
extern const struct loader loader_linux, loader_elf, loader_multiboot1,
    loader_multiboot2;

/* The kernel turned out to be a Linux: without -append it gets a console. Other
 * kernels have words of their own, or do what they are made for without one. */
void boot_is_linux(struct boot_ctx *c);
/* Command line at LOW_CMDLINE; `max` characters (NUL not counted). */
int boot_put_cmdline(struct boot_ctx *c, uint64_t max);
/* The same with the image's name in front, as one word. */
int boot_put_named_cmdline(struct boot_ctx *c);
/* Sum of the initrds' sizes, each rounded up to 4 bytes (concatenated cpio
 * archives are one initramfs to Linux). */
uint64_t boot_initrd_size(const struct boot_files *f);
/* Loads the initrds one after the other at `at`. */
int boot_put_initrds(struct boot_ctx *c, gpa_t at);
/* Where initrds of `size` bytes go: page-aligned, as high as can be below
 * `limit` and the end of low RAM, not below `floor`. 0: there is no room. */
uint64_t boot_initrd_place(const struct boot_ctx *c, uint64_t size,
                           uint64_t floor, uint64_t limit);
/* "-initrd FILE: N KiB do not fit …": not between floor and the end of RAM.
 * More RAM helps if it may lie above 4 GiB, or end by `limit`. -EINVAL. */
int boot_initrd_nofit(const struct boot_ctx *c, uint64_t size, uint64_t floor,
                      uint64_t limit, bool above);
/* Flat 32-bit protected mode, or long mode, at rip. */
int boot_enter32(struct boot_ctx *c, uint64_t rip);
int boot_enter64(struct boot_ctx *c, uint64_t rip);
/* Power on through the ROM, which then does what `kind` says; -EINVAL (said)
 * where the ROM is not ours. */
int boot_enter_rom(struct boot_ctx *c, enum handoff_kind kind);

/* Linux's 32- or 64-bit entry for a kernel that is in RAM up to `end` but came
 * without a boot protocol header (an ELF file). */
int linux_enter_flat(struct boot_ctx *c, int bits, uint64_t rip, uint64_t end);

/* An ELF file, checked: its loadable parts fit into the file. */
#define ELF_SEGMENTS_MAX 32
struct elf {
    bool is64, is_linux;
    bool is_program; /* has an interpreter, or a C library's note */
    uint64_t entry;  /* physical */
    uint64_t pvh;    /* entry named by the PVH note, 0: none */
    uint64_t end;    /* of the highest segment in RAM */
    struct elf_segment {
        uint64_t off, vaddr, paddr, filesz, memsz;
    } load[ELF_SEGMENTS_MAX];
    int nload;
    unsigned notes; /* seen so far */
};
bool elf_probe(const uint8_t *head, uint64_t n);
/* 0, or -EINVAL (said). */
int elf_parse(const struct image *img, struct elf *elf);
/* Puts the segments into RAM, zeros behind them. */
int elf_load_segments(struct boot_ctx *c, const struct elf *elf);
/* The kernel's section headers, in its file; `num` is 0 where it has none that
 * can be used. */
struct sections {
    bool is64;
    uint64_t off, size; /* of them all */
    uint32_t num, entsize, shndx;
};
/* 0 or -errno (said). */
int sections_find(const struct image *img, struct sections *s);
/* Copies the headers to `table` (s->size bytes), and what sections no segment
 * brings into RAM at `from` and above, as far as there is room. */
int sections_load(struct boot_ctx *c, const struct sections *s, uint8_t *table,
                  uint64_t from);
/* The same checks for one piece of a kernel: RAM at or above 1 MiB. */
int boot_load_piece(struct boot_ctx *c, uint64_t off, uint64_t to,
                    uint64_t filesz, uint64_t memsz);

#endif
