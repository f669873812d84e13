/* SPDX-License-Identifier: MIT */
/* What KVM itself remembers of a guest, as records.
 *
 * The order is KVM's: reading MP_STATE first, since it takes INIT and SIPI that
 * wait and changes the APIC, and the events last; writing the APIC base (SREGS)
 * before the APIC, the APIC before the MSRs, the TSC before the deadline that
 * is counted in it, and the events last, since SET_REGS forgets exceptions.
 * What a host's KVM lacks is left out by its name: an empty record. Routes,
 * irqfds and ioeventfds are not here, the devices make them again. */
#include "machine/kvm/state.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/state.h"
#include "machine/platform.h"

#define MSR_TSC 0x10
#define MSR_DEADLINE 0x6e0
#define LVT_TIMER 0x320 /* in the APIC's page; SDM §10.5.4 */
#define MSRS_MAX 1024
#define MSRS_AT_ONCE 64
#define XSAVE_MAX (64 << 10)

struct msr_value {
    uint32_t index, zero;
    uint64_t data;
};

struct cpu_state {
    struct kvm_mp_state mp;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debugregs;
    struct kvm_lapic_state lapic;
    struct kvm_vcpu_events events;
    uint32_t tsc_khz; /* 0: not told */
    uint32_t xsave_len, msrs_len;
    uint8_t *xsave, *msrs; /* the room behind this */
};

struct kvm_state {
    struct kvm_irqchip chip[3];
    struct kvm_pit_state2 pit;
    uint64_t clock;    /* kvmclock, ns */
    uint64_t realtime; /* and the host's time of day then; 0: not known */
    unsigned ncpus;
    struct cpu_state *cpu[CPUS_MAX];
    uint32_t *known; /* MSRs that this KVM lists */
    uint32_t nknown;
};

#define CPU(key, member) FIELD_BYTES(STATE, key, struct cpu_state, member)
static const struct field cpu_fields[] = {
    CPU("mp_state", mp),
    CPU("regs", regs),
    CPU("sregs", sregs),
    FIELD_BYTES(STATE | SPARE, "xcrs", struct cpu_state, xcrs),
    CPU("debugregs", debugregs),
    CPU("lapic", lapic),
    CPU("events", events),
    FIELD_AS(STATE | SPARE, NUMBER, "tsc_khz", struct cpu_state, tsc_khz),
    FIELD_AS(STATE, BLOB, "xsave", struct cpu_state, xsave,
             .def = FIELD_BEHIND(struct cpu_state, xsave, xsave_len),
             .max = XSAVE_MAX),
    FIELD_AS(STATE, BLOB, "msrs", struct cpu_state, msrs,
             .def = FIELD_BEHIND(struct cpu_state, msrs, msrs_len),
             .max = MSRS_MAX * sizeof(struct msr_value)),
    {.name = ""},
};

static const struct field kvm_fields[] = {
    FIELD_BYTES(STATE, "pic0", struct kvm_state, chip[0].chip),
    FIELD_BYTES(STATE, "pic1", struct kvm_state, chip[1].chip),
    FIELD_BYTES(STATE, "ioapic", struct kvm_state, chip[2].chip),
    FIELD_BYTES(STATE, "pit", struct kvm_state, pit),
    FIELD_AS(STATE, NUMBER, "clock", struct kvm_state, clock),
    FIELD_AS(STATE | SPARE, NUMBER, "realtime", struct kvm_state, realtime),
    {.name = "cpu",
     .type = FIELD_PARTS,
     .use = STATE,
     .offset = offsetof(struct kvm_state, cpu),
     .def = FIELD_BEHIND(struct kvm_state, cpu, ncpus),
     .min = 2,
     .part = cpu_fields},
    {.name = ""},
};

/* What goes by one call each. */
struct kvm_call {
    unsigned long get, set;
    const char *name;
    size_t offset;
};

#define CALL(what, member)                                                     \
    {                                                                          \
        KVM_GET_##what, KVM_SET_##what, #what,                                 \
            offsetof(struct cpu_state, member)                                 \
    }
/* In this order; XSAVE and XCRS are between. */
static const struct kvm_call first_calls[] = {
    CALL(MP_STATE, mp), CALL(REGS, regs), CALL(SREGS, sregs)};
static const struct kvm_call last_calls[] = {CALL(DEBUGREGS, debugregs),
                                             CALL(LAPIC, lapic)};

/* syscalls loop if control: ioctl(KVM_GET_XSAVE2), where a CPU's registers take
 * more than 4 KiB (AMX) */
/* Loading is done before the loop is confined.
 *
 * syscalls loop if control: ioctl(KVM_GET_MP_STATE|KVM_GET_REGS|KVM_GET_SREGS|
 * KVM_GET_XSAVE|KVM_GET_XCRS|KVM_GET_DEBUGREGS|KVM_GET_LAPIC|
 * KVM_GET_VCPU_EVENTS|KVM_GET_IRQCHIP|KVM_GET_PIT2|KVM_GET_CLOCK) */
static int kvm_state_call(int fd, unsigned long req, void *arg,
                          const char *verb, const char *name, unsigned cpu)
{
    if (ioctl(fd, req, arg) >= 0)
        return 0;
    return fail(-errno, "KVM_%s_%s of CPU %u: %s", verb, name, cpu,
                strerror(errno));
}

/* ------------------------------------------------------------------ making */

static void kvm_state_free(struct kvm_state *s)
{
    for (unsigned i = 0; i < s->ncpus; i++)
        free(s->cpu[i]);
    free(s->known);
    free(s);
}

/* syscalls loop if control: ioctl(KVM_GET_MSR_INDEX_LIST) */
static int kvm_state_known(const struct kvm_fds *f, struct kvm_state *s)
{
    struct kvm_msr_list *list =
        calloc(1, sizeof(*list) + MSRS_MAX * sizeof(list->indices[0]));
    if (!list)
        return -ENOMEM;
    list->nmsrs = MSRS_MAX;
    int err = ioctl(f->kvm, KVM_GET_MSR_INDEX_LIST, list) < 0 ? -errno : 0;
    s->nknown = err ? 0 : list->nmsrs;
    s->known = calloc(s->nknown + 1u, sizeof(*s->known));
    if (!s->known)
        err = -ENOMEM;
    else
        memcpy(s->known, list->indices, s->nknown * sizeof(*s->known));
    free(list);
    return err;
}

static int kvm_state_new(const struct kvm_fds *f, struct kvm_state **out)
{
    struct kvm_state *s = calloc(1, sizeof(*s));
    int err = s ? kvm_state_known(f, s) : -ENOMEM;
    for (unsigned i = 0; !err && i < f->ncpus; i++) {
        struct cpu_state *c = calloc(
            1, sizeof(*c) + XSAVE_MAX + MSRS_MAX * sizeof(struct msr_value));
        if (!c) {
            err = -ENOMEM;
            break;
        }
        c->xsave = (uint8_t *)(c + 1);
        c->msrs = c->xsave + XSAVE_MAX;
        s->cpu[s->ncpus++] = c;
    }
    for (unsigned i = 0; s && i < ARRAY_LEN(s->chip); i++)
        s->chip[i].chip_id = i;
    if (!err)
        *out = s;
    else if (s)
        kvm_state_free(s);
    return err ? fail(err, "KVM's state: %s", strerror(-err)) : 0;
}

/* Bytes of the FPU's state; a KVM without KVM_CAP_XSAVE2 has one page.
 *
 * syscalls loop if control: ioctl(KVM_CHECK_EXTENSION) */
static uint32_t kvm_state_xsave_len(const struct kvm_fds *f)
{
    int n = ioctl(f->vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
    return n > (int)sizeof(struct kvm_xsave) && n <= XSAVE_MAX
               ? (uint32_t)n
               : sizeof(struct kvm_xsave);
}

static int kvm_state_calls(const struct kvm_call *c, size_t n, bool set, int fd,
                           struct cpu_state *s, unsigned cpu)
{
    int err = 0;
    for (size_t i = 0; i < n && !err; i++)
        err = kvm_state_call(fd, set ? c[i].set : c[i].get,
                             (uint8_t *)s + c[i].offset, set ? "SET" : "GET",
                             c[i].name, cpu);
    return err;
}

/* ------------------------------------------------------------------ saving */

/* KVM stops at the first that it does not take: how many it took. Each call
 * loads the vCPU, so it is asked for many at once.
 *
 * syscalls loop if control: ioctl(KVM_GET_MSRS) */
static uint32_t kvm_state_some_msrs(int fd, unsigned long req,
                                    struct msr_value *v, uint32_t n)
{
    union {
        struct kvm_msrs m;
        uint8_t room[sizeof(struct kvm_msrs) +
                     MSRS_AT_ONCE * sizeof(struct msr_value)];
    } some = {.m.nmsrs = n < MSRS_AT_ONCE ? n : MSRS_AT_ONCE};
    size_t len = some.m.nmsrs * sizeof(*v);
    memcpy(some.m.entries, v, len);
    int took = ioctl(fd, req, &some);
    memcpy(v, some.m.entries, len);
    return took > 0 ? (uint32_t)took : 0;
}

/* Those that KVM lists and this processor has. */
static void kvm_state_get_msrs(int fd, const struct kvm_state *s,
                               struct cpu_state *c)
{
    struct msr_value v[MSRS_AT_ONCE];
    for (uint32_t i = 0, n, took; i < s->nknown; i += took < n ? took + 1 : n) {
        n = s->nknown - i < MSRS_AT_ONCE ? s->nknown - i : MSRS_AT_ONCE;
        for (uint32_t k = 0; k < n; k++)
            v[k] = (struct msr_value){.index = s->known[i + k]};
        took = kvm_state_some_msrs(fd, KVM_GET_MSRS, v, n);
        memcpy(c->msrs + c->msrs_len, v, took * sizeof(*v));
        c->msrs_len += took * (uint32_t)sizeof(*v);
    }
}

/* The same for all CPUs where it was: KVM takes those that are set within a
 * second of each other for one. */
static void kvm_state_stand(struct cpu_state *c, uint64_t tsc)
{
    struct msr_value v;
    for (uint32_t at = 0; at < c->msrs_len; at += sizeof(v)) {
        memcpy(&v, c->msrs + at, sizeof(v));
        v.data = tsc;
        if (v.index == MSR_TSC)
            memcpy(c->msrs + at, &v, sizeof(v));
    }
}

/* syscalls loop if control: ioctl(KVM_GET_TSC_KHZ) */
static int kvm_state_get_cpu(const struct kvm_fds *f, struct kvm_state *s,
                             unsigned i)
{
    struct cpu_state *c = s->cpu[i];
    int fd = f->cpu[i], khz;
    int err =
        kvm_state_calls(first_calls, ARRAY_LEN(first_calls), false, fd, c, i);
    c->xsave_len = kvm_state_xsave_len(f);
    bool two = c->xsave_len > sizeof(struct kvm_xsave);
    if (!err)
        err = kvm_state_call(fd, two ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, c->xsave,
                             "GET", "XSAVE", i);
    if (!err && ioctl(f->vm, KVM_CHECK_EXTENSION, KVM_CAP_XCRS) > 0)
        err = kvm_state_call(fd, KVM_GET_XCRS, &c->xcrs, "GET", "XCRS", i);
    if (!err)
        err =
            kvm_state_calls(last_calls, ARRAY_LEN(last_calls), false, fd, c, i);
    if (err)
        return err;
    khz = ioctl(fd, KVM_GET_TSC_KHZ, 0);
    c->tsc_khz = khz > 0 ? (uint32_t)khz : 0;
    kvm_state_get_msrs(fd, s, c);
    if (f->tsc)
        kvm_state_stand(c, f->tsc[i]);
    return kvm_state_call(fd, KVM_GET_VCPU_EVENTS, &c->events, "GET",
                          "VCPU_EVENTS", i);
}

static int kvm_state_get(const struct kvm_fds *f, struct kvm_state *s)
{
    struct kvm_clock_data clock = {0};
    int err = 0;
    for (unsigned i = 0; i < s->ncpus && !err; i++)
        err = kvm_state_get_cpu(f, s, i);
    for (unsigned i = 0; i < ARRAY_LEN(s->chip) && !err; i++)
        err = kvm_state_call(f->vm, KVM_GET_IRQCHIP, &s->chip[i], "GET",
                             "IRQCHIP", i);
    if (!err)
        err = kvm_state_call(f->vm, KVM_GET_PIT2, &s->pit, "GET", "PIT2", 0);
    if (!err)
        err = kvm_state_call(f->vm, KVM_GET_CLOCK, &clock, "GET", "CLOCK", 0);
    if (f->clock)
        memcpy(&clock, f->clock, sizeof(clock));
    s->clock = clock.clock;
    s->realtime = clock.flags & KVM_CLOCK_REALTIME ? clock.realtime : 0;
    if (f->pit)
        memcpy(&s->pit, f->pit, sizeof(s->pit));
    return err;
}

int kvm_state_save(const struct kvm_fds *f, uint8_t **out, size_t *len)
{
    struct kvm_state *s;
    int err = kvm_state_new(f, &s);
    if (err)
        return err;
    err = kvm_state_get(f, s);
    if (!err) {
        *len = state_save(kvm_fields, s, NULL, 0);
        *out = malloc(*len);
        if (*out)
            state_save(kvm_fields, s, *out, *len);
        else
            err = fail(-ENOMEM, "KVM's state: out of memory");
    }
    kvm_state_free(s);
    return err;
}

/* ----------------------------------------------------------------- loading */

static bool kvm_state_knows(const struct kvm_state *s, uint32_t index)
{
    for (uint32_t i = 0; i < s->nknown; i++)
        if (s->known[i] == index)
            return true;
    return false;
}

static struct msr_value kvm_state_msr(const struct cpu_state *c, size_t at)
{
    struct msr_value v;
    memcpy(&v, c->msrs + at, sizeof(v));
    return v;
}

static uint64_t kvm_state_tsc(const struct cpu_state *c)
{
    for (size_t at = 0; at < c->msrs_len; at += sizeof(struct msr_value))
        if (kvm_state_msr(c, at).index == MSR_TSC)
            return kvm_state_msr(c, at).data;
    return 0;
}

/* A timer that fired as the CPU was stopped reads 0 and may be lost: it fires
 * again at once, which guests take for a late one. */
static uint64_t kvm_state_deadline(const struct cpu_state *c, uint64_t data)
{
    uint32_t lvt;
    memcpy(&lvt, c->lapic.regs + LVT_TIMER, sizeof(lvt));
    return data || (lvt >> 17 & 3) != 2 || lvt >> 16 & 1 ? data
                                                         : kvm_state_tsc(c);
}

/* Of one that is only to be read, the same value is as good. */
static bool kvm_state_has_msr(int fd, struct msr_value want)
{
    struct msr_value is = {.index = want.index};
    return kvm_state_some_msrs(fd, KVM_GET_MSRS, &is, 1) &&
           is.data == want.data;
}

static int kvm_state_put_msrs(int fd, struct msr_value *v, uint32_t n,
                              unsigned cpu)
{
    for (uint32_t at = 0; at < n; at++) {
        at += kvm_state_some_msrs(fd, KVM_SET_MSRS, v + at, n - at);
        if (at < n && !kvm_state_has_msr(fd, v[at]))
            return fail(-EINVAL, "cpu.%u.msrs: MSR 0x%x cannot be 0x%llx here",
                        cpu, v[at].index, (unsigned long long)v[at].data);
    }
    return 0;
}

/* In two rounds: the deadline comes after the TSC. */
static int kvm_state_set_msrs(int fd, const struct kvm_state *s,
                              const struct cpu_state *c, unsigned cpu,
                              bool late)
{
    const uint32_t step = sizeof(struct msr_value);
    struct msr_value some[MSRS_AT_ONCE];
    uint32_t n = 0;
    int err = 0;
    if (c->msrs_len % step)
        return fail(-EINVAL, "cpu.%u.msrs: %u bytes are no whole MSRs", cpu,
                    c->msrs_len);
    for (uint32_t at = 0; !err && at < c->msrs_len; at += step) {
        struct msr_value v = kvm_state_msr(c, at);
        if ((v.index == MSR_DEADLINE) != late)
            continue;
        if (!kvm_state_knows(s, v.index))
            return fail(-EINVAL, "cpu.%u.msrs: there is no MSR 0x%x here", cpu,
                        v.index);
        if (late)
            v.data = kvm_state_deadline(c, v.data);
        some[n++] = v;
        if (n < MSRS_AT_ONCE)
            continue;
        err = kvm_state_put_msrs(fd, some, n, cpu);
        n = 0;
    }
    return err ? err : kvm_state_put_msrs(fd, some, n, cpu);
}

/* The guest counts time in it: 250 ppm is what NTP can make up for. */
static int kvm_state_set_khz(int fd, uint32_t khz, unsigned cpu)
{
    int here = ioctl(fd, KVM_GET_TSC_KHZ, 0);
    int64_t off = (int64_t)here - khz;
    if (!khz || here <= 0 || (off < 0 ? -off : off) * 4000 <= here)
        return 0;
    if (ioctl(fd, KVM_SET_TSC_KHZ, khz) < 0)
        return fail(-errno,
                    "cpu.%u.tsc_khz: %u, here %d, which KVM cannot change", cpu,
                    khz, here);
    return 0;
}

static bool kvm_state_tsc_offset(int fd, unsigned long req, uint64_t *offset)
{
    struct kvm_device_attr a = {.group = KVM_VCPU_TSC_CTRL,
                                .attr = KVM_VCPU_TSC_OFFSET,
                                .addr = (uintptr_t)offset};
    return !ioctl(fd, req, &a);
}

/* KVM makes one counter of those that are written within a second of each
 * other, which a busy host may be too slow for; then each CPU would have one of
 * its own, and the guest's time would go back as it moves from one to another.
 * A KVM without this call has to be quick. */
static void kvm_state_join_tsc(const struct kvm_fds *f,
                               const struct kvm_state *s, unsigned cpu)
{
    uint64_t offset;
    if (!kvm_state_tsc_offset(f->cpu[0], KVM_GET_DEVICE_ATTR, &offset))
        return;
    offset += kvm_state_tsc(s->cpu[cpu]) - kvm_state_tsc(s->cpu[0]);
    kvm_state_tsc_offset(f->cpu[cpu], KVM_SET_DEVICE_ATTR, &offset);
}

static int kvm_state_set_cpu(const struct kvm_fds *f, struct kvm_state *s,
                             unsigned i)
{
    struct cpu_state *c = s->cpu[i];
    int fd = f->cpu[i], err;
    if (c->xsave_len != kvm_state_xsave_len(f))
        return fail(-EINVAL, "cpu.%u.xsave: %u bytes, here %u", i, c->xsave_len,
                    kvm_state_xsave_len(f));
    err = kvm_state_set_khz(fd, c->tsc_khz, i);
    if (!err)
        err = kvm_state_calls(first_calls, ARRAY_LEN(first_calls), true, fd, c,
                              i);
    if (!err)
        err = kvm_state_call(fd, KVM_SET_XSAVE, c->xsave, "SET", "XSAVE", i);
    if (!err && c->xcrs.nr_xcrs)
        err = kvm_state_call(fd, KVM_SET_XCRS, &c->xcrs, "SET", "XCRS", i);
    if (!err)
        err =
            kvm_state_calls(last_calls, ARRAY_LEN(last_calls), true, fd, c, i);
    if (!err)
        err = kvm_state_set_msrs(fd, s, c, i, false);
    if (!err && i)
        kvm_state_join_tsc(f, s, i);
    if (!err)
        err = kvm_state_set_msrs(fd, s, c, i, true);
    if (!err)
        err = kvm_state_call(fd, KVM_SET_VCPU_EVENTS, &c->events, "SET",
                             "VCPU_EVENTS", i);
    ioctl(fd, KVM_KVMCLOCK_CTRL, 0); /* for a guest that has one */
    return err;
}

/* Of all clocks only this one can be set forward: a guest takes a time stamp
 * counter that leaps for a broken one, or loses count (its clocksource's
 * multiplication is for minutes). */
static int kvm_state_set_clock(const struct kvm_fds *f,
                               const struct kvm_state *s)
{
    struct kvm_clock_data clock = {.clock = s->clock};
    int flags = ioctl(f->vm, KVM_CHECK_EXTENSION, KVM_CAP_ADJUST_CLOCK);
    if (f->realtime && (!s->realtime || !(flags & KVM_CLOCK_REALTIME)))
        return fail(-EOPNOTSUPP,
                    "clock=realtime: %s does not know the time of day of its "
                    "kvmclock",
                    s->realtime ? "KVM here (before Linux 5.16)"
                                : "the saved machine");
    if (f->realtime) {
        clock.flags = KVM_CLOCK_REALTIME;
        clock.realtime = s->realtime;
    }
    return kvm_state_call(f->vm, KVM_SET_CLOCK, &clock, "SET", "CLOCK", 0);
}

static int kvm_state_set(const struct kvm_fds *f, struct kvm_state *s)
{
    int err = kvm_state_call(f->vm, KVM_SET_PIT2, &s->pit, "SET", "PIT2", 0);
    if (!err)
        err = kvm_state_set_clock(f, s);
    for (unsigned i = 0; i < ARRAY_LEN(s->chip) && !err; i++)
        err = kvm_state_call(f->vm, KVM_SET_IRQCHIP, &s->chip[i], "SET",
                             "IRQCHIP", i);
    for (unsigned i = 0; i < s->ncpus && !err; i++)
        err = kvm_state_set_cpu(f, s, i);
    return err;
}

int kvm_state_load(const struct kvm_fds *f, const void *p, size_t len)
{
    struct kvm_state *s;
    int err = kvm_state_new(f, &s);
    if (err)
        return err;
    err = state_load(kvm_fields, s, "KVM's state", p, len);
    if (!err)
        err = kvm_state_set(f, s);
    kvm_state_free(s);
    return err;
}
