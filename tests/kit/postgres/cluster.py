"""A PostgreSQL server of a test's own: to stop, crash, freeze, copy and promote."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import psutil
import psycopg

from liverouter.embedded.server import EmbeddedPostgres
from liverouter.postgres.migrate import upgrade

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE: Final = "app"
# Unsynced data survives a crash here: it ends processes, and the system's cache stays.
_FAST: Final = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
# Beside the ports that durable servers look through from the first: another test's server would take the port of one
# that is down for a moment, and its clients would find a stranger. Below those that the kernel draws.
_PORTS: Final = range(26_000, 32_000)


class Cluster:
    """One server with the migrated database `app`; its data survives `stop` and `start`."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        """Use the data in *data_dir*, or make it; nothing runs before `start`."""
        self.data_dir = data_dir
        self._settings = _FAST | dict(settings or {})
        self._embedded = EmbeddedPostgres(data_dir=data_dir, settings=self._settings)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def dsn(self) -> str:
        """The superuser's URL of the database."""
        return self._embedded.dsn(DATABASE)

    def add(self, settings: Mapping[str, str]) -> None:
        """Start with these settings as well."""
        self._settings |= settings
        self._embedded = EmbeddedPostgres(data_dir=self.data_dir, settings=self._settings)

    def start(self) -> None:
        """Start it on the port it had before."""
        self._embedded.start()

    def stop(self) -> None:
        """Shut it down; a frozen one is woken first."""
        self.thaw()
        self._embedded.stop()

    def crash(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        gone = self.processes()
        self.signal(signal.SIGQUIT)
        psutil.wait_procs(gone, timeout=10)
        self._embedded.stop()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the postmaster."""
        self.processes()[0].send_signal(number)

    def processes(self) -> list[psutil.Process]:
        """Return the postmaster, then its children; empty where it does not run."""
        with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
            pid = int((self.data_dir / "cluster" / "postmaster.pid").read_text().split(maxsplit=1)[0])
            postmaster = psutil.Process(pid)
            return [postmaster, *postmaster.children()]
        return []

    def freeze(self) -> None:
        """Stop every process of the server: connections stay open and say nothing."""
        for process in self.processes()[:1]:
            process.suspend()
        for process in self.processes():  # no more now, and none that ends goes from the list, as nobody reaps it
            process.suspend()

    def thaw(self) -> None:
        """Let a frozen server go on."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def execute(self, statement: str, *arguments: Any) -> Any:
        """Run one statement as superuser; return its first value, if any."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement, arguments or None)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None


class Seed:
    """Data folders, ready to use: made once, then copied."""

    def __init__(self) -> None:
        """Make the first data folder; takes two seconds."""
        self._folder = Path(tempfile.mkdtemp(prefix="liverouter-faults-"))
        self._folder.chmod(0o711)  # the server runs as another user where the tests run as root
        self._count = 0
        with Cluster(self._folder / "seed") as cluster:
            with psycopg.connect(_maintenance(cluster.dsn), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
            upgrade(cluster.dsn)

    def grow(self, settings: Mapping[str, str] | None = None) -> Cluster:
        """Return a cluster with a copy of the data; not started."""
        return self.copy(self._folder / "seed", settings)

    def copy(self, data_dir: Path, settings: Mapping[str, str] | None = None, *, standby: bool = False) -> Cluster:
        """Return a cluster with a copy of *data_dir*, whose server must be stopped; not started."""
        self._count += 1
        target = self._folder / f"copy-{self._count}"
        subprocess.run(["cp", "-a", str(data_dir), str(target)], check=True)  # noqa: S607 - coreutils
        port = random.SystemRandom().choice(_PORTS)  # of the system, so that two workers do not draw alike
        (target / "port").write_text(str(port))  # where it is taken, the server looks for another
        if standby:
            marker = target / "cluster" / "standby.signal"
            marker.touch()
            shutil.chown(marker, (target / "cluster").stat().st_uid, (target / "cluster").stat().st_gid)
        return Cluster(target, settings)

    def remove(self) -> None:
        """Remove every data folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def follows(primary: Cluster) -> dict[str, str]:
    """Return the settings that make a standby stream from *primary*."""
    parts = urlsplit(primary.dsn)
    return {
        "primary_conninfo": f"host={parts.hostname} port={parts.port} user={parts.username} password={parts.password}",
        "wal_receiver_status_interval": "1s",
    }


def _maintenance(dsn: str) -> str:
    return dsn.removesuffix(DATABASE) + "postgres"
