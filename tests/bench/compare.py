# SPDX-License-Identifier: MIT
"""Two builds, or this one and QEMU, measured in turn: how much a row differs, how well that is known, and whether it is more than chance.

Rounds are pairs, so what changes slowly (others at work on the machine) is in both.  The ratio is Hodges and Lehmann's
estimate from the logarithms of each round's ratio, its interval (95 %) and the probability that as much comes by chance are
of Wilcoxon's signed ranks, exact: nothing is assumed of how measurements scatter, and one wild round does no harm."""

import bisect
import math
import random
import sys

LEAST = 10  # rounds; fewer could not be told from chance
WITHIN = 0.05  # a ratio is known when its interval goes so far from it at most
CHANCE = 0.01


def other(peer, rival):
    """The name of its peer among the rival's: "was", the other build, or "qemu"."""
    return peer.replace("vmm", rival, 1)


def _sums(ranks):
    """How many choices of signs give each sum of the positive ranks."""
    ways = [1]
    for r in ranks:
        longer = ways + [0] * r
        for i, n in enumerate(ways):
            longer[i + r] += n
        ways = longer
    return ways


def chance(logs):
    """The probability of ranks at least as one-sided, were both builds the same.  Ties share their ranks."""
    sizes = sorted(abs(x) for x in logs if x)
    if not sizes:
        return 1.0

    def rank(x):  # twice the mean of the places that its size has, an integer
        return bisect.bisect_left(sizes, abs(x)) + bisect.bisect_right(sizes, abs(x)) + 1

    ways = _sums([rank(x) for x in logs if x])
    up = sum(rank(x) for x in logs if x > 0)
    few = min(up, len(ways) - 1 - up)
    return min(1.0, 2 * sum(ways[: few + 1]) / sum(ways))


def interval(logs):
    """(low, middle, high) of the logarithms' centre, 95 %; low and high are None of too few."""
    walsh = sorted((a + b) / 2 for i, a in enumerate(logs) for b in logs[i:])
    half = len(walsh) // 2
    middle = walsh[half] if len(walsh) % 2 else (walsh[half - 1] + walsh[half]) / 2
    ways = _sums(range(1, len(logs) + 1))
    at, total = -1, 0
    while (total + ways[at + 1]) / sum(ways) <= 0.025:
        at += 1
        total += ways[at]
    return (None, middle, None) if at < 0 else (walsh[at], middle, walsh[-1 - at])


class Verdict:
    """What {round: value} of this build and of the other say together."""

    def __init__(self, new, old):
        logs = [math.log(new[k] / old[k]) for k in new if new[k] > 0 and old.get(k, 0) > 0]
        self.rounds = len(logs)
        self.ratio = self.low = self.high = self.p = None
        if not logs:
            return
        low, middle, high = interval(logs)
        self.ratio, self.p = math.exp(middle), chance(logs)
        if low is not None:
            self.low, self.high = math.exp(low), math.exp(high)

    def known(self):
        return (self.rounds >= LEAST and self.high is not None
                and self.high <= self.ratio * (1 + WITHIN) and self.low >= self.ratio * (1 - WITHIN))

    def differs(self):
        return self.rounds >= LEAST and self.p < CHANCE

    def settled(self):
        """Known, and either side of chance: not where the interval just excludes 1."""
        return self.known() and (self.differs() or self.low <= 1 <= self.high)

    def text(self):
        if self.rounds < LEAST:
            return f"nothing to be said of {self.rounds} rounds ({LEAST} at least)"
        found = f"differs, {100 * (self.ratio - 1):+.1f} %" if self.differs() else "no difference found"
        far = max(self.high / self.ratio - 1, 1 - self.low / self.ratio)
        return f"{found}, known within {100 * far:.1f} %" if self.known() else f"{found}; NOT known within {100 * WITHIN:.0f} %"


class Judge:
    """Says while the run goes on which rows are known well enough."""

    def __init__(self, rival):
        self.rival, self.values, self.settled = rival, {}, set()

    def add(self, group, row, peer, number, value):
        self.values.setdefault((group, row), {}).setdefault(peer, {})[number] = value

    def look(self):
        """Between rounds, so that pairs stay whole.  Whether all that was measured is settled."""
        for key, peers in self.values.items():
            for peer in peers:
                old = other(peer, self.rival)
                if old != peer and Verdict(peers[peer], peers.get(old, {})).settled():
                    self.settled.update([(*key, peer), (*key, old)])
        return bool(self.values) and all((*key, p) in self.settled for key, peers in self.values.items() for p in peers)

    def wants(self, group, row, peer):
        return (group, row, peer) not in self.settled


# ------------------------------------------------------------------ the test of it (a part of make check)


def _run(draw, shift, scatter):
    """A row's whole life: rounds of two builds that differ by the logarithm `shift`, until it is settled."""
    judge, key = Judge("was"), ("group", "row")
    for number in range(1, 41):
        if judge.look():
            break
        judge.add(*key, "vmm", number, math.exp(draw(shift, scatter)))
        judge.add(*key, "was", number, math.exp(draw(0, scatter)))
    return Verdict(judge.values[key]["vmm"], judge.values[key]["was"])


def _checks():
    draw = random.Random(1).gauss
    yield "the table's critical value for ten pairs, two-sided 5 %: 8", chance([-8, *range(1, 8), 9, 10]) < 0.05
    yield "and not 9", chance([-9, *range(1, 9), 10]) > 0.05
    yield "pairs that are equal say nothing", chance([0, 0, 0]) == 1
    yield "nothing is known of fewer rounds than LEAST", not Verdict({i: 2 for i in range(9)}, {i: 1 for i in range(9)}).known()
    same = [_run(draw, 0, 0.03) for _ in range(200)]
    yield "equal builds differ in at most 4 of 100 runs", sum(v.differs() for v in same) <= 8
    yield "equal builds are known within 5 %", all(v.known() for v in same)
    found = [_run(draw, 0.06, 0.03) for _ in range(50)]
    yield "6 % at a scatter of 3 % are found, and about as large", sum(
        v.differs() and abs(v.ratio - math.exp(0.06)) < 0.04 for v in found) >= 48
    wild = [_run(draw, 0, 0.3) for _ in range(5)]
    yield "a scatter of 30 % is told as not known", all("NOT known" in v.text() and v.rounds == 40 for v in wild)


def main():
    results = list(_checks())
    for what, ok in results:
        print(f"{'ok  ' if ok else 'FAIL'} {what}")
    failed = sum(not ok for _, ok in results)
    print(f"{len(results) - failed} passed, {failed} failed, 0 skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
