"""The archive's promises: an event is claimed once, newer news wins, kept bytes stay and others go."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from redshank.archive import services
from redshank.archive.models import AccountRecord, Blob, EventRecord
from redshank.core import Account, AccountSuspended, AccountUpdated, Post, PostCreated

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def post(number: int) -> PostCreated:
    return PostCreated(id=f"e{number}", network="marsh", at=NOW, account=Account(id="a"), post=Post(id=f"p{number}"))


@pytest.mark.django_db
def test_an_event_is_claimed_once_however_often_it_comes() -> None:
    first = services.claim([services.NewEvent(event=post(n)) for n in range(1200)], now=NOW)
    again = services.claim([services.NewEvent(event=post(n)) for n in range(1100, 1300)], now=NOW)
    assert len(first) == 1200
    assert again.keys() == {("marsh", f"e{n}") for n in range(1200, 1300)}
    assert EventRecord.objects.count() == 1300
    assert services.known_ids([("marsh", "e1"), ("other", "e1")]) == {("marsh", "e1")}


class AccountsInAnyOrder(TestCase):
    @given(st.permutations(range(5)), st.lists(st.integers(1, 5), max_size=4))
    @settings(max_examples=25, deadline=None)
    def test_the_newest_news_stands_whatever_the_order_and_the_batches(self, order: list[int], cuts: list[int]) -> None:
        news = [
            AccountUpdated(
                id=f"e{n}", network="marsh", at=NOW + timedelta(minutes=n),
                account=Account(id="a", handle=f"h{n}", bio="first" if n == 0 else None, followers=n),
            )
            for n in range(5)
        ]  # fmt: skip
        bounds = sorted({0, 5, *(min(cut, 5) for cut in cuts)})
        for start, end in pairwise(bounds):
            services.see_accounts(news[n] for n in order[start:end])
        record = AccountRecord.objects.get()
        assert (record.handle, record.followers) == ("h4", 4)
        assert (record.first_seen, record.last_seen) == (NOW, NOW + timedelta(minutes=4))


@pytest.mark.django_db
def test_a_suspension_is_kept_until_newer_news() -> None:
    suspended = AccountSuspended(id="1", network="marsh", at=NOW, account=Account(id="a"))
    earlier = AccountUpdated(id="2", network="marsh", at=NOW - timedelta(1), account=Account(id="a", handle="old"))
    services.see_accounts([suspended])
    services.see_accounts([earlier])
    record = services.account_of("marsh", "a")
    assert record is not None
    assert record.state == AccountRecord.State.SUSPENDED


@pytest.mark.django_db
def test_older_news_fill_what_nobody_told_and_change_nothing_else() -> None:
    def told(at: datetime, **fields: Any) -> AccountUpdated:
        return AccountUpdated(id="1", network="marsh", at=at, account=Account(id="a", **fields))

    services.see_accounts([told(NOW, handle="new", bio="", followers=0)])
    services.add_labels({("marsh", "a"): {"seen", "odd"}})
    borne = services.see_accounts(
        [told(NOW - timedelta(1), handle="old", bio="old", followers=7, posts=3, created_at=NOW - timedelta(9))]
    )
    record = AccountRecord.objects.get()
    assert (record.handle, record.bio, record.followers, record.posts) == ("new", "", 0, 3)
    assert (record.created_at, record.first_seen, record.last_seen) == (NOW - timedelta(9), NOW - timedelta(1), NOW)
    assert borne == {("marsh", "a"): {"seen", "odd"}}


@pytest.mark.django_db(transaction=True)
def test_writers_that_meet_on_accounts_old_and_new_do_not_wait_in_a_ring() -> None:
    """Whichever of two comes first, neither loses news, and neither is broken off."""

    def told(name: str, number: int) -> AccountUpdated:
        at = NOW + timedelta(seconds=number)
        return AccountUpdated(id=name, network="marsh", at=at, account=Account(id=name, posts=number))

    services.see_accounts(told(f"{turn}/{n}", 0) for turn in range(5) for n in range(0, 60, 2))
    start = Barrier(4)

    def see(number: int) -> None:
        try:
            for turn in range(5):
                names = Random(number).sample(range(60), 60)
                start.wait(60)
                with transaction.atomic():
                    services.see_accounts(told(f"{turn}/{n}", number) for n in names)
        except BaseException:
            start.abort()
            raise
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(see, number) for number in range(4)]:
            done.result()
    assert set(AccountRecord.objects.values_list("posts", "last_seen")) == {(3, NOW + timedelta(seconds=3))}
    assert AccountRecord.objects.count() == 300


@pytest.mark.django_db
def test_a_handle_with_a_null_character_is_storable() -> None:
    services.see_accounts(
        [AccountUpdated(id="1", network="marsh", at=NOW, account=Account(id="a", handle="a\x00b", followers=10**30))]
    )
    assert AccountRecord.objects.get().handle == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.django_db(transaction=True)
def test_only_bytes_that_nothing_needs_are_swept() -> None:
    store = services.blob_store()
    kept, old, new = store.put(b"kept"), store.put(b"old"), store.put(b"new")
    services.note_blobs({kept: 4, old: 3}, now=NOW - timedelta(days=9))
    services.note_blobs({new: 3}, now=NOW)
    services.keep_blobs([kept], "evidence")
    services.keep_blobs([kept], "case")
    assert Blob.objects.get(sha256=kept).kept_for == "evidence"
    assert services.sweep_blobs(older_than=NOW - timedelta(days=2)) == 1
    assert (store.path(kept).exists(), store.path(old).exists(), store.path(new).exists()) == (True, False, True)


@pytest.mark.django_db(transaction=True)
def test_a_leased_event_is_not_taken_twice_and_comes_back_when_its_worker_died() -> None:
    with transaction.atomic():
        services.claim([services.NewEvent(event=post(n), waiting=True) for n in range(3)], now=NOW)
    taken = services.claim_waiting(now=NOW, limit=2)
    assert len(taken) == 2
    assert len(services.claim_waiting(now=NOW, limit=5)) == 1
    assert services.settle_waiting(taken[0], {}, error="")
    assert not services.settle_waiting(taken[0], {}, error="")
    assert len(services.claim_waiting(now=NOW + services.LEASE, limit=5)) == 2
