#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Starts the VMM as Ganeti 3.0 does, with its options and a TAP that it has opened; speaks to it as Ganeti does; ends it.

usage: ganeti-command.py VMM KERNEL   (in an empty directory, with addresses 10.0.0.0/24 free)
"""
import fcntl
import json
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import time

VMM, KERNEL = sys.argv[1:]
HERE = os.getcwd()
TUNSETIFF = 0x400454CA
TAP_FLAGS = 0x0002 | 0x1000 | 0x2000  # IFF_TAP, IFF_NO_PI, IFF_ONE_QUEUE: Ganeti's without vnet_hdr
MAC = "aa:00:00:11:22:33"


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: got {got!r}, expected {wanted!r}")


def expect_match(what, text, pattern):
    found = re.search(pattern, text, re.M)
    if not found:
        sys.exit(f"{what}: got {text!r}, expected a match of {pattern!r}")
    return found


class Qmp:
    """A connection: the end of a message is CRLF, and what follows the greeting is dropped unread."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)  # Ganeti's own
        self.sock.connect(path)
        self.rest = b""
        expect("the greeting's key", list(self.message()), ["QMP"])
        self.rest = b""
        self.do("qmp_capabilities")
        self.commands = {c["name"] for c in self.do("query-commands")}

    def message(self):
        while b"\r\n" not in self.rest:
            more = self.sock.recv(4096)
            if not more:
                sys.exit("QMP: closed")
            self.rest += more
        line, self.rest = self.rest.split(b"\r\n", 1)
        return json.loads(line)

    def do(self, command, **arguments):
        request = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        self.sock.sendall(json.dumps(request).encode())
        while True:
            answer = self.message()
            if "event" not in answer:
                return answer.get("return", answer.get("error"))


def once(command, **arguments):
    qmp = Qmp("qmp")
    answer = qmp.do(command, **arguments)
    qmp.sock.close()
    return answer


def hmp(command):
    return subprocess.run(f"echo {command} | socat -t 0.5 STDIO UNIX-CONNECT:{HERE}/monitor", shell=True, check=True,
                          capture_output=True, text=True, timeout=30).stdout


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter between open and read
        return False


def open_tap():
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", b"tap0", TAP_FLAGS))
    for words in ("addr add 10.0.0.1/24 dev tap0", "link set tap0 up"):
        subprocess.run(["ip", *words.split()], check=True)
    return fd


def command_line(tap):
    words = f"""
        -name i1.fleet.test -m 128 -smp 2 -pidfile {HERE}/pid -device virtio-balloon -daemonize -D {HERE}/log -machine pc
        -kernel {KERNEL} -monitor unix:{HERE}/monitor,server,nowait -serial unix:{HERE}/serial,server,nowait -usb
        -nographic -uuid 8d0b8e3c-52a1-4d5e-8f0e-bc2dd9c7a4f1 -netdev type=tap,id=nic-1,fd={tap}
        -device virtio-net-pci,id=nic-1,bus=pci.0,addr=0xd,netdev=nic-1,mac={MAC}
        -qmp unix:{HERE}/qmp,server,nowait -qmp unix:{HERE}/kvmd,server,nowait
        -device virtio-blk-pci,id=disk-1,bus=pci.0,addr=0xc,drive=disk-1
        -drive file={HERE}/disk,format=raw,if=none,aio=threads,discard=unmap,id=disk-1 -S"""
    return [VMM, *words.split(), "-append", "root=/dev/vda1 ip=10.0.0.2/24 console=ttyS0,38400"]


def main():
    with open("disk", "wb") as f:
        f.truncate(1 << 20)
    tap = open_tap()
    argv = command_line(tap)
    run = subprocess.run(argv, pass_fds=[tap], capture_output=True, text=True, timeout=60, check=False)
    expect("the start", (run.returncode, run.stderr), (0, ""))
    os.close(tap)

    # All is there once it has returned; and its words are, as long as it lives.
    with open("pid", encoding="ascii") as f:
        pid = int(f.read())
    for name in ("monitor", "serial", "qmp", "kvmd"):
        expect(f"{name} is a socket", stat.S_ISSOCK(os.stat(name).st_mode), True)
    kvmd = Qmp("kvmd")
    expect("query-status", once("query-status")["status"], "prelaunch")
    once("cont")
    with open(f"/proc/{pid}/cmdline", encoding="ascii") as f:
        expect("its command line", f.read().split("\0")[:-1], argv)

    expect("query-cpus", len(once("query-cpus")), 2)
    expect("query-balloon", once("query-balloon"), {"actual": 128 << 20})
    expect_match("HMP's version", hmp("info version"), r"^QEMU (\d+)\.(\d+)(\.(\d+))?.*monitor.*")
    threads = re.findall(r"(?i)cpu\s+#(\d+).*thread_id\s*=\s*(\d+)", hmp("info cpus"))
    expect("processors by HMP", [int(t[0]) for t in threads], [0, 1])
    for _, thread in threads:
        expect(f"thread {thread}", os.path.exists(f"/proc/{pid}/task/{thread}"), True)
    ping = subprocess.run("ping -q -c 1 -w 30 10.0.0.2".split(), stdout=subprocess.DEVNULL, check=False)
    expect("ping", ping.returncode, 0)

    # The button, which this guest does not hear, then the signal that ends what does not.
    hmp("system_powerdown")
    expect("alive after the button", alive(pid), True)
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 30
    while alive(pid):
        if time.monotonic() > end:
            sys.exit("SIGTERM did not end it")
        time.sleep(0.02)
    heard = kvmd.rest
    while more := kvmd.sock.recv(4096):
        heard += more
    for event in (b'"RESUME"', b'"POWERDOWN"', b'"SHUTDOWN"'):
        expect(f"kvmd hears of {event}", event in heard, True)


main()
