"""Backtests that somebody asked for in the console: kept in the store, run by whichever worker takes them up.

A worker holds a job by a lease that it renews as files are done. One that is killed lets its lease end, and the next
worker begins the job again: a backtest changes nothing, so trying it twice is harmless.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from redshank.archive.models import Erasure
from redshank.archive.past_writer import past, write_due
from redshank.audit.services import Step, record
from redshank.core import BadInput, Problem
from redshank.people.models import User
from redshank.rules import services
from redshank.rules.backtest import Backtest, Ruled, Sample, backtest
from redshank.rules.loader import Written
from redshank.rules.models import BacktestJob, RuleVersion

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=90)
FRESH_BATCHES = 50
"""Batches of events that are not in the past yet and are written to it before a backtest begins, at most."""
TRIES = 4
"""Times that a job is begun; one that four workers died of is given up."""
MOST_WAITING = 20
KEPT = 300
"""Jobs that are kept; the oldest that have ended go."""
KEEP = timedelta(days=90)
"""How long they are kept: their samples tell what people wrote."""
State = BacktestJob.State


class _TakenAwayError(Exception):
    """The job was canceled, or another worker has it by now."""


class _StoppedError(Exception):
    """This worker is to end."""


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
    if BacktestJob.objects.filter(state__in=(State.WAITING, State.RUNNING)).count() >= MOST_WAITING:
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
        ended = BacktestJob.objects.exclude(state__in=(State.WAITING, State.RUNNING)).order_by("-pk")
        old = list(ended.values_list("pk", flat=True)[KEPT:])
        BacktestJob.objects.filter(pk__in=old).delete()
    return job


def cancel(job: BacktestJob, *, now: datetime) -> bool:
    """End a job that has not ended; whether it had not."""
    left = BacktestJob.objects.filter(pk=job.pk, state__in=(State.WAITING, State.RUNNING))
    return bool(left.update(state=State.CANCELED, ended_at=now, leased_until=None))


def result_of(job: BacktestJob) -> Backtest | None:
    """What came out, where the job is done."""
    return msgspec.json.decode(job.result, type=Backtest) if job.result else None


def forget(*, now: datetime) -> int:
    """Delete what was kept for its time, and take samples of accounts that were erased out of the rest; give how many."""
    ended = BacktestJob.objects.exclude(state__in=(State.WAITING, State.RUNNING))
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
    stop: threading.Event,
    clock: Callable[[], datetime] = timezone.now,
) -> int:
    """Take up the next job that is due, and run it to its end; give 1, or 0 where none is due.

    `decided` gives what people decided, by subject. Where `stop` is set meanwhile, the job waits for another worker.
    """
    job = _take(clock())
    if job is None:
        return 0
    mine = BacktestJob.objects.filter(pk=job.pk, state=State.RUNNING, attempts=job.attempts)
    said = clock()

    def told(done: int, whole: int) -> None:
        nonlocal said
        if stop.is_set():
            raise _StoppedError
        now = clock()
        if done and done < whole and now - said < timedelta(seconds=0.8):
            return
        said = now
        if not mine.update(files_done=done, files=whole, leased_until=now + LEASE):
            raise _TakenAwayError

    try:
        for _batch in range(FRESH_BATCHES):  # What came just now is what somebody wants to try a rule on.
            if not write_due(now=clock(), all_of_it=True):
                break
            told(0, 0)
        words = {"/".join(subject): acted for subject, acted in decided().items()}
        found = backtest(
            past(),
            _ruled(job),
            since=job.since,
            until=job.until,
            network=job.network or None,
            decided=words,
            processes=max(1, (os.cpu_count() or 1) - 1),
            apart=True,
            told=told,
        )
    except _TakenAwayError:
        log.info("backtest.taken_away", job=job.pk)
    except _StoppedError:
        mine.update(state=State.WAITING, leased_until=None, attempts=job.attempts - 1)
    except Problem as problem:
        mine.update(state=State.FAILED, error=str(problem), ended_at=clock(), leased_until=None)
    except Exception as error:  # Of the store, the disk, a child that was killed: likely not so the next time.
        log.exception("backtest.failed", job=job.pk, attempts=job.attempts)
        if job.attempts < TRIES:
            mine.update(state=State.WAITING, leased_until=None)
        else:
            reason = f"{type(error).__name__}: {error}"[:2000]
            mine.update(state=State.FAILED, error=reason, ended_at=clock(), leased_until=None)
    else:
        mine.update(
            state=State.DONE, result=msgspec.json.encode(found).decode(), ended_at=clock(), leased_until=None, error=""
        )
    return 1


def _take(now: datetime) -> BacktestJob | None:
    due = BacktestJob.objects.filter(Q(state=State.WAITING) | Q(state=State.RUNNING, leased_until__lt=now))
    for job in due.order_by("pk")[:5]:
        same = BacktestJob.objects.filter(pk=job.pk, state=job.state, attempts=job.attempts)
        if job.attempts >= TRIES:
            reason = _("given up: each of %(n)d workers that took it up died") % {"n": TRIES}
            same.update(state=State.FAILED, error=reason, ended_at=now, leased_until=None)
            continue
        job.attempts += 1
        if same.update(state=State.RUNNING, attempts=job.attempts, leased_until=now + LEASE, files_done=0):
            return job
    return None


def _named(rule_id: str, version: int | None = None, text: str | None = None) -> dict[str, str | int | None]:
    return {"id": rule_id, "version": version, "text": text}


def _ruled(job: BacktestJob) -> Ruled:
    written = tuple(Written(text=one["text"], mode="shadow", id=one["id"]) for one in job.rules if one["text"])
    return Ruled(path=services.rules_path(), written=written, only=frozenset(one["id"] for one in job.rules))
