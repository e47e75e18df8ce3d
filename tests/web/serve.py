"""Serves the console for the browser tests: a process and a store of its own, filled with stand-ins.

`python -m tests.web.serve` prints one line of JSON, its port and the ids of the cases, and serves until it is ended.
"""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Handler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "redshank.web.settings"
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from tests.web.seed import plant
    from tests.web.seed_rules import plant_rules

    ids = plant()
    ids |= plant_rules(datetime.now(UTC).replace(microsecond=0))
    from redshank.web.wsgi import application

    server = make_server("127.0.0.1", 0, application, Server, Handler)
    print(json.dumps({"port": server.server_port, "ids": ids}), flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    import sys

    sys.stdin.read()  # ends when whoever started us does


if __name__ == "__main__":
    main()
