"""Runs jobs: a worker holds one by a lease that it renews as it goes on.

The one idea: whatever a job writes, it writes in one transaction with the renewal of its hold (`Hold.keep`). So a worker that
was killed lets its lease end, and the next takes the job up; and one that lost it, or whose job was canceled, changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import structlog
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from redshank.core import Problem
from redshank.jobs.models import Job

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=90)
TRIES = 4
"""Times that a job is begun; one that four workers died of is given up."""
TOLD_EVERY = timedelta(seconds=0.8)
State = Job.State
ACTIVE = (State.WAITING, State.RUNNING)

J = TypeVar("J", bound=Job)


class _TakenAwayError(Exception):
    """The job was canceled, or another worker has it by now."""


class _StoppedError(Exception):
    """This worker is to end."""


class Hold(Generic[J]):
    """A worker's hold on a job that is running."""

    def __init__(self, job: J, stop: threading.Event, clock: Callable[[], datetime]) -> None:
        self._stop = stop
        self._clock = clock
        model = type(job)
        self.mine: QuerySet[J] = model._default_manager.filter(  # noqa: SLF001 - Django's own name
            pk=job.pk, state=State.RUNNING, attempts=job.attempts
        )
        self._said = clock()

    def keep(self, **fields: Any) -> None:
        """Hold on, and write `fields` of the job. What it raises where it may not go on ends the job, and the caller's transaction."""
        if self._stop.is_set():
            raise _StoppedError
        self._said = self._clock()
        if not self.mine.update(leased_until=self._said + LEASE, **fields):
            raise _TakenAwayError

    def told(self, done: int, whole: int) -> None:
        """Hold on, and say how far it is; as often as one likes, the store is told now and then."""
        if self._stop.is_set() or not done or done >= whole or self._clock() - self._said >= TOLD_EVERY:
            self.keep(done=done, whole=whole)


def run_next(
    model: type[J],
    work: Callable[[J, Hold[J]], Mapping[str, Any]],
    *,
    stop: threading.Event,
    clock: Callable[[], datetime] = timezone.now,
) -> int:
    """Take up the next job that is due, and run it to its end; give 1, or 0 where none is due.

    `work` does it and gives the fields to write with its end; a `Problem` is told as it is, anything else is tried again.
    Where `stop` is set meanwhile, the job waits for another worker.
    """
    job = _take(model, clock())
    if job is None:
        return 0
    hold = Hold(job, stop, clock)
    name = {"kind": model.__name__, "job": job.pk}
    try:
        fields = work(job, hold)
    except _TakenAwayError:
        log.info("job.taken_away", **name)
    except _StoppedError:
        hold.mine.update(state=State.WAITING, leased_until=None, attempts=job.attempts - 1)
    except Problem as problem:
        hold.mine.update(state=State.FAILED, error=str(problem), ended_at=clock(), leased_until=None)
    except Exception as error:  # Of the store, the disk, a child that was killed: likely not so the next time.
        log.exception("job.failed", attempts=job.attempts, **name)
        if job.attempts < TRIES:
            hold.mine.update(state=State.WAITING, leased_until=None)
        else:
            reason = f"{type(error).__name__}: {error}"[:2000]
            hold.mine.update(state=State.FAILED, error=reason, ended_at=clock(), leased_until=None)
    else:
        hold.mine.update(state=State.DONE, ended_at=clock(), leased_until=None, error="", **fields)
    return 1


def _take(model: type[J], now: datetime) -> J | None:
    jobs = model._default_manager  # noqa: SLF001 - Django's own name
    due = jobs.filter(Q(state=State.WAITING) | Q(state=State.RUNNING, leased_until__lt=now))
    for job in due.order_by("pk")[:5]:
        same = jobs.filter(pk=job.pk, state=job.state, attempts=job.attempts)
        if job.attempts >= TRIES:
            reason = _("given up: each of %(n)d workers that took it up died") % {"n": TRIES}
            same.update(state=State.FAILED, error=reason, ended_at=now, leased_until=None)
            continue
        job.attempts += 1
        if same.update(state=State.RUNNING, attempts=job.attempts, leased_until=now + LEASE, done=0):
            return job
    return None


def cancel(job: Job, *, now: datetime) -> bool:
    """End a job that has not ended; whether it had not. A worker that is at it learns of it with its next word."""
    left = type(job)._default_manager.filter(pk=job.pk, state__in=ACTIVE)  # noqa: SLF001 - Django's own name
    return bool(left.update(state=State.CANCELED, ended_at=now, leased_until=None))
