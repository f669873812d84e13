/* SPDX-License-Identifier: MIT */
/* -qmp, -monitor, -mon: where QEMU's engines and users talk with a machine. */
#ifndef MONITOR_H
#define MONITOR_H

#include "base/json.h"
#include "control/plan.h"
#include "control/verbs.h"

/* What QEMU says of itself, whose interface this is: engines look for what
 * there was then. */
#define QEMU_VERSION "7.2.0"

#define MONITOR_FDS 16 /* that came and are not taken, of one */

/* One conversation, in QMP or in HMP. */
struct monitor {
    bool qmp;
    bool echo;        /* HMP: who types sees what */
    bool junk;        /* QMP: what comes is no message */
    bool cr;          /* HMP: the last byte was one */
    bool ready;       /* QMP: qmp_capabilities has been */
    bool asked;       /* an answer comes later */
    bool last;        /* it is over: nothing more is understood */
    struct text *out; /* what is said, in whole pieces; */
    void (*said)(struct monitor *m); /* then this sends them on */
    void *way;                       /* said()'s */
    struct text id;                  /* of the request that is being done */
    int fd[MONITOR_FDS];
    unsigned nfd;
    size_t from, n; /* in[from..n) is to be looked at */
    struct json_scan scan;
    struct monitor *next;
    char in[JSON_TEXT];
};

/* What all of them speak of. `who` is the one that asks. */
struct monitor_world {
    struct control ctl;
    const struct plan_classes *known;
};
extern struct monitor_world monitors;

/* Options: 0; 1: help is out; -EINVAL (said). */
int monitor_qmp(const char *arg);
int monitor_qmp_pretty(const char *arg);
int monitor_hmp(const char *arg);
int monitor_mon(const char *arg);
/* Looked at when all options are; then opened, and served from the loop's first
 * turn on. 0 or -errno (said). */
int monitor_check(void);
int monitor_begin(struct machine *m, const struct config *config,
                  const struct plan_classes *known);
void monitor_end(void);

/* qmp.c and hmp.c. What is first said. */
void qmp_greet(struct monitor *mo);
void hmp_greet(struct monitor *mo);
/* Takes up what has come; true: there may be more. */
bool qmp_next(struct monitor *mo);
bool hmp_next(struct monitor *mo);
/* What was asked is done. */
void qmp_done(struct monitor *mo, int err, const char *why);
void hmp_done(struct monitor *mo, int err, const char *why);
/* Tells one of it. */
void qmp_news(struct monitor *mo, const struct news *n);
/* Descriptors that came and were not used. */
void qmp_drop_fds(void);
/* A line of HMP; what it says goes to `out`. */
void hmp_line(const char *line, struct text *out);

/* Of mo->in: room for more, as http_room. */
char *monitor_room(struct monitor *mo, size_t *room);

#endif
