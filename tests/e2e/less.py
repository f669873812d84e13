#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a program on a kernel that lacks system calls.

usage: less.py CALL:ERRNO[,CALL:ERRNO]... PROGRAM [ARG]...
x86-64, by a seccomp filter, which needs no_new_privs or root: here it is root's, and what the program does with its
privileges is its own affair.
"""
import ctypes
import errno
import os
import struct
import sys

NUMBERS = {
    "unshare": 272, "mount": 165, "umount2": 166, "pivot_root": 155, "setns": 308, "clone": 56, "clone3": 435,
    "seccomp": 317, "landlock_create_ruleset": 444,
}
LD, JEQ, RET = 0x20, 0x15, 0x06  # BPF: load a word, jump if equal, return
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
PR_SET_SECCOMP, MODE_FILTER = 22, 2

code = [(LD, 0, 0, 0)]
for word in sys.argv[1].split(","):
    name, error = word.split(":")
    code += [(JEQ, 0, 1, NUMBERS[name]), (RET, 0, 0, ERRNO | getattr(errno, error))]
code.append((RET, 0, 0, ALLOW))
program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *c) for c in code))
head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(program)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.c_void_p(ctypes.addressof(head)), 0, 0):
    sys.exit(f"less.py: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[2], sys.argv[2:])
