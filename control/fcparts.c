/* SPDX-License-Identifier: MIT */
/* What a microVM is made of, in Firecracker's words.
 *
 * Theory of operation. A row of the table at the end is a path of the API and a
 * member of the config file in one. What a body says is looked at as it comes:
 * its keys by a table of fields, what it names by opening it. It is kept as the
 * JSON that it is, so what GET /vm/config shows is what a config file may say.
 * At the start each becomes options of this VMM's own (plan), and what no
 * option says is said to the device by the verb that a later PATCH uses
 * (open). */
#include "control/fcparts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bucket.h"
#include "base/json.h"
#include "control/fclog.h"
#include "control/fcmetrics.h"
#include "control/plan.h"
#include "host/helper.h"
#include "host/iface.h"

#define INTERVAL "stats_polling_interval_s"
#define INTERVAL_SHORT "stats_interval_s"

struct item items[ITEMS_MAX];
int nitems;

struct item *item_find(const struct fcpart *p, const char *id)
{
    for (int i = 0; i < nitems; i++)
        if (items[i].part == p && !strcmp(items[i].id, id))
            return &items[i];
    return NULL;
}

bool item_says(const struct item *it, const char *key, const char *val)
{
    size_t n, len = val ? strlen(val) : 0;
    const char *is = json_member_of(it->json.p, key, &n);
    if (!is || !val)
        return is && n == 4 && !strncmp(is, "true", 4);
    return n == len + 2 && !strncasecmp(is + 1, val, len);
}

int item_read(struct item *it)
{
    opts_free(&it->opts);
    opts_init(&it->opts, it->part->path + 1);
    if (it->part->id)
        snprintf(it->opts.what + strlen(it->opts.what),
                 sizeof(it->opts.what) - strlen(it->opts.what), "%s", it->id);
    int err = json_request(&it->opts, it->json.p, it->json.n);
    if (!err) /* a row's name is shorter */
        err = opts_move(&it->opts, &it->opts, INTERVAL, INTERVAL_SHORT);
    return err ? err : fields_read(it->part->fields, it->told, &it->opts);
}

/* Does another one of the same part say so? */
static const struct item *part_other(const char *path, const char *id,
                                     const char *key, const char *val)
{
    for (int i = 0; i < nitems; i++)
        if (!strcmp(items[i].part->path, path) && strcmp(items[i].id, id) &&
            item_says(&items[i], key, val))
            return &items[i];
    return NULL;
}

/* One of our options, by its keys; those whose value is NULL are not said. */
static int part_take(const char *opt, const char *what,
                     const char *const keys[][2])
{
    struct opts o;
    int err = 0;
    opts_init(&o, what);
    for (int i = 0; keys[i][0] && !err; i++)
        if (keys[i][1])
            err = opts_add(&o, keys[i][0], keys[i][1]);
    if (!err)
        return plan_take_opts(opt, &o);
    opts_free(&o);
    return err;
}

static const char *part_switch(bool on)
{
    return on ? "on" : "off";
}

/* A file, or a block device, that can be opened so. */
static int part_try_open(const char *what, const char *key, const char *path,
                         int flags, bool block)
{
    struct stat st;
    int fd = -1, err = stat(path, &st) ? -errno : 0;
    /* Before it is opened, which does things to some devices. */
    if (!err && !S_ISREG(st.st_mode) && !(block && S_ISBLK(st.st_mode)))
        return fail(-EINVAL, "%s: %s: %s: is no file%s", what, key, path,
                    block ? " and no block device" : "");
    if (!err)
        fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (!err && fd < 0)
        err = -errno;
    if (fd >= 0)
        close(fd);
    return err ? fail(err, "%s: %s: %s: %s", what, key, path, strerror(-err))
               : 0;
}

/* What is taken and changes nothing is said. */
static void part_changes_nothing(const char *what, const char *key,
                                 const char *why)
{
    log_line("%s: %s changes nothing: %s", what, key, why);
}

/* The keys below each of `from` become those below the same of `to`, told to
 * who has this id by the verb that changes a limit later. */
static int part_limit(struct control *ctl, const char *id, const struct opts *o,
                      const char *const from[], const char *const to[])
{
    struct opts mine;
    struct text none = {0};
    char key[64];
    int err = 0;
    opts_init(&mine, o->what);
    for (int i = 0; i < o->n && !err; i++)
        for (int k = 0; from[k] && !err; k++) {
            size_t n = strlen(from[k]);
            if (strncmp(o->kv[i].key, from[k], n) != 0)
                continue;
            snprintf(key, sizeof(key), "%s%s", to[k], o->kv[i].key + n);
            err = opts_add(&mine, key, o->kv[i].val);
        }
    if (!err && mine.n)
        err = opts_add(&mine, "id", id);
    if (!err && mine.n)
        err = verbs_do(ctl, "limit", &mine, &none);
    opts_free(&mine);
    text_free(&none);
    return err;
}

/* ---------------------------------------------------------- machine-config */

struct machine_told {
    uint32_t cpus, mib;
    uint8_t smt, track, huge, template;
};
enum { HUGE_NONE, HUGE_TRANSPARENT, HUGE_2M };
static const char *const huge_words[] = {"None", "Transparent", "2M", NULL};
enum { TEMPLATE_NONE, TEMPLATE_NOT_SAID = 7 };
static const char *const template_words[] = {"None", "C3",   "T2",  "T2S",
                                             "T2CL", "V1N1", "T2A", NULL};
static const struct field machine_fields[] = {
    FIELD(NUMBER, "vcpu_count", struct machine_told, cpus, .min = 1, .max = 32),
    FIELD(NUMBER, "mem_size_mib", struct machine_told, mib, .min = 8,
          .max = 1 << 20),
    FIELD(FLAG, "smt", struct machine_told, smt),
    FIELD(FLAG, "track_dirty_pages", struct machine_told, track),
    FIELD(WORD, "huge_pages", struct machine_told, huge, .words = huge_words),
    FIELD(WORD, "cpu_template", struct machine_told, template,
          .words = template_words, .def = TEMPLATE_NOT_SAID),
    {.name = ""},
};

static int part_check_machine(const char *what, const void *told)
{
    const struct machine_told *t = told;
    if (t->smt && t->cpus > 1 && t->cpus % 2)
        return fail(-EINVAL,
                    "%s: vcpu_count: with smt it must be 1 or even: %u", what,
                    t->cpus);
    if (t->huge == HUGE_2M && t->mib % 2)
        return fail(-EINVAL,
                    "%s: mem_size_mib: with pages of 2M it must be "
                    "even: %u",
                    what, t->mib);
    if (t->template != TEMPLATE_NOT_SAID && t->template != TEMPLATE_NONE)
        part_changes_nothing(what, "cpu_template",
                             "the guest sees the host's processor");
    if (t->track)
        part_changes_nothing(what, "track_dirty_pages",
                             "a Diff snapshot needs none");
    return 0;
}

static int part_plan_machine(const char *what, const void *told,
                             struct config *c)
{
    const struct machine_told *t = told;
    (void)what;
    c->vm.cpus = c->vm.package = t->cpus;
    c->vm.threads = t->smt && t->cpus > 1 ? 2 : 1;
    c->vm.ram = (uint64_t)t->mib << 20;
    c->vm.memory = (struct ram_config){0};
    if (t->huge == HUGE_2M) {
        c->vm.memory.page = 2 << 20;
        c->vm.memory.shared = true;
    }
    return 0;
}

/* ------------------------------------------------------------- boot-source */

struct boot_told {
    const char *kernel, *initrd, *args;
};
static const struct field boot_fields[] = {
    FIELD(TEXT, "kernel_image_path", struct boot_told, kernel),
    FIELD(TEXT, "initrd_path", struct boot_told, initrd),
    FIELD(TEXT, "boot_args", struct boot_told, args),
    {.name = ""},
};

static int part_check_boot(const char *what, const void *told)
{
    const struct boot_told *t = told;
    int err =
        part_try_open(what, "kernel_image_path", t->kernel, O_RDONLY, false);
    if (!err && t->initrd && strchr(t->initrd, ','))
        err = fail(-EINVAL, "%s: initrd_path: a comma would end it: %s", what,
                   t->initrd);
    if (!err && t->initrd)
        err = part_try_open(what, "initrd_path", t->initrd, O_RDONLY, false);
    return err;
}

static int part_plan_boot(const char *what, const void *told, struct config *c)
{
    const struct boot_told *t = told;
    (void)what;
    c->boot.kernel = t->kernel;
    c->boot.initrd = t->initrd;
    c->boot.cmdline = t->args;
    return 0;
}

/* ------------------------------------------------------------------ drives */

struct drive_told {
    const char *id, *path, *partuuid, *socket;
    uint8_t root, readonly, cache, engine;
    struct limit_told limit;
};
static const char *const cache_words[] = {"Unsafe", "Writeback", NULL};
static const char *const engine_words[] = {"Sync", "Async", NULL};
static const struct field drive_fields[] = {
    FIELD(TEXT, "drive_id", struct drive_told, id),
    FIELD(TEXT, "path_on_host", struct drive_told, path),
    FIELD(FLAG, "is_root_device", struct drive_told, root),
    FIELD(FLAG, "is_read_only", struct drive_told, readonly),
    FIELD(TEXT, "partuuid", struct drive_told, partuuid),
    FIELD(WORD, "cache_type", struct drive_told, cache, .words = cache_words),
    FIELD(WORD, "io_engine", struct drive_told, engine, .words = engine_words),
    FIELD(TEXT, "socket", struct drive_told, socket),
    FIELDS_OF(limit_fields, "rate_limiter", struct drive_told, limit),
    {.name = ""},
};

static int part_check_drive(const char *what, const void *told)
{
    const struct drive_told *t = told;
    if (t->root && part_other("/drives/", t->id, "is_root_device", NULL))
        return fail(-EEXIST, "%s: A root block device already exists!", what);
    if (t->socket)
        return fail(-EINVAL,
                    "%s: socket: another process's disks are not to be had "
                    "here; path_on_host, or without this API -device "
                    "vhost-user-blk-pci",
                    what);
    if (!t->path)
        return fail(-EINVAL, "%s: missing field `path_on_host`", what);
    if (t->partuuid && !t->partuuid[strspn(t->partuuid, " ")])
        return fail(-EINVAL, "%s: partuuid: is empty", what);
    return part_try_open(what, "path_on_host", t->path,
                         t->readonly ? O_RDONLY : O_RDWR, true);
}

/* A later PATCH may name another file beside it. As it is written: that is how
 * it will be. */
static int part_allow_beside(const char *path)
{
    static char dirs[8][1024];
    static unsigned n;
    char cwd[1024] = "", dir[1024];
    if (*path != '/' && !getcwd(cwd, sizeof(cwd)))
        return 0; /* out of reach, so nothing beside it either */
    const char *slash = strrchr(path, '/');
    int len =
        snprintf(dir, sizeof(dir), "%s%s%.*s", cwd, *cwd && slash ? "/" : "",
                 slash ? (int)(slash - path) + (slash == path) : 0, path);
    unsigned i = 0;
    while (i < n && strcmp(dirs[i], dir))
        i++;
    if (i == ARRAY_LEN(dirs) || len >= (int)sizeof(dir)) {
        log_line("%s: too many directories: no file in this one's can take a "
                 "drive's place later",
                 path);
        return 0;
    }
    if (i == n)
        strcpy(dirs[n++], dir);
    return helper_allow(dirs[i]);
}

static int part_plan_drive(const char *what, const void *told, struct config *c)
{
    const struct drive_told *t = told;
    const char *const keys[][2] = {
        {"id", t->id},
        {"filename", t->path},
        {"format", "raw"},
        {"if", "virtio"},
        {"read-only", part_switch(t->readonly)},
        {"cache", t->cache ? "writeback" : "unsafe"},
        {"aio", t->engine ? "io_uring" : "threads"},
        {NULL, NULL},
    };
    (void)c;
    int err = part_allow_beside(t->path);
    return err ? err : part_take("-drive", what, keys);
}

static int part_open_drive(struct control *ctl, const void *told,
                           const struct opts *o)
{
    static const char *const from[] = {"rate_limiter.", NULL};
    static const char *const to[] = {"", NULL};
    return part_limit(ctl, ((const struct drive_told *)told)->id, o, from, to);
}

/* ------------------------------------------------------ network-interfaces */

struct nic_told {
    const char *id, *dev, *mac;
    uint32_t mtu;
    struct limit_told rx, tx;
};
static const struct field nic_fields[] = {
    FIELD(TEXT, "iface_id", struct nic_told, id),
    FIELD(TEXT, "host_dev_name", struct nic_told, dev),
    FIELD(TEXT, "guest_mac", struct nic_told, mac),
    FIELD(NUMBER, "mtu", struct nic_told, mtu, .min = 68, .max = 65535),
    FIELDS_OF(limit_fields, "rx_rate_limiter", struct nic_told, rx),
    FIELDS_OF(limit_fields, "tx_rate_limiter", struct nic_told, tx),
    {.name = ""},
};

/* A macvtap is named by its file. */
static bool part_is_path(const char *dev)
{
    return strchr(dev, '/') != NULL;
}

static int part_check_nic(const char *what, const void *told)
{
    const struct nic_told *t = told;
    uint8_t mac[6];
    int err = 0;
    if (t->mac)
        err = parse_mac("guest_mac", t->mac, mac);
    if (!err && t->mac &&
        part_other("/network-interfaces/", t->id, "guest_mac", t->mac))
        err = fail(-EEXIST, "%s: The MAC address is already in use: %s", what,
                   t->mac);
    if (!err && *t->dev &&
        part_other("/network-interfaces/", t->id, "host_dev_name", t->dev))
        err = fail(-EBUSY, "%s: host_dev_name: %s: is another interface's",
                   what, t->dev);
    if (err)
        return err;
    err = !part_is_path(t->dev)             ? if_try_tap(t->dev)
          : access(t->dev, R_OK | W_OK) < 0 ? -errno
                                            : 0;
    return err ? fail(err, "%s: Open tap device failed: %s: %s", what, t->dev,
                      strerror(-err))
               : 0;
}

static int part_plan_nic(const char *what, const void *told, struct config *c)
{
    const struct nic_told *t = told;
    char mtu[8], text[12];
    int fd = -1;
    (void)c;
    snprintf(mtu, sizeof(mtu), "%u", t->mtu);
    if (part_is_path(t->dev)) {
        fd = open(t->dev, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            return fail(-errno, "%s: %s: %s", what, t->dev, strerror(errno));
        snprintf(text, sizeof(text), "%d", fd);
    }
    const char *const net[][2] = {
        {"type", "tap"},
        {"id", t->id},
        {"ifname", *t->dev && fd < 0 ? t->dev : NULL},
        {"fd", fd < 0 ? NULL : text},
        {NULL, NULL},
    };
    const char *const card[][2] = {
        {"driver", "virtio-net-pci"},
        {"id", t->id},
        {"netdev", t->id},
        {"mac", t->mac},
        {"host_mtu", t->mtu ? mtu : NULL},
        {NULL, NULL},
    };
    int err = part_take("-netdev", what, net);
    return err ? err : part_take("-device", what, card);
}

static int part_open_nic(struct control *ctl, const void *told,
                         const struct opts *o)
{
    static const char *const from[] = {"rx_rate_limiter.", "tx_rate_limiter.",
                                       NULL};
    static const char *const to[] = {"rx.", "tx.", NULL};
    return part_limit(ctl, ((const struct nic_told *)told)->id, o, from, to);
}

/* ------------------------------------------------------------------- vsock */

struct vsock_told {
    uint32_t cid;
    const char *path, *id;
};
static const struct field vsock_fields[] = {
    FIELD(NUMBER, "guest_cid", struct vsock_told, cid, .min = 3,
          .max = UINT32_MAX - 1),
    FIELD(TEXT, "uds_path", struct vsock_told, path),
    FIELD(TEXT, "vsock_id", struct vsock_told, id),
    {.name = ""},
};

static int part_check_vsock(const char *what, const void *told)
{
    const struct vsock_told *t = told;
    struct stat st;
    struct addr a;
    int err = addr_unix(what, t->path, false, &a);
    if (!err && !lstat(t->path, &st))
        err = fail(-EADDRINUSE, "%s: uds_path: %s: %s", what, t->path,
                   strerror(EADDRINUSE));
    return err;
}

static int part_plan_vsock(const char *what, const void *told, struct config *c)
{
    const struct vsock_told *t = told;
    char cid[12];
    snprintf(cid, sizeof(cid), "%u", t->cid);
    const char *const keys[][2] = {{"driver", "virtio-vsock-pci"},
                                   {"guest-cid", cid},
                                   {"uds_path", t->path},
                                   {NULL, NULL}};
    (void)c;
    return part_take("-device", what, keys);
}

/* ----------------------------------------------------------------- balloon */

struct balloon_told {
    uint32_t mib, seconds;
    uint8_t oom, hinting, reporting;
};
static const struct field balloon_fields[] = {
    FIELD(NUMBER, "amount_mib", struct balloon_told, mib, .max = 1 << 20),
    FIELD(FLAG, "deflate_on_oom", struct balloon_told, oom),
    FIELD(NUMBER, INTERVAL_SHORT, struct balloon_told, seconds,
          .max = UINT16_MAX),
    FIELD(FLAG, "free_page_hinting", struct balloon_told, hinting),
    FIELD(FLAG, "free_page_reporting", struct balloon_told, reporting),
    {.name = ""},
};

static int part_check_balloon(const char *what, const void *told)
{
    const struct balloon_told *t = told;
    return t->hinting ? fail(-EINVAL,
                             "%s: free_page_hinting: there is none; "
                             "free_page_reporting gives memory back",
                             what)
                      : 0;
}

static int part_plan_balloon(const char *what, const void *told,
                             struct config *c)
{
    const struct balloon_told *t = told;
    char seconds[12];
    if ((uint64_t)t->mib << 20 >= c->vm.ram)
        return fail(-EINVAL,
                    "%s: amount_mib: %u: the guest has no more than "
                    "%llu",
                    what, t->mib, (unsigned long long)c->vm.ram >> 20);
    snprintf(seconds, sizeof(seconds), "%u", t->seconds);
    const char *const keys[][2] = {
        {"driver", "virtio-balloon-pci"},
        {"deflate-on-oom", part_switch(t->oom)},
        {"free-page-reporting", part_switch(t->reporting)},
        {"guest-stats-polling-interval", seconds},
        {NULL, NULL},
    };
    return part_take("-device", what, keys);
}

static int part_open_balloon(struct control *ctl, const void *told,
                             const struct opts *o)
{
    const struct machine *m = ctl->m;
    struct opts size;
    struct text none = {0};
    char text[24];
    uint64_t ram = 0;
    for (int i = 0; i < m->ram.n; i++)
        ram += m->ram.region[i].size;
    ram -= (uint64_t)((const struct balloon_told *)told)->mib << 20;
    opts_init(&size, o->what);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)ram);
    int err = opts_add(&size, "size", text);
    if (!err)
        err = verbs_do(ctl, "balloon", &size, &none);
    opts_free(&size);
    text_free(&none);
    return err;
}

/* ------------------------------------------------- entropy, serial, the rest
 */

struct entropy_told {
    struct limit_told limit;
};
static const struct field entropy_fields[] = {
    FIELDS_OF(limit_fields, "rate_limiter", struct entropy_told, limit),
    {.name = ""},
};

static bool part_limited(const struct bucket_told *b)
{
    return b->refill_time != UINT32_MAX && b->refill_time && b->size;
}

static int part_check_entropy(const char *what, const void *told)
{
    const struct limit_told *t = &((const struct entropy_told *)told)->limit;
    if (part_limited(&t->ops))
        return fail(-EINVAL,
                    "%s: rate_limiter.ops: random numbers are limited "
                    "by bandwidth",
                    what);
    if (part_limited(&t->bandwidth) && t->bandwidth.one_time_burst)
        part_changes_nothing(what, "one_time_burst", "there is none here");
    return 0;
}

static int part_plan_entropy(const char *what, const void *told,
                             struct config *c)
{
    const struct bucket_told *b =
        &((const struct entropy_told *)told)->limit.bandwidth;
    bool limited = part_limited(b);
    char bytes[24], ms[12];
    (void)c;
    snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)b->size);
    snprintf(ms, sizeof(ms), "%u", b->refill_time);
    const char *const keys[][2] = {
        {"driver", "virtio-rng-pci"},
        {"max-bytes", limited ? bytes : NULL},
        {"period", limited ? ms : NULL},
        {NULL, NULL},
    };
    return part_take("-device", what, keys);
}

struct serial_told {
    const char *path;
    struct bucket_told limit;
};
static const struct field serial_fields[] = {
    FIELD(TEXT, "serial_out_path", struct serial_told, path),
    FIELDS_OF(bucket_fields, "rate_limiter", struct serial_told, limit),
    {.name = ""},
};

static int part_check_serial(const char *what, const void *told)
{
    const struct serial_told *t = told;
    if (part_limited(&t->limit))
        return fail(-EINVAL,
                    "%s: rate_limiter: the console is as fast as a "
                    "serial port, and not slower",
                    what);
    if (t->path && (strchr(t->path, ',') || strlen(t->path) > 1000))
        return fail(-EINVAL, "%s: serial_out_path: %s: a comma, or too long",
                    what, t->path);
    if (!t->path || access(t->path, F_OK))
        return 0;
    return access(t->path, W_OK) ? fail(-errno, "%s: serial_out_path: %s: %s",
                                        what, t->path, strerror(errno))
                                 : 0;
}

static int part_plan_serial(const char *what, const void *told,
                            struct config *c)
{
    static char to[1024];
    const char *path = ((const struct serial_told *)told)->path;
    (void)what;
    snprintf(to, sizeof(to), "file:%s,append=on", path ? path : "");
    if (path)
        c->serial[0] = to;
    return 0;
}

static const struct field logger_fields[] = {
    FIELD(TEXT, "log_path", struct fclog, path),
    FIELD(TEXT, "level", struct fclog, level),
    FIELD(FLAG, "show_level", struct fclog, show_level),
    FIELD(FLAG, "show_log_origin", struct fclog, show_origin),
    FIELD(TEXT, "module", struct fclog, module),
    {.name = ""},
};

static int part_set_logger(const char *what, const void *told)
{
    return fclog_set(what, told);
}

struct metrics_told {
    const char *path;
    uint8_t emit_id;
};
static const struct field metrics_fields[] = {
    FIELD(TEXT, "metrics_path", struct metrics_told, path),
    FIELD(FLAG, "emit_id", struct metrics_told, emit_id),
    {.name = ""},
};

static int part_set_metrics(const char *what, const void *told)
{
    const struct metrics_told *t = told;
    if (t->emit_id)
        return fail(-EINVAL,
                    "%s: emit_id: lines have no other members than "
                    "Firecracker 1.9's",
                    what);
    return fcmetrics_open(t->path);
}

/* ------------------------------------------------------------- command line */

#define DEFAULT_ARGS                                                           \
    "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux "       \
    "i8042.dumbkbd swiotlb=noforce"

/* All devices here are on PCI, and all clients say that it is off. */
static void part_put_args(struct text *out, const char *args)
{
    while (*args) {
        size_t n = strcspn(args, " "), blanks = strspn(args + n, " ");
        if (n != 7 || strncmp(args, "pci=off", n) != 0)
            text_add(out, args, n + blanks);
        args += n + blanks;
    }
}

const char *parts_cmdline(const char *args)
{
    static struct text out;
    text_free(&out);
    text_add(&out, "", 0);
    part_put_args(&out, args ? args : DEFAULT_ARGS);
    for (int i = 0; i < nitems; i++) {
        const struct drive_told *d = (const void *)items[i].told;
        if (strcmp(items[i].part->path, "/drives/") || !d->root)
            continue;
        text_put(&out, "%sroot=%s%s %s",
                 out.n && out.p[out.n - 1] != ' ' ? " " : "",
                 d->partuuid ? "PARTUUID=" : "/dev/vda",
                 d->partuuid ? d->partuuid : "", d->readonly ? "ro" : "rw");
    }
    if (!out.cut)
        return out.p;
    fail(-ENOMEM, "boot_args: out of memory, or too long");
    return NULL;
}

/* ------------------------------------------------------------------- table */

/* In the order in which a config file is taken in, and planned. */
const struct fcpart parts[] = {
    {"/logger", "logger", NULL, "{}", "", logger_fields,
     .now = part_set_logger},
    {"/metrics", "metrics", NULL, "{}", "metrics_path", metrics_fields,
     .now = part_set_metrics},
    {"/machine-config", "machine-config", NULL,
     "{\"huge_pages\":\"None\",\"mem_size_mib\":128,\"smt\":false,"
     "\"track_dirty_pages\":false,\"vcpu_count\":1}",
     "vcpu_count mem_size_mib", machine_fields, .check = part_check_machine,
     .plan = part_plan_machine, .shown = true, .patched = true},
    {"/boot-source", "boot-source", NULL, "{}", "kernel_image_path",
     boot_fields, .check = part_check_boot, .plan = part_plan_boot},
    {"/drives/", "drives", "drive_id",
     "{\"cache_type\":\"Unsafe\",\"io_engine\":\"Sync\","
     "\"is_read_only\":false}",
     "is_root_device", drive_fields, .check = part_check_drive,
     .plan = part_plan_drive, .open = part_open_drive},
    {"/network-interfaces/", "network-interfaces", "iface_id", "{}",
     "host_dev_name", nic_fields, .check = part_check_nic,
     .plan = part_plan_nic, .open = part_open_nic},
    {"/vsock", "vsock", NULL, "{}", "guest_cid uds_path", vsock_fields,
     .check = part_check_vsock, .plan = part_plan_vsock},
    {"/balloon", "balloon", NULL,
     "{\"free_page_hinting\":false,\"free_page_reporting\":false,"
     "\"stats_polling_interval_s\":0}",
     "amount_mib deflate_on_oom", balloon_fields, .check = part_check_balloon,
     .plan = part_plan_balloon, .open = part_open_balloon, .shown = true},
    {"/entropy", "entropy", NULL, "{}", "", entropy_fields,
     .check = part_check_entropy, .plan = part_plan_entropy},
    {"/serial", NULL, NULL, "{}", "", serial_fields, .check = part_check_serial,
     .plan = part_plan_serial},
    {.path = NULL},
};
