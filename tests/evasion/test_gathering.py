"""What is gathered stays small and is the same, whatever comes, however much of it, in whatever order."""

import json
import zlib
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from redshank.core import Account, Event, FollowCreated, decode_event
from redshank.evasion.evidence import DECLARED, FOLLOW, LIMITS
from redshank.evasion.gathering import Evidence, _add, gather, pack, profile_of, spoken_of, unpack
from redshank.evasion.profiles import KeyedToken

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


def test_all_that_a_platform_tells_of_an_account_becomes_evidence() -> None:
    def told(kind: str, account: dict[str, object] | str, hour: int = 9, **more: object) -> Event:
        who = {"id": account} if isinstance(account, str) else account
        body = {"id": kind, "network": "marsh", "type": kind, "at": f"2026-06-01T{hour:02}:30:00Z", "account": who}
        return decode_event(json.dumps({**body, **more}).encode(), now=NOW)

    own = {
        "id": "a", "handle": "reed", "display_name": "Reed Singer", "bio": "songs, also @reed@dunes.example",
        "created_at": "2026-05-31T00:00:00Z", "links": ["https://Songs.example/@Reed"], "tokens": ["device:q1:AAAAAAAAAAAAAAAAAAAAAA"],
        "avatar": {"id": "m1", "pdq": "a3" * 32}, "banner": {"id": "m2", "pdq": "5c" * 32}, "language": "de",
    }  # fmt: skip
    heap = Evidence()
    gather(heap, told("account.created", own), "a")
    gather(heap, told("follow.created", "a", followed={"id": "b"}), "a")
    gather(heap, told("follow.created", "c", followed={"id": "a"}), "a")
    gather(heap, told("post.created", "d", post={"id": "p0", "text": "welcome back", "mentions": ["a"]}), "a")
    for number in range(6):
        post = {
            "id": f"p{number}",
            "text": "tea !!",
            "mentions": ["e"],
            "links": ["https://kilns.example/x"],
            "hashtags": ["Kilns"],
        }
        gather(heap, told("post.created", "a", 7, post=post), "a")
    seen = profile_of(heap, 1)
    assert (seen.handle, seen.display_name, seen.bio, seen.language) == ("reed", "Reed Singer", own["bio"], "de")
    assert (seen.avatar.hex(), seen.banner.hex()) == ("a3" * 32, "5c" * 32)
    assert {"kilns.example", "kilns.example/x", "songs.example"} <= set(seen.links)
    assert {"songs.example/reed", "dunes.example/reed"} <= set(seen.declared)
    assert (seen.follows, seen.mentions, set(seen.followers)) == (("marsh/b",), ("marsh/e",), {"marsh/c", "marsh/d"})
    assert [hour for hour, posts in enumerate(seen.hours) if posts] == [7]
    assert "#kilns" in seen.habits
    assert seen.tokens == (KeyedToken("device", "q1", "AAAAAAAAAAAAAAAAAAAAAA"),)
    assert seen.created_at == 1_780_185_600
    # Those who only follow or greet are known by that alone.
    assert spoken_of(told("follow.created", "c", followed={"id": "a"})) == ["c", "a"]
