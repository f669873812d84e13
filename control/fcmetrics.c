/* SPDX-License-Identifier: MIT */
/* Counters as Firecracker's JSON lines, for clients that read those.
 *
 * Theory of operation. A line is an object of groups ("net" of all cards, and
 * "net_ID" of each), a group an object of numbers: how much each has grown
 * since the line before. The table has what clients look at and this machine
 * counts; a key that is not there reads 0 to them.
 *
 * Nobody is waited for. A FIFO is open for reading, too, so that it needs no
 * reader and raises no signal; a line for which it has no room is lost, and
 * counted, and what it would have told is in the next one. The end of a line
 * that went in by half goes first the next time. */
#include "control/fcmetrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/use.h"
#include "control/metrics.h"

#define INTERVAL_NS 60000000000ull

/* Groups: what a class can be told shows which one its devices are in. */
enum { BLOCK, ENTROPY, NET, VSOCK, VCPU, GROUPS };
static const struct {
    char name[8], told[12];
    bool each; /* has a group for each thing, too */
} groups[GROUPS] = {
    [BLOCK] = {"block", "drive", true}, [ENTROPY] = {"entropy", "rng", 0},
    [NET] = {"net", "netdev", true},    [VSOCK] = {"vsock", "guest-cid", 0},
    [VCPU] = {"vcpu", "", false},
};

/* A key, and a counter; one of the same key in the next row is added to it. */
static const struct fcmetric {
    uint8_t group;
    char key[32], name[20];
} rows[] = {
    {BLOCK, "read_bytes", "read_bytes"},
    {BLOCK, "write_bytes", "written_bytes"},
    {BLOCK, "read_count", "reads"},
    {BLOCK, "write_count", "writes"},
    {BLOCK, "flush_count", "flushes"},
    {BLOCK, "queue_event_count", "kicks"},
    {BLOCK, "execute_fails", "errors"},
    {BLOCK, "invalid_reqs_count", "unsupported"},
    {BLOCK, "rate_limiter_throttled_events", "limited"},
    {ENTROPY, "entropy_event_count", "requests"},
    {ENTROPY, "entropy_bytes", "bytes"},
    {ENTROPY, "entropy_rate_limiter_throttled", "limited"},
    {NET, "rx_bytes_count", "rx_bytes"},
    {NET, "rx_packets_count", "rx_frames"},
    {NET, "rx_count", "rx_frames"},
    {NET, "rx_queue_event_count", "rx_kicks"},
    {NET, "rx_fails", "rx_drop_desc"},
    {NET, "rx_fails", "rx_drop_fit"},
    {NET, "no_rx_avail_buffer", "rx_drop_no_buffer"},
    {NET, "rx_rate_limiter_throttled", "rx_limited"},
    {NET, "tap_read_fails", "rx_drop_backend"},
    {NET, "tx_bytes_count", "tx_bytes"},
    {NET, "tx_packets_count", "tx_frames"},
    {NET, "tx_count", "tx_frames"},
    {NET, "tx_queue_event_count", "tx_kicks"},
    {NET, "tx_malformed_frames", "tx_drop_desc"},
    {NET, "tx_malformed_frames", "tx_drop_long"},
    {NET, "tx_malformed_frames", "tx_drop_short"},
    {NET, "tx_malformed_frames", "tx_drop_offload"},
    {NET, "tx_fails", "tx_drop_backend"},
    {NET, "tap_write_fails", "tx_drop_backend"},
    {NET, "tx_rate_limiter_throttled", "tx_limited"},
    {VSOCK, "rx_bytes_count", "rx_bytes"},
    {VSOCK, "rx_packets_count", "rx_packets"},
    {VSOCK, "tx_bytes_count", "tx_bytes"},
    {VSOCK, "tx_packets_count", "tx_packets"},
    {VSOCK, "conns_added", "host_connects"},
    {VSOCK, "conns_added", "guest_connects"},
    {VSOCK, "conns_killed", "resets"},
    {VCPU, "exit_io_in", "exit_io_in"},
    {VCPU, "exit_io_out", "exit_io_out"},
    {VCPU, "exit_mmio_read", "exit_mmio_read"},
    {VCPU, "exit_mmio_write", "exit_mmio_write"},
};

/* What is counted, as it was, and as it was in the last line. */
struct thing {
    uint8_t group;
    const char *id, *back; /* back: of what it uses; NULL: nothing */
    uint64_t now[ARRAY_LEN(rows)], then[ARRAY_LEN(rows)];
};

static struct {
    struct tally t;
    struct machine *m; /* NULL: the guest has not run */
    struct timer timer;
    int fd;
    struct thing *thing;
    unsigned n;
    struct text rest; /* of a line that went in by half */
    uint64_t missed, missed_then;
    struct fault faults;
} lines = {.fd = -1};

/* ------------------------------------------------------------------- things */

static int fcmetrics_group(const struct device *d)
{
    for (int g = 0; d->cls && g < GROUPS; g++)
        if (*groups[g].told && fields_find(d->cls->fields, groups[g].told))
            return g;
    return GROUPS;
}

/* Devices neither come nor go while the guest runs. False: out of memory. */
static bool fcmetrics_list(struct machine *m)
{
    unsigned n = 1;
    for (const struct device *d = m->devices; d; d = d->next)
        n += fcmetrics_group(d) < GROUPS;
    lines.thing = calloc(n, sizeof(*lines.thing));
    if (!lines.thing)
        return false;
    lines.thing[0] = (struct thing){.group = VCPU, .id = ""};
    lines.n = 1;
    for (const struct device *d = m->devices; d; d = d->next) {
        int g = fcmetrics_group(d);
        if (g == GROUPS)
            continue;
        lines.thing[lines.n++] =
            (struct thing){.group = (uint8_t)g,
                           .id = d->id,
                           .back = opts_str(&d->opts, groups[g].told, NULL)};
    }
    return true;
}

static bool fcmetrics_is_of(const struct thing *t, const char *id)
{
    if (t->group == VCPU)
        return !strncmp(id, "vcpu", 4);
    return !strcmp(id, t->id) || (t->back && !strcmp(id, t->back));
}

static void fcmetrics_take(struct tally *tally, const struct count *c)
{
    (void)tally;
    for (struct thing *t = lines.thing; t < lines.thing + lines.n; t++)
        for (size_t i = 0; fcmetrics_is_of(t, c->id) && i < ARRAY_LEN(rows);
             i++)
            if (rows[i].group == t->group && !strcmp(rows[i].name, c->name))
                t->now[i] += c->val;
}

static void fcmetrics_look(void)
{
    for (unsigned i = 0; i < lines.n; i++)
        memset(lines.thing[i].now, 0, sizeof(lines.thing[i].now));
    metrics_count(lines.m, &lines.t);
}

/* --------------------------------------------------------------------- line */

/* By how much a row has grown: of one thing, or of the group's. */
static uint64_t fcmetrics_growth(const struct thing *one, size_t row)
{
    uint64_t sum = 0;
    for (const struct thing *t = lines.thing; t < lines.thing + lines.n; t++)
        if (t == one || (!one && t->group == rows[row].group))
            sum += t->now[row] - t->then[row];
    return sum;
}

static void fcmetrics_put(struct text *out, unsigned group,
                          const struct thing *one)
{
    const char *sep = "{";
    text_put(out, ",\"%s%s%s\":", groups[group].name, one ? "_" : "",
             one ? one->id : "");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t sum = 0;
        if (rows[i].group != group)
            continue;
        for (;; i++) {
            sum += fcmetrics_growth(one, i);
            if (i + 1 == ARRAY_LEN(rows) || rows[i + 1].group != group ||
                strcmp(rows[i + 1].key, rows[i].key) != 0)
                break;
        }
        text_put(out, "%s\"%s\":%llu", sep, rows[i].key,
                 (unsigned long long)sum);
        sep = ",";
    }
    text_put(out, "}");
}

static void fcmetrics_line(struct text *out)
{
    fcmetrics_look();
    text_put(out, "{\"utc_timestamp_ms\":%llu",
             (unsigned long long)(wall_ns() / 1000000));
    for (unsigned g = 0; g < GROUPS; g++) {
        bool any = false;
        for (unsigned i = 0; i < lines.n; i++)
            any |= lines.thing[i].group == g;
        if (any)
            fcmetrics_put(out, g, NULL);
        for (unsigned i = 0; groups[g].each && i < lines.n; i++)
            if (lines.thing[i].group == g)
                fcmetrics_put(out, g, &lines.thing[i]);
    }
    text_put(out, ",\"logger\":{\"missed_metrics_count\":%llu}}\n",
             (unsigned long long)(lines.missed - lines.missed_then));
}

/* What there is room for now. 0 or -errno.
 *
 * syscalls loop if fcmetrics: write */
static int fcmetrics_write(struct text *t)
{
    if (!t->n)
        return 0;
    ssize_t n = write(lines.fd, t->p, t->n);
    if (n < 0)
        return -errno;
    t->n -= (size_t)n;
    memmove(t->p, t->p + n, t->n);
    return 0;
}

int fcmetrics_flush(void)
{
    struct text out = {0};
    if (lines.fd < 0 || !lines.m)
        return 0;
    int err = fcmetrics_write(&lines.rest);
    if (!err && lines.rest.n)
        err = -EAGAIN;
    if (!err) {
        fcmetrics_line(&out);
        err = out.cut ? -ENOMEM : fcmetrics_write(&out);
    }
    if (err) {
        lines.missed++;
        text_free(&out);
        return fail(err, "metrics: a line is lost: %s",
                    err == -EAGAIN ? "the pipe is full" : strerror(-err));
    }
    text_free(&lines.rest);
    lines.rest = out;
    lines.missed_then = lines.missed;
    for (unsigned i = 0; i < lines.n; i++)
        memcpy(lines.thing[i].then, lines.thing[i].now,
               sizeof(lines.thing[i].now));
    return 0;
}

/* ------------------------------------------------------------ begin and end */

int fcmetrics_open(const char *path)
{
    struct stat st;
    if (lines.fd >= 0)
        return fail(-EBUSY, "metrics %s: there is a file for them already",
                    path);
    int fd = open(
        path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
        0644);
    if (fd < 0)
        return fail(-errno, "metrics %s: %s", path, strerror(errno));
    if (fstat(fd, &st) || !(S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode))) {
        close(fd);
        return fail(-EINVAL, "metrics %s: must be a regular file or a FIFO",
                    path);
    }
    thread_uses(USE_FCMETRICS);
    lines.fd = fd;
    return 0;
}

/* Once a minute, whatever comes of it; said once. */
static void fcmetrics_due(struct timer *t)
{
    char why[256] = "";
    log_catch(why, sizeof(why));
    int err = fcmetrics_flush();
    log_catch(NULL, 0);
    if (err)
        fault_note(&lines.faults, "%s", why);
    timer_arm(t, now_ns() + INTERVAL_NS);
}

void fcmetrics_begin(struct machine *m)
{
    if (lines.fd < 0 || lines.m || !fcmetrics_list(m))
        return;
    lines.m = m;
    lines.t.take = fcmetrics_take;
    timer_init(&lines.timer, m->loop, fcmetrics_due);
    fcmetrics_due(&lines.timer);
}

/* syscalls loop if fcmetrics: close */
void fcmetrics_end(void)
{
    if (lines.m) {
        fcmetrics_due(&lines.timer);
        timer_cancel(&lines.timer);
    }
    if (lines.fd >= 0)
        close(lines.fd);
    free(lines.thing);
    text_free(&lines.rest);
    memset(&lines, 0, sizeof(lines));
    lines.fd = -1;
}
