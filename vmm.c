/* SPDX-License-Identifier: MIT */
/* main(): options, the wiring table, run. The only file that knows every
 * device and every backend.
 *
 *  guest TX: kick ─ioeventfd─▶ loop ─▶ X_tx(): vq_pop → be->send (writev)
 *                                             → vq_push → irq ─irqfd─▶ guest
 *  guest RX: tap readable ───▶ loop ─▶ X_rx(): vq_pop → be->recv (readv)
 *                                             → vq_push → irq ─irqfd─▶ guest
 *  registers: vCPU exit ─▶ bus ─▶ region ─▶ X_read/X_write
 *                           (state only; packet work is handed to the loop)
 *
 * To add a device: write devices/NAME.c ending with its device_class, and list
 * the class below. To add a backend: the same in net/. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "devices/legacy.h"
#include "devices/pci.h"
#include "devices/nic.h"
#include "devices/vfio.h"
#include "machine/console.h"
#include "machine/vm.h"
#include "net/cmdline.h"
#include "net/dgram.h"
#include "net/hub.h"
#include "net/none.h"
#include "net/stream.h"
#include "net/tap.h"
#include "net/vhost_user.h"

/* ----------------------------------------------------------- wiring tables */

/* What -device can name. */
static const struct device_class *const device_classes[] = {
    &virtio_net_class,
    &e1000_class,
    &vfio_pci_class,
    NULL,
};

/* What every machine has, in this order. */
static const struct device_class *const board_classes[] = {
    &acpi_pm_class, &rtc_class, &i8042_class, &pvpanic_class, NULL,
};

/* What -netdev can name. */
static const struct netdev_class *const netdev_classes[] = {
    &tap_class,        &bridge_class, &hubport_class, &stream_class,
    &dgram_class,      &socket_class, &user_class,    &none_class,
    &vhost_user_class, NULL,
};

/* ------------------------------------------------------------------ options */

enum { EXIT_START = 1, EXIT_USAGE = 2 }; /* the others: enum machine_stop */

#define DEVICES_MAX 64
#define SHUTDOWN_SECONDS 30

static struct config {
    struct vm_config vm;
    struct boot boot;
    const char *name, *serial;
    const char *device[DEVICES_MAX];
    int ndevice;
    bool stats;
} config = {
    .vm = {.ram = 256ull << 20, .cpus = 1, .kvm = "/dev/kvm"},
    .serial = "stdio",
};

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
     "command line (with -kernel: console=ttyS0)"},
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
    {"-chardev", "socket,id=ID,path=P", 0, 0, 0, true,
     "the socket of -netdev vhost-user,chardev=ID"},
    {"-net", "nic|TYPE...", 0, 0, 0, true, "the older form, with vlan=N"},
    {"-device", "MODEL[,netdev=ID]...", 0, 0, opt_device, 0,
     "virtio-net-pci, e1000 or vfio-pci; MODEL,help\n"
     "                                lists keys"},
    {"-object", "filter-dump,...", 0, 0, 0, true,
     "capture a netdev's frames to a pcap file"},
    {"-serial", "TO", &config.serial, 0, 0, 0,
     "stdio, file:PATH, unix:PATH, none (stdio)"},
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

static int parse_options(int argc, char **argv)
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
    if (!config.boot.cmdline)
        config.boot.cmdline = config.boot.kernel ? "console=ttyS0" : "";
    config.vm.boot = &config.boot;
    return 0;
}

/* ------------------------------------------------------------------ devices */

static const struct device_class *find_class(const char *name)
{
    for (int i = 0; device_classes[i]; i++)
        if (!strcmp(device_classes[i]->name, name))
            return device_classes[i];
    return NULL;
}

static int unknown_model(const char *name)
{
    char list[256] = "";
    for (int i = 0; device_classes[i]; i++)
        snprintf(list + strlen(list), sizeof(list) - strlen(list), " %s",
                 device_classes[i]->name);
    return fail(-EINVAL, "-device %s: no such device; there are%s", name, list);
}

/* 0, <0: said, 1: help was printed. */
static int make_device(struct machine *m, const char *text)
{
    struct opts o;
    int err = opts_parse(&o, "-device", text, "driver");
    if (err)
        return err;
    const char *name = opts_str(&o, "driver", "");
    const struct device_class *cls = find_class(name);
    bool help = false;
    if (!cls)
        err = unknown_model(name);
    else
        err = opts_bool(&o, "help", &help);
    if (!err && help) {
        printf("%s: %s\n", cls->name, cls->help);
        err = 1;
    }
    if (!err) {
        o.what = cls->name;
        err = cls->create(m, &o);
    }
    opts_free(&o);
    return err;
}

static int make_board(struct machine *m)
{
    struct opts o;
    char to[4200];
    int err = pci_bus_new(m);
    for (int i = 0; !err && board_classes[i]; i++) {
        err = opts_parse(&o, board_classes[i]->name, "", NULL);
        if (!err)
            err = board_classes[i]->create(m, &o);
        opts_free(&o);
    }
    if (err)
        return err;
    snprintf(to, sizeof(to), "to=%s", config.serial);
    err = opts_parse(&o, "-serial", to, NULL);
    if (!err)
        err = serial_class.create(m, &o);
    opts_free(&o);
    return err;
}

static int make_devices(struct machine *m)
{
    int err = make_board(m);
    if (!err)
        err = net_open(m->loop, netdev_classes);
    const char *text;
    for (int i = 0; !err && (text = net_device(i)); i++)
        err = make_device(m, text);
    for (int i = 0; !err && i < config.ndevice; i++)
        err = make_device(m, config.device[i]);
    if (!err)
        net_check();
    return err;
}

/* ------------------------------------------------------------------ signals */

static struct control {
    struct event ev;
    struct timer deadline;
    struct machine *m;
    bool asked; /* the power button was pressed */
} control;

static void print_stats(struct machine *m)
{
    vm_stats(m, STDERR_FILENO);
    for (struct netdev *nd = netdevs; nd; nd = nd->next)
        if (nd->stats)
            nd->stats(nd, STDERR_FILENO);
}

static void shutdown_overdue(struct timer *t)
{
    (void)t;
    log_line("the guest did not shut down in %d s after SIGTERM; ending it",
             SHUTDOWN_SECONDS);
    vm_quit(control.m, 128 + SIGTERM);
}

/* A guest that does not listen to its power button is ended at once. */
static void ask_for_shutdown(void)
{
    if (control.asked || !acpi_power_button(control.m)) {
        vm_quit(control.m, 128 + SIGTERM);
        return;
    }
    control.asked = true;
    timer_arm(&control.deadline, now_ns() + SHUTDOWN_SECONDS * 1000000000ull);
}

static void on_signal(struct event *ev, uint32_t got)
{
    struct signalfd_siginfo si;
    (void)got;
    if (read(ev->fd, &si, sizeof(si)) != sizeof(si))
        return;
    switch (si.ssi_signo) {
    case SIGTERM:
        ask_for_shutdown();
        break;
    case SIGUSR1:
        print_stats(control.m);
        break;
    case SIGUSR2:
        netdev_toggle_cables();
        break;
    case SIGCONT:
        console_continue();
        break;
    default:
        vm_quit(control.m, 128 + (int)si.ssi_signo);
    }
}

/* Blocked before any thread exists, so all of them arrive here. */
static int watch_signals(struct machine *m)
{
    static const int watched[] = {SIGTERM, SIGINT,  SIGHUP, SIGQUIT,
                                  SIGUSR1, SIGUSR2, SIGCONT};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(watched); i++)
        sigaddset(&set, watched[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    control.m = m;
    control.ev =
        (struct event){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
                       .want = EPOLLIN,
                       .ready = on_signal,
                       .name = "signals"};
    timer_init(&control.deadline, m->loop, shutdown_overdue, "shutdown");
    if (control.ev.fd < 0)
        return fail(-errno, "signalfd: %s", strerror(errno));
    return loop_add(m->loop, &control.ev);
}

/* --------------------------------------------------------------------- main */

int main(int argc, char **argv)
{
    struct machine *m = NULL;
    console_early();
    int err = parse_options(argc, argv);
    if (err)
        return err > 0 ? 0 : EXIT_USAGE;
    err = vm_new(&m, &config.vm);
    if (err)
        return EXIT_START;
    m->name = config.name;
    err = watch_signals(m);
    if (!err)
        err = make_devices(m);
    if (!err)
        err = vm_run(m);
    else
        err = err > 0 ? 0 : err == -EINVAL ? EXIT_USAGE : EXIT_START;
    console_flush_all();
    if (config.stats)
        print_stats(m);
    /* NICs use backends, backends use the machine's loop. */
    devices_destroy(m);
    netdev_close_all();
    net_free();
    vm_free(m);
    boot_close(&config.boot);
    console_restore();
    return err < 0 ? EXIT_START : err;
}
