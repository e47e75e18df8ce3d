from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from redshank import rows
from redshank.archive.models import AccountRecord
from redshank.banks.models import Seen

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.django_db
def test_where_a_transaction_takes_long_the_next_does_less(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(rows.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(rows.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    turns = rows.Turns(9000)
    sizes = []
    for seconds in (0.2, 0.1, 0.1, 0.3, 0.3, 0.3, 9.0, 0.2, 0.1, 0.1, 0.1):
        before = now[0]
        with turns.next():
            waited = now[0] - before
            now[0] += seconds
        sizes.append(turns.size)
        assert waited <= rows.GAP + 1e-9
    assert sizes == [4000, 8000, 9000, 4500, 2250, 1125, 1000, 1000, 2000, 4000, 8000]
    few = rows.Turns(2)
    with few.next():
        now[0] += 5
    assert few.size == 2


@pytest.mark.django_db
def test_among_finds_what_in_does_however_many_are_asked_for():
    from django.db.models import F
    from django.utils import timezone

    names = ["a", "b'c", 'd"e', "ü\\n", "%s", "f"]
    AccountRecord.objects.bulk_create(
        [
            AccountRecord(network="n", account_id=name, first_seen=timezone.now(), last_seen=timezone.now())
            for name in names
        ]
    )
    asked = {*names[1:5], *(f"none-{number}" for number in range(70_000))}
    found = AccountRecord.objects.filter(rows.Among(F("account_id"), asked), network="n")
    assert {one.account_id for one in found} == set(names[1:5])
    assert not AccountRecord.objects.filter(rows.Among(F("account_id"), []), network="n")
    numbers = [one.pk for one in found]
    assert AccountRecord.objects.filter(rows.Among(F("id"), numbers)).count() == 4


@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.timezones()))  # noqa: DTZ001
def test_a_time_is_kept_as_the_orm_keeps_it(at):
    assert rows.times()(at) == connection.ops.adapt_datetimefield_value(at)


@pytest.mark.django_db
def test_what_is_added_is_told_from_what_was_there_and_stays_until_it_is_changed():
    def account(name, followers):
        return (name, "", followers, rows.times()(NOW))

    def add(*told):
        names, giving = ("account_id", "handle", "followers", "last_seen"), ("account_id", "followers", "id")
        same = {
            "network": "n",
            "labels": ["x"],
            "first_seen": NOW,
            "state": "active",
            "display_name": "",
            "bio": "",
            "url": "",
        }
        return rows.add(AccountRecord, told, names, same=same, unique=("network", "account_id"), giving=giving)

    assert add() == []
    first = add(account("a", 1), account("b", None))
    AccountRecord.objects.get(account_id="b").delete()
    again = add(account("a", 2), account("b", 3), account("c", 4))
    assert {row[:2] for row in first} == {("a", 1), ("b", None)}
    assert {row[:2] for row in again} == {("b", 3), ("c", 4)}
    number = {name: pk for name, _, pk in [*first, *again]}
    rows.change(AccountRecord, [("A%s", None, number["a"]), ("C", 5, number["c"])], ("handle", "followers"))
    stand = AccountRecord.objects.order_by("account_id").values_list("account_id", "handle", "followers", "labels")
    assert list(stand) == [("a", "A%s", None, ["x"]), ("b", "", 3, ["x"]), ("c", "C", 5, ["x"])]
    picked = rows.pick(AccountRecord, "account_id", "ac", ("followers", "last_seen"), same={"network": "n"}, lock=True)
    assert sorted(picked, key=str) == [(5, rows.times()(NOW)), (None, rows.times()(NOW))]


@pytest.mark.django_db
def test_rows_that_nothing_makes_unique_may_be_equal():
    packed = bytes(range(256))
    rows.add(Seen, [("e", "m", packed)] * 2, ("event_id", "media_id", "hashes"), same={"network": "n", "at": NOW})
    found = Seen.objects.filter(at__gt=NOW - timedelta(seconds=1)).values_list("event_id", "hashes")
    assert [(event, bytes(hashes)) for event, hashes in found] == [("e", packed)] * 2
