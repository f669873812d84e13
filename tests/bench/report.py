# SPDX-License-Identifier: MIT
"""Records to tables (text, Markdown), JSON and plots (SVG), with nothing but the standard library."""

import html
import json
import os
import statistics

import api
import boots
import compare
import disks
import scale
import snapshot

# row: what it says, unit, whether more or less is better
ROWS = {
    "tcp_to_1": ("TCP to guest, 1 stream", "Gb/s", "more"),
    "tcp_to_4": ("TCP to guest, 4 streams", "Gb/s", "more"),
    "tcp_from_1": ("TCP from guest, 1 stream", "Gb/s", "more"),
    "tcp_from_4": ("TCP from guest, 4 streams", "Gb/s", "more"),
    "tcp_to_128": ("TCP to guest, 128 B writes", "Gb/s", "more"),
    "tcp_from_128": ("TCP from guest, 128 B writes", "Gb/s", "more"),
    "udp_to_64": ("UDP 64 B to guest", "kpps", "more"),
    "udp_from_64": ("UDP 64 B from guest", "kpps", "more"),
    "udp_to_1400": ("UDP 1400 B to guest", "kpps", "more"),
    "udp_from_1400": ("UDP 1400 B from guest", "kpps", "more"),
    "connect_1": ("connect, ask, close: 1 client", "1/s", "more"),
    "connect_8": ("connect, ask, close: 8 clients", "1/s", "more"),
    "ping_idle": ("ping, idle, median", "µs", "less"),
    "ping_idle_p99": ("ping, idle, p99", "µs", "less"),
    "ping_load": ("ping under TCP, median", "µs", "less"),
    "ping_load_p99": ("ping under TCP, p99", "µs", "less"),
    "flood_60": ("flood 60 B from guest", "kpps", "more"),
    "flood_1514": ("flood 1514 B from guest", "kpps", "more"),
    "sink_60": ("flood 60 B to guest", "kpps", "more"),
    "sink_1514": ("flood 1514 B to guest", "kpps", "more"),
    "start_serial": ("exec to first serial byte", "ms", "less"),
    "start_line": ("exec to first line", "ms", "less"),
    "start_ping": ("exec to first ping reply", "ms", "less"),
    "start_linux": ("exec to Linux init", "ms", "less"),
    "starts_per_second": ("VMs started to ping, in a loop", "1/s", "more"),
    "rss_one": ("RSS beside guest RAM, 1 VM", "KiB", "less"),
    "pss_one": ("PSS beside guest RAM, 1 VM", "KiB", "less"),
    "idle_cpu_one": ("CPU of 1 idle VM", "%", "less"),
    "idle_wakes_one": ("wake-ups of 1 idle VM", "1/s", "less"),
    "rss_many": ("RSS beside guest RAM, per VM of many", "KiB", "less"),
    "pss_many": ("PSS beside guest RAM, per VM of many", "KiB", "less"),
    "idle_cpu_many": ("CPU of many idle VMs, together", "%", "less"),
    "idle_wakes_many": ("wake-ups of many idle VMs, together", "1/s", "less"),
    "binary_bytes": ("bytes to install", "B", "less"),
    "syscall_names": ("distinct system calls, exec to end", "", "less"),
    **api.ROWS,
    **snapshot.ROWS,
    **boots.rows(),
    **disks.rows(),
    **scale.ROWS,
    "run": ("the run", "", "more"),
}
TITLES = {
    ("network", "lab"): "Network, Linux guest, in the lab",
    ("bundled", "here"): "Network, bundled guest, on this machine's own KVM",
    ("bundled", "lab"): "Network, bundled guest, in the lab",
    ("floor", "here"): "The floor, on this machine",
    ("floor", "lab"): "The floor, in the lab",
    ("start", "here"): "Start, on this machine's own KVM (bundled guest)",
    ("start", "lab"): "Start, in the lab",
    ("density", "here"): "Density, bundled guest, on this machine's own KVM",
    ("size", "here"): "Size",
    ("api", "here"): "Firecracker's API, bundled guest, on this machine's own KVM",
    ("snapshot", "here"): "Snapshots, bundled guest, on this machine's own KVM",
    ("boot", "lab"): "What boots, in the lab, ms",
    ("disk", "lab"): "Disks, Linux guest, in the lab",
    ("scale", "here"): "Scale, bundled guests, on this machine's own KVM",
    ("scale", "lab"): "Scale, a Linux guest, in the lab",
}
ORDER = ["floor", "vmm", "was", "qemu", "vmm-vhost", "was-vhost", "qemu-vhost", "vmm-e1000", "was-e1000", "qemu-e1000",
         "microvm", "microvm-seabios", *scale.ORDER, *disks.ORDER]
NAMES = {
    "floor": "floor (no guest)",
    "vmm": "vmm virtio",
    "vmm-vhost": "vmm vhost",
    "vmm-e1000": "vmm e1000",
    "was": "the other build's virtio",
    "was-vhost": "the other build's vhost",
    "was-e1000": "the other build's e1000",
    "qemu": "QEMU pc virtio",
    "qemu-vhost": "QEMU pc vhost",
    "qemu-e1000": "QEMU pc e1000",
    "microvm": "QEMU microvm",
    "microvm-seabios": "QEMU microvm, SeaBIOS",
    **scale.NAMES,
    **disks.NAMES,
}
PAIRS = [("vmm", "qemu"), ("vmm-vhost", "qemu-vhost"), ("vmm-e1000", "qemu-e1000"), ("vmm", "microvm"),
         ("vmm", "qemu-vhost"), *disks.PAIRS]


def number(v):
    if v == 0:
        return "0"
    if abs(v) >= 100:
        return f"{v:.0f}"
    if abs(v) < 0.001:
        return f"{v:.1g}"
    return f"{v:.3g}"


def spread(values):
    """The median and half of the way from least to most, in percent of it."""
    values = list(values)
    middle = statistics.median(values)
    far = f" ±{50 * (max(values) - min(values)) / middle:.0f}%" if len(values) > 1 and middle else ""
    return number(middle) + far


def median_or_none(values):
    return statistics.median(values) if values else None


class Results:
    def __init__(self, info, records):
        self.info = info
        self.records = records
        self.cells = {}
        for r in records:
            self.cells.setdefault((r["group"], r["where"], r["row"], r["peer"]), []).append(r)

    def tables(self):
        return sorted({(r["group"], r["where"]) for r in self.records}, key=lambda t: list(TITLES).index(t))

    def rows(self, table):
        have = {r["row"] for r in self.records if (r["group"], r["where"]) == table}
        return [r for r in ROWS if r in have]

    def peers(self, table):
        have = {r["peer"] for r in self.records if (r["group"], r["where"]) == table}
        return [p for p in ORDER if p in have]

    def values(self, table, row, peer):
        """By round."""
        return {r["round"]: r["value"] for r in self.cells.get((*table, row, peer), []) if "value" in r}

    def extras(self, table, row, peer, key):
        """A figure in the records' extra, by round."""
        records = self.cells.get((*table, row, peer), [])
        return {r["round"]: r["extra"][key] for r in records if key in r.get("extra", {})}

    def errors(self, table, row, peer):
        return [r["error"] for r in self.cells.get((*table, row, peer), []) if "error" in r]

    def cell(self, table, row, peer):
        """Median and half the spread, in percent of it; ! where a round failed, x where all did."""
        values, errors = list(self.values(table, row, peer).values()), self.errors(table, row, peer)
        if not values:
            return "failed" if errors else "–"
        text = spread(values)
        losses = [r["extra"]["loss_percent"] for r in self.cells[(*table, row, peer)]
                  if "loss_percent" in r.get("extra", {})]
        if row.startswith("udp") and losses:
            text += f" ({statistics.median(losses):.0f}% lost)"
        return text + (" !" if errors else "")

    def ratio(self, table, row, one, other):
        """The median of the ratios within each round."""
        a, b = self.values(table, row, one), self.values(table, row, other)
        return median_or_none([a[k] / b[k] for k in a if b.get(k)])

    def cost(self, table, row, peer, *keys):
        """The median of a figure in the records' extra."""
        seen = []
        for r in self.cells.get((*table, row, peer), []):
            v = r.get("extra", {})
            for key in keys:
                v = v.get(key) if isinstance(v, dict) else None
            if isinstance(v, (int, float)):
                seen.append(v)
        return median_or_none(seen)


# ------------------------------------------------------------------ the tables, as lists of lines of cells


def main_table(res, table):
    if table[0] == "boot":
        return boots.table(res, table)
    if table[0] == "scale":
        return scale.table(res, table)
    peers = res.peers(table)
    pairs = [p for p in PAIRS if p[0] in peers and p[1] in peers]
    head = ["", "unit", *(NAMES[p] for p in peers), *(f"{NAMES[a]} ÷ {NAMES[b]}" for a, b in pairs)]
    lines = [head]
    for row in res.rows(table):
        title, unit, better = ROWS[row]
        line = [title + (" (less is better)" if better == "less" else ""), unit]
        line += [res.cell(table, row, p) for p in peers]
        for a, b in pairs:
            ratio = res.ratio(table, row, a, b)
            line.append("–" if ratio is None else f"{ratio:.3g}")
        lines.append(line)
    return drop_empty(lines, 2)


def floor_table(res, table):
    peers = [p for p in res.peers(table) if p != "floor"]
    if "floor" not in res.peers(table):
        return []
    lines = [["as a fraction of the floor", *(NAMES[p] for p in peers)]]
    for row in res.rows(table):
        ratios = [res.ratio(table, row, p, "floor") for p in peers]
        lines.append([ROWS[row][0], *("–" if r is None else f"{r:.2g}" for r in ratios)])
    return lines if peers else []


def unit_of(table):
    return "request" if table[0] == "disk" else "packet"


def compare_table(res, table):
    """Each row, and the processor time and system calls behind it, with a verdict."""
    rival = res.info["rival"]
    name = "the other build" if rival == "was" else "QEMU"
    lines = [[f"this build and {name}", "unit", "this", name, "ratio", "95 %", "rounds", "p", "verdict"]]
    per = unit_of(table)
    costs = [(f"CPU µs a {per}", "cpu_us"), (f"not vCPU µs a {per}", "loops_us"), (f"system calls a {per}", "syscalls"),
             ("system calls a frame on the TAP", "syscalls_frame")]
    for row in res.rows(table):
        title, unit, better = ROWS[row]
        for peer in res.peers(table):
            old = compare.other(peer, rival)
            if old == peer or old not in res.peers(table):
                continue
            about = title + (peer[3:] and f", {peer[4:]}")
            pairs = [(about + (" (less is better)" if better == "less" else ""), unit,
                      res.values(table, row, peer), res.values(table, row, old))]
            pairs += [(f"{about}: {what}", "", res.extras(table, row, peer, key), res.extras(table, row, old, key))
                      for what, key in costs]
            lines += [compare_line(*pair) for pair in pairs if pair[2] and pair[3]]
    return lines if len(lines) > 1 else []


def compare_line(title, unit, new, old):
    v = compare.Verdict(new, old)
    line = [title, unit, spread(new.values()), spread(old.values())]
    line.append("–" if v.ratio is None else f"{v.ratio:.3f}")
    line.append("–" if v.low is None else f"{v.low:.3f}–{v.high:.3f}")
    return [*line, str(v.rounds), "–" if v.p is None else f"{v.p:.2g}", v.text()]


COSTS = [
    ("latency µs", ["latency_us"]), ("merged %", ["merged_percent"]),
    ("CPU µs", ["cpu_us"]), ("not vCPU µs", ["loops_us"]), ("sleeps", ["sleeps"]), ("syscalls", ["syscalls"]),
    ("syscalls a frame", ["syscalls_frame"]), ("irqs", ["irqs"]),
    ("injected", ["exits", "injected"]), ("exits", ["exits", "all"]), ("port", ["exits", "port to user"]),
    ("mmio", ["exits", "mmio to user"]), ("hlt", ["exits", "hlt"]), ("host irq", ["exits", "host irq"]),
    ("emulated", ["exits", "emulated"]), ("signal", ["exits", "signal"]),
]


def cost_table(res, table):
    lines = [[f"per {unit_of(table)}", "peer", *(c[0] for c in COSTS)]]
    for row in res.rows(table):
        for peer in res.peers(table):
            seen = [res.cost(table, row, peer, *keys) for _, keys in COSTS]
            if any(v is not None for v in seen):
                lines.append([ROWS[row][0], NAMES[peer], *("–" if v is None else number(v) for v in seen)])
    return drop_empty(lines, 2) if len(lines) > 1 else []


def drop_empty(lines, first):
    """Without columns that say nothing."""
    keep = [i for i in range(len(lines[0])) if i < first or any(line[i] != "–" for line in lines[1:])]
    return [[line[i] for i in keep] for line in lines]


def notes(res, table):
    """Reasons of failures, names of system calls, numbers of VMs."""
    found = []
    for (group, where, row, peer), records in res.cells.items():
        if (group, where) != table:
            continue
        for error in sorted({r["error"] for r in records if "error" in r}):
            times = sum(r.get("error") == error for r in records)
            found.append(f"{ROWS[row][0]}, {NAMES.get(peer, peer)}: failed {times} of {len(records)}: {error}")
        extra = records[-1].get("extra", {})
        if "names" in extra:
            found.append(f"{NAMES[peer]}: {' '.join(extra['names'])}")
        if "vms" in extra and row in ("rss_one", "rss_many"):
            found.append(f"{ROWS[row][0]}, {NAMES[peer]}: {extra['vms']} VMs, {extra['threads']:.0f} threads each, "
                         f"guest RAM touched {extra['guest_ram_touched_kib']:.0f} KiB each")
        if "syscalls_by_name" in extra:
            calls = ", ".join(f"{k} {v:.3g}" for k, v in extra["syscalls_by_name"].items())
            found.append(f"{ROWS[row][0]}, {NAMES[peer]}: system calls per packet: {calls}")
    return found


def as_text(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    out = []
    for line in lines:
        cells = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))]
        out.append("  ".join(cells).rstrip())
    return "\n".join(out) + "\n"


def as_markdown(lines):
    out = [f"| {' | '.join(line)} |" for line in lines]
    out.insert(1, "|---" * len(lines[0]) + "|")
    return "\n".join(out) + "\n"


# ------------------------------------------------------------------ the plots

COLOURS = {"floor": "#999999", **{p: "#0a6e8a" for p in ORDER if p.startswith("vmm")}}
OTHER = "#d9912b"
WIDTH, BAR, LABEL, VALUE = 420, 16, 130, 70


def panel(res, table, row, left, top):
    """One figure: a bar per peer from zero, with a line from the least to the most."""
    title, unit, better = ROWS[row]
    peers = res.peers(table)
    out = [f'<text x="{left}" y="{top + 14}" class="t">{html.escape(title)}'
           f'<tspan class="u" dx="6">{unit}{", less is better" if better == "less" else ""}</tspan></text>']
    all_values = {p: list(res.values(table, row, p).values()) for p in peers}
    most = max((max(v) for v in all_values.values() if v), default=0) or 1
    room = WIDTH - LABEL - VALUE
    for i, peer in enumerate(peers):
        y = top + 22 + i * BAR
        out.append(f'<text x="{left + LABEL - 6}" y="{y + 11}" class="l">{html.escape(NAMES[peer])}</text>')
        values = all_values[peer]
        if not values:
            why = "failed" if res.errors(table, row, peer) else "not measured"
            out.append(f'<text x="{left + LABEL}" y="{y + 11}" class="u">{why}</text>')
            continue
        middle = statistics.median(values)
        x = left + LABEL
        end = x + room * middle / most
        out.append(f'<rect x="{x}" y="{y + 2}" width="{max(1, end - x):.1f}" height="{BAR - 5}" '
                   f'fill="{COLOURS.get(peer, OTHER)}"/>')
        low, high = x + room * min(values) / most, x + room * max(values) / most
        if len(values) > 1:
            out.append(f'<path d="M{low:.1f} {y + 7.5}H{high:.1f}M{low:.1f} {y + 4}v7M{high:.1f} {y + 4}v7" class="s"/>')
        out.append(f'<text x="{max(end, high) + 4:.1f}" y="{y + 11}" class="v">{number(middle)}</text>')
    return out


def plot(res, table):
    rows = [r for r in res.rows(table) if r != "run"]
    columns = 2 if len(rows) > 1 else 1
    height = 22 + len(res.peers(table)) * BAR + 14
    lines = (len(rows) + columns - 1) // columns
    total = 64 + lines * height
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * (WIDTH + 20) + 20}" height="{total}" '
           f'font-family="sans-serif" font-size="11">',
           "<style>.t{font-weight:bold}.u{font-weight:normal;fill:#666}.l{text-anchor:end}.v{fill:#333}"
           ".s{stroke:#000;fill:none}</style>",
           '<rect width="100%" height="100%" fill="#fff"/>',
           f'<text x="20" y="24" font-size="15" class="t">{html.escape(TITLES[table])}</text>',
           f'<text x="20" y="42" class="u">{html.escape(res.info["date"])}, rounds: {res.info["rounds"]}, medians; '
           f'lines: least to most; {html.escape(res.info["cpu"])}</text>']
    for i, row in enumerate(rows):
        out += panel(res, table, row, 20 + (i % columns) * (WIDTH + 20), 56 + (i // columns) * height)
    return "\n".join(out) + "\n</svg>\n"


# ------------------------------------------------------------------ the files

ABOUT = (
    "Figures are medians over the rounds; ± is half of the way from least to most, in percent; ! means that some round "
    "failed. Ratios are medians of the ratios within each round. In TCP rows a packet is 1448 bytes; else a frame on "
    "the TAP (UDP: a datagram that arrived); of disks, a request of fio's, and its latency. CPU is the monitor's and vhost's without the "
    "guest's (where ring 0 is interpreted, the interpreter is in it); not vCPU: of this, threads that never run a guest."
)


ABOUT_TWO = (
    "Two in turn: the ratio is Hodges and Lehmann's of the rounds' ratios, with its interval of 95 %; p is the "
    f"probability that ranks as one-sided come by chance (Wilcoxon's signed ranks, exact). 'differs': p < {compare.CHANCE}. Of "
    f"a hundred rows of equal builds one to three do so by chance. A row goes on until its ratio is known within "
    f"{100 * compare.WITHIN:.0f} %, for {compare.LEAST} rounds at least, or until the rounds are over."
)


def write_json(where, info, records):
    os.makedirs(where, exist_ok=True)
    with open(os.path.join(where, "results.json"), "w") as f:
        json.dump({"machine": info, "records": records}, f, indent=1, ensure_ascii=False)
        f.write("\n")


def write_all(where):
    with open(os.path.join(where, "results.json")) as f:
        data = json.load(f)
    if "was" in data["machine"]:  # results of before QEMU could be the other one
        data["machine"].setdefault("rival", "was")
    res = Results(data["machine"], data["records"])
    text, marks = [], ["# Results of `make bench`\n"]
    info = [[k, str(v)] for k, v in res.info.items()]
    about = ABOUT + ("\n\n" + ABOUT_TWO if "rival" in res.info else "")
    text.append("\n".join(f"{k:9} {v}" for k, v in info) + "\n\n" + about + "\n")
    marks.append(as_markdown([["measured", ""], *info]) + "\n" + about + "\n")
    for table in res.tables():
        name = f"{table[0]}-{table[1]}.svg"
        with open(os.path.join(where, name), "w") as f:
            f.write(plot(res, table))
        first = compare_table if "rival" in res.info else main_table
        tables = [t for t in (first(res, table), floor_table(res, table), cost_table(res, table)) if t]
        said = notes(res, table)
        text.append(f"== {TITLES[table]}\n\n" + "\n".join(as_text(t) for t in tables))
        text.extend(f"   {s}" for s in said)
        text.append("")
        marks.append(f"## {TITLES[table]}\n\n![plot]({name})\n\n" + "\n".join(as_markdown(t) for t in tables))
        marks.append("\n".join(f"- {s}" for s in said) + "\n")
    with open(os.path.join(where, "results.txt"), "w") as f:
        f.write("\n".join(text))
    with open(os.path.join(where, "results.md"), "w") as f:
        f.write("\n".join(marks))
