/* SPDX-License-Identifier: MIT */
/* io_uring, as far as a disk needs one: reads and writes of one file.
 *
 * Theory of operation. What a ring is asked for is not a system call, and no
 * filter sees it. So the ring is made before the sandbox, is bound to vectored
 * reads and writes of files registered with it
 * (IORING_REGISTER_RESTRICTIONS), and only then enabled: a thread that is taken
 * over can do no more by it than by preadv2 and pwritev2. What a ring does not
 * do (a flush, holes, memory that does not fit) is the threads' (pool.c).
 *
 * Requests that need not wait are done when io_uring_enter() comes back; these,
 * too, signal the eventfd. */
#include "block/ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/io_uring.h>

#include "base/bytes.h"

static int ring_register(const struct ring *q, unsigned op, const void *arg,
                         unsigned n)
{
    return syscall(SYS_io_uring_register, q->fd, op, arg, n) < 0 ? -errno : 0;
}

static int ring_restrict(const struct ring *q)
{
    struct io_uring_restriction rows[5];
    memset(rows, 0, sizeof(rows));
    rows[0].opcode = IORING_RESTRICTION_SQE_OP;
    rows[0].sqe_op = IORING_OP_READV;
    rows[1].opcode = IORING_RESTRICTION_SQE_OP;
    rows[1].sqe_op = IORING_OP_WRITEV;
    rows[2].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    rows[2].sqe_flags = IOSQE_FIXED_FILE;
    rows[3].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
    rows[3].sqe_flags = IOSQE_FIXED_FILE;
    rows[4].opcode = IORING_RESTRICTION_REGISTER_OP;
    rows[4].register_op = IORING_REGISTER_FILES_UPDATE;
    return ring_register(q, IORING_REGISTER_RESTRICTIONS, rows,
                         ARRAY_LEN(rows));
}

/* Both rings are one mapping since Linux 5.4, the entries another. */
static int ring_map(struct ring *q, const struct io_uring_params *p)
{
    size_t sq = p->sq_off.array + p->sq_entries * sizeof(uint32_t),
           cq = p->cq_off.cqes + p->cq_entries * sizeof(*q->cqe);
    q->size = sq > cq ? sq : cq;
    char *at = mmap(NULL, q->size, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_POPULATE, q->fd, IORING_OFF_SQ_RING);
    if (at == MAP_FAILED)
        return -errno;
    q->memory = at;
    q->sqe = mmap(NULL, p->sq_entries * sizeof(*q->sqe), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_POPULATE, q->fd, IORING_OFF_SQES);
    if (q->sqe == MAP_FAILED) {
        q->sqe = NULL;
        return -errno;
    }
    q->sq_tail = (void *)(at + p->sq_off.tail);
    q->sq_mask = *(uint32_t *)(void *)(at + p->sq_off.ring_mask);
    q->sq_array = (void *)(at + p->sq_off.array);
    q->cq_head = (void *)(at + p->cq_off.head);
    q->cq_tail = (void *)(at + p->cq_off.tail);
    q->cq_mask = *(uint32_t *)(void *)(at + p->cq_off.ring_mask);
    q->cqe = (void *)(at + p->cq_off.cqes);
    return 0;
}

int ring_begin(struct ring *q, int file, int event)
{
    struct io_uring_params p = {.flags = IORING_SETUP_R_DISABLED};
    *q =
        (struct ring){.fd = (int)syscall(SYS_io_uring_setup, RING_ENTRIES, &p)};
    if (q->fd < 0)
        return -errno;
    int err = p.features & IORING_FEAT_SINGLE_MMAP ? ring_map(q, &p) : -ENOSYS;
    if (!err)
        err = ring_register(q, IORING_REGISTER_FILES, &file, 1);
    if (!err)
        err = ring_register(q, IORING_REGISTER_EVENTFD, &event, 1);
    if (!err)
        err = ring_restrict(q);
    if (!err)
        err = ring_register(q, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (err)
        ring_end(q);
    return err;
}

/* syscalls loop if disk_ring: io_uring_register, of a file that is put in
 * another's place */
int ring_file(struct ring *q, int file)
{
    struct io_uring_files_update u = {.fds = (uintptr_t)&file};
    return ring_register(q, IORING_REGISTER_FILES_UPDATE, &u, 1);
}

/* As many as its entries: then what is done always has room. */
bool ring_full(const struct ring *q)
{
    return q->queued + q->under_way >= RING_ENTRIES;
}

void ring_put(struct ring *q, struct blk_req *r, int flags)
{
    uint32_t tail = *q->sq_tail + q->queued++, at = tail & q->sq_mask;
    struct io_uring_sqe *e = &q->sqe[at];
    memset(e, 0, sizeof(*e));
    e->opcode = r->op == BLK_READ ? IORING_OP_READV : IORING_OP_WRITEV;
    e->flags = IOSQE_FIXED_FILE;
    e->off = r->offset;
    e->addr = (uintptr_t)r->iov;
    e->len = (uint32_t)r->niov;
    e->rw_flags = flags;
    e->user_data = (uintptr_t)r;
    q->sq_array[at] = at;
}

/* syscalls loop if disk_ring: io_uring_enter, by guests that have a disk */
struct blk_req *ring_submit(struct ring *q)
{
    struct blk_req *list = NULL;
    long got = 0;
    uint32_t tail = *q->sq_tail + q->queued;
    __atomic_store_n(q->sq_tail, tail, __ATOMIC_RELEASE);
    while (q->queued && got >= 0) {
        got = syscall(SYS_io_uring_enter, q->fd, q->queued, 0, 0, NULL, 0);
        if (got < 0 && errno == EINTR)
            got = 0;
        if (got > 0) {
            q->queued -= (unsigned)got;
            q->under_way += (unsigned)got;
        }
    }
    for (; q->queued; q->queued--) { /* no memory for them: taken back */
        struct io_uring_sqe *e = &q->sqe[--tail & q->sq_mask];
        struct blk_req *r = (void *)(uintptr_t)e->user_data;
        r->next = list;
        list = r;
    }
    __atomic_store_n(q->sq_tail, tail, __ATOMIC_RELEASE);
    return list;
}

bool ring_has(const struct ring *q)
{
    return __atomic_load_n(q->cq_tail, __ATOMIC_ACQUIRE) != *q->cq_head;
}

struct blk_req *ring_take(struct ring *q, int64_t *got)
{
    if (q->fd < 0 || !ring_has(q))
        return NULL;
    uint32_t head = *q->cq_head;
    const struct io_uring_cqe *e = &q->cqe[head & q->cq_mask];
    struct blk_req *r = (void *)(uintptr_t)e->user_data;
    *got = e->res;
    __atomic_store_n(q->cq_head, head + 1, __ATOMIC_RELEASE);
    q->under_way--;
    return r;
}

void ring_end(struct ring *q)
{
    if (q->fd < 0)
        return;
    if (q->sqe)
        munmap(q->sqe, RING_ENTRIES * sizeof(*q->sqe));
    if (q->memory)
        munmap(q->memory, q->size);
    close(q->fd);
    q->fd = -1;
}
