"""The door of the exchanges room: who is asked, into which banks, with which secret, and how that stands.

The one idea: this is configuration and its state; `running` fetches and takes over, `telling` answers, `sharing` gives.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction

from redshank.audit.services import Step, record
from redshank.banks.models import Bank
from redshank.core import BadInput, Problem
from redshank.core.sealed import seal, unseal
from redshank.exchanges.models import Exchange, Run
from redshank.exchanges.records import Kind
from redshank.exchanges.sources import KINDS
from redshank.media import FetchError
from redshank.media.fetching import checked

ACTIVE = (Run.State.FETCHING, Run.State.HELD, Run.State.APPLYING)
LATE = timedelta(hours=6)
"""A source that is overdue for longer than this, or than three of its intervals, is stale."""
SEALED = "exchanges"
"""The label under which secrets of exchanges are sealed."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_SECRETIVE = re.compile(r"(?i)(?:^|[?&])(?:access_token|api_?key|key|token|secret|password|sig|signature|auth)=")


def folder() -> Path:
    """Where operators put lists that come as files: `file:NAME` names one in it."""
    return Path(settings.DATA_DIR) / "lists"


def get_exchange(name: str) -> Exchange:
    """The exchange of that name. Raises `Problem`, with the nearest name there is."""
    found = Exchange.objects.filter(name=name).first()
    if found is None:
        names = list(Exchange.objects.values_list("name", flat=True))
        near = difflib.get_close_matches(name, names, n=1)
        hint = (
            f"Did you mean {near[0]}?"
            if near
            else "`redshank exchanges list` shows them."
            if names
            else "There is none."
        )
        raise Problem("no such exchange", where=name, hint=hint)
    return found


def kind_of(exchange: Exchange) -> Kind:
    """How that exchange is asked. Raises `Problem` for a kind that this version does not know."""
    if exchange.kind not in KINDS:
        raise Problem("no such kind of exchange", where=exchange.kind[:40], hint=f"There are {', '.join(KINDS)}.")
    return KINDS[exchange.kind]


def secret_of(exchange: Exchange) -> str:
    """Its secret, unsealed; empty where it has none. Never to be shown or logged. Raises as `unseal`."""
    if not exchange.secret:
        return ""
    return unseal(settings.SECRET_KEY, bytes(exchange.secret), label=SEALED, where=exchange.name).decode()


def add_exchange(
    name: str,
    *,
    kind: str,
    banks: Sequence[str],
    address: str = "",
    options: Mapping[str, str] | None = None,
    secret: str = "",
    license: str = "",  # noqa: A002 - the word that people know it by
    every_minutes: int = 60,
    full_days: int | None = None,
    tells: bool = False,
    by: str,
    now: datetime,
) -> Exchange:
    """Keep a new source, due at once. `banks` are names, one bank a kind; `address` empty takes the kind's own.

    Raises `Problem` for a name that is taken or none, an unknown kind, bank or option, an address that cannot be asked or
    that holds a secret, and what is required and missing.
    """
    if not _NAME.fullmatch(name):
        raise Problem(
            "not a name for an exchange", where=repr(name)[:80], hint="Use up to 64 letters, digits, - and _."
        )
    exchange = Exchange(name=name, kind=kind, created_at=now, due_at=now)
    known = kind_of(exchange)
    said: dict[str, Any] = {
        "address": address or known.address, "options": dict(options or {}), "license": license, "secret": secret,
        "every_minutes": every_minutes, "full_days": full_days or known.full_days, "tells": tells, "banks": list(banks),
    }  # fmt: skip
    chosen = _take(exchange, known, said)
    with transaction.atomic():
        if Exchange.objects.filter(name=name).exists():
            raise Problem("there is an exchange of that name already", where=name)
        exchange.save(force_insert=True)
        exchange.banks.set(chosen)
        body = {"kind": kind, **_told(said)}
        record([Step(actor=by, step="exchange.made", object=f"exchange:{name}", body=body)], now=now)
    return exchange


def change_exchange(exchange: Exchange, changes: Mapping[str, Any], *, by: str, now: datetime) -> list[str]:
    """Change what is given (the names of `add_exchange` but name and kind); gives the names of what was.

    A secret that is left out or empty stays. Another address or other options begin from the start: all is fetched again
    and compared. Raises as `add_exchange`.
    """
    with transaction.atomic():
        there = Exchange.objects.select_for_update().get(pk=exchange.pk)
        known = kind_of(there)
        before = {
            "address": there.address, "options": there.options, "license": there.license,
            "every_minutes": there.every_minutes, "full_days": there.full_days, "tells": there.tells,
            "banks": sorted(bank.name for bank in there.banks.all()),
        }  # fmt: skip
        said = {**before, "secret": "", **changes}
        chosen = _take(there, known, said)
        said["banks"] = sorted(said["banks"])
        different = [name for name in before if said[name] != before[name]]
        different += ["secret"] if said["secret"] else []
        if {"address", "options", "banks"} & set(different):
            there.asked_full = True
            there.due_at = now
            # What is half fetched was asked of another place, or for other banks.
            there.runs.filter(state=Run.State.FETCHING).update(
                state=Run.State.DISCARDED, reason="The exchange was changed.", ended_at=now
            )
        if different:
            there.save()
            there.banks.set(chosen)
            body = _told({name: said[name] for name in different})
            record([Step(actor=by, step="exchange.changed", object=f"exchange:{there.name}", body=body)], now=now)
    return different


def _told(said: Mapping[str, Any]) -> dict[str, Any]:
    """What the audit log keeps of it: of a secret, that there is one."""
    return {name: "given" if name == "secret" and value else value for name, value in said.items()}


def _take(exchange: Exchange, kind: Kind, said: Mapping[str, Any]) -> list[Bank]:
    exchange.address = _address(kind, str(said["address"]).strip())
    known = {option.name: option for option in kind.options}
    options = {str(name): str(value).strip() for name, value in said["options"].items() if str(value).strip()}
    if strange := sorted(set(options) - set(known)):
        hint = f"There are {', '.join(known)}." if known else "There is none."
        raise Problem("no such option", where=strange[0][:40], hint=hint)
    if missing := [name for name, option in known.items() if option.required and name not in options]:
        raise Problem("an option is missing", where=missing[0], hint=f"It is the {known[missing[0]].about}.")
    for name, given in options.items():
        if known[name].form and not re.fullmatch(known[name].form, given):
            raise BadInput(
                "not what this option takes", where=f"{name}={given[:80]}", hint=f"It is the {known[name].about}."
            )
    exchange.options = options
    if said["secret"]:
        if any(ord(char) < 32 for char in said["secret"]) or not said["secret"].isascii():
            raise BadInput("a secret with characters that no header can carry")
        exchange.secret = seal(settings.SECRET_KEY, said["secret"].encode(), label=SEALED)
    if not 1 <= int(said["every_minutes"]) <= 60 * 24 * 31:
        raise BadInput("not a number of minutes", where=str(said["every_minutes"]), hint="1 minute to 31 days.")
    exchange.every_minutes = int(said["every_minutes"])
    exchange.full_days = said["full_days"] or None
    if said["tells"] and not kind.can_be_told:
        raise BadInput(f"{kind.about} takes no answers")
    exchange.tells = bool(said["tells"])
    exchange.license = str(said["license"]).strip()[:200]
    return _banks(said["banks"])


def _address(kind: Kind, address: str) -> str:
    if kind.whole and address.startswith("file:"):
        if not _FILE.fullmatch(address.removeprefix("file:")):
            raise BadInput("not the plain name of a file", where=address[:80], hint=f"It lies in {folder()}.")
        return address
    try:
        parsed = checked(address)
    except FetchError as problem:
        raise BadInput(problem.what, where=address[:200], hint="An address begins with https://.") from None
    if _SECRETIVE.search("?" + parsed.query.decode("ascii", "replace")):
        raise BadInput("an address with a secret in it", hint="Leave it out, and give it as the secret.")
    host = f"{parsed.host}:{parsed.port or 80}"
    if parsed.scheme != "https" and host not in settings.REDSHANK.exchanges.private:
        raise BadInput("not an https address", where=address[:200], hint="The setting exchanges.private exempts hosts.")
    return str(parsed)[:2000]


def _banks(names: Sequence[str]) -> list[Bank]:
    found = {bank.name: bank for bank in Bank.objects.filter(name__in=list(names))}
    if missing := [name for name in names if name not in found]:
        raise Problem("no such bank", where=missing[0][:80], hint="`redshank banks list` shows them.")
    if not found:
        raise Problem("no bank is named", hint="Name one bank for each kind that is wanted from it.")
    by_kind: dict[str, str] = {}
    for bank in found.values():
        if bank.negative:
            raise Problem("what others send is not known to be harmless", where=bank.name)
        if by_kind.setdefault(bank.kind, bank.name) != bank.name:
            raise Problem(f"two banks of kind {bank.kind}", where=f"{by_kind[bank.kind]}, {bank.name}")
    return list(found.values())


def pause(exchange: Exchange, *, by: str, now: datetime, reason: str = "") -> None:
    """Ask it no more until `resume`. What it gave stays in force."""
    _step(exchange, "exchange.paused", by=by, now=now, reason=reason, paused_at=now)


def resume(exchange: Exchange, *, by: str, now: datetime) -> None:
    """Ask it again, now."""
    _step(exchange, "exchange.resumed", by=by, now=now, paused_at=None, due_at=now, failures=0)


def ask_now(exchange: Exchange, *, full: bool = False, look: bool = False, by: str, now: datetime) -> None:
    """Let a worker ask it at once: for what is new, or (`full`) for all of it. `look`: what it brings waits for a person."""
    _step(
        exchange, "exchange.asked", by=by, now=now, body={"full": full, "look": look},
        due_at=now, asked_full=full or exchange.asked_full, asked_look=look,
    )  # fmt: skip


def _step(
    exchange: Exchange, step: str, *, by: str, now: datetime, reason: str = "", body: Mapping[str, Any] | None = None,
    **changes: Any,
) -> None:  # fmt: skip
    with transaction.atomic():
        Exchange.objects.filter(pk=exchange.pk).update(**changes)
        one = Step(actor=by, step=step, object=f"exchange:{exchange.name}", reason=reason, body=dict(body or {}))
        record([one], now=now)


class Standing(msgspec.Struct, frozen=True):
    """How an exchange stands: a state in one word, and for `held`, `failing`, `stale` and `odd` why."""

    state: str
    why: str = ""
    held: int | None = None

    @property
    def alarming(self) -> bool:
        """Whether a person should look."""
        return self.state in {"held", "failing", "stale", "odd"}


def standing(exchange: Exchange, active: Run | None, now: datetime) -> Standing:
    """How `exchange` stands, `active` being its run that has not ended."""
    if active is not None and active.state == Run.State.HELD:
        return Standing("held", active.reason, active.pk)
    if exchange.paused_at:
        return Standing("paused")
    if exchange.failures >= 3:
        return Standing("failing", exchange.last_error)
    late = max(LATE, timedelta(minutes=3 * exchange.every_minutes))
    if exchange.due_at and now - exchange.due_at > late and active is None:
        return Standing(
            "stale", f"It should have been asked at {exchange.due_at:%Y-%m-%d %H:%M} UTC. Is a worker running?"
        )
    since = exchange.checkpoint_at or exchange.created_at
    if exchange.failures and now - since > late:
        return Standing("stale", exchange.last_error)
    if exchange.noticed_at:
        return Standing("odd", exchange.noticed)
    if active is not None:
        return Standing("running")
    if exchange.failures:
        return Standing("retrying", exchange.last_error)
    return Standing("current" if exchange.checkpoint_at else "unasked")


def standings(now: datetime) -> list[tuple[Exchange, Standing]]:
    """All exchanges, each with how it stands."""
    active = {run.exchange_id: run for run in Run.objects.filter(state__in=ACTIVE).defer("diff")}
    return [(one, standing(one, active.get(one.pk), now)) for one in Exchange.objects.all()]


def seen_odd(exchange: Exchange, *, by: str, now: datetime) -> None:
    """A person read what was odd about it; the alarm goes."""
    _step(exchange, "exchange.noticed", by=by, now=now, reason=exchange.noticed, noticed="", noticed_at=None)


def plain(problem: Exception, secret: str) -> str:
    """What went wrong in words that hold no secret."""
    said = str(problem) if isinstance(problem, Problem) else f"{type(problem).__name__}: {problem}"
    return _hide(said.replace("\0", "").encode("utf-8", "replace").decode(), secret)[:2000]


def _hide(text: str, secret: str) -> str:
    """`text` without the secret or its parts, wherever a server repeated them."""
    parts = {secret, *(part for mark in ":|," for part in secret.split(mark))}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) > 5:
            text = text.replace(part, "‹secret›")
    return text
