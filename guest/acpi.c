/* SPDX-License-Identifier: MIT */
/* The few ACPI tables a power switch needs: MADT, FADT, and _S5 in the DSDT. */

#include "acpi.h"

/* ACPI 6.4 §5.2.5.3, §5.2.6 */
#define RSDP_LEN 20
#define RSDP_REVISION 15
#define RSDP_RSDT 16
#define RSDP_XSDT 24
#define TABLE_LEN 4
#define TABLE_HDR 36
#define TABLE_MAX (1u << 20)

/* FADT, §5.2.9 */
#define FADT_DSDT 40
#define FADT_SMI_CMD 48
#define FADT_ACPI_ENABLE 52
#define FADT_PM1A_CNT 64
#define FADT_PM1B_CNT 68
#define FADT_FLAGS 112
#define FADT_RESET_REG 116
#define FADT_RESET_VALUE 128
#define FADT_X_DSDT 140
#define FADT_SLEEP_CONTROL 244
#define FLAG_RESET_REG (1u << 10)
#define FLAG_HW_REDUCED (1u << 20)

/* Generic address structure, §5.2.3.2 */
#define GAS_SPACE 0
#define GAS_ADDRESS 4
#define SPACE_MEMORY 0
#define SPACE_IO 1

/* §4.8.3.2.1: PM1 control; §4.8.3.7: sleep control */
#define PM1_SCI_EN 1
#define PM1_SLP_TYP 10
#define PM1_SLP_EN (1u << 13)
#define SLEEP_TYP 2
#define SLEEP_EN (1u << 5)

/* MADT, §5.2.12 */
#define MADT_ENTRIES 44
#define MADT_LAPIC 0
#define MADT_X2APIC 9

static const u8 *rsdp;

static u32 get32(const u8 *p)
{
    return *(const u32_unaligned *)p;
}

static u64 get64(const u8 *p)
{
    return *(const u64_unaligned *)p;
}

static bool is_rsdp(const u8 *p)
{
    u8 sum = 0;

    if (memcmp(p, "RSD PTR ", 8))
        return false;
    for (unsigned i = 0; i < RSDP_LEN; i++)
        sum += p[i];
    return !sum;
}

static const u8 *scan(u32 from, u32 to)
{
    for (u32 gpa = from; gpa < to; gpa += 16) {
        const u8 *p = phys(gpa);

        if (p && *p == 'R' && is_rsdp(p))
            return p;
    }
    return NULL;
}

/* §5.2.5.1: first KiB of the EBDA, then the BIOS area. */
void acpi_init(u64 hint)
{
    rsdp = phys(hint);
    if (rsdp && is_rsdp(rsdp))
        return;
    u32 ebda = mmio_r16(0x40e) * 16u;

    rsdp = NULL;
    if (ebda >= 0x80000 && ebda < 0xa0000)
        rsdp = scan(ebda, ebda + 1024);
    if (!rsdp)
        rsdp = scan(0xe0000, 0x100000);
}

static const u8 *table(u64 gpa)
{
    const u8 *t = phys(gpa);

    return t && get32(t + TABLE_LEN) >= TABLE_HDR &&
                   get32(t + TABLE_LEN) <= TABLE_MAX
               ? t
               : NULL;
}

static const u8 *find_table(const char *signature)
{
    if (!rsdp)
        return NULL;
    bool wide = rsdp[RSDP_REVISION] >= 2 && get64(rsdp + RSDP_XSDT);
    const u8 *root =
        table(wide ? get64(rsdp + RSDP_XSDT) : get32(rsdp + RSDP_RSDT));
    u32 each = wide ? 8 : 4;

    if (!root)
        return NULL;
    for (u32 at = TABLE_HDR; at + each <= get32(root + TABLE_LEN); at += each) {
        const u8 *t = table(wide ? get64(root + at) : get32(root + at));

        if (t && !memcmp(t, signature, 4))
            return t;
    }
    return NULL;
}

/* Bit 0 of the flags: enabled. */
unsigned acpi_cpus(void)
{
    const u8 *madt = find_table("APIC");
    unsigned n = 0;

    if (!madt)
        return 0;
    u32 len = get32(madt + TABLE_LEN);

    for (u32 at = MADT_ENTRIES; at + 8 <= len && madt[at + 1] >= 2;
         at += madt[at + 1]) {
        if (madt[at] == MADT_LAPIC)
            n += madt[at + 4] & 1;
        else if (madt[at] == MADT_X2APIC && at + 12 <= len)
            n += madt[at + 8] & 1;
    }
    return n;
}

/* A byte constant in AML: ZeroOp, OneOp or BytePrefix (§20.2.3). */
static int aml_byte(const u8 *p)
{
    return p[0] == 0x0a ? p[1] : p[0] <= 1 ? p[0] : -1;
}

/* SLP_TYPa of _S5 (§7.4.2.6): NameOp, "_S5_", PackageOp, length, count, first
 * element. Searched byte by byte, there is no AML interpreter here. -1: none */
static int sleep_type(const u8 *fadt)
{
    u32 fadt_len = get32(fadt + TABLE_LEN);
    u64 gpa = fadt_len >= FADT_X_DSDT + 8 ? get64(fadt + FADT_X_DSDT) : 0;
    const u8 *dsdt = table(gpa ? gpa : get32(fadt + FADT_DSDT));

    if (!dsdt)
        return -1;
    u32 len = get32(dsdt + TABLE_LEN);

    for (u32 at = TABLE_HDR + 1; at + 12 <= len; at++) {
        const u8 *p = dsdt + at;

        if (p[0] != '_' || get32(p) != 0x5f35535f || p[4] != 0x12)
            continue;
        u32 length_bytes = 1u + (p[5] >> 6); /* §20.2.4 */

        return aml_byte(p + 5 + length_bytes + 1);
    }
    return -1;
}

static void gas_write(const u8 *gas, u8 v)
{
    u64 address = get64(gas + GAS_ADDRESS);

    if (gas[GAS_SPACE] == SPACE_IO)
        outb((u16)address, v);
    else if (gas[GAS_SPACE] == SPACE_MEMORY && phys(address))
        mmio_w8((uptr)phys(address), v);
}

/* §4.8.3.2.1: a machine still in legacy mode is asked to leave it first. */
static void acpi_mode(const u8 *fadt, u16 pm1)
{
    u32 smi = get32(fadt + FADT_SMI_CMD);

    if (inw(pm1) & PM1_SCI_EN || !smi)
        return;
    outb((u16)smi, fadt[FADT_ACPI_ENABLE]);
    for (u32 i = 0; i < 100000 && !(inw(pm1) & PM1_SCI_EN); i++)
        cpu_relax();
}

bool acpi_poweroff(void)
{
    const u8 *fadt = find_table("FACP");

    if (!fadt || get32(fadt + TABLE_LEN) < FADT_FLAGS + 4)
        return false;
    int type = sleep_type(fadt);

    if (type < 0)
        return false;
    if (get32(fadt + FADT_FLAGS) & FLAG_HW_REDUCED) {
        if (get32(fadt + TABLE_LEN) < FADT_SLEEP_CONTROL + 12)
            return false;
        gas_write(fadt + FADT_SLEEP_CONTROL,
                  (u8)((u32)type << SLEEP_TYP | SLEEP_EN));
        return true;
    }
    u16 pm1a = (u16)get32(fadt + FADT_PM1A_CNT);
    u16 pm1b = (u16)get32(fadt + FADT_PM1B_CNT);
    u16 value = (u16)((u32)type << PM1_SLP_TYP | PM1_SLP_EN);

    if (!pm1a)
        return false;
    acpi_mode(fadt, pm1a);
    outw(pm1a, value);
    if (pm1b)
        outw(pm1b, value);
    return true;
}

bool acpi_reset(void)
{
    const u8 *fadt = find_table("FACP");

    if (!fadt || get32(fadt + TABLE_LEN) <= FADT_RESET_VALUE ||
        !(get32(fadt + FADT_FLAGS) & FLAG_RESET_REG))
        return false;
    gas_write(fadt + FADT_RESET_REG, fadt[FADT_RESET_VALUE]);
    return true;
}
