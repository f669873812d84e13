#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a command again and again, each time with another of its system calls failing.

usage: failing.py DIR COMMAND [ARG]...
The first run's first call fails with ENOMEM, the second run's second, until a run executes what it was to execute, or ends,
before it has made so many; calls of its children are left alone. A run that says that it failed must leave nothing in DIR; what one that did not fail leaves is
removed. Prints how many calls failed. x86-64, as root.
"""
import ctypes
import errno
import os
import shutil
import signal
import sys

TRACEME, PEEKUSER, POKEUSER, SYSCALL, SETOPTIONS, DETACH = 0, 3, 6, 24, 0x4200, 17
TRACESYSGOOD, TRACEEXEC, EXITKILL, EVENT_EXEC = 1, 0x10, 1 << 20, 4
RAX, ORIG_RAX = 10 * 8, 15 * 8
NEVER = (3, 60, 231)  # close, which always does; exit, exit_group
FCNTL = 72  # asks whether there are descriptors to say something to

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def begin(command):
    """The command, stopped at its first instruction; what it says goes to a pipe."""
    said, end = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(end, 1)
        os.dup2(end, 2)
        libc.ptrace(TRACEME, 0, None, None)
        os.execv(command[0], command)
    os.close(end)
    os.waitpid(pid, 0)
    libc.ptrace(SETOPTIONS, pid, None, TRACESYSGOOD | TRACEEXEC | EXITKILL)
    return pid, said


def run(command, nth):
    """Its nth call fails: the call's number, the exit status (None: it was executed), what it said."""
    pid, said = begin(command)
    calls, inside, failed, executed, deliver = 0, False, None, False, 0
    while True:
        libc.ptrace(SYSCALL, pid, None, deliver)
        _, status = os.waitpid(pid, 0)
        deliver = 0
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            break
        if status >> 8 == signal.SIGTRAP | EVENT_EXEC << 8:
            executed = True
            libc.ptrace(DETACH, pid, None, None)
            os.waitpid(pid, 0)
            break
        if os.WSTOPSIG(status) != signal.SIGTRAP | 0x80:
            deliver = os.WSTOPSIG(status)
            continue
        inside = not inside
        number = libc.ptrace(PEEKUSER, pid, ORIG_RAX, None)
        if inside and number not in NEVER:
            calls += 1
            if calls == nth:
                failed = number
                libc.ptrace(POKEUSER, pid, ORIG_RAX, ctypes.c_void_p(-1))
        elif failed is not None and calls == nth:
            libc.ptrace(POKEUSER, pid, RAX, ctypes.c_void_p(-errno.ENOMEM))
            nth = 0
    with os.fdopen(said, errors="replace") as pipe:
        text = pipe.read()
    return failed, None if executed else os.waitstatus_to_exitcode(status), text


def main(where, *command):
    for nth in range(1, 10000):
        for name in os.listdir(where):
            shutil.rmtree(os.path.join(where, name), ignore_errors=True)
        failed, status, said = run(command, nth)
        if failed is None:
            print(nth - 1)
            return 0
        left = [os.path.join(at, name) for at, dirs, files in os.walk(where) for name in dirs + files]
        if status and left:
            return f"call {nth} ({failed}) fails, and leaves {left}: {said}"
        if status == 1 and not said and failed != FCNTL:
            return f"call {nth} ({failed}) fails, and nothing is said"
    return "it does not end"


sys.exit(main(*sys.argv[1:]))
