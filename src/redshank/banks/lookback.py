"""Keeps the hashes of media that were walked for a set time, so that what becomes known later is found in the past.

The idea: the walk writes a row in its own transaction, so that nothing is lost and writers need not know of each other. A worker
turns each hour that is over, and then each day, into files that are mapped and searched by distance (`segment`); what
has no file yet is read from the rows. The files can be deleted at any time: they are made again. Parts are sought in the
points that are kept, some of these at a time, from the newest back; how far that is stands beside each entry.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Min, QuerySet

from redshank.banks import segment
from redshank.banks.detect import media_of
from redshank.banks.frames import unpack_frames
from redshank.banks.models import Bank, Entry, EntryPoints, Seen, SeenPoints
from redshank.banks.parted import shown_by
from redshank.banks.parts import PartIndex
from redshank.banks.values import weakness
from redshank.core import Event, Problem
from redshank.matching import FILES
from redshank.media import ImageHashes, MediaHashes, VideoHashes
from redshank.media.hashes import Still
from redshank.rows import Among, add, batched

log = structlog.get_logger(__name__)

KINDS = ("pdq", "video", *FILES)
"""Kinds of banks whose entries are sought in the past."""
OVER = timedelta(minutes=10)
"""An hour is turned into files so long after its end: no walk that began in it is still going on."""
SETTLED = timedelta(seconds=15)
"""An entry is sought so long after it was added: by then whoever walks knows it, or has left a row."""
ENTRIES, VIDEOS = 5000, 200
"""Entries that are sought together; of videos fewer, as each has hundreds of hashes."""
POINTS_BYTES = 64 * 1024 * 1024
"""Points of entries that are sought together, packed, at most, or few more; looked up they take four times as much."""
POINTS, READ = 1000, 50
"""Things seen in whose points parts are sought in one step, and that are read together: a video's points may take 600 kB."""
NEWEST = 2**63 - 1
"""Above every row: nothing of the past was looked at yet."""
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a row holds: our hashes, if there are any, and the platform's own."""

    hashes: MediaHashes | None = None
    pdq: str = ""
    digests: tuple[str, ...] = ()


class Sought(msgspec.Struct, frozen=True, gc=False):
    """What of an entry is sought: `value` is canonical for a bank of `kind`, `frames` a video's, packed; hashes within `limit` bits."""

    id: int
    kind: str
    value: str
    weak: bool
    limit: int
    frames: bytes = b""


class Parts(msgspec.Struct, frozen=True):
    """Entries, by id, of which parts are sought together in what was seen below the row `below`; `index` holds their points."""

    entries: tuple[int, ...]
    below: int
    index: PartIndex


_NOTHING = _Kept()
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Kept)
_stills = msgspec.msgpack.Decoder(list[tuple[float | None, bytes, bytes]])


def keep(walked: Iterable[tuple[Event, Mapping[str, MediaHashes]]], *, now: datetime) -> None:
    """Keep the hashes of each event's media, ours by media id and the platform's. In the caller's transaction."""
    rows: list[tuple[Any, ...]] = []
    for event, hashes in walked:
        for item in media_of(event):
            plain, points = _without_points(hashes.get(item.id))
            digests = tuple(digest.lower() for name in FILES if (digest := getattr(item, name)))
            kept = _Kept(plain, (item.pdq or "").lower(), digests)
            if kept == _NOTHING:
                continue
            packed = _encoder.encode(kept)
            if points and settings.REDSHANK.banks.keep_points_days:
                seen = Seen.objects.create(
                    network=event.network, event_id=event.id, media_id=item.id, at=now, hashes=packed
                )
                SeenPoints.objects.create(seen=seen, at=now, packed=_encoder.encode(points))
            else:
                rows.append((event.network, event.id, item.id, packed))
    add(Seen, rows, ("network", "event_id", "media_id", "hashes"), same={"at": now})


def _without_points(hashes: MediaHashes | None) -> tuple[MediaHashes | None, list[tuple[float | None, bytes, bytes]]]:
    """Hashes, and what they hold of points: these take a hundred times the rest, so they are kept apart, and not as long."""
    replace = msgspec.structs.replace
    some: list[tuple[float | None, bytes, bytes]]
    if isinstance(hashes, ImageHashes):
        some = [(None, hashes.points, hashes.mirrored_points)] if hashes.points else []
        plain: MediaHashes | None = replace(hashes, points=b"", mirrored_points=b"")
    elif isinstance(hashes, VideoHashes):
        some = [(still.second, still.points, still.mirrored_points) for still in hashes.stills]
        plain = replace(hashes, stills=())
    else:
        return None, []
    return plain, some


def _with_points(hashes: MediaHashes, packed: bytes) -> MediaHashes:
    stills = _stills.decode(packed)
    if isinstance(hashes, ImageHashes):
        _, points, mirrored = stills[0]
        return msgspec.structs.replace(hashes, points=points, mirrored_points=mirrored)
    return msgspec.structs.replace(hashes, stills=tuple(Still(at or 0.0, *points) for at, *points in stills))


def hashes_of(network: str, event_id: str) -> dict[str, MediaHashes]:
    """Our hashes of an event's media, by media id, as far as they are kept, and points where they are."""
    rows = Seen.objects.filter(network=network, event_id=event_id).values_list("media_id", "hashes", "points__packed")
    out: dict[str, MediaHashes] = {}
    for media_id, packed, points in rows:
        hashes = _decoder.decode(bytes(packed)).hashes
        if hashes is not None:
            out[media_id] = _with_points(hashes, bytes(points)) if points else hashes
    return out


def due(*, now: datetime, limit: int = ENTRIES, settled: timedelta = SETTLED) -> list[Sought]:
    """Entries that have not been sought in the past, bank by bank, the oldest first. Those of harmless or switched-off banks wait."""
    usual = settings.REDSHANK.media.pdq_limit
    out: list[Sought] = []
    for bank in _banks().filter(kind__in=KINDS).order_by("pk"):
        waiting = Entry.objects.filter(
            bank=bank, looked_back_at=None, withdrawn_at=None, quarantined_at=None, added_at__lte=now - settled
        )
        video = bank.kind == "video"
        most = min(limit, VIDEOS) if video else limit
        rows = waiting.order_by("pk").values_list("pk", "value", "weak", *(("frames",) if video else ()))
        for pk, value, weak, *frames in rows[: max(0, most - len(out))]:
            packed = bytes(frames[0] or b"") if frames else b""
            out.append(Sought(pk, bank.kind, value, bool(weak), usual if bank.limit is None else bank.limit, packed))
    return out


def _banks() -> QuerySet[Bank]:
    """Those whose entries are sought in the past."""
    return Bank.objects.filter(active=True, negative=False)


def done(entries: Sequence[Sought], *, now: datetime) -> None:
    """These were sought as a whole; those of banks that ask for parts are now sought in part, by `parts_due`."""
    pks = [entry.id for entry in entries]
    with transaction.atomic():
        Entry.objects.filter(Among(F("pk"), pks)).update(looked_back_at=now)
        points = EntryPoints.objects.filter(Among(F("pk"), pks), poor="", entry__bank__partial=True)
        points.update(sought=NEWEST)


def ask_again(bank: Bank) -> int:
    """Let all entries of a bank be sought in the past (again); give how many. Raises `Problem` for banks whose are not."""
    if bank.kind not in KINDS:
        raise Problem("not a bank whose entries are sought in the past", where=bank.name, hint="Those of files are.")
    if bank.negative or not bank.active:
        raise Problem("what is harmless or switched off matches nothing, in the past as well", where=bank.name)
    return Entry.objects.filter(bank=bank, withdrawn_at=None, quarantined_at=None).update(looked_back_at=None)


def find(entries: Sequence[Sought], *, now: datetime) -> list[tuple[str, str]]:
    """(network, event id) of what the past may hold of `entries`, the oldest first. The walk says whether it does."""
    wanted = _wanted(entries)
    rows: set[int] = set()
    for place, start, end in _stretches(now):
        if place is not None and place.exists():
            try:
                rows |= segment.find(place, wanted)
                continue
            except (Problem, OSError, ValueError) as problem:
                log.warning("lookback.files_damaged", place=str(place), problem=str(problem))
                shutil.rmtree(place, ignore_errors=True)  # They are made again.
        rows |= segment.find_in(*_arrays(start, end), wanted)
    return _events(rows)


def parts_due() -> Parts | None:
    """The entries whose parts were sought furthest, if any are to be sought; what comes meanwhile waits until these are done."""
    rich = EntryPoints.objects.filter(
        sought__isnull=False, poor="", entry__bank__in=_banks().filter(partial=True),
        entry__withdrawn_at=None, entry__quarantined_at=None,
    )  # fmt: skip
    below = rich.aggregate(below=Min("sought"))["below"]
    if below is None:
        return None
    index, entries, size = PartIndex(), [], 0
    rows = rich.filter(sought=below).order_by("pk").values_list("pk", "packed")
    for part in batched(rows.iterator(chunk_size=READ), READ):
        index.add({pk: shown_by(bytes(packed)) for pk, packed in part})
        entries += [pk for pk, _ in part]
        size += sum(len(packed) for _, packed in part)
        if size > POINTS_BYTES:
            break
    return Parts(tuple(entries), below, index)


def find_parts(parts: Parts) -> tuple[list[tuple[str, str]], int | None]:
    """(network, event id) of what may show a part, out of the next `POINTS` things seen, and below which row to go on; None: at the end."""
    found: set[int] = set()
    rows = SeenPoints.objects.filter(pk__lt=parts.below).order_by("-pk").values_list("pk", "packed")[:POINTS]
    last = None
    for number, (pk, packed) in enumerate(rows.iterator(chunk_size=READ), 1):
        shown = (points for _, *both in _stills.decode(bytes(packed)) for points in both)
        if any(True for points in shown for _ in parts.index.find(points)):
            found.add(pk)
        last = pk if number == POINTS else None
    return _events(found), last


def parts_done(parts: Parts, below: int | None) -> None:
    """These were sought down to the row `below`, or everywhere. Nothing changes for those that are to be sought anew meanwhile."""
    EntryPoints.objects.filter(Among(F("pk"), parts.entries), sought=parts.below).update(sought=below)


def _events(rows: set[int]) -> list[tuple[str, str]]:
    """(network, event id) of rows, once each, the oldest first."""
    found: dict[tuple[str, str], None] = {}
    ordered = sorted(rows)
    for first in range(0, len(ordered), 800):
        part = Seen.objects.filter(pk__in=ordered[first : first + 800]).order_by("pk")
        found |= dict.fromkeys(part.values_list("network", "event_id"))
    return list(found)


def _wanted(entries: Sequence[Sought]) -> segment.Wanted:
    enough = settings.REDSHANK.media.pdq_quality
    hashes: list[tuple[str, int]] = []
    digests = [entry.value for entry in entries if entry.kind != "pdq"]
    for entry in entries:
        if entry.kind == "pdq" and not entry.weak:
            hashes.append((entry.value, entry.limit))
        elif entry.kind == "video":
            frames = unpack_frames(entry.frames)
            good = {one.pdq for one in frames if not weakness("pdq", one.pdq, quality=one.quality, enough=enough)}
            hashes += [(pdq, entry.limit) for pdq in sorted(good)]
    return segment.Wanted(hashes, digests)


def seal(*, now: datetime) -> int:
    """Write files for what is over and has none; give how many. Another worker may do the same meanwhile."""
    written = 0
    for place, start, end in _stretches(now):
        if place is not None and not place.exists():
            segment.write(place, *_arrays(start, end))
            written += 1
            if end - start == DAY:
                for hour in place.parent.glob(f"{place.name}T*"):
                    shutil.rmtree(hour, ignore_errors=True)
    return written


def forget(*, now: datetime, limit: int = 10_000) -> int:
    """Delete rows that are older than the setting says, and the files of days that are; give how many rows."""
    keep = settings.REDSHANK.banks
    oldest = now - timedelta(days=keep.keep_hashes_days)
    first = oldest.astimezone(UTC).date().isoformat()
    for place in _root().iterdir() if _root().exists() else ():
        if place.name[:1].isdigit() and place.name[:10] < first:
            shutil.rmtree(place, ignore_errors=True)
    gone = 0
    for model, before in ((SeenPoints, now - timedelta(days=keep.keep_points_days)), (Seen, oldest)):
        pks = list(model.objects.filter(at__lt=before).order_by("at").values_list("pk", flat=True)[:limit])
        for start in range(0, len(pks), 800):
            model.objects.filter(pk__in=pks[start : start + 800]).delete()
        gone += len(pks)
    return gone


def _root() -> Path:
    return Path(settings.DATA_DIR) / "seen"


def _stretches(now: datetime) -> Iterator[tuple[Path | None, datetime, datetime]]:
    """The kept past, cut into days that are over, then hours, then the rest; where the files of each lie, if it may have any."""
    oldest = Seen.objects.aggregate(at=Min("at"))["at"]
    if oldest is None:
        return
    over = now.astimezone(UTC) - OVER
    start = oldest.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while start + DAY <= over:
        yield _root() / start.date().isoformat(), start, start + DAY
        start += DAY
    while start + HOUR <= over:
        yield _root() / start.strftime("%Y-%m-%dT%H"), start, start + HOUR
        start += HOUR
    yield None, start, datetime.max.replace(tzinfo=UTC) - DAY


def _arrays(
    start: datetime, end: datetime
) -> tuple[segment.Hashes, segment.Rows, np.ndarray[tuple[int], np.dtype[np.uint64]], segment.Rows]:
    """The hashes that a stretch holds, and the rows they are of; then the digests' keys, and theirs."""
    enough = settings.REDSHANK.media.pdq_quality
    hashes, hash_rows = bytearray(), []
    digests: list[int] = []
    digest_rows: list[int] = []
    rows = Seen.objects.filter(at__gte=start, at__lt=end).values_list("pk", "hashes")
    for pk, packed in rows.iterator(chunk_size=10_000):
        kept = _decoder.decode(bytes(packed))
        pdqs = _pdqs(kept, enough)
        hashes += bytes.fromhex("".join(pdqs))
        hash_rows += [pk] * len(pdqs)
        own = {getattr(kept.hashes, name) for name in FILES} if kept.hashes else set()
        keys = {segment.digest_key(digest) for digest in own | set(kept.digests) if digest}
        digests += keys
        digest_rows += [pk] * len(keys)
    return (
        np.frombuffer(bytes(hashes), np.uint8).reshape(-1, 32), np.array(hash_rows, np.int64),
        np.array(digests, np.uint64), np.array(digest_rows, np.int64),
    )  # fmt: skip


def _pdqs(kept: _Kept, enough: int) -> set[str]:
    """The hashes by which a row may be found: of enough quality, once each."""
    seen: list[tuple[str, int | None]] = [(kept.pdq, None)] if kept.pdq else []
    if isinstance(kept.hashes, ImageHashes):
        seen.append((kept.hashes.pdq, kept.hashes.quality))
        seen += [(one.pdq, one.quality) for one in kept.hashes.variants]
    elif isinstance(kept.hashes, VideoHashes):
        seen += [(frame.pdq, frame.quality) for frame in kept.hashes.frames]
    return {pdq for pdq, quality in seen if not weakness("pdq", pdq, quality=quality, enough=enough)}
