/* SPDX-License-Identifier: MIT */
/* A machine of real threads, without KVM, for ThreadSanitizer: RAM, a main loop
 * on its own thread, vCPUs that can be parked as a reset parks them, wires with
 * somebody at the other end. */
#ifndef TSAN_RIG_H
#define TSAN_RIG_H

#include <pthread.h>
#include <stdatomic.h>

#include "machine/machine.h"
#include "machine/platform.h"
#include "net/net.h"

#define RIG_RAM (32u << 20)
#define PATIENCE_NS 10000000000ull /* a device that answers later is stuck */

/* ----------------------------------------------------------- one scenario */

/* What the guest does to a NIC: one vCPU is its driver, others are rude. */
struct vcpu;
struct guest {
    void (*driver)(struct vcpu *c); /* until it returns: the test ends */
    void (*rude)(struct vcpu *c);   /* one deed */
    const struct device_class *cls;
    void (*make)(const char *options); /* instead of one `cls` */
};
extern const struct guest vnet_guest, vblk_guest, e1000_guest, board_guest;

enum { /* scenario.flags */
       SC_PACKED = 1 << 0,
       SC_RSS = 1 << 1,
       SC_INTX = 1 << 2,
       SC_STREAM = 1 << 3, /* the wire is a stream whose peer comes and goes */
       SC_HUB = 1 << 4,    /* two NICs, each other's peers */
       SC_BOARD = 1 << 5,  /* no NIC: the board, and a client of its console */
       SC_DISK = 1 << 6,   /* no NIC: a disk, which grows and shrinks */
};

struct plan {
    const struct guest *guest; /* NULL: none */
    const char *options;
};
struct scenario {
    const char *name;
    unsigned pairs, flags;
    struct plan nic[2];
};

struct rig {
    struct machine m;
    const struct scenario *sc;
    uint64_t seed;
    _Atomic bool stop;
    _Atomic unsigned epoch; /* resets of the machine */
    /* What happened, so that a scenario in which nothing does is seen. */
    _Atomic unsigned long lives, resets, sent, received;
};
extern struct rig rig;

/* Runs it in this process; returns when all threads have ended. */
void rig_run(const struct scenario *sc, uint64_t seed, uint64_t ns);
/* As -device makes it. */
void rig_device(const struct device_class *cls, const char *options);
/* Where peers come to. */
#define STREAM_PATH "n0.sock"
#define SERIAL_PATH "serial.sock"
#define DISK_PATH "disk"
/* A thread that ends by itself once rig.stop is set. */
void rig_start(void *(*run)(void *arg), void *arg);
/* peers.c: the netdevs of the scenario; who is at their other ends. */
void wires_make(void);
void peers_start(void);
/* vblk.c: the disk has another size now. */
void vblk_resize(uint32_t random);
/* Each thread's own generator, from the scenario's seed. */
uint64_t seed_for(unsigned thread);
uint64_t next_random(uint64_t *s);
/* Says why, and ends the process. */
void rig_fail(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));

/* ------------------------------------------------------------------- vCPUs */

struct vcpu {
    const struct guest *guest;
    unsigned slot; /* of the NIC it works on */
    unsigned epoch;
    uint64_t random; /* its own generator */
};
/* Leaves the guest, so that it may be parked, and comes back. False: the
 * machine was reset meanwhile, nothing of before is there any more. */
bool vcpu_step(struct vcpu *c);
/* The same, after a pause. */
bool vcpu_sleep(struct vcpu *c, unsigned us);
uint32_t rnd(struct vcpu *c, uint32_t n); /* 0 to n - 1 */

/* Accesses to memory that is not RAM, as KVM brings them: to a doorbell that
 * was given to it, else to the bus. */
void wr(uint64_t addr, unsigned width, uint64_t val);
uint64_t rd(uint64_t addr, unsigned width);
static inline uint64_t cfg_at(unsigned slot, unsigned off)
{
    return PCI_ECAM_BASE + (slot << 15) + off;
}
/* Base of a memory BAR, by configuration space. */
uint64_t bar_at(unsigned slot, unsigned bar);
/* A capability's offset, 0: none. */
unsigned cap_at(unsigned slot, uint8_t id);
/* What any function may be asked by a rude vCPU: moves BARs, flips COMMAND and
 * MSI-X, reads. */
void rude_pci(struct vcpu *c);

/* ----------------------------------------------------------- guest memory */

static inline void *ram_at(uint64_t at)
{
    return rig.m.ram.region[0].hva + at;
}
#define MEM(type, at) ((_Atomic type *)ram_at(at))
#define put(type, at, v)                                                       \
    atomic_store_explicit(MEM(type, at), (type)(v), memory_order_relaxed)
#define put_release(type, at, v)                                               \
    atomic_store_explicit(MEM(type, at), (type)(v), memory_order_release)
#define get(type, at) atomic_load_explicit(MEM(type, at), memory_order_relaxed)
#define get_acquire(type, at)                                                  \
    atomic_load_explicit(MEM(type, at), memory_order_acquire)

#endif
