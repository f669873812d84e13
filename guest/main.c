/* SPDX-License-Identifier: MIT */
/* The bundled guest: a network test partner that boots in a few milliseconds.
 */

/*
 * Command line (words it does not know are skipped)
 *
 *   ip=A.B.C.D/N[,gw=A.B.C.D]   address, default 10.0.0.2/24
 *   ip=mac[/N]                  10 and the last three bytes of the MAC
 *   ip=dhcp
 *   nic=N            use the N-th NIC found, from 0; the others are only listed
 *   nomsix           INTx even if the device has MSI-X
 *   rebar[=high]     moves the NIC's BARs elsewhere before it is used; high:
 *                    the 64-bit ones above 4 GiB
 *   ring3            works in ring 3: faster where ring 0 is interpreted
 *                    (ring.c)
 *   quiet            only the lines marked with * below: a faster start
 *   flood=SIZE[,COUNT][,secs=N][,to=A.B.C.D|bcast]
 *                    sends UDP frames of SIZE bytes (60 to 1514, without FCS)
 *                    to port 9; default: broadcast, 10 s if no COUNT
 *   sink             reports the rate of received frames each second
 *   test=poweroff|reboot|panic|fault|triple|hang|halt
 *                    how to end; default: never
 *   on=up|ping|flood|sink
 *                    when: network up (default), first ping answered, flood
 *                    done, sink total printed
 *   after=MS         so much later
 *   reboot=acpi|cf9|kbd|triple   how test=reboot resets; default: all in turn
 *
 * Always there: ARP, ICMP echo (to 64 KiB, in fragments), UDP echo on port 7.
 *
 * Lines on COM1 (115200 8N1), whose wording tests may rely on
 *
 *   guest: boot entry=16|32|64|pvh|multiboot1|multiboot2 mem=128M cpus=1
 *       threads=1 package=1   cpus: of the ACPI tables; the others: CPUID's,
 *       of a core and of a package
 *   guest: pci 0000:00:01.0 1af4:1041 class 020000 bar0=…
 *   guest: nic0 virtio-net 0000:00:01.0 mac=… msix|intx
 *   guest: nic1 e1000 0000:00:02.0 unused
 * * guest: nic0 failed: …
 * * guest: no nic
 * * guest: link up|down                     on change after the start
 * * guest: net up ip=10.0.0.2/24
 * * guest: mac=… ip=…                       another MAC after the start
 * * guest: flood start size=60 to=MAC
 * * guest: flood frames= bytes= ms= fps= Bps= kicks=
 * * guest: sink frames= fps= Bps=
 * * guest: sink total frames= bytes= ms= fps= Bps= irqs=
 * * guest: rx frames= tx frames= kicks= irqs=    before a test
 * * guest: test=…
 * * guest: exception vector= error=         and registers
 * * panic: …
 */

#include "acpi.h"
#include "boot.h"
#include "clock.h"
#include "irq.h"
#include "net.h"
#include "pci.h"
#include "power.h"
#include "ring.h"

struct netif nif;
u8 netif_rx_bufs[NETIF_RX_RING][NETIF_BUF] NOINIT
    __attribute__((aligned(NETIF_BUF)));
u8 netif_tx_bufs[NETIF_TX_RING][NETIF_BUF] NOINIT
    __attribute__((aligned(NETIF_BUF)));

static const struct nic_driver *const drivers[] = {
    &virtio_net_driver,
    &e1000_driver,
};

static unsigned nics;

static void open_nic(const struct nic_driver *d, const struct pci_fn *fn)
{
    const char *failed;

    nif.driver = d;
    failed = d->open(fn);
    if (failed) {
        print("guest: nic%u failed: %s\n", nics, failed);
        nif.driver = NULL;
        return;
    }
    if (opt.rebar)
        pci_print(fn); /* shows where the BARs are now */
    if (!opt.quiet)
        print("guest: nic%u %s 0000:00:%02x.%u mac=%pM %s\n", nics, d->name,
              fn->bdf >> 3, fn->bdf & 7u, nif.mac, nif.irq);
}

/* False: enough; to look for more takes longer than all else, and quiet ones
 * would not tell. */
static bool found_fn(const struct pci_fn *fn)
{
    if (!opt.quiet)
        pci_print(fn);
    for (unsigned i = 0; i < ARRAY_LEN(drivers); i++) {
        if (!drivers[i]->match(fn->id))
            continue;
        if (nics == opt.nic)
            open_nic(drivers[i], fn);
        else if (!opt.quiet)
            print("guest: nic%u %s 0000:00:%02x.%u unused\n", nics,
                  drivers[i]->name, fn->bdf >> 3, fn->bdf & 7u);
        nics++;
    }
    return !opt.quiet || nics <= opt.nic;
}

static unsigned prefix_len(u32 mask)
{
    unsigned n = 0;

    for (u32 m = be32(mask); m & 0x80000000; m <<= 1)
        n++;
    return n;
}

/* Once there are both a link and an address. Each byte of a line takes as long
 * as a frame: what waits goes first. */
static void net_is_up(void)
{
    nif.driver->flush();
    print("guest: net up ip=%pI/%u\n", &net.ip, prefix_len(net.mask));
    if (opt.flood_size)
        flood_start();
    if (opt.sink)
        sink_start();
    power_event(EVENT_UP);
}

static void take_address(void)
{
    u32 ip = opt.ip;

    if (opt.ip_of_mac)
        ip = be32(10u << 24 | (u32)nif.mac[3] << 16 | (u32)nif.mac[4] << 8 |
                  nif.mac[5]);
    if (opt.dhcp)
        dhcp_start();
    else
        net_address(ip, opt.mask, opt.gw);
}

/* A copy of what was saved may be told another MAC. */
static void follow_mac(bool up)
{
    static u8 mac[6];
    bool other = memcmp(mac, nif.mac, 6);

    memcpy(mac, nif.mac, 6);
    if (!up || !other)
        return;
    take_address();
    print("guest: mac=%pM ip=%pI\n", nif.mac, &net.ip);
}

/* Takes what the driver and DHCP have found out one step further. True: frames
 * may be for us now, and there is a next step. */
static bool follow_state(void)
{
    static bool link, asked, up;

    if (nif.link != link) {
        if (up)
            print("guest: link %s\n", nif.link ? "up" : "down");
        link = nif.link;
    }
    follow_mac(up);
    if (!link || up)
        return false;
    if (!asked) {
        asked = true;
        take_address();
        return true;
    }
    if (net.ip) {
        up = true;
        net_is_up();
    }
    return false;
}

/* Polls while there is work, halts while there is none. */
static _Noreturn void serve(void)
{
    for (;;) {
        bool work = nif.driver->poll();

        work |= follow_state();
        clock_run();
        bool sending = flood_run();
        bool room = sending && nif.driver->tx_buf();

        nif.driver->flush();
        power_run();
        if (work || room || nif.driver->arm(sending))
            continue;
        clock_arm();
        irq_wait();
    }
}

/* Without a NIC there are only timers to wait for. */
static _Noreturn void serve_nothing(void)
{
    print("guest: no nic\n");
    power_event(EVENT_UP);
    for (;;) {
        clock_run();
        power_run();
        clock_arm();
        irq_wait();
    }
}

/* CPUs of a core (level 0), of a package (1): CPUID leaf B. */
static u32 cpus_of(u32 level)
{
    u32 r[4];
    cpuid(0, r);
    if (r[0] < 0xb)
        return 0;
    cpuid_at(0xb, level, r);
    return r[1] & 0xffff;
}

void guest_main(u32 kind, const void *info);

void guest_main(u32 kind, const void *info)
{
    struct boot_info bi = {0};

    boot_parse(&bi, kind, info);
    irq_init();
    if (options_ring3(bi.cmdline))
        ring_enter3();
    irq_gates();
    options_parse(bi.cmdline);
    serial_init();
    power_init(bi.rsdp);
    if (!opt.quiet) {
        acpi_init(bi.rsdp);
        print("guest: boot entry=%s mem=%luM cpus=%u threads=%u package=%u\n",
              bi.entry, (bi.ram_bytes + (1 << 20) - 1) >> 20, acpi_cpus(),
              cpus_of(0), cpus_of(1));
    }
    pci_scan(found_fn);
    if (nif.driver)
        serve();
    serve_nothing();
}
