"""Returning accounts: how many are found, how surely, how fast, and who is wrongly suspected; on one core.

    python -m bench.evasion [--quick] [--seed N] [--folder DIR] [--no-variants]

The workload is the shared generator's. A model is fitted on `train` (seed 99, 100,000 suspended accounts) and used
unchanged on another world (seed 7, 1,000,000 suspended, 10,000 new). `owner` and truth.csv of that other world are read
after all scores are made, to count. Worlds are kept in DIR (default: a folder among the temporary ones) and used again.
Times are processor time of this thread, since a shared machine's clock measures its neighbors; the clock's p99 stands
beside. With Splink installed (the extra `bench-evasion`), it runs beside on 20,000 suspended accounts.
"""

from __future__ import annotations

from bench._common import bar, machine, parser  # isort: skip  # sets the threads before numpy is imported

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from redshank.evasion import Model, Scorer, SuspensionIndex, encode, fit, save_model
from redshank.evasion.evidence import DEVICE, PHONE, Encoded, less, take
from redshank.evasion.fitting import calibration_error, recall_at
from redshank.evasion.profiles import KeyedToken, Profile
from redshank.evasion.tables import read_accounts, read_owners

GENERATOR = Path(__file__).resolve().parents[2] / "shared" / "bench" / "linking" / "make_accounts.py"
LEVELS = ("return_low", "return_medium", "return_high")


def world(folder: Path, suspended: int, new: int, seed: int) -> Path:
    """The workload of those sizes, made now unless it is there."""
    made = folder / f"{suspended}-{new}-{seed}"
    if not (made / "truth.csv").exists():
        part = folder / f"{made.name}.part"
        command = [sys.executable, str(GENERATOR), "--n-suspended", str(suspended), "--n-new", str(new)]
        subprocess.run([*command, "--seed", str(seed), "--out", str(part)], check=True, stdout=subprocess.DEVNULL)
        part.rename(made)
    return made


class Outcome:
    """What came of scoring all new accounts: for each the best tie, and whether the owner was among the candidates."""

    def __init__(self, index: SuspensionIndex, scorer: Scorer, new: Encoded) -> None:
        n = len(new)
        self.chance, self.match = np.zeros(n), np.full(n, -1, np.int64)
        self.candidates: list[np.ndarray] = []
        self.bands: list[str] = []
        self.spent, self.waited = np.zeros(n), np.zeros(n)
        for row in range(n):
            clock, start = time.perf_counter(), time.thread_time()
            pairs = index.search(new, row)
            ties = scorer.ties(pairs, least=1e-3)
            self.spent[row], self.waited[row] = time.thread_time() - start, time.perf_counter() - clock
            self.candidates.append(pairs.ids)
            if ties:
                self.chance[row], self.match[row] = ties[0].probability, ties[0].number
            self.bands.append(ties[0].band if ties else "")

    def judge(self, new: Encoded, owners: dict[int, int], truth: dict[int, tuple[str, int]]) -> Judged:
        """Beside the truth."""
        ids = new.accounts.ids.tolist()
        owner = np.array([truth[number][1] for number in ids])
        correct = np.array([o >= 0 and owners.get(int(m)) == o for o, m in zip(owner, self.match, strict=True)])
        found = np.array(
            [o >= 0 and any(owners[int(c)] == o for c in some) for o, some in zip(owner, self.candidates, strict=True)]
        )
        return Judged(self, np.array([truth[number][0] for number in ids]), owner >= 0, correct, found)


class Judged:
    """Outcome and truth."""

    def __init__(
        self, outcome: Outcome, kind: np.ndarray, returned: np.ndarray, correct: np.ndarray, found: np.ndarray
    ) -> None:
        self.outcome, self.kind, self.returned, self.correct, self.found = outcome, kind, returned, correct, found

    def recall(self, fpr: float) -> float:
        return recall_at(self.outcome.chance, self.correct, self.returned, fpr)

    def line(self) -> str:
        limit = np.sort(self.outcome.chance[~self.returned])[::-1][int(1e-3 * (~self.returned).sum())]
        levels = [float((self.correct & (self.outcome.chance > limit))[self.kind == level].mean()) for level in LEVELS]
        at = " / ".join(f"{self.recall(fpr):.3f}" for fpr in (1e-2, 1e-3, 1e-4))
        found = " / ".join(f"{self.found[self.kind == level].mean():.3f}" for level in LEVELS)
        error = calibration_error(self.outcome.chance, self.correct)
        split = " / ".join(f"{level:.3f}" for level in levels)
        return f"{at}   {split}   {found}   {error:.4f}"


def updates(index: SuspensionIndex, count: int) -> tuple[float, float]:
    """Suspensions taken in a second, from profile to target, one at a time; and reversed ones."""
    random = np.random.default_rng(3)
    profiles = [
        Profile(
            number=10**12 + i,
            handle=f"heron_{random.integers(10**6)}",
            display_name="Heron " + "".join(random.choice(list("aeioubdglmnrst"), 6)),
            bio=" ".join("".join(random.choice(list("aeioubdglmnrst"), 5)) for _ in range(8)),
            avatar=random.bytes(32),
            links=(f"site{random.integers(10**4)}.example",),
            follows=tuple(map(str, random.integers(0, 8_000_000, int(20 * 10 ** random.random())))),
            tokens=(KeyedToken("device", "k1", f"{random.integers(2**62):x}"),),
            hours=tuple(random.integers(0, 9, 24).tolist()),
            ended_at=1_700_000_000,
        )
        for i in range(count)
    ]
    warm = count // 4  # Kernels are compiled, the first tails have become segments.
    for profile in profiles[:warm]:
        index.add(encode([profile]))
    start = time.thread_time()
    for profile in profiles[warm:]:
        index.add(encode([profile]))
    added = (count - warm) / (time.thread_time() - start)
    start = time.thread_time()
    for profile in profiles:
        index.remove(profile.number)
    return added, count / (time.thread_time() - start)


def fitted(folder: Path) -> tuple[Model, float]:
    owners, truth = read_owners(folder)
    start = time.process_time()
    index = SuspensionIndex.build(read_accounts(folder / "suspended.parquet"))
    model = fit(index, read_accounts(folder / "new.parquet"), owners, truth, data=folder.name, date="made up")
    return model, time.process_time() - start


def splink(folder: Path, model: Model) -> None:
    """Splink beside us, on a workload small enough for it, where it is installed."""
    try:
        from bench._splink import link
    except ImportError as missing:
        print(f"\nSplink is not installed ({missing.name}): pip install 'redshank[bench-evasion]' runs it beside.")
        return
    owners, truth = read_owners(folder)
    new = read_accounts(folder / "new.parquet")
    index = SuspensionIndex.build(read_accounts(folder / "suspended.parquet"))
    ours = Outcome(index, Scorer(model), new).judge(new, owners, truth)
    theirs, seconds = link(folder)
    outcome = Outcome.__new__(Outcome)
    ids = new.accounts.ids.tolist()
    outcome.chance = np.array([theirs.get(number, (0, 0.0))[1] for number in ids])
    outcome.match = np.array([theirs.get(number, (-1, 0.0))[0] for number in ids])
    outcome.candidates = [np.array([match]) if match >= 0 else np.empty(0, np.int64) for match in outcome.match]
    them = outcome.judge(new, owners, truth)
    print(f"\nBeside Splink, {len(index):,} suspended, {len(new):,} new: recall at FPR 1e-2 / 1e-3, ECE, ms an account")
    for name, judged, each in (
        ("redshank", ours, float(ours.outcome.spent.mean())), ("splink", them, seconds / len(new))
    ):  # fmt: skip
        error = calibration_error(judged.outcome.chance, judged.correct)
        print(f"  {name:10} {judged.recall(1e-2):.3f} / {judged.recall(1e-3):.3f}   {error:.4f}   {1e3 * each:.2f}")


def main() -> None:
    """Run it and print the BAR lines."""
    made = parser(__doc__)
    made.set_defaults(seed=7)
    made.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "redshank-bench-linking")
    made.add_argument("--no-variants", action="store_true", help="only the main table")
    args = made.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    args.folder.mkdir(parents=True, exist_ok=True)
    print(f"machine: {machine()}")
    sizes = ((14_000, 5_000), (48_000, 5_000)) if args.quick else ((100_000, 10_000), (1_000_000, 10_000))
    train = world(args.folder, *sizes[0], 99)
    measured = world(args.folder, *sizes[1], args.seed)
    model, seconds = fitted(train)
    save_model(model, args.folder / f"model-{train.name}.json")
    print(
        f"model:   fitted on {train.name} in {seconds:.0f} s; likely from {model.likely:.3f}, possible from {model.possible:.3f}"
    )

    start = time.process_time()
    index = SuspensionIndex.build(read_accounts(measured / "suspended.parquet"), note="bench")
    file = args.folder / "index"
    index.save(file)
    built = time.process_time() - start
    each = file.stat().st_size / len(index)
    del index
    start = time.perf_counter()
    index = SuspensionIndex.open(file)
    opened = time.perf_counter() - start
    print(f"index:   {len(index):,} suspended in {built:.0f} s; {each:.0f} bytes an account; opened in {opened:.2f} s")

    new = read_accounts(measured / "new.parquet")
    scorer = Scorer(model)
    Outcome(index, scorer, take(new, np.arange(200)))  # maps the pages, compiles the kernels
    main_outcome = Outcome(index, scorer, new)
    variants = {"all evidence": main_outcome}
    if not args.no_variants:
        some = take(new, np.arange(min(len(new), 1_500 if args.quick else len(new))))
        variants["no tokens"] = Outcome(index, scorer, less(some, kinds=range(DEVICE, PHONE + 1)))
        if not args.quick:
            variants["no time gap"] = Outcome(index, scorer, less(some, times=False))
        for follows in (5,) if args.quick else (0, 5, 10, 20):
            variants[f"{follows} follows"] = Outcome(index, scorer, less(some, follows=follows, seed=5))
    added, removed = updates(index, 4_000 if args.quick else 20_000)

    owners, truth = read_owners(measured)  # Only now: to count.
    print(
        "\n                recall at FPR 1e-2 / 1e-3 / 1e-4   low / medium / high at 1e-3   owner among 40 candidates   ECE"
    )
    for name, outcome in variants.items():
        print(f"  {name:14} {outcome.judge(new if outcome is main_outcome else some, owners, truth).line()}")
    judged = main_outcome.judge(new, owners, truth)
    print(
        f"\ntime:    p50 {1e3 * np.median(main_outcome.spent):.2f} ms, p99 {1e3 * np.percentile(main_outcome.spent, 99):.2f} ms "
        f"an account (by the clock {1e3 * np.percentile(main_outcome.waited, 99):.2f} ms)"
    )
    print(f"updates: {added:,.0f} suspensions a second from profile to target, {removed:,.0f} reversals")
    bands = np.array(main_outcome.bands)
    print(
        f"bands:   of returned: likely {(bands == 'likely')[judged.returned].mean():.3f}, "
        f"possible or likely {(bands != '')[judged.returned].mean():.3f}"
    )
    print("innocent, by group: likely, possible or likely")
    for group in sorted(set(judged.kind[~judged.returned])):
        of = judged.kind == group
        print(f"  {group:14} {(bands[of] == 'likely').mean():.4f}  {(bands[of] != '').mean():.4f}   of {of.sum():,}")
    if not args.quick and not args.no_variants:
        splink(world(args.folder, 20_000, 2_000, 8), model)
    print()
    bar("evasion_recall_fpr1e3", judged.recall(1e-3))
    bar("evasion_recall_fpr1e4", judged.recall(1e-4))
    bar("evasion_ece", calibration_error(main_outcome.chance, judged.correct))
    bar("evasion_p99_ms", float(1e3 * np.percentile(main_outcome.spent, 99)))
    bar("evasion_bytes_per_account", each)
    bar("evasion_updates_per_s", added)
    with (args.folder / "results.jsonl").open("a") as log:
        log.write(json.dumps({"world": measured.name, "recall": [judged.recall(f) for f in (1e-2, 1e-3, 1e-4)]}) + "\n")


if __name__ == "__main__":
    main()
