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

static void api_put_machine(const struct machine *m, struct text *out)
{
    uint64_t ram = 0;
    for (int i = 0; i < m->ram.n; i++)
        ram += m->ram.region[i].size;
    text_put(out,
             "{\"vcpu_count\":%u,\"mem_size_mib\":%llu,\"smt\":false,"
             "\"track_dirty_pages\":false,\"huge_pages\":\"None\"}",
             m->ncpus, (unsigned long long)ram >> 20);
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
        return 0; /* they are read, here, not written */
    default:
        return fail(-EINVAL, "missing field `action_type`");
    }
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
    {HTTP_PATCH, "/vm", api_state, false},
    {HTTP_PUT, "/actions", api_action, false},
    {HTTP_PUT, "/verbs/", api_verb, true},
};
static const char *const method_names[] = {"GET", "PUT", "PATCH", "DELETE"};

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

static int api_run(struct control *ctl, const struct http *h, struct text *out)
{
    struct opts o;
    const char *method = method_names[h->method], *rest;
    const struct route *r = api_route(h, &rest);
    int err = 0;
    if (!r)
        return fail(-ENOENT, "Invalid request method and/or path: %s %s.",
                    method, h->path + 1);
    if (h->method == HTTP_GET && h->body)
        return fail(-EINVAL, "GET request cannot have a body.");
    if (h->method != HTTP_GET && !h->body && !r->bare)
        return fail(-EINVAL, "Empty %s request.", method);
    opts_init(&o, h->path);
    if (h->body)
        err = json_request(&o, http_body(h), h->body);
    if (!err)
        err = r->run(ctl, rest, &o, out);
    opts_free(&o);
    return err;
}

void api_request(struct control *ctl, struct client *c)
{
    struct text out = {0};
    char fault[512];
    log_catch(fault, sizeof(fault));
    int err = api_run(ctl, &c->in, &out);
    log_catch(NULL, 0);
    if (err) {
        text_free(&out);
        text_put(&out, "{\"fault_message\":");
        text_quote(&out, fault);
        text_put(&out, "}");
    }
    server_answer(c,
                  err     ? 400
                  : out.n ? 200
                          : 204,
                  out.n && *out.p != '{' ? TEXT_TYPE : JSON_TYPE, &out);
}
