"""Our side of commit → live, as a process: ``python live.py``, configured by the environment.

Prints ``ready``, then for each activation the revision and the monotonic second at which it was in force.
"""

from __future__ import annotations

import threading
import time

from liverouter import LiveRouter
from liverouter.events import ConfigApplied, Event, ListenerConnected

heard = threading.Event()


def say(line: str) -> None:
    """Tell the parent *line*, from any thread."""
    print(line + "\n", end="", flush=True)  # noqa: T201 - in one piece: print() writes the newline by itself


def observe(event: Event) -> None:
    """Print activations; note that notifications arrive."""
    if isinstance(event, ConfigApplied):
        say(f"{event.revision} {time.monotonic()}")
    elif isinstance(event, ListenerConnected):
        heard.set()


if __name__ == "__main__":
    with LiveRouter(observers=(observe,)) as live:
        live.wait_ready()
        heard.wait()
        say("ready")
        threading.Event().wait()
