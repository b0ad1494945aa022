"""The parent process of one embedded PostgreSQL: it outlives its owner just long enough to clean up.

Run as a plain script (``python -I -S supervisor.py``), so it imports nothing but the standard library. It is the
server's parent, so the pid that it signals cannot have been given to another process meanwhile. It inherits the owner's
lock, so the data folder stays locked until the server is really down.
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
_POLITE: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Run the steps of the plan, one line of JSON on standard input; return 0, or the exit code of one that failed.

    Any further byte, the end of the input, or the owner's death shuts the running step down, removes the temp folder
    and ends the process.
    """
    for number in _POLITE:  # a whole group or cgroup is often told to stop; the order of the shutdown is ours
        signal.signal(number, _ignore)
    plan: dict[str, Any] = json.loads(
        io.FileIO(0, closefd=False).readline()
    )  # unbuffered: takes no byte beyond the line
    supervisor = _Supervisor(owner=plan["owner"], temp_dir=plan["temp_dir"])
    threading.Thread(target=supervisor.wait_for_the_end, daemon=True).start()
    for step in plan["steps"]:
        if code := supervisor.run(step):
            return code
    return 0


class _Supervisor:
    """One running step and what is to be done about it when the owner is gone."""

    def __init__(self, *, owner: int, temp_dir: str) -> None:
        self._owner = owner
        self._temp_dir = temp_dir
        self._lock = threading.Lock()  # no step may start once the end has begun
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, step: dict[str, Any]) -> int:
        """Run one step to its end, as the user it names; on success rename what it made."""
        with self._lock, Path(step["log"]).open("ab") as log:
            self._process = subprocess.Popen(
                step["argv"], cwd="/", env=step["env"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **step["user"]
            )
        code = self._process.wait()
        with self._lock:  # when the step was ended by us, this waits for the clean-up, which ends the process
            if not code and step["rename"]:
                Path(step["rename"][0]).rename(step["rename"][1])
        return code

    def wait_for_the_end(self) -> None:
        """Block until the owner says stop or is gone, then stop the step, clean up and exit."""
        # The pipe alone does not tell: a child forked by the owner holds a copy of its other end.
        while os.getppid() == self._owner and not select.select([0], [], [], _OWNER_CHECK_S)[0]:
            pass
        with self._lock:
            self._shut_down()
            shutil.rmtree(self._temp_dir, ignore_errors=True)
            os._exit(0)

    def _shut_down(self) -> None:
        if self._process is None:
            return
        for number, wait_s in _SHUTDOWN:
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
                return


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing; unlike SIG_IGN this is not passed on to the server."""


if __name__ == "__main__":
    sys.exit(main())
