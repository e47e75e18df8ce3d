from __future__ import annotations

import pytest

from redshank import rows
from redshank.archive.models import AccountRecord


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
