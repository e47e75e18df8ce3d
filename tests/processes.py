"""Processes of their own on a store of their own, to be watched and killed."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.db import connection

ROOT = Path(__file__).parents[1]


@contextmanager
def store(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a fresh store, on the kind of store that the tests run on."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REDSHANK_")}
    environ |= {"REDSHANK_DATA_DIR": str(tmp_path / "data"), "DJANGO_SETTINGS_MODULE": "redshank.web.settings"}
    environ |= {"REDSHANK_LOG_LEVEL": "error"}
    if connection.vendor != "postgresql":
        yield environ
        return
    at = connection.settings_dict
    name = f"kill_{uuid.uuid4().hex}"
    address = f"postgresql://{at['USER']}@{at['HOST']}:{at['PORT']}"
    with psycopg.connect(f"{address}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield {**environ, "REDSHANK_DATABASE": f"{address}/{name}"}
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running(*args: str, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, *args], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def call(*args: str, environ: dict[str, str]) -> str:
    """What `python -m args` says, which is to end well."""
    done = subprocess.run(
        [sys.executable, "-m", *args], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
