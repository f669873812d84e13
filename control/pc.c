/* SPDX-License-Identifier: MIT */
/* QEMU's options that describe the PC, each a list of keys.
 *
 * A key is done, or is taken because there is nothing to do for it (the rows
 * of struct opts_quiet, with the values of which that is true), or is refused
 * with the reason. Nothing is accepted that the guest or the operator would
 * then miss. */
#include "control/pc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "machine/platform.h"

#define ONLY_KVM "this VMM runs on KVM alone; it emulates no processor"

/* Parses `arg` into *o, whose first word is the value of `first`. 1 where that
 * is a call for help: then the caller prints it. */
static int pc_parse(struct opts *o, const char *what, const char *arg,
                    const char *first)
{
    int err = opts_parse(o, what, arg, first);
    if (!err && (!strcmp(arg, "help") || !strcmp(arg, "?"))) {
        opts_free(o);
        return 1;
    }
    return err;
}

/* Copies the value of a key that must fit. */
static int pc_copy(struct opts *o, const char *key, char *out, size_t size)
{
    const char *val = opts_str(o, key, NULL);
    if (!val)
        return 0;
    if (strlen(val) >= size)
        return fail(-EINVAL, "%s: %s=: at most %zu characters", o->what, key,
                    size - 1);
    strcpy(out, val);
    return 0;
}

/* The end of each: what is quiet, then what nobody asked for. */
static int pc_done(struct opts *o, const struct opts_quiet *quiet, int err)
{
    if (!err)
        err = opts_quiet(o, quiet);
    if (!err)
        err = opts_done(o);
    opts_free(o);
    return err;
}

static const struct opts_quiet none[] = {{0}};

/* ------------------------------------------------------- memory, processors */

int pc_memory(struct config *c, const char *arg)
{
    const uint64_t page = 4096, least = 8ull << 20, most = 1ull << 40;
    struct opts o;
    uint64_t max = 0, slots;
    int err = opts_parse(&o, "-m", arg, "size");
    if (err)
        return err;
    const char *size = opts_str(&o, "size", o.n ? NULL : "");
    if (size)
        err = parse_size("-m", size, 1 << 20, &c->vm.ram);
    c->vm.ram = (c->vm.ram + page - 1) & -page;
    if (!err && (c->vm.ram < least || c->vm.ram > most))
        err = fail(-EINVAL, "-m %s: must be from 8M to 1T", arg);
    /* Room for memory that is plugged in later: there is no such command. */
    err = err ? err : opts_u64(&o, "slots", 0, 256, &slots);
    err = err ? err : opts_size(&o, "maxmem", 1 << 20, &max);
    if (!err && max && max < c->vm.ram)
        err = fail(-EINVAL, "-m %s: maxmem= is less than the size", arg);
    return pc_done(&o, none, err);
}

enum { CPUS, MAXCPUS, SOCKETS, DIES, CLUSTERS, CORES, THREADS, SMP_KEYS };

/* What was left out, as QEMU does since 6.2: cores before sockets. */
static void pc_smp_complete(uint64_t v[SMP_KEYS])
{
    v[DIES] += !v[DIES];
    v[CLUSTERS] += !v[CLUSTERS];
    uint64_t max = v[MAXCPUS] ? v[MAXCPUS] : v[CPUS];
    uint64_t inner = v[DIES] * v[CLUSTERS];
    if (!max || !v[CORES])
        v[SOCKETS] += !v[SOCKETS];
    if (!max || !v[CORES] || !v[SOCKETS])
        v[THREADS] += !v[THREADS];
    if (!v[CORES])
        v[CORES] = max ? max / (v[SOCKETS] * inner * v[THREADS]) : 1;
    else if (!v[SOCKETS])
        v[SOCKETS] = max / (v[CORES] * inner * v[THREADS]);
    if (!v[THREADS])
        v[THREADS] = max / (v[SOCKETS] * inner * v[CORES]);
    uint64_t all = v[SOCKETS] * inner * v[CORES] * v[THREADS];
    v[MAXCPUS] = max ? max : all;
    v[CPUS] += v[CPUS] ? 0 : v[MAXCPUS];
}

static bool pc_power_of_two(uint64_t n)
{
    return n && !(n & (n - 1));
}

/* APIC IDs are the CPUs' numbers, without gaps, and the guest finds cores and
 * packages in their bits. */
static int pc_smp_layout(struct config *c, const char *arg,
                         const uint64_t v[SMP_KEYS])
{
    uint64_t package = v[DIES] * v[CLUSTERS] * v[CORES] * v[THREADS];
    if (v[SOCKETS] * package != v[MAXCPUS])
        return fail(-EINVAL,
                    "-smp %s: sockets times cores times threads must be the "
                    "number of CPUs (maxcpus=)",
                    arg);
    if (v[CPUS] > v[MAXCPUS] || v[CPUS] > CPUS_MAX)
        return fail(-EINVAL,
                    "-smp %s: must be a number from 1 to %d, and not more than "
                    "maxcpus=",
                    arg, CPUS_MAX);
    if (!pc_power_of_two(v[THREADS]) ||
        (v[SOCKETS] > 1 && !pc_power_of_two(package)))
        return fail(-EINVAL,
                    "-smp %s: threads=, and where there are several sockets "
                    "cores= times threads=, must be a power of two",
                    arg);
    c->vm.cpus = (unsigned)v[CPUS];
    c->vm.threads = (unsigned)v[THREADS];
    c->vm.package = v[SOCKETS] > 1 ? (unsigned)package : c->vm.cpus;
    return 0;
}

int pc_smp(struct config *c, const char *arg)
{
    static const char *const keys[SMP_KEYS] = {
        "cpus", "maxcpus", "sockets", "dies", "clusters", "cores", "threads"};
    uint64_t v[SMP_KEYS] = {0};
    struct opts o;
    int err = opts_parse(&o, "-smp", arg, "cpus");
    if (!err && !o.n)
        err = fail(-EINVAL, "-smp: must be a number from 1 to %d", CPUS_MAX);
    for (int i = 0; !err && i < SMP_KEYS; i++)
        err = opts_u64(&o, keys[i], 1, i == CPUS ? CPUS_MAX : 1024, &v[i]);
    if (!err) {
        pc_smp_complete(v);
        err = pc_smp_layout(c, arg, v);
    }
    return pc_done(&o, none, err);
}

/* --------------------------------------------------------- machine and such */

static int pc_take_accel(struct config *c, const char *what, const char *list)
{
    size_t n = strcspn(list, ":");
    bool kvm = n == 3 && !strncmp(list, "kvm", n);
    if (!kvm && !c->kvm_named) /* what comes after is for where KVM is not */
        return fail(-EINVAL, "%s %s: %s", what, list, ONLY_KVM);
    c->kvm_named = true;
    return 0;
}

int pc_accel(struct config *c, const char *arg)
{
    static const struct opts_quiet quiet[] = {
        {"kernel-irqchip", "on", "interrupt controllers are KVM's"},
        {"dirty-ring-size", "0", "nothing asks which pages were written"},
        {"kvm-shadow-mem", NULL, NULL},
        {"tb-size", NULL, NULL}, /* of a tcg that comes after kvm */
        {"one-insn-per-tb", NULL, NULL},
        {"split-wx", NULL, NULL},
        {"thread", NULL, NULL},
        {0}};
    struct opts o;
    int err = pc_parse(&o, "-accel", arg, "accel");
    if (err > 0)
        puts("Accelerators supported:\nkvm");
    if (err)
        return err;
    err = pc_take_accel(c, "-accel", opts_str(&o, "accel", ""));
    return pc_done(&o, quiet, err);
}

static int pc_machine_type(const char *type)
{
    /* Versions promise a machine that never changes, for live migration. */
    static const char *const starts[] = {"pc-i440fx-", "pc-q35-", "pc+", NULL};
    if (word_among(type, "pc q35"))
        return 0;
    for (int i = 0; starts[i]; i++)
        if (!strncmp(type, starts[i], strlen(starts[i])))
            return 0;
    return fail(-EINVAL,
                "-machine %s: there are pc and q35 (both are this VMM's one "
                "PC)",
                type);
}

int pc_machine(struct config *c, const char *arg)
{
    static const struct opts_quiet quiet[] = {
        {"kernel-irqchip", "on", "interrupt controllers are KVM's"},
        {"usb", "off", "there is no USB"},
        {"graphics", NULL, NULL},
        {"vmport", "off auto", "there is no VMware port"},
        {"hpet", "off", "there is no HPET"},
        {"smm", "off auto", "there is no system management mode"},
        {"smbus", "off", "there is no SMBus"},
        {"sata", "off", "there are no disks"},
        {"pit", "on", "the PIT is always there"},
        {"pic", "on", "the PIC is always there"},
        {"i8042", "on", "the keyboard controller is always there"},
        {"nvdimm", "off", "there are no NVDIMMs"},
        {"hmat", "off", "there is one NUMA node"},
        {"mem-merge", "off", "guest memory is not offered to KSM"},
        {"dump-guest-core", "off", "guest memory is never in core dumps"},
        {"suppress-vmdesc", NULL, NULL},
        {"default-bus-bypass-iommu", NULL, NULL},
        {"x-south-bridge", NULL, NULL},
        {"fd-bootchk", NULL, NULL},
        {0}};
    bool acpi = true;
    struct opts o;
    int err = pc_parse(&o, "-machine", arg, "type");
    if (err > 0)
        puts("Supported machines are:\n"
             "pc                   this VMM's PC (default)\n"
             "q35                  the same");
    if (err)
        return err;
    err = pc_machine_type(opts_str(&o, "type", "pc"));
    const char *accel = opts_str(&o, "accel", NULL);
    if (!err && accel)
        err = pc_take_accel(c, "-machine accel:", accel);
    err = err ? err : opts_bool(&o, "acpi", &acpi);
    c->boot.no_acpi |= !acpi;
    if (!err)
        err = pc_copy(&o, "memory-backend", c->memory.named,
                      sizeof(c->memory.named));
    return pc_done(&o, quiet, err);
}

/* The guest gets every feature that KVM offers: what is switched on is there,
 * nothing can be taken away. */
static int pc_cpu_feature(const char *key, const char *val)
{
    static const char always[] =
        "enforce check migratable host-phys-bits host-cache-info";
    bool on = word_among(val, "on yes true 1");
    if (word_among(key, always))
        return 0;
    if (!strncmp(key, "hv_", 3) || !strncmp(key, "hv-", 3))
        return on ? fail(-EINVAL, "-cpu: %s: there are no Hyper-V interfaces",
                         key)
                  : 0;
    if (key[0] == '-' || !on)
        return fail(-EINVAL,
                    "-cpu: %s%s%s: the guest sees all that KVM offers; no "
                    "feature can be taken away or set",
                    key, key[0] == '-' ? "" : "=", key[0] == '-' ? "" : val);
    return 0;
}

int pc_cpu(struct config *c, const char *arg)
{
    struct opts o;
    (void)c;
    int err = pc_parse(&o, "-cpu", arg, "model");
    if (err > 0)
        puts("Available CPUs:\n"
             "x86 host                  the host's processor, all that KVM "
             "offers\n"
             "x86 max                   the same");
    if (err)
        return err;
    const char *model = opts_str(&o, "model", "");
    if (!word_among(model, "host max"))
        err = fail(-EINVAL,
                   "-cpu %s: there are host and max; the guest sees the "
                   "processor it runs on",
                   model);
    for (int i = 1; !err && i < o.n; i++)
        err = pc_cpu_feature(o.kv[i].key, o.kv[i].val);
    opts_free(&o);
    return err;
}

/* QEMU's order has a disk first; where there is none the network is next. */
static int pc_boot_order(struct config *c, const char *order)
{
    if (strspn(order, "acdnp") != strlen(order))
        return fail(-EINVAL, "-boot order=%s: must be n (network)", order);
    c->boot.net |= strchr(order, 'n') != NULL;
    c->disk_boot |= *order && !strchr(order, 'n');
    return 0;
}

int pc_boot(struct config *c, const char *arg)
{
    static const struct opts_quiet quiet[] = {
        {"menu", NULL, NULL}, /* with nothing in it to choose */
        {"strict", NULL, NULL},
        {"splash", NULL, NULL},
        {"splash-time", NULL, NULL},
        {0}};
    uint64_t ms = 0;
    struct opts o;
    int err = opts_parse(&o, "-boot", arg, "order");
    if (err)
        return err;
    err = pc_boot_order(c, opts_str(&o, "order", ""));
    err = err ? err : pc_boot_order(c, opts_str(&o, "once", ""));
    if (!err && strcmp(opts_str(&o, "reboot-timeout", "-1"), "-1")) {
        c->boot_timeout = true;
        err = opts_u64(&o, "reboot-timeout", 0, 65535, &ms);
    }
    return pc_done(&o, quiet, err);
}

int pc_rtc(struct config *c, const char *arg)
{
    static const struct opts_quiet quiet[] = {
        {"base", "utc", "the clock starts with the host's, in UTC"},
        {"clock", "host", "the clock is the host's"},
        {"driftfix", "none", "periodic interrupts that were lost stay lost"},
        {0}};
    struct opts o;
    (void)c;
    int err = opts_parse(&o, "-rtc", arg, NULL);
    return err ? err : pc_done(&o, quiet, 0);
}

int pc_msg(struct config *c, const char *arg)
{
    struct opts o;
    bool name = false;
    int err = opts_parse(&o, "-msg", arg, NULL);
    if (err)
        return err;
    err = opts_bool(&o, "timestamp", &c->timestamps);
    err = err ? err : opts_bool(&o, "guest-name", &name);
    return pc_done(&o, none, err);
}

int pc_overcommit(struct config *c, const char *arg)
{
    static const struct opts_quiet quiet[] = {
        {"mem-lock", "off", "guest memory is not locked (but for vfio-pci)"},
        {"cpu-pm", "off", "a guest that halts gives its processor back"},
        {0}};
    struct opts o;
    (void)c;
    int err = opts_parse(&o, "-overcommit", arg, NULL);
    return err ? err : pc_done(&o, quiet, 0);
}

int pc_action(struct config *c, const char *arg)
{
    static const struct opts_quiet quiet[] = {
        {"shutdown", "poweroff", "nothing could resume a paused machine"},
        {"panic", "shutdown exit-failure",
         "a panic ends the run with exit code 5"},
        {"watchdog", NULL, NULL}, /* there is none that could bark */
        {0}};
    struct opts o;
    int err = opts_parse(&o, "-action", arg, NULL);
    if (err)
        return err;
    const char *reboot = opts_str(&o, "reboot", NULL);
    if (reboot && !word_among(reboot, "reset shutdown"))
        err = fail(-EINVAL, "-action reboot=%s: must be reset or shutdown",
                   reboot);
    else if (reboot)
        c->vm.no_reboot = !strcmp(reboot, "shutdown");
    return pc_done(&o, quiet, err);
}

/* ------------------------------------------------------------ who it is */

int pc_name(struct config *c, const char *arg)
{
    struct opts o;
    char process[16] = ""; /* prctl's limit */
    bool debug = false;
    int err = opts_parse(&o, "-name", arg, "guest");
    if (err)
        return err;
    err = pc_copy(&o, "guest", c->name_text, sizeof(c->name_text));
    err = err ? err : pc_copy(&o, "process", process, sizeof(process));
    err = err ? err : opts_bool(&o, "debug-threads", &debug); /* always */
    if (!err && c->name_text[0])
        c->name = c->name_text;
    if (!err && process[0])
        prctl(PR_SET_NAME, process);
    return pc_done(&o, none, err);
}

static int pc_hex_digit(char ch)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = ch ? strchr(digits, ch | 32) : NULL;
    return at && (ch <= '9' || (ch | 32) >= 'a') ? (int)(at - digits) : -1;
}

/* 8-4-4-4-12 hexadecimal digits. */
static int pc_parse_uuid(const char *what, const char *text, uint8_t uuid[16])
{
    const char *p = text;
    for (int i = 0; i < 16; i++, p += 2) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *p++ != '-')
            goto bad;
        int high = pc_hex_digit(p[0]), low = high < 0 ? -1 : pc_hex_digit(p[1]);
        if (low < 0)
            goto bad;
        uuid[i] = (uint8_t)(high << 4 | low);
    }
    if (!*p)
        return 0;
bad:
    return fail(-EINVAL,
                "%s %s: not a UUID; write "
                "12345678-9abc-def0-1234-56789abcdef0",
                what, text);
}

int pc_uuid(struct config *c, const char *arg)
{
    return pc_parse_uuid("-uuid", arg, c->boot.who.uuid);
}

int pc_smbios(struct config *c, const char *arg)
{
    static const char *const keys[IDENTITY_TEXTS] = {
        "manufacturer", "product", "version", "serial", "sku", "family"};
    struct identity *who = &c->boot.who;
    struct opts o;
    int err = opts_parse(&o, "-smbios", arg, NULL);
    if (err)
        return err;
    const char *type = opts_str(&o, "type", ""), *uuid;
    if (strcmp(type, "1"))
        err =
            fail(-EINVAL,
                 "-smbios type=%s: only type=1, the system, can be told", type);
    uuid = opts_str(&o, "uuid", NULL);
    if (!err && uuid)
        err = pc_parse_uuid("-smbios uuid", uuid, who->uuid);
    for (int i = 0; !err && i < IDENTITY_TEXTS; i++)
        err = pc_copy(&o, keys[i], who->text[i], sizeof(who->text[i]));
    return pc_done(&o, none, err);
}

/* -------------------------------------------------- memory by another name */

int pc_memory_backend(struct config *c, const char *arg)
{
    static const struct opts_quiet quiet[] = {
        {"dump", "off", "guest memory is never in core dumps"},
        {"merge", "off", "guest memory is not offered to KSM"},
        {"prealloc", "off", "guest memory comes as it is touched"},
        {"prealloc-threads", NULL, NULL},
        {"reserve", "on", "memory is reserved as the host's rules want it"},
        {"policy", "default", "NUMA placement is numactl's"},
        {"hugetlb", "off", "huge pages are the kernel's choice (THP)"},
        {"seal", "on", "a size that can change would end the VMM"},
        {"x-use-canonical-path-for-ramblock-id", NULL, NULL},
        {0}};
    struct opts o;
    bool share = false;
    int err = opts_parse(&o, "-object", arg, "qom-type");
    if (err)
        return err;
    const char *type = opts_str(&o, "qom-type", "");
    if (!word_among(type, "memory-backend-ram memory-backend-memfd"))
        err = fail(-EINVAL,
                   "-object %s: guest memory is memory-backend-ram or "
                   "memory-backend-memfd",
                   type);
    share = !strcmp(type, "memory-backend-memfd");
    if (!err && (c->memory.id[0] || !opts_str(&o, "id", NULL)))
        err = fail(-EINVAL, "-object %s: %s", type,
                   c->memory.id[0] ? "guest memory has one backend at most"
                                   : "id= is missing");
    err = err ? err : pc_copy(&o, "id", c->memory.id, sizeof(c->memory.id));
    err = err ? err : opts_size(&o, "size", 1, &c->memory.size);
    err = err ? err : opts_bool(&o, "share", &share);
    c->vm.shared_ram |= share;
    return pc_done(&o, quiet, err);
}

int pc_numa(struct config *c, const char *arg)
{
    static const struct opts_quiet quiet[] = {
        {"nodeid", "0", "there is one NUMA node"},
        {"cpus", NULL, NULL}, /* all of them */
        {0}};
    struct opts o;
    int err = opts_parse(&o, "-numa", arg, "type");
    if (err)
        return err;
    const char *mem = opts_str(&o, "memdev", NULL);
    if (strcmp(opts_str(&o, "type", ""), "node") || !mem || c->memory.named[0])
        err =
            fail(-EINVAL,
                 "-numa %s: there is one NUMA node: -numa node,memdev=ID", arg);
    if (!err)
        err = pc_copy(&o, "memdev", c->memory.named, sizeof(c->memory.named));
    return pc_done(&o, quiet, err);
}

int pc_check(const struct config *c)
{
    const char *id = c->memory.id, *named = c->memory.named;
    if (strcmp(id, named))
        return *named ? fail(-EINVAL,
                             "-machine memory-backend=%s (or -numa memdev=): "
                             "no -object memory-backend-… has that id",
                             named)
                      : fail(-EINVAL,
                             "-object memory-backend-…,id=%s: nothing names "
                             "it; -machine memory-backend=%s",
                             id, id);
    if (*id && c->memory.size != c->vm.ram)
        return fail(-EINVAL,
                    "-object memory-backend-…,id=%s: its size= must be -m's",
                    id);
    if (c->boot.kernel)
        return 0;
    if (c->boot.initrd)
        return fail(-EINVAL, "-initrd %s: needs -kernel", c->boot.initrd);
    if (c->boot.net && c->boot.cmdline)
        return fail(-EINVAL, "-append: needs -kernel where -boot has n");
    if (c->disk_boot && !c->boot.net)
        return fail(-EINVAL,
                    "-boot: there is no disk; n boots from the network");
    if (c->boot.net && c->boot_timeout)
        return fail(-EINVAL,
                    "-boot reboot-timeout=: the ROM does not start again by "
                    "itself; leave it out");
    return 0;
}
