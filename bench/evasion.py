"""Returning accounts: how many are found, how surely, how fast, and who is wrongly tied; on one core.

    python -m bench.evasion [--quick] [--seed N] [--folder DIR] [--no-variants]

The workload is the shared generator's. A model of either scorer is fitted on `train` (seed 99, 100,000 suspended accounts)
and used unchanged on another world (seed 7, 1,000,000 suspended, 10,000 new). `owner` and truth.csv of that other world are
read after all scores are made, to count. Worlds are kept in DIR (default: a folder among the temporary ones) and used
again. Times are processor time of this thread, since a shared machine's clock measures its neighbors; the clock's p99
stands beside. Each search is made once and weighed by both scorers; its time counts for both. Without LightGBM (the extra
`gbt`) only the first runs. With Splink installed (the extra `bench-evasion`), it runs beside on 100,000 suspended accounts.
"""

from __future__ import annotations

from bench._common import bar, machine, parser  # isort: skip  # sets the threads before numpy is imported

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from redshank.core import Problem
from redshank.evasion import Model, Scorer, SuspensionIndex, encode, fit, save_model
from redshank.evasion.evidence import DEVICE, PHONE, Encoded, less, take
from redshank.evasion.fitting import calibration_error, recall_at
from redshank.evasion.profiles import KeyedToken, Profile
from redshank.evasion.tables import read_accounts, read_owners, read_scripts

GENERATOR = Path(__file__).resolve().parents[2] / "shared" / "bench" / "linking" / "make_accounts.py"
SCORERS = ("additive", "gbt")
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
    """What one scorer made of all new accounts: for each the best tie, its band, the candidates, and the seconds spent."""

    def __init__(self, many: int) -> None:
        self.chance, self.match = np.zeros(many), np.full(many, -1, np.int64)
        self.candidates: list[np.ndarray] = []
        self.bands: list[str] = []
        self.spent, self.waited = np.zeros(many), np.zeros(many)


def weigh(index: SuspensionIndex, scorers: dict[str, Scorer], new: Encoded) -> dict[str, Outcome]:
    """Search for each of `new`, and let each scorer weigh what was found."""
    outcomes = {name: Outcome(len(new)) for name in scorers}
    for row in range(len(new)):
        clock, start = time.perf_counter(), time.thread_time()
        pairs = index.search(new, row)
        searched, searching = time.thread_time() - start, time.perf_counter() - clock
        for name, scorer in scorers.items():
            outcome = outcomes[name]
            clock, start = time.perf_counter(), time.thread_time()
            ties = scorer.ties(pairs, least=1e-3)
            outcome.spent[row] = searched + time.thread_time() - start
            outcome.waited[row] = searching + time.perf_counter() - clock
            outcome.candidates.append(pairs.ids)
            if ties:
                outcome.chance[row], outcome.match[row] = ties[0].probability, ties[0].number
            outcome.bands.append(ties[0].band if ties else "")
    return outcomes


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


def judge(outcome: Outcome, new: Encoded, owners: dict[int, int], truth: dict[int, tuple[str, int]]) -> Judged:
    """Beside the truth."""
    ids = new.accounts.ids.tolist()
    owner = np.array([truth[number][1] for number in ids])
    correct = np.array([o >= 0 and owners.get(int(m)) == o for o, m in zip(owner, outcome.match, strict=True)])
    found = np.array(
        [o >= 0 and any(owners[int(c)] == o for c in some) for o, some in zip(owner, outcome.candidates, strict=True)]
    )
    return Judged(outcome, np.array([truth[number][0] for number in ids]), owner >= 0, correct, found)


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


def fitted(folder: Path) -> dict[str, Model]:
    """A model of either scorer, where its library is installed."""
    owners, truth = read_owners(folder)
    scripts = read_scripts(folder / "new.parquet")
    index = SuspensionIndex.build(read_accounts(folder / "suspended.parquet"))
    new = read_accounts(folder / "new.parquet")
    models = {}
    for name in SCORERS:
        start = time.process_time()
        try:
            models[name] = fit(
                index, new, owners, truth, data=folder.name, date="made up", scorer=name, scripts=scripts
            )
        except Problem as missing:
            print(f"{name}: {missing}")
            continue
        file = folder.parent / f"model-{folder.name}-{name}.json"
        save_model(models[name], file)
        print(
            f"{name:9} fitted on {folder.name} in {time.process_time() - start:.0f} s; {file.stat().st_size / 1024:.0f} KB; "
            f"likely from {models[name].likely:.3f}, possible from {models[name].possible:.3f}"
        )
    return models


def splink(folder: Path, scorers: dict[str, Scorer]) -> None:
    """Splink beside us, on a workload small enough for it, where it is installed."""
    try:
        from bench._splink import link
    except ImportError as missing:
        print(f"\nSplink is not installed ({missing.name}): pip install 'redshank[bench-evasion]' runs it beside.")
        return
    new = read_accounts(folder / "new.parquet")
    index = SuspensionIndex.build(read_accounts(folder / "suspended.parquet"))
    outcomes = weigh(index, scorers, new)
    theirs, seconds = link(folder)
    them = outcomes["splink"] = Outcome(len(new))
    ids = new.accounts.ids.tolist()
    them.chance = np.array([theirs.get(number, (0, 0.0))[1] for number in ids])
    them.match = np.array([theirs.get(number, (-1, 0.0))[0] for number in ids])
    them.candidates = [np.array([match]) if match >= 0 else np.empty(0, np.int64) for match in them.match]
    them.spent[:] = seconds / len(new)
    owners, truth = read_owners(folder)
    print(f"\nBeside Splink, {len(index):,} suspended, {len(new):,} new: recall at FPR 1e-2 / 1e-3, ECE, ms an account")
    for name, outcome in outcomes.items():
        judged = judge(outcome, new, owners, truth)
        error = calibration_error(outcome.chance, judged.correct)
        each = 1e3 * float(outcome.spent.mean())
        print(f"  {name:10} {judged.recall(1e-2):.3f} / {judged.recall(1e-3):.3f}   {error:.4f}   {each:.2f}")


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
    scorers = {name: Scorer(model) for name, model in fitted(train).items()}

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
    weigh(index, scorers, take(new, np.arange(200)))  # maps the pages, compiles the kernels
    variants = {"all evidence": (new, weigh(index, scorers, new))}
    if not args.no_variants:
        some = take(new, np.arange(min(len(new), 1_500 if args.quick else len(new))))
        changed = {"no tokens": less(some, kinds=range(DEVICE, PHONE + 1))}
        if not args.quick:
            changed["no time gap"] = less(some, times=False)
        changed |= {
            f"{many} follows": less(some, follows=many, seed=5) for many in ((5,) if args.quick else (0, 5, 10, 20))
        }
        variants |= {name: (accounts, weigh(index, scorers, accounts)) for name, accounts in changed.items()}
    added, removed = updates(index, 4_000 if args.quick else 20_000)

    owners, truth = read_owners(measured)  # Only now: to count.
    scripts = read_scripts(measured / "new.parquet")
    print(f"updates: {added:,.0f} suspensions a second from profile to target, {removed:,.0f} reversals")
    print(f"\n{'':25} recall at FPR 1e-2 / 1e-3 / 1e-4   low / medium / high at 1e-3   owner among 40 candidates   ECE")
    for name, (accounts, outcomes) in variants.items():
        for scorer, outcome in outcomes.items():
            print(f"  {name:13} {scorer:9} {judge(outcome, accounts, owners, truth).line()}")
    judged = {name: judge(outcome, new, owners, truth) for name, outcome in variants["all evidence"][1].items()}
    for name, one in judged.items():
        told(name, one, np.array([scripts[number] for number in new.accounts.ids.tolist()]))
    if not args.quick and not args.no_variants:
        splink(world(args.folder, 100_000, 2_000, 8), scorers)
    print()
    for name, one in judged.items():
        ending = "" if name == "additive" else f"_{name}"
        bar(f"evasion_recall_fpr1e3{ending}", one.recall(1e-3))
        bar(f"evasion_recall_fpr1e4{ending}", one.recall(1e-4))
        bar(f"evasion_ece{ending}", calibration_error(one.outcome.chance, one.correct))
        bar(f"evasion_p99_ms{ending}", float(1e3 * np.percentile(one.outcome.spent, 99)))
    bar("evasion_bytes_per_account", each)
    bar("evasion_updates_per_s", added)


def told(name: str, judged: Judged, scripts: np.ndarray) -> None:
    """Print one scorer's times, bands, and shares by group and by script."""
    outcome, bands = judged.outcome, np.array(judged.outcome.bands)
    print(
        f"\n{name}: p50 {1e3 * np.median(outcome.spent):.2f} ms, p99 {1e3 * np.percentile(outcome.spent, 99):.2f} ms "
        f"an account (by the clock {1e3 * np.percentile(outcome.waited, 99):.2f} ms)\n"
        f"  of returned: likely {(bands == 'likely')[judged.returned].mean():.3f}, "
        f"possible or likely {(bands != '')[judged.returned].mean():.3f}\n"
        "  innocent, by group: likely, possible or likely"
    )
    for group in sorted(set(judged.kind[~judged.returned])):
        of = judged.kind == group
        print(f"    {group:14} {(bands[of] == 'likely').mean():.4f}  {(bands[of] != '').mean():.4f}   of {of.sum():,}")
    print("  by script of the name: innocent likely, possible or likely; returned rightly likely, possible or likely")
    for script in sorted(set(scripts)):
        inn, back = (scripts == script) & ~judged.returned, (scripts == script) & judged.returned
        print(
            f"    {script:14} {(bands[inn] == 'likely').mean():.4f}  {(bands[inn] != '').mean():.4f}   of {inn.sum():,};   "
            f"{((bands == 'likely') & judged.correct)[back].mean():.3f}  {((bands != '') & judged.correct)[back].mean():.3f}   "
            f"of {back.sum():,}"
        )


if __name__ == "__main__":
    main()
