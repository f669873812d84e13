/* SPDX-License-Identifier: MIT */
/* A disk's side of a blockdev, for tests. */
#ifndef BLOCK_TEST_H
#define BLOCK_TEST_H

#include "block/list.h"
#include "tests/unit/test.h"

/* A file of `size` bytes, sector n of which is full of n + 1; `dir` NULL: /tmp.
 * The path is valid until the next three. */
const char *disk_file(const char *dir, uint64_t size);
/* One that is open, and its loop; "file,filename=…". NULL: it is not, as the
 * log says. */
struct blockdev *disk_open(const char *text);
/* The same, only checked. 0 or -errno. */
int disk_check(const char *text);
void disk_close(void); /* all of them, and files */
extern struct loop *disk_loop;

/* One request after the other; memory of one piece. Its err. */
int disk_do(struct blockdev *b, enum blk_op op, uint64_t offset, void *buf,
            uint64_t len);
int disk_iov(struct blockdev *b, enum blk_op op, uint64_t offset,
             struct iovec *iov, int niov);
/* Several: those that are done count. */
extern int disk_done;
void disk_count(struct blk_req *r);
void disk_run(int until);

/* Bytes of a file, as they are on disk or in the page cache. */
void file_bytes(const char *path, uint64_t offset, void *buf, uint64_t len);

#endif
