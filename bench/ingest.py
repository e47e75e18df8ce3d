"""Events a second, end to end: JSON lines in, verdicts, cases and audit entries committed to SQLite, on one core.

    python -m bench.ingest [--quick] [--events N] [--seed N]

A made-up stream of posts, profiles and follows passes through the first rules, with banks of 10,000 terms, 10,000
domains and 10,000 file hashes; about one event in a hundred meets one. The profile's top ten are printed as well.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import random
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

WORDS = [
    "today",
    "morning",
    "coffee",
    "garden",
    "picture",
    "train",
    "market",
    "music",
    "river",
    "light",
    "window",
    "street",
    "friend",
    "game",
    "score",
    "photo",
    "weekend",
    "dinner",
    "recipe",
    "travel",
    "news",
    "weather",
    "paper",
    "school",
    "work",
    "project",
    "code",
    "design",
    "color",
    "summer",
    "winter",
    "cloud",
    "bridge",
    "ticket",
]
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def lines(count: int, seed: int) -> list[bytes]:
    """`count` events as JSON lines; the same seed gives the same bytes."""
    r = random.Random(seed)
    out = []
    for i in range(count):
        user = r.randrange(max(count // 8, 1))
        at = (NOW - timedelta(seconds=count - i)).isoformat()
        account = {"id": f"u{user}", "handle": f"{WORDS[user % len(WORDS)]}{user}", "followers": r.randrange(2000)}
        event = {"id": f"e{i}", "network": "marsh", "at": at, "account": account}
        kind = r.random()
        if kind < 0.06:
            account |= {
                "display_name": " ".join(r.sample(WORDS, 2)).title(),
                "bio": " ".join(r.choices(WORDS, k=10)),
                "created_at": at,
            }
            event["type"] = "account.created"
        elif kind < 0.2:
            event |= {"type": "follow.created", "followed": {"id": f"u{r.randrange(count)}"}}
        else:
            text = " ".join(r.choices(WORDS, k=r.randint(8, 40)))
            if r.random() < 0.008:
                text += f" {term(r.randrange(10_000))} tonight"
            post = {"id": f"p{i}", "text": text, "language": "en"}
            if r.random() < 0.2:
                listed = r.random() < 0.02
                host = f"listed-{r.randrange(10_000)}.example" if listed else f"site{r.randrange(3000)}.example"
                post["links"] = [f"https://{host}/a/{r.randrange(10**6)}?utm_source=x"]
            if r.random() < 0.15:
                post["media"] = [{"id": f"m{i}", "kind": "image", "sha256": f"{r.getrandbits(256):064x}"}]
            event |= {"type": "post.created", "post": post}
        out.append(json.dumps(event).encode())
    return out


def term(number: int) -> str:
    """A made-up two-word term."""
    return f"{WORDS[number % 37 % len(WORDS)]}wolf {number:05d}brigade"


def main() -> None:
    """Run the bench and print its BAR line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--events", type=int)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    count = args.events or (40_000 if args.quick else 200_000)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    folder = tempfile.TemporaryDirectory(prefix="redshank-bench-")
    for name in [name for name in os.environ if name.startswith("REDSHANK_")]:
        del os.environ[name]
    os.environ |= {
        "REDSHANK_DATA_DIR": folder.name,
        "REDSHANK_LOG_LEVEL": "error",
        "DJANGO_SETTINGS_MODULE": "redshank.web.settings",
    }
    with folder:
        run(count, args.seed, Path(folder.name))


def run(count: int, seed: int, folder: Path) -> None:
    """Set up a store in `folder`, take `count` events, print what it took."""
    import django

    django.setup()
    from django.core.management import call_command

    from redshank.archive.models import EventRecord
    from redshank.audit.models import Entry
    from redshank.banks import services as banks
    from redshank.cases.models import Case
    from redshank.pipeline import accept

    call_command("migrate", verbosity=0)
    values = {
        "term": [term(i) for i in range(10_000)],
        "domain": [f"listed-{i}.example" for i in range(10_000)],
        "sha256": [f"{random.Random(i).getrandbits(256):064x}" for i in range(10_000)],
    }
    for kind, known in values.items():
        bank = banks.make_bank(
            f"bench-{kind}", kind=kind, policy="violent-extremism-support", severity=3, by="system", now=NOW
        )
        banks.add_entries(bank, [banks.NewEntry(value=value) for value in known], by="system", now=NOW)
    stream = lines(count, seed)
    accept(stream[:1000], now=NOW, actor="system")  # compiles the rules, loads the banks
    rest = stream[1000:]
    half = len(rest) // 2
    began = time.perf_counter()
    for start in range(0, half, 1000):
        accept(rest[start : min(start + 1000, half)], now=NOW, actor="system")
    seconds = time.perf_counter() - began
    rate = half / seconds
    profile = cProfile.Profile()
    profile.enable()
    for start in range(half, len(rest), 1000):
        accept(rest[start : start + 1000], now=NOW, actor="system")
    profile.disable()
    assert EventRecord.objects.count() == count
    size = sum(file.stat().st_size for file in folder.glob("*.sqlite3*"))
    print(f"machine: one of {os.cpu_count()} cores; {count:,} events, seed {seed}, batches of 1,000, SQLite (WAL)")
    print(f"banks:   {', '.join(f'{len(known):,} {kind}' for kind, known in values.items())}")
    print(
        f"result:  {half:,} events in {seconds:.2f} s: {rate:,.0f} a second; {size / count:,.0f} bytes an event on disk"
    )
    print(f"         {Case.objects.count():,} cases, {Entry.objects.count():,} audit entries")
    print("\nThe profile's top ten (the other half of the events, own time):")
    pstats.Stats(profile).sort_stats("tottime").print_stats(10)
    print(f"BAR ingest_events_per_s={rate:.0f}")


if __name__ == "__main__":
    main()
