# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034  # vmm_pid and friends come from lib.sh, and go to it
# SPDX-License-Identifier: MIT
# The sandbox: what is given up, on which hosts, and that nothing then needs it.

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

# anybodys_kvm: /dev/kvm and /dev/net/tun for all users, here.
anybodys_kvm() {
    mknod -m 666 kvm c 10 232
    mknod -m 666 tun c 10 200
    mount --bind kvm /dev/kvm
    mount --bind tun /dev/net/tun
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
    ! one_user || skip "there is only one user in this namespace"
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
    stop
    # Root of a namespace that knows nobody else has nobody to become, and nothing to say of it.
    env --default-signal=INT,QUIT unshare --user --map-root-user "$VMM" </dev/null >"$T/out" 2>"$T/err" &
    vmm_pid=$!
    wait_for 10 "the sandbox" confined
    is "$(find "/proc/$vmm_pid/root/" | wc -l)" 1 "files in its root directory"
    is "$(cat err)" "" "what it says"
}

e2e kvm sandbox_user "an ordinary user's VMM is in an empty root directory, too, by a user namespace; -runas is root's"
test_sandbox_user() {
    ! one_user || skip "there is only one user in this namespace"
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
e2e kvm sandbox_less "without user namespaces, Landlock, filters, in a container's profile: a line says what is missing, and the guest runs"
test_sandbox_less() {
    ! one_user || skip "there is only one user in this namespace"
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
    less seccomp:ENOSYS
    is "$(cat err)" "vmm: sandbox: no filter of system calls here: Function not implemented" "what it says without seccomp"
    # As a container runtime's default profile has them: what makes namespaces, roots and mounts is refused.
    less unshare:EPERM,mount:EPERM,umount2:EPERM,pivot_root:EPERM,setns:EPERM,landlock_create_ruleset:ENOSYS
    is "$(wc -l <err)" 2 "lines in a container ($(cat err))"
    less mount:EPERM
    is "$(cat err)" "vmm: sandbox: the root directory stays: Operation not permitted" "what it says without mount"
}

# one_user: is root alone in this namespace?
one_user() { [ "$(awk '{ print $3 }' /proc/self/uid_map)" -lt 65534 ]; }

e2e kvm sandbox_filters "each thread has a filter of its own; a stopped VM goes on; a crash gives the terminal back"
test_sandbox_filters() {
    local task names='' outer
    outer=$(sed -n 's/^Seccomp_filters:[[:space:]]*//p' /proc/self/status)
    tap tap0 10.0.0.1/24
    start -smp 2 -device virtio-net-pci,netdev=n,iothreads=on,mq=on,vectors=6 -netdev tap,id=n,ifname=tap9,queues=2 \
        -nic tap,ifname=tap0,model=e1000 -append ip=10.0.0.2/24
    wait_for 10 "a reply" ping -q -c 1 -W 1 10.0.0.2
    for task in "/proc/$vmm_pid/task"/*; do
        names="$names $(cat "$task/comm")"
        is "$(sed -n 's/^Seccomp:[[:space:]]*//p' "$task/status") $(sed -n 's/^CapEff:[[:space:]]*//p' "$task/status")" \
            "2 0000000000000000" "filter and capabilities of $(cat "$task/comm")"
        # More than one: a thread made by one that had its own.
        is "$(sed -n 's/^Seccomp_filters:[[:space:]]*//p' "$task/status")" $((outer + 1)) "filters of $(cat "$task/comm")"
    done
    # KVM has one of its own in there.
    is "$(tr ' ' '\n' <<<"${names# }" | tail -n +2 | grep -v ^kvm- | sort | tr '\n' ' ')" "pair0 pair1 vcpu0 vcpu1 worker " "its threads"
    kill -STOP "$vmm_pid"
    nap 0.3
    kill -CONT "$vmm_pid"
    wait_for 10 "a reply after SIGCONT" ping -q -c 1 -W 1 10.0.0.2
    kill -TERM "$vmm_pid"
    ends 10 143
    on_terminal 'wait guest: ;signal SEGV;end any'
    on_terminal 'wait guest: ;signal ABRT;end any'
    on_terminal 'wait guest: ;signal STOP;signal CONT;alive;send \x01x;end 0'
}

# violates THREAD CALL ARG...: that thread is made to make a call that it may not.
violates() {
    local tid='' dir name=$1 said
    start -append 'ip=10.0.0.2/24' -tap tap0
    wait_for 10 "the guest" file_has out 'guest: net up'
    for dir in "/proc/$vmm_pid/task"/*; do
        [ "$(cat "$dir/comm")" != "$name" ] || tid=${dir##*/}
    done
    python3 "$here/inject.py" "${tid:-$vmm_pid}" "${@:3}" || fail "inject.py"
    ends 5 148
    said="vmm: sandbox: thread $name: system call $(printf '0x%x' "$3") $2("
    grep -qF "$said" err || fail "thread $name, $2: it says $(cat err)"
    is "$(wc -l <err)" 1 "lines of it"
}

e2e kvm sandbox_violation "a thread that makes a call of nobody's is named with it, and the VM ends with status 148"
test_sandbox_violation() {
    tap tap0 10.0.0.1/24
    violates loop openat 257 -100 0 0
    violates loop socket 41 2 1 0
    violates loop clone 56 17 0 0
    violates loop mmap 9 0 4096 7 34 -1 0
    violates loop io_uring_setup 425 8 0
    violates loop ioctl 16 0 0x5412 0
    violates vcpu0 execve 59 0 0 0
    violates vcpu0 mprotect 10 0 4096 5
    violates vcpu0 ioctl 16 3 0xae01 0
    violates vcpu0 tgkill 234 1 1 9
    violates vcpu0 rt_sigaction 13 31 0 0 8
    violates worker connect 42 3 0 16
    violates worker seccomp 317 1 0 0
}

# busy ADDRESS: packets, counters, cables, a restart, the end; nothing of it asks for anything that is gone.
busy() {
    wait_for 20 "a reply" ping -q -c 1 -W 1 "$1"
    kill -USR1 "$vmm_pid"
    kill -USR2 "$vmm_pid"
    nap 0.2
    kill -USR2 "$vmm_pid"
    wait_for 20 "a reply with the cable back" ping -q -c 1 -W 1 "$1"
    pings "$1" 56 1472
    kill -TERM "$vmm_pid"
    ends 10 143
    ! grep 'sandbox' err || fail "$way: it says $(grep sandbox err)"
}

e2e kvm sandbox_backends "what needs nothing outside, as root and as a user: TAPs, queues, hubs, datagrams, captures, serial ports; nothing is missed"
test_sandbox_backends() {
    local way model who own
    one_user && skip "there is only one user in this namespace"
    anybodys_kvm
    ip tuntap add dev tap0 mode tap user 65534
    ip addr add 10.0.0.1/24 dev tap0
    ip link set tap0 up
    ip tuntap add dev tap1 mode tap multi_queue user 65534
    ip addr add 10.0.1.1/24 dev tap1
    ip link set tap1 up
    for who in start as_user; do
        for model in virtio-net-pci e1000; do
            way="$who tap $model" own=''
            [ "$model" = e1000 ] || own=,iothreads=on
            $who -tap "tap0,model=$model" -append ip=10.0.0.2/24
            busy 10.0.0.2
            way="$who hub, capture, logfile $model"
            $who -netdev tap,id=t,ifname=tap0 -netdev hubport,id=h,hubid=1,netdev=t -netdev "hubport,id=n,hubid=1,pcap=pcap-$who" \
                -device "$model,netdev=n" -chardev "file,id=c,path=c-$who,logfile=l-$who" -serial chardev:c \
                -D "log-$who" -append ip=10.0.0.2/24 -stats
            busy 10.0.0.2
            way="$who datagrams $model"
            $who -netdev dgram,id=d,local.type=inet,local.host=127.0.0.1,local.port=5001,remote.type=inet,remote.host=127.0.0.1,remote.port=5002 \
                -device "$model,netdev=d$own" -serial pty -append ip=10.0.0.2/24
            wait_for 10 "a terminal" file_has err '/dev/pts'
            kill -USR1 "$vmm_pid"
            nap 0.3
            kill -TERM "$vmm_pid"
            ends 10 143
        done
        way="$who queues"
        $who -smp 2 -netdev tap,id=n,ifname=tap1,queues=2 -device virtio-net-pci,netdev=n,iothreads=on,mq=on,vectors=6,rss=on \
            -append ip=10.0.1.2/24
        busy 10.0.1.2
        way="$who restarts"
        $who -smp 2 -tap tap0 -serial stdio -append 'ip=10.0.0.2/24 test=reboot'
        nap 1.5
        kill -TERM "$vmm_pid"
        ends 10 143
        way="$who descriptor"
        python3 - "$who" "$VMM" <<'END' || fail "$way"
import fcntl, os, struct, subprocess, sys, time
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", b"tap0", 0x5002))  # IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] if sys.argv[1] == "as_user" else []
p = subprocess.Popen([*user, sys.argv[2], "-netdev", f"tap,id=n,fd={tun}", "-device", "e1000,netdev=n", "-append", "ip=10.0.0.2/24"],
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=(tun,))
os.close(tun)
for _ in range(50):
    if not subprocess.call(["ping", "-q", "-c", "1", "-W", "1", "10.0.0.2"], stdout=subprocess.DEVNULL):
        break
else:
    sys.exit("no answer")
p.terminate()
sys.exit(p.wait() != 143)
END
    done
}

e2e kvm sandbox_datagrams "datagrams to a path, in the sandbox, as root and as a user: a peer that comes, goes and comes back has its answers"
test_sandbox_datagrams() {
    local who
    ! one_user || skip "there is only one user in this namespace"
    anybodys_kvm
    for who in start as_user; do
        $who -netdev "dgram,id=d,local.type=unix,local.path=a,remote.type=unix,remote.path=b" -device virtio-net-pci,netdev=d \
            -append ip=10.0.0.2/24
        wait_for 20 "the guest" file_has out 'guest: '
        wait_for 10 "the sandbox" confined
        is "$(status Seccomp) $(find "/proc/$vmm_pid/root/" | wc -l)" "2 1" "its filter, its files"
        python3 - a b <<'END' || fail "$who: no answer: $(cat err)"
import os, socket, sys
here, there = sys.argv[1:]
question = b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x08\x06\0\1\x08\0\6\4\0\1" + b"\2\0\0\0\0\1" + bytes([10, 0, 0, 1]) \
    + bytes(6) + bytes([10, 0, 0, 2]) + bytes(18)
for _ in range(3):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.bind(there)
        os.chmod(there, 0o666)
        peer.settimeout(0.25)
        for asked in range(40):
            peer.sendto(question, here)
            try:
                while peer.recv(2000)[12:22] != question[12:21] + b"\2":
                    pass
                break
            except TimeoutError:
                pass
        else:
            sys.exit(1)
    print("answered question", asked + 1)
    os.unlink(there)
    # Its answer to this goes nowhere.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.sendto(question, here)
END
        ! grep sandbox err || fail "$who: it says $(cat err)"
        kill -TERM "$vmm_pid"
        ends 10 143
        [ ! -e a ] || fail "its socket is left"
    done
}
