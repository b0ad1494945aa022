"""Processes that end without Python's exit hooks end as they always did, and yet the database hears a goodbye."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
import pytest

from tests.kit import patience
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import rows
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

emptied, dsn, db = one_database()

patient = patience.patient

# Each script is a fork of a process that has imported all and started nothing: the import takes seconds.
_SCRIPTS: Final = """
import multiprocessing, os, signal, sys, threading, time
import asyncpg, celery.concurrency.prefork, liverouter.chat.model, liverouter.client, liverouter.default
from liverouter import NotReadyError, get_chat_model
from liverouter.engine import engine
from liverouter.loops import sigterm

def start():
    try:
        get_chat_model()
    except NotReadyError:  # it waits for nothing: the client runs all the same
        pass

def tell(what, number):
    os.write(1, f"{what} {number}\\n".encode())  # at once: two processes tell

def idle():
    while True:
        time.sleep(0.01)  # no longer: Python looks for signals before it, and not for one that comes right then

def work():
    start()
    tell("pid", os.getpid())
    signal.sigwait({signal.SIGUSR1})

def tell_closing():
    before = None
    while True:  # until the main thread waits, and is seen to: it has not only been stopped for another one
        frame = sys._current_frames()[threading.main_thread().ident]
        at = frame.f_code.co_name, frame.f_lasti
        if at == before and at[0] == "wait" and liverouter.default._client._closed:
            break
        before = at
        time.sleep(0.02)
    tell("closing", os.getpid())

def script(dsn, how):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    os.setpgid(0, 0)
    tell("group", os.getpid())
    os.environ["LIVEROUTER_DATABASE_URL"] = dsn
    if how != "no answer":
        sigterm._PATIENCE_S = liverouter.client._CLOSE_S = engine._GOODBYE_S = 60.0  # on a busy machine
    if how == "handler before":
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    if how == "multiprocessing":
        worker = multiprocessing.get_context("fork").Process(target=work)
        worker.start()
        worker.join()
        os._exit(worker.exitcode)
    if how == "closing":
        os.environ["LIVEROUTER_HEARTBEAT_INTERVAL_S"] = "1"
        threading.Thread(target=tell_closing, daemon=True).start()
        work()
        liverouter.default._client.close()
    if how == "celery":
        work()
        celery.concurrency.prefork.process_destructor(os.getpid(), 0)  # as a worker of its pool does
        os._exit(0)
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
        tell("pid", os.getpid())
        idle()
    tell("pid", os.getpid())
    if how == "fork":
        child, status = os.wait()
        tell("child ended", os.waitstatus_to_exitcode(status))
    idle()

for line in sys.stdin:
    if not os.fork():
        script(*line.strip().split(" ", 1))
    _, status = os.wait()
    tell("ended", os.waitstatus_to_exitcode(status))
"""


class Scripts:
    """Scripts that run a client, one after the other."""

    def __init__(self) -> None:
        environ = os.environ | {"LITELLM_ENABLE": "false", "LIVEROUTER_READY_TIMEOUT_S": "0"}
        argv, pipe = [sys.executable, "-c", _SCRIPTS], subprocess.PIPE
        self.process = subprocess.Popen(argv, env=environ, stdin=pipe, stdout=pipe, text=True)
        self._group = 0  # of the script that runs

    def start(self, dsn: str, how: str) -> int:
        """Start a script; return its process id, once it has made its first call."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{dsn} {how}\n")
        self.process.stdin.flush()
        self._group = self.told()
        return self.told()

    def told(self) -> int:
        """Return the number that comes next: a process id, or how a process has ended."""
        assert self.process.stdout is not None
        what, _, number = self.process.stdout.readline().rpartition(" ")
        if what == "ended":
            self._group = 0
        return int(number)

    def stop(self) -> None:
        """End the script that a failed test has left, with all that it forked."""
        if self._group:
            os.killpg(self._group, signal.SIGKILL)
        while self._group:
            self.told()


@pytest.fixture(scope="module")
def starter() -> Iterator[Scripts]:
    """What starts scripts; it ends when nothing more comes to it."""
    scripts = Scripts()
    with scripts.process:
        yield scripts


@pytest.fixture
def scripts(starter: Scripts) -> Iterator[Scripts]:
    """What starts scripts."""
    yield starter
    starter.stop()


def is_gone(db: psycopg.Connection[Any], pid: int) -> bool:
    """Tell whether the process said goodbye."""
    (row,) = rows(db, f"SELECT bye_at FROM liverouter.processes WHERE pid = {pid}")
    return row["bye_at"] is not None


def is_ending(pid: int) -> bool:
    """Tell whether SIGTERM has reached a process that handled it once: it does not any more."""
    (caught,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:")]
    return not int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1


def reports(db: psycopg.Connection[Any], *pids: int) -> None:
    """Wait until each of *pids* has reported."""
    until(lambda: {row["pid"] for row in rows(db, "SELECT pid FROM liverouter.processes")} >= set(pids))


class TestSigterm:
    @pytest.mark.parametrize("how", ["main thread", "thread"])
    def test_script_says_goodbye_and_ends_by_the_signal(
        self, dsn: str, db: psycopg.Connection[Any], scripts: Scripts, how: str
    ) -> None:
        """Whichever thread made the first call."""
        pid = scripts.start(dsn, how)
        reports(db, pid)
        os.kill(pid, signal.SIGTERM)
        assert scripts.told() == -signal.SIGTERM
        assert is_gone(db, pid)

    def test_goodbye_that_is_under_way_is_said(self, dsn: str, db: psycopg.Connection[Any], scripts: Scripts) -> None:
        """As of a worker of a pool, which has ended by itself when it is told to."""
        pid = scripts.start(dsn, "closing")
        reports(db, pid)
        with db.transaction():
            db.execute(b"LOCK TABLE liverouter.processes")
            until(lambda: rows(db, "SELECT FROM pg_locks WHERE NOT granted"), what="a report, behind which it comes")
            os.kill(pid, signal.SIGUSR1)
            assert scripts.told() == pid
            os.kill(pid, signal.SIGTERM)
            until(lambda: is_ending(pid))
        assert scripts.told() == -signal.SIGTERM
        assert is_gone(db, pid)

    def test_forked_child_says_its_own(self, dsn: str, db: psycopg.Connection[Any], scripts: Scripts) -> None:
        """Ended first, it leaves the parent's client alone."""
        pids = scripts.start(dsn, "fork"), scripts.told()
        reports(db, *pids)
        (child,) = [pid for pid in pids if psutil.Process(pid).ppid() in pids]
        (parent,) = {*pids} - {child}
        os.kill(child, signal.SIGTERM)
        assert scripts.told() == -signal.SIGTERM
        assert (is_gone(db, child), is_gone(db, parent)) == (True, False)
        os.kill(parent, signal.SIGTERM)
        assert scripts.told() == -signal.SIGTERM
        assert is_gone(db, parent)

    @pytest.mark.parametrize("how", ["multiprocessing", "celery"])
    def test_worker_of_a_pool_says_goodbye(
        self, dsn: str, db: psycopg.Connection[Any], scripts: Scripts, how: str
    ) -> None:
        """It ends by `os._exit`, as forked children do, which Python calls no exit hooks for."""
        pid = scripts.start(dsn, how)
        reports(db, pid)
        os.kill(pid, signal.SIGUSR1)
        assert scripts.told() == 0
        assert is_gone(db, pid)

    @pytest.mark.parametrize("how", ["handler before", "handler after"])
    def test_handler_of_the_application_is_the_only_one(self, dsn: str, scripts: Scripts, how: str) -> None:
        """Set before the first call or after it, it alone decides what becomes of the process."""
        os.kill(scripts.start(dsn, how), signal.SIGTERM)
        assert scripts.told() == 7

    def test_database_that_does_not_answer_delays_the_end_by_seconds(
        self, dsn: str, db: psycopg.Connection[Any], scripts: Scripts
    ) -> None:
        """Where the goodbye cannot be said, the process ends all the same."""
        pid = scripts.start(dsn, "no answer")
        with db.transaction():
            db.execute(b"LOCK TABLE liverouter.processes")
            os.kill(pid, signal.SIGTERM)
            assert scripts.told() == -signal.SIGTERM
