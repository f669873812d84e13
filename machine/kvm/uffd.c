/* SPDX-License-Identifier: MIT */
/* Guest memory whose pages another process serves.
 *
 * Theory of operation. A page that nobody has touched is a fault that the
 * kernel tells by a userfaultfd (userfaultfd(2)). That is made here, of all
 * memory, and handed to the process that has the pages, in the way that such
 * processes for Firecracker expect it: one message, in which JSON says where
 * the memory lies, and that carries the descriptor. Whoever touches a page
 * (a processor, a device, the kernel for one of them) waits until it is there.
 *
 * What is given back to the host is told as an event, without which the next
 * touch would bring the old page; the call that gives it back waits until the
 * event was read. Our own copy of the descriptor stays: with the last one of
 * them, pages that nobody serves would silently be zeroes. */
#include "machine/kvm/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096u

/* For faults in the kernel, which KVM's are, it takes a privilege, or the
 * device. */
static int uffd_new(void)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 || errno != EPERM)
        return fd < 0 ? -errno : fd;
    int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (dev < 0)
        return -EPERM;
    fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    int err = -errno;
    close(dev);
    return fd < 0 ? err : fd;
}

static int uffd_register(int fd, const struct ram *ram)
{
    struct uffdio_api api = {.api = UFFD_API,
                             .features = UFFD_FEATURE_EVENT_REMOVE};
    if (ioctl(fd, UFFDIO_API, &api) < 0)
        return -errno;
    for (int i = 0; i < ram->n; i++) {
        struct uffdio_register r = {
            .range = {.start = (uintptr_t)ram->region[i].hva,
                      .len = ram->region[i].size},
            .mode = UFFDIO_REGISTER_MODE_MISSING};
        if (ioctl(fd, UFFDIO_REGISTER, &r) < 0)
            return -errno;
    }
    return 0;
}

/* The page's size is bytes under both names: so is Firecracker's. */
static int uffd_send(int fd, const struct ram *ram, int peer)
{
    char text[RAM_REGIONS * 160 + 3];
    char room[CMSG_SPACE(sizeof(int))] = {0};
    size_t n = 0;
    for (int i = 0; i < ram->n; i++)
        n += (size_t)snprintf(
            text + n, sizeof(text) - n,
            "%c{\"base_host_virt_addr\":%llu,\"size\":%llu,\"offset\":%llu,"
            "\"page_size\":%u,\"page_size_kib\":%u}",
            i ? ',' : '[', (unsigned long long)(uintptr_t)ram->region[i].hva,
            (unsigned long long)ram->region[i].size,
            (unsigned long long)ram->region[i].offset, PAGE, PAGE);
    text[n++] = ']';
    struct iovec iov = {text, n};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = room,
                       .msg_controllen = sizeof(room)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    ssize_t sent = sendmsg(peer, &m, MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent == (ssize_t)n ? 0 : -EMSGSIZE;
}

int uffd_hand_over(struct ram *ram, int peer, const char *who)
{
    int fd = uffd_new();
    if (fd == -EPERM)
        return fail(fd,
                    "uffd=%s: userfaultfd: not allowed: it takes root, the "
                    "right to open /dev/userfaultfd, or "
                    "vm.unprivileged_userfaultfd=1",
                    who);
    int err = fd < 0 ? fd : uffd_register(fd, ram);
    if (err) {
        if (fd >= 0)
            close(fd);
        return fail(err, "uffd=%s: userfaultfd: %s", who, strerror(-err));
    }
    err = uffd_send(fd, ram, peer);
    if (err) {
        close(fd);
        return fail(err, "uffd=%s: cannot be told: %s", who, strerror(-err));
    }
    ram->served = true;
    return fd;
}
