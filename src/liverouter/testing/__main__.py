"""`python -m liverouter.testing --provider openai`: a stand-in in a process of its own, for benchmarks and by hand."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from liverouter.testing.dialects.providers import PROVIDERS
from liverouter.testing.standin.server import StandIn


def main(arguments: list[str] | None = None) -> int:
    """Print the base URL for clients, then serve until SIGINT or SIGTERM. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m liverouter.testing", description=main.__doc__)
    parser.add_argument("--provider", choices=PROVIDERS, required=True, help="whose wire format to speak")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0, the default, takes a free one")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="milliseconds before every answer")
    parser.add_argument("--fail", metavar="KIND", help="fail every request in this way, such as 500 or hang")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with StandIn(options.provider, port=options.port, keep=0) as standin:
        standin.delay(options.delay_ms / 1000)
        if options.fail:
            standin.fail(options.fail)
        sys.stdout.write(standin.api_base + "\n")
        sys.stdout.flush()
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
