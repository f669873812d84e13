# SPDX-License-Identifier: MIT
"""Whatever boots: by each entry, how long from exec to the first output and to user space, beside QEMU on the same file."""

import os
import shutil
import subprocess
from typing import NamedTuple

from vms import Failed, LINUX_WORDS, sh

# Without "quiet", but with little more than the kernel's first line, and that as soon as there is a kernel.
WORDS = LINUX_WORDS.replace("quiet", "loglevel=6 earlyprintk=ttyS0,115200") + " drivers=no run=true"
MEMTEST = "console=ttyS0,115200 nobench nosmp"


class Image(NamedTuple):
    """A file, as it comes out of its package, and what it says."""

    name: str  # in rows
    title: str
    entries: tuple  # of this VMM: 64, 32 or 16 for -entry, or the name of its only one
    files: tuple  # kernel and initrd, as prepare() calls them
    append: str
    first: str  # its first words; "" where no firmware talks before it
    last: str  # when it does what it is for: user space, a test, a script
    machine: str = "pc"  # QEMU's; graphics=off makes its BIOS speak on the serial port
    mem: str = "256M"


PLAIN = [
    Image("bz", "Debian bzImage", (64, 32, 16), ("vmlinuz", "initrd"), WORDS, "", "guest: run 0"),
    Image("vmlinux", "Debian vmlinux (ELF)", ("PVH",), ("vmlinux", "initrd"), WORDS, "", "guest: run 0"),
    Image("bundled", "bundled guest", (64, 16), ("guest.bzimage",), "", "", "guest: no nic"),
    Image("multiboot", "bundled guest (ELF)", ("Multiboot",), ("multiboot",), "", "", "guest: no nic"),
    Image("memtest64", "memtest86+ x64", (64,), ("memtest86+x64.bin",), MEMTEST, "", "MB of ", mem="64M"),
    Image("memtest32", "memtest86+ ia32", (32,), ("memtest86+ia32.bin",), MEMTEST, "", "MB of ", mem="64M"),
]
# With -M pc its SeaBIOS, in the lab without nested paging, brings the lab's emulator down each time.
I386 = [Image("i386", "Debian i386 bzImage", (32, 16), ("i386", "i386-initrd"), WORDS, "", "guest: run 0", "microvm")]
# Real mode has brought the lab's emulator down before (tests/lab/README.md): last, so that the others are there by then.
REAL = [
    Image("grub", "GRUB (lnxboot)", (16,), ("grub",), "", "Welcome to GRUB", "hello from grub", "pc,graphics=off"),
    Image("ipxe", "ipxe.lkrn, a script", (16,), ("ipxe.lkrn", "script"), "", "iPXE initialising", "script runs", "pc,graphics=off"),
]


def row(image, entry, what):
    """what: first or up."""
    return f"boot_{image.name}_{entry}_{what}"


def rows():
    """Row: what it says, unit, what is better; as in report.py."""
    said = {"first": "first output", "up": "at work"}
    return {
        row(i, e, what): (f"{i.title}, {e if isinstance(e, str) else f'{e}-bit'}: {said[what]}", "ms", "less")
        for i in PLAIN + I386 + REAL for e in i.entries for what in said
    }


# ------------------------------------------------------------------ preparation, outside the lab


def output(*line):
    """The last line of its standard error is the reason."""
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError((done.stderr.strip() or f"{line[0]} failed").splitlines()[-1])
    return done.stdout.strip()


def make_multiboot(path, elf):
    """As in t_boot.sh: without the magic of Multiboot 2 it is one of Multiboot 1, which is QEMU's."""
    with open(elf, "rb") as f, open(path, "wb") as out:
        out.write(f.read().replace(b"\xd6\x50\x52\xe8", b"\0\x50\x52\xe8"))


def make_grub(path, work):
    config, core = os.path.join(work, "grub.cfg"), os.path.join(work, "core.img")
    with open(config, "w") as f:
        f.write("echo hello from grub\n")
    output("grub-mkimage", "-O", "i386-pc", "-p", "/boot/grub", "-c", config, "-o", core, "normal", "echo")
    with open(path, "wb") as out:
        for part in ("/usr/lib/grub/i386-pc/lnxboot.img", core):
            with open(part, "rb") as f:
                shutil.copyfileobj(f, out)


def prepare(root, build, work):
    """The files: {name: path}, and for what cannot be had {name: [reason]}."""
    guest = os.path.join(root, "tests/lab/guest")
    files = {"guest.bzimage": os.path.join(work, "guest.bzimage")}
    files |= {name: f"/boot/{name}" for name in ("memtest86+x64.bin", "memtest86+ia32.bin", "ipxe.lkrn")}
    files |= {name: os.path.join(work, f"boot-{name}") for name in ("multiboot", "grub", "script")}
    makers = {
        "vmlinuz": lambda: output(guest, "kernel"),
        "vmlinux": lambda: output(guest, "vmlinux"),
        "initrd": lambda: output(guest, "--small", "initrd"),
        "i386": lambda: output(guest, "--i386", "kernel"),
        "i386-initrd": lambda: output(guest, "--i386", "initrd"),
        "multiboot": lambda: make_multiboot(files["multiboot"], os.path.join(build, "guest/guest.elf")),
        "grub": lambda: make_grub(files["grub"], work),
    }
    with open(files["script"], "w") as f:
        f.write("#!ipxe\necho script runs\nshell\n")
    for name, make in makers.items():
        try:
            files[name] = make() or files[name]
        except OSError as error:
            files[name] = [str(error)]
    return files


# ------------------------------------------------------------------ the measurement


def command_line(bench, peer, image, entry):
    spec = bench.spec
    paths = []
    for name in image.files:
        path = spec["boots"][name]
        if isinstance(path, list):
            raise Failed(path[0])
        if not os.path.exists(path):
            raise Failed(f"{path} is not there: run tests/setup.sh bench")
        paths.append(path)
    if peer == "vmm":
        line = [spec["vmm"]] + (["-entry", str(entry)] if isinstance(entry, int) else [])
    else:
        line = ["qemu-system-x86_64", "-M", image.machine, "-accel", "kvm", "-cpu", "host"]
        line += ["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]
    line += ["-m", image.mem, "-kernel", paths[0], "-append", image.append]
    return line + (["-initrd", paths[1]] if paths[1:] else [])


def boot_one(bench, peer, image, entries):
    """One start; its times are those of all these entries (QEMU has but one)."""
    try:
        line = command_line(bench, peer, image, entries[0])
        got = bench.launch("--first", image.first, "--line", image.last, "--", *line, seconds=60)
        times = {"first": got["first"] / 1e6, "up": got["ns"] / 1e6}
        failed = {}
    except (Failed, OSError, KeyError, subprocess.TimeoutExpired) as error:
        times, failed = {"first": None, "up": None}, {"error": error}
    for entry in entries:
        for what, value in times.items():
            bench.emit("boot", row(image, entry, what), peer, value, **failed)


def read_all(paths):
    """What was read once stays in the lab's memory: the first peer does not pay for the others."""
    for path in paths:
        if isinstance(path, str) and os.path.exists(path):
            with open(path, "rb") as f:
                while f.read(1 << 20):
                    pass


def boot(bench):
    read_all([bench.spec["vmm"], shutil.which("qemu-system-x86_64"), *bench.spec["boots"].values()])
    for images, nested_paging in ((PLAIN, 1), (I386, 0), (REAL, 1)):
        # The lab's emulator stops a 32-bit kernel with PAE under nested paging, with either VMM.
        sh(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lab/npt"), str(nested_paging))
        for peer in bench.rounds(["vmm", "qemu"]):
            for image in images:
                for entries in [[e] for e in image.entries] if peer == "vmm" else [image.entries]:
                    boot_one(bench, peer, image, entries)


# ------------------------------------------------------------------ the table


def table(res, where):
    """What, entry, and for each peer its times: one line for each file and entry."""
    names = {"vmm": "vmm", "qemu": "QEMU"}
    peers = [p for p in res.peers(where) if p in names]
    lines = [["booted", "entry (vmm)"] + [f"{says}, {names[p]}" for says in ("first output", "at work") for p in peers]]
    have = res.rows(where)
    for image in PLAIN + I386 + REAL:
        for entry in image.entries:
            if row(image, entry, "first") in have:
                cells = [res.cell(where, row(image, entry, w), p) for w in ("first", "up") for p in peers]
                title = image.title + (f" (QEMU: {image.machine})" if image.machine == "microvm" else "")
                lines.append([title, entry if isinstance(entry, str) else f"{entry}-bit", *cells])
    return lines
