"""The door of the peers room: agreements, tokens under them, and questions both ways.

Nothing is asked or answered without a standing agreement, and every question is written down on both sides. An answer is a reason to
look, never a reason to act: who asks is told that the owner of a token was suspended there, by which kind of token, and no more.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from redshank.archive.models import AccountRecord, Erasure
from redshank.audit.services import Step, record
from redshank.core import BadInput, Event, Problem
from redshank.core.sealed import seal, unseal
from redshank.enforcement.signing import PREFIX, sign, verify
from redshank.peers import blind
from redshank.peers.models import Agreement, Question, SharedToken
from redshank.peers.tokens import code_of, key_name, key_names, key_of

log = structlog.get_logger(__name__)

PURPOSES = ("device", "address", "mail", "phone")
MAX_POINTS = 50
"""Tokens in one question."""
MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer that are read: masks of eight million tokens."""
KEPT = timedelta(hours=1)
"""Masks of the other side are used for so long before they are fetched again: a suspension there is known here by then."""
STANDING = timedelta(days=365)
HEADER = "redshank-agreement"
SEALED = "peers"
"""The label under which agreements' secrets are sealed."""


class UnknownPeer(Problem):
    """Who asks has no standing agreement, or cannot prove that it is who it says."""


class Refused(Problem):
    """A question that is not answered now: it was asked before, or is one too many today."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one peer answered: `found` are the purposes of tokens whose owner it suspended; `problem` why it was not asked."""

    peer: str
    found: tuple[str, ...] = ()
    asked: int = 0
    problem: str = ""


# Agreements


def agree(
    name: str, url: str, *, secret: str = "", daily: int = 200, until: datetime | None = None, by: str, now: datetime
) -> str:
    """Make an agreement; gives its secret, which the other side needs and nobody is shown again.

    `secret` is that of the other side, where it made the agreement first. Raises `Problem` for a name in use, an address that is none, or
    a secret that is none.
    """
    if not url.startswith(("https://", "http://")):
        raise Problem("not an address", where=url[:80], hint="It begins with https://.")
    raw = _raw(secret) if secret else secrets.token_bytes(32)
    if Agreement.objects.filter(Q(name=name) | Q(code=code_of(raw))).exists():
        raise Problem("there is an agreement of this name or with this secret", where=name)
    with transaction.atomic():
        sealed = seal(settings.SECRET_KEY, raw, label=SEALED)
        made = Agreement(
            name=name, code=code_of(raw), url=url.rstrip("/"), secret=sealed, daily=daily, made_at=now, made_by=by,
            expires_at=until or now + STANDING,
        )  # fmt: skip
        made.save()
        body = {"url": made.url, "code": made.code, "daily": daily, "until": made.expires_at.isoformat()}
        record([Step(actor=by, step="peer.agreed", object=f"peer:{name}", body=body)], now=now)
    return PREFIX + base64.b64encode(raw).decode()


def end(name: str, *, by: str, now: datetime) -> None:
    """End an agreement: its tokens go at once. Raises `Problem` where there is none that stands."""
    with transaction.atomic():
        found = get(name)
        if found.ended_at is not None:
            raise Problem("this agreement has ended", where=name)
        Agreement.objects.filter(pk=found.pk).update(ended_at=now)
        gone, _ = SharedToken.objects.filter(key__startswith=f"p{found.code}-").delete()
        record([Step(actor=by, step="peer.ended", object=f"peer:{name}", body={"tokens": gone})], now=now)


def get(name: str) -> Agreement:
    """The agreement of that name. Raises `Problem` where there is none."""
    found = Agreement.objects.filter(name=name).first()
    if found is None:
        raise Problem("there is no agreement of this name", where=name, hint="`redshank peers list` shows them.")
    return found


def standing(now: datetime) -> QuerySet[Agreement]:
    """The agreements that stand."""
    return Agreement.objects.filter(ended_at=None, expires_at__gt=now)


def platform_keys(name: str, *, now: datetime) -> list[tuple[str, str]]:
    """(name, key in base64) of this month and of the next, for the platform, which makes tokens with them."""
    found = get(name)
    raw = _secret(found)
    names = [key_name(found.code, now), key_name(found.code, now, months=-1)]
    return [(one, base64.b64encode(key_of(raw, one)).decode()) for one in names]


# Tokens


def note_tokens(events: Iterable[Event], *, now: datetime) -> None:
    """Keep the tokens under agreements' keys that events tell of accounts. In the caller's transaction; the same again changes nothing."""
    told = [
        (event.network, account.id, token)
        for event in events
        if (account := getattr(event, "account", None)) is not None
        for token in account.tokens
        if ":p" in token
    ]
    if not told:
        return
    live = {key for one in standing(now) for key in key_names(one.code, now)}
    rows = []
    for network, account_id, token in dict.fromkeys(told):
        purpose, _, rest = token.partition(":")
        key, _, value = rest.partition(":")
        if key in live and purpose in PURPOSES and value:
            rows.append(
                SharedToken(network=network, account_id=account_id, purpose=purpose, key=key, value=value, at=now)
            )
    SharedToken.objects.bulk_create(rows, ignore_conflicts=True, batch_size=500)


def tend(*, now: datetime, limit: int = 500) -> int:
    """Make masks that are missing for suspended accounts; then let go what is of a month that is over, or of an account that was
    erased. Gives how many rows were seen to."""
    scalars: dict[str, bytes] = {}
    due = list(_suspended(SharedToken.objects.filter(mask=None)).order_by("pk")[:limit])
    for row in due:
        scalar = scalars.setdefault(row.key, _scalar(row.key))
        point = blind.point_of(row.purpose, row.key, row.value)
        row.mask = blind.mask_of(blind.raised(point, scalar))
    if due:
        SharedToken.objects.bulk_update(due, ["mask"], batch_size=200)
        return len(due)
    live = {key for one in standing(now) for key in key_names(one.code, now)}
    erased = Erasure.objects.filter(
        network=OuterRef("network"), account_id=OuterRef("account_id"), asked_at__gte=OuterRef("at")
    )
    old = SharedToken.objects.filter(~Q(key__in=live) | Exists(erased)).values_list("pk", flat=True)[:limit]
    gone = SharedToken.objects.filter(pk__in=list(old)).delete()[0]
    named = Question.objects.exclude(account_id="").filter(Exists(erased))
    return gone + Question.objects.filter(pk__in=list(named.values_list("pk", flat=True)[:limit])).update(account_id="")


def _suspended(rows: QuerySet[SharedToken]) -> QuerySet[SharedToken]:
    accounts = AccountRecord.objects.filter(
        network=OuterRef("network"), account_id=OuterRef("account_id"), state=AccountRecord.State.SUSPENDED
    )
    return rows.filter(Exists(accounts))


# Answering


def answer(headers: dict[str, str], body: bytes, what: str, *, now: datetime) -> bytes:
    """Answer a peer's question. `what` is `masks` or `ask`; gives the answer's bytes.

    Raises `UnknownPeer` for who has no agreement or cannot prove it, `Refused` for a question asked before or one too many today, and
    `BadInput` for one that cannot be read. What is answered is written down.
    """
    agreement = standing(now).filter(code=headers.get(HEADER, "")).first()
    if agreement is None:
        raise UnknownPeer("no standing agreement")
    try:
        number = verify(_webhook_secret(agreement), headers, body, now=now)
    except BadInput as problem:
        log.warning("peers.bad_signature", peer=agreement.name, problem=str(problem))
        raise UnknownPeer("the signature does not fit") from None
    try:
        asked = msgspec.json.decode(body, type=_Asked)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadInput(f"cannot be read: {error}") from None
    if asked.key not in key_names(agreement.code, now):
        raise BadInput("not a key of this agreement that is live", where=asked.key[:40])
    points = _points(asked.points)
    with transaction.atomic():
        locked = Agreement.objects.select_for_update().get(pk=agreement.pk)
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        so_far = locked.questions.filter(ours=False, at__gte=today).aggregate(n=Sum("tokens"))["n"] or 0
        if so_far + len(points) > locked.daily:
            raise Refused(f"{locked.daily} tokens a day are agreed, and {so_far} were asked today")
        try:
            with transaction.atomic():
                Question.objects.create(agreement=locked, ours=False, number=number, at=now, tokens=len(points))
        except IntegrityError:
            raise Refused("this question was asked before") from None
        step = Step(
            actor=f"peer:{agreement.name}", step="peer.asked_us", object=f"peer:{agreement.name}",
            body={"number": number, "what": what, "tokens": len(points)},
        )  # fmt: skip
        record([step], now=now)
    if what == "masks":
        return _masks(asked.key, now)
    scalar = _scalar(asked.key)
    return msgspec.json.encode({"points": [blind.raised(point, scalar).hex() for point in points]})


class _Asked(msgspec.Struct):
    key: str
    points: list[str] = []


def _points(given: Sequence[str]) -> list[bytes]:
    if len(given) > MAX_POINTS:
        raise BadInput(f"{len(given)} tokens in one question; {MAX_POINTS} are the most")
    try:
        return [bytes.fromhex(one) for one in given]
    except ValueError:
        raise BadInput("a point that is not hexadecimal") from None


def _masks(key: str, now: datetime) -> bytes:
    """All masks under a key, sorted, so that their order tells nothing. Raises `Refused` while many are still to be made."""
    for _ in range(4):
        if not _suspended(SharedToken.objects.filter(mask=None, key=key)).exists():
            break
        tend(now=now)
    else:
        raise Refused("the masks are still being made; ask again in a minute")
    rows = _suspended(SharedToken.objects.filter(key=key)).values_list("mask", flat=True)
    return b"".join(sorted({bytes(mask) for mask in rows if mask}))


# Asking


def ask(network: str, account_id: str, *, by: str, now: datetime, only: str = "") -> list[Outcome]:
    """Ask each peer (or `only` one) whether it suspended the owner of this account. Raises `Problem` where nobody can be asked."""
    peers = list(standing(now).filter(name=only) if only else standing(now))
    if not peers:
        raise Problem("there is no standing agreement", where=only, hint="`redshank peers add` makes one.")
    return [_ask(peer, network, account_id, by=by, now=now) for peer in peers]


def _ask(peer: Agreement, network: str, account_id: str, *, by: str, now: datetime) -> Outcome:
    keys = key_names(peer.code, now)
    rows = SharedToken.objects.filter(network=network, account_id=account_id, key__in=keys).order_by("-key", "pk")
    tokens = list(rows[:MAX_POINTS])
    if not tokens:
        return Outcome(peer=peer.name, problem="The platform sent no token under a key of this agreement.")
    number, found, problem = _new_number(), set[str](), ""
    try:
        for key in dict.fromkeys(one.key for one in tokens):
            of_key = [one for one in tokens if one.key == key]
            masks = _their_masks(peer, key, now)
            question = blind.Blinded([blind.point_of(one.purpose, one.key, one.value) for one in of_key])
            body = {"key": key, "points": [point.hex() for point in question.points]}
            raw = _send(peer, "ask", body, f"{number}-{key[-7:]}", now)
            answered = _points(msgspec.json.decode(raw, type=_Answered).points)
            for one, mask in zip(of_key, question.masks(answered), strict=True):
                if mask in masks:
                    found.add(one.purpose)
    except (Problem, msgspec.MsgspecError) as error:
        problem = str(error)[:500]
    told: dict[str, Any] = {
        "peer": peer.name,
        "number": number,
        "tokens": len(tokens),
        "found": sorted(found),
        "problem": problem,
    }
    with transaction.atomic():
        Question.objects.create(
            agreement=peer, ours=True, number=number, at=now, tokens=len(tokens), by=by, network=network, account_id=account_id,
            found=sorted(found), problem=problem,
        )  # fmt: skip
        record([Step(actor=by, step="peer.asked", object=f"account:{network}/{account_id}", body=told)], now=now)
    return Outcome(peer=peer.name, found=tuple(sorted(found)), asked=len(tokens), problem=problem)


class _Answered(msgspec.Struct):
    points: list[str]


def _new_number() -> str:
    return f"pq_{secrets.token_hex(12)}"


def _their_masks(peer: Agreement, key: str, now: datetime) -> frozenset[bytes]:
    """The other side's masks under a key, fetched when those at hand are too old."""
    place = Path(settings.DATA_DIR) / "peers" / f"{key}.masks"
    fresh = place.exists() and now.timestamp() - place.stat().st_mtime < KEPT.total_seconds()
    if not fresh:
        raw = _send(peer, "masks", {"key": key}, _new_number(), now)
        if len(raw) % blind.MASK:
            raise BadInput("masks that are cut off", where=peer.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        part.write_bytes(raw)
        part.replace(place)
    raw = place.read_bytes()
    return frozenset(raw[at : at + blind.MASK] for at in range(0, len(raw), blind.MASK))


def _send(peer: Agreement, what: str, body: dict[str, Any], number: str, now: datetime) -> bytes:
    """One signed request. Raises `Problem` where it is not answered."""
    raw = msgspec.json.encode(body)
    headers = {**sign([_webhook_secret(peer)], number, now, raw), HEADER: peer.code, "content-type": "application/json"}
    where = f"{peer.url}/api/v1/peers/{what}"
    try:
        with httpx.stream("POST", where, content=raw, headers=headers, timeout=20.0) as response:
            parts, size = [], 0
            for part in response.iter_bytes():
                size += len(part)
                if size > MAX_ANSWER:
                    raise Problem("an answer that is too long", where=peer.name)
                parts.append(part)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Problem(f"no answer ({type(error).__name__}): {error}", where=peer.name) from None
    if response.status_code != 200:
        raise Problem(
            f"answered {response.status_code}: {b''.join(parts)[:200].decode(errors='replace')}", where=peer.name
        )
    return b"".join(parts)


# Secrets


def _secret(agreement: Agreement) -> bytes:
    return unseal(settings.SECRET_KEY, bytes(agreement.secret), label=SEALED, where=agreement.name)


def _webhook_secret(agreement: Agreement) -> str:
    derived = hmac.digest(_secret(agreement), b"redshank peers signature", "sha256")
    return PREFIX + base64.b64encode(derived).decode()


def _scalar(key: str) -> bytes:
    return blind.secret_scalar(settings.SECRET_KEY.encode(), key)


def _raw(secret: str) -> bytes:
    try:
        raw = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise Problem("not an agreement's secret", hint="It is what `redshank peers add` printed on the other side.")
    return raw
