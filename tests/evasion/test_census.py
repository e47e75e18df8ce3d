"""What is usual is counted with the evidence, survives every process, names nobody, and is forgotten in time."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.db import connection, transaction
from pytest_django.fixtures import Settings

from redshank.evasion import census as room
from redshank.evasion import services as evasion
from redshank.evasion.census import Census, join_log
from redshank.evasion.deciding import erase
from redshank.evasion.evidence import DEVICE, FOLLOW, FOLLOWER, LINK, MENTION, keys_of
from redshank.evasion.models import News, ProfileRecord, Tally, TallyPage, TieRecord
from redshank.pipeline import accept
from tests.evasion.events import NOW, circle, event, follows, sign_up, take, work

pytestmark = pytest.mark.django_db(transaction=True)
LONG_AGO = NOW - timedelta(days=900)


@pytest.fixture(autouse=True)
def own_folder(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr("redshank.evasion.census.FRESH", 0)
    monkeypatch.setattr("redshank.evasion.targets.FRESH", 0)


def known(kind: int, *values: str, network: str = "marsh", now=NOW, by: Census | None = None) -> list[int]:  # type: ignore[no-untyped-def]
    """How many accounts carry each of `values`, as a new process sees it."""
    kinds = np.full(len(values), kind, np.uint8)
    people = kind in {FOLLOW, FOLLOWER, MENTION}
    values = tuple(f"marsh/{value}" if people else value for value in values)
    wanted = np.append(keys_of(list(values), kinds).astype(np.int64), np.full(5, -1))
    usual = (by or Census()).network(network, now=now).usual(wanted, kinds)
    return [round(value) for value in usual.known[:-5]]


def table() -> bytes:
    made = Census()
    made.network("marsh", now=NOW)
    return bytes(made._population._now.tobytes())


def veterans(many: int) -> list[bytes]:
    """Accounts that are years old, and never watched: all follow a star, greet a friend and link the news."""
    made = []
    for number in range(many):
        who = {"id": f"v{number}", "created_at": LONG_AGO.isoformat(), "tokens": ["device:q1:AAAAAAAAAAAAAAAAAAAAAA"]}
        made.append(event("follow.created", who, followed={"id": "star"}))
        post = {"id": f"vp{number}", "text": "morning", "mentions": ["friend"], "links": ["https://news.example/1"]}
        made.append(event("post.created", who, post=post))
    return made


def test_all_accounts_are_counted_once_under_what_they_carry_and_none_is_kept() -> None:
    events = veterans(12)
    take(events)
    work()
    accept(events, now=NOW, actor="key:marsh")  # Sent again, as senders do.
    take(veterans(12))  # And told again: they follow anew, and say the same.
    work()
    twelve = pytest.approx(12, abs=5)
    assert known(FOLLOW, "star", "nobody") == [twelve, 0]
    assert known(MENTION, "friend") == [twelve]
    assert known(LINK, "news.example") == [twelve]
    assert known(DEVICE, "q1\0AAAAAAAAAAAAAAAAAAAAAA") == [twelve]
    # The star was followed by each of them, who follow one account each.
    assert known(FOLLOWER, "v0", "v11") == [2, 2]
    assert known(FOLLOW, "star", network="dunes") == [0]
    assert not ProfileRecord.objects.exists()
    with connection.cursor() as cursor:
        for model in (Tally, TallyPage):
            cursor.execute(f"SELECT * FROM {model._meta.db_table}")
            assert all("v11" not in str(row) for row in cursor.fetchall())


def test_every_process_counts_into_one_table_and_joining_its_log_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Census()
    take([sign_up("a1"), *follows("a1", circle(0, 30))])
    work()
    one.network("marsh", now=NOW)
    before = table()
    assert join_log(now=NOW) == 0  # It is short.
    with monkeypatch.context() as broken:  # Killed when some pages are joined and the others are not.
        broken.setattr(room, "STEP", 3)
        save = TallyPage.save
        saved: list[int] = []

        def dies(page: TallyPage, **ways: object) -> None:
            if len(saved) == 7:
                raise SystemExit
            saved.append(page.page)
            save(page, **ways)  # type: ignore[arg-type]

        broken.setattr(TallyPage, "save", dies)
        with pytest.raises(SystemExit):
            join_log(now=NOW, always=True)
    assert Tally.objects.exists()
    assert TallyPage.objects.filter(version__gt=0).exists()
    assert table() == before
    join_log(now=NOW, always=True)
    assert not Tally.objects.exists()
    assert table() == before
    take([sign_up("a2"), *follows("a2", circle(0, 5))])
    work()
    assert known(FOLLOW, "f0", "f9", by=one) == known(FOLLOW, "f0", "f9") == [2, 1]
    assert join_log(now=NOW, always=True)
    assert known(FOLLOW, "f0", "f9", by=one) == [2, 1]
    # A process that outlives its store begins anew with the one that was put back.
    Tally.objects.all().delete()
    TallyPage.objects.all().delete()
    assert known(FOLLOW, "f0", by=one) in ([0], [2])
    take([sign_up("a3"), *follows("a3", circle(0, 5))])
    work()
    assert known(FOLLOW, "f0", by=Census()) == [1]


def test_what_is_undone_is_not_counted() -> None:
    take([sign_up("a1"), *follows("a1", circle(0, 5))])
    with transaction.atomic():
        evasion._gather_news(NOW, 100)
        transaction.set_rollback(True)
    assert News.objects.exists()
    assert known(FOLLOW, "f0") == [0]
    work()
    assert known(FOLLOW, "f0") == [1]


def test_counts_outlive_the_accounts_and_are_forgotten_after_two_seasons() -> None:
    take([sign_up("a1"), *follows("a1", circle(0, 5))])
    work()
    with transaction.atomic():
        assert erase("marsh", "a1", now=NOW)
    join_log(now=NOW, always=True)
    assert known(FOLLOW, "f0") == [1]
    season = timedelta(days=room.SEASON_DAYS)
    assert known(FOLLOW, "f0", now=NOW + season) == [1]
    assert known(FOLLOW, "f0", now=NOW + 2 * season) == [0]
    join_log(now=NOW + 2 * season)
    assert not TallyPage.objects.exists()


def test_following_whom_everybody_follows_ties_nobody_however_few_are_suspended() -> None:
    """One suspended account follows sixteen stars and sixteen friends; a fan follows the stars, its owner comes back to the friends."""
    stars, friends = [f"star{n}" for n in range(16)], [f"friend{n}" for n in range(16)]
    then, now = NOW - timedelta(days=9), NOW - timedelta(hours=2)
    take([sign_up("old", at=then), *follows("old", [*stars, *friends], at=then)])
    for number in range(150):
        take([sign_up(f"p{number}", at=then), *follows(f"p{number}", [*stars, f"own{number}"], at=then)])
    work()
    take([event("account.suspended", "old", at=NOW - timedelta(hours=9))])
    for name, whom in (("fan", stars), ("back", friends)):
        take([sign_up(name, at=now), *follows(name, [*whom, *circle(500 if name == "fan" else 600, 4)], at=now)])
    work(now=NOW + timedelta(minutes=1))
    assert {tie.new.account_id: tie.band for tie in TieRecord.objects.select_related("new")} == {"back": "possible"}
