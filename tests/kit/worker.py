"""A process that uses liverouter and never stops calling, to be frozen and ended: python -m tests.kit.worker.

It is configured by the environment, writes one JSON line for each event and answers each line on standard input; at
"call" it calls once more.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import psutil

if TYPE_CHECKING:
    from liverouter.events import Event

_write = threading.Lock()


def say(**facts: Any) -> None:
    """Write one line, whole."""
    line = json.dumps(facts, default=str) + "\n"
    with _write:
        sys.stdout.write(line)
        sys.stdout.flush()


def main() -> None:
    """Serve until standard input ends, "stop" comes, or SIGTERM does."""
    from liverouter import LiveRouter
    from tests.kit.follower import Load

    def ended(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, ended)

    def tell(event: Event) -> None:
        say(event=event.name, **event.facts())

    with LiveRouter(observers=(tell,)) as live:
        live.wait_ready()
        load = Load(live.chat_model(), threads=int(os.environ.get("WORKER_THREADS", "1")), keep=100)
        process = psutil.Process()
        say(ready=True, pid=os.getpid())
        for line in sys.stdin:
            if line.strip() == "stop":
                break
            if line.strip() == "call":
                say(answer="call", text=live.chat_model().invoke("hi").text)
                continue
            status = live.status()
            say(
                answer=line.strip(),
                state=status.state,
                revision=status.revision,
                calls=load.count,
                last=load.calls[-1].model if load.calls else None,
                failed=len(load.failures),
                failures=[repr(f) for f in load.failures[:3]],
                rss_mb=process.memory_info().rss / 2**20,
                descriptors=process.num_fds(),
            )
        load.stop()
    say(closed=True)


if __name__ == "__main__":
    main()
