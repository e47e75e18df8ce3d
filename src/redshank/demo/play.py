"""Plays a world through Redshank's own doors, as a platform would, and holds what was found against what was planted.

Accounts, posts and reports go to the example platforms, which tell Redshank of them; what those know nothing of (follows,
profiles, edits, loose uploads) goes straight to the API. Nothing reaches inside: the store is only read, and decisions are
taken through the same services as in the console.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
from django.db import close_old_connections, transaction
from django.utils import timezone

from redshank.archive.models import EventRecord
from redshank.archive.services import verdict_of
from redshank.audit.models import Entry
from redshank.banks import services as banks
from redshank.banks.models import Bank
from redshank.campaigns import runs as campaigns
from redshank.campaigns.models import Campaign
from redshank.cases import services as cases
from redshank.cases.models import Case, Decision, Item
from redshank.client import Client
from redshank.core import Subject, Verb, decode_event
from redshank.demo import pictures, words
from redshank.demo.world import Happening, Truth, World
from redshank.enforcement import services as enforcement
from redshank.enforcement.models import Action, Delivery
from redshank.evasion.models import News, ProfileRecord, TieRecord
from redshank.evasion.services import SETTLE
from redshank.intake.models import Report
from redshank.media import Hasher
from redshank.people.models import User

CHUNK = 100
QUEUES = (None,) * 10 + ("reports",) * 4 + ("review",) * 12
"""The queue from which each case is taken that the demo's moderator decides; None is whatever comes first."""
FOUND_BY = {
    "picture": {"pdq", "sha256", "md5"},
    "video": {"video", "sha256", "md5"},
    "words": {"term"},
    "link": {"url", "domain"},
}
_PATHS = {"account.created": "/accounts", "post.created": "/posts", "report.received": "/reports"}
"""What the platforms bring about themselves, in the order in which one thing needs the other."""


_SAME = "the same file"
_WAYS: dict[str, list[str]] = {
    "picture": list(pictures.EDITS),
    "video": [_SAME, *pictures.VIDEO_EDITS],
    "words": [way for way, *_ in words.DISGUISES],
    "link": [way for way, _ in words.REDIRECTS],
    "return": ["another name, the same friends", "another name, half of the friends"],
    "report": ["by an authority", "by a trusted flagger", "by a third party", "by a user"],
}


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """One example platform as we know it: its address, its file, and the key with which it sends."""

    network: str
    url: str
    store: Path
    key: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What became of what was planted in one way."""

    kind: str
    way: str
    must: bool
    planted: int
    found: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The demo in numbers. `faults` names, one sentence each, what should not have been; empty where all is well."""

    seed: int
    events: int
    networks: int
    answered: dict[str, int]
    lost: int
    twice: int
    seconds_playing: float
    seconds_walking: float
    findings: dict[str, int]
    rules: dict[str, int]
    cases: int
    cases_by_queue: dict[str, int]
    reports: int
    planted: list[Line]
    campaigns: list[str]
    innocent_pictures: int
    false_alarms: int
    named_innocently: int
    named_acted_on: int
    ties: dict[str, int]
    look_alikes: int
    wrongly_tied: int
    decisions: dict[str, int]
    actions: dict[str, int]
    done_by_platforms: dict[str, int]
    done_twice: int
    repeats: int
    audit_entries: int
    killed: int
    faults: list[str]


def fill_banks(world: World, folder: Path, hasher: Hasher, *, now: datetime) -> int:
    """Make the demo's banks: harmless stand-ins for what a real installation knows. Gives the number of entries."""
    made = 0
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for number, data in enumerate(world.known_pictures, start=1):
        path = folder / f"known-{number}.jpg"
        path.write_bytes(data)
        pictures.append((f"demo picture {number}", hasher.hash(path)))
    path = folder / "known.mp4"
    path.write_bytes(world.known_video)
    video = hasher.hash(path)

    def bank(name: str, kind: str, policy: str, severity: int, text: str, entries: Iterable[banks.NewEntry]) -> None:
        nonlocal made
        found = banks.make_bank(
            name, kind=kind, policy=policy, severity=severity, by="system", now=now, description=text, source="the demo"
        )
        made += banks.add_entries(found, entries, by="system", now=now).added

    bank(
        "demo-pictures", "pdq", "terrorist-content", 4, "Pictures that look like known ones.",
        [banks.entry_from_media(hashes, "pdq", label=label) for label, hashes in pictures],
    )  # fmt: skip
    bank(
        "demo-files", "sha256", "terrorist-content", 5, "Files that are, byte for byte, known ones.",
        [
            *(banks.entry_from_media(hashes, "sha256", label=label) for label, hashes in pictures),
            banks.entry_from_media(video, "sha256", label="demo video"),
        ],
    )  # fmt: skip
    bank(
        "demo-videos", "video", "terrorist-content", 5, "Videos that share scenes with known ones.",
        [banks.entry_from_media(video, "video", label="demo video")],
    )  # fmt: skip
    bank(
        "demo-terms", "term", "violent-extremism-support", 3, "Names and slogans of invented groups.",
        [banks.NewEntry(value=term) for term in (*words.GROUPS, *words.SLOGANS)],
    )  # fmt: skip
    bank(
        "demo-domains", "domain", "recruitment", 4, "Domains of invented groups.",
        [banks.NewEntry(value=domain) for domain in words.DOMAINS],
    )  # fmt: skip
    bank(
        "demo-links", "url", "violent-extremism-support", 4, "Single pages.",
        [banks.NewEntry(value=link) for link in words.LINKS],
    )  # fmt: skip
    return made


class Player:
    """Sends a world, one thread a network. `sent` grows as answers come; `errors` holds what ended a thread."""

    def __init__(self, world: World, platforms: Mapping[str, Platform], redshank: str) -> None:
        self.world = world
        self.platforms = platforms
        self.redshank = redshank
        self.sent = 0
        self.answers: Counter[str] = Counter()
        self.errors: list[str] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._began = self._ended = 0.0

    def start(self) -> None:
        """Begin on every network at once."""
        self._began = self._ended = time.monotonic()
        for network in self.platforms:
            mine = [happening for happening in self.world.happenings if happening.event["network"] == network]
            thread = threading.Thread(target=self._play, args=(self.platforms[network], mine), daemon=True)
            self._threads.append(thread)
            thread.start()

    @property
    def playing(self) -> bool:
        """Whether anything has yet to be sent."""
        return any(thread.is_alive() for thread in self._threads)

    @property
    def seconds(self) -> float:
        """How long sending took."""
        return self._ended - self._began

    def _play(self, platform: Platform, happenings: list[Happening]) -> None:
        try:
            with (
                httpx.Client(base_url=platform.url, timeout=60, trust_env=False) as there,
                Client(
                    self.redshank, platform.key, tries=40, sleep=lambda seconds: time.sleep(min(seconds, 1))
                ) as here,
            ):
                for chunk in _chunks(happenings):
                    self._through(there, [one for one in chunk if one.event["type"] in _PATHS])
                    direct = [one.event for one in chunk if one.event["type"] not in _PATHS]
                    self._count([answer["status"] for answer in here.send(direct)])
        except Exception as error:  # noqa: BLE001 - it is told at the end; the other networks go on
            self.errors.append(f"{platform.network}: {type(error).__name__}: {error}")

    def _through(self, there: httpx.Client, chunk: list[Happening]) -> None:
        for type_, path in _PATHS.items():
            asked = [_asked(happening.event) for happening in chunk if happening.event["type"] == type_]
            if not asked:
                continue
            response = there.post(path, json=asked)
            if not response.is_success:
                raise RuntimeError(f"the example platform answered {response.status_code}: {response.text[:200]}")
            self._count(["through a platform"] * len(asked))

    def _count(self, statuses: list[str]) -> None:
        with self._lock:
            self.sent += len(statuses)
            self._ended = time.monotonic()
            self.answers.update(statuses)


def _chunks(happenings: Iterable[Happening]) -> Iterator[list[Happening]]:
    source = iter(happenings)
    while chunk := list(islice(source, CHUNK)):
        yield chunk


def _asked(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event as its author would have brought it about on the platform."""
    if event["type"] == "account.created":
        return {**event["account"], "at": event["at"]}
    if event["type"] == "post.created":
        return {**event["post"], "account": event["account"]["id"], "at": event["at"]}
    return {**event["report"], "at": event["at"]}


# ── Who acts together ───────────────────────────────────────────────────────────────────────────────────────────────


def remember(world: World, *, now: datetime) -> None:
    """Put the week before behind it: what its events shared is kept, as the walks of those days would have kept it."""
    events = [decode_event(msgspec.json.encode(event), now=now) for event in world.week]
    with transaction.atomic():
        campaigns.keep(((event, {}) for event in events), now=now - timedelta(hours=2))


def _campaigns(world: World) -> tuple[list[Line], list[str]]:
    """What became of those who act together, and of those who only read the same: as lines, and in words."""
    found = {
        one: {(member.network, member.account_id) for member in one.members.filter(out=False)}
        for one in Campaign.objects.exclude(state=Campaign.State.MERGED)
    }
    lines = []
    for way, who, innocent in (
        ("accounts that move between networks", world.campaign, False), ("readers of one radio station", world.readers, True)
    ):  # fmt: skip
        best = max(
            (len(set(who) & ids) for one, ids in found.items() if (one.label != "coordinated") is innocent), default=0
        )
        lines.append(Line(kind="campaign", way=way, must=not innocent, planted=len(who), found=best))
    told = []
    for one, ids in sorted(found.items(), key=lambda pair: pair[0].pk):
        moved = "".join(f", moved from {move['source']} to {move['target']}" for move in one.moves)
        looks = "looks coordinated" if one.label == "coordinated" else f"looks innocent ({one.label} of one outlet)"
        told.append(f"{one}: {len(ids)} accounts on {' and '.join(one.networks)}{moved}; {looks}")
    return lines, told


# ── What a moderator does ───────────────────────────────────────────────────────────────────────────────────────────


def decide_some(
    world: World, moderator: User, *, clock: Callable[[], datetime] = timezone.now
) -> tuple[Decision | None, int]:
    """Take the first cases as `moderator` and decide them by what is true. Gives one decision to suspend, and the number."""
    truths = _truths(world)
    suspended: set[tuple[str, str]] = set()
    first = None
    number = 0
    for queue in QUEUES:
        case = cases.take_next(moderator, queue=queue, now=clock())
        if case is None:
            continue
        asks = _asks(case, truths.get((case.network, case.subject_id)), suspended)
        outcome: Literal["act", "no_violation"] = "act" if asks else "no_violation"
        decision = cases.decide(
            case.pk, by=moderator, version=case.version, outcome=outcome, asks=asks, now=clock(),
            policy=case.policy_id or "violent-extremism-support",
            reason="Spreads known material of a violent group." if asks else "In its context nothing here breaks this policy.",
        )  # fmt: skip
        number += 1
        if first is None and any(ask.verb == "suspend" for ask in asks):
            first = decision
    return first, number


def undo(decision: Decision, moderator: User) -> None:
    """Take a decision back, as somebody does who learned more."""
    reason = "An appeal was right: the account quoted somebody else."
    cases.undo(decision.pk, by=moderator, reason=reason, now=timezone.now())


def _asks(case: Case, truth: Truth | None, suspended: set[tuple[str, str]]) -> list[enforcement.Ask]:
    """What this case calls for: the post goes, and its owner too, once. Nothing, where nothing was planted."""
    if truth is None or truth.kind not in FOUND_BY:
        return []
    able = {offer.verb for offer in enforcement.offers(case.network, case.subject_kind) if offer.possible}
    on_account = {offer.verb for offer in enforcement.offers(case.network, "account") if offer.possible}
    subject = Subject(case.network, case.subject_kind, case.subject_id, case.account_id)
    owner = Subject(case.network, "account", case.account_id, case.account_id)
    verb: Verb = "remove" if "remove" in able else "restrict"
    asks = [enforcement.Ask(verb=verb, subject=subject)]
    if case.account_id and (case.network, case.account_id) not in suspended and truth.kind == "words":
        suspended.add((case.network, case.account_id))
        if "suspend" in on_account:
            asks.append(enforcement.Ask(verb="suspend", subject=owner))
        else:
            asks.append(enforcement.Ask(verb="restrict", subject=owner, duration_hours=72))
    return asks


# ── What came of it ─────────────────────────────────────────────────────────────────────────────────────────────────


def arrived() -> tuple[int, int]:
    """How many events are in the archive, and how many of those wait for their media."""
    close_old_connections()
    rows = EventRecord.objects.all()
    return rows.count(), rows.filter(state=EventRecord.State.WAITING).count()


def untold(platforms: Iterable[Platform]) -> int:
    """How many events the platforms have yet to tell."""
    return sum(
        int(httpx.get(f"{platform.url}/summary.json", timeout=30, trust_env=False).json()["untold"])
        for platform in platforms
    )


def end_leases() -> None:
    """What a killed worker held is free at once: in a demo nobody waits ten minutes."""
    close_old_connections()
    waiting = EventRecord.objects.filter(state=EventRecord.State.WAITING, attempts__lt=3)
    waiting.filter(due_at__gt=timezone.now() + timedelta(minutes=5)).update(due_at=timezone.now())
    ProfileRecord.objects.filter(due_at__gt=timezone.now()).update(due_at=timezone.now())


def wait_for_a_lease(*, seconds: float) -> None:
    """Return as soon as a worker has taken letters to send, or after `seconds`."""
    end = time.monotonic() + seconds
    taken = Delivery.objects.filter(state=Delivery.State.PENDING, leased_until__gt=timezone.now())
    while time.monotonic() < end and not taken.exists():
        time.sleep(0.002)


def settled() -> bool:
    """Whether every action was confirmed or failed, and nothing waits in the outbox."""
    close_old_connections()
    open_ = Action.objects.filter(state__in=(Action.State.REQUESTED, Action.State.SENT))
    return not open_.exists() and not Delivery.objects.filter(state=Delivery.State.PENDING).exists()


def all_asked() -> bool:
    """Whether every new account was asked about; in a demo nobody waits half a minute for more to come."""
    close_old_connections()
    if not News.objects.exists():
        soon = timezone.now(), timezone.now() + SETTLE
        ProfileRecord.objects.filter(due_at__range=soon, why="more evidence").update(due_at=timezone.now())
    return not News.objects.exists() and not ProfileRecord.objects.filter(due_at__isnull=False).exists()


def missing(world: World) -> tuple[list[Happening], int]:
    """The happenings that never arrived, and how many arrived more than once."""
    ids: set[tuple[str, str]] = set()
    things: Counter[tuple[str, str, str]] = Counter()
    for network, event_id, type_, account, subject in EventRecord.objects.values_list(
        "network", "event_id", "type", "account_id", "subject_id"
    ):
        ids.add((network, event_id))
        things[network, type_, account if type_ == "account.created" else subject] += 1
    reports = Counter(Report.objects.values_list("network", "report_id"))
    lost, twice = [], 0
    for happening in world.happenings:
        event = happening.event
        network, type_ = event["network"], event["type"]
        if type_ == "account.created":
            times = things[network, type_, event["account"]["id"]]
        elif type_ == "post.created":
            times = things[network, type_, event["post"]["id"]]
        elif type_ == "report.received":
            times = reports[network, event["report"]["id"]]
        else:
            times = int(happening.key in ids)
        if not times:
            lost.append(happening)
        twice += times > 1
    return lost, twice


def summarize(
    world: World,
    player: Player,
    *,
    seed: int,
    seconds_playing: float,
    seconds_walking: float,
    killed: int,
) -> Summary:
    """Hold what was found against what was planted."""
    close_old_connections()
    lost, twice = missing(world)
    acted_on = set(Action.objects.values_list("network", "subject_id"))
    with_case = set(Case.objects.values_list("network", "subject_kind", "subject_id"))
    kinds: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    found: set[tuple[str, str, str]] = set()
    for record in EventRecord.objects.exclude(verdict="").iterator():
        verdict = verdict_of(record)
        kinds.update(finding.kind for finding in verdict.findings)
        rules.update(fired.rule for fired in verdict.fired)
        if record.type in ("post.created", "media.uploaded"):
            found.update((record.network, record.subject_id, finding.kind) for finding in verdict.findings)

    line: tuple[str, str, bool]
    planted: Counter[tuple[str, str, bool]] = Counter()
    hits: Counter[tuple[str, str, bool]] = Counter()
    innocent_pictures = false_alarms = named = named_acted_on = look_alikes = wrongly_tied = 0
    open_ties = TieRecord.objects.filter(state=TieRecord.State.OPEN).exclude(band="")
    tied = set(open_ties.values_list("new__network", "new__account_id"))
    for happening in world.happenings:
        truth, event = happening.truth, happening.event
        if truth is None:
            continue
        if truth.kind == "report":
            line = (truth.kind, truth.way, truth.must)
            planted[line] += 1
            hits[line] += (
                event["network"],
                event["report"]["subject_kind"],
                event["report"]["subject_id"],
            ) in with_case
            continue
        if event["type"] == "account.created":
            is_tied = (event["network"], event["account"]["id"]) in tied
            if truth.kind == "innocent":
                look_alikes += 1
                wrongly_tied += is_tied
            else:
                line = (truth.kind, truth.way, truth.must)
                planted[line] += 1
                hits[line] += is_tied
            continue
        subject = event["post"]["id"] if "post" in event else event["media"]["id"]
        seen = {kind for kind in Bank.Kind.values if (event["network"], subject, kind) in found}
        if truth.kind == "innocent":
            if truth.way == "a picture":
                innocent_pictures += 1
                false_alarms += bool(seen)
            else:
                named += 1
                named_acted_on += (event["network"], subject) in acted_on
            continue
        line = (truth.kind, truth.way, truth.must)
        planted[line] += 1
        hits[line] += bool(seen & FOUND_BY[truth.kind])
    lines = [
        Line(kind=kind, way=way, must=must, planted=number, found=hits[kind, way, must])
        for (kind, way, must), number in planted.items()
    ]
    lines.sort(key=lambda one: (list(_WAYS).index(one.kind), _WAYS[one.kind].index(one.way)))
    together, told = _campaigns(world)
    lines += together

    done, done_twice, repeats, strange = _done_by(player.platforms.values())
    states = Counter(Action.objects.values_list("state", flat=True))
    faults = list(player.errors)
    if lost:
        faults.append(f"{len(lost)} events were lost, the first of them {lost[0].event['type']} {lost[0].key}.")
    if twice:
        faults.append(f"{twice} events were taken twice.")
    faults += [
        f"{one.planted - one.found} of {one.planted} were missed that must be found: {one.kind}, {one.way}."
        for one in lines
        if one.must and one.found < one.planted
    ]
    if false_alarms:
        faults.append(f"{false_alarms} innocent pictures matched something.")
    if wrongly_tied:
        faults.append(f"{wrongly_tied} innocent look-alikes were tied to a suspended account.")
    if named_acted_on:
        faults.append(f"{named_acted_on} posts that only name a group were acted on.")
    if done_twice:
        faults.append(f"{done_twice} actions were done twice.")
    if strange:
        faults.append(f"{strange} actions were done that were never asked for.")
    confirmed = states[Action.State.CONFIRMED]
    if confirmed != sum(done.values()):
        faults.append(f"{confirmed} actions count as confirmed, but the platforms did {sum(done.values())}.")
    if bad := states[Action.State.FAILED] + states[Action.State.REQUESTED] + states[Action.State.SENT]:
        faults.append(f"{bad} actions were not confirmed.")
    if player.answers["rejected"]:
        faults.append(f"{player.answers['rejected']} events were rejected.")
    return Summary(
        seed=seed,
        events=len(world.happenings),
        networks=len(player.platforms),
        answered=dict(player.answers),
        lost=len(lost),
        twice=twice,
        seconds_playing=round(seconds_playing, 1),
        seconds_walking=round(seconds_walking, 1),
        findings=dict(kinds.most_common()),
        rules=dict(rules.most_common()),
        cases=Case.objects.count(),
        cases_by_queue=dict(Counter(Case.objects.values_list("queue", flat=True)).most_common()),
        reports=Item.objects.filter(kind=Item.Kind.REPORT).count(),
        planted=lines,
        campaigns=told,
        innocent_pictures=innocent_pictures,
        false_alarms=false_alarms,
        named_innocently=named,
        named_acted_on=named_acted_on,
        ties=dict(Counter(open_ties.values_list("band", flat=True))),
        look_alikes=look_alikes,
        wrongly_tied=wrongly_tied,
        decisions=dict(Counter(Decision.objects.values_list("outcome", flat=True))),
        actions=dict(states),
        done_by_platforms=dict(done),
        done_twice=done_twice,
        repeats=repeats,
        audit_entries=Entry.objects.count(),
        killed=killed,
        faults=faults,
    )


def _truths(world: World) -> dict[tuple[str, str], Truth]:
    """What is true of each post, by network and id; what was planted outweighs what was reported of it."""
    truths: dict[tuple[str, str], Truth] = {}
    for happening in world.happenings:
        if happening.truth and happening.truth.kind != "report" and "post" in happening.event:
            truths[happening.event["network"], happening.event["post"]["id"]] = happening.truth
    return truths


_TELLS = {"suspend": "account.suspended", "remove": "post.deleted"}
"""What a platform tells each time that it does something: the second witness beside its list of actions."""


def _done_by(platforms: Iterable[Platform]) -> tuple[Counter[str], int, int, int]:
    """What the platforms did, by their own files: by verb; how much twice; how often asked again; what nobody asked for."""
    done: Counter[str] = Counter()
    twice = repeats = strange = 0
    asked = set(Action.objects.values_list("network", "pk"))
    for platform in platforms:
        store = sqlite3.connect(f"file:{platform.store}?mode=ro", uri=True)
        try:
            rows = store.execute("SELECT id, verb, state, received FROM actions").fetchall()
            told = Counter(json.loads(body)["type"] for (body,) in store.execute("SELECT body FROM outbox"))
        finally:
            store.close()
        here: Counter[str] = Counter()
        for id_, verb, state, received in rows:
            repeats += received - 1
            strange += (platform.network, id_) not in asked
            here[verb] += state == "confirmed"
        twice += sum(max(0, told[type_] - here[verb]) for verb, type_ in _TELLS.items())
        done += here
    return done, twice, repeats, strange
