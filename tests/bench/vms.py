# SPDX-License-Identifier: MIT
"""The monitors that are measured, how each is started, and what can be read of a running one."""

import ctypes
import glob
import os
import re
import signal
import socket
import subprocess
import threading
import time

MAC = "52:54:00:00:00:02"
HOST, GUEST = "10.0.0.1", "10.0.0.2"
LINUX_WORDS = (
    "console=ttyS0 quiet mitigations=off cryptomgr.notests init_on_alloc=0 "
    "rcupdate.rcu_expedited=1 panic=-1"
)


class Failed(Exception):
    """A measurement that could not be taken; its text becomes the cell of the table."""


def command(peer, spec, linux, words, mem, tap="tap0", mac=MAC):
    """The command line of a peer with one NIC on a TAP; its console on standard output."""
    model = "e1000" if peer.endswith("-e1000") else "virtio-net-pci"
    vhost = "on" if peer.endswith("-vhost") else "off"
    if peer.startswith(("vmm", "was")):
        line = [spec[peer[:3]], "-m", f"{mem}M", "-smp", str(spec["smp"])]
        nic = f"{tap},mac={mac},model={model}" + (",vhost=on" if vhost == "on" else "")
        nic += f",queues={spec['queues']},mq=on" if spec.get("queues", 1) > 1 else ""
        line += ["-tap", nic]
        if linux:
            line += ["-kernel", spec["kernel"], "-initrd", spec["initrd"]]
    else:
        line = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", str(mem), "-smp", str(spec["smp"])]
        line += ["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]
        if peer.startswith("microvm"):
            # pcie=on: the guest has the same virtio-net-pci as everywhere; the machine itself stays the small one.
            line += ["-M", "microvm,pcie=on", "-bios", "bios-microvm.bin" if "seabios" in peer else "qboot.rom"]
        tap_options = f"tap,id=n,ifname={tap},script=no,downscript=no"
        if model != "e1000":
            tap_options += f",vhost={vhost}"
        device = f"{model},netdev=n,mac={mac},romfile="
        if peer.startswith("microvm"):
            device += ",disable-legacy=on"  # it has no I/O space for a legacy BAR
        line += ["-netdev", tap_options, "-device", device]
        line += ["-kernel", spec["kernel"] if linux else spec["bundled"]]
        if linux:
            line += ["-initrd", spec["initrd"]]
    text = f"{LINUX_WORDS} {words}" if linux else words
    return line + ["-append", text.strip()]


def sh(*args, check=True, timeout=60):
    done = subprocess.run(args, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    if check and done.returncode:
        why = (done.stderr or done.stdout).strip().splitlines()
        raise Failed(f"{args[0]}: {why[-1] if why else done.returncode}")
    return done.stdout


def tap_make(name="tap0", address=f"{HOST}/24", queue=1000, queues=1):
    """A fresh TAP, so that no peer meets another's state."""
    sh("ip", "link", "del", name, check=False)
    sh("ip", "tuntap", "add", "dev", name, "mode", "tap", "vnet_hdr", *(["multi_queue"] if queues > 1 else []))
    sh("ip", "addr", "add", address, "dev", name)
    sh("ip", "link", "set", name, "txqueuelen", str(queue), "up")


def wait_for(seconds, what, test):
    end = time.monotonic() + seconds
    while True:
        got = test()
        if got:
            return got
        if time.monotonic() > end:
            raise Failed(f"no {what} within {seconds:.0f} s")
        time.sleep(0.02)


class VM:
    """A running monitor (or the floor's program) and its console's text."""

    def __init__(self, line, work, name="vm", counted=False):
        """counted: its system calls are, from exec on; see calls()."""
        if counted:
            line = ["sh", "-c", 'read -r _; exec "$@" </dev/null', "sh", *line]
        self.log = os.path.join(work, f"{name}.out")
        self.err = os.path.join(work, f"{name}.err")
        with open(self.log, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                line, stdin=subprocess.PIPE if counted else subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )
        self.pid = self.process.pid
        self.counter = perf_open("raw_syscalls/sys_enter", self.pid) if counted else -1
        if counted:
            self.process.stdin.write(b"\n")
            self.process.stdin.close()

    def calls(self):
        """System calls so far."""
        return int.from_bytes(os.read(self.counter, 8), "little")

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def died(self):
        """A sentence if it has ended, else nothing."""
        status = self.process.poll()
        if status is None:
            return ""
        with open(self.err, errors="replace") as f:
            words = f.read().strip().splitlines()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return f"it ended with {how}" + (f": {words[-1]}" if words else "")

    def wait_line(self, pattern, seconds):
        def look():
            found = re.search(pattern, self.text())
            if not found and self.died():
                raise Failed(self.died())
            return found

        return wait_for(seconds, repr(pattern), look)

    def kill(self):
        """It and whatever it has started (strace's child, say)."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def stop(self):
        self.kill()
        self.process.wait()
        if self.counter >= 0:
            os.close(self.counter)
            self.counter = -1


# ------------------------------------------------------------------ what the kernel tells of a process


def cpu_seconds(pid):
    """Time on a processor of all its threads, in the kernel and as a guest included."""
    return time.clock_gettime((~pid << 3) | 2)


def stat_ticks(path):
    """Ticks in user mode, in the kernel, and of these as a guest."""
    with open(path) as f:
        v = f.read().rpartition(")")[2].split()
    return int(v[11]), int(v[12]), int(v[40])


OUTER_PROC = "/proc/self/fd/9"  # see isolate() in run


def vhost_threads():
    """vhost's kernel threads, as directories; there is one monitor at a time, in the lab."""
    for path in glob.glob(f"{OUTER_PROC}/[0-9]*/comm"):
        try:
            with open(path) as f:
                if f.read().startswith("vhost-"):
                    yield os.path.dirname(path)
        except OSError:
            pass


VCPUS = set()  # threads that were once seen to run a guest


def is_vcpu(task, guest_ticks):
    """By guest time, or in the midst of ioctl KVM_RUN (0xae80), where an idle one waits."""
    if task not in VCPUS:
        try:
            with open(f"{task}/syscall") as f:
                words = f.read().split()
        except OSError:
            words = []
        if guest_ticks or (len(words) > 2 and words[0] == "16" and words[2] == "0xae80"):
            VCPUS.add(task)
    return task in VCPUS


def cpu_of(pid):
    """Seconds of the monitor without its guest's, with vhost's threads: {thread: seconds}."""
    hz = os.sysconf("SC_CLK_TCK")
    seen = {}
    for task in [*glob.glob(f"/proc/{pid}/task/*"), *vhost_threads()]:
        try:
            user, kernel, guest = stat_ticks(f"{task}/stat")
        except OSError:
            continue
        is_vcpu(task, guest)
        seen[task] = (user + kernel - guest) / hz
    return seen


def sleeps(pid):
    """How often its threads and vhost's have gone to sleep, which is how often they were woken."""
    total = 0
    for task in [*glob.glob(f"/proc/{pid}/task/*"), *vhost_threads()]:
        try:
            with open(f"{task}/status") as f:
                total += int(re.search(r"\nvoluntary_ctxt_switches:\s*(\d+)", f.read())[1])
        except OSError:
            pass
    return total


def memory(pid, guest_mb):
    """KiB resident and proportional, without guest RAM: the mappings of at least half its size."""
    totals = {"Rss": 0, "Pss": 0, "ram_Rss": 0, "threads": len(os.listdir(f"/proc/{pid}/task"))}
    ram = False
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
            if head:
                ram = int(head[2], 16) - int(head[1], 16) >= guest_mb << 19
                continue
            name, _, value = line.partition(":")
            if name in ("Rss", "Pss"):
                kib = int(value.split()[0])
                if not ram:
                    totals[name] += kib
                elif name == "Rss":
                    totals["ram_Rss"] += kib
    return totals


def tap_counters(name="tap0"):
    with open("/proc/net/dev") as f:
        for line in f:
            if line.strip().startswith(name + ":"):
                v = [int(x) for x in line.split(":")[1].split()]
                return {"from_bytes": v[0], "from_frames": v[1], "to_bytes": v[8], "to_frames": v[9], "dropped": v[11]}
    raise Failed(f"{name} is gone")


# KVM's own counters: what they are called in debugfs, and how the tables call them.
EXITS = {
    "exits": "all",
    "io_exits": "port to user",
    "mmio_exits": "mmio to user",
    "halt_exits": "hlt",
    "irq_exits": "host irq",
    "irq_window_exits": "irq window",
    "signal_exits": "signal",
    "insn_emulation": "emulated",
    "irq_injections": "injected",
    "halt_wakeup": "hlt wakeups",
}


def kvm_counters():
    """All VMs' sum; there is one at a time. Empty where there is no debugfs."""
    found = {}
    for name in EXITS:
        try:
            with open(f"/sys/kernel/debug/kvm/{name}") as f:
                found[name] = int(f.read())
        except OSError:
            pass
    return found


# ------------------------------------------------------------------ system calls


class PerfAttr(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * 64),
    ]


def perf_open(event, pid):
    """A counter of a tracepoint for pid and all threads it will start; -1 where the kernel offers none.

    Not for a process that is busy: to switch the tracepoint on under a flood has hung the lab's processors for good."""
    try:
        with open(f"/sys/kernel/debug/tracing/events/{event}/id") as f:
            attr = PerfAttr(type=2, size=112, config=int(f.read()), flags=2)  # inherit
    except OSError:
        return -1
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(298, ctypes.byref(attr), pid, -1, -1, 8)


def strace_counts(pid, seconds, frames):
    """System calls by name over some seconds, by strace, and the frames moved meanwhile."""
    threads = len(os.listdir(f"/proc/{pid}/task"))
    tracer = subprocess.Popen(
        ["strace", "-f", "-c", "-U", "calls,name", "-p", str(pid)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )
    found = {}
    # Whatever it waits for, it does not wait for ever.
    limit = threading.Timer(seconds + 30, tracer.kill)
    limit.start()
    try:
        # "Process N attached", or "Process N attached with M threads".
        for line in tracer.stderr:
            many = re.search(r"attached with (\d+) threads", line)
            threads -= int(many[1]) if many else 1
            if threads <= 0:
                break
        before = frames()
        time.sleep(seconds)
        moved = frames() - before
        tracer.send_signal(signal.SIGINT)
        text = tracer.stderr.read()
    finally:
        limit.cancel()
        if tracer.poll() is None:
            tracer.kill()
        tracer.wait()
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0].isdigit() and words[1] != "total":
            found[words[1]] = int(words[0])
    return found, moved


# ------------------------------------------------------------------ commands to the Linux guest


def guest_shell(text, seconds=20, address=GUEST):
    """A shell line in the guest, by its init's protocol (tests/lab/guest.init)."""
    try:
        with socket.create_connection((address, 2323), timeout=seconds) as s:
            s.settimeout(seconds)
            s.sendall(f"{text}\n@@end\n".encode())
            out = b""
            while not re.search(rb"@@rc \d+\n", out):
                got = s.recv(65536)
                if not got:
                    break
                out += got
    except OSError as error:
        raise Failed(f"the guest does not answer: {error}") from None
    found = re.search(rb"(?s)(.*?)\n?@@rc (\d+)\n", out)
    if not found or found[2] != b"0":
        raise Failed(f"in the guest, {text!r}: {out.decode(errors='replace').strip()[-100:]}")
    return found[1].decode(errors="replace")


def fields(text):
    """'frames=5 ns=7' as a dictionary of numbers."""
    return {k: int(v) for k, v in re.findall(r"(\w+)=(-?\d+)", text)}


def ask(address, line, seconds=20):
    """A command to `load serve` at address."""
    try:
        with socket.create_connection((address, 7000), timeout=seconds) as s:
            s.settimeout(seconds)
            s.sendall(line.encode() + b"\n")
            out = b""
            while not out.endswith(b"\n"):
                got = s.recv(4096)
                if not got:
                    break
                out += got
    except OSError as error:
        raise Failed(f"no answer from {address}: {error}") from None
    return fields(out.decode())
