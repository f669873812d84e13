/* SPDX-License-Identifier: MIT */
/* The TAP backend's interface is deleted, and made again.
 *
 * When the interface is deleted under us the file stays open but dead: read and
 * write give EBADFD, and poll gives EPOLLERR for ever, which no NIC could
 * unsubscribe. The main loop hears of it from rtnetlink (an epoll for EPOLLERR
 * alone is not woken: tun wakes its readers only), puts a file that is never
 * ready in its place and tells the NIC that the cable is out, until an
 * interface of that name is there again. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/sandbox.h"
#include "net/tap_fd.h"

/* Of all that happens to interfaces a TAP that is there needs to hear only that
 * one was deleted: each start and each change beside it would wake the machines
 * of a host all together. What is compared is the type, in network byte order
 * to the filter and in ours to who wrote it. */
static void tap_links_hear(struct tap *t, bool all)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS,
                 offsetof(struct nlmsghdr, nlmsg_type)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELLINK), 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog deleted = {ARRAY_LEN(code), code};
    if (t->links.fd >= 0)
        setsockopt(t->links.fd, SOL_SOCKET,
                   all ? SO_DETACH_FILTER : SO_ATTACH_FILTER, &deleted,
                   sizeof(deleted));
}

/* The files are replaced by a timer that is not armed: EAGAIN to read, EINVAL
 * to write, never ready. Closing the old ones ends every epoll's interest. The
 * timer is there from the start: now there may be no descriptor to be had.
 *
 * syscalls loop if tap: dup3 close */
static void tap_links_idle(struct tap *t)
{
    atomic_store(&t->dead, true);
    for (unsigned i = 0; i < t->nd.nq; i++)
        dup3(t->idle, t->q[i].fd, O_CLOEXEC);
}

static void tap_links_gone(struct tap *t)
{
    tap_links_idle(t);
    log_line("%s: interface %s was deleted; the cable is out%s", t->nd.id,
             t->ifname,
             t->named ? " until there is one of this name again" : "");
    netdev_set_link(&t->nd, false);
}

/* Files of an interface, one for each queue, take the place of those that are
 * there; all of them are closed. 0 or -errno.
 *
 * syscalls loop if tap: ioctl(TUNSETVNETHDRSZ|TUNSETSNDBUF) dup3 close, where
 * another interface takes the place, which only a test with two has */
static int tap_links_take(struct tap *t, const int *fd)
{
    int hdr = NET_HDR_LEN, err = 0;
    for (unsigned i = 0; i < t->nd.nq && !err; i++)
        if ((t->nd.vnet_hdr && ioctl(fd[i], TUNSETVNETHDRSZ, &hdr)) ||
            (t->sndbuf && ioctl(fd[i], TUNSETSNDBUF, &t->sndbuf)))
            err = -errno;
    for (unsigned i = 0; i < t->nd.nq; i++) {
        if (!err)
            dup3(fd[i], t->q[i].fd, O_CLOEXEC);
        close(fd[i]);
    }
    if (err)
        return err;
    atomic_store(&t->dead, false);
    tap_set_offload(&t->nd, t->offload);
    tap_set_queues(&t->nd, t->active ? t->active : t->nd.nq);
    return 0;
}

/* An interface of the name is there again. It is somebody's who made it: it
 * stays when we end. -errno. */
static int tap_links_again(struct tap *t)
{
    int fd[NET_QUEUES_MAX] = {0};
    for (unsigned n = 0; n < t->nd.nq; n++) {
        fd[n] = if_open_tap(t->ifname, t->flags);
        if (fd[n] >= 0)
            continue;
        int err = fd[n];
        while (n)
            close(fd[--n]);
        return err;
    }
    return tap_links_take(t, fd);
}

/* Descriptors from a client may be anything, and block: each must be a tap's,
 * with headers as this netdev has them. Tells which. 0 or -errno (said).
 *
 * syscalls loop if tap: ioctl(TUNGETIFF) fcntl(F_GETFL|F_SETFL) */
static int tap_links_check(const struct tap *t, const int *fd,
                           char name[IFNAMSIZ])
{
    for (unsigned i = 0; i < t->nd.nq; i++) {
        struct ifreq ifr = {0};
        if (ioctl(fd[i], TUNGETIFF, &ifr) || !(ifr.ifr_flags & IFF_TAP))
            return fail(-EINVAL, "%s: descriptor %u is not a tap's", t->nd.id,
                        i);
        if (t->nd.vnet_hdr != !!(ifr.ifr_flags & IFF_VNET_HDR))
            return fail(-EINVAL,
                        "%s: the tap %.15s must be opened with%s "
                        "IFF_VNET_HDR, as the one before",
                        t->nd.id, ifr.ifr_name, t->nd.vnet_hdr ? "" : "out");
        int flags = fcntl(fd[i], F_GETFL);
        if (!(flags & O_NONBLOCK))
            fcntl(fd[i], F_SETFL, flags | O_NONBLOCK);
        snprintf(name, IFNAMSIZ, "%.15s", ifr.ifr_name);
    }
    return 0;
}

static int tap_links_swap(struct tap *t, const int *fd, const char *ifname)
{
    netdev_set_link(&t->nd, false);
    int err = tap_links_take(t, fd);
    netdev_set_link(&t->nd, !atomic_load(&t->dead));
    return err ? fail(err, "%s: interface %s: %s", t->nd.id, ifname,
                      strerror(-err))
               : 0;
}

int tap_swap(struct netdev *nd, const int *fd, const char *ifname)
{
    struct tap *t = container_of(nd, struct tap, nd);
    char name[IFNAMSIZ] = "";
    timer_cancel(&t->retry);
    int err = tap_links_check(t, fd, name);
    for (unsigned i = 0; err && i < nd->nq; i++)
        close(fd[i]);
    t->named &= ifname != NULL;
    ifname = ifname ? ifname : name;
    if (!err)
        err = tap_links_swap(t, fd, ifname);
    if (err)
        return err;
    if (t->links.fd >= 0 && !t->links.loop)
        loop_add(t->retry.loop, &t->links);
    log_line("%s: interface %s has taken the place of %s", nd->id, ifname,
             t->ifname);
    nd->away = false;
    snprintf(t->ifname, sizeof(t->ifname), "%s", ifname);
    opts_move(NULL, &nd->opts, "ifname", NULL);
    err = opts_add(&nd->opts, "ifname", ifname);
    t->o.ifname = opts_str(&nd->opts, "ifname", NULL);
    return err;
}

void tap_drop(struct netdev *nd)
{
    struct tap *t = container_of(nd, struct tap, nd);
    timer_cancel(&t->retry);
    loop_del(&t->links);
    tap_links_idle(t);
    log_line("%s: has let go of interface %s; the cable is out", nd->id,
             t->ifname);
    nd->away = true;
    netdev_set_link(nd, false);
}

/* Is there an interface of the name again? One that cannot be used is looked at
 * again in a second, and not before: each look makes messages of its own. */
static void tap_links_look(struct tap *t)
{
    if (t->retry.due)
        return;
    int err = if_mtu(t->ifname);
    if (err >= 0)
        err = tap_links_again(t);
    if (err == -ENODEV)
        return;
    if (err) {
        fault_note(&t->f_again, "%s: interface %s cannot be used again: %s%s%s",
                   t->nd.id, t->ifname, strerror(-err),
                   err == -EINVAL ? "; it was made with other settings" : "",
                   err == -EINVAL && t->nd.nq > 1 ? " (multi_queue)" : "");
        timer_arm(&t->retry, now_ns() + 1000000000);
        return;
    }
    tap_links_hear(t, false);
    log_line("%s: interface %s is there again", t->nd.id, t->ifname);
    netdev_set_link(&t->nd, true);
}

static void tap_links_retry(struct timer *timer)
{
    tap_links_look(container_of(timer, struct tap, retry));
}

/* Messages are only a hint to look; lost ones (ENOBUFS) do no harm.
 *
 * syscalls loop if tap: recvfrom ioctl(TUNGETIFF) */
static void tap_links_changed(struct event *ev, uint32_t got)
{
    struct tap *t = container_of(ev, struct tap, links);
    struct ifreq ifr;
    char buf[4096];
    (void)got;
    for (int i = 0; i < 16; i++)
        if (recv(ev->fd, buf, sizeof(buf), MSG_DONTWAIT) < 0)
            break;
    if (atomic_load(&t->dead)) {
        tap_links_look(t);
        return;
    }
    if (ioctl(t->q[0].fd, TUNGETIFF, &ifr) == 0)
        return; /* EBADFD: tun, ENOLINK: macvtap */
    t->named &= !sandbox_inside();
    if (t->named)
        tap_links_hear(t, true);
    else
        loop_del(ev);
    tap_links_gone(t);
}

int tap_links_watch(struct tap *t, struct loop *l)
{
    struct sockaddr_nl sa = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    NETLINK_ROUTE);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        if (fd >= 0)
            close(fd);
        return 0; /* not allowed here: do without */
    }
    t->links =
        (struct event){.fd = fd, .want = EPOLLIN, .ready = tap_links_changed};
    timer_init(&t->retry, l, tap_links_retry);
    tap_links_hear(t, false);
    return loop_add(l, &t->links);
}
