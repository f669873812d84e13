/* SPDX-License-Identifier: MIT */
/* The guest's command line, parsed once. */
#ifndef GUEST_OPTIONS_H
#define GUEST_OPTIONS_H

#include "lib.h"

struct options {
    u32 ip, mask, gw; /* network byte order */
    bool dhcp, ip_of_mac;
    bool quiet;
    bool sink;
    bool no_msix;
    bool rebar, rebar_high;
    u32 nic;

    const char *test; /* word in the command line, not NUL-terminated */
    u32 after_ms;
    const char *on; /* "up", "ping", "flood", "sink"; NULL: up */
    const char *reboot;

    u32 flood_size; /* frame bytes without FCS; 0: no flood */
    u64 flood_count;
    u32 flood_to; /* 0: broadcast */
    u32 flood_secs;
};

extern struct options opt;

void options_parse(const char *cmdline);

/* Is `ring3` one of the words? */
bool options_ring3(const char *cmdline);

/* Does the word at s (ended by NUL, space or comma) equal name? */
bool word_is(const char *s, const char *name);

#endif
