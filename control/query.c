/* SPDX-License-Identifier: MIT */
/* QMP's query-… commands: what the machine is, in the words of QEMU's engines.
 *
 * A row's type (schema.c) says of what form its answer is; the unit tests hold
 * each answer against it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "block/block.h"
#include "control/models.h"
#include "control/qmp.h"
#include "host/chardev.h"
#include "net/net.h"

#define PERIPHERAL "/machine/peripheral/"

#define RUN(name)                                                              \
    static int name(struct monitor *mo, const struct qmp_told *t,              \
                    struct text *out)

static const char *query_bool(bool b)
{
    return b ? "true" : "false";
}

static void query_comma(struct text *out, bool *first)
{
    if (!*first)
        text_add(out, ", ", 2);
    *first = false;
}

/* ------------------------------------------------------------------ machine */

RUN(query_version)
{
    (void)mo, (void)t;
    text_put(out, QMP_VERSION);
    return 0;
}

const char *query_status_word(const struct machine *m)
{
    if (m->over)
        return m->why == STOP_PANIC ? "guest-panicked" : "shutdown";
    if (!m->paused)
        return "running";
    return m->started ? "paused" : "prelaunch";
}

RUN(query_status)
{
    const struct machine *m = monitors.ctl.m;
    (void)mo, (void)t;
    text_put(out,
             "{\"running\": %s, \"singlestep\": false, \"status\": \"%s\"}",
             query_bool(!m->paused), query_status_word(m));
    return 0;
}

RUN(query_name)
{
    const char *name = monitors.ctl.m->name;
    (void)mo, (void)t;
    text_put(out, "{");
    if (name) {
        text_put(out, "\"name\": ");
        text_quote(out, name);
    }
    text_put(out, "}");
    return 0;
}

RUN(query_uuid)
{
    const uint8_t *u = monitors.ctl.config->boot.who.uuid;
    (void)mo, (void)t;
    text_put(out, "{\"UUID\": \"");
    for (int i = 0; i < 16; i++)
        text_put(out, "%s%02x",
                 i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
    text_put(out, "\"}");
    return 0;
}

RUN(query_kvm)
{
    (void)mo, (void)t;
    text_put(out, "{\"enabled\": true, \"present\": true}");
    return 0;
}

RUN(query_target)
{
    (void)mo, (void)t;
    text_put(out, "{\"arch\": \"x86_64\"}");
    return 0;
}

RUN(query_machines)
{
    /* Not q35, which libvirt builds of PCI Express ports that are not here. */
    static const char *const names[] = {"pc", "none"};
    (void)mo, (void)t;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        text_put(out,
                 "%s{\"name\": \"%s\"%s, \"cpu-max\": %d, "
                 "\"hotpluggable-cpus\": false, \"numa-mem-supported\": false, "
                 "\"deprecated\": false, "
                 "\"default-cpu-type\": \"host-x86_64-cpu\", "
                 "\"default-ram-id\": \"pc.ram\", \"acpi\": true}",
                 i ? ", " : "[", names[i], i ? "" : ", \"is-default\": true",
                 32);
    text_put(out, "]");
    return 0;
}

RUN(query_cpu_definitions)
{
    static const char *const names[] = {"host", "max"};
    (void)mo, (void)t;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        text_put(out,
                 "%s{\"name\": \"%s\", \"typename\": \"%s-x86_64-cpu\", "
                 "\"static\": false, \"migration-safe\": false, "
                 "\"deprecated\": false, \"unavailable-features\": []}",
                 i ? ", " : "[", names[i], names[i]);
    text_put(out, "]");
    return 0;
}

/* The thread's number is the kernel's, for who pins it. `key`: its name. */
static void query_put_cpus(struct text *out, const char *index, const char *key,
                           const char *more)
{
    const struct machine *m = monitors.ctl.m;
    text_put(out, "[");
    for (unsigned i = 0; i < m->ncpus; i++)
        text_put(out,
                 "%s{\"%s\": %u, \"qom-path\": "
                 "\"" QMP_CPU "\", \"%s\": %d%s}",
                 i ? ", " : "", index, i, i, key,
                 m->ops->cpu_thread ? m->ops->cpu_thread(m, i) : 0, more);
    text_put(out, "]");
}

RUN(query_cpus_fast)
{
    (void)mo, (void)t;
    query_put_cpus(out, "cpu-index", "thread-id", ", \"target\": \"x86_64\"");
    return 0;
}

RUN(query_cpus)
{
    (void)mo, (void)t;
    query_put_cpus(out, "CPU", "thread_id", "");
    return 0;
}

/* ------------------------------------------------------------------ balloon */

struct query_level {
    struct tally t;
    uint64_t val;
};

static void query_take(struct tally *t, const struct count *c)
{
    struct query_level *l = (struct query_level *)t;
    if (!strcmp(c->name, "actual"))
        l->val = c->val;
}

bool query_balloon_actual(const struct machine *m, uint64_t *actual)
{
    struct query_level l = {.t.take = query_take};
    struct device *d = m->devices;
    while (d && (!d->cls || !verb_find(d->cls->verbs, "balloon")))
        d = d->next;
    if (!d)
        return false;
    device_stats(d, &l.t);
    *actual = 0;
    for (int i = 0; i < m->ram.n; i++)
        *actual += m->ram.region[i].size;
    *actual -= l.val;
    return true;
}

RUN(query_balloon)
{
    uint64_t actual;
    (void)mo, (void)t;
    if (!query_balloon_actual(monitors.ctl.m, &actual))
        return fail(-ENODEV, "No balloon device has been activated");
    text_put(out, "{\"actual\": %llu}", (unsigned long long)actual);
    return 0;
}

/* ------------------------------------------------------------------- disks */

/* The disk that uses it, or NULL. */
static const struct device *query_disk_of(const struct blockdev *b)
{
    const struct device *d = monitors.ctl.m->devices;
    while (d && (!d->cls || !fields_find(d->cls->fields, "drive") ||
                 blockdev_find(opts_str(&d->opts, "drive", "")) != b))
        d = d->next;
    return d;
}

static const char *query_file(const struct blockdev *b)
{
    const char *file = opts_str(&b->opts, "filename", NULL);
    return file ? file : opts_str(&b->opts, "file", "");
}

static void query_put_key(struct text *out, const char *key, const char *val)
{
    text_put(out, "\"%s\": ", key);
    text_quote(out, val);
}

static void query_put_more(struct text *out, const char *key, const char *val)
{
    text_add(out, ", ", 2);
    query_put_key(out, key, val);
}

static void query_put_node(struct text *out, const struct blockdev *b)
{
    text_put(out, "{");
    query_put_key(out, "node-name", b->id);
    query_put_more(out, "drv", b->cls->name);
    text_put(out, ", \"ro\": %s, ", query_bool(b->readonly));
    query_put_key(out, "file", query_file(b));
    text_put(out, ", \"image\": {");
    query_put_key(out, "filename", query_file(b));
    query_put_more(out, "format", b->cls->name);
    text_put(out, ", \"virtual-size\": %llu}}", (unsigned long long)b->size);
}

/* With -blockdev only the device has a name; with -drive the disk has one, too.
 * What does the work in a virtio device is an object of its own in QEMU. */
static void query_put_disk(struct text *out, const struct blockdev *b)
{
    const struct device *d = query_disk_of(b);
    char path[200] = "";
    if (d)
        snprintf(path, sizeof(path), PERIPHERAL "%s/virtio-backend", d->id);
    query_put_key(out, "device", b->node ? "" : b->id);
    query_put_more(out, "qdev", path);
}

RUN(query_block)
{
    bool first = true;
    (void)mo, (void)t;
    text_put(out, "[");
    for (const struct blockdev *b = blockdevs; b; b = b->next) {
        query_comma(out, &first);
        text_put(out, "{");
        query_put_disk(out, b);
        text_put(out, ", \"type\": \"unknown\", \"removable\": false, "
                      "\"locked\": false, \"io-status\": \"ok\", "
                      "\"inserted\": ");
        query_put_node(out, b);
        text_put(out, "}");
    }
    text_put(out, "]");
    return 0;
}

RUN(query_nodes)
{
    bool first = true;
    (void)mo, (void)t;
    text_put(out, "[");
    for (const struct blockdev *b = blockdevs; b; b = b->next) {
        query_comma(out, &first);
        query_put_node(out, b);
    }
    text_put(out, "]");
    return 0;
}

RUN(query_blockstats)
{
    bool first = true;
    (void)mo, (void)t;
    text_put(out, "[");
    for (const struct blockdev *b = blockdevs; b; b = b->next) {
        query_comma(out, &first);
        text_put(out, "{");
        query_put_disk(out, b);
        query_put_more(out, "node-name", b->id);
        text_put(out,
                 ", \"stats\": {\"rd_bytes\": %llu, \"wr_bytes\": %llu, "
                 "\"rd_operations\": %llu, \"wr_operations\": %llu, "
                 "\"flush_operations\": %llu}}",
                 (unsigned long long)b->read_bytes,
                 (unsigned long long)b->written_bytes,
                 (unsigned long long)b->reads, (unsigned long long)b->writes,
                 (unsigned long long)b->flushes);
    }
    text_put(out, "]");
    return 0;
}

/* --------------------------------------------------------- chardevs, models */

RUN(query_chardev)
{
    char what[256];
    bool first = true;
    (void)mo, (void)t;
    text_put(out, "[");
    for (struct chardev *c = NULL; (c = chardev_next(c));) {
        query_comma(out, &first);
        chardev_describe(c, what, sizeof(what));
        text_put(out, "{");
        query_put_key(out, "label", c->id ? c->id : c->label);
        query_put_more(out, "filename", what);
        text_put(out, ", \"frontend-open\": %s}", query_bool(c->taken));
    }
    text_put(out, "]");
    return 0;
}

/* A NIC's, or all NICs'. */
RUN(query_rx_filter)
{
    bool first = true;
    int err = 0;
    (void)mo;
    text_put(out, "[");
    for (struct device *d = monitors.ctl.m->devices; d && !err; d = d->next) {
        const struct verb *v =
            d->cls ? verb_find(d->cls->verbs, "rx-filter") : NULL;
        if (!v || (t->name && strcmp(t->name, d->id)))
            continue;
        query_comma(out, &first);
        err = v->run(d, NULL, out);
    }
    text_put(out, "]");
    return t->name && first ? fail(-EINVAL, "there is no NIC %s", t->name)
                            : err;
}

void query_path(struct text *out, const struct device *d)
{
    char path[160];
    snprintf(path, sizeof(path), PERIPHERAL "%s", d->id);
    text_quote(out, path);
}

/* Each of a list of words. */
static void query_put_types(struct text *out, bool *first, const char *names)
{
    for (size_t n; *names; names += n + (names[n] == ' ')) {
        n = strcspn(names, " ");
        query_comma(out, first);
        text_put(out, "{\"name\": \"%.*s\", \"parent\": \"device\"}", (int)n,
                 names);
    }
}

/* What -device, -object and -cpu can name. */
RUN(query_types)
{
    static const char others[] =
        "memory-backend-ram memory-backend-file memory-backend-memfd "
        "filter-dump secret isa-serial pvpanic vhost-vsock-device "
        "host-x86_64-cpu max-x86_64-cpu";
    bool first = true;
    (void)mo, (void)t;
    text_put(out, "[");
    for (int i = 0; monitors.known->devices[i]; i++) {
        const struct device_class *cls = monitors.known->devices[i];
        query_put_types(out, &first, cls->name);
        if (cls->object)
            query_put_types(out, &first, cls->object->types);
        for (const struct device_alias *a = cls->aliases; a && a->name; a++)
            query_put_types(out, &first, a->name);
    }
    query_put_types(out, &first, others);
    text_put(out, "]");
    return 0;
}

static int query_put_property(void *ctx, const struct field_at *fa)
{
    static const char *const types[] = {[FIELD_NUMBER] = "uint64",
                                        [FIELD_SIZE] = "size",
                                        [FIELD_FLAG] = "bool",
                                        [FIELD_BIT] = "bool"};
    struct text *out = ctx;
    const char *type =
        fa->f->type < ARRAY_LEN(types) ? types[fa->f->type] : "str";
    if (fa->f->type == FIELD_QUIET)
        return 0;
    text_put(out, "%s{\"name\": \"%s\", \"type\": \"%s\"}",
             out->n > 1 ? ", " : "", fa->name, type);
    return 0;
}

RUN(query_properties)
{
    struct opts o;
    (void)mo;
    opts_init(&o, "");
    int err = opts_add(&o, "driver", t->type);
    if (!err)
        err = models_adjust(monitors.known->devices, &o);
    const struct device_class *const *c = monitors.known->devices;
    while (*c && strcmp((*c)->name, opts_str(&o, "driver", "")) != 0)
        c++;
    opts_free(&o);
    if (err || !*c)
        return fail(-ENOENT, "Device '%s' not found", t->type);
    text_put(out, "[");
    fields_each((*c)->fields, &o, OPTION, query_put_property, out);
    text_put(out, "]");
    return 0;
}

RUN(query_migrate)
{
    (void)mo, (void)t;
    text_put(out, "[{\"capability\": \"events\", \"state\": true}]");
    return 0;
}

/* Nothing of these is there to be told of. */
RUN(query_nothing)
{
    (void)mo, (void)t;
    text_put(out, "[]");
    return 0;
}

RUN(query_commands_run)
{
    const struct qmp_command *c;
    (void)mo, (void)t;
    for (unsigned i = 0; (c = qmp_command(i)); i++)
        text_put(out, "%s{\"name\": \"%s\"}", i ? ", " : "[", c->name);
    text_put(out, "]");
    return 0;
}

RUN(query_schema)
{
    (void)mo, (void)t;
    schema_put(out);
    return 0;
}

static const struct field path_fields[] = {
    QMP_KEY(TEXT, "path", path, .arg = "PATH"), QMP_END};
static const struct field name_fields[] = {
    QMP_KEY(TEXT, "name", name, .arg = "ID"), QMP_END};
static const struct field property_fields[] = {
    QMP_KEY(TEXT, "path", path, .arg = "PATH"),
    QMP_KEY(TEXT, "property", name, .arg = "NAME"), QMP_END};
static const struct field value_fields[] = {
    FIELDS_OF(property_fields, "", struct qmp_told, id),
    QMP_KEY(TEXT, "value", line, .arg = QMP_ANY), QMP_END};
static const struct field typename_fields[] = {
    QMP_KEY(TEXT, "typename", type, .arg = "TYPE"), QMP_END};
static const struct field list_fields[] = {
    QMP_KEY(TEXT, "implements", name, .arg = "TYPE"),
    QMP_KEY(FLAG, "abstract", flag), QMP_END};
static const struct field option_fields[] = {
    QMP_KEY(TEXT, "option", name, .arg = "OPTION"), QMP_END};
/* Each disk is one node here, however it is asked for. */
static const struct field flat_fields[] = {QMP_KEY(FLAG, "flat", flag),
                                           QMP_END};
static const struct field nodes_fields[] = {QMP_KEY(FLAG, "query-nodes", flag),
                                            QMP_END};

#define NODE                                                                   \
    "{node-name:s,drv:s,ro:b,file:s,image:{filename:s,format:s,"               \
    "virtual-size:i}}"
#define NAMED "[{name:s,type:s}]"

const struct qmp_command query_commands[] = {
    {"query-version", NULL, NULL, "{qemu:{micro:i,minor:i,major:i},package:s}",
     query_version},
    {"query-commands", NULL, NULL, "[{name:s}]", query_commands_run},
    {"query-status", NULL, NULL, "{running:b,singlestep:b,status:s}",
     query_status},
    {"query-name", NULL, NULL, "{name?:s}", query_name},
    {"query-uuid", NULL, NULL, "{UUID:s}", query_uuid},
    {"query-kvm", NULL, NULL, "{enabled:b,present:b}", query_kvm},
    {"query-target", NULL, NULL, "{arch:s}", query_target},
    {"query-machines", NULL, NULL,
     "[{name:s,is-default?:b,cpu-max:i,hotpluggable-cpus:b,"
     "numa-mem-supported:b,deprecated:b,default-cpu-type:s,default-ram-id:s,"
     "acpi:b}]",
     query_machines},
    {"query-cpu-definitions", NULL, NULL,
     "[{name:s,typename:s,static:b,migration-safe:b,deprecated:b,"
     "unavailable-features:[s]}]",
     query_cpu_definitions},
    {"query-cpus-fast", NULL, NULL,
     "[{cpu-index:i,qom-path:s,thread-id:i,target:s}]", query_cpus_fast},
    {"query-cpus", NULL, NULL, "[{CPU:i,qom-path:s,thread_id:i}]", query_cpus},
    {"query-balloon", NULL, NULL, "{actual:i}", query_balloon},
    {"query-block", NULL, NULL,
     "[{device:s,qdev:s,type:s,removable:b,locked:b,io-status:s,"
     "inserted:" NODE "}]",
     query_block},
    {"query-named-block-nodes", flat_fields, NULL, "[" NODE "]", query_nodes},
    {"query-blockstats", nodes_fields, NULL,
     "[{device:s,qdev:s,node-name:s,stats:{rd_bytes:i,wr_bytes:i,"
     "rd_operations:i,wr_operations:i,flush_operations:i}}]",
     query_blockstats},
    {"query-jobs", NULL, NULL, "[{id:s}]", query_nothing},
    {"query-block-jobs", NULL, NULL, "[{device:s}]", query_nothing},
    {"query-chardev", NULL, NULL, "[{label:s,filename:s,frontend-open:b}]",
     query_chardev},
    {"query-rx-filter", name_fields, NULL,
     "[{name:s,promiscuous:b,multicast:s,unicast:s,vlan:s,broadcast-allowed:b,"
     "multicast-overflow:b,unicast-overflow:b,main-mac:s,vlan-table:[i],"
     "unicast-table:[s],multicast-table:[s]}]",
     query_rx_filter},
    {"query-migrate-capabilities", NULL, NULL, "[{capability:s,state:b}]",
     query_migrate},
    {"query-command-line-options", option_fields, NULL,
     "[{option:s,parameters:[" NAMED "]}]", query_nothing},
    {"query-qmp-schema", NULL, NULL, "[v]", query_schema},
    {"qom-list", path_fields, "path", NAMED, qom_list},
    {"qom-get", property_fields, "path property", "v", qom_get},
    {"qom-set", value_fields, "path property value", NULL, qom_set},
    {"qom-list-types", list_fields, NULL, "[{name:s,parent:s}]", query_types},
    {"qom-list-properties", typename_fields, "typename", NAMED, query_nothing},
    {"device-list-properties", typename_fields, "typename", NAMED,
     query_properties},
    {.name = NULL},
};
