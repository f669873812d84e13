/* SPDX-License-Identifier: MIT */
/* Memory that another process serves: the message, a page, one given back. */
#include "machine/kvm/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/fake.h"

#define PAGE 4096u
#define LOW (4u * PAGE)
#define SIZE (8u * PAGE)

static struct machine m;

static void memory(void)
{
    uint8_t *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(p != MAP_FAILED);
    m.ram = (struct ram){.region = {{.gpa = 0, .size = LOW, .hva = p},
                                    {.gpa = 1ull << 32,
                                     .size = SIZE - LOW,
                                     .hva = p + LOW,
                                     .offset = LOW}},
                         .n = 2,
                         .fd = -1};
}

/* What is sent: its text, and the descriptor with it. */
static int receive(int sock, char *text, size_t size)
{
    char room[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {text, size - 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = room,
                         .msg_controllen = sizeof(room)};
    ssize_t n = recvmsg(sock, &msg, 0);
    REQUIRE(n > 0);
    text[n] = '\0';
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    int fd = -1;
    REQUIRE(c && c->cmsg_type == SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

/* The other process: each page is full of its number; what was given back is
 * zeroes. Ends when its pipe does. */
static struct server {
    int uffd, end[2];
    pthread_t thread;
    uint64_t removed, size;
} server;

static void serve_page(const struct server *s, uint64_t at)
{
    static uint8_t page[PAGE];
    uint64_t first = (uintptr_t)m.ram.region[0].hva;
    memset(page, (int)((at - first) / PAGE) + 1, sizeof(page));
    if (at - s->removed < s->size)
        memset(page, 0, sizeof(page));
    struct uffdio_copy c = {
        .dst = at & -(uint64_t)PAGE, .src = (uintptr_t)page, .len = PAGE};
    ioctl(s->uffd, UFFDIO_COPY, &c);
}

static void *serve(void *arg)
{
    struct server *s = arg;
    struct pollfd p[2] = {{.fd = s->uffd, .events = POLLIN},
                          {.fd = s->end[0], .events = POLLIN}};
    struct uffd_msg msg;
    while (poll(p, 2, -1) > 0 && !p[1].revents) {
        if (read(s->uffd, &msg, sizeof(msg)) != sizeof(msg))
            continue;
        if (msg.event == UFFD_EVENT_PAGEFAULT)
            serve_page(s, msg.arg.pagefault.address);
        if (msg.event != UFFD_EVENT_REMOVE)
            continue;
        s->removed = msg.arg.remove.start;
        s->size = msg.arg.remove.end - msg.arg.remove.start;
    }
    return NULL;
}

static int hand_over(int pair[2])
{
    memory();
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    int own = uffd_hand_over(&m.ram, pair[0], "/run/pages");
    if (own == -EPERM || own == -ENOSYS)
        SKIP("no userfaultfd here");
    REQUIRE(own >= 0);
    return own;
}

TEST(uffd_message_names_each_region_and_pages_come_from_who_gets_it)
{
    char text[1024], want[1024];
    int pair[2], own = hand_over(pair);
    const struct ram_region *r = m.ram.region;
    server = (struct server){.uffd = receive(pair[1], text, sizeof(text))};
    snprintf(want, sizeof(want),
             "[{\"base_host_virt_addr\":%llu,\"size\":%u,\"offset\":0,"
             "\"page_size\":4096,\"page_size_kib\":4096},"
             "{\"base_host_virt_addr\":%llu,\"size\":%u,\"offset\":%u,"
             "\"page_size\":4096,\"page_size_kib\":4096}]",
             (unsigned long long)(uintptr_t)r[0].hva, LOW,
             (unsigned long long)(uintptr_t)r[1].hva, SIZE - LOW, LOW);
    CHECK_STR(text, want);
    CHECK(m.ram.served);
    CHECK(fcntl(server.uffd, F_GETFL) & O_NONBLOCK);
    REQUIRE_EQ(pipe(server.end), 0);
    REQUIRE_EQ(pthread_create(&server.thread, NULL, serve, &server), 0);
    CHECK_EQ(r[0].hva[2 * PAGE], 3);
    CHECK_EQ(r[1].hva[1], 5);

    /* Given back: who serves it is told, and it is zeroes. */
    r[0].hva[2 * PAGE] = 9;
    CHECK(!m.ram.cut);
    CHECK_EQ(ram_discard(&m, r[0].hva + 2 * PAGE, PAGE), 0);
    CHECK(m.ram.cut);
    CHECK_EQ(r[0].hva[2 * PAGE], 0);
    CHECK_EQ(server.removed, (uintptr_t)r[0].hva + 2 * PAGE);
    CHECK_EQ(server.size, PAGE);

    close(server.end[1]);
    pthread_join(server.thread, NULL);
    munmap(r[0].hva, SIZE);
    close(server.end[0]);
    close(server.uffd);
    close(own);
    close(pair[0]);
    close(pair[1]);
}

TEST(uffd_hand_over_says_that_nobody_is_there)
{
    int pair[2];
    memory();
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    close(pair[1]);
    test_log();
    int err = uffd_hand_over(&m.ram, pair[0], "/run/pages");
    if (err == -EPERM || err == -ENOSYS)
        SKIP("no userfaultfd here");
    CHECK_EQ(err, -EPIPE);
    CHECK_HAS(test_log(), "uffd=/run/pages: cannot be told: Broken pipe");
    CHECK(!m.ram.served);
    munmap(m.ram.region[0].hva, SIZE);
    close(pair[0]);
}
