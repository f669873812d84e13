/* SPDX-License-Identifier: MIT */
/* The contract between a disk and where its sectors go. */
#ifndef BLOCK_H
#define BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/field.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/opts.h"

#define BLK_SECTOR 512 /* what disks count in, whatever lies below */

enum blk_op {
    BLK_READ,
    BLK_WRITE,
    BLK_FLUSH,        /* all writes that are done are on stable storage */
    BLK_DISCARD,      /* contents undefined */
    BLK_WRITE_ZEROES, /* zeroes; `unmap`: room may be given back */
};

/* One request, the disk's, from submit until done() is called. */
struct blk_req {
    enum blk_op op;
    bool unmap;
    uint64_t offset, len; /* bytes, whole sectors inside size */
    /* READ and WRITE: guest memory of `len` bytes altogether, of any alignment;
     * it stays where it is until done(). */
    struct iovec *iov;
    int niov;
    int err; /* when done: 0 or -errno; a part that was done counts for none */
    /* On the loop's thread; never inside submit(). */
    void (*done)(struct blk_req *r);
    struct blk_req *next; /* the backend's own */
};

/* How the host's cache is used (QEMU's cache=). */
enum blk_cache {
    BLK_WRITEBACK,
    BLK_NONE,         /* O_DIRECT, flushes */
    BLK_WRITETHROUGH, /* each write is on stable storage when done */
    BLK_DIRECTSYNC,   /* the same with O_DIRECT */
    BLK_UNSAFE,       /* no flush is promised: none is offered to the guest */
};

struct blockdev;
struct blockdev_class;
struct chardev;
struct peer;

/* One -blockdev or -drive: what an operator named. First in its class's struct.
 * What the disk reads here is constant once open, but for size. */
struct blockdev {
    const struct blockdev_class *cls;
    const char *id;   /* node-name= or a -drive's id= */
    const char *node; /* -blockdev: of the lowest node; NULL: a -drive's */
    struct opts opts; /* what it was told; texts in the struct point here */
    const char *told_serial;
    uint8_t readonly;
    uint8_t direct, no_flush, writeback; /* told; `cache` is made of them */
    uint8_t discard;                     /* told: 1: unmap */
    uint8_t cache;                       /* enum blk_cache */
    uint64_t size;                       /* bytes, whole sectors; 0 is legal */
    uint32_t physical;      /* bytes of the backing's block; >= BLK_SECTOR */
    uint32_t optimal;       /* bytes of its favourite transfer, 0: unknown */
    bool can_flush;         /* BLK_FLUSH does something */
    bool can_discard;       /* the backing does it, with the engine in use */
    bool can_zero;          /* BLK_WRITE_ZEROES, likewise */
    bool zero_may_unmap;    /* and `unmap` means something */
    uint32_t discard_align; /* bytes */
    uint64_t max_discard, max_zero; /* bytes a request may have, whole
                                       sectors */
    char serial[21];   /* of the backing, for a disk that was given none */
    const char *stays; /* why a machine with it cannot be saved; NULL: can */
    bool taken;        /* a disk uses it */
    bool handed;       /* can be, to another process (-upgrade) */
    /* Written by the loop's thread alone, read by any. */
    uint64_t reads, writes, flushes, discards, zeroes; /* done, well or not */
    uint64_t read_bytes, written_bytes;
    uint64_t in_flight;
    struct fault errors;

    /* The disk, once it has one. On the loop's thread: size is another one. */
    void (*resized)(void *disk);
    void *disk;

    /* Set by check(): another process serves the disk over vhost-user, and what
     * follows, but for close, is none. While options are looked at: gives the
     * disk, which will have so many queues, whom it meets as `peer`. 0 or
     * -errno (said). */
    int (*serve)(struct blockdev *b, unsigned queues, struct peer *peer,
                 struct chardev **out);

    /* All on the loop's thread. Takes a request; done() follows, in any order.
     * Any number may be under way. */
    void (*submit)(struct blockdev *b, struct blk_req *r);
    /* The last submit of a batch is in: begin. Optional. */
    void (*kick)(struct blockdev *b);
    /* Calls done() for all that are under way: those not begun with -ECANCELED
     * where `cancel`, the others when they are finished, which it waits for.
     * When it returns nothing touches the requests or their memory. */
    void (*drain)(struct blockdev *b, bool cancel);
    /* Looks at the backing's size again (it was grown), or takes `size` bytes
     * (0: as it is). 0 or -errno (said). */
    int (*resize)(struct blockdev *b, uint64_t size);
    /* Another file in its place, by an open descriptor that is taken over; what
     * is under way is finished on the old one. 0 or -errno (said), the old one
     * is still there then. NULL: cannot. */
    int (*swap)(struct blockdev *b, int fd, const char *path);
    /* Drains, closes, frees what the class made; set as soon as there is
     * something to end. */
    void (*close)(struct blockdev *b);
    struct blockdev *next;
};
/* One kind of backing: the one const row at the end of its file, listed once in
 * block/list.h. */
struct blockdev_class {
    const char *name;    /* as in -blockdev driver=NAME */
    const char *help;    /* what it is */
    const char *formats; /* of its images: names of -blockdev drivers that are
                            nodes above a file, told as format=; or NULL */
    const struct field *fields; /* of its struct */
    size_t size;                /* of it */
    /* Optional. Looks whether what the fields say can be had. Touches nothing
     * outside. 0 or -errno, said. */
    int (*check)(struct blockdev *b);
    /* Opens it, with the threads and rings it needs; `l` is the main loop. 0 or
     * -errno, said. */
    int (*open)(struct blockdev *b, struct loop *l);
};
/* The rows that every class's table begins with: FIELDS_OF(blockdev_fields, "",
 * struct X, b). */
extern const struct field blockdev_fields[];
extern const struct field blockdev_options[]; /* of it: without counters */

/* For backends, on the loop's thread: a request has come; it is finished, which
 * counts it and calls done(). */
void blockdev_begin(struct blockdev *b);
void blockdev_end(struct blockdev *b, struct blk_req *r, int err);

/* First half: one as `o` (taken over) wants it, checked and listed. 0 or -errno
 * (said), nothing left then. */
int blockdev_new(const struct blockdev_class *cls, struct opts *o,
                 struct blockdev **out);
/* Ends and frees one that is not listed any more. */
void blockdev_free(struct blockdev *b);
/* By its id, or by the name of the node below. */
struct blockdev *blockdev_find(const char *id);
void blockdev_close_all(void);
/* Counters of every one. */
void blockdev_stats(struct tally *t);
extern struct blockdev *blockdevs;

/* The format of images that begin as this file does, or NULL: none that is
 * known, or it cannot be read. */
const char *blockdev_looks_like(int fd);
/* The key that says: nobody named a format, and raw was assumed. */
#define BLOCKDEV_GUESSED "format-guessed"

#endif
