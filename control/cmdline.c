/* SPDX-License-Identifier: MIT */
/* The command line: one table of options, parsed into a configuration.
 *
 * Theory of operation. A row says all about an option: how it is written, what
 * is done with it, its line of help. What QEMU has and this VMM does not is in
 * the table, too: taken where there is nothing to do (NOTHING, ONLY with the
 * values for which that is true), else refused with the reason (REFUSED). So a
 * command line written for QEMU either means the same here, or says what it
 * cannot mean. -help, the man page, the shell completion and the tests follow
 * the table. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "control/cmdline.h"
#include "control/control.h"
#include "control/models.h"
#include "control/monitor.h"
#include "control/pc.h"
#include "control/plan.h"
#include "control/textfile.h"
#include "control/ready.h"
#include "control/restore.h"
#include "control/upgrade.h"
#include "host/chardev.h"
#include "host/fdset.h"
#include "host/helper.h"
#include "host/sandbox.h"
#include "version.h"

static struct config config; /* being filled: the table points into it */
static const struct plan_classes *classes;

static int cmdline_usage(const char *arg);

static int cmdline_opt_entry(const char *arg)
{
    if (!word_among(arg, "16 32 64"))
        return fail(-EINVAL, "-entry %s: must be 16, 32 or 64", arg);
    config.boot.entry = atoi(arg);
    return 0;
}

static bool cmdline_asks_help(const char *word)
{
    return word_among(word, "help ?");
}

struct isa_told {
    const char *chardev, *id;
    uint8_t index;
};
static const struct field isa_fields[] = {
    FIELD(TEXT, "id", struct isa_told, id, .arg = "ID", .help = "its name"),
    FIELD(TEXT, "chardev", struct isa_told, chardev, .arg = "ID",
          .help = "what is behind it"),
    FIELD(NUMBER, "index", struct isa_told, index, .max = SERIALS_MAX - 1,
          .def = SERIALS_MAX, .help = "which of them; they come in order"),
    {.name = ""},
};

/* QEMU's other way to say -serial chardev:ID. */
static int cmdline_opt_isa_serial(const char *arg)
{
    static char to[SERIALS_MAX][80];
    struct isa_told told = {0};
    struct opts o;
    int at = config.nserial;
    int err = opts_parse(&o, "-device isa-serial", arg, "driver");
    if (!err)
        err = opts_move(NULL, &o, "driver", NULL);
    if (!err && opts_str(&o, "help", NULL)) {
        puts("isa-serial: -serial chardev:ID, as libvirt writes it");
        fields_help(isa_fields);
        err = 1;
    }
    if (!err)
        err = fields_read(isa_fields, &told, &o);
    if (!err && (!told.chardev || strlen(told.chardev) > 70))
        err = fail(-EINVAL, "-device isa-serial: chardev= is missing");
    if (!err &&
        (at == SERIALS_MAX || (told.index != SERIALS_MAX && told.index != at)))
        err = fail(-EINVAL, "-device isa-serial: at most %d, in their order",
                   SERIALS_MAX);
    if (!err) {
        snprintf(to[at], sizeof(to[at]), "chardev:%.70s", told.chardev);
        config.serial[config.nserial++] = to[at];
    }
    opts_free(&o);
    return err;
}

static bool cmdline_is_device(const char *arg, const char *name)
{
    size_t n = strlen(name);
    return !strncmp(arg, name, n) && strchr(",", arg[n]);
}

/* It is always there, at this port. */
static int cmdline_opt_pvpanic(const char *arg)
{
    static const struct opts_quiet quiet[] = {
        {"driver", NULL, NULL},
        {"id", NULL, NULL},
        {"ioport", "1285 0x505", "pvpanic is at port 0x505"},
        {"events", "1 3", "pvpanic tells of both events"},
        {0}};
    static const struct field fields[] = {FIELDS_QUIET(quiet), {.name = ""}};
    struct opts o;
    int err = opts_parse(&o, "-device pvpanic", arg, "driver");
    if (!err)
        err = fields_read(fields, &o, &o);
    opts_free(&o);
    return err;
}

static int cmdline_opt_device(const char *arg)
{
    if (cmdline_is_device(arg, "isa-serial"))
        return cmdline_opt_isa_serial(arg);
    if (cmdline_is_device(arg, "pvpanic"))
        return cmdline_opt_pvpanic(arg);
    if (cmdline_asks_help(arg)) {
        models_help(classes->devices);
        puts("name \"isa-serial\", bus ISA");
        return 1;
    }
    return plan_take("-device", arg);
}

static int cmdline_opt_global(const char *arg)
{
    return models_global(classes->devices, arg);
}

static int cmdline_opt_serial(const char *arg)
{
    if (config.nserial == SERIALS_MAX)
        return fail(-EINVAL, "-serial: at most %d", SERIALS_MAX);
    config.serial[config.nserial++] = arg;
    return 0;
}

/* A line for each word. */
static void cmdline_print_words(const char *words)
{
    for (; *words; words++)
        putchar(*words == ' ' ? '\n' : *words);
    putchar('\n');
}

static int cmdline_opt_object(const char *arg)
{
    if (cmdline_asks_help(arg)) {
        puts("Objects:");
        cmdline_print_words("filter-dump memory-backend-file "
                            "memory-backend-memfd memory-backend-ram secret");
        for (int i = 0; classes->devices[i]; i++)
            if (classes->devices[i]->object)
                cmdline_print_words(classes->devices[i]->object->types);
        return 1;
    }
    if (!strncmp(arg, "secret,", 7)) /* a key that nothing here needs */
        return 0;
    if (!strncmp(arg, "memory-backend-", 15) ||
        !strncmp(arg, "qom-type=memory-backend-", 24) ||
        (json_looks_like(arg) && strstr(arg, "\"memory-backend-")))
        return pc_take(&config, "-object", arg);
    return plan_take("-object", arg);
}

static int cmdline_opt_trace(const char *arg)
{
    if (cmdline_asks_help(arg)) {
        puts(TRACE_CATEGORIES);
        return 1;
    }
    return trace_set(arg);
}

static int cmdline_opt_shutdown(const char *arg)
{
    uint64_t seconds;
    int err = parse_u64("-shutdown-timeout", arg, 0, 86400, &seconds);
    if (!err)
        config.shutdown_s = (unsigned)seconds;
    return err;
}

static int cmdline_opt_version(const char *arg)
{
    (void)arg;
    puts(*COMMIT ? "vmm version " VERSION " (" COMMIT ")"
                 : "vmm version " VERSION);
    return 1;
}

/* One row an option. */
struct option {
    const char *names; /* the first is told */
    const char *arg;   /* what the help calls its argument; NULL: none */
    const char *help;  /* NULL: not a line of its own */
    enum { TEXT, FLAG, CALL, PC, PLAN, NOTHING, ONLY, REFUSED } kind;
    union {
        const char **text;            /* TEXT: kept */
        bool *flag;                   /* FLAG: set */
        int (*call)(const char *arg); /* CALL */
        const char *why; /* REFUSED; ONLY: where it is no word of `arg` */
    };
};

/* clang-format off */
#define TEXT(name, value, member, line)                                        \
    {name, value, line, TEXT, {.text = &config.member}}
#define FLAG(name, member, line)                                               \
    {name, NULL, line, FLAG, {.flag = &config.member}}
#define CALL(name, value, function, line)                                      \
    {name, value, line, CALL, {.call = function}}
#define PC(name, value, line) {name, value, line, PC, {0}}
#define PLAN(name, value, line) {name, value, line, PLAN, {0}}
#define NOTHING(name, value) {name, value, NULL, NOTHING, {0}}
#define ONLY(name, values, reason) {name, values, NULL, ONLY, {.why = reason}}
#define REFUSED(name, reason) {name, NULL, NULL, REFUSED, {.why = reason}}

static const struct option options[] = {
    TEXT("-kernel", "FILE", boot.kernel,
         "bzImage, ELF, Multiboot; else -boot, or built in"),
    TEXT("-initrd", "FILE[,FILE]", boot.initrd,
         "initial ramdisk (Multiboot: modules)"),
    TEXT("-append", "TEXT", boot.cmdline,
         "command line (a Linux without one: console=ttyS0)"),
    PC("-m", "SIZE", "memory, 8M to 1T (256M)"),
    TEXT("-mem-path", "PATH", vm.memory.path, NULL),
    FLAG("-mem-prealloc", vm.memory.prealloc, NULL),
    PC("-smp", "N[,sockets=N]...",
       "virtual CPUs, 1 to 32 (1); sockets cores threads"),
    PC("-machine -M", "pc|q35[,KEY=V]...",
       "acpi=off; others take what is true here"),
    CALL("-entry", "16|32|64", cmdline_opt_entry,
         "how to enter a bzImage (best it has)"),
    TEXT("-bios", "FILE", boot.bios, "another BIOS ROM"),
    PC("-boot", "c|n[,KEY=V]...",
       "from disk or network (romfile=) first; once="),
    PLAN("-tap", "NAME[,model=M]...",
        "a NIC on this TAP, which is made if absent"),
    PLAN("-nic", "TYPE[,model=M]...", "a NIC and its backend in one"),
    PLAN("-netdev", "TYPE,id=ID...", "TYPE,help lists its keys; there are"),
    PLAN("-drive", "file=FILE[,KEY=V]...",
         "a disk, an image file; -drive help lists the keys"),
    PLAN("-blockdev", "TYPE,node-name=ID...",
         "TYPE,help lists its keys; there are raw,"),
    PLAN("-hda -hdb -hdc -hdd", "FILE", "-drive file=FILE,index=0 (1, 2, 3)"),
    CALL("-chardev", "TYPE,id=ID...", chardev_add,
         "null stdio file pty socket; TYPE,help lists keys"),
    PLAN("-net", "nic|TYPE...", "the older form, with vlan=N"),
    CALL("-device", "MODEL[,netdev=ID]...", cmdline_opt_device,
         "MODEL,help lists its keys; there are"),
    CALL("-global", "MODEL.KEY=VALUE", cmdline_opt_global,
         "a default for every -device MODEL"),
    CALL("-object", "TYPE,id=ID...", cmdline_opt_object,
         "filter-dump captures frames; -object help: others"),
    CALL("-serial", "TO", cmdline_opt_serial,
         "stdio null pty file:PATH unix:PATH tcp:HOST:PORT\n"
         "                                "
         "chardev:ID (stdio); the second is ttyS1"),
    FLAG("-no-reboot", vm.no_reboot,
         "a reset ends the run (exit code 3)"),
    FLAG("-no-shutdown", vm.no_shutdown,
         "a guest that has ended stays, paused, until quit"),
    FLAG("-no-acpi", boot.no_acpi, "the guest finds no ACPI tables"),
    PC("-name", "NAME", "default MAC addresses are made of it"),
    PC("-uuid", "UUID", "the guest finds it in SMBIOS"),
    PC("-smbios", "type=1[,KEY=V]...",
       "uuid product serial sku and more: the man page"),
    TEXT("-pidfile", "FILE", pidfile, "the process's number, while it runs"),
    CALL("-restore", "STATE,mem=FILE|uffd=SOCKET...", restore_option,
         "go on from a snapshot, with its options; help lists keys"),
    CALL("-describe-snapshot", "STATE", restore_describe,
         "print what is in it"),
    CALL("-control", "PATH[,group=G]...", control_option,
         "a socket for vmm ctl and HTTP clients; help lists keys"),
    CALL("-qmp", "TO", monitor_qmp,
         "QMP at unix:PATH tcp:HOST:PORT stdio pty chardev:ID"),
    CALL("-monitor", "TO", monitor_hmp, "HMP there; -serial mon:stdio: Ctrl-A c"),
    CALL("-mon", "chardev=ID[,mode=control]", monitor_mon,
         "the same at a -chardev; mode=control is QMP"),
    CALL("-qmp-pretty", "TO", monitor_qmp_pretty, NULL),
    CALL("-add-fd", "fd=N,set=N[,opaque=TEXT]", fdset_option,
         "an open descriptor as the file /dev/fdset/N"),
    FLAG("-S", stopped, "the guest does not start before it is resumed"),
    CALL("-allow-path", "DIR", helper_allow,
         "files below it may be opened once the guest runs"),
    CALL("-upgrade", "DIR", upgrade_option,
         "programs below it may take over (vmm ctl SOCKET upgrade)"),
    CALL("-allow-tap", "NAME|PREFIX*", helper_allow_tap,
         "TAPs that may take a netdev's place then"),
    TEXT("-D", "FILE", log, "messages go there (SIGHUP opens it anew)"),
    FLAG("-daemonize", daemonize, "go on in the background once it is ready"),
    CALL("-ready", "run|guest", ready_option,
         "when that is: it runs, or has sent a frame (run)"),
    CALL("-shutdown-timeout", "SECONDS", cmdline_opt_shutdown,
         "for a guest to power off after SIGTERM (30)"),
    CALL("-sandbox", "on|off", sandbox_option,
         "give up files, user, system calls (on)"),
    CALL("-runas", "USER|UID:GID", sandbox_runas,
         "who root becomes in it (nobody)"),
    FLAG("-stats", stats, "print counters at the end"),
    CALL("-metrics", "FILE[,interval=S]", textfile_option,
         "counters for Prometheus, written over each 15 s"),
    CALL("-trace", "CAT[,CAT]...", cmdline_opt_trace,
         "pci virtio queue e1000 irq net bus serial boot vm all"),
    CALL("-version", NULL, cmdline_opt_version, "print the version"),
    CALL("-help -h -?", NULL, cmdline_usage, "print this"),

    /* Taken: true here without doing anything. */
    NOTHING("-enable-kvm", NULL),
    NOTHING("-nographic", NULL),
    NOTHING("-nodefaults", NULL),
    NOTHING("-no-user-config", NULL),
    NOTHING("-no-hpet", NULL),
    NOTHING("-no-fd-bootchk", NULL),
    NOTHING("-usb", NULL),
    NOTHING("-L", "DIR"),
    NOTHING("-k", "LAYOUT"),
    NOTHING("-id", "N"),
    PC("-accel", "kvm", NULL),
    PC("-cpu", "host|max", NULL),
    PC("-rtc", "base=utc", NULL),
    PC("-msg", "timestamp=on", NULL),
    PC("-overcommit", "mem-lock=off", NULL),
    PC("-action", "reboot=shutdown", NULL),
    PC("-numa", "node,memdev=ID", NULL),
    ONLY("-display", "none", "there are no graphics; -display none"),
    ONLY("-vga", "none", "there are no graphics; -vga none"),
    ONLY("-vnc", "none", "there are no graphics; -vnc none"),
    ONLY("-parallel", "none null", "there is no parallel port"),
    ONLY("-audio", "none", "there is no sound"),
    ONLY("-audiodev",
         "none none,id=audio1 {\"id\":\"audio1\",\"driver\":\"none\"}",
         "there is no sound"),
    ONLY("-watchdog-action", "reset shutdown poweroff pause debug none",
         "no such action"),

    /* Refused, with the reason. */
    REFUSED("-cdrom", "there is no CD-ROM; -drive file=FILE,readonly=on"),
    REFUSED("-fda -fdb -sd -mtdblock -pflash", "no such drive; -drive"),
    REFUSED("-snapshot", "what is written to a disk is kept"),
    REFUSED("-iscsi", "disks are files and block devices; -drive"),
    REFUSED("-fsdev -virtfs", "there are no shared file systems"),
    REFUSED("-incoming -loadvm -only-migratable -dump-vmstate",
            "vmm ctl saves a machine, -restore goes on from there"),
    REFUSED("-spice -curses -sdl -full-screen -rotate -portrait",
            "there are no graphics"),
    REFUSED("-usbdevice", "there is no USB"),
    REFUSED("-soundhw", "there is no sound"),
    REFUSED("-watchdog", "there is no watchdog"),
    REFUSED("-tpmdev", "there is no TPM"),
    REFUSED("-fw_cfg", "there is no fw_cfg device"),
    REFUSED("-acpitable", "ACPI tables cannot be added"),
    REFUSED("-dtb", "a PC has no device tree"),
    REFUSED("-option-rom", "a ROM belongs to a NIC: romfile="),
    REFUSED("-gdb -s", "no debugger can be attached"),
    REFUSED("-d -dfilter", "-trace prints what happens"),
    REFUSED("-icount -singlestep -plugin -seed -async-teardown -no-kvm",
            "this VMM runs on KVM alone; it emulates no processor"),
    REFUSED("-chroot -user -run-with",
            "the sandbox has an empty root directory; -runas names the user"),
    REFUSED("-readconfig -writeconfig",
            "options are given on the command line"),
    REFUSED("-set", "the key stands in the option itself"),
    REFUSED("-debugcon", "there is no debug port; -serial"),
    REFUSED("-echr", "the escape character is Ctrl-A"),
    REFUSED("-preconfig", "options are given on the command line"),
};
/* clang-format on */

/* The first of a row's names. */
static int cmdline_first_name(const struct option *opt, char *buf, size_t size)
{
    return snprintf(buf, size, "%.*s", (int)strcspn(opt->names, " "),
                    opt->names);
}

static void cmdline_print_others(void)
{
    char word[64];
    int column = printf("\nAlso, as QEMU has them:") * 0;
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct option *opt = &options[i];
        if (opt->help || opt->kind == REFUSED)
            continue;
        int n = cmdline_first_name(opt, word, sizeof(word));
        if (opt->arg)
            snprintf(word + n, sizeof(word) - (size_t)n, " %.*s",
                     (int)strcspn(opt->arg, " "), opt->arg);
        if (!column || column + (int)strlen(word) > 75)
            column = printf("\n ") - 1;
        column += printf(" %s,", word);
    }
    puts("\n  most of them with nothing to do. The man page has them all, and "
         "those refused.");
}

static void cmdline_print_name(const char *name, int *column)
{
    if (!*column || *column + (int)strlen(name) > 75)
        *column = printf("%s%31s", *column ? "\n" : "", "");
    *column += printf(" %s", name);
}

/* What can be named behind an option's help, each by its class. */
static void cmdline_print_names(const char *opt)
{
    int column = 0;
    if (!strcmp(opt, "-device"))
        for (int i = 0; classes->devices[i]; i++)
            cmdline_print_name(classes->devices[i]->name, &column);
    if (!strcmp(opt, "-blockdev"))
        for (int i = 0; classes->blockdevs[i]; i++)
            cmdline_print_name(classes->blockdevs[i]->name, &column);
    if (!strcmp(opt, "-netdev"))
        for (int i = 0; classes->netdevs[i]; i++)
            cmdline_print_name(classes->netdevs[i]->name, &column);
    if (column)
        putchar('\n');
    if (!strcmp(opt, "-netdev"))
        puts("-netdev tap,id=ID[,ifname=NAME|,fd=x|,fds=x:y:...:z]"
             "[,vhost=on|off]...");
}

/* Engines read this text to learn what they may ask for (Ganeti's KVM
 * hypervisor does): QEMU's release, whose options these are, in the first line;
 * options at the beginning of theirs; a TAP's in the words that QEMU has. */
static int cmdline_usage(const char *arg)
{
    (void)arg;
    puts("usage: vmm [OPTION]...   boots a guest, by QEMU " QEMU_VERSION
         "'s options\n");
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        char left[64];
        if (!options[i].help)
            continue;
        int n = cmdline_first_name(&options[i], left, sizeof(left));
        if (options[i].arg)
            snprintf(left + n, sizeof(left) - (size_t)n, " %s", options[i].arg);
        printf("%-31s %s\n", left, options[i].help);
        cmdline_print_names(options[i].names);
    }
    cmdline_print_others();
    puts(
        "\nexamples:\n"
        "  vmm -tap tap0                          the bundled guest, 10.0.0.2\n"
        "  vmm -kernel bzImage -initrd initrd -tap tap0\n"
        "  vmm -nic user,hostfwd=tcp::2222-:22 -kernel bzImage -initrd initrd\n"
        "  vmm ctl SOCKET status                  asks one that runs: vmm ctl "
        "help\n"
        "  vmm jail --id ID --exec-file FILE ...  in a jail: vmm jail --help\n"
        "  vmm --api-sock SOCKET                  Firecracker's API: vmm "
        "--no-api --help\n"
        "  vmm doctor [-tap tap0]                 can VMs run here? if not, "
        "why\n"
        "\nOn the terminal Ctrl-A x quits, Ctrl-A h helps. SIGTERM presses the "
        "power\nbutton, SIGUSR1 prints counters, SIGUSR2 pulls or plugs the "
        "cables.\n"
        "Exit codes: 0 powered off, 1 did not start, 2 usage, 3 reset "
        "(-no-reboot),\n4 triple fault (-no-reboot), 5 guest panic, 6 VMM or "
        "KVM fault, 128+N signal N, 148 sandbox.");
    return 1;
}

static const struct option *cmdline_find_option(const char *word)
{
    if (word[0] == '-' && word[1] == '-')
        word++;
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (word[0] == '-' && word_among(word, options[i].names))
            return &options[i];
    return NULL;
}

/* A suggestion is worth something for a word that is long enough. */
static int cmdline_unknown_option(const char *word)
{
    enum { NAMES = 256, TOO_SHORT = 4 };
    static char text[NAMES][24];
    const char *names[NAMES + 1] = {NULL}, *near = NULL;
    int n = 0;
    if (word[0] != '-')
        return fail(-EINVAL,
                    "%s: not an option; a kernel is given with -kernel", word);
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        for (const char *p = options[i].names; *p && n < NAMES;) {
            size_t len = strcspn(p, " ");
            snprintf(text[n], sizeof(text[n]), "%.*s", (int)len, p);
            names[n] = text[n];
            n++;
            p += len + (p[len] == ' ');
        }
    if (strlen(word) >= TOO_SHORT)
        near = closest(word[1] == '-' ? word + 1 : word, names);
    return fail(-EINVAL,
                near ? "%s: no such option; did you mean %s?"
                     : "%s: no such option; -help lists them",
                word, near);
}

/* Backends, NICs and disks. */
static int cmdline_take_plan(const char *name, const char *arg)
{
    const char *model = strstr(arg, "model=");
    if (model && (model == arg || model[-1] == ',') &&
        cmdline_asks_help(model + 6)) {
        models_help(classes->devices);
        return 1;
    }
    return plan_take(name, arg);
}

/* 0, 1: done (-help), <0: usage error, said. */
static int cmdline_take_option(const struct option *opt, const char *name,
                               const char *arg)
{
    char first[24];
    switch (opt->kind) {
    case TEXT:
        *opt->text = arg;
        return 0;
    case FLAG:
        *opt->flag = true;
        return 0;
    case CALL:
        return opt->call(arg);
    case PC:
        cmdline_first_name(opt, first, sizeof(first));
        return pc_take(&config, first, arg);
    case PLAN:
        return cmdline_take_plan(name + (name[1] == '-'), arg);
    case NOTHING:
        return 0;
    case ONLY:
        if (word_among(arg, opt->arg))
            return 0;
        if (!cmdline_asks_help(arg))
            return fail(-EINVAL, "%s %s: %s", name, arg, opt->why);
        printf("%s: %s\n", name, opt->arg);
        return 1;
    case REFUSED:
        break;
    }
    return fail(-EINVAL, "%s: %s", name, opt->why);
}

static int cmdline_take_all(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const struct option *opt = cmdline_find_option(argv[i]);
        const char *word = argv[i], *arg = "";
        if (!opt)
            return cmdline_unknown_option(word);
        if (opt->arg && !(arg = argv[++i]))
            return fail(-EINVAL, "%s: needs an argument: %s %s", word, word,
                        opt->arg);
        int err = cmdline_take_option(opt, word, arg);
        if (err)
            return err;
    }
    return pc_check(&config);
}

/* Where the console goes if nobody says so; and stdio is nobody's soon. */
static int cmdline_check_serial(void)
{
    if (!config.nserial)
        config.serial[config.nserial++] = config.daemonize ? "null" : "stdio";
    for (int i = 0; config.daemonize && i < config.nserial; i++) {
        const char *to = config.serial[i];
        const struct chardev *c =
            strncmp(to, "chardev:", 8) ? NULL : chardev_find(to + 8);
        if (!strcmp(to, "stdio") || (c && c->type == CHARDEV_STDIO))
            return fail(-EINVAL,
                        "-serial %s: a -daemonize has no terminal; file:PATH, "
                        "unix:PATH or pty",
                        to);
    }
    return 0;
}

int cmdline_parse(struct config *cfg, const struct plan_classes *known,
                  int argc, char **argv)
{
    classes = known;
    config = (struct config){
        .vm = {.ram = 256ull << 20,
               .cpus = 1,
               .threads = 1,
               .package = 1,
               .kvm = "/dev/kvm"},
        .shutdown_s = 30,
    };
    int err = cmdline_take_all(argc, argv);
    if (!err)
        err = cmdline_check_serial();
    if (err)
        return err;
    *cfg = config;
    cfg->vm.boot = &cfg->boot;
    if (cfg->name)
        cfg->name = cfg->name_text;
    return 0;
}
