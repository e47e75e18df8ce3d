"""Returning accounts online: evidence from events, suspensions as targets at once, ties kept, taken back, never doubled."""

import math
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from django.conf import settings
from django.db import transaction
from pytest_django.fixtures import Settings

from redshank.archive import services as archive
from redshank.audit.models import Entry
from redshank.cases.models import Case
from redshank.cli import main
from redshank.evasion import services as evasion
from redshank.evasion.gathering import profile_of, unpack
from redshank.evasion.model import Model, Tie, save_model
from redshank.evasion.models import DayCount, News, ProfileRecord, TieRecord
from redshank.evasion.targets import Targets, targets
from redshank.pipeline import accept, ask_due
from tests.evasion.events import NOW, circle, come_back, event, follows, posts, scene, sign_up, take, work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_folder(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr("redshank.evasion.targets.FRESH", 0)


def tie_of(account_id: str = "new") -> TieRecord | None:
    return TieRecord.objects.filter(new__account_id=account_id, old__account_id="old").first()


def test_an_owner_who_comes_back_is_found_with_reasons_and_put_before_a_person() -> None:
    scene()
    come_back()
    work()
    tie = tie_of()
    assert tie is not None
    assert (tie.band, tie.state) == ("likely", "open")
    assert TieRecord.objects.count() == 1
    bits = {reason["kind"]: reason["bits"] for reason in tie.reasons}
    assert bits["follows"] > 5
    assert tie.shared["counts"]["follows"] == 20
    assert [moment["why"] for moment in tie.moments][-1] in ("20 follows", "3 posts")
    case = Case.objects.get()
    assert (case.subject_kind, case.subject_id, case.queue, case.policy.slug) == (
        "account",
        "new",
        "returning",
        "ban-evasion",
    )  # type: ignore[union-attr]
    before = Case.objects.count(), TieRecord.objects.count(), case.items.count()
    work(now=NOW + timedelta(minutes=5))
    assert (Case.objects.count(), TieRecord.objects.count(), case.items.count()) == before
    assert not archive.account_of("marsh", "new").labels  # type: ignore[union-attr]
    assert DayCount.objects.get().likely == 1


def test_the_model_file_says_which_scorer_weighs(settings: Settings, tmp_path: Path, fitted: Model) -> None:
    save_model(fitted, tmp_path / "model.json")
    evasion_settings = msgspec.structs.replace(settings.REDSHANK.evasion, model=str(tmp_path / "model.json"))
    settings.REDSHANK = msgspec.structs.replace(settings.REDSHANK, evasion=evasion_settings)
    scene()
    come_back()
    work()
    tie = tie_of()
    assert tie is not None
    assert tie.band in ("likely", "possible")
    assert tie.model.startswith("2026-07-01-")
    bits = math.fsum(reason["bits"] for reason in tie.reasons)
    assert tie.probability == pytest.approx(1 / (1 + 2**-bits))
    assert {reason["kind"]: reason["bits"] for reason in tie.reasons}["follows"] > 0.5


def test_the_answer_grows_with_what_is_known() -> None:
    scene()
    at = NOW - timedelta(hours=1)
    take([sign_up("new", at=at)])
    work()
    assert tie_of() is None
    for many in (5, 10, 20):
        take(follows("new", circle(many // 2 if many > 5 else 0, many - many // 2 if many > 5 else 5), at=at))
        work()
    tie = tie_of()
    assert tie is not None
    chances = [moment["probability"] for moment in tie.moments]
    assert len(chances) >= 2
    assert chances[-1] == max(chances)


def test_a_restored_account_is_gone_at_once_with_its_ties_and_their_labels() -> None:
    scene()
    come_back()
    work()
    tie = tie_of()
    assert tie is not None
    with transaction.atomic():
        archive.add_labels({("marsh", "new"): {"returned", "kept"}})
        evasion.note_labels([tie], {"returned"})
    take([event("account.restored", "old", at=NOW - timedelta(minutes=1))])
    tie.refresh_from_db()
    assert tie.state == "withdrawn"
    assert archive.account_of("marsh", "new").labels == ["kept"]  # type: ignore[union-attr]
    number = ProfileRecord.objects.get(account_id="old").pk
    assert number not in targets().index(fresh=True)
    come_back("third")
    work()
    assert tie_of("third") is None
    assert Entry.objects.filter(step="tie.withdrawn").exists()


def test_old_news_of_a_suspension_never_undoes_a_newer_restoration() -> None:
    take([sign_up("a1", at=NOW - timedelta(days=3))])
    take([event("account.restored", "a1", at=NOW - timedelta(days=1))])
    take([event("account.suspended", "a1", at=NOW - timedelta(days=2))])
    assert not ProfileRecord.objects.filter(target=True).exists()


def test_every_process_learns_of_a_suspension_and_of_its_end(tmp_path: Path) -> None:
    scene(others=5)
    one, other = Targets(tmp_path / "a"), Targets(tmp_path / "b")
    assert len(one.index(fresh=True)) == len(other.index(fresh=True)) == 6
    take([event("account.suspended", "late", at=NOW - timedelta(hours=2))])
    number = ProfileRecord.objects.get(account_id="late").pk
    assert number in one.index(fresh=True)
    assert number in other.index(fresh=True)
    take([event("account.restored", "late", at=NOW - timedelta(hours=1))], now=NOW + timedelta(minutes=1))
    assert number not in one.index(fresh=True)
    assert number not in other.index(fresh=True)


def test_the_index_file_is_written_mapped_and_made_again_when_it_is_damaged(tmp_path: Path) -> None:
    scene(others=20)
    first = Targets(tmp_path)
    assert first.keep(now=NOW, always=True)
    file = tmp_path / "suspended.rsx"
    take([event("account.suspended", "late", at=NOW)], now=NOW + timedelta(minutes=10))
    take([event("account.restored", "s3", at=NOW)], now=NOW + timedelta(minutes=10))
    late, gone = (ProfileRecord.objects.get(account_id=name).pk for name in ("late", "s3"))
    for damage in (
        lambda raw: raw,
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:-200] + bytes(200),
        lambda raw: b"",
    ):
        file.write_bytes(damage(file.read_bytes()))
        index = Targets(tmp_path).index(fresh=True)
        assert len(index) == 21
        assert late in index
        assert gone not in index
        first.keep(now=NOW, always=True)
    (tmp_path / "suspended.rsx.1234.part").write_bytes(b"half")  # What a killed writer leaves.
    assert len(Targets(tmp_path).index(fresh=True)) == 21


def test_a_worker_killed_between_gathering_and_asking_leaves_nothing_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    scene()
    come_back()
    with monkeypatch.context() as broken:
        broken.setattr(evasion, "_stage", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evasion.gather_news(now=NOW)
    assert News.objects.exists()
    while evasion.gather_news(now=NOW):
        pass
    with monkeypatch.context() as broken:
        broken.setattr(evasion, "keep_ties", lambda *_, **__: 1 / 0)
        assert ask_due(now=NOW, limit=10) == 1
    assert tie_of() is None
    later = NOW + evasion.LEASE
    assert ask_due(now=later, limit=10) == 1
    assert tie_of() is not None
    assert Case.objects.count() == 1


def test_an_account_that_is_suspended_unwatched_is_known_by_its_kept_events() -> None:
    then = NOW - timedelta(days=400)
    take([sign_up("ancient", at=then), *follows("ancient", circle(500, 12), at=then)])
    work()
    assert not ProfileRecord.objects.exists()
    take([event("account.suspended", "ancient", at=NOW)])
    about = ProfileRecord.objects.get(account_id="ancient")
    assert about.target
    assert len(unpack(bytes(about.evidence)).follows) == 12


def test_what_was_gathered_of_those_who_grew_old_untied_goes() -> None:
    scene(others=2)
    take([sign_up("innocent", at=NOW - timedelta(hours=1)), *follows("innocent", circle(900, 6))])
    work()
    assert ProfileRecord.objects.filter(account_id="innocent").exists()
    assert evasion.forget(now=NOW + timedelta(days=31)) == 1
    assert ProfileRecord.objects.filter(target=True).count() == 3


def test_tokens_expire_and_those_of_a_retired_key_are_dropped(settings: Settings) -> None:
    import msgspec

    token = "mail:q1:AAAAAAAAAAAAAAAAAAAAAA"
    take([sign_up("a1", at=NOW - timedelta(hours=1), tokens=[token, "device:q2:BBBBBBBBBBBBBBBBBBBBBB"])])
    take([event("account.suspended", "a1")])
    work()
    about = ProfileRecord.objects.get()
    evidence = unpack(bytes(about.evidence))
    assert len(evidence.tokens) == 2
    told = evidence.tokens[0].at
    assert [len(profile_of(evidence, 1, oldest_token=oldest).tokens) for oldest in (told, told + 1)] == [2, 0]
    limits = msgspec.structs.replace(settings.REDSHANK.evasion, token_keys=("q2",))
    settings.REDSHANK = msgspec.structs.replace(settings.REDSHANK, evasion=limits)
    assert evasion.forget_old_tokens(now=NOW) == 1
    about.refresh_from_db()
    assert [seen.key for seen in unpack(bytes(about.evidence)).tokens] == ["q2"]
    assert evasion.forget_old_tokens(now=NOW + timedelta(days=91)) == 1
    about.refresh_from_db()
    assert unpack(bytes(about.evidence)).tokens == []


@pytest.mark.parametrize(
    "raw",
    [
        "address:192.168.100.200:0",
        "phone:4915112345678901",
        "device:550e8400-e29b-41d4-a716-446655440000",
        "mail:heron@reed.example",
        "device:aa-bb-cc-dd-ee-ff",
    ],
)
def test_raw_identifiers_are_refused_at_the_door(raw: str) -> None:
    (answer,) = accept([sign_up("a1", tokens=[raw])], now=NOW, actor="key:marsh")
    assert answer.status == "rejected"
    assert (answer.field or "").startswith("account.tokens[")


def test_whoever_follows_everybody_or_tells_nothing_breaks_nothing() -> None:
    scene(others=3)
    take(
        [
            event("account.created", "bare"),
            sign_up("odd", handle="\u200b" * 900, display_name="\u202e\u202eevil\u202c" * 50),
        ]
    )
    take([sign_up("hub"), *follows("hub", [f"x{number}" for number in range(3_000)])])
    work()
    hub = unpack(bytes(ProfileRecord.objects.get(account_id="hub").evidence))
    assert (len(hub.follows), hub.follow_count) == (2_000, 3_000)
    assert not TieRecord.objects.exists()
    assert not ProfileRecord.objects.filter(due_at__lte=NOW).exists()


def test_who_copies_a_face_and_a_name_ties_nobody() -> None:
    """A stranger takes a suspended account's name, bio and picture, or an innocent's profile is copied before a suspension."""
    face = "a3" * 32
    innocent = {
        "handle": "reedsinger",
        "display_name": "Reed Singer",
        "bio": "reed songs",
        "avatar": {"id": "m", "pdq": face},
    }
    take([sign_up("hostile", at=NOW - timedelta(days=9), **innocent), *follows("hostile", circle(0, 25))])
    take([event("account.suspended", "hostile", at=NOW - timedelta(days=1))])
    scene(others=30)
    take(
        [
            sign_up("innocent", at=NOW - timedelta(hours=2), **innocent),
            *follows("innocent", circle(7_000, 25)),
            *posts("innocent", 6),
        ]
    )
    work()
    assert not TieRecord.objects.filter(new__account_id="innocent").exists()


def test_one_number_on_two_networks_is_two_accounts() -> None:
    """Whoever follows the same numbers on another network follows other people, greeted by and speaking of others."""
    scene(others=30)
    at = NOW - timedelta(hours=1)
    take([sign_up("new", at=at, network="dune"), *follows("new", circle(0, 30), at=at, network="dune")])
    take(posts("new", 8, at=at, network="dune", mentions=["m1", "m2"]))
    work()
    assert not TieRecord.objects.exists()
    come_back("twin")
    work()
    assert {tie.new.account_id for tie in TieRecord.objects.all()} == {"twin"}


def test_who_says_which_account_was_theirs_on_another_network_is_found_there() -> None:
    start, at = NOW - timedelta(days=20), NOW - timedelta(hours=1)
    face, own = {"id": "m", "pdq": "a3" * 32}, "https://dune.example/@oldsinger"
    old = {"display_name": "Reed Singer", "bio": "reed songs at dawn", "avatar": face}
    take([sign_up("d1", at=start, network="dune", handle="oldsinger", url=own, **old)])
    take([*follows("d1", circle(0, 30), at=start, network="dune"), *posts("d1", 30, at=start, network="dune")])
    take([event("account.suspended", "d1", network="dune", at=NOW - timedelta(days=2))])
    scene(others=30)
    take([sign_up("b1", at=at, handle="oldsinger", **(old | {"bio": f"reed songs at dawn, I was {own}"}))])
    take([*follows("b1", circle(5_000, 30), at=at), *posts("b1", 30, at=at - timedelta(hours=1))])
    take([sign_up("b2", at=at, handle="oldsinger", **old), *follows("b2", circle(6_000, 30), at=at)])  # says nothing
    work()
    tie = TieRecord.objects.get()
    assert (tie.new.account_id, tie.old.network, tie.band) == ("b1", "dune", "possible")
    bits = {reason["kind"]: reason["bits"] for reason in tie.reasons}
    assert max(bits, key=lambda kind: bits[kind]) == "declared"
    # Who is around them there says nothing against who is around them here, nor does having had both at once.
    assert min(bits.get(kind, 0.0) for kind in ("follows", "contacts", "time")) >= 0


def test_an_innocent_whose_name_picture_and_address_were_taken_is_not_tied_on_another_network() -> None:
    start, at = NOW - timedelta(days=20), NOW - timedelta(hours=1)
    theirs = "https://marsh.example/@reedsinger"
    innocent = {
        "handle": "reedsinger",
        "display_name": "Reed Singer",
        "bio": "reed songs",
        "avatar": {"id": "m", "pdq": "a3" * 32},
    }
    take([sign_up("hostile", at=start, network="dune", **(innocent | {"bio": f"reed songs {theirs}"}))])
    take(follows("hostile", circle(0, 25), at=start, network="dune"))
    take([event("account.suspended", "hostile", network="dune", at=NOW - timedelta(days=2))])
    scene(others=30)
    take([sign_up("innocent", at=at, url=theirs, **innocent), *follows("innocent", circle(7_000, 25), at=at)])
    take(posts("innocent", 12, at=at))
    work()
    assert not TieRecord.objects.filter(new__account_id="innocent").exists()


def test_ties_are_only_ever_sought_from_a_new_account_to_suspended_ones() -> None:
    scene(others=10)
    come_back()
    come_back("twin")
    work()
    assert {(tie.new.account_id, tie.old.account_id) for tie in TieRecord.objects.all()} == {
        ("new", "old"),
        ("twin", "old"),
    }
    suspended = ProfileRecord.objects.get(account_id="old")
    assert evasion.ask(suspended, now=NOW) == []
    assert all(tie.old.target for tie in TieRecord.objects.all())


def test_a_wave_of_sign_ups_is_all_asked_about_and_nobody_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand a minute come in batches; bench.signups measures the pace. Here some are sent again, as senders do."""
    scene(others=20)
    before = DayCount.objects.get().asked
    wave = [sign_up(f"w{number}", at=NOW - timedelta(minutes=1)) for number in range(1_000)]
    asked: list[str] = []
    ask = evasion.ask

    def noted(about: ProfileRecord, *, now: datetime) -> list[Tie]:
        asked.append(about.account_id)
        return ask(about, now=now)

    monkeypatch.setattr(evasion, "ask", noted)
    for start in range(0, len(wave), 500):
        take(wave[start : start + 500])
        accept(wave[start : start + 50], now=NOW, actor="key:marsh")
        evasion.gather_news(now=NOW)  # The worker is behind all the while.
        ask_due(now=NOW, limit=50)
    work()
    work(now=NOW + timedelta(hours=1))
    assert sorted(asked) == sorted(f"w{number}" for number in range(1_000))
    assert DayCount.objects.get().asked == before + 1_000
    assert not News.objects.exists()
    assert not ProfileRecord.objects.exclude(due_at=None).exists()


def test_what_is_erased_from_the_archive_is_gone_here_and_does_not_come_back() -> None:
    scene(others=20)
    come_back()
    work()
    assert targets().keep(now=NOW, always=True)
    tie = tie_of()
    assert tie is not None
    take([sign_up("old", at=NOW), *posts("new", 3, mentions=["m9"])])  # Noted, not yet gathered.
    band, asked = tie.band, DayCount.objects.get(asked__gt=0).asked
    for account in ("old", "new", "nobody"):
        words = ["archive", "erase", "marsh", account, "--reason", "the law", "--yes"]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
    assert not (Path(settings.DATA_DIR) / "evasion" / "suspended.rsx").exists()
    work()
    assert not ProfileRecord.objects.filter(account_id__in=("old", "new")).exists()
    for number in (tie.new_id, tie.old_id):
        about = ProfileRecord.objects.get(pk=number)
        assert (bytes(about.evidence), about.target, about.event) == (b"", False, "")
    assert len(targets().index(fresh=True)) == 20
    tie.refresh_from_db()
    assert (tie.state, tie.shared, tie.band) == ("withdrawn", {}, band)
    assert sum(day.erased for day in DayCount.objects.all()) == 2
    assert DayCount.objects.get(asked__gt=0).asked == asked
