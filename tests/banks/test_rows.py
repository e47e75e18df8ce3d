from __future__ import annotations

import pytest

from redshank.banks import rows


@pytest.mark.django_db
def test_where_a_transaction_takes_long_the_next_does_less(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(rows.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(rows.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    turns = rows.Turns(9000)
    sizes = []
    for seconds in (0.3, 0.5, 0.5, 0.5, 9.0, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1):
        before = now[0]
        with turns.next():
            waited = now[0] - before
            now[0] += seconds
        sizes.append(turns.size)
        assert waited <= rows.GAP + 1e-9
    assert sizes == [9000, 4500, 2250, 1125, 1000, 1000, 2000, 4000, 8000, 9000, 9000]
    few = rows.Turns(2)
    with few.next():
        now[0] += 5
    assert few.size == 2
