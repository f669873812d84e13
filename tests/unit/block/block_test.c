/* SPDX-License-Identifier: MIT */
/* A disk's side of a blockdev, for tests. */
#include "tests/unit/block/block_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/iov.h"

struct loop *disk_loop;
int disk_done;
static char paths[4][128];
static unsigned npaths;

const char *disk_file(const char *dir, uint64_t size)
{
    char *path = paths[npaths++ % ARRAY_LEN(paths)];
    unsigned char sector[BLK_SECTOR];
    snprintf(path, sizeof(paths[0]), "%s/vmm-disk-XXXXXX", dir ? dir : "/tmp");
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    for (uint64_t at = 0; at < size; at += sizeof(sector)) {
        memset(sector, (int)(at / sizeof(sector) + 1), sizeof(sector));
        size_t n = size - at < sizeof(sector) ? size - at : sizeof(sector);
        REQUIRE_EQ(write(fd, sector, n), n);
    }
    close(fd);
    return path;
}

static int disk_new(const char *text, struct blockdev **b)
{
    static const struct blockdev_class *const classes[] = {BLOCKDEV_ROWS};
    struct opts o;
    REQUIRE_EQ(opts_parse(&o, "-blockdev", text, "driver"), 0);
    const char *driver = opts_str(&o, "driver", "");
    size_t i = 0;
    while (i < ARRAY_LEN(classes) && strcmp(classes[i]->name, driver))
        i++;
    REQUIRE(i < ARRAY_LEN(classes));
    opts_move(NULL, &o, "driver", NULL);
    if (!opts_str(&o, "id", NULL))
        REQUIRE_EQ(opts_add(&o, "id", "d0"), 0);
    return blockdev_new(classes[i], &o, b);
}

int disk_check(const char *text)
{
    struct blockdev *b;
    return disk_new(text, &b);
}

struct blockdev *disk_open(const char *text)
{
    struct blockdev *b;
    if (!disk_loop)
        REQUIRE_EQ(loop_new(&disk_loop), 0);
    if (disk_new(text, &b) || b->cls->open(b, disk_loop))
        return NULL;
    return b;
}

void disk_close(void)
{
    blockdev_close_all();
    loop_free(disk_loop);
    disk_loop = NULL;
    for (unsigned i = 0; i < ARRAY_LEN(paths); i++)
        if (*paths[i])
            unlink(paths[i]);
    memset(paths, 0, sizeof(paths));
    disk_done = 0;
}

void disk_count(struct blk_req *r)
{
    (void)r;
    disk_done++;
}

void disk_run(int until)
{
    while (disk_done < until)
        loop_poll(disk_loop, 1000);
}

int disk_iov(struct blockdev *b, enum blk_op op, uint64_t offset,
             struct iovec *iov, int niov)
{
    struct blk_req r = {.op = op,
                        .offset = offset,
                        .len = iov_len(iov, niov),
                        .iov = iov,
                        .niov = niov,
                        .done = disk_count};
    int before = disk_done;
    b->submit(b, &r);
    CHECK_EQ(disk_done, before); /* never inside */
    if (b->kick)
        b->kick(b);
    disk_run(before + 1);
    return r.err;
}

int disk_do(struct blockdev *b, enum blk_op op, uint64_t offset, void *buf,
            uint64_t len)
{
    struct iovec iov = {buf, len};
    return disk_iov(b, op, offset, &iov, 1);
}

void file_bytes(const char *path, uint64_t offset, void *buf, uint64_t len)
{
    int fd = open(path, O_RDONLY);
    REQUIRE(fd >= 0);
    CHECK_EQ(pread(fd, buf, len, (off_t)offset), len);
    close(fd);
}
