/* SPDX-License-Identifier: MIT */
/* All counters of a machine, in the forms that others read.
 *
 * They are told of one at a time, in the machine's order; both forms want them
 * in groups (an object a thing, a metric with all that have it), so they are
 * kept and sorted first. */
#include "control/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "net/net.h"

void metrics_count(struct machine *m, struct tally *t)
{
    if (m->ops->stats)
        m->ops->stats(m, t);
    else
        for (struct device *d = m->devices; d; d = d->next)
            device_stats(d, t);
    netdev_stats(t);
    blockdev_stats(t);
}

struct metric {
    struct count c;
    unsigned at; /* in the machine's order */
};

struct metrics {
    struct tally t;
    struct metric *all;
    unsigned n, room;
    bool cut;
};

/* Names live as long as they are told of. */
static void metrics_take(struct tally *t, const struct count *c)
{
    struct metrics *s = container_of(t, struct metrics, t);
    if (s->n == s->room) {
        unsigned room = s->room ? 2 * s->room : 256;
        struct metric *all = realloc(s->all, room * sizeof(*all));
        s->cut |= !all;
        if (!all)
            return;
        s->all = all;
        s->room = room;
    }
    struct metric *mine = &s->all[s->n];
    *mine = (struct metric){*c, s->n++};
    mine->c.id = strdup(c->id);
    mine->c.name = strdup(c->name);
    s->cut |= !mine->c.id || !mine->c.name;
}

static int metrics_order(const struct metric *a, const struct metric *b,
                         const char *x, const char *y)
{
    int by = strcmp(x, y);
    return by ? by : a->at < b->at ? -1 : a->at > b->at;
}

static int metrics_by_id(const void *x, const void *y)
{
    const struct metric *a = x, *b = y;
    return metrics_order(a, b, a->c.id, b->c.id);
}

static int metrics_by_name(const void *x, const void *y)
{
    const struct metric *a = x, *b = y;
    return metrics_order(a, b, a->c.name, b->c.name);
}

static void metrics_collect(struct metrics *s, struct machine *m,
                            int (*order)(const void *x, const void *y),
                            struct text *out)
{
    *s = (struct metrics){.t.take = metrics_take};
    metrics_count(m, &s->t);
    out->cut |= s->cut;
    if (out->cut)
        s->n = 0;
    else if (s->n)
        qsort(s->all, s->n, sizeof(*s->all), order);
}

static void metrics_free(struct metrics *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        free((void *)(uintptr_t)s->all[i].c.id);
        free((void *)(uintptr_t)s->all[i].c.name);
    }
    free(s->all);
}

void metrics_json(struct machine *m, struct text *out)
{
    struct metrics s;
    const char *id = NULL;
    metrics_collect(&s, m, metrics_by_id, out);
    text_put(out, "{");
    for (unsigned i = 0; i < s.n; i++) {
        const struct count *c = &s.all[i].c;
        bool other = !id || strcmp(id, c->id) != 0;
        if (other) {
            text_put(out, id ? "}," : "");
            text_quote(out, c->id);
        }
        text_put(out, other ? ":{" : ",");
        text_quote(out, c->name);
        text_put(out, ":%llu", (unsigned long long)c->val);
        id = c->id;
    }
    text_put(out, s.n ? "}}" : "}");
    metrics_free(&s);
}

/* Letters, digits and underscores; a counter's name ends with _total. */
static void metrics_put_name(struct text *out, const struct count *c)
{
    text_put(out, "vmm_");
    for (const char *p = c->name; *p; p++) {
        bool word =
            (*p >= '0' && *p <= '9') || ((*p | 32) >= 'a' && (*p | 32) <= 'z');
        text_put(out, "%c", word ? *p : '_');
    }
    text_put(out, "%s", c->level ? "" : "_total");
}

static void metrics_put_head(struct text *out, const struct count *c)
{
    text_put(out, "# HELP ");
    metrics_put_name(out, c);
    text_put(out, " %s\n# TYPE ", c->help ? c->help : c->name);
    metrics_put_name(out, c);
    text_put(out, " %s\n", c->level ? "gauge" : "counter");
}

void metrics_prometheus(struct machine *m, struct text *out, int width)
{
    struct metrics s;
    metrics_collect(&s, m, metrics_by_name, out);
    const struct count *first = NULL; /* of this name */
    for (unsigned i = 0; i < s.n; i++) {
        const struct count *c = &s.all[i].c;
        if (!first || strcmp(first->name, c->name) != 0) {
            first = c;
            metrics_put_head(out, first);
        }
        metrics_put_name(out, first);
        text_put(out, "{id=");
        text_quote(out, c->id);
        if (m->name) {
            text_put(out, ",machine=");
            text_quote(out, m->name);
        }
        text_put(out, "} %*llu\n", width, (unsigned long long)c->val);
    }
    metrics_free(&s);
}
