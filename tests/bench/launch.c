/* SPDX-License-Identifier: MIT */
/* Starts a program and tells how long after its exec(2) things were seen. */

/*
 * usage: launch [OPTION]... -- PROGRAM [ARG]...
 *   --serial        until the first byte on its standard output
 *   --line TEXT     until TEXT is on its standard output
 *   --first TEXT    with --line: tell as well when TEXT was there ("": a byte)
 *   --ping ADDRESS  until the first reply to an ICMP echo
 *   --rarp          until the first RARP frame on any interface: a restored
 *                   machine's, whose CPUs go on right after it; with --ping:
 *                   tell as well when it was there
 *   --api PATH      until the first byte of an answer of an HTTP server at this
 *                   socket, which is removed before
 *   --say FILE      with --api: what it is sent; with --ping too: and the reply
 *                   to the echo is waited for (default: GET /)
 *   --timeout MS    give up after so long (default 30000)
 *   --repeat MS     start it again and again for so long, count the starts
 *
 * Prints "ns=N" (or "failed=REASON"), with --first, or --rarp beside --ping,
 * "ns=N first=N", with
 * --repeat "starts=N ns=TOTAL".
 *
 * Theory of operation. The zero of time is taken in the child, right before
 * its execve; nothing is between the program and its kernel then. Pings go out
 * each half millisecond, a socket is dialled twenty times in one. The program
 * is killed once the event is there; each start sees an empty pipe and a new
 * process.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct {
    bool serial, rarp;
    const char *line, *first;
    struct sockaddr_in ping;
    struct sockaddr_un api;
    const char *say;
    size_t say_bytes;
    int64_t timeout, repeat; /* ns */
    char **argv;
} opt = {.timeout = 30000 * INT64_C(1000000),
         .say = "GET / HTTP/1.1\r\n\r\n",
         .say_bytes = sizeof("GET / HTTP/1.1\r\n\r\n") - 1};

struct shared {
    volatile int64_t exec_ns;
    volatile int exec_errno;
};

static struct shared *shared;
static int icmp = -1;
static int packet = -1;
static int api = -1;     /* connected */
static int64_t first_ns; /* when --first's text, or the RARP, was seen */

static int64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void die(const char *what)
{
    printf("failed=%s: %s\n", what, strerror(errno));
    exit(1);
}

/* --------------------------------------------------------------- the child */

static _Noreturn void child(int out)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, 0);
    dup2(out, 1);
    shared->exec_ns = now();
    execvp(opt.argv[0], opt.argv);
    shared->exec_errno = errno;
    _exit(127);
}

/* ---------------------------------------------------------------- the wait */

static void send_ping(void)
{
    static uint16_t seq;
    struct {
        struct icmphdr head;
        char data[8];
    } msg = {.head = {.type = ICMP_ECHO}};
    uint32_t sum = 0;
    uint16_t words[sizeof(msg) / 2];

    msg.head.un.echo.id = (uint16_t)getpid();
    msg.head.un.echo.sequence = htons(seq++);
    memcpy(words, &msg, sizeof(msg));
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        sum += words[i];
    sum = (sum & 0xffff) + (sum >> 16);
    msg.head.checksum = (uint16_t) ~(sum + (sum >> 16));
    /* Until the TAP has a carrier there is nowhere to send to. */
    (void)sendto(icmp, &msg, sizeof(msg), MSG_DONTWAIT,
                 (struct sockaddr *)&opt.ping, sizeof(opt.ping));
}

static bool got_reply(void)
{
    uint8_t buf[256];
    struct sockaddr_in from = {0};
    socklen_t len = sizeof(from);
    ssize_t n;
    bool reply = false;

    while ((n = recvfrom(icmp, buf, sizeof(buf), MSG_DONTWAIT,
                         (struct sockaddr *)&from, &len)) > 0) {
        size_t ip = (buf[0] & 15u) * 4u;
        struct icmphdr head;

        if ((size_t)n < ip + sizeof(head))
            continue;
        memcpy(&head, buf + ip, sizeof(head));
        if (head.type == ICMP_ECHOREPLY &&
            head.un.echo.id == (uint16_t)getpid() &&
            from.sin_addr.s_addr == opt.ping.sin_addr.s_addr)
            reply = true;
    }
    return reply;
}

static bool got_line(int fd)
{
    static char text[1 << 16];
    static size_t have;
    ssize_t n;

    if (fd < 0) { /* a new start */
        have = 0;
        first_ns = 0;
        return false;
    }
    if (have > sizeof(text) / 2) {
        memmove(text, text + have - 256, 256);
        have = 256;
    }
    n = read(fd, text + have, sizeof(text) - 1 - have);
    if (n <= 0)
        return false;
    for (ssize_t i = 0; i < n; i++) /* strstr() wants no NUL */
        if (!text[have + (size_t)i])
            text[have + (size_t)i] = ' ';
    have += (size_t)n;
    text[have] = 0;
    if (opt.first && !first_ns && strstr(text, opt.first))
        first_ns = now();
    return !opt.line || strstr(text, opt.line);
}

/* A server that is not there yet is no error. */
static void dial(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && !connect(fd, (struct sockaddr *)&opt.api, sizeof(opt.api)) &&
        send(fd, opt.say, opt.say_bytes, MSG_NOSIGNAL) ==
            (ssize_t)opt.say_bytes)
        api = fd;
    else if (fd >= 0)
        close(fd);
}

/* Is that the event? */
static bool got_answer(bool ping)
{
    char buf[4096];
    return recv(api, buf, sizeof(buf), MSG_DONTWAIT) > 0 && !ping;
}

/* Is that the event? */
static bool got_rarp(int64_t t)
{
    char buf[64];

    while (recv(packet, buf, sizeof(buf), MSG_DONTWAIT) > 0)
        first_ns = first_ns ? first_ns : t;
    return first_ns && !opt.ping.sin_family;
}

/* The time of the event, or 0 with *why set. */
static int64_t wait_event(pid_t pid, int out, int64_t limit, const char **why)
{
    struct pollfd p[4] = {
        {out, POLLIN, 0}, {-1, 0, 0}, {-1, 0, 0}, {packet, POLLIN, 0}};
    struct timespec tick = {0, 100000000};
    char drain[4096];
    bool ping = opt.ping.sin_family, dials = opt.api.sun_family;

    if (ping)
        p[1] = (struct pollfd){icmp, POLLIN, 0};
    for (;;) {
        if (ping)
            send_ping();
        if (dials && api < 0)
            dial();
        p[2] = (struct pollfd){api, POLLIN, 0};
        tick.tv_nsec = dials && api < 0 ? 50000 : ping ? 500000 : 100000000;
        int n = ppoll(p, 4, &tick, NULL);
        int64_t t = now();

        if (n > 0 && (p[2].revents & POLLIN) && got_answer(ping))
            return t;
        if (n > 0 && (p[3].revents & POLLIN) && got_rarp(t))
            return t;
        if (n > 0 && (p[1].revents & POLLIN) && got_reply())
            return t;
        if (n > 0 && (p[0].revents & POLLIN)) {
            if (opt.serial || opt.line) {
                if (got_line(out))
                    return t;
            } else {
                (void)!read(out, drain, sizeof(drain));
            }
        }
        if (waitpid(pid, NULL, WNOHANG) == pid) {
            *why = shared->exec_errno ? "cannot be executed" : "it ended";
            return 0;
        }
        if (n > 0 && (p[0].revents & POLLHUP) && !(p[0].revents & POLLIN))
            p[0].fd = -1;
        if (t > limit) {
            *why = "timeout";
            return 0;
        }
    }
}

/* Nanoseconds from exec to the event; 0 with *why set. */
static int64_t start_once(const char **why)
{
    int out[2];
    int64_t t = 0;

    if (pipe2(out, O_CLOEXEC))
        die("pipe");
    got_line(-1);
    if (icmp >= 0)
        got_reply();
    if (packet >= 0)
        got_rarp(0);
    first_ns = 0;
    memset(shared, 0, sizeof(*shared));
    if (opt.api.sun_family)
        unlink(opt.api.sun_path);
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (!pid)
        child(out[1]);
    close(out[1]);
    t = wait_event(pid, out[0], now() + opt.timeout, why);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(out[0]);
    if (api >= 0)
        close(api);
    api = -1;
    return t ? t - shared->exec_ns : 0;
}

static void usage(void)
{
    fprintf(stderr, "launch: see the head of launch.c\n");
    exit(2);
}

static void read_say(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    char *text = fd < 0 || fstat(fd, &st) ? NULL : malloc((size_t)st.st_size);
    if (!text || read(fd, text, (size_t)st.st_size) != st.st_size)
        die(path);
    close(fd);
    opt.say = text;
    opt.say_bytes = (size_t)st.st_size;
}

static void parse(int argc, char **argv)
{
    int i = 1;

    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *name = argv[i];

        if (!strcmp(name, "--serial")) {
            opt.serial = true;
            continue;
        }
        if (!strcmp(name, "--rarp")) {
            opt.rarp = true;
            continue;
        }
        if (++i >= argc)
            usage();
        if (!strcmp(name, "--line"))
            opt.line = argv[i];
        else if (!strcmp(name, "--first"))
            opt.first = argv[i];
        else if (!strcmp(name, "--timeout"))
            opt.timeout = atoll(argv[i]) * 1000000;
        else if (!strcmp(name, "--repeat"))
            opt.repeat = atoll(argv[i]) * 1000000;
        else if (!strcmp(name, "--say"))
            read_say(argv[i]);
        else if (!strcmp(name, "--api") &&
                 strlen(argv[i]) < sizeof(opt.api.sun_path)) {
            opt.api.sun_family = AF_UNIX;
            strcpy(opt.api.sun_path, argv[i]);
        } else if (!strcmp(name, "--ping") &&
                   inet_pton(AF_INET, argv[i], &opt.ping.sin_addr) == 1)
            opt.ping.sin_family = AF_INET;
        else
            usage();
    }
    opt.argv = argv + i + 1;
    if (i + 1 >= argc)
        usage();
}

int main(int argc, char **argv)
{
    const char *why = "";
    int64_t ns, total = 0;
    unsigned starts = 0;

    parse(argc, argv);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap");
    if (opt.ping.sin_family) {
        icmp = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
        if (icmp < 0)
            die("raw socket");
    }
    if (opt.rarp) {
        packet = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_RARP));
        if (packet < 0)
            die("packet socket");
    }
    int64_t begin = now();
    do {
        ns = start_once(&why);
        if (!ns) {
            printf("failed=%s\n", why);
            return 1;
        }
        starts++;
        total = now() - begin;
    } while (total < opt.repeat);
    if (opt.repeat)
        printf("starts=%u ns=%lld\n", starts, (long long)total);
    else if (first_ns)
        printf("ns=%lld first=%lld\n", (long long)ns,
               (long long)(first_ns - shared->exec_ns));
    else
        printf("ns=%lld\n", (long long)ns);
    return 0;
}
