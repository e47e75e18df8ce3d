"""HMA's exchanges over ours: each fills an HMA bank of its own name, and is asked by the same workers as any other.

The one idea: HMA has credentials once a kind, ours once an exchange; so what a client sets for a kind goes to every exchange of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction

from redshank.audit.services import Step, record
from redshank.banks.models import Entry
from redshank.core import BadInput
from redshank.core.sealed import seal, unseal
from redshank.exchanges import services as exchanges
from redshank.exchanges.models import Claim, Exchange, Run
from redshank.hma import services
from redshank.hma.models import HmaApi, HmaExchange
from redshank.hma.services import NoSuchThing

SEALED = "hma"
"""The label under which credentials are sealed."""


class Field(msgspec.Struct, frozen=True):
    """One thing that a client may say of an exchange, or of the credentials of a kind, as HMA describes it."""

    name: str
    type: str
    help: str
    required: bool = True
    default: Any = None
    choices: tuple[str, ...] | None = None


class Api(msgspec.Struct, frozen=True):
    """A kind of exchange as HMA calls it: ours, what is said of one and of its credentials, and how these become our secret
    and our options.
    """

    kind: str
    config: tuple[Field, ...]
    credentials: tuple[Field, ...]
    secret: Callable[[Mapping[str, Any]], str]
    options: Callable[[Mapping[str, Any]], dict[str, str]] = lambda said: {}


_NCMEC = (
    "https://report.cybertip.org/hashsharing", "https://report.cybertip.org/exploitative-hashsharing",
    "https://lesp.ncmec.org/csam-hashsharing", "https://hashsharing.ncmec.org/npo",
    "https://hashsharing.ncmec.org/exploitative", "https://hashsharing.ncmec.org/generative-ai-csam",
    "https://hashsharing.ncmec.org/generative-ai-exploitative", "https://exttest.cybertip.org/hashsharing",
    "https://exttest.cybertip.org/exploitative-hashsharing", "https://betalesp.ncmec.org/csam-hashsharing",
    "https://hashsharing-test.ncmec.org/npo", "https://hashsharing-test.ncmec.org/exploitative",
    "https://hashsharing-test.ncmec.org/generative-ai-csam", "https://hashsharing-test.ncmec.org/generative-ai-exploitative",
)  # fmt: skip
"""Addresses that a client may choose from (threatexchange's `NCMECEnvironment`); any other is taken as well."""
APIS = {
    "fb_threatexchange": Api(
        "threatexchange", (Field("privacy_group", "number", "Number of the privacy group"),),
        (Field("api_token", "string", "App token, as ID|SECRET"),), lambda said: str(said["api_token"]),
        lambda said: {"privacy_group": str(said["privacy_group"])},
    ),
    "ncmec": Api(
        "ncmec",
        (
            Field("environment", "enum", "Address of the hash sharing service", choices=_NCMEC),
            Field("only_esp_ids", "set_of_number", "Only entries of these providers (ESP); empty: all", required=False, default=()),
        ),
        (Field("user", "string", "Name"), Field("password", "string", "Password")),
        lambda said: f"{said['user']}:{said['password']}",
        lambda said: {"members": ",".join(str(one) for one in said["only_esp_ids"])},
    ),
    "stop_ncii": Api(
        "stopncii", (),
        (
            Field("subscription_key", "string", "Subscription key"), Field("fetch_function_key", "string", "Key to fetch"),
            Field("base_url_override", "string", "Another address", required=False),
        ),
        lambda said: f"{said['subscription_key']},{said['fetch_function_key']},",
    ),
    "tat": Api(
        "tcap", (), (Field("username", "string", "Name"), Field("password", "string", "Password")),
        lambda said: f"{said['username']}:{said['password']}",
    ),
}  # fmt: skip
"""The kinds of exchange that HMA and we both know, by HMA's name (threatexchange's `SignalExchangeAPI.get_name`)."""


def api(name: str) -> Api:
    """The kind of that name. Raises `BadInput`."""
    if name not in APIS:
        raise BadInput(f"no such Exchange API '{name[:64]}'")
    return APIS[name]


def has_credentials(name: str) -> bool:
    """Whether a client set credentials for this kind."""
    return HmaApi.objects.filter(name=name).exists()


def set_credentials(name: str, said: Mapping[str, Any], *, by: str, now: datetime) -> None:
    """Set the credentials of a kind, for its exchanges there are and to come; an empty object takes them away. Raises `BadInput`."""
    known = api(name)
    if not said:
        HmaApi.objects.filter(name=name).delete()
        record([Step(actor=by, step="hma.credentials_unset", object=f"hma_api:{name}")], now=now)
        return
    said = _check(known.credentials, said)
    secret, address = known.secret(said), str(said.get("base_url_override") or "")
    with transaction.atomic():
        sealed = seal(settings.SECRET_KEY, secret.encode(), label=SEALED)
        HmaApi.objects.update_or_create(name=name, defaults={"secret": sealed, "address": address})
        for one in HmaExchange.objects.filter(api=name).select_related("exchange"):
            exchanges.change_exchange(
                one.exchange, {"secret": secret, **({"address": address} if address else {})}, by=by, now=now
            )
        record([Step(actor=by, step="hma.credentials_set", object=f"hma_api:{name}")], now=now)


def names() -> list[str]:
    """The names of the exchanges that clients made."""
    return list(HmaExchange.objects.order_by("name").values_list("name", flat=True))


def make(name: str, api_name: str, config: Mapping[str, Any], *, by: str, now: datetime) -> None:
    """Make an exchange, and the HMA bank that it fills. Raises `BadInput`, and as `services.make_bank`."""
    known = api(api_name)
    enabled = config.get("enabled", True)
    if not isinstance(enabled, bool):
        raise BadInput("Failed to parse: 'enabled' is not a boolean")
    said = _check(known.config, {key: value for key, value in config.items() if key not in {"name", "api", "enabled"}})
    with transaction.atomic():
        whole = services.make_bank(name, 1.0, by=by, now=now)
        if HmaExchange.objects.filter(name=name).exists():
            raise services.Taken("Exchange already exists")
        parts = [services.part_of(whole, one, by=by, now=now).name for one in ("pdq", "video_md5")]
        there = HmaApi.objects.filter(name=api_name).first()
        secret = (
            unseal(settings.SECRET_KEY, bytes(there.secret), label=SEALED, where=api_name).decode() if there else ""
        )
        address = str(said.get("environment", "")) or (there.address if there else "")
        free = name[:64]
        while Exchange.objects.filter(name=free).exists():
            free = f"{name[:57]}-{secrets.token_hex(3)}"
        made = exchanges.add_exchange(
            free, kind=known.kind, banks=parts, address=address, options=known.options(said),
            secret=secret, by=by, now=now,
        )  # fmt: skip
        HmaExchange.objects.create(name=name, exchange=made, whole=whole, api=api_name, config=said)
        if not enabled:
            exchanges.pause(made, by=by, now=now)


def get(name: str) -> HmaExchange:
    """The exchange of that name. Raises `NoSuchThing`."""
    found = HmaExchange.objects.filter(name=name).select_related("exchange", "whole").first()
    if found is None:
        raise NoSuchThing(f"Exchange '{name[:255]}' not found")
    return found


def shown(one: HmaExchange) -> dict[str, Any]:
    """An exchange as HMA shows it."""
    said = {field.name: one.config.get(field.name, field.default) for field in APIS[one.api].config}
    return {**said, "name": one.name, "api": one.api, "enabled": one.exchange.paused_at is None}


def switch(one: HmaExchange, *, enabled: bool, by: str, now: datetime) -> None:
    """Ask it (again), or no more."""
    if enabled:
        exchanges.resume(one.exchange, by=by, now=now)
    else:
        exchanges.pause(one.exchange, by=by, now=now, reason="Switched off through HMA's API.")
    one.exchange.refresh_from_db()


def delete(name: str, *, by: str, now: datetime) -> None:
    """Ask it no more, take all that it gave out of force, and forget its name. One that is not there is gone already."""
    found = HmaExchange.objects.filter(name=name).select_related("whole").first()
    if found is not None:
        delete_bank(found.whole.name, by=by, now=now)


def delete_bank(name: str, *, by: str, now: datetime) -> None:
    """As `services.delete_bank`; the exchange that fills it goes with it."""
    with transaction.atomic():
        for one in HmaExchange.objects.filter(whole__name=name).select_related("exchange"):
            exchanges.pause(one.exchange, by=by, now=now, reason="Deleted through HMA's API.")
        services.delete_bank(name, by=by, now=now)


def status(one: HmaExchange) -> dict[str, Any]:
    """How fetching stands, in HMA's words; times in seconds since 1970."""
    active = one.exchange.runs.filter(state__in=exchanges.ACTIVE).first()
    last = one.exchange.runs.exclude(state__in=exchanges.ACTIVE).first()
    fetched = Entry.objects.filter(pk__in=Claim.objects.filter(exchange=one.exchange, gone_at=None).values("entry"))
    return {
        "checkpoint_ts": _seconds(one.exchange.checkpoint_at),
        "running_fetch_start_ts": _seconds(active.started_at) if active and active.state != Run.State.HELD else None,
        "last_fetch_complete_ts": _seconds(last.ended_at) if last else None,
        "last_fetch_succeeded": last.state == Run.State.DONE if last else None,
        "up_to_date": bool(one.exchange.checkpoint_at) and not one.exchange.failures and active is None,
        "fetched_items": fetched.count(),
    }


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())


def _check(fields: tuple[Field, ...], said: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of each field, or its default; of a set, its numbers by size. Raises `BadInput`."""
    known = {field.name: field for field in fields}
    if strange := sorted(set(said) - known.keys()):
        raise BadInput(f"Failed to parse: there is no field '{strange[0][:64]}'")
    out: dict[str, Any] = {}
    for field in fields:
        given = said.get(field.name, field.default)
        if given in (None, "") and field.default is None:
            if field.required:
                raise BadInput(f"Failed to parse: '{field.name}' is required")
            given = None
        elif given is not field.default and not _fits(field.type, given):
            raise BadInput(f"Failed to parse: '{field.name}' is not a {field.type}")
        out[field.name] = sorted(set(given)) if field.type == "set_of_number" else given
    return out


def _fits(type_: str, given: Any) -> bool:
    if type_ == "set_of_number":
        return isinstance(given, list) and all(_fits("number", one) for one in given)
    if type_ == "number":
        return isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 10**18
    return isinstance(given, str)
