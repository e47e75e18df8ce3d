from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

ROOT = Path(__file__).parents[2]
ARGS = (
    "--no-sandbox",
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Console(msgspec.Struct, frozen=True):
    """A served console: where it is, and the ids of its cases by name."""

    url: str
    ids: dict[str, int]
    data_dir: Path


def serve(data_dir: Path) -> Iterator[Console]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("REDSHANK_")}
    env |= {"REDSHANK_DATA_DIR": str(data_dir), "REDSHANK_LOG_LEVEL": "error"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.web.serve"], cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert line, "the console did not start"
        said = json.loads(line)
        yield Console(f"http://127.0.0.1:{said['port']}", said["ids"], data_dir)
    finally:
        process.stdin.close()
        process.terminate()
        process.wait(10)


@pytest.fixture(autouse=True)
def _forget_tries() -> None:
    """Signing in is limited by the number of tries; one test's tries are not another's."""
    from django.core.cache import cache

    cache.clear()


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console in a process of its own, on a store of its own, filled with stand-ins."""
    yield from serve(tmp_path_factory.mktemp("console"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The machine's Chromium."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if not path:
        pytest.skip("no chromium on this machine; tests/setup-machine installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGS))
        yield browser
        browser.close()


class Watch:
    """A page whose console is listened to: what a browser complains about fails the test."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self._hear("error", str(error)))

    def _hear(self, kind: str, text: str) -> None:
        # An answer of 403, 404, 409 or 422 is what some tests ask for; the browser notes it as a failed load.
        # A poll that is cut off as the page is left is noted by htmx, and is nobody's mistake.
        fine = ("Failed to load resource", "htmx:afterRequest", "htmx:sendError", "htmx:sendAbort")
        if kind in ("error", "warning") and not text.startswith(fine):
            self.complaints.append(text)


@pytest.fixture
def watch(chromium: Any) -> Iterator[Watch]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    watched = Watch(context.new_page())
    yield watched
    context.close()
    assert watched.complaints == []


def sign_in(page: Any, console: Console, name: str = "mara") -> None:
    from tests.web.seed import PASSWORD

    page.goto(console.url + "/session/sign-in")
    page.fill("#id_login", name)
    page.fill("#id_password", PASSWORD)
    page.press("#id_password", "Enter")
    page.wait_for_selector("text=End session")
