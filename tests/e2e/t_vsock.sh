# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# SPDX-License-Identifier: MIT
# vsock: sockets between the host and a Linux guest, by UNIX sockets and by vhost-vsock.

e2e kvm vsock_no_driver "a guest without vsock: who connects is hung up on, in the sandbox; the socket goes with the VM, a live one is refused"
test_vsock_no_driver() {
    boot_bundled '' -device "virtio-vsock-pci,guest-cid=3,uds_path=$T/v"
    local i
    for i in 1 2 3; do
        is "$(printf 'CONNECT 5%d\n' $i | timeout 10 socat -t 10 - "UNIX-CONNECT:$T/v")" '' "an answer"
    done
    "$VMM" -device "virtio-vsock-pci,guest-cid=4,uds_path=$T/v" >"$T/second" 2>&1 && fail "a second VM listens at the same path"
    matches "$(cat "$T/second")" 'another process listens there' "what the second one says"
    kill -INT "$vmm_pid"
    ends 30 130
    [ ! -e "$T/v" ] || fail "the socket is still there"
}

# vsock_guest DEVICE: Linux with one more device, and in it: port 5001 sums, 5002 gives, 5003 says what it hears.
vsock_guest() {
    initrd=$E2E_FULL boot_linux '' -smp 2 -stats -device "$1"
    g 'head -c 4194304 /dev/urandom >/tmp/payload
        socat -t 60 VSOCK-LISTEN:5001,fork EXEC:sha256sum >/dev/null 2>&1 &
        socat -u OPEN:/tmp/payload VSOCK-LISTEN:5002 >/dev/null 2>&1 &
        socat VSOCK-LISTEN:5003,fork,backlog=100 EXEC:cat >/dev/null 2>&1 &' ||
        fail "listeners in the guest: $(cat "$T/g.err")"
    head -c 4M /dev/urandom >payload
    sum_here=$(sha256sum <payload | cut -d' ' -f1)
    sum_there=$(g 'sha256sum </tmp/payload' | cut -d' ' -f1)
}

vsock_open() { timeout 20 python3 "$here/vsock.py" v 5003 </dev/null >/dev/null 2>&1; }

e2e lab vsock_linux "Linux by virtio-vsock: 4 MiB each way compared, half-closed streams, many at once, both directions, through a reboot"
test_vsock_linux() {
    vsock_guest "virtio-vsock-pci,guest-cid=3,uds_path=$T/v"
    wait_for 90 "a listener in the guest" vsock_open
    is "$(timeout 120 python3 "$here/vsock.py" v 5001 <payload | cut -d' ' -f1)" "$sum_here" "sha256 of 4 MiB to the guest"
    is "$(timeout 120 python3 "$here/vsock.py" v 5002 </dev/null | sha256sum | cut -d' ' -f1)" "$sum_there" "sha256 of 4 MiB from the guest"
    is "$(timeout 120 python3 "$here/vsock.py" v 5003 40)" 40 "connections at once that heard their number"
    python3 "$here/vsock.py" v 6000 </dev/null >/dev/null 2>&1 && fail "a port where nobody listens"
    # From the guest: what it sends is summed here, and the sum goes back when it has ended.
    socat -t 60 "UNIX-LISTEN:$T/v_7001,fork" EXEC:sha256sum &
    wait_for 10 "a listener here" test -S v_7001
    is "$(g 'socat -t 60 - VSOCK-CONNECT:2:7001 </tmp/payload' | cut -d' ' -f1)" "$sum_there" "sha256 of 4 MiB from the guest's own connection"
    is "$(g 'socat - VSOCK-CONNECT:2:7002 </dev/null >/dev/null 2>&1 || echo refused')" refused "a port of the host where nobody listens"
    reboot_linux
    wait_for 120 "the guest again" eval '[ "$(grep -c "guest: up" "$T/out")" = 2 ]'
    g 'socat VSOCK-LISTEN:5003,fork EXEC:cat >/dev/null 2>&1 &'
    wait_for 90 "a listener after the reboot" vsock_open
    is "$(timeout 120 python3 "$here/vsock.py" v 5003 5)" 5 "connections after the reboot"
    poweroff_linux
    [ ! -e v ] || fail "the socket is still there"
}

vsock_open_kernel() { timeout 20 socat -u OPEN:/dev/null VSOCK-CONNECT:42:5003 2>/dev/null; }

e2e lab/long vsock_vhost "the same by vhost-vsock, with sockets of this kernel's"
test_vsock_vhost() {
    [ -e /dev/vhost-vsock ] || modprobe vhost_vsock || skip "no vhost-vsock"
    vsock_guest "vhost-vsock-pci,guest-cid=42"
    wait_for 90 "a listener in the guest" vsock_open_kernel
    is "$(timeout 120 socat -t 60 - VSOCK-CONNECT:42:5001 <payload | cut -d' ' -f1)" "$sum_here" "sha256 of 4 MiB to the guest"
    is "$(timeout 120 socat -u VSOCK-CONNECT:42:5002 - | sha256sum | cut -d' ' -f1)" "$sum_there" "sha256 of 4 MiB from the guest"
    socat -t 60 VSOCK-LISTEN:7001,fork EXEC:sha256sum &
    is "$(g 'sleep 1; socat -t 60 - VSOCK-CONNECT:2:7001 </tmp/payload' | cut -d' ' -f1)" "$sum_there" "sha256 of 4 MiB from the guest's own connection"
    "$VMM" -device vhost-vsock-pci,guest-cid=42 >second 2>&1 && fail "two VMs with one CID"
    matches "$(cat second)" 'another VM of this host has it' "what the second one says"
    poweroff_linux
}
