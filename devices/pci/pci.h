/* SPDX-License-Identifier: MIT */
/* The PCI bus and its functions: configuration space, BARs, INTx, MSI-X. */
#ifndef PCI_H
#define PCI_H

#include <assert.h>

#include "base/lock.h"
#include "machine/machine.h"
#include "machine/platform.h"

#define PCI_SLOTS 32
#define PCI_BARS 6
#define PCI_ROM_BAR 6 /* index of the expansion ROM in bar[] */
#define PCI_MSIX_MAX 128

/* Configuration header, type 0 (PCI 3.0 §6.1). */
enum {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION_ID = 0x08,
    PCI_CLASS = 0x09, /* prog-if, subclass, class */
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SUBSYS_VENDOR_ID = 0x2c,
    PCI_SUBSYS_ID = 0x2e,
    PCI_ROM = 0x30,
    PCI_CAP_PTR = 0x34,
    PCI_INT_LINE = 0x3c,
    PCI_INT_PIN = 0x3d,
    PCI_MIN_GNT = 0x3e,
};
enum { /* PCI_COMMAND */
       PCI_CMD_IO = 1 << 0,
       PCI_CMD_MEM = 1 << 1,
       PCI_CMD_MASTER = 1 << 2,
       PCI_CMD_INTX_OFF = 1 << 10,
};
enum { /* PCI_STATUS */
       PCI_STS_INTX = 1 << 3,
       PCI_STS_CAPS = 1 << 4,
};
enum {
    PCI_CAP_PM = 0x01,
    PCI_CAP_MSI = 0x05,
    PCI_CAP_VENDOR = 0x09,
    PCI_CAP_EXP = 0x10,
    PCI_CAP_MSIX = 0x11,
};

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_fn;

/* An ioeventfd inside a BAR; it moves with the BAR and is only registered
 * while the BAR decodes. */
struct pci_kick {
    uint64_t off;
    unsigned width; /* 0: any */
    bool match;
    uint64_t data;
    int fd;
    bool on;         /* wanted by the device */
    bool registered; /* known to the machine, as `at` */
    struct kick at;
};

/* Host memory inside a BAR, which the guest reaches without leaving it: KVM
 * looks there first. Page-aligned; moves with the BAR. Where it cannot be
 * mapped the BAR's region answers instead. */
struct pci_map {
    uint64_t off, size;
    void *hva;
    bool readonly;
    bool live; /* known to the machine */
};

struct pci_bar {
    enum pci_bar_kind kind;
    uint64_t size; /* power of two; IO >= 4, MEM >= 16 */
    /* read/write/owner/name as in struct region, offsets inside the BAR;
     * base and len are the bus's. Without a read there is no region. */
    struct region region;
    bool mapped;           /* region.base is live */
    uint64_t first;        /* address the bus assigned at start */
    struct pci_kick *kick; /* array of nkick, owned by the device */
    unsigned nkick;
    struct pci_map *map; /* array of nmap, owned by the device */
    unsigned nmap;
};

/* One MSI-X vector; table in guest-visible form. */
struct pci_msix_vec {
    uint64_t addr;
    uint32_t data, ctrl; /* ctrl bit 0: masked */
    bool pending;        /* while held */
    struct irq irq;
    struct irq lent; /* the same interrupt, for somebody else; m NULL: not */
};

struct pci_fn {
    struct machine *m;
    struct pci_bus *bus;
    unsigned slot; /* bdf is slot << 3: function 0 only */
    const char *name;
    void *owner;
    /* A guest write changes only bits set in wmask; no host-side value ever
     * lives in those bytes. */
    _Atomic uint8_t cfg[256]; /* read by any thread, see pci_get */
    uint8_t wmask[256];
    unsigned cap_end; /* first free byte for a capability */
    uint8_t cap_last; /* last capability in the list, 0: none */
    struct pci_bar bar[PCI_BARS + 1];
    const char *romfile; /* expansion ROM, or NULL */
    struct pci_map rom;
    /* Optional hooks, called without a lock, after a write of `val` took effect
     * (cfg_written) or before a read (cfg_read; may change cfg[]). */
    void (*cfg_written)(struct pci_fn *fn, unsigned off, unsigned width,
                        uint32_t val);
    void (*cfg_read)(struct pci_fn *fn, unsigned off, unsigned width);

    struct irq intx;
    bool has_intx;
    _Atomic bool intx_level; /* what the device drives, before INTX_OFF */
    struct lock irq_lock;    /* MSI-X table, INTx gate */
    unsigned nvec;
    uint8_t msix_cap; /* offset of the capability, 0: none */
    struct pci_msix_vec *vec;
    struct fault irq_fault;
};

/* Configuration bytes, little-endian, width 1 to 4. Any thread, no lock: each
 * byte is what it was at some time during the call. Bytes that the guest may
 * write are put under the bus's lock, or before the guest can. */
uint32_t pci_get(const struct pci_fn *fn, unsigned off, unsigned width);
void pci_put(struct pci_fn *fn, unsigned off, unsigned width, uint32_t val);

/* Fills in the header. class24 is 0xCCSSPP (class, subclass, prog-if). */
void pci_fn_init(struct pci_fn *fn, struct machine *m, void *owner,
                 const char *name, uint16_t vendor, uint16_t device,
                 uint32_t class24, uint8_t rev);
/* The smallest power of two of at least `want` bytes; `least` is one. */
static inline uint64_t pci_bar_size(uint64_t least, uint64_t want)
{
    while (least < want)
        least *= 2;
    return least;
}
/* Declares a BAR (before pci_add). MEM64 uses up index i + 1 too. */
void pci_bar_init(struct pci_fn *fn, unsigned i, enum pci_bar_kind kind,
                  uint64_t size,
                  uint64_t (*read)(void *owner, uint64_t off, unsigned width),
                  void (*write)(void *owner, uint64_t off, unsigned width,
                                uint64_t val),
                  void *owner);
/* Appends a capability of `len` bytes (id and next included) and gives its
 * offset; the body is zero and read-only until the caller fills it in. */
uint8_t pci_cap_add(struct pci_fn *fn, uint8_t id, uint8_t len);
/* Interrupt pin A. Before pci_add. */
void pci_intx_init(struct pci_fn *fn);
/* MSI-X with n vectors, table at offset 0 and PBA at 0x800 of memory BAR
 * `bar` (4 KiB, declared here). 0 or -errno. Before pci_add. */
int pci_msix_init(struct pci_fn *fn, unsigned bar, unsigned n);
/* The same for a capability that is at `cap` already and says itself where
 * table and PBA are. The owner of that BAR hands accesses to them on, with
 * offsets from the table's and the PBA's start. */
int pci_msix_vectors(struct pci_fn *fn, uint8_t cap, unsigned n);
uint64_t pci_msix_read(struct pci_fn *fn, uint64_t off, unsigned width);
void pci_msix_write(struct pci_fn *fn, uint64_t off, unsigned width,
                    uint64_t val);
uint64_t pci_msix_pba(struct pci_fn *fn, uint64_t off, unsigned width);

/* Reads fn->romfile, if any, into the ROM BAR; pci_add does it. 0 or -errno
 * (said). */
int pci_rom_load(struct pci_fn *fn);

/* Does an access touch configuration bytes [lo, hi)? For the hooks. */
static inline bool pci_touches(unsigned off, unsigned width, unsigned lo,
                               unsigned hi)
{
    return off < hi && lo < off + width;
}

/* What every PCI device can be told: where it is, its ROM, and when the BIOS
 * tries to boot from it. */
#define PCI_NOT_TOLD UINT32_MAX
struct pci_place {
    const char *addr, *bus, *romfile;
    uint32_t bootindex; /* PCI_NOT_TOLD: none */
    uint8_t rombar, multifunction;
    int slot; /* of addr=, or -1: the first free one */
};
extern const struct field pci_fields[];
extern const struct field pci_fn_fields[];   /* of a struct pci_fn */
extern const struct field pci_msix_fields[]; /* of a struct pci_msix_vec */
/* Makes sense of them: slot; romfile NULL when there is to be none. 0, or
 * -errno (said, beginning with `what`). */
int pci_check(struct pci_place *p, const char *what, struct needs *needs);
/* Is it a file with an option ROM? 0, or -errno (said). */
int pci_rom_check(const char *what, const char *path);

/* Puts the function on the bus at its place, which was checked: slot 1 to 31,
 * or -1. 0, -EBUSY or -ENOSPC or -errno (said). */
int pci_add(struct pci_fn *fn, const struct pci_place *place);

/* Drives INTx. Under the device's lock, or otherwise one caller at a time. */
void pci_intx_set(struct pci_fn *fn, bool level);
/* Does the guest use MSI-X now? (enable bit of Message Control) Any thread. */
static inline bool pci_msix_on(const struct pci_fn *fn)
{
    return fn->msix_cap && fn->cfg[fn->msix_cap + 3u] & 0x80;
}
/* Raises vector v, if v < nvec; masked ones become pending. False: MSI-X is
 * off, nothing is raised. Any thread, no lock. */
bool pci_msix_raise(struct pci_fn *fn, unsigned v);
/* The eventfd that raises vector v, for the kernel to signal; -1 where there is
 * none. */
int pci_msix_fd(const struct pci_fn *fn, unsigned v);
/* Another one that raises vector v, for a process that is not trusted: nobody
 * here reads or writes it. The same each time until pci_msix_unlend, which ends
 * all of them; what is pending in one then stays pending. -1: none. */
int pci_msix_lend(struct pci_fn *fn, unsigned v);
void pci_msix_unlend(struct pci_fn *fn);
/* Makes the attachment of every vector follow the capability's control word
 * (the bus calls it), and puts it all back to power-on. */
void pci_msix_update(struct pci_fn *fn);
void pci_msix_reset(struct pci_fn *fn);
/* May the function read and write guest memory now? Any thread. */
static inline bool pci_can_dma(const struct pci_fn *fn)
{
    return fn->cfg[PCI_COMMAND] & PCI_CMD_MASTER;
}
/* Turns kick k of a BAR on or off; cold. */
void pci_kick_set(struct pci_fn *fn, unsigned bar, unsigned k, bool on);
/* Has kick k signal another eventfd; cold. */
void pci_kick_move(struct pci_fn *fn, unsigned bar, unsigned k, int fd);
/* Configuration space back to power-on: BARs as first assigned, command
 * register, MSI-X off and masked, INTx low. The device's reset calls it. */
void pci_fn_reset(struct pci_fn *fn);

/* For the device's hold and loaded: what is pending, and everything that
 * follows from the STATE rows. 0 or -EINVAL (said, beginning with `what`). */
void pci_fn_hold(struct pci_fn *fn);
int pci_fn_loaded(struct pci_fn *fn, const char *what);

/* Reads and writes as the guest's CPU does them (tests, PCI BIOS, ECAM). */
uint32_t pci_cfg_read(struct pci_fn *fn, unsigned off, unsigned width);
void pci_cfg_write(struct pci_fn *fn, unsigned off, unsigned width,
                   uint32_t val);

/* Makes m->pci and registers it as the machine's first device: host bridge in
 * slot 0, CF8/CFC and CF9 on m->pio, ECAM on m->mmio, and the windows BARs are
 * assigned from (platform.h). 0 or -errno. */
int pci_bus_new(struct machine *m);
struct pci_fn *pci_fn_at(struct pci_bus *bus, unsigned slot);

/* ------------------------------------------------- inside, function and bus */

static inline unsigned pci_bar_reg(unsigned i)
{
    return i == PCI_ROM_BAR ? PCI_ROM : PCI_BAR0 + 4 * i;
}
/* The line as level and COMMAND say now. Under irq_lock. */
void pci_intx_drive(struct pci_fn *fn);
/* The buses as configuration space says now. */
void pci_remap(struct pci_bus *bus);
/* pci_fn_hold and pci_fn_loaded of the vectors. */
void pci_msix_hold(struct pci_fn *fn);
int pci_msix_loaded(struct pci_fn *fn, const char *what);

#endif
