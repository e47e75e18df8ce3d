"""Twenty rules over ten million archived events, and a search that counts them, in Parquet files as a platform has them.

    .venv/bin/python -m bench.backtest [--quick] [--seed N]

The events are those of the shared workload, each many times over with ids, accounts and days of its own, a hundred days
in files of 20,000; what fired stands in their verdicts. Wall time, all processors; beside it the processor time of all
processes, which other work on the machine does not lengthen. With --quick the past is
smaller, and times are multiplied to ten million, which is to the search's disadvantage. A second backtest adds five rules
that count, so that all events are counted anew before they are judged. Peers have no backtest; what
there is to compare with is one processor evaluating events that are in memory, decoded (bench.rules).
"""

from __future__ import annotations

from bench._common import bar, machine, parser  # isort: skip  (sets one core first)

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bench.rules import MAKER, RULES, _load, _make
from redshank.archive.past import Past, PastEvent
from redshank.core import BankTexts, Event, PostCreated, Verdict, encode_event
from redshank.rules import Facts, Trial, load_rules
from redshank.rules.backtest import Ruled, backtest
from redshank.rules.checker import Scope
from redshank.rules.search import Limits, check, search

WHOLE = 10_000_000
QUICK = 400_000
DAYS = 100
FILE = 20_000
START = datetime(2026, 3, 1, tzinfo=UTC)
LIMITS = Limits(seconds=600)
DOMAINS = '["site5.example", "site77.example"]'
ONE = "@one@"
BANK = {"known": BankTexts("domain", frozenset(f"site{number}.example" for number in range(0, 100_000, 3)))}
RULE = "DomainListed"
COUNTING = (
    'count(per=account.id, over="day") > 900',
    'count(per=account.id, over="hour", where=event.type == "post.created") > 900',
    'distinct(account.id, per=domains(post.links), over="day") > 900',
    'count(per=tokens("ip"), over="week", where=event.type == "account.created") > 900',
    'distinct(post.links, per=account.id, over="week") > 900',
)
Lists = Mapping[str, frozenset[str]]
T = TypeVar("T")


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--searches", action="store_true", help="leave the backtest out")
    arguments.add_argument("--events", type=int, help="how many events, in place of all")
    args = arguments.parse_args()
    if not MAKER.exists():
        print(f"The workload's maker is not at {MAKER}; nothing to time.")
        return
    number = args.events or (QUICK if args.quick else WHOLE)
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
        tried = None if args.searches else _backtest(past, RULES, lists, number, cores)
        counted = None if args.searches else _backtest(past, _counting(Path(folder)), lists, number, cores)
        slowest = _search(files, lists)
    scale = WHOLE / number
    if scale != 1:
        print(f"times below are those above times {scale:g}")
    if tried:
        bar("backtest_10m_s", tried[0] * scale)
        bar("backtest_10m_processor_s", tried[1] * scale)
    if counted:
        bar("backtest_counting_10m_s", counted[0] * scale)
    for name, seconds in slowest.items():
        bar(name, seconds * scale)


def _counting(folder: Path) -> Path:
    """A folder of the rules, and others that count."""
    rules = folder / "counting"
    rules.mkdir()
    (rules / RULES.name).write_bytes(RULES.read_bytes())
    lines = [f"  - {{id: Counting{at}, when: '{when}', effects: [preserve]}}\n" for at, when in enumerate(COUNTING)]
    (rules / "counting.yaml").write_text("".join(["rules:\n", *lines]))
    return rules


def _backtest(past: Past, rules: Path, lists: Lists, number: int, cores: int) -> tuple[float, float]:
    """Wall time and processor time of one."""
    processor = _processor()
    seconds, tried = _timed(lambda: backtest(past, Ruled(path=rules, lists=lists)))
    processor = _processor() - processor
    assert tried.events == number
    fired = sum(rule.events for rule in tried.rules)
    print(
        f"backtest: {len(tried.rules)} rules, fired {fired:,} times, {seconds:.1f} s, {number / seconds:,.0f} events/s on {cores} cores; "
        f"{processor:.1f} s of processor time"
    )
    return seconds, processor


def _search(files: Sequence[Path], lists: Lists) -> dict[str, float]:
    """The longest time of a search with a count by something; of those that read all texts, or look up in a bank, apart."""
    week = {"since": START, "until": START + timedelta(days=7)}
    searches: list[tuple[str, str, dict[str, Any]]] = [
        ("events by day", "", {"times": True}),
        ("events by type", "", {"by": "type"}),
        ("what fired, by rule", "", {"by": "rule"}),
        ("where one rule fired, by day", "", {"times": True, "rule": RULE}),
        ("one week, by account", "", {"by": "account", **week}),
        ("words in the text, by day", 'contains(post.text, "invite", "join the march")', {"times": True}),
        (
            "domain of a link, by account",
            f"any(domain(link) in {DOMAINS} for link in post.links)",
            {"by": "account"},
        ),
        ("young accounts with links, by domain", "account.age < days(2) and len(post.links) > 0", {"by": "domain"}),
        (
            "young accounts with links of a bank, by domain",
            'account.age < days(2) and any(domain(link) in bank("known") for link in post.links)',
            {"by": "domain"},
        ),
    ]
    pages: list[tuple[str, str, dict[str, Any]]] = [
        ("a whole page: words in the text", searches[5][1], {"times": True, "by": "account", "rows": 50}),
        (
            "a whole page: a pattern, in Python a word",
            'matches(post.text, "dm.{0,9}invite") and word(post.text, "dm")',
            {"times": True, "by": "account", "rows": 50},
        ),
    ]
    slowest = dict.fromkeys(("search_10m_s", "search_words_10m_s", "search_bank_10m_s"), 0.0)
    for name, when, asked in (*searches, *pages):
        question = check(when, Scope(lambda _: None, {}, lists, {}), texts_of=lambda _: BANK).question
        assert question is not None
        question = msgspec.structs.replace(question, **asked)
        best, found = min(
            (_timed(lambda q=question: search(files, (), q, LIMITS)) for _ in range(3)), key=lambda run: run[0]
        )
        assert not found.stopped
        of = "words_" if "post.text" in when else "bank_" if "bank(" in when else ""
        if (name, when, asked) in searches:
            slowest[f"search_{of}10m_s"] = max(slowest[f"search_{of}10m_s"], best)
        seen = f"{found.events:,} events" if asked.get("times") else f"{found.values:,} values"
        print(f"search: {name:<42} {best:6.2f} s  {seen}")
    return slowest


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
        if isinstance(moved, PostCreated):  # No text is there twice; every fifth has a link.
            links = (f"https://www.site{len(parts) % 211}.example/{len(parts)}",) if len(parts) % 5 == 0 else ()
            post = msgspec.structs.replace(moved.post, text=f"{moved.post.text} {ONE}", links=links)
            moved = msgspec.structs.replace(moved, post=post)
        body = encode_event(moved).decode().split('"id":"@"')
        assert len(body) == 3
        parts.append((body, moved, verdict, account.id))
    for one in range(number):
        (head, middle, tail), event, verdict, account = parts[one % len(parts)]
        id_, who = f"{day}-{one}", f"{account}-{one // len(parts) % 10}"
        yield PastEvent(
            network="bench", id=id_, type=event.__struct_config__.tag, at=event.at, received_at=event.at, account=who,
            body=f'{head}"id":"{id_}"{middle}"id":"{who}"{tail.replace(ONE, id_)}', verdict=verdict,
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
