/* SPDX-License-Identifier: MIT */
/* What the split and the packed ring share inside; for virtqueue.c and
 * vring_packed.c only. */
#ifndef VRING_H
#define VRING_H

#include "devices/virtio/queue.h"

enum { VRING_DESC_NEXT = 1, VRING_DESC_WRITE = 2, VRING_DESC_INDIRECT = 4 };

struct vring_desc { /* §2.7.5 */
    le64 addr;
    le32 len;
    le16 flags, next;
};

/* Marks the queue BROKEN; gives VQ_FAULT. */
enum vq_got vq_broken(struct virtqueue *vq, const char *why);
/* Appends a descriptor's buffer to a chain; false: the queue broke. */
bool vq_add_piece(struct virtqueue *vq, struct vq_chain *c, struct iovec *iov,
                  const struct vring_desc *d);
/* The table an indirect descriptor points to and its number of entries, or
 * NULL: the queue broke. */
const struct vring_desc *vq_indirect_table(struct virtqueue *vq,
                                           const struct vring_desc *d,
                                           unsigned *n);

/* vring_packed.c: the same verbs on a packed ring. */
bool packed_available(struct virtqueue *vq);
enum vq_got packed_pop(struct virtqueue *vq, struct vq_chain *c,
                       struct iovec *iov, int max);
void packed_undo(struct virtqueue *vq, const struct vq_chain *c);
void packed_push(struct virtqueue *vq, const struct vq_chain *c, uint32_t len);
void packed_flush(struct virtqueue *vq);
void packed_kicks(struct virtqueue *vq, bool on);
bool packed_irq_wanted(struct virtqueue *vq);

#endif
