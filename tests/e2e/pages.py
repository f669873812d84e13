#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Serves page faults of a restored machine from a file, as a handler for Firecracker does.

usage: pages.py SOCKET FILE [hang-up|die]

Writes to SOCKET.said: a line `mappings JSON PID` of the message that it gets, a line `pages N` after each page that it serves, and
a line `remove FROM SIZE`, offsets in the file, for each range that is given back.  With `hang-up` it closes the connection
at once and serves on; with `die` it ends at the second page that is asked for.
"""
import array
import fcntl
import json
import os
import select
import socket
import struct
import sys

UFFDIO_COPY = 0xC028AA03
UFFDIO_ZEROPAGE = 0xC020AA04
PAGEFAULT, REMOVE = 0x12, 0x15
PAGE = 4096


class Handler:
    def __init__(self, uffd, mappings, image, said):
        self.uffd, self.mappings, self.image, self.said = uffd, mappings, image, said
        self.removed, self.pages = set(), 0

    def offset(self, at):
        for m in self.mappings:
            if 0 <= at - m["base_host_virt_addr"] < m["size"]:
                return at - m["base_host_virt_addr"] + m["offset"]
        raise SystemExit(f"a fault outside of what was told: {at:#x}")

    def fill(self, at):
        offset = self.offset(at)
        data = array.array("B", bytes(PAGE) if offset in self.removed else os.pread(self.image, PAGE, offset))
        address, _ = data.buffer_info()
        request = struct.pack("=QQQQq", at, address, PAGE, 0, 0)
        try:
            fcntl.ioctl(self.uffd, UFFDIO_COPY, bytearray(request))
        except FileExistsError:  # two CPUs at once
            pass
        self.pages += 1
        print("pages", self.pages, file=self.said, flush=True)

    def one(self, msg):
        event = msg[0]
        first, second = struct.unpack("=QQ", msg[8:24])
        if event == PAGEFAULT:
            self.fill(second & -PAGE)
        elif event == REMOVE:
            start, size = self.offset(first), second - first
            self.removed.update(range(start, start + size, PAGE))
            print("remove", start, size, file=self.said, flush=True)

    def serve(self, dies):
        while True:
            select.select([self.uffd], [], [])
            try:
                msg = os.read(self.uffd, 32)
            except BlockingIOError:
                continue
            if dies and self.pages:
                os._exit(1)
            self.one(msg)


def main():
    path, image = sys.argv[1:3]
    how = sys.argv[3] if len(sys.argv) > 3 else ""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        os.chmod(path, 0o666)
        listener.listen()
        peer, _ = listener.accept()
    text, fds, _, _ = socket.recv_fds(peer, 4096, 1)
    pid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    with open(path + ".said", "w") as said:
        print("mappings", text.decode(), pid, file=said, flush=True)
        if how == "hang-up":
            peer.close()
        Handler(fds[0], json.loads(text), os.open(image, os.O_RDONLY), said).serve(how == "die")


main()
