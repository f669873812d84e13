/* SPDX-License-Identifier: MIT */
/* QMP's qom-… commands: the devices as objects, as far as engines ask.
 *
 * Each device is /machine/peripheral/ID, a processor what query-cpus-fast calls
 * it. What there is to read of one, and to set, is what a balloon's guest says
 * of its memory, and how often: by its counters and its verb. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control/qmp.h"

#define PERIPHERAL "/machine/peripheral"
#define STATS "guest-stats"
#define INTERVAL "guest-stats-polling-interval"

static struct device *qom_device(const char *path)
{
    const size_t n = sizeof(PERIPHERAL "/") - 1;
    struct device *d = monitors.ctl.m->devices;
    if (strncmp(path, PERIPHERAL "/", n) != 0)
        return NULL;
    while (d && (!d->cls || strcmp(d->id, path + n) != 0))
        d = d->next;
    return d;
}

static bool qom_is_cpu(const char *path)
{
    char at[48];
    for (unsigned i = 0; i < monitors.ctl.m->ncpus; i++) {
        snprintf(at, sizeof(at), QMP_CPU, i);
        if (!strcmp(path, at))
            return true;
    }
    return false;
}

static bool qom_asks_guest(const struct device *d)
{
    return verb_find(d->cls->verbs, "balloon-stats") != NULL;
}

static void qom_put(struct text *out, const char *name, const char *kind,
                    const char *type)
{
    text_put(out, "%s{\"name\": ", out->n > 1 ? ", " : "");
    text_quote(out, name);
    text_put(out, ", \"type\": \"%s%s%s\"}", kind, type, *kind ? ">" : "");
}

int qom_list(struct monitor *mo, const struct qmp_told *t, struct text *out)
{
    struct device *d = qom_device(t->path);
    (void)mo;
    text_put(out, "[");
    if (d || qom_is_cpu(t->path))
        qom_put(out, "type", "", "string");
    if (qom_is_cpu(t->path))
        qom_put(out, "migratable", "", "bool");
    if (d && qom_asks_guest(d)) {
        qom_put(out, STATS, "", "guest statistics");
        qom_put(out, INTERVAL, "", "int");
    }
    if (!strcmp(t->path, PERIPHERAL))
        for (d = monitors.ctl.m->devices; d; d = d->next)
            if (d->cls)
                qom_put(out, d->id, "child<", d->cls->name);
    text_put(out, "]");
    return 0;
}

/* -------------------------------------------------- what a guest says */

/* QEMU's names of what ours are called, where there is more to it than dashes
 * (virtio_balloon_stat_names). */
static void qom_stat_name(char *name, size_t size, const char *ours)
{
    bool memory = word_among(ours, "stat_free stat_total stat_available");
    snprintf(name, size, "%s%s", ours, memory ? "-memory" : "");
    for (char *p = name; (p = strchr(p, '_'));)
        *p = '-';
}

struct qom_stats {
    struct tally t;
    struct text *out;
    uint64_t time;
};

static void qom_take(struct tally *t, const struct count *c)
{
    struct qom_stats *s = (struct qom_stats *)t;
    char name[48];
    if (!strcmp(c->name, "stats_time"))
        s->time = c->val;
    if (strncmp(c->name, "stat_", 5) != 0)
        return;
    qom_stat_name(name, sizeof(name), c->name);
    text_put(s->out, "%s\"%s\": %llu", s->out->n ? ", " : "", name,
             (unsigned long long)c->val);
}

/* Before the guest has said anything there is nothing to be told: whoever asks
 * takes no member for that. */
static int qom_stats(struct device *d, struct text *out)
{
    struct text says = {0};
    struct qom_stats s = {.t.take = qom_take, .out = &says};
    device_stats(d, &s.t);
    text_put(out, "{\"last-update\": %llu, \"stats\": {%s}}",
             (unsigned long long)s.time, s.time && says.n ? says.p : "");
    text_free(&says);
    return 0;
}

static int qom_put_interval(void *ctx, const struct field_at *fa)
{
    if (!strcmp(fa->name, "interval"))
        text_put(ctx, "%llu", (unsigned long long)field_get(fa, 0));
    return 0;
}

static int qom_find(const struct qmp_told *t, struct device **d)
{
    *d = qom_device(t->path);
    if (!*d)
        return fail(-ENOENT, "Device '%s' not found", t->path);
    bool asks = qom_asks_guest(*d) && word_among(t->name, STATS " " INTERVAL);
    if (!asks && strcmp(t->name, "type") != 0)
        return fail(-EINVAL, "Property '%s.%s' not found", (*d)->cls->name,
                    t->name);
    return 0;
}

/* It has all that the host's has (-cpu host), so it cannot move to any other.
 * libvirt gives a machine up whose processor does not say so when it comes back
 * to it. */
static int qom_get_cpu(const struct qmp_told *t, struct text *out)
{
    static const char type[] = "host-x86_64-cpu";
    bool is_type = !strcmp(t->name, "type");
    if (!is_type && strcmp(t->name, "migratable") != 0)
        return fail(-EINVAL, "Property '%s.%s' not found", type, t->name);
    text_put(out, "%s", is_type ? "\"host-x86_64-cpu\"" : "false");
    return 0;
}

int qom_get(struct monitor *mo, const struct qmp_told *t, struct text *out)
{
    struct device *d;
    (void)mo;
    if (qom_is_cpu(t->path))
        return qom_get_cpu(t, out);
    int err = qom_find(t, &d);
    if (err)
        return err;
    if (!strcmp(t->name, STATS))
        return qom_stats(d, out);
    if (!strcmp(t->name, INTERVAL))
        return fields_each(d->cls->fields, d, STATE, qom_put_interval, out);
    text_quote(out, d->cls->name);
    return 0;
}

int qom_set(struct monitor *mo, const struct qmp_told *t, struct text *out)
{
    struct device *d;
    int err = qom_find(t, &d);
    (void)out;
    if (err)
        return err;
    if (strcmp(t->name, INTERVAL) != 0)
        return fail(-EINVAL, "Property '%s.%s' is not writable", d->cls->name,
                    t->name);
    return qmp_verb(mo, "balloon-stats", "seconds",
                    opts_str(t->args, "value", ""), NULL, NULL);
}
