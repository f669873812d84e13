/* SPDX-License-Identifier: MIT */
/* What the verbs and the two rings share inside. */
#ifndef VIRTQUEUE_WALK_H
#define VIRTQUEUE_WALK_H

#include "devices/virtio/ring.h"

enum { VRING_DESC_NEXT = 1, VRING_DESC_WRITE = 2, VRING_DESC_INDIRECT = 4 };

struct vring_desc { /* §2.7.5 */
    le64 addr;
    le32 len;
    le16 flags, next;
};

/* Appends a descriptor's buffer to a chain; false: the queue broke. */
bool vq_add_piece(struct virtqueue *vq, struct vq_chain *c, struct iovec *iov,
                  const struct vring_desc *d);
/* The table an indirect descriptor points to and its number of entries, or
 * NULL: the queue broke. */
const struct vring_desc *vq_indirect_table(struct virtqueue *vq,
                                           const struct vring_desc *d,
                                           unsigned *n);

/* split.c, packed.c: the verbs of queue.h on each ring. */
bool split_available(struct virtqueue *vq);
enum vq_got split_pop(struct virtqueue *vq, struct vq_chain *c,
                      struct iovec *iov, int max);
bool split_pop_head(struct virtqueue *vq, uint16_t *head);
void split_undo(struct virtqueue *vq);
void split_push(struct virtqueue *vq, const struct vq_chain *c, uint32_t len);
void split_flush(struct virtqueue *vq);
void split_kicks(struct virtqueue *vq, bool on);
bool split_irq_wanted(struct virtqueue *vq);

bool packed_available(struct virtqueue *vq);
enum vq_got packed_pop(struct virtqueue *vq, struct vq_chain *c,
                       struct iovec *iov, int max);
void packed_undo(struct virtqueue *vq, const struct vq_chain *c);
void packed_push(struct virtqueue *vq, const struct vq_chain *c, uint32_t len);
void packed_flush(struct virtqueue *vq);
void packed_kicks(struct virtqueue *vq, bool on);
bool packed_irq_wanted(struct virtqueue *vq);

#endif
