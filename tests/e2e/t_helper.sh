# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# The helper process: what it does when the VMM is no more, and what becomes of a VMM without it.

helper_pid() { pgrep -x vmm-helper -P "$vmm_pid"; }
has_helper() { helper_pid >/dev/null; }

e2e kvm helper_none "there is a helper where something is to be done later, and only there"
test_helper_none() {
    start -tap new0 -serial "tcp:127.0.0.1:7001" -append ip=10.0.0.2/24
    wait_for 20 "the guest" has_link new0
    nap 0.3
    ! has_helper || fail "a helper for nothing"
    stop
    start -pidfile "$T/pid" -serial none
    wait_for 5 "the number" test -s pid
    wait_for 5 "a helper for -pidfile" has_helper
    local threads
    threads=("/proc/$(helper_pid)/task/"*)
    is ${#threads[@]} 1 "threads"
    stop
    wait_for 5 "the end of the pidfile" test ! -e pid
    start -allow-path "$T" -serial none
    wait_for 5 "a helper for -allow-path" has_helper
    stop
    start -allow-path "$T/none"
    ends 5 2
    err_has '^vmm: -allow-path .*/none: No such file' || fail "no reason"
}

e2e kvm helper_after_kill "after SIGKILL: the down-script runs, a port leaves its bridge, down it goes, sockets and pidfile are removed"
test_helper_after_kill() {
    # shellcheck disable=SC2016  # for the script to expand
    printf '#!/bin/sh\necho "$1 $(bridge link show dev "$1" | grep -o "master br9")" >>%s/log\n' "$T" >down
    chmod +x down
    ip link add br9 type bridge
    ip tuntap add keep mode tap
    # shellcheck disable=SC2034  # tests/e2e/run looks at it
    kept_links='br9 keep'
    local how file
    for how in KILL TERM; do
        rm -f log
        start -netdev "tap,id=n,ifname=keep,br=br9,downscript=$T/down" -device virtio-net-pci,netdev=n \
            -netdev "stream,id=s,server=on,addr.type=unix,addr.path=$T/s" -netdev "dgram,id=d,local.type=unix,local.path=$T/d,remote.type=unix,remote.path=$T/r" \
            -serial "unix:$T/serial" -serial "unix:serial.relative" -pidfile pid -append 'test=hang'
        wait_for 10 "the number" test -s pid
        matches "$(bridge link show dev keep)" 'master br9' "bridge port"
        for file in s d serial serial.relative; do [ -S $file ] || fail "no socket $file"; done
        wait_for 5 "the helper" has_helper # it may not have run yet, and has its name from itself
        # A service manager tells every process of it.
        [ $how = KILL ] || kill -TERM "$(helper_pid)"
        kill -$how "$vmm_pid"
        ends 40 any
        [ $how = TERM ] || wait_for 5 "the end of the helper" no_vmm
        # The script saw the interface as it was.
        is "$(cat log)" 'keep master br9' "the down-script's words"
        is "$(bridge link show dev keep)" '' "ports"
        [[ $(ip link show keep) != *UP* ]] || fail "still up"
        is "$(ls)" "$(printf '%s\n' down err log out)" "files"
    done
}

e2e kvm helper_killed "the helper is killed: one line that names what it was for; the guest goes on, and so does its end"
test_helper_killed() {
    ip link add br9 type bridge
    ip addr add 10.0.0.1/24 dev br9
    ip link set br9 up
    ip tuntap add keep mode tap
    # shellcheck disable=SC2034
    kept_links='br9 keep'
    start -nic tap,ifname=keep,br=br9 -netdev "stream,id=s,addr.type=unix,addr.path=$T/peer,reconnect=1" -device e1000,netdev=s \
        -pidfile pid -append ip=10.0.0.2/24
    wait_for 10 "the number" test -s pid
    wait_for 20 "a reply" ping -q -c 1 -W 1 10.0.0.2
    wait_for 5 "the helper" has_helper
    kill -KILL "$(helper_pid)"
    wait_for 5 "word of it" err_has "helper process has ended; the guest goes on without: unix:$T/peer, keep out of bridge br9, .*/?pid"
    wait_for 5 "word of the peer" err_has "s: unix:$T/peer stays away, as the helper process has ended"
    pings 10.0.0.2
    is "$(grep -c helper err)" 2 "lines about it"
    kill -TERM "$vmm_pid"
    ends 40 143
    matches "$(bridge link show dev keep)" 'master br9' "bridge port, which nobody took out"
    [ -e pid ] || fail "somebody removed the pidfile"
    rm pid
}

e2e kvm helper_memory "the helper's own memory"
test_helper_memory() {
    command -v passt >/dev/null || skip "passt is not installed"
    way_out
    start -nic user -serial "unix:$T/serial" -pidfile pid -append ip=dhcp
    wait_for 30 "the number" test -s pid
    nap 0.5
    local kib
    kib=$(awk '/^Private/ { n += $2 } END { print n }' "/proc/$(helper_pid)/smaps_rollup")
    note "$kib KiB private"
    [ "$kib" -le 200 ] || fail "$kib KiB"
    kill -INT "$vmm_pid"
    ends 10 any
}
