"""`liverouter serve` keeps its own PostgreSQL running: whoever ends it, services find it again where it was."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import psutil
import psycopg
import pytest

from tests.kit.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PATIENCE_S: Final = 120.0
_GIVES_UP_SOON: Final = """
from liverouter.cli import main
from liverouter.daemon import database_keeper
database_keeper._PAUSES_S = (0.0, 0.0)
main()
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The daemon's data folder."""
    parent = Path(tempfile.mkdtemp(prefix="liverouter-test-"))
    parent.chmod(0o711)
    yield parent / "data"
    shutil.rmtree(parent)


@pytest.fixture(scope="module")
def daemon(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests of this file, with a live config; the last test kills it."""
    with Daemon("--data-dir", str(folder), log=tmp_path_factory.mktemp("daemon") / "log") as daemon:
        settings = {"llm_provider": "openai", "llm_model": "gpt-4o", "litellm_enable": False}
        body = {"settings": settings, "secrets": {"openai_api_key": "sk-0123456789abcdef"}}
        headers = daemon.headers | {"If-Match": '"0"'}
        daemon.ask("PUT", "/api/config", headers=headers, json=body).raise_for_status()
        yield daemon


def postmaster(folder: Path) -> psutil.Process:
    """Return the process of the folder's server."""
    with closing(psycopg.connect((folder / "owner-dsn").read_text().strip())) as connection:
        found = psutil.Process(connection.info.backend_pid).parent()
    assert found is not None
    return found


def supervisor(folder: Path) -> psutil.Process:
    """Return the parent of the folder's server."""
    found = postmaster(folder).parent()
    assert found is not None
    return found


def exports_of(said: list[str]) -> list[str]:
    """Return what a daemon printed for services, DSN included."""
    return [line.strip() for line in said if line.strip().startswith("export ")]


def events(daemon: Daemon) -> list[str]:
    """Return the names of the events in the daemon's log so far."""
    whole, _, _ = daemon.log.read_text().rpartition("\n")
    return [json.loads(line)["event"] for line in whole.splitlines()]


def told_of_database(daemon: Daemon, *, cause: Callable[[], None]) -> Any:
    """Have *cause* happen, and return the first Problem that a page is told of a server that does not start."""
    with httpx.stream("GET", f"{daemon.url}/api/events", headers=daemon.headers, timeout=_PATIENCE_S) as stream:
        lines = stream.iter_lines()
        next(lines)
        cause()
        for line in lines:
            if line == "event: database":
                told = json.loads(next(lines).removeprefix("data: "))
                if told is not None and "pg_control" in told["message"]:
                    return told
    pytest.fail("the stream ended")


def hello_of(daemon: Daemon) -> Any:
    """Return what a page is told as it opens."""
    with httpx.stream("GET", f"{daemon.url}/api/events", headers=daemon.headers, timeout=_PATIENCE_S) as stream:
        return json.loads(next(line for line in stream.iter_lines() if line.startswith("data: "))[6:])


class TestEnd:
    def test_whoever_ended_it_it_runs_again_on_the_same_dsn(
        self, daemon: Daemon, folder: Path, wait_until: Callable[..., None]
    ) -> None:
        """Killed, told to end, its supervisor killed: each is noticed, and the daemon is ready again by itself."""
        wait_until(lambda: daemon.get("/readyz").status_code == 200)
        ends = (
            (postmaster, signal.SIGKILL),
            (postmaster, signal.SIGTERM),  # smart: it waits for its clients, which the daemon is
            (supervisor, signal.SIGKILL),
        )
        for find, by in ends:
            process, server, before = find(folder), postmaster(folder), events(daemon).count("own_database.restarted")
            process.send_signal(by)
            wait_until(lambda before=before: events(daemon).count("own_database.restarted") > before)
            assert postmaster(folder) != server
            wait_until(lambda: daemon.get("/readyz").status_code == 200)
            wait_until(lambda: daemon.get("/api/config").status_code == 200)
        assert events(daemon).count("own_database.ended") >= len(ends)

    def test_outage_is_told_until_it_is_over(
        self, daemon: Daemon, folder: Path, wait_until: Callable[..., None]
    ) -> None:
        """While the server does not start, probe, page and log say LR225 and why; once it can, all is well."""
        control = folder / "cluster" / "global" / "pg_control"
        wait_until(lambda: daemon.get("/readyz").status_code == 200)
        control.rename(control.with_name("aside"))
        try:
            told = told_of_database(daemon, cause=lambda: postmaster(folder).kill())
            assert told["code"] == "LR225"
            answer = daemon.get("/readyz")
            assert (answer.status_code, answer.json()["degraded"][0]) == (503, "LR225")
            assert daemon.get("/livez").status_code == 200
            assert hello_of(daemon)["database"]["code"] == "LR225"
        finally:
            control.with_name("aside").rename(control)
        wait_until(lambda: daemon.get("/readyz").status_code == 200)
        wait_until(lambda: daemon.get("/api/config").status_code == 200)

    def test_next_daemon_finds_what_a_killed_one_left_and_gives_up_in_the_end(
        self, daemon: Daemon, folder: Path, tmp_path: Path
    ) -> None:
        """An orphan is taken over: same DSN, same data. A server that cannot be started has the daemon exit 1.

        That has systemd start it again; it says why, after a bounded number of tries.
        """
        orphan = postmaster(folder)
        supervisor(folder).kill()
        daemon.process.kill()
        daemon.process.wait()
        argv = [sys.executable, "-c", _GIVES_UP_SOON, "serve", "--port", "0", "--data-dir", str(folder)]
        log, environment = tmp_path / "log", os.environ | {"LITELLM_ENABLE": "false"}
        with (
            log.open("wb") as stderr,
            subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment) as process,
            ExitStack() as stack,
        ):
            stack.callback(process.kill)  # where it goes on after a failed assertion
            assert process.stdout is not None
            said = list(itertools.takewhile(lambda line: "serves at" not in line, process.stdout))
            assert exports_of(said) == exports_of(daemon.said)
            assert postmaster(folder) != orphan
            with closing(psycopg.connect((folder / "owner-dsn").read_text().strip())) as connection:
                row = connection.execute("SELECT value FROM liverouter.settings WHERE key = 'llm_model'").fetchone()
            assert row == ("gpt-4o",)
            server = postmaster(folder)
            (folder / "cluster" / "global" / "pg_control").unlink()
            server.kill()
            assert process.wait(_PATIENCE_S) == 1
        errors = log.read_text()
        assert "gave up after 2 tries" in errors
        assert ("LR225" in errors, "pg_control" in errors, "Traceback" in errors) == (True, True, False)
