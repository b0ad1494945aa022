"""A process that uses liverouter and never stops calling, and its handle in the test: both ends of one protocol.

The process is `python -m tests.kit.processes`, configured by the environment. It writes one JSON line for each event
and answers each line on its standard input; at "call" it calls once more.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

import psutil

if TYPE_CHECKING:
    from liverouter.events import Event

_ROOT: Final = Path(__file__).parents[2]


class Worker:
    """One process that follows *dsn* and calls; killed on leaving.

    Attributes:
        revision: that it applied last.
        errors: what it wrote to standard error, log lines apart.
        log: the events of its log lines.
    """

    def __init__(self, dsn: str, **options: str) -> None:
        """Prepare; *options* are environment variables. It is native unless they say otherwise: it starts sooner."""
        self._environ = os.environ | {
            "LITELLM_ENABLE": "false",
            "LIVEROUTER_DATABASE_URL": dsn,
            "LIVEROUTER_APP": "worker",
            "LIVEROUTER_POLL_INTERVAL_S": "1",
            "LIVEROUTER_PROBE_INTERVAL_S": "0.5",
            "LIVEROUTER_HEARTBEAT_INTERVAL_S": "0.5",
            **options,
        }
        self._lines: deque[dict[str, Any]] = deque(maxlen=10_000)
        self.revision = 0
        self._news = threading.Condition()
        self._numbers = itertools.count(1)
        self._calls = 0
        self.errors = ""
        self.log: list[str] = []

    def __enter__(self) -> Self:
        argv = [sys.executable, "-m", "tests.kit.processes"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            argv, cwd=_ROOT, env=self._environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()
        try:
            self.wait(ready=True, timeout_s=150)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.send_signal(signal.SIGCONT)
        self._process.wait(60)
        for reader in self._readers:
            reader.join(60)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def ask(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """Return where it stands."""
        number = str(next(self._numbers))
        self._tell(number)
        return self.wait(answer=number, timeout_s=timeout_s)

    def call(self, timeout_s: float = 60.0) -> str:
        """Have it call once and return the answer."""
        self._calls += 1
        self._tell("call")
        return str(self.wait(answer="call", count=self._calls, timeout_s=timeout_s)["text"])

    def ended(self, timeout_s: float) -> int:
        """Wait for its end, *timeout_s* seconds at most, and return its exit code."""
        code = self._process.wait(timeout_s)
        for reader in self._readers:
            reader.join(60)
        return code

    def wait(self, *, timeout_s: float = 60.0, count: int = 1, **facts: Any) -> dict[str, Any]:
        """Return the *count*-th line that has these *facts*, waiting up to *timeout_s* seconds.

        Raises:
            TimeoutError: it did not come; carries the events and errors so far.
        """
        end = time.monotonic() + timeout_s
        with self._news:
            while len(found := [line for line in self._lines if facts.items() <= line.items()]) < count:
                if not self._news.wait(end - time.monotonic()):
                    names = [line.get("event") for line in self._lines]
                    raise TimeoutError(f"{facts} not within {timeout_s:g} s; {names}; {self.errors}")
            return found[count - 1]

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                facts = json.loads(line)
                self._lines.append(_Line(facts))
                if facts.get("event") == "config.applied":
                    self.revision = facts["revision"]
                self._news.notify_all()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.startswith("{"):  # log lines are JSON
                self.log.append(json.loads(line)["event"])
            else:
                self.errors += line


class _Line(dict[str, Any]):
    """A line that `wait` compares with facts."""

    def items(self) -> Any:
        """Return the items as a set, lists and objects left out, which no set can hold."""
        return {(k, v) for k, v in super().items() if not isinstance(v, list | dict)}


# the process itself

_write = threading.Lock()


def _say(**facts: Any) -> None:
    """Write one line, whole."""
    line = json.dumps(facts, default=str) + "\n"
    with _write:
        sys.stdout.write(line)
        sys.stdout.flush()


def main() -> None:
    """Serve until standard input ends, or SIGTERM comes."""
    from liverouter import LiveRouter, client
    from liverouter.engine import engine
    from tests.kit.follower import Load

    client._CLOSE_S = engine._GOODBYE_S = 20.0  # type: ignore[misc]  # noqa: SLF001 - else the goodbye has a second

    def ended(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, ended)

    def tell(event: Event) -> None:
        _say(event=event.name, **event.facts())

    with LiveRouter(observers=(tell,)) as live:
        live.wait_ready()
        load = Load(live.chat_model(), threads=int(os.environ.get("WORKER_THREADS", "1")), keep=100)
        process = psutil.Process()
        _say(ready=True, pid=os.getpid())
        for line in sys.stdin:
            if line.strip() == "call":
                _say(answer="call", text=live.chat_model().invoke("hi").text)
                continue
            status = live.status()
            _say(
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
    _say(closed=True)


if __name__ == "__main__":
    main()
