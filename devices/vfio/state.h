/* SPDX-License-Identifier: MIT */
/* A PCI device of the host's, given to the guest through vfio: host.c opens it
 * (the host's side), vfio.c shows it to the guest. */
#ifndef VFIO_DEVICE_H
#define VFIO_DEVICE_H

#include <linux/vfio.h>
#include <pthread.h>

#include "devices/pci/pci.h"

#define VFIO_AREAS_MAX 8 /* mapped pieces of a BAR; what is more is trapped */
#define VFIO_BDF_LEN 13  /* "0000:00:1e.0" */
#define VFIO_MSI_MAX 32

struct vfio;

/* A region of the device's file: a BAR, or configuration space. */
struct vfio_region {
    struct vfio *v;
    uint64_t offset, size; /* in the device's file; size 0: there is none */
    /* What can be mapped; hva is NULL until vfio_map_bar. */
    struct pci_map map[VFIO_AREAS_MAX];
    unsigned nmap;
};

/* Bytes of a BAR that must not be mapped: MSI-X table and PBA. */
struct vfio_hole {
    unsigned bar;
    uint64_t off, len;
};

struct vfio {
    struct device dev;
    struct pci_fn fn;
    char host[VFIO_BDF_LEN];
    int fd; /* the device's */
    bool can_reset;
    const char *told; /* host= */
    struct pci_place pci;
    struct vfio_region region[VFIO_PCI_NUM_REGIONS];
    struct vfio_hole hole[2]; /* table, PBA; len 0: none */

    uint8_t pm, msi, msix, exp; /* capabilities' offsets, 0: none */
    bool direct[256];           /* this byte is the device's own */
    pthread_mutex_t lock;       /* interrupt mode */
    int mode;                   /* VFIO_PCI_*_IRQ_INDEX now on, -1: none */
    struct irq msi_irq[VFIO_MSI_MAX];
    unsigned nmsi, msi_on; /* that there are; that the device signals */
    struct event request;  /* the host wants its device back */
    _Atomic uint64_t trapped;
    struct fault f_irq, f_io;
};

enum { /* MSI capability (PCI 3.0 §6.8.1), low byte of Message Control */
       MSI_ENABLE = 0x01,
       MSI_MME = 0x70, /* multiple message enable, log2 */
       MSI_64BIT = 0x80,
       MSI_MASKABLE = 0x01, /* high byte */
};

static inline struct vfio *vfio_of(struct pci_fn *fn)
{
    return fn->owner;
}

/* Checks the text of host=; *out is the whole address, as sysfs has it. */
bool vfio_parse_bdf(const char *text, char out[VFIO_BDF_LEN]);
/* Opens v->host: group, container with all of guest memory mapped for DMA,
 * device, regions. 0 or -errno (said). */
int vfio_open(struct vfio *v, struct machine *m);
/* What of a region can be mapped, by the kernel's answer (with capabilities,
 * `len` bytes). Fills offset, size, map[]. */
void vfio_region_areas(struct vfio_region *r, const void *info, size_t len);
/* Maps what can be of BAR i but for the pages of the holes. */
void vfio_map_bar(struct vfio *v, unsigned i);
/* Gives the interrupts of `index` (VFIO_PCI_*_IRQ_INDEX) n eventfds: to trigger
 * (`action` VFIO_IRQ_SET_ACTION_TRIGGER; n 0 turns them off), or to unmask INTx
 * by (_UNMASK; n 0 unmasks it now). 0, the number that could be had when that
 * is less, or -errno. */
int vfio_set_irqs(struct vfio *v, unsigned index, unsigned action, unsigned n,
                  const int *fds);
/* Back to power-on, where the host can do that. */
void vfio_reset(struct vfio *v);
void vfio_close(struct vfio *v);

/* irq.c: offsets in the MSI capability, which depend on its form; of the mask
 * 0: this device cannot mask them one by one. */
unsigned vfio_msi_data(const struct vfio *v);
unsigned vfio_msi_mask(const struct vfio *v);
/* Makes the device's interrupts what configuration space says now. */
void vfio_irq_follow(struct vfio *v);
void vfio_mode_off(struct vfio *v); /* none of them; under v->lock */
/* The guest has dealt with INTx (an event's ready). */
void vfio_intx_eoi(struct event *ev, uint32_t got);

/* The guest's side of a device whose file and regions are known; puts it on the
 * bus and registers it. 0 or -errno (said). */
int vfio_plug(struct vfio *v, struct machine *m);

#endif
