/* SPDX-License-Identifier: MIT */
/* -netdev vhost-user against a small back-end in a thread: what it is told, and
 * what happens when it goes and comes back. */
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "net/vhost.h"
#include "host/chardev.h"
#include "net/vhost_user.h"
#include "tests/unit/net/net_test.h"

#define MEM (64 << 10)
#define GPA 0x100000
#define BITS ((1ull << 32) | (1ull << 30) | (1ull << 34) | 1)

/* The back-end: keeps what it is told, answers what must be answered. */
struct backend {
    int fd;
    pthread_t thread;
    uint64_t features, acked;
    uint32_t regions;
    uint64_t gpa, size, uva, offset;
    uint8_t *mem;
    uint32_t num[4], base[4], enabled[4];
    uint64_t desc[4], used[4], avail[4];
    int kick[4], call[4];
    int bases_asked;
    uint32_t answer_base;
    bool silent; /* does not answer */
};

static int read_msg(struct backend *b, uint32_t head[3], uint8_t *body, int *fd)
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

static void take_msg(struct backend *b, uint32_t request, const uint8_t *body,
                     int fd)
{
    uint32_t w[2];
    uint64_t q[5];
    memcpy(w, body, sizeof(w));
    memcpy(q, body, sizeof(q));
    uint32_t i = w[0] & 3;
    if (request == 1)
        answer(b, 1, b->features);
    else if (request == 15)
        answer(b, 15, 1); /* MQ */
    else if (request == 17)
        answer(b, 17, 2);
    else if (request == 2)
        b->acked = q[0];
    else if (request == 5) {
        b->regions = w[0];
        b->gpa = q[1];
        b->size = q[2];
        b->uva = q[3];
        b->offset = q[4];
        b->mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
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
    while (read_msg(b, head, body, &fd) == 0)
        take_msg(b, head[0], body, fd);
    return NULL;
}

static struct backend *backend_new(int fd)
{
    struct backend *b = calloc(1, sizeof(*b));
    b->fd = fd;
    b->features = BITS;
    for (int i = 0; i < 4; i++)
        b->kick[i] = b->call[i] = -1;
    return b;
}

static void backend_end(struct backend *b)
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
    if (b->mem)
        munmap(b->mem, MEM);
    free(b);
}

static struct sockaddr_un sa;

/* Accepts one front-end on a listening socket. */
static void *accept_one(void *arg)
{
    struct backend *b = arg;
    int l = b->fd;
    b->fd = accept(l, NULL, NULL);
    return backend_run(b);
}

/* The back-end goes to a front-end that is a server. */
static void *dial_one(void *arg)
{
    struct backend *b = arg;
    b->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    for (int i = 0; i < 200; i++) {
        if (connect(b->fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
            return backend_run(b);
        usleep(10000);
    }
    return NULL;
}

static int listen_at(const char *path)
{
    int l = socket(AF_UNIX, SOCK_STREAM, 0);
    sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    strcpy(sa.sun_path, path);
    REQUIRE_EQ(bind(l, (struct sockaddr *)&sa, sizeof(sa)), 0);
    REQUIRE_EQ(listen(l, 1), 0);
    return l;
}

static int link_seen;
static void link_changed(void *nic, bool up)
{
    (void)nic;
    link_seen = up ? 1 : 2;
}

static uint8_t *mem;
static struct vhost_ring rings[4];

/* Guest memory with four rings of eight, and their eventfds. */
static struct vhost_region make_memory(void)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    REQUIRE_EQ(ftruncate(fd, MEM), 0);
    mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    for (int i = 0; i < 4; i++)
        rings[i] = (struct vhost_ring){.num = 8,
                                       .desc = mem + i * 4096,
                                       .avail = mem + i * 4096 + 256,
                                       .used = mem + i * 4096 + 512,
                                       .kick = eventfd(0, EFD_NONBLOCK),
                                       .call = eventfd(0, EFD_NONBLOCK),
                                       .base = (uint32_t)i};
    return (struct vhost_region){GPA, MEM, mem, fd, 0};
}

static void settle(struct machine *m)
{
    usleep(50000);
    fake_run_loop(m);
}

static void check_told(struct backend *b, const uint32_t *base)
{
    for (int k = 0; k < 100 && b->enabled[3] == 0; k++)
        usleep(10000);
    CHECK_EQ(b->acked, (1ull << 32) | (1ull << 30) | 1);
    CHECK_EQ(b->regions, 1);
    CHECK_EQ(b->gpa, GPA);
    CHECK_EQ(b->size, MEM);
    REQUIRE(b->mem != NULL);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(b->num[i], 8);
        CHECK_EQ(b->base[i], base[i]);
        CHECK_EQ(b->enabled[i], 1);
        CHECK_EQ(b->used[i] - b->uva, i * 4096 + 512);
        CHECK_EQ(b->avail[i] - b->uva, i * 4096 + 256);
        eventfd_t v = 0;
        CHECK_EQ(eventfd_read(b->kick[i], &v), 0); /* looked at once */
        eventfd_write(b->call[i], 1);
        CHECK_EQ(eventfd_read(rings[i].call, &v), 0);
    }
}

TEST(net_vhost_user_tells_all_and_tells_it_again)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    struct vhost *v = NULL;
    char text[200];
    const char *path = nt_path("vu");
    int l = listen_at(path);
    struct backend *b = backend_new(l);
    pthread_create(&b->thread, NULL, accept_one, b);
    snprintf(text, sizeof(text), "id=u,path=%s,queues=2,reconnect-ms=100",
             path);
    REQUIRE_EQ(nt_open(m, &vhost_user_class, text, &nd), 0);
    nd->link_changed = link_changed;
    struct vhost_region r = make_memory();
    REQUIRE_EQ(vhost_open(nd, m->loop, &r, 1, &v), 0);
    CHECK_EQ(v->pairs, 2);
    CHECK_EQ(v->features, (1ull << 32) | 1); /* packed left out */
    CHECK(netdev_link(nd));
    CHECK_EQ(nt_send(nd, 60, 0), -ENOTCONN);
    REQUIRE_EQ(v->start(v, v->features | (1ull << 5), rings, 2), 0);
    check_told(b, (uint32_t[]){0, 1, 2, 3});
    v->set_pairs(v, 1);
    usleep(50000);
    CHECK_EQ(b->enabled[1], 1);
    CHECK_EQ(b->enabled[3], 0);
    v->set_pairs(v, 2);
    /* it goes; the next one starts where the used rings stand */
    backend_end(b);
    settle(m);
    CHECK_EQ(link_seen, 2);
    for (int i = 0; i < 4; i++)
        ((uint16_t *)rings[i].used)[1] = (uint16_t)(40 + i);
    b = backend_new(l);
    pthread_create(&b->thread, NULL, accept_one, b);
    fake_sleep_ns(m, 200000000);
    CHECK_EQ(link_seen, 1);
    check_told(b, (uint32_t[]){40, 41, 42, 43});
    /* stop asks for the position */
    uint32_t base[4] = {0};
    b->answer_base = 7;
    v->stop(v, base);
    CHECK_EQ(base[0], 7);
    CHECK_EQ(base[3], 7);
    CHECK_EQ(b->bases_asked, 4);
    /* one that does not answer costs a second, not the VM */
    rings[0].base = 7;
    REQUIRE_EQ(v->start(v, v->features, rings, 2), 0);
    b->silent = true;
    v->stop(v, base);
    CHECK_EQ(base[0], 40);
    settle(m);
    CHECK_EQ(link_seen, 2);
    backend_end(b);
    /* nobody there: starting and stopping still work */
    REQUIRE_EQ(v->start(v, v->features, rings, 2), 0);
    v->stop(v, base);
    CHECK_EQ(base[2], 42);
    v->close(v);
    nd->close(nd);
    close(l);
    fake_free(m);
    nt_clean();
}

TEST(net_vhost_user_server_and_chardev)
{
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    char text[200];
    const char *path = nt_path("vus");
    sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    strcpy(sa.sun_path, path);
    struct backend *b = backend_new(-1);
    b->features = (1ull << 32) | (1ull << 15); /* no protocol features */
    pthread_create(&b->thread, NULL, dial_one, b);
    snprintf(text, sizeof(text), "socket,id=c9,path=%s,server=on,wait=off",
             path);
    REQUIRE_EQ(chardev_add(text), 0);
    REQUIRE_EQ(nt_open(m, &vhost_user_class, "id=u,chardev=c9", &nd), 0);
    CHECK_HAS(test_log(), "waiting for a vhost-user back-end");
    CHECK(netdev_link(nd));
    nd->close(nd);
    CHECK_EQ(access(path, F_OK), -1);
    backend_end(b);
    fake_free(m);
    nt_clean();
}

TEST(net_vhost_user_errors_are_said)
{
    static const char *const bad[][2] = {
        {"id=u", "either path= or chardev="},
        {"id=u,chardev=nope", "no -chardev nope"},
        {"id=u,path=/nonexistent/x", "no vhost-user back-end: No such file"},
        {"id=u,path=/x,queues=99", "1 to 16"},
        {"id=u,path=/x,color=red", "color"},
        {"id=u,chardev=x", "must be socket,path=PATH"},
    };
    struct machine *m = fake_new(4096);
    struct netdev *nd = NULL;
    REQUIRE_EQ(chardev_add("pty,id=x"), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK(nt_open(m, &vhost_user_class, bad[i][0], &nd) < 0);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    chardev_free();
    /* a peer that wants two queues of a back-end with one */
    int l = listen_at(nt_path("one"));
    struct backend *b = backend_new(l);
    b->features = 1ull << 32;
    pthread_create(&b->thread, NULL, accept_one, b);
    char text[200];
    snprintf(text, sizeof(text), "id=u,path=%s,queues=2", sa.sun_path);
    CHECK(nt_open(m, &vhost_user_class, text, &nd) < 0);
    CHECK_HAS(test_log(), "serves 1 queues");
    backend_end(b);
    close(l);
    fake_free(m);
    nt_clean();
}
