/* SPDX-License-Identifier: MIT */
/* What a walk along a chain does, on either ring: pieces, indirect tables, and
 * breaking a queue whose driver broke the rules. */
#include "devices/virtio/walk.h"

_Static_assert(sizeof(struct vring_desc) == 16, "§2.7.5");

enum vq_got vq_broken(struct virtqueue *vq, const char *why)
{
    vq->state = VQ_BROKEN;
    vq->fault = why;
    return VQ_FAULT;
}

static bool vq_bad(struct virtqueue *vq, const char *why)
{
    vq_broken(vq, why);
    return false;
}

/* One piece of a chain onto the iovec: readable ones first. */
bool vq_add_piece(struct virtqueue *vq, struct vq_chain *c, struct iovec *iov,
                  const struct vring_desc *d)
{
    bool write = d->flags & VRING_DESC_WRITE;
    uint32_t *total = write ? &c->wlen : &c->rlen;
    if (!d->len)
        return true;
    void *p = ram_ptr(vq->ram, gpa(d->addr), d->len);
    if (!p)
        return vq_bad(vq, "a buffer is outside of guest memory");
    if (!write && c->nw)
        return vq_bad(vq, "a readable buffer follows a writable one");
    if (*total + d->len < *total)
        return vq_bad(vq, "a chain is longer than 4 GiB");
    iov[c->nr + c->nw] = (struct iovec){p, d->len};
    *total += d->len;
    if (write)
        c->nw++;
    else
        c->nr++;
    return true;
}

/* §2.7.5.3: where an indirect table is; NULL breaks the queue. */
const struct vring_desc *
vq_indirect_table(struct virtqueue *vq, const struct vring_desc *d, unsigned *n)
{
    const void *table = NULL;
    *n = d->len / sizeof(*d);
    if (!vq->indirect)
        vq_broken(vq, "an indirect descriptor was not negotiated");
    else if (d->flags & VRING_DESC_NEXT)
        vq_broken(vq, "an indirect descriptor has NEXT set");
    else if (!*n || d->len % sizeof(*d) || *n > VQ_SIZE_MAX)
        vq_broken(vq, "an indirect table has a wrong length");
    else if (!(table = ram_ptr(vq->ram, gpa(d->addr), d->len)))
        vq_broken(vq, "an indirect table is outside of guest memory");
    return table;
}
