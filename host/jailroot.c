/* SPDX-License-Identifier: MIT */
/* A root directory that has devices and one user, and nothing else. */
#include "host/jailroot.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/log.h"
#include "host/made.h"

static struct {
    const char *path;
    uid_t uid;
    gid_t gid;
} room;

static int jailroot_cannot(const char *what, int err)
{
    return fail(err, "%s/%s: %s", room.path, what, strerror(-err));
}

/* A directory of the user's. What an earlier VMM of this user left in its place
 * is not followed: it could be a link to a file of somebody else. */
static int jailroot_own(int at, const char *name)
{
    int fd = *name ? made_dir(at, name, 0700) : at;
    if (fd >= 0 && (fchown(fd, room.uid, room.gid) || fchmod(fd, 0700)))
        fd = -errno;
    return fd < 0 ? jailroot_cannot(name, fd) : fd;
}

static int jailroot_node(int at, const char *name, unsigned major,
                         unsigned minor)
{
    struct stat st;
    dev_t dev = makedev(major, minor);
    int err = mknodat(at, name, S_IFCHR | 0600, dev) ? -errno : 0;
    if (!err)
        made_note(at, name, 0);
    else if (err != -EEXIST)
        return jailroot_cannot(name, err);
    /* What is looked at is what is given away, whoever renames it meanwhile. */
    int fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st))
        err = -errno;
    else if (!S_ISCHR(st.st_mode) || st.st_rdev != dev)
        err = -EEXIST;
    else
        err = fchownat(fd, "", room.uid, room.gid, AT_EMPTY_PATH) ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return err ? jailroot_cannot(name, err) : 0;
}

/* Its number is the kernel's choice; -1: this one has none. */
static int jailroot_userfaultfd(void)
{
    char line[64], name[40];
    int minor, found = -1;
    FILE *f = fopen("/proc/misc", "re");
    while (f && found < 0 && fgets(line, sizeof(line), f))
        if (sscanf(line, "%d %39s", &minor, name) == 2 &&
            !strcmp(name, "userfaultfd"))
            found = minor;
    if (f)
        fclose(f);
    return found;
}

int jailroot_make(const char *path, int at, uid_t uid, gid_t gid)
{
    room.path = path;
    room.uid = uid;
    room.gid = gid;
    int minor = jailroot_userfaultfd();
    int root = jailroot_own(at, "");
    int dev = root < 0 ? root : jailroot_own(at, "dev");
    int net = dev < 0 ? dev : jailroot_own(dev, "net");
    int run = net < 0 ? net : jailroot_own(at, "run");
    int err = run < 0 ? run : jailroot_node(dev, "kvm", 10, 232);
    if (!err)
        err = jailroot_node(net, "tun", 10, 200);
    if (!err)
        err = jailroot_node(dev, "urandom", 1, 9);
    if (!err && minor >= 0)
        err = jailroot_node(dev, "userfaultfd", 10, (unsigned)minor);
    return err;
}

/* Mounted are paths: does this one still lead to the directory that is known?
 */
static int jailroot_same(const char *path, int at)
{
    struct stat is, was;
    if (chdir(path) || stat(".", &is) || fstat(at, &was))
        return -errno;
    return is.st_dev == was.st_dev && is.st_ino == was.st_ino ? 0 : -ESTALE;
}

/* What is a mount cannot be removed. */
static int jailroot_let_go(const char *path, int err)
{
    if (!chdir("/"))
        umount2(path, MNT_DETACH);
    return err;
}

/* A tree of mounts that has nothing but this directory, of which nothing can be
 * executed; devices are to work in it, however it is mounted outside. A root
 * that cannot be exchanged (rootfs) is left below it. */
int jailroot_enter(const char *path, int at)
{
    const unsigned long flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NOEXEC;
    if (unshare(CLONE_NEWNS) ||
        mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) ||
        mount(path, path, NULL, MS_BIND, NULL))
        return -errno;
    int err =
        mount(NULL, path, NULL, flags, NULL) ? -errno : jailroot_same(path, at);
    if (err)
        return jailroot_let_go(path, err);
    if (syscall(SYS_pivot_root, ".", "."))
        return chroot(".") ? jailroot_let_go(path, -errno) : 0;
    if (umount2(".", MNT_DETACH)) /* the former root, which lies on this one */
        return jailroot_let_go(".", -errno);
    return chdir("/") ? -errno : 0;
}
