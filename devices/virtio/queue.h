/* SPDX-License-Identifier: MIT */
/* A virtqueue, split or packed, seen from the device (virtio 1.2 §2.6-2.8). */
#ifndef VIRTQUEUE_H
#define VIRTQUEUE_H

#include "devices/virtio/ring.h"

/* OFF → READY: checks size, alignment and that every ring lies in RAM. 0 or
 * -EINVAL. features: as negotiated. Under the device's lock. */
int vq_enable(struct virtqueue *vq, const struct ram *ram, uint64_t features);
/* Back to OFF with the power-on registers. */
void vq_reset(struct virtqueue *vq);
/* Where the next used entry goes, as vhost counts it, of a ring whose buffers
 * are used in order; and going on from there, with nothing popped or owed. */
uint32_t vq_position(const struct virtqueue *vq);
void vq_go_on(struct virtqueue *vq, uint32_t position);
/* Has a buffer of a fresh ring come back to the driver, whoever serves it? */
bool vq_any_used(const struct virtqueue *vq);
/* What was popped and not pushed is available again. */
void vq_rewind(struct virtqueue *vq);
/* What a queue remembers that has been rewound; and its service as the rows
 * say, which were just loaded. 0 or -EINVAL. */
extern const struct field vq_fields[];
int vq_loaded(struct virtqueue *vq, const struct ram *ram, uint64_t features);

/* Takes the next available chain, appending its pieces to iov[] (at most
 * `max` of them, readable ones first). VQ_EMPTY: nothing available;
 * VQ_FULL_IOV: more pieces than max, nothing taken; VQ_FAULT: malformed, the
 * queue is BROKEN now. The loop's thread of this queue only. */
enum vq_got vq_pop(struct virtqueue *vq, struct vq_chain *c, struct iovec *iov,
                   int max);
/* The same of a split ring for somebody else, who walks the chain: only its
 * head. False: none is there, or the queue is BROKEN. */
bool vq_pop_head(struct virtqueue *vq, uint16_t *head);
/* Gives the last popped, not yet pushed chain back to the ring. */
void vq_undo_pop(struct virtqueue *vq, const struct vq_chain *c);
/* Returns a chain with `len` bytes written. Not visible to the driver before
 * vq_flush, so that all buffers of one packet appear together. */
void vq_push(struct virtqueue *vq, const struct vq_chain *c, uint32_t len);
void vq_flush(struct virtqueue *vq);
/* Is anything available? Cheap. */
bool vq_more(struct virtqueue *vq);
/* Kicks wanted again; true: something became available meanwhile (the caller
 * goes on popping, kicks stay on or off as vq_kicks_off says next). */
bool vq_rearm(struct virtqueue *vq);
/* No kicks wanted: the caller is polling. */
void vq_kicks_off(struct virtqueue *vq);
/* After vq_flush: does the driver want an interrupt for what was pushed since
 * the last call? */
bool vq_irq_wanted(struct virtqueue *vq);

#endif
