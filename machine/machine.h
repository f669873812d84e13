/* SPDX-License-Identifier: MIT */
/* All a device sees of the world: RAM, buses, the loop, interrupts, kicks.
 * machine/ builds it on KVM, tests/unit/fake.c on malloc and eventfds. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/field.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/opts.h"
#include "base/verb.h"

/* ------------------------------------------------------------------- RAM */

/* A guest-physical address. A struct, so that nobody adds to it, casts it or
 * dereferences it by accident. */
typedef struct {
    uint64_t v;
} gpa_t;
static inline gpa_t gpa(uint64_t v)
{
    return (gpa_t){v};
}

#define RAM_REGIONS 2
struct console;
struct ram_region {
    uint64_t gpa, size; /* bytes, page aligned */
    uint8_t *hva;
    uint64_t offset; /* inside ram.fd */
};
struct ram {
    struct ram_region region[RAM_REGIONS]; /* ascending, not adjacent */
    int n;
    int fd;      /* memfd behind all of it (shared), or -1 (private) */
    bool served; /* another process makes pages that are not there, */
    bool cut;    /* and some have been given back since */
};

/* The one door to guest memory: a pointer to `len` bytes at `a`, or NULL when
 * any byte of them is not RAM. Overflow-safe. len 0 gives non-NULL only where a
 * is RAM. Any thread. */
static inline void *ram_ptr(const struct ram *ram, gpa_t a, uint64_t len)
{
    for (int i = 0; i < RAM_REGIONS; i++) { /* one that is not has no bytes */
        const struct ram_region *r = &ram->region[i];
        uint64_t off = a.v - r->gpa;
        if (off < r->size && len <= r->size - off)
            return r->hva + off;
    }
    return NULL;
}

struct machine;
/* Gives whole pages back to the host, which the guest finds zeroed: `p` is from
 * ram_ptr, within one region. 0 or -errno. */
int ram_discard(struct machine *m, void *p, uint64_t len);

/* ----------------------------------------------------------------- buses */

/* A range of port or memory addresses somebody answers. `off` is inside the
 * region; width is 1, 2, 4 or 8 and off + width <= len. The value returned or
 * given is in the low bits. Called on vCPU threads, several at once, and on the
 * loop's (PCI_CFG capability): the owner locks. No bus lock is held. */
struct region {
    uint64_t base, len;
    uint64_t (*read)(void *owner, uint64_t off, unsigned width);
    void (*write)(void *owner, uint64_t off, unsigned width, uint64_t val);
    void *owner;
    const char *name;
};

struct bus;
struct bus *bus_new(const char *name); /* NULL: out of memory */
void bus_free(struct bus *b);
/* Accesses nobody claimed so far. */
uint64_t bus_unclaimed(const struct bus *b);
/* 0, -EEXIST where it overlaps another region, -ENOSPC, -EINVAL (wraps). The
 * region stays the caller's and must live until bus_del. Any thread. */
int bus_add(struct bus *b, struct region *r);
void bus_del(struct bus *b, struct region *r);
/* width 1, 2, 4, 8. Unclaimed (or partly claimed) reads give all ones,
 * unclaimed writes are dropped; both are counted. */
uint64_t bus_read(struct bus *b, uint64_t addr, unsigned width);
void bus_write(struct bus *b, uint64_t addr, unsigned width, uint64_t val);

/* ----------------------------------------------------- interrupts, kicks */

/* One interrupt source. Its owner raises it through an eventfd that KVM (or,
 * in tests, the fake) turns into an interrupt; the fd may be handed to vhost.
 */
struct irq {
    struct machine *m;
    int fd;        /* the eventfd; -1 before irq_msi/irq_intx */
    int gsi;       /* -1: none yet */
    bool attached; /* fd is wired to the guest */
    /* INTx only: */
    _Atomic bool level;
    struct event resample; /* EOI seen: assert again if level still holds */
};

/* Message-signalled: irq_msi creates the eventfd (detached). While detached, a
 * pulse stays in the eventfd's counter: that counter is the MSI-X pending bit,
 * and attaching delivers it. 0 or -errno. Cold path, any thread. */
int irq_msi(struct machine *m, struct irq *irq);
int irq_msi_attach(struct irq *irq, uint64_t addr, uint32_t data);
void irq_detach(struct irq *irq);
bool irq_pending(const struct irq *irq); /* a pulse waits in the counter */
/* Raises a message-signalled interrupt. Any thread, no lock.
 *
 * KVM may take an edge from the eventfd and give it to the interrupt controller
 * only later, by a kernel thread (irqfd_wakeup in virt/kvm/eventfd.c): for an
 * ISA line always, for a message where its addressing is unusual. Of a machine
 * that is saved in between it is neither here nor there; so who is loaded
 * raises again what may have been under way. Once too often does no harm. */
void irq_pulse(struct irq *irq);

/* Level-triggered on a GSI; several sources may share one. irq_set is called
 * under the owner's lock or not at all concurrently for one irq. */
int irq_intx(struct machine *m, struct irq *irq, unsigned gsi);
void irq_set(struct irq *irq, bool level);
/* Edge-triggered on a GSI (ISA devices): raise it with irq_pulse. To
 * ops->irq_intx it is an irq whose resample.fd is -1. */
int irq_isa(struct machine *m, struct irq *irq, unsigned gsi);
void irq_free(struct irq *irq);

/* An eventfd that a guest write of `width` bytes (0: any) at an address
 * signals instead of leaving to user space (ioeventfd). */
struct kick {
    int fd;
    bool pio;
    uint64_t addr;
    unsigned width;
    bool match; /* only when the value written is `data` */
    uint64_t data;
};

/* --------------------------------------------------------------- machine */

/* How a run ends, or what a guest asks for. The values are vmm's exit codes
 * (README "Exit codes"); RESET restarts the guest unless -no-reboot. */
enum machine_stop {
    STOP_POWEROFF = 0,
    STOP_RESET = 3,
    STOP_CRASH = 4, /* triple fault */
    STOP_PANIC = 5, /* the guest said so */
    STOP_FAULT = 6, /* the VMM or KVM cannot go on */
};

struct part;
struct parts;
struct machine_ops {
    int (*irq_msi_attach)(struct irq *irq, uint64_t addr, uint32_t data);
    int (*irq_intx)(struct irq *irq, unsigned gsi);
    void (*irq_detach)(struct irq *irq);
    void (*irq_free)(struct irq *irq);
    /* 0, -EEXIST (another kick there), -ENOSPC, -errno */
    int (*kick_add)(struct machine *m, const struct kick *k);
    void (*kick_del)(struct machine *m, const struct kick *k);
    /* Maps host memory at a guest-physical address (ROMs, BARs of assigned
     * devices); NULL hva unmaps. Page-aligned. -errno. */
    int (*map)(struct machine *m, uint64_t gpa, void *hva, uint64_t size,
               bool readonly);
    /* The guest wants the machine to stop or restart (the operator:
     * machine_ask); returns at once. Any thread. */
    void (*request)(struct machine *m, enum machine_stop why);
    /* Optional. The processors leave the guest, and its clocks stand still;
     * and they go on. See machine_pause. */
    void (*park)(struct machine *m);
    void (*unpark)(struct machine *m);
    /* Optional. Can it be saved: 0, -EOPNOTSUPP or -EBUSY (said)? What it
     * remembers while it is paused, but for its memory: parts of a state file.
     * 0 or -errno (said). */
    int (*can_save)(struct machine *m);
    int (*save)(struct machine *m, struct parts *out);
    /* The same of what does not change, at any time. */
    void (*outline)(struct machine *m, struct parts *out);
    /* Optional. Has `job(arg)` done by a thread for calls that take their time;
     * while another one is under way the caller waits for that. */
    void (*work)(struct machine *m, void (*job)(void *arg), void *arg);
    /* Optional. The number of the thread that runs a processor. */
    int (*cpu_thread)(const struct machine *m, unsigned cpu);
    /* Optional. Counters of its own, and of its devices. */
    void (*stats)(struct machine *m, struct tally *t);
};

struct pci_bus;
struct device;

/* What has happened to it, for who wants to hear of it. */
enum machine_news {
    NEWS_PAUSED,
    NEWS_RESUMED,
    NEWS_BUTTON, /* the power button was pressed */
    NEWS_RESET,  /* `why`: STOP_RESET */
    NEWS_END,    /* the run's, or the guest's with -no-shutdown: `why` */
    NEWS_PANICKED,
    NEWS_TAKEN, /* this process has taken it over from another one */
    /* Of a device (machine_note). */
    NEWS_BALLOON,   /* it has another size */
    NEWS_RX_FILTER, /* other frames are to come */
};
struct news {
    enum machine_news what;
    bool asked; /* by the operator, not the guest; PANICKED: and it stays */
    int why;    /* an enum machine_stop, or 128 and a signal's number */
    struct device *dev;
};

struct machine {
    const struct machine_ops *ops;
    struct ram ram;
    struct bus *pio, *mmio;
    struct loop *loop;      /* the main loop */
    struct pci_bus *pci;    /* devices/pci/pci.h */
    struct device *devices; /* in order of creation */
    unsigned ncpus;
    unsigned serials;                 /* serial ports made so far */
    struct console *serial;           /* the first one's, or NULL */
    unsigned holds;                   /* machine_hold */
    bool paused;                      /* machine_pause */
    bool leaving;                     /* another process takes it over: it may
                                         not go on here */
    const char *busy;                 /* what is done with the whole of it, so
                                         that nothing else is; or NULL */
    bool started;                     /* the guest has run */
    void (*start)(struct machine *m); /* the last hold is gone */
    const char *name;                 /* -name, or NULL */
    uint32_t pci_asked;     /* slots that an addr= names: not for others */
    uint32_t boot_rank[32]; /* of the function in each PCI slot: the lowest but
                              0 boots first; 0: it has none */
    const char *pinned;     /* who else holds guest memory ("a vhost-user
                               process"): nothing of it can go back; or NULL */
    struct device *failed;  /* half made: the loop may know them */
    bool asked;             /* machine_ask: the request is an operator's */
    bool over;              /* the guest has ended for `why`, and nothing but a
                               reset goes on from there (-no-shutdown) */
    int why;                /* an enum machine_stop */
    /* Optional. On the main loop's thread. */
    void (*tell)(struct machine *m, const struct news *n);
    int news_fd; /* of an event that machine_note signals; 0: nobody's */
};

/* What devices take something from that is neither a network nor a disk, as
 * -object TYPE,id=ID makes it and a device names it. */
struct object_class {
    const char *types, *help;   /* names of it, blanks between them */
    const struct field *fields; /* of its struct, struct object first */
    size_t size;
};
struct object {
    const struct object_class *cls;
    const char *type, *id; /* texts of the opts */
    struct opts opts;
    bool taken;
    struct object *next;
};
/* The rows that give an object's struct its type and its id=. */
extern const struct field object_fields[];

/* What is asked of a machine that is not made yet. Devices add to it while they
 * are checked. */
struct needs {
    struct object *objects; /* that can be named */
    const char *name;       /* -name, or NULL */
    bool shared_ram;        /* memfd, for processes that serve rings */
    unsigned nics;          /* so far: numbers their default names and MACs */
    unsigned disks;         /* so far: what a BIOS may boot from */
    unsigned pci;           /* functions */
    uint32_t pci_asked;     /* slots that an addr= names */
};

/* A device, embedded first in its own struct. Devices live as long as the
 * machine (there is no hot-unplug). */
struct device {
    const struct device_class *cls;
    const char *id;   /* -device …,id=, or the class's name with a number */
    struct opts opts; /* what it was told; texts in the struct point here */
    struct machine *m;
    /* Power-on state, at any moment, in mid-traffic too; when it returns
     * nothing of the old state acts any more. vCPUs are stopped or this is a
     * vCPU's own register write. */
    void (*reset)(struct device *dev);
    /* Optional. hold: when it returns nothing is popped, owed or under way, and
     * what the device remembers is in its STATE, the time left of timers too.
     * resume: descriptors and timers again from STATE, the backend told again,
     * what came meanwhile looked at. See device_hold. */
    void (*hold)(struct device *dev);
    void (*resume)(struct device *dev);
    /* Optional. Tells of counters beside the COUNTER rows of the class's
     * fields. */
    void (*stats)(struct device *dev, struct tally *t);
    /* Optional, a NIC's. Has the guest sent a frame? Any thread. */
    bool (*sent)(struct device *dev);
    /* Optional. Closes what lives outside the process (taps, children). */
    void (*destroy)(struct device *dev);
    _Atomic unsigned news; /* bits: 1 << NEWS_*, of machine_note */
    bool held;             /* between device_hold and device_resume */
    bool fresh; /* its state came by device_load, and it has not run since */
    struct device *next;
};

/* Another name of a class, and what the name alone says. */
struct device_alias {
    const char *name, *key[2], *val[2];
};

/* One kind of device: the one const row at the end of its file, listed once in
 * the wiring table of vmm.c. */
struct device_class {
    const char *name;                   /* as in -device NAME */
    const char *help;                   /* what it is */
    const struct field *fields;         /* of its struct; NULL: none */
    size_t size;                        /* of it, struct device first */
    const struct device_alias *aliases; /* end with one without a name; NULL:
                                           it has none */
    const char *kinds; /* names of QEMU's that mean it and others: -global */
    /* Optional. Looks whether what the fields say can be had, and says what it
     * needs. Touches nothing outside. 0 or -errno, said. */
    int (*check)(struct device *dev, struct needs *needs);
    /* Makes one of a checked dev and registers it. 0 or -errno, said. */
    int (*create)(struct machine *m, struct device *dev);
    /* Optional. The STATE rows were loaded: looks at what spans them, and makes
     * of it what is not remembered. 0, or -errno (said): a reset follows. */
    int (*loaded)(struct device *dev);
    const char *stays; /* why it cannot be saved; NULL: it can */
    /* Optional. It is saved for another process that takes over what is open,
     * too (handed_late): puts parts "of.WHAT". And there, when its state is
     * loaded, each of them: bytes from anywhere. 0 or -errno (said). */
    int (*leave)(struct device *dev, struct parts *out);
    int (*arrive)(struct device *dev, const struct part *part);
    const struct object_class *object; /* Optional: what it can name */
    /* Optional. What an operator can have it do; end with one without a name.
     * The thing is the struct device. */
    const struct verb *verbs;
};
/* The row that gives a device's struct its id=. */
extern const struct field device_fields[];

/* Makes an object of `o` (taken over), whose type is one of the class's words,
 * the first of *list. 0 or -errno (said). */
int object_new(const struct object_class *cls, struct opts *o,
               struct object **list);
/* The class's one of that id, which is taken now; NULL: there is none. */
struct object *object_take(struct object *list, const struct object_class *cls,
                           const char *id);
/* All of them, when no device uses them any more. */
void objects_free(struct object **list);

/* The guest does not start before each hold is released (a client has come, the
 * kernel is loaded). Main loop's thread, or before it runs. */
void machine_hold(struct machine *m);
void machine_release(struct machine *m);

/* The whole machine stands still, at any moment: nothing of the guest runs,
 * every device is held, and the guest's clocks do not go on, so that it notices
 * nothing. Before it has started: it will not start. Both do nothing where it
 * is so already. Main loop's thread, or before it runs. */
void machine_pause(struct machine *m);
void machine_resume(struct machine *m);

/* The operator wants it to stop, or to restart. Main loop's thread. */
void machine_ask(struct machine *m, enum machine_stop why);
/* It has happened. Main loop's thread. */
void machine_tell(struct machine *m, enum machine_news what, bool asked,
                  int why);
/* Something has happened to the device, perhaps often. Any thread, under the
 * device's lock or not. */
void machine_note(struct device *dev, enum machine_news what);

/* Has the device `id` (NULL: the first that can) do what a verb of its class
 * says; see base/verb.h. -ENOENT: there is no such device, or it has no such
 * verb; else 0 or -errno, said in each case. Main loop's thread. */
int machine_do(struct machine *m, const char *id, const char *verb,
               struct opts *o, struct text *out);

/* First half: a device as `o` (taken over) wants it, checked. 0 or -errno
 * (said), nothing left then. */
int device_new(const struct device_class *cls, struct opts *o,
               struct needs *needs, struct device **out);
/* Second half. On an error (said) dev is no longer the caller's. */
int device_create(struct machine *m, struct device *dev);
/* One that was not created. */
void device_free(struct device *dev);
/* Appends a finished device to the machine. */
void device_register(struct machine *m, struct device *dev);
/* Stops a device for a while. All on the main loop's thread, with the vCPUs
 * stopped; the loops may run on: a device that is held hears its backend and
 * leaves it at that. Only resume and reset change its STATE meanwhile. */
void device_hold(struct device *dev);
void device_resume(struct device *dev);
/* What a held device remembers, as base/state.h writes it: gives the bytes, 0
 * for one that cannot be saved (cls->stays); none are written beyond `room`. */
size_t device_save(struct device *dev, void *out, size_t room);
/* The same into a held device of the same class and options, in a machine with
 * the same memory; interrupt controllers have theirs before. Bytes from
 * anywhere. 0, or -errno (said): it is as after a reset then, and held. */
int device_load(struct device *dev, const void *p, size_t len);
/* Its counters (SIGUSR1, -stats). Any thread. */
void device_stats(struct device *dev, struct tally *t);
/* Has the guest sent a frame by any of them? Any thread. */
bool machine_sent(const struct machine *m);
/* Destroys all, last made first: a device may use those made before it. */
void devices_destroy(struct machine *m);

#endif
