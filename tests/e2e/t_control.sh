# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# A machine that runs is asked and told things: -control, vmm ctl, HTTP clients.

ask() { "$VMM" ctl s "$@"; }
# vm_state: "Running", as the machine says.
vm_state() { ask status | sed -n 's/^state //p'; }
vm_runs() { [ "$(vm_state 2>/dev/null)" = Running ]; }
# vm_counter NAME: its value.
vm_counter() { ask stats | sed -n "s/^$1 //p"; }
# ask_refused REGEX VERB...: exit status 1, with a reason.
ask_refused() {
    local reason=$1 rc=0
    shift
    ask "$@" >"$T/ctl" 2>&1 || rc=$?
    is $rc 1 "exit status of vmm ctl $*"
    matches "$(<"$T/ctl")" "$reason" "the reason for $*"
}

e2e kvm control_pause "a paused guest stands still, NICs of both models in mid-traffic; resumed, it misses no packet that waited"
test_control_pause() {
    local model before
    for model in virtio-net-pci e1000; do
        model=$model boot_bundled '' -control s
        is "$(vm_state)" Running state
        ping -n -q -i 0.002 -c 1000 -W 20 10.0.0.2 >pinged &
        for _ in 1 2 3; do
            ask pause
            ask pause
            is "$(vm_state)" Paused state
            before=$(vm_counter vcpu0.exit_io_out)
            nap 0.2
            is "$(vm_counter vcpu0.exit_io_out)" "$before" "exits of a paused guest"
            ask resume
            ask resume
            is "$(vm_state)" Running state
            nap 0.1
        done
        wait $!
        matches "$(<pinged)" ' 0% packet loss' "$model: pings while it was paused and resumed"
        pings 10.0.0.2 56 8000
        stop
    done
}

e2e kvm control_pause_and_end "a reset while the guest is paused takes effect when it goes on; SIGTERM ends a paused guest at once"
test_control_pause_and_end() {
    boot_bundled '' -control s
    ask pause
    ask reset
    nap 0.3
    is "$(vm_state)" Paused state
    is "$(grep -ac 'guest: net up' "$T/out")" 1 "starts"
    ask resume
    wait_for 10 "the second start" twice_up
    pings 10.0.0.2 56
    ask pause
    kill -TERM "$vmm_pid"
    ends 2 143
    matches "$(<"$T/err")" 'paused' "what is said"
}
twice_up() { [ "$(grep -ac 'guest: net up' "$T/out")" = 2 ]; }

e2e kvm control_verbs "vmm ctl: links, captures, counters, reset, quit; refusals have a reason and exit status 1"
test_control_verbs() {
    boot_bundled '' -control s -object filter-dump,id=d,netdev=net0,file=f.pcap,status=off -metrics m.prom,interval=1
    pings 10.0.0.2 56
    is "$(vm_counter net0.pcap_records)" 0 "frames captured while it is off"
    ask capture d on
    pings 10.0.0.2 56
    ask capture net0 off
    [ "$(vm_counter net0.pcap_records)" -ge 20 ] || fail "$(vm_counter net0.pcap_records) frames captured"
    ask link net0 down
    is "$(vm_counter net0.link)" 0 "the link"
    ! ping -n -q -c 1 -W 0.3 10.0.0.2 >/dev/null || fail "a pulled cable carries pings"
    ask link id=net0 state=up
    pings 10.0.0.2 56
    ask metrics >shown
    grep -q '^vmm_rx_frames_total{id="virtio-net.0"} [1-9]' shown || fail "$(head -n 20 shown)"
    matches "$(ask stats -json)" '"net0":\{"link":1,' "stats as JSON"
    ask_refused 'no netdev or NIC net1' link net1 up
    ask_refused 'one of down, up' link net0 sideways
    ask_refused 'there is no such verb' dance
    ask_refused 'no key "x"' pause x=1
    local rc=0
    ask link net0 up more 2>/dev/null || rc=$?
    is $rc 2 "exit status of wrong use"
    "$VMM" ctl nobody status 2>/dev/null || rc=$?
    is $rc 3 "exit status where nobody answers"
    ask reset
    wait_for 10 "the second start" twice_up
    wait_for 10 "the guest" vm_runs
    ask quit
    ends 5 0
    [ ! -e s ] || fail "the socket is left behind"
    grep -Eq '^vmm_resets_total\{id="vm"\} +1$' m.prom || fail "at the end: $(grep resets m.prom)"
}

e2e kvm control_serial "vmm ctl serial: what the guest says, beside -serial null; Ctrl-] leaves, the terminal is as before"
test_control_serial() {
    start -control s -serial null
    wait_for 30 "the guest" vm_runs
    timeout 60 python3 "$here/terminal.py" 'wait attached;send \x1d;end 0' "$VMM" ctl s serial >shown 2>&1 || fail "$(tail -n 8 shown)"
    mkfifo keys
    "$VMM" ctl s serial <keys >said &
    local client=$!
    exec 7>keys
    wait_for 30 "what the guest says" reset_says
    exec 7>&-
    wait $client || fail "exit status $? at the end of its input"
    stop
}
# Attached or not yet: what is said before is lost, so it is said again.
reset_says() {
    ask reset
    nap 0.3
    grep -aq 'guest: boot' said
}

e2e kvm control_who "the socket is its maker's alone, or of a group that is asked for; nobody else gets in"
test_control_who() {
    start -control s -append quiet
    wait_for 10 "the guest" vm_runs
    is "$(stat -c '%a %u' s)" "600 0" "mode and owner"
    local rc=0
    chmod 711 . ..
    setpriv --reuid 65534 --regid 65534 --clear-groups "$VMM" ctl "$PWD/s" status >/dev/null 2>&1 || rc=$?
    is $rc 3 "exit status of nobody's"
    chmod 666 s # who does this does not let others in
    rc=0
    setpriv --reuid 65534 --regid 65534 --clear-groups "$VMM" ctl "$PWD/s" status >/dev/null 2>&1 || rc=$?
    is $rc 3 "exit status of nobody's, once the file lets it"
    stop
    start -control s,owner=1234:1234,group=777 -append quiet
    wait_for 10 "the guest" vm_runs
    is "$(stat -c '%a %u %g' s)" "660 1234 777" "mode, owner and group"
    setpriv --reuid 1234 --regid 1234 --clear-groups "$VMM" ctl "$PWD/s" status >/dev/null || fail "not its owner"
    setpriv --reuid 99 --regid 777 --clear-groups "$VMM" ctl "$PWD/s" status >/dev/null || fail "not the group"
    setpriv --reuid 99 --regid 99 --groups 5,777 "$VMM" ctl "$PWD/s" status >/dev/null || fail "not by another group"
    rc=0
    chmod 666 s
    setpriv --reuid 99 --regid 99 --clear-groups "$VMM" ctl "$PWD/s" status >/dev/null 2>&1 || rc=$?
    is $rc 3 "exit status of a stranger's"
}

# Not on this machine: its KVM lets a guest read the host's counter.
e2e lab control_pause_clock "a guest's time does not go on while it is paused"
test_control_pause_clock() {
    boot_bundled 'test=poweroff after=2000' -control s
    ask pause
    nap 3
    ask resume
    nap 0.7
    alive "$vmm_pid" || fail "two seconds of its time had gone by in 0.7 s and a pause of three"
    ends 20 0
}

e2e kvm control_handed_over "a socket that a service manager listens at serves, whoever connected before there was a VMM"
test_control_handed_over() {
    command -v systemd-socket-activate >/dev/null || skip "systemd-socket-activate is not installed"
    systemd-socket-activate -l "$T/s" --fdname=api "$VMM" -append quiet </dev/null >"$T/out" 2>"$T/err" &
    vmm_pid=$!
    wait_for 10 "the socket" test -S s
    ask status >shown
    wait_for 10 "the guest" vm_runs
    ask quit
    ends 5 0
    [ -S s ] || fail "the service manager's socket is gone"
}

e2e kvm control_misused "ten thousand connections, clients that never read, never write, write rubbish, cost the guest no ping and others no answer"
test_control_misused() {
    boot_bundled '' -control s
    # Longer than the others are there: for its last replies ping waits two round trips only.
    ping -n -q -i 0.02 -c 600 -W 20 10.0.0.2 >pinged &
    local ping=$! held
    python3 "$E2E_ROOT/tests/e2e/misuse.py" s >told
    wait $ping
    matches "$(<pinged)" ' 0% packet loss' "pings meanwhile"
    is "$(<told)" answered "an honest client, once the others have been silent"
    wait_for 5 "an answer" vm_runs
    pings 10.0.0.2 56
    held=("/proc/$vmm_pid/fd/"*)
    [ ${#held[@]} -lt 60 ] || fail "${#held[@]} descriptors"
    [ "$(wc -l <"$T/err")" -lt 5 ] || fail "lines of the log: $(head "$T/err")"
}

e2e kvm control_disk "a disk that was grown has its new size; another file takes its place, if -allow-path lets it"
test_control_disk() {
    chmod 711 . ..
    truncate -s 1M a
    truncate -s 2M b
    chmod 666 a b
    mkdir let
    truncate -s 3M let/c
    truncate -s 5M let/e
    chmod 711 let
    chmod 666 let/c let/e
    start -append quiet -control s -allow-path "$T/let" -drive file=a,if=none,id=hd0,format=raw \
        -device virtio-blk-pci,drive=hd0,id=disk0
    wait_for 10 "the guest" vm_runs
    truncate -s 4M a
    ask disk disk0
    ask_refused 'no drive or disk hd1' disk hd1
    ask_refused 'absolute' disk hd0 path=let/c
    ask_refused 'allow-path' disk hd0 "$T/b"
    ask_refused 'No such file' disk hd0 "$T/let/d"
    ask disk hd0 "$T/let/c"
    opened | grep -q "let/c" || fail "not opened: $(opened)"
    ! opened | grep -q "$T/a" || fail "still open: $(opened)"
    command -v curl >/dev/null || skip "curl is not installed"
    : >answer
    curl -s -o answer -w '%{http_code}' --unix-socket s -X PATCH http://x/drives/hd0 \
        -d "{\"drive_id\":\"hd0\",\"path_on_host\":\"$T/let/e\"}" >code
    is "$(<code) $(<answer)" "204 " "the answer"
    curl -s -o answer -w '%{http_code}' --unix-socket s -X PATCH http://x/drives/hd0 -d '{"drive_id":"hd1"}' >code
    is "$(<code) $(<answer)" '400 {"fault_message":"The id from the path does not match the id from the body!"}' "another id"
}

e2e kvm control_netdev "another TAP takes the place of a NIC's while the guest runs: pings go on over that one"
test_control_netdev() {
    local model
    ip link add br0 type bridge forward_delay 0
    ip addr add 10.0.0.1/24 dev br0
    ip link set br0 up
    for tap in tap0 mv0; do
        ip tuntap add $tap mode tap
        ip link set $tap up master br0
    done
    ip link add mvbr type bridge
    ip tuntap add mv3 mode tap multi_queue
    for model in virtio-net-pci e1000; do
        model=$model boot_bundled '' -control s -allow-tap 'mv*' -allow-tap tap0
        pings 10.0.0.2 56
        ask_refused 'no netdev or NIC x' netdev x mv0
        ask_refused 'needed' netdev net0
        ask_refused 'is no -allow-tap NAME' netdev net0 lo
        ask_refused 'no such interface' netdev net0 mv9
        ask_refused 'is no TAP' netdev net0 mvbr
        pings 10.0.0.2 56
        ask netdev net0 mv0
        # This guest does not announce itself: the bridge forgets it with the carrier, in a second.
        wait_for 10 "a bridge that forgets" no_port tap0
        pings 10.0.0.2 56 8000
        matches "$(bridge fdb show dev mv0)" 52:54:00:00:00:02 "who is behind mv0"
        [[ $(ip link show tap0) != *LOWER_UP* ]] || fail "tap0 is open still"
        ask netdev net0 mv3 # of several queues: one of them
        err_has 'net0: interface mv3 has taken the place of mv0' || fail "not said: $(<err)"
        ask pause
        ask netdev net0 tap0
        ask resume
        wait_for 10 "a bridge that forgets" no_port mv0
        pings 10.0.0.2 56
        [[ $(ip link show mv0) != *LOWER_UP* ]] || fail "mv0 is open still"
        [ $model != virtio-net-pci ] || command -v curl >/dev/null || skip "curl is not installed"
        matches "$(curl -s --unix-socket s http://x/vm/config)" '"host_dev_name":"tap0"' "its name"
        stop
    done
    ip link del br0
    ip link del mvbr
    for tap in tap0 mv0 mv3; do ip link del $tap; done
}
no_port() { ! bridge fdb show dev "$1" | grep -q 52:54:00:00:00:02; }
opened() { ls -l "/proc/$vmm_pid/fd"; }
