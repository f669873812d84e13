/* SPDX-License-Identifier: MIT */
/* A running machine is handed to another program. */
#ifndef UPGRADE_H
#define UPGRADE_H

#include "base/verb.h"
#include "machine/machine.h"

/* The first line of what is handed over: the version of all of it. */
#define UPGRADE_HELLO "hello 1\n"

/* What it is told. */
struct upgrade_told {
    const char *path;
};
extern const struct field upgrade_fields[];

/* -upgrade DIR: 0 or -EINVAL (said). */
int upgrade_option(const char *dir);
/* Was that said? */
bool upgrade_asked(void);
/* For main(), before the sandbox is entered. over(m) ends this process: the
 * machine lives elsewhere. 0 or -errno (said). */
int upgrade_open(struct machine *m, void (*over)(struct machine *m));
/* The machine ends. First of all that does: what is here is another process's
 * already, or never will be. */
void upgrade_close(void);
/* As snapshot_begin(), in control/snapshot.h: answer(who, 0, …) comes just
 * before over(). */
int upgrade_begin(const struct upgrade_told *t, void *who,
                  void (*answer)(void *who, int err, const char *why));
void upgrade_abandon(void);
/* One that is under way fails; if the other process has the machine already,
 * this one ends. */
void upgrade_cancel(const char *why);

#endif
