"""The made-up platform comes back as its rates say, the same for the same seed; more reviewers never make it worse."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from redshank.cli import main
from redshank.evasion import default_model
from redshank.evasion.simulation import DAY, HOUR, Chain, Newcomer, Rates, World, draw, play

SMALL = {"owners": 40, "others": 100, "innocent": 30, "days": 30}


@pytest.fixture(scope="module")
def world() -> World:
    return draw(default_model(), **SMALL, seed=3)


def test_one_seed_is_one_platform(world: World) -> None:
    again = draw(default_model(), **SMALL, seed=3)
    assert msgspec.to_builtins(again) == msgspec.to_builtins(world)
    assert msgspec.to_builtins(draw(default_model(), **SMALL, seed=4)) != msgspec.to_builtins(world)


def test_owners_come_back_as_the_rates_say() -> None:
    drawn = draw(default_model(), owners=500, others=0, innocent=0, days=1, seed=5)
    accounts = [account for chain in drawn.chains for account in chain.accounts]
    assert 2.2 < 1 + len(accounts) / 500 < 2.8  # accounts of an owner, the suspended one counted
    assert max(len(chain.accounts) for chain in drawn.chains) >= 8
    assert 0.55 < sum(account.delay <= DAY for account in accounts) / len(accounts) < 0.65
    first = [chain.accounts[0].kind.startswith("little") for chain in drawn.chains]
    later = [one.kind.startswith("little") for chain in drawn.chains for one in chain.accounts[2:]]
    assert sum(first) / len(first) > 1.5 * sum(later) / len(later)  # who is caught again hides more


def test_ties_bring_owners_back_to_mind_sooner_than_chance(world: World) -> None:
    without, few, many = play(world, None), play(world, 1), play(world, 50)
    assert without.reviews == without.wrong == 0
    assert many.share_within(DAY) > few.share_within(DAY) > without.share_within(DAY)
    assert many.median_wait < without.median_wait
    assert few.reviews <= 30 + 1


def newcomers(owner: int) -> st.SearchStrategy[Newcomer]:
    step = st.tuples(st.floats(0, 5 * DAY), st.floats(0.01, 1), st.booleans() if owner >= 0 else st.just(False))
    return st.builds(
        Newcomer, owner=st.just(owner), kind=st.just("x"), delay=st.floats(0, 5 * DAY), posts_a_day=st.floats(0, 50),
        found_anyway=st.floats(1, 100 * DAY), luck=st.floats(0, 1), steps=st.lists(step, max_size=4),
    )  # fmt: skip


WORLDS = st.builds(
    World, rates=st.just(Rates()), days=st.just(20), suspended=st.just(9), newcomers=st.just(9),
    chains=st.lists(st.builds(Chain, st.floats(0, 10 * DAY), st.lists(newcomers(1), min_size=1, max_size=3)), max_size=6),
    innocent=st.lists(st.tuples(st.floats(0, 20 * DAY), newcomers(-1)), max_size=6),
)  # fmt: skip


@settings(deadline=None)
@given(WORLDS, st.sampled_from([None, 0.5, 3.0, 1e6]))
def test_nobody_is_counted_twice_and_no_reviewer_does_more_than_they_can(world: World, capacity: float | None) -> None:
    played = play(world, capacity)
    assert (
        len(played.waits) <= played.accounts == len(played.posts) <= sum(len(chain.accounts) for chain in world.chains)
    )
    assert all(0 <= wait <= world.days * DAY for wait in played.waits)
    assert played.wrong <= len(world.innocent)
    assert played.reviews <= (0 if capacity is None else capacity * world.days + 1)
    if (
        capacity == 1e6
    ):  # Nobody waits: each is re-linked at the first right tie that a reviewer takes, or found before.
        first = {
            id(one): min([after for after, _, right in one.steps if right and one.luck < 0.95] + [one.found_anyway])
            for chain in world.chains for one in chain.accounts
        }  # fmt: skip
        soonest = sorted(first.values())
        assert all(
            wait <= late + HOUR for wait, late in zip(sorted(played.waits), soonest[-len(played.waits) :], strict=False)
        )


def test_the_command_tells_draws_and_writes(tmp_path: Path) -> None:
    out, plot = tmp_path / "t.csv", tmp_path / "p.svg"
    asked = [
        "simulate",
        "returns",
        "--owners",
        "30",
        "--others",
        "60",
        "--innocent",
        "20",
        "--days",
        "20",
        "--reviews",
        "3",
    ]
    result = CliRunner().invoke(main, [*asked, "--out", str(out), "--plot", str(plot)])
    assert result.exit_code == 0, result.output
    assert "without" in result.output
    rows = out.read_text().splitlines()
    assert len(rows) == 3
    assert rows[1].startswith(",")
    texts = " ".join(ET.fromstring(plot.read_text()).itertext())
    assert "without Redshank" in texts
    assert "3 reviews a day" in texts
    wrong = CliRunner().invoke(main, [*asked, "--reviews", "0"])
    assert wrong.exit_code == 2
