/* SPDX-License-Identifier: MIT */
/* INT 1Ah AH=B1h: the PCI BIOS for real mode; and the option ROMs of PCI
 * functions (PCI Firmware Specification 3.0 §5, PnP BIOS 1.0A §3). */
#include "bios/pcibios.h"

extern u8 pci32_entry[];

void pci_bios(regs r)
{
    struct pci_call c = {.eax = r->eax,
                         .ebx = r->ebx,
                         .ecx = r->ecx,
                         .edx = r->edx,
                         .esi = r->esi,
                         .edi = r->edi};
    unsigned status = pci_call(&c, 0xf0000 + (u32)pci32_entry);

    r->eax = c.eax;
    r->ebx = c.ebx;
    r->ecx = c.ecx;
    r->edx = c.edx;
    r->edi = c.edi;
    r->ah = (u8)status;
    set_carry(r, status != PCI_OK);
}

/* ------------------------------------------------------------- option ROMs */

#define OPTROM_FIRST 0xc000 /* segments */
#define OPTROM_END 0xe000
#define PCI_ROM 0x30
#define ROM_ENABLE 1u

/* Offsets in an option ROM, which GS points to. */
#define rom8(off) (*(volatile u8 GS *)(u32)(off))
#define rom16(off) (*(volatile u16 GS *)(u32)(off))
#define rom32(off) (*(volatile u32 GS *)(u32)(off))
enum {
    ROM_SIZE = 2, /* in 512-byte blocks */
    ROM_INIT = 3,
    ROM_PCIR = 0x18,
    ROM_PNP = 0x1a,
    PCIR_IDS = 4,
    PCIR_CODE = 0x14,
    PNP_NEXT = 6, /* in 16-byte units */
    PNP_BEV = 0x1a,
};

static u16 next_rom = OPTROM_FIRST;
static u16 rom_of[32]; /* each slot's segment; 0: none */

/* Is what GS points to a PC's option ROM for the function with these ids? A
 * ROM may serve several: only the vendor must agree. */
static int rom_is_ours(u32 ids)
{
    u16 pcir;

    if (rom16(0) != 0xaa55)
        return 0;
    pcir = rom16(ROM_PCIR);
    return pcir && pcir < 0xffe0 && rom32(pcir) == 0x52494350 &&
           rom16(pcir + PCIR_IDS) == (u16)ids && rom8(pcir + PCIR_CODE) == 0;
}

/* Copies the ROM behind BAR value `bar` to next_rom and initialises it there.
 * Only its first KiB is read before its size is known. */
static void optrom_init(u16 bdf, u32 ids, u32 bar)
{
    u32 at = (u32)next_rom << 4, size;

    pci_write32(bdf, PCI_ROM, bar | ROM_ENABLE);
    flat_copy(at, bar & ~0x7ffu, 1024);
    set_gs(next_rom);
    size = (u32)rom8(ROM_SIZE) << 9;
    if (rom_is_ours(ids) && at + size <= (u32)OPTROM_END << 4) {
        flat_copy(at, bar & ~0x7ffu, size);
        pci_write32(bdf, PCI_ROM, bar & ~ROM_ENABLE);
        call_rom(next_rom, ROM_INIT, bdf);
        rom_of[bdf >> 3] = next_rom;
        set_gs(next_rom);
        size = (u32)rom8(ROM_SIZE) << 9; /* it may have shrunk */
        next_rom = (u16)(next_rom + ((size + 2047) >> 11 << 7));
    } else {
        rom16(0) = 0;
    }
    pci_write32(bdf, PCI_ROM, bar & ~ROM_ENABLE);
}

void optrom_scan(void)
{
    for (u16 bdf = 8; bdf < 256; bdf = (u16)(bdf + 8)) {
        u32 ids = pci_read32(bdf, 0), bar;
        if (ids == 0xffffffff)
            continue;
        bar = pci_read32(bdf, PCI_ROM);
        if (bar & ~0x7ffu)
            optrom_init(bdf, ids, bar);
    }
}

void optrom_boot(u8 slot)
{
    u16 pnp;

    set_gs(rom_of[slot]);
    if (!rom_of[slot] || rom16(0) != 0xaa55)
        return;
    pnp = rom16(ROM_PNP);
    while (pnp && rom32(pnp) == 0x506e5024 /* "$PnP" */) {
        u16 bev = rom16(pnp + PNP_BEV);
        if (bev) {
            call_rom(rom_of[slot], bev, 0);
            set_gs(rom_of[slot]);
        }
        pnp = (u16)(rom8(pnp + PNP_NEXT) << 4);
    }
}
