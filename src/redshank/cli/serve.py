"""`redshank serve`: the console and the API, by granian."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import socket
import threading
import time
from typing import Any

import click

from redshank.cli._django import with_store
from redshank.core.errors import Problem

MOST_THREADS = 8
"""Threads of one server process, at most. More would only wait for the same interpreter, each with its own connection to the store."""


@click.command()
@click.option("--host", help="Address to listen on; else the setting `host`.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on; else the setting `port`.")
@click.option("--workers", type=click.IntRange(1), help="Processes to start; else the setting `workers`.")
@with_store
def command(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve the console and the API until SIGTERM or Ctrl-C; requests that are under way are finished.

    What comes in is walked here; what waits for its media, and actions that leave, need `redshank worker` beside it.
    """
    import structlog
    from django.conf import settings
    from django.db import connections
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from granian.server import Server

    from redshank import counters
    from redshank.web import health, logs

    for check in health.run((health.store, health.migrations, health.rules)):
        if check.state == "fail":
            raise Problem(check.says, where=check.name, hint=check.todo)
        if check.state == "warn":
            structlog.get_logger(__name__).warning("serve.warned", check=check.name, says=check.says, todo=check.todo)
    connections.close_all()
    counters.fold()
    ours = settings.REDSHANK
    multiprocessing.set_start_method("spawn", force=True)  # A fork would share the store's connection and the locks.
    _await_port(host or ours.host, port or ours.port)
    server = Server(
        "redshank.web.wsgi:application",
        address=host or ours.host,
        port=port or ours.port,
        interface=Interfaces.WSGI,
        workers=workers or ours.workers,
        blocking_threads=min(MOST_THREADS, 2 * multiprocessing.cpu_count() + 1),
        backpressure=128,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=30,
        log_level=LogLevels.warning if ours.log_level == "info" else LogLevels(ours.log_level),
        log_dictconfig=logs.dict_config(ours.log_format, ours.log_level),
    )
    click.echo(f"Redshank is at http://{_bracketed(host or ours.host)}:{port or ours.port}/", err=True)
    server.serve(target_loader=load)


def load(target: str) -> Any:
    """The application, in a server process of its own: one that ends when its parent does, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), name="follow-parent", daemon=True).start()
    from redshank.web.wsgi import application

    _know()
    return application


def _know() -> None:
    """Open what is known before anybody asks; where the store does not answer now, the first who asks will."""
    from django.db import DatabaseError, connections

    from redshank.banks import services as banks

    with contextlib.suppress(DatabaseError):
        banks.known()
    connections.close_all()


def _await_port(host: str, port: int) -> None:
    """Wait a moment for the port to be free: a server that was just killed may hold it still.

    granian shares its port with others who do the same, so that two servers of different data would answer by turns.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    for seconds in (0.2, 0.5, 1, 2, None):
        with socket.socket(family, kind, protocol) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise Problem(f"cannot listen there: {error.strerror}", where=f"{host} port {port}") from None
            else:
                return
        if seconds is None:
            raise Problem(
                "something else listens there already", where=f"port {port}", hint="Choose another with --port."
            )
        time.sleep(seconds)


def _follow(parent: Any) -> None:
    parent.join()
    os._exit(1)  # The parent was killed: without it nobody would ever stop us, and the port would stay taken.


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
