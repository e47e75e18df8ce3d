"""Counters through the store: increments and reads a second, exact within sliding windows, committed.

    .venv/bin/python -m bench.counters [--quick] [--seed N]

Posts of many accounts, a few of them busy, with links, tokens and media, pass through ten counters over hour, day and week in
batches of a thousand. Each batch is one transaction on SQLite: what its rules ask is told from the events, the rows are read,
every event is counted and told its counts, and the rows are written and committed. For each key of each counter on each event there
is one increment, and then one read, which are counted as two. Processor time of one core, with all of that; the store begins full, with a week of other
keys. Peers have no counters in the store to compare with. What is told is held against going through all events.
"""

from __future__ import annotations

from bench._common import bar, machine, parser  # isort: skip  (sets one core first)

import gc
import os
import random
import sys
import tempfile
import time
from bisect import bisect_right, insort
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
BATCH = 1_000
COUNTERS = (
    'count(per=account.id, over="hour")',
    'count(per=account.id, over="day")',
    'count(per=account.id, over="week")',
    'distinct(post.links, per=account.id, over="day")',
    'count(per=post.links, over="hour")',
    'distinct(account.id, per=post.links, over="day")',
    'distinct(account.id, per=tokens("address"), over="week")',
    'count(per=tokens("address"), over="day")',
    'distinct(account.id, per=hashes("sha256"), over="day")',
    'count(per=domains(post.links), over="hour")',
)


def main() -> None:
    """Run the bench and print its BAR lines."""
    args = parser(__doc__).parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    batches = 30 if args.quick else 150
    with tempfile.TemporaryDirectory(prefix="redshank-bench-") as folder:
        os.environ.update(
            REDSHANK_DATA_DIR=folder,
            REDSHANK_LOG_LEVEL="error",
            REDSHANK_SECRET_KEY="x" * 40,
            DJANGO_SETTINGS_MODULE="redshank.web.settings",
        )
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        print(machine())
        _run(Path(folder), batches, args.seed)


def _run(folder: Path, batches: int, seed: int) -> None:
    from django.db import connections, transaction

    from redshank.rules import Facts, load_rules
    from redshank.rules.counter_store import Book
    from redshank.rules.counting import MOST, moment
    from redshank.rules.models import CounterSeries

    lines = ["rules:"]
    for number, counter in enumerate(COUNTERS):
        lines += [f"  - id: r{number}", f"    when: {counter} > 900", "    effects: [preserve]"]
    (folder / "rules.yaml").write_text("\n".join(lines) + "\n")
    rules = load_rules(folder / "rules.yaml")
    stream = _Stream(seed)
    warm = [stream.batch(BATCH) for _ in range(max(10, batches // 2))]
    timed = [stream.batch(BATCH) for _ in range(batches)]
    pairs, processor, wall = 0, 0.0, 0.0
    for number, batch in enumerate([*warm, *timed]):
        if number == len(warm):
            connections.close_all()  # As after a restart: nothing is kept in memory.
            gc.collect()
            gc.freeze()  # The bench's own events are no burden of a server's.
        began = time.process_time(), time.perf_counter()
        facts = [Facts(event, (), NOW) for event in batch]
        with transaction.atomic():
            asks = [rules.asks(each) for each in facts]
            book = Book(asks)
            for each, asked in zip(facts, asks, strict=True):
                each.counts = book.count(asked, each.event.at)
            book.save()
        if number < len(warm):
            continue
        processor += time.process_time() - began[0]
        wall += time.perf_counter() - began[1]
        pairs += sum(len(series) for asked in asks for _, series, _, _ in asked)
    # Whether it is exact: the last batch's first counter, against all that ever came.
    every = [event for batch in [*warm, *timed] for event in batch]
    hour = next(node.counter for key, node in rules.counters.items() if key == COUNTERS[0])
    at_of: dict[str, list[int]] = defaultdict(list)
    exact = True
    for place, event in enumerate(every):
        past, at = at_of[event.account.id], moment(event.at)
        insort(past, at)
        if place >= len(every) - BATCH and (len(past) <= MOST or at == past[-1]):  # Of a hot key, the newest is exact.
            within = bisect_right(past, at) - bisect_right(past, at - hour.window)
            exact &= facts[place - len(every) + BATCH].counts[hour.id] == min(within, MOST)
    rows = CounterSeries.objects.count()
    size = sum(path.stat().st_size for path in folder.glob("redshank.sqlite3*"))
    print(
        f"{len(COUNTERS)} counters, {len(timed) * BATCH:,} events in batches of {BATCH:,}, {pairs:,} increments and as many reads"
    )
    print(
        f"{processor:.1f} s of processor time, {wall:.1f} s by the clock; {rows:,} rows, {size / 2**20:.0f} MiB of store"
    )
    print(f"{len(timed) * BATCH / processor:,.0f} events/s; told counts are {'exact' if exact else 'NOT exact'}")
    bar("counters_per_s", 2 * pairs / processor)
    bar("counters_exact", int(exact))
    if not exact:
        sys.exit(1)


class _Stream:
    """Posts of 20,000 accounts, of which a few write much; half of them with a link, one in five with a picture."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.number = 0

    def batch(self, size: int) -> list[object]:
        from redshank.core import Account, Media, Post, PostCreated

        r = self.random
        out: list[object] = []
        for _ in range(size):
            self.number += 1
            account = int(r.paretovariate(0.7)) % 20_000 if r.random() < 0.3 else r.randrange(20_000)
            link = f"https://site{int(r.paretovariate(0.6)) % 5_000}.example/{r.randrange(4)}"
            out.append(
                PostCreated(
                    id=f"e{self.number}",
                    network="marsh",
                    at=NOW + timedelta(seconds=self.number * 0.2 - (r.random() < 0.02) * r.randrange(7200)),
                    account=Account(id=f"a{account}", tokens=(f"address:{account % 3000:032d}",)),
                    post=Post(
                        id=f"p{self.number}",
                        text="good morning",
                        links=(link,) if r.random() < 0.5 else (),
                        media=(Media(id="m", sha256=f"{r.randrange(2000):064x}"),) if r.random() < 0.2 else (),
                    ),
                )
            )
        return out


if __name__ == "__main__":
    main()
