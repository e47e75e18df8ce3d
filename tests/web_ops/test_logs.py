"""Logs: one line each, with the event's key, ours and others' alike, and without what a store quotes of a row."""

from __future__ import annotations

import json
import subprocess
import sys

CODE = """
import logging, structlog
from redshank.web.logs import setup
setup("FORM", "info")
with structlog.contextvars.bound_contextvars(event_key="marsh/evt-1"):
    structlog.get_logger("redshank.pipeline").info("event.walked", findings=2)
    logging.getLogger("somebody.else").warning("took %d tries", 3)
    try:
        raise ValueError("duplicate key\\nDETAIL:  Key (handle)=(someone) already exists.")
    except ValueError:
        structlog.get_logger("redshank.pipeline").exception("event.walk_failed")
logging.getLogger("httpx").info("GET http://127.0.0.1/")
structlog.get_logger("redshank").debug("too quiet")
"""


def lines(form: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE.replace("FORM", form)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_json_lines_carry_the_events_key_and_no_content() -> None:
    entries = [json.loads(line) for line in lines("json")]
    assert [entry["message"] for entry in entries] == ["event.walked", "took 3 tries", "event.walk_failed"]
    assert {entry["event_key"] for entry in entries} == {"marsh/evt-1"}
    assert entries[0]["findings"] == 2
    assert entries[1]["logger"] == "somebody.else"
    assert "ValueError" in entries[2]["exception"]
    assert "someone" not in str(entries)


def test_text_is_for_people_and_says_the_same() -> None:
    text = "\n".join(lines("text"))
    assert "event.walked" in text
    assert text.count("event_key=marsh/evt-1") == 3
    assert "someone" not in text
    assert "too quiet" not in text
    assert "httpx" not in text
