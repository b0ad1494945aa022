"""A parent of one engine, and children made of it in every way: python -m tests.kit.forks native|litellm.

First it only imports, then one of its clients runs, then its default client is live and called. Parent and children
write one JSON line each time they know something; the test compares.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import psutil

import liverouter
from liverouter.default import default_client
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverouter.events import Event

CHILDREN: Final = {  # of the live parent
    "native": ("os.fork", "multiprocessing fork", "multiprocessing spawn"),
    "litellm": ("os.fork", "prefork"),
}
_WAIT_S: Final = 120.0  # a child waits for the others, of which a spawned one imports everything anew


def say(**facts: Any) -> None:
    """Write one line in one piece."""
    os.write(sys.stdout.fileno(), (json.dumps(facts) + "\n").encode())


def tell(who: str, **facts: Any) -> None:
    """Say *facts* of a process that is live, and where its client stands."""
    status, client = liverouter.status(), default_client()
    say(part="live", who=who, pid=os.getpid(), listener=status.backend_pid, client=client.client_id, **facts)


def call(name: str = "default") -> str:
    """Return which model serves *name* now."""
    return str(liverouter.get_chat_model(name).invoke("hi").content).partition(" says")[0]


def serve() -> None:
    """Be a child: tell the first answer, that it listens, and the answer of the next revision."""
    tell("child", first=call(), named=call("fast"))
    until(lambda: liverouter.status().mode == "listen", _WAIT_S)
    began = liverouter.status().revision
    tell("child", hears=True)
    until(lambda: liverouter.status().revision != began, _WAIT_S)
    tell("child", then=call(), named=call("fast"))


def os_fork(child: Callable[[], None]) -> Callable[[], None]:
    """Fork as a script does; the child ends without cleaning up."""
    if not (pid := os.fork()):
        code = 1
        try:
            child()
            code = 0
        finally:
            os._exit(code)
    return lambda: _reap(pid)


def prefork(child: Callable[[], None]) -> Callable[[], None]:
    """Fork as gunicorn and Celery do: an application preloaded, workers that handle signals and exit in good order."""
    if not (pid := os.fork()):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        child()
        sys.exit(0)
    return lambda: _reap(pid)


def _multiprocessing(method: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Return what starts a child by the start *method*."""

    def start(child: Callable[[], None]) -> Callable[[], None]:
        context: Any = multiprocessing.get_context(method)
        process = context.Process(target=child)
        process.start()

        def join() -> None:
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


def _reap(pid: int) -> None:
    """Wait for the end of a child, which must be in good order."""
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status


def preloaded(engine: str) -> None:
    """Import what two children need, who answer and tell what else they had to import."""
    liverouter.preload(litellm=True if engine == "litellm" else None)  # else as the environment says
    process, loaded = psutil.Process(), set(sys.modules)
    sockets = [repr(socket) for socket in process.net_connections("all")]
    threads, frozen = process.num_threads(), gc.get_freeze_count() > 100_000

    def child() -> None:
        answer = liverouter.get_chat_model().invoke("hi")
        served, imported = answer.response_metadata["liverouter"]["engine"], len(set(sys.modules) - loaded)
        loads = [name for name in ("alembic", "litellm", "sqlalchemy") if name in sys.modules]
        say(part="preloaded", who="child", said=answer.text, engine=served, imported=imported, loads=loads)

    for join in [os_fork(child) for _ in range(2)]:
        join()
    say(part="preloaded", who="parent", threads=threads, sockets=sockets, frozen=frozen)


def subscribed() -> None:
    """Fork while observers are added to a client; parent and child tell what each of them heard since."""
    heard: dict[str, list[str]] = {"stays": [], "ends later": [], "ended before": []}
    applied = threading.Event()
    with liverouter.LiveRouter() as live:
        live.wait_ready()
        ends = {who: live.subscribe(_note(names)) for who, names in heard.items()}
        ends["ended before"]()

        def child() -> None:
            for names in heard.values():
                names.clear()
            live.subscribe(lambda event: applied.set() if event.name == "config.applied" else None)
            live.start()
            assert applied.wait(_WAIT_S)
            ends["ends later"]()
            live.close()
            say(part="subscribed", who="child", **heard)

        os_fork(child)()
        for names in heard.values():
            names.clear()
    say(part="subscribed", who="parent", **heard)


def _note(names: list[str]) -> Callable[[Event], None]:
    return lambda event: names.append(event.name)


def live(engine: str) -> None:
    """Be live, make children, and see that everybody stays so."""
    tell("parent", first=call(), named=call("fast"))
    until(lambda: liverouter.status().mode == "listen", _WAIT_S)
    tell("parent", hears=True)
    busy = threading.Event()
    caller = threading.Thread(target=_keep_calling, args=(busy,), daemon=True)
    caller.start()  # forks happen in the middle of calls
    joins = [KINDS[kind](serve) for kind in CHILDREN[engine]]
    busy.set()
    caller.join()
    tell("parent", forked=True)
    for join in joins:
        join()
    until(lambda: call() == "second", _WAIT_S)
    tell("parent", then="second", named=call("fast"), reconnects=liverouter.status().reconnects)


def _keep_calling(enough: threading.Event) -> None:
    while not enough.is_set():
        call()


def main(engine: str) -> None:
    """Go through it all."""
    preloaded(engine)
    if engine == "native":  # what is heard depends on no engine
        subscribed()
    live(engine)


if __name__ == "__main__":
    main(sys.argv[1])
