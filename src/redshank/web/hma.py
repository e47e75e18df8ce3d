"""HMA's API over our banks, under /hma: the same routes, parameters, codes and shapes, so that its clients need a new address alone.

The one idea: these views only translate. What HMA leaves open is closed here: a key or a trusted network is asked for, addresses
are fetched as all strangers' are, and a bank's contents are changed through that bank alone.
"""

from __future__ import annotations

import base64
import binascii
import functools
import ipaddress
import json
import math
import random
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.urls import URLPattern, re_path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from redshank.core import BadInput, Problem
from redshank.hma import collaborations, services
from redshank.hma.signals import CONTENT_TYPES, PHOTO, VIDEO, SignalType, signal_of, types
from redshank.intake.services import key_of
from redshank.matching import FILES
from redshank.media import FetchError, ImageHashes, MediaError, MediaHashes, VideoHashes, digests, fetch
from redshank.web import previews
from redshank.web.health import address_of

ALIVE = "I-AM-ALIVE"
FORM_ROOM = 1024 * 1024
"""What a form may be larger than the file in it, in bytes."""
FIVE_YEARS = 5 * 365 * 24 * 3600


class _Refused(Exception):
    """The answer is `status` with `message`, as HMA words its errors."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class _Unfit(Exception):
    """The answer is 422 with what is wrong with each field, listed as HMA's (pydantic's) errors are: type, loc, msg, input."""

    def __init__(self, *wrong: dict[str, Any]) -> None:
        self.wrong = wrong
        super().__init__(*(one["msg"] for one in wrong))


class _Request(HttpRequest):
    actor: str


Answer = HttpResponseBase | dict[str, Any] | list[Any]
View = Callable[..., Answer]


def _route(pattern: str, *, open_to_all: bool = False, **methods: View) -> URLPattern:
    """A route of HMA's: one function a method. Two slashes are one, as a client's base address may end in one."""
    name = "hma/" + pattern

    @csrf_exempt
    @functools.wraps(next(iter(methods.values())))
    def serve(request: HttpRequest, **captured: str) -> HttpResponseBase:
        if not settings.REDSHANK.hma.enabled:
            return _error(404, "The setting hma.enabled is off.")
        view = methods.get((request.method or "").lower().replace("head", "get"))
        if view is None:
            asks = request.method == "OPTIONS"
            response = HttpResponse() if asks else _error(405, "The method is not allowed for the requested URL.")
            heads = ["OPTIONS", *(["HEAD"] if "get" in methods else [])]
            response["Allow"] = ", ".join(sorted([*(method.upper() for method in methods), *heads]))
            return response
        try:
            if not open_to_all:
                request.actor = _actor(request)  # type: ignore[attr-defined]  # for the view
            return _answer(view(request, **captured))
        except _Refused as refused:
            response = _error(refused.status, str(refused))
            if refused.status == 401:
                response["WWW-Authenticate"] = 'Bearer realm="hma"'
            return response
        except _Unfit as unfit:
            return JsonResponse(unfit.wrong, status=422, safe=False)
        except services.NoSuchThing as problem:
            return _error(404, problem.what)
        except services.Taken as problem:
            return _error(403, problem.what)
        except Problem as problem:
            return _error(400, str(problem))
        except (MultiPartParserError, UnreadablePostError, SuspiciousOperation) as error:
            return _error(400, f"The request cannot be read: {error}")
        except OperationalError:
            return _error(503, "The store does not take anything now.")

    regex = pattern.replace("/", "/+")
    for captured, form in _CAPTURED.items():
        regex = regex.replace(f"<{captured}>", f"(?P<{captured}>{form})")
    return re_path(f"^hma/*{regex}$" if not pattern else f"^hma/+{regex}$", serve, name=name)


_CAPTURED = {"bank": "[^/]{1,255}", "exchange": "[^/]{1,255}", "content": r"\d{1,1000}", "name": "[^/]{1,64}"}


def _answer(found: Answer) -> HttpResponseBase:
    return found if isinstance(found, HttpResponseBase) else JsonResponse(found, safe=False)


def _error(status: int, message: str) -> HttpResponse:
    return JsonResponse({"message": message}, status=status)


def _actor(request: HttpRequest) -> str:
    """Who asks: the name of a key that opens HMA's API, or an address of a trusted network. Raises `_Refused`."""
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":  # The key as password: an address https://any:KEY@host sends it so.
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeError):
            given = ""
    if given and (key := key_of(given.strip(), "hma", now=timezone.now())):
        return f"key:{key.name}"
    address = address_of(request)
    for network in settings.REDSHANK.hma.trusted:
        if address is not None and address in ipaddress.ip_network(network, strict=False):
            return f"address:{address}"
    raise _Refused(401, "Send an API key that opens hma, as a bearer token or as the password of basic authentication.")


# Status


def _home(request: HttpRequest) -> Answer:
    return HttpResponse(status=302, headers={"Location": request.path.rstrip("/") + "/status"})


def _status(request: HttpRequest) -> Answer:
    from redshank.banks import services as banks

    try:
        banks.known()
    except OperationalError:
        return HttpResponse("INDEX-NOT-LOADED", status=503)
    return HttpResponse(ALIVE)


def _live(request: HttpRequest) -> Answer:
    return HttpResponse(ALIVE)


def _site_map(request: HttpRequest) -> Answer:
    return sorted("/" + (one.name or "").removeprefix("hma/") for one in urlpatterns)


# Hashing


def _hash_get(request: HttpRequest) -> Answer:
    asked = _fitting(request.GET.dict(), {"url": _text, "content_type": _text, "types": _text}, required={"url"})
    with _fetched(asked["url"]) as place:
        return _signals(*_hashed(place, asked["content_type"], asked["types"]))


def _hash_post(request: HttpRequest) -> Answer:
    with _uploaded(request) as (place, content_type):
        return _signals(*_hashed(place, content_type, request.GET.get("types")))


def _hashed(place: Path, content_type: str | None, asked: str | None) -> tuple[MediaHashes, list[SignalType]]:
    """The hashes of a file, and the signal types asked for of its content type: that is as the client says, else as its bytes say.

    What is to be a video and is known again by its bytes alone is not decoded: any file has those hashes, as with HMA.
    """
    if content_type and content_type not in CONTENT_TYPES:
        raise _Refused(400, f"no such content_type: '{content_type[:64]}'")
    found = _types(content_type, asked) if content_type else []
    if content_type == VIDEO and all(one.kind in FILES for one in found) and place.stat().st_size:
        with place.open("rb") as file:
            sums = digests(file)
        return VideoHashes(
            sha256=sums["sha256"], md5=sums["md5"], sha1=sums["sha1"], sha512=sums["sha512"], frames=(), seconds=0,
            width=0, height=0,
        ), found  # fmt: skip
    try:
        hashes = previews.hashes(place)
    except MediaError as error:  # It names the file by our place for it.
        raise _Refused(400, f"{error.what}. {error.hint}" if error.hint else error.what) from None
    return hashes, found or _types(PHOTO if isinstance(hashes, ImageHashes) else VIDEO, asked)


def _types(content_type: str, asked: str | None) -> list[SignalType]:
    known = types()
    offered = [known[name] for name, ratio in services.signal_types().items() if ratio > 0]
    fitting = {one.name: one for one in offered if content_type in one.of}
    if not fitting:
        raise _Refused(500, "No signal types configured!")
    if asked is None:
        return list(fitting.values())
    names = [name.strip() for name in asked.split(",") if name.strip()]
    if not names:
        raise _Refused(400, "empty signal type selection")
    for name in names:
        if name not in fitting:
            raise _Refused(400, f"signal type '{name[:64]}' doesn't exist or is disabled")
    return [fitting[name] for name in names]


def _signals(hashes: MediaHashes, asked: Iterable[SignalType]) -> dict[str, str]:
    return {one.name: signal_of(hashes, one) for one in asked}


@contextmanager
def _fetched(url: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="redshank-hma-") as folder:
        place = Path(folder) / "media"
        try:
            fetch(url, place, settings.REDSHANK.media)
        except FetchError as error:
            too_large = "larger" in error.what or "bytes" in error.what
            raise _Refused(413 if too_large else 400, f"Failed to fetch URL: {error.what}") from None
        yield place


@contextmanager
def _uploaded(request: HttpRequest) -> Iterator[tuple[Path, str]]:
    """The one file of a form, on disk, and the content type that its field names."""
    most = settings.REDSHANK.media.max_bytes
    if int(request.META.get("CONTENT_LENGTH") or 0) > most + FORM_ROOM:
        raise _Refused(413, "Content too large")
    files: list[tuple[str, UploadedFile[Any]]] = [
        (field, one) for field in request.FILES for one in request.FILES.getlist(field)
    ]
    if not files:
        raise _Refused(400, "Missing multipart/form-data file upload")
    if len(files) > 1:
        raise _Refused(400, "Only one file allowed per request")
    [(field, upload)] = files
    if (upload.size or 0) > most:
        raise _Refused(413, "Content too large")
    with tempfile.TemporaryDirectory(prefix="redshank-hma-") as folder:
        place = Path(folder) / "media"
        with place.open("wb") as file:
            for chunk in upload.chunks():
                file.write(chunk)
        yield place, field


# Matching


def _raw_lookup(request: HttpRequest) -> Answer:
    fields = {"signal": _text, "signal_type": _text, "banks": _text, "include_distance": _truth}
    asked = _fitting(request.GET.dict(), fields, required={"signal", "signal_type"})
    found = _of_banks(_match(asked["signal_type"], asked["signal"]), asked["banks"])
    if asked["include_distance"]:
        return {"matches": [_match_out(one) for one in found]}
    return {"matches": [one.content for one in found]}


def _lookup_get(request: HttpRequest) -> Answer:
    texts = dict.fromkeys(("url", "content_type", "types", "signal", "signal_type"), _text)
    asked = _fitting(request.GET.dict(), {**texts, "bypass_coinflip": _truth})
    signal, name, bypass = asked["signal"], asked["signal_type"], bool(asked["bypass_coinflip"])
    if asked["url"]:
        with _fetched(asked["url"]) as place:
            found = _lookup_media(request, *_hashed(place, asked["content_type"], asked["types"]), bypass=bypass)
        return found if name is None else found.get(name, {})
    if not signal or not name:
        raise _Refused(400, "Either url or both signal and signal_type are required")
    return _by_bank(request, _match(name, signal), bypass=bypass)


def _lookup_post(request: HttpRequest) -> Answer:
    bypass = request.GET.get("bypass_coinflip") == "true"
    with _uploaded(request) as (place, content_type):
        hashed = _hashed(place, content_type, request.GET.get("types"))
        return _lookup_media(request, *hashed, bypass=bypass)


def _lookup_media(
    request: HttpRequest, hashes: MediaHashes, asked: Iterable[SignalType], *, bypass: bool
) -> dict[str, Any]:
    found = services.match_media(hashes, [one.name for one in asked], now=timezone.now())
    return {name: _by_bank(request, near, bypass=bypass) for name, near in found.items()}


def _match(name: str, signal: str) -> list[services.Near]:
    type_ = services.signal_type(name)
    try:
        return services.match_signal(type_, signal, now=timezone.now())
    except BadInput as problem:
        raise _Refused(400, f"invalid signal: {problem.what}") from None


def _by_bank(
    request: HttpRequest, found: Collection[services.Near], *, bypass: bool
) -> dict[str, list[dict[str, Any]]]:
    """Matches by bank, of contents in force, and of banks that this lookup is held against: each by its ratio, or all (`bypass`)."""
    coin = 0.0 if bypass else random.Random(request.GET.get("seed")).random()  # noqa: S311 - sampling, and repeatable
    out: dict[str, list[dict[str, Any]]] = {}
    for one in _of_banks(found, request.GET.get("banks")):
        if not one.disabled and one.ratio >= coin:
            out.setdefault(one.bank, []).append(_match_out(one))
    return out


def _of_banks(found: Collection[services.Near], asked: str | None) -> list[services.Near]:
    wanted = set(asked.split(",")) if asked else None
    return [one for one in found if wanted is None or one.bank in wanted]


def _match_out(one: services.Near) -> dict[str, Any]:
    return {"bank_content_id": one.content, "distance": one.distance}


def _compare(request: HttpRequest) -> Answer:
    body = _json(request)
    out: dict[str, Any] = {}
    for name, pair in body.items():
        if not isinstance(pair, list):
            raise _Refused(400, f"Comparison hashes for {name[:64]} was not a list")
        if len(pair) != 2:
            raise _Refused(400, "Comparison hash list length must be exactly 2")
        type_ = services.signal_type(name)
        try:
            out[name] = services.compare(type_, *(str(one) for one in pair))
        except BadInput as problem:
            raise _Refused(400, f"Invalid {name} hash: {problem.what}") from None
    return out


def _index_status(request: HttpRequest) -> Answer:
    return {
        name: {"present": state.known_newest >= 0, "built_to": state.known_newest, "size": state.known}
        for name, state in services.index_states(_asked_types(request)).items()
    }


def _asked_types(request: HttpRequest) -> list[str]:
    offered = services.signal_types()
    name = request.GET.get("signal_type")
    if name is None:
        return list(offered)
    if name not in offered:
        raise _Refused(400, f"No such signal type '{name[:64]}'")
    return [name]


# Curation: banks


def _banks(request: HttpRequest) -> Answer:
    return [_config(one) for one in services.all_banks()]


def _bank(request: HttpRequest, bank: str) -> Answer:
    return _config(services.config_of(services.get_bank(bank)))


def _bank_create(request: _Request) -> Answer:
    said = _fitting(_body(request), _BANK, required={"name"})
    ratio = said["enabled_ratio"]
    if ratio is None:
        ratio = 0.0 if said["enabled"] is False else 1.0
    made = services.make_bank(said["name"], ratio, by=request.actor, now=timezone.now())
    return JsonResponse(_config(services.config_of(made)), status=201)


def _bank_update(request: _Request, bank: str) -> Answer:
    said = _fitting(_body(request), _BANK)
    ratio = said["enabled_ratio"]
    if ratio is None and said["enabled"] is not None:
        ratio = float(said["enabled"])
    return _config(services.change_bank(bank, new_name=said["name"], ratio=ratio, by=request.actor, now=timezone.now()))


def _bank_delete(request: _Request, bank: str) -> Answer:
    collaborations.delete_bank(bank, by=request.actor, now=timezone.now())
    return {"message": "Done"}


def _config(bank: services.BankConfig) -> dict[str, Any]:
    return {"name": bank.name, "matching_enabled_ratio": bank.matching_enabled_ratio}


# Curation: contents


def _content_add(request: _Request, bank: str) -> Answer:
    found = services.get_bank(bank)
    url = request.GET.get("url")
    given: Mapping[str, Any] = _json(request) if _is_json(request) else request.POST
    metadata, note = _metadata(given.get("metadata")), _note(given.get("note"))
    if url:
        with _fetched(url) as place:
            signals = _signals(*_hashed(place, request.GET.get("content_type"), request.GET.get("types")))
    elif request.FILES:
        with _uploaded(request) as (place, content_type):
            signals = _signals(*_hashed(place, content_type, request.GET.get("types")))
    else:
        raise _Refused(400, "Neither `url` nor multipart file upload was received")
    return _add(request, found, signals, metadata, note)


def _signal_add(request: _Request, bank: str) -> Answer:
    found = services.get_bank(bank)
    body = _json(request)
    note = _note(body.pop("note", None))
    for name, signal in body.items():
        if not isinstance(signal, str):
            raise _Refused(400, f"Invalid {name[:64]} signal: not a text")
    return _add(request, found, body, {}, note)


def _add(
    request: _Request, bank: Any, signals: Mapping[str, str], metadata: Mapping[str, Any], note: str | None
) -> Answer:
    telling = {name: signal for name, signal in signals.items() if signal}
    if signals and not telling:
        raise _Refused(400, "The content shows too little to be known again by")
    now = timezone.now()
    made = services.add_content(bank, telling, metadata=metadata, note=note or "", by=request.actor, now=now)
    return {"id": made, "signals": dict(services.get_content(bank, made).signals)}


def _content(request: HttpRequest, bank: str, content: str) -> Answer:
    found = services.get_content(services.get_bank(bank), int(content))
    out = _content_out(found)
    if request.GET.get("include_signals", "").lower() == "true" and found.signals:
        out["signals"] = dict(found.signals)
    if request.GET.get("include_metadata", "true").lower() == "true" and found.metadata:
        out["metadata"] = {"content_id": None, "content_uri": None, "json": None, "collab": None, **found.metadata}
    return out


def _content_out(found: services.Content) -> dict[str, Any]:
    out: dict[str, Any] = {
        "id": found.id, "disable_until_ts": found.disable_until_ts, "original_media_uri": None,
        "bank": _config(found.bank),
    }  # fmt: skip
    return out | ({"note": found.note} if found.note else {})


def _content_update(request: _Request, bank: str, content: str) -> Answer:
    found = services.get_bank(bank)
    body = _json(request)
    until = _number(body, "disable_until_ts", int)
    now = timezone.now()
    if until is not None and until < 0:
        raise _Refused(400, "disable_until_ts must be a non-negative integer")
    if until is not None and until > now.timestamp() + FIVE_YEARS:
        raise _Refused(400, "disable_until_ts must be less than 5 years in the future")
    note = (_note(body["note"]) or "") if "note" in body else None
    changed = services.change_content(
        found, int(content), disable_until=None if until is None else int(until), note=note, by=request.actor, now=now
    )
    return _content_out(changed) | {
        "note": changed.note or None, "collab_metadata": {}, "user_metadata": dict(changed.metadata) or None,
    }  # fmt: skip


def _content_delete(request: _Request, bank: str, content: str) -> Answer:
    found = services.get_bank(bank)
    return {"deleted": services.remove_content(found, int(content), by=request.actor, now=timezone.now())}


def _metadata(given: Any) -> dict[str, Any]:
    """HMA's metadata: `content_id`, `content_uri` and `json`, no others; as an object, or as text in a form."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            raise _Refused(400, "metadata form field must be valid JSON") from None
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _Refused(400, "metadata should be a json object")
    given.pop("collab", None)
    if "json_data" in given:  # Its own name within HMA, which it takes as well.
        given["json"] = given.pop("json_data")
    for name, value in given.items():
        if name not in {"content_id", "content_uri", "json"}:
            raise _Refused(400, f"Invalid metadata: {name[:64]} is no field of it")
        if value is not None and not isinstance(value, dict if name == "json" else str):
            raise _Refused(400, f"Invalid metadata: {name} is not {'an object' if name == 'json' else 'a text'}")
    return {name: value for name, value in given.items() if value is not None}


def _note(given: Any) -> str | None:
    if not given:
        return None
    if not isinstance(given, str):
        raise _Refused(400, "note should be a string")
    if len(given) > services.MAX_NOTE:
        raise _Refused(400, f"note must be at most {services.MAX_NOTE} characters")
    return given.replace("\0", "")


# Curation: types


def _signal_types(request: HttpRequest) -> Answer:
    return [{"name": name, "enabled_ratio": ratio} for name, ratio in services.signal_types().items()]


def _signal_type_update(request: _Request, name: str) -> Answer:
    ratio = _number(_json(request), "enabled_ratio")
    if ratio is None:
        raise _Refused(400, "enabled_ratio is required")
    services.set_signal_type(name, ratio, by=request.actor, now=timezone.now())
    return HttpResponse(status=204)


def _signal_type_index(request: HttpRequest) -> Answer:
    return {
        name: {
            "db_size": state.kept, "index_size": state.known, "index_out_of_date": state.behind,
            "newest_db_item": state.newest, "index_built_to": state.known_newest,
        }
        for name, state in services.index_states(_asked_types(request)).items()
    }  # fmt: skip


def _content_types(request: HttpRequest) -> Answer:
    return [{"name": name, "enabled": True} for name in CONTENT_TYPES]


# Exchanges


def _apis(request: HttpRequest) -> Answer:
    return list(collaborations.APIS)


def _api(request: _Request, name: str) -> Answer:
    collaborations.api(name)
    if request.method == "POST":
        given = _json(request).get("credential_json")
        if given is not None:
            if not isinstance(given, dict):
                raise _Refused(400, "credential_json is an object")
            collaborations.set_credentials(name, given, by=request.actor, now=timezone.now())
    return {
        "supports_authentification": True,
        "has_set_authentification": collaborations.has_credentials(name),
    }


def _api_schema(request: HttpRequest, name: str) -> Answer:
    if name not in collaborations.APIS:
        raise _Refused(404, f"Exchange API '{name}' not found")
    api = collaborations.APIS[name]
    fields = {
        part: [msgspec.structs.asdict(field) for field in getattr(api, part)] for part in ("config", "credentials")
    }
    return {"config_schema": {"fields": fields["config"]}, "credentials_schema": {"fields": fields["credentials"]}}


def _exchanges(request: HttpRequest) -> Answer:
    return collaborations.names()


def _exchange_create(request: _Request) -> Answer:
    body = _json(request)
    bank, api, config = body.get("bank"), body.get("api"), body.get("api_json", {})
    if not isinstance(bank, str) or not re.fullmatch("[A-Z0-9_]+", bank):
        raise _Refused(400, "Field `bank` must match /^[A-Z0-9_]+$/")
    if not isinstance(config, dict):
        raise _Refused(400, "Field `api_json` must be object")
    if not isinstance(api, str):
        raise _Refused(400, "Field `api_type` is required")
    if api not in collaborations.APIS:
        raise _Refused(400, f"No such exchange type '{api[:64]}'")
    collaborations.make(bank, api, config, by=request.actor, now=timezone.now())
    return JsonResponse({"message": "Created successfully"}, status=201)


def _exchange(request: HttpRequest, exchange: str) -> Answer:
    return collaborations.shown(collaborations.get(exchange))


def _exchange_update(request: _Request, exchange: str) -> Answer:
    enabled = _fitting(_body(request), {"enabled": _truth})["enabled"]
    found = collaborations.get(exchange)
    if enabled is not None:
        collaborations.switch(found, enabled=enabled, by=request.actor, now=timezone.now())
    return collaborations.shown(found)


def _exchange_delete(request: _Request, exchange: str) -> Answer:
    collaborations.delete(exchange, by=request.actor, now=timezone.now())
    return {"message": "Exchange deleted"}


def _exchange_status(request: HttpRequest, exchange: str) -> Answer:
    return collaborations.status(collaborations.get(exchange))


# Reading what a client sent


def _is_json(request: HttpRequest) -> bool:
    kind = request.content_type or ""
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _json(request: HttpRequest) -> dict[str, Any]:
    """The object in the body. A page of another site cannot send one of this content type without asking first (CORS)."""
    if not _is_json(request):
        raise _Refused(415, "The body is no JSON by its Content-Type, which must be 'application/json'.")
    try:
        body = json.loads(request.body)
    except RequestDataTooBig:
        raise _Refused(413, "The body is too large") from None
    except (ValueError, RecursionError):
        raise _Refused(400, "The body is not valid JSON") from None
    if not isinstance(body, dict):
        raise _Refused(400, "Request input was not a dict")
    return body


def _body(request: HttpRequest) -> Any:
    """What the body says, for `_fitting` to judge: nothing where it is no JSON."""
    if not _is_json(request):
        return None
    try:
        return json.loads(request.body)
    except RequestDataTooBig:
        raise _Refused(413, "The body is too large") from None
    except (ValueError, RecursionError):
        return None


def _fitting(
    given: Any, fields: Mapping[str, Callable[[Any], Any]], *, required: Collection[str] = ()
) -> dict[str, Any]:
    """What `given` says of each of `fields`, None where it says nothing. Raises `_Unfit` with all that is wrong with it."""
    if not isinstance(given, dict):
        raise _Unfit({"type": "model_type", "loc": [], "msg": "Input should be a valid dictionary", "input": given})
    out: dict[str, Any] = dict.fromkeys(fields)
    wrong = []
    for name, read in fields.items():
        if name not in given:
            if name in required:
                wrong.append({"type": "missing", "loc": [name], "msg": "Field required", "input": given})
        elif given[name] is not None or name in required:
            try:
                out[name] = read(given[name])
            except BadInput as problem:
                type_, msg = problem.where, problem.what
                wrong.append({"type": type_, "loc": [name], "msg": msg, "input": given[name]})
    if wrong:
        raise _Unfit(*wrong)
    return out


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise BadInput("Input should be a valid string", where="string_type")
    return given


def _truth(given: Any) -> bool:
    said = given.lower() if isinstance(given, str) else given
    if not isinstance(said, bool | int | float | str) or (isinstance(said, float) and said not in {0, 1}):
        raise BadInput("Input should be a valid boolean", where="bool_type")
    if said not in _TRUE | _FALSE:
        raise BadInput("Input should be a valid boolean, unable to interpret input", where="bool_parsing")
    return said in _TRUE


_TRUE, _FALSE = {1, "true", "1", "yes", "on", "t", "y"}, {0, "false", "0", "no", "off", "f", "n"}
"""What stands for yes and no (pydantic's `bool`); `True` is 1."""


def _real(given: Any) -> float:
    if not isinstance(given, bool | int | float | str):
        raise BadInput("Input should be a valid number", where="float_type")
    try:
        number = float(given)
    except (ValueError, OverflowError):
        raise BadInput(
            "Input should be a valid number, unable to parse string as a number", where="float_parsing"
        ) from None
    if not math.isfinite(number):
        raise BadInput("Input should be a finite number", where="finite_number")
    return number


_BANK = {"name": _text, "enabled_ratio": _real, "enabled": _truth}


def _number(body: Mapping[str, Any], field: str, kind: Callable[[Any], float] = float) -> float | None:
    given = body.get(field)
    if given is None:
        return None
    try:
        number = kind(given)
    except (TypeError, ValueError, OverflowError):
        raise _Refused(400, f"Invalid {field}: '{str(given)[:64]}'") from None
    if not math.isfinite(number):
        raise _Refused(400, f"Invalid {field}: '{str(given)[:64]}'")
    return number


urlpatterns: list[URLPattern] = [
    _route("", open_to_all=True, get=_home),
    _route("status", open_to_all=True, get=_status),
    _route("status/live", open_to_all=True, get=_live),
    _route("site-map", get=_site_map),
    _route("h/hash", get=_hash_get, post=_hash_post),
    _route("m/raw_lookup", get=_raw_lookup),
    _route("m/lookup", get=_lookup_get, post=_lookup_post),
    _route("m/compare", post=_compare),
    _route("m/index/status", get=_index_status),
    _route("c/banks", get=_banks, post=_bank_create),
    _route("c/bank/<bank>", get=_bank, put=_bank_update, delete=_bank_delete),
    _route("c/bank/<bank>/content", post=_content_add),
    _route("c/bank/<bank>/signal", post=_signal_add),
    _route("c/bank/<bank>/content/<content>", get=_content, put=_content_update, delete=_content_delete),
    _route("c/exchanges/apis", get=_apis),
    _route("c/exchanges/api/<name>", get=_api, post=_api),
    _route("c/exchanges/api/<name>/schema", get=_api_schema),
    _route("c/exchanges", get=_exchanges, post=_exchange_create),
    _route("c/exchange/<exchange>", get=_exchange, put=_exchange_update, delete=_exchange_delete),
    _route("c/exchange/<exchange>/status", get=_exchange_status),
    _route("c/signal_type", get=_signal_types),
    _route("c/signal_type/index", get=_signal_type_index),
    _route("c/signal_type/<name>", put=_signal_type_update),
    _route("c/content_type", get=_content_types),
]
