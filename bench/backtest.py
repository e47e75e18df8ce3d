"""Twenty rules over ten million archived events, and a search that counts them, in Parquet files as a platform has them.

    .venv/bin/python -m bench.backtest [--quick] [--seed N]

The events are those of the shared workload, each many times over with ids, accounts and days of its own, a hundred days
in files of 20,000; what fired stands in their verdicts. Wall time, all processors; beside it the processor time of all
processes, which other work on the machine does not lengthen. With --quick the past is
smaller, and times are multiplied to ten million, which is to the search's disadvantage. Peers have no backtest; what
there is to compare with is one processor evaluating events that are in memory, decoded (bench.rules).
"""

from __future__ import annotations

from bench._common import bar, machine, parser  # isort: skip  (sets one core first)

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.rules import MAKER, RULES, _load, _make
from redshank.archive.past import Past, PastEvent
from redshank.core import Event, Verdict, encode_event
from redshank.rules import Facts, Trial, load_rules
from redshank.rules.backtest import Ruled, backtest

WHOLE = 10_000_000
QUICK = 400_000
DAYS = 100
FILE = 20_000
START = datetime(2026, 3, 1, tzinfo=UTC)
T = TypeVar("T")


def main() -> None:
    args = parser(__doc__).parse_args()
    if not MAKER.exists():
        print(f"The workload's maker is not at {MAKER}; nothing to time.")
        return
    number = QUICK if args.quick else WHOLE
    days = DAYS if not args.quick else 10
    cores = os.cpu_count() or 1
    print(machine())
    with tempfile.TemporaryDirectory(prefix="redshank-bench-") as folder:
        root = Path(folder) / "past"
        made = _workload(Path(folder), args.seed)
        lists = {name: frozenset(items) for name, items in {**made["labels"], **made["lists"]}.items()}
        began = time.perf_counter()
        with ProcessPoolExecutor(cores, get_context("spawn"), initializer=_begin, initargs=(root, made, lists)) as pool:
            list(pool.map(_fill, range(days), [number // days] * days))
        past = Past(root)
        files = past.files()
        size = sum(file.stat().st_size for file in files)
        print(
            f"{number:,} events in {len(files):,} files, {size / number:.0f} bytes each, made in {time.perf_counter() - began:.0f} s"
        )
        processor = _processor()
        seconds, tried = _timed(lambda: backtest(past, Ruled(path=RULES, lists=lists)))
        processor = _processor() - processor
        assert tried.events == number
        fired = sum(rule.events for rule in tried.rules)
        print(
            f"backtest: {len(tried.rules)} rules, fired {fired:,} times, {seconds:.1f} s, {number / seconds:,.0f} events/s on {cores} cores; "
            f"{processor:.1f} s of processor time"
        )
        searches: list[tuple[str, Callable[[], object]]] = [
            ("events by day", lambda: past.count("day")),
            ("events by type", lambda: past.count("type")),
            ("what fired, by rule", lambda: past.count("rule")),
            ("where one rule fired, by day", lambda: past.count("day", rule=tried.rules[0].rule)),
            ("one week, by account", lambda: past.count("account", since=START, until=START + timedelta(days=7))),
        ]
        worst = 0.0
        for name, search in searches:
            best = min(_timed(search)[0] for _ in range(3))
            worst = max(worst, best)
            print(f"search: {name:<32} {best:6.2f} s")
    scale = WHOLE / number
    if scale != 1:
        print(f"times below are those above times {scale:g}")
    bar("backtest_10m_s", seconds * scale)
    bar("backtest_10m_processor_s", processor * scale)
    bar("search_10m_s", worst * scale)


def _processor() -> float:
    """Processor time, in seconds, of this process and of all that it started and that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _timed(what: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    found = what()
    return time.perf_counter() - start, found


_here: tuple[Past, list[tuple[Event, str]]] | None = None


def _begin(root: Path, made: dict[str, object], lists: dict[str, frozenset[str]]) -> None:
    global _here  # noqa: PLW0603 - what a process of the pool works with
    rules = load_rules(RULES, lists)
    trial = Trial(rules)
    out = []
    for raw in made["events"]:
        event = trial.decode(raw)
        fired, errors = rules.evaluate(Facts(event, (), event.at))
        verdict = msgspec.json.encode(Verdict(fired=fired, errors=errors)).decode() if fired else ""
        out.append((event, verdict))
    _here = (Past(root), out)


def _fill(day: int, number: int) -> None:
    assert _here is not None
    past, events = _here
    made = _events(events, day, number)
    batch = day * 1000
    while part := [event for _, event in zip(range(FILE), made, strict=False)]:
        past.write(batch, part)
        batch += 1


def _events(events: list[tuple[Event, str]], day: int, number: int) -> Iterator[PastEvent]:
    """Each event again and again, at the same age of its account."""
    parts = []
    for event, verdict in events:
        shift = START + timedelta(days=day) + timedelta(seconds=event.at.timestamp() % 86_400) - event.at
        account = event.account
        born = account.created_at and account.created_at + shift
        moved = msgspec.structs.replace(
            event, id="@", at=event.at + shift, network="bench",
            account=msgspec.structs.replace(account, created_at=born, id="@"),
        )  # fmt: skip
        body = encode_event(moved).decode().split('"id":"@"')
        assert len(body) == 3
        parts.append((body, moved, verdict, account.id))
    for one in range(number):
        (head, middle, tail), event, verdict, account = parts[one % len(parts)]
        id_, who = f"{day}-{one}", f"{account}-{one // len(parts) % 10}"
        yield PastEvent(
            network="bench", id=id_, type=event.__struct_config__.tag, at=event.at, received_at=event.at, account=who,
            body=f'{head}"id":"{id_}"{middle}"id":"{who}"{tail}', verdict=verdict,
        )  # fmt: skip


def _workload(folder: Path, seed: int) -> dict[str, object]:
    made = _make(_load(MAKER), folder, seed)
    return {
        "events": (made / "events.jsonl").read_bytes().splitlines(),
        "lists": msgspec.json.decode((made / "lists.json").read_bytes()),
        "labels": msgspec.json.decode((made / "labels.json").read_bytes()),
    }


if __name__ == "__main__":
    main()
