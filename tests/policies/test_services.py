from __future__ import annotations

import string
from datetime import UTC, datetime

import pytest

from redshank.core import Problem
from redshank.policies import services as policies
from redshank.policies.models import Policy

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.django_db
def test_a_new_store_has_policies_that_cases_can_be_decided_under():
    found = policies.active()
    assert [policy.position for policy in found] == list(range(1, len(found) + 1))
    assert {"terrorist-content", "violent-extremism-support", "recruitment"} <= {policy.slug for policy in found}
    assert all("Terms of service" in policy.ground for policy in found if not policy.legal)
    assert all("Terms of service" not in policy.ground for policy in found if policy.legal)


@pytest.mark.django_db
def test_messages_name_what_was_done_to_what_and_why():
    for policy in policies.active():
        named = {name for _, name, _, _ in string.Formatter().parse(policy.message) if name is not None}
        assert named == {"action", "subject", "reason"}, policy.slug


@pytest.mark.django_db
def test_a_retired_policy_is_not_offered():
    Policy.objects.filter(slug="recruitment").update(retired_at=NOW)
    assert "recruitment" not in {policy.slug for policy in policies.active()}
    with pytest.raises(Problem, match="recruitment: no such policy in force"):
        policies.get("recruitment")


@pytest.mark.django_db
def test_a_misspelled_policy_is_answered_with_the_nearest():
    assert policies.get("ban-evasion").name == "Ban evasion"
    with pytest.raises(Problem, match=r"Did you mean ban-evasion\?"):
        policies.get("ban-evason")


@pytest.mark.django_db(transaction=True)
def test_what_an_operator_changed_stays_as_it_is():
    from django.core.management import call_command

    Policy.objects.exclude(slug="recruitment").delete()
    Policy.objects.update(name="Our own words")
    call_command("migrate", interactive=False, verbosity=0)
    assert [policy.name for policy in policies.active()] == ["Our own words"]
