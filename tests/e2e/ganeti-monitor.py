# SPDX-License-Identifier: MIT
"""Ganeti's own classes for a hypervisor and its monitor, on the VMM and an instance that runs.

usage, on a node: python3 - INSTANCE <tests/e2e/ganeti-monitor.py
"""
import sys

sys.path.insert(0, "/usr/share/ganeti/default")
# pylint: disable=wrong-import-position,protected-access,import-error
from ganeti import errors  # noqa: E402
from ganeti.hypervisor.hv_kvm import KVMHypervisor  # noqa: E402
from ganeti.hypervisor.hv_kvm.monitor import QmpConnection  # noqa: E402

VMM = "/usr/local/bin/vmm"
name = sys.argv[1]


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: got {got!r}, expected {wanted!r}")


def refused(what, call, word):
    try:
        call()
    except (errors.HypervisorError, errors.HotplugError) as err:
        if word not in str(err):
            sys.exit(f"{what}: refused, but as: {err}")
        return
    sys.exit(f"{what}: not refused")


hv = KVMHypervisor()
said = hv._GetKVMOutput(VMM, hv._KVMOPT_HELP)
expect("the version in --help", hv._ParseKVMVersion(said)[0], "7.2.0")
expect("the default machine", hv._GetDefaultMachineVersion(VMM), "pc")
for pattern in "_QMP_RE _NETDEV_RE _MACHINE_RE _UUID_RE _VHOST_RE _VIRTIO_NET_QUEUES_RE".split():
    expect(pattern, bool(getattr(hv, pattern).search(said)), True)
for pattern in "_BOOT_RE _AUTO_RO_RE _DISABLE_KVM_RE".split():
    expect(pattern, bool(getattr(hv, pattern).search(said)), False)
models = hv._GetKVMOutput(VMM, hv._KVMOPT_DEVICELIST)
for model, known in (("virtio-net-pci", True), ("virtio-blk-pci", True), ("e1000", True), ("lsi", False)):
    expect(model, bool(hv._DEVICE_DRIVER_SUPPORTED(model, models)), known)

def ask(command, arguments=None):
    with QmpConnection(hv._InstanceQmpMonitor(name)) as connection:
        expect("QMP's version", connection.version, (7, 2, 0))
        return connection.Execute(command, arguments)


# Its methods make a connection each.
qmp = QmpConnection(hv._InstanceQmpMonitor(name))
expect("query-balloon", ask("query-balloon")[qmp.ACTUAL_KEY], 128 << 20)
threads = [cpu["thread_id"] for cpu in ask("query-cpus")]
qmp.StopGuestEmulation()
expect("query-status", ask("query-status")["status"], "paused")
qmp.ContinueGuestEmulation()
expect("query-status", ask("query-status")["status"], "running")
ask("balloon", {"value": 96 << 20})
expect("auto-read-only", qmp.HasDynamicAutoReadOnly(), False)
refused("a disk to plug in", qmp.CheckDiskHotAddSupport, "not supported")
refused("a device to plug in", lambda: ask("device_add", {"driver": "e1000"}), "device_add")
refused("a migration", lambda: qmp.StartMigration("10.9.0.2", 8102), "migrate")

expect("threads by HMP", sorted(hv._GetVcpuThreadIds(name).values()), sorted(threads))
info = hv._CallMonitorCommand(name, hv._INFO_VERSION_CMD)
expect("HMP's banner", hv._INFO_VERSION_RE.search(info.stdout).groups()[:2], ("7", "2"))
expect("the instance", hv.GetInstanceInfo(name)[2:4], (128, 1))
print("Ganeti's classes are content")
