# shellcheck shell=bash
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# shellcheck disable=SC2154  # vmm_pid and friends come from lib.sh
# SPDX-License-Identifier: MIT
# A disk image as others make them: Debian with systemd, udev and sshd, its own kernel and initrd (tests/lab/image).  In the lab.

# debian_disk: /dev/mapper/image, the image with what is written to it on the lab's scratch disk: nothing is copied.
debian_disk() {
    [ -n "${E2E_IMAGE-}" ] || skip "${E2E_NO_IMAGE:-no image}"
    local loop sectors
    modprobe -a loop dm-snapshot
    loop=$(losetup -f --show -r "$E2E_IMAGE/disk")
    sectors=$(blockdev --getsz "$loop")
    lay image "0 $sectors snapshot $loop $("$E2E_ROOT/tests/lab/scratch" -d) N 8"
    install -m 600 "$E2E_IMAGE/key" key
}

# start_debian ROOT OPTIONS...: with a NIC on a user network, whose port 2222 here is sshd's there; does not wait.
start_debian() {
    local root=$1
    shift
    ip route get 192.0.2.1 >/dev/null 2>&1 || way_out
    start -kernel "$E2E_IMAGE/kernel" -initrd "$E2E_IMAGE/initrd" -m 384M -append "$linux_words mitigations=off root=$root rw" \
        -nic user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:2222-:22 "$@"
}

# boot_debian ROOT OPTIONS...: until somebody could log in, by the serial port and by ssh.
boot_debian() {
    local begin
    begin=$(now_ms)
    start_debian "$@"
    wait_for 240 "'login:'" out_has "${name:-debian} login:"
    note "login after $((($(now_ms) - begin) / 1000)) s"
    wait_for 60 "an answer by ssh" by_ssh true
}

# s COMMAND...: by ssh, as root; $by: how ssh gets there; $input: what it reads.
s() {
    timeout "${s_limit:-120}" ssh -F none -i "$T/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o LogLevel=ERROR -o ConnectTimeout=20 "${by[@]}" root@127.0.0.1 "$@" <"${input:-/dev/null}"
}
by=(-p 2222)
by_ssh() { s "$@" >/dev/null 2>&1; }

logins() { [ "$(grep -ac 'debian login:' "$T/out")" -ge "$1" ]; }

# poweroff_debian: as a person would; what is on its disk is clean then.
poweroff_debian() {
    s 'systemctl poweroff' 2>/dev/null || true
    ends 120 0
    [ -e /dev/mapper/image ] || return 0
    e2fsck -fn "/dev/mapper/image?offset=$((1 << 20))" >fsck.log 2>&1 || fail "e2fsck: $(tail -n 3 fsck.log)"
}

# repository: a package called greeting, and where apt finds it, in http://127.0.0.1:8000 of this namespace.
repository() {
    local deb=repo/greeting_1_all.deb
    mkdir -p tree/DEBIAN tree/usr/bin repo
    printf '%s\n' 'Package: greeting' 'Version: 1' 'Architecture: all' 'Maintainer: tests <tests@localhost>' 'Description: says hello' >tree/DEBIAN/control
    printf '#!/bin/sh\necho hello\n' >tree/usr/bin/greeting
    chmod 755 tree/usr/bin/greeting
    dpkg-deb --root-owner-group --build tree $deb >/dev/null
    {
        cat tree/DEBIAN/control
        echo "Filename: ./${deb##*/}"
        echo "Size: $(stat -c %s $deb)"
        echo "SHA256: $(sum_of cat $deb)"
    } >repo/Packages
    busybox httpd -f -p 127.0.0.1:8000 -h repo &
}

e2e lab/image debian_boots "Debian by root=/dev/vda1: login, ssh, apt-get install, a restart, power-off; again by PARTUUID: it is all there, the file system clean"
test_debian_boots() {
    debian_disk
    repository
    boot_debian /dev/vda1 -drive file=/dev/mapper/image,format=raw,if=virtio,cache=none
    is "$(s 'findmnt -no SOURCE /')" /dev/vda1 "root"
    is "$(s 'systemctl --failed --plain --no-legend')" '' "units that failed"
    s 'gw=$(ip -4 route show default | cut -d " " -f 3); echo "deb [trusted=yes] http://$gw:8000 ./" >/etc/apt/sources.list
       apt-get update && apt-get -y install greeting && greeting' >apt.log 2>&1 || fail "apt-get: $(tail -n 5 apt.log)"
    is "$(tail -n 1 apt.log)" hello "what the installed program says"
    s 'head -c 20000000 /dev/urandom >/root/data; sync; sha256sum </root/data' >sum
    by_ssh 'systemctl reboot' || true
    wait_for 240 "the second login" logins 2
    wait_for 60 "an answer by ssh" by_ssh true
    is "$(s 'greeting; sha256sum </root/data')" "hello
$(cat sum)" "what is there after a restart"
    poweroff_debian
    boot_debian "PARTUUID=$("$E2E_ROOT/tests/lab/image" partuuid)" -drive file=/dev/mapper/image,format=raw,if=virtio,cache=writeback
    is "$(s 'greeting; sha256sum </root/data')" "hello
$(cat sum)" "what is there after a power-off"
    poweroff_debian
    unlay_debian
}
unlay_debian() {
    unlay
    losetup -D
}

e2e lab/image debian_seed "a cloud's seed disk (NoCloud): host name and key are taken from it (by a script of the image's: cloud-init is too slow here)"
test_debian_seed() {
    debian_disk
    ssh-keygen -q -t ed25519 -N '' -f other
    truncate -s 4M seed
    busybox mkdosfs -n CIDATA seed
    mkdir at
    mount -o loop seed at
    printf '%s\n' 'instance-id: one' 'local-hostname: sown' >at/meta-data
    printf '%s\n' '#cloud-config' 'ssh_authorized_keys:' "  - $(cat other.pub)" >at/user-data
    umount at
    mv other key
    name=sown boot_debian LABEL=root -drive file=/dev/mapper/image,format=raw,if=virtio -drive file=seed,format=raw,if=virtio,readonly=on
    is "$(s hostname)" sown "host name"
    poweroff_debian
    unlay_debian
}

e2e lab/image debian_qcow2 "a qcow2 image with a backing file boots, keeps what is written, and qemu-img finds it in order"
test_debian_qcow2() {
    [ -n "${E2E_IMAGE-}" ] || skip "${E2E_NO_IMAGE:-no image}"
    install -m 600 "$E2E_IMAGE/key" key
    qemu-img create -q -f qcow2 -b "$E2E_IMAGE/disk" -F raw disk.qcow2
    boot_debian /dev/vda1 -allow-path "$E2E_IMAGE" -drive file=disk.qcow2,format=qcow2,if=virtio
    s 'echo kept >/root/kept; sync'
    poweroff_debian
    qemu-img check -q disk.qcow2 || fail "qemu-img check: $(qemu-img check disk.qcow2 2>&1 | tail -n 2)"
    boot_debian /dev/vda1 -allow-path "$E2E_IMAGE" -drive file=disk.qcow2,format=qcow2,if=virtio
    is "$(s 'cat /root/kept')" kept "what is there after a power-off"
    poweroff_debian
}

e2e lab/image debian_vsock "ssh over vsock: from the host by CONNECT 22, and from the guest to port 1022 of the host, from where it comes back"
test_debian_vsock() {
    debian_disk
    socat "UNIX-LISTEN:$T/v_1022,fork" "EXEC:$here/vsock-connect $T/v 22" &
    boot_debian /dev/vda1 -drive file=/dev/mapper/image,format=raw,if=virtio -device "virtio-vsock-pci,guest-cid=7,uds_path=$T/v"
    by=(-o "ProxyCommand=$here/vsock-connect $T/v 22")
    is "$(s hostname)" debian "by vsock to the guest"
    s 'head -c 3000000 /dev/urandom | tee /tmp/a | sha256sum >/tmp/sum; cat /tmp/a' | sha256sum >sum
    is "$(s 'cat /tmp/sum')" "$(cat sum)" "sha256 of 3 MB from the guest"
    input=key s 'cat >/root/k; chmod 600 /root/k'
    is "$(s 'ssh -i /root/k -o StrictHostKeyChecking=no -o LogLevel=ERROR -o ProxyCommand="socat - VSOCK-CONNECT:2:1022" root@there hostname')" debian "by vsock to the host and back"
    poweroff_debian
    unlay_debian
}
