/* SPDX-License-Identifier: MIT */
/* Capture: what passes a netdev, into a pcap file, both ways.
 *
 * The queues of the netdev are replaced by ones that call the old ones and
 * write a record. The virtio header is left out; a frame the kernel would
 * segment is recorded as it was sent, in one piece. A file that cannot take a
 * record costs the record, not the VM: a pipe is written without waiting, and
 * after an error the capture ends. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "net/dump.h"
#include "base/iov.h"

struct dump {
    struct netbe be[NET_QUEUES_MAX], *in[NET_QUEUES_MAX];
    void (*close)(struct netdev *nd);
    struct netdev *nd;
    struct dump *under; /* captures of one netdev may be piled up */
    char *file;
    uint32_t maxlen;
    pthread_mutex_t lock;
    int fd;        /* -1: ended */
    uint8_t *rest; /* of a record that a pipe took in part */
    size_t restpos, restend, restcap;
    uint64_t records;
    struct fault f_full;
    struct netdev_counts counts;
};

static const struct field dump_counters[] = {
    COUNT("pcap_records", struct dump, records, "frames captured"),
    COUNT("pcap_missed", struct dump, f_full, "frames left out of a capture"),
    {.help = NULL},
};

/* https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap */
struct pcap_file {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, sigfigs, snaplen, linktype;
};
struct pcap_record {
    uint32_t sec, usec, caplen, len;
};

static void dump_stop(struct dump *d, const char *why)
{
    log_line("%s: capture to %s ended: %s", d->nd->id, d->file, why);
    close(d->fd);
    d->fd = -1;
}

/* The rest of the last record first; true when it is out. */
static bool dump_flush(struct dump *d)
{
    if (d->fd >= 0 && d->restpos < d->restend) {
        ssize_t r = write(d->fd, d->rest + d->restpos, d->restend - d->restpos);
        if (r > 0)
            d->restpos += (size_t)r;
        if (r < 0 && errno != EAGAIN) /* a disk that filled up in mid-record */
            dump_stop(d, strerror(errno));
    }
    return d->restpos == d->restend;
}

static void dump_missed(struct dump *d)
{
    fault_note(&d->f_full,
               "%s: capture to %s: reader too slow, frames are left out",
               d->nd->id, d->file);
}

static void dump_write(struct dump *d, const struct iovec *iov, int n)
{
    bool free = dump_flush(d);
    if (d->fd < 0) {
        __atomic_fetch_add(&d->f_full.count, 1, __ATOMIC_RELAXED);
        return;
    }
    ssize_t r = free ? writev(d->fd, iov, n) : -1;
    if (!free || (r < 0 && errno == EAGAIN)) {
        dump_missed(d);
    } else if (r < 0) {
        dump_stop(d, strerror(errno));
    } else {
        d->records++;
        d->restpos = 0;
        d->restend = iov_read(iov, n, (size_t)r, d->rest, d->restcap);
    }
}

/* `len` bytes of packet, header first. */
static void dump_packet(struct dump *d, const struct iovec *iov, int n,
                        size_t len)
{
    struct iovec out[IOV_COUNT_MAX], tmp[IOV_COUNT_MAX];
    const struct iovec *in;
    struct timespec ts;
    int k = iov_skip(iov, n, NET_HDR_LEN, tmp, &in);
    if (k <= 0 || len <= NET_HDR_LEN)
        return;
    len -= NET_HDR_LEN;
    clock_gettime(CLOCK_REALTIME, &ts);
    struct pcap_record h = {.sec = (uint32_t)ts.tv_sec,
                            .usec = (uint32_t)(ts.tv_nsec / 1000),
                            .len = (uint32_t)len};
    h.caplen = h.len < d->maxlen ? h.len : d->maxlen;
    out[0] = (struct iovec){&h, sizeof(h)};
    size_t left = h.caplen;
    int m = 1;
    for (int i = 0; i < k && left && m < IOV_COUNT_MAX; i++, m++) {
        out[m] = in[i];
        if (out[m].iov_len > left)
            out[m].iov_len = left;
        left -= out[m].iov_len;
    }
    if (left)
        return;
    pthread_mutex_lock(&d->lock);
    dump_write(d, out, m);
    pthread_mutex_unlock(&d->lock);
}

static struct dump *dump_of(struct netbe *be, struct netbe **in)
{
    struct dump *d = be->priv;
    *in = d->in[be - d->be];
    return d;
}

static ssize_t dump_send(struct netbe *be, const struct iovec *iov, int n)
{
    struct netbe *in;
    struct dump *d = dump_of(be, &in);
    ssize_t r = in->send(in, iov, n);
    if (r > 0)
        dump_packet(d, iov, n, (size_t)r);
    return r;
}

static ssize_t dump_recv(struct netbe *be, const struct iovec *iov, int n)
{
    struct netbe *in;
    struct dump *d = dump_of(be, &in);
    ssize_t r = in->recv(in, iov, n);
    if (r > 0)
        dump_packet(d, iov, n, (size_t)r);
    return r;
}

static struct dump *dumps; /* found again by their netdev, at close */

static void dump_close(struct netdev *nd)
{
    struct dump **p = &dumps;
    while ((*p)->nd != nd)
        p = &(*p)->under;
    struct dump *d = *p;
    *p = d->under;
    for (unsigned i = 0; i < nd->nq; i++)
        nd->q[i] = d->in[i];
    if (d->fd >= 0) {
        dump_flush(d);
        close(d->fd);
    }
    nd->close = d->close;
    netdev_uncount(nd, &d->counts);
    pthread_mutex_destroy(&d->lock);
    free(d->rest);
    free(d->file);
    free(d);
    nd->close(nd);
}

/* A FIFO without a reader would block open(2); a regular file never blocks. */
static int dump_open_file(const char *file, uint32_t maxlen)
{
    struct pcap_file h = {.magic = 0xa1b2c3d4,
                          .major = 2,
                          .minor = 4,
                          .snaplen = maxlen,
                          .linktype = 1 /* Ethernet */};
    struct stat st;
    bool fifo = stat(file, &st) == 0 && S_ISFIFO(st.st_mode);
    int fd = open(file,
                  (fifo ? O_RDWR | O_NONBLOCK : O_WRONLY) | O_CREAT | O_TRUNC |
                      O_CLOEXEC,
                  0644);
    if (fd < 0)
        return fail(-errno, "capture file %s: %s", file, strerror(errno));
    if (write(fd, &h, sizeof(h)) == (ssize_t)sizeof(h))
        return fd;
    int err = errno;
    close(fd);
    return fail(-err, "capture file %s: %s", file, strerror(err));
}

int dump_attach(struct netdev *nd, const char *file, uint32_t maxlen)
{
    if (nd->taken)
        return fail(-EBUSY, "capture of %s: a NIC has it already", nd->id);
    if (nd->vhost == VHOST_USER)
        return fail(-EINVAL,
                    "capture of %s: its frames never pass through this "
                    "process (vhost-user); capture in the back-end",
                    nd->id);
    struct dump *d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    d->restcap = sizeof(struct pcap_record) + NET_FRAME_MAX;
    d->rest = malloc(d->restcap);
    d->file = strdup(file);
    d->fd = d->rest && d->file ? dump_open_file(file, maxlen) : -ENOMEM;
    if (d->fd < 0) {
        int r = d->fd;
        free(d->rest);
        free(d->file);
        free(d);
        return r;
    }
    if (nd->vhost == VHOST_KERNEL)
        log_line("%s: captured, so vhost is off", nd->id);
    nd->vhost = VHOST_NONE;
    d->maxlen = maxlen;
    d->nd = nd;
    pthread_mutex_init(&d->lock, NULL);
    for (unsigned i = 0; i < nd->nq; i++) {
        d->in[i] = nd->q[i];
        d->be[i] = (struct netbe){.dev = nd,
                                  .fd = nd->q[i]->fd,
                                  .send = dump_send,
                                  .recv = dump_recv,
                                  .priv = d};
        nd->q[i] = &d->be[i];
    }
    d->close = nd->close;
    nd->close = dump_close;
    d->under = dumps;
    dumps = d;
    netdev_count(nd, &d->counts, dump_counters, d);
    return 0;
}

int dump_object(const char *text)
{
    struct opts o;
    uint64_t maxlen = 65536;
    int r = opts_parse(&o, "-object filter-dump", text, NULL);
    if (r < 0)
        return r;
    opts_str(&o, "id", NULL);
    const char *id = opts_str(&o, "netdev", NULL);
    const char *file = opts_str(&o, "file", NULL);
    r = opts_size(&o, "maxlen", 1, &maxlen);
    if (r == 0)
        r = opts_done(&o);
    struct netdev *nd = r == 0 && id ? netdev_find(id) : NULL;
    if (r == 0 && (!id || !file))
        r = fail(-EINVAL, "-object filter-dump: netdev= and file= are needed");
    else if (r == 0 && !nd)
        r = fail(-ENODEV, "-object filter-dump: no netdev %s", id);
    else if (r == 0 && (maxlen < 14 || maxlen > 262144))
        r = fail(-EINVAL, "-object filter-dump: maxlen= must be 14 to 256K");
    if (r == 0)
        r = dump_attach(nd, file, (uint32_t)maxlen);
    opts_free(&o);
    return r;
}
