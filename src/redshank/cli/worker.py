"""`redshank worker`: takes up what waits, sends what is due, sweeps what is no longer needed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from types import FrameType

import click

from redshank.cli._django import with_store
from redshank.core.errors import Problem

AT_ONCE = 4
"""Waiting events that are leased at a time: few, so that several workers share the work and a stop is soon."""
LETTERS = 200
IDLE = (0.05, 1.0)
"""Seconds to wait when there was nothing to do: at first, and at most."""
TROUBLE = (1.0, 30.0)
"""The same, after something failed."""
SWEEP_EVERY = timedelta(hours=1)
KEEP_EVERY = timedelta(seconds=10)
"""So often what is kept of returning accounts is brought into shape, however busy it is."""


@click.command()
@click.option("--once", is_flag=True, help="Do all that is due now, then exit.")
@with_store
def command(once: bool) -> None:
    """Walk events that wait for their media, send actions that are due, sweep old media; until SIGTERM or Ctrl-C.

    Start as many as you like, on as many machines as reach the store and data_dir: each takes what no other has. One that is
    killed loses nothing: what it held is taken up again when its lease ends.
    """
    import structlog

    from redshank import counters
    from redshank.banks import services as banks
    from redshank.web import health

    log = structlog.get_logger(__name__)
    for check in health.run((health.store, health.migrations, health.rules)):
        if check.state == "fail":
            raise Problem(check.says, where=check.name, hint=check.todo)
    counters.fold()
    banks.known()  # Before anything waits for it, and outside of any transaction.
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        if stop.is_set():  # Asked twice: what is leased comes back when its lease ends.
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    log.info("worker.started", once=once)
    lanes = [
        threading.Thread(target=_keep_at, args=(make, stop, once), name=name)
        for name, make in (
            ("outbox", _Outbox),
            ("sweep", _Sweep),
            ("look back", _LookBack),
            ("past", _Past),
            ("released", _Released),
            ("returning", _Returning),
            ("campaigns", _Campaigns),
            ("exchanges", _Exchanges),
            ("backtest", _Backtests),
            ("import", _Imports),
        )
    ]
    for lane in lanes:
        lane.start()
    try:
        _keep_at(_Walk, stop, once)
    finally:
        if not once:
            stop.set()
        for lane in lanes:
            lane.join()
    if once and not stop.is_set():  # What was walked may be evidence, and may have asked for actions.
        _keep_at(_Returning, stop, once)
        _keep_at(_Outbox, stop, once)
    log.info("worker.ended")


class _Job:
    """Something that is done again and again. `step` does a little and gives how much that was."""

    name = ""
    idle = IDLE
    stop = threading.Event()
    """Set when the worker is to end; what takes long looks at it."""

    def step(self) -> int:
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what is held."""


class _Walk(_Job):
    name = "walk"

    def __init__(self) -> None:
        from django.conf import settings

        from redshank.media import Hasher

        self._hasher = Hasher(settings.REDSHANK.media)
        self._hasher.__enter__()

    def step(self) -> int:
        from django.utils import timezone

        from redshank.pipeline import walk_waiting

        return walk_waiting(now=timezone.now(), limit=AT_ONCE, hasher=self._hasher)

    def close(self) -> None:
        self._hasher.__exit__(None, None, None)


class _Outbox(_Job):
    name = "outbox"

    def __init__(self) -> None:
        from redshank.enforcement.courier import Courier

        self._courier = Courier()
        self._tried = 0

    def step(self) -> int:
        self._courier.start(limit=LETTERS)
        self._courier.wait(0.5)  # A slow platform's lane goes on; the others' are free again.
        new = self._courier.tried - self._tried
        self._tried += new
        return new

    def close(self) -> None:
        self._courier.close()


class _LookBack(_Job):
    """What was out of force for a time comes back, peers' tokens are tended, and new entries are sought in the past; when there are none, what is over of
    the past is put into files, and the old goes; then parts of them are sought."""

    name = "look back"
    idle = (5.0, 30.0)

    def step(self) -> int:
        from django.utils import timezone

        from redshank.banks import lookback, quarantine
        from redshank.hma.services import revive_due
        from redshank.peers.services import tend
        from redshank.pipeline import look_back, look_back_for_parts

        now = timezone.now()
        return (
            revive_due(now=now)
            or tend(now=now)
            or look_back(now=now)
            or lookback.seal(now=now)
            or lookback.forget(now=now)
            or quarantine.forget_old(now=now)
            or look_back_for_parts(now=now)
        )


class _Returning(_Job):
    """Evidence is gathered, and new accounts are asked about; in between, the index of the suspended is kept in shape."""

    name = "returning"
    idle = (0.05, 0.5)

    def __init__(self) -> None:
        self._kept: datetime | None = None
        self._swept: datetime | None = None

    def step(self) -> int:
        from django.utils import timezone

        from redshank.evasion import services as evasion
        from redshank.evasion.census import join_log
        from redshank.evasion.targets import targets
        from redshank.pipeline import ask_due

        now = timezone.now()
        done = evasion.gather_news(now=now) + ask_due(now=now, limit=50)
        if self._kept is None or now - self._kept >= KEEP_EVERY:
            self._kept = now
            done += targets().keep(now=now) + join_log(now=now)
        if done:
            return done
        if self._swept is None or now - self._swept >= SWEEP_EVERY:
            self._swept = now
            return evasion.forget(now=now) + evasion.forget_old_tokens(now=now)
        return 0


class _Released(_Job):
    """What breakers held and a person let go on."""

    name = "released"
    idle = (0.5, 2.0)

    def step(self) -> int:
        from django.utils import timezone

        from redshank.pipeline import do_released

        return do_released(now=timezone.now())


class _Sweep(_Job):
    name = "sweep"
    idle = (SWEEP_EVERY.total_seconds(), SWEEP_EVERY.total_seconds())

    def step(self) -> int:
        from django.core.management import call_command
        from django.utils import timezone

        from redshank.pipeline import sweep

        gone = sweep(now=timezone.now())
        if not gone:
            call_command("clearsessions")
        return gone


class _Past(_Job):
    """Batches of events into the past, one after the other; when none is due, what is old goes from store and past."""

    name = "past"
    idle = (10.0, 60.0)

    def __init__(self) -> None:
        self._forgot: datetime | None = None
        self._trimmed = 0

    def step(self) -> int:
        from django.utils import timezone

        from redshank.archive.past_writer import finish_erasures, forget, trim_store, write_due
        from redshank.cases.services import needed_events
        from redshank.rules.counter_store import erase_asked

        now = timezone.now()
        if done := finish_erasures(now=now) + erase_asked() + write_due(now=now):
            return done
        if self._trimmed or self._forgot is None or now - self._forgot >= SWEEP_EVERY:
            self._trimmed = trim_store(self._trimmed, needed_events, now=now)
            if self._trimmed:
                return 1
            forget(now=now)
            self._forgot = now
        return 0


class _Campaigns(_Job):
    """What accounts shared into files, what is hot noticed, and a search, in a process of its own, when one is due."""

    name = "campaigns"
    idle = (5.0, 15.0)

    def __init__(self) -> None:
        from redshank.campaigns.runs import HotWatch

        self._watch = HotWatch()
        self._search: subprocess.Popen[bytes] | None = None
        self._forgot: datetime | None = None

    def step(self) -> int:
        from django.utils import timezone

        from redshank.campaigns import runs

        now = timezone.now()
        if self._search is not None:
            if self._search.poll() is None:
                time.sleep(0.2)  # Other lanes go on; with `--once` this one is waited for.
                return 1
            failed, self._search = self._search.returncode, None
            if failed:
                raise Problem(f"the search ended with {failed}", where="redshank campaigns run")
        if done := runs.erase(now=now) + runs.seal(now=now):
            return done
        self._watch.look(now=now)
        after = runs.last_run()
        if wanted := runs.due(now=now):
            asked = ["--why", wanted.why, "--day", wanted.until.isoformat(), "--after", str(after)]
            command = [sys.executable, "-m", "redshank.cli", "campaigns", "run", *asked]
            self._search = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            return 1
        if self._forgot is None or now - self._forgot >= SWEEP_EVERY:
            runs.forget(now=now)
            self._forgot = now
        return 0

    def close(self) -> None:
        if self._search is not None and self._search.poll() is None:
            self._search.terminate()  # It leaves nothing behind, and is due again.
            self._search.wait()


class _Backtests(_Job):
    """Backtests that somebody asked for in the console, in processes of their own."""

    name = "backtest"
    idle = (0.5, 1.0)

    def __init__(self) -> None:
        self._forgot: datetime | None = None

    def step(self) -> int:
        from django.utils import timezone

        from redshank.banks.services import texts_of
        from redshank.cases.services import decided
        from redshank.rules import jobs

        if done := jobs.run_next(decided=decided, texts_of=texts_of, stop=self.stop):
            return done
        now = timezone.now()
        if self._forgot is None or now - self._forgot >= SWEEP_EVERY:
            jobs.forget(now=now)
            self._forgot = now
        return 0


class _Imports(_Job):
    """Files that somebody imports in the console: looked at, and taken in."""

    name = "import"
    idle = (0.5, 1.0)

    def __init__(self) -> None:
        self._forgot: datetime | None = None

    def step(self) -> int:
        from django.utils import timezone

        from redshank.banks import imports

        if done := imports.run_next(stop=self.stop):
            return done
        now = timezone.now()
        if self._forgot is None or now - self._forgot >= SWEEP_EVERY:
            imports.forget(now=now)
            self._forgot = now
        return 0


class _Exchanges(_Job):
    """Asks other organizations' sources that are due, tells them what became of what they gave, and keeps shares up to date."""

    name = "exchanges"
    idle = (5.0, 30.0)

    def __init__(self) -> None:
        self._forgot: datetime | None = None

    def step(self) -> int:
        from django.utils import timezone

        from redshank.exchanges import running, sharing, telling

        now = timezone.now()
        done = (
            running.run_due(stop=self.stop) + telling.queue(now=now) + telling.send_due() + sharing.publish_due(now=now)
        )
        if self._forgot is None or now - self._forgot >= SWEEP_EVERY:
            running.forget(now=now)
            self._forgot = now
        return done


def _keep_at(make: type[_Job], stop: threading.Event, once: bool) -> None:
    """Do the job until `stop`; with `once`, until there is nothing left to do. No error ends it: it waits and tries again."""
    import structlog
    from django.db import close_old_connections, connections

    log = structlog.get_logger(__name__)
    job: _Job | None = None
    pause = failures = 0.0
    while not stop.wait(pause):
        try:
            close_old_connections()
            if job is None:
                job = make()
                job.stop = stop
            done = job.step()
        except Exception:
            pause = failures = min(max(failures * 2, TROUBLE[0]), TROUBLE[1])
            log.exception("worker.step_failed", job=make.name, again_in=pause)
            connections.close_all()
            if once and failures >= 8:
                break
            continue
        failures = 0.0
        if done:
            pause = 0.0
        elif once:
            break
        else:
            pause = min(max(pause * 2, job.idle[0]), job.idle[1])
    if job is not None:
        job.close()
    connections.close_all()
