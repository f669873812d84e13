/* SPDX-License-Identifier: MIT */
/* The helper: a process beside this one that still reaches what the sandbox
 * takes away, for a list of purposes that is complete before the guest runs. */
#ifndef HOST_HELPER_H
#define HOST_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/addr.h"

struct loop;

/* All of it on the main thread. 0 or -errno; said, where it says so.
 *
 * First, while options are looked at: what it will be for. `who` ("passt of
 * n0") names that if it cannot be done later; it and argv stay the caller's.
 *
 * A program that is started anew for each connection, with a socket's number
 * behind its last argument (`listens`: of a socket that it accepts one from): a
 * number > 0 for helper_connect. One that cannot be found is an error only
 * then. Said. */
int helper_program(const char *who, const char *const argv[], bool listens);
/* An address that is connected to again and again. The same. */
int helper_address(const char *who, const struct addr *a);
/* UNIX sockets whose names are this one's path, "_" and a number: for
 * helper_connect_port. The same; -EINVAL where such a name would be too long.
 */
int helper_ports(const char *who, const struct addr *a);
/* There will be something to do at the end. */
void helper_need(void);
/* A script to run. Said. */
int helper_need_script(const char *script);
/* If it is a file that will be bound to. */
void helper_need_unlink(const struct addr *a);
/* Files below this directory may be opened: -allow-path. Said. */
int helper_allow(const char *dir);
/* TAP interfaces of this name, or PREFIX*, may be opened: -allow-tap. Said. */
int helper_allow_tap(const char *name);
/* Does this one lie there, where it really is, or is it such a directory? */
bool helper_allows(const char *path);
bool helper_allows_tap(const char *ifname);
/* They are opened as whoever starts this process could open them, not as whom
 * it becomes: all below those directories is in the hands of who takes this
 * process over. */
void helper_as_operator(void);

/* Another program may take over what this process does: -upgrade DIR. Said. */
int helper_upgrades(const char *dir);
/* The file that messages go to may be opened anew: -D. Said. */
int helper_log(const char *path);

/* Forks it, where any of these was called, before the machine is made. `uid`
 * and `gid`: whom this process will become. Said. */
int helper_begin(uid_t uid, gid_t gid);

/* Then, while things are opened, what is to be done when this process ends,
 * however it does. Said.
 *
 * Runs `script ifname`. */
int helper_script(const char *script, const char *ifname);
int helper_leave(const char *bridge, const char *ifname);
int helper_lower(const char *ifname);
int helper_unlink(const struct addr *a); /* where it is a file */
int helper_pidfile(const char *path);
/* The socket `fd`, for datagrams, is what helper_connect() connects to the
 * address `way`, each time anew. It stays the caller's, too. */
int helper_lend(int way, int fd);

/* The list is complete: from here on it takes this process for an attacker's.
 * Said. */
int helper_seal(void);
/* The loop that answers come to. Once. Said. */
int helper_watch(struct loop *l);

/* While it runs: one request, embedded in its owner. */
struct helper_ask {
    /* The answer, on the loop's thread: 0, with descriptors fd[0..3), which are
     * the callee's, -1 where there is none; or -errno, -EPIPE: the helper is
     * gone for good (said). */
    void (*done)(struct helper_ask *a, int err, const int fd[3]);
    uint32_t tag;   /* 0: not under way */
    unsigned which; /* helper_create: the file that an error is about */
    struct helper_ask *next;
};
/* fd[0] will be a socket that is connected, or connecting still; fd[1] what a
 * program writes to standard error; neither, where one was lent. -EPIPE: there
 * is no helper; -EAGAIN: it has enough to do. Not said; done() is not called
 * then. */
int helper_connect(struct helper_ask *a, int way);
int helper_connect_port(struct helper_ask *a, int way, uint32_t port);
/* fd[0] will be the file, below one of the directories that are allowed. The
 * same; -EACCES: below none. */
int helper_open(struct helper_ask *a, const char *path, bool write);
/* fd[0] and fd[1] will be two new files that have no name yet, below those
 * directories, fd[2] a socket by which they get them. The same; of the answers
 * -EEXIST: something that is no file has the name; -ENOTUNIQ: both are one. */
int helper_create(struct helper_ask *a, const char *const path[2]);
/* They are whole: they take the names, in the place of files that have them,
 * the first one first; or neither does. When the socket can be read
 * helper_named() says how that went: 0 or -errno, of file *which. Closed
 * without, the files are gone. */
int helper_name(int maker);
int helper_named(int maker, unsigned *which);
/* fd[0] will be a queue of a TAP that is there: the only one, or one of
 * several; with virtio headers or bare. The same; -EACCES: the name is not
 * allowed. */
int helper_tap(struct helper_ask *a, const char *ifname, bool headers,
               bool several);
/* fd[0] will be the log anew: its name may be another file's now. The same. */
int helper_reopen_log(struct helper_ask *a);
/* fd[0] will be a socket to a new process, of the program `path` below the
 * -upgrade DIR, which is to take over; its writer there is not waited for. The
 * same; -EACCES: the path is not below it, -EOPNOTSUPP: there is none. One at a
 * time: another is ended by that. */
int helper_upgrade(struct helper_ask *a, const char *path);
/* Ends it, if it has not taken over. */
void helper_give_up(void);
/* Of one that takes over: it has, so that what is to be done at the end is. */
void helper_mine(void);
/* done() will not be called. */
void helper_forget(struct helper_ask *a);
/* Before the loop runs: waits for done(). */
void helper_wait(struct helper_ask *a);

/* Has done what is to be done at the end, and waits for it; forgets what it was
 * for. Before interfaces go, and after pidfile_release(). Any time. */
void helper_end(void);

#endif
