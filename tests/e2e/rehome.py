#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An engine gives a NIC another backend, as those of QEMU do: netdev_del, getfd with the descriptor of a TAP, netdev_add.

usage: rehome.py SOCKET NETDEV TAP [gone]
  gone: only the first step
prints what the monitor answers
"""
import array
import fcntl
import json
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


class Monitor:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, passes=None, **arguments):
        text = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        rights = [] if passes is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [passes]))]
        self.socket.sendmsg([text], rights)
        while True:
            answer = json.loads(self.file.readline())
            if "event" not in answer:
                return answer


def main():
    path, netdev, name = sys.argv[1:4]
    monitor = Monitor(path)
    print("netdev_del", monitor.ask("netdev_del", id=netdev), flush=True)
    if sys.argv[4:] == ["gone"]:
        return
    # It blocks: who gives it away need not have thought of it.
    with open("/dev/net/tun", "r+b", buffering=0) as tap:
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        with open("/dev/null", "rb") as other:
            monitor.ask("getfd", passes=other.fileno(), fdname="null")
        print("no tap", monitor.ask("netdev_add", type="tap", id=netdev, fd="null"))
        print("no name", monitor.ask("netdev_add", type="tap", id=netdev, fd="tap"))
        print("getfd", monitor.ask("getfd", passes=tap.fileno(), fdname="tap"))
        print("netdev_add", monitor.ask("netdev_add", type="tap", id=netdev, fd="tap"))
        print("again", monitor.ask("netdev_add", type="tap", id=netdev, fd="tap"))


main()
