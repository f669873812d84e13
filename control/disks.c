/* SPDX-License-Identifier: MIT */
/* -drive, -blockdev and -hda: blockdevs, and disks on them.
 *
 * Theory of operation. -blockdev names a tree of nodes: a format on a protocol.
 * A node of the format raw, which changes nothing, and what is below it become
 * one blockdev that answers to both names; what either of them is told holds.
 * Of another format it is the same, but the blockdev is of the class that has
 * such images. A -drive is such a tree in one, and, with another if= than
 * none, the disk on it. */
#include "control/disks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/models.h"
#include "host/fdset.h"

#define DISK_MODEL "virtio-blk-pci"

/* ----------------------------------------------------------------- classes */

static const struct blockdev_class *
disks_class(const struct plan_classes *c, const char *what, const char *name)
{
    char list[128] = "raw";
    if (!strcmp(name, "host_device")) /* the same for a device */
        name = "file";
    for (int i = 0; c->blockdevs[i]; i++) {
        if (c->blockdevs[i]->formats)
            continue;
        if (!strcmp(c->blockdevs[i]->name, name))
            return c->blockdevs[i];
        size_t n = strlen(list);
        snprintf(list + n, sizeof(list) - n, " %s", c->blockdevs[i]->name);
    }
    fail(-EINVAL, "%s: %s: no such driver; there are %s", what, name, list);
    return NULL;
}

/* Whose images have this format: of those here, or NULL. */
static const struct blockdev_class *disks_image(const struct plan_classes *c,
                                                const char *format)
{
    for (int i = 0; c->blockdevs[i]; i++)
        if (c->blockdevs[i]->formats &&
            word_among(format, c->blockdevs[i]->formats))
            return c->blockdevs[i];
    return NULL;
}

/* Such an image lies in a file. */
static int disks_check_below(const char *what,
                             const struct blockdev_class *below)
{
    if (!below)
        return -EINVAL;
    return strcmp(below->name, "file")
               ? fail(-EINVAL, "%s: on %s: an image lies in a file", what,
                      below->name)
               : 0;
}

static int disks_help(const struct plan_classes *c, const char *name)
{
    for (int i = 0; c->blockdevs[i]; i++) {
        if (*name && strcmp(name, c->blockdevs[i]->name))
            continue;
        printf("-blockdev %s%s: %s\n", c->blockdevs[i]->name,
               *name ? "" : ",node-name=ID", c->blockdevs[i]->help);
        if (*name)
            fields_help(c->blockdevs[i]->fields);
    }
    if (!*name)
        puts("-blockdev raw,node-name=ID,file=ID: the same, by another name\n"
             "-blockdev TYPE,help lists the keys of one");
    return 1;
}

/* --------------------------------------------------------------- -blockdev */

static int disks_take_node(const struct plan_classes *c, struct opts *o,
                           struct asked_list *backs)
{
    char what[sizeof(o->what)];
    const char *driver = opts_str(o, "driver", NULL),
               *name = opts_str(o, "node-name", "");
    if (!driver)
        return fail(-EINVAL, "-blockdev: no driver; -blockdev help lists them");
    if (word_among(driver, "help ?"))
        return disks_help(c, "");
    if (opts_str(o, "help", NULL))
        return disks_help(c, driver);
    snprintf(what, sizeof(what), "-blockdev %s,node-name=%s", driver, name);
    memcpy(o->what, what, sizeof(what));
    struct asked *a = asked_add(backs);
    if (!a)
        return -EINVAL;
    a->image = disks_image(c, driver);
    a->raw = a->image || !strcmp(driver, "raw");
    if (!a->raw && !(a->block = disks_class(c, what, driver)))
        return -EINVAL;
    if (a->image)
        opts_move(o, o, "driver", "format");
    opts_move(NULL, o, "driver", NULL);
    a->o = opts_taken(o);
    return opts_add(&a->o, "id", opts_str(&a->o, "node-name", ""));
}

/* What a raw node is told; the rest is its file's. */
struct raw {
    const char *id, *file, *format;
    const char *backing; /* an image's */
    uint8_t read_only, direct, no_flush, discard;
};
static const char *const raw_discard[] = {"ignore", "unmap", NULL};
static const struct opts_quiet raw_quiet[] = {
    {"auto-read-only", NULL, NULL},
    {"detect-zeroes", "off", "zeroes are written as they come"},
    {0}};
static const struct field raw_fields[] = {
    FIELD(TEXT, "id", struct raw, id, .arg = "ID"),
    FIELD(TEXT, "node-name", struct raw, id, .arg = "ID"),
    FIELD(TEXT, "file", struct raw, file, .arg = "ID"),
    FIELD(TEXT, "format", struct raw, format, .arg = "FORMAT"),
    FIELD(TEXT, "backing", struct raw, backing, .arg = "on|off"),
    FIELD(FLAG, "read-only", struct raw, read_only),
    FIELD(FLAG, "cache.direct", struct raw, direct),
    FIELD(FLAG, "cache.no-flush", struct raw, no_flush),
    FIELD(WORD, "discard", struct raw, discard, .words = raw_discard),
    FIELDS_QUIET(raw_quiet),
    {.help = NULL},
};

static struct asked *disks_find(const struct asked_list *backs, const char *id)
{
    for (int i = 0; i < backs->n; i++)
        if (!strcmp(opts_str(&backs->at[i]->o, "id", ""), id))
            return backs->at[i];
    return NULL;
}

/* file.KEY of `from` becomes KEY of `to`; the others stay. */
static int disks_below(struct opts *to, struct opts *from)
{
    struct opts own;
    int err = 0;
    opts_init(&own, from->what);
    for (int i = 0; i < from->n && !err; i++) {
        const char *key = from->kv[i].key, *val = from->kv[i].val;
        err = strncmp(key, "file.", 5) ? opts_add(&own, key, val)
                                       : opts_add(to, key + 5, val);
    }
    opts_free(from);
    *from = own;
    return err;
}

/* What is below a raw node: described inside it, or by its name. */
static int disks_take_below(const struct plan_classes *c,
                            struct asked_list *backs, struct asked *raw,
                            const char *name, struct opts *below)
{
    int err;
    if (!name) {
        opts_init(below, raw->o.what);
        err = disks_below(below, &raw->o);
        raw->block =
            disks_class(c, raw->o.what, opts_str(below, "driver", "file"));
        opts_move(NULL, below, "driver", NULL);
        return err          ? err
               : raw->block ? opts_default(below, "discard", "unmap")
                            : -EINVAL;
    }
    struct asked *file = disks_find(backs, name);
    if (!file)
        return fail(-EINVAL, "%s: file=%s: no such node, or another's already",
                    raw->o.what, name);
    if (file->raw)
        return fail(-EINVAL, "%s: file=%s: is a raw node itself", raw->o.what,
                    name);
    *below = opts_taken(&file->o);
    raw->block = file->block;
    file->block = NULL; /* it has become a part of the other */
    return opts_move(NULL, below, "id", NULL);
}

/* What holds for the raw node holds for the whole. */
static int disks_put_on(struct opts *below, struct opts *own)
{
    struct raw r;
    int err = fields_read(raw_fields, &r, own);
    if (!err)
        err = opts_add(below, "id", r.id ? r.id : "");
    if (!err)
        err = opts_default(below, "node-name", r.id ? r.id : "");
    if (!err && r.read_only)
        err = opts_add(below, "read-only", "on");
    if (!err && r.direct)
        err = opts_add(below, "cache.direct", "on");
    if (!err && r.no_flush)
        err = opts_add(below, "cache.no-flush", "on");
    if (!err && !r.discard)
        err = opts_add(below, "discard", "ignore");
    if (!err && r.format)
        err = opts_add(below, "format", r.format);
    if (!err && r.backing)
        err = opts_add(below, "backing", r.backing);
    return err;
}

int disks_tie(const struct plan_classes *c, struct asked_list *backs)
{
    int err = 0;
    for (int i = 0; i < backs->n && !err; i++) {
        struct asked *a = backs->at[i];
        struct opts below = {.n = 0};
        if (!a->raw)
            continue;
        err = disks_take_below(c, backs, a, opts_str(&a->o, "file", NULL),
                               &below);
        if (!err && a->image)
            err = disks_check_below(a->o.what, a->block);
        if (a->image)
            a->block = a->image;
        if (!err)
            err = disks_put_on(&below, &a->o);
        memcpy(below.what, a->o.what, sizeof(below.what));
        opts_free(&a->o);
        a->o = below;
    }
    return err;
}

/* ------------------------------------------------------------------ -drive */

enum { IF_IDE, IF_VIRTIO, IF_NONE };
enum { CACHE_NOT_SAID = 5 };

/* What is not its blockdev's. */
struct drive {
    const char *id, *file, *format, *media;
    uint8_t bus, cache;
    uint16_t index;
};
static const char *const drive_buses[] = {"ide", "virtio", "none", NULL};
static const char *const drive_caches[] = {
    "writeback", "none", "writethrough", "directsync", "unsafe", NULL};
static const struct opts_quiet drive_quiet[] = {
    {"werror", "report", "the guest hears of errors: report"},
    {"rerror", "report", "the guest hears of errors: report"},
    {"copy-on-read", "off", "nothing lies below a raw image"},
    {"snapshot", "off", "what is written is kept"},
    {"bus", NULL, NULL},
    {"unit", NULL, NULL},
    {0}};
#define DRIVE_NO_INDEX 0xffff
static const struct field drive_fields[] = {
    FIELD(TEXT, "id", struct drive, id, .arg = "ID", .help = "its name"),
    FIELD(TEXT, "file", struct drive, file, .arg = "FILE",
          .help = "a file, or a block device"),
    FIELD(TEXT, "format", struct drive, format, .arg = "raw",
          .help = "of the file; others: as -blockdev has them"),
    FIELD(WORD, "if", struct drive, bus, .words = drive_buses,
          .help = "none: for a -device; else a virtio disk"),
    FIELD(WORD, "cache", struct drive, cache, .def = CACHE_NOT_SAID,
          .words = drive_caches, .help = "how the host's page cache is used"),
    FIELD(NUMBER, "index", struct drive, index, .def = DRIVE_NO_INDEX,
          .max = 255, .help = "its place among the others of its if="),
    FIELD(TEXT, "media", struct drive, media, .arg = "disk", .help = "disk"),
    FIELDS_QUIET(drive_quiet),
    {.help = NULL},
};

/* Other names of its blockdev's keys. */
static const char *disks_drive_key(const char *key)
{
    return !strcmp(key, "readonly")    ? "read-only"
           : !strncmp(key, "file.", 5) ? key + 5
                                       : key;
}

/* "file:" may be before a name, and nothing else that looks like it. */
static const char *disks_filename(const char *what, const char *file)
{
    size_t n = strcspn(file, ":/");
    if (!strncmp(file, "file:", 5))
        return file + 5;
    if (file[n] != ':')
        return file;
    fail(-EINVAL, "%s: file=%s: no protocol %.*s; a file of this name is ./%s",
         what, file, (int)n, file, file);
    return NULL;
}

/* An image whose format nobody named, and that begins like one of another
 * format, is not taken as raw, nor as what a guest may have written there. The
 * same holds for what takes its place later. */
static int disks_probe(const char *what, const char *path, struct opts *o)
{
    struct stat st;
    int fd = -1;
    if (!fdset_stat(path, &st) && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
        fd = fdset_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const char *format = fd < 0 ? NULL : blockdev_looks_like(fd);
    if (fd >= 0) /* else whoever opens it says so */
        close(fd);
    return format ? fail(-EINVAL,
                         "%s: %s begins like a %s image; format=raw gives the "
                         "guest these bytes, format=%s what is in it",
                         what, path, format, format)
                  : opts_add(o, BLOCKDEV_GUESSED, "on");
}

static int disks_check_drive(const struct plan_classes *c,
                             const struct drive *d, const struct opts *o)
{
    if (d->media && strcmp(d->media, "disk"))
        return fail(-EINVAL,
                    "%s: media=%s: there is no such drive; a disk with "
                    "readonly=on gives the same bytes",
                    o->what, d->media);
    if (d->format && strcmp(d->format, "raw") && !disks_image(c, d->format))
        return fail(-EINVAL, "%s: format=%s: no such format", o->what,
                    d->format);
    return 0;
}

static int disks_add_cache(struct opts *to, uint8_t cache)
{
    static const struct {
        const char *direct, *writeback, *no_flush;
    } way[] = {{"off", "on", "off"},
               {"on", "on", "off"},
               {"off", "off", "off"},
               {"on", "off", "off"},
               {"off", "on", "on"}};
    if (cache == CACHE_NOT_SAID)
        return 0;
    int err = opts_default(to, "cache.direct", way[cache].direct);
    if (!err)
        err = opts_default(to, "cache.writeback", way[cache].writeback);
    if (!err)
        err = opts_default(to, "cache.no-flush", way[cache].no_flush);
    return err;
}

/* Its place: as it says, or the first that is free. */
static int disks_place(struct asked_list *disks, const struct drive *d,
                       const char *what, int *place)
{
    int first = d->bus * 256, at = first;
    if (d->index != DRIVE_NO_INDEX)
        at += d->index;
    for (int i = 0; i < disks->n; i++) {
        if (disks->at[i]->place != at)
            continue;
        if (d->index != DRIVE_NO_INDEX)
            return fail(-EINVAL, "%s: index=%u: used twice", what, d->index);
        at++;
        i = -1;
    }
    *place = at;
    return 0;
}

/* The disk on a drive, among the others by its place. */
static int disks_add_disk(const struct plan_classes *c,
                          struct asked_list *disks, const struct drive *d,
                          const char *what, const char *id)
{
    int place = 0, err = disks_place(disks, d, what, &place);
    struct asked *a = err ? NULL : asked_add(disks);
    if (!a)
        return -EINVAL;
    a->place = place;
    opts_init(&a->o, what);
    err = opts_add(&a->o, "driver", DISK_MODEL);
    if (!err)
        err = opts_add(&a->o, "drive", id);
    if (!err && !(a->dev = plan_model(c, &a->o, "-drive: ", false)))
        err = -EINVAL;
    for (int i = disks->n - 1; i > 0 && disks->at[i - 1]->place > place; i--) {
        disks->at[i] = disks->at[i - 1];
        disks->at[i - 1] = a;
    }
    return err;
}

/* Moves its own keys to `own`; the others are its blockdev's. */
static int disks_deal_out(struct opts *o, struct opts *own, struct opts *back)
{
    int err = 0;
    for (int i = 0; !err && i < o->n; i++) {
        const char *key = o->kv[i].key;
        err = fields_find(drive_fields, key)
                  ? opts_add(own, key, o->kv[i].val)
                  : opts_add(back, disks_drive_key(key), o->kv[i].val);
    }
    return err;
}

static int disks_name(const struct asked_list *backs, struct asked *a,
                      const struct drive *d)
{
    unsigned number = 0;
    if (d->id)
        return opts_add(&a->o, "id", d->id);
    do {
        snprintf(a->id, sizeof(a->id), "%s%u", drive_buses[d->bus], number++);
    } while (disks_find(backs, a->id));
    return opts_add(&a->o, "id", a->id);
}

/* A format that is not raw, of what `a` has so far. */
static int disks_format(const struct plan_classes *c, struct asked *a,
                        const char *format)
{
    const struct blockdev_class *image = format ? disks_image(c, format) : NULL;
    int err = image ? disks_check_below(a->o.what, a->block) : 0;
    if (image)
        a->block = image;
    return err || !image ? err : opts_add(&a->o, "format", format);
}

/* `a` is new, and has nothing yet. */
static int disks_fill(const struct plan_classes *c, struct asked *a,
                      const struct drive *d, const struct asked_list *backs)
{
    const char *what = a->o.what, *path = d->file;
    int err = disks_check_drive(c, d, &a->o);
    if (!err)
        err = disks_format(c, a, d->format);
    if (!err && path && !(path = disks_filename(what, path)))
        err = -EINVAL;
    if (!err && path)
        err = opts_add(&a->o, "filename", path);
    path = opts_str(&a->o, "filename", NULL);
    if (!err && path && !d->format)
        err = disks_probe(what, path, &a->o);
    if (!err)
        err = disks_add_cache(&a->o, d->cache);
    return err ? err : disks_name(backs, a, d);
}

static int disks_take_drive(const struct plan_classes *c, struct opts *o,
                            struct asked_list *backs, struct asked_list *disks)
{
    struct opts own;
    struct drive d;
    if (opts_str(o, "help", NULL)) {
        puts("-drive: a disk, and what is on it");
        fields_help(drive_fields);
        return disks_help(c, "file");
    }
    struct asked *a = asked_add(backs);
    if (!a)
        return -EINVAL;
    opts_init(&own, o->what);
    opts_init(&a->o, o->what);
    opts_move(o, o, "driver", "format");
    int err = disks_deal_out(o, &own, &a->o);
    if (!err)
        err = fields_read(drive_fields, &d, &own);
    if (!err) {
        const char *name = opts_str(&a->o, "driver", "file");
        a->block = disks_class(c, o->what, name);
        opts_move(NULL, &a->o, "driver", NULL);
        err = a->block ? disks_fill(c, a, &d, backs) : -EINVAL;
    }
    if (!err && d.bus != IF_NONE)
        err = disks_add_disk(c, disks, &d, o->what, opts_str(&a->o, "id", ""));
    opts_free(&own);
    return err;
}

int disks_take(const struct plan_classes *c, const char *opt, struct opts *o,
               struct asked_list *backs, struct asked_list *disks)
{
    int err = strcmp(opt, "-blockdev") ? disks_take_drive(c, o, backs, disks)
                                       : disks_take_node(c, o, backs);
    opts_free(o);
    return err;
}
