# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# SPDX-License-Identifier: MIT
# The VMM as fleets of microVMs start it, which believe it to be Firecracker: their command lines, their files, their requests,
# each up to a guest that answers pings.  (What those fleets are made of cannot be installed from Debian, PyPI or Go's proxy;
# whom that can be done with: tests/clients.)

# fleet_begin: firecracker, vmlinux and a root disk, and a TAP for the guest, which is at 10.0.0.2 unless it is told otherwise.
fleet_begin() {
    ln -s "$VMM" firecracker
    cp "$E2E_GUEST" vmlinux
    truncate -s 1M rootfs
    tap tap0 10.0.0.1/24
}
fleet_start() { VMM=./firecracker start "$@"; }
fleet_answers() { wait_for 30 "a ping's answer" ping -n -q -c 1 -W 1 10.0.0.2; }

# api METHOD PATH [JSON]: the answer's body is in $said, its status in $told.  Not under `set -e` when it cannot be asked.
api() {
    local out
    told=000
    out=$(curl -sS --max-time 20 --unix-socket "${sock:-fc.sock}" -w '\n%{http_code}' -X "$1" ${3:+-d "$3"} \
        -H 'Accept: application/json' -H 'Content-Type: application/json' "http://localhost$2" 2>curl.err) || return
    told=${out##*$'\n'} said=${out%$'\n'*}
}
api_ok() { # METHOD PATH [JSON]
    api "$@" || fail "$1 $2: $(<curl.err)"
    [[ $told == 20[04] ]] || fail "$1 $2 $3: $told $said"
}
api_running() { api GET / && [[ $said == *'"state":"Running"'* ]]; }
# api_until METHOD PATH JSON: asks again until it is done, which it must be within five seconds.
api_until() {
    local i
    for ((i = 0; i < 500; i++)); do
        ! api "$@" || [[ $told != 20[04] ]] || return 0
        nap 0.01
    done
    fail "$1 $2: $told $said $(<curl.err)"
}

e2e kvm fleet_kata_go "Kata's Go runtime: --version, a config file with eight empty disks, vsock and pipes for log and metrics; a disk is put in by PATCH; SIGTERM"
test_fleet_kata_go() {
    fleet_begin
    [[ $(./firecracker --version | head -n 1) =~ ^Firecracker\ v([1-9]\.[0-9]\.[0-9])$ ]] || fail "--version: $(./firecracker --version)"
    mkfifo logs.fifo metrics.fifo
    # Its end of them is open for as long as the runtime lives.
    cat logs.fifo >logs &
    cat metrics.fifo >metrics &
    python3 - <<'END'
import json
drive = lambda name, ro: {"drive_id": name, "is_read_only": ro, "is_root_device": False, "path_on_host": "./" + name}
for i in range(8):
    open(f"drive_{i}", "w").close()
bucket = {"one_time_burst": 1250000, "refill_time": 1000, "size": 12500000}
json.dump({
    "boot-source": {
        "boot_args": "tsc=reliable no_timer_check systemd.unit=kata-containers.target root=/dev/vda1 pci=off reboot=k panic=1 "
                     "iommu=off net.ifnames=0 random.trust_cpu=on acpi=off 8250.nr_uarts=0 agent.log_vport=1025",
        "kernel_image_path": "./vmlinux"},
    "machine-config": {"mem_size_mib": 256, "smt": False, "vcpu_count": 1},
    "vsock": {"guest_cid": 3, "uds_path": "./kata.hvsock", "vsock_id": "root"},
    "logger": {"level": "Error", "log_path": "./logs.fifo"},
    "metrics": {"metrics_path": "./metrics.fifo"},
    "drives": [drive("rootfs", True)] + [drive(f"drive_{i}", False) for i in range(8)],
    "network-interfaces": [{"guest_mac": "52:54:00:00:00:02", "host_dev_name": "tap0", "iface_id": "eth0",
                            "rx_rate_limiter": {"bandwidth": bucket}, "tx_rate_limiter": {"bandwidth": bucket}}],
}, open("fcConfig.json", "w"), indent="\t")
END
    fleet_start --api-sock fc.sock --config-file fcConfig.json
    wait_for 10 "an API that says Running" api_running
    chmod 0640 kata.hvsock
    fleet_answers
    truncate -s 2M layer
    api_ok PATCH /drives/drive_0 '{"drive_id":"drive_0","path_on_host":"./layer"}'
    kill -TERM "$vmm_pid"
    ends 5 143
    wait
    python3 -c 'import json, sys; [json.loads(l) for l in open("metrics")] or sys.exit("no metrics")'
}

e2e kvm fleet_kata_rs "Kata's Rust runtime: all by the API, each request again and again until it is done; a disk with a limit of zeroes; SIGKILL"
test_fleet_kata_rs() {
    local i
    fleet_begin
    fleet_start --api-sock fc.sock --no-seccomp
    api_until PUT /boot-source '{"boot_args":"reboot=k panic=1 systemd.unit=kata-containers.target systemd.mask=systemd-networkd.service pci=off iommu=off root=/dev/vda1 rootflags=data=ordered,errors=remount-ro ro rootfstype=ext4","kernel_image_path":"./vmlinux"}'
    api_until PUT /machine-config '{"mem_size_mib":256,"vcpu_count":1}'
    api_until PUT /drives/rootfs '{"drive_id":"rootfs","is_read_only":true,"is_root_device":false,"path_on_host":"./rootfs"}'
    for i in 1 2 3 4 5; do
        : >drive$i
        api_until PUT /drives/drive$i "{\"drive_id\":\"drive$i\",\"is_read_only\":false,\"is_root_device\":false,\"path_on_host\":\"./drive$i\"}"
    done
    api_until PUT /vsock '{"guest_cid":3,"uds_path":"./kata.hvsock","vsock_id":"root"}'
    api_until PUT /network-interfaces/eth0 '{"guest_mac":null,"host_dev_name":"tap0","iface_id":"eth0"}'
    api_until PUT /actions '{"action_type":"InstanceStart"}'
    fleet_answers
    truncate -s 2M layer
    api_until PATCH /drives/drive1 '{"drive_id":"drive1","path_on_host":"./layer","rate_limiter":{"bandwidth":{"one_time_burst":0,"refill_time":0,"size":0},"ops":{"one_time_burst":0,"refill_time":0,"size":0}}}'
    [ -S kata.hvsock ] || fail "no socket for the agent"
    kill -KILL "$vmm_pid"
    ends 5 137
}

e2e kvm fleet_flintlock "flintlock: no API, a config file and a metadata file, --boot-timer, log and metrics in files, SIGHUP"
test_fleet_flintlock() {
    fleet_begin
    : >firecracker.log
    : >firecracker.metrics
    python3 - <<'END'
import json
json.dump({
    "boot-source": {"kernel_image_path": "./vmlinux",
                    "boot_args": "console=ttyS0 reboot=k panic=1 pci=off i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd "
                                 "ds=nocloud-net;s=http://169.254.169.254/latest/ "
                                 "network-config=dmVyc2lvbjogMgo="},
    "drives": [{"drive_id": "root", "is_root_device": True, "is_read_only": False, "path_on_host": "./rootfs", "cache_type": "Unsafe"}],
    "logger": {"log_path": "./firecracker.log", "level": "Debug", "show_level": True, "show_log_origin": True},
    "machine-config": {"vcpu_count": 2, "mem_size_mib": 256, "smt": True},
    "metrics": {"metrics_path": "./firecracker.metrics"},
    "network-interfaces": [{"iface_id": "eth1", "host_dev_name": "tap0", "guest_mac": "52:54:00:00:00:02"}],
}, open("firecracker.cfg", "w"))
json.dump({"latest": {"meta-data": "aW5zdGFuY2VfaWQ6IGEK", "user-data": "I2Nsb3VkLWNvbmZpZwo="}}, open("metadata.json", "w"))
END
    fleet_start --id 01ARZ3NDEKTSV4RRFFQ69G5FAV --boot-timer --no-api --config-file firecracker.cfg --metadata metadata.json
    fleet_answers
    kill -HUP "$vmm_pid"
    ends 5 any
    # Firecracker's own word for it, or the signal's.
    matches "$ended_with" '^(156|129)$' "exit status after SIGHUP"
    # It takes the last line's groups of numbers.
    python3 - <<'END'
import json
last = json.loads(open("firecracker.metrics").read().splitlines()[-1])
groups = {k: v for k, v in last.items() if isinstance(v, dict)}
assert "net" in groups and "vcpu" in groups, sorted(groups)
END
    grep -q 01ARZ3NDEKTSV4RRFFQ69G5FAV firecracker.log || fail "the log: $(head -n 3 firecracker.log)"
}

e2e kvm fleet_urunc "urunc: no API, a config file, process 1 of its own namespace; a guest that reboots ends it with 0"
test_fleet_urunc() {
    fleet_begin
    cat >fc.json <<'END'
{"boot-source":{"kernel_image_path":"./vmlinux","boot_args":"panic=-1 test=reboot reboot=kbd on=ping after=300"},"machine-config":{"vcpu_count":1,"mem_size_mib":256,"smt":false,"track_dirty_pages":false},"drives":[{"drive_id":"rootfs","is_read_only":false,"is_root_device":true,"path_on_host":"./rootfs"}],"network-interfaces":[{"iface_id":"net1","guest_mac":"52:54:00:00:00:02","host_dev_name":"tap0"}]}
END
    unshare --pid --fork --kill-child ./firecracker --no-api --config-file fc.json </dev/null >out 2>err &
    vmm_pid=$!
    fleet_answers
    ends 20 0
    # A pod without a network, and one whose guest needs no disk.
    sed -i 's/"drives":\[.*\],"network/"drives":[],"network/; s/,"network-interfaces".*/}/; s/ on=ping//' fc.json
    fleet_start --no-api --config-file fc.json --no-seccomp
    ends 20 0
}

e2e kvm fleet_fcc "firecracker-containerd: relative paths, pipes for log and metrics, cpu_template T2, stub disks that are patched, a limited root disk"
test_fleet_fcc() {
    local i
    fleet_begin
    mkfifo log.fifo metrics.fifo
    cat log.fifo >logs &
    cat metrics.fifo >metrics &
    fleet_start --api-sock firecracker.sock --id 4567 --no-seccomp
    sock=firecracker.sock
    wait_for 5 "the API" api GET /machine-config
    api_ok PUT /logger '{"level":"Debug","log_path":"log.fifo","show_level":true,"show_log_origin":false}'
    api_ok PUT /metrics '{"metrics_path":"metrics.fifo"}'
    api_ok PUT /machine-config '{"cpu_template":"T2","mem_size_mib":256,"smt":false,"track_dirty_pages":false,"vcpu_count":1}'
    api_ok GET /machine-config
    api_ok PUT /boot-source '{"boot_args":"console=ttyS0 nomodules ro reboot=k panic=1 pci=off noapic systemd.unified_cgroup_hierarchy=0 systemd.journald.forward_to_console systemd.unit=firecracker.target init=/sbin/overlay-init","kernel_image_path":"vmlinux"}'
    for i in 0 1; do
        printf 'stub%508d' $i >ctrstub$i
        api_ok PUT /drives/MN2HE43UOVRDA$i "{\"drive_id\":\"MN2HE43UOVRDA$i\",\"is_read_only\":false,\"is_root_device\":false,\"path_on_host\":\"ctrstub$i\"}"
    done
    api_ok PUT /drives/root_drive '{"drive_id":"root_drive","is_read_only":true,"is_root_device":true,"path_on_host":"rootfs","rate_limiter":{"bandwidth":{"one_time_burst":1000000,"refill_time":1000,"size":100000000},"ops":{"one_time_burst":100,"refill_time":1000,"size":10000}}}'
    api_ok PUT /network-interfaces/1 '{"guest_mac":"52:54:00:00:00:02","host_dev_name":"tap0","iface_id":"1"}'
    api_ok PUT /vsock '{"guest_cid":42,"uds_path":"firecracker.vsock","vsock_id":"agent_api"}'
    api_ok PUT /actions '{"action_type":"InstanceStart"}'
    fleet_answers
    truncate -s 2M layer
    api_ok PATCH /drives/MN2HE43UOVRDA0 '{"drive_id":"MN2HE43UOVRDA0","path_on_host":"layer"}'
    # It dials its agent, who is not there, again and again: the guest has no vsock.
    for i in 1 2 3; do
        [ -z "$(printf 'CONNECT 10789\n' | timeout 5 socat - UNIX-CONNECT:firecracker.vsock)" ] || fail "somebody answered at port 10789"
    done
    api_ok PUT /actions '{"action_type":"SendCtrlAltDel"}'
    kill -TERM "$vmm_pid"
    ends 5 143
    wait
    [ -s logs ] || fail "nothing was logged"
    python3 -c 'import json, sys; [json.loads(l) for l in open("metrics")] or sys.exit("no metrics")'
}

e2e kvm fleet_firectl "firectl: its SDK's requests in their order, disks 2 and 1, smt, the terminal is the console, metadata once the guest runs"
test_fleet_firectl() {
    fleet_begin
    truncate -s 1M data
    fleet_start --api-sock .firecracker.sock-1-81
    sock=.firecracker.sock-1-81
    wait_for 5 "the API" api GET /machine-config
    touch log metrics
    api_ok PUT /logger '{"level":"Debug","log_path":"log","show_level":true,"show_log_origin":false}'
    api_ok PUT /metrics '{"metrics_path":"metrics"}'
    api_ok PUT /machine-config '{"mem_size_mib":512,"smt":true,"vcpu_count":2}'
    api_ok GET /machine-config
    matches "$said" '"smt":true' "machine-config"
    api_ok PUT /boot-source '{"boot_args":"console=ttyS0 reboot=k panic=1 pci=off nomodules ro noapic","kernel_image_path":"vmlinux"}'
    api_ok PUT /drives/2 '{"drive_id":"2","is_read_only":true,"is_root_device":false,"path_on_host":"data"}'
    api_ok PUT /drives/1 '{"drive_id":"1","is_read_only":false,"is_root_device":true,"path_on_host":"rootfs"}'
    api_ok PUT /network-interfaces/1 '{"guest_mac":"52:54:00:00:00:02","host_dev_name":"tap0","iface_id":"1"}'
    api_ok PUT /actions '{"action_type":"InstanceStart"}'
    fleet_answers
    api_ok PUT /mmds '{"latest":{"meta-data":{"instance-id":"i-1"}}}'
    api_ok GET /mmds
    matches "$said" '"instance-id":"i-1"' "the metadata"
    wait_for 10 "the console" out_has 'guest: net up'
    api_ok PUT /actions '{"action_type":"SendCtrlAltDel"}'
    kill -TERM "$vmm_pid"
    ends 5 143
}

# ------------------------------------------------------------ Firecracker's Go SDK

# sdk_machine OPTIONS...: tests/clients/boot.go waits for what sdk tells it.
sdk_machine() {
    [ -n "${E2E_SDK-}" ] || skip "${E2E_NO_SDK-no SDK}"
    coproc SDK { exec "$E2E_SDK/boot" -bin "$T/firecracker" -console "$T/out" "$@" 2>"$T/err"; }
    exec {sdk_in}>&"${SDK[1]}" {sdk_out}<&"${SDK[0]}"
}
# sdk_end: there can be another one.
sdk_end() {
    exec {sdk_in}>&- {sdk_out}<&-
    eval "exec ${SDK[1]}>&- ${SDK[0]}<&-"
    wait "$SDK_PID" || true
}
# sdk VERB...: its answer is in $said.
sdk() {
    echo "$*" >&"$sdk_in"
    IFS= read -r -t 120 said <&"$sdk_out" || fail "$1: the SDK says nothing: $(tail -n 5 "$T/err")"
}
sdk_ok() {
    sdk "$@"
    [[ $said == ok* ]] || fail "$1: $said; $(tail -n 5 "$T/err")"
}

e2e kvm fleet_sdk "a machine by Firecracker's Go SDK, with every device it knows: ping, pause, a balloon, another disk, and its end"
test_fleet_sdk() {
    fleet_begin
    truncate -s 1M data
    truncate -s 2M data2
    sdk_machine -kernel vmlinux -disk rootfs -disk data -vsock v.sock -cpus 2
    sdk pause
    [[ $said == error* ]] || fail "a machine that is not there is paused"
    sdk_ok start
    fleet_answers
    sdk_ok version
    matches "$said" '^ok [1-9]\.[0-9]\.[0-9]$' "the version"
    sdk_ok pause
    sdk_ok state
    is "$said" 'ok Paused' "its state"
    ! ping -n -q -c 1 -W 1 10.0.0.2 >/dev/null || fail "a paused guest answers"
    sdk_ok resume
    fleet_answers
    sdk_ok balloon 16
    sdk_ok disk disk1 "$T/data2"
    sdk disk disk1 "$T/none"
    matches "$said" '^error .*No such file' "a disk that is not there"
    sdk_ok shutdown
    sdk_ok stop
    sdk wait
    matches "$said" '^error .*terminated' "its end"
}

e2e kvm fleet_sdk_snapshot "the same SDK saves a machine, and goes on with it in other processes: paused first, or at once"
test_fleet_sdk_snapshot() {
    local how
    fleet_begin
    sdk_machine -kernel vmlinux -disk rootfs -vsock v.sock
    sdk_ok start
    fleet_answers
    sdk save "$T/mem" "$T/state"
    matches "$said" '^error .*not paused' "a machine that runs is saved"
    sdk_ok pause
    sdk_ok save "$T/mem" "$T/state"
    sdk_ok stop
    sdk wait
    for how in '' -resume; do
        sdk_end
        rm -f v.sock sdk.sock
        # shellcheck disable=SC2086  # none is no word
        sdk_machine -load "$T/mem,$T/state" $how -arg --allow-path -arg "$T" -arg --allow-tap -arg tap0
        sdk_ok start
        sdk_ok state
        if [ -z "$how" ]; then
            is "$said" 'ok Paused' "its state"
            sdk_ok resume
        else
            is "$said" 'ok Running' "its state"
        fi
        fleet_answers
        sdk_ok balloon 16
        sdk_ok stop
        sdk wait
    done
}

e2e lab/long fleet_sdk_linux "Linux by the same SDK, with its users' words (noapic, pci=off, reboot=k): disks, a balloon, a disk that grows; Ctrl-Alt-Del ends it with 0"
test_fleet_sdk_linux() {
    local all
    fleet_begin
    chmod 711 .. .
    truncate -s 32M rootfs data
    truncate -s 64M data2
    chmod 666 data2
    sdk_machine -kernel "$E2E_VMLINUX" -initrd "$E2E_DISK" -disk rootfs -disk data -vsock v.sock -cpus 2 \
        -append "$linux_words noapic reboot=k panic=1 pci=off nomodules ip=10.0.0.2/24"
    sdk_ok start
    wait_for 90 "'guest: up'" out_has 'guest: up'
    pings 10.0.0.2 56 1472
    [[ $(g 'cat /proc/cmdline') != *'pci=off'* ]] || fail "the guest is told not to look for its devices"
    is "$(g 'cat /sys/block/vda/size /sys/block/vdb/size' | tr '\n' ' ')" "65536 65536 " "sizes of disks, in sectors"
    g_ok 'dd if=/dev/urandom of=/dev/vdb bs=1M count=8 conv=fsync && sync' || fail "not written"
    is "$(sha256sum <data)" "$(g 'sha256sum </dev/vdb')" "sha256 of what the guest wrote"
    all=$(guest_mib)
    sdk_ok balloon 96
    wait_for 60 "an inflated balloon" guest_below $((all - 80))
    sdk_ok balloon 0
    wait_for 60 "a deflated balloon" guest_above $((all - 10))
    sdk_ok disk disk1 "$T/data2"
    wait_for 30 "a disk of 64 MiB" g_ok 'test $(blockdev --getsize64 /dev/vdb) = 67108864'
    sdk_ok pause
    sdk_ok resume
    pings 10.0.0.2 56
    sdk_ok shutdown
    sdk wait
    is "$said" 'ok ' "its end"
}

# ------------------------------------------------------------ hostile clients

# anonymous: KiB of the VMM's own memory.
anonymous() { awk '/^RssAnon:/ { print $2 }' "/proc/$vmm_pid/status"; }

e2e kvm fleet_misused "before the start and after it: ten thousand connections, clients that never read, half-closed ones, bodies too large; it starts, and a ping is answered"
test_fleet_misused() {
    local held before
    fleet_begin
    fleet_start --api-sock fc.sock
    wait_for 10 "the API" api GET /
    before=$(anonymous)
    python3 "$E2E_ROOT/tests/e2e/misuse.py" fc.sock >told
    is "$(<told)" answered "an honest client, before the start"
    [ $(($(anonymous) - before)) -lt 1000 ] || fail "$before KiB before, $(anonymous) after"
    api_ok PUT /boot-source '{"kernel_image_path":"vmlinux","boot_args":"console=ttyS0"}'
    api_ok PUT /network-interfaces/1 '{"guest_mac":"52:54:00:00:00:02","host_dev_name":"tap0","iface_id":"1"}'
    api_ok PUT /actions '{"action_type":"InstanceStart"}'
    fleet_answers
    before=$(anonymous)
    ping -n -q -i 0.01 -c 300 -W 20 10.0.0.2 >pinged &
    python3 "$E2E_ROOT/tests/e2e/misuse.py" fc.sock 1000 >told
    wait $!
    is "$(<told)" answered "an honest client, after it"
    matches "$(<pinged)" ' 0% packet loss' "pings meanwhile"
    held=("/proc/$vmm_pid/fd/"*)
    [ ${#held[@]} -lt 60 ] || fail "${#held[@]} descriptors"
    [ "$(wc -l <"$T/err")" -lt 5 ] || fail "lines of the log: $(head "$T/err")"
    [ $(($(anonymous) - before)) -lt 1000 ] || fail "$before KiB before, $(anonymous) after"
}
