/* SPDX-License-Identifier: MIT */
/* Capture: what passes a netdev, into a pcap file. */
#ifndef NET_DUMP_H
#define NET_DUMP_H

#include "net/net.h"

/* -object filter-dump, and pcap= of a -netdev. */
struct dump;
extern const struct field dump_fields[];
/* First half: one as `o` (taken over) wants it, for a netdev that is checked.
 * 0 or -errno (said), nothing left then. */
int dump_new(struct opts *o, struct dump **out);
/* Second half, before a NIC takes the netdev: makes the file and wraps the
 * netdev's queues. What is made ends with the netdev. 0 or -errno (said). */
int dump_open(struct dump *d);
/* One that is not open. */
void dump_free(struct dump *d);

#endif
