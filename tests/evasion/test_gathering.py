"""What is gathered stays small and is the same, whatever comes, however much of it, in whatever order."""

import zlib
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from redshank.core import Account, FollowCreated
from redshank.evasion.evidence import DECLARED, FOLLOW, LIMITS
from redshank.evasion.gathering import Evidence, _add, gather, pack, unpack

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def _smallest(values: set[str], kind: int) -> set[str]:
    return set(sorted(values, key=lambda value: (zlib.crc32(value.encode()), value))[: LIMITS[kind]])


def test_of_a_million_followed_the_same_small_sample_is_kept() -> None:
    ids = (f"u{number}" for number in range(1_000_000))
    kept: list[str] = []
    for one in ids:
        _add(kept, one, FOLLOW)
    assert set(kept) == _smallest({f"u{number}" for number in range(1_000_000)}, FOLLOW)
    evidence = Evidence(follows=kept)
    assert len(pack(evidence)) < 40_000
    assert unpack(pack(evidence)).follows == kept


@given(st.lists(st.sampled_from([f"v{number}" for number in range(60)])), st.data())
def test_the_sample_does_not_depend_on_the_order_or_on_what_is_told_twice(
    values: list[str], data: st.DataObject
) -> None:
    kept: list[str] = []
    other: list[str] = []
    for value in values:
        _add(kept, value, DECLARED)
    for value in data.draw(st.permutations([*values, *values[:20]])):
        _add(other, value, DECLARED)
    assert len(kept) == len(set(kept))
    assert set(kept) == set(other) == _smallest(set(values), DECLARED)


def test_whom_a_greedy_account_no_longer_follows_makes_room() -> None:
    heap = Evidence()

    def follow(number: int) -> FollowCreated:
        followed = Account(id=f"u{number}")
        return FollowCreated(id=f"e{number}", network="marsh", at=NOW, account=Account(id="a"), followed=followed)

    for number in range(3_000):
        gather(heap, follow(number), "a")
    assert (len(heap.follows), heap.follow_count) == (LIMITS[FOLLOW], 3_000)
    dropped = heap.follows.pop(7)
    assert gather(heap, follow(int(dropped.removeprefix("marsh/u"))), "a") == {"follow"}
    assert set(heap.follows) == _smallest({f"marsh/u{number}" for number in range(3_000)}, FOLLOW)
