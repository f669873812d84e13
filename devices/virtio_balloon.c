/* SPDX-License-Identifier: MIT */
/* virtio-balloon-pci: the guest's memory that it does not need goes back to the
 * host (virtio 1.2 §5.5).
 *
 * Theory of operation
 * -------------------
 * Two ways lead back. The operator asks for a balloon of a size; the guest
 * takes pages for it and names them (inflate), or has some again (deflate,
 * where nothing is to be done: they come as they are touched). And, with
 * free-page-reporting=on, the guest names free memory by itself, holds on to it
 * until we have answered, and finds zeros there afterwards.
 *
 * Nothing a guest names is believed: each page must be RAM. What it names may
 * be as long as it likes, so it is worked off in slices, one a turn of the
 * loop; the chain under way is the only one that is popped. A rest gives it
 * back to the ring, from where it is done once more from its start, which is
 * the same again.
 *
 * Statistics are a buffer that the guest fills and we return when we want
 * another: it stays in the ring meanwhile.
 *
 * Queues are numbered without those that were not negotiated: that is what
 * Linux does (its virtballoon_probe and vp_modern_find_vqs), whatever §5.5.2
 * says. All of it runs under virtio.lock. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/iov.h"
#include "base/use.h"
#include "devices/virtio/pci.h"

enum { /* §5.5.3 */
       BALLOON_F_STATS_VQ = 1,
       BALLOON_F_DEFLATE_ON_OOM = 2,
       BALLOON_F_PAGE_POISON = 4,
       BALLOON_F_REPORTING = 5,
};
enum balloon_role { INFLATE, DEFLATE, STATS, REPORTING, NO_ROLE };

#define PAGE 4096u
#define SLICE_PAGES 256u
#define SLICE_BYTES (16u << 20)
#define SLICE_RANGES 64
#define QUEUE_SIZE 128
/* Of a statistics buffer so much is looked at (Linux sends 160 bytes). */
#define STAT_ENTRIES 64
#define STAT_TAGS 16

struct balloon_config { /* §5.5.4 */
    le32 num_pages, actual, free_page_hint_cmd_id, poison_val;
};
_Static_assert(sizeof(struct balloon_config) == 16, "§5.5.4");

struct balloon_stat { /* §5.5.6.3 */
    le16 tag;
    le64 val;
} __attribute__((packed));

struct balloon {
    struct virtio v; /* first */
    struct pci_place pci;
    struct balloon_config config;
    uint32_t interval; /* seconds between statistics; 0: none are asked for */
    struct timer poll;
    bool stats_here; /* their buffer waits to be returned */
    /* The chain under way. */
    bool busy;
    enum balloon_role role;
    unsigned q;
    struct vq_chain c;
    uint32_t at; /* bytes of it that are done */
    struct fault pinned;
    _Atomic uint64_t target, actual, inflated, deflated, reported, freed, bad;
    _Atomic uint64_t stats_time; /* when they were said, in seconds of 1970 */
    _Atomic uint64_t stat[STAT_TAGS];
    struct iovec iov[VQ_SIZE_MAX];
};

static struct balloon *balloon_of(struct virtio *v)
{
    return container_of(v, struct balloon, v);
}

static enum balloon_role balloon_role(const struct balloon *b, unsigned q)
{
    bool stats = has(b->v.features, BALLOON_F_STATS_VQ);
    if (q < STATS)
        return (enum balloon_role)q;
    if (q == STATS && stats)
        return STATS;
    if (q == (unsigned)STATS + stats && has(b->v.features, BALLOON_F_REPORTING))
        return REPORTING;
    return NO_ROLE;
}

static uint64_t balloon_ram(const struct balloon *b)
{
    uint64_t size = 0;
    for (int i = 0; i < b->v.dev.m->ram.n; i++)
        size += b->v.dev.m->ram.region[i].size;
    return size;
}

/* What the counters say, of what the configuration says. A guest's word for
 * what it has taken is worth no more than there is. */
static void balloon_tell(struct balloon *b)
{
    uint64_t all = balloon_ram(b), actual = (uint64_t)b->config.actual * PAGE;
    b->target = (uint64_t)b->config.num_pages * PAGE;
    b->actual = actual < all ? actual : all;
}

/* -------------------------------------------------------------- giving back */

static void balloon_discard(struct balloon *b, void *p, uint64_t len)
{
    struct machine *m = b->v.dev.m;
    if (m->pinned) {
        fault_note(&b->pinned,
                   "%s: memory is not given back: %s has all of it (said once)",
                   b->v.dev.id, m->pinned);
        return;
    }
    if (!ram_discard(m, p, len))
        b->freed += len;
}

/* Pages side by side go together, in either order. */
struct balloon_run {
    uint64_t first, n;
};

static void balloon_end_run(struct balloon *b, struct balloon_run *run)
{
    if (run->n)
        balloon_discard(
            b, ram_ptr(&b->v.dev.m->ram, gpa(run->first * PAGE), run->n * PAGE),
            run->n * PAGE);
    run->n = 0;
}

static void balloon_add_page(struct balloon *b, struct balloon_run *run,
                             uint64_t pfn)
{
    if (!ram_ptr(&b->v.dev.m->ram, gpa(pfn * PAGE), PAGE)) {
        b->bad++;
        return;
    }
    if (run->n && pfn + 1 == run->first) {
        run->first--;
    } else if (!run->n || pfn != run->first + run->n) {
        balloon_end_run(b, run);
        run->first = pfn;
    }
    run->n++;
}

/* §5.5.6: numbers of pages, 4 bytes each. */
static void balloon_pages(struct balloon *b)
{
    static le32 pfn[SLICE_PAGES];
    struct balloon_run run = {0};
    size_t got = iov_read(b->iov, b->c.nr, b->at, pfn, sizeof(pfn));
    unsigned n = (unsigned)(got / sizeof(pfn[0]));
    for (unsigned i = 0; b->role == INFLATE && i < n; i++)
        balloon_add_page(b, &run, pfn[i]);
    balloon_end_run(b, &run);
    if (b->role == INFLATE)
        b->inflated += n;
    else
        b->deflated += n;
    b->at = n == SLICE_PAGES ? b->at + (uint32_t)got : b->c.rlen;
}

/* §5.5.6.7: ranges, whose whole pages are free. Not where the guest wants to
 * find in them what zeros are not (§5.5.6.6). */
static void balloon_report(struct balloon *b)
{
    uint32_t off = b->at;
    const struct iovec *range = b->iov + b->c.nr;
    while (off >= range->iov_len) {
        off -= (uint32_t)range->iov_len;
        range++;
    }
    uint64_t len = range->iov_len - off;
    if (len > SLICE_BYTES)
        len = SLICE_BYTES;
    uintptr_t p = (uintptr_t)range->iov_base + off;
    uintptr_t from = (p + PAGE - 1) & -(uintptr_t)PAGE;
    uintptr_t to = (p + len) & -(uintptr_t)PAGE;
    if (from < to && !b->config.poison_val) {
        b->reported += to - from;
        balloon_discard(b, (void *)from, to - from);
    }
    b->at += (uint32_t)len;
}

/* ------------------------------------------------------------------- queues */

static void balloon_finish(struct balloon *b)
{
    struct virtqueue *vq = &b->v.vq[b->q];
    b->busy = false;
    vq_push(vq, &b->c, 0);
    vq_flush(vq);
    virtio_queue_irq(&b->v, vq);
}

/* A turn's work on the chain under way: bounded in bytes and in pieces. */
static void balloon_slice(struct balloon *b)
{
    uint32_t end = b->role == REPORTING ? b->c.wlen : b->c.rlen, from = b->at;
    if (b->at < end && b->role != REPORTING)
        balloon_pages(b);
    for (int i = 0; b->at < end && b->role == REPORTING && i < SLICE_RANGES &&
                    b->at - from < SLICE_BYTES;
         i++)
        balloon_report(b);
    if (b->at >= end)
        balloon_finish(b);
}

static const char *balloon_pop(struct balloon *b, unsigned q,
                               enum balloon_role role)
{
    struct virtqueue *vq = &b->v.vq[q];
    if (!vq_more(vq) && !vq_rearm(vq))
        return NULL;
    if (vq_pop(vq, &b->c, b->iov, VQ_SIZE_MAX) != VQ_CHAIN)
        return vq->fault;
    b->busy = true;
    b->role = role;
    b->q = q;
    b->at = 0;
    balloon_slice(b);
    return NULL;
}

/* Reads the buffer, and leaves it where it is: balloon_ask returns it. */
static const char *balloon_read_stats(struct balloon *b, unsigned q)
{
    struct balloon_stat s[STAT_ENTRIES];
    struct virtqueue *vq = &b->v.vq[q];
    struct vq_chain c;
    if (b->stats_here || (!vq_more(vq) && !vq_rearm(vq)))
        return NULL;
    if (vq_pop(vq, &c, b->iov, VQ_SIZE_MAX) != VQ_CHAIN)
        return vq->fault;
    size_t n = iov_read(b->iov, c.nr, 0, s, sizeof(s)) / sizeof(s[0]);
    for (size_t i = 0; i < n; i++)
        if (s[i].tag < STAT_TAGS)
            b->stat[s[i].tag] = s[i].val;
    vq_undo_pop(vq, &c);
    b->stats_here = true;
    b->stats_time = wall_ns() / 1000000000;
    return NULL;
}

static const char *balloon_ask(struct balloon *b)
{
    struct virtqueue *vq = &b->v.vq[STATS];
    struct vq_chain c;
    if (!b->stats_here || b->busy || balloon_role(b, STATS) != STATS)
        return NULL;
    b->stats_here = false;
    if (vq_pop(vq, &c, b->iov, VQ_SIZE_MAX) != VQ_CHAIN)
        return vq->fault;
    vq_push(vq, &c, 0);
    vq_flush(vq);
    if (vq_rearm(vq))
        virtio_poke(&b->v, STATS);
    virtio_queue_irq(&b->v, vq);
    return NULL;
}

static bool balloon_may(const struct balloon *b, unsigned q)
{
    return b->v.started && !b->v.dev.held && b->v.vq[q].state == VQ_READY &&
           pci_can_dma(&b->v.fn);
}

/* What of queue q, or of the chain under way, a turn does. *again: there is
 * more. What breaks the queue, or NULL. */
static const char *balloon_turn(struct balloon *b, unsigned q, bool *again)
{
    enum balloon_role role = balloon_may(b, q) ? balloon_role(b, q) : NO_ROLE;
    if (b->busy) {
        *again = balloon_may(b, b->q);
        if (*again)
            balloon_slice(b);
        return NULL;
    }
    if (role == NO_ROLE)
        return NULL;
    if (role == STATS)
        return balloon_read_stats(b, q);
    const char *fault = balloon_pop(b, q, role);
    *again = b->busy || vq_rearm(&b->v.vq[q]);
    return fault;
}

static void balloon_kick(struct virtio *v, unsigned q)
{
    bool again = false;
    pthread_mutex_lock(&v->lock);
    unsigned life = v->life;
    const char *fault = balloon_turn(balloon_of(v), q, &again);
    if (again)
        loop_again(&v->kick[q].ev);
    pthread_mutex_unlock(&v->lock);
    if (fault)
        virtio_needs_reset(v, life, fault);
}

static void balloon_poll(struct timer *t)
{
    struct balloon *b = container_of(t, struct balloon, poll);
    const char *fault = NULL;
    pthread_mutex_lock(&b->v.lock);
    unsigned life = b->v.life;
    if (balloon_may(b, STATS))
        fault = balloon_ask(b);
    pthread_mutex_unlock(&b->v.lock);
    if (fault)
        virtio_needs_reset(&b->v, life, fault);
    if (b->interval)
        timer_arm(t, now_ns() + b->interval * 1000000000ull);
}

/* -------------------------------------------------------------------- type */

static void balloon_start_queue(struct virtio *v, unsigned q)
{
    virtio_poke(v, q);
}

static void balloon_start(struct virtio *v)
{
    for (unsigned q = 0; q < v->nvq; q++)
        virtio_poke(v, q);
}

/* Slices are made under the lock that is held here: none is under way. */
static void balloon_stop_queue(struct virtio *v, unsigned q)
{
    struct balloon *b = balloon_of(v);
    if (b->busy && b->q == q)
        b->busy = false;
    if (q == STATS)
        b->stats_here = false;
}

static void balloon_config_read(struct virtio *v, unsigned off, void *p,
                                unsigned len)
{
    memcpy(p, (const uint8_t *)&balloon_of(v)->config + off, len);
}

/* The driver says how much it has taken, and what its free pages hold. */
static void balloon_config_write(struct virtio *v, unsigned off, const void *p,
                                 unsigned len)
{
    struct balloon *b = balloon_of(v);
    struct balloon_config c = b->config;
    memcpy((uint8_t *)&c + off, p, len);
    b->config.actual = c.actual;
    if (has(v->features, BALLOON_F_PAGE_POISON))
        b->config.poison_val = c.poison_val;
    balloon_tell(b);
    machine_note(&v->dev, NEWS_BALLOON);
}

#define BALLOON(uses, kind, key, member, ...)                                  \
    FIELD_AS(uses, kind, key, struct balloon, member, __VA_ARGS__)
static const struct field balloon_state[] = {
    BALLOON(STATE | KEPT, NUMBER, "target_pages", config.num_pages),
    BALLOON(STATE, NUMBER, "actual_pages", config.actual),
    BALLOON(STATE, NUMBER, "poison", config.poison_val),
    BALLOON(STATE | KEPT, NUMBER, "interval", interval, .max = INT32_MAX),
    {.name = ""},
};

static void balloon_stop(struct virtio *v)
{
    struct balloon *b = balloon_of(v);
    b->busy = b->stats_here = false;
    fields_reset(balloon_state, b, STATE);
    balloon_tell(b);
}

static const struct virtio_type balloon_type = {
    .name = "virtio-balloon",
    .id = 5,
    .class24 = 0x00ff00,
    .config_len = sizeof(struct balloon_config),
    .start = balloon_start,
    .stop = balloon_stop,
    .queue_stop = balloon_stop_queue,
    .queue_start = balloon_start_queue,
    .config_read = balloon_config_read,
    .config_write = balloon_config_write,
    .kick = balloon_kick,
};

/* ------------------------------------------------------------------- verbs */

/* What the guest is to have, as QMP's balloon says it. */
struct balloon_told {
    uint64_t size;
    uint32_t seconds;
};
static const struct field balloon_size_fields[] = {
    FIELD(SIZE, "size", struct balloon_told, size,
          .help = "of the guest's memory; its balloon is to take the rest"),
    {.name = ""},
};
static const struct field balloon_interval_fields[] = {
    FIELD(NUMBER, "seconds", struct balloon_told, seconds, .max = INT32_MAX,
          .help = "0: none are asked for"),
    {.name = ""},
};

static int balloon_resize(void *thing, const void *told, struct text *out)
{
    struct device *dev = thing;
    struct balloon *b = container_of(dev, struct balloon, v.dev);
    const struct balloon_told *t = told;
    uint64_t all = balloon_ram(b);
    (void)out;
    if (!t->size || t->size > all)
        return fail(-EINVAL, "%s: size=: must be up to the guest's %llu bytes",
                    dev->id, (unsigned long long)all);
    pthread_mutex_lock(&b->v.lock);
    b->config.num_pages = (le32)((all - t->size) / PAGE);
    balloon_tell(b);
    virtio_config_changed(&b->v);
    pthread_mutex_unlock(&b->v.lock);
    return 0;
}

static void balloon_poll_from_now(struct balloon *b)
{
    timer_cancel(&b->poll);
    if (b->interval)
        timer_arm(&b->poll, now_ns() + b->interval * 1000000000ull);
}

static int balloon_set_interval(void *thing, const void *told, struct text *out)
{
    struct balloon *b =
        container_of((struct device *)thing, struct balloon, v.dev);
    (void)out;
    b->interval = ((const struct balloon_told *)told)->seconds;
    balloon_poll_from_now(b);
    return 0;
}

static const struct verb balloon_verbs[] = {
    {"balloon", "the guest is to give memory up, or may have it again",
     balloon_size_fields, sizeof(struct balloon_told), balloon_resize},
    {"balloon-stats", "how often the guest is asked for its statistics",
     balloon_interval_fields, sizeof(struct balloon_told),
     balloon_set_interval},
    {.name = NULL},
};

/* ------------------------------------------------------------ state, making */

/* What there is now. */
#define LEVEL_ROW(key, member, text)                                           \
    {                                                                          \
        .name = key, .use = COUNTER | LEVEL, .size = sizeof(uint64_t),         \
        .offset = offsetof(struct balloon, member), .help = text               \
    }
#define STAT(key, n, text) COUNT("stat_" key, struct balloon, stat[n], text)
#define STAT_LEVEL(key, n, text) LEVEL_ROW("stat_" key, stat[n], text)
/* Longer than a row's key; read in balloon_check. */
#define INTERVAL "guest-stats-polling-interval"
static const struct opts_quiet balloon_quiet[] = {
    {INTERVAL, NULL, NULL},
    {"free-page-hint", "off", "free-page-reporting=on gives memory back"},
    {"qemu-4-0-config-size", NULL, NULL},
    {0},
};

static const struct field balloon_fields[] = {
    FIELDS_QUIET(balloon_quiet),
    FIELDS_OF(device_fields, "", struct balloon, v.dev),
    FIELDS_OF(pci_fields, "", struct balloon, pci),
    FIELDS_OF(virtio_fields, "", struct balloon, v),
    FIELDS_OF(virtio_options, "", struct balloon, v),
    FIELDS_OF(balloon_state, "", struct balloon, v.dev), /* of all of it */
    VIRTIO_FEATURE(struct balloon, "deflate-on-oom", BALLOON_F_DEFLATE_ON_OOM,
                   OFF),
    VIRTIO_FEATURE(struct balloon, "free-page-reporting", BALLOON_F_REPORTING,
                   OFF),
    VIRTIO_FEATURE(struct balloon, "page-poison", BALLOON_F_PAGE_POISON, ON),
    LEVEL_ROW("target", target, "bytes that the balloon is asked to take"),
    LEVEL_ROW("actual", actual, "bytes that it has taken, as the guest says"),
    COUNT("inflated", struct balloon, inflated, "pages named for the balloon"),
    COUNT("deflated", struct balloon, deflated, "pages named as taken back"),
    COUNT("reported", struct balloon, reported,
          "bytes of free memory that the guest named"),
    COUNT("freed", struct balloon, freed, "bytes given back to the host"),
    COUNT("bad_pages", struct balloon, bad, "pages named that are not RAM"),
    COUNT("pinned", struct balloon, pinned,
          "times nothing was given back, as others hold the memory"),
    LEVEL_ROW("stats_time", stats_time,
              "when the guest said what follows, in seconds of 1970"),
    STAT("swap_in", 0, "bytes swapped in, as the guest says (all of these)"),
    STAT("swap_out", 1, "bytes swapped out"),
    STAT("major_faults", 2, "page faults with input or output"),
    STAT("minor_faults", 3, "page faults without"),
    STAT_LEVEL("free", 4, "bytes not used at all"),
    STAT_LEVEL("total", 5, "bytes there are"),
    STAT_LEVEL("available", 6, "bytes that could be had without swapping"),
    STAT_LEVEL("disk_caches", 7, "bytes of caches that could be had at once"),
    STAT("htlb_pgalloc", 8, "huge pages allocated"),
    STAT("htlb_pgfail", 9, "and not to be had"),
    STAT("oom_kills", 10, "processes ended for want of memory"),
    STAT("alloc_stalls", 11, "times that an allocation waited"),
    STAT("async_scans", 12, "pages looked at by kswapd"),
    STAT("direct_scans", 13, "pages looked at by who wanted some"),
    STAT("async_reclaims", 14, "pages that kswapd got back"),
    STAT("direct_reclaims", 15, "pages got back by who wanted some"),
    {.name = ""},
};

static int balloon_loaded(struct device *dev)
{
    struct balloon *b = container_of(dev, struct balloon, v.dev);
    uint64_t pages = balloon_ram(b) / PAGE;
    int err = virtio_pci_loaded(&b->v);
    if (!err && b->config.num_pages > pages)
        err = fail(-EINVAL, "%s: target_pages: there are fewer", dev->id);
    if (err)
        b->config.num_pages = 0;
    balloon_tell(b);
    return err;
}

static void balloon_hold(struct device *dev)
{
    struct balloon *b = container_of(dev, struct balloon, v.dev);
    pthread_mutex_lock(&b->v.lock);
    if (b->busy)
        vq_undo_pop(&b->v.vq[b->q], &b->c);
    b->busy = b->stats_here = false;
    pthread_mutex_unlock(&b->v.lock);
    timer_cancel(&b->poll);
    virtio_pci_hold(&b->v);
}

static void balloon_resume(struct device *dev)
{
    struct balloon *b = container_of(dev, struct balloon, v.dev);
    balloon_poll_from_now(b);
    balloon_start(&b->v);
}

static void balloon_destroy(struct device *dev)
{
    struct balloon *b = container_of(dev, struct balloon, v.dev);
    timer_cancel(&b->poll);
    virtio_pci_destroy(&b->v);
    free(b);
}

static int balloon_check(struct device *dev, struct needs *needs)
{
    struct balloon *b = container_of(dev, struct balloon, v.dev);
    const char *what = dev->opts.what;
    const char *interval = opts_str(&dev->opts, INTERVAL, "0");
    char key[112];
    uint64_t seconds = 0;
    snprintf(key, sizeof(key), "%s: " INTERVAL, what);
    int err = parse_u64(key, interval, 0, INT32_MAX, &seconds);
    b->interval = (uint32_t)seconds;
    if (!err)
        err = virtio_check(&b->v, what);
    return err ? err : pci_check(&b->pci, what, needs);
}

static int balloon_create(struct machine *m, struct device *dev)
{
    struct balloon *b = container_of(dev, struct balloon, v.dev);
    struct virtio *v = &b->v;
    dev->hold = balloon_hold;
    dev->resume = balloon_resume;
    dev->destroy = balloon_destroy;
    thread_uses(USE_BALLOON);
    timer_init(&b->poll, m->loop, balloon_poll);
    v->offered =
        v->asked | 1ull << VIRTIO_F_VERSION_1 | 1ull << BALLOON_F_STATS_VQ;
    v->nvq = 3 + has(v->offered, BALLOON_F_REPORTING);
    for (unsigned q = 0; q < v->nvq; q++)
        v->vq[q].size_max = QUEUE_SIZE;
    int err = virtio_pci_init(v, m, &balloon_type, &b->pci);
    if (err)
        return err;
    balloon_poll_from_now(b);
    device_register(m, dev);
    return 0;
}

static const struct device_alias balloon_aliases[] = {
    VIRTIO_ALIASES("virtio-balloon")};

const struct device_class virtio_balloon_class = {
    .name = "virtio-balloon-pci",
    .help = "memory that the guest does not need, given back",
    .fields = balloon_fields,
    .size = sizeof(struct balloon),
    .aliases = balloon_aliases,
    .kinds = "virtio-pci virtio-balloon-device",
    .check = balloon_check,
    .create = balloon_create,
    .loaded = balloon_loaded,
    .verbs = balloon_verbs,
};
