/* SPDX-License-Identifier: MIT */
/* All counters of a machine, in the forms that others read. */
#ifndef METRICS_H
#define METRICS_H

#include "base/text.h"
#include "machine/machine.h"

/* Of the machine, its devices and its netdevs. Main loop's thread. */
void metrics_count(struct machine *m, struct tally *t);
/* {"net0": {"rx_frames": 5, …}, …} */
void metrics_json(struct machine *m, struct text *out);
/* Prometheus's text format, version 0.0.4: vmm_rx_frames_total{id="net0"} 5,
 * with `name`, the machine's, as a label where it has one; numbers with blanks
 * before them take `width` bytes. */
void metrics_prometheus(struct machine *m, struct text *out, int width);

#endif
