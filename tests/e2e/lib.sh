# shellcheck shell=bash
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# SPDX-License-Identifier: MIT
# What end-to-end tests are written with: guests, TAPs, bounded waits, verdicts.  Sourced by tests/e2e/run.
#
# A test is a bash function test_NAME, announced by a line `e2e PLACE[/WHEN] NAME SENTENCE`, PLACE being
#   kvm    this machine's own KVM (the bundled guest; error paths)
#   lab    the lab (any guest)
#   alone  a lab of its own: programs that have brought the lab's emulator down
#   large  a lab with memory beyond 4 GiB
#   iommu  a lab with an IOMMU and a spare NIC at 0000:00:1e.0, wired to one with MAC 52:54:00:1a:b0:02
#   both   this machine and the lab
# and WHEN, in the lab (on this machine every test is part of every check, but those of kvm/long of `make check-long`):
#   check  `make check`; the same as none
#   quick  `make check QUICK=1`, too
#   long   only `make check-long`: what takes minutes, or looks in the lab at what is seen on this machine
#   image  the same, those with the Debian image (PART=images)
# Several run at once on this machine, and several labs.  A test runs as process 1 of namespaces of its own (network, processes, mounts, IPC), with loopback up, in an empty
# directory $T that is a tmpfs of its own, with `set -e`.  It may therefore create what it likes under any name; the end of
# the test is the end of its processes, interfaces and files.  What the *VMM* must clean up is checked by `clean`,
# which also runs after every test that passes.
#
# A test fails by `fail REASON` or by any command that fails; it skips by `skip REASON`.
# No fixed sleeps: wait_for.  No address outside the namespace.

# ------------------------------------------------------------ verdicts

fail() { echo "FAIL: $*"; exit 1; }
skip() { echo "SKIP: $*"; exit 77; }
note() { echo "note: $*"; }

# is ACTUAL EXPECTED WHAT
is() { [ "$1" = "$2" ] || fail "$3: got '$1', expected '$2'"; }
# matches TEXT REGEX WHAT: extended regular expression, as in [[ =~ ]]
matches() { [[ $1 =~ $2 ]] || fail "$3: got '$1', expected a match of '$2'"; }

# ------------------------------------------------------------ time

# A fifo nobody writes to: `read -t` on it is a sleep without a process, which matters under emulation.
exec {idle_fd}<> <(:)
nap() { read -r -t "$1" -u "$idle_fd" || true; }

# now_ms: milliseconds since boot, whatever happens to the wall clock.
now_ms() {
    local up
    read -r up _ </proc/uptime
    up=${up/./}
    echo $((10#$up * 10))
}

# wait_for SECONDS WHAT COMMAND...: until COMMAND succeeds; fails naming WHAT after SECONDS, or once the VMM has ended.
wait_for() {
    local seconds=$1 what=$2 end
    shift 2
    end=$(($(now_ms) + seconds * 1000))
    until "$@"; do
        if [ -n "${vmm_pid-}" ] && ! alive "$vmm_pid"; then
            "$@" && return
            tell_vmm
            fail "the VMM ended while waiting for $what"
        fi
        if [ "$(now_ms)" -ge "$end" ]; then
            tell_vmm
            fail "no $what within $seconds s"
        fi
        nap 0.03
    done
}

# alive PID: running, not a zombie.
alive() {
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    stat=${stat##*) }
    [ "${stat%% *}" != Z ]
}

# ------------------------------------------------------------ network

# tap NAME [ADDR/LEN]: an interface that is there before the VMM is.
tap() {
    ip tuntap add dev "$1" mode tap
    [ $# -lt 2 ] || ip addr add "$2" dev "$1"
    ip link set "$1" up
}

links() { ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/\1/' | sort | tr '\n' ' '; }
has_link() { [ -e "/sys/class/net/$1" ] || ip link show "$1" >/dev/null 2>&1; }
no_link() { ! has_link "$1"; }

# unanswered: echo requests sent from this namespace that have had no reply yet, by the kernel's count.
unanswered() {
    local name names values i out=0 in=0
    while read -r name values; do
        [ "$name" = Icmp: ] || continue
        [ -n "${names-}" ] || { names=$values; continue; }
        # shellcheck disable=SC2206
        local n=($names) v=($values)
        for i in "${!n[@]}"; do
            case ${n[i]} in
            InEchoReps) in=${v[i]} ;;
            OutEchos) out=${v[i]} ;;
            esac
        done
    done </proc/net/snmp
    echo $((out - in))
}
all_answered() { [ "$(unanswered)" -le "$1" ]; }

# pings ADDRESS [SIZE...]: no loss with any size.
# ping waits only two round trips for the last replies, -W or not; on a busy machine that is too short, and the kernel's
# counters, which see late replies too, decide: lost is what is still missing when nothing has come for 10 s.  (A reply that
# lost a fragment never gets into them.)
pings() {
    local address=$1 size out before end missing
    shift
    for size in "${@:-56}"; do
        before=$(unanswered)
        out=$(ping -n -q -i 0.02 -W 5 -c 10 -s "$size" "$address") || true
        [[ $out != *' 0% packet loss'* ]] || continue
        missing=-1
        until all_answered "$before"; do
            [ "$(unanswered)" = "$missing" ] || { missing=$(unanswered) end=$(($(now_ms) + 10000)); }
            [ "$(now_ms)" -lt $end ] || {
                where_lost
                fail "ping $address with $size bytes: $(sed -n '/packets transmitted/p' <<<"$out")"
            }
            nap 0.05
        done
    done
}

# where_lost: every counter that may tell where a frame went: the TAP's, this kernel's, the VMM's, a Linux guest's.
where_lost() {
    ip -s link show dev tap0 || true
    nstat -a 2>/dev/null | grep -E 'Reasm|Discard|Error|Drop|InMsgs|OutMsgs' || true
    if [ -n "$vmm_pid" ] && kill -USR1 "$vmm_pid" 2>/dev/null; then
        nap 0.3
        echo "--- counters of the VMM:"
        tail -n 30 "$T/err"
    fi
    if out_has 'guest: up'; then
        g_limit=5 g 'cat /proc/net/dev; tc -s qdisc; grep -E "^(Ip|Icmp):" /proc/net/snmp; ethtool -S eth0 2>/dev/null | grep -v ": 0"' || true
    fi
}

# ------------------------------------------------------------ the VMM

vmm_pid=''

# start OPTIONS...: the VMM in the background; its output in $T/out and $T/err, its input from $stdin (/dev/null).
start() {
    vmm_options=("$@")
    # What the last one wrote is not this one's, however late it begins.
    : >"$T/out" >"$T/err"
    # A shell's background job ignores SIGINT and SIGQUIT, and the VMM would, too.
    # shellcheck disable=SC2261
    env --default-signal=INT,QUIT "$VMM" "$@" <"${stdin:-/dev/null}" >"$T/out" 2>"$T/err" &
    vmm_pid=$!
}

vmm_ended() { ! alive "$vmm_pid"; }

# ends SECONDS RC: the VMM ends by itself, with exit status RC ("any" for any).
ends() {
    wait_for "$1" "end of the VMM" vmm_ended
    ended_with=0
    wait "$vmm_pid" || ended_with=$?
    vmm_pid=''
    if [ "$2" != any ] && [ "$ended_with" != "$2" ]; then
        tell_vmm
        fail "exit status $ended_with, expected $2"
    fi
}

# stop: end the VMM if it runs, without ceremony.
stop() {
    [ -n "$vmm_pid" ] || return 0
    kill -KILL "$vmm_pid" 2>/dev/null || true
    wait "$vmm_pid" 2>/dev/null || true
    vmm_pid=''
}

# tell_vmm: what a reader of a failure wants to see.
tell_vmm() {
    echo "--- $VMM ${vmm_options[*]-}"
    local file lines=${E2E_SOAK:-15}
    [ ! -s "$T/err" ] || { echo "--- its standard error:"; tail -n "$lines" "$T/err"; }
    for file in "$T/out" "$T/serial"; do
        [ ! -s "$file" ] || { echo "--- the end of its ${file##*/}:"; tail -n "$lines" "$file" | tr -d '\r'; }
    done
}

# clean: nothing of the VMM is left: no process but ours, no interface but those named here (and lo).
clean() {
    local left kept=" lo $* "
    left=$(for link in $(links); do [[ $kept == *" $link "* ]] || echo "$link"; done)
    [ -z "$left" ] || fail "left behind: interface $left"
    # A VMM that was killed leaves its helper, which does what is to be done then.
    wait_for 5 "end of VMM process $(vmms)" no_vmm
}
vmms() {
    local dir
    for dir in /proc/[0-9]*; do
        [[ $(readlink "$dir/exe" 2>/dev/null) != "$(readlink -f "$VMM")" ]] || echo "${dir#/proc/}"
    done
}
no_vmm() { [ -z "$(vmms)" ]; }

# ------------------------------------------------------------ guests

# Words for every Linux here: they leave out self-tests and page clearing, whose time under emulation tests nothing.
# E2E_WORDS adds some, such as loglevel=7 for a soak.
linux_words="console=ttyS0 quiet cryptomgr.notests init_on_alloc=0 rcupdate.rcu_expedited=1 panic=-1 ${E2E_WORDS-}"

out_has() { grep -aqE -- "$1" "$T/out" 2>/dev/null; }
file_has() { grep -aqE -- "$2" "$1" 2>/dev/null; }

# boot_bundled WORDS OPTIONS...: the bundled guest on tap0 (10.0.0.1 here, 10.0.0.2 there), until its network is up.
boot_bundled() {
    local words=$1
    shift
    has_link tap0 || tap tap0 10.0.0.1/24
    start -tap "tap0,mac=52:54:00:00:00:02,model=${model:-virtio-net-pci}" -append "ip=10.0.0.2/24 $words" "$@"
    wait_for 30 "'guest: net up'" out_has 'guest: net up'
}

# start_linux WORDS OPTIONS...: Debian's kernel with our initramfs ($initrd: the small one) on tap0; does not wait.
# $kernel: by default the same kernel already unpacked (PVH), because unxz takes 5 to 10 s in a guest of an emulated
# machine; tests about booting say kernel=$E2E_KERNEL for the bzImage.
start_linux() {
    local words=$1
    shift
    has_link tap0 || tap tap0 10.0.0.1/24
    start -kernel "${kernel:-$E2E_VMLINUX}" -initrd "${initrd:-$E2E_SMALL}" -m "${mem:-256M}" \
        -tap "tap0,mac=52:54:00:00:00:02,model=${model:-virtio-net-pci}" \
        -append "$linux_words ip=10.0.0.2/24 $words" "$@"
}

# boot_linux WORDS OPTIONS...: start_linux, then wait for its init.
boot_linux() {
    start_linux "$@"
    wait_for "${boot_limit:-90}" "'guest: up'" out_has 'guest: up'
}

# g COMMAND...: run a shell line in the Linux guest at ${guest:-10.0.0.2}; its output, its exit status (125: no answer).
# A program left in the background there must have its output redirected.
g() {
    # A process of its own, so that a connection that hangs can be given up.
    timeout "${g_limit:-60}" bash -c '
        exec 3<>"/dev/tcp/$0/2323" || exit 125
        printf "%s\n@@end\n" "$1" >&3
        hold=
        while IFS= read -r line <&3; do
            case $line in
            "@@rc "*) [ -z "$hold" ] || printf "%s" "$hold"; exit "${line#@@rc }" ;;
            esac
            [ -z "${have-}" ] || printf "%s\n" "$hold"
            hold=$line have=1
        done
        exit 125' "${guest:-10.0.0.2}" "$*" 2>"$T/g.err"
}
g_ok() { g "$@" >/dev/null; }

# detached COMMANDS: for what takes the network or the guest away: it runs there once the connection is closed.  An answer that
# is lost is not waited for; whether it was done is the test's to see.
detached() { g_limit=5 g "(sleep 0.3; $*) >/tmp/detached 2>&1 </dev/null &" || true; }

# poweroff_linux, reboot_linux: as a person would; the former expects the right exit status.
poweroff_linux() {
    detached '/init down; poweroff -f'
    ends 30 0
}
reboot_linux() { detached '/init down; reboot -f'; }
# crash_reboot_linux: with nothing shut down before, in the middle of what its NICs are doing.
crash_reboot_linux() { detached 'echo b >/proc/sysrq-trigger'; }

# ------------------------------------------------------------ data, load, survival

listening() { g_ok "netstat -ltn | grep -q ':$1 '"; }

# serve_data MIB: in the guest, port 5001 answers with the sha256 of what it is sent, port 5002 gives MIB of random bytes.
serve_data() {
    served=$1
    sum_there=$(g "head -c $((served << 20)) /dev/urandom >/tmp/payload; sha256sum </tmp/payload" | cut -d' ' -f1)
    g 'nc -ll -p 5001 -e sha256sum </dev/null >/dev/null 2>&1 & nc -ll -p 5002 -e cat /tmp/payload </dev/null >/dev/null 2>&1 &'
    wait_for 10 "a listener in the guest" listening 5001
    wait_for 10 "a listener in the guest" listening 5002
}

# move_both ADDRESS: as much each way, to what serve_data has started there, and compared.
move_both() {
    head -c "${served}M" /dev/urandom >payload
    is "$(timeout 180 socat -t 60 - "TCP:$1:5001" <payload | cut -d' ' -f1)" "$(sha256sum <payload | cut -d' ' -f1)" "sha256 of $served MiB to $1"
    is "$(timeout 180 socat -u "TCP:$1:5002" - | sha256sum | cut -d' ' -f1)" "$sum_there" "sha256 of $served MiB from $1"
}

# vlan_up: VLAN 5 on tap0 and on the guest's eth0, 10.5.0.1 here, 10.5.0.2 there.
vlan_up() {
    g_ok 'modprobe 8021q; ip link add link eth0 name v5 type vlan id 5 && ip addr add 10.5.0.2/24 dev v5 && ip link set v5 up' ||
        fail "a VLAN in the guest"
    ip link add link tap0 name t5 type vlan id 5
    ip addr add 10.5.0.1/24 dev t5
    ip link set t5 up
    # shellcheck disable=SC2034  # tests/e2e/run looks at it
    kept_links='tap0 t5'
    wait_for 10 "a reply on VLAN 5" ping -q -c 1 -W 1 10.5.0.2
}

# survive_boot NETDEV-OPTIONS DEVICE-OPTIONS: a guest with two processors and a NIC of $model, whose data ports are served.
survive_boot() {
    tap tap0 10.0.0.1/24
    start -kernel "$E2E_VMLINUX" -initrd "$E2E_FULL" -smp 2 -append "$linux_words ip=10.0.0.2/24" -stats \
        -netdev "tap,id=n0,ifname=tap0$1" -device "${model:-virtio-net-pci},netdev=n0,mac=52:54:00:00:00:02$2"
    wait_for 90 "'guest: up'" out_has 'guest: up'
    serve_data 2
}

# load: data both ways until the end of the test.
load() {
    (while :; do
        timeout 10 socat -u /dev/zero TCP:10.0.0.2:5001,connect-timeout=2 2>/dev/null || nap 0.2
    done) &
    (while :; do
        timeout 10 socat -u TCP:10.0.0.2:5002,connect-timeout=2 /dev/null 2>/dev/null || nap 0.2
    done) &
    nap 1
}

alive_again() {
    wait_for 60 "a reply after $1" ping -q -c 1 -W 1 10.0.0.2
    wait_for 30 "an answer after $1" g_ok true
    alive "$vmm_pid" || fail "the VMM ended in $1"
}

up='ip link set eth0 up; ip addr add 10.0.0.2/24 dev eth0'

# ordeal NETDEV-OPTIONS DEVICE-OPTIONS: everything a driver does to its NIC, under load.
ordeal() {
    survive_boot "$1" "$2"
    load
    detached 'for i in 1 2 3 4 5 6 7 8 9 10; do ip link set eth0 down; ip link set eth0 up; done'
    alive_again "link flaps"
    detached 'd=$(readlink -f /sys/class/net/eth0/device); cd $d/driver; d=${d##*/};' \
        'for i in 1 2 3; do echo $d >unbind; echo $d >bind; done; sleep 0.2;' "$up"
    alive_again "unbind and bind"
    detached 'm=$(readlink -f /sys/class/net/eth0/device/driver/module); m=${m##*/};' \
        'rmmod $m; modprobe $m; sleep 0.2;' "$up"
    alive_again "rmmod and modprobe"
    detached 'for m in 600 1400 1500; do ip link set eth0 mtu $m; done'
    alive_again "MTU changes"
    detached 'for n in 64 128 256; do ethtool -G eth0 rx $n tx $n; done'
    alive_again "ring sizes"
    detached 'for x in off on off on; do ethtool -K eth0 tx $x tso $x gro $x lro $x rx-gro-hw $x; done'
    alive_again "offload changes"
    move_both 10.0.0.2
    kill -USR2 "$vmm_pid"
    nap 0.5
    kill -USR2 "$vmm_pid"
    alive_again "a pulled cable"
    move_both 10.0.0.2
}

# reboots_under_load: three times.
reboots_under_load() {
    survive_boot '' ''
    load
    local i
    for i in 1 2 3; do
        crash_reboot_linux
        wait_for 90 "boot $((i + 1))" boots $((i + 1))
    done
    serve_data 2
    move_both 10.0.0.2
}
boots() { [ "$(grep -ac 'guest: up' "$T/out")" -ge "$1" ]; }
