/* SPDX-License-Identifier: MIT */
/* The traffic of the bench, at both ends: UDP floods, short connections. */

/*
 * usage: load serve PORT              the far end; see below
 *        load udp ADDRESS PORT SIZE MS    sends datagrams as fast as it can
 *        load connect ADDRESS PORT MS N   N clients connect, ask, read, close
 *        load blast IFACE MAC SIZE MS     frames out of an interface
 *
 * serve listens on four ports:
 *   PORT    (TCP) commands, one line each, one line back:
 *           "udp ADDRESS PORT SIZE MS" -> "frames=N ns=N"
 *           "count" -> "frames=N": datagrams that came to PORT+1 so far
 *           "irqs"  -> "irqs=N": interrupts of NICs, from /proc/interrupts
 *   PORT+1  (UDP) counts
 *   PORT+2  (TCP) answers each connection's first 64 bytes with 512 and closes
 *
 * blast's frames go to the driver directly (PACKET_QDISC_BYPASS). The kernel
 * drops what a full TAP cannot take without telling, so blast watches the
 * interface's drop counter and naps 200 us when it moves: the TAP's queue
 * stays full, and the sender leaves the processor to whoever empties it.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BURST 32
#define REQUEST 64
#define REPLY 512

#ifndef PACKET_QDISC_BYPASS
#define PACKET_QDISC_BYPASS 20
#endif

static atomic_llong received;

static int64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct sockaddr_in address(const char *text, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port)};

    if (text && inet_pton(AF_INET, text, &a.sin_addr) != 1) {
        fprintf(stderr, "load: %s is no address\n", text);
        exit(2);
    }
    return a;
}

/* --------------------------------------------------------------------- UDP */

static char payload[65536];

/* The same message BURST times. */
static void fill_burst(struct mmsghdr *msg, struct iovec *iov)
{
    memset(msg, 0, BURST * sizeof(*msg));
    for (int i = 0; i < BURST; i++) {
        msg[i].msg_hdr.msg_iov = iov;
        msg[i].msg_hdr.msg_iovlen = 1;
    }
}

static int64_t send_udp(const struct sockaddr_in *to, int size, int64_t ns,
                        int64_t *took)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct iovec iov = {payload, (size_t)size};
    struct mmsghdr msg[BURST];
    int64_t frames = 0, begin = now(), t = begin;

    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)))
        die("UDP socket");
    fill_burst(msg, &iov);
    while (t < begin + ns) {
        int n = sendmmsg(fd, msg, BURST, 0);
        if (n > 0)
            frames += n;
        else if (errno == ENOBUFS || errno == EAGAIN)
            usleep(200);
        else if (errno != ECONNREFUSED)
            die("sendmmsg");
        t = now();
    }
    close(fd);
    *took = t - begin;
    return frames;
}

static void *count_udp(void *arg)
{
    static char room[BURST][2048];
    struct iovec iov[BURST];
    struct mmsghdr msg[BURST];
    int fd = *(int *)arg;

    memset(msg, 0, sizeof(msg));
    for (int i = 0; i < BURST; i++) {
        iov[i] = (struct iovec){room[i], sizeof(room[i])};
        msg[i].msg_hdr.msg_iov = &iov[i];
        msg[i].msg_hdr.msg_iovlen = 1;
    }
    for (;;) {
        int n = recvmmsg(fd, msg, BURST, MSG_WAITFORONE, NULL);
        if (n > 0)
            atomic_fetch_add(&received, n);
    }
    return NULL;
}

/* ------------------------------------------------------- short connections */

static bool read_all(int fd, size_t want)
{
    char room[REPLY];

    while (want) {
        ssize_t n = read(fd, room, want < sizeof(room) ? want : sizeof(room));
        if (n <= 0)
            return false;
        want -= (size_t)n;
    }
    return true;
}

static void *answer(void *arg)
{
    static char reply[REPLY];
    int listener = *(int *)arg;

    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        struct timeval limit = {2, 0};

        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        if (read_all(fd, REQUEST))
            (void)!write(fd, reply, sizeof(reply));
        close(fd);
    }
    return NULL;
}

struct client {
    pthread_t thread;
    struct sockaddr_in to;
    int64_t end;
    long done, failed;
};

static void *ask(void *arg)
{
    struct client *c = arg;
    struct timeval limit = {2, 0};
    char end;

    while (now() < c->end) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool ok = false;

        if (fd < 0)
            die("socket");
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        if (!connect(fd, (struct sockaddr *)&c->to, sizeof(c->to)) &&
            write(fd, payload, REQUEST) == REQUEST)
            ok = read_all(fd, REPLY) && read(fd, &end, 1) == 0;
        close(fd);
        if (ok)
            c->done++;
        else
            c->failed++;
    }
    return NULL;
}

static int run_clients(const char *host, int port, int64_t ns, int n)
{
    struct client clients[64];
    int64_t begin = now();
    long done = 0, failed = 0;

    if (n < 1 || n > 64)
        return 2;
    for (int i = 0; i < n; i++) {
        clients[i] =
            (struct client){.to = address(host, port), .end = begin + ns};
        if (pthread_create(&clients[i].thread, NULL, ask, &clients[i]))
            die("thread");
    }
    for (int i = 0; i < n; i++) {
        pthread_join(clients[i].thread, NULL);
        done += clients[i].done;
        failed += clients[i].failed;
    }
    printf("connections=%ld failed=%ld ns=%lld\n", done, failed,
           (long long)(now() - begin));
    return 0;
}

/* ------------------------------------------------------------ the far end */

static int bound(int type, int port)
{
    struct sockaddr_in a = address(NULL, port);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1, room = 4 << 20;

    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (type == SOCK_DGRAM)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) ||
        (type == SOCK_STREAM && listen(fd, 512)))
        die("bind");
    return fd;
}

/* Lines of NICs hold "virtio" or the interface's name. */
static long long count_irqs(void)
{
    FILE *f = fopen("/proc/interrupts", "r");
    char line[1024];
    long long sum = 0;

    while (f && fgets(line, sizeof(line), f)) {
        char *p = strchr(line, ':'), *end;

        if (!p || (!strstr(line, "virtio") && !strstr(line, "eth")))
            continue;
        for (p++;; p = end) {
            long long n = strtoll(p, &end, 10);
            if (end == p)
                break;
            sum += n;
        }
    }
    if (f)
        fclose(f);
    return sum;
}

static void obey(FILE *peer)
{
    char line[256], host[64];
    int port, size, ms;

    while (fgets(line, sizeof(line), peer)) {
        if (sscanf(line, "udp %63s %d %d %d", host, &port, &size, &ms) == 4) {
            struct sockaddr_in to = address(host, port);
            int64_t took;
            int64_t n = send_udp(&to, size, ms * INT64_C(1000000), &took);
            fprintf(peer, "frames=%lld ns=%lld\n", (long long)n,
                    (long long)took);
        } else if (!strcmp(line, "count\n")) {
            fprintf(peer, "frames=%lld\n", (long long)received);
        } else if (!strcmp(line, "irqs\n")) {
            fprintf(peer, "irqs=%lld\n", count_irqs());
        } else {
            fprintf(peer, "error=unknown command\n");
        }
        fflush(peer);
    }
}

static _Noreturn void serve(int port)
{
    static int udp, tcp;
    pthread_t thread;
    int commands = bound(SOCK_STREAM, port);

    udp = bound(SOCK_DGRAM, port + 1);
    tcp = bound(SOCK_STREAM, port + 2);
    if (pthread_create(&thread, NULL, count_udp, &udp) ||
        pthread_create(&thread, NULL, answer, &tcp))
        die("thread");
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int fd = accept4(commands, NULL, NULL, SOCK_CLOEXEC), on = 1;
        FILE *peer = fd < 0 ? NULL : fdopen(fd, "r+");

        if (!peer)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        obey(peer);
        fclose(peer);
    }
}

/* ------------------------------------------------------------------- frames */

/* The transmit drops of an interface; /proc/net/dev is per namespace. */
static long long drops(int proc, const char *iface)
{
    char text[4096], key[32];
    ssize_t n = pread(proc, text, sizeof(text) - 1, 0);
    long long v[12] = {0};

    text[n > 0 ? n : 0] = 0;
    snprintf(key, sizeof(key), "%s:", iface);
    char *p = strstr(text, key);
    if (!p)
        return 0;
    p += strlen(key);
    for (int i = 0; i < 12; i++)
        v[i] = strtoll(p, &p, 10);
    return v[11];
}

static void make_frame(uint8_t *f, const char *mac, int size)
{
    uint8_t ip[20] = {0x45, 0, 0,  0, 0, 0, 0,  0, 64, 17,
                      0,    0, 10, 0, 0, 1, 10, 0, 0,  2};
    uint32_t sum = 0;

    if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", f, f + 1, f + 2, f + 3,
               f + 4, f + 5) != 6) {
        fprintf(stderr, "load: %s is no MAC address\n", mac);
        exit(2);
    }
    memcpy(f + 6, "\x52\x54\x00\x00\x00\x01\x08\x00", 8);
    ip[2] = (uint8_t)((size - 14) >> 8);
    ip[3] = (uint8_t)(size - 14);
    for (int i = 0; i < 20; i += 2)
        sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    ip[10] = (uint8_t)(~sum >> 8);
    ip[11] = (uint8_t)~sum;
    memcpy(f + 14, ip, 20);
    /* Port 9 to port 9; no checksum. */
    f[35] = f[37] = 9;
    f[38] = (uint8_t)((size - 34) >> 8);
    f[39] = (uint8_t)(size - 34);
}

static int blast(const char *iface, const char *mac, int size, int64_t ns)
{
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), on = 1;
    int proc = open("/proc/net/dev", O_RDONLY | O_CLOEXEC);
    struct sockaddr_ll to = {.sll_family = AF_PACKET,
                             .sll_ifindex = (int)if_nametoindex(iface),
                             .sll_halen = 6};
    struct iovec iov = {payload, (size_t)size};
    struct mmsghdr msg[BURST];
    long long dropped = drops(proc, iface), first = dropped, naps = 0;
    int64_t frames = 0, begin, t;

    make_frame((uint8_t *)payload, mac, size);
    memcpy(to.sll_addr, payload, 6);
    if (fd < 0 || proc < 0 || !to.sll_ifindex)
        die(iface);
    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on));
    fill_burst(msg, &iov);
    for (int i = 0; i < BURST; i++) {
        msg[i].msg_hdr.msg_name = &to;
        msg[i].msg_hdr.msg_namelen = sizeof(to);
    }
    for (begin = t = now(); t < begin + ns; t = now()) {
        int n = sendmmsg(fd, msg, BURST, 0);
        if (n > 0)
            frames += n;
        long long d = drops(proc, iface);
        if (n <= 0 || d != dropped) {
            naps++;
            usleep(200);
        }
        dropped = d;
    }
    printf("frames=%lld dropped=%lld naps=%lld ns=%lld\n", (long long)frames,
           dropped - first, naps, (long long)(t - begin));
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    int64_t took;

    if (argc == 3 && !strcmp(what, "serve"))
        serve(atoi(argv[2]));
    if (argc == 6 && !strcmp(what, "udp")) {
        struct sockaddr_in to = address(argv[2], atoi(argv[3]));
        int64_t n =
            send_udp(&to, atoi(argv[4]), atoll(argv[5]) * 1000000, &took);
        printf("frames=%lld ns=%lld\n", (long long)n, (long long)took);
        return 0;
    }
    if (argc == 6 && !strcmp(what, "connect"))
        return run_clients(argv[2], atoi(argv[3]), atoll(argv[4]) * 1000000,
                           atoi(argv[5]));
    if (argc == 6 && !strcmp(what, "blast"))
        return blast(argv[2], argv[3], atoi(argv[4]), atoll(argv[5]) * 1000000);
    fprintf(stderr, "load: see the head of load.c\n");
    return 2;
}
