"""Asks one organization's server, and reaches nothing inside.

Every address is checked as those of strangers' media are. Secrets travel in headers or bodies to the server that they are
for, over TLS; answers are bounded in bytes and time; what is busy is asked again a few times.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpcore
import httpx
import msgspec

import redshank
from redshank.core import Problem
from redshank.core.settings import ExchangeSettings
from redshank.media import FetchError
from redshank.media.fetching import STEP_SECONDS, Guard, Resolve, checked, resolve

TRIES = 4
"""How often one request is tried where the server is busy or away."""
LONGEST_WAIT = 60.0
"""Seconds that we wait where a server says when to come again; beyond it the run ends, and the next begins there."""
MAX_REDIRECTS = 5
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
MOVED = frozenset({301, 302, 303, 307, 308})


class HttpError(Problem):
    """A request that was not answered as it should be. `status` is None where there was no answer at all."""

    def __init__(
        self, what: str, *, where: str = "", hint: str = "", status: int | None = None, temporary: bool = False
    ) -> None:
        self.status = status
        self.temporary = temporary
        super().__init__(what, where=where, hint=hint)


class Answer(msgspec.Struct, frozen=True):
    """What came back, whole. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises `HttpError` saying what it is instead."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            start = self.body.lstrip()[:15].lower()
            what = "a web page" if start.startswith((b"<!doctype", b"<html")) else "no JSON"
            raise HttpError(f"answers with {what} where JSON should be", status=self.status) from None


class Http:
    """A connection to the server at `address` alone. `beat` is called as bytes come; what it raises ends the request."""

    def __init__(
        self,
        address: str,
        limits: ExchangeSettings,
        *,
        beat: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
        resolve: Resolve = resolve,
    ) -> None:
        self._limits = limits
        self._beat = beat
        self._sleep = sleep
        self._guard = Guard(limits.private, "exchanges.private", resolve)
        self._pool = httpcore.ConnectionPool(network_backend=self._guard, max_connections=2, keepalive_expiry=30)
        self._origin = _origin(_parsed(address)) if address.startswith("http") else ""
        self.received = 0

    def close(self) -> None:
        """Let go of the connection."""
        self._pool.close()

    def ask(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        fine: frozenset[int] = frozenset({200}),
    ) -> Answer:
        """The answer to one request, tried again where the server is busy. `params` must hold no secret.

        Raises `HttpError` for what is not in `fine`, for more than `max_page_bytes` bytes, and where nothing answers.
        """
        target = _parsed(url)
        if _origin(target) != self._origin:
            raise HttpError(f"leads to another server, {target.host}", where=_shown(target))
        if params:
            target = target.copy_merge_params(params)
        self._refuse_plain(target, headers)
        for attempt in range(1, TRIES + 1):
            try:
                with self._stream(method, target, headers or {}, content, self._limits.request_seconds) as (status, fields, chunks):  # fmt: skip
                    body = b"".join(self._bounded(chunks, target, self._limits.max_page_bytes))
            except HttpError as problem:
                if not problem.temporary or attempt == TRIES:
                    raise
                self._sleep(0.5 * 2**attempt)
                continue
            if status in fine:
                return Answer(status, fields, body)
            wait = _wait(fields, attempt)
            if status not in BUSY or attempt == TRIES or wait > LONGEST_WAIT:
                raise HttpError(
                    f"answers {status}{_why(body, fields)}",
                    where=_shown(target),
                    hint=_HINTS.get(status, ""),
                    status=status,
                    temporary=status in BUSY,
                )
            self._sleep(wait)
        raise AssertionError

    def download(self, url: str, place: Path, *, headers: Mapping[str, str] | None = None) -> Answer:
        """The body at `url` into the file `place`, following redirects; headers go to the first server alone.

        The answer's body is empty; its status is 200, or 304 where `headers` asked for what is newer. Raises as `ask`.
        """
        target = _parsed(url)
        sent = dict(headers or {})
        self._refuse_plain(target, headers)
        for _ in range(MAX_REDIRECTS + 1):
            if _origin(target) != self._origin:
                sent = {}
            with self._stream("GET", target, sent, b"", self._limits.download_seconds) as (status, fields, chunks):
                if status in MOVED and "location" in fields:
                    target = _parsed(str(target.join(fields["location"])))
                    continue
                if status == 304:
                    return Answer(status, fields, b"")
                if status != 200:
                    raise HttpError(
                        f"answers {status}", where=_shown(target), hint=_HINTS.get(status, ""), status=status,
                        temporary=status in BUSY,
                    )  # fmt: skip
                with place.open("wb") as file:
                    for chunk in self._bounded(chunks, target, self._limits.max_bytes):
                        file.write(chunk)
            said = fields.get("content-length", "")
            if said.isdigit() and place.stat().st_size != int(said):
                raise HttpError("breaks off before its end", where=_shown(target), temporary=True)
            return Answer(status, fields, b"")
        raise HttpError(f"redirects more than {MAX_REDIRECTS} times", where=_shown(target))

    def _refuse_plain(self, target: httpx.URL, headers: Mapping[str, str] | None) -> None:
        """A secret goes over TLS, or to a host that the settings name."""
        host = f"{target.host}:{target.port or 80}"
        if target.scheme != "https" and headers and host not in self._limits.private and _SECRET & set(headers):
            raise HttpError(
                "not reached by https: the secret would be readable on the way",
                where=_shown(target),
                hint="The setting exchanges.private lists hosts that may be asked all the same.",
            )

    @contextmanager
    def _stream(
        self, method: str, target: httpx.URL, headers: Mapping[str, str], content: bytes, seconds: float
    ) -> Iterator[tuple[int, dict[str, str], Iterator[bytes]]]:
        self._guard.deadline = time.monotonic() + seconds
        url = httpcore.URL(
            scheme=target.raw_scheme,
            host=target.raw_host.strip(b"[]"),
            port=target.port,
            target=target.raw_path or b"/",
        )
        sent: list[tuple[bytes | str, bytes | str]] = [
            ("Host", target.netloc),
            ("User-Agent", f"redshank/{redshank.__version__}"),
            ("Accept-Encoding", "identity"),  # What is not packed cannot unpack into more than it seems.
            *((name, value) for name, value in headers.items()),
            *([("Content-Length", str(len(content)))] if content or method != "GET" else []),
        ]
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), STEP_SECONDS)
        try:
            with self._pool.stream(
                method, url, headers=sent, content=content or None, extensions={"timeout": timeout}
            ) as answer:
                fields = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
                if fields.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
                    raise HttpError("answers with an encoded body, which was not asked for", where=_shown(target))
                yield answer.status, fields, answer.iter_stream()
        except FetchError as error:
            raise HttpError(error.what, where=_shown(target), hint=error.hint, temporary=error.temporary) from None
        except httpcore.TimeoutException:
            raise HttpError(
                f"no whole answer within {seconds:g} seconds", where=_shown(target), temporary=True
            ) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError) as error:
            said = str(error) or type(error).__name__
            raise HttpError(f"cannot be reached: {said}", where=_shown(target), temporary=True) from None

    def _bounded(self, chunks: Iterator[bytes], target: httpx.URL, most: int) -> Iterator[bytes]:
        size = 0
        for chunk in chunks:
            size += len(chunk)
            self.received += len(chunk)
            if size > most or self.received > self._limits.max_bytes:
                name = "max_bytes" if self.received > self._limits.max_bytes else "max_page_bytes"
                limit = getattr(self._limits, name)
                raise HttpError(
                    f"sends more than {limit:,} bytes",
                    where=_shown(target),
                    hint=f"The setting exchanges.{name} says how many are taken.",
                )
            self._beat()
            yield chunk


_SECRET = frozenset({"Authorization", "x-functions-key", "Ocp-Apim-Subscription-Key"})
_HINTS = {
    401: "The secret is not accepted there: give it again.",
    403: "Who we are may not do that there: ask the organization.",
    404: "Check the address and the options.",
}


def form(values: Mapping[str, str]) -> bytes:
    """`values` as a form's body."""
    return urlencode(dict(values)).encode()


def _parsed(url: str) -> httpx.URL:
    try:
        return checked(url)
    except FetchError as error:
        raise HttpError(error.what, where=url.partition("?")[0][:200], hint=error.hint) from None


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii').lower()}"


def _shown(url: httpx.URL) -> str:
    """An address for people: without its query, in which a server may have put anything."""
    return f"{_origin(url)}{url.path}"[:200]


def _wait(fields: Mapping[str, str], attempt: int) -> float:
    said = fields.get("retry-after", "")
    return float(said) if said.isdigit() and len(said) < 7 else 0.5 * 2**attempt


def _why(body: bytes, fields: Mapping[str, str]) -> str:
    """What the server says is wrong, in a few words; nothing of a web page."""
    if "json" not in fields.get("content-type", ""):
        return ""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    for name in ("error", "message", "detail", "description", "title"):
        if isinstance(found, dict) and found.get(name):
            said = found[name]
            said = said.get("message", "") if isinstance(said, dict) else said
            return f": {str(said)[:200]}"
    return ""
