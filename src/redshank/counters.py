"""What is counted as it happens, for /metrics: events, walks, findings, rules.

Each process counts in a file of its own (Prometheus's multi-process mode), and whoever is asked adds the files up, so
that several servers and workers on one machine make one truth. Files of processes that ended are folded into one, so
that nothing goes back to zero and nothing piles up.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from redshank.core import Verdict

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client finds the folder; it must be set before this module is imported."""
ROOM = 1 << 20
"""Bytes set aside for a process's file. A mapped file without room would kill its process on a full disk (SIGBUS)."""
_KINDS = ("counter", "histogram")
_PAST = "past"


def _who() -> str:
    """This process's own name: containers that share a disk have the same process ids, but not the same host names."""
    return f"{socket.gethostname().replace('_', '-')}-{os.getpid()}"


if os.environ.get(FOLDER):
    values.ValueClass = values.MultiProcessValue(_who)  # type: ignore[no-untyped-call]  # prometheus_client has few types
REGISTRY = CollectorRegistry()
EVENTS = Counter(
    "redshank_events",
    "Events that were sent, by what was answered. Rejected ones have no type.",
    ("network", "type", "outcome"),
    registry=REGISTRY,
)
FINDINGS = Counter("redshank_findings", "What detectors saw.", ("kind",), registry=REGISTRY)
RULES = Counter("redshank_rules_fired", "Rules that fired.", ("rule", "mode"), registry=REGISTRY)
UNSURE = Counter(
    "redshank_rules_unsure",
    "Events on which a rule could not be evaluated, because what it asks for was missing.",
    ("rule",),
    registry=REGISTRY,
)
ERRORS = Counter(
    "redshank_walk_errors",
    "Events on which something could not be seen or judged: media that could not be hashed, a rule that failed.",
    ("way",),
    registry=REGISTRY,
)
HELD = Counter(
    "redshank_effects_held",
    "Effects of rules that a breaker held, because the rule asked for too much in an hour. A person must look.",
    ("rule", "effect"),
    registry=REGISTRY,
)
COUNTERS_FAILED = Counter(
    "redshank_counters_failed",
    "Batches of events whose counters could not be had: the table of the counters does not answer.",
    ("what",),
    registry=REGISTRY,
)
BATCHES = Histogram(
    "redshank_accept_seconds",
    "Time to take one batch of events, all of it, committed.",
    ("actor",),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
WALKS = Histogram(
    "redshank_media_walk_seconds",
    "Time from taking up a waiting event to its verdict, with fetching and hashing its media.",
    ("outcome",),
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
    registry=REGISTRY,
)

_held: dict[str, list[int] | None] = {}


def count_answers(kinds: Iterable[tuple[str, str, str]], *, seconds: float, actor: str) -> None:
    """Count one batch: (network, type, outcome) of each event, and the time it took in all.

    `actor` is its first word alone (key, system, user), so that a label cannot grow without bound. The caller sees to
    it that a network which a stranger made up does not come here.
    """
    if not _counts():
        return
    for labels, number in Tally(kinds).items():
        EVENTS.labels(*labels).inc(number)
    BATCHES.labels(actor.partition(":")[0]).observe(seconds)


def count_verdicts(verdicts: Iterable[Verdict], *, way: str) -> None:
    """Count what was seen and which rules fired. `way` is `direct`, or `media` for events that waited for theirs."""
    if not _counts():
        return
    findings: Tally[str] = Tally()
    fired: Tally[tuple[str, str]] = Tally()
    errors = 0
    for verdict in verdicts:
        for finding in verdict.findings:
            findings[finding.kind] += 1
        for rule in verdict.fired:
            fired[rule.rule, "live" if rule.live else "shadow"] += 1
        errors += bool(verdict.errors)
    for kind, number in findings.items():
        FINDINGS.labels(kind).inc(number)
    for labels, number in fired.items():
        RULES.labels(*labels).inc(number)
    if errors:
        ERRORS.labels(way).inc(errors)


def count_unsure(rules: Mapping[str, int]) -> None:
    """Count the events on which rules, by their ids, could not be evaluated because something was missing."""
    if rules and _counts():
        for rule, number in rules.items():
            UNSURE.labels(rule).inc(number)


def count_counters_failed(what: str) -> None:
    """Count a batch whose counters could not be had: `what` is read or write."""
    if _counts():
        COUNTERS_FAILED.labels(what).inc()


def count_held(rule: str, effect: str) -> None:
    """Count an effect that a breaker holds."""
    if _counts():
        HELD.labels(rule, effect).inc()


def count_walk(seconds: float, *, outcome: str) -> None:
    """Count the walk of one waiting event: `walked`, `put_back` or `failed`."""
    if _counts():
        WALKS.labels(outcome).observe(seconds)


class _Everyone(Collector):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def collect(self) -> Iterator[Metric]:
        files = [str(path) for path in self.folder.glob("*.db")]
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]


def exposition() -> bytes:
    """All that was counted, by all processes that share the folder, as Prometheus reads it."""
    folder = os.environ.get(FOLDER)
    if not folder or not Path(folder).is_dir():
        return generate_latest(REGISTRY)
    everyone = CollectorRegistry()
    everyone.register(_Everyone(Path(folder)))
    with (Path(folder) / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        return generate_latest(everyone)


def fold() -> int:
    """Add the files of processes that ended to the files `*_past.db`; give how many went.

    A process holds a lock on its files as long as it lives, and nobody reads while another folds: so no number is ever
    lost or seen twice.
    """
    if not os.environ.get(FOLDER):
        return 0
    folder = Path(os.environ[FOLDER])
    folder.mkdir(parents=True, exist_ok=True)
    gone = 0
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for kind in _KINDS:
            past = folder / f"{kind}_{_PAST}.db"
            ended = [path for path in sorted(folder.glob(f"{kind}_*.db")) if path != past and _has_ended(path)]
            if not ended:
                continue
            os.close(_set_aside(past))
            total = MmapedDict(str(past))  # type: ignore[no-untyped-call]
            for path in ended:
                for key, value in _read(path):
                    before, _ = total.read_value(key)  # type: ignore[no-untyped-call]
                    total.write_value(key, before + value, 0.0)  # type: ignore[no-untyped-call]
                path.unlink()
                gone += 1
            total.close()  # type: ignore[no-untyped-call]
    return gone


def _read(path: Path) -> list[tuple[str, float]]:
    try:
        rows = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
        return [(key, value) for key, value, _, _ in rows]
    except (struct.error, RuntimeError, UnicodeDecodeError):  # Cut off by a full disk: there was nothing in it yet.
        return []


def _has_ended(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _counts() -> bool:
    """Whether this process may count: it has room on the disk for its files, or keeps its counts in memory."""
    who = _who()
    if who not in _held:
        folder = os.environ.get(FOLDER)
        try:
            _held[who] = [_begin(Path(folder), kind, who) for kind in _KINDS] if folder else []
        except OSError:  # A full disk: counting is not worth a crash.
            _held[who] = None
    return _held[who] is not None


def _begin(folder: Path, kind: str, who: str) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # Nobody folds the file between its making and its locking.
        file = _set_aside(folder / f"{kind}_{who}.db")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def _set_aside(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, ROOM)
    except OSError:
        os.close(file)
        if not path.stat().st_size:
            path.unlink()
        raise
    return file
