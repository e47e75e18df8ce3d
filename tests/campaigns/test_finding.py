"""Accounts that act together: planted groups are found, chance is not, and nothing that is sent costs too much."""

from __future__ import annotations

import csv
import math
import tracemalloc
from collections import defaultdict
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from redshank.campaigns import (
    Found,
    Search,
    Shares,
    find_campaigns,
    find_ties,
    kernels,
    read_shares,
    shares_of,
    shuffled,
)
from redshank.campaigns.texts import beginning, sketched, text_clusters
from redshank.cli import main
from redshank.core import BadInput

WEEK = 7 * 86_400
Rows = list[tuple[str, str, str, float]]


def crowd(random: np.random.Generator, *, accounts: int = 1_500, links: int = 1_500, posts: int = 12_000) -> Rows:
    """People with nothing to do with each other: some links and some accounts busier than others, links shared in bursts."""
    popular = 1 / np.arange(1, links + 1) ** 0.9
    busy = random.pareto(1.3, accounts) + 0.2
    link = random.choice(links, posts, p=popular / popular.sum())
    who = random.choice(accounts, posts, p=busy / busy.sum())
    when = random.uniform(0, 0.9 * WEEK, links)[link] + random.exponential(6 * 3600, posts)
    return [
        ("red" if a % 3 else "blue", f"p{a}", f"https://news.example/{o}", float(t))
        for a, o, t in zip(who.tolist(), link.tolist(), when.tolist(), strict=True)
    ]


def group(
    random: np.random.Generator, name: str, *, members: int = 8, links: int = 25, spread: float = 60, host: str = ""
) -> Rows:
    """Accounts of one mind: most of them share each link within `spread` seconds."""
    rows = []
    for number in range(links):
        at = float(random.uniform(0, WEEK))
        for member in range(members):
            if random.random() < 0.8:
                network = "red" if member % 2 else "blue"
                address = f"https://{host or f'{name}{number}.example'}/{name}/{number}"
                rows.append((network, f"{name}{member}", address, at + float(random.uniform(0, spread))))
    return rows


def passers_by(random: np.random.Generator, rows: Rows, count: int = 15) -> Rows:
    """The public, who come upon the same links in their own time."""
    first: dict[str, float] = {}
    for _, _, link, at in rows:
        first[link] = min(at, first.get(link, math.inf))
    return [
        ("red" if who % 3 else "blue", f"p{who}", link, at + float(random.exponential(5_400)))
        for link, at in first.items()
        for who in random.integers(0, 1_500, count).tolist()
    ]


def table(rows: Rows, **more: Any) -> dict[str, pa.Array]:
    network, account, link, time = zip(*rows, strict=True)
    return {
        "network": pa.array(network), "account": pa.array(account), "link": pa.array(link), "time": pa.array(time), **more
    }  # fmt: skip


def members_of(found: Found) -> list[set[str]]:
    return [{member.account for member in campaign.members} for campaign in found.campaigns]


def planted(random: np.random.Generator) -> Rows:
    heron = group(random, "heron", host="heron.example", spread=8)
    return [
        *crowd(random), *group(random, "tern"), *group(random, "plover", spread=1_200), *heron, *passers_by(random, heron)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> Rows:
    return planted(np.random.default_rng(7))


def test_it_finds_the_groups_that_are_there_and_nobody_else(rows: Rows) -> None:
    found = find_campaigns(shares_of(table(rows)))

    expected = [{f"{name}{member}" for member in range(8)} for name in ("heron", "plover", "tern")]
    assert sorted(members_of(found), key=min) == expected
    labels = {min(member.account for member in campaign.members): campaign.label for campaign in found.campaigns}
    assert labels == {"heron0": "feed", "plover0": "coordinated", "tern0": "coordinated"}
    for campaign in found.campaigns:
        assert campaign.networks == ("blue", "red")
        assert campaign.object_count == 25
        assert campaign.bits > 10
        assert campaign.begins <= min(member.joined for member in campaign.members)
        assert sum(day.joined for day in campaign.days) == 8
        assert campaign.days[0].date == campaign.begins.date().isoformat()
        assert campaign.ends <= datetime.fromtimestamp(1.1 * WEEK, UTC)
        assert campaign.objects[0].members in {7, 8}


def test_it_finds_nothing_where_times_are_shuffled(rows: Rows) -> None:
    shares = shares_of(table(rows))
    for seed in range(3):
        assert find_campaigns(shuffled(shares, seed), Search(affinity=1)).campaigns == ()


def test_chance_alone_ties_nobody_though_no_allowance_is_made() -> None:
    for seed in range(12):
        shares = shares_of(table(crowd(np.random.default_rng(seed), posts=6_000)))
        assert len(find_ties(shares, Search(affinity=1)).first) == 0, seed


def test_the_order_of_rows_changes_nothing(rows: Rows) -> None:
    found = find_campaigns(shares_of(table(rows)), seed=3)
    for seed in (1, 2):
        order = np.random.default_rng(seed).permutation(len(rows))
        again = find_campaigns(shares_of(table([rows[at] for at in order])), seed=3)
        assert again.campaigns == found.campaigns


def test_labels_need_more_than_one_sign() -> None:
    random = np.random.default_rng(5)
    # Pushing its own outlet, which nobody else reads, does not make a group innocent; nor does pushing what all read.
    own, public = group(random, "tern", host="own.example"), group(random, "plover")
    machines = group(random, "knot")
    rows = [*crowd(random), *own, *public, *passers_by(random, public), *machines]
    says = pa.array([account.startswith("knot") for _, account, _, _ in rows])
    found = find_campaigns(shares_of(table(rows, automated=says)))
    labels = {min(member.account for member in campaign.members)[:-1]: campaign for campaign in found.campaigns}
    assert {name: campaign.label for name, campaign in labels.items()} == {
        "tern": "coordinated", "plover": "coordinated", "knot": "automation"
    }  # fmt: skip
    assert "100% of the members say that they are automated." in labels["knot"].signs
    assert any("100% of the objects come from one outlet: own.example" in sign for sign in labels["tern"].signs)


def moving(random: np.random.Generator, lag: float) -> Rows:
    rows = []
    for number in range(40):
        at = float(random.uniform(0, WEEK))
        for member in range(10):
            late = lag if member % 2 else 0.0
            rows.append(
                (
                    "red" if member % 2 else "blue",
                    f"tern{member}",
                    f"o{number}",
                    at + late + float(random.uniform(0, 300)),
                )
            )
    return rows


def test_a_move_between_networks_has_a_direction() -> None:
    random = np.random.default_rng(11)
    background = crowd(random)
    found = find_campaigns(shares_of(table([*background, *moving(random, 2 * 3600)])), seed=1)
    # Two hours lie between its halves, so that each network's half is a campaign; the first one's objects move on.
    moves = {campaign.networks: campaign.moves for campaign in found.campaigns}
    assert set(moves) == {("blue",), ("red",)}
    assert [(move.source, move.target) for move in moves["blue",]] == [("blue", "red")]
    assert moves["blue",][0].objects == 40
    assert moves["blue",][0].expected < 10
    assert 6_000 < moves["blue",][0].lag < 8_000
    assert moves["red",] == ()


def test_the_other_half_of_a_campaign_is_not_the_public() -> None:
    random = np.random.default_rng(11)
    rows = [(network, who, f"https://own.example/{link}", at) for network, who, link, at in moving(random, 2 * 3600)]
    found = find_campaigns(shares_of(table([*crowd(random), *rows])), seed=1)
    # Each half is half of those who shared its pages, and all of these come from one outlet: and yet it is no audience.
    assert [(campaign.networks, campaign.label) for campaign in found.campaigns] == [
        (("blue",), "coordinated"), (("red",), "coordinated")
    ]  # fmt: skip


def test_acting_on_two_networks_at_once_is_no_move() -> None:
    random = np.random.default_rng(12)
    found = find_campaigns(shares_of(table([*crowd(random), *moving(random, 0)])), seed=1)
    assert [campaign.networks for campaign in found.campaigns] == [("blue", "red")]
    assert found.campaigns[0].moves == ()


def test_what_shuffled_times_of_arrival_do_as_well_is_no_move() -> None:
    random = np.random.default_rng(14)
    # All is on blue in the morning and on red at noon: each thing would be there within the lag whichever it was.
    rows = [
        (
            "red" if member % 2 else "blue",
            f"tern{member}",
            f"o{number}",
            float(at + 4 * 3600 * (member % 2) + random.uniform(0, 60)),
        )
        for number, at in enumerate(random.uniform(3 * 86_400, 3 * 86_400 + 3600, 40))
        for member in range(10)
    ]
    found = find_campaigns(shares_of(table([*crowd(random), *rows])), seed=1)
    assert [campaign.networks for campaign in found.campaigns] == [("blue",), ("red",)]
    assert [campaign.moves for campaign in found.campaigns] == [(), ()]


def test_one_post_says_one_thing_however_much_it_carries() -> None:
    random = np.random.default_rng(13)
    rows, posts = crowd(random), []
    posts += [f"c{number}" for number in range(len(rows))]
    for member in range(6):
        for post in range(2):
            for link in range(10):
                rows.append(
                    ("red", f"tern{member}", f"https://x.example/{post}/{link}", 1_000.0 + 90_000 * post + member)
                )
                posts.append(f"tern{member}-{post}")
    together = shares_of(table(rows, post=pa.array(posts)))
    assert find_campaigns(together, Search(affinity=1)).campaigns == ()
    apart = shares_of(table(rows))
    assert members_of(find_campaigns(apart, Search(affinity=1))) == [{f"tern{member}" for member in range(6)}]


def test_ties_are_sought_over_everything_that_can_be_shared() -> None:
    random = np.random.default_rng(17)
    background = crowd(random, posts=20_000)
    said = (
        "the boats leave the old harbor at dawn and nobody will be told where they go, so bring bread, water "
        "and warm clothes for the crossing {} and remember that the keeper of the lighthouse is a friend of ours"
    )
    columns: dict[str, list[Any]] = defaultdict(list)

    def add(network: str, account: str, time: float, **objects: Any) -> None:
        for name, value in {"network": network, "account": account, "time": time}.items():
            columns[name].append(value)
        for kind in ("link", "text", "media", "hashtags", "follow"):
            columns[kind].append(objects.get(kind))

    for at, (network, account, link, time) in enumerate(background):
        number = link.rpartition("/")[2]
        others = {
            "text": " ".join(np.random.default_rng(int(number)).choice(said.split(), 40).tolist()),
            "media": f"{int(number):064x}", "hashtags": ["boats", f"boat{number}"], "follow": f"boat{number}", "link": [link],
        }  # fmt: skip
        kind = tuple(others)[at % 5]
        add(network, account, time, **{kind: others[kind]})
    for number in range(16):
        at = float(random.uniform(0, WEEK))
        words = " ".join(random.choice(said.split(), 40).tolist())
        for member in range(6):
            soon = at + float(random.uniform(0, 60))
            add("red", f"texts{member}", soon, text=f"{words.title() if member % 2 else words} @friend{member} !!")
            add("red", f"media{member}", soon, media=f"{number + 10**9:064x}")
            add(
                "red",
                f"tags{member}",
                soon,
                hashtags=[f"Tide{number}", "sea"] if member % 2 else ["SEA", f"tide{number}"],
            )
            add("red", f"fans{member}", soon, follow=f"id{number}")
    arrays = {name: pa.array(values) for name, values in columns.items()}
    found = find_campaigns(shares_of(arrays))
    kinds = {campaign.objects[0].kind: {member.account for member in campaign.members} for campaign in found.campaigns}
    assert kinds == {
        kind: {f"{name}{member}" for member in range(6)}
        for kind, name in (("text", "texts"), ("media", "media"), ("hashtags", "tags"), ("follow", "fans"))
    }


def test_texts_that_nearly_agree_are_one_and_others_are_not() -> None:
    first = "Meet at the old mill on Saturday, bring lamps and ropes, tell no one but the two brothers from the ferry."
    texts = [
        first,
        first.upper().replace(",", " \u200b") + " https://example.org/x?utm_source=a",
        first.replace("lamps", "torches") + " @somebody",
        "The council has moved the market to Sunday because the bridge will be closed for repairs until the spring.",
        "good morning",
        "",
        "\u200b" * 10_000,
        "土曜日に古い水車小屋で会いましょう、ランプとロープを持ってきてください、誰にも言わないでください、渡し船の兄弟だけです",
        "土曜日に古い水車小屋で会いましょう!ランプとロープを持ってきてください 誰にも言わないでください 渡し船の兄弟だけです!",
    ]
    sketches = [sketched(text) for text in texts]
    assert text_clusters(sketches).tolist() == [0, 0, 0, 3, -1, -1, -1, 7, 7]
    assert text_clusters([]).tolist() == []
    assert beginning(sketches[0] or b"") == first[:200]


def plain_meetings(rows: list[tuple[int, int, int]], window: int) -> dict[tuple[int, int], int]:
    """Over how many objects each pair met within the window: every share is held against every other."""
    met: dict[tuple[int, int], set[int]] = defaultdict(set)
    for (a, o, s), (b, p, t) in combinations(rows, 2):
        if a != b and o == p and abs(s - t) <= window:
            met[min(a, b), max(a, b)].add(o)
    return {pair: len(objects) for pair, objects in met.items()}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 400)), min_size=1, max_size=60),
    st.integers(1, 120),
    st.integers(2, 4),
)
def test_pairs_are_counted_as_the_plain_way_counts_them(
    rows: list[tuple[int, int, int]], window: int, least: int
) -> None:
    ordered = np.array(sorted((o, a, t) for a, o, t in rows), np.int64)
    kept = ordered[kernels.thin(ordered[:, 0], ordered[:, 1], ordered[:, 2].astype(float), window)]
    plain = plain_meetings([(a, o, t) for o, a, t in kept.tolist()], window)
    kept = kept[np.lexsort((kept[:, 1], kept[:, 2], kept[:, 0]))]
    objects, accounts, times = kept[:, 0].copy(), kept[:, 1].copy(), kept[:, 2].astype(np.float64)
    n = 7
    starts = np.searchsorted(objects, np.arange(7))
    counts = kernels.meetings(starts, times, float(window))
    every = sum(
        1 for (o, a, s), (p, b, t) in combinations(kept.tolist(), 2) if o == p and abs(s - t) <= window and a != b
    )
    assert counts.sum() == every
    windows, reach = kernels.narrow(starts, times, float(window), counts, 10**9)
    chances = kernels.chances(
        starts, times, windows, counts, np.zeros(6, np.int64), np.asarray([0, 1] * 4)[accounts], (1, 2)
    )
    assert chances[0, :, :, -1].sum() - chances[0, 0, 1, -1] == every
    some = kernels.promising(objects, accounts, times, windows, n, least)
    objects, accounts, times = objects[some], accounts[some], times[some]
    for size in (1, 2**10):  # With a single place in the table everything is written down; nothing is ever lost.
        seen = np.zeros(size, np.uint8)
        kernels.tally(objects, accounts, times, windows, reach, n, seen)
        nothing = np.empty(0, np.uint64), np.empty(0, np.int32), np.empty(0, np.int32)
        total = kernels.frequent(objects, accounts, times, windows, reach, n, seen, least, nothing)
        out = np.empty(total, np.uint64), np.empty(total, np.int32), np.empty(total, np.int32)
        if total:
            kernels.frequent(objects, accounts, times, windows, reach, n, seen, least, out)
        met: dict[tuple[int, int], set[int]] = defaultdict(set)
        for key, row in zip(out[0].tolist(), out[1].tolist(), strict=True):
            met[key // n, key % n].add(int(objects[row]))
        enough = {pair: number for pair, number in plain.items() if number >= least}
        assert {pair: len(some) for pair, some in met.items() if len(some) >= least} == enough


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 120), st.floats(1e-9, 100))
def test_surprise_is_never_overstated(count: int, mean: float) -> None:
    terms = [math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count, count + 600)]
    exact = -math.log2(max(math.fsum(terms), 1e-320))
    bits = kernels.tail_bits(count, mean)
    if exact < 900:  # Below that, doubles end.
        assert bits <= exact + 1e-6
    if mean < count / 2 and exact < 900:
        assert bits > exact - 1


def test_bits_are_what_the_model_says() -> None:
    """Two accounts meet over four things; eight others meet once, all of them; what somebody shares alone counts for nothing."""
    rows = [("red", name, f"o{k}", 10_000.0 * k + at) for k in range(4) for at, name in enumerate(("a", "b"))]
    rows += [("red", f"p{k}", f"q{j}", 500.0 * j) for k in range(8) for j in range(3)]
    rows += [("red", f"p{k}", f"alone{k}-{j}", 500.0 * j) for k in range(8) for j in range(40)]
    ties = find_ties(shares_of(table(rows)), Search(affinity=1, alpha=0.5))
    assert ties.tested == 10 * 9 // 2
    expected = (
        2 * 4 * 4 / (32 * 31) * 4
    )  # ways for two of 32 shares to be theirs, times the four meetings over rare things
    tail = 1 - sum(math.exp(-expected) * expected**k / math.factorial(k) for k in range(4))
    assert (ties.first.tolist(), ties.second.tolist(), ties.objects.tolist()) == ([0], [1], [4])
    assert ties.bits[0] == pytest.approx(-math.log2(tail) - math.log2(45) - math.log2(2), abs=0.1)


def test_what_all_share_at_once_costs_no_more_than_other_things() -> None:
    random = np.random.default_rng(19)
    rows = [*crowd(random), *group(random, "tern")]
    rows += [("red", f"all{who}", "https://song.example/1", 300_000.0) for who in range(40_000)]  # 800 million pairs
    rows += [("red", "busy", f"https://own.example/{k}", 6.0 * k) for k in range(100_000)]
    rows += [("red", "stuck", "https://own.example/same", 3.0 * k) for k in range(100_000)]
    shares = shares_of(table(rows))
    find_campaigns(shares_of(table(rows[:1_000])))  # compiles
    tracemalloc.start()
    found = find_campaigns(shares)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert members_of(found) == [{f"tern{member}" for member in range(8)}]
    assert found.ties.narrowed == 1
    assert peak < 250e6


@pytest.mark.parametrize("spread", [0.0, 90.0, 5 * 86_400.0])
def test_a_flood_costs_in_proportion_to_its_size(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """All accounts share the same three things, at once, in a minute, or in days: pairs of them grow with the square of their number,
    pairs that are looked at, and memory, do not."""
    tally, looked = kernels.tally, 0

    def counted(objects: Any, accounts: Any, times: Any, windows: Any, reach: Any, *more: Any) -> None:
        nonlocal looked
        for number in np.unique(objects):
            mine = times[objects == number]
            first = np.searchsorted(mine, mine - windows[number] - 1e-9)
            looked += int(np.minimum(np.arange(len(mine)) - first, reach[number]).sum())
        tally(objects, accounts, times, windows, reach, *more)

    monkeypatch.setattr(kernels, "tally", counted)

    def cost(count: int) -> tuple[int, int]:
        nonlocal looked
        random, looked = np.random.default_rng(31), 0
        who = np.tile(np.arange(count), 3)
        columns = {
            "account": pa.array(who), "object": pa.array(np.repeat(np.arange(3), count)),
            "time": pa.array(1e6 + 86_400.0 * np.repeat(np.arange(3), count) + random.uniform(0, spread, 3 * count)),
        }  # fmt: skip
        shares = shares_of(columns)
        tracemalloc.start()
        find_campaigns(shares)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return looked, peak

    cost(1_000)  # compiles
    (few, small), (many, large) = cost(10_000), cost(80_000)
    bound = 1.01 * 3 * Search().pairs  # Windows are narrowed by halves, to within a pair or two.
    assert 0 < few <= bound * 10_000
    assert many <= bound * 80_000
    assert large < 8.5 * small


def test_a_swarm_too_large_to_pair_is_found_all_the_same() -> None:
    rows = [("red", f"bot{who:04}", f"o{k}", 40_000.0 * k) for k in range(12) for who in range(400)]
    others = crowd(np.random.default_rng(23), accounts=6_000, links=9_000, posts=60_000)
    found = find_campaigns(shares_of(table([*others, *rows])), Search(pairs=4, affinity=1))
    assert found.ties.narrowed > 12
    assert members_of(found) == [{f"bot{who:04}" for who in range(400)}]


def test_rows_without_what_is_needed_are_set_aside() -> None:
    rows = group(np.random.default_rng(29), "tern")
    good = shares_of(table(rows))
    columns = {name: column.to_pylist() for name, column in table(rows).items()}
    for account, time, link in (
        (None, 1.0, "https://a.example"), ("", 1.0, "https://a.example"), ("x", None, "https://a.example"),
        ("x", math.nan, "https://a.example"), ("x", -1.0, "https://a.example"), ("x", 1e300, "https://a.example"),
        ("x", 1.0, None), ("x", 1.0, ""),
    ):  # fmt: skip
        for name, value in {"network": "red", "account": account, "time": time, "link": link}.items():
            columns[name].append(value)
    shares = shares_of({name: pa.array(values) for name, values in columns.items()})
    assert [(some.reason, some.rows) for some in shares.aside] == [
        ("without an account or a network", 2),
        ("without a time between 1970 and 9999", 4),
        ("without anything that was shared", 2),
    ]
    assert find_campaigns(shares).campaigns == find_campaigns(good).campaigns


def test_the_same_link_in_other_clothes_is_the_same() -> None:
    links = ["https://www.a.example/x?utm_source=b", "http://a.example/x/", "a.example/x#top", "https://a.example/y"]
    shares = shares_of(table([("red", f"p{at}", link, 1.0) for at, link in enumerate(links)]))
    assert shares.object.tolist() == [0, 0, 0, 1]
    assert shares.value_of(0) == "https://a.example/x"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"time": [1.0], "url": [1]}, "has no column for the account. Name it with --column account=NAME"),
        ({"account": [1], "url": [1]}, "has no column for the time. Name it with --column time=NAME"),
        ({"account": [1], "ts": [1.0]}, "has no column of something that accounts share"),
        ({"account": [1], "ts": [1_700_000_000_000], "url": [1]}, "divide milliseconds by 1,000"),
        ({"account": [1], "ts": ["yesterday"], "url": [1]}, "the time is string. It must be a timestamp"),
        ({"account": [1], "ts": [1.0], "url": [None]}, "holds nothing that an account shared"),
        ({"account": [{"a": 1}], "ts": [1.0], "url": [1]}, "cannot be read"),
        ({"account": pa.array([], pa.int64()), "ts": pa.array([], pa.float64()), "url": pa.array([], pa.int64())}, "holds"),
    ],
)  # fmt: skip
def test_a_file_that_will_not_do_says_why(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "posts.parquet")
    with pytest.raises(BadInput) as caught:
        read_shares(tmp_path / "posts.parquet")
    assert message in str(caught.value)
    assert "posts.parquet" in str(caught.value)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(BadInput, match=r"window: -1 will not do\. It is seconds above 0"):
        Search(window=-1)
    with pytest.raises(BadInput, match="least: 1 will not do"):
        Search(least=1)


class TestCommand:
    @pytest.fixture
    def posts(self, tmp_path: Path, rows: Rows) -> Path:
        columns = table(rows)
        path = tmp_path / "posts.parquet"
        renamed = {
            "url": columns["link"],
            "ts": columns["time"],
            "account": columns["account"],
            "network": columns["network"],
        }
        pq.write_table(pa.table(renamed | {"truth": columns["account"]}), path)
        return path

    def test_it_writes_members_and_says_what_it_found(self, tmp_path: Path, posts: Path, rows: Rows) -> None:
        out, details = tmp_path / "groups.csv", tmp_path / "details.jsonl"
        words = ["campaigns", "find", str(posts), "--out", str(out), "--details", str(details), "--control"]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        assert f"3 campaigns of 24 accounts, of {len(rows):,} rows" in result.stdout
        assert "1 look like innocent synchrony" in result.stdout
        assert "control, times shuffled: 0 ties, 0 campaigns" in result.stdout
        with out.open() as file:
            members = list(csv.DictReader(file))
        assert len(members) == 24
        assert {row["label"] for row in members if row["account"].startswith("heron")} == {"feed"}
        assert len({row["group"] for row in members}) == 3
        described = [msgspec.json.decode(line) for line in details.read_bytes().splitlines()]
        assert [len(campaign["members"]) for campaign in described] == [8, 8, 8]

    def test_errors_are_for_people(self, tmp_path: Path, posts: Path) -> None:
        broken = tmp_path / "broken.parquet"
        broken.write_bytes(b"PAR1 this is no Parquet")
        for words, message in (
            ([str(broken)], "cannot be read as Parquet"),
            ([str(posts), "--column", "link"], "link is not ROLE=NAME. Write it as link=address."),
            (
                [str(posts), "--column", "link=nowhere"],
                "has no column nowhere. It has url, ts, account, network, truth.",
            ),
            ([str(posts), "--column", "color=url"], "color is nothing that a column can be"),
            ([str(posts), "--window", "0"], "window: 0.0 will not do"),
        ):
            result = CliRunner().invoke(main, ["campaigns", "find", *words, "--out", str(tmp_path / "out.csv")])
            assert result.exit_code == 1
            assert message in result.output
            assert "Traceback" not in result.output
            assert not (tmp_path / "out.csv").exists()


def test_truth_columns_are_not_read(tmp_path: Path, rows: Rows) -> None:
    columns = table(rows)
    with_truth = pa.table(columns | {"group": columns["account"], "kind": columns["network"]})
    pq.write_table(with_truth, tmp_path / "posts.parquet")
    shares: Shares = read_shares(tmp_path / "posts.parquet")
    assert find_campaigns(shares).campaigns == find_campaigns(shares_of(columns)).campaigns
