/* SPDX-License-Identifier: MIT */
/* The vhost-user back-end of tests: see vubackend.h. */
#include "tests/unit/vubackend.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/test.h"

int backend_read(struct backend *b, uint32_t head[3], uint8_t *body, int *fd)
{
    char ctl[CMSG_SPACE(8 * sizeof(int))];
    struct iovec iov = {head, 12};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = ctl,
                       .msg_controllen = sizeof(ctl)};
    *fd = -1;
    if (recvmsg(b->fd, &m, MSG_WAITALL) != 12)
        return -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(c), sizeof(*fd));
    if (head[2] && recv(b->fd, body, head[2], MSG_WAITALL) != (int)head[2])
        return -1;
    return 0;
}

static void answer(struct backend *b, uint32_t request, uint64_t val)
{
    uint32_t out[5] = {request, 5, 8};
    memcpy(out + 3, &val, 8);
    if (!b->silent)
        CHECK_EQ(send(b->fd, out, 20, MSG_NOSIGNAL), 20);
}

static void answer_config(struct backend *b, uint32_t len)
{
    uint32_t out[6 + 64] = {24, 5, 12 + b->config_len, 0, b->config_len};
    b->asked_len = len;
    memcpy(out + 6, b->config, b->config_len);
    ssize_t n = send(b->fd, out, 24 + b->config_len, MSG_NOSIGNAL);
    if (!b->silent)
        CHECK_EQ(n, 24 + b->config_len);
}

static void take_msg(struct backend *b, uint32_t request, const uint8_t *body,
                     int fd)
{
    uint32_t w[2];
    uint64_t q[1 + 4 * 3];
    memcpy(w, body, sizeof(w));
    memcpy(q, body, sizeof(q));
    uint32_t i = w[0] & 3;
    if (request == 1)
        answer(b, 1, b->features);
    else if (request == 15)
        answer(b, 15, b->protocol | (b->config_len ? 1 << 9 : 0)); /* CONFIG */
    else if (request == 17)
        answer(b, 17, b->queues);
    else if (request == 2)
        b->acked = q[0];
    else if (request == 5) {
        b->regions = w[0];
        b->gpa = q[1];
        b->size = q[2];
        b->uva = q[3];
        b->offset = q[4];
        b->mem =
            mmap(NULL, BACKEND_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (w[0] > 1)
            b->share = q[1 + 4 * (w[0] - 1)];
    } else if (request == 8)
        b->num[i] = w[1];
    else if (request == 10)
        b->base[i] = w[1];
    else if (request == 9) {
        b->desc[i] = q[1];
        b->used[i] = q[2];
        b->avail[i] = q[3];
    } else if (request == 12)
        b->kick[i] = fd;
    else if (request == 13)
        b->call[i] = fd;
    else if (request == 14)
        close(fd);
    else if (request == 21)
        b->hint = fd;
    else if (request == 24)
        answer_config(b, w[1]);
    else if (request == 25)
        memcpy(b->config + w[0], body + 12, w[1]);
    else if (request == 18)
        b->enabled[i] = w[1];
    else if (request == 11) {
        b->bases_asked++;
        answer(b, 11, i | (uint64_t)b->answer_base << 32);
    }
}

static void *backend_run(void *arg)
{
    struct backend *b = arg;
    uint32_t head[3];
    uint8_t body[512];
    int fd;
    while (backend_read(b, head, body, &fd) == 0)
        take_msg(b, head[0], body, fd);
    return NULL;
}

struct backend *backend_new(int fd)
{
    struct backend *b = calloc(1, sizeof(*b));
    b->fd = fd;
    b->features = BACKEND_BITS;
    b->protocol = 1; /* MQ */
    b->queues = 2;
    b->hint = -1;
    for (int i = 0; i < 256; i++)
        b->config[i] = (uint8_t)(200 + i);
    for (int i = 0; i < 4; i++)
        b->kick[i] = b->call[i] = -1;
    return b;
}

void backend_end(struct backend *b)
{
    shutdown(b->fd, SHUT_RDWR);
    pthread_join(b->thread, NULL);
    close(b->fd);
    for (int i = 0; i < 4; i++) {
        if (b->kick[i] >= 0)
            close(b->kick[i]);
        if (b->call[i] >= 0)
            close(b->call[i]);
    }
    if (b->hint >= 0)
        close(b->hint);
    if (b->mem)
        munmap(b->mem, BACKEND_MEM);
    free(b);
}

struct sockaddr_un backend_sa;

/* Accepts one front-end on a listening socket. */
void *backend_accept(void *arg)
{
    struct backend *b = arg;
    int l = b->fd;
    b->fd = accept(l, NULL, NULL);
    return backend_run(b);
}

/* The back-end goes to a front-end that is a server. */
void *backend_dial(void *arg)
{
    struct backend *b = arg;
    b->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    for (int i = 0; i < 200; i++) {
        if (connect(b->fd, (struct sockaddr *)&backend_sa,
                    sizeof(backend_sa)) == 0)
            return backend_run(b);
        usleep(10000);
    }
    return NULL;
}

int backend_listen(const char *path)
{
    int l = socket(AF_UNIX, SOCK_STREAM, 0);
    backend_sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    strcpy(backend_sa.sun_path, path);
    REQUIRE_EQ(bind(l, (struct sockaddr *)&backend_sa, sizeof(backend_sa)), 0);
    REQUIRE_EQ(listen(l, 1), 0);
    return l;
}
