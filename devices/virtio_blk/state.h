/* SPDX-License-Identifier: MIT */
/* virtio-blk inside: what its files share. virtio_blk.c makes it: options,
 * features, configuration; io.c: requests; hold.c: starting, stopping, what is
 * remembered. */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include "base/bucket.h"
#include "block/block.h"
#include "devices/virtio/pci.h"

enum { /* feature bits, virtio 1.2 §5.2.3 */
       VIRTIO_BLK_F_SEG_MAX = 2,
       VIRTIO_BLK_F_RO = 5,
       VIRTIO_BLK_F_BLK_SIZE = 6,
       VIRTIO_BLK_F_FLUSH = 9,
       VIRTIO_BLK_F_TOPOLOGY = 10,
       VIRTIO_BLK_F_CONFIG_WCE = 11,
       VIRTIO_BLK_F_MQ = 12,
       VIRTIO_BLK_F_DISCARD = 13,
       VIRTIO_BLK_F_WRITE_ZEROES = 14,
};

struct vblk_config { /* §5.2.4 */
    le64 capacity;
    le32 size_max, seg_max;
    le16 cylinders;
    uint8_t heads, sectors;
    le32 blk_size;
    uint8_t physical_block_exp, alignment_offset;
    le16 min_io_size;
    le32 opt_io_size;
    uint8_t writeback, unused0;
    le16 num_queues;
    le32 max_discard_sectors, max_discard_seg, discard_sector_alignment;
    le32 max_write_zeroes_sectors, max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap, unused1[3];
} __attribute__((packed));
_Static_assert(sizeof(struct vblk_config) == 60, "§5.2.4");

struct vblk;
struct vblk_queue;

/* One request, from its pop to its push. The pool has one for each entry of the
 * ring, as far as the disk's memory goes, and one to look with. */
struct vblk_req {
    struct blk_req b;
    struct vblk_queue *q;
    struct vq_chain chain;
    uint32_t type;   /* §5.2.6 */
    uint8_t *status; /* the last byte the device may write */
    struct vblk_req *next;
    struct iovec iov[]; /* size_max of the ring */
};

/* All of it is the main loop's, but for `on`. */
struct vblk_queue {
    struct vblk *d;
    struct virtqueue *vq;
    _Atomic bool on; /* between start and stop */
    void *pool;      /* of requests */
    unsigned fresh;  /* of the pool, never used so far */
    struct vblk_req *free;
    unsigned most;      /* of the pool: that many there are */
    bool full;          /* all of them are under way: the ring may have more */
    unsigned inflight;  /* taken from the ring, not given back */
    unsigned unshown;   /* given back, not shown to the driver */
    struct event show;  /* shows them at the end of the turn */
    struct poller look; /* at the ring */
};

/* The drive counts requests done. */
#define VBLK_COUNTERS(X)                                                       \
    X(kicks, "doorbells")                                                      \
    X(irqs, "interrupts raised for requests")                                  \
    X(failed, "requests answered IOERR")                                       \
    X(unsupported, "requests answered UNSUPP")                                 \
    X(limited, "times the rate limit held requests back")
struct vblk_stats {
#define X(name, what) _Atomic uint64_t name;
    VBLK_COUNTERS(X)
#undef X
};
/* The main loop alone counts: no locked add. */
#define vblk_count(d, name, n)                                                 \
    atomic_store_explicit(                                                     \
        &(d)->stats.name,                                                      \
        atomic_load_explicit(&(d)->stats.name, memory_order_relaxed) + (n),    \
        memory_order_relaxed)

struct vblk {
    struct virtio v; /* first: its device is the machine's */
    struct pci_place pci;
    struct blockdev *b;

    /* what it was told */
    const char *drive, *serial;
    uint32_t num_queues, queue_size;
    uint32_t logical, physical; /* bytes of a block */
    uint32_t min_io, opt_io, discard_granularity;
    uint8_t write_cache, config_wce, discard, write_zeroes;
    struct rate rate;

    struct vblk_config config; /* under virtio.lock */
    /* A write is done when it is on stable storage. Written under virtio.lock,
     * read by the loop. */
    _Atomic bool through;
    struct vblk_stats stats;

    unsigned nq;
    struct vblk_queue *q;

    /* The main loop's: what needs virtio.lock (see hold.c), done as soon as it
     * can be had. */
    struct event later;
    bool resized;
    const char *fault; /* a ring was found broken, in this life: */
    unsigned fault_life;
    bool unkicked; /* the drive has requests it was not told to begin */
    bool draining;
    struct vblk_req *owed; /* flushes to submit when it is over */

    /* The rate limit (io.c), of all queues together. */
    struct limit limit;
    bool limited;
    struct timer gate; /* armed: until then nothing is taken from a ring */
    unsigned turn;     /* whose turn it is then */
};

static inline struct vblk *vblk_of(struct virtio *v)
{
    return container_of(v, struct vblk, v);
}

/* io.c, on the main loop. A kick of queue q. */
void vblk_kick(struct virtio *v, unsigned q);
/* Does what there is in the ring, for one burst. */
void vblk_run(struct vblk_queue *q);
/* Shows the driver what was given back, and interrupts it if it wants that. */
void vblk_show(struct vblk_queue *q);
/* Ends what is under way: all of it finished, or what was not begun cancelled.
 * What a queue that is on had is given back to the ring, to be shown. */
void vblk_drain(struct vblk *d, bool cancel);
/* Another limit: what is said of it. Takes a struct limit_told. */
int vblk_limit(void *dev, const void *told, struct text *out);
/* The timer `gate`: the next request may go. */
void vblk_limit_over(struct timer *t);
/* A queue's requests and what the loop calls for it. -ENOMEM. */
int vblk_queue_init(struct vblk *d, unsigned n);
void vblk_queue_free(struct vblk_queue *q);

/* hold.c: of the transport's and a device's contract. */
extern const struct field vblk_state_fields[];
void vblk_start(struct virtio *v);
void vblk_stop(struct virtio *v);
void vblk_queue_start(struct virtio *v, unsigned q);
void vblk_queue_stop(struct virtio *v, unsigned q);
void vblk_hold(struct device *dev);
void vblk_resume(struct device *dev);
int vblk_loaded(struct device *dev);
/* The drive has another size: block.h. */
void vblk_resized(void *disk);
/* When v.lock can be had: the loop's event `later`. */
void vblk_later(struct event *ev, uint32_t got);
/* A ring is broken; told the driver by vblk_later. */
void vblk_broken(struct vblk_queue *q);
/* virtio.lock held. Makes `through` what follows from features and config. */
void vblk_follow_cache(struct vblk *d);

/* virtio_blk.c: what the driver is told, of a drive of that size. */
uint64_t vblk_capacity(const struct vblk *d);
bool vblk_starts_cached(const struct vblk *d);

#endif
