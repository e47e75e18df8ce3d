"""What a bank and an entry say of themselves beside the value: harmless, sampled, expiring, disputed, and by whom."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from redshank.audit.models import Entry as AuditEntry
from redshank.banks import services
from redshank.banks.models import Entry
from redshank.core import Account, BadInput, Media, Problem
from redshank.media import Frame, ImageHashes, VideoHashes
from tests.banks.conftest import NOW, post, posted

PDQ = "f8f8f0cee0f4a84f06370a22028f67f0b36e2ed596621e1d33e6b39c4e9c9b22"
pytestmark = pytest.mark.django_db


def flipped(bits: int) -> str:
    return f"{int(PDQ, 16) ^ ((1 << bits) - 1) << 7:064x}"


def seen(event, media=None):
    """(entry, withheld) of what is found."""
    found = services.known(fresh=True).find(event, media or {})
    return sorted((finding.match.entry, finding.match.withheld) for finding in found)


def picture(pdq, **digests):
    return ImageHashes(pdq=pdq, quality=100, width=9, height=9, **({"sha256": "", "md5": ""} | digests))


@pytest.mark.parametrize(("known", "harmless", "matches"), [(4, 10, True), (10, 10, False), (10, 4, False)])
def test_a_picture_matches_only_what_is_nearer_than_what_is_harmless(make, known, harmless, matches):
    _, bad = make("pdq", flipped(known))
    _, good = make("pdq", flipped(harmless) if harmless != known else f"{int(PDQ, 16) ^ ((1 << known) - 1) << 90:064x}", name="logos", negative=True)  # fmt: skip
    wanted = [(bad.entries[0], "")] if matches else []
    assert seen(posted(Media(id="m1", pdq=PDQ))) == [*wanted, (good.entries[0], "harmless")]


def test_a_file_known_as_harmless_matches_nothing_else_and_a_likeness_does_not_outdo_the_same_bytes(make):
    _, bad = make("sha256", "a" * 64, "b" * 64)
    _, logo = make("pdq", PDQ, name="logos", negative=True)
    both = {"m1": picture(PDQ, sha256="a" * 64)}
    assert seen(posted(Media(id="m1")), both) == [(bad.entries[0], ""), (logo.entries[0], "harmless")]
    _, good = make("sha1", "c" * 40, name="press", negative=True)
    both = {"m1": picture(PDQ, sha256="a" * 64, sha1="c" * 40)}
    assert seen(posted(Media(id="m1")), both) == [(logo.entries[0], "harmless"), (good.entries[0], "harmless")]


def test_a_harmless_picture_in_a_video_takes_away_only_its_own_seconds(make):
    other = f"{int(PDQ, 16) ^ int('5a' * 32, 16):064x}"
    _, bad = make("pdq", flipped(6), other)
    _, logo = make("pdq", PDQ, name="logos", negative=True)
    frames = tuple(Frame(float(second), PDQ if second < 3 else other, 100) for second in range(6))
    film = VideoHashes(sha256="d" * 64, md5="", frames=frames, seconds=6, width=9, height=9)
    assert seen(posted(Media(id="m1")), {"m1": film}) == [(bad.entries[1], ""), (logo.entries[0], "harmless")]


def test_a_term_within_a_harmless_phrase_and_a_link_below_a_harmless_one_are_no_match(make):
    _, wolf = make("term", "iron wolf")
    _, club = make("term", "iron wolf football club", name="clubs", negative=True)
    assert seen(post("the iron wolf football club won")) == [(club.entries[0], "harmless")]
    both = seen(post("iron wolf football club? iron wolf!"))
    assert both == [(wolf.entries[0], ""), (club.entries[0], "harmless")]
    _, site = make("domain", "wolf.example")
    _, press = make("url", "https://wolf.example/press/*", name="press", negative=True)
    assert seen(post("https://wolf.example/press/today")) == [(press.entries[0], "harmless")]
    assert seen(post("https://wolf.example/join")) == [(site.entries[0], "")]


def test_a_name_is_known_however_it_is_written_and_in_whole_only(make):
    _, made = make("name", "Iron Wolf Brigade", "@iw")
    assert [aside.reason for aside in made.set_aside] == ["2 letters and digits; a name has 3 at least"]
    for handle in ("@iron_wolf.brigade", "IronWolfBrigade@reed.example", "ｉｒｏｎ-wolf-brigade"):
        assert seen(post(account=Account(id="a", handle=handle))) == [(made.entries[0], "")]
    assert seen(post(account=Account(id="a", display_name="The Iron Wolf Brigade Watch"))) == []


def test_new_digests_are_found_as_the_platform_gives_them(make):
    _, one = make("sha1", "SHA1:" + "A" * 40)
    _, two = make("sha512", "b" * 128)
    event = posted(Media(id="m1", sha1="a" * 40, sha512="B" * 128))
    assert seen(event) == [(one.entries[0], ""), (two.entries[0], "")]


def test_an_event_is_sampled_once_and_for_all(make):
    make("term", "iron wolf", sampled=30)
    events = [post("iron wolf").__class__(id=f"e{n}", network="marsh", at=NOW, account=Account(id="a"), post=post("iron wolf").post) for n in range(500)]  # fmt: skip
    known = services.known(fresh=True)
    held = {event.id for event in events if known.find(event)}
    assert 100 < len(held) < 200
    assert held == {event.id for event in events if known.find(event)}


def test_a_term_is_not_sought_in_posts_said_to_be_in_another_language(make):
    make("term", "gift", languages="de, de-AT")
    assert seen(post("a gift", language="en-GB")) == []
    assert len(seen(post("ein Gift", language="de_CH"))) == len(seen(post("gift"))) == 1


@pytest.mark.parametrize("kind", ["term", "sha1"])
def test_an_entry_expires_by_itself(make, kind):
    bank, _ = make(kind, expires_days=2)
    value = "iron wolf" if kind == "term" else "a" * 40
    event = post("iron wolf", media=(Media(id="m1", sha1="a" * 40),))
    start = datetime.now(UTC) - timedelta(days=2) + timedelta(seconds=0.5)
    services.add_entries(bank, [services.NewEntry(value=value)], by="system", now=start)
    assert services.known(fresh=True).find(event)
    time.sleep(0.6)
    assert not services.known(fresh=True).find(event)


def test_a_bank_is_changed_within_bounds_and_it_is_written_down(make):
    bank, _ = make("term", "iron wolf")
    different = services.change_bank(
        bank, {"severity": 5, "active": False, "source": bank.source}, by="user:lee", now=NOW
    )
    assert different == {"severity": [3, 5], "active": [True, False]}
    assert not services.known().find(post("iron wolf"))
    step = AuditEntry.objects.get(step="bank.changed")
    assert (step.actor, step.body) == ("user:lee", different)
    assert services.change_bank(bank, {"severity": 5}, by="user:lee", now=NOW) == {}
    for wrong in ({"kind": "url"}, {"sampled": 101}, {"languages": "Klingon!"}, {"expires_days": 0}, {"limit": 3}):
        with pytest.raises(Problem):
            services.change_bank(bank, wrong, by="user:lee", now=NOW)
    assert AuditEntry.objects.filter(step="bank.changed").count() == 1


def test_an_entry_is_disputed_settled_judged_and_noted(make):
    _, made = make("term", "iron wolf")
    (entry,) = made.entries
    with pytest.raises(BadInput):
        services.dispute_entry(entry, " ", by="user:lee", now=NOW)
    services.dispute_entry(entry, "It is a football club.", by="user:lee", now=NOW)
    assert Entry.objects.get().dispute == "It is a football club."
    assert services.known(fresh=True).find(post("iron wolf")), "a dispute alone takes nothing out of force"
    services.give_opinion(entry, "marsh watch", "agrees", by="user:lee", now=NOW)
    services.give_opinion(entry, "marsh watch", "disagrees", note="a club", by="user:lee", now=NOW)
    services.settle_dispute(entry, "The club is another.", by="user:ada", now=NOW)
    services.note_entry(entry, "Seen since May.", by="user:ada", now=NOW)
    there = Entry.objects.get()
    assert (there.dispute, there.disputed_at, there.note) == ("", None, "Seen since May.")
    assert [(one.source, one.says, one.note) for one in there.opinions.all()] == [
        ("marsh watch", "disagrees", "a club")
    ]
    steps = list(AuditEntry.objects.filter(step__startswith="entry.").order_by("id").values_list("step", flat=True))
    assert steps == ["entry.added", "entry.disputed", "entry.opinion", "entry.opinion", "entry.dispute_settled", "entry.noted"]  # fmt: skip
    with pytest.raises(Problem, match="no such entry"):
        services.note_entry(entry + 1, "", by="user:ada", now=NOW)
