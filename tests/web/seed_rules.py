"""Rules of the console, as a team has them: one live with a draft in the shadow, one in review, one with an error."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

WOLF = """\
rules:
  - id: iron-wolf-calls
    policy: recruitment
    description: A young account hands on a call of the iron wolf brigade.
    owner: trust-and-safety
    when: contains(post.text, "iron wolf brigade calls") and account.age < days(30)
    effects:
      - preserve
      - label: watch
    fires_on:
      - post: {text: "The iron wolf brigade calls again"}
        account: {age: 2 days}
    silent_on:
      - post: {text: "The iron wolf brigade was tried in court"}
        account: {age: 2 days}
"""


def plant_rules(now: datetime) -> dict[str, int]:
    """Write, review and try them, and let one trip its breaker; give the ids of the backtest and of the breaker."""
    import threading

    from redshank import pipeline
    from redshank.archive.past_writer import write_due
    from redshank.banks.services import texts_of
    from redshank.cases.services import decided
    from redshank.people.models import User
    from redshank.rules import jobs, services

    lee, ada = User.objects.get(username="lee"), User.objects.get(username="ada")
    if services.ConsoleRule.objects.exists():
        return {"job": services.RuleVersion.objects.count(), "breaker": 1}
    long_ago = now - timedelta(days=4)
    first = services.save(WOLF, by=lee, now=long_ago, note="The calls began on Monday.")
    services.ask_review(first, by=lee, now=long_ago)
    services.approve(first, by=ada, now=long_ago, note="Looked at the backtest; it names calls only.")
    services.put_in_force(first, "live", by=ada, now=long_ago)
    wider = WOLF.replace('"iron wolf brigade calls"', '"iron wolf brigade"').replace("days(30)", "days(60)")
    wider = wider.replace("label: watch", "open_case: {queue: review, priority: 60, deadline: 12 h}")
    wider = wider.replace("was tried in court", "is on trial").replace(
        'text: "The iron wolf brigade is', 'text: "The brigade is'
    )
    second = services.save(wider, by=ada, now=now - timedelta(days=2), rule_id=first.rule.rule_id, base=1, note="Wider, to see what it would find.")  # fmt: skip
    services.put_in_force(second, "shadow", by=ada, now=now - timedelta(days=2))
    other = services.save(WOLF.replace("iron-wolf-calls", "iron-wolf-links").replace("- label: watch", "- action: {restrict: account, hours: 24}"), by=lee, now=now - timedelta(hours=3), note="For the weekend.")  # fmt: skip
    services.ask_review(other, by=lee, now=now - timedelta(hours=2))
    services.save(WOLF.replace("iron-wolf-calls", "iron-wolf-names").replace("contains", "contians"), by=lee, now=now)

    def post(number: int) -> bytes:
        at = now - timedelta(hours=7 * number)
        body: dict[str, Any] = {
            "id": f"w-{number}", "type": "post.created", "network": "marsh.example", "at": at.isoformat(),
            "account": {"id": f"a-flock-{number % 5}", "handle": f"flock_{number % 5}", "created_at": (at - timedelta(days=10 + 12 * (number % 3))).isoformat()},
            "post": {"id": f"p-w-{number}", "text": "The iron wolf brigade calls" if number % 3 else "About the iron wolf brigade"},
        }  # fmt: skip
        return json.dumps(body).encode()

    pipeline.accept([post(number) for number in range(20)], now=now, actor="system")
    write_due(now=now, all_of_it=True)
    pipeline.accept([post(number) for number in range(20, 24)], now=now, actor="system")
    job = jobs.ask(["report-from-user"], [second], by=lee, now=now, since=now - timedelta(days=30))
    jobs.run_next(decided=decided, texts_of=texts_of, stop=threading.Event())
    return {"job": job.pk, "breaker": _hold_back(now)}


def _hold_back(now: datetime) -> int:
    """Let the live rule's breaker trip; give its id."""
    from django.db import transaction

    from redshank.core import AddLabel, Fired
    from redshank.rules import breakers

    wishes = [breakers.Wish("iron-wolf-calls", "label", "marsh.example")] * 4
    because = ('post.text = "The «iron wolf brigade calls»"', "account.age = 10 days")
    fired = Fired(rule="iron-wolf-calls", version="1", policy="recruitment", description="A young account hands on a call of the iron wolf brigade.", live=True, because=because)  # fmt: skip
    with transaction.atomic():
        held = [
            breakers.Held(breaker, "marsh.example", f"w-{number}", fired, AddLabel(label="watch"), "")
            for number, breaker in enumerate(breakers.admit(wishes, lambda _: 1, now=now))
            if breaker is not None
        ]
        breakers.hold(held, now=now)
    return held[0].breaker.pk
