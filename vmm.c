/* SPDX-License-Identifier: MIT */
/* main(): the wiring tables, start-up order, signals. The only file that knows
 * every device and every backend.
 *
 *  guest TX: kick ─ioeventfd─▶ loop ─▶ X_tx(): vq_pop → be->send (writev)
 *                                             → vq_push → irq ─irqfd─▶ guest
 *  guest RX: tap readable ───▶ loop ─▶ X_rx(): vq_pop → be->recv (readv)
 *                                             → vq_push → irq ─irqfd─▶ guest
 *  disk:     kick ─ioeventfd─▶ loop ─▶ vblk_run(): vq_pop → b->submit
 *                 ─▶ a thread of the disk's (preadv) ─▶ loop ─▶ vblk_done():
 *                                               vq_push → irq ─irqfd─▶ guest
 *  registers: vCPU exit ─▶ bus ─▶ region ─▶ X_read/X_write
 *                           (state only; packet work is handed to the loop)
 *
 * To add a device: write devices/NAME.c ending with its device_class, and give
 * it a row in devices/list.h. To add a backend: the same in net/. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/list.h"
#include "base/fd.h"
#include "base/thread.h"
#include "block/list.h"
#include "control/cmdline.h"
#include "control/control.h"
#include "control/ctl.h"
#include "control/doctor.h"
#include "control/fcmetrics.h"
#include "control/firecracker.h"
#include "control/jail.h"
#include "control/metrics.h"
#include "control/models.h"
#include "control/monitor.h"
#include "control/pc.h"
#include "control/plan.h"
#include "control/textfile.h"
#include "control/ready.h"
#include "control/restore.h"
#include "control/snapshot.h"
#include "control/takeover.h"
#include "control/upgrade.h"
#include "devices/pc/pc.h"
#include "devices/pci/pci.h"
#include "host/console.h"
#include "host/daemon.h"
#include "host/helper.h"
#include "host/listen.h"
#include "host/notify.h"
#include "host/pidfile.h"
#include "host/process.h"
#include "host/sandbox.h"
#include "host/successor.h"
#include "host/terminal.h"
#include "machine/kvm/vm.h"
#include "net/list.h"

/* ----------------------------------------------------------- wiring tables */

static const struct device_class *const device_classes[] = {DEVICE_ROWS NULL};
static const struct device_class *const board_classes[] = {BOARD_ROWS NULL};
static const struct netdev_class *const netdev_classes[] = {NETDEV_ROWS NULL};

static const struct blockdev_class *const blockdev_classes[] = {
    BLOCKDEV_ROWS NULL};

static const struct plan_classes classes = {
    .devices = device_classes,
    .netdevs = netdev_classes,
    .hubport = &hubport_class,
    .blockdevs = blockdev_classes,
    .served = &vhost_user_blk_class,
};

enum { EXIT_START = 1, EXIT_USAGE = 2 }; /* the others: enum machine_stop */

#define PIDFILE_NS 5000000ull         /* until who had it before has gone */
#define LOG_PATIENCE_NS 1000000000ull /* for a slow reader, at the end */

static struct config config;

/* -------------------------------------------------------------------- board */

static int vmm_plan_boards(void)
{
    int err = 0;
    for (int i = 0; !err && board_classes[i]; i++)
        err = plan_board(board_classes[i], board_classes[i]->name, NULL, NULL);
    if (!err && !plan_names(vmgenid_class.name))
        err = plan_board(&vmgenid_class, vmgenid_class.name, NULL, NULL);
    for (int i = 0; !err && i < config.nserial; i++)
        err = plan_board(&serial_class, "-serial", "to", config.serial[i]);
    return err;
}

/* ------------------------------------------------------------------ signals */

static struct running {
    struct event ev;
    struct timer deadline;
    struct machine *m;
    bool asked; /* the power button was pressed */
    struct helper_ask log;
    bool has_log; /* that can be opened anew */
} running;

/* By way of a text, so that whoever counts needs to know nothing of the log. */
static void vmm_print_stats(struct machine *m)
{
    struct tally_lines lines;
    struct text text = {0};
    struct tally *t = tally_lines(&lines, &text);
    metrics_count(m, t);
    log_text(text.p, text.n);
    text_free(&text);
}

static void vmm_shutdown_overdue(struct timer *t)
{
    (void)t;
    log_line("the guest did not shut down in %u s after SIGTERM; ending it",
             config.shutdown_s);
    vm_quit(running.m, 128 + SIGTERM);
}

/* A guest that does not listen to its power button is ended at once. One that
 * stands still for a moment hears of it then, and here: nobody else would know
 * that it was told. */
static void vmm_ask_for_shutdown(struct machine *m)
{
    bool at_once = config.vm.no_shutdown; /* who drives it presses buttons */
    (void)m;
    if (!at_once)
        upgrade_cancel("SIGTERM came");
    if (!at_once && snapshot_then(vmm_ask_for_shutdown))
        return;
    if (running.m->paused && !at_once)
        log_line("SIGTERM: the guest is paused and hears nothing; ending it");
    if (at_once || running.m->paused || running.asked || !config.shutdown_s ||
        !acpi_power_button(running.m)) {
        vm_quit(running.m, 128 + SIGTERM);
        return;
    }
    running.asked = true;
    notify_stopping();
    notify_status("the guest was told to power off");
    timer_arm(&running.deadline, now_ns() + config.shutdown_s * 1000000000ull);
}

static void vmm_have_log(struct helper_ask *a, int err, const int fd[2])
{
    (void)a;
    if (err || !fd)
        log_line("-D %s: cannot be opened anew: %s", config.log,
                 strerror(-err));
    else
        log_take(fd[0]);
}

/* Who has no terminal has no hang-up: what they rotate is meant. */
static bool vmm_hangup_is_for_log(void)
{
    return config.log || config.daemonize;
}

static void vmm_reopen_log(void)
{
    if (running.log.tag)
        return; /* under way */
    running.log.done = vmm_have_log;
    int err = running.has_log ? helper_reopen_log(&running.log) : 0;
    if (err)
        vmm_have_log(&running.log, err, NULL);
}

static void vmm_on_signal(struct event *ev, uint32_t got)
{
    struct signalfd_siginfo si;
    (void)got;
    if (read(ev->fd, &si, sizeof(si)) != sizeof(si))
        return;
    switch (si.ssi_signo) {
    case SIGTERM:
        vmm_ask_for_shutdown(running.m);
        break;
    case SIGUSR1:
        vmm_print_stats(running.m);
        break;
    case SIGUSR2:
        netdev_toggle_cables();
        break;
    case SIGCONT:
        console_continue();
        break;
    case SIGHUP:
        if (vmm_hangup_is_for_log()) {
            vmm_reopen_log();
            break;
        } /* fall through */
    default:
        vm_quit(running.m, 128 + (int)si.ssi_signo);
    }
}

/* nohup ignores SIGHUP, a shell its background jobs' SIGINT and SIGQUIT, and
 * mean it; the other signals are ours. */
static bool vmm_may_be_ignored(int sig)
{
    return ((sig == SIGHUP && !vmm_hangup_is_for_log()) || sig == SIGINT ||
            sig == SIGQUIT) &&
           process_ignores(sig);
}

/* Blocked before any thread exists, so all of them arrive here. */
static int vmm_watch_signals(struct machine *m)
{
    /* The last ones end a Firecracker at once, as they end any process. */
    static const int watched[] = {SIGUSR1, SIGUSR2, SIGCONT, SIGTERM,
                                  SIGINT,  SIGHUP,  SIGQUIT};
    const size_t n = config.firecracker ? 3 : ARRAY_LEN(watched);
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < n; i++)
        if (!vmm_may_be_ignored(watched[i]))
            sigaddset(&set, watched[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* write(2) says so */
    running.m = m;
    running.ev =
        (struct event){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
                       .want = EPOLLIN,
                       .ready = vmm_on_signal};
    timer_init(&running.deadline, m->loop, vmm_shutdown_overdue);
    if (running.ev.fd < 0)
        return fail(-errno, "signalfd: %s", strerror(errno));
    return loop_add(m->loop, &running.ev);
}

/* The exit code of a start that was called off (-EINTR): which signal it was is
 * still to be read. */
static int vmm_called_off(void)
{
    struct signalfd_siginfo si;
    while (read(running.ev.fd, &si, sizeof(si)) == sizeof(si))
        if (si.ssi_signo != SIGUSR1 && si.ssi_signo != SIGUSR2 &&
            si.ssi_signo != SIGCONT)
            return 128 + (int)si.ssi_signo;
    return EXIT_START;
}

/* --------------------------------------------------------------------- main */

/* Help went to stdout: did it get there? */
static int vmm_told(void)
{
    if (!fflush(stdout) && !ferror(stdout))
        return 0;
    fail(-errno, "standard output: %s", strerror(errno));
    return EXIT_START;
}

/* Of a start that failed. */
static int vmm_exit_code(int err)
{
    return err > 0          ? vmm_told()
           : err == -EINVAL ? EXIT_USAGE
           : err == -EINTR  ? vmm_called_off()
                            : EXIT_START;
}

static int vmm_open_log(void)
{
    struct stat st;
    int fd =
        open(config.log,
             O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
             0644);
    if (fd < 0 || fstat(fd, &st))
        return fail(-errno, "-D %s: %s", config.log, strerror(errno));
    log_next(fd);
    running.has_log = S_ISREG(st.st_mode);
    return running.has_log ? helper_log(config.log) : 0;
}

/* -pidfile and -D: there and usable, before anything else is made. */
static int vmm_open_files(void)
{
    int err = 0;
    if (config.log)
        err = vmm_open_log();
    else if (config.daemonize)
        log_next(daemon_nowhere());
    return !err && config.pidfile ? pidfile_open(config.pidfile) : err;
}

static int vmm_begin_helper(void)
{
    uid_t uid;
    gid_t gid;
    sandbox_user(&uid, &gid);
    return helper_begin(uid, gid);
}

/* The loop's first turn. What kept it from that left an old -pidfile as it
 * was. */
static void vmm_loop_runs(struct timer *t)
{
    int err = pidfile_write();
    if (err == -EAGAIN)
        timer_arm(t, now_ns() + PIDFILE_NS);
    else if (err)
        vm_quit(running.m, EXIT_START);
}

static void vmm_is_ready(struct machine *m)
{
    notify_ready(config.daemonize);
    log_move();
    if (daemon_ready())
        vm_quit(m, EXIT_START);
}

/* What kept it from that went to standard error; with -daemonize, so does what
 * keeps it from being ready. */
static void vmm_guest_runs(struct machine *m)
{
    notify_status("the guest runs");
    if (!config.daemonize)
        log_move();
    textfile_begin();
    fcmetrics_begin(m);
    firecracker_runs();
    ready_runs(m, vmm_is_ready);
}

/* -S, or a saved machine that is not to go on yet. */
static void vmm_guest_waits(struct machine *m)
{
    firecracker_runs();
    if (!config.daemonize)
        log_move();
    notify_status("the guest waits to be resumed");
    ready_runs(m, vmm_is_ready);
}

/* The guest lives on in another process, whose is all that is open here. */
static _Noreturn void vmm_is_elsewhere(struct machine *m)
{
    control_end();
    monitor_end();
    console_flush_all();
    log_patience(LOG_PATIENCE_NS);
    if (config.stats)
        vmm_print_stats(m);
    _exit(EXIT_SUCCESS);
}

static bool vmm_alive(void *m)
{
    return vm_answers(m);
}

static int vmm_run(struct machine *m)
{
    static struct timer first;
    timer_init(&first, m->loop, vmm_loop_runs);
    timer_arm(&first, now_ns());
    notify_watch(m->loop, vmm_alive, m);
    if (config.stopped)
        machine_pause(m);
    int err = vm_run(m);
    timer_cancel(&first);
    return err;
}

/* What is asked for: all of it looked at, nothing opened. */
static int vmm_check(struct needs *needs)
{
    int err =
        takeover_meant() ? takeover_check(&config) : restore_check(&config);
    if (!err)
        err = pc_check_memory(&config);
    if (!err)
        err = vmm_plan_boards();
    if (!err)
        err = plan_check(&classes, needs);
    if (!err)
        err = pc_check_boot(&config, needs->disks);
    if (!err)
        err = ready_check(needs);
    if (!err)
        err = control_check();
    if (!err)
        err = monitor_check();
    if (!err)
        err = listen_check_rest();
    if (!err && needs->shared_ram && config.memory.alone)
        err = fail(-EINVAL, "-object memory-backend-…: share=off, but a "
                            "vhost-user process must share guest memory");
    config.vm.shared_ram |= needs->shared_ram;
    if (upgrade_asked() && !config.vm.memory.image && !config.vm.memory.server)
        config.vm.shared_ram |= !config.memory.alone;
    if (!err)
        err = restore_check_memory(&config);
    config.vm.runs = vmm_guest_runs;
    config.vm.waits = vmm_guest_waits;
    return err;
}

/* The machine, without devices. */
static int vmm_make(struct machine **m)
{
    int err = vmm_open_files();
    if (!err)
        err = vmm_begin_helper();
    /* Before signals are ours: an open() that hangs ends with them. */
    if (!err)
        err = boot_open(&config.boot);
    if (!err)
        err = restore_dial(&config);
    if (!err)
        err = vm_new(m, &config.vm);
    if (err) {
        pidfile_close();
        helper_end();
    }
    return err;
}

/* Devices, and all else that has to be opened; afterwards nothing can be. */
static int vmm_open(struct machine *m)
{
    int err = vmm_watch_signals(m);
    if (!err)
        err = pci_bus_new(m);
    if (!err)
        err = plan_open(m);
    if (!err)
        err = firecracker_open(m);
    if (!err)
        err = control_begin(m, &config);
    if (!err)
        err = snapshot_open(m, restore_memory(), firecracker_put);
    if (!err)
        err = monitor_begin(m, &config, &classes);
    if (!err)
        err = upgrade_open(m, vmm_is_elsewhere);
    if (!err)
        err = takeover_opened();
    if (!err)
        err = textfile_open(m);
    if (!err)
        err = pidfile_keep();
    if (!err)
        err = helper_watch(m->loop);
    if (!err)
        err = helper_seal();
    if (err)
        return err;
    notify_open();
    console_begin_all();
    fd_close_inherited();
    daemon_leave_directory();
    return sandbox_enter();
}

static void vmm_end(struct machine *m)
{
    upgrade_close();
    notify_stopping();
    notify_close();
    ready_end();
    console_flush_all();
    log_patience(LOG_PATIENCE_NS);
    if (config.stats)
        vmm_print_stats(m);
    control_end();
    snapshot_close();
    monitor_end();
    textfile_end();
    fcmetrics_end();
    loop_del(&running.ev);
    close(running.ev.fd);
    /* NICs use backends, backends use the machine's loop. */
    devices_destroy(m);
    pidfile_close();
    helper_end(); /* its scripts find interfaces that are there */
    plan_free();
    log_watch(NULL);
    models_free();
    vm_free(m);
    restore_end();
    terminal_restore();
}

/* From what is planned to the end. An exit code. */
static int vmm_live(void)
{
    struct machine *m = NULL;
    struct needs needs = {.name = config.name};
    int err = vmm_check(&needs);
    if (err) {
        plan_free();
        models_free();
        return vmm_exit_code(err);
    }
    bool forks = config.daemonize && !takeover_meant();
    if ((forks && daemon_fork()) || vmm_make(&m)) {
        plan_free();
        return EXIT_START;
    }
    m->name = config.name;
    m->pci_asked = needs.pci_asked;
    log_watch(m->loop);
    err = vmm_open(m);
    err = err ? vmm_exit_code(err) : vmm_run(m);
    vmm_end(m);
    return err < 0 ? EXIT_START : err;
}

/* The same of what an API, or a config file, says. */
static int vmm_firecracker(const struct fcargs *args)
{
    int code = firecracker_begin(&config, args);
    if (code)
        return code;
    do {
        if (firecracker_wait()) {
            plan_free();
            code = EXIT_START;
        } else {
            code = vmm_live();
        }
    } while (firecracker_again(&code));
    firecracker_end();
    return code;
}

static int vmm_main(int argc, char **argv)
{
    struct fcargs args;
    successor_argv(argv);
    if (listen_early())
        return EXIT_USAGE;
    bool fc = fcargs_meant(argc, argv);
    int err = fc ? fcargs_parse(&config, &args, argc, argv)
                 : cmdline_parse(&config, &classes, argc, argv);
    if (err)
        return err > 0 ? vmm_told() : fc ? FC_EXIT_ARGUMENTS : EXIT_USAGE;
    log_name(config.name);
    log_timestamps(config.timestamps);
    return fc ? vmm_firecracker(&args) : vmm_live();
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "ctl"))
        return ctl_main(argc - 1, argv + 1);
    if (argc > 1 && !strcmp(argv[1], "doctor"))
        return doctor_main(argc - 1, argv + 1);
    if (jail_meant(argc, argv))
        return jail_main(argc, argv);
    process_early();
    notify_early();
    threads_hold();
    log_open(STDERR_FILENO);
    int err = takeover_early(&argc, &argv);
    return takeover_end(err ? EXIT_USAGE : vmm_main(argc, argv));
}
