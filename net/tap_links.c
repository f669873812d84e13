/* SPDX-License-Identifier: MIT */
/* The TAP backend's interface is deleted, and made again.
 *
 * When the interface is deleted under us the file stays open but dead: read and
 * write give EBADFD, and poll gives EPOLLERR for ever, which no NIC could
 * unsubscribe. The main loop hears of it from rtnetlink (an epoll for EPOLLERR
 * alone is not woken: tun wakes its readers only), puts a file that is never
 * ready in its place and tells the NIC that the cable is out, until an
 * interface of that name is there again. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/sandbox.h"
#include "net/tap_fd.h"

/* The files are replaced by a timer that is not armed: EAGAIN to read, EINVAL
 * to write, never ready. Closing the old ones ends every epoll's interest. The
 * timer is there from the start: now there may be no descriptor to be had.
 *
 * syscalls loop if tap: dup3 close */
static void tap_links_gone(struct tap *t)
{
    atomic_store(&t->dead, true);
    for (unsigned i = 0; i < t->nd.nq; i++)
        dup3(t->idle, t->q[i].fd, O_CLOEXEC);
    log_line("%s: interface %s was deleted; the cable is out%s", t->nd.id,
             t->ifname,
             t->named ? " until there is one of this name again" : "");
    netdev_set_link(&t->nd, false);
}

/* A queue's file as it was, of an interface that is there again; -errno. */
static int tap_links_queue(struct tap *t)
{
    int hdr = NET_HDR_LEN;
    struct ifreq ifr = {.ifr_flags = (short)t->flags};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    memcpy(ifr.ifr_name, t->ifname, IFNAMSIZ);
    if (ioctl(fd, TUNSETIFF, &ifr) == 0 &&
        (!t->nd.vnet_hdr || ioctl(fd, TUNSETVNETHDRSZ, &hdr) == 0) &&
        (!t->sndbuf || ioctl(fd, TUNSETSNDBUF, &t->sndbuf) == 0))
        return fd;
    int err = -errno;
    close(fd);
    return err;
}

/* An interface of the name is there again: its files take the dead ones' place.
 * It is somebody's who made it: it stays when we end. -errno. */
static int tap_links_again(struct tap *t)
{
    int fd[NET_QUEUES_MAX], err = 0;
    unsigned n = 0;
    while (n < t->nd.nq && !err) {
        fd[n] = tap_links_queue(t);
        if (fd[n] < 0)
            err = fd[n];
        else
            n++;
    }
    for (unsigned i = 0; i < n; i++) {
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
    if (!t->named)
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
    return loop_add(l, &t->links);
}
