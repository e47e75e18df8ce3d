"""Holds one file's hashes against those of known files, and says what a person wants to read about it.

A match is listed, and so is the nearest miss: "not found" says more when it says by how much.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from redshank.core.findings import Region, TimeRange
from redshank.core.settings import MediaSettings
from redshank.media.compare import NEAR, distances, match_videos
from redshank.media.hashes import ImageHashes, MediaHashes, VideoHashes, stills_of
from redshank.media.parts import match_points, poverty, telling, unpack_points


class Sighting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file beside one known file; the fields that do not apply are left out.

    `kind` is what was compared: `sha256` (the same bytes), `pdq` (two pictures), `part` (of a picture or frame, by `inliers` points, with its `likeness`, 0 to 1), `video` (two videos), `frame` (a
    picture and the nearest second of a video). `found` says whether it counts as a match. `distance` is of 256 bits.
    `how` says in which changed form it is found, in words. For videos, `share` and `known_share` are the parts of either that match, `matched` of `seconds` the count.
    """

    file: str
    known: str | None
    kind: str | None
    found: bool
    distance: int | None = None
    second: float | None = None
    known_second: float | None = None
    share: float | None = None
    known_share: float | None = None
    matched: int | None = None
    seconds: int | None = None
    ranges: tuple[TimeRange, ...] | None = None
    inliers: int | None = None
    likeness: float | None = None
    region: Region | None = None
    known_region: Region | None = None
    how: str | None = None
    reason: str | None = None


class Known:
    """Known files by name, prepared for being compared with many."""

    def __init__(
        self, files: Sequence[tuple[str, MediaHashes]], limits: MediaSettings, *, variants: bool = False
    ) -> None:
        """With `variants`, copies that were mirrored, turned, framed or cropped are sought as well."""
        self._limits = limits
        self._variants = variants
        self._by_sha256: dict[str, list[str]] = {}
        for name, hashes in files:
            self._by_sha256.setdefault(hashes.sha256, []).append(name)
        good = limits.pdq_quality
        pictures = [(n, h) for n, h in files if isinstance(h, ImageHashes) and h.quality >= good]
        points: list[tuple[str, float | None, bytes]]
        points = [(n, None, telling(h.points)) for n, h in pictures if h.points]
        points += [(n, s.second, telling(s.points)) for n, h in files if isinstance(h, VideoHashes) for s in h.stills]
        self._parts = [(n, second, unpack_points(kept)) for n, second, kept in points if not poverty(kept)]
        self._videos = [(n, h) for n, h in files if isinstance(h, VideoHashes)]
        frames = [(n, f) for n, h in self._videos for f in h.frames if f.quality >= good]
        self._pictures, self._picture_hashes = [n for n, _ in pictures], [h.pdq for _, h in pictures]
        self._frames, self._frame_hashes = frames, [f.pdq for _, f in frames]

    def find(self, file: str, hashes: MediaHashes) -> list[Sighting]:
        """Each known file that `file` is a copy of; where there is none, the one that comes nearest, not found."""
        found, near = self._look(file, hashes)
        if self._variants:
            known = {sighting.known for sighting in found}
            for sighting in self._changed(file, hashes):
                if sighting.known not in known:
                    known.add(sighting.known)
                    found.append(sighting)
        found += self._partial(file, hashes, {sighting.known for sighting in found})
        if found:
            return found
        partly = [sighting for sighting in near if sighting.matched]
        nearest = sorted(near, key=lambda s: 999 if s.distance is None else s.distance)
        return partly or nearest[:1] or [Sighting(file=file, known=None, kind=None, found=False)]

    def _partial(self, file: str, hashes: MediaHashes, found: set[str | None]) -> list[Sighting]:
        """Known files, but those that were found, of which `file` shows a part; those first that agree most."""
        best: dict[str, Sighting] = {}
        for second, packed, how in stills_of(hashes) if self._parts else ():
            seen = unpack_points(packed)
            for name, known_second, known in self._parts:
                match = match_points(seen, known) if name not in found else None
                if match is None or (name in best and match.inliers <= (best[name].inliers or 0)):
                    continue
                lies = match if not how else match.mirrored()
                best[name] = Sighting(
                    file=file, known=name, kind="part", found=True, how=how or None, likeness=round(match.likeness, 4),
                    inliers=match.inliers, region=lies.seen, known_region=lies.known, second=second,
                    known_second=known_second,
                )  # fmt: skip
        return sorted(best.values(), key=lambda sighting: -(sighting.inliers or 0))

    def _changed(self, file: str, hashes: MediaHashes) -> list[Sighting]:
        """Known files that `file` is a copy of in changed form, the nearest first."""
        replace = msgspec.structs.replace
        changed: list[tuple[str, MediaHashes]]
        if isinstance(hashes, ImageHashes):
            changed = [(one.how, replace(hashes, pdq=one.pdq, quality=one.quality)) for one in hashes.variants]
        else:
            changed = [(one.how, replace(hashes, frames=one.frames)) for one in hashes.variants]
        found = [
            replace(sighting, how=how)
            for how, one in changed
            for sighting in self._look(file, one)[0]
            if sighting.kind != "sha256"
        ]
        return sorted(found, key=lambda s: s.distance or 0)

    def _look(self, file: str, hashes: MediaHashes) -> tuple[list[Sighting], list[Sighting]]:
        """What is found, and all that was looked at."""
        same = self._by_sha256.get(hashes.sha256, [])
        found = [Sighting(file=file, known=name, kind="sha256", found=True, distance=0) for name in same]
        if isinstance(hashes, VideoHashes):
            near = self._beside_videos(file, hashes) + self._beside_pictures(file, hashes)
        elif hashes.quality < self._limits.pdq_quality:
            near = [
                Sighting(
                    file=file, known=None, kind="pdq", found=False,
                    reason=f"PDQ quality {hashes.quality} is under {self._limits.pdq_quality}: too plain to tell",
                )
            ]  # fmt: skip
        else:
            near = self._beside_pictures(file, hashes) + self._beside_frames(file, hashes)
        near = [sighting for sighting in near if sighting.known not in same]
        return [*found, *(sighting for sighting in near if sighting.found)], near

    def _beside_pictures(self, file: str, hashes: MediaHashes) -> list[Sighting]:
        """Known pictures within the limit of a picture, or of a video's nearest second; else the nearest one."""
        good = self._limits.pdq_quality
        frames = [f for f in hashes.frames if f.quality >= good] if isinstance(hashes, VideoHashes) else []
        seen = [f.pdq for f in frames] if isinstance(hashes, VideoHashes) else [hashes.pdq]
        if not seen or not self._pictures:
            return []
        table = distances(seen, self._picture_hashes)
        rows, best = table.argmin(axis=0), table.min(axis=0)
        return [
            Sighting(
                file=file,
                known=self._pictures[place],
                kind="frame" if frames else "pdq",
                found=bool(best[place] <= self._limits.pdq_limit),
                distance=int(best[place]),
                second=frames[rows[place]].second if frames else None,
            )
            for place in self._worth_saying(best)
        ]

    def _beside_frames(self, file: str, hashes: ImageHashes) -> list[Sighting]:
        """Known videos that show a picture at some second of theirs; else the nearest one."""
        if not self._frames:
            return []
        row = distances([hashes.pdq], self._frame_hashes)[0]
        best: dict[str, Sighting] = {}
        for place in np.argsort(row, kind="stable"):
            name, frame = self._frames[place]
            found = bool(row[place] <= self._limits.pdq_limit)
            if not found and best:
                break
            if name not in best:
                best[name] = Sighting(
                    file=file, known=name, kind="frame", found=found,
                    distance=int(row[place]), known_second=frame.second,
                )  # fmt: skip
        return list(best.values())

    def _beside_videos(self, file: str, hashes: VideoHashes) -> list[Sighting]:
        """Known videos with their shares: all that have any, else the first with none."""
        out = []
        for name, known in self._videos:
            near = NEAR if self._variants else None
            match = match_videos(hashes, known, self._limits.pdq_limit, quality=self._limits.pdq_quality, near=near)
            out.append(
                Sighting(
                    file=file,
                    known=name,
                    kind="video",
                    found=match.matched > 0 and max(match.share, match.known_share) >= self._limits.video_share,
                    share=round(match.share, 4),
                    known_share=round(match.known_share, 4),
                    matched=match.matched,
                    seconds=match.seconds,
                    ranges=match.ranges,
                )
            )
        return [sighting for sighting in out if sighting.matched] or out[:1]

    def _worth_saying(self, best: np.ndarray[tuple[int], np.dtype[np.uint16]]) -> list[int]:
        close = np.flatnonzero(best <= self._limits.pdq_limit)
        places = close[np.argsort(best[close], kind="stable")] if close.size else [best.argmin()]
        return [int(place) for place in places]
