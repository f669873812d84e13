# SPDX-License-Identifier: MIT
"""The disk group: fio in a Linux guest on a raw disk, whose file lies on the lab's scratch disk (which takes O_DIRECT)."""

import os
import subprocess
import time

import vms
from vms import GUEST, VM, Failed, command, guest_shell, sh, wait_for

# peer: how its disk is opened
PEERS = {
    "vmm-none": "cache=none,aio=threads",
    "vmm-none-uring": "cache=none,aio=io_uring",
    "qemu-none-threads": "cache=none,aio=threads",
    "qemu-none-native": "cache=none,aio=native",
    "qemu-none-uring": "cache=none,aio=io_uring",
    "vmm-cached": "cache=writeback,aio=threads",
    "vmm-cached-uring": "cache=writeback,aio=io_uring",
    "qemu-cached-threads": "cache=writeback,aio=threads",
    "qemu-cached-uring": "cache=writeback,aio=io_uring",
}
NAMES = {
    "vmm-none": "vmm none, threads", "was-none": "the other build none, threads",
    "vmm-none-uring": "vmm none, io_uring", "was-none-uring": "the other build none, io_uring",
    "vmm-cached": "vmm writeback, threads", "was-cached": "the other build writeback, threads",
    "vmm-cached-uring": "vmm writeback, io_uring", "was-cached-uring": "the other build writeback, io_uring",
    "qemu-none-threads": "QEMU none, threads", "qemu-none-native": "QEMU none, native",
    "qemu-none-uring": "QEMU none, io_uring", "qemu-cached-threads": "QEMU writeback, threads",
    "qemu-cached-uring": "QEMU writeback, io_uring",
}
ORDER = ["vmm-none", "was-none", "vmm-none-uring", "was-none-uring", "qemu-none-threads", "qemu-none-native",
         "qemu-none-uring", "vmm-cached", "was-cached", "vmm-cached-uring", "was-cached-uring", "qemu-cached-threads",
         "qemu-cached-uring"]
PAIRS = [(p, q) for p in PEERS for q in PEERS if p.startswith("vmm") and q.startswith(p.replace("-uring", "").replace("vmm", "qemu", 1))]
SIZE = 256  # MiB, as much as the lab's memory holds beside a guest's

# row: rw, bs, depth, what else fio is told
JOBS = {
    f"disk_{order}{way}_{size}_{depth}": (f"{order}{way}", size, depth, "")
    for size in ("4k", "128k") for depth in (1, 32) for order in ("", "rand") for way in ("read", "write")
}
JOBS["disk_flush"] = ("write", "4k", 1, "--fsync=1")


def rows():
    """What each is called, in what unit, and whether more is better."""
    found = {}
    for row, (rw, size, depth, _) in JOBS.items():
        order = "random" if rw.startswith("rand") else "sequential"
        title = f"{order} {rw.removeprefix('rand')}, {size[:-1]} KiB, depth {depth}"
        found[row] = (title, "1/s" if size == "4k" else "MB/s", "more")
    found["disk_flush"] = ("a write of 4 KiB and a flush, in turn", "1/s", "more")
    return found


def make_disk():
    """The file, written once, so that no peer finds holes or has to allocate; it stays in the lab's memory as far as it fits."""
    where = sh(os.path.join(os.path.dirname(__file__), "../lab/scratch")).strip()
    path = os.path.join(where, "disk")
    sh("dd", "if=/dev/urandom", f"of={path}", "bs=1M", f"count={SIZE}", "conv=fsync", "status=none", timeout=180)
    return path


class Guest:
    """A Linux guest with the disk, and with the one that has fio on it."""

    def __init__(self, bench, peer, disk):
        vms.tap_make()
        spec = dict(bench.spec, initrd=bench.spec["disk_initrd"])
        line = command(peer, spec, True, f"ip={GUEST}/24", 256)
        line += ["-drive", f"file={disk},format=raw,if=none,id=d0,{PEERS[peer.replace('was', 'vmm', 1)]}",
                 "-device", "virtio-blk-pci,drive=d0,serial=bench",
                 "-drive", f"file={spec['tools_disk']},format=raw,if=none,id=d1,readonly=on", "-device", "virtio-blk-pci,drive=d1"]
        self.vm = VM(line, bench.work)
        try:
            self.vm.wait_line(r"guest: up", 120)
            wait_for(20, "shell in the guest", lambda: self.name())
        except BaseException:
            self.vm.stop()
            raise

    def name(self):
        try:
            self.disk = guest_shell("grep -lx bench /sys/block/*/serial").split("/")[3]
        except Failed:
            return ""
        return self.disk

    def look(self):
        """Requests of each kind so far, as fio made them, their milliseconds, sectors; and the guest's seconds."""
        text = guest_shell(f"cat /proc/uptime /sys/block/{self.disk}/stat")
        up, stat = text.strip().splitlines()
        v = [int(n) for n in stat.split()]
        return {"seconds": float(up.split()[0]), "requests": v[0] + v[1] + v[4] + v[5], "sent": v[0] + v[4] + v[15],
                "sectors": v[2] + v[6], "ms": v[3] + v[7], "flushes": v[15], "flush_ms": v[16]}

    def end_load(self):
        guest_shell("killall -9 fio 2>/dev/null; while pidof fio >/dev/null; do usleep 20000; done")

    def begin_load(self, job, seconds):
        rw, size, depth, more = job
        before = self.look()["requests"]
        guest_shell(
            f"fio --name=b --filename=/dev/{self.disk} --direct=1 --ioengine=libaio --iodepth={depth} --rw={rw} --bs={size} "
            f"--size={SIZE}m --time_based --runtime={int(seconds) + 60} --norandommap --gtod_reduce=1 {more} >/tmp/fio 2>&1 &")

        def moves():
            said = guest_shell("pidof fio >/dev/null || tail -n 1 /tmp/fio").strip()
            if said:
                raise Failed("fio: " + said)
            return self.look()["requests"] > before + 20

        wait_for(40, "request of fio's", moves)
        time.sleep(0.3)


def measure(bench, guest, row, costs_of):
    """The value of a row, and what a request cost."""
    guest.begin_load(JOBS[row], bench.seconds)
    costs, before = costs_of(guest.vm), guest.look()
    time.sleep(bench.seconds)
    after = guest.look()
    d = {k: after[k] - before[k] for k in after}
    if d["seconds"] <= 0:
        raise Failed("the guest restarted")
    cost = costs.per(max(1, d["requests"]))
    cost["merged_percent"] = 100 * (1 - d["sent"] / max(1, d["requests"] + d["flushes"]))
    if row == "disk_flush":
        cost["latency_us"] = 1e3 * d["flush_ms"] / max(1, d["flushes"])
        return d["flushes"] / d["seconds"], cost
    cost["latency_us"] = 1e3 * d["ms"] / max(1, d["requests"])
    per_second = d["requests"] / d["seconds"]
    return (per_second if JOBS[row][1] == "4k" else d["sectors"] * 512 / d["seconds"] / 1e6), cost


def disk(bench, costs_of):
    """The group; costs_of(vm) begins to count what a monitor costs."""
    path = make_disk()
    for peer in bench.rounds(list(PEERS)):
        left = [row for row in JOBS if bench.wants("disk", row, peer)]
        guest = None
        for row in left:
            try:
                guest = guest or Guest(bench, peer, path)
                value, cost = measure(bench, guest, row, costs_of)
                bench.emit("disk", row, peer, value, **cost)
            except (Failed, OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
                why = guest.vm.died() or error if guest else error
                bench.emit("disk", row, peer, error=why)
                if not guest or guest.vm.died():
                    for other in left[left.index(row) + 1:]:
                        bench.emit("disk", other, peer, error=why)
                    break
            try:
                guest.end_load()
            except Failed:
                guest.vm.stop()
                guest = None
        if guest:
            guest.vm.stop()
    sh("umount", os.path.dirname(path), check=False)
