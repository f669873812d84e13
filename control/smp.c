/* SPDX-License-Identifier: MIT */
/* -smp: how many processors, and how they are laid out. */
#include <errno.h>

#include "control/told.h"
#include "machine/platform.h"

#define SMP(key, which, most)                                                  \
    KEY(NUMBER, key, smp[which], .min = 1, .max = most)
const struct field smp_keys[] = {
    SMP("cpus", CPUS, CPUS_MAX),     SMP("maxcpus", MAXCPUS, 1024),
    SMP("sockets", SOCKETS, 1024),   SMP("dies", DIES, 1024),
    SMP("clusters", CLUSTERS, 1024), SMP("cores", CORES, 1024),
    SMP("threads", THREADS, 1024),   END,
};

/* What was left out, as QEMU does since 6.2: cores before sockets. */
static void smp_complete(uint64_t v[SMP_KEYS])
{
    v[DIES] += !v[DIES];
    v[CLUSTERS] += !v[CLUSTERS];
    uint64_t max = v[MAXCPUS] ? v[MAXCPUS] : v[CPUS];
    uint64_t inner = v[DIES] * v[CLUSTERS];
    if (!max || !v[CORES])
        v[SOCKETS] += !v[SOCKETS];
    if (!max || !v[CORES] || !v[SOCKETS])
        v[THREADS] += !v[THREADS];
    if (!v[CORES])
        v[CORES] = max ? max / (v[SOCKETS] * inner * v[THREADS]) : 1;
    else if (!v[SOCKETS])
        v[SOCKETS] = max / (v[CORES] * inner * v[THREADS]);
    if (!v[THREADS])
        v[THREADS] = max / (v[SOCKETS] * inner * v[CORES]);
    uint64_t all = v[SOCKETS] * inner * v[CORES] * v[THREADS];
    v[MAXCPUS] = max ? max : all;
    v[CPUS] += v[CPUS] ? 0 : v[MAXCPUS];
}

static bool smp_power_of_two(uint64_t n)
{
    return n && !(n & (n - 1));
}

/* APIC IDs are the CPUs' numbers, without gaps, and the guest finds cores and
 * packages in their bits. */
static int smp_layout(struct config *c, const char *arg,
                      const uint64_t v[SMP_KEYS])
{
    uint64_t package = v[DIES] * v[CLUSTERS] * v[CORES] * v[THREADS];
    if (v[SOCKETS] * package != v[MAXCPUS])
        return fail(-EINVAL,
                    "-smp %s: sockets times cores times threads must be the "
                    "number of CPUs (maxcpus=)",
                    arg);
    if (v[CPUS] > v[MAXCPUS] || v[CPUS] > CPUS_MAX)
        return fail(-EINVAL,
                    "-smp %s: must be a number from 1 to %d, and not more than "
                    "maxcpus=",
                    arg, CPUS_MAX);
    if (!smp_power_of_two(v[THREADS]) ||
        (v[SOCKETS] > 1 && !smp_power_of_two(package)))
        return fail(-EINVAL,
                    "-smp %s: threads=, and where there are several sockets "
                    "cores= times threads=, must be a power of two",
                    arg);
    c->cpus_said = true;
    c->vm.cpus = (unsigned)v[CPUS];
    c->vm.threads = (unsigned)v[THREADS];
    c->vm.package = v[SOCKETS] > 1 ? (unsigned)package : c->vm.cpus;
    return 0;
}

int pc_smp(struct config *c, const struct told *t)
{
    uint64_t v[SMP_KEYS];
    if (!t->o.n)
        return fail(-EINVAL, "-smp: must be a number from 1 to %d", CPUS_MAX);
    for (int i = 0; i < SMP_KEYS; i++)
        v[i] = t->smp[i];
    smp_complete(v);
    return smp_layout(c, t->arg, v);
}
