# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# QEMU's monitors, with those who speak to them: libvirt, scripts with socat.

# qmp SOCKET COMMAND...: what each answers, and what came between.
qmp() {
    local to=$1 c
    shift
    {
        echo '{"execute":"qmp_capabilities"}'
        for c; do echo "$c"; done
        nap 0.5
    } | socat -t 5 STDIO "UNIX-CONNECT:$to"
}

e2e kvm qmp_stopped "-S starts nobody before cont; a guest that powers off stays with -no-shutdown, starts again by a reset, and quit ends it"
test_qmp_stopped() {
    local said
    start -S -no-shutdown -qmp "unix:q,server=on,wait=off" -monitor unix:m,server,nowait -append test=poweroff
    wait_for 30 "the monitor" test -S m
    matches "$(qmp q '{"execute":"query-status"}')" '"prelaunch"' "status before cont"
    is "$(grep -ac 'guest: boot' "$T/out")" 0 "starts"
    matches "$(qmp q '{"execute":"cont"}')" '"RESUME"' "what cont says"
    wait_for 30 "the guest's power-off" qmp_is_over
    alive "$vmm_pid" || fail "the VMM ended with its guest"
    matches "$(qmp q '{"execute":"cont"}')" 'reset starts it again' "cont of a guest that has ended"
    said=$(qmp q '{"execute":"system_reset"}' '{"execute":"cont"}')
    matches "$said" '"RESET"' "what system_reset says"
    wait_for 30 "the second start" qmp_boots 2
    wait_for 30 "the second power-off" qmp_is_over
    printf 'info status\nquit\n' | socat -t 5 STDIO UNIX-CONNECT:m >quit
    matches "$(<quit)" 'VM status: paused \(shutdown\)' "the monitor"
    ends 10 0
}

qmp_boots() { [ "$(grep -ac 'guest: boot' "$T/out")" -ge "$1" ]; }
qmp_is_over() { [[ $(qmp q '{"execute":"query-status"}') =~ '"status": "shutdown"' ]]; }

# With a user and a group that libvirt looks for, which the installed package's daemon would have made.
virsh_here() {
    LIBVIRT_DEFAULT_URI="qemu:///embed?root=$T/lv" timeout 100 virsh "$@"
}

e2e kvm qmp_virsh "Debian's libvirt defines, starts, lists, suspends, resumes and destroys a domain with a NIC"
test_qmp_virsh() {
    command -v virsh >/dev/null || fail "no virsh: tests/setup.sh check"
    local said
    mkdir -p lv/etc
    printf '%s\n' 'stdio_handler="file"' 'user="root"' 'group="root"' 'security_driver="none"' remember_owner=0 \
        'namespaces=[]' 'cgroup_controllers=[]' >lv/etc/qemu.conf
    for said in passwd group; do
        { cat /etc/$said; grep -q ^libvirt-qemu: /etc/$said || echo 'libvirt-qemu:x:64055:64055::/:/bin/false'; } >$said
        mount --bind $said /etc/$said
    done
    tap tap0 10.0.0.1/24
    cat >d.xml <<XML
<domain type='kvm'><name>t1</name><memory unit='MiB'>64</memory><vcpu>2</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
<devices><emulator>$VMM</emulator><serial type='pty'/><memballoon model='virtio'/>
<interface type='ethernet'><target dev='tap0' managed='no'/><model type='virtio'/></interface>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></domain>
XML
    said=$(virsh_here 'define d.xml; start t1; list --all; suspend t1; domstate t1; resume t1; domstate t1; ttyconsole t1;
        domstats t1 --balloon; setmem t1 32M; qemu-monitor-command t1 --hmp "info version"; destroy t1; list --all' 2>&1) || true
    echo "$said" >"$T/virsh"
    matches "$said" "t1 +running" "list"
    matches "$said" $'suspended.*\npaused' "suspend"
    matches "$said" $'resumed.*\nrunning' "resume"
    matches "$said" "/dev/pts/" "ttyconsole"
    matches "$said" "balloon.current=65536" "domstats"
    matches "$said" "7.2.0 \(vmm" "the monitor through libvirt"
    matches "$said" "destroyed" "destroy"
    matches "$said" "t1 +shut off" "list at the end"
    said=$(virsh_here 'start t1; domif-setlink t1 tap0 down; domif-getlink t1 tap0; domifstat t1 tap0; shutdown t1; destroy t1' 2>&1) || true
    matches "$said" "tap0 down" "domif-getlink"
    matches "$said" "tap0 tx_packets" "domifstat"
    matches "$said" "being shutdown" "shutdown"
}
