"""Carries letters: one lane a platform, each with its own thread and connections, so that a slow one holds up itself.

A lane sends a few letters at a time and saves each answer as it comes. It ends when nothing is due any more, or when the
platform could not be reached at all: then asking it again at once, for the next letter, would be no use.
"""

from __future__ import annotations

import asyncio
import functools
import random
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import msgspec
import structlog
from django.conf import settings
from django.db import connections

import redshank
from redshank.enforcement import answers, signing
from redshank.enforcement.services import Letter, claim_letters, networks_due, save_outcome

log = structlog.get_logger(__name__)

LANES = 16
AT_ONCE = 8


class Courier:
    """Sends what is due. A worker keeps one, calls `start` and a short `wait` again and again, and `close` when it ends.

    `tried` counts the tries that were answered, or that nobody answered in time.
    """

    def __init__(
        self, *, clock: Callable[[], datetime] | None = None, chance: Callable[[], float] | None = None
    ) -> None:
        self.clock = clock or (lambda: datetime.now(UTC))
        self.chance = chance or random.SystemRandom().random
        self.tried = 0
        self._lock = threading.Lock()
        self._lanes: dict[str, threading.Thread] = {}
        self._left = 0
        self._stop = threading.Event()

    def start(self, *, limit: int, now: datetime | None = None) -> None:
        """Begin to send what is due at `now`, up to `limit` letters, with a lane for each platform that has none yet."""
        now = now or self.clock()
        with self._lock:
            self._lanes = {network: lane for network, lane in self._lanes.items() if lane.is_alive()}
            due = [network for network in networks_due(now) if network not in self._lanes]
            self._left = limit
            for network in due[: LANES - len(self._lanes)]:
                lane = threading.Thread(target=self._lane, args=(network, now), name=f"lane-{network}", daemon=True)
                self._lanes[network] = lane
                lane.start()

    def run(self, *, limit: int, now: datetime) -> None:
        """Send what is due at `now`, up to `limit` letters, and return when that is done: one platform right here, in
        this thread and on its connection to the store, several in lanes of their own."""
        due = networks_due(now)
        if len(due) == 1 and not self._lanes:
            self._left = limit
            self._serve(due[0], now)
        elif due:
            self.start(limit=limit, now=now)
            self.wait(None)

    def wait(self, seconds: float | None) -> bool:
        """Wait for the lanes to end, for `seconds` in all or as long as it takes; give whether all did."""
        until = None if seconds is None else time.monotonic() + seconds
        for lane in list(self._lanes.values()):
            lane.join(None if until is None else max(0.0, until - time.monotonic()))
        return not any(lane.is_alive() for lane in self._lanes.values())

    def close(self) -> None:
        """Claim nothing more, and wait for what is on its way."""
        self._stop.set()
        self.wait(None)

    def _take(self) -> int:
        with self._lock:
            take = min(AT_ONCE, self._left)
            self._left -= take
        return take

    def _give_back(self, number: int) -> None:
        with self._lock:
            self._left += number

    def _lane(self, network: str, now: datetime) -> None:
        try:
            self._serve(network, now)
        except Exception:
            log.exception("outbox.lane_failed", network=network)
        finally:
            connections.close_all()

    def _serve(self, network: str, now: datetime) -> None:
        timeout = settings.REDSHANK.outbox.timeout_seconds
        with asyncio.Runner() as runner:
            client = runner.run(_client(timeout))
            try:
                reached = True
                while reached and not self._stop.is_set() and (take := self._take()):
                    letters = claim_letters(network, now=max(now, self.clock()), limit=take)
                    self._give_back(take - len(letters))
                    if not letters:
                        break
                    reached = self._send(runner, client, letters, timeout)
            finally:
                runner.run(client.aclose())

    def _send(self, runner: asyncio.Runner, client: httpx.AsyncClient, letters: list[Letter], timeout: float) -> bool:
        """Send `letters` together; give whether the platform answered any of them."""
        at = self.clock()
        waiting = runner.run(_begin(client, letters, at, timeout))
        reached = False
        while waiting:
            done, waiting = runner.run(_first(waiting))
            for task in done:
                letter, answer = task.result()
                now = self.clock()
                outcome = _judge(letter, answer, now)
                reached = reached or outcome.status is not None
                save_outcome(letter, outcome, now=now, chance=self.chance())
                with self._lock:
                    self.tried += 1
                log.info(
                    "action.tried",
                    action=letter.action,
                    network=letter.network,
                    attempt=letter.attempt,
                    outcome=outcome.what,
                    status=outcome.status,
                    reason=outcome.reason,
                )
        return reached


@functools.cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)  # Reading them takes longer than most answers do.


async def _client(timeout: float) -> httpx.AsyncClient:
    # No proxy and no password file of the machine: a letter goes where the admin said, and nowhere else.
    return httpx.AsyncClient(
        timeout=timeout,
        follow_redirects=False,
        trust_env=False,
        verify=_certificates(),
        limits=httpx.Limits(max_connections=AT_ONCE),
        headers={
            "user-agent": f"redshank/{redshank.__version__}",
            "content-type": "application/json",
            "accept": "application/json",
            "accept-encoding": "identity",
        },
    )


class _Answer(msgspec.Struct, frozen=True):
    """What came back: a status with headers and a body; or, with no status, why nothing did."""

    status: int | None
    headers: dict[str, str] = {}
    body: bytes = b""
    trouble: str = ""


_Tried = tuple[Letter, _Answer]
_Waiting = set["asyncio.Task[_Tried]"]


async def _begin(client: httpx.AsyncClient, letters: list[Letter], at: datetime, timeout: float) -> _Waiting:
    return {asyncio.create_task(_post(client, letter, at, timeout)) for letter in letters}


async def _first(waiting: _Waiting) -> tuple[_Waiting, _Waiting]:
    return await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)


async def _post(client: httpx.AsyncClient, letter: Letter, at: datetime, timeout: float) -> _Tried:
    headers = signing.sign(letter.secrets, letter.action, at, letter.body)
    try:
        # httpx counts its time-outs read by read; this one holds for the whole, from the name's look-up to the last byte.
        async with (
            asyncio.timeout(timeout),
            client.stream("POST", letter.url, content=letter.body, headers=headers) as response,
        ):
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > answers.MAX_ANSWER:
                    break
            return letter, _Answer(response.status_code, dict(response.headers), body[: answers.MAX_ANSWER + 1])
    except (TimeoutError, httpx.TimeoutException):
        return letter, _Answer(None, trouble=f"no whole answer within {timeout:g} seconds")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        said = answers.clean(str(error)) or type(error).__name__
        return letter, _Answer(None, trouble=f"not reached: {said}")
    except Exception as error:  # One letter's trouble, whatever it is, never stops the next.
        log.exception("outbox.post_failed", action=letter.action, network=letter.network)
        return letter, _Answer(None, trouble=f"not sent: {type(error).__name__}")


def _judge(letter: Letter, answer: _Answer, now: datetime) -> answers.Outcome:
    if answer.status is None:
        return answers.Outcome("again", answer.trouble)
    sent_before = letter.attempt > 1 and not letter.distrusted
    return answers.read_answer(
        letter.action, answer.status, answer.headers, answer.body, sent_before=sent_before, now=now
    )
