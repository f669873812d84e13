/* SPDX-License-Identifier: MIT */
/* Files as disks: what is read and written, what is promised, who may. */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>

#include "base/bytes.h"
#include "block/file.h"
#include "tests/unit/block/block_test.h"

static char text[256];
static const char *on(const char *path, const char *more)
{
    snprintf(text, sizeof(text), "file,filename=%s%s", path, more);
    return text;
}

static bool full_of(const unsigned char *p, int val, size_t n)
{
    while (n && *p == val)
        p++, n--;
    return !n;
}

TEST(file_reads_and_writes_where_it_is_told)
{
    static unsigned char a[512], b[1024], c[4096];
    const char *path = disk_file(NULL, 16 * 512);
    struct blockdev *d = disk_open(on(path, ""));
    REQUIRE(d);
    CHECK_EQ(d->size, 16 * 512);
    CHECK(d->can_flush && !d->readonly);
    struct iovec iov[] = {{a, 512}, {b, 0}, {b, 1000}, {b + 1000, 24}};
    CHECK_EQ(disk_iov(d, BLK_READ, 512, iov, 4), 0);
    CHECK(full_of(a, 2, 512) && full_of(b, 3, 512) && full_of(b + 512, 4, 512));
    memset(a, 0x55, sizeof(a));
    memset(b, 0x66, sizeof(b));
    CHECK_EQ(disk_iov(d, BLK_WRITE, 512, iov, 4), 0);
    CHECK_EQ(disk_do(d, BLK_FLUSH, 0, NULL, 0), 0);
    file_bytes(path, 0, c, sizeof(c));
    CHECK(full_of(c, 1, 512) && full_of(c + 512, 0x55, 512));
    CHECK(full_of(c + 1024, 0x66, 1024) && full_of(c + 2048, 5, 512));
    CHECK_EQ(d->reads, 1);
    CHECK_EQ(d->written_bytes, 1536);
    CHECK_EQ(d->flushes, 1);
    CHECK_EQ(d->in_flight, 0);
    CHECK_EQ(d->errors.count, 0);
    disk_close();
}

/* 5.2.6: more pieces than preadv(2) takes at once. */
TEST(file_takes_more_pieces_than_a_call_does)
{
    enum { N = 2500 };
    static unsigned char buf[N * 512], got[N * 512];
    static struct iovec iov[N];
    const char *path = disk_file(NULL, N * 512);
    struct blockdev *d = disk_open(on(path, ""));
    REQUIRE(d);
    for (int i = 0; i < N; i++)
        iov[i] = (struct iovec){buf + 512 * i, 512};
    CHECK_EQ(disk_iov(d, BLK_READ, 0, iov, N), 0);
    file_bytes(path, 0, got, sizeof(got));
    CHECK_MEM(buf, got, sizeof(got));
    memset(buf, 0x77, sizeof(buf));
    CHECK_EQ(disk_iov(d, BLK_WRITE, 0, iov, N), 0);
    file_bytes(path, 0, got, sizeof(got));
    CHECK_MEM(buf, got, sizeof(got));
    disk_close();
}

TEST(file_size_odd_bytes_are_not_seen_and_none_are_legal)
{
    struct blockdev *d = disk_open(on(disk_file(NULL, 1000), ""));
    REQUIRE(d);
    CHECK_EQ(d->size, 512);
    CHECK_HAS(test_log(), "its last 488 bytes are no whole block");
    disk_close();
    d = disk_open(on(disk_file(NULL, 0), ""));
    REQUIRE(d);
    CHECK_EQ(d->size, 0);
    CHECK_EQ(disk_do(d, BLK_FLUSH, 0, NULL, 0), 0);
    disk_close();
}

/* Somebody has cut it off: an error, and no bytes from anywhere. */
TEST(file_that_ends_early_is_an_error)
{
    static unsigned char buf[4096];
    const char *path = disk_file(NULL, 8192);
    struct blockdev *d = disk_open(on(path, ""));
    REQUIRE(d);
    REQUIRE_EQ(truncate(path, 5000), 0);
    CHECK_EQ(disk_do(d, BLK_READ, 4096, buf, 4096), -EIO);
    CHECK_EQ(d->errors.count, 1);
    CHECK_EQ(d->read_bytes, 0);
    CHECK_HAS(test_log(), "disk d0: read of 4096 bytes at 4096: ");
    disk_close();
}

TEST(file_read_only_is_opened_for_reading)
{
    unsigned char buf[512] = {0};
    const char *path = disk_file(NULL, 4096);
    struct blockdev *d = disk_open(on(path, ",read-only=on,discard=unmap"));
    REQUIRE(d);
    CHECK(d->readonly && !d->can_discard && !d->can_zero);
    CHECK_EQ(fcntl(((struct file *)d)->at.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    CHECK_EQ(disk_do(d, BLK_WRITE, 0, buf, 512), -EBADF);
    CHECK_EQ(disk_do(d, BLK_FLUSH, 0, NULL, 0), 0);
    disk_close();
}

/* ------------------------------------------------------------------ direct */

/* As if the file's device had blocks of 4 KiB, and wanted memory like that. */
static struct blockdev *open_of_blocks(const char *path, const char *more)
{
    struct blockdev *d = disk_open(on(path, more));
    REQUIRE(d);
    struct file *f = (struct file *)d;
    f->at.align = f->at.mem_align = 4096;
    return d;
}

TEST(file_direct_takes_any_memory_and_any_sector)
{
    enum { SIZE = 512 * 1024 };
    static unsigned char buf[SIZE + 64], want[SIZE], got[SIZE];
    const char *path = disk_file(NULL, SIZE);
    struct blockdev *d = open_of_blocks(path, ",cache.direct=on");
    CHECK(fcntl(((struct file *)d)->at.fd, F_GETFL) & O_DIRECT);
    CHECK_EQ(d->cache, BLK_NONE);
    file_bytes(path, 0, want, SIZE);
    /* More than a bounce buffer, and at odd places of it. */
    for (int i = 0; i < 60; i++) {
        uint64_t at = test_random() % (SIZE / 512) * 512,
                 n = test_random() % (i % 2 ? 8 : 300) * 512,
                 shift = test_random() % 64;
        if (at + n > SIZE)
            n = SIZE - at;
        if (i % 3) {
            memset(buf, i, sizeof(buf));
            memset(want + at, i, n);
            CHECK_EQ(disk_do(d, BLK_WRITE, at, buf + shift, n), 0);
        } else {
            CHECK_EQ(disk_do(d, BLK_READ, at, buf + shift, n), 0);
            CHECK_MEM(buf + shift, want + at, n);
        }
    }
    file_bytes(path, 0, got, SIZE);
    CHECK_MEM(got, want, SIZE);
    disk_close();
}

/* Two sectors of one block, written at once: both are there afterwards. */
TEST(file_direct_writes_of_parts_of_a_block_do_not_undo_each_other)
{
    enum { N = 64 };
    static unsigned char buf[N][512], got[N * 512];
    static struct blk_req r[N];
    static struct iovec iov[N];
    const char *path = disk_file(NULL, N * 512);
    struct blockdev *d = open_of_blocks(path, ",cache.direct=on,threads=8");
    for (int round = 0; round < 20; round++) {
        disk_done = 0;
        for (int i = 0; i < N; i++) {
            memset(buf[i], i + round, 512);
            iov[i] = (struct iovec){buf[i], 512};
            r[i] = (struct blk_req){.op = BLK_WRITE,
                                    .offset = 512u * (unsigned)i,
                                    .len = 512,
                                    .iov = &iov[i],
                                    .niov = 1,
                                    .done = disk_count};
            d->submit(d, &r[i]);
        }
        d->kick(d);
        disk_run(N);
        file_bytes(path, 0, got, sizeof(got));
        CHECK_MEM(got, buf, sizeof(got));
    }
    disk_close();
}

/* What lies below takes whole blocks of 4096 bytes and no less. */
TEST(file_device_with_blocks_of_4096_has_sectors_of_512)
{
    enum { SIZE = 1 << 20 };
    static unsigned char buf[8192], want[SIZE], got[SIZE];
    char dev[64] = "", line[256];
    const char *path = disk_file(NULL, SIZE);
    snprintf(line, sizeof(line), "losetup -f --show -b 4096 %s 2>/dev/null",
             path);
    FILE *p = popen(line, "r");
    bool have = p && fgets(dev, sizeof(dev), p);
    if (p)
        pclose(p);
    dev[strcspn(dev, "\n")] = '\0';
    if (!have || access(dev, R_OK | W_OK)) {
        disk_close();
        SKIP("no loop device");
    }
    struct blockdev *d =
        disk_open(on(dev, ",cache.direct=on,discard=unmap,threads=4"));
    snprintf(line, sizeof(line), "losetup -d %s", dev);
    CHECK_EQ(system(line), 0); /* it goes with the last that has it open */
    REQUIRE(d);
    CHECK_EQ(d->size, SIZE);
    CHECK_EQ(d->physical, 4096);
    CHECK(d->can_discard && d->can_zero && d->zero_may_unmap);
    file_bytes(path, 0, want, SIZE);
    for (int i = 0; i < 40; i++) {
        uint64_t at = test_random() % (SIZE / 512 - 16) * 512,
                 n = (1 + test_random() % 16) * 512;
        bool zero = i % 4 == 0;
        memset(buf, 100 + i, sizeof(buf));
        memset(want + at, zero ? 0 : 100 + i, n);
        struct iovec iov = {buf, n};
        struct blk_req r = {.op = zero ? BLK_WRITE_ZEROES : BLK_WRITE,
                            .unmap = i % 8 == 0,
                            .offset = at,
                            .len = n,
                            .iov = &iov,
                            .niov = !zero,
                            .done = disk_count};
        d->submit(d, &r);
        d->kick(d);
        disk_run(i + 1);
        CHECK_EQ(r.err, 0);
    }
    CHECK_EQ(disk_do(d, BLK_READ, 0, got, SIZE), 0);
    CHECK_MEM(got, want, SIZE);
    struct blk_req hole = {
        .op = BLK_DISCARD, .offset = 512, .len = 16384, .done = disk_count};
    int before = disk_done;
    d->submit(d, &hole);
    d->kick(d);
    disk_run(before + 1);
    CHECK_EQ(hole.err, 0);
    CHECK_EQ(disk_do(d, BLK_READ, 0, got, SIZE), 0);
    CHECK_MEM(got, want, 4096); /* of a block in part: as it was */
    CHECK_MEM(got + 20480, want + 20480, SIZE - 20480);
    CHECK(full_of(got + 4096, 0, 12288));
    disk_close();
}

TEST(file_direct_whose_last_block_is_none_goes_through_the_page_cache)
{
    unsigned char buf[512];
    struct blockdev *d =
        disk_open(on(disk_file(NULL, 4096 + 100), ",cache.direct=on"));
    REQUIRE(d);
    CHECK_HAS(test_log(), "through the page cache");
    CHECK(!(fcntl(((struct file *)d)->at.fd, F_GETFL) & O_DIRECT));
    CHECK_EQ(d->size, 4096);
    CHECK_EQ(disk_do(d, BLK_READ, 512, buf, 512), 0);
    disk_close();
}

/* ---------------------------------------------------------------- io_uring */

static void send(struct blockdev *d, struct blk_req *r, enum blk_op op,
                 uint64_t off, struct iovec *iov)
{
    *r = (struct blk_req){.op = op,
                          .offset = off,
                          .len = iov->iov_len,
                          .iov = iov,
                          .niov = 1,
                          .done = disk_count};
    d->submit(d, r);
}

/* The same requests, by a ring: more at a time than it takes, of memory and
 * sectors that are a thread's to do, too. */
static void by_ring(const char *more, bool direct)
{
    enum { N = 300, SIZE = N * 1024 };
    static unsigned char buf[SIZE], got[SIZE];
    static struct blk_req r[N];
    static struct iovec iov[N];
    const char *path = disk_file(NULL, SIZE);
    struct blockdev *d = disk_open(on(path, more));
    REQUIRE(d);
    struct file *f = (struct file *)d;
    if (f->ring.fd < 0) {
        disk_close();
        SKIP("no io_uring here");
    }
    if (direct)
        f->at.align = f->at.mem_align = 4096;
    for (unsigned op = BLK_READ; op <= BLK_WRITE; op++) {
        disk_done = 0;
        if (op == BLK_READ)
            file_bytes(path, 0, got, SIZE);
        for (unsigned i = 0; i < N; i++) {
            if (op == BLK_WRITE)
                memset(buf + i * 1024, (int)i, 1024);
            iov[i] = (struct iovec){buf + i * 1024, 1024};
            send(d, &r[i], op, i * 1024, &iov[i]);
        }
        d->kick(d);
        disk_run(N);
        for (unsigned i = 0; i < N; i++)
            CHECK_EQ(r[i].err, 0);
        if (op == BLK_WRITE)
            file_bytes(path, 0, got, SIZE);
        CHECK_MEM(buf, got, SIZE);
    }
    CHECK_EQ(disk_do(d, BLK_FLUSH, 0, NULL, 0), 0);
    REQUIRE_EQ(truncate(path, 8192), 0);
    CHECK_EQ(disk_do(d, BLK_READ, 16384, buf, 4096), -EIO);
    CHECK_EQ(d->in_flight, 0);
    CHECK_EQ(f->running, 0);
    disk_close();
}

TEST(file_by_io_uring_does_what_threads_do)
{
    by_ring(",aio=io_uring", false);
    by_ring(",aio=native,cache.writeback=off", false);
    by_ring(",aio=io_uring,cache.direct=on", false);
    by_ring(",aio=io_uring,cache.direct=on", true);
}

/* As a container's default profile has it. */
static void forbid_rings(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog prog = {ARRAY_LEN(code), code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

TEST(file_without_io_uring_has_threads_and_says_so)
{
    unsigned char buf[512];
    const char *path = disk_file(NULL, 8192);
    pid_t pid = fork();
    if (!pid) {
        forbid_rings();
        struct blockdev *d =
            disk_open(on(path, ",aio=io_uring,cache.direct=on"));
        _exit(!d || ((struct file *)d)->pool.n < 2 ||
              disk_do(d, BLK_READ, 512, buf, 512) || !full_of(buf, 2, 512));
    }
    int status = -1;
    REQUIRE(waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
    CHECK_HAS(test_log(), "disk d0: no io_uring here (Operation not permitted)"
                          ": threads do its transfers");
    disk_close();
}

/* A ring goes past every filter of system calls. */
TEST(file_ring_can_do_nothing_but_read_and_write_the_file)
{
    const char *path = disk_file(NULL, 8192), *other = disk_file(NULL, 8192);
    struct blockdev *d = disk_open(on(path, ",aio=io_uring"));
    REQUIRE(d);
    struct ring *q = &((struct file *)d)->ring;
    if (q->fd < 0) {
        disk_close();
        SKIP("no io_uring here");
    }
    static const struct {
        uint8_t op, flags;
        bool may;
    } rows[] = {{IORING_OP_READV, IOSQE_FIXED_FILE, true},
                {IORING_OP_READV, 0, false},
                {IORING_OP_OPENAT, 0, false},
                {IORING_OP_NOP, IOSQE_FIXED_FILE, false},
                {IORING_OP_FSYNC, IOSQE_FIXED_FILE, false},
                {IORING_OP_READV, IOSQE_FIXED_FILE | IOSQE_IO_LINK, false}};
    unsigned char buf[512];
    struct iovec iov = {buf, sizeof(buf)};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct blk_req r = {.op = BLK_READ, .iov = &iov, .niov = 1};
        int64_t got = 0;
        ring_put(q, &r, 0);
        struct io_uring_sqe *e = &q->sqe[*q->sq_tail & q->sq_mask];
        e->opcode = rows[i].op;
        e->flags = rows[i].flags;
        CHECK(ring_submit(q) == NULL);
        while (!ring_take(q, &got))
            usleep(100);
        CHECK_EQ(got, rows[i].may ? 512 : -EACCES);
    }
    CHECK_EQ(syscall(SYS_io_uring_register, q->fd, IORING_UNREGISTER_EVENTFD,
                     NULL, 0),
             -1);
    /* The next file takes the place of the first. */
    CHECK_EQ(d->swap(d, open(other, O_RDWR), other), 0);
    CHECK(q->fd >= 0);
    memset(buf, 0x33, sizeof(buf));
    CHECK_EQ(disk_do(d, BLK_WRITE, 512, buf, sizeof(buf)), 0);
    file_bytes(other, 512, buf, sizeof(buf));
    CHECK(full_of(buf, 0x33, 512));
    file_bytes(path, 512, buf, sizeof(buf));
    CHECK(full_of(buf, 2, 512));
    disk_close();
}

/* ---------------------------------------------------------- holes, flushes */

static uint64_t blocks_of(const char *path)
{
    struct stat st;
    REQUIRE_EQ(stat(path, &st), 0);
    return (uint64_t)st.st_blocks;
}

static void holes_on(const char *dir)
{
    static unsigned char buf[1 << 20];
    const char *path = disk_file(dir, sizeof(buf));
    struct blockdev *d = disk_open(on(path, ",discard=unmap"));
    struct iovec all = {NULL, 1 << 19}, odd = {NULL, 3 * 512};
    struct blk_req r;
    REQUIRE(d);
    CHECK_EQ(blocks_of(path), sizeof(buf) / 512); /* probed without a trace */
    CHECK_EQ(d->size, sizeof(buf));
    CHECK(d->can_discard && d->can_zero && d->zero_may_unmap);
    CHECK(d->max_discard && d->max_zero && d->discard_align);
    send(d, &r, BLK_DISCARD, 1 << 18, &all);
    d->kick(d);
    disk_run(1);
    CHECK_EQ(r.err, 0);
    CHECK_EQ(blocks_of(path), sizeof(buf) / 512 / 2);
    send(d, &r, BLK_WRITE_ZEROES, 1 << 18, &all); /* without unmap: room */
    d->kick(d);
    disk_run(2);
    CHECK_EQ(r.err, 0);
    CHECK_EQ(blocks_of(path), sizeof(buf) / 512);
    send(d, &r, BLK_WRITE_ZEROES, 512, &odd);
    d->kick(d);
    disk_run(3);
    CHECK_EQ(r.err, 0);
    file_bytes(path, 0, buf, sizeof(buf));
    CHECK(full_of(buf, 1, 512) && full_of(buf + 512, 0, 1536));
    CHECK(full_of(buf + 2048, 5, 512));
    CHECK(full_of(buf + (1 << 18), 0, 1 << 19));
    CHECK(full_of(buf + (3 << 18), 1, 512)); /* sector 1536 */
    disk_close();
}

TEST(file_discard_and_zeroes_where_holes_can_be_made)
{
    holes_on(NULL);
    holes_on("/dev/shm"); /* makes holes, and has no other way to zero */
}

TEST(file_discard_is_not_offered_unless_asked_for)
{
    struct blockdev *d = disk_open(on(disk_file(NULL, 4096), ""));
    REQUIRE(d);
    CHECK(!d->can_discard && d->can_zero && !d->zero_may_unmap);
    disk_close();
}

/* A hole that comes late takes away what was written after it. */
TEST(file_discard_stays_between_the_writes_around_it)
{
    enum { SIZE = 256 * 1024, N = 16 };
    static unsigned char buf[SIZE], got[SIZE];
    static struct blk_req r[2 * N + 1];
    const char *path = disk_file(NULL, SIZE);
    struct blockdev *d = disk_open(on(path, ",discard=unmap,threads=8"));
    REQUIRE(d);
    struct iovec piece = {buf, SIZE / N}, all = {buf, SIZE};
    memset(buf, 0x42, SIZE);
    for (int round = 0; round < 30; round++) {
        disk_done = 0;
        for (unsigned i = 0; i < N; i++)
            send(d, &r[i], BLK_WRITE, i * SIZE / N, &piece);
        send(d, &r[N], BLK_DISCARD, 0, &all);
        for (unsigned i = 0; i < N; i += 2)
            send(d, &r[N + 1 + i], BLK_WRITE, i * SIZE / N, &piece);
        d->kick(d);
        disk_run(N + 1 + N / 2);
        file_bytes(path, 0, got, SIZE);
        for (unsigned i = 0; i < N; i++)
            CHECK(full_of(got + i * SIZE / N, i % 2 ? 0 : 0x42, SIZE / N));
    }
    disk_close();
}

/* The kernel tells of a lost page once, and takes the next flush. */
TEST(file_flush_that_failed_fails_ever_after)
{
    struct blockdev *d = disk_open(on(disk_file(NULL, 4096), ""));
    REQUIRE(d);
    int fd = ((struct file *)d)->at.fd, good = dup(fd),
        bad = open("/dev/null", O_RDWR);
    REQUIRE(dup2(bad, fd) == fd);
    CHECK_EQ(disk_do(d, BLK_FLUSH, 0, NULL, 0), -EINVAL);
    REQUIRE(dup2(good, fd) == fd);
    CHECK_EQ(disk_do(d, BLK_FLUSH, 0, NULL, 0), -EIO);
    CHECK_EQ(d->errors.count, 2);
    close(good);
    close(bad);
    disk_close();
}

/* cachestat(2): pages of it that are dirty. */
static long dirty_pages(const char *path)
{
    uint64_t range[2] = {0, 0}, stat[5] = {0};
    int fd = open(path, O_RDONLY);
    long err = syscall(451, fd, range, stat, 0);
    close(fd);
    return err ? -1 : (long)(stat[1] + stat[2]);
}

TEST(file_cache_modes_are_what_they_say)
{
    static const struct {
        const char *more;
        enum blk_cache cache;
        bool flush, dirty;
    } modes[] = {
        {"", BLK_WRITEBACK, true, true},
        {",cache.writeback=off", BLK_WRITETHROUGH, true, false},
        {",cache.direct=on", BLK_NONE, true, false},
        {",cache.direct=on,cache.writeback=off", BLK_DIRECTSYNC, true, false},
        {",cache.no-flush=on", BLK_UNSAFE, false, true}};
    static unsigned char buf[4096] __attribute__((aligned(4096)));
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        const char *path = disk_file(NULL, 64 * 1024);
        int fd = open(path, O_RDONLY);
        REQUIRE_EQ(fsync(fd), 0);
        close(fd);
        struct blockdev *d = disk_open(on(path, modes[i].more));
        REQUIRE(d);
        CHECK_EQ(d->cache, modes[i].cache);
        CHECK_EQ(d->can_flush, modes[i].flush);
        CHECK_EQ(disk_do(d, BLK_WRITE, 0, buf, sizeof(buf)), 0);
        long dirty = dirty_pages(path);
        if (dirty >= 0)
            CHECK_EQ(dirty > 0, modes[i].dirty);
        if (dirty > 0 && modes[i].flush) {
            CHECK_EQ(disk_do(d, BLK_FLUSH, 0, NULL, 0), 0);
            CHECK_EQ(dirty_pages(path), 0);
        }
        disk_close();
    }
}

/* --------------------------------------------------------- who else has it */

static int in_child(const char *what)
{
    pid_t pid = fork();
    if (!pid)
        _exit(!disk_open(what));
    int status;
    REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
    return status;
}

TEST(file_lock_keeps_a_second_writer_out)
{
    const char *path = disk_file(NULL, 4096);
    char rw[256], ro[256], off[256];
    snprintf(rw, sizeof(rw), "%s", on(path, ""));
    snprintf(ro, sizeof(ro), "%s", on(path, ",read-only=on"));
    snprintf(off, sizeof(off), "%s", on(path, ",locking=off"));
    REQUIRE(disk_open(rw));
    blockdevs->id = "other"; /* of the child, which has it from here */
    blockdevs->cls = &null_co_class;
    CHECK_NE(in_child(rw), 0);
    CHECK_NE(in_child(ro), 0);
    CHECK_EQ(in_child(off), 0);
    CHECK_HAS(test_log(), "another process uses it");
    blockdevs->cls = &file_class;
    blockdev_close_all();
    REQUIRE(disk_open(ro));
    blockdevs->id = "other";
    blockdevs->cls = &null_co_class;
    CHECK_NE(in_child(rw), 0);
    CHECK_EQ(in_child(ro), 0);
    blockdevs->cls = &file_class;
    disk_close();
}

/* One byte for each thing that QEMU wants to do, or others not to do. */
TEST(file_lock_is_one_that_qemu_understands)
{
    static const struct {
        int byte;
        bool writer, reader; /* may there be one of ours? */
    } rows[] = {{100, true, true},   {101, false, false}, {103, false, false},
                {200, false, false}, {201, false, true},  {203, true, true}};
    const char *path = disk_file(NULL, 4096);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int fd = open(path, O_RDWR);
        struct flock fl = {
            .l_type = F_RDLCK, .l_start = rows[i].byte, .l_len = 1};
        REQUIRE_EQ(fcntl(fd, F_OFD_SETLK, &fl), 0);
        CHECK_EQ(disk_open(on(path, "")) != NULL, rows[i].writer);
        blockdev_close_all();
        CHECK_EQ(disk_open(on(path, ",read-only=on")) != NULL, rows[i].reader);
        blockdev_close_all();
        close(fd);
    }
    disk_close();
}

TEST(file_twice_in_one_machine_is_refused_before_it_is_opened)
{
    const char *path = disk_file(NULL, 4096);
    REQUIRE_EQ(disk_check(on(path, ",id=a")), 0);
    CHECK_EQ(disk_check(on(path, ",id=b")), -EINVAL);
    CHECK_HAS(test_log(), "disk a has this file already; locking=off");
    CHECK_EQ(disk_check(on(path, ",id=c,read-only=on")), -EINVAL);
    CHECK_EQ(disk_check(on(path, ",id=d,locking=off")), 0);
    blockdev_close_all();
    REQUIRE_EQ(disk_check(on(path, ",id=a,read-only=on")), 0);
    CHECK_EQ(disk_check(on(path, ",id=c,read-only=on")), 0);
    disk_close();
}

TEST(file_that_cannot_be_had_is_one_line)
{
    static const char *const rows[][2] = {
        {"file,filename=/nonexistent/x", "/nonexistent/x: No such file"},
        {"file,filename=/", "/: is a directory"},
        {"file,filename=/dev/null", "neither a file nor a block device"},
        {"file", "filename= is missing"},
        {"file,filename=/x,node-name=d0,id=d0,serial="
         "123456789012345678901",
         "at most 20 characters"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK_NE(disk_check(rows[i][0]), 0);
        const char *log = test_log(), *end = strchr(log, '\n');
        CHECK_HAS(log, rows[i][1]);
        CHECK(end && !end[1]);
    }
    if (geteuid()) {
        const char *path = disk_file(NULL, 512);
        chmod(path, 0400);
        CHECK_EQ(disk_check(on(path, "")), -EACCES);
        CHECK_HAS(test_log(), "Permission denied; readonly=on only reads it");
        CHECK_EQ(disk_check(on(path, ",auto-read-only=on")), 0);
    }
    disk_close();
}

TEST(file_serial_is_told_or_of_where_it_lies)
{
    char first[21];
    const char *path = disk_file(NULL, 512);
    struct blockdev *d = disk_open(on(path, ""));
    REQUIRE(d && *d->serial);
    strcpy(first, d->serial);
    blockdev_close_all();
    d = disk_open(on(path, ""));
    REQUIRE(d);
    CHECK_STR(d->serial, first);
    blockdev_close_all();
    d = disk_open(on(path, ",serial=ABC-12"));
    REQUIRE(d);
    CHECK_STR(d->serial, "ABC-12");
    disk_close();
}

/* -------------------------------------------------------- while it is used */

static sem_t gate;
static int slow_work(void *ctx, const struct blk_req *r, unsigned char *bounce)
{
    sem_wait(&gate);
    sem_post(&gate);
    return transfer_do(ctx, r, bounce);
}

static void *open_gate(void *arg)
{
    (void)arg;
    usleep(50000);
    sem_post(&gate);
    return NULL;
}

/* Four writes: the first is on its way and slow, three wait. */
static struct blockdev *busy(const char *path, struct blk_req *r,
                             struct iovec *iov)
{
    struct blockdev *d = disk_open(on(path, ""));
    REQUIRE(d);
    struct file *f = (struct file *)d;
    f->pool.work = slow_work;
    REQUIRE_EQ(sem_init(&gate, 0, 0), 0);
    for (unsigned i = 0; i < 4; i++)
        send(d, &r[i], BLK_WRITE, 512 * i, iov);
    d->kick(d);
    for (bool begun = false; !begun;) { /* the first is taken */
        pthread_mutex_lock(&f->pool.lock);
        begun = f->pool.first == &r[1];
        pthread_mutex_unlock(&f->pool.lock);
    }
    return d;
}

TEST(file_drain_finishes_what_is_begun_and_cancels_the_rest)
{
    unsigned char buf[512] = {0}, got[2048];
    struct iovec iov = {buf, 512};
    struct blk_req r[4];
    pthread_t t;
    for (int cancel = 0; cancel < 2; cancel++) {
        const char *path = disk_file(NULL, 4096);
        struct blockdev *d = busy(path, r, &iov);
        CHECK_EQ(d->in_flight, 4);
        REQUIRE_EQ(pthread_create(&t, NULL, open_gate, NULL), 0);
        d->drain(d, cancel);
        pthread_join(t, NULL);
        CHECK_EQ(disk_done, 4);
        CHECK_EQ(r[0].err, 0);
        for (int i = 1; i < 4; i++)
            CHECK_EQ(r[i].err, cancel ? -ECANCELED : 0);
        CHECK_EQ(d->in_flight, 0);
        CHECK_EQ(d->writes, cancel ? 1 : 4);
        CHECK_EQ(d->errors.count, 0);
        file_bytes(path, 0, got, sizeof(got));
        CHECK(full_of(got, 0, 512) && full_of(got + 512, cancel ? 2 : 0, 512));
        disk_close();
    }
}

TEST(file_swap_finishes_on_the_old_one)
{
    unsigned char buf[512] = {0}, got[2048];
    struct iovec iov = {buf, 512};
    struct blk_req r[4];
    pthread_t t;
    const char *old = disk_file(NULL, 4096), *new = disk_file(NULL, 8192);
    struct blockdev *d = busy(old, r, &iov);
    int ro = open(new, O_RDONLY), fd = open(new, O_RDWR);
    REQUIRE_EQ(pthread_create(&t, NULL, open_gate, NULL), 0);
    CHECK_EQ(d->swap(d, ro, new), -EACCES);
    CHECK_EQ(d->swap(d, fd, new), 0);
    pthread_join(t, NULL);
    CHECK_EQ(disk_done, 4);
    CHECK_EQ(d->size, 8192);
    file_bytes(old, 0, got, sizeof(got));
    CHECK(full_of(got, 0, 2048));
    file_bytes(new, 0, got, sizeof(got));
    CHECK(full_of(got, 1, 512));
    CHECK_EQ(disk_do(d, BLK_READ, 4096, buf, 512), 0);
    CHECK(full_of(buf, 9, 512));
    /* The old one is free, the new one is not. */
    CHECK_EQ(d->swap(d, open(old, O_RDWR), old), 0);
    int other = open(new, O_RDWR);
    struct flock fl = {.l_type = F_RDLCK, .l_start = 201, .l_len = 1};
    REQUIRE_EQ(fcntl(other, F_OFD_SETLK, &fl), 0);
    CHECK_EQ(d->swap(d, open(new, O_RDWR), new), -EBUSY);
    CHECK_EQ(d->size, 4096); /* still there */
    close(other);
    disk_close();
}

/* What takes the place of a drive whose format nobody named. */
TEST(file_swap_takes_no_image_of_another_format_unless_raw_was_said)
{
    for (int said = 0; said < 2; said++) {
        unsigned char buf[512];
        const char *old = disk_file(NULL, 4096), *new = disk_file(NULL, 4096);
        struct blockdev *d =
            disk_open(on(old, said ? "" : "," BLOCKDEV_GUESSED "=on"));
        int fd = open(new, O_RDWR);
        REQUIRE_EQ(pwrite(fd, "QFI\xfb", 4, 0), 4);
        CHECK_EQ(d->swap(d, fd, new), said ? 0 : -EINVAL);
        CHECK_EQ(disk_do(d, BLK_READ, 0, buf, 512), 0);
        CHECK_EQ(buf[0], said ? 'Q' : 1); /* or the old one is still there */
        const char *log = test_log();
        if (!said)
            CHECK_HAS(log, "begins like a qcow2 image; a -drive with");
        disk_close();
    }
}

/* Which is how Firecracker's clients say that it has grown. */
TEST(file_swap_of_the_same_file_is_a_look_at_its_size)
{
    unsigned char buf[512] = {1};
    const char *path = disk_file(NULL, 4096);
    struct blockdev *d = disk_open(on(path, ""));
    CHECK_EQ(truncate(path, 8192), 0);
    CHECK_EQ(d->swap(d, open(path, O_RDWR), path), 0);
    CHECK_EQ(d->size, 8192);
    CHECK_EQ(disk_do(d, BLK_WRITE, 4096, buf, 512), 0);
    /* Its locks are still there. */
    int other = open(path, O_RDWR);
    struct flock fl = {.l_type = F_WRLCK, .l_start = 201, .l_len = 1};
    CHECK_EQ(fcntl(other, F_OFD_SETLK, &fl), -1);
    close(other);
    disk_close();
}

static int no_work(void *ctx, const struct blk_req *r, unsigned char *bounce)
{
    (void)ctx;
    (void)r;
    (void)bounce;
    return -ENODATA; /* a thread was asked */
}

/* Not everything of a loop's turn: what is much goes to a thread. */
TEST(file_reads_what_is_in_the_page_cache_at_once)
{
    static unsigned char buf[512 * 1024];
    const char *path = disk_file(NULL, sizeof(buf));
    struct blockdev *d = disk_open(on(path, ""));
    REQUIRE(d);
    ((struct file *)d)->pool.work = no_work;
    file_bytes(path, 0, buf, sizeof(buf));
    for (unsigned i = 0; i < 16; i++)
        CHECK_EQ(disk_do(d, BLK_READ, i * 4096, buf, 4096), 0);
    CHECK(full_of(buf, 15 * 8 + 1, 512));
    CHECK_EQ(disk_do(d, BLK_READ, 0, buf, sizeof(buf)), -ENODATA);
    CHECK_EQ(disk_do(d, BLK_WRITE, 0, buf, 512), -ENODATA);
    struct iovec iov = {buf, 4096};
    struct blk_req r;
    int before = disk_done;
    send(d, &r, BLK_READ, 0, &iov);
    d->kick(d);
    CHECK_EQ(disk_done, before);
    d->drain(d, true); /* done already: it is told */
    CHECK_EQ(disk_done, before + 1);
    CHECK_EQ(r.err, 0);
    disk_close();
    d = disk_open(on(disk_file(NULL, 8192), ",cache.direct=on"));
    REQUIRE(d);
    ((struct file *)d)->pool.work = no_work;
    CHECK_EQ(disk_do(d, BLK_READ, 0, buf, 4096), -ENODATA);
    disk_close();
}

static int resizes;
static void was_resized(void *disk)
{
    (void)disk;
    resizes++;
}

TEST(file_resize_looks_again_or_makes_it_so)
{
    const char *path = disk_file(NULL, 4096);
    struct blockdev *d = disk_open(on(path, ""));
    unsigned char buf[512];
    REQUIRE(d);
    resizes = 0;
    d->resized = was_resized;
    CHECK_EQ(d->resize(d, 0), 0);
    CHECK_EQ(resizes, 0);
    REQUIRE_EQ(truncate(path, 1 << 20), 0);
    CHECK_EQ(d->resize(d, 0), 0);
    CHECK_EQ(d->size, 1 << 20);
    CHECK_EQ(resizes, 1);
    CHECK_EQ(d->resize(d, 2 << 20), 0);
    CHECK_EQ(d->size, 2 << 20);
    CHECK_EQ(resizes, 2);
    CHECK_EQ(disk_do(d, BLK_READ, (2 << 20) - 512, buf, 512), 0);
    CHECK_EQ(disk_do(d, BLK_FLUSH, 0, NULL, 0), 0);
    CHECK_EQ(d->resize(d, 1024), 0);
    CHECK_EQ(d->size, 1024);
    blockdev_close_all();
    d = disk_open(on(path, ",read-only=on"));
    REQUIRE(d);
    CHECK_EQ(d->resize(d, 4096), -EROFS);
    disk_close();
}

/* A limit of the process's stands for a file system that is full. */
TEST(file_system_that_is_full_is_an_error_of_the_guest)
{
    static unsigned char buf[8192];
    char dir[] = "/tmp/vmm-full-XXXXXX", line[256], path[64];
    REQUIRE(mkdtemp(dir));
    snprintf(line, sizeof(line),
             "mount -t tmpfs -o size=64k none %s 2>/dev/null", dir);
    if (system(line)) {
        rmdir(dir);
        SKIP("no tmpfs can be mounted");
    }
    snprintf(path, sizeof(path), "%s/disk", dir);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    CHECK_EQ(ftruncate(fd, 1 << 20), 0);
    close(fd);
    struct blockdev *d = disk_open(on(path, ""));
    REQUIRE(d);
    int err = 0;
    for (unsigned i = 0; i < 16 && !err; i++)
        err = disk_do(d, BLK_WRITE, i * sizeof(buf), buf, sizeof(buf));
    CHECK_EQ(err, -ENOSPC);
    CHECK_HAS(test_log(), "No space left on device");
    CHECK_EQ(disk_do(d, BLK_READ, 0, buf, sizeof(buf)), 0);
    disk_close();
    snprintf(line, sizeof(line), "umount %s", dir);
    CHECK_EQ(system(line), 0);
    rmdir(dir);
}
