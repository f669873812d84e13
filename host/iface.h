/* SPDX-License-Identifier: MIT */
/* The host's side of a backend: interfaces, bridges, scripts, children. */
#ifndef NET_HOST_H
#define NET_HOST_H

#include <stdbool.h>
#include <sys/types.h>

/* An interface's properties, by name; -errno (not said). */
int if_mtu(const char *ifname); /* bytes */
int if_set_mtu(const char *ifname, int mtu);
int if_is_up(const char *ifname); /* 1, 0 */
int if_set_up(const char *ifname, bool up);
int if_set_bridge(const char *bridge, const char *ifname, bool member);
/* First byte of the MAC to FE: a bridge takes the lowest MAC of its ports for
 * its own, and would change it with each VM that comes and goes. */
int if_raise_mac(const char *ifname);

bool can_net_admin(void); /* CAP_NET_ADMIN in effect */

/* Starts argv[0] with stdin on `in` (-1: /dev/null) and stderr on `err` (-1:
 * ours); other descriptors are closed on exec except `keep` (-1: none). Gives
 * the pid, or -errno. */
pid_t child_start(const char *const argv[], int in, int err, int keep);
/* Waits; exit status, 128 + signal, or -errno. */
int child_wait(pid_t pid);

/* An interface's down-script. It is run by a watcher process that waits for
 * this process to close a pipe, by script_down or by dying in any way. */
struct downscript {
    pid_t pid; /* 0: none */
    int fd;
};
/* Runs `script ifname`; 0, or -errno (said) when it cannot or fails. */
int script_up(const char *script, const char *ifname);
int script_watch(struct downscript *d, const char *script, const char *ifname);
void script_down(struct downscript *d);

#endif
