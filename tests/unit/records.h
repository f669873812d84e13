/* SPDX-License-Identifier: MIT */
/* A device's saved records, looked at and bent. */
#ifndef RECORDS_H
#define RECORDS_H

#include "tests/unit/fake.h"

struct records {
    uint8_t *p;
    size_t len;
};
/* Members of one record; a number each. */
struct one_record {
    uint8_t *val;
    unsigned size;
    uint32_t n;
};

/* What a held device remembers, in a block of just that size; records_free. */
struct records records_of(struct device *dev);
/* A copy of the first len bytes, in a block of just that size. */
struct records records_copy(const struct records *r, size_t len);
void records_free(struct records *r);
/* Does it load, and is it saved as the same bytes again? 0, or load's -errno
 * (then a sentence that begins with the device's id was said). */
int records_load(struct device *dev, const struct records *r);
/* False: there is none of that name. */
bool records_find(const struct records *r, const char *name,
                  struct one_record *one);
uint64_t records_get(const struct records *r, const char *name, uint32_t i);
void records_set(struct records *r, const char *name, uint32_t i, uint64_t val);
/* A copy of `r` with one value bent is loaded by the device, which is held:
 * refused, and `log` is said; or, without one, taken. */
struct bend {
    const char *row;
    uint32_t i;
    uint64_t val;
    const char *log;
};
void records_bend(struct device *dev, const struct records *r,
                  const struct bend *b);
/* The device as it is now: each STATE row at its bounds and beyond, truncations
 * at each byte, bits flipped anywhere (every `step`-th). It is held, and as it
 * was, before and after. */
void records_try_all(struct device *dev, unsigned step);

/* Every device held and saved, the machine ended, another one made with the
 * same memory (a PCI bus in it, the rest by `make`), everything loaded and
 * resumed: as if it had been saved, or, where m->leaving says so, as if a
 * process had taken over from another. `between` is called with all of them
 * held, before and after; NULL: nothing. */
struct machine *records_move(struct machine *m,
                             void (*make)(struct machine *m, void *ctx),
                             void (*between)(struct machine *m, void *ctx),
                             void *ctx);

#endif
