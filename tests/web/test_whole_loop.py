"""The whole loop in real processes: a post on the example platform, a case, a person's decision, and back again.

Redshank's server and worker and the example platform run as an operator would start them, from the commands that the
README names; a browser is the moderator.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import run
from typing import Any

import httpx
import msgspec
import pytest

from redshank.demo.stage import Stage, free_ports
from tests.web.conftest import ROOT, Watch

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
TOLD = "Come to the iron wolf brigade, DM me."


class Loop(msgspec.Struct, frozen=True):
    """Where the console and the platform are, and the moderator's password."""

    console: str
    marsh: str
    password: str


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("loop")
    port, marsh_port = free_ports(2)
    console, marsh = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{marsh_port}"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REDSHANK_")}
    environ |= {"REDSHANK_DATA_DIR": str(folder / "data"), "REDSHANK_PORT": str(port)}
    redshank = [str(Path(sys.executable).with_name("redshank"))]

    def say(*words: str) -> str:
        done = run([*redshank, *words], env=environ, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    say("migrate")
    password = say("people", "add", "mara", "--role", "moderator").strip()
    say("banks", "make", "slogans", "--kind", "term", "--policy", "recruitment", "--severity", "3")
    say("banks", "add", "slogans", "iron wolf brigade")
    verbs = [word for verb in ("remove", "suspend", "restore") for word in ("--verb", verb)]
    told = say("connect", "marsh", "--name", "Marsh", "--url", f"{marsh}/redshank", *verbs)
    key, secret = (next(word for word in told.split() if word.startswith(start)) for start in ("rsk_", "whsec_"))
    with Stage(folder / "logs", environ) as stage:
        stage.start("server", [*redshank, "serve"], cwd=folder)
        stage.start("worker", [*redshank, "worker"], cwd=folder)
        platform = [sys.executable, "-m", "examples.platform", "--port", str(marsh_port), "--redshank", console]
        stage.start(
            "marsh", [*platform, "--key", key, "--secret", secret, "--store", str(folder / "marsh.db")], cwd=ROOT
        )
        stage.wait_for("server", f"{console}/readyz")
        stage.wait_for("marsh", f"{marsh}/summary.json")
        yield Loop(console, marsh, password)
        stage.check()


def publish(loop: Loop, who: str) -> None:
    httpx.post(f"{loop.marsh}/accounts", json={"id": who, "handle": who}).raise_for_status()
    httpx.post(f"{loop.marsh}/posts", json={"account": who, "text": TOLD}).raise_for_status()


def state(loop: Loop, who: str) -> str:
    found: str = httpx.get(f"{loop.marsh}/accounts/{who}.json").json()["state"]
    return found


def wait_until_listed(page: Any, loop: Loop) -> None:
    for _ in range(100):
        page.goto(loop.console)
        if page.locator("#cases a[data-stop]").count():
            return
        page.wait_for_timeout(200)
    raise AssertionError("the post did not become a case")


def test_by_mouse(watch: Watch, loop: Loop) -> None:
    publish(loop, "heron")
    page = watch.page
    page.goto(loop.console)
    page.fill("#id_login", "mara")
    page.fill("#id_password", loop.password)
    page.click("button:has-text('Sign in')")
    page.wait_for_selector("text=End session")
    wait_until_listed(page, loop)
    page.click("#cases a[data-stop]")
    page.wait_for_selector("mark:has-text('iron wolf brigade')")
    page.click("label:has(input[value='suspend:account'])")
    page.fill("#reason", "It recruits for an armed group.")
    page.click("button:has-text('Submit'):not(:has-text('next'))")
    page.wait_for_selector("#actions .badge:has-text('confirmed')")
    assert state(loop, "heron") == "suspended"
    page.fill("#undo-reason", "He quoted it.")
    page.click("text=Undo the decision")
    page.wait_for_selector("text=The decision is undone")
    page.wait_for_selector("#actions .badge:has-text('confirmed') >> nth=1")
    assert state(loop, "heron") == "active"
    page.click("label:has(input[name=outcome][value=no_violation])")
    page.click("button:has-text('Submit'):not(:has-text('next'))")
    page.wait_for_selector("text=no violation")


def test_by_keyboard_alone(watch: Watch, loop: Loop) -> None:
    publish(loop, "egret")
    page, keys = watch.page, watch.page.keyboard
    page.goto(loop.console)
    page.wait_for_selector("#id_login:focus")  # given by the first painting, which may follow loading
    keys.type("mara")
    keys.press("Tab")
    keys.type(loop.password)
    keys.press("Enter")
    page.wait_for_selector("text=End session")
    wait_until_listed(page, loop)
    page.wait_for_load_state("networkidle")
    keys.press("j")
    keys.press("Enter")
    page.wait_for_url("**/cases/*")
    page.wait_for_load_state("networkidle")
    keys.press("3")
    keys.press("a")
    keys.press("S")
    keys.press("w")
    keys.type("It recruits for an armed group.")
    keys.press("Escape")
    keys.press("s")
    page.wait_for_selector("#actions .badge:has-text('confirmed')")
    assert state(loop, "egret") == "suspended"
    keys.press("z")
    page.wait_for_selector("text=The decision is undone")
    page.wait_for_selector("#actions .badge:has-text('confirmed') >> nth=1")
    assert state(loop, "egret") == "active"
