#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sends a datagram every few milliseconds to a server that sends them back, and compares each.

usage: datagrams.py ADDRESS PORT COUNT
Ends well once all are back, with a line that says the longest time in which none came; with another one when one is missing or has
another byte."""
import os
import select
import socket
import sys
import time

PERIOD = 0.004
SIZE = 200
AHEAD = 64  # not yet back; what is in between has room for as many
PATIENCE = 10  # seconds in which none comes
BYTES = os.urandom(1 << 20)


def content(number):
    at = number * 7919 % (len(BYTES) - SIZE)
    return number.to_bytes(4, "big") + BYTES[at:at + SIZE - 4]


def main():
    address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.connect((address, port))
    missing, sent, gap = set(), 0, 0.0
    due = last = time.monotonic()
    while sent < count or missing:
        now = time.monotonic()
        more = sent < count and len(missing) < AHEAD
        if more and now >= due:
            s.send(content(sent))
            missing.add(sent)
            sent, due = sent + 1, max(due + PERIOD, now - 0.1)
        if select.select([s], [], [], 0 if more and now >= due else PERIOD)[0]:
            got = s.recv(65536)
            number = int.from_bytes(got[:4], "big")
            if got != content(number):
                sys.exit(f"datagram {number} has other bytes")
            missing.discard(number)
            gap, last = max(gap, time.monotonic() - last), time.monotonic()
        elif now - last > PATIENCE:
            sys.exit(f"{len(missing)} of {sent} did not come back, the first is {min(missing)}")
    print(f"{count} datagrams of {SIZE} bytes went and came; none for {gap * 1000:.1f} ms at most")


main()
