"""Looking back, the way of a new entry into every process, and a video against a thousand hours of known video.

`lookback_s`: processor time, one thread, to open the files of thirty days with 10 M hashes of the past and find what 1,000 new
entries have in them, within 31 bits; half of the entries are near something, and all of that must be found. How long
writing the files takes, which a worker does day by day, is printed beside. `fresh_entry_s`: wall time from the moment
before an entry is added to a bank of a million in one process until another, which looks all the time, matches it; the
worst of five. Beside it: how long the import took, how long until a withdrawn one is not matched any more, and what a
process takes to open all that is known, in seconds and in memory of its own. `video_query_ms`: processor time, median of 20, to find the known parts of a ten-minute video, one frame
a second, in a bank of 2,400 videos of 25 minutes (3.6 M frames); each query holds twelve seconds of one of them.
`--entries N`: the second alone, beside N entries. `--quick` has a tenth of each. No peer is beside these: threatexchange and HMA have no look-back.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench._common import bar, machine, parser, processor_seconds
from bench.matching import flip, random_hashes

RADIUS = 31
DAYS = 30
VIDEO_SECONDS = 1500
SEEN_SECONDS = 600
CLIP = 12
BANK = "lookback-bench"


def look_back(count: int, entries: int, rng: np.random.Generator, folder: Path) -> None:
    from redshank.banks import segment

    queries = random_hashes(entries, rng)
    expected: set[int] = set()
    writing = 0.0
    each = count // DAYS
    for day in range(DAYS):
        hashes = random_hashes(each, rng)
        rows = np.arange(each) + day * each
        known = np.arange(day, entries // 2, DAYS)  # The first half of the entries is near something, a few each day.
        places = rng.choice(each, len(known), replace=False)
        hashes[places] = flip(queries[known], rng.integers(0, RADIUS + 1, len(known)), rng)
        expected |= set((places + day * each).tolist())
        digests = rng.integers(0, 1 << 63, each).astype(np.uint64)
        began = time.process_time()
        segment.write(folder / f"day-{day:02}", hashes, rows, digests, rows)
        writing += time.process_time() - began
    wanted = segment.Wanted([(row.tobytes().hex(), RADIUS) for row in queries], [])
    found: set[int] = set()

    def search() -> None:
        for day in range(DAYS):
            found.update(segment.find(folder / f"day-{day:02}", wanted))

    segment.find(folder / "day-00", wanted)  # compiles the kernels
    seconds = processor_seconds(search)
    assert found == expected, f"{len(found & expected):,} of {len(expected):,} found, {len(found - expected):,} besides"
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**30
    print(
        f"{count:,} hashes of the past, {entries:,} new entries: {seconds:.2f} s, all {len(expected):,} found; writing the "
        f"files had taken {writing:.1f} s, {size:.2f} GiB"
    )
    bar("lookback_s", seconds)


def set_up(folder: Path) -> None:
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "redshank.web.settings", "REDSHANK_DATA_DIR": str(folder), "REDSHANK_LOG_LEVEL": "error",
    }  # fmt: skip
    import django

    django.setup()


def watch() -> None:
    """The other process: reads hashes, one a line, and says when each is matched."""
    set_up(Path(os.environ["REDSHANK_DATA_DIR"]))
    from redshank.banks import services
    from redshank.core import Account, Media, MediaUploaded

    before, began = own_memory(), time.perf_counter()
    services.known()
    print(f"{time.perf_counter() - began:.2f} s, {(own_memory() - before) / 2**20:.0f} MiB", flush=True)
    for line in sys.stdin:
        event = MediaUploaded(
            id="e", network="n", at=datetime.now(UTC), account=Account(id="a"), media=Media(id="m", pdq=line.strip())
        )
        for is_known in (True, False):
            while bool(services.known().find(event)) != is_known:
                time.sleep(0.001)
            print(time.time(), flush=True)


def own_memory() -> int:
    """Bytes of memory that this process shares with no other."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines["RssAnon"].split()[0])


def fresh_entry(count: int, rng: np.random.Generator, folder: Path) -> None:
    set_up(folder)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from redshank.banks import current, services
    from redshank.banks.models import Entry
    from redshank.policies import services as policies

    policy = policies.active()[0].slug
    now = datetime.now(UTC)
    bank = services.make_bank(BANK, kind="pdq", policy=policy, severity=3, by="system", now=now)
    feed = folder / "feed.csv"
    with feed.open("w") as out:
        out.write("value\n")
        for start in range(0, count, 100_000):
            rows = random_hashes(min(100_000, count - start), rng)
            out.writelines(row.tobytes().hex() + "\n" for row in rows)
    began, wall = time.process_time(), time.perf_counter()
    with feed.open() as lines:
        services.import_entries(bank, lines, by="system", now=now)
    used, wall = time.process_time() - began, time.perf_counter() - wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{count:,} entries imported: {count / used:,.0f} a second of processor time ({used:.0f} s; {wall:.0f} s by the "
        f"clock), {memory:,} MB at most",
        flush=True,
    )
    began = time.process_time()
    current.make_base(wait=True)
    size = sum(file.stat().st_size for file in (folder / "known").rglob("*") if file.is_file()) / 2**20
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"put into files: {time.process_time() - began:.1f} s of processor time, {size:.0f} MiB; {memory:,} MB at most"
    )
    waits, gone = [], []
    with subprocess.Popen(
        [sys.executable, "-m", "bench.lookback", "--watch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin
        assert other.stdout
        print(f"a process opens them: {other.stdout.readline().strip()} of its own")
        for row in random_hashes(5, rng):
            value = row.tobytes().hex()
            other.stdin.write(value + "\n")
            other.stdin.flush()
            time.sleep(1 + rng.random())
            began = time.time()
            added = services.add_entries(bank, [services.NewEntry(value=value)], by="system", now=datetime.now(UTC))
            waits.append(float(other.stdout.readline()) - began)
            began = time.time()
            services.withdraw_entries(bank, added.entries, by="system", now=datetime.now(UTC))
            gone.append(float(other.stdout.readline()) - began)
        other.stdin.close()
    print(
        f"a new entry beside {count:,}: matched in another process after {', '.join(f'{one:.2f}' for one in waits)} s"
    )
    print(f"a withdrawn one: no more after {', '.join(f'{one:.2f}' for one in gone)} s")
    some = rows[:500]
    near = flip(some, rng.integers(0, RADIUS + 1, len(some)), rng)
    pairs = services.known(fresh=True).catalog.pictures(np.concatenate([near, random_hashes(500, rng)]), RADIUS)
    values = dict(Entry.objects.filter(pk__in=pairs[:, 1].tolist()).values_list("pk", "value"))
    found = {(number, values[pk]) for number, pk in pairs.tolist()}
    assert found == {(number, row.tobytes().hex()) for number, row in enumerate(some)}, f"{len(found)} of {len(some)}"
    print(
        f"{len(some)} that are near one of them are found, each with just that, and {len(some)} random ones with none"
    )
    bar("fresh_entry_s", max(waits))


def video_query(videos: int, rng: np.random.Generator, folder: Path) -> None:
    from redshank.banks.base import Base, Row, forms, joined, write
    from redshank.banks.catalog import Catalog
    from redshank.banks.detect import Known, KnownBank, KnownEntry
    from redshank.core import Account, Media, MediaUploaded
    from redshank.core.settings import MediaSettings
    from redshank.media import Frame, VideoHashes

    bank = KnownBank("films", "video", "terrorist-content", 5, RADIUS, share=0.01)
    packed = np.zeros(VIDEO_SECONDS, np.dtype([("second", ">f4"), ("quality", "u1"), ("pdq", "u1", 32)]))
    packed["second"], packed["quality"] = np.arange(VIDEO_SECONDS), 100
    clips: list[np.ndarray] = []

    class Shelf:
        """Each video's frames in a file, as a store has them in a row."""

        def entries(self, ids: Sequence[int]) -> dict[int, KnownEntry]:
            return {pk: KnownEntry(pk, bank, f"{pk:064x}") for pk in ids}

        def frames(self, entry: int) -> bytes:
            return (folder / f"film-{entry}").read_bytes()

    def film(number: int) -> Row:
        packed["pdq"] = random_hashes(VIDEO_SECONDS, rng)
        clips.append(packed["pdq"][300 : 300 + CLIP].copy())
        (folder / f"film-{number}").write_bytes(packed.tobytes())
        return Row(number, "video", f"{number:064x}", packed.tobytes())

    began = time.process_time()
    place = write(folder, joined([forms([film(number)], 50) for number in range(videos)]), revision=1, quality=50)
    built = time.process_time() - began
    settings = MediaSettings()
    began = time.perf_counter()
    known = Known(Catalog(Base.open(place, quality=50), quality=50), Shelf(), [bank], settings)
    opened = time.perf_counter() - began
    event = MediaUploaded(id="e", network="n", at=datetime.now(UTC), account=Account(id="a"), media=Media(id="m"))
    times = []
    for number in rng.integers(0, videos, 21).tolist():
        frames = random_hashes(SEEN_SECONDS, rng)
        frames[100 : 100 + CLIP] = flip(clips[number], rng.integers(0, 21, CLIP), rng)
        seen = VideoHashes(
            sha256="f" * 64, md5="f" * 32, seconds=SEEN_SECONDS, width=9, height=9,
            frames=tuple(Frame(float(second), row.tobytes().hex(), 100) for second, row in enumerate(frames)),
        )  # fmt: skip
        start = time.process_time()
        (finding,) = known.find(event, {"m": seen})
        times.append(1000 * (time.process_time() - start))
        assert finding.match
        assert finding.match.entry == number
        (where,) = finding.where.ranges  # type: ignore[union-attr]
        assert (where.start, where.end, where.known_start) == (100.0, 100.0 + CLIP, 300.0)
    print(
        f"a video of {SEEN_SECONDS // 60} minutes against {videos * VIDEO_SECONDS:,} frames: {statistics.median(times[1:]):.1f} ms, "
        f"at most {max(times[1:]):.1f}; writing the files had taken {built:.0f} s, opening them {opened:.2f} s"
    )
    bar("video_query_ms", statistics.median(times[1:]))


def main() -> None:
    asked = parser(__doc__)
    asked.add_argument("--watch", action="store_true", help="be the other process (used by the bench itself)")
    asked.add_argument(
        "--entries", type=int, default=0, help="measure the import of so many entries, and a fresh one beside"
    )
    args = asked.parse_args()
    if args.watch:
        watch()
        return
    print(machine(), f"seed {args.seed}")
    share = 10 if args.quick else 1
    rng = np.random.default_rng(args.seed)
    if args.entries:
        with tempfile.TemporaryDirectory() as folder:
            fresh_entry(args.entries, rng, Path(folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        look_back(10_000_000 // share, 1000, rng, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        fresh_entry(1_000_000 // share, rng, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        video_query(2400 // share, rng, Path(folder))


if __name__ == "__main__":
    main()
