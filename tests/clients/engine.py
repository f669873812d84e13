#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""qemu.qmp, QEMU's own library for QMP, and the shells that come with it, drive a machine.

$VMM is the VMM. Run by tests/clients/run in namespaces of its own, in an empty directory.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
import traceback

from qemu.qmp import EventListener, ExecuteError, QMPClient  # pylint: disable=import-error
from qemu.qmp.legacy import QEMUMonitorProtocol  # pylint: disable=import-error

VMM = os.environ["VMM"]
SECONDS = 60


def is_there(stopped):
    """One can connect, and the guest runs: who is stopped before is no guest that is paused."""
    if not stopped:
        with open("serial", "rb") as serial:
            return b"guest: no nic" in serial.read()
    with socket.socket(socket.AF_UNIX) as one:
        return not one.connect_ex("r")


@contextlib.contextmanager
def machine(*options):
    """One whose guest does nothing; who drives it ends it."""
    command = [VMM, "-name", "web1", "-serial", "file:serial", "-append", "test=idle", "-D", "log",
               "-qmp", "unix:q,server=on,wait=off", "-qmp", "unix:r,server=on,wait=off", *options]
    with open("serial", "wb"):
        pass
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as vmm:
        try:
            end = time.monotonic() + SECONDS
            while not is_there("-S" in options):
                assert vmm.poll() is None and time.monotonic() < end, "no guest"
                time.sleep(0.02)
            yield vmm
            assert vmm.wait(SECONDS) == 0
        finally:
            vmm.kill()


async def talk():
    client, other = QMPClient("web1"), QMPClient("other")
    await client.connect("q")
    await other.connect("r")
    heard = EventListener()
    other.register_listener(heard)

    async def hears(name):
        while True:
            event = await asyncio.wait_for(heard.get(), SECONDS)
            if event["event"] == name:
                return event

    with client.listener("STOP") as stops:
        await client.execute("stop")
        await asyncio.wait_for(stops.get(), SECONDS)
    await hears("STOP")
    assert (await client.execute("query-status"))["status"] == "paused"
    await client.execute("cont")
    await hears("RESUME")
    # Each has its answer, however many are asked at once.
    answers = await asyncio.gather(*(client.execute(c) for c in ["query-name", "query-kvm", "query-uuid", "query-version"] * 25))
    assert answers[0] == {"name": "web1"} and answers[97]["present"] and answers[99]["qemu"]["major"] == 7, answers[:4]
    for command, text in (("nope", "has not been found"), ("migrate", "not moved over QMP"), ("device_add", "no hot-plug")):
        try:
            await client.execute(command)
            raise AssertionError(command)
        except ExecuteError as error:
            assert error.error_class == "CommandNotFound" and text in str(error), error
    with open("/dev/null", "rb") as null:
        client.send_fd_scm(null.fileno())
        assert (await client.execute("add-fd", {"opaque": "null"}))["fdset-id"] == 0
    assert (await other.execute("query-fdsets"))[0]["fds"][0]["opaque"] == "null"
    names = {c["name"] for c in await client.execute("query-commands")}
    described = {s["name"] for s in await client.execute("query-qmp-schema") if s["meta-type"] == "command"}
    assert names == described and "device_add" not in names, names ^ described
    await client.execute("quit")
    assert (await hears("SHUTDOWN"))["data"]["reason"] == "host-qmp-quit"
    for one in (client, other):
        with contextlib.suppress(EOFError):
            await one.disconnect()


def qemu_qmp():
    with machine():
        asyncio.run(talk())


def qemu_qmp_legacy():
    with machine("-S"):
        monitor = QEMUMonitorProtocol("q")
        monitor.connect()
        assert monitor.cmd("query-status")["status"] == "prelaunch"
        monitor.cmd("cont")
        assert monitor.pull_event(SECONDS)["event"] == "RESUME"
        assert monitor.cmd_raw("nope")["error"]["class"] == "CommandNotFound"
        monitor.cmd("quit")
        with contextlib.suppress(EOFError):
            monitor.close()


def shell(text, *options):
    done = subprocess.run([sys.executable, "-c", "from qemu.qmp.qmp_shell import main; main()", *options, "q"], input=text,
                          capture_output=True, text=True, timeout=SECONDS, check=False)
    print(done.stdout, done.stderr)
    return done.stdout


def qmp_shell():
    with machine():
        said = shell("query-status\nset_link name=nope up=false\nnope\nstop\nquery-status\ncont\nquit\n")
        assert "Connected to QEMU 7.2.0" in said, said
        for text in ("'running': True", "'DeviceNotFound'", "'CommandNotFound'", "'status': 'paused'"):
            assert text in said.replace('"', "'").replace("true", "True"), (text, said)


def qmp_shell_hmp():
    with machine():
        said = shell("info version\nstop\ninfo status\ninfo nothing\ncont\nquit\n", "-H")
        for text in ("Welcome to the HMP shell", "7.2.0 (vmm", "VM status: paused", "there is no nothing"):
            assert text in said, (text, said)


for test in (qemu_qmp, qemu_qmp_legacy, qmp_shell, qmp_shell_hmp):
    begin = time.monotonic()
    try:
        test()
        verdict = "PASS"
    except BaseException:  # pylint: disable=broad-except
        traceback.print_exc()
        verdict = "FAIL"
    sys.stderr.flush()
    print(f"--- {verdict}: {test.__name__} ({time.monotonic() - begin:.2f}s)", flush=True)
