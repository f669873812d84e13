# SPDX-License-Identifier: MIT
"""What is measured: each group emits records (row, peer, round, value, extra) or the reason why there is none."""

import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

import api
import boots
import compare
import disks
import scale
import snapshot
import vms
from vms import GUEST, HOST, MAC, Failed, VM, ask, command, fields, guest_shell, sh, wait_for

MSS = 1448  # TCP rows count packets as full segments, so that super-frames do not flatter anyone


class Bench:
    """One worker's run: its specification, where it is, and where its records go."""

    def __init__(self, spec):
        self.spec = spec
        self.where = spec["where"]
        self.seconds = spec["seconds"]
        self.work = spec["work"]
        self.round = 0
        self.judge = compare.Judge(spec["rival"]) if "rival" in spec else None
        self.out = open(spec["out"], "a")  # pylint: disable=consider-using-with

    def tool(self, name, *args):
        return [os.path.join(self.spec["tools"], name), *map(str, args)]

    def emit(self, group, row, peer, value=None, error=None, **extra):
        record = {"group": group, "where": self.where, "row": row, "peer": peer, "round": self.round}
        record.update({"error": str(error)} if error else {"value": value})
        if extra:
            record["extra"] = extra
        if self.judge and not error:
            self.judge.add(group, row, peer, self.round, value)
        self.out.write(json.dumps(record) + "\n")
        self.out.flush()
        shown = f"failed: {error}" if error else f"{value:.4g}"
        print(f"  {self.where} round {self.round} {group} {row} {peer}: {shown}", flush=True)

    def chosen(self, row):
        return not self.spec["rows"] or row in self.spec["rows"]

    def wants(self, group, row, peer):
        """Another round of it? Of two that are compared, until their ratio is known."""
        return self.chosen(row) and (not self.judge or self.judge.wants(group, row, peer))

    def rounds(self, peers):
        """(round, peer) in turn; each round begins with another peer.  Two that are compared: only they, until all is known."""
        peers = [p for p in peers if not self.spec["peers"] or p in self.spec["peers"]]
        if self.judge:
            peers = [p for peer in peers if peer.startswith("vmm") for p in (peer, compare.other(peer, self.judge.rival))]
        for self.round in range(1, self.spec["rounds"] + 1):
            if self.judge and self.judge.look():
                return
            turn = (self.round - 1) % max(len(peers), 1)
            for peer in peers[turn:] + peers[:turn]:
                yield peer

    def launch(self, *args, seconds=60):
        """launch.c's answer as numbers; Failed with its reason."""
        options = ["--timeout", int(seconds * 1000), *args]
        out = sh(*self.tool("launch", *options), check=False, timeout=seconds + 30)
        if "ns=" not in out:
            raise Failed(out.strip().partition("failed=")[2] or "no answer from launch")
        return fields(out)

    @contextlib.contextmanager
    def running(self, line, name="vm", counted=False):
        vm = VM(line, self.work, name, counted)
        try:
            yield vm
        finally:
            vm.stop()


def words_for(bench, words):
    """The bundled guest's words: where ring 0 is interpreted it works in ring 3."""
    return f"ip={GUEST}/24 {'ring3 ' if bench.spec['interpreted'] else ''}{words}".strip()


class Costs:
    """What one measurement cost: KVM's exits, interrupts, the monitor's processor time and sleeps."""

    def __init__(self, vm, linux=False, no_guest=False):
        self.vm, self.guest_irqs, self.no_guest = vm, linux and not no_guest, no_guest
        self.before = self.look()

    def look(self):
        seen = {"tap": vms.tap_counters(), "kvm": vms.kvm_counters(), "sleeps": vms.sleeps(self.vm.pid)}
        seen["cpu"] = vms.cpu_of(self.vm.pid)
        seen["calls"] = self.vm.calls() if self.vm.counter >= 0 else 0
        seen["irqs"] = ask(GUEST, "irqs").get("irqs", 0) if self.guest_irqs else 0
        return seen

    def per(self, packets=None):
        """Per packet; packets is the number of frames on the TAP unless given."""
        if self.vm.died():
            raise Failed(self.vm.died())
        after = self.look()
        tap = {k: after["tap"][k] - self.before["tap"][k] for k in after["tap"]}
        frames = tap["from_frames"] + tap["to_frames"]
        n = packets or frames or 1
        cost = {"packets": n, "frames": frames}
        if after["kvm"] and not self.no_guest:
            delta = {k: after["kvm"][k] - self.before["kvm"][k] for k in after["kvm"]}
            cost["exits"] = {vms.EXITS[k]: v / n for k, v in delta.items()}
        if self.guest_irqs:
            cost["irqs"] = (after["irqs"] - self.before["irqs"]) / n
        cpu = {k: v - self.before["cpu"].get(k, 0) for k, v in after["cpu"].items()}
        cost["cpu_us"] = sum(cpu.values()) * 1e6 / n
        cost["loops_us"] = sum(v for k, v in cpu.items() if k not in vms.VCPUS) * 1e6 / n
        cost["sleeps"] = (after["sleeps"] - self.before["sleeps"]) / n
        if self.vm.counter >= 0:
            calls = after["calls"] - self.before["calls"]
            cost.update(syscalls=calls / n, syscalls_frame=calls / (frames or 1))
        return cost


# ------------------------------------------------------------------ network: a Linux guest

NETWORK_PEERS = ["floor", "vmm", "qemu", "vmm-vhost", "qemu-vhost", "vmm-e1000", "qemu-e1000", "microvm"]


def answers(function, *args):
    try:
        function(*args)
    except Failed:
        return False
    return True


class Far:
    """The far end: a Linux guest, or for the floor a network namespace behind two TAPs."""

    def __init__(self, bench, peer, **told):
        """told: smp, queues, calls, other than the run's."""
        self.bench, self.peer, self.space, self.servers = bench, peer, None, {}
        self.spec = dict(bench.spec, **told)
        vms.tap_make(queues=told.get("queues", 1))
        try:
            if peer == "floor":
                self.start_floor()
            else:
                self.start_guest()
            self.iperf_server()
        except BaseException:
            self.stop()
            raise

    def start_guest(self):
        line = command(self.peer, self.spec, True, f"ip={GUEST}/24", 256)
        self.vm = VM(line, self.bench.work, counted=self.spec["calls"])
        self.vm.wait_line(r"guest: up", 120)
        # Its servers start in the background: each is there when it answers, and again if the lab's emulator loses it.
        wait_for(60, "shell in the guest", lambda: answers(guest_shell, "true"))
        self.shell("while :; do load serve 7000; sleep 1; done >/dev/null 2>&1 &")
        wait_for(20, "answer of the guest's load", lambda: answers(ask, GUEST, "count"))

    def start_floor(self):
        bench = self.bench
        self.vm = VM(bench.tool("floor", "bridge", "tap0", "far0"), bench.work, "floor")
        self.vm.wait_line("ready", 10)
        self.space = VM(["unshare", "--net", "sleep", "100000"], bench.work, "space")
        mine = os.readlink("/proc/self/ns/net")
        wait_for(10, "namespace", lambda: os.readlink(f"/proc/{self.space.pid}/ns/net") != mine)
        sh("ip", "link", "set", "far0", "address", MAC, "netns", str(self.space.pid))
        self.shell(f"ip link set lo up; ip link set far0 up; ip addr add {GUEST}/24 dev far0")
        self.servers["load"] = VM(self.enter(*bench.tool("load", "serve", 7000)), bench.work, "far-load")
        wait_for(20, "answer of the far load", lambda: answers(ask, GUEST, "count"))

    def enter(self, *line):
        return ["nsenter", "-t", str(self.space.pid), "-n", *line]

    def shell(self, text):
        return sh(*self.enter("sh", "-c", text)) if self.space else guest_shell(text)

    def iperf_server(self):
        """A new one: one that was left in the middle of a test may refuse the next."""
        if self.space:
            if "iperf3" in self.servers:
                self.servers["iperf3"].stop()
            self.servers["iperf3"] = VM(self.enter("iperf3", "-s"), self.bench.work, "far-iperf")
        else:
            self.shell("killall iperf3 2>/dev/null; iperf3 -s -D >/dev/null 2>&1")
        look = "ss -ltn" if self.space else "netstat -ltn"
        wait_for(10, "iperf3 server", lambda: ":5201" in self.shell(look))

    def stop(self):
        for process in [getattr(self, "vm", None), *self.servers.values(), self.space]:
            if process:
                process.stop()


def iperf(bench, *options):
    """Bits per second received, bytes received."""
    limit = bench.seconds + 20
    line = ["iperf3", "-c", GUEST, "-t", str(bench.seconds), "-J", "--connect-timeout", "5000", *options]
    try:
        out = json.loads(sh(*line, check=False, timeout=limit) or "{}")
    except subprocess.TimeoutExpired:
        raise Failed(f"iperf3 hung for {limit} s") from None
    if "error" in out or "end" not in out:
        raise Failed(f"iperf3: {out.get('error', 'no result')}")
    got = out["end"]["sum_received"]
    return got["bits_per_second"], got["bytes"]


def tcp(*options):
    def measure(bench, far):
        costs = Costs(far.vm, True, far.peer == "floor")
        bits, size = iperf(bench, *options)
        return bits / 1e9, costs.per(max(1, size // MSS))

    return measure


def udp(size, to_guest):
    def measure(bench, far):
        ms = int(bench.seconds * 1000)
        sink = GUEST if to_guest else HOST
        costs = Costs(far.vm, True, far.peer == "floor")
        before = ask(sink, "count")["frames"]
        if to_guest:
            sent = fields(sh(*bench.tool("load", "udp", GUEST, 7001, size, ms), timeout=bench.seconds + 20))
        else:
            sent = ask(GUEST, f"udp {HOST} 7001 {size} {ms}", bench.seconds + 20)
        time.sleep(0.3)
        got = ask(sink, "count")["frames"] - before
        cost = costs.per(max(1, got))
        cost["loss_percent"] = 100 * (1 - got / sent["frames"]) if sent["frames"] else 0
        cost["sent_kpps"] = sent["frames"] * 1e6 / sent["ns"]
        return got * 1e6 / sent["ns"], cost

    return measure


def connects(clients):
    def measure(bench, far):
        ms = int(bench.seconds * 1000)
        costs = Costs(far.vm, True, far.peer == "floor")
        got = fields(sh(*bench.tool("load", "connect", GUEST, 7002, ms, clients), timeout=bench.seconds + 20))
        cost = costs.per()
        cost["failed"] = got["failed"]
        return got["connections"] * 1e9 / got["ns"], cost

    return measure


def ping_times(bench):
    count = max(20, int(bench.seconds * 50))
    out = sh("ping", "-n", "-i", "0.02", "-c", str(count), "-W", "2", GUEST, check=False, timeout=count * 0.1 + 30)
    times = sorted(float(t) * 1000 for t in re.findall(r"time=([\d.]+) ms", out))
    if not times:
        raise Failed("no ping came back")
    return times, 100 * (1 - len(times) / count)


def p99(times):
    return times[min(len(times) - 1, int(len(times) * 0.99))]


def ping_idle(bench, far):
    costs = Costs(far.vm, True, far.peer == "floor")
    times, loss = ping_times(bench)
    cost = costs.per(2 * len(times))
    return {"ping_idle": statistics.median(times), "ping_idle_p99": p99(times)}, dict(cost, loss_percent=loss)


def ping_loaded(bench, far):
    """Under one TCP stream to the guest."""
    line = ["iperf3", "-c", GUEST, "-t", str(int(bench.seconds * 3) + 5), "-J", "--connect-timeout", "5000"]
    del far
    with bench.running(line, "iperf") as load:
        time.sleep(0.5)
        if load.died():
            raise Failed(f"iperf3: {load.died()}")
        times, loss = ping_times(bench)
    return {"ping_load": statistics.median(times), "ping_load_p99": p99(times)}, {"loss_percent": loss}


# Those that leave iperf3's server in the middle of a test come last; floods after what they could disturb.
NETWORK_ROWS = [
    (("ping_idle", "ping_idle_p99"), ping_idle),
    (("tcp_to_1",), tcp()),
    (("tcp_to_4",), tcp("-P", "4")),
    (("tcp_from_1",), tcp("-R")),
    (("tcp_from_4",), tcp("-R", "-P", "4")),
    (("tcp_to_128",), tcp("-l", "128")),
    (("tcp_from_128",), tcp("-R", "-l", "128")),
    (("connect_1",), connects(1)),
    (("connect_8",), connects(8)),
    (("udp_from_64",), udp(64, False)),
    (("udp_from_1400",), udp(1400, False)),
    (("udp_to_64",), udp(64, True)),
    (("udp_to_1400",), udp(1400, True)),
    (("ping_load", "ping_load_p99"), ping_loaded),
]


def responsive(far):
    if far.vm.died():
        return True
    return " 0% packet loss" in sh("ping", "-n", "-c", "1", "-W", "1", GUEST, check=False)


def network_row(bench, far, rows, measure):
    try:
        if far.vm.died():
            raise Failed(far.vm.died())
        value, cost = measure(bench, far)
        values = value if isinstance(value, dict) else {rows[0]: value}
        for i, row in enumerate(rows):
            bench.emit("network", row, far.peer, values[row], **(cost if i == 0 else {}))
    except (Failed, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        for row in rows:
            bench.emit("network", row, far.peer, error=far.vm.died() or error)
        with contextlib.suppress(Failed, subprocess.TimeoutExpired):
            wait_for(15, "answer", lambda: responsive(far))
            if not far.vm.died():
                far.iperf_server()


def far_end(bench, peer, **told):
    """At work. The lab's emulator loses a guest now and then: a second one then, and said."""
    try:
        return Far(bench, peer, **told)
    except (Failed, OSError, subprocess.TimeoutExpired) as error:
        print(f"bench: {peer}: {error}; once more", file=sys.stderr, flush=True)
    return Far(bench, peer, **told)


def network(bench):
    chosen = [r for r in NETWORK_ROWS if any(bench.chosen(row) for row in r[0])]
    with bench.running(bench.tool("load", "serve", 7000), "serve"):
        for peer in bench.rounds(NETWORK_PEERS):
            left = [r for r in chosen if any(bench.wants("network", row, peer) for row in r[0])]
            if not left:
                continue
            try:
                far = far_end(bench, peer)
            except (Failed, OSError, subprocess.TimeoutExpired) as error:
                for rows, _ in left:
                    for row in rows:
                        bench.emit("network", row, peer, error=error)
                continue
            try:
                for rows, measure in left:
                    network_row(bench, far, rows, measure)
            finally:
                far.stop()


def tcp_of(bench, **told):
    """Four TCP streams to and from a guest of so many processors and queues: Gb/s, and processor time a packet."""
    far = far_end(bench, "vmm", calls=False, **told)
    try:
        found = {}
        for way, options in (("to", ("-P", "4")), ("from", ("-P", "4", "-R"))):
            found[way], cost = tcp(*options)(bench, far)
            found[f"{way}_us"] = cost["cpu_us"]
        return found
    finally:
        far.stop()


# ------------------------------------------------------------------ bundled: floods by the bundled guest

BUNDLED_PEERS = {
    "here": ["floor", "vmm", "qemu", "vmm-e1000", "qemu-e1000"],
    "lab": ["floor", "vmm", "qemu", "vmm-vhost", "qemu-vhost", "vmm-e1000", "qemu-e1000"],
}
BOOT = 120  # seconds a peer may take to boot the bundled guest: an interpreted SeaBIOS takes its time


def from_frames():
    return vms.tap_counters()["from_frames"]


def to_frames():
    return vms.tap_counters()["to_frames"]


def strace_calls(vm, frames):
    """System calls per packet and by name over two seconds, by strace, which slows the monitor down."""
    if not shutil.which("strace"):
        return {}
    by_name, moved = vms.strace_counts(vm.pid, 2, frames)
    n = max(1, moved)
    most = sorted(by_name.items(), key=lambda item: -item[1])[:6]
    return {"syscalls": sum(by_name.values()) / n, "syscalls_by_name": {k: v / n for k, v in most}}


def counted_calls(vm, frames):
    """System calls per packet over two seconds, exactly; {} where the kernel does not count."""
    if vm.counter < 0:
        return {}
    before, begin = frames(), vm.calls()
    time.sleep(2)
    return {"syscalls": (vm.calls() - begin) / max(1, frames() - before)}


def floor_flood(bench, size):
    vms.tap_make()
    got = fields(sh(*bench.tool("floor", "send", "tap0", size, int(bench.seconds * 1000)), timeout=bench.seconds + 20))
    return floor_record(got)


def floor_record(got):
    n = max(1, got["frames"])
    extra = {"packets": n, "cpu_us": got["cpu_ns"] / 1e3 / n, "syscalls": got["syscalls"] / n, "sleeps": got["waits"] / n}
    return got["frames"] * 1e6 / got["ns"], extra


def floor_sink(bench, size):
    ms = int(bench.seconds * 1000)
    vms.tap_make()
    with bench.running(bench.tool("floor", "recv", "tap0", ms), "floor") as floor:
        floor.wait_line("ready", 10)
        # A little longer than the receiver looks.
        with bench.running(bench.tool("load", "blast", "tap0", MAC, size, ms + 500), "blast"):
            floor.wait_line("frames=", bench.seconds + 10)
    return floor_record(fields(floor.text()))


@contextlib.contextmanager
def bundled_vm(bench, peer, words, line, counted=False):
    """The bundled guest, once it has said line."""
    vms.tap_make()
    with bench.running(command(peer, bench.spec, False, words_for(bench, words), 64), counted=counted) as vm:
        vm.wait_line(line, BOOT)
        time.sleep(0.3)
        yield vm
        if vm.died():
            raise Failed(vm.died())


def guest_flood(bench, peer, size):
    boot = (bench, peer, f"flood={size},secs={int(bench.seconds) + 30}", "flood start")
    with bundled_vm(*boot) as vm:
        costs, begin = Costs(vm), time.monotonic()
        time.sleep(bench.seconds)
        took = time.monotonic() - begin
        cost = costs.per()
        if bench.where == "here":
            cost.update(strace_calls(vm, from_frames))
    if bench.where == "lab":
        with bundled_vm(*boot, counted=True) as vm:
            cost.update(counted_calls(vm, from_frames))
    return cost["frames"] / took / 1e3, cost


def sink_totals(vm):
    return [int(n) for n in re.findall(r"sink total frames=(\d+)", vm.text())]


def blast(bench, vm, size, seconds):
    """Frames that reached the guest, by its own count; and how long they were sent."""
    have = len(sink_totals(vm))
    sent = fields(sh(*bench.tool("load", "blast", "tap0", MAC, size, int(seconds * 1000)), timeout=seconds + 20))

    def total():
        if vm.died():
            raise Failed(vm.died())
        return len(sink_totals(vm)) > have

    wait_for(15, "'sink total' from the guest", total)
    return sink_totals(vm)[-1], sent


def sink_calls(bench, vm, size):
    """System calls in a run of their own, in the middle of a blast."""
    have = len(sink_totals(vm))
    with bench.running(bench.tool("load", "blast", "tap0", MAC, size, 4000), "blast"):
        time.sleep(0.5)
        found = strace_calls(vm, to_frames) if bench.where == "here" else counted_calls(vm, to_frames)
    with contextlib.suppress(Failed):
        wait_for(8, "the end of the blast", lambda: len(sink_totals(vm)) > have)
    return found


def guest_sink(bench, peer, size):
    boot = (bench, peer, "sink", "net up")
    with bundled_vm(*boot) as vm:
        costs = Costs(vm)
        got, sent = blast(bench, vm, size, bench.seconds)
        cost = costs.per(max(1, got))
        if bench.where == "here":
            cost.update(sink_calls(bench, vm, size))
    if bench.where == "lab":
        with bundled_vm(*boot, counted=True) as vm:
            cost.update(sink_calls(bench, vm, size))
    return got * 1e6 / sent["ns"], cost


def bundled_peer(bench, peer):
    for row, of_floor, of_guest in (("flood", floor_flood, guest_flood), ("sink", floor_sink, guest_sink)):
        for size in (60, 1514):
            if not bench.wants("bundled", f"{row}_{size}", peer):
                continue
            try:
                value, cost = of_floor(bench, size) if peer == "floor" else of_guest(bench, peer, size)
                bench.emit("bundled", f"{row}_{size}", peer, value, **cost)
            except (Failed, OSError, KeyError, subprocess.TimeoutExpired) as error:
                bench.emit("bundled", f"{row}_{size}", peer, error=error)


def bundled(bench):
    for peer in bench.rounds(BUNDLED_PEERS[bench.where]):
        bundled_peer(bench, peer)


def floor(bench):
    for peer in bench.rounds(["floor"]):
        bundled_peer(bench, peer)


# ------------------------------------------------------------------ start

START_PEERS = ["vmm", "qemu", "microvm", "microvm-seabios"]


def start_ns(bench, line, *until, seconds):
    """The median of five starts; of one where a start takes more than a second."""
    vms.tap_make(queue=4)
    # Nobody answers ARP before the guest is up; retries a second apart would blur the time to the reply.
    sh("ip", "neigh", "replace", GUEST, "lladdr", MAC, "dev", "tap0", "nud", "permanent")
    times = []
    while not times or (times[0] < 1e9 and len(times) < 5):
        times.append(bench.launch(*until, "--", *line, seconds=seconds)["ns"])
    return statistics.median(times)


def start(bench):
    bundled_loud, bundled_quiet = words_for(bench, ""), words_for(bench, "quiet")
    rows = [
        ("start_serial", False, bundled_loud, ["--serial"], BOOT),
        ("start_line", False, bundled_loud, ["--line", "\n"], BOOT),
        ("start_ping", False, bundled_quiet, ["--ping", GUEST], BOOT),
    ]
    if bench.where == "lab":
        rows.append(("start_linux", True, f"ip={GUEST}/24", ["--line", "guest: up"], 90))
    for peer in bench.rounds(START_PEERS):
        for row, linux, words, until, seconds in rows:
            if not bench.wants("start", row, peer):
                continue
            try:
                if row == "start_ping" and peer.startswith("microvm"):
                    raise Failed("the bundled guest finds no NIC: microvm has no PCI configuration ports")
                line = command(peer, bench.spec, linux, words, 256)
                bench.emit("start", row, peer, start_ns(bench, line, *until, seconds=seconds) / 1e6)
            except (Failed, OSError, subprocess.TimeoutExpired) as error:
                bench.emit("start", row, peer, error=error)


# ------------------------------------------------------------------ density


class Crowd:
    """Many VMs with the bundled guest, each on a TAP and a subnet of its own."""

    def __init__(self, bench, peer, count):
        self.bench, self.peer, self.mb, self.vms = bench, peer, 64, []
        try:
            for i in range(count):
                tap, mac = f"tap{i}", f"52:54:00:00:01:{i:02x}"
                vms.tap_make(tap, f"10.0.{i}.1/24")
                words = words_for(bench, "quiet").replace(GUEST, f"10.0.{i}.2")
                line = command(peer, bench.spec, False, words, self.mb, tap, mac)
                self.vms.append(VM(line, bench.work, f"vm{i}"))
            for i, vm in enumerate(self.vms):
                vm.wait_line("net up", BOOT + 5 * count)
                sh("ping", "-n", "-c", "3", "-W", "2", "-i", "0.1", f"10.0.{i}.2", check=False)
        except BaseException:
            self.stop()
            raise

    def memory(self):
        """KiB per VM."""
        seen = [vms.memory(vm.pid, self.mb) for vm in self.vms]
        return {k: sum(s[k] for s in seen) / len(seen) for k in seen[0]}

    def idle(self, seconds):
        """Processor time in percent of one CPU and sleeps per second, of all together."""
        time.sleep(2)
        cpu, sleeps = self.totals()
        begin = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - begin
        cpu2, sleeps2 = self.totals()
        return 100 * (cpu2 - cpu) / took, (sleeps2 - sleeps) / took

    def totals(self):
        for vm in self.vms:
            if vm.died():
                raise Failed(vm.died())
        return sum(vms.cpu_seconds(vm.pid) for vm in self.vms), sum(vms.sleeps(vm.pid) for vm in self.vms)

    def stop(self):
        for vm in self.vms:
            vm.kill()
        for i, vm in enumerate(self.vms):
            vm.stop()
            sh("ip", "link", "del", f"tap{i}", check=False)


def crowd_rows(bench, peer, count):
    name = "one" if count == 1 else "many"
    rows = [f"rss_{name}", f"pss_{name}", f"idle_cpu_{name}", f"idle_wakes_{name}"]
    crowd = None
    try:
        crowd = Crowd(bench, peer, count)
        kib = crowd.memory()
        extra = {"vms": count, "guest_ram_touched_kib": kib["ram_Rss"], "threads": kib["threads"]}
        bench.emit("density", rows.pop(0), peer, kib["Rss"], **extra)
        bench.emit("density", rows.pop(0), peer, kib["Pss"], **extra)
        cpu, wakes = crowd.idle(bench.spec["idle"])
        bench.emit("density", rows.pop(0), peer, cpu, vms=count)
        bench.emit("density", rows.pop(0), peer, wakes, vms=count)
    except (Failed, OSError, subprocess.TimeoutExpired) as error:
        for row in rows:
            bench.emit("density", row, peer, error=error, vms=count)
    finally:
        if crowd:
            crowd.stop()


def density(bench):
    many = bench.spec["many"]
    for peer in bench.rounds(["vmm", "qemu"]):
        if peer == "vmm":
            try:
                vms.tap_make(queue=4)
                sh("ip", "neigh", "replace", GUEST, "lladdr", MAC, "dev", "tap0", "nud", "permanent")
                line = command(peer, bench.spec, False, words_for(bench, "quiet"), 64)
                ms = int(max(2, bench.seconds) * 1000)
                got = bench.launch("--repeat", ms, "--ping", GUEST, "--", *line)
                bench.emit("density", "starts_per_second", peer, got["starts"] * 1e9 / got["ns"])
            except (Failed, OSError, subprocess.TimeoutExpired) as error:
                bench.emit("density", "starts_per_second", peer, error=error)
            sh("ip", "link", "del", "tap0", check=False)
        crowd_rows(bench, peer, 1)
        # QEMU's start is a matter of seconds of processor time each on an interpreting KVM: fewer of them.
        crowd_rows(bench, peer, many if peer == "vmm" else max(2, many // 20))


# ------------------------------------------------------------------ size


def libraries(program):
    out = sh("ldd", program, check=False)
    return sum(os.path.getsize(os.path.realpath(f)) for f in re.findall(r"(/\S+) \(0x", out))


def life(bench, peer):
    """Names of the system calls from exec to the end: boot, pings, power button."""
    vms.tap_make()
    trace = os.path.join(bench.work, "strace.out")
    line = command(peer, bench.spec, False, words_for(bench, ""), 64)
    names = set()
    with bench.running(["strace", "-f", "-q", "-o", trace, *line]) as tracer:
        tracer.wait_line("net up", BOOT)
        sh("ping", "-n", "-c", "10", "-i", "0.05", "-W", "2", GUEST, check=False)
        with open(f"/proc/{tracer.pid}/task/{tracer.pid}/children") as f:
            for pid in f.read().split():
                os.kill(int(pid), signal.SIGTERM)
        wait_for(20, "end", lambda: tracer.process.poll() is not None)
    with open(trace, errors="replace") as f:
        for text in f:
            found = re.match(r"\d+\s+([a-z]\w*)\(", text)
            if found:
                names.add(found[1])
    return sorted(names)


def size(bench):
    bench.round = 1
    qemu = shutil.which("qemu-system-x86_64")
    bench.emit("size", "binary_bytes", "vmm", os.path.getsize(bench.spec["vmm"]))
    if qemu:
        firmware = next((f for f in ("/usr/share/seabios/bios-256k.bin",) if os.path.exists(f)), None)
        total = os.path.getsize(os.path.realpath(qemu)) + (os.path.getsize(firmware) if firmware else 0)
        bench.emit("size", "binary_bytes", "qemu", total + libraries(qemu), what="program, its libraries, SeaBIOS")
    for peer in ["vmm", "qemu"]:
        try:
            names = life(bench, peer)
            bench.emit("size", "syscall_names", peer, len(names), names=names)
        except (Failed, OSError, subprocess.TimeoutExpired) as error:
            bench.emit("size", "syscall_names", peer, error=error)


GROUPS = {
    "network": network, "bundled": bundled, "floor": floor, "start": start, "density": density, "size": size,
    "api": lambda bench: api.api(bench, words_for(bench, "quiet")), "boot": boots.boot,
    "snapshot": lambda bench: snapshot.snapshot(bench, words_for(bench, "")), "disk": lambda bench: disks.disk(bench, Costs),
    "scale": lambda bench: scale.scale(bench, words_for(bench, ""), tcp_of),
}
PLACES = {
    "network": ["lab"], "bundled": ["here", "lab"], "floor": ["here", "lab"], "start": ["here", "lab"],
    "density": ["here"], "size": ["here"], "api": ["here"], "snapshot": ["here"], "boot": ["lab"], "disk": ["lab"],
    "scale": ["here", "lab"],
}
