/* SPDX-License-Identifier: MIT */
/* Firecracker's personality: its API from before the guest runs.
 *
 * Theory of operation. Until a start is asked for there is one thread, which
 * serves the API on a loop that is the machine's later: nothing of a guest has
 * run, so a request may open files itself. What a PUT says is looked at, and
 * kept as JSON (control/fcparts.c has the table). The start makes options of
 * all of it, as a command line would have, and leaves the loop; main() then
 * makes the machine, enters the sandbox and runs it, on the same loop and with
 * the same clients. The one who asked is answered when the vCPUs run, or with
 * what kept them from it; if that was before the sandbox, all is undone, and
 * another start can be asked for. Requests of a machine that runs are api.c's;
 * a PATCH that worked is merged into what is kept, so GET /vm/config stays
 * true. The config file goes the way of a PUT. */
#include "control/firecracker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "control/api.h"
#include "control/fcload.h"
#include "control/fcmetrics.h"
#include "control/fcparts.h"
#include "control/metrics.h"
#include "host/addr.h"
#include "host/helper.h"
#include "host/listen.h"
#include "host/sandbox.h"

#define WAITING 128          /* connections that are not accepted yet */
#define CONFIG_MAX (1 << 20) /* bytes of a file that is read */
#define NOT_BEFORE                                                             \
    "The requested operation is not supported before starting the microVM."
#define NOT_AFTER                                                              \
    "The requested operation is not supported after starting the microVM."

#define NOT_LOADED "Load snapshot error: Failed to restore from snapshot: "

static struct {
    const struct fcargs *args;
    struct config *cfg, before; /* as it was before it was planned */
    struct control ctl;
    struct server server;
    struct client *asker; /* of the start; NULL: nobody */
    bool started;         /* asked for */
    bool lent;            /* the loop is not ours to end */
    bool from_file;       /* by the config file */
    bool loading;         /* PUT /snapshot/load */
    bool failed;          /* that did, before the start */
    bool ran;
    char why[512];    /* it did not start */
    struct text mmds; /* NULL: nothing was PUT */
    char dir[4096];   /* where relative paths begin */
    /* A PATCH that is not answered yet. */
    struct {
        void *who;
        struct item *item;
        struct text body;
    } patch;
} fc;

/* ------------------------------------------------------------- what is kept */

static int fc_check_id(const char *id)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    if (!*id)
        return fail(-EINVAL, "The ID cannot be empty.");
    if (id[strspn(id, good)])
        return fail(-EINVAL, "API Resource IDs can only contain alphanumeric "
                             "characters and underscores.");
    return 0;
}

/* The text of a member, without its quotes; false: it is none, or too long. */
static bool fc_text_of(const char *json, const char *key, char *out,
                       size_t size)
{
    size_t n;
    const char *val = json_member_of(json, key, &n);
    if (!val || *val != '"' || n - 2 >= size)
        return false;
    memcpy(out, val + 1, n - 2);
    out[n - 2] = '\0';
    return true;
}

/* What a body must have. `id` (NULL: it is not said elsewhere) must be the
 * body's, which *out becomes. */
static int fc_check_keys(const struct fcpart *p, const char *json,
                         const char *id, char *out, size_t size)
{
    const char *what = p->key ? p->key : p->path + 1;
    char key[32];
    size_t n;
    *out = '\0';
    if (*json != '{')
        return fail(-EINVAL, "%s: an object, {...}, belongs here", what);
    for (const char *k = p->needs; *k; k += n, k += *k == ' ') {
        n = strcspn(k, " ");
        size_t len;
        snprintf(key, sizeof(key), "%.*s", (int)n, k);
        if (!json_member_of(json, key, &len))
            return fail(-EINVAL, "%s: missing field `%s`", what, key);
    }
    if (!p->id)
        return 0;
    if (!fc_text_of(json, p->id, out, size))
        return fail(-EINVAL, "%s: missing field `%s`", what, p->id);
    if (id && strcmp(id, out) != 0)
        return fail(-EINVAL, "The id from the path does not match the id from "
                             "the body!");
    return fc_check_id(out);
}

static void fc_forget(struct item *it)
{
    text_free(&it->json);
    opts_free(&it->opts);
}

/* In the place of the one it is another of. */
static int fc_keep(struct item *new)
{
    struct item *old = item_find(new->part, new->id);
    if (!old && nitems == ITEMS_MAX)
        return fail(-E2BIG, "%s: too many: %d are enough", new->part->path + 1,
                    ITEMS_MAX);
    opts_free(&new->opts);
    if (old)
        fc_forget(old);
    else
        old = &items[nitems++];
    *old = *new;
    return 0;
}

/* A body, compact, which is all that is said (`whole`) or a part of it: looked
 * at, done or kept. */
static int fc_put(const struct fcpart *p, const char *id, const char *base,
                  const char *body, bool whole)
{
    struct item *new = calloc(1, sizeof(*new));
    if (!new)
        return fail(-ENOMEM, "out of memory");
    new->part = p;
    int err = whole ? fc_check_keys(p, body, id, new->id, sizeof(new->id)) : 0;
    json_merge(base, body, &new->json);
    if (!err && new->json.cut)
        err = fail(-ENOMEM, "out of memory");
    if (!err)
        err = item_read(new);
    if (!err && fc.loading)
        err = fcload_allows(new);
    if (!err && p->check)
        err = p->check(new->opts.what, new->told);
    if (!err && p->now)
        err = p->now(new->opts.what, new->told);
    if (!err)
        err = fc_keep(new);
    if (err)
        fc_forget(new);
    free(new);
    return err;
}

/* ------------------------------------------------------------ GET /vm/config
 */

static void fc_put_part(const struct fcpart *p, bool *first, struct text *out)
{
    bool begun = false;
    for (int i = 0; i < nitems; i++) {
        if (items[i].part != p)
            continue;
        if (!begun)
            text_put(out, "%s\"%s\":%s", *first ? "" : ",", p->key,
                     p->id ? "[" : "");
        else
            text_put(out, ",");
        text_add(out, items[i].json.p, items[i].json.n);
        begun = true;
    }
    if (!begun && p->id)
        text_put(out, "%s\"%s\":[", *first ? "" : ",", p->key);
    if (p->id)
        text_put(out, "]");
    if (!begun && p->shown && *p->defaults && p->patched) {
        text_put(out, "%s\"%s\":%s", *first ? "" : ",", p->key, p->defaults);
        begun = true;
    }
    *first &= !begun && !p->id;
}

static bool fc_shows(const struct fcpart *p)
{
    return p->key;
}

static void fc_put_parts(bool (*which)(const struct fcpart *p),
                         struct text *out)
{
    bool first = true;
    text_put(out, "{");
    for (const struct fcpart *p = parts; p->path; p++)
        if (which(p))
            fc_put_part(p, &first, out);
    text_put(out, "}");
}

static int fc_config(struct text *out)
{
    fc_put_parts(fc_shows, out);
    return 0;
}

void firecracker_put(struct parts *out)
{
    struct text config = {0};
    if (!fc.cfg)
        return;
    fc_put_parts(fcload_keeps, &config);
    fcload_put(out, &config);
    text_free(&config);
}

/* ------------------------------------------------------------------- others */

static int fc_root(struct text *out)
{
    const struct machine *m = fc.ctl.m;
    text_put(out,
             "{\"app_name\":\"Firecracker\",\"id\":\"%s\",\"state\":\"%s\","
             "\"vmm_version\":\"" FC_VERSION "\"}",
             fc.args->id, m ? verbs_state(m) : "Not started");
    return 0;
}

static int fc_version(struct text *out)
{
    text_put(out, "{\"firecracker_version\":\"" FC_VERSION "\"}");
    return 0;
}

static int fc_mmds(struct text *out)
{
    text_put(out, "%s", fc.mmds.p ? fc.mmds.p : "{}");
    return 0;
}

static int fc_set_mmds(const char *body, bool merge)
{
    struct text new = {0};
    if (merge && !fc.mmds.p)
        return fail(-ENOENT, "The MMDS data store is not initialized.");
    if (*body != '{')
        return fail(-EINVAL, "mmds: an object, {...}, belongs here");
    json_merge(merge ? fc.mmds.p : "{}", body, &new);
    int err = new.cut ? fail(-ENOMEM, "out of memory") : 0;
    if (!err && new.n > fc.args->mmds)
        err = fail(-EFBIG,
                   "The MMDS patch request doesn't fit: %u bytes are "
                   "kept at most",
                   fc.args->mmds);
    if (err) {
        text_free(&new);
        return err;
    }
    text_free(&fc.mmds);
    fc.mmds = new;
    return 0;
}

/* ------------------------------------------------------------------ refused */

/* By its path, or what the config file calls it; "/x/" is all below it. */
static const struct {
    const char *path, *key, *why;
} refused[] = {
    {"/pmem/", "pmem", "there is no persistent memory; PUT /drives"},
    {"/hotplug/memory", "memory-hotplug",
     "no memory is plugged in later; PUT /balloon takes what is not needed"},
    {"/cpu-config", "cpu-config", "the guest sees the host's processor"},
    {"/mmds/config", "mmds-config",
     "no guest can reach the metadata; put it on a drive, or answer on the "
     "host's side of the TAP"},
    {"/balloon/hinting/", NULL,
     "there is none; free_page_reporting gives memory back"},
};

static int fc_refused(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        size_t n = strlen(refused[i].path);
        if (!strncmp(path, refused[i].path, n) &&
            (!path[n] || refused[i].path[n - 1] == '/' || path[n] == '/'))
            return fail(-EOPNOTSUPP, "%s: not here: %s", path + 1,
                        refused[i].why);
    }
    return 0;
}

/* ---------------------------------------------------------------- the start */

/* All of it becomes options; the root drive is the first disk. */
static int fc_plan(void)
{
    int err = 0;
    for (const struct fcpart *p = parts; p->path && !err; p++)
        for (int pass = 0; pass < 2 && !err; pass++)
            for (int i = 0; i < nitems && !err; i++) {
                struct item *it = &items[i];
                bool root = item_says(it, "is_root_device", NULL);
                if (it->part != p || !p->plan || root != !pass)
                    continue;
                err = item_read(it);
                if (!err)
                    err = p->plan(it->opts.what, it->told, fc.cfg);
            }
    if (err || fc.loading)
        return err;
    fc.cfg->boot.cmdline = parts_cmdline(fc.cfg->boot.cmdline);
    return fc.cfg->boot.cmdline ? 0 : -ENOMEM;
}

static const struct fcpart *fc_part(const char *path, const char **id);

static int fc_start(void)
{
    const char *id;
    if (!item_find(fc_part("/boot-source", &id), ""))
        return fail(-EINVAL, "Start microvm error: Cannot start microvm "
                             "without kernel configuration.");
    fc.started = true;
    loop_stop(fc.cfg->vm.loop, 0);
    return -EINPROGRESS;
}

/* What it is made of goes the way of a config file; and as with Firecracker, a
 * process that fails to load one has no second chance. */
static int fc_take_part(const struct fcpart *p, const char *val, size_t len);

static int fc_load_parts(void)
{
    struct text config = {0};
    size_t n;
    int err = fcload_open(&config);
    for (const struct fcpart *p = parts; p->path && !err; p++) {
        const char *val =
            fcload_keeps(p) ? json_member_of(config.p, p->key, &n) : NULL;
        if (val)
            err = fc_take_part(p, val, n);
    }
    text_free(&config);
    return err ? err : fcload_check();
}

static int fc_load(const char *body)
{
    if (fc.started)
        return fail(-EBUSY, NOT_AFTER);
    int err = fcload_read(body);
    if (err)
        return err;
    for (int i = 0; i < nitems; i++)
        if (items[i].part->key && items[i].part->plan)
            return fail(-EBUSY, "Load snapshot error: Loading a microVM "
                                "snapshot not allowed after configuring "
                                "boot-specific resources.");
    fc.loading = fc.started = true;
    err = fc_load_parts();
    fc.failed = err;
    loop_stop(fc.cfg->vm.loop, 0);
    return err ? err : -EINPROGRESS;
}

/* With Firecracker the keys go to the controller, whether the guest listens or
 * not; what it does not hear is said in the log. */
static int fc_press_keys(void)
{
    struct opts none = {0};
    struct text out = {0};
    char why[256];
    log_catch(why, sizeof(why));
    int err = verbs_do(&fc.ctl, "ctrl-alt-del", &none, &out);
    log_catch(NULL, 0);
    if (err)
        log_line("SendCtrlAltDel: %s", why);
    text_free(&out);
    return 0;
}

static int fc_action(const char *body)
{
    char action[32];
    if (!fc_text_of(body, "action_type", action, sizeof(action)))
        return fail(-EINVAL, "actions: missing field `action_type`");
    if (!strcmp(action, "InstanceStart"))
        return fc.started ? fail(-EBUSY, NOT_AFTER) : fc_start();
    if (word_among(action, "SendCtrlAltDel FlushMetrics") && !fc.ctl.m)
        return fail(-EBUSY, NOT_BEFORE);
    if (!strcmp(action, "SendCtrlAltDel"))
        return fc_press_keys();
    if (!strcmp(action, "FlushMetrics"))
        return fcmetrics_flush();
    return fail(-EINVAL,
                "actions: unknown variant `%s`, expected one of InstanceStart, "
                "SendCtrlAltDel, FlushMetrics",
                action);
}

/* ------------------------------------------------------------------- routes */

/* The part whose path it is, and what stands behind that. */
static const struct fcpart *fc_part(const char *path, const char **id)
{
    for (const struct fcpart *p = parts; p->path; p++) {
        size_t n = strlen(p->path);
        if (strncmp(path, p->path, n) || (!p->id && path[n]))
            continue;
        *id = path + n;
        return p;
    }
    return NULL;
}

static int fc_get(const struct http *h, const struct fcpart *p,
                  struct text *out)
{
    static const struct {
        const char *path;
        int (*show)(struct text *out);
    } shows[] = {{"/", fc_root},
                 {"/version", fc_version},
                 {"/vm/config", fc_config},
                 {"/mmds", fc_mmds}};
    for (size_t i = 0; i < ARRAY_LEN(shows); i++)
        if (!strcmp(h->path, shows[i].path))
            return shows[i].show(out);
    if (!p || !p->shown)
        return api_run(&fc.ctl, h, out);
    const struct item *it = item_find(p, "");
    if (!it && !p->patched)
        return fail(-ENOENT, "%s: there is none", p->path + 1);
    text_put(out, "%s", it ? it->json.p : p->defaults);
    return 0;
}

static int fc_change(const struct fcpart *p, const char *id, bool patch,
                     const char *body)
{
    const struct item *it = p->id ? NULL : item_find(p, "");
    if (fc.started)
        return fail(-EBUSY, NOT_AFTER);
    return fc_put(p, p->id ? id : NULL, patch && it ? it->json.p : p->defaults,
                  body, !patch);
}

/* Of a machine that runs: what worked is kept. */
static void fc_patched(struct item *it, const char *body)
{
    struct text new = {0};
    if (!it)
        return;
    json_merge(it->json.p, body, &new);
    if (new.cut) {
        text_free(&new);
        return;
    }
    text_free(&it->json);
    it->json = new;
}

static int fc_patch(const struct http *h, const struct fcpart *p,
                    const char *id, const char *body, struct text *out)
{
    struct item *it = p ? item_find(p, id) : NULL;
    int err = api_run(&fc.ctl, h, out);
    if (err == -EINPROGRESS) { /* one at a time: a drive's other file */
        fc.patch.who = fc.ctl.who;
        fc.patch.item = it;
        text_free(&fc.patch.body);
        text_put(&fc.patch.body, "%s", body);
    } else if (!err) {
        fc_patched(it, body);
    }
    return err;
}

/* Of a balloon that was to ask for some. */
static int fc_check_stats(void)
{
    const char *id;
    size_t n;
    const struct item *it = item_find(fc_part("/balloon", &id), "");
    const char *seconds =
        it ? json_member_of(it->json.p, "stats_polling_interval_s", &n) : NULL;
    return seconds && *seconds == '0'
               ? fail(-EINVAL, "balloon: statistics were not asked for before "
                               "the start; stats_polling_interval_s of PUT "
                               "/balloon")
               : 0;
}

/* Does it say what Firecracker has another way for, and tells its clients so?
 */
static bool fc_deprecated(const struct http *h, const char *body)
{
    static const char *const keys[][2] = {
        {"/machine-config", "cpu_template"},
        {"/vsock", "vsock_id"},
        {"/snapshot/load", "mem_file_path"},
        {"/snapshot/load", "enable_diff_snapshots"},
    };
    size_t n;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (*body != '{' || strcmp(h->path, keys[i][0]) != 0)
            continue;
        const char *val = json_member_of(body, keys[i][1], &n);
        if (val && *val != 'n' && *val != 'f') /* null, false */
            return true;
    }
    return false;
}

/* `body` is compact; NULL: there is none. */
static int fc_do(const struct http *h, const char *body, struct text *out)
{
    const char *id = "";
    const struct fcpart *p = fc_part(h->path, &id);
    int err = fc_refused(h->path);
    bool stats = !strcmp(h->path, "/balloon/statistics");
    if (!err && stats)
        err = fc_check_stats();
    if (err)
        return err;
    if (h->method == HTTP_GET)
        return fc_get(h, p, out);
    if (h->method == HTTP_DELETE && p && p->id)
        return fail(-EOPNOTSUPP,
                    "%s: not here: devices are there before the "
                    "guest, and stay",
                    h->path + 1);
    if (!body)
        return api_run(&fc.ctl, h, out);
    if (!strcmp(h->path, "/mmds"))
        return fc_set_mmds(body, h->method == HTTP_PATCH);
    if (p && (h->method == HTTP_PUT || p->patched))
        return fc_change(p, id, h->method == HTTP_PATCH, body);
    if (!strcmp(h->path, "/actions") && h->method == HTTP_PUT)
        return fc_action(body);
    if (!strcmp(h->path, "/snapshot/load") && h->method == HTTP_PUT)
        return fc_load(body);
    if (stats)
        p = fc_part("/balloon", &id);
    return h->method == HTTP_PATCH ? fc_patch(h, p, id, body, out)
                                   : api_run(&fc.ctl, h, out);
}

int firecracker_request(struct http *h, struct text *out)
{
    struct text body = {0};
    int err = api_check_body(h, h->method == HTTP_DELETE);
    if (!err && h->body)
        err = json_compact(h->path + 1, http_body(h), h->body, &body);
    if (!err && h->body)
        h->deprecated = fc_deprecated(h, body.p);
    if (!err)
        err = fc_do(h, h->body ? body.p : NULL, out);
    text_free(&body);
    return err;
}

static void fc_later(void *who, int err, const char *why)
{
    struct text none = {0};
    if (!err && who == fc.patch.who)
        fc_patched(fc.patch.item, fc.patch.body.p);
    if (who == fc.patch.who)
        fc.patch.item = NULL;
    api_answer(who, err, why, &none);
}

static void fc_request(struct client *c)
{
    struct text out = {0};
    char fault[512], text[sizeof(fault) + 64];
    bool started = fc.started, failed = fc.failed;
    fc.ctl.who = c;
    fc.ctl.answer = fc_later;
    log_catch(fault, sizeof(fault));
    int err = firecracker_request(&c->in, &out);
    log_catch(NULL, 0);
    snprintf(text, sizeof(text), "%s%s", fc.failed && !failed ? NOT_LOADED : "",
             fault);
    if (fc.failed && !failed)
        log_line("%s", text);
    if (err != -EINPROGRESS)
        api_answer(c, err, text, &out);
    else if (!started && fc.started)
        fc.asker = c;
}

/* ---------------------------------------------------------- the config file */

static int fc_read_file(const char *what, const char *path, struct text *out)
{
    char buf[4096];
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return fail(-errno, "%s: %s: %s", what, path, strerror(errno));
    while ((n = read(fd, buf, sizeof(buf))) > 0 && out->n < CONFIG_MAX / 2)
        text_add(out, buf, (size_t)n);
    int err = n < 0 ? fail(-errno, "%s: %s: %s", what, path, strerror(errno))
              : n || out->cut ? fail(-EFBIG, "%s: %s: is too long", what, path)
                              : 0;
    close(fd);
    return err;
}

/* A file's JSON, compact. */
static int fc_read_json(const char *what, const char *path, struct text *out)
{
    struct text file = {0};
    int err = fc_read_file(what, path, &file);
    if (!err)
        err = json_compact(path, file.p ? file.p : "", file.n, out);
    text_free(&file);
    return err;
}

static int fc_take_one(void *part, const char *key, const char *val, size_t len)
{
    const struct fcpart *p = part;
    struct text body = {0};
    (void)key;
    if (fc.loading)
        fcload_item(p, val, len, &body);
    else
        text_add(&body, val, len);
    int err = body.cut ? fail(-ENOMEM, "out of memory")
                       : fc_put(p, NULL, p->defaults, body.p, true);
    text_free(&body);
    return err;
}

static int fc_take_part(const struct fcpart *p, const char *val, size_t len)
{
    if (*val == 'n')
        return 0;
    if (p->id && *val != '[')
        return fail(-EINVAL, "%s: a list, [...], belongs here", p->key);
    return p->id ? json_each(val, fc_take_one, (void *)(uintptr_t)p)
                 : fc_take_one((void *)(uintptr_t)p, "", val, len);
}

static int fc_take_config(const char *json)
{
    size_t n;
    const char *val;
    int err = 0;
    if (*json != '{')
        return fail(-EINVAL, "an object, {...}, belongs there");
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (refused[i].key &&
            (val = json_member_of(json, refused[i].key, &n)) && *val != 'n' &&
            strncmp(val, "[]", n) != 0)
            return fail(-EOPNOTSUPP, "%s: not here: %s", refused[i].key,
                        refused[i].why);
    if (!json_member_of(json, "boot-source", &n) ||
        !json_member_of(json, "drives", &n))
        return fail(-EINVAL, "boot-source and drives must be there");
    for (const struct fcpart *p = parts; p->path && !err; p++)
        if (p->key && (val = json_member_of(json, p->key, &n)))
            err = fc_take_part(p, val, n);
    return err;
}

int firecracker_take_config(const char *text, size_t len)
{
    struct text json = {0};
    int err = json_compact("config file", text, len, &json);
    if (!err)
        err = fc_take_config(json.p);
    text_free(&json);
    return err;
}

static int fc_take_file(const char *path)
{
    struct text file = {0};
    char why[512] = "";
    int err = fc_read_file("--config-file", path, &file);
    if (err)
        return err;
    log_catch(why, sizeof(why));
    err = firecracker_take_config(file.p ? file.p : "", file.n);
    log_catch(NULL, 0);
    text_free(&file);
    return err ? fail(err, "--config-file %s: %s", path, why) : 0;
}

/* --------------------------------------------------------------- the socket */

static int fc_bind(const char *path)
{
    struct addr a;
    int err = addr_unix("--api-sock", path, false, &a);
    int fd =
        err ? -1
            : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (err)
        return err;
    mode_t before = umask(0177);
    err = fd < 0 || bind(fd, &a.sa, a.len) || listen(fd, WAITING) ? -errno : 0;
    umask(before);
    if (!err)
        return fd;
    if (fd >= 0)
        close(fd);
    return fail(err, "Failed to open the API socket at: %s: %s", path,
                strerror(-err));
}

static int fc_open_socket(void)
{
    int fd = listen_socket("--api-sock", "api");
    if (fd == -ENOENT && fc.args->sock)
        fd = fc_bind(fc.args->sock);
    else if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return fd;
    fc.server = (struct server){.request = fc_request,
                                .name = "Firecracker API",
                                .body_max = fc.args->body};
    int err = server_begin(&fc.server, fc.cfg->vm.loop, fd);
    return err ? fail(err, "--api-sock: %s", strerror(-err)) : 0;
}

/* ------------------------------------------------------------- main()'s way */

/* What the command line says as PUTs do. */
static int fc_take_args(void)
{
    const struct fcargs *a = fc.args;
    const struct fclog log = {.path = a->log,
                              .level = a->level,
                              .module = a->module,
                              .show_level = a->show_level,
                              .show_origin = a->show_origin};
    int err = 0;
    fclog_id(a->id);
    if (a->log || a->level)
        err = fclog_set("--log-path", &log);
    if (!err && a->metrics)
        err = fcmetrics_open(a->metrics);
    if (a->no_filter)
        sandbox_without_filter();
    return err;
}

int firecracker_begin(struct config *cfg, const struct fcargs *a)
{
    struct text data = {0};
    fc.args = a;
    fc.cfg = cfg;
    fc.before = *cfg;
    fc.ctl.config = cfg;
    if (getcwd(fc.dir, sizeof(fc.dir)))
        fc.ctl.dir = fc.dir;
    helper_as_operator(); /* who is to be asked is */
    int err = fc_take_args();
    fc.lent = cfg->vm.loop;
    if (!err && !fc.lent)
        err = loop_new(&cfg->vm.loop);
    if (!err)
        err = fc_open_socket();
    if (err)
        return 1;
    fc.before.vm.loop = cfg->vm.loop;
    if (a->metadata)
        err = fc_read_json("--metadata", a->metadata, &data);
    if (!err && a->metadata)
        err = fc_set_mmds(data.p, false);
    text_free(&data);
    if (!err && a->config) {
        err = fc_take_file(a->config);
        fc.started = fc.from_file = true;
    }
    return err ? FC_EXIT_CONFIG : 0;
}

bool firecracker_is_asked(void)
{
    return fc.started;
}

int firecracker_wait(void)
{
    if (!fc.started)
        loop_run(fc.cfg->vm.loop);
    if (fc.failed)
        return -EINVAL;
    log_catch(fc.why, sizeof(fc.why));
    return fc_plan();
}

int firecracker_open(struct machine *m)
{
    int err = 0;
    fc.ctl.m = m;
    for (int i = 0; i < nitems && !err; i++)
        if (items[i].part->open)
            err = items[i].part->open(&fc.ctl, items[i].told, &items[i].opts);
    return err;
}

static void fc_answer(int err, const char *why)
{
    struct text none = {0};
    if (fc.asker)
        api_answer(fc.asker, err, why, &none);
    fc.asker = NULL;
}

void firecracker_runs(void)
{
    if (!fc.cfg)
        return;
    log_catch(NULL, 0);
    fc_answer(0, NULL);
    fc.ran = true;
}

/* What was a config's is as before, for another plan. */
static void fc_undo(void)
{
    *fc.cfg = fc.before;
    fc.ctl.m = NULL;
    fc.started = false;
}

bool firecracker_again(int *code)
{
    char text[600];
    if (!fc.cfg)
        return false;
    fc.ctl.m = NULL;
    if (fc.ran) { /* Firecracker's guests have no other way to end */
        if (*code == STOP_RESET || *code == STOP_CRASH)
            *code = 0;
        return false;
    }
    log_catch(NULL, 0);
    if (fc.failed) /* and it was said */
        return false;
    snprintf(text, sizeof(text), "%s%s",
             fc.loading ? NOT_LOADED : "Start microvm error: ",
             *fc.why ? fc.why : "the log says why");
    log_line("%s", text);
    fc_answer(-EIO, text);
    if (fc.loading)
        *code = 1;
    if (fc.from_file || fc.loading || sandbox_inside())
        return false;
    fc_undo();
    return true;
}

void firecracker_end(void)
{
    if (!fc.cfg)
        return;
    server_end(&fc.server);
    while (nitems)
        fc_forget(&items[--nitems]);
    text_free(&fc.mmds);
    text_free(&fc.patch.body);
    fcload_forget();
    if (!fc.lent)
        loop_free(fc.cfg->vm.loop);
    memset(&fc, 0, sizeof(fc));
}
