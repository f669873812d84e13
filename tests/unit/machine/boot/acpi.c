/* SPDX-License-Identifier: MIT */
/* The firmware tables: checksums, pointers, and what iasl makes of them. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "machine/boot/boot.h"
#include "machine/platform.h"
#include "tests/unit/machine/boot/kit.h"

#define MB (1ull << 20)

struct tables {
    struct machine *m;
    uint64_t rsdp;
    uint8_t smbios[32];
};

static struct boot boot; /* what -uuid, -smbios and -no-acpi said */

static struct tables build(unsigned ncpus)
{
    struct tables t = {.m = fake_new(2 * MB)};

    memset(fake_ram(t.m, 0, 2 * MB), 0xff, 2 * MB); /* the last run's */
    t.m->ncpus = ncpus;
    t.m->serials = ncpus > 2 ? 2 : 1;
    REQUIRE_EQ(firmware_build(t.m, &boot, &t.rsdp, t.smbios), 0);
    return t;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;

    while (n--)
        s = (uint8_t)(s + *p++);
    return s;
}

/* The table at `at`, its checksum checked. */
static const uint8_t *table_at(struct tables *t, uint64_t at)
{
    uint32_t n = kit_get32(fake_ram(t->m, at, 36), 4);

    CHECK_EQ(at % 16, 0);
    CHECK_EQ(sum(fake_ram(t->m, at, n), n), 0);
    CHECK(at >= TABLES_BASE && at + n <= TABLES_BASE + TABLES_SIZE);
    return fake_ram(t->m, at, n);
}

/* The table with this signature, by way of the XSDT and the RSDT. */
static const uint8_t *find_table(struct tables *t, const char *signature)
{
    const uint8_t *rsdp = fake_ram(t->m, t->rsdp, 36);
    const uint8_t *xsdt = table_at(t, kit_get64(rsdp, 24));
    const uint8_t *rsdt = table_at(t, kit_get32(rsdp, 16));
    uint32_t n = (kit_get32(xsdt, 4) - 36) / 8;

    REQUIRE_EQ((kit_get32(rsdt, 4) - 36) / 4, n);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *p = table_at(t, kit_get64(xsdt, 36 + 8 * i));
        CHECK_EQ(kit_get32(rsdt, 36 + 4 * i), kit_get64(xsdt, 36 + 8 * i));
        if (memcmp(p, signature, 4) == 0)
            return p;
    }
    FAIL("no table %s", signature);
    test_end();
}

TEST(acpi_5_2_5_rsdp_and_roots)
{
    struct tables t = build(1);
    const uint8_t *rsdp = fake_ram(t.m, t.rsdp, 36);

    CHECK_MEM(rsdp, "RSD PTR ", 8);
    CHECK(t.rsdp >= 0xe0000 && t.rsdp < 0x100000 && t.rsdp % 16 == 0);
    CHECK_EQ(sum(rsdp, 20), 0);
    CHECK_EQ(sum(rsdp, 36), 0);
    CHECK_EQ(rsdp[15], 2);
    find_table(&t, "FACP");
    find_table(&t, "APIC");
    fake_free(t.m);
}

TEST(acpi_5_2_9_fadt_describes_this_hardware)
{
    struct tables t = build(1);
    const uint8_t *f = find_table(&t, "FACP");
    const uint8_t *facs = fake_ram(t.m, kit_get32(f, 36), 64);

    CHECK_EQ(f[8], 6);
    CHECK_EQ(kit_get32(f, 4), 276);
    CHECK_MEM(facs, "FACS", 4);
    CHECK_EQ(kit_get32(f, 36) % 64, 0);
    CHECK_EQ(kit_get32(f, 40), kit_get64(f, 140)); /* DSDT, X_DSDT */
    CHECK_MEM(table_at(&t, kit_get64(f, 140)), "DSDT", 4);
    CHECK_EQ(f[46], IRQ_SCI);
    CHECK_EQ(kit_get32(f, 48), 0); /* no SMI: always in ACPI mode */
    CHECK_EQ(kit_get32(f, 56), PORT_PM1_EVT);
    CHECK_EQ(kit_get32(f, 64), PORT_PM1_CNT);
    CHECK_EQ(kit_get32(f, 76), PORT_PM_TMR);
    CHECK_EQ(kit_get32(f, 80), PORT_GPE0);
    CHECK_EQ(f[92], 2);
    CHECK_EQ(kit_get32(f, 109) & 0xffff, 7);  /* legacy devices, 8042, no VGA */
    CHECK_EQ(kit_get32(f, 112) >> 4 & 1, 0);  /* power button: fixed */
    CHECK_EQ(kit_get32(f, 112) >> 5 & 1, 1);  /* no sleep button */
    CHECK_EQ(kit_get32(f, 112) >> 20 & 1, 0); /* not hardware-reduced */
    CHECK_EQ(f[116], 1);                      /* reset register: a port */
    CHECK_EQ(kit_get64(f, 120), PORT_RESET);
    CHECK_EQ(f[128], 6);
    fake_free(t.m);
}

TEST(acpi_5_2_12_madt_for_1_to_32_cpus)
{
    for (unsigned ncpus = 1; ncpus <= CPUS_MAX; ncpus++) {
        struct tables t = build(ncpus);
        const uint8_t *m = find_table(&t, "APIC");
        uint32_t end = kit_get32(m, 4), at = 44, isos = 0;
        unsigned cpus = 0, ioapics = 0;

        CHECK_EQ(kit_get32(m, 36), LAPIC_BASE);
        while (at < end) {
            REQUIRE(m[at + 1] >= 6 && at + m[at + 1] <= end);
            if (m[at] == 0)
                CHECK_EQ(m[at + 3], cpus++);
            ioapics += m[at] == 1;
            if (m[at] == 2)
                isos |= 1u << m[at + 3];
            at += m[at + 1];
        }
        CHECK_EQ(at, end);
        CHECK_EQ(cpus, ncpus);
        CHECK_EQ(ioapics, 1);
        for (unsigned slot = 1; slot < 32; slot++)
            CHECK(isos >> pci_slot_gsi(slot) & 1);
        CHECK(isos & 1 && isos >> IRQ_SCI & 1);
        fake_free(t.m);
    }
}

TEST(acpi_mcfg_is_one_bus)
{
    struct tables t = build(1);
    const uint8_t *m = find_table(&t, "MCFG");

    CHECK_EQ(kit_get64(m, 44), PCI_ECAM_BASE);
    CHECK_EQ(m[54], 0);
    CHECK_EQ(m[55], 0);
    fake_free(t.m);
}

/* ------------------------------------------------------------------- iasl */

/* Runs a command; its output, or the test is skipped when there is no iasl. */
static const char *run(const char *command)
{
    static char out[65536];
    FILE *f = popen(command, "r");
    size_t n;

    REQUIRE(f != NULL);
    n = fread(out, 1, sizeof(out) - 1, f);
    out[n] = 0;
    pclose(f);
    return out;
}

static void write_table(const char *dir, const char *name, const uint8_t *p)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s.aml", dir, name);
    f = fopen(path, "wb");
    REQUIRE(f != NULL);
    REQUIRE(fwrite(p, 1, kit_get32(p, 4), f) == kit_get32(p, 4));
    fclose(f);
}

TEST(acpi_6_1_12_a_second_serial_port_is_in_the_dsdt_where_it_is)
{
    for (unsigned ncpus = 2; ncpus <= 3; ncpus++) { /* one port, two ports */
        struct tables t = build(ncpus);
        const uint8_t *fadt = find_table(&t, "FACP");
        const uint8_t *dsdt = table_at(&t, kit_get64(fadt, 140));
        CHECK_EQ(memmem(dsdt, kit_get32(dsdt, 4), "COM2", 4) != NULL,
                 ncpus == 3);
        fake_free(t.m);
    }
}

/* What the guest reads its generation ID by, and is told of a new one. */
TEST(acpi_5_6_4_vmgenid_is_where_the_device_writes_it)
{
    struct tables t = build(1);
    const uint8_t *fadt = find_table(&t, "FACP");
    const uint8_t *dsdt = table_at(&t, kit_get64(fadt, 140));
    const uint8_t at[] = {'A', 'D',  'D',  'R',  0x12, 0x8a, 0,   0,
                          2,   0x0c, 0x40, 0xfc, 0x09, 0,    0x00};
    const uint8_t tell[] = {'_', 'E', '0', '0', 0,   0x86, '\\', 0x2e, '_',
                            'S', 'B', '_', 'V', 'G', 'E',  'N',  0x0a, 0x80};
    CHECK(memmem(dsdt, kit_get32(dsdt, 4), at, sizeof(at)));
    CHECK(memmem(dsdt, kit_get32(dsdt, 4), tell, sizeof(tell)));
    CHECK(VMGENID_AT >= EBDA_BASE + 32 && VMGENID_AT % 8 == 0);
    fake_free(t.m);
}

TEST(acpi_20_2_iasl_finds_nothing_to_say)
{
    static const char *const names[] = {"FACP", "APIC", "MCFG", "DSDT"};
    struct tables t = build(4);
    char dir[] = "/tmp/vmm-acpi-XXXXXX", command[512];
    const uint8_t *fadt = find_table(&t, "FACP");

    if (system("iasl -v >/dev/null 2>&1") != 0)
        SKIP("iasl (package acpica-tools) is not installed");
    test_timeout(60);
    REQUIRE(mkdtemp(dir) != NULL);
    for (int i = 0; i < 3; i++)
        write_table(dir, names[i], find_table(&t, names[i]));
    write_table(dir, "DSDT", table_at(&t, kit_get64(fadt, 140)));
    for (int i = 0; i < 4; i++) {
        snprintf(command, sizeof(command), "cd %s && iasl -d %s.aml 2>&1", dir,
                 names[i]);
        const char *out = run(command);
        CHECK_HAS(out, "utput:"); /* Formatted output: or ASL Output: */
        CHECK(!strstr(out, "Warning") && !strstr(out, "rror") &&
              !strstr(out, "nvalid"));
    }
    /* 6035: _HID "VMGENCTR", by which Linux knows the generation ID, is not of
     * the form that an _HID should have. */
    snprintf(command, sizeof(command),
             "cd %s && iasl -vw 6035 -tc DSDT.dsl 2>&1", dir);
    CHECK_HAS(run(command), "0 Errors, 0 Warnings, 0 Remarks");
    snprintf(command, sizeof(command),
             "grep -cE '00[01][0-9A-F]FFFF,' %s/DSDT.dsl; rm -r %s", dir, dir);
    CHECK_STR(run(command), "31\n"); /* _PRT */
    fake_free(t.m);
}

/* ---------------------------------------------------------- MP and SMBIOS */

TEST(mptable_4_configuration_table)
{
    for (unsigned ncpus = 1; ncpus <= CPUS_MAX; ncpus += 31) {
        struct tables t = build(ncpus);
        const uint8_t *fp = fake_ram(t.m, EBDA_BASE + 16, 16), *p;
        unsigned n = 0, cpus = 0, pci = 0, at = 44;

        CHECK_MEM(fp, "_MP_", 4);
        CHECK_EQ(sum(fp, 16), 0);
        p = fake_ram(t.m, kit_get32(fp, 4), 44);
        CHECK_MEM(p, "PCMP", 4);
        uint16_t len = (uint16_t)kit_get32(p, 4);
        p = fake_ram(t.m, kit_get32(fp, 4), len);
        CHECK_EQ(sum(p, len), 0);
        for (; at < len; n++, at += p[at] == 0 ? 20 : 8) {
            cpus += p[at] == 0;
            if (p[at] == 3 && p[at + 4] == 0) { /* from bus 0, PCI */
                CHECK_EQ(p[at + 7], pci_slot_gsi(p[at + 5] >> 2));
                pci++;
            }
        }
        CHECK_EQ(at, len);
        CHECK_EQ(n, kit_get32(p, 34) & 0xffff);
        CHECK_EQ(cpus, ncpus);
        CHECK_EQ(pci, 31);
        fake_free(t.m);
    }
}

TEST(smbios_5_2_1_entry_point)
{
    struct tables t = build(1);
    const uint8_t *p;
    unsigned n = 0, at = 0;

    CHECK_MEM(t.smbios, "_SM_", 4);
    CHECK_EQ(sum(t.smbios, t.smbios[5]), 0);
    CHECK_MEM(t.smbios + 16, "_DMI_", 5);
    CHECK_EQ(sum(t.smbios + 16, 15), 0);
    uint16_t len = (uint16_t)kit_get32(t.smbios, 22);
    p = fake_ram(t.m, kit_get32(t.smbios, 24), len);
    for (; at < len; n++) {
        at += p[at + 1];
        while (at + 2 <= len && (p[at] || p[at + 1]))
            at++;
        at += 2;
    }
    CHECK_EQ(at, len);
    CHECK_EQ(n, kit_get32(t.smbios, 28) & 0xffff);
    fake_free(t.m);
}

TEST(smbios_7_2_system_has_uuid_and_strings)
{
    static const uint8_t uuid[16] = {0x78, 0x56, 0x34, 0x12, 0xbc, 0x9a,
                                     0xf0, 0xde, 8,    9,    10,   11,
                                     12,   13,   14,   15};
    for (int i = 0; i < 16; i++)
        boot.who.uuid[i] =
            (uint8_t[]){0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0,
                        8,    9,    10,   11,   12,   13,   14,   15}[i];
    strcpy(boot.who.text[3], "serial-1");
    memset(boot.who.text[5], 'f', 255);
    struct tables t = build(1);
    uint16_t len = (uint16_t)kit_get32(t.smbios, 22);
    const uint8_t *p = fake_ram(t.m, kit_get32(t.smbios, 24), len);
    const uint8_t *end = p + len;
    while (p < end && *p != 1) { /* type 0 goes before */
        for (p += p[1]; p[0] || p[1]; p++)
            ;
        p += 2;
    }
    REQUIRE(p < end);
    CHECK_EQ(p[1], 27);
    CHECK_MEM(p + 8, uuid, 16);
    CHECK_EQ(p[7], 3); /* serial number: the third string */
    CHECK_EQ(p[6], 0); /* version: not said */
    const char *s = (const char *)p + 27;
    CHECK_STR(s, "vmm");
    s += strlen(s) + 1;
    CHECK_STR(s, "tiny PC");
    s += strlen(s) + 1;
    CHECK_STR(s, "serial-1");
    CHECK_EQ(strlen(s + strlen(s) + 1), 255);
    memset(&boot, 0, sizeof(boot));
    fake_free(t.m);
}

TEST(acpi_off_leaves_no_rsdp)
{
    boot.no_acpi = true;
    struct tables t = build(2);
    const uint8_t *ram = fake_ram(t.m, 0xe0000, 0x20000);
    CHECK_EQ(t.rsdp, 0);
    for (unsigned at = 0; at < 0x20000; at += 16)
        CHECK(memcmp(ram + at, "RSD PTR ", 8) != 0);
    boot.no_acpi = false;
    fake_free(t.m);
}
