# shellcheck shell=bash
# shellcheck disable=SC2154,SC2016  # vmm_pid and friends come from lib.sh; what is in single quotes is for the guest
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

# virsh_begin: a libvirt of this test's own in $T/lv, with a user and a group that it looks for, which the installed package's
# daemon would have made.
virsh_begin() {
    command -v virsh >/dev/null || fail "no virsh: tests/setup.sh check"
    local file
    mkdir -p lv/etc
    printf '%s\n' 'stdio_handler="file"' 'user="root"' 'group="root"' 'security_driver="none"' remember_owner=0 \
        'namespaces=[]' 'cgroup_controllers=[]' >lv/etc/qemu.conf
    for file in passwd group; do
        { cat /etc/$file; grep -q ^libvirt-qemu: /etc/$file || echo 'libvirt-qemu:x:64055:64055::/:/bin/false'; } >$file
        mount --bind $file /etc/$file
    done
    tap tap0 10.0.0.1/24
    tap tap1 10.0.1.1/24
    truncate -s 8M disk
    qemu-img create -q -f qcow2 more 4M
}
# virsh_domain OS DEVICES: what there is for one here, in d.xml: all that both have.
virsh_domain() {
    cat >d.xml <<XML
<domain type='kvm'><name>t1</name><memory unit='MiB'>${mem:-64}</memory><vcpu>2</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type>$1</os><features><acpi/><apic/></features>
<clock offset='utc'><timer name='rtc' tickpolicy='catchup'/><timer name='pit' tickpolicy='delay'/><timer name='hpet' present='no'/></clock>
<devices><emulator>$VMM</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw' cache='${cache:-none}' discard='unmap'/><source file='$T/disk'/>
<target dev='vda' bus='virtio'/><serial>abc</serial></disk>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$T/more'/><target dev='vdb' bus='virtio'/></disk>
<interface type='ethernet'><mac address='52:54:00:00:00:02'/><target dev='tap0' managed='no'/><model type='virtio'/></interface>
<interface type='ethernet'><mac address='52:54:00:00:00:03'/><target dev='tap1' managed='no'/><model type='e1000'/></interface>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><panic model='isa'/>
<memballoon model='virtio'><stats period='1'/></memballoon>$2</devices></domain>
XML
}
virsh_here() {
    LIBVIRT_DEFAULT_URI="qemu:///embed?root=$T/lv" timeout 100 virsh "$@" >said 2>&1 || true
    cat said
    said=$(<said)
}

# virsh_console REGEX: the console as a person has it, until that is there.
virsh_console() {
    local at
    mkfifo keys
    LIBVIRT_DEFAULT_URI="qemu:///embed?root=$T/lv" socat "EXEC:virsh console t1,pty,setsid,ctty,raw,echo=0" \
        STDIO <>keys >"$T/out" 2>console.err &
    at=$!
    wait_for 120 "'$1' on the console" out_has "$1"
    kill "$at"
    wait "$at" || true
}

e2e kvm qmp_virsh "Debian's libvirt defines, starts, lists, looks at, suspends, resumes, leaves, finds again and destroys a domain with all that there is"
test_qmp_virsh() {
    local said
    virsh_begin
    virsh_domain "<kernel>$E2E_ROOT/${B:-build}/guest/guest.bzimage</kernel><cmdline>ip=10.0.0.2/24</cmdline>" "<serial type='pty'/>"
    virsh_here 'define d.xml; start t1; list --all; suspend t1; domstate t1; resume t1; domstate t1; ttyconsole t1;
        domstats t1; setmem t1 32M; qemu-monitor-command t1 --hmp "info version"; dommemstat t1 --period 3 --live;
        dommemstat t1; domblklist t1; domblkstat t1 vda; blockresize t1 vda 16M; domblkinfo t1 vda'
    matches "$said" "t1 +running" "list"
    matches "$said" $'suspended.*\npaused' "suspend"
    matches "$said" $'resumed.*\nrunning' "resume"
    matches "$said" "/dev/pts/" "ttyconsole"
    matches "$said" "balloon.current=65536.*vcpu.current=2.*net.count=2.*block.0.capacity=8388608" "domstats"
    matches "$said" "7.2.0 \(vmm" "the monitor through libvirt"
    matches "$said" "last_update 0" "dommemstat"
    matches "$said" "vda +$T/disk.*vda flush_operations 0" "domblklist and domblkstat"
    matches "$said" "Capacity: +16777216" "domblkinfo after blockresize"
    ! grep '^error:' <<<"$said" || fail "an error"
    # As a libvirt that was started anew, here and there.
    virsh_console 'guest: net up'
    pings 10.0.0.2
    virsh_here 'list; suspend t1; resume t1; domblkstat t1 vda; dommemstat t1; destroy t1; list --all'
    matches "$said" "t1 +running.*resumed.*vda rd_req.*last_update" "a domain that was found again"
    matches "$said" "destroyed" "destroy"
    matches "$said" "t1 +shut off" "list at the end"
    ! grep '^error:' <<<"$said" || fail "an error"
    virsh_here 'start t1; domif-setlink t1 tap0 down; domif-getlink t1 tap0; domif-setlink t1 tap1 down; domif-getlink t1 tap1;
        domifstat t1 tap0; reset t1; shutdown t1; destroy t1'
    matches "$said" "tap0 down" "domif-getlink"
    matches "$said" "tap1 down" "domif-getlink of the e1000"
    matches "$said" "tap0 tx_packets" "domifstat"
    matches "$said" "was reset" "reset"
    matches "$said" "being shutdown" "shutdown"
    ! grep '^error:' <<<"$said" || fail "an error"
}

e2e kvm qmp_rehome "netdev_del lets go of a NIC's TAP, netdev_add gives it another one by getfd, of either card; and by name"
test_qmp_rehome() {
    local model said
    tap tap0 10.0.0.1/24
    ip tuntap add tap1 mode tap
    ip link set tap1 up
    for model in virtio-net-pci e1000; do
        model=$model boot_bundled '' -qmp unix:q,server=on,wait=off -allow-tap tap0
        pings 10.0.0.2
        is "$(timeout 60 python3 "$here/rehome.py" q net0 tap1 gone)" "netdev_del {'return': {}}" "what netdev_del says"
        [[ $(ip link show tap0) != *LOWER_UP* ]] || fail "tap0 is open still"
        said=$(timeout 60 python3 "$here/rehome.py" q net0 tap1)
        matches "$said" "netdev_del .*'DeviceNotFound'" "netdev_del of what is gone"
        matches "$said" "no tap .*descriptor 0 is not a tap" "a descriptor of something else"
        matches "$said" "no name .*named 'tap' not found" "a name that nobody has given"
        matches "$said" "netdev_add \{'return': \{\}\}" "netdev_add"
        matches "$said" "again .*netdev_del comes first" "netdev_add once more"
        ip addr flush dev tap0
        ip addr add 10.0.0.1/24 dev tap1
        pings 10.0.0.2 56 8000
        said=$(qmp q '{"execute":"netdev_del","arguments":{"id":"net0"}}' '{"execute":"query-rx-filter"}' \
            '{"execute":"netdev_add","arguments":{"type":"tap","id":"net0","ifname":"tap9"}}' \
            '{"execute":"netdev_add","arguments":{"type":"tap","id":"net0","ifname":"tap0"}}')
        matches "$said" 'is no -allow-tap' "a TAP that is not allowed"
        matches "$said" '"main-mac": "52:54:00:00:00:02"' "query-rx-filter"
        ip addr flush dev tap1
        ip addr add 10.0.0.1/24 dev tap0
        pings 10.0.0.2
        stop
    done
}

e2e kvm qmp_fdset "-add-fd: a serial port's file and a disk that others have opened, and another file in the disk's place"
test_qmp_fdset() {
    truncate -s 1M d1
    truncate -s 2M d2
    : >log
    exec 7>>log 8<>d1 9<>d2
    start -add-fd set=0,fd=7,opaque=serial -add-fd set=3,fd=8 -add-fd fd=9,set=4 -qmp unix:q,server=on,wait=off \
        -chardev file,id=c,path=/dev/fdset/0,append=on -serial chardev:c -drive file=/dev/fdset/3,format=raw,id=d0 -append test=idle
    exec 7>&- 8>&- 9>&-
    wait_for 30 "the guest's console in the file" grep -qa 'guest: boot' log
    matches "$(qmp q '{"execute":"query-fdsets"}')" '\{"fdset-id": 0, "fds": \[\{"fd": 7, "opaque": "serial"\}\]\}' "query-fdsets"
    matches "$(qmp q '{"execute":"query-named-block-nodes"}')" '"virtual-size": 1048576' "the disk's size"
    matches "$(qmp q '{"execute":"blockdev-change-medium","arguments":{"id":"d0","filename":"/dev/fdset/9"}}')" \
        'No such file' "a set that is not there"
    qmp q '{"execute":"blockdev-change-medium","arguments":{"id":"d0","filename":"/dev/fdset/4"}}' \
        '{"execute":"remove-fd","arguments":{"fdset-id":4}}' >changed
    matches "$(qmp q '{"execute":"query-named-block-nodes"}')" '"virtual-size": 2097152' "the disk's size then"
    stop
}

e2e kvm qmp_ctrl_a_c "-serial mon:stdio: Ctrl-A c is the monitor's, and back; what is typed there is no guest's, and quit ends with 0"
test_qmp_ctrl_a_c() {
    on_terminal 'wait guest: ;send \x01c;wait QEMU 7.2.0 monitor;wait \(qemu\) ;send info stax\x7ftus\r;wait info stax;wait VM status: running;send stop\r;wait \(qemu\) ;send info status\r;wait paused;send \x01ctyped at a guest that stands still, which takes none of it;send \x01c;wait \(qemu\) ;send c\r;wait \(qemu\) ;send \x01cno line\r;send \x01h;wait Ctrl-A x;send \x01c;wait \(qemu\) ;send quit\r;end 0' \
        -serial mon:stdio -append test=idle
    # The same by a chardev that both name.
    on_terminal 'wait guest: ;send \x01c;wait \(qemu\) ;send info name\r;wait web1;send \x01x;end 0' \
        -name web1 -chardev stdio,id=s,mux=on -serial chardev:s -mon chardev=s -append test=idle
}

e2e kvm qmp_at_terminals "QMP and the monitor at stdio, which may be pipes or a terminal, and at pseudo-terminals of the VMM's own"
test_qmp_at_terminals() {
    local pts said
    on_terminal 'wait QMP;send {"execute":"qmp_capabilities"}{"execute":"query-status"};wait "running": true;send {"execute":"quit"};wait SHUTDOWN;end 0' \
        -qmp stdio -serial null -append test=idle
    on_terminal 'wait \(qemu\) ;send info status\r;wait VM status: running;send q\r;end 0' -monitor stdio -serial null -append test=idle
    said=$({ echo '{"execute":"qmp_capabilities"}{"execute":"query-name","id":7}'; nap 1; echo '{"execute":"quit"}'; nap 1; } |
        timeout 60 "$VMM" -name web1 -qmp stdio -serial null -append test=idle 2>err)
    matches "$said" '"name": "web1"\}, "id": 7' "an answer into a pipe"
    matches "$said" '"SHUTDOWN"' "the last event"
    start -qmp pty -monitor pty -serial null -append test=idle
    wait_for 30 "two pseudo-terminals" qmp_ptys
    mapfile -t pts < <(sed -n 's/.*redirected to //p' err)
    said=$({ echo '{"execute":"qmp_capabilities"}'; echo '{"execute":"stop"}'; nap 1; } | timeout 30 socat -t 3 STDIO "${pts[0]},raw,echo=0")
    matches "$said" '"QMP".*"return".*"STOP"' "QMP at a pseudo-terminal"
    said=$({ echo 'info status'; nap 1; } | timeout 30 socat -t 3 STDIO "${pts[1]},raw,echo=0")
    matches "$said" 'VM status: paused' "the monitor at another"
    stop
}
qmp_ptys() { [ "$(grep -c 'redirected to' err)" = 2 ]; }

e2e kvm qmp_several "monitors of every sort at once, one at a descriptor that who starts the VMM listens at: each is answered, all of QMP hear"
test_qmp_several() {
    local place
    # As libvirt: the socket is there, and a client connected, before the VMM is.
    python3 - "$VMM" -append test=idle -serial null -qmp unix:q1,server=on,wait=off -qmp unix:q2,server,nowait \
        -monitor unix:h1,server,nowait -qmp tcp:127.0.0.1:7777,server=on,wait=off \
        -chardev socket,id=m,path=h2,server=on,wait=off -mon chardev=m,mode=readline >heard 2>err <<'PY' &
import os, socket, subprocess, sys
s = socket.socket(socket.AF_UNIX)
s.bind("fd")
s.listen(1)
c = socket.socket(socket.AF_UNIX)
c.connect("fd")
vmm = subprocess.Popen([*sys.argv[1:], "-chardev", f"socket,id=l,fd={s.fileno()},server=on,wait=off", "-mon", "chardev=l,mode=control"],
                       pass_fds=[s.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
s.close()
c.settimeout(60)
c.sendall(b'{"execute":"qmp_capabilities"}')
while got := c.recv(4096):
    os.write(1, got)
sys.exit(vmm.wait())
PY
    vmm_pid=$!
    wait_for 30 "an answer at the descriptor" grep -q '"return": {}' heard
    for place in UNIX-CONNECT:q2 TCP:127.0.0.1:7777; do
        matches "$({ echo '{"execute":"qmp_capabilities"}{"execute":"query-kvm"}'; nap 0.5; } | socat -t 5 STDIO "$place")" \
            '"present": true' "what $place says"
    done
    for place in h1 h2; do
        matches "$({ echo 'info version'; nap 0.5; } | socat -t 5 STDIO "UNIX-CONNECT:$place")" '7\.2\.0 \(vmm' "what $place says"
    done
    matches "$(qmp q1 '{"execute":"stop"}')" '"STOP"' "what q1 hears"
    wait_for 30 "the same at the descriptor" grep -q '"STOP"' heard
    echo quit | socat -t 5 STDIO UNIX-CONNECT:h1 >/dev/null
    ends 30 0
    matches "$(<heard)" '"SHUTDOWN".*"host-qmp-quit"' "the last event"
    if [ -e q1 ] || [ -e h2 ]; then fail "sockets are left"; fi
    [ -e fd ] || fail "who listened has lost its socket"
}

e2e lab/long qmp_virsh_linux "Debian's libvirt and a Linux: disk, both NICs, entropy, balloon, serial console, a cable pulled, power button, on and off again"
test_qmp_virsh_linux() {
    local said nic
    # The lab's tmpfs cannot be written past the page cache.
    export mem=256 cache=writeback g_limit=20
    virsh_begin
    printf 'from the host' | dd of=disk conv=notrunc status=none
    virsh_domain "<kernel>$E2E_VMLINUX</kernel><initrd>$E2E_SMALL</initrd>
<cmdline>$linux_words ip=10.0.0.2/24,10.0.1.2/24</cmdline>" "<serial type='pty'/>"
    virsh_here 'define d.xml; start t1; list; ttyconsole t1'
    matches "$said" "t1 +running" "list"
    matches "$said" '(/dev/pts/[0-9]+)' ttyconsole
    cat "${BASH_REMATCH[1]}" >"$T/out" &
    wait_for 120 "'guest: up' on the console" out_has 'guest: up'
    pings 10.0.0.2 56 1472
    pings 10.0.1.2 56 1472
    is "$(g 'cat /sys/block/vda/serial')" abc "the disk's serial number"
    is "$(g 'head -c 13 /dev/vda')" 'from the host' "what is on it"
    g_ok 'echo from the guest | dd of=/dev/vda bs=512 seek=2 conv=sync,fsync' || fail "writing to the disk"
    is "$(dd if=disk bs=512 skip=2 count=1 status=none | head -c 14)" 'from the guest' "what the guest wrote"
    is "$(g 'cat /sys/block/vdb/size')" 8192 "sectors of the second disk"
    # Numbers are in the order of the drivers.
    nic=$(g 'ls /sys/bus/pci/drivers/e1000/0000:00:03.0/net') || fail "no e1000 at its place"
    matches "$(g 'cat /sys/class/misc/hw_random/rng_current')" virtio_rng "the source of entropy"
    is "$(g 'head -c 64 /dev/hwrng | wc -c')" 64 "bytes of it"
    virsh_here 'setmem t1 192M; domif-setlink t1 tap1 down; suspend t1; domstate t1; resume t1; domifstat t1 tap0;
        domblkstat t1 vda'
    matches "$said" $'suspended.*\npaused' "suspend"
    matches "$said" "tap0 rx_packets [1-9]" "domifstat"
    matches "$said" "wr_req [1-9]" "domblkstat"
    ! grep '^error:' <<<"$said" || fail "an error"
    wait_for 30 "the pulled cable" g_ok "grep -qx 0 /sys/class/net/$nic/carrier"
    wait_for 60 "the balloon" virsh_balloon_is 196608
    virsh_here 'domif-setlink t1 tap1 up; dommemstat t1; blockresize t1 vda 16M; setmem t1 256M'
    matches "$said" "available [1-9].*last_update [1-9]" "what the guest says of its memory"
    wait_for 30 "the cable" g_ok "grep -qx 1 /sys/class/net/$nic/carrier"
    wait_for 30 "the larger disk" g_ok "grep -qx 32768 /sys/block/vda/size"
    pings 10.0.1.2 56
    # What acpid does.
    g 'modprobe button'
    g '(until grep -q "^ *[1-9]" /sys/firmware/acpi/interrupts/ff_pwr_btn; do usleep 20000; done; /init down; poweroff -f) >/dev/null 2>&1 &'
    virsh_here 'shutdown t1; event t1 --event lifecycle --loop --timeout 20; list --all'
    matches "$said" "Shutdown Finished.*t1 +shut off" "power-off"
    no_vmm || fail "a machine that is off runs"
    virsh_here 'start t1; event t1 --event reboot --timeout 1; reset t1; destroy t1; undefine t1; list --all'
    matches "$said" "was reset.*destroyed.*undefined" "a second start"
    ! grep -q t1 <<<"${said##*State}" || fail "undefined and there"
}
virsh_balloon_is() {
    virsh_here 'domstats t1 --balloon'
    [[ $said == *"balloon.current=$1"* ]]
}
