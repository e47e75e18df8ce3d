"""A small client for platforms written in Python: it batches, compresses, retries, and gives an answer for each event.

    with Client("http://127.0.0.1:8090", "rsk_…") as redshank:
        for answer in redshank.send(events):
            if answer["status"] == "rejected":
                print(answer["field"], answer["reason"])

Sending the same events again is harmless: the second time they are answered as duplicates. `make_token` makes the keyed tokens that
accounts carry instead of raw identifiers.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec

from redshank.peers.tokens import make_token as make_token

BATCH = 500
"""Events of one request."""
BATCH_BYTES = 16 * 1024 * 1024
"""Bytes of one request before compression, unless a single event is larger."""
TRIES = 6
_TEMPORARY = frozenset((429, 500, 502, 503, 504, 507))


class SendError(Exception):
    """The server could not be reached or refused the request; `status` is None where it did not answer.

    All events answered before it are safe; send the rest again.
    """

    def __init__(self, detail: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(detail)


class Client:
    """Sends events of one network to a Redshank at `url`, under an API key."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout: float = 30.0,
        tries: int = TRIES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=timeout)
        self._tries = tries
        self._sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, events: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Send `events` (JSON-like mappings; bytes become base64), and give the answer to each, in order.

        Raises `SendError` when the server cannot be reached after several tries, or refuses the key.
        """
        encoded = (msgspec.json.encode(event) for event in events)
        while batch := list(self._batch(encoded)):
            answer = self._post(b"\n".join(batch))
            yield from answer["answers"]

    def _batch(self, encoded: Iterator[bytes]) -> Iterator[bytes]:
        size = 0
        for line in islice(encoded, BATCH):
            yield line
            size += len(line)
            if size > BATCH_BYTES:
                return

    def show(self, event_id: str) -> dict[str, Any]:
        """What became of one of your events. Raises `SendError` with status 404 where there is none."""
        response = self._ask("GET", f"/api/v1/events/{quote(event_id, safe='')}")
        found: dict[str, Any] = response.json()
        return found

    def _post(self, lines: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        response = self._ask("POST", "/api/v1/events", content=gzip.compress(lines, 1), headers=headers)
        answers: dict[str, Any] = response.json()
        return answers

    def _ask(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        for attempt in range(1, self._tries + 1):
            response = None
            try:
                response = self._http.request(method, path, **kwargs)
            except httpx.TransportError as error:
                problem = SendError(f"{self._http.base_url} did not answer: {error}")
            else:
                if response.is_success or (response.status_code == 422 and "answers" in response.text):
                    return response
                problem = SendError(_detail(response), status=response.status_code)
                if response.status_code not in _TEMPORARY:
                    break
            if attempt < self._tries:
                self._sleep(_wait(response, attempt))
        raise problem


def _wait(response: httpx.Response | None, attempt: int) -> float:
    told = response.headers.get("Retry-After", "") if response is not None else ""
    return min(float(told), 60.0) if told.isdigit() else min(0.5 * 2.0**attempt, 30.0)


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
