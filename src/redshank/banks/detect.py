"""Looks for known content in an event: its texts, its links, its files, its pictures and videos.

The one idea: indexes propose entries, the shelf says which of them are in force, and what they hold is compared again. So
any number of threads look things up without a lock while others change what is known.
"""

from __future__ import annotations

import math
import threading
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol, cast

import msgspec
import numpy as np

from redshank.banks.catalog import Catalog
from redshank.banks.frames import good_frames, unpack_frames
from redshank.banks.values import space, weakness
from redshank.core import (
    Account,
    Event,
    Finding,
    Frames,
    Match,
    Media,
    Part,
    Post,
    Region,
    Span,
    TimeRange,
    Whole,
    event_key,
)
from redshank.core.settings import MediaSettings
from redshank.matching import ASKED, FILES, TermIndex, forms_of, link_forms
from redshank.media import Frame, ImageHashes, MediaHashes, Variant, VideoHashes, VideoVariant
from redshank.media.hashes import stills_of
from redshank.media.plugins import PluginIndex
from redshank.text import Link, bare_name, find_links, fold, normalize_link

if TYPE_CHECKING:
    from redshank.banks.parts import PartIndex

PLACES = 10
"""Places at which one entry is named in one field: who repeats a term a thousand times is found as well by ten."""
NEAREST = 10
"""Entries of one bank that are named for one picture, the nearest: a bank may hold thousands of the same."""
_FILE_KINDS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
MAX_FINDINGS = 1000
"""Findings on one event; where there are more, the most severe are kept."""
MAX_TEXT_LINKS = 1000
"""Links in one text that are looked at, as many as an event may name beside it."""
VIDEOS = 200
"""Known videos, those with most frames in common, that one seen video is compared with in full."""


class KnownBank(msgspec.Struct, frozen=True, gc=False):
    """What detection needs of a bank. `limit` is the Hamming distance within which its PDQ hashes match, `share` the part of
    either video's seconds that must match.

    `harmless`: what it holds is no match, and keeps what is farther from it from being one. `sampled`: of a hundred
    events so many are held against it. `languages`: primary subtags of those in which its terms are sought; none: all.
    `surge`: events in an hour beyond which an entry of it is put in quarantine; 0: never. `partial`: its pictures are
    found by a part of them as well.
    """

    name: str
    kind: str
    policy: str
    severity: int
    limit: int
    source: str = ""
    harmless: bool = False
    sampled: int = 100
    languages: frozenset[str] = frozenset()
    surge: int = 0
    partial: bool = False
    share: float = 0.5


class KnownEntry(msgspec.Struct, frozen=True, gc=False):
    """What detection needs of an entry that is in force. `weak`: it matches nothing by itself.

    `quarantined`: no rule sees what it matches. `confirmed`: it is our own, or a person here agreed with it. `expires`:
    until when it is in force, in seconds since 1970.
    """

    id: int
    bank: KnownBank
    value: str
    label: str = ""
    source: str = ""
    weak: bool = False
    quarantined: bool = False
    confirmed: bool = True
    expires: float = math.inf


class Shelf(Protocol):
    """Where what an index proposed is looked up."""

    def entries(self, ids: Sequence[int], /) -> Mapping[int, KnownEntry]:
        """Those of `ids` that are in force."""

    def frames(self, entry: int, /) -> bytes:
        """A video's frames, packed; none where it has none."""


class Known:
    """All known content, as of one number of the banks or later."""

    def __init__(
        self,
        catalog: Catalog,
        shelf: Shelf,
        banks: Iterable[KnownBank],
        settings: MediaSettings,
        *,
        terms: TermIndex | None = None,
        met: Mapping[int, KnownEntry] | None = None,
        revision: int = 0,
        parts: PartIndex | None = None,
        plugged: Mapping[str, PluginIndex] = {},
    ) -> None:
        """`banks` are those that are switched on; `settings` say what quality and which share are enough; `terms` hold
        those of all banks of terms; `met` are entries that were looked up before; `parts` hold the points of
        known pictures, None where no bank asks for them; `plugged` what is known of plug-ins' kinds.
        """
        self.revision = revision
        self.catalog = catalog
        self._shelf = shelf
        self._parts = parts
        self._plugged = plugged
        self._plugged_texts = [one for one in plugged.values() if "text" in one.plugin.of]
        self._settings = settings
        self._terms = terms or TermIndex(())
        self._entries: dict[int, KnownEntry] = dict(met or {})
        self._out_of_force: set[int] = set()
        self._lock = threading.Lock()
        self.expires = min((entry.expires for entry in self._entries.values()), default=math.inf)
        """Until when all that was looked up is in force, in seconds since 1970."""
        banks = list(banks)
        self._kinds = {bank.kind for bank in banks}
        self._kind_of = {bank.name: bank.kind for bank in banks}
        self._sampled = {bank.name: bank.sampled for bank in banks if bank.sampled < 100}
        self._harmless = {bank.kind for bank in banks if bank.harmless}
        self._has_languages = any(bank.languages for bank in banks)
        self._media_kinds = frozenset(("pdq", "video", *FILES, *plugged))
        self._has_media = not self._kinds.isdisjoint(self._media_kinds)
        self._radius = {
            kind: max((bank.limit for bank in banks if bank.kind == kind), default=0) for kind in ("pdq", "video")
        }

    @property
    def wants_points(self) -> bool:
        """Whether seen pictures are looked at for parts of known ones: then their points are to be found as they are hashed."""
        return self._parts is not None and len(self._parts) > 0

    @property
    def met(self) -> Mapping[int, KnownEntry]:
        """The entries that were looked up until now."""
        return self._entries

    def entry(self, entry_id: int) -> KnownEntry | None:
        """The entry of that id, if it is in force."""
        return self._entries[entry_id] if self._in_force([entry_id]) else None

    def _in_force(self, ids: Iterable[int]) -> list[int]:
        """Those of `ids` whose entries are in force: they stand in `_entries` from then on."""
        ids = list(ids)
        new = [pk for pk in ids if pk not in self._entries and pk not in self._out_of_force]
        if new:
            found = self._shelf.entries(new)
            self._entries.update(found)
            with self._lock:
                self.expires = min([self.expires, *(entry.expires for entry in found.values())])
            self._out_of_force.update(pk for pk in new if pk not in found)
        return [pk for pk in ids if pk in self._entries]

    def _exact(self, asked: Iterable[tuple[str, str]]) -> list[int]:
        """The entries in force that have one of these values; asked as (kind of its bank, canonical value)."""
        asked = list(asked)
        if not (found := self._in_force(self.catalog.exact(asked))):
            return found
        wanted = {(space(kind), value) for kind, value in asked}

        def is_wanted(entry: KnownEntry) -> bool:
            return (space(entry.bank.kind), entry.value) in wanted

        return [pk for pk in found if is_wanted(self._entries[pk])]

    def find(
        self,
        event: Event,
        media: Mapping[str, MediaHashes] = {},
        *,
        sampled: bool = True,
        nearest: int = NEAREST,
    ) -> tuple[Finding, ...]:
        """What of `event` is known. `media` holds the hashes of its media, as far as they were hashed, by media id.

        Looked at are the texts, links and media of the post and of the accounts that the event speaks of. What a
        reporter writes is not: who quotes is not who said it. An entry is named once in one place; a link that stands
        in the post's text is not named again for `post.links`. A weak hash, known or seen (all-zero, of low quality),
        is named only beside another match of the same media, never alone.

        What a harmless entry matches is named with `withheld`, and nothing else is that is no nearer: for a picture, what
        is as far or farther; for a file that is harmless itself, anything; for a term, what lies within the harmless
        one; for a link, what is no more specific; for a name, all of that name. With `sampled` false, banks that are held
        against a share of events alone are looked at as well. Of one bank so many entries are named for one picture as
        `nearest` says.
        """
        found = _Found(self._entries, nearest)
        links: dict[str, Link | None] = {}
        has_links, has_terms = not self._kinds.isdisjoint(("url", "domain")), len(self._terms) > 0
        post, upload, accounts = getattr(event, "post", None), getattr(event, "media", None), _accounts(event)
        language = _language(post) if self._has_languages else ""
        for field, text in _texts(post, upload, accounts):
            if has_terms and (hits := self._terms.find(fold(text))):
                for entry, start, end in self._meant(hits, language):
                    found.add_span("terms", entry, field, start, end, text)
            if has_links and ("." in text or "://" in text):
                for start, end, url in find_links(text)[:MAX_TEXT_LINKS]:
                    for entry in self._known_link(url, links):
                        found.add_span("links", entry, field, start, end, text)
            for index in self._plugged_texts:
                self._find_plugged_text(index, field, text, found)
        if has_links:
            for field, urls in _links(post, accounts):
                for url in urls:
                    for entry in self._known_link(url, links):
                        found.add_link(entry, field, url)
        if has_terms and post is not None:
            for tag in post.hashtags:
                for entry, _, _ in self._meant(self._terms.find(fold(tag)), language):
                    found.add("terms", entry, Whole("post.hashtags"), tag)
        if self._has_media:
            for item in _media(post, upload, accounts):
                self._find_media(item, media.get(item.id), found)
        if "name" in self._kinds:
            for field, name in _named(accounts):
                entries = self._exact([("name", bare_name(name))])
                harmless = [entry for entry in entries if self._entries[entry].bank.harmless]
                for entry in harmless or entries:
                    found.add("names", entry, Whole(field), name)
        findings = found.all()
        return self._sample(findings, event) if sampled and self._sampled else findings

    def _sample(self, findings: Iterable[Finding], event: Event) -> tuple[Finding, ...]:
        """The findings but for those against a bank that this event is not held against; the same event is the same again."""

        def is_held(finding: Finding) -> bool:
            share = self._sampled.get(finding.match.bank, 100) if finding.match else 100
            return share == 100 or zlib.crc32(f"{finding.match and finding.match.bank} {key}".encode()) % 100 < share

        key = event_key(event.network, event.id)
        return tuple(finding for finding in findings if is_held(finding))

    def _meant(self, hits: Iterable[tuple[int, int, int]], language: str) -> Iterable[tuple[int, int, int]]:
        """Of the places of terms those in a fitting language, and without those that lie within a harmless one."""
        hits = list(hits)
        there = set(self._in_force({entry for entry, _, _ in hits}))
        hits = [hit for hit in hits if hit[0] in there]
        if language:
            hits = [
                hit for hit in hits
                if not (wanted := self._entries[hit[0]].bank.languages) or language in wanted
            ]  # fmt: skip
        if "term" not in self._harmless:
            return hits
        safe = sorted((start, end) for entry, start, end in hits if self._entries[entry].bank.harmless)
        if not safe:
            return hits
        starts = [start for start, _ in safe]
        reach = list(accumulate((end for _, end in safe), max))  # How far those go that begin here or before.

        def lies_within(start: int, end: int) -> bool:
            place = bisect_right(starts, start)
            return place > 0 and end <= reach[place - 1]

        return [hit for hit in hits if self._entries[hit[0]].bank.harmless or not lies_within(*hit[1:])]

    def _known_link(self, url: str, links: dict[str, Link | None]) -> Iterable[int]:
        """The entries that a link matches; once for each way it is written in one event."""
        if url in links:
            link = links[url]
        else:
            links[url] = link = normalize_link(url)
        if link is None:
            return ()
        entries = self._exact(form for form in link_forms(link) if form[0] in self._kinds)
        if self._harmless.isdisjoint(("url", "domain")):
            return entries
        most = max((len(one.value) for entry in entries if (one := self._entries[entry]).bank.harmless), default=0)
        return [
            entry for entry in entries if (one := self._entries[entry]).bank.harmless or len(one.value) > most
        ]  # fmt: skip

    def holds(self, bank: str, text: str) -> bool | None:
        """Whether a bank holds what `text` names, as `forms_of` says; what is weak or in quarantine does not count.

        None where no bank of that name is switched on, or it is of a kind that no text can be looked up in.
        """
        kind = self._kind_of.get(bank)
        if kind not in ASKED:
            return None
        forms = forms_of(kind, text)
        if kind == "term":  # They stand in an index of their own.
            near = {entry for entry, _, _ in self._terms.find(fold(text))} if forms else ()
            found = [pk for pk in self._in_force(near) if self._entries[pk].value in forms]
        else:
            found = self._exact((kind, form) for form in forms)
        entries = (self._entries[pk] for pk in found)
        return any(one.bank.name == bank and not (one.weak or one.quarantined) for one in entries)

    # Files, pictures and videos

    def _find_media(self, item: Media, hashes: MediaHashes | None, found: _Found) -> None:
        strong: list[_Hit] = []
        weak: list[_Hit] = []
        where = Whole(f"media:{item.id}")
        digests = {getattr(one, name) for one in (item, hashes) if one for name in FILES}
        files = {digest.lower(): _FILE_KINDS.get(len(digest), "") for digest in digests if digest}
        for entry in sorted(self._exact((kind, digest) for digest, kind in files.items()), key=self._by_value):
            digest = self._entries[entry].value
            hit = _Hit("files", entry, where, digest, kind=files[digest])
            (weak if weakness(files[digest], digest) else strong).append(hit)
        for pdq, quality, variants in _pictures_of(item, hashes):
            for hit in self._like(item.id, pdq, self._telling(variants)):
                is_weak = self._entries[hit.entry].weak or weakness(
                    "pdq", pdq, quality=quality, enough=self._settings.pdq_quality
                )
                (weak if is_weak else strong).append(hit)
        if isinstance(hashes, VideoHashes):
            strong += self._like_video(item.id, hashes)
        if hashes is not None and self._parts is not None:
            whole = {hit.entry for hit in strong}
            strong += [hit for hit in self._parts_in(item.id, hashes, self._parts) if hit.entry not in whole]
        for signal in hashes.signals if hashes else ():
            for entry, distance in self._plugged_hits(signal.kind, signal.value):
                strong.append(_Hit("plug-ins", entry, where, signal.value, distance=distance))
        hits = [*strong, *(weak if strong else ())]
        if not self._harmless.isdisjoint(self._media_kinds):
            hits = self._without_harmless(hits)
        in_part: set[int] = set()
        for hit in hits:
            if isinstance(hit.where, Part):  # Of a video, each entry comes once for each frame that shows it.
                if hit.entry in in_part:
                    continue
                in_part.add(hit.entry)
            found.add_hit(hit)

    def _plugged_hits(self, kind: str, signal: str) -> list[tuple[int, int | None]]:
        index = self._plugged.get(kind)
        hits = index.find(signal) if index else []
        there = set(self._in_force(entry for entry, _ in hits))
        return [hit for hit in hits if hit[0] in there]

    def _find_plugged_text(self, index: PluginIndex, field: str, text: str, found: _Found) -> None:
        signal = index.plugin.of_text(text)
        hits = self._plugged_hits(index.plugin.kind, signal) if signal else []
        safe = [hit for hit in hits if self._entries[hit[0]].bank.harmless]
        nearest = min(((far or 0) for _, far in safe), default=math.inf)
        for entry, far in hits:
            if self._entries[entry].bank.harmless or (far or 0) < nearest:
                found.add_hit(_Hit("plug-ins", entry, Whole(field), signal[:200], distance=far))

    def _by_value(self, entry: int) -> tuple[str, int]:
        return self._entries[entry].value, entry

    def _without_harmless(self, hits: Sequence[_Hit]) -> list[_Hit]:
        """The hits on one media item but for those that something harmless is nearer to."""
        safe = [hit for hit in hits if self._entries[hit.entry].bank.harmless]
        return [
            hit for hit in hits
            if self._entries[hit.entry].bank.harmless or not any(_is_nearer(one, hit) for one in safe)
        ]  # fmt: skip

    def _telling(self, variants: Iterable[Variant]) -> list[Variant]:
        enough = self._settings.pdq_quality
        return [one for one in variants if not weakness("pdq", one.pdq, quality=one.quality, enough=enough)]

    def _like(self, media: str, pdq: str, variants: Iterable[Variant]) -> Iterator[_Hit]:
        """The known pictures, and frames of known videos, that a picture looks like, or did before it was changed.

        An entry that it looks like as it is is not named for a change, and else for the one that brings it nearest.
        """
        as_it_is = set()
        for hit in self._alike(media, pdq, pdq):
            as_it_is.add(hit.entry)
            yield hit
        changed: dict[int, _Hit] = {}
        for variant in variants:
            for hit in self._alike(media, pdq, variant.pdq, variant.how):
                best = changed.get(hit.entry)
                if hit.entry not in as_it_is and (best is None or _farness(hit) < _farness(best)):
                    changed[hit.entry] = hit
        yield from sorted(changed.values(), key=_farness)

    def _alike(self, media: str, seen: str, pdq: str, how: str = "") -> Iterator[_Hit]:
        where = Whole(f"media:{media}")
        for entry, distance in self._pictures_like(pdq):
            yield _Hit("pictures", entry, where, seen, distance=distance, how=how)
        for entry, (distance, second, count) in self._videos_with(pdq).items():
            shown = Frames(media, 1.0, 1 / count, (TimeRange(0.0, 0.0, second, second + 1.0),))
            yield _Hit("pictures", entry, shown, seen, kind="pdq", distance=distance, how=how)

    def _parts_in(self, media: str, seen: MediaHashes, parts: PartIndex) -> list[_Hit]:
        """The known pictures and videos of which a seen picture, or a frame of a seen video, shows a part, upright or mirrored.

        One for each entry and frame, those first that agree most.
        """
        hits: dict[tuple[int, float | None], _Hit] = {}
        for second, packed, how in stills_of(seen):
            for entry, known_second, match in parts.find(packed):
                before = hits.get((entry, second))
                if before is None or match.inliers > cast("Part", before.where).inliers:
                    lies = match if not how else match.mirrored()
                    likeness = round(match.likeness, 4)
                    where = Part(media, lies.seen, lies.known, match.inliers, likeness, second, known_second)
                    value = seen.pdq if isinstance(seen, ImageHashes) else seen.sha256
                    hits[entry, second] = _Hit("parts", entry, where, value, kind="part", score=likeness, how=how)
        there = {entry for entry in self._in_force({entry for entry, _ in hits}) if self._entries[entry].bank.partial}
        best = sorted(hits.items(), key=lambda item: (-cast("Part", item[1].where).inliers, item[0]))
        return [hit for (entry, _), hit in best if entry in there]

    def _pictures_like(self, pdq: str) -> list[tuple[int, int]]:
        """Known pictures within their banks' limits, the nearest first: (entry's id, distance)."""
        if "pdq" not in self._kinds:
            return []
        seen = int(pdq, 16)
        near = [
            (pk, (int(self._entries[pk].value, 16) ^ seen).bit_count())
            for pk in self._in_force(self.catalog.pictures_like(bytes.fromhex(pdq), self._radius["pdq"]))
            if self._entries[pk].bank.kind == "pdq"
        ]
        return sorted(
            ((pk, distance) for pk, distance in near if distance <= self._entries[pk].bank.limit),
            key=lambda one: (one[1], one[0]),
        )

    def _videos_with(self, pdq: str) -> dict[int, tuple[int, float, int]]:
        """Known videos with a frame like a picture, by entry's id, the nearest first: distance, second, frames in all."""
        if "video" not in self._kinds:
            return {}
        seen = np.frombuffer(bytes.fromhex(pdq), np.uint8)
        out: dict[int, tuple[int, float, int]] = {}
        for pk in self._in_force(self.catalog.frames_like(seen.tobytes(), self._radius["video"])[:VIDEOS]):
            seconds, hashes = good_frames(self._shelf.frames(pk), self._settings.pdq_quality)
            if not len(hashes):
                continue
            distances = np.bitwise_count(hashes ^ seen).sum(axis=1, dtype=np.int64)
            nearest = int(distances.argmin())
            if distances[nearest] <= self._entries[pk].bank.limit:
                out[pk] = (int(distances[nearest]), float(seconds[nearest]), len(hashes))
        return dict(sorted(out.items(), key=lambda one: (one[1][0], one[0])))

    def _like_video(self, media: str, seen: VideoHashes) -> Iterator[_Hit]:
        """The known videos that share enough with a seen one, and the known pictures that it shows.

        As they are, else mirrored or within bars. An entry is named for the first way alone.
        """
        named: set[int] = set()
        for variant in (VideoVariant("", seen.frames), *seen.variants):
            one = msgspec.structs.replace(seen, frames=variant.frames)
            hits = [hit for hit in self._like_frames(media, one, variant.how) if hit.entry not in named]
            named.update(hit.entry for hit in hits)
            yield from hits

    def _like_frames(self, media: str, seen: VideoHashes, how: str) -> Iterator[_Hit]:
        enough = self._settings.pdq_quality
        frames = _good(seen.frames, enough)
        if not frames:
            return
        from redshank.media import NEAR, match_videos

        for entry in self._candidates(frames):
            known, limit = self._video(entry), self._entries[entry].bank.limit
            match = match_videos(seen, known, limit, quality=enough, near=NEAR)
            if max(match.share, match.known_share) >= self._entries[entry].bank.share and match.ranges:
                where = Frames(media, match.share, match.known_share, match.ranges)
                yield _Hit("videos", entry, where, seen.sha256, score=max(match.share, match.known_share), how=how)
        for entry, (distance, seconds) in self._shown_in(frames).items():
            if not self._entries[entry].weak:
                where = Frames(media, len(seconds) / len(frames), 1.0, _ranges(seconds))
                yield _Hit("pictures", entry, where, seen.sha256, distance=distance, how=how)

    def _candidates(self, frames: Sequence[Frame]) -> list[int]:
        """Known videos that share a frame with a seen one, by entry's id; those that share most seconds first."""
        if "video" not in self._kinds:
            return []
        pairs = self.catalog.frames(_bits([frame.pdq for frame in frames]), self._radius["video"])
        owners, shared = np.unique(pairs[:, 1], return_counts=True)
        ordered = [int(owner) for owner in owners[np.argsort(-shared, kind="stable")]]
        return self._in_force(ordered[: 2 * VIDEOS])[:VIDEOS]

    def _video(self, entry: int) -> VideoHashes:
        """A known video, as far as a bank keeps it."""
        frames = unpack_frames(self._shelf.frames(entry))
        value = self._entries[entry].value
        return VideoHashes(sha256=value, md5="", frames=frames, seconds=float(len(frames)), width=0, height=0)

    def _shown_in(self, frames: Sequence[Frame]) -> dict[int, tuple[int, list[float]]]:
        """The known pictures among the frames of a video: least distance, and the seconds, by entry's id."""
        out: dict[int, tuple[int, list[float]]] = {}
        if "pdq" not in self._kinds:
            return out
        pairs = self.catalog.pictures(_bits([frame.pdq for frame in frames]), self._radius["pdq"]).tolist()
        there = set(self._in_force({pk for _, pk in pairs}))
        for row, pk in pairs:
            if pk not in there or (known := self._entries[pk]).bank.kind != "pdq":
                continue
            distance = (int(frames[row].pdq, 16) ^ int(known.value, 16)).bit_count()
            if distance <= known.bank.limit:
                least, seconds = out.setdefault(pk, (distance, []))
                seconds.append(frames[row].second)
                out[pk] = (min(least, distance), seconds)
        return dict(sorted(out.items(), key=lambda item: (item[1][0], item[0])))


class _Hit(msgspec.Struct):
    detector: str
    entry: int
    where: Whole | Frames | Part
    seen: str
    kind: str = ""
    distance: int | None = None
    score: float = 1.0
    how: str = ""


def _farness(hit: _Hit) -> int:
    return 0 if hit.distance is None else hit.distance


def _is_nearer(safe: _Hit, hit: _Hit) -> bool:
    """Whether a harmless hit is as near as another on the same media item: then that other is no match.

    The same bytes are nearer than anything that looks alike, and two pictures are compared where both are one frame's.
    """
    if safe.detector == "files":
        return True
    if isinstance(hit.where, Part):  # What is harmless as a whole is, and so is what it shares with a harmless one.
        second = hit.where.second
        if isinstance(safe.where, Part):
            return (
                safe.where.second == second and safe.where.inliers >= hit.where.inliers
                and _holds(safe.where.region, hit.where.region)
            )  # fmt: skip
        if isinstance(safe.where, Frames) and second is not None:
            return any(part.start <= second < part.end for part in safe.where.ranges)
        return True
    if safe.detector != hit.detector:
        return False
    if safe.detector == "videos":
        return safe.score >= hit.score
    near = safe.distance is not None and hit.distance is not None and safe.distance <= hit.distance
    if isinstance(safe.where, Frames) and isinstance(hit.where, Frames):
        ranges = safe.where.ranges
        return near and all(any(b.start <= a.start and a.end <= b.end for b in ranges) for a in hit.where.ranges)
    return near and safe.seen == hit.seen


def _holds(one: Region, other: Region, slack: float = 0.05) -> bool:
    """Whether `other` lies within `one`, or sticks out but a little."""
    return (
        one.left - slack <= other.left
        and one.top - slack <= other.top
        and other.right <= one.right + slack
        and other.bottom <= one.bottom + slack
    )


class _Found:
    """The findings on one event, each entry once in one place."""

    __slots__ = ("_count", "_entries", "_findings", "_nearest")

    def __init__(self, entries: Mapping[int, KnownEntry], nearest: int) -> None:
        self._entries = entries
        self._nearest = nearest
        self._findings: dict[tuple[int, object], Finding] = {}
        self._count: dict[tuple[object, ...], int] = {}

    def add(self, detector: str, entry: int, where: Span | Frames | Part | Whole, seen: str) -> None:
        known = self._entries[entry]
        self._findings.setdefault((entry, where), _finding(detector, known, where, seen))

    def add_span(self, detector: str, entry: int, field: str, start: int, end: int, text: str) -> None:
        if self._room((entry, field), PLACES):
            self.add(detector, entry, Span(field, start, end), text[start:end])

    def add_link(self, entry: int, field: str, url: str) -> None:
        if field != "post.links" or (entry, "post.text") not in self._count:
            self.add("links", entry, Whole(field), url)

    def add_hit(self, hit: _Hit) -> None:
        """Hits of one bank come with the nearest first."""
        known = self._entries[hit.entry]
        key = (hit.entry, hit.where)
        place = hit.where.field if isinstance(hit.where, Whole) else hit.where.media
        if key in self._findings or not self._room((known.bank.name, hit.detector, place), self._nearest):
            return
        self._findings[key] = _finding(
            hit.detector,
            known,
            hit.where,
            hit.seen,
            kind=hit.kind,
            distance=hit.distance,
            score=hit.score,
            how=hit.how,
        )

    def _room(self, key: tuple[object, ...], most: int) -> bool:
        count = self._count.get(key, 0)
        self._count[key] = count + 1
        return count < most

    def all(self) -> tuple[Finding, ...]:
        findings = tuple(self._findings.values())
        if len(findings) > MAX_FINDINGS:
            findings = tuple(sorted(findings, key=_severity, reverse=True)[:MAX_FINDINGS])
        return findings


def _severity(finding: Finding) -> int:
    return finding.match.severity if finding.match else 0


def _finding(
    detector: str,
    known: KnownEntry,
    where: Span | Frames | Part | Whole,
    seen: str,
    *,
    kind: str = "",
    distance: int | None = None,
    score: float = 1.0,
    how: str = "",
) -> Finding:
    """For hashes, `score` is the share of the 256 bits that are equal; for videos, the larger of the two shares."""
    bank = known.bank
    return Finding(
        detector=detector,
        kind=kind or bank.kind,
        score=score if distance is None or detector == "plug-ins" else 1 - distance / 256,
        where=where,
        seen=seen,
        match=Match(
            bank=bank.name,
            entry=known.id,
            value=known.value,
            policy=bank.policy,
            severity=bank.severity,
            label=known.label,
            source=known.source or bank.source,
            distance=distance,
            limit=None if distance is None or detector == "plug-ins" else bank.limit,
            how=how,
            withheld="harmless" if bank.harmless else "quarantined" if known.quarantined else "",
            confirmed=known.confirmed,
        ),
    )


def _bits(hashes: Sequence[str]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), 32)


def _good(frames: Iterable[Frame], quality: int) -> list[Frame]:
    return [frame for frame in frames if not weakness("pdq", frame.pdq, quality=frame.quality, enough=quality)]


def _ranges(seconds: Sequence[float]) -> tuple[TimeRange, ...]:
    """Stretches of a video during which a picture is shown. A picture has no time of its own."""
    out: list[TimeRange] = []
    for second in sorted(set(seconds)):
        if out and second <= out[-1].end + 0.5:
            out[-1] = TimeRange(out[-1].start, second + 1, 0.0, 0.0)
        else:
            out.append(TimeRange(second, second + 1, 0.0, 0.0))
    return tuple(out)


# What of an event is looked at


def _accounts(event: Event) -> list[tuple[str, Account]]:
    named = (("account", getattr(event, "account", None)), ("followed", getattr(event, "followed", None)))
    return [(name, account) for name, account in named if account is not None]


def _language(post: Post | None) -> str:
    """The primary subtag of the language that the platform says its post is in; empty where it says none."""
    return ((post and post.language) or "").replace("_", "-").partition("-")[0].lower()


def _texts(
    post: Post | None, upload: Media | None, accounts: Iterable[tuple[str, Account]]
) -> Iterator[tuple[str, str]]:
    if post is not None:
        if post.text:
            yield "post.text", post.text
        for number, item in enumerate(post.media):
            if item.alt:
                yield f"post.media.{number}.alt", item.alt
    if upload is not None and upload.alt:
        yield "media.alt", upload.alt
    for name, account in accounts:
        if account.handle:
            yield f"{name}.handle", account.handle
        if account.display_name:
            yield f"{name}.display_name", account.display_name
        if account.bio:
            yield f"{name}.bio", account.bio
        if account.avatar is not None and account.avatar.alt:
            yield f"{name}.avatar.alt", account.avatar.alt
        if account.banner is not None and account.banner.alt:
            yield f"{name}.banner.alt", account.banner.alt


def _named(accounts: Iterable[tuple[str, Account]]) -> Iterator[tuple[str, str]]:
    for name, account in accounts:
        if account.handle:
            yield f"{name}.handle", account.handle
        if account.display_name:
            yield f"{name}.display_name", account.display_name


def _links(post: Post | None, accounts: Iterable[tuple[str, Account]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    if post is not None and post.links:
        yield "post.links", post.links
    for name, account in accounts:
        if account.links:
            yield f"{name}.links", account.links
        if account.url:
            yield f"{name}.url", (account.url,)


def media_of(event: Event) -> list[Media]:
    """Each media item that is looked at in an event."""
    return _media(getattr(event, "post", None), getattr(event, "media", None), _accounts(event))


def _media(post: Post | None, upload: Media | None, accounts: Iterable[tuple[str, Account]]) -> list[Media]:
    found = [] if post is None else [*post.media]
    if upload is not None:
        found.append(upload)
    for _, account in accounts:
        if account.avatar is not None:
            found.append(account.avatar)
        if account.banner is not None:
            found.append(account.banner)
    return found


def _pictures_of(item: Media, hashes: MediaHashes | None) -> Iterator[tuple[str, int | None, tuple[Variant, ...]]]:
    """The PDQ hashes of a picture with quality and variants: ours, and the platform's, of which nobody tells them."""
    ours = hashes if isinstance(hashes, ImageHashes) else None
    if ours is not None:
        yield ours.pdq, ours.quality, ours.variants
    if item.pdq and (ours is None or item.pdq.lower() != ours.pdq):
        yield item.pdq.lower(), None, ()
