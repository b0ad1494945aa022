"""The folder of one embedded server: who owns it, its cluster, password, port and log."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from liverouter.errors import DatabaseError
from liverouter.secrecy import private_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

HOST: Final = "127.0.0.1"

_PORTS: Final = range(25_432, 30_000)  # below the ephemeral ranges: no outgoing connection sits there at a restart
_ANY_PORT: Final = range(1, 65_536)
_HANDOVER_TIMEOUT_S: Final = 12.0  # for a server whose owner is gone to shut down, before it is killed
_ORPHAN_TIMEOUT_S: Final = 60.0  # the same, for one without its supervisor, which would have hurried it
_KILLED_S: Final = 10.0  # for what was killed to be gone
_POLL_S: Final = 0.02
_MAX_LOG_BYTES: Final = 5_000_000
_MAX_TOLD: Final = 1500  # characters of the log in an error


class EmbeddedError(DatabaseError):
    """The embedded PostgreSQL cannot run here (LR220)."""

    def __init__(self, message: str, *, where: str | Path, hint: str) -> None:
        """Build an LR220."""
        super().__init__(message, code="LR220", where=str(where), hint=hint)


def default_data_dir() -> Path:
    """Return where a durable server keeps its data: /var/lib/liverouter for root, else in the user's data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/liverouter")  # the server's own user has to reach it, and may not enter root's home
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "liverouter"
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "share") / "liverouter"


class DataFolder:
    """A folder that one process at a time may run a server on.

    It belongs to us, not to the server's user; that user owns the cluster inside. Nothing is touched before `take`.

    Args:
        path: the folder; need not exist.
        durable: whether a port is kept from one start to the next.

    Attributes:
        cluster: PostgreSQL's data directory; there once initdb has succeeded.
        log: what supervisor and server say.
        token: the admin token of a `serve` that runs the server. It may be the first file here: a `serve` that was
            given a database writes it, too.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        """Describe the folder at *path*."""
        self.path = path
        self.cluster = path / "cluster"
        self.log = path / "postgres.log"
        self.token = path / "admin-token"
        self._lock = path / "owner.lock"
        self._password = path / "password"
        self._pid_file = self.cluster / "postmaster.pid"  # PostgreSQL's
        self._port = path / "port"
        self._durable = durable
        self._lock_fd = -1

    @property
    def lock_fd(self) -> int:
        """The descriptor that holds the lock; whoever inherits it holds it too."""
        return self._lock_fd

    def take(self) -> None:
        """Create the folder where it is missing, and lock it.

        Blocks while a server whose owner is dead shuts down; after `_HANDOVER_TIMEOUT_S` seconds it is killed.

        Raises:
            EmbeddedError: another process runs a server here, or the folder holds something else.
        """
        if self.path.exists() and not self._lock.exists() and not _holds_only(self.path, self.token.name):
            raise EmbeddedError(
                "the data folder holds other files", where=self.path, hint="Give an empty folder, or a new one."
            )
        private_file.make_folder(self.path)
        self._lock_fd = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        deadline, is_killed = time.monotonic() + _HANDOVER_TIMEOUT_S, False
        while not _try_lock(self._lock_fd):
            owner = os.pread(self._lock_fd, 20, 0).decode().strip()
            if _is_alive(owner) or (is_killed and time.monotonic() > deadline):
                self.release()
                raise EmbeddedError(
                    f"process {owner or 'unknown'} already runs a server on this data folder",
                    where=self.path,
                    hint="Use the DSN that it printed, stop it, or give another data folder.",
                )
            if time.monotonic() > deadline:
                self.kill_server()
                deadline, is_killed = time.monotonic() + _KILLED_S, True
            time.sleep(_POLL_S)
        os.ftruncate(self._lock_fd, 0)
        os.pwrite(self._lock_fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Close our descriptor of the lock; a process that inherited `lock_fd` goes on holding it."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def major(self) -> int | None:
        """Return the PostgreSQL version of the cluster in here, None while there is none."""
        try:
            return int((self.cluster / "PG_VERSION").read_text())
        except FileNotFoundError:
            return None

    def password(self) -> str:
        """Return the superuser's password; without a cluster it is a new one, which is written down.

        Raises:
            EmbeddedError: the cluster's password is lost.
        """
        if self.major() is None:
            private_file.replace(self._password, secrets.token_urlsafe(24))
        try:
            return private_file.read(self._password)
        except FileNotFoundError as exc:
            raise EmbeddedError(
                "the data folder's password file is gone",
                where=self._password,
                hint="Put it back from a backup, or give another data folder.",
            ) from exc

    def ports(self) -> Iterator[int]:
        """Yield ports that are free at the moment, for ever.

        Of a durable server the last one comes first, because services hold its DSN, then those of `_PORTS`, from a
        place that the folder's path gives: another folder's server does not take the port of one that restarts. After
        them, and for any other server, the kernel draws.
        """
        if self._durable:
            with contextlib.suppress(FileNotFoundError, ValueError):
                last = int(self._port.read_text())
                if last in _ANY_PORT and _is_free(last):
                    yield last
            start = zlib.crc32(os.fsencode(self.path.absolute())) % len(_PORTS)
            yield from filter(_is_free, (*_PORTS[start:], *_PORTS[:start]))
        while True:
            with socket.socket() as probe:
                probe.bind((HOST, 0))
                port = int(probe.getsockname()[1])
            yield port

    def remember_port(self, port: int) -> None:
        """Keep *port* for the next start."""
        self._port.write_text(str(port))

    def status(self) -> str:
        """Return what the server in here says of itself: starting, ready, stopping; "" where it says nothing."""
        with contextlib.suppress(OSError, IndexError):
            return self._pid_file.read_text().splitlines()[7].strip()
        return ""

    def is_ready(self, supervisor: int) -> bool:
        """Tell whether the server in here, started by the process *supervisor*, accepts connections.

        The pid file alone does not tell: that of a server that was killed, or that somebody else runs, says the same.
        """
        import psutil  # of the extra `embedded`, which a user who names a database does not install

        with contextlib.suppress(OSError, ValueError, psutil.Error):
            return self.status() == "ready" and psutil.Process(self._pid()).ppid() == supervisor
        return False

    def clear_stale_pid(self) -> None:
        """End a server that an earlier owner left, and remove a pid file that keeps the next from starting.

        Call it with the lock held. The process of that pid is signalled only where its command line names this
        cluster: it is then an orphan of ours, whose supervisor was killed. The file of a process that is gone
        PostgreSQL replaces itself: removed here, it might be that of a server which has started meanwhile.

        Raises:
            EmbeddedError: the orphan is there even after it was killed, or somebody else runs a server here.
        """
        import psutil

        if (orphan := self._server()) is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since the look
                os.kill(orphan.pid, signal.SIGINT)
            if not self._ends(_ORPHAN_TIMEOUT_S):
                self.kill_server()
                if not self._ends(_KILLED_S):
                    raise self._in_use(f"process {orphan.pid}, an orphaned server, does not stop", orphan.pid)
        try:
            pid = self._pid()
            if not psutil.pid_exists(pid):
                return
            if self._is_in_cluster(pid):
                raise self._in_use(f"process {pid} runs a server on this data folder", pid)
        except FileNotFoundError:
            return
        except ValueError:
            pass  # cut off by a full disk
        self._pid_file.unlink(missing_ok=True)

    def kill_server(self) -> None:
        """Kill the server that runs here, because it hangs, with all its processes and its supervisor.

        Blocks until they are gone, at most `_KILLED_S` seconds. What is stopped by a signal heeds no other but this,
        and a process that is left keeps the next server from starting.
        """
        import psutil

        if (server := self._server()) is None:
            return
        with contextlib.suppress(psutil.Error):
            processes = [server, *server.children(recursive=True)]
            parent = server.parent()
            if parent is not None and str(self.path) in parent.cmdline():
                parent.kill()  # first, so that it does not tidy up meanwhile; its owner waits for it
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=_KILLED_S)

    def rotate_log(self) -> int:
        """Set a log aside that has grown beyond `_MAX_LOG_BYTES`; return the byte at which the next line begins."""
        if self.log.exists() and self.log.stat().st_size > _MAX_LOG_BYTES:
            self.log.rename(self.log.with_suffix(".log.1"))
        self.log.touch(0o600)
        return self.log.stat().st_size

    def log_since(self, start: int) -> str:
        """Return the last `_MAX_TOLD` characters of what was logged since byte *start*, on one line."""
        with contextlib.suppress(FileNotFoundError), self.log.open("rb") as file:
            file.seek(start)
            return " ".join(file.read().decode(errors="replace").split())[-_MAX_TOLD:]
        return ""

    def _server(self) -> psutil.Process | None:
        """Return the process of the pid file where it runs, and has this cluster on its command line; else None."""
        import psutil

        try:
            process = psutil.Process(self._pid())
            return process if str(self.cluster) in process.cmdline() else None
        except (OSError, ValueError, psutil.Error):
            return None  # no file, or a damaged one; ended, a zombie, or another user's

    def _is_in_cluster(self, pid: int) -> bool:
        """Tell whether the process *pid* stands in the cluster, as each of its servers does."""
        import psutil

        try:
            return Path(psutil.Process(pid).cwd()).samefile(self.cluster)
        except (OSError, psutil.Error):
            return False  # a zombie, another user's, or in a folder that is gone

    def _in_use(self, message: str, pid: int) -> EmbeddedError:
        return EmbeddedError(message, where=self.path, hint=f"Stop process {pid}.")

    def _pid(self) -> int:
        """Return the process of the pid file.

        Raises:
            FileNotFoundError: there is none.
            ValueError: a full disk cut it off.
        """
        return int(self._pid_file.read_text().partition("\n")[0])

    def _ends(self, timeout_s: float) -> bool:
        """Wait until no server runs here, and tell whether that came within *timeout_s* seconds."""
        deadline = time.monotonic() + timeout_s
        while self._server() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True


def _holds_only(folder: Path, name: str) -> bool:
    """Tell whether *folder* holds nothing but the file *name*, and what a crash left of writing it."""
    return all(path.name.startswith(name) for path in folder.iterdir())


def _try_lock(fd: int) -> bool:
    """Lock *fd* where nobody else has, and tell whether that worked; the kernel frees it when the last holder ends."""
    import fcntl  # here, because Windows has no such module, and imports this one

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: str) -> bool:
    """Tell whether the process of *pid*, as the lock file has it, is there; an empty text is nobody's."""
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True  # another user's
    except (ValueError, ProcessLookupError):
        return False
    return True


def _is_free(port: int) -> bool:
    """Tell whether a server could listen on *port*; connections that were closed a moment ago do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL sets it
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
