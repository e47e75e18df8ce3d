"""What a model learns from: decisions of people who knew it from elsewhere, and nothing else."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pytest_django.fixtures import Settings

from redshank.core import Problem
from redshank.evasion import Profile, deciding, save_model
from redshank.evasion.gathering import Evidence, pack
from redshank.evasion.model import bands, load_model
from redshank.evasion.models import NeverTie, ProfileRecord, TieRecord
from redshank.evasion.services import scorer
from redshank.people.models import User
from tests.evasion.worlds import again, person, suspended

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def kept(profile: Profile, name: str) -> ProfileRecord:
    heap = Evidence(
        handle=profile.handle, display_name=profile.display_name, bio=profile.bio, avatar=profile.avatar,
        follows=list(profile.follows), hours=list(profile.hours), created_at=profile.created_at, posts=20,
    )  # fmt: skip
    ended = datetime.fromtimestamp(profile.ended_at, UTC) if profile.ended_at else None
    return ProfileRecord(
        network="marsh", account_id=name, evidence=pack(heap), seen_at=NOW, target=ended is not None, ended_at=ended,
        target_changed_at=NOW if ended else None,
    )  # fmt: skip


@pytest.mark.django_db
def test_a_model_is_fitted_to_independent_decisions_alone(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    lea = User.objects.create_user("lea", role="lead")
    people = suspended(300)
    random = np.random.default_rng(3)
    old = ProfileRecord.objects.bulk_create([kept(one, f"s{one.number}") for one in people])
    back = ProfileRecord.objects.bulk_create(
        [kept(again(one, 9_000 + one.number), f"r{one.number}") for one in people[:60]]
    )
    strangers = [
        person(random, 20_000 + n, n % 12, display_name="Цапля Речная" if n % 2 else "Reed Heron") for n in range(90)
    ]
    innocent = ProfileRecord.objects.bulk_create([kept(one, f"i{one.number}") for one in strangers])
    NeverTie.objects.bulk_create(
        NeverTie(network="marsh", account_id=one.account_id, what="fan", reason="x", by=lea, at=NOW)
        for one in innocent[:30]
    )

    def tie(new: ProfileRecord, to: ProfileRecord, state: str) -> TieRecord:
        return TieRecord(
            new=new, old=to, probability=0.8, band="possible", reasons=[], model="m", state=state, made_at=NOW,
            changed_at=NOW, decided_at=NOW, decided_by=lea, independent=False,
        )  # fmt: skip

    TieRecord.objects.bulk_create([tie(new, to, "confirmed") for new, to in zip(back, old, strict=False)])
    TieRecord.objects.bulk_create([tie(new, to, "rejected") for new, to in zip(innocent, old[100:], strict=False)])
    with pytest.raises(Problem, match="0 confirmed and 0 rejected"):
        deciding.learn(data="here", now=NOW, rate=0.02)
    with pytest.raises(Problem, match="needs 500 of each"):
        deciding.learn(data="here", now=NOW, rate=0.02, scorer="gbt")
    TieRecord.objects.update(independent=True)
    model = deciding.learn(data="here", now=NOW, rate=0.02)
    card = model.card
    assert (card.returned, card.new, card.suspended, card.date) == (60, 150, 300, "2026-07-01")
    assert set(card.false_ties) == {"fan", "other"}
    assert set(card.false_ties_by_script) == {"latin", "cyrillic"}
    assert card.found["returned"] == card.found_by_script["latin"]
    assert card.metrics["recall_fpr0.01"] > 0.8
    sure = bands(model, rate=0.02, likely=0.95, possible=0.7)
    lax = bands(model, rate=0.3, likely=0.8, possible=0.4)
    assert lax[0] <= sure[0]
    assert lax[1] <= sure[1]
    save_model(model, tmp_path / "model.json")
    assert load_model(tmp_path / "model.json") == model
    # Evidence that these accounts never had keeps the weight to start with.
    assert any(term.kind == "declared" and max(term.bits) > 1 for term in model.terms)
    assert scorer().model.card.data.startswith("none")
