# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# The cache behind the lab and the Linux guest: Debian's kernel, unpacked, and the images made from it.  Sourced.
#
# Everything lives in ${XDG_CACHE_HOME:-$HOME/.cache}/vmm-lab, outside the tree, so that clones and worktrees
# share it and `make clean` keeps it.  Nothing in there is precious: `rm -r` it at any time no lab is running.
#
#   kernel-PACKAGEVERSION-LIST/vmlinuz  as Debian ships it: what the VMM under test boots
#   kernel-…/vmlinux                    the same kernel unpacked, for the lab itself (no xz under emulation: -2 s)
#   kernel-…/lib/modules/               its modules, as far as a VMM's tests can want them (LIST is a hash of which)
#   i386-PACKAGEVERSION-LIST/           the same of Debian's 32-bit kernel, and a 32-bit busybox
#   NAME-HASH.cpio, .ext4               images; the hash covers the kernel, the tools copied in and the builder itself
#   debian-HASH/                        the Debian image (tests/lab/image)
#   ganeti-HASH/                        a Debian with Ganeti, as a tree (the same)
#
# Builders take a lock and move finished things into place, so two at once are safe and a killed one leaves no
# half-made image.  In the lab the same directory is seen read-only at the same path.

lab_src=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lab_cache=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/vmm-lab

# Modules no VMM test can want: three quarters of the package.
lab_unwanted_modules='sound drivers/gpu drivers/media drivers/infiniband drivers/staging drivers/usb drivers/hwmon
    drivers/iio drivers/input drivers/platform drivers/mtd drivers/video drivers/hid drivers/target
    drivers/net/wireless fs/btrfs fs/xfs fs/ocfs2 fs/nfs fs/nfsd fs/cifs fs/ceph fs/gfs2 fs/f2fs fs/jfs fs/udf fs/ubifs'

lab_say() { echo "${0##*/}: $*" >&2; }
lab_die() { lab_say "$*"; exit 1; }

# A user's PATH lacks what only root is thought to need: depmod, modprobe, mke2fs.
PATH=$PATH:/usr/sbin:/sbin

# lab_needs PROGRAM...: said before anything is made, if one is missing.  Callers look at a builder's status, so no command in
# it that fails ends it by itself: what may fail says so.
lab_needs() {
    local program
    for program; do
        command -v "$program" >/dev/null || lab_die "$program is not installed: run tests/setup.sh lab"
    done
}

# lab_locked FUNCTION ARGS...: run FUNCTION, a builder, while holding the cache's lock.
lab_locked() {
    mkdir -p "$lab_cache" || lab_die "cannot create the cache $lab_cache: set XDG_CACHE_HOME"
    (
        flock -w 900 9 || lab_die "another builder has held $lab_cache/lock for 15 minutes: end it"
        "$@"
    ) 9>"$lab_cache/lock"
}

# Which kernel: kernel or i386.
lab_flavour=kernel

# How apt is called.  A network that drops everything must not hold a test up for minutes.
lab_apt=(-q -o APT::Sandbox::User=root -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o Acquire::Retries=1)

# lab_list: a hash of which modules are kept.
lab_list() { cksum <<<"$lab_unwanted_modules" | cut -d ' ' -f 1; }

# lab_kernel_dir: print the newest unpacked kernel; false when there is none yet.
lab_kernel_dir() {
    local dirs
    dirs=$(compgen -G "$lab_cache/$lab_flavour-*-$(lab_list)/complete" | sort -V | tail -n 1)
    # A builder of before may have lacked depmod.
    [ -n "$dirs" ] && compgen -G "${dirs%/*}/lib/modules/*/modules.dep" >/dev/null && dirname "$dirs"
}

# lab_le FILE OFFSET WIDTH: an unsigned little-endian number in FILE.
lab_le() { od -An -v -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '; }

# lab_unpack_vmlinux BZIMAGE: the ELF kernel inside (x86 boot protocol 2.08: setup_sects, payload_offset, payload_length).
lab_unpack_vmlinux() {
    local start length
    start=$((($(lab_le "$1" 0x1f1 1) + 1) * 512 + $(lab_le "$1" 0x248 4)))
    length=$(lab_le "$1" 0x24c 4)
    # Four bytes of size follow the xz stream inside the payload.
    tail -c +$((start + 1)) "$1" | head -c $((length - 4)) | xz -dc
}

# lab_fetch_kernel: download and unpack the kernel package that linux-image-amd64 depends on now.
lab_fetch_kernel() {
    lab_kernel_dir >/dev/null && return 0
    lab_new_work
    lab_fetch linux-image-amd64
}

# lab_fetch_i386: likewise Debian's 32-bit kernel, and a busybox to run on it.  apt looks at another architecture's index
# in directories of its own: the machine's settings stay as they are.
lab_fetch_i386() {
    lab_kernel_dir >/dev/null && return 0
    lab_new_work
    mkdir -p "$work/apt/partial"
    lab_apt+=(-o "Dir::State::lists=$work/apt" -o "Dir::Cache=$work/apt" -o Dir::State::status=/dev/null
        -o APT::Architecture=i386 -o APT::Architectures=i386 -o Acquire::Languages=none)
    # Indexes of sources that lack the architecture fail, and do not matter.
    timeout 300 apt-get "${lab_apt[@]}" update >"$work/apt.log" 2>&1 || true
    apt-cache "${lab_apt[@]}" show busybox-static >/dev/null 2>&1 ||
        lab_die "cannot get Debian's i386 index: $(grep -E 'Failed to fetch|^E:' "$work/apt.log" | head -n 1)"
    lab_fetch linux-image-686-pae busybox-static
}

# lab_new_work: sets $work, a directory that goes away with this (sub)shell.
lab_new_work() {
    work=$(mktemp -d "$lab_cache/new.XXXXXX") || lab_die "cannot write to $lab_cache"
    # shellcheck disable=SC2064  # the directory as it is called now
    trap "rm -rf '$work'" EXIT
}

# lab_fetch META [ANOTHER]: in $work, the kernel package META depends on, unpacked, and the program in package ANOTHER.
lab_fetch() {
    local package version dir unwanted=()
    lab_needs dpkg-deb tar xz depmod
    package=$(apt-cache "${lab_apt[@]}" depends "$1" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    [ -n "$package" ] || lab_die "apt knows no $1: run apt-get update"
    lab_say "downloading $package (once; it is unpacked, not installed)"
    (cd "$work" && timeout 900 apt-get "${lab_apt[@]}" download "$package" ${2+"$2"} >apt.log 2>&1) ||
        lab_die "cannot download $package: $(tail -n 1 "$work/apt.log")"
    if [ $# -gt 1 ]; then
        dpkg-deb --fsys-tarfile "$work/$2"_*.deb | tar -x -C "$work" --no-same-owner --strip-components=2 ./bin/busybox ||
            lab_die "cannot unpack $2"
        rm "$work/$2"_*.deb
    fi
    version=$(dpkg-deb -f "$work"/*.deb Package)
    version=${version#linux-image-}
    for dir in $lab_unwanted_modules; do unwanted+=(--exclude "./lib/modules/*/kernel/$dir/*"); done
    dpkg-deb --fsys-tarfile "$work"/*.deb |
        tar -x -C "$work" --no-same-owner "${unwanted[@]}" ./boot ./lib ||
        lab_die "cannot unpack $package"
    mv "$work/boot/vmlinuz-$version" "$work/vmlinuz"
    mv "$work/boot/config-$version" "$work/config"
    lab_unpack_vmlinux "$work/vmlinuz" >"$work/vmlinux" || lab_die "cannot unpack the kernel inside $package"
    depmod -b "$work" "$version" || lab_die "cannot list the modules of $package"
    echo "$version" >"$work/version"
    dir=$lab_cache/$lab_flavour-$(dpkg-deb -f "$work"/*.deb Version | tr ':~' '__')-$(lab_list)
    rm -rf "${work:?}/boot" "$work/apt" "$work"/*.deb "$work/apt.log"
    : >"$work/complete"
    rm -rf "$dir"
    chmod 755 "$work"
    mv "$work" "$dir"
}

# lab_kernel: print the kernel's directory, fetching it first if need be.
lab_kernel() {
    lab_kernel_dir && return
    lab_locked "lab_fetch_$lab_flavour" || return
    lab_kernel_dir
}

# lab_modules DIR KERNEL NAMES...: copy NAMES and all they need to DIR, and write their order to DIR/modules.order.
lab_modules() {
    local dest=$1 kernel=$2 version file files
    version=$(cat "$kernel/version")
    shift 2
    files=$(for name; do
        modprobe -d "$kernel" -S "$version" -D "$name" || lab_die "this kernel has no module $name"
    done) || exit
    awk '$1 == "insmod" && !seen[$2]++ { print $2 }' <<<"$files" |
        while read -r file; do
            mkdir -p "$dest/modules" && cp "$file" "$dest/modules/" || exit
            echo "${file##*/}"
        done >"$dest/modules.order" || lab_die "cannot copy the kernel's modules"
}

# lab_copy_tool DIR PROGRAM: copy PROGRAM and the libraries it is linked to.
lab_copy_tool() {
    local program file
    program=$(command -v "$2") || lab_die "$2 is not installed: run tests/setup.sh lab"
    program=$(readlink -f "$program")
    mkdir -p "$1/bin"
    cp "$program" "$1/bin/${2##*/}"
    ldd "$program" 2>/dev/null | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i }' |
        while read -r file; do
            mkdir -p "$1${file%/*}"
            [ -e "$1$file" ] || cp -L "$file" "$1$file" || exit
        done || lab_die "cannot copy $2 and its libraries"
}

# lab_cpio DIR: a newc archive of DIR on standard output, owned by root.
lab_cpio() { (cd "$1" && find . -print0 | LC_ALL=C sort -z | cpio --quiet -0 -o -H newc -R 0:0); }

# What lab_build makes of a tree: cpio or ext4.
lab_format=cpio

# lab_ext4 DIR: a file system of that name on standard output, with little room left.
lab_ext4() {
    local size
    size=$(($(du -s --apparent-size -B 1M "$1" | cut -f 1) * 5 / 4 + 16))
    mke2fs -q -F -t ext4 -O ^has_journal -L tools -E root_owner=0:0 -d "$1" "$work/ext4" "${size}M" >/dev/null 2>"$work/log" || { cat "$work/log" >&2; return 1; }
    cat "$work/ext4"
}

# lab_hash WORDS...: a short hash of WORDS and of everything an image is made by.
lab_hash() {
    { echo "$@"; cat "$lab_src/cache.sh" "$0" "$0".*; } | sha256sum | cut -c1-16
}

# lab_build NAME FUNCTION: print NAME's image; FUNCTION KERNEL TREE fills an empty tree if it is not there yet.
lab_build() {
    local kernel image
    kernel=$(lab_kernel) || return
    # Tools copied from the machine change with it; busybox stands for the package set (cheap and nearly always right).
    image=$lab_cache/$1-$(lab_hash "$kernel" "$(stat -Lc '%s %Y' /bin/busybox)").$lab_format
    [ -e "$image" ] || lab_locked lab_build_locked "$1" "$image" "$2" "$kernel" || return
    # A cached image in use should not be the next one swept away.
    touch -c "$image" 2>/dev/null || true
    echo "$image"
}

lab_build_locked() {
    local name=$1 image=$2 fill=$3 kernel=$4
    [ ! -e "$image" ] || return 0
    lab_needs busybox modprobe depmod cpio strip
    lab_new_work
    mkdir -p "$work/tree"
    "$fill" "$kernel" "$work/tree" || lab_die "cannot make $name"
    "lab_$lab_format" "$work/tree" >"$work/image" || lab_die "cannot write $image"
    mv "$work/image" "$image"
    lab_sweep "$name"
}

# lab_sweep NAME: drop NAME's images of older builders: but for the two last used, those not used for three hours, for
# another worktree may have a builder, and a run going, of its own.
lab_sweep() {
    local old
    find "$lab_cache" -maxdepth 1 -name "$1-????????????????.$lab_format" -printf '%T@ %p\n' | sort -rn | tail -n +3 | cut -d ' ' -f 2- |
        while read -r old; do find "$old" -mmin +180 -delete 2>/dev/null || true; done
}
