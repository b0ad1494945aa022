"""Real processes on one PostgreSQL of default settings: connections, a restart, how soon the last has a revision."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.bench.figures import Figure
from tests.kit.admin import Admin
from tests.kit.daemon import Daemon
from tests.kit.postgres.cluster import Cluster, Seed
from tests.kit.redis_servers import RealServer
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.world import World

_PROCESS = """
import json, sys, time
from liverouter import LiveRouter
def tell(event):
    if event.name in ("listener.connected", "config.applied"):
        print(json.dumps([event.name, getattr(event, "revision", 0), time.time()]), flush=True)
with LiveRouter(observers=(tell,)) as live:
    live.wait_ready()
    sys.stdin.read()
"""
_OURS = "FROM pg_stat_activity WHERE application_name LIKE 'liverouter%/bench'"
_PATIENCE_S = 600.0  # a busy machine, and dozens of processes


def measure(world: World) -> Iterator[Figure]:
    """Yield what so many processes hold and how they come back, by PostgreSQL alone and with wake-ups by Redis."""
    count = world.samples(60, 4)
    seed = Seed()
    try:
        with seed.grow() as cluster, contextlib.closing(Admin(cluster.dsn)) as admin:
            admin.set(**world.rows(litellm_enable=False))
            yield from _listening(world, cluster, admin, count)
            if (found := shutil.which("redis-server")) is not None:
                yield from _woken(world, cluster, admin, count, Path(found))
    finally:
        seed.remove()


def _listening(world: World, cluster: Cluster, admin: Admin, count: int) -> Iterator[Figure]:
    """Yield the figures of processes that listen themselves."""
    with _Fleet(world, cluster, count) as fleet:
        fleet.is_ready(admin)
        until(lambda: admin.ask(f"SELECT count(*) {_OURS}")[0] <= count, _PATIENCE_S)
        held = admin.ask(f"SELECT count(*) {_OURS}")[0]
        yield _alone(f"connections held by {count} processes, idle", held, "")
        yield _alone(f"commit → last of {count} processes has applied it", _last_ms(fleet, admin), "ms")
        cluster.stop()
        cluster.start()
        began = time.time()
        admin.reconnect()
        back = (fleet.has("listener.connected", 2) - began) * 1000
        yield _alone(f"restart of the server → last of {count} processes listens again", back, "ms")
        yield _alone(f"errors that {count} processes logged meanwhile", fleet.complaints(), "")


def _woken(world: World, cluster: Cluster, admin: Admin, count: int, program: Path) -> Iterator[Figure]:
    """Yield the figures of processes that are woken by Redis."""
    server = RealServer(program)
    url = {"LIVEROUTER_WAKE_URL": f"redis://127.0.0.1:{server.port}/0"}
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            Daemon(log=Path(folder, "log"), **url, LIVEROUTER_DATABASE_URL=cluster.dsn),
            _Fleet(world, cluster, count, **url) as fleet,
        ):
            fleet.is_ready(admin)
            until(lambda: admin.ask(f"SELECT count(*) {_OURS}") == (0,), _PATIENCE_S)
            yield _alone(f"connections held by {count} processes that Redis wakes, idle", 0, "")
            what = f"commit → last of {count} processes that Redis wakes has applied it"
            yield _alone(what, _last_ms(fleet, admin), "ms")
    finally:
        server.stop()


def _last_ms(fleet: _Fleet, admin: Admin) -> float:
    """Commit a revision; return the milliseconds until the last process has applied it."""
    began = time.time()
    revision = admin.set(llm_max_tokens=admin.revision + 1)
    return (fleet.has("config.applied", 1, revision) - began) * 1000


def _alone(what: str, value: float, unit: str) -> Figure:
    return Figure(what=what, ours=value, baseline=None, against="", unit=unit)


class _Fleet:
    """Processes that each run a client, and what they told."""

    def __init__(self, world: World, cluster: Cluster, count: int, **environ: str) -> None:
        self._environ = world.environ() | {"LIVEROUTER_DATABASE_URL": cluster.dsn, "LIVEROUTER_APP": "bench"} | environ
        self._count = count
        self._told: list[list[list[Any]]] = [[] for _ in range(count)]  # by process: event, revision, unix seconds
        self._complaints: list[str] = []

    def __enter__(self) -> Self:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", _PROCESS],
                env=self._environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(self._count)
        ]
        for process, told in zip(self._processes, self._told, strict=True):
            threading.Thread(target=self._read, args=(process.stdout, told), daemon=True).start()
            threading.Thread(target=self._complaints.extend, args=(process.stderr,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            process.wait(_PATIENCE_S)

    @staticmethod
    def _read(lines: Any, told: list[list[Any]]) -> None:
        told.extend(json.loads(line) for line in lines)

    def has(self, event: str, count: int, revision: int = 0) -> float:
        """Wait until each process has told *event* so often; return when the last one did, unix seconds."""

        def times(told: list[list[Any]]) -> list[float]:
            return [at for name, what, at in list(told) if (name, what) == (event, revision)]

        until(lambda: all(len(times(told)) >= count for told in self._told), _PATIENCE_S)
        return max(times(told)[count - 1] for told in self._told)

    def is_ready(self, admin: Admin) -> None:
        """Wait until each process serves the head, and hears of changes."""
        self.has("config.applied", 1, admin.revision)
        self.has("listener.connected", 1)

    def complaints(self) -> int:
        """Return how many lines were logged as errors, and show them."""
        sys.stderr.writelines(self._complaints)
        return len(self._complaints)
