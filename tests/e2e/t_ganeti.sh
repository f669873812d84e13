# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# Ganeti, an engine that runs QEMU on many hosts: what it asks and writes, and a cluster of it whose emulator is this VMM.

e2e kvm ganeti_command "the command line that Ganeti writes, with a TAP it has opened, starts a machine which answers its monitors as Ganeti asks, keeps its words in /proc, and ends"
test_ganeti_command() {
    timeout 100 python3 "$E2E_ROOT/tests/e2e/ganeti-command.py" "$VMM" "$E2E_GUEST"
}

# node N COMMAND...: run it there, for a bounded time.
declare -A node_of=()
node() {
    local n=$1
    shift
    timeout -k 5 "${node_limit:-150}" nsenter -t "${node_of[$n]}" -a -r -w -- \
        env -i PATH=/usr/sbin:/usr/bin HOME=/root LANG=C.UTF-8 "$@"
}

# gnt WHAT ARGS...: on the master; what it says is in the log of the test, and in $said.
gnt() {
    local begin status=0
    begin=$(now_ms)
    said=$(node 1 "gnt-$1" "${@:2}" 2>&1 </dev/null) || status=$?
    [ $status = 0 ] || {
        node 1 tail -n 30 /var/log/ganeti/node-daemon.log /var/log/ganeti/jobs.log || true
        echo "$said"
        fail "gnt-$*: status $status"
    }
    printf '%s$ gnt-%s\n%s\n' "[$(($(now_ms) - begin)) ms] " "$*" "$said"
}

# node_up N: a node that answers to ssh.
node_up() {
    local outer
    mkdir -p "node$1"
    ip link add "v$1" type veth peer name "p$1"
    ip link set "v$1" master lan up
    unshare --net --pid --mount --uts --ipc --fork --kill-child "$E2E_ROOT/tests/e2e/ganeti-node" "$1" &
    outer=$!
    wait_for 30 "node $1's first process" pgrep -P $outer
    node_of[$1]=$(pgrep -P $outer)
    wait_for 30 "node $1's namespaces" in_other_namespace "${node_of[$1]}"
    ip link set "p$1" netns "${node_of[$1]}"
    wait_for 30 "node $1" test -e "node$1/up"
    wait_for 30 "node $1's sshd" sshd_answers "10.9.0.$1"
}
in_other_namespace() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
# shellcheck disable=SC2016  # for the other bash
sshd_answers() { timeout 5 bash -c 'read -r line <"/dev/tcp/$0/22" && [[ $line == SSH-* ]]' "$1" 2>/dev/null; }

# fleet NODES: their network and names.
fleet() {
    local n
    [ -n "${E2E_GANETI-}" ] || skip "no Debian with Ganeti: ${E2E_NO_GANETI-}"
    # Not in a user namespace: its root may not have what belongs to others in the tree.
    [[ $(</proc/self/uid_map) =~ 4294967295$ ]] || skip "only root can have nodes that are machines of their own"
    modprobe -q overlay || true
    grep -qw overlay /proc/filesystems || skip "this kernel has no overlayfs"
    mkdir shared
    ip link add lan type bridge
    ip addr add 10.9.0.254/24 dev lan
    ip link set lan up
    {
        echo 127.0.0.1 localhost
        echo 10.9.0.100 fleet.fleet.test
        for n in 1 2 3; do echo "10.9.0.$n node$n.fleet.test node$n"; done
    } >hosts
    for ((n = 1; n <= $1; n++)); do node_up "$n"; done
    kept_links=lan
    for ((n = 1; n <= $1; n++)); do kept_links+=" v$n"; done
}

# join N: what an operator's ssh-copy-id would do, and the rest.
join() {
    node 1 cat /root/.ssh/id_rsa.pub | node "$1" sh -c 'mkdir -m 700 -p ~/.ssh && cat >~/.ssh/authorized_keys'
    gnt node add --no-ssh-key-check "node$1.fleet.test"
}

reachable() { ping -q -c 1 -W 1 "$1" >/dev/null; }
unreachable() { ! reachable "$1"; }
vmms_of() { node "$1" pgrep -x vmm; }

# instance NAME ADDRESS NODE OPTIONS...: added, and not yet started.
instance() {
    gnt instance add -o bundled --no-install --no-start --no-name-check --no-ip-check -n "node$3.fleet.test" \
        -H "kvm:acpi=false,kernel_args=ip=$2/24" --net 0:ip=none "${@:4}" "$1.fleet.test"
}

# verify: nothing is wrong with the cluster, but that this kernel may have been built without a /proc/sysrq-trigger.
verify() {
    local without=()
    [ -e /proc/sysrq-trigger ] || without=(-I ENODESETUP)
    gnt cluster verify "${without[@]}"
    ! grep -E 'ERROR|WARNING' <<<"$said" | grep -v 'missing required .*/proc/sysrq-trigger' || fail "gnt-cluster verify"
}

# listed NAME NODE STATUS: what gnt-instance list says of it.
listed() {
    gnt instance list --no-headers --separator=: -o name,pnode,status,oper_ram
    matches "$said" "(^|"$'\n'")$1.fleet.test:node$2.fleet.test:$3" "gnt-instance list"
}

e2e kvm/long ganeti_fleet "Debian's Ganeti with this VMM as its emulator, on nodes in namespaces: instances are added, started, rebooted, moved, stopped; one whose node is lost starts on another; verify finds nothing wrong"
test_ganeti_fleet() {
    local said first second
    fleet 3
    gnt cluster init --no-etc-hosts --enabled-hypervisors=kvm --enabled-disk-templates=diskless,sharedfile \
        --shared-file-storage-dir=/srv/ganeti/shared-file-storage --master-netdev=br0 \
        --nic-parameters=mode=bridged,link=br0 --backend-parameters=minmem=128,maxmem=128,always_failover=true \
        --hypervisor-parameters=kvm:kvm_path=/usr/local/bin/vmm,kernel_path=/boot/guest,initrd_path=,vnc_bind_address= \
        fleet.fleet.test
    join 2
    join 3
    verify

    instance i1 10.9.0.21 1 -t diskless
    instance i2 10.9.0.22 2 -t sharedfile -s 1G
    listed i1 1 ADMIN_down
    gnt instance start --force-multiple i1.fleet.test i2.fleet.test
    listed i1 1 running:128
    listed i2 2 running:128
    wait_for 30 "an answer of i1" reachable 10.9.0.21
    wait_for 30 "an answer of i2" reachable 10.9.0.22
    verify

    said=$(node 1 python3 - i1.fleet.test <"$E2E_ROOT/tests/e2e/ganeti-monitor.py" 2>&1) || fail "Ganeti's classes: $said"
    first=$(vmms_of 1)
    gnt instance reboot i1.fleet.test
    second=$(vmms_of 1)
    [ "$first" != "$second" ] || fail "gnt-instance reboot left the process as it was"
    wait_for 30 "an answer of i1 after its reboot" reachable 10.9.0.21

    gnt instance migrate -f -n node3.fleet.test i2.fleet.test
    listed i2 3 running
    wait_for 30 "an answer of i2 on node 3" reachable 10.9.0.22

    # Node 3 is lost, with what runs on it.
    kill -KILL "${node_of[3]}"
    wait_for 10 "the end of i2" unreachable 10.9.0.22
    gnt node modify -f --offline=yes node3.fleet.test
    gnt instance failover -f -n node2.fleet.test i2.fleet.test
    listed i2 2 running
    wait_for 30 "an answer of i2 on node 2" reachable 10.9.0.22
    verify

    gnt instance stop --force-multiple i1.fleet.test i2.fleet.test
    listed i1 1 ADMIN_down
    listed i2 2 ADMIN_down
    wait_for 10 "silence of i1" unreachable 10.9.0.21
    ! pgrep -x 'vmm|vmm-helper' || fail "left running, though stopped"
    gnt instance remove -f i2.fleet.test
    gnt cluster verify-disks
}
