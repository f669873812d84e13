#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A host process that talks to a guest by vsock, as Firecracker's clients do.

usage: vsock.py PATH PORT [N]
  standard input goes to the guest, then its end; what comes back goes to standard output until the guest's end
  with N: so many connections at once, each sends its number and reads it back; prints how many did
"""
import socket
import sys
import threading


def dial(path, port):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    s.sendall(b"CONNECT %d\n" % port)
    line = b""
    while not line.endswith(b"\n"):
        c = s.recv(1)
        if not c:
            sys.exit("refused")
        line += c
    assert line.startswith(b"OK "), line
    return s


def send(s):
    while data := sys.stdin.buffer.read1(65536):
        s.sendall(data)
    s.shutdown(socket.SHUT_WR)


def main():
    path, port = sys.argv[1], int(sys.argv[2])
    if len(sys.argv) > 3:
        all_of_them = [dial(path, port) for _ in range(int(sys.argv[3]))]
        for i, s in enumerate(all_of_them):
            s.sendall(b"%d\n" % i)
        right = 0
        for i, s in enumerate(all_of_them):
            right += s.makefile("rb").readline() == b"%d\n" % i
            s.close()
        print(right)
        return
    s = dial(path, port)
    threading.Thread(target=send, args=(s,), daemon=True).start()
    while data := s.recv(65536):
        sys.stdout.buffer.write(data)
    sys.stdout.flush()


main()
