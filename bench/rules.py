"""The rule language, timed on the shared workload: two thousand events, twenty rules, and the right answers.

    .venv/bin/python -m bench.rules [--quick] [--seed N]

The rules stand in bench/rules/workload.yaml; the workload is made by ../shared/bench/rules/make_workload.py beside the
repository. Its oracle, the same rules in plain Python without a language, explanations or checks, runs in the same
process as what there is to compare with. Processor time of one core; the best of several rounds, decoded events with
findings of none. "500 rules" are the twenty 25 times over under other names, so they share all that they ask; "500
different" have words, patterns and limits of their own, and share nothing but the text they look into.
"""

from __future__ import annotations

from bench._common import bar, machine, parser, processor_seconds  # isort: skip  (sets one core first)

import importlib.util
import json
import re
import sys
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from redshank.core import Event, Verdict
from redshank.rules import Facts, RuleSet, Trial, effect_names, load_rules

HERE = Path(__file__).parent
RULES = HERE / "rules" / "workload.yaml"
MAKER = HERE.parent.parent / "shared" / "bench" / "rules" / "make_workload.py"
COPIES = 25


def main() -> None:
    args = parser(__doc__).parse_args()
    if not MAKER.exists():
        print(f"The workload's maker is not at {MAKER}; nothing to time.")
        return
    rounds = 3 if args.quick else 10
    print(machine())
    maker = _load(MAKER)
    with tempfile.TemporaryDirectory() as folder:
        seeds = range(args.seed, args.seed + 5)
        exact = all(_is_exact(maker, Path(folder), seed) for seed in seeds)
        print(f"answers on the five seeds {list(seeds)}: {'exact' if exact else 'NOT exact'}")
        work = _Work(maker, Path(folder), args.seed)
        rows = [
            ("oracle: plain Python, no language, no explanations", work.rate(work.by_oracle(), rounds)),
            ("20 rules, decoded events, explanations kept", work.rate(work.by_rules(work.rules(1)), rounds)),
            ("20 rules, JSON in, verdict JSON out", work.rate(work.by_json(work.rules(1)), rounds)),
            ("500 rules: the twenty 25 times, renamed", work.rate(work.by_rules(work.rules(COPIES)), rounds)),
            ("500 different rules", work.rate(work.by_rules(work.different()), rounds)),
        ]
        small, large = work.membership(10), work.membership(1_000_000)
    for name, rate in rows:
        print(f"{name:<52} {rate:>10,.0f} events/s")
    print(
        f"membership in a list of 10: {small * 1e9:.0f} ns, of 1,000,000: {large * 1e9:.0f} ns ({large / small:.2f} times)"
    )
    print("peers, as measured elsewhere: Osprey 373 events/s with the twenty rules, 20 with the five hundred")
    bar("rules_exact", int(exact))
    bar("rules_per_s", rows[1][1])
    bar("rules_json_per_s", rows[2][1])
    bar("rules_500_per_s", rows[3][1])
    bar("rules_500_different_per_s", rows[4][1])
    bar("rules_vs_oracle_ratio", rows[1][1] / rows[0][1])
    bar("list_1m_ratio", large / small)
    if not exact:
        sys.exit(1)


class _Work:
    """The workload of one seed, and what can be done with it."""

    def __init__(self, maker: ModuleType, folder: Path, seed: int) -> None:
        self.folder = folder
        self.maker = maker
        made = _make(maker, folder, seed)
        self.raws = (made / "events.jsonl").read_bytes().splitlines()
        self.lists = {name: frozenset(items) for name, items in json.loads((made / "lists.json").read_bytes()).items()}
        self.labels = json.loads((made / "labels.json").read_bytes())
        trial = self.trial(self.rules(1))
        self.events: list[Event] = [trial.decode(raw) for raw in self.raws]

    def rules(self, copies: int) -> RuleSet:
        """The twenty rules, `copies` times over, each time under other names."""
        text = RULES.read_text("utf-8")
        head, _, body = text.partition("rules:\n")
        parts = [body] + [re.sub(r"(?m)^(  - id: \w+)$", rf"\g<1>_{copy}", body) for copy in range(1, copies)]
        return self.load(head + "rules:\n" + "".join(parts))

    def different(self) -> RuleSet:
        """Five hundred rules that share no condition: words, patterns and limits of their own."""
        lines = ["rules:"]
        for number in range(500):
            when = (
                f'contains(post.text, "word{number} of mine") and account.age < days({number + 1})',
                f'word(account.bio, "brigade {number}")',
                rf'matches(post.text, r"\bcode{number}[0-9]{{2,4}}\b")',
                f"account.followers < {number} and account.posts > {10_000 + number}",
                f'account.handle in list("handles") and account.age < hours({number + 1})',
            )[number % 5]
            lines += [f"  - id: r{number}", f"    when: '{when}'", "    effects: [preserve]"]
        return self.load("\n".join(lines) + "\n")

    def load(self, text: str) -> RuleSet:
        path = self.folder / "rules.yaml"
        path.write_text(text, "utf-8")
        return load_rules(path, {**self.labels, **self.lists})

    def trial(self, rules: RuleSet) -> Trial:
        return Trial(rules, self.labels)

    def by_oracle(self) -> Callable[[], None]:
        decoded: list[dict[str, Any]] = [json.loads(raw) for raw in self.raws]
        lists = {name: set(items) for name, items in self.lists.items()}
        labels = {name: set(items) for name, items in self.labels.items()}

        def run() -> None:
            for event in decoded:
                self.maker.oracle(event, lists, labels)

        return run

    def by_rules(self, rules: RuleSet) -> Callable[[], None]:
        none: frozenset[str] = frozenset()
        by_id: dict[str, set[str]] = {}
        for label, ids in self.labels.items():
            for account in ids:
                by_id.setdefault(account, set()).add(label)
        labels = {account: frozenset(found) for account, found in by_id.items()}

        def run() -> None:
            for event in self.events:
                rules.evaluate(Facts(event, (), event.at, labels.get(event.account.id, none)))  # type: ignore[union-attr]

        return run

    def by_json(self, rules: RuleSet) -> Callable[[], None]:
        trial = self.trial(rules)
        encode = msgspec.json.Encoder().encode

        def run() -> None:
            for raw in self.raws:
                fired, errors = trial.judge(trial.decode(raw))
                encode(Verdict(fired=fired, errors=errors))

        return run

    def rate(self, run: Callable[[], None], rounds: int) -> float:
        """Events a second of processor time, the best of `rounds`, after one that does not count."""
        run()
        return len(self.raws) / min(processor_seconds(run) for _ in range(rounds))

    def membership(self, size: int) -> float:
        """Seconds for one rule that looks an event's handle up in a list of `size`."""
        self.folder.joinpath("one.yaml").write_text(
            'rules:\n  - id: one\n    when: account.handle in list("many")\n    effects: [preserve]\n', "utf-8"
        )
        rules = load_rules(self.folder / "one.yaml", {"many": frozenset(f"name{i}" for i in range(size))})
        facts = [Facts(event, (), event.at) for event in self.events[:500]]

        def run() -> None:
            for fact in facts:
                rules.evaluate(fact)

        return min(timeit.repeat(run, number=4, repeat=10)) / 4 / len(facts)


def _is_exact(maker: ModuleType, folder: Path, seed: int) -> bool:
    work = _Work(maker, folder, seed)
    expected = [json.loads(line) for line in (_make(maker, folder, seed) / "expected.jsonl").read_bytes().splitlines()]
    trial = work.trial(work.rules(1))
    for event, answer in zip(work.events, expected, strict=True):
        fired, errors = trial.judge(event)
        given = {"id": event.id, "rules": sorted(found.rule for found in fired), "effects": effect_names(fired)}
        if errors or given != answer:
            print(f"seed {seed}: {given} instead of {answer}; {errors}")
            return False
    return True


def _make(maker: ModuleType, folder: Path, seed: int) -> Path:
    out = folder / f"seed-{seed}"
    if not out.exists():
        before = sys.argv
        sys.argv = [str(MAKER), str(out), "--seed", str(seed)]
        try:
            maker.main()
        finally:
            sys.argv = before
    return out


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_workload", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
