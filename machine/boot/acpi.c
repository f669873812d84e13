/* SPDX-License-Identifier: MIT */
/* ACPI tables: RSDP, XSDT, RSDT, FADT, FACS, MADT, MCFG, DSDT.
 *
 * Written for ACPI 6.0 readers and acceptable to 1.0 ones (RSDT, 32-bit
 * pointers). The hardware is real fixed hardware, always in ACPI mode: PM1
 * event and control registers, PM timer, power button, a few GPEs; no SMI.
 * There are no processor devices on purpose: what they add is an idle driver
 * between Linux and HLT. */
#include <assert.h>
#include <string.h>

#include "machine/boot/aml.h"
#include "machine/boot/firmware.h"
#include "machine/machine.h"
#include "machine/platform.h"

struct acpi_header { /* §5.2.6 */
    char signature[4];
    le32 length;
    uint8_t revision, checksum;
    char oem_id[6], oem_table_id[8];
    le32 oem_revision;
    char creator_id[4];
    le32 creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_header) == 36, "");

struct acpi_rsdp { /* §5.2.5.3 */
    char signature[8];
    uint8_t checksum;
    char oem_id[6];
    uint8_t revision;
    le32 rsdt, length;
    le64 xsdt;
    uint8_t ext_checksum, reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_rsdp) == 36, "");

struct acpi_gas { /* §5.2.3.2: space 1 is system I/O */
    uint8_t space, bits, offset, access;
    le64 addr;
} __attribute__((packed));

struct acpi_fadt { /* §5.2.9, revision 6 */
    struct acpi_header h;
    le32 facs, dsdt;
    uint8_t reserved0, pm_profile;
    le16 sci_int;
    le32 smi_cmd;
    uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
    le32 pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
    uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len,
        gpe1_len, gpe1_base, cst_cnt;
    le16 lvl2_lat, lvl3_lat, flush_size, flush_stride;
    uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
    le16 boot_arch;
    uint8_t reserved1;
    le32 flags;
    struct acpi_gas reset_reg;
    uint8_t reset_value;
    le16 arm_boot_arch;
    uint8_t minor;
    le64 x_facs, x_dsdt;
    struct acpi_gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt,
        x_pm_tmr, x_gpe0, x_gpe1, sleep_control, sleep_status;
    char hypervisor[8];
} __attribute__((packed));
_Static_assert(offsetof(struct acpi_fadt, flags) == 112, "");
_Static_assert(offsetof(struct acpi_fadt, x_facs) == 132, "");
_Static_assert(sizeof(struct acpi_fadt) == 276, "");

enum { /* boot_arch, §5.2.9.3 */
       BOOT_LEGACY_DEVICES = 1 << 0,
       BOOT_8042 = 1 << 1,
       BOOT_NO_VGA = 1 << 2,
};
enum { /* flags, §5.2.9 */
       FADT_WBINVD = 1 << 0,
       FADT_PROC_C1 = 1 << 2,
       FADT_NO_SLP_BUTTON = 1 << 5,
       FADT_NO_FIX_RTC = 1 << 6,
       FADT_TMR_VAL_EXT = 1 << 8,
       FADT_RESET_REG_SUP = 1 << 10,
};

struct acpi_facs { /* §5.2.10 */
    char signature[4];
    le32 length, hardware_signature, waking_vector, global_lock, flags;
    le64 x_waking_vector;
    uint8_t version, reserved[31];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_facs) == 64, "");

struct madt { /* §5.2.12 */
    struct acpi_header h;
    le32 lapic, flags;
} __attribute__((packed));
struct madt_lapic {
    uint8_t type, length, uid, apic_id;
    le32 flags;
} __attribute__((packed));
struct madt_ioapic {
    uint8_t type, length, id, reserved;
    le32 addr, gsi_base;
} __attribute__((packed));
struct madt_iso {
    uint8_t type, length, bus, irq;
    le32 gsi;
    le16 flags;
} __attribute__((packed));
struct madt_nmi {
    uint8_t type, length, uid;
    le16 flags;
    uint8_t lint;
} __attribute__((packed));
_Static_assert(sizeof(struct madt) == 44 && sizeof(struct madt_lapic) == 8 &&
                   sizeof(struct madt_ioapic) == 12 &&
                   sizeof(struct madt_iso) == 10 &&
                   sizeof(struct madt_nmi) == 6,
               "");

struct mcfg { /* PCI Firmware Specification 3.0 §4.1.2 */
    struct acpi_header h;
    le64 reserved;
    le64 base;
    le16 segment;
    uint8_t first_bus, last_bus;
    le32 reserved2;
} __attribute__((packed));
_Static_assert(sizeof(struct mcfg) == 60, "");

/* Fills in the header when all the rest of the table is there. */
static void acpi_finish(void *table, const char *signature, uint8_t revision,
                        size_t length)
{
    struct acpi_header *h = table;

    memcpy(h->signature, signature, 4);
    h->length = (le32)length;
    h->revision = revision;
    memcpy(h->oem_id, "TINY  ", 6);
    memcpy(h->oem_table_id, "VMM     ", 8);
    h->oem_revision = 1;
    memcpy(h->creator_id, "VMM ", 4);
    h->creator_revision = 1;
    h->checksum = 0;
    h->checksum = fw_checksum(table, length);
}

#define LAST_BUS 0

/* -------------------------------------------------------------------- DSDT */

/* One package per slot: any function of it, INTA#, no link device, the GSI
 * (§6.2.13). The 8259s have these interrupts under the same numbers, so that
 * no _PIC method is needed to tell the two modes apart. */
static void acpi_dsdt_prt(struct aml *a)
{
    size_t all, one;

    aml_defname(a, "_PRT");
    all = aml_package(a, 31);
    for (unsigned slot = 1; slot < 32; slot++) {
        one = aml_package(a, 4);
        aml_int(a, (uint64_t)slot << 16 | 0xffff);
        aml_int(a, 0);
        aml_int(a, 0);
        aml_int(a, pci_slot_gsi(slot));
        aml_close(a, one);
    }
    aml_close(a, all);
}

static void acpi_dsdt_pci(struct aml *a)
{
    size_t dev = aml_device(a, "PCI0"), m;

    /* Conventional PCI: ECAM needs no more than the MCFG, and PNP0A08 would
     * only make Linux ask for control of PCI Express features. */
    aml_defeisa(a, "_HID", "PNP0A03");
    aml_defint(a, "_UID", 0);
    aml_defint(a, "_BBN", 0);
    m = aml_crs(a);
    aml_bus_window(a, 0, LAST_BUS);
    aml_io(a, 0xcf8, 8);
    aml_io_window(a, 0, 0xcf7);
    aml_io_window(a, 0xd00, 0xffff);
    aml_mem_window(a, (uint32_t)PCI_MEM_BASE,
                   (uint32_t)(PCI_MEM_BASE + PCI_MEM_SIZE - 1));
    aml_crs_close(a, m);
    acpi_dsdt_prt(a);
    aml_close(a, dev);
}

/* A device with ports and perhaps an IRQ; irq < 0: none. */
static void acpi_dsdt_isa(struct aml *a, const char *name, const char *hid,
                          uint16_t port, uint8_t len, int irq, unsigned uid)
{
    size_t dev = aml_device(a, name), crs;

    if (strlen(hid) == 7) {
        aml_defeisa(a, "_HID", hid);
    } else {
        aml_defname(a, "_HID");
        aml_string(a, hid);
    }
    aml_defint(a, "_UID", uid);
    aml_defint(a, "_STA", 15);
    crs = aml_crs(a);
    aml_io(a, port, len);
    if (irq >= 0)
        aml_irq(a, (unsigned)irq);
    aml_crs_close(a, crs);
    aml_close(a, dev);
}

/* The keyboard, with the controller's two ports. */
static void acpi_dsdt_keyboard(struct aml *a)
{
    size_t dev = aml_device(a, "KBD_"), crs;

    aml_defeisa(a, "_HID", "PNP0303");
    aml_defint(a, "_STA", 15);
    crs = aml_crs(a);
    aml_io(a, PORT_I8042_DATA, 1);
    aml_io(a, PORT_I8042_CMD, 1);
    aml_irq(a, IRQ_KEYBOARD);
    aml_crs_close(a, crs);
    aml_close(a, dev);
}

/* Where the generation ID is ("Virtual Machine Generation ID"); its event is
 * told by \_GPE. */
static void acpi_dsdt_vmgenid(struct aml *a)
{
    size_t dev = aml_device(a, "VGEN"), m;

    aml_defname(a, "_HID");
    aml_string(a, "VMGENCTR");
    aml_defname(a, "_CID");
    aml_string(a, "VM_Gen_Counter");
    aml_defname(a, "_DDN");
    aml_string(a, "VM_Gen_Counter");
    aml_defname(a, "ADDR");
    m = aml_package(a, 2);
    aml_int(a, VMGENID_AT);
    aml_int(a, 0);
    aml_close(a, m);
    aml_close(a, dev);
}

/* What is taken but no device's: ECAM (Linux uses MMCONFIG only where a
 * motherboard device claims it) and the PM registers. */
static void acpi_dsdt_motherboard(struct aml *a)
{
    size_t dev = aml_device(a, "MBRD"), crs;

    aml_defeisa(a, "_HID", "PNP0C02");
    aml_defint(a, "_UID", 0);
    crs = aml_crs(a);
    aml_mem32(a, (uint32_t)PCI_ECAM_BASE, (uint32_t)PCI_ECAM_SIZE);
    aml_io(a, PORT_PM1_EVT, 16);
    aml_crs_close(a, crs);
    aml_close(a, dev);
}

static uint64_t acpi_dsdt_build(struct fw *f)
{
    uint64_t at;
    uint8_t *p = fw_alloc(f, sizeof(struct acpi_header), 16, &at);
    struct aml a = {p, sizeof(struct acpi_header),
                    TABLES_BASE + TABLES_SIZE - at};
    size_t m;

    aml_defname(&a, "_S5_");
    m = aml_package(&a, 4);
    aml_int(&a, ACPI_S5_TYP);
    aml_int(&a, ACPI_S5_TYP);
    aml_int(&a, 0);
    aml_int(&a, 0);
    aml_close(&a, m);
    m = aml_scope(&a, "_SB_");
    acpi_dsdt_pci(&a);
    acpi_dsdt_motherboard(&a);
    acpi_dsdt_isa(&a, "COM1", "PNP0501", PORT_COM1, 8, IRQ_COM1, 0);
    if (f->serials > 1)
        acpi_dsdt_isa(&a, "COM2", "PNP0501", PORT_COM2, 8, IRQ_COM2, 1);
    acpi_dsdt_keyboard(&a);
    acpi_dsdt_isa(&a, "RTC_", "PNP0B00", PORT_RTC, 2, IRQ_RTC, 0);
    acpi_dsdt_isa(&a, "PEVT", "QEMU0001", PORT_PVPANIC, 1, -1, 0);
    acpi_dsdt_vmgenid(&a);
    aml_close(&a, m);
    m = aml_scope(&a, "_GPE");
    aml_notifier(&a, "_E00", "_SB_", "VGEN", 0x80); /* GPE_VMGENID, an edge */
    aml_close(&a, m);
    assert(a.n <= a.cap);
    f->used += a.n - sizeof(struct acpi_header);
    acpi_finish(p, "DSDT", 2, a.n);
    return at;
}

/* ------------------------------------------------------------ other tables */

static struct acpi_gas acpi_io_gas(uint16_t port, uint8_t bytes)
{
    uint8_t access = bytes == 4 ? 3 : bytes;

    return (struct acpi_gas){1, (uint8_t)(bytes * 8), 0, access, port};
}

static uint64_t acpi_fadt_build(struct fw *f, uint64_t dsdt)
{
    uint64_t facs_at, at;
    struct acpi_facs *facs = fw_alloc(f, sizeof(*facs), 64, &facs_at);
    struct acpi_fadt *t = fw_alloc(f, sizeof(*t), 16, &at);

    memcpy(facs->signature, "FACS", 4);
    facs->length = sizeof(*facs);
    facs->version = 2;
    t->facs = (le32)facs_at;
    t->x_facs = 0; /* one of the two only */
    t->dsdt = (le32)dsdt;
    t->x_dsdt = dsdt;
    t->sci_int = IRQ_SCI;
    t->pm1a_evt = PORT_PM1_EVT;
    t->pm1a_cnt = PORT_PM1_CNT;
    t->pm_tmr = PORT_PM_TMR;
    t->pm1_evt_len = 4;
    t->pm1_cnt_len = 2;
    t->pm_tmr_len = 4;
    t->gpe0 = PORT_GPE0;
    t->gpe0_len = 2;
    t->lvl2_lat = 0xfff; /* no C2, no C3 */
    t->lvl3_lat = 0xfff;
    t->century = 0x32;
    t->boot_arch = BOOT_LEGACY_DEVICES | BOOT_8042 | BOOT_NO_VGA;
    t->flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLP_BUTTON |
               FADT_NO_FIX_RTC | FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP;
    t->reset_reg = acpi_io_gas(PORT_RESET, 1);
    t->reset_value = 6;
    t->x_pm1a_evt = acpi_io_gas(PORT_PM1_EVT, 4);
    t->x_pm1a_evt.access = 2; /* two registers of 16 bits */
    t->x_pm1a_cnt = acpi_io_gas(PORT_PM1_CNT, 2);
    t->x_pm_tmr = acpi_io_gas(PORT_PM_TMR, 4);
    t->x_gpe0 = acpi_io_gas(PORT_GPE0, 2);
    t->x_gpe0.access = 1; /* registers of 8 bits */
    acpi_finish(t, "FACP", 6, sizeof(*t));
    return at;
}

static void acpi_madt_iso(struct aml *a, unsigned irq, unsigned gsi,
                          uint16_t flags)
{
    struct madt_iso iso = {2, 10, 0, (uint8_t)irq, gsi, flags};

    aml_bytes(a, &iso, sizeof(iso));
}

static uint64_t acpi_madt_build(struct fw *f, unsigned ncpus)
{
    uint64_t at;
    uint32_t pci = fw_pci_gsis();
    size_t niso = 2 + (size_t)__builtin_popcount(pci);
    size_t size = sizeof(struct madt) + ncpus * sizeof(struct madt_lapic) +
                  sizeof(struct madt_ioapic) + niso * sizeof(struct madt_iso) +
                  sizeof(struct madt_nmi);
    uint8_t *p = fw_alloc(f, size, 16, &at);
    struct madt *t = (void *)p;
    struct aml out = {p, sizeof(*t), size};

    t->lapic = LAPIC_BASE;
    t->flags = 1; /* there are 8259s too */
    for (unsigned i = 0; i < ncpus; i++)
        aml_bytes(&out, &(struct madt_lapic){0, 8, (uint8_t)i, (uint8_t)i, 1},
                  8);
    aml_bytes(&out, &(struct madt_ioapic){1, 12, 0, 0, IOAPIC_BASE, 0}, 12);
    /* What is not as ISA has it: the timer's pin, the SCI (level, high), and
     * PCI's (level, low). KVM's IOAPIC ignores the polarity. */
    acpi_madt_iso(&out, 0, 2, 0);
    acpi_madt_iso(&out, IRQ_SCI, IRQ_SCI, 0x0d);
    for (unsigned irq = 0; irq < 16; irq++)
        if (pci >> irq & 1)
            acpi_madt_iso(&out, irq, irq, 0x0f);
    aml_bytes(&out, &(struct madt_nmi){4, 6, 0xff, 0, 1}, 6);
    assert(out.n == size);
    acpi_finish(t, "APIC", 4, size);
    return at;
}

/* Bus 0 is all there is, and saying so keeps Linux from probing 8192 empty
 * slots (two exits each) before it believes it. */
static uint64_t acpi_mcfg_build(struct fw *f)
{
    uint64_t at;
    struct mcfg *t = fw_alloc(f, sizeof(*t), 16, &at);

    t->base = PCI_ECAM_BASE;
    t->last_bus = LAST_BUS;
    acpi_finish(t, "MCFG", 1, sizeof(*t));
    return at;
}

/* RSDT and XSDT: the same list with 32- and 64-bit pointers. */
static void acpi_roots_build(struct fw *f, struct acpi_rsdp *rsdp,
                             const uint64_t *table, size_t n)
{
    uint64_t at;
    uint8_t *rsdt = fw_alloc(f, sizeof(struct acpi_header) + 4 * n, 16, &at);
    uint8_t *xsdt;

    rsdp->rsdt = (le32)at;
    xsdt = fw_alloc(f, sizeof(struct acpi_header) + 8 * n, 16, &at);
    rsdp->xsdt = at;
    for (size_t i = 0; i < n; i++) {
        le32 low = (le32)table[i];
        memcpy(rsdt + sizeof(struct acpi_header) + 4 * i, &low, 4);
        memcpy(xsdt + sizeof(struct acpi_header) + 8 * i, &table[i], 8);
    }
    acpi_finish(rsdt, "RSDT", 1, sizeof(struct acpi_header) + 4 * n);
    acpi_finish(xsdt, "XSDT", 1, sizeof(struct acpi_header) + 8 * n);
}

uint64_t acpi_build(struct fw *f, unsigned ncpus)
{
    uint64_t at, table[3];
    struct acpi_rsdp *rsdp = fw_alloc(f, sizeof(*rsdp), 16, &at);

    table[0] = acpi_fadt_build(f, acpi_dsdt_build(f));
    table[1] = acpi_madt_build(f, ncpus);
    table[2] = acpi_mcfg_build(f);
    memcpy(rsdp->signature, "RSD PTR ", 8);
    memcpy(rsdp->oem_id, "TINY  ", 6);
    rsdp->revision = 2;
    rsdp->length = sizeof(*rsdp);
    acpi_roots_build(f, rsdp, table, ARRAY_LEN(table));
    rsdp->checksum = fw_checksum(rsdp, 20);
    rsdp->ext_checksum = fw_checksum(rsdp, sizeof(*rsdp));
    return at;
}
