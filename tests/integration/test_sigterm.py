"""SIGTERM ends a script that has no handler as it always did, and yet the database hears a goodbye."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.kit.sql import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

_PATIENCE_S: Final = 90.0
_SCRIPT: Final = """
import os, signal, sys, threading, time
from liverouter import NotReadyError, get_chat_model

def start():
    try:
        get_chat_model()
    except NotReadyError:  # it waits for nothing: the client runs all the same
        pass

how = sys.argv[1]
if how == "handler before":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
if how == "thread":
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
else:
    start()
if how == "handler after":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
if how == "fork" and not (child := os.fork()):
    start()
    print(os.getpid(), flush=True)
    time.sleep(1000)
print(os.getpid(), flush=True)
if how == "fork":
    child, status = os.wait()
    print(os.waitstatus_to_exitcode(status), flush=True)
while True:
    time.sleep(1000)
"""


@pytest.fixture
def start(dsn: str) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start the script, which runs a client; with all that it forks it ends with the test."""
    environ = os.environ | {
        "LIVEROUTER_DATABASE_URL": dsn,
        "LITELLM_ENABLE": "false",
        "LIVEROUTER_READY_TIMEOUT_S": "0",
    }

    def run(how: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", _SCRIPT, how]
        process = subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True, start_new_session=True)
        stack.enter_context(process)
        stack.callback(kill_group, process.pid)
        return process

    with ExitStack() as stack:
        yield run


def kill_group(pid: int) -> None:
    """Kill what is left of the process's group."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def is_gone(db: psycopg.Connection[Any], pid: int) -> bool:
    """Tell whether the process said goodbye."""
    (row,) = rows(db, f"SELECT bye_at FROM liverouter.processes WHERE pid = {pid}")
    return row["bye_at"] is not None


class TestSigterm:
    @pytest.mark.parametrize("how", ["main thread", "thread"])
    def test_script_says_goodbye_and_ends_by_the_signal(
        self, db: psycopg.Connection[Any], start: Callable[[str], subprocess.Popen[str]], how: str
    ) -> None:
        """Whichever thread made the first call."""
        process = start(how)
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.terminate()
        assert process.wait(_PATIENCE_S) == -signal.SIGTERM
        assert is_gone(db, pid)

    def test_forked_child_says_its_own(
        self, db: psycopg.Connection[Any], start: Callable[[str], subprocess.Popen[str]]
    ) -> None:
        """Ended first, it leaves the parent's client alone."""
        process = start("fork")
        assert process.stdout is not None
        pids = {int(process.stdout.readline()) for _ in range(2)}
        (child,) = pids - {process.pid}
        os.kill(child, signal.SIGTERM)
        assert int(process.stdout.readline()) == -signal.SIGTERM
        assert (is_gone(db, child), is_gone(db, process.pid)) == (True, False)
        process.terminate()
        assert process.wait(_PATIENCE_S) == -signal.SIGTERM
        assert is_gone(db, process.pid)

    @pytest.mark.parametrize("how", ["handler before", "handler after"])
    def test_handler_of_the_application_is_the_only_one(
        self, start: Callable[[str], subprocess.Popen[str]], how: str
    ) -> None:
        """Set before the first call or after it, it alone decides what becomes of the process."""
        process = start(how)
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(_PATIENCE_S) == 7

    def test_database_that_does_not_answer_delays_the_end_by_seconds(
        self, db: psycopg.Connection[Any], start: Callable[[str], subprocess.Popen[str]]
    ) -> None:
        """Where the goodbye cannot be said, the process ends all the same."""
        process = start("main thread")
        assert process.stdout is not None
        process.stdout.readline()
        with db.transaction():
            db.execute(b"LOCK TABLE liverouter.processes")
            process.terminate()
            assert process.wait(_PATIENCE_S) == -signal.SIGTERM
