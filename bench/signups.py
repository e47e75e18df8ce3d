"""Sign-ups a minute: how many new accounts one worker gathers and asks about, beside suspended ones, on one core.

    python -m bench.signups [--quick] [--seed N]

Suspended accounts stand in the store; sign-ups come in batches through `pipeline.accept`, each with a profile and the
handle of somebody, about one in a hundred close to a suspended one. Then the worker's lane runs until nothing waits.
Processor time of this process, SQLite included.
"""

from __future__ import annotations

from bench._common import bar, machine, parser, processor_seconds  # isort: skip  # sets the threads before numpy

import cProfile
import json
import os
import pstats
import random
import tempfile
from datetime import UTC, datetime, timedelta

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
SYLLABLES = ["ba", "be", "do", "fa", "gu", "hi", "ka", "lo", "mi", "nu", "pa", "re", "so", "ta", "vu", "wi"]


def _name(r: random.Random) -> str:
    return "".join(r.choices(SYLLABLES, k=r.randint(3, 5)))


def _profile(r: random.Random, account_id: str, at: datetime) -> dict[str, object]:
    words = [_name(r) for _ in range(6)]
    return {
        "id": account_id, "handle": f"{_name(r)}{r.randrange(99)}", "display_name": f"{_name(r)} {_name(r)}".title(),
        "bio": " ".join(words), "created_at": at.isoformat(), "avatar": {"id": f"m{account_id}", "pdq": f"{r.getrandbits(256):064x}"},
        "links": [f"https://site{r.randrange(3000)}.example/{words[0]}"], "tokens": [f"device:q3:{r.getrandbits(120):030x}"],
    }  # fmt: skip


def main() -> None:
    """Run the bench and print its BAR lines."""
    args = parser(__doc__).parse_args()
    suspended, count = (5_000, 4_000) if args.quick else (20_000, 20_000)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for name in [name for name in os.environ if name.startswith("REDSHANK_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="redshank-bench-") as folder:
        os.environ |= {
            "REDSHANK_DATA_DIR": folder,
            "REDSHANK_LOG_LEVEL": "error",
            "DJANGO_SETTINGS_MODULE": "redshank.web.settings",
        }
        run(suspended, count, args.seed)


def run(suspended: int, count: int, seed: int) -> None:
    """Put `suspended` accounts into a store, take `count` sign-ups, say what gathering and asking took."""
    import django

    django.setup()
    from django.core.management import call_command

    from redshank.core import decode_event
    from redshank.evasion import services as evasion
    from redshank.evasion.gathering import gather, pack
    from redshank.evasion.models import News, ProfileRecord
    from redshank.evasion.targets import targets
    from redshank.pipeline import accept, ask_due

    call_command("migrate", verbosity=0)
    r = random.Random(seed)
    then = NOW - timedelta(days=20)
    known = [_profile(r, f"s{number}", then) for number in range(suspended)]

    def sign_up(account: dict[str, object], at: datetime) -> bytes:
        body = {"id": f"e-{account['id']}", "type": "account.created", "network": "marsh", "at": at.isoformat()}
        return json.dumps({**body, "account": account}).encode()

    rows = []
    for account in known:
        heap = evasion.Evidence()
        gather(heap, decode_event(sign_up(account, then), now=NOW), str(account["id"]))
        rows.append(
            ProfileRecord(
                network="marsh",
                account_id=str(account["id"]),
                evidence=pack(heap),
                target=True,
                target_changed_at=then,
                ended_at=then,
                seen_at=then,
            )
        )
    ProfileRecord.objects.bulk_create(rows, batch_size=500)
    targets().keep(now=NOW, always=True)

    def work() -> None:
        while evasion.gather_news(now=NOW) + ask_due(now=NOW, limit=50):
            pass

    def come(first: int, many: int) -> list[bytes]:
        out = []
        for number in range(first, first + many):
            account = _profile(r, f"n{number}", NOW)
            if r.random() < 0.01:
                old = r.choice(known)
                account |= {name: old[name] for name in ("display_name", "bio", "links", "tokens")}
            out.append(sign_up(account, NOW - timedelta(minutes=1)))
        return out

    def take(lines: list[bytes]) -> None:
        for start in range(0, len(lines), 1000):
            accept(lines[start : start + 1000], now=NOW, actor="system")

    take(come(0, 200))
    work()  # compiles the kernels, opens the index
    first = come(200, count)
    taking = processor_seconds(lambda: take(first))
    working = processor_seconds(work)
    assert not News.objects.exists()
    assert not ProfileRecord.objects.filter(due_at__lte=NOW).exists()
    assert ProfileRecord.objects.filter(target=False).count() == count + 200
    take(come(200 + count, count // 4))
    profile = cProfile.Profile()
    profile.runcall(work)
    print(f"machine: {machine()}")
    print(f"{suspended:,} suspended accounts, {count:,} sign-ups")
    print(f"accepted: {1e3 * taking / count:.2f} ms each, {60 * count / taking:,.0f} a minute")
    print(
        f"worker:   {1e3 * working / count:.2f} ms each, {60 * count / working:,.0f} a minute gathered and asked about"
    )
    print("\nThe profile's top ten (of a quarter as many more, own time):")
    pstats.Stats(profile).sort_stats("tottime").print_stats(10)
    bar("signups_per_minute", 60 * count / working)
    bar("signups_accepted_per_minute", 60 * count / taking)


if __name__ == "__main__":
    main()
