/* SPDX-License-Identifier: MIT */
/* What the parts of the ROM share.
 *
 * Theory of operation. Everything runs in real mode with CS = DS = ES = SS =
 * F000h, so that C's pointers work; that segment is RAM and holds code, data
 * and the ROM's own stack. An interrupt enters through a stub in entry.S, which
 * saves all registers on the caller's stack, points FS at that stack, changes
 * to the ROM's stack (unless it is there already) and calls interrupt(). C sees
 * the caller's registers as *r, in FS; changing them changes what the caller
 * gets back. GS is free for reaching other memory: set_gs, then far pointers
 * declared GS. Interrupts are off while C runs, but in idle(). */
#ifndef BIOS_H
#define BIOS_H

#include "machine/boot/handoff.h"
#include "machine/platform.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define GS __seg_gs
#define REGISTER(n)                                                            \
    union {                                                                    \
        u32 e##n##x;                                                           \
        u16 n##x;                                                              \
        struct {                                                               \
            u8 n##l, n##h;                                                     \
        };                                                                     \
    }

/* As the stubs in entry.S push it. */
struct regs {
    u16 gs, fs, es, ds;
    union {
        u32 edi;
        u16 di;
    };
    union {
        u32 esi;
        u16 si;
    };
    union {
        u32 ebp;
        u16 bp;
    };
    u32 esp;
    REGISTER(b);
    REGISTER(d);
    REGISTER(c);
    REGISTER(a);
    u16 vector, ip, cs, flags;
};
_Static_assert(sizeof(struct regs) == 48, "entry.S relies on it");
typedef struct regs __seg_fs *regs;
#define FLAG_CF 0x0001
#define FLAG_ZF 0x0040

/* ------------------------------------------------------------- primitives */

static inline void outb(u16 port, u8 v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}
static inline void outw(u16 port, u16 v)
{
    __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}
static inline void outl(u16 port, u32 v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}
static inline u8 inb(u16 port)
{
    u8 v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u16 inw(u16 port)
{
    u16 v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u32 inl(u16 port)
{
    u32 v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline void set_gs(u16 segment)
{
    __asm__ volatile("movw %0, %%gs" : : "r"(segment) : "memory");
}
static inline void set_carry(regs r, int on)
{
    r->flags = (u16)(on ? r->flags | FLAG_CF : r->flags & ~FLAG_CF);
}

/* The BIOS data area, 40:0. GS must be 40h: */
#define BDA_SEG 0x40
#define bda8(off) (*(volatile u8 GS *)(u32)(off))
#define bda16(off) (*(volatile u16 GS *)(u32)(off))
#define bda32(off) (*(volatile u32 GS *)(u32)(off))
enum {
    BDA_COM1 = 0x00,
    BDA_EBDA_SEG = 0x0e,
    BDA_EQUIPMENT = 0x10,
    BDA_BASE_KIB = 0x13,
    BDA_KBD_FLAGS = 0x17,
    BDA_KBD_HEAD = 0x1a,
    BDA_KBD_TAIL = 0x1c,
    BDA_KBD_BUF = 0x1e,
    BDA_KBD_BUF_END = 0x3e,
    BDA_VIDEO_MODE = 0x49,
    BDA_COLUMNS = 0x4a,
    BDA_PAGE_SIZE = 0x4c,
    BDA_CURSOR = 0x50,
    BDA_CURSOR_SHAPE = 0x60,
    BDA_CRTC = 0x63,
    BDA_TICKS = 0x6c,
    BDA_MIDNIGHT = 0x70,
    BDA_DISK_STATUS = 0x74,
    BDA_DISKS = 0x75,
    BDA_KBD_START = 0x80,
    BDA_KBD_END = 0x82,
    BDA_ROWS = 0x84,
    BDA_CHAR_HEIGHT = 0x85,
    BDA_KBD_MODE = 0x96,
};

/* ---------------------------------------------------------------- entry.S */

extern struct handoff handoff;
extern u16 bios_sp; /* where the ROM's stack begins for the next interrupt */
extern u8 pnp_header[];

void reset_machine(void) __attribute__((noreturn));
/* Flat copy of `len` bytes anywhere below 4 GiB. */
void flat_copy(u32 dst, u32 src, u32 len);
/* Far call into an option ROM: AX, BX, DX and ES:DI as the PnP BIOS
 * specification wants them. */
void call_rom(u16 segment, u16 offset, u16 ax);
void enter_kernel(void) __attribute__((noreturn));
/* What lies at BOOT_SECTOR, which came from that drive. */
#define BOOT_SECTOR 0x7c00u
void enter_boot_sector(u8 drive) __attribute__((noreturn));
/* boot(how) with an empty stack. */
void boot_anew(u32 how) __attribute__((noreturn));
/* Calls fn(arg) in protected mode, where GS is all memory below 4 GiB; it must
 * not load GS. */
u32 flat_call(u32 (*fn)(const void *arg), const void *arg);

/* -------------------------------------------------------------------- C */

void interrupt(regs r);
void post(void);
void boot(u32 how) __attribute__((noreturn));
void set_vector(unsigned n, const u8 *to);

void idle(void); /* interrupts on until one came */
void wait_us(u32 us);
u8 cmos_read(u8 reg);

void serial_init(void);
void serial_put(u8 c);
int serial_get(void); /* -1: nothing there */
void video_init(void);
void print(const char *s);
void print_hex(u32 v, int digits);

void int_10(regs r);
void int_13(regs r);
void int_14(regs r);
void int_15(regs r);
void int_16(regs r);
void int_1a(regs r);
void pci_bios(regs r);

/* Finds disks; the drive that a PCI slot has (0 is 80h), or -1; boots from it,
 * or comes back. */
void disks_init(void);
int disk_slot(u8 slot);
void disk_boot(u8 slot);

/* Scans PCI for expansion ROMs and initialises them; then optrom_boot calls
 * the boot entry vectors of a slot's. */
void optrom_scan(void);
void optrom_boot(u8 slot);

#endif
