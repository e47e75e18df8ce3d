"""The API that platforms speak to. Its schema comes from the event types themselves, and a key opens it.

The route that takes events decodes with msgspec and answers for each event on its own: what is good goes on, what is
bad is named with its field and reason, and the same event again changes nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec
import structlog
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils import timezone
from ninja import NinjaAPI, Schema
from ninja.security import HttpBearer

import redshank
from redshank import pipeline
from redshank.archive.models import EventRecord
from redshank.archive.services import verdict_of
from redshank.core import event_schema
from redshank.evasion import deciding
from redshank.intake.models import ApiKey
from redshank.intake.services import key_of

log = structlog.get_logger(__name__)

MAX_EVENTS = 10_000
"""Events of one request."""


class RequestError(Exception):
    """A request that cannot be taken as a whole."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        super().__init__(detail)


class AnswerOut(Schema):
    """What became of one event; `field` and `reason` say why it was rejected."""

    status: Literal["accepted", "duplicate", "rejected"]
    id: str | None = None
    network: str | None = None
    field: str | None = None
    reason: str | None = None


class AnswersOut(Schema):
    """One answer for each event, in the order in which they came."""

    accepted: int
    duplicate: int
    rejected: int
    answers: list[AnswerOut]


class ProblemOut(Schema):
    """Why a request was not taken, in one sentence."""

    detail: str


class EventOut(Schema):
    """What became of an event: `waiting` until its media are hashed, then `walked` with its verdict."""

    id: str
    network: str
    type: str
    state: Literal["walked", "waiting", "failed"]
    verdict: dict[str, Any]
    error: str


class ReasonOut(Schema):
    """One kind of evidence: how many bits it adds or takes away, and what was seen."""

    kind: str
    bits: float
    detail: str


class TieOut(Schema):
    """A claim that the asked account's owner had a suspended one. The bits add up to log2 of the odds of `probability`."""

    account: str
    network: str
    band: Literal["likely", "possible", ""]
    probability: float
    state: Literal["open", "confirmed", "rejected", "withdrawn"]
    reasons: list[ReasonOut]
    model: str
    found_at: datetime


class TiesOut(Schema):
    """What is known of one account: `pending` while evidence came that was not weighed yet; `excepted` says why it is not
    tied (journalist, researcher, relative, fan, other)."""

    network: str
    account: str
    pending: bool
    excepted: list[str]
    ties: list[TieOut]


class KeyAuth(HttpBearer):
    """`Authorization: Bearer rsk_…`; the key says for which network it speaks."""

    def authenticate(self, request: HttpRequest, token: str) -> ApiKey | None:
        """The key that `token` is; None, answered with 401, where it is none."""
        return key_of(token, now=timezone.now())


class TiesKeyAuth(HttpBearer):
    """A key that opens `ties`."""

    def authenticate(self, request: HttpRequest, token: str) -> ApiKey | None:
        """The key that `token` is; None, answered with 401, where it does not open this part."""
        return key_of(token, "ties", now=timezone.now())


api = NinjaAPI(
    title="Redshank",
    version=redshank.__version__,
    description="Send what happens on a platform, and ask what became of it.",
    urls_namespace="api",
    docs_url=None,
    auth=KeyAuth(),
)

_schema, _components = event_schema()
_answers = msgspec.json.Encoder()
_raw_list = msgspec.json.Decoder(list[msgspec.Raw])
_EXAMPLE = {
    "id": "evt-1",
    "type": "post.created",
    "network": "marsh",
    "at": "2026-01-31T12:00:00Z",
    "account": {"id": "a-1", "handle": "heron", "created_at": "2025-05-01T08:00:00Z"},
    "post": {"id": "p-1", "text": "Good morning from the mudflats."},
}


@api.exception_handler(RequestError)
def _refuse(request: HttpRequest, error: Exception) -> HttpResponse:
    assert isinstance(error, RequestError)
    return api.create_response(request, {"detail": str(error)}, status=error.status)


@api.exception_handler(pipeline.StoreFullError)
def _full(request: HttpRequest, error: Exception) -> HttpResponse:
    response = api.create_response(request, {"detail": str(error)}, status=507)
    response["Retry-After"] = "60"
    return response


@api.exception_handler(OperationalError)
def _store_away(request: HttpRequest, error: Exception) -> HttpResponse:
    """The store took nothing: its disk is full (507), or it is away, locked or starting (503)."""
    log.error("store.failed", problem=str(error).partition("\n")[0])
    full = "full" in str(error) or "No space left" in str(error)
    why = "The store's disk is full." if full else "The store does not take anything now."
    detail = f"{why} Nothing of this request was taken; send it again later."
    response = api.create_response(request, {"detail": detail}, status=507 if full else 503)
    response["Retry-After"] = "60" if full else "5"
    return response


@api.post(
    "/events",
    response={
        200: AnswersOut,
        400: ProblemOut,
        401: ProblemOut,
        413: ProblemOut,
        422: AnswersOut,
        503: ProblemOut,
        507: ProblemOut,
    },
    summary="Send events",
    operation_id="send_events",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "anyOf": [_schema, {"type": "array", "items": _schema, "minItems": 1, "maxItems": MAX_EVENTS}]
                    },
                    "example": _EXAMPLE,
                },
                "application/x-ndjson": {"schema": {"type": "string", "description": "One event a line."}},
            },
        },
    },
)
def send_events(request: HttpRequest) -> HttpResponse:
    """Send one event, an array of them, or one a line (`application/x-ndjson`); gzip is understood.

    Each event is answered on its own, in order: `accepted` (durably kept), `duplicate` (was there already, nothing
    changed) or `rejected` with its field and reason. The status is 422 where nothing at all could be taken.
    """
    raws = _split(_body(request), request.content_type or "")
    key: ApiKey = request.auth  # type: ignore[attr-defined]  # set by ninja
    answers = pipeline.accept(raws, now=timezone.now(), actor=f"key:{key.name}", network=key.network)
    counts = {"accepted": 0, "duplicate": 0, "rejected": 0}
    for answer in answers:
        counts[answer.status] += 1
    status = 422 if answers and counts["rejected"] == len(answers) else 200
    return HttpResponse(_answers.encode({**counts, "answers": answers}), content_type="application/json", status=status)


@api.get(
    "/events/{path:event_id}",
    response={200: EventOut, 401: ProblemOut, 404: ProblemOut},
    summary="What became of an event",
    operation_id="show_event",
)
def show_event(request: HttpRequest, event_id: str) -> Any:
    """The state and the verdict of one of your network's events."""
    key: ApiKey = request.auth  # type: ignore[attr-defined]  # set by ninja
    found = EventRecord.objects.filter(network=key.network, event_id=event_id.replace("\x00", "")[:201]).first()
    if found is None:
        raise RequestError(404, "There is no event of this id on your network.")
    return {
        "id": found.event_id,
        "network": found.network,
        "type": found.type,
        "state": found.state,
        "verdict": msgspec.to_builtins(verdict_of(found)),
        "error": found.error,
    }


@api.get(
    "/accounts/{network}/{path:account_id}/ties",
    response={200: TiesOut, 401: ProblemOut, 404: ProblemOut},
    auth=TiesKeyAuth(),
    summary="Whether the owner of a new account was suspended before",
    operation_id="ask_about_account",
)
def ask_about_account(request: HttpRequest, network: str, account_id: str) -> Any:
    """The ties of one new account to suspended ones, the surest first. A tie is no proof: a person decides.

    Only accounts that are young enough to be asked about are answered for; all others are answered with 404, whether they
    exist or not.
    """
    key: ApiKey = request.auth  # type: ignore[attr-defined]  # set by ninja
    account_id = account_id.replace("\x00", "")[:201]
    if key.network and key.network != network:
        raise RequestError(404, f"This key asks about accounts of {key.network} alone.")
    about, ties, exceptions = deciding.asked_about(network[:64].replace("\x00", ""), account_id)
    if about is None or about.target:
        raise RequestError(404, "There is no new account of this id that could be asked about.")
    return {
        "network": network,
        "account": account_id,
        "pending": about.due_at is not None,
        "excepted": [one.what for one in exceptions if not one.other_id],
        "ties": [
            {
                "account": tie.old.account_id,
                "network": tie.old.network,
                "band": tie.band,
                "probability": tie.probability,
                "state": tie.state,
                "reasons": tie.reasons,
                "model": tie.model,
                "found_at": tie.made_at,
            }
            for tie in ties
            if tie.state != "withdrawn"
        ],
    }


def _body(request: HttpRequest) -> bytes:
    most = settings.REDSHANK.ingest.max_body_bytes
    too_large = RequestError(413, f"The body is larger than {most:,} bytes. Send fewer events at once.")
    try:
        body = request.body
    except RequestDataTooBig:
        raise too_large from None
    except UnreadablePostError:
        raise RequestError(400, "The body broke off before its end.") from None
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise RequestError(400, "Content-Encoding must be gzip or absent.")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, most + 1)
    except zlib.error:
        raise RequestError(400, "The body is not valid gzip.") from None
    if len(plain) > most:
        raise too_large
    if not unpacker.eof:
        raise RequestError(400, "The gzip stream broke off before its end.")
    return plain


def _split(body: bytes, content_type: str) -> Iterable[bytes]:
    """The events of a body as raw JSON, one by one."""
    if content_type in {"application/x-ndjson", "application/jsonl"}:
        raws = [line for line in body.split(b"\n") if line.strip()]
    elif body.lstrip()[:1] == b"[":
        try:
            raws = [bytes(raw) for raw in _raw_list.decode(body)]
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise RequestError(400, f"The array is not valid JSON: {error}") from None
        except RecursionError:
            raise RequestError(400, "The array is nested too deeply.") from None
    else:
        raws = [body] if body.strip() else []
    if not raws:
        raise RequestError(400, "There is no event in the body.")
    if len(raws) > MAX_EVENTS:
        raise RequestError(413, f"More than {MAX_EVENTS:,} events in one request.")
    return raws


def openapi() -> dict[str, Any]:
    """The whole OpenAPI document, the parts of an event among its components."""
    document: dict[str, Any] = api.get_openapi_schema()
    document["components"]["schemas"].update(_components)
    return document


@api.get("/openapi.json", auth=None, include_in_schema=False, operation_id="openapi")
def show_openapi(request: HttpRequest) -> HttpResponse:
    """The OpenAPI document of this API."""
    return HttpResponse(msgspec.json.encode(openapi()), content_type="application/json")
