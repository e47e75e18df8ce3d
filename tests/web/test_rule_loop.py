"""A rule from the first mistake to its first case, in real processes: written by one person, set live by another.

Redshank's server and worker run as an operator starts them; the past is ingested from a file, as the demo's day would be;
a browser is both people. All waiting is for what must appear, however slow the machine is.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import run
from typing import Any

import httpx
import msgspec
import pytest

from redshank.demo.stage import Stage, free_ports
from tests.web.conftest import Watch

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
PATIENCE = 120_000
"""Milliseconds in which anything must have happened; no test that passes waits so long."""
MISTAKEN = """\
rules:
  - id: calls-to-the-march
    policy: recruitment
    description: A young account calls people to the march.
    when: contians(post.text, "join the march") and account.age < days(7)
    effects:
      - preserve
      - open_case: {queue: review, priority: 60, deadline: 12 h}
    fires_on:
      - post: {text: "Join the march tonight"}
        account: {age: 2 days}
    silent_on:
      - post: {text: "Police ask people to stay away from the march"}
        account: {age: 2 days}
"""


class Loop(msgspec.Struct, frozen=True):
    """Where the console is, the API's key, and each person's password."""

    url: str
    key: str
    passwords: dict[str, str]


def post(number: int, text: str, at: datetime, *, old: bool = False) -> dict[str, Any]:
    born = at - timedelta(days=400 if old else 2)
    return {
        "id": f"e-{number}", "network": "marsh", "type": "post.created", "at": at.isoformat(),
        "account": {"id": f"a-{number % 7}-{old}", "handle": f"reed_{number % 7}", "created_at": born.isoformat()},
        "post": {"id": f"p-{number}", "text": text},
    }  # fmt: skip


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("rule-loop")
    (port,) = free_ports(1)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REDSHANK_")}
    environ |= {"REDSHANK_DATA_DIR": str(folder / "data"), "REDSHANK_PORT": str(port)}
    redshank = [str(Path(sys.executable).with_name("redshank"))]

    def say(*words: str) -> str:
        done = run([*redshank, *words], env=environ, cwd=folder, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
        return done.stdout

    say("migrate")
    passwords = {name: say("people", "add", name, "--role", role).strip() for name, role in (("lee", "lead"), ("ada", "admin"))}  # fmt: skip
    told = say("connect", "marsh", "--name", "Marsh", "--url", "http://127.0.0.1:9/", "--verb", "remove")
    key = next(word for word in told.split() if word.startswith("rsk_"))
    now = datetime.now(UTC)
    texts = ("Good morning from the marsh", "Join the march tonight, bring a friend", "They tell us: join the march")
    events = [post(number, texts[number % 3], now - timedelta(hours=3 * number), old=number % 3 == 2) for number in range(60)]  # fmt: skip
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    say("ingest", str(folder / "events.jsonl"))
    with Stage(folder / "logs", environ) as stage:
        stage.start("server", [*redshank, "serve"], cwd=folder)
        stage.start("worker", [*redshank, "worker"], cwd=folder)
        stage.wait_for("server", f"http://127.0.0.1:{port}/readyz")
        yield Loop(f"http://127.0.0.1:{port}", key, passwords)
        stage.check()


def sign_in(page: Any, loop: Loop, name: str) -> None:
    page.goto(loop.url + "/session/sign-in")
    page.fill("#id_login", name)
    page.fill("#id_password", loop.passwords[name])
    page.keyboard.press("Enter")
    page.wait_for_selector("text=End session")


def axe_finds_nothing(page: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    assert [f"{one['id']} {one['nodes'][0]['target']}" for one in violations] == []


def test_from_the_first_mistake_to_the_first_case(watch: Watch, loop: Loop) -> None:
    page, keys = watch.page, watch.page.keyboard
    page.set_default_timeout(PATIENCE)
    sign_in(page, loop, "lee")
    keys.press("g")
    keys.press("r")
    page.wait_for_selector("h1:has-text('Rules')")
    page.wait_for_load_state("networkidle")
    keys.press("n")
    page.wait_for_selector("#text")
    page.wait_for_load_state("networkidle")

    # A new line is indented as the one before.
    page.fill("#text", "rules:\n  - id: x")
    keys.press("Enter")
    keys.type("effects:")
    keys.press("Enter")
    keys.type("- preserve")
    assert page.input_value("#text") == "rules:\n  - id: x\n    effects:\n      - preserve"

    # Written with a mistake, which is shown while one writes; from there to its place, and mended.
    page.fill("#text", MISTAKEN)
    error = page.locator("#said [data-severity=error]")
    error.wait_for()
    assert "unknown function contians" in error.inner_text()
    assert "Did you mean contains?" in error.inner_text()
    assert "^^^^^^^^" in error.inner_text()
    axe_finds_nothing(page)
    error.locator("button").focus()
    keys.press("Enter")
    assert page.evaluate("document.activeElement.id") == "text"
    assert page.evaluate("getSelection().toString() || text.value.slice(text.selectionStart, text.selectionEnd)") == "contians"  # fmt: skip
    keys.type("contains")
    page.wait_for_selector("#said :text('No errors. 2 examples came out right.')")
    page.fill("#note", "A new wave since this morning.")
    page.locator("button[value=backtest]").focus()
    keys.press("Enter")

    # Tried on the past, by the worker.
    chosen = page.locator("label:has-text('calls-to-the-march') input")
    chosen.wait_for()
    assert chosen.is_checked()
    page.locator("main button.primary").focus()
    keys.press("Enter")
    page.wait_for_selector("text=60 events")
    said = page.locator("section.panel").inner_text()
    assert [page.locator(".tally").nth(at).inner_text() for at in (0, 2)] == ["20", "20"]
    assert "post.text = «Join the march»" in said
    assert "Nobody has decided on any of them yet." in said
    axe_finds_nothing(page)

    # Sent to a second person.
    page.click("main a:has-text('calls-to-the-march')")
    page.click("button:has-text('Send version 1 to review')")
    page.wait_for_selector("text=Version 1 waits for a second person")
    page.goto(loop.url + "/rules/calls-to-the-march/versions/1")
    assert page.locator("button:has-text('Approve')").count() == 0
    assert page.locator("button:has-text('Set live')").count() == 0
    keys.press("x")
    page.wait_for_selector("#id_login")

    # Who looks at it, and sets it live.
    sign_in(page, loop, "ada")
    page.goto(loop.url + "/rules")
    page.click("a:has-text('calls-to-the-march, version 1')")
    page.fill("#r-note", "It names the call alone.")
    page.click("button:has-text('Approve')")
    page.click("button:has-text('Set live')")
    page.wait_for_selector("text=Version 1 is live.")

    # It fires.
    def send(number: int) -> None:
        event = post(number, "Join the march at dusk", datetime.now(UTC))
        headers = {"Authorization": f"Bearer {loop.key}"}
        answer = httpx.post(f"{loop.url}/api/v1/events", json=event, headers=headers, timeout=60)
        assert answer.status_code < 300, answer.text

    time.sleep(2)  # By then every process has it.
    send(1000)
    page.goto(loop.url)
    page.click("#cases a[data-stop]")
    page.wait_for_selector("text=A young account calls people to the march.")
    assert page.locator("text=calls-to-the-march").count() >= 1
    page.goto(loop.url + "/rules/calls-to-the-march")
    page.wait_for_selector(".did .tally")
    assert page.locator(".did .tally").first.inner_text() == "1"
    axe_finds_nothing(page)
