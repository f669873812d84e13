# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# The process: where it lies in memory, what of it gets out, descriptors, limits, signals.

e2e kvm process_pie_relro "the binary is a static PIE, needs no interpreter, and its tables are read-only when it runs"
test_process_pie_relro() {
    matches "$(readelf -hW "$VMM")" 'Type: +DYN' "the header"
    local headers from to base=''
    headers=$(readelf -lW "$VMM")
    [[ $headers != *INTERP* ]] || fail "it asks for an interpreter"
    # Its place in the file, and in memory, is where the writable part begins.
    read -r from to < <(awk '$1 == "GNU_RELRO" { print $3, $6 }' <<<"$headers")
    to=$((from + to)) from=$((from))
    start -serial none
    wait_for 10 "a vCPU" test -d "/proc/$vmm_pid/task"
    nap 0.3
    local low high rights seen=0
    while read -r range rights _; do
        low=$((16#${range%-*})) high=$((16#${range#*-}))
        [ -n "$base" ] || base=$low
        if [ $((low - base)) -lt "$to" ] && [ $((high - base)) -gt "$from" ]; then
            seen=$((seen + 1))
            [[ $rights == r--p ]] || fail "tables at $range are $rights"
        fi
    done < <(grep -F "$(readlink -f "$VMM")" "/proc/$vmm_pid/maps")
    [ $seen -gt 0 ] || fail "no mapping of the tables"
}

e2e kvm process_core_dump "a core dump has no guest memory in it, shared or not; in the sandbox there is none"
test_process_core_dump() {
    local shared
    for shared in '' "-netdev vhost-user,id=n,path=$T/s,server=on"; do
        # shellcheck disable=SC2086  # words
        start -m 128M -serial none $shared
        nap 0.5
        awk '/^Size:/ { big = $2 >= 16384 } /^VmFlags:/ && big { n++; if (!/ dd/) bad++ }
             END { exit !(n && !bad) }' "/proc/$vmm_pid/smaps" || fail "guest memory would be in a core dump"
        stop
    done
    [[ $(cat /proc/sys/kernel/core_pattern) == core ]] || return 0
    local core size sandbox
    for sandbox in on off; do
        (ulimit -c unlimited && exec "$VMM" -sandbox $sandbox -m 128M -serial none) </dev/null 2>err >out &
        vmm_pid=$!
        nap 0.7
        kill -ABRT "$vmm_pid"
        wait "$vmm_pid" || true
        vmm_pid=''
        [ $sandbox = off ] || [ "$(echo core*)" = 'core*' ] || fail "there is a core dump"
    done
    core=$(echo core*)
    [ -f "$core" ] || skip "no core file here"
    size=$(stat -c %s "$core")
    [ "$size" -lt 16000000 ] || fail "the core dump has $size bytes"
}

has_fd() { [ -e "/proc/$vmm_pid/fd/$1" ]; }
no_fd() { ! has_fd "$1"; }

e2e kvm process_descriptors "descriptors of the parent's are closed but for those named, and no child gets one"
test_process_descriptors() {
    cat >up <<'END'
#!/bin/bash
echo /proc/self/fd/* >"$T/fds"
END
    chmod +x up
    export T
    mkfifo gate
    exec 251<>gate 252>named
    start -netdev "tap,id=n,ifname=tap0,script=$T/up" -device e1000,netdev=n -serial file:/dev/fd/252 -append ip=10.0.0.2/24
    wait_for 10 "output at the named one" file_has named 'guest: '
    wait_for 5 "251 to be closed" no_fd 251
    no_fd 252 || fail "252 is still open"
    # ls's own, and bash's script at 255, come with them.
    [[ $(cat fds) != *25[12]* ]] || fail "the script had $(cat fds)"
    stop
    # One that is named by its number stays.
    exec 251>&- 252>&-
    python3 - "$VMM" <<'END' || fail "a named descriptor did not work"
import os, socket, subprocess, sys, time
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
extra = os.open("/dev/null", os.O_RDONLY)
p = subprocess.Popen([sys.argv[1], "-netdev", f"stream,id=n,addr.type=fd,addr.str={theirs.fileno()}",
                      "-device", "e1000,netdev=n", "-append", "ip=10.0.0.2/24", "-serial", "null"],
                     stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), extra))
ours.settimeout(10)
assert ours.recv(4)          # the guest announces itself
fds = os.listdir(f"/proc/{p.pid}/fd")
assert str(theirs.fileno()) in fds
assert not os.path.exists(f"/proc/{p.pid}/fd/{extra}") or \
    os.readlink(f"/proc/{p.pid}/fd/{extra}") != "/dev/null"
p.kill()
p.wait()
END
}

e2e kvm process_limit "a low soft limit of descriptors is raised, a low hard one is named in one line"
test_process_limit() {
    local status n
    status=0
    (ulimit -Sn 12 && exec timeout 20 "$VMM" -append test=poweroff) >out 2>err </dev/null || status=$?
    is $status 0 "exit status with a soft limit of 12 ($(cat err))"
    for n in 5 6 7 8 10 12 14 16 18 20 22 24 26 28 30 40; do
        status=0
        (ulimit -n "$n" && exec timeout 20 "$VMM" -tap tap9 -append "ip=10.0.0.2/24 test=poweroff") >out 2>err </dev/null || status=$?
        [ $status = 0 ] || grep -v '^vmm: warning' err >lines || true
        [ $status = 0 ] || [ $status = 1 ] || problem "ulimit -n $n" "exit status $status: $(cat err)"
        [ $status = 0 ] || grep -q 'LimitNOFILE=' err || problem "ulimit -n $n" "$(cat err)"
        [ $status = 0 ] || [ "$(wc -l <lines)" = 1 ] || problem "ulimit -n $n" "$(cat err)"
    done
    is $status 0 "exit status with a limit of $n"
    judge
}

e2e kvm process_ignored_signals "SIGHUP and SIGINT that the parent had ignored (nohup, a background job) are"
test_process_ignored_signals() {
    (trap '' HUP INT QUIT && exec "$VMM" -serial none) </dev/null >out 2>err &
    vmm_pid=$!
    nap 0.4
    kill -HUP "$vmm_pid"
    kill -INT "$vmm_pid"
    kill -QUIT "$vmm_pid"
    nap 0.4
    alive "$vmm_pid" || fail "it has ended: $(cat err)"
    kill -TERM "$vmm_pid"
    ends 5 143
}
