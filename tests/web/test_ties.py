"""The pages of returning accounts: reasons as bits, what speaks against as large, decisions that can be taken back, no search."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from redshank.audit.models import Entry
from redshank.cases.models import Case
from redshank.evasion import deciding
from redshank.evasion import services as evasion
from redshank.evasion.models import DayCount, NeverTie, ProfileRecord, TieRecord
from redshank.evasion.targets import target_profiles, targets
from redshank.intake.services import make_key
from redshank.people.models import User
from tests.evasion.events import NOW, circle, come_back, event, follows, scene, sign_up, take, work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def world(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TieRecord:
    settings.DATA_DIR = tmp_path
    blindless = msgspec.structs.replace(settings.REDSHANK.evasion, audit_share=0.0)
    settings.REDSHANK = msgspec.structs.replace(settings.REDSHANK, evasion=blindless)
    monkeypatch.setattr("redshank.evasion.targets.FRESH", 0)
    scene(others=40)
    come_back()
    work()
    return TieRecord.objects.get()


@pytest.fixture
def lead() -> User:
    return User.objects.create_user("lea", role="lead")


@pytest.fixture
def client(lead: User) -> Client:
    client = Client()
    client.force_login(lead)
    return client


def page(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, url
    return answer.content.decode()


def test_a_tie_is_explained_by_bits_that_add_up_with_what_speaks_against(client: Client, world: TieRecord) -> None:
    shown = page(client, f"/ties/{world.pk}")
    for word in (
        "Whom they follow",
        "Names",
        "Before any evidence",
        "Together",
        "20 in common",
        "speaks against",
        "As a list",
    ):
        assert word in shown, word
    assert shown.count('<rect class="bit"') == len(world.reasons) + 1
    assert "new" in page(client, "/ties")
    assert "Whom they follow" in page(client, "/accounts/marsh/new")
    assert "Whom they follow" in page(client, f"/cases/{Case.objects.get().pk}")


def test_confirming_chains_the_accounts_and_can_be_undone(client: Client, lead: User, world: TieRecord) -> None:
    old, new = world.old, world.new
    answer = client.post(f"/ties/{world.pk}/confirm", {"reason": "They said so.", "independent": "yes"})
    assert answer.status_code == 302
    world.refresh_from_db()
    assert (world.state, world.independent, world.decided_by) == ("confirmed", True, lead)
    new.refresh_from_db()
    assert new.owner == old.pk
    assert not ProfileRecord.objects.get(pk=new.pk).target
    take(follows("new", circle(3_000, 10)))
    work()
    (richer,) = target_profiles([old.pk])
    theirs = {f"marsh/{one}" for one in circle(3_000, 10)}
    assert theirs <= set(richer.follows)
    assert client.post(f"/ties/{world.pk}/confirm", {"reason": "again"}).status_code == 302
    assert DayCount.objects.get(confirmed=1).rejected == 0
    client.post(f"/ties/{world.pk}/undo", {"reason": "A mistake."})
    world.refresh_from_db()
    assert world.state == "open"
    assert not theirs & set(target_profiles([old.pk])[0].follows)
    assert not DayCount.objects.filter(confirmed__gt=0).exists()
    steps = list(Entry.objects.filter(object=f"tie:{world.pk}").values_list("step", flat=True))
    assert steps == ["tie.found", "tie.confirmed", "tie.reopened"]


def test_a_chain_grows_over_time_and_breaks_where_it_is_taken_back(
    client: Client, lead: User, world: TieRecord
) -> None:
    deciding.decide(world.pk, by=lead, says="confirmed", reason="x", independent=False, now=NOW)
    take([event("account.suspended", "new", at=NOW)], now=NOW + timedelta(minutes=1))
    take(
        [sign_up("third", at=NOW + timedelta(hours=1)), *follows("third", circle(5, 20), at=NOW + timedelta(hours=1))],
        now=NOW + timedelta(hours=2),
    )
    work(now=NOW + timedelta(hours=2))
    ties = TieRecord.objects.filter(new__account_id="third")
    assert {tie.old.account_id for tie in ties} >= {"new"}
    tie = ties.get(old__account_id="new")
    deciding.decide(tie.pk, by=lead, says="confirmed", reason="x", independent=False, now=NOW + timedelta(hours=3))
    chain = [one.account_id for one in deciding.chain_of(ProfileRecord.objects.get(account_id="third"))]
    assert set(chain) == {"old", "new", "third"}
    assert all(name in page(client, f"/ties/{tie.pk}") for name in chain)
    deciding.undo(world.pk, by=lead, reason="x", now=NOW + timedelta(hours=4))
    assert ProfileRecord.objects.get(account_id="old").owner is None
    assert {one.account_id for one in deciding.chain_of(ProfileRecord.objects.get(account_id="third"))} == {
        "new",
        "third",
    }


def test_never_tie_takes_the_tie_away_and_keeps_it_away_until_undone(client: Client, world: TieRecord) -> None:
    client.post(f"/ties/{world.pk}/never", {"reason": "Her brother.", "kind": "relative"})
    world.refresh_from_db()
    assert world.state == "withdrawn"
    take(follows("new", circle(20, 10)))
    work()
    world.refresh_from_db()
    assert world.state == "withdrawn"
    assert "Relative" in page(client, "/accounts/marsh/new")
    listed = NeverTie.objects.get()
    client.post(f"/never-tie/{listed.pk}/end", {"reason": "It was not."})
    work(now=datetime.now(UTC))
    world.refresh_from_db()
    assert world.state == "open"


def test_the_allow_list_ties_a_journalist_to_nobody(client: Client, world: TieRecord) -> None:
    client.post("/never-tie/marsh/new", {"reason": "Writes for the Marsh Daily.", "kind": "journalist"})
    world.refresh_from_db()
    assert world.state == "withdrawn"
    assert evasion.ask(ProfileRecord.objects.get(account_id="new"), now=NOW) == []
    shown = page(client, "/accounts/marsh/new")
    assert "Journalist" in shown
    assert "tied to nobody" in shown
    assert Entry.objects.filter(step="evasion.never_tie").exists()
    moderator = Client()
    moderator.force_login(User.objects.create_user("mo", role="moderator"))
    assert moderator.post("/never-tie/marsh/new", {"reason": "x", "kind": "fan"}).status_code == 403
    moderator.post(f"/never-tie/{NeverTie.objects.get().pk}/end", {"reason": "x"})
    assert NeverTie.objects.get().ended_at is None


def test_a_blind_tie_hides_its_score_until_it_is_decided(client: Client, world: TieRecord) -> None:
    TieRecord.objects.update(blind=True)
    for url in (f"/ties/{world.pk}", "/ties", "/accounts/marsh/new"):
        shown = page(client, url)
        assert "likely," not in shown
        assert 'class="bit"' not in shown
    assert "judged blind" in page(client, f"/ties/{world.pk}")
    client.post(f"/ties/{world.pk}/reject", {"reason": "Somebody else.", "independent": "yes"})
    assert 'class="bit"' in page(client, f"/ties/{world.pk}")
    assert DayCount.objects.get(blind_rejected=1).rejected == 1
    (seen,) = deciding.drift(since=NOW.date())
    assert (seen.rejected, seen.share) == (1, 0.0)


def test_the_api_answers_for_one_new_account_and_for_nobody_else(client: Client, world: TieRecord) -> None:
    take([sign_up("innocent", at=NOW - timedelta(hours=2)), *follows("innocent", circle(7_000, 25))])
    take([event("account.created", {"id": "ancient", "created_at": "2015-01-01T00:00:00Z"})])
    work()
    key = make_key("asks", "marsh", may=["ties"], by="system", now=NOW)
    other = make_key("sends", "marsh", may=["events"], by="system", now=NOW)
    elsewhere = make_key("dunes", "dunes", may=["ties"], by="system", now=NOW)

    def ask(account: str, token: str = key, network: str = "marsh") -> tuple[int, dict[str, object]]:
        answer = Client().get(
            f"/api/v1/accounts/{network}/{account}/ties", headers={"Authorization": f"Bearer {token}"}
        )
        return answer.status_code, answer.json()

    status, told = ask("new")
    assert status == 200
    (tie,) = told["ties"]  # type: ignore[misc]
    assert (tie["account"], tie["band"], tie["state"]) == ("old", "likely", "open")
    assert ask("innocent")[1]["ties"] == []
    for account in ("old", "ancient", "nobody", "f1"):  # Suspended, in good standing, unknown, merely followed.
        assert ask(account)[0] == 404
    assert ask("new", other)[0] == 401
    assert ask("new", elsewhere)[0] == 404


def test_nobody_in_good_standing_can_be_reached(client: Client, world: TieRecord) -> None:
    take([sign_up("innocent", at=NOW - timedelta(hours=2)), *follows("innocent", circle(7_000, 25))])
    work()
    number = ProfileRecord.objects.get(account_id="innocent").pk
    assert number not in targets().index(fresh=True)
    assert not TieRecord.objects.filter(old__target=False).exists()
    assert 'a href="/accounts/marsh/innocent' not in page(client, "/ties?q=innocent")
    assert "Never tie" in page(client, "/accounts/marsh/innocent")


def test_what_the_law_wants_erased_goes_and_the_counts_stay(client: Client, lead: User, world: TieRecord) -> None:
    deciding.decide(world.pk, by=lead, says="confirmed", reason="Old wrote to us.", independent=True, now=NOW)
    assert targets().keep(now=NOW, always=True)
    before = DayCount.objects.get().confirmed
    from django.db import transaction

    with transaction.atomic():
        assert deciding.erase("marsh", "old", now=NOW + timedelta(minutes=1))
    assert not ProfileRecord.objects.filter(account_id="old").exists()
    assert len(targets().index(fresh=True)) == 40
    assert not (targets()._path).exists()
    world.refresh_from_db()
    assert (world.state, world.shared, world.reason) == ("confirmed", {}, "")
    assert all(not one["detail"] for one in world.reasons)
    assert DayCount.objects.get(confirmed=1).confirmed == before
    assert "erased" in page(client, f"/ties/{world.pk}").lower()
    come_back("later")
    work(now=NOW + timedelta(minutes=2))
    assert not TieRecord.objects.filter(new__account_id="later", old__target=False).exists()
