"""Start Marsh: `python -m examples.platform --port 8091 --redshank URL --key rsk_… --secret whsec_… --store FILE`."""

from __future__ import annotations

import argparse
import os
import signal
import threading

from examples.platform.marsh import Marsh, serve


def main() -> None:
    """Serve until SIGTERM or Ctrl-C. Whatever is stored by then is there at the next start."""
    parser = argparse.ArgumentParser(prog="python -m examples.platform", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8091, help="0 takes a free one (default: 8091)")
    parser.add_argument("--network", default="marsh", help="its name in Redshank (default: marsh)")
    parser.add_argument("--redshank", default="", help="where Redshank is, such as http://127.0.0.1:8090")
    parser.add_argument("--key", default=os.environ.get("MARSH_KEY", ""), help="API key (or MARSH_KEY)")
    parser.add_argument("--secret", default=os.environ.get("MARSH_SECRET", ""), help="webhook secret (or MARSH_SECRET)")
    parser.add_argument("--store", default="marsh.sqlite3", help="file that keeps everything (default: marsh.sqlite3)")
    parser.add_argument(
        "--url-above", type=int, default=4 * 1024 * 1024, help="larger media are told by URL, not by bytes"
    )
    parser.add_argument("--later", action="store_true", help="answer actions with 202 and do them a moment later")
    asked = parser.parse_args()
    marsh = Marsh(asked.store, network=asked.network, secret=asked.secret, later=asked.later, url_above=asked.url_above)
    with serve(marsh, asked.host, asked.port, redshank=asked.redshank, key=asked.key) as url:
        print(f"Marsh is at {url}", flush=True)
        done = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: done.set())
        done.wait()
    marsh.close()


if __name__ == "__main__":
    main()
