"""Every process that a test starts ends with it: one that is left fails the run by name, and is ended.

A run has one folder for temporary files, and each of its workers one folder in that. The worker's folder is its mark:
what a test starts inherits it in the environment. The servers of `EmbeddedPostgres` do not, but keep their data there,
so that their command lines name it.

Run as a script, this file is a run's guard, which ends what is left when the run itself was killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE: Final = "LIVEROUTER_TEST_RUN"  # holds the folder of a run, in its workers' processes that of the worker
_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - mkdtemp is safe there
_ENOUGH: Final = 4 * 2**30  # bytes: room for the servers of every worker and their logs
_OWNER_CHECK_S: Final = 1.0
_ALWAYS_THERE: Final = "multiprocessing.resource_tracker"  # Python's own, ends with its parent


class Run:
    """One run of the suite: its folder, and the guard that outlives it."""

    def __init__(self) -> None:
        """Make the folder, name it in the environment and start the guard."""
        self.folder = tempfile.mkdtemp(prefix="lr-", dir=_fast_folder())  # short, as sockets lie in it
        Path(self.folder).chmod(0o711)  # PostgreSQL's user passes through
        environment = os.environ.copy()
        os.environ[VARIABLE] = self.folder
        self._guard = subprocess.Popen(
            [sys.executable, "-I", __file__, self.folder],
            env=environment,
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the run, which then tells the guard
        )

    def close(self) -> None:
        """End what is left, remove the folder, and wait for that."""
        self._guard.communicate(b"\n")
        os.environ.pop(VARIABLE, None)


class Marked:
    """The processes that carry one mark, and all that this process started."""

    def __init__(self, mark: str) -> None:
        """Look for *mark*, a folder."""
        self._mark = mark
        self._before = set(psutil.Process().children())  # the guard is among them

    @classmethod
    @contextlib.contextmanager
    def worker(cls, name: str) -> Iterator[Self]:
        """Mark what is started in the block as worker *name*'s, and keep its temporary files in the worker's folder."""
        folder = Path(os.environ[VARIABLE]) / name
        folder.mkdir()
        folder.chmod(0o711)
        before = {variable: os.environ.get(variable) for variable in (VARIABLE, "TMPDIR")}
        before_tempdir = tempfile.tempdir
        os.environ[VARIABLE] = os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        try:
            yield cls(str(folder))
        finally:
            tempfile.tempdir = before_tempdir
            for variable, value in before.items():
                os.environ.pop(variable)
                if value is not None:
                    os.environ[variable] = value

    def left(self, patience_s: float = 0.0) -> list[psutil.Process]:
        """Return the processes that run, those after *patience_s* seconds that did not end meanwhile."""
        deadline = time.monotonic() + patience_s
        while (found := self._look()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def end(self) -> None:
        """Kill every process until none is left; a supervisor takes its server down first."""
        for number in range(100):
            if not (found := self._look()):
                return
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.resume()
                    (process.terminate if number < 50 else process.kill)()
            time.sleep(0.1)

    def _look(self) -> list[psutil.Process]:
        """Return the processes that run now; none where one of this process's children ended in the middle of it."""
        own = psutil.Process()
        with contextlib.suppress(psutil.Error):
            started = own.children(recursive=True)
            others = {*started, *psutil.process_iter()} - {own, *self._before}
            return [process for process in others if self._is_ours(process, started=process in started)]
        return []

    def _is_ours(self, process: psutil.Process, *, started: bool) -> bool:
        """Whether *process* runs and is a descendant (*started*), or carries the mark in environment or arguments."""
        try:
            if process.status() == psutil.STATUS_ZOMBIE or any(_ALWAYS_THERE in part for part in process.cmdline()):
                return False
            inherited = process.environ().get(VARIABLE, "")
            return started or f"{inherited}/".startswith(f"{self._mark}/") or _names(process, self._mark)
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:  # another user's
            return started


def _fast_folder() -> Path | None:
    """Return the folder whose files lie in memory where it has room for a run and runs programs, else None.

    A database is some 300 files: the work to make and drop one on a disk is 5 to 15 times that in memory.
    """
    try:
        system = os.statvfs(_IN_MEMORY)
    except OSError:
        return None
    fits = system.f_bavail * system.f_frsize >= _ENOUGH and not system.f_flag & os.ST_NOEXEC
    return _IN_MEMORY if fits and os.access(_IN_MEMORY, os.W_OK) else None


def _names(process: psutil.Process, folder: str) -> bool:
    """Whether an argument of *process* lies in *folder*."""
    return any(f"{folder}/" in part for part in process.cmdline())


def told(processes: list[psutil.Process]) -> str:
    """Return one line for each process: its number and its command."""
    lines = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            lines.append(f"process {process.pid} is left: {' '.join(process.cmdline()) or process.name()}")
    return "\n".join(lines)


def _guard(folder: str) -> None:
    """Wait until the run says that it ends, or is gone; then end what is left of it."""
    owner = os.getppid()
    # The pipe alone does not tell: what the run forked holds a copy of its other end.
    while os.getppid() == owner and not select.select([0], [], [], _OWNER_CHECK_S)[0]:
        pass
    Marked(folder).end()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _guard(sys.argv[1])
