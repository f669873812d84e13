/* SPDX-License-Identifier: MIT */
/* The helper's own side: what it is asked, in words of fixed form, by a process
 * that may be an attacker's (host/helper.h is the asker's side). */
#ifndef HOST_HELP_H
#define HOST_HELP_H

#include <limits.h>
#include <net/if.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/addr.h"

#define HELP_WAYS_MAX 64 /* what can be connected to; numbers from 1 on */
#define HELP_DIRS_MAX 16
#define HELP_TAPS_MAX 16

/* What is connected to: a program that is started anew each time, with a socket
 * whose number its last argument ends with, or an address. */
struct help_way {
    const char *const *argv; /* NULL: an address */
    char *path;              /* of the program; NULL: was not found */
    bool listens;            /* it accepts a connection from that socket */
    struct addr addr;
    bool ports; /* of many sockets: the path, "_" and a number */
    /* the helper's own */
    int lent; /* HELP_LEND's: it is connected; 0: a new stream's socket is */
    pid_t pid;
    int64_t since; /* ms, when it was started */
};

/* Fixed at the fork. */
struct help {
    struct help_way way[HELP_WAYS_MAX];
    unsigned nway;
    bool own;               /* as this process, not as the asker's user */
    int dir[HELP_DIRS_MAX]; /* O_PATH: files below may be opened */
    unsigned ndir;
    const char *tap[HELP_TAPS_MAX]; /* names that may be opened; PREFIX* */
    unsigned ntap;
    bool succeeded; /* another program may take over (host/successor.h) */
    bool waits;     /* the asker is one, and has not: until HELP_MINE */
    int log_dir;    /* the same: of the log, */
    char *log_name; /* which is opened anew; NULL: there is none */
    /* Whom the asker becomes: files are opened as that user, and nothing is
     * run that it could write. */
    uid_t uid;
    gid_t gid;
};

/* `what` is a way or a directory, `text` the rest of the message, without
 * NUL. */
enum help_op {
    HELP_CONNECT = 1, /* answered, with a socket, and a program's stderr; or
                       * without, where the socket was lent */
    HELP_OPEN,        /* the file `text` below a directory: answered, with it */
    HELP_CREATE,      /* a new file of that name: answered, with it and a
                       * socket; a byte there gives it the name, which is
                       * answered by an int32_t, 0 or -errno; closed without,
                       * there is no such file */
    HELP_LOG,         /* the log anew: answered, with it */
    HELP_TAP,         /* a queue of ifname: answered, with it; what: 1: one of
                         several */
    HELP_UPGRADE,     /* start the program `text` below the -upgrade DIR to take
                       * over: answered, with a socket to it; one at a time */
    HELP_GIVE_UP,     /* end it, unless it has taken over; without answer */
    HELP_MINE,        /* the asker has: without it, nothing is to be done when
                       * it is no more; without answer */
    /* To be done when the asker is no more; without answer, and no more taken
     * after HELP_SEAL. */
    HELP_SCRIPT,  /* run `text` with ifname */
    HELP_LEAVE,   /* take ifname out of the bridge `text` */
    HELP_LOWER,   /* ifname down */
    HELP_UNLINK,  /* remove the socket `text` */
    HELP_PIDFILE, /* and the file `text`, unless another process has locked it
                   */
    HELP_SEAL,
    HELP_LEND, /* before that: a way's socket comes along, for HELP_CONNECT */
    HELP_OPS
};
struct help_ask {
    uint16_t op, what;
    uint32_t tag;   /* the answer's */
    uint32_t write; /* HELP_OPEN: else only read; HELP_TAP: with headers */
    uint32_t port;  /* HELP_CONNECT of a way with ports */
    uint32_t other; /* HELP_CREATE: the directory of the second file */
    uint32_t first; /* and how much of the text is the first one's path */
    char ifname[IFNAMSIZ];
    char text[PATH_MAX];
};
#define HELP_ASK_MIN offsetof(struct help_ask, text)

struct help_answer {
    uint32_t tag;   /* 0: all is done, as the asker is no more */
    int32_t err;    /* 0 or -errno */
    uint32_t which; /* HELP_CREATE: the file that `err` is about */
};
#define HELP_FDS 3 /* with an answer, at most */

/* HELP_CREATE: what the files' maker answers to the word that names them. */
struct help_named {
    int32_t err;
    uint32_t which;
};

bool help_allows_tap(const struct help *h, const char *ifname);
/* Serves `sock` until its other end is closed, does what is to be done then,
 * and ends the process: one that was forked for it. */
_Noreturn void help_main(struct help *h, int sock);

#endif
