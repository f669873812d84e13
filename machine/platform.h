/* SPDX-License-Identifier: MIT */
/* Where things are in this PC: the one list of addresses, ports and IRQs that
 * devices, firmware tables, loaders and the BIOS agree on. */
#ifndef PLATFORM_H
#define PLATFORM_H

/* Guest-physical memory:
 *   0        .. 9FC00      RAM
 *   9FC00    .. A0000      EBDA (reserved)
 *   A0000    .. C0000      text page at B8000 (RAM underneath, reserved)
 *   C0000    .. E0000      option ROMs (RAM underneath, reserved)
 *   E0000    .. F0000      ACPI tables, MP table, SMBIOS (reserved)
 *   F0000    .. 100000     BIOS (RAM copy of the ROM, reserved)
 *   100000   .. low end    RAM, at most to C0000000
 *   C0000000 .. E0000000   PCI memory window
 *   E0000000 .. F0000000   ECAM
 *   FEC00000, FEE00000     IOAPIC, LAPIC
 *   FEFFC000 .. FF000000   KVM's identity map and TSS pages
 *   FFFxx000 .. 100000000  the ROM again, ends at 4 GiB
 *   4 GiB    ..            the rest of RAM */
#define EBDA_BASE 0x9fc00
#define VMGENID_AT (EBDA_BASE + 0x40) /* 16 bytes, behind the MP pointer */
#define TABLES_BASE 0xe0000
#define TABLES_SIZE 0x10000
#define BIOS_BASE 0xf0000
#define HIMEM_BASE 0x100000
#define LOWRAM_MAX 0xc0000000ull
#define HIGHRAM_BASE 0x100000000ull
#define IOAPIC_BASE 0xfec00000u
#define LAPIC_BASE 0xfee00000u
#define KVM_IDENTITY_BASE 0xfeffc000u
#define KVM_TSS_BASE 0xfeffd000u

#define CPUS_MAX 32

/* Ports */
#define PORT_RTC 0x70
#define PORT_I8042_DATA 0x60
#define PORT_I8042_CMD 0x64
#define PORT_FAST_A20 0x92
#define PORT_COM1 0x3f8
#define PORT_COM2 0x2f8
#define PORT_PVPANIC 0x505
#define PORT_PM1_EVT 0x600 /* status, enable: 2 + 2 bytes */
#define PORT_PM1_CNT 0x604 /* 2 bytes; SLP_TYP of S5 is ACPI_S5_TYP */
#define PORT_PM_TMR 0x608  /* 4 bytes, 3.579545 MHz, 32-bit */
#define PORT_GPE0 0x60c    /* 8 events: status, enable */
#define GPE_VMGENID 0
#define PORT_RESET 0xcf9
#define ACPI_S5_TYP 0 /* what QEMU has at this port, too */

/* ISA IRQs (GSI = IRQ, but the timer is on GSI 2 of the IOAPIC) */
#define IRQ_KEYBOARD 1
#define IRQ_COM1 4
#define IRQ_COM2 3
#define IRQ_RTC 8
#define IRQ_SCI 9

/* PCI: one bus. BARs are assigned from the windows. */
#define PCI_MEM_BASE 0xc0000000ull /* to ECAM */
#define PCI_MEM_SIZE 0x20000000ull
#define PCI_ECAM_BASE 0xe0000000ull
#define PCI_ECAM_SIZE 0x10000000ull
#define PCI_IO_BASE 0xc000
#define PCI_IO_SIZE 0x4000

/* The GSI that INTA# of a slot is wired to: the DSDT's _PRT, the MP table and
 * the Interrupt Line byte say the same. All are below 16, so that one line
 * reaches the 8259 and the IOAPIC under the same number (KVM's EOI notification
 * knows one GSI for each pin). */
static inline unsigned pci_slot_gsi(unsigned slot)
{
    static const unsigned char gsi[] = {10, 11, 5, 14};
    return gsi[slot % sizeof(gsi)];
}

#endif
