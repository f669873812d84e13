/* SPDX-License-Identifier: MIT */
/* vhost-user's messages, and the greeting of a back-end.
 *
 * A message is never waited for to be read, and an answer only by who has rings
 * to take back (vu_get). The greeting is a handful of questions, each sent when
 * the answer to the last one has come, on the main loop: what features it has,
 * what of the protocol, how many queues, and the configuration space where that
 * is the back-end's. It has a second for all of them (host/peer.c). */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "devices/virtio/vhost_user.h"

const char vu_lacks_features[] = "lacks features that the guest uses";
static const char broke[] = "broke the protocol";

/* -------------------------------------------------------------- messages */

/* syscalls loop if vhost_user: shutdown */
/* syscalls vcpu if vhost_user: shutdown, a process that goes astray just when a
 * driver sets its rings up */
int vu_give_up(struct vuser *u, int err, const char *why)
{
    const char *first = NULL; /* what follows is only what follows */
    if (u->fd >= 0) {
        atomic_compare_exchange_strong(&u->peer->why, &first, why);
        shutdown(u->fd, SHUT_RDWR);
    }
    return err;
}

/* Does not wait: a back-end that leaves so much unread has gone astray.
 *
 * syscalls loop vcpu if vhost_user: sendmsg */
static int talk_send(int sock, struct vu_message *msg, uint32_t request,
                     size_t size, const int *fds, int nfds)
{
    char ctl[CMSG_SPACE(VU_REGIONS * sizeof(int))] = {0};
    struct iovec iov = {msg, VU_HEAD + size};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    msg->request = request;
    msg->flags = 1; /* the protocol's version */
    msg->size = (uint32_t)size;
    if (nfds) {
        m.msg_control = ctl;
        m.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, (size_t)nfds * sizeof(int));
    }
    ssize_t sent = sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent == (ssize_t)iov.iov_len ? 0 : sent < 0 ? -errno : -EIO;
}

int vu_put(struct vuser *u, struct vu_message *msg, uint32_t request,
           size_t size, const int *fds, int nfds)
{
    if (u->fd < 0)
        return -ENOTCONN;
    int err = talk_send(u->fd, msg, request, size, fds, nfds);
    return err ? vu_give_up(u, err, "does not read") : 0;
}

int vu_put_u64(struct vuser *u, uint32_t request, uint64_t val)
{
    struct vu_message m = {.u64 = val};
    return vu_put(u, &m, request, sizeof(m.u64), NULL, 0);
}

int vu_put_state(struct vuser *u, uint32_t request, uint32_t index,
                 uint32_t num)
{
    struct vu_message m = {.state = {index, num}};
    return vu_put(u, &m, request, sizeof(m.state), NULL, 0);
}

/* Bit 8 of the payload: there is none. */
int vu_put_fd(struct vuser *u, uint32_t request, uint32_t index, int fd)
{
    struct vu_message m = {.u64 = index | (fd < 0 ? 0x100u : 0)};
    return vu_put(u, &m, request, sizeof(m.u64), &fd, fd >= 0);
}

/* Is this an answer to `request`, with so much payload? */
static bool talk_answers(const struct vu_message *m, uint32_t request,
                         size_t size)
{
    return m->request == request && m->flags & 4 && m->size == size;
}

/* The payload of GET_CONFIG and its answer. */
static size_t talk_config_size(const struct vuser *u)
{
    return VU_CONFIG_HEAD + u->v.dev.config_len;
}

/* The rest of one message of `size` bytes of payload, in u->in.
 *
 * syscalls loop if vhost_user: recvfrom poll */
/* syscalls vcpu if vhost_user: recvfrom poll, a driver that lets its device go,
 * as only the lab's do */
static int talk_wait(struct vuser *u, uint32_t request, size_t size,
                     int64_t end)
{
    size_t want = VU_HEAD + size;
    struct pollfd p = {.fd = u->fd, .events = POLLIN};
    while (u->fd >= 0 && u->have < want) {
        ssize_t got =
            recv(u->fd, (char *)&u->in + u->have, want - u->have, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return vu_give_up(u, -EPIPE, "hung up");
        if (got > 0)
            u->have += (size_t)got;
        int64_t left = end - real_ms();
        if (left <= 0)
            return vu_give_up(u, -ETIMEDOUT, "does not answer");
        if (u->have < want)
            poll(&p, 1, (int)left);
    }
    u->have = 0;
    if (u->fd < 0)
        return -ENOTCONN;
    return talk_answers(&u->in, request, size) ? 0
                                               : vu_give_up(u, -EPROTO, broke);
}

/* Answers come in the order of the questions. */
int vu_get(struct vuser *u, struct vu_message *m, uint32_t request, size_t size,
           int64_t end)
{
    int err = 0;
    if (u->looking)
        err = talk_wait(u, VU_GET_CONFIG, talk_config_size(u), end);
    if (!err && u->looking)
        memcpy(u->config, u->in.config.bytes, u->v.dev.config_len);
    u->looking = false;
    if (!err)
        err = talk_wait(u, request, size, end);
    if (!err)
        memcpy(m, &u->in, VU_HEAD + size);
    return err;
}

static int talk_ask_config(struct vuser *u, int fd)
{
    struct vu_message m = {.config.size = u->v.dev.config_len};
    return talk_send(fd, &m, VU_GET_CONFIG, talk_config_size(u), NULL, 0);
}

void vu_look(struct vuser *u)
{
    pthread_mutex_lock(&u->lock);
    if (u->fd >= 0 && !u->looking && u->protocol & VU_PF_CONFIG) {
        u->looking = true;
        u->have = 0;
        if (talk_ask_config(u, u->fd))
            vu_give_up(u, -EIO, "does not read");
        peer_want(u->peer, EPOLLIN);
    }
    pthread_mutex_unlock(&u->lock);
}

/* As far as the answer has come; true: it is here. Lock held. */
static bool talk_look_on(struct vuser *u)
{
    const size_t want = VU_HEAD + talk_config_size(u);
    ssize_t len = 0;
    if (u->looking)
        len =
            recv(u->fd, (char *)&u->in + u->have, want - u->have, MSG_DONTWAIT);
    if (len > 0)
        u->have += (size_t)len;
    if (u->have >= VU_HEAD &&
        !talk_answers(&u->in, VU_GET_CONFIG, want - VU_HEAD))
        vu_give_up(u, -EPROTO, broke);
    else if (u->looking && u->have < want)
        return false;
    bool news = u->looking && u->have == want;
    if (news)
        memcpy(u->config, u->in.config.bytes, u->v.dev.config_len);
    u->looking = false;
    u->have = 0;
    peer_want(u->peer, 0);
    return news;
}

/* After the greeting nothing comes but that answer; who says something else is
 * not heard before the next question. */
static void talk_looked(struct vuser *u)
{
    pthread_mutex_lock(&u->lock);
    bool news = u->fd >= 0 && talk_look_on(u);
    pthread_mutex_unlock(&u->lock);
    if (news)
        u->v.dev.config_changed(u->v.dev.dev);
}

/* -------------------------------------------------------------- greeting */

/* The payload of the answer that is awaited. */
static size_t greet_size(const struct vuser *u)
{
    return u->asked == VU_GET_CONFIG ? talk_config_size(u) : sizeof(u->in.u64);
}

/* What to ask after the answer to `u->asked` (0: the beginning). */
static uint32_t greet_after(struct vuser *u)
{
    switch (u->asked) {
    case 0:
        return VU_GET_FEATURES;
    case VU_GET_FEATURES:
        u->offers = u->in.u64;
        if (u->offers & VU_F_PROTOCOL)
            return VU_GET_PROTOCOL_FEATURES;
        break;
    case VU_GET_PROTOCOL_FEATURES:
        u->protocol = u->in.u64 & VU_PF_MQ;
        if (u->v.dev.config_len)
            u->protocol |= u->in.u64 & (VU_PF_CONFIG | VU_PF_BACKEND_REQ);
        return VU_SET_PROTOCOL_FEATURES;
    case VU_SET_PROTOCOL_FEATURES:
        if (u->protocol & VU_PF_MQ)
            return VU_GET_QUEUE_NUM;
        break;
    case VU_GET_QUEUE_NUM:
        u->served = u->in.u64;
        break;
    default:
        return VU_SET_OWNER;
    }
    return u->protocol & VU_PF_CONFIG ? VU_GET_CONFIG : VU_SET_OWNER;
}

/* Sends what is to come. 0: an answer is awaited; 1: the greeting is over;
 * -errno. */
static int greet_next(struct vuser *u)
{
    int err;
    do {
        struct vu_message m = {.u64 = u->protocol};
        int fd = u->peer->conn.fd;
        size_t size = 0;
        u->asked = greet_after(u);
        if (u->asked == VU_SET_PROTOCOL_FEATURES)
            size = sizeof(m.u64);
        err = u->asked == VU_GET_CONFIG
                  ? talk_ask_config(u, fd)
                  : talk_send(fd, &m, u->asked, size, NULL, 0);
    } while (!err && u->asked == VU_SET_PROTOCOL_FEATURES);
    return err ? err : u->asked == VU_SET_OWNER;
}

/* Why not, if it is no use. */
static const char *greet_refused(struct vuser *u)
{
    const struct vhost_device *dev = &u->v.dev;
    if (u->served < dev->queues) {
        snprintf(u->few, sizeof(u->few), "serves %u queues, not %u",
                 (unsigned)u->served, dev->queues);
        return u->few;
    }
    if (dev->config_len && !(u->protocol & VU_PF_CONFIG))
        return "has no configuration space";
    return u->acked & ~u->offers ? vu_lacks_features : NULL;
}

static void greeted(struct vuser *u)
{
    pthread_mutex_lock(&u->lock);
    const char *refused = greet_refused(u);
    if (!refused) {
        u->fd = u->peer->conn.fd;
        u->can = u->offers;
        /* Where there is some, it was the last to be asked for. */
        memcpy(u->config, u->in.config.bytes, u->v.dev.config_len);
        u->looking = false;
        if (u->protocol & VU_PF_BACKEND_REQ)
            vu_put(u, &u->in, VU_SET_BACKEND_REQ_FD, 0, &u->hint_fd, 1);
    }
    pthread_mutex_unlock(&u->lock);
    if (refused) {
        peer_drop(u->peer, refused);
        return;
    }
    peer_want(u->peer, 0);
    peer_up(u->peer);
    u->v.dev.here(u->v.dev.dev, true);
}

/* The next answer of the greeting, as far as it has come. */
static void greet_ready(struct peer *p, uint32_t got)
{
    struct vuser *u = p->owner;
    const size_t want = VU_HEAD + greet_size(u);
    (void)got;
    if (p->up) {
        talk_looked(u);
        return;
    }
    ssize_t len = recv(p->conn.fd, (char *)&u->in + u->have, want - u->have,
                       MSG_DONTWAIT);
    if (len == 0)
        peer_drop(p, "hung up");
    if (len <= 0)
        return;
    u->have += (size_t)len;
    int more = 0;
    /* An error may be an answer without payload: not waited for. */
    if (u->have >= VU_HEAD && !talk_answers(&u->in, u->asked, want - VU_HEAD))
        more = -EPROTO;
    else if (u->have < want)
        return;
    u->have = 0;
    if (!more)
        more = greet_next(u);
    if (more < 0)
        peer_drop(p, broke);
    else if (more)
        greeted(u);
}

static void greet_opened(struct peer *p)
{
    struct vuser *u = p->owner;
    u->have = 0;
    u->asked = 0;
    u->protocol = 0;
    u->served = 1;
    if (greet_next(u) < 0)
        peer_drop(p, "hung up");
    else
        peer_want(p, EPOLLIN);
}

static void greet_closed(struct peer *p)
{
    struct vuser *u = p->owner;
    pthread_mutex_lock(&u->lock);
    bool was_here = u->fd >= 0;
    u->fd = -1;
    pthread_mutex_unlock(&u->lock);
    if (was_here)
        u->v.dev.here(u->v.dev.dev, false);
}

void vu_greet(struct vuser *u)
{
    u->peer->owner = u;
    u->peer->opened = greet_opened;
    u->peer->closed = greet_closed;
    u->peer->ready = greet_ready;
    snprintf(u->peer->id, sizeof(u->peer->id), "%s", u->v.dev.id);
}
