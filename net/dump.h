/* SPDX-License-Identifier: MIT */
/* Capture: what passes a netdev, into a pcap file. */
#ifndef NET_DUMP_H
#define NET_DUMP_H

#include "net/net.h"

/* Wraps nd's queues, before a NIC takes them: one file for all. maxlen: bytes
 * kept of each frame. 0 or -errno (said). */
int dump_attach(struct netdev *nd, const char *file, uint32_t maxlen);
/* -object filter-dump,id=,netdev=,file=,maxlen= (what follows "filter-dump") */
int dump_object(const char *text);

#endif
