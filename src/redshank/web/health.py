"""Is everything as it should be? One list of checks, asked by `redshank doctor` (all) and by /readyz (those that decide
whether this process can serve). Each check is one function that looks at one thing and says what to do about it."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import os
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Min
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from redshank.core import Problem
from redshank.web.permissions import open_to

DISK_FULL = 256 * 1024 * 1024
"""Free bytes below which nothing more should be taken in: room for a few requests and the store's own log."""
DISK_LOW = 2 * 1024 * 1024 * 1024
CLOCK_OFF = timedelta(seconds=5)
"""Deadlines are minutes, webhooks' time stamps are accepted within minutes: seconds of difference are worth a word."""
STALLED = timedelta(minutes=5)
_READY_KEPT = 2.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found: `says` in one sentence; `todo`, where something is to be done about it."""

    name: str
    state: Literal["ok", "warn", "fail"]
    says: str
    todo: str = ""


def _ok(says: str) -> Check:
    return Check(name="", state="ok", says=says)


def _warn(says: str, todo: str) -> Check:
    return Check(name="", state="warn", says=says, todo=todo)


def _fail(says: str, todo: str) -> Check:
    return Check(name="", state="fail", says=says, todo=todo)


def store() -> Check:
    """The store answers, takes writes, and lets readers and writers go on beside each other."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA journal_mode")
            mode = cursor.fetchone()[0]
            cursor.execute("SELECT sqlite_version()")
            version = cursor.fetchone()[0]
            if mode != "wal":
                return _warn(
                    f"SQLite {version} answers, but its journal is in mode {mode}: readers and writers block each other.",
                    "Keep the file on a local disk; network file systems cannot do WAL.",
                )
            return _ok(f"SQLite {version}, WAL.")
        cursor.execute("SHOW server_version")
        version = cursor.fetchone()[0]
        cursor.execute("SELECT pg_is_in_recovery()")
        if cursor.fetchone()[0]:
            return _fail(f"PostgreSQL {version} is a standby: it takes no writes.", "Point `database` at the primary.")
        return _ok(f"PostgreSQL {version}.")


def migrations() -> Check:
    """The store has this version's shape."""
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    missing = [migration for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
    if missing:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        return _fail(f"The store is behind this version: {names}{more}.", "Run `redshank migrate`.")
    known = set(executor.loader.disk_migrations)
    newer = sorted(key for key in executor.loader.applied_migrations if key not in known and key[0] in _our_apps())
    if newer:
        return _warn(
            f"The store is of a newer version ({newer[-1][0]}.{newer[-1][1]}).", "Update Redshank on this machine too."
        )
    return _ok("The store has this version's shape.")


def _our_apps() -> set[str]:
    from django.apps import apps

    return {config.label for config in apps.get_app_configs() if config.name.startswith("redshank.")}


def disk() -> Check:
    """There is room where the data lie."""
    free = shutil.disk_usage(settings.DATA_DIR).free
    says = f"{_size(free)} free in data_dir."
    if free < DISK_FULL:
        return _fail(says, "Make room: nothing is taken in before.")
    if free < DISK_LOW:
        return _warn(says, f"Make room: below {_size(DISK_FULL)} nothing is taken in.")
    return _ok(says)


def data_dir() -> Check:
    """The data folder can be written."""
    try:
        with tempfile.TemporaryFile(dir=settings.DATA_DIR) as file:
            file.write(b"redshank")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return _fail(
            f"data_dir cannot be written: {error.strerror}.",
            f"Give the user that runs Redshank write access to {settings.DATA_DIR}.",
        )
    return _ok("data_dir can be written.")


def secret_key() -> Check:
    """The key that signs sessions and derives webhook secrets is there, and nobody else can read it."""
    if settings.REDSHANK.secret_key:
        return _ok("Set, by the settings.")
    path = Path(settings.DATA_DIR) / "secret_key"
    if not path.exists():
        return _fail(
            "The file secret_key is gone from data_dir.",
            "Put it back from a backup: without it all sessions end and every platform needs a new webhook secret.",
        )
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        return _fail(f"The file secret_key can be read by others (mode {mode:o}).", f"chmod 600 {path}")
    if found.st_size < 32:
        return _fail("The file secret_key is shorter than 32 characters.", "Put it back from a backup.")
    return _ok(f"Kept in data_dir, mode {mode:o}.")


def rules() -> Check:
    """The rules in force can be read, all of them, those in files and those of the console."""
    from redshank.rules import services

    path = services.rules_path()
    try:
        found = services.in_force()
    except Problem as problem:
        return _fail(" ".join(str(problem).splitlines()[:2]), f"Run `redshank rules check {path}` to see all.")
    if found.trouble:
        return _warn(
            "A changed rule file has errors; the rules read before are in force.",
            f"Run `redshank rules check {path}` to see all.",
        )
    if found.broken:
        said = "; ".join(f"{rule}: {why}" for rule, why in sorted(found.broken.items()))
        return _warn(f"Left out: {said}.", "Mend it in the console, on the rule's page.")
    modes: dict[str, int] = {}
    for rule in found.rules.rules:
        modes[rule.mode] = modes.get(rule.mode, 0) + 1
    return _ok(", ".join(f"{number} {mode}" for mode, number in sorted(modes.items())) + ".")


def counters() -> Check:
    """The counters of the rules can be read and written."""
    from redshank.rules import counter_store

    try:
        counter_store.probe(timezone.now())
    except DatabaseError as error:
        return _fail(
            f"The counters of the rules do not answer: {str(error).strip().partition(chr(10))[0]}.",
            "Rules that count are unsure until they do; all else goes on. `redshank migrate` makes a table that is gone.",
        )
    return _ok("The counters of the rules can be read and written.")


def breakers() -> Check:
    """No rule asked for so much that a breaker holds it back."""
    from redshank.rules.breakers import tripped

    found = list(tripped())
    if not found:
        return _ok("Nothing is held.")
    says = "; ".join(
        f"{row.rule} asked for {row.effect} on {row.network} more than {row.most:,} times in an hour, "
        f"{row.held_effects.filter(state='held').count():,} are held"
        for row in found[:3]
    )
    more = f"; {len(found) - 3} more" if len(found) > 3 else ""
    return _warn(f"{says}{more}.", "Look at the system page: release what is held, or discard it.")


def clock() -> Check:
    """The wall clock moves as time does, and agrees with the store's."""
    wall, steady = time.time(), time.monotonic()
    time.sleep(0.05)
    jump = abs((time.time() - wall) - (time.monotonic() - steady))
    if jump > 1:
        return _warn(
            f"The clock jumped by {jump:.1f} s while it was looked at.", "See to it that NTP slews, not steps."
        )
    from redshank.audit.models import Entry

    now = datetime.now(UTC)
    last = Entry.objects.order_by("-id").values_list("at", flat=True).first()
    if last and last - now > CLOCK_OFF:
        return _fail(
            f"The clock is {_duration(last - now)} behind the audit log's last entry.",
            "Set this machine's clock: deadlines and webhook signatures depend on it.",
        )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            theirs = cursor.fetchone()[0]
        off = abs(theirs - datetime.now(UTC))
        if off > CLOCK_OFF:
            return _fail(f"This clock and the store's differ by {_duration(off)}.", "Run NTP on both machines.")
        return _ok("Steady, and agrees with the store's.")
    return _ok("Steady.")


def media() -> Check:
    """The child process that decodes media works: it hashes one small picture."""
    import numpy as np
    from PIL import Image

    from redshank.media import Hasher

    ramp = np.add.outer(np.arange(128), np.arange(128)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ramp.png"
        Image.fromarray(ramp).save(path)
        try:
            with Hasher(settings.REDSHANK.media) as hasher:
                hasher.hash(path)
        except Problem as problem:
            return _fail(
                f"Pictures cannot be decoded: {problem}", "Look at media.decode_memory and media.decode_seconds."
            )
    return _ok("A picture was decoded and hashed in the child process.")


def connectors() -> Check:
    """Something listens where actions are sent. Nothing is sent."""
    from redshank.enforcement.models import Connector

    rows = list(Connector.objects.order_by("network"))
    if not rows:
        return _warn("No platform is connected: no action can leave.", "Run `redshank connect`.")
    silent = []
    for row in rows:
        if row.paused_at:
            continue
        parts = urlsplit(row.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            with socket.create_connection((parts.hostname or "", port), timeout=3):
                pass
        except OSError as error:
            silent.append(f"{row.network} ({parts.hostname}:{port}: {error.strerror or error})")
    paused = sum(row.paused_at is not None for row in rows)
    if silent:
        return _warn(
            f"Not reached: {', '.join(silent)}.", "Actions wait in the outbox and are sent when the platform is back."
        )
    says = f"{len(rows) - paused} reached"
    return _warn(f"{says}, {paused} paused.", "Paused ones are sent nothing.") if paused else _ok(f"{says}.")


def outbox() -> Check:
    """Actions leave in time, and none was given up."""
    from redshank.enforcement.services import outbox_state

    now = timezone.now()
    states = outbox_state(now)
    waiting, dead = sum(row.waiting for row in states), sum(row.dead for row in states)
    unconfirmed = sum(row.unconfirmed for row in states)
    late = [now - row.oldest for row in states if row.oldest and not row.paused]
    says = f"{waiting} waiting, {dead} given up, {unconfirmed} sent long ago and not confirmed."
    if dead:
        return _warn(says, "See the system page: each can be sent again.")
    if late and max(late) > STALLED:
        return _warn(f"{says} The oldest waits for {_duration(max(late))}.", "Is `redshank worker` running?")
    if unconfirmed:
        return _warn(says, "Ask the platform: it took them but never said what became of them.")
    return _ok(says)


def waiting() -> Check:
    """Events that wait for their media are taken up."""
    from redshank.archive.models import EventRecord

    now = timezone.now()
    due = EventRecord.objects.filter(state=EventRecord.State.WAITING)
    oldest = due.aggregate(oldest=Min("due_at"))["oldest"]
    count = due.count()
    if oldest and now - oldest > STALLED:
        return _warn(
            f"{count} events wait for their media, one for {_duration(now - oldest)} beyond its time.",
            "Is `redshank worker` running? If it is, start another.",
        )
    return _ok(f"{count} events wait for their media.")


def exchanges() -> Check:
    """Other organizations' sources are read in time, and none waits for a person."""
    from redshank.exchanges import services

    rows = services.standings(timezone.now())
    if not rows:
        return _ok("No exchange is set up.")
    bad = [f"{one.name} is {standing.state}" for one, standing in rows if standing.alarming]
    if bad:
        return _warn(f"{', '.join(bad)}.", "See the exchanges page, or `redshank exchanges status NAME`.")
    return _ok(f"{len(rows)} as they should be.")


READY: tuple[Callable[[], Check], ...] = (store, migrations, disk, rules)
ALL: tuple[Callable[[], Check], ...] = (
    store, migrations, disk, data_dir, secret_key, rules, counters, breakers, clock, media, connectors, outbox, waiting,
    exchanges,
)  # fmt: skip


def run(checks: Iterable[Callable[[], Check]]) -> Iterable[Check]:
    """Each check's result, named. One that cannot even look is a failure that says why; the others go on."""
    stop = ""
    for check in checks:
        name = check.__name__.replace("_", " ")
        try:
            found = check()
        except DatabaseError as error:
            first = str(error).strip().partition("\n")[0]
            found = _fail(f"The store does not answer: {first}", "Look at the setting `database`.")
            if stop:
                found = _warn("Not looked at.", f"First see to `{stop}`.")
        except Exception as error:  # noqa: BLE001 - a check that breaks is a finding, not a crash
            found = _fail(f"Could not be looked at: {type(error).__name__}: {error}", "Please report this.")
        if found.state == "fail" and check in (store, migrations):
            stop = stop or name
        yield msgspec.structs.replace(found, name=name)


_kept_lock = threading.Lock()
_kept: tuple[float, list[Check]] | None = None


def _ready() -> list[Check]:
    """The checks of READY, looked at anew every two seconds at most: whoever asks often costs nothing."""
    global _kept  # noqa: PLW0603 - one answer a process
    with _kept_lock:
        if _kept is None or time.monotonic() - _kept[0] > _READY_KEPT:
            _kept = (time.monotonic(), list(run(READY)))
        return _kept[1]


@require_safe
@open_to("anyone")
def healthz(request: HttpRequest) -> HttpResponse:
    """The process is alive. Asks nothing of the store: a supervisor should not restart us because that is away."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
@open_to("anyone")
def readyz(request: HttpRequest) -> HttpResponse:
    """200 where this process can serve, else 503. The reasons are told to this machine and to holders of the token."""
    found = _ready()
    failed = any(check.state == "fail" for check in found)
    told = may_see(request)
    body = {
        "ready": not failed,
        "checks": {
            check.name: {"state": check.state, **({"says": check.says, "todo": check.todo} if told else {})}
            for check in found
        },
    }
    response = JsonResponse(body, status=503 if failed else 200)
    response["Cache-Control"] = "no-store"
    return response


def may_see(request: HttpRequest) -> bool:
    """Whether the inside may be shown: to the bearer of `metrics_token`; where none is set, to this machine itself.

    A request that a proxy handed on comes from this machine too; the headers that proxies add give it away.
    """
    token = settings.REDSHANK.metrics_token
    if token:
        given = request.headers.get("Authorization", "")
        return hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {token}".encode())
    address = address_of(request)
    return address is not None and address.is_loopback


def address_of(request: HttpRequest) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Who asks, where it is they and no proxy for them: the headers that proxies add give one away."""
    if any(name in request.headers for name in ("X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via")):
        return None
    given = request.META.get("REMOTE_ADDR", "")
    for text in (given, given.rpartition(":")[0].strip("[]")):  # Some servers add the port.
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(text)
            return getattr(address, "ipv4_mapped", None) or address
    return None


def _size(number: int) -> str:
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit in ("B", "KiB") else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _duration(length: timedelta) -> str:
    seconds = int(length.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h"
