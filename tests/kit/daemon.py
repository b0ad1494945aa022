"""`liverouter serve` as a process of its own, for tests that look at it from outside."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, Self

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_START_S: Final = 120.0  # a busy machine, and nothing compiled yet
_ANSWER_S: Final = 90.0  # the same; httpx gives up after 5 s by itself
_END_S: Final = 90.0


class Daemon:
    """One daemon on a free port; `with Daemon(...) as daemon`. SIGTERM ends it, and its exit code must be 0.

    Its engine is the native one unless rows or *environment* say otherwise: litellm takes seconds of CPU to import.

    Attributes:
        said: its lines on standard output so far.
        token: the one that was given, or the one that it made.
    """

    def __init__(
        self, *arguments: str, log: Path, program: Sequence[str] = ("-m", "liverouter"), **environment: str
    ) -> None:
        """Prepare; without `--data-dir` its data folder lies beside *log*, which takes its standard error.

        *program* is what Python runs, and is given `serve` and the *arguments*.
        """
        self._arguments, self.log, self._program = arguments, log, program
        self._environment = {"LITELLM_ENABLE": "false", **environment}
        self.said: list[str] = []
        self.url = ""
        self.token = environment.get("LIVEROUTER_ADMIN_TOKEN", "")
        if "--data-dir" not in arguments:
            self._arguments += ("--data-dir", str(log.with_name("data")))

    def __enter__(self) -> Self:
        self._file = self.log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, *self._program, "serve", "--port", "0", *self._arguments],
            env=os.environ | self._environment,
            stdout=subprocess.PIPE,
            stderr=self._file,
            text=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self._await_start()
        except BaseException:
            self.process.kill()
            self._close()
            raise
        return self

    def _await_start(self) -> None:
        """Read what it says until it serves; fail where it ends."""
        while not self.url:
            line = self._lines.get(timeout=_START_S)
            if not line:
                pytest.fail(f"it ended: {self.log.read_text()[-2000:]}")
            self.said.append(line.strip())
            if "serves at" in line:
                address, _, made = line.split()[-1].partition("#token=")
                self.url, self.token = address.rstrip("/"), made or self.token

    def __exit__(self, *_: object) -> None:
        try:
            if self.process.poll() is None:
                assert self.end(signal.SIGTERM) == 0, self.log.read_text()[-2000:]
        finally:
            self._close()

    def _close(self) -> None:
        self.process.wait(_END_S)
        self._reader.join(_END_S)  # it reads the end a moment later, and would fail on a closed file
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._file.close()

    @property
    def headers(self) -> dict[str, str]:
        """What a request with the token carries, where one is wanted."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Return the answer of a GET with the token, or with *headers* instead."""
        return self.ask("GET", path, headers=headers)

    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None, **options: Any) -> httpx.Response:
        """Return the answer of a request with the token, or with *headers* instead."""
        sent = self.headers if headers is None else headers
        return httpx.request(method, f"{self.url}{path}", headers=sent, timeout=_ANSWER_S, **options)

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(_END_S)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Have a free port for one daemon after the other: what else asks for a port meanwhile gets another one.

    Who asks a daemon that has ended would else reach some server of another test.
    """
    with socket.socket() as placeholder:
        placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as what listens there then does
        placeholder.bind(("127.0.0.1", 0))
        yield int(placeholder.getsockname()[1])
