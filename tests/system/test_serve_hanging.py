"""A PostgreSQL of `liverouter serve` that hangs is started anew: it runs, and answers nobody new."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Final

import psutil
import psycopg
import pytest

from tests.kit.daemon import Daemon
from tests.kit.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)  # seconds, on a busy machine

_WAIT_S: Final = 150.0
_IMPATIENT: Final = """
from liverouter.cli import main
from liverouter.embedded import data_folder, silence
silence._EVERY_S, silence._PATIENCE_S = 0.2, 3
data_folder._HANDOVER_TIMEOUT_S = data_folder._ORPHAN_TIMEOUT_S = 3.0
main()
"""


def daemon_of(folder: Path, log: Path) -> Daemon:
    """Return a daemon that notices sooner, with its data in *folder*."""
    return Daemon("--data-dir", str(folder), log=log, program=("-c", _IMPATIENT))


def server_of(folder: Path) -> psutil.Process:
    """Return the process of the folder's server, which runs or is being started."""
    file = folder / "cluster" / "postmaster.pid"
    words = until(lambda: file.exists() and file.read_text().split(maxsplit=1), _WAIT_S)
    assert words
    return psutil.Process(int(words[0]))


def family_of(server: psutil.Process) -> list[psutil.Process]:
    """Return the supervisor of *server*, itself and its children."""
    supervisor = server.parent()
    assert supervisor is not None
    return [supervisor, server, *server.children(recursive=True)]


def answers(folder: Path) -> bool:
    """Tell whether the server takes a new connection at its old address."""
    try:
        psycopg.connect((folder / "owner-dsn").read_text().strip(), connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def restarts(daemon: Daemon) -> int:
    """Return how often the daemon's log says that its database was started again."""
    whole, _, _ = daemon.log.read_text().rpartition("\n")
    return [json.loads(line)["event"] for line in whole.splitlines()].count("own_database.restarted")


def orphan(daemon: Daemon, folder: Path, supervisor: signal.Signals) -> psutil.Process:
    """Have the server hang, send a signal to its supervisor, and kill the daemon; return the server."""
    watched, server, *children = family_of(server_of(folder))
    for process in (server, *children):
        process.send_signal(signal.SIGSTOP)
    watched.send_signal(supervisor)
    daemon.process.kill()
    daemon.process.wait()
    return server


def test_server_that_hangs_is_started_anew(shared_tmp_path: Path, tmp_path: Path) -> None:
    """Stopped alone, or with all its processes and its supervisor: the daemon notices, and kills what is left.

    So does the next daemon, where the one before it was killed, and the supervisor hangs as well or is gone.
    """
    folder = shared_tmp_path / "data"
    with daemon_of(folder, tmp_path / "first.log") as first:
        for everybody in (False, True):
            server, before = server_of(folder), restarts(first)
            for process in family_of(server) if everybody else [server]:
                process.send_signal(signal.SIGSTOP)
            until(lambda before=before: restarts(first) > before, _WAIT_S, "the restart")  # type: ignore[misc]
            assert server_of(folder) != server
            until(lambda: answers(folder), _WAIT_S)
            until(lambda: first.get("/api/config").is_success, _WAIT_S)
        assert "it answered nothing for a minute, and was killed" in first.log.read_text()
        server = orphan(first, folder, signal.SIGSTOP)
    with daemon_of(folder, tmp_path / "second.log") as second:
        assert server_of(folder) != server
        until(lambda: second.get("/api/config").is_success, _WAIT_S)
        server = orphan(second, folder, signal.SIGKILL)
    with daemon_of(folder, tmp_path / "third.log") as third:
        assert server_of(folder) != server
        until(lambda: third.get("/api/config").is_success, _WAIT_S)
