/* SPDX-License-Identifier: MIT */
/* What this process gives up once everything it will need is open.
 *
 * Theory of operation. Who takes this process over from inside a guest shall
 * find nothing: no file, no other process, no capability. So after everything
 * is open, and before there is a second thread (a process enters a user
 * namespace only as a whole):
 *
 *   no core dumps, no tracing by equals     PR_SET_DUMPABLE, RLIMIT_CORE
 *   mounts, IPC and host name of its own    unshare(2); who is not root needs
 *                                           a user namespace for it
 *   an empty root directory                 a tmpfs that cannot be written
 *   -runas USER, of root: nobody
 *   no capabilities, and never again some   no_new_privs
 *   Landlock without a right                paths, TCP, abstract sockets and
 *                                           signals, as far as this kernel goes
 *   a list of system calls a thread         host/filter.c
 *
 * A step that this host does not allow (a container's profile, an old kernel)
 * is named in one line, and the others are done all the same: what is open
 * already works in each case alike. */
#include "host/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/field.h"
#include "base/log.h"
#include "host/filter.h"
#include "host/ids.h"

#define NOBODY 65534

/* QEMU's. What its other keys would allow is needed by nothing here once the
 * guest runs, so they change nothing. */
struct asked {
    uint8_t enable, obsolete, elevate, spawn, resource;
};

static struct {
    struct asked asked;
    const char *runas; /* as it was said */
    uid_t uid;
    gid_t gid;
    bool no_filter;
} told = {.asked.enable = ON, .uid = NOBODY, .gid = NOBODY};

/* ---------------------------------------------------------------- options */

static const char *const words[] = {"deny", "allow", NULL};
static const char *const elevate_words[] = {"deny", "allow", "children", NULL};

#define KEY(key, member, list, text)                                           \
    FIELD(WORD, key, struct asked, member, .words = list, .help = text)
static const struct field asked_fields[] = {
    FIELD(FLAG, "enable", struct asked, enable, .def = ON,
          .help = "-sandbox on is the same"),
    KEY("obsolete", obsolete, words, "no such call is made"),
    KEY("elevateprivileges", elevate, elevate_words, "never"),
    KEY("spawn", spawn, words, "before the guest runs only"),
    KEY("resourcecontrol", resource, words, "before the guest runs only"),
    {.name = ""},
};

int sandbox_option(const char *arg)
{
    struct opts o;
    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        fields_help(asked_fields);
        return 1;
    }
    int err = opts_parse(&o, "-sandbox", arg, "enable");
    if (!err)
        err = fields_read(asked_fields, &told.asked, &o);
    opts_free(&o);
    return err;
}

int sandbox_runas(const char *arg)
{
    if (!ids_user(arg, &told.uid, &told.gid))
        return fail(-EINVAL,
                    "-runas %s: no such user in /etc/passwd, nor "
                    "UID:GID in numbers",
                    arg);
    told.runas = arg;
    return 0;
}

void sandbox_without_filter(void)
{
    told.no_filter = true;
}

/* ------------------------------------------------------------- capabilities */

static bool sandbox_capable(unsigned cap)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    return !syscall(SYS_capget, &h, d) &&
           (d[cap / 32].effective & 1u << cap % 32);
}

/* What no exec(2) could bring back either, while that may still be said. */
static void sandbox_bound_capabilities(void)
{
    for (int cap = 0; !prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); cap++)
        ;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

static void sandbox_drop_capabilities(void)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0}};
    if (syscall(SYS_capset, &h, none))
        log_line("sandbox: capabilities stay: %s", strerror(errno));
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* ---------------------------------------------------- namespaces, the root */

static int sandbox_put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    int err = n < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return err;
}

/* The same number inside; user_namespaces(7) asks for "deny" first. In a jail
 * without /proc it is nobody's, which what follows needs none of. */
static int sandbox_map_own_ids(uid_t uid, gid_t gid)
{
    char text[48];
    sandbox_put("/proc/self/setgroups", "deny");
    snprintf(text, sizeof(text), "%u %u 1", uid, uid);
    int err = sandbox_put("/proc/self/uid_map", text);
    if (err == -ENOENT)
        return 0;
    snprintf(text, sizeof(text), "%u %u 1", gid, gid);
    return err ? err : sandbox_put("/proc/self/gid_map", text);
}

/* In one call: each new mount namespace is a copy of all there are. */
static int sandbox_new_namespaces(void)
{
    const int flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (sandbox_capable(CAP_SYS_ADMIN) && !unshare(flags))
        return 0;
    if (unshare(flags | CLONE_NEWUSER))
        return -errno;
    return sandbox_map_own_ids(uid, gid);
}

/* A file system on top of the root is reached by "/..", whatever directories
 * there are; then it becomes the root, and what was below it is let go. A root
 * that cannot be exchanged (the initial one, rootfs) stays there, out of
 * reach of who has no capability. */
static int sandbox_empty_root(void)
{
    const unsigned long flags = MS_NODEV | MS_NOEXEC | MS_NOSUID | MS_RDONLY;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", "/", "tmpfs", flags, "nr_inodes=2,size=4k") ||
        chdir("/.."))
        return -errno;
    if (syscall(SYS_pivot_root, ".", "."))
        return chroot(".") ? -errno : 0;
    return umount2(".", MNT_DETACH) || chdir("/") ? -errno : 0;
}

static void sandbox_leave_files(void)
{
    int err = sandbox_new_namespaces();
    if (err) {
        log_line("sandbox: no user namespace here (%s): the root directory "
                 "stays",
                 strerror(-err));
        return;
    }
    err = sandbox_empty_root();
    if (err)
        log_line("sandbox: the root directory stays: %s", strerror(-err));
}

/* --------------------------------------------------------------------- user */

/* Limits on processes count all of a user's: they were root's. */
static int sandbox_become(uid_t uid, gid_t gid)
{
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_NPROC, &all);
    if (setgroups(0, NULL) || setresgid(gid, gid, gid) ||
        setresuid(uid, uid, uid))
        return -errno;
    return 0;
}

/* Root of a namespace that knows nobody else is somebody's ordinary process. */
static bool sandbox_alone(void)
{
    char line[80] = ""; /* first here, first outside, how many */
    FILE *f = fopen("/proc/self/uid_map", "re");
    const char *count = f && fgets(line, sizeof(line), f) ? line : "";
    count += strlen(count) > 3 ? strlen(count) - 3 : 0;
    bool one = !strcmp(count, " 1\n");
    if (f)
        fclose(f);
    return one;
}

/* Of root, and of who asks for it. */
static bool sandbox_user_changes(void)
{
    return told.runas || (told.asked.enable && !geteuid() && !sandbox_alone());
}

void sandbox_user(uid_t *uid, gid_t *gid)
{
    bool changes = sandbox_user_changes();
    *uid = changes ? told.uid : geteuid();
    *gid = changes ? told.gid : getegid();
}

static int sandbox_change_user(void)
{
    sandbox_bound_capabilities();
    int err = sandbox_become(told.uid, told.gid);
    if (err && told.runas)
        return fail(err, "-runas %s: %s; only root can", told.runas,
                    strerror(-err));
    if (err)
        log_line("sandbox: root stays root, not user %u: %s", told.uid,
                 strerror(-err));
    return 0;
}

/* ----------------------------------------------------------------- landlock */

/* As linux/landlock.h of 6.12 has it; older headers know less. */
struct ruleset {
    uint64_t fs, net, scoped;
};
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self 446
#endif
enum { RULESET_VERSION = 1 };

/* All rights of this version (Documentation/userspace-api/landlock.rst), for
 * which no rule then makes an exception. */
static size_t sandbox_all_rights(long abi, struct ruleset *r)
{
    r->fs = abi < 2   ? 0x1fff   /* execute to make_sym */
            : abi < 3 ? 0x3fff   /* refer */
            : abi < 5 ? 0x7fff   /* truncate */
                      : 0xffff;  /* ioctl_dev */
    r->net = abi < 4 ? 0 : 3;    /* bind_tcp, connect_tcp */
    r->scoped = abi < 6 ? 0 : 3; /* abstract sockets, signals */
    return abi < 4   ? sizeof(r->fs)
           : abi < 6 ? sizeof(r->fs) + sizeof(r->net)
                     : sizeof(*r);
}

static void sandbox_landlock(void)
{
    struct ruleset r;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, RULESET_VERSION);
    long fd = abi < 1 ? -1
                      : syscall(SYS_landlock_create_ruleset, &r,
                                sandbox_all_rights(abi, &r), 0);
    if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0))
        log_line("sandbox: no Landlock here: %s", strerror(errno));
    if (fd >= 0)
        close((int)fd);
}

/* -------------------------------------------------------------------- enter */

static bool inside;

int sandbox_enter(void)
{
    const struct rlimit none = {0, 0};
    if (!told.asked.enable)
        return told.runas ? sandbox_change_user() : 0;
    setrlimit(RLIMIT_CORE, &none);
    bool changes = sandbox_user_changes(); /* while there is a /proc */
    sandbox_leave_files();
    int err = changes ? sandbox_change_user() : 0;
    if (err)
        return err;
    sandbox_bound_capabilities();
    sandbox_drop_capabilities();
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* a change of users sets it anew */
    sandbox_landlock();
    if (!told.no_filter)
        filter_begin();
    inside = true;
    return 0;
}

bool sandbox_inside(void)
{
    return inside;
}
