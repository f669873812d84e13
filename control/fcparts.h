/* SPDX-License-Identifier: MIT */
/* What a microVM is made of, as Firecracker's API and its config file tell it:
 * a table. */
#ifndef FCPARTS_H
#define FCPARTS_H

#include "base/text.h"
#include "control/verbs.h"

/* A row, whatever says it: a PUT's body, or a member of the config file. */
struct fcpart {
    const char *path; /* "/vsock"; "/drives/": an ID stands behind it */
    const char *key;  /* in the config file; NULL: it has none */
    const char *id;   /* "drive_id", which the body must have; NULL: one of it
                         is all there can be */
    const char *defaults;       /* JSON that a body is merged into */
    const char *needs;          /* keys that a body must have */
    const struct field *fields; /* of what follows is given as `told` */
    /* Optional. Looks whether it can be had, while it is told; opens and closes
     * what it names. 0 or -errno (said). */
    int (*check)(const char *what, const void *told);
    /* Optional. It is told, and done at once. The same. */
    int (*now)(const char *what, const void *told);
    /* Optional. Before the start: into the configuration or the plan; texts of
     * `told` live as long as the machine. The same. */
    int (*plan)(const char *what, const void *told, struct config *c);
    /* Optional. Once its devices are there, with what the body said: what no
     * option says. The same. */
    int (*open)(struct control *ctl, const void *told, const struct opts *o);
    bool shown;   /* GET has it */
    bool patched; /* PATCH changes it before the start */
};
extern const struct fcpart parts[]; /* ends with one without a path */

#define PART_TOLD 512 /* bytes of a told, at most */

/* One that was told. */
struct item {
    const struct fcpart *part;
    char id[80];      /* empty: the only one of its part */
    struct text json; /* compact, with the defaults */
    struct opts opts; /* of it, while it is planned or runs */
    uint64_t told[PART_TOLD / 8];
};
#define ITEMS_MAX 64
extern struct item items[ITEMS_MAX];
extern int nitems;

struct item *item_find(const struct fcpart *p, const char *id);
/* A member of an item's that is the text `val`, or true. */
bool item_says(const struct item *it, const char *key, const char *val);
/* Reads it->json into its opts and told. 0 or -errno (said). */
int item_read(struct item *it);

/* The guest's command line, once all is told: in `args` is what was said, or
 * NULL. Lives until the next. NULL: out of memory (said). */
const char *parts_cmdline(const char *args);

#endif
