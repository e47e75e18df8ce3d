"""Taking over the list of a source that sends very many entries, on SQLite.

`exchange_rows_per_s`: rows a second of processor time, one process, of the first run of a new source: reading the list, keeping
it in pieces, weighing it, and taking it over into a bank with its claims and opinions. Beside it: the same list again, which
changes nothing; a list of which one row in a hundred is another; the memory that the process took at most; and how long after
it another process takes to open all that is known, twice. 1,000,000 rows; `--quick` has 50,000, `--rows` as many as it says.
No peer is beside it: HMA's fetcher keeps a bank's whole list in memory and in one row of its store.

`--feed N`: a source that speaks TCAP's protocol sends N entries by 1,000 to a real `redshank worker`, which is killed (kill -9)
half-way; the next one goes on. `feed_rows_per_s`: entries a second of the workers' processor time, all their threads;
`feed_worker_mb`: the most memory that a worker had for itself, printed beside how it grew; `feed_fresh_s`: the worst time until
an entry that somebody else adds meanwhile is matched in two other processes; `feed_open_s`: until a new process knows all.
The store is SQLite, or what REDSHANK_DATABASE names.
"""

from __future__ import annotations

import os
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench._common import bar, machine, parser
from bench.lookback import set_up

NAME = "exchanges-bench"
SLOW = 0.8
"""Seconds after which a fresh entry that is not matched is worth a look."""
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
    options.add_argument("--feed", type=int, default=0, help="a source that sends so many entries, over its protocol")
    options.add_argument("--kind", choices=("md5", "pdq"), default="md5", help="of the entries of --feed")
    asked = options.parse_args()
    count = asked.rows or (50_000 if asked.quick else 1_000_000)
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if asked.feed:
            feed(folder, asked.feed, asked.kind)
        else:
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


# A feed


def value_of(number: int, kind: str) -> str:
    """The made-up hash of entry `number`; those of kind pdq differ in about half of their bits."""
    low = number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128
    return f"{low:032x}" if kind == "md5" else f"{low * 0xD1342543DE82EF95F83AF9F2C34B1E55 % 2**256 ^ low << 128:064x}"


@contextmanager
def tcap(count: int, kind: str) -> Iterator[str]:
    """A source of `count` entries in TCAP's protocol; gives its host."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.answer(b'{"token": "t", "user": {}}')

        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            last = int(query.get("after", "").partition(",")[2] or 0)
            end = min(last + int(query["limit"]), count)
            row = '{"id":%d,"hash_digest":"%s","algorithm":"%s","ideology":"made-up","file_type":"png","deleted":false,"updated_on":%d}'
            rows = ",".join(
                row % (n, value_of(n, kind), kind.upper(), 1_700_000_000 + n) for n in range(last + 1, end + 1)
            )
            onward = '"limit=1000&offset=1000"' if end < count else "null"
            check = f'"{1_700_000_000 + end},{end}"' if end > last else "null"
            self.answer(f'{{"count":{count},"next":{onward},"checkpoint":{check},"results":[{rows}]}}'.encode())

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Worker:
    """A `redshank worker`, its processor time in seconds and its own memory in MB, as of the last look."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "redshank.cli", "worker"], stdout=subprocess.DEVNULL)
        self.seconds, self.memory, self.most = 0.0, 0, 0

    def look(self) -> None:
        place = Path(f"/proc/{self.process.pid}")
        fields = (place / "stat").read_text().rpartition(")")[2].split()
        self.seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        lines = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        self.memory = int(lines["RssAnon"].split()[0]) // 1024
        self.most = max(self.most, self.memory)

    def end(self, how: int) -> None:
        self.look()
        self.process.send_signal(how)
        self.process.wait()


class Watchers:
    """Two other processes, which look all the time for one entry after the other."""

    def __init__(self) -> None:
        words = [sys.executable, "-m", "bench.lookback", "--watch"]
        self.all = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in "ab"]
        for one in self.all:
            assert one.stdout
            one.stdout.readline()

    def measure(self, bank: Any) -> tuple[float, float]:
        """Add an entry, and take it away; the seconds until both matched it, and until neither did. One that took long is printed."""
        from redshank.banks import services

        value = secrets.token_hex(32)
        for one in self.all:
            assert one.stdin
            one.stdin.write(value + "\n")
            one.stdin.flush()
        time.sleep(0.5)
        began = time.time()
        added = services.add_entries(bank, [services.NewEntry(value=value)], by="system", now=datetime.now(UTC))
        written = time.time() - began
        each = [float(one.stdout.readline()) - began for one in self.all if one.stdout]
        known = max(each)
        if known > SLOW:
            shown = " and ".join(f"{one:.2f}" for one in each)
            print(f"a fresh entry was written after {written:.2f} s, matched after {shown} s", flush=True)
        began = time.time()
        services.withdraw_entries(bank, added.entries, by="system", now=datetime.now(UTC))
        return known, max(float(one.stdout.readline()) for one in self.all if one.stdout) - began

    def end(self) -> None:
        for one in self.all:
            assert one.stdin
            one.stdin.close()
            one.wait()


def feed(folder: Path, count: int, kind: str) -> None:
    with tcap(count, kind) as host:
        (folder / "redshank.toml").write_text(f'[exchanges]\nprivate = ["{host}"]\n')
        os.environ["REDSHANK_CONFIG"] = str(folder / "redshank.toml")
        set_up(folder)
        send(folder, host, count, kind)


def send(folder: Path, host: str, count: int, kind: str) -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)

    from redshank.banks import services as banks
    from redshank.banks.models import Entry
    from redshank.exchanges import services
    from redshank.exchanges.models import Claim, Exchange, Run
    from redshank.policies.models import Policy

    now = datetime.now(UTC)
    policy = Policy.objects.values_list("pk", flat=True)[0]
    theirs = banks.make_bank("theirs", kind=kind, policy=policy, severity=3, by="system", now=now)
    ours = banks.make_bank("ours", kind="pdq", policy=policy, severity=3, by="system", now=now)
    one = services.add_exchange(
        NAME, kind="tcap", address=f"http://{host}", secret="user:password", banks=["theirs"], by="system", now=now
    )  # fmt: skip
    watchers = Watchers()
    began, workers, fresh, gone, marks = time.perf_counter(), [Worker()], [], [], []
    said = last = 0.0
    phase = ""
    while True:
        time.sleep(0.3)
        workers[-1].look()
        run = Run.objects.filter(exchange=one).order_by("pk").first()
        if run is None:
            continue
        if run.state != phase:
            phase = run.state
            seconds = sum(worker.seconds for worker in workers)
            print(f"{phase} after {time.perf_counter() - began:.0f} s ({seconds:.0f} s of processor time)", flush=True)
        if run.state in (Run.State.DONE, Run.State.FAILED, Run.State.HELD):
            break
        share = (run.applied if run.state == Run.State.APPLYING else 0) / max(run.pieces, 1)
        if share >= 0.5 and len(workers) == 1:
            workers[0].end(signal.SIGKILL)
            Exchange.objects.filter(pk=one.pk).update(leased_until=datetime.now(UTC))  # Else it waits for five minutes.
            workers.append(Worker())
        if time.perf_counter() - last > 5:
            last = time.perf_counter()
            for times, seconds in zip((fresh, gone), watchers.measure(ours), strict=True):
                times.append(seconds)
        if time.perf_counter() - said > 60:
            said = time.perf_counter()
            marks.append(f"{share:.0%}: {workers[-1].memory} MB")
    wall = time.perf_counter() - began
    used = sum(worker.seconds for worker in workers)
    time.sleep(2)
    after = [watchers.measure(ours) for _ in range(5)]
    workers[-1].end(signal.SIGTERM)
    watchers.end()
    run = Run.objects.get(exchange=one)
    assert run.state == Run.State.DONE, run.reason
    theirs.refresh_from_db()
    living = Entry.objects.filter(bank=theirs, withdrawn_at=None).count()
    assert living == theirs.in_force == run.counts["added"] == count, (living, theirs.in_force, run.counts)
    assert Claim.objects.filter(exchange=one, gone_at=None).count() == count
    print(
        f"{count:,} entries of kind {kind}: {count / used:,.0f} a second of processor time, {count / wall:,.0f} by the clock "
        f"({wall:.0f} s); nothing lost, nothing twice{', though its worker was killed' if len(workers) > 1 else ''}"
    )
    print(f"memory of the worker: at most {max(worker.most for worker in workers)} MB; {', '.join(marks)}")
    print(
        f"a fresh entry was matched after {sorted(fresh)[len(fresh) // 2]:.2f} s mostly and {max(fresh):.2f} s at worst while it came "
        f"({sum(one > 1 for one in fresh)} of {len(fresh)} after more than one second), then after {max(one for one, _ in after):.2f} s at "
        f"worst; a withdrawn one was no more after {sorted(gone)[len(gone) // 2]:.2f} s mostly, {max(gone):.2f} s at worst"
    )
    bar("feed_rows_per_s", count / used)
    bar("feed_worker_mb", max(worker.most for worker in workers))
    bar("feed_fresh_s", max(*fresh, *(one for one, _ in after)))
    for what in ("a process opens", "the next opens"):
        said_ = subprocess.run(
            [sys.executable, "-c", OPENS, str(folder)], check=True, capture_output=True, text=True
        ).stdout
        print(f"{what} all that is known in {said_.strip()}", flush=True)
    bar("feed_open_s", float(said_.split()[0]))


if __name__ == "__main__":
    main()
