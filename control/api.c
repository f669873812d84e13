/* SPDX-License-Identifier: MIT */
/* The machine's API: requests in HTTP and JSON become verbs.
 *
 * Theory of operation. Paths, bodies and answers are those of Firecracker's API
 * as far as they are true of a machine that runs already: 204 without a body or
 * 200 with JSON where it worked, 400 {"fault_message": …} where not, whatever
 * the reason. Beside them PUT /verbs/NAME has every verb by its own name, its
 * keys as a JSON object: that is what `vmm ctl` speaks. */
#include "control/api.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "control/fcmetrics.h"
#include "control/serial.h"
#include "control/snapshot.h"
#include "net/net.h"

#define JSON_TYPE "application/json"
#define TEXT_TYPE "text/plain; version=0.0.4"

/* A handler: `rest` of the path behind the row's, `o` the body. */
typedef int api_fn(struct control *ctl, const char *rest, struct opts *o,
                   struct text *out);

/* No keys are known. */
static int api_no_keys(struct opts *o)
{
    return fields_read(NULL, NULL, o);
}

static int api_verb(struct control *ctl, const char *rest, struct opts *o,
                    struct text *out)
{
    snprintf(o->what, sizeof(o->what), "%.79s", rest);
    return verbs_do(ctl, rest, o, out);
}

static int api_root(struct control *ctl, const char *rest, struct opts *o,
                    struct text *out)
{
    (void)rest;
    return verbs_do(ctl, "status", o, out);
}

static int api_stats(struct control *ctl, const char *rest, struct opts *o,
                     struct text *out)
{
    (void)rest;
    return verbs_do(ctl, "stats", o, out);
}

static int api_metrics(struct control *ctl, const char *rest, struct opts *o,
                       struct text *out)
{
    (void)rest;
    return verbs_do(ctl, "metrics", o, out);
}

static int api_version(struct control *ctl, const char *rest, struct opts *o,
                       struct text *out)
{
    (void)ctl, (void)rest;
    text_put(out, "{\"firecracker_version\":\"" VERSION "\"}");
    return api_no_keys(o);
}

/* --------------------------------------------------------- what is there */

static uint64_t api_ram(const struct machine *m)
{
    uint64_t ram = 0;
    for (int i = 0; i < m->ram.n; i++)
        ram += m->ram.region[i].size;
    return ram;
}

static void api_put_machine(const struct machine *m, struct text *out)
{
    text_put(out,
             "{\"vcpu_count\":%u,\"mem_size_mib\":%llu,\"smt\":false,"
             "\"track_dirty_pages\":false,\"huge_pages\":\"None\"}",
             m->ncpus, (unsigned long long)api_ram(m) >> 20);
}

static int api_machine(struct control *ctl, const char *rest, struct opts *o,
                       struct text *out)
{
    (void)rest;
    api_put_machine(ctl->m, out);
    return api_no_keys(o);
}

/* ,"key":"val", where there is one. */
static void api_put_text(struct text *out, bool *first, const char *key,
                         const char *val)
{
    if (!val)
        return;
    text_put(out, "%s\"%s\":", *first ? "" : ",", key);
    text_quote(out, val);
    *first = false;
}

static void api_put_nics(const struct machine *m, struct text *out)
{
    bool none = true;
    text_put(out, ",\"network-interfaces\":[");
    for (const struct device *d = m->devices; d; d = d->next) {
        bool first = true;
        if (!d->cls || !fields_find(d->cls->fields, "netdev"))
            continue;
        const char *netdev = opts_str(&d->opts, "netdev", "");
        const struct netdev *nd = netdev_find(netdev);
        text_put(out, none ? "{" : ",{");
        api_put_text(out, &first, "iface_id", d->id);
        api_put_text(out, &first, "host_dev_name",
                     nd ? opts_str(&nd->opts, "ifname", netdev) : netdev);
        api_put_text(out, &first, "guest_mac", opts_str(&d->opts, "mac", NULL));
        text_put(out, "}");
        none = false;
    }
    text_put(out, "]");
}

static int api_config(struct control *ctl, const char *rest, struct opts *o,
                      struct text *out)
{
    const struct boot *b = &ctl->config->boot;
    bool first = true;
    (void)rest;
    text_put(out, "{\"machine-config\":");
    api_put_machine(ctl->m, out);
    text_put(out, ",\"boot-source\":{");
    api_put_text(out, &first, "kernel_image_path", b->kernel);
    api_put_text(out, &first, "initrd_path", b->initrd);
    api_put_text(out, &first, "boot_args", b->cmdline);
    text_put(out, "}");
    api_put_nics(ctl->m, out);
    text_put(out, "}");
    return api_no_keys(o);
}

/* ------------------------------------------------------- what is to be done */

struct word_told {
    uint8_t word;
};
#define WORD(key, list, n)                                                     \
    FIELD(WORD, key, struct word_told, word, .words = list, .def = n)

static const char *const states[] = {"Paused", "Resumed", NULL};
static const struct field state_fields[] = {WORD("state", states, 2),
                                            {.name = ""}};

static int api_state(struct control *ctl, const char *rest, struct opts *o,
                     struct text *out)
{
    struct word_told told;
    struct opts none = {0};
    (void)rest;
    int err = fields_read(state_fields, &told, o);
    if (err)
        return err;
    if (told.word == 2)
        return fail(-EINVAL, "missing field `state`");
    return verbs_do(ctl, told.word ? "resume" : "pause", &none, out);
}

enum { ACTION_START, ACTION_KEYS, ACTION_FLUSH, ACTION_NONE };
static const char *const actions[] = {"InstanceStart", "SendCtrlAltDel",
                                      "FlushMetrics", NULL};
static const struct field action_fields[] = {
    WORD("action_type", actions, ACTION_NONE), {.name = ""}};

static int api_action(struct control *ctl, const char *rest, struct opts *o,
                      struct text *out)
{
    struct word_told told;
    struct opts none = {0};
    (void)rest;
    int err = fields_read(action_fields, &told, o);
    if (err)
        return err;
    switch (told.word) {
    case ACTION_START:
        return fail(-EBUSY, "The requested operation is not supported after "
                            "starting the microVM.");
    case ACTION_KEYS:
        return verbs_do(ctl, "ctrl-alt-del", &none, out);
    case ACTION_FLUSH:
        return fcmetrics_flush();
    default:
        return fail(-EINVAL, "missing field `action_type`");
    }
}

/* LIMITER.KEY of the body is `as`KEY of `to`; the others stay. */
static int api_limiter(struct opts *to, struct opts *o, const char *limiter,
                       const char *as)
{
    struct opts rest;
    char key[128];
    size_t n = strlen(limiter);
    int err = 0;
    opts_init(&rest, o->what);
    for (int i = 0; i < o->n && !err; i++) {
        const char *k = o->kv[i].key, *val = o->kv[i].val;
        bool mine = !strncmp(k, limiter, n) && k[n] == '.';
        snprintf(key, sizeof(key), "%s%s", as, mine ? k + n + 1 : "");
        err = mine ? opts_add(to, key, val) : opts_add(&rest, k, val);
    }
    opts_free(o);
    *o = rest;
    return err;
}

/* A drive's or an interface's. */
struct part_told {
    const char *id, *path;
};
static const struct field drive_fields[] = {
    FIELD(TEXT, "drive_id", struct part_told, id),
    FIELD(TEXT, "path_on_host", struct part_told, path),
    {.name = ""},
};
static const struct field nic_fields[] = {
    FIELD(TEXT, "iface_id", struct part_told, id), {.name = ""}};

static int api_part(const struct field *fields, struct part_told *told,
                    const char *id, struct opts *o)
{
    int err = fields_read(fields, told, o);
    if (!err && told->id && strcmp(told->id, id) != 0)
        return fail(-EINVAL, "The id from the path does not match the id from "
                             "the body!");
    return err;
}

/* A verb of something with this id, told `o` (taken over), too. */
static int api_do(struct control *ctl, const char *verb, const char *id,
                  struct opts *o, int err, struct text *out)
{
    if (!err)
        err = opts_add(o, "id", id);
    if (!err)
        err = verbs_do(ctl, verb, o, out);
    opts_free(o);
    return err;
}

static int api_drive(struct control *ctl, const char *rest, struct opts *o,
                     struct text *out)
{
    struct part_told told = {0};
    struct opts limit, disk;
    opts_init(&limit, o->what);
    opts_init(&disk, o->what);
    int err = api_limiter(&limit, o, "rate_limiter", "");
    if (!err)
        err = api_part(drive_fields, &told, rest, o);
    bool limits = limit.n > 0;
    if (err || limits)
        err = api_do(ctl, "limit", rest, &limit, err, out);
    if (err || (limits && !told.path))
        return err;
    if (told.path)
        err = opts_add(&disk, "path", told.path);
    return api_do(ctl, "disk", rest, &disk, err, out);
}

static int api_nic(struct control *ctl, const char *rest, struct opts *o,
                   struct text *out)
{
    struct part_told told;
    struct opts limit;
    opts_init(&limit, o->what);
    int err = api_limiter(&limit, o, "rx_rate_limiter", "rx.");
    if (!err)
        err = api_limiter(&limit, o, "tx_rate_limiter", "tx.");
    if (!err)
        err = api_part(nic_fields, &told, rest, o);
    return api_do(ctl, "limit", rest, &limit, err, out);
}

/* A number under another key, as the verb of that name has it. */
static int api_number(struct control *ctl, const char *verb, const char *key,
                      uint64_t number, struct text *out)
{
    struct opts o;
    char text[24];
    opts_init(&o, verb);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    int err = opts_add(&o, key, text);
    if (!err)
        err = verbs_do(ctl, verb, &o, out);
    opts_free(&o);
    return err;
}

struct balloon_told {
    uint32_t mib;
};
#define UNSAID UINT32_MAX
static const struct field balloon_fields[] = {
    FIELD(NUMBER, "amount_mib", struct balloon_told, mib, .max = UNSAID - 1,
          .def = UNSAID),
    {.name = ""},
};
static int api_balloon(struct control *ctl, const char *rest, struct opts *o,
                       struct text *out)
{
    struct balloon_told told;
    (void)rest;
    int err = fields_read(balloon_fields, &told, o);
    if (err)
        return err;
    if (told.mib == UNSAID)
        return fail(-EINVAL, "missing field `amount_mib`");
    uint64_t all = api_ram(ctl->m), take = (uint64_t)told.mib << 20;
    if (take >= all)
        return fail(-EINVAL, "amount_mib: the guest has no more than that");
    return api_number(ctl, "balloon", "size", all - take, out);
}

static int api_interval(struct control *ctl, const char *rest, struct opts *o,
                        struct text *out)
{
    static const char key[] = "stats_polling_interval_s";
    struct opts mine;
    (void)rest;
    opts_init(&mine, o->what);
    int err = opts_move(&mine, o, key, "seconds");
    if (!err && o->n)
        err = fail(-EINVAL, "%s: unknown field `%s`, expected %s", o->what,
                   o->kv[0].key, key);
    if (!err && !mine.n)
        err = fail(-EINVAL, "missing field `%s`", key);
    if (!err)
        err = verbs_do(ctl, "balloon-stats", &mine, out);
    opts_free(&mine);
    return err;
}

static const char *const snapshot_types[] = {"Full", "Diff", NULL};
static const struct field api_snapshot_fields[] = {
    FIELD(TEXT, "snapshot_path", struct snapshot_told, state),
    FIELD(TEXT, "mem_file_path", struct snapshot_told, mem),
    FIELD(WORD, "snapshot_type", struct snapshot_told, type,
          .words = snapshot_types),
    {.name = ""},
};

/* As with Firecracker a client pauses the machine, and knows that it did. */
static int api_snapshot(struct control *ctl, const char *rest, struct opts *o,
                        struct text *out)
{
    struct snapshot_told told;
    (void)rest, (void)out;
    int err = fields_read(api_snapshot_fields, &told, o);
    if (err)
        return err;
    if (!told.state || !told.mem)
        return fail(-EINVAL, "missing field `%s`",
                    told.state ? "mem_file_path" : "snapshot_path");
    if (!ctl->m->paused)
        return fail(-EBUSY, "Cannot save a microVM that is not paused: PATCH "
                            "/vm {\"state\":\"Paused\"} first");
    return snapshot_begin(&told, ctl->dir, ctl->who, ctl->answer);
}

/* What Firecracker's clients call a balloon's counters. */
static const char *const balloon_names[][2] = {
    {"stat_swap_in", "swap_in"},
    {"stat_swap_out", "swap_out"},
    {"stat_major_faults", "major_faults"},
    {"stat_minor_faults", "minor_faults"},
    {"stat_free", "free_memory"},
    {"stat_total", "total_memory"},
    {"stat_available", "available_memory"},
    {"stat_disk_caches", "disk_caches"},
    {"stat_htlb_pgalloc", "hugetlb_allocations"},
    {"stat_htlb_pgfail", "hugetlb_failures"},
};
struct balloon_tally {
    struct tally t;
    struct text *out;
};

static void api_take_balloon(struct tally *t, const struct count *c)
{
    struct text *out = ((struct balloon_tally *)t)->out;
    const unsigned long long val = c->val;
    if (word_among(c->name, "target actual"))
        text_put(out, "%s\"%s_pages\":%llu,\"%s_mib\":%llu",
                 out->n > 1 ? "," : "", c->name, val >> 12, c->name, val >> 20);
    for (size_t i = 0; i < ARRAY_LEN(balloon_names); i++)
        if (!strcmp(c->name, balloon_names[i][0]))
            text_put(out, ",\"%s\":%llu", balloon_names[i][1], val);
}

static int api_balloon_stats(struct control *ctl, const char *rest,
                             struct opts *o, struct text *out)
{
    struct balloon_tally t = {{api_take_balloon}, out};
    struct device *d = ctl->m->devices;
    (void)rest;
    while (d && !verb_find(d->cls ? d->cls->verbs : NULL, "balloon"))
        d = d->next;
    if (!d)
        return fail(-ENOENT, "balloon: there is none");
    text_put(out, "{");
    device_stats(d, &t.t);
    text_put(out, "}");
    return api_no_keys(o);
}

static int api_serial(struct control *ctl, const char *rest, struct opts *o,
                      struct text *out)
{
    (void)rest, (void)o, (void)out;
    return serial_attach(ctl->m, ctl->who);
}

/* ------------------------------------------------------------------- routes */

static const struct route {
    enum http_method method;
    const char *path; /* "/x/": and anything behind it */
    api_fn *run;
    bool bare; /* a PUT whose body may be missing */
} routes[] = {
    {HTTP_GET, "/", api_root, false},
    {HTTP_GET, "/version", api_version, false},
    {HTTP_GET, "/machine-config", api_machine, false},
    {HTTP_GET, "/vm/config", api_config, false},
    {HTTP_GET, "/stats", api_stats, false},
    {HTTP_GET, "/metrics", api_metrics, false},
    {HTTP_GET, "/serial", api_serial, false},
    {HTTP_PATCH, "/vm", api_state, false},
    {HTTP_PATCH, "/drives/", api_drive, false},
    {HTTP_PATCH, "/network-interfaces/", api_nic, false},
    {HTTP_GET, "/balloon/statistics", api_balloon_stats, false},
    {HTTP_PATCH, "/balloon", api_balloon, false},
    {HTTP_PATCH, "/balloon/statistics", api_interval, false},
    {HTTP_PUT, "/actions", api_action, false},
    {HTTP_PUT, "/snapshot/create", api_snapshot, false},
    {HTTP_PUT, "/verbs/", api_verb, true},
};

static const struct route *api_route(const struct http *h, const char **rest)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct route *r = &routes[i];
        size_t n = strlen(r->path);
        bool open = n > 1 && r->path[n - 1] == '/';
        if (r->method != h->method || strncmp(r->path, h->path, n) != 0 ||
            (!open && h->path[n]) || (open && !h->path[n]))
            continue;
        *rest = h->path + n;
        return r;
    }
    return NULL;
}

int api_check_body(const struct http *h, bool bare)
{
    if (h->method == HTTP_GET && h->body)
        return fail(-EINVAL, "GET request cannot have a body.");
    if (h->method != HTTP_GET && !h->body && !bare)
        return fail(-EINVAL, "Empty %s request.", http_methods[h->method]);
    return 0;
}

int api_run(struct control *ctl, const struct http *h, struct text *out)
{
    struct opts o;
    const char *rest;
    const struct route *r = api_route(h, &rest);
    if (!r)
        return fail(-ENOENT, "Invalid request method and/or path: %s %s.",
                    http_methods[h->method], h->path + 1);
    if (!ctl->m)
        return fail(-EBUSY, "The requested operation is not supported before "
                            "starting the microVM.");
    int err = api_check_body(h, r->bare);
    opts_init(&o, h->path);
    if (!err && h->body)
        err = json_request(&o, http_body(h), h->body);
    if (!err)
        err = r->run(ctl, rest, &o, out);
    opts_free(&o);
    return err;
}

void api_answer(struct client *c, int err, const char *why, struct text *out)
{
    int code = out->n ? 200 : 204;
    if (err) {
        code = err == -EFBIG ? 413 : 400;
        text_free(out);
        text_put(out, "{\"fault_message\":");
        text_quote(out, why);
        text_put(out, "}");
    }
    bool json = !out->n || *out->p == '{';
    server_answer(c, code, json ? JSON_TYPE : TEXT_TYPE, out);
}

static void api_later(void *who, int err, const char *why)
{
    struct text out = {0};
    api_answer(who, err, why, &out);
}

void api_request(struct control *ctl, struct client *c)
{
    struct text out = {0};
    char fault[512];
    ctl->who = c;
    ctl->answer = api_later;
    log_catch(fault, sizeof(fault));
    int err = api_run(ctl, &c->in, &out);
    log_catch(NULL, 0);
    if (err == -EINPROGRESS)
        text_free(&out);
    else
        api_answer(c, err, fault, &out);
}
