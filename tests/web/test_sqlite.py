"""Writers on SQLite wait for each other, as long as they are told to."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection, transaction

from redshank.banks.models import BankStep

pytestmark = pytest.mark.django_db(transaction=True)


def patience() -> int:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        (found,) = cursor.fetchone()
    return int(found)


def test_who_waits_writes_once_the_other_has_done_or_gives_up_when_its_time_is_over() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("of SQLite alone")
    usual = patience()
    holds, waits, may_end = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            BankStep.objects.create(number=1)
            holds.set()
            assert may_end.wait(30)
        connection.close()

    def follow() -> list[int]:
        waits.set()
        with transaction.atomic():
            seen = list(BankStep.objects.values_list("number", flat=True))
            BankStep.objects.create(number=2)
        assert patience() == usual
        connection.close()
        return seen

    def give_up() -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 20")
        with pytest.raises(OperationalError, match="locked"), transaction.atomic():
            pass
        assert patience() == 20
        connection.close()

    with ThreadPoolExecutor(3) as pool:
        holder = pool.submit(hold)
        assert holds.wait(30)
        try:
            pool.submit(give_up).result()
            follower = pool.submit(follow)
            assert waits.wait(30)
            assert not follower.done()
        finally:
            may_end.set()
        holder.result()
        assert follower.result() == [1]
    assert set(BankStep.objects.values_list("number", flat=True)) == {1, 2}
