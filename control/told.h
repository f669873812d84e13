/* SPDX-License-Identifier: MIT */
/* What one of the options that describe the PC says, and who does it. */
#ifndef CONTROL_TOLD_H
#define CONTROL_TOLD_H

#include "base/field.h"
#include "control/config.h"

enum { CPUS, MAXCPUS, SOCKETS, DIES, CLUSTERS, CORES, THREADS, SMP_KEYS };

/* What one option says. */
struct told {
    struct opts o;   /* the texts below */
    const char *arg; /* the whole of it */
    const char *size, *maxmem, *type, *accel, *backend, *order, *once, *timeout,
        *guest, *process, *uuid, *id, *memdev, *path, *text[IDENTITY_TEXTS];
    uint64_t bytes, page;
    uint16_t slots, smp[SMP_KEYS];
    uint8_t acpi, timestamp, ignored, threads, reboot, share, prealloc, huge,
        strict;
};
#define KEY(kind, key, member, ...)                                            \
    FIELD(kind, key, struct told, member, __VA_ARGS__)
#define END                                                                    \
    {                                                                          \
        .name = ""                                                             \
    }

/* Copies a value (NULL: not said) that must fit. 0 or -EINVAL (said). */
int pc_copy(const struct told *t, const char *key, const char *val, char *out,
            size_t size);

/* smp.c */
extern const struct field smp_keys[];
int pc_smp(struct config *c, const struct told *t);
/* identity.c */
extern const struct field name_keys[], smbios_keys[];
int pc_name(struct config *c, const struct told *t);
int pc_uuid(struct config *c, const struct told *t);
int pc_smbios(struct config *c, const struct told *t);

#endif
