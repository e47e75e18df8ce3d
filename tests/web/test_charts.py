from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from redshank.web.charts import HEIGHT, bars, nice_top, sparkline


@given(
    st.lists(
        st.tuples(st.text(st.characters(categories=["L", "N", "S", "P"]), max_size=9), st.integers(0, 10**9)),
        max_size=40,
    )
)
def test_bars_are_as_high_as_their_counts_over_an_axis_from_zero(points: list[tuple[str, int]]) -> None:
    drawn = bars(points, name="c", title="<t>", unit="Events")
    if not points:
        assert drawn == ""
        return
    picture = ET.fromstring(drawn)
    top = nice_top(max(count for _, count in points))
    found = {round((float(rect.get("x", "")) - 1) / 10): float(rect.get("height", "")) for rect in picture.iter("rect")}
    assert found.keys() == {at for at, (_, count) in enumerate(points) if count}
    for at, height in found.items():
        assert abs(height - HEIGHT * points[at][1] / top) <= 0.01
    ticks = ["".join(one.itertext()) for one in picture.iter("span")]
    assert "0" in ticks
    assert len(picture.findall(".//tbody/tr")) == len(found), "what is drawn stands in the table, too"
    assert picture.findtext(".//svg/title") == "<t>"
    assert picture.findtext(".//svg/desc")
    assert "style=" not in drawn


@given(st.integers(0, 10**12))
def test_an_axis_ends_at_a_round_number_not_below_the_most(most: int) -> None:
    top = nice_top(most)
    assert most <= top
    assert top <= 2 * max(1, most) + 1
    assert re.fullmatch("[1245]0*", str(top))


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=30))
def test_a_small_line_stays_within_its_picture_and_says_its_title(values: list[float]) -> None:
    picture = ET.fromstring(sparkline(values, title="a & b"))
    line = picture.find("polyline")
    assert line is not None
    places = [tuple(map(float, place.split(","))) for place in line.get("points", "").split()]
    assert len(places) == max(2, len(values))
    assert all(0 <= x <= 100 and 2 <= y <= 22 for x, y in places)
    assert picture.findtext("title") == "a & b"
