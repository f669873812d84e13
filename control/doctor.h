/* SPDX-License-Identifier: MIT */
/* vmm doctor: can this machine run VMs, and if not, why not? */
#ifndef DOCTOR_H
#define DOCTOR_H

#include <stdbool.h>

/* "doctor [-json] [-tap NAME|-bridge BR|-user]"; the process's exit status: 0
 * all is well, 1 something is not, 2 wrong use. */
int doctor_main(int argc, char **argv);

/* One line: what was looked at, and how it is. doctor_bad's `mend` is a command
 * that mends it (NULL: none can be told); a note is no fault. */
void doctor_ok(const char *check, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void doctor_note(const char *check, const char *mend, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* -1, for who stops there. */
int doctor_bad(const char *check, const char *mend, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A guest, the bundled one, as a child of this same binary: with these
 * arguments (NULL at the end), until it has written a line with `word`. 0: it
 * has, and runs, until doctor_guest_end(); -1: it has not within `ms`, or ended
 * before; then the line of it that tells most is in `said`. */
struct doctor_guest {
    int pid, out;
    char said[256];
};
int doctor_guest(struct doctor_guest *g, const char *const args[],
                 const char *word, int ms);
void doctor_guest_end(struct doctor_guest *g);

/* Can it be an interface's name, of those that need no quotes in a command? */
bool doctor_is_name(const char *name);

/* The network's part: from the interface to the way out. 0; -1: the first that
 * is not well was named. */
int doctor_tap(const char *name, bool bridge);

#endif
