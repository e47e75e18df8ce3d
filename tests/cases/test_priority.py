"""Where a case stands does not depend on the order in which it was asked for."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redshank.cases import priority
from redshank.cases.priority import Place
from redshank.core import Subject

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)

places = st.builds(
    Place,
    queue=st.sampled_from(("review", "authority", "reports")),
    priority=st.integers(0, 100),
    priority_reason=st.sampled_from(("a", "b")),
    deadline=st.integers(1, 100).map(lambda hours: NOW + timedelta(hours=hours)),
    policy=st.sampled_from((None, "violence", "hate")),
)


@given(places, st.lists(places, max_size=5))
def test_more_never_lowers_and_the_same_again_changes_nothing(place: Place, asked: list[Place]) -> None:
    for one in asked:
        higher = priority.raised(place, one)
        assert higher.priority >= max(place.priority, one.priority)
        assert higher.deadline <= min(place.deadline, one.deadline)
        assert priority.raised(higher, one) == higher
        assert place.policy is None or higher.policy is not None
        place = higher


@given(places, st.permutations(range(4)), st.lists(places, min_size=4, max_size=4))
def test_the_order_does_not_matter_for_priority_and_deadline(
    first: Place, order: list[int], asked: list[Place]
) -> None:
    one = other = first
    for number in range(4):
        one, other = priority.raised(one, asked[number]), priority.raised(other, asked[order[number]])
    assert (one.priority, one.deadline) == (other.priority, other.deadline)


@given(places, places)
def test_nothing_leaves_the_escalations_by_itself(place: Place, asked: Place) -> None:
    up = priority.escalated(place, "threat to a place", NOW)
    assert (up.queue, up.priority >= 90, up.deadline <= NOW + timedelta(hours=4)) == ("escalations", True, True)
    assert priority.raised(up, asked).queue == "escalations"


@pytest.mark.parametrize(
    ("source", "points", "hours"),
    [
        ("authority", 0, 1), ("trusted_flagger", 10, 24), ("user", 99, 72), ("third_party", 0, 72),
        ("rule", 100, 4), ("rule", 90, 4), ("rule", 89, 24), ("rule", 40, 72), ("rule", 0, 168), ("rule", -5, 168),
    ],
)  # fmt: skip
def test_how_soon(source: str, points: int, hours: int) -> None:
    assert priority.deadline_of(source, points, NOW) == NOW + timedelta(hours=hours)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 100), st.lists(st.sampled_from("xyz"), max_size=3))))
def test_merged_requests_hold_each_item_once(asked: list[tuple[str, int, list[str]]]) -> None:
    requests = [
        priority.CaseRequest(
            subject=Subject("marsh", "post", who), policy=None, queue="review", priority=points, priority_reason="",
            source="rule", deadline=None,
            items=tuple(priority.NewItem(key=key, kind="report", event="e", body={}, at=NOW) for key in keys),
        )
        for who, points, keys in asked
    ]  # fmt: skip
    merged = priority.merge(requests, NOW)
    assert [one.subject.id for one in merged] == sorted({who for who, _, _ in asked})
    for one in merged:
        mine = [(points, keys) for who, points, keys in asked if who == one.subject.id]
        assert one.place.priority == max(points for points, _ in mine)
        assert sorted(item.key for item in one.items) == sorted({key for _, keys in mine for key in keys})
