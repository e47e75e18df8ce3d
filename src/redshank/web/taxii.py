"""A TAXII 2.1 server over our shares, under /taxii2: each share is a collection that its readers can read and nobody can write.

Spec: docs.oasis-open.org/cti/taxii/v2.1. A key that opens `taxii` is sent as a bearer token, or as the password of basic
authentication. Each answer that held anything is written down: to whom, how much, from when to when.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import msgspec
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, re_path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from redshank.exchanges import giving, sharing
from redshank.exchanges.models import Share
from redshank.exchanges.sources.stix import time_of
from redshank.intake.models import ApiKey
from redshank.intake.services import key_of

MEDIA = "application/taxii+json;version=2.1"
STIX = "application/stix+json;version=2.1"
PAGE = 1000
"""Objects of one answer, at most."""
_SCHEMES = frozenset({"basic", "bearer", "token"})
_ID = r"(?P<object_id>[a-z0-9-]{1,60}--[0-9a-f-]{36})"
_COLLECTION = r"(?P<collection>[0-9a-fA-F-]{36})"
_INDICATOR = re.compile(r"indicator--[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_START = datetime(2000, 1, 1, tzinfo=UTC)


class _Refused(Exception):
    def __init__(self, status: int, title: str) -> None:
        self.status = status
        super().__init__(title)


class _Object(msgspec.Struct, frozen=True):
    """One object with the time at which it was added to the collection."""

    added: datetime
    thing: dict[str, Any]

    @property
    def version(self) -> str:
        return str(self.thing.get("modified") or self.thing["created"])


View = Callable[..., HttpResponse]


def _route(pattern: str, view: View) -> URLPattern:
    @csrf_exempt
    @functools.wraps(view)
    def serve(request: HttpRequest, **captured: str) -> HttpResponse:
        try:
            key = _key(request)
            _check(request)
            return view(request, key, **captured)
        except _Refused as refused:
            response = _answer({"title": str(refused), "http_status": str(refused.status)}, refused.status)
            if refused.status == 401:
                response["WWW-Authenticate"] = 'Basic realm="taxii", charset="UTF-8"'
            return response
        except OperationalError:
            return _answer({"title": "The store does not answer now.", "http_status": "503"}, 503)

    return re_path(f"^taxii2/{pattern}$", serve, name=f"taxii/{view.__name__.strip('_')}")


def _answer(body: dict[str, Any], status: int = 200) -> HttpResponse:
    response = HttpResponse(msgspec.json.encode(body), content_type=MEDIA, status=status)
    response["Cache-Control"] = "no-store"
    return response


def _key(request: HttpRequest) -> ApiKey:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeError):
            given = ""
    key = key_of(given.strip(), "taxii", now=timezone.now()) if given and kind.lower() in _SCHEMES else None
    if key is None:
        raise _Refused(
            401, "Send an API key that opens taxii, as a bearer token or as the password of basic authentication."
        )
    return key


def _check(request: HttpRequest) -> None:
    """Raises `_Refused` for what is more than reading, and for who takes no answer of ours."""
    if request.method not in {"GET", "HEAD"}:
        raise _Refused(403, "Nothing is written or deleted here.")
    said = request.headers.get("Accept", "*/*")
    for part in said.lower().replace(" ", "").split(","):
        kind, _, rest = part.partition(";")
        if kind in {"*/*", "application/*"}:
            return
        if kind == "application/taxii+json" and ("version=" not in rest or "version=2.1" in rest):
            return
    raise _Refused(406, f"Answers are {MEDIA}.")


def _discovery(request: HttpRequest, key: ApiKey) -> HttpResponse:
    giver = sharing.name_of_giver()
    root = request.build_absolute_uri("/taxii2/shares/")
    return _answer(
        {"title": giver, "description": "Reviewed entries, by shares.", "default": root, "api_roots": [root]}
    )


def _root(request: HttpRequest, key: ApiKey) -> HttpResponse:
    return _answer({"title": sharing.name_of_giver(), "versions": [MEDIA], "max_content_length": 1024})


def _about(share: Share) -> dict[str, Any]:
    return {
        "id": str(share.collection), "title": share.name, "can_read": True, "can_write": False, "media_types": [STIX],
        **({"description": share.description} if share.description else {}),
    }  # fmt: skip


def _collections(request: HttpRequest, key: ApiKey) -> HttpResponse:
    mine = [_about(share) for share in Share.objects.all() if key.name in share.readers]
    return _answer({"collections": mine} if mine else {})


def _share(key: ApiKey, collection: str) -> Share:
    """The share of that id, where the key may read it. What it may not read does not exist for it."""
    try:
        found = Share.objects.filter(collection=uuid.UUID(collection)).first()
    except ValueError:
        found = None
    if found is None or key.name not in found.readers:
        raise _Refused(404, "There is no such collection for this key.")
    return found


def _collection(request: HttpRequest, key: ApiKey, collection: str) -> HttpResponse:
    return _answer(_about(_share(key, collection)))


def _objects(request: HttpRequest, key: ApiKey, collection: str, object_id: str = "") -> HttpResponse:
    share = _share(key, collection)
    page, more = _page(request, share, object_id)
    if object_id and not page and "added_after" not in request.GET and "next" not in request.GET:
        raise _Refused(404, "There is no such object in this collection.")
    response = _envelope([one.thing for one in page], page, more)
    if page:
        sharing.handed_out(
            share, to=f"key:{key.name}", by=f"key:{key.name}", how="taxii", count=len(page), now=timezone.now(),
            first=page[0].added.isoformat(), last=page[-1].added.isoformat(),
        )  # fmt: skip
    return response


def _object(request: HttpRequest, key: ApiKey, collection: str, object_id: str) -> HttpResponse:
    return _objects(request, key, collection, object_id)


def _manifest(request: HttpRequest, key: ApiKey, collection: str) -> HttpResponse:
    page, more = _page(request, _share(key, collection), "")
    rows = [
        {"id": one.thing["id"], "date_added": _time(one.added), "version": one.version, "media_type": STIX}
        for one in page
    ]
    return _envelope(rows, page, more)


def _versions(request: HttpRequest, key: ApiKey, collection: str, object_id: str) -> HttpResponse:
    page, _ = _page(request, _share(key, collection), object_id)
    if not page:
        raise _Refused(404, "There is no such object in this collection.")
    return _answer({"versions": [one.version for one in page]})


def _envelope(rows: list[dict[str, Any]], page: list[_Object], more: bool) -> HttpResponse:
    body: dict[str, Any] = {"objects": rows} if rows else {}
    if more:
        body |= {"more": True, "next": _token(page[-1].added)}
    response = _answer(body)
    if page:
        response["X-TAXII-Date-Added-First"] = _time(page[0].added)
        response["X-TAXII-Date-Added-Last"] = _time(page[-1].added)
    return response


def _page(request: HttpRequest, share: Share, object_id: str) -> tuple[list[_Object], bool]:
    """The objects that are asked for, in the order in which they were added, and whether there are more."""
    asked = request.GET
    after: datetime | None = None
    if "added_after" in asked:
        after = time_of(asked["added_after"])
        if after is None:
            raise _Refused(400, "added_after is no time.")
    if "next" in asked:
        after = _read_token(asked["next"])
    limit = asked.get("limit", str(PAGE))
    if not limit.isascii() or not limit.isdigit() or not int(limit[:9]) > 0:
        raise _Refused(400, "limit is no number above zero.")
    wanted = {name: set(asked[f"match[{name}]"].split(",")) for name in ("id", "type", "version", "spec_version") if f"match[{name}]" in asked}  # fmt: skip
    if object_id:
        wanted["id"] = {object_id}
    found = list(islice((one for one in _stream(share, after, wanted) if _matches(one, wanted)), min(int(limit[:9]), PAGE) + 1))  # fmt: skip
    most = min(int(limit[:9]), PAGE)
    return found[:most], len(found) > most


def _stream(share: Share, after: datetime | None, wanted: dict[str, set[str]]) -> Iterator[_Object]:
    giver = sharing.giver_of(share)
    for number, thing in enumerate(giving.frame(giver, sharing.licenses_of(share))):
        at = share.created_at + number * sharing.TICK
        if after is None or at > after:
            yield _Object(at, thing)
    if "type" in wanted and "indicator" not in wanted["type"]:
        return
    names = [uuid.UUID(one[11:]) for one in wanted["id"] if _INDICATOR.fullmatch(one)] if "id" in wanted else None
    rows = sharing.rows_of(share, after=after, names=names)
    for row in rows.iterator(chunk_size=500):
        yield _Object(row.changed_at, giving.indicator(giver, sharing.item_of(row)))


def _matches(one: _Object, wanted: dict[str, set[str]]) -> bool:
    """Whether the filters let it through. Only the last version of each object is kept: it is the first, too."""
    thing = one.thing
    if "id" in wanted and thing["id"] not in wanted["id"]:
        return False
    if "type" in wanted and thing["type"] not in wanted["type"]:
        return False
    if "spec_version" in wanted and "2.1" not in wanted["spec_version"]:
        return False
    versions = wanted.get("version", set())
    return not versions or bool(versions & {"first", "last", "all", one.version})


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _token(at: datetime) -> str:
    return base64.urlsafe_b64encode(str((at - _START) // timedelta(microseconds=1)).encode()).decode().rstrip("=")


def _read_token(token: str) -> datetime:
    try:
        text = base64.urlsafe_b64decode(token[:40] + "=" * (-len(token[:40]) % 4)).decode("ascii")
        return _START + timedelta(microseconds=int(text))
    except (binascii.Error, ValueError, OverflowError):
        raise _Refused(400, "next is none of ours.") from None


urlpatterns: list[URLPattern] = [
    _route("?", _discovery),
    _route("shares/?", _root),
    _route("shares/collections/?", _collections),
    _route(f"shares/collections/{_COLLECTION}/?", _collection),
    _route(f"shares/collections/{_COLLECTION}/objects/?", _objects),
    _route(f"shares/collections/{_COLLECTION}/objects/{_ID}/?", _object),
    _route(f"shares/collections/{_COLLECTION}/objects/{_ID}/versions/?", _versions),
    _route(f"shares/collections/{_COLLECTION}/manifest/?", _manifest),
]
