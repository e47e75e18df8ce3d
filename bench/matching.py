"""Exact search of PDQ hashes, radius 31, one query at a time, beside threatexchange's PDQ index and faiss.

Same process, same hashes, one thread; half of the queries are near-duplicates (1 to 31 bits away from an entry), half are
misses. Rates count processor time, so that other load on the machine stays out; p50 and p99 are by the wall clock, the
best of three passes. Memory is what a fresh process grows by when it opens the file and reads all of it. The BARs are of
`random`, as the peers are usually measured; how time and memory grow is printed for both kinds of hashes:

`random`: uniform bits.
`real`: grown from the shared PDQ hashes (`pdq-haystack.txt`: 1,350, which single linkage at 60 bits parts into 592 families
of copies). A new picture is recombined from one of each family: bits are drawn from a Gaussian copula with the real
shares of ones and the real correlations of all pairs of bits (the noise of so few pictures included, which errs to the
crowded side). It comes with the copies of a real family drawn at random, made by the very bits in which that family's
members differ, so that copies crowd together as often and as closely as real ones. Near-duplicate queries differ from an
entry in bits in which two real copies within the radius differ.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import msgspec
import numpy as np

from bench._common import bar, machine, parser, processor_seconds
from redshank.matching import HammingIndex

RADIUS = 31
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "media"


def flip(hashes: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each of hashes with so many different bits flipped, a hundred thousand at a time."""
    out = np.empty_like(hashes)
    for start in range(0, len(hashes), 100_000):
        part = hashes[start : start + 100_000]
        keys = rng.random((len(part), 256), dtype=np.float32)
        limits = np.take_along_axis(np.sort(keys, axis=1), (counts[start : start + 100_000] % 256)[:, None], axis=1)
        out[start : start + 100_000] = np.packbits(keys < limits, axis=1) ^ part
    return out


def random_hashes(count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (count, 32), dtype=np.uint8)


class Random:
    """Uniform hashes."""

    name = "random"

    def pictures(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Hashes of pictures that have nothing to do with each other."""
        return random_hashes(count, rng)

    def bank(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """So many entries."""
        return random_hashes(count, rng)

    def copies(self, hashes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A copy of each, at most `RADIUS` bits away."""
        return flip(hashes, rng.integers(1, RADIUS + 1, len(hashes)), rng)


class Real(Random):
    """Hashes grown from real ones; how, stands above."""

    name = "real"
    APART = 60
    """Bits up to which two of the shared hashes count as of one family; unrelated ones begin near 90."""

    def __init__(self, hashes: np.ndarray) -> None:
        hashes = np.unique(hashes, axis=0)
        words = hashes.view(np.uint64)
        distances = np.bitwise_count(words[:, None] ^ words[None]).sum(2)
        families, left = [], np.ones(len(hashes), np.bool_)
        for row in range(len(hashes)):
            reached = np.flatnonzero(left & (np.arange(len(hashes)) == row))
            members = []
            while len(reached):
                left[reached] = False
                members += reached.tolist()
                reached = np.flatnonzero(left & (distances[reached] <= self.APART).any(0))
            if members:
                families.append(members)
        one, other = np.nonzero((distances > 0) & (distances <= RADIUS))
        self._changes = hashes[one] ^ hashes[other]
        self._sizes = np.array([len(members) for members in families])
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._differences = np.concatenate([hashes[members] ^ hashes[members[0]] for members in families])
        self.apart = hashes[[members[0] for members in families]]
        bits = np.unpackbits(self.apart, axis=1).astype(np.float64)
        # Bits that are cut from normal variables with correlation sin(pi r / 2) have about the correlation r.
        values, vectors = np.linalg.eigh(np.sin(np.corrcoef(bits.T) * np.pi / 2))
        root = vectors * np.sqrt(np.maximum(values, 1e-6))
        self._root = (root / np.linalg.norm(root, axis=1)[:, None]).T.astype(np.float32)
        self._cuts = np.array([-NormalDist().inv_cdf(share) for share in bits.mean(0)], np.float32)

    def pictures(self, count: int, rng: np.random.Generator) -> np.ndarray:
        out = np.empty((count, 32), np.uint8)
        for start in range(0, count, 100_000):
            drawn = rng.standard_normal((min(100_000, count - start), 256), np.float32) @ self._root
            out[start : start + len(drawn)] = np.packbits(drawn > self._cuts, axis=1)
        return out

    def bank(self, count: int, rng: np.random.Generator) -> np.ndarray:
        drawn = rng.integers(len(self._sizes), size=count)  # More than enough: each has at least one member.
        drawn = drawn[: int(np.searchsorted(np.cumsum(self._sizes[drawn]), count)) + 1]
        sizes = self._sizes[drawn]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows = np.repeat(self._starts[drawn], sizes) + within
        return np.repeat(self.pictures(len(drawn), rng), sizes, axis=0)[:count] ^ self._differences[rows[:count]]

    def copies(self, hashes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return hashes ^ self._changes[rng.integers(len(self._changes), size=len(hashes))]

    def likeness(self, rng: np.random.Generator) -> str:
        """How like the recombined pictures are to the real ones, in a line."""
        said = []
        for name, hashes in (("real", self.apart), ("grown", self.pictures(len(self.apart), rng))):
            words = hashes.view(np.uint64)
            far = np.bitwise_count(words[:, None] ^ words[None]).sum(2)[np.triu_indices(len(hashes), 1)]
            pairs = np.abs(np.corrcoef(np.unpackbits(hashes, axis=1).T)[np.triu_indices(256, 1)])
            said.append(
                f"{name}: {far.mean():.1f} +- {far.std():.2f} bits apart, correlation of two bits {pairs.mean():.3f}, at most {pairs.max():.2f}"
            )
        return f"{len(self.apart)} unrelated pictures, uniform ones 128.0 +- 8.00; " + "; ".join(said)


def queries_for(kind: Random, hashes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Near-duplicates and misses by turns."""
    queries = kind.pictures(count, rng)
    queries[::2] = kind.copies(hashes[rng.integers(len(hashes), size=count // 2)], rng)
    return queries


class Rates:
    """What single queries take: `per_s` by processor time, `p50` and `p99` in ms by the wall clock."""

    def __init__(self, ask: Callable[[str], object], queries: list[str], passes: int = 3) -> None:
        for query in queries[:20]:
            ask(query)
        self.per_s, self.p50, self.p99 = 0.0, math.inf, math.inf
        for _ in range(passes):
            taken = []
            began = time.process_time()
            for query in queries:
                start = time.perf_counter()
                ask(query)
                taken.append(time.perf_counter() - start)
            self.per_s = max(self.per_s, len(queries) / (time.process_time() - began))
            self.p50 = min(self.p50, float(np.percentile(taken, 50)) * 1e3)
            self.p99 = min(self.p99, float(np.percentile(taken, 99)) * 1e3)

    def line(self, name: str, count: int, note: str = "") -> None:
        print(
            f"{count:>11,}  {name:<34}{self.per_s:>10,.0f}/s{self.p50:>9.3f} ms{self.p99:>9.3f} ms  {note}", flush=True
        )


def ours(index: HammingIndex, queries: list[str], passes: int = 3) -> Rates:
    return Rates(lambda query: index.search(bytes.fromhex(query), RADIUS), queries, passes)


def recall(index: HammingIndex, hashes: np.ndarray, queries: np.ndarray) -> float:
    """Share of what a comparison with every hash finds, at the right distances; finding more than that counts as 0."""
    words = hashes.view(np.uint64)
    right = total = 0
    for query in queries:
        distances = np.zeros(len(words), np.int64)
        for part in range(4):
            distances += np.bitwise_count(words[:, part] ^ query.view(np.uint64)[part])
        rows = np.flatnonzero(distances <= RADIUS)
        expected = {(int(row), int(distances[row])) for row in rows}
        found = set(index.search(query, RADIUS))
        if found - expected:
            return 0.0
        right += len(found)
        total += len(expected)
    return right / total


def threatexchange(hashes: np.ndarray, queries: list[str], index: HammingIndex) -> Rates:
    from threatexchange.signal_type.pdq.pdq_index import PDQIndex

    peer = PDQIndex([(row.tobytes().hex(), k) for k, row in enumerate(hashes)])
    rates = Rates(peer.query, queries, 1)
    for query in queries[:100]:  # They must agree, else the comparison is none.
        theirs = sorted((match.similarity_info.distance, match.metadata) for match in peer.query(query))
        assert theirs == sorted((d, k) for k, d in index.search(bytes.fromhex(query), RADIUS))
    return rates


def faiss_rates(hashes: np.ndarray, queries: list[str], parts: int | None) -> Rates:
    import faiss

    faiss.omp_set_num_threads(1)
    if parts is None:
        index = faiss.IndexBinaryFlat(256)
    else:
        index = faiss.IndexBinaryMultiHash(256, parts, 256 // parts)
        index.nflip = RADIUS // parts
    index.add(hashes)
    return Rates(lambda q: index.range_search(np.frombuffer(bytes.fromhex(q), np.uint8)[None], RADIUS + 1), queries, 1)


CHILD = """
import json, sys, time
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
from redshank.matching import HammingIndex
HammingIndex.open(sys.argv[2]).search(bytes(32), 31)  # A small one first: imports and compiled code are not the index.
before = resident()
start = time.perf_counter()
index = HammingIndex.open(sys.argv[1])
took = time.perf_counter() - start
index.verify()
print(json.dumps([took, resident() - before]))
"""


def in_fresh_process(path: Path, small: Path) -> tuple[float, int]:
    """Seconds to open the file, and bytes that the process grows by when it reads all of it."""
    out = subprocess.run([sys.executable, "-c", CHILD, path, small], capture_output=True, text=True, check=True).stdout
    took, grown = json.loads(out)
    return took, grown


def exponent(sizes: list[int], values: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


class Growth(msgspec.Struct):
    """What the largest index of a kind took, and how right it was."""

    per_s: float
    bytes: float
    recall: float


def growth(kind: Random, sizes: list[int], asked: int, folder: Path, rng: np.random.Generator) -> Growth:
    """Print how building, opening, memory and queries grow with the number of entries."""
    print(f"\nGrowth, {kind.name} hashes, opened from a file")
    print(
        f"{'entries':>11}{'build':>10}{'save':>10}{'open':>12}{'memory':>12}{'one query':>12}{'of many':>12}{'found':>8}"
    )
    builds, memories, singles = [], [], []
    for count in sizes:
        hashes = kind.bank(count, rng)
        start = time.process_time()
        index = HammingIndex.build(hashes, np.arange(count))
        builds.append(time.process_time() - start)
        path = folder / "index"
        start = time.perf_counter()
        index.save(path)
        saved = time.perf_counter() - start
        del index
        opened, grown = in_fresh_process(path, folder / "small")
        index = HammingIndex.open(path)
        some = queries_for(kind, hashes, asked, rng)
        rates = ours(index, [row.tobytes().hex() for row in some])
        many = processor_seconds(lambda i=index, q=some: i.search_many(q, RADIUS)) / len(some)
        found = len(index.search_many(some, RADIUS)[0]) / len(some)
        memories.append(float(grown))
        singles.append(1 / rates.per_s)
        print(
            f"{count:>11,}{builds[-1]:>8.2f} s{saved:>8.2f} s{opened * 1e3:>9.1f} ms{grown / 1e6:>9.0f} MB"
            f"{singles[-1] * 1e6:>9.1f} us{many * 1e6:>9.1f} us{found:>8.1f}",
            flush=True,
        )
    for name, values in (("build", builds), ("memory", memories), ("query", singles)):
        print(
            f"  {name}: grows with the number of entries to the power of {exponent(sizes, values):.2f}; "
            f"from {sizes[-2]:,} to {sizes[-1]:,}, {exponent(sizes[-2:], values[-2:]):.2f}"
        )
    rates.line(f"ours, {kind.name}, from a file", count)
    if kind.name == "random":
        new = queries_for(kind, hashes, 1000, rng)
        took = processor_seconds(lambda: index.search_many(new, RADIUS))
        print(
            f"Look-back: {len(new):,} new entries against {count:,} past hashes: {took:.3f} s, {took + builds[-1]:.1f} s with building"
        )
    return Growth(rates.per_s, memories[-1], recall(index, hashes, some[:20]))


def main() -> None:
    arguments = parser(__doc__).parse_args()
    rng = np.random.default_rng(arguments.seed)
    quick = arguments.quick
    one, five, ten = (100_000, 200_000, 1_000_000) if quick else (1_000_000, 5_000_000, 10_000_000)
    sizes = [10_000, 100_000, ten] if quick else [10_000, 100_000, 1_000_000, 10_000_000]
    asked, asked_peer = (2000, 200) if quick else (20_000, 2000)
    print(machine())
    print(f"seed {arguments.seed}; sizes that stand for 1 M, 5 M, 10 M: {one:,}, {five:,}, {ten:,}\n")

    began = time.perf_counter()
    warm = HammingIndex.build(random_hashes(10_000, rng), np.arange(10_000))
    warm.search(bytes(32), RADIUS)
    warm.search_many(np.zeros((1, 32), np.uint8), RADIUS)
    print(f"compiling the kernels, or loading them: {time.perf_counter() - began:.1f} s")

    kinds = [Random()]
    if (DATA / "pdq-haystack.txt").exists():
        lines = (DATA / "pdq-haystack.txt").read_text().split()
        real = Real(np.array([list(bytes.fromhex(line)) for line in lines], np.uint8))
        print(real.likeness(rng))
        kinds.append(real)
    print(f"\n{'entries':>11}  {'':<34}{'rate':>12}{'p50':>12}{'p99':>12}")
    recalls: list[float] = []
    results: dict[str, float] = {}
    for kind in kinds:
        for label, count in (("1m", one), ("5m", five)):
            if label == "5m" and kind.name == "real":
                continue
            hashes = kind.bank(count, rng)
            index = HammingIndex.build(hashes, np.arange(count))
            some = queries_for(kind, hashes, asked, rng)
            wanted = [row.tobytes().hex() for row in some]
            mine = ours(index, wanted)
            mine.line(f"ours, {kind.name}", count)
            recalls.append(recall(index, hashes, some[: 40 if quick else 100]))
            peer = threatexchange(hashes, wanted[:asked_peer], index)
            ratio = mine.per_s / peer.per_s
            peer.line(f"threatexchange, {kind.name}", count, f"ours is {ratio:.0f} times as fast")
            if kind.name == "random":
                results[f"match_{label}_ratio"] = ratio
                if label == "1m":
                    results["match_1m_per_s"], results["match_1m_p99_ms"] = mine.per_s, mine.p99
                    for parts in (None, 16) if quick else (None, 16, 12):
                        named = "flat" if parts is None else f"{parts} hashes, {RADIUS // parts} flips"
                        rates = faiss_rates(hashes, wanted[: asked_peer // 4], parts)
                        rates.line(f"faiss, {named}", count, f"ours is {mine.per_s / rates.per_s:.0f} times as fast")
            del hashes, index

    with tempfile.TemporaryDirectory() as folder:
        warm.save(Path(folder) / "small")
        for kind in kinds:
            last = growth(kind, sizes, asked, Path(folder), rng)
            recalls.append(last.recall)
            if kind.name == "random":
                results["match_10m_per_s"], results["match_10m_gb"] = last.per_s, last.bytes / 1e9
    hours = 3_600_000 if not quick else 360_000
    scenes = random_hashes(
        hours // 20, rng
    )  # A frame a second; twenty in a row show one scene and differ in some bits.
    frames = flip(np.repeat(scenes, 20, axis=0), rng.integers(0, 25, len(scenes) * 20), rng)
    index = HammingIndex.build(frames, np.arange(len(frames)))
    clip = flip(frames[1000:1600], rng.integers(0, 10, 600), rng)
    index.search_many(clip, RADIUS)
    took = processor_seconds(lambda: index.search_many(clip, RADIUS), times=5)
    matches = len(index.search_many(clip, RADIUS)[0])
    print(
        f"\nVideo: {len(clip)} frames against {len(frames):,} frames: {took * 1e3:.1f} ms for {matches:,} pairs of frames"
    )
    print(
        f"peak memory of this process, peers and all: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB\n"
    )

    for name, value in results.items():
        bar(name, round(value) if name.endswith("_per_s") else float(value))
    bar("match_recall", min(recalls))


if __name__ == "__main__":
    main()
