/* SPDX-License-Identifier: MIT */
/* QMP: JSON that comes in becomes commands, commands become verbs.
 *
 * Theory of operation. A message is an object wherever it ends: clients send
 * CR LF, LF or nothing after it, and several in one write, so it is found by
 * its brackets (json_scan). Each is done before the next is looked at. Its id,
 * of whatever type, goes back as it came. What it is told is read by a table of
 * fields; from the same rows query-qmp-schema is made (schema.c). Messages that
 * go out end with CR LF, which Ganeti looks for. */
#include "control/qmp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------ what goes out */

static void qmp_end(struct monitor *mo)
{
    text_add(mo->out, "\r\n", 2);
}

static void qmp_put_id(struct monitor *mo)
{
    if (mo->id.n)
        text_put(mo->out, ", \"id\": %s", mo->id.p);
    text_free(&mo->id);
}

void qmp_greet(struct monitor *mo)
{
    text_put(mo->out,
             "{\"QMP\": {\"version\": " QMP_VERSION ", \"capabilities\": []}}");
    qmp_end(mo);
}

static void qmp_error(struct monitor *mo, const char *cls, const char *why)
{
    text_put(mo->out, "{\"error\": {\"class\": \"%s\", \"desc\": ", cls);
    text_quote(mo->out, why);
    text_put(mo->out, "}");
    qmp_put_id(mo);
    text_put(mo->out, "}");
    qmp_end(mo);
}

static const char *qmp_class(int err)
{
    switch (err) {
    case -ENODEV:
        return "DeviceNotActive";
    case -ENOENT:
        return "DeviceNotFound";
    case -ENOSYS:
        return "CommandNotFound";
    default:
        return "GenericError";
    }
}

static void qmp_return(struct monitor *mo, const struct text *val)
{
    text_put(mo->out, "{\"return\": ");
    if (val->cut)
        mo->out->cut = true;
    text_put(mo->out, "%s", val->n ? val->p : "{}");
    qmp_put_id(mo);
    text_put(mo->out, "}");
    qmp_end(mo);
}

void qmp_done(struct monitor *mo, int err, const char *why)
{
    const struct text none = {0};
    if (err)
        qmp_error(mo, qmp_class(err), why);
    else
        qmp_return(mo, &none);
}

/* ------------------------------------------------------------ what is to do */

int qmp_verb(struct monitor *mo, const char *verb, const char *key,
             const char *val, const char *key2, const char *val2)
{
    struct text out = {0};
    struct opts o;
    (void)mo;
    opts_init(&o, verb);
    int err = key ? opts_add(&o, key, val) : 0;
    if (!err && key2)
        err = opts_add(&o, key2, val2);
    if (!err)
        err = verbs_do(&monitors.ctl, verb, &o, &out);
    opts_free(&o);
    text_free(&out);
    return err;
}

static int qmp_capabilities(struct monitor *mo, const struct qmp_told *t,
                            struct text *out)
{
    (void)out;
    const char *asked = opts_str(t->args, "enable", NULL);
    if (asked)
        return fail(-EINVAL, "Capability %s is not available", asked);
    mo->ready = true;
    return 0;
}

static int qmp_stop(struct monitor *mo, const struct qmp_told *t,
                    struct text *out)
{
    (void)t, (void)out;
    return qmp_verb(mo, "pause", NULL, NULL, NULL, NULL);
}

static int qmp_cont(struct monitor *mo, const struct qmp_told *t,
                    struct text *out)
{
    (void)t, (void)out;
    return qmp_verb(mo, "resume", NULL, NULL, NULL, NULL);
}

static int qmp_powerdown(struct monitor *mo, const struct qmp_told *t,
                         struct text *out)
{
    (void)t, (void)out;
    /* That nobody listens yet is no error of who presses the button. */
    int err = qmp_verb(mo, "powerdown", NULL, NULL, NULL, NULL);
    return err == -EAGAIN ? 0 : err;
}

static int qmp_reset(struct monitor *mo, const struct qmp_told *t,
                     struct text *out)
{
    (void)t, (void)out;
    return qmp_verb(mo, "reset", NULL, NULL, NULL, NULL);
}

static int qmp_quit(struct monitor *mo, const struct qmp_told *t,
                    struct text *out)
{
    (void)t, (void)out;
    return qmp_verb(mo, "quit", NULL, NULL, NULL, NULL);
}

static int qmp_set_link(struct monitor *mo, const struct qmp_told *t,
                        struct text *out)
{
    (void)out;
    return qmp_verb(mo, "link", "id", t->name, "state",
                    t->flag ? "up" : "down");
}

static int qmp_balloon(struct monitor *mo, const struct qmp_told *t,
                       struct text *out)
{
    char size[24];
    uint64_t actual;
    (void)out;
    if (!query_balloon_actual(monitors.ctl.m, &actual))
        return fail(-ENODEV, "No balloon device has been activated");
    snprintf(size, sizeof(size), "%llu", (unsigned long long)t->size);
    return qmp_verb(mo, "balloon", "size", size, NULL, NULL);
}

static int qmp_resize(struct monitor *mo, const struct qmp_told *t,
                      struct text *out)
{
    char size[24];
    const char *id = t->device ? t->device : t->node ? t->node : t->id;
    (void)out;
    if (!id)
        return fail(-EINVAL, "Either 'device', 'node-name' or 'id' is needed");
    snprintf(size, sizeof(size), "%llu", (unsigned long long)t->size);
    return qmp_verb(mo, "disk", "id", id, "size", size);
}

static int qmp_medium(struct monitor *mo, const struct qmp_told *t,
                      struct text *out)
{
    const char *id = t->id ? t->id : t->device;
    (void)out;
    if (!id)
        return fail(-EINVAL, "Either 'id' or 'device' is needed");
    return qmp_verb(mo, "disk", "id", id, "path", t->path);
}

static int qmp_human(struct monitor *mo, const struct qmp_told *t,
                     struct text *out)
{
    struct text said = {0};
    (void)mo;
    hmp_line(t->line, &said);
    text_quote(out, said.n ? said.p : "");
    text_free(&said);
    return 0;
}

/* Engines switch the events of a migration on before they know whether there
 * will be one. */
static int qmp_migrate_set(struct monitor *mo, const struct qmp_told *t,
                           struct text *out)
{
    const char *what, *on;
    (void)mo, (void)out;
    for (int i = 0; (what = opts_nth(t->args, "capabilities.capability", i));
         i++) {
        on = opts_nth(t->args, "capabilities.state", i);
        if (strcmp(what, "events") && (!on || strcmp(on, "off")))
            return fail(-EINVAL,
                        "there is no capability %s: a machine is not "
                        "moved over QMP",
                        what);
    }
    return 0;
}

/* ----------------------------------------------------------------- commands */

static const struct field capabilities_fields[] = {
    QMP_KEY(LIST, "enable", type, .arg = "WORD"), QMP_END};
static const struct field link_fields[] = {
    QMP_KEY(TEXT, "name", name, .arg = "ID"), QMP_KEY(FLAG, "up", flag),
    QMP_END};
static const struct field balloon_fields[] = {QMP_KEY(SIZE, "value", size),
                                              QMP_END};
static const struct field resize_fields[] = {
    QMP_KEY(TEXT, "device", device, .arg = "ID"),
    QMP_KEY(TEXT, "node-name", node, .arg = "ID"),
    QMP_KEY(TEXT, "id", id, .arg = "ID"), QMP_KEY(SIZE, "size", size), QMP_END};
static const struct field medium_fields[] = {
    QMP_KEY(TEXT, "id", id, .arg = "ID"),
    QMP_KEY(TEXT, "device", device, .arg = "ID"),
    QMP_KEY(TEXT, "filename", path, .arg = "FILE"), QMP_END};
static const struct field human_fields[] = {
    QMP_KEY(TEXT, "command-line", line, .arg = "LINE"),
    QMP_KEY(NUMBER, "cpu-index", number, .max = UINT32_MAX), QMP_END};

static const struct field capability_fields[] = {
    QMP_KEY(LIST, "capability", name, .arg = "WORD"),
    QMP_KEY(LIST, "state", name, .arg = "on|off"), QMP_END};
static const struct field migrate_set_fields[] = {
    FIELDS_OF(capability_fields, "capabilities", struct qmp_told, id), QMP_END};

const struct qmp_command qmp_commands[] = {
    {"qmp_capabilities", capabilities_fields, NULL, NULL, qmp_capabilities},
    {"stop", NULL, NULL, NULL, qmp_stop},
    {"cont", NULL, NULL, NULL, qmp_cont},
    {"system_powerdown", NULL, NULL, NULL, qmp_powerdown},
    {"system_reset", NULL, NULL, NULL, qmp_reset},
    {"quit", NULL, NULL, NULL, qmp_quit},
    {"set_link", link_fields, "name up", NULL, qmp_set_link},
    {"balloon", balloon_fields, "value", NULL, qmp_balloon},
    {"block_resize", resize_fields, "size", NULL, qmp_resize},
    {"blockdev-change-medium", medium_fields, "filename", NULL, qmp_medium},
    {"human-monitor-command", human_fields, "command-line", "s", qmp_human},
    {"migrate-set-capabilities", migrate_set_fields, NULL, NULL,
     qmp_migrate_set},
    {.name = NULL},
};

const struct qmp_command *qmp_command(unsigned i)
{
    static const struct qmp_command *const tables[] = {
        qmp_commands, qmp_fd_commands, query_commands};
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct qmp_command *c = tables[t]; c->name; c++)
            if (!i--)
                return c;
    return NULL;
}

/* What engines have that is not here, and why. */
static const struct {
    const char *names, *why;
} refused[] = {
    {"migrate migrate-incoming migrate_cancel migrate-set-parameters",
     "a machine is not moved over QMP"},
    {"device_add device_del blockdev-add blockdev-del object-add object-del",
     "there is no hot-plug"},
};

static int qmp_unknown(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (word_among(name, refused[i].names))
            return fail(-ENOSYS, "The command %s has not been found: %s", name,
                        refused[i].why);
    return fail(-ENOSYS, "The command %s has not been found", name);
}

static int qmp_find(const struct monitor *mo, const char *name,
                    const struct qmp_command **cmd)
{
    bool begins = !strcmp(name, qmp_commands[0].name);
    unsigned i = 0;
    if (!mo->ready && !begins)
        return fail(-ENOSYS, "Expecting capabilities negotiation with "
                             "'qmp_capabilities'");
    if (mo->ready && begins)
        return fail(-ENOSYS, "Capabilities negotiation is already complete, "
                             "command ignored");
    while ((*cmd = qmp_command(i)) && strcmp((*cmd)->name, name) != 0)
        i++;
    return *cmd ? 0 : qmp_unknown(name);
}

/* Each of the words of `need` is a key. */
static int qmp_needs(const char *need, const struct opts *o)
{
    char key[32];
    while (need && *need) {
        size_t n = strcspn(need, " ");
        snprintf(key, sizeof(key), "%.*s", (int)n, need);
        if (!opts_str(o, key, NULL))
            return fail(-EINVAL, "Parameter '%s' is missing", key);
        need += n + (need[n] == ' ');
    }
    return 0;
}

static int qmp_run(struct monitor *mo, const char *name, struct opts *args,
                   struct text *out)
{
    struct qmp_told told = {0};
    const struct qmp_command *cmd;
    int err = qmp_find(mo, name, &cmd);
    if (!err)
        err = qmp_needs(cmd->need, args);
    if (!err)
        err = fields_read(cmd->fields, &told, args);
    told.args = args;
    return err ? err : cmd->run(mo, &told, out);
}

/* The members of "arguments", by their own names. */
static int qmp_arguments(const struct opts *all, struct opts *args)
{
    static const char prefix[] = "arguments.";
    const size_t n = sizeof(prefix) - 1;
    int err = 0;
    for (int i = 0; !err && i < all->n; i++) {
        const char *key = all->kv[i].key;
        if (!strncmp(key, prefix, n))
            err = opts_add(args, key + n, all->kv[i].val);
        else if (strcmp(key, "execute") != 0)
            err = fail(-EINVAL, "QMP input member '%s' is unexpected", key);
    }
    return err;
}

static int qmp_message(struct monitor *mo, const char *p, size_t n,
                       struct text *out)
{
    struct json_piece id;
    struct opts all, args;
    opts_init(&all, "JSON parse error");
    opts_init(&args, "");
    int err = json_message(&all, p, n, "id", &id);
    if (!err && id.p)
        text_add(&mo->id, id.p, id.n);
    const char *name = opts_str(&all, "execute", NULL);
    if (!err && !name)
        err = fail(-EINVAL, "QMP input lacks member 'execute'");
    if (!err)
        snprintf(args.what, sizeof(args.what), "%s", name);
    if (!err)
        err = qmp_arguments(&all, &args);
    if (!err)
        err = qmp_run(mo, name, &args, out);
    opts_free(&all);
    opts_free(&args);
    return err;
}

static void qmp_do(struct monitor *mo, const char *p, size_t n)
{
    struct text out = {0};
    char why[512] = "";
    log_catch(why, sizeof(why));
    int err = qmp_message(mo, p, n, &out);
    log_catch(NULL, 0);
    if (err == -EINPROGRESS)
        mo->asked = true;
    else if (err)
        qmp_error(mo, qmp_class(err), why);
    else
        qmp_return(mo, &out);
    text_free(&out);
}

/* What begins with no brace is no message, up to one or to the end of a line;
 * that is said once, in however many pieces it comes. */
static void qmp_pass_junk(struct monitor *mo)
{
    while (mo->junk && mo->from < mo->n) {
        char c = mo->in[mo->from];
        mo->junk = c != '{' && c != '\n';
        mo->from += mo->junk;
    }
}

static void qmp_pass_blanks(struct monitor *mo)
{
    while (mo->from < mo->n && memchr(" \t\r\n", mo->in[mo->from], 4))
        mo->from++;
}

/* The message that begins there, once all of it has come. */
static void qmp_take(struct monitor *mo)
{
    const char *p = mo->in + mo->from;
    size_t left = mo->n - mo->from, n = json_scan(&mo->scan, p, left);
    if (!n && left == sizeof(mo->in)) {
        qmp_error(mo, "GenericError", "JSON parse error, too long");
        mo->last = true;
    }
    if (!n)
        return;
    mo->scan = (struct json_scan){0};
    qmp_do(mo, p, n);
    mo->from += n;
}

bool qmp_next(struct monitor *mo)
{
    size_t from = mo->from;
    if (!mo->scan.at) {
        qmp_pass_junk(mo);
        qmp_pass_blanks(mo);
    }
    if (mo->from == mo->n)
        return false;
    if (mo->scan.at || mo->in[mo->from] == '{') {
        qmp_take(mo);
    } else {
        qmp_error(mo, "GenericError",
                  "JSON parse error, an object, {...}, belongs here");
        mo->junk = true;
        mo->from++;
    }
    return mo->from > from && mo->from < mo->n && !mo->asked;
}
