# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# A process among others: what a service manager is told and gives, -daemonize, -D and SIGHUP, names of threads.

# hear NAME: what is told to the datagram socket NAME ("@name": an abstract one), a line each in $T/heard.
hear() {
    python3 -u - "$1" >"$T/heard" 2>"$T/heard.err" <<'END' &
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace("@", "\0", 1))
print("listens", flush=True)
while True:
    for line in s.recv(4096).decode().splitlines():
        print(line)
END
    wait_for 10 "a listener" file_has heard '^listens'
}
told() { grep -c "^$1" heard || true; }
told_more() { [ "$(told "$1")" -gt "$2" ]; }

# still NAME [WORDS]: an ELF file that boots into an endless halt, after the instructions WORDS (python bytes).
still() {
    python3 - "$1" "${2-}" <<'END'
import struct, sys
code = bytes.fromhex(sys.argv[2]) + b"\xf4\xeb\xfd"
header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 1 << 20, 64, 0, 0, 64, 56, 1, 0, 0, 0)
segment = struct.pack("<IIQQQQQQ", 1, 5, 120, 1 << 20, 1 << 20, len(code), len(code), 1)
open(sys.argv[1], "wb").write(header + segment + code)
END
}

e2e kvm service_told "a service manager is told when the guest runs, and when it stops, at a path and at an abstract name; nobody inherits that"
test_service_told() {
    local name
    # shellcheck disable=SC2016  # for the script
    printf '#!/bin/sh\nenv >"$T/env"\n' >up
    chmod +x up
    export T
    for name in "$T/notify" @vmm-test; do
        hear "$name"
        export NOTIFY_SOCKET=$name WATCHDOG_USEC=60000000
        start -serial none -netdev "tap,id=n,ifname=tap0,script=$T/up" -device e1000,netdev=n
        wait_for 10 "READY" file_has heard '^READY=1'
        file_has heard '^STATUS=the guest runs' || fail "the status: $(cat heard)"
        ! file_has heard '^MAINPID' || fail "a pid nobody asked for"
        kill -TERM "$vmm_pid"
        ends 5 143
        wait_for 5 "STOPPING" file_has heard '^STOPPING=1'
        unset NOTIFY_SOCKET WATCHDOG_USEC
        ! grep -qE 'NOTIFY|WATCHDOG' env || fail "a script has $(grep -E 'NOTIFY|WATCHDOG' env)"
        is "$(cat err)" '' "the log"
    done
    # One that is not there, or none at all, is a line and no obstacle.
    for name in "$T/none" relative; do
        NOTIFY_SOCKET=$name start -serial none -append test=poweroff
        ends 10 0
        matches "$(cat err)" "^vmm: NOTIFY_SOCKET=$name: " "the log"
    done
}

e2e kvm service_ready_guest "with -ready guest it is ready when the guest has sent a frame, and not before; without a NIC that is refused"
test_service_ready_guest() {
    still halted
    local model
    for model in virtio-net-pci e1000; do
        hear "$T/notify.$model"
        NOTIFY_SOCKET=$T/notify.$model start -ready guest -kernel halted -serial none -nic "none,model=$model"
        wait_for 10 "the guest" file_has heard '^STATUS=the guest runs'
        nap 0.5
        is "$(told READY)" 0 "READY of a guest that is silent"
        stop
        NOTIFY_SOCKET=$T/notify.$model start -ready guest -serial none -tap "tap0,model=$model"
        wait_for 10 "READY" file_has heard '^READY=1'
        stop
    done
    refuses 2 '-ready guest: ' -ready guest
    judge
}

has_thread() { cat "/proc/$vmm_pid/task/"*/comm 2>/dev/null | grep -qx "$1"; }

# hold_thread COMM SECONDS: one thread of the VMM's stands still so long.
hold_thread() {
    python3 - "$vmm_pid" "$1" "$2" <<'END'
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
for tid in os.listdir(f"/proc/{sys.argv[1]}/task"):
    if open(f"/proc/{sys.argv[1]}/task/{tid}/comm").read().strip() == sys.argv[2]:
        break
else:
    sys.exit("no such thread")
if libc.ptrace(16, int(tid), None, None):  # PTRACE_ATTACH
    sys.exit(f"ptrace: {os.strerror(ctypes.get_errno())}")
os.waitpid(int(tid), 0x40000000)           # __WALL
open("held", "w").close()
time.sleep(float(sys.argv[3]))
libc.ptrace(17, int(tid), None, None)
END
}

e2e kvm service_watchdog "the watchdog hears of an idle guest twice in its time, and nothing while a vCPU or the loop stands still"
test_service_watchdog() {
    [ "$(id -u)" = 0 ] || skip "only root may hold a thread of a process in a sandbox"
    still halted
    hear "$T/notify"
    NOTIFY_SOCKET=$T/notify WATCHDOG_USEC=600000 start -kernel halted -serial none -smp 2 -name web1
    wait_for 10 "READY" file_has heard '^READY=1'
    local before after thread
    before=$(told WATCHDOG)
    nap 3
    after=$(told WATCHDOG)
    [[ $((after - before)) -ge 7 && $((after - before)) -le 11 ]] || fail "$((after - before)) signs of life in 3 s, 10 are due"
    for thread in web1/vcpu1 web1/vcpu0 vmm; do
        rm -f held
        hold_thread "$thread" 3 &
        wait_for 10 "it to stand still" test -e held
        # What came out of the guest for that has answered; the next question finds it still.
        nap 1
        before=$(told WATCHDOG)
        nap 1.5
        is "$(told WATCHDOG)" "$before" "signs of life while $thread stands still"
        wait_for 10 "more of them" told_more WATCHDOG "$before"
        wait $! || fail "$thread could not be held"
    done
    file_has err 'a vCPU does not answer' || fail "the log: $(cat err)"
    is "$(grep -c 'does not answer' err)" 2 "lines of that, one for each vCPU"
    stop
    # Another process's watchdog.
    before=$(told READY)
    NOTIFY_SOCKET=$T/notify WATCHDOG_USEC=200000 WATCHDOG_PID=1 start -kernel halted -serial none
    wait_for 10 "READY" told_more READY "$before"
    before=$(told WATCHDOG)
    nap 1
    is "$(told WATCHDOG)" "$before" "signs of life for another's watchdog"
}

e2e kvm service_threads "threads carry the machine's name; debug-threads=off: not"
test_service_threads() {
    start -name a-rather-long-name -smp 2 -serial none -netdev none,id=n -device virtio-net-pci,netdev=n,iothreads=on
    wait_for 10 "its threads" has_thread a-rather-/vcpu1
    # The kernel lends the process one of its own.
    is "$(sort /proc/"$vmm_pid"/task/*/comm | grep -v '^kvm-' | tr '\n' ' ')" 'a-rather-/pair0 a-rather-/vcpu0 a-rather-/vcpu1 a-rather/worker vmm ' "threads"
    stop
    start -name guest=db,debug-threads=off -serial none
    wait_for 10 "its threads" has_thread vcpu0
}

# handed "NAMES" FDS... -- OPTIONS...: becomes the VMM, with those descriptors from 3 on.
handed() {
    local names=$1 fds=()
    shift
    while [ "$1" != -- ]; do fds+=("$1"); shift; done
    shift
    exec python3 - "$names" "${fds[*]}" "$VMM" "$@" <<'END'
import fcntl, os, signal, socket, struct, sys
names, what, command = sys.argv[1], sys.argv[2].split(), sys.argv[3:]
opened = []
for w in what:
    kind, _, name = w.partition("=")
    if kind == "tap":
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", name.encode(), 0x5002))
    elif kind == "null":
        fd = os.open("/dev/null", os.O_RDWR)
    else:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "dgram" else socket.SOCK_STREAM)
        s.bind(name)
        if kind == "listen":
            s.listen(1)
        fd = s.detach()
    opened.append(fcntl.fcntl(fd, fcntl.F_DUPFD, 100))
for i, fd in enumerate(opened):
    os.dup2(fd, 3 + i)
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job's is ignored
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(what)))
if names != "-":
    os.environ["LISTEN_FDNAMES"] = names
os.execv(command[0], command)
END
}
start_handed() {
    : >"$T/out"
    : >"$T/err"
    # shellcheck disable=SC2034  # tell_vmm prints it
    vmm_options=("handed $1")
    handed "$@" </dev/null >"$T/out" 2>"$T/err" &
    vmm_pid=$!
}
# refused TEXT HANDED...: one line with TEXT, exit status 2.
refused() {
    local text=$1 status=0
    shift
    rm -f sock
    (handed "$@") </dev/null >out 2>err || status=$?
    if [ $status != 2 ] || [ "$(wc -l <err)" != 1 ] || ! grep -qF -- "$text" err; then
        problem "handed $*" "status $status: $(cat err)"
    fi
}

e2e kvm service_handed "descriptors that a service manager hands over: a TAP and a serial port's socket; wrong ones are refused in one line"
test_service_handed() {
    tap tap0 10.0.0.1/24
    local model name
    for model in virtio-net-pci e1000; do
        name=tap:tap0
        [ "$model" = e1000 ] || name=tap=tap0
        start_handed "serial:$name" "listen=$T/serial.$model" tap=tap0 -- -tap "tap0,model=$model" -serial "unix:$T/other" \
            -append ip=10.0.0.2/24
        wait_for 20 "a reply with $model, $name" ping -q -c 1 -W 1 10.0.0.2
        # What was said so far waits at the socket that was handed over.
        timeout 1 socat -u "UNIX-CONNECT:$T/serial.$model" - </dev/null >said || true
        file_has said 'guest: ' || fail "nothing at the socket"
        [ ! -e other ] || fail "another socket was made"
        kill -INT "$vmm_pid"
        ends 5 130
        [ -e "serial.$model" ] || fail "the socket of the manager's was removed"
    done
    local status=0
    # shellcheck disable=SC2016  # for that shell
    bash -c 'LISTEN_PID=$$ LISTEN_FDS=2 exec "$VMM" -serial none' </dev/null 2>err 3</dev/null 4<&- || status=$?
    is "$status:$(cat err)" '2:vmm: LISTEN_FDS=2: descriptor 4 is not open' "one that is not there"
    refused 'LISTEN_FDNAMES=tap:tap0: ' tap:tap0 null null -- -tap tap0
    refused 'LISTEN_FDNAMES=a:b: ' a:b null -- -serial none
    refused 'no option takes descriptor 3, "web"' web null -- -serial none
    refused 'no option takes descriptor 3, "unknown"' - null -- -serial none
    refused 'no option takes descriptor 3, "serial"' serial listen=sock -- -serial none
    refused 'no stream socket that is listened at' serial bound=sock -- -serial unix:x
    refused 'no stream socket that is listened at' serial dgram=sock -- -serial unix:x
    refused 'no stream socket that is listened at' serial null -- -serial unix:x
    refused "not a tap's" tap:tap0 null -- -tap tap0
    refused 'of interface tap7, not tap0' tap:tap0 tap=tap7 -- -tap tap0
    refused 'queues= means nothing together with LISTEN_FDS=' tap:tap0 tap=tap7 -- -tap tap0,queues=2
    # Another process's are none of ours.
    LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=web start -serial none -append test=poweroff
    ends 10 0
    judge
}

e2e kvm service_daemonize "-daemonize gives 0 when it is ready, and lets go of terminal, directory and pipes; it ends as it would in the foreground"
test_service_daemonize() {
    local said status=0 pid
    tap tap0 10.0.0.1/24
    # The reader of its output has all of it once it is ready.
    said=$(timeout 10 "$VMM" -daemonize -ready guest -tap tap0 -pidfile pid -append ip=10.0.0.2/24 2>&1) || status=$?
    is "$status:$said" 0: "what came of it"
    vmm_pid=$(cat pid)
    is "$(ps -o sid= -p "$vmm_pid" | tr -d ' ')" "$vmm_pid" "its session"
    is "$(ps -o tty= -p "$vmm_pid" | tr -d ' ')" '?' "its terminal"
    matches "$(tr '\0' ' ' <"/proc/$vmm_pid/cmdline")" '-daemonize -ready guest -tap tap0' "its words"
    wait_for 10 "a reply" ping -q -c 1 -W 1 10.0.0.2
    local fd
    for fd in 0 1 2; do is "$(readlink "/proc/$vmm_pid/fd/$fd")" /dev/null "descriptor $fd"; done
    for pid in $(vmms); do
        ! readlink "/proc/$pid/fd/"* | grep -E 'pipe:' || fail "process $pid holds a pipe"
        matches "$(readlink "/proc/$pid/cwd")" '^/$' "directory of process $pid"
    done
    kill -INT "$vmm_pid"
    vmm_pid=''
    wait_for 5 "its end" no_vmm
    [ ! -e pid ] || fail "the pidfile is still there"
    # What prevents the start.
    status=0
    said=$("$VMM" -daemonize -kernel /dev/null 2>&1) || status=$?
    is "$status" 1 "exit status without a kernel"
    matches "$said" '^vmm: -kernel /dev/null: ' "what is said"
    no_vmm || fail "it is there"
    status=0
    still faulty 0f0b
    said=$("$VMM" -daemonize -nic none,model=e1000 -ready guest -kernel faulty -no-reboot 2>&1) || status=$?
    is "$status" 4 "exit status of a guest that faults before it is ready"
    matches "$said" 'triple fault' "what is said"
    status=0
    "$VMM" -daemonize -pidfile "$T/none/pid" 2>err || status=$?
    is "$status" 1 "exit status without a place for the pidfile"
    # Who waits is ended: so is what he waits for.
    still halted
    env --default-signal=INT "$VMM" -daemonize -kernel halted -nic none,model=e1000 -ready guest 2>err &
    pid=$!
    wait_for 5 "two processes" two_vmms
    kill -INT $pid
    status=0
    wait $pid || status=$?
    is $status 130 "exit status of who waited"
    wait_for 5 "its end" no_vmm
    env --default-signal=INT "$VMM" -daemonize -kernel halted -nic none,model=e1000 -ready guest 2>err &
    pid=$!
    wait_for 5 "two processes" two_vmms
    kill -TERM $pid
    wait $pid || true
    wait_for 5 "its end" no_vmm
}
two_vmms() { [ "$(vmms | wc -l)" -ge 2 ]; }

e2e kvm service_log_anew "SIGHUP opens -D anew, with -daemonize and without, for the helper process, too; another user's file is opened, a link is not"
test_service_log_anew() {
    local way lines
    mkdir logs
    for way in '' -daemonize; do
        rm -f logs/*
        # shellcheck disable=SC2086  # a word or none
        start -D logs/log -pidfile pid -serial none $way
        wait_for 10 "the number" test -s pid
        [ -z "$way" ] || { wait "$vmm_pid" || fail "it did not start: $(cat err)"; }
        vmm_pid=$(cat pid)
        kill -USR1 "$vmm_pid"
        wait_for 5 "counters" file_has logs/log 'vm.resets'
        mv logs/log logs/log.1
        lines=$(wc -l <logs/log.1)
        install -m 600 /dev/null logs/log
        [ "$(id -u)" != 0 ] || chown 1234 logs/log
        kill -HUP "$vmm_pid"
        nap 0.3
        kill -USR1 "$vmm_pid"
        wait_for 5 "counters in the new one" file_has logs/log 'vm.resets'
        is "$(wc -l <logs/log.1)" "$lines" "lines of the old one"
        [ "$(readlink /proc/"$vmm_pid"/fd/* | grep -c 'logs/log')" = 1 ] || fail "descriptors: $(readlink /proc/"$vmm_pid"/fd/*)"
        rm logs/log
        ln -s "$T/elsewhere" logs/log
        kill -HUP "$vmm_pid"
        nap 0.3
        [ ! -e elsewhere ] || fail "it followed a link"
        kill -INT "$vmm_pid"
        wait_for 5 "its end" no_vmm
        vmm_pid=''
    done
    # Without either it is the end.
    start -serial none
    wait_for 5 "a vCPU" has_thread vcpu0
    nap 0.3
    kill -HUP "$vmm_pid"
    ends 5 129
}

e2e kvm service_shutdown_timeout "a guest that takes no notice of its power button is ended after -shutdown-timeout"
test_service_shutdown_timeout() {
    # mov dx, PM1_EN; mov ax, PWRBTN_EN; out dx, ax
    still deaf "66ba020666b8000166ef"
    local ms
    start -kernel deaf -serial none -shutdown-timeout 2
    wait_for 5 "a vCPU" has_thread vcpu0
    nap 0.5
    ms=$(now_ms)
    kill -TERM "$vmm_pid"
    ends 10 143
    ms=$(($(now_ms) - ms))
    [[ $ms -ge 1900 && $ms -le 4000 ]] || fail "ended after $ms ms"
    is "$(cat err)" 'vmm: the guest did not shut down in 2 s after SIGTERM; ending it' "the log"
    start -kernel deaf -serial none -shutdown-timeout 0
    wait_for 5 "a vCPU" has_thread vcpu0
    nap 0.5
    kill -TERM "$vmm_pid"
    ends 1 143
}
