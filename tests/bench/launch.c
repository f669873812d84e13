/* SPDX-License-Identifier: MIT */
/* Starts a program and tells how long after its exec(2) things were seen. */

/*
 * usage: launch [OPTION]... -- PROGRAM [ARG]...
 *   --kvm-run       until the first KVM_RUN: the first guest instruction
 *   --serial        until the first byte on its standard output
 *   --line TEXT     until TEXT is on its standard output
 *   --first TEXT    with --line: tell as well when TEXT was there ("": a byte)
 *   --ping ADDRESS  until the first reply to an ICMP echo
 *   --timeout MS    give up after so long (default 30000)
 *   --repeat MS     start it again and again for so long, count the starts
 *
 * Prints "ns=N" (or "failed=REASON"), with --first "ns=N first=N", with
 * --repeat "starts=N ns=TOTAL".
 *
 * Theory of operation. The zero of time is taken in the child, right before
 * its execve. The first KVM_RUN is seen through a seccomp filter that asks
 * this program about that one ioctl and lets all others pass: a system call
 * costs some tens of nanoseconds more, and the notification itself wakes us
 * within microseconds; nothing else of the program is slowed, as it would be
 * by ptrace. Pings go out each half millisecond. The program is killed once
 * the event is there; each start sees an empty pipe and a new process.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct {
    bool kvm_run, serial;
    const char *line, *first;
    struct sockaddr_in ping;
    int64_t timeout, repeat; /* ns */
    char **argv;
} opt = {.timeout = 30000 * INT64_C(1000000)};

struct shared {
    volatile int64_t exec_ns;
    volatile int exec_errno;
};

static struct shared *shared;
static int icmp = -1;
static int64_t first_ns; /* when --first's text was seen */

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

static int filter_kvm_run(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KVM_RUN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = sizeof(code) / sizeof(code[0]),
                              .filter = code};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
}

static void send_fd(int sock, int fd)
{
    char byte = 0;
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof(control.room)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &fd, sizeof(fd));
    sendmsg(sock, &msg, 0);
}

static int receive_fd(int sock)
{
    char byte;
    int fd = -1;
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof(control.room)};

    if (recvmsg(sock, &msg, 0) == 1 && CMSG_FIRSTHDR(&msg))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
    return fd;
}

static _Noreturn void child(int out, int sock)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, 0);
    dup2(out, 1);
    if (opt.kvm_run) {
        int fd = filter_kvm_run();
        if (fd < 0)
            _exit(126);
        send_fd(sock, fd);
        close(fd);
    }
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

static void let_pass(int notify)
{
    struct seccomp_notif req = {0};
    struct seccomp_notif_resp resp = {0};

    if (ioctl(notify, SECCOMP_IOCTL_NOTIF_RECV, &req))
        return;
    resp.id = req.id;
    resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    ioctl(notify, SECCOMP_IOCTL_NOTIF_SEND, &resp);
}

/* The time of the event, or 0 with *why set. */
static int64_t wait_event(pid_t pid, int out, int notify, int64_t limit,
                          const char **why)
{
    struct pollfd p[3] = {{out, POLLIN, 0}, {notify, POLLIN, 0}, {-1, 0, 0}};
    struct timespec half_ms = {0, 500000};
    char drain[4096];
    bool ping = opt.ping.sin_family;

    if (ping)
        p[2] = (struct pollfd){icmp, POLLIN, 0};
    for (;;) {
        if (ping)
            send_ping();
        int n = ppoll(p, 3, ping ? &half_ms : &(struct timespec){0, 100000000},
                      NULL);
        int64_t t = now();

        if (n > 0 && (p[1].revents & POLLIN)) {
            let_pass(notify);
            return t;
        }
        if (n > 0 && (p[2].revents & POLLIN) && got_reply())
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
    int out[2], sock[2], notify = -1;
    int64_t t = 0;

    if (pipe2(out, O_CLOEXEC) ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock))
        die("pipe");
    got_line(-1);
    if (icmp >= 0)
        got_reply();
    memset(shared, 0, sizeof(*shared));
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (!pid)
        child(out[1], sock[1]);
    close(out[1]);
    close(sock[1]);
    if (opt.kvm_run && (notify = receive_fd(sock[0])) < 0)
        *why = "no seccomp notification";
    else
        t = wait_event(pid, out[0], notify, now() + opt.timeout, why);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(out[0]);
    close(sock[0]);
    if (notify >= 0)
        close(notify);
    return t ? t - shared->exec_ns : 0;
}

static void usage(void)
{
    fprintf(stderr, "launch: see the head of launch.c\n");
    exit(2);
}

static void parse(int argc, char **argv)
{
    int i = 1;

    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *name = argv[i];

        if (!strcmp(name, "--kvm-run")) {
            opt.kvm_run = true;
            continue;
        }
        if (!strcmp(name, "--serial")) {
            opt.serial = true;
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
        else if (!strcmp(name, "--ping") &&
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
