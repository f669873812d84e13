/* SPDX-License-Identifier: MIT */
/* Guest memory into a file: all of it, or what is another since the last. */
#ifndef PAGES_H
#define PAGES_H

#include "machine/machine.h"

/* What there is to know of each page. */
struct pages {
    int map;        /* /proc/self/pagemap, or -1 */
    int base;       /* the file that memory is a private copy of, or -1 */
    uint64_t *sum;  /* of each page as the last file has it; 0: as it was before
                       anybody touched it. NULL: there was no such file */
    uint64_t *next; /* the same of the file that is being written */
    uint64_t *entry;
};

/* Before the sandbox is entered. `base` stays the caller's. */
void pages_open(struct pages *p, int base);
void pages_close(struct pages *p);
/* Writes the memory into `fd`, which is empty: each region at its offset, holes
 * where there is nothing but zeroes; `diff`: holes also where a page is as the
 * last file that was kept has it. Nobody touches the memory meanwhile. Takes
 * its time: any thread. 0 or -errno. */
int pages_write(struct pages *p, const struct ram *ram, int fd, bool diff);
/* The file that was written is the last one from now on; or is not. */
void pages_keep(struct pages *p);
void pages_forget(struct pages *p);

#endif
