/* SPDX-License-Identifier: MIT */
/* QMP's events: what has happened to the machine, in QEMU's words. */
#include "control/qmp.h"

#include <unistd.h>

const struct qmp_event qmp_events[QMP_EVENTS] = {
    [NEWS_PAUSED] = {"STOP", NULL},
    [NEWS_RESUMED] = {"RESUME", NULL},
    [NEWS_BUTTON] = {"POWERDOWN", NULL},
    [NEWS_RESET] = {"RESET", "{guest:b,reason:s}"},
    [NEWS_END] = {"SHUTDOWN", "{guest:b,reason:s}"},
    [NEWS_PANICKED] = {"GUEST_PANICKED", "{action:s}"},
    [NEWS_TAKEN] = {"X_TAKEN_OVER", "{pid:i}"}, /* QEMU has none such */
    [NEWS_BALLOON] = {"BALLOON_CHANGE", "{actual:i}"},
    [NEWS_RX_FILTER] = {"NIC_RX_FILTER_CHANGED", "{name?:s,path:s}"},
};

/* QEMU's words (ShutdownCause). */
static const char *qmp_cause(const struct news *n)
{
    switch (n->why) {
    case STOP_POWEROFF:
        return n->asked ? "host-qmp-quit" : "guest-shutdown";
    case STOP_RESET:
        return n->asked ? "host-qmp-system-reset" : "guest-reset";
    case STOP_CRASH:
        return "guest-reset";
    case STOP_PANIC:
        return "guest-panic";
    default:
        return n->asked ? "host-signal" : "host-error";
    }
}

/* syscalls loop if control: getpid */
static void qmp_put_data(struct text *out, const struct news *n)
{
    uint64_t actual = 0;
    switch (n->what) {
    case NEWS_RESET:
    case NEWS_END:
        text_put(out, ", \"data\": {\"guest\": %s, \"reason\": \"%s\"}",
                 n->asked || n->why == STOP_FAULT ? "false" : "true",
                 qmp_cause(n));
        break;
    case NEWS_PANICKED:
        text_put(out, ", \"data\": {\"action\": \"%s\"}",
                 n->asked ? "pause" : "poweroff");
        break;
    case NEWS_TAKEN:
        text_put(out, ", \"data\": {\"pid\": %d}", (int)getpid());
        break;
    case NEWS_BALLOON:
        query_balloon_actual(n->dev->m, &actual);
        text_put(out, ", \"data\": {\"actual\": %llu}",
                 (unsigned long long)actual);
        break;
    case NEWS_RX_FILTER:
        text_put(out, ", \"data\": {\"name\": ");
        text_quote(out, n->dev->id);
        text_put(out, ", \"path\": ");
        query_path(out, n->dev);
        text_put(out, "}");
        break;
    default:
        break;
    }
}

void qmp_news(struct monitor *mo, const struct news *n)
{
    uint64_t us = wall_ns() / 1000;
    text_put(mo->out,
             "{\"timestamp\": {\"seconds\": %llu, \"microseconds\": %llu}, "
             "\"event\": \"%s\"",
             (unsigned long long)us / 1000000, (unsigned long long)us % 1000000,
             qmp_events[n->what].name);
    qmp_put_data(mo->out, n);
    text_put(mo->out, "}");
    text_add(mo->out, "\r\n", 2);
}
