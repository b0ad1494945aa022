"""`liverouter demo` as a newcomer runs it: the whole story, and nothing left behind however it ends."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any, Final

import psutil
import pytest

from liverouter.demo.crew import Crew, DemoError
from liverouter.demo.screen import Screen
from liverouter.demo.story import Story

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

_START_S = 90.0  # PostgreSQL, and litellm imported twice at the same time
_STORY_S = 90.0
_END_S = 90.0  # the workers' end, then PostgreSQL's
_ENGINE: Final = "import os; os.environ['LITELLM_ENABLE'] = str(os.environ.get('LIVEROUTER_APP') in {}).lower()"
_ACTS = (
    "1. An admin moves",
    "2. Summaries move",
    "3. The provider breaks",
    "4. The provider heals",
    "5. Somebody writes",
    "6. The row is",
)


class Demo:
    """A running demo, its output line by line; *folder* is first on its Python's path."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "liverouter", "demo", "--pace", "0", *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def output(self) -> str:
        """Everything printed so far."""
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, timeout_s: float = _STORY_S) -> re.Match[str]:
        """Return the first match of *pattern* in the output, once it is there."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            if match := re.search(pattern, self.output):
                found.append(match)
            return bool(found) or not self._reader.is_alive()

        with self._news:
            self._news.wait_for(look, timeout_s)
        assert found, f"{pattern!r} is not in:\n{self.output}"
        return found[0]

    def end(self) -> int:
        """Wait until it has ended and everything printed is read; return its exit code."""
        code = self.process.wait(_END_S)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Parts:
    """The processes that a demo has started: its workers, and its PostgreSQL."""

    def __init__(self, demo: Demo) -> None:
        port = int(demo.wait_for(r"PostgreSQL listens on 127\.0\.0\.1:(\d+)")[1])
        pids = demo.wait_for(r"\(pid (\d+) and (\d+)\)")
        self.workers = [psutil.Process(int(pid)) for pid in pids.groups()]
        listening = [place for place in psutil.net_connections("tcp4") if place.status == psutil.CONN_LISTEN]
        self.server = psutil.Process(next(place.pid for place in listening if place.laddr[1:] == (port,)))

    def are_gone(self) -> bool:
        """Tell whether nothing of it runs any more."""
        return not any(_runs(process) for process in (*self.workers, self.server))


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """A function that starts a demo, which ends with the test; of its workers only those *by_litellm* import that."""
    demos: list[Demo] = []

    def start(*arguments: str, by_litellm: tuple[str, ...] = ()) -> Demo:
        # Python runs it at the start; variables do not reach the workers.
        (tmp_path / "sitecustomize.py").write_text(_ENGINE.format(by_litellm))
        demos.append(Demo(tmp_path, *arguments))
        return demos[-1]

    yield start
    for demo in demos:
        demo.process.kill()
        demo.end()


class TestStory:
    def test_story_ends_without_a_failed_call_and_stays_up_to_play_with(
        self, start: Callable[..., Demo], wait_until: Callable[..., None]
    ) -> None:
        """Every act happens, no call fails, the times come from SQL; with --keep a `set` is live in both workers.

        They are of one engine each.
        """
        demo = start("--keep", by_litellm=("worker-2",))
        parts = Parts(demo)
        demo.wait_for("Your turn", _START_S + _STORY_S)
        places = [demo.output.find(f"\n{act}") for act in _ACTS]
        assert all(place > 0 for place in places)
        assert places == sorted(places)
        assert re.search(r"\d+ calls by 2 processes, failures = 0", demo.output)
        for change in ("the provider", "the summaries' model", "the mended row"):
            for worker in ("worker-1", "worker-2"):
                assert re.search(rf"{change} was live in {worker} \d+ ms after the commit", demo.output)
        assert "Did you mean 'anthropic'?" in demo.output

        url = demo.wait_for(r"export LIVEROUTER_DATABASE_URL=(\S+)")[1]
        assert url.startswith("postgresql://demo:")  # the superuser's password is nobody's business
        command = demo.wait_for(r"\n  (.+ set llm_model=\S+ --wait)\n")[1]
        result = subprocess.run(
            # As a shell would: the checkout may lie in a folder with a space. The machine may be busy.
            [*shlex.split(command), "--timeout", "120"],
            env=os.environ | {"LIVEROUTER_DATABASE_URL": url},
            capture_output=True,
            text=True,
            check=True,
            timeout=150,
        )
        assert result.stdout.startswith("revision 6\nlive in 2 of 2 instances")
        demo.wait_for(r"worker-1 serves revision 6: 'claude-opus-4-6 says")
        demo.wait_for(r"worker-2 serves revision 6: 'claude-opus-4-6 says")
        demo.process.send_signal(signal.SIGINT)
        assert demo.end() == 0
        wait_until(parts.are_gone)

    def test_lost_worker_fails_the_demo_and_is_named(
        self, start: Callable[..., Demo], wait_until: Callable[..., None]
    ) -> None:
        """A step that cannot happen any more ends the demo with exit code 1 and the reason."""
        demo = start()
        parts = Parts(demo)
        parts.workers[0].kill()
        assert demo.end() == 1
        assert re.search(r"The demo failed\n.*worker-1 ended", demo.output)
        wait_until(parts.are_gone)


_PRINTS: Final = """
print("Give Feedback / Get Help")
print('{"level": "info"}')
print("5")
print("long" * 100_000)
"""


@pytest.fixture
async def crew(tmp_path: Path) -> AsyncIterator[Crew]:
    """A crew of one, in whose process something prints, and that cannot serve: it is told of no database."""
    (tmp_path / "sitecustomize.py").write_text(_PRINTS)  # Python runs it at the start, as it would a library's hook
    path = os.pathsep.join([str(tmp_path), *sys.path])
    with tempfile.TemporaryFile() as log:
        crew = Crew(log=log)
        await crew.start(["worker-1"], {"PYTHONPATH": path})
        yield crew
        await crew.stop()
        said = os.pread(log.fileno(), 10_000, 0).decode().splitlines()
    assert said[:3] == ["Give Feedback / Get Help", '{"level": "info"}', "5"]


class TestCrew:
    async def test_what_a_library_prints_is_no_call_and_an_end_ends_every_wait(self, crew: Crew) -> None:
        """What is printed goes to the log; a wait for what the worker will never do fails with its last words.

        So does the one after the story, for whoever plays on.
        """
        (worker,) = crew.workers
        await crew.wait_until(lambda worker: worker.calls > 0, "its first words", _START_S)
        assert worker.calls == 1
        assert "no database is named" in worker.errors[0]
        with pytest.raises(DemoError, match=r"worker-1 ended: .*no database is named"):
            await crew.wait_until(lambda worker: worker.calls > 1, "two calls", _START_S)
        worker.take({"asked": "default", "role": "primary", "revision": 1})
        unasked: Any = None
        story = Story(connection=unasked, crew=crew, screen=Screen(list), openai=unasked, anthropic=unasked, pace_s=0.0)
        async with asyncio.timeout(_START_S):
            with pytest.raises(DemoError, match="worker-1 ended"):
                await story.go_on(["Your turn"])


class TestEnd:
    @pytest.mark.parametrize(
        ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
    )
    def test_signal_leaves_nothing_running(
        self, start: Callable[..., Demo], wait_until: Callable[..., None], number: signal.Signals, code: int
    ) -> None:
        """Ended half-way, even by kill -9, it takes its workers and its server with it."""
        demo = start()
        parts = Parts(demo)
        demo.process.send_signal(number)
        assert demo.end() == code
        assert "Traceback" not in demo.output
        wait_until(parts.are_gone)
