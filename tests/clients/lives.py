# SPDX-License-Identifier: MIT
"""Whole lives of machines by two Python clients of Firecracker's API, as their users live them.

In its working directory is `firecracker`, the VMM; $KERNEL is the bundled guest. Run by tests/clients/run as root of namespaces
of its own. What a client wants of the host or the guest beside a VMM is played here: a default route, iptables, sshd.
A client makes its machine in a process that ends, as its command does: who stops the machine is another one.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types

HERE = os.getcwd()
KERNEL = os.environ["KERNEL"]


def sh(*line):
    subprocess.run(line, check=True)


def ping(address, seconds=30):
    end = time.monotonic() + seconds
    while subprocess.run(["ping", "-n", "-q", "-c", "1", "-W", "1", address], capture_output=True, check=False).returncode:
        if time.monotonic() > end:
            raise TimeoutError(f"no ping from {address}")


def elsewhere(function):
    """What it returns, a line of text, from a process of its own, which has ended by then."""
    get, put = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.write(put, function().encode())
            status = 0
        except BaseException:  # pylint: disable=broad-except
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(put)
    with os.fdopen(get) as answer:
        text = answer.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, f"status {status}"
    return text


def gone(pid):
    """Not even a zombie: its parent has ended, and process 1 takes in what is left."""
    return not os.path.exists(f"/proc/{pid}")


def firecracker_python():
    # No image is built, no shell opened, no rule of NAT made; and nobody outside is asked for this host's address.
    sys.modules["docker"] = types.SimpleNamespace(from_env=lambda: None)
    sys.modules["paramiko"] = types.SimpleNamespace(SSHClient=object, AutoAddPolicy=object, SSHException=Exception)

    class Nftables:
        """Takes any rule, has none."""

        def set_json_output(self, _):
            pass

        def json_cmd(self, _):
            return 0, {"nftables": []}, ""

    sys.modules["nftables"] = types.SimpleNamespace(Nftables=Nftables)
    from firecracker import config, microvm  # pylint: disable=import-outside-toplevel,import-error

    microvm.get_public_ip = lambda: "127.0.0.1"
    # Who starts it lets it go on with disks and sockets of this directory: the client cannot say so.
    with open("allowing", "w", encoding="ascii") as script:
        script.write(f'#!/bin/sh\nexec "{HERE}/firecracker" --allow-path "{HERE}" "$@"\n')
    os.chmod("allowing", 0o755)
    places = {"data_path": f"{HERE}/fp", "binary_path": f"{HERE}/allowing", "snapshot_path": f"{HERE}/fp.snapshots"}
    init = config.MicroVMConfig.__init__
    init.__defaults__ = tuple(places.get(name, default) for name, default in
                              zip(config.MicroVMConfig.__dataclass_fields__, init.__defaults__))
    os.mkdir("fp")
    with open("fp.rootfs", "wb") as image:
        image.truncate(1 << 20)

    def make():
        vm = microvm.MicroVM(name="one", kernel_file=KERNEL, base_rootfs=f"{HERE}/fp.rootfs", vcpu=1, memory="128M",
                             ip_addr="172.16.0.2", vsock_enabled=True, labels={"test": "yes"})
        text = vm.create()
        assert text.endswith(" created"), text
        return text.split()[1]

    name = elsewhere(make)
    ping("172.16.0.2")
    vm = microvm.MicroVM(name="two", kernel_file=KERNEL, base_rootfs=f"{HERE}/fp.rootfs")
    (told,) = vm.list()
    assert (told["id"], told["ip_addr"], told["state"]) == (name, "172.16.0.2", "Running"), told
    asked = vm.config(name)
    assert asked["machine-config"]["mem_size_mib"] == 128, asked
    assert asked["boot-source"]["boot_args"].startswith("console=ttyS0 reboot=k"), asked
    assert [d["drive_id"] for d in asked["drives"]] == ["rootfs"], asked
    assert asked["vsock"]["guest_cid"] == 3, asked
    vm.pause(name)
    assert vm._vmm.get_vmm_state(name) == "Paused"
    vm.resume(name)
    assert vm._vmm.get_vmm_state(name) == "Running"
    assert vm._vmm.get_vmm_ip_addr(name) == "172.16.0.2"
    ping("172.16.0.2")
    vm._api = microvm.Api(f"{HERE}/fp/{name}/firecracker.socket")
    vm.snapshot(name, action="create", memory_path=f"{HERE}/fp.memory", snapshot_path=f"{HERE}/fp.state")
    ping("172.16.0.2")
    # A machine's disk is the image that the next one goes on with.
    os.rename(f"fp/{name}/rootfs/fp.rootfs", "fp.kept")
    begin = time.monotonic()
    assert vm.delete(name).endswith("is deleted")
    assert gone(told["pid"]) and time.monotonic() - begin < 5, "not ended by SIGTERM"

    def load():
        new = microvm.MicroVM(name="three", kernel_file=KERNEL, base_rootfs=f"{HERE}/fp.rootfs", ip_addr="172.16.0.2")
        os.makedirs(f"fp/{name}/rootfs")
        os.rename("fp.kept", f"fp/{name}/rootfs/fp.rootfs")
        new._network.setup(tap_name=new._host_dev_name, iface_name=new._iface_name, gateway_ip=new._gateway_ip)
        new._run_firecracker()
        new.snapshot(action="load", memory_path=f"{HERE}/fp.memory", snapshot_path=f"{HERE}/fp.state")
        assert new._host_dev_name != f"tap_{name}"
        return f"{new._microvm_id} {new._process.get_pid(new._microvm_id)[0]}"

    other, pid = elsewhere(load).split()
    ping("172.16.0.2")
    assert vm._vmm.get_vmm_state(other) == "Running"
    os.kill(int(pid), signal.SIGTERM)


def microheart():
    from microheart import assets, vm as machines  # pylint: disable=import-outside-toplevel,import-error

    os.environ["MICROHEART_HOME"] = f"{HERE}/mh"
    os.mkdir("mh")
    os.symlink(f"{HERE}/firecracker", "mh/firecracker")
    os.symlink(KERNEL, "mh/vmlinux-6.1.0")
    assert assets.kernel_path().name == "vmlinux-6.1.0"
    with open("mh.rootfs", "wb") as image:
        image.truncate(1 << 20)

    class Machine(machines.MicroVM):
        """Its kernel is not Linux: it is told its address in its own words, and reboots by itself, once it was pinged."""

        def config(self, disk):
            told = super().config(disk)
            told["boot-source"]["boot_args"] += f" ip={self.guest_ip}/30 test=reboot reboot=kbd on=ping after=2500"
            return told

    def make():
        vm = Machine("one", rootfs="mh.rootfs", key="mh.rootfs")
        assert vm.start(wait=30) is not None
        return str(vm.pid())

    pid = int(elsewhere(make))
    vm = Machine("one", rootfs="mh.rootfs", key="mh.rootfs")
    assert vm.pid() == pid
    told = vm.machine_config()
    assert (told["vcpu_count"], told["mem_size_mib"]) == (1, 256), told
    begin = time.monotonic()
    while not gone(pid):
        assert time.monotonic() - begin < 20, "the guest's reboot did not end the VMM"
        time.sleep(0.05)
    assert "test=reboot" in vm.tail(), vm.tail()
    vm.clean()


def play_host():
    os.mkdir("bin")
    for name, text in (("iptables", "exit 0"), ("sysctl", "exit 0"),
                       ("ssh", 'for a; do case $a in root@*) exec ping -n -q -c 1 -W 1 "${a#root@}" ;; esac; done')):
        with open(f"bin/{name}", "w", encoding="ascii") as script:
            script.write(f"#!/bin/sh\n{text}\n")
        os.chmod(f"bin/{name}", 0o755)
    os.environ["PATH"] = f"{HERE}/bin:{os.environ['PATH']}"
    sh("ip", "tuntap", "add", "dev", "outside", "mode", "tap")
    sh("ip", "addr", "add", "192.0.2.1/24", "dev", "outside")
    sh("ip", "link", "set", "outside", "up")
    sh("ip", "route", "add", "default", "dev", "outside")


def main():
    play_host()
    bad = 0
    for life in (firecracker_python, microheart):
        begin, word = time.monotonic(), "PASS"
        try:
            life()
        except BaseException:  # pylint: disable=broad-except
            traceback.print_exc(file=sys.stdout)
            for folder, _, names in os.walk(HERE):
                for name in names:
                    if name.endswith(".log"):
                        with contextlib.suppress(OSError), open(f"{folder}/{name}", encoding="utf-8") as log:
                            print(f"{folder}/{name}:\n{log.read()[-2000:]}")
            word, bad = "FAIL", 1
        print(f"--- {word}: {life.__name__} ({time.monotonic() - begin:.2f}s)", flush=True)
    return bad


tempfile.tempdir = HERE
sys.exit(main())
