/* SPDX-License-Identifier: MIT */
/* Files as disks: what is read and written, what is promised, who may. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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
