"""A PostgreSQL of `liverouter serve` that hangs is started anew: it runs, and answers nobody new."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import psycopg
import pytest

from tests.kit.daemon import Daemon
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(600)  # seconds, on a busy machine

_WAIT_S: Final = 150.0
_IMPATIENT: Final = """
from liverouter.cli import main
from liverouter.embedded import data_folder, silence
silence._EVERY_S, silence._PATIENCE_S = 0.2, 3
data_folder._HANDOVER_TIMEOUT_S = data_folder._ORPHAN_TIMEOUT_S = 3.0
main()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """The daemon's data folder."""
    parent = Path(tempfile.mkdtemp(prefix="liverouter-test-"))
    parent.chmod(0o711)
    yield parent / "data"
    shutil.rmtree(parent)


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


def test_server_that_hangs_is_started_anew(folder: Path, tmp_path: Path) -> None:
    """Stopped alone, or with all its processes and its supervisor: the daemon notices, and kills what is left."""
    with daemon_of(folder, tmp_path / "log") as daemon:
        for everybody in (False, True):
            server, before = server_of(folder), restarts(daemon)
            for process in family_of(server) if everybody else [server]:
                process.send_signal(signal.SIGSTOP)
            until(lambda before=before: restarts(daemon) > before, _WAIT_S, "the restart")  # type: ignore[misc]
            assert server_of(folder) != server
            until(lambda: answers(folder), _WAIT_S)
            until(lambda: daemon.get("/api/config").is_success, _WAIT_S)
        assert "it answered nothing for a minute, and was killed" in daemon.log.read_text()


def test_next_daemon_finds_one_that_hangs(folder: Path, tmp_path: Path) -> None:
    """Its daemon was killed; its supervisor hangs as well, or is gone."""
    for number, supervised in enumerate((True, False)):
        with daemon_of(folder, tmp_path / f"{number}.log") as daemon:
            supervisor, server, *children = family_of(server_of(folder))
            for process in (server, *children):
                process.send_signal(signal.SIGSTOP)
            supervisor.send_signal(signal.SIGSTOP if supervised else signal.SIGKILL)
            daemon.process.kill()
            daemon.process.wait()
        with daemon_of(folder, tmp_path / f"{number}.next.log") as following:
            assert server_of(folder) != server
            until(lambda: following.get("/api/config").is_success, _WAIT_S)
