#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Clients of a machine's API as they must not be: thousands of connections, clients that never read, never write, write half,
write rubbish, write too much.  Then an honest one, whom they keep waiting a second at most.

usage: misuse.py SOCKET [CONNECTIONS]
Prints "answered" once the honest one is, and what else went otherwise than it should.
"""
import socket
import sys
import time


def dial():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(sys.argv[1])
    return s


def answer(s, text):
    s.sendall(text)
    return s.recv(65536).split(b"\r\n")[0]


def last_answer(what, text, code):
    """To who sends that and then no more: it is answered, and hung up on."""
    for _ in range(100):
        try:
            with dial() as s:
                s.sendall(text)
                s.shutdown(socket.SHUT_WR)
                told = s.recv(65536)
                end = s.recv(1)
            break
        except (BrokenPipeError, ConnectionResetError):
            told, end = b"", b""  # its answer can be lost with what was not read
            break
        except BlockingIOError:
            time.sleep(0.05)
    if code not in told.split(b"\r\n")[0] or end:
        print(f"{what}: {told!r} {end!r}")


GET = b"GET / HTTP/1.1\r\n\r\n"
last_answer("half-closed", GET, b"200")
last_answer("half-closed in a body", b"PUT /actions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{", b"")
last_answer("a body too large", b"PUT /actions HTTP/1.1\r\nContent-Length: 51201\r\n\r\n", b"400")
last_answer("a head too large", b"GET / HTTP/1.1\r\nX: " + b"x" * 8192, b"400")
last_answer("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", b"400")
greedy = dial()
greedy.setblocking(False)
try:
    while True:
        greedy.send(GET * 100)
except BlockingIOError:
    pass
silent = [dial() for _ in range(9)]
silent[0].send(b"PUT /actions HTTP/1.1\r\nContent-Length: 51200\r\n\r\n{")
for _ in range(int((sys.argv + [10000])[2])):
    s = socket.socket(socket.AF_UNIX)
    s.setblocking(False)
    try:
        s.connect(sys.argv[1])
        s.send(b"\xff" * 4096)
    except OSError:
        pass
    s.close()
time.sleep(1.2)
for _ in range(200):
    try:
        if b"200" in answer(dial(), GET):
            print("answered")
            break
    except OSError:
        pass
    time.sleep(0.02)
