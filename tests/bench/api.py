# SPDX-License-Identifier: MIT
"""Firecracker's API: how soon it answers, what a start through it costs beside one without, memory, and time of a PATCH."""

import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import time

import vms
from vms import Failed, GUEST, MAC, VM, sh

ROWS = {
    "api_first": ("exec to the API's first answer", "ms", "less"),
    "api_puts": ("the four PUTs before InstanceStart", "ms", "less"),
    "api_ping": ("exec to first ping reply, by the API", "ms", "less"),
    "api_ping_file": ("exec to first ping reply, by a file, no API", "ms", "less"),
    "api_memory": ("memory of its own, running, with the API", "KiB", "less"),
    "api_memory_file": ("memory of its own, running, without it", "KiB", "less"),
    "api_get": ("GET / of a running guest, median", "µs", "less"),
    "api_patch": ("PATCH /drives of a running guest, median", "µs", "less"),
    "api_pause": ("PATCH /vm, paused and resumed, median", "µs", "less"),
}
ASKS = 1000


class Unix(http.client.HTTPConnection):
    """Over a socket in the file system."""

    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, method, path, body=None):
        self.request(method, path, body and json.dumps(body))
        answer = self.getresponse()
        text = answer.read().decode()
        if answer.status >= 300:
            raise Failed(f"{method} {path}: {answer.status} {text}")
        return text


def config(bench, words):
    disk = os.path.join(bench.work, "api.disk")
    with open(disk, "wb") as file:
        file.truncate(1 << 20)
    return {
        "boot-source": {"kernel_image_path": bench.spec["bundled"], "boot_args": words},
        "machine-config": {"vcpu_count": bench.spec["smp"], "mem_size_mib": 256},
        "drives": [{"drive_id": "root", "path_on_host": disk, "is_root_device": True, "is_read_only": False}],
        "network-interfaces": [{"iface_id": "1", "host_dev_name": "tap0", "guest_mac": MAC}],
    }


def puts(told):
    """The same as requests."""
    return [("/boot-source", told["boot-source"]), ("/machine-config", told["machine-config"]),
            ("/drives/root", told["drives"][0]), ("/network-interfaces/1", told["network-interfaces"][0]),
            ("/actions", {"action_type": "InstanceStart"})]


def requests(told):
    """The same as text, one after the other."""
    text = ""
    for path, body in puts(told):
        body = json.dumps(body)
        text += f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    return text


def own_memory(pid):
    """Proportional share of all mappings but the guest's memory, in KiB."""
    total, mib = 0, 0
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as file:
        for line in file:
            if line.startswith("Size:"):
                mib = int(line.split()[1]) >> 10
            elif line.startswith("Pss:") and mib < 64:
                total += int(line.split()[1])
    return total


def median_us(ask):
    times = []
    for _ in range(ASKS):
        begin = time.monotonic_ns()
        ask()
        times.append((time.monotonic_ns() - begin) / 1e3)
    return statistics.median(times)


class Api:
    """Firecracker's personality of the VMM, in the worker's directory."""

    def __init__(self, bench):
        self.bench = bench
        self.sock = os.path.join(bench.work, "api.sock")
        self.file = os.path.join(bench.work, "api.json")
        self.say = os.path.join(bench.work, "api.requests")
        self.told = told = config(bench, bench.words)
        with open(self.file, "w", encoding="utf-8") as file:
            json.dump(told, file)
        with open(self.say, "w", encoding="utf-8") as file:
            file.write(requests(told))
        self.by_api = [bench.spec["vmm"], "--api-sock", self.sock]
        self.by_file = [bench.spec["vmm"], "--no-api", "--config-file", self.file]

    def started(self, line, *until):
        vms.tap_make(queue=4)
        sh("ip", "neigh", "replace", GUEST, "lladdr", MAC, "dev", "tap0", "nud", "permanent")
        return statistics.median(self.bench.launch(*until, "--", *line)["ns"] for _ in range(5)) / 1e6

    def put_ms(self):
        """A start's requests but the last, by a client that waits for each answer."""
        with self.running(self.by_api, False):
            client = Unix(self.sock)
            client.connect()
            begin = time.monotonic_ns()
            for path, body in puts(self.told)[:-1]:
                client.ask("PUT", path, body)
            return (time.monotonic_ns() - begin) / 1e6

    @contextlib.contextmanager
    def running(self, line, guest=True):
        vms.tap_make()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.sock)
        vm = VM(line, self.bench.work, "api")
        try:
            if guest:
                vm.wait_line("net up", 30)
            else:
                vms.wait_for(30, self.sock, lambda: os.path.exists(self.sock) or vm.died())
            yield vm
        finally:
            vm.stop()

    def row(self, row):
        """Its value."""
        with_file = [*self.by_api, "--config-file", self.file]
        if row == "api_first":
            return self.started(self.by_api, "--api", self.sock)
        if row == "api_puts":
            return statistics.median(self.put_ms() for _ in range(5))
        if row == "api_ping":
            return self.started(self.by_api, "--api", self.sock, "--say", self.say, "--ping", GUEST)
        if row == "api_ping_file":
            return self.started(self.by_file, "--ping", GUEST)
        with self.running(self.by_file if row == "api_memory_file" else with_file) as vm:
            if row.startswith("api_memory"):
                return own_memory(vm.pid)
            client = Unix(self.sock)
            if row == "api_get":
                return median_us(lambda: client.ask("GET", "/"))
            if row == "api_patch":
                return median_us(lambda: client.ask("PATCH", "/drives/root", {"drive_id": "root"}))
            return median_us(lambda: [client.ask("PATCH", "/vm", {"state": state}) for state in ("Paused", "Resumed")])


def api(bench, words):
    bench.words = words
    for peer in bench.rounds(["vmm"]):
        for row in ROWS:
            if not bench.wants("api", row, peer):
                continue
            try:
                bench.emit("api", row, peer, Api(bench).row(row))
            except (Failed, OSError, subprocess.TimeoutExpired) as error:
                bench.emit("api", row, peer, error=error)
