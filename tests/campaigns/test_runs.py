"""Days go by: what is shared is kept once, searches find the same campaigns again, and nothing of an erased account stays."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from redshank import pipeline
from redshank.archive.models import AccountRecord
from redshank.archive.past_writer import erase as erase_account
from redshank.audit.models import Entry
from redshank.campaigns import kept, runs
from redshank.campaigns.models import Campaign, CampaignDay, HotObject, Member, Run, ShareBlock, ShareDay
from redshank.core import Account, FollowCreated, Media, MediaUploaded, Post, PostCreated
from redshank.media import ImageHashes
from tests.campaigns.conftest import NOW, START, events_of, keep, search
from tests.campaigns.test_finding import Rows, group, moving, passers_by

pytestmark = pytest.mark.django_db
DAY = 86_400


def rows_of(table: Any) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda row: (row["post"], row["at"]))


def all_rows() -> list[dict[str, Any]]:
    return rows_of(runs.table(START - timedelta(days=40), NOW + timedelta(days=40)))


def members(campaign: Campaign) -> set[str]:
    return set(campaign.members.filter(out=False).values_list("account_id", flat=True))


def test_the_walk_keeps_what_can_be_shared_and_no_more() -> None:
    account = Account(id="a")
    text = "A long enough text, with one link https://www.Marsh.example/x?utm_source=y and another one marsh.example/z"
    seen = ImageHashes(sha256="5" * 64, md5="m", pdq="f" * 64, quality=90, width=1, height=1)
    events = [
        PostCreated(
            id="1", network="red", at=START, account=account,
            post=Post(id="p", text=text, hashtags=("b", "A"), media=(Media(id="m"), Media(id="n", sha256="A" * 64))),
        ),
        PostCreated(id="2", network="red", at=START, account=account, post=Post(id="q", text="hello")),
        FollowCreated(id="3", network="red", at=START, account=account, followed=Account(id="b")),
        MediaUploaded(id="4", network="red", at=START, account=account, media=Media(id="o")),
        PostCreated(id="5", network="red", at=START, account=account, post=Post(id="r", text="see t.example/1")),
    ]  # fmt: skip
    runs.keep(((event, {"m": seen}) for event in events), now=NOW)
    follow, post, short = all_rows()
    assert post["link"] == ["https://marsh.example/x", "https://marsh.example/z"]
    assert post["media"] == [f"pdq:{'f' * 64}", f"sha256:{'a' * 64}"]
    assert post["hashtags"] == ["b", "A"]
    assert len(post["text"]) == 64 + len(text)
    assert short["link"] == ["https://t.example/1"]
    assert follow["follow"] == "red/b"


def test_writing_files_again_after_a_kill_changes_nothing(people: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    events = events_of(people[:600])
    for start in range(0, 600, 100):
        keep(events[start : start + 100])
    before = all_rows()
    assert len(before) == 600

    class Killed(BaseException):
        pass

    def kill(*args: Any, **kwargs: Any) -> None:
        raise Killed

    later = NOW + timedelta(days=1)
    for target, name in ((kept.ShareFiles, "write"), (ShareDay.objects, "get_or_create")):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, kill)
            with pytest.raises(Killed):
                runs.seal(now=later)
        assert all_rows() == before
        keep([])
    assert runs.seal(now=later) == 6
    assert ShareBlock.objects.count() == 0
    assert all_rows() == before
    assert sum(ShareDay.objects.values_list("rows", flat=True)) == 600
    assert runs.seal(now=later) == 0


def test_a_campaign_stays_itself_over_the_days(people: Rows) -> None:
    random = np.random.default_rng(3)
    tern = group(random, "tern", members=6, links=30)
    keep(events_of([*people, *[row for row in tern if row[3] < 5 * DAY]]))
    run = search()
    assert run.campaigns == 1
    first = Campaign.objects.get()
    assert members(first) == {f"tern{at}" for at in range(6)}
    assert (first.label, first.state, first.size) == ("coordinated", "new", 6)
    assert first.networks == ["blue", "red"]
    assert first.bits > 15
    day = first.days.get(day=START.date() + timedelta(days=2))
    assert day.shares > 0
    assert sum(first.days.values_list("joined", flat=True)) == 6
    told = first.members.get(account_id="tern3")
    assert told.objects_shared >= 10
    assert {key for key, _ in told.shared} <= set(first.shared_objects.values_list("key", flat=True))

    # Two more join in; what was found is found again, and only they are new.
    later = [
        (network, name.replace("tern0", "tern8").replace("tern1", "tern9"), link, at)
        for network, name, link, at in tern
    ]
    later = [row for row in later if row[3] >= 5 * DAY or row[1] in ("tern8", "tern9")]
    keep(events_of([*later, *[row for row in tern if row[3] >= 5 * DAY]], first=10**6))
    search(now=NOW + timedelta(hours=1))
    again = Campaign.objects.get()
    assert again.pk == first.pk
    assert members(again) == {f"tern{at}" for at in (0, 1, 2, 3, 4, 5, 8, 9)}
    assert [entry.step for entry in Entry.objects.filter(object=f"campaign:{first.pk}").order_by("pk")] == [
        "campaign.found", "campaign.grew"
    ]  # fmt: skip
    search(now=NOW + timedelta(hours=2))
    assert Entry.objects.filter(object=f"campaign:{first.pk}").count() == 2
    assert Campaign.objects.get().size == 8

    # A week later nothing of it is in the window: it is quiet, and there.
    search(NOW + timedelta(days=9), now=NOW + timedelta(days=9))
    assert Campaign.objects.get().ends == again.ends


def test_a_move_is_one_campaign_on_two_networks(people: Rows) -> None:
    keep(events_of([*people, *moving(np.random.default_rng(11), 2 * 3600)]))
    search()
    campaign = Campaign.objects.get()
    assert campaign.size == 10
    assert campaign.networks == ["blue", "red"]
    assert [(move["source"], move["target"]) for move in campaign.moves] == [("blue", "red")]


def test_innocent_looks_are_labels_and_nothing_is_hidden(people: Rows) -> None:
    random = np.random.default_rng(5)
    heron = group(random, "heron", host="heron.example", spread=8)
    knot = group(random, "knot")
    keep(events_of([*people, *heron, *passers_by(random, heron), *knot]))
    for member in range(8):
        AccountRecord.objects.create(
            network="red" if member % 2 else "blue", account_id=f"knot{member}", automated=True, first_seen=NOW,
            last_seen=NOW,
        )  # fmt: skip
    search()
    assert {min(members(one)): one.label for one in Campaign.objects.all()} == {"heron0": "feed", "knot0": "automation"}
    assert "100% of the members say that they are automated." in Campaign.objects.get(label="automation").signs


def test_what_is_hot_is_noticed_and_looked_into_at_once() -> None:
    watch = runs.HotWatch()
    rows: Rows = [("red", f"p{at}", "https://song.example/1", 7 * DAY + 3_000.0 + at) for at in range(14)]
    keep(events_of(rows))
    assert watch.look(now=NOW) == 0
    assert runs.due(now=NOW) is None
    keep(events_of([("blue", "q", "https://song.example/1", 7 * DAY + 3_100.0)], first=100))
    assert watch.look(now=NOW) == 1
    hot = HotObject.objects.get()
    assert (hot.kind, hot.value, hot.accounts, hot.networks) == ("link", "https://song.example/1", 15, ["blue", "red"])
    assert runs.due(now=NOW) == runs.Due("hot", NOW.date())
    search(now=NOW + timedelta(seconds=1))
    assert watch.look(now=NOW + timedelta(minutes=1)) == 0
    assert runs.due(now=NOW + timedelta(minutes=5)) is None
    # Yesterday's things that come today are not hot, however many shared them.
    keep(events_of([("red", f"p{at}", "https://old.example/1", 6 * DAY + at) for at in range(40)], first=200))
    assert watch.look(now=NOW + timedelta(minutes=2)) == 0


def test_a_day_that_is_over_and_one_that_comes_late_are_searched(people: Rows) -> None:
    keep(events_of([row for row in people if row[3] < 6 * DAY]), now=NOW)
    runs.seal(now=NOW + timedelta(hours=1))
    assert runs.due(now=NOW + timedelta(hours=1)) is None  # Not while more comes in.
    wanted = runs.due(now=NOW + timedelta(hours=2))
    assert wanted == runs.Due("day", START.date() + timedelta(days=5))
    assert runs.run(wanted, now=NOW + timedelta(hours=2)) is not None
    assert runs.due(now=NOW + timedelta(hours=2)) is None
    tern = [row for row in group(np.random.default_rng(3), "tern", links=40) if row[3] < 4 * DAY]
    keep(events_of(tern, first=10**6), now=NOW + timedelta(hours=3))
    runs.seal(now=NOW + timedelta(hours=5))
    wanted = runs.due(now=NOW + timedelta(hours=6))
    assert wanted == runs.Due("day", START.date() + timedelta(days=3))
    runs.run(wanted, now=NOW + timedelta(hours=6))
    assert Campaign.objects.count() == 1
    assert runs.due(now=NOW + timedelta(hours=6)) is None


def test_a_search_that_is_cut_off_leaves_nothing_and_is_due_again(
    people: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(events_of([*people, *group(np.random.default_rng(3), "tern")]))
    runs.seal(now=NOW + timedelta(hours=1))
    later = NOW + timedelta(hours=2)
    wanted = runs.due(now=later)
    assert wanted is not None

    class Killed(BaseException):
        pass

    def kill(**kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Run.objects, "create", kill)  # The last thing that a search does.
        with pytest.raises(Killed):
            runs.run(wanted, now=later)
    assert Campaign.objects.count() == Entry.objects.count() == 0
    assert runs.due(now=later) == wanted
    assert runs.run(wanted, now=later) is not None
    assert Campaign.objects.count() == 1


def test_an_erased_account_is_gone_here_too_and_the_counts_stay(people: Rows) -> None:
    tern = group(np.random.default_rng(3), "tern", members=6)
    events = events_of([*people, *tern])
    keep(events[1_000:])
    runs.seal(now=NOW + timedelta(days=1))
    keep(events[:1_000])
    follow = FollowCreated(id="f", network="blue", at=START, account=Account(id="p1"), followed=Account(id="tern0"))
    runs.keep([(follow, {})], now=NOW)
    search()
    campaign = Campaign.objects.get()
    days = list(campaign.days.values_list("day", "active", "joined", "shares"))
    erase_account("blue", "tern0", by="system", reason="asked", now=NOW)
    assert runs.erase(now=NOW) == 1
    assert runs.erase(now=NOW) == 0
    assert not Member.objects.filter(account_id="tern0").exists()
    assert Campaign.objects.get().size == 5
    left = all_rows()
    assert not any(row["account"] == "tern0" or row["follow"] == "blue/tern0" for row in left)
    assert len(left) == len(events) - sum(name == "tern0" for _, name, _, _ in tern)
    assert list(CampaignDay.objects.values_list("day", "active", "joined", "shares")) == days


def test_what_is_old_goes(people: Rows, settings: Any) -> None:
    keep(events_of([*people, *group(np.random.default_rng(3), "tern")]))
    runs.seal(now=NOW + timedelta(days=1))
    search()
    assert runs.forget(now=NOW) == 0
    assert runs.forget(now=NOW + timedelta(days=25)) > 0
    assert min(row["at"] for row in all_rows()) >= (NOW - timedelta(days=5)).timestamp() // DAY * DAY
    assert Campaign.objects.count() == 1
    runs.forget(now=NOW + timedelta(days=500))
    assert Campaign.objects.count() == 0
    assert all_rows() == []


def test_nothing_skewed_and_flooding_do_no_harm(people: Rows) -> None:
    assert search().campaigns == 0  # There is nothing at all.
    tern = group(np.random.default_rng(3), "tern", members=6)
    skewed = [
        (network, name, link, at + 600) if network == "blue" else (network, name, link, at)
        for network, name, link, at in tern
    ]
    flood: Rows = [("red", "busy", f"https://busy.example/{at}", at * 20.0) for at in range(20_000)]
    every: Rows = [("red", f"all{at}", "https://song.example/1", 300_000.0) for at in range(6_000)]
    keep(events_of([*people, *skewed, *flood, *every]))
    keep(events_of([*skewed[:50]], first=0))  # The same posts once more.
    run = search()
    assert run.narrowed >= 1
    assert members(Campaign.objects.get()) == {f"tern{at}" for at in range(6)}


def test_who_shares_along_neither_hides_the_campaign_nor_passes_for_its_core(people: Rows) -> None:
    random = np.random.default_rng(3)
    tern = group(random, "tern", members=6, links=30)
    along: Rows = []
    for link in sorted({row[2] for row in tern}):
        last = max(row[3] for row in tern if row[2] == link)
        along += [("red", f"along{at}", link, last + 300.0 + 30 * at) for at in range(2)]
    keep(events_of([*people, *tern, *along]))
    search()
    campaign = Campaign.objects.get()
    assert campaign.label == "coordinated"
    assert {f"tern{at}" for at in range(6)} <= members(campaign)
    after = dict(campaign.members.values_list("account_id", "after"))
    assert max(after[f"tern{at}"] for at in range(6)) < 120
    assert all(after.get(f"along{at}", 1e9) > 300 for at in range(2))  # Who came after, always, is seen to have.


def test_only_one_searches_at_a_time() -> None:
    with runs.files().lock("search.lock", wait=False) as held:
        assert held
        assert search() is None
    before = runs.last_run()
    assert search() is not None
    # Whoever found the same search due before this one ended does not make it again.
    assert runs.run(runs.Due("day", NOW.date()), now=NOW, after=before) is None
    assert Run.objects.count() == 1
    assert runs.run(runs.Due("day", NOW.date()), now=NOW, after=runs.last_run()) is not None


def test_a_post_goes_all_the_way() -> None:
    raw = {
        "type": "post.created", "id": "1", "network": "marsh", "at": NOW.isoformat(), "account": {"id": "a", "automated": True},
        "post": {"id": "p", "text": "see this", "links": ["https://www.a.example/x?utm_source=b"]},
    }  # fmt: skip
    for _ in range(2):
        pipeline.accept([json.dumps(raw).encode()], now=NOW, actor="key:test")
    (row,) = all_rows()
    assert row["link"] == ["https://a.example/x"]
    assert AccountRecord.objects.get().automated is True
