/* SPDX-License-Identifier: MIT */
/* virtio-balloon (virtio 1.2 §5.5): pages given and taken, free pages, what a
 * guest may not, statistics, moving. A page that went back is one whose bytes
 * are zero: the fake machine's memory is private and anonymous, as KVM's is. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "devices/list.h"
#include "tests/unit/fakevirtio.h"
#include "tests/unit/records.h"

#define SECOND 1000000000ull
#define PAGE 4096u
enum { STATS_VQ = 1, OOM = 2, POISON = 4, REPORTING = 5 };
enum { INFLATE, DEFLATE, STATS };
#define POOL 0x200000u /* pages that tests give away, all of them marked */
#define POOL_PAGES 512u

static struct vd d;

/* The verb, told KEY=VAL; `val` may be NULL. */
static int verb(const char *name, const char *key, const char *val)
{
    struct opts o;
    struct text out = {0};
    opts_init(&o, name);
    if (val)
        REQUIRE_EQ(opts_add(&o, key, val), 0);
    int err = machine_do(d.m, NULL, name, &o, &out);
    CHECK_EQ(out.n, 0);
    opts_free(&o);
    return err;
}

static struct machine *up(bool packed, const char *opts, uint64_t want)
{
    memset(&d, 0, sizeof(d));
    d.cls = &virtio_balloon_class;
    d.type = 5;
    d.opts = opts;
    vd_up(&d, packed, F(VIRTIO_F_EVENT_IDX) | F(VIRTIO_F_INDIRECT_DESC) | want);
    memset(vd_ram(&d, POOL, POOL_PAGES * PAGE), 0xaa, POOL_PAGES * PAGE);
    return d.m;
}

/* Is page i of the pool as it was? */
static bool kept(unsigned i)
{
    const uint8_t *p = vd_ram(&d, POOL + i * PAGE, PAGE);
    CHECK(p[0] == p[PAGE - 1]);
    return p[0] == 0xaa;
}

static unsigned kept_pages(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < POOL_PAGES; i++)
        n += kept(i);
    return n;
}

/* An array of page numbers on a queue; it is answered. */
static void name_pages(unsigned q, const le32 *pfn, unsigned n)
{
    int id;
    uint32_t len;
    struct vd_buf b = {vd_alloc(&d, 4ull * n, 4), 4 * n, false};
    memcpy(vd_ram(&d, b.at, b.len), pfn, b.len);
    REQUIRE(vd_add(&d.q[q], &b, 1) >= 0);
    vd_kick(&d, q);
    CHECK(vd_used(&d.q[q], &id, &len));
    CHECK_EQ(len, 0);
}

#define POOL_PFN(i) (POOL / PAGE + (i))

TEST(virtio_balloon_5_5_4_configuration)
{
    struct machine *m = up(false, "deflate-on-oom=on", F(OOM) | F(STATS_VQ));
    CHECK_EQ(drv_cfg_read(m, d.slot, PCI_REVISION_ID, 4), 0x00ff0001);
    CHECK_EQ(d.nq, 3);
    CHECK_EQ(drv_r32(m, d.config), 0);
    CHECK_EQ(verb("balloon", "size", "1048576"), 0);
    uint64_t all = VD_LOW_RAM + VD_HIGH_RAM;
    CHECK_EQ(drv_r32(m, d.config), (all - 1048576) / PAGE);
    CHECK_EQ(vd_config_irqs(&d), 1);
    CHECK_EQ(vd_get(&d, C_GENERATION, 1), 1);
    CHECK_EQ(vd_count(&d, "target"), all - 1048576);
    drv_w32(m, d.config + 4, 17);
    CHECK_EQ(drv_r32(m, d.config + 4), 17);
    CHECK_EQ(vd_count(&d, "actual"), 17 * PAGE);
    drv_w32(m, d.config, 99); /* the target is not the driver's */
    CHECK_EQ(drv_r32(m, d.config), (all - 1048576) / PAGE);
    drv_w32(m, d.config + 4, 0xffffffff); /* nor is there so much */
    CHECK_EQ(vd_count(&d, "actual"), all);
    vd_again(&d, 0); /* a reset: the target stays */
    CHECK_EQ(drv_r32(m, d.config), (all - 1048576) / PAGE);
    CHECK_EQ(drv_r32(m, d.config + 4), 0);
    static const char *const bad[] = {NULL, "", "x", "-1", "5242881", "0"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_EQ(verb("balloon", "size", bad[i]), -EINVAL);
    CHECK_HAS(test_log(), "must be up to the guest's 5242880 bytes");
    CHECK_EQ(verb("balloon", "size", "5242880"), 0);
    CHECK_EQ(drv_r32(m, d.config), 0);
    vd_free(&d);
}

TEST(virtio_balloon_5_5_3_offers_what_is_asked_for)
{
    up(false, NULL, 0);
    CHECK_EQ(vd_offered(&d) & 0xffffff, F(STATS_VQ) | F(POISON));
    vd_free(&d);
    up(false,
       "page-poison=off,free-page-reporting=on,deflate-on-oom=on,"
       "free-page-hint=off",
       0);
    CHECK_EQ(vd_offered(&d) & 0xffffff, F(STATS_VQ) | F(OOM) | F(REPORTING));
    CHECK_EQ(d.nq, 4);
    vd_free(&d);
}

/* Runs in both directions, single pages, one page twice. */
BOTH_RINGS(virtio_balloon_5_5_6_pages_of_the_balloon_go_back)
{
    up(packed, NULL, 0);
    le32 pfn[] = {POOL_PFN(0), POOL_PFN(1),  POOL_PFN(2),  POOL_PFN(9),
                  POOL_PFN(8), POOL_PFN(7),  POOL_PFN(20), POOL_PFN(22),
                  POOL_PFN(0), POOL_PFN(511)};
    name_pages(INFLATE, pfn, ARRAY_LEN(pfn));
    CHECK_EQ(kept_pages(), POOL_PAGES - 9);
    CHECK(!kept(0) && !kept(2) && kept(3) && kept(6) && !kept(7) && !kept(9) &&
          kept(10) && !kept(20) && kept(21) && !kept(22) && !kept(511));
    CHECK_EQ(vd_irqs(&d, INFLATE), 1);
    CHECK_EQ(vd_count(&d, "inflated"), ARRAY_LEN(pfn));
    name_pages(DEFLATE, pfn, 2);
    CHECK_EQ(vd_count(&d, "deflated"), 2);
    CHECK_EQ(kept_pages(), POOL_PAGES - 9);
    /* and a page that is had again can go again */
    memset(vd_ram(&d, POOL, PAGE), 0xaa, PAGE);
    name_pages(INFLATE, pfn, 1);
    CHECK(!kept(0));
    vd_free(&d);
}

/* What is no RAM is counted and left alone, at each edge; the rest of the array
 * is done. */
BOTH_RINGS(virtio_balloon_every_page_must_be_ram)
{
    up(packed, NULL, 0);
    uint32_t low = VD_LOW_RAM / PAGE;
    uint32_t high = VD_HIGH_BASE / PAGE, top = high + VD_HIGH_RAM / PAGE;
    le32 pfn[] = {low - 1, low,        low + 1,    high - 1, high,
                  top - 1, top,        0xffffffff, 0xfee00,  POOL_PFN(5),
                  top,     0xfffffffe, low};
    memset(vd_ram(&d, VD_HIGH_BASE, VD_HIGH_RAM), 0xaa, VD_HIGH_RAM);
    name_pages(INFLATE, pfn, ARRAY_LEN(pfn));
    CHECK_EQ(vd_count(&d, "bad_pages"), 9);
    CHECK(!kept(5) && kept(4) && kept(6));
    CHECK_EQ(*(uint8_t *)vd_ram(&d, VD_HIGH_BASE, 1), 0);
    CHECK_EQ(*(uint8_t *)vd_ram(&d, VD_HIGH_BASE + PAGE, 1), 0xaa);
    CHECK_EQ(vd_status(&d), 0x0f);
    vd_free(&d);
}

/* An array of any length, in pieces of any: in slices, one a turn. */
BOTH_RINGS(virtio_balloon_long_arrays_in_slices)
{
    struct machine *m = up(packed, NULL, 0);
    uint32_t n = 40000, at = 0;
    struct vd_buf b[5] = {{vd_alloc(&d, 4 * n, 4), 0, false}};
    le32 *pfn = vd_ram(&d, b[0].at, 4 * n);
    for (uint32_t i = 0; i < n; i++)
        pfn[i] = POOL_PFN(i % POOL_PAGES);
    static const uint32_t lens[5] = {1, 2, 1025, 4000, 154972};
    for (int i = 0; i < 5; at += lens[i++])
        b[i] = (struct vd_buf){b[0].at + at, lens[i], false};
    CHECK_EQ(at, 4 * n);
    REQUIRE(vd_put_indirect(&d.q[INFLATE], b, 5) >= 0);
    vd_publish(&d.q[INFLATE]);
    guest_write(m, false, d.notify, 2, INFLATE);
    uint64_t before = 0;
    for (int i = 0; i < 20; i++) {
        loop_poll(m->loop, 0);
        uint64_t now = vd_count(&d, "inflated");
        CHECK(now > before && now <= before + 2 * 256);
        before = now;
    }
    CHECK_EQ(vd_reap(&d.q[INFLATE]), 0);
    fake_run_loop(m);
    CHECK_EQ(vd_reap(&d.q[INFLATE]), 1);
    CHECK_EQ(vd_count(&d, "inflated"), n);
    CHECK_EQ(kept_pages(), 0);
    le32 one = POOL_PFN(0);
    name_pages(DEFLATE, &one, 1);
    vd_free(&d);
}

/* Both queues have work, and what came second is not forgotten. */
BOTH_RINGS(virtio_balloon_two_queues_at_once)
{
    struct machine *m = up(packed, NULL, 0);
    uint32_t n = 3000;
    struct vd_buf b = {vd_alloc(&d, 4 * n, 4), 4 * n, false};
    for (uint32_t i = 0; i < n; i++)
        ((le32 *)vd_ram(&d, b.at, 4 * n))[i] = POOL_PFN(i % POOL_PAGES);
    for (unsigned i = 0; i < 3; i++)
        for (unsigned q = 0; q < 2; q++)
            REQUIRE(vd_add(&d.q[q], &b, 1) >= 0);
    guest_write(m, false, d.notify, 2, INFLATE);
    guest_write(m, false, d.notify + d.mult, 2, DEFLATE);
    fake_run_loop(m);
    CHECK_EQ(vd_reap(&d.q[INFLATE]), 3);
    CHECK_EQ(vd_reap(&d.q[DEFLATE]), 3);
    le32 one = POOL_PFN(0);
    name_pages(INFLATE, &one, 1);
    vd_free(&d);
}

/* §2.7.13.4: after each answer the next buffer is kicked for. */
BOTH_RINGS(virtio_balloon_asks_for_kicks_again)
{
    up(packed, NULL, 0);
    for (unsigned i = 0; i < 4; i++) {
        struct vd_buf b = {vd_alloc(&d, 4, 4), 4, false};
        *(le32 *)vd_ram(&d, b.at, 4) = POOL_PFN(i);
        REQUIRE(vd_add(&d.q[INFLATE], &b, 1) >= 0);
        CHECK(vd_kick_wanted(&d.q[INFLATE], 1));
        vd_kick(&d, INFLATE);
        CHECK_EQ(vd_reap(&d.q[INFLATE]), 1);
    }
    vd_free(&d);
}

/* Who else has the memory would go on with the old pages. */
TEST(virtio_balloon_gives_nothing_back_that_others_hold)
{
    struct machine *m = up(false, NULL, 0);
    le32 pfn = POOL_PFN(3);
    m->pinned = "a vhost-user process";
    test_log();
    name_pages(INFLATE, &pfn, 1);
    name_pages(INFLATE, &pfn, 1);
    CHECK(kept(3));
    CHECK_EQ(vd_count(&d, "pinned"), 2);
    CHECK_EQ(vd_count(&d, "freed"), 0);
    const char *log = test_log();
    CHECK_HAS(log, "memory is not given back: a vhost-user process");
    CHECK(!strstr(strchr(log, '\n') + 1, "given back"));
    vd_free(&d);
}

/* Memory that is a file (share=on): cut out of it. */
TEST(virtio_balloon_pages_of_a_file_are_cut_out)
{
    struct machine *m = up(false, NULL, 0);
    struct ram was = m->ram;
    int fd = memfd_create("ram", MFD_CLOEXEC);
    uint64_t size = VD_LOW_RAM;
    REQUIRE_EQ(ftruncate(fd, (off_t)(size + PAGE)), 0);
    uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
    REQUIRE(p != MAP_FAILED);
    memcpy(p, was.region[0].hva, size);
    m->ram.fd = fd;
    m->ram.region[0].hva = p;
    m->ram.region[0].offset = PAGE;
    vd_again(&d, 0);
    memset(vd_ram(&d, POOL, POOL_PAGES * PAGE), 0xaa, POOL_PAGES * PAGE);
    le32 pfn[] = {POOL_PFN(3), POOL_PFN(4)};
    name_pages(INFLATE, pfn, 2);
    CHECK(kept(2) && !kept(3) && !kept(4) && kept(5));
    uint8_t byte = 1;
    CHECK_EQ(pread(fd, &byte, 1, POOL + 4 * PAGE), 0xaa == 0 ? 0 : 1);
    CHECK_EQ(byte, 0);
    vd_set(&d, C_STATUS, 1, 0);
    m->ram = was;
    munmap(p, size);
    close(fd);
    vd_free(&d);
}

/* ------------------------------------------------------- free page reporting
 */

/* Reported ranges; they are answered. */
static void report(unsigned q, const struct vd_buf *b, unsigned n)
{
    REQUIRE(vd_put_indirect(&d.q[q], b, n) >= 0);
    vd_publish(&d.q[q]);
    vd_kick(&d, q);
    CHECK_EQ(vd_reap(&d.q[q]), 1);
}

/* §5.5.6.7, whole pages only; the queue's number is that of the queues there
 * are (as Linux counts). */
BOTH_RINGS(virtio_balloon_5_5_6_7_free_pages_go_back)
{
    for (unsigned stats = 0; stats < 2; stats++) {
        up(packed, "free-page-reporting=on",
           F(REPORTING) | (stats ? F(STATS_VQ) : 0));
        struct vd_buf b[] = {{POOL, 8 * PAGE, true},
                             {POOL + 20 * PAGE + 1, 3 * PAGE, true},
                             {POOL + 40 * PAGE + 100, 200, true},
                             {POOL + 50 * PAGE, PAGE, true}};
        report(2 + stats, b, 4);
        CHECK_EQ(kept_pages(), POOL_PAGES - 8 - 2 - 1);
        CHECK(!kept(0) && !kept(7) && kept(8) && kept(20) && !kept(21) &&
              !kept(22) && kept(23) && kept(40) && !kept(50));
        CHECK_EQ(vd_count(&d, "reported"), 11 * PAGE);
        CHECK_EQ(vd_count(&d, "freed"), 11 * PAGE);
        vd_free(&d);
    }
}

/* §5.5.6.6: a driver that wants to find its poison there keeps its pages. */
TEST(virtio_balloon_5_5_6_6_poisoned_pages_stay)
{
    struct machine *m =
        up(false, "free-page-reporting=on", F(REPORTING) | F(POISON));
    struct vd_buf b = {POOL, 8 * PAGE, true};
    drv_w32(m, d.config + 12, 0xaaaaaaaa);
    CHECK_EQ(drv_r32(m, d.config + 12), 0xaaaaaaaa);
    report(2, &b, 1);
    CHECK_EQ(kept_pages(), POOL_PAGES);
    drv_w32(m, d.config + 12, 0);
    report(2, &b, 1);
    CHECK_EQ(kept_pages(), POOL_PAGES - 8);
    vd_again(&d, F(REPORTING)); /* not negotiated: nothing is written there */
    drv_w32(m, d.config + 12, 0xaaaaaaaa);
    CHECK_EQ(drv_r32(m, d.config + 12), 0);
    vd_free(&d);
}

/* The same megabytes a thousand times in one chain: slices. */
BOTH_RINGS(virtio_balloon_long_reports_in_slices)
{
    struct machine *m = up(packed, "free-page-reporting=on", F(REPORTING));
    struct vd_buf b[256];
    for (int i = 0; i < 256; i++)
        b[i] = (struct vd_buf){POOL, POOL_PAGES * PAGE, true};
    REQUIRE(vd_put_indirect(&d.q[2], b, 256) >= 0);
    vd_publish(&d.q[2]);
    guest_write(m, false, d.notify + 2 * d.mult, 2, 2);
    for (uint64_t before = 0, i = 0; i < 10; i++) {
        loop_poll(m->loop, 0);
        uint64_t now = vd_count(&d, "reported");
        CHECK(now > before && now <= before + (2 * 16 << 20));
        before = now;
    }
    vd_again(&d, d.features & ~F(VIRTIO_F_RING_PACKED)); /* in mid-chain */
    fake_run_loop(m);
    CHECK_EQ(vd_reap(&d.q[2]), 0);
    struct vd_buf one = {POOL, PAGE, true};
    report(2, &one, 1);
    vd_free(&d);
}

/* ------------------------------------------------------------------ hostile */

/* Framings a driver may not make, or that name nothing: answered, or broken. */
BOTH_RINGS(virtio_balloon_buffers_that_name_nothing)
{
    up(packed, "free-page-reporting=on", F(REPORTING) | F(STATS_VQ));
    for (unsigned q = 0; q < 4; q++) {
        if (q == STATS)
            continue;
        uint64_t at = vd_alloc(&d, 64, 8);
        for (unsigned write = 0; write < 2; write++) {
            struct vd_buf b = {at, 3, write};
            REQUIRE(vd_add(&d.q[q], &b, 1) >= 0);
            vd_kick(&d, q);
            CHECK_EQ(vd_reap(&d.q[q]), 1);
        }
    }
    CHECK_EQ(vd_count(&d, "freed"), 0);
    struct vd_raw r = {VD_LOW_RAM - 8, 64, 0, 0};
    vd_raw(&d.q[INFLATE], &r, 1);
    vd_kick(&d, INFLATE);
    vd_check_broken(&d);
    vd_free(&d);
}

/* --------------------------------------------------------------- statistics */

struct stat_entry {
    le16 tag;
    le64 val;
} __attribute__((packed));

BOTH_RINGS(virtio_balloon_5_5_6_3_statistics)
{
    struct machine *m =
        up(packed, "guest-stats-polling-interval=5", F(STATS_VQ));
    struct stat_entry s[] = {{0, 1},  {4, 4444},   {15, 0x123456789abcull},
                             {16, 7}, {0xffff, 7}, {4, 44}};
    struct vd_buf b = {vd_alloc(&d, 4096, 8), sizeof(s), false};
    memcpy(vd_ram(&d, b.at, b.len), s, sizeof(s));
    fake_sleep_ns(m, 12 * SECOND); /* nobody has given a buffer */
    REQUIRE(vd_add(&d.q[STATS], &b, 1) >= 0);
    CHECK_EQ(vd_count(&d, "stats_time"), 0);
    fake_set_wall(1700000000);
    vd_kick(&d, STATS);
    CHECK_EQ(vd_reap(&d.q[STATS]), 0);
    CHECK_EQ(vd_count(&d, "stats_time"), 1700000000);
    CHECK_EQ(vd_count(&d, "stat_swap_in"), 1);
    CHECK_EQ(vd_count(&d, "stat_free"), 44);
    CHECK_EQ(vd_count(&d, "stat_direct_reclaims"), 0x123456789abcull);
    for (unsigned i = 0; i < 3; i++) {
        vd_irq_always(&d.q[STATS]);
        fake_sleep_ns(m, 5 * SECOND);
        CHECK_EQ(vd_reap(&d.q[STATS]), 1); /* asked anew */
        CHECK_EQ(vd_irqs(&d, STATS), 1);
        s[1].val = s[5].val = 100 + i;
        memcpy(vd_ram(&d, b.at, b.len), s, sizeof(s));
        REQUIRE(vd_add(&d.q[STATS], &b, 1) >= 0);
        CHECK(vd_kick_wanted(&d.q[STATS], 1));
        vd_kick(&d, STATS);
        CHECK_EQ(vd_count(&d, "stat_free"), 100 + i);
    }
    CHECK_EQ(verb("balloon-stats", "seconds", "0"), 0);
    fake_sleep_ns(m, 100 * SECOND);
    CHECK_EQ(vd_reap(&d.q[STATS]), 0);
    CHECK_EQ(verb("balloon-stats", "seconds", "2"), 0);
    fake_sleep_ns(m, 2 * SECOND);
    CHECK_EQ(vd_reap(&d.q[STATS]), 1);
    CHECK_EQ(verb("balloon-stats", "seconds", "x"), -EINVAL);
    vd_free(&d);
}

/* Of any length: so much is looked at. */
BOTH_RINGS(virtio_balloon_statistics_without_end)
{
    struct machine *m =
        up(packed, "guest-stats-polling-interval=1", F(STATS_VQ));
    struct vd_buf b = {vd_alloc(&d, 1 << 20, 8), 1 << 20, false};
    memset(vd_ram(&d, b.at, b.len), 1, b.len);
    struct stat_entry late = {4, 4};
    memcpy(vd_ram(&d, b.at + 640, 10), &late, 10);
    REQUIRE(vd_add(&d.q[STATS], &b, 1) >= 0);
    vd_kick(&d, STATS);
    CHECK_EQ(vd_count(&d, "stat_free"), 0);
    fake_sleep_ns(m, SECOND);
    CHECK_EQ(vd_reap(&d.q[STATS]), 1);
    vd_free(&d);
}

/* ------------------------------------------------------------------- moving */

static void make(struct machine *m, void *ctx)
{
    REQUIRE_EQ(fake_device(m, &virtio_balloon_class,
                           "-device virtio-balloon-pci", ctx),
               0);
}

/* In the middle of a long array, with a statistics buffer waiting: the array is
 * done once more, the statistics are asked for as before. */
BOTH_RINGS(virtio_balloon_moves_in_mid_array)
{
    char opts[80];
    struct machine *m =
        up(packed, "guest-stats-polling-interval=3", F(STATS_VQ));
    snprintf(opts, sizeof(opts), "%sguest-stats-polling-interval=3",
             packed ? "packed=on," : "");
    CHECK_EQ(verb("balloon", "size", "1048576"), 0);
    drv_w32(m, d.config + 4, 77);
    struct vd_buf s = {vd_alloc(&d, 160, 8), 160, false};
    REQUIRE(vd_add(&d.q[STATS], &s, 1) >= 0);
    vd_kick(&d, STATS);
    uint32_t n = 4096;
    struct vd_buf b = {vd_alloc(&d, 4 * n, 4), 4 * n, false};
    for (uint32_t i = 0; i < n; i++)
        ((le32 *)vd_ram(&d, b.at, 4 * n))[i] = POOL_PFN(i % POOL_PAGES);
    REQUIRE(vd_add(&d.q[INFLATE], &b, 1) >= 0);
    guest_write(m, false, d.notify, 2, INFLATE);
    loop_poll(m->loop, 0);
    CHECK(vd_count(&d, "inflated") > 0);
    d.m = m = records_move(m, make, NULL, opts);
    for (struct device *dev = m->devices; dev; dev = dev->next)
        if (dev->cls == &virtio_balloon_class)
            d.dev = dev;
    fake_run_loop(m);
    CHECK_EQ(vd_reap(&d.q[INFLATE]), 1);
    CHECK_EQ(vd_count(&d, "inflated"), n);
    CHECK_EQ(kept_pages(), 0);
    CHECK_EQ(drv_r32(m, d.config + 4), 77);
    CHECK_EQ(vd_count(&d, "target"), VD_LOW_RAM + VD_HIGH_RAM - 1048576);
    CHECK_EQ(vd_reap(&d.q[STATS]), 0);
    fake_sleep_ns(m, 3 * SECOND);
    CHECK_EQ(vd_reap(&d.q[STATS]), 1);
    vd_free(&d);
}

TEST(virtio_balloon_state_of_anybody)
{
    up(false, "free-page-reporting=on", F(REPORTING));
    CHECK_EQ(verb("balloon", "size", "1048576"), 0);
    device_hold(d.dev);
    struct records r = records_of(d.dev);
    static const struct bend bad = {"target_pages", 0, 1281,
                                    "target_pages: there are fewer"};
    records_bend(d.dev, &r, &bad);
    records_try_all(d.dev, 31);
    records_free(&r);
    device_resume(d.dev);
    vd_free(&d);
}

TEST(virtio_balloon_options_that_cannot_be)
{
    static const char *const bad[][2] = {
        {"guest-stats-polling-interval=x", "guest-stats-polling-interval x"},
        {"guest-stats-polling-interval=-1", "guest-stats-polling-interval"},
        {"free-page-hint=on", "free-page-reporting=on gives memory back"},
    };
    struct machine *m = fake_pc(1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_EQ(fake_device(m, &virtio_balloon_class, "balloon", bad[i][0]),
                 -EINVAL);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    fake_free(m);
}
