/* SPDX-License-Identifier: MIT */
/* Runs in a Linux guest: do its clock and its timers go on as they should?
 *
 * usage: ticks LATE_MS
 * One process for each CPU wakes up 25 times a second. A clock that is
 * behind what any CPU has read before, and a wake-up more than LATE_MS after
 * its time, are told of by a line each. SIGTERM ends it; then the last line is
 * "ticks N", the wake-ups of the CPU with the fewest. */
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEP_NS 40000000
#define READS 20
#define CPUS 16

struct shared {
    _Atomic uint64_t last; /* the latest time that anybody has read */
    _Atomic uint64_t turns[CPUS];
};
static struct shared *shared;
static volatile sig_atomic_t over;

static void on_term(int sig)
{
    (void)sig;
    over = 1;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* What was read before this read began cannot be after it. */
static void look(int cpu)
{
    uint64_t last = atomic_load(&shared->last), now = now_ns();
    if (now < last)
        printf("CPU %d: the clock is %" PRIu64 " ns behind\n", cpu, last - now);
    while (last < now &&
           !atomic_compare_exchange_weak(&shared->last, &last, now))
        ;
}

static void watch(int cpu, uint64_t late_ns)
{
    uint64_t due = now_ns();
    while (!over) {
        due += STEP_NS;
        struct timespec t = {.tv_sec = (time_t)(due / 1000000000),
                             .tv_nsec = (long)(due % 1000000000)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        uint64_t now = now_ns();
        if (now > due + late_ns)
            printf("CPU %d: woken %" PRIu64 " ms late\n", cpu,
                   (now - due) / 1000000);
        if (now > due + STEP_NS)
            due = now; /* what was missed is not made up for */
        for (int i = 0; i < READS; i++)
            look(cpu);
        atomic_fetch_add(&shared->turns[cpu], 1);
    }
    fflush(stdout);
    _exit(0);
}

int main(int argc, char **argv)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct sigaction sa = {.sa_handler = on_term};
    pid_t child[CPUS];
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (argc != 2 || cpus > CPUS || shared == MAP_FAILED)
        return 2;
    sigaction(SIGTERM, &sa, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int cpu = 0; cpu < cpus; cpu++) {
        cpu_set_t only;
        CPU_ZERO(&only);
        CPU_SET(cpu, &only);
        child[cpu] = fork();
        if (child[cpu])
            continue;
        if (sched_setaffinity(0, sizeof(only), &only))
            printf("CPU %d: cannot be had\n", cpu);
        watch(cpu, strtoull(argv[1], NULL, 10) * 1000000);
    }
    while (!over)
        pause();
    for (int cpu = 0; cpu < cpus; cpu++)
        kill(child[cpu], SIGTERM);
    while (wait(NULL) > 0)
        ;
    uint64_t least = UINT64_MAX;
    for (int cpu = 0; cpu < cpus; cpu++)
        if (shared->turns[cpu] < least)
            least = shared->turns[cpu];
    printf("ticks %" PRIu64 "\n", least);
    return 0;
}
