"""The parent process of one embedded PostgreSQL, a script: it outlives its owner just long enough to clean up.

It is run by ``python -I -S supervisor.py`` and imports nothing but the standard library. It is the server's parent, so
the pid that it signals cannot have been given to another process meanwhile. It inherits the owner's lock, so the data
folder stays locked until the server is down.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

# PostgreSQL's fast, immediate and last shutdown, and the seconds each may take.
_SHUTDOWN: Final = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_OWNER_CHECK_S: Final = 1.0
_IGNORED: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Run the steps of the plan in order; return 0, or the exit code of the first that failed.

    The plan is one line of JSON on standard input: ``owner``, the pid of the process that started this one;
    ``temp_dir``, a folder to remove at the end; ``steps``, each as `embedded.plan.step` returns it. Any further
    byte, the end of the input, or the owner's death shuts the running step down, removes the folder and ends the
    process.
    """
    for number in _IGNORED:  # they often go to a whole group or cgroup, but the order of the shutdown is decided here
        signal.signal(number, _ignore)
    line = io.FileIO(0, closefd=False).readline()  # unbuffered, so that no byte beyond the line is taken
    plan: dict[str, Any] = json.loads(line)
    supervisor = _Supervisor(owner=plan["owner"], temp_dir=plan["temp_dir"])
    threading.Thread(target=supervisor.wait_for_the_end, daemon=True).start()
    for step in plan["steps"]:
        if code := supervisor.run(step):
            return code
    return 0


class _Supervisor:
    """The step that runs, and its end when the owner says so or is gone.

    `run` is called on the main thread, `wait_for_the_end` on another.

    Args:
        owner: the pid of the process that started this one.
        temp_dir: removed at the end.
    """

    def __init__(self, *, owner: int, temp_dir: str) -> None:
        self._owner = owner
        self._temp_dir = temp_dir
        self._lock = threading.Lock()  # the end takes it for good, so that no step starts after
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, step: dict[str, Any]) -> int:
        """Run one step to its end, as the user it names; on success rename what it made. Return its exit code."""
        with self._lock, Path(step["log"]).open("ab") as log:
            self._process = subprocess.Popen(
                step["argv"], cwd="/", env=step["env"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **step["user"]
            )
        code = self._process.wait()
        with self._lock:  # never to be had where `wait_for_the_end` ended the step: it ends the process
            if not code and step["rename"]:
                Path(step["rename"][0]).rename(step["rename"][1])
        return code

    def wait_for_the_end(self) -> None:
        """Block until the owner says stop or is gone, then stop the step, clean up and exit."""
        # The end of the pipe alone does not tell of the owner's death: a child that it forked holds a copy of its end.
        while os.getppid() == self._owner and not select.select([0], [], [], _OWNER_CHECK_S)[0]:
            pass
        with self._lock:
            self._shut_down()
            shutil.rmtree(self._temp_dir, ignore_errors=True)
            os._exit(0)

    def _shut_down(self) -> None:
        """End the running step by the signals of `_SHUTDOWN`, each stronger than the one before."""
        if self._process is None:
            return
        for number, wait_s in _SHUTDOWN:
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
                return


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing. Unlike SIG_IGN, a handler is not passed on to the server."""


if __name__ == "__main__":
    sys.exit(main())
