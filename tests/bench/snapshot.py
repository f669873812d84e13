# SPDX-License-Identifier: MIT
"""Snapshots of the bundled guest: saved, restored, how many a second, and memory of a clone's own; QEMU by migration to a file."""

import contextlib
import os
import signal
import socket
import statistics
import struct
import subprocess
import time

import vms
from vms import Failed, GUEST, HOST, MAC, VM, sh

ROWS = {
    "snapshot_save": ("a running guest of 256 MiB, saved", "ms", "less"),
    "snapshot_first": ("exec to announcement (first instruction)", "ms", "less"),
    "snapshot_ping": ("exec to first ping reply, restored", "ms", "less"),
    "snapshot_rate": ("restored and ended, one after the other", "1/s", "more"),
    "snapshot_memory": ("memory of its own, restored, not yet run", "KiB", "less"),
    "snapshot_clones": ("100 clones made, until all of them answer ping", "ms", "less"),
}
MIB = 256
CLONES = 100
PROMPT = b"(qemu) "


class Monitor:
    """QEMU's, for people."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(path)
        self.answer()

    def answer(self):
        text = b""
        while not text.endswith(PROMPT):
            more = self.sock.recv(4096)
            if not more:
                raise Failed("QEMU's monitor hung up")
            text += more
        return text.decode()

    def ask(self, words):
        self.sock.sendall(words.encode() + b"\n")
        return self.answer()


class Vmm:
    """How this one is told."""

    def __init__(self, bench):
        self.bench, work = bench, bench.work
        self.socket, self.state, self.mem = (os.path.join(work, f"snapshot.{end}") for end in ("sock", "state", "mem"))
        self.line = vms.command("vmm", bench.spec, False, bench.words, MIB)
        self.saver = [*self.line, "-control", self.socket, "-allow-path", work]
        self.nic = ["-tap", f"tap0,mac={MAC},model=virtio-net-pci"]
        self.files = [self.state, self.mem]

    def save(self):
        sh(self.bench.spec["vmm"], "ctl", self.socket, "snapshot", f"state={self.state}", f"mem={self.mem}")

    def restored(self, paused=False):
        how = ",paused=on" if paused else ""
        return [self.bench.spec["vmm"], "-restore", f"{self.state},mem={self.mem}{how}", *self.nic]


class Qemu:
    """The same of QEMU: its state and memory are one stream."""

    def __init__(self, bench):
        self.socket, self.file = (os.path.join(bench.work, f"snapshot.{end}") for end in ("monitor", "stream"))
        self.line = vms.command("qemu", bench.spec, False, bench.words, MIB)
        self.saver = [*self.line, "-monitor", f"unix:{self.socket},server=on,wait=off"]
        self.files = [self.file]

    def save(self):
        monitor = Monitor(self.socket)
        monitor.ask("migrate_set_parameter max-bandwidth 100G")
        said = monitor.ask(f'migrate "exec:cat >{self.file}"')
        if "rror" in said:
            raise Failed(said.strip().splitlines()[1])

    def restored(self, paused=False):
        return [*self.line, "-incoming", f"exec:cat {self.file}", *(["-S"] if paused else [])]


def anonymous(pid):
    """KiB that no other process shares."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:"))


class Echo:
    """Pings to many at once, and who has answered."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.sock.settimeout(0.01)

    def send(self, addresses):
        text = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, 1)
        total = sum(struct.unpack("!4H", text))
        total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
        for address in addresses:
            with contextlib.suppress(OSError):  # nobody has that address yet
                self.sock.sendto(text[:2] + struct.pack("!H", total) + text[4:], socket.MSG_DONTWAIT, (address, 0))

    def answered(self):
        who = set()
        with contextlib.suppress(TimeoutError):
            while True:
                text, (address, _) = self.sock.recvfrom(256)
                if text[20] == 0:
                    who.add(address)
        return who


def ended(pid):
    """Perhaps nobody has asked for its status: it has no memory then."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return not file.read()
    except (FileNotFoundError, ProcessLookupError):
        return True


class Snapshot:
    """One peer's, and what is measured of it."""

    def __init__(self, bench, peer):
        self.bench = bench
        os.chmod(bench.work, 0o777)  # nobody writes there
        self.peer = (Qemu if peer == "qemu" else Vmm)(bench)

    @contextlib.contextmanager
    def running(self, line):
        vms.tap_make()
        vm = VM(line, self.bench.work, "snapshot")
        try:
            yield vm
        finally:
            vm.stop()

    def save(self):
        with self.running(self.peer.saver) as vm:
            vm.wait_line("net up", 60)
            sh("ping", "-c", "3", "-i", "0.05", "-q", GUEST)
            begin = time.monotonic_ns()
            self.peer.save()
            return (time.monotonic_ns() - begin) / 1e6

    def launch(self, *until):
        return self.bench.launch(*until, "--", *self.peer.restored())

    def memory(self):
        with self.running(self.peer.restored(paused=True)) as vm:
            seen = [0, 1]
            while len(set(seen[-4:])) > 1:
                if vm.died():
                    raise Failed(vm.died())
                time.sleep(0.1)
                seen.append(anonymous(vm.pid))
            return seen[-1]

    def clones(self):
        """Of a guest that takes its address from its MAC, all on one bridge."""
        peer, work = self.peer, self.bench.work
        if not isinstance(peer, Vmm):
            raise Failed("makes no clones")
        taps = [f"tapc{i}" for i in range(CLONES + 1)]
        sh("ip", "link", "del", "tap0", check=False)
        sh("ip", "link", "add", "brc", "type", "bridge")
        sh("ip", "addr", "add", f"{HOST}/8", "dev", "brc")
        sh("ip", "link", "set", "brc", "up")
        for tap in taps:
            sh("ip", "tuntap", "add", "dev", tap, "mode", "tap", "vnet_hdr")
            sh("ip", "link", "set", tap, "master", "brc", "up")
            # Else each hears the announcements of all others, which is most of what it does then.
            sh("ip", "link", "set", tap, "type", "bridge_slave", "isolated", "on")
        line = vms.command("vmm", self.bench.spec, False, "ip=mac/8", MIB, tap="tapc0")
        vm = VM([*line, "-control", peer.socket, "-allow-path", work], work, "clones")
        try:
            vm.wait_line("net up", 60)
            peer.save()
        finally:
            vm.stop()
        try:
            return self.clones_answer([*peer.files, "net.net0=tapc%d", "mac.net0=52:54:00:00:01:%02x", *line[line.index("-tap") :]])
        finally:
            for link in [*taps, "brc"]:
                sh("ip", "link", "del", link, check=False)

    def clones_answer(self, words):
        left, echo, pids = {f"10.0.1.{i}" for i in range(1, CLONES + 1)}, Echo(), []
        begin = time.monotonic()
        with subprocess.Popen(
            [self.bench.spec["vmm"], "ctl", "clone", str(CLONES), *words], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        ) as maker:
            while left and time.monotonic() < begin + 60:
                echo.send(left)
                left -= echo.answered()
            took = time.monotonic() - begin
            pids = [int(said.split()[2]) for said in maker.stdout]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            vms.wait_for(60, "end of a clone", lambda gone=pid: ended(gone))
        if left or len(pids) < CLONES:
            raise Failed(f"{len(left)} of {CLONES} do not answer")
        return took * 1e3

    def row(self, row):
        if row == "snapshot_save":
            return self.save()
        if row == "snapshot_clones":
            return self.clones()
        if not all(os.path.exists(path) for path in self.peer.files):
            raise Failed("nothing was saved")
        if row == "snapshot_memory":
            return self.memory()
        vms.tap_make(queue=4)
        sh("ip", "neigh", "replace", GUEST, "lladdr", MAC, "dev", "tap0", "nud", "permanent")
        if row == "snapshot_rate":
            got = self.launch("--rarp", "--repeat", int(self.bench.seconds * 1000))
            return got["starts"] / (got["ns"] / 1e9)
        until = ["--rarp"] if row == "snapshot_first" else ["--ping", GUEST]
        return statistics.median(self.launch(*until)["ns"] for _ in range(5)) / 1e6

    def end(self):
        for path in self.peer.files:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def snapshot(bench, words):
    bench.words = words
    for peer in bench.rounds(["vmm", "qemu"]):
        one = Snapshot(bench, peer)
        for row in ROWS:
            if row != "snapshot_save" and not bench.chosen(row):
                continue
            try:
                bench.emit("snapshot", row, peer, one.row(row))
            except (Failed, OSError, StopIteration, subprocess.TimeoutExpired) as error:
                bench.emit("snapshot", row, peer, error=error)
        one.end()
