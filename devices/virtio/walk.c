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

enum vq_got vq_popped_traced(const struct vq_chain *c)
{
    trace_print("pop id %u readable %u/%u writable %u/%u", c->id, c->nr,
                c->rlen, c->nw, c->wlen);
    return VQ_CHAIN;
}

bool vq_bad_piece(struct virtqueue *vq, const void *p, bool readable_late)
{
    if (!p)
        vq_broken(vq, "a buffer is outside of guest memory");
    else if (readable_late)
        vq_broken(vq, "a readable buffer follows a writable one");
    else
        vq_broken(vq, "a chain is longer than 4 GiB");
    return false;
}

/* §2.7.5.3: where an indirect table is; NULL breaks the queue. */
const struct vring_desc *vq_indirect_table(struct virtqueue *vq,
                                           struct vring_desc d)
{
    const void *table = NULL;
    unsigned n = d.len / sizeof(d);
    if (!vq->indirect)
        vq_broken(vq, "an indirect descriptor was not negotiated");
    else if (d.flags & VRING_DESC_NEXT)
        vq_broken(vq, "an indirect descriptor has NEXT set");
    else if (!n || d.len % sizeof(d) || n > VQ_SIZE_MAX)
        vq_broken(vq, "an indirect table has a wrong length");
    else if (!(table = ram_ptr(vq->ram, gpa(d.addr), d.len)))
        vq_broken(vq, "an indirect table is outside of guest memory");
    return table;
}
