from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redshank.banks.detect import MAX_FINDINGS, NEAREST, PLACES, KnownBank, KnownEntry
from redshank.banks.frames import pack_frames
from redshank.core import (
    Account,
    AccountUpdated,
    ActionUpdated,
    FollowCreated,
    Frames,
    Media,
    MediaUploaded,
    Post,
    Report,
    Reporter,
    ReportReceived,
    Span,
    TimeRange,
    Whole,
)  # fmt: skip
from redshank.media import NEAR, Frame, ImageHashes, VideoHashes, match_videos
from tests.banks.conftest import NOW, known_of, post, posted


def bank(kind, name="", severity=3, limit=31):
    return KnownBank(name or f"known-{kind}", kind, "terrorist-content", severity, limit, "our own")


def known(*entries):
    return known_of(*entries)


def entry(number, kind, value, *, frames=(), weak=False, **of_bank):
    return KnownEntry(number, bank(kind, **of_bank), value, weak=weak), pack_frames(frames)


def pdq(seed):
    """A hash as of a picture: half of its bits set."""
    bits = np.array([1] * 128 + [0] * 128, np.uint8)
    np.random.default_rng(seed).shuffle(bits)
    return np.packbits(bits).tobytes().hex()


def off(value, bits):
    """`value` with so many of its bits turned over."""
    number = int(value, 16)
    for bit in random.Random(bits).sample(range(256), bits):
        number ^= 1 << bit
    return f"{number:064x}"


def image(value, quality=100, sha256="a" * 64, md5="b" * 32):
    return ImageHashes(sha256=sha256, md5=md5, pdq=value, quality=quality, width=1, height=1)


def video(*frames, sha256="c" * 64):
    return VideoHashes(sha256=sha256, md5="d" * 32, frames=frames, seconds=len(frames), width=1, height=1)


def frames(seeds, start=0, quality=100):
    return tuple(Frame(float(start + at), pdq(seed), quality) for at, seed in enumerate(seeds))


def places(findings):
    return [(finding.kind, finding.match.entry, finding.where) for finding in findings]


def test_terms_are_found_in_what_the_account_wrote():
    wolf = entry(1, "term", "iron wolf")
    account = Account(
        id="a1", handle="iron.wolf", display_name="IRON\u200b WOLF", bio="x", avatar=Media(id="m0", alt="iron wolf")
    )
    event = post(
        "An İRON  wolf!", account=account, media=(Media(id="m1", alt="the iron wolf"),), hashtags=("iron wolf",)
    )
    assert [finding.where for finding in known(wolf).find(event)] == [
        Span("post.text", 3, 13),
        Span("post.media.0.alt", 4, 13),
        Span("account.display_name", 0, 10),
        Span("account.avatar.alt", 0, 9),
        Whole("post.hashtags"),
    ]


def test_a_finding_says_what_matched_and_where():
    (finding,) = known(entry(7, "term", "iron wolf", severity=4)).find(post("the Iron Wolf"))
    assert (finding.detector, finding.kind, finding.score, finding.seen) == ("terms", "term", 1.0, "Iron Wolf")
    match = finding.match
    assert match
    assert (match.bank, match.entry, match.value, match.severity) == ("known-term", 7, "iron wolf", 4)
    assert (match.policy, match.source, match.distance, match.limit) == ("terrorist-content", "our own", None, None)


def test_who_reports_is_not_who_said_it():
    report = Report(
        id="r1", subject_kind="post", subject_id="p1", reason="x", text="they say iron wolf at bad.example",
        reporter=Reporter(kind="user", name="iron wolf"),
    )  # fmt: skip
    look = known(entry(1, "term", "iron wolf"), entry(2, "domain", "bad.example"))
    said = {"id": "e1", "network": "marsh", "at": NOW, "report": report}
    assert look.find(ReportReceived(**said)) == ()
    reported = ReportReceived(**said, post=Post(id="p1", text="iron wolf"))
    assert places(look.find(reported)) == [("term", 1, Span("post.text", 0, 9))]


def test_both_accounts_of_a_follow_are_looked_at():
    follow = FollowCreated(
        id="e1", network="marsh", at=NOW, account=Account(id="a1"), followed=Account(id="a2", bio="join: bad.example/x")
    )
    assert places(known(entry(1, "domain", "bad.example")).find(follow)) == [("domain", 1, Span("followed.bio", 6, 19))]
    assert (
        known(entry(1, "term", "x")).find(ActionUpdated(id="e", network="m", at=NOW, action="a", state="failed")) == ()
    )


def test_links_are_found_wherever_they_stand():
    look = known(
        entry(1, "domain", "bad.example"),
        entry(2, "url", "https://chat.example/wolf/*"),
        entry(3, "url", "https://x.example/"),
    )
    text = "See hxxp://sub.bad[.]example/y, chat.example/wolf/7."
    event = post(
        text,
        links=(
            "https://go.example/?u=http%3A%2F%2Fbad.example",
            "http://www.x.example",
            "http://x.example/other",
            "::",
        ),
        account=Account(id="a1", links=("HTTPS://BAD.EXAMPLE",), url="https://x.example/?utm_source=z"),
    )
    assert places(look.find(event)) == [
        ("domain", 1, Span("post.text", 4, 30)),
        ("url", 2, Span("post.text", 32, 51)),
        # Entry 1 stands in the text and is not named again for post.links.
        ("url", 3, Whole("post.links")),
        ("domain", 1, Whole("account.links")),
        ("url", 3, Whole("account.url")),
    ]


def test_an_entry_is_named_a_few_times_in_one_field_however_often_it_stands_there():
    assert len(known(entry(1, "term", "wolf")).find(post("wolf " * 20_000))) == PLACES
    assert len(known(entry(1, "domain", "bad.example")).find(post("bad.example " * 8_000))) == PLACES


def test_a_flood_of_findings_does_not_hide_the_severe_one():
    terms = [entry(number, "term", f"wolf{number}", severity=1) for number in range(3_000)]
    look = known(*terms, entry(9_999, "term", "raven", name="severe", severity=5))
    findings = look.find(post(" ".join(f"wolf{number}" for number in range(3_000)) + " raven"))
    assert len(findings) == MAX_FINDINGS
    assert findings[0].match.entry == 9_999


# Files


def test_files_are_known_by_the_platforms_hashes_and_ours():
    look = known(entry(1, "sha256", "a" * 64), entry(2, "md5", "b" * 32))
    where = Whole("media:m1")
    assert places(look.find(posted(Media(id="m1", sha256="A" * 64)))) == [("sha256", 1, where)]
    assert places(look.find(posted(Media(id="m1", md5="B" * 32)))) == [("md5", 2, where)]
    hashed = look.find(posted(Media(id="m1", sha256="A" * 64)), {"m1": image(pdq(1))})
    assert places(hashed) == [("sha256", 1, where), ("md5", 2, where)]
    assert [finding.score for finding in hashed] == [1, 1]
    assert look.find(posted(Media(id="m1")), {"another": image(pdq(1))}) == ()


def test_media_is_looked_at_wherever_it_hangs():
    look = known(entry(1, "sha256", "a" * 64))
    item = Media(id="m9", sha256="a" * 64)
    for event in (
        posted(item),
        MediaUploaded(id="e1", network="marsh", at=NOW, account=Account(id="a1"), media=item),
        AccountUpdated(id="e1", network="marsh", at=NOW, account=Account(id="a1", avatar=item)),
        AccountUpdated(id="e1", network="marsh", at=NOW, account=Account(id="a1", banner=item)),
    ):
        assert places(look.find(event)) == [("sha256", 1, Whole("media:m9"))]


# Pictures


@pytest.mark.parametrize(("distance", "found"), [(0, True), (20, True), (21, False), (31, False)])
def test_a_picture_matches_within_its_banks_limit(distance, found):
    look = known(entry(1, "pdq", pdq(1), limit=20), entry(2, "pdq", pdq(2), name="wide", limit=31))
    seen = off(pdq(1), distance)
    for item, media in ((Media(id="m1"), {"m1": image(seen)}), (Media(id="m1", pdq=seen.upper()), {})):
        findings = look.find(posted(item), media)
        assert [(f.match.distance, f.match.limit, f.score) for f in findings] == (
            [(distance, 20, 1 - distance / 256)] if found else []
        )


def test_the_nearest_of_thousands_alike_are_named_in_each_bank():
    alike = [entry(number, "pdq", off(pdq(1), number % 13), name="many") for number in range(5_000)]
    findings = known(*alike, entry(9_999, "pdq", off(pdq(1), 13), name="other")).find(
        posted(Media(id="m1")), {"m1": image(pdq(1))}
    )
    assert [finding.match.bank for finding in findings] == ["many"] * NEAREST + ["other"]
    assert {finding.match.distance for finding in findings[:NEAREST]} == {0}


def test_a_weak_hash_never_matches_alone():
    zero, plain = "0" * 64, pdq(3)
    look = known(
        entry(1, "pdq", zero, weak=True), entry(2, "pdq", plain, weak=True, name="low"), entry(3, "sha256", "a" * 64),
        entry(4, "sha256", "0" * 64, name="nothing"), entry(5, "pdq", pdq(5), name="good"),
    )  # fmt: skip
    item = posted(Media(id="m1"))

    def found(hashes):
        return [finding.match.entry for finding in look.find(item, {"m1": hashes})]

    other = "9" * 64
    assert found(image(zero, sha256=other)) == []
    assert found(image(plain, sha256=other)) == []
    assert found(image(pdq(5), quality=49, sha256=other)) == []
    assert found(image(pdq(5), quality=50, sha256=other)) == [5]
    assert found(image(pdq(1), sha256="0" * 64)) == []
    # Beside another match of the same media it is named, too.
    assert found(image(zero, sha256="a" * 64)) == [3, 1]
    assert found(image(pdq(5), quality=49, sha256="a" * 64)) == [3, 5]
    # But not beside one of another media.
    both = post(media=(Media(id="m1", sha256="a" * 64), Media(id="m2", pdq=zero)))
    assert [finding.match.entry for finding in look.find(both)] == [3]


# Videos


def test_a_clip_of_a_known_video_is_found_at_its_place():
    look = known(entry(1, "video", "c" * 64, frames=frames(range(100))))
    clip = video(*frames([900, 901, *range(40, 52), 902]), sha256="e" * 64)
    (finding,) = look.find(posted(Media(id="m1")), {"m1": clip})
    assert (finding.detector, finding.kind, finding.score) == ("videos", "video", 0.8)
    assert finding.where == Frames("m1", 0.8, 0.12, (TimeRange(2.0, 14.0, 40.0, 52.0),))


def test_a_known_clip_in_a_longer_video_is_found():
    look = known(entry(1, "video", "c" * 64, frames=frames(range(10))))
    (finding,) = look.find(
        posted(Media(id="m1")), {"m1": video(*frames([*range(500, 560), *range(10)]), sha256="e" * 64)}
    )
    assert finding.where.known_share == 1.0
    assert finding.where.ranges == (TimeRange(60.0, 70.0, 0.0, 10.0),)


def test_a_few_seconds_in_common_are_no_copy():
    look = known(entry(1, "video", "c" * 64, frames=frames(range(20))))
    seen = video(*frames([*range(5), *range(500, 520)]), sha256="e" * 64)
    assert look.find(posted(Media(id="m1")), {"m1": seen}) == ()


def test_the_very_same_video_is_known_by_its_bytes_even_where_it_shows_nothing():
    black = tuple(Frame(float(second), "0" * 64, 0) for second in range(9))
    look = known(entry(1, "video", "c" * 64, frames=black, weak=True))
    assert places(look.find(posted(Media(id="m1")), {"m1": video(*black)})) == [("sha256", 1, Whole("media:m1"))]
    assert look.find(posted(Media(id="m1")), {"m1": video(*black, sha256="e" * 64)}) == ()


def test_black_frames_match_nothing():
    look = known(entry(1, "video", "c" * 64, frames=(*frames([1, 2], quality=10), *frames([3, 4, 5], start=2))))
    seen = video(*frames([1, 2], quality=10), *frames([7, 8], start=2), sha256="e" * 64)
    assert look.find(posted(Media(id="m1")), {"m1": seen}) == ()
    assert look.find(posted(Media(id="m1")), {"m1": image(pdq(1))}) == ()


def test_a_picture_out_of_a_known_video_is_found_at_its_second():
    look = known(entry(1, "video", "c" * 64, frames=frames(range(20))))
    (finding,) = look.find(posted(Media(id="m1")), {"m1": image(off(pdq(7), 5))})
    assert (finding.detector, finding.kind, finding.match.distance) == ("pictures", "pdq", 5)
    assert finding.where == Frames("m1", 1.0, 0.05, (TimeRange(0.0, 0.0, 7.0, 8.0),))


def test_a_known_picture_shown_in_a_video_is_found_at_its_seconds():
    look = known(entry(1, "pdq", pdq(7)), entry(2, "pdq", pdq(99)))
    (finding,) = look.find(posted(Media(id="m1")), {"m1": video(*frames([1, 7, 7, 2, 7]))})
    assert finding.where == Frames("m1", 0.6, 1.0, (TimeRange(1.0, 3.0, 0.0, 0.0), TimeRange(4.0, 5.0, 0.0, 0.0)))
    assert finding.match.entry == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=12), st.lists(st.integers(0, 6), max_size=12))
def test_a_video_is_found_exactly_where_half_of_either_matches(mine, theirs):
    look = known(entry(1, "video", "c" * 64, frames=frames(theirs)))
    findings = look.find(posted(Media(id="m1")), {"m1": video(*frames(mine), sha256="e" * 64)})
    shared = match_videos(video(*frames(mine)), video(*frames(theirs)), 31, near=NEAR)
    assert bool(findings) == (max(shared.share, shared.known_share) >= 0.5)


# Everything at once


@given(st.text(max_size=80), st.lists(st.text(min_size=1, max_size=40), max_size=4))
def test_what_a_stranger_sends_is_looked_at_without_complaint(text, links):
    look = known(entry(1, "term", "a"), entry(2, "domain", "example.org"), entry(3, "url", "https://example.org/"))
    event = post(text, links=tuple(links), account=Account(id="a1", bio=text, display_name=text))
    for finding in look.find(event):
        if isinstance(finding.where, Span) and finding.where.field == "post.text":
            assert text[finding.where.start : finding.where.end] == finding.seen


def test_nothing_known_finds_nothing():
    look = known()
    assert (
        look.find(
            post("iron wolf https://bad.example", media=(Media(id="m1", sha256="a" * 64),)), {"m1": video(*frames([1]))}
        )
        == ()
    )
