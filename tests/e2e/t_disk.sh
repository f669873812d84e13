# shellcheck shell=bash
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# Disks of a Linux guest: what is read and written, what a flush promises, what a backing's failure does.  In the lab.

# boot_disk OPTIONS...: a Linux guest with the drivers and tools of disks (tests/lab/guest --disk).
boot_disk() { initrd=$E2E_DISK boot_linux "${disk_words-}" "$@"; }

# filled FILE MIB DIR: an ext4 of that size with what is in DIR.
filled() { mke2fs -q -F -t ext4 -E lazy_itable_init=0 -d "$3" "$1" "$2M" >mke2fs.log 2>&1 || fail "mke2fs: $(tail -n 1 mke2fs.log)"; }

# sum_of COMMAND...: the sha256 of what it writes.
sum_of() { "$@" 2>/dev/null | sha256sum | cut -d ' ' -f 1; }

e2e lab disk_linux "Linux mounts a raw disk, reads what it was given, writes; size, serial number and read-only are right; the host finds it all"
test_disk_linux() {
    mkdir given
    head -c 3M /dev/urandom >given/a
    filled disk 64 given
    head -c 1M /dev/urandom >fixed
    cp fixed fixed.was
    boot_disk -drive file=disk,format=raw,if=none,id=d0 -device virtio-blk-pci,drive=d0,serial=one \
        -drive file=fixed,format=raw,if=virtio,readonly=on
    is "$(g 'cat /sys/block/vda/serial')" one "serial number"
    is "$(g 'blockdev --getsize64 /dev/vda')" $((64 << 20)) "size"
    is "$(g 'blockdev --getss /dev/vda')" 512 "size of a logical block"
    is "$(g 'cat /sys/block/vda/ro /sys/block/vdb/ro' | tr '\n' ' ')" '0 1 ' "read-only of both disks"
    is "$(g 'sha256sum </dev/vdb' | cut -d ' ' -f 1)" "$(sum_of cat fixed)" "sha256 of the read-only disk"
    ! g_ok 'dd if=/dev/zero of=/dev/vdb bs=4k count=1 conv=fsync' || fail "the read-only disk took a write"
    g_ok 'mount -t ext4 /dev/vda /mnt' || fail "not mounted"
    is "$(g 'sha256sum </mnt/a' | cut -d ' ' -f 1)" "$(sum_of cat given/a)" "sha256 of the file it was given"
    g 'head -c 5000000 /dev/urandom >/mnt/b; cp /mnt/a /mnt/c; rm /mnt/a; sha256sum </mnt/b; umount /mnt' >sum
    poweroff_linux
    cmp fixed fixed.was || fail "the read-only disk was written"
    e2fsck -fn disk >fsck.log 2>&1 || fail "e2fsck: $(tail -n 3 fsck.log)"
    is "$(sum_of debugfs -R 'cat b' disk)" "$(cut -d ' ' -f 1 sum)" "sha256 of what the guest wrote"
    is "$(sum_of debugfs -R 'cat c' disk)" "$(sum_of cat given/a)" "sha256 of what the guest copied"
}

# ------------------------------------------------------------ device mapper

# Its names are the whole lab's, so they go with the test.
laid=()
lay() { # NAME TABLE
    DM_DISABLE_UDEV=1 dmsetup create "$1" --table "$2"
    laid=("$1" "${laid[@]}")
    trap unlay EXIT
}
# relay NAME TABLE: another table under whoever has it open.
relay() {
    dmsetup suspend "$1"
    dmsetup load "$1" --table "$2"
    DM_DISABLE_UDEV=1 dmsetup resume "$1"
}
unlay() {
    stop
    for name in "${laid[@]}"; do
        ! mountpoint -q "/run/$name" || umount "/run/$name"
        wait_for 10 "the end of $name" removed "$name"
    done
    laid=()
}
removed() { ! dmsetup info "$1" >/dev/null 2>&1 || DM_DISABLE_UDEV=1 dmsetup remove "$1" 2>/dev/null; }

# cut_disk FILE MIB: FILE on /dev/mapper/cut, all writes to which are recorded on the rest of the lab's scratch disk.
cut_disk() {
    local below sectors=$(($2 * 2048))
    modprobe -a loop dm-log-writes
    below=$("$E2E_ROOT/tests/lab/scratch" -d)
    lay cut-data "0 $sectors linear $below 0"
    lay cut-log "0 $((4 << 21)) linear $below $sectors"
    dd if="$1" of=/dev/mapper/cut-data bs=1M oflag=direct status=none
    lay cut "0 $sectors log-writes /dev/mapper/cut-data /dev/mapper/cut-log"
}

# keep N: the guest writes N files and says so once each is synced, which is marked; others it writes all the time, unsynced.
keep() {
    local i begin
    begin=$(now_ms)
    : >sums
    g_ok 'mount -t ext4 /dev/vda /mnt' || fail "not mounted"
    g '(while :; do for i in 1 2 3 4; do dd if=/dev/urandom of=/mnt/noise$i bs=16k count=$i; usleep 100000; done; done) >/dev/null 2>&1 &'
    for ((i = 1; i <= $1; i++)); do
        g "dd if=/dev/urandom of=/mnt/kept$i bs=1k count=$((i * 37 % 150 + 1)) conv=fsync 2>/dev/null && cd /mnt && sha256sum kept$i" >>sums ||
            fail "file $i was not written"
        dmsetup message cut 0 mark "$i"
    done
    stop
    ! mountpoint -q /run/cut || umount /run/cut
    wait_for 10 "the end of the record" removed cut
    note "$1 files written in $((($(now_ms) - begin) / 1000)) s"
}

# cut_points MOST: where the power fails: after each mark, and after others up to so many, evenly.
cut_points() {
    python3 -IS "$here/powercut" /dev/mapper/cut-log >entries
    awk -v most="$1" '{ kind[NR] = $2 } END { for (i = 1; i <= NR; i++) if (kind[i] == "mark" || int(i * most / NR) > int((i - 1) * most / NR)) print i }' entries
}

# lost AT MOUNTED: how many of the files that were marked before entry AT are not there as they were.
lost() {
    local marks
    marks=$(awk -v at="$1" 'NR <= at && $2 == "mark" && $3 ~ /^[0-9]+$/' entries | wc -l)
    head -n "$marks" sums >sums.now
    (cd "$2" && sha256sum -c "$T/sums.now" 2>/dev/null || true) | grep -c FAILED || true
}

# after_cuts BASE MOST [INNER]: BASE is what the disk held at first; at each point the file system (with INNER: the one in that
# file on it, too) must mount, hold what was marked, and be clean.  Sets $missed, files missed at all points together.
after_cuts() {
    local at points=0 count begin
    begin=$(now_ms)
    missed=0
    mkdir -p outer inner
    coproc player { exec python3 -IS "$here/powercut" /dev/mapper/cut-log "$1"; }
    local player_pid=$player_PID
    for at in $(cut_points "$2"); do
        echo "$at" >&"${player[1]}"
        read -r -t 120 -u "${player[0]}" || fail "nothing played up to entry $at"
        points=$((points + 1))
        cp --sparse=always "$1" failed
        mount -o loop failed outer || fail "not to be mounted after entry $at of $(wc -l <entries)"
        if [ $# -gt 2 ]; then
            mount -o loop "outer/$3" inner || fail "the inner one is not to be mounted after entry $at"
            count=$(lost "$at" inner)
            umount inner
            e2fsck -fn "outer/$3" >fsck.log 2>&1 || fail "e2fsck inside after entry $at: $(tail -n 3 fsck.log)"
        else
            count=$(lost "$at" outer)
        fi
        umount outer
        e2fsck -fn failed >fsck.log 2>&1 || fail "e2fsck after entry $at: $(tail -n 3 fsck.log)"
        [ "$count" = 0 ] || note "after entry $at of $(wc -l <entries): $count files that were promised are lost"
        missed=$((missed + count))
    done
    eval "exec ${player[1]}>&-"
    wait "$player_pid" || fail "the player ended badly"
    note "$points points of $(wc -l <entries) entries, $(grep -c flush entries) of them flushes, looked at in $((($(now_ms) - begin) / 1000)) s: $missed files lost"
}

# power_cuts CACHE FILES MOST
power_cuts() {
    mkdir empty
    filled base 64 empty
    cut_disk base 64
    boot_disk -drive "file=/dev/mapper/cut,format=raw,if=virtio,cache=$1"
    keep "$2"
    after_cuts base "$3"
    [ "$1" = unsafe ] || grep -qE 'flush|fua' entries || fail "no flush reached the disk"
    unlay
}

cut_cache() { # CACHE
    eval "e2e lab/long disk_cut_$1 'power fails at many points: what a flush promised is there (a block device, cache=$1)'
        test_disk_cut_$1() { power_cuts $1 8 6; [ \$missed = 0 ] || fail 'files that were promised are lost'; }"
}
cut_cache writeback
cut_cache none
cut_cache writethrough
cut_cache directsync

# Dirty pages stay in the host's memory for five seconds at least, the files take less.
e2e lab/long disk_cut_unsafe "the same with cache=unsafe, which promises nothing: files are lost, so the other tests can fail"
test_disk_cut_unsafe() {
    power_cuts unsafe 5 0
    [ "$missed" -gt 0 ] || fail "nothing is lost: the power cut is none"
}

e2e lab/long disk_cut_file "power fails at many points: what a flush promised is there (a sparse file on ext4, cache=writeback, then none)"
test_disk_cut_file() {
    local cache
    mkdir empty tree
    for cache in writeback none; do
        filled tree/disk 64 empty
        fallocate -d tree/disk
        filled base 160 tree
        cut_disk base 160
        mkdir -p /run/cut
        mount /dev/mapper/cut /run/cut
        boot_disk -drive "file=/run/cut/disk,format=raw,if=virtio,cache=$cache"
        keep 5
        after_cuts base 3 disk
        [ "$missed" = 0 ] || fail "cache=$cache: files that were promised are lost"
        unlay
    done
}

# ------------------------------------------------------------ failures of the backing

e2e lab disk_eio "a backing that fails (dm-flakey): I/O errors in the guest, and all is well when it works again"
test_disk_eio() {
    local below i
    modprobe dm-flakey
    below=$("$E2E_ROOT/tests/lab/scratch" -d)
    for i in 0 1; do lay "bad$i" "0 131072 linear $below $((i * 131072))"; done
    boot_disk -drive file=/dev/mapper/bad0,format=raw,if=virtio,cache=none -drive file=/dev/mapper/bad1,format=raw,if=virtio,cache=writeback
    disk_works vda
    disk_works vdb
    for i in 0 1; do relay "bad$i" "0 131072 flakey $below $((i * 131072)) 0 3600"; done
    ! g_ok 'dd if=/dev/vda of=/dev/null bs=4k count=8 iflag=direct' || fail "read from a disk that fails"
    ! g_ok 'dd if=/dev/zero of=/dev/vda bs=4k count=8 oflag=direct' || fail "written to a disk that fails"
    # Into the host's memory it goes; the flush must tell.
    ! g_ok 'dd if=/dev/zero of=/dev/vdb bs=4k count=8 conv=fsync' || fail "synced a disk that fails"
    g 'dmesg' | grep -qE 'I/O error, dev vda' || fail "the guest's kernel knows of no error: $(g dmesg | tail -n 3)"
    for i in 0 1; do relay "bad$i" "0 131072 linear $below $((i * 131072))"; done
    disk_works vda
    # What the host's cache has lost is lost: a monitor may well go on telling so at each flush (QEMU does).
    g_ok 'dd if=/dev/vdb of=/dev/null bs=4k count=8 iflag=direct' || fail "not read from a disk that works again"
    poweroff_linux
    unlay
}
# disk_works DISK: what is written comes back.
disk_works() {
    g_ok "head -c 1048576 /dev/urandom >/tmp/a; dd if=/tmp/a of=/dev/$1 bs=64k conv=fsync && dd if=/dev/$1 bs=64k count=16 iflag=direct | cmp - /tmp/a" ||
        fail "$1 does not work: $(g dmesg | tail -n 3)"
}

e2e lab disk_enospc "a backing without room: an I/O error in the guest, and the write is done when there is room"
test_disk_enospc() {
    mkdir small
    mount -t tmpfs -o size=8M tmpfs small
    truncate -s 64M small/disk
    boot_disk -drive file=small/disk,format=raw,if=virtio,cache=writeback
    g_ok 'dd if=/dev/urandom of=/dev/vda bs=64k count=64 oflag=direct' || fail "4 MiB of 8 were not written"
    ! g_ok 'dd if=/dev/urandom of=/dev/vda bs=64k count=256 oflag=direct' || fail "16 MiB were written where there is room for 8"
    mount -o remount,size=80M small
    g_ok 'head -c 16777216 /dev/urandom >/tmp/a; dd if=/tmp/a of=/dev/vda bs=64k oflag=direct && dd if=/dev/vda bs=64k count=256 iflag=direct | cmp - /tmp/a' ||
        fail "not written where there is room again"
    poweroff_linux
}

# ------------------------------------------------------------ resets

# In the guest: the disk with serial number one, whatever it is called now; and its driver taken away and given back.
one='disk=$(grep -lx one /sys/block/*/serial); disk=${disk%/serial}; disk=${disk##*/}'
rebind="$one; d=\$(readlink -f /sys/block/\$disk/device); echo \${d##*/} >/sys/bus/virtio/drivers/virtio_blk/unbind; echo \${d##*/} >/sys/bus/virtio/drivers/virtio_blk/bind"
job='--name=v --filename=/dev/$disk --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite --bsrange=512-64k --blockalign=512 --size=24m --verify=crc32c --verify_state_save=0 --randseed=7'

# fio_keeps WHAT: what was written before it is read after it.
fio_written() { g_limit=180 g_ok "$one; fio $job --do_verify=0" || fail "fio did not write: $(g "$one; fio $job --do_verify=0" | tail -n 3)"; }
fio_reads() { g_limit=180 g "$one; fio $job --verify_only" >fio.log || fail "fio finds, after $1: $(tail -n 5 fio.log)"; }

# loads_end: a load whose disk was taken away ends by its errors.
loads_end() {
    local end=$(($(now_ms) + 60000))
    until g_ok '! pidof fio'; do
        [ "$(now_ms)" -lt $end ] || fail "the load does not end: $(g 'for p in $(pidof fio); do cat /proc/$p/stat /proc/$p/stack; done; tail -n 5 /tmp/load.log; dmesg | tail -n 5')"
        nap 0.3
    done
}

fio_resets() { # OPTIONS OF THE DRIVE, OF THE DEVICE
    local i
    truncate -s 32M "${disk_dir:=.}/disk"
    boot_disk -drive "file=$E2E_TOOLS,format=raw,if=virtio,readonly=on" \
        -drive "file=$disk_dir/disk,format=raw,if=none,id=d1,$1" -device "virtio-blk-pci,drive=d1,serial=one${2:+,$2}" -smp 2
    fio_written
    fio_reads "nothing"
    g_ok "$rebind" || fail "unbind and bind"
    fio_reads "unbind and bind"
    for i in 1 2 3; do
        g "$one; fio --name=load --filename=/dev/\$disk --direct=1 --ioengine=libaio --iodepth=32 --rw=randrw --bs=4k --size=24m --time_based --runtime=60 >/tmp/load.log 2>&1 &"
        wait_for 30 "the load" g_ok "$one; test \$(awk '{ print \$5 }' /sys/block/\$disk/stat) -gt 500"
        g_ok "$rebind" || fail "unbind and bind under load"
        loads_end
    done
    fio_written
    fio_reads "unbind and bind under load"
    g "$one; fio --name=load --filename=/dev/\$disk --direct=1 --ioengine=libaio --iodepth=32 --rw=randrw --bs=4k --offset=24m --size=8m --time_based --runtime=60 >/tmp/load.log 2>&1 &"
    nap 1
    crash_reboot_linux
    wait_for 90 "the second boot" boots 2
    fio_reads "a restart under load"
    poweroff_linux
}

e2e lab/long disk_fio_cached "fio's checksums hold through unbind, bind and restart under load (host's cache)"
test_disk_fio_cached() { fio_resets cache=writeback ''; }
e2e lab/long disk_fio_direct "the same with O_DIRECT, on the scratch disk, with two queues"
test_disk_fio_direct() {
    disk_dir=$("$E2E_ROOT/tests/lab/scratch")
    fio_resets cache=none num-queues=2
    umount "$disk_dir"
}

# ------------------------------------------------------------ while the guest runs

# patch PATH JSON: the API's PATCH, which says nothing when it is done.
patch() {
    local told
    told=$(curl -sS --max-time 20 --unix-socket control -X PATCH -d "$2" "http://localhost/$1") || fail "PATCH $1: curl: $?"
    is "$told" '' "the answer to PATCH $1 $2"
}
verified_more() { [ "$(g 'cat /tmp/rounds 2>/dev/null | wc -l')" -gt "$1" ]; }
# verified WHAT: fio has verified twice, so once from begin to end, since it was so.
verified() {
    local rounds
    rounds=$(g 'cat /tmp/rounds 2>/dev/null | wc -l')
    wait_for 120 "fio's verifying after $1" verified_more $((rounds + 1))
    ! g_ok 'test -e /tmp/bad' || fail "fio finds, after $1: $(g 'tail -n 5 /tmp/bad')"
}
disk_has() { g_ok "$one; test \$(blockdev --getsize64 /dev/\$disk) = $(($1 << 20))"; }
guest_mib() { g "awk '/MemTotal/ { print int(\$2 / 1024) }' /proc/meminfo"; }
guest_above() { [ "$(guest_mib)" -gt "$1" ]; }
guest_below() { [ "$(guest_mib)" -lt "$1" ]; }

e2e lab/long disk_fio_grown_swapped "by API and vmm ctl, under fio's verifying: a disk grows, other files take its place, a balloon is inflated and deflated"
test_disk_fio_grown_swapped() {
    truncate -s 32M disk
    # Who opens files later is nobody.
    mkdir let
    chmod 711 .. . let
    mem=320M boot_disk -drive "file=$E2E_TOOLS,format=raw,if=virtio,readonly=on" -control control -allow-path "$T/let" \
        -drive file=disk,format=raw,if=none,id=d1 -device virtio-blk-pci,drive=d1,serial=one -smp 2 \
        -device virtio-balloon-pci,id=b
    fio_written
    g "$one; while [ ! -e /tmp/enough ]; do fio $job --verify_only >/tmp/last 2>&1 || cp /tmp/last /tmp/bad; echo >>/tmp/rounds; done >/dev/null 2>&1 &"
    verified "nothing"

    truncate -s 64M disk
    "$VMM" ctl control disk d1
    wait_for 30 "a disk of 64 MiB" disk_has 64
    truncate -s 96M disk
    patch drives/d1 '{"drive_id":"d1"}'
    wait_for 30 "a disk of 96 MiB" disk_has 96
    verified "growing"

    # Nobody writes: copies are the same disk.
    cp disk let/second
    cp disk let/third
    chmod 666 let/*
    truncate -s 128M let/second
    "$VMM" ctl control disk d1 "$T/let/second"
    wait_for 30 "a disk of 128 MiB" disk_has 128
    patch drives/d1 "{\"drive_id\":\"d1\",\"path_on_host\":\"$T/let/third\"}"
    wait_for 30 "a disk of 96 MiB again" disk_has 96
    verified "two swaps"

    local all
    all=$(guest_mib)
    patch balloon '{"amount_mib":128}'
    wait_for 60 "an inflated balloon" guest_below $((all - 100))
    verified "inflating"
    "$VMM" ctl control balloon id=b size=320M
    wait_for 60 "a deflated balloon" guest_above $((all - 10))
    "$VMM" ctl control balloon id=b size=256M
    wait_for 60 "a balloon of 64 MiB" guest_below $((all - 40))
    patch balloon '{"amount_mib":0}'
    wait_for 60 "a deflated balloon" guest_above $((all - 10))
    verified "the balloon"

    # What is written now, beyond the old end too, is in the last file, and in no other.
    g_ok ': >/tmp/enough'
    wait_for 120 "the end of fio" g_ok '! pidof fio'
    local before
    before=$(sha256sum disk let/second)
    g_limit=180 g_ok "$one; fio --name=new --filename=/dev/\$disk --direct=1 --rw=write --bs=64k --offset=80m --size=8m --verify=crc32c" ||
        fail "not written beyond the old end"
    is "$(sha256sum disk let/second)" "$before" "sha256 of the files before"
    is "$(g "$one; sha256sum </dev/\$disk" | cut -d ' ' -f 1)" "$(sum_of cat let/third)" "sha256 of the last file"
    poweroff_linux
}
