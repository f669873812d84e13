/* SPDX-License-Identifier: MIT */
/* QEMU's options that describe the PC, each a list of keys.
 *
 * A key is done, or is taken because there is nothing to do for it (the QUIET
 * rows, with the values of which that is true), or is refused with the reason.
 * Nothing is accepted that the guest or the operator would then miss. One row
 * of pc_options is an option: its keys are read into a struct told, and a
 * function does with them what is to be done. */
#include "control/pc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "control/told.h"

#define ONLY_KVM "this VMM runs on KVM alone; it emulates no processor"

int pc_copy(const struct told *t, const char *key, const char *val, char *out,
            size_t size)
{
    if (!val)
        return 0;
    if (strlen(val) >= size)
        return fail(-EINVAL, "%s: %s=: at most %zu characters", t->o.what, key,
                    size - 1);
    strcpy(out, val);
    return 0;
}

/* ------------------------------------------------------------------ memory */

static const struct field memory_keys[] = {
    KEY(TEXT, "size", size),
    /* Room for memory that is plugged in later: there is no such command. */
    KEY(NUMBER, "slots", slots, .max = 256),
    KEY(TEXT, "maxmem", maxmem),
    END,
};

static int pc_memory(struct config *c, const struct told *t)
{
    const uint64_t page = 4096, least = 8ull << 20, most = 1ull << 40;
    const char *size = *t->arg ? t->size : "";
    c->ram_said = size;
    uint64_t max = 0;
    int err = 0;
    if (size)
        err = parse_size("-m", size, 1 << 20, &c->vm.ram);
    c->vm.ram = (c->vm.ram + page - 1) & -page;
    if (!err && (c->vm.ram < least || c->vm.ram > most))
        err = fail(-EINVAL, "-m %s: must be from 8M to 1T", t->arg);
    if (!err && t->maxmem)
        err = parse_size("-m: maxmem", t->maxmem, 1 << 20, &max);
    if (!err && max && max < c->vm.ram)
        err = fail(-EINVAL, "-m %s: maxmem= is less than the size", t->arg);
    return err;
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

static const struct opts_quiet accel_quiet[] = {
    {"kernel-irqchip", "on", "interrupt controllers are KVM's"},
    {"dirty-ring-size", "0", "nothing asks which pages were written"},
    {"kvm-shadow-mem", NULL, NULL},
    {"tb-size", NULL, NULL}, /* of a tcg that comes after kvm */
    {"one-insn-per-tb", NULL, NULL},
    {"split-wx", NULL, NULL},
    {"thread", NULL, NULL},
    {0},
};
static const struct field accel_keys[] = {
    KEY(TEXT, "accel", accel),
    FIELDS_QUIET(accel_quiet),
    END,
};

static int pc_accel(struct config *c, const struct told *t)
{
    return pc_take_accel(c, "-accel", t->accel ? t->accel : "");
}

static int pc_machine_type(const char *type)
{
    /* Versions promise a machine that never changes, for live migration. */
    static const char *const starts[] = {"pc-i440fx-", "pc-q35-", "pc+", NULL};
    if (word_among(type, "pc q35 none")) /* none: who only asks what there is */
        return 0;
    for (int i = 0; starts[i]; i++)
        if (!strncmp(type, starts[i], strlen(starts[i])))
            return 0;
    return fail(-EINVAL,
                "-machine %s: there are pc and q35 (both are this VMM's one "
                "PC)",
                type);
}

static const struct opts_quiet machine_quiet[] = {
    {"kernel-irqchip", "on", "interrupt controllers are KVM's"},
    {"usb", "off", "there is no USB"},
    {"graphics", NULL, NULL},
    {"vmport", "off auto", "there is no VMware port"},
    {"hpet", "off", "there is no HPET"},
    {"smm", "off auto", "there is no system management mode"},
    {"smbus", "off", "there is no SMBus"},
    {"sata", "off", "disks are virtio's"},
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
    {0},
};
static const struct field machine_keys[] = {
    KEY(TEXT, "type", type),
    KEY(TEXT, "accel", accel),
    KEY(FLAG, "acpi", acpi, .def = ON),
    KEY(TEXT, "memory-backend", backend),
    FIELDS_QUIET(machine_quiet),
    END,
};

static int pc_machine(struct config *c, const struct told *t)
{
    int err = t->type ? pc_machine_type(t->type) : 0;
    if (!err && t->accel)
        err = pc_take_accel(c, "-machine accel:", t->accel);
    c->boot.no_acpi |= !t->acpi;
    return err ? err
               : pc_copy(t, "memory-backend", t->backend, c->memory.named,
                         sizeof(c->memory.named));
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

static int pc_cpu(struct config *c, const struct told *t)
{
    const char *model = opts_str(&t->o, "model", "");
    int err = 0;
    (void)c;
    if (!word_among(model, "host max"))
        err = fail(-EINVAL,
                   "-cpu %s: there are host and max; the guest sees the "
                   "processor it runs on",
                   model);
    for (int i = 1; !err && i < t->o.n; i++)
        err = pc_cpu_feature(t->o.kv[i].key, t->o.kv[i].val);
    return err;
}

/* What is tried first; the other comes next all the same, as with QEMU. */
static int pc_boot_order(struct config *c, const char *order, char *first)
{
    if (!order || !*order)
        return 0;
    if (strspn(order, "acdnp") != strlen(order))
        return fail(-EINVAL,
                    "-boot order=%s: must be of c (disk) and n (network)",
                    order);
    c->net_boot |= strchr(order, 'n') != NULL;
    *first = *order == 'n' ? 'n' : 'c';
    return 0;
}

static const struct opts_quiet boot_quiet[] = {
    {"menu", NULL, NULL}, /* with nothing in it to choose */
    {"splash", NULL, NULL},
    {"splash-time", NULL, NULL},
    {0},
};
static const struct field boot_keys[] = {
    KEY(TEXT, "order", order),   KEY(TEXT, "once", once),
    KEY(FLAG, "strict", strict), KEY(TEXT, "reboot-timeout", timeout),
    FIELDS_QUIET(boot_quiet),    END,
};

static int pc_boot(struct config *c, const struct told *t)
{
    uint64_t ms = 0;
    int err = pc_boot_order(c, t->order, &c->boot.order);
    err = err ? err : pc_boot_order(c, t->once, &c->boot.once);
    c->boot.strict = t->strict;
    if (err || !t->timeout || !strcmp(t->timeout, "-1"))
        return err;
    err = parse_u64("-boot: reboot-timeout", t->timeout, 0, 65535, &ms);
    c->boot.reboot = (uint16_t)(ms < UINT16_MAX ? ms + 1 : ms);
    return err;
}

static const struct opts_quiet rtc_quiet[] = {
    {"base", "utc", "the clock starts with the host's, in UTC"},
    {"clock", "host", "the clock is the host's"},
    {"driftfix", "none slew", "periodic interrupts that were lost stay lost"},
    {0},
};
static const struct field rtc_keys[] = {FIELDS_QUIET(rtc_quiet), END};

static const struct field msg_keys[] = {
    KEY(FLAG, "timestamp", timestamp, .def = AUTO),
    KEY(FLAG, "guest-name", ignored), /* always */
    END,
};

static int pc_msg(struct config *c, const struct told *t)
{
    if (t->timestamp != AUTO)
        c->timestamps = t->timestamp;
    return 0;
}

static const struct opts_quiet overcommit_quiet[] = {
    {"mem-lock", "off", "guest memory is not locked (but for vfio-pci)"},
    {"cpu-pm", "off", "a guest that halts gives its processor back"},
    {0},
};
static const struct field overcommit_keys[] = {FIELDS_QUIET(overcommit_quiet),
                                               END};

enum { REBOOT_RESET, REBOOT_SHUTDOWN, REBOOT_NOT_SAID };
static const char *const reboots[] = {"reset", "shutdown", NULL};
static const struct opts_quiet action_quiet[] = {
    {"shutdown", "poweroff", "nothing could resume a paused machine"},
    {"panic", "shutdown exit-failure", "a panic ends the run with exit code 5"},
    {"watchdog", NULL, NULL}, /* there is none that could bark */
    {0},
};
static const struct field action_keys[] = {
    KEY(WORD, "reboot", reboot, .words = reboots, .def = REBOOT_NOT_SAID),
    FIELDS_QUIET(action_quiet),
    END,
};

static int pc_action(struct config *c, const struct told *t)
{
    if (t->reboot != REBOOT_NOT_SAID)
        c->vm.no_reboot = t->reboot == REBOOT_SHUTDOWN;
    return 0;
}

/* -------------------------------------------------- memory by another name */

static const struct opts_quiet backend_quiet[] = {
    {"dump", "off", "guest memory is never in core dumps"},
    {"merge", "off", "guest memory is not offered to KSM"},
    {"prealloc-threads", NULL, NULL},
    {"prealloc-context", NULL, NULL},
    {"reserve", "on", "memory is reserved as the host's rules want it"},
    {"policy", "default", "NUMA placement is numactl's"},
    {"align", NULL, NULL}, /* to a huge page in any case */
    {"discard-data", NULL, NULL},
    {"host-nodes", NULL, NULL}, /* of a policy= */
    {"pmem", "off", "the file is no NVDIMM's"},
    {"readonly", "off", "a guest writes to its memory"},
    {"seal", "on", "a size that can change would end the VMM"},
    {"x-use-canonical-path-for-ramblock-id", NULL, NULL},
    {0},
};
static const struct field backend_keys[] = {
    KEY(TEXT, "qom-type", type), KEY(TEXT, "id", id),
    KEY(SIZE, "size", bytes),    KEY(FLAG, "share", share, .def = AUTO),
    KEY(TEXT, "mem-path", path), KEY(FLAG, "prealloc", prealloc),
    KEY(FLAG, "hugetlb", huge),  KEY(SIZE, "hugetlbsize", page),
    FIELDS_QUIET(backend_quiet), END,
};

/* Keys belong to one kind of backend, as with QEMU. */
static int pc_backend_kind(const char *type, const struct told *t)
{
    bool file = !strcmp(type, "memory-backend-file");
    bool memfd = !strcmp(type, "memory-backend-memfd");
    if (!file && !memfd && strcmp(type, "memory-backend-ram") != 0)
        return fail(-EINVAL,
                    "-object %s: guest memory is memory-backend-ram, -memfd "
                    "or -file",
                    type);
    if (file != !!t->path)
        return fail(-EINVAL, "-object %s: mem-path= %s", type,
                    file ? "is missing" : "is for memory-backend-file");
    if ((t->huge || t->page) && !memfd)
        return fail(-EINVAL,
                    "-object %s: hugetlb= is for memory-backend-memfd; a "
                    "file's pages are its file system's",
                    type);
    if (t->page && (!t->huge || t->page < 65536 || t->page & (t->page - 1)))
        return fail(-EINVAL,
                    "-object %s: hugetlbsize=: a size such as 2M or 1G, with "
                    "hugetlb=on",
                    type);
    return 0;
}

static int pc_memory_backend(struct config *c, const struct told *t)
{
    const char *type = t->type ? t->type : "";
    struct ram_config *m = &c->vm.memory;
    int err = pc_backend_kind(type, t);
    if (err)
        return err;
    if (c->memory.id[0] || !t->id)
        return fail(-EINVAL, "-object %s: %s", type,
                    c->memory.id[0] ? "guest memory has one backend at most"
                                    : "id= is missing");
    if (m->path)
        return fail(-EINVAL, "-object %s: and -mem-path: one of them", type);
    c->memory.size = t->bytes;
    c->memory.alone = t->share == OFF;
    m->shared = t->share == ON ||
                (t->share == AUTO && !strcmp(type, "memory-backend-memfd"));
    m->prealloc |= t->prealloc;
    m->page = t->huge && !t->page ? 1 : t->page;
    err =
        pc_copy(t, "mem-path", t->path, c->memory.path, sizeof(c->memory.path));
    if (t->path)
        m->path = c->memory.path;
    return err ? err
               : pc_copy(t, "id", t->id, c->memory.id, sizeof(c->memory.id));
}

static const struct opts_quiet numa_quiet[] = {
    {"nodeid", "0", "there is one NUMA node"},
    {"cpus", NULL, NULL}, /* all of them */
    {0},
};
static const struct field numa_keys[] = {
    KEY(TEXT, "type", type),
    KEY(TEXT, "memdev", memdev),
    FIELDS_QUIET(numa_quiet),
    END,
};

static int pc_numa(struct config *c, const struct told *t)
{
    if (!t->type || strcmp(t->type, "node") || !t->memdev || c->memory.named[0])
        return fail(-EINVAL,
                    "-numa %s: there is one NUMA node: -numa node,memdev=ID",
                    t->arg);
    return pc_copy(t, "memdev", t->memdev, c->memory.named,
                   sizeof(c->memory.named));
}

/* ------------------------------------------------------------------ options */

static const struct pc_option {
    const char *opt, *first;  /* a word without "=" is the value of `first` */
    const struct field *keys; /* NULL: read by `take` */
    int (*take)(struct config *c, const struct told *t); /* NULL: all said */
    const char *help;
} pc_options[] = {
    {"-m", "size", memory_keys, pc_memory, NULL},
    {"-smp", "cpus", smp_keys, pc_smp, NULL},
    {"-machine", "type", machine_keys, pc_machine,
     "Supported machines are:\n"
     "pc                   this VMM's PC (default)\n"
     "q35                  the same\n"
     "none                 answers -qmp and -monitor, and runs no guest"},
    {"-accel", "accel", accel_keys, pc_accel, "Accelerators supported:\nkvm"},
    {"-cpu", "model", NULL, pc_cpu,
     "Available CPUs:\n"
     "x86 host                  the host's processor, all that KVM offers\n"
     "x86 max                   the same"},
    {"-boot", "order", boot_keys, pc_boot, NULL},
    {"-rtc", NULL, rtc_keys, NULL, NULL},
    {"-msg", NULL, msg_keys, pc_msg, NULL},
    {"-overcommit", NULL, overcommit_keys, NULL, NULL},
    {"-action", NULL, action_keys, pc_action, NULL},
    {"-name", "guest", name_keys, pc_name, NULL},
    {"-uuid", "uuid", NULL, pc_uuid, NULL},
    {"-smbios", NULL, smbios_keys, pc_smbios, NULL},
    {"-object", "qom-type", backend_keys, pc_memory_backend, NULL},
    {"-numa", "type", numa_keys, pc_numa, NULL},
};

int pc_take(struct config *c, const char *opt, const char *arg)
{
    const struct pc_option *p = pc_options;
    struct told t = {.arg = arg};
    while (strcmp(p->opt, opt))
        p++;
    if (p->help && word_among(arg, "help ?")) {
        puts(p->help);
        return 1;
    }
    int err;
    if (json_looks_like(arg)) {
        opts_init(&t.o, opt);
        err = json_opts(&t.o, arg, strlen(arg));
    } else {
        err = opts_parse(&t.o, opt, arg, p->first);
    }
    if (!err && p->keys)
        err = fields_read(p->keys, &t, &t.o);
    if (!err && p->take)
        err = p->take(c, &t);
    opts_free(&t.o);
    return err;
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
    if (*id && c->vm.memory.path && c->vm.memory.path != c->memory.path)
        return fail(-EINVAL,
                    "-mem-path: and -object memory-backend-…: one of them");
    if (c->boot.kernel)
        return 0;
    if (c->boot.initrd)
        return fail(-EINVAL, "-initrd %s: needs -kernel", c->boot.initrd);
    return 0;
}

int pc_check_memory(const struct config *c)
{
    if (!c->memory.id[0] || c->memory.size == c->vm.ram)
        return 0;
    return c->vm.saved
               ? fail(-EINVAL,
                      "-object memory-backend-…,id=%s: its size= must be the "
                      "saved machine's, %lluM",
                      c->memory.id, (unsigned long long)c->vm.ram >> 20)
               : fail(-EINVAL,
                      "-object memory-backend-…,id=%s: its size= must be -m's",
                      c->memory.id);
}

/* What is said to a kernel is, without -kernel, said to the bundled guest. Of a
 * saved machine nothing follows from its disks. */
int pc_check_boot(struct config *c, unsigned disks)
{
    struct boot *b = &c->boot;
    bool asked = b->order || b->once;
    if (b->kernel)
        return 0;
    if (asked && b->cmdline)
        return fail(-EINVAL, "-append: needs -kernel where -boot has an order");
    if (asked && !disks && !c->net_boot)
        return fail(-EINVAL,
                    "-boot: there is no disk; n boots from the network");
    b->rom = asked || (disks && !b->cmdline && !b->entry && !c->vm.saved);
    return 0;
}
