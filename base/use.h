/* SPDX-License-Identifier: MIT */
/* What this machine is configured with that takes system calls of its own. */
#ifndef USE_H
#define USE_H

/* The last word of a "syscalls" comment (host/syscalls.awk). Who makes such
 * calls says so before threads_begin(). */
enum thread_use {
    USE_ALWAYS,
    USE_TAP,
    USE_PEER,       /* a connection that comes and goes */
    USE_SOCKET,     /* packets that go to one */
    USE_CAPTURE,    /* filter-dump */
    USE_VHOST,      /* rings that others serve: the kernel, */
    USE_VHOST_USER, /* or a process */
    USE_VFIO,
    USE_RNG,     /* random numbers for the guest */
    USE_BALLOON, /* memory that goes back */
    USE_VSOCK,
    USE_CONSOLE_SOCKET, /* a serial port on one */
    USE_TERMINAL,       /* whose settings are changed */
    USE_PTY,
    USE_PROGRAM, /* one beside this, whose words are read */
    USE_HELPER,
    USE_PIDFILE,
    USE_LOG_SOCKET, /* messages that go to one */
    USE_DISK,
    USE_DISK_DEVICE, /* on a block device */
    USE_DISK_RING,   /* by io_uring */
    USE_CONTROL,     /* clients of a control socket */
    USE_RESTORED,    /* a machine that was saved */
    USE_TEXTFILE,    /* counters in a file */
    USE_FCMETRICS,   /* and as lines, in one or in a FIFO */
    USE_NOTIFY,      /* a service manager's socket */
    USE_DAEMON,      /* -daemonize */
};
void thread_uses(enum thread_use use);
unsigned threads_use(void); /* bits: 1 << USE_* */

#endif
