# SPDX-License-Identifier: MIT
"""What grows with a number: VMs of a machine, VMs at a hub or a bridge, queue pairs and processors of a VM; bundled guests, and
in the lab TCP with a Linux guest."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time

import vms
from vms import Failed, GUEST, MAC, VM, sh, wait_for

# What is measured at which sizes: of a figure, what it says, its unit.
SIZES = {"vms": [10, 100, 300, 1000], "hub": [2, 8, 32, 64], "queues": [1, 2, 4, 8, 16], "cpus": [1, 2, 4, 8],
         "pairs": [1, 2, 4, 8, 16], "smp": [1, 2, 4, 8]}
OF_ONE = {"ping": ("exec to first ping reply", "ms"), "kib": ("memory of its own", "KiB"), "fds": ("descriptors", "")}
OF_LINUX = {"to": ("TCP to guest, 4 streams", "Gb/s"), "to_us": ("its processor", "µs a packet"),
            "from": ("TCP from guest, 4 streams", "Gb/s"), "from_us": ("its processor", "µs a packet")}
FIGURES = {
    "vms": {"rate": ("started, two at a time", "1/s"), "mib": ("the machine's memory", "MiB each"),
            "cpu": ("all of them idle", "% of a CPU")},
    "hub": {"kpps": ("60-byte frames from one VM to another", "kpps"), "us": ("processor of all VMs", "µs a frame"),
            "idle": ("processor of those not meant", "µs a frame")},
    "queues": OF_ONE,
    "cpus": OF_ONE,
    "pairs": OF_LINUX,
    "smp": OF_LINUX,
}
WHAT = {"vms": "VMs", "hub": "VMs at a switch", "queues": "queue pairs", "cpus": "processors",
        "pairs": "queue pairs, as many processors (8 at most)", "smp": "processors, one queue pair"}
ROWS = {
    f"{kind}_{figure}_{size}": (f"{size} {WHAT[kind]}: {title}", unit, "more" if figure in ("rate", "kpps", "to", "from") else "less")
    for kind, figures in FIGURES.items() for figure, (title, unit) in figures.items() for size in SIZES[kind]
}
ORDER = ["bridge"]
NAMES = {"bridge": "Linux bridge, TAPs"}
SPARE = 6 << 20  # KiB of memory that are left to others
BAR = 30


def available():
    """KiB."""
    with open("/proc/meminfo") as f:
        return int(re.search(r"MemAvailable:\s*(\d+)", f.read())[1])


def cpu(processes):
    return sum(vms.cpu_seconds(p.pid) for p in processes)


def emit(bench, kind, size, peer, **figures):
    for figure, value in figures.items():
        bench.emit("scale", f"{kind}_{figure}_{size}", peer, value)


# ------------------------------------------------------------------ VMs of a machine


class Park:
    """Idle VMs, each with a TAP; two threads start one after the other and wait until each has an address."""

    def __init__(self, bench, words):
        self.bench, self.words, self.lock = bench, words, threading.Lock()
        self.running, self.wanted, self.failed = [], 0, None

    def line(self, i):
        words = self.words.replace(GUEST, f"10.{1 + i // 250}.{i % 250}.2")
        mac = f"52:54:00:01:{i // 256:02x}:{i % 256:02x}"
        return vms.command("vmm", self.bench.spec, False, words, 64, f"tap{i}", mac)

    def start(self):
        """One more and its end of a pipe; None: enough."""
        with self.lock:
            if self.failed or len(self.running) >= self.wanted:
                return None
            if available() < SPARE:
                self.failed = "the machine's memory is needed by others"
                return None
            out, into = os.pipe()
            process = subprocess.Popen(self.line(len(self.running)), stdin=subprocess.DEVNULL, stdout=into, stderr=into)
            os.close(into)
            self.running.append(process)
            return out

    def starter(self):
        while True:
            out = self.start()
            if out is None:
                return
            text = b""
            while b"net up" not in text:
                more = os.read(out, 4096)
                if not more:
                    self.failed = f"a VM ended: {text.decode(errors='replace').strip()[-100:]}"
                    break
                text += more
            os.close(out)

    def grow(self, count):
        """To so many; seconds."""
        begin, self.wanted = time.monotonic(), count
        two = [threading.Thread(target=self.starter) for _ in range(2)]
        for t in two:
            t.start()
        for t in two:
            t.join()
        if self.failed:
            raise Failed(self.failed)
        return time.monotonic() - begin

    def close(self):
        for p in self.running:
            p.send_signal(signal.SIGKILL)
        for p in self.running:
            p.wait()


@contextlib.contextmanager
def interfaces(count, bridge=False):
    """As many TAPs, at a bridge or without an address."""
    lines = ["link add br0 type bridge", "link set br0 up"] if bridge else []
    for i in range(count):
        lines += [f"tuntap add dev tap{i} mode tap vnet_hdr", f"link set tap{i} up"]
        lines += [f"link set tap{i} master br0"] if bridge else []
    try:
        ip_batch(lines)
        yield
    finally:
        ip_batch([f"link del tap{i}" for i in range(count)] + (["link del br0"] if bridge else []), "-force")


def ip_batch(lines, *options):
    subprocess.run(["ip", *options, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=not options,
                   capture_output=True)


def machine(bench, words):
    sizes = [s for s in SIZES["vms"] if s <= bench.spec["many"]]
    with interfaces(sizes[-1]), contextlib.closing(Park(bench, words)) as park:
        before, had = available(), 0
        for size in sizes:
            took = park.grow(size)
            time.sleep(2)  # what is put off to later than the start (KVM's timer) is done
            kib, begin, used = before - available(), time.monotonic(), cpu(park.running)
            time.sleep(min(bench.spec["idle"], 10))
            share = 100 * (cpu(park.running) - used) / (time.monotonic() - begin)
            emit(bench, "vms", size, "vmm", rate=(size - had) / took, mib=kib / 1024 / size, cpu=share)
            had = size


# ------------------------------------------------------------------ VMs at a hub, at a bridge


def member(bench, i, words, nic):
    words = words.replace(GUEST, f"10.0.0.{2 + i}")
    # Addresses as a fleet has them, all over.
    mac = f"52:54:{(i * 73 + 11) % 256:02x}:{(i * 151 + 7) % 256:02x}:{(i * 199 + 3) % 256:02x}:{i:02x}"
    line = [bench.spec["vmm"], "-m", "16M", *nic(mac), "-append", words]
    return VM(line, bench.work, f"member{i}")


def hub_ports(bench, count):
    """A VM that is the switch: its own NIC, and a socket for each other."""
    line = [bench.spec["vmm"], "-m", "16M", "-append", "ring3 quiet ip=10.0.0.254/24"]
    line += ["-netdev", "hubport,id=own,hubid=1,learn=on", "-device", "virtio-net-pci,netdev=own"]
    for i in range(count):
        path = os.path.join(bench.work, f"port{i}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        line += ["-netdev", f"stream,id=s{i},server=on,addr.type=unix,addr.path={path}"]
        line += ["-netdev", f"hubport,id=h{i},hubid=1,learn=on,netdev=s{i}"]
    return line


def by_hub(bench, i):
    path = os.path.join(bench.work, f"port{i}")
    return lambda mac: ["-netdev", f"stream,id=n,addr.type=unix,addr.path={path}", "-device", f"virtio-net-pci,netdev=n,mac={mac}"]


def by_bridge(_, i):
    return lambda mac: ["-tap", f"tap{i},mac={mac},model=virtio-net-pci"]


def totals(vm):
    """Of each time that something came and then nothing for a second."""
    return [int(n) for n in re.findall(r"sink total frames=(\d+)", vm.text())]


def flood(bench, count, words, wire):
    """One VM sends to another, the others have nothing to do with it; ring 3 counts what arrives."""
    members = []
    seconds = max(2, int(bench.seconds))
    try:
        if wire is by_hub:
            members.append(VM(hub_ports(bench, count), bench.work, "hub"))
            members[0].wait_line("net up", 60)
        sink = member(bench, 1, f"{words} sink", wire(bench, 1))
        members.append(sink)
        idle = [member(bench, i, f"{words} quiet", wire(bench, i)) for i in range(2, count)]
        members += idle
        for m in members:
            m.wait_line("net up", 120)
        time.sleep(1)
        used, others = cpu(members), cpu(idle)
        source = member(bench, 0, f"{words} flood=60,secs={seconds},to=10.0.0.3", wire(bench, 0))
        members.append(source)
        ms = int(source.wait_line(r"guest: flood frames=\d+ bytes=\d+ ms=(\d+)", seconds + 60)[1])
        seen = len(totals(sink))
        wait_for(30, "'sink total' from the guest", lambda: len(totals(sink)) > seen)
        frames = max(1, sum(totals(sink)))
        spent = [1e6 * (cpu(members) - used) / frames, 1e6 * (cpu(idle) - others) / frames]
        return {"kpps": frames / ms, "us": spent[0], "idle": spent[1]}
    finally:
        for m in members:
            m.stop()


def switch(bench, peer, size, words):
    if peer == "vmm":
        emit(bench, "hub", size, peer, **flood(bench, size, words, by_hub))
        return
    with interfaces(size, True):
        emit(bench, "hub", size, peer, **flood(bench, size, words, by_bridge))


# ------------------------------------------------------------------ queue pairs, processors


def one(bench, kind, size, words):
    queues, cpus = (size, 1) if kind == "queues" else (1, size)
    sh("ip", "tuntap", "add", "dev", "tap0", "mode", "tap", "vnet_hdr", *(["multi_queue"] if queues > 1 else []))
    try:
        sh("ip", "addr", "add", "10.0.0.1/24", "dev", "tap0")
        sh("ip", "link", "set", "tap0", "txqueuelen", "4", "up")
        sh("ip", "neigh", "replace", GUEST, "lladdr", MAC, "dev", "tap0", "nud", "permanent")
        line = [bench.spec["vmm"], "-m", "64M", "-smp", str(cpus), "-netdev", f"tap,id=n,ifname=tap0,queues={queues}"]
        line += ["-device", f"virtio-net-pci,netdev=n,mac={MAC},mq=on", "-append", words]
        times = sorted(bench.launch("--ping", GUEST, "--", *line)["ns"] / 1e6 for _ in range(5))
        with bench.running(line) as vm:
            vm.wait_line("net up", 60)
            sh("ping", "-n", "-c", "2", "-i", "0.1", "-W", "5", GUEST)
            own, fds = vms.memory(vm.pid, 64)["Rss"], len(os.listdir(f"/proc/{vm.pid}/fd"))
        emit(bench, kind, size, "vmm", ping=times[2], kib=own, fds=fds)
    finally:
        sh("ip", "link", "del", "tap0", check=False)


# ------------------------------------------------------------------ all of it


def attempt(bench, kind, size, peer, work, *args):
    """Its failure is that of all figures of this kind and size."""
    if not bench.wants("scale", kind, peer) and not bench.wants("scale", f"{kind}_{size}", peer):
        return
    try:
        work(*args)
    except (Failed, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        figure = next(iter(FIGURES[kind]))
        bench.emit("scale", f"{kind}_{figure}_{size}", peer, error=error)


def linux(bench, kind, size, tcp):
    emit(bench, kind, size, "vmm", **tcp(bench, queues=size if kind == "pairs" else 1, smp=min(size, 8)))


def scale(bench, words, tcp):
    """tcp: groups.tcp_of."""
    if bench.where == "lab":
        for peer in bench.rounds(["vmm"]):
            for kind in ("pairs", "smp"):
                for size in SIZES[kind]:
                    attempt(bench, kind, size, peer, linux, bench, kind, size, tcp)
        return
    os.nice(19)
    for peer in bench.rounds(["vmm", "bridge"]):
        for size in SIZES["hub"]:
            attempt(bench, "hub", size, peer, switch, bench, peer, size, words)
        for kind in ("queues", "cpus") if peer == "vmm" else ():
            for size in SIZES[kind]:
                attempt(bench, kind, size, peer, one, bench, kind, size, words + " quiet")
        if peer == "vmm":
            attempt(bench, "vms", SIZES["vms"][-1], peer, machine, bench, words + " quiet")


def table(res, where):
    """Each figure against the size, with a bar that is as long as its share of the largest."""
    lines = [["", "size", "", "unit", "against the largest".ljust(BAR)]]
    for kind, figures in FIGURES.items():
        for peer in res.peers(where):
            for figure, (title, unit) in figures.items():
                rows = [(size, f"{kind}_{figure}_{size}") for size in SIZES[kind]]
                seen = {s: res.values(where, r, peer).values() for s, r in rows}
                most = max((max(v) for v in seen.values() if v), default=0)
                for size, row in rows:
                    if seen[size] or res.errors(where, row, peer):
                        share = sorted(seen[size])[len(seen[size]) // 2] / most if seen[size] and most else 0
                        name = f"{WHAT[kind]}{', bridge' if peer == 'bridge' else ''}: {title}"
                        lines.append([name, str(size), res.cell(where, row, peer), unit, ("#" * round(BAR * share)).ljust(BAR)])
    return lines
