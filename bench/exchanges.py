"""Taking over the list of a source that sends very many entries, on SQLite.

`exchange_rows_per_s`: rows a second of processor time, one process, of the first run of a new source: reading the list, keeping
it in pieces, weighing it, and taking it over into a bank with its claims and opinions. Beside it: the same list again, which
changes nothing; a list of which one row in a hundred is another; the memory that the process took at most; and how long after
it another process takes to open all that is known, twice. 1,000,000 rows; `--quick` has 50,000, `--rows` as many as it says.
No peer is beside it: HMA's fetcher keeps a bank's whole list in memory and in one row of its store.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench._common import bar, machine, parser
from bench.lookback import set_up

NAME = "exchanges-bench"
OPENS = """
import sys, time
from pathlib import Path
from bench.lookback import set_up
set_up(Path(sys.argv[1]))
from redshank.banks import services
began, used = time.perf_counter(), time.process_time()
known = services.known()
print(f"{time.perf_counter() - began:.2f} s ({time.process_time() - used:.2f} s of processor time), {known.catalog.size:,} things beside the files")
"""


def write(place: Path, rows: range, changed: int = 0) -> None:
    """A CSV list of made-up hashes; every `changed`-th row is another than in a list without."""
    with place.open("w") as out:
        out.write("md5,label\n")
        for number in rows:
            other = changed and number % changed == 0
            out.write(f"{(number * 0x9E3779B97F4A7C15F39CC0605CEDC835 + bool(other)) % 2**128:032x},made up\n")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=0)
    asked = options.parse_args()
    count = asked.rows or (50_000 if asked.quick else 1_000_000)
    print(machine())
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        set_up(folder)
        measure(folder, count)


def measure(folder: Path, count: int) -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)

    from redshank.banks import services as banks
    from redshank.banks.models import Entry
    from redshank.exchanges import running, services
    from redshank.exchanges.models import Claim, Run
    from redshank.policies.models import Policy

    now = datetime.now(UTC)
    policy = Policy.objects.values_list("pk", flat=True)[0]
    bank = banks.make_bank(NAME, kind="md5", policy=policy, severity=3, by="system", now=now)
    one = services.add_exchange(
        NAME, kind="csv", address="file:list.csv", banks=[bank.name], by="system", now=now
    )  # fmt: skip
    services.folder().mkdir(parents=True)
    place = services.folder() / "list.csv"
    size = 0
    for what, changed in (("the first time", 0), ("again, unchanged", 0), ("again, 1 % changed", 100)):
        write(place, range(1, count + 1), changed)
        began, used = time.perf_counter(), time.process_time()
        one.refresh_from_db()
        done = running.run(one)
        used, wall = time.process_time() - used, time.perf_counter() - began
        assert done is not None
        assert done.state == Run.State.DONE, done.reason
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"{count:,} rows {what}: {count / used:,.0f} rows/s of processor time ({used:.1f} s; {wall:.1f} s by the clock), {size:,} MB at most"
        )
        if what == "the first time":
            bar("exchange_rows_per_s", count / used)
            for time_ in ("a process opens", "the next opens"):
                said = subprocess.run(
                    [sys.executable, "-c", OPENS, str(folder)], check=True, capture_output=True, text=True, env=os.environ
                ).stdout  # fmt: skip
                print(f"{time_} all that is known in {said.strip()}", flush=True)
    there = Entry.objects.filter(withdrawn_at=None).count()
    assert there == count == Claim.objects.filter(gone_at=None).count(), there


if __name__ == "__main__":
    main()
