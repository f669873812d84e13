/* SPDX-License-Identifier: MIT */
/* Counting what a piece of work costs: see cost.c. */
#ifndef COST_H
#define COST_H

#include <stdint.h>

/* A piece of work: does `per` things, and has cost_on() and cost_off() around
 * each stretch that belongs to the VMM. What is outside, the guest's and the
 * network's part of it, is not counted. */
typedef void cost_work(void *arg);

/* Measures it and names the row; the figures are of one of the `per` things.
 * Names are what the committed table is compared by. */
void cost_row(const char *name, unsigned per, cost_work *work, void *arg);
void cost_on(void);
void cost_off(void);

/* A turn of the machine's loop as loop_run makes it, counted. Something must
 * be there to do: a row in which the loop would sleep fails. */
struct machine;
void cost_turn(struct machine *m);

/* The rows, by file. */
void cost_bus(void);
void cost_exit(void);
void cost_vq(void);
void cost_virtio_net(void);
void cost_e1000(void);
void cost_virtio_blk(void);

#endif
