#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes a thread of another process make a system call, as who has taken it over would.

usage: inject.py TID NUMBER [ARG]...
The thread must be in a system call of its own (they sleep, or run a guest); it is sent back to the instruction that made
it, with other registers. What becomes of it is the caller's to see. x86-64, as root.
"""
import ctypes
import os
import struct
import sys

GETREGS, SETREGS, DETACH, SEIZE, INTERRUPT = 12, 13, 17, 0x4206, 0x4207
# struct user_regs_struct, by its place: sys/user.h
ARGS, RAX, ORIG_RAX, RIP = (14, 13, 12, 7, 9, 8), 10, 15, 16
WALL = 0x40000000
SYSCALL = b"\x0f\x05"

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, tid, data=None):
    if libc.ptrace(request, tid, None, data) < 0:
        sys.exit(f"inject.py: request {request}: {os.strerror(ctypes.get_errno())}")


tid, call, *args = (int(word, 0) for word in sys.argv[1:])
ptrace(SEIZE, tid)
ptrace(INTERRUPT, tid)
os.waitpid(tid, WALL)
buf = ctypes.create_string_buffer(27 * 8)
ptrace(GETREGS, tid, buf)
regs = list(struct.unpack("27Q", buf.raw))
regs[RIP] -= len(SYSCALL)
with open(f"/proc/{tid}/mem", "rb") as mem:
    mem.seek(regs[RIP])
    if mem.read(len(SYSCALL)) != SYSCALL:
        sys.exit("inject.py: the thread is in no system call")
regs[RAX], regs[ORIG_RAX] = call, 2**64 - 1
for place, value in zip(ARGS, args + [0] * 6):
    regs[place] = value % 2**64
ptrace(SETREGS, tid, ctypes.create_string_buffer(struct.pack("27Q", *regs)))
ptrace(DETACH, tid)
