/* SPDX-License-Identifier: MIT */
/* main(): the wiring tables, start-up order, signals. The only file that knows
 * every device and every backend.
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
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "control/cmdline.h"
#include "control/models.h"
#include "devices/pc/pc.h"
#include "devices/pci/pci.h"
#include "devices/nic.h"
#include "devices/vfio/state.h"
#include "host/console.h"
#include "host/pidfile.h"
#include "host/process.h"
#include "host/terminal.h"
#include "machine/kvm/vm.h"
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

enum { EXIT_START = 1, EXIT_USAGE = 2 }; /* the others: enum machine_stop */

#define SHUTDOWN_SECONDS 30
#define LOG_PATIENCE_NS 1000000000ull /* for a slow reader, at the end */

static struct config config;
static int log_fd; /* -D */

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

static int make(struct machine *m, const struct device_class *cls,
                struct opts *o, struct needs *needs)
{
    struct device *dev;
    int err = device_new(cls, o, needs, &dev);
    return err ? err : device_create(m, dev);
}

/* 0, <0: said, 1: help was printed. */
static int make_device(struct machine *m, const char *text, struct needs *needs)
{
    struct opts o;
    int err = opts_parse(&o, "-device", text, "driver");
    if (err)
        return err;
    err = models_adjust(&o);
    const char *name = opts_str(&o, "driver", "");
    const struct device_class *cls = find_class(name);
    if (!err && !cls) {
        err = unknown_model(name);
    } else if (!err && opts_str(&o, "help", NULL)) {
        printf("%s: %s\n", cls->name, cls->help);
        fields_help(cls->fields);
        models_help(device_classes, cls->name);
        err = 1;
    }
    if (!err) {
        snprintf(o.what, sizeof(o.what), "-device %s", cls->name);
        opts_move(NULL, &o, "driver", NULL);
        err = make(m, cls, &o, needs);
    }
    opts_free(&o);
    return err;
}

static int make_board(struct machine *m, struct needs *needs)
{
    struct opts o;
    int err = pci_bus_new(m);
    for (int i = 0; !err && board_classes[i]; i++) {
        opts_init(&o, board_classes[i]->name);
        err = make(m, board_classes[i], &o, needs);
    }
    for (int i = 0; !err && i < config.nserial; i++) {
        opts_init(&o, "-serial");
        err = opts_add(&o, "to", config.serial[i]);
        if (!err)
            err = make(m, &serial_class, &o, needs);
    }
    return err;
}

static int make_devices(struct machine *m)
{
    struct needs needs = {.name = config.name};
    int err = make_board(m, &needs);
    if (!err)
        err = net_open(m->loop, netdev_classes);
    const char *text;
    for (int i = 0; !err && (text = net_device(i)); i++)
        err = make_device(m, text, &needs);
    for (int i = 0; !err && i < config.ndevice; i++)
        err = make_device(m, config.device[i], &needs);
    if (!err)
        net_check();
    if (!err)
        console_begin_all();
    fd_close_inherited();
    return err;
}

/* ------------------------------------------------------------------ signals */

static struct control {
    struct event ev;
    struct timer deadline;
    struct machine *m;
    bool asked; /* the power button was pressed */
} control;

/* By way of a file, so that whoever counts needs to know nothing of the log,
 * and a reader who is slow holds up nobody. */
static void print_stats(struct machine *m)
{
    int fd = memfd_create("stats", MFD_CLOEXEC);
    if (fd < 0) {
        log_line("-stats: %s", strerror(errno));
        return;
    }
    vm_stats(m, fd);
    netdev_stats(fd);
    log_text(fd);
    close(fd);
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

/* nohup ignores SIGHUP, a shell its background jobs' SIGINT and SIGQUIT, and
 * mean it; the other signals are ours. */
static bool may_be_ignored(int sig)
{
    return (sig == SIGHUP || sig == SIGINT || sig == SIGQUIT) &&
           process_ignores(sig);
}

/* Blocked before any thread exists, so all of them arrive here. */
static int watch_signals(struct machine *m)
{
    static const int watched[] = {SIGTERM, SIGINT,  SIGHUP, SIGQUIT,
                                  SIGUSR1, SIGUSR2, SIGCONT};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(watched); i++)
        if (!may_be_ignored(watched[i]))
            sigaddset(&set, watched[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* write(2) says so */
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

/* The exit code of a start that was called off (-EINTR): which signal it was is
 * still to be read. */
static int called_off(void)
{
    struct signalfd_siginfo si;
    while (read(control.ev.fd, &si, sizeof(si)) == sizeof(si))
        if (si.ssi_signo != SIGUSR1 && si.ssi_signo != SIGUSR2 &&
            si.ssi_signo != SIGCONT)
            return 128 + (int)si.ssi_signo;
    return EXIT_START;
}

/* --------------------------------------------------------------------- main */

/* Help went to stdout: did it get there? */
static int told(void)
{
    if (!fflush(stdout) && !ferror(stdout))
        return 0;
    fail(-errno, "standard output: %s", strerror(errno));
    return EXIT_START;
}

/* -pidfile and -D: there and usable, before anything else is made. */
static int open_files(void)
{
    if (config.log) {
        log_fd =
            open(config.log,
                 O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
        if (log_fd < 0)
            return fail(-errno, "-D %s: %s", config.log, strerror(errno));
    }
    return config.pidfile ? pidfile_open(config.pidfile) : 0;
}

/* The loop's first turn: now it runs. What kept it from that went to standard
 * error, and left an old -pidfile as it was. */
static void guest_runs(struct timer *t)
{
    (void)t;
    if (pidfile_write() < 0)
        vm_quit(control.m, (enum machine_stop)EXIT_START);
    if (config.log)
        log_open(log_fd);
}

static int run(struct machine *m)
{
    static struct timer first;
    timer_init(&first, m->loop, guest_runs, "start");
    timer_arm(&first, now_ns());
    int err = vm_run(m);
    timer_cancel(&first);
    return err;
}

int main(int argc, char **argv)
{
    struct machine *m = NULL;
    process_early();
    log_open(STDERR_FILENO);
    int err = cmdline_parse(&config, device_classes, argc, argv);
    if (err)
        return err > 0 ? told() : EXIT_USAGE;
    log_name(config.name);
    log_timestamps(config.timestamps);
    err = open_files();
    /* Before signals are ours: an open() that hangs ends with them. */
    if (!err)
        err = boot_open(&config.boot);
    if (!err)
        err = vm_new(&m, &config.vm);
    if (err) {
        pidfile_close();
        return EXIT_START;
    }
    m->name = config.name;
    log_watch(m->loop);
    err = watch_signals(m);
    if (!err)
        err = make_devices(m);
    if (!err)
        err = run(m);
    else
        err = err > 0          ? told()
              : err == -EINVAL ? EXIT_USAGE
              : err == -EINTR  ? called_off()
                               : EXIT_START;
    console_flush_all();
    log_patience(LOG_PATIENCE_NS);
    if (config.stats)
        print_stats(m);
    /* NICs use backends, backends use the machine's loop. */
    devices_destroy(m);
    netdev_close_all();
    net_free();
    log_watch(NULL);
    models_free();
    vm_free(m);
    terminal_restore();
    pidfile_close();
    return err < 0 ? EXIT_START : err;
}
