/* SPDX-License-Identifier: MIT */
/* The program that goes on with this one's guest: -upgrade. All but
 * successor_allow() and successor_argv() by the helper. */
#ifndef SUCCESSOR_H
#define SUCCESSOR_H

#include <sys/types.h>

/* How it is told that it is one: its first argument, and what is open. */
#define SUCCESSOR_WORD "-takes-over"
enum {
    SUCCESSOR_SOCK = 3, /* to who hands over */
    SUCCESSOR_TOOK = 4, /* to the helper: a byte says that it has */
    SUCCESSOR_FDS = 5
};

/* First in main(): what else it is started with. */
void successor_argv(char **argv);
/* -upgrade DIR: programs lie below it. 0 or -EINVAL (said). */
int successor_allow(const char *dir);
/* What is held open for it, for who closes all others; or -1. */
int successor_fd(void);
void successor_end(void);

/* The program `path` below DIR, which that user cannot write, nor exchange: an
 * executable for this processor. -errno. It may take its time. */
int successor_open(const char *path, uid_t uid, gid_t gid);
/* Becomes it, in a child of the helper's. Gives -errno. */
int successor_exec(int program, int sock, int took);

#endif
