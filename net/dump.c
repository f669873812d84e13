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

#include "base/iov.h"
#include "base/use.h"
#include "net/net.h"

struct dump {
    struct opts opts; /* what it was told */
    const char *id, *netdev;
    struct netbe be[NET_QUEUES_MAX], *in[NET_QUEUES_MAX];
    void (*close)(struct netdev *nd);
    struct netdev *nd;
    struct dump *under; /* captures of one netdev may be piled up */
    const char *file;
    uint32_t maxlen;
    _Atomic uint8_t on;
    pthread_mutex_t lock;
    int fd;        /* -1: ended */
    uint8_t *rest; /* of a record that a pipe took in part */
    size_t restpos, restend, restcap;
    uint64_t records;
    struct fault f_full;
    struct netdev_counts counts;
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

/* syscalls loop pair if capture: close */
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
        ssize_t put =
            write(d->fd, d->rest + d->restpos, d->restend - d->restpos);
        if (put > 0)
            d->restpos += (size_t)put;
        if (put < 0 && errno != EAGAIN) /* disk full in mid-record */
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

/* syscalls loop pair if capture: write writev */
static void dump_write(struct dump *d, const struct iovec *iov, int n)
{
    bool free = dump_flush(d);
    if (d->fd < 0) {
        __atomic_fetch_add(&d->f_full.count, 1, __ATOMIC_RELAXED);
        return;
    }
    ssize_t sent = free ? writev(d->fd, iov, n) : -1;
    if (!free || (sent < 0 && errno == EAGAIN)) {
        dump_missed(d);
    } else if (sent < 0) {
        dump_stop(d, strerror(errno));
    } else {
        d->records++;
        d->restpos = 0;
        d->restend = iov_read(iov, n, (size_t)sent, d->rest, d->restcap);
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
    if (k <= 0 || len <= NET_HDR_LEN || !d->on)
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
    ssize_t sent = in->send(in, iov, n);
    if (sent > 0)
        dump_packet(d, iov, n, (size_t)sent);
    return sent;
}

static ssize_t dump_recv(struct netbe *be, const struct iovec *iov, int n)
{
    struct netbe *in;
    struct dump *d = dump_of(be, &in);
    ssize_t got = in->recv(in, iov, n);
    if (got > 0)
        dump_packet(d, iov, n, (size_t)got);
    return got;
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
    dump_free(d);
    nd->close(nd);
}

int dump_switch(const char *id, bool on)
{
    int err = -ENOENT;
    for (struct dump *d = dumps; d; d = d->under)
        if (!strcmp(d->nd->id, id) || (d->id && !strcmp(d->id, id))) {
            d->on = on;
            err = 0;
        }
    return err;
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
    ssize_t sent = write(fd, &h, sizeof(h));
    if (sent == (ssize_t)sizeof(h))
        return fd;
    int err = sent < 0 ? errno : ENOSPC;
    close(fd);
    return fail(-err, "capture file %s: %s", file, strerror(err));
}

const struct field dump_fields[] = {
    FIELD(TEXT, "id", struct dump, id, .arg = "ID", .help = "its name"),
    FIELD(TEXT, "netdev", struct dump, netdev, .arg = "ID",
          .help = "whose frames"),
    FIELD(TEXT, "file", struct dump, file, .arg = "FILE", .help = "to where"),
    FIELD(SIZE, "maxlen", struct dump, maxlen, .min = 14, .max = 262144,
          .def = 65536, .help = "bytes kept of each frame"),
    FIELD(FLAG, "status", struct dump, on, .def = ON,
          .help = "off: it begins when it is switched on"),
    COUNT("pcap_records", struct dump, records, "frames captured"),
    COUNT("pcap_missed", struct dump, f_full, "frames left out of a capture"),
    {.help = NULL},
};

/* Could the file be made? */
static int dump_check_file(const char *what, const char *file)
{
    char dir[4096];
    const char *slash = strrchr(file, '/');
    struct stat st;
    int n = slash ? (int)(slash - file) : 0;
    snprintf(dir, sizeof(dir), "%.*s", n ? n : 1, slash ? file : ".");
    bool there = stat(file, &st) == 0;
    if (there && S_ISDIR(st.st_mode))
        return fail(-EISDIR, "%s: file=%s: is a directory", what, file);
    if (access(there ? file : dir, W_OK) < 0)
        return fail(-errno, "%s: file=%s: %s", what, file, strerror(errno));
    return 0;
}

static int dump_check(struct dump *d)
{
    const char *what = d->opts.what;
    if (!d->netdev || !d->file || !*d->file)
        return fail(-EINVAL, "%s: netdev= and file= are needed", what);
    d->nd = netdev_find(d->netdev);
    if (!d->nd)
        return fail(-EINVAL, "%s: no netdev %s", what, d->netdev);
    if (d->nd->vhost == VHOST_USER)
        return fail(-EINVAL,
                    "%s: the frames of %s never pass through this process "
                    "(vhost-user); capture in the back-end",
                    what, d->netdev);
    return dump_check_file(what, d->file);
}

int dump_new(struct opts *o, struct dump **out)
{
    struct dump *d = calloc(1, sizeof(*d));
    if (!d) {
        opts_free(o);
        return fail(-ENOMEM, "capture: out of memory");
    }
    d->opts = opts_taken(o);
    int err = fields_read(dump_fields, d, &d->opts);
    if (!err)
        err = dump_check(d);
    if (err)
        dump_free(d);
    else
        *out = d;
    return err;
}

void dump_free(struct dump *d)
{
    opts_free(&d->opts);
    free(d->rest);
    free(d);
}

int dump_open(struct dump *d)
{
    struct netdev *nd = d->nd;
    thread_uses(USE_CAPTURE);
    d->restcap = sizeof(struct pcap_record) + NET_FRAME_MAX;
    d->rest = malloc(d->restcap);
    d->fd = d->rest ? dump_open_file(d->file, d->maxlen) : -ENOMEM;
    if (d->fd < 0)
        return d->fd;
    if (nd->vhost == VHOST_KERNEL)
        log_line("%s: captured, so vhost is off", nd->id);
    nd->vhost = VHOST_NONE;
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
    netdev_count(nd, &d->counts, dump_fields, d);
    return 0;
}
