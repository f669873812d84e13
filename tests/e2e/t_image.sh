# shellcheck shell=bash
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# shellcheck disable=SC2034  # initrd and kernel are boot_linux's
# SPDX-License-Identifier: MIT
# Images of formats of their own, which qemu-storage-daemon serves, and vhost-user-blk-pci with one that the test started.

# daemons: those of this test, which sees no others.
daemons() { pgrep -x qemu-storage-da || true; }
no_daemon() { [ -z "$(daemons)" ]; }
has_daemon() { [ -n "$(daemons)" ]; }
said() { grep -aqE -- "$1" "$T/err" 2>/dev/null; }

e2e kvm image_wrong "an image that cannot be served, or nobody to serve it: one line, and no guest"
test_image_wrong() {
    qemu-img create -q -f qcow2 good.qcow2 16M
    qemu-img create -q -f qcow2 -b good.qcow2 -F qcow2 behind.qcow2
    qemu-img create -q -f qcow2 -o data_file=data.raw data.qcow2 16M
    head -c 65536 /dev/urandom >bad.qcow2
    local drive text
    while IFS='|' read -r drive text; do
        : >err
        start -drive "$drive,if=virtio"
        ends 15 any
        said "$text" || fail "$drive: $(cat err)"
        is "$(wc -l <err)" 1 "$drive: lines"
        no_daemon || fail "$drive: a daemon is left"
    done <<'LIST'
file=bad.qcow2,format=qcow2|^vmm: virtio0: bad.qcow2: qemu-storage-daemon ended at once: Image is not in qcow2 format$
file=none.qcow2,format=qcow2|^vmm: -drive: none.qcow2: No such file
file=good.qcow2|begins like a qcow2 image; format=raw gives
file=good.qcow2,format=qcow3|format=qcow3: no such format
file=good.qcow2,format=vdi|ended at once: .*
file=good.qcow2,format=vmdk|good.qcow2 may name other files.*; backing=on has them opened$
file=behind.qcow2,format=qcow2|^vmm: -drive: behind.qcow2 has the backing file good.qcow2, which lies below no -allow-path DIR; backing=on
file=data.qcow2,format=qcow2,backing=on|^vmm: -drive: data.qcow2 keeps its data in another file
LIST
    # Asked for.
    for drive in '-drive file=behind.qcow2,format=qcow2,if=virtio,backing=on' "-allow-path . -drive file=behind.qcow2,format=qcow2,if=virtio"; do
        # shellcheck disable=SC2086  # words
        start $drive -append test=hang
        wait_for 10 "a daemon that opens two files" said 'connected to qemu-storage-daemon'
        stop
        wait_for 15 "the end of the daemon" no_daemon
    done
    "$(command -v env)" PATH=/nonexistent "$VMM" -drive file=good.qcow2,format=qcow2,if=virtio >out2 2>&1 </dev/null && fail "it runs without a daemon"
    is "$(cat out2)" 'vmm: virtio0: qemu-storage-daemon is not installed; sudo apt install qemu-system-common' "what is said without it"
    # Two machines on one image: the second one is told.
    start -drive file=good.qcow2,format=qcow2,if=virtio
    wait_for 10 "the first one's daemon" said 'connected to qemu-storage-daemon'
    timeout 20 "$VMM" -drive file=good.qcow2,format=qcow2,if=virtio -serial none >out2 2>&1 </dev/null && fail "two on one image"
    grep -q 'virtio0: good.qcow2: qemu-storage-daemon ended at once: Failed to get "write" lock' out2 || fail "$(cat out2)"
    # It ends with the machine, however that does.
    kill -KILL "$vmm_pid"
    ends 10 any
    wait_for 15 "the end of the daemon" no_daemon
    wait_for 5 "the end of the helper" no_vmm
    is "$(ls /tmp/vmm-?????? 2>/dev/null)" '' "what the helper made in /tmp"
}

e2e kvm image_daemon_again "a qemu-storage-daemon that is killed comes again"
test_image_daemon_again() {
    qemu-img create -q -f qcow2 disk.qcow2 16M
    start -drive file=disk.qcow2,format=qcow2,if=virtio -append test=hang
    wait_for 10 "the daemon" said 'connected to qemu-storage-daemon'
    local round before
    for round in 1 2 3; do
        # One that finds the image locked by the dead still ends at once.
        wait_for 15 "a daemon" a_daemon
        kill -KILL "$before" || true
        wait_for 15 "daemon $round" another_daemon "$before"
    done
    alive "$vmm_pid" || fail "the VMM has ended"
    stop
    wait_for 15 "the end of the daemon" no_daemon
}
a_daemon() { before=$(daemons) && [ -n "$before" ]; }
another_daemon() { has_daemon && [ "$(daemons)" != "$1" ]; }

e2e kvm image_helper_killed "the helper process is killed: its qemu-storage-daemon ends, and the image is free for another machine"
test_image_helper_killed() {
    qemu-img create -q -f qcow2 disk.qcow2 16M
    start -drive file=disk.qcow2,format=qcow2,if=virtio -append test=hang
    wait_for 10 "the daemon" said 'connected to qemu-storage-daemon'
    kill -KILL "$(pgrep -x vmm-helper)"
    wait_for 15 "the end of the daemon" no_daemon
    wait_for 5 "word of it" said 'the helper process has ended; the guest goes on without: qemu-storage-daemon of virtio0'
    alive "$vmm_pid" || fail "the VMM has ended"
    qemu-io -c 'write 0 64k' disk.qcow2 >io.log 2>&1 || fail "the image is not free: $(cat io.log)"
    kill -TERM "$vmm_pid"
    ends 10 any
}

# image_boot [,KEY=VALUE...]: the guest with disk.qcow2 as its disk.
image_boot() {
    initrd=$E2E_DISK boot_linux '' -drive "file=disk.qcow2,format=qcow2,if=virtio,discard=unmap$1" -stats
    g 'ls /dev/vda' >/dev/null || fail "no disk: $(g dmesg | tail -n 20)"
}

e2e lab image_qcow2 "Linux makes a file system on a qcow2 image, and finds it again"
test_image_qcow2() {
    local sum
    qemu-img create -q -f qcow2 disk.qcow2 256M
    image_boot ''
    is "$(g 'cat /sys/block/vda/size')" 524288 "sectors"
    g 'mke2fs /dev/vda >/dev/null && mount -t ext2 /dev/vda /mnt' || fail "no file system"
    sum=$(g 'dd if=/dev/urandom of=/mnt/data bs=64k count=256 2>/dev/null; sync; sha256sum </mnt/data')
    g 'umount /mnt' || fail "umount"
    poweroff_linux
    wait_for 15 "the end of the daemon" no_daemon
    qemu-img check -q disk.qcow2 || fail "the image is damaged"
    [ "$(stat -c %s disk.qcow2)" -lt $((64 << 20)) ] || fail "the image is not sparse"
    image_boot ''
    g 'mount -t ext2 /dev/vda /mnt' || fail "the file system is lost"
    is "$(g 'sha256sum </mnt/data')" "$sum" "the data after a restart"
    is "$(g 'echo x >/mnt/more; rm /mnt/data; umount /mnt; echo $?')" 0 "writing more"
    g '! dmesg | grep -E "I/O error|Buffer I/O|virtio_blk.*(error|fail)"' || fail "errors in the guest's log"
    poweroff_linux
    # Read-only really is.
    image_boot ,readonly=on
    is "$(g 'cat /sys/block/vda/ro')" 1 "read-only"
    g '! dd if=/bin/busybox of=/dev/vda bs=4k count=1 oflag=direct 2>/dev/null' || fail "written to"
    poweroff_linux
}

e2e lab image_daemon_dies "SIGKILL of qemu-storage-daemon under load: the guest waits, and no request is lost or done twice"
test_image_daemon_dies() {
    qemu-img create -q -f qcow2 disk.qcow2 256M
    image_boot ,cache=writethrough
    # Four writers, each to its own part, over and over; each block has its own bytes, and is read back past the cache.
    g 'cat >/tmp/load <<"EOF"
part=$1 round=0
while [ ! -e /tmp/stop ]; do
    round=$((round + 1))
    { echo "$part $round"; cat /bin/busybox; } | head -c 1048576 >/tmp/want.$part
    dd if=/tmp/want.$part of=/dev/vda bs=64k seek=$((part * 32)) oflag=direct conv=notrunc 2>/tmp/err.$part || { echo "write: $(cat /tmp/err.$part)" >/tmp/bad.$part; exit; }
    dd if=/dev/vda bs=64k skip=$((part * 32)) count=16 iflag=direct 2>/tmp/err.$part >/tmp/got.$part || { echo "read: $(cat /tmp/err.$part)" >/tmp/bad.$part; exit; }
    cmp /tmp/want.$part /tmp/got.$part >/tmp/bad.$part || exit
    rm -f /tmp/bad.$part
    echo $round >/tmp/rounds.$part
done
echo ended >/tmp/ended.$part
EOF
for part in 0 1 2 3; do sh /tmp/load $part >/dev/null 2>&1 </dev/null & done'
    wait_for 30 "the first rounds" g_ok 'cat /tmp/rounds.0 /tmp/rounds.1 /tmp/rounds.2 /tmp/rounds.3'
    local round before
    for round in 1 2 3 4 5; do
        nap 1
        before=$(daemons)
        kill -KILL "$before"
        wait_for 30 "daemon $round" another_daemon "$before"
    done
    nap 2
    g 'touch /tmp/stop'
    local deadline=$(($(now_ms) + 60000))
    until g_ok 'cat /tmp/ended.0 /tmp/ended.1 /tmp/ended.2 /tmp/ended.3'; do
        g '! cat /tmp/bad.* 2>/dev/null | grep .' >bad || fail "a writer: $(cat bad)"
        [ "$(now_ms)" -lt "$deadline" ] || fail "the writers do not end: $(g 'ls /tmp; dmesg | tail -n 5')"
        nap 0.5
    done
    g '! dmesg | grep -E "I/O error|Buffer I/O"' || fail "errors in the guest's log"
    note "rounds: $(g 'cat /tmp/rounds.* | tr "\n" " "')"
    poweroff_linux
    is "$(sed -n 's/^virtio0.hangups //p' out err | tail -n 1)" 5 "daemons lost"
    note "asked again: $(sed -n 's/^virtio0.again //p' out err | tail -n 1)"
    qemu-img check -q disk.qcow2 || [ $? = 3 ] || fail "the image is damaged" # 3: leaked clusters only
}

e2e lab/long image_daemon_loses "a daemon that dies with writes that were not flushed: the guest's next flush fails, and reading goes on"
test_image_daemon_loses() {
    local before
    qemu-img create -q -f qcow2 disk.qcow2 64M
    image_boot ''
    # Flushed: nothing is lost, and nobody hears of it.
    g 'dd if=/bin/busybox of=/dev/vda bs=64k count=4 conv=fsync 2>/dev/null' || fail "the first flush"
    before=$(daemons)
    kill -KILL "$before"
    wait_for 30 "another daemon" another_daemon "$before"
    g 'dd if=/bin/busybox of=/dev/vda bs=64k count=4 conv=fsync 2>/dev/null' || fail "a flush where nothing was lost"
    # Into clusters that the image does not have yet.
    g 'dd if=/bin/busybox of=/dev/vda bs=64k seek=256 count=4 oflag=direct 2>/dev/null' || fail "the write"
    before=$(daemons)
    kill -KILL "$before"
    wait_for 30 "another daemon" another_daemon "$before"
    ! g 'dd if=/bin/busybox of=/dev/vda bs=64k count=1 conv=fsync 2>/dev/null' || fail "a flush succeeds after the loss"
    said 'its flushes fail until it restarts' || fail "nobody was told"
    g 'dd if=/dev/vda bs=64k count=4 iflag=direct 2>/dev/null | cmp -n 262144 - /bin/busybox' || fail "what was flushed is lost"
    poweroff_linux
    qemu-img check -q disk.qcow2 || [ $? = 3 ] || fail "the image is damaged"
}

e2e lab share_virtiofsd "Linux mounts a directory that virtiofsd shares, reads and writes it"
test_share_virtiofsd() {
    local sum
    mkdir share
    head -c 3000000 /dev/urandom >share/here
    /usr/lib/qemu/virtiofsd --socket-path="$T/fs" -o source="$T/share" >fs.log 2>&1 &
    wait_for 10 "virtiofsd" test -S fs
    initrd=$E2E_DISK boot_linux '' -chardev "socket,id=c,path=$T/fs" -device vhost-user-fs-pci,chardev=c,tag=mine
    g 'mkdir /share && mount -t virtiofs mine /share' || fail "no mount: $(g 'dmesg | tail -n 5') $(tail -n 5 fs.log)"
    sum=$(sha256sum <share/here)
    is "$(g 'sha256sum </share/here')" "$sum" "what the guest reads"
    sum=$(g 'mkdir /share/a; cat /bin/busybox /bin/busybox >/share/a/there; sync; sha256sum </share/a/there')
    is "$(sha256sum <share/a/there)" "$sum" "what the guest wrote"
    is "$(g 'ls /share | tr "\n" " "')" 'a here ' "names"
    g 'mv /share/a/there /share/moved; rmdir /share/a; umount /share' || fail "renaming"
    is "$(echo share/*)" "share/here share/moved" "names here"
    poweroff_linux
}
