/* SPDX-License-Identifier: MIT */
/* vhost-user against a small back-end in a thread: what it is told, and what
 * happens when it goes and comes back. The device has four rings; what they
 * carry is nobody's business here. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "devices/virtio/vhost.h"
#include "host/chardev.h"
#include "host/peer.h"
#include "tests/unit/net/net_test.h"
#include "tests/unit/vubackend.h"

#define GPA 0x100000
/* ------------------------------------------------------------- the device */

static int seen; /* 1: the back-end has come; 2: it has gone */
static unsigned broken;
static struct fault errors, refused;

static void here(void *dev, bool up)
{
    CHECK(dev == &errors);
    seen = up ? 1 : 2;
}

static void ring_broken(void *dev)
{
    CHECK(dev == &errors);
    broken++;
}

static struct vhost_device device = {.id = "u",
                                     .rings = 4,
                                     .mask = VHOST_RING_FEATURES | 1,
                                     .queues = 2,
                                     .errors = &errors,
                                     .refused = &refused,
                                     .here = here,
                                     .broken = ring_broken,
                                     .dev = &errors};
static struct chardev *chardev;
static struct peer peer;

/* Its back-end is at `path`, or calls there. */
static int open_at(struct machine *m, const char *path, bool server,
                   uint32_t reconnect_ms, struct vhost **v)
{
    peer = (struct peer){0};
    seen = 0;
    int err = chardev_to("test", path, &peer, &chardev);
    REQUIRE_EQ(err, 0);
    chardev->server = server;
    chardev->reconnect_ms = reconnect_ms;
    REQUIRE_EQ(chardev_need_helper(chardev), 0);
    REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
    REQUIRE_EQ(helper_watch(m->loop), 0);
    err = vhost_user_open(&device, chardev, m, v);
    if (err)
        chardev_release(chardev);
    return err;
}

static uint8_t *mem;
static struct vhost_ring rings[4];
static struct ram own_ram; /* the fake machine's */

/* A machine whose memory is shared, with four rings of eight, and their
 * eventfds. */
static struct machine *make_machine(void)
{
    struct machine *m = fake_new(4096);
    int fd = memfd_create("guest", MFD_CLOEXEC);
    REQUIRE_EQ(ftruncate(fd, BACKEND_MEM), 0);
    mem = mmap(NULL, BACKEND_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    for (int i = 0; i < 4; i++)
        rings[i] = (struct vhost_ring){.num = 8,
                                       .desc = mem + i * 4096,
                                       .avail = mem + i * 4096 + 256,
                                       .used = mem + i * 4096 + 512,
                                       .kick = eventfd(0, EFD_NONBLOCK),
                                       .call = eventfd(0, EFD_NONBLOCK),
                                       .base = (uint32_t)i};
    own_ram = m->ram;
    m->ram =
        (struct ram){.region = {{GPA, BACKEND_MEM, mem, 0}}, .n = 1, .fd = fd};
    return m;
}

static void end_machine(struct machine *m)
{
    close(m->ram.fd);
    munmap(mem, BACKEND_MEM);
    for (int i = 0; i < 4; i++) {
        close(rings[i].kick);
        close(rings[i].call);
    }
    m->ram = own_ram;
    fake_free(m);
    nt_clean();
}

static void close_all(struct machine *m, struct vhost *v)
{
    v->ops->close(v);
    chardev_release(chardev);
    end_machine(m);
}

static void settle(struct machine *m)
{
    usleep(50000);
    fake_run_loop(m);
}

/* Its clock runs while the back-end's thread greets. */
static void come_back(struct machine *m)
{
    seen = 0;
    for (int i = 0; i < 100 && seen != 1; i++) {
        fake_sleep_ns(m, 10000000);
        usleep(5000);
    }
}

static void check_told(struct backend *b, const uint32_t *base)
{
    for (int k = 0; k < 100 && b->enabled[3] == 0; k++)
        usleep(10000);
    CHECK_EQ(b->acked, (1ull << 32) | (1ull << 30) | 1);
    CHECK_EQ(b->regions, 1);
    CHECK_EQ(b->gpa, GPA);
    CHECK_EQ(b->size, BACKEND_MEM);
    REQUIRE(b->mem != NULL);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(b->num[i], 8);
        CHECK_EQ(b->base[i], base[i]);
        CHECK_EQ(b->enabled[i], 1);
        CHECK_EQ(b->used[i] - b->uva, i * 4096 + 512);
        CHECK_EQ(b->avail[i] - b->uva, i * 4096 + 256);
        eventfd_t v = 0;
        eventfd_write(b->call[i], 1);
        CHECK_EQ(eventfd_read(rings[i].call, &v), 0);
    }
}

TEST(vhost_user_tells_all_and_tells_it_again)
{
    struct machine *m = make_machine();
    struct vhost *v = NULL;
    const char *path = nt_path("vu");
    int l = backend_listen(path);
    uint32_t base[4] = {0};
    struct backend *b = backend_new(l);
    pthread_create(&b->thread, NULL, backend_accept, b);
    REQUIRE_EQ(open_at(m, path, false, 100, &v), 0);
    CHECK_EQ(v->features, (1ull << 32) | 1); /* packed left out */
    CHECK_EQ(seen, 1);
    CHECK(v->ops->get_config != NULL);
    REQUIRE_EQ(v->ops->start(v, v->features | (1ull << 5), rings, 4), 0);
    check_told(b, (uint32_t[]){0, 1, 2, 3});
    v->ops->set_rings(v, 2);
    usleep(50000);
    CHECK_EQ(b->enabled[1], 1);
    CHECK_EQ(b->enabled[3], 0);
    v->ops->set_rings(v, 4);
    /* it goes: the rings come back at where the used ones stand */
    for (int i = 0; i < 4; i++)
        ((uint16_t *)rings[i].used)[1] = (uint16_t)(40 + i);
    backend_end(b);
    settle(m);
    CHECK_EQ(seen, 2);
    v->ops->stop(v, base);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_EQ(base[i], 40 + i);
        rings[i].base = base[i];
    }
    b = backend_new(l);
    pthread_create(&b->thread, NULL, backend_accept, b);
    come_back(m);
    CHECK_EQ(seen, 1);
    REQUIRE_EQ(v->ops->start(v, v->features | (1ull << 5), rings, 4), 0);
    check_told(b, (uint32_t[]){40, 41, 42, 43});
    /* stop asks for the position */
    b->answer_base = 7;
    v->ops->stop(v, base);
    CHECK_EQ(base[0], 7);
    CHECK_EQ(base[3], 7);
    CHECK_EQ(b->bases_asked, 4);
    /* one that does not answer costs a quarter of a second, not the VM */
    rings[0].base = 7;
    REQUIRE_EQ(v->ops->start(v, v->features, rings, 4), 0);
    b->silent = true;
    v->ops->stop(v, base);
    CHECK_EQ(base[0], 40);
    settle(m);
    CHECK_EQ(seen, 2);
    backend_end(b);
    /* nobody there: starting and stopping still work */
    REQUIRE_EQ(v->ops->start(v, v->features, rings, 4), 0);
    v->ops->stop(v, base);
    CHECK_EQ(base[2], 42);
    close(l);
    close_all(m, v);
}

TEST(vhost_user_server_and_chardev)
{
    struct machine *m = make_machine();
    struct vhost *v = NULL;
    char text[200];
    const char *path = nt_path("vus");
    backend_sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    strcpy(backend_sa.sun_path, path);
    struct backend *b = backend_new(-1);
    b->features = (1ull << 32) | (1ull << 15); /* no protocol features */
    pthread_create(&b->thread, NULL, backend_dial, b);
    snprintf(text, sizeof(text), "socket,id=c9,path=%s,server=on,wait=off",
             path);
    REQUIRE_EQ(chardev_add(text), 0);
    REQUIRE_EQ(chardev_take("test", "c9", &peer, &chardev), 0);
    helper_need();
    REQUIRE_EQ(helper_begin(geteuid(), getegid()), 0);
    device.queues = 1;
    REQUIRE_EQ(vhost_user_open(&device, chardev, m, &v), 0);
    device.queues = 2;
    CHECK_HAS(test_log(), "waiting for a vhost-user back-end");
    CHECK_EQ(seen, 1);
    CHECK_EQ(v->features, 1ull << 32); /* bit 15 is none of the device's */
    v->ops->close(v);
    helper_end();
    CHECK_EQ(access(path, F_OK), -1);
    chardev_release(chardev);
    chardev_free();
    backend_end(b);
    end_machine(m);
}

TEST(vhost_user_errors_are_said)
{
    struct machine *m = make_machine();
    struct vhost *v = NULL;
    CHECK_EQ(open_at(m, "/nonexistent/x", false, 0, &v), -ENOENT);
    CHECK_HAS(test_log(),
              "no vhost-user back-end at unix:/nonexistent/x: No such file");
    /* a device that wants two queues of a back-end with one */
    int l = backend_listen(nt_path("one"));
    struct backend *b = backend_new(l);
    b->features = 1ull << 32;
    pthread_create(&b->thread, NULL, backend_accept, b);
    CHECK(open_at(m, backend_sa.sun_path, false, 0, &v) < 0);
    CHECK_HAS(test_log(), "serves 1 queues");
    backend_end(b);
    close(l);
    int fd = m->ram.fd;
    m->ram.fd = -1;
    CHECK_EQ(open_at(m, "/x", false, 0, &v), -EINVAL);
    CHECK_HAS(test_log(), "guest memory is not shared");
    m->ram.fd = fd;
    end_machine(m);
}

/* ----------------------------------------------------- configuration space */

/* Of a device whose configuration space is the back-end's: asked for before
 * there is a device, and anew of each back-end that comes. */
TEST(vhost_user_configuration_space_is_the_back_ends)
{
    struct machine *m = make_machine();
    struct vhost *v = NULL;
    uint8_t got[16] = {0};
    int l = backend_listen(nt_path("cfg"));
    struct backend *b = backend_new(l);
    b->config_len = device.config_len = 16;
    pthread_create(&b->thread, NULL, backend_accept, b);
    REQUIRE_EQ(open_at(m, backend_sa.sun_path, false, 100, &v), 0);
    CHECK_EQ(b->asked_len, 16);
    v->ops->get_config(v, 0, got, 16);
    CHECK_MEM(got, b->config, 16);
    /* what the driver writes is told, and read again */
    v->ops->set_config(v, 8, "\x12\x34", 2);
    for (int k = 0; k < 100 && b->config[9] != 0x34; k++)
        usleep(10000);
    CHECK_EQ(b->config[8], 0x12);
    v->ops->get_config(v, 8, got, 4);
    CHECK_MEM(got, b->config + 8, 4);
    /* another one has another */
    backend_end(b);
    settle(m);
    CHECK_EQ(seen, 2);
    v->ops->set_config(v, 0, "\x77", 1); /* nobody is there */
    b = backend_new(l);
    b->config_len = 16;
    b->config[0] = 0xc5;
    pthread_create(&b->thread, NULL, backend_accept, b);
    come_back(m);
    CHECK_EQ(seen, 1);
    v->ops->get_config(v, 0, got, 1);
    CHECK_EQ(got[0], 0xc5);
    backend_end(b);
    v->ops->close(v);
    chardev_release(chardev);
    /* one without, and one whose is too short, are no use */
    static const char *const said[] = {"it has no configuration space",
                                       "it broke the protocol"};
    for (unsigned i = 0; i < 2; i++) {
        b = backend_new(l);
        b->config_len = 12 * i;
        pthread_create(&b->thread, NULL, backend_accept, b);
        CHECK(open_at(m, backend_sa.sun_path, false, 0, &v) < 0);
        CHECK_HAS(test_log(), said[i]);
        backend_end(b);
    }
    device.config_len = 0;
    close(l);
    end_machine(m);
}

/* ------------------------------------------------------- hostile back-ends */

/* A server whose first back-end, a good one, has come and gone. */
static struct vhost *left_alone(struct machine *m)
{
    struct vhost *v = NULL;
    const char *path = nt_path("h");
    backend_sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    strcpy(backend_sa.sun_path, path);
    struct backend *b = backend_new(-1);
    pthread_create(&b->thread, NULL, backend_dial, b);
    REQUIRE_EQ(open_at(m, path, true, 0, &v), 0);
    fake_sleep_ns(m, 6000000000); /* good for long: no pause after it */
    backend_end(b);
    settle(m);
    CHECK_EQ(seen, 2);
    test_log();
    return v;
}

static int call_in(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    REQUIRE_EQ(connect(fd, (struct sockaddr *)&backend_sa, sizeof(backend_sa)),
               0);
    return fd;
}

/* What the front-end said; 0: nothing. */
static uint32_t said(int fd)
{
    uint32_t head[3] = {0}, body[2];
    if (recv(fd, head, 12, MSG_DONTWAIT) != 12)
        return 0;
    if (head[2])
        CHECK_EQ(recv(fd, body, head[2], MSG_DONTWAIT), head[2]);
    return head[0];
}

static void say(int fd, uint32_t request, uint32_t flags, uint32_t size,
                uint64_t val)
{
    uint32_t out[5] = {request, flags, size};
    memcpy(out + 3, &val, 8);
    CHECK_EQ(send(fd, out, 20, MSG_NOSIGNAL), 20);
}

static bool hung_up(int fd)
{
    char c;
    while (recv(fd, &c, 1, MSG_DONTWAIT) == 1)
        ;
    return recv(fd, &c, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET;
}

TEST(vhost_user_greeting_waits_on_the_loop)
{
    struct machine *m = make_machine();
    struct vhost *v = left_alone(m);
    int64_t before = real_ms();
    int fd = call_in();
    fake_run_loop(m);
    CHECK_EQ(said(fd), 1);
    fake_sleep_ns(m, 900000000);
    CHECK_EQ(said(fd), 0);
    /* An answer in single bytes, then none: a second is all there is. */
    uint8_t out[20] = {1, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0x40, 1};
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(said(fd), 0);
        CHECK_EQ(send(fd, out + i, 1, 0), 1);
        fake_run_loop(m);
    }
    CHECK_EQ(said(fd), 15);
    fake_sleep_ns(m, 110000000);
    CHECK(hung_up(fd));
    close(fd);
    CHECK_HAS(test_log(), "does not answer; waiting for it to come back");
    CHECK(real_ms() - before < 500);
    /* The next one comes after a pause, and its silence is not told. */
    fd = call_in();
    fake_run_loop(m);
    CHECK_EQ(said(fd), 0);
    fake_sleep_ns(m, 200000000);
    CHECK_EQ(said(fd), 1);
    fake_sleep_ns(m, 1100000000);
    CHECK(hung_up(fd));
    CHECK_STR(test_log(), "");
    close(fd);
    close_all(m, v);
}

TEST(vhost_user_wrong_answers_end_the_greeting)
{
    static const uint32_t bad[][3] = {
        {2, 5, 8}, {1, 1, 8}, {1, 5, 4}, {1, 5, 9}, {1, 5, 0xffffffff},
    };
    struct machine *m = make_machine();
    struct vhost *v = left_alone(m);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int fd = call_in();
        fake_run_loop(m);
        REQUIRE_EQ(said(fd), 1);
        say(fd, bad[i][0], bad[i][1], bad[i][2], BACKEND_BITS);
        fake_run_loop(m);
        CHECK_EQ(said(fd), 0); /* taken for an answer, it asked on */
        CHECK(hung_up(fd));
        if (i == 0)
            CHECK_HAS(test_log(), "broke the protocol");
        close(fd);
        fake_sleep_ns(m, 4000000000);
    }
    /* One queue is too few; and so is a peer that hangs up. */
    for (int i = 0; i < 2; i++) {
        int fd = call_in();
        fake_run_loop(m);
        REQUIRE_EQ(said(fd), 1);
        if (i == 0)
            say(fd, 1, 5, 8, 1ull << 32);
        else
            shutdown(fd, SHUT_WR);
        fake_run_loop(m);
        CHECK_EQ(seen, 2);
        CHECK(hung_up(fd));
        close(fd);
        fake_sleep_ns(m, 4000000000);
    }
    close_all(m, v);
}

/* Greets as a good one would. */
static int good_one(struct machine *m, uint64_t features)
{
    int fd = call_in();
    fake_run_loop(m);
    CHECK_EQ(said(fd), 1);
    say(fd, 1, 5, 8, features);
    fake_run_loop(m);
    CHECK_EQ(said(fd), 15);
    say(fd, 15, 5, 8, 1);
    fake_run_loop(m);
    CHECK_EQ(said(fd), 16);
    CHECK_EQ(said(fd), 17);
    say(fd, 17, 5, 8, 2);
    fake_run_loop(m);
    CHECK_EQ(said(fd), 3);
    return fd;
}

TEST(vhost_user_that_does_not_read_is_hung_up_on)
{
    struct machine *m = make_machine();
    struct vhost *v = left_alone(m);
    int fd = good_one(m, BACKEND_BITS);
    CHECK_EQ(seen, 1);
    int64_t before = real_ms();
    REQUIRE_EQ(v->ops->start(v, v->features, rings, 4), 0);
    for (int i = 0; i < 20000; i++)
        v->ops->set_call(v, 0, i % 2 ? rings[0].call : -1);
    CHECK(real_ms() - before < 2000);
    fake_run_loop(m);
    CHECK_EQ(seen, 2);
    CHECK_HAS(test_log(), "does not read");
    v->ops->stop(v, NULL);
    CHECK_EQ(v->ops->set_rings(v, 2), 0);
    close(fd);
    close_all(m, v);
}

/* Answers GET_VRING_BASE, each a while after the last. */
struct slow {
    int fd;
    unsigned us, dribble;
};

static void *slow_answers(void *arg)
{
    struct slow *s = arg;
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t out[5] = {11, 5, 8, i, 9};
        for (unsigned k = 0; k < 20; k += s->dribble) {
            usleep(s->us);
            if (send(s->fd, (char *)out + k, s->dribble, MSG_NOSIGNAL) < 0)
                return NULL;
        }
    }
    return NULL;
}

TEST(vhost_user_stop_waits_a_quarter_of_a_second_in_all)
{
    static const struct slow kinds[] = {
        {0, 0, 20}, {0, 200000, 20}, {0, 9000, 1}, {0, 600000, 20}};
    struct machine *m = make_machine();
    struct vhost *v = left_alone(m);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        uint32_t base[4] = {0};
        struct slow s = kinds[i];
        pthread_t t;
        s.fd = good_one(m, BACKEND_BITS);
        REQUIRE_EQ(v->ops->start(v, v->features, rings, 4), 0);
        pthread_create(&t, NULL, slow_answers, &s);
        int64_t before = real_ms();
        v->ops->stop(v, base);
        CHECK(real_ms() - before < 400);
        CHECK_EQ(base[3], i == 0 ? 9 : 0);
        pthread_join(t, NULL);
        fake_sleep_ns(m, 6000000000);
        CHECK_EQ(seen, i == 0 ? 1 : 2);
        if (i == 1)
            CHECK_HAS(test_log(), "does not answer");
        close(s.fd);
        fake_sleep_ns(m, 6000000000);
    }
    close_all(m, v);
}

TEST(vhost_user_wrong_ring_in_an_answer)
{
    struct machine *m = make_machine();
    struct vhost *v = left_alone(m);
    uint32_t base[4] = {0};
    int fd = good_one(m, BACKEND_BITS);
    REQUIRE_EQ(v->ops->start(v, v->features, rings, 4), 0);
    say(fd, 11, 5, 8, 0 | 5ull << 32);
    say(fd, 11, 5, 8, 2 | 6ull << 32);
    v->ops->stop(v, base);
    CHECK_EQ(base[0], 5);
    CHECK_EQ(base[1], 0); /* what the used ring says */
    fake_run_loop(m);
    CHECK_EQ(seen, 2);
    CHECK_HAS(test_log(), "broke the protocol");
    /* It comes back with less than the guest has taken. */
    close(fd);
    fake_sleep_ns(m, 1000000000);
    fd = good_one(m, BACKEND_BITS & ~1ull);
    CHECK(hung_up(fd));
    CHECK_EQ(seen, 2);
    close(fd);
    close_all(m, v);
}

/* The error's eventfd is the back-end's: it may write it all the time, and make
 * it block. */
TEST(vhost_user_error_is_told_once_for_each_start)
{
    struct machine *m = make_machine();
    struct vhost *v = left_alone(m);
    struct backend *b = backend_new(good_one(m, BACKEND_BITS));
    broken = 0;
    errors.count = 0;
    uint32_t head[3];
    uint8_t body[512];
    for (unsigned start = 1; start <= 2; start++) {
        int fd, err = -1;
        REQUIRE_EQ(v->ops->start(v, v->features, rings, 4), 0);
        while (err < 0 && backend_read(b, head, body, &fd) == 0) {
            if (head[0] == 14)
                err = fd;
            else if (fd >= 0)
                close(fd);
        }
        REQUIRE(err >= 0);
        fcntl(err, F_SETFL, 0);
        for (int i = 0; i < 100; i++) {
            CHECK_EQ(eventfd_write(err, 1), 0);
            fake_run_loop(m);
        }
        CHECK_EQ(broken, start);
        eventfd_t n;
        CHECK_EQ(eventfd_read(err, &n), 0);
        CHECK_EQ(n, 100); /* nobody else has read it */
        close(err);
        v->ops->stop(v, NULL);
        fake_sleep_ns(m, 6000000000);
        close(b->fd);
        b->fd = good_one(m, BACKEND_BITS);
    }
    CHECK_EQ(errors.count, 2);
    close(b->fd);
    free(b);
    close_all(m, v);
}

/* At the start, too, each ends with a line, and in time. */
TEST(vhost_user_start_with_a_stranger)
{
    struct machine *m = make_machine();
    struct vhost *v = NULL;
    int l = backend_listen(nt_path("str"));
    /* silent */
    int64_t before = real_ms();
    CHECK(open_at(m, backend_sa.sun_path, false, 0, &v) < 0);
    CHECK_HAS(test_log(), "u: unix:/tmp/");
    CHECK(real_ms() - before < 1500);
    /* told to end meanwhile */
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &old);
    raise(SIGTERM);
    CHECK_EQ(open_at(m, backend_sa.sun_path, false, 0, &v), -EINTR);
    CHECK_EQ(open_at(m, nt_path("s"), true, 0, &v), -EINTR);
    CHECK_HAS(test_log(), "ended while waiting for a back-end");
    CHECK_EQ(open_at(m, nt_path("none"), false, 9, &v), -EINTR);
    int sig;
    sigwait(&set, &sig);
    sigprocmask(SIG_SETMASK, &old, NULL);
    close(l);
    end_machine(m);
}
