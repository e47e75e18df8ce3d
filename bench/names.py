"""Name evidence on real persons with errors: how many are found by their names alone, and how many of those found are right.

    python -m bench.names [--quick] [--seed N]

Two public sets: FEBRL 4 (10,000 made-up persons, each twice, one of the two with typing errors) and 50,578 records of 5,156
historical persons (Splink's own demonstration set). Half of the persons are fitted on, the other half is measured. Of each half,
one record of every second person stands for a suspended account, the other record of every person for a new one: so half of the new
ones are somebody who was never here, and many of those have the name of somebody who was. We read given name and surname as a display
name, and nothing else. Splink (the extra `bench-evasion`) reads the same two columns, as its documentation advises for names: Jaro-Winkler
with term frequencies, fitted without labels. Only counts are printed, never a name.
"""

from __future__ import annotations

from bench._common import bar, machine, parser  # isort: skip  # sets the threads before numpy is imported

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from redshank.evasion import Profile, Scorer, SuspensionIndex, encode, fit

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "linking"


class Record(NamedTuple):
    """One record of a person: two names, and who it is."""

    given: str
    surname: str
    person: int


class Half(NamedTuple):
    """Suspended and new records of one half of the persons."""

    suspended: list[Record]
    new: list[Record]


def febrl() -> list[tuple[Record, Record]]:
    """The original and the changed record of each person."""
    found: dict[int, dict[str, Record]] = {}
    for part in "ab":
        table = pa_csv.read_csv(
            DATA / f"febrl_dataset4{part}.csv", convert_options=pa_csv.ConvertOptions(strings_can_be_null=True)
        )
        columns = {name.strip(): table[name].to_pylist() for name in table.column_names}
        for key, given, surname in zip(columns["rec_id"], columns["given_name"], columns["surname"], strict=True):
            person = int(key.split("-")[1])
            found.setdefault(person, {})[part] = Record(*(str(x or "").strip() for x in (given, surname)), person)
    return [(both["a"], both["b"]) for _, both in sorted(found.items()) if len(both) == 2]


def historical() -> list[tuple[Record, Record]]:
    """The first and the last record of each person."""
    table = pq.read_table(DATA / "splink_historical_50k.parquet", columns=["cluster", "first_name", "surname"])
    rows: dict[str, list[tuple[str, str]]] = {}
    for cluster, given, surname in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
        if given or surname:
            rows.setdefault(cluster, []).append((given or "", surname or ""))
    return [
        (Record(*some[0], at), Record(*some[-1], at))
        for at, (_, some) in enumerate(sorted(rows.items()))
        if len(some) > 1
    ]


def halves(pairs: list[tuple[Record, Record]], seed: int, most: int) -> tuple[Half, Half]:
    """Two halves of the persons; in each, every second one was suspended."""
    order = np.random.default_rng(seed).permutation(len(pairs))[:most].tolist()
    picked = [pairs[at] for at in order]
    middle = len(picked) // 2
    return tuple(  # type: ignore[return-value]
        Half([old for at, (old, _) in enumerate(some) if at % 2], [new for _, new in some])
        for some in (picked[:middle], picked[middle:])
    )


def encoded(records: list[Record], first: int, ended: int) -> object:
    return encode(
        Profile(number=first + at, display_name=f"{one.given} {one.surname}".strip(), ended_at=ended)
        for at, one in enumerate(records)
    )


def ours(train: Half, measured: Half) -> tuple[np.ndarray, np.ndarray, float]:
    """For each new record of `measured` the best tie's probability, and whether it is right; and the seconds it took."""
    owners = {at: one.person for at, one in enumerate(train.suspended)}
    known = set(owners.values())
    truth = {10**6 + at: ("person", one.person if one.person in known else -1) for at, one in enumerate(train.new)}
    index = SuspensionIndex.build(encoded(train.suspended, 0, 1_600_000_000))
    model = fit(index, encoded(train.new, 10**6, 0), owners, truth, data="names", date="public sets")
    start = time.perf_counter()
    index = SuspensionIndex.build(encoded(measured.suspended, 0, 1_600_000_000))
    scorer, new = Scorer(model), encoded(measured.new, 10**6, 0)
    chance, right = np.zeros(len(new)), np.zeros(len(new), bool)
    for row in range(len(new)):
        if ties := scorer.ties(index.search(new, row)):
            chance[row] = ties[0].probability
            right[row] = measured.suspended[ties[0].number].person == measured.new[row].person
    return chance, right, time.perf_counter() - start


def splinks(measured: Half) -> tuple[np.ndarray, np.ndarray, float]:
    """The same of Splink. Raises ImportError where it is not installed."""
    import logging

    import splink.comparison_library as cl
    from splink import Linker, SettingsCreator, block_on
    from splink.backends.duckdb import DuckDBAPI

    logging.disable(logging.CRITICAL)  # It tells each step of its fitting.
    start = time.perf_counter()
    api = DuckDBAPI()

    def frame(records: list[Record], name: str) -> object:
        columns = {
            "unique_id": pa.array(range(len(records))),
            "given": pa.array([one.given or None for one in records], pa.string()),
            "surname": pa.array([one.surname or None for one in records], pa.string()),
        }
        return api.register(pa.table(columns), dataset_display_name=name)

    rules = [
        block_on("surname"), block_on("given"), block_on("substr(surname, 1, 3)"),
        block_on("substr(given, 1, 3)", "substr(surname, 1, 1)"),
    ]  # fmt: skip
    linker = Linker(
        [frame(measured.suspended, "a_old"), frame(measured.new, "b_new")],
        SettingsCreator(
            link_type="link_only", blocking_rules_to_generate_predictions=rules,
            comparisons=[
                cl.JaroWinklerAtThresholds(column, [0.95, 0.88, 0.8]).configure(term_frequency_adjustments=True)
                for column in ("given", "surname")
            ],
        ),
    )  # fmt: skip
    linker.training.estimate_probability_two_random_records_match([block_on("given", "surname")], recall=0.6)
    linker.training.estimate_u_using_random_sampling(max_pairs=2e6, seed=1)
    for rule in (block_on("given"), block_on("surname")):
        linker.training.estimate_parameters_using_expectation_maximisation(rule)
    chance, right = np.zeros(len(measured.new)), np.zeros(len(measured.new), bool)
    for pair in linker.inference.predict(threshold_match_probability=1e-6).as_record_list():
        old, new = pair["unique_id_l"], pair["unique_id_r"]
        if pair["source_dataset_l"] == "b_new":
            old, new = new, old
        if pair["match_probability"] > chance[new]:
            chance[new] = pair["match_probability"]
            right[new] = measured.suspended[old].person == measured.new[new].person
    return chance, right, time.perf_counter() - start


def curve(chance: np.ndarray, right: np.ndarray, there: int) -> tuple[float, float, float, float]:
    """Recall at a precision of .9 and of .8, the best F1, and the area under precision over recall."""
    order = np.argsort(-chance, kind="stable")
    order = order[chance[order] > 0]
    found = np.cumsum(right[order])
    ends = np.append(chance[order][1:] != chance[order][:-1], True)  # A threshold cuts between values, not within one.
    precision, recall = (found / np.arange(1, len(order) + 1))[ends], (found / there)[ends]
    at = [float(recall[precision >= least].max(initial=0)) for least in (0.9, 0.8)]
    f1 = float((2 * precision * recall / np.maximum(precision + recall, 1e-9)).max(initial=0))
    area = float(np.sum(np.diff(recall, prepend=0) * precision))
    return at[0], at[1], f1, area


def main() -> None:
    """Run it and print the BAR lines."""
    args = parser(__doc__).parse_args()
    if not DATA.exists():
        raise SystemExit(f"skipped: the sets are not at {DATA}")
    print(f"machine: {machine()}")
    for name, pairs in (("febrl4", febrl()), ("historical", historical())):
        train, measured = halves(pairs, args.seed, 1_600 if args.quick else len(pairs))
        known = {one.person for one in measured.suspended}
        there = sum(one.person in known for one in measured.new)
        print(f"\n{name}: {len(measured.suspended):,} suspended, {len(measured.new):,} new, {there:,} of them returned")
        print("            recall at precision .9 / .8   best F1   area   seconds")
        results = {"redshank": ours(train, measured)}
        try:
            results["splink"] = splinks(measured)
        except ImportError as missing:
            print(f"  Splink is not installed ({missing.name}): the extra bench-evasion runs it beside.")
        shown = {}
        for who, (chance, right, seconds) in results.items():
            shown[who] = curve(chance, right, there)
            at9, at8, f1, area = shown[who]
            print(f"  {who:10}{at9:17.3f} / {at8:.3f}{f1:12.3f}{area:9.3f}{seconds:8.1f}")
        bar(f"names_{name}_f1", shown["redshank"][2])
        if "splink" in shown:
            bar(f"names_{name}_f1_ratio", shown["redshank"][2] / max(shown["splink"][2], 1e-9))


if __name__ == "__main__":
    main()
