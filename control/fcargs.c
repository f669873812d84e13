/* SPDX-License-Identifier: MIT */
/* Firecracker's command line: --KEY VALUE or --KEY=VALUE. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/opts.h"
#include "control/firecracker.h"
#include "control/http.h"
#include "control/restore.h"
#include "host/helper.h"

#define ID_MAX 64
#define BODY_MOST (1u << 20)

static struct fcargs args;

enum kind { TEXT, FLAG, NUMBER, REFUSED };
#define MEMBER(m) offsetof(struct fcargs, m)
enum { AT_PATH = 0x1000, AT_TAP, AT_DESCRIBED, AT_VERSION }; /* no members */
static const struct fcarg {
    const char *name, *arg; /* NULL: it has none */
    enum kind kind;
    size_t at;        /* TEXT, FLAG: in `args` */
    const char *help; /* REFUSED: the reason */
} rows[] = {
    {"api-sock", "PATH", TEXT, MEMBER(sock),
     "the API's socket (/run/firecracker.socket)"},
    {"id", "ID", TEXT, MEMBER(id), "the microVM's name (anonymous-instance)"},
    {"config-file", "FILE", TEXT, MEMBER(config),
     "what the microVM is made of, as JSON; it starts at once"},
    {"no-api", NULL, FLAG, MEMBER(no_api), "no socket; with --config-file"},
    {"metadata", "FILE", TEXT, MEMBER(metadata), "JSON, which GET /mmds shows"},
    {"log-path", "PATH", TEXT, MEMBER(log), "messages go to this file or FIFO"},
    {"level", "LEVEL", TEXT, MEMBER(level),
     "Off Error Warning Info Debug Trace (Info)"},
    {"module", "NAME", TEXT, MEMBER(module),
     "taken: messages are not filtered"},
    {"show-level", NULL, FLAG, MEMBER(show_level), "in messages"},
    {"show-log-origin", NULL, FLAG, MEMBER(show_origin), "in messages"},
    {"metrics-path", "PATH", TEXT, MEMBER(metrics),
     "counters go to this file or FIFO, a line each minute"},
    {"boot-timer", NULL, FLAG, MEMBER(boot_timer),
     "taken: there is no such device"},
    {"no-seccomp", NULL, FLAG, MEMBER(no_filter),
     "no list of system calls; the rest of the sandbox stays"},
    {"enable-pci", NULL, FLAG, MEMBER(pci), "taken: all devices are on PCI"},
    {"allow-path", "DIR", TEXT, AT_PATH,
     "files below it may be opened later: a drive's, a snapshot's"},
    {"allow-tap", "NAME|PREFIX*", TEXT, AT_TAP,
     "TAPs that a snapshot may name; both may repeat"},
    {"describe-snapshot", "FILE", TEXT, AT_DESCRIBED,
     "print the version of its format"},
    {"snapshot-version", NULL, FLAG, AT_VERSION,
     "print that of those that are made here"},
    {"http-api-max-payload-size", "BYTES", TEXT, MEMBER(body_max),
     "of a request's body (51200)"},
    {"mmds-size-limit", "BYTES", TEXT, MEMBER(mmds_max),
     "of what PUT /mmds keeps (the same)"},
    {"start-time-us", "N", NUMBER, 0, NULL},
    {"start-time-cpu-us", "N", NUMBER, 0, NULL},
    {"parent-cpu-time-us", "N", NUMBER, 0, NULL},
    {"seccomp-filter", "FILE", REFUSED, 0,
     "the list of system calls is built in, a list for each thread"},
};

bool fcargs_meant(int argc, char **argv)
{
    static const char *const words[] = {"--api-sock", "--config-file",
                                        "--no-api"};
    const char *name = argc ? strrchr(argv[0], '/') : NULL;
    name = name ? name + 1 : argc ? argv[0] : "";
    if (!strncmp(name, "firecracker", 11))
        return true;
    for (int i = 1; i < argc; i++)
        for (size_t k = 0; k < ARRAY_LEN(words); k++) {
            size_t n = strlen(words[k]);
            if (!strncmp(argv[i], words[k], n) &&
                (!argv[i][n] || argv[i][n] == '='))
                return true;
        }
    return false;
}

static int fcargs_help(void)
{
    puts("Firecracker v" FC_VERSION "\n\n"
         "usage: firecracker [OPTION]...   the API of this version, by vmm " //
         VERSION "\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char left[48];
        if (rows[i].kind == REFUSED || !rows[i].help)
            continue;
        snprintf(left, sizeof(left), "--%s %s", rows[i].name,
                 rows[i].arg ? rows[i].arg : "");
        printf("  %-35s %s\n", left, rows[i].help);
    }
    puts("  --version                           print this version\n"
         "  --help                              print this\n\n"
         "Exit codes: 0 the guest ended or reset itself, 1 did not start, 152 "
         "bad\n--config-file, 153 bad arguments, 5 guest panic, 6 VMM or KVM "
         "fault.");
    return 1;
}

static const struct fcarg *fcargs_find(const char *word, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (!strncmp(rows[i].name, word, n) && !rows[i].name[n])
            return &rows[i];
    return NULL;
}

/* As Firecracker does, and no more. */
static int fcargs_format(void)
{
    printf("v%d.0.0\n", PARTS_VERSION);
    return 1;
}

static int fcargs_take(const struct fcarg *row, const char *val)
{
    uint64_t number;
    char what[40];
    snprintf(what, sizeof(what), "--%s", row->name);
    switch (row->kind) {
    case FLAG:
        if (row->at == AT_VERSION)
            return fcargs_format();
        *(bool *)((char *)&args + row->at) = true;
        return 0;
    case NUMBER:
        return parse_u64(what, val, 0, UINT64_MAX, &number);
    case REFUSED:
        return fail(-EINVAL, "%s: %s", what, row->help);
    case TEXT:
        break;
    }
    switch (row->at) {
    case AT_PATH:
        return helper_allow(val);
    case AT_TAP:
        return helper_allow_tap(val);
    case AT_DESCRIBED:
        return restore_look(val) ? -EINVAL : fcargs_format();
    default:
        break;
    }
    *(const char **)(void *)((char *)&args + row->at) = val;
    return 0;
}

/* One of them, at argv[*i], and what belongs to it. */
static int fcargs_next(int *i, char **argv)
{
    const char *word = argv[*i], *val = NULL;
    if (word[0] != '-' || word[1] != '-')
        return fail(-EINVAL, "%s: no argument; they begin with --", word);
    size_t n = strcspn(word + 2, "=");
    const struct fcarg *row = fcargs_find(word + 2, n);
    if (word[2 + n])
        val = word + 2 + n + 1;
    if (!row)
        return fail(-EINVAL, "%s: there is no such argument; --help lists them",
                    word);
    if (!row->arg && val)
        return fail(-EINVAL, "--%s: has no value", row->name);
    if (row->arg && !val && !(val = argv[++*i]))
        return fail(-EINVAL, "--%s: needs a value: --%s %s", row->name,
                    row->name, row->arg);
    return fcargs_take(row, val);
}

static int fcargs_check_id(const char *id)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
    size_t n = strlen(id);
    if (!n || n > ID_MAX || strspn(id, good) != n)
        return fail(-EINVAL,
                    "--id %s: must be 1 to %d letters, digits and dashes", id,
                    ID_MAX);
    return 0;
}

static int fcargs_check(void)
{
    uint64_t body = HTTP_BODY_MAX, mmds;
    int err = fcargs_check_id(args.id);
    if (!err && args.no_api && !args.config)
        err = fail(-EINVAL, "--no-api: needs --config-file: nobody could say "
                            "what to start");
    if (!err && args.body_max)
        err = parse_u64("--http-api-max-payload-size", args.body_max, 1,
                        BODY_MOST / 2, &body);
    mmds = body;
    if (!err && args.mmds_max)
        err = parse_u64("--mmds-size-limit", args.mmds_max, 1, BODY_MOST / 2,
                        &mmds);
    args.body = (uint32_t)body;
    args.mmds = (uint32_t)mmds;
    return err;
}

int fcargs_parse(struct config *cfg, struct fcargs *a, int argc, char **argv)
{
    args = (struct fcargs){.id = "anonymous-instance"};
    int err = 0;
    for (int i = 1; i < argc && !err; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return fcargs_help();
        if (!strcmp(argv[i], "--version")) {
            puts("Firecracker v" FC_VERSION "\n");
            return 1;
        }
        err = fcargs_next(&i, argv);
    }
    if (!err)
        err = fcargs_check();
    if (!args.sock && !args.no_api)
        args.sock = "/run/firecracker.socket";
    if (args.no_api)
        args.sock = NULL;
    *cfg = (struct config){
        .vm = {.ram = 128ull << 20,
               .cpus = 1,
               .threads = 1,
               .package = 1,
               .no_reboot = true,
               .kvm = "/dev/kvm"},
        .serial = {"stdio"},
        .nserial = 1,
        .name = args.id,
        .firecracker = true,
    };
    cfg->vm.boot = &cfg->boot;
    *a = args;
    return err;
}
