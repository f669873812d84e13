# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# Firecracker's personality: its API from before the guest runs, by curl; its config file; how it ends.

fc_guest=$E2E_ROOT/build/guest/guest.elf

# fc METHOD PATH [BODY]: the answer's body in $T/answer; its code is printed.
fc() {
    local body=()
    [ $# -lt 3 ] || body=(-d "$3")
    curl -s -o answer -w '%{http_code}' --unix-socket s -X "$1" "http://localhost$2" "${body[@]}"
}
# put PATH BODY: 204.
put() { is "$(fc PUT "$@")" 204 "PUT $1: $(cat answer)"; }
# fc_state: "Running", as it says.
fc_state() { fc GET / >/dev/null && sed -n 's/.*"state":"\([^"]*\)".*/\1/p' answer; }
fc_runs() { [ "$(fc_state)" = Running ]; }
fc_answers() { [ "$(fc GET /machine-config 2>/dev/null)" = 200 ]; }
fc_ready() {
    command -v curl >/dev/null || skip "curl is not installed"
    [ -e "$fc_guest" ] || skip "no $fc_guest"
}
# fc_start OPTIONS...: one that waits to be told.
fc_start() {
    fc_ready
    rm -f s
    start --api-sock s --id web-1 "$@"
    wait_for 30 "the API" fc_answers
}
# fc_boot WORDS: the bundled guest on tap0.
fc_boot() {
    has_link tap0 || tap tap0 10.0.0.1/24
    put /boot-source "{\"kernel_image_path\":\"$fc_guest\",\"boot_args\":\"ip=10.0.0.2/24 pci=off $1\"}"
    put /network-interfaces/eth0 '{"iface_id":"eth0","host_dev_name":"tap0","guest_mac":"52:54:00:00:00:02"}'
    put /actions '{"action_type":"InstanceStart"}'
    wait_for 30 "'guest: net up'" out_has 'guest: net up'
}

e2e kvm firecracker_boot "told by PUTs, a microVM boots and answers pings; it is paused, limited, and another file takes its disk's place"
test_firecracker_boot() {
    truncate -s 1M disk.img
    truncate -s 2M other.img
    chmod 600 other.img
    fc_start
    is "$(fc_state)" "Not started" state
    put /logger '{"log_path":"log","level":"Info","show_level":true}'
    put /metrics '{"metrics_path":"metrics"}'
    put /machine-config '{"vcpu_count":2,"mem_size_mib":64,"smt":false,"cpu_template":"T2"}'
    put /drives/root '{"drive_id":"root","is_root_device":true,"path_on_host":"disk.img","is_read_only":false}'
    put /balloon '{"amount_mib":10,"deflate_on_oom":true,"stats_polling_interval_s":1}'
    put /vsock '{"guest_cid":3,"uds_path":"v.sock","vsock_id":"1"}'
    put /entropy '{}'
    fc_boot ''
    is "$(fc_state)" Running state
    pings 10.0.0.2 56
    is "$(fc PATCH /vm '{"state":"Paused"}')" 204 pause
    is "$(fc_state)" Paused state
    is "$(fc PATCH /vm '{"state":"Resumed"}')" 204 resume
    is "$(fc GET /balloon/statistics)" 200 "balloon statistics"
    matches "$(<answer)" '"target_mib":10,' "what the balloon is asked for"
    is "$(fc PATCH /balloon '{"amount_mib":20}')" 204 "another size"
    is "$(fc PATCH /drives/root '{"drive_id":"root","path_on_host":"other.img"}')" 204 "another file: $(cat answer)"
    is "$(fc PATCH /drives/root '{"drive_id":"root","path_on_host":"/etc/passwd"}')" 400 "a file elsewhere"
    is "$(fc PATCH /network-interfaces/eth0 '{"iface_id":"eth0","rx_rate_limiter":{"ops":{"size":1000,"refill_time":100}}}')" 204 "a limit: $(cat answer)"
    is "$(fc GET /vm/config)" 200 "GET /vm/config"
    matches "$(<answer)" '"path_on_host":"other.img"' "the disk's file"
    matches "$(<answer)" '"amount_mib":20' "the balloon's size"
    matches "$(<answer)" '"rx_rate_limiter":\{"ops"' "the limit"
    is "$(fc PUT /drives/x '{"drive_id":"x","is_root_device":false,"path_on_host":"disk.img"}')" 400 "a PUT after the start"
    matches "$(<answer)" 'not supported after starting' "the reason"
    put /actions '{"action_type":"SendCtrlAltDel"}'
    put /actions '{"action_type":"FlushMetrics"}'
    pings 10.0.0.2 56 8000
    matches "$(head -1 log)" ':INFO\] Running Firecracker v' "the log"
    [ "$(wc -l <metrics)" -ge 2 ] || fail "lines of metrics: $(wc -l <metrics)"
    kill -TERM "$vmm_pid"
    ends 2 143
    [ -S s ] || fail "the API's socket is removed; its clients do that"
    kept_links=tap0 clean tap0
}

e2e kvm firecracker_reset "a guest's reset ends the run with exit status 0; so does a power-off"
test_firecracker_reset() {
    local way
    for way in reboot poweroff; do
        fc_start
        put /boot-source "{\"kernel_image_path\":\"$fc_guest\",\"boot_args\":\"test=$way\"}"
        put /actions '{"action_type":"InstanceStart"}'
        ends 30 0
    done
}

e2e kvm firecracker_config_file "a config file starts a microVM at once, with the API or without; a bad one is exit status 152, bad arguments are 153"
test_firecracker_config_file() {
    fc_ready
    tap tap0 10.0.0.1/24
    cat >c.json <<EOF
{"boot-source": {"kernel_image_path": "$fc_guest", "boot_args": "ip=10.0.0.2/24 pci=off"},
 "machine-config": {"vcpu_count": 1, "mem_size_mib": 64}, "drives": [],
 "network-interfaces": [{"iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": "52:54:00:00:00:02"}]}
EOF
    echo '{"a": {"b": 1}}' >m.json
    start --id x --boot-timer --no-api --config-file c.json --metadata m.json
    wait_for 30 "'guest: net up'" out_has 'guest: net up'
    pings 10.0.0.2 56
    kill -HUP "$vmm_pid"
    ends 2 129
    start --api-sock=s --config-file=c.json --metadata m.json
    wait_for 30 "Running" fc_runs
    fc GET /mmds >/dev/null
    is "$(<answer)" '{"a":{"b":1}}' "what is kept for the guest"
    stop
    sed 's/"drives": \[\]/"drives": [{}]/' c.json >bad.json
    start --no-api --config-file bad.json
    ends 5 152
    matches "$(<err)" 'bad.json: drives: missing field `is_root_device`' "the reason"
    start --no-api
    ends 5 153
}

e2e kvm firecracker_start_fails "a start that fails before the sandbox is told why, and can be asked for again; one that fails later ends the run"
test_firecracker_start_fails() {
    tap tap0 10.0.0.1/24
    fc_start
    put /boot-source "{\"kernel_image_path\":\"$fc_guest\",\"boot_args\":\"ip=10.0.0.2/24\"}"
    put /network-interfaces/eth0 '{"iface_id":"eth0","host_dev_name":"tap0"}'
    put /vsock '{"guest_cid":3,"uds_path":"v.sock"}'
    touch v.sock
    for _ in 1 2 3; do
        is "$(fc PUT /actions '{"action_type":"InstanceStart"}')" 400 "a start with a socket's name taken"
        matches "$(<answer)" 'Start microvm error: .*v.sock' "the reason"
    done
    is "$(fc_state)" "Not started" state
    rm v.sock
    put /actions '{"action_type":"InstanceStart"}'
    wait_for 30 "'guest: net up'" out_has 'guest: net up'
    pings 10.0.0.2 56
    stop
    fc_start
    echo 'no kernel' >bad
    put /boot-source '{"kernel_image_path":"bad"}'
    is "$(fc PUT /actions '{"action_type":"InstanceStart"}')" 400 "a start without a kernel"
    matches "$(<answer)" 'Start microvm error: .*bad' "the reason"
    ends 5 1
}

# load_saved MORE: what was saved in $T/a, with more members.
load_saved() { fc PUT /snapshot/load "{\"snapshot_path\":\"$T/a.state\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"$T/a.mem\"}$1}"; }
fc_save() {
    is "$(fc PATCH /vm '{"state":"Paused"}')" 204 pause
    put /snapshot/create "{\"snapshot_path\":\"a.state\",\"mem_file_path\":\"a.mem\"}"
    stop
}

e2e kvm firecracker_load "a saved microVM is loaded, paused or not, on another TAP, vsock and disk; what only the state file names is not opened"
test_firecracker_load() {
    local net=',"network_overrides":[{"iface_id":"eth0","host_dev_name":"tap1"}]' vsock=',"vsock_override":{"uds_path":"w.sock"}'
    local drive=',"drive_overrides":[{"drive_id":"root","path_on_host":"other.img"}]'
    truncate -s 1M disk.img other.img
    fc_start
    put /machine-config '{"vcpu_count":2,"mem_size_mib":64}'
    put /drives/root '{"drive_id":"root","is_root_device":true,"path_on_host":"disk.img","is_read_only":false}'
    put /balloon '{"amount_mib":10,"deflate_on_oom":true,"stats_polling_interval_s":1}'
    put /vsock '{"guest_cid":3,"uds_path":"v.sock"}'
    put /entropy '{}'
    fc_boot ''
    fc_save
    is "$("$VMM" --no-api --describe-snapshot a.state)" "$("$VMM" --no-api --snapshot-version)" "the format's version"
    ip addr flush dev tap0
    tap tap1 10.0.0.1/24

    # Without consent: refused by its name, and the process ends.
    local more rc
    for more in "$net$vsock" "$net$drive" "$vsock$drive"; do
        fc_start
        is "$(load_saved "$more")" 400 "$more"
        matches "$(<answer)" 'Load snapshot error: Failed to restore.*(disk.img|v.sock|tap0): only the state file names it; (drive|vsock|network)_override' "the reason"
        ends 10 1
    done
    # What asks wrongly may ask again.
    fc_start
    is "$(fc PUT /snapshot/load '{"snapshot_path":"a.state"}')" 400 "no memory"
    matches "$(<answer)" 'missing field: either .mem_backend. or .mem_file_path. is required' "the reason"
    put /machine-config '{"vcpu_count":1,"mem_size_mib":64}'
    is "$(load_saved "$net$vsock$drive")" 400 "after another part"
    matches "$(<answer)" 'not allowed after configuring boot-specific' "the reason"
    is "$(fc_state)" "Not started" state
    stop
    fc_start
    is "$(load_saved "$net$vsock$drive,\"resume_vm\":true")" 204 "load: $(cat answer)"
    is "$(fc_state)" Running state
    pings 10.0.0.2 56 8000
    readlink "/proc/$vmm_pid/fd/"* | grep -q '/other.img$' || fail "the other disk is not open"
    is "$(fc GET /vm/config)" 200 "GET /vm/config"
    matches "$(<answer)" '"path_on_host":"other.img"' "the disk's file"
    matches "$(<answer)" '"host_dev_name":"tap1"' "the TAP"
    [ -S w.sock ] || fail "vsock's socket"
    is "$(load_saved "$net$vsock")" 400 "a second load"
    matches "$(<answer)" 'not supported after starting' "the reason"
    is "$(fc PUT /actions '{"action_type":"InstanceStart"}')" 400 "a start"
    fc_save
    rm -f w.sock

    # By the consent of the command line, paused first.
    fc_start --allow-path "$T" --allow-tap 'tap*'
    is "$(fc PUT /snapshot/load '{"snapshot_path":"a.state","mem_file_path":"a.mem","enable_diff_snapshots":true}')" 204 "load: $(cat answer)"
    is "$(fc_state)" Paused state
    is "$(fc PATCH /vm '{"state":"Resumed"}')" 204 resume
    pings 10.0.0.2 56
    put /actions '{"action_type":"SendCtrlAltDel"}'
    stop
    rm -f w.sock

    # Its memory by another process.
    python3 "$here/pages.py" u a.mem >pages.out 2>&1 &
    wait_for 30 "the server of memory" test -S u
    fc_start --allow-path "$T" --allow-tap 'tap*'
    is "$(fc PUT /snapshot/load '{"snapshot_path":"a.state","mem_backend":{"backend_type":"Uffd","backend_path":"u"},"resume_vm":true}')" 204 "load: $(cat answer)"
    pings 10.0.0.2 56 8000
    stop
    rm -f w.sock

    # A state file that is none, or no more; and memory of another size.
    for more in 0 100 5000; do
        cp a.state b.state
        truncate -s $more b.state
        fc_start --allow-path "$T" --allow-tap tap1
        is "$(fc PUT /snapshot/load '{"snapshot_path":"b.state","mem_file_path":"a.mem"}')" 400 "a state of $more bytes"
        matches "$(<answer)" 'b.state' "the reason"
        ends 10 1
    done
    truncate -s 1M a.mem
    fc_start --allow-path "$T" --allow-tap tap1
    is "$(fc PUT /snapshot/load '{"snapshot_path":"a.state","mem_file_path":"a.mem"}')" 400 "short memory"
    matches "$(<answer)" 'a.mem: has 1048576 bytes' "the reason"
    ends 10 1
}

e2e kvm firecracker_name "who is called firecracker has the personality, and says so"
test_firecracker_name() {
    ln -s "$VMM" firecracker-v1
    is "$(./firecracker-v1 --version | head -1)" "Firecracker v1.9.0" "the version"
    local rc=0
    ./firecracker-v1 --nope 2>/dev/null || rc=$?
    is $rc 153 "exit status of bad arguments"
}
