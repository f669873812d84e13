/* SPDX-License-Identifier: MIT */
/* How the tap backend comes by its descriptors: by an interface's name, from a
 * parent process, from QEMU's bridge helper. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/handed.h"
#include "base/iov.h"
#include "host/child.h"
#include "host/listen.h"
#include "net/tap_fd.h"

/* Takes a descriptor over as one more queue. */
static void tap_add_queue(struct tap *t, int fd)
{
    t->q[t->nd.nq].fd = fd;
    t->nd.nq++;
}

static int tap_open_tun(void)
{
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
        return fail(-errno,
                    "/dev/net/tun: %s; load the kernel's tun module "
                    "(sudo modprobe tun)",
                    strerror(errno));
    return fail(-errno, "/dev/net/tun: %s; run with sudo", strerror(errno));
}

/* A macvtap or ipvtap has a device file of its own, /dev/tapIFINDEX
 * (drivers/net/tap.c). */
static int tap_open_macvtap(const char *ifname)
{
    char path[64];
    unsigned idx = if_nametoindex(ifname);
    if (!idx)
        return -ENODEV;
    snprintf(path, sizeof(path), "/sys/class/net/%s/tap%u", ifname, idx);
    if (access(path, F_OK) < 0) {
        snprintf(path, sizeof(path), "/sys/class/net/%s/macvtap/tap%u", ifname,
                 idx);
        if (access(path, F_OK) < 0)
            return -ENODEV;
    }
    snprintf(path, sizeof(path), "/dev/tap%u", idx);
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

/* Why TUNSETIFF failed, in words (tun_set_iff). */
static int tap_iff_error(struct tap *t, int err)
{
    const struct tap_opts *o = &t->o;
    const char *name = o->ifname;
    switch (err) {
    case EBUSY:
        return fail(-err,
                    "tap %s: in use by another process, or by another "
                    "netdev of this one%s",
                    name,
                    o->queues > 1 ? ", or not made with multi_queue" : "");
    case E2BIG:
        return fail(-err, "tap %s: no more queues to be had", name);
    case EPERM:
    case EACCES:
        if (t->found)
            return fail(-err,
                        "tap %s: belongs to another user; run with sudo,"
                        " or once: sudo ip tuntap del %s mode tap && sudo ip "
                        "tuntap add %s mode tap user $USER && sudo ip link set "
                        "%s up",
                        name, name, name, name);
        return fail(-err,
                    "tap %s: making it needs privileges; run with sudo, "
                    "or once: sudo ip tuntap add %s mode tap user $USER "
                    "&& sudo ip link set %s up",
                    name, name, name);
    case EINVAL:
        if (t->found)
            return fail(-ENODEV, "%s: not a tap interface", name);
        return fail(-err, "tap %s: not a name an interface can have", name);
    default:
        return fail(-err, "tap %s: %s", name, strerror(err));
    }
}

/* One TUNSETIFF; errno. */
static int tap_attach(int fd, const char *name, unsigned flags, char *out)
{
    struct ifreq ifr = {.ifr_flags = (short)flags};
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    if (ioctl(fd, TUNSETIFF, &ifr) < 0)
        return errno;
    memcpy(out, ifr.ifr_name, IFNAMSIZ);
    out[IFNAMSIZ - 1] = 0;
    return 0;
}

/* Opens one queue of the interface by name. The first one finds out whether
 * the interface wants IFF_MULTI_QUEUE: attaching to one that exists with
 * another setting than it was made with is EINVAL, like a wrong kind. */
static int tap_open_queue(struct tap *t)
{
    const struct tap_opts *o = &t->o;
    const char *name = t->nd.nq ? t->ifname : o->ifname;
    int fd = tap_open_tun();
    if (fd < 0)
        return fd;
    int err = tap_attach(fd, name, t->flags, t->ifname);
    if (err == EINVAL && t->found && t->nd.nq == 0) {
        unsigned other = t->flags ^ IFF_MULTI_QUEUE;
        if (tap_attach(fd, name, other, t->ifname) == 0) {
            t->flags = other;
            err = 0;
        }
    }
    if (err == EINVAL && t->found && o->queues == 1) {
        int mfd = tap_open_macvtap(name);
        if (mfd >= 0) {
            close(fd);
            fd = mfd;
            err = tap_attach(fd, name,
                             IFF_TAP | IFF_NO_PI | (t->flags & IFF_VNET_HDR),
                             t->ifname);
            snprintf(t->ifname, sizeof(t->ifname), "%s", name);
            t->named = false; /* its file has another name each time */
        } else if (mfd != -ENODEV) {
            err = -mfd;
        }
    }
    if (err) {
        close(fd);
        return tap_iff_error(t, err);
    }
    tap_add_queue(t, fd);
    if (o->queues > 1 && !(t->flags & IFF_MULTI_QUEUE))
        return fail(-EINVAL,
                    "tap %s: has a single queue; make it with "
                    "multi_queue, or say queues=1",
                    t->ifname);
    return 0;
}

int tap_open_name(struct tap *t)
{
    const struct tap_opts *o = &t->o;
    t->found = if_nametoindex(o->ifname) != 0;
    t->named = true;
    t->flags = IFF_TAP | IFF_NO_PI;
    if (o->vnet_hdr)
        t->flags |= IFF_VNET_HDR;
    if (o->queues > 1)
        t->flags |= IFF_MULTI_QUEUE;
    for (unsigned i = 0; i < o->queues; i++) {
        int err = tap_open_queue(t);
        if (err < 0)
            return err;
    }
    return 0;
}

int tap_parse_fds(const char *what, const char *key, const char *text, int *fd)
{
    int n = 0;
    for (const char *p = text; *p; n++) {
        char *end;
        unsigned long v = strtoul(p, &end, 10);
        if (end == p || (*end && *end != ':') || v > 1u << 20)
            return fail(-EINVAL, "%s: %s=%s: not a list of descriptors", what,
                        key, text);
        if (n == NET_QUEUES_MAX)
            return fail(-EINVAL, "%s: %s=: more than %d", what, key,
                        NET_QUEUES_MAX);
        fd[n] = (int)v;
        if (fcntl(fd[n], F_GETFD) < 0)
            return fail(-EBADF, "%s: %s=%s: descriptor %d is not open", what,
                        key, text, fd[n]);
        fd_take(fd[n]);
        p = *end ? end + 1 : end;
    }
    return n ? n : fail(-EINVAL, "%s: %s=: empty", what, key);
}

int tap_take_handed(struct tap *t)
{
    char name[sizeof("tap:") + IFNAMSIZ];
    int fd;
    while (t->nhanded < NET_QUEUES_MAX &&
           (fd = handed_take("tap:%s:%d", t->nd.id, t->nhanded)) >= 0)
        t->handed[t->nhanded++] = fd;
    t->moved = t->nhanded;
    if (t->moved || !t->o.ifname)
        return 0;
    snprintf(name, sizeof(name), "tap:%s", t->o.ifname);
    while ((fd = listen_take(name)) >= 0) {
        if (t->nhanded == NET_QUEUES_MAX)
            return fail(-EINVAL, "%s: LISTEN_FDNAMES: more than %d of it",
                        t->nd.opts.what, NET_QUEUES_MAX);
        t->handed[t->nhanded++] = fd;
    }
    return 0;
}

static int tap_parse_own_fds(const struct tap *t, int *fd)
{
    const struct tap_opts *o = &t->o;
    const char *what = t->nd.opts.what;
    if (t->nhanded) {
        memcpy(fd, t->handed, sizeof(t->handed));
        return t->nhanded;
    }
    int n =
        tap_parse_fds(what, o->fd ? "fd" : "fds", o->fd ? o->fd : o->fds, fd);
    if (o->fd && n > 1)
        return fail(-EINVAL,
                    "%s: fd=%s: one descriptor; several go to fds=", what,
                    o->fd);
    return n;
}

/* Does each frame have 4 bytes of "packet information" before it? TUNGETIFF
 * cannot say: its bit for that is IFF_NOFILTER's, too. */
static bool tap_has_pi(const char *ifname)
{
    char path[64], text[16] = "";
    snprintf(path, sizeof(path), "/sys/class/net/%.15s/tun_flags", ifname);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) /* no tun, or not of this network namespace */
        return false;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    return n > 0 && !(strtoul(text, NULL, 16) & IFF_NO_PI);
}

int tap_check_fds(const struct tap *t)
{
    const char *what = t->nd.opts.what;
    int fd[NET_QUEUES_MAX], n = tap_parse_own_fds(t, fd);
    unsigned flags = 0;
    for (int i = 0; i < n; i++) {
        struct ifreq ifr = {0};
        if (ioctl(fd[i], TUNGETIFF, &ifr) < 0)
            return fail(-EINVAL, "%s: descriptor %d: not a tap's", what, fd[i]);
        if (!(ifr.ifr_flags & IFF_TAP) || tap_has_pi(ifr.ifr_name))
            return fail(-EINVAL,
                        "%s: descriptor %d: not opened with IFF_TAP and "
                        "IFF_NO_PI",
                        what, fd[i]);
        if (t->nhanded && strcmp(ifr.ifr_name, t->o.ifname))
            return fail(-EINVAL, "%s: descriptor %d: of interface %s, not %s",
                        what, fd[i], ifr.ifr_name, t->o.ifname);
        if (i && ((flags ^ (unsigned)ifr.ifr_flags) & IFF_VNET_HDR))
            return fail(-EINVAL,
                        "%s: of its descriptors some have IFF_VNET_HDR, some "
                        "not",
                        what);
        flags = (unsigned short)ifr.ifr_flags;
    }
    return n < 0 ? n : 0;
}

/* Descriptors that a parent opened for us, of a tap or a macvtap. */
int tap_open_fds(struct tap *t)
{
    int fd[NET_QUEUES_MAX], n = tap_parse_own_fds(t, fd);
    struct ifreq ifr = {0};
    for (int i = 0; i < n; i++) {
        if (fcntl(fd[i], F_SETFD, FD_CLOEXEC) < 0 ||
            fcntl(fd[i], F_SETFL, fcntl(fd[i], F_GETFL) | O_NONBLOCK) < 0 ||
            ioctl(fd[i], TUNGETIFF, &ifr) < 0)
            return fail(-errno, "%s: descriptor %d: %s", t->nd.opts.what, fd[i],
                        strerror(errno));
        tap_add_queue(t, fd[i]);
    }
    if (n < 0)
        return n;
    t->flags = (unsigned short)ifr.ifr_flags;
    memcpy(t->ifname, ifr.ifr_name, IFNAMSIZ);
    t->ifname[IFNAMSIZ - 1] = 0;
    t->found = true;
    return 0;
}

/* They are set up, but for what is ours alone. One that the guest does not use
 * now is detached, and knows no name. */
int tap_open_moved(struct tap *t)
{
    struct ifreq ifr = {0};
    for (int i = 0; i < t->nhanded; i++)
        tap_add_queue(t, t->handed[i]);
    if (ioctl(t->handed[0], TUNGETIFF, &ifr) < 0 || !(ifr.ifr_flags & IFF_TAP))
        return fail(-EINVAL, "%s: what is handed over is no tap",
                    t->nd.opts.what);
    t->flags = (unsigned short)ifr.ifr_flags;
    memcpy(t->ifname, ifr.ifr_name, IFNAMSIZ);
    t->ifname[IFNAMSIZ - 1] = 0;
    t->found = true;
    t->restores = handed_number(0, "restores:%s", t->nd.id);
    return 0;
}

/* One descriptor out of a message (SCM_RIGHTS), or -1. */
static int tap_take_fd(int sock)
{
    char c, ctl[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {&c, 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = ctl,
                       .msg_controllen = sizeof(ctl)};
    int fd = -1;
    if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
        return -1;
    struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
    if (cm && cm->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(cm), sizeof(fd));
    return fd;
}

/* QEMU's bridge helper, setuid root where it is installed: makes a tap, adds
 * it to a bridge its /etc/qemu/bridge.conf allows, sends it to us. */
int tap_open_helper(struct tap *t)
{
    const struct tap_opts *o = &t->o;
    const char *helper = o->helper ? o->helper : TAP_HELPER;
    char fdarg[32], brarg[32];
    int sv[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        return fail(-errno, "socketpair: %s", strerror(errno));
    snprintf(fdarg, sizeof(fdarg), "--fd=%d", sv[1]);
    snprintf(brarg, sizeof(brarg), "--br=%s", o->br ? o->br : "br0");
    const char *const argv[] = {helper, o->vnet_hdr ? "--use-vnet" : fdarg,
                                brarg, o->vnet_hdr ? fdarg : NULL, NULL};
    pid_t pid = child_start(NULL, argv, -1, sv[1], 0);
    close(sv[1]);
    int st = pid < 0 ? pid : child_wait(pid);
    int fd = st == 0 ? tap_take_fd(sv[0]) : -1;
    close(sv[0]);
    if (st < 0)
        return fail(st, "%s: cannot run it: %s", helper, strerror(-st));
    if (fd < 0)
        return fail(-EIO,
                    "%s: failed with status %d; bridge %s must exist "
                    "and be allowed in /etc/qemu/bridge.conf",
                    helper, st, o->br ? o->br : "br0");
    struct ifreq ifr = {0};
    if (ioctl(fd, TUNGETIFF, &ifr) < 0) {
        close(fd);
        return fail(-EIO, "%s: did not send a tap", helper);
    }
    t->flags = (unsigned short)ifr.ifr_flags;
    memcpy(t->ifname, ifr.ifr_name, IFNAMSIZ);
    t->ifname[IFNAMSIZ - 1] = 0;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    tap_add_queue(t, fd);
    return 0;
}
