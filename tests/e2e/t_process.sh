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

# status KEY: of the VMM, as the kernel tells it.
status() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$vmm_pid/status"; }

confined() { [ "$(status NoNewPrivs)" = 1 ] && [ "$(status CapEff)" = 0000000000000000 ]; }

# inside UID: nothing is left of files, capabilities, other users.
inside() {
    wait_for 10 "the sandbox" confined
    is "$(status CapEff) $(status CapPrm) $(status CapBnd)" "0000000000000000 0000000000000000 0000000000000000" capabilities
    is "$(status NoNewPrivs)" 1 no_new_privs
    is "$(status Uid)" "$(printf '%s\t%s\t%s\t%s' "$1" "$1" "$1" "$1")" "its user"
    is "$(status Groups)" "" "its groups"
    is "$(find "/proc/$vmm_pid/root/" | wc -l)" 1 "files in its root directory"
    is "$(wc -l <"/proc/$vmm_pid/mounts")" 1 "mounts"
    [[ $(cat "/proc/$vmm_pid/mounts") == *' / tmpfs ro,'* ]] || fail "its root: $(cat "/proc/$vmm_pid/mounts")"
    # What belongs to who may not be traced belongs to root.
    is "$(stat -c %u "/proc/$vmm_pid/mem")" 0 "who may look into its memory"
    [ ! -s err ] || fail "it says: $(cat err)"
    kill -TERM "$vmm_pid"
    ends 10 143
}

# anybodys_kvm: /dev/kvm for all users, here.
anybodys_kvm() {
    mknod -m 666 kvm c 10 232
    mount --bind kvm /dev/kvm
    chmod 777 "$T"
}

# as_user OPTIONS...: start, of a user without any privilege.
as_user() {
    vmm_options=("$@")
    env --default-signal=INT,QUIT setpriv --reuid 65534 --regid 65534 --clear-groups "$VMM" "$@" </dev/null >"$T/out" 2>"$T/err" &
    vmm_pid=$!
}

e2e kvm sandbox_root "root's VMM becomes nobody, or -runas, in an empty root directory, without capabilities"
test_sandbox_root() {
    [ "$(awk '{ print $3 }' /proc/self/uid_map)" -gt 65534 ] || skip "there is only one user in this namespace"
    start
    inside 65534
    start -runas 12:34
    inside 12
    start -sandbox off -runas nobody
    wait_for 10 "the guest" out_has 'guest: '
    is "$(status Uid | cut -f 1)" 65534 "who it is under -sandbox off -runas"
    [ "$(wc -l <"/proc/$vmm_pid/mounts")" -gt 1 ] || fail "-sandbox off has an empty root"
    stop
    start -sandbox off
    wait_for 10 "the guest" out_has 'guest: '
    is "$(status Uid | cut -f 1) $(status NoNewPrivs)" "0 0" "who it is under -sandbox off"
}

e2e kvm sandbox_user "an ordinary user's VMM is in an empty root directory, too, by a user namespace; -runas is root's"
test_sandbox_user() {
    [ "$(awk '{ print $3 }' /proc/self/uid_map)" -gt 65534 ] || skip "there is only one user in this namespace"
    anybodys_kvm
    as_user
    inside 65534
    as_user -runas root
    ends 10 1
    is "$(cat err)" "vmm: -runas root: Operation not permitted; only root can" "what it says of -runas"
    as_user -sandbox on,spawn=deny -append test=poweroff
    ends 10 0
}

# Fewer than the lab's kernel has: none, by a filter that answers ENOSYS, EPERM.
e2e kvm sandbox_less "without user namespaces, without Landlock, in a container's profile: a line says what is missing, and the guest runs"
test_sandbox_less() {
    [ "$(awk '{ print $3 }' /proc/self/uid_map)" -gt 65534 ] || skip "there is only one user in this namespace"
    anybodys_kvm
    # less CALL:ERRNO,... : as a user without a privilege, and without these calls.
    less() {
        timeout 20 python3 "$here/less.py" "$1" setpriv --reuid 65534 --regid 65534 --clear-groups \
            "$VMM" -append test=poweroff </dev/null >out 2>err || fail "without $1: exit status $?: $(cat err)"
        grep -q 'guest: test=poweroff' out || fail "without $1: no guest"
    }
    less unshare:EPERM
    is "$(cat err)" "vmm: sandbox: no user namespace here (Operation not permitted): the root directory stays" "what it says without unshare"
    less landlock_create_ruleset:ENOSYS
    is "$(cat err)" "vmm: sandbox: no Landlock here: Function not implemented" "what it says without Landlock"
    # As a container runtime's default profile has them: what makes namespaces, roots and mounts is refused.
    less unshare:EPERM,mount:EPERM,umount2:EPERM,pivot_root:EPERM,setns:EPERM,landlock_create_ruleset:ENOSYS
    is "$(wc -l <err)" 2 "lines in a container ($(cat err))"
    less mount:EPERM
    is "$(cat err)" "vmm: sandbox: the root directory stays: Operation not permitted" "what it says without mount"
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
