"""A parent that is live, and children of each kind that is made from it: python -m tests.kit.forks KIND.

Parent and children write one JSON line each time they know something; the test compares.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import liverouter
from liverouter.default import default_client
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

WORKERS: Final = {"os.fork": 2, "prefork": 2, "multiprocessing fork": 2, "multiprocessing spawn": 1}  # by kind
_WAIT_S: Final = 120.0  # a child waits for the others, of which a spawned one imports everything anew


def tell(who: str, **facts: Any) -> None:
    """Write one line in one piece."""
    status = liverouter.status()
    line = json.dumps(
        {
            "who": who,
            "pid": os.getpid(),
            "revision": status.revision,
            "listener": status.backend_pid,
            "client": default_client().client_id,
            **facts,
        }
    )
    os.write(sys.stdout.fileno(), (line + "\n").encode())


def call(name: str = "default") -> str:
    """Return which model serves *name* now."""
    return str(liverouter.get_chat_model(name).invoke("hi").content).partition(" says")[0]


def serve(who: str) -> None:
    """Tell the first answer, that it listens, and the answer of the next revision."""
    tell(who, first=call(), named=call("fast"))
    until(lambda: liverouter.status().mode == "listen", _WAIT_S)
    began = liverouter.status().revision
    tell(who, hears=True)
    until(lambda: liverouter.status().revision != began, _WAIT_S)
    tell(who, then=call(), named=call("fast"))


def os_fork(child: Callable[[], None]) -> Callable[[], None]:
    """Fork as a script does; the child ends without cleaning up."""
    pids = []
    for _ in range(WORKERS["os.fork"]):
        if not (pid := os.fork()):
            code = 1
            try:
                child()
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    return lambda: _reap(pids)


def prefork(child: Callable[[], None]) -> Callable[[], None]:
    """Fork as gunicorn and Celery do: an application preloaded, workers that handle signals and exit in good order."""
    pids = []
    for _ in range(WORKERS["prefork"]):
        if not (pid := os.fork()):
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            child()
            sys.exit(0)
        pids.append(pid)
    return lambda: _reap(pids)


def _multiprocessing(method: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Return what starts children by the start *method*; they run `serve`, as a spawned one is given no function."""

    def start(_: Callable[[], None]) -> Callable[[], None]:
        context: Any = multiprocessing.get_context(method)
        children = [context.Process(target=serve, args=("child",)) for _ in range(WORKERS[f"multiprocessing {method}"])]
        for process in children:
            process.start()

        def join() -> None:
            for process in children:
                process.join()  # each of its waits has an end
                assert process.exitcode == 0, process.exitcode

        return join

    return start


KINDS: Final = {
    "os.fork": os_fork,
    "prefork": prefork,
    "multiprocessing fork": _multiprocessing("fork"),
    "multiprocessing spawn": _multiprocessing("spawn"),
}


def _reap(pids: list[int]) -> None:
    """Wait for the end of each child, which must be in good order."""
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status


def main(kind: str) -> None:
    """Be live, make children, and see that everybody stays so."""
    tell("parent", first=call(), named=call("fast"))
    until(lambda: liverouter.status().mode == "listen", _WAIT_S)
    tell("parent", hears=True)
    busy = threading.Event()
    caller = threading.Thread(target=_keep_calling, args=(busy,), daemon=True)
    caller.start()  # forks happen in the middle of calls
    join = KINDS[kind](lambda: serve("child"))
    busy.set()
    caller.join()
    tell("parent", forked=True)
    join()
    until(lambda: call() == "second", _WAIT_S)
    tell("parent", then="second", named=call("fast"), reconnects=liverouter.status().reconnects)


def _keep_calling(enough: threading.Event) -> None:
    while not enough.is_set():
        call()


if __name__ == "__main__":
    main(sys.argv[1])
