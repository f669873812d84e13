/* SPDX-License-Identifier: MIT */
/* The TAP backend: frames go to and from a network interface of the host.
 *
 * Theory of operation. A packet is one readv or writev of the tap's file,
 * virtio header first: the kernel does checksums and segmentation from it
 * (drivers/net/tun.c, tun_get_user and tun_put_user), nothing is copied here.
 * The kernel moves only the header's first 10 bytes and steps over the other 2
 * (TUNSETVNETHDRSZ 12). A tap without IFF_VNET_HDR gets and gives bare frames;
 * the header is then stepped over in the iovec and filled with zeroes.
 *
 * An interface that did not exist is ours: it is brought up, and goes away with
 * its last descriptor. One that existed keeps its settings, and is put back
 * where this changed them (bridge port, up or down), by the helper process,
 * which runs the down-script, too. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/handed.h"
#include "base/iov.h"
#include "base/use.h"
#include "host/child.h"
#include "host/helper.h"
#include "host/iface.h"
#include "net/tap_fd.h"

/* ------------------------------------------------------------ hot path */

/* The slow half of send and recv: what the error means. */
static ssize_t tap_error(struct netbe *be, bool sending)
{
    struct tap *t = container_of(be->dev, struct tap, nd);
    int err = errno;

    if (err == EAGAIN || err == EINTR)
        return 0;
    if (err == EBADFD || atomic_load(&t->dead)) /* tun_get: no device */
        return -ENODEV;
    TRACE(NET, "%s %s: %s", t->nd.id, sending ? "send" : "recv", strerror(err));
    if (err == EIO && sending) /* tun_get_user: not IFF_UP */
        fault_note(&t->f_down,
                   "%s: interface %s is down, frames are dropped; "
                   "ip link set %s up",
                   t->nd.id, t->ifname, t->ifname);
    else
        fault_note(sending ? &t->f_send : &t->f_recv, "%s: tap %s: %s: %s",
                   t->nd.id, t->ifname, sending ? "write" : "read",
                   strerror(err));
    return -err;
}

/* syscalls loop pair if tap: writev */
static ssize_t tap_send(struct netbe *be, const struct iovec *iov, int n)
{
    ssize_t sent = writev(be->fd, iov, n);
    return sent >= 0 ? sent : tap_error(be, true);
}

/* syscalls loop pair if tap: readv */
static ssize_t tap_recv(struct netbe *be, const struct iovec *iov, int n)
{
    ssize_t got = readv(be->fd, iov, n);
    return got > 0 ? got : got == 0 ? -EIO : tap_error(be, false);
}

/* Without IFF_VNET_HDR: bare frames. */
static ssize_t tap_send_bare(struct netbe *be, const struct iovec *iov, int n)
{
    struct iovec tmp[IOV_COUNT_MAX];
    n = iov_skip(iov, n, NET_HDR_LEN, tmp, &iov);
    if (n <= 0)
        return -EINVAL;
    ssize_t sent = writev(be->fd, iov, n);
    return sent >= 0 ? sent + NET_HDR_LEN : tap_error(be, true);
}

static ssize_t tap_recv_bare(struct netbe *be, const struct iovec *iov, int n)
{
    struct iovec tmp[IOV_COUNT_MAX];
    const struct iovec *in;
    int k = iov_skip(iov, n, NET_HDR_LEN, tmp, &in);
    if (k <= 0)
        return -EINVAL;
    ssize_t got = readv(be->fd, in, k);
    if (got <= 0)
        return got == 0 ? -EIO : tap_error(be, false);
    iov_zero(iov, n, NET_HDR_LEN);
    return got + NET_HDR_LEN;
}

/* -------------------------------------------------------- control verbs */

/* syscalls loop vcpu if tap: ioctl(TUNSETOFFLOAD) */
int tap_set_offload(struct netdev *nd, unsigned bits)
{
    struct tap *t = container_of(nd, struct tap, nd);
    if (!nd->vnet_hdr)
        return bits ? -EOPNOTSUPP : 0;
    t->offload = bits;
    if (handed_waits()) /* who still has it has set it */
        return 0;
    return ioctl(nd->q[0]->fd, TUNSETOFFLOAD, bits) < 0 ? -errno : 0;
}

/* Detached queues get no frames (tun_set_queue); detaching one that is
 * detached is EINVAL, which is what we want anyway.
 *
 * syscalls vcpu if tap: ioctl(TUNSETQUEUE) */
/* syscalls loop if tap: ioctl(TUNSETQUEUE), a driver that asks for several
 * queues, as only the lab's do */
int tap_set_queues(struct netdev *nd, unsigned n)
{
    struct tap *t = container_of(nd, struct tap, nd);
    t->active = n;
    if (nd->nq < 2 || handed_waits())
        return 0;
    for (unsigned i = 0; i < nd->nq; i++) {
        struct ifreq ifr = {.ifr_flags =
                                i < n ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};
        if (ioctl(nd->q[i]->fd, TUNSETQUEUE, &ifr) < 0 && errno != EINVAL)
            return -errno;
    }
    return 0;
}

static void tap_close(struct netdev *nd)
{
    struct tap *t = container_of(nd, struct tap, nd);

    loop_del(&t->links);
    timer_cancel(&t->retry);
    if (t->links.fd >= 0)
        close(t->links.fd);
    if (t->idle >= 0)
        close(t->idle);
    for (unsigned i = 0; i < nd->nq; i++) {
        close(t->q[i].fd);
        if (nd->vhostfd[i] >= 0)
            close(nd->vhostfd[i]);
    }
    free(t);
}

/* --------------------------------------------------------------- opening */

/* The interface as a port of a bridge, with its MTU. */
static int tap_join_bridge(struct tap *t, const char *br)
{
    int mtu = if_mtu(br);
    if (mtu < 0)
        return fail(mtu, "bridge %s: %s; sudo ip link add %s type bridge", br,
                    strerror(-mtu), br);
    if (!t->found) {
        if_raise_mac(t->ifname);
        if_set_mtu(t->ifname, mtu);
    }
    int err = if_set_bridge(br, t->ifname, true);
    /* EBUSY: a port already. Of this bridge (only then it can be taken out of
     * it)? Then it stays one. */
    if (err == -EBUSY && if_set_bridge(br, t->ifname, false) == 0)
        return if_set_bridge(br, t->ifname, true);
    if (err == -EPERM)
        return fail(err, "bridge %s: adding %s needs privileges", br,
                    t->ifname);
    if (err < 0)
        return fail(err, "bridge %s: cannot add %s: %s", br, t->ifname,
                    strerror(-err));
    t->bridged = true;
    t->restores |= t->found ? TAP_LEAVES : 0;
    return 0;
}

/* Up when it is ours or a bridge's; else its owner decides, who is told. */
static int tap_bring_up(struct tap *t)
{
    int up = if_is_up(t->ifname);
    if (up != 0)
        return 0;
    if (!t->found || t->bridged)
        up = if_set_up(t->ifname, true) == 0;
    if (!up)
        log_line("warning: interface %s is down; ip link set %s up", t->ifname,
                 t->ifname);
    t->restores |= up && t->found ? TAP_LOWERS : 0;
    return 0;
}

/* At the end. */
static int tap_have_restored(const struct tap *t)
{
    int err = 0;
    if (t->restores & TAP_LEAVES && t->o.br)
        err = helper_leave(t->o.br, t->ifname);
    if (!err && t->restores & TAP_LOWERS)
        err = helper_lower(t->ifname);
    return err;
}

/* The offloads this kernel's tun has, best first (drivers/net/tun.c: USO from
 * 6.2 on; a bit it does not know fails the whole call). None are on until the
 * NIC says so. */
static unsigned tap_probe_offload(int fd)
{
    static const unsigned sets[] = {
        NETBE_CSUM | NETBE_TSO4 | NETBE_TSO6 | NETBE_ECN | NETBE_UFO |
            NETBE_USO4 | NETBE_USO6,
        NETBE_CSUM | NETBE_TSO4 | NETBE_TSO6 | NETBE_ECN | NETBE_UFO,
        NETBE_CSUM | NETBE_TSO4 | NETBE_TSO6 | NETBE_ECN,
        NETBE_CSUM,
    };
    for (unsigned i = 0; i < ARRAY_LEN(sets); i++) {
        if (ioctl(fd, TUNSETOFFLOAD, sets[i]) < 0)
            continue;
        ioctl(fd, TUNSETOFFLOAD, 0);
        return sets[i];
    }
    return 0;
}

/* Header size, offloads, send buffer: on every queue's file. */
static int tap_setup(struct tap *t)
{
    struct netdev *nd = &t->nd;
    int hdr = NET_HDR_LEN, sndbuf = (int)t->o.sndbuf;

    nd->vnet_hdr = t->flags & IFF_VNET_HDR;
    t->sndbuf = sndbuf;
    for (unsigned i = 0; i < nd->nq; i++) {
        int fd = t->q[i].fd;
        if (nd->vnet_hdr && !t->moved && ioctl(fd, TUNSETVNETHDRSZ, &hdr) < 0)
            return fail(-errno,
                        "tap %s: no 12-byte header: %s; say "
                        "vnet_hdr=off",
                        t->ifname, strerror(errno));
        if (sndbuf && !t->moved && ioctl(fd, TUNSETSNDBUF, &sndbuf) < 0)
            return fail(-errno, "tap %s: sndbuf: %s", t->ifname,
                        strerror(errno));
        t->q[i].dev = nd;
        t->q[i].send = nd->vnet_hdr ? tap_send : tap_send_bare;
        t->q[i].recv = nd->vnet_hdr ? tap_recv : tap_recv_bare;
        nd->q[i] = &t->q[i];
    }
    if (!nd->vnet_hdr)
        nd->offload = 0;
    else if (t->moved)
        nd->offload = handed_number(0, "offload:%s", nd->id);
    else
        nd->offload = tap_probe_offload(t->q[0].fd);
    for (unsigned i = 0; i < nd->nq; i++)
        handed_keep(&t->q[i].fd, "tap:%s:%u", nd->id, i);
    handed_keep_number(&nd->offload, "offload:%s", nd->id);
    handed_keep_number(&t->restores, "restores:%s", nd->id);
    nd->handed = true;
    int mtu = if_mtu(t->ifname);
    nd->mtu = mtu > 0 ? (unsigned)mtu : 0;
    nd->link_up = true;
    return 0;
}

/* ---------------------------------------------------------------- checking */

/* Keys that exclude each other, as in QEMU's net_init_tap. */
static int tap_check_keys(struct tap *t)
{
    static const char *const not_with_fd[] = {
        "ifname", "script", "downscript", "vnet_hdr", "helper", "br", "queues"};
    static const char *const not_with_helper[] = {
        "ifname", "script", "downscript", "queues", "vnet_hdr"};
    const struct tap_opts *o = &t->o;
    struct opts *given = &t->nd.opts;
    const char *with = t->moved     ? NULL
                       : t->nhanded ? "LISTEN_FDS"
                       : o->fd      ? "fd"
                       : o->fds     ? "fds"
                       : o->helper  ? "helper"
                                    : NULL;
    const char *const *no =
        o->helper && !o->fd && !o->fds ? not_with_helper : not_with_fd;
    size_t n =
        no == not_with_fd ? ARRAY_LEN(not_with_fd) : ARRAY_LEN(not_with_helper);
    if (o->fd && o->fds)
        return fail(-EINVAL, "%s: fd= and fds= exclude each other",
                    given->what);
    for (size_t i = t->nhanded ? 1 : 0; with && i < n; i++)
        if (opts_str(given, no[i], NULL))
            return fail(-EINVAL,
                        "%s: %s= means nothing together with %s=", given->what,
                        no[i], with);
    if (o->vhostfd && o->vhostfds)
        return fail(-EINVAL, "%s: vhostfd= and vhostfds= exclude each other",
                    given->what);
    return 0;
}

static int tap_check_script(const char *what, const char *key, const char **s)
{
    if (!*s || !strcmp(*s, "no") || !**s)
        *s = NULL;
    if (*s && access(*s, X_OK) < 0)
        return fail(-errno, "%s: %s=%s: cannot run it: %s", what, key, *s,
                    strerror(errno));
    return 0;
}

static int tap_check_vhostfds(struct tap *t)
{
    const struct tap_opts *o = &t->o;
    int n = tap_parse_fds(t->nd.opts.what, o->vhostfd ? "vhostfd" : "vhostfds",
                          o->vhostfd ? o->vhostfd : o->vhostfds, t->nd.vhostfd);
    return n < 0 ? n : 0;
}

static int tap_check(struct netdev *nd)
{
    struct tap *t = container_of(nd, struct tap, nd);
    struct tap_opts *o = &t->o;
    const char *what = nd->opts.what;
    for (int i = 0; i < NET_QUEUES_MAX; i++)
        nd->vhostfd[i] = -1;
    int err = 0;
    if (o->ifname && strlen(o->ifname) >= IFNAMSIZ)
        err = fail(-EINVAL, "%s: ifname=%s: name longer than %d characters",
                   what, o->ifname, IFNAMSIZ - 1);
    if (!err)
        err = tap_take_handed(t);
    if (!err)
        err = tap_check_keys(t);
    if (!err && !t->moved && o->br && !o->fd && !o->fds && !o->helper &&
        if_mtu(o->br) < 0)
        err =
            fail(-ENODEV, "%s: bridge %s: %s; sudo ip link add %s type bridge",
                 what, o->br, strerror(-if_mtu(o->br)), o->br);
    if (!err)
        err = tap_check_script(what, "script", &o->script);
    if (!err)
        err = tap_check_script(what, "downscript", &o->downscript);
    if (!err)
        err = tap_check_script(what, "helper", &o->helper);
    if (!err && !t->moved && (o->fd || o->fds || t->nhanded))
        err = tap_check_fds(t);
    if (!err && (o->vhostfd || o->vhostfds))
        err = tap_check_vhostfds(t);
    if (o->vhost || o->vhostforce || o->vhostfd || o->vhostfds)
        nd->vhost = VHOST_KERNEL;
    nd->vhost_forced = o->vhostforce || o->vhostfd || o->vhostfds;
    nd->poll_us = o->poll_us;
    if (!err && o->downscript)
        err = helper_need_script(o->downscript);
    if (o->br && o->ifname && if_nametoindex(o->ifname))
        helper_need(); /* it will be put back */
    return err;
}

static int tap_bridge_check(struct netdev *nd)
{
    struct tap *t = container_of(nd, struct tap, nd);
    t->o.queues = t->o.vnet_hdr = 1;
    if (!t->o.br)
        t->o.br = "br0";
    return tap_check(nd);
}

/* ----------------------------------------------------------------- opening */

static int tap_open_any(struct tap *t)
{
    struct tap_opts *o = &t->o;
    if (t->moved)
        return tap_open_moved(t);
    if (o->fd || o->fds || t->nhanded)
        return tap_open_fds(t);
    if (o->helper)
        return tap_open_helper(t);
    /* A bridge and no name: the helper exists so that people without
     * privileges can; with them its access list would only stand in the way */
    if (o->br && !o->ifname && !can_net_admin()) {
        if (access(TAP_HELPER, X_OK) == 0)
            return tap_open_helper(t);
        return fail(-EPERM,
                    "bridge %s: needs privileges, or Debian's package "
                    "qemu-system-common for " TAP_HELPER,
                    o->br);
    }
    if (!o->ifname)
        o->ifname = "tap%d"; /* the kernel counts */
    int err = tap_open_name(t);
    if (err == 0 && o->br)
        err = tap_join_bridge(t, o->br);
    return err;
}

static int tap_own_vhostfds(struct tap *t)
{
    unsigned n = 0;
    while (n < NET_QUEUES_MAX && t->nd.vhostfd[n] >= 0)
        fcntl(t->nd.vhostfd[n++], F_SETFD, FD_CLOEXEC);
    if (n && n != t->nd.nq)
        return fail(-EINVAL, "%s: %u vhost descriptors for %u queues",
                    t->nd.opts.what, n, t->nd.nq);
    return 0;
}

static int tap_run_scripts(struct tap *t)
{
    if (t->o.fd || t->o.fds || t->o.helper || (t->nhanded && !t->moved))
        return 0;
    int err = t->o.downscript ? helper_script(t->o.downscript, t->ifname) : 0;
    if (!err && t->o.script && !t->moved)
        err = child_script("script", t->o.script, t->ifname);
    return err;
}

static int tap_open(struct netdev *nd, struct loop *l)
{
    struct tap *t = container_of(nd, struct tap, nd);
    thread_uses(USE_TAP);
    nd->close = tap_close;
    nd->set_offload = tap_set_offload;
    nd->set_queues = tap_set_queues;
    nd->swap = tap_swap;
    nd->drop = tap_drop;
    t->links.fd = -1;
    t->idle = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int err = t->idle < 0
                  ? fail(-errno, "%s: %s", nd->opts.what, strerror(errno))
                  : tap_open_any(t);
    if (err == 0)
        err = tap_own_vhostfds(t);
    if (err == 0)
        err = tap_run_scripts(t);
    if (err == 0 && !t->moved)
        err = tap_bring_up(t);
    if (err == 0)
        err = tap_have_restored(t);
    if (err == 0)
        err = tap_setup(t);
    return err ? err : tap_links_watch(t, l);
}

#define TAP_TEXT(key, value, text)                                             \
    FIELD(TEXT, #key, struct tap, o.key, .arg = value, .help = text)
static const struct field tap_counters[] = {
    COUNT("send_while_down", struct tap, f_down,
          "frames sent while the interface was down"),
    COUNT("send_errors", struct tap, f_send, "frames that could not be sent"),
    COUNT("recv_errors", struct tap, f_recv, "reads that failed"),
    COUNT("again_errors", struct tap, f_again,
          "looks at a new interface of the name that could not be used"),
    {.help = NULL},
};

static const struct field tap_fields[] = {
    FIELDS_OF(netdev_fields, "", struct tap, nd),
    TAP_TEXT(ifname, "NAME",
             "the interface; made, and removed at the end, if it\n"
             "                            does not exist (needs privileges)"),
    TAP_TEXT(fd, "N", "opened already, by a parent process"),
    TAP_TEXT(fds, "N:N...", "the same, a descriptor for each queue"),
    FIELD(NUMBER, "queues", struct tap, o.queues, .min = 1,
          .max = NET_QUEUES_MAX, .def = 1, .help = "how many"),
    TAP_TEXT(br, "BRIDGE", "make it a port of a bridge"),
    TAP_TEXT(helper, "PATH", "QEMU's bridge helper opens it"),
    TAP_TEXT(script, "PATH", "run with the name when it is open (no)"),
    TAP_TEXT(downscript, "PATH", "and at the end (no)"),
    FIELD(FLAG, "vnet_hdr", struct tap, o.vnet_hdr, .def = ON,
          .help = "offloads"),
    FIELD(SIZE, "sndbuf", struct tap, o.sndbuf, .min = 1, .max = INT32_MAX,
          .help = "bytes in flight before sending waits"),
    FIELD(FLAG, "vhost", struct tap, o.vhost,
          .help = "the kernel moves frames"),
    FIELD(FLAG, "vhostforce", struct tap, o.vhostforce,
          .help = "the same, or an error"),
    TAP_TEXT(vhostfd, "N", "an opened /dev/vhost-net"),
    TAP_TEXT(vhostfds, "N:N...", "one for each queue"),
    FIELD(NUMBER, "poll-us", struct tap, o.poll_us, .max = 1000000,
          .help = "look at rings for so long before sleeping"),
    FIELDS_OF(tap_counters, "", struct tap, nd), /* the struct's begin */
    {.help = NULL},
};

const struct netdev_class tap_class = {
    .name = "tap",
    .help = "a network interface of the host",
    .fields = tap_fields,
    .size = sizeof(struct tap),
    .check = tap_check,
    .open = tap_open,
};

static const struct field bridge_fields[] = {
    FIELDS_OF(netdev_fields, "", struct tap, nd),
    TAP_TEXT(br, "BRIDGE", "the bridge (br0)"),
    TAP_TEXT(helper, "PATH", "QEMU's bridge helper opens it"),
    FIELDS_OF(tap_counters, "", struct tap, nd),
    {.help = NULL},
};

const struct netdev_class bridge_class = {
    .name = "bridge",
    .help = "a tap that is a port of a bridge",
    .fields = bridge_fields,
    .size = sizeof(struct tap),
    .check = tap_bridge_check,
    .open = tap_open,
};
