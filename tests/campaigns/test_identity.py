"""A campaign stays itself: whoever is in it stays there, whatever else is found, and people's words outlast searches."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from redshank.campaigns.identity import Group, places


def group(names: str, objects: str = "", *, network: str = "red", label: str = "coordinated") -> Group:
    return Group(frozenset((network, name) for name in names), frozenset(objects), label)


def test_a_group_that_grew_shrank_or_lost_its_half_is_the_same() -> None:
    known = {7: group("abcdef"), 9: group("xyz")}
    for found, fresh in (("abcdefgh", "gh"), ("abc", ""), ("defuvw", "uvw")):
        (place,) = places([group(found)], known)
        assert place is not None
        assert place.campaign == 7
        assert place.fresh == group(fresh).members
    assert places([group("fuvw")], known)[0].campaign == -1  # type: ignore[union-attr]  # one member makes none the same


def test_what_a_search_unites_people_may_have_split() -> None:
    known = {7: group("abcd"), 9: group("wxyz")}
    (place,) = places([group("abcdwxyzq")], known)
    assert place is not None
    assert place.campaign == 7
    assert place.fresh == group("q").members
    assert place.elsewhere == dict.fromkeys(group("wxyz").members, 9)
    one, two = places([group("abd"), group("cwxyz")], known)  # And what it cuts otherwise, moves nobody.
    assert (one.campaign, two.campaign) == (7, 9)  # type: ignore[union-attr]
    assert two.elsewhere == {("red", "c"): 7}  # type: ignore[union-attr]


def test_who_was_taken_out_stays_out() -> None:
    (place,) = places([group("abcde")], {7: group("abcd")}, out={(7, ("red", "e"))})
    assert place is not None
    assert place.fresh == frozenset()


def test_the_same_objects_on_another_network_are_the_same_campaign() -> None:
    known = {7: group("abcd", "12345")}
    assert places([group("stuv", "3456", network="blue")], known)[0].campaign == 7  # type: ignore[union-attr]
    # Not on the same network, where they would have been one group; not where one of them looks innocent; not for two objects.
    assert places([group("stuv", "3456")], known)[0].campaign == -1  # type: ignore[union-attr]
    assert places([group("stuv", "3456", network="blue", label="audience")], known)[0].campaign == -1  # type: ignore[union-attr]
    assert places([group("stuv", "45", network="blue")], known)[0].campaign == -1  # type: ignore[union-attr]
    both = places([group("abcd", "12345"), group("stuv", "2345", network="blue")], {})  # found together
    assert [place.campaign for place in both if place] == [-1, -1]


def test_too_few_newcomers_are_no_campaign() -> None:
    assert places([group("aqr")], {7: group("abcdefghij")}, smallest=3) == [None]


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdefghijkl"), st.integers(1, 4)),
    st.dictionaries(st.sampled_from("abcdefghijklmnop"), st.integers(1, 4)),
)
def test_nobody_is_moved_and_nobody_is_in_two(before: dict[str, int], now: dict[str, int]) -> None:
    known = {
        number: group("".join(name for name, home in before.items() if home == number))
        for number in set(before.values())
    }
    found = [group("".join(name for name, one in now.items() if one == number)) for number in sorted(set(now.values()))]
    fresh: list[tuple[str, str]] = []
    for one, place in zip(found, places(found, known, smallest=2), strict=True):
        if place is None:
            continue
        fresh += place.fresh
        for who, home in place.elsewhere.items():
            assert who in known[home].members
            assert who in one.members
        assert place.fresh <= one.members
    assert len(fresh) == len(set(fresh))
    assert not set(fresh) & {("red", name) for name in before}
