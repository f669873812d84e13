/* SPDX-License-Identifier: MIT */
/* Interfaces, bridges, scripts and child processes of the host. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/use.h"
#include "host/iface.h"

static void name_copy(struct ifreq *ifr, const char *ifname)
{
    memset(ifr, 0, sizeof(*ifr));
    snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", ifname);
}

/* One ioctl on a throw-away socket. */
static int if_ioctl(unsigned long req, struct ifreq *ifr)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int r = ioctl(fd, req, ifr) < 0 ? -errno : 0;
    close(fd);
    return r;
}

int if_mtu(const char *ifname)
{
    struct ifreq ifr;
    name_copy(&ifr, ifname);
    int r = if_ioctl(SIOCGIFMTU, &ifr);
    return r < 0 ? r : ifr.ifr_mtu;
}

int if_set_mtu(const char *ifname, int mtu)
{
    struct ifreq ifr;
    name_copy(&ifr, ifname);
    ifr.ifr_mtu = mtu;
    return if_ioctl(SIOCSIFMTU, &ifr);
}

int if_is_up(const char *ifname)
{
    struct ifreq ifr;
    name_copy(&ifr, ifname);
    int r = if_ioctl(SIOCGIFFLAGS, &ifr);
    return r < 0 ? r : (ifr.ifr_flags & IFF_UP) != 0;
}

int if_set_up(const char *ifname, bool up)
{
    struct ifreq ifr;
    name_copy(&ifr, ifname);
    int r = if_ioctl(SIOCGIFFLAGS, &ifr);
    if (r < 0)
        return r;
    if (up)
        ifr.ifr_flags |= IFF_UP;
    else
        ifr.ifr_flags &= ~IFF_UP;
    return if_ioctl(SIOCSIFFLAGS, &ifr);
}

int if_set_bridge(const char *bridge, const char *ifname, bool member)
{
    struct ifreq ifr;
    name_copy(&ifr, bridge);
    ifr.ifr_ifindex = (int)if_nametoindex(ifname);
    if (!ifr.ifr_ifindex)
        return -ENODEV;
    return if_ioctl(member ? SIOCBRADDIF : SIOCBRDELIF, &ifr);
}

int if_raise_mac(const char *ifname)
{
    struct ifreq ifr;
    name_copy(&ifr, ifname);
    int r = if_ioctl(SIOCGIFHWADDR, &ifr);
    if (r < 0)
        return r;
    ifr.ifr_hwaddr.sa_data[0] = (char)0xfe;
    return if_ioctl(SIOCSIFHWADDR, &ifr);
}

bool can_net_admin(void)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    if (syscall(SYS_capget, &h, d) < 0)
        return false;
    return d[0].effective & (1u << CAP_NET_ADMIN);
}

/* All descriptors of this program are close-on-exec. The child has a session
 * of its own, so that Ctrl-C at the terminal is ours to handle, and default
 * signals. */
pid_t child_start(const char *const argv[], int in, int err, int keep)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    sigset_t none, all;
    pid_t pid;

    sigemptyset(&none);
    sigfillset(&all);
    sigdelset(&all, SIGKILL);
    sigdelset(&all, SIGSTOP);
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&at);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                      POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&at, &none);
    posix_spawnattr_setsigdefault(&at, &all);
    if (in < 0)
        posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    else
        posix_spawn_file_actions_adddup2(&fa, in, 0);
    if (err >= 0)
        posix_spawn_file_actions_adddup2(&fa, err, 2);
    if (keep >= 0) /* onto itself: clears close-on-exec (POSIX.1-2024) */
        posix_spawn_file_actions_adddup2(&fa, keep, keep);
    int r = posix_spawnp(&pid, argv[0], &fa, &at, (char **)argv, environ);
    posix_spawnattr_destroy(&at);
    posix_spawn_file_actions_destroy(&fa);
    return r ? -r : pid;
}

/* syscalls loop if child: wait4 */
int child_wait(pid_t pid)
{
    int st;
    while (waitpid(pid, &st, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

int script_up(const char *script, const char *ifname)
{
    const char *const argv[] = {script, ifname, NULL};
    pid_t pid = child_start(argv, -1, -1, -1);
    if (pid < 0)
        return fail(pid, "script %s: cannot run it: %s", script,
                    strerror(-pid));
    int st = child_wait(pid);
    if (st != 0)
        return fail(-EIO, "script %s %s: failed with status %d", script, ifname,
                    st);
    return 0;
}

/* The shell's read fails at end of file only: nobody ever writes. */
int script_watch(struct downscript *d, const char *script, const char *ifname)
{
    const char *const argv[] = {
        "/bin/sh", "-c",   "read -r _ || exec \"$0\" \"$1\" </dev/null",
        script,    ifname, NULL};
    int p[2];
    if (access(script, X_OK) < 0)
        return fail(-errno, "downscript %s: cannot run it: %s", script,
                    strerror(errno));
    if (pipe2(p, O_CLOEXEC) < 0)
        return fail(-errno, "pipe: %s", strerror(errno));
    pid_t pid = child_start(argv, p[0], -1, -1);
    close(p[0]);
    if (pid < 0) {
        close(p[1]);
        return fail(pid, "/bin/sh: cannot run it: %s", strerror(-pid));
    }
    thread_uses(USE_CHILD);
    d->pid = pid;
    d->fd = p[1];
    return 0;
}

void script_down(struct downscript *d)
{
    if (d->pid <= 0)
        return;
    close(d->fd);
    int st = child_wait(d->pid);
    if (st != 0)
        log_line("downscript failed with status %d", st);
    d->pid = 0;
}
