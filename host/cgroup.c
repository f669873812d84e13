/* SPDX-License-Identifier: MIT */
/* Control groups that this process joins, of either version.
 *
 * Version 1 has a tree for each controller or few, version 2 one for all; a
 * setting's file begins with its controller's name, which tells the tree. In
 * version 2 each group on the way has to hand the controller down
 * (Documentation/admin-guide/cgroup-v2.rst, "Enabling and Disabling"); in
 * version 1 a cpuset is empty, and nobody can join it, until it has been told
 * processors and memory nodes (cgroup-v1/cpusets.rst), so it has its parent's
 * unless something else is set. */
#include "host/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/opts.h"
#include "host/made.h"

enum { SETTINGS = 32, TREES = 16, NAME = 32, PARENT_MAX = 900 };

static struct {
    unsigned version;
    const char *parent, *id;
    bool parent_itself;
    struct setting {
        const char *text;
        char controller[NAME];
        char file[64];
        const char *value;
        int tree;
    } settings[SETTINGS];
    int nsettings;
    struct tree {
        char path[256];     /* where it is mounted */
        int top, procs;     /* that directory; the group's cgroup.procs */
        char inherit[NAME]; /* "cpuset" of version 1, or "" */
    } trees[TREES];
    int ntrees;
} cg;

int cgroup_setting(const char *text)
{
    const char *eq = strchr(text, '='), *dot = strchr(text, '.');
    if (!eq || !dot || dot > eq || dot == text || !eq[1] ||
        eq - text >= (int)sizeof(cg.settings->file) || dot - text >= NAME ||
        memchr(text, '/', (size_t)(eq - text)))
        return fail(-EINVAL,
                    "--cgroup %s: must be CONTROLLER.FILE=VALUE, such as "
                    "cpuset.cpus=0",
                    text);
    if (cg.nsettings == SETTINGS)
        return fail(-EINVAL, "--cgroup %s: at most %d", text, SETTINGS);
    struct setting *s = &cg.settings[cg.nsettings++];
    s->text = text;
    snprintf(s->controller, NAME, "%.*s", (int)(dot - text), text);
    snprintf(s->file, sizeof(s->file), "%.*s", (int)(eq - text), text);
    s->value = eq + 1;
    return 0;
}

/* ------------------------------------------------------------------- looking
 */

/* One file's first line, without its end; "": it is empty, or cannot be read.
 */
static void cgroup_read(int at, const char *file, char *buf, size_t size)
{
    int fd = openat(at, file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, buf, size - 1);
    buf[n > 0 ? n : 0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    if (fd >= 0)
        close(fd);
}

/* 0 or -errno. */
static int cgroup_write(int at, const char *file, const char *text)
{
    int fd = openat(at, file, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    int err = n < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return err;
}

static bool cgroup_has(const char *words, const char *separators,
                       const char *word)
{
    size_t len = strlen(word);
    for (; *words; words += strcspn(words, separators), words += *words != '\0')
        if (strcspn(words, separators) == len && !strncmp(words, word, len))
            return true;
    return false;
}

/* Where a version's tree (of version 1: this controller's) is mounted. */
static bool cgroup_mounted(const char *controller, char *path, size_t size)
{
    char line[1024], at[256], type[32], options[512];
    FILE *f = fopen("/proc/self/mounts", "re");
    bool found = false;
    while (f && !found && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%*s %255s %31s %511s", at, type, options) != 3)
            continue;
        found = cg.version == 2 ? !strcmp(type, "cgroup2")
                                : !strcmp(type, "cgroup") &&
                                      cgroup_has(options, ",", controller);
    }
    if (f)
        fclose(f);
    if (found)
        snprintf(path, size, "%s", at);
    return found;
}

/* The tree of a controller, opened when it is the first of that one. Its
 * number, or -errno (said). */
static int cgroup_tree(const char *what, const char *controller)
{
    char path[256], has[512];
    int i = 0;
    if (!cgroup_mounted(controller, path, sizeof(path)))
        return fail(-ENOENT,
                    cg.version == 2
                        ? "%s: no cgroup2 is mounted; --cgroup-version 1?"
                        : "%s: no cgroup of version 1 has controller %s; "
                          "--cgroup-version 2?",
                    what, controller);
    while (i < cg.ntrees && strcmp(cg.trees[i].path, path) != 0)
        i++;
    struct tree *t = &cg.trees[i];
    if (i == cg.ntrees) {
        if (i == TREES)
            return fail(-E2BIG, "%s: too many", what);
        snprintf(t->path, sizeof(t->path), "%s", path);
        t->procs = -1;
        t->top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (t->top < 0)
            return fail(-errno, "%s: %s: %s", what, path, strerror(errno));
        cg.ntrees++;
    }
    if (cg.version == 1 && !strcmp(controller, "cpuset"))
        snprintf(t->inherit, NAME, "%s", controller);
    cgroup_read(t->top, "cgroup.controllers", has, sizeof(has));
    if (cg.version == 2 && *controller && strcmp(controller, "cgroup") != 0 &&
        !cgroup_has(has, " ", controller))
        return fail(-ENOENT, "%s: %s has no controller %s, but: %s", what, path,
                    controller, has);
    return i;
}

static int cgroup_check_parent(const char *parent)
{
    if (strlen(parent) > PARENT_MAX)
        return fail(-EINVAL, "--parent-cgroup: must be up to %d characters",
                    PARENT_MAX);
    for (const char *p = parent; *p; p += strcspn(p, "/"), p += *p == '/')
        if (*p == '/' || !strncmp(p, "..", 2) || !strncmp(p, "./", 2))
            return fail(-EINVAL,
                        "--parent-cgroup %s: must be a path below the topmost "
                        "group, without ..",
                        parent);
    return 0;
}

int cgroup_check(unsigned version, const char *parent, const char *name,
                 const char *id)
{
    cg.version = version;
    cg.parent = parent ? parent : name;
    cg.id = id;
    int err = parent ? cgroup_check_parent(parent) : 0;
    for (int i = 0; !err && i < cg.nsettings; i++) {
        struct setting *s = &cg.settings[i];
        char what[160];
        snprintf(what, sizeof(what), "--cgroup %s", s->text);
        s->tree = cgroup_tree(what, s->controller);
        err = s->tree < 0 ? s->tree : 0;
    }
    if (err || cg.nsettings || version != 2 || !parent)
        return err;
    cg.parent_itself = true;
    int tree = cgroup_tree("--parent-cgroup", "");
    if (tree >= 0 && faccessat(cg.trees[tree].top, parent, W_OK, 0))
        return fail(-errno, "--parent-cgroup %s: %s", parent, strerror(errno));
    return tree < 0 ? tree : 0;
}

/* -------------------------------------------------------------------- making
 */

/* What `dir` has to have from above before it can be used. */
static int cgroup_prepare(const struct tree *t, int group, int outer)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    char text[512];
    for (size_t i = 0; *t->inherit && i < ARRAY_LEN(files); i++) {
        cgroup_read(group, files[i], text, sizeof(text));
        if (*text)
            continue;
        cgroup_read(outer, files[i], text, sizeof(text));
        int err = cgroup_write(group, files[i], text);
        if (err)
            return err;
    }
    return 0;
}

/* Version 2: the group hands down what the settings need. */
static int cgroup_hand_down(int dir)
{
    for (int i = 0; cg.version == 2 && i < cg.nsettings; i++) {
        char text[NAME + 1], has[512];
        const char *controller = cg.settings[i].controller;
        cgroup_read(dir, "cgroup.subtree_control", has, sizeof(has));
        if (!strcmp(controller, "cgroup") || cgroup_has(has, " ", controller))
            continue;
        snprintf(text, sizeof(text), "+%s", controller);
        int err = cgroup_write(dir, "cgroup.subtree_control", text);
        if (err)
            return fail(err,
                        "--cgroup: a group above does not hand down %s: "
                        "%s",
                        controller, strerror(-err));
    }
    return 0;
}

/* Down to the group, whose directory is open then. */
static int cgroup_descend(const struct tree *t)
{
    char path[1024], *rest = path;
    int dir = t->top, err = 0;
    snprintf(path, sizeof(path), "%s/%s", cg.parent, cg.id);
    for (char *name; !err && (name = strsep(&rest, "/"));) {
        if (!*name)
            continue;
        err = cgroup_hand_down(dir);
        int next = err ? err : made_dir(dir, name, 0755);
        if (!err && next < 0)
            return fail(next, "cgroup %s/%s/%s: %s", t->path, cg.parent, cg.id,
                        strerror(-next));
        if (!err)
            err = cgroup_prepare(t, next, dir);
        dir = next;
    }
    return err ? err : dir;
}

static int cgroup_make_one(int i)
{
    struct tree *t = &cg.trees[i];
    int dir = cg.parent_itself ? openat(t->top, cg.parent, O_RDONLY | O_CLOEXEC)
                               : cgroup_descend(t);
    if (dir < 0)
        return dir;
    for (int k = 0; k < cg.nsettings; k++) {
        const struct setting *s = &cg.settings[k];
        int err = s->tree == i ? cgroup_write(dir, s->file, s->value) : 0;
        if (err)
            return fail(err, "--cgroup %s: %s", s->text, strerror(-err));
    }
    t->procs = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    return t->procs < 0 ? fail(-errno, "cgroup.procs: %s", strerror(errno)) : 0;
}

int cgroup_make(void)
{
    int err = 0;
    for (int i = 0; !err && i < cg.ntrees; i++)
        err = cgroup_make_one(i);
    return err;
}

int cgroup_join(void)
{
    for (int i = 0; i < cg.ntrees; i++)
        if (write(cg.trees[i].procs, "0", 1) < 0)
            return fail(-errno, "cgroup %s: cannot be joined: %s",
                        cg.trees[i].path, strerror(errno));
    return 0;
}

void cgroup_leave(void)
{
    for (int i = 0; i < cg.ntrees; i++)
        cgroup_write(cg.trees[i].top, "cgroup.procs", "0");
}
