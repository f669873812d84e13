/* SPDX-License-Identifier: MIT */
/* Interfaces and bridges of the host. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/use.h"
#include "host/iface.h"

static void if_name_copy(struct ifreq *ifr, const char *ifname)
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
    int err = ioctl(fd, req, ifr) < 0 ? -errno : 0;
    close(fd);
    return err;
}

int if_mtu(const char *ifname)
{
    struct ifreq ifr;
    if_name_copy(&ifr, ifname);
    int err = if_ioctl(SIOCGIFMTU, &ifr);
    return err < 0 ? err : ifr.ifr_mtu;
}

int if_set_mtu(const char *ifname, int mtu)
{
    struct ifreq ifr;
    if_name_copy(&ifr, ifname);
    ifr.ifr_mtu = mtu;
    return if_ioctl(SIOCSIFMTU, &ifr);
}

int if_is_up(const char *ifname)
{
    struct ifreq ifr;
    if_name_copy(&ifr, ifname);
    int err = if_ioctl(SIOCGIFFLAGS, &ifr);
    return err < 0 ? err : (ifr.ifr_flags & IFF_UP) != 0;
}

int if_set_up(const char *ifname, bool up)
{
    struct ifreq ifr;
    if_name_copy(&ifr, ifname);
    int err = if_ioctl(SIOCGIFFLAGS, &ifr);
    if (err < 0)
        return err;
    if (up)
        ifr.ifr_flags |= IFF_UP;
    else
        ifr.ifr_flags &= ~IFF_UP;
    return if_ioctl(SIOCSIFFLAGS, &ifr);
}

int if_set_bridge(const char *bridge, const char *ifname, bool member)
{
    struct ifreq ifr;
    if_name_copy(&ifr, bridge);
    ifr.ifr_ifindex = (int)if_nametoindex(ifname);
    if (!ifr.ifr_ifindex)
        return -ENODEV;
    return if_ioctl(member ? SIOCBRADDIF : SIOCBRDELIF, &ifr);
}

int if_raise_mac(const char *ifname)
{
    struct ifreq ifr;
    if_name_copy(&ifr, ifname);
    int err = if_ioctl(SIOCGIFHWADDR, &ifr);
    if (err < 0)
        return err;
    ifr.ifr_hwaddr.sa_data[0] = (char)0xfe;
    return if_ioctl(SIOCSIFHWADDR, &ifr);
}

int if_open_tap(const char *ifname, unsigned flags)
{
    struct ifreq ifr;
    int err = if_mtu(ifname); /* who may makes one by opening it */
    int fd =
        err < 0 ? err : open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err < 0 ? err : -errno;
    if_name_copy(&ifr, ifname);
    ifr.ifr_flags = (short)flags;
    if (ioctl(fd, TUNSETIFF, &ifr) == 0)
        return fd;
    err = -errno;
    close(fd);
    return err;
}

int if_try_tap(const char *ifname)
{
    struct ifreq ifr;
    if (strlen(ifname) >= sizeof(ifr.ifr_name))
        return -ENAMETOOLONG;
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if_name_copy(&ifr, ifname);
    ifr.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    int err = ioctl(fd, TUNSETIFF, &ifr) < 0 ? -errno : 0;
    close(fd);
    /* One that was made otherwise, with several queues, or is a macvtap: who
     * opens it knows how. */
    return err == -EINVAL ? 0 : err;
}

bool can_net_admin(void)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    if (syscall(SYS_capget, &h, d) < 0)
        return false;
    return d[0].effective & (1u << CAP_NET_ADMIN);
}
