/* SPDX-License-Identifier: MIT */
/* The host's side of an assigned device: which group it is in, whether it can
 * be had, guest memory mapped for its DMA, its regions and interrupts.
 *
 * Documentation/driver-api/vfio.rst in order: the device's IOMMU group
 * (/dev/vfio/N) goes into a container (/dev/vfio/vfio), the container gets the
 * memory map, the group gives the device's descriptor. All devices of the
 * machine share one container. Groups and the container stay open to the end:
 * when their last descriptor goes, the kernel undoes the rest. */
#include "devices/vfio/state.h"
#include "base/use.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define PAGE 4096ull
#define SYSFS "/sys/bus/pci/devices/"

static int container = -1;
static struct group {
    int number, fd;
} groups[PCI_SLOTS];
static unsigned ngroups;

bool vfio_parse_bdf(const char *text, char out[VFIO_BDF_LEN])
{
    static const char shape[] = "xxxx:xx:xx.x";
    size_t n = strlen(text), skip = n == 7 ? 5 : 0;
    if (n + skip != VFIO_BDF_LEN - 1)
        return false;
    memcpy(out, "0000:", 5);
    for (size_t i = 0; i <= n; i++) {
        char c = (char)tolower((unsigned char)text[i]);
        if (shape[skip + i] == 'x' ? !isxdigit((unsigned char)c)
                                   : c != shape[skip + i])
            return false;
        out[skip + i] = c;
    }
    return true;
}

/* -------------------------------------------------------- what sysfs says */

/* The last part of where a link in sysfs leads; false where there is none. */
static bool vfio_link_name(const char *path, char out[64])
{
    char to[512];
    ssize_t n = readlink(path, to, sizeof(to) - 1);
    if (n < 0)
        return false;
    to[n] = 0;
    const char *slash = strrchr(to, '/');
    snprintf(out, 64, "%.63s", slash ? slash + 1 : to);
    return true;
}

static bool vfio_driver_of(const char *bdf, char out[64])
{
    char path[128];
    snprintf(path, sizeof(path), SYSFS "%.32s/driver", bdf);
    return vfio_link_name(path, out);
}

/* vfio-pci, or a variant of it (mlx5_vfio_pci, …). */
static bool vfio_is_vfio(const char *driver)
{
    return strstr(driver, "vfio");
}

static int vfio_not_bound(const struct vfio *v, const char *driver)
{
    char unbind[128] = "";
    if (driver)
        snprintf(unbind, sizeof(unbind), "echo %s >drivers/%s/unbind; ",
                 v->host, driver);
    return fail(-ENODEV,
                "vfio-pci: host=%s %s%s, not vfio-pci; as root: modprobe "
                "vfio-pci; cd /sys/bus/pci; echo vfio-pci "
                ">devices/%s/driver_override; %secho %s >drivers_probe",
                v->host, driver ? "is bound to " : "has no driver",
                driver ? driver : "", v->host, unbind, v->host);
}

/* The number of the device's group, or -errno (said). */
static int vfio_find_group(const struct vfio *v)
{
    char path[128], name[64];
    snprintf(path, sizeof(path), SYSFS "%s", v->host);
    if (access(path, F_OK) < 0)
        return fail(-ENODEV,
                    "vfio-pci: host=%s: there is no such PCI device; lspci -D "
                    "lists them",
                    v->host);
    snprintf(path, sizeof(path), SYSFS "%s/iommu_group", v->host);
    if (!vfio_link_name(path, name))
        return fail(-ENODEV,
                    "vfio-pci: host=%s has no IOMMU; turn on VT-d or AMD-Vi in "
                    "the firmware, and intel_iommu=on for the host's kernel",
                    v->host);
    int number = atoi(name);
    if (!vfio_driver_of(v->host, name))
        return vfio_not_bound(v, NULL);
    return vfio_is_vfio(name) ? number : vfio_not_bound(v, name);
}

/* -EPERM, naming the devices of the group that the host still uses. */
static int vfio_not_viable(const struct vfio *v, int number)
{
    char path[64], driver[64], list[256] = "";
    snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/devices", number);
    DIR *dir = opendir(path);
    struct dirent *d;
    while (dir && (d = readdir(dir)))
        if (d->d_name[0] != '.' && vfio_driver_of(d->d_name, driver) &&
            !vfio_is_vfio(driver))
            snprintf(list + strlen(list), sizeof(list) - strlen(list),
                     " %.16s (%s)", d->d_name, driver);
    if (dir)
        closedir(dir);
    return fail(-EPERM,
                "vfio-pci: host=%s: IOMMU group %d is not viable: the host "
                "uses other devices of it, which must be bound to vfio-pci or "
                "to nothing:%s",
                v->host, number, list);
}

/* ---------------------------------------------------- container and group */

static int vfio_open_node(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    int err = -errno;
    const char *what = "";
    if (err == -EACCES || err == -EPERM)
        what = "; run as root, or give this user the file (chown)";
    else if (err == -ENOENT || err == -ENODEV)
        what = "; load the module: sudo modprobe vfio-pci";
    else if (err == -EBUSY)
        what = "; another process uses the device, or one of its group";
    return fail(err, "vfio-pci: %s: %s%s", path, strerror(-err), what);
}

static int vfio_open_container(void)
{
    int fd = vfio_open_node("/dev/vfio/vfio");
    if (fd < 0)
        return fd;
    if (ioctl(fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
        ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1) {
        close(fd);
        return fail(-ENODEV,
                    "vfio-pci: /dev/vfio/vfio: no type 1 v2 IOMMU; load the "
                    "module: sudo modprobe vfio_iommu_type1");
    }
    container = fd;
    return 0;
}

/* All of guest memory at the device's addresses, which are the guest's. The
 * kernel pins it, so a page must stay the device's: a child that is forked
 * later gets none of it, or copy-on-write could move it. */
static int vfio_map_ram(const struct vfio *v, const struct ram *ram)
{
    for (int i = 0; i < ram->n; i++) {
        const struct ram_region *r = &ram->region[i];
        struct vfio_iommu_type1_dma_map d = {
            .argsz = sizeof(d),
            .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
            .vaddr = (uint64_t)(uintptr_t)r->hva,
            .iova = r->gpa,
            .size = r->size};
        struct rlimit lim = {0};
        unsigned long long mb = r->size >> 20;
        madvise(r->hva, r->size, MADV_DONTFORK);
        if (ioctl(container, VFIO_IOMMU_MAP_DMA, &d) == 0)
            continue;
        int err = -errno;
        getrlimit(RLIMIT_MEMLOCK, &lim);
        if (err == -ENOMEM && lim.rlim_cur != RLIM_INFINITY)
            return fail(err,
                        "vfio-pci: host=%s: the device needs all %llu MiB of "
                        "guest memory locked, RLIMIT_MEMLOCK is %llu KiB; "
                        "raise it (ulimit -l) or run as root",
                        v->host, mb, (unsigned long long)lim.rlim_cur >> 10);
        return fail(err, "vfio-pci: host=%s: mapping %llu MiB for DMA: %s",
                    v->host, mb, strerror(-err));
    }
    return 0;
}

static int vfio_join_container(const struct vfio *v, int fd, int number,
                               struct machine *m)
{
    struct vfio_group_status st = {.argsz = sizeof(st)};
    int err = container < 0 ? vfio_open_container() : 0;
    if (err)
        return err;
    if (ioctl(fd, VFIO_GROUP_GET_STATUS, &st) < 0)
        return fail(-errno, "vfio-pci: group %d: %s", number, strerror(errno));
    if (!(st.flags & VFIO_GROUP_FLAGS_VIABLE))
        return vfio_not_viable(v, number);
    if (ioctl(fd, VFIO_GROUP_SET_CONTAINER, &container) < 0)
        return fail(-errno, "vfio-pci: host=%s: joining the container: %s",
                    v->host, strerror(errno));
    if (ngroups)
        return 0; /* the kernel maps for this group what is mapped already */
    if (ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
        return fail(-errno, "vfio-pci: host=%s: VFIO_SET_IOMMU: %s%s", v->host,
                    strerror(errno),
                    errno == EPERM
                        ? "; the host cannot remap interrupts; if its guests "
                          "are trusted, load vfio_iommu_type1 with "
                          "allow_unsafe_interrupts=1"
                        : "");
    return vfio_map_ram(v, &m->ram);
}

/* The group's descriptor, from the first device in it on; or -errno (said). */
static int vfio_open_group(const struct vfio *v, struct machine *m)
{
    char path[32];
    int number = vfio_find_group(v);
    if (number < 0)
        return number;
    for (unsigned i = 0; i < ngroups; i++)
        if (groups[i].number == number)
            return groups[i].fd;
    if (ngroups == ARRAY_LEN(groups))
        return fail(-ENOSPC, "vfio-pci: at most %d groups", PCI_SLOTS);
    snprintf(path, sizeof(path), "/dev/vfio/%d", number);
    int fd = vfio_open_node(path);
    if (fd < 0)
        return fd;
    int err = vfio_join_container(v, fd, number, m);
    if (err) {
        close(fd);
        return err;
    }
    groups[ngroups++] = (struct group){.number = number, .fd = fd};
    return fd;
}

/* ----------------------------------------------------------------- regions */

static void vfio_add_area(struct vfio_region *r, uint64_t off, uint64_t size)
{
    if (r->nmap < VFIO_AREAS_MAX && off % PAGE == 0 && size % PAGE == 0 &&
        size && off < r->size && size <= r->size - off)
        r->map[r->nmap++] = (struct pci_map){.off = off, .size = size};
}

/* All of it, or the areas that a capability lists (vfio's "sparse mmap"). */
void vfio_region_areas(struct vfio_region *r, const void *info, size_t len)
{
    const struct vfio_region_info *i = info;
    const struct vfio_region_info_cap_sparse_mmap *s;
    uint32_t at = i->flags & VFIO_REGION_INFO_FLAG_CAPS ? i->cap_offset : 0;
    r->offset = i->offset;
    r->size = i->size;
    r->nmap = 0;
    if (!(i->flags & VFIO_REGION_INFO_FLAG_MMAP))
        return;
    for (; at && at + sizeof(*s) <= len; at = s->header.next) {
        s = (const void *)((const char *)info + at);
        if (s->header.id != VFIO_REGION_INFO_CAP_SPARSE_MMAP)
            continue;
        for (uint32_t k = 0; k < s->nr_areas; k++)
            if (at + sizeof(*s) + (k + 1) * sizeof(s->areas[0]) <= len)
                vfio_add_area(r, s->areas[k].offset, s->areas[k].size);
        return;
    }
    vfio_add_area(r, 0, r->size);
}

static int vfio_read_regions(struct vfio *v)
{
    uint64_t buf[512]; /* the capabilities of any region known */
    struct vfio_region_info *info = (struct vfio_region_info *)buf;
    for (unsigned i = 0; i <= VFIO_PCI_CONFIG_REGION_INDEX; i++) {
        memset(buf, 0, sizeof(buf));
        info->argsz = sizeof(buf);
        info->index = i;
        v->region[i].v = v;
        if (ioctl(v->fd, VFIO_DEVICE_GET_REGION_INFO, info) < 0)
            return fail(-errno, "vfio-pci: host=%s: region %u: %s", v->host, i,
                        strerror(errno));
        vfio_region_areas(&v->region[i], info, sizeof(buf));
    }
    return 0;
}

/* [lo, hi) of BAR i without the pages of holes h and on. */
static void vfio_map_around(struct vfio *v, unsigned i, uint64_t lo,
                            uint64_t hi, unsigned h)
{
    struct vfio_region *r = &v->region[i];
    for (; h < ARRAY_LEN(v->hole); h++) {
        const struct vfio_hole *hole = &v->hole[h];
        uint64_t from = hole->off & ~(PAGE - 1);
        uint64_t to = (hole->off + hole->len + PAGE - 1) & ~(PAGE - 1);
        if (!hole->len || hole->bar != i || to <= lo || from >= hi)
            continue;
        if (lo < from)
            vfio_map_around(v, i, lo, from, h + 1);
        lo = to;
    }
    if (lo >= hi || r->nmap == VFIO_AREAS_MAX)
        return;
    void *p = mmap(NULL, hi - lo, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
                   (off_t)(r->offset + lo));
    if (p != MAP_FAILED)
        r->map[r->nmap++] =
            (struct pci_map){.off = lo, .size = hi - lo, .hva = p};
}

void vfio_map_bar(struct vfio *v, unsigned i)
{
    struct vfio_region *r = &v->region[i];
    struct pci_map area[VFIO_AREAS_MAX];
    unsigned n = r->nmap;
    memcpy(area, r->map, sizeof(area));
    r->nmap = 0;
    for (unsigned k = 0; k < n; k++)
        vfio_map_around(v, i, area[k].off, area[k].off + area[k].size, 0);
}

/* ------------------------------------------------------------- the device */

/* syscalls loop vcpu if vfio: ioctl(VFIO_DEVICE_SET_IRQS), only the lab
 * has a device to assign */
int vfio_set_irqs(struct vfio *v, unsigned index, unsigned action, unsigned n,
                  const int *fds)
{
    struct {
        struct vfio_irq_set set;
        int32_t fd[PCI_MSIX_MAX];
    } a = {.set = {.argsz = (uint32_t)(sizeof(a.set) + n * sizeof(a.fd[0])),
                   .flags = action | (n ? VFIO_IRQ_SET_DATA_EVENTFD
                                        : VFIO_IRQ_SET_DATA_NONE),
                   .index = index,
                   .count = n}};
    assert(n <= PCI_MSIX_MAX);
    if (n)
        memcpy(a.fd, fds, n * sizeof(a.fd[0]));
    else if (action == VFIO_IRQ_SET_ACTION_UNMASK)
        a.set.count = 1; /* this one interrupt, now */
    int got = ioctl(v->fd, VFIO_DEVICE_SET_IRQS, &a);
    return got < 0 ? -errno : got;
}

/* syscalls loop vcpu if vfio: ioctl(VFIO_DEVICE_RESET), only the lab has
 * a device to assign */
void vfio_reset(struct vfio *v)
{
    if (v->can_reset && ioctl(v->fd, VFIO_DEVICE_RESET) < 0)
        fault_note(&v->f_io, "%s: VFIO_DEVICE_RESET: %s", v->dev.id,
                   strerror(errno));
}

int vfio_open(struct vfio *v, struct machine *m)
{
    struct vfio_device_info info = {.argsz = sizeof(info)};
    thread_uses(USE_VFIO);
    int group = vfio_open_group(v, m);
    if (group < 0)
        return group;
    v->fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, v->host);
    if (v->fd < 0)
        return fail(-errno, "vfio-pci: host=%s: %s%s", v->host, strerror(errno),
                    errno == EBUSY ? "; it is given twice" : "");
    fcntl(v->fd, F_SETFD, FD_CLOEXEC);
    if (ioctl(v->fd, VFIO_DEVICE_GET_INFO, &info) < 0 ||
        !(info.flags & VFIO_DEVICE_FLAGS_PCI))
        return fail(-ENODEV, "vfio-pci: host=%s: not a PCI device", v->host);
    v->can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
    if (!v->can_reset)
        log_line("warning: %s: the host cannot reset it; it keeps its state "
                 "when the guest restarts",
                 v->dev.id);
    return vfio_read_regions(v);
}

/* Its last descriptor: the kernel resets the device once more and stops its
 * DMA (vfio_pci_core_disable). */
void vfio_close(struct vfio *v)
{
    for (unsigned i = 0; i < PCI_BARS; i++)
        for (unsigned k = 0; k < v->region[i].nmap; k++)
            if (v->region[i].map[k].hva)
                munmap(v->region[i].map[k].hva, v->region[i].map[k].size);
    if (v->fd >= 0)
        close(v->fd);
    v->fd = -1;
}
