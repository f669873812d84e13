/* SPDX-License-Identifier: MIT */
/* A whole machine as parts of a state file, and from there. */
#ifndef SAVED_H
#define SAVED_H

#include "base/parts.h"
#include "machine/machine.h"

/* A machine that was saved. */
struct saved {
    uint64_t ram;
    uint32_t cpus, threads, package;
    uint32_t rom;        /* bytes of it below 4 GiB */
    uint8_t bios, guest; /* it is -bios FILE's; the built-in guest runs */
    /* of the file, not in it; freed once it is loaded */
    uint8_t *p;
    size_t len;
    bool paused;   /* goes on by machine_resume() only */
    bool realtime; /* its kvmclock is set forward by the time since */
    /* Of one that still runs elsewhere (else NULL): waits until it stands
     * still, and all of its file is here; and, once that is loaded, takes it
     * over: it will not go on there. 0 or -errno (said). */
    int (*come)(struct saved *s);
    int (*take)(struct machine *m);
};
extern const struct field saved_fields[]; /* STATE rows: part "machine" */

/* Can it be saved? 0, or -EOPNOTSUPP (said). */
int saved_can(const struct machine *m);
/* Parts of a machine that is held. 0 or -errno (said). */
void saved_put(const struct saved *s, struct parts *out);
int saved_put_devices(struct machine *m, struct parts *out);

/* s->p and s->len are a file that parts_check() has found right: the rest of
 * it. 0 or -EINVAL (said, beginning with `path`). */
int saved_open(struct saved *s, const char *path);
/* The part, which must be there. 0 or -EINVAL (said). */
int saved_part(const struct saved *s, const char *name, struct part *part);
/* Into devices that are held, if they are those that were saved. 0 or -errno
 * (said). */
int saved_load_devices(struct machine *m, const struct saved *s);

#endif
