"""Backtests that somebody asked for in the console, as jobs.

One whose worker was killed is begun again: a backtest changes nothing, so trying it twice is harmless.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from redshank.archive.models import Erasure
from redshank.archive.past_writer import past, write_due
from redshank.audit.services import Step, record
from redshank.core import BadInput
from redshank.jobs import services as jobs
from redshank.jobs.services import ACTIVE, Hold
from redshank.people.models import User
from redshank.rules import services
from redshank.rules.backtest import Backtest, Ruled, Sample, backtest, with_banks
from redshank.rules.loader import Written
from redshank.rules.models import BacktestJob, RuleVersion
from redshank.rules.ruleset import TextsOf

FRESH_BATCHES = 50
"""Batches of events that are not in the past yet and are written to it before a backtest begins, at most."""
MOST_WAITING = 20
KEPT = 300
"""Jobs that are kept; the oldest that have ended go."""
KEEP = timedelta(days=90)
"""How long they are kept: their samples tell what people wrote."""


def ask(
    rule_ids: Sequence[str],
    versions: Sequence[RuleVersion],
    *,
    by: User,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
    network: str = "",
) -> BacktestJob:
    """Ask for a backtest of rules of files, by id, and of versions of the console's, together. Raises `BadInput`."""
    if not rule_ids and not versions:
        raise BadInput(_("no rule was chosen"), hint=_("Choose one at least."))
    if since and until and since >= until:
        raise BadInput(_("the stretch ends before it begins"))
    unknown = sorted(set(rule_ids) - services.ids_of_files())
    if unknown:
        raise BadInput(_("there is no such rule in the files"), where=unknown[0])
    for version in versions:
        checked = services.check_text(version.text, rule_id=version.rule.rule_id, now=now)
        if checked.rule is None:
            raise BadInput(_("the text has an error"), where=str(version), hint=_("Mend it, then try it."))
    if BacktestJob.objects.filter(state__in=ACTIVE).count() >= MOST_WAITING:
        raise BadInput(
            _("%(n)d backtests are waiting already") % {"n": MOST_WAITING}, hint=_("Wait, or cancel one of them.")
        )
    rules = [
        *(_named(rule_id) for rule_id in rule_ids),
        *(_named(one.rule.rule_id, one.number, one.text) for one in versions),
    ]
    with transaction.atomic():
        job = BacktestJob.objects.create(
            rules=rules, since=since, until=until, network=network, asked_by=by, asked_at=now
        )
        body = {"rules": [{"id": one["id"], "version": one["version"]} for one in rules]}
        step = Step(actor=f"user:{by.username}", step="rules.backtested", object=f"backtest:{job.pk}", body=body)
        record([step], now=now)
        ended = BacktestJob.objects.exclude(state__in=ACTIVE).order_by("-pk")
        old = list(ended.values_list("pk", flat=True)[KEPT:])
        BacktestJob.objects.filter(pk__in=old).delete()
    return job


def result_of(job: BacktestJob) -> Backtest | None:
    """What came out, where the job is done."""
    return msgspec.json.decode(job.result, type=Backtest) if job.result else None


def forget(*, now: datetime) -> int:
    """Delete what was kept for its time, and take samples of accounts that were erased out of the rest; give how many."""
    ended = BacktestJob.objects.exclude(state__in=ACTIVE)
    gone, _by_model = ended.filter(asked_at__lt=now - KEEP).delete()
    for erased in Erasure.objects.filter(asked_at__gt=now - KEEP):
        about = BacktestJob.objects.filter(asked_at__lte=erased.asked_at, result__contains=erased.account_id)
        for job in about:
            gone += _without(job, erased.network, erased.account_id)
    return gone


def _without(job: BacktestJob, network: str, account: str) -> int:
    found = result_of(job)
    if found is None:
        return 0
    before = sum(len(rule.samples) for rule in found.rules)
    rules = tuple(
        msgspec.structs.replace(rule, samples=tuple(one for one in rule.samples if not _is_of(one, network, account)))
        for rule in found.rules
    )
    after = sum(len(rule.samples) for rule in rules)
    if after < before:
        job.result = msgspec.json.encode(msgspec.structs.replace(found, rules=rules)).decode()
        job.save(update_fields=["result"])
    return before - after


def _is_of(sample: Sample, network: str, account: str) -> bool:
    return sample.event.startswith(f"{network}/") and (
        sample.account == account or sample.subject == f"account/{account}"
    )


def run_next(
    *,
    decided: Callable[[], Mapping[tuple[str, str, str], bool]],
    texts_of: TextsOf,
    stop: threading.Event,
    clock: Callable[[], datetime] = timezone.now,
) -> int:
    """Run the next backtest that is due; give 1, or 0 where none is.

    `decided` gives what people decided, by subject; `texts_of` what banks hold, by their names.
    """

    def work(job: BacktestJob, hold: Hold[BacktestJob]) -> dict[str, Any]:
        for _batch in range(FRESH_BATCHES):  # What came just now is what somebody wants to try a rule on.
            if not write_due(now=clock(), all_of_it=True):
                break
            hold.told(0, 0)
        words = {"/".join(subject): acted for subject, acted in decided().items()}
        found = backtest(
            past(),
            with_banks(_ruled(job), texts_of),
            since=job.since,
            until=job.until,
            network=job.network or None,
            decided=words,
            processes=max(1, (os.cpu_count() or 1) - 1),
            apart=True,
            told=hold.told,
        )
        return {"result": msgspec.json.encode(found).decode()}

    return jobs.run_next(BacktestJob, work, stop=stop, clock=clock)


def _named(rule_id: str, version: int | None = None, text: str | None = None) -> dict[str, str | int | None]:
    return {"id": rule_id, "version": version, "text": text}


def _ruled(job: BacktestJob) -> Ruled:
    written = tuple(Written(text=one["text"], mode="shadow", id=one["id"]) for one in job.rules if one["text"])
    return Ruled(path=services.rules_path(), written=written, only=frozenset(one["id"] for one in job.rules))
