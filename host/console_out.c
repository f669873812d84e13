/* SPDX-License-Identifier: MIT */
/* A serial port's output: from the backlog to whoever reads it (console.c has
 * the theory). */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/field.h"
#include "base/use.h"
#include "host/console.h"
#include "host/console_state.h"

#define CHUNK 4096
#define STALL_NS 1000000000ull
#define RETRY_NS 1000000000ull /* of a file that takes nothing */

static const struct field count_fields[] = {
    COUNT("rx_bytes", struct counts, in, "bytes to the guest"),
    COUNT("tx_bytes", struct counts, out, "bytes of the guest's, written"),
    COUNT("tx_dropped", struct counts, dropped,
          "bytes of the guest's that nobody took in time"),
    {.name = ""},
};

static const struct field log_count_fields[] = {
    COUNT("log_bytes", struct counts, out, "bytes in logfile="),
    COUNT("log_dropped", struct counts, dropped,
          "bytes that are missing there"),
    {.name = ""},
};

static const struct field watch_count_fields[] = {
    COUNT("watch_bytes", struct counts, out, "bytes for vmm ctl serial"),
    COUNT("watch_dropped", struct counts, dropped,
          "bytes that one of these did not take in time"),
    {.name = ""},
};

/* --------------------------------------------------------------- streams */

void console_stream_set(struct stream *s, int fd, bool socket,
                        void (*ready)(struct event *ev, uint32_t got))
{
    if (socket)
        thread_uses(USE_CONSOLE_SOCKET);
    *s = (struct stream){
        .ev = {.fd = fd, .ready = ready},
        .socket = socket,
        .polled = true,
    };
}

void console_stream_wait(struct console *c, struct stream *s, uint32_t want)
{
    if (s->ev.fd < 0 || s->added)
        return;
    s->ev.want = want;
    if (s->polled && loop_add(c->loop, &s->ev) < 0)
        s->polled = false;
    s->added = s->polled;
    if (!s->polled) {
        s->ev.loop = c->loop;
        loop_again(&s->ev);
    }
}

void console_stream_pause(struct stream *s)
{
    loop_del(&s->ev);
    s->added = false;
}

void console_stream_close(struct stream *s)
{
    console_stream_pause(s);
    if (s->ev.fd >= 0)
        close(s->ev.fd);
    s->ev.fd = -1;
}

/* ---------------------------------------------------------------- output */

void console_say(struct console *c, const void *p, size_t n)
{
    if (backlog_put(&c->b, p, n))
        event_signal(c->wake.fd);
}

void console_put(struct console *c, uint8_t byte)
{
    console_say(c, &byte, 1);
    if (c->log)
        console_say(c->log, &byte, 1);
    if (atomic_load_explicit(&c->watched, memory_order_relaxed) &&
        backlog_put(&c->copies, &byte, 1))
        event_signal(c->wake.fd);
}

bool console_full(struct console *c)
{
    return backlog_over(&c->b, BACKLOG) || (c->log && console_full(c->log));
}

bool console_busy(struct console *c)
{
    return backlog_over(&c->b, BACKLOG / 4);
}

/* Whoever waited for room: either user may. */
void console_tell_drained(struct console *c)
{
    c->user.drained(c->user.owner);
    if (c->other.owner)
        c->other.drained(c->other.owner);
}

void console_count(struct console *c, const char *id, struct tally *t)
{
    struct counts n = backlog_counts(&c->b);
    fields_count(count_fields, &n, id, t);
    n = backlog_counts(&c->copies);
    if (n.out || n.dropped)
        fields_count(watch_count_fields, &n, id, t);
    if (!c->log)
        return;
    n = backlog_counts(&c->log->b);
    fields_count(log_count_fields, &n, id, t);
}

/* syscalls loop: write */
/* syscalls loop if console_socket: sendto recvfrom */
static ssize_t console_stream_write(struct stream *s, const void *p, size_t n)
{
    ssize_t got = s->socket ? send(s->ev.fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL)
                            : write(s->ev.fd, p, n);
    return got < 0 ? -errno : got;
}

void console_lose_reader(struct console *c)
{
    console_stream_close(&c->out);
    /* A socket's next reader wants the last 64 KiB. */
    bool was_held = backlog_left(&c->b, !c->peered);
    timer_cancel(&c->flush);
    timer_cancel(&c->stall);
    if (was_held)
        console_tell_drained(c);
}

static void console_lose_client(struct console *c)
{
    if (c->peered)
        peer_drop(&c->peer, "hung up");
    else
        console_lose_reader(c);
}

/* The guest does not wait for a disk. */
static void console_file_stuck(struct console *c, int err)
{
    uint64_t dropped = backlog_counts(&c->b).dropped;
    bool was_held = backlog_stall(&c->b);
    if (!c->lost_then) {
        c->lost_then = dropped + 1;
        fault_say(&c->trouble,
                  "%s: %s; the last 64 KiB of what the guest says are kept",
                  c->label, strerror(-err));
    }
    timer_arm(&c->flush, now_ns() + RETRY_NS);
    if (was_held)
        console_tell_drained(c);
}

static void console_file_flows(struct console *c)
{
    uint64_t lost = backlog_counts(&c->b).dropped - (c->lost_then - 1);
    c->lost_then = 0;
    TRACE(SERIAL, "%s: takes bytes again", c->label);
    if (lost)
        fault_say(&c->trouble, "%s: goes on; %llu bytes are missing there",
                  c->label, (unsigned long long)lost);
}

int console_drain(struct console *c)
{
    uint8_t buf[CHUNK];
    uint64_t at;
    for (int i = 0; i < BACKLOG / CHUNK; i++) {
        unsigned n = backlog_peek(&c->b, buf, sizeof(buf), &at);
        if (!n)
            return 0;
        ssize_t got = console_stream_write(&c->out, buf, n);
        if (got == -EINTR)
            continue;
        if (got < 0)
            return (int)got;
        if (backlog_taken(&c->b, at + (uint64_t)got, (uint64_t)got))
            console_tell_drained(c);
        if (got < (ssize_t)n)
            return -EAGAIN;
    }
    return -EINPROGRESS; /* more has come meanwhile */
}

void console_flush(struct console *c)
{
    if (c->out.ev.fd < 0)
        return;
    int err = console_drain(c);
    if (err != -EAGAIN) {
        console_stream_pause(&c->out);
        timer_cancel(&c->stall);
    }
    if (err == -EAGAIN) {
        console_stream_wait(c, &c->out, EPOLLOUT);
        timer_arm(&c->stall, now_ns() + STALL_NS);
    } else if (err == -EINPROGRESS) {
        timer_arm(&c->flush, now_ns());
    } else if (err && c->end.regular) {
        console_file_stuck(c, err);
    } else if (err) {
        console_lose_client(c);
    } else if (c->lost_then) {
        console_file_flows(c);
    }
}

/* To each as much as it takes; the guest waits for none of them. */
void console_show_due(struct timer *t)
{
    struct console *c = container_of(t, struct console, show);
    uint8_t buf[CHUNK];
    uint64_t at, lost = 0;
    unsigned n = 0;
    for (int i = 0; i < BACKLOG / CHUNK; i++) {
        n = backlog_peek(&c->copies, buf, sizeof(buf), &at);
        if (!n)
            break;
        for (struct watcher *w = c->watchers; w; w = w->next)
            lost += w->shows(w, buf, n);
        backlog_taken(&c->copies, at + n, n);
    }
    backlog_lost(&c->copies, lost);
    if (n)
        timer_arm(&c->show, now_ns());
}

void console_flush_due(struct timer *t)
{
    console_flush(container_of(t, struct console, flush));
}

void console_out_ready(struct event *ev, uint32_t got)
{
    (void)got;
    console_flush(container_of(ev, struct console, out.ev));
}

/* Nothing was taken for STALL_NS: the guest shall not wait any more. */
void console_stall_due(struct timer *t)
{
    struct console *c = container_of(t, struct console, stall);
    if (backlog_stall(&c->b))
        console_tell_drained(c);
}
