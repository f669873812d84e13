/* SPDX-License-Identifier: MIT */
/* A machine without KVM: RAM with guard areas, eventfds for interrupts and
 * kicks, a clock and a loop that only move when the test says so. */
#ifndef FAKE_H
#define FAKE_H

#include <unistd.h>

#include "machine/machine.h"
#include "net/net.h"
#include "tests/unit/test.h"

/* --------------------------------------------------------------- machine */

/* A machine with `ram` bytes (page multiple) at 0, empty buses and a loop; no
 * PCI bus. Any access beyond RAM is an ASan error. */
struct machine *fake_new(uint64_t ram);
/* The same, RAM in two regions: [0, low) and [high_gpa, high_gpa + high). */
struct machine *fake_new2(uint64_t low, uint64_t high_gpa, uint64_t high);
/* fake_new and pci_bus_new. */
struct machine *fake_pc(uint64_t ram);
/* A device of it, told "key=value,..."; 0 or -errno, as said. */
int fake_device(struct machine *m, const struct device_class *cls,
                const char *what, const char *text);
/* Ends it: destroys the devices, poisons RAM. The devices' memory stays (they
 * live as long as their machine); fds left open are closed after the test. */
void fake_free(struct machine *m);

/* Power-on: every device reset, RAM zero, interrupts and requests forgotten. */
void fake_reset(struct machine *m);

/* RAM at `a`, or the test ends. */
void *fake_ram(struct machine *m, uint64_t a, uint64_t len);

/* Runs ready events and due timers until nothing is left to do; gives how many
 * ran. Fails the test when that does not end. */
int fake_run_loop(struct machine *m);
/* Until then, for a real second or two: other processes take their time. */
#define FAKE_SOON(m, condition)                                                \
    do {                                                                       \
        bool now = condition;                                                  \
        for (int soon = 0; soon < 2000 && !now; soon++) {                      \
            usleep(1000);                                                      \
            fake_run_loop(m);                                                  \
            now = condition;                                                   \
        }                                                                      \
        test_check(now, __FILE__, __LINE__, #condition);                       \
    } while (0)
/* The loop's clock. It stands still unless moved, and starts at one second. */
void fake_advance_ns(uint64_t ns);
/* It moves by so much each time the loop reads it; 0 again before the end. */
void fake_tick_ns(uint64_t ns);
/* wall_ns() is now the beginning of this second (UTC since 1970). */
void fake_set_wall(uint64_t utc_seconds);
/* Moves the clock and runs what is due, timer by timer. */
void fake_sleep_ns(struct machine *m, uint64_t ns);

/* ------------------------------------------------------ a guest's accesses */

/* What a guest's write does: signals the kick that matches, or else goes to
 * the bus. fake_kick_write only tries kicks, and says whether one matched. */
void guest_write(struct machine *m, bool pio, uint64_t addr, unsigned width,
                 uint64_t val);
uint64_t guest_read(struct machine *m, bool pio, uint64_t addr, unsigned width);
bool fake_kick_write(struct machine *m, bool pio, uint64_t addr, unsigned width,
                     uint64_t val);
/* How many kicks are registered now. */
int fake_kicks(struct machine *m);
/* The next n kick_add calls fail with `err`. */
void fake_kick_fail(struct machine *m, int n, int err);

static inline uint8_t inb(struct machine *m, unsigned port)
{
    return (uint8_t)guest_read(m, true, port, 1);
}
static inline uint16_t inw(struct machine *m, unsigned port)
{
    return (uint16_t)guest_read(m, true, port, 2);
}
static inline uint32_t inl(struct machine *m, unsigned port)
{
    return (uint32_t)guest_read(m, true, port, 4);
}
static inline void outb(struct machine *m, unsigned port, uint8_t v)
{
    guest_write(m, true, port, 1, v);
}
static inline void outw(struct machine *m, unsigned port, uint16_t v)
{
    guest_write(m, true, port, 2, v);
}
static inline void outl(struct machine *m, unsigned port, uint32_t v)
{
    guest_write(m, true, port, 4, v);
}

/* ------------------------------------------------------------- interrupts */

/* Message-signalled interrupts that arrived at this address and data since the
 * last call. FAKE_ANY as data: whatever the data (each is counted once). */
#define FAKE_ANY 0xffffffffffull
unsigned fake_msis(struct machine *m, uint64_t addr, uint64_t data);
/* Does any source hold this GSI up (irq_intx)? */
bool fake_level(struct machine *m, unsigned gsi);
/* Signals on a GSI since the last call: assertions (irq_intx), edges
 * (irq_isa). */
unsigned fake_irqs(struct machine *m, unsigned gsi);
/* The guest ends the interrupt: resample, and runs the loop. */
void fake_eoi(struct machine *m, unsigned gsi);

/* ---------------------------------------------------------------- requests */

/* How often the machine was asked to stop, and why the last time (-1: never).
 */
int fake_requests(struct machine *m);
int fake_last_request(struct machine *m);

/* What is mapped at a guest-physical address through ops->map, or NULL. */
void *fake_mapped(struct machine *m, uint64_t addr);

/* ----------------------------------------------------------------- network */

/* A netdev whose other side is the test; registered (netdev_find) under its
 * id. Packets on the wire have the 12-byte header. */
struct fake_net;
struct fake_net *fake_net_new(const char *id, unsigned nq);
struct netdev *fake_net_dev(struct fake_net *f);
/* A packet for the guest; hdr NULL: a header of zeroes. */
void fake_net_give(struct fake_net *f, unsigned q, const struct net_hdr *hdr,
                   const void *frame, size_t len);
/* The next packet from the guest: its frame's bytes copied to `frame` (at most
 * max), the header to *hdr unless NULL. The frame's length, or -1: none. */
ssize_t fake_net_take(struct fake_net *f, unsigned q, struct net_hdr *hdr,
                      void *frame, size_t max);
/* Forgets the packets on their way, and the failures to come. */
void fake_net_clear(struct fake_net *f);
/* Fills the socket, so that send would block, or empties it again. */
void fake_net_block(struct fake_net *f, unsigned q, bool blocked);
/* The next n sends (receives) fail with err (a negative errno). A receive that
 * fails consumes nothing. */
void fake_net_fail_send(struct fake_net *f, int n, int err);
void fake_net_fail_recv(struct fake_net *f, int n, int err);
/* What set_offload was last given; ~0u: never called. */
unsigned fake_net_offload(struct fake_net *f);
unsigned fake_net_queues(struct fake_net *f);
/* Calls of send and recv so far, those that would block included. */
unsigned fake_net_sends(struct fake_net *f);
unsigned fake_net_recvs(struct fake_net *f);
/* Announcements (RARP) so far, which are not among the packets. */
unsigned fake_net_announced(struct fake_net *f);

#endif
