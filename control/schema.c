/* SPDX-License-Identifier: MIT */
/* query-qmp-schema: what there is, from the tables that do it.
 *
 * A type is written as a text: s, i, b and v (a string, a whole number, a
 * boolean, anything), [T] a list, {name:T,name?:T} an object, whose members
 * with a question mark may be missing. What a command is told is in its fields.
 * Types get numbers for names, as QEMU's have. */
#include <stdio.h>
#include <string.h>

#include "control/qmp.h"

static const char *const builtin[][2] = {
    {"str", "string"}, {"int", "int"}, {"bool", "boolean"}, {"any", "value"}};

struct schema {
    struct text *out;
    unsigned types; /* numbered so far */
    unsigned lists; /* of builtin types, that are there: a bit each */
};

static void schema_begin(struct schema *s, const char *name, const char *kind)
{
    text_put(s->out, "%s{\"name\": \"%s\", \"meta-type\": \"%s\"",
             s->out->n > 1 ? ", " : "", name, kind);
}

static void schema_type(struct schema *s, const char **sig, char name[16]);

static void schema_list(struct schema *s, const char **sig, char name[16])
{
    char of[16];
    schema_type(s, sig, of);
    ++*sig; /* ] */
    snprintf(name, 16, "[%.13s]", of);
    for (unsigned i = 0; i < ARRAY_LEN(builtin); i++) {
        if (strcmp(of, builtin[i][0]))
            continue;
        if (s->lists >> i & 1)
            return; /* a name is there once */
        s->lists |= 1u << i;
    }
    schema_begin(s, name, "array");
    text_put(s->out, ", \"element-type\": \"%s\"}", of);
}

static void schema_object(struct schema *s, const char **sig, char name[16])
{
    struct text members = {0};
    char type[16];
    while (**sig != '}') {
        size_t n = strcspn(*sig, ":?");
        const char *key = *sig;
        bool may_miss = key[n] == '?';
        *sig += n + may_miss + 1;
        schema_type(s, sig, type);
        text_put(&members, "%s{\"name\": \"%.*s\", \"type\": \"%s\"%s}",
                 members.n ? ", " : "", (int)n, key, type,
                 may_miss ? ", \"default\": null" : "");
        *sig += **sig == ',';
    }
    ++*sig;
    snprintf(name, 16, "%u", s->types++);
    schema_begin(s, name, "object");
    text_put(s->out, ", \"members\": [%s]}", members.n ? members.p : "");
    text_free(&members);
}

/* Takes a type off *sig, and gives its name. */
static void schema_type(struct schema *s, const char **sig, char name[16])
{
    char c = *(*sig)++;
    if (c == '[')
        schema_list(s, sig, name);
    else if (c == '{')
        schema_object(s, sig, name);
    else
        strcpy(name, c == 's'   ? "str"
                     : c == 'i' ? "int"
                     : c == 'b' ? "bool"
                                : "any");
}

/* -------------------------------------------------------------- arguments */

struct schema_args {
    struct text sig;
    const char *need;
};

static int schema_arg(void *ctx, const struct field_at *fa)
{
    struct schema_args *a = ctx;
    const char *dot =
        strchr(fa->name, '.'); /* a list of objects, of any sort */
    if (dot) {
        if (!strstr(a->sig.p, ":[v]"))
            text_put(&a->sig, "%s%.*s:[v]", a->sig.n > 1 ? "," : "",
                     (int)(dot - fa->name), fa->name);
        return 0;
    }
    bool needed = a->need && word_among(fa->name, a->need);
    const char *arg = fa->f->arg;
    const char *type =
        arg && !strcmp(arg, QMP_ANY)                               ? "v"
        : fa->f->type == FIELD_LIST                                ? "[s]"
        : fa->f->type == FIELD_FLAG                                ? "b"
        : fa->f->type == FIELD_NUMBER || fa->f->type == FIELD_SIZE ? "i"
                                                                   : "s";
    text_put(&a->sig, "%s%s%s:%s", a->sig.n > 1 ? "," : "", fa->name,
             needed ? "" : "?", type);
    return 0;
}

static void schema_command(struct schema *s, const struct qmp_command *c)
{
    struct schema_args a = {.need = c->need};
    const char *gives = c->gives ? c->gives : "{}";
    char in[16], back[16];
    struct qmp_told told;
    text_put(&a.sig, "{");
    fields_each(c->fields, &told, OPTION, schema_arg, &a);
    text_put(&a.sig, "}");
    const char *sig = a.sig.p;
    schema_type(s, &sig, in);
    schema_type(s, &gives, back);
    schema_begin(s, c->name, "command");
    text_put(s->out, ", \"arg-type\": \"%s\", \"ret-type\": \"%s\"}", in, back);
    text_free(&a.sig);
}

static void schema_event(struct schema *s, const struct qmp_event *e)
{
    const char *sig = e->data ? e->data : "{}";
    char type[16];
    schema_type(s, &sig, type);
    schema_begin(s, e->name, "event");
    text_put(s->out, ", \"arg-type\": \"%s\"}", type);
}

void schema_put(struct text *out)
{
    struct schema s = {.out = out};
    const struct qmp_command *c;
    text_put(out, "[");
    for (size_t i = 0; i < ARRAY_LEN(builtin); i++) {
        schema_begin(&s, builtin[i][0], "builtin");
        text_put(out, ", \"json-type\": \"%s\"}", builtin[i][1]);
    }
    for (unsigned i = 0; (c = qmp_command(i)); i++)
        schema_command(&s, c);
    for (unsigned i = 0; i < QMP_EVENTS; i++)
        schema_event(&s, &qmp_events[i]);
    text_put(out, "]");
}
