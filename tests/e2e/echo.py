#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sends bytes without end to a server that sends them back, and compares each.

usage: echo.py ADDRESS PORT CONNECTIONS FILE
ADDRESS with a slash in it is the socket of a virtio-vsock device, and PORT one of the guest's.
FILE, which exists, tells, ten times a second, how many came back by the connection that is the furthest behind.  Ends, with a line that
says why, when a connection does or a byte is another."""
import os
import selectors
import socket
import sys
import time

PERIOD = 1000003  # a prime, so that no buffer's length divides it
CHUNK = 16384
AHEAD = 65536  # sent and not yet back
PACE = 0.02  # between looks: the guest is to have time for other things, too
BYTES = os.urandom(PERIOD)
BYTES += BYTES[:CHUNK]


def connect(address, port):
    if "/" not in address:
        return socket.create_connection((address, port), timeout=60)
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(address)
    s.sendall(f"CONNECT {port}\n".encode())
    said = b""
    while not said.endswith(b"\n"):
        byte = s.recv(1)
        if not byte:
            sys.exit(f"echo: nobody listens at port {port}")
        said += byte
    return s


class Connection:
    def __init__(self, address, port):
        self.socket = connect(address, port)
        self.socket.setblocking(False)
        self.sent = self.back = 0

    def send(self):
        at = self.sent % PERIOD
        self.sent += self.socket.send(BYTES[at:at + min(CHUNK, self.back + AHEAD - self.sent)])

    def receive(self):
        got = self.socket.recv(CHUNK)
        at = self.back % PERIOD
        if not got:
            sys.exit(f"echo: ended after {self.back} bytes")
        if got != BYTES[at:at + len(got)]:
            sys.exit(f"echo: another byte, near {self.back}")
        self.back += len(got)

    def wants(self):
        more = self.sent < self.back + AHEAD
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if more else 0)


def main():
    address, port, count, file = sys.argv[1:]
    poll = selectors.DefaultSelector()
    all_of_them = [Connection(address, int(port)) for _ in range(int(count))]
    for c in all_of_them:
        poll.register(c.socket, c.wants(), c)
    due = 0
    with open(file, "r+") as out:
        while True:
            time.sleep(PACE)
            for key, can in poll.select(1):
                c = key.data
                if can & selectors.EVENT_READ:
                    c.receive()
                if can & selectors.EVENT_WRITE:
                    c.send()
                if c.wants() != key.events:
                    poll.modify(c.socket, c.wants(), c)
            if time.monotonic() >= due:
                due = time.monotonic() + 0.1
                out.seek(0)
                out.write(f"{min(c.back for c in all_of_them):<20}\n")
                out.flush()


try:
    main()
except OSError as e:
    sys.exit(f"echo: {e}")
