/* SPDX-License-Identifier: MIT */
/* ThreadSanitizer over devices, loops and backends at work:
 * tsan [-t SECONDS] [-s SEED] [PART_OF_NAME...]. Each scenario is a process, so
 * that one that dies does not take the others along. What threads do is not the
 * same each time, what each decides is: SEED repeats it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/tsan/rig.h"

#define DEFAULT_SECONDS 30
#define HUNG_SECONDS 30

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "halt_on_error=1:exitcode=66:second_deadlock_stack=1";
}

static const struct scenario scenarios[] = {
    {"virtio-split", 1, 0, {{&vnet_guest, "netdev=n0"}}},
    {"virtio-packed", 1, SC_PACKED, {{&vnet_guest, "netdev=n0,packed=on"}}},
    {"virtio-intx", 1, SC_INTX, {{&vnet_guest, "netdev=n0,vectors=0"}}},
    {"virtio-pairs", 4, 0, {{&vnet_guest, "netdev=n0"}}},
    {"virtio-iothreads", 3, 0, {{&vnet_guest, "netdev=n0,iothreads=on"}}},
    {"virtio-iothreads-packed",
     3,
     SC_PACKED,
     {{&vnet_guest, "netdev=n0,iothreads=on,packed=on"}}},
    {"virtio-rss", 3, SC_RSS, {{&vnet_guest, "netdev=n0,rss=on,hash=on"}}},
    {"virtio-rss-iothreads",
     3,
     SC_RSS,
     {{&vnet_guest, "netdev=n0,rss=on,hash=on,iothreads=on"}}},
    {"disk", 0, SC_DISK, {{&vblk_guest, "drive=d0,num-queues=2"}}},
    {"disk-packed",
     0,
     SC_DISK | SC_PACKED,
     {{&vblk_guest, "drive=d0,num-queues=2,packed=on"}}},
    {"e1000", 1, 0, {{&e1000_guest, "netdev=n0"}}},
    {"stream", 1, SC_STREAM, {{&vnet_guest, "netdev=n0,iothreads=on"}}},
    {"hub",
     0,
     SC_HUB,
     {{&vnet_guest, "netdev=n0,iothreads=on"}, {&e1000_guest, "netdev=n1"}}},
    {"board", 0, SC_BOARD, {{&board_guest, "to=unix:" SERIAL_PATH}}},
};

/* The child's part. */
static int run(const struct scenario *sc, uint64_t seed, uint64_t ns, int log)
{
    dup2(log, 2);
    alarm((unsigned)(ns / 1000000000) + HUNG_SECONDS);
    rig_run(sc, seed, ns);
    dprintf(1, "   %lu lives, %lu resets, %lu sent, %lu received\n", rig.lives,
            rig.resets, rig.sent, rig.received);
    if (!rig.lives || !rig.resets || !rig.sent || !rig.received)
        rig_fail("a scenario in which nothing happens shows nothing");
    return 0;
}

static void show(int log)
{
    char line[4096];
    FILE *f = fdopen(log, "r");
    rewind(f);
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, "vmm: cables", 11))
            fputs(line, stderr);
    fclose(f);
}

static bool passes(const struct scenario *sc, uint64_t seed, uint64_t ns)
{
    int log = memfd_create("log", MFD_CLOEXEC), status;
    printf("== %s, seed %llu\n", sc->name, (unsigned long long)seed);
    fflush(stdout);
    pid_t pid = fork();
    if (!pid)
        exit(run(sc, seed, ns, log));
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return false;
    bool ok = WIFEXITED(status) && !WEXITSTATUS(status);
    if (ok) {
        close(log);
    } else {
        show(log);
        if (WIFSIGNALED(status))
            printf("   signal %d%s\n", WTERMSIG(status),
                   WTERMSIG(status) == SIGALRM ? ": hung" : "");
        printf("FAIL %s; again: make tsan S=%llu ONLY=%s\n", sc->name,
               (unsigned long long)seed, sc->name);
    }
    return ok;
}

static bool wanted(const struct scenario *sc, char **names)
{
    bool any = false;
    for (; *names && !any; names++)
        any = strstr(sc->name, *names);
    return any;
}

int main(int argc, char **argv)
{
    const unsigned n = sizeof(scenarios) / sizeof(scenarios[0]);
    uint64_t seed = (uint64_t)time(NULL), ns;
    unsigned passed = 0, failed = 0, chosen = 0;
    double seconds = DEFAULT_SECONDS;
    char dir[] = "/tmp/tsan.XXXXXX";
    int opt;
    while ((opt = getopt(argc, argv, "t:s:")) != -1) {
        if (opt == 't')
            seconds = atof(optarg);
        else if (opt == 's')
            seed = strtoull(optarg, NULL, 0);
        else
            return 2;
    }
    char **names = argv + optind;
    for (unsigned i = 0; i < n; i++)
        chosen += !*names || wanted(&scenarios[i], names);
    if (!chosen || !mkdtemp(dir) || chdir(dir))
        return 2;
    ns = (uint64_t)(seconds * 1e9 / chosen);
    for (unsigned i = 0; i < n; i++) {
        if (*names && !wanted(&scenarios[i], names))
            continue;
        if (passes(&scenarios[i], seed, ns))
            passed++;
        else
            failed++;
    }
    unlink(STREAM_PATH); /* of one that died */
    unlink(SERIAL_PATH);
    unlink(DISK_PATH);
    if (chdir("/") || rmdir(dir))
        perror(dir);
    printf("%u passed, %u failed, 0 skipped\n", passed, failed);
    return failed > 0;
}
