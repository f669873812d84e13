/* SPDX-License-Identifier: MIT */
/* The command line: one table of options, parsed into a configuration. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/cmdline.h"
#include "host/chardev.h"
#include "machine/platform.h"
#include "net/cmdline.h"

static struct config config; /* being filled: the table points into it */

static int usage(void);

static int opt_memory(const char *arg)
{
    const uint64_t page = 4096, least = 8ull << 20;
    const char *text = strncmp(arg, "size=", 5) ? arg : arg + 5;
    int err = parse_size("-m", text, 1 << 20, &config.vm.ram);
    if (err)
        return err;
    if (config.vm.ram % page || config.vm.ram < least ||
        config.vm.ram > 1ull << 40)
        return fail(-EINVAL,
                    "-m %s: must be from 8M to 1T, a multiple of 4 KiB", arg);
    return 0;
}

static int opt_smp(const char *arg)
{
    uint64_t n = 0;
    const char *text = strncmp(arg, "cpus=", 5) ? arg : arg + 5;
    int err = parse_u64("-smp", text, 1, CPUS_MAX, &n);
    config.vm.cpus = (unsigned)n;
    return err;
}

static int opt_entry(const char *arg)
{
    if (strcmp(arg, "16") && strcmp(arg, "32") && strcmp(arg, "64"))
        return fail(-EINVAL, "-entry %s: must be 16, 32 or 64", arg);
    config.boot.entry = atoi(arg);
    return 0;
}

static int opt_boot(const char *arg)
{
    if (strcmp(arg, "n"))
        return fail(-EINVAL, "-boot %s: must be n (network; there is no disk)",
                    arg);
    config.boot.net = true;
    return 0;
}

static int opt_device(const char *arg)
{
    if (config.ndevice == DEVICES_MAX)
        return fail(-EINVAL, "-device: at most %d", DEVICES_MAX);
    config.device[config.ndevice++] = arg;
    return 0;
}

static int opt_serial(const char *arg)
{
    if (config.nserial == SERIALS_MAX)
        return fail(-EINVAL, "-serial: at most %d", SERIALS_MAX);
    config.serial[config.nserial++] = arg;
    return 0;
}

static int opt_version(const char *arg)
{
    (void)arg;
    puts("vmm " VERSION);
    return 1;
}

static int opt_help(const char *arg)
{
    (void)arg;
    return usage();
}

/* One row an option: how it is set (one of text, flag, set, net), and its line
 * in -help (NULL: told by its neighbour's). */
static const struct option {
    const char *name, *arg;
    const char **text;
    bool *flag;
    int (*set)(const char *arg);
    bool net;
    const char *help;
} options[] = {
    {"-kernel", "FILE", &config.boot.kernel, 0, 0, 0,
     "bzImage, ELF, Multiboot; else the built-in guest"},
    {"-initrd", "FILE[,FILE]", &config.boot.initrd, 0, 0, 0,
     "initial ramdisk (Multiboot: modules)"},
    {"-append", "TEXT", &config.boot.cmdline, 0, 0, 0,
     "command line (a Linux without one: console=ttyS0)"},
    {"-m", "SIZE", 0, 0, opt_memory, 0, "memory, 8M to 1T (256M)"},
    {"-smp", "N", 0, 0, opt_smp, 0, "virtual CPUs, 1 to 32 (1)"},
    {"-entry", "16|32|64", 0, 0, opt_entry, 0,
     "how to enter a bzImage (best it has)"},
    {"-bios", "FILE", &config.boot.bios, 0, 0, 0, "another BIOS ROM"},
    {"-boot", "n", 0, 0, opt_boot, 0, "boot from the network (romfile=)"},
    {"-tap", "NAME[,model=M]...", 0, 0, 0, true,
     "a NIC on this TAP, which is made if absent"},
    {"-nic", "TYPE[,model=M]...", 0, 0, 0, true,
     "a NIC and its backend in one"},
    {"-netdev", "TYPE,id=ID...", 0, 0, 0, true,
     "tap bridge hubport stream dgram socket user\n"
     "                                vhost-user none; TYPE,help lists keys"},
    {"-chardev", "TYPE,id=ID...", 0, 0, chardev_add, 0,
     "null stdio file pty socket, for -serial and\n"
     "                                vhost-user; TYPE,help lists keys"},
    {"-net", "nic|TYPE...", 0, 0, 0, true, "the older form, with vlan=N"},
    {"-device", "MODEL[,netdev=ID]...", 0, 0, opt_device, 0,
     "virtio-net-pci, e1000 or vfio-pci; MODEL,help\n"
     "                                lists keys"},
    {"-object", "filter-dump,...", 0, 0, 0, true,
     "capture a netdev's frames to a pcap file"},
    {"-serial", "TO", 0, 0, opt_serial, 0,
     "stdio null pty file:PATH unix:PATH tcp:HOST:PORT\n"
     "                                chardev:ID (stdio); the second is ttyS1"},
    {"-no-reboot", NULL, 0, &config.vm.no_reboot, 0, 0,
     "a reset ends the run (exit code 3)"},
    {"-name", "NAME", &config.name, 0, 0, 0,
     "default MAC addresses are made of it"},
    {"-stats", NULL, 0, &config.stats, 0, 0, "print counters at the end"},
    {"-trace", "CAT[,CAT]...", 0, 0, trace_set, 0,
     "pci virtio queue e1000 irq net bus serial\n"
     "                                boot vm all"},
    {"-version", NULL, 0, 0, opt_version, 0, "print the version"},
    {"-help", NULL, 0, 0, opt_help, 0, "print this"},
};

static int usage(void)
{
    puts("usage: vmm [OPTION]...   boots a guest kernel with a network card\n");
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        char left[64];
        snprintf(left, sizeof(left), "%s %s", options[i].name,
                 options[i].arg ? options[i].arg : "");
        printf("  %-29s %s\n", left, options[i].help);
    }
    puts(
        "\nexamples:\n"
        "  vmm -tap tap0                          the bundled guest, 10.0.0.2\n"
        "  vmm -kernel bzImage -initrd initrd -tap tap0\n"
        "  vmm -nic user,hostfwd=tcp::2222-:22 -kernel bzImage -initrd initrd\n"
        "  vmm -netdev tap,id=n0,ifname=tap0,vhost=on -device "
        "virtio-net-pci,netdev=n0\n"
        "\nOn the terminal Ctrl-A x quits, Ctrl-A h helps. SIGTERM presses the "
        "power\nbutton, SIGUSR1 prints counters, SIGUSR2 pulls or plugs the "
        "cables.\n"
        "Exit codes: 0 powered off, 1 did not start, 2 usage, 3 reset "
        "(-no-reboot),\n4 triple fault (-no-reboot), 5 guest panic, 6 VMM or "
        "KVM fault, 128+N signal N.");
    return 1;
}

static const struct option *find_option(const char *word)
{
    if (word[0] == '-' && word[1] == '-')
        word++;
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (!strcmp(options[i].name, word))
            return &options[i];
    return NULL;
}

static int unknown_option(const char *word)
{
    const char *names[ARRAY_LEN(options) + 1] = {NULL};
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        names[i] = options[i].name;
    const char *near = closest(word, names);
    if (word[0] != '-')
        return fail(-EINVAL,
                    "%s: not an option; a kernel is given with -kernel", word);
    return fail(-EINVAL,
                near ? "%s: no such option; did you mean %s?"
                     : "%s: no such option; -help lists them",
                word, near);
}

/* 0, 1: done (-help), <0: usage error, said. */
static int take_option(const struct option *opt, const char *arg)
{
    if (opt->text) {
        *opt->text = arg;
    } else if (opt->flag) {
        *opt->flag = true;
    } else if (opt->net) {
        /* Its process maps our RAM. */
        config.vm.shared_ram |= arg && !strncmp(arg, "vhost-user", 10);
        return net_option(opt->name, arg);
    } else {
        return opt->set(arg);
    }
    return 0;
}

static int take_all(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const struct option *opt = find_option(argv[i]);
        const char *arg = NULL;
        if (!opt)
            return unknown_option(argv[i]);
        if (opt->arg && !(arg = argv[++i]))
            return fail(-EINVAL, "%s: needs an argument: %s %s", opt->name,
                        opt->name, opt->arg);
        int done = take_option(opt, arg);
        if (done)
            return done;
    }
    return 0;
}

int cmdline_parse(struct config *cfg, int argc, char **argv)
{
    config = (struct config){
        .vm = {.ram = 256ull << 20, .cpus = 1, .kvm = "/dev/kvm"},
    };
    int err = take_all(argc, argv);
    if (err)
        return err;
    if (!config.nserial)
        config.serial[config.nserial++] = "stdio";
    *cfg = config;
    cfg->vm.boot = &cfg->boot;
    return 0;
}
