#!/bin/sh
# SPDX-License-Identifier: MIT
# Install the Debian packages that a purpose (run, check, long, lint, bench, coverage, fresh, lab, deb) needs and this machine
# lacks, and fetch the clients that tests/clients/get has.
#
# usage: tests/setup.sh [-n] PURPOSE...
#   -n   only say what is missing (exit status 1 if anything is)
#
# Quiet, and done in a few hundredths of a second, when nothing is missing; so every make target may call it.
# `make check-fresh` proves the list, purpose by purpose, on a Debian that has nothing but git and make.
set -eu

# The one list.  Columns: package, purposes that need it, what for.
# `lab` is part of check and bench; `run` adds it only where this machine's own /dev/kvm cannot be used.
# Nothing that a package merely recommends is installed, so what is needed of that stands here too.
# CLANG in a name is the version that the release's package clang stands for.
packages() {
    cat <<'TABLE'
make                run check lint bench  the build
git                 check lint            which files there are
gcc                 run check lint bench  the compiler behind musl-gcc
libc6-dev           run check lint bench  crt files and headers for the host-side tools
binutils            run check lint bench  as, ld, objcopy for the guest and the ROM
musl-tools          run check lint bench  musl-gcc
linux-libc-dev      run check lint bench  the kernel's UAPI headers
iproute2            run check bench lab   ip: TAPs and addresses
iputils-ping        run check bench lab   ping
util-linux          run check bench lab   unshare, flock, setpriv, taskset
qemu-system-x86     lab                   the emulator that plays the lab's hardware
qemu-system-common  check lab             qemu-storage-daemon, which reads images
qemu-utils          check lab             qemu-img, which makes them
busybox-static      lab                   the lab's and the guest's first user space
e2fsprogs           lab                   the lab's scratch disk, the disks of guests
dmsetup             lab                   disks that fail, and that record what is written
fdisk               lab                   sfdisk: the Debian image's table of partitions
fio                 lab                   for the Linux guest: disks checked and measured
qemu-utils          lab                   qemu-img: qcow2 images
openssh-client      lab                   into the Debian image
cpio                lab                   initramfs images
kmod                lab                   depmod, modprobe
xz-utils            lab                   unpacking Debian's kernel
zstd                lab                   packing the initramfs images
tar                 lab                   unpacking the kernel package
dpkg                lab                   unpacking the kernel package
ethtool             lab                   copied into the Linux guest
iperf3              lab                   copied into the Linux guest
tcpdump             lab                   copied into the Linux guest
socat               check bench lab       talking to the guest and to serial sockets
nftables            check bench           the NAT example
dnsmasq-base        check                 DHCP server for the bundled guest's client
libvirt-clients     check                 virsh
libvirt-daemon      check                 its drivers: a domain in this VMM
libvirt-daemon-driver-qemu check            the one for QEMU
passt               check                 rootless networking
ipxe                check bench           network boot tests
ipxe-qemu           check bench           its ROMs for QEMU's NICs
memtest86+          check bench           a kernel that is not Linux
grub-pc-bin         check bench           GRUB as a kernel image
python3             check lint bench coverage  fake peers, the drawing of the rooms, plots
procps              check bench           sysctl
acpica-tools        check                 iasl, which reads the ACPI tables back
golang-go           check                 builds Firecracker's Go SDK and its tests
ca-certificates     check                 HTTPS to where Go's modules and Python's packages are
curl                check                 a client of the API
python3-pip         long                  fetches clients in Python
clang               check lint coverage   sanitizers and fuzzing
libclang-rt-CLANG-dev check lint coverage  their runtime and headers, only recommended by clang
llvm                coverage              llvm-cov, llvm-profdata
clang-tidy          lint                  lint
clang-format        lint                  format-check
cppcheck            lint                  lint
shellcheck          lint                  lint
strace              check bench           system calls per packet and over a life
valgrind            check lint            instructions per packet
mmdebstrap          fresh lab             the minimal Debian, the Debian image
debhelper           deb                   make deb: the package
dpkg-dev            deb                   dpkg-buildpackage
lintian             deb                   looks at the package
TABLE
}

# shellcheck source=tests/kvm.sh
. "$(dirname "$0")/kvm.sh"

usage() {
    sed -n '6,7p' "$0" | cut -c3- >&2
    exit 2
}

# wanted PURPOSES: the packages whose purpose column holds one of them.
wanted() {
    packages | while read -r package rest; do
        for purpose in $1; do
            # Purposes end where the explanation begins, two spaces later.
            case " ${rest%%  *} " in *" $purpose "*) echo "$package"; break ;; esac
        done
    done | sed "s/CLANG/$(clang_version | grep . || echo VERSION)/"
}

# clang_version: what clang depends on: clang-14 on Debian 12, clang-19 on 13.  Nothing where apt has no lists yet.
clang_version() {
    {
        dpkg-query -W -f 'Depends: ${Depends}\n' clang || apt-cache show --no-all-versions clang
    } 2>/dev/null | sed -n 's/^Depends:.*\bclang-\([0-9][0-9]*\).*/\1/p' | head -n 1
}

# missing PACKAGES...: those that are not installed.
missing() {
    { dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null || true; } |
        awk 'BEGIN { for (i = 1; i < ARGC; i++) { order[i] = ARGV[i]; ARGV[i] = "" } n = ARGC }
             $1 == "ii" { have[$2] = 1 }
             END { for (i = 1; i < n; i++) if (!(order[i] in have)) print order[i] }' "$@"
}

# as_root CMD...: run CMD as root, or say why that cannot be.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        echo "setup: cannot install packages: not root, and there is no sudo; as root, run: apt-get install $lack" >&2
        exit 1
    fi
}

# apt ARGS...: apt-get without questions, waiting for another apt's lock instead of failing.
apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 "$@"
}

# update: apt-get update, which (unlike install) does not wait for the lists' lock by itself.
update() {
    tries=0
    until apt update >"$log" 2>&1; do
        tries=$((tries + 1))
        if ! grep -q 'Could not get lock' "$log" || [ "$tries" -ge 120 ]; then
            tail -n 3 "$log" >&2
            echo "setup: apt-get update failed; going on with the lists that are there" >&2
            return 0
        fi
        sleep 1
    done
}

dry=''
[ "${1-}" != -n ] || { dry=yes; shift; }
[ $# -gt 0 ] || usage
purposes=
# shellcheck disable=SC2119  # without options: the TAP is tried once there is an ip
for arg in "$@"; do
    case $arg in
    run) purposes="$purposes run"; [ -z "$(why_no_kvm)" ] || purposes="$purposes lab" ;;
    check | bench) purposes="$purposes $arg lab" ;;
    long | lint | lab | coverage | fresh) purposes="$purposes $arg" ;;
    deb) purposes="$purposes run deb" ;;
    *) echo "setup: unknown purpose '$arg' (known: run, check, long, lint, bench, coverage, fresh, lab, deb)" >&2; usage ;;
    esac
done

command -v dpkg-query >/dev/null || {
    echo "setup: not a Debian machine (no dpkg-query); install by hand: $(wanted "$purposes" | tr '\n' ' ')" >&2
    exit 0
}
# look: sets $lack.
look() {
    # shellcheck disable=SC2046  # package names hold no blanks
    lack=$(missing $(wanted "$purposes") | tr '\n' ' ')
    lack=${lack% }
}

# clients [-n]: fetches those that the purposes want; with -n status 1 if one is not there.  Without the network tests go on
# without them, and say so.
clients() {
    for purpose in $purposes; do
        case $purpose in
        check) wants=sdk ;;
        long) wants='python qmp' ;;
        *) continue ;;
        esac
        for client in $wants; do
            if [ -n "${1-}" ]; then
                "$(dirname "$0")/clients/get" -n "$client" || { echo "setup: missing for $purpose: the client $client" >&2; return 1; }
            else
                timeout 900 "$(dirname "$0")/clients/get" "$client" >/dev/null || echo "setup: going on without $client" >&2
            fi
        done
    done
}

look
if [ -z "$lack" ]; then
    clients ${dry:+-n}
    exit
fi
echo "setup: missing for$purposes: $lack" >&2
[ -z "$dry" ] || exit 1

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
update
look
# shellcheck disable=SC2086
if ! apt install -y --no-install-recommends $lack >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    echo "setup: apt-get install failed; the lines above say why" >&2
    exit 1
fi
echo "setup: installed: $lack" >&2
clients
