"""The console's campaigns: what stands on the pages, and what a person does there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from redshank.campaigns.models import Campaign, Member, Proposal
from redshank.cases.models import Case
from redshank.enforcement.models import Action
from redshank.people.models import User
from redshank.policies.models import Policy
from tests.web.conftest import Console, Watch, sign_in
from tests.web.seed import plant


@pytest.fixture
def ids(db: None) -> dict[str, Any]:
    return plant(many=4)


@pytest.fixture
def client(ids: dict[str, Any]) -> Client:
    client = Client()
    client.force_login(User.objects.get(username="mara"))
    return client


def text(answer: Any) -> str:
    return str(answer.content.decode())


def test_the_list_puts_what_looks_coordinated_first_and_hides_nothing(client: Client, ids: dict[str, Any]) -> None:
    page = text(client.get("/campaigns"))
    assert 0 < page.index(f"K-{ids['campaign']}") < page.index(f"K-{ids['campaign'] + 1}")
    assert "audience of one outlet" in page
    assert "1 that looks coordinated is new" in page
    assert "23 accounts within 30 min on dune.example, marsh.example" in page
    assert "<script>alert" not in page
    assert f"K-{ids['campaign'] + 1}" not in text(client.get("/campaigns?looks=coordinated"))
    assert "No campaign matches these filters" in text(client.get("/campaigns?state=closed"))


def test_a_campaign_says_what_speaks_for_and_against_it(client: Client, ids: dict[str, Any]) -> None:
    page = text(client.get(f"/campaigns/{ids['campaign']}"))
    for words in (
        "15 accounts on dune.example, marsh.example shared 24 of the same things",
        "chance would bring any of 123,456,789 pairs to this less than once in 10^12 such weeks",
        "That is no proof that it is meant to deceive",
        "marsh.example → dune.example",
        "9 things went on, 1 h later (median); 1.2 would by chance",
        "Nothing is ever done to members by itself",
    ):
        assert words in page, words
    found = Campaign.objects.get(pk=ids["campaign"])
    first = found.days.order_by("day").values_list("day", flat=True)[0]
    noon = datetime(first.year, first.month, first.day, 12, tzinfo=UTC)
    late = list(found.members.order_by("pk").values_list("pk", flat=True)[:3])
    found.members.update(joined_at=noon)
    Member.objects.filter(pk__in=late).update(joined_at=noon + timedelta(days=2))
    growth = client.get(f"/campaigns/{found.pk}").context["growth"]
    assert growth == [(first + timedelta(days=at), count) for at, count in enumerate((12, 12, 15, 15))]
    other = text(client.get(f"/campaigns/{ids['campaign'] + 1}"))
    assert "Innocent synchrony is found by the same rule" in other
    assert "64% are in no campaign" in other
    account = text(client.get("/accounts/marsh.example/a-gray_harbor"))
    assert f'href="/campaigns/{ids["campaign"]}"' in account
    assert client.get("/campaigns/999999").status_code == 404


def test_nothing_is_done_before_it_was_seen(client: Client, ids: dict[str, Any]) -> None:
    campaign = Campaign.objects.get(pk=ids["campaign"])
    members = list(campaign.members.filter(network="marsh.example").values_list("pk", flat=True))[:3]
    url = f"/campaigns/{campaign.pk}/act"
    cases = Case.objects.count()
    assert client.post(url, {}).status_code == 422
    assert "Decide on 3 members" in text(client.post(url, {"member": members}))
    form = {"member": members, "policy": Policy.objects.first().slug, "ask": ["suspend"], "reason": "They push it."}  # type: ignore[union-attr]
    assert "say why, in a sentence" in text(client.post(url, {**form, "reason": "", "stage": "preview"}))
    seen = client.post(url, {**form, "stage": "preview"})
    assert "They push it." in text(seen)
    assert "3 decisions" in text(seen)
    assert Case.objects.count() == cases
    assert client.post(url, {**form, "stage": "do"}).status_code == 302
    assert Case.objects.count() == cases + 3
    page = text(client.get(f"/campaigns/{campaign.pk}"))
    assert "3 members are decided on; 3 action(s) requested" in page
    proposal = Proposal.objects.get()
    case = text(client.get(f"/cases/{Case.objects.order_by('pk').last().pk}"))  # type: ignore[union-attr]
    assert f"K-{campaign.pk}: shared" in case
    assert "Acts together" in case
    client.post(f"/campaigns/proposals/{proposal.pk}/undo", {"note": "Wrong ones."})
    assert set(Action.objects.filter(decision_id__in=proposal.decisions).values_list("state", flat=True)) == {
        "canceled"
    }


def test_many_wait_for_a_second_person(client: Client, ids: dict[str, Any]) -> None:
    campaign = Campaign.objects.get(pk=ids["campaign"])
    form: dict[str, Any] = {
        "policy": Policy.objects.first().slug,  # type: ignore[union-attr]
        "ask": ["label"], "label": "coordinated", "reason": "They push it.", "stage": "do",
    }  # fmt: skip
    for at in range(6):
        campaign.members.create(
            network="marsh.example", account_id=f"more{at}", joined_at=campaign.begins, found_at=campaign.begins,
            seen_at=campaign.begins,
        )  # fmt: skip
    form["member"] = list(campaign.members.filter(network="marsh.example").values_list("pk", flat=True))
    client.post(f"/campaigns/{campaign.pk}/act", form)
    proposal = Proposal.objects.get()
    assert proposal.state == "waiting"
    page = text(client.get(f"/campaigns/{campaign.pk}"))
    assert "a second person has to agree" in page
    assert "Agree: do it" not in page
    assert "Waiting for a second person" in text(client.get("/campaigns"))
    client.post(f"/campaigns/proposals/{proposal.pk}/agree")
    assert Proposal.objects.get().state == "waiting"
    client.force_login(User.objects.get(username="lee"))
    assert "Agree: do it" in text(client.get(f"/campaigns/{campaign.pk}"))
    client.post(f"/campaigns/proposals/{proposal.pk}/agree")
    assert Proposal.objects.get().state == "done"


def test_each_step_of_the_page_is_done_and_written_down(client: Client, ids: dict[str, Any]) -> None:
    pk = ids["campaign"]
    some = list(Campaign.objects.get(pk=pk).members.values_list("pk", flat=True))
    for what, form in (
        ("name", {"name": "Terns"}),
        ("label", {"label": "audience", "reason": "Readers."}),
        ("hand-over", {"to": "lee"}),
        ("note", {"text": "Look at the <b>links</b>."}),
        ("out", {"member": some[:1], "reason": "A journalist."}),
        ("merge", {"other": f"K-{pk + 1}", "reason": "The same."}),
        ("close", {"reason": "Done."}),
        ("open", {}),
    ):
        assert client.post(f"/campaigns/{pk}/{what}", form).status_code == 302, what
    page = text(client.get(f"/campaigns/{pk}"))
    for words in (
        "Terns",
        "mara said so",
        "Look at the &lt;b&gt;links&lt;/b&gt;.",
        "Campaigns merged",
        "Members taken out",
    ):
        assert words in page, words
    split = client.post(f"/campaigns/{pk}/split", {"member": some[1:4], "reason": "Others."})
    assert "3 members are K-" in text(client.get(split["Location"]))
    for what, form in (
        ("label", {"label": "x", "reason": "y"}),
        ("split", {"reason": "y"}),
        ("merge", {"other": "none"}),
    ):
        assert client.post(f"/campaigns/{pk}/{what}", form).status_code == 422, what
    assert client.post(f"/campaigns/{pk + 1}/note", {"text": "x"}).status_code == 409


@pytest.mark.browser
@pytest.mark.xdist_group("browser")
def test_a_campaign_is_decided_on_by_keyboard_alone(watch: Watch, console: Console) -> None:
    page, keys = watch.page, watch.page.keyboard
    sign_in(page, console)
    keys.press("g")
    keys.press("m")
    page.wait_for_selector("h1:has-text('Campaigns')")
    keys.press("j")
    keys.press("Enter")
    page.wait_for_selector("h2:has-text('Why it is not chance')")
    box = page.locator("input[name=member]").nth(1)
    box.focus()
    keys.press("Space")
    assert box.is_checked()
    keys.press("d")
    page.wait_for_selector("h1:has-text('Decide on 1 member')")
    keys.press("1")
    page.locator("input[name=ask][value=suspend]").focus()
    keys.press("Space")
    keys.press("w")
    keys.type("They push one link at once.")
    keys.press("Escape")
    keys.press("n")
    page.wait_for_selector("h2:has-text('What it would do')")
    keys.press("s")
    page.wait_for_selector("text=1 members are decided on")
    keys.press("z")
    page.wait_for_selector("text=1 decisions are undone")
