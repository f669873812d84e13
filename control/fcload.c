/* SPDX-License-Identifier: MIT */
/* Firecracker's PUT /snapshot/load.
 *
 * Theory of operation. The request says nothing of devices: a machine that was
 * made by this API keeps in its state file what it was made of, in the words
 * of the API, and goes on with that. But a state file may be anybody's, and its
 * writer was confined: it does not say what this process opens. A path or an
 * interface in it is opened where the request names another in its place, or
 * where the command line of this start allows it (--allow-path, --allow-tap);
 * else it is refused by its name. All else goes the way of a PUT. */
#include "control/fcload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "control/restore.h"
#include "host/helper.h"

#define PART "firecracker" /* of the state file */
#define CONFIG_MAX (1 << 20)

enum { MEM_FILE, MEM_UFFD, MEM_NOT_SAID };
static const char *const backends[] = {"File", "Uffd", NULL};
enum { HUGE_SNAPSHOT };
static const char *const huge_words[] = {"Snapshot", "None", "Transparent",
                                         "2M", NULL};

/* Whose paths can be replaced, by a list of the request's. */
static struct other {
    const char *key, *path; /* of the list; of the parts */
    const char *id, *what;  /* what names one; and what becomes another */
    const char *unknown;
    struct text list;
    unsigned n, found;
} others[] = {
    {"network_overrides",
     "/network-interfaces/",
     "iface_id",
     "host_dev_name",
     "Unknown Network Device.",
     {0},
     0,
     0},
    {"drive_overrides",
     "/drives/",
     "drive_id",
     "path_on_host",
     "Unknown drive.",
     {0},
     0,
     0},
};
#define NO_LISTS "{\"network_overrides\":null,\"drive_overrides\":null}"

static struct {
    struct opts o;
    const char *state, *mem, *mem_path, *vsock;
    uint8_t backend, resume, track, clock, huge;
    struct text socket; /* what the vsock's becomes, in JSON */
    bool socket_found;
} told;

#define LOAD(kind, key, member, ...)                                           \
    FIELD(kind, key, __typeof__(told), member, __VA_ARGS__)
static const struct field backend_fields[] = {
    LOAD(TEXT, "backend_path", mem),
    LOAD(WORD, "backend_type", backend, .words = backends, .def = MEM_NOT_SAID),
    {.name = ""},
};
static const struct field vsock_fields[] = {
    LOAD(TEXT, "uds_path", vsock),
    {.name = ""},
};
#define AT_ZERO(table, key)                                                    \
    {                                                                          \
        .name = key, .type = FIELD_PART, .use = 0xff, .part = table            \
    }
static const struct field load_fields[] = {
    LOAD(TEXT, "snapshot_path", state),
    LOAD(TEXT, "mem_file_path", mem_path),
    AT_ZERO(backend_fields, "mem_backend"),
    AT_ZERO(vsock_fields, "vsock_override"),
    LOAD(FLAG, "resume_vm", resume),
    LOAD(FLAG, "track_dirty_pages", track),
    LOAD(FLAG, "diff_snapshots", track),
    LOAD(FLAG, "clock_realtime", clock),
    LOAD(WORD, "huge_pages", huge, .words = huge_words),
    {.name = ""},
};

/* ------------------------------------------------------------- the request */

static int fcload_missing(const char *field)
{
    return fail(-EINVAL, "snapshot/load: missing field `%s`", field);
}

static int fcload_check_memory(void)
{
    bool backend = told.mem || told.backend != MEM_NOT_SAID;
    if (backend && told.mem_path)
        return fail(-EINVAL, "too many fields: either `mem_backend` or "
                             "`mem_file_path` exclusively is required");
    if (!backend && !told.mem_path)
        return fail(-EINVAL, "missing field: either `mem_backend` or "
                             "`mem_file_path` is required");
    if (backend && !told.mem)
        return fcload_missing("backend_path");
    return backend && told.backend == MEM_NOT_SAID
               ? fcload_missing("backend_type")
               : 0;
}

static int fcload_check_other(void *other, const char *key, const char *val,
                              size_t len)
{
    struct other *o = other;
    const char *const keys[] = {o->id, o->what};
    size_t n;
    (void)key;
    (void)len;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *text = json_member_of(val, keys[i], &n);
        if (!text || *text != '"')
            return fcload_missing(keys[i]);
    }
    o->n++;
    return 0;
}

static int fcload_keep_others(const char *body)
{
    int err = 0;
    for (size_t i = 0; i < ARRAY_LEN(others) && !err; i++) {
        struct other *o = &others[i];
        size_t n = 0;
        const char *list = json_member_of(body, o->key, &n);
        if (!list || *list == 'n')
            continue;
        if (*list != '[')
            return fail(-EINVAL,
                        "snapshot/load: %s: a list, [...], belongs "
                        "here",
                        o->key);
        text_add(&o->list, list, n);
        err = o->list.cut ? fail(-ENOMEM, "out of memory")
                          : json_each(o->list.p, fcload_check_other, o);
    }
    return err;
}

int fcload_read(const char *body)
{
    struct text plain = {0};
    size_t n;
    fcload_forget();
    if (*body != '{')
        return fail(-EINVAL, "snapshot/load: an object, {...}, belongs here");
    json_merge(body, NO_LISTS, &plain);
    opts_init(&told.o, "snapshot/load");
    int err = plain.cut ? fail(-ENOMEM, "out of memory")
                        : json_request(&told.o, plain.p, plain.n);
    text_free(&plain);
    if (!err) /* a row's name is shorter */
        err = opts_move(&told.o, &told.o, "enable_diff_snapshots",
                        "diff_snapshots");
    if (!err)
        err = fields_read(load_fields, &told, &told.o);
    if (!err && !told.state)
        err = fcload_missing("snapshot_path");
    if (!err)
        err = fcload_check_memory();
    if (err)
        return err;
    const char *vsock = json_member_of(body, "vsock_override", &n);
    const char *path = vsock ? json_member_of(vsock, "uds_path", &n) : NULL;
    if (vsock && *vsock != 'n' && !told.vsock)
        return fcload_missing("uds_path");
    if (path)
        text_add(&told.socket, path, n);
    return fcload_keep_others(body);
}

/* ---------------------------------------------------------- the state file */

int fcload_open(struct text *config)
{
    struct part part;
    const char *mem = told.mem ? told.mem : told.mem_path;
    bool uffd = told.backend == MEM_UFFD;
    int err = restore_from(told.state, uffd ? NULL : mem, uffd ? mem : NULL,
                           !told.resume, told.clock == ON);
    if (!err && !restore_part(PART, &part))
        err = fail(-EINVAL,
                   "%s: is of a machine that this API did not make; vmm "
                   "-restore, with its options",
                   told.state);
    if (!err && part.len > CONFIG_MAX)
        err = fail(-EINVAL, "%s: its configuration is too long", told.state);
    return err ? err
               : json_compact(told.state, (const char *)part.p, part.len,
                              config);
}

static struct other *fcload_other(const struct fcpart *p)
{
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (!strcmp(p->path, others[i].path))
            return &others[i];
    return NULL;
}

/* The one of a list that has this id, which is in JSON as well. */
struct wanted {
    const struct other *o;
    const char *id;
    size_t len;
    const char *val; /* what it becomes */
    size_t val_len;
};

static int fcload_is_wanted(void *wanted, const char *key, const char *val,
                            size_t len)
{
    struct wanted *w = wanted;
    size_t n;
    (void)key;
    (void)len;
    const char *id = json_member_of(val, w->o->id, &n);
    if (!id || n != w->len || memcmp(id, w->id, n) != 0)
        return 0;
    w->val = json_member_of(val, w->o->what, &w->val_len);
    return 1;
}

static bool fcload_find(struct wanted *w)
{
    return w->o && w->o->list.p &&
           json_each(w->o->list.p, fcload_is_wanted, w) == 1;
}

/* {"KEY": VALUE} put over it. */
static void fcload_patch(const char *json, const char *key, const char *val,
                         size_t len, struct text *out)
{
    struct text patch = {0};
    text_put(&patch, "{\"%s\":", key);
    text_add(&patch, val, len);
    text_put(&patch, "}");
    json_merge(json, patch.cut ? "{}" : patch.p, out);
    out->cut |= patch.cut;
    text_free(&patch);
}

void fcload_item(const struct fcpart *p, const char *json, size_t len,
                 struct text *out)
{
    char huge[16];
    struct text one = {0};
    struct other *o = fcload_other(p);
    struct wanted w = {.o = o};
    text_add(&one, json, len);
    const char *text = one.cut ? "{}" : one.p;
    out->cut |= one.cut;
    w.id = o ? json_member_of(text, o->id, &w.len) : NULL;
    if (w.id && fcload_find(&w)) {
        o->found++;
        fcload_patch(text, o->what, w.val, w.val_len, out);
    } else if (told.socket.n && !strcmp(p->path, "/vsock")) {
        told.socket_found = true;
        fcload_patch(text, "uds_path", told.socket.p, told.socket.n, out);
    } else if (told.huge != HUGE_SNAPSHOT &&
               !strcmp(p->path, "/machine-config")) {
        snprintf(huge, sizeof(huge), "\"%s\"", huge_words[told.huge]);
        fcload_patch(text, "huge_pages", huge, strlen(huge), out);
    } else {
        text_add(out, text, strlen(text));
    }
    text_free(&one);
}

/* A file that is there, or one that will be made. */
static bool fcload_may_open(const char *path, bool made)
{
    char dir[1024];
    const char *slash = strrchr(path, '/');
    if (!made)
        return helper_allows(path);
    if (slash && (size_t)(slash - path) >= sizeof(dir))
        return false;
    snprintf(dir, sizeof(dir), "%.*s",
             !slash          ? 1
             : slash == path ? 1
                             : (int)(slash - path),
             slash ? path : ".");
    return helper_allows(dir);
}

int fcload_allows(const struct item *it)
{
    char id[84];
    const struct other *o = fcload_other(it->part);
    struct wanted w = {.o = o, .id = id};
    bool vsock = !strcmp(it->part->path, "/vsock");
    const char *key = vsock ? "uds_path" : o ? o->what : NULL;
    const char *val = key ? opts_str(&it->opts, key, "") : "";
    w.len = (size_t)snprintf(id, sizeof(id), "\"%s\"", it->id);
    if (!*val || fcload_find(&w) || (vsock && told.socket.n))
        return 0;
    bool tap = o == &others[0] && !strchr(val, '/');
    if (tap ? helper_allows_tap(val) : fcload_may_open(val, vsock))
        return 0;
    return fail(-EACCES,
                "%s: %s: %s: only the state file names it; %s, or start with "
                "%s",
                it->opts.what, key, val, o ? o->key : "vsock_override",
                tap ? "--allow-tap NAME" : "--allow-path DIR");
}

int fcload_check(void)
{
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (others[i].n != others[i].found)
            return fail(-ENOENT, "%s", others[i].unknown);
    return told.socket.n && !told.socket_found
               ? fail(-ENOENT, "Unknown Vsock Device.")
               : 0;
}

void fcload_forget(void)
{
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        text_free(&others[i].list);
        others[i].n = others[i].found = 0;
    }
    opts_free(&told.o);
    text_free(&told.socket);
    memset(&told, 0, sizeof(told));
}

/* ------------------------------------------------------------------ saving */

bool fcload_keeps(const struct fcpart *p)
{
    return p->key && p->plan && strcmp(p->path, "/boot-source") != 0;
}

void fcload_put(struct parts *out, const struct text *config)
{
    if (config->cut)
        out->lost = true;
    else
        parts_put(out, PART, config->p, config->n);
}
