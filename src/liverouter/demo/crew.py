"""The demo's workers: started, listened to, waited for, ended by pid."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

_STOP_S: Final = 5.0  # for a worker to end by itself, which takes at most 3 s
_KILL_S: Final = 2.0
_LOG_TAIL: Final = 2_000  # bytes of the log that a failure shows
# How variables begin that a shell may hold and that would lead a worker elsewhere: settings, options, provider keys.
_FOREIGN: Final = (
    "ANTHROPIC_",
    "AZURE_",
    "DATABASE_URL",
    "GOOGLE_",
    "LANGCHAIN_",
    "LANGSMITH_",
    "LITELLM_",
    "LIVEROUTER_",
    "LLM_",
    "OPENAI_",
    "PG",
    "SNOWFLAKE_",
    "VERTEX",
)
_PROXIES: Final = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class DemoError(Exception):
    """The demo cannot go on, and why, in words for a person."""


@dataclass(slots=True)
class Worker:
    """One worker process and what it told so far.

    Attributes:
        calls: how many it has made, with those that failed.
        errors: of the calls that failed.
        answers: the last one by the name that was asked: text, provider, model, role, revision and what else
            `demo.worker` tells.
        fallback_calls: how many of its calls the fallback answered.
        ended: whether it has ended, and all that it told was read.
    """

    name: str
    process: asyncio.subprocess.Process
    calls: int = 0
    errors: list[str] = field(default_factory=list)
    answers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    fallback_calls: int = 0
    ended: bool = False

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self.process.pid

    @property
    def answer(self) -> Mapping[str, Any]:
        """The last answer of the default model; empty before the first."""
        return self.answers.get("default", {})

    def take(self, told: Mapping[str, Any]) -> None:
        """Note one call by what the worker *told* of it."""
        self.calls += 1
        if "error" in told:
            self.errors.append(str(told["error"]))
            return
        self.answers[told["asked"]] = told
        self.fallback_calls += told["role"] == "fallback"


class Crew:
    """All workers. For one event loop.

    Args:
        log: an open file for what the workers log.
    """

    def __init__(self, *, log: IO[bytes]) -> None:
        """Start nothing yet."""
        self.workers: list[Worker] = []
        self._log = log
        self._news = asyncio.Condition()  # notified when a worker tells something or ends
        self._readers: list[asyncio.Task[None]] = []

    async def start(self, names: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start one worker per name, with *environment* and little else of this process's own."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN) and k.upper() not in _PROXIES}
        for name in names:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "liverouter.demo.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=self._log,
                env=clean | dict(environment) | {"LIVEROUTER_APP": name},
                start_new_session=True,  # a terminal's Ctrl-C is for the demo, which then ends them
            )
            worker = Worker(name, process)
            self.workers.append(worker)
            self._readers.append(asyncio.create_task(self._listen(worker), name=f"listen to {name}"))

    async def wait_until(self, all_of_them: Callable[[Worker], bool], what: str, timeout_s: float) -> None:
        """Return once *all_of_them* is true of every worker.

        Raises:
            DemoError: not within *timeout_s* seconds, or a worker ended.
        """
        try:
            async with asyncio.timeout(timeout_s), self._news:
                while not all(all_of_them(worker) for worker in self.workers):
                    self.refuse_ended()
                    await self._news.wait()
        except TimeoutError:
            late = [w.name for w in self.workers if not all_of_them(w)]
            raise DemoError(f"{what}: {' and '.join(late)} did not get there in {timeout_s:g} s") from None

    async def wait_any(self, one_of_them: Callable[[Worker], bool]) -> None:
        """Return once *one_of_them* is true of a worker.

        Raises:
            DemoError: a worker ended.
        """
        async with self._news:
            while not any(one_of_them(worker) for worker in self.workers):
                self.refuse_ended()
                await self._news.wait()

    async def wait_calls(self, count: int, timeout_s: float) -> None:
        """Return once every worker has made *count* more calls.

        Raises:
            DemoError: not within *timeout_s* seconds, or a worker ended.
        """
        goals = {worker.name: worker.calls + count for worker in self.workers}
        await self.wait_until(lambda w: w.calls >= goals[w.name], f"{count} more calls", timeout_s)

    async def stop(self) -> None:
        """End every worker, the stubborn ones by force, and return when they are gone."""
        for worker in self.workers:
            if worker.process.stdin is not None:
                worker.process.stdin.close()
        await asyncio.gather(*(_end(worker.process) for worker in self.workers))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KILL_S):  # they read the end a moment later; then they are cancelled
                await asyncio.gather(*self._readers, return_exceptions=True)

    async def _listen(self, worker: Worker) -> None:
        """Note what *worker* tells, until it ends; other lines, which libraries print in it, go to the log."""
        stdout = worker.process.stdout
        while stdout is not None and not stdout.at_eof():
            try:
                line = await stdout.readline()
            except ValueError:  # longer than asyncio's buffer, 64 KiB; it is thrown away
                continue
            if (told := _told(line)) is None:
                os.write(self._log.fileno(), line)
                continue
            async with self._news:
                worker.take(told)
                self._news.notify_all()
        await worker.process.wait()
        async with self._news:
            worker.ended = True
            self._news.notify_all()

    def refuse_ended(self) -> None:
        """Raise the DemoError for a worker that has ended."""
        if ended := [worker for worker in self.workers if worker.ended]:
            raise DemoError(f"{ended[0].name} ended: {self._last_words(ended[0])}")

    def _last_words(self, worker: Worker) -> str:
        """Return why *worker* ended, as far as is known: its last error, else the end of the log of all workers."""
        if worker.errors:
            return worker.errors[-1]
        size = os.fstat(self._log.fileno()).st_size
        said = os.pread(self._log.fileno(), _LOG_TAIL, max(0, size - _LOG_TAIL)).decode(errors="replace").strip()
        return said or f"exit code {worker.process.returncode}, without a word"


def _told(line: bytes) -> Mapping[str, Any] | None:
    """Return the facts that `demo.worker` told in *line*, or None where something else was printed."""
    try:
        facts = json.loads(line)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) and facts.keys() & {"error", "role"} else None


async def _end(process: asyncio.subprocess.Process) -> None:
    """Return when *process* has ended: by itself, by SIGTERM, or by SIGKILL; each is given some seconds."""
    for force, patience_s in ((None, _STOP_S), (process.terminate, _KILL_S), (process.kill, _KILL_S)):
        if force is not None:
            with contextlib.suppress(ProcessLookupError):
                force()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await process.wait()
                return
