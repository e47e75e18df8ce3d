"""What a detector saw. Every finding says where it saw it, how strongly, and by which known entry."""

from __future__ import annotations

from typing import Literal

import msgspec


class Span(msgspec.Struct, frozen=True, tag="span", tag_field="in", gc=False):
    """A stretch of a text field. `field` is its path (`post.text`); `start`, `end` count code points, end excluded."""

    field: str
    start: int
    end: int


class TimeRange(msgspec.Struct, frozen=True):
    """Seconds `start` to `end` of the seen video that match seconds `known_start` to `known_end` of the known one."""

    start: float
    end: float
    known_start: float
    known_end: float


class Frames(msgspec.Struct, frozen=True, tag="frames", tag_field="in"):
    """Parts of a video. `media` is the media's id; the shares are of sampled seconds, 0 to 1."""

    media: str
    share: float
    known_share: float
    ranges: tuple[TimeRange, ...]


class Region(msgspec.Struct, frozen=True):
    """A rectangle of a picture, as shares of its width and height, 0 to 1."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Share of the picture that it takes up."""
        return (self.right - self.left) * (self.bottom - self.top)


class Part(msgspec.Struct, frozen=True, tag="part", tag_field="in", omit_defaults=True):
    """A region of the picture `media` that shows the region `known` of a known one.

    `inliers` distinct points of both lie alike, and by `likeness`, 0 to 1, both look alike there. `second` says when, where
    `media` is a video, and `known_second`, where the known one is.
    """

    media: str
    region: Region
    known: Region
    inliers: int
    likeness: float
    second: float | None = None
    known_second: float | None = None


class Whole(msgspec.Struct, frozen=True, tag="whole", tag_field="in", gc=False):
    """A whole field (`post.links`, `account.avatar`) or a whole media item (`media:ID`)."""

    field: str


class Match(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A finding against a bank: which entry, at what distance, and how far it might have been.

    `distance` and `limit` are Hamming distances of 256-bit hashes; None where a match is exact.
    `how` says in which changed form it matches, in words (`mirrored`); empty where it matches as it is.
    `severity` runs from 1 (context) to 5 (calls for instant attention), as the bank has it. `withheld` says why no rule
    sees it, though people do: what it matches is known to be harmless, or the entry is in quarantine. `confirmed` is
    false where the entry comes from another organization and no person here has agreed with it yet.
    """

    bank: str
    entry: int
    value: str
    policy: str
    severity: int
    label: str = ""
    source: str = ""
    distance: int | None = None
    limit: int | None = None
    how: str = ""
    withheld: Literal["", "harmless", "quarantined"] = ""
    confirmed: bool = True


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one detector saw in one place.

    `kind` is the kind of thing compared: pdq, part (of a picture or frame), video, md5, sha1, sha256, sha512, url, domain,
    term, name, campaign. `score` runs from 0 to 1, the
    detector's own measure of strength (1 for an exact match). `seen` is what was found there: the hash, the link, the
    words.
    """

    detector: str
    kind: str
    score: float
    where: Span | Frames | Part | Whole
    seen: str = ""
    match: Match | None = None
