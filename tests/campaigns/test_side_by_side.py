"""Two workers on one store, killed anywhere again and again: the same is found as by one that is left alone, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.campaigns import worker
from tests.processes import call, store


@pytest.mark.xdist_group("processes")
@pytest.mark.django_db
def test_two_that_are_killed_anywhere_find_what_one_finds_that_is_left_alone(tmp_path: Path) -> None:
    with store(tmp_path) as environ:
        call("redshank.cli", "migrate", environ=environ)
        killed = json.loads(call("tests.campaigns.worker", "11", environ=environ))
    worker.fill()
    for hours in worker.HOURS:
        worker.work(hours)
    alone = json.loads(json.dumps(worker.report()))
    assert killed.pop("killed") > 10
    assert killed == alone
    assert [why for why, *_rest in alone["runs"]] == ["hot", "day"]
    assert len(alone["posts"]) == len(set(alone["posts"]))
    assert alone["waiting"] == 0
    assert all(rows == seen for _day, rows, seen in alone["days"][:-1])
    assert [len(members) for members, *_rest in alone["campaigns"]] == [8, 7]  # One of a group was erased.
    assert alone["hot"] == [["https://song.example/1", 20]]
    assert alone["said"] == ["campaign.found", "campaign.found", "campaign.grew"]
